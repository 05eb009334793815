#!/bin/sh
# What a prompt fetches to the device: by a machine file with a slow and a fast link, by measurement, and what
# inspect and the end of a run say of it. Threads stand in for a GPU.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"
model=${TR_SRCDIR:-$here/..}/models/demo-q4_0.gguf
prompt="The quick brown fox jumps over the lazy dog and runs into the deep forest"

# machine LINK - a profile with that link, bytes a second; 0: without. The experts are Q4_0 of two widths.
machine()
{
	cat >"$dir/machine" <<-END
	{ "format": "tierra-machine", "version": 1, "name": "m", "link_bytes_per_s": $1,
	  "tiers": [
	    { "kind": "dram", "points": [ { "n_flight": 1, "bytes_per_s": [2e9, 2e9, 2e9] } ] },
	    { "kind": "vram", "points": [ { "n_flight": 1, "bytes_per_s": [9e10, 9e10, 9e10] } ] } ],
	  "kernels": [
	    { "quant": "Q4_0", "tier": 0, "bytes_per_s": [1e9, 1e9, 1e9], "macs_per_s": [2e9, 2e9, 2e9] },
	    { "quant": "Q4_0", "tier": 1, "bytes_per_s": [8e10, 8e10, 8e10],
	      "macs_per_s": [1e12, 1e12, 1e12] } ] }
	END
}

# Later chunks of the prompt find experts in DRAM, where they can be fetched from.
generate()
{
	run 0 generate -m "$model" -p "$prompt $prompt $prompt $prompt" -n 4 --temp 0 --ignore-eos -q -t 2 --batch 25 \
		--dram 100% --device host --vram 20% --output json "$@"
}

inspect()
{
	run 0 inspect "$model" --device host --vram 20% "$@"
}

a_fast_link()
{
	machine 1e10
	generate --machine "$dir/machine"
	holds 'j["device"]["fetched"] > 0'
	holds 'j["device"]["fetch_costs"] == {"known": True, "pays_from_tokens": 1, "link_bytes_per_s": 1e10,
		"device_bytes_per_s": 8e10, "cpu_bytes_per_s": 1e9, "source": "machine"}'
	inspect --machine "$dir/machine"
	grep -q 'fetched for a prompt: one pays from 1 tokens on, link .*device .*CPU .*(machine file)' "$dir/out"
}

a_slow_link()
{
	machine 1e5
	generate --machine "$dir/machine"
	holds 'j["device"]["fetched"] == 0 and j["device"]["fetch_pays_from_tokens"] > 1000'
	inspect --machine "$dir/machine" --json
	holds 'j["plan"]["device"]["fetch_costs"]["known"]'
	holds 'j["plan"]["device"]["fetch_costs"]["pays_from_tokens"] > 1000'
}

# The same ids, wherever experts were computed.
the_same_text()
{
	machine 1e10
	generate --machine "$dir/machine"
	mv "$dir/out" "$dir/fast"
	machine 1e5
	generate --machine "$dir/machine"
	holds 'j[0]["ids"] == j[1]["ids"]' "$dir/fast" "$dir/out"
}

the_rest_is_measured()
{
	machine 0
	generate --machine "$dir/machine"
	holds 'j["device"]["fetch_costs"]["known"] and j["device"]["fetch_costs"]["source"] == "both"'
	holds 'j["device"]["fetch_costs"]["cpu_bytes_per_s"] == 1e9'
	holds 'j["device"]["fetch_costs"]["link_bytes_per_s"] > 1e6'
	inspect --machine "$dir/machine"
	grep -q 'fetched for a prompt: when one pays is measured as a run begins, device' "$dir/out"
	generate
	holds 'j["device"]["fetch_costs"]["source"] == "measured"'
	inspect
	grep -q 'fetched for a prompt: when one pays is measured as a run begins$' "$dir/out"
}

machines_that_come_with_it()
{
	inspect --machine optane-3060 --json
	holds 'j["plan"]["device"]["fetch_costs"]["link_bytes_per_s"] == 12.6e9'
}

mistakes()
{
	run 1 inspect "$model" --machine "$dir/none"
	grep -q "machine '$dir/none': no such file" "$dir/err"
	machine -1
	run 1 generate -m "$model" -p x --machine "$dir/machine"
	grep -q 'machine.link_bytes_per_s is not a number from 0' "$dir/err"
}

if ! command -v python3 >/dev/null; then
	echo "1..0 # SKIP no python3"
	exit 0
fi
test_that "a fast link by the machine file fetches" a_fast_link
test_that "a slow link by the machine file fetches nothing" a_slow_link
test_that "no token depends on what is fetched" the_same_text
test_that "what a machine file lacks is measured" the_rest_is_measured
test_that "machines that come with tierra have links" machines_that_come_with_it
test_that "mistakes are named" mistakes
done_testing
