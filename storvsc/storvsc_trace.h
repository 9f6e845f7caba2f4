/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM storvsc

#if !defined(_STORVSC_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _STORVSC_TRACE_H

#include <linux/tracepoint.h>

TRACE_EVENT(storvsc_submit,
	TP_PROTO(u32 host, u32 bus, u32 target, u32 lun, u32 tag, u8 opcode, u32 bytes),
	TP_ARGS(host, bus, target, lun, tag, opcode, bytes),
	TP_STRUCT__entry(
		__field(u32, host)
		__field(u32, bus)
		__field(u32, target)
		__field(u32, lun)
		__field(u32, tag)
		__field(u32, bytes)
		__field(u8, opcode)
	),
	TP_fast_assign(
		__entry->host = host;
		__entry->bus = bus;
		__entry->target = target;
		__entry->lun = lun;
		__entry->tag = tag;
		__entry->bytes = bytes;
		__entry->opcode = opcode;
	),
	TP_printk("%u:%u:%u:%u tag=%u:%u opcode=0x%02x bytes=%u",
		  __entry->host, __entry->bus, __entry->target, __entry->lun,
		  __entry->tag >> 16, __entry->tag & 0xffff, __entry->opcode, __entry->bytes)
);

TRACE_EVENT(storvsc_complete,
	TP_PROTO(u32 host, u32 bus, u32 target, u32 lun, u32 tag, u8 opcode, u16 channel,
		 u8 srb_status, u8 scsi_status, u64 ns),
	TP_ARGS(host, bus, target, lun, tag, opcode, channel, srb_status, scsi_status, ns),
	TP_STRUCT__entry(
		__field(u64, ns)
		__field(u32, host)
		__field(u32, bus)
		__field(u32, target)
		__field(u32, lun)
		__field(u32, tag)
		__field(u16, channel)
		__field(u8, opcode)
		__field(u8, srb_status)
		__field(u8, scsi_status)
	),
	TP_fast_assign(
		__entry->ns = ns;
		__entry->host = host;
		__entry->bus = bus;
		__entry->target = target;
		__entry->lun = lun;
		__entry->tag = tag;
		__entry->channel = channel;
		__entry->opcode = opcode;
		__entry->srb_status = srb_status;
		__entry->scsi_status = scsi_status;
	),
	TP_printk("%u:%u:%u:%u tag=%u:%u opcode=0x%02x channel=%u srb=0x%02x scsi=0x%02x us=%llu",
		  __entry->host, __entry->bus, __entry->target, __entry->lun,
		  __entry->tag >> 16, __entry->tag & 0xffff, __entry->opcode, __entry->channel,
		  __entry->srb_status, __entry->scsi_status, __entry->ns / 1000)
);

/* Called from Rust only (trace.rs). */
bool storvsc_tracing(void);
void storvsc_trace_submit(u32 host, u32 bus, u32 target, u32 lun, u32 tag, u8 opcode, u32 bytes);
void storvsc_trace_complete(u32 host, u32 bus, u32 target, u32 lun, u32 tag, u8 opcode,
			    u16 channel, u8 srb_status, u8 scsi_status, u64 ns);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE storvsc_trace
#include <trace/define_trace.h>
