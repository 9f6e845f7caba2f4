// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What follows from what the host said.
//!
//! A [`Session`] is the guest's side of the protocol from the moment the channel is open. It asks
//! for versions, newest first, reports capabilities, and then serves one transaction of the host
//! at a time: balloon up, balloon down, hot-add. It does nothing itself: [`Session::start`] and
//! [`Session::receive`] return the [`Step`] that is to be taken. A message that doesn't belong
//! where the session is, is an error and changes nothing.

use crate::guest::{
    BalloonResponse, Capabilities, CapabilitiesReport, HotAddResponse, HotAddResult, StatusReport,
    UnballoonResponse, VersionRequest,
};
use crate::message::{HotAddRequest, Information, MessageType};
use crate::range::Ranges;
use crate::{HostMessage, Version};
use core::fmt;

/// Where a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing has been said.
    Closed,
    /// The host was asked for a version.
    Negotiating,
    /// The host was told what the guest can do.
    Reporting,
    /// Nothing is going on.
    Idle,
    /// The host wants pages.
    BalloonUp,
    /// The host returns pages, and more messages will follow.
    BalloonDown,
    /// The host wants memory added.
    HotAdd,
    /// The host and the guest didn't come to terms.
    Failed(Refusal),
}

impl State {
    /// One lower-case word, for debugfs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Negotiating => "negotiating",
            Self::Reporting => "reporting",
            Self::Idle => "idle",
            Self::BalloonUp => "balloon_up",
            Self::BalloonDown => "balloon_down",
            Self::HotAdd => "hot_add",
            Self::Failed(_) => "failed",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the host refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Every version that the guest speaks.
    Versions,
    /// What the guest can do.
    Capabilities,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Versions => "the host speaks no version of the protocol that the guest does",
            Self::Capabilities => "the host refuses the guest's capabilities",
        })
    }
}

/// A message that doesn't belong where the session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionError {
    /// Its kind.
    pub kind: MessageType,
    /// Where the session is.
    pub state: State,
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in state {}", self.kind, self.state)
    }
}

/// What is to be done next.
#[derive(Debug)]
#[must_use]
pub enum Step<'m> {
    /// Send it; the next version is asked for.
    AskVersion(VersionRequest),
    /// Send it; the version has been agreed on.
    ReportCapabilities(CapabilitiesReport),
    /// Device and guest have come to terms: status reports may be sent.
    Ready,
    /// Leave the device alone.
    Fail(Refusal),
    /// Give away up to that many pages, in responses from [`Session::balloon_response`].
    Inflate {
        /// Pages.
        pages: u32,
    },
    /// Take pages back, those that were given away; then, after the last message, send the answer.
    Deflate {
        /// The pages.
        ranges: Ranges<'m>,
        /// The answer, when this was the last message.
        answer: Option<UnballoonResponse>,
    },
    /// Add memory, then say how it went by [`Session::hot_added`].
    HotAdd(HotAddRequest),
    /// Worth a line in the log.
    Note(Information),
}

/// The guest's side of the protocol on one open channel.
#[derive(Debug)]
pub struct Session {
    state: State,
    /// Index in [`Version::PREFERENCE`].
    attempt: usize,
    capabilities: Capabilities,
    wants_reports: bool,
    transaction: u32,
}

impl Session {
    /// A session of a guest with these capabilities.
    pub const fn new(capabilities: Capabilities) -> Self {
        Self {
            state: State::Closed,
            attempt: 0,
            capabilities,
            wants_reports: true,
            transaction: 0,
        }
    }

    /// Where it is.
    pub const fn state(&self) -> State {
        self.state
    }

    /// The version that both speak; `None` before they have agreed.
    pub fn version(&self) -> Option<Version> {
        match self.state {
            State::Closed | State::Negotiating | State::Failed(Refusal::Versions) => None,
            _ => self.asked(),
        }
    }

    /// Whether guest and host have come to terms.
    pub const fn is_ready(&self) -> bool {
        matches!(
            self.state,
            State::Idle | State::BalloonUp | State::BalloonDown | State::HotAdd
        )
    }

    /// Whether the host wants status reports, as far as it said.
    pub const fn wants_reports(&self) -> bool {
        self.wants_reports
    }

    /// The version that was last asked for.
    fn asked(&self) -> Option<Version> {
        Version::PREFERENCE.get(self.attempt).copied()
    }

    /// A number for a message of the guest; wraps around, as nothing keeps them for long.
    fn next_transaction(&mut self) -> u32 {
        self.transaction = self.transaction.wrapping_add(1);
        self.transaction
    }

    /// What to do when the channel has just been opened: starts over.
    pub fn start(&mut self) -> Step<'static> {
        self.attempt = 0;
        self.wants_reports = true;
        self.ask()
    }

    /// Asks for the version that is due.
    fn ask(&mut self) -> Step<'static> {
        let Some(version) = self.asked() else {
            return self.fail(Refusal::Versions);
        };
        let last = self.attempt.saturating_add(1) >= Version::PREFERENCE.len();
        self.state = State::Negotiating;
        Step::AskVersion(VersionRequest::new(self.next_transaction(), version, last))
    }

    fn fail(&mut self, refusal: Refusal) -> Step<'static> {
        self.state = State::Failed(refusal);
        Step::Fail(refusal)
    }

    /// What to do about a message.
    ///
    /// # Errors
    ///
    /// [`SessionError`]: the message makes no sense now, and nothing has changed.
    pub fn receive<'m>(&mut self, message: HostMessage<'m>) -> Result<Step<'m>, SessionError> {
        let error = SessionError {
            kind: message.kind(),
            state: self.state,
        };
        match (self.state, message) {
            (State::Negotiating, HostMessage::VersionResponse { accepted: true }) => {
                self.state = State::Reporting;
                Ok(Step::ReportCapabilities(CapabilitiesReport::new(
                    self.next_transaction(),
                    self.capabilities,
                )))
            }
            (State::Negotiating, HostMessage::VersionResponse { accepted: false }) => {
                self.attempt = self.attempt.saturating_add(1);
                Ok(self.ask())
            }
            (State::Reporting, HostMessage::CapabilitiesResponse(response)) => {
                if !response.accepted {
                    return Ok(self.fail(Refusal::Capabilities));
                }
                self.wants_reports = !response.no_status_reports;
                self.state = State::Idle;
                Ok(Step::Ready)
            }
            (State::Idle, HostMessage::BalloonRequest { pages }) => {
                self.state = State::BalloonUp;
                Ok(Step::Inflate { pages })
            }
            (State::Idle | State::BalloonDown, HostMessage::UnballoonRequest(request)) => {
                let answer = if request.more {
                    self.state = State::BalloonDown;
                    None
                } else {
                    self.state = State::Idle;
                    Some(UnballoonResponse::new(self.next_transaction()))
                };
                Ok(Step::Deflate {
                    ranges: request.ranges,
                    answer,
                })
            }
            (State::Idle, HostMessage::HotAddRequest(request)) => {
                self.state = State::HotAdd;
                Ok(Step::HotAdd(request))
            }
            (_, HostMessage::Info(information)) if self.is_ready() => Ok(Step::Note(information)),
            _ => Err(error),
        }
    }

    /// The bytes of a balloon response; `more` says that it isn't the transaction's last one.
    /// `None` when no balloon request is being served.
    pub fn balloon_response<'b>(
        &mut self,
        response: BalloonResponse<'b>,
        more: bool,
    ) -> Option<&'b [u8]> {
        if self.state != State::BalloonUp {
            return None;
        }
        if !more {
            self.state = State::Idle;
        }
        Some(response.finish(self.next_transaction(), more))
    }

    /// The answer to the hot-add request that is being served; `None` when none is.
    pub fn hot_added(&mut self, result: HotAddResult) -> Option<HotAddResponse> {
        if self.state != State::HotAdd {
            return None;
        }
        self.state = State::Idle;
        Some(HotAddResponse::new(self.next_transaction(), result))
    }

    /// A report for now, of `available` and `committed` pages (see
    /// [`policy::committed`](crate::policy::committed)); `None` when the host wants none.
    pub fn status_report(&mut self, available: u64, committed: u64) -> Option<StatusReport> {
        (self.is_ready() && self.wants_reports)
            .then(|| StatusReport::new(self.next_transaction(), available, committed))
    }
}
