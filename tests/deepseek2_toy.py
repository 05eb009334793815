"""Tiny random models of the architecture deepseek2, written as GGUF with the package gguf.

A Shape says what a model is like; Toy makes its metadata keys and tensors, which a test may spoil
before it writes them. Stored weights are rounded by their type, and Toy.stored gives them back as
the float64 values that a reader must see.
"""

from dataclasses import dataclass, field
from typing import Callable, Optional

import gguf
import numpy as np
from gguf import quants

N_TOKEN = 260  # bytes and four control tokens
N_ROW = 264    # rows of the embedding; as in real files there may be more rows than tokens


@dataclass(frozen=True)
class Yarn:
    factor: float = 8.0
    orig_ctx: int = 24
    log_multiplier: Optional[float] = 0.1
    beta_fast: Optional[float] = None
    beta_slow: Optional[float] = None


@dataclass(frozen=True)
class Shape:
    """Widths are no multiples of a vector, so that padding is seen."""
    n_layer: int = 3
    n_dense: int = 1
    n_embd: int = 72
    n_head: int = 3
    q_lora: int = 20
    n_lat: int = 24
    n_nope: int = 12
    n_rot: int = 8
    n_v: int = 20
    n_ff: int = 56
    n_ff_exp: int = 40
    n_expert: int = 8
    n_used: int = 3
    n_shared: int = 1
    gating: int = 2
    bias: bool = True
    norm: bool = True
    scale: Optional[float] = 2.5
    groups: int = 1
    groups_used: int = 1
    eps: float = 1e-5
    base: float = 10000.0
    n_ctx: int = 256
    yarn: Optional[Yarn] = None
    attention: str = "mla"    # mla: 3-D k_b, v_b; legacy: kv_b; ik: 2-D k_b, v_b and kv_b
    experts: str = "stacked"  # or fused, single
    tied: bool = False
    seed: int = 1
    type_of: Callable[[str], str] = field(default=lambda name: "F32")  # of matrices
    vectors: str = "F32"  # type of norms, biases and routers


def byte_text(byte):
    """A byte in the alphabet of byte-level BPE."""
    if byte <= 32:
        return chr(0x100 + byte)
    if 127 <= byte <= 160:
        return chr(0x121 + byte - 127)
    return chr(0x143) if byte == 173 else chr(byte)


def tokenizer_keys():
    controls = ["[BOS]", "[EOS]", "<|im_end|>", "[PAD]"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "kimi-k2",
        "tokenizer.ggml.tokens": [byte_text(b) for b in range(256)] + controls,
        "tokenizer.ggml.token_type": [1] * 256 + [3] * len(controls),
    }


def arch_keys(s):
    mla = s.attention == "mla"
    n_qk = s.n_nope + s.n_rot
    keys = {
        "block_count": s.n_layer,
        "context_length": s.n_ctx,
        "embedding_length": s.n_embd,
        "feed_forward_length": s.n_ff,
        "attention.head_count": s.n_head,
        "attention.head_count_kv": 1 if mla else s.n_head,
        "attention.kv_lora_rank": s.n_lat,
        "attention.key_length": s.n_lat + s.n_rot if mla else n_qk,
        "attention.value_length": s.n_lat if mla else s.n_v,
        "attention.layer_norm_rms_epsilon": s.eps,
        "rope.dimension_count": s.n_rot,
        "rope.freq_base": s.base,
        "leading_dense_block_count": s.n_dense,
        "expert_count": s.n_expert,
        "expert_used_count": s.n_used,
        "expert_shared_count": s.n_shared,
        "expert_feed_forward_length": s.n_ff_exp,
        "expert_weights_scale": s.scale,
        "expert_weights_norm": s.norm,
        "expert_gating_func": s.gating,
        "attention.q_lora_rank": s.q_lora or None,
        "attention.key_length_mla": n_qk if mla else None,
        "attention.value_length_mla": s.n_v if mla else None,
    }
    if s.groups > 1:
        keys |= {"expert_group_count": s.groups, "expert_group_used_count": s.groups_used}
    if s.yarn:
        keys |= {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": s.yarn.factor,
            "rope.scaling.original_context_length": s.yarn.orig_ctx,
            "rope.scaling.yarn_log_multiplier": s.yarn.log_multiplier,
            "rope.scaling.yarn_beta_fast": s.yarn.beta_fast,
            "rope.scaling.yarn_beta_slow": s.yarn.beta_slow,
        }
    return {f"deepseek2.{k}": v for k, v in keys.items() if v is not None}


class Toy:
    def __init__(self, shape):
        self.shape = shape
        self.keys = {"general.architecture": "deepseek2"} | arch_keys(shape) | tokenizer_keys()
        self.types = {}
        self.tensors = {}  # name: float32 values, slowest dimension first
        self._rng = np.random.default_rng(shape.seed)
        self._make()

    # --- weights ---

    def _put(self, name, values):
        self.tensors[name] = values.astype(np.float32)
        matrix = values.ndim > 1 and "ffn_gate_inp" not in name
        self.types[name] = self.shape.type_of(name) if matrix else self.shape.vectors

    def _matrix(self, name, *dims, gain=1.0):
        """Rows that turn values of variance 1 into values of variance gain^2."""
        w = self._rng.standard_normal(dims) * gain / np.sqrt(dims[-1])
        self._put(f"{name}.weight", w)

    def _norm(self, name, n):
        self._put(f"{name}.weight", 1 + 0.2 * self._rng.standard_normal(n))

    def _attention(self, p):
        s = self.shape
        n_q = s.n_head * (s.n_nope + s.n_rot)
        self._norm(p + "attn_norm", s.n_embd)
        if s.q_lora:
            self._matrix(p + "attn_q_a", s.q_lora, s.n_embd)
            self._norm(p + "attn_q_a_norm", s.q_lora)
        # A gain above 1: scores that differ, so that attention is no mere mean.
        self._matrix(p + ("attn_q_b" if s.q_lora else "attn_q"), n_q, s.q_lora or s.n_embd,
                     gain=1.6)
        self._matrix(p + "attn_kv_a_mqa", s.n_lat + s.n_rot, s.n_embd)
        self._norm(p + "attn_kv_a_norm", s.n_lat)
        if s.attention != "mla":  # for ik: something else than k_b and v_b, which win
            self._matrix(p + "attn_kv_b", s.n_head * (s.n_nope + s.n_v), s.n_lat)
        if s.attention != "legacy":
            fold = (lambda h, r: (h * r,)) if s.attention == "ik" else (lambda h, r: (h, r))
            self._matrix(p + "attn_k_b", *fold(s.n_head, s.n_lat), s.n_nope,
                         gain=np.sqrt(s.n_nope / s.n_lat))
            self._matrix(p + "attn_v_b", *fold(s.n_head, s.n_v), s.n_lat)
        self._matrix(p + "attn_output", s.n_embd, s.n_head * s.n_v)

    def _ffn(self, p, suffix, n_ff):
        n_embd = self.shape.n_embd
        self._matrix(f"{p}ffn_gate{suffix}", n_ff, n_embd)
        self._matrix(f"{p}ffn_up{suffix}", n_ff, n_embd)
        self._matrix(f"{p}ffn_down{suffix}", n_embd, n_ff, gain=2)

    def _experts(self, p):
        s = self.shape
        if s.experts == "single":
            for e in range(s.n_expert):
                self._ffn(p, f".{e}", s.n_ff_exp)
            return
        if s.experts == "fused":
            self._matrix(p + "ffn_gate_up_exps", s.n_expert, 2 * s.n_ff_exp, s.n_embd)
        else:
            self._matrix(p + "ffn_gate_exps", s.n_expert, s.n_ff_exp, s.n_embd)
            self._matrix(p + "ffn_up_exps", s.n_expert, s.n_ff_exp, s.n_embd)
        self._matrix(p + "ffn_down_exps", s.n_expert, s.n_embd, s.n_ff_exp, gain=2)

    def _make(self):
        s = self.shape
        self._put("token_embd.weight", self._rng.standard_normal((N_ROW, s.n_embd)))
        for i in range(s.n_layer):
            p = f"blk.{i}."
            self._attention(p)
            self._norm(p + "ffn_norm", s.n_embd)
            if i < s.n_dense:
                self._ffn(p, "", s.n_ff)
                continue
            self._matrix(p + "ffn_gate_inp", s.n_expert, s.n_embd, gain=1.5)
            if s.bias:
                self._put(p + "exp_probs_b.bias", 0.3 * self._rng.standard_normal(s.n_expert))
            self._experts(p)
            if s.n_shared:
                self._ffn(p, "_shexp", s.n_shared * s.n_ff_exp)
        self._norm("output_norm", s.n_embd)
        if not s.tied:
            self._matrix("output", N_ROW, s.n_embd)

    # --- files ---

    def _encoded(self, name):
        kind = gguf.GGMLQuantizationType[self.types[name]]
        return quants.quantize(self.tensors[name], kind), kind

    def stored(self):
        """What the file holds, as float64."""
        values = {}
        for name in self.tensors:
            data, kind = self._encoded(name)
            values[name] = quants.dequantize(data, kind).astype(np.float64)
            values[name] = values[name].reshape(self.tensors[name].shape)
        return values

    def write(self, path, **split):
        """Returns the path to open: of the first shard when split says how to cut."""
        writer = gguf.GGUFWriter(path, self.keys["general.architecture"], **split)
        for key, value in self.keys.items():
            if key != "general.architecture":
                add_key(writer, key, value)
        for name in self.tensors:
            data, kind = self._encoded(name)
            raw = None if kind in (0, 1) else kind
            writer.add_tensor(name, np.ascontiguousarray(data), raw_dtype=raw)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        n_shard = len(writer.tensors)
        writer.close()
        if n_shard == 1:
            return path
        return path.parent / f"{path.stem}-00001-of-{n_shard:05d}.gguf"


def add_key(writer, key, value):
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)
