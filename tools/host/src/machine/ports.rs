// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The I/O ports: serial lines, clock, and the ways to switch off and to reset.

use std::sync::Arc;

use parking_lot::Mutex;

use super::cmos::Cmos;
use super::outcome::{Exit, Outcome};
use super::serial::SerialPort;

/// ACPI's sleep control register of machines without the older registers.
pub(super) const SLEEP_CONTROL: u16 = 0x600;
/// Its status register.
pub(super) const SLEEP_STATUS: u16 = 0x601;
/// Sleep type that \_S5 gives.
pub(super) const SLEEP_TYPE_OFF: u8 = 5;
/// The reset register; where PCs with an Intel south bridge have theirs.
pub(super) const RESET: u16 = 0xcf9;
/// What ACPI has written there.
pub(super) const RESET_VALUE: u8 = 0x06;
/// First port and interrupt line of both serial lines.
pub(super) const SERIAL: [(u16, u32); 2] = [(0x3f8, 4), (0x2f8, 3)];

const SERIAL_PORTS: u16 = 8;
/// SLP_EN; the type is in bits 2 to 4.
const SLEEP_ENABLE: u8 = 1 << 5;
/// The reset register's bit that resets.
const RESET_CPU: u8 = 1 << 2;
/// Why an NMI came, and the speaker.
const NMI_STATUS: u16 = 0x61;
const KEYBOARD: u16 = 0x64;
/// Has a keyboard controller pulse the reset line.
const KEYBOARD_RESET: u8 = 0xfe;
const CMOS_INDEX: u16 = 0x70;
const CMOS_DATA: u16 = 0x71;

/// What is behind the ports.
pub(super) struct Ports {
    pub(super) serial: [Arc<SerialPort>; 2],
    cmos: Mutex<Cmos>,
    outcome: Arc<Outcome>,
}

impl Ports {
    pub(super) fn new(serial: [Arc<SerialPort>; 2], outcome: Arc<Outcome>) -> Self {
        Self {
            serial,
            cmos: Mutex::default(),
            outcome,
        }
    }

    /// The serial line that a port belongs to, and the number of its register.
    fn serial(&self, port: u16) -> Option<(&SerialPort, u8)> {
        SERIAL
            .iter()
            .zip(&self.serial)
            .find_map(|((first, _), line)| {
                let offset = port.checked_sub(*first)?;
                (offset < SERIAL_PORTS).then_some((&**line, offset as u8))
            })
    }

    /// The guest reads; what nobody answers is all ones.
    pub(super) fn read(&self, port: u16, data: &mut [u8]) {
        data.fill(0xff);
        if let Some((line, register)) = self.serial(port) {
            for byte in data {
                *byte = line.read(register);
            }
            return;
        }
        let value = match port {
            CMOS_DATA => self.cmos.lock().read(),
            // No parity error, no keyboard that is busy: kernels wait for the end of it.
            NMI_STATUS | KEYBOARD | SLEEP_STATUS => 0,
            _ => {
                tracing::trace!("read of {} bytes from port {port:#x}", data.len());
                return;
            }
        };
        if let Some(first) = data.first_mut() {
            *first = value;
        }
    }

    /// The guest writes.
    pub(super) fn write(&self, port: u16, data: &[u8]) {
        if let Some((line, register)) = self.serial(port) {
            for byte in data {
                line.write(register, *byte);
            }
            return;
        }
        let Some(&value) = data.first() else { return };
        match port {
            CMOS_INDEX => self.cmos.lock().choose(value),
            SLEEP_CONTROL if value == SLEEP_ENABLE | SLEEP_TYPE_OFF << 2 => {
                self.outcome.decide(Exit::PowerOff);
            }
            RESET if value & RESET_CPU != 0 => self.outcome.decide(Exit::Reboot),
            KEYBOARD if value == KEYBOARD_RESET => self.outcome.decide(Exit::Reboot),
            _ => tracing::trace!("write of {data:x?} to port {port:#x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::serial::SerialConfig;
    use super::*;

    fn ports() -> (Ports, Arc<Outcome>) {
        let outcome = Arc::new(Outcome::default());
        let line = || SerialPort::new(&SerialConfig::Null).unwrap();
        (Ports::new([line(), line()], Arc::clone(&outcome)), outcome)
    }

    #[test]
    fn nobody_answers_with_ones() {
        let (ports, outcome) = ports();
        let mut data = [0; 4];
        ports.read(0xcfc, &mut data);
        assert_eq!(data, [0xff; 4]);
        ports.write(0xcf8, &[0, 0, 0, 0x80]);
        ports.write(0x80, &[]);
        assert!(!outcome.decided());
    }

    #[test]
    fn every_way_out_is_known() {
        for (port, value, exit) in [
            (SLEEP_CONTROL, 0x34, Exit::PowerOff),
            (RESET, RESET_VALUE, Exit::Reboot),
            (KEYBOARD, 0xfe, Exit::Reboot),
        ] {
            let (ports, outcome) = ports();
            ports.write(port, &[value]);
            assert!(outcome.decided(), "{port:#x}");
            assert_eq!(outcome.wait(), exit);
        }
        let (ports, outcome) = ports();
        // Another sleep type, a reset that only prepares one, another keyboard command.
        ports.write(SLEEP_CONTROL, &[0x24]);
        ports.write(RESET, &[0x02]);
        ports.write(KEYBOARD, &[0xd1]);
        assert!(!outcome.decided());
    }

    #[test]
    fn both_serial_lines_are_there() {
        let (ports, _) = ports();
        for (first, _) in SERIAL {
            let mut status = [0];
            // Line status: transmitter empty.
            ports.read(first + 5, &mut status);
            assert_eq!(status, [0x60]);
            ports.write(first + 7, &[0x5a]);
            ports.read(first + 7, &mut status);
            assert_eq!(status, [0x5a]);
        }
        let mut beyond = [0];
        ports.read(0x3f8 + 8, &mut beyond);
        assert_eq!(beyond, [0xff]);
    }
}
