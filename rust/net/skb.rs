// SPDX-License-Identifier: GPL-2.0

//! Frames to send.

use core::{
    ffi::c_void,
    mem::{
        ManuallyDrop,
        MaybeUninit, //
    },
    ptr::NonNull,
    slice, //
};

use kernel::{
    error::to_result,
    prelude::*, //
};
use kernel_ext::{
    pages::{
        OutOfBounds,
        Window, //
    },
    slot::Pointer, //
};
use zerocopy_derive::{Immutable, IntoBytes};

/// A piece of a frame that lies in one page of 4 KiB; never empty. Laid out as buses want it that take such pieces
/// (`struct hv_page_buffer`), but for the order of the bytes, which is this machine's.
#[derive(Clone, Copy, Debug, Immutable, IntoBytes)]
#[repr(C)]
pub struct Piece {
    /// Its bytes.
    pub bytes: u32,
    /// Bytes before it in the page.
    pub offset: u32,
    /// The page's frame number.
    pub pfn: u64,
}

const _: () = assert!(size_of::<Piece>() == size_of::<hv_bindings::hv_skb_piece>());

/// The network protocol of a frame with something left to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// IPv4.
    Ip4,
    /// IPv6.
    Ip6,
}

/// Its transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// What is left to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// Nothing.
    None,
    /// The checksum of the transport header at `offset` bytes from the start of the frame.
    Checksum {
        /// Network protocol.
        protocol: Protocol,
        /// Transport protocol.
        transport: Transport,
        /// Where the transport header starts.
        offset: u16,
    },
    /// Cutting a TCP segment, with all checksums.
    Cut {
        /// Network protocol.
        protocol: Protocol,
        /// Where the TCP header starts.
        offset: u16,
        /// Payload bytes of each segment.
        segment: u16,
        /// How many segments come out of it.
        segments: u16,
        /// Bytes of all headers, which each of them has.
        header: u16,
    },
    /// The checksum of a protocol that is none of these: see [`SkBuff::compute_checksum`].
    Other,
}

/// A frame at a glance.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Its bytes.
    pub bytes: u32,
    /// The tag that goes with it but isn't in it.
    pub vlan_tci: Option<u16>,
    /// What is left to the device.
    pub offload: Offload,
}

#[inline]
fn offload(facts: &hv_bindings::hv_skb_facts) -> Offload {
    if !facts.checksum {
        return Offload::None;
    }
    let protocol = match u32::from(facts.protocol) {
        hv_bindings::ETH_P_IP => Protocol::Ip4,
        hv_bindings::ETH_P_IPV6 => Protocol::Ip6,
        _ => return Offload::Other,
    };
    let transport = match facts.transport {
        6 => Transport::Tcp,
        17 => Transport::Udp,
        _ => return Offload::Other,
    };
    match (facts.segment, transport) {
        (0, _) => Offload::Checksum {
            protocol,
            transport,
            offset: facts.transport_offset,
        },
        (segment, Transport::Tcp) => Offload::Cut {
            protocol,
            offset: facts.transport_offset,
            segment,
            segments: facts.segments,
            header: facts.header,
        },
        _ => Offload::Other,
    }
}

/// A frame to send. Dropping it counts as losing the frame.
///
/// # Invariants
///
/// A valid `struct sk_buff` that this value owns.
pub struct SkBuff(NonNull<hv_bindings::sk_buff>);

// SAFETY: Whoever owns a buffer may use and free it on any thread.
unsafe impl Send for SkBuff {}
// SAFETY: Shared references only read what doesn't change.
unsafe impl Sync for SkBuff {}

impl SkBuff {
    /// # Safety
    ///
    /// `skb` is a valid buffer that the caller gives away.
    #[inline]
    pub(crate) unsafe fn from_stack(skb: NonNull<hv_bindings::sk_buff>) -> Self {
        // INVARIANT: The caller's promise.
        Self(skb)
    }

    /// Gives the buffer back to the stack's C code.
    #[inline]
    pub(crate) fn into_stack(self) -> NonNull<hv_bindings::sk_buff> {
        ManuallyDrop::new(self).0
    }

    pub(crate) fn raw(&self) -> *mut hv_bindings::sk_buff {
        self.0.as_ptr()
    }

    /// Bytes of the frame.
    #[inline]
    #[allow(clippy::len_without_is_empty, reason = "no frame is empty")]
    pub fn len(&self) -> usize {
        // SAFETY: By the type invariant.
        unsafe { (*self.raw()).len as usize }
    }

    /// The transmit queue that the stack chose.
    #[inline]
    pub fn queue(&self) -> u16 {
        // SAFETY: By the type invariant.
        unsafe { hv_bindings::skb_queue(self.raw()) }
    }

    pub(crate) fn set_queue(&mut self, queue: u16) {
        // SAFETY: By the type invariant.
        unsafe { hv_bindings::skb_set_queue(self.raw(), queue) };
    }

    /// What a driver wants to know of it, in one look.
    #[inline]
    pub fn facts(&self) -> Facts {
        let mut facts = hv_bindings::hv_skb_facts::default();
        // SAFETY: By the type invariant.
        unsafe { hv_bindings::skb_facts(self.raw(), &mut facts) };
        Facts {
            bytes: facts.bytes,
            vlan_tci: facts.has_vlan.then_some(facts.vlan_tci),
            offload: offload(&facts),
        }
    }

    /// Computes the checksum that was left to the device.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and those of a frame that makes no sense.
    pub fn compute_checksum(&mut self) -> Result {
        // SAFETY: By the type invariant.
        to_result(unsafe { hv_bindings::skb_checksum_help(self.raw()) })
    }

    /// Makes the headers of a frame to be [cut](Offload::Cut) what Hyper-V expects: no length in the
    /// IPv4 header, and the sum over the pseudo-header without one. After [`SkBuff::prepend`].
    pub fn prepare_cut(&mut self) {
        // SAFETY: By the type invariant; its headers are writable since the head was prepended.
        unsafe { hv_bindings::skb_prepare_cut(self.raw()) };
    }

    /// Puts bytes before the frame, which become a part of it.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    #[inline]
    pub fn prepend(&mut self, bytes: &[u8]) -> Result {
        let count = u32::try_from(bytes.len())?;
        // SAFETY: By the type invariant.
        let to = unsafe { hv_bindings::skb_prepend(self.raw(), count) };
        let to = NonNull::new(to).ok_or(ENOMEM)?;
        // SAFETY: There is room for so many bytes, which belong to the buffer alone.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), to.as_ptr(), bytes.len()) };
        Ok(())
    }

    /// Takes off what was [prepended](SkBuff::prepend).
    #[inline]
    pub fn unprepend(&mut self, bytes: usize) {
        // SAFETY: By the type invariant; nothing happens if the frame is shorter.
        unsafe { hv_bindings::skb_unprepend(self.raw(), bytes as u32) };
    }

    /// Where the frame lies, in order; `None` when it is in more pieces than `out` has room for.
    #[inline]
    pub fn pieces<'a>(&self, out: &'a mut [MaybeUninit<Piece>]) -> Option<&'a mut [Piece]> {
        // SAFETY: By the type invariant; at most as many as there is room for are written, of the same layout.
        let count =
            unsafe { hv_bindings::skb_pieces(self.raw(), out.as_mut_ptr().cast(), out.len()) };
        let pieces = out.get_mut(..count)?;
        // SAFETY: The function has written so many.
        Some(unsafe { slice::from_raw_parts_mut(pieces.as_mut_ptr().cast(), count) })
    }

    /// Puts the frame into one piece of memory.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn linearize(&mut self) -> Result {
        // SAFETY: By the type invariant.
        to_result(unsafe { hv_bindings::skb_linearize(self.raw()) })
    }

    /// Copies `head` and the frame into a window, from `offset` on.
    ///
    /// # Errors
    ///
    /// [`OutOfBounds`] when they don't fit; nothing is copied then.
    #[inline]
    pub fn copy_to(
        &self,
        window: &Window<'_>,
        offset: usize,
        head: &[u8],
    ) -> core::result::Result<(), OutOfBounds> {
        let bytes = self.len();
        window.raw(offset, head.len() + bytes, |to| {
            // SAFETY: `to` is valid for so many bytes that no reference points to; the length is the
            // frame's own, so the copy can't fail.
            unsafe {
                hv_bindings::skb_copy_to(
                    self.raw(),
                    to.cast(),
                    head.as_ptr().cast(),
                    head.len() as u32,
                    bytes as u32,
                );
            };
        })
    }

    /// The device has a copy of all of it: whoever has asked for the time learns it, and it is done with.
    #[inline]
    pub fn copied(self) {
        // SAFETY: By the type invariant; the buffer is given away.
        unsafe { hv_bindings::skb_copied(self.into_stack().as_ptr()) };
    }

    /// It is about to leave: whoever has asked for the time learns it.
    #[inline]
    pub fn timestamp(&self) {
        // SAFETY: By the type invariant; what is asked for is the buffer's own.
        unsafe { hv_bindings::skb_timestamp(self.raw()) };
    }

    /// The device has sent it. `budget` is that of the poll, 0 elsewhere.
    #[inline]
    pub fn sent(self, budget: usize) {
        // SAFETY: By the type invariant; the buffer is given away.
        unsafe { hv_bindings::skb_consume(self.into_stack().as_ptr(), budget as i32) };
    }
}

impl Drop for SkBuff {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { hv_bindings::skb_free(self.raw()) };
    }
}

/// What a driver keeps of a frame that is on its way: the frame, where the device reads it, or nothing,
/// where the device has a copy. Dropping it counts as losing the frame.
pub struct Kept(Option<SkBuff>);

impl Kept {
    /// Stands for nothing: no buffer has this address.
    const NOTHING: NonNull<c_void> = NonNull::<hv_bindings::sk_buff>::dangling().cast();

    /// The frame.
    #[inline]
    pub fn frame(frame: SkBuff) -> Self {
        Self(Some(frame))
    }

    /// Nothing.
    #[inline]
    pub fn nothing() -> Self {
        Self(None)
    }

    /// The frame, if it was kept.
    #[inline]
    pub fn into_frame(self) -> Option<SkBuff> {
        self.0
    }
}

// SAFETY: An address that stands for nothing is turned into nothing again, and any other is a buffer's, which
// is all there is to `SkBuff`.
unsafe impl Pointer for Kept {
    #[inline]
    fn into_raw(self) -> NonNull<c_void> {
        self.0
            .map_or(Self::NOTHING, |frame| frame.into_stack().cast())
    }

    #[inline]
    unsafe fn from_raw(raw: NonNull<c_void>) -> Self {
        if raw == Self::NOTHING {
            return Self(None);
        }
        // SAFETY: The caller has it from `into_raw`, once, and it isn't what stands for nothing.
        Self(Some(unsafe { SkBuff::from_stack(raw.cast()) }))
    }
}
