// SPDX-License-Identifier: GPL-2.0

//! Telling the host every second how much memory the guest needs.

use balloon_wire::{guest::IntoBytes, policy};
use kernel::{impl_has_delayed_work, prelude::*, sync::Arc, workqueue::WorkItem};
use kernel_ext::mm;

use crate::device::Shared;

/// Milliseconds between reports; hosts expect a second.
const PERIOD_MS: u32 = 1000;

/// Starts the reports, the first of them in `seconds` and one period.
pub(crate) fn start(shared: &Arc<Shared>, seconds: u32) {
    if shared.session.lock().wants_reports() {
        queue(
            shared,
            seconds.saturating_mul(1000).saturating_add(PERIOD_MS),
        );
    } else {
        pr_info!("the host wants no pressure reports\n");
    }
}

fn queue(shared: &Arc<Shared>, ms: u32) {
    // Fails only if it is queued already, or being cancelled.
    let _ = shared
        .queue
        .enqueue_delayed_ms::<_, { Shared::REPORT }>(shared.clone(), ms);
}

impl_has_delayed_work! {
    impl HasDelayedWork<Self, { Shared::REPORT }> for Shared { self.report }
}

impl WorkItem<{ Shared::REPORT }> for Shared {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        this.report_once();
        queue(&this, PERIOD_MS);
    }
}

impl Shared {
    fn report_once(&self) {
        let ballooned = self.pages.lock().count();
        // Memory that was added but isn't in use can't be taken back, so it counts as needed.
        let unused = self.added.pages().saturating_sub(self.added.online());
        let committed = policy::committed(
            mm::committed_pages().saturating_add(unused),
            ballooned,
            mm::total_pages(),
        );
        let report = self
            .session
            .lock()
            .status_report(mm::available_pages(), committed);
        let Some(report) = report else {
            return;
        };
        // When the ring is full, the next report will do.
        if self.send(report.as_bytes()).is_ok() {
            self.stats.pressure_reports.inc();
        }
    }
}
