/*
 * t_reference.c - the demo model against reference logits that a float32 implementation computed.
 *
 * t_reference       models/demo-q4_0.gguf against models/reference-q4_0.json
 * t_reference FILE  the F16 file against models/reference-f16.json: there activations are floats on
 *                   both sides, so logits agree to 2e-2 and expert ids exactly.
 *
 * Tolerance for Q4_0: the reference multiplies dequantised weights with float activations; the engine
 * rounds activations to int8 (8 bits: a relative error of about 2^-8 of each block's maximum per
 * matrix input). Over 6 layers that moves a logit by a few tenths at most: 0.34 was measured for
 * another engine that quantises activations the same way, 0.3503 for this one. A greedy token may only differ where the
 * reference's own margin between first and second is below twice the tolerance, since each of the two
 * logits may move by it.
 */
#include "test.h"
#include "base/mem.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>

struct fixture {
	json_t *root;
	json_t *prompts; /* in root */
	struct tr_engine *engine;
	double tolerance;
	double margin; /* greedy tokens must agree where the reference's margin is above this */
	bool check_experts;
};

static char *source_path(const char *name)
{
	static char path[4096];

	snprintf(path, sizeof(path), "%s/models/%s", getenv("TR_SRCDIR"), name);
	return path;
}

static const char *f16; /* path, or NULL */

static int open_fixture(void **state)
{
	static struct fixture f;
	struct tr_engine_opts opts = { .n_ctx = 512, .n_thread = 2, .kv_type = TR_KV_F32 };
	struct tr_err err;

	f.check_experts = f16 != NULL;
	f.tolerance = f16 ? 2e-2 : 0.36;
	f.margin = f16 ? 0.05 : 2 * f.tolerance;
	f.root = json_load_file(source_path(f16 ? "reference-f16.json" : "reference-q4_0.json"), 0,
		NULL);
	f.prompts = json_object_get(f.root, "prompts");
	opts.model_path = f16 ? f16 : source_path("demo-q4_0.gguf");
	if (tr_engine_open(&f.engine, &opts, &err)) {
		print_error("%s\n", err.msg);
		return -1;
	}
	*state = &f;
	return 0;
}

static int close_fixture(void **state)
{
	struct fixture *f = *state;

	tr_engine_close(f->engine);
	json_decref(f->root);
	return 0;
}

static size_t ids_of(json_t *array, int32_t *ids, size_t cap)
{
	size_t i, n = json_array_size(array);

	assert_true(n <= cap);
	for (i = 0; i < n; i++)
		ids[i] = (int32_t)json_integer_value(json_array_get(array, i));
	return n;
}

static struct tr_session *session_after(struct fixture *f, json_t *prompt)
{
	struct tr_session *s;
	struct tr_err err;
	int32_t ids[512];
	size_t n = ids_of(json_object_get(prompt, "ids"), ids, 512);

	if (tr_session_new(&s, f->engine, &err) || tr_session_feed(s, ids, n, &err))
		fail_msg("%s", err.msg);
	return s;
}

static void top_logits_agree_with_the_reference(void **state)
{
	struct fixture *f = *state;
	double worst = 0;
	json_t *prompt;
	size_t p, i;

	json_array_foreach(f->prompts, p, prompt) {
		struct tr_session *s = session_after(f, prompt);
		json_t *top = json_object_get(prompt, "top10");

		for (i = 0; i < json_array_size(top); i++) {
			json_t *pair = json_array_get(top, i);
			json_int_t id = json_integer_value(json_array_get(pair, 0));
			double want = json_number_value(json_array_get(pair, 1));

			worst = fmax(worst, fabs(tr_session_logits(s)[id] - want));
		}
		tr_session_free(s);
	}
	print_message("# largest difference of a top-10 logit: %.5f\n", worst);
	assert_true(worst <= f->tolerance);
}

/* The margin of step i: one for each step, or the smallest of all. */
static double margin_at(json_t *prompt, size_t i)
{
	json_t *gaps = json_object_get(prompt, "top2_gap");

	return gaps ? json_number_value(json_array_get(gaps, i)) :
		      json_number_value(json_object_get(prompt, "greedy32_min_top2_gap"));
}

static int32_t argmax(const float *x, size_t n)
{
	size_t i, at = 0;

	for (i = 1; i < n; i++)
		if (x[i] > x[at])
			at = i;
	return (int32_t)at;
}

static void greedy_continuation_agrees_where_the_margin_is_clear(void **state)
{
	struct fixture *f = *state;
	size_t n_vocab = tr_vocab_size(tr_engine_tokenizer(f->engine));
	size_t p, i, same = 0, total = 0;
	json_t *prompt;

	json_array_foreach(f->prompts, p, prompt) {
		struct tr_session *s = session_after(f, prompt);
		int32_t want[32];
		size_t n = ids_of(json_object_get(prompt, "greedy32"), want, 32);

		for (i = 0; i < n; i++, total++) {
			int32_t id = argmax(tr_session_logits(s), n_vocab);

			if (id == want[i])
				same++;
			else if (margin_at(prompt, i) > f->margin)
				fail_msg("prompt %zu, token %zu: %d, reference %d with a margin of %.3f",
					p, i, id, want[i], margin_at(prompt, i));
			/* Follow the reference, so that every step is compared. */
			assert_int_equal(tr_session_feed(s, &want[i], 1, NULL), 0);
		}
		tr_session_free(s);
	}
	print_message("# %zu of %zu greedy tokens are the reference's\n", same, total);
	assert_true(same * 100 >= total * 97);
}

static void experts_of_the_last_token_are_the_references(void **state)
{
	struct fixture *f = *state;
	json_t *prompt, *want, *weights;
	const char *layer;
	size_t p, i;

	if (!f->check_experts)
		skip();
	json_array_foreach(f->prompts, p, prompt) {
		struct tr_session *s = session_after(f, prompt);

		json_object_foreach(json_object_get(prompt, "experts_last_token"), layer, want) {
			uint32_t ids[8];
			float w[8];
			size_t n = tr_session_routing(s, (uint32_t)atoi(layer), ids, w, 8);

			weights = json_object_get(
				json_object_get(prompt, "expert_weights_last_token"), layer);
			assert_int_equal(n, json_array_size(want));
			for (i = 0; i < n; i++) {
				assert_int_equal(ids[i],
					json_integer_value(json_array_get(want, i)));
				assert_true(fabs(w[i] - json_number_value(
						json_array_get(weights, i))) < 5e-3);
			}
		}
		tr_session_free(s);
	}
}

/* The greatest and the mean distance of a logit of the last token, over all prompts, from those of an
 * engine that keeps its cache as floats. */
static void distance_of_cache(struct fixture *f, enum tr_kv_type type, double *worst, double *mean)
{
	struct tr_engine_opts opts = { .model_path = f16 ? f16 : source_path("demo-q4_0.gguf"),
		.n_ctx = 512, .n_thread = 2, .kv_type = type };
	size_t n = tr_vocab_size(tr_engine_tokenizer(f->engine)), p, i, total = 0;
	struct fixture other = *f;
	struct tr_err err;
	json_t *prompt;

	*worst = *mean = 0;
	if (tr_engine_open(&other.engine, &opts, &err))
		fail_msg("%s", err.msg);
	json_array_foreach(f->prompts, p, prompt) {
		struct tr_session *a = session_after(f, prompt), *b = session_after(&other, prompt);

		for (i = 0; i < n; i++, total++) {
			double d = fabs(tr_session_logits(a)[i] - tr_session_logits(b)[i]);

			*worst = fmax(*worst, d);
			*mean += d;
		}
		tr_session_free(a);
		tr_session_free(b);
	}
	*mean /= (double)total;
	tr_engine_close(other.engine);
}

/* Rounding to a byte is sixteen times as coarse as to binary16, and with the F16 file so is its effect:
 * 0.25 and 0.0097 were measured, 0.031 and 0.00058 for F16. With Q4_0 any difference becomes other
 * activations of int8: 0.65 and 0.035 were measured, 0.34 and 0.025 for F16. */
static void a_cache_of_bytes_moves_logits_a_little(void **state)
{
	double half_worst, half_mean, worst, mean;

	distance_of_cache(*state, TR_KV_F16, &half_worst, &half_mean);
	distance_of_cache(*state, TR_KV_Q8_0, &worst, &mean);
	print_message("# logits move by up to %.5f, %.5f in the mean; of F16: %.5f, %.5f\n", worst, mean,
		half_worst, half_mean);
	assert_true(worst > half_worst && mean > half_mean);
	assert_true(worst <= (f16 ? 0.4 : 1) && mean <= (f16 ? 0.015 : 0.05));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(top_logits_agree_with_the_reference),
		cmocka_unit_test(greedy_continuation_agrees_where_the_margin_is_clear),
		cmocka_unit_test(a_cache_of_bytes_moves_logits_a_little),
		cmocka_unit_test(experts_of_the_last_token_are_the_references),
	};

	f16 = argc > 1 ? argv[1] : NULL;
	return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
