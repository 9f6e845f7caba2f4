// SPDX-License-Identifier: GPL-2.0

//! Words that several contexts use at a time: the kernel crate's `Atomic`, inlined.
//!
//! There each access, a plain load included, is a call of a C function in another page, some hundred for
//! each packet; here it is an instruction. Names, orderings and meaning are the same, so this file can go
//! when the kernel inlines its helpers into Rust.
//!
//! Built of the language's own atomics, which give no less than the kernel's memory model asks of the
//! operations here: loads that acquire and stores that release are the same instructions, and around a fully
//! ordered one there are barriers where the machine's locked instruction is none.
//!
//! C header: [`include/linux/atomic.h`](srctree/include/linux/atomic.h).

use core::{
    cell::UnsafeCell,
    sync::atomic::{
        fence,
        AtomicBool,
        AtomicI32,
        AtomicPtr,
        AtomicU32,
        AtomicU64,
        Ordering, //
    },
};

pub use kernel::sync::atomic::{
    Acquire,
    Full,
    Relaxed,
    Release, //
};

/// Orderings of a load.
pub trait LoadOrder {
    /// The language's word for it.
    const ORDER: Ordering;
}

/// Orderings of a store.
pub trait StoreOrder {
    /// The language's word for it.
    const ORDER: Ordering;
}

/// Orderings of an operation that reads and writes.
pub trait Order {
    /// The language's word for it.
    const ORDER: Ordering;
    /// What came before is seen before, what comes after after.
    const FULL: bool = false;
}

macro_rules! orders {
    ($trait:ident: $($order:ident),*) => {
        $(impl $trait for $order {
            const ORDER: Ordering = Ordering::$order;
        })*
    };
}

orders!(LoadOrder: Relaxed, Acquire);
orders!(StoreOrder: Relaxed, Release);
orders!(Order: Relaxed, Acquire, Release);

impl Order for Full {
    const ORDER: Ordering = Ordering::SeqCst;
    const FULL: bool = true;
}

/// Types of a word.
///
/// # Safety
///
/// `Cell` has the size and the alignment of the type, and every value of the type is one of it.
pub unsafe trait Word: Copy {
    /// The language's atomic of that type.
    type Cell: Cell<Self>;
}

/// What the language's atomics have in common, and no trait for.
pub trait Cell<T> {
    /// Reads it.
    fn load(&self, order: Ordering) -> T;
    /// Writes it.
    fn store(&self, value: T, order: Ordering);
    /// Writes it; what was there.
    fn swap(&self, value: T, order: Ordering) -> T;
    /// Writes `new` if `old` is there; what was there.
    fn replace(&self, old: T, new: T, order: Ordering) -> Result<T, T>;
}

macro_rules! word {
    ($type:ty, $cell:ty $(, $of:ident)?) => {
        // SAFETY: The language promises it.
        unsafe impl$(<$of>)? Word for $type {
            type Cell = $cell;
        }

        impl$(<$of>)? Cell<$type> for $cell {
            #[inline(always)]
            fn load(&self, order: Ordering) -> $type {
                <$cell>::load(self, order)
            }

            #[inline(always)]
            fn store(&self, value: $type, order: Ordering) {
                <$cell>::store(self, value, order)
            }

            #[inline(always)]
            fn swap(&self, value: $type, order: Ordering) -> $type {
                <$cell>::swap(self, value, order)
            }

            #[inline(always)]
            fn replace(&self, old: $type, new: $type, order: Ordering) -> Result<$type, $type> {
                // Who fails has learnt nothing that he could rely on.
                self.compare_exchange(old, new, order, Ordering::Relaxed)
            }
        }
    };
}

word!(u32, AtomicU32);
word!(u64, AtomicU64);
word!(i32, AtomicI32);
word!(bool, AtomicBool);
word!(*mut T, AtomicPtr<T>, T);

/// A word.
///
/// # Invariants
///
/// Accessed as an atomic only.
#[repr(transparent)]
pub struct Atomic<T: Word>(UnsafeCell<T>);

// SAFETY: By the type invariant; a value may be made on one thread and used on another.
unsafe impl<T: Word> Send for Atomic<T> {}
// SAFETY: As above.
unsafe impl<T: Word> Sync for Atomic<T> {}

impl<T: Word> Atomic<T> {
    /// A word with that value.
    #[inline(always)]
    pub const fn new(value: T) -> Self {
        // INVARIANT: Nobody has it yet.
        Self(UnsafeCell::new(value))
    }

    /// The word at an address.
    ///
    /// # Safety
    ///
    /// For `'a`, `word` is aligned and valid for reads and writes, and the kernel accesses it as an atomic
    /// only.
    #[inline(always)]
    pub unsafe fn from_ptr<'a>(word: *mut T) -> &'a Self {
        // SAFETY: The caller's promise; the type is a transparent wrapper.
        unsafe { &*word.cast() }
    }

    #[inline(always)]
    fn cell(&self) -> &T::Cell {
        // SAFETY: By `Word` both have one layout; by the type invariant all accesses are atomic.
        unsafe { &*self.0.get().cast() }
    }

    /// Reads it.
    #[inline(always)]
    pub fn load<O: LoadOrder>(&self, _: O) -> T {
        self.cell().load(O::ORDER)
    }

    /// Writes it.
    #[inline(always)]
    pub fn store<O: StoreOrder>(&self, value: T, _: O) {
        self.cell().store(value, O::ORDER)
    }

    /// Writes it; what was there.
    #[inline(always)]
    pub fn xchg<O: Order>(&self, value: T, _: O) -> T {
        ordered::<O, T>(|| self.cell().swap(value, O::ORDER))
    }

    /// Writes `new` if `old` is there; what was there. Without an order if it wasn't.
    ///
    /// # Errors
    ///
    /// What was there and isn't `old`.
    #[inline(always)]
    pub fn cmpxchg<O: Order>(&self, old: T, new: T, _: O) -> Result<T, T> {
        ordered::<O, _>(|| self.cell().replace(old, new, O::ORDER))
    }
}

impl<T: Word + Default> Default for Atomic<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

/// Puts barriers around an operation that asks for them, where it isn't one by itself.
#[inline(always)]
fn ordered<O: Order, T>(operation: impl FnOnce() -> T) -> T {
    // Locked instructions of x86 order everything.
    let barriers = O::FULL && !cfg!(target_arch = "x86_64");
    if barriers {
        fence(Ordering::SeqCst);
    }
    let result = operation();
    if barriers {
        fence(Ordering::SeqCst);
    }
    result
}

macro_rules! number {
    ($type:ty) => {
        impl Atomic<$type> {
            /// Adds to it. Wraps around.
            #[inline(always)]
            pub fn add<O: Order>(&self, value: $type, order: O) {
                self.fetch_add(value, order);
            }

            /// Adds to it; what was there. Wraps around.
            #[inline(always)]
            pub fn fetch_add<O: Order>(&self, value: $type, _: O) -> $type {
                ordered::<O, _>(|| self.cell().fetch_add(value, O::ORDER))
            }

            /// Takes from it; what was there. Wraps around.
            #[inline(always)]
            pub fn fetch_sub<O: Order>(&self, value: $type, _: O) -> $type {
                ordered::<O, _>(|| self.cell().fetch_sub(value, O::ORDER))
            }
        }
    };
}

number!(u32);
number!(u64);
number!(i32);
