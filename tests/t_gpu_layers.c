/*
 * t_gpu_layers.c - layers on a device: where parts go, the bits of the CPU, waits of the host,
 * faults.
 *
 * The device is the host device unless TR_DEVICE names another; faults are the host device's in any
 * case. So this shows that the engine asks for the right operations in the
 * right order. The demo model has 6 layers, the first of them dense.
 */
#include "test.h"
#include "base/mem.h"
#include "engine/engine.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define N_LAYER	 6
#define N_DENSE	 1
#define N_CTX	 400
#define N_PROMPT 300 /* more than a chunk of positions of attention */
#define N_GEN	 8
#define N_LOAD	 90 /* operations of loading all layers */

static struct tr_err err;

static const char *demo_path(void)
{
	static char path[4096];

	snprintf(path, sizeof(path), "%s/models/demo-q4_0.gguf", getenv("TR_SRCDIR"));
	return path;
}

/* The device to test: TR_DEVICE, or the host device. */
static const char *tested_device(void)
{
	const char *named = getenv("TR_DEVICE");

	return named ? named : "host";
}

static struct tr_engine_opts demo(const char *device, const char *vram, unsigned n_batch)
{
	return (struct tr_engine_opts){ .model_path = demo_path(),
		.n_ctx = N_CTX,
		.n_batch = n_batch,
		.n_thread = 2,
		.dram = "100%",
		.device = device,
		.vram = vram };
}

static struct tr_engine *open_engine(const struct tr_engine_opts *opts)
{
	struct tr_engine *e;

	if (tr_engine_open(&e, opts, &err))
		fail_msg("%s", err.msg);
	return e;
}

static struct tr_session *open_session(struct tr_engine *e)
{
	struct tr_session *s;

	if (tr_session_new(&s, e, &err))
		fail_msg("%s", err.msg);
	return s;
}

static void feed(struct tr_session *s, const int32_t *ids, size_t n)
{
	if (tr_session_feed(s, ids, n, &err))
		fail_msg("%s", err.msg);
}

static void make_prompt(int32_t *ids, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		ids[i] = (int32_t)((37 * i * i + 11 * i + seed) % 4000);
}

/* --- where parts go --------------------------------------------------------------------------- */

#define N 4 /* layers of the tests of places */

struct sizes {
	uint64_t part[TR_N_GPU_PART][N];
};

static uint64_t size_of(const void *ctx, enum tr_gpu_part part, uint32_t layer)
{
	return ((const struct sizes *)ctx)->part[part][layer];
}

static const struct sizes even = { { { 10, 10, 10, 10 }, { 5, 5, 5, 5 }, { 30 } } };

static struct tr_gpu_place place(const struct sizes *s, uint64_t room)
{
	const struct tr_gpu_wish wish = { N, 7, 2, size_of, s };
	struct tr_gpu_place p;

	assert_int_equal(tr_gpu_place_new(&p, &wish, room, &err), 0);
	assert_int_equal(p.room, room);
	assert_true(tr_gpu_place_bytes(&p) <= room);
	return p;
}

static void attention_goes_first_then_networks_then_the_head(void **state)
{
	static const struct {
		uint64_t room;
		uint32_t n[TR_N_GPU_PART];
	} cases[] = {
		{ 0, { 0, 0, 0 } },
		{ 18, { 0, 0, 0 } },
		{ 19, { 1, 0, 0 } },
		{ 54, { 3, 0, 0 } },
		{ 55, { 4, 0, 0 } },
		{ 59, { 4, 0, 0 } },
		{ 60, { 4, 1, 0 } },
		{ 74, { 4, 3, 0 } },
		{ 104, { 4, 4, 0 } },
		{ 105, { 4, 4, 1 } },
		{ 1000, { 4, 4, 1 } },
	};

	(void)state;
	for (size_t i = 0; i < TR_ARRAY_LEN(cases); i++) {
		struct tr_gpu_place p = place(&even, cases[i].room);

		assert_memory_equal(p.n, cases[i].n, sizeof(p.n));
		assert_int_equal(p.wanted_bytes, 105);
		assert_int_equal(p.kv_bytes, 2 * p.n[0]);
		assert_int_equal(p.scratch_bytes, p.n[0] ? 7 : 0);
		assert_int_equal(p.weight_bytes, 10 * p.n[0] + 5 * p.n[1] + 30 * p.n[2]);
		for (uint32_t l = 0; l < N; l++)
			assert_int_equal(p.on[TR_GPU_ATTENTION][l], l < p.n[TR_GPU_ATTENTION]);
		tr_gpu_place_free(&p);
	}
}

static void what_has_no_kernel_keeps_nothing_else_away(void **state)
{
	static const struct sizes odd = { { { 10, 0, 10, 10 }, { 0, 5, 5, 5 }, { 30 } } };
	struct tr_gpu_place p = place(&odd, 1000);
	static const bool attention[] = { true, false, true, true };
	static const bool ffn[] = { false, false, true,
		true }; /* not where the layer is elsewhere */

	(void)state;
	assert_memory_equal(p.on[TR_GPU_ATTENTION], attention, sizeof(attention));
	assert_memory_equal(p.on[TR_GPU_FFN], ffn, sizeof(ffn));
	assert_true(p.on[TR_GPU_HEAD][0]);
	tr_gpu_place_free(&p);
}

static void nothing_is_placed_where_no_layer_attends(void **state)
{
	static const struct sizes none = { { { 0 }, { 5, 5, 5, 5 }, { 30 } } };
	struct tr_gpu_place p = place(&none, 1000);

	(void)state;
	assert_int_equal(tr_gpu_place_bytes(&p), 0);
	assert_int_equal(p.n[1] + p.n[2], 0);
	tr_gpu_place_free(&p);
}

/* --- bits ------------------------------------------------------------------------------------- */

struct result {
	int32_t ids[N_GEN];
	float logits[1 + N_GEN][16384];
};

static int32_t argmax(const float *x, size_t n)
{
	size_t at = 0;

	for (size_t i = 1; i < n; i++)
		if (x[i] > x[at])
			at = i;
	return (int32_t)at;
}

static void keep(struct result *r, size_t i, struct tr_engine *e, const struct tr_session *s)
{
	size_t n = tr_vocab_size(tr_engine_tokenizer(e));

	assert_true(n <= TR_ARRAY_LEN(r->logits[0]));
	memcpy(r->logits[i], tr_session_logits(s), n * sizeof(float));
	if (i < N_GEN)
		r->ids[i] = argmax(r->logits[i], n);
}

static struct result *run(const struct tr_engine_opts *opts, size_t n_prompt)
{
	struct tr_engine *e = open_engine(opts);
	struct tr_session *s = open_session(e);
	struct result *r = calloc(1, sizeof(*r));
	int32_t prompt[N_PROMPT];

	make_prompt(prompt, n_prompt, 300);
	feed(s, prompt, n_prompt);
	keep(r, 0, e, s);
	for (size_t i = 0; i < N_GEN; i++) {
		feed(s, &r->ids[i], 1);
		keep(r, i + 1, e, s);
	}
	tr_session_free(s);
	tr_engine_close(e);
	return r;
}

static void a_device_gives_the_bits_of_the_cpu(void **state)
{
	static const unsigned batch[] = { 1, 16, 37, 512 };
	static const enum tr_kv_type type[] = { TR_KV_F16, TR_KV_F32, TR_KV_Q8_0 };

	(void)state;
	for (size_t k = 0; k < TR_ARRAY_LEN(type); k++) {
		struct tr_engine_opts opts = demo("none", NULL, 512);
		struct result *want, *got;

		opts.kv_type = type[k];
		want = run(&opts, N_PROMPT);
		for (size_t i = 0; i < TR_ARRAY_LEN(batch); i++) {
			opts = demo(tested_device(), NULL, batch[i]);
			opts.kv_type = type[k];
			got = run(&opts, N_PROMPT);
			assert_memory_equal(got, want, sizeof(*got));
			free(got);
		}
		free(want);
	}
}

/* From nothing to everything: all that lies between. */
static void any_part_of_the_layers_gives_the_same_bits(void **state)
{
	struct tr_engine_opts opts = demo("none", NULL, 16);
	struct result *want = run(&opts, 40), *got;
	struct tr_gpu_place p = { 0 };
	uint32_t n_seen = 0, last = 0, now;
	uint64_t bytes = 0;
	char vram[32];

	(void)state;
	for (now = 0; !p.n[TR_GPU_HEAD]; last = now) {
		struct tr_engine *e;

		bytes += 64 << 10;
		snprintf(vram, sizeof(vram), "%llu", (unsigned long long)bytes);
		opts = demo(tested_device(), vram, 16);
		e = open_engine(&opts);
		p = e->setup.place;
		now = p.n[0] + p.n[1] + p.n[2];
		assert_true(now >= last);
		tr_engine_close(e);
		if (now == last)
			continue;
		n_seen++;
		got = run(&opts, 40);
		assert_memory_equal(got, want, sizeof(*got));
		free(got);
	}
	assert_true(n_seen >= 8);
	assert_int_equal(now, 2 * N_LAYER + 1);
	free(want);
}

static void sessions_that_take_turns_keep_their_own_rows(void **state)
{
	enum { N_SESSION = 3, N_TURN = 4 };
	static const size_t step[N_TURN] = { 20, 1, 33, 1 };
	struct result *r[2][N_SESSION];

	(void)state;
	for (int k = 0; k < 2; k++) {
		struct tr_engine_opts opts = demo(k ? tested_device() : "none", NULL, 16);
		struct tr_engine *e = open_engine(&opts);
		struct tr_session *s[N_SESSION];
		int32_t prompt[64];
		size_t at = 0;

		for (unsigned i = 0; i < N_SESSION; i++) {
			s[i] = open_session(e);
			r[k][i] = calloc(1, sizeof(*r[k][i]));
		}
		for (size_t t = 0; t < N_TURN; at += step[t++])
			for (unsigned i = 0; i < N_SESSION; i++) {
				make_prompt(prompt, TR_ARRAY_LEN(prompt), 100 * i);
				feed(s[i], prompt + at, step[t]);
				keep(r[k][i], t, e, s[i]);
				if (t == 1 && i == 1) { /* one leaves while its rows are there */
					tr_session_free(s[i]);
					s[i] = open_session(e);
					feed(s[i], prompt, at + step[t]);
				}
			}
		for (unsigned i = 0; i < N_SESSION; i++)
			tr_session_free(s[i]);
		tr_engine_close(e);
	}
	for (unsigned i = 0; i < N_SESSION; i++) {
		assert_memory_equal(r[0][i], r[1][i], sizeof(*r[0][i]));
		free(r[0][i]);
		free(r[1][i]);
	}
}

/* One is decoded behind where graphs for few positions end, the other before it. */
static void sessions_at_positions_far_apart_are_decoded_in_turns(void **state)
{
	static const size_t n_prompt[2] = { 250, 5 };
	struct result *r[2][2];

	(void)state;
	for (int k = 0; k < 2; k++) {
		struct tr_engine_opts opts = demo(k ? tested_device() : "none", NULL, 512);
		struct tr_engine *e = open_engine(&opts);
		struct tr_session *s[2];
		int32_t prompt[2][N_PROMPT];

		for (unsigned i = 0; i < 2; i++) {
			s[i] = open_session(e);
			r[k][i] = calloc(1, sizeof(*r[k][i]));
			make_prompt(prompt[i], N_PROMPT, 100 * i);
			feed(s[i], prompt[i], n_prompt[i]);
		}
		for (size_t t = 0; t < 12; t++)
			for (unsigned i = 0; i < 2; i++) {
				feed(s[i], prompt[i] + n_prompt[i] + t, 1);
				keep(r[k][i], t % (1 + N_GEN), e, s[i]);
			}
		for (unsigned i = 0; i < 2; i++)
			tr_session_free(s[i]);
		tr_engine_close(e);
	}
	for (unsigned i = 0; i < 2; i++) {
		assert_memory_equal(r[0][i], r[1][i], sizeof(*r[0][i]));
		free(r[0][i]);
		free(r[1][i]);
	}
}

static void the_context_ends_where_it_does_without(void **state)
{
	struct tr_engine_opts opts = demo(tested_device(), NULL, 512);
	struct tr_engine *e = open_engine(&opts);
	struct tr_session *s = open_session(e);
	int32_t prompt[N_CTX];

	(void)state;
	make_prompt(prompt, N_CTX, 1);
	feed(s, prompt, N_CTX);
	assert_int_equal(tr_session_feed(s, prompt, 1, &err), TR_E_LIMIT);
	assert_err_has(&err, "the context of 400 tokens");
	tr_session_free(s);
	tr_engine_close(e);
}

/* --- attention -------------------------------------------------------------------------------- */

/* Name of the at-th operation of an engine that is opened and fed n tokens; "" when there are
 * fewer. */
static void name_operation(char *name, size_t cap, unsigned at, unsigned n_batch, size_t n)
{
	struct tr_engine_opts opts = demo("host", "0%", n_batch);
	int32_t prompt[N_PROMPT];
	char device[64], *begin;
	struct tr_engine *e;
	struct tr_session *s;

	snprintf(device, sizeof(device), "host,fail=%u", at);
	opts.device = device;
	e = open_engine(&opts);
	s = open_session(e);
	make_prompt(prompt, n, 1);
	name[0] = '\0';
	if (tr_session_feed(s, prompt, n, &err)) {
		begin = strchr(strstr(err.msg, "operation "), '(') + 1;
		snprintf(name, cap, "%.*s", (int)strcspn(begin, ")"), begin);
	}
	tr_session_free(s);
	tr_engine_close(e);
}

/* A prompt of 300 goes by slices of 128; the demo model has 8 heads, so 64 tokens are 512 pairs. */
static void many_tokens_attend_by_the_operation_for_prompts_and_few_by_the_other(void **state)
{
	static const struct {
		unsigned n_batch;
		unsigned n_prefill, n_mla; /* of the first layer */
	} cases[] = { { 512, 2, 1 }, { 64, 1, 0 }, { 63, 0, 1 } };

	(void)state;
	for (size_t i = 0; i < TR_ARRAY_LEN(cases); i++) {
		size_t n = TR_MIN(cases[i].n_batch, (unsigned)N_PROMPT);
		unsigned n_prefill = 0, n_mla = 0;
		char name[32] = "";
		unsigned n_all = cases[i].n_prefill + cases[i].n_mla;

		for (unsigned at = N_LOAD + 1; n_prefill + n_mla < n_all; at++) {
			name_operation(name, sizeof(name), at, cases[i].n_batch, n);
			assert_true(name[0]);
			n_prefill += !strcmp(name, "mla_prefill");
			n_mla += !strcmp(name, "mla");
		}
		assert_int_equal(n_prefill, cases[i].n_prefill);
		assert_int_equal(n_mla, cases[i].n_mla);
	}
}

/* --- memory ----------------------------------------------------------------------------------- */

/* Pages of the tensor's bytes that the process has, of all that lie whole within it. */
static size_t pages_of(const struct tr_engine *e, const char *name, size_t *all)
{
	const struct tr_tensor *t = tr_model_find(e->setup.model, "%s", name);
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)tr_resident_data(e->resident, t);
	uintptr_t begin = TR_ALIGN_UP(at, page), end = TR_ALIGN_DOWN(at + t->bytes, page);
	unsigned char here[4096];
	size_t n = 0;

	*all = begin < end ? (end - begin) / page : 0;
	assert_true(*all && *all <= sizeof(here));
	assert_int_equal(mincore((void *)begin, end - begin, here), 0);
	for (size_t i = 0; i < *all; i++)
		n += here[i] & 1;
	return n;
}

static void memory_keeps_no_copy_unless_the_run_may_go_on_without_the_device(void **state)
{
	static const char *const moved[] = { "blk.1.attn_q_b.weight", "blk.1.attn_output.weight",
		"blk.0.ffn_down.weight" };

	(void)state;
	for (int keep = 0; keep < 2; keep++) {
		struct tr_engine_opts opts = demo(tested_device(), "0%", 16);
		struct tr_engine *e;
		size_t all, n;

		opts.device_lost = keep ? "continue" : "stop";
		e = open_engine(&opts);
		for (size_t i = 0; i < TR_ARRAY_LEN(moved); i++) {
			n = pages_of(e, moved[i], &all);
			assert_int_equal(n, keep ? all : 0);
		}
		n = pages_of(e, "token_embd.weight", &all);
		assert_int_equal(n, all);
		tr_engine_close(e);
	}
}

/* Pages that the process has of all resident weights, in bytes. */
static uint64_t bytes_in_memory(const struct tr_engine *e)
{
	const struct tr_model *m = e->setup.model;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), n = 0;
	unsigned char here[4096];

	for (size_t i = 0; i < m->n_tensor; i++) {
		const struct tr_tensor *t = &m->tensors[i];
		uintptr_t at, begin, end;

		if (tr_catalog_is_expert_tensor(t->name))
			continue;
		at = (uintptr_t)tr_resident_data(e->resident, t);
		begin = TR_ALIGN_UP(at, page);
		end = TR_ALIGN_DOWN(at + t->bytes, page);
		if (begin >= end)
			continue;
		assert_true((end - begin) / page <= sizeof(here));
		assert_int_equal(mincore((void *)begin, end - begin, here), 0);
		for (size_t k = 0; k < (end - begin) / page; k++)
			n += (here[k] & 1) * page;
	}
	return n;
}

static void what_the_plan_says_is_freed_is(void **state)
{
	static const char *const predictor[] = { NULL, "gate" };
	struct tr_engine_opts opts = demo("none", NULL, 16);
	struct tr_engine *e = open_engine(&opts);
	uint64_t all = bytes_in_memory(e), freed[2], said[2];

	(void)state;
	tr_engine_close(e);
	for (int i = 0; i < 2; i++) {
		opts = demo(tested_device(), "0%", 16);
		opts.predictor = predictor[i];
		e = open_engine(&opts);
		freed[i] = all - bytes_in_memory(e);
		said[i] = e->setup.freed_weight_bytes;
		/* The plan leaves out two pages of each of 12 matrices a layer. */
		assert_in_range(freed[i] - said[i], 0, N_LAYER * 12 * 2 * 4096);
		tr_engine_close(e);
	}
	/* Who foresees keeps the routers: 64 experts, 256 values, F32. */
	assert_true(said[0] - said[1] > (N_LAYER - N_DENSE) * 64 * 256 * 3);
	assert_true(said[1] > all / 2);
}

static struct tr_setup setup_of(const char *device, const char *lost)
{
	struct tr_engine_opts opts = demo(device, "0%", 16);
	struct tr_setup s;

	opts.device_lost = lost;
	if (!strcmp(device, "none"))
		opts.vram = NULL;
	if (tr_setup_open(&s, &opts, &err))
		fail_msg("%s", err.msg);
	return s;
}

/* Of what there is 512 MiB are left alone. */
static void main_memory_that_the_device_frees_goes_to_experts(void **state)
{
	struct tr_memory memory = { .machine_bytes = 0, .group_bytes = UINT64_MAX };
	struct tr_setup cpu = setup_of("none", NULL), dev = setup_of("host", "stop"),
			kept = setup_of("host", "continue");
	uint64_t own;

	(void)state;
	/* The host device has no memory of its own; a GPU has. */
	assert_true(dev.gpu->info.is_main_memory && dev.vram_bytes > 0);
	own = dev.fixed_bytes - dev.vram_bytes;
	assert_true(dev.freed_kv_bytes == dev.plan.kv_bytes && dev.freed_weight_bytes > 0);
	assert_int_equal(cpu.fixed_bytes - own, dev.freed_weight_bytes + dev.freed_kv_bytes);
	assert_int_equal(dev.plan.freed_bytes, dev.freed_weight_bytes + dev.freed_kv_bytes);
	assert_int_equal(kept.fixed_bytes - kept.vram_bytes, cpu.fixed_bytes);
	assert_int_equal(cpu.plan.freed_bytes + kept.plan.freed_bytes, 0);
	memory.machine_bytes = (512ull << 20) + cpu.fixed_bytes + 1000000;
	assert_int_equal(tr_setup_dram(&cpu, &memory), 1000000);
	dev.fixed_bytes = own;
	assert_int_equal(tr_setup_dram(&dev, &memory), 1000000 + dev.plan.freed_bytes);
	tr_setup_close(&cpu);
	tr_setup_close(&dev);
	tr_setup_close(&kept);
}

static uint64_t scratch_of(unsigned n_batch)
{
	struct tr_engine_opts opts = demo("host", NULL, n_batch);
	struct tr_setup s;
	uint64_t bytes;

	opts.n_ctx = 1024;
	if (tr_setup_open(&s, &opts, &err))
		fail_msg("%s", err.msg);
	bytes = s.place.scratch_bytes;
	assert_true(bytes > 0);
	tr_setup_close(&s);
	return bytes;
}

/* Residual stream, inputs and shared experts of a chunk, and little else, have room for all
 * tokens. */
static void scratch_is_for_a_slice_but_for_three_rows_a_token(void **state)
{
	const uint64_t row = 256 * sizeof(float);

	(void)state;
	assert_true(scratch_of(128) - scratch_of(64) > 64 * 8 * row);
	assert_true(scratch_of(1024) - scratch_of(128) > 896 * 3 * row);
	assert_true(scratch_of(1024) - scratch_of(128) < 896 * 7 * row / 2);
	assert_true(scratch_of(1024) < 8 << 20);
}

/* --- what a token takes of the device --------------------------------------------------------- */

static struct tr_device_info info_of(struct tr_engine *e)
{
	struct tr_device_info info;

	assert_int_equal(tr_device_info(e->setup.gpu->dev, &info, &err), 0);
	return info;
}

/* What feeding takes. */
struct taken {
	int64_t n_wait, n_queued, n_copy, n_made;
};

static struct taken feed_and_count(
	struct tr_engine *e, struct tr_session *s, const int32_t *ids, size_t n)
{
	struct tr_device_info a = info_of(e), b;

	feed(s, ids, n);
	b = info_of(e);
	return (struct taken){ (int64_t)(b.n_wait - a.n_wait), (int64_t)(b.n_queued - a.n_queued),
		(int64_t)(b.n_copy - a.n_copy), (int64_t)(b.n_made - a.n_made) };
}

static void the_host_waits_once_a_layer_with_experts(void **state)
{
	struct tr_engine_opts opts = demo(tested_device(), "0%", 512);
	struct tr_engine *e = open_engine(&opts);
	struct tr_session *s = open_session(e);
	static const size_t n_tok[] = { 40, 1, 1 };
	int32_t prompt[40];

	(void)state;
	make_prompt(prompt, TR_ARRAY_LEN(prompt), 1);
	for (size_t i = 0; i < TR_ARRAY_LEN(n_tok); i++) /* And for the logits. */
		assert_int_equal(feed_and_count(e, s, prompt, n_tok[i]).n_wait,
			N_LAYER - N_DENSE + 1);
	tr_session_free(s);
	tr_engine_close(e);
}

/* Two graphs a layer and one for the head, an event where the host waits. One by one, what they
 * hold are 191 calls. */
static void a_decoded_token_is_queued_by_three_calls_a_layer_and_makes_nothing(void **state)
{
	enum { N_MOE = N_LAYER - N_DENSE };
	struct tr_engine_opts opts = demo(tested_device(), "0%", 512);
	struct tr_engine *e = open_engine(&opts);
	struct tr_session *s = open_session(e), *other = open_session(e);
	const int n_graph = 2 * N_LAYER + 1;
	int32_t prompt[40];
	struct taken t;

	(void)state;
	make_prompt(prompt, TR_ARRAY_LEN(prompt), 1);
	t = feed_and_count(e, s, prompt, 2);
	assert_int_equal(t.n_made, 0);
	assert_true(t.n_queued > 150);
	for (int i = 0; i < 40; i++) {
		t = feed_and_count(e, s, prompt + i, 1);
		assert_int_equal(t.n_queued, n_graph + N_MOE);
		assert_int_equal(t.n_made, i ? 0 : n_graph);
		/* In and out of the device once, a layer's experts out and in, as one by one. */
		assert_int_equal(t.n_copy, 2 + 2 * N_MOE);
	}
	/* Graphs are not a session's. */
	assert_int_equal(feed_and_count(e, other, prompt, 1).n_made, 0);
	tr_session_free(s);
	tr_session_free(other);
	tr_engine_close(e);
}

/* A graph of attention is for positions before 256, 1024 and so on. */
static void graphs_of_attention_are_made_anew_where_positions_outgrow_them_and_kept(void **state)
{
	struct tr_engine_opts opts = demo(tested_device(), "0%", 512);
	struct tr_engine *e = open_engine(&opts);
	struct tr_session *s = open_session(e), *other = open_session(e);
	int32_t prompt[N_PROMPT];
	struct taken t;

	(void)state;
	make_prompt(prompt, N_PROMPT, 1);
	feed(s, prompt, 253);
	for (int i = 253; i < 260; i++) {
		t = feed_and_count(e, s, prompt + i, 1);
		assert_int_equal(t.n_made, i == 253 ? 2 * N_LAYER + 1 : i == 256 ? N_LAYER : 0);
	}
	for (int i = 0; i < 3; i++) {
		assert_int_equal(feed_and_count(e, other, prompt + i, 1).n_made, 0);
		assert_int_equal(feed_and_count(e, s, prompt + i, 1).n_made, 0);
	}
	tr_session_free(s);
	tr_session_free(other);
	tr_engine_close(e);
}

/* An engine whose VRAM has the experts that feeding ids uses, and gets no others. */
static struct tr_engine *open_with_experts_in_vram(const int32_t *ids, size_t n)
{
	char trace[] = "/tmp/t_gpu_layers.XXXXXX";
	struct tr_engine_opts opts = demo("none", NULL, 512);
	struct tr_engine *e;
	struct tr_session *s;
	int fd = mkstemp(trace);

	assert_true(fd >= 0);
	close(fd);
	opts.trace = trace;
	e = open_engine(&opts);
	s = open_session(e);
	for (size_t i = 0; i < n; i++) /* a prompt would use fewer in the last layer */
		feed(s, ids + i, 1);
	tr_session_free(s);
	tr_engine_close(e);
	opts = demo(tested_device(), "100%", 512);
	opts.profile = trace;
	opts.promote = "off";
	opts.device_fetch = "off";
	e = open_engine(&opts);
	unlink(trace);
	return e;
}

/* The input of experts is on the device already, and their list is fetched from where the host left
 * it. */
static void experts_in_vram_take_one_copy_and_one_wait_a_layer_more(void **state)
{
	enum { N_MOE = N_LAYER - N_DENSE };
	int32_t prompt[40];
	struct tr_engine *e;
	struct tr_session *s;
	struct taken t;

	(void)state;
	make_prompt(prompt, TR_ARRAY_LEN(prompt), 1);
	e = open_with_experts_in_vram(prompt, TR_ARRAY_LEN(prompt));
	s = open_session(e);
	for (size_t i = 0; i < TR_ARRAY_LEN(prompt); i++) {
		t = feed_and_count(e, s, prompt + i, 1);
		assert_int_equal(t.n_copy, 2 + 3 * N_MOE);
		assert_int_equal(t.n_wait, 1 + 2 * N_MOE);
		assert_int_equal(t.n_made, i ? 0 : 2 * N_LAYER + 1);
		/* Besides graphs and events: input, list, experts, outputs, event. */
		assert_int_equal(t.n_queued, 2 * N_LAYER + 1 + N_MOE + 5 * N_MOE);
	}
	tr_session_free(s);
	s = open_session(e);
	t = feed_and_count(e, s, prompt, TR_ARRAY_LEN(prompt));
	assert_int_equal(t.n_copy, 2 + 3 * N_MOE);
	assert_int_equal(t.n_wait, 1 + 2 * N_MOE);
	assert_int_equal(t.n_made, 0);
	tr_session_free(s);
	tr_engine_close(e);
}

/* --- faults ----------------------------------------------------------------------------------- */

static void a_device_lost_anywhere_is_an_error_and_no_more(void **state)
{
	int32_t prompt[20];
	unsigned n_open = 0, n_feed = 0, n_decode = 0;

	(void)state;
	make_prompt(prompt, TR_ARRAY_LEN(prompt), 1);
	for (unsigned at = 1;; at += at < 20 ? 7 : 41) {
		char device[64];
		struct tr_engine_opts opts;
		struct tr_engine *e;
		struct tr_session *s;
		int rc;

		snprintf(device, sizeof(device), "host,fail=%u", at);
		opts = demo(device, NULL, 7);
		rc = tr_engine_open(&e, &opts, &err);
		if (rc) {
			assert_int_equal(rc, TR_E_IO);
			assert_err_has(&err, "the device is lost");
			n_open++;
			continue;
		}
		s = open_session(e);
		rc = tr_session_feed(s, prompt, TR_ARRAY_LEN(prompt), &err);
		if (rc) {
			assert_int_equal(rc, TR_E_IO);
			assert_err_has(&err, "the device is lost");
			assert_true(tr_session_n_past(s) % 7 == 0 && tr_session_n_past(s) < 20);
			assert_int_equal(tr_session_feed(s, prompt, 1, &err), TR_E_IO);
			n_feed++;
		}
		for (int i = 0; i < 3 && !rc; i++) { /* the first notes the graphs */
			rc = tr_session_feed(s, prompt, 1, &err);
			if (!rc)
				continue;
			assert_int_equal(rc, TR_E_IO);
			assert_err_has(&err, "the device is lost");
			assert_int_equal(tr_session_n_past(s), 20 + i);
			assert_int_equal(tr_session_feed(s, prompt, 1, &err), TR_E_IO);
			n_decode++;
		}
		tr_session_free(s);
		tr_engine_close(e);
		if (!rc)
			break;
	}
	assert_true(n_open > 2 && n_feed > 5 && n_decode > 5);
}

/* Feeds as run() does, with the prompt in two parts and a second session that takes turns. */
static struct result *run_beside_another(const struct tr_engine_opts *opts, size_t n_prompt)
{
	struct tr_engine *e = open_engine(opts);
	struct tr_session *s = open_session(e), *other = open_session(e);
	struct result *r = calloc(1, sizeof(*r));
	int32_t prompt[N_PROMPT];

	make_prompt(prompt, n_prompt, 300);
	feed(s, prompt, n_prompt / 2);
	feed(other, prompt + 1, 3);
	feed(s, prompt + n_prompt / 2, n_prompt - n_prompt / 2);
	keep(r, 0, e, s);
	for (size_t i = 0; i < N_GEN; i++) {
		feed(s, &r->ids[i], 1);
		keep(r, i + 1, e, s);
		feed(other, prompt + i, 1);
	}
	tr_session_free(s);
	tr_session_free(other);
	tr_engine_close(e);
	return r;
}

static void a_run_goes_on_by_the_cpu_with_the_same_bits(void **state)
{
	struct tr_engine_opts opts = demo("none", NULL, 7);
	struct result *want = run(&opts, 20), *got;

	(void)state;
	for (unsigned at = N_LOAD + 1; at < 3500; at += 397) {
		char device[64];

		snprintf(device, sizeof(device), "host,fail=%u", at);
		opts = demo(device, "0%", 7);
		opts.device_lost = "continue";
		got = run(&opts, 20);
		assert_memory_equal(got, want, sizeof(*got));
		free(got);
		got = run_beside_another(&opts, 20);
		assert_memory_equal(got, want, sizeof(*got));
		free(got);
	}
	free(want);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(attention_goes_first_then_networks_then_the_head),
		cmocka_unit_test(what_has_no_kernel_keeps_nothing_else_away),
		cmocka_unit_test(nothing_is_placed_where_no_layer_attends),
		cmocka_unit_test(a_device_gives_the_bits_of_the_cpu),
		cmocka_unit_test(any_part_of_the_layers_gives_the_same_bits),
		cmocka_unit_test(sessions_that_take_turns_keep_their_own_rows),
		cmocka_unit_test(sessions_at_positions_far_apart_are_decoded_in_turns),
		cmocka_unit_test(the_context_ends_where_it_does_without),
		cmocka_unit_test(
			many_tokens_attend_by_the_operation_for_prompts_and_few_by_the_other),
		cmocka_unit_test(scratch_is_for_a_slice_but_for_three_rows_a_token),
		cmocka_unit_test(
			memory_keeps_no_copy_unless_the_run_may_go_on_without_the_device),
		cmocka_unit_test(what_the_plan_says_is_freed_is),
		cmocka_unit_test(main_memory_that_the_device_frees_goes_to_experts),
		cmocka_unit_test(the_host_waits_once_a_layer_with_experts),
		cmocka_unit_test(
			a_decoded_token_is_queued_by_three_calls_a_layer_and_makes_nothing),
		cmocka_unit_test(
			graphs_of_attention_are_made_anew_where_positions_outgrow_them_and_kept),
		cmocka_unit_test(experts_in_vram_take_one_copy_and_one_wait_a_layer_more),
		cmocka_unit_test(a_device_lost_anywhere_is_an_error_and_no_more),
		cmocka_unit_test(a_run_goes_on_by_the_cpu_with_the_same_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
