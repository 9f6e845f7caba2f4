// SPDX-License-Identifier: GPL-2.0

//! Bounded access to memory that somebody else may write at any time.

use core::marker::PhantomData;

use crate::atomic::{Atomic, Full};
use kernel::{fmt, prelude::*};

/// An access was refused because it doesn't fit into the memory, or isn't aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfBounds {
    /// Where the access would have started, in bytes.
    pub offset: usize,
    /// How long it would have been, in bytes.
    pub len: usize,
}

impl fmt::Display for OutOfBounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} bytes at offset {} are out of bounds",
            self.len, self.offset
        )
    }
}

impl From<OutOfBounds> for Error {
    fn from(_: OutOfBounds) -> Error {
        ERANGE
    }
}

/// Bytes up to which a copy is cheaper word by word than by a call of a function for it.
const SHORT: usize = 128;

#[inline(always)]
fn is_short(offset: usize, len: usize) -> bool {
    len <= SHORT && (offset | len) % 8 == 0
}

/// A range of memory that the host, or another CPU, may write at any time.
///
/// There is no way to get a plain reference into it: bytes are copied in or out, and single words
/// are reached as atomics.
///
/// # Invariants
///
/// For `'a`, `base` is valid for reads and writes of `len` bytes and aligned to 8 bytes, and no
/// plain reference to any part of the range exists.
#[derive(Clone, Copy)]
pub struct Window<'a> {
    base: *mut u8,
    len: usize,
    _owner: PhantomData<&'a ()>,
}

// SAFETY: All accesses are atomic or opaque copies, from whichever thread.
unsafe impl Send for Window<'_> {}
// SAFETY: As above.
unsafe impl Sync for Window<'_> {}

impl<'a> Window<'a> {
    /// Makes a window on `len` bytes at `base`.
    ///
    /// # Safety
    ///
    /// For `'a`, `base` must be valid for reads and writes of `len` bytes and aligned to 8 bytes,
    /// and no plain reference to any part of the range may exist.
    #[inline]
    pub(crate) unsafe fn new(base: *mut u8, len: usize) -> Self {
        // INVARIANT: The caller promises exactly this.
        Self {
            base,
            len,
            _owner: PhantomData,
        }
    }

    /// The size in bytes.
    #[inline]
    pub fn size(&self) -> usize {
        self.len
    }

    /// The address of `len` bytes at `offset`, if they are inside.
    #[inline]
    fn at(&self, offset: usize, len: usize) -> Result<*mut u8, OutOfBounds> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(self.base.wrapping_add(offset)),
            _ => Err(OutOfBounds { offset, len }),
        }
    }

    /// A part of the window; `offset` has to be a multiple of 8.
    ///
    /// # Errors
    ///
    /// [`OutOfBounds`] if the part doesn't fit or isn't aligned.
    #[inline]
    pub fn sub(&self, offset: usize, len: usize) -> Result<Window<'a>, OutOfBounds> {
        if offset % 8 != 0 {
            return Err(OutOfBounds { offset, len });
        }
        let base = self.at(offset, len)?;
        // SAFETY: The part is inside the range of the type invariant, and 8-byte aligned as the
        // range is.
        Ok(unsafe { Window::new(base, len) })
    }

    /// Copies bytes out. They may change while they are copied.
    ///
    /// # Errors
    ///
    /// [`OutOfBounds`] if they aren't all inside; nothing is copied then.
    #[inline]
    pub fn read(&self, offset: usize, to: &mut [u8]) -> Result<(), OutOfBounds> {
        let from = self.at(offset, to.len())?;
        if is_short(offset, to.len()) {
            for (word, to) in to.chunks_exact_mut(8).enumerate() {
                // SAFETY: `from` is valid for `to.len()` bytes by the type invariant, so for this word, and
                // aligned as `offset` is. Volatile, so the compiler reads it once.
                let bytes = unsafe { from.cast::<u64>().add(word).read_volatile() }.to_ne_bytes();
                to.copy_from_slice(&bytes);
            }
            return Ok(());
        }
        // SAFETY: `from` is valid for `to.len()` bytes by the type invariant; `to` is a private
        // slice and can't overlap with memory that no reference points to.
        unsafe { hv_bindings::copy_shared(to.as_mut_ptr().cast(), from.cast(), to.len()) };
        Ok(())
    }

    /// Has C code copy into or out of `len` bytes at `offset`: `with` gets their address, which is valid
    /// for the call. They may change meanwhile, so no reference may be made of it.
    ///
    /// # Errors
    ///
    /// [`OutOfBounds`] if they aren't all inside; `with` isn't called then.
    #[inline]
    pub fn raw(
        &self,
        offset: usize,
        len: usize,
        with: impl FnOnce(*mut u8),
    ) -> Result<(), OutOfBounds> {
        with(self.at(offset, len)?);
        Ok(())
    }

    /// Copies bytes in.
    ///
    /// # Errors
    ///
    /// [`OutOfBounds`] if they don't all fit; nothing is copied then.
    #[inline]
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<(), OutOfBounds> {
        let to = self.at(offset, from.len())?;
        if is_short(offset, from.len()) {
            for (word, from) in from.chunks_exact(8).enumerate() {
                let Some(bytes) = from.first_chunk() else {
                    break;
                };
                let bytes = u64::from_ne_bytes(*bytes);
                // SAFETY: As in `read`, with the roles changed.
                unsafe { to.cast::<u64>().add(word).write_volatile(bytes) };
            }
            return Ok(());
        }
        // SAFETY: As in `read`, with the roles changed.
        unsafe { hv_bindings::copy_shared(to.cast(), from.as_ptr().cast(), from.len()) };
        Ok(())
    }

    /// The 32-bit word at `offset` bytes.
    ///
    /// # Errors
    ///
    /// [`OutOfBounds`] if it isn't inside, or `offset` isn't a multiple of 4.
    #[inline]
    pub fn word32(&self, offset: usize) -> Result<&'a Atomic<u32>, OutOfBounds> {
        if offset % 4 != 0 {
            return Err(OutOfBounds { offset, len: 4 });
        }
        let word = self.at(offset, 4)?;
        // SAFETY: The word is inside and aligned, lives for `'a` by the type invariant, and every
        // access of the kernel to it as a word is atomic; the other side is not the kernel.
        Ok(unsafe { Atomic::from_ptr(word.cast()) })
    }

    /// The 64-bit word at `offset` bytes.
    ///
    /// # Errors
    ///
    /// [`OutOfBounds`] if it isn't inside, or `offset` isn't a multiple of 8.
    #[inline]
    pub fn word64(&self, offset: usize) -> Result<&'a Atomic<u64>, OutOfBounds> {
        if offset % 8 != 0 {
            return Err(OutOfBounds { offset, len: 8 });
        }
        let word = self.at(offset, 8)?;
        // SAFETY: As in `word32`.
        Ok(unsafe { Atomic::from_ptr(word.cast()) })
    }

    /// Sets bit `bit` of the window, counted from the lowest bit of the first byte, in one atomic
    /// step that the host sees as such even on a guest with one CPU. Says whether it was set
    /// before.
    ///
    /// This is how a monitor page or an interrupt page is written.
    ///
    /// # Errors
    ///
    /// [`OutOfBounds`] if the bit isn't inside.
    #[inline]
    pub fn set_bit(&self, bit: usize) -> Result<bool, OutOfBounds> {
        let word = self.at(bit / 32 * 4, 4)?;
        // SAFETY: The four bytes are inside and aligned, and valid by the type invariant.
        Ok(unsafe { hv_bindings::sync_set_bit32(word.cast(), (bit % 32) as u32) })
    }

    /// Clears bit `bit`; otherwise as [`Window::set_bit`].
    ///
    /// # Errors
    ///
    /// [`OutOfBounds`] if the bit isn't inside.
    #[inline]
    pub fn clear_bit(&self, bit: usize) -> Result<bool, OutOfBounds> {
        let word = self.at(bit / 32 * 4, 4)?;
        // SAFETY: As in `set_bit`.
        Ok(unsafe { hv_bindings::sync_clear_bit32(word.cast(), (bit % 32) as u32) })
    }

    /// Takes a 64-bit word's value and leaves 0, in one atomic step with full ordering.
    ///
    /// # Errors
    ///
    /// As [`Window::word64`].
    #[inline]
    pub fn take64(&self, offset: usize) -> Result<u64, OutOfBounds> {
        Ok(self.word64(offset)?.xchg(0, Full))
    }
}
