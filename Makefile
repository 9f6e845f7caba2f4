# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# The front door. `make help` says what there is. Every target does the set-up it
# needs, and does it once: the work is in tools/lab and tools/check.

# SUITE is the Debian release of the build root, and in `make check` the suite to run.
CHECKING := $(filter check check-%,$(MAKECMDGOALS))
ifneq ($(CHECKING),)
export CHECK_SUITE := $(SUITE)
else ifneq ($(SUITE),)
export DEBIAN_SUITE := $(SUITE)
endif
export TEST KERNEL CLIPPY V JOBS MIRROR VMBUS_CACHE

.NOTPARALLEL:
.DEFAULT_GOAL := help

help: ## this list
	@echo "vmbus-rs: Hyper-V guest drivers for Linux in Rust"
	@echo
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "Settings: KERNEL=<release>   another kernel (tools/lab/kernel --list names them)"
	@echo "          SUITE=<name>       check: one suite; else: the build root's Debian release"
	@echo "          TEST=<name>        check: one case"
	@echo "          V=1                show everything each step prints"
	@echo "          VMBUS_CACHE=<dir>  where downloads and the build root live"
	@echo "          DESTDIR=<dir>      install: below this directory"

all: modules ## same as modules

deps: ## the few packages the lab needs on this machine
	@tools/lab/deps

root: ## the build root: compilers and QEMU, in the cache
	@tools/lab/root

kernel: root ## a kernel to work with and its Rust metadata, in the cache
	@tools/lab/kernel >/dev/null

metadata: kernel ## same as kernel

modules: kernel ## build the modules for that kernel
	@tools/lab/modules >/dev/null

demo: modules ## a guest with our vmbus.ko on a real VMBus, and what it shows
	@tools/lab/run-demo

shell: modules ## the same guest with a shell in it
	@tools/lab/run-shell

hvhost: root ## our own VMBus host: static binaries of hvhost and hvctl
	@tools/lab/hvhost

host-shell: modules ## a guest on hvhost, with disks and a NIC and a shell in it
	@tools/lab/run-shell host-shell

check: ## all checks and tests; SUITE=lint|cargo|fuzz|build|bus|host|storage|net, TEST=<case>
	@tools/check/run

debug-kernel: kernel ## the debug kernel: KASAN, lockdep, UBSAN, kmemleak
	@tools/lab/debug-kernel >/dev/null

check-debug: debug-kernel ## the guest suites of our modules in the debug kernel
	@tools/check/run debug-build debug-bus debug-storage debug-net

check-full: ## everything: check, then check-debug, with one result
	@CHECK_FULL=1 tools/check/run

bench: root ## measure the module's ring code in user space
	@tools/lab/in-root nice tools/bench/ring

bench-host: modules ## measure the C drivers on hvhost beside virtio on QEMU
	@tools/bench/host

bench-storage: modules ## measure our disk driver beside the C one, virtio and AHCI
	@tools/bench/storage

bench-net: modules ## measure our NIC driver beside the C one, virtio and e1000
	@tools/bench/net

install: ## build the modules for the running kernel and install them
	@tools/lab/install-modules

clean: ## remove what was built in this tree
	rm -rf build target

distclean: clean ## remove the cache as well: build root, kernels, images
	@tools/lab/remove-cache

.PHONY: help all deps root kernel metadata modules demo shell hvhost host-shell check debug-kernel check-debug \
	check-full bench bench-host bench-storage bench-net install clean distclean
