# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=busybox disable=SC2034,SC2154
# disk_churn, a hundred times.

ROUNDS=100
# shellcheck source=tests/guest/cases/disk_churn.sh
. /tests/cases/disk_churn.sh
