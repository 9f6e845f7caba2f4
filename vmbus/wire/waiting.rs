// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Requests outside of the rings that wait for the host's answer.
//!
//! Before a request is posted, its [`Key`] says which answer it waits for. [`answer`] gives the key
//! of a received message, and [`WaitTable`] finds who waits for it: at most one, and once. An answer
//! that comes twice, late or out of thin air finds nobody; a rescind finds everybody who waits for
//! that channel.

use crate::message::{HostMessage, VersionResponse};
use crate::{Relid, Status};
use core::ops::DerefMut;

/// What a request waits for. Two requests with the same key can't be under way at the same time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key {
    /// VERSION_RESPONSE.
    Version,
    /// ALL_OFFERS_DELIVERED.
    Offers,
    /// OPEN_RESULT of a channel.
    Open {
        /// The channel.
        relid: Relid,
        /// The id that the open request carried.
        open_id: u32,
    },
    /// GPADL_CREATED.
    GpadlCreated {
        /// The channel.
        relid: Relid,
        /// The page list.
        gpadl: u32,
    },
    /// GPADL_TORNDOWN. The message names no channel; the request does, for rescinds.
    GpadlTorndown {
        /// The channel; `None` in the key of a message.
        relid: Option<Relid>,
        /// The page list.
        gpadl: u32,
    },
    /// MODIFY_CHANNEL_RESPONSE.
    Modify {
        /// The channel.
        relid: Relid,
    },
    /// UNLOAD_RESPONSE.
    Unload,
}

impl Key {
    /// The channel a request is about, if it is about one.
    pub const fn relid(&self) -> Option<Relid> {
        match *self {
            Key::Open { relid, .. } | Key::GpadlCreated { relid, .. } | Key::Modify { relid } => {
                Some(relid)
            }
            Key::GpadlTorndown { relid, .. } => relid,
            Key::Version | Key::Offers | Key::Unload => None,
        }
    }

    /// Whether the message with key `answer` answers this request.
    pub fn accepts(&self, answer: &Key) -> bool {
        match (self, answer) {
            // The answer to a teardown names the page list only.
            (Key::GpadlTorndown { gpadl, .. }, Key::GpadlTorndown { gpadl: other, .. }) => {
                gpadl == other
            }
            _ => self == answer,
        }
    }
}

/// What the host answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The message itself says all.
    Done,
    /// The request's verdict.
    Status(Status),
    /// A version was accepted or refused.
    Version(VersionResponse),
}

/// The request that a message answers and what it says; `None` for messages that answer nothing
/// (offers, rescinds, and results of socket connections, which the guest never asks for).
pub fn answer(message: &HostMessage) -> Option<(Key, Answer)> {
    Some(match *message {
        HostMessage::Offer(_)
        | HostMessage::Rescind { .. }
        | HostMessage::SocketConnectResult(_) => return None,
        HostMessage::AllOffersDelivered => (Key::Offers, Answer::Done),
        HostMessage::VersionResponse(response) => (Key::Version, Answer::Version(response)),
        HostMessage::OpenResult(result) => (
            Key::Open {
                relid: result.relid,
                open_id: result.open_id,
            },
            Answer::Status(result.status),
        ),
        HostMessage::GpadlCreated(created) => (
            Key::GpadlCreated {
                relid: created.relid,
                gpadl: created.gpadl,
            },
            Answer::Status(created.status),
        ),
        HostMessage::GpadlTorndown { gpadl } => {
            (Key::GpadlTorndown { relid: None, gpadl }, Answer::Done)
        }
        HostMessage::ModifyResponse(response) => (
            Key::Modify {
                relid: response.relid,
            },
            Answer::Status(response.status),
        ),
        HostMessage::UnloadComplete => (Key::Unload, Answer::Done),
    })
}

/// Why a request can't wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitError {
    /// A request with the same key is under way.
    Busy,
    /// As many requests wait as there is room for.
    Full,
}

/// Who waits for what, up to as many as `S` has places. Not locked.
#[derive(Debug)]
pub struct WaitTable<S> {
    places: S,
}

impl<W, S: DerefMut<Target = [Option<(Key, W)>]>> WaitTable<S> {
    /// A table over `places`; who waits in it goes on to.
    pub const fn new(places: S) -> Self {
        Self { places }
    }

    /// Requests that wait.
    pub fn len(&self) -> usize {
        self.places.iter().flatten().count()
    }

    /// True while none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lets `waiter` wait for the answer with this key.
    ///
    /// # Errors
    ///
    /// [`WaitError`].
    pub fn insert(&mut self, key: Key, waiter: W) -> Result<(), WaitError> {
        if self
            .places
            .iter()
            .flatten()
            .any(|(other, _)| other.accepts(&key))
        {
            return Err(WaitError::Busy);
        }
        let place = self.places.iter_mut().find(|place| place.is_none());
        *place.ok_or(WaitError::Full)? = Some((key, waiter));
        Ok(())
    }

    /// Takes out who waits for the answer with this key.
    pub fn take(&mut self, answer: &Key) -> Option<W> {
        self.take_where(|key, _| key.accepts(answer))
    }

    /// Takes out everybody who waits for something of a channel, passing each to `with`.
    pub fn rescind(&mut self, relid: Relid, mut with: impl FnMut(W)) {
        while let Some(waiter) = self.take_where(|key, _| key.relid() == Some(relid)) {
            with(waiter);
        }
    }

    /// Takes out the first that satisfies `wanted`.
    pub fn take_where(&mut self, mut wanted: impl FnMut(&Key, &W) -> bool) -> Option<W> {
        self.places
            .iter_mut()
            .find(|place| matches!(place, Some((key, waiter)) if wanted(key, waiter)))?
            .take()
            .map(|(_, waiter)| waiter)
    }
}
