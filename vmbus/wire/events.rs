// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Event flags: one bit a channel, numbered by its relid, in the event page of each CPU
//! (`union hv_synic_event_flags`).

use crate::Relid;

/// Flags of one interrupt source (`HV_EVENT_FLAGS_COUNT`).
pub const EVENT_FLAG_COUNT: u32 = 2048;

/// 64-bit words that hold them.
pub const EVENT_FLAG_WORDS: usize = (EVENT_FLAG_COUNT / u64::BITS) as usize;

/// Bytes of the flags of one interrupt source; the flags of source n start n times that far into
/// the event page.
pub const EVENT_FLAG_BYTES: usize = (EVENT_FLAG_COUNT / 8) as usize;

/// Word that holds a channel's flag.
pub const fn word_of(relid: Relid) -> usize {
    relid.index() / u64::BITS as usize
}

/// The channel's bit in its word.
pub const fn mask_of(relid: Relid) -> u64 {
    1 << (relid.get() % u64::BITS)
}

/// The channels whose flags are set in one word, lowest first.
///
/// `word` is the word's place among [`EVENT_FLAG_WORDS`], `bits` a private copy that was taken
/// (and cleared) by one atomic exchange. Flag 0 belongs to no channel and is skipped.
pub fn channels(word: usize, bits: u64) -> Channels {
    Channels { word, bits }
}

/// See [`channels`].
#[derive(Clone, Debug)]
pub struct Channels {
    word: usize,
    bits: u64,
}

impl Iterator for Channels {
    type Item = Relid;

    fn next(&mut self) -> Option<Relid> {
        // Each turn clears a bit, so at most 64 turns.
        while self.bits != 0 {
            let bit = self.bits.trailing_zeros();
            self.bits &= self.bits.wrapping_sub(1);
            let relid = u32::try_from(self.word)
                .ok()
                .and_then(|word| word.checked_mul(u64::BITS))
                .and_then(|base| base.checked_add(bit))
                .and_then(Relid::new);
            if relid.is_some() {
                return relid;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn every_channel_has_its_own_flag() {
        for number in 1..EVENT_FLAG_COUNT {
            let relid = Relid::new(number).unwrap();
            let found: Vec<_> = channels(word_of(relid), mask_of(relid)).collect();
            assert_eq!(found, [relid]);
        }
    }

    #[test]
    fn flag_zero_and_words_beyond_the_page_name_no_channel() {
        assert_eq!(channels(0, 1).count(), 0);
        assert_eq!(channels(0, !0).count(), 63);
        assert_eq!(channels(EVENT_FLAG_WORDS - 1, !0).count(), 64);
        assert_eq!(channels(EVENT_FLAG_WORDS, !0).count(), 0);
        assert_eq!(channels(usize::MAX, !0).count(), 0);
    }
}
