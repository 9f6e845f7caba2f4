# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=bash
#
# The images of the lab: the parts of the initial RAM disks of guests and of L1, and what
# disks begin as. Each *_image function prints the path of an image, whose name has a hash of
# its content in it. Source it after lib.sh; run.sh does.

# root_program NAME ARG...: runs NAME of the build root right here, through the build
# root's own dynamic loader: no chroot, no privileges, this machine's paths.
root_program() {
	local name=$1 file=$ROOT/usr/bin/$1
	shift
	# depmod, modprobe and modinfo are names of one program.
	case $name in depmod | modprobe | modinfo) file=$ROOT/usr/bin/kmod ;; esac
	[[ -e $file ]] || file=$ROOT/usr/sbin/$name
	"$ROOT/lib64/ld-linux-x86-64.so.2" --argv0 "$name" \
		--library-path "$ROOT/usr/lib/x86_64-linux-gnu" "$file" "$@"
}

# libraries_of FILE: the shared libraries of a program of the build root, the loader too.
libraries_of() {
	"$ROOT/lib64/ld-linux-x86-64.so.2" --library-path "$ROOT/usr/lib/x86_64-linux-gnu" \
		--list "$1" | awk '$3 ~ /^\// { print $3 }'
	echo "$ROOT/lib64/ld-linux-x86-64.so.2"
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

# depmod_stage DIR RELEASE: lists for modprobe about DIR/lib/modules/RELEASE.
depmod_stage() {
	root_program depmod -b "$1" "$2" 2>/dev/null || die "depmod fails for the modules of $2"
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
	for dir in dev proc sys run tmp root etc mnt; do echo "dir /$dir 755"; done
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

# our_modules RELEASE DIR: our modules, and the stock ones that they need, into DIR.
our_modules() {
	local release=$1 dir=$2 module needs
	mkdir -p "$dir"
	shopt -s nullglob
	local ours=("$REPO/build/modules/$release"/*.ko)
	shopt -u nullglob
	for module in "${ours[@]}"; do
		# Debug information is most of the file, and the guest only carries it around.
		root_program strip --strip-debug -o "$dir/$(basename "$module")" "$module"
		needs=$(root_program modinfo -F depends "$module")
		# Names of ours are none of the kernel's, so nothing is found for them.
		# shellcheck disable=SC2086 # words
		stock_modules "$release" "$dir" ${needs//,/ }
	done
}

# guest_image RELEASE: init, cases, our modules and the stock ones that cases use.
guest_image() {
	local release=$1 stage stack
	stage=$(mktemp -d "$IMAGES/.stage.XXXXXX")
	our_modules "$release" "$stage/rust/lib/modules/$release"
	stock_modules "$release" "$stage/c/lib/modules/$release" hv_balloon hv_utils
	for stack in rust c; do depmod_stage "$stage/$stack" "$release"; done
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

# What is above a disk driver, whoever wrote that.
DISK_MODULES=(sd_mod sr_mod sg isofs)

# The same above a NIC.
NIC_MODULES=(8021q)

# stock_image: the modules of the kernel's own that a guest needs for synthetic devices, and
# for the devices to compare with. It replaces both stacks of the base image.
stock_image() {
	local release=$1 stage stack
	stage=$(mktemp -d "$IMAGES/.stage.XXXXXX")
	our_modules "$release" "$stage/rust/lib/modules/$release"
	stock_modules "$release" "$stage/rust/lib/modules/$release" "${DISK_MODULES[@]}" "${NIC_MODULES[@]}"
	stock_modules "$release" "$stage/c/lib/modules/$release" hv_balloon hv_utils hv_netvsc hv_storvsc \
		"${DISK_MODULES[@]}" "${NIC_MODULES[@]}" hv_sock virtio_blk virtio_net ahci
	for stack in rust c; do depmod_stage "$stage/$stack" "$release"; done
	{
		files_in "$stage/rust/lib/modules" /stack/rust 644
		files_in "$stage/c/lib/modules" /stack/c 644
	} | image "stock-$release"
	rm -rf "$stage"
}

# tool_entries PROGRAM...: list entries for programs of the build root. They stay where they
# are, in /usr: the guest's PATH has that before /bin, where busybox has its own.
tool_entries() {
	local program
	for program in "$@"; do
		program=$ROOT/usr/$program
		[[ -e $program ]] || die "the build root has no $program"
		library_entries "$(readlink -f "$program")"
		[[ ! -L $program ]] || echo "slink ${program#"$ROOT"} $(basename "$(readlink -f "$program")")"
	done
}

# storage_tools_image: fio, and what makes, checks and asks disks.
storage_tools_image() {
	local fio library
	fio=$("$LAB/fio")
	{
		tool_entries sbin/mkfs.ext4 sbin/e2fsck sbin/resize2fs sbin/dumpe2fs sbin/blkdiscard \
			bin/sg_{inq,vpd,luns,readcap,unmap,write_same,modes,raw,reset}
		echo "file /etc/mke2fs.conf $ROOT/etc/mke2fs.conf 644"
		echo "file /bin/fio $fio/fio 755"
		library_entries "$ROOT"/usr/lib/x86_64-linux-gnu/{libnuma.so.1,libaio.so.1t64,libz.so.1,libm.so.6,libc.so.6}
		for library in "$fio"/lib*; do
			echo "file /usr/lib/x86_64-linux-gnu/$(basename "$library") $library 644"
		done
	} | image storage-tools
}

# xdp_programs: the object file of tests/programs/xdp.c.
xdp_programs() {
	local source=tests/programs/xdp.c out=build/lab/xdp.o
	if [[ ! $REPO/$out -nt $REPO/$source ]]; then
		in_root clang-19 -O2 -Wall -target bpf -I/usr/include/x86_64-linux-gnu -c "/src/$source" -o "/src/$out" ||
			die "$source doesn't build"
	fi
	echo "$REPO/$out"
}

# net_tools_image: what a guest, and L1 on its side of a tap, does with NICs.
net_tools_image() {
	local xdp
	xdp=$(xdp_programs)
	{
		echo "file /tests/xdp.o $xdp 644"
		tool_entries bin/ip bin/ping bin/iperf3 bin/netperf bin/netserver sbin/ethtool
		# Loaded when a thread is cancelled, which iperf3 does.
		library_entries "$ROOT/usr/lib/x86_64-linux-gnu/libgcc_s.so.1"
	} | image net-tools
}

# emulated_nic_image: the driver of an Intel NIC as emulators have it, which kernels for clouds leave out,
# built from the source of this one.
emulated_nic_image() {
	local release=$1 out=build/emulated-nic/$1 source=drivers/net/ethernet/intel/e1000
	if [[ ! -e $REPO/$out/e1000.ko ]]; then
		mkdir -p "$REPO/$out"
		step emulated-nic "building e1000.ko" in_root nice make -C "/cache/kernels/$release/build" \
			KERNELRELEASE="$release" -j"$JOBS" --no-print-directory CONFIG_E1000=m \
			M="/cache/kernels/$release/source/$source" MO="/src/$out" modules ||
			die "$source doesn't build for $release"
	fi
	echo "file /lib/emulated-nic/e1000.ko $REPO/$out/e1000.ko 644" | image "emulated-nic-$release"
}

# root_boot_image: the small RAM disk that leads to a root file system on a synthetic disk, by
# our drivers or the kernel's own.
root_boot_image() {
	local release=$1 stage stack
	stage=$(mktemp -d "$IMAGES/.stage.XXXXXX")
	our_modules "$release" "$stage/rust/lib/modules/$release"
	stock_modules "$release" "$stage/rust/lib/modules/$release" sd_mod
	stock_modules "$release" "$stage/c/lib/modules/$release" hv_storvsc sd_mod
	for stack in rust c; do depmod_stage "$stage/$stack" "$release"; done
	{
		busybox_entries
		echo "file /init $REPO/tests/guest/init-disk 755"
		files_in "$stage/rust/lib/modules" /stack/rust 644
		files_in "$stage/c/lib/modules" /stack/c 644
		echo "dir /lib 755"
	} | image "root-boot-$release"
	rm -rf "$stage"
}

# disk_file NAME SUFFIX HASH: the path for what a disk begins as; what is there of other content
# goes, except the newest.
disk_file() {
	local old
	while IFS= read -r old; do rm -f "$old"; done < <(
		find "$IMAGES" -maxdepth 1 -name "$1-*$2" ! -name "$1-$3$2" -printf '%T@ %p\n' |
			sort -rn | tail -n +3 | cut -d ' ' -f 2-
	)
	echo "$IMAGES/$1-$3$2"
}

# root_disk_image: an ext4 file system with what guests otherwise have in their RAM disk.
root_disk_image() {
	local release=$1 stage part parts file
	parts=("$(guest_image "$release")" "$(stock_image "$release")" "$(storage_tools_image)")
	file=$(disk_file root-disk .ext4 "$(printf '%s\n' "${parts[@]##*/}" "$(<"$LAB/images.sh")" | sha256sum | cut -c 1-16)")
	if [[ ! -e $file ]]; then
		stage=$(mktemp -d "$IMAGES/.stage.XXXXXX")
		for part in "${parts[@]}"; do
			# Without the device nodes, which only root may make.
			(cd "$stage" && root_program cpio -idu --quiet -f 'dev/*' <"$part") || die "$part can't be unpacked"
		done
		MKE2FS_CONFIG=$ROOT/etc/mke2fs.conf root_program mkfs.ext4 -q -F -L hvroot -E root_owner=0:0 \
			-d "$stage" "$file.$$" 48M >&2 || die "the root file system can't be made"
		mv "$file.$$" "$file"
		rm -rf "$stage"
	fi
	echo "$file"
}

# dvd_image: an ISO 9660 file system with a file of known content.
dvd_image() {
	local stage file
	file=$(disk_file dvd .iso "$(sha256sum "$LAB/images.sh" | cut -c 1-16)")
	if [[ ! -e $file ]]; then
		stage=$(mktemp -d "$IMAGES/.stage.XXXXXX")
		seq 1 200000 >"$stage/numbers.txt"
		root_program genisoimage -quiet -R -V HVDVD -o "$file.$$" "$stage" >&2 || die "the DVD can't be made"
		mv "$file.$$" "$file"
		rm -rf "$stage"
	fi
	echo "$file"
}

# services_image: the kernel's own daemon for key-value pairs, built from its source.
services_image() {
	local release=${1%-debug} out=build/lab/hv_kvp_daemon
	local source=$KERNELS/$release/source/tools/hv/hv_kvp_daemon.c
	if [[ ! $REPO/$out -nt $source ]]; then
		step hv_kvp_daemon "building the kernel's daemon for key-value pairs" \
			in_root gcc -w -O2 -static -s -o "/src/$out" "/cache${source#"$CACHE"}" ||
			die "the kernel's hv_kvp_daemon doesn't build"
	fi
	echo "file /bin/hv_kvp_daemon $REPO/$out 755" | image services
}

# python_entries PROLOGUE [PATH]: list entries for python3 and just those modules that PROLOGUE imports, also from
# the directories PATH, separated by colons.
python_entries() {
	local python files
	python=$(readlink -f "$ROOT/usr/bin/python3")
	# The paths of what the interpreter loads, in the build root.
	files=$(PYTHONHOME=$ROOT/usr PYTHONPATH=${2:-} PYTHONDONTWRITEBYTECODE=1 root_program python3 -S -c "$1"'
import os, sys
for m in list(sys.modules.values()):
    f = getattr(m, "__file__", None)
    if f and os.path.isfile(f):
        print(f)' | LC_ALL=C sort -u) || die "the build root has no python3 that works"
	library_entries "$python"
	echo "slink /usr/bin/python3 $(basename "$python")"
	while IFS= read -r file; do
		case $file in
		"$ROOT"/*.so) library_entries "$file" ;;
		"$ROOT"/*) echo "file ${file#"$ROOT"} $file 644" ;;
		esac
	done <<<"$files"
	# Missed loudly at every start otherwise.
	echo "dir /usr/lib/$(basename "$python")/lib-dynload 755"
}

# python_image: python3 for lsvmbus, and lsvmbus.
python_image() {
	local release=$1
	{
		python_entries 'import encodings.utf_8, encodings.ascii, encodings.latin_1, optparse, site, subprocess'
		echo "file /usr/bin/lsvmbus $KERNELS/$release/source/tools/hv/lsvmbus 755"
	} | image "python-$release"
}

# net_selftests_image: those of the kernel's own tests of network drivers that need nothing but a NIC, python3 for them and
# what it imports.
net_selftests_image() {
	local source=$KERNELS/${1%-debug}/source tests=tools/testing/selftests helper=build/lab/xdp_helper file imports
	if [[ ! $REPO/$helper -nt $source/$tests/net/lib/xdp_helper.c ]]; then
		in_root gcc -O2 -static -I"/cache/kernels/${1%-debug}/source/$tests" -o "/src/$helper" \
			"/cache/kernels/${1%-debug}/source/$tests/net/lib/xdp_helper.c" || die "xdp_helper.c doesn't build"
	fi
	imports='import encodings.utf_8, encodings.ascii, encodings.latin_1, site, errno, glob, lib.py'
	{
		python_entries "$imports" "$source/$tests/drivers/net:$ROOT/usr/lib/python3/dist-packages"
		for file in "$source"/{$tests/net/lib/py,$tests/drivers/net/lib/py,tools/net/ynl/pyynl/lib}/*.py \
			"$source/tools/net/ynl/pyynl/__init__.py" \
			"$source"/$tests/drivers/net/{stats,queues,napi_threaded}.py \
			"$source"/Documentation/netlink/specs/{netdev,ethtool,rt-link,rt-addr,nlctrl}.yaml; do
			[[ ! -e $file ]] || echo "file /usr/src/linux${file#"$source"} $file 644"
		done
		echo "file /usr/src/linux/$tests/net/lib/xdp_helper $REPO/$helper 755"
	} | image "net-selftests-$1"
}

# kexec_image RELEASE PART...: kexec, and a kernel and RAM disk of these parts to start with it.
kexec_image() {
	local release=$1 initrd
	shift
	initrd=$(mktemp "$IMAGES/.initrd.XXXXXX")
	cat "$@" >"$initrd"
	{
		library_entries "$ROOT/usr/sbin/kexec"
		echo "file /boot/vmlinuz $KERNELS/$release/vmlinuz 644"
		echo "file /boot/initrd $initrd 644"
	} | image "kexec-$release"
	rm -f "$initrd"
}

# l1_images RELEASE SUITE: init with KVM, QEMU when a guest runs on it, and what taps need;
# for the emulated machine.
l1_images() {
	local stage firmware suite=$REPO/tests/scenarios/$2.json
	stage=$(mktemp -d "$IMAGES/.stage.XXXXXX")
	stock_modules "$1" "$stage" kvm_amd tun 8021q
	{
		busybox_entries
		echo "file /init $LAB/l1-init 755"
		files_in "$stage" /modules 644
	} | image "l1-$1"
	rm -rf "$stage"
	if (($(grep -c '"vmm": "hvhost"' "$suite") < $(grep -c '"cases"' "$suite"))); then
		{
			library_entries "$ROOT/usr/bin/qemu-system-x86_64"
			for firmware in qemu/linuxboot_dma.bin qemu/kvmvapic.bin seabios/bios-256k.bin; do
				echo "file /usr/share/$firmware $(readlink -f "$ROOT/usr/share/$firmware") 644"
			done
		} | image qemu
	fi
	if uses "$2" taps; then net_tools_image; fi
}
