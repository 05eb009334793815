#include "cache/slot.h"
#include "base/mem.h"
#include "base/node_mem.h"
#include "cache/slot_mem.h"

#include <stdlib.h>
#include <string.h>

#define PAGE_BYTES 4096ull
#define HUGE_BYTES (2ull << 20)
/* io_uring registers at most 1 GiB at once, and registering touches the whole region. */
#define REGION_BYTES   (256ull << 20)
#define HUGE_MAX_SHARE 16

struct region {
	uint8_t *base;
	uint64_t bytes;
	bool placed; /* or about to be, by who claimed it */
};

struct tr_slots {
	struct tr_slot_mem *mem;
	uint64_t stride;
	uint32_t n;
	uint32_t per_region;
	uint32_t n_region;
	struct region *regions;
	uint32_t n_begun;   /* regions up to the last one of which a slot was ever taken */
	uint32_t n_claimed; /* the first so many were claimed */
	uint32_t n_free;
	uint32_t *free; /* stack; the top is taken next */
	const struct tr_topo *topo; /* NULL: memory comes from where it is touched first */
	struct tr_slot_part part[TR_SLOT_PARTS];
};

static uint64_t slot_align(uint64_t bytes)
{
	uint64_t huge = TR_ALIGN_UP(bytes, HUGE_BYTES);

	return huge - bytes <= bytes / HUGE_MAX_SHARE ? HUGE_BYTES : PAGE_BYTES;
}

uint64_t tr_slot_stride(uint64_t bytes)
{
	return TR_ALIGN_UP(TR_MAX(bytes, 1), slot_align(TR_MAX(bytes, 1)));
}

static int map_regions(struct tr_slots *s, uint64_t align, struct tr_err *err)
{
	uint32_t left = s->n;

	for (uint32_t i = 0; i < s->n_region; i++) {
		struct region *r = &s->regions[i];
		uint32_t n = TR_MIN(left, s->per_region);

		r->bytes = n * s->stride;
		r->base = tr_slot_mem_alloc(s->mem, r->bytes, align);
		if (!r->base)
			return tr_err_set(err, TR_E_NOMEM,
				"expert cache: no address space for %u slots of %llu bytes (failed "
				"at "
				"slot %u)",
				s->n, (unsigned long long)s->stride, s->n - left);
		left -= n;
	}
	return 0;
}

int tr_slots_open(
	struct tr_slots **out, uint32_t n, uint64_t bytes, int numa_node, struct tr_err *err)
{
	struct tr_slots *s = tr_calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return tr_err_set(err, TR_E_NOMEM, "expert cache: no memory");
	s->n = n;
	s->stride = tr_slot_stride(bytes);
	s->per_region = (uint32_t)TR_MIN(TR_MAX(REGION_BYTES / s->stride, 1), UINT32_MAX);
	s->n_region = n / s->per_region + (n % s->per_region != 0);
	s->regions = tr_calloc(s->n_region, sizeof(*s->regions));
	s->free = tr_calloc(n, sizeof(*s->free));
	if (!s->regions || !s->free) {
		rc = tr_err_set(err, TR_E_NOMEM, "expert cache: no memory for %u slots", n);
		goto fail;
	}
	for (uint32_t i = 0; i < n; i++)
		s->free[s->n_free++] = n - 1 - i;
	rc = bytes ? tr_slot_mem_open(&s->mem, numa_node, err) : 0;
	if (!rc && bytes)
		rc = map_regions(s, slot_align(s->stride), err);
	if (rc)
		goto fail;
	*out = s;
	return 0;
fail:
	tr_slots_close(s);
	return rc;
}

void tr_slots_close(struct tr_slots *s)
{
	if (!s)
		return;
	tr_slot_mem_close(s->mem);
	free(s->regions);
	free(s->free);
	free(s);
}

uint32_t tr_slots_n_free(const struct tr_slots *s)
{
	return s->n_free;
}

void *tr_slot_addr(const struct tr_slots *s, uint32_t slot)
{
	tr_assert(slot < s->n);
	return s->regions[slot / s->per_region].base + slot % s->per_region * s->stride;
}

void *tr_slots_region(const struct tr_slots *s, uint32_t region, uint64_t *bytes)
{
	*bytes = s->regions[region].bytes;
	return s->regions[region].base;
}

bool tr_slots_is_claimable(const struct tr_slots *s, uint64_t ahead_bytes)
{
	uint64_t n_ahead = TR_MAX(ahead_bytes / (s->per_region * s->stride), 1u);

	return s->n_claimed < s->n_region &&
		s->n_claimed - TR_MIN(s->n_claimed, s->n_begun) < n_ahead;
}

uint32_t tr_slots_claim(struct tr_slots *s, uint64_t ahead_bytes, bool *place)
{
	struct region *r = &s->regions[s->n_claimed];

	if (!tr_slots_is_claimable(s, ahead_bytes))
		return TR_NO_SLOT;
	*place = s->topo && !r->placed;
	r->placed = true;
	return s->n_claimed++;
}

void tr_slots_place(struct tr_slots *s, const struct tr_topo *topo,
	const struct tr_slot_part part[TR_SLOT_PARTS])
{
	s->topo = topo;
	memcpy(s->part, part, sizeof(s->part));
}

void tr_slots_place_region(const struct tr_slots *s, uint32_t region)
{
	const struct region *r = &s->regions[region];
	const struct tr_slot_part *part;
	uint64_t at;

	tr_node_prepare(s->topo, r->base, r->bytes);
	for (at = 0; at < r->bytes; at += s->stride)
		for (part = s->part; part < s->part + TR_SLOT_PARTS; part++)
			tr_node_place_rows(s->topo, r->base + at + part->off, part->n_row,
				part->row_bytes);
	tr_node_settle(s->topo, r->base, r->bytes);
}

uint32_t tr_slot_take(struct tr_slots *s)
{
	uint32_t slot = s->n_free ? s->free[--s->n_free] : TR_NO_SLOT, region;

	if (slot == TR_NO_SLOT)
		return slot;
	region = slot / s->per_region;
	s->n_begun = TR_MAX(s->n_begun, region + 1);
	if (s->topo && !s->regions[region].placed) {
		s->regions[region].placed = true;
		tr_slots_place_region(s, region);
	}
	return slot;
}

void tr_slot_give(struct tr_slots *s, uint32_t slot)
{
	tr_assert(slot < s->n && s->n_free < s->n);
	s->free[s->n_free++] = slot;
}
