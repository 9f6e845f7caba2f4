// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The adapter as guests meet it: the conversation of Linux's driver, and nonsense.

use netvsc_wire::oid::{
    mac_parameter, ChecksumOffload, ChecksumSetting, FilterCapabilities, LargeSendV2, ObjectHeader,
    OffloadParameters, Oid, ReceiveFilter, ReceiveQueue, RscOffload, ScaleCapabilities, ScaleFlags,
    ScaleParameters, Setting, Utf16, MAX_SCALE_PARAMETERS_BYTES,
};
use netvsc_wire::rndis::{Query, Set};
use netvsc_wire::rss::DEFAULT_KEY;

use super::*;

mod nonsense;
mod objects;

const MAC: EthernetAddress = [0x00, 0x15, 0x5d, 1, 2, 3];

fn config(version: Version) -> AdapterConfig {
    AdapterConfig {
        version,
        mac: MAC,
        mtu: 1500,
        link_up: true,
        megabits: 10_000,
        queues: 4,
        name: "Lab N\u{e4}t 1".to_owned(),
        offload: Offload {
            checksum: ChecksumOffload::ALL,
            large_send_v2: LargeSendV2::up_to(65_536),
            rsc: RscOffload {
                ip4: version.has_rsc(),
                ip6: version.has_rsc(),
            },
            ..Default::default()
        },
        connections: None,
        access_vlan: None,
        max_packets: 8,
        max_answer: DEFAULT_MAX_ANSWER,
    }
}

const STATISTICS: Statistics = Statistics {
    sent_frames: 0x1_0000_0002,
    sent_bytes: 3,
    send_errors: 4,
    send_discards: 5,
    received_frames: 6,
    received_bytes: 7,
    receive_errors: 8,
    receive_discards: 9,
    no_buffer: 10,
};

/// A guest that counts its requests, as Linux does.
struct Guest {
    adapter: Adapter,
    requests: u32,
    answer: Vec<u8>,
}

impl Guest {
    fn new(config: AdapterConfig) -> Self {
        Self {
            adapter: Adapter::new(config),
            requests: 0,
            answer: Vec::new(),
        }
    }

    fn running(version: Version) -> Self {
        let mut guest = Self::new(config(version));
        assert_eq!(
            guest.initialize((1, 0)),
            (Status::SUCCESS, Outcome::Started)
        );
        guest
    }

    fn say(&mut self, message: GuestControl<'_>) -> Outcome {
        let mut bytes = [0; 4096];
        let length = message.encode(&mut bytes).unwrap();
        self.adapter
            .handle(&bytes[..length], &STATISTICS, &mut self.answer)
            .unwrap()
    }

    fn initialize(&mut self, version: (u32, u32)) -> (Status, Outcome) {
        self.requests += 1;
        let request_id = self.requests;
        let outcome = self.say(GuestControl::Initialize(Initialize {
            request_id,
            version,
            max_transfer_bytes: rndis::MAX_TRANSFER_BYTES,
        }));
        match HostControl::parse(&self.answer) {
            Ok(HostControl::InitializeComplete(complete)) => {
                assert_eq!(complete.request_id, request_id);
                assert_eq!((complete.max_packets, complete.alignment()), (8, Some(8)));
                (complete.status, outcome)
            }
            other => panic!("{other:?}"),
        }
    }

    fn query_with(&mut self, oid: Oid, info: &[u8]) -> Result<Vec<u8>, Status> {
        self.requests += 1;
        let request_id = self.requests;
        let outcome = self.say(GuestControl::Query(Query {
            request_id,
            oid,
            info,
        }));
        assert_eq!(outcome, Outcome::Unchanged);
        match HostControl::parse(&self.answer) {
            Ok(HostControl::QueryComplete(complete)) => {
                assert_eq!(complete.request_id, request_id);
                if complete.status.is_success() {
                    Ok(complete.info.to_vec())
                } else {
                    assert!(complete.info.is_empty());
                    Err(complete.status)
                }
            }
            other => panic!("{other:?}"),
        }
    }

    fn query(&mut self, oid: Oid) -> Result<Vec<u8>, Status> {
        self.query_with(oid, &[])
    }

    fn number(&mut self, oid: Oid) -> u32 {
        u32::from_le_bytes(self.query(oid).unwrap().try_into().unwrap())
    }

    fn set(&mut self, oid: Oid, info: &[u8]) -> (Status, Outcome) {
        self.requests += 1;
        let request_id = self.requests;
        let outcome = self.say(GuestControl::Set(Set {
            request_id,
            oid,
            info,
        }));
        match HostControl::parse(&self.answer) {
            Ok(HostControl::SetComplete(complete)) => {
                assert_eq!(complete.request_id, request_id);
                (complete.status, outcome)
            }
            other => panic!("{other:?}"),
        }
    }

    fn refuses(&mut self, oid: Oid, info: &[u8], status: Status) {
        let before = format!("{:?}", self.adapter);
        assert_eq!(self.set(oid, info), (status, Outcome::Unchanged), "{oid}");
        assert_eq!(format!("{:?}", self.adapter), before, "{oid}");
    }
}

fn changed(changes: Changes) -> (Status, Outcome) {
    (Status::SUCCESS, Outcome::Changed(changes))
}

fn spreading(flags: ScaleFlags, hash: HashTypes, table: &[u32]) -> Vec<u8> {
    let mut bytes = vec![0; MAX_SCALE_PARAMETERS_BYTES];
    let length = ScaleParameters::encode(flags, hash, table, &DEFAULT_KEY, &mut bytes).unwrap();
    bytes.truncate(length);
    bytes
}

fn offloads(parameters: OffloadParameters, version: Version) -> Vec<u8> {
    let mut bytes = vec![0; OffloadParameters::MAX_BYTES];
    let length = parameters.encode(version, &mut bytes).unwrap();
    bytes.truncate(length);
    bytes
}

/// What `rndis_filter_device_add` and `rndis_netdev_set_hwcaps` of Linux ask, in their order.
#[test]
fn the_conversation_of_linux() {
    for version in Version::OFFERED {
        let mut guest = Guest::running(version);
        assert_eq!(guest.number(Oid::GEN_MAXIMUM_FRAME_SIZE), 1500);
        assert_eq!(guest.query(Oid::ETHERNET_PERMANENT_ADDRESS).unwrap(), MAC);
        let name = guest.query(Oid::GEN_FRIENDLY_NAME).unwrap();
        assert!(Utf16::new(&name)
            .unwrap()
            .chars()
            .eq("Lab N\u{e4}t 1".chars()));
        assert_eq!(name[name.len() - 2..], [0, 0]);

        let revision = OffloadRevision::of_version(version);
        let asked = revision.header().to_bytes();
        let record = guest
            .query_with(Oid::TCP_OFFLOAD_HARDWARE_CAPABILITIES, &asked)
            .unwrap();
        assert_eq!(record.len(), revision.bytes());
        let capabilities = Offload::parse(&record).unwrap();
        assert!(capabilities.checksum.sends_tcp4() && capabilities.checksum.sends_tcp6());
        assert_eq!(capabilities.rsc.ip4, version.has_rsc());

        let rsc = if version.has_rsc() {
            Setting::On
        } else {
            Setting::NoChange
        };
        let wanted = OffloadParameters {
            ip4_header: ChecksumSetting::OFF,
            tcp4: ChecksumSetting::ON,
            udp4: ChecksumSetting::ON,
            tcp6: ChecksumSetting::ON,
            udp6: ChecksumSetting::ON,
            large_send_v2_ip4: Setting::On,
            large_send_v2_ip6: Setting::On,
            rsc_ip4: rsc,
            rsc_ip6: rsc,
            ..Default::default()
        };
        let bytes = offloads(wanted, version);
        assert_eq!(
            guest.set(Oid::TCP_OFFLOAD_PARAMETERS, &bytes),
            changed(Changes::OFFLOAD)
        );
        let both = ChecksumSwitch {
            send: true,
            receive: true,
        };
        let udp = if version.has_udp_checksum() {
            both
        } else {
            ChecksumSwitch::default()
        };
        let expected = Offloads {
            tcp4: both,
            udp4: udp,
            tcp6: both,
            udp6: udp,
            large_send_ip4: true,
            large_send_ip6: true,
            rsc_ip4: version.has_rsc(),
            rsc_ip6: version.has_rsc(),
            ..Default::default()
        };
        assert_eq!(guest.adapter.offloads(), &expected);

        assert_eq!(guest.number(Oid::GEN_MEDIA_CONNECT_STATUS), 0);
        assert_eq!(guest.number(Oid::GEN_LINK_SPEED), 10_000 * 10_000);
        let asked = ScaleCapabilities::header().to_bytes();
        let record = guest
            .query_with(Oid::GEN_RECEIVE_SCALE_CAPABILITIES, &asked)
            .unwrap();
        assert_eq!(record.len(), ScaleCapabilities::BYTES);
        let capabilities = ScaleCapabilities::parse(&record).unwrap();
        assert_eq!((capabilities.queues, capabilities.table_entries), (4, 128));

        // Off before it is changed, and then on.
        let table: Vec<u32> = (0..128).map(|entry| entry % 4).collect();
        let off = spreading(ScaleFlags::DISABLE, HashTypes::LINUX, &table);
        assert_eq!(
            guest.set(Oid::GEN_RECEIVE_SCALE_PARAMETERS, &off),
            changed(Changes::SPREADING)
        );
        assert_eq!(guest.adapter.spreading(), None);
        let on = spreading(ScaleFlags::NONE, HashTypes::LINUX, &table);
        guest.set(Oid::GEN_RECEIVE_SCALE_PARAMETERS, &on);
        let expected = Spreading {
            hash: HashTypes::LINUX,
            key: DEFAULT_KEY,
            table,
        };
        assert_eq!(guest.adapter.spreading(), Some(&expected));

        assert_eq!(
            guest.set(Oid::GEN_CURRENT_PACKET_FILTER, &[0xd, 0, 0, 0]),
            changed(Changes::FILTER)
        );
        assert_eq!(guest.adapter.filter(), PacketFilter(0xd));
        let address = [2, 0, 0, 0, 0, 9];
        assert_eq!(
            guest.set(Oid::GEN_RNDIS_CONFIG_PARAMETER, &mac_parameter(&address)),
            changed(Changes::ADDRESS)
        );
        assert_eq!(guest.adapter.mac(), address);
        assert_eq!(guest.query(Oid::ETHERNET_CURRENT_ADDRESS).unwrap(), address);
        assert_eq!(guest.query(Oid::ETHERNET_PERMANENT_ADDRESS).unwrap(), MAC);

        assert_eq!(
            guest.say(GuestControl::Halt { request_id: 1 }),
            Outcome::Halted
        );
        assert!(guest.answer.is_empty() && !guest.adapter.running());
        assert_eq!(guest.adapter.filter(), PacketFilter::NONE);
        assert_eq!(guest.adapter.mac(), MAC);
        // A module that is loaded again begins again.
        assert_eq!(
            guest.initialize((1, 0)),
            (Status::SUCCESS, Outcome::Started)
        );
        assert_eq!(guest.adapter.offloads(), &Offloads::default());
    }
}

#[test]
fn nothing_works_before_it_is_initialised() {
    let mut guest = Guest::new(config(Version::V6));
    assert_eq!(
        guest.query(Oid::GEN_MAXIMUM_FRAME_SIZE),
        Err(Status::ADAPTER_NOT_READY)
    );
    guest.refuses(
        Oid::GEN_CURRENT_PACKET_FILTER,
        &[1, 0, 0, 0],
        Status::ADAPTER_NOT_READY,
    );
    assert_eq!(guest.say(GuestControl::Reset), Outcome::Unchanged);
    assert_eq!(
        HostControl::parse(&guest.answer),
        Ok(HostControl::ResetComplete {
            status: Status::ADAPTER_NOT_READY,
            addressing_reset: false
        })
    );
    assert_eq!(
        guest.initialize((2, 0)),
        (Status::BAD_VERSION, Outcome::Unchanged)
    );
    assert!(!guest.adapter.running());
    let mut message = vec![1];
    assert!(!guest.adapter.set_link(false, &mut message));
    assert!(message.is_empty());
    // But it counts from then on.
    assert_eq!(guest.initialize((1, 0)).0, Status::SUCCESS);
    assert_eq!(guest.number(Oid::GEN_MEDIA_CONNECT_STATUS), 1);
}

#[test]
fn keepalive_and_reset() {
    let mut guest = Guest::running(Version::V6);
    assert_eq!(
        guest.say(GuestControl::Keepalive { request_id: 77 }),
        Outcome::Unchanged
    );
    assert_eq!(
        HostControl::parse(&guest.answer),
        Ok(HostControl::KeepaliveComplete {
            request_id: 77,
            status: Status::SUCCESS
        })
    );
    guest.set(Oid::GEN_CURRENT_PACKET_FILTER, &[1, 0, 0, 0]);
    guest.set(Oid::ETHERNET_MULTICAST_LIST, &[1, 0, 0x5e, 0, 0, 1]);
    assert_eq!(guest.say(GuestControl::Reset), Outcome::Reset);
    assert_eq!(
        HostControl::parse(&guest.answer),
        Ok(HostControl::ResetComplete {
            status: Status::SUCCESS,
            addressing_reset: true
        })
    );
    assert_eq!(guest.adapter.filter(), PacketFilter::NONE);
    assert!(guest.adapter.groups().is_empty() && guest.adapter.running());
}

#[test]
fn the_link_is_told_of() {
    let mut guest = Guest::running(Version::V6);
    let mut message = Vec::new();
    let said = |message: &[u8]| match HostControl::parse(message) {
        Ok(HostControl::Indicate(indication)) => (indication.status, indication.megabits()),
        other => panic!("{other:?}"),
    };
    assert!(!guest.adapter.set_link(true, &mut message));
    assert!(guest.adapter.set_link(false, &mut message));
    assert_eq!(said(&message), (Status::MEDIA_DISCONNECT, None));
    let record = guest.query(Oid::GEN_LINK_STATE).unwrap();
    assert!(!LinkState::parse(&record).unwrap().up);
    assert!(guest.adapter.set_link(true, &mut message));
    assert_eq!(said(&message), (Status::MEDIA_CONNECT, None));
    assert!(guest.adapter.set_speed(40_000, &mut message));
    assert_eq!(said(&message), (Status::LINK_SPEED_CHANGE, Some(40_000)));
    assert!(!guest.adapter.set_speed(40_000, &mut message));
    let record = guest.query(Oid::GEN_LINK_STATE).unwrap();
    let link = LinkState::parse(&record).unwrap();
    assert_eq!((link.up, link.bits_per_second), (true, 40_000_000_000));
    assert!(guest.adapter.change_network(&mut message));
    assert_eq!(said(&message), (Status::NETWORK_CHANGE, None));

    let mut old = Guest::running(Version::V4);
    assert!(!old.adapter.set_speed(40_000, &mut message));
    assert_eq!(old.number(Oid::GEN_LINK_SPEED), 400_000_000);
}
