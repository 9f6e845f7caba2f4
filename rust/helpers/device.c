// SPDX-License-Identifier: GPL-2.0

#include <linux/device.h>
#include <linux/kobject.h>
#include <linux/platform_device.h>
#include <linux/rcupdate.h>

int hv_helper_device_match_driver_override(struct device *dev,
					   const struct device_driver *drv)
{
	return device_match_driver_override(dev, drv);
}

bool hv_helper_device_trylock(struct device *dev)
{
	return device_trylock(dev);
}

void hv_helper_device_unlock(struct device *dev)
{
	device_unlock(dev);
}

/*
 * Whether /sys/bus/<name> exists. bus_register() of a taken name fails as well,
 * but only after sysfs has dumped the stack. The set of all buses isn't exported;
 * every registered bus is a member of it, and the platform bus is always there
 * (bus_get_kset() takes no reference).
 */
bool hv_helper_bus_name_taken(const char *name)
{
	struct kset *platform = bus_get_kset(&platform_bus_type);
	struct kobject *found = NULL;

	if (!platform)
		return false;
	if (platform->kobj.kset)
		found = kset_find_obj(platform->kobj.kset, name);
	if (!found)
		return false;
	kobject_put(found);
	return true;
}

/* A macro where no task is ever preempted. */
void hv_helper_synchronize_rcu_tasks(void)
{
	synchronize_rcu_tasks();
}
