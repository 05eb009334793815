/* act.c - where the sections of a row of activations begin (kernels.h says what is in them). */
#include "compute/kernels.h"

#include <string.h>

#define SECTION 64

static size_t section_up(size_t off)
{
	return (off + SECTION - 1) / SECTION * SECTION;
}

size_t tr_act_d_off(enum tr_act_kind kind, size_t n)
{
	return kind == TR_ACT_F32 ? 0 : section_up(n);
}

size_t tr_act_sum_off(size_t n)
{
	return section_up(tr_act_d_off(TR_ACT_Q8_256, n) + n / 256 * sizeof(float));
}

size_t tr_act_bytes(enum tr_act_kind kind, size_t n)
{
	switch (kind) {
	case TR_ACT_Q8_32:
		return section_up(tr_act_d_off(kind, n) + n / 32 * sizeof(float));
	case TR_ACT_Q8_256:
		return section_up(tr_act_sum_off(n) + n / 16 * sizeof(int16_t));
	default:
		return section_up(n * sizeof(float));
	}
}

void tr_act_quantise_range(const struct tr_kernels *k, enum tr_act_kind kind, const float *x,
	size_t off, size_t n_part, void *act, size_t n)
{
	_Alignas(64) uint8_t part[TR_ACT_RANGE_MAX * 2];
	uint8_t *to = act;
	size_t block = kind == TR_ACT_Q8_32 ? 32 : 256;

	if (kind == TR_ACT_F32) {
		memcpy((float *)act + off, x, n_part * sizeof(*x));
		return;
	}
	k->quantise(kind, x, n_part, part);
	memcpy(to + off, part, n_part);
	memcpy(to + tr_act_d_off(kind, n) + off / block * sizeof(float),
		part + tr_act_d_off(kind, n_part), n_part / block * sizeof(float));
	if (kind == TR_ACT_Q8_256)
		memcpy(to + tr_act_sum_off(n) + off / 16 * sizeof(int16_t),
			part + tr_act_sum_off(n_part), n_part / 16 * sizeof(int16_t));
}
