# SPDX-License-Identifier: GPL-2.0 OR MIT
# shellcheck shell=bash
#
# For suites that run on this machine: cases in, TAP out. Source it after naming the
# suite in $suite. A case is a function or command: 0 is passed, 77 is skipped (the last
# line it printed says why), everything else failed. Its output is kept in
# build/logs/<suite>/<case>.log and shown when it fails. TEST=<name> runs one case.

# shellcheck source=tools/lab/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lab/lib.sh"

: "${suite:?the suite has no name}"
LOGS=$REPO/build/logs/$suite
mkdir -p "$LOGS"
tap_count=0

# Lines of a log as TAP comments, the end of it if it is long.
tap_quote() { tail -n "${2:-40}" "$1" | sed 's/^/#   /'; }

# tap_selected NAME: whether TEST wants this case.
tap_selected() { [[ -z ${TEST:-} || $TEST == "$1" ]]; }

# tap_result CODE NAME LOG
tap_result() {
	tap_count=$((tap_count + 1))
	case $1 in
	0) echo "ok $tap_count - $2" ;;
	77) echo "ok $tap_count - $2 # SKIP $(tail -n 1 "$3")" ;;
	*)
		echo "not ok $tap_count - $2"
		tap_quote "$3"
		echo "#   (exit code $1, all of it in ${3#"$REPO"/})"
		;;
	esac
}

# tap_case NAME CMD...
tap_case() {
	local name=$1 rc=0 start=$SECONDS log
	shift
	tap_selected "$name" || return 0
	log=$LOGS/$name.log
	# In the background, so that a function of the suite runs with `set -e` in force.
	(
		set -e
		"$@"
	) </dev/null >"$log" 2>&1 &
	wait $! || rc=$?
	tap_result "$rc" "$name" "$log"
	echo "#   $(duration $((SECONDS - start)))"
}

# The plan comes last: a suite that dies on the way has none, and fails for it.
tap_end() { echo "1..$tap_count"; }

# tree_files: this tree's own files, NUL-terminated, without what was built.
tree_files() {
	(cd "$REPO" && find . \( -path ./.git -o -path ./build -o -path ./target \) -prune -o \
		-type f "$@" -printf '%P\0')
}
