/* act.c - where the sections of a row of activations begin (kernels.h says what is in them). */
#include "compute/kernels.h"

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
