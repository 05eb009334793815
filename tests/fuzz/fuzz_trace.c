/*
 * fuzz_trace.c - any bytes as a trace file, then as CSV. The input stands for the raw bytes of
 * blocks: its first byte says how many of the next form the head, the rest are events, so that
 * checksums and compression do not keep the fuzzer out. A first byte of 255 takes the rest as a
 * whole file.
 *
 * Promises, checked with abort(): what is read has experts and layers that exist, units ascend
 * within a set, and it can be replayed, with a device and without.
 */
#include "base/mem.h"
#include "cache/trace.h"
#include "cache/trace_file.h"
#include "model/le.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <zstd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Replaying what a few bytes can describe must stay quick. */
#define MAX_REPLAY_ID 20000u

static void expect(bool promise)
{
	if (!promise)
		abort();
}

static void put_block(FILE *out, enum tr_trace_block kind, const uint8_t *raw, size_t n)
{
	size_t cap = ZSTD_compressBound(n), n_stored;
	uint8_t head[TR_TRACE_BLOCK_HEAD_BYTES], *stored = malloc(cap);

	expect(stored != NULL);
	n_stored = ZSTD_compress(stored, cap, raw, n, 1);
	tr_put_le64(head, (uint64_t)n_stored << 32 | (uint32_t)kind);
	tr_put_le64(head + 8, n);
	tr_put_le64(head + 16, XXH3_64bits_withSeed(stored, n_stored, (uint64_t)kind << 32 | n));
	fwrite(head, 1, sizeof(head), out);
	fwrite(stored, 1, n_stored, out);
	free(stored);
}

/* A device serves some of the uses, the cache the others. */
static void check_vram(const struct tr_trace *t, uint64_t n_use)
{
	struct tr_replay_opts opts = { .policy = "lru", .cache = "30%",
		.vram = t->vram.slot_bytes ? "recorded" : "20%" };
	struct tr_replay_stats s;

	expect(tr_replay(t, &opts, &s, NULL) == 0);
	expect(s.vram.n_hit + s.vram.n_miss == n_use && s.n_request == s.vram.n_miss);
	expect(s.n_hit + s.n_pmem <= s.n_request);
}

static void check(struct tr_trace *t)
{
	struct tr_replay_opts opts = { .policy = "lru", .cache = "30%" };
	struct tr_replay_stats stats;
	uint64_t best;

	for (size_t i = 0; i < t->n_set; i++) {
		const struct tr_trace_set *s = &t->set[i];

		expect(s->layer < t->head.n_moe_layer && s->n_unit && s->n_unit <= s->n_pick);
		expect(s->first_unit + s->n_unit <= t->n_unit);
		for (uint64_t u = s->first_unit; u < s->first_unit + s->n_unit; u++) {
			expect(t->unit[u] / t->head.n_expert == s->layer);
			expect(u == s->first_unit || t->unit[u] > t->unit[u - 1]);
		}
	}
	if ((uint64_t)t->head.n_moe_layer * t->head.n_expert > MAX_REPLAY_ID)
		return;
	expect(tr_replay(t, &opts, &stats, NULL) == 0);
	expect(tr_replay_optimum(t, &opts, &best, NULL) == 0);
	expect(stats.n_hit <= best && best <= stats.n_request);
	check_vram(t, stats.n_request);
}

static void read_file(const uint8_t *data, size_t len)
{
	FILE *in = fmemopen((void *)(uintptr_t)data, len, "rb");
	struct tr_trace t;

	if (!in)
		return;
	if (!tr_trace_read(&t, in, "fuzz", NULL)) {
		check(&t);
		tr_trace_fini(&t);
	}
	fclose(in);
}

static void read_csv(const uint8_t *data, size_t len)
{
	FILE *in = fmemopen((void *)(uintptr_t)data, len, "r");
	struct tr_trace t;

	if (!in)
		return;
	if (!tr_trace_read_csv(&t, in, "fuzz", 0, NULL)) {
		check(&t);
		tr_trace_fini(&t);
	}
	fclose(in);
}

static void read_blocks(const uint8_t *data, size_t len)
{
	size_t n_head = TR_MIN((size_t)data[0], len - 1), n_file;
	char *file;
	FILE *out = open_memstream(&file, &n_file);

	expect(out != NULL);
	fwrite(TR_TRACE_MAGIC, 1, TR_TRACE_MAGIC_BYTES, out);
	put_block(out, TR_TRACE_HEAD, data + 1, n_head);
	put_block(out, TR_TRACE_EVENTS, data + 1 + n_head, len - 1 - n_head);
	fclose(out);
	read_file((const uint8_t *)file, n_file);
	free(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (!len)
		return 0;
	if (data[0] == 255)
		read_file(data + 1, len - 1);
	else
		read_blocks(data, len);
	read_csv(data, len);
	return 0;
}
