// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The Internet checksum (RFC 1071), and putting it where a frame lacks it.

use super::frame::{be16, set, Ip, Layout, Network, TCP, UDP};
use super::scatter::View;

/// Where TCP's checksum is in its header.
pub const TCP_OFFSET: usize = 16;
/// Where UDP's checksum is in its header.
pub const UDP_OFFSET: usize = 6;

/// A sum in progress, over bytes that come in pieces of any length.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    sum: u64,
    odd: bool,
}

impl Sum {
    /// Adds bytes that follow those added before.
    pub fn add(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        if self.odd {
            // The first one completes a 16-bit word.
            let Some((first, rest)) = bytes.split_first() else {
                return;
            };
            self.sum = add(self.sum, u64::from(*first));
            self.odd = false;
            bytes = rest;
        }
        // Eight bytes at once: the ones' complement sum of big words folds to that of small ones.
        let (words, rest) = bytes.as_chunks_8();
        let mut sum = self.sum;
        for word in words {
            sum = add(sum, u64::from_be_bytes(*word));
        }
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        self.sum = add(sum, u64::from_be_bytes(last));
        self.odd = rest.len() % 2 == 1;
    }

    /// Adds what lies in pieces; false when there are fewer bytes.
    #[must_use]
    pub fn add_view(&mut self, view: &View<'_>, offset: usize, bytes: usize) -> bool {
        let mut buffer = [0; 2048];
        view.for_each(offset, bytes, |slice| {
            let mut at = 0;
            while let Ok(rest) = slice.offset(at) {
                let copied = rest.copy_to(&mut buffer[..]);
                if copied == 0 {
                    break;
                }
                self.add(&buffer[..copied]);
                at += copied;
            }
        })
    }

    /// The sum in 16 bits, not inverted.
    pub fn fold(self) -> u16 {
        let mut sum = self.sum;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    /// What goes into a header.
    pub fn finish(self) -> u16 {
        !self.fold()
    }
}

/// Ones' complement addition.
fn add(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    // No second carry: a sum that overflowed is at most u64::MAX - 1.
    sum + u64::from(carry)
}

/// Slices in chunks of eight, and what is left.
trait Chunks {
    fn as_chunks_8(&self) -> (&[[u8; 8]], &[u8]);
}

impl Chunks for [u8] {
    fn as_chunks_8(&self) -> (&[[u8; 8]], &[u8]) {
        use zerocopy::FromBytes;
        let count = self.len() / 8;
        match <[[u8; 8]]>::ref_from_prefix_with_elems(self, count) {
            Ok((chunks, rest)) => (chunks, rest),
            Err(_) => (&[], self),
        }
    }
}

/// The pseudo header's sum for `bytes` bytes of TCP or UDP.
pub fn pseudo_header(head: &[u8], network: &Network, bytes: usize) -> Option<Sum> {
    let (source, destination) = network.addresses(head)?;
    let mut sum = Sum::default();
    sum.add(source);
    sum.add(destination);
    sum.add(&(u32::try_from(bytes).ok()?).to_be_bytes());
    sum.add(&[0, 0, 0, network.protocol]);
    Some(sum)
}

/// Where a transport protocol has its checksum.
pub fn field_offset(protocol: u8) -> Option<usize> {
    match protocol {
        TCP => Some(TCP_OFFSET),
        UDP => Some(UDP_OFFSET),
        _ => None,
    }
}

/// Computes an IPv4 header's checksum anew; false when the header isn't whole.
#[must_use]
pub fn fill_ipv4_header(head: &mut [u8], network: &Network) -> bool {
    if network.ip != Ip::V4 {
        return true;
    }
    if !set(head, network.at + 10, &[0, 0]) {
        return false;
    }
    let mut sum = Sum::default();
    let Some(header) = head.get(network.at..network.transport) else {
        return false;
    };
    sum.add(header);
    set(head, network.at + 10, &sum.finish().to_be_bytes())
}

/// Bytes of the transport header and what follows it, as the IP header says.
pub fn transport_bytes(head: &[u8], network: &Network) -> Option<usize> {
    match network.ip {
        Ip::V4 => usize::from(be16(head, network.at + 2)?)
            .checked_sub(network.transport.checked_sub(network.at)?),
        Ip::V6 => usize::from(be16(head, network.at + 4)?)
            .checked_sub(network.transport.checked_sub(network.at + 40)?),
    }
}

/// Completes the checksum of a frame whose field holds the sum of the pseudo header: sums `head`
/// and `body` from `start` on and writes the result to `start + offset`, which must be in `head`.
/// False when it isn't.
#[must_use]
pub fn complete(head: &mut [u8], body: &View<'_>, start: usize, offset: usize) -> bool {
    let Some(at) = start.checked_add(offset) else {
        return false;
    };
    let Some(first) = head.get(start..) else {
        return false;
    };
    let mut sum = Sum::default();
    sum.add(first);
    if !sum.add_view(body, 0, body.len()) {
        return false;
    }
    // UDP has 0 for "none", so a sum of 0 is written as its other representation.
    let value = match sum.finish() {
        0 if offset == UDP_OFFSET => 0xffff,
        value => value,
    };
    set(head, at, &value.to_be_bytes())
}

/// Computes all checksums of a frame that lies in one piece: IPv4's and that of TCP or UDP. Leaves
/// alone what it doesn't know.
pub fn fill(frame: &mut [u8]) {
    let Some(network) = Layout::parse(frame).and_then(|layout| layout.network) else {
        return;
    };
    if !fill_ipv4_header(frame, &network) || network.fragment {
        return;
    }
    let (Some(field), Some(bytes)) = (
        field_offset(network.protocol),
        transport_bytes(frame, &network),
    ) else {
        return;
    };
    let end = network.transport.saturating_add(bytes);
    let (Some(pseudo), true) = (pseudo_header(frame, &network, bytes), end <= frame.len()) else {
        return;
    };
    if set(
        frame,
        network.transport + field,
        &pseudo.fold().to_be_bytes(),
    ) {
        // The field is inside of the frame, or `set` had said so.
        let _ = complete(&mut frame[..end], &View::EMPTY, network.transport, field);
    }
}

/// Whether the checksums of a frame in one piece are right, as far as it has any.
pub fn verify(frame: &[u8]) -> bool {
    let Some(network) = Layout::parse(frame).and_then(|layout| layout.network) else {
        return true;
    };
    if network.ip == Ip::V4 {
        let mut sum = Sum::default();
        sum.add(&frame[network.at..network.transport]);
        if sum.finish() != 0 {
            return false;
        }
    }
    let (Some(field), Some(bytes), false) = (
        field_offset(network.protocol),
        transport_bytes(frame, &network),
        network.fragment,
    ) else {
        return true;
    };
    let end = network.transport.saturating_add(bytes);
    let (Some(mut sum), Some(transport)) = (
        pseudo_header(frame, &network, bytes),
        frame.get(network.transport..end),
    ) else {
        return false;
    };
    if network.protocol == UDP && network.ip == Ip::V4 && be16(transport, field) == Some(0) {
        return true;
    }
    sum.add(transport);
    sum.finish() == 0
}

#[cfg(test)]
mod tests {
    use super::super::frame::build;
    use super::*;
    use proptest::prelude::*;

    /// Straight from RFC 1071's definition.
    fn plain(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            let word = u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]);
            sum += u32::from(word);
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn known_header() {
        // Example header of the Wikipedia article on IPv4 header checksums: 0xb861.
        let header = [
            0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0,
            0xc7,
        ];
        let mut sum = Sum::default();
        sum.add(&header);
        assert_eq!(sum.finish(), 0xb861);
    }

    #[test]
    fn frames_are_completed() {
        let good = build::ipv4(TCP, ([10, 0, 0, 1], 7), ([10, 0, 0, 2], 9), b"odd");
        assert!(verify(&good));
        let mut partial = good.clone();
        let network = Layout::parse(&good).unwrap().network.unwrap();
        let pseudo = pseudo_header(&good, &network, 23).unwrap();
        partial[50..52].copy_from_slice(&pseudo.fold().to_be_bytes());
        assert!(!verify(&partial));
        assert!(complete(&mut partial, &View::EMPTY, 34, TCP_OFFSET));
        assert_eq!(partial, good);
        assert!(!complete(&mut partial, &View::EMPTY, 50, TCP_OFFSET));
        assert!(!complete(&mut partial, &View::EMPTY, usize::MAX, 6));

        for frame in [
            build::ipv6(TCP, ([1; 16], 7), ([2; 16], 9), b"hello"),
            build::ipv6(UDP, ([1; 16], 7), ([2; 16], 9), b"hello"),
            build::ipv4(UDP, ([1; 4], 7), ([2; 4], 9), b"hello"),
        ] {
            assert!(verify(&frame));
            let mut broken = frame.clone();
            *broken.last_mut().unwrap() ^= 1;
            assert!(!verify(&broken));
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_sum(bytes in proptest::collection::vec(any::<u8>(), 0..200), cuts in proptest::collection::vec(0usize..200, 0..5)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.push(0);
            cuts.push(bytes.len());
            cuts.sort_unstable();
            let mut sum = Sum::default();
            for pair in cuts.windows(2) {
                sum.add(&bytes[pair[0]..pair[1]]);
            }
            // 0 and 0xffff are the same number in ones' complement.
            let (got, expected) = (sum.finish(), plain(&bytes));
            prop_assert!(got == expected || (got == 0xffff && expected == 0) || (got == 0 && expected == 0xffff));
        }
    }
}
