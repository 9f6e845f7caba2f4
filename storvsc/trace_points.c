// SPDX-License-Identifier: GPL-2.0
/* The trace points, and functions that Rust can call for them: see trace.rs. */

#include <linux/types.h>

#define CREATE_TRACE_POINTS
#include "storvsc_trace.h"

bool storvsc_tracing(void)
{
	return trace_storvsc_submit_enabled() || trace_storvsc_complete_enabled();
}

void storvsc_trace_submit(u32 host, u32 bus, u32 target, u32 lun, u32 tag, u8 opcode, u32 bytes)
{
	trace_storvsc_submit(host, bus, target, lun, tag, opcode, bytes);
}

void storvsc_trace_complete(u32 host, u32 bus, u32 target, u32 lun, u32 tag, u8 opcode,
			    u16 channel, u8 srb_status, u8 scsi_status, u64 ns)
{
	trace_storvsc_complete(host, bus, target, lun, tag, opcode, channel, srb_status,
			       scsi_status, ns);
}
