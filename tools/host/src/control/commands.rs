// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What hvhost does when it is told to: commands to the bus, to the machine, and to devices.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{bail, Context};
use serde_json::{json, Map, Value};

use super::arguments;
use super::protocol::{self, Request, COMMANDS};
use super::server::{Counters, Handler};
use crate::vmbus::bus::Bus;

/// What the control socket may ask of the machine.
pub trait Machine: Send + Sync + 'static {
    /// Ends the guest at once.
    fn quit(&self);

    /// Sends a line break on the console, and then a key if there is one (SysRq).
    ///
    /// # Errors
    ///
    /// When the console takes none.
    fn send_break(&self, key: Option<u8>) -> anyhow::Result<()>;

    /// Exits by kind for each processor, and whatever else it counts.
    fn stats(&self) -> Value;
}

/// What the control socket may add to the bus.
pub trait Hotplug: Send + Sync + 'static {
    /// Adds a NIC and answers its name.
    ///
    /// # Errors
    ///
    /// A sentence for the person who asked.
    fn add_nic(&self, spec: &str) -> anyhow::Result<String>;

    /// Adds a disk, and its controller if that isn't there; answers where it is.
    ///
    /// # Errors
    ///
    /// A sentence for the person who asked.
    fn add_disk(&self, spec: &str) -> anyhow::Result<Value>;
}

/// The device that knows a command, for those that only one device can know.
const OWNERS: &[(&str, &str)] = &[
    ("heartbeat", "heartbeat"),
    ("timesync", "timesync"),
    ("kvp-list", "kvp"),
    ("kvp-get", "kvp"),
    ("kvp-set", "kvp"),
    ("kvp-delete", "kvp"),
    ("kvp-addresses", "kvp"),
    ("power-off", "shutdown"),
    ("reboot", "shutdown"),
    ("hibernate", "shutdown"),
];

/// Carries out commands.
pub struct Commands {
    bus: Arc<Bus>,
    machine: Arc<dyn Machine>,
    hotplug: Arc<dyn Hotplug>,
    counters: Arc<Counters>,
    started: Instant,
}

impl Commands {
    /// For this bus and its machine.
    pub fn new(
        bus: Arc<Bus>,
        machine: Arc<dyn Machine>,
        hotplug: Arc<dyn Hotplug>,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            bus,
            machine,
            hotplug,
            counters,
            started: Instant::now(),
        }
    }

    fn status(&self) -> Value {
        let mut status = Map::from_iter([
            ("pid".to_owned(), std::process::id().into()),
            (
                "uptime_seconds".to_owned(),
                json!(self.started.elapsed().as_secs_f64()),
            ),
            ("last_event".to_owned(), self.bus.events().last().into()),
            ("devices".to_owned(), self.bus.names().len().into()),
        ]);
        let bus = self.bus.stats();
        for field in ["state", "version"] {
            let value = bus.pointer(&format!("/connection/{field}")).cloned();
            status.insert(format!("bus_{field}"), value.unwrap_or_default());
        }
        if let Some(device) = self.bus.device("heartbeat") {
            let pulse = device.stats().get("pulse").cloned();
            status.insert("heartbeat".to_owned(), pulse.unwrap_or_default());
        }
        Value::Object(status)
    }

    fn stats(&self, arguments: &Map<String, Value>) -> anyhow::Result<Value> {
        if arguments.get("device").is_some_and(|name| !name.is_null()) {
            let name = text(arguments, "device")?;
            let device = self.bus.device(name);
            let device = device.with_context(|| no_device(name))?;
            let mut stats = match device.stats() {
                Value::Object(map) => map,
                other => Map::from_iter([("stats".to_owned(), other)]),
            };
            // What the bus itself counts for it.
            let bus = self.bus.stats();
            if let Some(own) = bus.get("devices").and_then(|devices| entry(devices, name)) {
                stats.insert("bus".to_owned(), own.clone());
            }
            return Ok(Value::Object(stats));
        }
        let mut devices = Map::new();
        for name in self.bus.names() {
            if let Some(device) = self.bus.device(&name) {
                devices.insert(name, device.stats());
            }
        }
        Ok(json!({
            "machine": self.machine.stats(),
            "bus": self.bus.stats(),
            "devices": devices,
            "control": self.counters.snapshot(),
        }))
    }

    fn devices(&self) -> Value {
        let bus = self.bus.stats();
        let known = bus.get("devices");
        let list = self.bus.names().into_iter().map(|name| {
            let mut device = Map::from_iter([("name".to_owned(), json!(name))]);
            if let Some(found) = self.bus.device(&name) {
                let identity = found.identity();
                let class = vmbus_wire::guid::class::find(&identity.class);
                device.insert("class".to_owned(), json!(class.map(|class| class.name)));
                device.insert("instance".to_owned(), json!(identity.instance.to_string()));
            }
            if let Some(own) = known.and_then(|known| entry(known, &name)) {
                for field in ["presence", "paused"] {
                    let value = own.get(field).cloned().unwrap_or_default();
                    device.insert(field.to_owned(), value);
                }
                let channels = own.get("channels").and_then(Value::as_array);
                let channels = channels.map_or(&[][..], |list| list);
                let open = channels
                    .iter()
                    .filter(|channel| channel.get("state") == Some(&json!("open")));
                device.insert("channels".to_owned(), channels.len().into());
                device.insert("open".to_owned(), open.count().into());
            }
            Value::Object(device)
        });
        json!({ "devices": list.collect::<Vec<_>>() })
    }
}

/// A device in the bus's own list, be it by name or in a row.
fn entry<'v>(devices: &'v Value, name: &str) -> Option<&'v Value> {
    match devices {
        Value::Object(map) => map.get(name),
        Value::Array(list) => list
            .iter()
            .find(|device| device.get("name").and_then(Value::as_str) == Some(name)),
        _ => None,
    }
}

fn no_device(name: &str) -> String {
    format!("there is no device `{name}`")
}

fn text<'a>(arguments: &'a Map<String, Value>, name: &str) -> anyhow::Result<&'a str> {
    arguments
        .get(name)
        .and_then(Value::as_str)
        .with_context(|| format!("the argument `{name}`, a string, is wanted"))
}

impl Handler for Commands {
    fn handle(&self, request: &Request) -> anyhow::Result<Value> {
        let arguments = &request.arguments;
        let device = || text(arguments, "device");
        let command = request.command.as_str();
        match command {
            "version" => Ok(json!({
                "hvhost": env!("CARGO_PKG_VERSION"),
                "protocol": protocol::VERSION,
            })),
            "help" => {
                let list = COMMANDS.iter().map(|known| {
                    json!({
                        "command": known.name,
                        "arguments": known.arguments,
                        "about": known.about,
                    })
                });
                Ok(json!({ "commands": list.collect::<Vec<_>>() }))
            }
            "status" => Ok(self.status()),
            "devices" => Ok(self.devices()),
            "stats" => self.stats(arguments),
            "rescind" => match arguments.get("subchannel") {
                None | Some(Value::Null) => self.bus.rescind(device()?).map(done),
                Some(value) => {
                    let subchannel = arguments::number("subchannel", value, u16::MAX.into())?;
                    let subchannel = subchannel as u16;
                    self.bus.rescind_subchannel(device()?, subchannel).map(done)
                }
            },
            "reoffer" => self.bus.reoffer(device()?).map(done),
            "pause" => self.bus.pause(device()?, true).map(done),
            "resume" => self.bus.pause(device()?, false).map(done),
            "remove" => self.bus.remove(device()?).map(done),
            "add-nic" => {
                let name = self.hotplug.add_nic(text(arguments, "spec")?)?;
                Ok(json!({ "device": name }))
            }
            "add-disk" if !arguments.contains_key("device") => {
                self.hotplug.add_disk(text(arguments, "spec")?)
            }
            "sysrq" => {
                let key = text(arguments, "key")?;
                match key.as_bytes() {
                    [key] if key.is_ascii_alphanumeric() => {
                        self.machine.send_break(Some(*key)).map(done)
                    }
                    _ => bail!("key `{key}`: one letter or digit is wanted"),
                }
            }
            "break" => self.machine.send_break(None).map(done),
            "quit" => {
                self.machine.quit();
                Ok(json!({}))
            }
            _ => {
                let owner = OWNERS.iter().find(|(name, _)| *name == command);
                let name = match (arguments.get("device"), owner) {
                    (Some(_), _) => device()?,
                    (None, Some((_, owner))) => owner,
                    (None, None) if COMMANDS.iter().any(|known| known.name == command) => device()?,
                    (None, None) => bail!("there is no command `{command}`"),
                };
                let found = self.bus.device(name).with_context(|| no_device(name))?;
                found.control(command, &whole(request))
            }
        }
    }
}

/// The request as one object, as devices take it.
fn whole(request: &Request) -> Value {
    let mut whole = request.arguments.clone();
    whole.insert("command".to_owned(), request.command.clone().into());
    Value::Object(whole)
}

fn done(_: ()) -> Value {
    json!({})
}
