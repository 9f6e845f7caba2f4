// SPDX-License-Identifier: GPL-2.0

//! Trace points `storvsc:storvsc_submit` and `storvsc:storvsc_complete`.
//!
//! The events are defined in C (`storvsc_trace.h`), as the kernel's macros want it, and the functions
//! below are those of `trace_points.c` that pass numbers on to them.

use scsi::Info;

use crate::controller::Controller;

// These functions take numbers and touch nothing else, so calling them is safe.
unsafe extern "C" {
    safe fn storvsc_tracing() -> bool;
    safe fn storvsc_trace_submit(
        host: u32,
        bus: u32,
        target: u32,
        lun: u32,
        tag: u32,
        opcode: u8,
        bytes: u32,
    );
    safe fn storvsc_trace_complete(
        host: u32,
        bus: u32,
        target: u32,
        lun: u32,
        tag: u32,
        opcode: u8,
        channel: u16,
        srb_status: u8,
        scsi_status: u8,
        ns: u64,
    );
}

fn tag_of(command: &Info<Controller>) -> u32 {
    let tag = command.tag();
    u32::from(tag.queue) << 16 | u32::from(tag.number)
}

/// A command is about to be sent.
#[inline]
pub(crate) fn submit(controller: &Controller, command: &Info<Controller>) {
    if !storvsc_tracing() {
        return;
    }
    let address = command.address();
    storvsc_trace_submit(
        controller.host_number(),
        address.channel,
        address.target,
        address.lun as u32,
        tag_of(command),
        command.opcode(),
        command.bytes(),
    );
}

/// A command was answered on a channel after so many nanoseconds.
#[inline]
pub(crate) fn complete(
    controller: &Controller,
    channel: u16,
    command: &Info<Controller>,
    srb_status: u8,
    scsi_status: u8,
    ns: u64,
) {
    if !storvsc_tracing() {
        return;
    }
    let address = command.address();
    storvsc_trace_complete(
        controller.host_number(),
        address.channel,
        address.target,
        address.lun as u32,
        tag_of(command),
        command.opcode(),
        channel,
        srb_status,
        scsi_status,
        ns,
    );
}
