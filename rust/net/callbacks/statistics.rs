// SPDX-License-Identifier: GPL-2.0

//! Counters of queues.

use core::mem::MaybeUninit;

use kernel::ffi;

use super::{
    super::driver::{
        NicDriver,
        QueueStatistics, //
    },
    driver, //
};

struct Tables<T>(T);

impl<T: NicDriver> Tables<T> {
    #[allow(clippy::needless_update, reason = "kernels may know more")]
    const STATISTICS: hv_bindings::netdev_stat_ops = table!(netdev_stat_ops {
        get_queue_stats_rx: receive::<T>;
        get_queue_stats_tx: send::<T>;
        get_base_stats: base::<T>;
    });
}

/// The table of a driver.
pub(in super::super) fn operations<T: NicDriver>() -> &'static hv_bindings::netdev_stat_ops {
    &Tables::<T>::STATISTICS
}

/// Those of a queue; zero if there is none.
fn of_queue<T: NicDriver>(driver: &T, queue: ffi::c_int) -> QueueStatistics {
    usize::try_from(queue)
        .ok()
        .and_then(|queue| driver.queue_statistics(queue))
        .unwrap_or_default()
}

fn write_receive(out: &mut hv_bindings::netdev_queue_stats_rx, of: &QueueStatistics) {
    out.packets = of.rx_packets;
    out.bytes = of.rx_bytes;
    out.alloc_fail = of.rx_no_memory;
    out.csum_unnecessary = of.rx_checksum_good;
}

fn write_send(out: &mut hv_bindings::netdev_queue_stats_tx, of: &QueueStatistics) {
    out.packets = of.tx_packets;
    out.bytes = of.tx_bytes;
    out.stop = of.tx_stopped;
    out.wake = of.tx_woken;
}

extern "C" fn receive<T: NicDriver>(
    raw: *mut hv_bindings::net_device,
    queue: ffi::c_int,
    out: *mut hv_bindings::netdev_queue_stats_rx,
) {
    // SAFETY: The stack calls with a device of this driver, and a place of its own that was written.
    let (driver, out) = unsafe { (driver::<T>(raw).0, &mut *out) };
    write_receive(out, &of_queue(&*driver, queue));
}

extern "C" fn send<T: NicDriver>(
    raw: *mut hv_bindings::net_device,
    queue: ffi::c_int,
    out: *mut hv_bindings::netdev_queue_stats_tx,
) {
    // SAFETY: As for `receive`.
    let (driver, out) = unsafe { (driver::<T>(raw).0, &mut *out) };
    write_send(out, &of_queue(&*driver, queue));
}

/// What queues counted that aren't in use now.
extern "C" fn base<T: NicDriver>(
    raw: *mut hv_bindings::net_device,
    receive: *mut hv_bindings::netdev_queue_stats_rx,
    send: *mut hv_bindings::netdev_queue_stats_tx,
) {
    // SAFETY: As for `receive`.
    let ((driver, dev), receive, send) = unsafe { (driver::<T>(raw), &mut *receive, &mut *send) };
    let mut sum = QueueStatistics::default();
    let mut queue = dev.receive_queues() as usize;
    while let Some(one) = driver.queue_statistics(queue) {
        sum.rx_packets += one.rx_packets;
        sum.rx_bytes += one.rx_bytes;
        sum.rx_no_memory += one.rx_no_memory;
        sum.rx_checksum_good += one.rx_checksum_good;
        sum.tx_packets += one.tx_packets;
        sum.tx_bytes += one.tx_bytes;
        sum.tx_stopped += one.tx_stopped;
        sum.tx_woken += one.tx_woken;
        queue += 1;
    }
    write_receive(receive, &sum);
    write_send(send, &sum);
}
