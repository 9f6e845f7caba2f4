// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The UART: vm-superio's 16550A, with a longer input queue before it and line breaks, which it
//! doesn't know.

use std::collections::VecDeque;
use std::io::{self, Write};

use vm_superio::serial::NoEvents;
use vm_superio::{Serial, Trigger};
use vmm_sys_util::eventfd::EventFd;

/// Input that waits for the guest.
const MAX_INPUT: usize = 64 << 10;
/// Registers: data, line control, line status.
const DATA: u8 = 0;
const LINE_CONTROL: u8 = 3;
const LINE_STATUS: u8 = 5;
/// Line status: the byte at the front is a break.
const BREAK: u8 = 1 << 4;
/// Line control: the data register is the divisor's.
const DIVISOR_ACCESS: u8 = 1 << 7;

crate::counters! {
    /// What went over a line.
    pub(super) struct Counters {
        /// Bytes to the guest.
        input_bytes,
        /// Breaks to the guest.
        breaks,
        /// Bytes from the guest.
        output_bytes,
        /// Bytes to the guest that there was no room for.
        input_lost,
    }
}

/// How the UART interrupts the guest.
pub(super) struct Interrupt(EventFd);

impl Trigger for Interrupt {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

/// What comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    Byte(u8),
    Break,
}

/// One UART.
pub(super) struct Uart {
    serial: Serial<Interrupt, NoEvents, Box<dyn Write + Send>>,
    waiting: VecDeque<Input>,
    /// The only byte in the UART's own buffer is a break that the guest hasn't seen.
    at_break: bool,
    counters: Counters,
}

impl Uart {
    pub(super) fn new(interrupt: EventFd, output: Box<dyn Write + Send>) -> Self {
        Self {
            serial: Serial::new(Interrupt(interrupt), output),
            waiting: VecDeque::new(),
            at_break: false,
            counters: Counters::default(),
        }
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The guest reads a register.
    pub(super) fn read(&mut self, register: u8) -> u8 {
        let value = self.serial.read(register);
        match register {
            // Reading the status takes note of the break; its byte, a zero, is still to be read.
            LINE_STATUS if std::mem::take(&mut self.at_break) => value | BREAK,
            DATA => {
                self.feed();
                value
            }
            _ => value,
        }
    }

    /// The guest writes a register.
    pub(super) fn write(&mut self, register: u8, value: u8) {
        if register == DATA && self.serial.read(LINE_CONTROL) & DIVISOR_ACCESS == 0 {
            self.counters.output_bytes.inc();
        }
        // Output that nobody takes is lost, as on a line without a cable.
        if let Err(error) = self.serial.write(register, value) {
            tracing::debug!("serial line: {error:?}");
        }
    }

    /// Queues input; how much of it there was room for.
    pub(super) fn input(&mut self, bytes: &[u8]) -> usize {
        let room = MAX_INPUT.saturating_sub(self.waiting.len());
        let taken = bytes.len().min(room);
        self.waiting
            .extend(bytes.iter().take(taken).copied().map(Input::Byte));
        self.counters.input_bytes.add(taken as u64);
        self.counters.input_lost.add((bytes.len() - taken) as u64);
        self.feed();
        taken
    }

    /// Queues a break.
    pub(super) fn send_break(&mut self) {
        self.counters.breaks.inc();
        self.waiting.push_back(Input::Break);
        self.feed();
    }

    /// Moves input on to the UART's own buffer. A break stands there alone, so that the status the
    /// guest reads speaks of it.
    fn feed(&mut self) {
        const FIFO: usize = 64;
        while let Some(&next) = self.waiting.front() {
            let room = self.serial.fifo_capacity();
            let (byte, fits) = match next {
                Input::Byte(byte) => (byte, room > 0 && !self.at_break),
                Input::Break => (0, room == FIFO),
            };
            // It takes nothing while the guest tests it in a loop of its own.
            if !fits || !matches!(self.serial.enqueue_raw_bytes(&[byte]), Ok(1)) {
                break;
            }
            self.waiting.pop_front();
            self.at_break = next == Input::Break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct Out(Arc<Mutex<Vec<u8>>>);

    impl Write for Out {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn uart() -> (Uart, EventFd, Out) {
        let interrupt = EventFd::new(libc::EFD_NONBLOCK).unwrap();
        let out = Out::default();
        let uart = Uart::new(interrupt.try_clone().unwrap(), Box::new(out.clone()));
        (uart, interrupt, out)
    }

    /// Reads as a driver does: status first, then the byte it speaks of.
    fn receive(uart: &mut Uart) -> Vec<(u8, bool)> {
        let mut got = Vec::new();
        loop {
            let status = uart.read(LINE_STATUS);
            if status & 1 == 0 {
                return got;
            }
            got.push((uart.read(DATA), status & BREAK != 0));
        }
    }

    #[test]
    fn output_comes_out() {
        let (mut uart, _, out) = uart();
        for byte in b"hello" {
            uart.write(DATA, *byte);
        }
        // The divisor is no output.
        uart.write(LINE_CONTROL, 0x83);
        uart.write(DATA, 12);
        assert_eq!(*out.0.lock(), b"hello");
        assert_eq!(uart.counters().output_bytes.get(), 5);
    }

    #[test]
    fn much_input_arrives_in_order() {
        let (mut uart, interrupt, _) = uart();
        uart.write(1, 1);
        let text: Vec<u8> = (0..1000u32).map(|n| n as u8).collect();
        assert_eq!(uart.input(&text), 1000);
        assert!(interrupt.read().unwrap() > 0);
        let got = receive(&mut uart);
        assert!(got.iter().all(|(_, is_break)| !is_break));
        assert_eq!(got.iter().map(|(byte, _)| *byte).collect::<Vec<_>>(), text);
    }

    #[test]
    fn a_break_is_seen_once_and_in_its_place() {
        let (mut uart, _, _) = uart();
        uart.input(b"ab");
        uart.send_break();
        uart.input(b"t");
        uart.send_break();
        uart.input(b"c");
        let expected = [
            (b'a', false),
            (b'b', false),
            (0, true),
            (b't', false),
            (0, true),
            (b'c', false),
        ];
        assert_eq!(receive(&mut uart), expected);
    }

    #[test]
    fn input_is_bounded() {
        let (mut uart, _, _) = uart();
        let much = vec![b'x'; 3 * MAX_INPUT];
        let taken = uart.input(&much);
        assert!(taken <= MAX_INPUT);
        assert_eq!(
            uart.counters().input_lost.get() as usize,
            much.len() - taken
        );
        assert_eq!(receive(&mut uart).len(), taken);
    }
}
