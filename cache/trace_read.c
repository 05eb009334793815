/*
 * trace_read.c - reads what trace_write.c wrote.
 *
 * A block counts once its checksum holds; the first one that does not, or that the file ends in,
 * ends the trace. What a good block says is still checked: checksums keep out accidents, not
 * authors.
 */
#include "base/mem.h"
#include "cache/trace.h"
#include "cache/trace_file.h"
#include "model/le.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <zstd.h>

/* Bytes of a block, consumed from the front. bad: more was asked for than there is. */
struct cursor {
	const uint8_t *at;
	size_t left;
	bool bad;
};

struct reader {
	struct tr_trace *t;
	FILE *in;
	const char *name;
	struct tr_err *err;
	uint32_t kind;
	uint8_t *stored, *raw;
	size_t cap_stored, cap_raw, n_raw;
	bool weights;
	uint16_t *pick, *half; /* of one event */
	size_t cap_pick;
};

static const uint8_t *take(struct cursor *c, size_t n)
{
	const uint8_t *p = c->at;

	if (n > c->left) {
		c->bad = true;
		return NULL;
	}
	c->at += n;
	c->left -= n;
	return p;
}

static uint64_t take_varint(struct cursor *c)
{
	uint64_t v = 0;
	const uint8_t *p;

	for (unsigned shift = 0; shift < 64; shift += 7) {
		p = take(c, 1);
		if (!p)
			return 0;
		v |= (uint64_t)(*p & 0x7f) << shift;
		if (!(*p & 0x80))
			return v;
	}
	c->bad = true;
	return 0;
}

/* A number that cannot be more than max. */
static uint32_t take_u32(struct cursor *c, uint32_t max)
{
	uint64_t v = take_varint(c);

	c->bad = c->bad || v > max;
	return c->bad ? 0 : (uint32_t)v;
}

static void take_text(struct cursor *c, char *out, size_t cap)
{
	const uint8_t *n = take(c, 1), *p = n ? take(c, *n) : NULL;

	c->bad = c->bad || !p || *n >= cap || memchr(p, 0, *n);
	if (c->bad)
		return;
	memcpy(out, p, *n);
	out[*n] = '\0';
}

/* --- blocks ----------------------------------------------------------------------------------- */

static bool fit(uint8_t **p, size_t *cap, size_t n)
{
	uint8_t *grown;

	if (n <= *cap)
		return true;
	grown = realloc(*p, n);
	if (!grown)
		return false;
	*p = grown;
	*cap = n;
	return true;
}

/* Stored bytes are read in pieces, so that a length that is a lie costs no memory. */
static bool read_stored(struct reader *r, size_t n)
{
	size_t have = 0, step;

	while (have < n) {
		step = TR_MIN(n - have, (size_t)1 << 20);
		if (!fit(&r->stored, &r->cap_stored, have + step) ||
			fread(r->stored + have, 1, step, r->in) != step)
			return false;
		have += step;
	}
	return true;
}

/* False when there is no further complete block. */
static bool read_block(struct reader *r)
{
	uint8_t head[TR_TRACE_BLOCK_HEAD_BYTES];
	uint32_t n_stored, n_raw;
	uint64_t seed;

	if (fread(head, 1, sizeof(head), r->in) != sizeof(head))
		return false;
	r->kind = tr_le32(head);
	n_stored = tr_le32(head + 4);
	n_raw = tr_le32(head + 8);
	seed = (uint64_t)r->kind << 32 | n_raw;
	if (n_raw > TR_TRACE_BLOCK_MAX || n_stored > ZSTD_compressBound(TR_TRACE_BLOCK_MAX) ||
		tr_le32(head + 12) || !read_stored(r, n_stored) ||
		XXH3_64bits_withSeed(r->stored, n_stored, seed) != tr_le64(head + 16))
		return false;
	r->n_raw = n_raw;
	if (!n_raw)
		return true;
	return fit(&r->raw, &r->cap_raw, n_raw) &&
	       ZSTD_decompress(r->raw, n_raw, r->stored, n_stored) == n_raw;
}

/* --- head ------------------------------------------------------------------------------------- */

static int bad(const struct reader *r, const char *what)
{
	return tr_err_set(r->err, TR_E_FORMAT, "%s: trace file is damaged: %s", r->name, what);
}

static void take_layers(struct cursor *c, struct tr_trace_head *h)
{
	for (uint32_t i = 0; i < h->n_moe_layer && !c->bad; i++) {
		h->layers[i].layer = take_u32(c, TR_TRACE_MAX_LAYER);
		h->layers[i].unit_bytes = take_varint(c);
		c->bad = c->bad || h->layers[i].layer >= h->n_layer ||
			 (i && h->layers[i].layer <= h->layers[i - 1].layer);
	}
}

static int read_head(struct reader *r)
{
	struct cursor c = { r->raw, r->n_raw, false };
	struct tr_trace_head h = { .n_layer = take_u32(&c, TR_TRACE_MAX_LAYER) };
	const uint8_t *flags;

	h.n_moe_layer = take_u32(&c, TR_TRACE_MAX_LAYER);
	h.n_expert = take_u32(&c, TR_TRACE_MAX_EXPERT);
	h.n_used = take_u32(&c, h.n_expert);
	h.slot_bytes = take_varint(&c);
	if (c.bad || !h.n_moe_layer || !h.n_used || h.n_moe_layer > c.left)
		return bad(r, "numbers of the model");
	h.layers = tr_calloc(h.n_moe_layer, sizeof(*h.layers));
	if (!h.layers)
		return tr_err_set(r->err, TR_E_NOMEM, "%s: no memory", r->name);
	take_layers(&c, &h);
	flags = take(&c, 1);
	r->weights = flags && *flags & TR_TRACE_FLAG_WEIGHTS;
	take_text(&c, h.model, sizeof(h.model));
	take_text(&c, h.fingerprint, sizeof(h.fingerprint));
	if (c.bad) {
		free(h.layers);
		return bad(r, "description of the model");
	}
	return tr_trace_init(r->t, &h, r->err);
}

/* --- units ------------------------------------------------------------------------------------ */

static bool take_costs(struct cursor *c, float *cost, uint32_t n_id)
{
	const uint8_t *p = take(c, 4 * (size_t)n_id);

	for (uint32_t i = 0; p && i < n_id; i++) {
		uint32_t bits = tr_le32(p + 4 * (size_t)i);

		memcpy(&cost[i], &bits, sizeof(bits));
		c->bad = c->bad || !(cost[i] >= 0 && cost[i] <= FLT_MAX);
	}
	return !c->bad;
}

static int compare_u32(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* n units, each at most once. scratch[n] */
static bool take_hot(
	struct cursor *c, uint32_t *hot, uint32_t n, uint32_t n_id, uint32_t *scratch)
{
	for (uint32_t i = 0; i < n; i++)
		hot[i] = take_u32(c, n_id - 1);
	memcpy(scratch, hot, n * sizeof(*hot));
	qsort(scratch, n, sizeof(*scratch), compare_u32);
	for (uint32_t i = 1; i < n; i++)
		c->bad = c->bad || scratch[i] == scratch[i - 1];
	return !c->bad;
}

/* Arrays are allocated once the block is known to be long enough to fill them. */
static int read_units(struct reader *r)
{
	struct cursor c = { r->raw, r->n_raw, false };
	struct tr_trace_units *u = &r->t->units;
	uint32_t n_id = r->t->head.n_moe_layer * r->t->head.n_expert, *scratch;
	const uint8_t *flags = take(&c, 1), *home = NULL;
	bool with_costs = flags && *flags & TR_TRACE_UNITS_COSTS, ok;

	if (u->home || u->cost || u->hot || r->t->n_set)
		return bad(r, "units where there may be none");
	if (flags && *flags & TR_TRACE_UNITS_HOMES)
		home = take(&c, n_id);
	if (c.bad || (with_costs && c.left < 4 * (size_t)n_id))
		return bad(r, "units");
	u->home = home ? tr_calloc(n_id, 1) : NULL;
	u->cost = with_costs ? tr_calloc(n_id, sizeof(*u->cost)) : NULL;
	if ((home && !u->home) || (with_costs && !u->cost))
		goto nomem;
	if (home)
		memcpy(u->home, home, n_id);
	if (with_costs && !take_costs(&c, u->cost, n_id))
		return bad(r, "costs of units");
	u->n_hot = take_u32(&c, n_id);
	if (c.bad || u->n_hot > c.left)
		return bad(r, "hot units");
	u->hot = tr_calloc(TR_MAX(u->n_hot, 1u), sizeof(*u->hot));
	scratch = tr_calloc(TR_MAX(u->n_hot, 1u), sizeof(*scratch));
	ok = u->hot && scratch && take_hot(&c, u->hot, u->n_hot, n_id, scratch);
	free(scratch);
	if (!u->hot)
		goto nomem;
	if (*flags & TR_TRACE_UNITS_COPIES)
		u->n_promote = take_u32(&c, n_id);
	ok = ok && !c.bad;
	return !ok || c.left ? bad(r, "hot units") : 0;
nomem:
	return tr_err_set(r->err, TR_E_NOMEM, "%s: no memory", r->name);
}

/* --- VRAM ------------------------------------------------------------------------------------- */

/* No sum of sizes overflows: there are less than 2^32 experts. */
#define MAX_VRAM_BYTES ((uint64_t)1 << 56)
#define MAX_SLOT_BYTES ((uint64_t)1 << 31)

static int read_vram(struct reader *r)
{
	struct cursor c = { r->raw, r->n_raw, false };
	struct tr_trace_vram *v = &r->t->vram;
	uint32_t n = r->t->head.n_moe_layer;

	if (v->slot_bytes || r->t->n_set || n > c.left)
		return bad(r, "a device where there may be none");
	v->slot_bytes = tr_calloc(n, sizeof(*v->slot_bytes));
	if (!v->slot_bytes)
		return tr_err_set(r->err, TR_E_NOMEM, "%s: no memory", r->name);
	v->room_bytes = take_varint(&c);
	v->token_bytes = take_varint(&c);
	c.bad = c.bad || v->room_bytes > MAX_VRAM_BYTES || v->token_bytes > MAX_VRAM_BYTES;
	for (uint32_t i = 0; i < n; i++) {
		v->slot_bytes[i] = take_varint(&c);
		c.bad = c.bad || v->slot_bytes[i] > MAX_SLOT_BYTES;
	}
	return c.bad || c.left ? bad(r, "sizes of a device") : 0;
}

static int read_late(struct reader *r, struct cursor *c)
{
	uint32_t n_held = take_u32(c, UINT32_MAX), n_left = take_u32(c, UINT32_MAX);

	return c->bad ? bad(r, "copies are cut off") : tr_trace_add_late(r->t, n_held, n_left, r->err);
}

/* --- events ----------------------------------------------------------------------------------- */

static bool fit_picks(struct reader *r, size_t n)
{
	uint16_t *pick, *half;

	if (n <= r->cap_pick)
		return true;
	pick = reallocarray(r->pick, n, sizeof(*pick));
	if (pick)
		r->pick = pick;
	half = reallocarray(r->half, n, sizeof(*half));
	if (half)
		r->half = half;
	if (pick && half)
		r->cap_pick = n;
	return pick && half;
}

/* Low bytes, then high bytes unless !wide. */
static void take_planes(struct cursor *c, uint16_t *out, size_t n, bool wide)
{
	const uint8_t *low = take(c, n), *high = wide ? take(c, n) : NULL;

	for (size_t i = 0; i < n && !c->bad; i++)
		out[i] = (uint16_t)(low[i] | (wide ? high[i] << 8 : 0));
}

static int read_set(struct reader *r, struct cursor *c, bool scan)
{
	uint32_t layer = take_u32(c, TR_TRACE_MAX_LAYER), n_tok = take_u32(c, TR_TRACE_MAX_TOK);
	size_t n = (size_t)n_tok * r->t->head.n_used;

	if (c->bad || n > c->left)
		return bad(r, "a set is cut off");
	if (!fit_picks(r, n))
		return tr_err_set(r->err, TR_E_NOMEM, "%s: no memory", r->name);
	take_planes(c, r->pick, n, r->t->head.n_expert > 256);
	if (r->weights)
		take_planes(c, r->half, n, true);
	if (c->bad)
		return bad(r, "a set is cut off");
	return tr_trace_add(
		r->t, layer, n_tok, scan, r->pick, r->weights ? r->half : NULL, n, r->err);
}

static int read_scores(struct reader *r, struct cursor *c)
{
	const struct tr_trace_head *h = &r->t->head;
	uint32_t layer = take_u32(c, TR_TRACE_MAX_LAYER), ahead = take_u32(c, TR_TRACE_MAX_LAYER);
	struct tr_sketch s = { .n = tr_sketch_size(h->n_expert, h->n_used),
		.rest = (uint16_t)take_u32(c, UINT16_MAX) };

	if (!fit_picks(r, s.n))
		return tr_err_set(r->err, TR_E_NOMEM, "%s: no memory", r->name);
	s.expert = r->pick;
	s.score = r->half;
	take_planes(c, s.expert, s.n, h->n_expert > 256);
	take_planes(c, s.score, s.n, true);
	if (c->bad)
		return bad(r, "scores are cut off");
	return tr_trace_add_scores(r->t, layer, ahead, &s, r->err);
}

static int read_events(struct reader *r)
{
	struct cursor c = { r->raw, r->n_raw, false };
	int rc = 0;

	while (!rc && c.left) {
		uint8_t event = *take(&c, 1);

		if (event == TR_TRACE_SET || event == TR_TRACE_SET_SCAN)
			rc = read_set(r, &c, event == TR_TRACE_SET_SCAN);
		else if (event == TR_TRACE_SCORES)
			rc = read_scores(r, &c);
		else if (event == TR_TRACE_LATE)
			rc = read_late(r, &c);
		else if (event == TR_TRACE_STEP)
			tr_trace_end_step(r->t);
		else
			rc = bad(r, "an event of no known kind");
	}
	return rc;
}

static int read_blocks(struct reader *r)
{
	int rc;

	if (!read_block(r) || r->kind != TR_TRACE_HEAD)
		return bad(r, "no complete head");
	rc = read_head(r);
	while (!rc && read_block(r)) {
		if (r->kind == TR_TRACE_END) {
			r->t->complete = true;
			break;
		}
		if (r->kind == TR_TRACE_EVENTS)
			rc = read_events(r);
		else if (r->kind == TR_TRACE_UNITS)
			rc = read_units(r);
		else if (r->kind == TR_TRACE_VRAM)
			rc = read_vram(r);
		else
			rc = bad(r, "a block of no known kind");
	}
	return rc;
}

int tr_trace_read(struct tr_trace *t, FILE *in, const char *name, struct tr_err *err)
{
	struct reader r = { .t = t, .in = in, .name = name, .err = err };
	char magic[TR_TRACE_MAGIC_BYTES];
	int rc;

	*t = (struct tr_trace){ 0 };
	if (fread(magic, 1, sizeof(magic), in) != sizeof(magic) ||
		memcmp(magic, TR_TRACE_MAGIC, sizeof(magic)) != 0)
		rc = tr_err_set(err, TR_E_FORMAT, "%s: not a trace file", name);
	else
		rc = read_blocks(&r);
	free(r.stored);
	free(r.raw);
	free(r.pick);
	free(r.half);
	if (rc)
		tr_trace_fini(t);
	return rc;
}
