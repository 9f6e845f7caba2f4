# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=bash
#
# What run-suite, run-demo, run-shell and run-bench share: builds the runner
# (tools/lab/runner) and hvhost (tools/host), has the images made (images.sh), and puts the
# runner's arguments together. Source it after lib.sh.
#
# Settings (environment), besides those of lib.sh:
#   LAB_ACCEL=direct|nested   override the choice of acceleration
#   LAB_JOBS=N                labs side by side, one CPU each when nested (default: half
#                             the CPUs; the other half is for who else works here)
#   LAB_TIMEOUT_SCALE=X       multiplies every time-out       (default 1, debug kernel 4)
#   STACK=rust|c              whose drivers the guests use               (default rust)
#   CHECK_FULL=1              run what takes long, too

IMAGES=$REPO/build/images
VMLAB=$REPO/build/lab/vmlab
HVHOST=$REPO/build/lab/hvhost
STACK=${STACK:-rust}
export STACK
# shellcheck source=tools/lab/images.sh
source "$LAB/images.sh"

# Static: both run as they are inside L1, whose image has no library for them.
cargo_build() {
	# By the build root's compiler: this machine need not have one.
	cd "$REPO" && in_root RUSTFLAGS="-C target-feature=+crt-static" nice cargo build \
		--release --locked --package "$1" --target x86_64-unknown-linux-gnu \
		--target-dir build/lab/cargo
}

# build_binary PACKAGE DIR BINARY SOURCE...: BINARY of PACKAGE is up to date in DIR; says
# something only when there is work. SOURCE are the directories it is made of.
build_binary() {
	local package=$1 file=$2/$3
	local built=$REPO/build/lab/cargo/x86_64-unknown-linux-gnu/release/$3
	shift 3
	if [[ ! -e $file ]]; then
		step "$package" "building $package" cargo_build "$package"
	else
		local newer
		newer=$(find "$@" "$REPO/Cargo.lock" "$REPO/Cargo.toml" -newer "$file" -type f -print -quit)
		[[ -z $newer ]] || step "$package" "building $package" cargo_build "$package"
	fi
	if [[ ! -e $file || $built -nt $file ]]; then
		# In one step: another run may be executing the old one.
		mkdir -p "$(dirname "$file")"
		cp "$built" "$file.$$"
		mv "$file.$$" "$file"
	fi
	# Cargo leaves the binary alone when only comments or tests changed.
	touch "$file"
}

# build_runner: up to date in $VMLAB.
build_runner() { build_binary vmlab "$REPO/build/lab" vmlab "$LAB/runner"; }

# build_hvhost: hvhost and its client, up to date in the directory $HVHOST.
build_hvhost() {
	local name
	for name in hvctl hvhost; do
		build_binary hvhost "$HVHOST" "$name" "$REPO"/tools/host "$REPO"/{vmbus,netvsc,storvsc,drivers/util}/wire
	done
}

# uses SUITE WORD: whether the suite file mentions this word, like the name of an image part.
uses() { grep -q "\"$2\"" "$REPO/tests/scenarios/$1.json"; }

# runner_args SUITE NAME: sets RUN, the arguments of `vmlab run` or `shell` for the suite
# file tests/scenarios/SUITE.json, with logs in build/logs/NAME/guests (what is beside that
# directory belongs to whoever called).
runner_args() {
	local suite=$1 logs=$REPO/build/logs/$2/guests release guest part l1=() stock
	mkdir -p "$IMAGES"
	release=$(lab_release)
	# L1 always runs the stock kernel, also when the guests run the debug one.
	stock=${release%-debug}
	guest=$(guest_image "$release")
	RUN=(--suite "$REPO/tests/scenarios/$suite.json" --logs "$logs"
		--root "$ROOT" --kernel "$KERNELS/$release/vmlinuz" --release "$release"
		--image base="$guest")
	for part in python stock storage-tools net-tools emulated-nic net-selftests services root-boot root-disk dvd; do
		! uses "$suite" "$part" || RUN+=(--image "$part=$("${part//-/_}_image" "$release")")
	done
	if uses "$suite" kexec; then
		local parts=("$guest")
		! uses "$suite" stock || parts+=("$(stock_image "$release")")
		RUN+=(--image kexec="$(kexec_image "$release" "${parts[@]}")")
	fi
	if uses "$suite" hvhost; then
		build_hvhost
		RUN+=(--hvhost "$HVHOST")
	fi
	if [[ $("$VMLAB" accel) == nested* ]]; then
		mapfile -t l1 < <(l1_images "$stock" "$suite")
		RUN+=(--l1-kernel "$KERNELS/$stock/vmlinuz")
		for part in "${l1[@]}"; do RUN+=(--l1-image "$part"); done
	fi
	if [[ -z ${LAB_JOBS:-} ]]; then
		local cpus
		cpus=$(nproc)
		export LAB_JOBS=$((cpus >= 4 ? cpus / 2 : 1))
		((LAB_JOBS <= 4)) || LAB_JOBS=4
	fi
	[[ -z ${CHECK_FULL:-} ]] || RUN+=(--full)
	if [[ $release == *-debug ]]; then
		RUN+=(--debug)
		export LAB_TIMEOUT_SCALE=${LAB_TIMEOUT_SCALE:-4}
	fi
	rm -rf "$logs"
	mkdir -p "$logs"
}
