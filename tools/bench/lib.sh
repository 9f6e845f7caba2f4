# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=bash
#
# What tools/bench/host, net and storage share: guests that are measured in turn, tables of what they
# said, and pages about that. Source it after tools/lab/lib.sh and tools/lab/run.sh.
#
# Settings (environment), besides theirs:
#   BENCH_ROUNDS=N          another number of rounds than the suite's
#   BENCH_COLUMNS=A,B       only these scenarios of the suite

# shellcheck disable=SC2034 # for the scripts that source this
readonly OUT=$REPO/build/bench
mkdir -p "$OUT"

# measure SUITE LOG CASE...: runs these cases in the suite's guests and keeps what the runner
# prints in LOG; figures and marks are left out of what is shown meanwhile. A column's guests are
# the scenario of its name and those named COLUMN+PART.
measure() {
	local suite=$1 log=$2 columns=${BENCH_COLUMNS:-} tests=() column part case
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
		for part in "$column" $(grep -oE "\"name\": \"$column\+[^\"]*" "$REPO/tests/scenarios/$suite.json" | cut -d '"' -f 4); do
			for case in "$@"; do tests+=("$part.$case"); done
		done
	done
	TEST=$(IFS=, && echo "${tests[*]}") "$VMLAB" run "${RUN[@]}" | tee "$log" |
		grep --line-buffered -E '^(# |not ok|ok)' | grep --line-buffered -vE '^# *(bench|mark) ' >&2
}

# bench_table ARG...: tables of a log that measure wrote.
bench_table() { "$REPO/build/lab/bench-table" "$@"; }

# fact NAME: what bench-table found out about the run and left in the file FACTS.
fact() { sed -n "s/^$1: //p" "$FACTS"; }

# tree_now: the commit that was measured.
tree_now() {
	local commit
	commit=$(git -C "$REPO" rev-parse --short HEAD 2>/dev/null) || commit=unknown
	[[ -z $(git -C "$REPO" status --porcelain 2>/dev/null) ]] || commit="$commit and changes"
	echo "$commit"
}

# command_line TARGET: what somebody types to do the same.
command_line() {
	local command="make $1" name
	for name in BENCH_COLUMNS BENCH_ROUNDS LAB_ACCEL; do
		[[ -z ${!name:-} ]] || command="$name=${!name} $command"
	done
	[[ $STACK == rust ]] || command="STACK=$STACK $command"
	echo "$command"
}

#### Parts of a page for Documentation

# circumstances TREE GUESTS: a table of what was measured, where.
circumstances() {
	local model
	model=$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1)
	cat <<-END
		| | |
		|---|---|
		| tree | $1 |
		| guests | kernel $(fact kernel), $2, \`highres=off\`: each timer that isn't set saves exits |
		| acceleration | $(fact acceleration) |
		| machine | $(nproc) CPUs, ${model:-unknown} |
		| rounds | $(fact rounds), $(duration "$(fact seconds)") in all, $(fact failed) cases failed |
	END
}

# about_figures, about_taken: how to read the tables.
about_figures() {
	cat <<-END
		Figures are medians of the rounds. A ratio is that of two medians; in brackets are the least and the most of any one
		round. The guests of a round are up together; each row is measured in one after the other, while those that wait are
		halted. Processors are emulated where there is no KVM with Hyper-V's
		SynIC: there the ratios count, the figures themselves don't.
	END
}
about_taken() {
	cat <<-END
		An emulated machine can't know that it waits for a processor that somebody else has, but the lab does: rates and times
		are those of the time that it did have, and how much was taken is in the last table. What the log has is not corrected.
	END
}

# plot SCRIPT SVG
plot() {
	if "$REPO/tools/bench/gnuplot" - <"$1" >"$2.new" 2>"$OUT/gnuplot.log"; then
		mv "$2.new" "$2"
	else
		rm -f "$2.new" "$2"
		warn "no plot: gnuplot isn't there or failed, see $OUT/gnuplot.log; its script is $1"
	fi
}
