# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Judges one suite's TAP: passes it on, adds a failed case for everything that is wrong
# with the document itself, and writes "passed failed skipped" to the file COUNTS.
# Variables: SUITE, COUNTS, FILTERED=1 when TEST may have left nothing to run.

function trouble(what) { failed++; print "not ok - " SUITE ": " what }

{ sub(/\r$/, "") }
/^(not )?ok([ \t]|$)/ {
	cases++
	if (match($0, /#[ \t]*[Ss][Kk][Ii][Pp]/)) {
		reason = substr($0, RSTART + RLENGTH)
		gsub(/^[^ \t]*[ \t]*|[ \t]+$/, "", reason)
		if (reason == "") {
			print
			trouble("a case is skipped without a reason")
			next
		}
		skipped++
	} else if (/^not/) {
		failed++
	} else {
		passed++
	}
}
/^1\.\.[0-9]+/ {
	if (have_plan) trouble("there are two plans")
	have_plan = 1
	plan = substr($1, 4) + 0
	if (plan == 0 && match($0, /#[ \t]*[Ss][Kk][Ii][Pp][^ \t]*[ \t]+[^ \t]/)) {
		skipped++
		whole_skipped = 1
	}
}
/^Bail out!/ { trouble("it gave up: " substr($0, 11)) }
{ print; fflush() }

END {
	if (!have_plan) trouble("it ended without a plan after " cases + 0 " cases")
	else if (plan != cases) trouble("it planned " plan " cases and ran " cases + 0)
	else if (cases == 0 && !whole_skipped && !FILTERED) trouble("it has no case")
	print passed + 0, failed + 0, skipped + 0 > COUNTS
}
