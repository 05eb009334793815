/*
 * a_deepseek2.c - hyper-parameters, shapes and weights of the architecture deepseek2.
 *
 * Layouts are told apart by the tensors that exist: attn_k_b and attn_v_b (absorbed form), or the
 * older attn_kv_b, whose key half is transposed once at load; attn_q_a (query LoRA) or attn_q.
 * Metadata wins over every constant; what is absent takes the documented default.
 */
#include "engine/archs/deepseek2.h"
#include "base/log.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LAYER 512
#define MAX_WIDTH (1u << 20)
#define MAX_CTX (1u << 26)

/* Key absent is not an error; anything else that is negative is. */
static bool bad(int rc)
{
	return rc && rc != TR_E_NOENT;
}

static int required(int rc, const char *key, struct tr_err *err)
{
	if (rc == TR_E_NOENT)
		return tr_err_set(err, TR_E_FORMAT, "deepseek2%s is missing", key);
	return rc;
}

static int need_u32(const struct tr_model *m, const char *key, uint32_t hi, uint32_t *out,
	struct tr_err *err)
{
	return required(tr_model_u32(m, key, 1, hi, out, err), key, err);
}

static int positive_f32(const struct tr_model *m, const char *key, float *out, struct tr_err *err)
{
	int rc = tr_model_f32(m, key, out, err);

	if (!rc && *out <= 0)
		return tr_err_set(err, TR_E_FORMAT, "deepseek2%s is %g, must be above 0", key,
			(double)*out);
	return rc;
}

/* --- rope -------------------------------------------------------------------------------------- */

/* Factors that scale attention and that no file of this architecture sets. */
static int refuse_factor(const struct tr_model *m, const char *key, float neutral,
	struct tr_err *err)
{
	float v = neutral;
	int rc = tr_model_f32(m, key, &v, err);

	if (bad(rc))
		return rc;
	if (v != neutral)
		return tr_err_set(err, TR_E_UNSUPPORTED,
			"deepseek2%s is %g; only %g is supported", key, (double)v,
			(double)neutral);
	return 0;
}

static int bind_yarn(struct ds2 *d, const struct tr_model *m, struct tr_err *err)
{
	struct tr_rope *r = &d->rope;
	float multiplier = 0, mscale;
	int rc;

	r->yarn = true;
	rc = positive_f32(m, ".rope.scaling.factor", &r->factor, err);
	rc = required(rc, ".rope.scaling.factor", err);
	if (!rc)
		rc = need_u32(m, ".rope.scaling.original_context_length", MAX_CTX, &r->orig_ctx,
			err);
	if (rc)
		return rc;
	if (bad(rc = positive_f32(m, ".rope.scaling.yarn_beta_fast", &r->beta_fast, err)) ||
		bad(rc = positive_f32(m, ".rope.scaling.yarn_beta_slow", &r->beta_slow, err)))
		return rc;
	rc = tr_model_f32(m, ".rope.scaling.yarn_log_multiplier", &multiplier, err);
	if (bad(rc))
		return rc;
	if (rc == TR_E_NOENT) {
		tr_warn("deepseek2.rope.scaling.yarn_log_multiplier is missing: rotations are scaled "
			"by 1 + 0.1 ln(factor), scores are not");
		r->magnitude = 1 + 0.1f * logf(r->factor);
		return 0;
	}
	/* The key holds 0.1 * mscale_all_dim; scores are multiplied by its square effect. */
	mscale = 1 + multiplier * logf(r->factor);
	d->mla.scale *= mscale * mscale;
	return 0;
}

static int bind_rope(struct ds2 *d, const struct tr_model *m, struct tr_err *err)
{
	struct tr_rope *r = &d->rope;
	struct tr_str type = { "none", 4 };
	int rc;

	*r = (struct tr_rope){ .n_rot = d->mla.n_rot, .freq_base = 10000, .factor = 1,
		.beta_fast = 32, .beta_slow = 1, .magnitude = 1 };
	if (bad(rc = positive_f32(m, ".rope.freq_base", &r->freq_base, err)) ||
		bad(rc = tr_model_str(m, ".rope.scaling.type", &type, err)) ||
		(rc = refuse_factor(m, ".rope.scaling.attn_factor", 1, err)) ||
		(rc = refuse_factor(m, ".rope.scaling.yarn_attn_factor", 1, err)) ||
		(rc = refuse_factor(m, ".rope.scaling.yarn_ext_factor", 1, err)) ||
		(rc = refuse_factor(m, ".attention.temperature_scale", 0, err)))
		return rc;
	if (r->freq_base <= 1)
		return tr_err_set(err, TR_E_FORMAT, "deepseek2.rope.freq_base is %g, must be above 1",
			(double)r->freq_base);
	if (type.n == 4 && !memcmp(type.p, "yarn", 4)) {
		rc = bind_yarn(d, m, err);
		if (rc)
			return rc;
	} else if (type.n != 4 || memcmp(type.p, "none", 4)) {
		return tr_err_set(err, TR_E_UNSUPPORTED,
			"deepseek2.rope.scaling.type: '%.*s' is not supported; supported: none, yarn",
			(int)TR_MIN(type.n, (size_t)64), type.p);
	}
	if (tr_rope_init(r))
		return tr_err_set(err, TR_E_NOMEM, "rope table: out of memory");
	return 0;
}

/* --- hyper-parameters -------------------------------------------------------------------------- */

static int bind_attention(struct ds2 *d, const struct tr_model *m, struct tr_err *err)
{
	uint32_t n_qk = 0, n_v = 0;
	int rc;

	if ((rc = tr_model_u32_at(m, ".attention.head_count", 0, d->info.n_layer, 1, 4096,
		     &d->mla.n_head, err)))
		return required(rc, ".attention.head_count", err);
	if ((rc = need_u32(m, ".attention.kv_lora_rank", MAX_WIDTH, &d->mla.n_lat, err)) ||
		(rc = need_u32(m, ".rope.dimension_count", 4096, &d->mla.n_rot, err)))
		return rc;
	rc = tr_model_u32(m, ".attention.key_length_mla", 1, 4096, &n_qk, err);
	if (rc == TR_E_NOENT)
		rc = need_u32(m, ".attention.key_length", 4096, &n_qk, err);
	if (rc)
		return rc;
	rc = tr_model_u32(m, ".attention.value_length_mla", 1, 4096, &n_v, err);
	if (rc == TR_E_NOENT)
		rc = need_u32(m, ".attention.value_length", 4096, &n_v, err);
	if (rc)
		return rc;
	if (d->mla.n_rot % 2 || d->mla.n_rot >= n_qk)
		return tr_err_set(err, TR_E_FORMAT,
			"deepseek2.rope.dimension_count is %u, must be even and below the key length %u",
			d->mla.n_rot, n_qk);
	d->mla.n_nope = n_qk - d->mla.n_rot;
	d->mla.n_v = n_v;
	d->mla.scale = 1 / sqrtf((float)n_qk);
	d->info.kv_width = d->mla.n_lat + d->mla.n_rot;
	if (bad(rc = tr_model_u32(m, ".attention.q_lora_rank", 1, MAX_WIDTH, &d->q_lora, err)))
		return rc;
	if (!tr_model_find(m, "blk.0.attn_q_a.weight"))
		d->q_lora = 0;
	else if (!d->q_lora)
		return tr_err_set(err, TR_E_FORMAT, "deepseek2.attention.q_lora_rank is missing");
	return 0;
}

/* Files older than the key: softmax, but for one family that is told by its size. */
static uint32_t default_gating(const struct ds2 *d)
{
	bool glm_flash = (d->info.n_layer == 47 || d->info.n_layer == 48) &&
		d->info.n_vocab == 154880;

	return glm_flash ? TR_GATING_SIGMOID : TR_GATING_SOFTMAX;
}

static int bind_groups(struct tr_router *r, const struct tr_model *m, struct tr_err *err)
{
	int rc;

	if (bad(rc = tr_model_u32(m, ".expert_group_count", 0, TR_ROUTER_MAX_GROUP, &r->n_group,
		    err)) ||
		bad(rc = tr_model_u32(m, ".expert_group_used_count", 0, TR_ROUTER_MAX_GROUP,
			    &r->n_group_used, err)))
		return rc;
	if (r->n_group <= 1)
		return 0;
	if (r->n_expert % r->n_group)
		return tr_err_set(err, TR_E_FORMAT,
			"deepseek2.expert_group_count is %u, must divide the %u experts", r->n_group,
			r->n_expert);
	if (r->n_group_used < 1 || r->n_group_used > r->n_group ||
		r->n_group_used * (r->n_expert / r->n_group) < r->n_used)
		return tr_err_set(err, TR_E_FORMAT,
			"deepseek2.expert_group_used_count is %u: %u groups of %u experts cannot give "
			"%u experts a token",
			r->n_group_used, r->n_group, r->n_expert / r->n_group, r->n_used);
	return 0;
}

static int bind_router(struct ds2 *d, const struct tr_model *m, const struct tr_catalog *c,
	struct tr_err *err)
{
	struct tr_router *r = &d->router;
	uint32_t gating = default_gating(d), n_shared = 0, n_ff_exp;
	int rc;

	*r = (struct tr_router){ .n_expert = c->n_expert, .n_used = c->n_used, .scale = 1 };
	if (!c->n_moe_layer)
		return 0;
	if (r->n_used > TR_ROUTER_MAX_USED)
		return tr_err_set(err, TR_E_LIMIT,
			"deepseek2.expert_used_count is %u, at most %u are supported", r->n_used,
			TR_ROUTER_MAX_USED);
	if (bad(rc = tr_model_u32(m, ".expert_gating_func", 0, 100, &gating, err)) ||
		bad(rc = tr_model_bool(m, ".expert_weights_norm", &r->norm, err)) ||
		bad(rc = tr_model_f32(m, ".expert_weights_scale", &r->scale, err)) ||
		bad(rc = tr_model_u32(m, ".expert_shared_count", 0, 1024, &n_shared, err)) ||
		(rc = bind_groups(r, m, err)))
		return rc;
	if (gating == 0)
		gating = default_gating(d);
	if (gating > TR_GATING_SOFTMAX_TOPK)
		return tr_err_set(err, TR_E_UNSUPPORTED,
			"deepseek2.expert_gating_func is %u; supported: 1 softmax, 2 sigmoid, 3 softmax "
			"over the chosen",
			gating);
	r->gating = (enum tr_gating)gating;
	if (r->scale == 0)
		r->scale = 1;
	if (n_shared) {
		rc = need_u32(m, ".expert_feed_forward_length", MAX_WIDTH, &n_ff_exp, err);
		if (rc)
			return rc;
		d->n_ff_shared = n_shared * n_ff_exp;
	}
	return 0;
}

static int bind_sizes(struct ds2 *d, const struct tr_model *m, const struct tr_catalog *c,
	struct tr_err *err)
{
	int rc;

	if ((rc = need_u32(m, ".block_count", MAX_LAYER, &d->info.n_layer, err)) ||
		(rc = need_u32(m, ".embedding_length", MAX_WIDTH, &d->info.n_embd, err)) ||
		(rc = need_u32(m, ".context_length", MAX_CTX, &d->info.n_ctx_train, err)))
		return rc;
	rc = positive_f32(m, ".attention.layer_norm_rms_epsilon", &d->eps, err);
	if (rc)
		return required(rc, ".attention.layer_norm_rms_epsilon", err);
	d->embd_t = tr_model_find(m, "token_embd.weight");
	if (!d->embd_t || d->embd_t->n_dim != 2)
		return tr_err_set(err, TR_E_FORMAT, "tensor token_embd.weight is missing or not 2-D");
	if (d->embd_t->ne[1] > INT32_MAX)
		return tr_err_set(err, TR_E_LIMIT, "token_embd.weight has %llu rows, at most %d",
			(unsigned long long)d->embd_t->ne[1], INT32_MAX);
	d->info.n_vocab = (uint32_t)d->embd_t->ne[1];
	if (bad(rc = tr_model_u32(m, ".leading_dense_block_count", 0, d->info.n_layer, &d->n_dense,
		    err)))
		return rc;
	if (!c->n_moe_layer)
		d->n_dense = d->info.n_layer;
	if (d->n_dense) {
		rc = tr_model_u32_at(m, ".feed_forward_length", 0, d->info.n_layer, 1, MAX_WIDTH,
			&d->n_ff, err);
		if (rc)
			return required(rc, ".feed_forward_length", err);
	}
	return 0;
}

/* --- tensors ----------------------------------------------------------------------------------- */

#define WANT(dst, ne0, ne1, ne2, ...)                                                              \
	do {                                                                                       \
		int want_rc = tr_arch_want(m, &(dst), err, ne0, ne1, ne2, __VA_ARGS__);            \
		if (want_rc)                                                                       \
			return want_rc;                                                            \
	} while (0)

/* k_b and v_b come as {in, out, head}, or with heads folded into the second dimension. */
static int want_per_head(const struct tr_model *m, const struct tr_tensor **t, uint64_t in,
	uint64_t out, uint64_t n_head, uint32_t layer, const char *which, struct tr_err *err)
{
	*t = tr_model_find(m, "blk.%u.%s.weight", layer, which);
	if (*t && (*t)->n_dim == 2)
		return tr_arch_want(m, t, err, in, out * n_head, 1, "blk.%u.%s.weight", layer,
			which);
	return tr_arch_want(m, t, err, in, out, n_head, "blk.%u.%s.weight", layer, which);
}

static int bind_layer_attention(const struct ds2 *d, struct ds2_layer *l, uint32_t i,
	const struct tr_model *m, struct tr_err *err)
{
	const struct tr_mla *a = &d->mla;
	uint32_t n_embd = d->info.n_embd, n_q = a->n_head * (a->n_nope + a->n_rot);
	int rc;

	WANT(l->attn_norm_t, n_embd, 1, 1, "blk.%u.attn_norm.weight", i);
	if (d->q_lora) {
		WANT(l->q_a_t, n_embd, d->q_lora, 1, "blk.%u.attn_q_a.weight", i);
		WANT(l->q_a_norm_t, d->q_lora, 1, 1, "blk.%u.attn_q_a_norm.weight", i);
		WANT(l->q_t, d->q_lora, n_q, 1, "blk.%u.attn_q_b.weight", i);
	} else {
		WANT(l->q_t, n_embd, n_q, 1, "blk.%u.attn_q.weight", i);
	}
	WANT(l->kv_a_t, n_embd, a->n_lat + a->n_rot, 1, "blk.%u.attn_kv_a_mqa.weight", i);
	WANT(l->kv_a_norm_t, a->n_lat, 1, 1, "blk.%u.attn_kv_a_norm.weight", i);
	WANT(l->out_t, a->n_head * a->n_v, n_embd, 1, "blk.%u.attn_output.weight", i);
	if (!tr_model_find(m, "blk.%u.attn_k_b.weight", i)) {
		WANT(l->kv_b_t, a->n_lat, (uint64_t)a->n_head * (a->n_nope + a->n_v), 1,
			"blk.%u.attn_kv_b.weight", i);
		return 0;
	}
	rc = want_per_head(m, &l->k_b_t, a->n_nope, a->n_lat, a->n_head, i, "attn_k_b", err);
	if (rc)
		return rc;
	return want_per_head(m, &l->v_b_t, a->n_lat, a->n_v, a->n_head, i, "attn_v_b", err);
}

static int bind_layer_ffn(const struct ds2 *d, struct ds2_layer *l, uint32_t i,
	const struct tr_model *m, struct tr_err *err)
{
	uint32_t n_embd = d->info.n_embd, n_ff = l->moe ? d->n_ff_shared : d->n_ff;
	const char *kind = l->moe ? "_shexp" : "";

	WANT(l->ffn_norm_t, n_embd, 1, 1, "blk.%u.ffn_norm.weight", i);
	if (n_ff) {
		WANT(l->ffn.gate_t, n_embd, n_ff, 1, "blk.%u.ffn_gate%s.weight", i, kind);
		WANT(l->ffn.up_t, n_embd, n_ff, 1, "blk.%u.ffn_up%s.weight", i, kind);
		WANT(l->ffn.down_t, n_ff, n_embd, 1, "blk.%u.ffn_down%s.weight", i, kind);
	} else if (tr_model_find(m, "blk.%u.ffn_gate_shexp.weight", i)) {
		return tr_err_set(err, TR_E_FORMAT,
			"deepseek2.expert_shared_count is 0 or missing, but there is tensor "
			"blk.%u.ffn_gate_shexp.weight",
			i);
	}
	if (!l->moe)
		return 0;
	WANT(l->router_t, n_embd, d->router.n_expert, 1, "blk.%u.ffn_gate_inp.weight", i);
	if (tr_model_find(m, "blk.%u.exp_probs_b.bias", i))
		WANT(l->bias_t, d->router.n_expert, 1, 1, "blk.%u.exp_probs_b.bias", i);
	return 0;
}

/* A model cut short by its metadata would run, and talk nonsense. */
static int refuse_more_layers(const struct ds2 *d, const struct tr_model *m, struct tr_err *err)
{
	unsigned layer;
	size_t i;

	for (i = 0; i < m->n_tensor; i++)
		if (sscanf(m->tensors[i].name, "blk.%u.", &layer) == 1 &&
			layer >= d->info.n_layer)
			return tr_err_set(err, TR_E_FORMAT,
				"deepseek2.block_count is %u, but there is tensor %s",
				d->info.n_layer, m->tensors[i].name);
	return 0;
}

static int bind_tensors(struct ds2 *d, const struct tr_model *m, const struct tr_catalog *c,
	struct tr_err *err)
{
	uint32_t i;
	int rc = refuse_more_layers(d, m, err);

	if (rc)
		return rc;
	WANT(d->embd_t, d->info.n_embd, d->info.n_vocab, 1, "token_embd.weight");
	WANT(d->out_norm_t, d->info.n_embd, 1, 1, "output_norm.weight");
	d->head_t = d->embd_t; /* tied when absent */
	if (tr_model_find(m, "output.weight"))
		WANT(d->head_t, d->info.n_embd, d->info.n_vocab, 1, "output.weight");
	for (i = 0; i < d->info.n_layer; i++) {
		struct ds2_layer *l = &d->layers[i];

		l->moe = i >= d->n_dense;
		if (l->moe != (c->moe_of_layer[i] >= 0))
			return tr_err_set(err, TR_E_FORMAT,
				"layer %u %s routed experts, but deepseek2.leading_dense_block_count is %u",
				i, l->moe ? "has no" : "has", d->n_dense);
		rc = bind_layer_attention(d, l, i, m, err);
		if (!rc)
			rc = bind_layer_ffn(d, l, i, m, err);
		if (rc)
			return rc;
	}
	return 0;
}

static void unbind(void *am)
{
	struct ds2 *d = am;
	uint32_t i;

	if (!d)
		return;
	for (i = 0; d->layers && i < d->info.n_layer; i++) {
		struct ds2_layer *l = &d->layers[i];

		free(l->attn_norm);
		free(l->q_a_norm);
		free(l->kv_a_norm);
		free(l->ffn_norm);
		free(l->bias);
		free(l->k_b_made);
		free(l->v_b_made);
	}
	free(d->layers);
	free(d->out_norm);
	tr_rope_fini(&d->rope);
	free(d);
}

static int bind(void **am, const struct tr_model *model, const struct tr_catalog *catalog,
	struct tr_arch_info *info, struct tr_err *err)
{
	struct ds2 *d = tr_calloc(1, sizeof(*d));
	int rc;

	if (!d)
		return tr_err_set(err, TR_E_NOMEM, "model description: out of memory");
	if ((rc = bind_sizes(d, model, catalog, err)) ||
		(rc = bind_attention(d, model, err)) || (rc = bind_rope(d, model, err)) ||
		(rc = bind_router(d, model, catalog, err)))
		goto fail;
	d->layers = tr_calloc(d->info.n_layer, sizeof(*d->layers));
	if (!d->layers) {
		rc = tr_err_set(err, TR_E_NOMEM, "model description: out of memory");
		goto fail;
	}
	rc = bind_tensors(d, model, catalog, err);
	if (rc)
		goto fail;
	*info = d->info;
	*am = d;
	return 0;
fail:
	unbind(d);
	return rc;
}

/* --- weights ----------------------------------------------------------------------------------- */

/*
 * attn_kv_b holds for each head n_nope key rows and then n_v value rows, each n_lat wide. Value rows
 * become v_b as they are. The key half is transposed: k_b[h][r][i] = kv_b[h][i][r]. Its blocks ran
 * along n_lat and cannot be kept; F32, F16 and BF16 stay exact, other types become F16.
 */
static int split_kv_b(struct ds2_layer *l, const struct tr_mla *a, const struct tr_resident *res,
	struct tr_err *err)
{
	const struct tr_tensor *t = l->kv_b_t;
	const uint8_t *src = tr_resident_data(res, t), *row;
	bool wide = t->quant->id == TR_QUANT_F32 || t->quant->id == TR_QUANT_BF16;
	const struct tr_quant *q = tr_quant_by_id(wide ? TR_QUANT_F32 : TR_QUANT_F16);
	uint64_t head_rows = a->n_nope + a->n_v, h, i, r, at;
	float *line = tr_calloc(a->n_lat, sizeof(*line));

	l->k_b_made = tr_calloc((size_t)a->n_head * a->n_nope * a->n_lat, q->block_bytes);
	l->v_b_made = tr_calloc((size_t)a->n_head * a->n_v, t->row_bytes);
	if (!line || !l->k_b_made || !l->v_b_made) {
		free(line);
		return tr_err_set(err, TR_E_NOMEM, "tensor %s: no memory to transpose it", t->name);
	}
	for (h = 0; h < a->n_head; h++) {
		row = src + h * head_rows * t->row_bytes;
		for (i = 0; i < a->n_nope; i++, row += t->row_bytes) {
			t->quant->dequant(row, line, a->n_lat);
			for (r = 0; r < a->n_lat; r++) {
				at = (h * a->n_lat + r) * a->n_nope + i;
				if (wide)
					((float *)l->k_b_made)[at] = line[r];
				else
					((uint16_t *)l->k_b_made)[at] = tr_f32_to_f16(line[r]);
			}
		}
		memcpy(l->v_b_made + h * a->n_v * t->row_bytes, row, a->n_v * t->row_bytes);
	}
	free(line);
	l->k_b = (struct tr_weight){ q, l->k_b_made, (uint64_t)a->n_lat * a->n_head, a->n_nope,
		(uint64_t)a->n_nope * q->block_bytes };
	l->v_b = (struct tr_weight){ t->quant, l->v_b_made, (uint64_t)a->n_v * a->n_head, a->n_lat,
		t->row_bytes };
	return 0;
}

static int attach_layer(const struct ds2 *d, struct ds2_layer *l, const struct tr_resident *res,
	struct tr_err *err)
{
	int rc;

	if ((rc = tr_arch_floats(&l->attn_norm, res, l->attn_norm_t, err)) ||
		(rc = tr_arch_floats(&l->kv_a_norm, res, l->kv_a_norm_t, err)) ||
		(rc = tr_arch_floats(&l->ffn_norm, res, l->ffn_norm_t, err)) ||
		(l->q_a_norm_t && (rc = tr_arch_floats(&l->q_a_norm, res, l->q_a_norm_t, err))) ||
		(l->bias_t && (rc = tr_arch_floats(&l->bias, res, l->bias_t, err))))
		return rc;
	l->q_a = tr_resident_weight(res, l->q_a_t);
	l->q = tr_resident_weight(res, l->q_t);
	l->kv_a = tr_resident_weight(res, l->kv_a_t);
	l->k_b = tr_resident_weight(res, l->k_b_t);
	l->v_b = tr_resident_weight(res, l->v_b_t);
	l->out = tr_resident_weight(res, l->out_t);
	l->router = tr_resident_weight(res, l->router_t);
	l->ffn.gate = tr_resident_weight(res, l->ffn.gate_t);
	l->ffn.up = tr_resident_weight(res, l->ffn.up_t);
	l->ffn.down = tr_resident_weight(res, l->ffn.down_t);
	return l->kv_b_t ? split_kv_b(l, &d->mla, res, err) : 0;
}

static int attach(void *am, const struct tr_resident *res, struct tr_err *err)
{
	struct ds2 *d = am;
	uint32_t i;
	int rc;

	d->embd = tr_resident_weight(res, d->embd_t);
	d->head = tr_resident_weight(res, d->head_t);
	rc = tr_arch_floats(&d->out_norm, res, d->out_norm_t, err);
	for (i = 0; i < d->info.n_layer && !rc; i++)
		rc = attach_layer(d, &d->layers[i], res, err);
	return rc;
}

const struct tr_arch_ops tr_arch_deepseek2 = {
	.name = "deepseek2",
	.bind = bind,
	.attach = attach,
	.unbind = unbind,
	.scratch_new = ds2_scratch_new,
	.scratch_free = ds2_scratch_free,
	.forward = ds2_forward,
	.route_ahead = ds2_route_ahead,
	.gpu = &ds2_gpu_ops,
};
