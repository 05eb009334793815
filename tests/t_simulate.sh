#!/bin/sh
# What a run recorded is replayed with the same hits, for every policy, above and below one token's
# working set, prefill included, and with every predictor that the policy listens to. Then the command
# line of simulate.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"
model=${TR_SRCDIR:-$here/..}/models/demo-q4_0.gguf
prompt="The quick brown fox jumps over the lazy dog and runs into the deep forest"

# record DRAM POLICY [OPTION...] - a run with its trace in $dir/trace, its JSON in $dir/run
record()
{
	dram=$1
	policy=$2
	shift 2
	run 0 generate -m "$model" -p "$prompt" -n 16 --temp 0 --ignore-eos -t 2 --batch 7 -q \
		--dram "$dram" --policy "$policy" --output json --trace "$dir/trace" "$@"
	mv "$dir/out" "$dir/run"
}

# json EXPRESSION - holds for j, the parsed standard output, and run, that of the run.
json()
{
	python3 -c 'import json, sys
j = json.load(open(sys.argv[1], encoding="utf-8"))
try:
    run = json.load(open(sys.argv[2], encoding="utf-8"))
except OSError:
    run = None
if not eval(sys.argv[3]):
    print(json.dumps(j)[:2000], json.dumps(run)[-2000:])
    sys.exit(sys.argv[3])' "$dir/out" "$dir/run" "$1"
}

replays()
{
	size=$1
	policy=$2
	shift 2
	record "$size" "$policy" "$@"
	run 0 simulate "$dir/trace" --policy "$policy" --cache "$size" --json
	json '[j["results"][0][k] for k in ("hits", "requests", "evictions")] == [
		run["tiers"][0]["hits"], run["tiers"][0]["hits"] + run["tiers"][0]["misses"],
		run["engine"]["evictions"]]'
}

# A run of --dram 25% and a replay of --cache 25% have the same hits. Below one token's working set, and
# above it; lru, which the others are held against, at more sizes.
replays_at_all_sizes()
{
	sizes="3% 25%"
	[ "$1" = lru ] && sizes="0 1% 3% 10% 25% 60%"
	for size in $sizes; do
		replays "$size" "$1"
	done
}

# Every predictor, by the name in the second table.
every_predictor()
{
	"$tierra" policies | sed -n '/^predictor /,/^$/s/^\([a-z0-9_-]*\) .*/\1/p' | grep -vx predictor
}

# A run whose policy listens to the predictor, below one token's working set and above it: the same hits,
# and predictions that are worth as much to the last digit.
replays_predictor()
{
	for size in 3% 25%; do
		record "$size" foresight --predictor "$1" --prefetch off --trace "$dir/trace,scores"
		run 0 simulate "$dir/trace" --policy foresight --predictor "$1" --cache "$size" --json
		test ! -s "$dir/err"
		json '[j["results"][0][k] for k in ("hits", "evictions")] == [
			run["tiers"][0]["hits"], run["engine"]["evictions"]]'
		[ "$1" = none ] && continue
		json 'all(j["results"][0]["predictor"][k] == run["predictor"][k]
			for k in ("name", "visits", "recall", "recall_wide", "precision", "brier"))'
		json 'j["results"][0]["predictor"]["visits"] > 0'
	done
}

# Hints must matter in what is compared above, or it would prove nothing.
hints_matter()
{
	record 3% foresight --predictor gate --prefetch off --trace "$dir/trace,scores"
	run 0 simulate "$dir/trace" --policy foresight --cache 3%,6%,12% --json
	mv "$dir/out" "$dir/run"
	run 0 simulate "$dir/trace" --policy foresight --predictor gate --cache 3%,6%,12% --json
	json '[r["hits"] for r in j["results"]] != [r["hits"] for r in run["results"]]'
}

# Without a predictor in the run, scores are recorded all the same.
scores_need_no_predictor()
{
	record 25% lru --trace "$dir/trace,scores"
	run 0 simulate "$dir/trace" --predictor gate --cache 25% --json
	json 'run["predictor"]["visits"] == 0'
	json 'j["results"][0]["hits"] == run["tiers"][0]["hits"]'
	json 'j["results"][0]["predictor"]["recall"] > 0.5'
	record 25% lru
	run 0 simulate "$dir/trace" --predictor gate --cache 25%
	grep -q 'no router scores' "$dir/err"
}

# A prompt long enough that experts are read before a layer asks for them, where slots are free.
replays_long_prompts()
{
	for size in 3% 25% 60% 100%; do
		record "$size" lru -p "$prompt $prompt $prompt $prompt $prompt $prompt" --batch 64
		run 0 simulate "$dir/trace" --policy lru --cache "$size" --json
		json '[j["results"][0][k] for k in ("hits", "evictions")] == [
			run["tiers"][0]["hits"], run["engine"]["evictions"]]'
		json 'run["engine"]["staged_experts"] >= run["engine"]["staged_used"]'
	done
	json 'run["engine"]["staged_used"] > 0'
}

replays_bytes()
{
	for size in 1M 3000000B 12M; do
		record "$size" lru
		run 0 simulate "$dir/trace" --policy lru --cache "$size" --json
		json 'j["results"][0]["hits"] == run["tiers"][0]["hits"]'
	done
}

replays_io_methods()
{
	for io in sync threads; do
		record 3% lfu --io "$io"
		run 0 simulate "$dir/trace" --policy lfu --cache 3% --json
		json 'j["results"][0]["hits"] == run["tiers"][0]["hits"]'
	done
}

# A profile, made by a run of another text: its experts are there from the start, here and there.
replays_warm()
{
	if [ ! -f "$dir/profile" ]; then
		run 0 generate -m "$model" -p "Old dogs run" -n 20 --ignore-eos -q --trace "$dir/profile"
	fi
	for size in 3% 25%; do
		replays "$size" "$1" --profile "$dir/profile"
		[ "$1" = none ] ||
			json 'run["engine"]["warm_experts"] == j["results"][0]["capacity_experts"]'
	done
}

# Statistics of a run are as good a profile as its trace.
statistics_are_a_profile()
{
	run 0 generate -m "$model" -p "Old dogs run" -n 20 --ignore-eos -q --stats "$dir/stats.json"
	replays 25% lru --profile "$dir/stats.json"
	json 'run["engine"]["warm_experts"] == 80'
	cp "$dir/run" "$dir/of_stats"
	record 25% lru --profile "$dir/profile"
	cp "$dir/of_stats" "$dir/out"
	json 'j["tiers"][0]["hits"] == run["tiers"][0]["hits"]'
	run 1 generate -m "$model" -p x --profile "$dir/nothing"
	grep -q -- "--profile $dir/nothing" "$dir/err"
}

replays_persistent_memory()
{
	mkdir -p "$dir/pmem"
	for policy in lru cost foresight pin none; do
		replays 10% "$policy" --pmem "$dir/pmem:33%"
		replays 10% "$policy" --pmem "$dir/pmem:33%" --profile "$dir/profile"
		json 'run["tiers"][1]["hits"] > 0'
	done
}

# What is used often in persistent memory comes to DRAM, here and there: all experts there, or some; at
# several sizes and bounds; from the start with a profile.
replays_promotion()
{
	mkdir -p "$dir/pmem"
	for size in 3% 10% 40%; do
		replays "$size" "$1" --pmem "$dir/pmem:100%"
		json 'run["engine"]["promotions"] == j["results"][0]["promotions"]'
		[ "$1" = none ] || json 'run["engine"]["promotions"] > 0'
		replays "$size" "$1" --pmem "$dir/pmem:50%" --promote 100%
		json 'run["engine"]["promotions"] == j["results"][0]["promotions"]'
	done
	replays 10% "$1" --pmem "$dir/pmem:100%" --profile "$dir/profile" --promote 30%
	json 'run["engine"]["promotions"] == j["results"][0]["promotions"]'
	[ "$1" = none ] || json 'run["engine"]["warm_experts"] == 32'
	replays 10% "$1" --pmem "$dir/pmem:100%" --profile "$dir/profile" --promote off
	json 'run["engine"]["warm_experts"] == 0 and run["engine"]["promotions"] == 0'
	json 'run["tiers"][0]["hits"] == 0'
}

promotion_mistakes()
{
	run 2 generate -m "$model" -p x --promote sometimes
	grep -q -- "--promote" "$dir/err"
}

reads_cut_trace()
{
	record 25% lru
	size=$(wc -c <"$dir/trace")
	head -c "$((size - 24))" "$dir/trace" >"$dir/cut"
	run 0 simulate "$dir/cut" --cache 25% --json
	grep -q 'cut short' "$dir/err"
	json 'j["results"][0]["hits"] == run["tiers"][0]["hits"]'
	head -c 20 "$dir/trace" >"$dir/cut"
	run 1 simulate "$dir/cut"
	grep -q 'no complete head' "$dir/err"
}

csv_trace()
{
	printf 'token,layer,expert\n' >"$dir/t.csv"
	for token in 0 1 2; do
		printf '%s,1,%s\n' $token 2 $token 0 $token 1 $token 3 >>"$dir/t.csv"
	done
	run 0 simulate "$dir/t.csv" --policy lru,none --cache 4,50% --warm 1 --json
	json '[(r["policy"], r["cache"], r["capacity_experts"], r["requests"], r["hits"])
		for r in j["results"]] == [("lru", "4", 4, 8, 8), ("none", "4", 4, 8, 0),
		("lru", "50%", 2, 8, 4), ("none", "50%", 2, 8, 0)]'
	json 'all(set(r) >= {"policy", "cache", "capacity_experts", "requests", "hits", "hit_rate",
		"share_of_belady"} for r in j["results"])'
	json '(j["results"][0]["hit_rate"], j["results"][0]["share_of_belady"]) == (1, 1)'
	run 0 simulate "$dir/t.csv" --experts 8 --cache 50% --json
	json 'j["results"][0]["capacity_experts"] == 4'
}

other_outputs()
{
	printf '0,0,1\n0,0,2\n1,0,1\n1,0,2\n2,0,1\n' >"$dir/t.csv"
	run 0 simulate "$dir/t.csv" --cache 2
	grep -q 'policy  *cache  *experts' "$dir/out"
	grep -q '^lru  *2  *2  *5  *3  *60.00%  *100.00%' "$dir/out"
	run 0 simulate "$dir/t.csv" --cache 2 --csv
	grep -q '^"[^"]*t.csv","lru","2",2,5,3,0.600000,1.000000,3,0,0$' "$dir/out"
	run 0 simulate "$dir/t.csv" --curve --policy lru,lfu
	[ "$(wc -l <"$dir/out")" -eq 21 ]
	grep -q '100%  *3  *0.4000  *0.4000  *0.4000' "$dir/out"
	run 0 simulate "$dir/t.csv" --cache 2 --predictor last
	grep -q 'recall@k  *@1.5k  *precision  *Brier' "$dir/out"
	run 0 simulate "$dir/t.csv" --cache 2 --predictor last --csv
	grep -q ',predictor,recall,recall_wide,precision,brier$' "$dir/out"
	grep -q ',3,0,0,"last",0.333333,1.000000,0.250000,' "$dir/out"
	run 0 simulate "$dir/t.csv" --per-layer --cache 2 --predictor echo --policy foresight
	run 0 simulate "$dir/t.csv" "$dir/t.csv" --cache 2 --json
	json 'len(j["results"]) == 2'
}

mistakes()
{
	printf '0,0,1\n' >"$dir/t.csv"
	run 2 simulate
	run 1 simulate "$dir/nothing"
	grep -q "$dir/nothing" "$dir/err"
	run 1 simulate "$dir/t.csv" --policy mru
	grep -q "'mru' is not known" "$dir/err"
	run 2 simulate "$dir/t.csv" --cache 5M
	grep -q 'how many bytes an expert has' "$dir/err"
	run 2 simulate "$dir/t.csv" --warm much
	run 2 simulate "$dir/t.csv" --warm 100%
	grep -q 'nothing is left' "$dir/err"
	run 2 simulate "$dir/t.csv" --json --csv
	run 1 simulate "$dir/t.csv" --predictor oracle
	grep -q "'oracle' is not known; there are none, last" "$dir/err"
	run 1 generate -m "$model" -p x --trace "$dir/no/where"
	grep -q "$dir/no/where" "$dir/err"
}

if ! command -v python3 >/dev/null; then
	echo "1..0 # SKIP no python3"
	exit 0
fi
every_policy >"$dir/policies"
test_that "there are policies to replay" test -s "$dir/policies"
while read -r policy; do
	test_that "a run under $policy is replayed exactly" replays_at_all_sizes "$policy"
	test_that "a warm start under $policy is replayed exactly" replays_warm "$policy"
done <"$dir/policies"
every_predictor >"$dir/predictors"
test_that "there are predictors to replay" test -s "$dir/predictors"
while read -r predictor; do
	test_that "a run with the predictor $predictor is replayed exactly" replays_predictor "$predictor"
done <"$dir/predictors"
test_that "what is foreseen changes what is evicted" hints_matter
test_that "router scores are recorded without a predictor" scores_need_no_predictor
test_that "statistics are a profile" statistics_are_a_profile
test_that "a run with persistent memory is replayed exactly" replays_persistent_memory
for policy in lru cost foresight arc none; do
	test_that "copies from persistent memory under $policy are replayed exactly" \
		replays_promotion "$policy"
done
test_that "a bound on copies that is no size is refused" promotion_mistakes
test_that "a long prompt is replayed exactly" replays_long_prompts
test_that "a cache of so many bytes is the same in both" replays_bytes
test_that "the order in which reads end changes nothing" replays_io_methods
test_that "a trace that was cut short is replayed" reads_cut_trace
test_that "CSV is replayed" csv_trace
test_that "tables, curves and CSV are printed" other_outputs
test_that "mistakes are named" mistakes
done_testing
