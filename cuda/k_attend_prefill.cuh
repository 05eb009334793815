/*
 * k_attend_prefill.cuh - attention of the many tokens of a prompt; scores stay on chip.
 *
 * A block of threads takes TR_FLASH_QUERIES neighbouring (token, head) pairs of a group of heads
 * that share rows, with latents all of them. Weights of the canonical order (engine/mla.c) are
 * exp(s - max of all positions), so sums cannot be begun with the maximum of what has been seen and
 * corrected later: that rounds otherwise. Instead there are two passes. The first computes scores
 * and keeps only maxima; it goes from the last chunk of positions to the first, whose scores are
 * then still there. The second computes the others once more, turns them into weights, and mixes
 * values. That is half as much arithmetic again as with corrections, and nothing of the size of
 * scores in memory.
 *
 *   scores   half a warp has 4 queries and 4 positions, a lane of the canonical sum each thread
 *   mix      a thread has TR_FLASH_COLUMNS values of the row for all queries, positions ascending
 *
 * Rows of fewer values than TR_FLASH_COLUMNS * TR_FLASH_THREADS leave threads without work in the
 * mix. The sums are of floats in a fixed order, which tensor cores do not keep.
 */
#ifndef TR_CUDA_K_ATTEND_PREFILL_CUH
#define TR_CUDA_K_ATTEND_PREFILL_CUH

#include "cuda/k_attend.cuh"

#define TR_FLASH_THREADS 256
#define TR_FLASH_QUERIES 8
#define TR_FLASH_COLUMNS 2
/* Floats from one query to the next; four queries on, other banks of shared memory. */
#define TR_FLASH_STRIDE (1024 + 4)
#define TR_FLASH_HALF_WARPS (TR_FLASH_THREADS / TR_LANES)

/* What the threads of a block share. */
struct tr_flash_room {
	float query[TR_FLASH_QUERIES * TR_FLASH_STRIDE];
	float weight[TR_DOP_MLA_CHUNK * TR_FLASH_QUERIES]; /* first scores; [position][query] */
	float best[TR_FLASH_QUERIES * 2 * TR_FLASH_HALF_WARPS];
	float factor[TR_FLASH_QUERIES]; /* 1 / sum */
	uint32_t reach[TR_FLASH_QUERIES]; /* positions that the query sees */
	uint32_t row[TR_FLASH_QUERIES];	  /* of the query in queries and ctx */
};

struct tr_flash {
	const struct tr_dop_gqa *m;
	struct tr_flash_room *room;
	const uint8_t *keys, *values; /* of the group */
	uint32_t n_group;	      /* heads */
	uint32_t first, n; /* queries of the group, token * n_group + head */
	uint32_t low, high; /* positions that all of them reach, and that one of them does */
};

/* Queries behind the last repeat it, and what comes out is dropped. */
TR_DEV uint32_t tr_flash_query(const struct tr_flash *f, uint32_t i)
{
	return f->first + TR_MIN(i, f->n - 1);
}

TR_DEV uint32_t tr_flash_sees(const struct tr_flash *f, uint32_t i)
{
	return f->m->pos + tr_flash_query(f, i) / f->n_group + 1;
}

/* The last queries have the most to do and go first. */
TR_DEV struct tr_flash tr_flash(const struct tr_dop_gqa *m, struct tr_flash_room *room)
{
	uint32_t n_group = m->n_head / m->n_kv_head, n_query = m->n_tok * n_group;
	uint32_t n_tile = (n_query + TR_FLASH_QUERIES - 1) / TR_FLASH_QUERIES;
	struct tr_flash f = { m, room, tr_attend_row(&m->keys, tr_block_y, 0),
		tr_attend_row(&m->values, tr_block_y, 0), n_group,
		(n_tile - 1 - tr_block_x) * TR_FLASH_QUERIES, 0, 0, 0 };

	f.n = TR_MIN(n_query - f.first, (uint32_t)TR_FLASH_QUERIES);
	f.low = tr_flash_sees(&f, 0);
	f.high = tr_flash_sees(&f, f.n - 1);
	return f;
}

/* Threads meet before anything of this is read. */
TR_DEV void tr_flash_load(const struct tr_flash *f)
{
	uint32_t n = f->m->n_key;

	for (uint32_t q = 0; q < TR_FLASH_QUERIES; q++) {
		uint32_t query = tr_flash_query(f, q);
		uint32_t row = query / f->n_group * f->m->n_head + tr_block_y * f->n_group +
			query % f->n_group;

		if (tr_thread == q) {
			f->room->reach[q] = tr_flash_sees(f, q);
			f->room->row[q] = row;
		}
		for (uint32_t i = tr_thread; i < n; i += TR_FLASH_THREADS)
			f->room->query[q * TR_FLASH_STRIDE + i] =
				f->m->query[(size_t)row * n + i];
	}
}

/* One level of the trees of 2 n sums: a thread keeps n of them and gives the others away. */
TR_DEV void tr_flash_fold(float *sum, const unsigned n)
{
	bool high = tr_thread & n;

	TR_UNROLL
	for (unsigned i = 0; i < n; i++) {
		float keep = high ? sum[i + n] : sum[i], give = high ? sum[i] : sum[i + n];

		sum[i] = keep + tr_shfl_xor(give, n);
	}
}

/* Which of the queries and of four positions a thread has at the end of the trees. */
TR_DEV uint32_t tr_flash_own_query(void)
{
	return tr_thread / TR_LANES % 2 * 4 + tr_thread % TR_LANES / 4;
}

/* The score of the thread's query and of position at + thread mod 4. */
TR_DEV float tr_flash_score(const struct tr_flash *f, const int type, uint32_t at, uint32_t last)
{
	uint32_t n = f->m->n_key, lane = tr_thread % TR_LANES;
	const float *query = f->room->query + tr_thread / TR_LANES % 2 * 4 * TR_FLASH_STRIDE;
	const uint8_t *row[4];
	float sum[16] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };

	TR_UNROLL
	for (uint32_t r = 0; r < 4; r++)
		row[r] = f->keys + TR_MIN(at + r, last) * f->m->keys.pos_bytes;
	for (uint32_t i = lane; i < n; i += TR_LANES) {
		float w[4];

		TR_UNROLL
		for (int r = 0; r < 4; r++)
			w[r] = tr_kv_value(type, row[r], i);
		TR_UNROLL
		for (int k = 0; k < 16; k++)
			sum[k] = tr_fmaf(w[k % 4], query[k / 4 * TR_FLASH_STRIDE + i], sum[k]);
	}
	tr_flash_fold(sum, 8);
	tr_flash_fold(sum, 4);
	tr_flash_fold(sum, 2);
	tr_flash_fold(sum, 1);
	return sum[0] * f->m->scale;
}

/* Scores of the chunk from begin on; returns the greatest of the thread's query, or max. */
TR_DEV float tr_flash_scores(const struct tr_flash *f, const int type, uint32_t begin, float max)
{
	uint32_t q = tr_flash_own_query(), reach = f->room->reach[q];
	uint32_t n = TR_MIN(f->high - begin, (uint32_t)TR_DOP_MLA_CHUNK);

	/* As many rounds for all: shuffles need whole warps. */
	for (uint32_t at = 0; at < n; at += 4 * TR_FLASH_HALF_WARPS / 2) {
		uint32_t four = at + tr_thread / TR_WARP * 4, own = four + tr_thread % 4;
		float s = tr_flash_score(f, type, begin + four, f->high - 1);

		f->room->weight[own * TR_FLASH_QUERIES + q] = s;
		if (begin + own < reach)
			max = tr_attend_max(max, s);
	}
	return max;
}

/* The greatest score of the query that is the thread's number mod TR_FLASH_QUERIES. */
TR_DEV float tr_flash_max(const struct tr_flash *f, float max)
{
	const uint32_t n_part = 2 * TR_FLASH_HALF_WARPS;
	uint32_t part = tr_thread / TR_WARP * 4 + tr_thread % 4;

	f->room->best[tr_flash_own_query() * n_part + part] = max;
	tr_sync();
	max = -INFINITY;
	for (part = 0; part < n_part; part++)
		max = tr_attend_max(max, f->room->best[tr_thread % TR_FLASH_QUERIES * n_part + part]);
	return max + 0.0f;
}

/* Scores of a chunk become weights, 0 behind what a query reaches. */
TR_DEV void tr_flash_weigh(const struct tr_flash *f, uint32_t begin, float max)
{
	uint32_t reach = f->room->reach[tr_thread % TR_FLASH_QUERIES];

	for (uint32_t i = tr_thread; i < TR_DOP_MLA_CHUNK * TR_FLASH_QUERIES;
		i += TR_FLASH_THREADS) {
		bool seen = begin + i / TR_FLASH_QUERIES < reach;
		float *weight = &f->room->weight[i];

		*weight = seen ? tr_exp_canonical(*weight - max) : 0;
	}
}

/* Adds the canonical sum of a chunk's weights; half a warp has a query. */
TR_DEV float tr_flash_add(const struct tr_flash *f, uint32_t begin, float sum)
{
	uint32_t q = tr_thread / TR_LANES, reach = f->room->reach[q], i;
	uint32_t end = reach < begin ? 0 : TR_MIN(reach - begin, (uint32_t)TR_DOP_MLA_CHUNK);
	float lane = 0;

	for (i = tr_thread % TR_LANES; i < end; i += TR_LANES)
		lane += f->room->weight[i * TR_FLASH_QUERIES + q];
	sum += tr_tree16(lane);
	if (tr_thread % TR_LANES == 0)
		f->room->factor[q] = 1.0f / sum;
	return sum;
}

/* One more position for TR_FLASH_COLUMNS values of all queries. */
TR_DEV void tr_flash_step(float *mix, const struct tr_flash *f, const int type, uint32_t begin,
	uint32_t i, const uint32_t *column, const bool all)
{
	const uint8_t *row = f->values + (begin + i) * f->m->values.pos_bytes;
	const float *weight = f->room->weight + i * TR_FLASH_QUERIES;
	float x[TR_FLASH_COLUMNS];

	TR_UNROLL
	for (int c = 0; c < TR_FLASH_COLUMNS; c++)
		x[c] = tr_kv_value(type, row, column[c]);
	TR_UNROLL
	for (int k = 0; k < TR_FLASH_QUERIES * TR_FLASH_COLUMNS; k++) {
		uint32_t q = (uint32_t)k / TR_FLASH_COLUMNS;

		if (all || begin + i < f->room->reach[q])
			mix[k] = tr_fmaf(weight[q], x[k % TR_FLASH_COLUMNS], mix[k]);
	}
}

/* The chunk's sums of the columns become part of ctx, which is divided when it is the last. */
TR_DEV void tr_flash_store(const struct tr_flash *f, const float *mix, uint32_t begin,
	const uint32_t *column)
{
	bool last = f->high - begin <= TR_DOP_MLA_CHUNK;

	TR_UNROLL
	for (int k = 0; k < TR_FLASH_QUERIES * TR_FLASH_COLUMNS; k++) {
		uint32_t q = (uint32_t)k / TR_FLASH_COLUMNS, c = (uint32_t)k % TR_FLASH_COLUMNS;
		float *ctx = f->m->ctx + (size_t)f->room->row[q] * f->m->n_value + column[c];
		float sum;

		if (q >= f->n || (c && column[c] == column[0]))
			continue;
		sum = (begin ? *ctx : 0.0f) + mix[k];
		*ctx = last ? sum * f->room->factor[q] : sum;
	}
}

TR_DEV void tr_flash_mix(const struct tr_flash *f, const int type, uint32_t begin)
{
	uint32_t n_all = f->low < begin ? 0 : TR_MIN(f->low - begin, (uint32_t)TR_DOP_MLA_CHUNK);
	uint32_t n = TR_MIN(f->high - begin, (uint32_t)TR_DOP_MLA_CHUNK), first, i;

	for (first = tr_thread; first < f->m->n_value; first += TR_FLASH_COLUMNS * TR_FLASH_THREADS) {
		float mix[TR_FLASH_QUERIES * TR_FLASH_COLUMNS];
		uint32_t column[TR_FLASH_COLUMNS];

		TR_UNROLL
		for (uint32_t c = 0; c < TR_FLASH_COLUMNS; c++) {
			uint32_t at = first + c * TR_FLASH_THREADS;

			column[c] = at < f->m->n_value ? at : first;
		}
		TR_UNROLL
		for (int k = 0; k < TR_FLASH_QUERIES * TR_FLASH_COLUMNS; k++)
			mix[k] = 0;
		for (i = 0; i < n_all; i++)
			tr_flash_step(mix, f, type, begin, i, column, true);
		for (; i < n; i++)
			tr_flash_step(mix, f, type, begin, i, column, false);
		tr_flash_store(f, mix, begin, column);
	}
}

TR_DEV void tr_flash_attend(const struct tr_flash *f, const int type)
{
	uint32_t begin = (f->high - 1) / TR_DOP_MLA_CHUNK * TR_DOP_MLA_CHUNK;
	float max = -INFINITY, sum = 0;

	tr_flash_load(f);
	tr_sync();
	for (;; begin -= TR_DOP_MLA_CHUNK) {
		max = tr_flash_scores(f, type, begin, max);
		if (!begin)
			break;
	}
	max = tr_flash_max(f, max);
	for (; begin < f->high; begin += TR_DOP_MLA_CHUNK) {
		if (begin)
			tr_flash_scores(f, type, begin, 0);
		tr_sync();
		tr_flash_weigh(f, begin, max);
		tr_sync();
		if (tr_thread < TR_FLASH_QUERIES * TR_LANES)
			sum = tr_flash_add(f, begin, sum);
		tr_sync();
		tr_flash_mix(f, type, begin);
		tr_sync();
	}
}

#define TR_FLASH_KERNEL(name, type)                                                                \
	TR_KERNEL(tr_flash_##name, tr_dop_gqa, TR_FLASH_THREADS)                     \
	{                                                                                          \
		TR_SHARED TR_ALIGN16 struct tr_flash_room room;                                    \
		struct tr_flash f = tr_flash(&a, &room);                                           \
                                                                                                   \
		tr_flash_attend(&f, type);                                                         \
	}

TR_KV_TYPES(TR_FLASH_KERNEL)

static inline void tr_launch_flash(tr_launch_stream stream, const struct tr_dop_gqa *m)
{
	uint32_t n_query = m->n_tok * (m->n_head / m->n_kv_head);
	uint32_t n_tile = (n_query + TR_FLASH_QUERIES - 1) / TR_FLASH_QUERIES;

	TR_KV_LAUNCH(m->type, tr_flash, TR_FLASH_THREADS, n_tile, m->n_kv_head, stream, m);
}

static inline void tr_launch_mla_prefill(tr_launch_stream stream,
	const struct tr_dop_mla_prefill *m)
{
	struct tr_dop_gqa g = tr_dop_mla_prefill_as_gqa(m);

	tr_launch_flash(stream, &g);
}

#endif
