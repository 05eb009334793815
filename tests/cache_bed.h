/* cache_bed.h - a cache on a simulated device in virtual time, for the tests of its parts. Programs
 * are linked with --wrap for the calls of the store, so that the test says what is in it. */
#ifndef TR_TESTS_CACHE_BED_H
#define TR_TESTS_CACHE_BED_H

#include "test.h"
#include "cache/cache.h"
#include "io/method_sim.h"

enum { N_LAYER = 2, N_EXPERT = 16, N_UNIT = N_LAYER * N_EXPERT, N_USED = 4 };
enum { PART_BYTES = 5000, ALIGN = 4096, PER_LAYER = TR_N_PART * N_EXPERT * PART_BYTES };

struct tr_store {
	bool has[N_UNIT];
	uint8_t bytes[N_UNIT][TR_N_PART][PART_BYTES];
};

struct bed {
	struct tr_io_sim sim;
	struct tr_io *io;
	uint32_t depth, background_depth; /* of io; 0: its default */
	struct tr_file file[N_LAYER]; /* a layer a shard */
	struct tr_file paged[N_LAYER];
	struct tr_unit unit[N_UNIT];
	struct tr_catalog catalog;
	struct tr_store store;
	struct tr_store *stores[1];
	struct tr_cache_cfg cfg;
	struct tr_cache *cache;
	struct tr_handle h[N_UNIT];
};

#define SET(...) ((const uint32_t[]){ __VA_ARGS__ }), TR_ARRAY_LEN(((uint32_t[]){ __VA_ARGS__ }))

int setup(void **state);
int teardown(void **state);
void open_cache(struct bed *b, const char *policy, uint32_t n_slot, uint32_t min_slot);
void rule(struct bed *b, struct tr_io_sim_rule r);
void check(struct bed *b);
size_t acquire(struct bed *b, const uint32_t *ids, size_t n, unsigned flags, struct tr_handle *h);
void wait_all(struct bed *b, struct tr_handle *h, size_t n);
void release(struct bed *b, struct tr_handle *h, size_t n);
bool content_is_right(const struct bed *b, const struct tr_handle *h);
void assert_ready(const struct bed *b, const struct tr_handle *h, size_t n);
void use(struct bed *b, const uint32_t *ids, size_t n, unsigned flags);
struct tr_tier_stats tier(const struct bed *b, const char *name);
uint64_t evictions(const struct bed *b);
bool in_dram(struct bed *b, uint32_t id);

#endif
