/*
 * top_sections.c - the sections of the live view, each drawn from the first row of a frame of its
 * own.
 *
 * A section that has nothing to say takes no row.
 */
#include "tools/table.h"
#include "tools/top.h"

#include <inttypes.h>
#include <string.h>

#define LABEL	    10 /* columns before what a line says */
#define HEAT_NAME   7  /* " +pmem" behind a row of layers */
#define TITLE_MODEL 12 /* of its name at least */

/* --- pieces ----------------------------------------------------------------------------------- */

/* "95.4%", "-" when it is not known. */
static const char *percent(double share, char buf[16])
{
	if (share < 0)
		return "-";
	snprintf(buf, 16, "%.*f%%", share < 0.9995 ? 1 : 0, 100 * share);
	return buf;
}

static const char *per_s(double bytes, char buf[32])
{
	if (bytes < 0)
		return "-";
	tr_table_bytes((uint64_t)bytes, buf, 28);
	strcat(buf, "/s");
	return buf;
}

static const char *number(double v, char buf[16])
{
	if (v < 0)
		return "-";
	snprintf(buf, 16, v < 10 ? "%.2f" : v < 1000 ? "%.1f" : "%.0f", v);
	return buf;
}

static enum tr_style style_of_hits(double v)
{
	return v < 0	  ? TR_STYLE_DIM
	       : v >= 0.9 ? TR_STYLE_GOOD
	       : v >= 0.6 ? TR_STYLE_FAIR
			  : TR_STYLE_POOR;
}

static void put_right(
	struct tr_frame *f, unsigned row, unsigned end, enum tr_style style, const char *text)
{
	unsigned width = tr_frame_width(text);

	if (width <= end)
		tr_frame_put(f, row, end - width, style, "%s", text);
}

static unsigned label(struct tr_frame *f, unsigned row, const char *text)
{
	tr_frame_put(f, row, 1, TR_STYLE_BOLD, "%s", text);
	return 1 + LABEL;
}

/* "what value" if all of it fits, else nothing. Items stand two columns apart. */
static unsigned item(
	struct tr_frame *f, unsigned row, unsigned col, const char *what, const char *value)
{
	if (col + strlen(what) + 1 + tr_frame_width(value) > f->cols)
		return f->cols; /* nor is there room for those behind it */
	if (*what) {
		col = tr_frame_put(f, row, col, TR_STYLE_DIM, "%s", what);
		col++;
	}
	return tr_frame_put(f, row, col, TR_STYLE_PLAIN, "%s", value) + 2;
}

static unsigned item_count(
	struct tr_frame *f, unsigned row, unsigned col, const char *what, uint64_t v)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRIu64, v);
	return item(f, row, col, what, text);
}

static unsigned item_bytes(
	struct tr_frame *f, unsigned row, unsigned col, const char *what, uint64_t v)
{
	char text[32];

	return item(f, row, col, what, tr_table_bytes(v, text, sizeof(text)));
}

static unsigned item_share(
	struct tr_frame *f, unsigned row, unsigned col, const char *what, double v)
{
	char text[16];

	return item(f, row, col, what, percent(v, text));
}

/* --- title and speed -------------------------------------------------------------------------- */

static void clock_text(char *buf, size_t cap, double seconds)
{
	uint64_t s = seconds > 0 ? (uint64_t)seconds : 0;

	if (s >= 3600)
		snprintf(buf, cap, "%" PRIu64 ":%02u:%02u", s / 3600, (unsigned)(s / 60 % 60),
			(unsigned)(s % 60));
	else
		snprintf(buf, cap, "%u:%02u", (unsigned)(s / 60), (unsigned)(s % 60));
}

static unsigned draw_title(struct tr_frame *f, const struct tr_top_view *v)
{
	char left[192], right[3][96], clock[32];
	unsigned pid_width;

	clock_text(clock, sizeof(clock), v->r.run_s);
	snprintf(left, sizeof(left), "tierra %" PRIu64 "  ", v->n->pid);
	pid_width = 1 + tr_frame_width(left);
	snprintf(left + strlen(left), sizeof(left) - strlen(left), "%s", v->n->model);
	snprintf(right[0], sizeof(right[0]), "  %s  %" PRIu64 "/%" PRIu32 " tokens  %s ",
		tr_phase_names[v->n->phase], v->n->n_past, v->n->n_ctx, clock);
	snprintf(right[1], sizeof(right[1]), "  %s  %s ", tr_phase_names[v->n->phase], clock);
	snprintf(right[2], sizeof(right[2]), "  %s ", tr_phase_names[v->n->phase]);
	for (unsigned i = 0; i < f->cols; i++)
		tr_frame_put(f, 0, i, TR_STYLE_TITLE, " ");
	tr_frame_put(f, 0, 1, TR_STYLE_TITLE, "%s", left);
	for (size_t i = 0; i < 3; i++)
		if (pid_width + TITLE_MODEL + tr_frame_width(right[i]) <= f->cols) {
			put_right(f, 0, f->cols, TR_STYLE_TITLE, right[i]);
			break;
		}
	return 1;
}

static unsigned draw_progress(struct tr_frame *f, const struct tr_top_view *v)
{
	const struct tr_live *n = v->n;
	double share = n->total ? (double)n->done / (double)n->total : 0;
	char done[64], a[32], b[32], rate[16];
	unsigned col = label(f, 0, n->phase == TR_LIVE_LOAD ? "load" : "prefill");

	if (!strcmp(n->unit, "bytes"))
		snprintf(done, sizeof(done), "%s of %s", tr_table_bytes(n->done, a, sizeof(a)),
			tr_table_bytes(n->total, b, sizeof(b)));
	else
		snprintf(done, sizeof(done), "%" PRIu64 " of %" PRIu64 " %s", n->done, n->total,
			n->unit);
	if (f->cols > col + 50) {
		tr_frame_bar(f, 0, col, 16, share, TR_STYLE_ACCENT);
		col += 18;
	}
	col = item(f, 0, col, n->phase == TR_LIVE_LOAD ? n->step : "", done);
	col = item_share(f, 0, col, "", share);
	if (n->phase == TR_LIVE_PREFILL && v->r.overall > 0)
		item(f, 0, col, "tokens/s", number(v->r.overall, rate));
	return 1;
}

/* Seconds of the last minute, newest to the right, several to a column where there is no room. */
static void draw_spark(
	struct tr_frame *f, unsigned row, unsigned col, unsigned room, const struct tr_top_rates *r)
{
	unsigned per = room >= 60 ? 1 : room >= 30 ? 2 : room >= 20 ? 3 : 6, n = 60 / per;
	double most = 0;

	for (size_t i = 0; i < r->n_minute; i++)
		most = r->minute[i] > most ? r->minute[i] : most;
	for (unsigned c = 0; c < n; c++) {
		size_t end = (size_t)(n - 1 - c) * per; /* seconds after this column */
		double sum = 0;
		unsigned have = 0;

		for (size_t i = end; i < end + per && i < r->n_minute; i++, have++)
			sum += r->minute[r->n_minute - 1 - i];
		if (have)
			tr_frame_put(f, row, col + c, sum > 0 ? TR_STYLE_ACCENT : TR_STYLE_DIM,
				"%s", tr_frame_height(f, most > 0 ? sum / have / most * 0.999 : 0));
		else
			tr_frame_put(
				f, row, col + c, TR_STYLE_DIM, "%s", f->ascii ? "." : "\u00b7");
	}
}

static unsigned draw_speed(struct tr_frame *f, const struct tr_top_view *v)
{
	char now[16], all[16];
	unsigned col, room;

	if (v->n->phase != TR_LIVE_DECODE)
		return draw_progress(f, v);
	col = label(f, 0, "tokens/s");
	col = tr_frame_put(f, 0, col, TR_STYLE_BOLD, "%s", number(v->r.tokens_per_s, now));
	col = tr_frame_put(f, 0, col, TR_STYLE_DIM, " now  ");
	col = tr_frame_put(f, 0, col, TR_STYLE_PLAIN, "%s", number(v->r.overall, all));
	col = tr_frame_put(f, 0, col, TR_STYLE_DIM, " overall  ");
	room = f->cols > col + 5 ? f->cols - col - 5 : 0;
	if (room >= 10) {
		draw_spark(f, 0, col, room, &v->r);
		col += room >= 60 ? 60 : room >= 30 ? 30 : room >= 20 ? 20 : 10;
		tr_frame_put(f, 0, col, TR_STYLE_DIM, " 60 s");
	}
	return 1;
}

/* --- tiers ------------------------------------------------------------------------------------ */

struct tier_columns {
	unsigned capacity, used, now, bar, bar_width, all, rate; /* ends; 0: left out */
	unsigned name_width;
};

static struct tier_columns tier_columns(const struct tr_frame *f, const struct tr_live *n)
{
	struct tier_columns c = { .name_width = 6 };
	unsigned at, longest = 6;

	for (size_t i = 0; i < n->stats.n_tier; i++) {
		unsigned w = tr_frame_width(n->stats.tier[i].name);

		longest = w > longest ? w : longest;
	}
	at = f->cols >= 120 ? 40 : f->cols >= 76 ? 16 : 10;
	c.name_width = longest < at ? longest : at;
	at = 1 + (c.name_width < LABEL - 1 ? LABEL - 1 : c.name_width);
	c.capacity = f->cols >= 60 ? at += 10 : 0;
	c.used = at += 11;
	c.now = at += 8;
	if (f->cols >= 72) {
		c.bar_width = f->cols >= 120 ? 32 : 11;
		c.bar = at + 1;
		at += 1 + c.bar_width;
	}
	c.all = at += 9;
	c.rate = at + 13 <= f->cols ? at + 13 : 0;
	return c;
}

static void draw_tier(struct tr_frame *f, unsigned row, const struct tr_top_view *v, size_t i,
	const struct tier_columns *c)
{
	const struct tr_tier_stats *t = &v->n->stats.tier[i];
	const struct tr_top_tier *r = &v->r.tier[i];
	bool last = i + 1 == v->n->stats.n_tier; /* what is not elsewhere is here */
	double now = r->hit_now >= 0 ? r->hit_now : r->hit;
	char text[32], share[16];

	tr_frame_put(f, row, 1, TR_STYLE_PLAIN, "%.*s", (int)c->name_width, t->name);
	tr_table_bytes(t->capacity_bytes, text, sizeof(text));
	if (c->capacity)
		put_right(f, row, c->capacity, TR_STYLE_PLAIN, t->capacity_bytes ? text : "-");
	put_right(
		f, row, c->used, TR_STYLE_PLAIN, tr_table_bytes(t->used_bytes, text, sizeof(text)));
	if (!last) {
		put_right(f, row, c->now, style_of_hits(now), percent(r->hit_now, share));
		put_right(f, row, c->all, TR_STYLE_PLAIN, percent(r->hit, share));
		if (c->bar)
			tr_frame_bar(f, row, c->bar, c->bar_width, r->hit_now, style_of_hits(now));
	}
	if (c->rate)
		put_right(f, row, c->rate, TR_STYLE_PLAIN, per_s(r->bytes_per_s, text));
}

static unsigned draw_tiers(struct tr_frame *f, const struct tr_top_view *v)
{
	struct tier_columns c = tier_columns(f, v->n);

	if (!v->n->stats.n_tier)
		return 0;
	tr_frame_put(f, 0, 1, TR_STYLE_BOLD, "tier");
	if (c.capacity)
		put_right(f, 0, c.capacity, TR_STYLE_DIM, "size");
	put_right(f, 0, c.used, TR_STYLE_DIM, "used");
	put_right(f, 0, c.now, TR_STYLE_DIM, "hit now");
	put_right(f, 0, c.all, TR_STYLE_DIM, "overall");
	if (c.rate)
		put_right(f, 0, c.rate, TR_STYLE_DIM, "from here");
	for (size_t i = 0; i < v->n->stats.n_tier; i++)
		draw_tier(f, 1 + (unsigned)i, v, i, &c);
	return 1 + (unsigned)v->n->stats.n_tier;
}

/* --- lanes ------------------------------------------------------------------------------------ */

static const struct {
	enum tr_lane lane;
	const char *name;
	enum tr_style style;
} shown_lanes[] = {
	{ TR_LANE_ATTENTION, "attention", TR_STYLE_ACCENT },
	{ TR_LANE_ALWAYS, "other weights", TR_STYLE_ACCENT },
	{ TR_LANE_DRAM, "experts dram", TR_STYLE_GOOD },
	{ TR_LANE_PMEM, "experts pmem", TR_STYLE_GOOD },
	{ TR_LANE_DISK, "experts disk", TR_STYLE_FAIR },
	{ TR_LANE_WAIT, "disk wait", TR_STYLE_POOR },
	{ TR_LANE_CACHE, "cache", TR_STYLE_ACCENT },
	{ TR_LANE_AHEAD, "predictor", TR_STYLE_ACCENT },
	{ TR_LANE_DEVICE, "device wait", TR_STYLE_FAIR },
	{ TR_LANE_REST, "between tokens", TR_STYLE_ACCENT },
};

#define N_SHOWN	   (sizeof(shown_lanes) / sizeof(shown_lanes[0]))
#define LANE_LABEL 15
#define LANE_SHARE 7

static bool has_tier(const struct tr_stats *s, const char *kind)
{
	for (size_t i = 0; i < s->n_tier; i++)
		if (!strncmp(s->tier[i].name, kind, strlen(kind)))
			return true;
	return false;
}

/* A lane that has no part in this run is no row. */
static bool has_lane(const struct tr_top_view *v, enum tr_lane lane)
{
	if (lane == TR_LANE_PMEM)
		return has_tier(&v->n->stats, "pmem:");
	if (lane == TR_LANE_DEVICE)
		return v->n->lane_ns[TR_LANE_DEVICE] > 0;
	if (lane == TR_LANE_AHEAD)
		return v->n->lane_ns[TR_LANE_AHEAD] > 0;
	return true;
}

static unsigned draw_lanes(struct tr_frame *f, const struct tr_top_view *v)
{
	unsigned n_col = f->cols >= 150 ? 4 : f->cols >= 110 ? 3 : f->cols >= 56 ? 2 : 1;
	unsigned cell = (f->cols - 1) / n_col, at = 0;
	char share[16];

	if (!v->n->stats.n_tier)
		return 0;
	tr_frame_put(f, 0, 1, TR_STYLE_BOLD, "lanes");
	if (v->r.seconds > 0)
		tr_frame_put(f, 0, 1 + LABEL, TR_STYLE_DIM, "share of the time, last %.1f s",
			v->r.seconds);
	else
		tr_frame_put(f, 0, 1 + LABEL, TR_STYLE_DIM, "share of the time");
	for (size_t i = 0; i < N_SHOWN; i++) {
		unsigned row = 1 + at / n_col, col = 1 + at % n_col * cell;
		double part = v->r.lane[shown_lanes[i].lane];

		if (!has_lane(v, shown_lanes[i].lane))
			continue;
		tr_frame_put(f, row, col, TR_STYLE_PLAIN, "%s", shown_lanes[i].name);
		put_right(f, row, col + LANE_LABEL + LANE_SHARE - 1, TR_STYLE_PLAIN,
			percent(part, share));
		if (cell > LANE_LABEL + LANE_SHARE + 4)
			tr_frame_bar(f, row, col + LANE_LABEL + LANE_SHARE,
				cell - LANE_LABEL - LANE_SHARE - 2, part, shown_lanes[i].style);
		at++;
	}
	return 1 + (at + n_col - 1) / n_col;
}

/* --- single lines ----------------------------------------------------------------------------- */

static unsigned draw_disk(struct tr_frame *f, const struct tr_top_view *v)
{
	const struct tr_stats *s = &v->n->stats;
	unsigned col = label(f, 0, "disk");
	char text[32];

	if (!s->n_tier)
		return 0;
	col = item(f, 0, col, "reads", per_s(v->r.disk_bytes_per_s, text));
	col = item_share(f, 0, col, "busy", v->r.disk_busy);
	col = item_count(f, 0, col, "experts", s->tier[s->n_tier - 1].hits);
	col = item_bytes(f, 0, col, "read", s->tier[s->n_tier - 1].bytes);
	item(f, 0, col, "by", s->io_method);
	return 1;
}

static unsigned draw_prefetch(struct tr_frame *f, const struct tr_top_view *v)
{
	const struct tr_prefetch_stats *p = &v->n->stats.prefetch;
	unsigned col = label(f, 0, "prefetch");
	char text[64], bytes[32];

	if (!v->n->stats.n_tier)
		return 0;
	if (!strcmp(p->mode, "off") || !*p->mode) {
		item(f, 0, col, "", "off");
		return 1;
	}
	snprintf(text, sizeof(text), strcmp(p->mode, "auto") ? "%s" : "auto, %s",
		p->on ? "on" : "off");
	col = item(f, 0, col, "", text);
	col = item_count(f, 0, col, "issued", p->issued);
	col = item_count(f, 0, col, "used", p->useful + p->late);
	snprintf(text, sizeof(text), "%" PRIu64 " (%s)", p->wasted,
		tr_table_bytes(p->wasted_bytes, bytes, sizeof(bytes)));
	col = item(f, 0, col, "wasted", text);
	item_bytes(f, 0, col, "budget", p->budget_bytes);
	return 1;
}

static unsigned draw_predictor(struct tr_frame *f, const struct tr_top_view *v)
{
	const struct tr_predictor_stats *p = &v->n->stats.predictor;
	unsigned col = label(f, 0, "predictor");

	if (!v->n->stats.n_tier)
		return 0;
	if (!p->visits) {
		item(f, 0, col, "", *p->name ? p->name : "none");
		return 1;
	}
	col = item(f, 0, col, "", p->name);
	col = item_share(f, 0, col, "recall", p->recall);
	col = item_share(f, 0, col, "precision", p->precision);
	item_share(f, 0, col, "of decoding", v->r.ahead);
	return 1;
}

static unsigned draw_memory(struct tr_frame *f, const struct tr_top_view *v)
{
	const struct tr_stats *s = &v->n->stats;
	unsigned col = label(f, 0, "memory");

	col = item_bytes(f, 0, col, "process", v->n->rss_bytes);
	if (!s->n_tier)
		return 1;
	col = item_bytes(f, 0, col, "weights", s->resident_bytes);
	col = item_bytes(f, 0, col, "kv", s->kv_bytes);
	item_bytes(f, 0, col, "experts", s->tier[0].used_bytes);
	return 1;
}

/* --- layers ----------------------------------------------------------------------------------- */

/* One row of heights; several layers to a column where there is no room, wide columns where there
 * is plenty. Returns the column behind it. */
static unsigned draw_heat(
	struct tr_frame *f, unsigned row, const struct tr_top_view *v, const double *hits)
{
	unsigned col = 1 + LABEL, room = f->cols > col + HEAT_NAME ? f->cols - col - HEAT_NAME : 1;
	uint32_t n = v->n->n_layer, per = (n + room - 1) / room, n_col = (n + per - 1) / per;
	unsigned width = room / n_col > 3 ? 3 : room / n_col;

	for (uint32_t c = 0; c < n_col; c++) {
		double sum = 0;
		uint32_t known = 0;

		for (uint32_t i = c * per; i < (c + 1) * per && i < n; i++)
			if (hits[i] >= 0)
				sum += hits[i], known++;
		for (unsigned i = 0; i < width; i++)
			tr_frame_put(f, row, col + c * width + i,
				style_of_hits(known ? sum / known : -1), "%s",
				known ? tr_frame_height(f, sum / known) : " ");
	}
	return col + n_col * width;
}

static unsigned draw_layers(struct tr_frame *f, const struct tr_top_view *v)
{
	const struct tr_live *n = v->n;
	char range[64];
	unsigned col;

	if (!n->n_layer || !n->stats.n_tier)
		return 0;
	label(f, 0, "layers");
	col = draw_heat(f, 0, v, v->r.dram);
	col = tr_frame_put(f, 0, col, TR_STYLE_PLAIN, " dram");
	snprintf(range, sizeof(range), " hits of layers %" PRIu32 " to %" PRIu32, n->layer[0].layer,
		n->layer[n->n_layer - 1].layer);
	if (col + strlen(range) <= f->cols)
		tr_frame_put(f, 0, col, TR_STYLE_DIM, "%s", range);
	if (n->stats.n_tier <= 2)
		return 1;
	col = draw_heat(f, 1, v, v->r.memory);
	tr_frame_put(f, 1, col, TR_STYLE_PLAIN, " +pmem");
	return 2;
}

/* --- the last line ---------------------------------------------------------------------------- */

static unsigned draw_keys(struct tr_frame *f, const struct tr_top_view *v)
{
	if (!v->look->keys)
		return 0;
	tr_frame_put(f, 0, 1, TR_STYLE_DIM, "%s", v->look->keys);
	if (v->r.idle_s > 2) {
		char text[48];

		snprintf(text, sizeof(text), "nothing new for %.0f s ", v->r.idle_s);
		put_right(f, 0, f->cols, TR_STYLE_POOR, text);
	}
	return 1;
}

const struct tr_top_section tr_top_sections[TR_TOP_N_SECTION] = {
	{ draw_title, 0, false },
	{ draw_speed, 1, true },
	{ draw_tiers, 2, true },
	{ draw_lanes, 3, true },
	{ draw_disk, 5, true },
	{ draw_prefetch, 6, false },
	{ draw_predictor, 8, false },
	{ draw_memory, 7, false },
	{ draw_layers, 4, true },
	{ draw_keys, 0, true },
};
