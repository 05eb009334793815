/*
 * bench_decode.c - times prefill and decoding of one model with one setting; tests/bench/run calls
 * it.
 *
 *	bench_decode [OPTION...] MODEL		one JSON object on standard output
 *
 * A repeat is: a new session, prefill of random tokens, warm-up tokens, the readers of reader.h,
 * the timed tokens, the readers again. Tokens are sampled at temperature 1, so their experts do not
 * fall into a loop; by the seed they are the same for every setting. README.md says what the clock
 * is around.
 *
 * The share of activations that the hottest quarter of each layer's experts gets is told by halves:
 * the quarter is chosen by every second token and counted in the others, and the other way round. So
 * chance does not add to it, as it would if both came from the same tokens.
 */
#include "device.h"
#include "reader.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/opt.h"
#include "cuda/device.h"
#include "engine/engine.h"
#include "engine/gpu.h"

#include <argp.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PMEM     4
#define MAX_USED     64
#define DRAM_PASSES  3
#define DISK_SECONDS 0.3

struct args {
	struct tr_engine_opts opts;
	const char *pmem[MAX_PMEM];
	uint64_t prefill, warm, tokens, repeats, seed, reader_bytes;
};

struct repeat {
	double first_token_s;		 /* session and prefill */
	double prefill_s;
	double decode_s;
	double dram_reader;		 /* bytes per second, mean of before and after */
	double disk_reader;		 /* 0: no expert came from disk in the warm-up */
	double burst;			 /* experts that a layer missed, if any */
	double burst_reader;		 /* bytes per second of as many at once; 0: as above */
	struct tr_tier_stats dram, disk; /* while decoding */
	struct tr_tier_stats vram;	 /* the same */
	struct tr_device_info gpu;	 /* the same, of what counts; zeros without a device */
	struct device_count device;	 /* the same; zeros: not known */
	uint64_t busy_ns;		 /* of which with a read in flight */
	uint64_t prefill_busy_ns;	 /* the same of the prefill */
};

struct bench {
	const struct args *a;
	struct tr_engine *engine;
	struct tr_session *session;
	struct tr_sampler *sampler;
	struct tr_plan plan;
	struct reader_dram dram;
	struct reader_disk *disk;
	int32_t next;	 /* the next token to feed */
	uint64_t *count; /* [2][n_layer][n_expert] by parity of the token */
	uint64_t n_fed;
	size_t n_vocab;
};

/* --- statistics ------------------------------------------------------------------------------- */

static struct tr_tier_stats tier_stats(const struct bench *b, const char *name)
{
	struct tr_tier_stats none = { 0 };
	struct tr_stats stats;

	tr_engine_stats(b->engine, &stats);
	for (size_t i = 0; i < stats.n_tier; i++)
		if (!strcmp(stats.tier[i].name, name))
			return stats.tier[i];
	return none;
}

static uint64_t busy_ns(const struct bench *b)
{
	struct tr_stats stats;

	tr_engine_stats(b->engine, &stats);
	return stats.io_busy_ns;
}

static struct tr_device_info gpu_info(const struct bench *b)
{
	struct tr_device_info info = { 0 };
	struct tr_gpu *gpu = b->engine->setup.gpu;
	struct tr_err err;

	if (gpu && tr_device_info(gpu->dev, &info, &err))
		fprintf(stderr, "bench_decode: %s\n", err.msg);
	return info;
}

static void subtract(struct tr_tier_stats *t, const struct tr_tier_stats *before)
{
	t->hits -= before->hits;
	t->misses -= before->misses;
	t->bytes -= before->bytes;
	t->wait_ns -= before->wait_ns;
}

static void count_experts(struct bench *b)
{
	uint32_t ids[MAX_USED];
	float weights[MAX_USED];

	for (uint32_t layer = 0; layer < b->plan.n_layer; layer++) {
		size_t n = tr_session_routing(b->session, layer, ids, weights, MAX_USED);
		uint64_t *count = b->count + ((b->n_fed & 1) * b->plan.n_layer + layer) *
						     (size_t)b->plan.n_expert;

		for (size_t i = 0; i < n; i++)
			count[ids[i]]++;
	}
	b->n_fed++;
}

/* True when at is among the n / 4 largest of count; earlier wins ties. */
static bool is_hot(const uint64_t *count, uint32_t n, uint32_t at)
{
	uint32_t rank = 0;

	for (uint32_t e = 0; e < n; e++)
		rank += count[e] > count[at] || (count[e] == count[at] && e < at);
	return rank < n / 4;
}

static double hot_share(const struct bench *b)
{
	size_t n = b->plan.n_expert, half = b->plan.n_layer * n;
	uint64_t hot = 0, all = 0;

	for (size_t i = 0; i < 2 * half; i++) {
		const uint64_t *other = b->count + (i + half) % (2 * half) / n * n;

		all += b->count[i];
		if (b->count[i] && is_hot(other, (uint32_t)n, (uint32_t)(i % n)))
			hot += b->count[i];
	}
	return all ? (double)hot / (double)all : 0;
}

/* Bytes of weights that a token reads: all that is not expert or embedding, and n_used experts of
 * every layer. The embedding counts whole where it is the output matrix too. */
static uint64_t active_bytes(const struct bench *b)
{
	const struct tr_model *model = tr_engine_model(b->engine);
	uint64_t sum = b->plan.floor_bytes, embedding = 0;
	bool tied = true;

	for (size_t i = 0; i < tr_model_n_tensor(model); i++) {
		struct tr_tensor_info t;

		tr_model_tensor_info(model, i, &t);
		sum += t.bytes;
		if (!strcmp(t.name, "token_embd.weight"))
			embedding = t.bytes;
		tied = tied && strcmp(t.name, "output.weight") != 0;
	}
	return sum - b->plan.expert_bytes - (tied ? 0 : embedding);
}

/* --- running ---------------------------------------------------------------------------------- */

static double now(void)
{
	return (double)tr_now_ns(&tr_clock_real) * 1e-9;
}

static int feed_prompt(struct bench *b, uint64_t seed, struct tr_err *err)
{
	int32_t *ids = tr_calloc(b->a->prefill, sizeof(*ids));
	const struct tr_tokenizer *tok = tr_engine_tokenizer(b->engine);
	uint64_t x = 88172645463325252u + seed * 0x9e3779b97f4a7c15u;
	int rc;

	if (!ids)
		return tr_err_set(err, TR_E_NOMEM, "out of memory");
	for (size_t i = 0; i < b->a->prefill; i++)
		do {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			ids[i] = (int32_t)(x % b->n_vocab);
		} while (tr_token_is_control(tok, ids[i]));
	rc = tr_session_feed(b->session, ids, b->a->prefill, err);
	free(ids);
	if (!rc)
		b->next = tr_sampler_next(b->sampler, tr_session_logits(b->session));
	return rc;
}

static int decode(struct bench *b, uint64_t n, struct tr_err *err)
{
	for (uint64_t i = 0; i < n; i++) {
		int rc = tr_session_feed(b->session, &b->next, 1, err);

		if (rc)
			return rc;
		b->next = tr_sampler_next(b->sampler, tr_session_logits(b->session));
		count_experts(b);
	}
	return 0;
}

/* Adds half of what the readers reach now. */
static int read_plainly(struct bench *b, struct repeat *r, bool disk, struct tr_err *err)
{
	double bps;

	if (b->dram.mem)
		r->dram_reader += reader_dram_pass(&b->dram, DRAM_PASSES) / 2;
	if (!disk)
		return 0;
	bps = reader_disk_pass(b->disk, DISK_SECONDS, err);
	r->disk_reader += bps / 2;
	return bps > 0 ? 0 : TR_E_IO;
}

/* Experts that a layer had to read, among layers that had to read: with m of n_used in the mean of
 * all layers, as if each were missed by chance. */
static double experts_at_once(const struct bench *b, const struct tr_tier_stats *dram)
{
	double used = b->plan.n_expert_used;
	double missed = (double)dram->misses / (double)TR_MAX(dram->hits + dram->misses, 1u);
	double any = 1 - pow(1 - missed, used);

	return any > 0 ? missed * used / any : 0;
}

static int read_in_bursts(struct bench *b, struct repeat *r, struct tr_err *err)
{
	r->burst = experts_at_once(b, &r->dram);
	if (r->burst <= 0)
		return 0;
	r->burst_reader = reader_disk_bursts(b->disk, DISK_SECONDS, r->burst, err);
	return r->burst_reader > 0 ? 0 : TR_E_IO;
}

static int timed_part(struct bench *b, struct repeat *r, bool disk, struct tr_err *err)
{
	const char *model = b->a->opts.model_path;
	struct device_count before, after;
	struct tr_tier_stats dram, nvme, vram;
	struct tr_device_info gpu;
	double start;
	int rc = read_plainly(b, r, disk, err);
	bool counted;

	if (rc)
		return rc;
	dram = tier_stats(b, "dram");
	nvme = tier_stats(b, "nvme");
	vram = tier_stats(b, "vram");
	gpu = gpu_info(b);
	counted = device_count(model, &before);
	r->busy_ns = busy_ns(b);
	start = now();
	rc = decode(b, b->a->tokens, err);
	r->decode_s = now() - start;
	r->busy_ns = busy_ns(b) - r->busy_ns;
	if (counted && device_count(model, &after))
		r->device = (struct device_count){ after.read_bytes - before.read_bytes,
			after.busy_ns - before.busy_ns };
	r->dram = tier_stats(b, "dram");
	r->disk = tier_stats(b, "nvme");
	r->vram = tier_stats(b, "vram");
	r->gpu = gpu_info(b);
	r->gpu.n_wait -= gpu.n_wait;
	r->gpu.wait_ns -= gpu.wait_ns;
	r->gpu.copied_bytes -= gpu.copied_bytes;
	subtract(&r->dram, &dram);
	subtract(&r->disk, &nvme);
	subtract(&r->vram, &vram);
	if (!rc)
		rc = read_plainly(b, r, disk, err);
	return rc || !disk ? rc : read_in_bursts(b, r, err);
}

static int run_repeat(struct bench *b, struct repeat *r, uint64_t seed, struct tr_err *err)
{
	struct tr_sampler_opts sampling;
	uint64_t before;
	double begin = now(), start;
	int rc;

	tr_sampler_defaults(&sampling);
	sampling.seed = seed;
	sampling.temp = 1;
	rc = tr_sampler_new(&b->sampler, &sampling, b->n_vocab, err);
	if (!rc)
		rc = tr_session_new(&b->session, b->engine, err);
	if (rc)
		goto out;
	r->prefill_busy_ns = busy_ns(b);
	start = now();
	rc = feed_prompt(b, seed, err);
	r->prefill_s = now() - start;
	r->prefill_busy_ns = busy_ns(b) - r->prefill_busy_ns;
	r->first_token_s = now() - begin;
	before = tier_stats(b, "nvme").bytes;
	if (!rc)
		rc = decode(b, b->a->warm, err);
	if (!rc)
		rc = timed_part(b, r, tier_stats(b, "nvme").bytes > before, err);
out:
	tr_session_free(b->session);
	tr_sampler_free(b->sampler);
	b->session = NULL;
	b->sampler = NULL;
	return rc;
}

/* --- report ----------------------------------------------------------------------------------- */

static void put_int(json_t *o, const char *key, uint64_t v)
{
	json_object_set_new(o, key, json_integer((json_int_t)v));
}

static void put_real(json_t *o, const char *key, double v)
{
	json_object_set_new(o, key, json_real(v));
}

/* What the device had to do with the tokens. */
static void put_gpu(json_t *o, const struct repeat *r, double n)
{
	put_int(o, "vram_hits", r->vram.hits);
	put_int(o, "vram_misses", r->vram.misses);
	put_real(o, "gpu_waits_per_token", (double)r->gpu.n_wait / n);
	put_real(o, "gpu_wait_s", (double)r->gpu.wait_ns * 1e-9);
	put_real(o, "gpu_copied_bytes_per_token", (double)r->gpu.copied_bytes / n);
}

static json_t *repeat_json(const struct bench *b, const struct repeat *r)
{
	double n = (double)b->a->tokens;
	json_t *o = json_object();

	put_real(o, "prefill_s", r->prefill_s);
	put_real(o, "prefill_tokens_per_s", (double)b->a->prefill / r->prefill_s);
	put_real(o, "prefill_busy_s", (double)r->prefill_busy_ns * 1e-9);
	put_real(o, "decode_s", r->decode_s);
	put_real(o, "decode_tokens_per_s", n / r->decode_s);
	put_real(o, "active_bytes_per_s", (double)active_bytes(b) * n / r->decode_s);
	put_int(o, "dram_hits", r->dram.hits);
	put_int(o, "dram_misses", r->dram.misses);
	put_real(o, "disk_bytes_per_token", (double)r->disk.bytes / n);
	put_real(o, "disk_bytes_per_s", (double)r->disk.bytes / r->decode_s);
	put_real(o, "disk_wait_s", (double)r->disk.wait_ns * 1e-9);
	put_real(o, "device_bytes_per_token", (double)r->device.read_bytes / n);
	put_real(o, "device_busy", (double)r->device.busy_ns * 1e-9 / r->decode_s);
	put_real(o, "disk_busy_s", (double)r->busy_ns * 1e-9);
	if (b->engine->setup.gpu)
		put_gpu(o, r, n);
	if (r->busy_ns)
		put_real(o, "disk_busy_bytes_per_s",
			(double)r->disk.bytes * 1e9 / (double)r->busy_ns);
	if (r->dram_reader > 0)
		put_real(o, "dram_reader_bytes_per_s", r->dram_reader);
	if (r->disk_reader > 0)
		put_real(o, "disk_reader_bytes_per_s", r->disk_reader);
	if (r->burst_reader > 0) {
		put_real(o, "burst_experts", r->burst);
		put_real(o, "burst_reader_bytes_per_s", r->burst_reader);
	}
	return o;
}

static json_t *report(const struct bench *b, const struct repeat *repeats)
{
	const struct tr_plan *p = &b->plan;
	json_t *list = json_array(), *o = json_object();
	struct tr_stats s;

	tr_engine_stats(b->engine, &s);
	json_object_set_new(o, "model", json_string(b->a->opts.model_path));
	json_object_set_new(o, "cpu", json_string(s.cpu));
	json_object_set_new(o, "io", json_string(s.io_method));
	json_object_set_new(o, "policy", json_string(s.policy));
	json_object_set_new(o, "device", json_string(s.device));
	put_int(o, "threads", s.n_thread);
	put_int(o, "prefill_tokens", b->a->prefill);
	put_int(o, "decode_tokens", b->a->tokens);
	put_int(o, "dram_bytes", tier_stats(b, "dram").capacity_bytes);
	put_int(o, "dram_slots", p->tier[0].n_unit);
	put_int(o, "active_bytes", active_bytes(b));
	put_int(o, "moe_layers", p->n_moe_layer);
	put_int(o, "experts", p->n_expert);
	put_int(o, "experts_used", p->n_expert_used);
	put_int(o, "expert_bytes", p->unit_bytes_max);
	put_int(o, "experts_bytes", p->expert_bytes);
	put_int(o, "resident_bytes", p->resident_bytes);
	put_int(o, "kv_bytes", p->kv_bytes);
	put_real(o, "load_s", (double)s.load_ns * 1e-9);
	put_real(o, "first_token_s", (double)s.load_ns * 1e-9 + repeats[0].first_token_s);
	if (s.predictor.visits)
		put_real(o, "predictor_recall", s.predictor.recall);
	put_real(o, "hot_quarter", hot_share(b));
	for (uint64_t i = 0; i < b->a->repeats; i++)
		json_array_append_new(list, repeat_json(b, &repeats[i]));
	json_object_set_new(o, "repeats", list);
	return o;
}

/* --- set-up ----------------------------------------------------------------------------------- */

enum {
	KEY_DRAM = 0x1000,
	KEY_PMEM,
	KEY_POLICY,
	KEY_PREDICTOR,
	KEY_PREFETCH,
	KEY_IO,
	KEY_DEVICE,
	KEY_VRAM,
	KEY_CPU,
	KEY_TRACE,
	KEY_PREFILL,
	KEY_WARM,
	KEY_REPEATS,
	KEY_SEED,
	KEY_READER,
	KEY_BATCH
};

static const struct argp_option options[] = {
	{ "dram", KEY_DRAM, "SIZE", 0, "as of tierra", 1 },
	{ "pmem", KEY_PMEM, "PATH[:SIZE]", 0, "as of tierra", 1 },
	{ "policy", KEY_POLICY, "NAME", 0, "as of tierra", 1 },
	{ "predictor", KEY_PREDICTOR, "NAME", 0, "as of tierra", 1 },
	{ "prefetch", KEY_PREFETCH, "MODE", 0, "as of tierra", 1 },
	{ "io", KEY_IO, "METHOD", 0, "as of tierra", 1 },
	{ "device", KEY_DEVICE, "DEVICE", 0, "as of tierra", 1 },
	{ "vram", KEY_VRAM, "SIZE", 0, "as of tierra", 1 },
	{ "cpu", KEY_CPU, "ISA", 0, "as of tierra", 1 },
	{ "trace", KEY_TRACE, "FILE", 0, "as of tierra", 1 },
	{ "threads", 't', "N", 0, "as of tierra, and of the memory reader", 1 },
	{ "batch", KEY_BATCH, "N", 0, "as of tierra", 1 },
	{ "tokens", 'n', "N", 0, "timed tokens (64)", 2 },
	{ "prefill", KEY_PREFILL, "N", 0, "tokens of the prompt (512)", 2 },
	{ "warm", KEY_WARM, "N", 0, "tokens decoded before the timed ones (16)", 2 },
	{ "repeats", 'r', "N", 0, "(3)", 2 },
	{ "seed", KEY_SEED, "N", 0, "other tokens (1)", 2 },
	{ "reader", KEY_READER, "SIZE", 0,
		"memory of the plain reader, more than the last-level cache; 0: none (1G)", 2 },
	{ 0 },
};

static void parse_number(int key, const char *text, struct argp_state *state)
{
	struct args *a = state->input;
	struct tr_err err;
	uint64_t v = 0;

	if (tr_opt_u64("number", text, 1, 1 << 20, &v, &err))
		argp_error(state, "%s", err.msg);
	switch (key) {
	case 't':
		a->opts.n_thread = (unsigned)v;
		break;
	case KEY_BATCH:
		a->opts.n_batch = (unsigned)v;
		break;
	case 'n':
		a->tokens = v;
		break;
	case KEY_PREFILL:
		a->prefill = v;
		break;
	case KEY_WARM:
		a->warm = v;
		break;
	case 'r':
		a->repeats = v;
		break;
	default:
		a->seed = v;
	}
}

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct args *a = state->input;
	struct tr_err err;

	switch (key) {
	case KEY_DRAM:
		a->opts.dram = text;
		return 0;
	case KEY_PMEM:
		if (a->opts.n_pmem == MAX_PMEM)
			argp_error(state, "--pmem: at most %d", MAX_PMEM);
		a->pmem[a->opts.n_pmem++] = text;
		return 0;
	case KEY_POLICY:
		a->opts.policy = text;
		return 0;
	case KEY_PREDICTOR:
		a->opts.predictor = text;
		return 0;
	case KEY_PREFETCH:
		a->opts.prefetch = text;
		return 0;
	case KEY_IO:
		a->opts.io = text;
		return 0;
	case KEY_DEVICE:
		a->opts.device = text;
		return 0;
	case KEY_VRAM:
		a->opts.vram = text;
		return 0;
	case KEY_CPU:
		a->opts.cpu = text;
		return 0;
	case KEY_TRACE:
		a->opts.trace = text;
		return 0;
	case KEY_READER:
		if (tr_opt_size("--reader", text, 0, &a->reader_bytes, &err))
			argp_error(state, "%s", err.msg);
		return 0;
	case 't':
	case 'n':
	case 'r':
	case KEY_BATCH:
	case KEY_PREFILL:
	case KEY_WARM:
	case KEY_SEED:
		parse_number(key, text, state);
		return 0;
	case ARGP_KEY_ARG:
		if (a->opts.model_path)
			argp_usage(state);
		a->opts.model_path = text;
		return 0;
	case ARGP_KEY_END:
		if (!a->opts.model_path)
			argp_usage(state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void log_line(void *ctx, enum tr_log_level level, const char *line)
{
	(void)ctx;
	if (level <= TR_LOG_WARN)
		fprintf(stderr, "bench_decode: %s\n", line);
}

static int set_up(struct bench *b, struct tr_err *err)
{
	const struct args *a = b->a;
	struct tr_stats stats;
	int rc = tr_engine_plan(&a->opts, &b->plan, err);

	if (!rc)
		rc = tr_engine_open(&b->engine, &a->opts, err);
	if (rc)
		return rc;
	tr_engine_stats(b->engine, &stats);
	b->n_vocab = tr_vocab_size(tr_engine_tokenizer(b->engine));
	b->count = tr_calloc((size_t)2 * b->plan.n_layer * b->plan.n_expert, sizeof(*b->count));
	if (!b->count)
		return tr_err_set(err, TR_E_NOMEM, "out of memory");
	if (a->reader_bytes)
		rc = reader_dram_open(&b->dram, stats.n_thread, a->reader_bytes, err);
	if (!rc && b->plan.n_unit)
		rc = reader_disk_open(&b->disk, tr_engine_model(b->engine), &a->opts,
			stats.io_method, 2 * b->plan.n_expert_used, err);
	return rc;
}

static void tear_down(struct bench *b)
{
	reader_disk_close(b->disk);
	reader_dram_close(&b->dram);
	free(b->count);
	tr_engine_close(b->engine);
}

int main(int argc, char **argv)
{
	static const struct argp argp = { options, parse, "MODEL",
		"Time prefill and decoding of one model with one setting.", NULL, NULL, NULL };
	struct args a = { .prefill = 512,
		.warm = 16,
		.tokens = 64,
		.repeats = 3,
		.seed = 1,
		.reader_bytes = (uint64_t)1 << 30 };
	struct bench b = { .a = &a };
	struct repeat *repeats;
	struct tr_err err = { 0 };
	json_t *json;
	int rc;

	argp_parse(&argp, argc, argv, 0, NULL, &a);
	a.opts.pmem = a.pmem;
	a.opts.n_ctx = (unsigned)(a.prefill + a.warm + a.tokens);
	tr_log_set(log_line, NULL);
	repeats = tr_calloc(a.repeats, sizeof(*repeats));
	rc = repeats ? set_up(&b, &err) : tr_err_set(&err, TR_E_NOMEM, "out of memory");
	for (uint64_t i = 0; i < a.repeats && !rc; i++)
		rc = run_repeat(&b, &repeats[i], a.seed + i, &err);
	if (rc) {
		fprintf(stderr, "bench_decode: %s\n", err.msg);
	} else {
		json = report(&b, repeats);
		json_dumpf(json, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
		putchar('\n');
		json_decref(json);
	}
	tear_down(&b);
	free(repeats);
	return rc ? 1 : 0;
}
