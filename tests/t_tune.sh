#!/bin/sh
# What tune measures it can read; what it forecasts follows from what a run does; what it recommends can be run.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"
model=${TR_SRCDIR:-$here/..}/models/demo-q4_0.gguf
prompt="The quick brown fox jumps over the lazy dog and runs into the deep forest"

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

hits_are_those_of_the_run()
{
	for size in 10% 40%; do
		run 0 generate -m "$model" -p "$prompt" -n 40 --temp 0 --ignore-eos -t 2 --dram $size -q \
			--output json --trace "$dir/run.trace"
		mv "$dir/out" "$dir/run"
		run 0 tune --machine desktop-gen4 --json "$model" --trace "$dir/run.trace" --dram $size \
			--policy foresight --predictor none
		holds "abs(j[0]['best']['run_hit_rate'] - j[1]['shares']['hit_rate']) < 1e-9 and
			j[0]['best']['n_token'] == j[1]['timings']['decode']['tokens'] and
			j[0]['best']['n_prompt'] == j[1]['timings']['prefill']['tokens'] and
			0 < j[0]['best']['run_hit_rate'] < 1" "$dir/out" "$dir/run"
	done
}

header_is_enough()
{
	head -c 133696 "$model" >"$dir/header.gguf"
	run 1 inspect "$dir/header.gguf"
	run 0 tune --machine desktop-gen4 --json "$dir/header.gguf" --max-dram 1G --dram 25% --policy lru
	mv "$dir/out" "$dir/header"
	run 0 tune --machine desktop-gen4 --json "$model" --max-dram 1G --dram 25% --policy lru
	holds "j[0]['floor_bytes'] == j[1]['floor_bytes'] > 0 and
		abs(j[0]['best']['hit_rate'] - j[1]['best']['hit_rate']) < 0.02 and
		abs(j[0]['best']['tokens_per_s'] / j[1]['best']['tokens_per_s'] - 1) < 0.05" \
		"$dir/header" "$dir/out"
	head -c 100000 "$model" >"$dir/cut.gguf"
	run 1 tune --machine desktop-gen4 "$dir/cut.gguf"
	grep -q cut.gguf "$dir/err"
}

measured_machine_can_be_tuned_for()
{
	mkdir -p "$dir/pmem" "$dir/disk"
	run 0 tune --measure "$dir/my.machine" --quick -t 2 --pmem "$dir/pmem" --disk "$dir/disk" \
		--disk "$model" --quant Q4_0:256 --quant Q8_0
	grep -q burst "$dir/out" && grep -q "Q4_0" "$dir/out"
	holds "[t['kind'] for t in j['tiers']] == ['dram', 'pmem', 'nvme', 'nvme'] and
		all(p['bytes_per_s'][1] > 0 for t in j['tiers'] for p in t['points']) and
		any(p['burst'] for p in j['tiers'][2]['points']) and
		all(0 < p['submit_share'] < p['first_share'] <= 1 for p in j['tiers'][2]['points'] if p['burst']) and
		[k['cols'] for k in j['kernels'] if k['quant'] == 'Q4_0'] == [256, 256] and
		j['attend_macs_per_s'] > 0 and j['touch_bytes_per_s'] > 0" "$dir/my.machine"
	run 0 tune --machine "$dir/my.machine" "$model" --max-dram 2G --json
	holds "j['best']['tokens_per_s'] > 0 and '--pmem $dir/pmem' in j['command']"
	run 1 tune --measure "$dir/none/my.machine" --quick
	grep -q "none/my.machine" "$dir/err"
	run 1 tune --measure "$dir/my.machine" --quick --disk "$dir/nowhere"
	grep -q nowhere "$dir/err"
}

a_run_of_the_engine_is_believed()
{
	run 0 tune --measure "$dir/run.machine" --quick -t 2 --quant Q4_0:256 --calibrate "$model"
	grep -q "demo-q4_0.gguf, .* tokens of the engine" "$dir/out"
	holds "[(r['model'], r['n_token'] > 8, len(r['read_s']) > 0, r['unit_s'] > 0) for r in j['runs']] ==
		[('demo-q4_0.gguf', True, True, True)]" "$dir/run.machine"
	run 0 tune --machine "$dir/run.machine" "$model" --max-dram 2G --dram 25%
	grep -q "forecast from a run of .* tokens" "$dir/out"
	# What the run says of experts is what the forecast says.
	python3 - "$dir/run.machine" "$dir/slow.machine" <<-'END'
	import json, sys
	m = json.load(open(sys.argv[1]))
	m["runs"][0]["rest_s"] += 1
	m["runs"][0]["read_s"] = [1000 * x for x in m["runs"][0]["read_s"]]
	json.dump(m, open(sys.argv[2], "w"))
	END
	run 0 tune --machine "$dir/run.machine" "$model" --dram 25% --policy lru --json
	mv "$dir/out" "$dir/one"
	run 0 tune --machine "$dir/slow.machine" "$model" --dram 25% --policy lru --json
	holds "1 / j[1]['best']['tokens_per_s'] - 1 / j[0]['best']['tokens_per_s'] > 1 and
		j[0]['run']['n_token'] > 8" "$dir/one" "$dir/out"
	grep -q "others were at work" "$dir/err"
	run 0 tune --calibrate --quick --machine "$dir/slow.machine" "$model" --dram 25% --policy lru --json
	holds "len(j['runs']) == 1 and j['runs'][0]['rest_s'] < 1" "$dir/slow.machine"
	run 2 tune --calibrate --machine desktop-gen4 "$model"
	grep -q "measured here" "$dir/err"
	run 2 tune --calibrate --machine "$dir/slow.machine" --shape k2.5@3
}

faster_memory_makes_faster_tokens()
{
	run 0 tune --machine optane-3060 --shape k2.5@4.5 --dram 64G --policy lru --json
	mv "$dir/out" "$dir/slow"
	run 0 tune --machine optane-dual --shape k2.5@4.5 --dram 64G --policy lru --json
	holds "1.5 < j[1]['best']['warm_tokens_per_s'] / j[0]['best']['warm_tokens_per_s'] < 2.5" \
		"$dir/slow" "$dir/out"
}

# Between the planning figures and the ceilings that were published for it.
reference_machine_is_where_others_put_it()
{
	for bits in 2.97 4.5; do
		run 0 tune --machine optane-3060 --shape k2.5@$bits --gpu --dram 90G --policy lru --json
		mv "$dir/out" "$dir/$bits"
	done
	holds "all(low * 0.93 < row['tokens_per_s'] < high
		for bits, want in zip(j, (((3.5, 4.8), (4.5, 6.5), (6.4, 9.7), (8.1, 13.4), None, (6.8, 10.3)),
			((2.4, 3.2), (3.1, 4.3), (4.5, 6.4), (5.8, 8.8), None, (4.7, 6.8))))
		for row, bounds in zip(bits['shares'], want) if bounds for low, high in [bounds])" \
		"$dir/2.97" "$dir/4.5"
	holds "[(s['dram'], s['vram']) for s in j['shares']] == [(0, 0), (.25, 0), (.5, 0), (.75, 0), (1, 0),
		(.5, .03)] and j['assumptions'][0]['name'] == 'rate of experts from persistent memory' and
		' --vram ' in j['command'] and ' --device cuda:0' in j['command'] and
		' --promote ' in j['command'] and any('VRAM' in t for t in j['traps'])" "$dir/2.97"
	run 0 tune --machine workstation-32g "$model" --dram 25% --json
	holds "' --vram ' in j['command']"
	run 0 tune --machine workstation-32g "$model" --dram 25% --max-vram 0 --json
	holds "' --vram ' not in j['command']"
}

# Every token uses the experts of the one before, more than the cache holds; a slow processor leaves the disk time.
reading_ahead_is_recommended_where_it_gains()
{
	cat >"$dir/slow.machine" <<-'END'
	{"format": "tierra-machine", "version": 1, "name": "slow", "n_thread": 2, "tiers": [
	 {"kind": "dram", "direct": true, "bytes": 4e9,
	  "points": [{"n_flight": 2, "block_bytes": 0, "bytes_per_s": [2e7, 2e7, 2e7]}]},
	 {"kind": "nvme", "direct": true,
	  "points": [{"n_flight": 1, "block_bytes": 4096, "bytes_per_s": [1e7, 1e7, 1e7]}]}]}
	END
	python3 - "$dir/again" "$dir/chance" <<-'END'
	import random, sys
	random.seed(1)
	for path, again in zip(sys.argv[1:], (True, False)):
	    with open(path, "w") as f:
	        for token in range(120):
	            for layer in range(5):
	                used = range(4) if again else random.sample(range(64), 4)
	                for expert in used:
	                    print(f"{token},{layer},{expert}", file=f)
	END
	for routing in again chance; do
		run 0 tune --machine "$dir/slow.machine" "$model" --trace "$dir/$routing" --dram 4% --json
		mv "$dir/out" "$dir/$routing.json"
	done
	holds "[s['option'] for s in j[0]['search']] == ['-t', '--dram', '--policy', '--predictor',
		'--prefetch-budget'] and j[0]['best']['foreseen_per_token'] > 1 and
		' --predictor ' in j[0]['command'] and ' --prefetch-budget ' in j[0]['command'] and
		j[0]['search'][3]['taken'] and
		j[0]['search'][3]['tokens_per_s_best_tried'] > 1.03 * j[0]['search'][3]['tokens_per_s_before'] and
		not j[1]['search'][3]['taken'] and j[1]['search'][3]['tried'].startswith('last') and
		' --predictor ' not in j[1]['command']" "$dir/again.json" "$dir/chance.json"
	run 0 tune --machine "$dir/slow.machine" "$model" --trace "$dir/again" --dram 4% --predictor none --json
	holds "' --predictor ' not in j['command'] and 'given' in j['search'][3]['note']"
	run 0 tune --machine desktop-gen4 "$model" --dram 4% --html "$dir/page.html"
	grep -q -- "--prefetch-budget .*no predictor" "$dir/out"
	grep -q "needs --trace" "$dir/out" && grep -q "needs --trace" "$dir/page.html"
	run 2 tune --machine desktop-gen4 "$model" --predictor oracle
}

more_hits_are_never_slower()
{
	for machine in desktop-gen4 optane-3060 workstation-32g cxl; do
		run 0 tune --machine $machine "$model" --policy lfu --json
		holds "len(j['results']) >= 6 and all(b['warm_tokens_per_s'] > 0.999 * a['warm_tokens_per_s']
			for a, b in zip(j['results'][:5], j['results'][1:6]))"
	done
}

traps_are_warned_about()
{
	run 0 tune --machine desktop-gen4 "$model" --dram 1M --policy lru
	grep -q "below the floor" "$dir/err" && grep -q saturated "$dir/err"
	run 0 tune --machine desktop-gen4 "$model" --dram 20M --max-dram 16M --reserve 1M
	grep -q "would swap" "$dir/err"
	run 0 tune --machine desktop-gen4 "$model" --skew top25=0.99 -c 128
	grep -q "too large" "$dir/err"
	python3 - >"$dir/short" <<-'END'
	for token in range(10):
	    for i in range(20):
	        print(f"{token},{i // 4},{4 * token + i % 4}")
	END
	run 0 tune --machine desktop-gen4 "$model" --trace "$dir/short" --dram 100%
	grep -q "10 tokens do not fill this cache" "$dir/err"
	run 2 tune --machine desktop-gen4 "$model" --gpu
	grep -q "no VRAM" "$dir/err"
}

page_needs_nothing_else()
{
	run 0 tune --machine desktop-gen4 "$model" --max-dram 1G --html "$dir/page.html"
	grep -q "<svg" "$dir/page.html" && grep -q "prefers-color-scheme" "$dir/page.html"
	grep -q "tierra generate -m" "$dir/page.html"
	python3 - "$dir/page.html" <<-'END'
	import html.parser, sys
	class Page(html.parser.HTMLParser):
	    tags, points, bad = [], 0, []
	    def handle_starttag(self, tag, attrs):
	        self.tags.append(tag)
	        self.points += sum(len(v.split()) for k, v in attrs if k == "points")
	        self.bad += [k for k, v in attrs if k in ("src", "href") or "nan" in (v or "")]
	page = Page()
	text = open(sys.argv[1], encoding="utf-8").read()
	page.feed(text)
	sys.exit("script" in page.tags or page.bad or page.points < 24 or page.tags.count("rect") < 12)
	END
	run 1 tune --machine desktop-gen4 "$model" --max-dram 1G --html "$dir/none/page.html"
	grep -q "none/page.html" "$dir/err"
}

unknown_machines_are_named()
{
	run 1 tune --machine abacus "$model"
	grep -q "'abacus'" "$dir/err" && grep -q optane-3060 "$dir/err"
	run 2 tune "$model"
	run 2 tune --machine cxl --shape k3@1
}

test_that "the recommended command line runs" recommended_line_runs
test_that "hits are those of the run" hits_are_those_of_the_run
test_that "a header is enough" header_is_enough
test_that "a measured machine can be tuned for" measured_machine_can_be_tuned_for
test_that "a run of the engine is believed" a_run_of_the_engine_is_believed
test_that "faster memory makes faster tokens" faster_memory_makes_faster_tokens
test_that "the reference machine is where others put it" reference_machine_is_where_others_put_it
test_that "reading ahead is recommended where it gains" reading_ahead_is_recommended_where_it_gains
test_that "more hits are never slower" more_hits_are_never_slower
test_that "traps are warned about" traps_are_warned_about
test_that "a page needs nothing else" page_needs_nothing_else
test_that "unknown machines are named" unknown_machines_are_named
done_testing
