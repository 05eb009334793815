/* t_observe.c - what a run of the engine says, from spans that add up by construction. */
#include "test.h"
#include "machine/machine.h"
#include "machine/observe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_USED	8
#define N_LAYER 4

/* A layer: 20 us look-up and 30 for each read, a shared expert of 100 us, 10 us and 80 for each
 * expert, 25 us after a wait; k experts come together after 1 ms and 1 ms each. */
struct made {
	struct tr_span span[512];
	struct tr_token_spans token;
	int64_t at;
};

static void put(struct made *m, enum tr_span_kind kind, uint32_t tier, uint32_t n, int64_t us)
{
	m->span[m->token.n_span++] = (struct tr_span){
		.begin_ns = m->at, .ns = (uint64_t)us * 1000, .kind = kind, .tier = tier, .n = n
	};
	m->at += us * 1000;
}

static void put_layer(struct made *m, uint32_t n_read, int64_t slow_us)
{
	int64_t begin = m->at, come = begin + 1000000 * (1 + (int64_t)n_read);

	put(m, TR_SPAN_ATTENTION, 0, 0, 300 + slow_us);
	begin = m->at;
	come = begin + 1000000 * (1 + (int64_t)n_read);
	put(m, TR_SPAN_LOOKUP, 0, 0, 20 + 30 * n_read);
	put(m, TR_SPAN_SHARED, 0, 0, 100);
	if (n_read < N_USED)
		put(m, TR_SPAN_EXPERTS, 0, N_USED - n_read, 10 + 80 * (N_USED - n_read));
	if (n_read) {
		put(m, TR_SPAN_WAIT, 0, 0, (come - m->at) / 1000);
		for (uint32_t i = 0; i < n_read; i++)
			m->span[m->token.n_span++] = (struct tr_span){ .begin_ns = begin,
				.ns = (uint64_t)(come - begin),
				.kind = TR_SPAN_READ };
		put(m, TR_SPAN_EXPERTS, 2, n_read, 25 + 10 + 80 * n_read);
	}
	put(m, TR_SPAN_COMBINE, 0, 0, 40);
}

static void hand_in(struct tr_observed *o, struct made *m)
{
	m->token.span = m->span;
	m->token.ns = (uint64_t)m->at;
	tr_observe(o, &m->token, 10);
}

/* n_read[N_LAYER] */
static void observe(struct tr_observed *o, const uint32_t *n_read, int64_t slow_us)
{
	struct made m = { .at = 0 };

	for (size_t i = 0; i < N_LAYER; i++)
		put_layer(&m, n_read[i], slow_us);
	put(&m, TR_SPAN_HEAD, 0, 0, 200);
	hand_in(o, &m);
}

static void near(double got, double want)
{
	if (fabs(got - want) > 1e-9)
		fail_msg("%.9f, not %.9f", got, want);
}

static void layers_are_taken_apart(void **state)
{
	static const uint32_t reads[][N_LAYER] = { { 0, 0, 0, 0 }, { 1, 0, 3, 0 }, { 8, 7, 6, 5 },
		{ 2, 2, 4, 8 } };
	struct tr_observed o = { .n_used = N_USED };
	struct tr_machine_run r = { .unit_bytes = 1e6 };
	struct tr_err err;

	(void)state;
	for (int i = 0; i < 5; i++)
		for (size_t t = 0; t < sizeof(reads) / sizeof(reads[0]); t++)
			observe(&o, reads[t], 0);
	assert_int_equal(tr_observed_run(&o, &r, &err), 0);
	assert_int_equal(r.n_token, 20);
	near(r.position, 10);
	near(r.rest_s, N_LAYER * 440e-6 + 200e-6);
	near(r.after_read_s, 0);
	near(r.beside_s, 100e-6);
	near(r.lookup_s, 20e-6);
	near(r.ask_s, 30e-6);
	near(r.step_s, 10e-6);
	near(r.unit_s, 80e-6);
	near(r.wake_s, 25e-6);
	assert_int_equal(r.n_read, N_USED);
	for (size_t k = 1; k <= N_USED; k++) {
		near(r.read_s[k], 1e-3 * (1 + (double)k));
		near(r.first_s[k], r.read_s[k]);
	}
	tr_observed_fini(&o);
}

/* What 20 tokens say, the eighth of which took so much longer in each layer. */
static struct tr_machine_run run_of_20(int64_t slow_us)
{
	static const uint32_t reads[N_LAYER] = { 0, 1, 8, 3 };
	struct tr_observed o = { .n_used = N_USED };
	struct tr_machine_run r = { .unit_bytes = 1e6 };
	struct tr_err err;

	for (int i = 0; i < 20; i++)
		observe(&o, reads, i == 7 ? slow_us : 0);
	assert_int_equal(tr_observed_run(&o, &r, &err), 0);
	tr_observed_fini(&o);
	return r;
}

/* The spans were made by the rules of the forecast, so it adds up to them. */
static void a_forecast_by_a_run_says_what_the_run_took(void **state)
{
	struct tr_machine_run r = run_of_20(0);

	(void)state;
	assert_true(fabs(r.said_s / r.token_s - 1) < 1e-6);
}

/* Two layers without reads; the one of more experts took less time. */
static void experts_take_time_where_more_of_them_took_less(void **state)
{
	struct tr_observed o = { .n_used = N_USED };
	struct tr_machine_run r = { .unit_bytes = 1e6 };
	struct tr_err err;

	(void)state;
	for (int i = 0; i < 20; i++) {
		struct made m = { .at = 0 };

		for (uint32_t n = N_USED / 2; n <= N_USED; n += N_USED / 2) {
			put(&m, TR_SPAN_ATTENTION, 0, 0, 300);
			put(&m, TR_SPAN_LOOKUP, 0, 0, 20);
			put(&m, TR_SPAN_EXPERTS, 0, n, n == N_USED ? 500 : 700);
			put(&m, TR_SPAN_COMBINE, 0, 0, 40);
		}
		hand_in(&o, &m);
	}
	assert_int_equal(tr_observed_run(&o, &r, &err), 0);
	near(r.unit_s, 600e-6 / (0.75 * N_USED));
	near(r.step_s, 0);
	tr_observed_fini(&o);
}

static void a_token_that_was_held_up_is_not_typical(void **state)
{
	struct tr_machine_run r = run_of_20(50000);

	(void)state;
	near(r.rest_s, N_LAYER * 440e-6 + 200e-6);
}

static void without_experts_nothing_is_known(void **state)
{
	struct tr_observed o = { .n_used = N_USED };
	struct tr_machine_run r = { .unit_bytes = 1e6 };
	struct tr_err err;

	(void)state;
	assert_int_equal(tr_observed_run(&o, &r, &err), TR_E_NOENT);
}

/* A run of the model replaces what was measured part by part; of another it says nothing. */
static void a_run_is_believed_of_its_model_only(void **state)
{
	struct tr_machine m = *tr_machine_get(1);
	struct tr_workload w = { .model = "a.gguf",
		.n_layer = 4,
		.n_moe_layer = 4,
		.n_expert = 64,
		.n_used = N_USED,
		.unit_bytes = 1e6,
		.n_resident = 1,
		.resident = { { "", 2048, 50e6, 20 } },
		.kv_bytes = 1000 };
	struct tr_speeds apart, with, other;

	(void)state;
	tr_machine_speeds(&m, &w, false, &apart);
	m.n_run = 1;
	m.run[0] = (struct tr_machine_run){ .model = "a.gguf",
		.unit_bytes = 1e6,
		.rest_s = 5e-3,
		.position = 0,
		.unit_s = 100e-6,
		.step_s = 1e-6,
		.lookup_s = 3e-6,
		.ask_s = 4e-6,
		.n_read = 2,
		.read_s = { 0, 1e-3, 2e-3 },
		.first_s = { 0, 1e-3, 1.5e-3 } };
	tr_machine_speeds(&m, &w, false, &with);
	near(with.tier[TR_MACHINE_DRAM], 1e10);
	near(with.resident_s + with.resident_op_s, 5e-3);
	near(with.read_s[2], 2e-3);
	near(with.first_s[2], 1.5e-3);
	near(with.read_s[4], 2e-3 * apart.read_s[4] / apart.read_s[2]);
	near(with.ask_s[3], 12e-6);
	snprintf(w.model, sizeof(w.model), "b.gguf");
	tr_machine_speeds(&m, &w, false, &other);
	assert_memory_equal(&other, &apart, sizeof(apart));
	snprintf(w.model, sizeof(w.model), "a.gguf");
	w.unit_bytes = 2e6; /* another file of that name */
	tr_machine_speeds(&m, &w, false, &other);
	assert_true(other.tier[TR_MACHINE_DRAM] != with.tier[TR_MACHINE_DRAM]);
}

static void a_run_survives_its_file(void **state)
{
	struct tr_machine m = *tr_machine_get(0), back;
	struct tr_err err;
	char *text;

	(void)state;
	m.n_run = 1;
	m.run[0] = (struct tr_machine_run){ .model = "a.gguf",
		.n_token = 7,
		.unit_bytes = 1e6,
		.rest_s = 5e-3,
		.unit_s = 1e-4,
		.n_read = 2,
		.read_s = { 0, 1e-3, 2e-3 },
		.first_s = { 0, 1e-3, 1.5e-3 } };
	text = tr_machine_text(&m);
	assert_int_equal(tr_machine_parse(&back, text, strlen(text), "x", &err), 0);
	assert_int_equal(back.n_run, 1);
	assert_memory_equal(&back.run[0], &m.run[0], sizeof(m.run[0]));
	free(text);
	m.run[0].first_s[2] = -1;
	text = tr_machine_text(&m);
	assert_int_equal(tr_machine_parse(&back, text, strlen(text), "x", &err), TR_E_FORMAT);
	assert_err_has(&err, "run.first_s");
	free(text);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(layers_are_taken_apart),
		cmocka_unit_test(a_forecast_by_a_run_says_what_the_run_took),
		cmocka_unit_test(experts_take_time_where_more_of_them_took_less),
		cmocka_unit_test(a_token_that_was_held_up_is_not_typical),
		cmocka_unit_test(without_experts_nothing_is_known),
		cmocka_unit_test(a_run_is_believed_of_its_model_only),
		cmocka_unit_test(a_run_survives_its_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
