// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A serial line: a 16550A (vm-superio's), and what is at the other end.

mod backend;
mod uart;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use parking_lot::Mutex;
use serde_json::{json, Value};
use vmm_sys_util::eventfd::EventFd;

use backend::Backend;
use uart::Uart;

/// Where a serial line leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SerialConfig {
    /// Nowhere.
    #[default]
    Null,
    /// This program's terminal. Ctrl-A x ends the machine, Ctrl-A b sends a break.
    Stdio,
    /// A file that is made anew.
    File(PathBuf),
    /// A socket to which one client at a time connects, and a file with a copy of all output.
    Unix {
        /// Where it listens.
        path: PathBuf,
        /// Where the copy goes.
        log: Option<PathBuf>,
    },
}

/// One serial line of the guest's.
pub struct SerialPort {
    uart: Mutex<Uart>,
    interrupt: EventFd,
    /// Let go of last: nothing comes in any more then.
    backend: Mutex<Option<Backend>>,
}

impl fmt::Debug for SerialPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SerialPort").finish_non_exhaustive()
    }
}

impl SerialPort {
    /// Opens the line; input is taken from [`Self::start`] on.
    ///
    /// # Errors
    ///
    /// When its other end can't be opened.
    pub(super) fn new(config: &SerialConfig) -> Result<Arc<Self>> {
        let interrupt = EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?;
        let (backend, output) = Backend::open(config)?;
        Ok(Arc::new(Self {
            uart: Mutex::new(Uart::new(interrupt.try_clone()?, output)),
            interrupt,
            backend: Mutex::new(Some(backend)),
        }))
    }

    /// What is written when the guest is to be interrupted.
    pub(super) fn interrupt(&self) -> &EventFd {
        &self.interrupt
    }

    /// Takes input from the other end; `quit` is what somebody at the terminal can ask for.
    ///
    /// # Errors
    ///
    /// When there can be no thread for it.
    pub(super) fn start(self: &Arc<Self>, quit: impl Fn() + Send + 'static) -> Result<()> {
        match self.backend.lock().as_mut() {
            Some(backend) => backend.start(Arc::downgrade(self), Box::new(quit)),
            None => Ok(()),
        }
    }

    /// Ends the input, after the last of the output was taken (or wasn't, for a second).
    pub(super) fn stop(&self) {
        // Not under the lock: its thread may be about to take it.
        let backend = self.backend.lock().take();
        drop(backend);
    }

    /// The guest reads a register.
    pub(super) fn read(&self, register: u8) -> u8 {
        self.uart.lock().read(register)
    }

    /// The guest writes a register.
    pub(super) fn write(&self, register: u8, value: u8) {
        self.uart.lock().write(register, value);
    }

    /// Sends bytes to the guest; how many it has room for now.
    pub fn input(&self, bytes: &[u8]) -> usize {
        self.uart.lock().input(bytes)
    }

    /// Sends a break: on a Linux console the next byte is a SysRq key.
    pub fn send_break(&self) {
        self.uart.lock().send_break();
    }

    /// A break and a SysRq key, not interrupted by other input.
    pub fn sysrq(&self, key: u8) {
        let mut uart = self.uart.lock();
        uart.send_break();
        uart.input(&[key]);
    }

    /// Counters for the control protocol's `stats`.
    pub fn stats(&self) -> Value {
        json!(self.uart.lock().counters().snapshot())
    }
}
