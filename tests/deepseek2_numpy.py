"""Logits of tiny random deepseek2 models against a plain float64 implementation of the same.

Tolerances, as parts of the root mean square of a position's logits:

EXACT   F32, F16 and BF16 weights meet float32 activations. Sums of at most some hundred terms and
        three layers of them cost some 1e-6; 2e-5 leaves room for unlucky seeds.
KV_F16  Rounding the cached rows to 11 bits changes a value by 2^-11/sqrt(3) = 2.8e-4 of itself at
        most in the mean. Each layer's scores and values see it, over three layers that is
        sqrt(6) * 2.8e-4 = 7e-4; a position may have twice that, a single logit four times more.
ROUNDED Quantised weights meet int8 activations with one scale for 32 values. A scale is max/127 and
        the maximum of 32 normal values is 2.2 rms, so rounding to a step of that size costs
        2.2 / 127 / sqrt(12) = 0.5 % of the input of a matrix, and as much of its output. In a
        branch of a layer at most 8 such roundings follow each other (q_a, q_b, k_b; kv_a, v_b, out;
        gate or up, down), each independent: 0.5 % * sqrt(8) = 1.4 %. A layer passes on the error of
        those before it as well: over three layers and the head at most sqrt(4) * 1.4 % = 2.8 % for
        the typical position. Where attention is sharp it turns small differences of scores into
        large ones, so there is no such bound for the worst; router scores move by about as much as
        logits, so prompts are chosen where the choice of experts is clear by more.
        This says little of single positions. They are compared with a reference that rounds in
        the same places, and then EXACT holds again. But a value may lie so near the middle of two
        steps that float32 and float64 round it to different ones, which changes what follows by
        about 1 %. So the reference is run several times with noise of float32's size, and each
        position must be met by one of the runs.
"""

import os
import subprocess
import zlib
from dataclasses import replace

import numpy as np
import pytest

from deepseek2_plain import Plain, Rounded, clear_prompt, logits_of
from deepseek2_toy import N_TOKEN, Shape, Toy, Yarn

EXACT = 2e-5
KV_F16_MEAN, KV_F16_WORST = 1.4e-3, 5.6e-3
ROUNDED, N_RUN = 0.028, 40
CLEAR_EXACT, CLEAR_F16, CLEAR_ROUNDED = 1e-4, 0.005, 0.04

DUMP = os.path.join(os.environ.get("TR_BUILDDIR", "."), "tests", "logits_dump")

# Widths that types of 32 values divide.
ROUND = Shape(n_embd=64, q_lora=32, n_lat=32, n_nope=32, n_rot=16, n_v=32, n_ff=64, n_ff_exp=32)


def dump(path, ids, *options):
    args = [DUMP, "--threads", "2", "--ctx", "64", *options, str(path), *map(str, ids)]
    return subprocess.run(args, capture_output=True, timeout=60)


def ours(path, ids, *options):
    """One row of logits a position with --all, else that of the last."""
    done = dump(path, ids, *options)
    assert done.returncode == 0, done.stderr.decode()
    return np.frombuffer(done.stdout, dtype="<f4").reshape(-1, N_TOKEN)


def distance(got, want):
    """Mean (by position) and worst difference, relative to the root mean square of the position's
    logits. Of want only the rows that are tokens count."""
    want = want[:, :N_TOKEN]
    assert got.shape == want.shape
    relative = np.abs(got - want) / np.sqrt(np.mean(want ** 2, axis=1, keepdims=True))
    return np.sqrt(np.mean(relative ** 2, axis=1)), relative.max()


# --- models ---------------------------------------------------------------------------------------

GROUPS = {"groups": 4, "groups_used": 2, "n_expert": 8, "n_used": 3}

MODELS = {
    "mla": {},
    "mla without q lora": {"q_lora": 0},
    "legacy": {"attention": "legacy"},
    "legacy without q lora": {"attention": "legacy", "q_lora": 0},
    "2-D k_b and v_b": {"attention": "ik"},
    "2-D k_b and v_b without q lora": {"attention": "ik", "q_lora": 0},
    "value heads narrower than keys": {"n_v": 8},
    "one head": {"n_head": 1},
    "yarn": {"yarn": Yarn()},
    "yarn, legacy": {"yarn": Yarn(), "attention": "legacy"},
    "yarn with betas": {"yarn": Yarn(beta_fast=2.0, beta_slow=0.25)},
    "yarn with equal betas": {"yarn": Yarn(beta_fast=1.0, beta_slow=1.0, orig_ctx=4096)},
    "yarn with a base of 50000": {"yarn": Yarn(factor=64.0, orig_ctx=4096), "base": 50000.0,
                                  "n_rot": 16},
    "yarn of V2": {"yarn": Yarn(log_multiplier=0.0707, factor=40.0)},
    "yarn without log multiplier": {"yarn": Yarn(log_multiplier=None)},
    "yarn with log multiplier 0": {"yarn": Yarn(log_multiplier=0.0)},
    "sigmoid without bias": {"bias": False},
    "sigmoid without norm": {"norm": False},
    "sigmoid without scale": {"scale": None},
    "sigmoid with scale 0": {"scale": 0.0},
    "softmax": {"gating": 1, "bias": False, "norm": False, "scale": None},
    "softmax with bias": {"gating": 1},
    "softmax with norm": {"gating": 1, "bias": False, "scale": 16.0},
    "softmax of the chosen": {"gating": 3, "bias": False, "norm": False},
    "groups": GROUPS,
    "groups without bias": {**GROUPS, "bias": False},
    "groups and softmax": {**GROUPS, "gating": 1, "norm": False},
    "groups of four": {"groups": 2, "groups_used": 1, "n_used": 4},
    "groups that are all used": {"groups": 4, "groups_used": 4},
    "one expert a token": {"n_used": 1},
    "all experts": {"n_used": 8},
    "no shared expert": {"n_shared": 0},
    "two shared experts": {"n_shared": 2},
    "no dense layer": {"n_dense": 0},
    "two dense layers": {"n_dense": 2},
    "tied output": {"tied": True},
    "fused gate and up": {"experts": "fused"},
    "a tensor an expert": {"experts": "single"},
    "large eps": {"eps": 0.25},
    "F16": {"type_of": lambda name: "F16"},
    "BF16": {"type_of": lambda name: "BF16"},
    "F16, legacy": {"attention": "legacy", "type_of": lambda name: "F16"},
    "BF16, legacy, fused": {"attention": "legacy", "experts": "fused",
                            "type_of": lambda name: "BF16"},
    "floats mixed": {"type_of": lambda name: ["F32", "F16", "BF16"][zlib.crc32(name.encode()) % 3]},
    "vectors and router of F16": {"vectors": "F16"},
    "vectors and router of BF16": {"vectors": "BF16"},
    "all at once": {**GROUPS, "yarn": Yarn(), "n_shared": 2, "n_dense": 2, "n_layer": 5,
                    "experts": "fused", "tied": True, "type_of": lambda name: "F16"},
}


def check_device(path, ids, want):
    """Layers on a device give the CPU's bits, token by token and as a prompt."""
    device = ["--kv", "f32", "--device", "host"]
    assert ours(path, ids, "--all", *device).tobytes() == want.tobytes()
    assert ours(path, ids, *device).tobytes() == want[-1].tobytes()


@pytest.mark.parametrize("name", MODELS)
def test_float_weights(tmp_path, name):
    shape = replace(Shape(), **MODELS[name])
    toy = Toy(shape)
    ids, want = clear_prompt(shape, toy.stored(), 12, N_TOKEN, CLEAR_EXACT)
    path = toy.write(tmp_path / "toy.gguf")
    got = ours(path, ids, "--all", "--kv", "f32")
    _, worst = distance(got, want)
    assert worst < EXACT
    check_device(path, ids, got)


def test_a_context_longer_than_a_chunk_of_attention(tmp_path):
    """Sums over positions are cut in chunks of 256."""
    shape = Shape(n_ctx=512, yarn=Yarn(orig_ctx=64), n_layer=2)
    toy = Toy(shape)
    path = toy.write(tmp_path / "toy.gguf")
    ids, want = clear_prompt(shape, toy.stored(), 300, N_TOKEN, CLEAR_EXACT)
    for n in (255, 256, 257, 300):
        got = ours(path, ids[:n], "--kv", "f32", "--ctx", "300", "--batch", "128")
        assert distance(got, want[n - 1:n])[1] < EXACT
    assert ours(path, ids, "--kv", "f32", "--ctx", "300", "--all")[-1:].tobytes() == got.tobytes()


def by_layer(*kinds):
    """Tensor types that go round from layer to layer and from tensor to tensor."""
    return lambda name: kinds[zlib.crc32(name.encode()) % len(kinds)]


def by_matrix(kinds):
    return lambda name: kinds.get(name.split(".")[-3 if name.count(".") > 3 else -2], "BF16")


def experts_only(kind, rest):
    return lambda name: kind if "_exps" in name else rest


QUANTISED = {
    "Q8_0": {"type_of": by_layer("Q8_0")},
    "Q4_0": {"type_of": by_layer("Q4_0")},
    "Q8_0, legacy": {"attention": "legacy", "type_of": by_layer("Q8_0")},
    "Q4_0, legacy without q lora": {"attention": "legacy", "q_lora": 0,
                                    "type_of": by_layer("Q4_0")},
    "Q8_0, 2-D k_b and v_b": {"attention": "ik", "type_of": by_layer("Q8_0")},
    "Q4_0 experts, BF16 rest": {"type_of": experts_only("Q4_0", "BF16")},
    "Q4_0 experts, Q8_0 rest, fused, tied": {"experts": "fused", "tied": True,
                                             "type_of": experts_only("Q4_0", "Q8_0")},
    "mixed": {"type_of": by_layer("F32", "F16", "BF16", "Q8_0", "Q4_0")},
    "mixed, legacy, yarn, groups": {"attention": "legacy", "yarn": Yarn(), **GROUPS,
                                    "type_of": by_layer("Q4_0", "F16", "Q8_0", "F32")},
    "mixed, 2-D, a tensor an expert": {
        "attention": "ik", "experts": "single",
        # A layer's experts have one type a matrix.
        "type_of": by_matrix({"ffn_gate": "Q8_0", "ffn_up": "F16", "ffn_down": "Q4_0"})},
}


@pytest.mark.parametrize("name", QUANTISED)
def test_quantised_weights(tmp_path, name):
    shape = replace(ROUND, **QUANTISED[name])
    toy = Toy(shape)
    weights = toy.stored()
    ids, want = clear_prompt(shape, weights, 9, N_TOKEN, CLEAR_ROUNDED)
    path = toy.write(tmp_path / "toy.gguf")
    got = ours(path, ids, "--all", "--kv", "f32")
    check_device(path, ids, got)
    mean, _ = distance(got, want)
    assert np.median(mean) < ROUNDED
    rng = np.random.default_rng(1)
    nearest = np.full(len(ids), np.inf)
    for _ in range(N_RUN):
        rounded = Rounded(shape, weights, toy.types, rng)
        nearest = np.minimum(nearest, distance(got, logits_of(rounded, ids))[0])
        if nearest.max() < EXACT:
            break
    assert nearest.max() < EXACT


def test_a_wrong_model_is_far_beyond_the_tolerances(tmp_path):
    """Mistakes that leave a fluent model must show, or the tests above show nothing."""
    shape = replace(ROUND, **GROUPS, yarn=Yarn())
    toy = Toy(shape)
    weights = toy.stored()
    ids, want = clear_prompt(shape, weights, 12, N_TOKEN, CLEAR_EXACT)
    got = ours(toy.write(tmp_path / "toy.gguf"), ids, "--all", "--kv", "f32")
    assert distance(got, want)[1] < EXACT
    for change in [{"yarn": None}, {"yarn": Yarn(log_multiplier=0.0)}, {"yarn": Yarn(factor=9.0)},
                   {"yarn": Yarn(beta_slow=0.25)}, {"yarn": Yarn(log_multiplier=None)},
                   {"norm": False}, {"scale": None}, {"bias": False}, {"gating": 1},
                   {"groups": 1}, {"groups_used": 3}, {"n_used": 2}, {"n_shared": 0},
                   {"base": 9000.0}]:
        mean, _ = distance(got, logits_of(Plain(replace(shape, **change), weights), ids))
        assert mean.max() > 20 * EXACT, change


# --- what must not change a bit, or only a little -------------------------------------------------

@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A model of many types, a prompt and its logits, one token at a time."""
    shape = replace(ROUND, **GROUPS, yarn=Yarn(), n_shared=2, n_layer=4,
                    type_of=by_layer("F32", "F16", "BF16", "Q8_0", "Q4_0"))
    toy = Toy(shape)
    path = toy.write(tmp_path_factory.mktemp("mixed") / "toy.gguf")
    ids, _ = clear_prompt(shape, toy.stored(), 40, N_TOKEN, 0)
    return toy, path, ids, ours(path, ids, "--all")


@pytest.mark.parametrize("n", [1, 2, 3, 17, 40])
@pytest.mark.parametrize("batch", [1, 3, 16, 64])
def test_chunks_of_a_prompt_do_not_change_a_bit(mixed, n, batch):
    _, path, ids, one_by_one = mixed
    got = ours(path, ids[:n], "--batch", str(batch))
    assert got.tobytes() == one_by_one[n - 1].tobytes()


@pytest.mark.parametrize("options", [
    ["--threads", "1"], ["--threads", "3"], ["--cpu", "scalar"], ["--dram", "60%"],
    ["--dram", "60%", "--policy", "lru", "--batch", "5"], ["--dram", "1G"],
], ids=" ".join)
def test_how_it_is_run_does_not_change_a_bit(mixed, options):
    _, path, ids, one_by_one = mixed
    assert ours(path, ids, *options).tobytes() == one_by_one[-1].tobytes()


@pytest.mark.parametrize("split", [
    {"split_max_tensors": 7}, {"split_max_tensors": 20, "small_first_shard": True},
    {"split_max_size": 50000},
], ids=str)
def test_shards_do_not_change_a_bit(mixed, tmp_path, split):
    toy, _, ids, one_by_one = mixed
    path = toy.write(tmp_path / "toy.gguf", **split)
    assert path.name.startswith("toy-00001-of-"), path
    assert ours(path, ids).tobytes() == one_by_one[-1].tobytes()


def test_ids_may_come_on_stdin(mixed):
    _, path, ids, one_by_one = mixed
    done = subprocess.run([DUMP, "--ctx", "64", str(path)], input=" ".join(map(str, ids)).encode(),
                          capture_output=True, timeout=60)
    assert done.stdout == one_by_one[-1].tobytes(), done.stderr.decode()


@pytest.mark.parametrize("attention", ["mla", "legacy"])
def test_a_cache_of_f16_costs_little(tmp_path, attention):
    shape = Shape(attention=attention, yarn=Yarn())
    toy = Toy(shape)
    path = toy.write(tmp_path / "toy.gguf")
    ids, _ = clear_prompt(shape, toy.stored(), 16, N_TOKEN, CLEAR_F16)
    half = ours(path, ids, "--all", "--kv", "f16")
    mean, worst = distance(half, ours(path, ids, "--all", "--kv", "f32"))
    assert 0 < mean.max() < KV_F16_MEAN and worst < KV_F16_WORST


# --- models that lie ------------------------------------------------------------------------------

def refusal(toy, tmp_path, ids=(1, 2, 3)):
    """The message. A crash is no refusal: the exit status must be 1."""
    done = dump(toy.write(tmp_path / "toy.gguf"), ids)
    assert done.returncode == 1, (done.returncode, done.stderr.decode())
    message = done.stderr.decode()
    assert "Sanitizer" not in message, message  # their status is 1 as well
    return message


NAN, INF = float("nan"), float("inf")

# Key (after deepseek2.), value (None: absent), what the message must name if not the key.
LIES = [
    ("block_count", None, None), ("block_count", 0, None), ("block_count", 4, "layer 3"),
    ("block_count", 100000, None), ("block_count", "3", None), ("block_count", 2, None),
    ("context_length", None, None), ("context_length", 0, None),
    ("embedding_length", None, None), ("embedding_length", 71, "ffn_gate"),
    ("embedding_length", 0, None),
    ("feed_forward_length", None, None), ("feed_forward_length", 55, "blk.0.ffn_gate.weight"),
    ("attention.head_count", None, None), ("attention.head_count", 4, "blk.0.attn_q_b.weight"),
    ("attention.head_count", 0, None), ("attention.head_count", [3, 3], None),
    ("attention.q_lora_rank", None, None),
    ("attention.q_lora_rank", 21, "blk.0.attn_q_a.weight"),
    ("attention.kv_lora_rank", None, None),
    ("attention.kv_lora_rank", 23, "blk.0.attn_kv_a_mqa.weight"),
    ("attention.key_length_mla", 21, "blk.0.attn_q_b.weight"),
    ("attention.key_length_mla", None, "blk.0.attn_q_b.weight"),
    ("attention.value_length_mla", 19, "blk.0.attn_output.weight"),
    ("attention.value_length_mla", None, "blk.0.attn_output.weight"),
    ("attention.layer_norm_rms_epsilon", None, None),
    ("attention.layer_norm_rms_epsilon", 0.0, None),
    ("attention.layer_norm_rms_epsilon", -1e-5, None),
    ("attention.layer_norm_rms_epsilon", NAN, None),
    ("attention.layer_norm_rms_epsilon", INF, None),
    ("attention.temperature_scale", 0.1, None),
    ("rope.dimension_count", None, None), ("rope.dimension_count", 7, None),
    ("rope.dimension_count", 20, None), ("rope.dimension_count", 0, None),
    ("rope.dimension_count", 6, "blk.0.attn_kv_a_mqa.weight"),
    ("rope.freq_base", 1.0, None), ("rope.freq_base", 0.5, None), ("rope.freq_base", 0.0, None),
    ("rope.freq_base", -10000.0, None), ("rope.freq_base", NAN, None),
    ("rope.scaling.type", "longrope", None), ("rope.scaling.type", "linear", None),
    ("rope.scaling.type", "YARN", None), ("rope.scaling.type", 1, None),
    ("rope.scaling.factor", 0.0, None), ("rope.scaling.factor", -4.0, None),
    ("rope.scaling.factor", NAN, None), ("rope.scaling.factor", None, None),
    ("rope.scaling.original_context_length", None, None),
    ("rope.scaling.original_context_length", 0, None),
    ("rope.scaling.yarn_beta_fast", 0.0, None), ("rope.scaling.yarn_beta_slow", -1.0, None),
    ("rope.scaling.yarn_log_multiplier", NAN, None), ("rope.scaling.attn_factor", 2.0, None),
    ("rope.scaling.yarn_ext_factor", 0.5, None),
    ("leading_dense_block_count", 0, None), ("leading_dense_block_count", 2, None),
    ("leading_dense_block_count", None, None), ("leading_dense_block_count", 4, None),
    ("expert_count", 9, "_exps.weight"), ("expert_count", 0, None), ("expert_count", None, None),
    ("expert_count", 1 << 30, None),
    ("expert_used_count", 9, None), ("expert_used_count", 0, None),
    ("expert_used_count", None, None),
    ("expert_shared_count", 2, "blk.1.ffn_gate_shexp.weight"),
    ("expert_shared_count", None, None), ("expert_shared_count", 0, None),
    ("expert_feed_forward_length", 39, "ffn_gate"), ("expert_feed_forward_length", None, None),
    ("expert_group_count", 3, None), ("expert_group_count", 1000, None),
    ("expert_group_used_count", 5, None), ("expert_group_used_count", 0, None),
    ("expert_group_used_count", 1, None), ("expert_group_used_count", None, None),
    ("expert_gating_func", 4, None), ("expert_gating_func", 77, None),
    ("expert_weights_norm", 1, None), ("expert_weights_scale", NAN, None),
    ("expert_weights_scale", "2.5", None),
]


def lie_id(lie):
    return f"{lie[0]}={'absent' if lie[1] is None else lie[1]}"


@pytest.mark.parametrize("lie", LIES, ids=lie_id)
def test_metadata_that_lies_is_refused(tmp_path, lie):
    key, value, named = lie
    toy = Toy(Shape(yarn=Yarn(), groups=4, groups_used=2))
    toy.keys.pop(f"deepseek2.{key}", None)
    if value is not None:
        toy.keys[f"deepseek2.{key}"] = value
    message = refusal(toy, tmp_path)
    assert (named or f"deepseek2.{key}") in message, message


def test_an_unknown_architecture_is_refused(tmp_path):
    toy = Toy(Shape())
    toy.keys["general.architecture"] = "deepseek9"
    message = refusal(toy, tmp_path)
    assert "general.architecture" in message and "deepseek9" in message and "deepseek2" in message


def test_more_tokens_than_rows_are_refused(tmp_path):
    toy = Toy(Shape())
    for name in ("token_embd.weight", "output.weight"):
        toy.tensors[name] = toy.tensors[name][:N_TOKEN - 1]
    message = refusal(toy, tmp_path)
    assert "tokenizer.ggml.tokens" in message and "token_embd.weight" in message


OPTIONAL = ("output.weight", "blk.1.exp_probs_b.bias", "blk.2.exp_probs_b.bias")
TENSORS = [name for name in Toy(Shape()).tensors if not name.startswith("blk.2.")]
# Absence of the first means another layout, whose tensor is then missed.
OTHER_LAYOUT = {"blk.0.attn_q_a.weight": "blk.0.attn_q", "blk.0.attn_k_b.weight": "blk.0.attn_k",
                "blk.1.attn_k_b.weight": "blk.1.attn_k"}


@pytest.mark.parametrize("name", [t for t in TENSORS if t not in OPTIONAL])
def test_a_missing_tensor_is_named(tmp_path, name):
    toy = Toy(Shape())
    del toy.tensors[name]
    message = refusal(toy, tmp_path)
    assert OTHER_LAYOUT.get(name, name) in message, message


@pytest.mark.parametrize("name", TENSORS)
def test_a_tensor_of_the_wrong_shape_is_named(tmp_path, name):
    toy = Toy(Shape())
    toy.tensors[name] = toy.tensors[name][..., :-1]
    message = refusal(toy, tmp_path)
    layer, _, matrix = name.removesuffix("_exps.weight").rpartition(".")
    if name.endswith("_exps.weight"):  # experts of a layer are checked together
        assert f"layer {layer[4:]}" in message and matrix in message, message
    else:
        assert name in message, message


@pytest.mark.parametrize("name", ["token_embd.weight", "blk.1.ffn_gate_inp.weight",
                                  "blk.1.ffn_down_exps.weight", "output.weight"])
@pytest.mark.parametrize("value", [NAN, INF])
def test_weights_that_are_not_finite_end_in_an_error(tmp_path, name, value):
    toy = Toy(Shape())
    toy.tensors[name][...] = value
    assert "not finite" in refusal(toy, tmp_path)


@pytest.mark.parametrize("ids", [[N_TOKEN + 100], [1] * 65], ids=["id", "length"])
def test_prompts_that_do_not_fit_are_refused(mixed, ids):
    done = dump(mixed[1], ids)
    assert done.returncode == 1 and not done.stdout
    assert (str(ids[0]) if len(ids) == 1 else "65 tokens") in done.stderr.decode()
