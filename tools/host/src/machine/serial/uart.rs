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
/// Bytes in the UART's own buffer.
const FIFO: usize = 64;
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
    /// Input that the UART has no room for.
    waiting: VecDeque<Input>,
    /// What of the bytes in the UART is a break; one for each.
    held: VecDeque<Input>,
    counters: Counters,
}

impl Uart {
    pub(super) fn new(interrupt: EventFd, output: Box<dyn Write + Send>) -> Self {
        Self {
            serial: Serial::new(Interrupt(interrupt), output),
            waiting: VecDeque::new(),
            held: VecDeque::new(),
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
            LINE_STATUS => match self.held.front_mut() {
                // Reading the status takes note of the break; its byte, a zero, is still to be
                // read.
                Some(front @ Input::Break) => {
                    *front = Input::Byte(0);
                    value | BREAK
                }
                _ => value,
            },
            DATA => {
                // Unless it was the divisor's register: then nothing has gone.
                let left = FIFO.saturating_sub(self.serial.fifo_capacity());
                while self.held.len() > left {
                    self.held.pop_front();
                }
                // Not for each byte: every time there would be an interrupt.
                if left == 0 {
                    self.feed();
                }
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

    /// Moves input on to the UART's own buffer, as much as it takes, with one interrupt.
    fn feed(&mut self) {
        let room = self.serial.fifo_capacity().min(self.waiting.len());
        let bytes: Vec<u8> = self
            .waiting
            .iter()
            .take(room)
            .map(|input| match input {
                Input::Byte(byte) => *byte,
                Input::Break => 0,
            })
            .collect();
        if bytes.is_empty() {
            return;
        }
        // It takes nothing while the guest tests it in a loop of its own. What is in it then
        // counts as bytes.
        let taken = self.serial.enqueue_raw_bytes(&bytes).unwrap_or(0);
        let before = FIFO.saturating_sub(self.serial.fifo_capacity() + taken);
        self.held.resize(before, Input::Byte(0));
        self.held.extend(self.waiting.drain(..taken));
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

    /// Interrupt enable: when there is input.
    const IER: u8 = 1;
    const RECEIVED: u8 = 1;

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
        uart.write(IER, RECEIVED);
        let text: Vec<u8> = (0..1000u32).map(|n| n as u8).collect();
        assert_eq!(uart.input(&text), 1000);
        assert!(interrupt.read().unwrap() > 0);
        let got = receive(&mut uart);
        assert!(got.iter().all(|(_, is_break)| !is_break));
        assert_eq!(got.iter().map(|(byte, _)| *byte).collect::<Vec<_>>(), text);
    }

    #[test]
    fn a_break_is_seen_once_and_in_its_place() {
        let (mut uart, interrupt, _) = uart();
        uart.write(IER, RECEIVED);
        uart.input(b"ab");
        uart.send_break();
        uart.input(b"t");
        uart.send_break();
        uart.input(b"c");
        // All of it is there at once: one interrupt, and none while it is read.
        assert_eq!(interrupt.read().unwrap(), 1);
        let expected = [
            (b'a', false),
            (b'b', false),
            (0, true),
            (b't', false),
            (0, true),
            (b'c', false),
        ];
        assert_eq!(receive(&mut uart), expected);
        assert!(interrupt.read().is_err());
    }

    #[test]
    fn a_test_in_a_loop_confuses_nothing() {
        let (mut uart, _, _) = uart();
        // As a driver looks for the UART: what it writes comes back.
        uart.write(4, 0x10);
        for byte in [0xae, 0xea] {
            uart.write(DATA, byte);
        }
        uart.send_break();
        assert_eq!(receive(&mut uart), [(0xae, false), (0xea, false)]);
        uart.write(4, 0);
        uart.input(b"x");
        assert_eq!(receive(&mut uart), [(0, true), (b'x', false)]);
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
