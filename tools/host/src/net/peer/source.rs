// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Frames as fast as the guest takes them, or at a given rate: UDP datagrams of several flows.

use std::time::{Duration, Instant};

use super::super::checksum;
use super::super::frame::{set, Mac, ETHERNET_BYTES, TYPE_IPV4, UDP};
use super::PEER_MAC;

/// Flows that each queue sends, so that a guest's RSS has something to spread.
const FLOWS: u16 = 16;
/// At a rate, at most so much time's frames are caught up with at once.
const CATCH_UP: Duration = Duration::from_millis(20);

/// Makes frames.
pub(super) struct Source {
    frames: Vec<Vec<u8>>,
    next: usize,
    rate: Option<u64>,
    started: Instant,
    /// Frames of `rate` that were due since `started` and are sent.
    sent: u64,
}

impl Source {
    /// Frames of `size` bytes to `guest`; `rate` is that of all queues together.
    pub(super) fn new(queue: u16, rate: Option<u64>, size: u32, guest: Mac) -> Self {
        let frames = (0..FLOWS)
            .map(|flow| datagram(guest, queue.wrapping_mul(FLOWS).wrapping_add(flow), size))
            .collect();
        Self {
            frames,
            next: 0,
            rate,
            started: Instant::now(),
            sent: 0,
        }
    }

    /// How long until the next frame, with `open` queues sharing the rate.
    pub(super) fn due(&self, open: u16) -> Duration {
        let Some(rate) = self.share(open) else {
            return Duration::ZERO;
        };
        let at = Duration::from_secs_f64((self.sent + 1) as f64 / rate);
        at.saturating_sub(self.started.elapsed())
    }

    /// The next frame, if it is time.
    pub(super) fn next(&mut self, open: u16) -> Option<&[u8]> {
        if let Some(rate) = self.share(open) {
            let elapsed = self.started.elapsed();
            let due = (elapsed.as_secs_f64() * rate) as u64;
            if due <= self.sent {
                return None;
            }
            // What the guest didn't take in time is lost, as on a wire.
            let most = (CATCH_UP.as_secs_f64() * rate) as u64;
            self.sent = self.sent.max(due.saturating_sub(most.max(1))) + 1;
        }
        self.next = (self.next + 1) % self.frames.len().max(1);
        self.frames.get(self.next).map(Vec::as_slice)
    }

    fn share(&self, open: u16) -> Option<f64> {
        Some(self.rate? as f64 / f64::from(open.max(1)))
    }
}

/// A datagram of a flow to the discard port, with the addresses of documentation networks.
fn datagram(guest: Mac, flow: u16, size: u32) -> Vec<u8> {
    let mut frame = vec![0; (size as usize).max(60)];
    let ip_bytes = (frame.len() - ETHERNET_BYTES).min(65_535) as u16;
    let fields: [(usize, &[u8]); 11] = [
        (0, &guest.0),
        (6, &PEER_MAC.0),
        (12, &TYPE_IPV4.to_be_bytes()),
        (14, &[0x45]),
        (16, &ip_bytes.to_be_bytes()),
        (22, &[64, UDP]),
        (26, &[198, 51, 100, 1]),
        (30, &[192, 0, 2, 1]),
        (34, &10_000u16.wrapping_add(flow).to_be_bytes()),
        (36, &9u16.to_be_bytes()),
        (38, &(ip_bytes - 20).to_be_bytes()),
    ];
    for (at, value) in fields {
        // At least 60 bytes: all are inside.
        let _ = set(&mut frame, at, value);
    }
    checksum::fill(&mut frame);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_right_and_at_the_rate() {
        let mut source = Source::new(3, None, 1514, Mac([2; 6]));
        let mut flows = std::collections::BTreeSet::new();
        for _ in 0..FLOWS {
            let frame = source.next(1).unwrap();
            assert_eq!(frame.len(), 1514);
            assert!(checksum::verify(frame));
            flows.insert(frame[34..36].to_vec());
        }
        assert_eq!(flows.len(), usize::from(FLOWS));
        assert_eq!(
            Source::new(0, None, 1, Mac::ZERO).next(1).unwrap().len(),
            60
        );

        let mut source = Source::new(0, Some(1000), 60, Mac::ZERO);
        source.started = Instant::now() - Duration::from_millis(100);
        // 100 are due, 20 ms of them are caught up with, for one queue of two.
        let mut sent = 0;
        while source.next(2).is_some() && sent < 1000 {
            sent += 1;
        }
        assert!((10..20).contains(&sent), "{sent}");
        assert!(source.due(2) <= Duration::from_millis(2));
    }
}
