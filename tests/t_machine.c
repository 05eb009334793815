/* t_machine.c - forecasts on numbers by hand, and what a machine file may say. */
#include "test.h"
#include "base/mem.h"
#include "machine/machine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ten layers of two experts of 1 MB; a memory of 1 GB/s takes 1 ms for one. */
static struct tr_workload work(double dram, double pmem, double nvme)
{
	return (struct tr_workload){ .n_layer = 10,
		.n_moe_layer = 10,
		.n_expert = 8,
		.n_used = 2,
		.unit_bytes = 1e6,
		.share = { dram, pmem, nvme, 0 },
		.held = { dram, pmem, nvme, 0 } };
}

/* One expert from disk takes 2 ms. */
static struct tr_speeds some_speeds(void)
{
	struct tr_speeds s = { .tier = { 4e9, 1e9, 0.5e9, 0 }, .disk_bytes_per_s = 0.5e9 };

	for (int k = 1; k <= TR_MAX_READ_TABLE; k++)
		s.read_s[k] = 2e-3 * k;
	return s;
}

static struct tr_speeds speeds;

static void near(double got, double want)
{
	if (fabs(got - want) > 1e-9 * fmax(1, fabs(want)))
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

/* Both from disk: the first after 2 ms, the second after 4.1, while the first is computed in 0.25.
 */
static void disk_is_waited_for_but_what_was_computed_meanwhile(void **state)
{
	struct tr_workload w = work(0, 0, 1);
	struct tr_speeds s = speeds;
	struct tr_forecast f;

	(void)state;
	s.read_s[2] = 4.1e-3;
	tr_forecast_token(&w, &s, &f);
	near(f.disk_wait_s, 10 * (4.1e-3 - 0.25e-3));
	near(f.arrived_s, 10 * 0.5e-3);
	near(f.token_s, 10 * (4.1e-3 + 0.25e-3));
	s.beside_s = 1e-3;
	tr_forecast_token(&w, &s, &f);
	near(f.disk_wait_s, 10 * (4.1e-3 - 1e-3 - 0.25e-3));
}

/* A disk that answers all at once leaves nothing to compute before. */
static void reads_that_come_together_are_computed_after(void **state)
{
	struct tr_workload w = work(0, 0, 1);
	struct tr_speeds s = speeds;
	struct tr_forecast f;

	(void)state;
	s.first_s[2] = 4e-3;
	tr_forecast_token(&w, &s, &f);
	near(f.disk_wait_s, 10 * 4e-3);
	near(f.token_s, 10 * (4e-3 + 2 * 0.25e-3));
	s.wake_s = 1e-4; /* once: the second is there when the first has been computed */
	tr_forecast_token(&w, &s, &f);
	near(f.token_s, 10 * (4e-3 + 1e-4 + 2 * 0.25e-3));
}

static void what_every_token_uses_comes_on_top(void **state)
{
	struct tr_workload w = work(1, 0, 0);
	struct tr_speeds s = speeds;
	struct tr_forecast f;

	(void)state;
	w.position = 1000;
	s.resident_s = 2e-3;
	s.resident_op_s = 220e-6;
	s.position_s = 1e-6;
	s.step_s = 10e-6;
	tr_forecast_token(&w, &s, &f);
	near(f.resident_s, 2e-3);
	near(f.kv_s, 1e-3);
	near(f.loop_s, 220e-6 + 10 * 10e-6);
	near(f.token_s, 5e-3 + 2e-3 + 1e-3 + 320e-6);
}

/* A layer known exactly is not a draw. */
static void layers_add_up_to_a_token(void **state)
{
	struct tr_workload w = work(0, 0, 0);
	struct tr_forecast f = { 0 };
	const uint32_t both_dram[] = { 2, 0, 0, 0 }, split[] = { 1, 1, 0, 0 };

	(void)state;
	tr_forecast_layer(&w, &speeds, both_dram, 1, &f);
	tr_forecast_layer(&w, &speeds, split, 3, &f);
	tr_forecast_rest(&speeds, 0, 1, &f);
	tr_forecast_total(&f);
	near(f.token_s, 0.5e-3 + 3 * 1e-3);
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
	s.macs = 1e9; /* arithmetic bounds it: 40 experts of two tokens, a ms each */
	s.tier[TR_MACHINE_PMEM] = 1e12;
	near(tr_forecast_prompt(&w, &s, 2, 16), 40e-3);
}

/* What is read needs pages that are cleared first. */
static void cold_prompt_pays_for_new_memory(void **state)
{
	struct tr_workload w = work(0, 0, 1);
	struct tr_speeds s = speeds;
	const double n[] = { 0, 0, 3, 0 };

	(void)state;
	near(tr_forecast_chunk_layer(&w, &s, 2, n), 3 * 2e-3);
	s.touch_bytes_per_s = 1e9;
	near(tr_forecast_chunk_layer(&w, &s, 2, n), 3 * (2e-3 + 1e-3));
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
		{ "\"tiers\": [{\"kind\": \"dram\", \"latency_ns\": [3, 2, 1]}]}",
			"tier.latency_ns" },
		{ "\"tiers\": [{\"kind\": \"nvme\", \"points\": [{\"block_bytes\": 1}]}]}",
			"point.n_flight" },
		{ "\"tiers\": [{\"kind\": \"nvme\", \"points\": [{\"n_flight\": 1, \"burst\": "
		  "true}]}]}",
			"point.block_bytes" },
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

		assert_int_equal(
			tr_machine_parse(&m, text, (size_t)n, "x.machine", &err), TR_E_FORMAT);
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

/* --- speeds ----------------------------------------------------------------------------------- */

/* Gate, up and down of 4 MB each. */
static struct tr_workload typed(const char *quant, uint32_t cols)
{
	struct tr_workload w = { .n_layer = 2, .n_moe_layer = 2, .n_used = 8, .unit_bytes = 12e6 };

	for (int p = 0; p < 3; p++) {
		w.unit[p] = (struct tr_matrices){ .cols = cols, .bytes = 4e6, .n = 1 };
		strcpy(w.unit[p].quant, quant);
	}
	return w;
}

static const struct tr_spread fast = { 10e9, 10e9, 10e9 }, slow = { 5e9, 5e9, 5e9 },
			      op = { 1e4, 1e4, 1e4 };

static void speeds_come_from_the_kernels_that_were_measured(void **state)
{
	struct tr_machine m = *tr_machine_get(0);
	struct tr_workload w = typed("Q4_K", 7168);
	struct tr_speeds s;

	(void)state;
	m.n_kernel = 1;
	m.kernel[0] = (struct tr_machine_kernel){
		.quant = "Q4_K", .tier = 1, .bytes_per_s = { 1e9, 2e9, 3e9 }
	};
	tr_machine_speeds(&m, &w, false, &s);
	near(s.tier[TR_MACHINE_PMEM], 2e9);
	near(s.tier[TR_MACHINE_DRAM], 92e9);
	near(s.tier[TR_MACHINE_NVME], 2.9e9);
	near(s.bus, 105e9);
	assert_int_equal(s.n_thread[TR_MACHINE_PMEM], 12);
	w = typed("Q6_K", 7168);
	tr_machine_speeds(&m, &w, false, &s);
	near(s.tier[TR_MACHINE_PMEM], 28.8e9);
}

static void kernels_of_the_nearest_width_count(void **state)
{
	struct tr_machine m = { .n_tier = 1,
		.tier = { { .kind = TR_MACHINE_DRAM,
			.n_point = 1,
			.point = { { 1, false, 0, fast, 0, 0 } } } },
		.n_kernel = 2,
		.kernel = { { "Q8_0", 0, 2048, slow, op, fast },
			{ "Q8_0", 0, 7168, fast, op, fast } } };
	struct tr_workload w = typed("Q8_0", 1024);
	struct tr_speeds s;

	(void)state;
	tr_machine_speeds(&m, &w, false, &s);
	near(s.tier[TR_MACHINE_DRAM], 5e9);
	near(s.step_s, 2 * 10e-6);
	w = typed("Q8_0", 8192);
	tr_machine_speeds(&m, &w, false, &s);
	near(s.tier[TR_MACHINE_DRAM], 10e9);
}

/* A matrix is its bytes and what it takes to wake the threads. */
static void resident_matrices_are_bytes_and_waking(void **state)
{
	struct tr_machine m = { .n_tier = 1,
		.tier = { { .kind = TR_MACHINE_DRAM,
			.n_point = 1,
			.point = { { 1, false, 0, fast, 0, 0 } } } },
		.rest_ns = 1000,
		.rest_value_ns = 2,
		.attend_ns = 3000,
		.n_kernel = 1,
		.kernel = { { "Q8_0", 0, 2048, slow, op, fast } } };
	struct tr_workload w = typed("Q8_0", 2048);
	struct tr_speeds s;

	(void)state;
	w.n_resident = 2;
	w.resident[0] = (struct tr_matrices){ "Q8_0", 2048, 10e6, 7 };
	w.resident[1] =
		(struct tr_matrices){ "F32", 2048, 10e6, 1 }; /* not measured: read plainly */
	w.n_embd = 500;
	w.n_head = 1;
	tr_machine_speeds(&m, &w, false, &s);
	near(s.resident_s, 2e-3 + 1e-3);
	near(s.resident_op_s, 8 * 10e-6 + 2 * (1000 + 2 * 500 + 3000) * 1e-9);
}

/* Parts of 4 MB: between bursts of 2 and of 6, twelve reads between six and eighteen. */
static void bursts_are_taken_between_those_measured(void **state)
{
	struct tr_machine m = { .n_tier = 2,
		.tier = { { .kind = TR_MACHINE_DRAM,
				  .n_point = 1,
				  .point = { { 1, false, 0, fast, 0, 0 } } },
			{ .kind = TR_MACHINE_NVME,
				.n_point = 5,
				.point = { { 8, false, 1 << 20, fast, 0, 0 },
					{ 6, true, 2000000, slow, 0.9, 0.1 },
					{ 18, true, 2000000, slow, 0.9, 0.1 },
					{ 6, true, 6000000, fast, 0.9, 0.1 },
					{ 18, true, 6000000, fast, 0.9, 0.1 } } } } };
	struct tr_workload w = typed("Q4_K", 7168);
	struct tr_speeds s;

	(void)state;
	tr_machine_speeds(&m, &w, false, &s);
	near(s.read_s[2], 6 * (2e6 / 5e9 + 6e6 / 10e9) / 2);
	near(s.read_s[4], 12 * (2e6 / 5e9 + 6e6 / 10e9) / 2);
	near(s.first_s[4], 0.9 * s.read_s[4]);
	near(s.ask_s[4], 0.1 * s.read_s[4]);
	near(s.disk_bytes_per_s, 12e6 / (3 * (2e6 / 5e9 + 6e6 / 10e9) / 2));
}

/* --- measuring -------------------------------------------------------------------------------- */

static void small_measurement_fills_every_figure(void **state)
{
	static const char *const quant[] = { "Q8_0:1024" };
	struct tr_measure_opts opts = { .n_thread = 2,
		.quant = quant,
		.n_quant = 1,
		.n_repeat = 2,
		.memory_bytes = 8 << 20,
		.ns = 1000000 };
	struct tr_machine m;
	struct tr_err err;

	(void)state;
	if (tr_machine_measure(&m, &opts, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(m.n_thread, 2);
	assert_int_equal(m.n_kernel, 1);
	assert_int_equal(m.kernel[0].cols, 1024);
	assert_true(m.kernel[0].bytes_per_s.mid > 0 && m.kernel[0].macs_per_s.mid > 0);
	assert_true(m.rest_value_ns >= 0 && m.rest_ns + m.rest_value_ns * 7168 > 0);
	assert_true(m.attend_ns >= 0 && m.attend_macs_per_s > 0);
	assert_true(m.touch_bytes_per_s > 0 && m.loop_ns > 0 && m.wake_ns > 0);
}

static void kernels_that_cannot_be_are_refused(void **state)
{
	static const char *const bad[][2] = { { "Q9_9", "'Q9_9'" }, { "Q4_K:100", "100 values" },
		{ "Q4_K:999424000", "999424000" } };
	struct tr_measure_opts opts = {
		.n_quant = 1, .n_repeat = 1, .memory_bytes = 4 << 20, .ns = 1000
	};
	struct tr_machine m;
	struct tr_err err;

	(void)state;
	for (size_t i = 0; i < TR_ARRAY_LEN(bad); i++) {
		opts.quant = &bad[i][0];
		assert_true(tr_machine_measure(&m, &opts, &err) < 0);
		assert_err_has(&err, bad[i][1]);
	}
}

/* Whatever was measured, and however large the experts are. */
static void more_reads_at_once_never_take_less_time(void **state)
{
	(void)state;
	for (size_t i = 0; i < tr_n_machine(); i++)
		for (double bytes = 20e3; bytes < 50e6; bytes *= 1.7) {
			struct tr_workload w = typed("Q4_K", 7168);
			struct tr_speeds s;

			w.unit_bytes = bytes;
			tr_machine_speeds(tr_machine_get(i), &w, false, &s);
			for (int k = 2; s.disk_bytes_per_s > 0 && k <= TR_MAX_READ_TABLE; k++)
				if (!(s.read_s[k] >= s.read_s[k - 1] && s.read_s[1] > 0))
					fail_msg("%s, %.0f bytes: %d take %g s, %d %g",
						tr_machine_get(i)->name, bytes, k, s.read_s[k],
						k - 1, s.read_s[k - 1]);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_tier_takes_bytes_by_rate),
		cmocka_unit_test(slowest_lane_is_taken_draw_by_draw),
		cmocka_unit_test(shared_bus_bounds_both_memories),
		cmocka_unit_test(disk_is_waited_for_but_what_was_computed_meanwhile),
		cmocka_unit_test(reads_that_come_together_are_computed_after),
		cmocka_unit_test(what_every_token_uses_comes_on_top),
		cmocka_unit_test(layers_add_up_to_a_token),
		cmocka_unit_test(prompt_reads_the_union_of_a_chunk),
		cmocka_unit_test(cold_prompt_pays_for_new_memory),
		cmocka_unit_test(every_machine_survives_its_file),
		cmocka_unit_test(bad_files_are_refused_by_name),
		cmocka_unit_test(speeds_come_from_the_kernels_that_were_measured),
		cmocka_unit_test(kernels_of_the_nearest_width_count),
		cmocka_unit_test(resident_matrices_are_bytes_and_waking),
		cmocka_unit_test(bursts_are_taken_between_those_measured),
		cmocka_unit_test(more_reads_at_once_never_take_less_time),
		cmocka_unit_test(small_measurement_fills_every_figure),
		cmocka_unit_test(kernels_that_cannot_be_are_refused),
	};

	speeds = some_speeds();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
