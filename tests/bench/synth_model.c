/*
 * synth_model.c - the layout of a deepseek2 file with absorbed k_b and v_b.
 *
 * Weights are drawn so that every matrix has gain 1 (sigma = 1 / sqrt(inputs)), those that write to
 * the residual stream 1 / sqrt(2 * layers) of it: the stream grows to about twice the embedding and
 * the logits have deviation 1, whatever the size. A type whose blocks do not divide a row gives way
 * to Q8_0, or F16.
 */
#include "synth_model.h"

#include "base/mem.h"
#include "tests/vocab_write.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- tensors ---------------------------------------------------------------------------------- */

#define NO_LAYER UINT32_MAX

struct list {
	struct synth_model *m;
	const struct synth_cfg *cfg;
	uint32_t layer;
	bool failed;
};

static const struct tr_quant *fitting(const struct tr_quant *q, uint64_t cols)
{
	if (cols % q->block_values == 0)
		return q;
	return tr_quant_by_id(cols % 32 == 0 ? TR_QUANT_Q8_0 : TR_QUANT_F16);
}

static struct synth_tensor *append(
	struct list *l, const struct tr_quant *q, uint64_t ne0, uint64_t ne1, uint64_t ne2)
{
	struct synth_model *m = l->m;
	struct synth_tensor *t;

	if (m->n_tensor == m->cap) {
		size_t cap = 2 * m->cap + 64;

		t = realloc(m->tensors, cap * sizeof(*t));
		if (!t) {
			l->failed = true;
			return NULL;
		}
		m->tensors = t;
		m->cap = cap;
	}
	t = &m->tensors[m->n_tensor++];
	*t = (struct synth_tensor){ .quant = fitting(q, ne0), .ne = { ne0, ne1, ne2 } };
	t->bytes = ne0 / t->quant->block_values * t->quant->block_bytes * ne1 * ne2;
	m->bytes += t->bytes;
	return t;
}

static void name(struct synth_tensor *t, uint32_t layer, const char *text)
{
	if (layer == NO_LAYER)
		snprintf(t->name, sizeof(t->name), "%s", text);
	else
		snprintf(t->name, sizeof(t->name), "blk.%u.%s", layer, text);
}

/* share: how much of it a token reads. */
static void add_matrix(struct list *l, const char *text, enum synth_role role, float gain,
	const uint64_t ne[3], double share)
{
	struct synth_tensor *t = append(l, l->cfg->type[role], ne[0], ne[1], ne[2]);

	if (!t)
		return;
	t->sigma = gain / sqrtf((float)ne[0]);
	name(t, l->layer, text);
	l->m->active_bytes += (uint64_t)((double)t->bytes * share);
}

#define NE(...) ((const uint64_t[3]){ __VA_ARGS__ })

static void add_floats(
	struct list *l, const char *text, enum synth_fill fill, uint64_t ne0, uint64_t ne1)
{
	struct synth_tensor *t = append(l, tr_quant_by_id(TR_QUANT_F32), ne0, ne1, 1);

	if (!t)
		return;
	t->fill = fill;
	name(t, l->layer, text);
	l->m->active_bytes += t->bytes;
}

/* Of matrices that write to the residual stream. */
static float out_gain(const struct synth_cfg *c)
{
	return 1 / sqrtf(2 * (float)(c->dense + c->layers));
}

static void add_attention(struct list *l)
{
	const struct synth_cfg *c = l->cfg;
	uint64_t n_q = (uint64_t)c->heads * (c->nope + c->rope);

	add_floats(l, "attn_norm.weight", SYNTH_NORM, c->embd, 1);
	if (c->q_lora) {
		add_matrix(l, "attn_q_a.weight", SYNTH_ATTN, 1, NE(c->embd, c->q_lora, 1), 1);
		add_floats(l, "attn_q_a_norm.weight", SYNTH_NORM, c->q_lora, 1);
		add_matrix(l, "attn_q_b.weight", SYNTH_ATTN, 1, NE(c->q_lora, n_q, 1), 1);
	} else {
		add_matrix(l, "attn_q.weight", SYNTH_ATTN, 1, NE(c->embd, n_q, 1), 1);
	}
	add_matrix(
		l, "attn_kv_a_mqa.weight", SYNTH_ATTN, 1, NE(c->embd, c->kv_lora + c->rope, 1), 1);
	add_floats(l, "attn_kv_a_norm.weight", SYNTH_NORM, c->kv_lora, 1);
	add_matrix(l, "attn_k_b.weight", SYNTH_ATTN, 1, NE(c->nope, c->kv_lora, c->heads), 1);
	add_matrix(l, "attn_v_b.weight", SYNTH_ATTN, 1, NE(c->kv_lora, c->v, c->heads), 1);
	add_matrix(l, "attn_output.weight", SYNTH_ATTN, out_gain(c),
		NE((uint64_t)c->heads * c->v, c->embd, 1), 1);
	add_floats(l, "ffn_norm.weight", SYNTH_NORM, c->embd, 1);
}

static void add_ffn(struct list *l, const char *kind, uint64_t width, uint64_t n, double share)
{
	const struct synth_cfg *c = l->cfg;
	char text[48];

	snprintf(text, sizeof(text), "ffn_gate%s.weight", kind);
	add_matrix(l, text, SYNTH_GATE, 1, NE(c->embd, width, n), share);
	snprintf(text, sizeof(text), "ffn_up%s.weight", kind);
	add_matrix(l, text, SYNTH_UP, 1, NE(c->embd, width, n), share);
	snprintf(text, sizeof(text), "ffn_down%s.weight", kind);
	add_matrix(l, text, SYNTH_DOWN, out_gain(c), NE(width, c->embd, n), share);
}

static void add_layer(struct list *l)
{
	const struct synth_cfg *c = l->cfg;

	add_attention(l);
	if (l->layer < c->dense) {
		add_ffn(l, "", c->ff, 1, 1);
		return;
	}
	add_floats(l, "ffn_gate_inp.weight", SYNTH_ROUTER, c->embd, c->experts);
	add_floats(l, "exp_probs_b.bias", SYNTH_BIAS, c->experts, 1);
	add_ffn(l, "_exps", c->ff_exp, c->experts, (double)c->used / c->experts);
	if (c->shared)
		add_ffn(l, "_shexp", (uint64_t)c->shared * c->ff_exp, 1, 1);
}

bool synth_model_list(struct synth_model *m, const struct synth_cfg *c)
{
	struct list l = { .m = m, .cfg = c, .layer = NO_LAYER };

	*m = (struct synth_model){ 0 };
	add_matrix(&l, "token_embd.weight", SYNTH_HEAD, sqrtf((float)c->embd),
		NE(c->embd, c->vocab, 1), 1.0 / c->vocab);
	for (l.layer = 0; l.layer < c->dense + c->layers; l.layer++)
		add_layer(&l);
	l.layer = NO_LAYER;
	add_floats(&l, "output_norm.weight", SYNTH_NORM, c->embd, 1);
	add_matrix(&l, "output.weight", SYNTH_HEAD, 1, NE(c->embd, c->vocab, 1), 1);
	return !l.failed;
}

/* --- metadata --------------------------------------------------------------------------------- */

static const char *const merges[][2] = {
	{ "t", "h" },
	{ "th", "e" },
	{ "\xc4\xa0", "the" },
	{ "i", "n" },
	{ "a", "n" },
	{ "an", "d" },
	{ "\xc4\xa0", "and" },
	{ "o", "u" },
};

#define N_BYTE	  256
#define N_CONTROL 2

#define N_FILLER 343000 /* 70 syllables cubed */

/* A space and three syllables, different for each index below N_FILLER: the factor has no divisor
 * in common with it. */
static void filler(struct gw *w, uint32_t index)
{
	static const char first[] = "bdfgklmnprstvz", second[] = "aeiou";
	char text[9] = "\xc4\xa0";

	index = (uint32_t)((uint64_t)index * 123457 % N_FILLER);
	for (int i = 0; i < 3; i++, index /= 70) {
		text[2 + 2 * i] = first[index % 70 / 5];
		text[3 + 2 * i] = second[index % 5];
	}
	gw_str(w, text);
}

static void tokens(struct gw *w, uint32_t n)
{
	char text[16];

	gw_kv_arr(w, "tokenizer.ggml.tokens", TR_GGUF_STR, n);
	for (unsigned i = 0; i < N_BYTE; i++) {
		vw_byte(i, text);
		gw_str(w, text);
	}
	for (size_t i = 0; i < TR_ARRAY_LEN(merges); i++) {
		snprintf(text, sizeof(text), "%s%s", merges[i][0], merges[i][1]);
		gw_str(w, text);
	}
	for (uint32_t i = N_BYTE + TR_ARRAY_LEN(merges); i < n - N_CONTROL; i++)
		filler(w, i);
	gw_str(w, "<|begin|>");
	gw_str(w, "<|end|>");
}

static void vocabulary(struct gw *w, uint32_t n)
{
	char text[16];

	gw_kv_str(w, "tokenizer.ggml.model", "gpt2");
	gw_kv_str(w, "tokenizer.ggml.pre", "gpt-2");
	tokens(w, n);
	gw_kv_arr(w, "tokenizer.ggml.token_type", TR_GGUF_I32, n);
	for (uint32_t i = 0; i < n; i++)
		gw_u32(w, i < n - N_CONTROL ? 1 : 3);
	gw_kv_arr(w, "tokenizer.ggml.merges", TR_GGUF_STR, TR_ARRAY_LEN(merges));
	for (size_t i = 0; i < TR_ARRAY_LEN(merges); i++) {
		snprintf(text, sizeof(text), "%s %s", merges[i][0], merges[i][1]);
		gw_str(w, text);
	}
	gw_kv_u32(w, "tokenizer.ggml.bos_token_id", n - 2);
	gw_kv_u32(w, "tokenizer.ggml.eos_token_id", n - 1);
	gw_kv_int(w, "tokenizer.ggml.add_bos_token", TR_GGUF_BOOL, 1);
}

#define KEY(text) "deepseek2." text

static void attention_keys(struct gw *w, const struct synth_cfg *c)
{
	gw_kv_u32(w, KEY("attention.head_count"), c->heads);
	gw_kv_u32(w, KEY("attention.head_count_kv"), 1);
	if (c->q_lora)
		gw_kv_u32(w, KEY("attention.q_lora_rank"), c->q_lora);
	gw_kv_u32(w, KEY("attention.kv_lora_rank"), c->kv_lora);
	gw_kv_u32(w, KEY("attention.key_length"), c->kv_lora + c->rope);
	gw_kv_u32(w, KEY("attention.value_length"), c->kv_lora);
	gw_kv_u32(w, KEY("attention.key_length_mla"), c->nope + c->rope);
	gw_kv_u32(w, KEY("attention.value_length_mla"), c->v);
	gw_kv_f32(w, KEY("attention.layer_norm_rms_epsilon"), 1e-6f);
	gw_kv_u32(w, KEY("rope.dimension_count"), c->rope);
	gw_kv_f32(w, KEY("rope.freq_base"), 50000);
}

static void expert_keys(struct gw *w, const struct synth_cfg *c)
{
	gw_kv_u32(w, KEY("leading_dense_block_count"), c->dense);
	gw_kv_u32(w, KEY("expert_count"), c->experts);
	gw_kv_u32(w, KEY("expert_used_count"), c->used);
	gw_kv_u32(w, KEY("expert_shared_count"), c->shared);
	gw_kv_u32(w, KEY("expert_feed_forward_length"), c->ff_exp);
	gw_kv_f32(w, KEY("expert_weights_scale"), 2.827f);
	gw_kv_int(w, KEY("expert_weights_norm"), TR_GGUF_BOOL, 1);
	gw_kv_u32(w, KEY("expert_gating_func"), 2);
}

void synth_model_meta(struct gw *w, const struct synth_cfg *c)
{
	gw_kv_str(w, "general.architecture", "deepseek2");
	gw_kv_str(w, "general.name", "synthetic, random weights");
	gw_kv_u32(w, KEY("vocab_size"), c->vocab);
	gw_kv_u32(w, KEY("context_length"), c->ctx);
	gw_kv_u32(w, KEY("embedding_length"), c->embd);
	gw_kv_u32(w, KEY("block_count"), c->dense + c->layers);
	gw_kv_u32(w, KEY("feed_forward_length"), c->ff);
	attention_keys(w, c);
	expert_keys(w, c);
	vocabulary(w, c->vocab);
}
