/*
 * blend - one calibrated probability from what the others say.
 *
 * A logistic regression per layer and horizon over the log odds that echo, gate (or last, where no
 * scores came) and freq give, learned online. The next visit has two regressions: with look-ahead
 * scores, and without. All others of a layer learn from each visit: the next one from what is said
 * just before it; later ones from what was said after every fourth visit. Echo starts with the
 * weight, gate takes it over where there are scores. What was said of a next visit is kept until
 * that comes, so the parts are asked once.
 *
 * The parts are predictors themselves, held by their descriptors; blend adds no history of its own.
 */
#include "base/mem.h"
#include "policies/logit.h"
#include "policies/predictor.h"

#include <stdlib.h>
#include <string.h>

extern const struct tr_predictor_ops tr_predictor_echo, tr_predictor_gate, tr_predictor_freq;

static const struct tr_predictor_ops *const parts[] = {
	&tr_predictor_echo,
	&tr_predictor_gate,
	&tr_predictor_freq,
};
enum { N_PART = TR_ARRAY_LEN(parts), F_ONE = N_PART, N_FEATURE };
/* Models of a layer: horizon h at h - 1, the next visit with look-ahead scores behind them. */
enum { M_SEEN = TR_MAX_HORIZON, N_MODEL };

static const float first_weights[2][N_FEATURE] = {
	{ 0.9f, 0.05f, 0.05f, 0 }, /* without scores */
	{ 0.4f, 0.9f, 0.05f, 0.5f },
};
#define CAUTION 20.0f
#define RATE	0.3f
#define FLOOR	0.001f

struct blend {
	struct tr_predictor_cfg cfg;
	uint32_t n_horizon;
	uint32_t stride; /* n_expert, filled up to a multiple of four */
	void *part[N_PART];
	struct tr_logit *model; /* [n_layer][N_MODEL] */
	bool *seen;		/* [n_layer] look-ahead scores wait for the visit */
	bool *asked;		/* [n_layer] said is of the next visit */
	uint32_t *n_visit;	/* [n_layer] */
	float *real;		/* [stride] 1 for an expert, 0 for filling */
	float *used;		/* [stride] scratch: outcome of the visit observed */
	float *said; /* [n_layer][N_PART][stride] log odds that the parts give, next visit */
	float *later; /* [N_PART][stride] scratch: the same of another visit */
	float *kept; /* [n_layer][TR_MAX_HORIZON - 1][N_PART][stride] said after a fourth visit */
};

static void blend_fini(void *state)
{
	struct blend *s = state;

	for (size_t i = 0; i < N_PART; i++)
		if (s->part[i])
			parts[i]->fini(s->part[i]);
	free(s->model);
	free(s->seen);
	free(s->asked);
	free(s->n_visit);
	free(s->real);
	free(s->used);
	free(s->said);
	free(s->later);
	free(s->kept);
	free(s);
}

static bool allocate(struct blend *s)
{
	size_t n_layer = s->cfg.n_layer;

	s->model = tr_calloc(n_layer * N_MODEL, sizeof(*s->model));
	s->seen = tr_calloc(n_layer, sizeof(*s->seen));
	s->asked = tr_calloc(n_layer, sizeof(*s->asked));
	s->n_visit = tr_calloc(n_layer, sizeof(*s->n_visit));
	s->real = tr_calloc(s->stride, sizeof(*s->real));
	s->used = tr_calloc(s->stride, sizeof(*s->used));
	s->said = tr_calloc(n_layer * N_PART, s->stride * sizeof(*s->said));
	s->later = tr_calloc(s->stride, N_PART * sizeof(*s->later));
	s->kept = tr_calloc(n_layer * (TR_MAX_HORIZON - 1) * N_PART, s->stride * sizeof(*s->kept));
	return s->model && s->seen && s->asked && s->n_visit && s->real && s->used && s->said &&
	       s->later && s->kept;
}

static int blend_init(void **state, const struct tr_predictor_cfg *cfg, struct tr_err *err)
{
	struct blend *s = tr_calloc(1, sizeof(*s));
	int rc = 0;

	if (!s)
		return tr_err_set(err, TR_E_NOMEM, "predictor blend: no memory");
	s->cfg = *cfg;
	s->stride = tr_f4_pad(cfg->n_expert);
	s->n_horizon = cfg->n_horizon ? cfg->n_horizon : TR_MAX_HORIZON;
	if (!allocate(s))
		rc = tr_err_set(err, TR_E_NOMEM,
			"predictor blend: no memory for %u layers of %u experts", cfg->n_layer,
			cfg->n_expert);
	for (size_t i = 0; !rc && i < N_PART; i++)
		rc = parts[i]->init(&s->part[i], cfg, err);
	if (rc) {
		blend_fini(s);
		return rc;
	}
	for (uint32_t i = 0; i < cfg->n_layer * N_MODEL; i++)
		tr_logit_init(
			&s->model[i], N_FEATURE, first_weights[i % N_MODEL == M_SEEN], CAUTION);
	for (uint32_t e = 0; e < cfg->n_expert; e++)
		s->real[e] = 1;
	*state = s;
	return 0;
}

/* Log odds of every part into said, 0 where there is no expert. */
static void ask(struct blend *s, uint32_t layer, uint32_t horizon, float *said)
{
	for (size_t i = 0; i < N_PART; i++) {
		float *row = said + i * s->stride;

		parts[i]->predict(s->part[i], layer, horizon, row);
		for (uint32_t e = 0; e < s->stride; e += TR_F4)
			tr_f4_store(row + e,
				tr_log_odds4(tr_f4_load(row + e), FLOOR) * tr_f4_load(s->real + e));
	}
}

/* Of the next visit; if not anew, as it was said before that. */
static const float *ask_next(struct blend *s, uint32_t layer, bool anew)
{
	float *said = s->said + (size_t)layer * N_PART * s->stride;

	if (anew || !s->asked[layer])
		ask(s, layer, 1, said);
	s->asked[layer] = true;
	return said;
}

static void load(const struct blend *s, const float *said, uint32_t e, tr_f4 *x)
{
	for (size_t i = 0; i < N_PART; i++)
		x[i] = tr_f4_load(said + i * s->stride + e);
	x[F_ONE] = tr_f4_load(s->real + e);
}

static void learn(struct blend *s, struct tr_logit *model, const float *said)
{
	tr_f4 x[N_FEATURE];

	for (uint32_t e = 0; e < s->stride; e += TR_F4) {
		load(s, said, e, x);
		tr_logit_feed(model, x, tr_f4_load(s->used + e));
	}
	tr_logit_step(model, RATE);
}

static float *kept_of(const struct blend *s, uint32_t layer, uint32_t horizon)
{
	return s->kept + ((size_t)layer * (TR_MAX_HORIZON - 1) + horizon - 2) * N_PART * s->stride;
}

static void blend_observe(void *state, uint32_t layer, const uint32_t *experts,
	const float *weights, uint32_t n, const float *scores)
{
	struct blend *s = state;
	struct tr_logit *model = s->model + (size_t)layer * N_MODEL;
	uint32_t since = s->n_visit[layer] ? (s->n_visit[layer] - 1) % TR_MAX_HORIZON + 1 : 0;

	memset(s->used, 0, s->stride * sizeof(*s->used));
	for (uint32_t i = 0; i < n; i++)
		s->used[experts[i]] = 1;
	learn(s, &model[s->seen[layer] ? M_SEEN : 0], ask_next(s, layer, false));
	if (since > 1 && since <= s->n_horizon)
		learn(s, &model[since - 1], kept_of(s, layer, since));
	for (size_t i = 0; i < N_PART; i++)
		parts[i]->observe(s->part[i], layer, experts, weights, n, scores);
	s->seen[layer] = false;
	s->asked[layer] = false;
	if (s->n_visit[layer]++ % TR_MAX_HORIZON == 0)
		for (uint32_t h = 2; h <= s->n_horizon; h++)
			ask(s, layer, h, kept_of(s, layer, h));
}

static void blend_lookahead(void *state, uint32_t layer, uint32_t ahead, const float *scores)
{
	struct blend *s = state;

	for (size_t i = 0; i < N_PART; i++)
		if (parts[i]->lookahead)
			parts[i]->lookahead(s->part[i], layer, ahead, scores);
	s->seen[layer] = true;
	s->asked[layer] = false;
}

static void blend_predict(void *state, uint32_t layer, uint32_t horizon, float *p)
{
	struct blend *s = state;
	uint32_t which = horizon == 1 && s->seen[layer] ? M_SEEN : horizon - 1;
	const struct tr_logit *model = &s->model[(size_t)layer * N_MODEL + which];
	const float *said = s->later;
	tr_f4 x[N_FEATURE], four;

	if (horizon == 1)
		said = ask_next(s, layer, true);
	else
		ask(s, layer, horizon, s->later);
	for (uint32_t e = 0; e < s->stride; e += TR_F4) {
		load(s, said, e, x);
		four = tr_logit_p(model, x);
		memcpy(p + e, &four, TR_MIN(s->cfg.n_expert - e, TR_F4) * sizeof(*p));
	}
}

const struct tr_predictor_ops tr_predictor_blend = {
	.abi = TR_PREDICTOR_ABI,
	.name = "blend",
	.summary = "calibrated mixture of echo, gate and freq, learned per layer and horizon",
	.options = "",
	.init = blend_init,
	.fini = blend_fini,
	.observe = blend_observe,
	.lookahead = blend_lookahead,
	.wants_lookahead = true,
	.wants_scores = true,
	.predict = blend_predict,
};
