// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A back end whose other end is the test.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hvhost::net::backend::{Backend, Capabilities, Frame, Offload, Queue, Received, Room};
use nix::sys::eventfd::{EfdFlags, EventFd};
use serde_json::Value;

/// A frame that the NIC sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) queue: u16,
    pub(crate) bytes: Vec<u8>,
    pub(crate) offload: Offload,
}

#[derive(Debug)]
struct State {
    capabilities: Capabilities,
    accepts: Capabilities,
    link: bool,
    sent: Vec<Sent>,
    waiting: Vec<VecDeque<(Vec<u8>, Offload)>>,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    state: Arc<Mutex<State>>,
    /// Readable while frames wait.
    events: Arc<Vec<EventFd>>,
}

impl Wire {
    pub(crate) fn new(queues: u16) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                capabilities: Capabilities::ALL,
                accepts: Capabilities::NONE,
                link: true,
                sent: Vec::new(),
                waiting: vec![VecDeque::new(); queues.into()],
            })),
            events: Arc::new(
                (0..queues)
                    .map(|_| EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap())
                    .collect(),
            ),
        }
    }

    /// What the back end says it can do from now on; before the channel is opened.
    pub(crate) fn set_capabilities(&self, capabilities: Capabilities) {
        self.state.lock().unwrap().capabilities = capabilities;
    }

    /// What the NIC takes as it is.
    pub(crate) fn accepts(&self) -> Capabilities {
        self.state.lock().unwrap().accepts
    }

    pub(crate) fn link(&self) -> bool {
        self.state.lock().unwrap().link
    }

    /// What was sent since the last call.
    pub(crate) fn sent(&self) -> Vec<Sent> {
        std::mem::take(&mut self.state.lock().unwrap().sent)
    }

    /// Frames for the guest.
    pub(crate) fn deliver(&self, queue: usize, frames: impl IntoIterator<Item = Vec<u8>>) {
        self.deliver_all(
            queue,
            frames.into_iter().map(|frame| (frame, Offload::default())),
        );
    }

    /// A frame with something special about it.
    pub(crate) fn deliver_with(&self, queue: usize, frame: Vec<u8>, offload: Offload) {
        self.deliver_all(queue, [(frame, offload)]);
    }

    /// Several at once.
    pub(crate) fn deliver_all(
        &self,
        queue: usize,
        frames: impl IntoIterator<Item = (Vec<u8>, Offload)>,
    ) {
        let mut state = self.state.lock().unwrap();
        state.waiting[queue].extend(frames);
        self.events[queue].write(1).unwrap();
    }
}

impl Backend for Wire {
    fn name(&self) -> String {
        "wire".to_owned()
    }

    fn queues(&self) -> u16 {
        self.events.len() as u16
    }

    fn capabilities(&self) -> Capabilities {
        self.state.lock().unwrap().capabilities
    }

    fn set_receive(&self, wanted: Capabilities) -> io::Result<()> {
        self.state.lock().unwrap().accepts = wanted;
        Ok(())
    }

    fn set_link(&self, up: bool) {
        self.state.lock().unwrap().link = up;
    }

    fn open(&self, queue: u16) -> io::Result<Box<dyn Queue>> {
        Ok(Box::new(WireQueue {
            wire: self.clone(),
            queue,
        }))
    }

    fn stats(&self) -> Value {
        Value::Null
    }
}

struct WireQueue {
    wire: Wire,
    queue: u16,
}

impl Queue for WireQueue {
    fn file(&self) -> Option<BorrowedFd<'_>> {
        Some(self.wire.events[usize::from(self.queue)].as_fd())
    }

    fn due(&self) -> Option<Duration> {
        None
    }

    fn transmit(&mut self, offload: &Offload, frame: Frame<'_>) -> io::Result<()> {
        let mut bytes = frame.head.to_vec();
        bytes.resize(frame.len(), 0);
        assert!(frame.body.read(0, &mut bytes[frame.head.len()..]));
        self.wire.state.lock().unwrap().sent.push(Sent {
            queue: self.queue,
            bytes,
            offload: *offload,
        });
        Ok(())
    }

    fn receive(&mut self, room: Room<'_>) -> io::Result<Option<Received>> {
        let mut state = self.wire.state.lock().unwrap();
        let queue = usize::from(self.queue);
        let Some((frame, offload)) = state.waiting[queue].pop_front() else {
            let _ = self.wire.events[queue].read();
            return Ok(None);
        };
        let first = frame.len().min(room.head.len());
        room.head[..first].copy_from_slice(&frame[..first]);
        let fits = (frame.len() - first).min(room.body.len());
        assert!(room.body.write(0, &frame[first..first + fits]));
        Ok(Some(Received {
            bytes: frame.len(),
            offload,
        }))
    }
}
