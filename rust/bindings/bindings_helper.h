/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The headers whose API the kernel crate's own bindings leave out, and our C
 * helpers. `parameters` picks what of it becomes Rust.
 */

#include <linux/compiler_types.h>

#include <linux/acpi.h>
#include <linux/completion.h>
#include <linux/cpuhotplug.h>
#include <linux/device.h>
#include <linux/device/bus.h>
#include <linux/device/driver.h>
#include <linux/kobject.h>
#include <linux/memory.h>
#include <linux/mm.h>
#include <linux/mod_devicetable.h>
#include <linux/notifier.h>
#include <linux/panic_notifier.h>
#include <linux/percpu.h>
#include <linux/platform_device.h>
#include <linux/rcupdate.h>
#include <linux/smp.h>
#include <linux/sysfs.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>
#include <asm/mshyperv.h>

#include "../helpers/helpers.c"
