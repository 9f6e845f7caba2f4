// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A guest for tests that is no machine: speaks to a bus through a pretended hypervisor.
