// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A controller's part in what it does wrong on request.

use std::sync::atomic::Ordering;

use serde_json::json;
use storvsc_wire::packet::Layout;
use storvsc_wire::Operation;

use super::super::mail::Mail;
use super::super::misbehave::{Kind, Misdeed, Misdeeds, Taken};
use super::Controller;

impl Controller {
    /// What it is yet to do wrong.
    pub(in super::super) fn misdeeds(&self) -> &Misdeeds {
        &self.misdeeds
    }

    /// Tells those who wait for it that there is no more of a kind.
    pub(in super::super) fn misbehaved(&self, kind: Kind) {
        tracing::info!("{}: {} is done", self.name, kind.name());
        self.emit("misbehaved", json!({ "kind": kind.name() }));
    }

    /// The same where that is so.
    pub(in super::super) fn took(&self, taken: Taken) -> Misdeed {
        if taken.used_up {
            self.misbehaved(taken.what.kind());
        }
        taken.what
    }

    /// The channel is open.
    pub(in super::super) fn is_open(&self, index: u16) -> bool {
        self.channels
            .lock()
            .get(&index)
            .is_some_and(|channel| channel.open.load(Ordering::Acquire))
    }

    /// How many channels are open.
    pub(in super::super) fn open_channels(&self) -> usize {
        let channels = self.channels.lock();
        let open = channels.values();
        open.filter(|channel| channel.open.load(Ordering::Acquire))
            .count()
    }

    /// The next open channel behind this one, from the last on to the first.
    pub(in super::super) fn other_channel(&self, index: u16) -> Option<u16> {
        let channels = self.channels.lock();
        let open = || {
            let open = channels.iter();
            open.filter(|(_, channel)| channel.open.load(Ordering::Acquire))
                .map(|(index, _)| *index)
        };
        let behind = open().find(|other| *other > index);
        behind.or_else(|| open().find(|other| *other != index))
    }

    /// Has a channel's thread do something.
    pub(in super::super) fn mail(&self, index: u16, mail: Mail) {
        let channel = self.channels.lock().get(&index).cloned();
        if let (Some(channel), Some(bus)) = (channel, self.bus.get()) {
            channel.mail.put(mail);
            bus.nudge(index);
        }
    }

    /// The guest sent a packet that is no request.
    pub(in super::super) fn note_asked(&self, what: Operation, id: u64, layout: Layout) {
        let mut conversation = self.conversation.lock();
        conversation.asked.insert(what.0, (id, layout));
    }

    /// Transaction id and layout of the guest's latest packet of this kind.
    pub(in super::super) fn last_asked(&self, what: Operation) -> Option<(u64, Layout)> {
        self.conversation.lock().asked.get(&what.0).copied()
    }

    /// How many of so many sub-channels aren't offered, though promised.
    pub(super) fn missing_subchannels(&self, count: u16) -> u16 {
        let wanted = |what| matches!(what, Misdeed::MissingSubchannels);
        let taken = self.misdeeds.take(count.into(), |plan| wanted(plan.what));
        taken.map_or(0, |taken| {
            self.took(taken);
            u16::try_from(taken.times).unwrap_or(count)
        })
    }

    /// A sub-channel may be opened.
    pub(super) fn lets_open(&self, subchannel: u16) -> bool {
        if subchannel == 0 {
            return true;
        }
        let wanted = |what| matches!(what, Misdeed::RefusedSubchannels);
        let taken = self.misdeeds.take(1, |plan| wanted(plan.what));
        match taken {
            Some(taken) => {
                self.took(taken);
                false
            }
            None => true,
        }
    }
}
