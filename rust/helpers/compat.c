// SPDX-License-Identifier: GPL-2.0
/*
 * What differs between the kernels that the modules are built for, in one
 * place.
 */

#include <clocksource/hyperv_timer.h>
#include <linux/smp.h>
#include <linux/version.h>

/*
 * Timers that send messages instead of interrupting by themselves. 7.3 has
 * done away with them: it uses the local APIC's timer instead.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 3, 0)
bool hv_helper_stimer_message_init(unsigned int cpu, int sint)
{
	hv_stimer_legacy_init(cpu, sint);
	return true;
}

void hv_helper_stimer_message_cleanup(unsigned int cpu)
{
	hv_stimer_legacy_cleanup(cpu);
}

void hv_helper_stimer_message_isr(void)
{
	hv_stimer0_isr();
}
#else
bool hv_helper_stimer_message_init(unsigned int cpu, int sint)
{
	return false;
}

void hv_helper_stimer_message_cleanup(unsigned int cpu)
{
}

void hv_helper_stimer_message_isr(void)
{
}
#endif

/* The type of the last argument differs. */
int hv_helper_smp_call_and_wait(int cpu, smp_call_func_t func, void *info)
{
	return smp_call_function_single(cpu, func, info, true);
}
