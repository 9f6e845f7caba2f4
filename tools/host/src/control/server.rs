// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The socket and its clients, each on a thread of its own: a slow one keeps nobody waiting but
//! itself, and one that takes nothing at all is dropped.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{bail, Context};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use parking_lot::{Condvar, Mutex};
use serde_json::{json, Value};

use super::lines::{Line, Lines};
use super::protocol::{Answer, Notice, Outcome, Request, MAX_LINE};
use crate::events::{Events, Subscription};

/// Clients at a time.
pub const MAX_CLIENTS: usize = 32;
/// A client that takes nothing for that long is dropped.
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// Clients get what is left for them for that long when hvhost ends.
const END_LIMIT: Duration = Duration::from_secs(1);

crate::counters! {
    /// What the control socket did.
    pub struct Counters {
        /// Clients that came.
        clients,
        /// Clients for whom there was no room.
        refused,
        /// Clients that took nothing for too long.
        dropped,
        /// Commands.
        commands,
        /// Of these, refused ones; lines that were no command among them.
        errors,
        /// Events told to clients.
        events,
    }
}

/// Who carries out commands.
pub trait Handler: Send + Sync + 'static {
    /// Carries out a command; called on the thread of the client.
    ///
    /// # Errors
    ///
    /// A sentence for the client.
    fn handle(&self, request: &Request) -> anyhow::Result<Value>;
}

/// Where a socket is, as long as somebody listens on it.
#[derive(Debug)]
struct Bound(PathBuf);

impl Drop for Bound {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A socket that is bound, before anything is started. Dropping it removes it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: Bound,
}

impl Socket {
    /// Binds a socket that only the user can connect to. One that was left behind is replaced, one
    /// that somebody listens on is not.
    ///
    /// # Errors
    ///
    /// When it can't be had.
    pub fn bind(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => bail!("{shown} exists and is no socket"),
            Ok(_) => {
                if UnixStream::connect(path).is_ok() {
                    bail!("somebody listens on {shown} already");
                }
                std::fs::remove_file(path).with_context(|| format!("can't replace {shown}"))?;
            }
            Err(_) => {}
        }
        let listener =
            UnixListener::bind(path).with_context(|| format!("can't listen on {shown}"))?;
        let bound = Self {
            listener,
            path: Bound(path.to_owned()),
        };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
            .with_context(|| format!("can't listen on {shown}"))?;
        Ok(bound)
    }
}

/// The number of clients, and who waits for it to become 0.
#[derive(Debug, Default)]
struct Present {
    clients: Mutex<usize>,
    left: Condvar,
}

/// What all clients share.
struct Shared {
    handler: Arc<dyn Handler>,
    events: Events,
    counters: Arc<Counters>,
    present: Present,
    /// Readable when hvhost ends.
    ending: EventFd,
}

/// The control socket, served.
pub struct Server {
    shared: Arc<Shared>,
    path: Bound,
}

impl Server {
    /// Serves clients from now on.
    ///
    /// # Errors
    ///
    /// When the system refuses a thread or an event file.
    pub fn start(
        socket: Socket,
        handler: Arc<dyn Handler>,
        events: Events,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            handler,
            events,
            counters,
            present: Present::default(),
            ending: EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?,
        });
        let Socket { listener, path } = socket;
        let accepting = shared.clone();
        std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || accept(&listener, &accepting))?;
        Ok(Self { shared, path })
    }

    /// Takes no more clients, gives those who are there a moment for what is left for them, and
    /// removes the socket.
    pub fn stop(self) {
        drop(self.path);
        // A counter that is full is readable all the same.
        let _ = self.shared.ending.write(1);
        let deadline = Instant::now() + END_LIMIT;
        let mut clients = self.shared.present.clients.lock();
        while *clients > 0 {
            let left = &self.shared.present.left;
            if left.wait_until(&mut clients, deadline).timed_out() {
                break;
            }
        }
    }
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
    loop {
        let readable = match wait([listener.as_fd(), shared.ending.as_fd()]) {
            Ok(readable) => readable,
            Err(error) => {
                tracing::error!("control: {error}");
                return;
            }
        };
        if readable[1] {
            return;
        }
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of files, mostly: better later than never.
                tracing::warn!("control: {error}");
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        {
            let mut clients = shared.present.clients.lock();
            if *clients >= MAX_CLIENTS {
                drop(clients);
                shared.counters.refused.inc();
                refuse(stream);
                continue;
            }
            *clients += 1;
        }
        shared.counters.clients.inc();
        let here = Here(shared.clone());
        let spawned = std::thread::Builder::new()
            .name("control-client".to_owned())
            .spawn(move || {
                if let Err(error) = Client::new(stream, &here.0).and_then(Client::serve) {
                    tracing::debug!("control: client: {error}");
                }
            });
        if let Err(error) = spawned {
            tracing::warn!("control: no thread for a client: {error}");
        }
    }
}

/// A client's presence.
struct Here(Arc<Shared>);

impl Drop for Here {
    fn drop(&mut self) {
        *self.0.present.clients.lock() -= 1;
        self.0.present.left.notify_all();
    }
}

/// Says why and hangs up.
fn refuse(mut stream: UnixStream) {
    let answer = Answer {
        id: Value::Null,
        outcome: Outcome::Error(format!("{MAX_CLIENTS} clients are connected already")),
    };
    if let Ok(mut line) = serde_json::to_vec(&answer) {
        line.push(b'\n');
        // A new socket has room for it: this doesn't wait, and if it fails there is no loss.
        let _ = stream.set_nonblocking(true);
        let _ = stream.write_all(&line);
    }
}

/// Which of the files are readable (or at an end); waits for one.
fn wait<const N: usize>(files: [BorrowedFd<'_>; N]) -> io::Result<[bool; N]> {
    let mut polled = files.map(|file| PollFd::new(file, PollFlags::POLLIN));
    loop {
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) => return Ok(polled.map(|polled| polled.any().unwrap_or(true))),
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// One client.
struct Client<'s> {
    stream: UnixStream,
    shared: &'s Shared,
    subscription: Option<Subscription>,
    /// Names of the events it wants; none: all.
    wanted: Option<Vec<String>>,
}

impl<'s> Client<'s> {
    fn new(stream: UnixStream, shared: &'s Shared) -> io::Result<Self> {
        stream.set_write_timeout(Some(WRITE_LIMIT))?;
        Ok(Self {
            stream,
            shared,
            subscription: None,
            wanted: None,
        })
    }

    fn serve(mut self) -> io::Result<()> {
        let mut lines = Lines::new(MAX_LINE);
        let mut bytes = [0; 4096];
        loop {
            let ending = self.shared.ending.as_fd();
            let [asked, ended, happened] = match &self.subscription {
                Some(events) => wait([self.stream.as_fd(), ending, events.ready()])?,
                None => {
                    let [asked, ended] = wait([self.stream.as_fd(), ending])?;
                    [asked, ended, false]
                }
            };
            if happened || ended {
                self.tell()?;
            }
            if ended {
                return Ok(());
            }
            if asked {
                let count = match self.stream.read(&mut bytes) {
                    Ok(0) => return Ok(()),
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error),
                };
                let mut came = Vec::new();
                lines.take(bytes.get(..count).unwrap_or_default(), |line| {
                    came.push(line);
                });
                for line in came {
                    if let Some(answer) = self.answer(&line) {
                        self.write(&answer)?;
                    }
                }
            }
        }
    }

    /// Passes on what happened.
    fn tell(&mut self) -> io::Result<()> {
        while let Some(event) = self.subscription.as_ref().and_then(Subscription::try_next) {
            let wanted = match &self.wanted {
                Some(names) => event.number == 0 || names.contains(&event.name),
                None => true,
            };
            if wanted {
                self.shared.counters.events.inc();
                self.write(&Notice::from(event))?;
            }
        }
        Ok(())
    }

    /// Carries out a line; none for an empty one.
    fn answer(&mut self, line: &Line) -> Option<Answer> {
        let (id, result) = match line {
            Line::Whole(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => return None,
            Line::Whole(bytes) => match serde_json::from_slice::<Request>(bytes) {
                Ok(request) => {
                    let result = self.carry_out(&request);
                    (request.id, result)
                }
                Err(error) => {
                    let error = anyhow::anyhow!("no command in one line of JSON: {error}");
                    // Whoever sent an object with an id wants to know which it was.
                    let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
                    let id = value.get("id").cloned().unwrap_or_default();
                    (id, Err(error))
                }
            },
            Line::TooLong => (
                Value::Null,
                Err(anyhow::anyhow!("a line has {MAX_LINE} bytes at most")),
            ),
        };
        self.shared.counters.commands.inc();
        let outcome = match result {
            Ok(value) => Outcome::Ok(value),
            Err(error) => {
                self.shared.counters.errors.inc();
                Outcome::Error(format!("{error:#}"))
            }
        };
        Some(Answer { id, outcome })
    }

    fn carry_out(&mut self, request: &Request) -> anyhow::Result<Value> {
        match request.command.as_str() {
            "subscribe" => {
                let arguments = &request.arguments;
                let wanted = match arguments.get("events") {
                    None | Some(Value::Null) => None,
                    Some(names) => Some(
                        serde_json::from_value(names.clone())
                            .ok()
                            .context("events: a list of names is wanted")?,
                    ),
                };
                let since = match arguments.get("since") {
                    None | Some(Value::Null) => self.shared.events.last(),
                    Some(number) => number
                        .as_u64()
                        .context("since: the number of an event is wanted")?,
                };
                self.subscription = Some(self.shared.events.subscribe_since(since)?);
                self.wanted = wanted;
                Ok(json!({ "since": since }))
            }
            "unsubscribe" => {
                self.subscription = None;
                Ok(json!({}))
            }
            _ => self.shared.handler.handle(request),
        }
    }

    fn write(&mut self, what: &impl serde::Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(what)?;
        line.push(b'\n');
        self.stream.write_all(&line).inspect_err(|error| {
            if error.kind() == io::ErrorKind::WouldBlock {
                self.shared.counters.dropped.inc();
                tracing::warn!("control: a client takes nothing, dropped");
            }
        })
    }
}
