/*
 * k_matmul.cuh - products of rows of GGUF blocks with quantised activations, in the canonical order.
 *
 * Half a warp has a row; a block of threads has TR_MATMUL_ROWS rows. A row has four float sums, each a
 * chain over a quarter of its blocks, so what hides the latency of memory is that there are many
 * rows. One launch takes the matrices of all heads, or those of a list of experts; the y index of a
 * block is matrix (and for a list gate or up).
 *
 * Tiles of activations: weights are read once for TILE of them.
 */
#ifndef TR_CUDA_K_MATMUL_CUH
#define TR_CUDA_K_MATMUL_CUH

#include "cuda/dot256.cuh"
#include "cuda/dotf.cuh"
#include "cuda/dotgrid.cuh"

#define TR_MATMUL_THREADS 128
#define TR_MATMUL_ROWS (TR_MATMUL_THREADS / TR_LANES)
#define TR_MATMUL_TILE TR_GROUP

/* A matmul as struct tr_dop_matmul says, or with list: matrix y / n_part is part first_part + y %
 * n_part of that expert, activations are those of its slots and outputs go to them. */
struct tr_matmul_args {
	struct tr_dop_matmul m;
	const struct tr_dop_expert *list;
	const uint32_t *row_of;
	uint32_t first_part, n_part;
	const uint8_t *act_part[2]; /* with list: activations of the parts */
	float *out_part[2];
	bool single;	  /* activation 0 for all */
};

/* What one block of threads multiplies. */
struct tr_matmul_job {
	const uint8_t *w, *act;
	float *out;
	uint32_t first, n_act;
};

TR_DEV struct tr_matmul_job tr_matmul_job(const struct tr_matmul_args *a)
{
	struct tr_matmul_job j;
	unsigned y = tr_block_y;

	if (!a->list) {
		j.w = a->m.w + y * a->m.mat_bytes;
		j.act = a->m.act + y * a->m.act_mat_bytes;
		j.out = a->m.out + y * a->m.out_mat_stride;
		j.first = 0;
		j.n_act = a->m.n_act;
		return j;
	}
	j.w = a->list[y / a->n_part].part[a->first_part + y % a->n_part];
	j.act = a->act_part[y % a->n_part];
	j.out = a->out_part[y % a->n_part];
	j.first = a->list[y / a->n_part].first;
	j.n_act = a->list[y / a->n_part].n;
	return j;
}

TR_DEV const uint8_t *tr_matmul_act(const struct tr_matmul_args *a, const struct tr_matmul_job *j,
	uint32_t t)
{
	uint32_t slot = j->first + t;

	if (a->single)
		slot = 0;
	else if (a->row_of)
		slot = a->row_of[slot];
	return j->act + slot * a->m.act_bytes;
}

typedef float tr_row_fn(const struct tr_dot_in *in, const int n_act);

TR_DEV void tr_matmul_rows(const struct tr_matmul_args *a, const int tile, tr_row_fn *dot)
{
	struct tr_matmul_job j = tr_matmul_job(a);
	uint32_t row = tr_block_x * TR_MATMUL_ROWS + tr_thread / TR_LANES;
	/* Threads without a row repeat the last one: all of a warp take part in shuffles. */
	uint32_t at = row < a->m.n_row ? row : a->m.n_row - 1;
	uint32_t own = tr_thread % (uint32_t)tile;
	struct tr_dot_in in;

	in.row = j.w + at * a->m.row_bytes;
	in.n = a->m.n;
	for (uint32_t t = 0; t < j.n_act; t += (uint32_t)tile) {
		float sum;

		TR_UNROLL
		for (int i = 0; i < tile; i++)
			in.act[i] = tr_matmul_act(a, &j, TR_MIN(t + (uint32_t)i, j.n_act - 1));
		in.own = tr_matmul_act(a, &j, TR_MIN(t + own, j.n_act - 1));
		sum = dot(&in, tile);
		if (tr_thread % TR_LANES == own && row < a->m.n_row && t + own < j.n_act)
			j.out[(j.first + t + own) * a->m.out_stride + row] = sum;
	}
}

#define TR_MATMUL_KERNELS(name, call)                                                              \
	TR_DEV float tr_row_##name(const struct tr_dot_in *in, const int n_act)                    \
	{                                                                                          \
		return call;                                                                       \
	}                                                                                          \
	TR_KERNEL(tr_matvec_##name, tr_matmul_args, TR_MATMUL_THREADS)                             \
	{                                                                                          \
		tr_matmul_rows(&a, 1, tr_row_##name);                                              \
	}                                                                                          \
	TR_KERNEL(tr_matmul_##name, tr_matmul_args, TR_MATMUL_THREADS)                             \
	{                                                                                          \
		tr_matmul_rows(&a, TR_MATMUL_TILE, tr_row_##name);                                 \
	}
#define TR_MATMUL_32(name, has_min)                                                                \
	TR_MATMUL_KERNELS(name, tr_dot32(in, n_act, tr_quarter_##name,                             \
		sizeof(struct tr_block_##name), has_min))
#define TR_MATMUL_256(name, super, has_min)                                                        \
	TR_MATMUL_KERNELS(name, tr_dot256(in, n_act, tr_codes_##name, tr_super_##super,            \
		sizeof(struct tr_block_##name), has_min))

TR_MATMUL_32(q4_0, false)
TR_MATMUL_32(q4_1, true)
TR_MATMUL_32(q5_0, false)
TR_MATMUL_32(q5_1, true)
TR_MATMUL_32(q8_0, false)
TR_MATMUL_32(iq4_nl, false)
TR_MATMUL_32(mxfp4, false)
TR_MATMUL_256(q2_k, q2_k, true)
TR_MATMUL_256(q3_k, q3_k, false)
TR_MATMUL_256(q4_k, 4_5, true)
TR_MATMUL_256(q5_k, 4_5, true)
TR_MATMUL_256(q6_k, q6_k, false)
TR_MATMUL_256(iq4_xs, iq4_xs, false)
TR_MATMUL_256(iq1_s, eighth, false)
TR_MATMUL_256(iq1_m, iq1_m, false)
TR_MATMUL_256(iq2_xxs, eighth, false)
TR_MATMUL_256(iq2_xs, eighth, false)
TR_MATMUL_256(iq2_s, eighth, false)
TR_MATMUL_256(iq3_xxs, iq3_xxs, false)
TR_MATMUL_256(iq3_s, iq3_s, false)
TR_MATMUL_KERNELS(f32, tr_dotf(in, n_act, tr_float_f32))
TR_MATMUL_KERNELS(f16, tr_dotf(in, n_act, tr_float_f16))
TR_MATMUL_KERNELS(bf16, tr_dotf(in, n_act, tr_float_bf16))

#define TR_MATMUL_CASE(id, name)                                                                   \
	case TR_QUANT_##id:                                                                        \
		if (n_act == 1)                                                                    \
			TR_LAUNCH(tr_matvec_##name, TR_MATMUL_THREADS, nx, n_mat, stream, a);      \
		else                                                                               \
			TR_LAUNCH(tr_matmul_##name, TR_MATMUL_THREADS, nx, n_mat, stream, a);      \
		break

/* From so many activations on the tensor cores are used. */
#define TR_MMA_MIN_ACT 16

/* k_mma.cuh */
static inline bool tr_launch_mma(tr_launch_stream stream, const struct tr_matmul_args *a,
	uint32_t n_mat, uint32_t n_act);

/* n_act: activations of one matrix, at most. */
static inline void tr_launch_matmul_args(tr_launch_stream stream, const struct tr_matmul_args *a,
	uint32_t n_mat, uint32_t n_act)
{
	uint32_t nx = (a->m.n_row + TR_MATMUL_ROWS - 1) / TR_MATMUL_ROWS;

	if (n_act >= TR_MMA_MIN_ACT && tr_launch_mma(stream, a, n_mat, n_act))
		return;
	switch (a->m.quant) {
		TR_MATMUL_CASE(F32, f32);
		TR_MATMUL_CASE(F16, f16);
		TR_MATMUL_CASE(BF16, bf16);
		TR_MATMUL_CASE(Q4_0, q4_0);
		TR_MATMUL_CASE(Q4_1, q4_1);
		TR_MATMUL_CASE(Q5_0, q5_0);
		TR_MATMUL_CASE(Q5_1, q5_1);
		TR_MATMUL_CASE(Q8_0, q8_0);
		TR_MATMUL_CASE(Q2_K, q2_k);
		TR_MATMUL_CASE(Q3_K, q3_k);
		TR_MATMUL_CASE(Q4_K, q4_k);
		TR_MATMUL_CASE(Q5_K, q5_k);
		TR_MATMUL_CASE(Q6_K, q6_k);
		TR_MATMUL_CASE(IQ1_S, iq1_s);
		TR_MATMUL_CASE(IQ1_M, iq1_m);
		TR_MATMUL_CASE(IQ2_XXS, iq2_xxs);
		TR_MATMUL_CASE(IQ2_XS, iq2_xs);
		TR_MATMUL_CASE(IQ2_S, iq2_s);
		TR_MATMUL_CASE(IQ3_XXS, iq3_xxs);
		TR_MATMUL_CASE(IQ3_S, iq3_s);
		TR_MATMUL_CASE(IQ4_NL, iq4_nl);
		TR_MATMUL_CASE(IQ4_XS, iq4_xs);
		TR_MATMUL_CASE(MXFP4, mxfp4);
	default: /* refused by device.c */
		break;
	}
}

static inline void tr_launch_matmul(tr_launch_stream stream, const struct tr_dop_matmul *m)
{
	struct tr_matmul_args a = { *m, NULL, NULL, 0, 1, { NULL, NULL }, { NULL, NULL },
		false };

	tr_launch_matmul_args(stream, &a, m->n_mat, m->n_act);
}

#endif
