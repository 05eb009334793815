#include "test.h"
#include "base/mem.h"

#include <math.h>

/* temp 1 and everything else off. */
static struct tr_sampler_opts plain(uint64_t seed)
{
	return (struct tr_sampler_opts){ .seed = seed, .temp = 1, .top_p = 1, .repeat_penalty = 1 };
}

static struct tr_sampler *sampler(const struct tr_sampler_opts *opts, size_t n_vocab)
{
	struct tr_sampler *s;
	struct tr_err err;

	if (tr_sampler_new(&s, opts, n_vocab, &err))
		fail_msg("%s", err.msg);
	return s;
}

/* How often each of the n tokens is drawn in n_draw draws. */
static void count_draws(const struct tr_sampler_opts *opts, const float *logits, size_t n,
	unsigned *counts, unsigned n_draw)
{
	struct tr_sampler *s = sampler(opts, n);

	memset(counts, 0, n * sizeof(*counts));
	for (unsigned i = 0; i < n_draw; i++) {
		int32_t id = tr_sampler_next(s, logits);

		assert_in_range(id, 0, n - 1);
		counts[id]++;
	}
	tr_sampler_free(s);
}

static void greedy_takes_the_lowest_id_on_ties(void **state)
{
	static const float logits[] = { 1, 5, 2, 5, -3 };
	struct tr_sampler_opts o = plain(7);
	unsigned counts[5];

	(void)state;
	o.temp = 0;
	count_draws(&o, logits, 5, counts, 20);
	assert_int_equal(counts[1], 20);
}

static void draws_follow_the_probabilities(void **state)
{
	static const float p[] = { 0.5f, 0.25f, 0.125f, 0.125f };
	struct tr_sampler_opts o = plain(1);
	unsigned counts[4];
	float logits[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		logits[i] = logf(p[i]) + 3;
	count_draws(&o, logits, 4, counts, 40000);
	/* Six standard deviations of the binomial count are below 600 for all four. */
	for (int i = 0; i < 4; i++)
		assert_true(fabs(counts[i] - 40000.0 * p[i]) < 600);
	o.temp = 0.5f; /* squares the probabilities: 16:4:1:1 of 22 */
	count_draws(&o, logits, 4, counts, 40000);
	assert_true(fabs(counts[0] - 40000.0 * 16 / 22) < 600);
	assert_true(fabs(counts[3] - 40000.0 * 1 / 22) < 600);
}

static void the_same_seed_draws_the_same_tokens(void **state)
{
	struct tr_sampler_opts o;
	int32_t ids[3][64];
	float logits[500];

	(void)state;
	for (int i = 0; i < 500; i++)
		logits[i] = (float)(i * 37 % 101) / 20;
	tr_sampler_defaults(&o);
	for (int run = 0; run < 3; run++) {
		struct tr_sampler *s;

		o.seed = run == 2 ? 43 : 42;
		s = sampler(&o, 500);
		for (int i = 0; i < 64; i++)
			ids[run][i] = tr_sampler_next(s, logits);
		tr_sampler_free(s);
	}
	assert_memory_equal(ids[0], ids[1], sizeof(ids[0]));
	assert_memory_not_equal(ids[0], ids[2], sizeof(ids[0]));
}

static void top_k_keeps_k_tokens_with_low_ids_first(void **state)
{
	static const float logits[] = { 0, 2, 1, 2, 1, 1 };
	struct tr_sampler_opts o = plain(3);
	unsigned counts[6];

	(void)state;
	o.top_k = 3;
	count_draws(&o, logits, 6, counts, 2000);
	assert_true(counts[1] > 0 && counts[2] > 0 && counts[3] > 0);
	assert_int_equal(counts[0] + counts[4] + counts[5], 0);
	o.top_k = 100; /* more than there are */
	count_draws(&o, logits, 6, counts, 2000);
	for (int i = 0; i < 6; i++)
		assert_true(counts[i] > 0);
}

static void top_p_keeps_the_smallest_set_that_reaches_p(void **state)
{
	static const float p[] = { 0.1f, 0.4f, 0.2f, 0.3f };
	struct tr_sampler_opts o = plain(4);
	unsigned counts[4];
	float logits[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		logits[i] = logf(p[i]);
	o.top_p = 0.65f; /* 0.4 + 0.3 reach it */
	count_draws(&o, logits, 4, counts, 2000);
	assert_true(counts[1] > 0 && counts[3] > 0);
	assert_int_equal(counts[0] + counts[2], 0);
	o.top_p = 1e-6f;
	count_draws(&o, logits, 4, counts, 50);
	assert_int_equal(counts[1], 50);
}

static void top_p_counts_among_the_top_k(void **state)
{
	static const float p[] = { 0.1f, 0.4f, 0.2f, 0.3f };
	struct tr_sampler_opts o = plain(5);
	unsigned counts[4];
	float logits[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		logits[i] = logf(p[i]);
	/* Of all four, 0.5 needs two tokens; of the top two, 0.4 / 0.7 is enough. */
	o.top_p = 0.5f;
	count_draws(&o, logits, 4, counts, 2000);
	assert_true(counts[3] > 0);
	o.top_k = 2;
	count_draws(&o, logits, 4, counts, 2000);
	assert_int_equal(counts[1], 2000);
}

static void min_p_and_top_p_ignore_the_temperature(void **state)
{
	static const float p[] = { 0.6f, 0.25f, 0.1f, 0.05f };
	struct tr_sampler_opts o = plain(6);
	unsigned counts[4];
	float logits[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		logits[i] = logf(p[i]);
	o.min_p = 0.3f; /* at least 0.18 */
	o.temp = 100;
	count_draws(&o, logits, 4, counts, 2000);
	assert_true(counts[0] > 800 && counts[1] > 800);
	assert_int_equal(counts[2] + counts[3], 0);
	o.min_p = 0;
	o.top_p = 0.8f;
	count_draws(&o, logits, 4, counts, 2000);
	assert_true(counts[0] > 800 && counts[1] > 800);
	assert_int_equal(counts[2] + counts[3], 0);
}

static void repeat_penalty_holds_for_the_last_n_tokens(void **state)
{
	static const float logits[] = { 1.0f, 0.9f, -1.0f };
	static const float below[] = { -1.0f, -1.5f, -9.0f };
	struct tr_sampler_opts o = plain(0);
	struct tr_sampler *s;

	(void)state;
	o.temp = 0;
	o.repeat_penalty = 2;
	o.repeat_last_n = 2;
	s = sampler(&o, 3);
	assert_int_equal(tr_sampler_next(s, logits), 0);
	assert_int_equal(tr_sampler_next(s, logits), 1); /* 0.5, 0.9 */
	assert_int_equal(tr_sampler_next(s, logits), 0); /* 0.5, 0.45: once each, however often */
	tr_sampler_accept(s, 0);
	tr_sampler_accept(s, 2);
	tr_sampler_accept(s, 2); /* 0 has left the window */
	assert_int_equal(tr_sampler_next(s, logits), 0);
	assert_int_equal(tr_sampler_next(s, below), 1); /* -2, -1.5 */
	tr_sampler_accept(s, -1);
	tr_sampler_accept(s, 99);
	tr_sampler_free(s);
}

static void insane_logits_are_survived(void **state)
{
	const float mixed[] = { NAN, -INFINITY, 2, NAN, 2 }, none[] = { NAN, -INFINITY, NAN };
	const float large[] = { 1, INFINITY, 3, INFINITY };
	struct tr_sampler_opts o;
	unsigned counts[5];

	(void)state;
	tr_sampler_defaults(&o);
	for (int greedy = 0; greedy < 2; greedy++) {
		o.temp = greedy ? 0 : 0.8f;
		o.repeat_penalty = 1;
		count_draws(&o, mixed, 5, counts, 200);
		assert_int_equal(counts[2] + counts[4], 200);
		assert_int_equal(counts[4] > 0, !greedy);
		count_draws(&o, none, 3, counts, 10);
		assert_int_equal(counts[0] + counts[1] + counts[2], 10);
		count_draws(&o, large, 4, counts, 200);
		assert_int_equal(counts[1] + counts[3], 200);
		o.repeat_penalty = 0.25f; /* would overflow to infinity */
		count_draws(&o, large, 4, counts, 200);
		assert_int_equal(counts[1] + counts[3], 200);
	}
}

static void bad_options_are_refused(void **state)
{
	static const struct {
		struct tr_sampler_opts o;
		const char *has;
	} bad[] = {
		{ { .temp = -1, .top_p = 1, .repeat_penalty = 1 }, "temperature -1" },
		{ { .temp = NAN, .top_p = 1, .repeat_penalty = 1 }, "temperature" },
		{ { .top_p = 0, .repeat_penalty = 1 }, "top-p 0" },
		{ { .top_p = 1.5f, .repeat_penalty = 1 }, "top-p 1.5" },
		{ { .top_p = 1, .min_p = 2, .repeat_penalty = 1 }, "min-p 2" },
		{ { .top_p = 1, .repeat_penalty = 0 }, "repeat penalty 0" },
		{ { .top_p = 1, .repeat_penalty = 1, .repeat_last_n = 1u << 30 }, "16777216" },
	};
	struct tr_sampler_opts o = plain(0);
	struct tr_sampler *s;
	struct tr_err err;

	(void)state;
	for (size_t i = 0; i < TR_ARRAY_LEN(bad); i++) {
		assert_true(tr_sampler_new(&s, &bad[i].o, 10, &err) < 0);
		assert_null(s);
		assert_err_has(&err, bad[i].has);
	}
	assert_int_equal(tr_sampler_new(&s, &o, 0, &err), TR_E_INVALID);
	assert_err_has(&err, "vocabulary of 0");
}

static void logprobs_are_those_of_softmax(void **state)
{
	static const float logits[] = { 1, 3, 2, 3, -5 };
	double sum = exp(1) + exp(3) + exp(2) + exp(3) + exp(-5);
	struct tr_logprob chosen, top[7];

	(void)state;
	tr_logprobs(logits, 5, 2, &chosen, top, 3);
	assert_int_equal(chosen.id, 2);
	assert_true(fabs(chosen.logprob - (2 - log(sum))) < 1e-6);
	assert_int_equal(top[0].id, 1);
	assert_int_equal(top[1].id, 3);
	assert_int_equal(top[2].id, 2);
	assert_true(fabs(top[0].logprob - (3 - log(sum))) < 1e-6);
	tr_logprobs(logits, 5, 4, &chosen, top, 7);
	assert_int_equal(top[4].id, 4);
	assert_true(top[4].logprob == chosen.logprob);
	assert_int_equal(top[5].id, -1);
	assert_true(isinf(top[6].logprob));
	tr_logprobs(logits, 5, 0, &chosen, NULL, 0);
	assert_int_equal(chosen.id, 0);
}

static void logprobs_survive_insane_logits(void **state)
{
	const float logits[] = { NAN, 1000, -INFINITY, 999 }, none[] = { NAN, NAN };
	struct tr_logprob chosen, top[2];

	(void)state;
	tr_logprobs(logits, 4, 0, &chosen, top, 2);
	assert_true(isinf(chosen.logprob) && chosen.logprob < 0);
	assert_int_equal(top[0].id, 1);
	assert_true(fabs(top[0].logprob + log1p(exp(-1))) < 1e-6);
	assert_int_equal(top[1].id, 3);
	tr_logprobs(none, 2, 1, &chosen, top, 2);
	assert_false(isnan(chosen.logprob) || isnan(top[0].logprob));
	tr_logprobs(logits, 4, 77, &chosen, top, 2);
	assert_true(isinf(chosen.logprob));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(greedy_takes_the_lowest_id_on_ties),
		cmocka_unit_test(draws_follow_the_probabilities),
		cmocka_unit_test(the_same_seed_draws_the_same_tokens),
		cmocka_unit_test(top_k_keeps_k_tokens_with_low_ids_first),
		cmocka_unit_test(top_p_keeps_the_smallest_set_that_reaches_p),
		cmocka_unit_test(top_p_counts_among_the_top_k),
		cmocka_unit_test(min_p_and_top_p_ignore_the_temperature),
		cmocka_unit_test(repeat_penalty_holds_for_the_last_n_tokens),
		cmocka_unit_test(insane_logits_are_survived),
		cmocka_unit_test(bad_options_are_refused),
		cmocka_unit_test(logprobs_are_those_of_softmax),
		cmocka_unit_test(logprobs_survive_insane_logits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
