"""The forward pass of deepseek2 in float64, as the model is defined rather than as it is run fast.

Attention is ordinary multi-head attention: keys and values of every head are made from the latent
and kept, nothing is absorbed. One token at a time, so that a token can be taken back.
"""

import numpy as np


def rms(x, w, eps):
    return x / np.sqrt(np.mean(x * x) + eps) * w


def silu(x):
    return x / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - np.max(x))
    return e / np.sum(e)


def rotate(x, pos, freq, magnitude):
    """Pairs (0, 1), (2, 3), ... of the last axis."""
    turned = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * pos * freq) * magnitude
    out = np.empty_like(x)
    out[..., 0::2] = turned.real
    out[..., 1::2] = turned.imag
    return out


def frequencies(s):
    """Angle per position of each pair, with YaRN's blend of interpolated and kept frequencies."""
    freq = s.base ** (-np.arange(0, s.n_rot, 2) / s.n_rot)
    if not s.yarn:
        return freq

    def pair_of(beta):
        return s.n_rot * np.log(s.yarn.orig_ctx / (2 * np.pi * beta)) / (2 * np.log(s.base))

    low = max(0, np.floor(pair_of(s.yarn.beta_fast or 32)))
    high = min(s.n_rot - 1, np.ceil(pair_of(s.yarn.beta_slow or 1)))
    ramp = np.clip((np.arange(s.n_rot // 2) - low) / max(0.001, high - low), 0, 1)
    return freq * (1 - ramp) + freq / s.yarn.factor * ramp


class Plain:
    def __init__(self, shape, weights):
        self.s = shape
        self.w = weights
        self.freq = frequencies(shape)
        self.magnitude = 1.0
        self.scale = 1 / np.sqrt(shape.n_nope + shape.n_rot)
        if shape.yarn and shape.yarn.log_multiplier is None:
            self.magnitude = 1 + 0.1 * np.log(shape.yarn.factor)
        elif shape.yarn:
            self.scale *= (1 + shape.yarn.log_multiplier * np.log(shape.yarn.factor)) ** 2
        self.latents = [[] for _ in range(shape.n_layer)]  # [layer][position], normalised
        self.k_pe = [[] for _ in range(shape.n_layer)]     # [layer][position], rotated
        self.margin = np.inf  # of the last token; see _choose

    def take_back(self):
        for cache in self.latents + self.k_pe:
            cache.pop()

    def _mul(self, name, x, part=...):
        return self.w[name][part] @ x

    # --- attention ---

    def _per_head(self, p):
        """Matrices (head, nope, lat) and (head, v, lat) that unfold the latent."""
        s = self.s
        if s.attention == "legacy":
            both = self.w[p + "attn_kv_b.weight"].reshape(s.n_head, s.n_nope + s.n_v, s.n_lat)
            return both[:, :s.n_nope], both[:, s.n_nope:]
        k_b = self.w[p + "attn_k_b.weight"].reshape(s.n_head, s.n_lat, s.n_nope)
        v_b = self.w[p + "attn_v_b.weight"].reshape(s.n_head, s.n_v, s.n_lat)
        return k_b.transpose(0, 2, 1), v_b

    def _weigh(self, layer, h, q, to_k):
        """What head h makes of its query: how much it attends to each position."""
        latents, k_pe = np.stack(self.latents[layer]), np.stack(self.k_pe[layer])
        keys = np.hstack([latents @ to_k[h].T, k_pe])
        return softmax(keys @ q[h] * self.scale)

    def _head(self, layer, h, q):
        to_k, to_v = self._per_head(f"blk.{layer}.")
        values = np.stack(self.latents[layer]) @ to_v[h].T
        return self._weigh(layer, h, q, to_k) @ values

    def _attention(self, layer, x):
        s, p = self.s, f"blk.{layer}."
        pos = len(self.latents[layer])
        if s.q_lora:
            qa = rms(self._mul(p + "attn_q_a.weight", x), self.w[p + "attn_q_a_norm.weight"], s.eps)
            q = self._mul(p + "attn_q_b.weight", qa)
        else:
            q = self._mul(p + "attn_q.weight", x)
        q = q.reshape(s.n_head, s.n_nope + s.n_rot)
        q[:, s.n_nope:] = rotate(q[:, s.n_nope:], pos, self.freq, self.magnitude)
        kv = self._mul(p + "attn_kv_a_mqa.weight", x)
        self.latents[layer].append(rms(kv[:s.n_lat], self.w[p + "attn_kv_a_norm.weight"], s.eps))
        self.k_pe[layer].append(rotate(kv[s.n_lat:], pos, self.freq, self.magnitude))
        heads = [self._head(layer, h, q) for h in range(s.n_head)]
        return self._mul(p + "attn_output.weight", np.concatenate(heads))

    # --- experts ---

    def _choose(self, p, z):
        """Ids and weights. Notes by how much the choice was clear: the smallest distance between a
        score that was taken and one that was not."""
        s = self.s
        if s.gating == 2:
            prob = 1 / (1 + np.exp(-z))
        else:
            prob = softmax(z) if s.gating == 1 else z
        score = prob + self.w[p + "exp_probs_b.bias"] if s.bias else prob.copy()
        if s.groups > 1:
            grouped = np.sort(score.reshape(s.groups, -1), axis=1)
            total = grouped[:, -2:].sum(axis=1)
            order = np.argsort(-total, kind="stable")
            self._note(total[order], s.groups_used)
            for g in order[s.groups_used:]:
                score.reshape(s.groups, -1)[g] = -np.inf
        order = np.argsort(-score, kind="stable")
        self._note(score[order], s.n_used)
        ids = order[:s.n_used]
        weights = softmax(prob[ids]) if s.gating == 3 else prob[ids]
        if s.norm:
            weights = weights / np.sum(weights)
        return ids, weights * (s.scale or 1)

    def _note(self, descending, n_taken):
        if n_taken < len(descending):
            self.margin = min(self.margin, descending[n_taken - 1] - descending[n_taken])

    def _gated(self, names, parts, x):
        gate, up = (self._mul(names[i], x, parts[i]) for i in range(2))
        return self._mul(names[2], silu(gate) * up, parts[2])

    def _expert(self, p, e, x):
        half = self.s.n_ff_exp
        if self.s.experts == "single":
            names = [f"{p}ffn_{m}.{e}.weight" for m in ("gate", "up", "down")]
            return self._gated(names, [...] * 3, x)
        if self.s.experts == "fused":
            both = p + "ffn_gate_up_exps.weight"
            parts = [(e, slice(0, half)), (e, slice(half, 2 * half)), e]
            return self._gated([both, both, p + "ffn_down_exps.weight"], parts, x)
        names = [f"{p}ffn_{m}_exps.weight" for m in ("gate", "up", "down")]
        return self._gated(names, [e] * 3, x)

    def _ffn(self, layer, x):
        p = f"blk.{layer}."
        dense, shared = ([f"{p}ffn_{m}{suffix}.weight" for m in ("gate", "up", "down")]
                         for suffix in ("", "_shexp"))
        if layer < self.s.n_dense:
            return self._gated(dense, [...] * 3, x)
        ids, weights = self._choose(p, self._mul(p + "ffn_gate_inp.weight", x))
        out = sum(w * self._expert(p, e, x) for e, w in zip(ids, weights))
        return out + self._gated(shared, [...] * 3, x) if self.s.n_shared else out

    def step(self, token):
        """Logits after one more token."""
        s = self.s
        self.margin = np.inf
        h = self.w["token_embd.weight"][token]
        for layer in range(s.n_layer):
            p = f"blk.{layer}."
            h = h + self._attention(layer, rms(h, self.w[p + "attn_norm.weight"], s.eps))
            h = h + self._ffn(layer, rms(h, self.w[p + "ffn_norm.weight"], s.eps))
        head = "token_embd.weight" if s.tied else "output.weight"
        return self._mul(head, rms(h, self.w["output_norm.weight"], s.eps))


def to_int8(x):
    """Every 32 values rounded to 255 steps of their maximum."""
    blocks = x.reshape(-1, 32)
    top = np.max(np.abs(blocks), axis=1, keepdims=True)
    return (np.rint(blocks * (127 / top)) * (top / 127)).reshape(x.shape)


class Rounded(Plain):
    """The same with the roundings that src/compute/kernels.h announces: what meets quantised
    weights is rounded to int8 first. The latent is unfolded to values after it was weighed, as
    that is where it is rounded. What lies within float32's error of the middle of two steps may
    go either way: rng decides, by noise of that size."""

    def __init__(self, shape, weights, types, rng):
        super().__init__(shape, weights)
        self.rng = rng
        self.quantised = {name for name, t in types.items() if t not in ("F32", "F16", "BF16")}

    def _as_met(self, name, x):
        if name not in self.quantised:
            return x
        return to_int8(x * (1 + 2e-7 * self.rng.standard_normal(x.shape)))

    def _mul(self, name, x, part=...):
        return super()._mul(name, self._as_met(name, x), part)

    def _head(self, layer, h, q):
        p, n = f"blk.{layer}.", self.s.n_nope
        to_k, to_v = self._per_head(p)
        v_name = p + "attn_v_b.weight"
        if self.s.attention == "legacy":
            v_name = p + "attn_kv_b.weight"
            if v_name in self.quantised:  # the keys' half was transposed, which made it F16
                to_k = to_k.astype(np.float16).astype(np.float64)
        else:
            q = np.hstack([[self._as_met(p + "attn_k_b.weight", row[:n]) for row in q], q[:, n:]])
        context = self._weigh(layer, h, q, to_k) @ np.stack(self.latents[layer])
        return to_v[h] @ self._as_met(v_name, context)


def logits_of(model, ids):
    return np.stack([model.step(i) for i in ids])


def clear_prompt(shape, weights, n, n_token, clear):
    """Random ids and their logits, where every choice of experts is clear by that much: a reader
    that rounds a little must choose the same ones."""
    plain = Plain(shape, weights)
    rng = np.random.default_rng(shape.seed)
    ids, logits = [], []
    for _ in range(400 * n):
        token = int(rng.integers(n_token))
        now = plain.step(token)
        if plain.margin < clear:
            plain.take_back()
            continue
        ids.append(token)
        logits.append(now)
        if len(ids) == n:
            return ids, np.stack(logits)
    raise AssertionError(f"no prompt of {n} tokens whose experts are clear by {clear}")
