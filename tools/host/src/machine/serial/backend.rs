// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a serial line leads to: a terminal, a file, a socket.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::termios::{self, LocalFlags, SetArg, Termios};
use parking_lot::Mutex;
use vmm_sys_util::eventfd::EventFd;

use super::{SerialConfig, SerialPort};

/// Output that waits for a client.
const MAX_OUTPUT: usize = 1 << 20;
/// How long the last output may take.
const LAST_OUTPUT: Duration = Duration::from_secs(1);
/// How long input waits when the guest has no room.
const FULL: Duration = Duration::from_millis(10);
/// What begins a command at the terminal: Ctrl-A.
const ESCAPE: u8 = 0x01;

type Quit = Box<dyn Fn() + Send>;
type Output = Box<dyn Write + Send>;

/// The other end of a line; dropping it ends its input.
pub(super) struct Backend {
    source: Source,
    stop: EventFd,
    thread: Option<JoinHandle<()>>,
}

/// Where input comes from.
enum Source {
    None,
    Terminal,
    Socket(Option<Server>),
}

impl Backend {
    /// Opens the other end: it, and what takes the guest's output.
    pub(super) fn open(config: &SerialConfig) -> Result<(Self, Output)> {
        let (source, output): (_, Output) = match config {
            SerialConfig::Null => (Source::None, Box::new(io::sink())),
            SerialConfig::Stdio => (Source::Terminal, Box::new(io::stdout())),
            SerialConfig::File(path) => (Source::None, Box::new(create(path)?)),
            SerialConfig::Unix { path, log } => {
                let log = log.as_deref().map(create).transpose()?;
                let server = Server::listen(path)?;
                let output = Tee {
                    log,
                    queue: Arc::clone(&server.queue),
                };
                (Source::Socket(Some(server)), Box::new(output))
            }
        };
        let backend = Self {
            source,
            stop: EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?,
            thread: None,
        };
        Ok((backend, output))
    }

    /// Takes input for `line`.
    pub(super) fn start(&mut self, line: Weak<SerialPort>, quit: Quit) -> Result<()> {
        let stop = self.stop.try_clone()?;
        let builder = std::thread::Builder::new().name("serial".into());
        let thread = match &mut self.source {
            Source::None | Source::Socket(None) => return Ok(()),
            Source::Terminal => builder.spawn(move || terminal(&line, &stop, &quit)),
            Source::Socket(server) => {
                let Some(server) = server.take() else {
                    return Ok(());
                };
                builder.spawn(move || server.serve(&line, &stop))
            }
        };
        self.thread = Some(thread.context("cannot start a thread for a serial line")?);
        Ok(())
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.stop.write(1);
        if let Some(thread) = self.thread.take() {
            // The line may be let go of by this very thread, which then ends by itself.
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                tracing::error!("the thread of a serial line panicked");
            }
        }
    }
}

fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("cannot make {}", path.display()))
}

/// Gives all of `bytes` to the guest, however long it takes; false: told to stop, or the line is
/// gone.
fn give(line: &Weak<SerialPort>, stop: &EventFd, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let Some(line) = line.upgrade() else {
            return false;
        };
        let taken = line.input(bytes);
        bytes = bytes.get(taken..).unwrap_or_default();
        if !bytes.is_empty() && ready(stop.as_fd_ref(), PollFlags::POLLIN, FULL) {
            return false;
        }
    }
    true
}

/// What `EventFd` lacks.
trait AsFdRef {
    fn as_fd_ref(&self) -> BorrowedFd<'_>;
}

impl AsFdRef for EventFd {
    fn as_fd_ref(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsRawFd;
        // SAFETY: the descriptor is open for as long as `self` is borrowed.
        unsafe { BorrowedFd::borrow_raw(self.as_raw_fd()) }
    }
}

/// Whether something is ready within a time.
fn ready(fd: BorrowedFd<'_>, what: PollFlags, within: Duration) -> bool {
    let mut fds = [PollFd::new(fd, what)];
    let timeout = PollTimeout::try_from(within).unwrap_or(PollTimeout::MAX);
    matches!(poll(&mut fds, timeout), Ok(n) if n > 0)
}

/// A terminal that gives every key as it is; as it was before when this goes.
struct Raw(Termios);

impl Raw {
    fn new() -> Option<Self> {
        let stdin = io::stdin();
        // No terminal: nothing to do.
        let before = termios::tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        // Output stays processed: the log lines of this program need their line ends.
        raw.local_flags
            .remove(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG | LocalFlags::IEXTEN);
        raw.input_flags
            .remove(termios::InputFlags::ICRNL | termios::InputFlags::IXON);
        termios::tcsetattr(&stdin, SetArg::TCSANOW, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &self.0);
    }
}

/// Input from this program's terminal.
fn terminal(line: &Weak<SerialPort>, stop: &EventFd, quit: &Quit) {
    let _raw = Raw::new();
    let mut escaped = false;
    let mut buffer = [0; 256];
    loop {
        let stdin = io::stdin();
        let mut fds = [
            PollFd::new(stop.as_fd_ref(), PollFlags::POLLIN),
            PollFd::new(stdin.as_fd(), PollFlags::POLLIN),
        ];
        if poll(&mut fds, PollTimeout::NONE).is_err() {
            continue;
        }
        if fds[0].any() == Some(true) {
            return;
        }
        // Not through the standard library's buffer, which poll knows nothing of.
        let got = match nix::unistd::read(&stdin, &mut buffer) {
            Ok(0) => return,
            Ok(got) => got,
            Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN) => continue,
            Err(error) => {
                tracing::warn!("no more input from the terminal: {error}");
                return;
            }
        };
        for &byte in buffer.iter().take(got) {
            let was_escaped = std::mem::take(&mut escaped);
            match byte {
                ESCAPE if !was_escaped => escaped = true,
                b'x' | b'X' if was_escaped => quit(),
                b'b' | b'B' if was_escaped => {
                    line.upgrade().inspect(|line| line.send_break());
                }
                byte => {
                    if !give(line, stop, &[byte]) {
                        return;
                    }
                }
            }
        }
    }
}

/// Output on its way to a client.
#[derive(Debug)]
struct Queue {
    bytes: Mutex<Waiting>,
    /// Written when there is output where there was none.
    some: EventFd,
}

#[derive(Debug, Default)]
struct Waiting {
    connected: bool,
    bytes: VecDeque<u8>,
    lost: u64,
}

/// The guest's side of a socket: never waits.
struct Tee {
    log: Option<File>,
    queue: Arc<Queue>,
}

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(log) = &mut self.log {
            log.write_all(bytes)?;
        }
        let mut waiting = self.queue.bytes.lock();
        if waiting.connected {
            let room = MAX_OUTPUT.saturating_sub(waiting.bytes.len());
            let taken = bytes.len().min(room);
            let was_empty = waiting.bytes.is_empty();
            waiting.bytes.extend(bytes.iter().take(taken));
            waiting.lost += (bytes.len() - taken) as u64;
            if was_empty && taken > 0 {
                self.queue.some.write(1)?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket that takes one client at a time.
struct Server {
    path: PathBuf,
    listener: UnixListener,
    queue: Arc<Queue>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Server {
    fn listen(path: &Path) -> Result<Self> {
        // What an earlier run left behind; whatever else is there makes the next step fail.
        if UnixStream::connect(path).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused) {
            let _ = fs::remove_file(path);
        }
        let listener = UnixListener::bind(path)
            .with_context(|| format!("cannot listen on {}", path.display()))?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            path: path.to_owned(),
            listener,
            queue: Arc::new(Queue {
                bytes: Mutex::default(),
                some: EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?,
            }),
        })
    }

    /// Serves clients until told to stop.
    fn serve(self, line: &Weak<SerialPort>, stop: &EventFd) {
        let mut client: Option<UnixStream> = None;
        let mut buffer = [0; 4096];
        loop {
            let output = !self.queue.bytes.lock().bytes.is_empty();
            let mut fds = vec![
                PollFd::new(stop.as_fd_ref(), PollFlags::POLLIN),
                PollFd::new(self.queue.some.as_fd_ref(), PollFlags::POLLIN),
                PollFd::new(self.listener.as_fd(), PollFlags::POLLIN),
            ];
            if let Some(client) = &client {
                let mut what = PollFlags::POLLIN;
                what.set(PollFlags::POLLOUT, output);
                fds.push(PollFd::new(client.as_fd(), what));
            }
            if poll(&mut fds, PollTimeout::NONE).is_err() {
                continue;
            }
            let happened: Vec<PollFlags> = fds
                .iter()
                .map(|fd| fd.revents().unwrap_or(PollFlags::empty()))
                .collect();
            let any = |index: usize| happened.get(index).is_some_and(|what| !what.is_empty());
            if any(0) {
                break;
            }
            if any(1) {
                let _ = self.queue.some.read();
            }
            if let Some(stream) = &mut client {
                let readable = happened.get(3).is_some_and(|what| {
                    what.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR)
                });
                let stays = (!readable || receive(stream, &mut buffer, line, stop))
                    && (!output || self.send(stream));
                if !stays {
                    client = None;
                    self.connected(false);
                }
            }
            if any(2) {
                self.accept(&mut client);
            }
        }
        if let Some(stream) = &mut client {
            self.last(stream);
        }
    }

    /// Takes a client, unless there is one: then the new one is hung up on.
    fn accept(&self, client: &mut Option<UnixStream>) {
        let Ok((stream, _)) = self.listener.accept() else {
            return;
        };
        if client.is_none() && stream.set_nonblocking(true).is_ok() {
            *client = Some(stream);
            self.connected(true);
        }
    }

    fn connected(&self, connected: bool) {
        let mut waiting = self.queue.bytes.lock();
        if waiting.lost > 0 {
            tracing::warn!("{}: {} bytes lost", self.path.display(), waiting.lost);
        }
        *waiting = Waiting {
            connected,
            ..Waiting::default()
        };
    }

    /// Sends what the client takes now; false: it is gone.
    fn send(&self, stream: &mut UnixStream) -> bool {
        loop {
            let mut waiting = self.queue.bytes.lock();
            let (front, _) = waiting.bytes.as_slices();
            if front.is_empty() {
                return true;
            }
            match stream.write(front) {
                Ok(0) => return false,
                Ok(sent) => {
                    waiting.bytes.drain(..sent);
                }
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }

    /// The machine has ended: what it said last is still to be sent.
    fn last(&self, stream: &mut UnixStream) {
        let end = Instant::now() + LAST_OUTPUT;
        while self.send(stream) && !self.queue.bytes.lock().bytes.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || !ready(stream.as_fd(), PollFlags::POLLOUT, left) {
                break;
            }
        }
    }
}

/// Takes input from a client; false: it is gone.
fn receive(
    stream: &mut UnixStream,
    buffer: &mut [u8],
    line: &Weak<SerialPort>,
    stop: &EventFd,
) -> bool {
    match stream.read(buffer) {
        Ok(0) => false,
        Ok(got) => give(line, stop, buffer.get(..got).unwrap_or_default()),
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(line: &SerialPort, text: &[u8]) {
        for byte in text {
            line.write(0, *byte);
        }
    }

    fn expect(stream: &mut UnixStream, text: &[u8]) {
        let mut got = vec![0; text.len()];
        stream.read_exact(&mut got).unwrap();
        assert_eq!(got, text);
    }

    fn until(mut condition: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(10);
        while !condition() {
            assert!(Instant::now() < end, "takes too long");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn a_socket_has_one_client_and_a_log_has_everything() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("line");
        let log = dir.path().join("log");
        let config = SerialConfig::Unix {
            path: path.clone(),
            log: Some(log.clone()),
        };
        let line = SerialPort::new(&config).unwrap();
        line.start(|| ()).unwrap();
        write(&line, b"before ");

        let mut client = UnixStream::connect(&path).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        client.write_all(b"k").unwrap();
        // Its input shows that it was taken as the client.
        until(|| line.read(5) & 1 != 0);
        assert_eq!(line.read(0), b'k');
        write(&line, b"during");
        expect(&mut client, b"during");

        // A second one is hung up on.
        let mut second = UnixStream::connect(&path).unwrap();
        second
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        assert_eq!(second.read(&mut [0]).unwrap(), 0);

        // The first goes, another comes.
        drop(client);
        let mut third = loop {
            let mut stream = UnixStream::connect(&path).unwrap();
            stream.write_all(b"x").unwrap();
            stream
                .set_read_timeout(Some(Duration::from_millis(100)))
                .unwrap();
            match stream.read(&mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break stream,
                _ => continue,
            }
        };
        write(&line, b" after");
        // Sent even though the line ends now.
        line.stop();
        expect(&mut third, b" after");
        assert_eq!(fs::read(&log).unwrap(), b"before during after");
        assert!(!path.exists());
    }

    #[test]
    fn a_slow_client_loses_and_nobody_waits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("line");
        let config = SerialConfig::Unix {
            path: path.clone(),
            log: None,
        };
        let line = SerialPort::new(&config).unwrap();
        line.start(|| ()).unwrap();
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(b"k").unwrap();
        until(|| line.read(5) & 1 != 0);
        let much = vec![b'.'; 2 * MAX_OUTPUT];
        write(&line, &much);
        let started = Instant::now();
        line.stop();
        assert!(started.elapsed() < 3 * LAST_OUTPUT);
    }

    #[test]
    fn what_cannot_be_opened_is_said() {
        let nowhere = PathBuf::from("/nonexistent/x");
        for config in [
            SerialConfig::File(nowhere.clone()),
            SerialConfig::Unix {
                path: nowhere.clone(),
                log: None,
            },
        ] {
            let error = SerialPort::new(&config).unwrap_err();
            assert!(format!("{error:#}").contains("/nonexistent/x"), "{error:#}");
        }
    }
}
