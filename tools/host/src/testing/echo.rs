// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The smallest device: what it is sent, it sends back.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{json, Value};
use vmbus_wire::message::{OfferFlags, USER_DATA_BYTES};
use vmbus_wire::packet::{OutPacket, Packet, PacketBody};
use vmbus_wire::Guid;

use crate::device::{Device, Identity};
use crate::vmbus::channel::{Channel, ChannelError, PacketBuffer};
use crate::vmbus::handle::DeviceHandle;

/// Sees each packet before it is sent back; false: it isn't sent back.
pub type Hook = Box<dyn Fn(&mut Channel, &Got) -> anyhow::Result<bool> + Send + Sync>;

/// A packet the echo got.
#[derive(Clone, Debug)]
pub struct Got {
    /// Payload with its padding.
    pub payload: Vec<u8>,
    /// As the guest chose it.
    pub transaction_id: u64,
    /// Whether a completion is due.
    pub completion_requested: bool,
    /// Of a packet with guest pages: offset, bytes and page frame numbers of each range.
    pub ranges: Vec<(u32, u32, Vec<u64>)>,
}

impl Got {
    fn new(packet: &Packet<'_>) -> Self {
        let ranges = match &packet.body {
            PacketBody::GpaDirect(direct) => direct
                .ranges()
                .map(|range| {
                    let pfns = range.pfns.iter().map(|pfn| pfn.get()).collect();
                    (range.byte_offset, range.byte_count, pfns)
                })
                .collect(),
            _ => Vec::new(),
        };
        Self {
            payload: packet.payload.to_vec(),
            transaction_id: packet.transaction_id,
            completion_requested: packet.completion_requested,
            ranges,
        }
    }
}

/// See the module. A packet that asks for a completion gets it, with its own payload; others come
/// back as they are.
pub struct Echo {
    identity: Identity,
    handle: Mutex<Option<DeviceHandle>>,
    hook: Option<Hook>,
    resets: AtomicU32,
    serving: AtomicU32,
}

impl Echo {
    /// An echo with a name; the instance is made of it.
    pub fn new(name: &str) -> Arc<Self> {
        Self::with(Self::identity_of(name), None)
    }

    /// An echo that does something more.
    pub fn with(identity: Identity, hook: Option<Hook>) -> Arc<Self> {
        Arc::new(Self {
            identity,
            handle: Mutex::new(None),
            hook,
            resets: AtomicU32::new(0),
            serving: AtomicU32::new(0),
        })
    }

    /// What [`Self::new`] offers.
    pub fn identity_of(name: &str) -> Identity {
        let mut instance = [0x5a; 16];
        for (to, from) in instance.iter_mut().zip(name.bytes()) {
            *to = from;
        }
        Identity {
            name: name.to_owned(),
            class: Guid::literal("6563686f-0000-4000-8000-000000000001"),
            instance: Guid::from_bytes(instance),
            flags: OfferFlags::default(),
            user_data: [0; USER_DATA_BYTES],
            monitor_latency: None,
        }
    }

    /// Its way to the bus, once it has one.
    ///
    /// # Panics
    ///
    /// Before.
    pub fn handle(&self) -> DeviceHandle {
        self.handle.lock().clone().expect("attached to a bus")
    }

    /// How often it was told to forget the guest.
    pub fn resets(&self) -> u32 {
        self.resets.load(Ordering::SeqCst)
    }

    /// Channels it serves now.
    pub fn serving(&self) -> u32 {
        self.serving.load(Ordering::SeqCst)
    }

    fn echo(&self, channel: &mut Channel) -> anyhow::Result<()> {
        let mut buffer = PacketBuffer::default();
        // What found no room.
        let mut backlog: VecDeque<Got> = VecDeque::new();
        loop {
            while let Some(got) = backlog.front() {
                if !answer(channel, got)? {
                    break;
                }
                backlog.pop_front();
            }
            // Nothing more is taken as long as there is no room for the answer.
            while backlog.is_empty() {
                let Some(packet) = channel.receive(&mut buffer)? else {
                    break;
                };
                let got = Got::new(&packet);
                if let Some(hook) = &self.hook {
                    if !hook(channel, &got)? {
                        continue;
                    }
                }
                if !answer(channel, &got)? {
                    backlog.push_back(got);
                }
            }
            if channel.wait(None)?.stop {
                return Ok(());
            }
        }
    }
}

/// Sends a packet back; false: there is no room.
fn answer(channel: &mut Channel, got: &Got) -> Result<bool, ChannelError> {
    let payload: [&[u8]; 1] = [&got.payload];
    let packet = if got.completion_requested {
        OutPacket::completion(got.transaction_id, &payload)
    } else {
        OutPacket::in_band(got.transaction_id, &payload)
    };
    match channel.send(&packet) {
        Ok(()) => Ok(true),
        Err(ChannelError::Full) => Ok(false),
        Err(error) => Err(error),
    }
}

impl Device for Echo {
    fn identity(&self) -> Identity {
        self.identity.clone()
    }

    fn attached(&self, bus: DeviceHandle) {
        *self.handle.lock() = Some(bus);
    }

    fn serve(self: Arc<Self>, mut channel: Channel) -> anyhow::Result<()> {
        self.serving.fetch_add(1, Ordering::SeqCst);
        let result = self.echo(&mut channel);
        self.serving.fetch_sub(1, Ordering::SeqCst);
        result
    }

    fn reset(&self) {
        self.resets.fetch_add(1, Ordering::SeqCst);
    }

    fn stats(&self) -> Value {
        json!({"serving": self.serving(), "resets": self.resets()})
    }
}
