// SPDX-License-Identifier: GPL-2.0

#include <asm/barrier.h>

void hv_helper_virt_mb(void)
{
	/* What it pairs with is the caller's affair. */
	virt_mb();
}
