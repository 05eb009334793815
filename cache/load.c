#include "cache/load.h"
#include "base/mem.h"
#include "cache/cache.h"

#include <stdlib.h>
#include <string.h>

static uint64_t window_bytes(const struct tr_extent *part, uint64_t align)
{
	return TR_ALIGN_UP(part->off + part->bytes, align) - TR_ALIGN_DOWN(part->off, align);
}

uint64_t tr_cache_slot_bytes_for(const struct tr_catalog *catalog, uint32_t align)
{
	uint64_t most = 0, bytes;

	for (size_t id = 0; id < catalog->n_unit; id++) {
		bytes = 0;
		for (int p = 0; p < TR_N_PART; p++)
			bytes += window_bytes(&catalog->units[id].part[p], TR_MAX(align, 1u));
		most = TR_MAX(most, bytes);
	}
	return tr_slot_stride(most);
}

uint64_t tr_loads_align(const struct tr_catalog *catalog, const struct tr_file *files)
{
	uint64_t align = 1;

	for (size_t id = 0; id < catalog->n_unit; id++)
		for (int p = 0; p < TR_N_PART; p++) {
			const struct tr_file *f = &files[catalog->units[id].part[p].shard];

			align = TR_MAX(align, TR_MAX(f->align_off, f->align_mem));
		}
	return align;
}

int tr_loads_init(struct tr_loads *l, const struct tr_catalog *catalog, struct tr_io *io,
	struct tr_file *files, uint32_t n_slot, struct tr_err *err)
{
	*l = (struct tr_loads){ .catalog = catalog, .io = io, .files = files };
	l->align = tr_loads_align(catalog, files);
	l->load = tr_calloc(n_slot, sizeof(*l->load));
	l->batch = tr_calloc((size_t)n_slot * TR_N_PART, sizeof(struct tr_io_req *));
	if (l->load && l->batch)
		return 0;
	tr_loads_fini(l);
	return tr_err_set(
		err, TR_E_NOMEM, "expert cache: no memory for the reads of %u slots", n_slot);
}

void tr_loads_fini(struct tr_loads *l)
{
	free(l->load);
	free(l->batch);
	*l = (struct tr_loads){ 0 };
}

/* Offset of a part's window in the slot, and the window in the file. */
static uint64_t place(
	const struct tr_loads *l, uint32_t id, int part, uint64_t *win_off, uint64_t *win_len)
{
	const struct tr_extent *x = l->catalog->units[id].part;
	uint64_t at = 0;

	for (int p = 0;; p++) {
		tr_file_window(&l->files[x[p].shard], x[p].off, x[p].bytes, win_off, win_len);
		if (p == part)
			return at;
		at += TR_ALIGN_UP(*win_len, l->align);
	}
}

void tr_loads_parts(const struct tr_loads *l, uint32_t id, void *base, const void *part[TR_N_PART])
{
	uint64_t win_off, win_len, at;

	for (int p = 0; p < TR_N_PART; p++) {
		at = place(l, id, p, &win_off, &win_len);
		part[p] = (uint8_t *)base + at + (l->catalog->units[id].part[p].off - win_off);
	}
}

static bool same_shape(const struct tr_moe_layer *a, const struct tr_moe_layer *b)
{
	return !memcmp(a->rows, b->rows, sizeof(a->rows)) &&
		!memcmp(a->row_bytes, b->row_bytes, sizeof(a->row_bytes));
}

static const struct tr_moe_layer *commonest_shape(const struct tr_catalog *c)
{
	const struct tr_moe_layer *best = &c->moe_layers[0];
	size_t most = 0;

	for (size_t i = 0; i < c->n_moe_layer; i++) {
		size_t n = 0;

		for (size_t k = 0; k < c->n_moe_layer; k++)
			n += same_shape(&c->moe_layers[i], &c->moe_layers[k]);
		if (n > most) {
			most = n;
			best = &c->moe_layers[i];
		}
	}
	return best;
}

void tr_loads_place(const struct tr_loads *l, struct tr_slots *slots, const struct tr_topo *topo)
{
	const struct tr_moe_layer *layer = commonest_shape(l->catalog);
	const struct tr_unit *unit = &l->catalog->units[layer->first_unit];
	struct tr_slot_part part[TR_N_PART];
	uint64_t win_off, win_len;

	for (int p = 0; p < TR_N_PART; p++) {
		part[p].off = place(l, layer->first_unit, p, &win_off, &win_len);
		part[p].off += unit->part[p].off - win_off;
		part[p].n_row = layer->rows[p];
		part[p].row_bytes = layer->row_bytes[p];
	}
	tr_slots_place(slots, topo, part);
}

struct tr_load *tr_loads_begin(struct tr_loads *l, uint32_t slot, uint32_t id, void *owner)
{
	struct tr_load *load = &l->load[slot];

	load->owner = owner;
	load->id = id;
	load->n_left = TR_N_PART;
	load->begin_ns = load->end_ns = 0;
	load->failed = false;
	load->ahead = false;
	load->warm = false;
	load->staged = false;
	load->cancelled = false;
	return load;
}

void tr_loads_add(struct tr_loads *l, uint32_t slot, uint32_t id, void *base,
	enum tr_io_prio prio, tr_io_done_fn *done, void *owner)
{
	const struct tr_extent *x = l->catalog->units[id].part;
	struct tr_load *load = tr_loads_begin(l, slot, id, owner);
	uint64_t win_off, win_len, at;

	for (int p = 0; p < TR_N_PART; p++) {
		struct tr_io_req *req = &load->req[p];

		at = place(l, id, p, &win_off, &win_len);
		req->file = &l->files[x[p].shard];
		req->off = win_off;
		req->len = win_len;
		req->need = x[p].off - win_off + x[p].bytes;
		req->buf = (uint8_t *)base + at;
		req->prio = prio;
		req->done = done;
		req->ctx = load;
		l->batch[l->n_batch++] = req;
	}
}

void tr_loads_submit(struct tr_loads *l)
{
	if (l->n_batch)
		tr_io_submit(l->io, l->batch, l->n_batch);
	l->n_batch = 0;
}

/* Reads start in the order of their submission, so the first tells; should the others have started
 * meanwhile, they run to their end and the load fails all the same. */
bool tr_load_cancel(struct tr_loads *l, struct tr_load *load)
{
	if (load->cancelled || !tr_io_cancel(l->io, &load->req[0]))
		return false;
	for (int p = 1; p < TR_N_PART; p++)
		tr_io_cancel(l->io, &load->req[p]);
	load->cancelled = true;
	return true;
}

void tr_load_promote(struct tr_loads *l, struct tr_load *load)
{
	for (int p = 0; p < TR_N_PART; p++)
		tr_io_promote(l->io, &load->req[p]);
}

bool tr_load_note(struct tr_load *load, const struct tr_io_req *req)
{
	load->failed |= req->result != 0;
	return --load->n_left == 0;
}

int tr_load_explain(const struct tr_loads *l, const struct tr_load *load, struct tr_err *err)
{
	static const char *const name[TR_N_PART] = { "gate", "up", "down" };
	const struct tr_unit *unit = &l->catalog->units[load->id];

	for (int p = 0; p < TR_N_PART; p++) {
		if (!load->req[p].result)
			continue;
		tr_io_explain(&load->req[p], err);
		if (err)
			tr_err_prefix(
				err, "layer %u expert %u %s", unit->layer, unit->expert, name[p]);
		break;
	}
	return TR_E_IO;
}
