// SPDX-License-Identifier: GPL-2.0 OR MIT
//! hvctl's side of the control socket.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::lines::{self, Lines};
use super::protocol::{Known, Line, Notice, Outcome, Request, COMMANDS};

/// Bytes of the longest line from hvhost: the counters of everything, many times over.
const MAX_ANSWER: usize = 16 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// hvhost refuses, in its own words.
    #[error("{0}")]
    Refused(String),
    /// Nothing came in time.
    #[error("no answer within {0:?}")]
    Time(Duration),
    /// The connection can't be had or ended.
    #[error("{0}")]
    Connection(String),
    /// What came is no line of the protocol.
    #[error("hvhost answers nonsense: {0}")]
    Nonsense(String),
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        Self::Connection(error.to_string())
    }
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    lines: Lines,
    came: VecDeque<Line>,
    id: u64,
    watch: Option<fn(Way, &[u8])>,
}

/// Which way a line goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To hvhost.
    Out,
    /// From it.
    In,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    ///
    /// When nobody listens there.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path)
            .map_err(|error| ClientError::Connection(format!("{}: {error}", path.display())))?;
        Ok(Self {
            stream,
            lines: Lines::new(MAX_ANSWER),
            came: VecDeque::new(),
            id: 0,
            watch: None,
        })
    }

    /// Shows every line to `watch`.
    pub fn watch(&mut self, watch: fn(Way, &[u8])) {
        self.watch = Some(watch);
    }

    /// Asks, and waits for the answer; what else comes goes to `each`.
    ///
    /// # Errors
    ///
    /// All of [`ClientError`].
    pub fn ask(
        &mut self,
        command: &str,
        arguments: Map<String, Value>,
        limit: Duration,
        mut each: impl FnMut(Notice),
    ) -> Result<Value, ClientError> {
        self.id += 1;
        let request = Request {
            id: self.id.into(),
            command: command.to_owned(),
            arguments,
        };
        let mut line = serde_json::to_vec(&request)
            .map_err(|error| ClientError::Nonsense(error.to_string()))?;
        if let Some(watch) = self.watch {
            watch(Way::Out, &line);
        }
        line.push(b'\n');
        self.stream.set_write_timeout(Some(at_least(limit)))?;
        self.stream.write_all(&line)?;
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.next(left)? {
                Some(Line::Notice(notice)) => each(notice),
                Some(Line::Answer(answer)) if answer.id == request.id || answer.id.is_null() => {
                    return match answer.outcome {
                        Outcome::Ok(value) => Ok(value),
                        Outcome::Error(why) => Err(ClientError::Refused(why)),
                    };
                }
                // The answer to a question that was given up.
                Some(Line::Answer(_)) => {}
                None => return Err(ClientError::Time(limit)),
            }
        }
    }

    /// The next event; none: there was none in time.
    ///
    /// # Errors
    ///
    /// When the connection ends or hvhost says nonsense.
    pub fn event(&mut self, limit: Duration) -> Result<Option<Notice>, ClientError> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.next(left)? {
                Some(Line::Notice(notice)) => return Ok(Some(notice)),
                Some(Line::Answer(_)) => {}
                None => return Ok(None),
            }
        }
    }

    fn next(&mut self, limit: Duration) -> Result<Option<Line>, ClientError> {
        let deadline = Instant::now() + limit;
        let mut bytes = [0; 16 << 10];
        loop {
            if let Some(line) = self.came.pop_front() {
                return Ok(Some(line));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(at_least(left)))?;
            let count = match self.stream.read(&mut bytes) {
                Ok(0) => return Err(ClientError::Connection("hvhost hung up".to_owned())),
                Ok(count) => count,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::Interrupted => continue,
                    _ => return Err(error.into()),
                },
            };
            let mut nonsense = None;
            let (came, watch) = (&mut self.came, self.watch);
            self.lines
                .take(bytes.get(..count).unwrap_or_default(), |line| match line {
                    lines::Line::Whole(line) => {
                        if let Some(watch) = watch {
                            watch(Way::In, &line);
                        }
                        match serde_json::from_slice(&line) {
                            Ok(line) => came.push_back(line),
                            Err(error) => nonsense = Some(error.to_string()),
                        }
                    }
                    lines::Line::TooLong => nonsense = Some("an endless line".to_owned()),
                });
            if let Some(why) = nonsense {
                return Err(ClientError::Nonsense(why));
            }
        }
    }
}

/// A limit of zero would mean none to the system.
fn at_least(limit: Duration) -> Duration {
    limit.max(Duration::from_millis(1))
}

/// A command and its arguments out of words: `name=value`, or values in the order in which the
/// command is documented. Values are JSON where they are (`7`, `true`, `{"a": 1}`), else strings.
///
/// # Errors
///
/// A word that can't be placed, or no word at all.
pub fn arguments(words: &[String]) -> Result<(String, Map<String, Value>), String> {
    let (command, rest) = words.split_first().ok_or("a command is wanted")?;
    let known: Option<&Known> = COMMANDS.iter().find(|known| known.name == command);
    let mut places = known.map_or(&[][..], |known| known.arguments).iter();
    let mut arguments = Map::new();
    for word in rest {
        let named = word.split_once('=').filter(|(name, _)| {
            let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
            !name.is_empty() && name.bytes().all(letters) && !is_spec(known, name)
        });
        let (name, text) = match named {
            Some((name, text)) => (name, text),
            None => {
                let free = |name: &&&str| !arguments.contains_key(**name);
                let name = places
                    .find(free)
                    .ok_or_else(|| format!("{command}: `{word}` is one word too many"))?;
                (*name, word.as_str())
            }
        };
        arguments.insert(name.to_owned(), value(name, text));
    }
    Ok((command.clone(), arguments))
}

/// `tap=tap0` after `add-nic` is a NIC, not an argument named `tap`.
fn is_spec(known: Option<&Known>, name: &str) -> bool {
    name != "spec" && name != "device" && known.is_some_and(|known| known.arguments == ["spec"])
}

fn value(name: &str, text: &str) -> Value {
    // These are names even where they look like numbers.
    if ["device", "key", "spec", "pool", "mac"].contains(&name) {
        return text.into();
    }
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(line: &str) -> Result<(String, Value), String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        arguments(&words).map(|(command, map)| (command, Value::Object(map)))
    }

    #[test]
    fn words_are_arguments_in_order_or_by_name() {
        for (line, want) in [
            ("stats", json!({})),
            ("stats net0", json!({"device": "net0"})),
            ("link net0 up", json!({"device": "net0", "state": "up"})),
            (
                "link state=up net0",
                json!({"device": "net0", "state": "up"}),
            ),
            (
                "resize-disk scsi0 3 1048576",
                json!({"device": "scsi0", "lun": 3, "bytes": 1 << 20}),
            ),
            (
                "add-nic tap=tap0,queues=4",
                json!({"spec": "tap=tap0,queues=4"}),
            ),
            ("add-disk ram:64M,lun=3", json!({"spec": "ram:64M,lun=3"})),
            (
                "add-disk device=scsi1 ram:1M",
                json!({"device": "scsi1", "spec": "ram:1M"}),
            ),
            ("kvp-set 7 8", json!({"key": "7", "value": 8})),
            ("frob a=1 b=x", json!({"a": 1, "b": "x"})),
            ("timesync set=false", json!({"set": false})),
        ] {
            let (_, arguments) = read(line).unwrap();
            assert_eq!(arguments, want, "{line}");
        }
        assert!(read("").is_err());
        assert!(read("quit now").is_err());
        assert!(read("frob what").is_err());
    }
}
