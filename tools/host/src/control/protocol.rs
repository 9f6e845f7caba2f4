// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What travels over the control socket: one JSON object a line.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::events::Event;

/// Version of the protocol; grows when something that was there changes.
pub const VERSION: u32 = 1;

/// Bytes of the longest line that is read, from either side, without its end.
pub const MAX_LINE: usize = 64 << 10;

/// A command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Comes back with the answer; anything.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub id: Value,
    /// Its name.
    pub command: String,
    /// Its arguments.
    #[serde(flatten)]
    pub arguments: Map<String, Value>,
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The command's.
    #[serde(default)]
    pub id: Value,
    /// That.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// This.
    Ok(Value),
    /// Nothing, and why.
    Error(String),
}

/// An event, for clients that subscribed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// Its name.
    pub event: String,
    /// Counts up from 1; 0 when events were lost.
    #[serde(default)]
    pub number: u64,
    /// Seconds since hvhost's start.
    #[serde(default)]
    pub at: f64,
    /// Its particulars.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

impl From<Event> for Notice {
    fn from(event: Event) -> Self {
        Self {
            event: event.name,
            number: event.number,
            at: (event.at.as_secs_f64() * 1e3).round() / 1e3,
            fields: event.fields,
        }
    }
}

/// A line from hvhost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// Something happened.
    Notice(Notice),
    /// A command is answered.
    Answer(Answer),
}

/// A command that there is.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Its name.
    pub name: &'static str,
    /// Its arguments in the order in which hvctl takes them without their names.
    pub arguments: &'static [&'static str],
    /// What it does.
    pub about: &'static str,
}

const fn known(
    name: &'static str,
    arguments: &'static [&'static str],
    about: &'static str,
) -> Known {
    Known {
        name,
        arguments,
        about,
    }
}

/// Every command that is documented. Devices may know more; an unknown one with the argument
/// `device` is handed to that device.
pub const COMMANDS: &[Known] = &[
    known("version", &[], "versions of hvhost and of this protocol"),
    known("help", &[], "this list"),
    known("status", &[], "how hvhost and its guest are"),
    known("devices", &[], "names and states of all devices"),
    known(
        "stats",
        &["device"],
        "counters of everything, or of one device",
    ),
    known(
        "subscribe",
        &["since"],
        "events from now on, or since the event of a number",
    ),
    known("unsubscribe", &[], "no more events"),
    known(
        "rescind",
        &["device", "subchannel"],
        "withdraw a device's offers, or one sub-channel",
    ),
    known("reoffer", &["device"], "offer a withdrawn device again"),
    known(
        "pause",
        &["device"],
        "stop serving a device's channels; packets wait",
    ),
    known("resume", &["device"], "go on serving them"),
    known("remove", &["device"], "take a device away for good"),
    known("add-nic", &["spec"], "add a NIC; spec as for --nic"),
    known("add-disk", &["spec"], "add a disk; spec as for --disk"),
    known("remove-disk", &["device", "lun"], "take a disk away"),
    known(
        "resize-disk",
        &["device", "lun", "bytes"],
        "change a disk's size",
    ),
    known("link", &["device", "state"], "a NIC's link: up or down"),
    known("speed", &["device", "mbps"], "what a NIC says of its speed"),
    known(
        "send-table",
        &["device", "channels"],
        "tell a NIC's guest which channels flows shall be sent on",
    ),
    known(
        "renew-buffer",
        &["device"],
        "free the buffer that a NIC's guest allocated for its queues, and ask for another",
    ),
    known(
        "inject",
        &["device", "lun", "kind", "count"],
        "have a disk's commands fail or be late",
    ),
    known(
        "misbehave",
        &["device", "kind", "count"],
        "have a controller or a NIC break the protocol",
    ),
    known("heartbeat", &[], "whether the guest answers"),
    known(
        "timesync",
        &["set"],
        "tell the guest the time now; set: it shall set its clock",
    ),
    known(
        "kvp-list",
        &["pool"],
        "all key-value pairs of a pool of the guest's",
    ),
    known("kvp-get", &["key", "pool"], "the value of a key"),
    known("kvp-set", &["key", "value", "pool"], "give a key a value"),
    known("kvp-delete", &["key", "pool"], "forget a key"),
    known("kvp-addresses", &["mac"], "the guest's addresses of a NIC"),
    known("power-off", &["force"], "ask the guest to power off"),
    known("reboot", &["force"], "ask the guest to start again"),
    known("hibernate", &["force"], "ask the guest to hibernate"),
    known("sysrq", &["key"], "a break and a SysRq key on the console"),
    known("break", &[], "a break on the console"),
    known("quit", &[], "end hvhost at once"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lines_look_as_documented() {
        let request: Request = serde_json::from_str(
            r#"{"id": 7, "command": "link", "device": "net0", "state": "up"}"#,
        )
        .unwrap();
        assert_eq!((&request.id, request.command.as_str()), (&json!(7), "link"));
        assert_eq!(request.arguments["state"], "up");
        assert_eq!(request.arguments.len(), 2);

        let ok = Answer {
            id: json!(7),
            outcome: Outcome::Ok(json!({"a": 1})),
        };
        assert_eq!(
            serde_json::to_value(&ok).unwrap(),
            json!({"id": 7, "ok": {"a": 1}})
        );
        let error = Answer {
            id: Value::Null,
            outcome: Outcome::Error("no".to_owned()),
        };
        let text = serde_json::to_string(&error).unwrap();
        assert_eq!(text, r#"{"id":null,"error":"no"}"#);
        assert_eq!(
            serde_json::from_str::<Line>(&text).unwrap(),
            Line::Answer(error)
        );
        let notice: Line =
            serde_json::from_str(r#"{"event":"link","number":3,"at":1.5,"up":true}"#).unwrap();
        let Line::Notice(notice) = notice else {
            panic!("{notice:?}")
        };
        assert_eq!((notice.number, &notice.fields["up"]), (3, &json!(true)));
    }

    #[test]
    fn commands_are_listed_once() {
        let mut names: Vec<&str> = COMMANDS.iter().map(|known| known.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
