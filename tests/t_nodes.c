/*
 * A whole engine bound to the NUMA nodes of this machine: what lies where, and that the output is the
 * same without. In the guest of tests/vm there are two nodes, and the store is on a third.
 */
#include "node_pages.h"
#include "base/mem.h"
#include "engine/engine.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define N_TOKEN 24

struct fixture {
	struct tr_topo topo;
	struct tr_engine *e;
	struct tr_session *s;
	char pmem[4200];
	const char *pmem_list[1];
};

static const char *model_path(void)
{
	static char path[4096];
	const char *model = getenv("TR_TEST_MODEL");

	snprintf(path, sizeof(path), "%s/models/demo-q4_0.gguf", getenv("TR_SRCDIR"));
	return model ? model : path;
}

/* pmem: share of the experts in a store; NULL: none. */
static void start(struct fixture *f, const char *numa, const char *pmem)
{
	const char *dir = getenv("TR_TEST_STORE_DIR"), *build = getenv("TR_BUILDDIR");
	struct tr_engine_opts opts = { .model_path = model_path(), .n_ctx = 1024, .cpu = "avx2",
		.n_thread = 2, .dram = "100%", .policy = "lru", .numa = numa,
		.pmem = f->pmem_list };
	struct tr_err err;
	int32_t ids[N_TOKEN];

	if (pmem) {
		snprintf(f->pmem, sizeof(f->pmem), "%s/tests/nodes.dir", build ? build : "/tmp");
		if (!dir)
			mkdir(f->pmem, 0755);
		else
			snprintf(f->pmem, sizeof(f->pmem), "%s", dir);
		strncat(f->pmem, ":", 2);
		strncat(f->pmem, pmem, 8);
		f->pmem_list[0] = f->pmem;
		opts.n_pmem = 1;
	}
	if (!tr_kernels_get(TR_ISA_AVX2))
		opts.cpu = "scalar";
	if (tr_engine_open(&f->e, &opts, &err) || tr_session_new(&f->s, f->e, &err))
		fail_msg("%s", err.msg);
	for (int i = 0; i < N_TOKEN; i++)
		ids[i] = (37 * i * i + 11 * i + 300) % 4000;
	if (tr_session_feed(f->s, ids, N_TOKEN / 2, &err))
		fail_msg("%s", err.msg);
	for (int i = N_TOKEN / 2; i < N_TOKEN; i++)
		if (tr_session_feed(f->s, &ids[i], 1, &err))
			fail_msg("%s", err.msg);
}

static void stop(struct fixture *f)
{
	tr_session_free(f->s);
	tr_engine_close(f->e);
}

static const char *all_nodes(struct fixture *f)
{
	f->topo = bound_nodes(2);
	return f->topo.n_node > 1 ? "auto" : "0";
}

static void resident_rows_lie_where_they_are_computed(void **state)
{
	struct fixture f = { 0 };
	const struct tr_model *m;
	size_t n = 0;

	(void)state;
	start(&f, all_nodes(&f), NULL);
	m = f.e->setup.model;
	for (size_t i = 0; i < m->n_tensor; i++) {
		const struct tr_tensor *t = &m->tensors[i];

		if (tr_catalog_is_expert_tensor(t->name) || t->bytes < 64u << 10)
			continue;
		n += check_rows(&f.topo, tr_resident_data(f.e->resident, t),
			t->ne[1] * t->ne[2] * t->ne[3], t->row_bytes, 0);
	}
	assert_true(n > 100);
	stop(&f);
}

/* A unit's place in its slot differs from that of others by less than two pages. */
static void rows_of_experts_lie_where_they_are_computed(void **state)
{
	struct fixture f = { 0 };
	const struct tr_catalog *c;
	struct tr_handle h;
	size_t n = 0;

	(void)state;
	start(&f, all_nodes(&f), NULL);
	c = f.e->setup.catalog;
	for (uint32_t id = 0; id < c->n_unit; id++) {
		const struct tr_moe_layer *l = &c->moe_layers[id / c->n_expert];

		assert_int_equal(tr_cache_acquire(f.e->cache, &id, 1, 0, &h), 1);
		while (h.state == TR_HANDLE_LOADING)
			tr_cache_wait(f.e->cache, &h, 1);
		assert_int_equal(h.state, TR_HANDLE_READY);
		for (int p = 0; p < TR_N_PART; p++)
			n += check_rows(&f.topo, h.part[p], l->rows[p], l->row_bytes[p], 2 * PAGE);
		tr_cache_release(f.e->cache, &h, 1);
	}
	assert_true(n > c->n_unit);
	stop(&f);
}

static void positions_are_spread_over_all_nodes(void **state)
{
	struct fixture f = { 0 };
	struct tr_kv kv;
	size_t n[TR_MAX_NODE], bytes;

	(void)state;
	f.topo = bound_nodes(2);
	assert_int_equal(tr_kv_init(&kv, TR_KV_F16, 16, 4096, 576, NULL), 0);
	tr_kv_interleave(&kv, &f.topo);
	bytes = tr_kv_bytes(TR_KV_F16, 16, 4096, 576);
	memset(kv.data, 0, bytes);
	count_pages(&f.topo, kv.data, bytes, n);
	for (unsigned k = 0; k < f.topo.n_node; k++)
		assert_true(n[k] + 1024 >= bytes / PAGE / f.topo.n_node);
	tr_kv_fini(&kv);
}

static void a_store_belongs_to_the_node_next_to_it(void **state)
{
	const char *want = getenv("TR_TEST_STORE_NODE"); /* index; without it the page cache serves */
	struct fixture f = { 0 };

	(void)state;
	start(&f, all_nodes(&f), "40%");
	assert_int_equal(f.e->pmem.node[1], want ? atoi(want) : -1);
	stop(&f);
}

static void logits(const char *numa, const char *pmem, float *out, size_t n)
{
	struct fixture f = { 0 };

	start(&f, numa, pmem);
	assert_true(n <= tr_vocab_size(tr_engine_tokenizer(f.e)));
	memcpy(out, tr_session_logits(f.s), n * sizeof(*out));
	stop(&f);
}

static void output_is_the_same_without_binding(void **state)
{
	static float bound[4000], off[4000], store[4000];
	struct fixture f = { 0 };

	(void)state;
	logits(all_nodes(&f), NULL, bound, 4000);
	logits("off", NULL, off, 4000);
	logits(all_nodes(&f), "40%", store, 4000);
	assert_memory_equal(bound, off, sizeof(off));
	assert_memory_equal(store, off, sizeof(off));
}

static void the_caller_may_run_where_it_could_before(void **state)
{
	struct fixture f = { 0 };
	cpu_set_t before, after;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	start(&f, all_nodes(&f), NULL);
	assert_int_equal(sched_getaffinity(0, sizeof(after), &after), 0);
	assert_true(CPU_EQUAL(&before, &after));
	stop(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(resident_rows_lie_where_they_are_computed),
		cmocka_unit_test(rows_of_experts_lie_where_they_are_computed),
		cmocka_unit_test(positions_are_spread_over_all_nodes),
		cmocka_unit_test(a_store_belongs_to_the_node_next_to_it),
		cmocka_unit_test(output_is_the_same_without_binding),
		cmocka_unit_test(the_caller_may_run_where_it_could_before),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
