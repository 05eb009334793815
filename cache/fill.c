/*
 * fill.c - memory of slots is made ready before it is needed.
 *
 * The kernel clears a page when it is touched first, 256 MiB in 14 ms; under a hypervisor that took the
 * memory back, in 0.7 s. Threads of low priority touch regions in the order in which slots are
 * taken, and register them with io, so that neither happens in a reader's time. They stay AHEAD_BYTES
 * ahead of the slots that were ever taken: while the engine reads its resident weights they have
 * processors to themselves, and a short run does not pay for a large cache.
 *
 * A reader that is faster than they are waits for nothing: its reads touch the pages that they need
 * and go the ordinary way until the region is registered. Touching changes no byte, so both may
 * happen at once. Where the kernel cannot touch so (before Linux 5.14) nothing is prepared.
 *
 * Locks: the claim of a region and stop are guarded by the cache lock; pages are touched without it.
 */
#include "base/mem.h"
#include "cache/inside.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define AHEAD_BYTES (1ull << 30)
/* Between two looks at stop; 20 ms where the hypervisor is slow. */
#define STEP_BYTES (8u << 20)
#define PAGE_BYTES 4096

/* A thread inherits the scheduler of its maker, which may be a real-time one. */
static void yield_to_others(void)
{
	struct sched_param param = { 0 };

	pthread_setschedparam(pthread_self(), SCHED_BATCH, &param);
	setpriority(PRIO_PROCESS, (id_t)gettid(), 19);
}

static bool is_stopped(struct tr_cache *c)
{
	bool stop;

	tr_mutex_lock(&c->lock);
	stop = c->fill.stop;
	tr_mutex_unlock(&c->lock);
	return stop;
}

static void fill(struct tr_cache *c, uint32_t region)
{
	uint64_t bytes;
	uint8_t *base = tr_slots_region(c->entries.slots, region, &bytes);

	for (uint64_t at = 0; at < bytes && !is_stopped(c); at += STEP_BYTES)
		tr_pages_touch(base + at, TR_MIN(bytes - at, (uint64_t)STEP_BYTES));
	if (!is_stopped(c))
		tr_io_register_mem(c->cfg.io, base, bytes);
}

static void *fill_main(void *arg)
{
	struct tr_cache *c = arg;
	struct tr_slots *slots = c->entries.slots;

	yield_to_others();
	tr_mutex_lock(&c->lock);
	while (!c->fill.stop) {
		bool place = false;
		uint32_t region = tr_slots_claim(slots, AHEAD_BYTES, &place);

		if (region == TR_NO_SLOT) {
			tr_mutex_wait(&c->lock, &c->fill.wanted);
			continue;
		}
		tr_mutex_unlock(&c->lock);
		if (place)
			tr_slots_place_region(slots, region);
		fill(c, region);
		tr_mutex_lock(&c->lock);
	}
	tr_mutex_unlock(&c->lock);
	return NULL;
}

int tr_fill_init(struct tr_cache *c, struct tr_err *err)
{
	struct tr_fill *f = &c->fill;
	void *there = (void *)TR_ALIGN_DOWN((uintptr_t)c, (uintptr_t)PAGE_BYTES);

	pthread_cond_init(&f->wanted, NULL);
	if (!c->entries.cfg.n_slot || !tr_pages_touch(there, PAGE_BYTES))
		return 0;
	for (; f->n_thread < TR_FILL_THREADS; f->n_thread++) {
		int rc = pthread_create(&f->thread[f->n_thread], NULL, fill_main, c);

		if (rc)
			return tr_err_sys(err, rc, "expert cache: no thread to prepare memory");
	}
	return 0;
}

void tr_fill_fini(struct tr_cache *c)
{
	struct tr_fill *f = &c->fill;

	tr_mutex_lock(&c->lock);
	f->stop = true;
	pthread_cond_broadcast(&f->wanted);
	tr_mutex_unlock(&c->lock);
	while (f->n_thread)
		pthread_join(f->thread[--f->n_thread], NULL);
	pthread_cond_destroy(&f->wanted);
}

void tr_fill_note(struct tr_cache *c)
{
	if (tr_slots_is_claimable(c->entries.slots, AHEAD_BYTES))
		pthread_cond_broadcast(&c->fill.wanted);
}
