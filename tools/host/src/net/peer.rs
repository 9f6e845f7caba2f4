// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Back end: a peer inside of this process, so that tests of a NIC need no privileges.
//!
//! The peer takes frames as they are on a wire: it leaves no checksum to the guest and has none
//! left to it, so that it also judges what a NIC does for those who can't. Only those that look at
//! nothing (sink, discard and source for what comes from the guest) take large segments whole.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{json, Value};

use super::backend::{Backend, Capabilities, Frame, Offload, Queue, Received, Room};
use super::frame::Mac;
use super::spec::PeerMode;
use crate::counters;

mod answer;
mod source;
mod stream;

use answer::Answerer;
use source::Source;

counters! {
    /// What a peer saw and did.
    pub struct PeerCounters {
        /// Frames from the guest.
        frames_in,
        /// Bytes of them.
        bytes_in,
        /// Frames to the guest.
        frames_out,
        /// Bytes of them.
        bytes_out,
        /// ARP requests and neighbour solicitations answered.
        neighbours,
        /// ICMP echo requests answered.
        pings,
        /// UDP datagrams from the guest.
        datagrams,
        /// TCP connections accepted.
        connections,
        /// Bytes of TCP data taken.
        stream_bytes,
        /// Frames with a wrong checksum.
        bad_checksums,
        /// Answers lost because too many wait.
        overruns,
    }
}

/// Answers that may wait in a queue until the guest takes them.
const MAX_WAITING: usize = 4096;

/// The address of every peer.
pub const PEER_MAC: Mac = Mac([0x02, 0x15, 0x5d, 0xff, 0xff, 0xfe]);

/// An internal peer.
#[derive(Debug)]
pub struct Peer {
    mode: PeerMode,
    queues: u16,
    rate: Option<u64>,
    size: u32,
    guest: Mac,
    shared: Arc<Shared>,
}

/// What the queues of a peer share.
#[derive(Debug, Default)]
struct Shared {
    counters: PeerCounters,
    link: AtomicBool,
    open: AtomicU16,
}

impl Peer {
    /// A peer for the NIC with address `guest`; a source's frames have `size` bytes.
    pub fn new(mode: PeerMode, queues: u16, rate: Option<u64>, size: u32, guest: Mac) -> Self {
        let shared = Shared::default();
        shared.link.store(true, Ordering::Relaxed);
        Self {
            mode,
            queues,
            rate,
            size,
            guest,
            shared: Arc::new(shared),
        }
    }

    /// What it saw and did.
    pub fn counters(&self) -> &PeerCounters {
        &self.shared.counters
    }
}

impl Backend for Peer {
    fn name(&self) -> String {
        format!("peer {}", self.mode.name())
    }

    fn queues(&self) -> u16 {
        self.queues
    }

    fn capabilities(&self) -> Capabilities {
        match self.mode {
            PeerMode::Echo | PeerMode::Discard => Capabilities::NONE,
            PeerMode::Source | PeerMode::Sink => Capabilities::ALL,
        }
    }

    fn set_receive(&self, _wanted: Capabilities) -> io::Result<()> {
        Ok(())
    }

    fn set_link(&self, up: bool) {
        self.shared.link.store(up, Ordering::Relaxed);
    }

    fn open(&self, queue: u16) -> io::Result<Box<dyn Queue>> {
        self.shared.open.fetch_add(1, Ordering::Relaxed);
        let work = match self.mode {
            PeerMode::Echo => Work::Answer(Answerer::new(true)),
            PeerMode::Discard => Work::Answer(Answerer::new(false)),
            PeerMode::Source => Work::Source(Source::new(queue, self.rate, self.size, self.guest)),
            PeerMode::Sink => Work::Sink,
        };
        Ok(Box::new(PeerQueue {
            shared: self.shared.clone(),
            work,
            waiting: VecDeque::new(),
            spare: Vec::new(),
            frame: Vec::new(),
        }))
    }

    fn stats(&self) -> Value {
        let mut stats = self.shared.counters.snapshot();
        stats.insert("mode".to_owned(), json!(self.mode.name()));
        Value::Object(stats)
    }
}

/// What a queue does with frames.
enum Work {
    Answer(Answerer),
    Source(Source),
    Sink,
}

/// One queue of a peer.
struct PeerQueue {
    shared: Arc<Shared>,
    work: Work,
    /// Frames for the guest.
    waiting: VecDeque<Vec<u8>>,
    /// Room of frames that were delivered.
    spare: Vec<Vec<u8>>,
    /// The frame from the guest, in one piece.
    frame: Vec<u8>,
}

impl Queue for PeerQueue {
    fn file(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn due(&self) -> Option<Duration> {
        if !self.waiting.is_empty() {
            return Some(Duration::ZERO);
        }
        match &self.work {
            Work::Source(source) if self.shared.link.load(Ordering::Relaxed) => {
                Some(source.due(self.shared.open.load(Ordering::Relaxed)))
            }
            // The link may come up again; nobody is told.
            Work::Source(_) => Some(Duration::from_millis(50)),
            _ => None,
        }
    }

    fn transmit(&mut self, _offload: &Offload, frame: Frame<'_>) -> io::Result<()> {
        let counters = &self.shared.counters;
        counters.frames_in.inc();
        counters.bytes_in.add(frame.len() as u64);
        let Work::Answer(answerer) = &mut self.work else {
            return Ok(());
        };
        self.frame.clear();
        self.frame.extend_from_slice(frame.head);
        self.frame.resize(frame.len(), 0);
        if let Some(rest) = self.frame.get_mut(frame.head.len()..) {
            if !frame.body.read(0, rest) {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        let (waiting, spare) = (&mut self.waiting, &mut self.spare);
        answerer.answer(&self.frame, counters, |answer| {
            if waiting.len() >= MAX_WAITING {
                counters.overruns.inc();
                return;
            }
            let mut room: Vec<u8> = spare.pop().unwrap_or_default();
            room.clear();
            room.extend_from_slice(answer);
            waiting.push_back(room);
        });
        Ok(())
    }

    fn receive(&mut self, room: Room<'_>) -> io::Result<Option<Received>> {
        let counters = &self.shared.counters;
        let bytes = if let Some(frame) = self.waiting.pop_front() {
            let bytes = place(&frame, room);
            if self.spare.len() < 64 {
                self.spare.push(frame);
            }
            bytes
        } else if let Work::Source(source) = &mut self.work {
            if !self.shared.link.load(Ordering::Relaxed) {
                return Ok(None);
            }
            match source.next(self.shared.open.load(Ordering::Relaxed)) {
                Some(frame) => place(frame, room),
                None => return Ok(None),
            }
        } else {
            return Ok(None);
        };
        counters.frames_out.inc();
        counters.bytes_out.add(bytes as u64);
        Ok(Some(Received {
            bytes,
            offload: Offload {
                valid: true,
                ..Offload::default()
            },
        }))
    }
}

impl Drop for PeerQueue {
    fn drop(&mut self) {
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Copies a frame to where it shall go; what doesn't fit is cut off.
fn place(frame: &[u8], room: Room<'_>) -> usize {
    let first = frame.len().min(room.head.len());
    room.head[..first].copy_from_slice(&frame[..first]);
    let rest = &frame[first..];
    let fits = rest.len().min(room.body.len());
    if room.body.write(0, &rest[..fits]) {
        first + fits
    } else {
        first
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::build;
    use super::super::frame::UDP;
    use super::super::scatter::View;
    use super::*;

    fn receive(queue: &mut dyn Queue) -> Option<Vec<u8>> {
        let mut head = vec![0; 70_000];
        let room = Room {
            head: &mut head,
            body: View::EMPTY,
        };
        let got = queue.receive(room).unwrap()?;
        head.truncate(got.bytes);
        Some(head)
    }

    fn send(queue: &mut dyn Queue, frame: &[u8]) {
        let frame = Frame {
            head: frame,
            body: View::EMPTY,
        };
        queue.transmit(&Offload::default(), frame).unwrap();
    }

    #[test]
    fn a_sink_counts_and_a_source_obeys_the_link() {
        let frame = build::ipv4(UDP, ([10, 0, 0, 1], 1), ([10, 0, 0, 2], 2), b"hello");
        let sink = Peer::new(PeerMode::Sink, 1, None, 1514, Mac::ZERO);
        let mut queue = sink.open(0).unwrap();
        send(&mut *queue, &frame);
        send(&mut *queue, &frame);
        assert!(receive(&mut *queue).is_none() && queue.due().is_none());
        assert_eq!(sink.counters().frames_in.get(), 2);
        assert_eq!(sink.counters().bytes_in.get(), 2 * frame.len() as u64);

        let source = Peer::new(PeerMode::Source, 2, None, 1514, Mac([2; 6]));
        let mut queue = source.open(1).unwrap();
        assert_eq!(queue.due(), Some(Duration::ZERO));
        let frame = receive(&mut *queue).unwrap();
        assert_eq!((frame.len(), &frame[..6]), (1514, &[2; 6][..]));
        source.set_link(false);
        assert!(receive(&mut *queue).is_none());
        assert!(queue.due() > Some(Duration::ZERO));
        source.set_link(true);
        assert!(receive(&mut *queue).is_some());
        assert_eq!(source.counters().frames_out.get(), 2);
    }

    #[test]
    fn answers_that_nobody_takes_are_bounded() {
        let mut frame = build::ipv4(UDP, ([10, 0, 0, 1], 1), ([10, 0, 0, 2], 2), b"hello");
        frame[..6].copy_from_slice(&PEER_MAC.0);
        let peer = Peer::new(PeerMode::Echo, 1, None, 1514, Mac::ZERO);
        let mut queue = peer.open(0).unwrap();
        for _ in 0..MAX_WAITING + 5 {
            send(&mut *queue, &frame);
        }
        assert_eq!(peer.counters().overruns.get(), 5);
        let mut got = 0;
        while receive(&mut *queue).is_some() {
            got += 1;
        }
        assert_eq!(got, MAX_WAITING);
    }
}
