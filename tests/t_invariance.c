/*
 * t_invariance.c - output never depends on placement.
 *
 * One run with everything in DRAM, one thread and scalar kernels gives ids and the bits of the last
 * logits. Every other setting must give the same: tier sizes, persistent memory, policies, I/O
 * methods, prefill chunks, threads, instruction sets, layers on a device. The model is the demo model, and the same model
 * with the gate of its experts as Q8_0, up as F16 and down as Q8_0, which this test writes.
 */
#include "test.h"
#include "base/mem.h"
#include "base/topo.h"
#include "compute/kernels.h"
#include "model/model.h"

#include "requant.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define N_PROMPT 40
#define N_GEN 24

struct result {
	int32_t ids[N_GEN];
	uint64_t logits_hash;
	struct tr_stats stats;
};

struct setting {
	const char *name;
	const char *cpu, *io, *dram, *pmem, *policy;
	unsigned n_thread, n_batch;
	const char *predictor, *prefetch;
	unsigned n_pmem_thread;
};

/* The floor of the demo model is 20 of 320 experts, 1.1 MB as Q4_0. Rows vary one thing at a time, then several. */
static const struct setting settings[] = {
	{ "dram 0", "avx512", "uring", "0", NULL, "lru", 2, 16, NULL, NULL, 0 },
	{ "dram 0, one token a chunk", "avx2", "uring", "0", NULL, "lru", 2, 1, NULL, NULL, 0 },
	{ "half the floor", "avx2", "uring", "600K", NULL, "lru", 2, 16, NULL, NULL, 0 },
	{ "a quarter", "avx2", "uring", "25%", NULL, "lru", 2, 16, NULL, NULL, 0 },
	{ "everything", "avx2", "uring", "100%", NULL, "lru", 2, 16, NULL, NULL, 0 },
	{ "foresight", "avx512", "uring", "12%", NULL, "foresight", 2, 16, NULL, NULL, 0 },
	{ "foresight, ahead", "avx2", "uring", "12%", NULL, "foresight", 2, 16, "blend", "on", 0 },
	{ "lfu", "avx2", "uring", "25%", NULL, "lfu", 2, 16, NULL, NULL, 0 },
	{ "none", "avx2", "uring", "25%", NULL, "none", 2, 16, NULL, NULL, 0 },
	{ "none, threads", "avx512", "threads", "25%", NULL, "none", 1, 7, NULL, NULL, 0 },
	{ "threads", "avx2", "threads", "10%", NULL, "lru", 2, 16, NULL, NULL, 0 },
	{ "sync", "avx2", "sync", "10%", NULL, "lfu", 2, 16, NULL, NULL, 0 },
	{ "pmem only", "avx2", "uring", "0", "100%", "lru", 2, 16, NULL, NULL, 0 },
	{ "pmem a third", "avx2", "uring", "25%", "33%", "lru", 2, 16, NULL, NULL, 0 },
	{ "pmem a third, none", "avx512", "sync", "0", "33%", "none", 2, 5, NULL, NULL, 0 },
	{ "pmem a third, avx512", "avx512", "threads", "10%", "33%", "lfu", 2, 40, NULL, NULL, 0 },
	{ "one thread", "avx512", "uring", "25%", NULL, "lru", 1, 16, NULL, NULL, 0 },
	{ "five threads", "avx2", "uring", "25%", NULL, "lru", 5, 16, NULL, NULL, 0 },
	{ "scalar", "scalar", "uring", "25%", NULL, "lru", 2, 16, NULL, NULL, 0 },
	{ "avx2", "avx2", "uring", "25%", NULL, "lru", 2, 16, NULL, NULL, 0 },
	{ "avx512", "avx512", "uring", "25%", NULL, "lru", 2, 16, NULL, NULL, 0 },
	{ "chunks of 1", "avx512", "uring", "50%", NULL, "lru", 2, 1, NULL, NULL, 0 },
	{ "chunks of 3", "avx512", "uring", "50%", NULL, "lru", 2, 3, NULL, NULL, 0 },
	{ "ahead, dram 0", "avx2", "uring", "0", NULL, "lru", 2, 16, "gate", "on,waste=1000", 0 },
	{ "ahead, 5%", "avx2", "uring", "5%", NULL, "lru", 2, 16, "gate", "on,waste=1000", 0 },
	{ "ahead, 10%", "avx2", "uring", "10%", NULL, "lru", 2, 16, "gate", "on,waste=1000", 0 },
	{ "ahead, 25%", "avx512", "uring", "25%", NULL, "lru", 2, 16, "gate", "on,waste=1000", 0 },
	{ "ahead, 50%", "avx2", "uring", "50%", NULL, "lfu", 1, 16, "gate", "on,waste=1000", 0 },
	{ "ahead, 100%", "avx2", "uring", "100%", NULL, "lru", 2, 16, "gate", "on,waste=1000", 0 },
	{ "ahead, none", "avx2", "uring", "25%", NULL, "none", 2, 16, "gate", "on,waste=1000", 0 },
	{ "ahead, threads", "avx2", "threads", "10%", NULL, "lfu", 2, 16, "gate", "on,waste=1000", 0 },
	{ "ahead, sync", "avx512", "sync", "25%", NULL, "lru", 2, 1, "gate", "on,waste=1000", 0 },
	{ "ahead, by itself", "avx2", "uring", "25%", NULL, "lru", 2, 1, "gate", "auto", 0 },
	{ "ahead, pmem a third", "avx2", "uring", "10%", "33%", "lru", 2, 16, "gate", "on", 0 },
	{ "foreseen only", "avx2", "threads", "25%", NULL, "lru", 2, 16, "gate", "off", 0 },
	{ "foresight, last", "avx2", "uring", "12%", NULL, "foresight", 2, 16, "last", "off", 0 },
	{ "foresight, freq", "avx512", "uring", "25%", NULL, "foresight", 2, 1, "freq", "off", 0 },
	{ "foresight, markov", "avx2", "threads", "12%", NULL, "foresight", 1, 16, "markov", "on", 0 },
	{ "foresight, echo", "avx2", "uring", "6%", NULL, "foresight", 2, 16, "echo", "auto", 0 },
	{ "foresight, gate", "avx512", "sync", "12%", "33%", "foresight", 2, 16, "gate", "on", 0 },
	{ "chunks of 40", "avx512", "uring", "50%", NULL, "lru", 2, 40, NULL, NULL, 0 },
	{ "promotion, 3%", "avx2", "uring", "3%", "100%", "lru", 2, 16, NULL, NULL, 0 },
	{ "promotion, 10%", "avx512", "uring", "10%", "100%", "foresight", 2, 1, NULL, NULL, 0 },
	{ "promotion, 40%", "scalar", "sync", "40%", "100%", "cost", 3, 7, NULL, NULL, 1 },
	{ "promotion, 100%", "avx2", "threads", "100%", "100%", "arc", 1, 16, NULL, NULL, 0 },
	{ "promotion, ahead", "avx2", "uring", "10%", "50%", "lfu", 2, 16, "gate", "on", 0 },
	{ "pmem by one thread of three", "avx512", "uring", "10%", "50%", "lru", 3, 16, NULL, NULL, 1 },
};

/* These begin with the hot experts of the base run. */
static const struct setting warm_settings[] = {
	{ "warm, 25%", "avx2", "uring", "25%", NULL, "foresight", 2, 16, NULL, NULL, 0 },
	{ "warm, 100%", "avx2", "sync", "100%", NULL, "lru", 2, 16, NULL, NULL, 0 },
	{ "warm, none", "avx2", "uring", "25%", NULL, "none", 2, 16, NULL, NULL, 0 },
	{ "warm, ahead", "avx2", "threads", "10%", NULL, "pin", 2, 16, "gate", "on", 0 },
	{ "warm, pmem all", "avx2", "uring", "25%", "100%", "foresight", 2, 16, NULL, NULL, 0 },
	{ "warm, pmem a third", "avx512", "uring", "10%", "33%", "cost", 2, 16, NULL, NULL, 0 },
};

/* The rows of every matrix split among NUMA nodes, most of them faked. */
static const struct {
	const char *numa;
	struct setting setting;
} on_nodes[] = {
	{ "fake:2", { "2 nodes", "avx2", "uring", "25%", NULL, "lru", 2, 16, NULL, NULL, 0 } },
	{ "fake:2", { "2 nodes, 3 threads", "avx512", "uring", "10%", NULL, "lfu", 3, 7, NULL, NULL,
			    0 } },
	{ "fake:2", { "2 nodes, scalar", "scalar", "sync", "50%", NULL, "lru", 2, 1, NULL, NULL, 0 } },
	{ "fake:3", { "3 nodes, pmem", "avx2", "uring", "10%", "50%", "lru", 4, 16, NULL, NULL, 1 } },
	{ "fake:2", { "promotion on 2 nodes", "avx2", "uring", "10%", "100%", "lru", 3, 16, NULL,
			    NULL, 1 } },
	{ "fake:3", { "3 nodes, dram 0", "avx512", "threads", "0", NULL, "lru", 3, 16, NULL, NULL,
			    0 } },
	{ "off", { "off", "avx2", "uring", "25%", NULL, "lru", 2, 16, NULL, NULL, 0 } },
	{ "0", { "node 0", "avx2", "uring", "25%", "33%", "lru", 2, 16, NULL, NULL, 0 } },
};

/* Tiers that are slowed down. */
static const struct {
	const char *throttle;
	struct setting setting;
} throttled[] = {
	{ "dram=2G,pmem=1G,nvme=500M", { "slow tiers", "avx2", "uring", "10%", "33%", "lru", 2, 16,
					       "gate", "on", 0 } },
	{ "nvme=200M", { "slow disk", "avx512", "sync", "10%", NULL, "lru", 2, 16, NULL, NULL, 0 } },
	{ "dram=1G", { "slow DRAM", "avx2", "threads", "50%", NULL, "lru", 2, 1, NULL, NULL, 0 } },
};

/* Experts in the memory of a device, which computes them while the CPU computes the others; lost: what it
 * does when it fails. */
static const struct on_device {
	const char *device, *vram, *lost;
	bool warm; /* begins with the hot experts of the base run */
	struct setting setting;
} on_device[] = {
	{ "host", "0", NULL, false, { "vram 0", "avx2", "uring", "25%", NULL, "lru", 2, 16, NULL,
					    NULL, 0 } },
	{ "host", "10%", NULL, false, { "vram 10%", "avx2", "uring", "25%", NULL, "lru", 2, 16, NULL,
					      NULL, 0 } },
	{ "host", "50%", NULL, false, { "vram 50%", "avx512", "uring", "50%", NULL,
					      "vram=lfuda,dram=foresight", 2, 1, NULL, NULL, 0 } },
	{ "host", "100%", NULL, false, { "vram 100%", "avx2", "threads", "100%", NULL, "foresight", 2,
					       16, NULL, NULL, 0 } },
	{ "host", "10%", NULL, true, { "vram 10%, warm", "avx2", "uring", "10%", NULL,
					     "vram=lru,dram=lru", 1, 16, NULL, NULL, 0 } },
	{ "host", "50%", NULL, true, { "vram 50%, warm", "avx512", "sync", "25%", NULL, "lru", 2, 7,
					     NULL, NULL, 0 } },
	{ "host", "100%", NULL, true, { "vram 100%, warm", "avx2", "uring", "0", NULL, "lru", 2, 40,
					      NULL, NULL, 0 } },
	/* Mixed experts leave no room for a layer. */
	{ "host,mem=45M", "100%", NULL, true, { "vram 100%, no layer", "avx2", "uring", "10%", NULL,
						      "lru", 2, 16, NULL, NULL, 0 } },
	{ "host", "auto", NULL, true, { "vram auto, warm", "scalar", "uring", "0", NULL, "none", 2, 3,
					      NULL, NULL, 0 } },
	{ "host,threads=2", "30%", NULL, true, { "vram 30%, pmem", "avx2", "uring", "10%", "50%",
						       "lfu", 3, 16, "gate", "on", 1 } },
	{ "host", "20%", NULL, false, { "fetched", "avx2", "uring", "100%", NULL, "lru", 2, 16, NULL,
					      NULL, 0 } },
	{ "host,threads=2", "20%", NULL, true, { "fetched, pmem", "avx512", "threads", "40%", "50%",
						       "foresight", 2, 40, NULL, NULL, 0 } },
	{ "host,bw=30M", "30%", NULL, false, { "vram, slow link", "avx2", "uring", "25%", NULL, "lru",
						     2, 16, NULL, NULL, 0 } },
	{ "host", "30%", NULL, true, { "vram=none", "avx2", "uring", "25%", NULL,
					     "dram=lru,vram=none", 2, 16, NULL, NULL, 0 } },
	/* Weights of layers take 90 operations, what is warm 3 each: 480 of half of all, 783 of all. A
	 * pass takes some 190. */
	{ "host,fail=660", "50%", "continue", true, { "lost at once", "avx2", "uring", "50%", NULL,
							    "lru", 2, 1, NULL, NULL, 0 } },
	{ "host,fail=700", "50%", "continue", true, { "lost a step later", "avx512", "uring", "25%",
							    NULL, "lru", 2, 16, NULL, NULL, 0 } },
	{ "host,fail=1200", "50%", "continue", true, { "lost later", "avx2", "uring", "10%", "33%",
							    "lfu", 2, 16, "gate", "on", 0 } },
	{ "host,fail=450", "20%", "continue", true, { "fetched, lost", "avx2", "uring", "100%", NULL,
							    "lru", 2, 16, NULL, NULL, 0 } },
	{ "host,fail=1300", "100%", "continue", true, { "lost with all of it", "avx2", "uring", "0",
							     NULL, "lru", 2, 16, NULL, NULL, 0 } },
};

/* Layers that a device computes, all or as many as fit, and experts beside them or not. */
static const struct on_device layers_on_device[] = {
	{ "host", "0%", NULL, false, { "device", "avx2", "uring", "25%", NULL, "lru", 2, 16, NULL, NULL, 0 } },
	{ "host", "0%", NULL, false, { "device, chunks of 1", "avx512", "sync", "25%", NULL, "lru", 2, 1, NULL,
				NULL, 0 } },
	{ "host,threads=2", "0%", NULL, false, { "device, dram 0", "scalar", "uring", "0", NULL, "lru", 1, 7, NULL,
					  NULL, 0 } },
	{ "host", "1100K", NULL, false, { "device, some layers", "avx2", "uring", "25%", NULL, "lru", 2, 16, NULL,
				   NULL, 0 } },
	{ "host", "0%", NULL, false, { "device, ahead", "avx2", "uring", "10%", "33%", "lru", 2, 16, "gate",
				"on,waste=1000", 0 } },
	{ "host", "1100K", NULL, false, { "some, ahead", "avx2", "uring", "10%", "33%", "lru", 2, 1, "gate",
				   "on,waste=1000", 0 } },
	{ "host", "0%", NULL, false, { "device, foresight", "avx512", "threads", "12%", NULL, "foresight", 2, 16,
				"blend", "on", 0 } },
};

static char work_dir[4096];
static char base_trace[4200];

static uint64_t hash_floats(const float *x, size_t n)
{
	const uint8_t *p = (const uint8_t *)x;
	uint64_t h = 1469598103934665603u;
	size_t i;

	for (i = 0; i < n * sizeof(*x); i++)
		h = (h ^ p[i]) * 1099511628211u;
	return h;
}

static int32_t argmax(const float *x, size_t n)
{
	size_t i, at = 0;

	for (i = 1; i < n; i++)
		if (x[i] > x[at])
			at = i;
	return (int32_t)at;
}

/* The device that TR_DEVICE names takes the place of the host device, but where that has options: those are
 * not a GPU's. */
static const char *device_of(const struct on_device *on)
{
	const char *named = getenv("TR_DEVICE");

	return named && !strcmp(on->device, "host") ? named : on->device;
}

/* What a run has beside its setting; NULL: nothing. */
struct beside {
	const char *trace;   /* to record */
	const char *profile; /* to begin with */
	const char *numa;
	const char *throttle;
	const struct on_device *device;
};

static void run(const char *model, const struct setting *st, struct beside beside,
	struct result *out)
{
	char pmem[4200];
	const char *pmem_list[] = { pmem };
	struct tr_engine_opts opts = { .model_path = model, .n_ctx = 128, .cpu = st->cpu,
		.io = st->io, .dram = st->dram, .policy = st->policy, .n_thread = st->n_thread,
		.n_batch = st->n_batch, .n_pmem_thread = st->n_pmem_thread, .numa = beside.numa,
		.predictor = st->predictor, .prefetch = st->prefetch, .trace = beside.trace,
		.profile = beside.profile, .throttle = beside.throttle };
	struct tr_engine *e;
	struct tr_session *s;
	struct tr_err err;
	int32_t prompt[N_PROMPT];
	size_t n_vocab, i;
	const float *logits;

	if (beside.device) {
		opts.device = device_of(beside.device);
		opts.vram = beside.device->vram;
		opts.device_lost = beside.device->lost;
		opts.device_fetch = strncmp(st->name, "fetched", 7) ? "off" : "on";
	}
	if (st->pmem) {
		snprintf(pmem, sizeof(pmem), "%s:%s", work_dir, st->pmem);
		opts.pmem = pmem_list;
		opts.n_pmem = 1;
	}
	if (tr_engine_open(&e, &opts, &err) || tr_session_new(&s, e, &err))
		fail_msg("%s: %s", st->name, err.msg);
	for (i = 0; i < N_PROMPT; i++)
		prompt[i] = (int32_t)(37 * i * i + 11 * i + 300) % 4000;
	if (tr_session_feed(s, prompt, N_PROMPT, &err))
		fail_msg("%s: %s", st->name, err.msg);
	n_vocab = tr_vocab_size(tr_engine_tokenizer(e));
	logits = tr_session_logits(s);
	for (i = 0; i < N_GEN; i++) {
		out->ids[i] = argmax(logits, n_vocab);
		if (tr_session_feed(s, &out->ids[i], 1, &err))
			fail_msg("%s: %s", st->name, err.msg);
	}
	out->logits_hash = hash_floats(logits, n_vocab);
	tr_engine_stats(e, &out->stats);
	tr_session_free(s);
	tr_engine_close(e);
}

static enum tr_isa isa_of(const char *name)
{
	return !strcmp(name, "avx512") ? TR_ISA_AVX512 :
	       !strcmp(name, "avx2")   ? TR_ISA_AVX2 :
					 TR_ISA_SCALAR;
}

/* A setting whose instruction set this machine lacks runs with the scalar kernels. */
static struct setting adapt(const struct setting *st)
{
	struct setting s = *st;

	if (!tr_kernels_get(isa_of(s.cpu)))
		s.cpu = "scalar";
	return s;
}

/* What was read ahead adds up, and where it can help it was of use. */
static void check_ahead(const struct setting *st, const struct tr_stats *stats)
{
	const struct tr_prefetch_stats *p = &stats->prefetch;

	assert_true(p->useful + p->late + p->wasted + p->cancelled + p->failed <= p->issued);
	assert_int_equal(p->failed, 0);
	if (!st->predictor) {
		assert_string_equal(stats->predictor.name, "none");
		assert_int_equal(p->issued, 0);
		return;
	}
	assert_string_equal(stats->predictor.name, st->predictor);
	assert_int_equal(p->tokens, N_GEN);
	if (!strcmp(st->prefetch, "off") || !strcmp(st->policy, "none") || !strcmp(st->dram, "0"))
		assert_int_equal(p->issued, 0);
	else if (!strncmp(st->prefetch, "on,", 3) && strcmp(st->dram, "100%"))
		assert_true(p->useful + p->late > 0);
	if (!strcmp(st->prefetch, "off"))
		assert_true(stats->predictor.visits > 0 && stats->predictor.recall > 0);
}

static void check_stats(const struct setting *st, const struct tr_stats *stats)
{
	const struct tr_tier_stats *dram = &stats->tier[0], *nvme = &stats->tier[stats->n_tier - 1];

	assert_string_equal(dram->name, "dram");
	assert_string_equal(nvme->name, "nvme");
	assert_int_equal(stats->n_tier, st->pmem ? 3 : 2);
	assert_true(dram->hits + dram->misses > 0);
	check_ahead(st, stats);
	if (st->pmem && !strcmp(st->pmem, "100%"))
		assert_int_equal(nvme->bytes, 0);
	else if (!strcmp(st->dram, "0"))
		assert_true(nvme->bytes > 0);
	if (st->pmem)
		assert_true(stats->tier[1].hits > 0);
	if (!strncmp(st->name, "promotion", 9))
		assert_true(stats->promoted_units > 0 && dram->hits > 0);
	if (!strcmp(st->dram, "100%"))
		assert_true(dram->hits > 0 && stats->evictions == 0);
}

/* What there is of VRAM was used, unless nothing may be there or it was lost before. */
static void check_device(const struct on_device *on, const struct tr_stats *s)
{
	const struct tr_tier_stats *vram = &s->tier[s->n_tier - 2];
	bool none = strstr(on->setting.policy, "vram=none"), lost = on->lost != NULL;

	assert_int_equal(s->device_lost, lost);
	assert_int_equal(strncmp(s->device, device_of(on), 4), 0);
	if (strchr(on->vram, 'K')) /* some layers, and experts if there is room left */
		return;
	if (on->vram[0] == '0') {
		assert_string_not_equal(vram->name, "vram");
		return;
	}
	assert_string_equal(vram->name, "vram");
	assert_true(vram->used_bytes <= vram->capacity_bytes);
	assert_int_equal(s->vram.warm_units > 0, on->warm && !none);
	assert_int_equal(s->vram.fetched_units > 0, !strncmp(on->setting.name, "fetched", 7));
	if (on->warm)
		assert_int_equal(vram->hits > 0, !none);
	if (lost)
		return;
	assert_int_equal(vram->misses, s->tier[0].hits + s->tier[0].misses);
	if (!on->warm)	/* a copy that was begun has ended or is late */
		assert_true(s->vram.copied_units + s->vram.late > 0);
}

static void check_setting(const struct setting *st, const struct beside *beside,
	const struct tr_stats *stats)
{
	if (beside->device) {
		check_device(beside->device, stats);
		return;
	}
	check_stats(st, stats);
	assert_int_equal(stats->warm_units > 0, beside->profile && strcmp(st->policy, "none"));
}

static void run_same(const char *model, const struct setting *row, struct beside beside,
	const struct result *want)
{
	struct setting st = adapt(row);
	struct result got;

	run(model, &st, beside, &got);
	if (memcmp(got.ids, want->ids, sizeof(want->ids)))
		fail_msg("%s: token ids differ", st.name);
	if (got.logits_hash != want->logits_hash)
		fail_msg("%s: the bits of the logits differ", st.name);
	check_setting(&st, &beside, &got.stats);
}

static bool is_node(const char *numa)
{
	return numa[0] >= '0' && numa[0] <= '9';
}

static bool has_nodes(void)
{
	struct tr_topo all;

	tr_topo_read(&all);
	return all.node[0].id == 0;
}

static void run_below(const char *model, const struct result *want)
{
	size_t i;

	for (i = 0; i < TR_ARRAY_LEN(settings); i++)
		run_same(model, &settings[i], (struct beside){ 0 }, want);
	for (i = 0; i < TR_ARRAY_LEN(warm_settings); i++)
		run_same(model, &warm_settings[i], (struct beside){ .profile = base_trace }, want);
	for (i = 0; i < TR_ARRAY_LEN(on_nodes); i++)
		if (!is_node(on_nodes[i].numa) || has_nodes())
			run_same(model, &on_nodes[i].setting,
				(struct beside){ .numa = on_nodes[i].numa }, want);
	for (i = 0; i < TR_ARRAY_LEN(throttled); i++)
		run_same(model, &throttled[i].setting,
			(struct beside){ .throttle = throttled[i].throttle }, want);
}

/* With TR_DEVICE only what a device takes part in. */
static void run_matrix(const char *model)
{
	static const struct setting base = { "base", "scalar", "sync", "100%", NULL, "lru", 1, 16,
		NULL, NULL, 0 };
	struct result want;
	size_t i;

	run(model, &base, (struct beside){ .trace = base_trace }, &want);
	if (!getenv("TR_DEVICE"))
		run_below(model, &want);
	for (i = 0; i < TR_ARRAY_LEN(on_device); i++)
		run_same(model, &on_device[i].setting,
			(struct beside){ .device = &on_device[i],
				.profile = on_device[i].warm ? base_trace : NULL }, &want);
	for (i = 0; i < TR_ARRAY_LEN(layers_on_device); i++)
		run_same(model, &layers_on_device[i].setting,
			(struct beside){ .device = &layers_on_device[i] }, &want);
}

static char *demo_path(void)
{
	static char path[4096];

	snprintf(path, sizeof(path), "%s/models/demo-q4_0.gguf", getenv("TR_SRCDIR"));
	return path;
}

static void every_setting_gives_the_same_bits_with_q4_0_experts(void **state)
{
	(void)state;
	run_matrix(demo_path());
}

static void every_setting_gives_the_same_bits_with_mixed_experts(void **state)
{
	static const uint32_t type[] = { TR_QUANT_Q8_0, TR_QUANT_F16, TR_QUANT_Q8_0 };
	char path[4200];
	struct tr_err err;

	(void)state;
	snprintf(path, sizeof(path), "%s/mixed.gguf", work_dir);
	if (!requant_experts(demo_path(), path, type, &err))
		fail_msg("%s", err.msg);
	run_matrix(path);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_setting_gives_the_same_bits_with_mixed_experts),
		cmocka_unit_test(every_setting_gives_the_same_bits_with_q4_0_experts),
	};
	const char *build = getenv("TR_BUILDDIR");

	snprintf(work_dir, sizeof(work_dir), "%s/tests/invariance.dir", build ? build : "/tmp");
	snprintf(base_trace, sizeof(base_trace), "%s/base.trace", work_dir);
	mkdir(work_dir, 0755);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
