// SPDX-License-Identifier: GPL-2.0

#include <asm/barrier.h>

void hv_helper_virt_mb(void);
void hv_helper_virt_mb(void)
{
	virt_mb();
}
