#!/bin/sh
# What tune recommends can be run, and what it measures can be read again.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"
model=${TR_SRCDIR:-$here/..}/models/demo-q4_0.gguf

recommended_line_runs()
{
	run 0 tune --machine desktop-gen4 --json "$model" --max-dram 1G -c 128
	line=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["command"])' <"$dir/out")
	# shellcheck disable=SC2086 # words of a command line
	set -- $line
	[ "$1 $2" = "tierra generate" ] || { echo "$line"; return 1; }
	shift
	run 0 "$@" -p "The quick" -n 4 --temp 0 -q
	test -s "$dir/out"
}

faster_memory_makes_faster_tokens()
{
	run 0 tune --machine optane-3060 --shape k2.5@4.5 --max-dram 64G --json
	mv "$dir/out" "$dir/slow"
	run 0 tune --machine optane-dual --shape k2.5@4.5 --max-dram 64G --json
	python3 - "$dir/slow" "$dir/out" <<-'END'
	import json, sys
	slow, fast = (json.load(open(name))["best"]["tokens_per_s"] for name in sys.argv[1:])
	sys.exit(not 1.5 * slow < fast < 2.5 * slow)
	END
}

unknown_machines_are_named()
{
	run 1 tune --machine abacus "$model"
	grep -q "'abacus'" "$dir/err" && grep -q optane-3060 "$dir/err"
	run 2 tune "$model"
	run 2 tune --machine cxl --shape k3@1
}

test_that "the recommended command line runs" recommended_line_runs
test_that "faster memory makes faster tokens" faster_memory_makes_faster_tokens
test_that "unknown machines are named" unknown_machines_are_named
done_testing
