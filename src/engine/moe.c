/*
 * moe.c - one parallel step for all experts that are ready.
 *
 * The (token, rank) pairs of a chunk are sorted by expert: the pairs of one expert are a *group*, and
 * a pair's place in this order is its *slot*. Buffers are indexed by slot, so that the activations and
 * outputs of a group are consecutive rows and a weight row meets all tokens of its expert in one
 * kernel call. Groups that are ready run together in two loops. The first takes rows of gate and up
 * and multiplies them through SiLU; whoever completes the last rows of a stretch of STRETCH hidden
 * values also quantises it. The second takes the rows of down.
 *
 * Tasks lie in lanes, which say who may take them: each of its owners has a share of consecutive
 * ones. Experts in DRAM have a lane per NUMA node, with the rows that lie there; a worker drains
 * that of its own node and then helps the others. Experts in persistent memory have a lane per node
 * that it is attached to, which n_thread of that node's workers drain alone: more streams, and
 * remote ones, lower its bandwidth. Where the node is not known there is one lane for the first
 * n_thread workers of all.
 *
 * Groups in VRAM come behind all others, and so do their slots: their outputs are one stretch of rows,
 * which the device copies to where the CPU would have written them.
 *
 * A set that does not fit the free slots passes through them as through a window: groups are released
 * in the order in which they were acquired (first those that were resident, then those that got slots,
 * both ascending), and after each release one group that waits is tried. The order in which reads
 * arrive decides when something is computed, but never who leaves the cache, so a recorded run can be
 * replayed exactly.
 */
#include "engine/moe.h"
#include "base/mem.h"
#include "base/share.h"
#include "engine/expert_stats.h"
#include "engine/laps.h"
#include "engine/live.h"
#include "engine/throttle.h"
#include "engine/timeline.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Hidden values that are quantised at a time: a multiple of every activation block. */
#define STRETCH TR_ACT_RANGE_MAX

/* A chunk's experts are read before it asks for them if routing by chance would leave at most this
 * share of them unused. */
#define MAX_UNUSED 0.1

struct group {
	uint32_t unit;
	uint32_t first; /* slot */
	uint32_t n;	/* slots */
};

/* What a matrix reads: row of slot s is base + s * step. */
struct input {
	const uint8_t *base;
	size_t act_bytes;
	size_t step; /* act_bytes, or 0 when there is one token and all slots read its row */
};

/* Lanes, for n nodes: 0 .. n persistent memory of each node, n that of none, then DRAM of each. */
#define MAX_HOME (TR_MAX_NODE + 2)
#define MAX_LANE (2 * TR_MAX_NODE + 1)

/* Rows begin .. end of the groups `first` .. of the ready ones, in blocks that end at multiples of
 * grain. */
struct lane {
	struct tr_share *share;	       /* tasks of each owner */
	unsigned first_owner, n_owner; /* workers */
	size_t n_task;
	size_t first;
	size_t begin, end;
	size_t grain;
	size_t n_block;
};

struct tr_moe {
	struct tr_ops ops;
	struct tr_cache *cache;
	const struct tr_catalog *catalog;
	struct tr_expert_counter *counter;
	struct tr_throttle *throttle; /* NULL: none */
	const struct tr_laps *laps;   /* NULL: nobody wants to know */
	uint64_t asked_ns; /* before the set was asked for; of the timeline */
	bool all_there;	   /* then */
	uint32_t n_embd, n_used, n_tok_max;
	size_t ff_stride, embd_stride; /* floats */
	size_t hidden_bytes;

	/* The set in work. */
	const struct tr_moe_layer *layer;
	struct tr_acts *x;
	const float *x_there;	     /* on the device, or NULL */
	bool scan; /* in a prefill */
	size_t n_slot, n_group;	     /* n_group: without those in VRAM */
	size_t n_vram;		     /* groups behind these */
	uint64_t vram_begin_ns;	     /* they were queued; 0: nobody wants to know */
	struct group *groups;	     /* [n_expert], ascending unit, then those in VRAM, ascending */
	uint32_t *slot_of;	     /* pair -> slot */
	uint32_t *token_of;	     /* slot -> token */
	uint32_t *count;	     /* [n_expert] pairs, then the next slot */
	uint8_t *gathered[TR_N_ACT_KIND]; /* rows of x by slot */
	struct input in[2];	     /* of gate and up */
	float *gate, *up;	     /* [slot][ff_stride] */
	uint8_t *hidden;	     /* [slot][hidden_bytes] input of down */
	atomic_uint *missing;	     /* [group][stretch] rows not computed yet */
	size_t n_stretch;
	float *y;		     /* [slot][embd_stride] */

	/* By group, ascending unit. */
	uint32_t *ids;		     /* [n_expert] unit */
	struct tr_handle *handles;   /* [n_expert] NONE: waits for a slot, or released */
	bool *computed;		     /* [n_expert] */
	bool *fetched;		     /* [n_expert] it was not there when the set was acquired; for who watches */
	uint32_t *queue;	     /* [n_expert] groups in the order of acquisition */
	size_t n_queued, n_released; /* of queue */
	size_t next_waiting;	     /* no group before it waits for a slot */
	uint32_t *ready;	     /* [n_expert] groups that run now */
	size_t n_ready;
	size_t home_end[MAX_HOME];   /* ready is sorted by home: a lane of persistent memory, or DRAM */
	struct tr_moe_pmem pmem;     /* n_thread filled in */

	const struct tr_moe_device *device; /* NULL: none */
	struct tr_dop_expert *in_vram; /* [n_expert] what is queued there */
	struct lane lane[MAX_LANE];
	struct tr_share *shares; /* [lane][worker] */
};

static uint64_t max_rows(const struct tr_catalog *c, enum tr_part part)
{
	uint64_t rows = 0;
	size_t i;

	for (i = 0; i < c->n_moe_layer; i++)
		rows = TR_MAX(rows, c->moe_layers[i].rows[part]);
	return rows;
}

uint64_t tr_moe_bytes(const struct tr_catalog *catalog, uint32_t n_embd, uint32_t n_tok_max)
{
	uint64_t ff = max_rows(catalog, TR_PART_GATE), row = 0;
	int kind;

	for (kind = 0; kind < TR_N_ACT_KIND; kind++)
		row += tr_act_bytes(kind, TR_ALIGN_UP(n_embd, 256u));
	row += 2 * tr_ops_stride(ff) * sizeof(float);
	row += tr_act_bytes(TR_ACT_F32, TR_ALIGN_UP(ff, 256));
	row += tr_ops_stride(n_embd) * sizeof(float);
	return row * n_tok_max * catalog->n_used;
}

static bool alloc_buffers(struct tr_moe *m)
{
	size_t n_pair = (size_t)m->n_tok_max * m->n_used, n_expert = m->catalog->n_expert;
	bool ok = true;
	int kind;

	for (kind = 0; kind < TR_N_ACT_KIND; kind++) {
		m->gathered[kind] = tr_alloc(n_pair, tr_act_bytes(kind, TR_ALIGN_UP(m->n_embd, 256u)));
		ok = ok && m->gathered[kind];
	}
	m->groups = tr_calloc(n_expert, sizeof(*m->groups));
	m->count = tr_calloc(n_expert, sizeof(*m->count));
	m->ids = tr_calloc(n_expert, sizeof(*m->ids));
	m->handles = tr_calloc(n_expert, sizeof(*m->handles));
	m->computed = tr_calloc(n_expert, sizeof(*m->computed));
	m->fetched = tr_calloc(n_expert, sizeof(*m->fetched));
	m->queue = tr_calloc(n_expert, sizeof(*m->queue));
	m->ready = tr_calloc(n_expert, sizeof(*m->ready));
	m->slot_of = tr_calloc(n_pair, sizeof(*m->slot_of));
	m->token_of = tr_calloc(n_pair, sizeof(*m->token_of));
	m->gate = tr_alloc(n_pair * m->ff_stride, sizeof(float));
	m->up = tr_alloc(n_pair * m->ff_stride, sizeof(float));
	m->hidden = tr_alloc(n_pair, m->hidden_bytes);
	m->missing = tr_calloc(n_expert * m->n_stretch, sizeof(*m->missing));
	m->y = tr_alloc(n_pair * m->embd_stride, sizeof(float));
	m->shares =
		tr_alloc((2 * tr_pool_topo(m->ops.pool)->n_node + 1) * tr_pool_size(m->ops.pool),
			sizeof(*m->shares));
	return ok && m->shares && m->groups && m->count && m->ids && m->handles && m->computed &&
		m->fetched && m->queue && m->ready && m->slot_of && m->token_of && m->gate &&
		m->up && m->hidden && m->missing && m->y;
}

static void set_owners(struct tr_moe *m)
{
	const struct tr_topo *topo = tr_pool_topo(m->ops.pool);
	unsigned n = topo->n_node, n_all = tr_pool_size(m->ops.pool), k;

	for (k = 0; k < n; k++) {
		unsigned first = topo->node[k].first_worker, n_own = topo->node[k].n_worker;

		m->lane[k] = (struct lane){ .first_owner = first,
			.n_owner = TR_MIN(n_own, m->pmem.n_thread) };
		m->lane[n + 1 + k] = (struct lane){ .first_owner = first, .n_owner = n_own };
	}
	m->lane[n] = (struct lane){ .n_owner = TR_MIN(n_all, m->pmem.n_thread) };
	for (k = 0; k < 2 * n + 1; k++)
		m->lane[k].share = m->shares + (size_t)k * n_all;
}

int tr_moe_new(struct tr_moe **out, const struct tr_ops *ops, struct tr_cache *cache,
	const struct tr_catalog *catalog, uint32_t n_embd, uint32_t n_tok_max,
	const struct tr_moe_pmem *pmem, struct tr_expert_counter *counter, struct tr_err *err)
{
	struct tr_moe *m = tr_calloc(1, sizeof(*m));
	uint64_t ff = max_rows(catalog, TR_PART_GATE);

	if (!m)
		return tr_err_set(err, TR_E_NOMEM, "expert buffers: out of memory");
	m->ops = *ops;
	m->cache = cache;
	m->catalog = catalog;
	m->counter = counter;
	m->n_embd = n_embd;
	m->n_used = catalog->n_used;
	m->n_tok_max = n_tok_max;
	m->pmem = *pmem;
	if (!m->pmem.n_thread)
		m->pmem.n_thread = tr_pool_size(ops->pool);
	m->ff_stride = tr_ops_stride(ff);
	m->embd_stride = tr_ops_stride(n_embd);
	m->n_stretch = (ff + STRETCH - 1) / STRETCH;
	m->hidden_bytes = tr_act_bytes(TR_ACT_F32, TR_ALIGN_UP(ff, 256));
	if (!alloc_buffers(m)) {
		tr_moe_free(m);
		return tr_err_set(err, TR_E_NOMEM, "expert buffers: no memory for %u tokens a chunk",
			n_tok_max);
	}
	set_owners(m);
	*out = m;
	return 0;
}

void tr_moe_free(struct tr_moe *m)
{
	int kind;

	if (!m)
		return;
	for (kind = 0; kind < TR_N_ACT_KIND; kind++)
		free(m->gathered[kind]);
	free(m->groups);
	free(m->count);
	free(m->ids);
	free(m->handles);
	free(m->computed);
	free(m->fetched);
	free(m->queue);
	free(m->ready);
	free(m->slot_of);
	free(m->token_of);
	free(m->gate);
	free(m->up);
	free(m->hidden);
	free(m->missing);
	free(m->shares);
	if (m->device)
		tr_pinned_free(m->device->gpu->dev, m->y);
	else
		free(m->y);
	free(m->in_vram);
	free(m);
}

/* Outputs have to lie where the device can write them. */
int tr_moe_use_device(struct tr_moe *m, const struct tr_moe_device *device, struct tr_err *err)
{
	size_t n_pair = (size_t)m->n_tok_max * m->n_used;
	void *y, *at;
	int rc;

	m->in_vram = tr_calloc(m->catalog->n_expert, sizeof(*m->in_vram));
	if (!m->in_vram)
		return tr_err_set(err, TR_E_NOMEM, "expert buffers: out of memory");
	rc = tr_pinned_new(device->gpu->dev, n_pair * m->embd_stride * sizeof(float), &y, &at, err);
	if (rc)
		return rc;
	free(m->y);
	m->y = y;
	m->device = device;
	return 0;
}

void tr_moe_throttle(struct tr_moe *m, struct tr_throttle *throttle)
{
	m->throttle = throttle;
}

void tr_moe_watch(struct tr_moe *m, const struct tr_laps *laps)
{
	m->laps = laps;
}

static bool is_guest(const struct tr_moe *m, uint32_t unit)
{
	return m->device && m->device->guests && tr_guests_has(m->device->guests, unit);
}

static bool is_in_vram(const struct tr_moe *m, uint32_t unit)
{
	return m->device && (tr_vram_tier_has(m->device->tier, unit) || is_guest(m, unit));
}

static void release_guests(struct tr_moe *m)
{
	if (m->device && m->device->guests)
		tr_guests_release(m->device->guests);
}

/* The tier hears of the whole set. */
static void tell_vram(struct tr_moe *m)
{
	size_t n = 0;

	for (uint32_t e = 0; e < m->catalog->n_expert; e++)
		if (m->count[e])
			m->ids[n++] = m->layer->first_unit + e;
	tr_vram_tier_take(m->device->tier, m->ids, n, m->scan);
}

/* Groups of the experts in VRAM, or of all others, from slot *at on. count becomes their first slots. */
static size_t add_groups(struct tr_moe *m, size_t n_group, bool in_vram, uint32_t *at)
{
	for (uint32_t e = 0; e < m->catalog->n_expert; e++) {
		uint32_t n = m->count[e], unit = m->layer->first_unit + e;

		if (!n || is_in_vram(m, unit) != in_vram)
			continue;
		m->groups[n_group++] = (struct group){ unit, *at, n };
		m->count[e] = *at;
		*at += n;
	}
	return n_group;
}

/* Sorts pairs by expert (counting sort, stable: slots of a group ascend by token). */
static void sort_pairs(struct tr_moe *m, const uint32_t *ids, size_t n_tok)
{
	uint32_t at = 0;
	size_t i;

	m->n_slot = n_tok * m->n_used;
	memset(m->count, 0, m->catalog->n_expert * sizeof(*m->count));
	for (i = 0; i < m->n_slot; i++)
		m->count[ids[i]]++;
	if (m->device)
		tell_vram(m);
	if (m->device && m->device->guests && n_tok > 1)
		tr_guests_pick(m->device->guests, m->layer, m->count);
	m->n_group = add_groups(m, 0, false, &at);
	m->n_vram = m->device ? add_groups(m, m->n_group, true, &at) - m->n_group : 0;
	for (i = 0; i < m->n_slot; i++) {
		m->slot_of[i] = m->count[ids[i]]++;
		m->token_of[m->slot_of[i]] = (uint32_t)(i / m->n_used);
	}
}

struct gather_job {
	const struct tr_moe *m;
	const uint8_t *from;
	uint8_t *to;
	size_t bytes;
};

static void gather_rows(void *ctx, unsigned worker, size_t begin, size_t end)
{
	const struct gather_job *job = ctx;

	(void)worker;
	for (; begin < end; begin++)
		memcpy(job->to + begin * job->bytes,
			job->from + job->m->token_of[begin] * job->bytes, job->bytes);
}

/* The input of gate or up, by slot. */
static struct input gather(struct tr_moe *m, enum tr_act_kind kind)
{
	const uint8_t *rows = tr_acts_get(m->x, &m->ops, kind);
	size_t bytes = tr_act_bytes(kind, m->x->n);
	struct gather_job job = { m, rows, m->gathered[kind], bytes };

	if (m->x->n_tok == 1)
		return (struct input){ rows, bytes, 0 };
	tr_pool_run(m->ops.pool, gather_rows, &job, m->n_slot, 16);
	return (struct input){ m->gathered[kind], bytes, bytes };
}

static unsigned acquire_flags(const struct tr_moe *m)
{
	return m->scan ? TR_ACQUIRE_SCAN : 0;
}

/* Puts the groups in this state, which have just been acquired, into the queue. */
static void enqueue(struct tr_moe *m, enum tr_handle_state state)
{
	uint32_t g;

	for (g = 0; g < m->n_group; g++)
		if (m->handles[g].state == state)
			m->queue[m->n_queued++] = g;
}

void tr_moe_expect(struct tr_moe *m, uint32_t moe_layer, size_t n_tok)
{
	const struct tr_catalog *c = m->catalog;
	double unused = pow(1 - (double)c->n_used / c->n_expert, (double)n_tok);

	if (moe_layer < c->n_moe_layer && unused < MAX_UNUSED)
		tr_cache_stage(m->cache, c->moe_layers[moe_layer].first_unit, c->n_expert);
}

static void gather_inputs(struct tr_moe *m)
{
	m->in[0] = gather(m, m->layer->quant[TR_PART_GATE]->act);
	m->in[1] = m->layer->quant[TR_PART_UP]->act == m->layer->quant[TR_PART_GATE]->act ?
		m->in[0] :
		gather(m, m->layer->quant[TR_PART_UP]->act);
}

/* --- VRAM -------------------------------------------------------------------------------------- */

static bool wants_vram_time(const struct tr_moe *m)
{
	return (m->counter && !m->scan) || tr_laps_open(m->laps);
}

/* The groups in VRAM are done. */
static void tell_vram_time(struct tr_moe *m)
{
	uint64_t now = tr_now_ns(&tr_clock_real), bytes = 0;

	for (size_t i = 0; i < m->n_vram; i++)
		bytes += m->catalog->units[m->groups[m->n_group + i].unit].bytes;
	if (m->counter && !m->scan)
		tr_expert_counter_vram_computed(m->counter, bytes, now - m->vram_begin_ns);
	if (!tr_laps_open(m->laps))
		return;
	tr_laps_end_at(m->laps, now, TR_SPAN_DEVICE_OUTPUTS, m->layer->layer);
	tr_laps_beside(m->laps, TR_SPAN_DEVICE_EXPERTS, m->layer->layer, (uint32_t)m->n_vram,
		m->vram_begin_ns, now);
}

/* The groups in VRAM are queued on the device. */
static int begin_vram(struct tr_moe *m, struct tr_err *err)
{
	const struct group *g = m->groups + m->n_group;
	uint32_t first = m->n_vram ? g->first : 0;
	struct tr_gpu_work work = { .layer = m->layer,
		.x = m->x_there,
		.n_tok = m->x->n_tok,
		.list = m->in_vram,
		.n_expert = m->n_vram,
		.token_of = m->token_of + first,
		.n_slot = (uint32_t)m->n_slot - first,
		.y = m->y + first * m->embd_stride,
		.y_stride = m->embd_stride };
	int rc;

	if (!m->n_vram)
		return 0;
	for (int p = 0; p < 2 && !m->x_there; p++)
		work.act[p] = tr_acts_get(m->x, &m->ops, m->layer->quant[p]->act);
	for (size_t i = 0; i < m->n_vram; i++) {
		m->in_vram[i] = (struct tr_dop_expert){ .first = g[i].first - first, .n = g[i].n };
		if (is_guest(m, g[i].unit))
			tr_guests_parts(m->device->guests, g[i].unit, m->in_vram[i].part);
		else
			tr_vram_tier_parts(m->device->tier, g[i].unit, m->in_vram[i].part);
	}
	m->vram_begin_ns = wants_vram_time(m) ? tr_now_ns(&tr_clock_real) : 0;
	rc = m->device->guests ? tr_guests_upload(m->device->guests, err) : 0;
	return rc ? rc : tr_gpu_experts_begin(m->device->experts, &work, err);
}

/* Nothing of the set is in work there afterwards. */
static int finish_vram(struct tr_moe *m, struct tr_err *err)
{
	int rc = m->n_vram ? tr_gpu_experts_finish(m->device->experts, err) : 0;

	if (!rc && m->n_vram && m->vram_begin_ns)
		tell_vram_time(m);
	release_guests(m);
	return rc;
}

/* --- acquiring --------------------------------------------------------------------------------- */

/* For who watches. */
static void tell_acquired(struct tr_moe *m)
{
	struct tr_live_pub *live = m->laps->live;

	if (!live)
		return;
	tr_live_acquired(live, (uint32_t)m->catalog->moe_of_layer[m->layer->layer], m->handles,
		m->n_group);
	for (size_t i = 0; i < m->n_group; i++)
		m->fetched[i] = m->handles[i].state != TR_HANDLE_READY;
}

static int acquire_set(struct tr_moe *m, struct tr_err *err)
{
	size_t i;

	for (i = 0; i < m->n_group; i++) {
		m->ids[i] = m->groups[i].unit;
		m->computed[i] = false;
	}
	m->n_queued = m->n_released = m->next_waiting = 0;
	m->asked_ns = m->laps && m->laps->timeline ? tr_timeline_now(m->laps->timeline) : 0;
	if (!tr_cache_acquire(m->cache, m->ids, m->n_group, acquire_flags(m), m->handles) &&
		m->n_group)
		return tr_err_set(err, TR_E_BUSY, "layer %u: no expert slot is free",
			m->layer->layer);
	if (m->laps)
		tell_acquired(m);
	enqueue(m, TR_HANDLE_READY);
	m->all_there = m->n_queued == m->n_group;
	enqueue(m, TR_HANDLE_FAILED);
	enqueue(m, TR_HANDLE_LOADING);
	return 0;
}

static void count_set(struct tr_moe *m)
{
	uint32_t moe_layer = (uint32_t)m->catalog->moe_of_layer[m->layer->layer];
	const struct tr_handle *guests;
	size_t n_guest;

	if (!m->counter)
		return;
	tr_expert_counter_acquired(m->counter, moe_layer, m->handles, m->n_group,
		m->scan);
	for (size_t i = 0; i < m->n_vram; i++)
		if (!is_guest(m, m->groups[m->n_group + i].unit))
			tr_expert_counter_in_vram(m->counter, m->groups[m->n_group + i].unit,
				m->scan);
	if (m->device && m->device->guests) {
		guests = tr_guests_handles(m->device->guests, &n_guest);
		if (n_guest)
			tr_expert_counter_acquired(m->counter, moe_layer, guests, n_guest, true);
	}
}

int tr_moe_begin(struct tr_moe *m, uint32_t layer, struct tr_acts *x, const float *there,
	const uint32_t *ids, bool scan, struct tr_err *err)
{
	struct tr_err why;
	int rc;

	tr_assert(x->n_tok <= m->n_tok_max && m->catalog->moe_of_layer[layer] >= 0);
	m->layer = &m->catalog->moe_layers[m->catalog->moe_of_layer[layer]];
	m->x = x;
	m->x_there = there;
	m->scan = scan;
	sort_pairs(m, ids, x->n_tok);
	rc = begin_vram(m, &why);
	if (rc)
		release_guests(m);
	if (rc && tr_gpu_failed(m->device->gpu, rc, &why)) {
		if (err)
			*err = why;
		return rc;
	}
	if (rc) /* it is not asked again */
		sort_pairs(m, ids, x->n_tok);
	rc = acquire_set(m, err);
	if (rc) {
		finish_vram(m, NULL);
		return rc;
	}
	count_set(m);
	tr_moe_expect(m, (uint32_t)m->catalog->moe_of_layer[layer] + 1, x->n_tok);
	gather_inputs(m);
	return 0;
}

/* --- the two loops ---------------------------------------------------------------------------- */

static const struct group *ready_group(const struct tr_moe *m, size_t idx)
{
	return &m->groups[m->ready[idx]];
}

static size_t part_grain(const struct tr_moe *m, enum tr_part part)
{
	return tr_ops_row_grain(&m->ops, m->layer->row_bytes[part],
		m->n_ready * m->layer->rows[part], (m->n_slot + m->n_group - 1) / m->n_group);
}

/* A power of two, so that no task crosses the end of a stretch. */
static size_t hidden_grain(const struct tr_moe *m)
{
	size_t want = part_grain(m, TR_PART_GATE), grain = 4;

	while (grain < want && grain < STRETCH)
		grain *= 2;
	return grain;
}

static size_t blocks_of(uint64_t rows, size_t grain)
{
	return (rows + grain - 1) / grain;
}

/* Row `row` of a part of the idx-th ready group. */
static const uint8_t *weights_at(const struct tr_moe *m, size_t idx, enum tr_part part, size_t row)
{
	const uint8_t *w = m->handles[m->ready[idx]].part[part];

	return w + row * m->layer->row_bytes[part];
}

/* Rows [begin, end) of a part, for all slots of the idx-th ready group. */
static void run_rows(const struct tr_moe *m, size_t idx, enum tr_part part, size_t begin,
	size_t end, const struct input *in, float *out, size_t out_stride, const uint8_t *next)
{
	const struct tr_moe_layer *l = m->layer;
	const struct group *g = ready_group(m, idx);

	m->ops.k->dot[l->quant[part]->id](out + g->first * out_stride + begin, out_stride,
		weights_at(m, idx, part, begin), l->row_bytes[part], end - begin,
		in->base + g->first * in->step, in->act_bytes, g->n, l->cols[part], next);
}

static struct input hidden_input(const struct tr_moe *m)
{
	size_t bytes = tr_act_bytes(m->layer->quant[TR_PART_DOWN]->act,
		m->layer->cols[TR_PART_DOWN]);

	return (struct input){ m->hidden, bytes, bytes };
}

static void quantise_stretch(const struct tr_moe *m, const struct group *g, size_t stretch)
{
	enum tr_act_kind kind = m->layer->quant[TR_PART_DOWN]->act;
	size_t n_ff = m->layer->cols[TR_PART_DOWN], begin = stretch * STRETCH;
	size_t n = TR_MIN(n_ff - begin, (size_t)STRETCH);
	struct input in = hidden_input(m);
	uint32_t s;

	for (s = g->first; s < g->first + g->n; s++)
		tr_act_quantise_range(m->ops.k, kind, m->gate + s * m->ff_stride + begin, begin, n,
			m->hidden + s * in.act_bytes, n_ff);
}

static void hidden_rows(
	const struct tr_moe *m, size_t idx, size_t begin, size_t end, const uint8_t *next)
{
	const struct group *g = ready_group(m, idx);
	atomic_uint *missing = &m->missing[idx * m->n_stretch + begin / STRETCH];
	uint32_t s;

	run_rows(m, idx, TR_PART_GATE, begin, end, &m->in[0], m->gate, m->ff_stride,
		weights_at(m, idx, TR_PART_UP, begin));
	run_rows(m, idx, TR_PART_UP, begin, end, &m->in[1], m->up, m->ff_stride, next);
	for (s = g->first; s < g->first + g->n; s++) {
		float *gate = m->gate + s * m->ff_stride + begin;

		m->ops.k->silu_mul(gate, gate, m->up + s * m->ff_stride + begin, end - begin);
	}
	if (atomic_fetch_sub_explicit(missing, (unsigned)(end - begin), memory_order_acq_rel) ==
		end - begin)
		quantise_stretch(m, g, begin / STRETCH);
}

static void down_rows(
	const struct tr_moe *m, size_t idx, size_t begin, size_t end, const uint8_t *next)
{
	struct input in = hidden_input(m);

	run_rows(m, idx, TR_PART_DOWN, begin, end, &in, m->y, m->embd_stride, next);
}

/* Computes rows [begin, end) of the idx-th ready group. next: what the worker reads afterwards, or
 * NULL. */
typedef void rows_fn(
	const struct tr_moe *m, size_t idx, size_t begin, size_t end, const uint8_t *next);

struct lane_job {
	struct tr_moe *m;
	rows_fn *rows;
	enum tr_part part; /* that a task begins with */
};

static size_t task_group(const struct lane *l, size_t task)
{
	return l->first + task / l->n_block;
}

static size_t task_row(const struct lane *l, size_t task)
{
	return TR_MAX((l->begin / l->grain + task % l->n_block) * l->grain, l->begin);
}

/* next: of the tasks that the worker takes afterwards. */
static void run_task(const struct lane_job *job, const struct lane *l, unsigned worker, size_t task,
	struct tr_range next)
{
	size_t row = task_row(l, task);
	const uint8_t *then = NULL;

	if (next.begin < next.end)
		then = weights_at(
			job->m, task_group(l, next.begin), job->part, task_row(l, next.begin));
	job->rows(job->m, task_group(l, task), row, TR_MIN((row / l->grain + 1) * l->grain, l->end),
		then);
	if (!worker)
		tr_pool_pause(job->m->ops.pool);
}

static void drain(const struct lane_job *job, const struct lane *l, unsigned worker)
{
	const struct tr_range none = { 0, 0 };
	unsigned at = worker - l->first_owner; /* n_owner and more: not of this lane */
	struct tr_range r;

	if (!l->n_task)
		return;
	if (at < l->n_owner)
		while (tr_share_take(&l->share[at], 1, &r))
			run_task(job, l, worker, r.begin, tr_share_left(&l->share[at]));
	for (unsigned i = 0; i < l->n_owner; i++)
		while (tr_share_steal(&l->share[(worker + i) % l->n_owner], 1, &r))
			run_task(job, l, worker, r.begin, none);
}

static void drain_lanes(void *ctx, unsigned worker, size_t begin, size_t end)
{
	const struct lane_job *job = ctx;
	struct tr_moe *m = job->m;
	const struct tr_topo *topo = tr_pool_topo(m->ops.pool);
	unsigned n = topo->n_node, node = tr_topo_node_of(topo, worker), i;

	(void)begin;
	(void)end;
	if (worker - topo->node[node].first_worker < m->pmem.n_thread)
		drain(job, &m->lane[node], worker);
	if (worker < m->pmem.n_thread)
		drain(job, &m->lane[n], worker);
	for (i = 0; i < n; i++)
		drain(job, &m->lane[n + 1 + (node + i) % n], worker);
}

static void fill_lane(struct lane *l, size_t first, size_t last, size_t begin, size_t end,
	size_t grain)
{
	struct tr_range r;

	l->first = first;
	l->begin = begin;
	l->end = end;
	l->grain = grain;
	l->n_block = begin < end ? blocks_of(end, grain) - begin / grain : 0;
	l->n_task = (last - first) * l->n_block;
	for (unsigned i = 0; i < l->n_owner && l->n_task; i++) {
		r = tr_share_part(0, l->n_task, 1, i, l->n_owner);
		tr_share_set(&l->share[i], r.begin, r.end);
	}
}

static void run_lanes(
	struct tr_moe *m, size_t n_row, size_t grain, rows_fn *rows, enum tr_part part)
{
	const struct tr_topo *topo = tr_pool_topo(m->ops.pool);
	struct lane_job job = { m, rows, part };
	size_t first = 0;
	unsigned k;

	for (k = 0; k <= topo->n_node; first = m->home_end[k++])
		fill_lane(&m->lane[k], first, m->home_end[k], 0, n_row, grain);
	for (k = 0; k < topo->n_node; k++)
		fill_lane(&m->lane[topo->n_node + 1 + k], first, m->n_ready,
			tr_topo_first(topo, k, n_row), tr_topo_first(topo, k + 1, n_row), grain);
	tr_pool_each(m->ops.pool, drain_lanes, &job);
}

/* What has been computed since start is waited for as long as the tiers would have taken. */
static void hold_back(struct tr_moe *m, uint64_t start)
{
	uint64_t bytes[TR_MAX_TIER] = { 0 };
	size_t i;

	for (i = 0; i < m->n_ready; i++) {
		const struct tr_handle *h = &m->handles[m->ready[i]];

		bytes[h->tier] += m->catalog->units[h->id].bytes;
	}
	tr_throttle_wait(m->throttle, start, bytes);
}

/* It arrived after the set was asked for, so it has come from disk: told with its own times. */
static bool tell_read(struct tr_moe *m, const struct tr_handle *h)
{
	uint64_t begin, end;

	return !m->all_there && !h->tier && tr_timeline_is_open(m->laps->timeline) &&
		tr_cache_read_time(m->cache, h, &begin, &end) &&
		tr_timeline_read(m->laps->timeline, m->layer->layer, h->id - m->layer->first_unit,
			begin, end, m->asked_ns);
}

/* What is ready has been multiplied. */
static void tell_experts(struct tr_moe *m, uint64_t now_ns)
{
	struct tr_lap_experts e = { .n_read = 0 };

	for (size_t i = 0; i < m->n_ready; i++) {
		const struct tr_handle *h = &m->handles[m->ready[i]];
		enum tr_lane here = m->fetched[m->ready[i]] ? TR_LANE_DISK : TR_LANE_DRAM;
		bool was_read = tell_read(m, h);

		e.n_read += was_read;
		e.n[h->tier] += !was_read;
		e.bytes[h->tier ? TR_LANE_PMEM : here] += m->catalog->units[h->id].bytes;
	}
	tr_laps_experts_at(m->laps, now_ns, m->layer->layer, &e);
}

/* The clock is read where somebody wants to know: what a token takes is counted, a throttle waits. */
static void compute_ready(struct tr_moe *m)
{
	uint64_t n_ff = m->layer->rows[TR_PART_GATE], n_out = m->layer->rows[TR_PART_DOWN];
	bool is_counted = m->counter && !m->scan, is_told = tr_laps_open(m->laps);
	uint64_t start = is_counted || m->throttle ? tr_now_ns(&tr_clock_real) : 0, end;
	size_t i, at;

	for (i = 0; i < m->n_ready; i++)
		for (at = 0; at * STRETCH < n_ff; at++)
			atomic_store_explicit(&m->missing[i * m->n_stretch + at],
				(unsigned)TR_MIN(n_ff - at * STRETCH, (uint64_t)STRETCH),
				memory_order_relaxed);
	run_lanes(m, n_ff, hidden_grain(m), hidden_rows, TR_PART_GATE);
	run_lanes(m, n_out, part_grain(m, TR_PART_DOWN), down_rows, TR_PART_DOWN);
	if (m->throttle)
		hold_back(m, start);
	if (!is_counted && !is_told)
		return;
	end = tr_now_ns(&tr_clock_real);
	if (is_counted)
		tr_expert_counter_computed(m->counter, m->handles, m->ready, m->n_ready, end - start);
	if (is_told)
		tell_experts(m, end);
}

/* --- the set ----------------------------------------------------------------------------------- */

/* The lane of persistent memory that a group belongs to; behind these, DRAM. */
static unsigned home_of(const struct tr_moe *m, uint32_t g)
{
	unsigned n_node = tr_pool_topo(m->ops.pool)->n_node;
	int node;

	if (m->handles[g].tier == 0)
		return n_node + 1;
	node = m->pmem.node[m->handles[g].tier];
	return node < 0 ? n_node : (unsigned)node;
}

/* Collects what can run, persistent memory first. Returns a negative code for the first load that
 * failed. */
static int collect_ready(struct tr_moe *m, struct tr_err *err)
{
	unsigned n_home = tr_pool_topo(m->ops.pool)->n_node + 2, home;
	uint32_t g;

	m->n_ready = 0;
	for (home = 0; home < n_home; home++) {
		for (g = 0; g < m->n_group; g++) {
			if (m->handles[g].state == TR_HANDLE_FAILED)
				return tr_cache_explain(m->cache, &m->handles[g], err);
			if (m->handles[g].state == TR_HANDLE_READY && !m->computed[g] &&
				home_of(m, g) == home)
				m->ready[m->n_ready++] = g;
		}
		m->home_end[home] = m->n_ready;
	}
	return 0;
}

/* Tries for a slot for the first group that waits for one. */
static void acquire_next(struct tr_moe *m)
{
	size_t g = m->next_waiting;

	while (g < m->n_group && (m->computed[g] || m->handles[g].state != TR_HANDLE_NONE))
		g++;
	m->next_waiting = g;
	if (g < m->n_group && tr_cache_acquire(m->cache, &m->ids[g], 1,
				      acquire_flags(m) | TR_ACQUIRE_RETRY, &m->handles[g]))
		m->queue[m->n_queued++] = (uint32_t)g;
}

static void release_computed(struct tr_moe *m)
{
	size_t i;
	uint32_t g;

	for (i = 0; i < m->n_ready; i++)
		m->computed[m->ready[i]] = true;
	while (m->n_released < m->n_queued && m->computed[m->queue[m->n_released]]) {
		g = m->queue[m->n_released++];
		tr_cache_release(m->cache, &m->handles[g], 1);
		acquire_next(m);
	}
}

static int compute_set(struct tr_moe *m, struct tr_err *err)
{
	int rc = 0;

	tr_cache_poll(m->cache, m->handles, m->n_group);
	while (m->n_released < m->n_group) {
		rc = collect_ready(m, err);
		if (rc)
			break;
		if (m->n_ready) {
			compute_ready(m);
			release_computed(m);
			tr_cache_poll(m->cache, m->handles, m->n_group);
		} else {
			tr_cache_wait(m->cache, m->handles, m->n_group);
			tr_lap(m->laps, TR_SPAN_WAIT, m->layer->layer);
		}
	}
	tr_cache_release(m->cache, m->handles, m->n_group);
	return rc;
}

/* The device failed with what it was to compute: the CPU does it. */
static int compute_vram_groups(struct tr_moe *m, struct tr_err *err)
{
	int rc;

	memmove(m->groups, m->groups + m->n_group, m->n_vram * sizeof(*m->groups));
	m->n_group = m->n_vram;
	m->n_vram = 0;
	rc = acquire_set(m, err);
	return rc ? rc : compute_set(m, err);
}

int tr_moe_finish(struct tr_moe *m, struct tr_err *err)
{
	int rc = compute_set(m, err), vram_rc;
	struct tr_err why;

	vram_rc = finish_vram(m, &why);
	if (rc || !vram_rc)
		return rc;
	rc = tr_gpu_failed(m->device->gpu, vram_rc, &why);
	if (rc && err)
		*err = why;
	return rc ? rc : compute_vram_groups(m, err);
}

struct combine_job {
	const struct tr_moe *m;
	const float *weights;
	float *out;
	size_t out_stride;
};

static void combine_rows(void *ctx, unsigned worker, size_t begin, size_t end)
{
	const struct combine_job *job = ctx;
	const struct tr_moe *m = job->m;
	size_t pair, r;

	(void)worker;
	for (; begin < end; begin++) {
		float *out = job->out + begin * job->out_stride;

		memset(out, 0, m->n_embd * sizeof(*out));
		for (r = 0; r < m->n_used; r++) {
			pair = begin * m->n_used + r;
			m->ops.k->axpy_f32(out, job->weights[pair],
				m->y + m->slot_of[pair] * m->embd_stride, m->n_embd);
		}
	}
}

void tr_moe_combine(const struct tr_moe *m, const float *weights, float *out, size_t out_stride)
{
	struct combine_job job = { m, weights, out, out_stride };

	tr_pool_run(m->ops.pool, combine_rows, &job, m->x->n_tok, 4);
}
