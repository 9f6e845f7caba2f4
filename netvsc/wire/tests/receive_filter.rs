// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Records of queues and filters; offsets are those of public layouts of `ntddndis.h` for 64
//! bits: `NDIS_RECEIVE_QUEUE_PARAMETERS` has QueueId at 0xc, ProcessorAffinity at 0x18,
//! NumSuggestedReceiveBuffers at 0x28, VmName at 0x34, QueueName at 0x238 and ends at 0x43c;
//! `NDIS_RECEIVE_FILTER_PARAMETERS` has FilterId at 0x10 and 0x24 bytes, each field 0x38 with its
//! value at 0x18.

use netvsc_wire::oid::{FilterCapabilities, OidError, QueueState, ReceiveFilter, ReceiveQueue};
use proptest::prelude::*;

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn queue(number: u32) -> ReceiveQueue {
    ReceiveQueue {
        queue: number,
        state: QueueState::RUNNING,
        processors: 1 << number,
        receive_buffers: 1000 + number,
    }
}

fn filter(vlan: Option<u16>) -> ReceiveFilter {
    ReceiveFilter {
        filter: 1,
        queue: 3,
        address: [2, 0x15, 0x5d, 1, 2, 3],
        vlan,
    }
}

#[test]
fn capabilities() {
    let capabilities = FilterCapabilities {
        queues: 4,
        filters: 1,
    };
    let bytes = capabilities.to_bytes();
    assert_eq!(bytes[..4], [0x80, 1, 56, 0]);
    // NumQueues, SupportedMacHeaderFields, MaxMacHeaderFilters.
    assert_eq!(
        (word(&bytes, 0x10), word(&bytes, 0x20), word(&bytes, 0x24)),
        (4, 9, 1)
    );
    assert_eq!(FilterCapabilities::parse(&bytes), Ok(capabilities));
    assert!(FilterCapabilities::parse(&bytes[..55]).is_err());
    let global = FilterCapabilities::global_bytes(true);
    assert_eq!((word(&global, 8), word(&global, 12)), (1, 1));
    assert_eq!(FilterCapabilities::global_bytes(false)[8..], [0; 8]);
}

#[test]
fn queues() {
    let mut out = [0; 4096];
    let length = queue(3).encode(&mut out).unwrap();
    assert_eq!(length, 0x43c);
    assert_eq!((word(&out, 8), word(&out, 0xc)), (1, 3));
    assert_eq!(
        (word(&out, 0x14), word(&out, 0x18), word(&out, 0x28)),
        (0, 8, 1003)
    );
    assert_eq!(ReceiveQueue::parse_request(&out), Ok(3));
    let parsed = ReceiveQueue::parse(&out[..length]).unwrap();
    assert_eq!(
        parsed,
        ReceiveQueue {
            state: QueueState::UNDEFINED,
            ..queue(3)
        }
    );
    assert!(ReceiveQueue::parse(&out[..length - 1]).is_err());

    let all = [queue(0), queue(1), queue(2)];
    let length = ReceiveQueue::encode_list(&all, &mut out).unwrap();
    assert_eq!(length, ReceiveQueue::list_bytes(3));
    assert_eq!((word(&out, 4), word(&out, 8)), (16, 3));
    let parsed: Vec<_> = ReceiveQueue::parse_list(&out[..length]).unwrap().collect();
    assert_eq!(parsed, all.map(Ok));
    assert!(ReceiveQueue::parse_list(&out[..length - 1]).is_err());
    assert_eq!(
        ReceiveQueue::encode_list(&all, &mut out[..length - 1]),
        Err(OidError::NoRoom { need: length })
    );
}

#[test]
fn filters() {
    for vlan in [None, Some(0), Some(100)] {
        let bytes = filter(vlan).to_bytes();
        assert_eq!(
            (word(&bytes, 12), word(&bytes, 0x10), word(&bytes, 0x14)),
            (3, 1, 40)
        );
        assert_eq!(bytes[40 + 0x18..40 + 0x1e], filter(vlan).address);
        assert_eq!(word(&bytes, 96 + 4), u32::from(vlan.is_none()));
        assert_eq!(word(&bytes, 96 + 0x18), vlan.unwrap_or(0).into());
        assert_eq!(ReceiveFilter::parse(&bytes), Ok(filter(vlan)));
        assert_eq!(ReceiveFilter::parse_request(&bytes), Ok(1));
        assert!(ReceiveFilter::parse(&bytes[..bytes.len() - 1]).is_err());
    }
    let mut out = [0; 64];
    let length = ReceiveFilter::encode_list(3, &[filter(None)], &mut out).unwrap();
    assert_eq!(length, 36);
    assert_eq!(ReceiveFilter::parse_list_request(&out), Ok(3));
    assert!(ReceiveFilter::parse_list(&out[..length]).unwrap().eq([1]));
    let length = ReceiveFilter::encode_list(0, &[], &mut out).unwrap();
    assert_eq!(
        ReceiveFilter::parse_list(&out[..length]).unwrap().count(),
        0
    );
}

#[test]
fn tests_that_a_queue_has_no_use_for() {
    let good = filter(Some(5)).to_bytes();
    // Frame header, test and field of the first; no fields, fields of no bytes, fields outside.
    for (at, bad) in [
        (40 + 8, 2u32),
        (40 + 12, 3),
        (40 + 16, 3),
        (0x18, 0),
        (0x1c, 0),
        (0x14, 41),
    ] {
        let mut bytes = good;
        bytes[at..at + 4].copy_from_slice(&bad.to_le_bytes());
        assert!(ReceiveFilter::parse(&bytes).is_err(), "{at:#x}");
    }
    // No second test: any VLAN but none named.
    let mut bytes = good;
    bytes[0x18] = 1;
    assert_eq!(ReceiveFilter::parse(&bytes), Ok(filter(None)));
}

proptest! {
    #[test]
    fn any_bytes_are_answered(words in proptest::collection::vec(prop_oneof![0u32..80, any::<u32>()], 0..300)) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let _ = FilterCapabilities::parse(&bytes);
        let _ = ReceiveQueue::parse(&bytes);
        if let Ok(list) = ReceiveQueue::parse_list(&bytes) {
            prop_assert!(list.count() <= bytes.len());
        }
        if let Ok(list) = ReceiveFilter::parse_list(&bytes) {
            prop_assert!(list.count() <= bytes.len());
        }
        if let Ok(filter) = ReceiveFilter::parse(&bytes) {
            prop_assert_eq!(ReceiveFilter::parse(&filter.to_bytes()), Ok(filter));
        }
    }
}
