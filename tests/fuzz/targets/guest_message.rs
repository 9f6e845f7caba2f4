// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A guest says anything. What the host accepts, the guest's builders say the same way.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vmbus_wire::host::GuestMessage;
use vmbus_wire::message::guest;
use vmbus_wire::slot::Slot;
use zerocopy::FromBytes;

fuzz_target!(|payload: &[u8]| {
    // A slot of the message page, if there is enough for one.
    if let Ok((slot, _)) = Slot::read_from_prefix(payload) {
        if let Some(message) = slot.channel_message() {
            let _ = GuestMessage::parse(message);
        }
    }
    let message = match GuestMessage::parse(payload) {
        Ok(message) => message,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let built = match message {
        GuestMessage::InitiateContact(contact) => contact.message(),
        GuestMessage::RequestOffers => guest::request_offers(),
        GuestMessage::Open(open) => open.message(),
        GuestMessage::Close { relid } => guest::close_channel(relid),
        GuestMessage::GpadlTeardown { relid, gpadl } => guest::gpadl_teardown(relid, gpadl),
        GuestMessage::RelidReleased { relid } => guest::relid_released(relid),
        GuestMessage::Unload => guest::unload(),
        GuestMessage::ModifyChannel(modify) => modify.message(),
        GuestMessage::SocketConnect(connect) => connect.message(),
        // Built as a whole list only: the target `gpadl` does.
        GuestMessage::GpadlHeader(header) => return assert!(header.words.iter().count() <= 27),
        GuestMessage::GpadlBody(body) => return assert!(body.words.iter().count() <= 28),
    };
    assert_eq!(GuestMessage::parse(built.as_bytes()), Ok(message));
});
