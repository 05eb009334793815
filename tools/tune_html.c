/*
 * tune_html.c - the answer as a page: one file, no script, nothing from the network, light and
 * dark.
 *
 * Two drawings: the speed by size of the DRAM cache, a line a policy, and the parts of a warm
 * token's time as one bar a size.
 */
#include "tools/table.h"
#include "tools/tool.h"
#include "tools/tune.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char style[] =
	"<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">"
	"<meta name=\"viewport\" content=\"width=device-width\">\n<style>\n"
	":root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--dim:#5b6570;--line:#d5dae0;"
	"--p0:#2563a8;--p1:#c4521a;--p2:#2a7d46;--p3:#7a4fb0;--p4:#b08a00;--p5:#b3324b;--p6:#"
	"64748b;"
	"--p7:#1b8a8f;--p8:#a3a3a3}\n"
	"@media(prefers-color-scheme:dark){:root{--bg:#15181c;--fg:#e4e7ea;--dim:#9aa4af;--line:#"
	"333a42;"
	"--p0:#6aa6e8;--p1:#f0935f;--p2:#6cc48b;--p3:#b796e6;--p4:#e0c04a;--p5:#ee7f93;--p6:#"
	"94a3b8;"
	"--p7:#5fd0d6;--p8:#7c7c7c}}\n"
	"body{background:var(--bg);color:var(--fg);font:15px/1.5 "
	"system-ui,sans-serif;max-width:62rem;"
	"margin:2rem auto;padding:0 1rem}h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}\n"
	"pre{border:1px solid "
	"var(--line);padding:.7rem;white-space:pre-wrap;overflow-wrap:anywhere}\n"
	"table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:.2rem "
	".7rem;"
	"border-bottom:1px solid var(--line);text-align:right}td.l,th.l{text-align:left}"
	"tr.best{font-weight:700}\n"
	"svg{width:100%;height:auto}svg text{fill:var(--dim);font:12px system-ui,sans-serif}"
	".axis{stroke:var(--line);fill:none}.wide{overflow-x:auto}\n</style>\n";

/* Names come from files. */
static void put_text(FILE *f, const char *text)
{
	for (; *text; text++)
		switch (*text) {
		case '<':
			fputs("&lt;", f);
			break;
		case '>':
			fputs("&gt;", f);
			break;
		case '&':
			fputs("&amp;", f);
			break;
		case '"':
			fputs("&quot;", f);
			break;
		default:
			fputc((unsigned char)*text < 0x20 ? ' ' : *text, f);
		}
}

/* --- speed by size ---------------------------------------------------------------------------- */

#define PLOT_W 820.0
#define PLOT_H 260.0
#define LEFT   60.0
#define BELOW  40.0

static bool is_plain(const struct tr_tune_row *r)
{
	return !r->choice.predictor && r->choice.promote == 10;
}

/* A round number that is at least v. */
static double round_up(double v)
{
	double step = 1e-3;

	while (step * 10 < v)
		step *= 10;
	for (int k = 1; k <= 10; k++)
		if (step * k >= v)
			return step * k;
	return v;
}

static void scales(const struct tr_tune *t, double *most_bytes, double *most_speed)
{
	*most_bytes = 1;
	*most_speed = 0;
	for (size_t i = 0; i < t->n_row; i++) {
		const struct tr_tune_row *r = &t->row[i];

		if ((double)r->choice.dram_bytes > *most_bytes)
			*most_bytes = (double)r->choice.dram_bytes;
		if (1 / r->warm.token_s > *most_speed)
			*most_speed = 1 / r->warm.token_s;
	}
	*most_speed = round_up(*most_speed);
}

/* Points of a policy, by the first row that names it. */
static void put_line(FILE *f, const struct tr_tune *t, size_t first, int color, double most_bytes,
	double most_speed)
{
	const char *policy = t->row[first].choice.policy;
	double x = 0, y = 0;

	fprintf(f, "<polyline fill=\"none\" stroke-width=\"2\" stroke=\"var(--p%d)\" points=\"",
		color);
	for (size_t i = first; i < t->n_row; i++) {
		const struct tr_tune_row *r = &t->row[i];

		if (!is_plain(r) || strcmp(r->choice.policy, policy) != 0)
			continue;
		x = LEFT + (double)r->choice.dram_bytes / most_bytes * (PLOT_W - LEFT - 110);
		y = PLOT_H - BELOW - 1 / r->warm.token_s / most_speed * (PLOT_H - BELOW - 10);
		fprintf(f, "%.1f,%.1f ", x, y);
	}
	fprintf(f, "\"/>\n");
	fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" style=\"fill:var(--p%d)\">", PLOT_W - 100,
		20.0 + 18 * color, color);
	put_text(f, policy);
	fprintf(f, "</text>\n");
}

static bool is_first_of_policy(const struct tr_tune *t, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (!strcmp(t->row[k].choice.policy, t->row[i].choice.policy))
			return false;
	return true;
}

static void put_plot(FILE *f, const struct tr_tune *t)
{
	double bytes, speed;
	char text[32];
	int color = 0;

	scales(t, &bytes, &speed);
	fprintf(f,
		"<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"tokens a second by "
		"DRAM\">\n",
		PLOT_W, PLOT_H);
	for (int i = 0; i <= 4; i++) {
		double y = PLOT_H - BELOW - i / 4.0 * (PLOT_H - BELOW - 10);
		double x = LEFT + i / 4.0 * (PLOT_W - LEFT - 110);

		fprintf(f,
			"<path class=\"axis\" d=\"M%.1f %.1fH%.1f\"/><text x=\"4\" "
			"y=\"%.1f\">%.3g</text>\n",
			LEFT, y, PLOT_W - 110, y + 4, speed * i / 4);
		fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>\n", x,
			PLOT_H - 20, tr_table_bytes((uint64_t)(bytes * i / 4), text, sizeof(text)));
	}
	for (size_t i = 0; i < t->n_row; i++)
		if (is_plain(&t->row[i]) && is_first_of_policy(t, i))
			put_line(f, t, i, color++, bytes, speed);
	fprintf(f, "</svg>\n");
}

/* --- where the time goes ---------------------------------------------------------------------- */

static void put_bar(FILE *f, const struct tr_tune_row *r, double y, double most)
{
	struct tr_tune_part parts[TR_TUNE_MAX_PART];
	size_t n = tr_tune_parts(&r->warm, parts);
	double x = 90, w;
	char text[32];

	fprintf(f, "<text x=\"0\" y=\"%.1f\">%s</text>\n", y + 14,
		tr_table_bytes(r->choice.dram_bytes, text, sizeof(text)));
	for (size_t i = 0; i < n; i++) {
		w = parts[i].s / most * (PLOT_W - 170);
		if (w < 0.05)
			continue;
		fprintf(f,
			"<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"18\" "
			"fill=\"var(--p%zu)\">"
			"<title>%s: %.3f ms</title></rect>\n",
			x, y, w, i, parts[i].name, 1e3 * parts[i].s);
		x += w;
	}
	fprintf(f, "<text x=\"%.1f\" y=\"%.1f\">%.1f ms</text>\n", x + 6, y + 14,
		1e3 * r->warm.token_s);
}

static bool has_bar(const struct tr_tune *t, const struct tr_tune_row *r)
{
	return is_plain(r) && !strcmp(r->choice.policy, t->row[t->best].choice.policy);
}

static void put_bars(FILE *f, const struct tr_tune *t)
{
	struct tr_tune_part parts[TR_TUNE_MAX_PART];
	size_t n = tr_tune_parts(&t->row[t->best].warm, parts), n_bar = 0;
	double most = 0, y = 4;

	for (size_t i = 0; i < t->n_row; i++)
		if (has_bar(t, &t->row[i])) {
			n_bar++;
			most = t->row[i].warm.token_s > most ? t->row[i].warm.token_s : most;
		}
	fprintf(f,
		"<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"parts of a token's "
		"time\">\n",
		PLOT_W, 30.0 * (double)n_bar);
	for (size_t i = 0; i < t->n_row; i++)
		if (has_bar(t, &t->row[i])) {
			put_bar(f, &t->row[i], y, most);
			y += 30;
		}
	fprintf(f, "</svg>\n<p>");
	for (size_t i = 0; i < n; i++)
		fprintf(f, "<span style=\"color:var(--p%zu)\">&#9632;</span> %s &nbsp; ", i,
			parts[i].name);
	fprintf(f, "</p>\n");
}

/* --- tables ----------------------------------------------------------------------------------- */

static void put_rows(FILE *f, const struct tr_tune *t)
{
	char bytes[32], promote[16];

	fprintf(f, "<div class=\"wide\"><table><tr><th>DRAM<th class=\"l\">policy<th "
		   "class=\"l\">predictor"
		   "<th>promote<th>hit<th>read MB a token<th>tokens/s<th>cold<th>first token "
		   "s</tr>\n");
	for (size_t i = 0; i < t->n_row; i++) {
		const struct tr_tune_row *r = &t->row[i];

		fprintf(f, "<tr%s><td>%s<td class=\"l\">", i == t->best ? " class=\"best\"" : "",
			tr_table_bytes(r->choice.dram_bytes, bytes, sizeof(bytes)));
		put_text(f, r->choice.policy);
		snprintf(promote, sizeof(promote), "%u%%", r->choice.promote);
		fprintf(f, "<td class=\"l\">%s<td>%s<td>%.1f%%",
			r->choice.predictor ? r->choice.predictor : "none",
			t->in_pmem > 0 ? promote : "-", 100 * r->hit_rate);
		fprintf(f, "<td>%.1f<td>%.2f<td>%.2f<td>%.2f</tr>\n", r->read_bytes * 1e-6,
			1 / r->warm.token_s, 1 / r->first.token_s, r->load_s + r->prompt_s);
	}
	fprintf(f, "</table></div>\n");
}

static void put_steps(FILE *f, const struct tr_tune *t)
{
	fprintf(f, "<h2>What was searched, one option after the other</h2><table>"
		   "<tr><th class=\"l\">option<th class=\"l\">chosen<th>tokens/s before<th>best "
		   "tried<th class=\"l\">tried</tr>\n");
	for (size_t i = 0; i < t->n_step; i++) {
		const struct tr_tune_step *s = &t->step[i];

		fprintf(f,
			"<tr><td class=\"l\">%s<td class=\"l\">%s<td>%.2f<td>%.2f<td class=\"l\">",
			s->option, s->chosen, s->before, s->after);
		put_text(f, s->tried);
		fprintf(f, "%s", s->tried[0] && s->note[0] ? "; " : "");
		put_text(f, s->note);
		fprintf(f, "</tr>\n");
	}
	fprintf(f, "</table>\n");
}

static void put_whats(FILE *f, struct tr_tune *t)
{
	struct tr_tune_what what[TR_TUNE_MAX_WHAT];
	struct tr_tune_share share[TR_TUNE_N_SHARE];
	size_t n = tr_tune_purchases(t, what);

	fprintf(f, "<h2>With more</h2><table><tr><th class=\"l\">bought<th>tokens/s</tr>\n");
	for (size_t i = 0; i < n; i++)
		fprintf(f, "<tr><td class=\"l\">%s<td>%.2f</tr>\n", what[i].name,
			what[i].tokens_per_s);
	n = tr_tune_assumptions(t, what);
	fprintf(f, "</table><h2>Assumptions, the one that decides first</h2>"
		   "<table><tr><th class=\"l\">if it is off by<th>+20%%<th>-20%%</tr>\n");
	for (size_t i = 0; i < n; i++)
		fprintf(f, "<tr><td class=\"l\">%s<td>%.2f<td>%.2f</tr>\n", what[i].name,
			what[i].tokens_per_s, what[i].other);
	n = tr_tune_shares(t, share);
	fprintf(f,
		"</table><h2>By share of uses</h2><table><tr><th>DRAM<th>VRAM<th>tokens/s</tr>\n");
	for (size_t i = 0; i < n; i++)
		fprintf(f, "<tr><td>%.0f%%<td>%.0f%%<td>%.2f</tr>\n", 100 * share[i].dram,
			100 * share[i].vram, share[i].tokens_per_s);
	fprintf(f, "</table>\n");
}

static void put_head(FILE *f, const struct tr_tune *t)
{
	char trap[TR_TUNE_MAX_TRAP][TR_TUNE_TRAP_BYTES], line[2048];
	const struct tr_tune_row *r = &t->row[t->best];
	size_t n = tr_tune_traps(t, trap);

	fprintf(f, "%s<title>tierra tune</title>\n<h1>", style);
	put_text(f, t->model.name);
	fprintf(f, " on ");
	put_text(f, t->machine.name);
	fprintf(f, "</h1>\n<pre>");
	tr_tune_command(t, line, sizeof(line));
	put_text(f, line);
	fprintf(f,
		"</pre>\n<p>First token after %.2f s from a cold start, the next %u tokens at %.2f "
		"tokens/s, later ones at <b>%.2f tokens/s</b>.</p>\n<ul>",
		r->load_s + r->prompt_s, r->n_token, 1 / r->first.token_s, 1 / r->warm.token_s);
	for (size_t i = 0; i < n; i++) {
		fprintf(f, "<li>");
		put_text(f, trap[i]);
	}
	fprintf(f, "</ul>\n");
}

int tr_tune_html(struct tr_tune *t, const char *path, struct tr_err *err)
{
	FILE *f = fopen(path, "w");

	if (!f)
		return tr_tune_fail(err, TR_E_IO, path, strerror(errno));
	put_head(f, t);
	fprintf(f, "<h2>Tokens a second by DRAM for experts</h2>\n");
	put_plot(f, t);
	fprintf(f, "<h2>Where a warm token's time goes</h2>\n");
	put_bars(f, t);
	put_rows(f, t);
	put_steps(f, t);
	put_whats(f, t);
	if (ferror(f) | fclose(f))
		return tr_tune_fail(err, TR_E_IO, path, strerror(errno));
	return 0;
}
