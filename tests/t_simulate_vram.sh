#!/bin/sh
# What a run with experts on a device recorded is replayed with the same counts in every tier, for every
# policy of VRAM, whenever copies ended. Without a GPU: threads stand in for one.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"
model=${TR_SRCDIR:-$here/..}/models/demo-q4_0.gguf
prompt="The quick brown fox jumps over the lazy dog and runs into the deep forest"

# record DEVICE DRAM VRAM POLICIES [OPTION...] - a run with its trace in $dir/trace, its JSON in $dir/run
record()
{
	device=$1
	dram=$2
	vram=$3
	spec=$4
	shift 4
	run 0 generate -m "$model" -p "$prompt" -n 32 --temp 0 --ignore-eos -t 2 --batch 7 -q \
		--device "$device" --device-fetch off --vram "$vram" --dram "$dram" \
		--policy "$spec" --output json --trace "$dir/trace" "$@"
	mv "$dir/out" "$dir/run"
}

# Names of the counts that have to be the same, of a run and of a replay.
holds_with='
def tier(run, name):
    return next((t for t in run["tiers"] if t["name"].startswith(name)), None)

def counts_of_run(run):
    d, v, p, n = (tier(run, name) for name in ("dram", "vram", "pmem", "nvme"))
    e, x = run["engine"], run["device"]
    return dict(hits=d["hits"], requests=d["hits"] + d["misses"], hit_bytes=d["bytes"],
        evictions=e["evictions"], promotions=e["promotions"],
        pmem_hits=p["hits"] if p else 0, pmem_bytes=p["bytes"] if p else 0,
        loads=n["hits"], load_bytes=n["bytes"],
        vram=dict(hits=v["hits"], misses=v["misses"], bytes=v["bytes"],
            capacity_bytes=v["capacity_bytes"], warm_experts=x["warm_experts"],
            copies=x["copies"], copied_bytes=x["copied_bytes"],
            late_copies=x["late_copies"], evictions=x["evictions"]))

def counts_of_replay(row):
    row = dict(row)
    row["vram"] = dict(row["vram"])
    row["vram"].pop("capacity_experts")
    return {k: row[k] for k in ("hits", "requests", "hit_bytes", "evictions", "promotions",
        "pmem_hits", "pmem_bytes", "loads", "load_bytes", "vram")}

def same(run, replay):
    return counts_of_run(run) == counts_of_replay(replay["results"][0])
'

# replay VRAM VRAM_POLICY POLICY - all counts of $dir/run come out again.
replay()
{
	run 0 simulate "$dir/trace" --cache "$dram" --policy "$3" --vram "$1" --vram-policy "$2" --json
	holds 'same(*j)' "$dir/run" "$dir/out"
}

# Room for few of the experts and for many.
replays_at_all_sizes()
{
	for vram in 5% 20%; do
		record host 25% $vram "dram=lru,vram=$1"
		replay "$vram" "$1" lru
	done
}

# Many copies at a time over a link of 4 MB/s: they take longer than a token.
replays_late_copies()
{
	for policy in lru foresight; do
		record host,bw=4M 60% 20% "dram=lru,vram=$policy" --promote 100%
		replay 20% $policy lru
		holds 'j["device"]["late_copies"] > 0' "$dir/run"
	done
}

every_count_is_at_work()
{
	record host 40% 4% dram=lru,vram=lru -n 96
	replay 4% lru lru
	holds 'j["device"]["evictions"] > 0 and tier(j, "vram")["hits"] > 0' "$dir/run"
	# A replay without the device has other counts in DRAM, or the above would prove nothing.
	run 0 simulate "$dir/trace" --cache 40% --policy lru --json
	holds 'j[0]["results"][0]["hits"] != tier(j[1], "dram")["hits"]' "$dir/out" "$dir/run"
}

# With fewer slots than copies may hold, and with none that are kept.
replays_small_caches()
{
	for dram in 0 1% 3%; do
		record host "$dram" 20% dram=lru,vram=lfu
		replay 20% lfu lru
	done
	record host 25% 20% dram=none,vram=lru
	replay 20% lru none
}

replays_what_was_recorded()
{
	for vram in 20M 21M 64M; do
		record host 25% $vram dram=lru,vram=lru
		replay recorded lru lru
	done
}

replays_persistent_memory()
{
	mkdir -p "$dir/pmem"
	record host 10% 10% dram=lru,vram=lru --pmem "$dir/pmem:50%"
	replay 10% lru lru
	holds 'tier(j, "pmem")["hits"] > 0' "$dir/run"
	record host 10% 10% dram=cost,vram=cost --pmem "$dir/pmem:100%" --promote 100%
	replay 10% cost cost
	holds 'tier(j, "nvme")["hits"] == 0 and j["engine"]["promotions"] > 0' "$dir/run"
}

replays_warm()
{
	run 0 generate -m "$model" -p "$prompt" -n 16 --temp 0 --ignore-eos -q --stats "$dir/profile.json"
	for policy in lru foresight none; do
		record host 10% 10% dram=lru,vram=$policy --profile "$dir/profile.json"
		replay 10% "$policy" lru
		[ "$policy" = none ] || holds 'j["device"]["warm_experts"] == 32' "$dir/run"
	done
}

replays_predictors()
{
	record host 10% 10% dram=foresight,vram=lru --predictor gate --prefetch off \
		--trace "$dir/trace,scores"
	run 0 simulate "$dir/trace" --cache 10% --policy foresight --predictor gate --vram 10% \
		--vram-policy lru --json
	holds 'same(*j)' "$dir/run" "$dir/out"
}

# The trace of a run without a device has no late copies. A replay of it has every copy in time, and differs
# from a run with a device by what came later there, and by nothing when all came in time.
replays_other_runs()
{
	record none 25% 0 dram=lru
	mv "$dir/trace" "$dir/other"
	tries=0
	while [ $tries -lt 8 ]; do
		tries=$((tries + 1))
		record host 25% 20% dram=lru,vram=lru --throttle dram=100M
		run 0 simulate "$dir/other" --cache 25% --policy lru --vram 20% --vram-policy lru --json
		holds 'abs(tier(j[0], "vram")["hits"] - j[1]["results"][0]["vram"]["hits"])
			<= 4 * j[0]["device"]["late_copies"]' "$dir/run" "$dir/out"
		holds 'same(*j) or j[0]["device"]["late_copies"]' "$dir/run" "$dir/out"
		grep -q '"late_copies": 0' "$dir/run" && return
	done
	echo "copies were late in $tries runs of $tries" # bounded above, but not held against equality
}

other_outputs()
{
	record host 25% 10% dram=lru,vram=lru
	run 0 simulate "$dir/trace" --cache 25% --vram 10%
	grep -q 'evicted  *in vram  *vram hits  *vram hit  *copied' "$dir/out"
	run 0 simulate "$dir/trace" --cache 25% --vram 10% --warm 50% --csv
	grep -q ',evictions,vram_experts,vram_hits,vram_misses,vram_copies,vram_evictions$' "$dir/out"
	run 0 simulate "$dir/trace" --cache 25% --vram 10% --warm 20 --json
	holds 'j["results"][0]["belady_hits"] == 0 and j["results"][0]["share_of_belady"] is None'
	printf '0,0,1\n0,0,2\n1,0,1\n1,0,2\n2,0,1\n' >"$dir/t.csv"
	run 0 simulate "$dir/t.csv" --cache 2 --vram 50% --json
	holds 'j["results"][0]["vram"]["capacity_bytes"] == 0'
}

mistakes()
{
	printf '0,0,1\n' >"$dir/t.csv"
	run 2 simulate "$dir/t.csv" --vram 4M
	grep -q -- '--vram 4M: the trace does not say how many bytes' "$dir/err"
	run 2 simulate "$dir/t.csv" --vram recorded
	grep -q 'had no experts on a device' "$dir/err"
	run 2 simulate "$dir/t.csv" --vram much
	run 2 simulate "$dir/t.csv" --vram-policy lru
	run 2 simulate "$dir/t.csv" --vram 10% --per-layer
	run 2 simulate "$dir/t.csv" --vram 10% --curve
	run 1 simulate "$dir/t.csv" --vram 100% --vram-policy mru
	grep -q "VRAM tier.*'mru' is not known" "$dir/err"
}

if ! command -v python3 >/dev/null; then
	echo "1..0 # SKIP no python3"
	exit 0
fi
every_policy >"$dir/policies"
test_that "there are policies to replay" test -s "$dir/policies"
while read -r policy; do
	test_that "a run with VRAM under $policy is replayed exactly" replays_at_all_sizes "$policy"
done <"$dir/policies"
test_that "copies that are late are late in the replay" replays_late_copies
test_that "what is compared happens" every_count_is_at_work
test_that "caches that hold next to nothing are replayed exactly" replays_small_caches
test_that "VRAM of so many bytes is replayed as recorded" replays_what_was_recorded
test_that "persistent memory below VRAM is replayed exactly" replays_persistent_memory
test_that "a warm start of VRAM is replayed exactly" replays_warm
test_that "a predictor above VRAM is replayed exactly" replays_predictors
test_that "a run without a device foretells one with it" replays_other_runs
test_that "tables and CSV have VRAM" other_outputs
test_that "mistakes are named" mistakes
done_testing
