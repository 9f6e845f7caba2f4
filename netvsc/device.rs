// SPDX-License-Identifier: GPL-2.0

//! The device: bound and gone.

use kernel::{
    device::{self, Core},
    prelude::*,
    sync::{aref::ARef, Arc},
};
use kernel_ext::{
    bus::{Driver, ProbeType},
    workqueue::cancel_sync,
};
use net::{Device, Features, Presence, Registration};
use netvsc_wire::oid::Oid;
use vmbus::{device_id::IdTable, Vmbus};

use crate::{
    debug,
    nic::Nic,
    session::{self, Settings},
    transmit::HEADROOM,
};

/// The MTU to begin with.
const MTU: u32 = 1500;

/// The least MTU (`NETVSC_MTU_MIN`).
const MIN_MTU: u32 = 68;

/// The largest: what a packet has room for (`NETVSC_MTU` without the Ethernet header).
const MAX_MTU: u32 = 65_521;

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
        let jumbo = session.version.has_ndis_config();
        let presence = Presence {
            address,
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
        cancel_sync(&self.nic);
    }
}
