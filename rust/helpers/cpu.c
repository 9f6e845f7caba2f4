// SPDX-License-Identifier: GPL-2.0

#include <linux/cpu.h>
#include <linux/cpumask.h>
#include <linux/preempt.h>
#include <linux/smp.h>
#include <linux/topology.h>

void hv_helper_preempt_disable(void)
{
	preempt_disable();
}

void hv_helper_preempt_enable(void)
{
	preempt_enable();
}

unsigned int hv_helper_raw_smp_processor_id(void)
{
	return raw_smp_processor_id();
}

int hv_helper_cpu_to_node(unsigned int cpu)
{
	return cpu_to_node(cpu);
}

/* The next CPU of the mask at or after @cpu, or nr_cpu_ids or more. */
unsigned int hv_helper_next_online_cpu(unsigned int cpu)
{
	return cpumask_next((int)cpu - 1, cpu_online_mask);
}

unsigned int hv_helper_next_possible_cpu(unsigned int cpu)
{
	return cpumask_next((int)cpu - 1, cpu_possible_mask);
}

bool hv_helper_cpu_online(unsigned int cpu)
{
	return cpu_online(cpu);
}

void hv_helper_on_each_cpu(smp_call_func_t func, void *info)
{
	on_each_cpu(func, info, 1);
}
