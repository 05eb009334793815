#!/bin/sh
# The made-up models of tests/bench/synth: they open, decode, and route as asked. The benches read
# them, so a bench's program is what decodes here.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"
bench=${TR_BUILDDIR:-.}/tests/bench

synth() # FILE OPTION...
{
	file=$1
	shift
	"$bench/synth" --layers 2 --embd 256 --heads 4 --q-lora 96 --kv-lora 128 --nope 32 \
		--rope 16 --v 32 --ff 512 --experts 32 --used 4 --ff-exp 256 --vocab 512 "$@" "$file"
}

decode() # MODEL OPTION...
{
	"$bench/bench_decode" --repeats 1 --prefill 40 --warm 1 --tokens 2 --threads 2 \
		--reader 1M "$@" >"$dir/json"
	cat "$dir/json"
}

field() # NAME
{
	sed -n "s/^ *\"$1\": \([^,]*\),*\$/\1/p" "$dir/json"
}

# between LOW VALUE HIGH
between()
{
	awk "BEGIN { exit !($1 <= $2 && $2 <= $3) }"
}

opens_as_asked()
{
	synth "$dir/m.gguf"
	decode "$dir/m.gguf" --dram 100%
	test "$(field moe_layers)" = 2
	test "$(field experts)" = 32
	test "$(field experts_used)" = 4
	# 256 rows of 256 values: twice Q4_K (144 bytes), once Q6_K (210)
	test "$(field expert_bytes)" = 127488
	test "$(field experts_bytes)" = $((2 * 32 * 127488))
}

# The engine fails when a logit is not finite.
decodes_hundreds_of_tokens()
{
	decode "$dir/m.gguf" --dram 30% --tokens 500
	between 1 "$(field disk_bytes_per_token)" 1e7
}

hot_share_is() # SHARE
{
	synth "$dir/hot.gguf" --hot "$1"
	decode "$dir/hot.gguf" --dram 100% --tokens 500
	between "$1 - 0.06" "$(field hot_quarter)" "$1 + 0.06"
}

same_seed_same_file()
{
	synth "$dir/again.gguf"
	cmp "$dir/m.gguf" "$dir/again.gguf"
	synth "$dir/again.gguf" --seed 2
	test "$(cmp -l "$dir/m.gguf" "$dir/again.gguf" | wc -l)" -gt 1000000
}

size_chooses_layers()
{
	synth "$dir/big.gguf" --size 20M
	between 19e6 "$(wc -c <"$dir/big.gguf")" 23e6
}

# The same tokens take the same experts.
shards_decode_the_same()
{
	decode "$dir/m.gguf" --dram 0 --tokens 50
	mv "$dir/json" "$dir/whole"
	synth "$dir/s.gguf" --split 3
	test "$(find "$dir" -name 's-0000?-of-00003.gguf' | wc -l)" = 3
	decode "$dir/s-00001-of-00003.gguf" --dram 0 --tokens 50
	test "$(field hot_quarter)" = "$(sed -n 's/^ *"hot_quarter": \(.*\),$/\1/p' "$dir/whole")"
	test "$(field experts_bytes)" = $((2 * 32 * 127488))
}

type_decodes() # TYPE
{
	synth "$dir/t.gguf" --types "gate=$1,up=$1,down=$1,attn=$1,head=$1"
	decode "$dir/t.gguf" --tokens 20
}

unknown_type_is_refused()
{
	if synth "$dir/x.gguf" --types gate=Q9_K || test -e "$dir/x.gguf"; then
		return 1
	fi
}

run_prints_a_row_per_setting()
{
	"$here/bench/run" --build "${TR_BUILDDIR:-.}" --dram 100% --dram 25% --tokens 4 \
		--prefill 8 --warm 1 --repeats 2 --keep 0 --reader 1M "$dir/m.gguf" >"$dir/table"
	cat "$dir/table"
	test "$(grep -c '^| m.gguf | ' "$dir/table")" = 2
	grep -q '^| m.gguf | tierra | 25% ' "$dir/table"
}

# Where no group may be made, the row says so and nothing is left to print; a sanitizer's shadow
# memory does not fit the group.
run_limits_memory_or_says_why()
{
	"$here/bench/run" --build "${TR_BUILDDIR:-.}" --limit 80% --rounds 1 --tokens 4 --prefill 8 \
		--warm 1 --repeats 1 --keep 0 "$here/../models/demo-q4_0.gguf" >"$dir/table" \
		2>"$dir/said" || true
	cat "$dir/table" "$dir/said"
	grep -qE '^run: tierra left out: .*(cgroup|failed \(-9\))' "$dir/said" ||
		grep -q '^| demo-q4_0.gguf | 80% *| tierra | .* / .* / ' "$dir/table"
}

run_says_where_the_peer_cannot_be_built()
{
	status=0
	"$here/bench/run" --build "${TR_BUILDDIR:-.}" --with-peer --peer-venv /dev/null/venv \
		"$dir/m.gguf" >"$dir/said" 2>&1 || status=$?
	cat "$dir/said"
	[ "$status" -eq 1 ]
	grep -q '^run: /dev/null/venv.log: Not a directory; ' "$dir/said"
}

test_that "a small model opens as asked" opens_as_asked
test_that "hundreds of tokens are decoded" decodes_hundreds_of_tokens
test_that "the hottest quarter gets 55%" hot_share_is 0.55
test_that "the hottest quarter gets 75%" hot_share_is 0.75
test_that "a seed gives one file" same_seed_same_file
test_that "a size chooses the layers" size_chooses_layers
test_that "shards decode the same" shards_decode_the_same
for type in F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ1_S IQ1_M IQ2_XXS \
	IQ2_XS IQ2_S IQ3_XXS IQ3_S IQ4_NL IQ4_XS MXFP4; do
	test_that "weights of $type decode" type_decodes "$type"
done
test_that "an unknown type is refused" unknown_type_is_refused
if command -v python3 >/dev/null; then
	test_that "run prints a row per setting" run_prints_a_row_per_setting
	test_that "run limits memory or says why not" run_limits_memory_or_says_why
	test_that "run says where the peer cannot be built" run_says_where_the_peer_cannot_be_built
else
	skip "run prints a row per setting" "no python3"
fi
done_testing
