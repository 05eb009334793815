#include "cache/sketch.h"
#include "base/mem.h"
#include "model/quant.h"
#include "policies/top.h"

uint32_t tr_sketch_size(uint32_t n_expert, uint32_t n_used)
{
	return TR_MIN(TR_SKETCH_PER_USED * n_used, n_expert);
}

void tr_sketch_draw(struct tr_sketch *s, const float *scores, uint32_t n_expert, uint32_t *scratch)
{
	double rest = 0;

	tr_top(scores, n_expert, scratch, s->n);
	for (uint32_t e = 0; e < n_expert; e++)
		rest += (double)scores[e];
	for (uint32_t i = 0; i < s->n; i++) {
		s->expert[i] = (uint16_t)scratch[i];
		s->score[i] = tr_f32_to_f16(scores[scratch[i]]);
		rest -= (double)scores[scratch[i]];
	}
	s->rest = tr_f32_to_f16(n_expert > s->n ? (float)(rest / (n_expert - s->n)) : 0);
}

void tr_sketch_fill(const struct tr_sketch *s, float *scores, uint32_t n_expert)
{
	float rest = tr_f16_to_f32(s->rest);

	for (uint32_t e = 0; e < n_expert; e++)
		scores[e] = rest;
	for (uint32_t i = 0; i < s->n; i++)
		scores[s->expert[i]] = tr_f16_to_f32(s->score[i]);
}
