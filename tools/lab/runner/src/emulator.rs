// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Tells a fault of the emulated machine from one of the guest.
//!
//! Nested in an emulated machine a guest now and then gets a device interrupt although it has
//! interrupts off. That can't happen on a processor, and nothing the guest does can cause it; what
//! follows is a report of lockdep or a CPU that waits for a lock it holds itself.

/// Bit of `EFLAGS`: interrupts are on.
const INTERRUPTS_ON: u64 = 1 << 9;

/// Lines of a register dump between the interrupt's entry and the flags of what it interrupted.
const REACH: usize = 6;

/// Whether a stack trace on the console shows that a maskable interrupt (`asm_sysvec_*`) was
/// delivered to a CPU that had interrupts off.
pub(crate) fn delivered_a_masked_interrupt(console: &[String]) -> bool {
    console.iter().enumerate().any(|(at, line)| {
        line.contains("asm_sysvec_")
            && !line.contains("? asm_sysvec_")
            && console
                .iter()
                .skip(at + 1)
                .take(REACH)
                .find_map(|line| flags(line))
                .is_some_and(|flags| flags & INTERRUPTS_ON == 0)
    })
}

/// The flags in a line of a register dump.
fn flags(line: &str) -> Option<u64> {
    let text = line.split("EFLAGS: ").nth(1)?;
    u64::from_str_radix(text.split_whitespace().next()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::delivered_a_masked_interrupt;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn an_interrupt_with_interrupts_off_is_the_emulators() {
        let console = lines(
            "[  1.5]  sysvec_hyperv_callback+0x2d/0x80\n\
             [  1.5]  asm_sysvec_hyperv_callback+0x16/0x20\n\
             [  1.5] RIP: 0010:rb_erase+0x179/0xe30\n\
             [  1.5] Code: b9 00\n\
             [  1.5] RSP: 0018:ffff88801aa08c10 EFLAGS: 00010006\n",
        );
        assert!(delivered_a_masked_interrupt(&console));
    }

    #[test]
    fn an_interrupt_with_interrupts_on_is_nothing_special() {
        let console = lines(
            "[  1.5]  asm_sysvec_hyperv_callback+0x16/0x20\n\
             [  1.5] RIP: 0010:kasan_get_free_meta+0x0/0x20\n\
             [  1.5] Code: ff 66\n\
             [  1.5] RSP: 0018:ffff8880065f7d00 EFLAGS: 00010286\n\
             [  1.6]  asm_exc_page_fault+0x26/0x30\n\
             [  1.6] RIP: 0010:memcpy+0x0/0x20\n\
             [  1.6] RSP: 0018:ffff8880065f7d00 EFLAGS: 00010006\n",
        );
        assert!(!delivered_a_masked_interrupt(&console));
        assert!(!delivered_a_masked_interrupt(&lines(
            "RSP: 0018:0 EFLAGS: 00010006\n"
        )));
        assert!(!delivered_a_masked_interrupt(&lines("asm_sysvec_x\n")));
    }
}
