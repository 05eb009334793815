#include "mla_plain.h"
#include "base/mem.h"
#include "compute/rope.h"
#include "model/quants/blocks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK 256

static size_t line(size_t n)
{
	return TR_ALIGN_UP(n, TR_CACHE_LINE / sizeof(float));
}

static size_t act_floats(const struct mla_inputs *in)
{
	size_t n = TR_ALIGN_UP((size_t)TR_MAX(in->mla.n_nope, in->mla.n_lat), 256);

	return 2 * n;
}

size_t mla_plain_room(const struct mla_inputs *in)
{
	return 2 * line(in->mla.n_lat + in->mla.n_rot) + 2 * line(in->mla.n_lat) +
		line(in->kv.n_ctx) + act_floats(in);
}

static void matvec(const struct tr_kernels *k, const struct tr_weight *w, uint32_t h, size_t n_row,
	const float *x, void *act, float *out)
{
	k->quantise(w->quant->act, x, w->cols, act);
	k->dot[w->quant->id](out, 0, w->data + h * n_row * w->row_bytes, w->row_bytes, n_row, act,
		0, 1, w->cols, NULL);
}

/* A row of Q8_0 as floats. */
static void unpack(const struct tr_block_q8_0 *b, float *out, size_t n)
{
	for (size_t i = 0; i < n; i++)
		out[i] = tr_f16_to_f32(b[i / 32].d) * (float)b[i / 32].qs[i % 32];
}

/* The dot of the row of position p, and y += a * that row; of Q8_0 through room. */
static float dot_row(const struct mla_inputs *in, const struct tr_kernels *k, size_t p,
	const float *query, float *room)
{
	const void *row = tr_kv_row(&in->kv, in->layer, (uint32_t)p);
	size_t n = in->mla.n_lat + in->mla.n_rot;

	if (in->kv.type == TR_KV_F16)
		return k->dot_f16(row, query, n);
	if (in->kv.type == TR_KV_F32)
		return k->dot_f32(row, query, n);
	unpack(row, room, n);
	return k->dot_f32(room, query, n);
}

static void add_row(const struct mla_inputs *in, const struct tr_kernels *k, size_t p, float a,
	float *y, float *room)
{
	const void *row = tr_kv_row(&in->kv, in->layer, (uint32_t)p);
	size_t n = in->mla.n_lat;

	if (in->kv.type == TR_KV_F16) {
		k->axpy_f16(y, a, row, n);
	} else if (in->kv.type == TR_KV_F32) {
		k->axpy_f32(y, a, row, n);
	} else {
		unpack(row, room, n);
		k->axpy_f32(y, a, room, n);
	}
}

static void attend(const struct mla_inputs *in, const struct tr_kernels *k, const float *query,
	size_t n_pos, float *score, float *row, float *part, float *ctx)
{
	size_t n_lat = in->mla.n_lat, begin, end, p;
	float max, denominator = 0;

	for (p = 0; p < n_pos; p++)
		score[p] = in->mla.scale * dot_row(in, k, p, query, row);
	max = k->max(score, n_pos);
	memset(ctx, 0, n_lat * sizeof(*ctx));
	for (begin = 0; begin < n_pos; begin = end) {
		end = TR_MIN(begin + CHUNK, n_pos);
		denominator += k->exp_sum(score + begin, score + begin, max, end - begin);
		memset(part, 0, n_lat * sizeof(*part));
		for (p = begin; p < end; p++)
			add_row(in, k, p, score[p], part, row);
		k->add(ctx, part, n_lat);
	}
	k->scale(ctx, 1.0f / denominator, n_lat);
}

void mla_plain_head(const struct mla_inputs *in, const struct tr_kernels *k, uint32_t h, size_t t,
	float *room, float *out)
{
	const struct tr_mla *m = &in->mla;
	const float *q = in->q + t * in->q_stride + h * (size_t)(m->n_nope + m->n_rot);
	float *query = room, *row = query + line(m->n_lat + m->n_rot);
	float *part = row + line(m->n_lat + m->n_rot);
	float *ctx = part + line(m->n_lat), *score = ctx + line(m->n_lat);
	float *act = score + line(in->kv.n_ctx);

	matvec(k, &in->k_b, h, m->n_lat, q, act, query);
	memcpy(query + m->n_lat, q + m->n_nope, m->n_rot * sizeof(float));
	tr_rope_rotate_pairs(query + m->n_lat, in->rope + t * m->n_rot, m->n_rot);
	attend(in, k, query, in->pos + t + 1, score, row, part, ctx);
	matvec(k, &in->v_b, h, m->n_v, ctx, act, out);
}

static float random_float(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (float)(int32_t)*state * 0x1p-31f;
}

static float *random_floats(size_t n, float scale, uint64_t *state)
{
	float *x = tr_calloc(n, sizeof(*x));

	for (size_t i = 0; x && i < n; i++)
		x[i] = scale * random_float(state);
	return x;
}

static void fill_f32(uint8_t *out, size_t n, float scale, uint64_t *state)
{
	for (size_t i = 0; i < n; i++) {
		float f = scale * random_float(state);

		memcpy(out + i * sizeof(f), &f, sizeof(f));
	}
}

static void fill_q8_0(uint8_t *out, size_t n, float scale, uint64_t *state)
{
	struct tr_block_q8_0 *b = (struct tr_block_q8_0 *)out;

	for (size_t i = 0; i < n; i++) {
		uint16_t d = tr_f32_to_f16(scale / 127 * (1.5f + random_float(state)) / 2);

		memcpy(&b[i], &d, sizeof(d));
		for (size_t k = 0; k < 32; k++)
			((int8_t *)&b[i])[2 + k] = (int8_t)(127 * random_float(state));
	}
}

static bool fill_weight(struct tr_weight *w, const struct tr_quant *q, uint64_t rows, uint64_t cols,
	uint64_t *state)
{
	uint64_t n_block = cols / q->block_values;
	float scale = 1.7f / sqrtf((float)cols);
	uint8_t *data;

	*w = (struct tr_weight){ q, NULL, rows, cols, n_block * q->block_bytes };
	w->data = data = tr_calloc(rows, w->row_bytes);
	if (!data)
		return false;
	if (q->id == TR_QUANT_F32)
		fill_f32(data, rows * n_block, scale, state);
	else
		fill_q8_0(data, rows * n_block, scale, state);
	return true;
}

int mla_inputs_new(struct mla_inputs *in, const struct tr_quant *w, uint64_t seed)
{
	const struct tr_mla *m = &in->mla;
	uint32_t width = m->n_lat + m->n_rot, p, l;
	uint64_t state = seed * 2654435761u + 88172645463325252u;
	struct tr_err err;
	float *x;

	in->q_stride = line((size_t)m->n_head * (m->n_nope + m->n_rot));
	in->out_stride = line((size_t)m->n_head * m->n_v);
	in->q = random_floats(in->n_tok * in->q_stride, 3, &state);
	in->rope = random_floats(in->n_tok * m->n_rot, 1, &state);
	in->out = tr_calloc(in->n_tok * in->out_stride, sizeof(float));
	x = random_floats(width, 1, &state);
	if (!in->q || !in->rope || !in->out || !x ||
		!fill_weight(&in->k_b, w, (uint64_t)m->n_head * m->n_lat, m->n_nope, &state) ||
		!fill_weight(&in->v_b, w, (uint64_t)m->n_head * m->n_v, m->n_lat, &state) ||
		tr_kv_init(&in->kv, in->kv.type, in->kv.n_layer, in->kv.n_ctx, width, &err))
		return -1;
	for (l = 0; l < in->kv.n_layer; l++)
		for (p = 0; p < in->pos + in->n_tok; p++) {
			for (uint32_t i = 0; i < width; i++)
				x[i] = 2 * random_float(&state);
			tr_kv_store(&in->kv, tr_kernels_get(TR_ISA_SCALAR), l, p, x);
		}
	free(x);
	return 0;
}

void mla_inputs_free(struct mla_inputs *in)
{
	free(in->q);
	free(in->rope);
	free(in->out);
	free((void *)(uintptr_t)in->k_b.data);
	free((void *)(uintptr_t)in->v_b.data);
	tr_kv_fini(&in->kv);
}
