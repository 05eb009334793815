/*
 * synth.c - writes a Kimi-shaped model (GGUF, deepseek2) of a chosen size with random weights.
 *
 *	synth --size 4G k4.gguf		4 expert layers, 4.3 GB
 *	synth --layers 13 k13.gguf	13.9 GB
 *	synth --split 3 k4.gguf		k4-00001-of-00003.gguf and its siblings
 *
 * The blocks are valid and scaled as a fresh initialisation is, so hidden states and logits stay
 * finite; the text is noise. Experts are used unevenly (--hot, synth_router.h), and by chance
 * otherwise: a token says nothing about the next one's experts, which a trained model does.
 *
 * Weights come from a pool of a few megabytes per type and scale, from which every tensor is
 * written starting at a random block. The number of blocks of a pool is odd, so that a later lap
 * puts other blocks side by side and no two rows of a tensor are equal. Nothing larger than a pool
 * is in memory. Pages that were written are given back to the system as it goes: the file is cold.
 */
#include "synth_model.h"
#include "synth_router.h"

#include "base/mem.h"
#include "base/opt.h"

#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POOL_BYTES  ((size_t)4 << 20)
#define MAX_POOL    64
#define FLUSH_BYTES ((uint64_t)256 << 20)

/* --- options ---------------------------------------------------------------------------------- */

enum {
	KEY_HOT = 0x1000,
	KEY_SEED,
	KEY_SIZE,
	KEY_TYPES,
	KEY_NUMBER, /* and on: index into numbers */
};

struct args {
	struct synth_cfg cfg;
	const char *size;
	const char *path;
};

#define NUMBER(field, lo, hi, text)                                                                \
	{                                                                                          \
#field, offsetof(struct synth_cfg, field), lo, hi, text                            \
	}

/* Underscores become hyphens in the option's name. */
static const struct number {
	const char *field;
	size_t at;
	uint64_t lo, hi;
	const char *text;
} numbers[] = {
	NUMBER(layers, 1, 500, "layers with routed experts (4)"),
	NUMBER(dense, 0, 12, "dense layers before them (1)"),
	NUMBER(embd, 32, 65536, "width (2048)"),
	NUMBER(heads, 1, 1024, "attention heads (16)"),
	NUMBER(q_lora, 0, 65536, "rank of the query projection, 0: none (768)"),
	NUMBER(kv_lora, 32, 65536, "rank of the latent cache (512)"),
	NUMBER(nope, 32, 4096, "unrotated part of a head (128)"),
	NUMBER(rope, 2, 4096, "rotated part of a head (64)"),
	NUMBER(v, 32, 4096, "value part of a head (128)"),
	NUMBER(ff, 32, 1 << 20, "width of the dense layers' network (6144)"),
	NUMBER(experts, 4, 4096, "routed experts per layer (256)"),
	NUMBER(used, 1, 64, "of them per token (8)"),
	NUMBER(shared, 0, 64, "shared experts (1)"),
	NUMBER(ff_exp, 32, 1 << 20, "width of an expert (1024)"),
	NUMBER(vocab, SYNTH_MIN_VOCAB, 300000, "tokens (4096)"),
	NUMBER(ctx, 1, 1 << 20, "context length in the metadata (32768)"),
	NUMBER(split, 0, 999, "shards; 0: one plain file"),
};

static const char *const roles[] = { "gate", "up", "down", "attn", "head" };

static void parse_types(struct argp_state *state, struct synth_cfg *cfg, char *text)
{
	char *save = NULL;

	for (char *item = strtok_r(text, ",", &save); item; item = strtok_r(NULL, ",", &save)) {
		char *value = strchr(item, '=');
		size_t i = 0;

		if (!value)
			argp_error(state, "--types: '%s' is not ROLE=TYPE", item);
		*value++ = '\0';
		while (i < SYNTH_N_ROLE && strcmp(roles[i], item) != 0)
			i++;
		if (i == SYNTH_N_ROLE)
			argp_error(
				state, "--types: '%s' is none of gate, up, down, attn, head", item);
		cfg->type[i] = tr_quant_by_name(value);
		if (!cfg->type[i])
			argp_error(state, "--types: no type '%s'", value);
	}
}

static void parse_number(
	struct argp_state *state, struct synth_cfg *cfg, const struct number *n, const char *text)
{
	struct tr_err err;
	uint64_t v;

	if (tr_opt_u64(n->field, text, n->lo, n->hi, &v, &err))
		argp_error(state, "%s", err.msg);
	*(uint32_t *)((char *)cfg + n->at) = (uint32_t)v;
}

static void check(struct argp_state *state, const struct args *a)
{
	if (!a->path)
		argp_usage(state);
	if (a->cfg.used > a->cfg.experts)
		argp_error(
			state, "--used %u is more than --experts %u", a->cfg.used, a->cfg.experts);
	if (a->cfg.rope % 2)
		argp_error(state, "--rope %u is odd", a->cfg.rope);
}

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct args *a = state->input;
	struct tr_err err = { 0 };
	int rc = 0;

	if (key >= KEY_NUMBER && key < KEY_NUMBER + (int)TR_ARRAY_LEN(numbers)) {
		parse_number(state, &a->cfg, &numbers[key - KEY_NUMBER], text);
		return 0;
	}
	switch (key) {
	case KEY_HOT:
		rc = tr_opt_f64("--hot", text, 0.25, 1, &a->cfg.hot, &err);
		break;
	case KEY_SEED:
		rc = tr_opt_u64("--seed", text, 0, UINT64_MAX, &a->cfg.seed, &err);
		break;
	case KEY_SIZE:
		a->size = text;
		break;
	case KEY_TYPES:
		parse_types(state, &a->cfg, text);
		break;
	case ARGP_KEY_ARG:
		if (a->path)
			argp_usage(state);
		a->path = text;
		break;
	case ARGP_KEY_END:
		check(state, a);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	if (rc)
		argp_error(state, "%s", err.msg);
	return 0;
}

static void parse_args(struct args *a, int argc, char **argv)
{
	static char names[TR_ARRAY_LEN(numbers)][16];
	struct argp_option options[TR_ARRAY_LEN(numbers) + 5] = {
		{ "size", KEY_SIZE, "SIZE", 0, "choose the number of expert layers by this, as 4G",
			1 },
		{ "types", KEY_TYPES, "ROLE=TYPE,...", 0,
			"tensor types (gate=Q4_K,up=Q4_K,down=Q6_K,attn=Q8_0,head=Q8_0)", 1 },
		{ "hot", KEY_HOT, "SHARE", 0,
			"share of activations of the hottest quarter of experts (0.55)", 1 },
		{ "seed", KEY_SEED, "N", 0, "other weights (1)", 1 },
	};
	const struct argp argp = { options, parse, "FILE", "Write a model with random weights.",
		NULL, NULL, NULL };

	for (size_t i = 0; i < TR_ARRAY_LEN(numbers); i++) {
		snprintf(names[i], sizeof(names[i]), "%s", numbers[i].field);
		for (char *p = names[i]; *p; p++)
			*p = *p == '_' ? '-' : *p;
		options[4 + i] = (struct argp_option){ names[i], KEY_NUMBER + (int)i, "N", 0,
			numbers[i].text, 2 };
	}
	argp_parse(&argp, argc, argv, 0, NULL, a);
}

/* The number of layers that comes closest to the size. */
static void choose_layers(struct args *a, struct synth_model *m)
{
	struct synth_cfg cfg = a->cfg;
	uint64_t want, one, two;
	struct tr_err err;

	if (tr_opt_size("--size", a->size, 0, &want, &err)) {
		fprintf(stderr, "synth: %s\n", err.msg);
		exit(2);
	}
	cfg.layers = 1;
	if (!synth_model_list(m, &cfg))
		abort();
	one = m->bytes;
	free(m->tensors);
	cfg.layers = 2;
	if (!synth_model_list(m, &cfg))
		abort();
	two = m->bytes;
	free(m->tensors);
	a->cfg.layers = 1;
	if (want > one)
		a->cfg.layers += (uint32_t)((want - one + (two - one) / 2) / (two - one));
}

/* --- writing ---------------------------------------------------------------------------------- */

struct pool {
	const struct tr_quant *quant;
	float sigma;
	enum synth_fill fill;
	uint8_t *blocks;
	size_t n_block;
};

struct writer {
	const struct synth_cfg *cfg;
	const struct synth_model *model;
	struct synth_rng rng;
	struct synth_router router;
	struct pool pools[MAX_POOL];
	size_t n_pool;
	char path[4096];
	int fd;
	uint64_t at; /* bytes written to this file */
	uint64_t flushed;
	double hot_min, hot_max;
};

static void die(const struct writer *w)
{
	fprintf(stderr, "synth: %s: %s\n", w->path, strerror(errno));
	exit(1);
}

/* Drops written pages from memory, and waits for the disk in the course of it. */
static void flush(struct writer *w)
{
	if (fdatasync(w->fd))
		die(w);
	posix_fadvise(w->fd, (off_t)w->flushed, (off_t)(w->at - w->flushed), POSIX_FADV_DONTNEED);
	w->flushed = w->at;
}

static void put(struct writer *w, const void *p, size_t n)
{
	const uint8_t *from = p;

	w->at += n;
	while (n) {
		ssize_t done = write(w->fd, from, n);

		if (done < 0 && errno != EINTR)
			die(w);
		if (done > 0) {
			from += done;
			n -= (size_t)done;
		}
	}
	if (w->at - w->flushed >= FLUSH_BYTES)
		flush(w);
}

static const struct pool *pool_for(struct writer *w, const struct synth_tensor *t)
{
	struct pool *p = w->pools;
	int rc = 0;

	for (size_t i = 0; i < w->n_pool; i++, p++)
		if (p->quant == t->quant && p->sigma == t->sigma && p->fill == t->fill)
			return p;
	if (w->n_pool++ == MAX_POOL)
		abort();
	*p = (struct pool){ t->quant, t->sigma, t->fill, NULL,
		POOL_BYTES / t->quant->block_bytes | 1 };
	p->blocks = tr_calloc(p->n_block, t->quant->block_bytes);
	if (!p->blocks)
		abort();
	if (t->fill == SYNTH_NORM)
		for (size_t i = 0; i < p->n_block; i++)
			((float *)p->blocks)[i] = 1 + 0.1f * synth_normal(&w->rng);
	else
		rc = synth_blocks(t->quant, t->sigma, p->blocks, p->n_block, &w->rng);
	if (rc) {
		fprintf(stderr, "synth: no recipe for type %s\n", t->quant->name);
		exit(1);
	}
	return p;
}

static void put_pooled(struct writer *w, const struct synth_tensor *t)
{
	const struct pool *p = pool_for(w, t);
	size_t block = t->quant->block_bytes, at = synth_u64(&w->rng) % p->n_block;

	for (uint64_t left = t->bytes / block; left; at = 0) {
		size_t n = TR_MIN(left, p->n_block - at);

		put(w, p->blocks + at * block, n * block);
		left -= n;
	}
}

static void put_router(struct writer *w, const struct synth_tensor *t)
{
	synth_router_make(&w->router, &w->rng);
	w->hot_min = fmin(w->hot_min, w->router.reached);
	w->hot_max = fmax(w->hot_max, w->router.reached);
	put(w, w->router.weights, t->bytes);
}

static void put_tensor(struct writer *w, const struct synth_tensor *t)
{
	static const uint8_t zeros[64];

	if (t->fill == SYNTH_ROUTER)
		put_router(w, t);
	else if (t->fill == SYNTH_BIAS)
		put(w, w->router.bias, t->bytes);
	else
		put_pooled(w, t);
	put(w, zeros, TR_ALIGN_UP(t->bytes, (uint64_t)32) - t->bytes);
}

/* Metadata, and the infos of tensors [first, end). */
static void put_header(struct writer *w, uint32_t shard, size_t first, size_t end)
{
	const struct synth_cfg *c = w->cfg;
	struct gw g;

	gw_begin(&g, 3);
	if (!shard)
		synth_model_meta(&g, c);
	if (c->split) {
		gw_kv_int(&g, "split.no", TR_GGUF_U16, shard);
		gw_kv_int(&g, "split.count", TR_GGUF_U16, c->split);
		gw_kv_int(&g, "split.tensors.count", TR_GGUF_I32, (int64_t)w->model->n_tensor);
	}
	for (; first < end; first++) {
		const struct synth_tensor *t = &w->model->tensors[first];
		size_t n_dim = t->ne[2] > 1 ? 3 : t->ne[1] > 1 ? 2 : 1;

		gw_tensor_dims(&g, t->name, t->quant->id, n_dim, t->ne);
	}
	gw_end(&g);
	put(w, g.p, g.n);
	gw_free(&g);
}

static void name_file(struct writer *w, const char *path, uint32_t shard)
{
	size_t n = strlen(path);

	if (n > 5 && !strcmp(path + n - 5, ".gguf"))
		n -= 5;
	if (w->cfg->split)
		snprintf(w->path, sizeof(w->path), "%.*s-%05u-of-%05u.gguf", (int)n, path,
			shard + 1, w->cfg->split);
	else
		snprintf(w->path, sizeof(w->path), "%s", path);
}

/* Tensors from first on until the shards so far have their part of all bytes. */
static size_t shard_end(const struct writer *w, uint32_t shard, size_t first, uint64_t *done)
{
	const struct synth_model *m = w->model;
	uint32_t n_shard = TR_MAX(w->cfg->split, 1u);
	uint64_t until = m->bytes / n_shard * (shard + 1);

	if (shard + 1 == n_shard)
		return m->n_tensor;
	while (first < m->n_tensor && *done + m->tensors[first].bytes <= until)
		*done += m->tensors[first++].bytes;
	return first;
}

static void write_shards(struct writer *w, const char *path)
{
	uint64_t done = 0, total = 0;
	size_t at = 0;

	for (uint32_t shard = 0; shard < TR_MAX(w->cfg->split, 1u); shard++) {
		size_t end = shard_end(w, shard, at, &done);

		name_file(w, path, shard);
		w->fd = open(w->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		if (w->fd < 0)
			die(w);
		w->at = w->flushed = 0;
		put_header(w, shard, at, end);
		for (; at < end; at++)
			put_tensor(w, &w->model->tensors[at]);
		flush(w);
		if (close(w->fd))
			die(w);
		total += w->at;
	}
	name_file(w, path, 0);
	printf("%s: %u layers, %u with %u experts, %.2f GB, %.0f MB of weights a token\n", w->path,
		w->cfg->dense + w->cfg->layers, w->cfg->layers, w->cfg->experts,
		(double)total * 1e-9, (double)w->model->active_bytes * 1e-6);
	printf("hottest quarter of experts: %.1f%% to %.1f%% of activations by layer (asked: "
	       "%.1f%%)\n",
		100 * w->hot_min, 100 * w->hot_max, 100 * w->cfg->hot);
}

int main(int argc, char **argv)
{
	struct args a = { .cfg = { .layers = 4,
				  .dense = 1,
				  .embd = 2048,
				  .heads = 16,
				  .q_lora = 768,
				  .kv_lora = 512,
				  .nope = 128,
				  .rope = 64,
				  .v = 128,
				  .ff = 6144,
				  .experts = 256,
				  .used = 8,
				  .shared = 1,
				  .ff_exp = 1024,
				  .vocab = 4096,
				  .ctx = 32768,
				  .seed = 1,
				  .hot = 0.55 } };
	static const uint32_t types[] = { TR_QUANT_Q4_K, TR_QUANT_Q4_K, TR_QUANT_Q6_K,
		TR_QUANT_Q8_0, TR_QUANT_Q8_0 };
	struct synth_model model;
	struct writer w = { .cfg = &a.cfg, .model = &model, .hot_min = 1 };

	for (size_t i = 0; i < SYNTH_N_ROLE; i++)
		a.cfg.type[i] = tr_quant_by_id(types[i]);
	parse_args(&a, argc, argv);
	if (a.size)
		choose_layers(&a, &model);
	w.rng = synth_rng(a.cfg.seed, 1);
	w.router = (struct synth_router){ .n_embd = a.cfg.embd,
		.n_expert = a.cfg.experts,
		.n_used = a.cfg.used,
		.hot = a.cfg.hot };
	if (!synth_model_list(&model, &a.cfg) || !synth_router_init(&w.router, &w.rng)) {
		fprintf(stderr, "synth: out of memory\n");
		return 1;
	}
	write_shards(&w, a.path);
	synth_router_fini(&w.router);
	for (size_t i = 0; i < w.n_pool; i++)
		free(w.pools[i].blocks);
	free(model.tensors);
	return 0;
}
