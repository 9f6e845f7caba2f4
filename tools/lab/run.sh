# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=bash
#
# What run-suite, run-demo and run-shell share: builds the runner (tools/lab/runner),
# makes the images, and puts the runner's arguments together. Source it after lib.sh.
#
# Settings (environment), besides those of lib.sh:
#   LAB_ACCEL=direct|nested   override the choice of acceleration
#   LAB_JOBS=N                labs side by side, one CPU each when nested (default: half
#                             the CPUs; the other half is for who else works here)
#   LAB_TIMEOUT_SCALE=X       multiplies every time-out       (default 1, debug kernel 4)
#   STACK=rust|c              whose drivers the guests use               (default rust)

IMAGES=$REPO/build/images
VMLAB=$REPO/build/lab/vmlab
STACK=${STACK:-rust}
export STACK

# root_program NAME ARG...: runs /usr/bin/NAME of the build root right here, through the
# build root's own dynamic loader: no chroot, no privileges, this machine's paths.
root_program() {
	local name=$1 file=$ROOT/usr/bin/$1
	shift
	# depmod, modprobe and modinfo are names of one program.
	case $name in depmod | modprobe | modinfo) file=$ROOT/usr/bin/kmod ;; esac
	"$ROOT/lib64/ld-linux-x86-64.so.2" --argv0 "$name" \
		--library-path "$ROOT/usr/lib/x86_64-linux-gnu" "$file" "$@"
}

# libraries_of FILE: the shared libraries of a program of the build root, the loader too.
libraries_of() {
	"$ROOT/lib64/ld-linux-x86-64.so.2" --library-path "$ROOT/usr/lib/x86_64-linux-gnu" \
		--list "$1" | awk '$3 ~ /^\// { print $3 }'
	echo "$ROOT/lib64/ld-linux-x86-64.so.2"
}

# The runner is static: it runs as it is inside L1, whose image has no library for it.
cargo_build_runner() {
	# By the build root's compiler: this machine need not have one.
	cd "$REPO" && in_root RUSTFLAGS="-C target-feature=+crt-static" nice cargo build \
		--release --locked --package vmlab --target x86_64-unknown-linux-gnu \
		--target-dir build/lab/cargo
}

# build_runner: up to date in $VMLAB; says something only when there is work.
build_runner() {
	local built=$REPO/build/lab/cargo/x86_64-unknown-linux-gnu/release/vmlab
	if [[ ! -e $VMLAB ]]; then
		step runner "building the lab's runner" cargo_build_runner
	else
		local newer
		newer=$(find "$LAB/runner" "$REPO/Cargo.lock" -newer "$VMLAB" -type f | head -n 1)
		[[ -z $newer ]] || step runner "building the lab's runner" cargo_build_runner
	fi
	if [[ ! -e $VMLAB || $built -nt $VMLAB ]]; then
		# In one step: another run may be executing the old one.
		cp "$built" "$VMLAB.$$"
		mv "$VMLAB.$$" "$VMLAB"
	fi
	# Cargo leaves the binary alone when only comments or tests changed.
	touch "$VMLAB"
}

# image NAME: makes $IMAGES/NAME-<hash>.cpio of the list on stdin, prints its path.
image() {
	local list
	mkdir -p "$IMAGES"
	list=$(mktemp "$IMAGES/.list.XXXXXX")
	cat >"$list"
	"$VMLAB" image --list "$list" --dir "$IMAGES" --name "$1" || {
		rm -f "$list"
		die "the image $1 can't be made"
	}
	rm -f "$list"
}

# stock_modules RELEASE DIR MODULE...: unpacks modules of a kernel and what they need
# into DIR; what is built in or not there at all is left out.
stock_modules() {
	local release=$1 dir=$2 tree
	shift 2
	# modprobe wants lib/modules/<release>; the cache keeps only the inner directory.
	tree=$(mktemp -d "$IMAGES/.tree.XXXXXX")
	mkdir -p "$tree/lib/modules" "$dir"
	ln -s "$KERNELS/$release/modules" "$tree/lib/modules/$release"
	local module word file name
	for module in "$@"; do
		while read -r word file _; do
			[[ $word == insmod ]] || continue
			name=$(basename "$file")
			case $name in
			*.ko) cp "$file" "$dir/$name" ;;
			*.ko.xz) root_program xz -dc "$file" >"$dir/${name%.xz}" ;;
			*.ko.zst) root_program zstd -qdc "$file" >"$dir/${name%.zst}" ;;
			*.ko.gz) gzip -dc "$file" >"$dir/${name%.gz}" ;;
			esac
		done < <(root_program modprobe -d "$tree" -S "$release" --show-depends "$module" 2>/dev/null)
	done
	rm -rf "$tree"
}

# files_in DIR INSIDE MODE: list entries for every file below DIR.
files_in() {
	local file
	while IFS= read -r file; do
		echo "file $2/$file $1/$file $3"
	done < <(cd "$1" && find . -type f | sed 's|^\./||' | LC_ALL=C sort)
}

# busybox_entries: busybox with all its names, and the directories of any system.
busybox_entries() {
	local name dir
	for dir in dev proc sys run tmp root etc; do echo "dir /$dir 755"; done
	echo "file /bin/busybox $ROOT/usr/bin/busybox 755"
	for name in $("$ROOT/usr/bin/busybox" --list); do
		[[ $name == busybox ]] || echo "slink /bin/$name busybox"
	done
	# The kernel calls these by their full names.
	echo "slink /sbin/modprobe /bin/busybox"
	echo "slink /sbin/poweroff /bin/busybox"
	echo "slink /usr/bin/env /bin/busybox"
	# Before init opens its own; without it init has no console to complain on.
	echo "nod /dev/console 600 5 1"
	echo "nod /dev/null 666 1 3"
}

# library_entries FILE...: list entries for programs of the build root and their libraries.
library_entries() {
	local file
	for file in "$@"; do
		echo "file ${file#"$ROOT"} $file 755"
		libraries_of "$file"
	done | LC_ALL=C sort -u | while read -r word rest; do
		if [[ $word == file ]]; then
			echo "$word $rest"
		elif [[ $word == *ld-linux* ]]; then
			echo "file /lib64/ld-linux-x86-64.so.2 $word 755"
		else
			# Every image keeps its libraries where the loader looks without any help.
			echo "file /usr/lib/x86_64-linux-gnu/$(basename "$word") $word 755"
			echo "slink /lib/x86_64-linux-gnu /usr/lib/x86_64-linux-gnu"
		fi
	done
}

# guest_image RELEASE: init, cases, our modules and the stock ones that cases use.
guest_image() {
	local release=$1 stage stack
	stage=$(mktemp -d "$IMAGES/.stage.XXXXXX")
	mkdir -p "$stage"/{rust,c}/lib/modules/"$release"
	shopt -s nullglob
	local ours=("$REPO/build/modules/$release"/*.ko)
	shopt -u nullglob
	local module
	for module in "${ours[@]}"; do
		# Debug information is most of the file, and the guest only carries it around.
		root_program strip --strip-debug -o "$stage/rust/lib/modules/$release/$(basename "$module")" \
			"$module"
	done
	stock_modules "$release" "$stage/c/lib/modules/$release" hv_balloon hv_utils
	for stack in rust c; do
		root_program depmod -b "$stage/$stack" "$release" 2>/dev/null ||
			die "depmod fails for the $stack modules of $release"
	done
	{
		busybox_entries
		files_in "$REPO/tests/guest" /tests 755
		echo "slink /init /tests/init"
		files_in "$stage/rust/lib/modules" /stack/rust 644
		files_in "$stage/c/lib/modules" /stack/c 644
		echo "dir /stack/rust/$release 755"
		echo "dir /stack/c/$release 755"
	} | image "guest-$release"
	rm -rf "$stage"
}

# python_image: python3 with just the modules that lsvmbus loads, and lsvmbus.
python_image() {
	local release=$1 script=$KERNELS/$1/source/tools/hv/lsvmbus file stage
	stage=$(mktemp "$IMAGES/.py.XXXXXX")
	# The paths of what the interpreter loads for this script's imports, in the build root.
	PYTHONHOME=$ROOT/usr PYTHONDONTWRITEBYTECODE=1 root_program python3 -S -c '
import os, sys, encodings.utf_8, encodings.ascii, encodings.latin_1, optparse, site, subprocess
for m in list(sys.modules.values()):
    f = getattr(m, "__file__", None)
    if f and os.path.isfile(f):
        print(f)' >"$stage" || die "the build root has no python3 that works"
	{
		library_entries "$(readlink -f "$ROOT/usr/bin/python3")"
		echo "slink /usr/bin/python3 $(basename "$(readlink -f "$ROOT/usr/bin/python3")")"
		while IFS= read -r file; do
			case $file in
			*.so) library_entries "$file" ;;
			*) echo "file ${file#"$ROOT"} $file 644" ;;
			esac
		done < <(LC_ALL=C sort -u "$stage")
		# Missed loudly at every start otherwise.
		echo "dir /usr/lib/$(basename "$(readlink -f "$ROOT/usr/bin/python3")")/lib-dynload 755"
		echo "file /usr/bin/lsvmbus $script 755"
	} | image "python-$release"
	rm -f "$stage"
}

# kexec_image: kexec, and a kernel and RAM disk ($2) to start with it.
kexec_image() {
	{
		library_entries "$ROOT/usr/sbin/kexec"
		echo "file /boot/vmlinuz $KERNELS/$1/vmlinuz 644"
		echo "file /boot/initrd $2 644"
	} | image "kexec-$1"
}

# l1_images: init with KVM, and QEMU; both for the emulated machine.
l1_images() {
	local stage firmware
	stage=$(mktemp -d "$IMAGES/.stage.XXXXXX")
	stock_modules "$1" "$stage" kvm_amd
	{
		busybox_entries
		echo "file /init $LAB/l1-init 755"
		files_in "$stage" /modules 644
	} | image "l1-$1"
	rm -rf "$stage"
	{
		library_entries "$ROOT/usr/bin/qemu-system-x86_64"
		for firmware in qemu/linuxboot_dma.bin qemu/kvmvapic.bin seabios/bios-256k.bin; do
			echo "file /usr/share/$firmware $(readlink -f "$ROOT/usr/share/$firmware") 644"
		done
	} | image qemu
}

# runner_args SUITE NAME: sets RUN, the arguments of `vmlab run` or `shell` for the suite
# file tests/scenarios/SUITE.json, with logs in build/logs/NAME/guests (what is beside that
# directory belongs to whoever called).
runner_args() {
	local suite=$1 logs=$REPO/build/logs/$2/guests release guest l1=() stock
	mkdir -p "$IMAGES"
	release=$(lab_release)
	# L1 always runs the stock kernel, also when the guests run the debug one.
	stock=${release%-debug}
	guest=$(guest_image "$release")
	RUN=(--suite "$REPO/tests/scenarios/$suite.json" --logs "$logs"
		--qemu-root "$ROOT" --kernel "$KERNELS/$release/vmlinuz" --image base="$guest")
	if grep -q '"python"' "$REPO/tests/scenarios/$suite.json"; then
		RUN+=(--image python="$(python_image "$release")")
	fi
	if grep -q '"kexec"' "$REPO/tests/scenarios/$suite.json"; then
		RUN+=(--image kexec="$(kexec_image "$release" "$guest")")
	fi
	if [[ $("$VMLAB" accel) == nested* ]]; then
		mapfile -t l1 < <(l1_images "$stock")
		RUN+=(--l1-kernel "$KERNELS/$stock/vmlinuz" --l1-image "${l1[0]}" --l1-image "${l1[1]}")
	fi
	if [[ -z ${LAB_JOBS:-} ]]; then
		local cpus
		cpus=$(nproc)
		export LAB_JOBS=$((cpus >= 4 ? cpus / 2 : 1))
		((LAB_JOBS <= 4)) || LAB_JOBS=4
	fi
	if [[ $release == *-debug ]]; then
		RUN+=(--debug)
		export LAB_TIMEOUT_SCALE=${LAB_TIMEOUT_SCALE:-4}
	fi
	rm -rf "$logs"
	mkdir -p "$logs"
}
