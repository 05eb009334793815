/* t_lanes.c - when an expert is fetched, on figures made up: a CPU that reads 100 bytes a second, a device ten
 * times as fast, and a link ten times slower than the CPU reads. */
#include "test.h"
#include "base/mem.h"
#include "engine/lanes.h"

static const struct tr_lane_costs costs = {
	.cpu = { { 0.01, 0.001 }, { 0.03, 0.001 } },
	.device = { 0.001, 0.0001 },
	.link = 0.1,
	.start_s = 1,
};

static struct tr_lane_unit unit(uint64_t bytes, uint32_t n, uint32_t tier)
{
	return (struct tr_lane_unit){ .bytes = bytes, .n = n, .tier = tier, .can_fetch = true };
}

static size_t n_fetched(const struct tr_lane_unit *u, size_t n)
{
	size_t k = 0;

	for (size_t i = 0; i < n; i++)
		k += u[i].fetch;
	return k;
}

static void assert_near(double a, double b)
{
	if (!(a - b < 1e-9 && b - a < 1e-9))
		fail_msg("%g is not %g", a, b);
}

static void lanes_add_up_what_lies_there(void **state)
{
	struct tr_lane_unit u[] = { unit(100, 1, 0), unit(100, 1, 1), unit(200, 11, 0), unit(50, 1, 0) };
	struct tr_lane_ends e;

	(void)state;
	u[2].on_device = u[3].on_device = true;
	e = tr_lanes_decide(&costs, u, 4, 0);
	assert_near(e.cpu_s, 1 + 3);
	assert_near(e.device_s, 1 + 200 * (0.001 + 10 * 0.0001) + 50 * 0.001);
	e = tr_lanes_decide(&costs, u, 2, 0);
	assert_near(e.device_s, 0);
}

static void one_token_is_computed_where_its_experts_lie(void **state)
{
	struct tr_lane_unit u[8];

	(void)state;
	for (size_t i = 0; i < 8; i++)
		u[i] = unit(100, 1, 0);
	tr_lanes_decide(&costs, u, 8, 8);
	assert_int_equal(n_fetched(u, 8), 0); /* 8 s for all by CPU, 11.1 s for one by the link */
}

/* The CPU alone takes 8 * 31 s; an expert by the device 10 + 3.1 s. */
static void a_batch_is_shared_so_that_both_lanes_end_together(void **state)
{
	struct tr_lane_unit u[8];
	struct tr_lane_ends e;
	size_t k;

	(void)state;
	for (size_t i = 0; i < 8; i++)
		u[i] = unit(100, 301, 0);
	e = tr_lanes_decide(&costs, u, 8, 8);
	k = n_fetched(u, 8);
	assert_int_equal(k, 6);
	assert_near(e.cpu_s, 2 * 31);
	assert_near(e.device_s, 1 + 6 * (10 + 100 * (0.001 + 300 * 0.0001)));
}

static void no_more_are_fetched_than_there_is_room_for(void **state)
{
	struct tr_lane_unit u[8];

	(void)state;
	for (size_t i = 0; i < 8; i++)
		u[i] = unit(100, 301, 0);
	tr_lanes_decide(&costs, u, 8, 2);
	assert_int_equal(n_fetched(u, 8), 2);
}

static void those_with_the_most_tokens_go_first(void **state)
{
	struct tr_lane_unit u[] = { unit(100, 100, 0), unit(100, 900, 0), unit(100, 200, 0),
		unit(100, 800, 0) };

	(void)state;
	tr_lanes_decide(&costs, u, 4, 2);
	assert_true(u[1].fetch && u[3].fetch);
	assert_false(u[0].fetch || u[2].fetch);
}

static void what_is_not_there_or_there_already_is_not_fetched(void **state)
{
	struct tr_lane_unit u[] = { unit(100, 900, 0), unit(100, 900, 0), unit(100, 900, 0) };

	(void)state;
	u[0].can_fetch = false;
	u[1].on_device = true;
	tr_lanes_decide(&costs, u, 3, 3);
	assert_false(u[0].fetch || u[1].fetch);
	assert_true(u[2].fetch);
}

static void a_device_with_work_enough_is_given_no_more(void **state)
{
	struct tr_lane_unit u[20];

	(void)state;
	for (size_t i = 0; i < 20; i++) {
		u[i] = unit(100, 301, 0);
		u[i].on_device = i >= 1; /* 1 + 19 * 3.1 s there, 31 s by CPU */
	}
	tr_lanes_decide(&costs, u, 20, 4);
	assert_false(u[0].fetch);
}

/* On random layers no single fetch more, and none less, would end earlier. */
static void no_single_change_is_better(void **state)
{
	uint64_t seed = 12345;

	(void)state;
	for (int round = 0; round < 300; round++) {
		struct tr_lane_unit u[12], v[12];
		struct tr_lane_ends e;

		for (size_t i = 0; i < 12; i++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			u[i] = unit(100 + (seed >> 50) % 100, 1 + (uint32_t)((seed >> 33) % 500),
				(uint32_t)(seed >> 20) % 2);
			u[i].on_device = (seed >> 60) % 4 == 0;
		}
		e = tr_lanes_decide(&costs, u, 12, 12);
		for (size_t i = 0; i < 12; i++) {
			struct tr_lane_ends other;

			if (u[i].on_device || u[i].fetch)
				continue;
			memcpy(v, u, sizeof(v));
			for (size_t k = 0; k < 12; k++)
				v[k].can_fetch = u[k].fetch || k == i;
			other = tr_lanes_decide(&costs, v, 12, 12);
			if ((e.cpu_s > e.device_s ? e.cpu_s : e.device_s) >
				(other.cpu_s > other.device_s ? other.cpu_s : other.device_s) + 1e-9)
				fail_msg("round %d: unit %zu would help", round, i);
		}
	}
}

static void break_even_is_where_both_take_as_long(void **state)
{
	struct tr_lane_costs c = costs;
	uint64_t n;

	(void)state;
	for (uint32_t tier = 0; tier < 2; tier++) {
		n = tr_lanes_break_even(&c, 100, tier);
		for (uint64_t k = n - 1; k <= n; k++) {
			double cpu = 100 * (c.cpu[tier].first + (double)(k - 1) * c.cpu[tier].more);
			double dev = 1 + 100 * (c.link + c.device.first + (double)(k - 1) * c.device.more);

			assert_int_equal(cpu > dev, k == n);
		}
	}
	c.device.more = c.cpu[0].more;
	assert_int_equal(tr_lanes_break_even(&c, 100, 0), 0);
	c.link = c.start_s = 0;
	assert_int_equal(tr_lanes_break_even(&c, 100, 0), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lanes_add_up_what_lies_there),
		cmocka_unit_test(one_token_is_computed_where_its_experts_lie),
		cmocka_unit_test(a_batch_is_shared_so_that_both_lanes_end_together),
		cmocka_unit_test(no_more_are_fetched_than_there_is_room_for),
		cmocka_unit_test(those_with_the_most_tokens_go_first),
		cmocka_unit_test(what_is_not_there_or_there_already_is_not_fetched),
		cmocka_unit_test(a_device_with_work_enough_is_given_no_more),
		cmocka_unit_test(no_single_change_is_better),
		cmocka_unit_test(break_even_is_where_both_take_as_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
