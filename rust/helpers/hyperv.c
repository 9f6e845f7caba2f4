// SPDX-License-Identifier: GPL-2.0

#include <asm/mshyperv.h>

u64 hv_helper_hv_get_msr(unsigned int reg);
u64 hv_helper_hv_get_msr(unsigned int reg)
{
	return hv_get_msr(reg);
}
