/* t_laps.c - stretches of a pass, told to the timeline and to the live status by one clock read. */
#include "test.h"
#include "base/mem.h"
#include "engine/laps.h"
#include "engine/live.h"
#include "engine/timeline.h"

static uint64_t now_ns;
static unsigned n_look;

static uint64_t look(void *ctx)
{
	(void)ctx;
	n_look++;
	return now_ns;
}

static const struct tr_clock owned = { .now_ns = look };

static void no_stats(void *ctx, struct tr_stats *out)
{
	(void)ctx;
	*out = (struct tr_stats){ 0 };
}

/* Ready, and a token has begun. */
static struct tr_laps open_laps(bool with_timeline, bool with_live)
{
	struct tr_moe_layer layer = { 0 };
	struct tr_catalog catalog = { .n_moe_layer = 1, .moe_layers = &layer };
	struct tr_live_cfg cfg = {
		.clock = &owned, .stats = no_stats, .model = "m", .catalog = &catalog
	};
	struct tr_laps l = { .clock = &owned };

	now_ns = 1000;
	if (with_timeline) {
		assert_int_equal(tr_timeline_new(&l.timeline, 2, NULL), 0);
		tr_timeline_begin(l.timeline, now_ns, 1);
	}
	if (with_live) {
		assert_int_equal(tr_live_new(&l.live, &cfg, NULL, NULL), 0);
		tr_live_ready(l.live);
		tr_live_begin(l.live, now_ns, 1);
	}
	n_look = 0;
	return l;
}

static void close_laps(struct tr_laps *l)
{
	tr_timeline_free(l->timeline);
	tr_live_free(l->live);
}

static void both_hear_of_a_stretch_by_one_clock_read(void **state)
{
	static const uint64_t served[TR_MAX_TIER];
	struct tr_laps l = open_laps(true, true);
	const struct tr_token_spans *token;

	(void)state;
	now_ns += 70;
	tr_lap(&l, TR_SPAN_ATTENTION, 3);
	now_ns += 20;
	tr_lap(&l, TR_SPAN_WAIT, 3);
	assert_int_equal(n_look, 2);
	tr_laps_experts_at(&l, now_ns + 9, 3,
		&(struct tr_lap_experts){
			.n = { 1, 2 }, .bytes = { [TR_LANE_DRAM] = 1, [TR_LANE_PMEM] = 2 } });
	assert_int_equal(n_look, 2);
	tr_timeline_end(l.timeline, served);
	token = tr_timeline_token(l.timeline, TR_TOKEN_LAST);
	assert_int_equal(token->n_span, 4);
	assert_int_equal(token->span[0].ns, 70);
	assert_int_equal(token->span[1].kind, TR_SPAN_WAIT);
	assert_int_equal(token->span[2].ns, 9);
	assert_int_equal(tr_live_now(l.live)->lane_ns[TR_LANE_ATTENTION], 70);
	assert_int_equal(tr_live_now(l.live)->lane_ns[TR_LANE_WAIT], 20);
	assert_int_equal(tr_live_now(l.live)->lane_ns[TR_LANE_DRAM], 3);
	assert_int_equal(tr_live_now(l.live)->lane_ns[TR_LANE_PMEM], 6);
	close_laps(&l);
}

static void one_is_enough(void **state)
{
	struct tr_laps l = open_laps(false, true);

	(void)state;
	now_ns += 70;
	tr_lap(&l, TR_SPAN_ATTENTION, 3);
	assert_int_equal(n_look, 1);
	assert_int_equal(tr_live_now(l.live)->lane_ns[TR_LANE_ATTENTION], 70);
	close_laps(&l);
	l = open_laps(true, false);
	tr_lap(&l, TR_SPAN_ATTENTION, 3);
	assert_int_equal(n_look, 1);
	close_laps(&l);
}

static void no_clock_is_read_for_nobody(void **state)
{
	struct tr_laps l = { .clock = &owned };

	(void)state;
	n_look = 0;
	assert_false(tr_laps_open(NULL) || tr_laps_open(&l));
	tr_lap(NULL, TR_SPAN_ATTENTION, 3);
	tr_lap(&l, TR_SPAN_ATTENTION, 3);
	assert_int_equal(n_look, 0);
	/* Nor while a chunk of tokens goes by that the timeline leaves out. */
	l = open_laps(true, false);
	tr_timeline_begin(l.timeline, now_ns, 8);
	tr_lap(&l, TR_SPAN_ATTENTION, 3);
	assert_int_equal(n_look, 0);
	close_laps(&l);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_hear_of_a_stretch_by_one_clock_read),
		cmocka_unit_test(one_is_enough),
		cmocka_unit_test(no_clock_is_read_for_nobody),
	};

	return cmocka_run_group_tests_name("laps", tests, NULL, NULL);
}
