/*
 * k_router.cuh - router logits to experts and weights, as compute/router.c. A block of threads has a
 * token. What is short and ordered (groups, finishing the weights) one thread does alone.
 */
#ifndef TR_CUDA_K_ROUTER_CUH
#define TR_CUDA_K_ROUTER_CUH

#include "cuda/lang.cuh"

#define TR_ROUTER_THREADS 256
#define TR_ROUTER_MAX_EXPERT 2048 /* in shared memory, twice */

/* The smallest sum that weights are divided by, as in compute/router.c. */
#define TR_ROUTER_MIN_SUM 6.103515625e-5f

/* A candidate; idx is n when there is none. Better: greater score, then lower index. */
struct tr_best {
	float score;
	uint32_t idx;
};

TR_DEV struct tr_best tr_better(struct tr_best a, struct tr_best b)
{
	return b.score > a.score || (b.score == a.score && b.idx < a.idx) ? b : a;
}

/* The best of n scores in shared memory, found by the first warp; all its threads get it. */
TR_DEV struct tr_best tr_router_best(const float *score, uint32_t n)
{
	struct tr_best top = { -INFINITY, n };

	for (uint32_t i = tr_thread; i < n; i += TR_WARP)
		if (score[i] > top.score) {
			top.score = score[i];
			top.idx = i;
		}
	for (int m = TR_WARP / 2; m > 0; m /= 2) {
		struct tr_best other;

		other.score = tr_shfl_xor(top.score, m);
		other.idx = tr_shfl_xor_u32(top.idx, m);
		top = tr_better(top, other);
	}
	return top;
}

/* out = exp(x - max) / sum over n values in shared memory; the first warp calls. */
TR_DEV void tr_router_softmax(float *x, uint32_t n)
{
	float max = -INFINITY, lane = 0, sum;

	for (uint32_t i = tr_thread; i < n; i += TR_WARP)
		max = x[i] > max ? x[i] : max;
	for (int m = TR_WARP / 2; m > 0; m /= 2) {
		float other = tr_shfl_xor(max, m);

		max = other > max ? other : max;
	}
	max += 0.0f;
	if (tr_thread < TR_LANES)
		for (uint32_t i = tr_thread; i < n; i += TR_LANES) {
			x[i] = tr_exp_canonical(x[i] - max);
			lane += x[i];
		}
	sum = tr_tree16(lane);
	/* Lane 0 has it; the others get it from there. */
	sum = tr_thread == 0 ? sum : 0;
	for (int m = TR_WARP / 2; m > 0; m /= 2)
		sum += tr_shfl_xor(sum, m);
	if (tr_thread < TR_LANES)
		for (uint32_t i = tr_thread; i < n; i += TR_LANES)
			x[i] *= 1.0f / sum;
}

TR_DEV float tr_router_two_best(const float *score, uint32_t n)
{
	float first = -INFINITY, second = -INFINITY;

	for (uint32_t i = 0; i < n; i++) {
		if (score[i] > first) {
			second = first;
			first = score[i];
		} else if (score[i] > second) {
			second = score[i];
		}
	}
	return n == 1 ? first : first + second;
}

/* Which groups stay; thread 0. */
TR_DEV void tr_router_keep(const struct tr_router *r, float *group, uint8_t *keep)
{
	for (uint32_t g = 0; g < r->n_group; g++)
		keep[g] = 0;
	for (uint32_t kept = 0; kept < r->n_group_used; kept++) {
		struct tr_best top = { -INFINITY, r->n_group };

		for (uint32_t g = 0; g < r->n_group; g++)
			if (group[g] > top.score) {
				top.score = group[g];
				top.idx = g;
			}
		if (top.idx == r->n_group)
			return;
		keep[top.idx] = 1;
		group[top.idx] = -INFINITY;
	}
}

/* When groups or NaN leave no candidate: the lowest expert that was not taken. */
TR_DEV uint32_t tr_router_free(const uint32_t *ids, uint32_t n)
{
	for (uint32_t e = 0;; e++) {
		uint32_t i = 0;

		while (i < n && ids[i] != e)
			i++;
		if (i == n)
			return e;
	}
}

/* Thread 0, after a softmax over the chosen where there is one. */
TR_DEV void tr_router_finish(const struct tr_router *r, float *w)
{
	float sum = 0;

	if (r->norm) {
		for (uint32_t i = 0; i < r->n_used; i++)
			sum += w[i];
		if (sum < TR_ROUTER_MIN_SUM)
			sum = TR_ROUTER_MIN_SUM;
		for (uint32_t i = 0; i < r->n_used; i++)
			w[i] /= sum;
	}
	for (uint32_t i = 0; i < r->n_used; i++)
		w[i] *= r->scale;
}

TR_DEV void tr_router_probabilities(const struct tr_dop_router *a, const float *logits, float *p)
{
	for (uint32_t i = tr_thread; i < a->r.n_expert; i += TR_ROUTER_THREADS)
		p[i] = a->r.gating == TR_GATING_SIGMOID ? tr_sigmoid_canonical(logits[i]) : logits[i];
	tr_sync();
	if (a->r.gating == TR_GATING_SOFTMAX && tr_thread < TR_WARP)
		tr_router_softmax(p, a->r.n_expert);
	tr_sync();
}

TR_DEV void tr_router_mask(const struct tr_dop_router *a, float *score, float *group, uint8_t *keep)
{
	uint32_t n = a->r.n_expert / a->r.n_group;

	if (tr_thread < a->r.n_group)
		group[tr_thread] = tr_router_two_best(score + tr_thread * n, n);
	tr_sync();
	if (tr_thread == 0)
		tr_router_keep(&a->r, group, keep);
	tr_sync();
	for (uint32_t i = tr_thread; i < a->r.n_expert; i += TR_ROUTER_THREADS)
		if (!keep[i / n])
			score[i] = -INFINITY;
	tr_sync();
}

TR_KERNEL(tr_router_pick_k, tr_dop_router, TR_ROUTER_THREADS)
{
	TR_SHARED float p[TR_ROUTER_MAX_EXPERT], score[TR_ROUTER_MAX_EXPERT];
	TR_SHARED float group[TR_ROUTER_MAX_GROUP], weight[TR_ROUTER_MAX_USED];
	TR_SHARED uint8_t keep[TR_ROUTER_MAX_GROUP];
	TR_SHARED uint32_t id[TR_ROUTER_MAX_USED];

	tr_router_probabilities(&a, a.logits + tr_block_x * a.stride, p);
	for (uint32_t i = tr_thread; i < a.r.n_expert; i += TR_ROUTER_THREADS)
		score[i] = a.bias ? p[i] + a.bias[i] : p[i];
	tr_sync();
	if (a.r.n_group > 1)
		tr_router_mask(&a, score, group, keep);
	for (uint32_t i = 0; i < a.r.n_used; i++) {
		struct tr_best top = { 0, 0 };

		if (tr_thread < TR_WARP)
			top = tr_router_best(score, a.r.n_expert);
		if (tr_thread == 0) {
			if (top.idx == a.r.n_expert)
				top.idx = tr_router_free(id, i);
			id[i] = top.idx;
			weight[i] = p[top.idx];
			score[top.idx] = -INFINITY;
		}
		tr_sync();
	}
	if (a.r.gating == TR_GATING_SOFTMAX_TOPK && tr_thread < TR_WARP)
		tr_router_softmax(weight, a.r.n_used);
	tr_sync();
	if (tr_thread == 0)
		tr_router_finish(&a.r, weight);
	tr_sync();
	if (tr_thread < a.r.n_used) {
		a.ids[tr_block_x * a.r.n_used + tr_thread] = id[tr_thread];
		a.weights[tr_block_x * a.r.n_used + tr_thread] = weight[tr_thread];
	}
}

static inline void tr_launch_router(tr_launch_stream stream, const struct tr_dop_router *a)
{
	TR_LAUNCH(tr_router_pick_k, TR_ROUTER_THREADS, a->n_tok, 1, stream, a);
}

#endif
