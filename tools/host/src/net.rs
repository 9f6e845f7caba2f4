// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Synthetic NICs (netvsp).
//!
//! A [`Nic`] is what the bus serves: each of its channels has a thread (`worker`) that takes the
//! guest's frames to the back end (`transmit`) and brings others up (`receive`). The primary
//! channel's thread also speaks NVSP with the guest's driver (`session`) and hands RNDIS control
//! messages to the control plane ([`rndis_control`]); what comes of them is what all queues look
//! at (`plane`).
//!
//! A frame's way up: read by [`backend::Queue::receive`] into pieces of the guest's receive buffer
//! (`sections`), its first bytes into private memory where they are looked at; a `chain` of one
//! piece, or of several for a large segment; a batch for the queue that `steering` says, which may
//! be another thread's; a packet with transfer pages; and its pieces come back when the guest
//! completes the packet. Where the guest allocated a buffer for its queues (VMQ, `vmq` in the
//! [`spec`]), that one is used in the receive buffer's place, with one frame a packet.
//!
//! A frame's way down: all bytes of a packet as one [`scatter`] list, RNDIS headers copied out of
//! it, then a frame whose first bytes are private and the rest guest pages, straight to the back
//! end. Offloads are described as a virtio-net header does ([`backend::Offload`]); what a back end
//! can't do is done by [`checksum`] and [`segment`].
//!
//! On request a NIC breaks the protocol (`misbehave`).
//!
//! No frame waits for another queue's, nothing is allocated for a frame, and no thread waits while
//! it holds the plane.

mod adapter;
pub mod backend;
mod chain;
pub mod checksum;
pub mod frame;
mod misbehave;
mod nic;
pub mod peer;
mod plane;
mod receive;
pub mod rndis_control;
pub mod scatter;
mod sections;
pub mod segment;
mod session;
pub mod spec;
mod steering;
pub mod tap;
mod transmit;
mod worker;

pub use nic::{Nic, NicOptions};
pub use spec::NicSpec;
