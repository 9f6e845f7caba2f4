// SPDX-License-Identifier: GPL-2.0 OR MIT
//! storvsp: synthetic SCSI controllers.
