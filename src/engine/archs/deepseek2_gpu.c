/*
 * deepseek2_gpu.c - what goes to the device, in bytes before weights are read and in fact after.
 *
 * What was uploaded is given back by the CPU, but for the table of embeddings, vectors, and what the
 * configuration says. All weights are one buffer, cut at multiples of 256 in the order of the layers; so is all
 * scratch.
 */
#include "engine/archs/deepseek2_gpu.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define ALIGN 256
#define PAGE_BYTES 4096

/*
 * Matrices are read once for every slice, which their arithmetic hides from some hundred tokens on:
 * an RTX 3060 has 140 multiplications of tensor cores to a byte it reads. By their data sheet; not
 * measured.
 */
#define SLICE 128

/* Queries and latent sums of a group. They are 272 KiB a token in Kimi K2, so it attends by 64. */
#define GROUP_BYTES (24ull << 20)
#define GRID_MAX    65535 /* rows that one quantise takes */

/* Scores and sums by chunk of positions, of more tokens than one only as far as this goes. */
#define SCORE_BYTES (8ull << 20)

static uint64_t cut(uint64_t bytes)
{
	return TR_ALIGN_UP(bytes, (uint64_t)ALIGN);
}

/* --- sizes before weights --------------------------------------------------------------------- */

static bool has_kernel(const struct tr_tensor *t)
{
	return !t || tr_device_has_quant(t->quant->id);
}

static uint64_t tensor_bytes(const struct tr_tensor *t)
{
	return t ? cut(t->ne[1] * t->ne[2] * t->ne[3] * t->row_bytes) : 0;
}

static uint64_t floats_bytes(const struct tr_tensor *t)
{
	return t ? cut(t->ne[0] * sizeof(float)) : 0;
}

/* See split_kv_b. */
static enum tr_quant_id k_b_made_quant(const struct tr_tensor *kv_b)
{
	return kv_b->quant->id == TR_QUANT_F32 || kv_b->quant->id == TR_QUANT_BF16 ? TR_QUANT_F32
										   : TR_QUANT_F16;
}

static uint64_t per_head_bytes(const struct ds2 *d, const struct ds2_layer *l)
{
	const struct tr_mla *a = &d->mla;

	if (!l->kv_b_t)
		return tensor_bytes(l->k_b_t) + tensor_bytes(l->v_b_t);
	return cut((uint64_t)a->n_head * a->n_nope * a->n_lat *
		       tr_quant_by_id(k_b_made_quant(l->kv_b_t))->block_bytes) +
	       cut((uint64_t)a->n_head * a->n_v * l->kv_b_t->row_bytes);
}

static uint64_t attention_bytes(const struct ds2 *d, const struct ds2_layer *l)
{
	const struct tr_tensor *matrices[] = { l->q_a_t, l->q_t, l->kv_a_t, l->out_t, l->router_t };
	uint64_t bytes = per_head_bytes(d, l) + floats_bytes(l->attn_norm_t) +
			 floats_bytes(l->q_a_norm_t) + floats_bytes(l->kv_a_norm_t) +
			 floats_bytes(l->ffn_norm_t) + floats_bytes(l->bias_t);

	for (size_t i = 0; i < TR_ARRAY_LEN(matrices); i++) {
		if (!has_kernel(matrices[i]))
			return 0;
		bytes += tensor_bytes(matrices[i]);
	}
	if (!has_kernel(l->k_b_t) || !has_kernel(l->v_b_t) || !has_kernel(l->kv_b_t) ||
		d->info.kv_width > TR_DEVICE_MLA_WIDTH ||
		(l->moe && d->router.n_expert > TR_DEVICE_N_EXPERT))
		return 0;
	return bytes;
}

static uint64_t ffn_bytes(const struct ds2_ffn *f)
{
	if (!has_kernel(f->gate_t) || !has_kernel(f->up_t) || !has_kernel(f->down_t))
		return 0;
	return tensor_bytes(f->gate_t) + tensor_bytes(f->up_t) + tensor_bytes(f->down_t);
}

static uint64_t weights(const void *am, enum tr_gpu_part part, uint32_t layer)
{
	const struct ds2 *d = am;

	switch (part) {
	case TR_GPU_ATTENTION:
		return attention_bytes(d, &d->layers[layer]);
	case TR_GPU_FFN:
		return ffn_bytes(&d->layers[layer].ffn);
	default:
		return has_kernel(d->head_t) ? tensor_bytes(d->head_t) + floats_bytes(d->out_norm_t)
					     : 0;
	}
}

/* A tensor's first and last pages may hold others, too. */
static uint64_t pages_of(const struct tr_tensor *t)
{
	return t && t->bytes > 2 * PAGE_BYTES ? t->bytes - 2 * PAGE_BYTES : 0;
}

/* What moved() gives back. Of a kv_b nothing: what lies there was made of it. */
static uint64_t freed(const void *am, enum tr_gpu_part part, uint32_t layer, bool keep_routers)
{
	const struct ds2 *d = am;
	const struct ds2_layer *l = &d->layers[layer];

	switch (part) {
	case TR_GPU_ATTENTION:
		return pages_of(l->q_a_t) + pages_of(l->q_t) + pages_of(l->kv_a_t) +
		       pages_of(l->k_b_t) + pages_of(l->v_b_t) + pages_of(l->out_t) +
		       (keep_routers ? 0 : pages_of(l->router_t));
	case TR_GPU_FFN:
		return pages_of(l->ffn.gate_t) + pages_of(l->ffn.up_t) + pages_of(l->ffn.down_t);
	default:
		return d->head_t == d->embd_t ? 0 : pages_of(d->head_t);
	}
}

/* --- room to work in -------------------------------------------------------------------------- */

static size_t max_ff(const struct ds2 *d)
{
	return TR_MAX(TR_MAX(d->n_ff, d->n_ff_shared), 1u);
}

static size_t rows_bytes(size_t n_tok, size_t width)
{
	return n_tok * tr_ops_stride(width) * sizeof(float);
}

struct ds2_gpu_in ds2_gpu_in(const struct ds2 *d, size_t n_tok)
{
	struct ds2_gpu_in in = { 0 };

	in.pos = n_tok * d->mla.n_rot * sizeof(float);
	in.h = cut(in.pos + sizeof(uint32_t));
	in.bytes = in.h + rows_bytes(n_tok, d->info.n_embd);
	return in;
}

struct ds2_gpu_back ds2_gpu_back(const struct ds2 *d, size_t n_tok)
{
	struct ds2_gpu_back b = { 0 };

	b.weights = n_tok * d->router.n_used * sizeof(uint32_t);
	b.x = cut(2 * b.weights);
	b.end = b.router = b.x + rows_bytes(n_tok, d->info.n_embd);
	b.h = b.router + rows_bytes(1, d->router.n_expert);
	b.bytes = b.h + rows_bytes(1, d->info.n_embd);
	return b;
}

static uint64_t score_bytes(const struct ds2 *d, uint32_t n_tok, uint32_t n_ctx)
{
	return sizeof(float) * tr_dop_mla_floats(n_tok, d->mla.n_head, d->mla.n_lat, n_ctx);
}

/* Groups of a slice are of one size, but for the last. */
static uint32_t pick_group(const struct ds2 *d, uint32_t n_slice)
{
	const struct tr_mla *a = &d->mla;
	uint64_t token = sizeof(float) * a->n_head * (2 * a->n_lat + a->n_rot);
	uint64_t n = TR_MIN(GROUP_BYTES / token, (uint64_t)GRID_MAX / a->n_head);
	uint32_t n_group;

	n = TR_MAX(TR_MIN(n, (uint64_t)n_slice), 1u);
	n_group = (uint32_t)((n_slice + n - 1) / n);
	return (n_slice + n_group - 1) / n_group;
}

static struct ds2_gpu_cut pick_cut(const struct ds2 *d, uint32_t n_tok_max, uint32_t n_ctx)
{
	struct ds2_gpu_cut c = { .n_slice = TR_MIN(n_tok_max, (uint32_t)SLICE) };
	uint64_t n_once = SCORE_BYTES / score_bytes(d, 1, n_ctx);

	c.n_group = pick_group(d, c.n_slice);
	n_once = TR_MIN(n_once, (uint64_t)(DS2_GPU_PREFILL_PAIRS - 1) / d->mla.n_head);
	c.n_once = (uint32_t)TR_MAX(TR_MIN(n_once, (uint64_t)c.n_group), 1u);
	return c;
}

/* Which inputs are of a kind. */
struct act_use {
	bool rows;  /* of matrices */
	bool down;  /* made of two */
	bool heads; /* each by itself */
};

static bool takes(const struct tr_tensor *t, enum tr_act_kind kind)
{
	return t && t->quant->act == kind;
}

static bool heads_take(const struct ds2_layer *l, enum tr_act_kind kind)
{
	if (!l->kv_b_t)
		return takes(l->k_b_t, kind) || takes(l->v_b_t, kind);
	return takes(l->kv_b_t, kind) || tr_quant_by_id(k_b_made_quant(l->kv_b_t))->act == kind;
}

static struct act_use act_use(const struct ds2 *d, enum tr_act_kind kind)
{
	struct act_use use = { .rows = takes(d->head_t, kind) };

	for (uint32_t i = 0; i < d->info.n_layer; i++) {
		const struct ds2_layer *l = &d->layers[i];
		const struct tr_tensor *rows[] = { l->q_a_t, l->q_t, l->kv_a_t, l->out_t,
			l->router_t, l->ffn.gate_t, l->ffn.up_t };

		for (size_t m = 0; m < TR_ARRAY_LEN(rows); m++)
			use.rows |= takes(rows[m], kind);
		use.down |= takes(l->ffn.down_t, kind);
		use.heads |= heads_take(l, kind);
	}
	return use;
}

/* F32 rows are their own activations, but for those made of two and those of heads. */
static size_t act_room(const struct ds2 *d, enum tr_act_kind kind, const struct ds2_gpu_cut *cut)
{
	const struct tr_mla *a = &d->mla;
	struct act_use use = act_use(d, kind);
	size_t per_head = TR_ALIGN_UP(TR_MAX(a->n_nope, a->n_lat), 256u), wide = 0, heads = 0;

	if (use.rows && kind != TR_ACT_F32)
		wide = TR_MAX(TR_MAX(d->info.n_embd, a->n_head * a->n_v), d->q_lora);
	if (use.down)
		wide = TR_MAX(wide, max_ff(d));
	if (use.heads)
		heads = cut->n_group * a->n_head * tr_act_bytes(kind, per_head);
	return TR_MAX(cut->n_slice * tr_act_bytes(kind, TR_ALIGN_UP(wide, (size_t)256)), heads);
}

static void *take(uint8_t *base, uint64_t *at, uint64_t bytes)
{
	void *p = base ? base + *at : NULL;

	*at += cut(bytes);
	return p;
}

/* base NULL: sizes only. */
static struct ds2_gpu_room lay_out(
	const struct ds2 *d, uint32_t n_tok, uint32_t n_ctx, uint8_t *base)
{
	const struct tr_mla *a = &d->mla;
	size_t n_embd = d->info.n_embd, n_lat = a->n_lat;
	struct ds2_gpu_cut c = pick_cut(d, n_tok, n_ctx);
	uint32_t n = c.n_slice;
	struct ds2_gpu_room r;
	uint64_t at = 0;

	r.in = take(base, &at, ds2_gpu_in(d, n_tok).bytes);
	r.back = take(base, &at, ds2_gpu_back(d, n_tok).bytes);
	r.shared = take(base, &at, rows_bytes(n_tok, n_embd));
	r.branch = take(base, &at, rows_bytes(n, n_embd));
	r.qa = take(base, &at, rows_bytes(n, d->q_lora));
	r.q = take(base, &at, rows_bytes(n, a->n_head * (size_t)(a->n_nope + a->n_rot)));
	r.kv = take(base, &at, rows_bytes(n, n_lat + a->n_rot));
	r.o = take(base, &at, rows_bytes(n, a->n_head * (size_t)a->n_v));
	r.gate = take(base, &at, rows_bytes(n, max_ff(d)));
	r.up = take(base, &at, rows_bytes(n, max_ff(d)));
	r.router = take(base, &at, rows_bytes(n, d->router.n_expert));
	for (int kind = 0; kind < TR_N_ACT_KIND; kind++)
		r.act[kind] = take(base, &at, act_room(d, kind, &c));
	r.query = take(base, &at, c.n_group * a->n_head * (n_lat + a->n_rot) * sizeof(float));
	r.ctx = take(base, &at, c.n_group * a->n_head * n_lat * sizeof(float));
	r.logits = take(base, &at, rows_bytes(1, d->info.n_vocab));
	r.mla = take(base, &at, score_bytes(d, c.n_once, n_ctx));
	r.bytes = at;
	return r;
}

static uint64_t scratch_bytes(const void *am, uint32_t n_tok_max, uint32_t n_ctx)
{
	return lay_out(am, n_tok_max, n_ctx, NULL).bytes;
}

/* --- weights ---------------------------------------------------------------------------------- */

/* Cuts the buffer of weights. rc is that of the first upload that failed. */
struct cutter {
	struct ds2_gpu *g;
	struct ds2 *d;
	uint64_t at;
	int rc;
	struct tr_err *err;
};

static void *upload(struct cutter *c, const void *src, uint64_t bytes)
{
	void *at;

	if (!src || c->rc)
		return NULL;
	at = tr_buffer_at(c->g->weights, c->at);
	c->rc = tr_gpu_upload(c->g->cfg.gpu, at, src, bytes, c->err);
	c->at += cut(bytes);
	return at;
}

/* Of what the CPU needs, too. */
static struct tr_weight matrix(struct cutter *c, const struct tr_weight *w)
{
	struct tr_weight there = *w;

	there.data = upload(c, w->data, w->rows * w->row_bytes);
	return there;
}

/* Of what it does not need any more, unless it may have to go on alone. */
static struct tr_weight moved(struct cutter *c, struct tr_weight *w)
{
	struct tr_weight there = matrix(c, w);

	if (!c->g->cfg.keep_copies)
		tr_resident_drop(w);
	return there;
}

/* The same of a matrix that may have been made (split_kv_b), and then is in memory of its own. */
static struct tr_weight moved_per_head(struct cutter *c, struct tr_weight *w, uint8_t **made)
{
	struct tr_weight there;

	if (!*made)
		return moved(c, w);
	there = matrix(c, w);
	if (!c->g->cfg.keep_copies) {
		free(*made);
		*made = NULL;
		w->data = NULL;
	}
	return there;
}

static const float *vector(struct cutter *c, const float *v, size_t n)
{
	return upload(c, v, n * sizeof(*v));
}

static void upload_attention(struct cutter *c, uint32_t layer)
{
	const struct ds2 *d = c->g->d;
	struct ds2_layer *l = &c->d->layers[layer];
	struct ds2_gpu_layer *there = &c->g->layers[layer];

	there->attn_norm = vector(c, l->attn_norm, d->info.n_embd);
	there->q_a_norm = vector(c, l->q_a_norm, d->q_lora);
	there->kv_a_norm = vector(c, l->kv_a_norm, d->mla.n_lat);
	there->ffn_norm = vector(c, l->ffn_norm, d->info.n_embd);
	there->bias = vector(c, l->bias, d->router.n_expert);
	there->q_a = moved(c, &l->q_a);
	there->q = moved(c, &l->q);
	there->kv_a = moved(c, &l->kv_a);
	there->k_b = moved_per_head(c, &l->k_b, &l->k_b_made);
	there->v_b = moved_per_head(c, &l->v_b, &l->v_b_made);
	there->out = moved(c, &l->out);
	there->router = c->g->cfg.keep_routers ? matrix(c, &l->router) : moved(c, &l->router);
}

static void upload_ffn(struct cutter *c, uint32_t layer)
{
	struct ds2_ffn *f = &c->d->layers[layer].ffn;
	struct ds2_gpu_layer *there = &c->g->layers[layer];

	there->gate = moved(c, &f->gate);
	there->up = moved(c, &f->up);
	there->down = moved(c, &f->down);
}

static int upload_all(struct ds2_gpu *g, struct ds2 *d, struct tr_err *err)
{
	const struct tr_gpu_place *p = g->cfg.place;
	struct cutter c = { g, d, 0, 0, err };
	int rc = tr_buffer_new(
		&g->weights, g->cfg.gpu->dev, p->weight_bytes, "resident weights", err);

	if (rc)
		return rc;
	for (uint32_t l = 0; l < p->n_layer; l++) {
		if (p->on[TR_GPU_ATTENTION][l])
			upload_attention(&c, l);
		if (p->on[TR_GPU_FFN][l])
			upload_ffn(&c, l);
	}
	if (p->on[TR_GPU_HEAD][0]) {
		g->head.attn_norm = vector(&c, d->out_norm, d->info.n_embd);
		g->head.out = d->head_t == d->embd_t ? matrix(&c, &d->head) : moved(&c, &d->head);
	}
	tr_assert(c.rc || c.at == p->weight_bytes);
	return c.rc;
}

/* --- open and close --------------------------------------------------------------------------- */

static int take_pinned(struct ds2_gpu *g, void **host, size_t bytes, struct tr_err *err)
{
	void *at;

	return tr_pinned_new(g->cfg.gpu->dev, bytes, host, &at, err);
}

static int make_room(struct ds2_gpu *g, struct tr_err *err)
{
	const struct ds2 *d = g->d;
	uint32_t n = g->cfg.n_tok_max;
	void *in = NULL, *back = NULL, *branch = NULL, *logits = NULL;
	int rc = tr_buffer_new(
		&g->scratch, g->cfg.gpu->dev, g->cfg.place->scratch_bytes, "scratch", err);

	if (!rc) {
		g->room = lay_out(d, n, g->cfg.n_ctx, tr_buffer_at(g->scratch, 0));
		tr_assert(g->room.bytes == g->cfg.place->scratch_bytes);
		rc = take_pinned(g, &in, ds2_gpu_in(d, n).bytes, err);
	}
	if (!rc)
		rc = take_pinned(g, &back, ds2_gpu_back(d, n).bytes, err);
	if (!rc)
		rc = take_pinned(g, &branch, rows_bytes(n, d->info.n_embd), err);
	if (!rc)
		rc = take_pinned(g, &logits, rows_bytes(1, d->info.n_vocab), err);
	g->pinned = (struct ds2_gpu_pinned){ in, back, branch, logits };
	return rc ? rc : tr_event_new(&g->ready, g->cfg.gpu->dev, err);
}

static void free_graphs(struct ds2_gpu *g)
{
	for (uint32_t l = 0; g->graphs && l <= g->d->info.n_layer; l++)
		for (int s = 0; s < DS2_GPU_N_STEPS; s++)
			for (int r = 0; r < DS2_GPU_N_REACH; r++)
				tr_graph_free(g->graphs[l][s][r].graph);
	free(g->graphs);
}

static void close_gpu(void *gm)
{
	struct ds2_gpu *g = gm;

	if (!g)
		return;
	free_graphs(g);
	tr_event_free(g->ready);
	tr_pinned_free(g->cfg.gpu->dev, g->pinned.in);
	tr_pinned_free(g->cfg.gpu->dev, g->pinned.back);
	tr_pinned_free(g->cfg.gpu->dev, g->pinned.branch);
	tr_pinned_free(g->cfg.gpu->dev, g->pinned.logits);
	tr_buffer_free(g->scratch);
	tr_buffer_free(g->weights);
	free(g->layers);
	free(g);
}

static int open_gpu(
	void **gm, void *am, const struct tr_arch_gpu_cfg *cfg, struct tr_err *err)
{
	struct ds2_gpu *g = tr_calloc(1, sizeof(*g));
	struct ds2 *d = am;
	int rc;

	if (!g)
		return tr_err_set(err, TR_E_NOMEM, "weights for the device: out of memory");
	g->d = d;
	g->cfg = *cfg;
	g->cut = pick_cut(d, cfg->n_tok_max, cfg->n_ctx);
	g->layers = tr_calloc(d->info.n_layer, sizeof(*g->layers));
	g->graphs = tr_calloc(d->info.n_layer + 1, sizeof(*g->graphs));
	rc = g->layers && g->graphs
		     ? make_room(g, err)
		     : tr_err_set(err, TR_E_NOMEM, "weights for the device: out of memory");
	if (!rc)
		rc = upload_all(g, d, err);
	if (rc) {
		close_gpu(g);
		return rc;
	}
	*gm = g;
	return 0;
}

const struct tr_arch_gpu_ops ds2_gpu_ops = {
	.weights = weights,
	.freed = freed,
	.scratch_bytes = scratch_bytes,
	.open = open_gpu,
	.close = close_gpu,
};
