// SPDX-License-Identifier: GPL-2.0

#include <linux/acpi.h>

struct device *hv_helper_acpi_companion_device(struct device *dev)
{
	struct acpi_device *adev = ACPI_COMPANION(dev);

	return adev ? &adev->dev : NULL;
}
