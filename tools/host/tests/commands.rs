// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Commands to a real bus with a guest on it, through the socket and through hvctl.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;
use std::time::Duration;

use hvhost::control::client::{Client, ClientError};
use hvhost::control::commands::{Commands, Hotplug, Machine};
use hvhost::control::server::{Counters, Server, Socket};
use hvhost::device::Device;
use hvhost::services::service::Service;
use hvhost::services::shutdown::Shutdown;
use hvhost::testing::{Echo, FakeGuest, LIMIT};
use hvhost::vmbus::bus::Bus;
use serde_json::{json, Map, Value};
use vmbus_wire::packet::OutPacket;

/// A machine that only counts.
#[derive(Default)]
struct Counted {
    quits: AtomicU32,
    keys: parking_lot::Mutex<Vec<Option<u8>>>,
}

impl Machine for Counted {
    fn quit(&self) {
        self.quits.fetch_add(1, Ordering::SeqCst);
    }
    fn send_break(&self, key: Option<u8>) -> anyhow::Result<()> {
        self.keys.lock().push(key);
        Ok(())
    }
    fn stats(&self) -> Value {
        json!({"processors": [{"exits": {"hlt": 3}}, {"exits": {"hlt": 4}}]})
    }
}

/// Adds echoes instead of NICs and disks.
struct Echoes {
    bus: Arc<Bus>,
    count: AtomicU32,
}

impl Hotplug for Echoes {
    fn add_nic(&self, spec: &str) -> anyhow::Result<String> {
        anyhow::ensure!(spec == "peer", "no NIC `{spec}`");
        let name = format!("echo{}", self.count.fetch_add(1, Ordering::SeqCst));
        self.bus.add(Echo::new(&name))?;
        Ok(name)
    }
    fn add_disk(&self, spec: &str) -> anyhow::Result<Value> {
        anyhow::bail!("no disk `{spec}`")
    }
}

struct Host {
    directory: tempfile::TempDir,
    guest: FakeGuest,
    machine: Arc<Counted>,
    _server: Server,
}

fn host(devices: Vec<Arc<dyn Device>>) -> Host {
    let guest = FakeGuest::new();
    for device in devices {
        guest.bus().add(device).unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let machine = Arc::new(Counted::default());
    let hotplug = Arc::new(Echoes {
        bus: guest.bus().clone(),
        count: AtomicU32::new(10),
    });
    let counters = Arc::new(Counters::default());
    let bus = guest.bus().clone();
    let events = bus.events().clone();
    let commands = Commands::new(bus, machine.clone(), hotplug, counters.clone());
    let socket = Socket::bind(&directory.path().join("s")).unwrap();
    let server = Server::start(socket, Arc::new(commands), events, counters).unwrap();
    Host {
        directory,
        guest,
        machine,
        _server: server,
    }
}

impl Host {
    fn client(&self) -> Client {
        Client::connect(&self.directory.path().join("s")).unwrap()
    }

    /// hvctl with these words; its exit status and what it printed.
    fn hvctl(&self, words: &str) -> (i32, Value) {
        let output = Command::new(env!("CARGO_BIN_EXE_hvctl"))
            .arg("--control")
            .arg(self.directory.path().join("s"))
            .args(words.split_whitespace())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code().unwrap(), value)
    }
}

fn ask(client: &mut Client, command: &str, arguments: Value) -> Result<Value, String> {
    let arguments = match arguments {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    match client.ask(command, arguments, LIMIT, |_| {}) {
        Ok(value) => Ok(value),
        Err(ClientError::Refused(why)) => Err(why),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn what_there_is_is_listed() {
    let host = host(vec![Echo::new("echo0"), Echo::new("echo1")]);
    let offers = host.guest.connect();
    let mut channel = host.guest.open(&offers[0]);
    // It is served once it answers.
    channel.transact(1, &[b"x"], |_| ());
    let mut client = host.client();
    let answer = ask(&mut client, "devices", Value::Null).unwrap();
    let devices = answer["devices"].as_array().unwrap();
    assert_eq!(devices.len(), 2);
    assert_eq!(devices[0]["name"], "echo0");
    assert_eq!(devices[0]["presence"], "offered");
    assert_eq!(
        (&devices[0]["channels"], &devices[0]["open"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(devices[1]["open"], 0);

    let stats = ask(&mut client, "stats", Value::Null).unwrap();
    assert_eq!(stats["machine"]["processors"][1]["exits"]["hlt"], 4);
    assert_eq!(stats["bus"]["connection"]["state"], "connected");
    assert_eq!(stats["devices"]["echo0"]["serving"], 1);
    assert!(stats["control"]["commands"].as_u64().unwrap() >= 1);
    let one = ask(&mut client, "stats", json!({"device": "echo0"})).unwrap();
    assert_eq!(
        (&one["serving"], &one["bus"]["name"]),
        (&json!(1), &json!("echo0"))
    );

    let status = ask(&mut client, "status", Value::Null).unwrap();
    assert_eq!(
        (&status["bus_version"], &status["devices"]),
        (&json!("6.0"), &json!(2))
    );
    let version = ask(&mut client, "version", Value::Null).unwrap();
    assert_eq!(version["protocol"], 1);
    let help = ask(&mut client, "help", Value::Null).unwrap();
    assert!(help["commands"].as_array().unwrap().len() > 20);
}

#[test]
fn devices_come_and_go() {
    let host = host(vec![Echo::new("echo0")]);
    let offers = host.guest.connect();
    let channel = host.guest.open(&offers[0]);
    assert_eq!(
        host.hvctl("--since 0 wait channel-opened device=echo0").0,
        0
    );
    assert_eq!(host.hvctl("rescind echo0").0, 0);
    assert_eq!(host.guest.rescinded(), offers[0].relid);
    channel.release();
    assert_eq!(host.hvctl("--since 0 wait rescinded").1["device"], "echo0");
    assert_eq!(host.hvctl("reoffer echo0").0, 0);
    let offer = host.guest.offer();
    assert_ne!(offer.relid, offers[0].relid);

    let (status, answer) = host.hvctl("add-nic peer");
    assert_eq!((status, &answer["device"]), (0, &json!("echo10")));
    let added = host.guest.offer();
    assert_eq!(added.class, offer.class);
    let remover = {
        let mut client = host.client();
        std::thread::spawn(move || ask(&mut client, "remove", json!({"device": "echo10"})))
    };
    let gone = host.guest.rescinded();
    host.guest
        .post(&vmbus_wire::message::guest::relid_released(gone));
    remover.join().unwrap().unwrap();
    assert_eq!(host.guest.bus().names(), ["echo0"]);
}

#[test]
fn a_paused_device_leaves_packets_in_the_ring() {
    let host = host(vec![Echo::new("echo0")]);
    let offers = host.guest.connect();
    let mut channel = host.guest.open(&offers[0]);
    let mut client = host.client();
    ask(&mut client, "pause", json!({"device": "echo0"})).unwrap();
    channel
        .send(&OutPacket::in_band(1, &[b"anyone?!"]))
        .unwrap();
    assert!(channel.receive(Duration::from_millis(200)).is_none());
    ask(&mut client, "resume", json!({"device": "echo0"})).unwrap();
    assert_eq!(channel.receive(LIMIT).unwrap().payload, b"anyone?!");
}

#[test]
fn what_cannot_be_is_refused_in_words() {
    let host = host(vec![
        Echo::new("echo0"),
        Arc::new(Service::new(Shutdown::default())),
    ]);
    let mut client = host.client();
    let mut no = |command: &str, arguments: Value, part: &str| {
        let why = ask(&mut client, command, arguments).unwrap_err();
        assert!(
            why.contains(part) && !why.contains('\n'),
            "{command}: {why}"
        );
    };
    for command in [
        "rescind", "reoffer", "pause", "resume", "remove", "stats", "link",
    ] {
        no(command, json!({"device": "net9"}), "there is no device");
        no(command, json!({"device": 7}), "device");
    }
    for command in ["rescind", "pause", "remove", "link", "remove-disk"] {
        no(command, Value::Null, "the argument `device`");
    }
    no("frob", Value::Null, "there is no command `frob`");
    no(
        "frob",
        json!({"device": "echo0"}),
        "knows no command `frob`",
    );
    no("add-nic", Value::Null, "spec");
    no("add-nic", json!({"spec": "eth0"}), "no NIC `eth0`");
    no("add-disk", json!({"spec": "x"}), "no disk `x`");
    no("sysrq", json!({"key": "ctrl"}), "one letter");
    no("sysrq", Value::Null, "key");
    no("power-off", Value::Null, "no driver");
    no("kvp-list", Value::Null, "there is no device `kvp`");
    no("reoffer", json!({"device": "echo0"}), "echo0");
}

#[test]
fn the_machine_is_told() {
    let host = host(vec![]);
    assert_eq!(host.hvctl("sysrq w").0, 0);
    assert_eq!(host.hvctl("sysrq 7").0, 0);
    assert_eq!(host.hvctl("break").0, 0);
    assert_eq!(host.hvctl("quit").0, 0);
    assert_eq!(*host.machine.keys.lock(), [Some(b'w'), Some(b'7'), None]);
    assert_eq!(host.machine.quits.load(Ordering::SeqCst), 1);
    assert_eq!(host.hvctl("stats nobody").0, 1);
}
