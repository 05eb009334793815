#!/bin/sh
# What the end of a run says of its device: its lanes in the timeline of a token, what waited for it, its memory
# and its link in the roofline, and the page that draws them. Threads stand in for a GPU.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"
model=${TR_SRCDIR:-$here/..}/models/demo-q4_0.gguf

generate()
{
	run 0 generate -m "$model" -p "The quick brown fox jumps over the lazy dog" -n 48 --temp 0 \
		--ignore-eos -q -t 2 --dram 60% --roofline --output json "$@"
}

holds_with='
def spans(j, which):
    t = j["run"]["timeline"]
    token = next(v for v in t["tokens"] if v["which"] == which)
    flat = token["spans"]
    rows = [dict(zip(("kind", "layer", "tier", "n", "begin", "ns"), flat[i:i + 6]))
        for i in range(0, len(flat), 6)]
    for r in rows:
        r["kind"] = t["kinds"][r["kind"]]
    return token, rows

beside = ("read", "device_layer", "device_experts", "device_copy")

# Those on the host follow each other and add up to the token.
def is_whole(j, which):
    token, rows = spans(j, which)
    at = 0
    rows = [r for r in rows if r["kind"] not in beside]
    for i, r in enumerate(rows):
        if r["kind"] == "experts" and i and r["begin"] == rows[i - 1]["begin"]:
            continue
        if r["begin"] != at:
            return False
        at += r["ns"]
    return at == token["ns"]

def every(j, kind):
    return [r for which in ("median", "slowest", "last") for r in spans(j, which)[1] if r["kind"] == kind]

def line(j, name):
    return next((r for r in j["roofline"] if r["name"] == name), None)
'

lanes_of_a_token()
{
	generate --device host --vram 30% --promote 50% --stats "$dir/stats.json"
	holds 'is_whole(j, "median") and is_whole(j, "slowest") and is_whole(j, "last")' "$dir/stats.json"
	# Four layers with experts at least, each with its wait, and experts there once copies were.
	holds 'len(every(j, "device_ids")) == len(every(j, "device_layer")) >= 12' "$dir/stats.json"
	holds 'len(every(j, "device_experts")) == len(every(j, "device_outputs")) > 0' "$dir/stats.json"
	holds 'all(1 <= r["n"] <= 8 and j["tiers"][r["tier"]]["name"] == "vram"
		for r in every(j, "device_experts"))' "$dir/stats.json"
}

# The first copies are earned by the fourth use or so, and are there a token later: in the last of one of these
# runs, whose tokens take long enough.
copies_in_a_token()
{
	for n in 5 6 7 8 9 10; do
		generate -n $n --device host --vram 60% --promote 50% --throttle dram=50M \
			--stats "$dir/stats.json"
		holds 'is_whole(j, "last")' "$dir/stats.json"
		grep -q '"copies": 0' "$dir/out" && continue
		(holds 'any(r["ns"] > 0 for r in every(j, "device_copy"))' "$dir/stats.json") && return
	done
	return 1
}

roofline_of_the_device()
{
	generate --device host,bw=20M --vram 30% --promote 50% --stats "$dir/stats.json"
	holds '[r["name"] for r in j["roofline"]] == ["dram", "nvme", "vram", "link"]'
	holds 'all(line(j, n)["bytes"] > 0 and line(j, n)["busy_ms"] > 0 for n in ("vram", "link"))'
	holds 'line(j, "link")["bytes"] >= j["device"]["copied_bytes"] > 0'
	# Nothing passes a link of 20 MB/s faster.
	holds 'line(j, "link")["bytes_per_s"] <= 20.5 * 2 ** 20'
	holds 'line(j, "link")["reader_bytes_per_s"] <= 20.5 * 2 ** 20'
	holds 'line(j, "vram")["reader_bytes_per_s"] > 2 ** 26'
	run 0 stats "$dir/stats.json"
	grep -q '^roofline vram ' "$dir/out"
	grep -q '^roofline link ' "$dir/out"
}

nothing_of_a_device_without_one()
{
	generate --stats "$dir/stats.json"
	holds '[r["name"] for r in j["roofline"]] == ["dram", "nvme"]'
	holds 'not every(j, "device_ids") and not every(j, "device_experts")' "$dir/stats.json"
}

page_draws_it()
{
	generate --device host --vram 30% --promote 50% --stats "$dir/stats.html"
	for kind in device_ids device_outputs device_layer device_experts device_copy; do
		grep -q "\"$kind\"" "$dir/stats.html"
	done
	grep -q '"waiting for device"' "$dir/stats.html"
}

if ! command -v python3 >/dev/null; then
	echo "1..0 # SKIP no python3"
	exit 0
fi
test_that "a token shows what ran on the device and what waited for it" lanes_of_a_token
test_that "a token shows what was copied to the device" copies_in_a_token
test_that "the roofline has the memory of a device and its link" roofline_of_the_device
test_that "a run without a device says nothing of one" nothing_of_a_device_without_one
test_that "the page draws the lanes of a device" page_draws_it
done_testing
