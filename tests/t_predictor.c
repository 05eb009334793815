#include "test.h"
#include "base/mem.h"
#include "policies/echo.h"
#include "policies/logit.h"
#include "policies/predictor.h"
#include "policies/quality.h"

#include <math.h>

/* --- allocations are counted: the program is linked with --wrap ------------------------------- */

static size_t n_alloc;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t align, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);

void *__wrap_malloc(size_t n)
{
	n_alloc++;
	return __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	n_alloc++;
	return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	n_alloc++;
	return __real_realloc(p, n);
}

void *__wrap_aligned_alloc(size_t align, size_t n)
{
	n_alloc++;
	return __real_aligned_alloc(align, n);
}

/* --- a text that comes again, with noise ------------------------------------------------------ */

/* 26 experts are no multiple of four: the filling must not show. */
enum { N_LAYER = 3, N_EXPERT = 26, N_USED = 4, N_TOKEN = 400, N_TEXT = 25 };

static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

struct visit {
	uint32_t experts[N_USED];
	float weights[N_USED];
	float scores[N_EXPERT]; /* sum 1; the experts used have the most */
};

/* The routing of a layer at a token: a repeating text, one use in ten replaced by chance. */
static void make_visit(struct visit *v, uint32_t token, uint32_t layer, uint64_t *noise)
{
	uint64_t text = 100 * layer + token % N_TEXT;
	bool used[N_EXPERT] = { 0 };
	float sum = 0;

	for (uint32_t i = 0; i < N_USED; i++) {
		uint64_t *source = next_random(noise) % 10 ? &text : noise;
		uint32_t e = (uint32_t)(next_random(source) % N_EXPERT);

		for (; used[e]; e = (e + 1) % N_EXPERT)
			;
		used[e] = true;
		v->experts[i] = e;
		v->weights[i] = 0.4f - 0.1f * (float)i;
	}
	for (uint32_t e = 0; e < N_EXPERT; e++)
		sum += v->scores[e] = used[e] ? 1 : (float)(next_random(noise) % 100) / 200;
	for (uint32_t e = 0; e < N_EXPERT; e++)
		v->scores[e] /= sum;
}

struct run {
	struct tr_quality quality[TR_MAX_HORIZON];
	double sum; /* of probabilities at horizon 1, second half */
	uint32_t n;
	float final[TR_MAX_HORIZON][N_EXPERT];
};

static void check_range(const float *p)
{
	for (uint32_t e = 0; e < N_EXPERT; e++)
		assert_true(p[e] >= 0 && p[e] <= 1);
}

static void predict(const struct tr_predictor *p, uint32_t layer, uint32_t horizon, float *out)
{
	float guarded[N_EXPERT + 4];

	for (uint32_t e = 0; e < N_EXPERT + 4; e++)
		guarded[e] = -7;
	p->ops->predict(p->state, layer, horizon, guarded);
	for (uint32_t e = N_EXPERT; e < N_EXPERT + 4; e++)
		assert_true(guarded[e] == -7);
	check_range(guarded);
	memcpy(out, guarded, N_EXPERT * sizeof(*out));
}

static void run_visit(const struct tr_predictor *p, struct run *r, uint32_t token, uint32_t layer,
	const struct visit *v, bool full)
{
	static float said[N_LAYER][TR_MAX_HORIZON][TR_MAX_HORIZON + 1][N_EXPERT];

	if (full && p->ops->lookahead) {
		p->ops->lookahead(p->state, layer, 2, v->scores);
		p->ops->lookahead(p->state, layer, 1, v->scores);
	}
	predict(p, layer, 1, r->final[0]);
	if (token >= N_TOKEN / 2) {
		tr_quality_add(&r->quality[0], r->final[0], N_EXPERT, v->experts, N_USED);
		for (uint32_t e = 0; e < N_EXPERT; e++)
			r->sum += r->final[0][e];
		r->n++;
		for (uint32_t h = 2; h <= TR_MAX_HORIZON; h++)
			tr_quality_add(&r->quality[h - 1],
				said[layer][h - 1][token % (TR_MAX_HORIZON + 1)], N_EXPERT,
				v->experts, N_USED);
	}
	p->ops->observe(p->state, layer, v->experts, full ? v->weights : NULL, N_USED,
		full ? v->scores : NULL);
	for (uint32_t h = 2; h <= TR_MAX_HORIZON; h++) {
		predict(p, layer, h, r->final[h - 1]);
		memcpy(said[layer][h - 1][(token + h) % (TR_MAX_HORIZON + 1)], r->final[h - 1],
			sizeof(r->final[0]));
	}
}

/* full: with weights, router scores and look-ahead; else ids only, as from a trace. */
static void run_text(const char *name, bool full, struct run *r)
{
	struct tr_predictor_cfg cfg = { N_LAYER, N_EXPERT, N_USED, 0 };
	struct tr_predictor p;
	uint64_t noise = 11;
	struct visit v;
	size_t before;

	memset(r, 0, sizeof(*r));
	assert_int_equal(tr_predictor_open(&p, name, &cfg, NULL), 0);
	for (uint32_t l = 0; l < N_LAYER; l++)
		for (uint32_t h = 1; h <= TR_MAX_HORIZON; h++)
			predict(&p, l, h, r->final[h - 1]);
	before = n_alloc;
	for (uint32_t token = 0; token < N_TOKEN; token++)
		for (uint32_t l = 0; l < N_LAYER; l++) {
			make_visit(&v, token, l, &noise);
			run_visit(&p, r, token, l, &v, full);
		}
	assert_int_equal(n_alloc, before);
	tr_predictor_close(&p);
}

/* --- conformance ------------------------------------------------------------------------------ */

static void every_predictor_keeps_the_contract(void **state)
{
	static struct run a, b;

	(void)state;
	for (size_t i = 0; i < tr_predictor_count(); i++) {
		const struct tr_predictor_ops *ops = tr_predictor_at(i);

		assert_int_equal(ops->abi, TR_PREDICTOR_ABI);
		assert_true(strlen(ops->name) && strlen(ops->summary) && ops->options);
		assert_true(ops->init && ops->fini && ops->observe && ops->predict);
		assert_true(!ops->wants_lookahead || ops->lookahead);
		assert_ptr_equal(tr_predictor_by_name(ops->name), ops);
		for (int full = 0; full < 2; full++) {
			run_text(ops->name, full, &a);
			run_text(ops->name, full, &b);
			assert_memory_equal(&a, &b, sizeof(a));
		}
	}
}

static void probabilities_add_up_to_the_experts_used(void **state)
{
	static struct run r;

	(void)state;
	for (size_t i = 0; i < tr_predictor_count(); i++) {
		if (!strcmp(tr_predictor_at(i)->name, "none"))
			continue;
		for (int full = 0; full < 2; full++) {
			run_text(tr_predictor_at(i)->name, full, &r);
			assert_true(fabs(r.sum / r.n - N_USED) < 0.4);
		}
	}
}

static double recall(const char *name, bool full, uint32_t horizon)
{
	static struct run r;

	run_text(name, full, &r);
	return tr_quality_recall(&r.quality[horizon - 1]);
}

static double brier(const char *name, bool full, uint32_t horizon)
{
	static struct run r;

	run_text(name, full, &r);
	return tr_quality_brier(&r.quality[horizon - 1]);
}

static void predictors_rank_as_their_knowledge(void **state)
{
	double chance = (double)N_USED / N_EXPERT, guess = chance * (1 - chance);

	(void)state;
	assert_true(recall("none", false, 1) < chance + 0.03);
	assert_true(recall("freq", false, 1) > chance);
	assert_true(recall("markov", false, 1) > recall("freq", false, 1));
	assert_true(recall("echo", false, 1) > 0.7);
	assert_true(recall("echo", false, 4) > 0.5);
	assert_true(recall("gate", true, 1) > 0.99);
	assert_true(recall("blend", true, 1) > 0.95);
	assert_true(recall("blend", false, 1) > 0.7);
	assert_true(brier("last", false, 1) < guess * 1.02);
	assert_true(brier("echo", false, 1) < guess / 2);
	assert_true(brier("blend", false, 1) < guess / 2);
	assert_true(brier("blend", true, 1) < guess / 4);
}

/* --- single predictors ------------------------------------------------------------------------ */

static void open_small(struct tr_predictor *p, const char *spec)
{
	struct tr_predictor_cfg cfg = { .n_layer = 1, .n_expert = 4, .n_used = 2 };

	assert_int_equal(tr_predictor_open(p, spec, &cfg, NULL), 0);
}

static void last_gives_the_measured_share(void **state)
{
	static const uint32_t sets[3][2] = { { 0, 1 }, { 1, 2 }, { 1, 2 } };
	struct tr_predictor p;
	double again = (2 / 3.0 + 1 + 2) / (2 + 2 + 2);
	float out[4];

	(void)state;
	open_small(&p, "last");
	for (uint32_t i = 0; i < 3; i++)
		p.ops->observe(p.state, 0, sets[i], NULL, 2, NULL);
	p.ops->predict(p.state, 0, 1, out);
	assert_float_equal(out[1], again, 1e-6);
	assert_float_equal(out[2], again, 1e-6);
	assert_float_equal(out[0], 1 - again, 1e-6);
	/* two visits on: {0, 1} then {1, 2}, one of two came again */
	p.ops->predict(p.state, 0, 2, out);
	assert_float_equal(out[1], (2 / 3.0 + 1) / 4, 1e-6);
	tr_predictor_close(&p);
}

static void freq_counts_the_whole_gate(void **state)
{
	static const uint32_t set[2] = { 0, 1 };
	static const float scores[4] = { 0.4f, 0.3f, 0.25f, 0.05f }, weights[2] = { 0.6f, 0.2f };
	struct tr_predictor p;
	float out[4];

	(void)state;
	open_small(&p, "freq,step=1");
	p.ops->observe(p.state, 0, set, weights, 2, scores);
	p.ops->predict(p.state, 0, 1, out);
	assert_float_equal(out[0], 0.8, 1e-5);
	assert_float_equal(out[2], 0.5, 1e-5);
	/* without scores the weights: 0.75 and 0.25 of the mass, what exceeds 1 goes on */
	p.ops->observe(p.state, 0, set, weights, 2, NULL);
	p.ops->predict(p.state, 0, 1, out);
	assert_float_equal(out[0], 1, 1e-5);
	assert_float_equal(out[1], 1, 1e-5);
	assert_float_equal(out[3], 0, 1e-5);
	tr_predictor_close(&p);
}

static void markov_follows_the_layer_before(void **state)
{
	struct tr_predictor_cfg cfg = { .n_layer = 2, .n_expert = 4, .n_used = 1 };
	struct tr_predictor p;
	float out[4];

	(void)state;
	assert_int_equal(tr_predictor_open(&p, "markov", &cfg, NULL), 0);
	for (uint32_t token = 0; token < 200; token++) {
		uint32_t a = token * 7 % 4, b = 3 - a;

		p.ops->observe(p.state, 0, &a, NULL, 1, NULL);
		if (token > 100) {
			p.ops->predict(p.state, 1, 1, out);
			assert_true(out[b] > 0.7);
		}
		p.ops->observe(p.state, 1, &b, NULL, 1, NULL);
	}
	tr_predictor_close(&p);
}

static void gate_prefers_the_nearer_scores_and_uses_them_once(void **state)
{
	static const float near[4] = { 0.1f, 0.2f, 0.3f, 0.4f },
			   far[4] = { 0.4f, 0.3f, 0.2f, 0.1f };
	static const uint32_t set[2] = { 2, 3 };
	struct tr_predictor p;
	float out[4];

	(void)state;
	open_small(&p, "gate");
	p.ops->lookahead(p.state, 0, 2, far);
	p.ops->predict(p.state, 0, 1, out);
	assert_true(out[0] > out[3]);
	p.ops->lookahead(p.state, 0, 1, near);
	p.ops->lookahead(p.state, 0, 2, far);
	p.ops->predict(p.state, 0, 1, out);
	assert_true(out[3] > out[0]);
	p.ops->observe(p.state, 0, set, NULL, 2, NULL);
	p.ops->predict(p.state, 0, 1, out);
	assert_float_equal(out[3], 1 / 3.0, 1e-6);
	tr_predictor_close(&p);
}

/* --- echo ------------------------------------------------------------------------------------- */

static void echo_repeats_what_followed(void **state)
{
	/* 0 1 2 3 0 1 2 3 0: next come 1, 2, 3, 0. */
	struct tr_echo e;
	float share[5];

	(void)state;
	assert_int_equal(tr_echo_init(&e, 1, 5, 8), 0);
	assert_false(tr_echo_predict(&e, 0, 1, share));
	for (uint32_t token = 0; token < 9; token++) {
		uint32_t expert = token % 4;

		tr_echo_observe(&e, 0, &expert, 1);
		tr_echo_end_token(&e);
	}
	for (uint32_t h = 1; h <= 4; h++) {
		assert_true(tr_echo_predict(&e, 0, h, share));
		assert_float_equal(share[h % 4], 1, 1e-3);
	}
	tr_echo_fini(&e);
}

static void echo_tells_this_tokens_visit_from_the_next(void **state)
{
	/* Two layers; layer 1 uses what layer 0 used plus 2. In mid-token the next visit of layer 1
	 * is in this token, that of layer 0 in the next one. */
	struct tr_echo e;
	float share[8];

	(void)state;
	assert_int_equal(tr_echo_init(&e, 2, 8, 16), 0);
	for (uint32_t token = 0; token < 12; token++) {
		uint32_t a = token % 3, b = a + 2;

		tr_echo_observe(&e, 0, &a, 1);
		if (token > 6) {
			assert_true(tr_echo_predict(&e, 1, 1, share));
			assert_true(share[b] > 0.99f);
			assert_true(tr_echo_predict(&e, 0, 1, share));
			assert_true(share[(token + 1) % 3] > 0.99f);
		}
		tr_echo_observe(&e, 1, &b, 1);
	}
	tr_echo_fini(&e);
}

/* --- arithmetic ------------------------------------------------------------------------------- */

static void exp_and_log_agree_with_libm(void **state)
{
	(void)state;
	for (float x = -30; x < 30; x += 0.0371f)
		assert_true(fabs(tr_exp(x) / exp((double)x) - 1) < 1e-5);
	assert_true(tr_exp(-1000) > 0 && isfinite(tr_exp(1000)));
	for (float x = 1e-9f; x < 1e9f; x *= 1.0713f)
		assert_true(fabs(tr_log(x) - log((double)x)) < 1e-5 * (1 + fabs(log((double)x))));
}

static void regression_learns_the_odds(void **state)
{
	static const float start[2] = { 0, 0 };
	struct tr_logit m;
	/* used 3 times in 4 where the feature is 1, 1 in 4 where it is -1 */
	tr_f4 with[2] = { { 1, 1, 1, 1 }, { 1, 1, 1, 1 } };
	tr_f4 without[2] = { { 1, 1, 1, 1 }, { -1, -1, -1, -1 } }, nothing[2] = { { 0 }, { 0 } };

	(void)state;
	tr_logit_init(&m, 2, start, 1);
	for (uint32_t i = 0; i < 2000; i++) {
		tr_logit_feed(&m, with, (tr_f4){ 1, 1, 1, 0 });
		tr_logit_feed(&m, without, (tr_f4){ 0, 1, 0, 0 });
		tr_logit_feed(&m, nothing, (tr_f4){ 1, 1, 1, 1 });
		tr_logit_step(&m, 0.5f);
	}
	assert_float_equal(tr_logit_p(&m, with)[0], 0.75, 0.01);
	assert_float_equal(tr_logit_p(&m, without)[3], 0.25, 0.01);
}

/* --- quality ---------------------------------------------------------------------------------- */

static void quality_matches_hand_computed_values(void **state)
{
	static const float p[5] = { 0.9f, 0.5f, 0.4f, 0.4f, 0.0f };
	static const uint32_t first[2] = { 0, 3 }, second[2] = { 2, 4 };
	struct tr_quality q = { 0 };

	(void)state;
	assert_true(tr_quality_recall(&q) == 0 && tr_quality_precision(&q) == 0);
	assert_true(tr_quality_recall_wide(&q) == 0 && tr_quality_brier(&q) == 0);
	/* ranks: 0 is first, 3 is fourth behind 2, which ties. 2 of 5 are likely, 0 was used. */
	tr_quality_add(&q, p, 5, first, 2);
	assert_float_equal(tr_quality_recall(&q), 0.5, 1e-9);
	assert_float_equal(tr_quality_recall_wide(&q), 0.5, 1e-9);
	assert_float_equal(tr_quality_precision(&q), 0.5, 1e-9);
	/* 0.01 + 0.25 + 0.16 + 0.36 + 0 = 0.78 over 5 */
	assert_float_equal(tr_quality_brier(&q), 0.156, 1e-6);
	/* 2 is third: among the first 3, not the first 2. 4 is last. No likely one used. */
	tr_quality_add(&q, p, 5, second, 2);
	assert_float_equal(tr_quality_recall(&q), 0.25, 1e-9);
	assert_float_equal(tr_quality_recall_wide(&q), 0.5, 1e-9);
	assert_float_equal(tr_quality_precision(&q), 0.25, 1e-9);
	/* 0.81 + 0.25 + 0.36 + 0.16 + 1 = 2.58; with the first 3.36 over 10 */
	assert_float_equal(tr_quality_brier(&q), 0.336, 1e-6);
	assert_int_equal(q.n_visit, 2);
}

/* --- specs ------------------------------------------------------------------------------------ */

static void bad_specs_say_what_there_is(void **state)
{
	struct tr_predictor_cfg cfg = { .n_layer = 1, .n_expert = 4, .n_used = 2 };
	struct tr_predictor p;
	struct tr_err err;

	(void)state;
	assert_int_equal(tr_predictor_open(&p, "gates", &cfg, &err), TR_E_NOENT);
	assert_err_has(&err, "'gates'");
	assert_err_has(&err, "none, last, freq, markov, echo, gate, blend");
	assert_null(p.ops);
	assert_int_equal(tr_predictor_open(&p, "last,k=1", &cfg, &err), TR_E_NOENT);
	assert_err_has(&err, "'k'");
	assert_int_equal(tr_predictor_open(&p, "freq,k=1", &cfg, &err), TR_E_NOENT);
	assert_err_has(&err, "step");
	assert_int_equal(tr_predictor_open(&p, "freq,step=2", &cfg, &err), TR_E_LIMIT);
	assert_int_equal(tr_predictor_open(&p, "echo,memory=1", &cfg, &err), TR_E_LIMIT);
	assert_int_equal(tr_predictor_open(&p, "echo,memory=9", &cfg, &err), 0);
	tr_predictor_close(&p);
	cfg.n_used = 5;
	assert_int_equal(tr_predictor_open(&p, "last", &cfg, &err), TR_E_INVALID);
	assert_err_has(&err, "5 of 4");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_predictor_keeps_the_contract),
		cmocka_unit_test(probabilities_add_up_to_the_experts_used),
		cmocka_unit_test(predictors_rank_as_their_knowledge),
		cmocka_unit_test(last_gives_the_measured_share),
		cmocka_unit_test(freq_counts_the_whole_gate),
		cmocka_unit_test(markov_follows_the_layer_before),
		cmocka_unit_test(gate_prefers_the_nearer_scores_and_uses_them_once),
		cmocka_unit_test(echo_repeats_what_followed),
		cmocka_unit_test(echo_tells_this_tokens_visit_from_the_next),
		cmocka_unit_test(exp_and_log_agree_with_libm),
		cmocka_unit_test(regression_learns_the_odds),
		cmocka_unit_test(quality_matches_hand_computed_values),
		cmocka_unit_test(bad_specs_say_what_there_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
