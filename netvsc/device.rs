// SPDX-License-Identifier: GPL-2.0

//! The device: bound and gone.

use kernel::{
    device::{self, Core},
    prelude::*,
    sync::{aref::ARef, Arc},
};
use kernel_ext::{
    bus::{Driver, ProbeType},
    workqueue::{cancel_delayed_sync, cancel_sync},
};
use net::{Device, Features, Presence, Registration};
use netvsc_wire::oid::{self, Oid};
use vmbus::{device_id::IdTable, Vmbus};

use crate::{
    debug,
    nic::Nic,
    session::{self, Session, Settings},
    transmit::HEADROOM,
};

/// The MTU to begin with.
const MTU: u32 = 1500;

/// The least MTU (`NETVSC_MTU_MIN`).
const MIN_MTU: u32 = 68;

/// The largest: what a packet has room for (`NETVSC_MTU` without the Ethernet header).
const MAX_MTU: u32 = 65_521;

/// Bytes of the longest alias (`IFALIASZ`, which counts a zero).
const MOST_ALIAS: usize = 255;

/// A bound NIC. Dropping it takes it from the stack and closes its channels.
pub(crate) struct Bound {
    nic: Arc<Nic>,
    registration: Option<Registration<Nic>>,
    files: Option<debug::Files>,
}

impl Bound {
    fn bind(dev: &vmbus::Device<Core<'_>>) -> Result<Self> {
        let base: &device::Device<Core<'_>> = dev.as_ref();
        let device = Device::new(base, session::most_channels())?;
        let settings = Settings::new(MTU, device.queues().into());
        let nic = Nic::new(ARef::from(dev), device.clone(), &settings)?;
        // From here on dropping undoes it all.
        let mut this = Self {
            nic: nic.clone(),
            registration: None,
            files: None,
        };
        let agreed = nic.connect(&settings)?;
        let session = nic.session.get().ok_or(ENODEV)?;
        let address = session.query(Oid::ETHERNET_PERMANENT_ADDRESS, &[], |info| {
            info.first_chunk::<6>().copied().ok_or(EINVAL)
        })?;
        // Of use to people only.
        let alias = alias(&session).unwrap_or_default();
        let jumbo = session.version.has_ndis_config();
        let presence = Presence {
            address,
            alias: core::str::from_utf8(&alias).unwrap_or_default(),
            mtu: MTU,
            min_mtu: MIN_MTU,
            max_mtu: if jumbo { MAX_MTU } else { MTU },
            features: agreed.features | Features::SCATTER_GATHER | Features::RECEIVE_HASH,
            fixed: Features::HIGH_DMA | Features::VLAN_INSERT | Features::VLAN_STRIP,
            headroom: HEADROOM,
            largest_segment: agreed.largest_segment,
        };
        net::with_rtnl(|| session.use_queues(&device, 1))?;
        this.registration = Some(Registration::new(device, &presence, nic.clone())?);
        let name = nic.device.name().to_str().unwrap_or("?");
        kernel_ext::log_info!("{}: {}, NVSP {}\n", name, nic.name(), session.version);
        this.files = Some(debug::Files::new(&nic)?);
        nic.look();
        Ok(this)
    }
}

/// What the host calls the NIC, unless that is what hosts call them all.
fn alias(session: &Session) -> Result<KVec<u8>> {
    let mut text = KVec::with_capacity(MOST_ALIAS, GFP_KERNEL)?;
    session.query(Oid::GEN_FRIENDLY_NAME, &[], |info| {
        for character in oid::name(info) {
            let mut bytes = [0; 4];
            let bytes = character.encode_utf8(&mut bytes).as_bytes();
            if text.len() + bytes.len() > MOST_ALIAS {
                break;
            }
            text.extend_from_slice(bytes, GFP_KERNEL)?;
        }
        Ok(())
    })?;
    if text.as_slice() == b"Network Adapter" {
        text.clear();
    }
    Ok(text)
}

impl Driver<Vmbus> for Bound {
    const INFO: &'static IdTable = &crate::IDS;

    // Sub-channels come while it runs, and NICs need not wait for each other.
    const PROBE_TYPE: ProbeType = ProbeType::PreferAsynchronous;

    fn probe(dev: &vmbus::Device<Core<'_>>) -> impl PinInit<Self, Error> {
        Self::bind(dev)
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        drop(self.files.take());
        // Takes it down, if it is up.
        drop(self.registration.take());
        self.nic.disconnect();
        cancel_delayed_sync::<_, { Nic::RETURNS }>(&self.nic);
        cancel_sync::<_, { Nic::LOOK }>(&self.nic);
    }
}
