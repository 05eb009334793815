#include "requant.h"
#include "gguf_write.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct q8_0 {
	uint16_t d;
	int8_t q[32];
};

static void encode_q8_0(const float *x, struct q8_0 *b)
{
	float max = 0, d;
	int i;

	for (i = 0; i < 32; i++)
		max = fmaxf(max, fabsf(x[i]));
	b->d = tr_f32_to_f16(max / 127);
	d = tr_f16_to_f32(b->d);
	for (i = 0; i < 32; i++)
		b->q[i] = (int8_t)(d > 0 ? fmaxf(-127, fminf(127, roundf(x[i] / d))) : 0);
}

static size_t encode(uint32_t type, const float *x, size_t n, uint8_t *out)
{
	size_t i;

	if (type == TR_QUANT_F32) {
		memcpy(out, x, n * sizeof(*x));
		return n * sizeof(*x);
	}
	if (type == TR_QUANT_F16) {
		for (i = 0; i < n; i++)
			((uint16_t *)out)[i] = tr_f32_to_f16(x[i]);
		return n * 2;
	}
	for (i = 0; i < n / 32; i++)
		encode_q8_0(x + 32 * i, (struct q8_0 *)out + i);
	return n / 32 * sizeof(struct q8_0);
}

static void copy_kv(struct gw *w, const struct tr_gguf_kv *kv)
{
	static const size_t bytes[TR_GGUF_N_TYPE] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };
	const uint8_t *end = kv->data;
	uint64_t i;

	if (kv->type == TR_GGUF_ARR)
		gw_kv_arr(w, kv->key, kv->elem_type, kv->n);
	else
		gw_key(w, kv->key, kv->type);
	if (kv->elem_type == TR_GGUF_STR)
		for (i = 0; i < kv->n; i++)
			tr_gguf_next_str(&end);
	else
		end += kv->n * bytes[kv->elem_type];
	gw_raw(w, kv->data, (size_t)(end - kv->data));
}

/* 0 gate, 1 up, 2 down; -1: not a stacked expert tensor. */
static int part_of(const char *name)
{
	if (strstr(name, "ffn_gate_exps"))
		return 0;
	if (strstr(name, "ffn_up_exps"))
		return 1;
	return strstr(name, "ffn_down_exps") ? 2 : -1;
}

static bool copy_tensor(const struct tr_gguf_tensor *t, const uint32_t type[3], FILE *in, FILE *out)
{
	uint64_t n = t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
	uint8_t *raw = malloc(t->bytes), *to = malloc(n * sizeof(float) + 64);
	float *x = malloc(n * sizeof(*x));
	size_t bytes = t->bytes;
	bool ok = raw && to && x && !fseeko(in, (off_t)t->file_off, SEEK_SET) &&
		fread(raw, 1, t->bytes, in) == t->bytes;

	if (ok && part_of(t->name) >= 0) {
		tr_quant_by_id(t->type)->dequant(raw, x, n);
		bytes = encode(type[part_of(t->name)], x, n, to);
		ok = fwrite(to, 1, bytes, out) == bytes;
	} else if (ok) {
		ok = fwrite(raw, 1, bytes, out) == bytes;
	}
	for (; ok && bytes % 32; bytes++)
		ok = fputc(0, out) != EOF;
	free(raw);
	free(to);
	free(x);
	return ok;
}

bool requant_experts(const char *from, const char *to, const uint32_t type[3], struct tr_err *err)
{
	struct tr_gguf *g;
	FILE *in, *out;
	struct gw w;
	bool ok;
	size_t i;

	if (tr_gguf_open(&g, from, err))
		return false;
	gw_begin(&w, 3);
	for (i = 0; i < g->n_kv; i++)
		copy_kv(&w, &g->kv[i]);
	for (i = 0; i < g->n_tensor; i++) {
		int part = part_of(g->tensors[i].name);

		gw_tensor_dims(&w, g->tensors[i].name, part < 0 ? g->tensors[i].type : type[part],
			g->tensors[i].n_dim, g->tensors[i].ne);
	}
	gw_end(&w);
	in = fopen(from, "rb");
	out = fopen(to, "wb");
	ok = in && out && fwrite(w.p, 1, w.n, out) == w.n;
	for (i = 0; ok && i < g->n_tensor; i++)
		ok = copy_tensor(&g->tensors[i], type, in, out);
	if (in)
		fclose(in);
	if (out && fclose(out))
		ok = false;
	gw_free(&w);
	tr_gguf_close(g);
	if (!ok)
		tr_err_set(err, TR_E_IO, "cannot write %s", to);
	return ok;
}
