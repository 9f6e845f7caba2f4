// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The control socket as clients meet it, and hvctl as a process.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hvhost::control::protocol::{Request, MAX_LINE};
use hvhost::control::server::{Counters, Handler, Server, Socket, MAX_CLIENTS};
use hvhost::events::Events;
use serde_json::{json, Value};

/// Answers with what it was asked.
struct Echo;

impl Handler for Echo {
    fn handle(&self, request: &Request) -> anyhow::Result<Value> {
        match request.command.as_str() {
            "echo" => Ok(Value::Object(request.arguments.clone())),
            "large" => Ok(json!({ "text": "x".repeat(60_000) })),
            "slow" => {
                std::thread::sleep(Duration::from_millis(300));
                Ok(json!({}))
            }
            "devices" => Ok(json!({"devices": [{"name": "scsi0", "state": "open"}]})),
            other => anyhow::bail!("there is no command `{other}`"),
        }
    }
}

/// A served socket in a directory that goes away.
struct Served {
    directory: tempfile::TempDir,
    server: Option<Server>,
    events: Events,
    counters: Arc<Counters>,
}

impl Served {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = Socket::bind(&directory.path().join("s")).unwrap();
        let events = Events::default();
        let counters = Arc::new(Counters::default());
        let server =
            Server::start(socket, Arc::new(Echo), events.clone(), counters.clone()).unwrap();
        Self {
            directory,
            server: Some(server),
            events,
            counters,
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("s")
    }

    fn connect(&self) -> Raw {
        let stream = UnixStream::connect(self.path()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        Raw {
            reader: BufReader::new(stream.try_clone().unwrap()),
            stream,
        }
    }

    fn hvctl(&self, words: &[&str], input: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hvctl"))
            .arg("--control")
            .arg(self.path())
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // One that doesn't read its input may be gone already.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output().unwrap()
    }
}

/// A client that says whatever it wants.
struct Raw {
    stream: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Raw {
    fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    fn ask(&mut self, line: &str) -> Value {
        self.say(format!("{line}\n").as_bytes());
        self.hear()
    }
}

fn until(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "never");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn answers_carry_the_id() {
    let served = Served::new();
    let mut client = served.connect();
    for id in [json!(1), json!("x"), json!(null), json!({"a": [1]})] {
        let request = json!({"id": id, "command": "echo", "b": 2});
        let answer = client.ask(&request.to_string());
        assert_eq!(answer, json!({"id": id, "ok": {"b": 2}}));
    }
    // Several in one piece, one in several, an empty line, and a carriage return.
    client.say(b"{\"id\":1,\"command\":\"echo\"}\n\n{\"id\":2,\"comm");
    assert_eq!(client.hear()["id"], 1);
    client.say(b"and\":\"echo\"}\r\n");
    assert_eq!(client.hear()["id"], 2);
}

#[test]
fn nonsense_is_refused_and_the_connection_stays() {
    let served = Served::new();
    let mut client = served.connect();
    for line in [
        "hello",
        "{",
        "[]",
        "7",
        "{\"id\": 5}",
        "{\"id\": 5, \"command\": 7}",
        "\u{0}\u{1}",
    ] {
        let answer = client.ask(line);
        assert!(answer["error"].is_string(), "{line}: {answer}");
        assert_eq!(answer["id"].is_null(), !line.contains("\"id\""), "{line}");
    }
    client.say(b"\xff\xfe\n");
    assert!(client.hear()["error"].is_string());
    let answer = client.ask(r#"{"id": 9, "command": "frob"}"#);
    assert_eq!(
        answer,
        json!({"id": 9, "error": "there is no command `frob`"})
    );
    // Deeper than any honest request.
    let deep = "[".repeat(10_000);
    assert!(client.ask(&format!("{{\"command\":\"echo\",\"a\":{deep}"))["error"].is_string());
    assert_eq!(client.ask(r#"{"command":"echo"}"#)["ok"], json!({}));
    assert!(served.counters.errors.get() >= 9);
}

#[test]
fn lines_have_a_limit() {
    let served = Served::new();
    let mut client = served.connect();
    let head = r#"{"command":"echo","a":""#;
    let room = MAX_LINE - head.len() - 2;
    let text = "y".repeat(room);
    assert_eq!(
        client.ask(&format!("{head}{text}\"}}"))["ok"]["a"],
        json!(text)
    );
    let answer = client.ask(&format!("{head}{text}y\"}}"));
    assert!(answer["error"].as_str().unwrap().contains("65536 bytes"));
    // A line without an end takes no memory and no one's time.
    let piece = vec![b'z'; 1 << 20];
    for _ in 0..8 {
        client.say(&piece);
    }
    let answer = client.ask("");
    assert!(answer["error"].as_str().unwrap().contains("65536 bytes"));
    assert_eq!(client.ask(r#"{"command":"echo"}"#)["ok"], json!({}));
}

#[test]
fn events_come_to_those_who_subscribed() {
    let served = Served::new();
    served.events.emit("early", json!({"n": 1}));
    let mut all = served.connect();
    assert_eq!(
        all.ask(r#"{"command":"subscribe","since":0}"#)["ok"],
        json!({"since": 0})
    );
    let early = all.hear();
    assert_eq!((&early["event"], &early["n"]), (&json!("early"), &json!(1)));
    let mut some = served.connect();
    some.ask(r#"{"command":"subscribe","events":["link"]}"#);
    let mut none = served.connect();
    none.ask(r#"{"command":"echo"}"#);
    served.events.emit("heartbeat", json!({}));
    served.events.emit("link", json!({"device": "net0"}));
    assert_eq!(all.hear()["event"], "heartbeat");
    assert_eq!(all.hear()["event"], "link");
    let link = some.hear();
    assert_eq!(
        (&link["event"], &link["number"]),
        (&json!("link"), &json!(3))
    );
    assert_eq!(none.ask(r#"{"command":"echo","a":1}"#)["ok"]["a"], 1);
    some.ask(r#"{"command":"unsubscribe"}"#);
    served.events.emit("link", json!({}));
    assert_eq!(some.ask(r#"{"id":1,"command":"echo"}"#)["id"], 1);
    assert!(some.ask(r#"{"command":"subscribe","events":7}"#)["error"].is_string());
    assert!(some.ask(r#"{"command":"subscribe","since":"x"}"#)["error"].is_string());
}

#[test]
fn a_slow_command_keeps_only_its_client_waiting() {
    let served = Served::new();
    let mut slow = served.connect();
    let mut fast = served.connect();
    slow.say(b"{\"command\":\"slow\"}\n");
    let start = Instant::now();
    fast.ask(r#"{"command":"echo"}"#);
    assert!(start.elapsed() < Duration::from_millis(250));
    assert_eq!(slow.hear()["ok"], json!({}));
}

#[test]
fn a_client_that_never_reads_is_dropped() {
    let served = Served::new();
    let mut deaf = served.connect();
    deaf.ask(r#"{"command":"subscribe"}"#);
    deaf.stream
        .set_write_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    // Far more than a socket takes.
    for _ in 0..200 {
        if deaf.stream.write_all(b"{\"command\":\"large\"}\n").is_err() {
            break;
        }
    }
    // Nobody else waits, and telling doesn't either.
    let start = Instant::now();
    for _ in 0..5000 {
        served.events.emit("tick", json!({}));
    }
    let mut other = served.connect();
    assert_eq!(other.ask(r#"{"command":"echo"}"#)["ok"], json!({}));
    assert!(start.elapsed() < Duration::from_secs(3));
    until(|| served.counters.dropped.get() == 1);
}

#[test]
fn clients_have_a_limit() {
    let served = Served::new();
    let mut clients: Vec<Raw> = (0..MAX_CLIENTS).map(|_| served.connect()).collect();
    for client in &mut clients {
        client.ask(r#"{"command":"echo"}"#);
    }
    let mut late = served.connect();
    assert!(late.hear()["error"].as_str().unwrap().contains("connected"));
    drop(clients);
    until(|| {
        let mut client = served.connect();
        // It may be refused before it has said anything.
        let _ = client.stream.write_all(b"{\"command\":\"echo\"}\n");
        client.hear().get("ok").is_some()
    });
}

#[test]
fn the_socket_is_private_replaced_when_stale_and_gone_at_the_end() {
    use std::os::unix::fs::PermissionsExt;
    let mut served = Served::new();
    let mode = std::fs::metadata(served.path()).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    let error = Socket::bind(&served.path()).unwrap_err().to_string();
    assert!(error.contains("listens on"), "{error}");
    let mut client = served.connect();
    client.ask(r#"{"command":"subscribe"}"#);
    served.events.emit("end", json!({}));
    served.server.take().unwrap().stop();
    assert!(!served.path().exists());
    // What happened before the end is still told, then the connection ends.
    assert_eq!(client.hear()["event"], "end");
    let mut rest = String::new();
    assert_eq!(client.reader.read_line(&mut rest).unwrap(), 0);

    let stale = served.directory.path().join("stale");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    Socket::bind(&stale).unwrap();
    let file = served.directory.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    let error = Socket::bind(&file).unwrap_err().to_string();
    assert!(error.contains("no socket"), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    assert!(Socket::bind(&served.directory.path().join("no/where")).is_err());
}

#[test]
fn hvctl_prints_json_or_a_table() {
    let served = Served::new();
    let output = served.hvctl(&["echo", "a=1", "b=two"], "");
    assert_eq!(output.status.code(), Some(0));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer, json!({"a": 1, "b": "two"}));
    assert!(output.stderr.is_empty());
    let output = served.hvctl(&["--verbose", "echo", "a=1"], "");
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        text,
        "> {\"id\":1,\"command\":\"echo\",\"a\":1}\n< {\"id\":1,\"ok\":{\"a\":1}}\n"
    );
    let output = served.hvctl(&["--table", "devices"], "");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, "devices:\nname   state\nscsi0  open\n");
}

#[test]
fn hvctl_says_how_it_went() {
    let served = Served::new();
    let code = |words: &[&str]| {
        let output = served.hvctl(words, "");
        let error = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), error)
    };
    let (status, error) = code(&["frob"]);
    assert_eq!(status, 1);
    assert_eq!(
        error,
        "hvctl: there is no command `frob` (see: hvctl help)\n"
    );
    assert_eq!(code(&["quit", "now"]).0, 2);
    assert_eq!(code(&["subscribe"]).0, 2);
    assert_eq!(code(&["--timeout", "x", "echo"]).0, 2);
    assert_eq!(code(&["--timeout", "0.1", "slow"]).0, 4);
    assert_eq!(code(&["--timeout", "0.1", "wait", "never"]).0, 4);
    let nobody = Command::new(env!("CARGO_BIN_EXE_hvctl"))
        .args(["--control", "/none/there", "echo"])
        .output()
        .unwrap();
    assert_eq!(nobody.status.code(), Some(3));
}

#[test]
fn hvctl_waits_for_what_happens() {
    let served = Served::new();
    served
        .events
        .emit("link", json!({"device": "net0", "up": false}));
    let events = served.events.clone();
    let later = std::thread::spawn(move || {
        for up in [false, true] {
            std::thread::sleep(Duration::from_millis(500));
            events.emit("link", json!({"device": "net0", "up": up}));
        }
    });
    let words = ["wait", "link", "device=net0", "up=true"];
    let output = served.hvctl(&words, "");
    assert_eq!(output.status.code(), Some(0));
    let notice: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&notice["number"], &notice["up"]),
        (&json!(3), &json!(true))
    );
    later.join().unwrap();
    // What happened before, too, for those who ask for it.
    let output = served.hvctl(&["--since", "0", "wait", "link"], "");
    let notice: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(notice["number"], 1);
}

#[test]
fn hvctl_may_come_first() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let hvctl = Command::new(env!("CARGO_BIN_EXE_hvctl"))
        .arg("--control")
        .arg(&path)
        .args(["--retry", "events"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let events = Events::default();
    let counters = Arc::new(Counters::default());
    let socket = Socket::bind(&path).unwrap();
    let server = Server::start(socket, Arc::new(Echo), events.clone(), counters.clone()).unwrap();
    until(|| counters.commands.get() == 1);
    events.emit("link", json!({}));
    events.emit("ended", json!({"how": "power-off"}));
    let output = hvctl.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        output.stdout.iter().filter(|byte| **byte == b'\n').count(),
        2
    );
    server.stop();
}

#[test]
fn hvctl_takes_lines() {
    let served = Served::new();
    let lines = "# a remark\n\necho a=1\nsleep 0.01\nfrob\necho a=2\n";
    let output = served.hvctl(&["shell"], lines);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout, b"{\"a\":1}\n");
    let output = served.hvctl(&["--keep-going", "shell"], lines);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout, b"{\"a\":1}\n{\"a\":2}\n");
    let output = served.hvctl(&["shell"], "echo a=1\nexit\necho a=2\n");
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(0), &b"{\"a\":1}\n"[..])
    );
}
