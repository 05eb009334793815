#include "test.h"
#include "model/quants/blocks.h"

#include <math.h>
#include <stdio.h>

/* The block of each type: bytes 73 i + 41 mod 256, then 1.0 in the first scale and 0.5 in the
 * second. d_off and m_off are byte offsets of those, -1 where there is none, or IN_SCALES, where
 * IQ1_M has it. */
#define IN_SCALES -2
static const struct golden {
	const char *name;
	uint32_t id;
	unsigned values, bytes;
	enum tr_act_kind act;
	int d_off, m_off;
	double y0, y1, y17, y_half, y_last, sum;
} golden[] = {
	{ "Q4_0", 2, 32, 18, TR_ACT_Q8_32, 0, -1, 3, -4, -8, 3, -8, -33 },
	{ "Q4_1", 3, 32, 20, TR_ACT_Q8_32, 0, 2, 13.5, 6.5, 9.5, 4.5, 9.5, 241 },
	{ "Q5_0", 6, 32, 22, TR_ACT_Q8_32, 0, -1, 15, 8, -14, 13, 2, -45 },
	{ "Q5_1", 7, 32, 24, TR_ACT_Q8_32, 0, 2, 17.5, 10.5, 27.5, 23.5, 11.5, 517 },
	{ "Q8_0", 8, 32, 34, TR_ACT_Q8_32, 0, -1, -69, 4, -108, 75, -110, -48 },
	{ "Q2_K", 10, 256, 84, TR_ACT_Q8_256, 80, 82, 8, 17, 0.5, -2.5, -3.5, 2043 },
	{ "Q3_K", 11, 256, 110, TR_ACT_Q8_256, 108, -1, -7, 14, -4, 24, -24, 234 },
	{ "Q4_K", 12, 256, 144, TR_ACT_Q8_256, 0, 2, 92.5, 1.5, 1.5, 176.5, -11.5, 53352 },
	{ "Q5_K", 13, 256, 176, TR_ACT_Q8_256, 0, 2, 300.5, 1.5, 1.5, 512.5, -11.5, 110072 },
	{ "Q6_K", 14, 256, 210, TR_ACT_Q8_256, 208, -1, 161, -46, 100, -343, 288, -14844 },
	{ "IQ4_NL", 20, 32, 18, TR_ACT_Q8_32, 0, -1, 38, -49, -127, 38, -127, -481 },
	{ "IQ4_XS", 23, 256, 136, TR_ACT_Q8_256, 0, -1, -3016, 725, 1102, 1768, -750, -6450 },
	{ "IQ1_S", 19, 256, 50, TR_ACT_Q8_256, 0, -1, 0.625, 0.625, 5.625, -11.375, -4.375, -73 },
	{ "IQ1_M", 29, 256, 56, TR_ACT_Q8_256, IN_SCALES, -1, 2.625, -3.375, 7.875, 12.375, -10.125,
		-61 },
	{ "IQ2_XXS", 16, 256, 66, TR_ACT_Q8_256, 0, -1, -123.625, -123.625, 23, -84.375, -71.875,
		-298.25 },
	{ "IQ2_XS", 17, 256, 74, TR_ACT_Q8_256, 0, -1, 23, -71.875, 96.875, 31, 31, 665.75 },
	{ "IQ2_S", 22, 256, 82, TR_ACT_Q8_256, 0, -1, -7, -21.875, 48.375, -80.625, -48.375, -251.5 },
	{ "IQ3_XXS", 18, 256, 98, TR_ACT_Q8_256, 0, -1, -297, -243, 135, -117, 243, 1941.5 },
	{ "IQ3_S", 21, 256, 110, TR_ACT_Q8_256, 0, -1, -35, -7, 7, -33, 77, 162 },
	{ "MXFP4", 39, 32, 17, TR_ACT_Q8_32, -1, -1, 2, -3, -3, 12, -3, 25 },
};

static void put_f16(uint8_t *at, float v)
{
	uint16_t h = tr_f32_to_f16(v);

	memcpy(at, &h, sizeof(h));
}

static void fill_block(const struct golden *g, uint8_t *b)
{
	for (unsigned i = 0; i < g->bytes; i++)
		b[i] = (uint8_t)(73 * i + 41);
	if (g->d_off >= 0)
		put_f16(b + g->d_off, 1.0f);
	else if (g->d_off == IN_SCALES)
		for (int i = 0; i < 4; i++)
			b[49 + 2 * i] = (uint8_t)((b[49 + 2 * i] & 15) | (0x3c00 >> 4 * i & 15) << 4);
	else
		b[0] = 128;
	if (g->m_off >= 0)
		put_f16(b + g->m_off, 0.5f);
}

static void blocks_decode_to_golden_values(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(golden) / sizeof(golden[0]); i++) {
		const struct golden *g = &golden[i];
		const struct tr_quant *q = tr_quant_by_name(g->name);
		uint8_t raw[2 * 210 + 1];
		float y[512];
		double sum = 0;

		assert_non_null(q);
		/* Two blocks at an odd address. */
		fill_block(g, raw + 1);
		memcpy(raw + 1 + g->bytes, raw + 1, g->bytes);
		q->dequant(raw + 1, y, 2 * g->values);
		assert_memory_equal(y, y + g->values, g->values * sizeof(float));
		for (unsigned v = 0; v < g->values; v++)
			sum += (double)y[v];
		if ((double)y[0] != g->y0 || (double)y[1] != g->y1 || (double)y[17] != g->y17 ||
			(double)y[g->values / 2] != g->y_half ||
			(double)y[g->values - 1] != g->y_last || sum != g->sum)
			fail_msg("%s: %g %g %g %g %g sum %g", g->name, (double)y[0], (double)y[1],
				(double)y[17], (double)y[g->values / 2],
				(double)y[g->values - 1], sum);
	}
}

static void float_types_decode_unaligned(void **state)
{
	static const float v[4] = { 1.5f, -0x1p-24f, 65504.0f, -0.0f };
	static const uint16_t f16[4] = { 0x3e00, 0x8001, 0x7bff, 0x8000 };
	static const uint16_t bf16[4] = { 0x3fc0, 0xb380, 0x4780, 0x8000 };
	uint8_t raw[17];
	float y[4];

	(void)state;
	memcpy(raw + 1, v, sizeof(v));
	tr_quant_by_id(TR_QUANT_F32)->dequant(raw + 1, y, 4);
	assert_memory_equal(y, v, sizeof(v));
	memcpy(raw + 1, f16, sizeof(f16));
	tr_quant_by_id(TR_QUANT_F16)->dequant(raw + 1, y, 4);
	assert_memory_equal(y, v, sizeof(v));
	memcpy(raw + 1, bf16, sizeof(bf16));
	tr_quant_by_id(TR_QUANT_BF16)->dequant(raw + 1, y, 4);
	assert_true(y[0] == 1.5f && y[1] == -0x1p-24f && y[2] == 65536.0f && signbit(y[3]));
}

static void registry_agrees_with_the_format(void **state)
{
	static const struct {
		uint32_t id;
		const char *name;
		unsigned bytes;
	} plain[] = { { 0, "F32", 4 }, { 1, "F16", 2 }, { 30, "BF16", 2 } };
	unsigned n = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(golden) / sizeof(golden[0]); i++) {
		const struct tr_quant *q = tr_quant_by_id(golden[i].id);

		assert_non_null(q);
		assert_ptr_equal(q, tr_quant_by_name(golden[i].name));
		assert_string_equal(q->name, golden[i].name);
		assert_int_equal(q->block_values, golden[i].values);
		assert_int_equal(q->block_bytes, golden[i].bytes);
		assert_int_equal(q->act, golden[i].act);
	}
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
		const struct tr_quant *q = tr_quant_by_id(plain[i].id);

		assert_non_null(q);
		assert_ptr_equal(q, tr_quant_by_name(plain[i].name));
		assert_int_equal(q->block_values, 1);
		assert_int_equal(q->block_bytes, plain[i].bytes);
		assert_int_equal(q->act, TR_ACT_F32);
	}
	for (uint32_t id = 0; id < 1000; id++) {
		const struct tr_quant *q = tr_quant_by_id(id);

		n += q != NULL;
		assert_true(!q || (q->id == id && id < TR_QUANT_ID_END));
	}
	assert_int_equal(n, 23);
	assert_null(tr_quant_by_name("Q4_k"));
}

static void e8m0_scales_are_powers_of_two(void **state)
{
	(void)state;
	for (int e = 0; e < 256; e++)
		assert_true(tr_e8m0_half((uint8_t)e) == ldexpf(1, e - 128));
}

static void refusals_say_why(void **state)
{
	static const struct {
		uint32_t id;
		const char *has[3];
	} cases[] = {
		{ 4, { "(Q4_2)", "removed" } },
		{ 5, { "(Q4_3)", "removed" } },
		{ 31, { "(Q4_0_4_4)", "removed", "use Q4_0" } },
		{ 32, { "(Q4_0_4_8)", "removed" } },
		{ 33, { "(Q4_0_8_8)", "removed" } },
		{ 36, { "(IQ4_NL_4_4)", "removed", "ik_llama.cpp" } },
		{ 37, { "removed", "use IQ4_NL" } },
		{ 38, { "removed", "use IQ4_NL" } },
		{ 9, { "(Q8_1)", "activations" } },
		{ 15, { "(Q8_K)", "activations" } },
		{ 34, { "(TQ1_0)", "not supported yet" } },
		{ 40, { "(NVFP4)", "not supported yet" } },
		{ 26, { "(I32)", "integer" } },
		{ 28, { "(F64)", "not supported yet" } },
		{ 97, { "ik_llama.cpp-only" } },
		{ 133, { "ik_llama.cpp-only" } },
		{ 158, { "ik_llama.cpp-only" } },
		{ 399, { "ik_llama.cpp-only" } },
		{ 96, { "unknown" } },
		{ 159, { "unknown" } },
		{ 43, { "unknown" } },
		{ 400, { "unknown" } },
		{ 4294967295u, { "4294967295", "unknown" } },
	};
	struct tr_err err;
	char number[24];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(tr_quant_refuse(cases[i].id, "blk.7.ffn_up_exps.weight", &err),
			TR_E_UNSUPPORTED);
		assert_int_equal(err.code, TR_E_UNSUPPORTED);
		snprintf(number, sizeof(number), "type %u ", (unsigned)cases[i].id);
		assert_err_has(&err, "blk.7.ffn_up_exps.weight");
		assert_err_has(&err, number);
		assert_err_has(&err, "supported: F32, F16, BF16, Q4_0,");
		assert_err_has(&err, "Q6_K, IQ1_S, IQ1_M, IQ2_XXS,");
		assert_err_has(&err, "IQ3_S, IQ4_NL, IQ4_XS, MXFP4");
		for (int k = 0; k < 3 && cases[i].has[k]; k++)
			assert_err_has(&err, cases[i].has[k]);
	}
	assert_int_equal(tr_quant_refuse(TR_QUANT_Q4_0, "tok", &err), TR_E_UNSUPPORTED);
	assert_err_has(&err, "Q4_0");
	assert_int_equal(tr_quant_refuse(4, "tok", NULL), TR_E_UNSUPPORTED);
}

static void every_f16_survives_the_round_trip(void **state)
{
	(void)state;
	for (uint32_t h = 0; h < 65536; h++) {
		float f = tr_f16_to_f32((uint16_t)h);
		int exp = (int)(h >> 10 & 31);
		double man = (double)(h & 1023);
		double want = exp ? ldexp(1024 + man, exp - 25) : ldexp(man, -24);

		if (exp == 31) {
			assert_true(man != 0 ? isnan(f) : isinf(f));
			assert_int_equal(!!signbit(f), h >> 15);
			/* Signalling NaNs come back quiet. */
			assert_int_equal(tr_f32_to_f16(f), man != 0 ? h | 0x200 : h);
			continue;
		}
		assert_true((double)f == (h >> 15 ? -want : want));
		assert_int_equal(!!signbit(f), h >> 15);
		assert_int_equal(tr_f32_to_f16(f), h);
	}
}

static void f16_rounds_to_nearest_even(void **state)
{
	(void)state;
	for (uint32_t h = 0; h < 0x7c00; h++) {
		float lo = tr_f16_to_f32((uint16_t)h);
		float hi = h == 0x7bff ? 65536.0f : tr_f16_to_f32((uint16_t)(h + 1));
		float mid = lo + (hi - lo) / 2;
		uint32_t even = h & 1 ? h + 1 : h;

		assert_int_equal(tr_f32_to_f16(mid), even);
		assert_int_equal(tr_f32_to_f16(-mid), even | 0x8000);
		assert_int_equal(tr_f32_to_f16(nextafterf(mid, 0)), h);
		assert_int_equal(tr_f32_to_f16(nextafterf(mid, INFINITY)), h + 1);
	}
	assert_int_equal(tr_f32_to_f16(0x1p-149f), 0);
	assert_int_equal(tr_f32_to_f16(3e38f), 0x7c00);
	assert_int_equal(tr_f32_to_f16(-INFINITY), 0xfc00);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_decode_to_golden_values),
		cmocka_unit_test(float_types_decode_unaligned),
		cmocka_unit_test(registry_agrees_with_the_format),
		cmocka_unit_test(e8m0_scales_are_powers_of_two),
		cmocka_unit_test(refusals_say_why),
		cmocka_unit_test(every_f16_survives_the_round_trip),
		cmocka_unit_test(f16_rounds_to_nearest_even),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
