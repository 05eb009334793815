/*
 * ops.h - the operations that a device computes, as structs of arguments.
 *
 * Pointers are addresses of the device (device.h), never followed by the caller. Each operation gives
 * the bits that src/compute gives for the same inputs (kernels.h has the order of every sum), MLA as
 * engine/mla.c words it. Strides count elements, steps and _bytes count bytes; rows of activations
 * are laid out as kernels.h says. Outputs overlap no input unless said.
 */
#ifndef TR_CUDA_OPS_H
#define TR_CUDA_OPS_H

#include "compute/router.h"

/* act row (g, i) = quantised x row (g, i), rows of n values. With up (same layout as x) the values
 * are silu(x) * up. Kind F32 copies. */
struct tr_dop_quantise {
	enum tr_act_kind kind;
	uint32_t n;
	uint32_t n_row, n_group;
	const float *x;
	const float *up; /* or NULL */
	size_t x_stride, x_group_stride;
	uint8_t *act;
	size_t act_bytes, act_group_bytes;
};

/* out[m][t * out_stride + r] = row r of matrix m . activation t of matrix m. w is 16-byte aligned. */
struct tr_dop_matmul {
	enum tr_quant_id quant;
	uint32_t n;	/* values a row */
	uint32_t n_row; /* of one matrix */
	uint32_t n_act;
	uint32_t n_mat;
	const uint8_t *w;
	size_t row_bytes, mat_bytes;
	const uint8_t *act;
	size_t act_bytes, act_mat_bytes;
	float *out;
	size_t out_stride, out_mat_stride;
};

/* out[t] = x[t] / sqrt(mean(x[t]^2) + eps) * w. out may be x. */
struct tr_dop_rms_norm {
	uint32_t n, n_tok;
	float eps;
	float *out;
	const float *x, *w;
	size_t out_stride, x_stride;
};

/* y[t] += x[t] */
struct tr_dop_add {
	uint32_t n, n_tok;
	float *y;
	const float *x;
	size_t stride;
};

enum tr_rope_pairing {
	TR_ROPE_PAIRS,	/* (x[2 i], x[2 i + 1]) */
	TR_ROPE_HALVES, /* (x[i], x[i + n_rot / 2]) */
};

/* out row (t, h) = x row (t, h) rotated by row t of the table (tr_rope_table). out may be x. */
struct tr_dop_rope {
	enum tr_rope_pairing pairing;
	uint32_t n_rot, n_head, n_tok;
	const float *x;
	size_t x_stride, x_head_stride;
	float *out;
	size_t out_stride, out_head_stride;
	const float *table; /* [n_tok][n_rot] */
};

/* Rows of floats become rows of the cache (compute/kv_row.h). */
struct tr_dop_kv_store {
	enum tr_kv_type type;
	uint32_t width, n_tok;
	const float *x;
	size_t x_stride;
	uint8_t *kv; /* row of the first token */
	size_t row_bytes;
	const uint32_t *pos_at; /* or NULL; else the first token's row is number *pos_at from kv on */
};

#define TR_DOP_MLA_CHUNK 256 /* positions; the chunk of engine/mla.c */

/*
 * ctx[t][h] = softmax-weighted sum of latents over positions [0, pos + t]. Tokens are taken
 * n_tok_once at a time, which the size of scratch depends on and nothing else does. With pos_at the
 * position is *pos_at, read when the device gets there, and pos the most that it may be: what is
 * launched and the size of scratch follow from that, so it fits a graph.
 */
struct tr_dop_mla {
	enum tr_kv_type type;
	uint32_t pos, n_tok, n_tok_once;
	uint32_t n_head, n_lat, n_rot;
	float scale;
	const float *query; /* [n_tok][n_head][n_lat + n_rot], in the latent space, rotated */
	const uint8_t *kv;  /* rows of the layer from position 0 */
	size_t row_bytes;
	float *ctx;	/* [n_tok][n_head][n_lat] */
	float *scratch; /* tr_dop_mla_floats */
	const uint32_t *pos_at; /* or NULL */
};

/*
 * ctx as tr_dop_mla has it, bit for bit, without scratch: scores stay on chip and are computed twice.
 * For the tokens of a prompt: a device is busy with some hundreds of (token, head) pairs, and fewer
 * are better split by position.
 */
struct tr_dop_mla_prefill {
	enum tr_kv_type type;
	uint32_t pos, n_tok;
	uint32_t n_head, n_lat, n_rot;
	float scale;
	const float *query;
	const uint8_t *kv;
	size_t row_bytes;
	float *ctx;
};

/* Rows of the cache of a layer, from position 0: of each position a row for each head that has one.
 */
struct tr_dop_kv_rows {
	const uint8_t *at;
	size_t pos_bytes, head_bytes; /* from one to the next */
};

/*
 * ctx[t][h] = softmax-weighted sum of the values of head h * n_kv_head / n_head over positions [0,
 * pos
 * + t], in the order of mla. With scratch positions are split as mla does, and n_tok_once and
 * pos_at mean the same; without (NULL) scores stay on chip as in mla_prefill. n_head is a multiple
 * of n_kv_head.
 */
struct tr_dop_gqa {
	enum tr_kv_type type;
	uint32_t pos, n_tok, n_tok_once;
	uint32_t n_head, n_kv_head;
	uint32_t n_key, n_value; /* values of a row */
	float scale;
	const float *query; /* [n_tok][n_head][n_key], rotated */
	struct tr_dop_kv_rows keys, values;
	float *ctx;	/* [n_tok][n_head][n_value] */
	float *scratch; /* tr_dop_mla_floats with n_value, or NULL */
	const uint32_t *pos_at; /* or NULL */
};

/* Latent attention is that of one head of keys, whose values are their beginnings. */
static inline struct tr_dop_gqa tr_dop_mla_as_gqa(const struct tr_dop_mla *m)
{
	struct tr_dop_kv_rows rows = { m->kv, m->row_bytes, 0 };
	struct tr_dop_gqa g = { m->type, m->pos, m->n_tok, m->n_tok_once, m->n_head, 1,
		m->n_lat + m->n_rot, m->n_lat, m->scale, m->query, rows, rows, m->ctx, m->scratch,
		m->pos_at };

	return g;
}

static inline struct tr_dop_gqa tr_dop_mla_prefill_as_gqa(const struct tr_dop_mla_prefill *m)
{
	struct tr_dop_mla same = { m->type, m->pos, m->n_tok, m->n_tok, m->n_head, m->n_lat,
		m->n_rot, m->scale, m->query, m->kv, m->row_bytes, m->ctx, NULL, NULL };

	return tr_dop_mla_as_gqa(&same);
}

/* Logits [n_tok][stride] to ids and weights [n_tok][n_used], as tr_router_pick. */
struct tr_dop_router {
	struct tr_router r;
	uint32_t n_tok;
	const float *logits;
	size_t stride;
	const float *bias; /* or NULL */
	uint32_t *ids;
	float *weights;
};

/* A resident expert and the slots (outputs) that it computes: its gate, up and down matrices. */
struct tr_dop_expert {
	const uint8_t *part[3];
	uint32_t first, n;
};

/*
 * y[slot] = down(quantised(silu(gate x) * up x)) for all slots of all experts of the list, x being
 * activation row_of[slot], or 0 without row_of. List and row_of may lie in mapped host memory.
 */
struct tr_dop_expert_ffn {
	enum tr_quant_id quant[3];
	size_t row_bytes[3];
	uint32_t n_embd, n_ff;
	uint32_t n_expert;
	uint32_t n_slot;     /* of all experts; they start at first_slot */
	uint32_t first_slot;
	uint32_t n_slot_max; /* of one expert, at most */
	const struct tr_dop_expert *list;
	const uint32_t *row_of;
	const uint8_t *act[2]; /* for gate, for up */
	float *gate, *up;      /* scratch, [slot][ff_stride] */
	size_t ff_stride;
	uint8_t *hidden; /* scratch, [slot] of tr_act_bytes(kind of down, n_ff) */
	float *y;
	size_t y_stride;
};

/* h[t] += sum over rank r of weights[t][r] * y[slot_of[t][r]], by fma in ascending r from 0, plus
 * shared[t] where there is one. */
struct tr_dop_combine {
	uint32_t n, n_tok, n_used;
	const float *weights;
	const uint32_t *slot_of;
	const float *y;
	size_t y_stride;
	const float *shared; /* or NULL */
	size_t shared_stride;
	float *h;
	size_t h_stride;
};

enum tr_dop {
#define TR_DOP(name) TR_DOP_##name,
#include "cuda/ops.def"
#undef TR_DOP
	TR_N_DOP,
};

/* Where the parts of the scratch of MLA begin, in floats, for n_tok_once tokens of up to n_pos
 * positions. */
struct tr_dop_mla_room {
	size_t n_chunk;
	size_t score; /* [tok][head][n_chunk * TR_DOP_MLA_CHUNK] */
	size_t max;   /* [tok][head][n_chunk] */
	size_t sum;   /* [tok][head][n_chunk] */
	size_t part;  /* [tok][head][n_chunk][n_lat] */
	size_t n;
};

static inline struct tr_dop_mla_room tr_dop_mla_room(uint32_t n_tok_once, uint32_t n_head,
	uint32_t n_lat, uint32_t n_pos)
{
	size_t n_row = (size_t)n_tok_once * n_head;
	struct tr_dop_mla_room r;

	r.n_chunk = (n_pos + TR_DOP_MLA_CHUNK - 1) / TR_DOP_MLA_CHUNK;
	r.score = 0;
	r.max = r.score + n_row * r.n_chunk * TR_DOP_MLA_CHUNK;
	r.sum = r.max + n_row * r.n_chunk;
	r.part = r.sum + n_row * r.n_chunk;
	r.n = r.part + n_row * r.n_chunk * n_lat;
	return r;
}

#endif
