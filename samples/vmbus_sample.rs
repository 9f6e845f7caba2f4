// SPDX-License-Identifier: GPL-2.0
//! The smallest driver on the bus: opens the channel of its device, sends one packet and shows what
//! comes back. It drives no class of its own. Where stock QEMU's balloon is, in a guest's shell
//! (`make shell`):
//!
//!     rmmod vmbus_balloon; modprobe vmbus_sample
//!     echo 525074dc-8985-46e2-8057-a307dc18a502 > /sys/bus/vmbus/drivers/vmbus_sample/new_id
//!     dmesg | grep vmbus_sample
use kernel::{device::Core, prelude::*, sync::Arc};
use kernel_ext::bus::Driver;
use vmbus::{device_id::IdTable, vmbus_device_table, Channel, Handler, Open, OpenConfig, Vmbus};
use vmbus_wire::packet::{OutPacket, Packet};

/// A question that the balloon answers: do you speak dynamic memory 2.0 (`dm_version_request`)?
const QUESTION: [u8; 16] = [1, 0, 16, 0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0];

/// Hears what comes in.
struct Listener;

impl Handler for Listener {
    fn packet(&self, channel: &Channel, packet: Packet<'_>) {
        let start = packet.payload.get(..16).unwrap_or(packet.payload);
        let count = channel.stats().packets_in.get();
        let bytes = packet.payload.len();
        pr_info!("packet {count} of this channel: {bytes} bytes, {start:02x?}\n");
    }
}

/// A bound device; the channel is closed when this is dropped.
struct Sample {
    _open: Open,
}

vmbus_device_table!(IDS, []);

impl Driver<Vmbus> for Sample {
    const INFO: &'static IdTable = &IDS;

    fn probe(dev: &vmbus::Device<Core<'_>>) -> impl PinInit<Self, Error> {
        let open = |offered: vmbus::Offered| -> Result<Self> {
            let open = offered.open(
                &OpenConfig::new(16 << 10, 4096),
                Arc::new(Listener, GFP_KERNEL)?,
            )?;
            open.send(&OutPacket::in_band(0, &[&QUESTION]))?;
            Ok(Self { _open: open })
        };
        dev.payload().claim().and_then(open)
    }
}

kernel::module_driver!(<T>, vmbus::Adapter<T>, {
    type: Sample,
    name: "vmbus_sample",
    authors: ["vmbus-rs developers"],
    description: "Smallest driver on the VMBus",
    license: "GPL",
});
