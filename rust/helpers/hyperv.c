// SPDX-License-Identifier: GPL-2.0

#include <linux/irqflags.h>
#include <linux/percpu.h>
#include <linux/suspend.h>
#include <asm/mshyperv.h>

bool hv_helper_hv_root_partition(void)
{
	return hv_root_partition();
}

bool hv_helper_hv_paravisor_present(void)
{
	return ms_hyperv.paravisor_present;
}

bool hv_helper_hv_recommend_using_aeoi(void)
{
	return hv_recommend_using_aeoi();
}

/* Reads this CPU's pointer: the caller has interrupts off. */
void *hv_helper_hv_input_page(void)
{
	return *this_cpu_ptr(hyperv_pcpu_input_arg);
}

u64 hv_helper_hv_do_hypercall(u64 control, void *input, void *output)
{
	return hv_do_hypercall(control, input, output);
}

/* `control` keeps its upper bits (nested), which hv_do_fast_hypercall8() cuts off. */
u64 hv_helper_hv_fast_hypercall8(u64 control, u64 input)
{
	return _hv_do_fast_hypercall8(control | HV_HYPERCALL_FAST_BIT, input);
}

unsigned long hv_helper_irq_save(void)
{
	unsigned long flags;

	local_irq_save(flags);
	return flags;
}

void hv_helper_irq_restore(unsigned long flags)
{
	local_irq_restore(flags);
}

unsigned int hv_helper_lock_system_sleep(void)
{
	return lock_system_sleep();
}

void hv_helper_unlock_system_sleep(unsigned int flags)
{
	unlock_system_sleep(flags);
}
