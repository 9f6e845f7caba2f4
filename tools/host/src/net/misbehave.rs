// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A NIC that breaks the protocol on request, to see what the guest's driver makes of it: what is yet
//! to happen, and how often it did. What the packets of a storm look like is in [`shapes`], how they
//! are sent in [`deeds`].

mod command;
mod deeds;
mod shapes;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::ensure;
use parking_lot::Mutex;
use serde_json::{json, Map, Value};

pub(super) use command::carry_out;

/// Most misdeeds, each perhaps many times, that wait at a NIC.
const MAX_PLANS: usize = 64;
/// As often as it takes, until `none`.
const FOR_EVER: u64 = u64::MAX;

/// Packets of a storm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// Bytes that are nothing.
    Noise,
    /// Messages of every kind, with fields of every value.
    Nvsp,
    /// Answers to nothing.
    Answers,
    /// Frames in places that there aren't.
    Ranges,
    /// RNDIS messages of every shape.
    Messages,
    /// Parts of segments in the wrong order and number.
    Segments,
}

impl Sort {
    pub(super) const ALL: [(Self, &'static str); 6] = [
        (Self::Noise, "noise"),
        (Self::Nvsp, "nvsp"),
        (Self::Answers, "answers"),
        (Self::Ranges, "ranges"),
        (Self::Messages, "messages"),
        (Self::Segments, "segments"),
    ];
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misdeed {
    /// A channel sends packets that nobody asked for. None: of all sorts.
    Storm(u16, Option<Sort>),
    /// A completion of the guest's frames is sent twice.
    Twice,
    /// Before the right completion comes one that nobody waits for.
    UnknownId,
    /// A completion is cut off before the right one.
    Short,
    /// A completion is of another kind before the right one.
    OtherKind,
    /// A control request isn't answered.
    Silent,
    /// A control request is answered on another channel.
    Elsewhere,
    /// Sub-channels are granted and never offered.
    MissingSubchannels,
}

impl Misdeed {
    const NAMES: [&'static str; 8] = [
        "storm",
        "twice",
        "unknown-id",
        "short",
        "other-kind",
        "silent",
        "elsewhere",
        "missing-subchannels",
    ];

    const fn index(self) -> usize {
        match self {
            Self::Storm(..) => 0,
            Self::Twice => 1,
            Self::UnknownId => 2,
            Self::Short => 3,
            Self::OtherKind => 4,
            Self::Silent => 5,
            Self::Elsewhere => 6,
            Self::MissingSubchannels => 7,
        }
    }

    /// It happens to completions of the guest's frames.
    const fn is_of_completion(self) -> bool {
        matches!(
            self,
            Self::Twice | Self::UnknownId | Self::Short | Self::OtherKind
        )
    }
}

/// A misdeed that is yet to happen.
#[derive(Clone, Copy, Debug)]
struct Plan {
    what: Misdeed,
    left: u64,
}

/// What a NIC is yet to do wrong, and what it did.
#[derive(Debug, Default)]
pub(super) struct Misdeeds {
    /// There are plans, so that others needn't look.
    any: AtomicBool,
    plans: Mutex<Vec<Plan>>,
    done: [AtomicU64; Misdeed::NAMES.len()],
}

impl Misdeeds {
    /// Has something happen; how many things are yet to happen then.
    fn plan(&self, what: Misdeed, left: u64) -> anyhow::Result<u64> {
        let mut plans = self.plans.lock();
        ensure!(plans.len() < MAX_PLANS, "{MAX_PLANS} misdeeds wait already");
        plans.push(Plan { what, left });
        self.any.store(true, Ordering::Release);
        Ok(sum(&plans))
    }

    /// Nothing more happens. How much that was.
    fn forget(&self) -> u64 {
        let mut plans = self.plans.lock();
        let forgotten = sum(&plans);
        plans.clear();
        self.any.store(false, Ordering::Release);
        forgotten
    }

    /// Something is yet to happen.
    #[inline]
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// The first of these happens, once.
    pub(super) fn take(&self, which: impl Fn(Misdeed) -> bool) -> Option<Misdeed> {
        if !self.any() {
            return None;
        }
        let what = {
            let plans = self.plans.lock();
            plans.iter().map(|plan| plan.what).find(|what| which(*what))
        }?;
        self.did(what, 1);
        Some(what)
    }

    /// The first storm on a channel, which goes on, and how much is left of it.
    fn storm(&self, channel: u16) -> Option<(Misdeed, Option<Sort>, u64)> {
        self.plans.lock().iter().find_map(|plan| match plan.what {
            Misdeed::Storm(on, sort) if on == channel => Some((plan.what, sort, plan.left)),
            _ => None,
        })
    }

    /// It happened so often: that is no longer planned.
    fn did(&self, what: Misdeed, times: u64) {
        let mut plans = self.plans.lock();
        if let Some(plan) = plans.iter_mut().find(|plan| plan.what == what) {
            if plan.left != FOR_EVER {
                plan.left = plan.left.saturating_sub(times);
            }
        }
        plans.retain(|plan| plan.left != 0);
        self.any.store(!plans.is_empty(), Ordering::Release);
        drop(plans);
        if let Some(done) = self.done.get(what.index()) {
            done.fetch_add(times, Ordering::Relaxed);
        }
    }

    /// For the NIC's statistics.
    pub(super) fn stats(&self) -> Value {
        let done = Misdeed::NAMES.iter().zip(&self.done);
        let done: Map<String, Value> = done
            .map(|(name, done)| ((*name).to_owned(), done.load(Ordering::Relaxed).into()))
            .collect();
        json!({ "done": done, "waiting": sum(&self.plans.lock()) })
    }
}

fn sum(plans: &[Plan]) -> u64 {
    let left = plans.iter().map(|plan| plan.left);
    left.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_used_up_in_order() {
        let misdeeds = Misdeeds::default();
        assert!(!misdeeds.any());
        assert_eq!(misdeeds.take(|_| true), None);
        misdeeds.plan(Misdeed::Silent, 1).unwrap();
        assert_eq!(misdeeds.plan(Misdeed::Twice, 2).unwrap(), 3);
        assert_eq!(
            misdeeds.take(Misdeed::is_of_completion),
            Some(Misdeed::Twice)
        );
        assert_eq!(misdeeds.take(|what| what == Misdeed::Elsewhere), None);
        assert_eq!(misdeeds.take(|_| true), Some(Misdeed::Silent));
        assert!(misdeeds.any());
        assert_eq!(misdeeds.take(|_| true), Some(Misdeed::Twice));
        assert!(!misdeeds.any());
        assert_eq!(misdeeds.stats()["done"]["twice"], 2);
        assert_eq!(misdeeds.stats()["waiting"], 0);
    }

    #[test]
    fn storms_go_on_and_for_ever_is_until_it_is_forgotten() {
        let misdeeds = Misdeeds::default();
        let storm = Misdeed::Storm(1, Some(Sort::Ranges));
        misdeeds.plan(storm, 100).unwrap();
        assert_eq!(misdeeds.storm(0), None);
        assert_eq!(misdeeds.storm(1), Some((storm, Some(Sort::Ranges), 100)));
        misdeeds.did(storm, 60);
        misdeeds.did(storm, 60);
        assert_eq!(misdeeds.storm(1), None);
        misdeeds
            .plan(Misdeed::MissingSubchannels, FOR_EVER)
            .unwrap();
        for _ in 0..3 {
            assert!(misdeeds.take(|_| true).is_some());
        }
        assert_eq!(misdeeds.forget(), FOR_EVER);
        assert!(!misdeeds.any());
    }

    #[test]
    fn there_is_a_limit() {
        let misdeeds = Misdeeds::default();
        for _ in 0..MAX_PLANS {
            misdeeds.plan(Misdeed::Twice, 1).unwrap();
        }
        assert!(misdeeds.plan(Misdeed::Twice, 1).is_err());
    }
}
