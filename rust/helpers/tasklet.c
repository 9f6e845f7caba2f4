// SPDX-License-Identifier: GPL-2.0

#include <linux/interrupt.h>

void hv_helper_tasklet_schedule(struct tasklet_struct *tasklet)
{
	tasklet_schedule(tasklet);
}
