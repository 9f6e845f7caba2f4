// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Between the control plane and the data path: what the guest asked for becomes what frames
//! depend on.

use netvsc_wire::nvsp::{Capabilities as GuestCapabilities, NdisConfig};
use netvsc_wire::oid::{ChecksumOffload, LargeSendV2, Offload, RscOffload};
use netvsc_wire::Version;

use super::backend::Capabilities;
use super::frame::{Mac, ETHERNET_BYTES};
use super::nic::Nic;
use super::plane::Plane;
use super::receive::pieces_for_largest;
use super::rndis_control::{Adapter, AdapterConfig, Changes, Outcome, Statistics};
use super::sections::ReceiveBuffer;
use super::steering::Steering;

/// The longest segment that a guest may leave to be cut: what Hyper-V's switch says.
const LARGE_SEND_BYTES: u32 = 62_780;
/// Frames that a guest may put into one packet (`RNDIS_MAX_PKT_DEFAULT`).
const MAX_PACKETS: u32 = 8;

impl Nic {
    /// Takes a control message of the guest; answers wait for the primary channel's thread.
    ///
    /// # Errors
    ///
    /// When it is no message at all.
    pub(super) fn control_message(
        &self,
        version: Version,
        config: &NdisConfig,
        message: &[u8],
    ) -> anyhow::Result<()> {
        let mut guard = self.adapter.lock();
        let adapter =
            guard.get_or_insert_with(|| Adapter::new(self.adapter_config(version, config)));
        let mut answer = Vec::new();
        let outcome = adapter.handle(message, &self.statistics(), &mut answer)?;
        if outcome != Outcome::Unchanged {
            tracing::debug!("{}: RNDIS: {outcome:?}", self.name());
            self.follow(adapter, Some(outcome));
        }
        let mut waiting = self.shared.control.lock();
        if !answer.is_empty() {
            waiting.push_back(answer);
        }
        if matches!(outcome, Outcome::Changed(changes) if changes.contains(Changes::OFFLOAD)) {
            let mut indication = Vec::new();
            if adapter.indicate_offload(&mut indication) {
                waiting.push_back(indication);
            }
        }
        Ok(())
    }

    /// Something else than a message changed what the data path may do.
    pub(super) fn follow_adapter(&self) {
        if let Some(adapter) = &*self.adapter.lock() {
            self.follow(adapter, None);
        }
    }

    fn follow(&self, adapter: &Adapter, outcome: Option<Outcome>) {
        let respread = match outcome {
            Some(Outcome::Changed(changes)) => changes.contains(Changes::SPREADING),
            _ => true,
        };
        // Made before the lock is taken: frames needn't wait for it.
        let steering = adapter
            .spreading()
            .filter(|_| respread)
            .and_then(|spreading| {
                Steering::new(
                    spreading.hash,
                    &spreading.key,
                    spreading.table.iter().copied(),
                )
            });
        let accepts = {
            let mut plane = self.shared.plane.write();
            plane.running = adapter.running();
            plane.filter = adapter.filter();
            plane.groups = adapter.groups().to_vec();
            plane.mac = Mac(adapter.mac());
            if respread {
                plane.steering = steering;
            }
            plane.accepts = self.accepts(adapter, &plane);
            plane.accepts
        };
        self.tell_backend(accepts);
        self.nudge(u64::MAX);
    }

    pub(super) fn tell_backend(&self, accepts: Capabilities) {
        if let Err(error) = self.backend().set_receive(accepts) {
            tracing::warn!("{}: {}: {error}", self.name(), self.backend().name());
        }
    }

    /// What of received frames the guest takes as it is.
    fn accepts(&self, adapter: &Adapter, plane: &Plane) -> Capabilities {
        let offloads = adapter.offloads();
        let checksum = offloads.tcp4.receive && offloads.tcp6.receive;
        // Large segments wait in pieces that nobody else can use meanwhile.
        let roomy = |buffer: &ReceiveBuffer| {
            let staged = pieces_for_largest(buffer.room()) * usize::from(self.queues());
            buffer.pieces() as usize >= 4 * staged
        };
        let takes_large = |buffer: &ReceiveBuffer| {
            buffer.takes_chains() || pieces_for_largest(buffer.room()) == 1
        };
        let large = checksum
            && plane
                .frames()
                .is_some_and(|buffer| takes_large(buffer) && roomy(buffer));
        Capabilities {
            checksum,
            tso4: large && offloads.rsc_ip4,
            tso6: large && offloads.rsc_ip6,
        }
    }

    fn adapter_config(&self, version: Version, config: &NdisConfig) -> AdapterConfig {
        let link = self.link();
        let rsc = version.has_rsc() && config.capabilities.contains(GuestCapabilities::RSC);
        let plane = self.shared.plane.read();
        AdapterConfig {
            version,
            mac: self.mac().0,
            mtu: config.frame_bytes.saturating_sub(ETHERNET_BYTES as u32),
            link_up: link.up,
            megabits: link.megabits,
            queues: self.queues(),
            name: self.spec().name.clone().unwrap_or_default(),
            offload: Offload {
                checksum: ChecksumOffload::ALL,
                large_send_v2: LargeSendV2::up_to(LARGE_SEND_BYTES),
                rsc: RscOffload { ip4: rsc, ip6: rsc },
                ..Offload::default()
            },
            connections: None,
            access_vlan: self.spec().vlan,
            max_packets: MAX_PACKETS,
            max_answer: plane
                .receive
                .as_ref()
                .map_or(super::rndis_control::DEFAULT_MAX_ANSWER, |buffer| {
                    buffer.room()
                }),
        }
    }

    /// Tells the guest of its link.
    pub(super) fn tell_link(&self, up: Option<bool>, megabits: Option<u32>) {
        let mut guard = self.adapter.lock();
        let Some(adapter) = &mut *guard else {
            return;
        };
        let mut waiting = self.shared.control.lock();
        let mut message = Vec::new();
        if up.is_some_and(|up| adapter.set_link(up, &mut message)) {
            waiting.push_back(std::mem::take(&mut message));
        }
        if megabits.is_some_and(|megabits| adapter.set_speed(megabits, &mut message)) {
            waiting.push_back(message);
        }
    }

    fn statistics(&self) -> Statistics {
        let mut all = Statistics::default();
        for queue in &self.shared.queues {
            let c = &queue.counters;
            all.sent_frames += c.tx_frames.get();
            all.sent_bytes += c.tx_bytes.get();
            all.send_errors += c.tx_errors.get() + c.tx_refused.get();
            all.send_discards += c.tx_link_down.get();
            all.received_frames += c.rx_frames.get();
            all.received_bytes += c.rx_bytes.get();
            all.receive_errors += c.rx_refused.get();
            all.receive_discards += c.rx_filtered.get();
            all.no_buffer += c.no_section.get();
        }
        all
    }
}
