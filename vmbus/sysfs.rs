// SPDX-License-Identifier: GPL-2.0

//! Files under `/sys/bus/vmbus`, as `lsvmbus`, waagent and LISA read them.
//!
//! Names and formats are the C driver's (`Documentation/ABI/stable/sysfs-bus-vmbus` of the kernel,
//! `drivers/hv/vmbus_drv.c`). What needs the rings answers `EINVAL` while the channel is closed.

use kernel::prelude::*;
use kernel_ext::{
    attributes, bus, bus_attributes, cpuhp, emit,
    sysfs::{self, Attribute, Dir, Writer},
};
use vmbus_wire::monitor::MonitorId;

use crate::{
    channel::{InView, RingView},
    channel_core::ChannelCore,
    device::{device_number, Vmbus},
};

type Device = bus::Device<Vmbus>;

/// The directory `channels/<relid>` of a channel.
pub(crate) type ChannelDir = Dir<ChannelCore>;

/// Page of the monitor that the host triggers, and of the one that the guest triggers.
const SERVER: usize = 0;
const CLIENT: usize = 1;

attributes! {
    /// Attributes of every device, that is of its primary channel.
    pub(crate) static DEVICE: Device = [
        Attribute::ro(c"id", |dev, out| emit!(out, "{}\n", core(dev).offer.relid)),
        Attribute::ro(c"state", |dev, out| emit!(out, "{}\n", state_number(core(dev)))),
        Attribute::ro(c"monitor_id", |dev, out| emit!(out, "{}\n", core(dev).offer.raw_monitor_id))
            .visible_if(monitored),
        Attribute::ro(c"class_id", |dev, out| emit!(out, "{{{}}}\n", core(dev).offer.class)),
        Attribute::ro(c"device_id", |dev, out| emit!(out, "{{{}}}\n", core(dev).offer.instance)),
        Attribute::ro(c"modalias", |dev, out| {
            emit!(out, "vmbus:{}\n", core(dev).offer.class.modalias())
        }),
        Attribute::ro(c"numa_node", |dev, out| {
            emit!(out, "{}\n", cpuhp::node_of(core(dev).target_cpu()))
        }),
        Attribute::ro(c"server_monitor_pending", |dev, out| show_pending(core(dev), SERVER, out))
            .visible_if(monitored),
        Attribute::ro(c"client_monitor_pending", |dev, out| show_pending(core(dev), CLIENT, out))
            .visible_if(monitored),
        Attribute::ro(c"server_monitor_latency", |dev, out| show_latency(core(dev), SERVER, out))
            .visible_if(monitored),
        Attribute::ro(c"client_monitor_latency", |dev, out| show_latency(core(dev), CLIENT, out))
            .visible_if(monitored),
        Attribute::ro(c"server_monitor_conn_id", |dev, out| show_conn_id(core(dev), SERVER, out))
            .visible_if(monitored),
        Attribute::ro(c"client_monitor_conn_id", |dev, out| show_conn_id(core(dev), CLIENT, out))
            .visible_if(monitored),
        Attribute::ro(c"out_intr_mask", |dev, out| emit!(out, "{}\n", rings(core(dev))?.out_mask)),
        Attribute::ro(c"out_read_index", |dev, out| emit!(out, "{}\n", rings(core(dev))?.out_read)),
        Attribute::ro(c"out_write_index", |dev, out| {
            emit!(out, "{}\n", rings(core(dev))?.out_write)
        }),
        Attribute::ro(c"out_read_bytes_avail", |dev, out| {
            emit!(out, "{}\n", rings(core(dev))?.out_used)
        }),
        Attribute::ro(c"out_write_bytes_avail", |dev, out| {
            emit!(out, "{}\n", rings(core(dev))?.out_free)
        }),
        Attribute::ro(c"in_intr_mask", |dev, out| emit!(out, "{}\n", input(core(dev))?.mask)),
        Attribute::ro(c"in_read_index", |dev, out| emit!(out, "{}\n", input(core(dev))?.read)),
        Attribute::ro(c"in_write_index", |dev, out| emit!(out, "{}\n", input(core(dev))?.write)),
        Attribute::ro(c"in_read_bytes_avail", |dev, out| emit!(out, "{}\n", input(core(dev))?.used)),
        Attribute::ro(c"in_write_bytes_avail", |dev, out| {
            emit!(out, "{}\n", input(core(dev))?.free)
        }),
        Attribute::ro(c"channel_vp_mapping", |dev, out| {
            dev.payload().for_each_channel(|core| {
                emit!(out, "{}:{}\n", core.offer.relid, core.target_cpu())
            })
        }),
        // Devices of the bus have no PCI-like ids of their own; the C driver shows Microsoft's.
        Attribute::ro(c"vendor", |_, out| emit!(out, "0x1414\n")),
        Attribute::ro(c"device", |dev, out| {
            emit!(out, "0x{:x}\n", device_number(&core(dev).offer))
        }),
    ];
}

attributes! {
    /// Attributes of every channel, in `channels/<relid>`.
    pub(crate) static CHANNEL: ChannelDir = [
        Attribute::ro(c"out_mask", |core, out| emit!(out, "{}\n", rings(core)?.out_mask)),
        Attribute::ro(c"in_mask", |core, out| emit!(out, "{}\n", input(core)?.mask)),
        Attribute::ro(c"read_avail", |core, out| emit!(out, "{}\n", input(core)?.used)),
        Attribute::ro(c"write_avail", |core, out| emit!(out, "{}\n", rings(core)?.out_free)),
        Attribute::rw(c"cpu", |core, out| emit!(out, "{}\n", core.target_cpu()), store_cpu),
        Attribute::ro(c"pending", |core, out| show_pending(core, CLIENT, out))
            .visible_if(|core| core.offer.monitor.is_some()),
        Attribute::ro(c"latency", |core, out| show_latency(core, CLIENT, out))
            .visible_if(|core| core.offer.monitor.is_some()),
        Attribute::ro(c"monitor_id", |core, out| emit!(out, "{}\n", core.offer.raw_monitor_id))
            .visible_if(|core| core.offer.monitor.is_some()),
        Attribute::ro(c"interrupts", |core, out| emit!(out, "{}\n", core.stats.interrupts_in)),
        Attribute::ro(c"events", |core, out| emit!(out, "{}\n", core.stats.signals_out)),
        Attribute::ro(c"intr_in_full", |core, out| emit!(out, "{}\n", core.stats.in_full_signals)),
        Attribute::ro(c"intr_out_empty", |core, out| {
            // All signals but those for a host that waited for room found the ring empty.
            let others = core.stats.in_full_signals.get();
            emit!(out, "{}\n", core.stats.signals_out.get().saturating_sub(others))
        }),
        Attribute::ro(c"out_full_first", |core, out| {
            emit!(out, "{}\n", core.stats.out_full_first)
        }),
        Attribute::ro(c"out_full_total", |core, out| emit!(out, "{}\n", core.stats.out_full)),
        Attribute::ro(c"subchannel_id", |core, out| emit!(out, "{}\n", core.offer.subchannel)),
    ];
}

bus_attributes! {
    /// Attributes of the bus.
    pub(crate) static BUS: bus::BusType<Vmbus> = [
        // Hibernation isn't supported yet: the attribute says so, as tools expect it to be there.
        Attribute::bus_ro(c"hibernation", |_, out| emit!(out, "0\n")),
    ];
}

fn core(dev: &Device) -> &ChannelCore {
    dev.payload().core()
}

fn monitored(dev: &Device) -> bool {
    core(dev).offer.monitor.is_some()
}

/// The state as the C driver numbers it (`enum vmbus_channel_state`).
fn state_number(core: &ChannelCore) -> u32 {
    if core.open.get().is_some() {
        3
    } else if core.is_claimed() {
        1
    } else {
        0
    }
}

/// The rings of an open channel.
fn rings(core: &ChannelCore) -> Result<RingView> {
    Ok(core.open.get().ok_or(EINVAL)?.rings())
}

/// The incoming ring of an open channel; a reader is never in it for long.
fn input(core: &ChannelCore) -> Result<InView> {
    rings(core)?.input.ok_or(EAGAIN)
}

fn monitor_id(core: &ChannelCore) -> Result<MonitorId> {
    core.offer.monitor.ok_or(ENODEV)
}

/// The pending bits of the channel's monitor group.
fn show_pending(core: &ChannelCore, page: usize, out: &mut Writer<'_>) -> Result {
    let id = monitor_id(core)?;
    emit!(
        out,
        "{}\n",
        core.connection.monitor_u32(page, id.pending_offset())?
    )
}

/// How long the other side may wait before it looks, in units of 100 ns.
fn show_latency(core: &ChannelCore, page: usize, out: &mut Writer<'_>) -> Result {
    let at = monitor_id(core)?.latency_offset();
    let word = core.connection.monitor_u32(page, at & !3)?;
    emit!(out, "{}\n", (word >> ((at & 2) * 8)) & 0xffff)
}

/// The connection that the trigger signals.
fn show_conn_id(core: &ChannelCore, page: usize, out: &mut Writer<'_>) -> Result {
    let at = monitor_id(core)?.connection_id_offset();
    emit!(
        out,
        "{}\n",
        core.connection.monitor_u32(page, at)? & 0xff_ffff
    )
}

/// Moves a channel to another CPU.
fn store_cpu(core: &ChannelCore, written: &[u8]) -> Result {
    let cpu: u32 = sysfs::text(written)?.parse().map_err(|_| EINVAL)?;
    let _cpus = cpuhp::CpusRead::lock();
    if !cpuhp::is_online(cpu) {
        return Err(EINVAL);
    }
    core.set_target_cpu(cpu)
}
