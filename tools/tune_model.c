/*
 * tune_model.c - the model of a forecast: from the header of a file, whose weights need not be
 * there, or from constants.
 */
#include "tools/tool.h"
#include "tools/tune.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULT_CTX 4096
#define KV_ALIGN    64

int tr_tune_fail(struct tr_err *err, int code, const char *name, const char *what)
{
	err->code = code;
	snprintf(err->msg, sizeof(err->msg), "%s: %s", name, what);
	return code;
}

/* --- from a header ---------------------------------------------------------------------------- */

static double values_of(const struct tr_tensor_info *t)
{
	return (double)t->ne[0] * (double)t->ne[1] * (double)t->ne[2] * (double)t->ne[3];
}

/* A number of the architecture's metadata; 0 when there is none. Of arrays the first element. */
static uint32_t number(const struct tr_model *m, const char *name)
{
	char text[64];
	const char *dot, *at;

	for (size_t i = 0; i < tr_model_n_kv(m); i++) {
		dot = strchr(tr_model_kv_key(m, i), '.');
		if (!dot || strcmp(dot + 1, name) != 0)
			continue;
		tr_model_kv_text(m, i, text, sizeof(text));
		at = text[0] == '[' ? strchr(text, ']') : NULL;
		return (uint32_t)strtoul(at ? at + 1 : text, NULL, 10);
	}
	return 0;
}

/* Adds n matrices of that type and width to a list. */
static void add_matrices(struct tr_matrices *list, size_t *n_list, size_t cap,
	const struct tr_tensor_info *t, double n)
{
	struct tr_matrices *to = NULL;

	for (size_t i = 0; i < *n_list && !to; i++)
		if (!strcmp(list[i].quant, t->type) && list[i].cols == t->ne[0])
			to = &list[i];
	if (!to && *n_list == cap)
		to = &list[cap - 1]; /* as the last one: models have a dozen */
	if (!to) {
		to = &list[(*n_list)++];
		snprintf(to->quant, sizeof(to->quant), "%s", t->type);
		to->cols = (uint32_t)t->ne[0];
	}
	to->bytes += (double)t->bytes;
	to->n += n;
}

/* What each part of an expert is mostly made of, by the bytes met so far. */
static void add_expert_part(struct tr_tune_model *m, const struct tr_tensor_info *t, double most[3])
{
	int p = strstr(t->name, "gate_") ? 0 : strstr(t->name, "up_") ? 1 : 2;
	struct tr_matrices *part = &m->work.unit[p];

	part->bytes += (double)t->bytes;
	part->n = 1;
	if ((double)t->bytes <= most[p])
		return;
	most[p] = (double)t->bytes;
	snprintf(part->quant, sizeof(part->quant), "%s", t->type);
	part->cols = (uint32_t)t->ne[0];
}

static void add_tensor(
	struct tr_tune_model *m, const struct tr_tensor_info *t, bool tied, double most[3])
{
	struct tr_workload *w = &m->work;
	bool in_attention = strstr(t->name, "attn_k_b") || strstr(t->name, "attn_v_b");

	if (strstr(t->name, "_exps.")) {
		add_expert_part(m, t, most);
		w->unit_macs += values_of(t);
		return;
	}
	m->resident_bytes += t->bytes;
	if (t->n_dim < 2 || (!tied && !strcmp(t->name, "token_embd.weight"))) /* one row of it */
		return;
	w->resident_macs += values_of(t);
	/* A few matrices in one call have one barrier; those of attention's inside are in
	 * attend_ns. */
	add_matrices(w->resident, &w->n_resident, TR_MAX_MATRICES, t, in_attention ? 0 : 1);
	if (strstr(t->name, "_shexp."))
		add_matrices(w->beside, &w->n_beside, 3, t, 1);
}

static void read_tensors(struct tr_tune_model *m, const struct tr_model *model)
{
	double most[3] = { 0 };
	bool tied = true;

	for (size_t i = 0; i < tr_model_n_tensor(model); i++) {
		struct tr_tensor_info t;

		tr_model_tensor_info(model, i, &t);
		tied = tied && strcmp(t.name, "output.weight") != 0;
		m->work.n_moe_layer += strstr(t.name, "ffn_down_exps.") != NULL;
	}
	for (size_t i = 0; i < tr_model_n_tensor(model); i++) {
		struct tr_tensor_info t;

		tr_model_tensor_info(model, i, &t);
		add_tensor(m, &t, tied, most);
	}
}

/* Means of layers, which mixed types make unequal. */
static void divide(struct tr_tune_model *m)
{
	struct tr_workload *w = &m->work;

	for (int p = 0; p < 3; p++) {
		w->unit[p].bytes /= (double)m->n_unit;
		w->unit_bytes += w->unit[p].bytes;
	}
	w->unit_macs /= (double)m->n_unit;
	for (size_t i = 0; i < w->n_beside; i++) {
		w->beside[i].bytes /= w->n_moe_layer;
		w->beside[i].n /= w->n_moe_layer;
	}
}

static void read_shape(
	struct tr_tune_model *m, const struct tr_model *model, const struct tr_tune_args *a)
{
	uint32_t longest = number(model, "context_length"), row;
	struct tr_workload *w = &m->work;

	w->n_layer = number(model, "block_count");
	w->n_expert = number(model, "expert_count");
	w->n_used = number(model, "expert_used_count");
	w->n_embd = number(model, "embedding_length");
	w->n_head = number(model, "attention.head_count");
	w->n_lat = number(model, "attention.kv_lora_rank");
	w->n_rot = number(model, "rope.dimension_count");
	m->n_ctx = a->n_ctx ? a->n_ctx : longest && longest < DEFAULT_CTX ? longest : DEFAULT_CTX;
	row = 2 * (w->n_lat + w->n_rot);
	row = (row + KV_ALIGN - 1) / KV_ALIGN * KV_ALIGN;
	w->kv_bytes = (double)row * w->n_layer;
	m->kv_bytes = (uint64_t)row * w->n_layer * m->n_ctx;
	m->n_unit = (uint64_t)w->n_moe_layer * w->n_expert;
}

/* As the engine lays slots out, which it can tell only of a file that is whole. */
static uint64_t slot_bytes(const struct tr_tune_args *a, const struct tr_tune_model *m)
{
	struct tr_engine_opts opts = { .model_path = a->model, .dram = "100%" };
	const uint64_t page = 4096;
	struct tr_plan plan;
	struct tr_err err;

	if (!tr_engine_plan(&opts, &plan, &err))
		for (size_t i = 0; i < plan.n_tier; i++)
			if (!strcmp(plan.tier[i].name, "dram") && plan.tier[i].n_unit)
				return plan.tier[i].capacity_bytes / plan.tier[i].n_unit;
	return (m->unit_bytes + 4 * page - 1) / page * page;
}

static int from_file(struct tr_tune_model *m, const struct tr_tune_args *a, struct tr_err *err)
{
	const char *slash = strrchr(a->model, '/');
	struct tr_model *model;
	int rc = tr_model_open_header(&model, a->model, err);

	if (rc)
		return rc;
	*m = (struct tr_tune_model){ 0 };
	snprintf(m->name, sizeof(m->name), "%s", slash ? slash + 1 : a->model);
	snprintf(m->work.model, sizeof(m->work.model), "%s", m->name);
	read_tensors(m, model);
	read_shape(m, model, a);
	tr_model_close(model);
	if (!m->n_unit || !m->work.n_used || !m->work.n_layer)
		return tr_tune_fail(
			err, TR_E_UNSUPPORTED, a->model, "the model has no routed experts");
	divide(m);
	m->unit_bytes = (uint64_t)m->work.unit_bytes;
	m->floor_bytes = m->unit_bytes * m->work.n_used * m->work.n_moe_layer;
	m->slot_bytes = slot_bytes(a, m);
	return 0;
}

/* --- from constants --------------------------------------------------------------------------- */

/* Kimi K2.5: 61 layers, the first dense; 384 experts of 3 x 7168 x 2048, 8 used. What every token
 * uses is 10.5 G weights, taken to have 5.5 bits whatever the experts have (quantised files keep
 * them finer). */
#define K25_UNIT	  (3.0 * 7168 * 2048)
#define K25_RESIDENT	  10.5e9
#define K25_RESIDENT_BITS 5.5
#define K25_MATRICES                                                                               \
	(61 * 6 + 60 * 4 + 4) /* of attention, router and shared expert, dense layer, head */
#define K25_KV (61.0 * (512 + 64) * 2) /* bytes a token, binary16 */

static void from_shape(struct tr_tune_model *m, const struct tr_tune_args *a)
{
	unsigned n_ctx = a->n_ctx ? a->n_ctx : DEFAULT_CTX;
	double unit = K25_UNIT * a->shape_bits / 8, beside = K25_UNIT * K25_RESIDENT_BITS / 8;

	*m = (struct tr_tune_model){ .n_unit = 60 * 384,
		.unit_bytes = (uint64_t)unit,
		.slot_bytes = (uint64_t)unit,
		.floor_bytes = (uint64_t)(60 * 8 * unit),
		.resident_bytes = (uint64_t)(K25_RESIDENT * K25_RESIDENT_BITS / 8),
		.kv_bytes = (uint64_t)(K25_KV * n_ctx),
		.n_ctx = n_ctx,
		.work = { .n_layer = 61,
			.n_moe_layer = 60,
			.n_expert = 384,
			.n_used = 8,
			.n_embd = 7168,
			.n_head = 64,
			.n_lat = 512,
			.n_rot = 64,
			.unit_bytes = unit,
			.unit_macs = K25_UNIT,
			.n_resident = 1,
			.resident = { { "", 7168, K25_RESIDENT * K25_RESIDENT_BITS / 8,
				K25_MATRICES } },
			.n_beside = 1,
			.beside = { { "", 7168, beside, 3 } },
			.resident_macs = K25_RESIDENT,
			.kv_bytes = K25_KV } };
	snprintf(m->name, sizeof(m->name), "%s", a->shape);
}

int tr_tune_model(struct tr_tune_model *m, const struct tr_tune_args *a, struct tr_err *err)
{
	if (!a->shape)
		return from_file(m, a, err);
	from_shape(m, a);
	return 0;
}
