/*
 * stats_map.c - the heat map: a line a layer, a cell for one or more neighbouring experts.
 *
 * A cell shows the mean of its experts against the mean of the whole map, so that maps of short and
 * long runs look alike.
 */
#include "tools/stats.h"

#include <inttypes.h>

#define COLUMNS 80
#define LABEL	6 /* "  123 " */

static const char *const shades[] = { " ", "\u2591", "\u2592", "\u2593", "\u2588" };
static const char *const ascii_shades[] = { " ", ".", ":", "*", "#" };

struct map {
	const struct tr_expert_stats *s;
	enum tr_stats_by by;
	const char *const *shade;
	uint32_t per_cell; /* experts */
	uint32_t n_cell;
	uint32_t width;	   /* columns of a cell */
	double mean;
};

static double cell_mean(const struct map *m, uint32_t l, uint32_t cell)
{
	uint32_t first = cell * m->per_cell, end = first + m->per_cell;
	double sum = 0;

	if (end > m->s->n_expert)
		end = m->s->n_expert;
	for (uint32_t e = first; e < end; e++)
		sum += tr_stats_value(m->s, m->by, (size_t)l * m->s->n_expert + e);
	return sum / (end - first);
}

static const char *shade_of(const struct map *m, double v)
{
	int i = v <= 0 ? 0 : v <= m->mean / 2 ? 1 : v <= m->mean ? 2 : v <= 2 * m->mean ? 3 : 4;

	return m->shade[i];
}

static void print_layer(const struct map *m, uint32_t l, FILE *out)
{
	fprintf(out, "%*" PRIu32 " ", LABEL - 1, m->s->layer[l].layer);
	for (uint32_t c = 0; c < m->n_cell; c++) {
		const char *shade = shade_of(m, cell_mean(m, l, c));

		for (uint32_t i = 0; i < m->width; i++)
			fputs(shade, out);
	}
	fputs("|\n", out);
}

void tr_stats_print_map(const struct tr_expert_stats *s, const struct tr_stats_args *args, FILE *out)
{
	size_t n_unit = (size_t)s->n_moe_layer * s->n_expert;
	uint32_t room = COLUMNS - LABEL - 1; /* the edge */
	struct map m = { .s = s,
		.by = args->by,
		.shade = args->ascii ? ascii_shades : shades,
		.per_cell = (s->n_expert + room - 1) / room };

	m.n_cell = (s->n_expert + m.per_cell - 1) / m.per_cell;
	m.width = room / m.n_cell;
	for (size_t i = 0; i < n_unit; i++)
		m.mean += tr_stats_value(s, args->by, i) / (double)n_unit;
	fprintf(out, "layer %s by expert, %" PRIu32 " a cell of %" PRIu32 "\n",
		tr_stats_by_names[args->by], m.per_cell, s->n_expert);
	for (uint32_t l = 0; l < s->n_moe_layer; l++)
		print_layer(&m, l, out);
	fprintf(out, "'%s' none, '%s' to half the mean (%.4g), '%s' to it, '%s' to twice, '%s' more\n",
		m.shade[0], m.shade[1], m.mean, m.shade[2], m.shade[3], m.shade[4]);
}
