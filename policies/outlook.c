#include "policies/outlook.h"
#include "base/err.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { N_HORIZON = TR_OUTLOOK_HORIZON };
enum { F_ONE, F_FAST, F_SLOW, F_LAST, F_ECHO, N_FEATURE };
/* What is kept of a visit: the features that all horizons share, then the echo of each. */
enum { N_KEPT = F_ECHO + N_HORIZON };

/* Near what 300 tokens of Kimi-Linear, OLMoE and Qwen3 lead to, one set for all. */
static const float first_weights[N_HORIZON][N_FEATURE] = {
	{ -0.5f, 0.20f, -0.10f, 0.6f, 0.95f },
	{ -0.4f, 0.25f, 0.05f, 0.9f, 0.55f },
	{ -0.35f, 0.30f, 0.15f, 1.0f, 0.40f },
	{ -0.3f, 0.35f, 0.30f, 1.1f, 0.25f },
};
#define CAUTION 50.0f
#define RATE	0.1f
/* The echo of few voters is never sure. */
#define ECHO_FLOOR 0.01f
/* Share of the uniform rate in every average: nothing is ever impossible. */
#define DOUBT	   0.05f
#define LEAST_RATE 1e-6f

int tr_outlook_init(struct tr_outlook *o, uint32_t n_layer, uint32_t n_expert, uint32_t depth)
{
	uint32_t stride = tr_f4_pad(n_expert);
	size_t n = (size_t)n_layer * stride;

	*o = (struct tr_outlook){ .n_layer = n_layer, .n_expert = n_expert, .stride = stride };
	for (uint32_t h = 0; h < N_HORIZON; h++)
		tr_logit_init(&o->model[h], N_FEATURE, first_weights[h], CAUTION);
	o->n_visit = tr_calloc(n_layer, sizeof(*o->n_visit));
	o->n_used = tr_calloc(n_layer, sizeof(*o->n_used));
	o->fast_sum = tr_calloc(n_layer, sizeof(*o->fast_sum));
	o->slow_sum = tr_calloc(n_layer, sizeof(*o->slow_sum));
	o->real = tr_calloc(stride, sizeof(*o->real));
	o->fast_mean = tr_calloc(n, sizeof(*o->fast_mean));
	o->slow_mean = tr_calloc(n, sizeof(*o->slow_mean));
	o->used = tr_calloc(n, sizeof(*o->used));
	o->kept = tr_calloc(n, N_KEPT * sizeof(*o->kept));
	o->p = tr_calloc(stride, N_HORIZON * sizeof(*o->p));
	o->rate = tr_calloc(stride, sizeof(*o->rate));
	if (!o->n_visit || !o->n_used || !o->fast_sum || !o->slow_sum || !o->real ||
		!o->fast_mean || !o->slow_mean || !o->used || !o->kept || !o->p || !o->rate ||
		tr_echo_init(&o->echo, n_layer, n_expert, depth)) {
		tr_outlook_fini(o);
		return TR_E_NOMEM;
	}
	for (uint32_t e = 0; e < n_expert; e++)
		o->real[e] = 1;
	return 0;
}

void tr_outlook_fini(struct tr_outlook *o)
{
	tr_echo_fini(&o->echo);
	free(o->n_visit);
	free(o->n_used);
	free(o->fast_sum);
	free(o->slow_sum);
	free(o->real);
	free(o->fast_mean);
	free(o->slow_mean);
	free(o->used);
	free(o->kept);
	free(o->p);
	free(o->rate);
	*o = (struct tr_outlook){ 0 };
}

/* The visit was `ahead` visits after the one whose features are kept. */
static void learn(struct tr_outlook *o, uint32_t layer, uint32_t ahead)
{
	const float *kept = o->kept + (size_t)layer * N_KEPT * o->stride;
	const float *used = o->used + (size_t)layer * o->stride;
	struct tr_logit *model = &o->model[ahead - 1];
	tr_f4 x[N_FEATURE];

	for (uint32_t e = 0; e < o->stride; e += TR_F4) {
		for (uint32_t i = 0; i < F_ECHO; i++)
			x[i] = tr_f4_load(kept + i * o->stride + e);
		x[F_ECHO] = tr_f4_load(kept + (F_ECHO + ahead - 1) * o->stride + e);
		tr_logit_feed(model, x, tr_f4_load(used + e));
	}
	tr_logit_step(model, RATE);
}

static void average(struct tr_outlook *o, uint32_t layer, uint32_t n)
{
	size_t first = (size_t)layer * o->stride;
	float was = o->n_visit[layer] ? o->n_used[layer] : (float)n;

	for (size_t i = first; i < first + o->stride; i += TR_F4) {
		tr_f4 used = tr_f4_load(o->used + i);
		tr_f4 fast = tr_f4_load(o->fast_mean + i), slow = tr_f4_load(o->slow_mean + i);

		tr_f4_store(o->fast_mean + i, fast + o->fast * (used - fast));
		tr_f4_store(o->slow_mean + i, slow + o->slow * (used - slow));
	}
	o->fast_sum[layer] += o->fast * (1 - o->fast_sum[layer]);
	o->slow_sum[layer] += o->slow * (1 - o->slow_sum[layer]);
	o->n_used[layer] = was + o->fast * ((float)n - was);
}

void tr_outlook_visit(struct tr_outlook *o, uint32_t layer, const uint32_t *experts, uint32_t n)
{
	float *used = o->used + (size_t)layer * o->stride;

	memset(used, 0, o->stride * sizeof(*used));
	for (uint32_t i = 0; i < n; i++)
		used[experts[i]] = 1;
	if (o->n_visit[layer])
		learn(o, layer, (o->n_visit[layer] - 1) % N_HORIZON + 1);
	average(o, layer, n);
	o->n_visit[layer]++;
	tr_echo_observe(&o->echo, layer, experts, n);
}

void tr_outlook_end_token(struct tr_outlook *o)
{
	tr_echo_end_token(&o->echo);
}

/* An average, filled up with the uniform rate where it has seen little. */
static tr_f4 rate_of(const float *mean, float sum, float uniform)
{
	tr_f4 rate = tr_f4_load(mean) + (1 - sum) * uniform;

	return rate + DOUBT * (uniform - rate);
}

/* p holds the shares of the echo; the probabilities take their place. */
static tr_f4 combine(const struct tr_logit *model, tr_f4 *x, float *p)
{
	x[F_ECHO] = tr_log_odds4(tr_f4_load(p), ECHO_FLOOR);
	tr_f4_store(p, tr_logit_p(model, x));
	return x[F_ECHO];
}

/* Features that all horizons share, of the four experts from e on. */
static void look(struct tr_outlook *o, uint32_t layer, uint32_t e, tr_f4 *x)
{
	float uniform = o->n_used[layer] / (float)o->n_expert;
	size_t i = (size_t)layer * o->stride + e;
	tr_f4 fast = rate_of(o->fast_mean + i, o->fast_sum[layer], uniform);
	tr_f4 slow = rate_of(o->slow_mean + i, o->slow_sum[layer], uniform);

	tr_f4_store(o->rate + e, 0.5f * (fast + slow));
	x[F_ONE] = tr_f4_of(1);
	x[F_FAST] = tr_log_odds4(fast, LEAST_RATE);
	x[F_SLOW] = tr_log_odds4(slow, LEAST_RATE);
	x[F_LAST] = tr_f4_load(o->used + i);
}

static void keep(const struct tr_outlook *o, uint32_t layer, uint32_t e, uint32_t feature, tr_f4 x)
{
	float *kept = o->kept + ((size_t)layer * N_KEPT + feature) * o->stride;

	tr_f4_store(kept + e, x * tr_f4_load(o->real + e));
}

void tr_outlook_estimate(struct tr_outlook *o, uint32_t layer)
{
	bool keeps = o->n_visit[layer] % N_HORIZON == 1;
	tr_f4 x[N_FEATURE], echo;

	for (uint32_t h = 0; h < N_HORIZON; h++)
		tr_echo_predict(&o->echo, layer, h + 1, o->p + h * o->stride);
	for (uint32_t e = 0; e < o->stride; e += TR_F4) {
		look(o, layer, e, x);
		for (uint32_t i = 0; keeps && i < F_ECHO; i++)
			keep(o, layer, e, i, x[i]);
		for (uint32_t h = 0; h < N_HORIZON; h++) {
			echo = combine(&o->model[h], x, o->p + h * o->stride + e);
			if (keeps)
				keep(o, layer, e, F_ECHO + h, echo);
		}
	}
}

const float *tr_outlook_glance(struct tr_outlook *o, uint32_t layer, uint32_t horizon)
{
	float *p = o->p + (horizon - 1) * o->stride;
	tr_f4 x[N_FEATURE];

	tr_echo_predict(&o->echo, layer, horizon, p);
	for (uint32_t e = 0; e < o->stride; e += TR_F4) {
		look(o, layer, e, x);
		combine(&o->model[horizon - 1], x, p + e);
	}
	return p;
}
