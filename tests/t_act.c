#include "test.h"
#include "compute/kernels.h"

static void ranges_of_a_row_make_the_whole_row(void **state)
{
	static const size_t widths[] = { 256, 512, 1024 + 256 };
	_Alignas(64) uint8_t whole[8192], parts[8192];
	float x[1280];
	size_t w, at;
	int kind;

	(void)state;
	for (at = 0; at < 1280; at++)
		x[at] = (float)((int)(at * 2654435761u >> 16 & 1023) - 511) / (float)(1 + at % 97);
	for (kind = 0; kind < TR_N_ACT_KIND; kind++)
		for (w = 0; w < 3; w++) {
			const struct tr_kernels *k = tr_kernels_best();
			size_t n = widths[w], bytes = tr_act_bytes(kind, n);

			memset(whole, 0, bytes);
			memset(parts, 0, bytes);
			k->quantise(kind, x, n, whole);
			for (at = n; at > 0; at -= 256)
				tr_act_quantise_range(k, kind, x + at - 256, at - 256, 256, parts, n);
			assert_memory_equal(whole, parts, bytes);
		}
}

static void a_short_range_ends_a_row(void **state)
{
	_Alignas(64) uint8_t whole[1024], parts[1024];
	float x[352];
	size_t i;

	(void)state;
	for (i = 0; i < 352; i++)
		x[i] = (float)i - 170;
	memset(whole, 0, sizeof(whole));
	memset(parts, 0, sizeof(parts));
	tr_kernels_best()->quantise(TR_ACT_Q8_32, x, 352, whole);
	tr_act_quantise_range(tr_kernels_best(), TR_ACT_Q8_32, x, 0, 256, parts, 352);
	tr_act_quantise_range(tr_kernels_best(), TR_ACT_Q8_32, x + 256, 256, 96, parts, 352);
	assert_memory_equal(whole, parts, tr_act_bytes(TR_ACT_Q8_32, 352));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges_of_a_row_make_the_whole_row),
		cmocka_unit_test(a_short_range_ends_a_row),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
