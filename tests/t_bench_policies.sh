#!/bin/sh
# tests/bench/policies on few tokens: it records, replays, and prints what simulate finds.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"

policies() # OPTION...
{
	"$here/bench/policies" --build "${TR_BUILDDIR:-.}" "$@" >"$dir/out"
	cat "$dir/out"
}

# Two traces, each with a row per policy and one of Belady.
prints_a_row_per_policy()
{
	mkdir "$dir/traces"
	policies --keep "$dir/traces" --tokens 4 --policy lru,foresight --cache 10%,50%
	test "$(grep -c '^| lru ' "$dir/out")" = 2
	test "$(grep -c '^| foresight ' "$dir/out")" = 2
	test "$(grep -c '^| belady .* 100.0 .* 100.0 |$' "$dir/out")" = 2
}

# 14 texts of 4 tokens, 5 layers, 4 experts, of which the first third is not counted.
counts_what_simulate_counts()
{
	policies --no-record --trace "$dir/traces/demo" --policy lru --cache 25% --csv
	"${TR_BUILDDIR:-.}/tools/tierra" simulate "$dir/traces/demo" --policy lru --cache 25% \
		--warm 33% --csv >"$dir/simulate"
	hits=$(sed -n '2s/^"[^"]*","lru","25%",[0-9]*,\([0-9]*,[0-9]*\),.*/\1/p' "$dir/simulate")
	test -n "$hits"
	grep -q ",lru,25%,80,$hits," "$dir/out"
	test "${hits%,*}" = $(((14 * 4 - 18) * 5 * 4))
}

speed_is_measured_or_skipped_with_a_reason()
{
	policies --speed "$here/../models/demo-q4_0.gguf" --rounds 1 --timed 2 --warm-up 1 --dram 50%
	grep -q '^policies: skipped, no memory limit can be set: .' "$dir/out" ||
		test "$(grep -cE '^\| 50%  \| .* (none|lru|lfu|foresight) ' "$dir/out")" = 7
}

if ! command -v python3 >/dev/null; then
	skip "policies" "no python3"
	done_testing
	exit
fi
test_that "policies prints a row per policy" prints_a_row_per_policy
test_that "policies counts what simulate counts" counts_what_simulate_counts
test_that "speed is measured or skipped with a reason" speed_is_measured_or_skipped_with_a_reason
done_testing
