// SPDX-License-Identifier: GPL-2.0

//! Memory shared with the host by a page list (GPADL).
//!
//! A page list has two exits. [`Teardown::Reclaimed`]: the host has confirmed that it let go, the
//! pages are private again. [`Teardown::Leaked`]: it hasn't, so they are given up on purpose and
//! counted, because a host that still maps them may write to them at any time.

use kernel::{prelude::*, sync::Arc};
use kernel_ext::pages::PageList;
use vmbus_wire::{
    gpadl,
    message::guest,
    waiting::{Answer, Key},
    Status,
};

use crate::{channel_core::ChannelCore, control::Outcome};

/// Milliseconds to wait for the host to map or unmap a page list.
const GPADL_WAIT_MS: u32 = 20_000;

/// Pages that the host may access.
///
/// # Invariants
///
/// From the moment the first message of the list is posted until the host confirms the teardown,
/// `pages` isn't freed: either this value holds it, or it was marked as leaked.
pub struct Gpadl {
    core: Arc<ChannelCore>,
    id: u32,
    pages: Arc<PageList>,
    /// False once the teardown has been dealt with.
    live: bool,
}

/// How the sharing ended.
#[must_use = "leaked pages are still the host's"]
pub enum Teardown {
    /// The host let go.
    Reclaimed(Arc<PageList>),
    /// The host didn't say that it let go; the pages are lost.
    Leaked,
}

impl Gpadl {
    /// Shares pages with the host over a channel. Process context; waits at most
    /// [`GPADL_WAIT_MS`].
    ///
    /// # Errors
    ///
    /// `ENODEV` when the channel was rescinded, `ETIMEDOUT` when the host didn't answer, `EIO` when
    /// it refused, `EINVAL` for a list too long for one GPADL, and those of posting a message.
    /// After `ETIMEDOUT` and a half-posted list the pages are leaked.
    pub(crate) fn create(core: &Arc<ChannelCore>, pages: Arc<PageList>) -> Result<Self> {
        let connection = &core.connection;
        let relid = core.offer.relid;
        let id = connection.new_gpadl_id();
        let bytes = u32::try_from(pages.size())?;
        let request = connection
            .control
            .expect(Key::GpadlCreated { relid, gpadl: id })?;
        // Asked after the answer is expected: a rescind from here on ends the wait.
        if core.is_rescinded() {
            return Err(ENODEV);
        }
        // INVARIANT: Nothing has been posted yet.
        let mut shared = Self {
            core: core.clone(),
            id,
            pages: pages.clone(),
            live: false,
        };
        let messages =
            gpadl::single_range(relid, id, 0, bytes, pages.pfns()).map_err(|_| EINVAL)?;
        for message in messages {
            match message
                .map_err(|_| EINVAL)
                .and_then(|message| connection.post(&message))
            {
                Ok(()) => {}
                // The host knows nothing of the list yet.
                Err(error) if !shared.live => return Err(error),
                Err(error) => {
                    shared.give_up("was shared in part only");
                    return Err(error);
                }
            }
            shared.live = true;
        }
        match request.wait(GPADL_WAIT_MS) {
            Outcome::Answered(Answer::Status(Status::SUCCESS)) => Ok(shared),
            Outcome::Answered(answer) => {
                // A refused list isn't mapped.
                shared.live = false;
                kernel_ext::log_warn!(
                    "channel {relid}: the host refused page list {id:#x}: {answer:?}\n"
                );
                Err(EIO)
            }
            Outcome::Rescinded => {
                shared.live = false;
                Err(ENODEV)
            }
            Outcome::TimedOut => {
                shared.give_up("was never confirmed");
                Err(ETIMEDOUT)
            }
        }
    }

    /// The id the host knows the list by.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The pages.
    pub fn pages(&self) -> &Arc<PageList> {
        &self.pages
    }

    /// Gives the pages up: for a host that can't even be told to stop using them.
    pub(crate) fn abandon(mut self) {
        self.give_up("can't be torn down");
    }

    /// Takes the pages back. Process context; waits at most [`GPADL_WAIT_MS`].
    pub fn teardown(mut self) -> Teardown {
        if self.take_back() {
            Teardown::Reclaimed(self.pages.clone())
        } else {
            Teardown::Leaked
        }
    }

    /// Asks the host to let go; true when it has. Leaks the pages otherwise.
    fn take_back(&mut self) -> bool {
        if !self.live {
            return !self.pages.is_leaked();
        }
        self.live = false;
        let core = self.core.clone();
        let connection = &core.connection;
        let relid = self.core.offer.relid;
        let key = Key::GpadlTorndown {
            relid: Some(relid),
            gpadl: self.id,
        };
        let Ok(request) = connection.control.expect(key) else {
            self.give_up("can't be torn down");
            return false;
        };
        // A host that withdraws a channel has dropped its page lists: what the C driver relies on.
        if self.core.is_rescinded() {
            return true;
        }
        if connection
            .post(&guest::gpadl_teardown(relid, self.id))
            .is_err()
        {
            self.give_up("can't be torn down");
            return false;
        }
        match request.wait(GPADL_WAIT_MS) {
            Outcome::Answered(_) | Outcome::Rescinded => true,
            Outcome::TimedOut => {
                self.give_up("was never given back");
                false
            }
        }
    }

    /// Leaks the pages, counts it, says so.
    fn give_up(&mut self, why: &str) {
        self.live = false;
        self.pages.leak();
        self.core.connection.stats.gpadls_leaked.inc();
        kernel_ext::log_warn!(
            "channel {}: page list {:#x} {}, {} pages stay with the host\n",
            self.core.offer.relid,
            self.id,
            why,
            self.pages.count()
        );
    }
}

impl Drop for Gpadl {
    fn drop(&mut self) {
        self.take_back();
    }
}
