/* t_promote.c - which units earn a copy, as a pure function of the uses. */
#include "test.h"
#include "base/mem.h"
#include "cache/promote.h"

enum { N_ID = 8 };

static void open_with(struct tr_promote *p, uint32_t n_max, const float *gain)
{
	struct tr_promote_cfg cfg = { .n_id = N_ID, .n_max = n_max, .gain = gain };

	assert_int_equal(tr_promote_init(p, &cfg), 0);
}

/* n uses in place by as many tokens; the last one's is offered still. */
static void use(struct tr_promote *p, uint32_t id, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (i)
			tr_promote_tick(p);
		tr_promote_note_use(p, id);
		tr_promote_offer(p, id);
	}
}

static void one_use_earns_no_copy(void **state)
{
	struct tr_promote p;

	(void)state;
	open_with(&p, 4, NULL);
	use(&p, 3, 1);
	assert_int_equal(tr_promote_rank(&p), 0);
	tr_promote_tick(&p);
	use(&p, 3, 2);
	assert_int_equal(tr_promote_rank(&p), 1);
	assert_int_equal(p.offered[0], 3);
	tr_promote_fini(&p);
}

static void uses_of_long_ago_count_little(void **state)
{
	struct tr_promote p;

	(void)state;
	open_with(&p, 4, NULL);
	use(&p, 3, 2);
	for (int i = 0; i < 100; i++)
		tr_promote_tick(&p);
	use(&p, 3, 1);
	assert_int_equal(tr_promote_rank(&p), 0);
	tr_promote_fini(&p);
}

static void the_most_used_come_first_and_no_more_than_allowed(void **state)
{
	struct tr_promote p;

	(void)state;
	open_with(&p, 2, NULL);
	for (uint32_t id = 0; id < 4; id++)
		for (uint32_t i = 0; i < 3 + id; i++)
			tr_promote_note_use(&p, id);
	for (uint32_t id = 0; id < 4; id++)
		tr_promote_offer(&p, id);
	assert_int_equal(tr_promote_rank(&p), 2);
	assert_int_equal(p.offered[0], 3);
	assert_int_equal(p.offered[1], 2);
	tr_promote_fini(&p);
}

static void equals_go_by_id_whatever_the_order_of_offers(void **state)
{
	static const uint32_t order[] = { 5, 1, 7, 2 };
	struct tr_promote p;

	(void)state;
	open_with(&p, 4, NULL);
	for (size_t i = 0; i < TR_ARRAY_LEN(order); i++) {
		for (int k = 0; k < 3; k++)
			tr_promote_note_use(&p, order[i]);
		tr_promote_offer(&p, order[i]);
	}
	assert_int_equal(tr_promote_rank(&p), 4);
	assert_int_equal(p.offered[0], 1);
	assert_int_equal(p.offered[1], 2);
	assert_int_equal(p.offered[2], 5);
	assert_int_equal(p.offered[3], 7);
	tr_promote_fini(&p);
}

static void a_victim_must_be_worth_less_than_what_comes_by_the_cost_of_the_copy(void **state)
{
	struct tr_promote p;

	(void)state;
	open_with(&p, 4, NULL);
	for (int i = 0; i < 4; i++)
		tr_promote_note_use(&p, 0);
	for (int i = 0; i < 2; i++)
		tr_promote_note_use(&p, 1);
	for (int i = 0; i < 3; i++)
		tr_promote_note_use(&p, 2);
	assert_true(tr_promote_pays(&p, 0, 1));
	assert_false(tr_promote_pays(&p, 0, 2));
	assert_false(tr_promote_pays(&p, 1, 0));
	tr_promote_fini(&p);
}

/* A victim whose home is the disk is dear. */
static void what_a_use_saves_depends_on_the_home(void **state)
{
	static const float gain[N_ID] = { 0.1f, 1, 0.1f, 0.1f };
	struct tr_promote p;

	(void)state;
	open_with(&p, 4, gain);
	for (int i = 0; i < 11; i++)
		tr_promote_note_use(&p, 0);
	tr_promote_note_use(&p, 1);
	tr_promote_note_use(&p, 2);
	assert_false(tr_promote_pays(&p, 0, 1));
	assert_true(tr_promote_pays(&p, 0, 2));
	tr_promote_note_use(&p, 0);
	tr_promote_note_use(&p, 0);
	assert_true(tr_promote_pays(&p, 0, 1));
	tr_promote_fini(&p);
}

static void an_offer_lapses_with_its_token(void **state)
{
	struct tr_promote p;

	(void)state;
	open_with(&p, 4, NULL);
	use(&p, 3, 5);
	tr_promote_offer(&p, 3); /* twice is once */
	assert_int_equal(p.n_offered, 1);
	tr_promote_tick(&p);
	assert_int_equal(tr_promote_rank(&p), 0);
	use(&p, 3, 1);
	assert_int_equal(tr_promote_rank(&p), 1);
	tr_promote_fini(&p);
}

static void no_copies_are_chosen_where_none_is_allowed(void **state)
{
	struct tr_promote p;

	(void)state;
	open_with(&p, 0, NULL);
	use(&p, 3, 5);
	assert_int_equal(tr_promote_rank(&p), 0);
	assert_null(p.uses);
	tr_promote_fini(&p);
}

/* Uses are scaled down every few thousand tokens, which changes no decision. */
static void a_long_run_decides_like_a_short_one(void **state)
{
	struct tr_promote p;

	(void)state;
	open_with(&p, 4, NULL);
	for (int i = 0; i < 100000; i++) {
		tr_promote_note_use(&p, 1);
		if (i % 2)
			tr_promote_note_use(&p, 2);
		tr_promote_tick(&p);
		assert_true(p.unit > 0 && p.uses[1] / p.unit < 48);
	}
	assert_true(tr_promote_pays(&p, 1, 2));
	assert_false(tr_promote_pays(&p, 2, 1));
	tr_promote_fini(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_use_earns_no_copy),
		cmocka_unit_test(uses_of_long_ago_count_little),
		cmocka_unit_test(the_most_used_come_first_and_no_more_than_allowed),
		cmocka_unit_test(equals_go_by_id_whatever_the_order_of_offers),
		cmocka_unit_test(a_victim_must_be_worth_less_than_what_comes_by_the_cost_of_the_copy),
		cmocka_unit_test(what_a_use_saves_depends_on_the_home),
		cmocka_unit_test(an_offer_lapses_with_its_token),
		cmocka_unit_test(no_copies_are_chosen_where_none_is_allowed),
		cmocka_unit_test(a_long_run_decides_like_a_short_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
