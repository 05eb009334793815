#include "compute/kv_row.h"
#include "base/mem.h"
#include "model/quants/blocks.h"

#include <string.h>

size_t tr_kv_row_bytes(enum tr_kv_type type, size_t width)
{
	switch (type) {
	case TR_KV_F16:
		return width * sizeof(uint16_t);
	case TR_KV_Q8_0:
		return (width + TR_KV_BLOCK - 1) / TR_KV_BLOCK * sizeof(struct tr_block_q8_0);
	default:
		return width * sizeof(float);
	}
}

static void store_q8_0(const struct tr_kernels *k, struct tr_block_q8_0 *out, const float *x,
	size_t width)
{
	_Alignas(64) uint8_t act[2 * 64]; /* codes, then d */
	size_t n;
	float d;

	for (; width; width -= n, x += n, out++) {
		float block[TR_KV_BLOCK] = { 0 };

		n = TR_MIN(width, (size_t)TR_KV_BLOCK);
		memcpy(block, x, n * sizeof(*x));
		k->quantise(TR_ACT_Q8_32, block, TR_KV_BLOCK, act);
		memcpy(&d, act + tr_act_d_off(TR_ACT_Q8_32, TR_KV_BLOCK), sizeof(d));
		out->d = tr_f32_to_f16(d);
		memcpy(out->qs, act, sizeof(out->qs));
	}
}

void tr_kv_row_store(const struct tr_kernels *k, enum tr_kv_type type, void *row, const float *x,
	size_t width)
{
	switch (type) {
	case TR_KV_F16:
		k->to_f16(row, x, width);
		break;
	case TR_KV_Q8_0:
		store_q8_0(k, row, x, width);
		break;
	default:
		memcpy(row, x, width * sizeof(*x));
	}
}

static size_t room_stride(size_t width)
{
	return TR_ALIGN_UP(width, (size_t)TR_KV_BLOCK);
}

size_t tr_kv_room_floats(size_t n, size_t width)
{
	return n * room_stride(width);
}

struct tr_panel tr_kv_panel(const struct tr_kernels *k, enum tr_kv_type type, const uint8_t *rows,
	size_t row_bytes, size_t n, size_t width, float *room)
{
	size_t stride = room_stride(width), i;

	if (type == TR_KV_F16)
		return (struct tr_panel){ rows, true, row_bytes / sizeof(uint16_t), n };
	if (type == TR_KV_F32)
		return (struct tr_panel){ rows, false, row_bytes / sizeof(float), n };
	for (i = 0; i < n; i++)
		k->from_q8_0(room + i * stride, rows + i * row_bytes, stride);
	return (struct tr_panel){ room, false, stride, n };
}
