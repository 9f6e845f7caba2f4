// SPDX-License-Identifier: GPL-2.0
/*
 * C macros and inline functions can't be called from Rust; each gets a real
 * function here, named hv_helper_<name>, which bindgen exposes as <name>.
 * One file a subsystem, sorted.
 */

#include "acpi.c"
#include "barrier.c"
#include "compat.c"
#include "cpu.c"
#include "device.c"
#include "hyperv.c"
#include "lock.c"
#include "memory.c"
#include "pages.c"
#include "sync.c"
#include "sysfs.c"
#include "tasklet.c"
#include "workqueue.c"
