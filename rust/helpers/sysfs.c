// SPDX-License-Identifier: GPL-2.0

#include <linux/device.h>
#include <linux/kobject.h>
#include <linux/sysfs.h>

/*
 * Whether the directory of @kobj has an entry @name. Making it a second time fails
 * as well, but only after sysfs has dumped the stack.
 */
bool hv_helper_sysfs_has_entry(struct kobject *kobj, const char *name)
{
	struct kernfs_node *kn;

	kn = kobj->sd ? sysfs_get_dirent(kobj->sd, name) : NULL;
	if (!kn)
		return false;
	sysfs_put(kn);
	return true;
}

/*
 * rust/sysfs.rs lays these out itself, because bindgen gives the members of their
 * anonymous unions names that change with every kernel release: two function
 * pointers behind a struct attribute, and six pointers for a group.
 */
#define HV_ATTRIBUTE_LAYOUT(type)						\
	static_assert(offsetof(struct type, attr) == 0);			\
	static_assert(offsetof(struct type, show) == sizeof(struct attribute));	\
	static_assert(offsetof(struct type, store) ==				\
		      sizeof(struct attribute) + sizeof(void *));		\
	static_assert(sizeof(struct type) ==					\
		      sizeof(struct attribute) + 2 * sizeof(void *))

HV_ATTRIBUTE_LAYOUT(device_attribute);
HV_ATTRIBUTE_LAYOUT(bus_attribute);
HV_ATTRIBUTE_LAYOUT(driver_attribute);
HV_ATTRIBUTE_LAYOUT(kobj_attribute);

static_assert(offsetof(struct attribute_group, name) == 0);
static_assert(offsetof(struct attribute_group, is_visible) == sizeof(void *));
static_assert(offsetof(struct attribute_group, attrs) == 4 * sizeof(void *));
static_assert(sizeof(struct attribute_group) == 6 * sizeof(void *));
