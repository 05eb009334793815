#!/bin/sh
# The page of statistics: what is in it, and what a browser makes of it.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"
src=${TR_SRCDIR:-$here/..}
model=$src/models/demo-q4_0.gguf

check()
{
	python3 "$src/tests/page_check.py" "$@"
}

# change PYTHON IN OUT - the file of a run, changed by a line of Python
change()
{
	python3 - "$@" <<-'END'
	import json, sys
	j = json.load(open(sys.argv[2]))
	exec(sys.argv[1])
	json.dump(j, open(sys.argv[3], "w"))
	END
}

browser()
{
	timeout 120 "$chromium" --headless --no-sandbox --disable-gpu --hide-scrollbars \
		--user-data-dir="$dir/profile" --enable-logging=stderr "$@" 2>"$dir/browser"
	if grep CONSOLE "$dir/browser"; then return 1; fi
}

# dom NAME - what $dir/NAME.html is when its script has run, in $dir/NAME.dom; it says nothing on the
# console.
dom()
{
	browser --dump-dom "file://$dir/$1.html" >"$dir/$1.dom"
	grep -q 'data-failed=' "$dir/$1.dom"
}

# picture NAME light|dark COLOURS
picture()
{
	scheme=1
	[ "$2" = light ] || scheme=0
	browser --blink-settings=preferredColorScheme=$scheme --window-size=1000,760 \
		--screenshot="$dir/$1.$2.png" "file://$dir/$1.html"
	check picture "$dir/$1.$2.png" "$2" "$3"
}

# --- without a browser ---------------------------------------------------------------------------

page_holds_its_file()
{
	run 0 stats "$dir/run.json" --html "$dir/run.html"
	check data "$dir/run.html" >"$dir/data"
	change '[l.pop("prefill_hits") for l in j["layers"]]' "$dir/run.json" "$dir/want"
	holds 'j[0]["stats"]["layers"][2]["uses"] == j[1]["layers"][2]["uses"] and
		j[0]["stats"].keys() == j[1].keys() and
		j[0]["stats"]["run"]["timeline"] == j[1]["run"]["timeline"] and
		j[0]["stats"]["layers"][0].keys() == j[1]["layers"][0].keys()' "$dir/data" "$dir/want"
	run 0 stats "$dir/run.json" --json
	holds 'all(j[0]["sums"]["layers"][i][k] == j[1]["results"][0]["layers"][i][k] for i in range(5)
		for k in ("uses", "first_uses", "reuse", "loads"))' "$dir/data" "$dir/out"
	run 0 stats "$dir/run.json" --merge "$dir/merged.HTML"
	cmp "$dir/run.html" "$dir/merged.HTML"
}

page_is_the_one_of_the_source()
{
	check template "$dir/run.html" >"$dir/template"
	cmp "$src/tools/page.html" "$dir/template"
}

generate_writes_it_at_once()
{
	run 0 generate -m "$model" -p "The quick brown fox" -n 12 --temp 0 --ignore-eos --dram 25% -q \
		--stats "$dir/once.html"
	check data "$dir/once.html" >"$dir/data"
	holds 'len(j["stats"]["run"]["history"]["ms"]) == 11 and
		len(j["stats"]["run"]["timeline"]["tokens"]) == 3 and
		len(j["stats"]["run"]["miss_curves"]["misses"]) == 5' "$dir/data"
}

page_needs_no_network()
{
	for name in run hostile big; do
		grep -Eic '(https?:)?//[a-z0-9.-]+\.[a-z]' "$dir/$name.html" >"$dir/n" || true
		test "$(cat "$dir/n")" -eq 0
		if grep -Ei '<link|<img|<iframe|@import|url\(|[^.]src=' "$dir/$name.html"; then return 1; fi
	done
	grep -q "default-src 'none'" "$dir/run.html"
}

text_of_files_stays_text()
{
	change 'j["model"]["name"] = "</script><script>document.title = 5</script><!-- <b>&amp;\u2028"' \
		"$dir/run.json" "$dir/hostile.json"
	run 0 stats "$dir/hostile.json" --html "$dir/hostile.html"
	test "$(grep -o '</script' "$dir/hostile.html" | wc -l)" -eq \
		"$(grep -o '</script' "$src/tools/page.html" | wc -l)"
	check data "$dir/hostile.html" >"$dir/data"
	if grep '<' "$dir/data"; then return 1; fi
	holds 'j[0]["stats"]["model"]["name"] == j[1]["model"]["name"]' "$dir/data" "$dir/hostile.json"
}

large_model_makes_a_small_file()
{
	python3 "$src/tests/big_stats.py" "$dir/big.json"
	run 0 stats "$dir/big.json" --html "$dir/big.html"
	test "$(wc -c <"$dir/big.html")" -lt 2000000
}

trace_has_curves()
{
	run 0 stats "$dir/run.trace" --html "$dir/trace.html"
	check data "$dir/trace.html" >"$dir/data"
	n=$(python3 -c 'import json, sys; print(len(json.load(open(sys.argv[1]))["prompt_ids"]))' "$dir/out.json")
	holds 'j["stats"]["run"]["miss_curves"]["requests"] == sum(sum(l["uses"]) for l in
		j["stats"]["layers"]) and list(j["stats"]["run"]) == ["miss_curves"]' "$dir/data"
	run 0 simulate "$dir/run.trace" --policy lru --cache 64 --warm "$n" --json
	holds 'j[0]["stats"]["run"]["miss_curves"]["misses"]["lru"][j[0]["stats"]["run"]["miss_curves"]
		["capacities"].index(64)] == j[1]["results"][0]["requests"] - j[1]["results"][0]["hits"]' \
		"$dir/data" "$dir/out"
}

mistakes()
{
	run 2 stats "$dir/run.json" --html "$dir/x.json"
	grep -q 'does not end in .html' "$dir/err"
	run 2 stats "$dir/run.json" --html "$dir/x.html" --merge "$dir/y.json"
	grep -q 'one file is written' "$dir/err"
	run 2 stats "$dir/run.json" --html "$dir/x.html" --json
	run 1 stats "$dir/run.json" --html "$dir/no/x.html"
	grep -q "$dir/no/x.html: No such" "$dir/err"
	run 1 stats "$dir/run.html"
}

# --- in a browser --------------------------------------------------------------------------------

# drawn NAME CELLS - all parts of the page are there.
drawn()
{
	dom "$1"
	grep -q 'data-failed="0"' "$dir/$1.dom"
	grep -q "data-cells=\"$2\"" "$dir/$1.dom"
	for id in map time token reuse misses tiers predictor layers top lanes heat-labels; do
		grep -q "id=\"$id\"" "$dir/$1.dom" || { echo "no $id"; return 1; }
	done
}

browser_draws_all_parts()
{
	drawn run 320
	grep -q '<h1>demo-q4_0.gguf</h1>' "$dir/run.dom"
	test "$(grep -o '<polyline' "$dir/run.dom" | wc -l)" -ge 8
	grep -q 'share of uses served' "$dir/run.dom"
	grep -q 'ms since the token began' "$dir/run.dom"
	grep -q 'cache, of all 320 experts' "$dir/run.dom"
	grep -q "Belady's optimum" "$dir/run.dom"
	grep -q 'Roofline' "$dir/run.dom"
}

browser_draws_a_large_model()
{
	drawn big 23040
	grep -q '>waiting for reads<' "$dir/big.dom"
	grep -q '>reads in flight<' "$dir/big.dom"
	grep -q '>experts in pmem:/mnt/pmem0<' "$dir/big.dom"
	python3 - "$dir/big.dom" <<-'END'
	import re, sys
	page = open(sys.argv[1], encoding="utf-8").read()
	labels = re.search(r'id="heat-labels">(.*?)</g>', page, re.S).group(1)
	numbers = [int(n) for n in re.findall(r">(\d+)</text>", labels)]
	assert len(numbers) >= 20 and numbers == sorted(set(numbers)), numbers
	lanes = page.split('id="lanes"')[1].split("</svg>")[0]
	assert lanes.count("<rect") > 500, lanes.count("<rect")
	END
}

browser_shows_hostile_text()
{
	dom hostile
	grep -q '<h1>&lt;/script&gt;&lt;script&gt;document.title = 5' "$dir/hostile.dom"
	grep -q 'data-failed="0"' "$dir/hostile.dom"
	if grep -q '<title>5' "$dir/hostile.dom"; then return 1; fi
}

# A script of the test points at things and chooses everything there is to choose.
pointing_tells_numbers()
{
	sed '/<\/body>/d; /<\/html>/d' "$dir/run.html" >"$dir/point.html"
	cat >>"$dir/point.html" <<-'END'
	<script>
	const told = document.body.appendChild(document.createElement("pre"));
	told.id = "told";
	function point(e, x, y) {
		const r = e.getBoundingClientRect();
		e.dispatchEvent(new PointerEvent("pointermove", { clientX: r.left + x, clientY: r.top + y }));
		told.textContent += document.getElementById("tip").textContent + "\n--\n";
	}
	const heat = document.getElementById("heat"), size = heat.getBoundingClientRect();
	point(heat, size.width * 7.5 / 64, size.height * 2.5 / 5);
	point(document.querySelector("#lanes rect"), 1, 1);
	for (const pane of document.querySelectorAll("rect[fill=transparent]"))
		point(pane, 1, 9);
	for (let i = 0; i < document.querySelectorAll("select").length; i++) {
		const n = document.querySelectorAll("select")[i].length;
		for (let k = 0; k < n; k++) {
			const s = document.querySelectorAll("select")[i];
			s.value = k;
			s.dispatchEvent(new Event("change"));
			point(heat, 2, 2);
		}
	}
	heat.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown" }));
	heat.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown" }));
	told.textContent += "key: " + document.getElementById("tip").textContent + "\n--\n";
	</script>
	END
	dom point
	python3 - "$dir/point.dom" "$dir/run.json" <<-'END'
	import html, json, re, sys
	page = open(sys.argv[1], encoding="utf-8").read()
	told = html.unescape(re.search(r'<pre id="told">(.*?)</pre>', page, re.S).group(1)).split("\n--\n")
	run = json.load(open(sys.argv[2]))
	layer = run["layers"][2]
	text = told[0].replace(",", "")
	assert text.startswith("layer 3 expert 7\nactivations: %d " % layer["uses"][7]), told[0]
	for tier, hits in layer["hits"].items():
	    assert "served by %s: %d" % (tier, hits[7]) in text, told[0]
	assert "loads: %d" % layer["loads"][7] in text and "evictions: %d" % layer["evictions"][7] in text
	assert re.match(r"layer 0\n(attention|other)\n", told[1]), told[1]
	assert told[2].startswith("tokens 1 to ") and "dram: " in told[2], told[2]
	assert any("tokens ago" in t for t in told) and any("lru: " in t for t in told)
	assert told[-2].startswith("key: layer 2, expert "), told[-2]
	assert len(told) > 20, len(told)
	END
}

# Without a token decoded, and all experts in DRAM.
a_short_run_has_a_page()
{
	run 0 generate -m "$model" -p "The quick brown fox" -n 0 --dram 100% -q --stats "$dir/short.html"
	dom short
	grep -q 'data-failed="0"' "$dir/short.dom"
	sed 's/<script>.*//; /^"use strict"/,/<\/script>/d' "$dir/short.dom" >"$dir/body"
	if grep -n 'NaN\|Infinity\|undefined' "$dir/body"; then return 1; fi
}

pictures_have_content()
{
	picture run light 20
	picture run dark 20
	picture big light 40
	picture big dark 40
}

# A file of an earlier version, one of a trace, and one whose parts are not what they should be.
browser_takes_what_there_is()
{
	dom trace
	grep -q 'data-failed="0"' "$dir/trace.dom"
	if grep -q 'id="tiers"' "$dir/trace.dom"; then return 1; fi
	change '[j["run"].pop(k) for k in ("history", "timeline", "miss_curves")]' "$dir/run.json" \
		"$dir/early.json"
	run 0 stats "$dir/early.json" --html "$dir/early.html"
	dom early
	grep -q 'data-failed="0"' "$dir/early.dom"
	grep -q 'id="tiers"' "$dir/early.dom"
	change 'j["run"].update(history=5, timeline={"tokens": [3]}, shares=[], predictor="x",
		miss_curves={"misses": None}, engine=None)' "$dir/run.json" "$dir/broken.json"
	run 0 stats "$dir/broken.json" --html "$dir/broken.html"
	dom broken
	grep -q 'cannot be drawn' "$dir/broken.dom"
	grep -q 'id="heat-labels"' "$dir/broken.dom"
	grep -q 'Most used experts' "$dir/broken.dom"
}

if ! command -v python3 >/dev/null; then
	echo "1..0 # SKIP no python3"
	exit 0
fi
"$tierra" generate -m "$model" -p "The quick brown fox jumps over the lazy dog" -n 200 --ignore-eos \
	--dram 15% -t 2 -q --output json --stats "$dir/run.json" --trace "$dir/run.trace" \
	>"$dir/out.json" || exit 99
test_that "a page holds its file and the sums of it" page_holds_its_file
test_that "a page is what the source has, and data" page_is_the_one_of_the_source
test_that "generate writes a page" generate_writes_it_at_once
test_that "text of a file stays text" text_of_files_stays_text
test_that "60 layers of 384 experts make less than 2 MB" large_model_makes_a_small_file
test_that "a page needs no network" page_needs_no_network
test_that "both themes can be read" check contrast "$dir/run.html"
test_that "a page of a trace has miss-ratio curves" trace_has_curves
test_that "mistakes are named" mistakes
chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome)
for name in pointing_tells_numbers a_short_run_has_a_page browser_draws_all_parts browser_draws_a_large_model browser_shows_hostile_text \
	browser_takes_what_there_is pictures_have_content; do
	title=$(echo "$name" | tr _ ' ')
	if [ -n "$chromium" ]; then
		test_that "$title" "$name"
	else
		skip "$title" "no chromium"
	fi
done
done_testing
