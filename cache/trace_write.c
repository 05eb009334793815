/* trace_write.c - events to bytes, bytes to blocks, blocks to the file. See trace_file.h. */
#include "cache/trace_write.h"
#include "base/mem.h"
#include "cache/trace_file.h"
#include "model/le.h"
#include "model/quant.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <zstd.h>

/* Fast enough not to be seen beside a token; higher levels save a few percent. */
#define ZSTD_LEVEL   3
#define VARINT_BYTES 10

struct tr_trace_writer {
	FILE *out;
	char *path;
	uint32_t n_expert, n_used, n_id, n_moe_layer;
	uint8_t *raw; /* the block in work */
	size_t n_raw, cap_raw;
	uint8_t *stored;
	size_t cap_stored;
	struct tr_err err; /* code 0: none */
};

static bool reserve(struct tr_trace_writer *w, size_t n)
{
	size_t cap = TR_MAX(w->cap_raw, (size_t)2 * TR_TRACE_BLOCK_BYTES);
	uint8_t *grown;

	if (w->err.code)
		return false;
	while (cap < w->n_raw + n)
		cap *= 2;
	if (cap == w->cap_raw)
		return true;
	grown = realloc(w->raw, cap);
	if (!grown) {
		tr_err_set(&w->err, TR_E_NOMEM, "%s: no memory for %zu bytes", w->path, cap);
		return false;
	}
	w->raw = grown;
	w->cap_raw = cap;
	return true;
}

/* The puts need room reserved. */
static void put_byte(struct tr_trace_writer *w, uint8_t v)
{
	w->raw[w->n_raw++] = v;
}

static void put_varint(struct tr_trace_writer *w, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		put_byte(w, (uint8_t)(v | 0x80));
	put_byte(w, (uint8_t)v);
}

static void put_text(struct tr_trace_writer *w, const char *text)
{
	size_t n = strlen(text);

	put_byte(w, (uint8_t)n);
	memcpy(w->raw + w->n_raw, text, n);
	w->n_raw += n;
}

/* Low bytes, then high bytes if wide. */
static void put_planes(struct tr_trace_writer *w, const uint16_t *v, size_t n, bool wide)
{
	for (int shift = 0; shift <= (wide ? 8 : 0); shift += 8)
		for (size_t i = 0; i < n; i++)
			put_byte(w, (uint8_t)(v[i] >> shift));
}

static void put_halves(struct tr_trace_writer *w, const float *x, size_t n)
{
	for (int shift = 0; shift <= 8; shift += 8)
		for (size_t i = 0; i < n; i++)
			put_byte(w, (uint8_t)(tr_f32_to_f16(x[i]) >> shift));
}

/* --- blocks ----------------------------------------------------------------------------------- */

static void put_block(struct tr_trace_writer *w, enum tr_trace_block kind, size_t n_stored)
{
	uint8_t head[TR_TRACE_BLOCK_HEAD_BYTES];
	uint64_t seed = (uint64_t)kind << 32 | w->n_raw;

	tr_put_le64(head, (uint64_t)n_stored << 32 | (uint32_t)kind);
	tr_put_le64(head + 8, w->n_raw);
	tr_put_le64(head + 16, XXH3_64bits_withSeed(w->stored, n_stored, seed));
	if (fwrite(head, 1, sizeof(head), w->out) != sizeof(head) ||
		fwrite(w->stored, 1, n_stored, w->out) != n_stored || fflush(w->out))
		tr_err_sys(&w->err, errno, "%s: recording ends here", w->path);
}

static void flush_block(struct tr_trace_writer *w, enum tr_trace_block kind)
{
	size_t need = ZSTD_compressBound(w->n_raw), n_stored = 0;
	uint8_t *grown;

	if (w->err.code)
		return;
	if (need > w->cap_stored) {
		grown = realloc(w->stored, need);
		if (!grown) {
			tr_err_set(
				&w->err, TR_E_NOMEM, "%s: no memory for %zu bytes", w->path, need);
			return;
		}
		w->stored = grown;
		w->cap_stored = need;
	}
	if (w->n_raw)
		n_stored = ZSTD_compress(w->stored, w->cap_stored, w->raw, w->n_raw, ZSTD_LEVEL);
	if (ZSTD_isError(n_stored)) {
		tr_err_set(&w->err, TR_E_IO, "%s: %s", w->path, ZSTD_getErrorName(n_stored));
		return;
	}
	put_block(w, kind, n_stored);
	w->n_raw = 0;
}

static void end_event(struct tr_trace_writer *w)
{
	if (w->n_raw >= TR_TRACE_BLOCK_BYTES)
		flush_block(w, TR_TRACE_EVENTS);
}

/* --- events ----------------------------------------------------------------------------------- */

void tr_trace_write_set(struct tr_trace_writer *w, uint32_t layer, uint32_t n_tok, bool scan,
	const uint32_t *experts, const float *weights)
{
	size_t n = (size_t)n_tok * w->n_used;

	if (!reserve(w, 1 + 2 * VARINT_BYTES + 4 * n))
		return;
	put_byte(w, scan ? TR_TRACE_SET_SCAN : TR_TRACE_SET);
	put_varint(w, layer);
	put_varint(w, n_tok);
	for (int shift = 0; shift <= (w->n_expert > 256 ? 8 : 0); shift += 8)
		for (size_t i = 0; i < n; i++)
			put_byte(w, (uint8_t)(experts[i] >> shift));
	put_halves(w, weights, n);
	end_event(w);
}

void tr_trace_write_scores(struct tr_trace_writer *w, uint32_t layer, uint32_t ahead,
	const struct tr_sketch *sketch)
{
	if (!reserve(w, 1 + 3 * VARINT_BYTES + 4 * (size_t)sketch->n))
		return;
	put_byte(w, TR_TRACE_SCORES);
	put_varint(w, layer);
	put_varint(w, ahead);
	put_varint(w, sketch->rest);
	put_planes(w, sketch->expert, sketch->n, w->n_expert > 256);
	put_planes(w, sketch->score, sketch->n, true);
	end_event(w);
}

void tr_trace_write_late(struct tr_trace_writer *w, uint32_t n_held, uint32_t n_left)
{
	if (!reserve(w, 1 + 2 * VARINT_BYTES))
		return;
	put_byte(w, TR_TRACE_LATE);
	put_varint(w, n_held);
	put_varint(w, n_left);
	end_event(w);
}

void tr_trace_write_step(struct tr_trace_writer *w)
{
	if (!reserve(w, 1))
		return;
	put_byte(w, TR_TRACE_STEP);
	end_event(w);
}

void tr_trace_write_units(struct tr_trace_writer *w, const struct tr_trace_units *u)
{
	size_t n_home = u->home ? w->n_id : 0, n_cost = u->cost ? w->n_id : 0;
	uint32_t bits;

	if (!reserve(w, 1 + n_home + 4 * n_cost + (2 + (size_t)u->n_hot) * VARINT_BYTES))
		return;
	put_byte(w, (uint8_t)((u->home ? TR_TRACE_UNITS_HOMES : 0) |
			      (u->cost ? TR_TRACE_UNITS_COSTS : 0) |
			      (u->n_promote ? TR_TRACE_UNITS_COPIES : 0)));
	for (size_t i = 0; i < n_home; i++)
		put_byte(w, u->home[i]);
	for (size_t i = 0; i < n_cost; i++) {
		memcpy(&bits, &u->cost[i], sizeof(bits));
		for (int shift = 0; shift < 32; shift += 8)
			put_byte(w, (uint8_t)(bits >> shift));
	}
	put_varint(w, u->n_hot);
	for (uint32_t i = 0; i < u->n_hot; i++)
		put_varint(w, u->hot[i]);
	if (u->n_promote)
		put_varint(w, u->n_promote);
	flush_block(w, TR_TRACE_UNITS);
}

void tr_trace_write_vram(struct tr_trace_writer *w, const struct tr_trace_vram *v)
{
	if (!reserve(w, (2 + (size_t)w->n_moe_layer) * VARINT_BYTES))
		return;
	put_varint(w, v->room_bytes);
	put_varint(w, v->token_bytes);
	for (uint32_t i = 0; i < w->n_moe_layer; i++)
		put_varint(w, v->slot_bytes[i]);
	flush_block(w, TR_TRACE_VRAM);
}

/* --- open and close --------------------------------------------------------------------------- */

static void write_head(struct tr_trace_writer *w, const struct tr_trace_head *h)
{
	if (!reserve(w, sizeof(*h) + (5 + 2 * (size_t)h->n_moe_layer) * VARINT_BYTES))
		return;
	put_varint(w, h->n_layer);
	put_varint(w, h->n_moe_layer);
	put_varint(w, h->n_expert);
	put_varint(w, h->n_used);
	put_varint(w, h->slot_bytes);
	for (uint32_t i = 0; i < h->n_moe_layer; i++) {
		put_varint(w, h->layers[i].layer);
		put_varint(w, h->layers[i].unit_bytes);
	}
	put_byte(w, TR_TRACE_FLAG_WEIGHTS);
	put_text(w, h->model);
	put_text(w, h->fingerprint);
	flush_block(w, TR_TRACE_HEAD);
}

static int check_head(const struct tr_trace_head *h, const char *path, struct tr_err *err)
{
	if (h->n_moe_layer > TR_TRACE_MAX_LAYER || h->n_expert > TR_TRACE_MAX_EXPERT)
		return tr_err_set(err, TR_E_LIMIT, "%s: %u layers of %u experts: at most %u of %u",
			path, h->n_moe_layer, h->n_expert, TR_TRACE_MAX_LAYER, TR_TRACE_MAX_EXPERT);
	return 0;
}

int tr_trace_writer_open(struct tr_trace_writer **out, const char *path,
	const struct tr_trace_head *head, struct tr_err *err)
{
	int rc = check_head(head, path, err);
	struct tr_trace_writer *w;

	if (rc)
		return rc;
	w = tr_calloc(1, sizeof(*w));
	if (!w)
		return tr_err_set(err, TR_E_NOMEM, "%s: no memory", path);
	w->n_expert = head->n_expert;
	w->n_used = head->n_used;
	w->n_moe_layer = head->n_moe_layer;
	w->n_id = head->n_moe_layer * head->n_expert;
	w->path = strdup(path);
	if (!w->path)
		tr_err_set(&w->err, TR_E_NOMEM, "%s: no memory", path);
	else if (!(w->out = fopen(path, "wb")))
		tr_err_sys(&w->err, errno, "%s", path);
	else if (fwrite(TR_TRACE_MAGIC, 1, TR_TRACE_MAGIC_BYTES, w->out) != TR_TRACE_MAGIC_BYTES)
		tr_err_sys(&w->err, errno, "%s", path);
	write_head(w, head);
	if (w->err.code)
		return tr_trace_writer_close(w, err);
	*out = w;
	return 0;
}

const struct tr_err *tr_trace_writer_error(const struct tr_trace_writer *w)
{
	return w->err.code ? &w->err : NULL;
}

int tr_trace_writer_close(struct tr_trace_writer *w, struct tr_err *err)
{
	int rc;

	if (!w)
		return 0;
	if (w->n_raw)
		flush_block(w, TR_TRACE_EVENTS);
	flush_block(w, TR_TRACE_END);
	if (w->out && fclose(w->out) && !w->err.code)
		tr_err_sys(&w->err, errno, "%s", w->path);
	rc = w->err.code;
	if (rc && err)
		*err = w->err;
	free(w->raw);
	free(w->stored);
	free(w->path);
	free(w);
	return rc;
}
