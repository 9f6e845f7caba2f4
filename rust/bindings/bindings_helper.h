/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The headers whose API the kernel crate's own bindings leave out, and our C
 * helpers. `parameters` picks what of it becomes Rust.
 */

#include <linux/compiler_types.h>

#include <linux/acpi.h>
#include <linux/blk-mq.h>
#include <linux/completion.h>
#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/cpumask.h>
#include <linux/device.h>
#include <linux/device/bus.h>
#include <linux/device/driver.h>
#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/kobject.h>
#include <linux/memory.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mod_devicetable.h>
#include <linux/netdevice.h>
#include <linux/notifier.h>
#include <linux/panic_notifier.h>
#include <linux/percpu.h>
#include <linux/platform_device.h>
#include <linux/rcupdate.h>
#include <linux/reboot.h>
#include <linux/rtnetlink.h>
#include <linux/smp.h>
#include <linux/suspend.h>
#include <linux/sysfs.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>
#include <net/netdev_queues.h>
#include <scsi/scsi.h>
#include <scsi/scsi_cmnd.h>
#include <scsi/scsi_dbg.h>
#include <scsi/scsi_device.h>
#include <scsi/scsi_devinfo.h>
#include <scsi/scsi_host.h>
#include <scsi/scsi_tcq.h>
#include <clocksource/hyperv_timer.h>
#include <asm/mshyperv.h>

/* Constants that are expressions, which bindgen can't evaluate as macros. */
const u32 RUST_CONST_HELPER_HV_MSR_SYNIC_AVAILABLE = HV_MSR_SYNIC_AVAILABLE;
const u32 RUST_CONST_HELPER_HV_MSR_SYNTIMER_AVAILABLE = HV_MSR_SYNTIMER_AVAILABLE;
const u32 RUST_CONST_HELPER_HV_POST_MESSAGES = HV_POST_MESSAGES;
const u32 RUST_CONST_HELPER_HV_SIGNAL_EVENTS = HV_SIGNAL_EVENTS;
const u32 RUST_CONST_HELPER_HV_STIMER_DIRECT_MODE_AVAILABLE = HV_STIMER_DIRECT_MODE_AVAILABLE;
const u32 RUST_CONST_HELPER_HV_MSR_SCONTROL = HV_MSR_SCONTROL;
const u32 RUST_CONST_HELPER_HV_MSR_SIEFP = HV_MSR_SIEFP;
const u32 RUST_CONST_HELPER_HV_MSR_SIMP = HV_MSR_SIMP;
const u32 RUST_CONST_HELPER_HV_MSR_EOM = HV_MSR_EOM;
const u32 RUST_CONST_HELPER_HV_MSR_SINT0 = HV_MSR_SINT0;
const u32 RUST_CONST_HELPER_HV_MSR_STIMER0_CONFIG = HV_MSR_STIMER0_CONFIG;
const u64 RUST_CONST_HELPER_HVCALL_POST_MESSAGE = HVCALL_POST_MESSAGE;
const u64 RUST_CONST_HELPER_HVCALL_SIGNAL_EVENT = HVCALL_SIGNAL_EVENT;
const u64 RUST_CONST_HELPER_HV_HYPERCALL_NESTED = HV_HYPERCALL_NESTED;
const u16 RUST_CONST_HELPER_HV_STATUS_SUCCESS = HV_STATUS_SUCCESS;
const u16 RUST_CONST_HELPER_HV_STATUS_INVALID_PARAMETER = HV_STATUS_INVALID_PARAMETER;
const u16 RUST_CONST_HELPER_HV_STATUS_ACCESS_DENIED = HV_STATUS_ACCESS_DENIED;
const u16 RUST_CONST_HELPER_HV_STATUS_INSUFFICIENT_MEMORY = HV_STATUS_INSUFFICIENT_MEMORY;
const u16 RUST_CONST_HELPER_HV_STATUS_INVALID_PORT_ID = HV_STATUS_INVALID_PORT_ID;
const u16 RUST_CONST_HELPER_HV_STATUS_INVALID_CONNECTION_ID = HV_STATUS_INVALID_CONNECTION_ID;
const u16 RUST_CONST_HELPER_HV_STATUS_INSUFFICIENT_BUFFERS = HV_STATUS_INSUFFICIENT_BUFFERS;
const u8 RUST_CONST_HELPER_HYPERVISOR_CALLBACK_VECTOR = HYPERVISOR_CALLBACK_VECTOR;
const u32 RUST_CONST_HELPER_WQ_UNBOUND = WQ_UNBOUND;
const u32 RUST_CONST_HELPER_WQ_MEM_RECLAIM = WQ_MEM_RECLAIM;
const u32 RUST_CONST_HELPER_WQ_HIGHPRI = WQ_HIGHPRI;
const u32 RUST_CONST_HELPER_WQ_FREEZABLE = WQ_FREEZABLE;
const u32 RUST_CONST_HELPER_WQ_PERCPU = WQ_PERCPU;
const u32 RUST_CONST_HELPER_HZ_VALUE = HZ;
const u8 RUST_CONST_HELPER_HASH_TOEPLITZ = ETH_RSS_HASH_TOP;
const u32 RUST_CONST_HELPER_INDIR_NO_CHANGE = ETH_RXFH_INDIR_NO_CHANGE;
const u8 RUST_CONST_HELPER_HASH_NO_CHANGE = ETH_RSS_HASH_NO_CHANGE;
const u32 RUST_CONST_HELPER_HASH_ADDRESSES = RXH_IP_SRC | RXH_IP_DST;
const u32 RUST_CONST_HELPER_HASH_PORTS = RXH_L4_B_0_1 | RXH_L4_B_2_3;
const u32 RUST_CONST_HELPER_FLOW_TCP_V4 = TCP_V4_FLOW;
const u32 RUST_CONST_HELPER_FLOW_TCP_V6 = TCP_V6_FLOW;
const u32 RUST_CONST_HELPER_FLOW_UDP_V4 = UDP_V4_FLOW;
const u32 RUST_CONST_HELPER_FLOW_UDP_V6 = UDP_V6_FLOW;
const u32 RUST_CONST_HELPER_FLOW_IP_V4 = IPV4_FLOW;
const u32 RUST_CONST_HELPER_FLOW_IP_V6 = IPV6_FLOW;
const u32 RUST_CONST_HELPER_SKB_FRAGS = MAX_SKB_FRAGS;
const int RUST_CONST_HELPER_WORK_CPU_UNBOUND = WORK_CPU_UNBOUND;
const int RUST_CONST_HELPER_CPUHP_AP_ONLINE_DYN = CPUHP_AP_ONLINE_DYN;
const int RUST_CONST_HELPER_NUMA_NO_NODE = NUMA_NO_NODE;
const int RUST_CONST_HELPER_NOTIFY_DONE = NOTIFY_DONE;
const int RUST_CONST_HELPER_MHP_MERGE_RESOURCE = MHP_MERGE_RESOURCE;
const u64 RUST_CONST_HELPER_MEM_ONLINE = MEM_ONLINE;
const u64 RUST_CONST_HELPER_MEM_OFFLINE = MEM_OFFLINE;
const u64 RUST_CONST_HELPER_MEM_CANCEL_ONLINE = MEM_CANCEL_ONLINE;
const u64 RUST_CONST_HELPER_BLIST_REPORTLUN2 = (__force u64)BLIST_REPORTLUN2;
const u64 RUST_CONST_HELPER_BLIST_TRY_VPD_PAGES = (__force u64)BLIST_TRY_VPD_PAGES;
const u32 RUST_CONST_HELPER_SCSI_SENSE_BUFFERSIZE = SCSI_SENSE_BUFFERSIZE;
const char RUST_CONST_HELPER_SCSI_SPC_3 = SCSI_SPC_3;
const u32 RUST_CONST_HELPER_SCMD_LAST = SCMD_LAST;
const int RUST_CONST_HELPER_SCSI_EH_SUCCESS = SUCCESS;
const int RUST_CONST_HELPER_SCSI_EH_FAILED = FAILED;

#include "../helpers/helpers.c"
#include "../net/helpers.c"
#include "../net/receive.c"
#include "../net/xdp.c"
#include "../scsi/helpers.c"
