// SPDX-License-Identifier: GPL-2.0 OR MIT
//! hvctl: commands for a running hvhost.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use hvhost::control::client::{arguments, Client, ClientError, Way};
use hvhost::control::protocol::{Notice, COMMANDS};
use hvhost::control::table;
use serde_json::{json, Map, Value};

/// Talks to a running hvhost through its control socket.
///
/// COMMAND is one of hvhost's (`hvctl help` lists them), with arguments as name=value or in the
/// order that help shows; or
/// `wait EVENT [field=value...]`, which returns when that happens;
/// `events`, which prints what happens until the guest's end;
/// `shell`, which takes such lines from standard input, and `sleep SECONDS` too.
///
/// Exit status: 0 done, 1 hvhost refuses, 2 wrong usage, 3 no connection, 4 nothing in time.
#[derive(Debug, Parser)]
#[command(name = "hvctl", version, max_term_width = 100)]
struct Args {
    /// The control socket
    #[arg(short, long, value_name = "PATH", env = "HVHOST_CONTROL")]
    control: PathBuf,
    /// Seconds to wait for an answer or an event
    #[arg(short, long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    timeout: Duration,
    /// Try to connect for as long, should nobody listen yet
    #[arg(short, long)]
    retry: bool,
    /// wait and events: with what happened after the event of this number, 0 for all
    #[arg(long, value_name = "NUMBER")]
    since: Option<u64>,
    /// Print JSON even on a terminal
    #[arg(short, long, conflicts_with = "table")]
    json: bool,
    /// Print for people even where it isn't a terminal
    #[arg(long)]
    table: bool,
    /// Show the lines as they travel, on standard error
    #[arg(short, long)]
    verbose: bool,
    /// shell: go on after a command that failed
    #[arg(long)]
    keep_going: bool,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

const REFUSED: u8 = 1;
const USAGE: u8 = 2;
const CONNECTION: u8 = 3;
const TIME: u8 = 4;

fn seconds(text: &str) -> Result<Duration, String> {
    let number: Option<f64> = text.parse().ok();
    number
        .filter(|number| (0.0..=1e6).contains(number))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "a number of seconds is wanted".to_owned())
}

/// Why it didn't work.
enum Failure {
    Usage(String),
    Client(ClientError),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl Failure {
    fn tell(&self) -> u8 {
        match self {
            Self::Usage(why) => {
                eprintln!("hvctl: {why}");
                USAGE
            }
            Self::Client(error) => {
                eprintln!("hvctl: {error}");
                match error {
                    ClientError::Refused(_) => REFUSED,
                    ClientError::Connection(_) | ClientError::Nonsense(_) => CONNECTION,
                    ClientError::Time(_) => TIME,
                }
            }
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => ExitCode::from(failure.tell()),
    }
}

fn run(args: &Args) -> Result<u8, Failure> {
    let mut client = connect(args)?;
    if args.verbose {
        client.watch(|way, line| {
            let arrow = if way == Way::Out { '>' } else { '<' };
            eprintln!("{arrow} {}", String::from_utf8_lossy(line));
        });
    }
    let mut session = Session {
        client,
        limit: args.timeout,
        since: args.since,
        table: args.table || (!args.json && std::io::stdout().is_terminal()),
    };
    match args.command.first().map(String::as_str) {
        Some("shell") => session.shell(args.keep_going),
        _ => session.execute(&args.command).map(|()| 0),
    }
}

/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(100);

fn connect(args: &Args) -> Result<Client, ClientError> {
    let deadline = Instant::now() + args.timeout;
    loop {
        match Client::connect(&args.control) {
            Err(_) if args.retry && Instant::now() < deadline => std::thread::sleep(AGAIN),
            result => return result,
        }
    }
}

struct Session {
    client: Client,
    limit: Duration,
    since: Option<u64>,
    table: bool,
}

impl Session {
    fn execute(&mut self, words: &[String]) -> Result<(), Failure> {
        match words.first().map(String::as_str) {
            Some("wait") => return self.wait(words.get(1..).unwrap_or_default()),
            Some("events") => return self.events(),
            Some("subscribe" | "unsubscribe") => {
                let why = "`wait` and `events` subscribe by themselves";
                return Err(Failure::Usage(why.to_owned()));
            }
            _ => {}
        }
        let (command, arguments) = arguments(words).map_err(Failure::Usage)?;
        let answer = self
            .client
            .ask(&command, arguments, self.limit, |_| {})
            .map_err(|error| self.explain(&command, error))?;
        self.print(&answer);
        Ok(())
    }

    /// Somebody who mistyped a command is told where they are listed.
    fn explain(&self, command: &str, error: ClientError) -> Failure {
        let known = COMMANDS.iter().any(|known| known.name == command);
        match error {
            ClientError::Refused(why) if !known && why.contains("no command") => {
                Failure::Client(ClientError::Refused(format!("{why} (see: hvctl help)")))
            }
            other => Failure::Client(other),
        }
    }

    fn print(&self, answer: &Value) {
        let text = if self.table {
            table::render(answer)
        } else {
            format!("{answer}\n")
        };
        print(&text);
    }

    fn subscribe(&mut self, names: Option<Vec<&str>>) -> Result<(), Failure> {
        let mut arguments = Map::new();
        if let Some(names) = names {
            arguments.insert("events".to_owned(), json!(names));
        }
        if let Some(since) = self.since {
            arguments.insert("since".to_owned(), since.into());
        }
        self.client
            .ask("subscribe", arguments, self.limit, |_| {})
            .map(|_| ())
            .map_err(Failure::from)
    }

    /// `wait EVENT [field=value...]`
    fn wait(&mut self, words: &[String]) -> Result<(), Failure> {
        let (name, fields) = words
            .split_first()
            .ok_or_else(|| Failure::Usage("wait: the name of an event is wanted".to_owned()))?;
        let mut wanted = Vec::new();
        for field in fields {
            let Some((name, value)) = field.split_once('=') else {
                return Err(Failure::Usage(format!("wait: `{field}` is no field=value")));
            };
            wanted.push((name, value));
        }
        self.subscribe(Some(vec![name]))?;
        let deadline = Instant::now() + self.limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(notice) = self.client.event(left)? else {
                return Err(ClientError::Time(self.limit).into());
            };
            let matches = notice.event == *name
                && wanted.iter().all(|(name, value)| {
                    notice.fields.get(*name).is_some_and(|field| {
                        field.as_str() == Some(value)
                            || serde_json::from_str::<Value>(value)
                                .is_ok_and(|value| value == *field)
                    })
                });
            if matches {
                // The next `wait` of a shell goes on from here.
                self.since = Some(notice.number);
                self.tell(&notice);
                return Ok(());
            }
        }
    }

    fn events(&mut self) -> Result<(), Failure> {
        self.subscribe(None)?;
        loop {
            if let Some(notice) = self.client.event(Duration::from_secs(3600))? {
                self.tell(&notice);
                if notice.event == "ended" {
                    return Ok(());
                }
            }
        }
    }

    fn tell(&self, notice: &Notice) {
        if self.table {
            let fields = Value::Object(notice.fields.clone());
            let fields = table::render(&fields);
            let fields: Vec<String> = fields
                .lines()
                .map(|line| line.split_whitespace().collect::<Vec<_>>().join("="))
                .collect();
            print(&format!(
                "{:>9.3} {} {}\n",
                notice.at,
                notice.event,
                fields.join(" ")
            ));
        } else {
            print(&format!("{}\n", json!(notice)));
        }
    }

    /// Lines from standard input, each a command.
    fn shell(&mut self, keep_going: bool) -> Result<u8, Failure> {
        let mut status = 0;
        for line in std::io::stdin().lock().lines() {
            let line = line.map_err(|error| Failure::Usage(error.to_string()))?;
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let result = match words.first().map(String::as_str) {
                None => continue,
                Some(word) if word.starts_with('#') => continue,
                Some("exit") => break,
                Some("sleep") => match words.get(1).map(|word| seconds(word)) {
                    Some(Ok(time)) => {
                        std::thread::sleep(time);
                        Ok(())
                    }
                    _ => Err(Failure::Usage("sleep: seconds are wanted".to_owned())),
                },
                Some(_) => self.execute(&words),
            };
            if let Err(failure) = result {
                let lost = matches!(failure, Failure::Client(ClientError::Connection(_)));
                status = failure.tell();
                if lost || !keep_going {
                    break;
                }
            }
        }
        Ok(status)
    }
}

/// Standard output may be a pipe that was closed: then there is nobody to tell.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    if out
        .write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .is_err()
    {
        std::process::exit(0);
    }
}
