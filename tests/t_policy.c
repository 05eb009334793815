#include "test.h"
#include "base/mem.h"
#include "policies/heap.h"
#include "policies/list.h"

#include <stdio.h>

/* --- allocations are counted: the program is linked with --wrap ------------------------------- */

static size_t n_alloc;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t align, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);

void *__wrap_malloc(size_t n)
{
	n_alloc++;
	return __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	n_alloc++;
	return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	n_alloc++;
	return __real_realloc(p, n);
}

void *__wrap_aligned_alloc(size_t align, size_t n)
{
	n_alloc++;
	return __real_aligned_alloc(align, n);
}

/* --- randomness, the same on every machine ---------------------------------------------------- */

static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static uint32_t below(uint64_t *state, uint32_t n)
{
	return (uint32_t)(next_random(state) % n);
}

/* --- conformance: what every policy of the registry must do ----------------------------------- */

enum { N_ID = 98, N_LAYER_ID = 14, N_SLOT = 24 };

struct model {
	bool resident[N_ID];
	bool pinned[N_ID];
	uint32_t n_resident;
	uint32_t n_asked;
	uint32_t n_slot;
};

static bool evictable(void *ctx, uint32_t id)
{
	struct model *m = ctx;

	assert_true(id < N_ID);
	assert_true(m->resident[id]);
	m->n_asked++;
	return !m->pinned[id];
}

static bool refuse(void *ctx, uint32_t id)
{
	struct model *m = ctx;

	assert_true(m->resident[id]);
	m->n_asked++;
	return false;
}

static void leave(struct model *m, uint32_t id)
{
	m->resident[id] = false;
	m->n_resident--;
}

static void use(const struct tr_policy *p, struct model *m, uint32_t id, unsigned use_flags,
	unsigned insert_flags)
{
	uint32_t victim;

	if (m->resident[id]) {
		p->ops->hit(p->state, id, use_flags);
		return;
	}
	if (p->ops->miss && !(insert_flags & TR_POLICY_PREFETCH))
		p->ops->miss(p->state, id, use_flags);
	if (m->n_resident == m->n_slot) {
		victim = p->ops->victim(p->state, id, evictable, m);
		if (victim == TR_NO_ID)
			return;
		assert_true(m->resident[victim]);
		assert_false(m->pinned[victim]);
		assert_int_equal(p->ops->victim(p->state, id, evictable, m), victim);
		p->ops->evict(p->state, victim);
		leave(m, victim);
	}
	p->ops->insert(p->state, id, insert_flags);
	m->resident[id] = true;
	m->n_resident++;
}

static void step(const struct tr_policy *p, struct model *m, uint64_t *seed)
{
	uint32_t id = below(seed, N_ID), what = below(seed, 100);

	if (what < 60)
		use(p, m, id, 0, 0);
	else if (what < 75)
		use(p, m, id, TR_POLICY_SCAN, TR_POLICY_SCAN);
	else if (what < 80 && !m->resident[id])
		use(p, m, id, 0, TR_POLICY_PREFETCH);
	else if (what < 84 && m->resident[id] && !m->pinned[id]) {
		p->ops->remove(p->state, id);
		leave(m, id);
	} else if (what < 88 && p->ops->hint)
		p->ops->hint(p->state, id, (float)below(seed, 100) / 100, below(seed, 4));
	else if (what < 90 && p->ops->tick)
		p->ops->tick(p->state);
	else if (m->resident[id])
		m->pinned[id] = !m->pinned[id] && below(seed, 2);
	else
		m->pinned[id] = false;
}

/* The policy holds exactly the residents of the model: emptied by victims, it gives all of them. */
static void drain(const struct tr_policy *p, struct model *m)
{
	uint32_t victim;

	memset(m->pinned, 0, sizeof(m->pinned));
	while (m->n_resident) {
		victim = p->ops->victim(p->state, TR_NO_ID, evictable, m);
		assert_int_not_equal(victim, TR_NO_ID);
		p->ops->evict(p->state, victim);
		leave(m, victim);
	}
	assert_int_equal(p->ops->victim(p->state, TR_NO_ID, evictable, m), TR_NO_ID);
}

/* The future has nothing to do with what comes: a policy must bear that. */
static struct tr_policy_cfg full_cfg(uint32_t n_slot, const float *miss_cost)
{
	static const uint32_t ids[] = { 3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3 };

	return (struct tr_policy_cfg){
		.n_id = N_ID,
		.n_slot = n_slot,
		.miss_cost = miss_cost,
		.seed = 1,
		.n_layer_id = miss_cost ? N_LAYER_ID : 0,
		.pins = ids,
		.n_pin = TR_ARRAY_LEN(ids),
		.future = ids,
		.n_future = TR_ARRAY_LEN(ids),
	};
}

static void conform(const struct tr_policy_ops *ops, uint32_t n_slot, const float *miss_cost)
{
	struct tr_policy_cfg cfg = full_cfg(n_slot, miss_cost);
	struct model m = { .n_slot = n_slot };
	struct tr_policy p;
	uint64_t seed = 7;
	size_t before;

	assert_int_equal(tr_policy_open(&p, ops->name, &cfg, NULL), 0);
	assert_int_equal(p.ops->victim(p.state, 0, evictable, &m), TR_NO_ID);
	before = n_alloc;
	assert_true(before > 0);
	for (unsigned i = 0; i < 20000; i++) {
		step(&p, &m, &seed);
		if (i % 16 == 0 && ops->check)
			assert_true(ops->check(p.state));
	}
	m.n_asked = 0;
	assert_int_equal(p.ops->victim(p.state, 0, refuse, &m), TR_NO_ID);
	assert_int_equal(m.n_asked, m.n_resident);
	drain(&p, &m);
	if (ops->check)
		assert_true(ops->check(p.state));
	assert_int_equal(n_alloc, before);
	tr_policy_close(&p);
}

static void every_policy_keeps_the_contract(void **state)
{
	float cost[N_ID];

	(void)state;
	for (uint32_t id = 0; id < N_ID; id++)
		cost[id] = 1 + (float)(id % 5);
	for (size_t i = 0; i < tr_policy_count(); i++) {
		const struct tr_policy_ops *ops = tr_policy_at(i);

		assert_int_equal(ops->abi, TR_POLICY_ABI);
		assert_true(strlen(ops->name) && strlen(ops->summary) && ops->options);
		assert_ptr_equal(tr_policy_by_name(ops->name), ops);
		if (ops->uncached)
			continue;
		assert_true(ops->init && ops->fini && ops->hit && ops->insert && ops->victim &&
			    ops->evict && ops->remove);
		conform(ops, N_SLOT, NULL);
		conform(ops, N_SLOT, cost);
		conform(ops, 1, NULL);
		conform(ops, 2, NULL);
	}
}

/* Calls each with every policy of the registry that keeps anything. */
static void for_each_policy(void (*each)(const struct tr_policy *p, struct model *m))
{
	struct tr_policy_cfg cfg = full_cfg(N_SLOT, NULL);

	for (size_t i = 0; i < tr_policy_count(); i++) {
		struct model m = { .n_slot = N_SLOT };
		struct tr_policy p;

		if (tr_policy_at(i)->uncached)
			continue;
		assert_int_equal(tr_policy_open(&p, tr_policy_at(i)->name, &cfg, NULL), 0);
		for (uint32_t id = 0; id < N_SLOT; id++)
			use(&p, &m, id, 0, 0);
		each(&p, &m);
		tr_policy_close(&p);
	}
}

static void scan_past(const struct tr_policy *p, struct model *m)
{
	uint32_t n_left = 0;

	for (uint32_t id = N_SLOT; id < N_ID; id++)
		use(p, m, id, TR_POLICY_SCAN, TR_POLICY_SCAN);
	for (uint32_t id = 0; id < N_SLOT; id++)
		n_left += m->resident[id];
	assert_int_equal(n_left, N_SLOT - 1);
	assert_true(m->resident[N_ID - 1]);
}

static void scan_inserts_are_the_next_to_go(void **state)
{
	(void)state;
	for_each_policy(scan_past);
}

static void scan_all(const struct tr_policy *p, struct model *m)
{
	uint32_t order[N_SLOT];

	for (uint32_t i = 0; i < N_SLOT; i++) {
		order[i] = p->ops->victim(p->state, TR_NO_ID, evictable, m);
		m->pinned[order[i]] = true;
	}
	memset(m->pinned, 0, sizeof(m->pinned));
	for (uint32_t id = 0; id < N_SLOT; id++)
		use(p, m, N_SLOT - 1 - id, TR_POLICY_SCAN, TR_POLICY_SCAN);
	for (uint32_t i = 0; i < N_SLOT; i++) {
		assert_int_equal(p->ops->victim(p->state, TR_NO_ID, evictable, m), order[i]);
		m->pinned[order[i]] = true;
	}
}

static void scan_uses_leave_the_order_as_it_is(void **state)
{
	(void)state;
	for_each_policy(scan_all);
}

static void use_a_scanned_one(const struct tr_policy *p, struct model *m)
{
	uint32_t last;

	use(p, m, N_SLOT, TR_POLICY_SCAN, TR_POLICY_SCAN);
	assert_int_equal(p->ops->victim(p->state, TR_NO_ID, evictable, m), N_SLOT);
	use(p, m, N_SLOT, 0, 0);
	use(p, m, N_SLOT, 0, 0);
	use(p, m, N_SLOT + 1, TR_POLICY_SCAN, TR_POLICY_SCAN);
	last = p->ops->victim(p->state, TR_NO_ID, evictable, m);
	assert_int_equal(last, N_SLOT + 1);
	if (p->ops->check)
		assert_true(p->ops->check(p->state));
}

static void scanned_ones_that_are_used_are_entries_as_others(void **state)
{
	(void)state;
	for_each_policy(use_a_scanned_one);
}

/* --- golden counts, against implementations that could not be simpler ------------------------- */

enum { N_TRACE = 5000, N_ZIPF = 200 };

/* Zipf with exponent 1 by integer weights; every 1000 uses the ranks move on by 20 ids. */
static void make_trace(uint32_t *trace)
{
	uint32_t sum[N_ZIPF], total = 0, r, rank;
	uint64_t seed = 42;

	for (uint32_t i = 0; i < N_ZIPF; i++)
		sum[i] = total += 1000000 / (i + 1);
	for (uint32_t i = 0; i < N_TRACE; i++) {
		r = below(&seed, total);
		for (rank = 0; sum[rank] <= r; rank++)
			;
		trace[i] = (rank * 77 + i / 1000 * 20) % N_ZIPF;
	}
}

static bool any(void *ctx, uint32_t id)
{
	const bool *resident = ctx;

	return resident[id];
}

static uint32_t run_policy(const char *name, const uint32_t *trace, uint32_t n_slot)
{
	struct tr_policy_cfg cfg = { .n_id = N_ZIPF, .n_slot = n_slot };
	uint32_t hits = 0, n_resident = 0, victim;
	bool resident[N_ZIPF] = { 0 };
	struct tr_policy p;

	assert_int_equal(tr_policy_open(&p, name, &cfg, NULL), 0);
	for (uint32_t i = 0; i < N_TRACE; i++) {
		if (resident[trace[i]]) {
			p.ops->hit(p.state, trace[i], 0);
			hits++;
			continue;
		}
		if (p.ops->miss)
			p.ops->miss(p.state, trace[i], 0);
		if (n_resident == n_slot) {
			victim = p.ops->victim(p.state, trace[i], any, resident);
			p.ops->evict(p.state, victim);
			resident[victim] = false;
			n_resident--;
		}
		p.ops->insert(p.state, trace[i], 0);
		resident[trace[i]] = true;
		n_resident++;
	}
	tr_policy_close(&p);
	return hits;
}

/* How often id was used before time t, and when last (plus one). */
static uint32_t uses_before(const uint32_t *trace, uint32_t t, uint32_t id, uint32_t *last)
{
	uint32_t n = 0;

	*last = 0;
	for (uint32_t i = 0; i < t; i++)
		if (trace[i] == id) {
			n++;
			*last = i + 1;
		}
	return n;
}

static uint32_t run_naive(bool by_count, const uint32_t *trace, uint32_t n_slot)
{
	uint32_t hits = 0, n_resident = 0;
	bool resident[N_ZIPF] = { 0 };

	for (uint32_t t = 0; t < N_TRACE; t++) {
		uint32_t worst = TR_NO_ID, worst_n = 0, worst_last = 0, n, last;

		if (resident[trace[t]]) {
			hits++;
			continue;
		}
		for (uint32_t id = 0; id < N_ZIPF && n_resident == n_slot; id++) {
			if (!resident[id])
				continue;
			n = uses_before(trace, t, id, &last);
			if (!by_count)
				n = 0;
			if (worst == TR_NO_ID || n < worst_n ||
				(n == worst_n && last < worst_last)) {
				worst = id;
				worst_n = n;
				worst_last = last;
			}
		}
		if (worst != TR_NO_ID) {
			resident[worst] = false;
			n_resident--;
		}
		resident[trace[t]] = true;
		n_resident++;
	}
	return hits;
}

static void hit_counts_are_those_of_the_plainest_versions(void **state)
{
	static const struct {
		const char *name;
		bool by_count;
		uint32_t n_slot;
		uint32_t hits;
	} golden[] = {
		{ "lru", false, 4, 825 },
		{ "lru", false, 20, 2311 },
		{ "lru", false, 100, 4031 },
		{ "lfu", true, 4, 734 },
		{ "lfu", true, 20, 1916 },
		{ "lfu", true, 100, 3750 },
	};
	static uint32_t trace[N_TRACE];

	(void)state;
	make_trace(trace);
	for (size_t i = 0; i < TR_ARRAY_LEN(golden); i++) {
		uint32_t hits = run_policy(golden[i].name, trace, golden[i].n_slot);

		assert_int_equal(hits, run_naive(golden[i].by_count, trace, golden[i].n_slot));
		assert_int_equal(hits, golden[i].hits);
	}
}

static void lfu_remembers_counts_over_evictions(void **state)
{
	struct tr_policy_cfg cfg = { .n_id = 3, .n_slot = 2 };
	struct model m = { .n_slot = 2 };
	struct tr_policy p;

	(void)state;
	assert_int_equal(tr_policy_open(&p, "lfu", &cfg, NULL), 0);
	use(&p, &m, 0, 0, 0);
	use(&p, &m, 0, 0, 0);
	use(&p, &m, 0, 0, 0);
	p.ops->evict(p.state, 0);
	leave(&m, 0);
	use(&p, &m, 1, 0, 0);
	use(&p, &m, 1, 0, 0);
	use(&p, &m, 0, 0, 0);
	assert_int_equal(p.ops->victim(p.state, 2, evictable, &m), 1);
	p.ops->remove(p.state, 0);
	leave(&m, 0);
	use(&p, &m, 0, 0, 0);
	assert_int_equal(p.ops->victim(p.state, 2, evictable, &m), 0);
	tr_policy_close(&p);
}

/* --- foresight -------------------------------------------------------------------------------- */

enum { PH_LAYER = 4, PH_EXPERT = 32, PH_USED = 3, PH_TOKEN = 600, PH_TEXT = 40 };

/* A text of 40 tokens is said again and again, each layer of a token using 3 experts; every 200
 * tokens another text begins, and one use in ten is noise. */
static void make_phases(uint32_t trace[PH_TOKEN][PH_LAYER][PH_USED])
{
	uint64_t noise = 5;

	for (uint32_t t = 0; t < PH_TOKEN; t++)
		for (uint32_t l = 0; l < PH_LAYER; l++) {
			uint64_t text = 1000 * (t / 200) + 100 * l + t % PH_TEXT;

			for (uint32_t i = 0; i < PH_USED; i++) {
				uint32_t e = below(below(&noise, 10) ? &text : &noise, PH_EXPERT);

				for (uint32_t j = 0; j < i; j++)
					if (trace[t][l][j] % PH_EXPERT == e) {
						e = (e + 1) % PH_EXPERT;
						j = UINT32_MAX;
					}
				trace[t][l][i] = l * PH_EXPERT + e;
			}
		}
}

struct shelf {
	bool resident[PH_LAYER * PH_EXPERT];
	bool pinned[PH_LAYER * PH_EXPERT];
	uint32_t n;
};

static bool unpinned(void *ctx, uint32_t id)
{
	struct shelf *s = ctx;

	assert_true(s->resident[id]);
	return !s->pinned[id];
}

static void fetch(const struct tr_policy *p, struct shelf *s, uint32_t id, uint32_t n_slot)
{
	uint32_t victim;

	if (p->ops->miss)
		p->ops->miss(p->state, id, 0);
	if (s->n == n_slot) {
		victim = p->ops->victim(p->state, id, unpinned, s);
		p->ops->evict(p->state, victim);
		s->resident[victim] = false;
		s->n--;
	}
	p->ops->insert(p->state, id, 0);
	s->resident[id] = true;
	s->n++;
}

static uint32_t serve(
	const struct tr_policy *p, struct shelf *s, const uint32_t *set, uint32_t n_slot)
{
	bool was[PH_USED];
	uint32_t hits = 0;

	for (uint32_t i = 0; i < PH_USED; i++) {
		was[i] = s->resident[set[i]];
		s->pinned[set[i]] = true;
		hits += was[i];
	}
	for (uint32_t i = 0; i < PH_USED; i++)
		if (was[i])
			p->ops->hit(p->state, set[i], 0);
	for (uint32_t i = 0; i < PH_USED; i++)
		if (!was[i])
			fetch(p, s, set[i], n_slot);
	for (uint32_t i = 0; i < PH_USED; i++)
		s->pinned[set[i]] = false;
	return hits;
}

static uint32_t run_phases(const char *spec, uint32_t n_layer_id, uint32_t n_slot)
{
	static uint32_t trace[PH_TOKEN][PH_LAYER][PH_USED];
	struct tr_policy_cfg cfg = {
		.n_id = PH_LAYER * PH_EXPERT, .n_slot = n_slot, .n_layer_id = n_layer_id
	};
	struct shelf shelf = { 0 };
	uint32_t hits = 0;
	struct tr_policy p;

	make_phases(trace);
	assert_int_equal(tr_policy_open(&p, spec, &cfg, NULL), 0);
	for (uint32_t t = 0; t < PH_TOKEN; t++) {
		for (uint32_t l = 0; l < PH_LAYER; l++)
			hits += serve(&p, &shelf, trace[t][l], n_slot);
		if (p.ops->tick)
			p.ops->tick(p.state);
		if (p.ops->check)
			assert_true(p.ops->check(p.state));
	}
	tr_policy_close(&p);
	return hits;
}

static void foresight_sees_what_comes_again(void **state)
{
	static const struct {
		uint32_t n_slot;
		uint32_t lru;
		uint32_t layers_known;
		uint32_t layers_unknown;
	} golden[] = {
		{ 16, 645, 1883, 1283 },
		{ 32, 1486, 2755, 2209 },
		{ 64, 3448, 4294, 4053 },
	};

	(void)state;
	for (size_t i = 0; i < TR_ARRAY_LEN(golden); i++) {
		uint32_t n = golden[i].n_slot;

		assert_int_equal(run_phases("lru", PH_EXPERT, n), golden[i].lru);
		assert_int_equal(run_phases("foresight", PH_EXPERT, n), golden[i].layers_known);
		assert_int_equal(run_phases("foresight", 0, n), golden[i].layers_unknown);
		assert_true(golden[i].layers_unknown > golden[i].lru);
		assert_true(golden[i].layers_known > golden[i].lru);
	}
}

/* What a policy holds after one token of two layers: 0..3 and 4..7. */
static void open_two_layers(struct tr_policy *p, struct model *m, const float *cost)
{
	struct tr_policy_cfg cfg = { .n_id = 8, .n_slot = 8, .n_layer_id = 4, .miss_cost = cost };

	*m = (struct model){ .n_slot = 8 };
	assert_int_equal(tr_policy_open(p, "foresight", &cfg, NULL), 0);
	for (uint32_t id = 0; id < 8; id++)
		use(p, m, id, 0, 0);
}

static void foresight_gives_up_the_layer_just_passed(void **state)
{
	struct model m;
	struct tr_policy p;

	(void)state;
	open_two_layers(&p, &m, NULL);
	p.ops->tick(p.state);
	assert_int_equal(p.ops->victim(p.state, TR_NO_ID, evictable, &m) / 4, 1);
	use(&p, &m, 0, 0, 0);
	use(&p, &m, 1, 0, 0);
	use(&p, &m, 2, 0, 0);
	use(&p, &m, 3, 0, 0);
	use(&p, &m, 4, 0, 0);
	assert_int_equal(p.ops->victim(p.state, TR_NO_ID, evictable, &m) / 4, 1);
	tr_policy_close(&p);
}

static void foresight_heeds_hints_and_costs(void **state)
{
	static const float cost[8] = { 9, 9, 9, 9, 9, 9, 1, 9 };
	struct model m;
	struct tr_policy p;
	uint32_t first;

	(void)state;
	open_two_layers(&p, &m, NULL);
	p.ops->tick(p.state);
	first = p.ops->victim(p.state, TR_NO_ID, evictable, &m);
	p.ops->hint(p.state, first, 0.999f, 1);
	assert_int_not_equal(p.ops->victim(p.state, TR_NO_ID, evictable, &m), first);
	assert_true(p.ops->check(p.state));
	tr_policy_close(&p);
	open_two_layers(&p, &m, cost);
	p.ops->tick(p.state);
	assert_int_equal(p.ops->victim(p.state, TR_NO_ID, evictable, &m), 6);
	tr_policy_close(&p);
}

static void foresight_refuses_bad_options(void **state)
{
	struct tr_policy_cfg cfg = { .n_id = 8, .n_slot = 2, .n_layer_id = 3 };
	struct tr_policy p;
	struct tr_err err;

	(void)state;
	assert_int_equal(tr_policy_open(&p, "foresight", &cfg, &err), TR_E_INVALID);
	assert_err_has(&err, "8 ids");
	cfg.n_layer_id = 4;
	assert_int_equal(tr_policy_open(&p, "foresight,halflife=0", &cfg, &err), TR_E_LIMIT);
	assert_err_has(&err, "halflife");
	assert_int_equal(tr_policy_open(&p, "foresight,memory=1", &cfg, &err), TR_E_LIMIT);
	assert_int_equal(tr_policy_open(&p, "foresight,fast=2", &cfg, &err), TR_E_LIMIT);
	assert_int_equal(tr_policy_open(&p, "foresight,life=2", &cfg, &err), TR_E_NOENT);
	assert_err_has(&err, "memory");
	assert_int_equal(
		tr_policy_open(&p, "foresight,halflife=4,memory=8,fast=0.5,slow=0.1", &cfg, &err),
		0);
	tr_policy_close(&p);
}

/* --- helpers of policies ---------------------------------------------------------------------- */

static void heap_walks_in_key_order_past_refusals(void **state)
{
	struct model m = { 0 };
	uint64_t seed = 3;
	struct tr_heap h;
	double last = -1;
	uint32_t id;

	(void)state;
	assert_int_equal(tr_heap_init(&h, N_ID), 0);
	for (id = 0; id < N_ID; id++) {
		m.resident[id] = true;
		tr_heap_put(&h, id, below(&seed, 30), id);
	}
	for (uint32_t i = 0; i < N_ID; i++) {
		id = tr_heap_first_ok(&h, evictable, &m);
		assert_int_not_equal(id, TR_NO_ID);
		assert_true(h.rank[id] >= last);
		last = h.rank[id];
		m.pinned[id] = true;
		assert_true(tr_heap_check(&h));
	}
	assert_int_equal(tr_heap_first_ok(&h, evictable, &m), TR_NO_ID);
	tr_heap_fini(&h);
}

static void list_check_finds_a_broken_link(void **state)
{
	struct tr_list list = TR_LIST_EMPTY;
	struct tr_links links;

	(void)state;
	assert_int_equal(tr_links_init(&links, 5), 0);
	for (uint32_t id = 0; id < 5; id++)
		tr_list_push_back(&links, &list, id);
	assert_true(tr_list_check(&links, &list));
	tr_list_remove(&links, &list, 2);
	assert_true(tr_list_check(&links, &list));
	assert_false(tr_links_linked(&links, 2));
	links.next[1] = 4;
	assert_false(tr_list_check(&links, &list));
	tr_links_fini(&links);
}

/* --- specs ------------------------------------------------------------------------------------ */

static void unknown_names_and_options_say_what_there_is(void **state)
{
	struct tr_policy_cfg cfg = { .n_id = 4, .n_slot = 2 };
	struct tr_policy p;
	struct tr_err err;

	(void)state;
	assert_int_equal(tr_policy_open(&p, "lruu", &cfg, &err), TR_E_NOENT);
	assert_err_has(&err, "'lruu'");
	assert_err_has(&err, "none, fifo, clock, lru");
	assert_int_equal(tr_policy_open(&p, "", &cfg, &err), TR_E_NOENT);
	assert_int_equal(tr_policy_open(&p, "lru,k=2", &cfg, &err), TR_E_NOENT);
	assert_err_has(&err, "'k'");
	assert_int_equal(tr_policy_open(&p, "2q,k=2", &cfg, &err), TR_E_NOENT);
	assert_err_has(&err, "it has in=0.25");
	assert_int_equal(tr_policy_open(&p, "2q,in=2", &cfg, &err), TR_E_LIMIT);
	assert_int_equal(tr_policy_open(&p, "pin,ids=0-4", &cfg, &err), TR_E_LIMIT);
	assert_err_has(&err, "ids are below 4");
	assert_int_equal(tr_policy_open(&p, "pin,ids=3-2", &cfg, &err), TR_E_INVALID);
	assert_int_equal(tr_policy_open(&p, "pin,ids=1:", &cfg, &err), TR_E_INVALID);
	assert_int_equal(tr_policy_open(&p, "belady", &cfg, &err), TR_E_UNSUPPORTED);
	assert_err_has(&err, "in replays of traces only");
	assert_int_equal(tr_policy_open(&p, "none,k=2", &cfg, &err), TR_E_NOENT);
	assert_int_equal(tr_policy_open(&p, "lfu,k", &cfg, &err), TR_E_INVALID);
	assert_err_has(&err, "'k'");
	assert_null(p.ops);
}

/* --- shared objects --------------------------------------------------------------------------- */

static int open_plugin(
	struct tr_policy *p, const char *name, const char *options, struct tr_err *err)
{
	struct tr_policy_cfg cfg = full_cfg(N_SLOT, NULL);
	const char *dir = getenv("TR_BUILDDIR");
	char spec[4096];

	snprintf(spec, sizeof(spec), "%s/tests/plugins/.libs/%s.so%s", dir ? dir : ".", name,
		options);
	return tr_policy_open(p, spec, &cfg, err);
}

static void skeleton_is_loaded_and_keeps_the_contract(void **state)
{
	struct model m = { .n_slot = N_SLOT };
	struct tr_policy p;
	uint64_t seed = 11;
	struct tr_err err;

	(void)state;
	if (open_plugin(&p, "p_skeleton", ",keep=3", &err))
		fail_msg("%s", err.msg);
	assert_string_equal(p.ops->name, "skeleton");
	for (unsigned i = 0; i < 20000; i++) {
		step(&p, &m, &seed);
		assert_true(i % 64 || p.ops->check(p.state));
	}
	m.n_asked = 0;
	assert_int_equal(p.ops->victim(p.state, 0, refuse, &m), TR_NO_ID);
	assert_int_equal(m.n_asked, m.n_resident);
	drain(&p, &m);
	tr_policy_close(&p);
	assert_int_equal(open_plugin(&p, "p_skeleton", ",keep=x", &err), TR_E_INVALID);
	assert_err_has(&err, "keep");
	assert_int_equal(open_plugin(&p, "p_skeleton", ",stay=1", &err), TR_E_NOENT);
	assert_err_has(&err, "'stay'");
}

static void unfit_objects_are_refused_by_what_is_wrong(void **state)
{
	struct tr_policy_cfg cfg = full_cfg(N_SLOT, NULL);
	struct tr_policy p;
	struct tr_err err;

	(void)state;
	assert_int_equal(open_plugin(&p, "p_other_abi", "", &err), TR_E_UNSUPPORTED);
	assert_err_has(&err, "built for ABI 99 of policies, this is 1");
	assert_int_equal(open_plugin(&p, "p_no_victim", "", &err), TR_E_INVALID);
	assert_err_has(&err, "tr_policy_plugin has no victim");
	assert_int_equal(open_plugin(&p, "p_no_symbol", "", &err), TR_E_FORMAT);
	assert_err_has(&err, "no symbol tr_policy_plugin");
	assert_int_equal(tr_policy_open(&p, "./nothing.so,k=1", &cfg, &err), TR_E_NOENT);
	assert_err_has(&err, "./nothing.so");
	assert_int_equal(tr_policy_open(&p, "nothing.so", &cfg, &err), TR_E_NOENT);
	assert_err_has(&err, "path with a slash");
	assert_null(p.ops);
	assert_null(p.plugin);
}

static void public_list_is_the_registry(void **state)
{
	struct tr_policy_info info;

	(void)state;
	assert_int_equal(tr_n_policy(), tr_policy_count());
	for (size_t i = 0; i < tr_n_policy(); i++) {
		tr_policy_info(i, &info);
		assert_string_equal(info.name, tr_policy_at(i)->name);
		assert_string_equal(info.summary, tr_policy_at(i)->summary);
		assert_string_equal(info.options, tr_policy_at(i)->options);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_policy_keeps_the_contract),
		cmocka_unit_test(scan_inserts_are_the_next_to_go),
		cmocka_unit_test(scan_uses_leave_the_order_as_it_is),
		cmocka_unit_test(scanned_ones_that_are_used_are_entries_as_others),
		cmocka_unit_test(hit_counts_are_those_of_the_plainest_versions),
		cmocka_unit_test(foresight_sees_what_comes_again),
		cmocka_unit_test(foresight_gives_up_the_layer_just_passed),
		cmocka_unit_test(foresight_heeds_hints_and_costs),
		cmocka_unit_test(foresight_refuses_bad_options),
		cmocka_unit_test(lfu_remembers_counts_over_evictions),
		cmocka_unit_test(heap_walks_in_key_order_past_refusals),
		cmocka_unit_test(list_check_finds_a_broken_link),
		cmocka_unit_test(unknown_names_and_options_say_what_there_is),
		cmocka_unit_test(skeleton_is_loaded_and_keeps_the_contract),
		cmocka_unit_test(unfit_objects_are_refused_by_what_is_wrong),
		cmocka_unit_test(public_list_is_the_registry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
