// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The table of requests that wait for their answer.
//!
//! What travels is an id, never a pointer. An id names a slot and a generation of that slot, so
//! that an answer which comes twice, late or out of thin air is told from a good one.

use core::fmt;
use core::ops::DerefMut;

/// A place of the table; the caller provides the storage (`KVec<Slot<T>>` in the kernel), filled
/// with [`Slot::new`].
#[derive(Debug)]
pub struct Slot<T> {
    /// Counts the requests the slot has had; odd while it holds one.
    generation: u32,
    state: State<T>,
}

#[derive(Debug)]
enum State<T> {
    /// The next free slot.
    Free(Option<u32>),
    Used(T),
}

impl<T> Slot<T> {
    /// An empty slot.
    pub const fn new() -> Self {
        Self {
            generation: 0,
            state: State::Free(None),
        }
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Why an id was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingError {
    /// No request ever had this id.
    Unknown {
        /// The id.
        id: u64,
    },
    /// The request has been answered before.
    AlreadyTaken {
        /// The id.
        id: u64,
    },
}

impl fmt::Display for PendingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { id } => write!(f, "no request has id {id:#x}"),
            Self::AlreadyTaken { id } => write!(f, "request {id:#x} was answered before"),
        }
    }
}

impl core::error::Error for PendingError {}

/// A table of requests of type `T`, as many as there are slots. Not locked.
///
/// An id is the slot's number plus one in the lower half and the slot's generation in the upper
/// half: never 0, and not used again before the slot has had 2^31 requests.
#[derive(Debug)]
pub struct PendingTable<S> {
    slots: S,
    first_free: Option<u32>,
    used: usize,
}

impl<T, S: DerefMut<Target = [Slot<T>]>> PendingTable<S> {
    /// A table over `slots`; whatever they held is dropped. Slots beyond `u32::MAX - 1` are
    /// never used.
    pub fn new(mut slots: S) -> Self {
        let mut first_free = None;
        // From the end, so that the first slot is the first to be used.
        for (index, slot) in slots.iter_mut().enumerate().rev() {
            let Ok(index) = u32::try_from(index) else {
                continue;
            };
            if index == u32::MAX {
                continue;
            }
            *slot = Slot {
                // The next even one: ids from before stay invalid.
                generation: slot.generation.wrapping_add(slot.generation & 1),
                state: State::Free(first_free),
            };
            first_free = Some(index);
        }
        Self {
            slots,
            first_free,
            used: 0,
        }
    }

    /// Requests the table has room for.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Requests waiting.
    pub fn len(&self) -> usize {
        self.used
    }

    /// True while no request waits.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// True while there is no room.
    pub fn is_full(&self) -> bool {
        self.first_free.is_none()
    }

    /// Adds a request and returns its id, which is never 0.
    ///
    /// # Errors
    ///
    /// Gives the request back where the table is full.
    pub fn insert(&mut self, request: T) -> Result<u64, T> {
        let Some(index) = self.first_free else {
            return Err(request);
        };
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return Err(request);
        };
        let State::Free(next) = slot.state else {
            return Err(request);
        };
        self.first_free = next;
        slot.generation = slot.generation.wrapping_add(1);
        slot.state = State::Used(request);
        self.used = self.used.saturating_add(1);
        Ok(make_id(index, slot.generation))
    }

    /// The slot an id names, and whether the request is the one in it.
    fn find(&self, id: u64) -> Result<u32, PendingError> {
        let unknown = PendingError::Unknown { id };
        let generation = (id >> 32) as u32;
        let index = (id as u32).checked_sub(1).ok_or(unknown)?;
        let slot = self.slots.get(index as usize).ok_or(unknown)?;
        // Generations of requests are odd.
        if generation & 1 == 0 {
            return Err(unknown);
        }
        if generation == slot.generation {
            return Ok(index);
        }
        // Counted from the slot's present generation: the near half of the circle is behind us.
        // A slot that has never been so far back has had no such request.
        let age = slot.generation.wrapping_sub(generation);
        if age < 1 << 31 && (age <= slot.generation) {
            Err(PendingError::AlreadyTaken { id })
        } else {
            Err(unknown)
        }
    }

    /// Takes the request with this id out of the table.
    ///
    /// # Errors
    ///
    /// [`PendingError`]; the answer then belongs to nothing, and the sender broke the protocol.
    pub fn take(&mut self, id: u64) -> Result<T, PendingError> {
        let index = self.find(id)?;
        self.release(index).ok_or(PendingError::AlreadyTaken { id })
    }

    /// Looks at a request without taking it, for instance to check that an answer is of the
    /// right kind.
    ///
    /// # Errors
    ///
    /// As [`PendingTable::take`].
    pub fn get(&self, id: u64) -> Result<&T, PendingError> {
        let index = self.find(id)?;
        match self.slots.get(index as usize).map(|slot| &slot.state) {
            Some(State::Used(request)) => Ok(request),
            _ => Err(PendingError::AlreadyTaken { id }),
        }
    }

    /// As [`PendingTable::get`], to change the request.
    ///
    /// # Errors
    ///
    /// As [`PendingTable::take`].
    pub fn get_mut(&mut self, id: u64) -> Result<&mut T, PendingError> {
        let index = self.find(id)?;
        match self
            .slots
            .get_mut(index as usize)
            .map(|slot| &mut slot.state)
        {
            Some(State::Used(request)) => Ok(request),
            _ => Err(PendingError::AlreadyTaken { id }),
        }
    }

    /// Takes out any request that satisfies `wanted`, the one in the lowest slot. Looks at every
    /// slot: meant for closing a channel, not for its daily work.
    pub fn take_where(&mut self, mut wanted: impl FnMut(&T) -> bool) -> Option<T> {
        let index = self
            .slots
            .iter()
            .position(|slot| matches!(&slot.state, State::Used(request) if wanted(request)))?;
        self.release(u32::try_from(index).ok()?)
    }

    /// Takes all requests out, one at a time, passing each to `with`: what to do with requests
    /// that will never be answered because the channel is gone.
    pub fn drain(&mut self, mut with: impl FnMut(T)) {
        for index in 0..self.slots.len() {
            let Ok(index) = u32::try_from(index) else {
                return;
            };
            if let Some(request) = self.release(index) {
                with(request);
            }
        }
    }

    /// Empties a slot, if it is used.
    fn release(&mut self, index: u32) -> Option<T> {
        let slot = self.slots.get_mut(index as usize)?;
        if let State::Free(_) = slot.state {
            return None;
        }
        let state = core::mem::replace(&mut slot.state, State::Free(self.first_free));
        slot.generation = slot.generation.wrapping_add(1);
        self.first_free = Some(index);
        self.used = self.used.saturating_sub(1);
        match state {
            State::Used(request) => Some(request),
            State::Free(_) => None,
        }
    }
}

fn make_id(index: u32, generation: u32) -> u64 {
    (u64::from(generation) << 32) | u64::from(index.wrapping_add(1))
}
