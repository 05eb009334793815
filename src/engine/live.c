#include "engine/live.h"
#include "base/mem.h"
#include "engine/live_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ten a second are more than an eye follows. One takes 2.4 us (2-core EPYC virtual machine). */
#define EVERY_NS 100000000u

/* /proc/self/status takes longer than all else together. */
#define MEMORY_NS 1000000000u

#define SECOND_NS 1000000000u

struct tr_live_pub {
	struct tr_live_cfg cfg;
	struct tr_live_file *file;
	struct tr_live now;
	bool ready;
	uint64_t since_ns; /* no lane has had the time from there on */
	uint64_t next_ns;  /* when to write */
	uint64_t next_memory_ns;
	uint64_t begin_ns; /* tr_live_begin */
	bool decoding;	   /* the last call was a decode step */
};

int tr_live_new(struct tr_live_pub **out, const struct tr_live_cfg *cfg, struct tr_live_file *file,
	struct tr_err *err)
{
	struct tr_live_pub *l = tr_calloc(1, sizeof(*l));
	const struct tr_catalog *c = cfg->catalog;

	if (!l) {
		tr_live_file_close(file);
		return tr_err_set(err, TR_E_NOMEM, "live status: out of memory");
	}
	l->cfg = *cfg;
	l->cfg.model = NULL; /* lives as long as this call */
	l->file = file;
	l->now.start_ns = tr_now_ns(cfg->clock);
	l->now.n_ctx = cfg->n_ctx;
	l->now.n_moe_layer = (uint32_t)c->n_moe_layer;
	l->now.n_layer = (uint32_t)TR_MIN(c->n_moe_layer, (size_t)TR_LIVE_MAX_LAYER);
	for (uint32_t i = 0; i < l->now.n_layer; i++)
		l->now.layer[i].layer = c->moe_layers[i].layer;
	snprintf(l->now.version, sizeof(l->now.version), "%s", tr_version());
	snprintf(l->now.model, sizeof(l->now.model), "%s", cfg->model);
	*out = l;
	return 0;
}

void tr_live_free(struct tr_live_pub *l)
{
	if (!l)
		return;
	tr_live_file_close(l->file);
	free(l);
}

/* --- writing ---------------------------------------------------------------------------------- */

/* Seconds that nothing was said of are 0. */
static void move_on(struct tr_live *n, uint64_t second)
{
	if (second >= n->second + TR_LIVE_SECONDS)
		memset(n->rate, 0, sizeof(n->rate));
	else
		while (n->second < second)
			n->rate[++n->second % TR_LIVE_SECONDS] = 0;
	n->second = second;
}

static void gather(struct tr_live_pub *l, uint64_t now_ns)
{
	l->now.now_ns = now_ns;
	move_on(&l->now, now_ns / SECOND_NS);
	if (l->ready)
		l->cfg.stats(l->cfg.ctx, &l->now.stats);
	if (now_ns >= l->next_memory_ns) {
		l->now.rss_bytes = tr_mem_rss_bytes();
		l->next_memory_ns = now_ns + MEMORY_NS;
	}
}

static void write_status(struct tr_live_pub *l, uint64_t now_ns)
{
	l->next_ns = now_ns + EVERY_NS;
	gather(l, now_ns);
	if (l->file)
		tr_live_file_write(l->file, &l->now);
}

const struct tr_live *tr_live_now(struct tr_live_pub *l)
{
	gather(l, tr_now_ns(l->cfg.clock));
	return &l->now;
}

void tr_live_progress(
	struct tr_live_pub *l, const char *step, uint64_t done, uint64_t total, const char *unit)
{
	if (!l)
		return;
	snprintf(l->now.step, sizeof(l->now.step), "%s", step);
	snprintf(l->now.unit, sizeof(l->now.unit), "%s", unit);
	l->now.done = done;
	l->now.total = total;
	write_status(l, tr_now_ns(l->cfg.clock));
}

/* --- lanes ------------------------------------------------------------------------------------ */

void tr_live_ready(struct tr_live_pub *l)
{
	if (!l)
		return;
	l->ready = true;
	l->since_ns = tr_now_ns(l->cfg.clock);
	write_status(l, l->since_ns);
}

static uint64_t take_time(struct tr_live_pub *l, uint64_t now_ns)
{
	uint64_t ns = now_ns - l->since_ns;

	l->since_ns = now_ns;
	return ns;
}

static void write_if_due(struct tr_live_pub *l)
{
	if (l->since_ns >= l->next_ns)
		write_status(l, l->since_ns);
}

void tr_live_lap(struct tr_live_pub *l, uint64_t now_ns, enum tr_lane lane)
{
	if (!l)
		return;
	l->now.lane_ns[lane] += take_time(l, now_ns);
	write_if_due(l);
}

void tr_live_split(struct tr_live_pub *l, uint64_t now_ns, const uint64_t bytes[TR_N_LANE])
{
	uint64_t ns, all = 0, given = 0;
	size_t last = 0;

	if (!l)
		return;
	ns = take_time(l, now_ns);
	for (size_t i = 0; i < TR_N_LANE; i++) {
		all += bytes[i];
		last = bytes[i] ? i : last;
	}
	for (size_t i = 0; i < last; i++) {
		uint64_t part = (uint64_t)((double)ns * ((double)bytes[i] / (double)all));

		l->now.lane_ns[i] += part;
		given += part;
	}
	l->now.lane_ns[last] += ns - given;
	write_if_due(l);
}

/* --- tokens ----------------------------------------------------------------------------------- */

void tr_live_acquired(
	struct tr_live_pub *l, uint32_t moe_layer, const struct tr_handle *handles, size_t n)
{
	struct tr_live_layer *layer;

	if (!l || moe_layer >= l->now.n_layer)
		return;
	layer = &l->now.layer[moe_layer];
	layer->uses += n;
	for (size_t i = 0; i < n; i++) {
		layer->dram += handles[i].state == TR_HANDLE_READY && !handles[i].tier;
		layer->pmem += handles[i].state == TR_HANDLE_READY && handles[i].tier;
	}
}

void tr_live_begin(struct tr_live_pub *l, uint64_t now_ns, size_t n_feed)
{
	if (!l)
		return;
	tr_live_lap(l, now_ns, TR_LANE_REST);
	l->now.phase = n_feed > 1 ? TR_LIVE_PREFILL : TR_LIVE_DECODE;
	l->begin_ns = l->since_ns;
}

/* A token took from begin to end. */
static void spread(struct tr_live *n, uint64_t begin, uint64_t end)
{
	uint64_t first = begin / SECOND_NS, last = end / SECOND_NS, s;

	move_on(n, last);
	if (last - first >= TR_LIVE_SECONDS)
		first = last - TR_LIVE_SECONDS + 1;
	for (s = first; s <= last; s++) {
		uint64_t from = TR_MAX(begin, s * SECOND_NS), to = TR_MIN(end, (s + 1) * SECOND_NS);

		n->rate[s % TR_LIVE_SECONDS] +=
			begin == end ? 1 : (double)(to - from) / (double)(end - begin);
	}
}

static void end_token(struct tr_live_pub *l)
{
	struct tr_live *n = &l->now;
	uint64_t begin = l->decoding ? n->token_end_ns : l->begin_ns;

	n->token_end_ns = l->since_ns;
	n->token_ns = n->token_end_ns - begin;
	n->decode_ns += n->token_ns;
	n->n_decode++;
	spread(n, begin, n->token_end_ns);
}

void tr_live_end(struct tr_live_pub *l, size_t n_tok, uint64_t n_past)
{
	if (!l)
		return;
	tr_live_lap(l, tr_now_ns(l->cfg.clock), TR_LANE_CACHE);
	l->now.n_past = n_past;
	if (l->now.phase == TR_LIVE_DECODE) {
		end_token(l);
	} else {
		l->now.n_prefill += n_tok;
		l->now.prefill_ns += l->since_ns - l->begin_ns;
	}
	l->decoding = l->now.phase == TR_LIVE_DECODE;
}
