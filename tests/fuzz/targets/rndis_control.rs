// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Requests, completions and indications, and the records inside of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netvsc_wire::oid::{self, *};
use netvsc_wire::rndis::{GuestControl, HostControl};
use netvsc_wire::Version;

fn record(info: &[u8]) {
    let mut out = [0; MAX_SCALE_PARAMETERS_BYTES];
    if let Ok(offload) = Offload::parse(info) {
        let length = offload
            .encode(OffloadRevision::Rev3, &mut out)
            .expect("room");
        assert_eq!(Offload::parse(&out[..length]), Ok(offload));
    }
    if let Ok(parameters) = OffloadParameters::parse(info) {
        let length = parameters.encode(Version::V6_1, &mut out).expect("room");
        assert_eq!(OffloadParameters::parse(&out[..length]), Ok(parameters));
    }
    if let Ok(capabilities) = ScaleCapabilities::parse(info) {
        assert_eq!(
            ScaleCapabilities::parse(&capabilities.to_bytes()),
            Ok(capabilities)
        );
    }
    if let Ok(parameters) = ScaleParameters::parse(info) {
        let table: Vec<u32> = parameters.table.iter().collect();
        assert!(table.len() <= MAX_TABLE_ENTRIES);
        if let (Some(key), false) = (parameters.key, table.is_empty()) {
            let (flags, hash) = (parameters.flags, parameters.hash);
            let length =
                ScaleParameters::encode(flags, hash, &table, &key, &mut out).expect("room");
            let again = ScaleParameters::parse(&out[..length]).expect("own record");
            assert_eq!(
                (again.flags, again.hash, again.key),
                (flags, hash, Some(key))
            );
            assert!(again.table.iter().eq(table));
        }
    }
    if let Ok(parameter) = ConfigParameter::parse(info) {
        assert!(parameter.name.chars().count() <= info.len());
        if let Some(address) = parameter.address() {
            let bytes = mac_parameter(&address);
            let again = ConfigParameter::parse(&bytes).expect("own record");
            assert_eq!(again.address(), Some(address));
        }
    }
    if let Ok(offload) = ConnectionOffload::parse(info) {
        assert_eq!(ConnectionOffload::parse(&offload.to_bytes()), Ok(offload));
    }
    if let Ok(filter) = ReceiveFilter::parse(info) {
        assert_eq!(ReceiveFilter::parse(&filter.to_bytes()), Ok(filter));
    }
    if let Ok(queues) = ReceiveQueue::parse_list(info) {
        let queues: Vec<_> = queues.flatten().collect();
        let mut out = vec![0; ReceiveQueue::list_bytes(queues.len())];
        let length = ReceiveQueue::encode_list(&queues, &mut out).expect("room");
        let again = ReceiveQueue::parse_list(&out[..length]).expect("own list");
        assert!(again.flatten().eq(queues));
    }
    if let Ok(filters) = ReceiveFilter::parse_list(info) {
        assert!(filters.count() <= info.len());
    }
    if let Ok(capabilities) = FilterCapabilities::parse(info) {
        let again = FilterCapabilities::parse(&capabilities.to_bytes());
        assert_eq!(again, Ok(capabilities));
    }
    if let Ok(link) = LinkState::parse(info) {
        assert_eq!(LinkState::parse(&link.to_bytes()), Ok(link));
    }
    if let Ok(groups) = multicast_list(info) {
        assert_eq!(groups.count() * 6, info.len());
    }
    assert_eq!(oid::word(info).is_ok(), info.len() >= 4);
}

fuzz_target!(|bytes: &[u8]| {
    let mut out = [0; 8192];
    match GuestControl::parse(bytes) {
        Ok(message) => {
            let length = message.encode(&mut out).expect("room");
            assert_eq!(GuestControl::parse(&out[..length]), Ok(message));
            match message {
                GuestControl::Query(query) => record(query.info),
                GuestControl::Set(set) | GuestControl::SetEx(set) => record(set.info),
                _ => {}
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    match HostControl::parse(bytes) {
        Ok(message) => {
            let length = message.encode(&mut out).expect("room");
            assert_eq!(HostControl::parse(&out[..length]), Ok(message));
            match message {
                HostControl::QueryComplete(complete) => record(complete.info),
                HostControl::SetExComplete(complete) => record(complete.info),
                HostControl::Indicate(indication) => {
                    let _ = indication.megabits();
                }
                HostControl::InitializeComplete(complete) => {
                    assert!(complete.alignment().is_none_or(u32::is_power_of_two));
                }
                _ => {}
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
