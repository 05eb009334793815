/* t_profile.c - activation profiles: from statistics and traces, and what is refused. */
#include "test.h"
#include "base/mem.h"
#include "engine/profile.h"

#include <stdio.h>
#include <unistd.h>

enum { N_LAYER = 2, N_EXPERT = 4, N_UNIT = N_LAYER * N_EXPERT };

struct bed {
	struct tr_model *model;
	struct tr_moe_layer layers[N_LAYER];
	struct tr_catalog catalog;
	char fingerprint[TR_FINGERPRINT_BYTES];
	char path[32];
};

/* The fingerprint is that of the demo model, the shape of its own. */
static int setup(void **state)
{
	struct bed *b = tr_calloc(1, sizeof(*b));
	char model[4096];
	int fd;

	if (!b)
		return -1;
	snprintf(model, sizeof(model), "%s/models/demo-q4_0.gguf", getenv("TR_SRCDIR"));
	if (tr_model_open(&b->model, model, NULL))
		return -1;
	tr_model_fingerprint(b->model, b->fingerprint);
	b->layers[0].layer = 1;
	b->layers[1].layer = 3;
	b->catalog = (struct tr_catalog){ .n_layer = 4, .n_expert = N_EXPERT, .n_used = 2,
		.n_moe_layer = N_LAYER, .moe_layers = b->layers, .n_unit = N_UNIT };
	strcpy(b->path, "t_profile-XXXXXX");
	fd = mkstemp(b->path);
	if (fd < 0)
		return -1;
	close(fd);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bed *b = *state;

	unlink(b->path);
	tr_model_close(b->model);
	free(b);
	return 0;
}

static void put(struct bed *b, const char *text)
{
	FILE *f = fopen(b->path, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	fclose(f);
}

#define HEAD(version, n_moe_layer, n_expert)                                                       \
	"{\"format\": \"tierra-stats\", \"version\": " version ", \"future\": [1],"                \
	"\"model\": {\"n_moe_layer\": " n_moe_layer ", \"n_expert\": " n_expert "}, \"layers\": ["
#define LAYER_1 "{\"layer\": 1, \"unit_bytes\": 9, \"uses\": [6, 2, 0, 0], \"mass\": [1]}"

static const float *read_rates(struct bed *b, struct tr_profile *p)
{
	struct tr_err err;

	if (tr_profile_open(p, b->path, b->model, &b->catalog, &err))
		fail_msg("%s", err.msg);
	return p->rate;
}

static void refused(struct bed *b, const char *text, int code, const char *why)
{
	struct tr_profile p;
	struct tr_err err;

	put(b, text);
	assert_int_equal(tr_profile_open(&p, b->path, b->model, &b->catalog, &err), code);
	assert_err_has(&err, why);
	assert_err_has(&err, b->path);
	assert_null(p.rate);
}

static void counts_become_uses_a_token(void **state)
{
	struct bed *b = *state;
	struct tr_profile p;

	put(b, HEAD("1", "2", "4") LAYER_1 ", {\"layer\": 3, \"uses\": [0, 1, 1, 0], "
		"\"prefill_uses\": [2, 0, 0, 4]}]}");
	assert_memory_equal(read_rates(b, &p),
		((const float[]){ 1.5f, 0.5f, 0, 0, 0.5f, 0.25f, 0.25f, 1 }), N_UNIT * 4);
	assert_false(p.of_other_weights);
	tr_profile_close(&p);
}

static void a_layer_that_nobody_visited_is_even(void **state)
{
	struct bed *b = *state;
	struct tr_profile p;

	put(b, HEAD("1", "2", "4") LAYER_1 ", {\"layer\": 3, \"uses\": [0, 0, 0, 0]}]}");
	assert_memory_equal(read_rates(b, &p) + N_EXPERT,
		((const float[]){ 0.5f, 0.5f, 0.5f, 0.5f }), N_EXPERT * 4);
	tr_profile_close(&p);
}

static void a_trace_is_a_profile(void **state)
{
	struct bed *b = *state;
	struct tr_profile p;

	put(b, "token,layer,expert\n0,1,3\n0,1,0\n0,3,1\n0,3,2\n1,1,3\n1,1,2\n1,3,1\n1,3,0\n");
	assert_memory_equal(read_rates(b, &p),
		((const float[]){ 0.5f, 0, 0.5f, 1, 0.5f, 1, 0.5f, 0 }), N_UNIT * 4);
	tr_profile_close(&p);
}

static void other_weights_are_told_and_taken(void **state)
{
	struct bed *b = *state;
	struct tr_profile p;
	char text[1024];

	for (int same = 0; same <= 1; same++) {
		snprintf(text, sizeof(text),
			"{\"format\": \"tierra-stats\", \"version\": 1, \"model\": {\"n_moe_layer\": 2,"
			"\"n_expert\": 4, \"fingerprint\": \"%s\"}, \"layers\": [" LAYER_1
			", {\"layer\": 3, \"uses\": [1, 1, 0, 0]}]}",
			same ? b->fingerprint : "0123");
		put(b, text);
		read_rates(b, &p);
		assert_int_equal(p.of_other_weights, !same);
		tr_profile_close(&p);
	}
}

static void what_does_not_fit_is_named(void **state)
{
	struct bed *b = *state;

	refused(b, "{\"format\": \"other\"}", TR_E_FORMAT, "not tierra-stats JSON");
	refused(b, "[1]", TR_E_FORMAT, "neither tierra-stats JSON nor a trace");
	refused(b, "{\"format\": ", TR_E_FORMAT, "line 1");
	refused(b, HEAD("2", "2", "4") "]}", TR_E_UNSUPPORTED, "version 2: at most 1");
	refused(b, HEAD("\"1\"", "2", "4") "]}", TR_E_FORMAT, "version");
	refused(b, HEAD("1", "3", "4") "]}", TR_E_INVALID, "n_moe_layer is 3 there, 2 here");
	refused(b, HEAD("1", "2", "256") "]}", TR_E_INVALID, "n_expert is 256 there, 4 here");
	refused(b, HEAD("1", "2", "4") LAYER_1 "]}", TR_E_INVALID, "layers[] is 1 there");
	refused(b, HEAD("1", "2", "4") LAYER_1 ", " LAYER_1 "]}", TR_E_INVALID,
		"layers[].layer is 1 there, 3 here");
	refused(b, HEAD("1", "2", "4") "{\"layer\": 1}, 7]}", TR_E_FORMAT, "layers[0].uses");
	refused(b, HEAD("1", "2", "4") "{\"layer\": 1, \"uses\": [1, 2, 3]}, 7]}", TR_E_INVALID,
		"layers[].uses is 3 there, 4 here");
	refused(b, HEAD("1", "2", "4") "{\"layer\": 1, \"uses\": [1, 2, 3, -1]}, 7]}", TR_E_FORMAT,
		"layers[0].uses[3]");
	refused(b, "0,1,3\n", TR_E_INVALID, "n_moe_layer is 1 there, 2 here");
}

static void a_missing_file_is_named(void **state)
{
	struct bed *b = *state;
	struct tr_profile p;
	struct tr_err err;

	assert_int_equal(tr_profile_open(&p, "no/such", b->model, &b->catalog, &err), TR_E_NOENT);
	assert_err_has(&err, "no/such");
}

static void the_hottest_come_first_and_the_unused_not_at_all(void **state)
{
	float rate[] = { 0.5f, 0, 2, 1, 0.5f }, worth[] = { 1, 1, 0.25f, 1, 1 };
	struct tr_profile p = { .rate = rate };
	uint32_t hot[5], n;

	(void)state;
	assert_int_equal(tr_profile_sort(hot, &n, &p, worth, 5, NULL), 0);
	assert_int_equal(n, 4);
	assert_memory_equal(hot, ((const uint32_t[]){ 3, 0, 2, 4 }), sizeof(uint32_t[4]));
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(counts_become_uses_a_token),
		test(a_layer_that_nobody_visited_is_even),
		test(a_trace_is_a_profile),
		test(other_weights_are_told_and_taken),
		test(what_does_not_fit_is_named),
		test(a_missing_file_is_named),
		test(the_hottest_come_first_and_the_unused_not_at_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
