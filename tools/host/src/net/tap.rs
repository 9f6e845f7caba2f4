// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Back end: a tap interface of this machine.
//!
//! Frames travel between the tap and the guest's pages with one `readv` or `writev` each, whole
//! TCP segments of up to 64 KiB included. An interface that exists is used as it is, with several
//! queues where it has them; one that doesn't is created if this process may.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{json, Value};

use super::backend::{Backend, Capabilities, Frame, Offload, Queue, Received, Room, VNET_BYTES};

/// A tap interface can't be used.
#[derive(Debug, thiserror::Error)]
#[error("tap interface {name}: {what}: {error}")]
pub struct TapError {
    name: String,
    what: &'static str,
    error: io::Error,
}

/// A tap interface with its queues.
#[derive(Debug)]
pub struct Tap {
    name: String,
    files: Vec<Arc<File>>,
    receive: Mutex<Capabilities>,
}

impl Tap {
    /// Opens the interface with up to `queues` queues; how many there are depends on how it was
    /// made.
    ///
    /// # Errors
    ///
    /// When there is none of the name and none can be created, or it is in use, or this process
    /// may not.
    pub fn open(name: &str, queues: u16) -> Result<Self, TapError> {
        let error = |what, error| TapError {
            name: name.to_owned(),
            what,
            error,
        };
        let mut files = Vec::new();
        // One made with multi_queue wants that flag, one made without refuses it.
        let (first, multi) = match attach(name, queues > 1) {
            Ok(file) => (file, queues > 1),
            Err(refused) if refused.raw_os_error() == Some(libc::EINVAL) => {
                let file = attach(name, queues <= 1).map_err(|e| error("can't be opened", e))?;
                (file, queues <= 1)
            }
            Err(refused) => return Err(error("can't be opened", refused)),
        };
        prepare(&first).map_err(|e| error("can't be set up", e))?;
        files.push(Arc::new(first));
        if multi {
            for _ in 1..queues {
                let file = match attach(name, true) {
                    Ok(file) => file,
                    // The interface was made with fewer queues.
                    Err(full) if full.raw_os_error() == Some(libc::E2BIG) => break,
                    Err(refused) => return Err(error("a queue can't be opened", refused)),
                };
                prepare(&file).map_err(|e| error("can't be set up", e))?;
                // The kernel spreads frames over attached queues: only those whose channel is
                // open take part.
                set_queue(&file, false).map_err(|e| error("a queue can't be detached", e))?;
                files.push(Arc::new(file));
            }
        }
        let tap = Self {
            name: name.to_owned(),
            files,
            receive: Mutex::new(Capabilities::NONE),
        };
        tap.set_receive(Capabilities::NONE)
            .map_err(|e| error("offloads can't be set", e))?;
        Ok(tap)
    }
}

/// Attaches to an interface, or creates it.
fn attach(name: &str, multi: bool) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/net/tun")?;
    // SAFETY: all zero bytes are a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()).take(15) {
        *to = from as libc::c_char;
    }
    let mut flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    if multi {
        flags |= libc::IFF_MULTI_QUEUE;
    }
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which lives for the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &mut request) })?;
    Ok(file)
}

/// Sets the shape of the header before each frame.
fn prepare(file: &File) -> io::Result<()> {
    let bytes = VNET_BYTES as libc::c_int;
    let little: libc::c_int = 1;
    // SAFETY: both read one int, which lives for the call.
    unsafe {
        check(libc::ioctl(file.as_raw_fd(), libc::TUNSETVNETHDRSZ, &bytes))?;
        check(libc::ioctl(file.as_raw_fd(), libc::TUNSETVNETLE, &little))
    }
}

/// Attaches or detaches a queue.
fn set_queue(file: &File, attached: bool) -> io::Result<()> {
    // SAFETY: all zero bytes are a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let flag = if attached {
        libc::IFF_ATTACH_QUEUE
    } else {
        libc::IFF_DETACH_QUEUE
    };
    request.ifr_ifru.ifru_flags = flag as libc::c_short;
    // SAFETY: TUNSETQUEUE reads one `ifreq`, which lives for the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETQUEUE, &mut request) })
}

fn check(answer: libc::c_int) -> io::Result<()> {
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

impl Backend for Tap {
    fn name(&self) -> String {
        format!("tap {}", self.name)
    }

    fn queues(&self) -> u16 {
        self.files.len() as u16
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    fn set_receive(&self, wanted: Capabilities) -> io::Result<()> {
        let mut now = self.receive.lock();
        let mut flags = 0;
        if wanted.checksum {
            flags |= libc::TUN_F_CSUM;
            if wanted.tso4 {
                flags |= libc::TUN_F_TSO4;
            }
            if wanted.tso6 {
                flags |= libc::TUN_F_TSO6;
            }
            if wanted.tso4 || wanted.tso6 {
                flags |= libc::TUN_F_TSO_ECN;
            }
        }
        let Some(file) = self.files.first() else {
            return Ok(());
        };
        // SAFETY: TUNSETOFFLOAD takes its argument by value.
        check(unsafe {
            libc::ioctl(
                file.as_raw_fd(),
                libc::TUNSETOFFLOAD,
                libc::c_ulong::from(flags),
            )
        })?;
        *now = wanted;
        Ok(())
    }

    fn set_link(&self, up: bool) {
        let Some(file) = self.files.first() else {
            return;
        };
        let carrier = libc::c_int::from(up);
        // SAFETY: TUNSETCARRIER reads one int, which lives for the call.
        let answer = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETCARRIER, &carrier) };
        if let Err(error) = check(answer) {
            // Only what people see on this side; kernels before 4.20 can't.
            tracing::debug!("tap interface {}: carrier: {error}", self.name);
        }
    }

    fn open(&self, queue: u16) -> io::Result<Box<dyn Queue>> {
        let count = self.files.len().max(1);
        let at = usize::from(queue);
        let file = self
            .files
            .get(at % count)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?
            .clone();
        let receives = at < count;
        if receives && at > 0 {
            set_queue(&file, true)?;
        }
        Ok(Box::new(TapQueue {
            file,
            receives,
            attached: receives && at > 0,
            pieces: Vec::new(),
        }))
    }

    fn stats(&self) -> Value {
        let receive = *self.receive.lock();
        json!({
            "interface": self.name,
            "queues": self.files.len(),
            "receives_unchecked": receive.checksum,
            "receives_large": receive.tso4,
        })
    }
}

/// One queue of a tap.
#[derive(Debug)]
struct TapQueue {
    file: Arc<File>,
    receives: bool,
    attached: bool,
    /// Reused for every frame; empty between calls.
    pieces: Vec<crate::memory::IoVec>,
}

impl TapQueue {
    /// Lists header, private bytes and guest pieces for the system.
    fn list(&mut self, header: *mut u8, head: (*mut u8, usize), body: &[crate::memory::IoVec]) {
        use crate::memory::IoVec;
        self.pieces.clear();
        self.pieces.push(IoVec(libc::iovec {
            iov_base: header.cast(),
            iov_len: VNET_BYTES,
        }));
        if head.1 > 0 {
            self.pieces.push(IoVec(libc::iovec {
                iov_base: head.0.cast(),
                iov_len: head.1,
            }));
        }
        // The system takes at most IOV_MAX pieces; so many are never needed for 64 KiB.
        let room = libc::UIO_MAXIOV as usize - self.pieces.len();
        self.pieces.extend(body.iter().take(room));
    }
}

impl Queue for TapQueue {
    fn file(&self) -> Option<BorrowedFd<'_>> {
        self.receives.then(|| self.file.as_fd())
    }

    fn due(&self) -> Option<Duration> {
        None
    }

    fn transmit(&mut self, offload: &Offload, frame: Frame<'_>) -> io::Result<()> {
        let mut header = offload.encode();
        self.list(
            header.as_mut_ptr(),
            (frame.head.as_ptr().cast_mut(), frame.head.len()),
            frame.body.pieces(),
        );
        // SAFETY: `list` made the pieces from `header` and `frame.head`, which live for the call
        // and are only read by it, and from a View's pieces, which are mapped for its lifetime.
        // IoVec is a transparent iovec.
        let sent = unsafe {
            libc::writev(
                self.file.as_raw_fd(),
                self.pieces.as_ptr().cast(),
                self.pieces.len() as libc::c_int,
            )
        };
        let result = if sent < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        };
        self.pieces.clear();
        result
    }

    fn receive(&mut self, room: Room<'_>) -> io::Result<Option<Received>> {
        if !self.receives {
            return Ok(None);
        }
        let mut header = [0; VNET_BYTES];
        loop {
            self.list(
                header.as_mut_ptr(),
                (room.head.as_mut_ptr(), room.head.len()),
                room.body.pieces(),
            );
            // SAFETY: as in `transmit`; `header` and `room.head` are borrowed mutably.
            let got = unsafe {
                libc::readv(
                    self.file.as_raw_fd(),
                    self.pieces.as_ptr().cast(),
                    self.pieces.len() as libc::c_int,
                )
            };
            let error = io::Error::last_os_error();
            self.pieces.clear();
            let Ok(got) = usize::try_from(got) else {
                match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(None),
                    io::ErrorKind::Interrupted => continue,
                    _ => return Err(error),
                }
            };
            let Some(bytes) = got.checked_sub(VNET_BYTES).filter(|bytes| *bytes > 0) else {
                continue;
            };
            // What was never agreed to (UFO) can't come; if it does it is lost.
            if let Some(offload) = Offload::decode(&header) {
                return Ok(Some(Received { bytes, offload }));
            }
        }
    }
}

impl Drop for TapQueue {
    fn drop(&mut self) {
        if self.attached {
            if let Err(error) = set_queue(&self.file, false) {
                tracing::debug!("a tap's queue can't be detached: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scatter::View;
    use super::*;
    use std::process::Command;

    /// Runs `test` on a thread with a network of its own; says so and does nothing where this
    /// process may not make one.
    fn in_own_network(test: impl FnOnce() + Send + 'static) {
        let ran = std::thread::spawn(move || {
            if let Err(error) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
                eprintln!("skipped: no network of its own: {error}");
                return;
            }
            test();
        })
        .join();
        assert!(ran.is_ok());
    }

    fn ip(arguments: &[&str]) {
        let status = Command::new("ip").args(arguments).status().unwrap();
        assert!(status.success(), "ip {arguments:?}");
    }

    #[test]
    fn frames_pass_both_ways() {
        in_own_network(|| {
            let tap = Tap::open("hvt0", 1).unwrap();
            assert_eq!((tap.queues(), tap.name().as_str()), (1, "tap hvt0"));
            tap.set_receive(Capabilities::ALL).unwrap();
            ip(&["addr", "add", "10.77.0.1/24", "dev", "hvt0"]);
            ip(&["link", "set", "hvt0", "up"]);
            let mut queue = tap.open(0).unwrap();
            // Who has 10.77.0.1?
            let mut ask = vec![0xff; 6];
            ask.extend_from_slice(&[2, 0, 0, 0, 0, 9, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
            ask.extend_from_slice(&[2, 0, 0, 0, 0, 9, 10, 77, 0, 2]);
            ask.extend_from_slice(&[0, 0, 0, 0, 0, 0, 10, 77, 0, 1]);
            let frame = Frame {
                head: &ask,
                body: View::EMPTY,
            };
            queue.transmit(&Offload::default(), frame).unwrap();
            let mut head = [0; 2048];
            let mut answered = false;
            for _ in 0..1000 {
                let room = Room {
                    head: &mut head,
                    body: View::EMPTY,
                };
                match queue.receive(room).unwrap() {
                    // The interface sends router solicitations, too.
                    Some(got) => {
                        answered |= got.bytes >= 42 && head[..6] == ask[6..12] && head[21] == 2;
                    }
                    None if answered => break,
                    None => std::thread::sleep(Duration::from_millis(1)),
                }
            }
            assert!(answered);
        });
    }

    #[test]
    fn queues_are_those_of_the_interface() {
        in_own_network(|| {
            ip(&["tuntap", "add", "hvt1", "mode", "tap"]);
            ip(&["tuntap", "add", "hvt2", "mode", "tap", "multi_queue"]);
            let single = Tap::open("hvt1", 4).unwrap();
            assert_eq!(single.queues(), 1);
            // A second one only sends.
            assert!(single.open(1).unwrap().file().is_none());
            let several = Tap::open("hvt2", 4).unwrap();
            assert_eq!(several.queues(), 4);
            for round in 0..2 {
                let queue = several.open(3).unwrap();
                assert!(queue.file().is_some(), "round {round}");
            }
            // In use.
            let error = Tap::open("hvt1", 1).unwrap_err().to_string();
            assert!(
                error.starts_with("tap interface hvt1: can't be opened"),
                "{error}"
            );
            // Made with several queues, used with one.
            drop(several);
            assert_eq!(Tap::open("hvt2", 1).unwrap().queues(), 1);
        });
    }

    #[test]
    fn what_is_no_tap_is_refused() {
        in_own_network(|| {
            let error = Tap::open("lo", 1).unwrap_err().to_string();
            assert!(error.starts_with("tap interface lo: "), "{error}");
        });
    }
}
