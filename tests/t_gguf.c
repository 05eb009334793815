#include "test.h"
#include "broken_gguf.h"
#include "model/quant.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

static int parse(const struct gw *w, struct tr_gguf **g, struct tr_err *err)
{
	/* A copy of exactly the file's size, so that the sanitizer sees a read past it. */
	uint8_t *p = malloc(w->n ? w->n : 1);
	int rc;

	memcpy(p, w->p, w->n);
	memset(err, 0, sizeof(*err));
	rc = tr_gguf_parse(g, p, w->n, w->n + w->data_bytes, err);
	if (rc) {
		free(p);
		p = NULL;
	}
	return rc;
}

/* The copy belongs to the header as long as it is parsed. */
static void discard(struct tr_gguf *g)
{
	void *p = g->map;

	tr_gguf_close(g);
	free(p);
}

static void good_files_are_read(void **state)
{
	struct tr_gguf *g;
	struct tr_err err;
	struct gw w;

	(void)state;
	for (size_t i = 0; i < n_good_gguf; i++) {
		good_ggufs[i].make(&w);
		if (parse(&w, &g, &err))
			fail_msg("%s: %s", good_ggufs[i].name, err.msg);
		discard(g);
		gw_free(&w);
	}
}

static void broken_files_are_refused_each_in_its_own_words(void **state)
{
	char (*said)[TR_ERR_MSG_BYTES] = calloc(n_broken_gguf, sizeof(*said));
	struct tr_gguf *g;
	struct tr_err err;
	struct gw w;
	int rc;

	(void)state;
	assert_non_null(said);
	assert_true(n_broken_gguf >= 60);
	for (size_t i = 0; i < n_broken_gguf; i++) {
		const struct gguf_case *c = &broken_ggufs[i];

		c->make(&w);
		rc = parse(&w, &g, &err);
		if (!rc)
			fail_msg("%s: was accepted", c->name);
		assert_null(g);
		assert_int_equal(rc, err.code);
		if (!strstr(err.msg, c->says))
			fail_msg("%s: '%s' does not say '%s'", c->name, err.msg, c->says);
		for (const char *p = err.msg; *p; p++)
			assert_true((unsigned char)*p >= 0x20);
		memcpy(said[i], err.msg, sizeof(said[i]));
		for (size_t j = 0; j < i; j++)
			if (!strcmp(said[i], said[j]))
				fail_msg("%s and %s both say '%s'", broken_ggufs[j].name, c->name,
					err.msg);
		gw_free(&w);
	}
	print_message("# %zu broken files, %zu messages\n", n_broken_gguf, n_broken_gguf);
	free(said);
}

static void refusing_works_without_an_error_struct(void **state)
{
	struct tr_gguf *g;
	struct gw w;

	(void)state;
	for (size_t i = 0; i < n_broken_gguf; i++) {
		broken_ggufs[i].make(&w);
		assert_true(tr_gguf_parse(&g, w.p, w.n, w.n, NULL) < 0);
		gw_free(&w);
	}
}

static void every_cut_of_a_good_file_is_refused(void **state)
{
	struct tr_gguf *g;
	struct tr_err err;
	struct gw w;
	size_t whole;

	(void)state;
	good_ggufs[0].make(&w);
	whole = w.n;
	for (w.n = 0; w.n < whole; w.n++)
		if (!parse(&w, &g, &err))
			fail_msg("%zu of %zu bytes were accepted", w.n, whole);
	assert_int_equal(parse(&w, &g, &err), 0);
	discard(g);
	gw_free(&w);
}

static void versions_2_and_3_say_the_same(void **state)
{
	struct tr_gguf *g[2];
	struct tr_err err;
	struct gw w[2];

	(void)state;
	for (int i = 0; i < 2; i++) {
		good_ggufs[i].make(&w[i]);
		assert_int_equal(parse(&w[i], &g[i], &err), 0);
		assert_int_equal(g[i]->version, 2 + i);
	}
	assert_int_equal(g[0]->n_tensor, 4);
	assert_int_equal(g[0]->data_off, g[1]->data_off);
	assert_memory_equal(g[0]->tensors, g[1]->tensors, 4 * sizeof(*g[0]->tensors));
	for (int i = 0; i < 2; i++) {
		discard(g[i]);
		gw_free(&w[i]);
	}
}

static void tensors_carry_their_sizes_and_places(void **state)
{
	const struct tr_gguf_tensor *t;
	struct tr_gguf *g;
	struct tr_err err;
	struct gw w;

	(void)state;
	good_ggufs[1].make(&w);
	assert_int_equal(parse(&w, &g, &err), 0);
	assert_int_equal(g->alignment, 32);
	assert_int_equal(g->data_off % 32, 0);
	t = &g->tensors[0];
	assert_string_equal(t->name, "output.weight");
	assert_int_equal(t->bytes, 512);
	assert_int_equal(t->file_off, g->data_off);
	t = &g->tensors[1];
	assert_int_equal(t->type, TR_QUANT_Q4_0);
	assert_int_equal(t->n_dim, 3);
	assert_int_equal(t->ne[1], 64);
	assert_int_equal(t->ne[3], 1);
	assert_int_equal(t->row_bytes, 18);
	assert_int_equal(t->bytes, 18 * 64 * 4);
	assert_int_equal(t->file_off, g->data_off + 512);
	discard(g);
	gw_free(&w);
}

static void values_of_every_type_come_back(void **state)
{
	static const struct {
		const char *key;
		int64_t v;
	} ints[] = {
		{ "key.a", 254 }, { "key.b", -2 }, { "key.c", 65534 }, { "key.d", -2 },
		{ "key.e", 4294967294 }, { "key.f", -2 }, { "key.h", 1 }, { "key.l", -2 },
	};
	const uint8_t *cursor;
	struct tr_gguf *g;
	struct tr_str s;
	struct tr_err err;
	struct gw w;
	int64_t v;
	double f;

	(void)state;
	good_ggufs[2].make(&w);
	assert_int_equal(parse(&w, &g, &err), 0);
	for (size_t i = 0; i < sizeof(ints) / sizeof(ints[0]); i++) {
		assert_int_equal(tr_gguf_int(tr_gguf_find(g, ints[i].key), 0, &v), 0);
		assert_int_equal(v, ints[i].v);
		assert_int_equal(tr_gguf_int(tr_gguf_find(g, ints[i].key), 1, &v), TR_E_INVALID);
		assert_int_equal(tr_gguf_float(tr_gguf_find(g, ints[i].key), 0, &f), TR_E_INVALID);
	}
	assert_int_equal(tr_gguf_int(tr_gguf_find(g, "key.k"), 0, &v), TR_E_INVALID); /* 2^64-2 */
	assert_int_equal(tr_gguf_int(tr_gguf_find(g, "key.g"), 0, &v), TR_E_INVALID); /* f32 */
	assert_int_equal(tr_gguf_float(tr_gguf_find(g, "key.g"), 0, &f), 0);
	assert_true(f == 0.5);
	assert_int_equal(tr_gguf_float(tr_gguf_find(g, "key.m"), 0, &f), 0);
	assert_true(f == -1e300);
	cursor = tr_gguf_find(g, "key.i")->data;
	s = tr_gguf_next_str(&cursor);
	assert_int_equal(s.n, 7);
	assert_memory_equal(s.p, "stra\xc3\x9f" "e", 7);
	assert_null(tr_gguf_find(g, "key.j"));
	discard(g);
	gw_free(&w);
}

static void arrays_of_every_type_come_back(void **state)
{
	static const char keys[] = "abcdefghklm";
	char key[] = "arr.?";
	const uint8_t *cursor;
	struct tr_gguf *g;
	struct tr_err err;
	struct gw w;
	int64_t v;
	double f;

	(void)state;
	good_ggufs[3].make(&w);
	assert_int_equal(parse(&w, &g, &err), 0);
	for (const char *k = keys; *k; k++) {
		const struct tr_gguf_kv *kv;

		key[4] = *k;
		kv = tr_gguf_find(g, key);
		assert_non_null(kv);
		assert_int_equal(kv->type, TR_GGUF_ARR);
		assert_int_equal(kv->elem_type, *k - 'a');
		assert_int_equal(kv->n, 3);
		for (int i = 0; i < 3; i++) {
			if (*k == 'g' || *k == 'm') {
				assert_int_equal(tr_gguf_float(kv, (uint64_t)i, &f), 0);
				assert_true(f == 1.0);
			} else {
				assert_int_equal(tr_gguf_int(kv, (uint64_t)i, &v), 0);
				assert_int_equal(v, i & 1);
			}
		}
		assert_int_equal(tr_gguf_int(kv, 3, &v), TR_E_INVALID);
		assert_int_equal(tr_gguf_float(kv, 3, &f), TR_E_INVALID);
	}
	cursor = tr_gguf_find(g, "arr.i")->data;
	assert_int_equal(tr_gguf_next_str(&cursor).n, 4);
	assert_int_equal(tr_gguf_next_str(&cursor).n, 0);
	assert_memory_equal(tr_gguf_next_str(&cursor).p, "word", 4);
	assert_int_equal(tr_gguf_find(g, "arr.empty")->n, 0);
	discard(g);
	gw_free(&w);
}

static void header_longer_than_what_may_be_looked_at_is_refused(void **state)
{
	struct tr_gguf *g;
	struct tr_err err;
	struct gw w;

	(void)state;
	good_ggufs[0].make(&w);
	assert_int_equal(tr_gguf_parse(&g, w.p, 200, w.n, &err), TR_E_FORMAT);
	assert_err_has(&err, "a header must end at 200");
	gw_free(&w);
}

static void a_hundred_thousand_tensors_take_no_time(void **state)
{
	struct timespec a, b;
	struct tr_gguf *g;
	struct tr_err err;
	char name[32];
	struct gw w;
	double s;

	(void)state;
	gw_begin(&w, 3);
	for (int i = 0; i < 100000; i++) {
		snprintf(name, sizeof(name), "blk.%d.weight", i);
		gw_tensor(&w, name, TR_QUANT_F32, 8);
	}
	gw_end(&w);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
	assert_int_equal(parse(&w, &g, &err), 0);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
	s = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
	print_message("# 100000 tensors parsed in %.3f s of processor time\n", s);
	assert_true(s < 5);
	discard(g);
	gw_free(&w);
}

static void what_is_not_a_file_is_refused_by_path(void **state)
{
	char path[] = "t_gguf.XXXXXX";
	struct tr_gguf *g;
	struct tr_err err;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(tr_gguf_open(&g, path, &err), TR_E_FORMAT);
	assert_err_has(&err, path);
	assert_err_has(&err, "empty");
	assert_int_equal(write(fd, "GGUF", 4), 4);
	assert_int_equal(tr_gguf_open(&g, path, &err), TR_E_FORMAT);
	assert_err_has(&err, path);
	assert_err_has(&err, "version needs 4 bytes");
	assert_int_equal(tr_gguf_open(&g, path, NULL), TR_E_FORMAT);
	close(fd);
	unlink(path);
	assert_int_equal(tr_gguf_open(&g, path, &err), TR_E_NOENT);
	assert_err_has(&err, path);
	assert_int_equal(tr_gguf_open(&g, "/", &err), TR_E_INVALID);
	assert_err_has(&err, "not a regular file");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_files_are_read),
		cmocka_unit_test(broken_files_are_refused_each_in_its_own_words),
		cmocka_unit_test(refusing_works_without_an_error_struct),
		cmocka_unit_test(every_cut_of_a_good_file_is_refused),
		cmocka_unit_test(versions_2_and_3_say_the_same),
		cmocka_unit_test(tensors_carry_their_sizes_and_places),
		cmocka_unit_test(values_of_every_type_come_back),
		cmocka_unit_test(arrays_of_every_type_come_back),
		cmocka_unit_test(header_longer_than_what_may_be_looked_at_is_refused),
		cmocka_unit_test(a_hundred_thousand_tensors_take_no_time),
		cmocka_unit_test(what_is_not_a_file_is_refused_by_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
