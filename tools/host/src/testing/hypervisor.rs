// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A hypervisor that only remembers.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use vmbus_wire::version::MESSAGE_SINT;
use vmm_sys_util::eventfd::EventFd;

use crate::hypervisor::Hypervisor;

/// Messages that may wait for the guest.
const MOST_MESSAGES: usize = 8192;

#[derive(Default)]
struct State {
    /// Processor and payload.
    messages: VecDeque<(u32, Vec<u8>)>,
    /// Event flags that are set, and the processor they were set on last.
    flags: HashMap<u16, u32>,
    /// Times each flag was signalled.
    signals: HashMap<u16, u64>,
    connections: HashMap<u32, Arc<EventFd>>,
    refuse_connections: bool,
}

/// See the module.
pub struct FakeHypervisor {
    processors: u32,
    state: Mutex<State>,
    arrived: Condvar,
}

impl FakeHypervisor {
    pub(super) fn new(processors: u32) -> Arc<Self> {
        Arc::new(Self {
            processors,
            state: Mutex::default(),
            arrived: Condvar::new(),
        })
    }

    /// The next message and the processor it was for.
    pub fn take_message(&self, limit: Duration) -> Option<(u32, Vec<u8>)> {
        self.wait(limit, |state| state.messages.pop_front())
    }

    /// Waits until an event flag is set and clears it; the processor it was set on.
    pub fn take_flag(&self, flag: u16, limit: Duration) -> Option<u32> {
        self.wait(limit, |state| state.flags.remove(&flag))
    }

    /// How often an event flag was signalled.
    pub fn signals(&self, flag: u16) -> u64 {
        self.state.lock().signals.get(&flag).copied().unwrap_or(0)
    }

    /// The guest's SIGNAL_EVENT; false: there is no such connection.
    pub fn signal_event(&self, connection: u32) -> bool {
        let event = self.state.lock().connections.get(&connection).cloned();
        match event {
            Some(event) => {
                // Fails when the counter is full, which is a signal, too.
                let _ = event.write(1);
                true
            }
            None => false,
        }
    }

    /// Whether the bus has an event on a connection.
    pub fn is_connected(&self, connection: u32) -> bool {
        self.state.lock().connections.contains_key(&connection)
    }

    /// Has the bus's next connections fail, as a system out of resources does.
    pub fn refuse_connections(&self, refuse: bool) {
        self.state.lock().refuse_connections = refuse;
    }

    fn wait<T>(&self, limit: Duration, mut take: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut state = self.state.lock();
        loop {
            if let Some(taken) = take(&mut state) {
                return Some(taken);
            }
            if self.arrived.wait_until(&mut state, deadline).timed_out() {
                return take(&mut state);
            }
        }
    }
}

impl Hypervisor for FakeHypervisor {
    fn processors(&self) -> u32 {
        self.processors
    }

    fn post_message(&self, vp: u32, sint: u8, payload: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        if vp >= self.processors || sint != MESSAGE_SINT {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if state.messages.len() >= MOST_MESSAGES {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.messages.push_back((vp, payload.to_vec()));
        self.arrived.notify_all();
        Ok(())
    }

    fn signal(&self, vp: u32, sint: u8, flag: u16) {
        assert!(
            vp < self.processors && sint == MESSAGE_SINT,
            "signal for processor {vp}, source {sint}"
        );
        let mut state = self.state.lock();
        state.flags.insert(flag, vp);
        *state.signals.entry(flag).or_default() += 1;
        self.arrived.notify_all();
    }

    fn connect_event(&self, connection: u32, event: Arc<EventFd>) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.refuse_connections {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        if connection >= 1 << 24 || state.connections.contains_key(&connection) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        state.connections.insert(connection, event);
        Ok(())
    }

    fn disconnect_event(&self, connection: u32) {
        self.state.lock().connections.remove(&connection);
    }
}
