// SPDX-License-Identifier: GPL-2.0

//! Giving pages to the host, and taking them back.

use balloon_wire::{
    guest::{balloon_ranges, BalloonResponse, IntoBytes, UnballoonResponse},
    policy::{self, Portions},
    range::Ranges,
    PageRange, MAX_MESSAGE_BYTES,
};
use kernel::{impl_has_work, prelude::*, sync::Arc, workqueue::WorkItem};
use kernel_ext::{atomic::Relaxed, mm, pr_warn_ratelimited};
use vmbus::Channel;

use crate::device::Shared;

impl_has_work! {
    impl HasWork<Self, { Shared::INFLATE }> for Shared { self.inflate }
}

impl WorkItem<{ Shared::INFLATE }> for Shared {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        this.give();
    }
}

impl Shared {
    /// Serves a request for pages, elsewhere: it takes a while, and reports and other messages go
    /// on meanwhile.
    pub(crate) fn start_giving(self: &Arc<Self>, pages: u32) {
        self.stats.up_requests.inc();
        self.wanted.store(pages, Relaxed);
        // One transaction at a time: it can't be queued.
        let _ = self.queue.enqueue::<_, { Shared::INFLATE }>(self.clone());
    }

    fn give(&self) {
        let wanted = self.wanted.load(Relaxed);
        let mut left = policy::to_give(wanted, mm::available_pages(), mm::total_pages());
        if left < wanted {
            pr_info!(
                "the host wants {wanted} pages and gets up to {left}: more are not to spare\n"
            );
        }
        let mut buffer = KVec::new();
        if buffer.resize(MAX_MESSAGE_BYTES, 0, GFP_KERNEL).is_err() {
            // Enough for one range, which is as much as there can be.
            left = 0;
        }
        let mut small = [0; 32];
        let mut portions = Portions::new();
        loop {
            let bytes: &mut [u8] = if buffer.is_empty() {
                &mut small
            } else {
                &mut buffer
            };
            let Some(mut response) = BalloonResponse::new(bytes) else {
                return;
            };
            let exhausted = !self.fill(&mut response, &mut left, &mut portions);
            let more = left != 0 && !exhausted && !self.is_stopping();
            let Some(message) = self.session.lock().balloon_response(response, more) else {
                return;
            };
            if self.send_patiently(message).is_err() {
                self.stats.errors.inc();
                pr_warn_ratelimited!("the host can't be told of its pages; they are taken back\n");
                for range in balloon_ranges(message) {
                    self.take(range);
                }
                return;
            }
            if !more {
                return;
            }
        }
    }

    /// Allocates pages for one response. False when there are none any more.
    fn fill(
        &self,
        response: &mut BalloonResponse<'_>,
        left: &mut u32,
        portions: &mut Portions,
    ) -> bool {
        while !response.is_full() && !self.is_stopping() {
            let Some(order) = portions.next_order(*left) else {
                return true;
            };
            let Ok(block) = self.pages.lock().inflate(order) else {
                if portions.smaller() {
                    continue;
                }
                return false;
            };
            let range = u32::try_from(block.count)
                .ok()
                .and_then(|count| PageRange::new(block.first_pfn, count));
            match range {
                Some(range) if response.push(range) => *left = left.saturating_sub(range.count()),
                // No number on the wire for it: memory above 4 PiB.
                _ => {
                    self.pages.lock().deflate(block);
                    return false;
                }
            }
        }
        true
    }

    /// Takes pages back that the host returns, each only if the host has it, and answers.
    pub(crate) fn take_back(
        &self,
        channel: &Channel,
        ranges: Ranges<'_>,
        answer: Option<UnballoonResponse>,
    ) {
        self.stats.down_requests.inc();
        for range in ranges {
            match range {
                Ok(range) => {
                    let had = self.take(range);
                    if had != u64::from(range.count()) {
                        self.stats.errors.inc();
                        channel.bad_packet(format_args!(
                            "the host returns {range}, of which it has only {had}"
                        ));
                    }
                }
                Err(wire) => {
                    self.stats.errors.inc();
                    channel.bad_packet(format_args!("impossible range of pages {wire:#x}"));
                }
            }
        }
        if let Some(answer) = answer {
            if self.send_patiently(answer.as_bytes()).is_err() {
                self.stats.errors.inc();
            }
        }
    }

    /// Gives the guest those pages of a range that the host has; how many they are.
    fn take(&self, range: PageRange) -> u64 {
        self.pages.lock().deflate(mm::Block {
            first_pfn: range.start(),
            count: range.count().into(),
        })
    }
}
