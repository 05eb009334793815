#!/bin/sh
# What a run counts of its experts, beside its trace, its tiers and a count by hand. Then the command
# line of stats.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"
model=${TR_SRCDIR:-$here/..}/models/demo-q4_0.gguf
prompt="The quick brown fox jumps over the lazy dog and runs into the deep forest"

# record OPTION... - a run with its statistics in $dir/run.json, its trace in $dir/run.trace, its JSON
# in $dir/run
record()
{
	run 0 generate -m "$model" -p "$prompt" -n 24 --temp 0 --ignore-eos -t 2 --batch 7 -q \
		--output json --stats "$dir/run.json" --trace "$dir/run.trace" "$@"
	mv "$dir/out" "$dir/run"
}

# What expressions of holds may call.
holds_with='
flat = lambda stats, key: [n for layer in stats["layers"] for n in layer[key]]
def by_tier(stats, key, tier):
    return [n for layer in stats["layers"] for n in layer[key][tier]]
'

# summary FILE NAME - what stats says of it, in $dir/NAME
summary()
{
	run 0 stats "$1" --json
	mv "$dir/out" "$dir/$2"
}

run_is_counted_like_its_trace()
{
	record --dram 25%
	summary "$dir/run.json" a
	summary "$dir/run.trace" b
	holds '[[l[k] for k in ("layer", "uses", "prefill_uses", "skew", "overlap", "first_uses",
		"reuse", "touched")] for l in j[0]["results"][0]["layers"]] ==
		[[l[k] for k in ("layer", "uses", "prefill_uses", "skew", "overlap", "first_uses",
		"reuse", "touched")] for l in j[1]["results"][0]["layers"]]' "$dir/a" "$dir/b"
	holds 'j[0]["results"][0]["tokens"] == j[1]["results"][0]["tokens"] and
		j[0]["results"][0]["tokens"]["decode"] == 23' "$dir/a" "$dir/b"
	holds 'all(abs(x["mass"] - y["mass"]) < 0.01 * x["mass"] for x, y in
		zip(j[0]["results"][0]["layers"], j[1]["results"][0]["layers"]))' "$dir/a" "$dir/b"
}

# Uses are what tiers served, of the last layer only for the last token of a prompt; what experts were served adds up to what tiers count.
counts_add_up()
{
	record "$@"
	holds 'flat(j, "uses") == [sum(n) for n in
		zip(*[by_tier(j, "hits", t["name"]) for t in j["tiers"]])]' "$dir/run.json"
	holds 'all(sum(by_tier(j, "hits", t["name"]) + by_tier(j, "prefill_hits", t["name"])) ==
		t["hits"] for t in j["tiers"][:-1])' "$dir/run.json"
	holds 'sum(flat(j, "evictions")) == j["run"]["engine"]["evictions"]' "$dir/run.json"
	holds 'sum(flat(j, "loads")) == j["tiers"][-1]["hits"] + j["run"]["engine"]["promotions"]' \
		"$dir/run.json"
	holds 'sum(flat(j, "uses")) == j["tokens"]["decode"] * j["model"]["n_expert_used"] *
		j["model"]["n_moe_layer"]' "$dir/run.json"
	holds '[sum(l["prefill_uses"]) for l in j["layers"]] == [n * j["model"]["n_expert_used"]
		for n in [j["tokens"]["prefill"]] * (j["model"]["n_moe_layer"] - 1) + [1]]' \
		"$dir/run.json"
	holds 'j[0]["run"]["shares"] == j[1]["shares"]' "$dir/run.json" "$dir/run"
}

counts_add_up_everywhere()
{
	counts_add_up --dram 0
	counts_add_up --dram 10% --policy lru
	counts_add_up --dram 25% --policy none
	counts_add_up --dram 25% --predictor gate --prefetch on,waste=1000
	counts_add_up --dram 10% --pmem "$dir/pmem:6M"
	counts_add_up --dram 10% --device host --vram 30%
	counts_add_up --dram 0 --profile "$dir/run.trace" --device host --vram 60%
	holds 'sum(by_tier(j, "hits", "vram")) > 0' "$dir/run.json"
}

# The same requests: an lru run has all of what lru has, and a replay of the trace agrees.
shares_are_of_the_same_requests()
{
	for size in 0 3% 25% 60%; do
		record --dram "$size" --policy lru
		n=$(python3 -c 'import json, sys; print(len(json.load(open(sys.argv[1]))["prompt_ids"]))' \
			"$dir/run")
		run 0 simulate "$dir/run.trace" --cache "$size" --warm "$n" --json
		holds '[j[1]["shares"][k] for k in ("requests", "hits", "lru_hits", "belady_hits",
			"requests_of_run", "capacity_experts")] == [j[0]["results"][0][k] for k in
			("requests", "hits", "hits", "belady_hits", "requests", "capacity_experts")]' \
			"$dir/out" "$dir/run"
	done
	record --dram 10% --policy lru --pmem "$dir/pmem:6M"
	holds '0 < j["engine"]["promotions"] and j["shares"]["requests"] == 23 * 20 and
		j["shares"]["hits"] == j["shares"]["lru_hits"] <= j["shares"]["belady_hits"]' "$dir/run"
	record --dram 10% --policy lru --pmem "$dir/pmem:6M" --promote off
	holds 'j["shares"]["hits"] == j["shares"]["lru_hits"] <= j["shares"]["belady_hits"] and
		0 < j["shares"]["requests"] < 23 * 20' "$dir/run"
	record --dram 25% --policy lfu
	holds 'j["shares"]["hits"] <= j["shares"]["belady_hits"] and
		j["shares"]["requests"] == 23 * 20' "$dir/run"
}

# The points of a run are its tokens, and what tiers served in them what they served in all.
history_is_of_all_tokens()
{
	record --dram 25% --pmem "$dir/pmem:6M"
	holds 'sum(j["run"]["history"]["tokens"]) == j["tokens"]["decode"] == 23 and
		j["run"]["history"]["tokens_per_point"] == 1' "$dir/run.json"
	holds 'all(sum(j["run"]["history"]["hits"][t["name"]]) == sum(by_tier(j, "hits", t["name"]))
		for t in j["tiers"])' "$dir/run.json"
	holds 'abs(sum(j["run"]["token_seconds"].values()) * 23 * 1000 / sum(j["run"]["history"]["ms"]) - 1) < 1e-4 and
		j["run"]["token_seconds"]["experts"] > 0 and "read" not in j["run"]["token_seconds"]' "$dir/run.json"
	holds 'sum(j["run"]["history"]["ms"]) < 1000 * j["run"]["timings"]["decode"]["seconds"]' \
		"$dir/run.json"
}

# What a token of 5 layers with routed experts and one without spent its time on.
spans_tell_where_a_token_went()
{
	record --dram 3% --pmem "$dir/pmem:6M" --promote off # less than a token uses
	python3 - "$dir/run.json" <<-'END'
	import json, sys
	j = json.load(open(sys.argv[1]))
	line = j["run"]["timeline"]
	kinds, last = line["kinds"], len(j["tiers"]) - 1
	assert [t["which"] for t in line["tokens"]] == ["median", "slowest", "last"]
	assert line["tokens"][2]["token"] == 23
	assert line["tokens"][1]["ns"] >= max(t["ns"] for t in line["tokens"])
	n_read = n_pmem = 0
	for t in line["tokens"]:
	    assert not t["lost"] and len(t["spans"]) % 6 == 0
	    rows = [t["spans"][i:i + 6] for i in range(0, len(t["spans"]), 6)]
	    spans = [(kinds[k], layer, tier, n, at, ns) for k, layer, tier, n, at, ns in rows]
	    gapless = sorted({(s[4], s[4] + s[5]) for s in spans if s[0] != "read" and s[5]})
	    end = 0
	    for a, b in gapless:
	        assert a == end, (a, end)
	        end = b
	    assert end == t["ns"], (end, t["ns"])
	    assert [s[1] for s in spans if s[0] == "attention"] == [0, 1, 2, 3, 4, 5]
	    assert [s[1] for s in spans if s[0] == "dense"] == [0]
	    for layer in range(1, 6):
	        of = [s for s in spans if s[1] == layer]
	        assert sum(s[3] for s in of if s[0] == "experts") == 4, of
	        reads = [s for s in of if s[0] == "read"]
	        assert len(reads) == sum(s[3] for s in of if s[0] == "experts" and s[2] == last)
	        assert len({s[3] for s in reads}) == len(reads)
	        n_read += len(reads)
	        n_pmem += sum(s[3] for s in of if s[0] == "experts" and s[2] == 1)
	        # Who waits does so until a read arrives.
	        for w in (s for s in of if s[0] == "wait"):
	            assert any(r[4] < w[4] + w[5] >= r[4] + r[5] for r in reads), (w, reads)
	assert n_read and n_pmem, (n_read, n_pmem)
	END
}

# Each point is the replay that simulate makes of the same requests.
curves_are_those_of_simulate()
{
	record --dram 25% --policy slru
	n=$(python3 -c 'import json, sys; print(len(json.load(open(sys.argv[1]))["prompt_ids"]))' \
		"$dir/run")
	for policy in lru foresight slru; do
		run 0 simulate "$dir/run.trace" --policy "$policy" --cache 22 --cache 80 --warm "$n" --json
		mv "$dir/out" "$dir/replayed"
		holds '[j[0]["run"]["miss_curves"]["misses"]["'$policy'"][
			j[0]["run"]["miss_curves"]["capacities"].index(c)] for c in (22, 80)] ==
			[r["requests"] - r["hits"] for c in (22, 80) for r in j[1]["results"]
			if r["capacity_experts"] == c]' "$dir/run.json" "$dir/replayed"
	done
	python3 -c 'import json, sys; json.dump(json.load(sys.stdin)["run"]["miss_curves"], sys.stdout)' \
		<"$dir/run.json" >"$dir/curves"
	holds 'j["kept_experts"] == 80 and j["requests"] == j["requests_of_run"] == 460 and
		j["misses"]["slru"][j["capacities"].index(80)] == 460 - j["hits"] and
		all(best <= v for m in j["misses"].values() for best, v in zip(j["misses"]["belady"], m))
		and len(j["capacities"]) == 11 and j["capacities"] == sorted(j["capacities"])' \
		"$dir/curves"
}

roofline_is_shown()
{
	record --dram 25% --pmem "$dir/pmem:6M"
	holds '[r["name"] for r in j["roofline"]] == [t["name"] for t in j["tiers"]] and
		all(r["bytes"] > 0 and r["bytes_per_s"] > 0 and r["reader_bytes_per_s"] > 0
		for r in j["roofline"])' "$dir/run"
	run 0 generate -m "$model" -p x -n 4 --ignore-eos --dram 25% --roofline
	grep -q '^shares   dram' "$dir/err"
	grep -q '^roofline dram .*/s of .*/s: ' "$dir/err"
	grep -q '^roofline nvme' "$dir/err"
	run 0 generate -m "$model" -p "more tokens than one" -n 0 --dram 25%
	if grep '^shares' "$dir/err"; then return 1; fi
}

# Counted from the lines of a CSV trace by a few lines of Python that remember every token.
counts_by_hand()
{
	python3 - "$dir" <<-'END'
	import json, math, random, sys
	random.seed(4)
	layers, experts, used, tokens = [2, 5, 6], 40, 3, 700
	lines, sets = [], {l: [] for l in layers}
	for t in range(tokens):
	    for l in layers:
	        few = random.sample(range(9), used - 1)
	        ids = few + [random.randrange(9, experts)]
	        sets[l].append(ids)
	        lines += ["%d,%d,%d,%.3f" % (t, l, e, random.random()) for e in ids]
	open(sys.argv[1] + "/t.csv", "w").write("\n".join(lines) + "\n")
	want = []
	for l in layers:
	    reuse, uses = [0] * 16, [0] * experts
	    for t, ids in enumerate(sets[l]):
	        for e in ids:
	            uses[e] += 1
	            before = [s for s in range(t) if e in sets[l][s]]
	            if before:
	                d = t - before[-1]
	                reuse[min(15, math.ceil(math.log2(d)))] += 1
	    first = sum(1 for n in uses if n)
	    rank = sorted(uses, reverse=True)
	    skew = [sum(rank[:math.ceil(p * experts)]) / sum(uses) for p in (0.01, 0.05, 0.25)]
	    both = sum(len(set(a) & set(b)) for a, b in zip(sets[l], sets[l][1:]))
	    want.append([l, sum(uses), reuse, first, skew, both / (used * (tokens - 1))])
	json.dump(want, open(sys.argv[1] + "/want", "w"))
	END
	run 0 stats "$dir/t.csv" --experts 40 --json
	holds 'all([g[k] for k in ("layer", "uses", "reuse", "first_uses")] == w[:4] and
		all(abs(x - y) < 1e-9 for x, y in zip(g["skew"] + [g["overlap"]], w[4] + [w[5]]))
		for g, w in zip(j[0]["results"][0]["layers"], j[1]))' "$dir/out" "$dir/want"
	holds 'len(j[1]) == 3 == len(j[0]["results"][0]["layers"]) and
		sum(j[1][0][2]) + j[1][0][3] == 2100' "$dir/out" "$dir/want"
}

json_comes_back()
{
	record --dram 25% --predictor last
	run 0 stats --merge "$dir/again.json" "$dir/run.json"
	cmp "$dir/run.json" "$dir/again.json"
	run 0 stats "$dir/run.json"
	grep -q 'predictor last' "$dir/out"
	grep -q '^shares   dram' "$dir/out"
	grep -q '^all  *460' "$dir/out"
}

# A run and itself are twice the run.
files_are_merged()
{
	record --dram 25%
	run 0 stats --merge "$dir/sum.json" "$dir/run.json" "$dir/run.trace" "$dir/run.json"
	holds '[3 * n for n in flat(j[0], "uses")] == flat(j[1], "uses") and
		[2 * n for n in flat(j[0], "loads")] == flat(j[1], "loads") and
		[2 * t["hits"] for t in j[0]["tiers"]] == [t["hits"] for t in j[1]["tiers"]] and
		"run" not in j[1] and j[1]["tokens"]["decode"] == 69' "$dir/run.json" "$dir/sum.json"
	cp "$dir/run.json" "$dir/first.json"
	record --dram 10% --pmem "$dir/pmem:6M"
	run 0 stats --merge "$dir/sum.json" "$dir/first.json" "$dir/run.json"
	holds '[t["name"].split(":")[0] for t in j["tiers"]] == ["dram", "pmem", "nvme"] and
		flat(j, "uses") == [sum(n) for n in
		zip(*[by_tier(j, "hits", t["name"]) for t in j["tiers"]])]' "$dir/sum.json"
	run 0 stats --merge "$dir/sum.csv" "$dir/first.json"
	python3 - "$dir/sum.csv" "$dir/first.json" <<-'END'
	import csv, json, sys
	rows = list(csv.DictReader(open(sys.argv[1])))
	j = json.load(open(sys.argv[2]))
	for key in ("uses", "prefill_uses", "loads", "evictions"):
	    assert [int(r[key]) for r in rows] == [n for l in j["layers"] for n in l[key]], key
	assert [int(r["hits dram"]) for r in rows] == [n for l in j["layers"] for n in l["hits"]["dram"]]
	END
}

files_are_compared()
{
	printf '0,0,0\n0,0,1\n1,0,0\n1,0,2\n' >"$dir/a.csv"
	printf '0,0,0\n0,0,3\n1,0,3\n1,0,2\n' >"$dir/b.csv"
	run 0 stats --compare --experts 4 --json "$dir/a.csv" "$dir/a.csv"
	holds 'j["results"][0]["all"]["overlap"] == [1, 1, 1] and j["results"][0]["all"]["distance"] == 0'
	run 0 stats --compare --experts 4 --json "$dir/a.csv" "$dir/b.csv"
	holds 'j["results"][0]["all"]["overlap"] == [0, 0, 0] and j["results"][0]["all"]["distance"] == 0.5'
	run 0 stats --compare --experts 4 "$dir/a.csv" "$dir/b.csv"
	grep -q '^all  *0.0%  *0.0%  *0.0%  *0.500' "$dir/out"
	record --dram 10%
	cp "$dir/run.json" "$dir/first.json"
	record --dram 60%
	run 0 stats --compare --json "$dir/first.json" "$dir/run.json"
	holds 'j["results"][0]["all"]["hit_rate_gain"]["dram"] > 0 and
		abs(sum(j["results"][0]["all"]["hit_rate_gain"].values())) < 1e-9'
	run 0 stats --compare --csv "$dir/first.json" "$dir/run.json"
	grep -q '^layer,top_1,top_5,top_25,distance,"dram","nvme"$' "$dir/out"
	for how in --compare "--merge $dir/sum.json"; do
		# shellcheck disable=SC2086 # two words
		run 2 stats $how "$dir/a.csv" "$dir/run.json"
		grep -q 'run.json: .*not of the same model' "$dir/err"
	done
}

map_is_drawn()
{
	printf '0,3,0\n0,3,1\n1,3,0\n2,3,0\n3,3,0\n' >"$dir/t.csv"
	run 0 stats --map --ascii --experts 4 "$dir/t.csv"
	printf '    3 %s|\n' \
		'##################::::::::::::::::::                                    ' \
		>"$dir/want"
	sed -n 2p "$dir/out" | cmp - "$dir/want"
	run 0 stats --map --experts 384 "$dir/t.csv"
	python3 -c 'import sys
for line in open(sys.argv[1], encoding="utf-8"):
    assert len(line.rstrip("\n")) <= 80, line' "$dir/out"
	run 0 stats --map --experts 4 --by loads "$dir/t.csv"
}

other_outputs()
{
	printf '0,3,0\n0,3,1\n1,3,0\n2,3,0\n3,3,0\n' >"$dir/t.csv"
	run 0 stats "$dir/t.csv" --top 1
	grep -q '^1  *3  *60.0%  *60.0%' "$dir/out"
	grep -q '^never  *2  *40.0%  *100.0%' "$dir/out"
	grep -q '^3  *0  *4  *0  *-' "$dir/out"
	run 0 stats "$dir/t.csv" --csv
	grep -q '^3,5,0,0.000000,2,0.800000,0.800000,0.800000,1.000000,2,3,0' "$dir/out"
	run 0 stats "$dir/t.csv" "$dir/t.csv" --json --top 1
	holds 'len(j["results"]) == 2 and [(t["expert"], t["uses"]) for t in j["results"][0]["top"]] == [(0, 4)]'
}

mistakes()
{
	printf '0,0,1\n' >"$dir/t.csv"
	run 2 stats
	run 1 stats "$dir/nothing"
	grep -q "$dir/nothing" "$dir/err"
	run 2 stats --compare "$dir/t.csv"
	grep -q '1 files, not 2' "$dir/err"
	run 2 stats --merge "$dir/x.txt" "$dir/t.csv"
	grep -q 'ends in none of: .json .csv .html' "$dir/err"
	run 2 stats "$dir/t.csv" --json --map
	run 2 stats "$dir/t.csv" --by heat
	grep -q "'heat' is none of" "$dir/err"
	run 2 generate -m "$model" -p x --stats "$dir/x.txt"
	grep -q "x.txt' ends in none of" "$dir/err"
	run 1 generate -m "$model" -p x --stats "$dir/no/x.json"
	grep -q "$dir/no/x.json: No such" "$dir/err"
}

# bad PROGRAM MESSAGE - the file of a run, changed by a line of Python, is refused with this message.
bad()
{
	python3 - "$1" "$dir/run.json" "$dir/bad.json" <<-'END'
	import json, sys
	j = json.load(open(sys.argv[2]))
	exec(sys.argv[1])
	json.dump(j, open(sys.argv[3], "w"))
	END
	run 1 stats "$dir/bad.json"
	grep -qF "$2" "$dir/err" || { cat "$dir/err"; return 1; }
}

bad_files_are_refused()
{
	record --dram 25%
	bad 'j["format"] = "x"' 'not a file of expert statistics'
	bad 'j["version"] = 2' 'version 2: at most 1 is understood'
	bad 'del j["model"]["n_expert"]' 'model.n_expert is not a whole number'
	bad 'j["model"]["n_expert"] = 65' 'layers[0].uses has 64 numbers, not 65'
	bad 'j["model"]["n_expert"] = -1' 'model.n_expert is -1'
	bad 'j["model"]["n_moe_layer"] = 4' 'layers has 5 entries, model.n_moe_layer is 4'
	bad 'j["layers"][1]["uses"][3] = -2' 'layers[1].uses[3] is not a count'
	bad 'j["layers"][1]["mass"][3] = "x"' 'layers[1].mass[3] is not a number'
	bad 'j["layers"][2]["layer"] = 1' 'layers[2].layer is 1 after 2'
	bad 'j["layers"][2]["hits"]["dram"] = [1]' 'layers[2].dram has 1 numbers, not 64'
	bad 'j["layers"][0]["reuse"][0] = 1 << 40' 'layers[0].reuse counts'
	bad 'j["tiers"] = 9 * j["tiers"]' 'tiers: at most 9'
	bad 'j["layers"] = 5' 'layers has 0 entries'
	echo '{ "format": ' >"$dir/bad.json"
	run 1 stats "$dir/bad.json"
	grep -q "$dir/bad.json:" "$dir/err"
	python3 - "$dir/run.json" "$dir/few.json" <<-'END'
	import json, sys
	j = json.load(open(sys.argv[1]))
	keep = {k: j[k] for k in ("format", "version")}
	keep["model"] = {k: j["model"][k] for k in ("n_moe_layer", "n_expert")}
	keep["layers"] = [{k: l[k] for k in ("layer", "uses")} for l in j["layers"]]
	keep["new"] = {}
	json.dump(keep, open(sys.argv[2], "w"))
	END
	run 0 stats "$dir/few.json"
	grep -q '^all  *460' "$dir/out"
}

if ! command -v python3 >/dev/null; then
	echo "1..0 # SKIP no python3"
	exit 0
fi
mkdir "$dir/pmem"
test_that "a run counts what its trace tells" run_is_counted_like_its_trace
test_that "counts of experts add up to those of tiers" counts_add_up_everywhere
test_that "lru and Belady are held against the same requests" shares_are_of_the_same_requests
test_that "points over time are of all tokens" history_is_of_all_tokens
test_that "spans tell where a token went" spans_tell_where_a_token_went
test_that "misses by size are those that simulate finds" curves_are_those_of_simulate
test_that "every run ends with its roofline" roofline_is_shown
test_that "reuse, overlap and skew are as counted by hand" counts_by_hand
test_that "statistics are read as they were written" json_comes_back
test_that "files are merged" files_are_merged
test_that "files are compared" files_are_compared
test_that "the map fits 80 columns" map_is_drawn
test_that "tables, CSV and JSON are printed" other_outputs
test_that "mistakes are named" mistakes
test_that "bad files are refused and unknown members are not" bad_files_are_refused
done_testing
