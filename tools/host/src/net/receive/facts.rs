// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is known of a frame from its first bytes and from what the back end says.

use netvsc_wire::ppi::{ReceiveInfo, Verdict, Vlan};

use super::super::backend::{Offload, Received};
use super::super::chain::{self, HeadBuffer};
use super::super::frame::{Layout, Mac, Network, ETHERNET_BYTES, TCP, VLAN_BYTES};
use super::super::plane::Plane;
use super::super::sections::DATA;
use super::super::spec::ChecksumPolicy;

/// What is known of a frame that came in.
pub(super) struct Facts {
    pub(super) destination: Mac,
    /// Bytes taken off its start.
    pub(super) skip: usize,
    /// Bytes without those.
    pub(super) bytes: usize,
    /// Not of this NIC's VLAN.
    pub(super) foreign: bool,
    pub(super) info: ReceiveInfo,
    pub(super) network: Option<Network>,
    /// What the back end says, counted from the frame's new start.
    pub(super) offload: Offload,
}

impl Facts {
    /// None when it is no frame, or longer than the guest takes.
    pub(super) fn look(plane: &Plane, head: &HeadBuffer, got: Received) -> Option<Self> {
        let mut layout = chain::layout(head, DATA, got.bytes)?;
        let mut info = ReceiveInfo::default();
        let mut foreign = false;
        let mut skip = 0;
        match (plane.vlan, layout.tag) {
            (Some(own), tag) => {
                foreign = tag.map(|tag| tag & 0xfff) != Some(own);
                skip = VLAN_BYTES;
            }
            (None, Some(tag)) if plane.tags_beside => {
                info.vlan = Some(Vlan::from_tci(tag));
                skip = VLAN_BYTES;
            }
            (None, _) => {}
        }
        if layout.tag.is_none() {
            skip = 0;
        }
        let mut offload = got.offload;
        if skip > 0 {
            layout = untagged(&layout);
            let less = skip as u16;
            if let Some(partial) = &mut offload.partial {
                partial.start = partial.start.checked_sub(less)?;
            }
            if let Some(gso) = &mut offload.gso {
                gso.header = gso.header.saturating_sub(less);
            }
        }
        let bytes = got.bytes.checked_sub(skip)?;
        let longest = plane.frame_bytes as usize + (layout.payload() - ETHERNET_BYTES);
        if offload.gso.is_none() && bytes > longest {
            return None;
        }
        Some(Self {
            destination: layout.destination,
            skip,
            bytes,
            foreign,
            info,
            network: layout.network,
            offload,
        })
    }

    /// It is a large segment as the guest takes them.
    pub(super) fn takes_large(&self, plane: &Plane) -> bool {
        match (self.network, self.offload.gso) {
            (Some(network), Some(gso)) => {
                network.ip == gso.ip && network.protocol == TCP && plane.accepts.tso(gso.ip)
            }
            _ => false,
        }
    }

    /// More may be appended to it.
    pub(super) fn mergeable(&self, plane: &Plane) -> bool {
        let (Some(network), Some(sums)) = (self.network, self.info.checksum) else {
            return false;
        };
        self.offload.gso.is_none()
            && plane.policy == ChecksumPolicy::Vouch
            && plane.accepts.tso(network.ip)
            && sums.tcp == Verdict::Good
            && sums.ip_header != Verdict::Bad
    }
}

/// The layout without the tag.
fn untagged(layout: &Layout) -> Layout {
    let mut layout = *layout;
    layout.tag = None;
    if let Some(network) = &mut layout.network {
        network.at -= VLAN_BYTES;
        network.transport -= VLAN_BYTES;
    }
    layout
}
