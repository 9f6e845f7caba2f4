// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Objects that are asked for and changed.

use super::*;

#[test]
fn everything_that_is_listed_is_there() {
    let mut guest = Guest::running(Version::V6_1);
    guest.set(
        Oid::GEN_RECEIVE_SCALE_PARAMETERS,
        &spreading(ScaleFlags::NONE, HashTypes::LINUX, &[0, 1]),
    );
    // Enough for any request that has to name a queue or a filter; the filter is number 1.
    let mut named = [0; 64];
    named[16] = 1;
    let listed = guest.query(Oid::GEN_SUPPORTED_LIST).unwrap();
    let mut answered = 0;
    for oid in listed.chunks_exact(4) {
        let oid = Oid(u32::from_le_bytes(oid.try_into().unwrap()));
        assert!(oid.name().is_some());
        match guest.query_with(oid, &named) {
            Ok(_) => answered += 1,
            // Four queues are more than fit into a message.
            Err(Status::BUFFER_TOO_SHORT) => assert_eq!(oid, Oid::RECEIVE_FILTER_ENUM_QUEUES),
            Err(status) => {
                assert_eq!(status, Status::INVALID_OID, "{oid}");
                assert_ne!(guest.set(oid, &[0; 28]).0, Status::INVALID_OID, "{oid}");
            }
        }
    }
    assert!(answered > 45);
    // Without a name, a VLAN and connections to hand over these aren't there.
    for oid in [
        Oid::GEN_VLAN_ID,
        Oid::TCP_CONNECTION_OFFLOAD_HARDWARE_CAPABILITIES,
        Oid::TCP_CONNECTION_OFFLOAD_CURRENT_CONFIG,
        Oid::TCP_CONNECTION_OFFLOAD_PARAMETERS,
        Oid(0x0d01_0101),
    ] {
        assert_eq!(guest.query(oid), Err(Status::NOT_SUPPORTED), "{oid}");
        guest.refuses(oid, &[0; 28], Status::NOT_SUPPORTED);
    }
    guest.refuses(Oid::GEN_LINK_SPEED, &[0; 4], Status::INVALID_OID);
}

#[test]
fn objects_that_depend_on_the_configuration() {
    let connections = ConnectionOffload {
        ipv4: true,
        ipv6: true,
        capacity: 100,
        ..Default::default()
    };
    let mut guest = Guest::new(AdapterConfig {
        name: String::new(),
        access_vlan: Some(100),
        connections: Some(connections),
        queues: 1,
        ..config(Version::V6_1)
    });
    guest.initialize((1, 0));
    assert_eq!(
        guest.query(Oid::GEN_FRIENDLY_NAME),
        Err(Status::NOT_SUPPORTED)
    );
    assert_eq!(guest.number(Oid::GEN_VLAN_ID), 100);
    let offered = guest.query(Oid::TCP_CONNECTION_OFFLOAD_HARDWARE_CAPABILITIES);
    assert_eq!(ConnectionOffload::parse(&offered.unwrap()), Ok(connections));
    let in_force = |guest: &mut Guest| {
        let record = guest.query(Oid::TCP_CONNECTION_OFFLOAD_CURRENT_CONFIG);
        let offload = ConnectionOffload::parse(&record.unwrap()).unwrap();
        (offload.ipv4, offload.ipv6)
    };
    assert_eq!(in_force(&mut guest), (false, false));
    let wanted = OffloadParameters {
        connection_ip4: Setting::On,
        ..Default::default()
    };
    let bytes = offloads(wanted, Version::V6_1);
    assert_eq!(
        guest.set(Oid::TCP_OFFLOAD_PARAMETERS, &bytes),
        changed(Changes::OFFLOAD)
    );
    assert_eq!(in_force(&mut guest), (true, false));
    // One queue: there is nothing to spread over.
    let table = spreading(ScaleFlags::NONE, HashTypes::LINUX, &[0]);
    guest.refuses(
        Oid::GEN_RECEIVE_SCALE_PARAMETERS,
        &table,
        Status::NOT_SUPPORTED,
    );
}

#[test]
fn names_are_cut_to_what_a_guest_reads() {
    let mut guest = Guest::new(AdapterConfig {
        name: "\u{1f600}".repeat(200),
        ..config(Version::V5)
    });
    guest.initialize((1, 0));
    let name = guest.query(Oid::GEN_FRIENDLY_NAME).unwrap();
    // 127 characters of two units each, and the zero.
    assert_eq!(name.len(), 127 * 4 + 2);
    assert_eq!(Utf16::new(&name).unwrap().chars().count(), 127);
}

#[test]
fn offloads_in_force() {
    let mut guest = Guest::running(Version::V6_1);
    let in_force = |guest: &mut Guest| {
        Offload::parse(&guest.query(Oid::TCP_OFFLOAD_CURRENT_CONFIG).unwrap()).unwrap()
    };
    assert_eq!(in_force(&mut guest), Offload::default());
    let wanted = OffloadParameters {
        tcp4: ChecksumSetting::Set {
            send: true,
            receive: false,
        },
        udp6: ChecksumSetting::ON,
        large_send_v2_ip6: Setting::On,
        rsc_ip4: Setting::On,
        ..Default::default()
    };
    guest.set(
        Oid::TCP_OFFLOAD_PARAMETERS,
        &offloads(wanted, Version::V6_1),
    );
    let now = in_force(&mut guest);
    assert_eq!((now.checksum.ip4_send, now.checksum.ip4_receive), (0x14, 0));
    assert_eq!(
        (now.checksum.ip6_send, now.checksum.ip6_receive),
        (0x40, 0x40)
    );
    assert_eq!(
        (
            now.large_send_v2.ip4_max_bytes,
            now.large_send_v2.ip6_max_bytes
        ),
        (0, 65_536)
    );
    assert_eq!(
        now.rsc,
        RscOffload {
            ip4: true,
            ip6: false
        }
    );
    let mut message = Vec::new();
    assert!(guest.adapter.indicate_offload(&mut message));
    let Ok(HostControl::Indicate(indication)) = HostControl::parse(&message) else {
        panic!("no indication");
    };
    assert_eq!(indication.status, Status::TASK_OFFLOAD_CURRENT_CONFIG);
    assert_eq!(Offload::parse(indication.info), Ok(now));
}

#[test]
fn parts_of_the_spreading_stay() {
    let mut guest = Guest::running(Version::V6_1);
    let oid = Oid::GEN_RECEIVE_SCALE_PARAMETERS;
    guest.set(
        oid,
        &spreading(ScaleFlags::NONE, HashTypes::LINUX, &[0, 1, 2, 3]),
    );
    let keep = ScaleFlags(ScaleFlags::TABLE_UNCHANGED.0 | ScaleFlags::KEY_UNCHANGED.0);
    guest.set(oid, &spreading(keep, HashTypes(0x101), &[3]));
    let now = guest.adapter.spreading().unwrap();
    assert_eq!(
        (now.hash, &now.table[..]),
        (HashTypes(0x101), &[0, 1, 2, 3][..])
    );
    guest.set(
        oid,
        &spreading(ScaleFlags::HASH_INFO_UNCHANGED, HashTypes::NONE, &[3]),
    );
    let now = guest.adapter.spreading().unwrap();
    assert_eq!((now.hash, &now.table[..]), (HashTypes(0x101), &[3][..]));
    let record = guest.query(oid).unwrap();
    assert!(ScaleParameters::parse(&record)
        .unwrap()
        .table
        .iter()
        .eq([3]));
    // No hash: off, and what was set is still there.
    guest.set(oid, &spreading(ScaleFlags::NONE, HashTypes::NONE, &[1]));
    assert_eq!(guest.adapter.spreading(), None);
    let record = guest.query(oid).unwrap();
    assert!(ScaleParameters::parse(&record)
        .unwrap()
        .flags
        .contains(ScaleFlags::DISABLE));
}

#[test]
fn groups_and_the_address() {
    let mut guest = Guest::running(Version::V6_1);
    let list = [[1, 0, 0x5e, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1]];
    assert_eq!(
        guest.set(Oid::ETHERNET_MULTICAST_LIST, list.as_flattened()),
        changed(Changes::GROUPS)
    );
    assert_eq!(guest.adapter.groups(), list);
    assert_eq!(
        guest.query(Oid::ETHERNET_MULTICAST_LIST).unwrap(),
        list.as_flattened()
    );
    guest.set(
        Oid::GEN_RNDIS_CONFIG_PARAMETER,
        &mac_parameter(&[2, 0, 0, 0, 0, 9]),
    );
    // An empty value brings the NIC's own address back.
    let mut own = mac_parameter(&MAC);
    own[16] = 0;
    assert_eq!(
        guest.set(Oid::GEN_RNDIS_CONFIG_PARAMETER, &own),
        changed(Changes::ADDRESS)
    );
    assert_eq!(guest.adapter.mac(), MAC);
}

#[test]
fn counters_have_the_width_that_is_asked_for() {
    let mut guest = Guest::running(Version::V6_1);
    assert_eq!(guest.number(Oid::GEN_XMIT_OK), 2);
    let wide = guest.query_with(Oid::GEN_XMIT_OK, &[0; 8]).unwrap();
    assert_eq!(wide, 0x1_0000_0002u64.to_le_bytes());
    for (oid, count) in [
        (Oid::GEN_BYTES_XMIT, 3),
        (Oid::GEN_XMIT_ERROR, 4),
        (Oid::GEN_XMIT_DISCARDS, 5),
        (Oid::GEN_RCV_OK, 6),
        (Oid::GEN_BYTES_RCV, 7),
        (Oid::GEN_RCV_ERROR, 8),
        (Oid::GEN_RCV_DISCARDS, 9),
        (Oid::GEN_RCV_NO_BUFFER, 10),
        (Oid::GEN_RCV_CRC_ERROR, 0),
    ] {
        assert_eq!(guest.number(oid), count, "{oid}");
    }
}

#[test]
fn one_filter_leads_to_the_nic() {
    let mut guest = Guest::new(AdapterConfig {
        access_vlan: Some(7),
        max_answer: 8192,
        ..config(Version::V2)
    });
    guest.initialize((1, 0));
    let record = guest
        .query(Oid::RECEIVE_FILTER_CURRENT_CAPABILITIES)
        .unwrap();
    assert_eq!(FilterCapabilities::parse(&record).unwrap().queues, 4);
    let record = guest.query(Oid::RECEIVE_FILTER_ENUM_QUEUES).unwrap();
    let queues: Vec<_> = ReceiveQueue::parse_list(&record)
        .unwrap()
        .map(|queue| queue.unwrap().queue)
        .collect();
    assert_eq!(queues, [0, 1, 2, 3]);
    let mut request = [0; 64];
    let record = guest
        .query_with(Oid::RECEIVE_FILTER_ENUM_FILTERS, &request)
        .unwrap();
    assert!(ReceiveFilter::parse_list(&record).unwrap().eq([1]));
    request[16] = 1;
    let record = guest
        .query_with(Oid::RECEIVE_FILTER_PARAMETERS, &request)
        .unwrap();
    let filter = ReceiveFilter::parse(&record).unwrap();
    assert_eq!(
        (filter.address, filter.vlan, filter.queue),
        (MAC, Some(7), 0)
    );

    // The same as a method.
    let outcome = guest.say(GuestControl::SetEx(Set {
        request_id: 5,
        oid: Oid::RECEIVE_FILTER_PARAMETERS,
        info: &request,
    }));
    assert_eq!(outcome, Outcome::Unchanged);
    let Ok(HostControl::SetExComplete(complete)) = HostControl::parse(&guest.answer) else {
        panic!("no completion");
    };
    assert_eq!((complete.request_id, complete.status), (5, Status::SUCCESS));
    assert_eq!(ReceiveFilter::parse(complete.info), Ok(filter));

    // Queues and filters that aren't there.
    request[16] = 2;
    request[12] = 4;
    for oid in [
        Oid::RECEIVE_FILTER_PARAMETERS,
        Oid::RECEIVE_FILTER_QUEUE_PARAMETERS,
    ] {
        assert_eq!(guest.query_with(oid, &request), Err(Status::INVALID_DATA));
        assert_eq!(guest.query(oid), Err(Status::INVALID_LENGTH));
    }
    // Queues are the host's to allocate.
    assert_eq!(
        guest.query(Oid::RECEIVE_FILTER_ALLOCATE_QUEUE),
        Err(Status::NOT_SUPPORTED)
    );
}
