// SPDX-License-Identifier: GPL-2.0

//! What the host can take off the guest's hands.

use kernel::prelude::*;
use kernel_ext::atomic::Relaxed;
use net::Features;
use netvsc_wire::oid::{
    ChecksumSetting, Offload, OffloadParameters, OffloadRevision, Oid, Setting,
};

use crate::session::Session;

/// Bytes of the largest segment that is cut, unless the host says less (`NETVSC_MAX_...`: what fits in
/// a packet's pieces).
const LARGEST_SEGMENT: u32 = 62_780;

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Agreed {
    pub(crate) features: Features,
    pub(crate) largest_segment: u32,
}

impl Session {
    /// Asks what the host can do, and switches it on.
    ///
    /// # Errors
    ///
    /// Those of a question.
    pub(crate) fn agree_on_offloads(&self) -> Result<Agreed> {
        let none = Agreed {
            features: Features::NONE,
            largest_segment: LARGEST_SEGMENT,
        };
        let header = OffloadRevision::of_version(self.version)
            .header()
            .to_bytes();
        let parse = |info: &[u8]| Offload::parse(info).map_err(|_| EINVAL);
        let offers = match self.query(Oid::TCP_OFFLOAD_HARDWARE_CAPABILITIES, &header, parse) {
            Ok(offers) => offers,
            // Then it can do nothing.
            Err(error) if error == EOPNOTSUPP => return Ok(none),
            Err(error) => return Err(error),
        };
        let mut agreed = none;
        let mut wanted = OffloadParameters {
            large_send_v1: Setting::Off,
            large_send_v2_ip4: Setting::Off,
            large_send_v2_ip6: Setting::Off,
            rsc_ip4: Setting::Off,
            rsc_ip6: Setting::Off,
            ip4_header: ChecksumSetting::ON,
            ..OffloadParameters::default()
        };
        let sums = &offers.checksum;
        let receive = Features::RECEIVE_CHECKSUM;
        if sums.sends_tcp4() && (sums.sends_udp4() || !self.version.has_udp_checksum()) {
            agreed.features = agreed.features | Features::IP4_CHECKSUM | receive;
            wanted.tcp4 = ChecksumSetting::ON;
            wanted.udp4 = ChecksumSetting::ON;
            if offers.large_send_v2.ip4_encap.0 != 0 {
                agreed.features = agreed.features | Features::TSO4;
                wanted.large_send_v2_ip4 = Setting::On;
                agreed.limit(offers.large_send_v2.ip4_max_bytes);
            }
        }
        if sums.sends_tcp6() && (sums.sends_udp6() || !self.version.has_udp_checksum()) {
            agreed.features = agreed.features | Features::IP6_CHECKSUM | receive;
            wanted.tcp6 = ChecksumSetting::ON;
            wanted.udp6 = ChecksumSetting::ON;
            if offers.large_send_v2.ip6_encap.0 != 0 {
                agreed.features = agreed.features | Features::TSO6;
                wanted.large_send_v2_ip6 = Setting::On;
                agreed.limit(offers.large_send_v2.ip6_max_bytes);
            }
        }
        let coalesces = self.version.has_rsc() && offers.rsc.ip4 && offers.rsc.ip6;
        self.nic.coalesces.store(coalesces.into(), Relaxed);
        if coalesces {
            agreed.features = agreed.features | Features::LARGE_RECEIVE;
            // Before the device is registered everything is on; later, what somebody has chosen.
            let on = !self.nic.device.is_registered()
                || self.nic.device.features().contains(Features::LARGE_RECEIVE);
            let setting = if on { Setting::On } else { Setting::Off };
            (wanted.rsc_ip4, wanted.rsc_ip6) = (setting, setting);
        }
        self.tell_offloads(&wanted)?;
        Ok(agreed)
    }

    /// Has the host put segments together, or not. Process context.
    ///
    /// # Errors
    ///
    /// Those of a question.
    pub(crate) fn tell_coalescing(&self, on: bool) -> Result {
        let setting = if on { Setting::On } else { Setting::Off };
        self.tell_offloads(&OffloadParameters {
            rsc_ip4: setting,
            rsc_ip6: setting,
            ..OffloadParameters::default()
        })
    }

    fn tell_offloads(&self, wanted: &OffloadParameters) -> Result {
        let mut record = [0; OffloadParameters::MAX_BYTES];
        let length = wanted
            .encode(self.version, &mut record)
            .map_err(|_| EINVAL)?;
        let record = record.get(..length).unwrap_or_default();
        self.set(Oid::TCP_OFFLOAD_PARAMETERS, record)
    }
}

impl Agreed {
    fn limit(&mut self, bytes: u32) {
        if bytes != 0 {
            self.largest_segment = self.largest_segment.min(bytes);
        }
    }
}
