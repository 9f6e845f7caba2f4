// SPDX-License-Identifier: GPL-2.0

//! CPUs: which there are, running something on them, per-CPU data, and hot-plug callbacks.
//!
//! C headers: [`include/linux/cpuhotplug.h`](srctree/include/linux/cpuhotplug.h),
//! [`include/linux/smp.h`](srctree/include/linux/smp.h).

use core::mem::MaybeUninit;

use kernel::{
    cpu::CpuId,
    ffi,
    prelude::*,
    types::NotThreadSafe, //
};

mod percpu;
mod registration;

pub use self::{
    percpu::PerCpu,
    registration::Registration, //
};

/// One more than the highest CPU number that this machine can have.
#[inline]
pub fn nr_cpu_ids() -> u32 {
    kernel::cpu::nr_cpu_ids()
}

/// The CPU that runs this. Stale as soon as it's known, unless preemption is off.
#[inline]
pub fn current_cpu() -> u32 {
    CpuId::current().as_u32()
}

/// The NUMA node of a CPU, or -1 if there is no such CPU or its node isn't known.
pub fn node_of(cpu: u32) -> i32 {
    if cpu >= nr_cpu_ids() {
        return hv_bindings::NUMA_NO_NODE;
    }
    // SAFETY: `cpu` is below `nr_cpu_ids`.
    unsafe { hv_bindings::cpu_to_node(cpu) }
}

/// Whether a CPU is on-line. Stays so only while a [`CpusRead`] is held, or on that CPU.
pub fn is_online(cpu: u32) -> bool {
    // SAFETY: `cpu` is checked to be below `nr_cpu_ids`.
    cpu < nr_cpu_ids() && unsafe { hv_bindings::cpu_online(cpu) }
}

/// The on-line CPUs in ascending order. They stay so only while a [`CpusRead`] is held.
pub fn online() -> impl Iterator<Item = u32> {
    // SAFETY: Any start is fine; only `nr_cpu_ids` or more means "no more".
    scan(|from| unsafe { hv_bindings::next_online_cpu(from) })
}

/// The CPUs that can ever be on-line, in ascending order.
pub fn possible() -> impl Iterator<Item = u32> {
    // SAFETY: As in `online`.
    scan(|from| unsafe { hv_bindings::next_possible_cpu(from) })
}

fn scan(next: impl Fn(u32) -> u32) -> impl Iterator<Item = u32> {
    let mut from = 0;
    core::iter::from_fn(move || {
        if from >= nr_cpu_ids() {
            return None;
        }
        let cpu = next(from);
        from = cpu.saturating_add(1);
        (cpu < nr_cpu_ids()).then_some(cpu)
    })
}

/// Preemption is off while this lives: the thread stays on its CPU and mustn't sleep.
///
/// # Invariants
///
/// Preemption is off on the current thread.
pub struct PreemptOff(NotThreadSafe);

impl PreemptOff {
    /// Turns preemption off; nests.
    #[inline]
    pub fn new() -> Self {
        // SAFETY: May be called in any context; `drop` undoes it on the same thread.
        unsafe { hv_bindings::preempt_disable() };
        // INVARIANT: It was just turned off.
        Self(NotThreadSafe)
    }

    /// The CPU that runs this, for as long as this lives.
    #[inline]
    pub fn cpu(&self) -> u32 {
        current_cpu()
    }
}

impl Default for PreemptOff {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for PreemptOff {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: Pairs with `new`, on the same thread since the type isn't `Send`.
        unsafe { hv_bindings::preempt_enable() };
    }
}

/// No CPU comes or goes while this lives.
///
/// # Invariants
///
/// The current thread holds the CPU hot-plug lock for reading.
pub struct CpusRead(NotThreadSafe);

impl CpusRead {
    /// Takes the CPU hot-plug lock for reading. May sleep. Not to be taken twice by one thread, nor
    /// in a hot-plug callback, where it's held already.
    pub fn lock() -> Self {
        // SAFETY: Process context as documented; `drop` releases it.
        unsafe { hv_bindings::cpus_read_lock() };
        // INVARIANT: It was just taken.
        Self(NotThreadSafe)
    }

    /// Runs `f` in process context on an on-line CPU, in a kernel worker that stays there, and
    /// waits for it. `f` may sleep.
    ///
    /// # Errors
    ///
    /// `ENXIO` if the CPU isn't on-line, `ENOMEM` if there is no memory; `f` wasn't run.
    pub fn on_cpu<R: Send>(&self, cpu: u32, f: impl FnOnce() -> R + Send) -> Result<R> {
        let mut call = Call::new(f);
        // SAFETY: The function runs once, with the pointer to a live call, and has returned when
        // this returns. The hot-plug lock is held by the type invariant, so that the worker can't
        // lose its CPU.
        let status = unsafe {
            hv_bindings::smp_call_on_cpu(cpu, Some(call.in_worker()), call.as_ptr(), false)
        };
        kernel::error::to_result(status)?;
        call.result().ok_or(ENXIO)
    }
}

impl Drop for CpusRead {
    fn drop(&mut self) {
        // SAFETY: By the type invariant this thread holds it.
        unsafe { hv_bindings::cpus_read_unlock() };
    }
}

/// A closure on its way to another CPU and its result on the way back.
struct Call<F, R> {
    f: Option<F>,
    result: MaybeUninit<R>,
    done: bool,
}

impl<R: Send, F: FnOnce() -> R + Send> Call<F, R> {
    fn new(f: F) -> Self {
        Self {
            f: Some(f),
            result: MaybeUninit::uninit(),
            done: false,
        }
    }

    fn as_ptr(&mut self) -> *mut ffi::c_void {
        (&raw mut *self).cast()
    }

    fn run(&mut self) {
        if let Some(f) = self.f.take() {
            self.result.write(f());
            self.done = true;
        }
    }

    fn result(self) -> Option<R> {
        // SAFETY: `done` is set only after `result` was written.
        self.done.then(|| unsafe { self.result.assume_init() })
    }

    /// For `smp_call_on_cpu`.
    fn in_worker(&self) -> unsafe extern "C" fn(*mut ffi::c_void) -> ffi::c_int {
        /// # Safety
        ///
        /// `call` must come from `as_ptr` of a live call, which nobody else touches meanwhile.
        unsafe extern "C" fn run<R: Send, F: FnOnce() -> R + Send>(
            call: *mut ffi::c_void,
        ) -> ffi::c_int {
            // SAFETY: The caller's promise.
            unsafe { &mut *call.cast::<Call<F, R>>() }.run();
            0
        }
        run::<R, F>
    }

    /// For `smp_call_function_single`.
    fn in_interrupt(&self) -> unsafe extern "C" fn(*mut ffi::c_void) {
        /// # Safety
        ///
        /// `call` must come from `as_ptr` of a live call, which nobody else touches meanwhile.
        unsafe extern "C" fn run<R: Send, F: FnOnce() -> R + Send>(call: *mut ffi::c_void) {
            // SAFETY: The caller's promise.
            unsafe { &mut *call.cast::<Call<F, R>>() }.run();
        }
        run::<R, F>
    }
}

/// Runs `f` in process context on an on-line CPU and waits for it; see [`CpusRead::on_cpu`]. Takes
/// the CPU hot-plug lock.
///
/// # Errors
///
/// `ENXIO` if the CPU isn't on-line, `ENOMEM` if there is no memory; `f` wasn't run.
pub fn on_cpu<R: Send>(cpu: u32, f: impl FnOnce() -> R + Send) -> Result<R> {
    CpusRead::lock().on_cpu(cpu, f)
}

/// Runs `f` with interrupts off on an on-line CPU, interrupting what runs there, and waits for it.
/// `f` mustn't sleep; nor is this to be called with interrupts off.
///
/// # Errors
///
/// `ENXIO` if the CPU isn't on-line; `f` wasn't run.
pub fn interrupt_cpu<R: Send>(cpu: u32, f: impl FnOnce() -> R + Send) -> Result<R> {
    let mut call = Call::new(f);
    // The C side takes a signed number.
    let number = i32::try_from(cpu)?;
    if cpu >= nr_cpu_ids() {
        return Err(ENXIO);
    }
    // SAFETY: The function runs once, with the pointer to a live call, and has returned when this
    // returns, since it is told to wait.
    let status =
        unsafe { hv_bindings::smp_call_and_wait(number, Some(call.in_interrupt()), call.as_ptr()) };
    kernel::error::to_result(status)?;
    call.result().ok_or(ENXIO)
}

/// Runs `f` with interrupts off on every on-line CPU at the same time, with the CPU's number, and
/// waits for all. `f` mustn't sleep; nor is this to be called with interrupts off.
pub fn on_each_cpu<F: Fn(u32) + Sync>(f: F) {
    /// # Safety
    ///
    /// `f` must point to a live closure that nobody changes meanwhile.
    unsafe extern "C" fn run<F: Fn(u32) + Sync>(f: *mut ffi::c_void) {
        // SAFETY: The caller's promise.
        let f = unsafe { &*f.cast_const().cast::<F>() };
        f(current_cpu());
    }
    // SAFETY: The function gets a pointer to the live closure and has returned on all CPUs when
    // this returns.
    unsafe { hv_bindings::on_each_cpu(Some(run::<F>), (&raw const f).cast_mut().cast()) };
}
