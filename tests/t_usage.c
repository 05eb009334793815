/* t_usage.c - counters of experts: the log of a run, sums, merging. t_stats.sh tests whole runs. */
#include "test.h"
#include "base/mem.h"
#include "engine/expert_stats.h"
#include "model/quant.h"

#include <math.h>

enum { N_LAYER = 2, N_EXPERT = 8 };

/* --- the log ---------------------------------------------------------------------------------- */

/* One handle an expert of layer 1; a letter each: R ready in DRAM, L loading, S in a store. */
static size_t handles_of(struct tr_handle *h, const char *text)
{
	size_t n = strlen(text);

	for (size_t i = 0; i < n; i++)
		h[i] = (struct tr_handle){ .id = N_EXPERT + (uint32_t)i,
			.state = text[i] == 'L' ? TR_HANDLE_LOADING : TR_HANDLE_READY,
			.tier = text[i] == 'S' };
	return n;
}

static void log_set(struct tr_route_log *log, const char *text, bool scan)
{
	struct tr_handle h[N_EXPERT];
	size_t n = handles_of(h, text);

	tr_route_log_add(log, 1, N_EXPERT, h, n, scan);
}

static void replay_of(const struct tr_route_log *log, uint64_t max, struct tr_trace *t,
	uint64_t *n_request, uint64_t *n_hit)
{
	struct tr_trace_head head = { .n_layer = N_LAYER, .n_moe_layer = N_LAYER,
		.n_expert = N_EXPERT, .layers = tr_calloc(N_LAYER, sizeof(*head.layers)) };
	struct tr_err err;

	if (tr_route_log_trace(log, &head, max, t, n_request, n_hit, &err))
		fail_msg("%s", err.msg);
}

static void what_a_store_serves_is_no_request(void **state)
{
	struct tr_route_log log;
	struct tr_trace t;
	uint64_t n_request, n_hit;

	(void)state;
	tr_route_log_init(&log, 1 << 20, false);
	log_set(&log, "RRRR", true); /* a scan is replayed, not counted */
	log_set(&log, "SRLS", false);
	log_set(&log, "SSSS", false);
	log_set(&log, "R", false);
	assert_int_equal(log.n_request, 3);
	assert_int_equal(log.n_hit, 2);
	replay_of(&log, 0, &t, &n_request, &n_hit);
	assert_int_equal(n_request, 3);
	assert_int_equal(n_hit, 2);
	assert_int_equal(t.n_set, 3);
	assert_true(t.set[0].scan && !t.set[1].scan);
	assert_int_equal(t.n_unit, 7);
	assert_int_equal(t.unit[4], N_EXPERT + 1);
	assert_int_equal(t.unit[5], N_EXPERT + 2);
	tr_trace_fini(&t);
	tr_route_log_fini(&log);
}

static void a_full_log_keeps_what_it_has_and_says_so(void **state)
{
	struct tr_route_log log;
	struct tr_trace t;
	uint64_t n_request, n_hit;

	(void)state;
	/* A set of four is seven words: ten fit. */
	tr_route_log_init(&log, 75 * sizeof(uint16_t), false);
	for (int i = 0; i < 25; i++)
		log_set(&log, "RLLS", false);
	assert_true(log.full);
	assert_true(log.n <= 75);
	assert_int_equal(log.n_request_run, 75);
	assert_int_equal(log.n_hit * 3, log.n_request);
	assert_in_range(log.n_request, 27, 36);
	replay_of(&log, 0, &t, &n_request, &n_hit);
	assert_int_equal(n_request, log.n_request);
	assert_int_equal(n_hit, log.n_hit);
	tr_trace_fini(&t);
	replay_of(&log, 11, &t, &n_request, &n_hit); /* three whole sets */
	assert_int_equal(n_request, 9);
	assert_int_equal(n_hit, 3);
	tr_trace_fini(&t);
	tr_route_log_fini(&log);
}

/* --- sums ------------------------------------------------------------------------------------- */

static struct tr_expert_stats *new_stats(size_t n_tier, const char *const *name)
{
	struct tr_expert_stats shape = { .n_layer = N_LAYER, .n_moe_layer = N_LAYER,
		.n_expert = N_EXPERT, .n_tier = n_tier };
	struct tr_expert_stats *s;

	for (size_t t = 0; t < n_tier; t++)
		strcpy(shape.tier[t].name, name[t]);
	assert_int_equal(tr_expert_stats_new(&s, &shape, NULL), 0);
	return s;
}

static void distances_fall_into_powers_of_two(void **state)
{
	static const struct {
		uint64_t distance;
		size_t bucket;
	} t[] = { { 1, 0 }, { 2, 1 }, { 3, 2 }, { 4, 2 }, { 5, 3 }, { 8, 3 }, { 9, 4 },
		{ 8192, 13 }, { 8193, 14 }, { 16384, 14 }, { 16385, 15 }, { 1u << 30, 15 } };

	(void)state;
	for (size_t i = 0; i < TR_ARRAY_LEN(t); i++) {
		struct tr_expert_layer l = { 0 };

		tr_usage_note(&l, t[i].distance + 7, 7);
		assert_int_equal(l.reuse[t[i].bucket], 1);
	}
}

static void a_trace_is_counted_exactly(void **state)
{
	static const uint16_t first[] = { 3, 1 }, again[] = { 1, 5 }, chunk[] = { 3, 1, 3, 7 };
	uint16_t half = tr_f32_to_f16(0.5f), halves[4] = { half, half, half, half };
	struct tr_trace_head head = { .n_layer = N_LAYER, .n_moe_layer = N_LAYER,
		.n_expert = N_EXPERT, .layers = tr_calloc(N_LAYER, sizeof(*head.layers)) };
	struct tr_expert_summary sum;
	struct tr_expert_stats *s;
	struct tr_trace t;

	(void)state;
	head.layers[1].layer = 4;
	assert_int_equal(tr_trace_init(&t, &head, NULL), 0);
	assert_int_equal(tr_trace_add(&t, 1, 2, true, chunk, halves, 4, NULL), 0);
	tr_trace_end_step(&t);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(tr_trace_add(&t, 1, 1, false, i == 1 ? again : first, halves, 2,
					 NULL),
			0);
		tr_trace_end_step(&t);
	}
	assert_int_equal(tr_trace_expert_stats(&t, &s, NULL), 0);
	tr_trace_fini(&t);
	assert_int_equal(s->layer[1].layer, 4);
	assert_int_equal(s->n_decode, 3);
	assert_int_equal(s->n_prefill, 2);
	assert_int_equal(s->uses[N_EXPERT + 1], 3);
	assert_int_equal(s->uses[N_EXPERT + 3], 2);
	assert_int_equal(s->prefill_uses[N_EXPERT + 3], 2);
	assert_true(s->mass[N_EXPERT + 3] == 2.0);
	tr_expert_stats_sum(s, 1, &sum);
	assert_int_equal(sum.uses, 6);
	assert_int_equal(sum.first, 3);
	assert_int_equal(sum.reuse[0], 2); /* 1 twice */
	assert_int_equal(sum.reuse[1], 1); /* 3 after one token without */
	assert_true(sum.overlap == 0.5);
	assert_true(sum.skew[0] == 0.5 && sum.skew[2] == 5.0 / 6);
	assert_int_equal(sum.n_touched, 4);
	tr_expert_stats_sum(s, 0, &sum);
	assert_true(sum.overlap == -1 && sum.skew[0] == -1);
	tr_expert_stats_sum(s, N_LAYER, &sum);
	assert_int_equal(sum.uses, 6);
	assert_true(sum.skew[0] == 0.5);
	tr_expert_stats_free(s);
}

static void merging_keeps_the_disk_last(void **state)
{
	static const char *const two[] = { "dram", "nvme" };
	static const char *const three[] = { "dram", "pmem:/a", "nvme" };
	struct tr_expert_stats *a = new_stats(2, two), *b = new_stats(3, three);
	struct tr_expert_summary sum;

	(void)state;
	a->uses[0] = a->hits[1][0] = 4;
	b->uses[0] = 3;
	b->hits[1][0] = 2;
	b->hits[2][0] = 1;
	b->layer[0].unit_bytes = 100;
	b->loads[0] = 5;
	assert_int_equal(tr_expert_stats_merge(a, b, NULL), 0);
	assert_int_equal(a->n_tier, 3);
	assert_string_equal(a->tier[1].name, "pmem:/a");
	assert_string_equal(a->tier[2].name, "nvme");
	assert_int_equal(a->hits[1][0], 2);
	assert_int_equal(a->hits[2][0], 5);
	tr_expert_stats_sum(a, 0, &sum);
	assert_true(sum.hit_rate[1] == 2.0 / 7 && sum.hit_rate[2] == 5.0 / 7);
	assert_int_equal(sum.load_bytes, 500);
	tr_expert_stats_free(a);
	tr_expert_stats_free(b);
}

static void other_models_are_refused(void **state)
{
	struct tr_expert_stats *a = new_stats(0, NULL), *b = new_stats(0, NULL);
	struct tr_expert_likeness like;
	struct tr_err err;

	(void)state;
	strcpy(a->fingerprint, "aa");
	assert_int_equal(tr_expert_stats_merge(a, b, &err), 0); /* not known of b */
	strcpy(b->fingerprint, "bb");
	assert_int_equal(tr_expert_stats_merge(a, b, &err), TR_E_INVALID);
	assert_err_has(&err, "fingerprints aa and bb");
	assert_int_equal(tr_expert_stats_compare(a, b, N_LAYER, &like, &err), 0);
	b->n_expert = N_EXPERT - 1;
	assert_int_equal(tr_expert_stats_compare(a, b, 0, &like, &err), TR_E_INVALID);
	assert_err_has(&err, "2 layers of 8 experts, and 2 of 7");
	tr_expert_stats_free(a);
	tr_expert_stats_free(b);
}

static void likeness_is_of_tops_and_shares(void **state)
{
	struct tr_expert_stats *a = new_stats(0, NULL), *b = new_stats(0, NULL);
	struct tr_expert_likeness like;

	(void)state;
	a->uses[0] = 6;
	a->uses[1] = 2;
	b->uses[0] = 1;
	b->uses[2] = 3;
	assert_int_equal(tr_expert_stats_compare(a, b, 0, &like, NULL), 0);
	assert_true(like.overlap[0] == 0 && like.overlap[2] == 0.5);
	assert_true(like.distance == 0.75);
	assert_true(isnan(like.hit_rate[0]));
	tr_expert_stats_free(a);
	tr_expert_stats_free(b);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_store_serves_is_no_request),
		cmocka_unit_test(a_full_log_keeps_what_it_has_and_says_so),
		cmocka_unit_test(distances_fall_into_powers_of_two),
		cmocka_unit_test(a_trace_is_counted_exactly),
		cmocka_unit_test(merging_keeps_the_disk_last),
		cmocka_unit_test(other_models_are_refused),
		cmocka_unit_test(likeness_is_of_tops_and_shares),
	};

	return cmocka_run_group_tests_name("usage", tests, NULL, NULL);
}
