/* t_replay.c - the rules of a replay, and that nothing beats the optimum. */
#include "test.h"
#include "base/mem.h"
#include "cache/oracle.h"
#include "cache/trace.h"
#include "policies/policy.h"

static struct tr_trace *new_trace(uint32_t n_layer, uint32_t n_expert)
{
	struct tr_trace_head head = {
		.n_layer = n_layer, .n_moe_layer = n_layer, .n_expert = n_expert
	};
	struct tr_trace *t = tr_calloc(1, sizeof(*t));

	assert_non_null(t);
	head.layers = tr_calloc(n_layer, sizeof(*head.layers));
	for (uint32_t i = 0; i < n_layer; i++)
		head.layers[i] = (struct tr_trace_layer){ i, 100 };
	assert_int_equal(tr_trace_init(t, &head, NULL), 0);
	return t;
}

static void add(struct tr_trace *t, uint32_t layer, const uint16_t *experts, size_t n)
{
	assert_int_equal(tr_trace_add(t, layer, 1, false, experts, NULL, n, NULL), 0);
}

#define ADD(t, layer, ...)                                                                         \
	add(t, layer, (const uint16_t[]){ __VA_ARGS__ },                                           \
		TR_ARRAY_LEN(((const uint16_t[]){ __VA_ARGS__ })))

static struct tr_replay_stats replay(const struct tr_trace *t, const char *policy,
	const char *cache, uint64_t n_warm, bool per_layer)
{
	struct tr_replay_opts opts = {
		.policy = policy, .cache = cache, .n_warm = n_warm, .per_layer = per_layer
	};
	struct tr_replay_stats out;
	struct tr_err err;

	if (tr_replay(t, &opts, &out, &err))
		fail_msg("%s", err.msg);
	return out;
}

static uint64_t optimum(const struct tr_trace *t, const char *cache, bool per_layer)
{
	struct tr_replay_opts opts = { .cache = cache, .per_layer = per_layer };
	struct tr_err err;
	uint64_t n;

	if (tr_replay_optimum(t, &opts, &n, &err))
		fail_msg("%s", err.msg);
	return n;
}

/* --- rules ------------------------------------------------------------------------------------ */

static void residents_are_hits_before_a_victim_is_chosen(void **state)
{
	struct tr_trace *t = new_trace(1, 8);

	(void)state;
	ADD(t, 0, 1, 2, 3);
	ADD(t, 0, 0, 1); /* one by one, 0 would push out 1 */
	ADD(t, 0, 3, 1); /* 2 left */
	assert_int_equal(replay(t, "lru", "3", 0, false).n_hit, 3);
	tr_trace_close(t);
}

static void misses_are_inserted_in_ascending_order(void **state)
{
	struct tr_trace *t = new_trace(1, 8);

	(void)state;
	ADD(t, 0, 5, 3, 4); /* enters as 3 4 5 */
	ADD(t, 0, 6);	    /* 3 leaves */
	ADD(t, 0, 5, 4);
	assert_int_equal(replay(t, "lru", "3", 0, false).n_hit, 2);
	tr_trace_close(t);
}

static void one_cache_spans_all_layers_unless_told(void **state)
{
	struct tr_trace *t = new_trace(2, 4);

	(void)state;
	ADD(t, 0, 0, 1);
	ADD(t, 1, 0);
	ADD(t, 0, 0, 1);
	ADD(t, 1, 0);
	assert_int_equal(replay(t, "lru", "3", 0, false).n_hit, 3);
	/* Two for layer 0 and one for layer 1; with one in all, layer 0 has it. */
	assert_int_equal(replay(t, "lru", "3", 0, true).n_hit, 3);
	assert_int_equal(replay(t, "lru", "2", 0, false).n_hit, 1);
	assert_int_equal(replay(t, "lru", "4", 0, true).n_hit, 3);
	assert_int_equal(replay(t, "lru", "1", 0, true).n_hit, 1);
	tr_trace_close(t);
}

static void sizes_are_percent_count_or_bytes(void **state)
{
	struct tr_replay_opts opts = { .cache = "5K" };
	struct tr_replay_stats out;
	struct tr_trace *t = new_trace(2, 16);
	struct tr_err err;

	(void)state;
	ADD(t, 0, 0);
	assert_int_equal(replay(t, "lru", "25%", 0, false).capacity, 8);
	assert_int_equal(replay(t, "lru", "12", 0, false).capacity, 12);
	assert_int_equal(replay(t, "lru", "1000", 0, false).capacity, 32);
	assert_int_equal(tr_replay(t, &opts, &out, &err), TR_E_INVALID);
	assert_err_has(&err, "how many bytes an expert has");
	t->head.slot_bytes = 1000;
	assert_int_equal(replay(t, "lru", "5K", 0, false).capacity, 5);
	opts.cache = "lots";
	assert_int_equal(tr_replay(t, &opts, &out, &err), TR_E_INVALID);
	opts.cache = "5";
	opts.policy = "mru";
	assert_int_equal(tr_replay(t, &opts, &out, &err), TR_E_NOENT);
	tr_trace_close(t);
}

static void warming_is_not_counted(void **state)
{
	struct tr_trace *t = new_trace(1, 8);

	(void)state;
	for (int i = 0; i < 4; i++) {
		ADD(t, 0, 1, 2);
		tr_trace_end_step(t);
	}
	assert_int_equal(replay(t, "lru", "2", 0, false).n_hit, 6);
	assert_int_equal(replay(t, "lru", "2", 0, false).bytes, 200);
	assert_int_equal(replay(t, "lru", "2", 1, false).n_hit, 6);
	assert_int_equal(replay(t, "lru", "2", 1, false).n_request, 6);
	assert_int_equal(replay(t, "lru", "2", 1, false).bytes, 0);
	assert_int_equal(replay(t, "lru", "2", 3, false).n_hit, 2);
	tr_trace_close(t);
}

static void a_scan_does_not_wash_out_the_cache(void **state)
{
	static const uint16_t chunk[] = { 8, 9, 10, 11, 12, 13, 14, 15 };
	struct tr_trace *t = new_trace(1, 16);

	(void)state;
	for (uint16_t e = 0; e < 8; e += 2)
		add(t, 0, (const uint16_t[]){ e, (uint16_t)(e + 1) }, 2);
	assert_int_equal(tr_trace_add(t, 0, 4, true, chunk, NULL, 8, NULL), 0);
	for (uint16_t e = 0; e < 8; e += 2)
		add(t, 0, (const uint16_t[]){ e, (uint16_t)(e + 1) }, 2);
	/* The ring is two slots; the six others keep what decoding used. */
	assert_in_range(replay(t, "lru", "8", 0, false).n_hit, 4, 6);
	tr_trace_close(t);
}

/* --- optimum ---------------------------------------------------------------------------------- */

static uint32_t draw(uint64_t *seed, uint32_t n)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*seed >> 33) % n;
}

/* A set of distinct experts, low ones more often. */
static void add_random(struct tr_trace *t, uint64_t *seed, uint32_t n_used, bool scan)
{
	uint32_t n_expert = t->head.n_expert, n_tok = scan ? 3 : 1;
	uint32_t layer = draw(seed, t->head.n_moe_layer);
	uint16_t picks[3 * 16];
	size_t n = 0;

	for (uint32_t tok = 0; tok < n_tok; tok++)
		for (size_t first = n; n < first + n_used;) {
			uint16_t e = (uint16_t)TR_MIN(draw(seed, n_expert), draw(seed, n_expert));
			bool there = false;

			for (size_t i = first; i < n; i++)
				there = there || picks[i] == e;
			if (!there)
				picks[n++] = e;
		}
	assert_int_equal(tr_trace_add(t, layer, n_tok, scan, picks, NULL, n, NULL), 0);
	tr_trace_end_step(t);
}

/* The run began with some of these in DRAM; which, changes with n. */
static void set_hot(struct tr_trace *t, uint32_t n)
{
	uint32_t n_id = t->head.n_moe_layer * t->head.n_expert;

	free(t->units.hot);
	t->units.hot = tr_calloc(n_id, sizeof(*t->units.hot));
	assert_non_null(t->units.hot);
	t->units.n_hot = TR_MIN(n, n_id);
	for (uint32_t i = 0; i < t->units.n_hot; i++)
		t->units.hot[i] = (i + n) % n_id;
}

static void a_replay_begins_with_the_hot_units_that_fit(void **state)
{
	struct tr_trace *t = new_trace(2, 8);

	(void)state;
	ADD(t, 0, 5, 6, 7);
	ADD(t, 1, 0, 1);
	set_hot(t, 5); /* 5 6 7 of layer 0, 0 1 of layer 1 */
	assert_int_equal(replay(t, "lru", "5", 0, false).n_hit, 5);
	assert_int_equal(replay(t, "lru", "2", 0, false).n_hit, 2);
	assert_int_equal(replay(t, "lru", "4", 0, true).n_hit, 4);
	assert_int_equal(replay(t, "none", "5", 0, false).n_hit, 0);
	assert_int_equal(optimum(t, "5", false), 5);
	tr_trace_close(t);
}

static void units_in_persistent_memory_take_no_slot(void **state)
{
	static const uint8_t home[8] = { [5] = 1 };
	struct tr_trace *t = new_trace(1, 8);

	(void)state;
	for (int i = 0; i < 3; i++)
		ADD(t, 0, 4, 5, 6);
	set_hot(t, 4);
	t->units.home = tr_calloc(8, 1);
	memcpy(t->units.home, home, 8);
	assert_int_equal(replay(t, "lru", "2", 0, false).n_hit, 6);
	assert_int_equal(replay(t, "lru", "2", 0, false).n_request, 9);
	tr_trace_close(t);
}

struct seen {
	size_t n;
	struct tr_replay_visit visit[8];
};

static void see(void *ctx, const struct tr_replay_visit *v)
{
	struct seen *s = ctx;

	assert_true(s->n < TR_ARRAY_LEN(s->visit));
	s->visit[s->n++] = *v;
}

static void visits_tell_what_each_layer_found(void **state)
{
	struct seen seen = { 0 };
	struct tr_replay_opts opts = { .policy = "lru", .cache = "3", .visit = see, .ctx = &seen };
	struct tr_trace *t = new_trace(1, 8);
	struct tr_replay_stats out;

	(void)state;
	ADD(t, 0, 1, 2, 3);
	tr_trace_end_step(t);
	ADD(t, 0, 0, 1);
	tr_trace_end_step(t);
	ADD(t, 0, 3, 1);
	tr_trace_end_step(t);
	assert_int_equal(tr_replay(t, &opts, &out, NULL), 0);
	assert_int_equal(seen.n, 3);
	for (size_t i = 0; i < 3; i++) {
		const struct tr_replay_visit *v = &seen.visit[i];

		assert_int_equal(v->token, i);
		assert_int_equal(v->n_token, 1);
		assert_true(v->ends_token && !v->prefill);
		assert_int_equal(v->n_unit, i ? 2 : 3);
		assert_int_equal(v->n_hit, i);
		assert_int_equal(v->n_pmem, 0);
		assert_int_equal(v->n_fresh, i ? 0 : 3);
	}
	tr_trace_close(t);
}

/* Of eight experts the odd ones. */
static void a_share_can_be_said_to_lie_in_persistent_memory(void **state)
{
	struct seen seen = { 0 };
	struct tr_replay_opts opts = {
		.policy = "lru", .cache = "8", .in_pmem = 0.5, .visit = see, .ctx = &seen
	};
	struct tr_trace *t = new_trace(1, 8);
	struct tr_replay_stats out;

	(void)state;
	for (int i = 0; i < 4; i++) {
		ADD(t, 0, 0, 1, 2, 3);
		tr_trace_end_step(t);
	}
	assert_int_equal(tr_replay(t, &opts, &out, NULL), 0);
	assert_int_equal(seen.visit[0].n_hit, 0);
	assert_int_equal(seen.visit[0].n_pmem, 2);
	assert_int_equal(seen.visit[3].n_hit, 2);
	assert_int_equal(seen.visit[3].n_pmem, 2);
	assert_int_equal(out.n_promoted, 0);
	seen.n = 0;
	opts.n_promote = 8;
	assert_int_equal(tr_replay(t, &opts, &out, NULL), 0);
	assert_int_equal(out.n_promoted, 2);
	assert_int_equal(seen.visit[3].n_hit, 4);
	tr_trace_close(t);
}

static void a_policy_hears_what_a_miss_costs(void **state)
{
	static const float cost[4] = { 1, 0.1f, 1, 1 };
	struct tr_trace *t = new_trace(1, 4);

	(void)state;
	ADD(t, 0, 0);
	ADD(t, 0, 1);
	ADD(t, 0, 1);
	ADD(t, 0, 2); /* least used 0, cheapest 1 */
	ADD(t, 0, 0);
	assert_int_equal(replay(t, "cost", "2", 0, false).n_hit, 1);
	t->units.cost = tr_calloc(4, sizeof(float));
	memcpy(t->units.cost, cost, sizeof(cost));
	assert_int_equal(replay(t, "cost", "2", 0, false).n_hit, 2);
	tr_trace_close(t);
}

static void no_policy_beats_the_optimum(void **state)
{
	static const char *const cache[] = { "0", "1", "3", "6", "12", "20", "40%", "100%" };
	uint64_t seed = 5;

	(void)state;
	for (int round = 0; round < 12; round++) {
		bool scans = round % 2, per_layer = round % 3 == 2;
		struct tr_trace *t = new_trace(1 + (uint32_t)round % 4, 16);

		set_hot(t, round % 4 ? 0 : 2 + (uint32_t)round);
		for (int i = 0; i < 400; i++)
			add_random(t, &seed, 1 + (uint32_t)round / 3, scans && i % 10 == 0);
		for (size_t c = 0; c < TR_ARRAY_LEN(cache); c++) {
			uint64_t best = optimum(t, cache[c], per_layer);

			for (size_t p = 0; p < tr_policy_count(); p++) {
				const char *name = tr_policy_at(p)->name;
				uint64_t n = replay(t, name, cache[c], 0, per_layer).n_hit;

				if (n > best)
					fail_msg("%s has %llu hits, the optimum %llu", name,
						(unsigned long long)n, (unsigned long long)best);
			}
		}
		tr_trace_close(t);
	}
}

enum { TINY = 6, KEEP = 3, N_MASK = 1 << TINY };

/* Best hits by trying every choice of what stays. */
static int try_all(const struct tr_trace *t)
{
	int best[N_MASK], next[N_MASK], most = 0, start = 0;

	for (uint32_t i = 0; i < TR_MIN(t->units.n_hot, (uint32_t)KEEP); i++)
		start |= 1 << t->units.hot[i];
	for (int m = 0; m < N_MASK; m++)
		best[m] = m == start ? 0 : -1;
	for (size_t s = 0; s < t->n_set; s++) {
		int set = 0;

		for (uint32_t i = 0; i < t->set[s].n_unit; i++)
			set |= 1 << t->unit[t->set[s].first_unit + i];
		for (int m = 0; m < N_MASK; m++)
			next[m] = -1;
		for (int m = 0; m < N_MASK; m++) {
			int hits = best[m] + __builtin_popcount((unsigned)(m & set));

			for (int to = 0; best[m] >= 0 && to < N_MASK; to++)
				if (!(to & ~(m | set)) && !(set & ~to) &&
					__builtin_popcount((unsigned)to) <= KEEP)
					next[to] = TR_MAX(next[to], hits);
		}
		memcpy(best, next, sizeof(best));
	}
	for (int m = 0; m < N_MASK; m++)
		most = TR_MAX(most, best[m]);
	return most;
}

static void the_optimum_is_that_of_trying_everything(void **state)
{
	uint64_t seed = 9;

	(void)state;
	for (int round = 0; round < 60; round++) {
		struct tr_trace *t = new_trace(1, TINY);

		set_hot(t, (uint32_t)round % (KEEP + 2));
		for (int i = 0; i < 25; i++)
			add_random(t, &seed, 1 + draw(&seed, KEEP), false);
		assert_int_equal(optimum(t, "3", false), try_all(t));
		tr_trace_close(t);
	}
}

/* --- reading ahead ---------------------------------------------------------------------------- */

static struct tr_replay_stats ahead(const struct tr_trace *t, uint32_t n_ahead)
{
	struct tr_replay_opts opts = {
		.policy = "lru", .cache = "4", .predictor = "last", .n_ahead = n_ahead
	};
	struct tr_replay_stats out;
	struct tr_err err;

	if (tr_replay(t, &opts, &out, &err))
		fail_msg("%s", err.msg);
	return out;
}

/* Eight experts in turn through a cache of four: all are missed, and all but the first are foreseen
 * once it is known that the predictor is right. */
static void what_can_be_foreseen_is_counted_as_read_ahead(void **state)
{
	struct tr_trace *t = new_trace(2, 16);
	struct tr_replay_stats with, without;

	(void)state;
	for (int i = 0; i < 100; i++) {
		ADD(t, 0, 0, 1, 2, 3);
		ADD(t, 1, 4, 5, 6, 7);
	}
	without = ahead(t, 0);
	with = ahead(t, 8);
	assert_int_equal(without.n_ahead, 0);
	assert_int_equal(with.n_hit, without.n_hit);
	assert_int_equal(with.n_evict, without.n_evict);
	assert_in_range(with.n_ahead, 600, 800);
	assert_int_equal(with.n_vain, 0);
	assert_in_range(ahead(t, 2).n_ahead, 100, 450);
	tr_trace_close(t);
}

/* The engine's own control gives up on a predictor that is wrong. */
static void what_is_read_in_vain_is_bounded(void **state)
{
	struct tr_trace *t = new_trace(2, 64);
	struct tr_replay_stats with;
	uint32_t x = 1;

	(void)state;
	for (int i = 0; i < 200; i++)
		for (uint32_t l = 0; l < 2; l++) {
			uint16_t e[4];

			x = x * 1664525 + 1013904223;
			for (unsigned k = 0; k < 4; k++)
				e[k] = (uint16_t)((x >> 8) % 13 + 16 * k);
			add(t, l, e, 4);
		}
	with = ahead(t, 8);
	assert_true((double)with.n_vain <= 0.2 * (double)with.n_ahead + 2);
	tr_trace_close(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(residents_are_hits_before_a_victim_is_chosen),
		cmocka_unit_test(misses_are_inserted_in_ascending_order),
		cmocka_unit_test(one_cache_spans_all_layers_unless_told),
		cmocka_unit_test(sizes_are_percent_count_or_bytes),
		cmocka_unit_test(warming_is_not_counted),
		cmocka_unit_test(a_replay_begins_with_the_hot_units_that_fit),
		cmocka_unit_test(units_in_persistent_memory_take_no_slot),
		cmocka_unit_test(visits_tell_what_each_layer_found),
		cmocka_unit_test(a_share_can_be_said_to_lie_in_persistent_memory),
		cmocka_unit_test(a_policy_hears_what_a_miss_costs),
		cmocka_unit_test(a_scan_does_not_wash_out_the_cache),
		cmocka_unit_test(no_policy_beats_the_optimum),
		cmocka_unit_test(the_optimum_is_that_of_trying_everything),
		cmocka_unit_test(what_can_be_foreseen_is_counted_as_read_ahead),
		cmocka_unit_test(what_is_read_in_vain_is_bounded),
	};

	return cmocka_run_group_tests_name("replay", tests, NULL, NULL);
}
