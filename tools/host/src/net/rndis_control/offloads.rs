// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The offloads that a guest has turned on.

use netvsc_wire::oid::{
    ChecksumOffload, ChecksumSetting, Encapsulation, LargeSendV1, Offload, OffloadParameters,
    RscOffload, Setting, SEND_CHECKSUM_ALL_TCP4, SEND_CHECKSUM_ALL_TCP6,
};
use netvsc_wire::rndis::Status;

/// `NDIS_TXCSUM_CAP_UDP4` and its like, `drivers/net/hyperv/hyperv_net.h`: the same bit both ways
/// and for both IP versions.
const UDP: u32 = 0x40;
/// `NDIS_TXCSUM_CAP_IP4`, `NDIS_TXCSUM_CAP_IP4OPT`.
const IP4_HEADER: u32 = 0x100 | 0x1;

/// Whether a checksum is computed in frames that the guest sends, and checked in frames that it
/// gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChecksumSwitch {
    /// Computed when the guest asks for it.
    pub send: bool,
    /// Checked, and vouched for.
    pub receive: bool,
}

/// The offloads in force. All are off until the guest turns them on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Checksum of the IPv4 header.
    pub ip4_header: ChecksumSwitch,
    /// Checksum of TCP over IPv4.
    pub tcp4: ChecksumSwitch,
    /// Checksum of UDP over IPv4.
    pub udp4: ChecksumSwitch,
    /// Checksum of TCP over IPv6.
    pub tcp6: ChecksumSwitch,
    /// Checksum of UDP over IPv6.
    pub udp6: ChecksumSwitch,
    /// Large segments over IPv4 are cut, version 1 of the record.
    pub large_send_v1: bool,
    /// Large segments over IPv4 are cut.
    pub large_send_ip4: bool,
    /// Large segments over IPv6 are cut.
    pub large_send_ip6: bool,
    /// The guest takes coalesced segments over IPv4.
    pub rsc_ip4: bool,
    /// The guest takes coalesced segments over IPv6.
    pub rsc_ip6: bool,
    /// Connections over IPv4 may be handed over.
    pub connection_ip4: bool,
    /// Connections over IPv6 may be handed over.
    pub connection_ip6: bool,
}

impl Offloads {
    /// Turns on and off what the guest wants, or nothing at all where it wants something that
    /// the NIC can't do; `connections` are what it can do about IPv4 and IPv6.
    ///
    /// # Errors
    ///
    /// [`Status::NOT_SUPPORTED`].
    pub(super) fn apply(
        &self,
        wanted: &OffloadParameters,
        hardware: &Offload,
        connections: (bool, bool),
    ) -> Result<Self, Status> {
        let sums = &hardware.checksum;
        let mut new = *self;
        let checksum = |switch: &mut ChecksumSwitch, setting: ChecksumSetting, send, receive| {
            setting.apply(&mut switch.send, &mut switch.receive);
            supported(setting, send, receive)
        };
        checksum(
            &mut new.ip4_header,
            wanted.ip4_header,
            sums.ip4_send & IP4_HEADER != 0,
            sums.ip4_receive & IP4_HEADER != 0,
        )?;
        checksum(
            &mut new.tcp4,
            wanted.tcp4,
            sums.sends_tcp4(),
            sums.ip4_receive & SEND_CHECKSUM_ALL_TCP4 != 0,
        )?;
        checksum(
            &mut new.udp4,
            wanted.udp4,
            sums.sends_udp4(),
            sums.ip4_receive & UDP != 0,
        )?;
        checksum(
            &mut new.tcp6,
            wanted.tcp6,
            sums.sends_tcp6(),
            sums.ip6_receive & SEND_CHECKSUM_ALL_TCP6 != 0,
        )?;
        checksum(
            &mut new.udp6,
            wanted.udp6,
            sums.sends_udp6(),
            sums.ip6_receive & UDP != 0,
        )?;

        let there = |encapsulation: Encapsulation| encapsulation != Encapsulation::NONE;
        let (v1, v2, rsc) = (
            &hardware.large_send_v1,
            &hardware.large_send_v2,
            hardware.rsc,
        );
        for (switch, setting, possible) in [
            (
                &mut new.large_send_v1,
                wanted.large_send_v1,
                there(v1.encap),
            ),
            (
                &mut new.large_send_ip4,
                wanted.large_send_v2_ip4,
                there(v2.ip4_encap),
            ),
            (
                &mut new.large_send_ip6,
                wanted.large_send_v2_ip6,
                there(v2.ip6_encap),
            ),
            (&mut new.rsc_ip4, wanted.rsc_ip4, rsc.ip4),
            (&mut new.rsc_ip6, wanted.rsc_ip6, rsc.ip6),
            (
                &mut new.connection_ip4,
                wanted.connection_ip4,
                connections.0,
            ),
            (
                &mut new.connection_ip6,
                wanted.connection_ip6,
                connections.1,
            ),
        ] {
            if setting == Setting::On && !possible {
                return Err(Status::NOT_SUPPORTED);
            }
            setting.apply(switch);
        }
        Ok(new)
    }

    /// What is in force, of what the NIC can do, as a record.
    pub(super) fn record(&self, hardware: &Offload) -> Offload {
        let mask = |header: bool, tcp: bool, udp: bool, all_tcp: u32| {
            let mut bits = 0;
            if header {
                bits |= IP4_HEADER;
            }
            if tcp {
                bits |= all_tcp;
            }
            if udp {
                bits |= UDP;
            }
            bits
        };
        let ip4 = |header: bool, tcp, udp| mask(header, tcp, udp, SEND_CHECKSUM_ALL_TCP4);
        let ip6 = |tcp, udp| mask(false, tcp, udp, SEND_CHECKSUM_ALL_TCP6);
        let framing = |bits: u32, encapsulation| {
            if bits == 0 {
                Encapsulation::NONE
            } else {
                encapsulation
            }
        };
        let sums = &hardware.checksum;
        let ip4_send = sums.ip4_send & ip4(self.ip4_header.send, self.tcp4.send, self.udp4.send);
        let ip4_receive = sums.ip4_receive
            & ip4(
                self.ip4_header.receive,
                self.tcp4.receive,
                self.udp4.receive,
            );
        let ip6_send = sums.ip6_send & ip6(self.tcp6.send, self.udp6.send);
        let ip6_receive = sums.ip6_receive & ip6(self.tcp6.receive, self.udp6.receive);

        let mut large_send_v2 = hardware.large_send_v2;
        if !self.large_send_ip4 {
            large_send_v2.ip4_encap = Encapsulation::NONE;
            large_send_v2.ip4_max_bytes = 0;
            large_send_v2.ip4_min_segments = 0;
        }
        if !self.large_send_ip6 {
            large_send_v2.ip6_encap = Encapsulation::NONE;
            large_send_v2.ip6_max_bytes = 0;
            large_send_v2.ip6_min_segments = 0;
            large_send_v2.ip6_options = 0;
        }
        Offload {
            checksum: ChecksumOffload {
                ip4_send_encap: framing(ip4_send, sums.ip4_send_encap),
                ip4_send,
                ip4_receive_encap: framing(ip4_receive, sums.ip4_receive_encap),
                ip4_receive,
                ip6_send_encap: framing(ip6_send, sums.ip6_send_encap),
                ip6_send,
                ip6_receive_encap: framing(ip6_receive, sums.ip6_receive_encap),
                ip6_receive,
            },
            large_send_v1: if self.large_send_v1 {
                hardware.large_send_v1
            } else {
                LargeSendV1::default()
            },
            large_send_v2,
            rsc: RscOffload {
                ip4: self.rsc_ip4,
                ip6: self.rsc_ip6,
            },
        }
    }
}

/// Whether what is wanted of a checksum can be done.
fn supported(setting: ChecksumSetting, can_send: bool, can_receive: bool) -> Result<(), Status> {
    match setting {
        ChecksumSetting::Set { send, receive } if send && !can_send || receive && !can_receive => {
            Err(Status::NOT_SUPPORTED)
        }
        _ => Ok(()),
    }
}
