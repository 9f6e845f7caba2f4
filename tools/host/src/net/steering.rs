// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Which queue a frame to the guest takes: the guest's receive-side scaling.

use netvsc_wire::ppi::HashInfo;
use netvsc_wire::rss::{table_index, Flow, HashTypes, Key, MAX_INPUT_BYTES};

/// The queue for a frame, and the hash that chose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// Which queue.
    pub(super) queue: u16,
    /// The hash over the flow.
    pub(super) hash: u32,
    /// What the hash was made of.
    pub(super) info: HashInfo,
}

/// How frames are spread over queues.
pub(super) struct Steering {
    types: HashTypes,
    queues: Vec<u16>,
    /// The hash of each value of each byte of the input: Toeplitz is linear, so that the hash of
    /// an input is the sum (exclusive or) of those of its bytes.
    bytes: Box<[[u32; 256]; MAX_INPUT_BYTES]>,
}

impl std::fmt::Debug for Steering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Steering")
            .field("types", &self.types)
            .field("queues", &self.queues)
            .finish_non_exhaustive()
    }
}

impl Steering {
    /// Spreads over the queues of `table`; none when the guest wants no hash or gave no table.
    pub(super) fn new(
        types: HashTypes,
        key: &Key,
        table: impl IntoIterator<Item = u32>,
    ) -> Option<Self> {
        let queues: Vec<u16> = table
            .into_iter()
            .map(|channel| u16::try_from(channel).unwrap_or(0))
            .collect();
        if queues.is_empty() || types.0 & !HashTypes::TOEPLITZ.0 == 0 {
            return None;
        }
        let mut bytes = Box::new([[0; 256]; MAX_INPUT_BYTES]);
        let mut input = [0; MAX_INPUT_BYTES];
        for (at, values) in bytes.iter_mut().enumerate() {
            for bit in 0..8 {
                if let Some(byte) = input.get_mut(at) {
                    *byte = 1 << bit;
                }
                let hash = key.hash(&input);
                for (value, entry) in values.iter_mut().enumerate() {
                    if value >> bit & 1 != 0 {
                        *entry ^= hash;
                    }
                }
            }
            if let Some(byte) = input.get_mut(at) {
                *byte = 0;
            }
        }
        Some(Self {
            types,
            queues,
            bytes,
        })
    }

    /// The queue for a frame without a tag, by its first bytes; none for frames that have no
    /// flow, which take the first queue.
    pub(super) fn choose(&self, head: &[u8]) -> Option<Choice> {
        let flow = Flow::of_frame(head)?.restricted(self.types)?;
        let mut input = [0; MAX_INPUT_BYTES];
        let length = flow.input(&mut input);
        let hash = self
            .bytes
            .iter()
            .zip(&input)
            .take(length)
            .fold(0, |hash, (values, byte)| hash ^ values[usize::from(*byte)]);
        let index = table_index(hash, self.queues.len());
        Some(Choice {
            queue: self.queues.get(index).copied().unwrap_or(0),
            hash,
            info: HashInfo(flow.hash_type().with(HashTypes::TOEPLITZ).0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{build, TCP, UDP};
    use super::*;
    use netvsc_wire::rss::DEFAULT_KEY;
    use proptest::prelude::*;

    #[test]
    fn the_documented_example_is_met() {
        // Microsoft, "Verifying the RSS Hash Calculation": 66.9.149.187:2794 → 161.142.100.80:1766.
        let frame = build::ipv4(
            TCP,
            ([66, 9, 149, 187], 2794),
            ([161, 142, 100, 80], 1766),
            b"",
        );
        let steering = Steering::new(HashTypes::LINUX, &DEFAULT_KEY, 0..128).unwrap();
        let choice = steering.choose(&frame).unwrap();
        assert_eq!(choice.hash, 0x51cc_c178);
        assert_eq!(u32::from(choice.queue), 0x51cc_c178 & 127);
        assert_eq!(choice.info, HashInfo(0x201));
        // Without ports for UDP.
        let frame = build::ipv4(
            UDP,
            ([66, 9, 149, 187], 2794),
            ([161, 142, 100, 80], 1766),
            b"",
        );
        assert_eq!(steering.choose(&frame).unwrap().hash, 0x323e_8fc2);
        assert!(steering.choose(&[0; 60]).is_none());
        assert!(Steering::new(HashTypes::TOEPLITZ, &DEFAULT_KEY, 0..128).is_none());
        assert!(Steering::new(HashTypes::LINUX, &DEFAULT_KEY, []).is_none());
    }

    proptest! {
        #[test]
        fn the_table_gives_the_same_as_the_function(source in any::<[u8; 16]>(), destination in any::<[u8; 16]>(), ports in any::<(u16, u16)>(), key in any::<[u8; 32]>()) {
            let mut whole = [7; 40];
            whole[..32].copy_from_slice(&key);
            let key = Key(whole);
            let steering = Steering::new(HashTypes::LINUX, &key, [0]).unwrap();
            let frame = build::ipv6(TCP, (source, ports.0), (destination, ports.1), b"");
            let flow = Flow::of_frame(&frame).unwrap();
            prop_assert_eq!(steering.choose(&frame).unwrap().hash, key.hash_flow(&flow));
        }
    }
}
