/*
 * engine.c - opening and closing: the wiring of model, tiers, threads and I/O.
 */
#include "engine/engine.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/node_mem.h"
#include "engine/live_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Idle workers spin this long before they sleep: longer than the gaps between parallel loops within a
 * token (tens of microseconds), shorter than a disk read is worth burning a core for. */
#define SPIN_US 200

const char *tr_version(void)
{
	return PACKAGE_VERSION;
}

static int open_files(struct tr_engine *e, struct tr_err *err)
{
	const struct tr_model *m = e->setup.model;
	size_t i;
	int rc;

	e->files = tr_calloc(m->n_shard, sizeof(*e->files));
	e->files_paged = tr_calloc(m->n_shard, sizeof(*e->files_paged));
	if (!e->files || !e->files_paged)
		return tr_err_set(err, TR_E_NOMEM, "engine: out of memory");
	for (i = 0; i < m->n_shard; i++)
		e->files[i].fd = e->files_paged[i].fd = -1;
	for (i = 0; i < m->n_shard; i++) {
		if ((rc = tr_file_open(&e->files[i], m->shards[i].path, true, err)) ||
			(rc = tr_file_open(&e->files_paged[i], m->shards[i].path, false, err)))
			return rc;
		tr_io_register_file(e->io, &e->files[i]);
	}
	return 0;
}

/* Faked nodes take the stores in turn. */
static int store_node(const struct tr_engine *e, size_t i)
{
	const struct tr_topo *topo = &e->setup.topo;
	const char *granularity = tr_store_granularity(e->stores[i]);

	if (!topo->bind)
		return (int)(i % topo->n_node);
	if (!strcmp(granularity, "page")) /* the page cache may lie anywhere */
		return -1;
	return tr_node_of_path(topo, tr_store_dir(e->stores[i]));
}

static int open_stores(struct tr_engine *e, struct tr_err *err)
{
	struct tr_setup *s = &e->setup;
	size_t i;
	int rc;

	e->pmem.n_thread = e->opts.n_pmem_thread;
	for (i = 0; i < s->n_pmem; i++) {
		struct tr_store_cfg cfg = {
			.model = s->model,
			.catalog = s->catalog,
			.dir = s->pmem[i].dir,
			.home = s->home,
			.tier_idx = (uint32_t)i,
			.io = e->io,
			.files = e->files,
			.progress = e->opts.progress,
			.progress_ctx = e->opts.progress_ctx,
		};

		if (!s->plan.tier[1 + i].n_unit)
			tr_warn("--pmem %s: no expert fits, the tier stays empty", s->pmem[i].dir);
		rc = tr_store_open(&e->stores[i], &cfg, err);
		if (rc)
			return rc;
		e->n_store++;
		e->pmem.node[1 + i] = store_node(e, i);
	}
	return 0;
}

/* While all workers compute: reads that have ended make room for others. */
static void keep_reading(void *cache)
{
	tr_cache_poll(cache, NULL, 0);
}

static bool is_all_in_place(const struct tr_setup *s)
{
	for (size_t i = 0; i < s->catalog->n_unit; i++)
		if (s->home[i] == TR_HOME_FILE)
			return false;
	return true;
}

static void tell_sent(void *engine, uint32_t id, uint64_t begin_ns, uint64_t end_ns)
{
	const struct tr_engine *e = engine;
	const struct tr_unit *u = &e->setup.catalog->units[id];

	tr_laps_beside(&e->laps, TR_SPAN_DEVICE_COPY, u->layer, u->expert, begin_ns, end_ns);
}

static int open_vram(struct tr_engine *e, struct tr_err *err)
{
	struct tr_setup *s = &e->setup;
	const char *policy = s->policies.spec[TR_POLICY_VRAM];
	struct tr_vram_tier_cfg cfg = {
		.gpu = s->gpu,
		.vram = {
			.catalog = s->catalog,
			.plan = &s->vram,
			.takes = s->vram_takes,
			.policy = policy ? policy : TR_DEFAULT_POLICY,
			.hot = s->hot,
			.n_hot = s->n_hot,
			.token_bytes = s->vram_token_bytes,
			.n_dram_slot = (uint32_t)s->plan.tier[0].n_unit,
			.all_in_place = is_all_in_place(s),
		},
		.sent = tell_sent,
		.sent_ctx = e,
	};
	struct tr_gpu_experts_cfg experts = { s->catalog, s->vram_takes, s->info.n_embd,
		e->opts.n_batch };
	int rc;

	if (!s->vram.n_slot)
		return 0;
	rc = tr_vram_tier_open(&e->vram, &cfg, err);
	if (!rc)
		rc = tr_gpu_experts_new(&e->device.experts, s->gpu, &experts, err);
	e->device.gpu = s->gpu;
	e->device.tier = e->vram;
	return rc;
}

static int open_cache(struct tr_engine *e, struct tr_err *err)
{
	const char *policy = e->setup.policies.spec[TR_POLICY_DRAM];
	struct tr_cache_cfg cfg = {
		.catalog = e->setup.catalog,
		.io = e->io,
		.clock = &tr_clock_real,
		.files = e->files,
		.files_paged = e->files_paged,
		.dram_bytes = e->setup.dram_bytes,
		.numa_node = -1,
		.topo = &e->setup.topo,
		.policy = policy ? policy : TR_DEFAULT_POLICY,
		.stores = e->stores,
		.n_store = e->n_store,
		.home = e->setup.home,
		.miss_cost = e->setup.miss_cost,
		.hot = e->setup.hot,
		.n_hot = e->setup.n_hot,
		.n_promote = e->setup.n_promote,
		.copy = tr_copier_run,
		.copy_ctx = &e->copier,
		.above = e->vram ? tr_vram_tier_has : NULL,
		.above_ctx = e->vram,
		.prefetch = e->setup.prefetch,
		.prefetch_auto = e->setup.prefetch_auto,
		.prefetch_waste = e->setup.prefetch_waste,
		.prefetch_bytes = e->setup.prefetch_bytes,
	};
	int rc;

	if (!e->setup.catalog->n_unit)
		return 0;
	e->copier = (struct tr_copier){ e->pool, &e->pmem };
	rc = tr_cache_open(&e->cache, &cfg, err);
	if (!rc)
		tr_pool_between(e->pool, keep_reading, e->cache);
	return rc;
}

static void warn_of_settings(const struct tr_engine *e)
{
	const char *vram = e->setup.policies.spec[TR_POLICY_VRAM];

	if (vram && !e->vram)
		tr_warn("--policy vram=%s: there is no VRAM tier, so it has no effect", vram);
	if (e->setup.profile.of_other_weights)
		tr_warn("--profile %s: it was made with other weights of the same shape",
			e->opts.profile);
}

/* The last component of the model's path, as far as it fits. */
static void name_model(const struct tr_engine *e, char *name, size_t cap)
{
	const char *path = e->setup.model->shards[0].path, *slash = strrchr(path, '/');

	snprintf(name, cap, "%s", slash ? slash + 1 : path);
}

int tr_engine_trace_units(const struct tr_engine *e, struct tr_trace_units *out, struct tr_err *err)
{
	const struct tr_setup *s = &e->setup;
	size_t n_unit = s->catalog->n_unit;

	*out = (struct tr_trace_units){ .home = tr_calloc(n_unit, sizeof(*out->home)),
		.cost = tr_calloc(n_unit, sizeof(*out->cost)),
		.hot = tr_calloc(TR_MAX(s->n_hot, 1u), sizeof(*out->hot)),
		.n_hot = s->n_hot,
		.n_promote = s->n_promote };
	if (!out->home || !out->cost || !out->hot) {
		tr_trace_units_fini(out);
		return tr_err_set(err, TR_E_NOMEM, "engine: out of memory");
	}
	for (size_t i = 0; i < n_unit; i++)
		out->home[i] = s->home[i] == TR_HOME_FILE ? 0 : (uint8_t)(1 + s->home[i]);
	memcpy(out->cost, s->miss_cost, n_unit * sizeof(*out->cost));
	if (s->n_hot)
		memcpy(out->hot, s->hot, s->n_hot * sizeof(*out->hot));
	return 0;
}

static bool are_alike(const struct tr_trace_units *units, size_t n_unit)
{
	for (size_t i = 0; i < n_unit; i++)
		if (units->home[i] || units->cost[i] != 1)
			return false;
	return !units->n_hot;
}

/* Writes what a replay must know of the units, unless all are alike. */
static int trace_units(struct tr_engine *e, struct tr_err *err)
{
	struct tr_trace_units units;
	int rc = tr_engine_trace_units(e, &units, err);

	if (rc)
		return rc;
	if (!are_alike(&units, e->setup.catalog->n_unit))
		tr_trace_write_units(e->trace, &units);
	tr_trace_units_fini(&units);
	return 0;
}

/* What it must know of the device. */
static int trace_vram(struct tr_engine *e, struct tr_err *err)
{
	const struct tr_setup *s = &e->setup;
	struct tr_trace_vram vram = { tr_calloc(s->catalog->n_moe_layer, sizeof(*vram.slot_bytes)),
		s->vram.room_bytes, s->vram_token_bytes };
	uint64_t off[TR_N_PART];

	if (!vram.slot_bytes)
		return tr_err_set(err, TR_E_NOMEM, "engine: out of memory");
	for (size_t i = 0; i < s->catalog->n_moe_layer; i++)
		if (s->vram_takes[i])
			vram.slot_bytes[i] = tr_vram_layout(&s->catalog->moe_layers[i], off);
	tr_trace_write_vram(e->trace, &vram);
	free(vram.slot_bytes);
	return 0;
}

struct tr_trace_head tr_engine_trace_head(const struct tr_engine *e)
{
	const struct tr_catalog *c = e->setup.catalog;
	struct tr_trace_head head = { .n_layer = c->n_layer,
		.n_moe_layer = (uint32_t)c->n_moe_layer,
		.n_expert = c->n_expert,
		.n_used = c->n_used,
		.slot_bytes = tr_cache_slot_bytes(e->cache),
		.layers = tr_calloc(c->n_moe_layer, sizeof(*head.layers)) };

	name_model(e, head.model, sizeof(head.model));
	tr_model_fingerprint(e->setup.model, head.fingerprint);
	for (size_t i = 0; head.layers && i < c->n_moe_layer; i++)
		head.layers[i] = (struct tr_trace_layer){ c->moe_layers[i].layer,
			c->units[c->moe_layers[i].first_unit].bytes };
	return head;
}

static int open_guests(struct tr_engine *e, struct tr_err *err)
{
	struct tr_setup *s = &e->setup;
	struct tr_guests_cfg cfg = { .gpu = s->gpu,
		.cache = e->cache,
		.catalog = s->catalog,
		.takes = s->vram_takes,
		.tier = e->vram,
		.slot_bytes = s->guest_bytes,
		.n_slot = s->n_guest,
		.costs = s->fetch_costs,
		.has = s->fetch_has,
		.always = e->opts.device_fetch && !strcmp(e->opts.device_fetch, "on") };
	int rc;

	if (!e->vram || !s->n_guest)
		return 0;
	rc = tr_guests_new(&e->device.guests, &cfg, err);
	return rc ? rc : tr_guests_measure(e->device.guests, &e->ops, e->device.experts,
				 s->info.n_embd, e->opts.n_batch, err);
}

static int open_trace(struct tr_engine *e, const char *path, struct tr_err *err)
{
	struct tr_trace_head head;
	int rc;

	if (!path)
		return 0;
	if (!e->cache)
		return tr_err_set(err, TR_E_INVALID, "--trace %s: the model has no routed experts",
			path);
	head = tr_engine_trace_head(e);
	if (!head.layers)
		return tr_err_set(err, TR_E_NOMEM, "engine: out of memory");
	rc = tr_trace_writer_open(&e->trace, path, &head, err);
	free(head.layers);
	if (!rc && e->vram)
		rc = trace_vram(e, err);
	return rc ? rc : trace_units(e, err);
}

/* VRAM gets the hottest, DRAM those behind them. */
static int warm(struct tr_engine *e, struct tr_err *err)
{
	const struct tr_engine_opts *o = &e->opts;
	struct tr_vram_warm_cfg cfg = { .catalog = e->setup.catalog,
		.cache = e->cache,
		.io = e->io,
		.files = e->files,
		.progress = o->progress,
		.progress_ctx = o->progress_ctx };
	int rc = e->vram ? tr_vram_tier_warm(e->vram, &cfg, err) : 0;

	if (!rc && e->vram)
		rc = tr_vram_tier_start(e->vram, e->cache, err);
	return rc || !e->cache ? rc : tr_cache_warm(e->cache, o->progress, o->progress_ctx, err);
}

static int open_counter(struct tr_engine *e, struct tr_err *err)
{
	const struct tr_catalog *c = e->setup.catalog;
	struct tr_expert_stats shape = { .n_layer = c->n_layer,
		.n_moe_layer = (uint32_t)c->n_moe_layer,
		.n_expert = c->n_expert,
		.n_used = c->n_used };
	struct tr_stats tiers;
	int rc;

	if (!e->cache)
		return 0;
	tr_engine_tiers(e, &tiers);
	shape.n_tier = tiers.n_tier;
	memcpy(shape.tier, tiers.tier, sizeof(shape.tier));
	name_model(e, shape.model, sizeof(shape.model));
	tr_model_fingerprint(e->setup.model, shape.fingerprint);
	rc = tr_expert_counter_new(&e->counter, &shape, c, e->setup.n_promote > 0, err);
	if (!rc && e->opts.timeline)
		rc = tr_timeline_new(&e->timeline, shape.n_tier, err);
	return rc;
}

static void close_trace(struct tr_engine *e)
{
	struct tr_err err;

	if (tr_trace_writer_close(e->trace, &err))
		tr_warn("trace: %s", err.msg);
}

static int open_foresee(struct tr_engine *e, struct tr_err *err)
{
	struct tr_foresee_cfg cfg = {
		.predictor = e->setup.predictor,
		.catalog = e->setup.catalog,
		.home = e->setup.home,
		.vram = e->vram,
		.arch = e->setup.arch,
		.am = e->setup.am,
		.cache = e->cache,
		.prefetch = e->setup.prefetch,
		.record_scores = e->trace && e->opts.trace_scores,
		.clock = &tr_clock_real,
	};

	if (!tr_setup_foresees(&e->setup, &e->opts))
		return 0;
	if (!cfg.predictor)
		cfg.predictor = "none";
	return tr_foresee_new(&e->foresee, &cfg, err);
}

static int start_device(struct tr_engine *e, struct tr_err *err)
{
	struct tr_setup *s = &e->setup;
	const char *lost = e->opts.device_lost ? e->opts.device_lost : "stop";

	if (strcmp(lost, "stop") && strcmp(lost, "continue"))
		return tr_err_set(err, TR_E_INVALID, "--device-lost: '%s' is none of: stop, continue",
			lost);
	if (s->gpu)
		s->gpu->go_on = !strcmp(lost, "continue");
	return s->gpu ? tr_gpu_start(s->gpu, s->vram_bytes, err) : 0;
}

static void close_layers(struct tr_engine *e)
{
	if (e->gpu_model)
		e->setup.arch->gpu->close(e->gpu_model);
	tr_gpu_kv_free(e->gpu_kv);
	e->gpu_model = NULL;
	e->gpu_kv = NULL;
}

/* Weights are attached: those of the layers that the plan has there go to the device. */
static int open_layers(struct tr_engine *e, struct tr_err *err)
{
	const struct tr_setup *s = &e->setup;
	struct tr_arch_gpu_cfg cfg = { s->gpu, &s->place, e->opts.n_batch, e->opts.n_ctx,
		s->gpu && s->gpu->go_on, e->foresee != NULL };
	struct tr_kv shape;
	int rc;

	tr_setup_say_place(s);
	if (!tr_gpu_place_bytes(&s->place))
		return 0;
	shape = tr_kv_shape(e->opts.kv_type, s->info.n_layer, e->opts.n_ctx, s->info.kv_width);
	rc = tr_gpu_kv_new(&e->gpu_kv, s->gpu, s->place.on[TR_GPU_ATTENTION], &shape, err);
	if (!rc)
		rc = s->arch->gpu->open(&e->gpu_model, s->am, &cfg, err);
	return rc ? rc : tr_gpu_upload_end(s->gpu, err);
}

static int open_machinery(struct tr_engine *e, struct tr_err *err)
{
	struct tr_pool_cfg pool = { .pin = true, .spin_us = SPIN_US, .topo = e->setup.topo };
	struct tr_io_cfg io = { .method = e->opts.io, .clock = &tr_clock_real };
	int rc = tr_kernels_by_name(&e->ops.k, e->opts.cpu, err);

	if (!rc)
		rc = tr_pool_new(&e->pool, &pool, err);
	e->ops.pool = e->pool;
	if (!rc)
		rc = tr_io_open(&e->io, &io, err);
	return rc;
}

static void stats_of(void *engine, struct tr_stats *out)
{
	tr_engine_stats(engine, out);
}

static int watched_progress(void *ctx, const char *phase, uint64_t done, uint64_t total,
	const char *unit)
{
	struct tr_engine *e = ctx;

	tr_live_progress(e->live, phase, done, total, unit);
	return e->progress ? e->progress(e->progress_ctx, phase, done, total, unit) : 0;
}

/* A run is not refused because nobody can watch it. */
static int open_live(struct tr_engine *e, struct tr_err *err)
{
	char name[sizeof(((struct tr_live *)0)->model)];
	struct tr_live_cfg cfg = { .clock = &tr_clock_real,
		.stats = stats_of,
		.ctx = e,
		.model = name,
		.n_ctx = e->opts.n_ctx,
		.catalog = e->setup.catalog };
	struct tr_live_file *file;
	struct tr_err why;
	int rc;

	if (!e->opts.live)
		return 0;
	name_model(e, name, sizeof(name));
	if (tr_live_file_create(&file, &why)) {
		tr_info("%s; nobody can watch this run", why.msg);
		return 0;
	}
	rc = tr_live_new(&e->live, &cfg, file, err);
	e->progress = e->opts.progress;
	e->progress_ctx = e->opts.progress_ctx;
	e->opts.progress = watched_progress;
	e->opts.progress_ctx = e;
	return rc;
}

static int check_vocab(const struct tr_engine *e, struct tr_err *err)
{
	if (tr_vocab_size(e->tok) > e->setup.info.n_vocab)
		return tr_err_set(err, TR_E_FORMAT,
			"tokenizer.ggml.tokens has %zu entries, token_embd.weight only %u rows",
			tr_vocab_size(e->tok), e->setup.info.n_vocab);
	return 0;
}

int tr_engine_open(struct tr_engine **out, const struct tr_engine_opts *opts, struct tr_err *err)
{
	uint64_t start = tr_now_ns(&tr_clock_real);
	struct tr_engine *e = tr_calloc(1, sizeof(*e));
	int rc;

	if (!e)
		return tr_err_set(err, TR_E_NOMEM, "engine: out of memory");
	e->opts = *opts;
	if ((rc = tr_setup_open(&e->setup, &e->opts, err)) || (rc = open_live(e, err)) ||
		(rc = tr_throttle_init(&e->throttle, opts->throttle, e->setup.plan.n_tier,
			 &tr_clock_real, err)) ||
		(rc = tr_tokenizer_new(&e->tok, e->setup.model, err)) ||
		(rc = check_vocab(e, err)) || (rc = open_machinery(e, err)) ||
		(rc = start_device(e, err)) ||
		(rc = open_files(e, err)) || (rc = open_stores(e, err)) ||
		(rc = open_vram(e, err)) || (rc = open_cache(e, err)) || (rc = open_guests(e, err)) || (rc = open_trace(e, opts->trace, err)) ||
		(rc = open_foresee(e, err)) || (rc = open_counter(e, err)) ||
		(rc = tr_resident_load(&e->resident, e->setup.model, e->io, e->files,
			 &e->setup.topo, e->opts.progress, e->opts.progress_ctx, err)) ||
		(rc = e->setup.arch->attach(e->setup.am, e->resident, err)) ||
		(rc = open_layers(e, err)) ||
		(rc = warm(e, err))) {
		tr_engine_close(e);
		return rc;
	}
	tr_io_stats(e->io, &e->io_loaded);
	tr_io_throttle(e->io, e->throttle.tier[e->setup.plan.n_tier - 1].bytes_per_s);
	warn_of_settings(e);
	e->laps = (struct tr_laps){ &tr_clock_real, e->timeline, e->live };
	e->load_ns = tr_now_ns(&tr_clock_real) - start;
	tr_live_ready(e->live);
	*out = e;
	return 0;
}

void tr_engine_close(struct tr_engine *e)
{
	size_t i;

	if (!e)
		return;
	close_trace(e);
	tr_live_free(e->live);
	tr_foresee_free(e->foresee);
	tr_expert_counter_free(e->counter);
	tr_timeline_free(e->timeline);
	tr_vram_tier_close(e->vram); /* holds what it copies from, so before the cache */
	tr_guests_free(e->device.guests);
	tr_gpu_experts_free(e->device.experts);
	tr_cache_close(e->cache); /* waits for its reads, so before io */
	tr_io_close(e->io);
	for (i = 0; i < e->n_store; i++)
		tr_store_close(e->stores[i]);
	for (i = 0; e->files && e->files_paged && i < e->setup.model->n_shard; i++) {
		tr_file_close(&e->files[i]);
		tr_file_close(&e->files_paged[i]);
	}
	free(e->files);
	free(e->files_paged);
	close_layers(e);
	tr_resident_free(e->resident);
	tr_pool_free(e->pool);
	tr_tokenizer_free(e->tok);
	tr_setup_close(&e->setup);
	free(e);
}

int tr_engine_expert_stats(const struct tr_engine *e, struct tr_expert_stats **out,
	struct tr_err *err)
{
	struct tr_stats now;
	int rc;

	if (!e->counter)
		return tr_err_set(err, TR_E_NOENT, "the model has no routed experts");
	rc = tr_usage_copy(out, e->counter->stats, err);
	if (rc)
		return rc;
	tr_engine_tiers(e, &now);
	memcpy((*out)->tier, now.tier, sizeof(now.tier));
	tr_cache_unit_counts(e->cache, (*out)->loads, (*out)->evictions);
	return 0;
}

void tr_engine_history(const struct tr_engine *e, struct tr_history *out)
{
	*out = (struct tr_history){ 0 };
	if (e->timeline)
		tr_timeline_history(e->timeline, out);
}

const struct tr_token_spans *tr_engine_token(const struct tr_engine *e, enum tr_token_kind kind)
{
	return e->timeline ? tr_timeline_token(e->timeline, kind) : NULL;
}

const struct tr_model *tr_engine_model(const struct tr_engine *e)
{
	return e->setup.model;
}

const struct tr_tokenizer *tr_engine_tokenizer(const struct tr_engine *e)
{
	return e->tok;
}

unsigned tr_engine_n_ctx(const struct tr_engine *e)
{
	return e->opts.n_ctx;
}

void tr_engine_stats(const struct tr_engine *e, struct tr_stats *out)
{
	struct tr_io_stats io;
	size_t i;

	memset(out, 0, sizeof(*out));
	tr_engine_tiers(e, out);
	if (e->setup.gpu) {
		snprintf(out->device, sizeof(out->device), "%s", e->setup.gpu->info.name);
		out->device_lost = e->setup.gpu->is_lost;
	}
	snprintf(out->predictor.name, sizeof(out->predictor.name), "none");
	if (e->foresee && e->setup.predictor)
		tr_foresee_stats(e->foresee, &out->predictor);
	tr_io_stats(e->io, &io);
	out->resident_bytes = e->setup.plan.resident_bytes;
	out->kv_bytes = e->setup.plan.kv_bytes;
	out->floor_bytes = e->setup.plan.floor_bytes;
	out->io_busy_ns = io.busy_ns;
	out->io_retries = io.retries;
	out->io_fallbacks = io.fallbacks;
	snprintf(out->io_method, sizeof(out->io_method), "%s", io.method);
	snprintf(out->cpu, sizeof(out->cpu), "%s", e->ops.k->name);
	out->n_thread = tr_pool_size(e->pool);
	out->n_node = e->setup.plan.n_node;
	memcpy(out->node, e->setup.plan.node, sizeof(out->node));
	for (i = 0; i < out->n_tier; i++)
		out->tier[i].node = out->n_node && i && i <= e->n_store ? e->pmem.node[i] : -1;
	out->load_ns = e->load_ns;
}
