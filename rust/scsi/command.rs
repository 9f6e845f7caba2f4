// SPDX-License-Identifier: GPL-2.0

//! Commands.

use core::{
    ffi::c_void,
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref,
    ptr::NonNull, //
};

use kernel::types::Opaque;

use super::{
    data::Pages,
    Address,
    HostByte,
    HostDriver, //
};
use kernel_ext::slot::Pointer;

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the device.
    Out,
    /// From the device.
    In,
    /// There is none.
    None,
}

/// The block layer's number of a command: unique in its queue while the command is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Hardware queue, below [`Limits::queues`](super::Limits::queues).
    pub queue: u16,
    /// Number in the queue, below [`Limits::queue_depth`](super::Limits::queue_depth).
    pub number: u16,
}

/// How a command ended.
#[derive(Clone, Copy, Debug)]
pub struct Outcome<'a> {
    /// On its way.
    pub host: HostByte,
    /// At the device (SAM status code).
    pub status: u8,
    /// Bytes that weren't transferred of those that were to be.
    pub residual: u32,
    /// Sense data of the device; what doesn't fit in the command's buffer is left out.
    pub sense: &'a [u8],
}

impl Outcome<'_> {
    /// It ended before it got to the device, nothing was transferred.
    pub const fn failed(host: HostByte) -> Self {
        Self {
            host,
            status: 0,
            residual: u32::MAX,
            sense: &[],
        }
    }
}

/// Why a command wasn't taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// The device has no room; others may.
    Device,
    /// The host has no room.
    Host,
}

/// A command that comes back to the mid-layer, which sends it again when another command of the
/// device or host has ended, or after a moment.
pub struct Rejected<T: HostDriver> {
    pub(super) command: Command<T>,
    pub(super) busy: Busy,
}

/// What a command says.
///
/// # Invariants
///
/// The `struct scsi_cmnd` is prepared and under way, so its fields of a request don't change, and
/// its device stays.
#[repr(transparent)]
pub struct Info<T: HostDriver>(Opaque<hv_bindings::scsi_cmnd>, PhantomData<T>);

impl<T: HostDriver> Info<T> {
    /// # Safety
    ///
    /// What the type invariant says holds for `cmd`, as long as the reference.
    pub(super) unsafe fn from_raw<'a>(cmd: *mut hv_bindings::scsi_cmnd) -> &'a Self {
        // SAFETY: The caller's promise; the type is a transparent wrapper.
        unsafe { &*cmd.cast() }
    }

    fn raw(&self) -> *mut hv_bindings::scsi_cmnd {
        self.0.get()
    }

    /// The command descriptor block.
    #[inline]
    pub fn cdb(&self) -> &[u8] {
        let cmd = self.raw();
        // SAFETY: By the type invariant the command's bytes don't change; `cmd_len` is at most the
        // length of the array, and cut to it.
        unsafe {
            let all = &(*cmd).cmnd;
            all.get(..usize::from((*cmd).cmd_len)).unwrap_or(all)
        }
    }

    /// The operation code: the first byte of the command descriptor block.
    #[inline]
    pub fn opcode(&self) -> u8 {
        self.cdb().first().copied().unwrap_or(0)
    }

    /// Which way data goes.
    #[inline]
    pub fn direction(&self) -> Direction {
        // SAFETY: By the type invariant.
        match unsafe { (*self.raw()).sc_data_direction } {
            hv_bindings::dma_data_direction::DMA_TO_DEVICE => Direction::Out,
            hv_bindings::dma_data_direction::DMA_FROM_DEVICE => Direction::In,
            _ => Direction::None,
        }
    }

    /// Bytes of data.
    #[inline]
    pub fn bytes(&self) -> u32 {
        // SAFETY: By the type invariant.
        unsafe { (*self.raw()).sdb.length }
    }

    /// The command's number.
    #[inline]
    pub fn tag(&self) -> Tag {
        // SAFETY: By the type invariant the command is part of a request.
        let tag = unsafe { hv_bindings::scsi_unique_tag(self.raw()) };
        Tag {
            queue: (tag >> 16) as u16,
            number: tag as u16,
        }
    }

    /// The device it is for.
    #[inline]
    pub fn address(&self) -> Address {
        // SAFETY: By the type invariant the device stays.
        unsafe { super::device::address((*self.raw()).device) }
    }

    /// Whether the device takes several commands at a time and may reorder them.
    #[inline]
    pub fn is_tagged(&self) -> bool {
        // SAFETY: By the type invariant the device stays; a bit that is set before commands come.
        unsafe { (*(*self.raw()).device).tagged_supported() != 0 }
    }

    /// What the driver keeps for the device; `None` if [`HostDriver::init_device`] gave nothing.
    #[inline]
    pub fn device_data(&self) -> Option<&T::DeviceData> {
        // SAFETY: By the type invariant the device stays, and with it what `hostdata` holds: null or
        // a pointer from `Arc::into_raw` of the driver's type, see `callbacks`.
        unsafe {
            (*(*self.raw()).device)
                .hostdata
                .cast::<T::DeviceData>()
                .as_ref()
        }
    }

    /// Writes the outcome into the command.
    fn set_outcome(&self, outcome: &Outcome<'_>) {
        const ROOM: usize = hv_bindings::SCSI_SENSE_BUFFERSIZE as usize;
        let cmd = self.raw();
        let sense = outcome.sense.get(..ROOM).unwrap_or(outcome.sense);
        // SAFETY: Who owns the command may write these fields; the sense buffer has `ROOM` bytes and
        // doesn't overlap with ours.
        unsafe {
            (*cmd).result = i32::from(outcome.host as u8) << 16 | i32::from(outcome.status);
            (*cmd).resid_len = outcome.residual.min((*cmd).sdb.length);
            if !sense.is_empty() {
                core::ptr::copy_nonoverlapping(sense.as_ptr(), (*cmd).sense_buffer, sense.len());
            }
        }
    }
}

/// A command that the mid-layer has handed out and the hardware doesn't know yet.
///
/// # Invariants
///
/// `cmd` is a command that was passed to `queuecommand` and is this value's to complete or to give
/// back.
#[must_use = "dropping a command ends it with an error"]
pub struct Command<T: HostDriver> {
    cmd: NonNull<hv_bindings::scsi_cmnd>,
    _driver: PhantomData<T>,
}

// SAFETY: Commands may be completed on any thread and in any context.
unsafe impl<T: HostDriver> Send for Command<T> {}

impl<T: HostDriver> Command<T> {
    /// # Safety
    ///
    /// `cmd` was just passed to `queuecommand`.
    pub(super) unsafe fn from_raw(cmd: NonNull<hv_bindings::scsi_cmnd>) -> Self {
        // INVARIANT: The caller's promise.
        Self {
            cmd,
            _driver: PhantomData,
        }
    }

    /// Gives the command back to the mid-layer, for [`HostDriver::queue`] to return.
    pub fn reject(self, busy: Busy) -> Rejected<T> {
        Rejected {
            command: self,
            busy,
        }
    }

    /// Forgets the command without completing it: the mid-layer keeps it.
    pub(super) fn give_back(self) {
        let _ = ManuallyDrop::new(self);
    }

    /// Makes its data reachable for the device (`scsi_dma_map`).
    ///
    /// # Errors
    ///
    /// Gives the command back when there is no room for bounce buffers or mappings.
    #[inline]
    pub fn map(self) -> core::result::Result<Mapped<T>, Self> {
        // SAFETY: By the type invariant the command is ours, and it isn't mapped.
        let entries = unsafe { hv_bindings::scsi_dma_map(self.cmd.as_ptr()) };
        let Ok(entries) = u32::try_from(entries) else {
            return Err(self);
        };
        let command = ManuallyDrop::new(self);
        // SAFETY: The command is ours; the field is the driver's to use. It keeps the number of
        // mapped entries, which may be smaller than that of the list.
        unsafe { (*command.cmd.as_ptr()).host_scribble = entries as usize as *mut u8 };
        // INVARIANT: Just mapped.
        Ok(Mapped {
            cmd: command.cmd,
            _driver: PhantomData,
        })
    }

    /// Ends the command. Any context.
    pub fn complete(self, outcome: &Outcome<'_>) {
        let command = ManuallyDrop::new(self);
        command.set_outcome(outcome);
        // SAFETY: By the type invariant the command is ours to complete; it isn't used again.
        unsafe { hv_bindings::scsi_done(command.cmd.as_ptr()) };
    }
}

impl<T: HostDriver> Deref for Command<T> {
    type Target = Info<T>;

    #[inline]
    fn deref(&self) -> &Info<T> {
        // SAFETY: By the type invariant.
        unsafe { Info::from_raw(self.cmd.as_ptr()) }
    }
}

impl<T: HostDriver> Drop for Command<T> {
    fn drop(&mut self) {
        self.set_outcome(&Outcome::failed(HostByte::Error));
        // SAFETY: As in `complete`.
        unsafe { hv_bindings::scsi_done(self.cmd.as_ptr()) };
    }
}

/// A command whose data the device may reach.
///
/// # Invariants
///
/// As for [`Command`]; and `scsi_dma_map` has succeeded, with the number of entries in
/// `host_scribble`.
#[must_use = "dropping a command ends it with an error"]
pub struct Mapped<T: HostDriver> {
    cmd: NonNull<hv_bindings::scsi_cmnd>,
    _driver: PhantomData<T>,
}

// SAFETY: As for `Command`.
unsafe impl<T: HostDriver> Send for Mapped<T> {}

impl<T: HostDriver> Mapped<T> {
    /// The pages with its data; `None` if it has none.
    #[inline]
    pub fn pages(&self) -> Option<Pages<'_>> {
        let cmd = self.cmd.as_ptr();
        // SAFETY: By the type invariant the list is mapped and stays as long as the command does,
        // which `self` keeps.
        unsafe {
            let entries = (*cmd).host_scribble as usize as u32;
            let sgl = NonNull::new((*cmd).sdb.table.sgl)?;
            (entries != 0).then(|| Pages::new(sgl, entries, (*cmd).sdb.length))
        }
    }

    /// Takes its data from the device.
    #[inline]
    pub fn unmap(self) -> Command<T> {
        let this = ManuallyDrop::new(self);
        // SAFETY: By the type invariant it is mapped.
        unsafe { hv_bindings::scsi_dma_unmap(this.cmd.as_ptr()) };
        // INVARIANT: Not mapped any more.
        Command {
            cmd: this.cmd,
            _driver: PhantomData,
        }
    }

    /// Takes its data from the device and ends the command. Any context.
    #[inline]
    pub fn complete(self, outcome: &Outcome<'_>) {
        self.unmap().complete(outcome)
    }
}

impl<T: HostDriver> Deref for Mapped<T> {
    type Target = Info<T>;

    #[inline]
    fn deref(&self) -> &Info<T> {
        // SAFETY: By the type invariant.
        unsafe { Info::from_raw(self.cmd.as_ptr()) }
    }
}

impl<T: HostDriver> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is mapped.
        unsafe { hv_bindings::scsi_dma_unmap(self.cmd.as_ptr()) };
        // INVARIANT: Not mapped any more; dropped at once.
        drop(Command::<T> {
            cmd: self.cmd,
            _driver: PhantomData,
        });
    }
}

// SAFETY: The value is its pointer and a marker.
unsafe impl<T: HostDriver> Pointer for Mapped<T> {
    #[inline]
    fn into_raw(self) -> NonNull<c_void> {
        ManuallyDrop::new(self).cmd.cast()
    }

    #[inline]
    unsafe fn from_raw(raw: NonNull<c_void>) -> Self {
        // INVARIANT: That of the value that `raw` was made of.
        Self {
            cmd: raw.cast(),
            _driver: PhantomData,
        }
    }
}
