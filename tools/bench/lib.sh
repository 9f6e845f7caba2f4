# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=bash
#
# What tools/bench/host and tools/bench/storage share: guests that are measured in turn, and tables
# of what they said. Source it after tools/lab/lib.sh and tools/lab/run.sh.
#
# Settings (environment), besides theirs:
#   BENCH_ROUNDS=N          another number of rounds than the suite's
#   BENCH_COLUMNS=A,B       only these scenarios of the suite

# shellcheck disable=SC2034 # for the scripts that source this
readonly OUT=$REPO/build/bench
mkdir -p "$OUT"

# measure SUITE LOG CASE...: runs these cases in the suite's guests and keeps what the runner
# prints in LOG; figures and marks are left out of what is shown meanwhile.
measure() {
	local suite=$1 log=$2 columns=${BENCH_COLUMNS:-} tests=() column case
	shift 2
	build_runner
	# Before the hour that it is needed after.
	build_binary bench-table "$REPO/build/lab" bench-table "$REPO/tools/bench/table"
	runner_args "$suite" "$suite"
	# In turn means: one lab, one guest at a time.
	export LAB_JOBS=1
	# A machine that is busy spoils a measurement; that a guest takes its time to boot doesn't.
	export LAB_TIMEOUT_SCALE=${LAB_TIMEOUT_SCALE:-3}
	[[ -z ${BENCH_ROUNDS:-} ]] || RUN+=(--rounds "$BENCH_ROUNDS")
	for column in ${columns//,/ }; do
		for case in "$@"; do tests+=("$column.$case"); done
	done
	TEST=$(IFS=, && echo "${tests[*]}") "$VMLAB" run "${RUN[@]}" | tee "$log" |
		grep --line-buffered -E '^(# |not ok|ok)' | grep --line-buffered -vE '^# *(bench|mark) ' >&2
}

# bench_table ARG...: tables of a log that measure wrote.
bench_table() { "$REPO/build/lab/bench-table" "$@"; }
