/*
 * catalog.c - which bytes of which shard make up each routed expert.
 *
 * A layer holds its experts in one of three forms: stacked (one 3-D tensor a matrix), fused (gate
 * and up in one 3-D tensor, an expert's gate rows before its up rows) or single (one 2-D tensor an
 * expert and matrix, as old Mixtral files). All become the same three extents a unit, so nothing
 * below knows the difference. Mixed forms in one layer are refused; layers may differ in type.
 *
 * Only the tensor directory is read. Extents stay inside their tensor, and so inside the file,
 * because they are formed from the checked shape.
 */
#include "model/catalog.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LAYER  512
#define MAX_EXPERT 4096
#define MAX_WIDTH  (1u << 20)

static const char *const part_names[TR_N_PART] = { "ffn_gate", "ffn_up", "ffn_down" };

struct builder {
	const struct tr_model *model;
	struct tr_catalog *cat;
	uint32_t n_embd;
	struct tr_err *err;
};

/* The tensors of one layer; single experts are looked up one by one. */
struct layer_tensors {
	const struct tr_tensor *stacked[TR_N_PART];
	const struct tr_tensor *fused;
	bool single;
};

static int required(const struct builder *b, const char *key, uint32_t hi, uint32_t *out)
{
	int rc = tr_model_u32(b->model, key, 1, hi, out, b->err);

	if (rc != TR_E_NOENT)
		return rc;
	return tr_err_set(b->err, TR_E_FORMAT, "key '%s%s' is missing", b->model->arch, key);
}

static bool find_layer(const struct tr_model *m, uint32_t layer, struct layer_tensors *lt)
{
	bool any;

	*lt = (struct layer_tensors){ 0 };
	lt->fused = tr_model_find(m, "blk.%u.ffn_gate_up_exps.weight", layer);
	any = lt->fused != NULL;
	for (int p = 0; p < TR_N_PART; p++) {
		lt->stacked[p] = tr_model_find(m, "blk.%u.%s_exps.weight", layer, part_names[p]);
		if (tr_model_find(m, "blk.%u.%s.0.weight", layer, part_names[p]))
			lt->single = true;
		any = any || lt->stacked[p] || lt->single;
	}
	return any;
}

/* --- one layer -------------------------------------------------------------------------------- */

static int check_forms(const struct builder *b, uint32_t layer, const struct layer_tensors *lt)
{
	bool stacked = lt->fused || lt->stacked[TR_PART_GATE] || lt->stacked[TR_PART_UP] ||
		lt->stacked[TR_PART_DOWN];

	if (lt->single && stacked)
		return tr_err_set(b->err, TR_E_FORMAT,
			"layer %" PRIu32 ": has stacked expert tensors and single ones", layer);
	if (lt->fused && (lt->stacked[TR_PART_GATE] || lt->stacked[TR_PART_UP]))
		return tr_err_set(b->err, TR_E_FORMAT,
			"layer %" PRIu32 ": has fused ffn_gate_up_exps and separate %s_exps", layer,
			part_names[lt->stacked[TR_PART_GATE] ? TR_PART_GATE : TR_PART_UP]);
	for (int p = 0; !lt->single && p < TR_N_PART; p++)
		if (!lt->stacked[p] && (!lt->fused || p == TR_PART_DOWN))
			return tr_err_set(b->err, TR_E_FORMAT,
				"tensor 'blk.%" PRIu32 ".%s_exps.weight' is missing", layer,
				part_names[p]);
	return 0;
}

static void set_part(struct tr_moe_layer *ml, int p, const struct tr_tensor *t, uint64_t rows)
{
	ml->quant[p] = t->quant;
	ml->rows[p] = rows;
	ml->cols[p] = t->ne[0];
	ml->row_bytes[p] = t->row_bytes;
}

static void set_extent(struct builder *b, const struct tr_moe_layer *ml, uint32_t expert, int p,
	const struct tr_tensor *t, uint64_t off)
{
	struct tr_unit *u = &b->cat->units[ml->first_unit + expert];

	u->part[p] = (struct tr_extent){
		.shard = t->shard,
		.off = t->file_off + off,
		.bytes = ml->rows[p] * ml->row_bytes[p],
	};
	u->bytes += u->part[p].bytes;
}

/* Of n_share matrices that lie behind each other in every expert of t, the which-th is part p. */
static int bind_stacked(struct builder *b, struct tr_moe_layer *ml, int p,
	const struct tr_tensor *t, uint64_t n_share, uint64_t which)
{
	uint64_t part_bytes;

	if (t->n_dim != 3 || t->ne[2] != b->cat->n_expert)
		return tr_err_set(b->err, TR_E_FORMAT,
			"tensor '%s': has %" PRIu32 " dimensions and %" PRIu64
			" experts, must have 3 and %" PRIu32, t->name, t->n_dim, t->ne[2],
			b->cat->n_expert);
	if (t->ne[1] % n_share)
		return tr_err_set(b->err, TR_E_FORMAT,
			"tensor '%s': %" PRIu64 " rows do not halve into gate and up", t->name,
			t->ne[1]);
	set_part(ml, p, t, t->ne[1] / n_share);
	part_bytes = ml->rows[p] * ml->row_bytes[p];
	for (uint32_t e = 0; e < b->cat->n_expert; e++)
		set_extent(b, ml, e, p, t, (e * n_share + which) * part_bytes);
	return 0;
}

static int bind_single(struct builder *b, struct tr_moe_layer *ml, int p)
{
	const struct tr_tensor *first = NULL;

	for (uint32_t e = 0; e < b->cat->n_expert; e++) {
		const struct tr_tensor *t = tr_model_find(b->model, "blk.%u.%s.%u.weight",
			ml->layer, part_names[p], e);

		if (!t)
			return tr_err_set(b->err, TR_E_FORMAT,
				"tensor 'blk.%" PRIu32 ".%s.%" PRIu32 ".weight' is missing",
				ml->layer, part_names[p], e);
		if (!first) {
			first = t;
			set_part(ml, p, t, t->ne[1]);
		}
		if (t->n_dim != 2)
			return tr_err_set(b->err, TR_E_FORMAT,
				"tensor '%s': has %" PRIu32 " dimensions, must have 2", t->name,
				t->n_dim);
		if (t->quant != first->quant || memcmp(t->ne, first->ne, sizeof(t->ne)))
			return tr_err_set(b->err, TR_E_FORMAT,
				"tensor '%s': is %s {%" PRIu64 ", %" PRIu64
				"}, the layer's first expert is %s {%" PRIu64 ", %" PRIu64 "}",
				t->name, t->quant->name, t->ne[0], t->ne[1], first->quant->name,
				first->ne[0], first->ne[1]);
		set_extent(b, ml, e, p, t, 0);
	}
	return 0;
}

static int bind_layer(struct builder *b, struct tr_moe_layer *ml, const struct layer_tensors *lt)
{
	int rc = 0;

	for (int p = 0; !rc && p < TR_N_PART; p++) {
		if (lt->single)
			rc = bind_single(b, ml, p);
		else if (lt->stacked[p])
			rc = bind_stacked(b, ml, p, lt->stacked[p], 1, 0);
		else
			rc = bind_stacked(b, ml, p, lt->fused, 2, p == TR_PART_UP);
	}
	return rc;
}

static int check_width(const struct builder *b, const struct tr_moe_layer *ml, int p,
	const char *what, uint64_t have, uint64_t want)
{
	if (have == want)
		return 0;
	return tr_err_set(b->err, TR_E_FORMAT,
		"layer %" PRIu32 ": experts' %s has %s width %" PRIu64 ", must be %" PRIu64,
		ml->layer, part_names[p], what, have, want);
}

static int check_shapes(const struct builder *b, const struct tr_moe_layer *ml)
{
	uint32_t ff = 0;
	int rc = tr_model_u32_at(b->model, ".expert_feed_forward_length", ml->layer,
		b->cat->n_layer, 0, MAX_WIDTH, &ff, b->err);

	if (rc && rc != TR_E_NOENT)
		return rc;
	rc = check_width(b, ml, TR_PART_GATE, "input", ml->cols[TR_PART_GATE], b->n_embd);
	if (!rc)
		rc = check_width(b, ml, TR_PART_UP, "input", ml->cols[TR_PART_UP], b->n_embd);
	if (!rc && ff)
		rc = check_width(b, ml, TR_PART_GATE, "output", ml->rows[TR_PART_GATE], ff);
	if (!rc)
		rc = check_width(b, ml, TR_PART_UP, "output", ml->rows[TR_PART_UP],
			ml->rows[TR_PART_GATE]);
	if (!rc)
		rc = check_width(b, ml, TR_PART_DOWN, "input", ml->cols[TR_PART_DOWN],
			ml->rows[TR_PART_GATE]);
	if (!rc)
		rc = check_width(b, ml, TR_PART_DOWN, "output", ml->rows[TR_PART_DOWN], b->n_embd);
	return rc;
}

static int add_layer(struct builder *b, uint32_t layer, const struct layer_tensors *lt)
{
	struct tr_catalog *cat = b->cat;
	struct tr_moe_layer *ml = &cat->moe_layers[cat->n_moe_layer];
	uint64_t unit_bytes;
	int rc;

	ml->layer = layer;
	ml->first_unit = (uint32_t)cat->n_unit;
	rc = check_forms(b, layer, lt);
	if (!rc)
		rc = bind_layer(b, ml, lt);
	if (!rc)
		rc = check_shapes(b, ml);
	if (rc)
		return rc;
	for (uint32_t e = 0; e < cat->n_expert; e++) {
		cat->units[ml->first_unit + e].layer = layer;
		cat->units[ml->first_unit + e].expert = e;
	}
	unit_bytes = cat->units[ml->first_unit].bytes;
	cat->bytes += unit_bytes * cat->n_expert;
	cat->floor_bytes += unit_bytes * cat->n_used;
	cat->unit_bytes_max = TR_MAX(cat->unit_bytes_max, unit_bytes);
	cat->moe_of_layer[layer] = (int32_t)cat->n_moe_layer++;
	cat->n_unit += cat->n_expert;
	return 0;
}

/* --- the model -------------------------------------------------------------------------------- */

static int read_counts(struct builder *b)
{
	struct tr_catalog *cat = b->cat;
	int rc = required(b, ".block_count", MAX_LAYER, &cat->n_layer);

	if (!rc)
		rc = required(b, ".embedding_length", MAX_WIDTH, &b->n_embd);
	if (rc)
		return rc;
	rc = tr_model_u32(b->model, ".expert_count", 0, MAX_EXPERT, &cat->n_expert, b->err);
	if (rc && rc != TR_E_NOENT)
		return rc;
	if (!cat->n_expert)
		return 0;
	return required(b, ".expert_used_count", cat->n_expert, &cat->n_used);
}

/* What the counts promise and the tensors must keep, before anything is allocated by them. */
static int count_layers(const struct builder *b, size_t *n_moe)
{
	struct layer_tensors lt;

	*n_moe = 0;
	for (uint32_t l = 0; l < b->cat->n_layer; l++) {
		bool router = tr_model_find(b->model, "blk.%u.ffn_gate_inp.weight", l) != NULL;

		if (find_layer(b->model, l, &lt))
			++*n_moe;
		else if (router)
			return tr_err_set(b->err, TR_E_FORMAT,
				"layer %" PRIu32 ": has a router but no expert tensors", l);
	}
	if (*n_moe && !b->cat->n_expert)
		return tr_err_set(b->err, TR_E_FORMAT,
			"%zu layers have expert tensors, but key '%s.expert_count' is 0 or missing",
			*n_moe, b->model->arch);
	if (!*n_moe && b->cat->n_expert)
		return tr_err_set(b->err, TR_E_FORMAT,
			"key '%s.expert_count': value %" PRIu32 ", but no layer has expert tensors",
			b->model->arch, b->cat->n_expert);
	return 0;
}

static int alloc_tables(struct builder *b, size_t n_moe)
{
	struct tr_catalog *cat = b->cat;

	cat->moe_layers = tr_calloc(n_moe, sizeof(*cat->moe_layers));
	cat->moe_of_layer = tr_calloc(cat->n_layer, sizeof(*cat->moe_of_layer));
	cat->units = tr_calloc(n_moe * cat->n_expert, sizeof(*cat->units));
	if (!cat->moe_layers || !cat->moe_of_layer || !cat->units)
		return tr_err_set(b->err, TR_E_NOMEM, "out of memory for %zu experts",
			n_moe * cat->n_expert);
	for (uint32_t l = 0; l < cat->n_layer; l++)
		cat->moe_of_layer[l] = -1;
	return 0;
}

static int build(struct builder *b)
{
	struct layer_tensors lt;
	size_t n_moe;
	int rc = read_counts(b);

	if (!rc)
		rc = count_layers(b, &n_moe);
	if (!rc)
		rc = alloc_tables(b, n_moe);
	for (uint32_t l = 0; !rc && l < b->cat->n_layer; l++)
		if (find_layer(b->model, l, &lt))
			rc = add_layer(b, l, &lt);
	return rc;
}

int tr_catalog_build(struct tr_catalog **catalog, const struct tr_model *model, struct tr_err *err)
{
	struct builder b = { .model = model, .err = err };
	int rc;

	*catalog = NULL;
	b.cat = tr_calloc(1, sizeof(*b.cat));
	if (!b.cat)
		return tr_err_set(err, TR_E_NOMEM, "out of memory for a catalogue");
	rc = build(&b);
	if (rc) {
		tr_catalog_free(b.cat);
		return rc;
	}
	*catalog = b.cat;
	return 0;
}

void tr_catalog_free(struct tr_catalog *cat)
{
	if (!cat)
		return;
	free(cat->moe_layers);
	free(cat->moe_of_layer);
	free(cat->units);
	free(cat);
}

/* The biases of experts, where an architecture has them, are small and stay resident. */
bool tr_catalog_is_expert_tensor(const char *name)
{
	unsigned layer, expert;
	char part[16];
	int end = 0;

	if (sscanf(name, "blk.%u.ffn_%15[a-z_].%u.weight%n", &layer, part, &expert, &end) == 3 &&
		end && !name[end])
		return !strcmp(part, "gate") || !strcmp(part, "up") || !strcmp(part, "down");
	end = 0;
	if (sscanf(name, "blk.%u.ffn_%15[a-z_].weight%n", &layer, part, &end) != 2 || !end ||
		name[end])
		return false;
	return !strcmp(part, "gate_exps") || !strcmp(part, "up_exps") ||
		!strcmp(part, "down_exps") || !strcmp(part, "gate_up_exps");
}
