// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The hypervisor's frames around a channel message: the slot of the message page it arrives in
//! (`struct hv_message`) and the input of the post-message hypercall
//! (`struct hv_input_post_message`).

use crate::message::OutMessage;
use crate::MAX_MESSAGE_BYTES;
use zerocopy::little_endian::{U32, U64};
use zerocopy_derive::*;

/// Message type of an empty slot (`HVMSG_NONE`).
pub const HVMSG_NONE: u32 = 0;
/// Message type of every channel message.
pub const HVMSG_CHANNEL: u32 = 1;
/// Message type of an expired synthetic timer (`HVMSG_TIMER_EXPIRED`).
pub const HVMSG_TIMER_EXPIRED: u32 = 0x8000_0010;

/// Bytes of a slot; slot n starts n times that far into the message page.
pub const SLOT_BYTES: usize = 256;
/// Offset of the payload in a slot.
pub const SLOT_PAYLOAD_OFFSET: usize = 16;
/// Bit of [`SlotHeader::flags`]: the hypervisor holds back a message for this slot, so that
/// HV_X64_MSR_EOM has to be written once it is free.
pub const FLAG_MESSAGE_PENDING: u8 = 1;

/// First 16 bytes of a slot (`struct hv_message_header`).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct SlotHeader {
    /// [`HVMSG_NONE`] while the slot is empty; written last by the hypervisor, cleared last by
    /// the guest.
    pub message_type: U32,
    /// Bytes of payload that count.
    pub payload_bytes: u8,
    /// See [`FLAG_MESSAGE_PENDING`].
    pub flags: u8,
    /// Zero.
    pub reserved: [u8; 2],
    /// Partition or port it came from.
    pub origination: U64,
}

/// A slot as a whole, to copy one out of the message page in one go.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Slot {
    /// What it says of its payload.
    pub header: SlotHeader,
    /// The message and whatever was there before.
    pub payload: [u8; MAX_MESSAGE_BYTES],
}

const _: () = assert!(size_of::<SlotHeader>() == SLOT_PAYLOAD_OFFSET);
const _: () = assert!(size_of::<Slot>() == SLOT_BYTES);

impl Slot {
    /// The channel message in a private copy of a slot, ready for
    /// [`HostMessage::parse`](crate::HostMessage::parse). `None` where the slot is empty or holds
    /// something else, such as a timer's message. A size beyond the slot is cut to the slot.
    pub fn channel_message(&self) -> Option<&[u8]> {
        if self.header.message_type.get() != HVMSG_CHANNEL {
            return None;
        }
        let size = usize::from(self.header.payload_bytes);
        Some(self.payload.get(..size).unwrap_or(&self.payload))
    }
}

/// Input of HVCALL_POST_MESSAGE. It must lie 8-byte aligned in one page, so the kernel copies
/// [`PostMessage::as_bytes`](IntoBytes::as_bytes) to its hypercall page.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PostMessage {
    /// Connection to post to.
    pub connection_id: U32,
    /// Zero.
    pub reserved: U32,
    /// [`HVMSG_CHANNEL`].
    pub message_type: U32,
    /// Bytes of payload that count.
    pub payload_bytes: U32,
    /// The message, zeroes after it.
    pub payload: [u8; MAX_MESSAGE_BYTES],
}

const _: () = assert!(size_of::<PostMessage>() == 256);

impl PostMessage {
    /// Frames a channel message.
    pub fn new(connection_id: u32, message: &OutMessage) -> Self {
        let bytes = message.as_bytes();
        let mut payload = [0; MAX_MESSAGE_BYTES];
        let mut length = 0;
        if let Some(place) = payload.get_mut(..bytes.len()) {
            place.copy_from_slice(bytes);
            length = bytes.len() as u32;
        }
        Self {
            connection_id: U32::new(connection_id),
            reserved: U32::ZERO,
            message_type: U32::new(HVMSG_CHANNEL),
            payload_bytes: U32::new(length),
            payload,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::guest;
    use zerocopy::{FromZeros, IntoBytes};

    #[test]
    fn a_posted_message_has_the_layout_of_hv_input_post_message() {
        let post = PostMessage::new(4, &guest::unload());
        let bytes = post.as_bytes();
        assert_eq!(bytes[..4], [4, 0, 0, 0]);
        assert_eq!(bytes[4..8], [0; 4]);
        assert_eq!(bytes[8..12], [1, 0, 0, 0]);
        assert_eq!(bytes[12..16], [8, 0, 0, 0]);
        assert_eq!(bytes[16..24], [16, 0, 0, 0, 0, 0, 0, 0]);
        assert!(bytes[24..].iter().all(|b| *b == 0));
    }

    #[test]
    fn a_slot_gives_its_message_and_no_more_than_it_has() {
        let mut slot = Slot::new_zeroed();
        assert_eq!(slot.channel_message(), None);
        slot.header.message_type = U32::new(HVMSG_TIMER_EXPIRED);
        assert_eq!(slot.channel_message(), None);
        slot.header.message_type = U32::new(HVMSG_CHANNEL);
        for size in 0..=255u8 {
            slot.header.payload_bytes = size;
            let want = usize::from(size).min(MAX_MESSAGE_BYTES);
            assert_eq!(slot.channel_message().unwrap().len(), want);
        }
    }
}
