/* guests.c - picks by cost, holds, copies; and measures what things cost. */
#include "engine/guests.h"
#include "base/clock.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct tr_guests {
	struct tr_guests_cfg cfg;
	struct tr_buffer *slots;
	struct tr_lane_costs costs;
	unsigned has; /* TR_LANE_HAS_* */
	struct tr_lane_unit *units; /* [n_expert] scratch */
	uint32_t *ids;		    /* the same: their units */
	struct tr_handle handles[TR_MAX_GUEST]; /* of the set in work */
	size_t n;
	uint64_t n_fetched, fetched_bytes;
};

int tr_guests_new(struct tr_guests **out, const struct tr_guests_cfg *cfg, struct tr_err *err)
{
	struct tr_guests *g = tr_calloc(1, sizeof(*g));
	int rc = 0;

	if (!g)
		return tr_err_set(err, TR_E_NOMEM, "experts to fetch: out of memory");
	tr_assert(cfg->n_slot <= TR_MAX_GUEST);
	g->cfg = *cfg;
	g->costs = cfg->costs;
	g->has = cfg->has;
	g->units = tr_calloc(cfg->catalog->n_expert, sizeof(*g->units));
	g->ids = tr_calloc(cfg->catalog->n_expert, sizeof(*g->ids));
	if (!g->units || !g->ids)
		rc = tr_err_set(err, TR_E_NOMEM, "experts to fetch: out of memory");
	if (!rc)
		rc = tr_buffer_new(&g->slots, cfg->gpu->dev, cfg->n_slot * cfg->slot_bytes,
			"experts to fetch", err);
	if (rc) {
		tr_guests_free(g);
		return rc;
	}
	*out = g;
	return 0;
}

void tr_guests_free(struct tr_guests *g)
{
	if (!g)
		return;
	tr_buffer_free(g->slots);
	free(g->units);
	free(g->ids);
	free(g);
}

/* --- a set ------------------------------------------------------------------------------------ */

static struct tr_lane_unit describe(const struct tr_guests *g, uint32_t id, uint32_t n_tok)
{
	struct tr_lane_unit u = { .bytes = g->cfg.catalog->units[id].bytes, .n = n_tok };
	struct tr_handle h;

	u.on_device = tr_vram_tier_has(g->cfg.tier, id);
	if (u.on_device)
		return u;
	u.can_fetch = tr_cache_hold(g->cfg.cache, id, &h);
	u.tier = h.tier;
	tr_cache_release(g->cfg.cache, &h, 1);
	return u;
}

static void decide(struct tr_guests *g, size_t n)
{
	uint32_t left = g->cfg.n_slot;

	if (!g->cfg.always) {
		tr_lanes_decide(&g->costs, g->units, n, g->cfg.n_slot);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		g->units[i].fetch = left && g->units[i].can_fetch;
		left -= g->units[i].fetch;
	}
}

/* They were there a moment ago, and nobody else has asked the cache since. */
static void acquire(struct tr_guests *g, size_t n)
{
	uint32_t ids[TR_MAX_GUEST];
	size_t k = 0;

	for (size_t i = 0; i < n; i++)
		if (g->units[i].fetch)
			ids[k++] = g->ids[i];
	if (!k)
		return;
	tr_cache_acquire(g->cfg.cache, ids, k, TR_ACQUIRE_SCAN, g->handles);
	for (size_t i = 0; i < k; i++) {
		tr_assert(g->handles[i].state == TR_HANDLE_READY);
		g->fetched_bytes += g->cfg.catalog->units[ids[i]].bytes;
	}
	g->n = k;
	g->n_fetched += k;
}

void tr_guests_pick(struct tr_guests *g, const struct tr_moe_layer *layer, const uint32_t *n_tok_of)
{
	const struct tr_catalog *c = g->cfg.catalog;
	size_t n = 0;

	g->n = 0;
	if (g->cfg.gpu->is_lost || !g->cfg.takes[layer - c->moe_layers] ||
		(g->has != TR_LANE_HAS_ALL && !g->cfg.always))
		return;
	for (uint32_t e = 0; e < c->n_expert; e++) {
		if (!n_tok_of[e])
			continue;
		g->ids[n] = layer->first_unit + e;
		g->units[n] = describe(g, g->ids[n], n_tok_of[e]);
		n++;
	}
	decide(g, n);
	acquire(g, n);
}

static size_t find(const struct tr_guests *g, uint32_t unit)
{
	size_t i = 0;

	while (i < g->n && g->handles[i].id != unit)
		i++;
	return i;
}

bool tr_guests_has(const struct tr_guests *g, uint32_t unit)
{
	return find(g, unit) < g->n;
}

const struct tr_handle *tr_guests_handles(const struct tr_guests *g, size_t *n)
{
	*n = g->n;
	return g->handles;
}

static const struct tr_moe_layer *layer_of(const struct tr_guests *g, uint32_t unit)
{
	return &g->cfg.catalog->moe_layers[unit / g->cfg.catalog->n_expert];
}

static void parts_of(const struct tr_guests *g, size_t i, uint32_t unit, uint8_t *part[TR_N_PART])
{
	uint64_t off[TR_N_PART];

	tr_vram_layout(layer_of(g, unit), off);
	for (int p = 0; p < TR_N_PART; p++)
		part[p] = tr_buffer_at(g->slots, i * g->cfg.slot_bytes + off[p]);
}

void tr_guests_parts(const struct tr_guests *g, uint32_t unit, const uint8_t *part[TR_N_PART])
{
	uint8_t *at[TR_N_PART];

	parts_of(g, find(g, unit), unit, at);
	for (int p = 0; p < TR_N_PART; p++)
		part[p] = at[p];
}

int tr_guests_upload(struct tr_guests *g, struct tr_err *err)
{
	int rc = 0;

	for (size_t i = 0; i < g->n; i++) {
		const struct tr_handle *h = &g->handles[i];
		uint8_t *to[TR_N_PART];

		parts_of(g, i, h->id, to);
		for (int p = 0; p < TR_N_PART && !rc; p++)
			rc = tr_stream_copy(g->cfg.gpu->compute, TR_COPY_TO_DEVICE, to[p], h->part[p],
				g->cfg.catalog->units[h->id].part[p].bytes, err);
	}
	return rc;
}

void tr_guests_release(struct tr_guests *g)
{
	tr_cache_release(g->cfg.cache, g->handles, g->n);
	g->n = 0;
}

void tr_guests_stats(const struct tr_guests *g, struct tr_guests_stats *out)
{
	*out = (struct tr_guests_stats){ .n_fetched = g->n_fetched, .fetched_bytes = g->fetched_bytes };
	out->costs = tr_lane_costs_tell(&g->costs, g->has, g->cfg.has, g->cfg.catalog->unit_bytes_max);
}

/* --- what things cost ------------------------------------------------------------------------- */

/* Tokens of the second measurement, at most: enough that multiplying shows beside reading. */
#define N_TOKEN 32

/* The CPU's experts lie in this much memory, so that no cache has them. */
#define CPU_BYTES (32ull << 20)

/* Each thing is done so often, and the least time counts. */
#define N_ROUND 2

struct measuring {
	struct tr_guests *g;
	const struct tr_ops *ops;
	struct tr_gpu_experts *experts;
	const struct tr_moe_layer *layer;
	uint32_t n_many;    /* tokens of the second measurement */
	uint64_t bytes;	    /* of an expert */
	size_t n_copy;	    /* of it in host */
	uint8_t *host;	    /* zeros, which are weights like any others */
	uint8_t *act;	    /* [N_TOKEN] zeros, of any kind and width of the layer */
	float *y;	    /* pinned */
	size_t y_stride;
	uint32_t *token_of; /* [N_TOKEN] */
};

static const struct tr_moe_layer *first_layer(const struct tr_guests *g)
{
	const struct tr_catalog *c = g->cfg.catalog;

	for (size_t l = 0; l < c->n_moe_layer; l++)
		if (g->cfg.takes[l])
			return &c->moe_layers[l];
	return NULL;
}

struct cpu_job {
	const struct measuring *m;
	size_t n_tok;
};

/* The rows of copy `begin`.. of the expert, part after part; what is written nobody reads. */
static void cpu_experts(void *ctx, unsigned worker, size_t begin, size_t end)
{
	const struct cpu_job *job = ctx;
	const struct tr_moe_layer *l = job->m->layer;
	_Alignas(64) float out[64 * N_TOKEN];

	(void)worker;
	for (; begin < end; begin++) {
		const uint8_t *w = job->m->host + begin * job->m->bytes;

		for (int p = 0; p < TR_N_PART; w += l->rows[p] * l->row_bytes[p], p++)
			for (uint64_t r = 0; r < l->rows[p]; r += 64)
				job->m->ops->k->dot[l->quant[p]->id](out, 64,
					w + r * l->row_bytes[p], l->row_bytes[p],
					TR_MIN(l->rows[p] - r, (uint64_t)64), job->m->act,
					tr_act_bytes(l->quant[p]->act, l->cols[p]), job->n_tok,
					l->cols[p], NULL);
	}
}

/* Seconds a byte of weights. */
static double cpu_time(const struct measuring *m, size_t n_tok)
{
	struct cpu_job job = { m, n_tok };
	size_t n = n_tok > 1 ? TR_MAX(m->n_copy / 4, (size_t)1) : m->n_copy;
	uint64_t least = UINT64_MAX, start;

	for (int i = 0; i < N_ROUND; i++) {
		start = tr_now_ns(&tr_clock_real);
		tr_pool_run(m->ops->pool, cpu_experts, &job, n, 1);
		least = TR_MIN(least, tr_now_ns(&tr_clock_real) - start);
	}
	return (double)least / 1e9 / ((double)n * (double)m->bytes);
}

/* Seconds of an expert with n_tok tokens on the device. */
static int device_time(const struct measuring *m, uint32_t n_tok, double *s, struct tr_err *err)
{
	struct tr_dop_expert expert = { .first = 0, .n = n_tok };
	struct tr_gpu_work work = { .layer = m->layer, .act = { m->act, m->act }, .n_tok = n_tok,
		.list = &expert, .n_expert = 1, .token_of = m->token_of, .n_slot = n_tok, .y = m->y,
		.y_stride = m->y_stride };
	uint64_t least = UINT64_MAX, start;
	uint8_t *part[TR_N_PART];
	int rc = 0;

	parts_of(m->g, 0, m->layer->first_unit, part);
	for (int p = 0; p < TR_N_PART; p++)
		expert.part[p] = part[p];
	for (int i = 0; i < N_ROUND && !rc; i++) {
		start = tr_now_ns(&tr_clock_real);
		rc = tr_gpu_experts_begin(m->experts, &work, err);
		if (!rc)
			rc = tr_gpu_experts_finish(m->experts, err);
		least = TR_MIN(least, tr_now_ns(&tr_clock_real) - start);
	}
	*s = (double)least / 1e9;
	return rc;
}

/* Seconds of a copy of so many bytes. */
static int link_time(const struct measuring *m, uint64_t bytes, double *s, struct tr_err *err)
{
	struct tr_stream *stream = m->g->cfg.gpu->compute;
	uint64_t least = UINT64_MAX, start;
	int rc = 0;

	for (int i = 0; i < N_ROUND && !rc; i++) {
		start = tr_now_ns(&tr_clock_real);
		rc = tr_stream_copy(stream, TR_COPY_TO_DEVICE, tr_buffer_at(m->g->slots, 0), m->host,
			bytes, err);
		if (!rc)
			rc = tr_stream_sync(stream, err);
		least = TR_MIN(least, tr_now_ns(&tr_clock_real) - start);
	}
	*s = (double)least / 1e9;
	return rc;
}

static bool lacks(const struct measuring *m, unsigned what)
{
	return what & ~m->g->has;
}

static int measure_device(struct measuring *m, struct tr_err *err)
{
	struct tr_lane_cost *c = &m->g->costs.device;
	double one, many;
	int rc = device_time(m, 1, &one, err);

	if (!rc)
		rc = device_time(m, m->n_many, &many, err);
	if (rc)
		return rc;
	if (lacks(m, TR_LANE_HAS_DEVICE))
		c->first = one / (double)m->bytes;
	if (lacks(m, TR_LANE_HAS_DEVICE_MORE))
		c->more = TR_MAX(many - one, 0.0) / (double)m->bytes / (m->n_many - 1);
	return 0;
}

static void measure_cpu(struct measuring *m)
{
	double first = cpu_time(m, 1);
	double more = TR_MAX(cpu_time(m, m->n_many) - first, 0.0) / (m->n_many - 1);

	for (size_t t = 0; t < TR_MAX_TIER; t++) {
		struct tr_lane_cost *c = &m->g->costs.cpu[t];

		if (lacks(m, TR_LANE_HAS_CPU))
			c->first = first * (t ? TR_SPEED_DRAM.bytes_per_s / TR_SPEED_PMEM.bytes_per_s : 1);
		if (lacks(m, TR_LANE_HAS_CPU_MORE))
			c->more = more;
	}
}

/* What no machine file has said. */
static int measure(struct measuring *m, struct tr_err *err)
{
	double link;
	int rc = 0;

	if (lacks(m, TR_LANE_HAS_LINK)) {
		rc = link_time(m, m->bytes, &link, err);
		m->g->costs.link = rc ? 0 : link / (double)m->bytes;
	}
	if (!rc && lacks(m, TR_LANE_HAS_DEVICE | TR_LANE_HAS_DEVICE_MORE))
		rc = measure_device(m, err);
	if (!rc && lacks(m, TR_LANE_HAS_CPU | TR_LANE_HAS_CPU_MORE))
		measure_cpu(m);
	if (!rc)
		m->g->has = TR_LANE_HAS_ALL;
	return rc;
}

int tr_guests_measure(struct tr_guests *g, const struct tr_ops *ops, struct tr_gpu_experts *experts,
	uint32_t n_embd, uint32_t n_tok_max, struct tr_err *err)
{
	struct measuring m = { .g = g, .ops = ops, .experts = experts, .layer = first_layer(g),
		.n_many = TR_MIN(n_tok_max, (uint32_t)N_TOKEN),
		.y_stride = tr_ops_stride(n_embd) };
	uint64_t wide = 0;
	void *y = NULL, *at;
	int rc;

	if (g->cfg.always || g->has == TR_LANE_HAS_ALL || !m.layer || m.n_many < 2)
		return 0;
	for (int p = 0; p < TR_N_PART; p++) {
		m.bytes += m.layer->rows[p] * m.layer->row_bytes[p];
		wide = TR_MAX(wide, m.layer->cols[p]);
	}
	m.n_copy = TR_MAX(CPU_BYTES / m.bytes, (uint64_t)1);
	m.host = tr_pages_alloc(m.n_copy * m.bytes);
	m.act = tr_calloc(N_TOKEN, tr_act_bytes(TR_ACT_F32, TR_ALIGN_UP(wide, 256)));
	m.token_of = tr_calloc(N_TOKEN, sizeof(*m.token_of));
	rc = tr_pinned_new(g->cfg.gpu->dev, N_TOKEN * m.y_stride * sizeof(float), &y, &at, err);
	m.y = y;
	if (!rc && (!m.host || !m.act || !m.token_of))
		rc = tr_err_set(err, TR_E_NOMEM, "experts to fetch: out of memory");
	if (!rc) {
		memset(m.host, 0, m.n_copy * m.bytes);
		for (uint32_t i = 0; i < N_TOKEN; i++)
			m.token_of[i] = i;
		rc = measure(&m, err);
	}
	tr_pinned_free(g->cfg.gpu->dev, y);
	tr_pages_free(m.host, m.n_copy * m.bytes);
	free(m.act);
	free(m.token_of);
	return rc;
}
