#include "test.h"
#include "gguf_write.h"
#include "model/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A model of the header in w, which stays with the caller. */
static struct tr_model *model_of(struct gw *w)
{
	struct tr_gguf *g;
	struct tr_model *m;
	struct tr_err err;

	gw_end(w);
	if (tr_gguf_parse(&g, w->p, w->n, w->n + w->data_bytes, &err))
		fail_msg("%s", err.msg);
	if (tr_model_from_gguf(&m, g, &err))
		fail_msg("%s", err.msg);
	return m;
}

static void begin_model(struct gw *w)
{
	gw_begin(w, 3);
	gw_kv_str(w, "general.architecture", "toy");
}

static void demo_model_opens(void **state)
{
	const char *src = getenv("TR_SRCDIR");
	const struct tr_tensor *t;
	struct tr_tensor_info info;
	struct tr_shard_info shard;
	struct tr_model *m;
	struct tr_err err;
	char path[4096];
	uint32_t n = 0;
	float eps = 0;
	bool norm = false;

	(void)state;
	snprintf(path, sizeof(path), "%s/models/demo-q4_0.gguf", src ? src : ".");
	if (tr_model_open(&m, path, &err))
		fail_msg("%s", err.msg);
	assert_string_equal(m->arch, "deepseek2");
	assert_int_equal(tr_model_n_tensor(m), 106);
	assert_int_equal(tr_model_n_kv(m), 44);
	assert_int_equal(tr_model_n_shard(m), 1);
	t = tr_model_find(m, "blk.%u.ffn_down_exps.weight", 5);
	assert_non_null(t);
	assert_string_equal(t->quant->name, "Q4_0");
	assert_int_equal(t->ne[0], 128);
	assert_int_equal(t->ne[1], 256);
	assert_int_equal(t->ne[2], 64);
	assert_null(tr_model_find(m, "blk.%u.ffn_down_exps.weight", 6));
	assert_int_equal(tr_model_u32(m, ".block_count", 1, 512, &n, &err), 0);
	assert_int_equal(n, 6);
	assert_int_equal(tr_model_f32(m, ".attention.layer_norm_rms_epsilon", &eps, &err), 0);
	assert_true(eps == 1e-6f);
	assert_int_equal(tr_model_bool(m, ".expert_weights_norm", &norm, &err), 0);
	assert_true(norm);
	tr_model_shard_info(m, 0, &shard);
	assert_string_equal(shard.path, path);
	assert_int_equal(shard.file_bytes, 22831936);
	for (size_t i = 0; i < 106; i++) {
		tr_model_tensor_info(m, i, &info);
		assert_true(info.file_off >= shard.data_off);
		assert_true(info.file_off + info.bytes <= shard.file_bytes);
		assert_non_null(tr_model_find(m, "%s", info.name));
	}
	tr_model_close(m);
}

/* The demo model, cut off after so many bytes, in a file of the test's own. */
static void cut_demo(const char *to, long bytes)
{
	const char *src = getenv("TR_SRCDIR");
	char path[4096], *buf = malloc((size_t)bytes);
	FILE *f;

	snprintf(path, sizeof(path), "%s/models/demo-q4_0.gguf", src ? src : ".");
	f = fopen(path, "rb");
	assert_non_null(f);
	assert_int_equal(fread(buf, 1, (size_t)bytes, f), bytes);
	fclose(f);
	f = fopen(to, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(buf, 1, (size_t)bytes, f), bytes);
	assert_int_equal(fclose(f), 0);
	free(buf);
}

static void header_alone_opens_where_no_weights_are_wanted(void **state)
{
	char path[] = "/tmp/t_model-XXXXXX";
	int fd = mkstemp(path);
	struct tr_shard_info shard;
	struct tr_model *m;
	struct tr_err err;

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	cut_demo(path, 133696);
	assert_int_equal(tr_model_open(&m, path, &err), TR_E_FORMAT);
	if (tr_model_open_header(&m, path, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(tr_model_n_tensor(m), 106);
	tr_model_shard_info(m, 0, &shard);
	assert_int_equal(shard.file_bytes, 133696);
	tr_model_close(m);
	cut_demo(path, 100000);
	assert_int_equal(tr_model_open_header(&m, path, &err), TR_E_FORMAT);
	assert_err_has(&err, path);
	unlink(path);
}

static void integers_are_read_whatever_their_width(void **state)
{
	static const enum tr_gguf_type types[] = { TR_GGUF_U8, TR_GGUF_I8, TR_GGUF_U16, TR_GGUF_I16,
		TR_GGUF_U32, TR_GGUF_I32, TR_GGUF_U64, TR_GGUF_I64 };
	struct tr_model *m;
	struct tr_err err;
	char key[16];
	struct gw w;
	uint32_t v;

	(void)state;
	begin_model(&w);
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		snprintf(key, sizeof(key), "toy.k%d", types[i]);
		gw_kv_int(&w, key, types[i], 100);
	}
	m = model_of(&w);
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		snprintf(key, sizeof(key), ".k%d", types[i]);
		assert_int_equal(tr_model_u32(m, key, 100, 100, &v, &err), 0);
		assert_int_equal(v, 100);
	}
	tr_model_close(m);
	gw_free(&w);
}

static void numbers_out_of_range_are_refused_with_both_limits(void **state)
{
	struct tr_model *m;
	struct tr_err err;
	uint32_t v = 7;
	struct gw w;

	(void)state;
	begin_model(&w);
	gw_kv_u32(&w, "toy.layers", 513);
	gw_kv_int(&w, "toy.negative", TR_GGUF_I32, -1);
	gw_kv_int(&w, "toy.huge", TR_GGUF_U64, -1);
	gw_kv_int(&w, "toy.wide", TR_GGUF_I64, (int64_t)1 << 32);
	m = model_of(&w);
	assert_int_equal(tr_model_u32(m, ".layers", 1, 512, &v, &err), TR_E_LIMIT);
	assert_err_has(&err, "key 'toy.layers': value 513 is not in [1, 512]");
	assert_int_equal(tr_model_u32(m, ".negative", 0, 512, &v, &err), TR_E_LIMIT);
	assert_err_has(&err, "value -1");
	assert_int_equal(tr_model_u32(m, ".huge", 0, UINT32_MAX, &v, &err), TR_E_LIMIT);
	assert_err_has(&err, "key 'toy.huge'");
	assert_int_equal(tr_model_u32(m, ".wide", 0, UINT32_MAX, &v, &err), TR_E_LIMIT);
	assert_err_has(&err, "value 4294967296 is not in [0, 4294967295]");
	assert_int_equal(v, 7);
	tr_model_close(m);
	gw_free(&w);
}

static void absent_keys_leave_the_default_alone(void **state)
{
	struct tr_err err = { .code = 5, .msg = "untouched" };
	struct tr_str s = { "default", 7 };
	struct tr_model *m;
	uint32_t u = 3;
	float f = 1.5f;
	bool b = true;
	struct gw w;

	(void)state;
	begin_model(&w);
	gw_kv_u32(&w, "other.key", 1);
	m = model_of(&w);
	assert_int_equal(tr_model_u32(m, ".key", 0, 9, &u, &err), TR_E_NOENT);
	assert_int_equal(tr_model_u32_at(m, ".key", 0, 2, 0, 9, &u, &err), TR_E_NOENT);
	assert_int_equal(tr_model_f32(m, ".key", &f, &err), TR_E_NOENT);
	assert_int_equal(tr_model_bool(m, ".key", &b, &err), TR_E_NOENT);
	assert_int_equal(tr_model_str(m, ".key", &s, &err), TR_E_NOENT);
	assert_int_equal(u, 3);
	assert_true(f == 1.5f && b && s.n == 7);
	assert_string_equal(err.msg, "untouched");
	tr_model_close(m);
	gw_free(&w);
}

static void wrong_types_are_refused_by_name(void **state)
{
	struct tr_model *m;
	struct tr_err err;
	struct tr_str s;
	struct gw w;
	uint32_t u;
	float f;
	bool b;

	(void)state;
	begin_model(&w);
	gw_kv_u32(&w, "toy.int", 1);
	gw_kv_f32(&w, "toy.float", 1);
	gw_kv_str(&w, "toy.text", "1");
	gw_kv_int(&w, "toy.bool", TR_GGUF_BOOL, 1);
	gw_kv_arr(&w, "toy.list", TR_GGUF_U32, 1);
	gw_u32(&w, 1);
	m = model_of(&w);
	assert_int_equal(tr_model_u32(m, ".float", 0, 9, &u, &err), TR_E_FORMAT);
	assert_err_has(&err, "key 'toy.float': is of type f32, must be an integer");
	assert_int_equal(tr_model_u32(m, ".bool", 0, 9, &u, &err), TR_E_FORMAT);
	assert_int_equal(tr_model_u32(m, ".list", 0, 9, &u, &err), TR_E_FORMAT);
	assert_err_has(&err, "key 'toy.list': is an array of 1 u32, must be an integer");
	assert_int_equal(tr_model_f32(m, ".int", &f, &err), TR_E_FORMAT);
	assert_err_has(&err, "key 'toy.int': is of type u32, must be a float");
	assert_int_equal(tr_model_bool(m, ".int", &b, &err), TR_E_FORMAT);
	assert_err_has(&err, "must be a bool");
	assert_int_equal(tr_model_str(m, ".int", &s, &err), TR_E_FORMAT);
	assert_err_has(&err, "must be a string");
	assert_int_equal(tr_model_str(m, ".text", &s, &err), 0);
	assert_int_equal(s.n, 1);
	tr_model_close(m);
	gw_free(&w);
}

static void floats_must_be_finite(void **state)
{
	static const struct {
		const char *key;
		double v;
	} bad[] = { { "toy.nan", NAN }, { "toy.inf", INFINITY }, { "toy.minf", -INFINITY },
		{ "toy.big", 1e39 } };
	struct tr_model *m;
	struct tr_err err;
	struct gw w;
	float f = 2;

	(void)state;
	begin_model(&w);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		gw_kv_f64(&w, bad[i].key, bad[i].v);
	gw_kv_f32(&w, "toy.fnan", NAN);
	gw_kv_f64(&w, "toy.fine", -0.25);
	m = model_of(&w);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(tr_model_f32(m, bad[i].key, &f, &err), TR_E_FORMAT);
		assert_err_has(&err, bad[i].key);
		assert_err_has(&err, "not a finite float");
	}
	assert_int_equal(tr_model_f32(m, ".fnan", &f, &err), TR_E_FORMAT);
	assert_true(f == 2);
	assert_int_equal(tr_model_f32(m, ".fine", &f, &err), 0);
	assert_true(f == -0.25f);
	tr_model_close(m);
	gw_free(&w);
}

static void per_layer_keys_are_scalar_or_array(void **state)
{
	struct tr_model *m;
	struct tr_err err;
	struct gw w;
	uint32_t v;

	(void)state;
	begin_model(&w);
	gw_kv_u32(&w, "toy.scalar", 4);
	gw_kv_arr(&w, "toy.list", TR_GGUF_U16, 3);
	for (int i = 0; i < 3; i++)
		gw_int(&w, TR_GGUF_U16, 10 + i);
	gw_kv_arr(&w, "toy.texts", TR_GGUF_STR, 3);
	for (int i = 0; i < 3; i++)
		gw_str(&w, "x");
	m = model_of(&w);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(tr_model_u32_at(m, ".scalar", i, 3, 0, 99, &v, &err), 0);
		assert_int_equal(v, 4);
		assert_int_equal(tr_model_u32_at(m, ".list", i, 3, 0, 99, &v, &err), 0);
		assert_int_equal(v, 10 + i);
	}
	assert_int_equal(tr_model_u32_at(m, ".list", 2, 3, 0, 11, &v, &err), TR_E_LIMIT);
	assert_err_has(&err, "value 12 is not in [0, 11]");
	assert_int_equal(tr_model_u32_at(m, ".list", 0, 4, 0, 99, &v, &err), TR_E_FORMAT);
	assert_err_has(&err, "array has 3 elements, must have 4");
	assert_int_equal(tr_model_u32_at(m, ".texts", 0, 3, 0, 99, &v, &err), TR_E_FORMAT);
	tr_model_close(m);
	gw_free(&w);
}

static void assert_text(const struct tr_model *m, const char *key, const char *want)
{
	char buf[128];

	for (size_t i = 0; i < tr_model_n_kv(m); i++) {
		if (strcmp(tr_model_kv_key(m, i), key))
			continue;
		assert_int_equal(tr_model_kv_text(m, i, buf, sizeof(buf)), strlen(want));
		assert_string_equal(buf, want);
		return;
	}
	fail_msg("no key %s", key);
}

static void metadata_is_shown_as_text(void **state)
{
	struct tr_model *m;
	struct gw w;

	(void)state;
	begin_model(&w);
	gw_kv_int(&w, "i8", TR_GGUF_I8, -7);
	gw_kv_int(&w, "u64", TR_GGUF_U64, -1);
	gw_kv_int(&w, "i64", TR_GGUF_I64, INT64_MIN);
	gw_kv_int(&w, "yes", TR_GGUF_BOOL, 1);
	gw_kv_f32(&w, "f32", 2.827f);
	gw_kv_f64(&w, "f64", 0.1);
	gw_kv_f32(&w, "nan", NAN);
	gw_kv_arr(&w, "ints", TR_GGUF_U32, 4);
	for (uint32_t i = 1; i < 5; i++)
		gw_u32(&w, i);
	gw_kv_arr(&w, "words", TR_GGUF_STR, 2);
	gw_str(&w, "ja");
	gw_str(&w, "nein");
	gw_kv_arr(&w, "none", TR_GGUF_F32, 0);
	m = model_of(&w);
	assert_string_equal(tr_model_kv_key(m, 1), "i8");
	assert_string_equal(tr_model_kv_type(m, 1), "i8");
	assert_text(m, "general.architecture", "toy");
	assert_text(m, "i8", "-7");
	assert_text(m, "u64", "18446744073709551615");
	assert_text(m, "i64", "-9223372036854775808");
	assert_text(m, "yes", "true");
	assert_text(m, "f32", "2.827");
	assert_text(m, "f64", "0.1");
	assert_text(m, "nan", "nan");
	assert_text(m, "ints", "[u32 x 4] 1, 2, 3, 4");
	assert_text(m, "words", "[str x 2] ja, nein");
	assert_text(m, "none", "[f32 x 0]");
	tr_model_close(m);
	gw_free(&w);
}

static void long_text_is_cut_between_characters(void **state)
{
	static const char text[] = "ab\xe4\xb8\xad\xe6\x96\x87yz"; /* 10 bytes */
	static const struct {
		size_t cap;
		const char *want;
	} cuts[] = { { 11, text }, { 10, "ab\xe4\xb8\xad..." }, { 9, "ab\xe4\xb8\xad..." },
		{ 8, "ab..." }, { 7, "ab..." }, { 6, "ab..." }, { 5, "a..." }, { 4, "..." },
		{ 2, "." }, { 1, "" } };
	struct tr_model *m;
	char buf[16];
	struct gw w;

	(void)state;
	begin_model(&w);
	gw_kv_str(&w, "text", text);
	m = model_of(&w);
	assert_int_equal(tr_model_kv_text(m, 1, NULL, 0), 10);
	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		memset(buf, 'X', sizeof(buf));
		assert_int_equal(tr_model_kv_text(m, 1, buf, cuts[i].cap), 10);
		assert_string_equal(buf, cuts[i].want);
		assert_int_equal(buf[cuts[i].cap], 'X');
	}
	tr_model_close(m);
	gw_free(&w);
}

static void architecture_must_be_a_plain_name(void **state)
{
	static const struct {
		const char *arch;
		const char *says;
	} bad[] = {
		{ NULL, "key 'general.architecture' is missing" },
		{ "", "name of 0 bytes" },
		{ "a name with blanks", "byte 0x20 at position 1" },
		{ "deep\033[31m", "byte 0x1b at position 4" },
		{ "0123456789012345678901234567890123456789012345678901234567890123456789",
			"name of 70 bytes" },
	};
	struct tr_model *m;
	struct tr_gguf *g;
	struct tr_err err;
	struct gw w;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		gw_begin(&w, 3);
		if (bad[i].arch)
			gw_kv_str(&w, "general.architecture", bad[i].arch);
		gw_end(&w);
		assert_int_equal(tr_gguf_parse(&g, w.p, w.n, w.n, &err), 0);
		assert_int_equal(tr_model_from_gguf(&m, g, &err), TR_E_FORMAT);
		assert_err_has(&err, bad[i].says);
		assert_null(m);
		gw_free(&w);
	}
}

static void fingerprint_of(const char *arch, uint64_t rows, uint64_t hole, char *out)
{
	struct tr_model *m;
	struct gw w;

	gw_begin(&w, 3);
	gw_kv_str(&w, "general.architecture", arch);
	gw_tensor(&w, "t", TR_QUANT_Q8_0, 32, rows);
	w.data_bytes += hole;
	m = model_of(&w);
	tr_model_fingerprint(m, out);
	tr_model_close(m);
	gw_free(&w);
}

static void fingerprint_tells_models_apart(void **state)
{
	char a[TR_FINGERPRINT_BYTES], b[TR_FINGERPRINT_BYTES];

	(void)state;
	fingerprint_of("toy", 4, 0, a);
	assert_int_equal(strlen(a), 32);
	assert_int_equal(strspn(a, "0123456789abcdef"), 32);
	fingerprint_of("toy", 4, 0, b);
	assert_string_equal(a, b);
	fingerprint_of("toz", 4, 0, b);
	assert_string_not_equal(a, b);
	fingerprint_of("toy", 5, 0, b);
	assert_string_not_equal(a, b);
	fingerprint_of("toy", 4, 64, b);
	assert_string_not_equal(a, b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(demo_model_opens),
		cmocka_unit_test(header_alone_opens_where_no_weights_are_wanted),
		cmocka_unit_test(integers_are_read_whatever_their_width),
		cmocka_unit_test(numbers_out_of_range_are_refused_with_both_limits),
		cmocka_unit_test(absent_keys_leave_the_default_alone),
		cmocka_unit_test(wrong_types_are_refused_by_name),
		cmocka_unit_test(floats_must_be_finite),
		cmocka_unit_test(per_layer_keys_are_scalar_or_array),
		cmocka_unit_test(metadata_is_shown_as_text),
		cmocka_unit_test(long_text_is_cut_between_characters),
		cmocka_unit_test(architecture_must_be_a_plain_name),
		cmocka_unit_test(fingerprint_tells_models_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
