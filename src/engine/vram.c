/* vram.c - slots on the device, the feeder, and what its copies have come to. */
#include "engine/vram.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/sync.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Pinned memory that copies go through: blocks large enough for the full rate of PCIe, and enough of
 * them that one is filled while others are under way. */
#define RING_BLOCKS 4
#define RING_BYTES  (1u << 20)

/* The feeder takes a processor only when no worker wants it, or nearly so. */
#define FEEDER_NICE 19

struct copy {
	uint32_t id;
	struct tr_handle hold; /* NONE once its bytes are in the ring and the engine saw it */
	uint8_t *to;
	struct tr_event *done;
	uint64_t begin_ns, end_ns; /* of feeding it; there once it is counted in n_fed */
};

struct tr_vram_tier {
	struct tr_vram_tier_cfg cfg;
	struct tr_vram *vram;
	struct tr_buffer *slots[TR_VRAM_MAX_CLASS];
	struct tr_cache *cache;
	bool is_lost; /* and given up */
	uint32_t *ids;	     /* [n_unit] scratch */
	uint32_t max_copy;
	uint32_t n_ended;    /* of copies, the first */
	bool is_late;	     /* the others: a token has ended since the one that earned them */
	bool *was_warm;	     /* [n_unit] */
	uint64_t warm_units, warm_bytes, late;

	/* The feeder's. */
	pthread_t thread;
	bool started;
	void *ring[RING_BLOCKS];
	struct tr_event *ring_free[RING_BLOCKS];
	unsigned next_block;

	struct tr_mutex lock;
	pthread_cond_t moved;
	/* Guarded by lock. */
	struct copy *copies; /* [max_copy]; the entries before n_copy are constant but for hold */
	uint32_t n_copy, n_fed;
	bool stop;
	uint64_t sent_bytes, sent_ns;
	int rc; /* of the first copy that failed */
	struct tr_err err;
};

static const struct tr_moe_layer *layer_of(const struct tr_vram_tier *t, uint32_t id)
{
	const struct tr_catalog *c = t->cfg.vram.catalog;

	return &c->moe_layers[id / c->n_expert];
}

static uint8_t *slot_of(const struct tr_vram_tier *t, uint32_t id)
{
	uint32_t slot;
	size_t class;

	tr_vram_where(t->vram, id, &class, &slot);
	return tr_buffer_at(t->slots[class], slot * t->cfg.vram.plan->class[class].slot_bytes);
}

/* --- the feeder ------------------------------------------------------------------------------- */

static int feed_part(struct tr_vram_tier *t, uint8_t *to, const uint8_t *from, uint64_t bytes,
	struct tr_err *err)
{
	struct tr_stream *s = t->cfg.gpu->copy;
	uint64_t at, n;
	int rc = 0;

	for (at = 0; at < bytes && !rc; at += n) {
		unsigned i = t->next_block++ % RING_BLOCKS;

		n = TR_MIN(bytes - at, (uint64_t)RING_BYTES);
		rc = tr_event_sync(t->ring_free[i], err);
		if (rc)
			break;
		memcpy(t->ring[i], from + at, n);
		rc = tr_stream_copy(s, TR_COPY_TO_DEVICE, to + at, t->ring[i], n, err);
		if (!rc)
			rc = tr_stream_record(s, t->ring_free[i], err);
	}
	return rc;
}

static int feed(struct tr_vram_tier *t, const struct copy *c, struct tr_err *err)
{
	const struct tr_unit *u = &t->cfg.vram.catalog->units[c->id];
	uint64_t off[TR_N_PART];
	int rc = 0;

	tr_vram_layout(layer_of(t, c->id), off);
	for (int p = 0; p < TR_N_PART && !rc; p++)
		rc = feed_part(t, c->to + off[p], c->hold.part[p], u->part[p].bytes, err);
	return rc ? rc : tr_stream_record(t->cfg.gpu->copy, c->done, err);
}

/* The next copy. Called with the lock, which it gives up meanwhile. */
static void feed_next_locked(struct tr_vram_tier *t)
{
	struct copy *c = &t->copies[t->n_fed];
	struct tr_err err;
	int rc;

	tr_mutex_unlock(&t->lock);
	c->begin_ns = tr_now_ns(&tr_clock_real);
	rc = feed(t, c, &err);
	c->end_ns = tr_now_ns(&tr_clock_real);
	tr_mutex_lock(&t->lock);
	if (rc) {
		t->rc = rc;
		t->err = err;
	}
}

/* Of a batch from begin_ns on, of which c was the last: what is still under way takes its time too. */
static void count_sent_locked(struct tr_vram_tier *t, uint64_t bytes, uint64_t begin_ns,
	struct tr_event *done)
{
	bool ok;

	tr_mutex_unlock(&t->lock);
	ok = !tr_event_sync(done, NULL);
	tr_mutex_lock(&t->lock);
	t->sent_bytes += ok ? bytes : 0;
	t->sent_ns += ok ? tr_now_ns(&tr_clock_real) - begin_ns : 0;
}

static void *feeder_main(void *arg)
{
	struct tr_vram_tier *t = arg;
	uint64_t bytes = 0, begin_ns = 0;
	const struct copy *c;

	setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), FEEDER_NICE);
	tr_mutex_lock(&t->lock);
	while (!t->stop) {
		if (t->n_fed == t->n_copy) {
			tr_mutex_wait(&t->lock, &t->moved);
			continue;
		}
		c = &t->copies[t->n_fed];
		if (!t->rc)
			feed_next_locked(t);
		begin_ns = t->n_fed ? begin_ns : c->begin_ns;
		bytes = (t->n_fed ? bytes : 0) + t->cfg.vram.catalog->units[c->id].bytes;
		t->n_fed++;
		pthread_cond_broadcast(&t->moved);
		if (t->n_fed == t->n_copy && !t->rc)
			count_sent_locked(t, bytes, begin_ns, c->done);
	}
	tr_mutex_unlock(&t->lock);
	return NULL;
}

static void stop_feeder(struct tr_vram_tier *t)
{
	if (!t->started)
		return;
	tr_mutex_lock(&t->lock);
	t->stop = true;
	pthread_cond_broadcast(&t->moved);
	tr_mutex_unlock(&t->lock);
	pthread_join(t->thread, NULL);
	t->started = false;
}

/* --- open and close --------------------------------------------------------------------------- */

static int cut_slots(struct tr_vram_tier *t, struct tr_err *err)
{
	const struct tr_vram_plan *p = t->cfg.vram.plan;
	int rc = 0;

	for (size_t i = 0; i < p->n_class && !rc; i++)
		if (p->class[i].n_slot)
			rc = tr_buffer_new(&t->slots[i], t->cfg.gpu->dev,
				p->class[i].n_slot * p->class[i].slot_bytes, "expert slots", err);
	return rc;
}

static int make_ring(struct tr_vram_tier *t, struct tr_err *err)
{
	struct tr_device *dev = t->cfg.gpu->dev;
	void *at;
	int rc = 0;

	for (unsigned i = 0; i < RING_BLOCKS && !rc; i++) {
		rc = tr_pinned_new(dev, RING_BYTES, &t->ring[i], &at, err);
		if (!rc)
			rc = tr_event_new(&t->ring_free[i], dev, err);
	}
	for (uint32_t i = 0; i < t->max_copy && !rc; i++)
		rc = tr_event_new(&t->copies[i].done, dev, err);
	return rc;
}

int tr_vram_tier_open(struct tr_vram_tier **out, const struct tr_vram_tier_cfg *cfg,
	struct tr_err *err)
{
	struct tr_vram_tier *t = tr_calloc(1, sizeof(*t));
	int rc;

	if (!t)
		return tr_err_set(err, TR_E_NOMEM, "VRAM tier: out of memory");
	tr_mutex_init(&t->lock, TR_RANK_LEAF);
	pthread_cond_init(&t->moved, NULL);
	t->cfg = *cfg;
	rc = tr_vram_new(&t->vram, &t->cfg.vram, err);
	if (!rc) {
		t->max_copy = tr_vram_max_copies(t->vram);
		t->copies = tr_calloc(TR_MAX(t->max_copy, 1u), sizeof(*t->copies));
		t->ids = tr_calloc(cfg->vram.catalog->n_unit, sizeof(*t->ids));
		t->was_warm = tr_calloc(cfg->vram.catalog->n_unit, sizeof(*t->was_warm));
		if (!t->copies || !t->ids || !t->was_warm)
			rc = tr_err_set(err, TR_E_NOMEM, "VRAM tier: out of memory");
	}
	if (!rc)
		rc = cut_slots(t, err);
	if (!rc)
		rc = make_ring(t, err);
	if (rc) {
		tr_vram_tier_close(t);
		return rc;
	}
	*out = t;
	return 0;
}

int tr_vram_tier_start(struct tr_vram_tier *t, struct tr_cache *cache, struct tr_err *err)
{
	int rc;

	t->cache = cache;
	rc = pthread_create(&t->thread, NULL, feeder_main, t);
	if (rc)
		return tr_err_sys(err, rc, "VRAM tier: thread that feeds it");
	t->started = true;
	return 0;
}

/* No copy is fed any more. */
static void release_holds(struct tr_vram_tier *t)
{
	for (uint32_t i = 0; i < t->n_copy; i++)
		tr_cache_release(t->cache, &t->copies[i].hold, 1);
}

void tr_vram_tier_close(struct tr_vram_tier *t)
{
	if (!t)
		return;
	stop_feeder(t);
	if (t->cache)
		release_holds(t);
	if (t->cfg.gpu->copy) /* what it still reads and writes */
		tr_stream_sync(t->cfg.gpu->copy, NULL);
	for (uint32_t i = 0; t->copies && i < t->max_copy; i++)
		tr_event_free(t->copies[i].done);
	for (unsigned i = 0; i < RING_BLOCKS; i++) {
		tr_event_free(t->ring_free[i]);
		tr_pinned_free(t->cfg.gpu->dev, t->ring[i]);
	}
	for (size_t i = 0; i < TR_VRAM_MAX_CLASS; i++)
		tr_buffer_free(t->slots[i]);
	tr_vram_free(t->vram);
	tr_mutex_fini(&t->lock);
	pthread_cond_destroy(&t->moved);
	free(t->copies);
	free(t->ids);
	free(t->was_warm);
	free(t);
}

/* --- a set ------------------------------------------------------------------------------------ */

bool tr_vram_tier_has(void *tier, uint32_t id)
{
	const struct tr_vram_tier *t = tier;

	return !t->cfg.gpu->is_lost && tr_vram_has(t->vram, id);
}

void tr_vram_tier_parts(const struct tr_vram_tier *t, uint32_t id, const uint8_t *part[TR_N_PART])
{
	const uint8_t *slot = slot_of(t, id);
	uint64_t off[TR_N_PART];

	tr_vram_layout(layer_of(t, id), off);
	for (int p = 0; p < TR_N_PART; p++)
		part[p] = slot + off[p];
}

void tr_vram_tier_take(struct tr_vram_tier *t, const uint32_t *ids, size_t n, bool scan)
{
	if (!t->cfg.gpu->is_lost)
		tr_vram_take(t->vram, ids, n, scan);
}

/* --- the end of a token ----------------------------------------------------------------------- */

/* Copies that are over come to be here, in their order, which is that of the stream. n_fed of them have
 * left what they were made from. */
static int reap(struct tr_vram_tier *t, uint32_t n_fed, struct tr_err *err)
{
	for (uint32_t i = 0; i < n_fed; i++)
		tr_cache_release(t->cache, &t->copies[i].hold, 1);
	for (; t->n_ended < n_fed; t->n_ended++) {
		int done = tr_event_done(t->copies[t->n_ended].done, err);

		if (done < 0)
			return done;
		if (!done)
			break;
		tr_vram_end_copy(t->vram, t->copies[t->n_ended].id, true);
		if (t->cfg.sent)
			t->cfg.sent(t->cfg.sent_ctx, t->copies[t->n_ended].id,
				t->copies[t->n_ended].begin_ns, t->copies[t->n_ended].end_ns);
	}
	t->late += t->is_late ? 0 : t->n_copy - t->n_ended;
	t->is_late = true;
	return 0;
}

static enum tr_vram_source source_of(void *tier, uint32_t id)
{
	struct tr_vram_tier *t = tier;
	struct tr_handle h;
	bool from_dram;

	if (!tr_cache_hold(t->cache, id, &h))
		return TR_VRAM_NO_SOURCE;
	from_dram = !h.tier;
	tr_cache_release(t->cache, &h, 1);
	return from_dram ? TR_VRAM_FROM_DRAM : TR_VRAM_IN_PLACE;
}

static void begin_copies(struct tr_vram_tier *t, uint32_t n)
{
	uint32_t n_copy = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct copy *c = &t->copies[n_copy];

		if (!tr_cache_hold(t->cache, t->ids[i], &c->hold)) {
			tr_vram_end_copy(t->vram, t->ids[i], false);
			continue;
		}
		c->id = t->ids[i];
		c->to = slot_of(t, c->id);
		n_copy++;
	}
	tr_mutex_lock(&t->lock);
	t->n_fed = 0;
	t->n_copy = n_copy;
	pthread_cond_broadcast(&t->moved);
	tr_mutex_unlock(&t->lock);
	t->n_ended = 0;
	t->is_late = false;
}

static void wait_until_fed(struct tr_vram_tier *t)
{
	tr_mutex_lock(&t->lock);
	while (t->started && t->n_fed != t->n_copy)
		tr_mutex_wait(&t->lock, &t->moved);
	tr_mutex_unlock(&t->lock);
}

/* Nothing is here any more, and nothing comes. */
static void give_up(struct tr_vram_tier *t)
{
	if (t->is_lost)
		return;
	wait_until_fed(t);
	release_holds(t);
	t->is_lost = true;
}

int tr_vram_tier_tick(struct tr_vram_tier *t, struct tr_vram_late *late, struct tr_err *err)
{
	uint32_t n_fed, n;
	int rc;

	*late = (struct tr_vram_late){ 0, 0 };

	if (t->cfg.gpu->is_lost) {
		give_up(t);
		return 0;
	}
	tr_mutex_lock(&t->lock);
	n_fed = t->n_fed;
	rc = t->rc;
	if (rc && err)
		*err = t->err;
	tr_mutex_unlock(&t->lock);
	if (!rc)
		rc = reap(t, n_fed, err);
	if (rc)
		return rc;
	*late = (struct tr_vram_late){ t->n_copy - n_fed, t->n_copy - t->n_ended };
	n = tr_vram_tick(t->vram, late->n_left ? NULL : source_of, t, t->ids);
	if (n)
		begin_copies(t, n);
	return 0;
}

int tr_vram_tier_settle(struct tr_vram_tier *t, struct tr_err *err)
{
	int rc;

	if (t->cfg.gpu->is_lost)
		return 0;
	wait_until_fed(t);
	tr_mutex_lock(&t->lock);
	rc = t->rc;
	if (rc && err)
		*err = t->err;
	tr_mutex_unlock(&t->lock);
	for (uint32_t i = 0; i < t->n_copy && !rc; i++)
		rc = tr_event_sync(t->copies[i].done, err);
	return rc ? rc : reap(t, t->n_copy, err);
}

void tr_vram_tier_sent(struct tr_vram_tier *t, uint64_t *bytes, uint64_t *ns)
{
	tr_mutex_lock(&t->lock);
	*bytes = t->sent_bytes;
	*ns = t->sent_ns;
	tr_mutex_unlock(&t->lock);
}

void tr_vram_tier_stats(const struct tr_vram_tier *t, struct tr_vram_tier_stats *out)
{
	*out = (struct tr_vram_tier_stats){ .capacity_bytes = t->cfg.vram.plan->bytes,
		.warm_units = t->warm_units,
		.warm_bytes = t->warm_bytes,
		.late = t->late };
	tr_vram_counts(t->vram, &out->counts);
	out->counts.copied_units -= t->warm_units;
	out->counts.copied_bytes -= t->warm_bytes;
}

/* --- while loading ----------------------------------------------------------------------------- */

uint32_t tr_vram_tier_warm_begin(struct tr_vram_tier *t, uint32_t *ids)
{
	return tr_vram_warm(t->vram, ids);
}

int tr_vram_tier_upload(struct tr_vram_tier *t, uint32_t id, const void *const part[TR_N_PART],
	struct tr_err *err)
{
	const struct tr_unit *u = &t->cfg.vram.catalog->units[id];
	uint8_t *slot = slot_of(t, id);
	uint64_t off[TR_N_PART];
	int rc = 0;

	tr_vram_layout(layer_of(t, id), off);
	for (int p = 0; p < TR_N_PART && !rc; p++)
		rc = tr_gpu_upload(t->cfg.gpu, slot + off[p], part[p], u->part[p].bytes, err);
	t->warm_bytes += rc ? 0 : u->bytes;
	t->warm_units += !rc;
	t->was_warm[id] = !rc;
	return rc;
}

bool tr_vram_tier_was_warm(const struct tr_vram_tier *t, uint32_t id)
{
	return t->was_warm[id];
}

int tr_vram_tier_warm_end(struct tr_vram_tier *t, const uint32_t *ids, uint32_t n, int rc,
	struct tr_err *err)
{
	if (!rc)
		rc = tr_gpu_upload_end(t->cfg.gpu, err);
	for (uint32_t i = 0; i < n; i++)
		tr_vram_end_copy(t->vram, ids[i], !rc);
	return rc;
}
