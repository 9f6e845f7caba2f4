// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a guest may say on its control line, and what it may ask its host to do.
//!
//! One line a message. The guest speaks first, always:
//!
//! | guest | runner |
//! |---|---|
//! | `hello RELEASE` | nothing |
//! | `next` | `run CASE [STAGE]` or `poweroff` |
//! | `# text` | nothing |
//! | `result pass`, `result fail WHY`, `result skip WHY` | nothing |
//! | `host COMMAND...` | `ok [text]` or `err WHY` |

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{bail, Context, Result};
use serde_json::{json, Value};

use crate::cpu;
use crate::event::Outcome;
use crate::guest::{self, Host};
use crate::hvhost::Ending;
use crate::job::Job;
use crate::kvm_stats;
use crate::process::Process;
use crate::tree;
use crate::turns::Turn;

/// Programs of the build root that a case may have run on the host's side of its NICs and disks.
const TOOLS: [(&str, &str); 6] = [
    ("ip", "usr/bin/ip"),
    ("ping", "usr/bin/ping"),
    ("iperf3", "usr/bin/iperf3"),
    ("netserver", "usr/bin/netserver"),
    ("ethtool", "usr/sbin/ethtool"),
    ("e2fsck", "usr/sbin/e2fsck"),
];
/// Seconds for one of them; the guest itself waits 60 for any answer.
const TOOL_TIMEOUT: u64 = 50;
/// Seconds until a guest gets the answer that wakes it, at most.
const WAKE_LIMIT: u64 = 30;
/// Seconds that a guest waits for its turn; it may ask again.
const TURN_WAIT: u64 = 10;
/// How long a connection may stand still.
const ECHO_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes that are sent back on a connection at most.
const MAX_ECHO: u64 = 64 << 20;
/// Characters of an answer: each costs a nested guest some exits.
const ANSWER_LIMIT: usize = 2000;

/// One line of the guest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// The guest's init started; kernel release.
    Hello(&'a str),
    /// The guest wants its next case.
    Next,
    /// A remark.
    Note(&'a str),
    /// The case under way ended.
    Result(Outcome),
    /// A wish to the host.
    Host(&'a str),
    /// Anything else, like what the firmware or a crash left on the line.
    Noise(&'a str),
}

/// Understands one line.
pub(crate) fn parse(line: &str) -> Line<'_> {
    let line = line.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    if let Some(text) = line.strip_prefix('#') {
        return Line::Note(text.strip_prefix(' ').unwrap_or(text));
    }
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match word {
        "hello" if !rest.is_empty() => Line::Hello(rest),
        "next" if rest.is_empty() => Line::Next,
        "host" if !rest.is_empty() => Line::Host(rest),
        "result" => {
            let (kind, why) = rest.split_once(' ').unwrap_or((rest, ""));
            match kind {
                "pass" => Line::Result(Outcome::Pass),
                "fail" => Line::Result(Outcome::Fail(why.to_owned())),
                "skip" => Line::Result(Outcome::Skip(why.to_owned())),
                _ => Line::Noise(line),
            }
        }
        _ => Line::Noise(line),
    }
}

/// What the guest asked for that the runner itself, not the VMM, has to remember.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Done; the text of the answer.
    Answer(String),
    /// The guest is about to boot again and wants to go on at this stage.
    Expect(String, Ending),
    /// The guest is about to end, which ends its case as passed.
    End(Ending),
}

/// A program that runs on the host until this is dropped.
pub(crate) struct Server {
    /// What the guest said to have it.
    words: String,
    _process: Process,
}

/// What a request of a guest may touch.
pub(crate) struct Surface<'a> {
    /// Its VMM.
    pub(crate) host: &'a mut Host,
    /// The VMM's process.
    pub(crate) vmm: u32,
    /// Its directory on the host.
    pub(crate) work: &'a Path,
    /// The job it is part of.
    pub(crate) job: &'a Job,
    /// Programs that run on the host for as long as the guest does.
    pub(crate) servers: &'a mut Vec<Server>,
    /// Seconds from the start of the VMM to the first word of init.
    pub(crate) boot_seconds: f64,
    /// Its turn among guests that are up at the same time.
    pub(crate) turn: &'a Turn<'a>,
}

/// Carries out `host ...`.
///
/// # Errors
///
/// What to tell the guest after `err`.
pub(crate) fn host(command: &str, on: &mut Surface<'_>) -> Result<Request> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let answer = match words.as_slice() {
        ["expect", stage] => {
            return Ok(Request::Expect((*stage).to_owned(), Ending::Reboot));
        }
        ["expect", stage, ending] => {
            return Ok(Request::Expect((*stage).to_owned(), parse_ending(ending)?));
        }
        ["end", ending] => return Ok(Request::End(parse_ending(ending)?)),
        ["acceleration?"] => on.job.acceleration.clone(),
        ["cpu?"] => cpu::of(on.vmm)?.to_string(),
        ["kvm?", names @ ..] if !names.is_empty() => kvm_stats::of(on.vmm, names)?,
        ["wake", seconds] => {
            let seconds: u64 = seconds.parse().context("wake wants seconds")?;
            thread::sleep(Duration::from_secs(seconds.min(WAKE_LIMIT)));
            String::new()
        }
        ["turn", "take"] => {
            let came = on.turn.take(Duration::from_secs(TURN_WAIT));
            if came { "yes" } else { "no" }.to_owned()
        }
        ["turn", "pass"] => {
            on.turn.pass();
            String::new()
        }
        ["boot?"] => format!("{:.1}", on.boot_seconds),
        ["trace?", needle @ ..] if !needle.is_empty() => {
            count_lines(on.work, "trace", &needle.join(" ")).to_string()
        }
        ["console?", needle @ ..] if !needle.is_empty() => {
            count_lines(on.work, "console", &needle.join(" ")).to_string()
        }
        ["allocated?", file] => {
            let path = below(on.work, file)?;
            let data = path.metadata().with_context(|| format!("no file {file}"))?;
            // st_blocks counts units of 512 bytes, whatever the file system's.
            (data.blocks() * 512).to_string()
        }
        ["grow", file, mib] => {
            let mib: u64 = mib.parse().context("grow wants MiB")?;
            let bytes = mib.checked_mul(1 << 20).context("too many MiB")?;
            let path = below(on.work, file)?;
            let mut options = File::options();
            let options = options.write(true).create(true).truncate(false);
            let file = options.open(path).context("cannot open the file")?;
            file.set_len(bytes).context("cannot grow the file")?;
            bytes.to_string()
        }
        ["run", tool, arguments @ ..] => run_tool(tool, arguments, on)?,
        ["serve", tool, arguments @ ..] => {
            let words = words.join(" ");
            if !on.servers.iter().any(|server| server.words == words) {
                let mut command = tool_command(tool, on)?;
                command.args(arguments).stdin(Stdio::null());
                command.stdout(Stdio::null());
                let log = on.work.join(format!("{tool}-{}.log", on.servers.len()));
                let _process = Process::start(command, log)?;
                on.servers.push(Server { words, _process });
            }
            String::new()
        }
        ["serve-echo", port] => {
            serve_echo(port.parse().context("serve-echo wants a port")?)?;
            String::new()
        }
        ["hvctl", ..] => to_hvhost(command, on)?.to_string(),
        [word, ..] if word.starts_with("hvctl/") => {
            let answer = to_hvhost(command, on)?;
            let pointer = word.trim_start_matches("hvctl");
            match answer.pointer(pointer) {
                Some(Value::String(text)) => text.clone(),
                Some(value) => value.to_string(),
                None => bail!("the answer has no {pointer}"),
            }
        }
        words => qemu_host(words, on.host)?,
    };
    Ok(Request::Answer(answer.chars().take(ANSWER_LIMIT).collect()))
}

fn parse_ending(word: &str) -> Result<Ending> {
    Ending::parse(word).with_context(|| format!("no guest ends with `{word}`"))
}

/// `hvctl JSON` or `hvctl/POINTER JSON`: sends the object to hvhost.
fn to_hvhost(command: &str, on: &mut Surface<'_>) -> Result<Value> {
    let (_, json) = command.split_once(' ').context("hvctl wants JSON")?;
    let request = serde_json::from_str(json).context("that is no JSON")?;
    on.host.hvhost()?.execute(request)
}

/// What only a guest on QEMU can ask for.
fn qemu_host(words: &[&str], host: &mut Host) -> Result<String> {
    Ok(match words {
        ["balloon", mib] => {
            let mib: u64 = mib.parse().context("balloon wants MiB")?;
            let bytes = mib.checked_mul(1 << 20).context("too many MiB")?;
            host.qemu()?.execute("balloon", json!({ "value": bytes }))?;
            String::new()
        }
        ["balloon?"] => {
            let value = host.qemu()?.execute("query-balloon", json!({}))?;
            let actual = value.get("actual").and_then(Value::as_u64);
            (actual.context("query-balloon without a number")? >> 20).to_string()
        }
        ["pressure?"] => {
            let qmp = host.qemu()?;
            let value = qmp.execute("query-hv-balloon-status-report", json!({}))?;
            let number = |key| value.get(key).and_then(Value::as_u64).unwrap_or(0);
            format!(
                "{} {}",
                number("committed") >> 20,
                number("available") >> 20
            )
        }
        ["nmi"] => {
            host.qemu()?.execute("inject-nmi", json!({}))?;
            String::new()
        }
        ["reset"] => {
            host.qemu()?.execute("system_reset", json!({}))?;
            String::new()
        }
        _ => bail!("the host knows no `{}`", words.join(" ")),
    })
}

/// Sends back what comes in on a TCP port, one connection at a time, for as long as this program
/// runs: the guests after this one find it there.
fn serve_echo(port: u16) -> Result<()> {
    static SERVED: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    if !SERVED
        .lock()
        .unwrap_or_else(|e| e.into_inner())
        .insert(port)
    {
        return Ok(());
    }
    let listener = TcpListener::bind(("0.0.0.0", port));
    let listener = listener.with_context(|| format!("cannot listen on port {port}"))?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // One that nobody reads doesn't keep others waiting; one that breaks is for the guest to notice.
            thread::spawn(move || echo(&stream));
        }
    });
    Ok(())
}

/// Sends back what came, once all of it is there: a client that only reads when it has written
/// everything, as nc does, would otherwise wait for this side and this side for it.
fn echo(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(ECHO_TIMEOUT))?;
    stream.set_write_timeout(Some(ECHO_TIMEOUT))?;
    let mut all = Vec::new();
    stream.take(MAX_ECHO).read_to_end(&mut all)?;
    (&mut &*stream).write_all(&all)
}

/// A file in the guest's directory.
fn below(work: &Path, file: &str) -> Result<std::path::PathBuf> {
    if file.contains('/') || file.starts_with('.') {
        bail!("`{file}` is no file of this guest");
    }
    Ok(work.join(file))
}

fn tool_command(tool: &str, on: &Surface<'_>) -> Result<Command> {
    let known = TOOLS.iter().find(|(name, _)| *name == tool);
    let (_, path) = known.with_context(|| format!("the host has no tool `{tool}`"))?;
    let mut command = tree::command(&on.job.root, path)?;
    command.current_dir(on.work);
    Ok(command)
}

/// Runs a tool to its end; the answer is what it printed, on one line.
fn run_tool(tool: &str, arguments: &[&str], on: &mut Surface<'_>) -> Result<String> {
    let (out, errors) = (on.work.join("tool-out"), on.work.join("tool-err"));
    let file = File::create(&out).context("cannot keep what the tool prints")?;
    let mut command = tool_command(tool, on)?;
    command.args(arguments).stdin(Stdio::null()).stdout(file);
    let mut process = Process::start(command, errors)?;
    let status = process.wait(on.job.seconds(TOOL_TIMEOUT))?;
    let said = std::fs::read(&out).unwrap_or_default();
    let said = String::from_utf8_lossy(&said).replace(['\n', '\r'], " ");
    match status {
        Some(status) if status.success() => Ok(said),
        Some(status) => bail!("{tool}: {status}: {said} {}", process.complaints().trim()),
        None => bail!("{tool} did not end in time: {said}"),
    }
}

/// Lines that contain `needle` in the logs whose names begin with `name`, also those of earlier
/// boots. They are the VMM's or the guest kernel's and may hold bytes that are no text.
fn count_lines(work: &Path, name: &str, needle: &str) -> usize {
    let logs = guest::logs(work).into_iter();
    logs.filter(|(file, _)| file.starts_with(name))
        .map(|(_, path)| {
            let bytes = std::fs::read(path).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            text.lines().filter(|line| line.contains(needle)).count()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_protocol() {
        assert_eq!(parse("hello 7.2.12\r\n"), Line::Hello("7.2.12"));
        assert_eq!(parse("next\r"), Line::Next);
        assert_eq!(parse("# a remark"), Line::Note("a remark"));
        assert_eq!(parse("#"), Line::Note(""));
        assert_eq!(parse("host balloon 256"), Line::Host("balloon 256"));
        assert_eq!(parse("result pass"), Line::Result(Outcome::Pass));
        assert_eq!(
            parse("result fail it broke"),
            Line::Result(Outcome::Fail("it broke".to_owned()))
        );
    }

    #[test]
    fn everything_else_is_noise() {
        for text in [
            "",
            "hello",
            "next please",
            "result maybe",
            "SeaBIOS (version 1)",
            "\0\0",
        ] {
            assert!(matches!(parse(text), Line::Noise(_)), "{text:?}");
        }
    }
}
