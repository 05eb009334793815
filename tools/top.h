/*
 * top.h - the live view: what is gathered, how it is drawn, where it is shown.
 *
 * tr_top keeps statuses of a run, tr_top_rates makes sense of them, tr_top_draw puts that into a
 * frame of characters. A frame goes to a terminal (screen.h) or to a file, so what is seen can be
 * tested.
 */
#ifndef TR_TOOLS_TOP_H
#define TR_TOOLS_TOP_H

#include "tools/frame.h"

#include "tierra.h"

#include <jansson.h>

/* --- gathered --------------------------------------------------------------------------------- */

#define TR_TOP_N_PAST	 32
#define TR_TOP_WINDOW_NS 5000000000u /* "now" is the last five seconds */

struct tr_top {
	struct tr_live now;
	uint64_t seen_ns;     /* when it was read */
	struct tr_live *past; /* [TR_TOP_N_PAST], a ring of older ones */
	size_t n_past, next;
};

void tr_top_init(struct tr_top *top);
void tr_top_fini(struct tr_top *top);
/* Another status, read at seen_ns of the monotonic clock. */
void tr_top_add(struct tr_top *top, const struct tr_live *live, uint64_t seen_ns);

/* Shares are 0 to 1; a negative number is one that is not known. */
struct tr_top_tier {
	double hit_now, hit;
	double bytes_per_s;
};

struct tr_top_rates {
	double seconds;			/* that "now" covers; 0: nothing to compare with */
	double idle_s;			/* since the status was written */
	double run_s;			/* since the engine began to open */
	double tokens_per_s;		/* now */
	double overall;			/* decoding; prefill while nothing was decoded */
	double minute[TR_LIVE_SECONDS]; /* tokens/s of whole seconds, oldest first */
	size_t n_minute;
	struct tr_top_tier tier[TR_MAX_TIER];
	double lane[TR_N_LANE], lane_all[TR_N_LANE];
	double disk_bytes_per_s, disk_busy;
	double ahead; /* of decoding, by routers applied ahead and predictor */
	double dram[TR_LIVE_MAX_LAYER],
		memory[TR_LIVE_MAX_LAYER]; /* hits of a layer now; with pmem */
};

void tr_top_rates(const struct tr_top *top, struct tr_top_rates *out);

/* The names of enum tr_lane in JSON. */
extern const char *const tr_lane_names[TR_N_LANE];
extern const char *const tr_phase_names[TR_N_LIVE_PHASE];

/* A new object, NULL when out of memory. */
json_t *tr_top_json(const struct tr_top *top);

/* --- drawn ------------------------------------------------------------------------------------ */

struct tr_top_look {
	const char *text; /* generated so far, for a pane of its own; NULL: no pane */
	size_t text_bytes;
	const char *keys; /* for the last line; NULL: no such line */
};

struct tr_top_view {
	const struct tr_live *n;
	struct tr_top_rates r;
	const struct tr_top_look *look;
};

struct tr_top_section {
	/* Returns the rows that it took; a frame of 16 is enough. */
	unsigned (*draw)(struct tr_frame *frame, const struct tr_top_view *view);
	unsigned importance; /* 0 is never left out; at most 8 */
	bool group;	     /* a blank line before it, if there is one to spare */
};

#define TR_TOP_N_SECTION 10

/* From the top; the last one belongs to the bottom. */
extern const struct tr_top_section tr_top_sections[TR_TOP_N_SECTION];

/* Fills a frame. What does not fit is left out, the least important first; no line is longer than
 * the frame is wide. A frame of 0 rows gets as many as it takes. */
void tr_top_draw(struct tr_frame *frame, const struct tr_top *top, const struct tr_top_look *look);

/* The end of a text, wrapped, into the last n_row rows from row on. */
void tr_top_draw_text(
	struct tr_frame *frame, unsigned row, unsigned n_row, const char *text, size_t text_bytes);

#endif
