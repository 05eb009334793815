/*
 * k_mma.cuh - products with many activations through the tensor cores, in the canonical order.
 *
 * The sum of a block is an exact integer, so it may come from mma.sync as well as from dp4a. A
 * block of threads has 16 rows and TR_MMA_TOKENS activations; each of its four warps takes the
 * blocks of one of the four float sums of a row, and the sums meet in shared memory at the end.
 *
 * A warp multiplies 16 rows by 8 activations over 32 values at once: thread 4 g + l gives values 8
 * l to 8 l + 7 (dot32.cuh) of rows g and g + 8 and of activation g, and gets the sums of these rows
 * with activations 2 l and 2 l + 1. Which value takes which place along the 32 does not matter as
 * long as rows and activations agree.
 *
 * Where 16 values share a scale, two products each leave out one half of the row.
 */
#ifndef TR_CUDA_K_MMA_CUH
#define TR_CUDA_K_MMA_CUH

#include "cuda/k_matmul.cuh"

#define TR_MMA_THREADS 128
#define TR_MMA_WARPS (TR_MMA_THREADS / TR_WARP)
#define TR_MMA_ROWS 16
#define TR_MMA_TILES 4 /* of 8 activations */
#define TR_MMA_TOKENS (8 * TR_MMA_TILES)
#define TR_MMA_SUMS (4 * TR_MMA_TILES) /* of a thread; sum 4 t + i: row i / 2, activation i mod 2 */

/* What a thread reads. */
struct tr_mma_in {
	const uint8_t *row[2];		    /* g, g + 8 */
	const uint8_t *act[TR_MMA_TILES];   /* g of each tile */
	const uint8_t *own[2 * TR_MMA_TILES]; /* 2 l and 2 l + 1 of each tile */
	uint32_t n;
};

TR_DEV uint32_t tr_mma_g(void)
{
	return tr_thread % TR_WARP / 4;
}

TR_DEV uint32_t tr_mma_l(void)
{
	return tr_thread % 4;
}

/* Rows and activations behind the last repeat it. */
TR_DEV struct tr_mma_in tr_mma_in(const struct tr_matmul_args *a, const struct tr_matmul_job *j,
	uint32_t row, uint32_t first)
{
	uint32_t last = j->n_act - 1;
	struct tr_mma_in in;

	in.n = a->m.n;
	for (uint32_t r = 0; r < 2; r++)
		in.row[r] = j->w + TR_MIN(row + tr_mma_g() + 8 * r, a->m.n_row - 1) * a->m.row_bytes;
	TR_UNROLL
	for (uint32_t t = 0; t < TR_MMA_TILES; t++)
		in.act[t] = tr_matmul_act(a, j, TR_MIN(first + 8 * t + tr_mma_g(), last));
	TR_UNROLL
	for (uint32_t i = 0; i < 2 * TR_MMA_TILES; i++)
		in.own[i] = tr_matmul_act(a, j,
			TR_MIN(first + i / 2 * 8 + 2 * tr_mma_l() + i % 2, last));
	return in;
}

/* c[i] = sum i of a tile over 32 values, from value `at` of the activations on. */
TR_DEV void tr_mma_tile(int c[4], const uint32_t codes[4], const uint8_t *act, uint32_t at)
{
	uint64_t x = tr_load8(act + at + 8 * tr_mma_l());
	uint32_t b[2] = { (uint32_t)x, (uint32_t)(x >> 32) };

	TR_UNROLL
	for (int i = 0; i < 4; i++)
		c[i] = 0;
	tr_mma_s8(c, codes, b);
}

/* The activation of sum i of tile t. */
TR_DEV const uint8_t *tr_mma_own(const struct tr_mma_in *in, int t, int i)
{
	return in->own[2 * t + i % 2];
}

/* --- blocks of 32 values ---------------------------------------------------------------------- */

TR_DEV void tr_mma_32(float *acc, const struct tr_mma_in *in, tr_quarter_fn *quarter,
	const unsigned block_bytes, const bool has_min)
{
	const uint32_t ones[4] = { TR_ONES, TR_ONES, TR_ONES, TR_ONES };
	uint32_t d_off = TR_ALIGN_UP(in->n, 64u), idx;

	for (idx = tr_thread / TR_WARP; idx < in->n / 32; idx += TR_MMA_WARPS) {
		struct tr_quarter w[2];
		uint32_t codes[4];

		TR_UNROLL
		for (int r = 0; r < 2; r++) {
			w[r] = quarter(in->row[r] + (size_t)idx * block_bytes, tr_mma_l());
			codes[r] = w[r].q[0];
			codes[r + 2] = w[r].q[1];
		}
		TR_UNROLL
		for (int t = 0; t < TR_MMA_TILES; t++) {
			int sum[4], sum_x[4];

			tr_mma_tile(sum, codes, in->act[t], 32 * idx);
			if (has_min)
				tr_mma_tile(sum_x, ones, in->act[t], 32 * idx);
			TR_UNROLL
			for (int i = 0; i < 4; i++) {
				const uint8_t *own = tr_mma_own(in, t, i);
				float d_x = *(const float *)(own + d_off + 4 * idx);
				float *s = &acc[4 * t + i];

				*s = tr_fmaf(w[i / 2].d * d_x, (float)sum[i], *s);
				if (has_min)
					*s = tr_fmaf(w[i / 2].m * d_x, (float)sum_x[i], *s);
			}
		}
	}
}

/* --- super-blocks of 256 values --------------------------------------------------------------- */

/* Adds part p of the blocks. With halves its first 16 values have another scale than the others. */
TR_DEV void tr_mma_part(int *sum, const struct tr_mma_in *in, tr_codes_fn *codes,
	const uint8_t *const block[2], uint32_t idx, unsigned p, const bool halves)
{
	struct tr_codes w[2] = { codes(block[0], p, tr_mma_l()), codes(block[1], p, tr_mma_l()) };

	TR_UNROLL
	for (unsigned h = 0; h < (halves ? 2u : 1u); h++) {
		uint32_t mask = halves && tr_mma_l() / 2 != h ? 0 : 0xffffffffu;
		uint32_t some[4] = { w[0].q[0] & mask, w[1].q[0] & mask, w[0].q[1] & mask,
			w[1].q[1] & mask };
		int scale[2] = { codes(block[0], p, 2 * h).scale, codes(block[1], p, 2 * h).scale };

		TR_UNROLL
		for (int t = 0; t < TR_MMA_TILES; t++) {
			int c[4];

			tr_mma_tile(c, some, in->act[t], 256 * idx + 32 * p);
			TR_UNROLL
			for (int i = 0; i < 4; i++)
				sum[4 * t + i] += scale[i / 2] * c[i];
		}
	}
}

/* Adds what the minimums of part p take away: two groups of 16 values. */
TR_DEV void tr_mma_mins(int *mins, const struct tr_mma_in *in, tr_super_fn *super,
	const uint8_t *const block[2], uint32_t sum_off, uint32_t idx, unsigned p)
{
	uint32_t min[2] = { super(block[0], p / 2).min >> 16 * (p % 2),
		super(block[1], p / 2).min >> 16 * (p % 2) };

	TR_UNROLL
	for (int t = 0; t < TR_MMA_TILES; t++)
		TR_UNROLL
		for (int i = 0; i < 4; i++) {
			uint32_t groups = tr_load4(tr_mma_own(in, t, i) + sum_off + 32 * idx + 4 * p);

			mins[4 * t + i] += (int)tr_byte_of(min[i / 2], 0) * (int16_t)groups +
				(int)tr_byte_of(min[i / 2], 1) * (int16_t)(groups >> 16);
		}
}

TR_DEV void tr_mma_256(float *acc, const struct tr_mma_in *in, tr_codes_fn *codes,
	tr_super_fn *super, const unsigned block_bytes, const bool halves, const bool has_min)
{
	uint32_t d_off = TR_ALIGN_UP(in->n, 64u), n_block = in->n / 256, idx;
	uint32_t sum_off = TR_ALIGN_UP(d_off + n_block * 4, 64u);

	for (idx = tr_thread / TR_WARP; idx < n_block; idx += TR_MMA_WARPS) {
		const uint8_t *const block[2] = { in->row[0] + (size_t)idx * block_bytes,
			in->row[1] + (size_t)idx * block_bytes };
		int sum[TR_MMA_SUMS], mins[TR_MMA_SUMS];

		TR_UNROLL
		for (int i = 0; i < TR_MMA_SUMS; i++)
			sum[i] = mins[i] = 0;
		/* Not all parts at once: what is loaded ahead takes registers. */
		TR_UNROLL_2
		for (unsigned p = 0; p < 8; p++)
			tr_mma_part(sum, in, codes, block, idx, p, halves);
		TR_UNROLL_2
		for (unsigned p = 0; p < 8 && has_min; p++)
			tr_mma_mins(mins, in, super, block, sum_off, idx, p);
		TR_UNROLL
		for (int i = 0; i < TR_MMA_SUMS; i++) {
			struct tr_super s = super(block[i % 4 / 2], 0);
			float d_x = *(const float *)(tr_mma_own(in, i / 4, i % 4) + d_off + 4 * idx);

			acc[i] = tr_fmaf(s.d * d_x, (float)sum[i], acc[i]);
			if (has_min)
				acc[i] = tr_fmaf(-(s.dmin * d_x), (float)mins[i], acc[i]);
		}
	}
}

/* --- the kernels ------------------------------------------------------------------------------ */

typedef void tr_mma_fn(float *acc, const struct tr_mma_in *in);

/* Blocks of threads: all tiles of activations of 16 rows, then the next rows. */
TR_DEV void tr_mma_rows(const struct tr_matmul_args *a, uint32_t n_act, float *room, tr_mma_fn *dot)
{
	struct tr_matmul_job j = tr_matmul_job(a);
	uint32_t n_tile = (n_act + TR_MMA_TOKENS - 1) / TR_MMA_TOKENS, warp = tr_thread / TR_WARP;
	uint32_t row = tr_block_x / n_tile * TR_MMA_ROWS;
	uint32_t first = tr_block_x % n_tile * TR_MMA_TOKENS;
	const uint32_t quarter = TR_MMA_TOKENS * TR_MMA_ROWS; /* of room: a warp's */
	float acc[TR_MMA_SUMS];
	struct tr_mma_in in;

	if (first >= j.n_act)
		return;
	in = tr_mma_in(a, &j, row, first);
	TR_UNROLL
	for (int i = 0; i < TR_MMA_SUMS; i++)
		acc[i] = 0;
	dot(acc, &in);
	TR_UNROLL
	for (uint32_t i = 0; i < TR_MMA_SUMS; i++) {
		uint32_t token = i / 4 * 8 + 2 * tr_mma_l() + i % 2;

		room[warp * quarter + token * TR_MMA_ROWS + tr_mma_g() + i % 4 / 2 * 8] = acc[i];
	}
	tr_sync();
	for (uint32_t i = tr_thread; i < quarter; i += TR_MMA_THREADS) {
		uint32_t r = row + i % TR_MMA_ROWS, t = first + i / TR_MMA_ROWS;

		if (r < a->m.n_row && t < j.n_act)
			j.out[(j.first + t) * a->m.out_stride + r] =
				(room[i] + room[i + 2 * quarter]) +
				(room[i + quarter] + room[i + 3 * quarter]);
	}
}

struct tr_mma_args {
	struct tr_matmul_args m;
	uint32_t n_act; /* of one matrix, at most */
};

#define TR_MMA_KERNEL(name, call)                                                                  \
	TR_DEV void tr_mma_dot_##name(float *acc, const struct tr_mma_in *in)                      \
	{                                                                                          \
		call;                                                                              \
	}                                                                                          \
	TR_KERNEL(tr_mma_##name, tr_mma_args, TR_MMA_THREADS)                                      \
	{                                                                                          \
		TR_SHARED float room[TR_MMA_WARPS * TR_MMA_TOKENS * TR_MMA_ROWS];                  \
                                                                                                   \
		tr_mma_rows(&a.m, a.n_act, room, tr_mma_dot_##name);                               \
	}
#define TR_MMA_32(name, has_min)                                                                   \
	TR_MMA_KERNEL(name, tr_mma_32(acc, in, tr_quarter_##name, sizeof(struct tr_block_##name),  \
		has_min))
#define TR_MMA_256(name, super, halves, has_min)                                                   \
	TR_MMA_KERNEL(name, tr_mma_256(acc, in, tr_codes_##name, tr_super_##super,                 \
		sizeof(struct tr_block_##name), halves, has_min))

TR_MMA_32(q4_0, false)
TR_MMA_32(q4_1, true)
TR_MMA_32(q5_0, false)
TR_MMA_32(q5_1, true)
TR_MMA_32(q8_0, false)
TR_MMA_32(iq4_nl, false)
TR_MMA_32(mxfp4, false)
TR_MMA_256(q2_k, q2_k, true, true)
TR_MMA_256(q3_k, q3_k, true, false)
TR_MMA_256(q4_k, 4_5, false, true)
TR_MMA_256(q5_k, 4_5, false, true)
TR_MMA_256(q6_k, q6_k, true, false)
TR_MMA_256(iq4_xs, iq4_xs, false, false)
TR_MMA_256(iq1_s, eighth, false, false)
TR_MMA_256(iq1_m, iq1_m, true, false)
TR_MMA_256(iq2_xxs, eighth, false, false)
TR_MMA_256(iq2_xs, eighth, true, false)
TR_MMA_256(iq2_s, eighth, true, false)
TR_MMA_256(iq3_xxs, iq3_xxs, false, false)
TR_MMA_256(iq3_s, iq3_s, false, false)

#define TR_MMA_CASE(id, name)                                                                      \
	case TR_QUANT_##id:                                                                        \
		TR_LAUNCH(tr_mma_##name, TR_MMA_THREADS, nx, n_mat, stream, &args);                \
		return true

/* As tr_launch_matmul_args, for types of int8 activations; false for others. */
static inline bool tr_launch_mma(tr_launch_stream stream, const struct tr_matmul_args *a,
	uint32_t n_mat, uint32_t n_act)
{
	uint32_t nx = (a->m.n_row + TR_MMA_ROWS - 1) / TR_MMA_ROWS *
		((n_act + TR_MMA_TOKENS - 1) / TR_MMA_TOKENS);
	struct tr_mma_args args = { *a, n_act };

	switch (a->m.quant) {
		TR_MMA_CASE(Q4_0, q4_0);
		TR_MMA_CASE(Q4_1, q4_1);
		TR_MMA_CASE(Q5_0, q5_0);
		TR_MMA_CASE(Q5_1, q5_1);
		TR_MMA_CASE(Q8_0, q8_0);
		TR_MMA_CASE(Q2_K, q2_k);
		TR_MMA_CASE(Q3_K, q3_k);
		TR_MMA_CASE(Q4_K, q4_k);
		TR_MMA_CASE(Q5_K, q5_k);
		TR_MMA_CASE(Q6_K, q6_k);
		TR_MMA_CASE(IQ1_S, iq1_s);
		TR_MMA_CASE(IQ1_M, iq1_m);
		TR_MMA_CASE(IQ2_XXS, iq2_xxs);
		TR_MMA_CASE(IQ2_XS, iq2_xs);
		TR_MMA_CASE(IQ2_S, iq2_s);
		TR_MMA_CASE(IQ3_XXS, iq3_xxs);
		TR_MMA_CASE(IQ3_S, iq3_s);
		TR_MMA_CASE(IQ4_NL, iq4_nl);
		TR_MMA_CASE(IQ4_XS, iq4_xs);
		TR_MMA_CASE(MXFP4, mxfp4);
	default:
		return false;
	}
}

#endif
