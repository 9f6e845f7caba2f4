// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Cutting large TCP segments for those who can't, and mending what a guest leaves out of their
//! headers.

use super::backend::Gso;
use super::checksum;
use super::frame::{be16, be32, set, Ip, Layout};
use super::scatter::View;

/// TCP flags that only the last segment has: FIN, PSH.
const LAST_ONLY: u8 = 0x01 | 0x08;
/// TCP flag that only the first segment has: CWR.
const FIRST_ONLY: u8 = 0x80;

/// Cuts a frame that lies in one piece and calls `emit` for each segment, with all checksums
/// computed. False, and no call, when it isn't TCP as `gso` says or its headers make no sense.
#[must_use]
pub fn cut(frame: &[u8], gso: &Gso, mut emit: impl FnMut(&[u8])) -> bool {
    let Some(network) = Layout::parse(frame).and_then(|layout| layout.network) else {
        return false;
    };
    let (Some(header), size) = (network.tcp_payload(frame), usize::from(gso.size)) else {
        return false;
    };
    let (Some(sequence), Some(flags)) = (
        be32(frame, network.transport + 4),
        frame.get(network.transport + 13).copied(),
    ) else {
        return false;
    };
    if size == 0 || network.ip != gso.ip || header > frame.len() {
        return false;
    }
    let (headers, data) = frame.split_at(header);
    let identification = be16(frame, network.at + 4).unwrap_or(0);
    let count = data.len().div_ceil(size).max(1);
    let mut segment = Vec::with_capacity(header + size);
    for number in 0..count {
        let from = number * size;
        let part = &data[from..data.len().min(from + size)];
        segment.clear();
        segment.extend_from_slice(headers);
        segment.extend_from_slice(part);
        let mut kept = flags;
        if number + 1 < count {
            kept &= !LAST_ONLY;
        }
        if number > 0 {
            kept &= !FIRST_ONLY;
        }
        let next = sequence.wrapping_add(from as u32);
        let bytes = (header - network.transport) + part.len();
        let fixed = set(&mut segment, network.transport + 4, &next.to_be_bytes())
            && set(&mut segment, network.transport + 13, &[kept])
            && set_lengths(&mut segment, header + part.len())
            && (network.ip == Ip::V6
                || set(
                    &mut segment,
                    network.at + 4,
                    &identification.wrapping_add(number as u16).to_be_bytes(),
                ))
            && checksum::fill_ipv4_header(&mut segment, &network);
        let Some(pseudo) = checksum::pseudo_header(&segment, &network, bytes) else {
            return false;
        };
        if !fixed
            || !set(
                &mut segment,
                network.transport + checksum::TCP_OFFSET,
                &pseudo.fold().to_be_bytes(),
            )
            || !checksum::complete(
                &mut segment,
                &View::EMPTY,
                network.transport,
                checksum::TCP_OFFSET,
            )
        {
            return false;
        }
        emit(&segment);
    }
    true
}

/// Sets IP's length for a frame of `bytes` bytes; 0 where 16 bits don't hold it, as Linux's "BIG
/// TCP" has it. False when there is no IP header.
#[must_use]
fn set_lengths(head: &mut [u8], bytes: usize) -> bool {
    let Some(network) = Layout::parse(head).and_then(|layout| layout.network) else {
        return false;
    };
    let (at, from) = match network.ip {
        Ip::V4 => (network.at + 2, network.at),
        Ip::V6 => (network.at + 4, network.at + 40),
    };
    let Some(length) = bytes.checked_sub(from) else {
        return false;
    };
    let field = u16::try_from(length).unwrap_or(0);
    set(head, at, &field.to_be_bytes())
}

/// Gives the headers of a large segment what a guest leaves to LSO: IP's length and header
/// checksum, and the pseudo header's sum with the length in it, as everybody but NDIS expects.
/// `bytes` is the length of the whole frame. None when it isn't a TCP segment or too long.
pub fn mend(head: &mut [u8], bytes: usize) -> Option<Mended> {
    let network = Layout::parse(head)?.network?;
    let header = network.tcp_payload(head)?;
    let segment = bytes.checked_sub(network.transport)?;
    // IP's length has 16 bits, and no guest was offered more.
    u16::try_from(bytes.checked_sub(network.at)?).ok()?;
    if bytes < header || !set_lengths(head, bytes) || !checksum::fill_ipv4_header(head, &network) {
        return None;
    }
    let pseudo = checksum::pseudo_header(head, &network, segment)?;
    set(
        head,
        network.transport + checksum::TCP_OFFSET,
        &pseudo.fold().to_be_bytes(),
    )
    .then_some(Mended {
        ip: network.ip,
        transport: network.transport,
        header,
    })
}

/// Where the headers that [`mend`] looked at are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mended {
    /// Over which IP.
    pub ip: Ip,
    /// Where TCP's header begins.
    pub transport: usize,
    /// Bytes of all headers.
    pub header: usize,
}

#[cfg(test)]
mod tests {
    use super::super::frame::{build, TCP, UDP};
    use super::*;
    use proptest::prelude::*;

    fn segments(frame: &[u8], ip: Ip, size: u16) -> Option<Vec<Vec<u8>>> {
        let mut all = Vec::new();
        let gso = Gso {
            ip,
            size,
            header: 0,
        };
        cut(frame, &gso, |segment| all.push(segment.to_vec())).then_some(all)
    }

    #[test]
    fn segments_are_whole_frames() {
        let data: Vec<u8> = (0..2500).map(|n| (n % 253) as u8).collect();
        let mut frame = build::ipv4(TCP, ([10, 0, 0, 1], 7), ([10, 0, 0, 2], 9), &data);
        frame[38..42].copy_from_slice(&0xffff_ff00u32.to_be_bytes());
        frame[47] = 0x99; // CWR, ACK, PSH, FIN
        frame[18..20].copy_from_slice(&0xffffu16.to_be_bytes());
        let all = segments(&frame, Ip::V4, 1000).unwrap();
        assert_eq!(all.len(), 3);
        let mut joined = Vec::new();
        for (number, segment) in all.iter().enumerate() {
            assert!(checksum::verify(segment), "segment {number}");
            joined.extend_from_slice(&segment[54..]);
        }
        assert_eq!(joined, data);
        let flags: Vec<u8> = all.iter().map(|s| s[47]).collect();
        assert_eq!(flags, [0x90, 0x10, 0x19]);
        let sequences: Vec<u32> = all.iter().map(|s| be32(s, 38).unwrap()).collect();
        assert_eq!(sequences, [0xffff_ff00, 0x2e8, 0x6d0]);
        let ids: Vec<u16> = all.iter().map(|s| be16(s, 18).unwrap()).collect();
        assert_eq!(ids, [0xffff, 0, 1]);

        let frame = build::ipv6(TCP, ([1; 16], 7), ([2; 16], 9), &data);
        let all = segments(&frame, Ip::V6, 1400).unwrap();
        assert!(all.len() == 2 && all.iter().all(|s| checksum::verify(s)));
        // Not what it says it is.
        assert!(segments(&frame, Ip::V4, 1400).is_none());
        let frame = build::ipv4(UDP, ([10, 0, 0, 1], 7), ([10, 0, 0, 2], 9), &data);
        assert!(segments(&frame, Ip::V4, 1400).is_none());
        assert!(segments(&frame, Ip::V4, 0).is_none());
    }

    #[test]
    fn headers_are_mended() {
        let data = vec![7; 3000];
        for good in [
            build::ipv4(TCP, ([10, 0, 0, 1], 7), ([10, 0, 0, 2], 9), &data),
            build::ipv6(TCP, ([1; 16], 7), ([2; 16], 9), &data),
        ] {
            let network = Layout::parse(&good).unwrap().network.unwrap();
            // As netvsc_xmit leaves it.
            let mut frame = good.clone();
            if network.ip == Ip::V4 {
                frame[16..18].fill(0);
                frame[24..26].fill(0);
            } else {
                frame[18..20].fill(0);
            }
            frame[network.transport + 16..network.transport + 18].fill(0xab);
            let bytes = frame.len();
            let mended = mend(&mut frame, bytes).unwrap();
            assert_eq!(mended.transport, network.transport);
            assert_eq!(mended.header, network.transport + 20);
            assert!(checksum::complete(
                &mut frame,
                &View::EMPTY,
                mended.transport,
                16
            ));
            assert_eq!(frame, good);
            assert!(mend(&mut frame, 70_000).is_none());
            assert!(mend(&mut frame, 40).is_none());
        }
    }

    proptest! {
        #[test]
        fn any_headers_are_survived(mut frame in proptest::collection::vec(any::<u8>(), 0..200), size in any::<u16>(), v6 in any::<bool>(), bytes in 0usize..80_000) {
            if let Some(field) = frame.get_mut(12..15) {
                field.copy_from_slice(if v6 { &[0x86, 0xdd, 0x60] } else { &[8, 0, 0x45] });
            }
            let ip = if v6 { Ip::V6 } else { Ip::V4 };
            if let Some(all) = segments(&frame, ip, size) {
                prop_assert!(all.iter().all(|segment| segment.len() <= frame.len()));
            }
            let _ = mend(&mut frame, bytes);
        }
    }
}
