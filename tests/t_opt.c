#include "test.h"
#include "base/opt.h"

static void sizes_take_binary_suffixes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{ "0", 0 }, { "4096", 4096 }, { "512M", 512ull << 20 }, { "96G", 96ull << 30 },
		{ "1.5T", 3ull << 39 }, { "2GiB", 2ull << 30 }, { "3kB", 3072 }, { "25%", 250 },
		{ "0%", 0 }, { "100%", 1000 },
	};
	uint64_t bytes;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(tr_opt_size("--dram", good[i].text, 1000, &bytes, NULL), 0);
		assert_int_equal(bytes, good[i].bytes);
	}
}

static void bad_sizes_are_refused_by_name(void **state)
{
	static const char *const bad[] = { "", "G", "-1", "12Q", "101%", "5%%", "nan", "1e400",
		"99999999T", "4 G" };
	struct tr_err err;
	uint64_t bytes;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_true(tr_opt_size("--dram", bad[i], 1000, &bytes, &err) < 0);
		assert_err_has(&err, "--dram");
		assert_err_has(&err, bad[i]);
	}
}

static void numbers_keep_their_limits(void **state)
{
	struct tr_err err;
	uint64_t u;
	double f;

	(void)state;
	assert_int_equal(tr_opt_u64("-t", "8", 1, 64, &u, &err), 0);
	assert_int_equal(u, 8);
	assert_int_equal(tr_opt_u64("-t", "65", 1, 64, &u, &err), TR_E_LIMIT);
	assert_err_has(&err, "64");
	assert_int_equal(tr_opt_u64("-t", "-1", 0, 64, &u, &err), TR_E_INVALID);
	assert_int_equal(tr_opt_u64("-t", "8x", 0, 64, &u, &err), TR_E_INVALID);
	assert_int_equal(tr_opt_f64("--temp", "0.5", 0, 10, &f, &err), 0);
	assert_int_equal(tr_opt_f64("--temp", "11", 0, 10, &f, &err), TR_E_LIMIT);
	assert_int_equal(tr_opt_f64("--temp", "warm", 0, 10, &f, &err), TR_E_INVALID);
}

static int collect(void *ctx, const char *key, const char *value, struct tr_err *err)
{
	char *out = ctx;

	(void)err;
	strcat(out, key);
	strcat(out, ":");
	strcat(out, value);
	strcat(out, ";");
	return 0;
}

static void pairs_are_split_in_order(void **state)
{
	char text[] = "lrfu,lambda=0.01,k=2", bad[] = "lru,oops";
	char out[64] = "";
	struct tr_err err;

	(void)state;
	assert_int_equal(tr_opt_pairs(text, collect, out, &err), 0);
	assert_string_equal(text, "lrfu");
	assert_string_equal(out, "lambda:0.01;k:2;");
	assert_int_equal(tr_opt_pairs(bad, collect, out, &err), TR_E_INVALID);
	assert_err_has(&err, "oops");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_take_binary_suffixes),
		cmocka_unit_test(bad_sizes_are_refused_by_name),
		cmocka_unit_test(numbers_keep_their_limits),
		cmocka_unit_test(pairs_are_split_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
