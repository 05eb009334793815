/*
 * quant.c - the registry of tensor types, the explanation given for a type that is not in it, and
 * binary16 without hardware.
 *
 * The registry is quants.def. Conversions give the bits that F16C and AVX-512 give, quiet NaNs
 * included. Everything here is constant: no locks.
 */
#include "model/quant.h"

#include <stdio.h>
#include <string.h>

#define TR_QUANT_TYPE(name) extern const struct tr_quant tr_quant_##name;
#include "model/quants.def"
#undef TR_QUANT_TYPE

static const struct tr_quant *const registry[] = {
#define TR_QUANT_TYPE(name) &tr_quant_##name,
#include "model/quants.def"
#undef TR_QUANT_TYPE
};

#define N_QUANT (sizeof(registry) / sizeof(registry[0]))

const struct tr_quant *tr_quant_by_id(uint32_t id)
{
	for (size_t i = 0; i < N_QUANT; i++)
		if (registry[i]->id == id)
			return registry[i];
	return NULL;
}

const struct tr_quant *tr_quant_by_name(const char *name)
{
	for (size_t i = 0; i < N_QUANT; i++)
		if (!strcmp(registry[i]->name, name))
			return registry[i];
	return NULL;
}

/* Types that files may hold, or once held, and that are not in the registry. */
static const struct {
	uint32_t first;
	uint32_t last;
	const char *name; /* NULL: a range without one name */
	const char *why;
} refused[] = {
	{ 4, 4, "Q4_2", "was removed from the GGUF format; quantise the model again" },
	{ 5, 5, "Q4_3", "was removed from the GGUF format; quantise the model again" },
	{ 9, 9, "Q8_1", "is a format of activations and cannot be in a file" },
	{ 15, 15, "Q8_K", "is a format of activations and cannot be in a file" },
	{ 24, 24, "I8", "is an integer type, which no weight is expected to have" },
	{ 25, 25, "I16", "is an integer type, which no weight is expected to have" },
	{ 26, 26, "I32", "is an integer type, which no weight is expected to have" },
	{ 27, 27, "I64", "is an integer type, which no weight is expected to have" },
	{ 28, 28, "F64", "is not supported yet" },
	{ 31, 31, "Q4_0_4_4", "was removed from the GGUF format; use Q4_0" },
	{ 32, 32, "Q4_0_4_8", "was removed from the GGUF format; use Q4_0" },
	{ 33, 33, "Q4_0_8_8", "was removed from the GGUF format; use Q4_0" },
	{ 34, 34, "TQ1_0", "is not supported yet" },
	{ 35, 35, "TQ2_0", "is not supported yet" },
	{ 36, 36, "IQ4_NL_4_4",
		"was removed from the GGUF format; use IQ4_NL (in ik_llama.cpp: I2_S)" },
	{ 37, 37, "IQ4_NL_4_8", "was removed from the GGUF format; use IQ4_NL" },
	{ 38, 38, "IQ4_NL_8_8", "was removed from the GGUF format; use IQ4_NL" },
	{ 40, 40, "NVFP4", "is not supported yet" },
	{ 41, 41, "Q1_0", "is not supported yet" },
	{ 42, 42, "Q2_0", "is not supported yet" },
	{ 97, 99, NULL, "is an ik_llama.cpp-only quantisation" },
	{ 133, 158, NULL, "is an ik_llama.cpp-only quantisation" },
	{ 202, 399, NULL, "is an ik_llama.cpp-only quantisation" },
};

/* "F32, F16, ...", cut when out is too small. */
static void list_supported(char *out, size_t out_bytes)
{
	size_t at = 0;

	for (size_t i = 0; i < N_QUANT && at < out_bytes; i++)
		at += (size_t)snprintf(out + at, out_bytes - at, "%s%s", i ? ", " : "",
			registry[i]->name);
}

int tr_quant_refuse(uint32_t id, const char *what, struct tr_err *err)
{
	const struct tr_quant *known = tr_quant_by_id(id);
	char list[256];

	if (known)
		return tr_err_set(err, TR_E_UNSUPPORTED, "%s: type %u (%s) cannot be used here",
			what, (unsigned)id, known->name);
	list_supported(list, sizeof(list));
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		const char *name = refused[i].name;

		if (id < refused[i].first || id > refused[i].last)
			continue;
		return tr_err_set(err, TR_E_UNSUPPORTED, "%s: type %u%s%s%s %s; supported: %s",
			what, (unsigned)id, name ? " (" : "", name ? name : "", name ? ")" : "",
			refused[i].why, list);
	}
	return tr_err_set(err, TR_E_UNSUPPORTED, "%s: type %u is unknown; supported: %s", what,
		(unsigned)id, list);
}

float tr_f16_to_f32(uint16_t h)
{
	uint32_t sign = (uint32_t)(h & 0x8000) << 16;
	uint32_t exp = (h >> 10) & 31;
	uint32_t man = h & 0x3ff;
	union {
		uint32_t u;
		float f;
	} v;

	if (exp == 31) {
		v.u = sign | 0x7f800000 | man << 13 | (man ? 0x400000 : 0);
	} else if (exp) {
		v.u = sign | (exp + 112) << 23 | man << 13;
	} else {
		v.f = (float)man * 0x1p-24f;
		v.u |= sign;
	}
	return v.f;
}

/* Drops the low bits of v, n in 1..31, rounding to nearest, ties to even. */
static uint32_t drop_bits(uint32_t v, unsigned n)
{
	return (v + ((1u << (n - 1)) - 1) + (v >> n & 1)) >> n;
}

uint16_t tr_f32_to_f16(float f)
{
	union {
		float f;
		uint32_t u;
	} v = { .f = f };
	uint32_t sign = v.u >> 16 & 0x8000;
	uint32_t abs = v.u & 0x7fffffff;
	unsigned exp = abs >> 23;

	if (abs > 0x7f800000)
		return (uint16_t)(sign | 0x7e00 | (abs >> 13 & 0x3ff));
	if (abs >= 0x47800000) /* 65536 and more; what rounds up to it carries over below */
		return (uint16_t)(sign | 0x7c00);
	if (exp >= 113)
		return (uint16_t)(sign | drop_bits(abs - (112u << 23), 13));
	if (exp < 102) /* below half of the smallest subnormal */
		return (uint16_t)sign;
	return (uint16_t)(sign | drop_bits((abs & 0x7fffff) | 0x800000, 126 - exp));
}
