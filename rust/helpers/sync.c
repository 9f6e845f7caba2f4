// SPDX-License-Identifier: GPL-2.0

#include <linux/completion.h>
#include <linux/jiffies.h>

void hv_helper_init_completion(struct completion *c)
{
	init_completion(c);
}

void hv_helper_reinit_completion(struct completion *c)
{
	reinit_completion(c);
}

unsigned long hv_helper_msecs_to_jiffies(unsigned int ms)
{
	return msecs_to_jiffies(ms);
}
