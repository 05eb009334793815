/*
 * plan.c - from options to a plan: which bytes go where, before any weight is read.
 */
#include "engine/plan.h"
#include "base/mem.h"
#include "base/opt.h"
#include "engine/moe.h"
#include "policies/policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DEFAULT_CTX 4096
#define DEFAULT_BATCH 512
#define MAX_BATCH 4096

/* Left alone when the DRAM cache is sized from what memory allows. Of the machine a tenth, at least
 * 512 MiB, for the page cache and everybody else. What a control group leaves is this process's own,
 * and reads past the page cache need none of it: page tables, buffers of attention and small change
 * stay: about 50 MB beside weights, KV cache and expert buffers, measured
 * with a width of 2048 and 14 layers. */
#define MACHINE_SHARE 10
#define MACHINE_MIN   (512ull << 20)
#define GROUP_SHARE   32
#define GROUP_MIN     (160ull << 20)

static int pick_context(struct tr_setup *s, struct tr_engine_opts *o, struct tr_err *err)
{
	if (!o->n_ctx)
		o->n_ctx = TR_MIN(s->info.n_ctx_train, (uint32_t)DEFAULT_CTX);
	if (o->n_ctx > s->info.n_ctx_train)
		return tr_err_set(err, TR_E_LIMIT, "context of %u tokens: the model was made for %u",
			o->n_ctx, s->info.n_ctx_train);
	if (!o->n_batch)
		o->n_batch = DEFAULT_BATCH;
	if (o->n_batch > MAX_BATCH)
		return tr_err_set(err, TR_E_LIMIT, "prefill chunk of %u tokens, at most %u",
			o->n_batch, MAX_BATCH);
	o->n_batch = TR_MIN(o->n_batch, o->n_ctx);
	return 0;
}

/* Where 100% means every expert, it is counted in what the tier takes for one. */
static uint64_t slots_bytes(const struct tr_catalog *c)
{
	return c->n_unit * tr_cache_slot_bytes_for(c, TR_STORE_EXTENT_ALIGN);
}

static uint64_t extents_bytes(const struct tr_catalog *c)
{
	uint64_t bytes = 0;
	size_t i;

	for (i = 0; i < c->n_unit; i++)
		bytes += TR_ALIGN_UP(c->units[i].bytes, (uint64_t)TR_STORE_EXTENT_ALIGN);
	return bytes;
}

/* Two tiers in one directory would make each other's store anew at every start. */
static int check_distinct(const struct tr_setup *s, const char *dir, struct tr_err *err)
{
	struct stat a, b;
	size_t i;

	for (i = 0; i < s->n_pmem; i++)
		if (!stat(dir, &a) && !stat(s->pmem[i].dir, &b) && a.st_dev == b.st_dev &&
			a.st_ino == b.st_ino)
			return tr_err_set(err, TR_E_INVALID,
				"--pmem %s: the same directory is given twice", dir);
	return 0;
}

/* "PATH" or "PATH:SIZE". What follows the last colon is a size only if it reads as one, so a path
 * may hold colons. */
static int parse_pmem(struct tr_setup *s, const char *text, struct tr_err *err)
{
	struct tr_pmem_opt *p = &s->pmem[s->n_pmem];
	const char *colon = strrchr(text, ':');
	uint64_t size = 0, room;
	int rc;

	if (colon && tr_opt_size("--pmem", colon + 1, extents_bytes(s->catalog), &size, NULL))
		colon = NULL;
	p->dir = colon ? strndup(text, (size_t)(colon - text)) : strdup(text);
	if (!p->dir)
		return tr_err_set(err, TR_E_NOMEM, "--pmem: out of memory");
	rc = check_distinct(s, p->dir, err);
	s->n_pmem++;
	if (!rc)
		rc = tr_store_room(s->model, p->dir, &room, err);
	if (rc)
		return rc;
	if (colon && size > room) {
		char want[32], has[32];

		return tr_err_set(err, TR_E_LIMIT, "--pmem %s: %s asked for, %s can be had", p->dir,
			tr_opt_human(size, want, sizeof(want)), tr_opt_human(room, has, sizeof(has)));
	}
	p->bytes = colon ? size : room;
	return 0;
}

static int open_device(struct tr_setup *s, const struct tr_engine_opts *o, struct tr_err *err)
{
	int rc = tr_gpu_open(&s->gpu, o->device, err);

	return rc ? rc : tr_setup_vram(s, o, err);
}

static uint64_t all_but(uint64_t bytes, uint64_t share, uint64_t least, uint64_t fixed)
{
	uint64_t keep = TR_MAX(bytes / share, least) + fixed;

	return bytes > keep ? bytes - keep : 0;
}

uint64_t tr_plan_dram(const struct tr_memory *memory, uint64_t fixed)
{
	uint64_t machine = all_but(memory->machine_bytes, MACHINE_SHARE, MACHINE_MIN, fixed);

	return TR_MIN(machine, all_but(memory->group_bytes, GROUP_SHARE, GROUP_MIN, fixed));
}

uint64_t tr_setup_dram(const struct tr_setup *s, const struct tr_memory *memory)
{
	return TR_MIN(tr_plan_dram(memory, s->fixed_bytes), slots_bytes(s->catalog));
}

/* A device without memory of its own takes the machine's. */
static uint64_t fixed_bytes(const struct tr_setup *s, const struct tr_engine_opts *o)
{
	return s->plan.resident_bytes - s->freed_weight_bytes + s->plan.kv_bytes -
	       s->freed_kv_bytes + tr_moe_bytes(s->catalog, s->info.n_embd, o->n_batch) +
	       (s->gpu && s->gpu->info.is_main_memory ? s->vram_bytes : 0);
}

static int pick_dram(struct tr_setup *s, const struct tr_engine_opts *o, struct tr_err *err)
{
	struct tr_memory memory;

	tr_setup_freed(s, o);
	s->fixed_bytes = fixed_bytes(s, o);
	if (o->dram)
		return tr_opt_size("--dram", o->dram, slots_bytes(s->catalog), &s->dram_bytes, err);
	memory = tr_memory_available("");
	s->dram_bytes = tr_setup_dram(s, &memory);
	return 0;
}

/* Where there is no VRAM tier its policy must be a sound one all the same. Both are opened with their tiers. */
static int parse_policies(struct tr_setup *s, const char *text, struct tr_err *err)
{
	const struct tr_policy_cfg cfg = { .n_id = (uint32_t)s->catalog->n_unit,
		.n_slot = 1,
		.n_layer_id = s->catalog->n_expert };
	int rc = tr_tier_policies_parse(&s->policies, text, err);
	const char *vram = s->policies.spec[TR_POLICY_VRAM];
	struct tr_policy policy;

	if (rc || !vram || !cfg.n_id)
		return rc;
	rc = tr_policy_open(&policy, vram, &cfg, err);
	if (rc)
		return err ? tr_err_prefix(err, "--policy vram=") : rc;
	tr_policy_close(&policy);
	return 0;
}

static int pick_nodes(struct tr_setup *s, const struct tr_engine_opts *o, struct tr_err *err)
{
	struct tr_topo all;

	tr_topo_read(&all);
	return tr_topo_pick(&s->topo, &all, o->numa, o->n_thread, err);
}

static int prefetch_option(void *ctx, const char *key, const char *value, struct tr_err *err)
{
	struct tr_setup *s = ctx;

	if (strcmp(key, "waste"))
		return tr_err_set(err, TR_E_INVALID, "--prefetch: no option '%s'; it has waste=0.2",
			key);
	return tr_opt_f64("--prefetch waste", value, 0.001, 1e6, &s->prefetch_waste, err);
}

/* Nothing is read ahead without a predictor; who asks to read ahead and names none gets `gate`. */
static int parse_prefetch(struct tr_setup *s, const struct tr_engine_opts *o, struct tr_err *err)
{
	const char *spec = o->prefetch ? o->prefetch : "auto";
	size_t n = strcspn(spec, ",");
	char *text;
	int rc;

	s->predictor = o->predictor && strcmp(o->predictor, "none") ? o->predictor : NULL;
	s->prefetch_auto = n == 4 && !memcmp(spec, "auto", n);
	s->prefetch = s->prefetch_auto || (n == 2 && !memcmp(spec, "on", n));
	if (!s->prefetch && (n != 3 || memcmp(spec, "off", n)))
		return tr_err_set(err, TR_E_INVALID, "--prefetch: '%.*s' is none of: off, on, auto",
			(int)n, spec);
	if (o->prefetch && !o->predictor && s->prefetch)
		s->predictor = "gate";
	s->prefetch = s->prefetch && s->predictor;
	text = strdup(spec);
	if (!text)
		return tr_err_set(err, TR_E_NOMEM, "--prefetch: out of memory");
	rc = tr_opt_pairs(text, prefetch_option, s, err);
	free(text);
	if (!rc && o->prefetch_budget)
		rc = tr_opt_size("--prefetch-budget", o->prefetch_budget, slots_bytes(s->catalog),
			&s->prefetch_bytes, err);
	return rc;
}

bool tr_setup_foresees(const struct tr_setup *s, const struct tr_engine_opts *o)
{
	return s->catalog->n_unit && (s->predictor || (o->trace && o->trace_scores));
}

/* Time goes with bytes: so much of what a token reads may be copied as it ends. Until a run has what it
 * wants in DRAM, which at this rate takes some hundred tokens for all of Kimi K2.5 that 140 GB hold, tokens
 * are slower by as much; later there is little left to copy. */
#define PROMOTE_DEFAULT "10%"

/* "off", "on" or SIZE, of which 100% is what a token uses. Less than an expert is one. */
static int parse_promote(struct tr_setup *s, const char *text, struct tr_err *err)
{
	uint64_t slot = tr_cache_slot_bytes_for(s->catalog, TR_STORE_EXTENT_ALIGN), bytes = 0;
	uint64_t token = s->catalog->n_moe_layer * s->catalog->n_used * slot;
	int rc = 0;

	if (!text || !strcmp(text, "on"))
		text = PROMOTE_DEFAULT;
	if (strcmp(text, "off"))
		rc = tr_opt_size("--promote", text, token, &bytes, err);
	s->vram_token_bytes = bytes;
	if (!rc && bytes && s->n_pmem)
		s->n_promote = (uint32_t)TR_MAX(1, TR_MIN(bytes / TR_MAX(slot, 1u),
							(uint64_t)s->catalog->n_unit));
	return rc;
}

/* Units that the DRAM cache keeps. */
static uint64_t n_kept(const struct tr_setup *s)
{
	const char *policy = s->policies.spec[TR_POLICY_DRAM];
	uint64_t slot = tr_cache_slot_bytes_for(s->catalog, TR_STORE_EXTENT_ALIGN);

	if (!slot || (policy && !strcmp(policy, "none")))
		return 0;
	return TR_MIN(s->dram_bytes / slot, (uint64_t)s->catalog->n_unit);
}

static int place(struct tr_setup *s, struct tr_err *err)
{
	size_t i;
	int rc;

	for (i = 0; i < s->n_pmem; i++)
		s->tiers[i] = (struct tr_place_tier){ s->pmem[i].bytes, TR_STORE_EXTENT_ALIGN,
			TR_SPEED_PMEM };
	s->use = (struct tr_place_use){ s->profile.rate, n_kept(s), s->tiers, s->n_pmem,
		TR_SPEED_DRAM, TR_SPEED_NVME };
	s->home = tr_calloc(s->catalog->n_unit, sizeof(*s->home));
	if (!s->home)
		return tr_err_set(err, TR_E_NOMEM, "plan: out of memory");
	rc = tr_place_plan(s->home, s->catalog, s->tiers, s->n_pmem, err);
	if (!rc && s->n_pmem && s->profile.rate)
		rc = tr_place_by_use(s->home, s->catalog, &s->use, err);
	return rc;
}

/* Who is worth having in DRAM: by profile, and by what a miss costs at the home. */
static int rank(struct tr_setup *s, struct tr_err *err)
{
	size_t n_unit = s->catalog->n_unit;

	s->miss_cost = tr_calloc(n_unit, sizeof(*s->miss_cost));
	s->hot = tr_calloc(n_unit, sizeof(*s->hot));
	if (!s->miss_cost || !s->hot)
		return tr_err_set(err, TR_E_NOMEM, "plan: out of memory");
	tr_place_miss_cost(s->miss_cost, s->catalog, s->home, &s->use);
	if (!s->profile.rate)
		return 0;
	return tr_profile_sort(s->hot, &s->n_hot, &s->profile, s->miss_cost, n_unit, err);
}

/* Index into the plan's tiers. */
static size_t home_tier(const struct tr_setup *s, uint32_t home)
{
	return home == TR_HOME_FILE ? s->plan.n_tier - 1 : 1 + home;
}

static void describe_tiers(struct tr_setup *s)
{
	struct tr_plan *p = &s->plan;
	uint64_t slot = tr_cache_slot_bytes_for(s->catalog, TR_STORE_EXTENT_ALIGN);
	struct tr_plan_tier *t = p->tier;
	size_t i;

	snprintf(t->name, sizeof(t->name), "dram");
	t->capacity_bytes = s->dram_bytes;
	t->n_unit = slot ? TR_MIN(s->dram_bytes / slot, p->n_unit) : 0;
	t->bytes = t->n_unit * slot;
	for (i = 0; i < s->n_pmem; i++) {
		t = &p->tier[1 + i];
		snprintf(t->name, sizeof(t->name), "pmem:%s", s->pmem[i].dir);
		t->capacity_bytes = TR_MIN(s->pmem[i].bytes, extents_bytes(s->catalog));
	}
	p->n_tier = s->n_pmem + 1;
	if (s->vram.n_slot) {
		t = &p->tier[p->n_tier++];
		snprintf(t->name, sizeof(t->name), "vram");
		t->capacity_bytes = t->bytes = s->vram.bytes;
		t->n_unit = s->vram.n_slot;
	}
	snprintf(p->tier[p->n_tier++].name, sizeof(t->name), "nvme");
	for (i = 0; i < s->catalog->n_unit; i++) {
		t = &p->tier[home_tier(s, s->home[i])];
		t->n_unit++;
		t->bytes += s->catalog->units[i].bytes;
	}
}

static void describe(struct tr_setup *s, const struct tr_engine_opts *o)
{
	const struct tr_catalog *c = s->catalog;

	s->plan = (struct tr_plan){
		.n_layer = s->info.n_layer,
		.n_moe_layer = (uint32_t)c->n_moe_layer,
		.n_expert = c->n_expert,
		.n_expert_used = c->n_used,
		.n_unit = c->n_unit,
		.unit_bytes_max = c->unit_bytes_max,
		.expert_bytes = c->bytes,
		.resident_bytes = tr_resident_bytes_of(s->model),
		.kv_bytes = tr_kv_bytes(o->kv_type, s->info.n_layer, o->n_ctx, s->info.kv_width),
		.floor_bytes = c->floor_bytes,
		.n_ctx = o->n_ctx,
		.n_batch = o->n_batch,
	};
}

static void describe_device(struct tr_setup *s)
{
	if (!s->gpu)
		return;
	snprintf(s->plan.device, sizeof(s->plan.device), "%s", s->gpu->info.name);
	s->plan.device_bytes = s->gpu->info.mem_bytes;
	s->plan.device_free_bytes = s->gpu->info.free_bytes;
	s->plan.vram_bytes = s->vram_bytes;
	s->plan.vram_scratch_bytes += s->place.scratch_bytes;
	s->plan.vram_weight_bytes = s->place.weight_bytes;
	s->plan.vram_kv_bytes = s->place.kv_bytes;
	s->plan.n_vram_layer = s->place.n[TR_GPU_ATTENTION];
	s->plan.n_vram_ffn = s->place.n[TR_GPU_FFN];
	s->plan.vram_head = s->place.n[TR_GPU_HEAD];
	s->plan.vram_layer_bytes = s->place.wanted_bytes;
	s->plan.freed_bytes = s->freed_weight_bytes + s->freed_kv_bytes;
}

static uint64_t share(const struct tr_topo *t, unsigned k, uint64_t bytes)
{
	return tr_topo_first(t, k + 1, bytes) - tr_topo_first(t, k, bytes);
}

static void describe_nodes(struct tr_setup *s)
{
	const struct tr_topo *t = &s->topo;
	struct tr_plan *p = &s->plan;
	unsigned k;

	if (t->n_node == 1 && !t->bind)
		return;
	p->n_node = t->n_node;
	for (k = 0; k < t->n_node; k++)
		p->node[k] = (struct tr_node_info){
			.id = t->node[k].id,
			.n_thread = t->node[k].n_worker,
			.resident_bytes = share(t, k, p->resident_bytes - s->freed_weight_bytes),
			.dram_bytes = share(t, k, p->tier[0].bytes),
			.kv_bytes = (p->kv_bytes - s->freed_kv_bytes) / t->n_node,
		};
}

int tr_setup_open(struct tr_setup *s, struct tr_engine_opts *o, struct tr_err *err)
{
	size_t i;
	int rc;

	memset(s, 0, sizeof(*s));
	if (!o->model_path)
		return tr_err_set(err, TR_E_INVALID, "no model file was given");
	if (o->n_pmem > TR_MAX_TIER - 3)
		return tr_err_set(err, TR_E_LIMIT, "--pmem: %zu paths, at most %d", o->n_pmem,
			TR_MAX_TIER - 3);
	rc = tr_model_open(&s->model, o->model_path, err);
	if (rc)
		return rc;
	s->arch = tr_arch_by_name(s->model->arch, err);
	rc = s->arch ? tr_catalog_build(&s->catalog, s->model, err) : TR_E_UNSUPPORTED;
	if (!rc)
		rc = s->arch->bind(&s->am, s->model, s->catalog, &s->info, err);
	if (!rc)
		rc = pick_context(s, o, err);
	if (rc)
		goto fail;
	describe(s, o);
	rc = open_device(s, o, err);
	if (!rc)
		rc = parse_policies(s, o->policy, err);
	if (!rc)
		rc = pick_nodes(s, o, err);
	if (!rc)
		rc = parse_prefetch(s, o, err);
	if (!rc)
		rc = pick_dram(s, o, err);
	for (i = 0; i < o->n_pmem && !rc; i++)
		rc = parse_pmem(s, o->pmem[i], err);
	if (!rc)
		rc = parse_promote(s, o->promote, err);
	if (!rc && o->profile)
		rc = tr_profile_open(&s->profile, o->profile, s->model, s->catalog, err);
	if (!rc)
		rc = place(s, err);
	if (!rc)
		rc = rank(s, err);
	if (rc)
		goto fail;
	describe_tiers(s);
	describe_device(s);
	describe_nodes(s);
	rc = tr_setup_fetch(s, o, err);
	if (rc)
		goto fail;
	return 0;
fail:
	tr_setup_close(s);
	return rc;
}

void tr_setup_close(struct tr_setup *s)
{
	size_t i;

	if (s->am)
		s->arch->unbind(s->am);
	for (i = 0; i < s->n_pmem; i++)
		free(s->pmem[i].dir);
	tr_tier_policies_free(&s->policies);
	free(s->vram_takes);
	free(s->home);
	free(s->miss_cost);
	free(s->hot);
	tr_profile_close(&s->profile);
	tr_gpu_place_free(&s->place);
	tr_gpu_close(s->gpu);
	tr_catalog_free(s->catalog);
	tr_model_close(s->model);
	memset(s, 0, sizeof(*s));
}

int tr_engine_plan(const struct tr_engine_opts *opts, struct tr_plan *plan, struct tr_err *err)
{
	struct tr_engine_opts o = *opts;
	struct tr_setup s;
	int rc = tr_setup_open(&s, &o, err);

	if (rc)
		return rc;
	*plan = s.plan;
	tr_setup_close(&s);
	return 0;
}

int tr_engine_plan_units(const struct tr_engine_opts *opts,
	int (*each)(void *ctx, const struct tr_unit_info *unit), void *ctx, struct tr_err *err)
{
	struct tr_engine_opts o = *opts;
	struct tr_setup s;
	int rc = tr_setup_open(&s, &o, err), p;
	size_t i;

	for (i = 0; !rc && i < s.catalog->n_unit; i++) {
		const struct tr_unit *u = &s.catalog->units[i];
		struct tr_unit_info info = { u->layer, u->expert, u->bytes, { { 0 } },
			(uint32_t)home_tier(&s, s.home[i]) };

		for (p = 0; p < TR_N_PART; p++) {
			info.part[p].shard = u->part[p].shard;
			info.part[p].off = u->part[p].off;
			info.part[p].bytes = u->part[p].bytes;
		}
		rc = each(ctx, &info);
	}
	if (s.model)
		tr_setup_close(&s);
	return rc;
}
