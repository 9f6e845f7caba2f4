// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The clock of a PC (MC146818), as far as a kernel reads the time of day from it at its start.
//!
//! It keeps UTC, in BCD and 24 hours, is never in the middle of an update, and can't be set: what
//! the guest writes to its registers is forgotten.

use std::time::{SystemTime, UNIX_EPOCH};

const SECONDS: u8 = 0x00;
const MINUTES: u8 = 0x02;
const HOURS: u8 = 0x04;
const WEEKDAY: u8 = 0x06;
const DAY: u8 = 0x07;
const MONTH: u8 = 0x08;
const YEAR: u8 = 0x09;
const STATUS_A: u8 = 0x0a;
const STATUS_B: u8 = 0x0b;
const STATUS_C: u8 = 0x0c;
const STATUS_D: u8 = 0x0d;
/// Where the FADT says the century is.
pub(super) const CENTURY: u8 = 0x32;
/// The usual divider and rate, no update in progress.
const A_RUNNING: u8 = 0x26;
/// 24 hours, BCD, no interrupts.
const B_24_HOURS: u8 = 0x02;
/// The battery is good.
const D_VALID: u8 = 0x80;

/// The clock, with the register that was chosen last.
#[derive(Debug, Default)]
pub(super) struct Cmos {
    index: u8,
}

impl Cmos {
    /// Port 0x70: chooses a register; the top bit masks NMIs.
    pub(super) fn choose(&mut self, value: u8) {
        self.index = value & 0x7f;
    }

    /// Port 0x71: reads it.
    pub(super) fn read(&self) -> u8 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        register(self.index, now.map_or(0, |now| now.as_secs()))
    }
}

/// A register at a time in seconds since 1970.
fn register(index: u8, now: u64) -> u8 {
    let days = now / 86_400;
    let (year, month, day) = date(days);
    match index {
        SECONDS => bcd(now % 60),
        MINUTES => bcd(now / 60 % 60),
        HOURS => bcd(now / 3600 % 24),
        // The first of January 1970 was a Thursday; Sunday is 1.
        WEEKDAY => bcd((days + 4) % 7 + 1),
        DAY => bcd(day),
        MONTH => bcd(month),
        YEAR => bcd(year % 100),
        CENTURY => bcd(year / 100),
        STATUS_A => A_RUNNING,
        STATUS_B => B_24_HOURS,
        STATUS_C => 0,
        STATUS_D => D_VALID,
        _ => 0,
    }
}

/// Year, month and day of a number of days since 1970. Years here begin in March, so that the
/// leap day is their last; months from March on have 153 days in each five.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_IN_400_YEARS: u64 = 146_097;
    // Days from the first of March of the year 0 to 1970.
    let days = days + 719_468;
    let era = days / DAYS_IN_400_YEARS;
    let of_era = days % DAYS_IN_400_YEARS;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

fn bcd(value: u64) -> u8 {
    (value / 10 % 10 * 16 + value % 10) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(11_017), (2000, 3, 1));
        assert_eq!(date(19_782), (2024, 2, 29));
        assert_eq!(date(20_453), (2025, 12, 31));
        assert_eq!(date(47_541), (2100, 3, 1));
    }

    #[test]
    fn registers_are_bcd() {
        // 2024-02-29 23:59:58, a Thursday.
        let now = 19_782 * 86_400 + 86_398;
        let read = |index| register(index, now);
        assert_eq!(
            [CENTURY, YEAR, MONTH, DAY, HOURS, MINUTES, SECONDS, WEEKDAY].map(read),
            [0x20, 0x24, 0x02, 0x29, 0x23, 0x59, 0x58, 0x05]
        );
        // Not in an update, 24 hours, valid.
        assert_eq!(read(STATUS_A) & 0x80, 0);
        assert_eq!(read(STATUS_B) & 0x06, 0x02);
        assert_eq!(read(STATUS_D), 0x80);
    }

    #[test]
    fn the_index_has_seven_bits() {
        let mut cmos = Cmos::default();
        cmos.choose(0x80 | STATUS_D);
        assert_eq!(cmos.read(), 0x80);
    }
}
