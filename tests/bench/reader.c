#include "reader.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/touch.h"

#include <string.h>

#define GRAIN_BYTES ((size_t)512 << 10)

int reader_dram_open(struct reader_dram *r, unsigned n_thread, size_t bytes, struct tr_err *err)
{
	struct tr_pool_cfg cfg = { .n_thread = n_thread, .pin = true, .spin_us = 100 };

	*r = (struct reader_dram){ .bytes = TR_ALIGN_UP(bytes, GRAIN_BYTES) };
	r->mem = tr_pages_alloc(r->bytes);
	if (!r->mem)
		return tr_err_set(err, TR_E_NOMEM, "reader: no memory for %zu bytes", r->bytes);
	memset(r->mem, 1, r->bytes);
	return tr_pool_new(&r->pool, &cfg, err);
}

void reader_dram_close(struct reader_dram *r)
{
	tr_pool_free(r->pool);
	if (r->mem)
		tr_pages_free(r->mem, r->bytes);
}

static void touch_grains(void *ctx, unsigned worker, size_t begin, size_t end, size_t next)
{
	const struct reader_dram *r = ctx;

	(void)worker;
	(void)next;
	tr_touch(r->mem + begin * GRAIN_BYTES, (end - begin) * GRAIN_BYTES);
}

double reader_dram_pass(struct reader_dram *r, unsigned n)
{
	uint64_t best = UINT64_MAX;

	for (unsigned i = 0; i < n; i++) {
		uint64_t start = tr_now_ns(&tr_clock_real);

		tr_pool_run_rows(r->pool, touch_grains, r, r->bytes / GRAIN_BYTES, 1);
		best = TR_MIN(best, tr_now_ns(&tr_clock_real) - start);
	}
	return (double)r->bytes * 1e9 / (double)TR_MAX(best, (uint64_t)1);
}
