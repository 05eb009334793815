/* t_lane_costs.c - what a machine file says of fetching an expert: which figures it has, and from
 * how many tokens on one pays over a slow and a fast link. */
#include "test.h"
#include "base/mem.h"
#include "engine/lane_costs.h"
#include "model/quant.h"

/* Experts of 3 x 100 rows of 256 values, Q8_0: 272 bytes a row. */
enum { ROWS = 100, COLS = 256, ROW_BYTES = 272, UNIT = 3 * ROWS * ROW_BYTES };

static struct tr_moe_layer layer(void)
{
	struct tr_moe_layer l = { 0 };

	for (int p = 0; p < TR_N_PART; p++) {
		l.quant[p] = tr_quant_by_id(TR_QUANT_Q8_0);
		l.rows[p] = ROWS;
		l.cols[p] = COLS;
		l.row_bytes[p] = ROW_BYTES;
	}
	return l;
}

#define SAME(x)                                                                                    \
	{                                                                                          \
		(x), (x), (x)                                                                      \
	}

/* A CPU that reads 10 GB/s, twice as slow from persistent memory, and a device ten times as fast.
 */
static struct tr_machine machine(double link)
{
	struct tr_machine m = { .link_bytes_per_s = link,
		.n_tier = 3,
		.tier = { { .kind = TR_MACHINE_DRAM,
				  .n_point = 1,
				  .point = { { .bytes_per_s = SAME(20e9) } } },
			{ .kind = TR_MACHINE_PMEM,
				.n_point = 1,
				.point = { { .bytes_per_s = SAME(10e9) } } },
			{ .kind = TR_MACHINE_VRAM,
				.n_point = 1,
				.point = { { .bytes_per_s = SAME(100e9) } } } },
		.n_kernel = 2,
		.kernel = { { .quant = "Q8_0",
				    .tier = 0,
				    .bytes_per_s = SAME(10e9),
				    .macs_per_s = SAME(10e9) },
			{ .quant = "Q8_0",
				.tier = 2,
				.bytes_per_s = SAME(80e9),
				.macs_per_s = SAME(1000e9) } } };

	return m;
}

static void assert_near(double a, double b)
{
	if (!(a <= b * 1.000001 && b <= a * 1.000001))
		fail_msg("%g is not %g", a, b);
}

static struct tr_fetch_costs told(const struct tr_machine *m)
{
	struct tr_lane_costs c = { 0 };
	struct tr_moe_layer l = layer();
	unsigned has = tr_lane_costs_of(&c, m, &l);

	return tr_lane_costs_tell(&c, has, has, UNIT);
}

static void a_machine_with_all_figures_needs_no_measurement(void **state)
{
	struct tr_machine m = machine(5e9);
	struct tr_lane_costs c = { .start_s = 7 };
	struct tr_moe_layer l = layer();

	(void)state;
	assert_int_equal(tr_lane_costs_of(&c, &m, &l), TR_LANE_HAS_ALL);
	assert_near(c.link, 1 / 5e9);
	assert_near(c.cpu[0].first, 1 / 10e9);
	assert_near(c.cpu[0].more, (double)COLS / ROW_BYTES / 10e9);
	assert_near(c.cpu[1].first, 2 / 10e9);
	assert_near(c.cpu[1].more, c.cpu[0].more);
	assert_near(c.device.first, 1 / 80e9);
	assert_near(c.device.more, (double)COLS / ROW_BYTES / 1000e9);
	assert_near(c.start_s, 7); /* nobody said anything of that */
}

/* A token more takes 0.094 ns a byte by CPU and a hundredth by device. */
static void a_fast_link_pays_for_fewer_tokens(void **state)
{
	struct tr_machine slow = machine(0.1e9), fast = machine(50e9);
	struct tr_fetch_costs s = told(&slow), f = told(&fast);

	(void)state;
	assert_true(s.known && f.known);
	assert_string_equal(s.source, "machine");
	assert_int_equal(f.pays_from, 1);	/* 0.02 + 0.0125 < 0.1 */
	assert_in_range(s.pays_from, 106, 109); /* (10 + 0.0125 - 0.1) / (0.0941 * 0.99) + 2 */
	assert_near(s.link_bytes_per_s, 0.1e9);
	assert_near(s.device_bytes_per_s, 80e9);
	assert_near(s.cpu_bytes_per_s, 10e9);
}

static void a_device_that_is_no_faster_never_pays(void **state)
{
	struct tr_machine m = machine(1e9);

	(void)state;
	m.kernel[1].macs_per_s.mid = 10e9;
	assert_true(told(&m).known);
	assert_int_equal(told(&m).pays_from, 0);
}

static void what_a_machine_lacks_is_not_made_up(void **state)
{
	struct tr_machine m = machine(0);
	struct tr_lane_costs c = { .link = 3, .cpu = { { 4, 5 } }, .device = { 6, 7 } };
	struct tr_moe_layer l = layer();

	(void)state;
	assert_int_equal(tr_lane_costs_of(&c, &m, &l), TR_LANE_HAS_ALL & ~TR_LANE_HAS_LINK);
	assert_near(c.link, 3);
	assert_false(told(&m).known);
	m = machine(5e9);
	m.n_kernel = 0; /* the device reads, and that is all that is known of computing */
	assert_int_equal(tr_lane_costs_of(&c, &m, &l), TR_LANE_HAS_LINK | TR_LANE_HAS_DEVICE);
	assert_near(c.device.first, 1 / 100e9);
	m.n_tier = 0;
	m.link_bytes_per_s = 0;
	assert_int_equal(tr_lane_costs_of(&c, &m, &l), 0);
	assert_string_equal(told(&m).source, "");
	m = machine(5e9);
	l.quant[1] = tr_quant_by_id(TR_QUANT_Q4_0); /* one part of a type that was not measured */
	assert_int_equal(tr_lane_costs_of(&c, &m, &l), TR_LANE_HAS_LINK | TR_LANE_HAS_DEVICE);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_machine_with_all_figures_needs_no_measurement),
		cmocka_unit_test(a_fast_link_pays_for_fewer_tokens),
		cmocka_unit_test(a_device_that_is_no_faster_never_pays),
		cmocka_unit_test(what_a_machine_lacks_is_not_made_up),
	};

	return cmocka_run_group_tests_name("lane costs", tests, NULL, NULL);
}
