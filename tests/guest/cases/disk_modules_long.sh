# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# disk_modules, fifty times.

ROUNDS=50
# shellcheck source=tests/guest/cases/disk_modules.sh
. /tests/cases/disk_modules.sh
