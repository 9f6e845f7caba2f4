// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Page lists that the guest shares with a device.

use std::sync::mpsc::Sender;

use vmbus_wire::gpadl::pages_spanned;

use super::state::Event;
use crate::memory::{GuestMemory, MemoryError, Pages};

mod table;

pub(super) use table::{GpadlTable, Refusal, Torn};

/// A GPADL: one or more ranges of guest pages, checked.
///
/// When the guest wants its pages back, the bus answers as soon as nobody holds the `Arc` any
/// more, at the latest when no channel of the device is served. A device whose protocol gives a
/// buffer back while the channel stays open (NVSP's REVOKE messages; Linux tears the list down
/// right after them on VMBus before 4.0) therefore lets go of the `Arc` there and then.
#[derive(Debug)]
pub struct Gpadl {
    /// The guest's name for it.
    pub id: u32,
    /// Its ranges; at least one.
    pub ranges: Vec<Pages>,
    /// Tells the bus when it is dropped.
    _release: Option<Release>,
}

impl Gpadl {
    /// A list that no bus knows of, for tests of devices.
    pub fn new(id: u32, ranges: Vec<Pages>) -> Self {
        Self {
            id,
            ranges,
            _release: None,
        }
    }

    /// Bytes of the first range, which most lists have alone.
    pub fn bytes(&self) -> u64 {
        self.ranges.first().map_or(0, Pages::len)
    }

    /// A list whose end the bus waits for.
    fn released_with(release: Release, ranges: Vec<Pages>) -> Self {
        Self {
            id: release.id,
            ranges,
            _release: Some(release),
        }
    }
}

/// Tells the bus that nobody holds a list any more.
#[derive(Debug)]
pub(super) struct Release {
    /// The list's id; the guest may use it for another list later.
    pub(super) id: u32,
    /// Which of all lists there ever were.
    pub(super) serial: u64,
    pub(super) queue: Sender<Event>,
}

impl Drop for Release {
    fn drop(&mut self) {
        // The bus may be gone; then nobody waits for it.
        let _ = self.queue.send(Event::GpadlReleased {
            id: self.id,
            serial: self.serial,
        });
    }
}

/// Why words are no page list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ListError {
    /// More ranges announced than there are words for.
    #[error("{missing} words missing in range {range}")]
    Short { range: usize, missing: u64 },
    /// Words after the last range.
    #[error("{words} words after the last range")]
    Long { words: usize },
    /// No range.
    #[error("no range")]
    Empty,
    /// A range isn't the guest's memory.
    #[error("range {range}: {error}")]
    Memory { range: usize, error: MemoryError },
}

/// Checks the words of a complete list (`struct gpa_range`, one after the other) and finds the
/// pages.
pub(super) fn parse_list(
    memory: &GuestMemory,
    range_count: u16,
    words: &[u64],
) -> Result<Vec<Pages>, ListError> {
    let mut ranges = Vec::new();
    let mut rest = words;
    for range in 0..usize::from(range_count) {
        let (&head, after) = rest
            .split_first()
            .ok_or(ListError::Short { range, missing: 1 })?;
        let byte_count = head as u32;
        let byte_offset = (head >> 32) as u32;
        let pages = pages_spanned(byte_offset, byte_count);
        let short = ListError::Short {
            range,
            missing: pages.saturating_sub(after.len() as u64),
        };
        let (pfns, after) = usize::try_from(pages)
            .ok()
            .and_then(|pages| after.split_at_checked(pages))
            .ok_or(short)?;
        let found = Pages::new(memory, byte_offset, byte_count, pfns.iter().copied())
            .map_err(|error| ListError::Memory { range, error })?;
        ranges.push(found);
        rest = after;
    }
    match (ranges.is_empty(), rest.len()) {
        (true, _) => Err(ListError::Empty),
        (_, 0) => Ok(ranges),
        (_, words) => Err(ListError::Long { words }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use vm_memory::{GuestAddress, GuestMemoryMmap};

    fn memory() -> GuestMemory {
        GuestMemory::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap())
    }

    fn head(offset: u32, bytes: u32) -> u64 {
        (u64::from(offset) << 32) | u64::from(bytes)
    }

    #[test]
    fn several_ranges_are_told_apart() {
        let words = [head(0, 8192), 3, 4, head(100, 50), 9, head(4000, 200), 7, 1];
        let ranges = parse_list(&memory(), 3, &words).unwrap();
        let bytes: Vec<_> = ranges.iter().map(Pages::len).collect();
        assert_eq!(bytes, [8192, 50, 200]);
        assert_eq!(
            parse_list(&memory(), 2, &words).unwrap_err(),
            ListError::Long { words: 3 }
        );
        assert!(matches!(
            parse_list(&memory(), 4, &words),
            Err(ListError::Short { range: 3, .. })
        ));
        assert_eq!(parse_list(&memory(), 0, &[]).unwrap_err(), ListError::Empty);
        assert!(matches!(
            parse_list(&memory(), 1, &[head(0, 4096), 256]),
            Err(ListError::Memory { range: 0, .. })
        ));
        assert!(matches!(
            parse_list(&memory(), 1, &[head(0, u32::MAX), 1]),
            Err(ListError::Short { range: 0, .. })
        ));
    }

    proptest! {
        #[test]
        fn any_words_are_a_list_or_refused(
            count in any::<u16>(),
            words in vec(prop_oneof![0u64..300, (0u32..5000, 0u32..40000).prop_map(|(o, b)| head(o, b)), any::<u64>()], 0..60),
        ) {
            if let Ok(ranges) = parse_list(&memory(), count, &words) {
                prop_assert_eq!(ranges.len(), usize::from(count));
                for pages in ranges {
                    let mut last = [0];
                    pages.read(pages.len() - 1, &mut last).unwrap();
                }
            }
        }
    }
}
