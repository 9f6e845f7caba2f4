// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A controller that breaks the protocol on request, to see what the guest's driver makes of it:
//! what is yet to happen, and how often it did. How it is done is in `session/misdeeds.rs`.

mod command;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicU8, Ordering};
use std::time::Duration;

use anyhow::ensure;
use parking_lot::Mutex;
use serde_json::{json, Map, Value};
use storvsc_wire::NtStatus;

pub(super) use command::carry_out;

/// Most misdeeds, each perhaps many times, that wait at a controller.
const MAX_PLANS: usize = 64;
/// As often as it takes, until `none`.
pub(super) const FOR_EVER: u64 = u64::MAX;

/// What kinds there are, by the names that the control socket knows.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident $name:literal,)*) => {
        /// Kinds of misdeeds.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Kind { $($(#[$doc])* $kind),* }

        impl Kind {
            pub(super) const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// As the control socket calls it.
            pub(super) const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),* }
            }
        }
    };
}

kinds! {
    /// A completion is sent twice.
    Twice "twice",
    /// A completion is sent once more, later.
    LateTwice "late-twice",
    /// A completion nobody waits for comes before the right one.
    UnknownId "unknown-id",
    /// A completion goes out on another channel.
    OtherChannel "other-channel",
    /// A completion is cut off.
    Short "short",
    /// Sense data says that it is longer than its room.
    SenseLength "sense-length",
    /// More is said to be transferred than was asked for.
    Residual "residual",
    /// A request fails in the packet's status only.
    Refuse "refuse",
    /// There is no such unit.
    InvalidLun "invalid-lun",
    /// Requests aren't answered.
    Silent "silent",
    /// Packets that nobody asked for.
    Storm "storm",
    /// An answer to a packet that was answered long ago.
    FlipState "flip-state",
    /// A write index that is none.
    BadRing "bad-ring",
    /// Sub-channels that were promised aren't offered.
    MissingSubchannels "missing-subchannels",
    /// Sub-channels can't be opened.
    RefusedSubchannels "refused-subchannels",
}

/// Transaction ids that the guest never gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WrongId {
    Zero,
    Max,
    /// The right slot, if the guest has its number in the lower half, at another time.
    Generation,
    /// A slot beyond any table.
    Beyond,
    /// A number.
    This(u64),
    /// All but the last of these, one after the other.
    All,
}

impl WrongId {
    /// The ids instead of the right one.
    pub(super) fn of(self, id: u64) -> Vec<u64> {
        match self {
            Self::Zero => vec![0],
            Self::Max => vec![u64::MAX],
            Self::Generation => vec![id ^ (1 << 32)],
            Self::Beyond => vec![(id >> 32 << 32) | 0xffff_fff0],
            Self::This(id) => vec![id],
            Self::All => [Self::Zero, Self::Max, Self::Generation, Self::Beyond]
                .into_iter()
                .flat_map(|shape| shape.of(id))
                .collect(),
        }
    }
}

/// Packets of a storm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Enumerate,
    Remove,
    Unknown,
    Garbage,
    Complete,
}

impl Sort {
    pub(super) const ALL: [(Self, &'static str); 5] = [
        (Self::Enumerate, "enumerate"),
        (Self::Remove, "remove"),
        (Self::Unknown, "unknown"),
        (Self::Garbage, "garbage"),
        (Self::Complete, "complete"),
    ];
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misdeed {
    // To a completion.
    Twice,
    LateTwice(Duration),
    UnknownId(WrongId),
    OtherChannel,
    /// Cut to so many bytes; none: to several lengths in turn.
    Short(Option<usize>),
    SenseLength(u8),
    /// So many bytes more than were asked for.
    Residual(u32),
    // To a request, instead of what it asks for.
    Refuse(NtStatus),
    InvalidLun,
    Silent,
    // To a channel. None: packets of all sorts.
    Storm(u16, Option<Sort>),
    // To sub-channels.
    MissingSubchannels,
    RefusedSubchannels,
}

impl Misdeed {
    pub(super) const fn kind(self) -> Kind {
        match self {
            Self::Twice => Kind::Twice,
            Self::LateTwice(_) => Kind::LateTwice,
            Self::UnknownId(_) => Kind::UnknownId,
            Self::OtherChannel => Kind::OtherChannel,
            Self::Short(_) => Kind::Short,
            Self::SenseLength(_) => Kind::SenseLength,
            Self::Residual(_) => Kind::Residual,
            Self::Refuse(_) => Kind::Refuse,
            Self::InvalidLun => Kind::InvalidLun,
            Self::Silent => Kind::Silent,
            Self::Storm(..) => Kind::Storm,
            Self::MissingSubchannels => Kind::MissingSubchannels,
            Self::RefusedSubchannels => Kind::RefusedSubchannels,
        }
    }

    /// It happens to a completion, so that the request is carried out first.
    pub(super) const fn is_of_completion(self) -> bool {
        matches!(
            self,
            Self::Twice
                | Self::LateTwice(_)
                | Self::UnknownId(_)
                | Self::OtherChannel
                | Self::Short(_)
                | Self::SenseLength(_)
                | Self::Residual(_)
        )
    }

    /// It happens to a request.
    pub(super) const fn is_of_request(self) -> bool {
        matches!(self, Self::Refuse(_) | Self::InvalidLun | Self::Silent)
    }
}

/// A misdeed that is yet to happen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) what: Misdeed,
    /// To requests for this unit only.
    pub(super) lun: Option<u8>,
    /// To commands of this operation code only.
    pub(super) opcode: Option<u8>,
    pub(super) left: u64,
}

/// What a reset does to requests that `silent` holds, and whether it is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ResetMode {
    /// It ends them and is answered.
    #[default]
    End = 0,
    /// It forgets them and is answered.
    Forget = 1,
    /// It isn't answered.
    Ignore = 2,
}

/// What of it took place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) what: Misdeed,
    /// How often.
    pub(super) times: u64,
    /// There is no more of it.
    pub(super) used_up: bool,
}

/// How often `none` let go of what is held; a channel that has seen other numbers acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Releases {
    pub(super) carried_out: u64,
    pub(super) forgotten: u64,
}

/// What a controller is yet to do wrong, and what it did.
#[derive(Debug, Default)]
pub(super) struct Misdeeds {
    /// There are plans for completions or requests, so that others needn't look.
    of_requests: AtomicBool,
    /// There are storms.
    storms: AtomicBool,
    plans: Mutex<Vec<Plan>>,
    reset: AtomicU8,
    carried_out: AtomicU64,
    forgotten: AtomicU64,
    /// Requests that are held.
    pub(super) held: AtomicU64,
    /// Resets that weren't answered and may yet be.
    pub(super) unanswered: AtomicU64,
    done: [AtomicU64; Kind::ALL.len()],
}

impl Misdeeds {
    /// Has something happen; how many things are yet to happen then.
    pub(super) fn plan(&self, plan: Plan) -> anyhow::Result<u64> {
        let mut plans = self.plans.lock();
        ensure!(plans.len() < MAX_PLANS, "{MAX_PLANS} misdeeds wait already");
        plans.push(plan);
        self.look(&plans);
        Ok(sum(&plans))
    }

    /// Nothing more happens. How much that was.
    pub(super) fn forget(&self) -> u64 {
        let mut plans = self.plans.lock();
        let forgotten = sum(&plans);
        plans.clear();
        self.look(&plans);
        self.set_reset(ResetMode::End);
        forgotten
    }

    fn look(&self, plans: &[Plan]) {
        let any = |of: fn(Misdeed) -> bool| plans.iter().any(|plan| of(plan.what));
        let of_requests = any(|what| what.is_of_completion() || what.is_of_request());
        self.of_requests.store(of_requests, Ordering::Release);
        let storms = any(|what| matches!(what, Misdeed::Storm(..)));
        self.storms.store(storms, Ordering::Release);
    }

    /// How many are yet to happen.
    pub(super) fn waiting(&self) -> u64 {
        sum(&self.plans.lock())
    }

    /// Something may happen to requests or their completions.
    #[inline]
    pub(super) fn concern_requests(&self) -> bool {
        self.of_requests.load(Ordering::Acquire)
    }

    /// There may be a storm.
    #[inline]
    pub(super) fn has_storms(&self) -> bool {
        self.storms.load(Ordering::Acquire)
    }

    /// What happens to a request for a unit or to its completion.
    pub(super) fn take_for(
        &self,
        lun: u8,
        opcode: u8,
        what: impl Fn(Misdeed) -> bool,
    ) -> Option<Taken> {
        self.take(1, |plan| {
            let here = plan.lun.is_none_or(|wanted| wanted == lun)
                && plan.opcode.is_none_or(|wanted| wanted == opcode);
            here && what(plan.what)
        })
    }

    /// The first thing of these, at most so often.
    pub(super) fn take(&self, most: u64, which: impl Fn(&Plan) -> bool) -> Option<Taken> {
        let mut plans = self.plans.lock();
        let index = plans.iter().position(which)?;
        let plan = plans.get_mut(index)?;
        let times = plan.left.min(most);
        let what = plan.what;
        if plan.left != FOR_EVER {
            plan.left = plan.left.saturating_sub(times);
        }
        let used_up = plan.left == 0;
        if used_up {
            plans.remove(index);
            self.look(&plans);
        }
        self.did(what.kind(), times);
        Some(Taken {
            what,
            times,
            used_up,
        })
    }

    /// The first storm on a channel, which goes on.
    pub(super) fn storm(&self, channel: u16) -> Option<(Option<Sort>, u64)> {
        self.plans.lock().iter().find_map(|plan| match plan.what {
            Misdeed::Storm(where_to, sort) if where_to == channel => Some((sort, plan.left)),
            _ => None,
        })
    }

    /// Counts what happened.
    pub(super) fn did(&self, kind: Kind, times: u64) {
        if let Some(done) = self.done.get(kind as usize) {
            done.fetch_add(times, Ordering::Relaxed);
        }
    }

    pub(super) fn set_reset(&self, mode: ResetMode) {
        self.reset.store(mode as u8, Ordering::Release);
    }

    /// What resets do.
    pub(super) fn reset(&self) -> ResetMode {
        match self.reset.load(Ordering::Acquire) {
            0 => ResetMode::End,
            1 => ResetMode::Forget,
            _ => ResetMode::Ignore,
        }
    }

    /// What is held is let go of, by each channel as it sees this.
    pub(super) fn release(&self, forget: bool) {
        let releases = if forget {
            &self.forgotten
        } else {
            &self.carried_out
        };
        releases.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn releases(&self) -> Releases {
        Releases {
            carried_out: self.carried_out.load(Ordering::Acquire),
            forgotten: self.forgotten.load(Ordering::Acquire),
        }
    }

    /// For the controller's statistics.
    pub(super) fn stats(&self) -> Value {
        let mut waiting = Map::new();
        for plan in self.plans.lock().iter() {
            let name = plan.what.kind().name();
            let before = waiting.get(name).and_then(Value::as_u64).unwrap_or(0);
            waiting.insert(name.to_owned(), before.saturating_add(plan.left).into());
        }
        let done = Kind::ALL.iter().zip(&self.done);
        let done: Map<String, Value> = done
            .map(|(kind, done)| (kind.name().to_owned(), done.load(Ordering::Relaxed).into()))
            .collect();
        json!({
            "done": done,
            "waiting": waiting,
            "held": self.held.load(Ordering::Relaxed),
            "unanswered_resets": self.unanswered.load(Ordering::Relaxed),
        })
    }
}

fn sum(plans: &[Plan]) -> u64 {
    let left = plans.iter().map(|plan| plan.left);
    left.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(what: Misdeed, left: u64) -> Plan {
        Plan {
            what,
            lun: None,
            opcode: None,
            left,
        }
    }

    #[test]
    fn the_first_that_fits_happens_as_often_as_wanted() {
        let misdeeds = Misdeeds::default();
        let completion = |lun| misdeeds.take_for(lun, 0x28, Misdeed::is_of_completion);
        assert!(!misdeeds.concern_requests());
        assert_eq!(completion(0), None);
        let other = Plan {
            lun: Some(5),
            ..plan(Misdeed::OtherChannel, 1)
        };
        let write = Plan {
            opcode: Some(0x2a),
            ..plan(Misdeed::Short(None), 1)
        };
        for plan in [
            other,
            write,
            plan(Misdeed::Twice, 2),
            plan(Misdeed::Silent, 1),
        ] {
            misdeeds.plan(plan).unwrap();
        }
        assert!(misdeeds.concern_requests() && !misdeeds.has_storms());
        assert_eq!(misdeeds.waiting(), 5);
        let twice = |used_up| {
            let (what, times) = (Misdeed::Twice, 1);
            Some(Taken {
                what,
                times,
                used_up,
            })
        };
        assert_eq!(completion(0), twice(false));
        assert_eq!(completion(5).unwrap().what, Misdeed::OtherChannel);
        assert_eq!(completion(5), twice(true));
        assert_eq!(completion(5), None);
        let silent = misdeeds.take_for(0, 0, Misdeed::is_of_request).unwrap();
        assert!(silent.used_up && silent.what == Misdeed::Silent);
        assert_eq!(misdeeds.stats()["done"]["twice"], 2);
        assert_eq!(misdeeds.stats()["waiting"], json!({"short": 1}));
        assert_eq!(misdeeds.forget(), 1);
        assert!(!misdeeds.concern_requests());
    }

    #[test]
    fn for_ever_is_until_it_is_forgotten() {
        let misdeeds = Misdeeds::default();
        misdeeds.plan(plan(Misdeed::InvalidLun, FOR_EVER)).unwrap();
        misdeeds.set_reset(ResetMode::Ignore);
        for _ in 0..3 {
            let taken = misdeeds.take_for(1, 0, Misdeed::is_of_request).unwrap();
            assert!(!taken.used_up);
        }
        assert_eq!(misdeeds.plan(plan(Misdeed::Twice, 1)).unwrap(), u64::MAX);
        assert_eq!(misdeeds.forget(), u64::MAX);
        assert_eq!(misdeeds.take_for(1, 0, |_| true), None);
        assert_eq!(misdeeds.reset(), ResetMode::End);
        assert_eq!(misdeeds.stats()["done"]["invalid-lun"], 3);
    }

    #[test]
    fn storms_are_taken_in_batches_and_there_is_a_limit() {
        let misdeeds = Misdeeds::default();
        misdeeds.plan(plan(Misdeed::Storm(2, None), 100)).unwrap();
        assert!(misdeeds.has_storms() && !misdeeds.concern_requests());
        assert_eq!(misdeeds.storm(0), None);
        assert_eq!(misdeeds.storm(2), Some((None, 100)));
        let storm = |most| misdeeds.take(most, |plan| matches!(plan.what, Misdeed::Storm(..)));
        assert_eq!(storm(64).unwrap().times, 64);
        let rest = storm(64).unwrap();
        assert!(rest.used_up && rest.times == 36);
        assert!(!misdeeds.has_storms());
        assert_eq!(misdeeds.stats()["done"]["storm"], 100);
        for _ in 0..MAX_PLANS {
            misdeeds.plan(plan(Misdeed::Twice, 1)).unwrap();
        }
        assert!(misdeeds.plan(plan(Misdeed::Twice, 1)).is_err());
    }

    #[test]
    fn wrong_ids_are_wrong() {
        let id = 0x0000_0007_0000_0012;
        let ids = WrongId::All.of(id);
        assert_eq!(
            ids,
            [0, u64::MAX, 0x0000_0006_0000_0012, 0x0000_0007_ffff_fff0]
        );
        assert_eq!(WrongId::This(5).of(id), [5]);
    }

    #[test]
    fn names_are_told_apart() {
        for (n, kind) in Kind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, n);
            let same = Kind::ALL.iter().filter(|other| other.name() == kind.name());
            assert_eq!(same.count(), 1);
        }
    }
}
