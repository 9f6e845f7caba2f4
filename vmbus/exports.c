// SPDX-License-Identifier: GPL-2.0
/*
 * Exports the Rust symbols of the crates inside vmbus.ko to the modules that
 * use them, as rust/exports.c of the kernel does for the kernel crate. The
 * list is generated from the objects' symbol tables (see Kbuild).
 */

#include <linux/export.h>

#define EXPORT_SYMBOL_RUST_GPL(sym) extern int sym; EXPORT_SYMBOL_GPL(sym)

#include "exports_generated.h"
