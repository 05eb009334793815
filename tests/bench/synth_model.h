/* synth_model.h - what a Kimi-shaped model consists of: metadata, vocabulary, list of tensors. */
#ifndef TR_TESTS_BENCH_SYNTH_MODEL_H
#define TR_TESTS_BENCH_SYNTH_MODEL_H

#include "model/quant.h"
#include "tests/gguf_write.h"

enum synth_role {
	SYNTH_GATE,
	SYNTH_UP,
	SYNTH_DOWN,
	SYNTH_ATTN,
	SYNTH_HEAD, /* output and embedding */
	SYNTH_N_ROLE,
};

struct synth_cfg {
	uint32_t layers; /* with routed experts */
	uint32_t dense;	 /* layers before them */
	uint32_t embd, heads, q_lora, kv_lora, nope, rope, v, ff, experts, used, shared, ff_exp;
	uint32_t vocab, ctx, split;
	uint64_t seed;
	double hot;
	const struct tr_quant *type[SYNTH_N_ROLE];
};

enum synth_fill {
	SYNTH_BLOCKS, /* random weights of root mean square sigma */
	SYNTH_NORM,   /* about 1 */
	SYNTH_ROUTER,
	SYNTH_BIAS, /* of the router before it */
};

struct synth_tensor {
	char name[64];
	const struct tr_quant *quant;
	uint64_t ne[3]; /* unused dimensions are 1 */
	uint64_t bytes;
	enum synth_fill fill;
	float sigma;
};

struct synth_model {
	struct synth_tensor *tensors;
	size_t n_tensor;
	size_t cap;
	uint64_t bytes;	       /* of all tensors */
	uint64_t active_bytes; /* of weights that one token reads */
};

/* False when out of memory. */
bool synth_model_list(struct synth_model *m, const struct synth_cfg *cfg);

/* All metadata but the keys of a split. */
void synth_model_meta(struct gw *w, const struct synth_cfg *cfg);

/* The vocabulary has 256 tokens for bytes, a few words with merges, words that no text reaches, and
 * two control tokens: it needs this many at least. */
#define SYNTH_MIN_VOCAB 300

#endif
