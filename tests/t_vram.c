/* t_vram.c - which experts VRAM has: classes of slots, copies that are earned, a warm start. */
#include "test.h"
#include "base/mem.h"
#include "cache/vram.h"
#include "policies/policy.h"

#include <stdio.h>

enum { N_LAYER = 12, N_EXPERT = 16, N_UNIT = N_LAYER * N_EXPERT };

static struct tr_err err;

/* A catalogue whose layers have matrices of so many rows of 256 bytes. */
struct bed {
	struct tr_moe_layer layer[N_LAYER];
	struct tr_unit unit[N_UNIT];
	struct tr_catalog catalog;
	bool takes[N_LAYER];
	struct tr_vram_plan plan;
	struct tr_vram_cfg cfg;
	struct tr_vram *vram;
	bool has_source[N_UNIT];
	uint32_t ids[N_UNIT];
};

static void make_catalog(struct bed *b, size_t n_layer, const uint64_t *rows)
{
	*b = (struct bed){ .catalog = { .n_layer = (uint32_t)n_layer, .n_expert = N_EXPERT,
				   .n_used = 4, .n_moe_layer = n_layer, .moe_layers = b->layer,
				   .n_unit = n_layer * N_EXPERT, .units = b->unit } };
	for (size_t l = 0; l < n_layer; l++) {
		b->takes[l] = true;
		b->layer[l] = (struct tr_moe_layer){ .layer = (uint32_t)l,
			.first_unit = (uint32_t)l * N_EXPERT };
		for (int p = 0; p < TR_N_PART; p++) {
			b->layer[l].rows[p] = rows[l];
			b->layer[l].row_bytes[p] = 256;
		}
		for (uint32_t e = 0; e < N_EXPERT; e++)
			b->unit[l * N_EXPERT + e] = (struct tr_unit){ .layer = (uint32_t)l,
				.expert = e, .bytes = rows[l] * 256 * TR_N_PART };
	}
	memset(b->has_source, true, sizeof(b->has_source));
}

static uint64_t slot(uint64_t rows)
{
	return rows * 256 * TR_N_PART;
}

static void open_vram(struct bed *b, const char *policy, uint64_t bytes, uint64_t token_bytes)
{
	tr_vram_make_plan(&b->plan, &b->catalog, b->takes, bytes);
	b->cfg.catalog = &b->catalog;
	b->cfg.plan = &b->plan;
	b->cfg.takes = b->takes;
	b->cfg.policy = policy;
	b->cfg.token_bytes = token_bytes;
	b->cfg.all_in_place = true;
	if (tr_vram_new(&b->vram, &b->cfg, &err))
		fail_msg("%s: %s", policy, err.msg);
}

static void check(struct bed *b)
{
	if (!tr_vram_check(b->vram, &err))
		fail_msg("%s", err.msg);
}

static enum tr_vram_source source(void *ctx, uint32_t id)
{
	return ((struct bed *)ctx)->has_source[id] ? TR_VRAM_IN_PLACE : TR_VRAM_NO_SOURCE;
}

/* One token that uses ids, and what it has copied; they are on their way. */
static uint32_t token(struct bed *b, const uint32_t *ids, size_t n)
{
	uint32_t n_copy;

	tr_vram_take(b->vram, ids, n, false);
	n_copy = tr_vram_tick(b->vram, source, b, b->ids);
	check(b);
	return n_copy;
}

static void end_copies(struct bed *b, uint32_t n, bool ok)
{
	for (uint32_t i = 0; i < n; i++)
		tr_vram_end_copy(b->vram, b->ids[i], ok);
	check(b);
}

#define SET(...) ((const uint32_t[]){ __VA_ARGS__ }), TR_ARRAY_LEN(((uint32_t[]){ __VA_ARGS__ }))

static void parts_begin_at_multiples_of_256(void **state)
{
	const struct tr_moe_layer l = { .rows = { 3, 3, 5 }, .row_bytes = { 100, 100, 77 } };
	uint64_t off[TR_N_PART];

	(void)state;
	assert_int_equal(tr_vram_layout(&l, off), 512 + 512 + 512);
	assert_int_equal(off[0], 0);
	assert_int_equal(off[1], 512);
	assert_int_equal(off[2], 1024);
}

static void experts_of_one_size_share_slots(void **state)
{
	static const uint64_t rows[] = { 4, 8, 4, 8 };
	struct bed b;

	(void)state;
	make_catalog(&b, 4, rows);
	tr_vram_make_plan(&b.plan, &b.catalog, b.takes, 0);
	assert_int_equal(b.plan.n_class, 2);
	assert_int_equal(b.plan.n_slot, 0);
	assert_int_equal(b.plan.all_bytes, 2 * N_EXPERT * (slot(4) + slot(8)));
	tr_vram_make_plan(&b.plan, &b.catalog, b.takes, b.plan.all_bytes + 12345);
	assert_int_equal(b.plan.n_slot, 4 * N_EXPERT);
	assert_int_equal(b.plan.bytes, b.plan.all_bytes);
	assert_int_equal(b.plan.class[0].slot_bytes, slot(4));
	assert_int_equal(b.plan.class[1].n_slot, 2 * N_EXPERT);
}

static void room_is_dealt_in_proportion_and_to_the_last_slot(void **state)
{
	static const uint64_t rows[] = { 4, 8, 4 };
	struct bed b;

	(void)state;
	make_catalog(&b, 3, rows);
	for (uint64_t bytes = 0; bytes < 3 * N_EXPERT * slot(8); bytes += 777) {
		const struct tr_vram_plan *p = &b.plan;

		tr_vram_make_plan(&b.plan, &b.catalog, b.takes, bytes);
		assert_true(p->bytes <= bytes);
		assert_int_equal(p->bytes, p->class[0].n_slot * slot(4) + p->class[1].n_slot * slot(8));
		assert_int_equal(p->n_slot, p->class[0].n_slot + p->class[1].n_slot);
		if (p->n_slot < 3 * N_EXPERT && p->class[0].n_slot < 2 * N_EXPERT)
			assert_true(bytes - p->bytes < slot(4)); /* not one more fits */
		/* As full as the other, but for what a slot is. */
		assert_true(2.0 * p->class[1].n_slot + 3 >= p->class[0].n_slot);
		assert_true(p->class[0].n_slot + 5.0 >= 2.0 * p->class[1].n_slot);
	}
}

static void more_sizes_than_classes_are_rounded_up(void **state)
{
	static const uint64_t rows[] = { 10, 20, 30, 40, 50, 60, 70, 80, 81, 100, 120, 140 };
	struct bed b;

	(void)state;
	make_catalog(&b, N_LAYER, rows);
	open_vram(&b, "lru", UINT64_MAX >> 20, 0);
	assert_int_equal(b.plan.n_class, TR_VRAM_MAX_CLASS);
	assert_int_equal(b.plan.n_slot, N_UNIT);
	for (size_t l = 0, sum = 0; l < b.plan.n_class; l++) {
		sum += b.plan.class[l].n_layer;
		assert_true(l + 1 < b.plan.n_class || sum == N_LAYER);
	}
	/* Each layer's units lie in slots that are large enough. */
	b.cfg.token_bytes = UINT64_MAX >> 20;
	tr_vram_free(b.vram);
	assert_int_equal(tr_vram_new(&b.vram, &b.cfg, &err), 0);
	for (uint32_t l = 0; l < N_LAYER; l++) {
		uint32_t id = l * N_EXPERT, n = 0, slot_idx;
		size_t class;

		while (!n)
			n = token(&b, &id, 1);
		assert_int_equal(n, 1);
		tr_vram_where(b.vram, id, &class, &slot_idx);
		assert_true(b.plan.class[class].slot_bytes >= slot(rows[l]));
		end_copies(&b, 1, true);
	}
	tr_vram_free(b.vram);
}

static void what_is_used_often_comes_when_its_copy_has_ended(void **state)
{
	static const uint64_t rows[] = { 4 };
	struct bed b;
	uint32_t n = 0, n_token = 0;

	(void)state;
	make_catalog(&b, 1, rows);
	open_vram(&b, "lru", 4 * slot(4), 2 * slot(4));
	while (!n && ++n_token < 100)
		n = token(&b, SET(3, 5));
	assert_int_equal(n, 2);
	assert_int_equal(n_token, 4); /* 3 uses pay for a copy, less what grew old */
	assert_false(tr_vram_has(b.vram, 3));
	token(&b, SET(3, 5));
	assert_false(tr_vram_has(b.vram, 3));
	b.ids[0] = 3;
	b.ids[1] = 5;
	end_copies(&b, 2, true);
	assert_true(tr_vram_has(b.vram, 3) && tr_vram_has(b.vram, 5));
	tr_vram_free(b.vram);
}

static void uses_are_counted_where_they_are_served(void **state)
{
	static const uint64_t rows[] = { 4 };
	struct tr_vram_counts c;
	struct bed b;
	uint32_t n = 0;

	(void)state;
	make_catalog(&b, 1, rows);
	open_vram(&b, "lru", 4 * slot(4), slot(4));
	while (!n)
		n = token(&b, SET(7));
	end_copies(&b, n, true);
	tr_vram_counts(b.vram, &c);
	assert_int_equal(c.hits, 0);
	assert_int_equal(c.misses, 4);
	tr_vram_take(b.vram, SET(7, 8, 9), false);
	tr_vram_take(b.vram, SET(7, 8), true);
	tr_vram_counts(b.vram, &c);
	assert_int_equal(c.hits, 2);
	assert_int_equal(c.misses, 4 + 3);
	assert_int_equal(c.bytes, 2 * b.unit[7].bytes);
	assert_int_equal(c.copied_units, 1);
	assert_int_equal(c.used_bytes, slot(4));
	tr_vram_free(b.vram);
}

static void nothing_is_copied_without_a_source(void **state)
{
	static const uint64_t rows[] = { 4 };
	struct bed b;

	(void)state;
	make_catalog(&b, 1, rows);
	open_vram(&b, "lru", 4 * slot(4), 4 * slot(4));
	b.has_source[3] = false;
	for (int i = 0; i < 20; i++) {
		tr_vram_take(b.vram, SET(3, 5), false);
		assert_int_equal(tr_vram_tick(b.vram, NULL, NULL, b.ids), 0);
	}
	assert_int_equal(token(&b, SET(3, 5)), 1);
	assert_int_equal(b.ids[0], 5);
	tr_vram_free(b.vram);
}

static void a_copy_that_failed_leaves_its_slot(void **state)
{
	static const uint64_t rows[] = { 4 };
	struct tr_vram_counts c;
	struct bed b;
	uint32_t n = 0;

	(void)state;
	make_catalog(&b, 1, rows);
	open_vram(&b, "lru", 1 * slot(4), slot(4));
	while (!n)
		n = token(&b, SET(3));
	end_copies(&b, 1, false);
	assert_false(tr_vram_has(b.vram, 3));
	tr_vram_counts(b.vram, &c);
	assert_int_equal(c.used_bytes, 0);
	assert_int_equal(c.copied_units, 0);
	assert_int_equal(token(&b, SET(3)), 1);
	end_copies(&b, 1, true);
	assert_true(tr_vram_has(b.vram, 3));
	tr_vram_free(b.vram);
}

/* A unit that is used as often as one that is here does not take its place. */
static void only_what_is_worth_more_makes_another_leave(void **state)
{
	static const uint64_t rows[] = { 4 };
	struct bed b;
	uint32_t n = 0;
	int i;

	(void)state;
	make_catalog(&b, 1, rows);
	open_vram(&b, "lru", 1 * slot(4), slot(4));
	while (!n)
		n = token(&b, SET(3));
	end_copies(&b, 1, true);
	for (i = 0; i < 50; i++)
		assert_int_equal(token(&b, SET(3, 4)), 0);
	for (n = 0, i = 0; !n && i < 100; i++)
		n = token(&b, SET(4));
	assert_int_equal(n, 1);
	assert_false(tr_vram_has(b.vram, 3));
	end_copies(&b, 1, true);
	assert_true(tr_vram_has(b.vram, 4));
	tr_vram_free(b.vram);
}

static void a_token_copies_no_more_bytes_than_it_may(void **state)
{
	static const uint64_t rows[] = { 4, 4 };
	struct bed b;
	uint32_t n;

	(void)state;
	make_catalog(&b, 2, rows);
	open_vram(&b, "lru", 32 * slot(4), 3 * slot(4));
	assert_int_equal(tr_vram_max_copies(b.vram), 3);
	for (int i = 0; i < 20; i++) {
		tr_vram_take(b.vram, SET(0, 1, 2, 3), false);
		n = token(&b, SET(16, 17, 18, 19));
		assert_true(n <= 3);
		end_copies(&b, n, true);
	}
	for (uint32_t id = 0; id < 4; id++)
		assert_true(tr_vram_has(b.vram, id) && tr_vram_has(b.vram, 16 + id));
	tr_vram_free(b.vram);
}

static void a_prefill_earns_no_copy(void **state)
{
	static const uint64_t rows[] = { 4 };
	struct bed b;

	(void)state;
	make_catalog(&b, 1, rows);
	open_vram(&b, "lru", 8 * slot(4), 8 * slot(4));
	for (int i = 0; i < 50; i++) {
		tr_vram_take(b.vram, SET(1, 2, 3), true);
		assert_int_equal(tr_vram_tick(b.vram, source, &b, b.ids), 0);
	}
	tr_vram_free(b.vram);
}

static void a_warm_start_brings_the_hottest_of_each_size(void **state)
{
	static const uint64_t rows[] = { 4, 8, 4 };
	static const uint32_t hot[] = { 20, 1, 33, 2, 21, 22, 34, 3 };
	struct bed b;
	uint32_t n;

	(void)state;
	make_catalog(&b, 3, rows);
	b.takes[2] = false;
	b.cfg.hot = hot;
	b.cfg.n_hot = TR_ARRAY_LEN(hot);
	open_vram(&b, "lru", 2 * (slot(4) + slot(8)), 0);
	n = tr_vram_warm(b.vram, b.ids);
	assert_int_equal(n, 4);
	end_copies(&b, n, true);
	for (uint32_t id = 0; id < 3 * N_EXPERT; id++)
		assert_int_equal(tr_vram_has(b.vram, id), id == 1 || id == 2 || id == 20 || id == 21);
	tr_vram_free(b.vram);
}

static void layers_that_the_device_lacks_kernels_for_stay_below(void **state)
{
	static const uint64_t rows[] = { 4, 4 };
	struct bed b;

	(void)state;
	make_catalog(&b, 2, rows);
	b.takes[1] = false;
	open_vram(&b, "lru", 64 * slot(4), 64 * slot(4));
	assert_int_equal(b.plan.n_slot, N_EXPERT);
	for (int i = 0; i < 20; i++)
		assert_int_equal(token(&b, SET(16, 17)), 0);
	assert_false(tr_vram_has(b.vram, 16));
	tr_vram_free(b.vram);
}

/* Skewed routing whose favourites move; copies end late, and one in ten fails. */
static void churn(const char *policy)
{
	static const uint64_t rows[] = { 4, 8, 4, 8 };
	uint32_t flying[N_UNIT], n_flying = 0;
	uint64_t seed = 88172645463325252u;
	struct tr_vram_counts c;
	struct bed b;

	make_catalog(&b, 4, rows);
	open_vram(&b, policy, 10 * slot(4) + 9 * slot(8), 6 * slot(8));
	for (int t = 0; t < 400; t++) {
		for (uint32_t l = 0; l < 4; l++) {
			uint32_t set[4];

			seed = seed * 6364136223846793005u + 1442695040888963407u;
			for (uint32_t i = 0; i < 4; i++)
				set[i] = l * N_EXPERT +
					(uint32_t)(4 * i + ((seed >> (20 + 8 * i)) % 16 ? t / 100 : 1) % 4);
			tr_vram_take(b.vram, set, 4, t % 7 == 0);
		}
		for (uint32_t i = 0; t % 3 == 0 && i < n_flying; i++)
			tr_vram_end_copy(b.vram, flying[i], (seed >> 40) % 10 != i % 10);
		if (t % 3 == 0)
			n_flying = 0;
		if (!n_flying) {
			n_flying = tr_vram_tick(b.vram, source, &b, b.ids);
			memcpy(flying, b.ids, n_flying * sizeof(*flying));
		} else {
			assert_int_equal(tr_vram_tick(b.vram, NULL, NULL, b.ids), 0);
		}
		check(&b);
	}
	tr_vram_counts(b.vram, &c);
	if (strcmp(policy, "none") != 0)
		assert_true(c.hits > 1000 && c.evictions > 0);
	else
		assert_int_equal(c.hits, 0);
	tr_vram_free(b.vram);
}

static void every_policy_keeps_the_tables_whole(void **state)
{
	(void)state;
	for (size_t i = 0; i < tr_policy_count(); i++)
		if (strcmp(tr_policy_at(i)->name, "belady") != 0) /* knows the future of a trace */
			churn(tr_policy_at(i)->name);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts_begin_at_multiples_of_256),
		cmocka_unit_test(experts_of_one_size_share_slots),
		cmocka_unit_test(room_is_dealt_in_proportion_and_to_the_last_slot),
		cmocka_unit_test(more_sizes_than_classes_are_rounded_up),
		cmocka_unit_test(what_is_used_often_comes_when_its_copy_has_ended),
		cmocka_unit_test(uses_are_counted_where_they_are_served),
		cmocka_unit_test(nothing_is_copied_without_a_source),
		cmocka_unit_test(a_copy_that_failed_leaves_its_slot),
		cmocka_unit_test(only_what_is_worth_more_makes_another_leave),
		cmocka_unit_test(a_token_copies_no_more_bytes_than_it_may),
		cmocka_unit_test(a_prefill_earns_no_copy),
		cmocka_unit_test(a_warm_start_brings_the_hottest_of_each_size),
		cmocka_unit_test(layers_that_the_device_lacks_kernels_for_stay_below),
		cmocka_unit_test(every_policy_keeps_the_tables_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
