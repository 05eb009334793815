/* t_timeline.c - spans and points of decoding, at times that the test says. */
#include "test.h"
#include "base/mem.h"
#include "engine/timeline.h"

static uint64_t now_ns;

static struct tr_timeline *new_timeline(size_t n_tier)
{
	struct tr_timeline *t;

	now_ns = 1000;
	assert_int_equal(tr_timeline_new(&t, n_tier, NULL), 0);
	return t;
}

static void lap(struct tr_timeline *t, enum tr_span_kind kind, uint64_t ns)
{
	now_ns += ns;
	tr_timeline_lap(t, now_ns, kind, 3);
}

/* A token of so many ns, with one use of tier 0 and two of tier 1. */
static void token(struct tr_timeline *t, uint64_t ns)
{
	static uint64_t served[TR_MAX_TIER];
	static const struct tr_timeline *last;

	if (t != last)
		memset(served, 0, sizeof(served));
	last = t;
	served[0] += 1;
	served[1] += 2;
	tr_timeline_begin(t, now_ns, 1);
	lap(t, TR_SPAN_ATTENTION, ns);
	tr_timeline_end(t, served);
}

static void spans_follow_each_other_and_add_up_to_their_token(void **state)
{
	static const uint32_t n[TR_MAX_TIER] = { 3, 0, 0 };
	static const uint64_t served[TR_MAX_TIER];
	struct tr_timeline *t = new_timeline(3);
	const struct tr_token_spans *token;
	struct tr_history h;

	(void)state;
	tr_timeline_begin(t, now_ns, 1);
	lap(t, TR_SPAN_ATTENTION, 40);
	assert_true(tr_timeline_read(t, 3, 77, 1010, 1050, tr_timeline_now(t)));
	now_ns += 15;
	tr_timeline_experts(t, now_ns, 3, n, 1);
	lap(t, TR_SPAN_HEAD, 5);
	tr_timeline_end(t, served);
	tr_timeline_history(t, &h);
	assert_int_equal(h.kind_ns[TR_SPAN_ATTENTION], 40);
	assert_int_equal(h.kind_ns[TR_SPAN_EXPERTS], 15);
	assert_int_equal(h.kind_ns[TR_SPAN_HEAD], 5);
	assert_int_equal(h.kind_ns[TR_SPAN_READ], 0);
	token = tr_timeline_token(t, TR_TOKEN_LAST);
	assert_int_equal(token->ns, 60);
	assert_int_equal(token->token, 1);
	assert_int_equal(token->n_span, 5);
	assert_int_equal(token->span[0].kind, TR_SPAN_ATTENTION);
	assert_int_equal(token->span[0].layer, 3);
	assert_int_equal(token->span[1].kind, TR_SPAN_READ);
	assert_int_equal(token->span[1].begin_ns, 10);
	assert_int_equal(token->span[1].ns, 40);
	assert_int_equal(token->span[1].n, 77);
	/* Three in DRAM and one that was read, at the same time. */
	assert_int_equal(token->span[2].tier, 0);
	assert_int_equal(token->span[2].n, 3);
	assert_int_equal(token->span[3].tier, 2);
	assert_int_equal(token->span[3].n, 1);
	assert_int_equal(token->span[2].begin_ns, 40);
	assert_int_equal(token->span[3].begin_ns, 40);
	assert_int_equal(token->span[2].ns, 15);
	assert_int_equal(token->span[4].begin_ns, 55);
	tr_timeline_free(t);
}

static void what_a_device_did_lies_beside_the_stretches(void **state)
{
	static const uint64_t served[TR_MAX_TIER];
	struct tr_timeline *t = new_timeline(3);
	const struct tr_token_spans *token;

	(void)state;
	tr_timeline_device(t, TR_SPAN_DEVICE_COPY, 3, 9, 1000, 1100); /* no token is taken down */
	tr_timeline_begin(t, now_ns, 1);
	tr_timeline_device(t, TR_SPAN_DEVICE_COPY, 3, 9, 950, 1010);
	lap(t, TR_SPAN_DEVICE_IDS, 40);
	tr_timeline_device(t, TR_SPAN_DEVICE_LAYER, 3, 0, 1010, 1040);
	tr_timeline_end(t, served);
	token = tr_timeline_token(t, TR_TOKEN_LAST);
	assert_int_equal(token->ns, 40);
	assert_int_equal(token->n_span, 3);
	assert_int_equal(token->span[0].kind, TR_SPAN_DEVICE_COPY);
	assert_int_equal(token->span[0].begin_ns, -50);
	assert_int_equal(token->span[0].ns, 60);
	assert_int_equal(token->span[0].tier, 1); /* before the file */
	assert_int_equal(token->span[0].n, 9);
	assert_int_equal(token->span[1].begin_ns, 0);
	assert_int_equal(token->span[2].ns, 30);
	tr_timeline_free(t);
}

static void what_was_there_when_asked_for_is_no_read(void **state)
{
	struct tr_timeline *t = new_timeline(2);

	(void)state;
	tr_timeline_begin(t, now_ns, 1);
	lap(t, TR_SPAN_ROUTER, 100);
	assert_false(tr_timeline_read(t, 3, 1, 900, 1099, tr_timeline_now(t)));
	assert_false(tr_timeline_read(t, 3, 1, 0, 0, tr_timeline_now(t)));
	assert_true(tr_timeline_read(t, 3, 1, 900, 1100, tr_timeline_now(t)));
	tr_timeline_free(t);
}

static void reads_may_begin_before_their_token(void **state)
{
	static const uint64_t served[TR_MAX_TIER];
	struct tr_timeline *t = new_timeline(2);
	const struct tr_token_spans *token;

	(void)state;
	tr_timeline_begin(t, now_ns, 1);
	assert_true(tr_timeline_read(t, 3, 1, 900, 1100, 0));
	tr_timeline_end(t, served);
	token = tr_timeline_token(t, TR_TOKEN_LAST);
	assert_int_equal(token->span[0].begin_ns, -100);
	assert_int_equal(token->span[0].ns, 200);
	tr_timeline_free(t);
}

static void a_chunk_or_a_failed_pass_leaves_nothing(void **state)
{
	static const uint64_t served[TR_MAX_TIER] = { 5, 5 };
	struct tr_timeline *t = new_timeline(2);
	struct tr_history h;

	(void)state;
	tr_timeline_begin(t, now_ns, 8);
	lap(t, TR_SPAN_ATTENTION, 100);
	tr_timeline_end(t, served);
	tr_timeline_begin(t, now_ns, 1);
	lap(t, TR_SPAN_ATTENTION, 100); /* and then it fails */
	tr_timeline_begin(t, now_ns, 8);
	tr_timeline_end(t, served);
	assert_null(tr_timeline_token(t, TR_TOKEN_LAST));
	assert_null(tr_timeline_token(t, TR_TOKEN_MEDIAN));
	assert_null(tr_timeline_token(t, TR_TOKEN_SLOWEST));
	tr_timeline_history(t, &h);
	assert_int_equal(h.n_point, 0);
	token(t, 10);
	assert_int_equal(tr_timeline_token(t, TR_TOKEN_LAST)->n_span, 1);
	tr_timeline_history(t, &h);
	assert_int_equal(h.kind_ns[TR_SPAN_ATTENTION], 10);
	tr_timeline_free(t);
}

static void points_are_joined_in_pairs_when_there_is_no_room(void **state)
{
	struct tr_timeline *t = new_timeline(2);
	uint64_t n = 0, ns = 0, hits[2] = { 0 };
	struct tr_history h;

	(void)state;
	for (unsigned i = 0; i < 5 * TR_MAX_HISTORY + 3; i++)
		token(t, i);
	tr_timeline_history(t, &h);
	assert_int_equal(h.per_point, 8);
	assert_int_equal(h.n_point, (5 * TR_MAX_HISTORY + 3 + 7) / 8);
	for (size_t i = 0; i < h.n_point; i++) {
		assert_int_equal(h.point[i].n_token, i + 1 < h.n_point ? 8 : 3);
		n += h.point[i].n_token;
		ns += h.point[i].ns;
		hits[0] += h.point[i].hits[0];
		hits[1] += h.point[i].hits[1];
	}
	assert_int_equal(n, 5 * TR_MAX_HISTORY + 3);
	assert_int_equal(hits[0], n);
	assert_int_equal(hits[1], 2 * n);
	assert_int_equal(ns, n * (n - 1) / 2);
	assert_int_equal(h.point[1].ns, 8 + 9 + 10 + 11 + 12 + 13 + 14 + 15);
	tr_timeline_free(t);
}

static void the_median_the_slowest_and_the_last_are_kept(void **state)
{
	struct tr_timeline *t = new_timeline(2);
	const struct tr_token_spans *median;

	(void)state;
	for (unsigned i = 1; i <= 1000; i++)
		token(t, i == 400 ? 9000 : 1000 + i);
	median = tr_timeline_token(t, TR_TOKEN_MEDIAN);
	assert_in_range(median->token, 430, 570);
	assert_int_equal(median->ns, 1000 + median->token);
	assert_int_equal(tr_timeline_token(t, TR_TOKEN_SLOWEST)->token, 400);
	assert_int_equal(tr_timeline_token(t, TR_TOKEN_SLOWEST)->span[0].ns, 9000);
	assert_int_equal(tr_timeline_token(t, TR_TOKEN_LAST)->token, 1000);
	tr_timeline_free(t);
}

static void spans_without_room_are_counted(void **state)
{
	static const uint64_t served[TR_MAX_TIER];
	struct tr_timeline *t = new_timeline(2);
	const struct tr_token_spans *token;

	(void)state;
	tr_timeline_begin(t, now_ns, 1);
	for (unsigned i = 0; i < 100000; i++)
		lap(t, TR_SPAN_ATTENTION, 1);
	tr_timeline_end(t, served);
	token = tr_timeline_token(t, TR_TOKEN_LAST);
	assert_int_equal(token->n_span + token->n_lost, 100000);
	assert_in_range(token->n_span, 10000, 50000);
	tr_timeline_free(t);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(spans_follow_each_other_and_add_up_to_their_token),
		cmocka_unit_test(what_a_device_did_lies_beside_the_stretches),
		cmocka_unit_test(what_was_there_when_asked_for_is_no_read),
		cmocka_unit_test(reads_may_begin_before_their_token),
		cmocka_unit_test(a_chunk_or_a_failed_pass_leaves_nothing),
		cmocka_unit_test(points_are_joined_in_pairs_when_there_is_no_room),
		cmocka_unit_test(the_median_the_slowest_and_the_last_are_kept),
		cmocka_unit_test(spans_without_room_are_counted),
	};

	return cmocka_run_group_tests_name("timeline", tests, NULL, NULL);
}
