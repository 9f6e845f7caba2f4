// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Monitor pages: the guest sets a bit instead of making a hypercall, and the hypervisor looks at
//! it every now and then (`struct hv_monitor_page`, `drivers/hv/hyperv_vmbus.h`).
//!
//! The page has 4 groups of 32 triggers. All offsets are in bytes from the start of the page.

/// Groups in a page.
pub const GROUPS: u8 = 4;
/// Triggers in a group.
pub const TRIGGERS_PER_GROUP: u8 = 32;
/// Offset of the word whose low four bits enable the groups (`trigger_state`).
pub const TRIGGER_STATE_OFFSET: usize = 0;

/// `trigger_group[0]`: a word of pending bits, then a word of armed bits.
const TRIGGER_GROUP_OFFSET: usize = 0x08;
/// `next_checktime[0][0]`, 4 bytes each.
const NEXT_CHECK_OFFSET: usize = 0x40;
/// `latency[0][0]`, 2 bytes each.
const LATENCY_OFFSET: usize = 0x240;
/// `parameter[0][0]`, 8 bytes each.
const PARAMETER_OFFSET: usize = 0x440;

/// One trigger of the page, 0 to 127.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonitorId(u8);

impl MonitorId {
    /// Checks the range.
    pub const fn new(id: u8) -> Option<Self> {
        if id < GROUPS * TRIGGERS_PER_GROUP {
            Some(Self(id))
        } else {
            None
        }
    }

    /// The number.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Its group.
    pub const fn group(self) -> usize {
        (self.0 / TRIGGERS_PER_GROUP) as usize
    }

    /// Its bit in the group's pending word.
    pub const fn mask(self) -> u32 {
        1 << (self.0 % TRIGGERS_PER_GROUP)
    }

    /// Offset of the 32-bit pending word to set [`MonitorId::mask`] in, atomically.
    pub const fn pending_offset(self) -> usize {
        TRIGGER_GROUP_OFFSET + self.group() * 8
    }

    /// Offset of the 32-bit armed word.
    pub const fn armed_offset(self) -> usize {
        self.pending_offset() + 4
    }

    /// Offset of the time of the next look, a signed 32-bit number.
    pub const fn next_check_offset(self) -> usize {
        NEXT_CHECK_OFFSET + self.0 as usize * 4
    }

    /// Offset of the latency, 16 bits, in units of 100 ns.
    pub const fn latency_offset(self) -> usize {
        LATENCY_OFFSET + self.0 as usize * 2
    }

    /// Offset of the 32-bit id of the connection that is signalled (sysfs shows its low 24 bits).
    pub const fn connection_id_offset(self) -> usize {
        PARAMETER_OFFSET + self.0 as usize * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_follow_struct_hv_monitor_page() {
        let first = MonitorId::new(0).unwrap();
        assert_eq!((first.pending_offset(), first.armed_offset()), (0x08, 0x0c));
        assert_eq!(first.next_check_offset(), 0x40);
        assert_eq!(first.latency_offset(), 0x240);
        assert_eq!(first.connection_id_offset(), 0x440);
        let last = MonitorId::new(127).unwrap();
        assert_eq!((last.group(), last.mask()), (3, 1 << 31));
        assert_eq!(last.pending_offset(), 0x20);
        assert_eq!(last.next_check_offset(), 0x23c);
        assert_eq!(last.latency_offset(), 0x33e);
        assert_eq!(last.connection_id_offset(), 0x838);
        assert_eq!(MonitorId::new(128), None);
        assert_eq!(MonitorId::new(255), None);
    }
}
