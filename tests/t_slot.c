#include "test.h"
#include "base/mem.h"
#include "cache/slot.h"

#include <errno.h>
#include <sys/mman.h>

#define MIB (1ull << 20)

static void stride_rounds_to_huge_pages_only_where_cheap(void **state)
{
	(void)state;
	assert_int_equal(tr_slot_stride(0), 4096);
	assert_int_equal(tr_slot_stride(1), 4096);
	assert_int_equal(tr_slot_stride(4096), 4096);
	assert_int_equal(tr_slot_stride(4097), 8192);
	assert_int_equal(tr_slot_stride(2 * MIB), 2 * MIB);
	assert_int_equal(tr_slot_stride(2 * MIB - 4096), 2 * MIB);
	assert_int_equal(tr_slot_stride(2 * MIB + 1), 2 * MIB + 4096);
	assert_int_equal(tr_slot_stride(33 * MIB), 34 * MIB);
}

static void check_layout(uint64_t bytes, uint32_t n, uint64_t align)
{
	uint64_t stride = tr_slot_stride(bytes), region_bytes;
	struct tr_slots *s;
	struct tr_err err;
	uint32_t region, n_region = 0, n_inside = 0;
	bool place;

	assert_int_equal(tr_slots_open(&s, n, bytes, -1, &err), 0);
	for (uint32_t i = 0; i < n; i++) {
		uint8_t *p = tr_slot_addr(s, i);

		assert_int_equal((uintptr_t)p % align, 0);
		p[0] = (uint8_t)i;
		p[bytes - 1] = (uint8_t)i;
	}
	for (; (region = tr_slots_claim(s, UINT64_MAX, &place)) != TR_NO_SLOT; n_region++) {
		uint8_t *base = tr_slots_region(s, region, &region_bytes);

		assert_int_equal(region, n_region);
		assert_false(place);
		assert_true(region_bytes <= TR_MAX(stride, 1024 * MIB));
		for (uint32_t i = 0; i < n; i++)
			n_inside += (uint8_t *)tr_slot_addr(s, i) >= base &&
				(uint8_t *)tr_slot_addr(s, i) + stride <= base + region_bytes;
	}
	assert_int_equal(n_inside, n);
	for (uint32_t i = 0; i < n; i++) {
		assert_int_equal(((uint8_t *)tr_slot_addr(s, i))[0], (uint8_t)i);
		assert_int_equal(((uint8_t *)tr_slot_addr(s, i))[bytes - 1], (uint8_t)i);
	}
	assert_int_equal(n_region, (n * stride + 256 * MIB - 1) / (256 * MIB));
	tr_slots_close(s);
}

static void slots_are_aligned_and_apart(void **state)
{
	(void)state;
	check_layout(5000, 1000, 4096);
	check_layout(2 * MIB, 7, 2 * MIB);
	check_layout(64 * MIB, 9, 2 * MIB);
}

static void a_slot_larger_than_a_region_gets_its_own(void **state)
{
	struct tr_slots *s;
	uint64_t bytes;

	(void)state;
	assert_int_equal(tr_slots_open(&s, 2, 300 * MIB, -1, NULL), 0);
	assert_ptr_equal(tr_slots_region(s, 0, &bytes), tr_slot_addr(s, 0));
	assert_int_equal(bytes, 300 * MIB);
	assert_ptr_equal(tr_slots_region(s, 1, &bytes), tr_slot_addr(s, 1));
	tr_slots_close(s);
}

static void regions_are_claimed_a_little_ahead_of_the_slots_taken(void **state)
{
	struct tr_slots *s;
	bool place;

	(void)state;
	/* four slots a region */
	assert_int_equal(tr_slots_open(&s, 24, 64 * MIB, -1, NULL), 0);
	assert_int_equal(tr_slots_claim(s, 512 * MIB, &place), 0);
	assert_int_equal(tr_slots_claim(s, 512 * MIB, &place), 1);
	assert_int_equal(tr_slots_claim(s, 512 * MIB, &place), TR_NO_SLOT);
	for (uint32_t i = 0; i < 4; i++) {
		assert_int_equal(tr_slot_take(s), i);
		assert_true(tr_slots_is_claimable(s, 512 * MIB) == (i == 0));
		assert_int_equal(tr_slots_claim(s, 512 * MIB, &place), i ? TR_NO_SLOT : 2);
	}
	assert_int_equal(tr_slot_take(s), 4);
	assert_int_equal(tr_slots_claim(s, 1, &place), TR_NO_SLOT);
	assert_int_equal(tr_slots_claim(s, UINT64_MAX, &place), 3);
	assert_int_equal(tr_slots_claim(s, UINT64_MAX, &place), 4);
	assert_int_equal(tr_slots_claim(s, UINT64_MAX, &place), 5);
	assert_int_equal(tr_slots_claim(s, UINT64_MAX, &place), TR_NO_SLOT);
	tr_slots_close(s);
}

static void touched_slots_are_taken_again_first(void **state)
{
	struct tr_slots *s;

	(void)state;
	assert_int_equal(tr_slots_open(&s, 3, 4096, -1, NULL), 0);
	assert_int_equal(tr_slot_take(s), 0);
	assert_int_equal(tr_slot_take(s), 1);
	tr_slot_give(s, 0);
	assert_int_equal(tr_slot_take(s), 0);
	assert_int_equal(tr_slot_take(s), 2);
	assert_int_equal(tr_slots_n_free(s), 0);
	assert_int_equal(tr_slot_take(s), TR_NO_SLOT);
	tr_slots_close(s);
}

static void touching_changes_nothing(void **state)
{
	uint8_t *p = tr_pages_alloc(4 * MIB);

	(void)state;
	p[5] = 7;
	if (!tr_pages_touch(p, 4 * MIB))
		skip();
	assert_int_equal(p[5], 7);
	assert_int_equal(p[3 * MIB], 0);
	tr_pages_free(p, 4 * MIB);
}

static size_t n_resident_page(void *p, size_t bytes)
{
	static unsigned char in_core[16 * MIB / 4096];
	size_t n = 0;

	for (size_t at = 0; at < bytes; at += 16 * MIB) {
		assert_int_equal(mincore((uint8_t *)p + at, 16 * MIB, in_core), 0);
		for (size_t i = 0; i < sizeof(in_core); i++)
			n += in_core[i] & 1;
	}
	return n;
}

static void memory_is_taken_when_touched_and_given_back(void **state)
{
	struct tr_slots *s;
	unsigned char one;
	size_t n_touched = 16 * 4 * MIB / 4096;
	void *first;

	(void)state;
	assert_int_equal(tr_slots_open(&s, 64, 4 * MIB, -1, NULL), 0);
	first = tr_slot_addr(s, 0);
	assert_ptr_equal(tr_slot_addr(s, 63), (uint8_t *)first + 63 * 4 * MIB);
	assert_int_equal(n_resident_page(first, 256 * MIB), 0);
	for (uint32_t i = 0; i < 16; i++)
		memset(tr_slot_addr(s, i), 1, 4 * MIB);
	assert_int_equal(n_resident_page(first, 256 * MIB), n_touched);
	tr_slots_close(s);
	assert_int_equal(mincore(first, 4096, &one), -1);
	assert_int_equal(errno, ENOMEM);
}

static void slots_of_no_bytes_are_numbers(void **state)
{
	struct tr_slots *s;

	(void)state;
	assert_int_equal(tr_slots_open(&s, 2, 0, -1, NULL), 0);
	assert_int_equal(tr_slot_take(s), 0);
	assert_int_equal(tr_slot_take(s), 1);
	assert_int_equal(tr_slot_take(s), TR_NO_SLOT);
	tr_slot_give(s, 1);
	assert_int_equal(tr_slot_take(s), 1);
	tr_slots_close(s);
}

static void nodes_that_do_not_exist_are_refused(void **state)
{
	struct tr_slots *s;
	struct tr_err err;

	(void)state;
	assert_true(tr_slots_open(&s, 1, 4096, 1000, &err) < 0);
	assert_err_has(&err, "1000");
}

static void slots_can_be_bound_to_node_zero(void **state)
{
	struct tr_slots *s;
	struct tr_err err;
	int rc = tr_slots_open(&s, 4, 4096, 0, &err);

	(void)state;
	if (rc == TR_E_UNSUPPORTED)
		skip();
	assert_int_equal(rc, 0);
	memset(tr_slot_addr(s, 3), 1, 4096);
	tr_slots_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stride_rounds_to_huge_pages_only_where_cheap),
		cmocka_unit_test(slots_are_aligned_and_apart),
		cmocka_unit_test(a_slot_larger_than_a_region_gets_its_own),
		cmocka_unit_test(regions_are_claimed_a_little_ahead_of_the_slots_taken),
		cmocka_unit_test(touched_slots_are_taken_again_first),
		cmocka_unit_test(touching_changes_nothing),
		cmocka_unit_test(memory_is_taken_when_touched_and_given_back),
		cmocka_unit_test(slots_of_no_bytes_are_numbers),
		cmocka_unit_test(nodes_that_do_not_exist_are_refused),
		cmocka_unit_test(slots_can_be_bound_to_node_zero),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
