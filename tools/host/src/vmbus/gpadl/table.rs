// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The page lists of a connection: those that are being sent, those that are there and those that
//! the guest wants back.

use std::collections::HashMap;
use std::sync::mpsc::Sender;
use std::sync::Arc;

use vmbus_wire::gpadl::MAX_WORDS;
use vmbus_wire::host::{GpadlBody, GpadlHeader, Words};
use vmbus_wire::{Relid, Status, HV_PAGE_SIZE};

use super::{parse_list, Gpadl, ListError, Release};
use crate::memory::GuestMemory;
use crate::vmbus::state::Event;

/// Pages that a guest can have shared altogether: 1280 MiB, as with Windows Server 2019.
const MOST_PAGES: u64 = 1280 * 1024 * 1024 / HV_PAGE_SIZE as u64;
/// Lists that a guest can have.
const MOST_LISTS: usize = 16 * 1024;
/// Lists that a guest can have begun and not completed.
const MOST_PARTIAL: usize = 128;

/// STATUS_INVALID_PARAMETER.
const BAD_LIST: Status = Status(0xc000_000d);
/// STATUS_INSUFFICIENT_RESOURCES.
const TOO_MUCH: Status = Status(0xc000_009a);

/// Why a list was refused; all but `NoList` are told to the guest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("GPADL {0:#x} exists already")]
    Duplicate(u32),
    #[error("GPADL {0:#x} is longer than it can be, or empty")]
    BadLength(u32),
    #[error("GPADL {0:#x}: too many lists")]
    TooManyLists(u32),
    #[error("GPADL {0:#x}: the guest shares too many pages")]
    TooManyPages(u32),
    #[error("GPADL {0:#x}: {1}")]
    Bad(u32, ListError),
    #[error("part of GPADL {0:#x}, which wasn't begun")]
    NoList(u32),
}

impl Refusal {
    pub(crate) fn status(&self) -> Status {
        match self {
            Self::TooManyLists(_) | Self::TooManyPages(_) => TOO_MUCH,
            _ => BAD_LIST,
        }
    }
}

/// A list whose words are arriving.
#[derive(Debug)]
struct Partial {
    range_count: u16,
    want: usize,
    words: Vec<u64>,
}

#[derive(Debug)]
enum State {
    Partial(Partial),
    Ready { serial: u64 },
    TearingDown { serial: u64 },
}

#[derive(Debug)]
struct Entry {
    relid: Relid,
    pages: u64,
    state: State,
}

/// What became of a wish to tear a list down.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Torn {
    /// Nobody can have used it: answer.
    Now,
    /// Answer when it has been let go of.
    Later,
    /// There is no such list on this channel, or it is being torn down already.
    Unknown,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct GpadlTable {
    lists: HashMap<u32, Entry>,
    pages: u64,
    partial: usize,
    serial: u64,
}

impl GpadlTable {
    /// Begins a list. `Some`: it is complete.
    pub(crate) fn begin(
        &mut self,
        memory: &GuestMemory,
        queue: &Sender<Event>,
        header: &GpadlHeader,
    ) -> Result<Option<(Relid, Arc<Gpadl>)>, Refusal> {
        let id = header.gpadl;
        let bytes = usize::from(header.range_bytes);
        if self.lists.contains_key(&id) {
            return Err(Refusal::Duplicate(id));
        }
        if bytes == 0 || bytes % 8 != 0 || bytes / 8 > MAX_WORDS || header.range_count == 0 {
            return Err(Refusal::BadLength(id));
        }
        if self.lists.len() >= MOST_LISTS || self.partial >= MOST_PARTIAL {
            return Err(Refusal::TooManyLists(id));
        }
        self.lists.insert(
            id,
            Entry {
                relid: header.relid,
                pages: 0,
                state: State::Partial(Partial {
                    range_count: header.range_count,
                    want: bytes / 8,
                    words: Vec::with_capacity(bytes / 8),
                }),
            },
        );
        self.partial += 1;
        self.append(memory, queue, id, &header.words)
    }

    /// Adds to a list. `Some`: it is complete.
    pub(crate) fn go_on(
        &mut self,
        memory: &GuestMemory,
        queue: &Sender<Event>,
        body: &GpadlBody,
    ) -> Result<Option<(Relid, Arc<Gpadl>)>, Refusal> {
        self.append(memory, queue, body.gpadl, &body.words)
    }

    /// The channel a list belongs to.
    pub(crate) fn relid(&self, id: u32) -> Option<Relid> {
        self.lists.get(&id).map(|entry| entry.relid)
    }

    fn append(
        &mut self,
        memory: &GuestMemory,
        queue: &Sender<Event>,
        id: u32,
        words: &Words,
    ) -> Result<Option<(Relid, Arc<Gpadl>)>, Refusal> {
        let Some(entry) = self.lists.get_mut(&id) else {
            return Err(Refusal::NoList(id));
        };
        let State::Partial(partial) = &mut entry.state else {
            return Err(Refusal::NoList(id));
        };
        let missing = partial.want.saturating_sub(partial.words.len());
        partial.words.extend(words.iter().take(missing));
        if partial.words.len() < partial.want {
            return Ok(None);
        }
        let relid = entry.relid;
        let made = parse_list(memory, partial.range_count, &partial.words)
            .map_err(|error| Refusal::Bad(id, error));
        self.partial = self.partial.saturating_sub(1);
        let result = made.and_then(|ranges| {
            let pages = ranges
                .iter()
                .map(|range| range.len().div_ceil(HV_PAGE_SIZE.into()))
                .sum::<u64>();
            if self.pages.saturating_add(pages) > MOST_PAGES {
                return Err(Refusal::TooManyPages(id));
            }
            Ok((ranges, pages))
        });
        match result {
            Ok((ranges, pages)) => {
                self.serial += 1;
                let serial = self.serial;
                self.pages += pages;
                entry.pages = pages;
                entry.state = State::Ready { serial };
                let release = Release {
                    id,
                    serial,
                    queue: queue.clone(),
                };
                Ok(Some((
                    relid,
                    Arc::new(Gpadl::released_with(release, ranges)),
                )))
            }
            Err(refusal) => {
                self.lists.remove(&id);
                Err(refusal)
            }
        }
    }

    /// The guest wants a list back.
    pub(crate) fn tear_down(&mut self, relid: Relid, id: u32) -> Torn {
        let Some(entry) = self.lists.get_mut(&id).filter(|e| e.relid == relid) else {
            return Torn::Unknown;
        };
        match entry.state {
            State::Partial(_) => {
                self.remove(id);
                Torn::Now
            }
            State::Ready { serial } => {
                entry.state = State::TearingDown { serial };
                Torn::Later
            }
            State::TearingDown { .. } => Torn::Unknown,
        }
    }

    /// Nobody holds a list any more; true where the guest waits for that.
    pub(crate) fn released(&mut self, id: u32, serial: u64) -> bool {
        let waiting = matches!(
            self.lists.get(&id).map(|entry| &entry.state),
            Some(State::TearingDown { serial: s }) if *s == serial
        );
        if waiting {
            self.remove(id);
        }
        waiting
    }

    /// The device of these channels uses no list any more: those that the guest waits for.
    pub(crate) fn let_go(&mut self, mut of: impl FnMut(Relid) -> bool) -> Vec<u32> {
        let ids: Vec<u32> = self
            .lists
            .iter()
            .filter(|(_, entry)| {
                matches!(entry.state, State::TearingDown { .. }) && of(entry.relid)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in &ids {
            self.remove(*id);
        }
        ids
    }

    /// Forgets the lists of a channel that is no more; their ids.
    pub(crate) fn forget(&mut self, relid: Relid) -> Vec<u32> {
        let ids: Vec<u32> = self.of(relid).collect();
        for id in &ids {
            self.remove(*id);
        }
        ids
    }

    /// Forgets everything: the guest is another one.
    pub(crate) fn clear(&mut self) {
        // Numbers of lists go on: those of before may still be held.
        *self = Self {
            serial: self.serial,
            ..Self::default()
        };
    }

    /// The lists of a channel.
    pub(crate) fn of(&self, relid: Relid) -> impl Iterator<Item = u32> + '_ {
        self.lists
            .iter()
            .filter(move |(_, entry)| entry.relid == relid)
            .map(|(id, _)| *id)
    }

    /// Pages shared, lists, and lists begun.
    pub(crate) fn sizes(&self) -> (u64, usize, usize) {
        (self.pages, self.lists.len(), self.partial)
    }

    fn remove(&mut self, id: u32) {
        if let Some(entry) = self.lists.remove(&id) {
            self.pages = self.pages.saturating_sub(entry.pages);
            if matches!(entry.state, State::Partial(_)) {
                self.partial = self.partial.saturating_sub(1);
            }
        }
    }
}
