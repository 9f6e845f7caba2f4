// SPDX-License-Identifier: GPL-2.0

//! Adding memory that the host offers.
//!
//! The kernel adds memory in units (128 MiB, more on large machines), which the capabilities report
//! tells the host. Only ranges that start with a unit are added, up to their last whole unit: a unit
//! that is backed in part would need a say in which of its pages get into use, for which the kernel
//! has a single hook for everybody.

use balloon_wire::{
    guest::{HotAddResult, IntoBytes},
    message::HotAddRequest,
    PageRange,
};
use kernel::{
    impl_has_work, new_mutex,
    prelude::*,
    sync::{Arc, Mutex},
    workqueue::WorkItem,
};
use kernel_ext::{
    mm,
    notifier::{Memory, MemoryEvent, MemoryNotifier},
};

use crate::device::Shared;

/// The memory that was added.
#[pin_data]
pub(crate) struct Added {
    #[pin]
    books: Mutex<Books>,
}

struct Books {
    ranges: KVec<PageRange>,
    pages: u64,
    online: u64,
}

impl Added {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            books <- new_mutex!(
                Books {
                    ranges: KVec::new(),
                    pages: 0,
                    online: 0,
                },
                "vmbus_balloon_added"
            ),
        })
    }

    /// Pages that were added.
    pub(crate) fn pages(&self) -> u64 {
        self.books.lock().pages
    }

    /// How many of them are in use.
    pub(crate) fn online(&self) -> u64 {
        self.books.lock().online
    }

    /// Adds a range unit by unit; how many pages, and what went wrong then.
    fn add(&self, range: PageRange, unit: u32) -> (u32, Result) {
        let mut done: u32 = 0;
        while done < range.count() {
            let start = range.start().saturating_add(done.into());
            let Some(one) = PageRange::new(start, unit) else {
                return (done, Err(EINVAL));
            };
            if let Err(error) = self.add_unit(one) {
                return (done, Err(error));
            }
            done = done.saturating_add(unit);
        }
        (done, Ok(()))
    }

    fn add_unit(&self, unit: PageRange) -> Result {
        // First the books: the kernel tells of its use before it returns. Not under the lock, which
        // the notifier takes.
        self.books.lock().ranges.push(unit, GFP_KERNEL)?;
        let result = mm::hot_add(unit.start(), unit.count().into());
        let mut books = self.books.lock();
        match result {
            Ok(()) => books.pages = books.pages.saturating_add(unit.count().into()),
            Err(_) => books.ranges.retain(|known| *known != unit),
        }
        result
    }
}

/// Follows which of the added memory is in use.
pub(crate) struct Watch(Arc<Shared>);

impl Watch {
    /// Starts to.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn start(shared: Arc<Shared>) -> Result<MemoryNotifier<Self>> {
        MemoryNotifier::new(Self(shared), 0)
    }
}

impl Memory for Watch {
    fn memory(&self, event: MemoryEvent, first_pfn: u64, count: u64) {
        let mut books = self.0.added.books.lock();
        let Some(changed) = u32::try_from(count)
            .ok()
            .and_then(|count| PageRange::new(first_pfn, count))
        else {
            return;
        };
        let ours = books
            .ranges
            .iter()
            .filter_map(|range| range.overlap(changed))
            .fold(0u64, |sum, part| sum.saturating_add(part.count().into()));
        match event {
            MemoryEvent::Online => books.online = books.online.saturating_add(ours),
            MemoryEvent::Offline => books.online = books.online.saturating_sub(ours),
            MemoryEvent::CancelOnline => {}
        }
    }
}

impl_has_work! {
    impl HasWork<Self, { Shared::HOT_ADD }> for Shared { self.hot_add }
}

impl WorkItem<{ Shared::HOT_ADD }> for Shared {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let Some(request) = this.hot_add_request.lock().take() else {
            return;
        };
        let result = this.serve_hot_add(request);
        let Some(answer) = this.session.lock().hot_added(result) else {
            return;
        };
        if this.send_patiently(answer.as_bytes()).is_err() {
            this.stats.errors.inc();
        }
    }
}

impl Shared {
    /// Serves an offer of memory, elsewhere: it takes a while.
    pub(crate) fn start_hot_add(self: &Arc<Self>, request: HotAddRequest) {
        self.stats.hot_add_requests.inc();
        *self.hot_add_request.lock() = Some(request);
        // One transaction at a time: it can't be queued.
        let _ = self.queue.enqueue::<_, { Shared::HOT_ADD }>(self.clone());
    }

    fn serve_hot_add(&self, request: HotAddRequest) -> HotAddResult {
        let unit = u32::try_from(mm::hot_add_unit()).unwrap_or(u32::MAX);
        let range = request.range;
        let whole = range
            .whole_units(unit)
            .filter(|whole| whole.start() == range.start());
        let Some(whole) = whole else {
            pr_warn!(
                "hot-add of {} pages from {:#x} refused: not made of units of {} pages\n",
                range.count(),
                range.start(),
                unit
            );
            return HotAddResult::Never;
        };
        let (added, result) = self.added.add(whole, unit);
        match (added, result) {
            (1.., _) => {
                pr_info!("{added} pages added\n");
                HotAddResult::Added(added)
            }
            // The kernel has something there, and will have it the next time.
            (0, Err(error)) if error == EEXIST => HotAddResult::Never,
            (0, _) => HotAddResult::TryLater,
        }
    }
}
