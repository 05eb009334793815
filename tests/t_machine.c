/* t_machine.c - forecasts on numbers by hand, and what a machine file may say. */
#include "test.h"
#include "base/mem.h"
#include "machine/machine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Ten layers of two experts of 1 MB; a memory of 1 GB/s takes 1 ms for one. */
static struct tr_workload work(double dram, double pmem, double nvme)
{
	return (struct tr_workload){ .n_layer = 10, .n_moe_layer = 10, .n_expert = 8, .n_used = 2,
		.unit_bytes = 1e6, .share = { dram, pmem, nvme, 0 }, .held = { dram, pmem, nvme, 0 } };
}

static const struct tr_speeds speeds = { .tier = { 4e9, 1e9, 0.5e9, 0 }, .resident = 4e9 };

static void near(double got, double want)
{
	if (fabs(got - want) > 1e-9)
		fail_msg("%.9f, not %.9f", got, want);
}

static void one_tier_takes_bytes_by_rate(void **state)
{
	struct tr_workload w = work(1, 0, 0);
	struct tr_forecast f;

	(void)state;
	tr_forecast_token(&w, &speeds, &f);
	near(f.token_s, 10 * 2 * 0.25e-3);
	near(f.lane_s[TR_MACHINE_DRAM], f.token_s);
}

/* Half of the uses each: both in DRAM 0.5 ms, one in each 1 ms, both in PMem 2 ms. */
static void slowest_lane_is_taken_draw_by_draw(void **state)
{
	struct tr_workload w = work(0.5, 0.5, 0);
	struct tr_forecast f;

	(void)state;
	tr_forecast_token(&w, &speeds, &f);
	near(f.token_s, 10 * (0.25 * 0.5e-3 + 0.5 * 1e-3 + 0.25 * 2e-3));
	near(f.lane_s[TR_MACHINE_DRAM], 10 * 0.25 * 0.5e-3);
	near(f.lane_s[TR_MACHINE_PMEM], 10 * (0.5 * 1e-3 + 0.25 * 2e-3));
	near(f.lane_busy_s[TR_MACHINE_DRAM], 10 * 0.25e-3);
}

static void shared_bus_bounds_both_memories(void **state)
{
	struct tr_workload w = work(1, 0, 0);
	struct tr_speeds s = speeds;
	struct tr_forecast f;

	(void)state;
	s.bus = 2e9;
	tr_forecast_token(&w, &s, &f);
	near(f.bus_s, 10 * 1e-3);
	near(f.lane_s[TR_MACHINE_DRAM], 0);
	near(f.token_s, 10 * 1e-3);
}

/* Both from disk: 4 ms of reading and 0.1 of latency, the second is computed after it. */
static void disk_is_waited_for_but_what_was_computed_meanwhile(void **state)
{
	struct tr_workload w = work(0, 0, 1);
	struct tr_speeds s = speeds;
	struct tr_forecast f;

	(void)state;
	s.disk_latency_s = 1e-4;
	tr_forecast_token(&w, &s, &f);
	near(f.disk_wait_s, 10 * (4.1e-3 - 0.25e-3));
	near(f.arrived_s, 10 * 0.5e-3);
	near(f.token_s, 10 * (4.1e-3 + 0.25e-3));
	w.beside_bytes = 4e6; /* 1 ms */
	tr_forecast_token(&w, &s, &f);
	near(f.disk_wait_s, 10 * (4.1e-3 - 1e-3 - 0.25e-3));
}

static void what_every_token_uses_comes_on_top(void **state)
{
	struct tr_workload w = work(1, 0, 0);
	struct tr_speeds s = speeds;
	struct tr_forecast f;

	(void)state;
	w.resident_bytes = 8e6;
	w.kv_bytes = 4e6;
	s.loop_s = 1e-6;
	tr_forecast_token(&w, &s, &f);
	near(f.resident_s, 2e-3);
	near(f.kv_s, 1e-3);
	near(f.loop_s, 220e-6);
	near(f.token_s, 5e-3 + 2e-3 + 1e-3 + 220e-6);
}

/* One token of eight experts' two wants 2; chunks of all want all 8. */
static void prompt_reads_the_union_of_a_chunk(void **state)
{
	struct tr_workload w = work(0, 1, 0);
	struct tr_speeds s = speeds;

	(void)state;
	near(tr_forecast_prompt(&w, &s, 1, 16), 10 * 2e-3);
	near(tr_forecast_prompt(&w, &s, 2, 16), 10 * 8 * (1 - 0.75 * 0.75) * 1e-3);
	near(tr_forecast_prompt(&w, &s, 2, 1), 2 * 10 * 2e-3);
	w.unit_macs = 1e6;
	s.macs = 1e6; /* arithmetic bounds it: 20 experts a token */
	near(tr_forecast_prompt(&w, &s, 2, 16), 40);
}

static void every_machine_survives_its_file(void **state)
{
	(void)state;
	for (size_t i = 0; i < tr_n_machine(); i++) {
		const struct tr_machine *m = tr_machine_get(i);
		char *text = tr_machine_text(m), *again;
		struct tr_machine back;
		struct tr_err err;

		assert_non_null(text);
		if (tr_machine_parse(&back, text, strlen(text), m->name, &err))
			fail_msg("%s", err.msg);
		again = tr_machine_text(&back);
		assert_string_equal(text, again);
		assert_string_equal(back.tier[0].path, m->tier[0].path);
		free(text);
		free(again);
	}
}

static void bad_files_are_refused_by_name(void **state)
{
	static const char head[] = "{\"format\": \"tierra-machine\", \"version\": 1, ";
	static const char *const bad[][2] = {
		{ "\"tiers\": 3}", "machine.tiers" },
		{ "\"tiers\": [{\"kind\": \"tape\"}]}", "tier.kind" },
		{ "\"tiers\": [{\"kind\": \"dram\", \"bytes\": -1}]}", "tier.bytes" },
		{ "\"tiers\": [{\"kind\": \"dram\", \"latency_ns\": [3, 2, 1]}]}", "tier.latency_ns" },
		{ "\"kernels\": [{\"quant\": \"Q4_K\", \"tier\": 0}]}", "kernel.tier" },
		{ "\"loop_ns\": \"fast\"}", "machine.loop_ns" },
		{ "\"name\": 1}", "machine.name" },
		{ "oops", "line 1" },
	};
	struct tr_machine m;
	struct tr_err err;
	char text[256];

	(void)state;
	for (size_t i = 0; i < TR_ARRAY_LEN(bad); i++) {
		int n = snprintf(text, sizeof(text), "%s%s", head, bad[i][0]);

		assert_int_equal(tr_machine_parse(&m, text, (size_t)n, "x.machine", &err),
			TR_E_FORMAT);
		assert_err_has(&err, "x.machine");
		assert_err_has(&err, bad[i][1]);
	}
	assert_int_equal(tr_machine_parse(&m, "{}", 2, "x", &err), TR_E_FORMAT);
	assert_err_has(&err, "tierra-machine");
	snprintf(text, sizeof(text), "{\"format\": \"tierra-machine\", \"version\": 2}");
	assert_int_equal(tr_machine_parse(&m, text, strlen(text), "x", &err), TR_E_UNSUPPORTED);
	assert_err_has(&err, "version 2");
	assert_int_equal(tr_machine_open(&m, "abacus", &err), TR_E_NOENT);
	assert_err_has(&err, "optane-3060");
}

static void speeds_come_from_the_kernels_that_were_measured(void **state)
{
	struct tr_machine m = *tr_machine_get(0);
	struct tr_speeds s;

	(void)state;
	m.n_kernel = 1;
	m.kernel[0] = (struct tr_machine_kernel){ "Q4_K", 1, { 1e9, 2e9, 3e9 },
		{ 0, 0, 0 } };
	tr_machine_speeds(&m, "Q4_K", 16 << 20, 8, &s);
	near(s.tier[TR_MACHINE_PMEM], 2e9);
	near(s.tier[TR_MACHINE_DRAM], 92e9);
	near(s.tier[TR_MACHINE_NVME], 3.5e9);
	near(s.bus, 105e9);
	assert_int_equal(s.n_thread[TR_MACHINE_PMEM], 12);
	tr_machine_speeds(&m, "Q6_K", 16 << 20, 8, &s);
	near(s.tier[TR_MACHINE_PMEM], 28.8e9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_tier_takes_bytes_by_rate),
		cmocka_unit_test(slowest_lane_is_taken_draw_by_draw),
		cmocka_unit_test(shared_bus_bounds_both_memories),
		cmocka_unit_test(disk_is_waited_for_but_what_was_computed_meanwhile),
		cmocka_unit_test(what_every_token_uses_comes_on_top),
		cmocka_unit_test(prompt_reads_the_union_of_a_chunk),
		cmocka_unit_test(every_machine_survives_its_file),
		cmocka_unit_test(bad_files_are_refused_by_name),
		cmocka_unit_test(speeds_come_from_the_kernels_that_were_measured),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
