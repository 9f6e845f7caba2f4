// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Packets on their way to the guest, and what others have a channel's thread do.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use storvsc_wire::packet::OutPacket as VstorPacket;
use vmbus_wire::packet::OutPacket;

/// What is in a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Payload {
    /// A packet as it should be.
    Vstor(VstorPacket),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// A packet to the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Letter {
    transaction: u64,
    /// It answers a packet of the guest's.
    pub(super) completion: bool,
    payload: Payload,
}

impl Letter {
    /// Answers the packet with this transaction id.
    pub(super) fn completion(transaction: u64, packet: VstorPacket) -> Self {
        Self {
            transaction,
            completion: true,
            payload: Payload::Vstor(packet),
        }
    }

    /// The same with any bytes.
    pub(super) fn completion_of(transaction: u64, bytes: &[u8]) -> Self {
        Self {
            transaction,
            completion: true,
            payload: Payload::Bytes(bytes.to_vec()),
        }
    }

    /// A packet that answers nothing.
    pub(super) fn in_band(transaction: u64, bytes: &[u8]) -> Self {
        Self {
            transaction,
            completion: false,
            payload: Payload::Bytes(bytes.to_vec()),
        }
    }

    /// The same, as if it answered another packet.
    pub(super) fn readdressed(&self, transaction: u64) -> Self {
        Self {
            transaction,
            ..self.clone()
        }
    }

    /// What is in it.
    pub(super) fn bytes(&self) -> &[u8] {
        match &self.payload {
            Payload::Vstor(packet) => packet.as_bytes(),
            Payload::Bytes(bytes) => bytes,
        }
    }

    /// The packet as the ring takes it; `parts` are its bytes.
    pub(super) fn packet<'p>(&self, parts: &'p [&'p [u8]]) -> OutPacket<'p> {
        if self.completion {
            OutPacket::completion(self.transaction, parts)
        } else {
            OutPacket::in_band(self.transaction, parts)
        }
    }
}

/// What a channel's thread is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mail {
    /// Send this.
    Letter(Letter),
    /// Publish this write index and be silent from then on.
    BadIndex(u32),
}

/// What others have put in for a channel's thread.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    any: AtomicBool,
    mail: Mutex<VecDeque<Mail>>,
}

impl Mailbox {
    /// Puts something in; the thread is to be nudged.
    pub(super) fn put(&self, mail: Mail) {
        let mut waiting = self.mail.lock();
        waiting.push_back(mail);
        self.any.store(true, Ordering::Release);
    }

    /// Takes all that is in it.
    pub(super) fn take(&self) -> VecDeque<Mail> {
        if !self.any.load(Ordering::Acquire) {
            return VecDeque::new();
        }
        let mut waiting = self.mail.lock();
        self.any.store(false, Ordering::Release);
        std::mem::take(&mut *waiting)
    }
}
