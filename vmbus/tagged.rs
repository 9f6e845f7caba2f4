// SPDX-License-Identifier: GPL-2.0

//! Requests whose place is chosen by their sender, such as a block layer that numbers them itself.
//!
//! The table takes no lock: a place is a word that says which request is under way and on which
//! channel (`vmbus_wire::tagged` has its rules), and the request itself. Who changes the word from
//! "under way" has the request, so it ends once, whatever the host says.

use kernel::prelude::*;
use kernel_ext::{
    atomic::{Acquire, Atomic, Full, Relaxed},
    slot::{Pointer, PointerSlot},
};
use vmbus_wire::tagged::{place, TagError, TagWord};

struct Place<P: Pointer> {
    /// A [`TagWord`].
    word: Atomic<u64>,
    request: PointerSlot<P>,
    /// The sender's own word about the request.
    note: Atomic<u64>,
}

/// Requests under way, at most one a place. Any context.
pub struct Tagged<P: Pointer> {
    places: KVVec<Place<P>>,
}

/// An empty place that is about to be used.
pub struct Reserved {
    index: usize,
    before: TagWord,
    word: TagWord,
    id: u64,
}

impl Reserved {
    /// The id that the request travels under; never 0.
    #[inline]
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl<P: Pointer> Tagged<P> {
    /// A table with so many places, all empty.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(places: usize) -> Result<Self> {
        let mut all = KVVec::with_capacity(places, GFP_KERNEL)?;
        for _ in 0..places {
            all.push(
                Place {
                    word: Atomic::new(TagWord::NEW.to_raw()),
                    request: PointerSlot::new(),
                    note: Atomic::new(0),
                },
                GFP_KERNEL,
            )?;
        }
        Ok(Self { places: all })
    }

    /// Prepares an empty place for a request that is to be sent on `channel`; `None` when there is no
    /// such place, or it isn't empty. Whoever chooses places has none twice.
    #[inline]
    pub fn reserve(&self, index: usize, channel: u16) -> Option<Reserved> {
        let before = TagWord::from_raw(self.places.get(index)?.word.load(Relaxed));
        let word = before.begin(channel)?;
        Some(Reserved {
            index,
            before,
            word,
            id: word.id(index)?,
        })
    }

    /// Enters a request before anybody can answer it: see [`Load::loaded`]. `note` comes back with
    /// it.
    ///
    /// # Errors
    ///
    /// Gives the request back when the place was used for another one since it was reserved.
    ///
    /// [`Load::loaded`]: crate::Load::loaded
    #[inline]
    pub fn enter(&self, reserved: Reserved, request: P, note: u64) -> core::result::Result<(), P> {
        let Some(place) = self.places.get(reserved.index) else {
            return Err(request);
        };
        if let Some(other) = place.request.put(request) {
            // The one that was there stays.
            return place.request.put(other).map_or(Ok(()), Err);
        }
        place.note.store(note, Relaxed);
        let (before, word) = (reserved.before.to_raw(), reserved.word.to_raw());
        match place.word.cmpxchg(before, word, Full) {
            Ok(_) => Ok(()),
            Err(_) => place.request.take().map_or(Ok(()), Err),
        }
    }

    /// Takes the request that an answer with this id on this channel ends, with its note.
    ///
    /// # Errors
    ///
    /// [`TagError`]: the host broke the protocol, see [`Channel::bad_packet`].
    ///
    /// [`Channel::bad_packet`]: crate::Channel::bad_packet
    #[inline]
    pub fn take(&self, id: u64, channel: u16) -> core::result::Result<(P, u64), TagError> {
        let gone = TagError::NotUnderWay { id };
        let place = place(id, self.places.len())?;
        let place = self.places.get(place).ok_or(gone)?;
        let before = TagWord::from_raw(place.word.load(Acquire));
        let after = before.end(id, channel)?;
        let note = place.note.load(Relaxed);
        match place.word.cmpxchg(before.to_raw(), after.to_raw(), Full) {
            Ok(_) => place
                .request
                .take()
                .map(|request| (request, note))
                .ok_or(gone),
            // Somebody else ended it at this moment.
            Err(_) => Err(gone),
        }
    }

    /// Takes all requests that were sent on `channel` (on any, if `None`), passing each to `with`, with
    /// the channel it was sent on:
    /// for channels that the host has let go of and on which nobody sends any more.
    pub fn drain(&self, channel: Option<u16>, mut with: impl FnMut(P, u16)) {
        for place in self.places.iter() {
            let before = TagWord::from_raw(place.word.load(Acquire));
            if !is_on(before, channel) {
                continue;
            }
            let after = before.end_any().to_raw();
            if place.word.cmpxchg(before.to_raw(), after, Full).is_ok() {
                if let Some(request) = place.request.take() {
                    with(request, before.channel());
                }
            }
        }
    }

    /// The note of the request in a place; `None` if none is under way. Stale as soon as it is known.
    pub fn note(&self, index: usize) -> Option<u64> {
        let place = self.places.get(index)?;
        let word = TagWord::from_raw(place.word.load(Acquire));
        word.is_under_way().then(|| place.note.load(Relaxed))
    }

    /// Requests under way on a channel, or on any. Looks at every place.
    pub fn count(&self, channel: Option<u16>) -> usize {
        self.places
            .iter()
            .filter(|place| is_on(TagWord::from_raw(place.word.load(Relaxed)), channel))
            .count()
    }
}

/// Whether a request is under way on this channel, or on any if `None`.
fn is_on(word: TagWord, channel: Option<u16>) -> bool {
    word.is_under_way() && channel.is_none_or(|channel| channel == word.channel())
}
