#!/bin/sh
# The command line as its users meet it: the built tierra, the bundled model.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"
model=${TR_SRCDIR:-$here/..}/models/demo-q4_0.gguf
prompt="The quick brown fox"

generate()
{
	want=$1
	shift
	run "$want" generate -m "$model" --temp 0 -t 2 "$@"
}

# says TEXT - standard error has it.
says()
{
	grep -qF -e "$1" "$dir/err" && return
	echo "standard error does not say '$1':"
	cat "$dir/err"
	return 1
}

# json EXPRESSION - holds for j, the parsed standard output.
json()
{
	python3 -c 'import json, sys
j = json.load(open(sys.argv[1], encoding="utf-8"))
if not eval(sys.argv[2]):
    print(json.dumps(j)[:2000])
    sys.exit(sys.argv[2])' "$dir/out" "$1"
}

help_and_version()
{
	run 0 --help
	grep -q generate "$dir/out"
	run 0 --version
	grep -q '^tierra [0-9]' "$dir/out"
	for command in generate inspect policies; do
		run 0 "$command" --help
		grep -q '^Usage: tierra' "$dir/out"
	done
}

unknown_command()
{
	run 2 genrate
	says "unknown command 'genrate'"
	says "generate inspect policies"
	run 2
	says "Usage: tierra COMMAND"
}

usage_errors()
{
	run 2 generate -p x
	says "no model given"
	run 2 generate -m "$model"
	says "no prompt given"
	run 2 generate -m "$model" -p x -f y
	says "exclude each other"
	run 2 generate -m "$model" -p x -n many
	says "-n: 'many' is not a whole number"
	run 2 generate -m "$model" -p x --temp hot
	says "--temp: 'hot' is not a number"
	run 2 generate -m "$model" -p x --top-p 1.5
	says "1.5 is not in 0 to 1"
	run 2 generate -m "$model" -p x --cpu sse
	says "none of: scalar avx2 avx512"
	run 2 generate -m "$model" -p x --io mmap
	says "none of: uring threads sync"
	run 2 generate -m "$model" -p x --logprobs 2
	says "needs --output json"
	run 2 generate -m "$model" -p x --stop ""
	says "--stop"
	run 2 generate -m "$model" -p x --nonsense
	run 2 generate -m "$model" -p x --dram 12Q
	says "12Q"
	run 2 generate -m "$model" -p x y
}

unknown_policy()
{
	run 2 generate -m "$model" -p x --policy mru
	says "'mru' is not known; there are "
	for policy in none lru lfu; do
		says "$policy"
	done
	generate 1 -p x --policy ./nothing.so
	says "./nothing.so"
	generate 1 -p x --policy belady
	says "in replays of traces only"
}

missing_files()
{
	run 1 generate -m "$dir/nothing.gguf" -p x
	says "$dir/nothing.gguf"
	generate 1 -f "$dir/nothing.txt"
	says "$dir/nothing.txt"
	run 1 inspect "$dir/nothing.gguf"
	says "$dir/nothing.gguf"
	echo "this is no model" >"$dir/no.gguf"
	run 1 inspect "$dir/no.gguf"
	says "$dir/no.gguf"
}

prompt_too_long()
{
	generate 1 -c 8 -p "one two three four five six seven eight nine ten eleven twelve"
	says "the prompt has "
	says "the context holds 8"
	[ ! -s "$dir/out" ]
}

empty_prompt()
{
	generate 1 -p ""
	says "the prompt has no tokens"
}

stdout_is_text()
{
	generate 0 -p "$prompt" -n 12
	cp "$dir/out" "$dir/text"
	says "decode"
	says "nvme"
	generate 0 -p "$prompt" -n 12 -q --dram 25%
	[ ! -s "$dir/err" ] || { cat "$dir/err"; return 1; }
	cmp "$dir/out" "$dir/text"
}

text_is_json_text()
{
	generate 0 -p "$prompt" -n 12
	cp "$dir/out" "$dir/text"
	generate 0 -p "$prompt" -n 12 --output json
	python3 -c 'import json, sys
text = json.load(open(sys.argv[1], encoding="utf-8"))["text"]
assert text.encode() == open(sys.argv[2], "rb").read(), text' "$dir/out" "$dir/text"
}

json_fields()
{
	generate 0 -p "$prompt" -n 6 --output json --logprobs 3 --dram 25%
	json 'set(j) >= {"prompt_ids", "ids", "text", "stop_reason", "timings", "tiers", "logprobs"}'
	json 'len(j["ids"]) == 6 and all(isinstance(i, int) for i in j["ids"] + j["prompt_ids"])'
	json 'j["stop_reason"] == "length"'
	json 'set(j["timings"]) == {"load", "prefill", "decode"}'
	json 'all(set(t) == {"seconds", "tokens", "tokens_per_s"} for t in j["timings"].values())'
	json 'j["timings"]["prefill"]["tokens"] == len(j["prompt_ids"]) > 0'
	json 'j["timings"]["decode"]["tokens"] == 5 and j["timings"]["decode"]["seconds"] > 0'
	json 'all(set(t) >= {"name", "capacity_bytes", "hits", "misses", "bytes", "wait_ms"}
		for t in j["tiers"])'
	json 'j["tiers"][-1]["bytes"] > 0 and sum(t["hits"] for t in j["tiers"]) > 0'
	json '[l["id"] for l in j["logprobs"]] == j["ids"]'
	json 'all(len(l["top"]) == 3 and l["top"][0] == {"id": l["id"], "logprob": l["logprob"]}
		for l in j["logprobs"])'
	json 'all(l["top"][0]["logprob"] >= l["top"][1]["logprob"] >= l["top"][2]["logprob"]
		and l["logprob"] < 0 for l in j["logprobs"])'
}

prompt_from_stdin()
{
	generate 0 -p "$prompt" -n 8
	mv "$dir/out" "$dir/text"
	echo "$prompt" | "$tierra" generate -m "$model" --temp 0 -t 2 -f - -n 8 -q >"$dir/out"
	cmp "$dir/out" "$dir/text"
	printf %s "$prompt" >"$dir/prompt"
	generate 0 -f "$dir/prompt" -n 8
	cmp "$dir/out" "$dir/text"
}

stop_string_cuts()
{
	generate 0 -p "$prompt" -n 24 --ignore-eos
	# Eight characters from the middle of the text span several tokens of this vocabulary.
	cp "$dir/out" "$dir/text"
	stop=$(python3 -c 'import sys
text = open(sys.argv[1], encoding="utf-8", newline="").read()
sys.stdout.buffer.write(text[8:16].rstrip("\n").encode())' "$dir/text")
	generate 0 -p "$prompt" -n 24 --ignore-eos --stop "$stop" --output json
	python3 -c 'import json, sys
j = json.load(open(sys.argv[1], encoding="utf-8"))
text, stop = open(sys.argv[2], encoding="utf-8", newline="").read(), sys.argv[3]
assert j["stop_reason"] == "stop", j["stop_reason"]
assert j["text"] == text[:text.index(stop)], (j["text"], text, stop)
assert len(j["ids"]) < 24' "$dir/out" "$dir/text" "$stop"
}

zero_tokens()
{
	generate 0 -p "$prompt" -n 0
	[ ! -s "$dir/out" ]
	says "prefill"
}

context_full()
{
	generate 0 -p "$prompt" -n -1 -c 24 --ignore-eos --output json
	json 'j["stop_reason"] == "context"'
	# The last token needs no room: it is not run through the model.
	json 'len(j["prompt_ids"]) + len(j["ids"]) == 25'
}

same_seed_same_text()
{
	set -- -p "$prompt" -n 16 --ignore-eos --temp 1 -q
	run 0 generate -m "$model" "$@" -s 5
	mv "$dir/out" "$dir/five"
	run 0 generate -m "$model" "$@" --seed 5 -t 1 --dram 0 --policy lfu
	cmp "$dir/out" "$dir/five"
	run 0 generate -m "$model" "$@" --seed 6
	! cmp -s "$dir/out" "$dir/five"
}

floor_warning()
{
	generate 0 -p "$prompt" -n 2 --dram 256K
	says "warning: the DRAM cache (256.0 KiB, 262144 bytes) is below one token's working set"
	generate 0 -p "$prompt" -n 2 --dram 100%
	! grep -q "working set" "$dir/err"
}

pmem_is_reused()
{
	mkdir -p "$dir/pmem"
	generate 0 -p "$prompt" -n 8 --dram 1M
	mv "$dir/out" "$dir/text"
	for again in first second; do
		generate 0 -p "$prompt" -n 8 --dram 1M --pmem "$dir/pmem:4M"
		cmp "$dir/out" "$dir/text"
		says "pmem:"
		find "$dir/pmem" -type f -exec ls -i {} + >"$dir/$again"
	done
	test -s "$dir/first"
	cmp "$dir/first" "$dir/second"
}

throttled_tiers_say_the_same()
{
	generate 0 -p "$prompt" -n 8 --dram 1M
	mv "$dir/out" "$dir/text"
	generate 0 -p "$prompt" -n 8 --dram 1M --throttle dram=2G,nvme=400M
	cmp "$dir/out" "$dir/text"
	generate 2 -p "$prompt" -n 8 --dram 1M --throttle tape=1G
	says "no tier 'tape'; there are dram, pmem, nvme"
}

# Starts a long run, waits for the first text, interrupts it.
interrupt()
{
	rm -f "$dir/out" "$dir/err"
	"$tierra" generate -m "$model" --temp 0 -p "$prompt" -n -1 -c 1024 --ignore-eos --dram 0 \
		>"$dir/out" 2>"$dir/err" </dev/null &
	pid=$!
	for _ in $(seq 600); do
		[ -s "$dir/out" ] && break
		sleep 0.05
	done
	kill -INT "$pid"
	status=0
	wait "$pid" || status=$?
	[ "$status" -eq 130 ] || { echo "exit status $status"; return 1; }
	says "interrupted"
	says "nvme"
	[ -s "$dir/out" ]
}

full_output()
{
	status=0
	"$tierra" generate -m "$model" -p "$prompt" -n 4 -q >/dev/full 2>"$dir/err" || status=$?
	[ "$status" -eq 1 ]
	says "standard output"
	status=0
	"$tierra" policies >/dev/full 2>"$dir/err" || status=$?
	[ "$status" -eq 1 ]
	says "standard output"
}

inspect_text()
{
	run 0 inspect "$model" --dram 25%
	grep -q 'general.architecture  *str  *deepseek2' "$dir/out"
	grep -q 'Q4_0' "$dir/out"
	grep -q '5 of 6 layers have 64 experts, 4 used per token: 320 in all' "$dir/out"
	grep -q '^  nvme' "$dir/out"
	run 0 inspect -m "$model" --tensors --units
	grep -q 'blk.1.ffn_up_exps.weight' "$dir/out"
	[ "$(sed -n '/^units/,$p' "$dir/out" | wc -l)" -eq 322 ]
}

inspect_json()
{
	run 0 inspect "$model" --json --dram 25%
	json 'len(j["units"]) == j["plan"]["n_unit"] == 320'
	json 'sum(u["bytes"] for u in j["units"]) == j["plan"]["expert_bytes"] == 17694720'
	json 'any(m["key"] == "general.architecture" and m["value"] == "deepseek2"
		for m in j["metadata"])'
	json '{m["key"]: m["value"] for m in j["metadata"]}["deepseek2.expert_count"] == 64'
	json 'sum(t["bytes"] for t in j["tensors"]) <= j["shards"][0]["file_bytes"]'
	json 'all(u[p]["bytes"] > 0 for u in j["units"] for p in ("gate", "up", "down"))'
	json 'j["plan"]["tiers"][-1]["name"] == "nvme"'
	for type in f32:320 f16:192 q8_0:128; do
		run 0 inspect "$model" --json --kv "${type%:*}" -c 1000
		json "j['plan']['kv_bytes'] == 6 * 1000 * ${type#*:}"
	done
	json 'all(u["home"] < len(j["plan"]["tiers"]) for u in j["units"])'
}

policies()
{
	run 0 policies
	for policy in none lru lfu fifo clock slru 2q arc lfuda lrfu s3fifo sieve wtinylfu cost pin \
		random belady; do
		grep -q "^$policy " "$dir/out"
	done
	grep -q "^  lambda=0.1 " "$dir/out"
	grep -q '^predictor  *what it expects$' "$dir/out"
	grep -q '^gate  *the layer.s router' "$dir/out"
	run 0 policies --json
	python3 -c 'import json, sys
j = json.load(open(sys.argv[1], encoding="utf-8"))
for kind, has in (("policies", "lru"), ("predictors", "blend")):
    assert has in [p["name"] for p in j[kind]]
    assert all(p["summary"] and "options" in p for p in j[kind])' "$dir/out"
	run 2 policies more
}

# with_python NAME FUNCTION - for tests that look into JSON
with_python()
{
	if command -v python3 >/dev/null; then
		test_that "$@"
	else
		skip "$1" "no python3"
	fi
}

test_that "help and version" help_and_version
policy_by_tier()
{
	generate 0 -p "$prompt" -n 12 -q
	mv "$dir/out" "$dir/text"
	generate 0 -p "$prompt" -n 12 --dram 25% --policy vram=lfuda,dram=lrfu,lambda=0.5
	cmp "$dir/out" "$dir/text"
	says "policy lrfu,lambda=0.5"
	says "vram=lfuda: there is no VRAM tier, so it has no effect"
	run 2 generate -m "$model" -p x --policy gpu=lru
	says "tier 'gpu' is not known"
	run 2 generate -m "$model" -p x --policy dram=lru,vram=mru
	says "'mru' is not known"
	generate 1 -p x --policy dram=lru,vram=lrfu,share=2
	says "vram="
	says "no option 'share'"
}

device_and_vram()
{
	generate 0 -p "$prompt" -n 12 -q
	mv "$dir/out" "$dir/text"
	generate 0 -p "$prompt" -n 12 --dram 25% --device host --vram 30% \
		--policy vram=lfuda,dram=lru
	cmp "$dir/out" "$dir/text"
	says "device   host ("
	says "vram "
	generate 2 -p x --device gpu
	says "device 'gpu' is not known; there are none, cuda:N and host"
	generate 1 -p x --vram 1G
	says "--vram 1G: no device is named"
	generate 1 -p x --device host,mem=64M --vram 65M
	says "65.0 MiB asked for, device host"
	generate 0 -p "$prompt" -n 12 --device host --vram 100K
	says "100.0 KiB of device host"
	says "hold no expert"
	cmp "$dir/out" "$dir/text"
	run 2 generate -m "$model" -p x --device host --device-fetch sometimes
	says "--device-fetch: 'sometimes' is none of: auto on off"
	run 2 generate -m "$model" -p x --device host --device-lost ignore
	says "--device-lost: 'ignore' is none of: stop continue"
}

# The operation that fails is one of a token: the text is kept up to there.
device_lost()
{
	generate 0 -p "$prompt" -n 20 -q --dram 25% --trace "$dir/lost.trace"
	mv "$dir/out" "$dir/text"
	set -- --profile "$dir/lost.trace" --dram 25% --vram 50%
	generate 0 -p "$prompt" -n 20 "$@" --device host,fail=2000 --device-lost continue
	cmp "$dir/out" "$dir/text"
	says "operation 2000 ("
	says "going on with the CPU alone"
	says "; lost"
	generate 1 -p "$prompt" -n 20 "$@" --device host,fail=2000
	says "the device is lost"
	test -s "$dir/out"
	head -c "$(wc -c <"$dir/out")" "$dir/text" | cmp - "$dir/out"
	generate 1 -p "$prompt" -n 20 "$@" --device host,fail=7 --device-lost continue
	says "operation 7 (" # while loading, there is nothing to go on with
}

device_in_json()
{
	generate 0 -p "$prompt" -n 12 --dram 25% --device host --vram 30% --output json
	json 'j["device"]["name"].startswith("host") and not j["device"]["lost"]'
	json '[t["name"] for t in j["tiers"]] == ["dram", "vram", "nvme"]'
	json 'j["tiers"][1]["used_bytes"] <= j["tiers"][1]["capacity_bytes"]'
	json 'j["tiers"][1]["misses"] == j["tiers"][0]["hits"] + j["tiers"][0]["misses"]'
	generate 0 -p "$prompt" -n 12 --dram 25% --output json
	json 'j["device"] is None'
	run 0 inspect "$model" --device host --vram 30% --json
	json 'j["plan"]["device"]["slot_bytes"] == j["plan"]["tiers"][1]["bytes"] > 0'
	json 'j["plan"]["device"]["scratch_bytes"] > 0 and j["plan"]["device"]["vram_bytes"] == sum(
		j["plan"]["device"][k] for k in
		("slot_bytes", "scratch_bytes", "weight_bytes", "kv_bytes"))'
	json 'sum(t["n_unit"] for t in j["plan"]["tiers"] if t["name"] == "nvme") == 320'
	json '0 < j["plan"]["device"]["freed_bytes"] <= sum(
		j["plan"]["device"][k] for k in ("weight_bytes", "kv_bytes"))'
	run 0 inspect "$model" --device host --vram 30% --batch 64
	grep -q "^device host" "$dir/out"
	grep -q "of these on the device only .* MiB" "$dir/out"
	grep -q "scratch, 64 tokens" "$dir/out"
	grep -q "expert slots" "$dir/out"
}

test_that "an unknown command lists the commands" unknown_command
test_that "usage errors name the option" usage_errors
policy_from_a_shared_object()
{
	generate 0 -p "$prompt" -n 12 -q
	mv "$dir/out" "$dir/text"
	generate 0 -p "$prompt" -n 12 --dram 25% \
		--policy "${TR_BUILDDIR:-.}/tests/plugins/.libs/p_skeleton.so,keep=2"
	cmp "$dir/out" "$dir/text"
	says "policy p_skeleton.so,keep=2"
}

test_that "a policy is loaded from a shared object" policy_from_a_shared_object
test_that "each tier may have a policy of its own" policy_by_tier
test_that "experts in the memory of a device change no text" device_and_vram
test_that "a lost device ends the run or leaves it to the CPU" device_lost
with_python "device and VRAM are in the JSON" device_in_json
test_that "an unknown policy lists the policies" unknown_policy
test_that "missing and broken files are named" missing_files
test_that "a prompt longer than the context is told with both numbers" prompt_too_long
test_that "an empty prompt is refused" empty_prompt
test_that "standard output has the text and nothing else" stdout_is_text
with_python "the text is the text of the JSON" text_is_json_text
with_python "the JSON has every field" json_fields
test_that "the prompt comes from a file or standard input" prompt_from_stdin
with_python "a stop string ends the text before it" stop_string_cuts
test_that "-n 0 only runs the prompt" zero_tokens
with_python "-n -1 fills the context" context_full
test_that "the seed decides, not threads, tiers or policy" same_seed_same_text
test_that "a cache below the floor is warned about" floor_warning
test_that "what was copied to pmem is used again" pmem_is_reused
test_that "throttled tiers say the same" throttled_tiers_say_the_same
test_that "an interrupt brings the summary and status 130" interrupt
if [ -w /dev/full ]; then
	test_that "a full disk under standard output is an error" full_output
else
	skip "a full disk under standard output is an error" "no /dev/full"
fi
test_that "inspect prints tables" inspect_text
with_python "inspect prints JSON" inspect_json
test_that "policies are listed" policies
done_testing
