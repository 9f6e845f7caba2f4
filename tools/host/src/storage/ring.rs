// SPDX-License-Identifier: GPL-2.0 OR MIT
//! io_uring: calls to the system that this thread doesn't wait for.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{fence, Ordering};
use std::time::Duration;

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{opcode, squeue, IoUring};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::backend::PUNCH;
use super::work::Step;

/// Calls that are collected before they are handed over.
const SUBMISSIONS: u32 = 256;
/// Answers that the system keeps for us; twice as many calls as are ever under way.
pub(super) const COMPLETIONS: u32 = 2048;

/// A ring and the file that tells of its answers.
pub(super) struct Ring {
    uring: IoUring,
    answered: EventFd,
    /// Calls that were pushed and not yet answered.
    under_way: usize,
}

impl Ring {
    /// Sets a ring up.
    ///
    /// # Errors
    ///
    /// When the system has no io_uring, or none for us.
    pub(super) fn new() -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder
            .setup_cqsize(COMPLETIONS)
            .setup_single_issuer()
            .setup_coop_taskrun();
        let uring = builder.build(SUBMISSIONS).or_else(|_| {
            // Before Linux 6.0.
            IoUring::builder()
                .setup_cqsize(COMPLETIONS)
                .build(SUBMISSIONS)
        })?;
        let answered = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        uring.submitter().register_eventfd(answered.as_raw_fd())?;
        let mut ring = Self {
            uring,
            answered,
            under_way: 0,
        };
        ring.disarm();
        Ok(ring)
    }

    /// Readable when there are answers and [`Self::arm`] was called.
    pub(super) fn event(&self) -> BorrowedFd<'_> {
        self.answered.as_fd()
    }

    /// Calls that were pushed and not yet answered.
    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    /// Adds a call, which is made by the next [`Self::submit`] or when there is no room for more.
    ///
    /// # Errors
    ///
    /// When the system takes no more.
    ///
    /// # Safety
    ///
    /// Until the call has been answered by [`Self::answers`], the step's pieces and the memory
    /// they name stay where they are, and `fd` stays open.
    pub(super) unsafe fn push(&mut self, fd: RawFd, step: &Step<'_>, token: u64) -> io::Result<()> {
        let fd = Fd(fd);
        let entry = match *step {
            Step::Read {
                pieces: [piece],
                offset,
            } => opcode::Read::new(fd, piece.0.iov_base.cast(), length(piece.0.iov_len))
                .offset(offset)
                .build(),
            Step::Read { pieces, offset } => {
                opcode::Readv::new(fd, pieces.as_ptr().cast(), pieces.len() as u32)
                    .offset(offset)
                    .build()
            }
            Step::Write {
                pieces: [piece],
                offset,
                durable,
            } => opcode::Write::new(fd, piece.0.iov_base.cast(), length(piece.0.iov_len))
                .offset(offset)
                .rw_flags(flags(durable))
                .build(),
            Step::Write {
                pieces,
                offset,
                durable,
            } => opcode::Writev::new(fd, pieces.as_ptr().cast(), pieces.len() as u32)
                .offset(offset)
                .rw_flags(flags(durable))
                .build(),
            Step::Flush => opcode::Fsync::new(fd)
                .flags(io_uring::types::FsyncFlags::DATASYNC)
                .build(),
            Step::Punch { offset, bytes } => opcode::Fallocate::new(fd, bytes)
                .offset(offset)
                .mode(PUNCH.bits())
                .build(),
        };
        let entry: squeue::Entry = entry.user_data(token);
        // SAFETY: by this function's own contract.
        if unsafe { self.uring.submission().push(&entry) }.is_err() {
            self.submit()?;
            // SAFETY: by this function's own contract.
            unsafe { self.uring.submission().push(&entry) }
                .map_err(|_| io::Error::from(io::ErrorKind::WouldBlock))?;
        }
        self.under_way += 1;
        Ok(())
    }

    /// Hands everything pushed over to the system, with one call to it. True if there was
    /// something.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub(super) fn submit(&mut self) -> io::Result<bool> {
        if self.uring.submission().is_empty() {
            return Ok(false);
        }
        // Every turn hands over at least one call, or ends.
        loop {
            match self.uring.submit() {
                Ok(0) => return Ok(true),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // The system's own limits: some calls must be answered first.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EAGAIN)) => {
                    return Ok(true)
                }
                Err(error) => return Err(error),
            }
            if self.uring.submission().is_empty() {
                return Ok(true);
            }
        }
    }

    /// Calls were pushed that the system didn't take yet.
    pub(super) fn is_behind(&mut self) -> bool {
        !self.uring.submission().is_empty()
    }

    /// Appends the tokens of answered calls and their answers.
    pub(super) fn answers(&mut self, out: &mut Vec<(u64, i32)>) {
        for entry in self.uring.completion() {
            self.under_way = self.under_way.saturating_sub(1);
            out.push((entry.user_data(), entry.result()));
        }
    }

    /// Has answers tell from now on. True if there are some already, of which it doesn't.
    pub(super) fn arm(&mut self) -> bool {
        let completion = self.uring.completion();
        completion.enable_eventfd();
        // The system writes an answer first and looks at the flag then; we the other way round.
        fence(Ordering::SeqCst);
        drop(completion);
        !self.uring.completion().is_empty()
    }

    /// Has answers no longer tell: they are looked for anyway.
    pub(super) fn disarm(&mut self) {
        self.uring.completion().disable_eventfd();
    }

    /// Forgets what was told.
    pub(super) fn calm(&self) {
        // Nothing to forget is as good.
        let _ = self.answered.read();
    }

    /// Waits for an answer, but not for ever.
    pub(super) fn wait(&mut self, limit: Duration) {
        let limit = Timespec::new()
            .sec(limit.as_secs())
            .nsec(limit.subsec_nanos());
        let arguments = SubmitArgs::new().timespec(&limit);
        // Whether there is an answer shows when it is looked for.
        if self
            .uring
            .submitter()
            .submit_with_args(1, &arguments)
            .is_err()
        {
            // Either the time is over or the kernel has no such argument (before 5.11).
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn flags(durable: bool) -> i32 {
    if durable {
        libc::RWF_DSYNC
    } else {
        0
    }
}

/// A piece lies in a request's data, whose length has 32 bits.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
