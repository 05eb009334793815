#include "test.h"
#include "gguf_write.h"
#include "model/catalog.h"

#include <stdio.h>

#define E 4  /* experts */
#define N 32 /* width of the model */
#define F 64 /* width of an expert */

/* Metadata of a model of two layers; tests add the tensors. */
static void begin_model(struct gw *w, uint32_t n_expert, uint32_t n_used)
{
	gw_begin(w, 3);
	gw_kv_str(w, "general.architecture", "toy");
	gw_kv_u32(w, "toy.block_count", 2);
	gw_kv_u32(w, "toy.embedding_length", N);
	gw_kv_u32(w, "toy.expert_count", n_expert);
	gw_kv_u32(w, "toy.expert_used_count", n_used);
}

static void stacked_layer(struct gw *w)
{
	gw_tensor(w, "blk.1.ffn_gate_exps.weight", TR_QUANT_Q4_0, N, F, E);
	gw_tensor(w, "blk.1.ffn_up_exps.weight", TR_QUANT_Q4_0, N, F, E);
	gw_tensor(w, "blk.1.ffn_down_exps.weight", TR_QUANT_Q8_0, F, N, E);
}

static struct tr_model *model_of(struct gw *w)
{
	struct tr_gguf *g;
	struct tr_model *m;
	struct tr_err err;

	gw_end(w);
	if (tr_gguf_parse(&g, w->p, w->n, w->n + w->data_bytes, &err))
		fail_msg("%s", err.msg);
	if (tr_model_from_gguf(&m, g, &err))
		fail_msg("%s", err.msg);
	return m;
}

static struct tr_catalog *catalog_of(const struct tr_model *m)
{
	struct tr_catalog *cat;
	struct tr_err err;

	if (tr_catalog_build(&cat, m, &err))
		fail_msg("%s", err.msg);
	return cat;
}

static void assert_extent(const struct tr_model *m, const struct tr_extent *x, const char *tensor,
	uint64_t off, uint64_t bytes)
{
	const struct tr_tensor *t = tr_model_find(m, "%s", tensor);

	assert_non_null(t);
	assert_int_equal(x->shard, t->shard);
	assert_int_equal(x->off, t->file_off + off);
	assert_int_equal(x->bytes, bytes);
}

static void demo_model_has_5_layers_of_64_experts(void **state)
{
	const char *src = getenv("TR_SRCDIR");
	const struct tr_moe_layer *ml;
	struct tr_catalog *cat;
	struct tr_model *m;
	struct tr_err err;
	char path[4096];
	size_t n_expert_tensor = 0;

	(void)state;
	snprintf(path, sizeof(path), "%s/models/demo-q4_0.gguf", src ? src : ".");
	if (tr_model_open(&m, path, &err))
		fail_msg("%s", err.msg);
	cat = catalog_of(m);
	assert_int_equal(cat->n_layer, 6);
	assert_int_equal(cat->n_moe_layer, 5);
	assert_int_equal(cat->n_expert, 64);
	assert_int_equal(cat->n_used, 4);
	assert_int_equal(cat->n_unit, 320);
	assert_int_equal(cat->moe_of_layer[0], -1);
	assert_int_equal(cat->moe_of_layer[5], 4);
	/* 3 matrices of 128 x 256 weights in blocks of 32 values, 18 bytes each */
	assert_int_equal(cat->unit_bytes_max, 3 * 128 * 256 / 32 * 18);
	assert_int_equal(cat->bytes, 320 * cat->unit_bytes_max);
	assert_int_equal(cat->floor_bytes, 5 * 4 * cat->unit_bytes_max);
	ml = &cat->moe_layers[2];
	assert_int_equal(ml->layer, 3);
	assert_int_equal(ml->first_unit, 128);
	assert_int_equal(ml->rows[TR_PART_DOWN], 256);
	assert_int_equal(ml->cols[TR_PART_DOWN], 128);
	assert_int_equal(cat->units[128 + 7].layer, 3);
	assert_int_equal(cat->units[128 + 7].expert, 7);
	for (size_t i = 0; i < m->n_tensor; i++)
		n_expert_tensor += tr_catalog_is_expert_tensor(m->tensors[i].name);
	assert_int_equal(n_expert_tensor, 15);
	tr_catalog_free(cat);
	tr_model_close(m);
}

static void stacked_experts_lie_behind_each_other(void **state)
{
	const uint64_t gate = N / 32 * 18 * F, down = F / 32 * 34 * N;
	struct tr_catalog *cat;
	struct tr_model *m;
	struct gw w;

	(void)state;
	begin_model(&w, E, 2);
	stacked_layer(&w);
	m = model_of(&w);
	cat = catalog_of(m);
	assert_int_equal(cat->n_unit, E);
	assert_int_equal(cat->moe_of_layer[0], -1);
	assert_int_equal(cat->moe_of_layer[1], 0);
	for (uint32_t e = 0; e < E; e++) {
		const struct tr_unit *u = &cat->units[e];

		assert_int_equal(u->layer, 1);
		assert_int_equal(u->expert, e);
		assert_int_equal(u->bytes, 2 * gate + down);
		assert_extent(m, &u->part[0], "blk.1.ffn_gate_exps.weight", e * gate, gate);
		assert_extent(m, &u->part[1], "blk.1.ffn_up_exps.weight", e * gate, gate);
		assert_extent(m, &u->part[2], "blk.1.ffn_down_exps.weight", e * down, down);
	}
	assert_int_equal(cat->floor_bytes, 2 * (2 * gate + down));
	assert_string_equal(cat->moe_layers[0].quant[TR_PART_DOWN]->name, "Q8_0");
	tr_catalog_free(cat);
	tr_model_close(m);
	gw_free(&w);
}

static void fused_gate_and_up_are_two_halves_of_an_expert(void **state)
{
	const uint64_t half = N / 32 * 18 * F;
	struct tr_catalog *cat;
	struct tr_model *m;
	struct gw w;

	(void)state;
	begin_model(&w, E, 2);
	gw_tensor(&w, "blk.0.ffn_gate_up_exps.weight", TR_QUANT_Q4_0, N, 2 * F, E);
	gw_tensor(&w, "blk.0.ffn_down_exps.weight", TR_QUANT_Q4_0, F, N, E);
	m = model_of(&w);
	cat = catalog_of(m);
	for (uint32_t e = 0; e < E; e++) {
		const struct tr_unit *u = &cat->units[e];

		assert_extent(m, &u->part[0], "blk.0.ffn_gate_up_exps.weight", 2 * e * half, half);
		assert_extent(m, &u->part[1], "blk.0.ffn_gate_up_exps.weight", (2 * e + 1) * half,
			half);
	}
	assert_int_equal(cat->moe_layers[0].rows[TR_PART_GATE], F);
	assert_int_equal(cat->moe_layers[0].rows[TR_PART_UP], F);
	tr_catalog_free(cat);
	tr_model_close(m);
	gw_free(&w);
}

static void single_tensors_are_gathered(void **state)
{
	static const char *const parts[] = { "gate", "up", "down" };
	struct tr_catalog *cat;
	struct tr_model *m;
	char name[64];
	struct gw w;

	(void)state;
	begin_model(&w, E, 1);
	for (int e = E - 1; e >= 0; e--) /* any order will do */
		for (int p = 0; p < 3; p++) {
			snprintf(name, sizeof(name), "blk.1.ffn_%s.%d.weight", parts[p], e);
			gw_tensor(&w, name, TR_QUANT_F16, p < 2 ? N : F, p < 2 ? F : N);
		}
	m = model_of(&w);
	cat = catalog_of(m);
	assert_int_equal(cat->n_unit, E);
	for (int e = 0; e < E; e++)
		for (int p = 0; p < 3; p++) {
			snprintf(name, sizeof(name), "blk.1.ffn_%s.%d.weight", parts[p], e);
			assert_extent(m, &cat->units[e].part[p], name, 0, 2 * N * F);
		}
	tr_catalog_free(cat);
	tr_model_close(m);
	gw_free(&w);
}

static void layers_may_differ_in_type(void **state)
{
	struct tr_catalog *cat;
	struct tr_model *m;
	struct gw w;

	(void)state;
	begin_model(&w, E, 2);
	gw_tensor(&w, "blk.0.ffn_gate_exps.weight", TR_QUANT_F32, N, F, E);
	gw_tensor(&w, "blk.0.ffn_up_exps.weight", TR_QUANT_F16, N, F, E);
	gw_tensor(&w, "blk.0.ffn_down_exps.weight", TR_QUANT_F32, F, N, E);
	stacked_layer(&w);
	m = model_of(&w);
	cat = catalog_of(m);
	assert_int_equal(cat->n_moe_layer, 2);
	assert_int_equal(cat->units[0].bytes, 10 * N * F);
	assert_int_equal(cat->unit_bytes_max, 10 * N * F);
	assert_true(cat->units[E].bytes < cat->units[0].bytes);
	assert_int_equal(cat->bytes, E * (cat->units[0].bytes + cat->units[E].bytes));
	tr_catalog_free(cat);
	tr_model_close(m);
	gw_free(&w);
}

static void model_without_experts_gives_an_empty_catalogue(void **state)
{
	struct tr_catalog *cat;
	struct tr_model *m;
	struct gw w;

	(void)state;
	gw_begin(&w, 3);
	gw_kv_str(&w, "general.architecture", "toy");
	gw_kv_u32(&w, "toy.block_count", 2);
	gw_kv_u32(&w, "toy.embedding_length", N);
	gw_tensor(&w, "blk.0.ffn_gate.weight", TR_QUANT_F32, N, F);
	m = model_of(&w);
	cat = catalog_of(m);
	assert_int_equal(cat->n_layer, 2);
	assert_int_equal(cat->n_unit, 0);
	assert_int_equal(cat->n_moe_layer, 0);
	assert_int_equal(cat->bytes, 0);
	assert_int_equal(cat->moe_of_layer[1], -1);
	tr_catalog_free(cat);
	tr_model_close(m);
	gw_free(&w);
}

/* --- refusals --------------------------------------------------------------------------------- */

static void no_block_count(struct gw *w)
{
	gw_begin(w, 3);
	gw_kv_str(w, "general.architecture", "toy");
}

static void no_embedding_length(struct gw *w)
{
	gw_begin(w, 3);
	gw_kv_str(w, "general.architecture", "toy");
	gw_kv_u32(w, "toy.block_count", 2);
}

static void no_used_count(struct gw *w)
{
	no_embedding_length(w);
	gw_kv_u32(w, "toy.embedding_length", N);
	gw_kv_u32(w, "toy.expert_count", E);
	stacked_layer(w);
}

static void too_many_layers(struct gw *w)
{
	no_block_count(w);
	gw_kv_u32(w, "toy.block_count", 513);
}

static void too_many_experts(struct gw *w)
{
	begin_model(w, 5000, 1);
}

static void more_used_than_there_are(struct gw *w)
{
	begin_model(w, E, E + 1);
	stacked_layer(w);
}

static void experts_without_count(struct gw *w)
{
	no_embedding_length(w);
	gw_kv_u32(w, "toy.embedding_length", N);
	stacked_layer(w);
}

static void count_without_experts(struct gw *w)
{
	begin_model(w, E, 1);
}

static void router_without_experts(struct gw *w)
{
	begin_model(w, E, 1);
	stacked_layer(w);
	gw_tensor(w, "blk.0.ffn_gate_inp.weight", TR_QUANT_F32, N, E);
}

static void no_up(struct gw *w)
{
	begin_model(w, E, 1);
	gw_tensor(w, "blk.1.ffn_gate_exps.weight", TR_QUANT_Q4_0, N, F, E);
	gw_tensor(w, "blk.1.ffn_down_exps.weight", TR_QUANT_Q4_0, F, N, E);
}

static void fused_without_down(struct gw *w)
{
	begin_model(w, E, 1);
	gw_tensor(w, "blk.1.ffn_gate_up_exps.weight", TR_QUANT_Q4_0, N, 2 * F, E);
}

static void fused_and_separate(struct gw *w)
{
	begin_model(w, E, 1);
	stacked_layer(w);
	gw_tensor(w, "blk.1.ffn_gate_up_exps.weight", TR_QUANT_Q4_0, N, 2 * F, E);
}

static void fused_odd(struct gw *w)
{
	begin_model(w, E, 1);
	gw_tensor(w, "blk.1.ffn_gate_up_exps.weight", TR_QUANT_Q4_0, N, 2 * F + 1, E);
	gw_tensor(w, "blk.1.ffn_down_exps.weight", TR_QUANT_Q4_0, F, N, E);
}

static void stacked_and_single(struct gw *w)
{
	begin_model(w, E, 1);
	stacked_layer(w);
	gw_tensor(w, "blk.1.ffn_gate.0.weight", TR_QUANT_Q4_0, N, F);
}

static void three_experts_of_four(struct gw *w)
{
	begin_model(w, E, 1);
	gw_tensor(w, "blk.1.ffn_gate_exps.weight", TR_QUANT_Q4_0, N, F, 3);
	gw_tensor(w, "blk.1.ffn_up_exps.weight", TR_QUANT_Q4_0, N, F, E);
	gw_tensor(w, "blk.1.ffn_down_exps.weight", TR_QUANT_Q4_0, F, N, E);
}

static void flat_experts(struct gw *w)
{
	begin_model(w, 1, 1);
	gw_tensor(w, "blk.1.ffn_gate_exps.weight", TR_QUANT_Q4_0, N, F);
	gw_tensor(w, "blk.1.ffn_up_exps.weight", TR_QUANT_Q4_0, N, F);
	gw_tensor(w, "blk.1.ffn_down_exps.weight", TR_QUANT_Q4_0, F, N);
}

static void shaped(struct gw *w, uint64_t gate_in, uint64_t up_in, uint64_t up_out,
	uint64_t down_in, uint64_t down_out)
{
	begin_model(w, E, 1);
	gw_tensor(w, "blk.1.ffn_gate_exps.weight", TR_QUANT_Q4_0, gate_in, F, E);
	gw_tensor(w, "blk.1.ffn_up_exps.weight", TR_QUANT_Q4_0, up_in, up_out, E);
	gw_tensor(w, "blk.1.ffn_down_exps.weight", TR_QUANT_Q4_0, down_in, down_out, E);
}

static void gate_too_wide(struct gw *w)
{
	shaped(w, 2 * N, N, F, F, N);
}

static void up_too_wide(struct gw *w)
{
	shaped(w, N, 2 * N, F, F, N);
}

static void up_unlike_gate(struct gw *w)
{
	shaped(w, N, N, F + 1, F, N);
}

static void down_in_unlike_gate(struct gw *w)
{
	shaped(w, N, N, F, 2 * F, N);
}

static void down_out_unlike_model(struct gw *w)
{
	shaped(w, N, N, F, F, N + 1);
}

static void unlike_expert_length(struct gw *w)
{
	begin_model(w, E, 1);
	gw_kv_u32(w, "toy.expert_feed_forward_length", 2 * F);
	stacked_layer(w);
}

static void single_missing(struct gw *w)
{
	begin_model(w, 2, 1);
	gw_tensor(w, "blk.1.ffn_gate.0.weight", TR_QUANT_Q4_0, N, F);
	gw_tensor(w, "blk.1.ffn_gate.1.weight", TR_QUANT_Q4_0, N, F);
	gw_tensor(w, "blk.1.ffn_up.0.weight", TR_QUANT_Q4_0, N, F);
}

static void single_of_another_type(struct gw *w)
{
	begin_model(w, 2, 1);
	gw_tensor(w, "blk.1.ffn_gate.0.weight", TR_QUANT_Q4_0, N, F);
	gw_tensor(w, "blk.1.ffn_gate.1.weight", TR_QUANT_Q8_0, N, F);
}

static void single_of_another_shape(struct gw *w)
{
	begin_model(w, 2, 1);
	gw_tensor(w, "blk.1.ffn_gate.0.weight", TR_QUANT_Q4_0, N, F);
	gw_tensor(w, "blk.1.ffn_gate.1.weight", TR_QUANT_Q4_0, N, F + 1);
}

static void single_in_3_dimensions(struct gw *w)
{
	begin_model(w, 2, 1);
	gw_tensor(w, "blk.1.ffn_gate.0.weight", TR_QUANT_Q4_0, N, F, 1);
}

static void what_does_not_fit_together_is_refused(void **state)
{
	static const struct {
		void (*make)(struct gw *w);
		const char *says;
	} bad[] = {
		{ no_block_count, "key 'toy.block_count' is missing" },
		{ no_embedding_length, "key 'toy.embedding_length' is missing" },
		{ no_used_count, "key 'toy.expert_used_count' is missing" },
		{ too_many_layers, "key 'toy.block_count': value 513 is not in [1, 512]" },
		{ too_many_experts, "key 'toy.expert_count': value 5000 is not in [0, 4096]" },
		{ more_used_than_there_are, "'toy.expert_used_count': value 5 is not in [1, 4]" },
		{ experts_without_count, "1 layers have expert tensors, but key 'toy.exp" },
		{ count_without_experts, "value 4, but no layer has expert tensors" },
		{ router_without_experts, "layer 0: has a router but no expert tensors" },
		{ no_up, "tensor 'blk.1.ffn_up_exps.weight' is missing" },
		{ fused_without_down, "tensor 'blk.1.ffn_down_exps.weight' is missing" },
		{ fused_and_separate, "layer 1: has fused ffn_gate_up_exps and separate" },
		{ fused_odd, "129 rows do not halve into gate and up" },
		{ stacked_and_single, "layer 1: has stacked expert tensors and single ones" },
		{ three_experts_of_four, "3 dimensions and 3 experts, must have 3 and 4" },
		{ flat_experts, "has 2 dimensions and 1 experts, must have 3 and 1" },
		{ gate_too_wide, "ffn_gate has input width 64, must be 32" },
		{ up_too_wide, "ffn_up has input width 64, must be 32" },
		{ up_unlike_gate, "ffn_up has output width 65, must be 64" },
		{ down_in_unlike_gate, "ffn_down has input width 128, must be 64" },
		{ down_out_unlike_model, "ffn_down has output width 33, must be 32" },
		{ unlike_expert_length, "ffn_gate has output width 64, must be 128" },
		{ single_missing, "tensor 'blk.1.ffn_up.1.weight' is missing" },
		{ single_of_another_type, "is Q8_0 {32, 64}, the layer's first expert is Q4_0" },
		{ single_of_another_shape, "is Q4_0 {32, 65}, the layer's first expert is Q4_0" },
		{ single_in_3_dimensions, "has 3 dimensions, must have 2" },
	};
	struct tr_catalog *cat;
	struct tr_model *m;
	struct tr_err err;
	struct gw w;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		bad[i].make(&w);
		m = model_of(&w);
		if (!tr_catalog_build(&cat, m, &err))
			fail_msg("accepted, must say '%s'", bad[i].says);
		assert_null(cat);
		assert_err_has(&err, bad[i].says);
		assert_true(tr_catalog_build(&cat, m, NULL) < 0);
		tr_model_close(m);
		gw_free(&w);
	}
}

static void expert_tensors_are_known_by_name(void **state)
{
	static const char *const yes[] = { "blk.0.ffn_gate_exps.weight",
		"blk.60.ffn_up_exps.weight", "blk.1.ffn_down_exps.weight", "blk.1.ffn_gate_up_exps.weight",
		"blk.3.ffn_gate.0.weight", "blk.3.ffn_up.7.weight", "blk.31.ffn_down.383.weight" };
	static const char *const no[] = { "blk.0.ffn_gate.weight", "blk.0.ffn_gate_inp.weight",
		"blk.0.ffn_gate_shexp.weight", "blk.0.ffn_down_exps.bias", "output.weight",
		"blk.0.ffn_norm.weight", "blk.0.ffn_norm.1.weight", "blk.0.attn_k_b.weight",
		"xblk.0.ffn_gate_exps.weight", "blk.0.ffn_gate_exps.weights",
		"blk.0.ffn_gate.0.weight.x", "blk.0.ffn_gate.0.bias", "" };

	(void)state;
	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
		if (!tr_catalog_is_expert_tensor(yes[i]))
			fail_msg("%s holds experts", yes[i]);
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		if (tr_catalog_is_expert_tensor(no[i]))
			fail_msg("%s holds no experts", no[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(demo_model_has_5_layers_of_64_experts),
		cmocka_unit_test(stacked_experts_lie_behind_each_other),
		cmocka_unit_test(fused_gate_and_up_are_two_halves_of_an_expert),
		cmocka_unit_test(single_tensors_are_gathered),
		cmocka_unit_test(layers_may_differ_in_type),
		cmocka_unit_test(model_without_experts_gives_an_empty_catalogue),
		cmocka_unit_test(what_does_not_fit_together_is_refused),
		cmocka_unit_test(expert_tensors_are_known_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
