# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=bash
#
# Shared by every script of the lab: where things live, how a step is shown, locks,
# retries. Source it; it changes nothing by itself but the shell options below.
#
# Settings (environment):
#   VMBUS_CACHE   what is downloaded or built once      (default ~/.cache/vmbus-rs)
#   DEBIAN_SUITE  Debian release of the build root      (default trixie)
#   KERNEL        kernel release to use                 (default: the newest complete one)
#   LAB_DEBUG=1   use the debug kernel of that release
#   JOBS          parallel jobs of a build              (default: number of CPUs)
#   V=1           show the whole output of each step

set -euo pipefail

LAB=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(cd "$LAB/../.." && pwd)
CACHE=${VMBUS_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/vmbus-rs}
DEBIAN_SUITE=${DEBIAN_SUITE:-trixie}
JOBS=${JOBS:-$(nproc)}
LOGS=$REPO/build/logs/lab

# One build root a Debian release; the default one has the short name.
ROOT=$CACHE/root
# shellcheck disable=SC2034 # for the scripts that source this
[[ $DEBIAN_SUITE == trixie ]] || ROOT=$CACHE/root-$DEBIAN_SUITE
# shellcheck disable=SC2034
KERNELS=$CACHE/kernels

# Progress goes to stderr, so that a script's stdout stays usable for its result.
say()  { printf '%s\n' "$*" >&2; }
warn() { say "warning: $*"; }
die()  { say "error: $*"; exit 1; }

# duration SECONDS: as a person writes it.
duration() {
	if (($1 < 60)); then printf '%ds' "$1"; else printf '%dm%02ds' $(($1 / 60)) $(($1 % 60)); fi
}

# The process group of the step in progress and what shows its progress, for the trap below.
STEP_GROUP=
SHOWER=

# A killed script must not leave its step running behind it: the step would go on
# writing to a directory that the next run believes to be its own.
stop_step() {
	[[ -z $SHOWER ]] || kill "$SHOWER" 2>/dev/null || true
	SHOWER=
	if [[ -n $STEP_GROUP ]]; then
		kill -KILL -- "-$STEP_GROUP" 2>/dev/null || true
		STEP_GROUP=
	fi
}
trap stop_step EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# show_progress LOG START: one line that tells that the step is alive. On a terminal
# it is rewritten every second, in a log file it appears once a minute.
show_progress() {
	local log=$1 start=$2 tick=0 last
	# $$ is the script: when it is gone (SIGKILL), nobody is left to end this.
	while sleep 1 && kill -0 $$ 2>/dev/null; do
		tick=$((tick + 1))
		if [[ -t 2 ]]; then
			last=$(tail -n 1 "$log" 2>/dev/null | tr -d '\r\t' | cut -c 1-60) || last=
			printf '\r\033[K    %s  %s' "$(duration $((SECONDS - start)))" "$last" >&2
		elif ((tick % 60 == 0)); then
			last=$(tail -n 1 "$log" 2>/dev/null | tr -d '\r\t' | cut -c 1-100) || last=
			say "    still at it after $(duration $((SECONDS - start))): $last"
		fi
	done
}

# step NAME TEXT CMD...: runs CMD with its output in $LOGS/NAME.log, prints TEXT, the
# progress and the time taken. Returns CMD's exit code; after a failure the end of the
# log has been shown.
step() {
	local name=$1 text=$2 log start rc=0
	shift 2
	log=$LOGS/$name.log
	mkdir -p "$LOGS"
	start=$SECONDS
	say "==> $text"
	if [[ ${V:-0} == 1 ]]; then
		"$@" </dev/null >&2 || rc=$?
	else
		: >"$log"
		# A process group of its own, so that all of it can be ended together.
		set -m
		"$@" </dev/null >>"$log" 2>&1 &
		STEP_GROUP=$!
		set +m
		show_progress "$log" "$start" &
		SHOWER=$!
		wait "$STEP_GROUP" || rc=$?
		STEP_GROUP=
		kill "$SHOWER" 2>/dev/null || true
		wait "$SHOWER" 2>/dev/null || true
		SHOWER=
		[[ ! -t 2 ]] || printf '\r\033[K' >&2
	fi
	if ((rc == 0)); then
		say "    done in $(duration $((SECONDS - start)))"
	else
		say "    FAILED (exit code $rc) after $(duration $((SECONDS - start)))"
		if [[ ${V:-0} != 1 ]]; then
			say "    the last lines of $log:"
			tail -n 25 "$log" | sed 's/^/    | /' >&2
		fi
	fi
	return "$rc"
}

# retry TRIES CMD...: for downloads. Waits a little longer after each failure.
retry() {
	local tries=$1 i
	shift
	for ((i = 1; ; i++)); do
		if "$@"; then return 0; fi
		if ((i >= tries)); then return 1; fi
		echo "attempt $i of $tries failed, again in $((i * 5)) seconds"
		sleep $((i * 5))
	done
}

# take_lock NAME: waits until no other run works on NAME; held until this script and
# everything it started have ended.
take_lock() {
	local file=$CACHE/.lock-$1 fd
	mkdir -p "$CACHE"
	exec {fd}>"$file"
	if ! flock -n "$fd"; then
		say "==> another run is at work on the $1, waiting for it"
		flock -w 3600 "$fd" || die "the other run still holds $file after an hour"
	fi
}

# packages SECTION: the names that tools/lab/packages lists under SECTION.
packages() {
	awk -v want="$1" '/^[[:space:]]*(#|$)/ { next } $1 == want { for (i = 2; i <= NF; i++) print $i }' \
		"$LAB/packages"
}

# in_root CMD...: in the build root, see tools/lab/in-root.
in_root() { "$LAB/in-root" "$@"; }

# lab_release: the release that the other scripts of this run use, on stdout.
lab_release() { "$LAB/kernel" --print; }
