// SPDX-License-Identifier: GPL-2.0

//! The two hypercalls of a VMBus client: post a message, signal an event.

use core::mem::offset_of;

use kernel::{
    fmt,
    prelude::*, //
};

use super::Hypervisor;

/// The longest message payload, in bytes.
pub const MAX_MESSAGE_PAYLOAD: usize = 240;

/// The input of `HVCALL_POST_MESSAGE` (TLFS, `HvCallPostMessage`).
#[repr(C)]
struct PostMessageInput {
    connection: u32,
    reserved: u32,
    message_type: u32,
    payload_size: u32,
    payload: [u8; MAX_MESSAGE_PAYLOAD],
}

/// How a hypercall failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HvError {
    /// There is no such connection. The host may also answer so when it is sent messages too fast,
    /// so that it's worth another try for anything but the first message of a connection.
    InvalidConnectionId,
    /// There is no such port behind the connection.
    InvalidPortId,
    /// The receiver's queue is full; it's worth another try a little later.
    InsufficientBuffers,
    /// The hypervisor lacks memory; it's worth another try a little later.
    InsufficientMemory,
    /// The hypervisor found a parameter wrong.
    InvalidParameter,
    /// The partition may not do this.
    AccessDenied,
    /// The message is longer than [`MAX_MESSAGE_PAYLOAD`]; the hypervisor wasn't asked.
    TooLong,
    /// Any other status of the hypervisor.
    Other(u16),
}

impl HvError {
    fn from_status(status: u64) -> Result<(), Self> {
        // The status is in the lowest 16 bits of a hypercall's result.
        match status as u16 {
            hv_bindings::HV_STATUS_SUCCESS => Ok(()),
            hv_bindings::HV_STATUS_INVALID_CONNECTION_ID => Err(Self::InvalidConnectionId),
            hv_bindings::HV_STATUS_INVALID_PORT_ID => Err(Self::InvalidPortId),
            hv_bindings::HV_STATUS_INSUFFICIENT_BUFFERS => Err(Self::InsufficientBuffers),
            hv_bindings::HV_STATUS_INSUFFICIENT_MEMORY => Err(Self::InsufficientMemory),
            hv_bindings::HV_STATUS_INVALID_PARAMETER => Err(Self::InvalidParameter),
            hv_bindings::HV_STATUS_ACCESS_DENIED => Err(Self::AccessDenied),
            other => Err(Self::Other(other)),
        }
    }

    /// Whether the cause is a lack of resources that passes.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::InsufficientBuffers | Self::InsufficientMemory)
    }
}

impl fmt::Display for HvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidConnectionId => f.write_str("invalid connection id"),
            Self::InvalidPortId => f.write_str("invalid port id"),
            Self::InsufficientBuffers => f.write_str("insufficient buffers"),
            Self::InsufficientMemory => f.write_str("insufficient memory"),
            Self::InvalidParameter => f.write_str("invalid parameter"),
            Self::AccessDenied => f.write_str("access denied"),
            Self::TooLong => f.write_str("message too long"),
            Self::Other(status) => write!(f, "hypervisor status {status:#x}"),
        }
    }
}

impl From<HvError> for Error {
    fn from(e: HvError) -> Error {
        match e {
            HvError::InvalidConnectionId | HvError::InvalidPortId => ENXIO,
            HvError::InsufficientBuffers => EAGAIN,
            HvError::InsufficientMemory => ENOMEM,
            HvError::AccessDenied => EACCES,
            HvError::TooLong => EMSGSIZE,
            HvError::InvalidParameter => EINVAL,
            HvError::Other(_) => EIO,
        }
    }
}

/// Interrupts of this CPU are off while this lives; they become what they were when it's dropped.
pub(super) struct IrqsOff(usize, kernel::types::NotThreadSafe);

impl IrqsOff {
    pub(super) fn new() -> Self {
        // SAFETY: May be called in any context; `drop` undoes it on the same CPU.
        let flags = unsafe { hv_bindings::irq_save() };
        Self(flags, kernel::types::NotThreadSafe)
    }
}

impl Drop for IrqsOff {
    fn drop(&mut self) {
        // SAFETY: The flags are those that `irq_save` returned on this CPU.
        unsafe { hv_bindings::irq_restore(self.0) };
    }
}

impl Hypervisor {
    /// The bits of a hypercall that reach the hypervisor which owns the VMBus.
    #[inline]
    fn control(&self, call: u64) -> u64 {
        if self.nested() {
            call | hv_bindings::HV_HYPERCALL_NESTED
        } else {
            call
        }
    }

    /// Posts a message to a connection. Any context but NMI; doesn't wait and doesn't try again.
    ///
    /// # Errors
    ///
    /// [`HvError::TooLong`] for a payload above [`MAX_MESSAGE_PAYLOAD`], else what the hypervisor
    /// says.
    pub fn post_message(
        &self,
        connection: u32,
        message_type: u32,
        payload: &[u8],
    ) -> Result<(), HvError> {
        if payload.len() > MAX_MESSAGE_PAYLOAD {
            return Err(HvError::TooLong);
        }
        let irqs = IrqsOff::new();
        // SAFETY: By the type invariant the per-CPU pointers exist; interrupts are off, so that the
        // CPU doesn't change.
        let page = unsafe { hv_bindings::hv_input_page() };
        if page.is_null() {
            return Err(HvError::InsufficientMemory);
        }
        let input = page.cast::<PostMessageInput>();
        // SAFETY: The page belongs to this CPU's hypercall in progress while interrupts are off, is
        // aligned to its size and larger than the input, and the payload fits as was checked.
        let status = unsafe {
            (&raw mut (*input).connection).write(connection);
            (&raw mut (*input).reserved).write(0);
            (&raw mut (*input).message_type).write(message_type);
            (&raw mut (*input).payload_size).write(payload.len() as u32);
            core::ptr::copy_nonoverlapping(
                payload.as_ptr(),
                page.cast::<u8>().add(offset_of!(PostMessageInput, payload)),
                payload.len(),
            );
            hv_bindings::hv_do_hypercall(
                self.control(hv_bindings::HVCALL_POST_MESSAGE),
                page,
                core::ptr::null_mut(),
            )
        };
        drop(irqs);
        HvError::from_status(status)
    }

    /// Signals event `flag` of a connection. Any context but NMI.
    ///
    /// # Errors
    ///
    /// What the hypervisor says.
    #[inline]
    pub fn signal_event(&self, connection: u32, flag: u16) -> Result<(), HvError> {
        // TLFS, `HvCallSignalEvent`: connection, flag number, 16 reserved bits.
        let input = u64::from(connection) | u64::from(flag) << 32;
        // SAFETY: By the type invariant hypercalls work; this one has its input in registers.
        let status = unsafe {
            hv_bindings::hv_fast_hypercall8(self.control(hv_bindings::HVCALL_SIGNAL_EVENT), input)
        };
        HvError::from_status(status)
    }
}
