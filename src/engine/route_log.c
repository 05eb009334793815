/* route_log.c - a set is: layer, number of hits with the flag of a scan, number of experts, experts. */
#include "engine/route_log.h"
#include "base/mem.h"

#include <stdlib.h>

enum { LAYER, HITS, N_EXPERT, HEAD_WORDS };

#define SCAN 0x8000u /* in HITS; those of a scan are not counted */

void tr_route_log_init(struct tr_route_log *log, size_t max_bytes, bool in_place)
{
	*log = (struct tr_route_log){ .max = max_bytes / sizeof(*log->word), .in_place = in_place };
}

void tr_route_log_fini(struct tr_route_log *log)
{
	free(log->word);
	*log = (struct tr_route_log){ 0 };
}

/* Room for n more words. Without memory, too, the log is full. */
static bool make_room(struct tr_route_log *log, size_t n)
{
	size_t cap = TR_MIN(TR_MAX(2 * log->cap, (size_t)1 << 16), log->max);
	uint16_t *grown;

	if (log->n + n <= log->cap)
		return true;
	grown = log->n + n <= cap ? reallocarray(log->word, cap, sizeof(*grown)) : NULL;
	log->full = !grown;
	if (!grown)
		return false;
	log->word = grown;
	log->cap = cap;
	return true;
}

/* DRAM could have had it. */
static bool is_request(const struct tr_route_log *log, const struct tr_handle *h)
{
	return log->in_place || !h->tier;
}

void tr_route_log_add(struct tr_route_log *log, uint32_t moe_layer, uint32_t first_unit,
	const struct tr_handle *handles, size_t n, bool scan)
{
	uint16_t *set;
	size_t n_asked = 0, n_hit = 0;

	if (log->full || !make_room(log, HEAD_WORDS + n)) {
		for (size_t i = 0; !scan && i < n; i++)
			log->n_request_run += is_request(log, &handles[i]);
		return;
	}
	set = log->word + log->n;
	for (size_t i = 0; i < n; i++) {
		if (!is_request(log, &handles[i]))
			continue;
		set[HEAD_WORDS + n_asked++] = (uint16_t)(handles[i].id - first_unit);
		n_hit += !handles[i].tier && handles[i].state == TR_HANDLE_READY;
	}
	if (!n_asked)
		return;
	set[LAYER] = (uint16_t)moe_layer;
	set[HITS] = scan ? SCAN : (uint16_t)n_hit;
	set[N_EXPERT] = (uint16_t)n_asked;
	log->n += HEAD_WORDS + n_asked;
	if (scan)
		return;
	log->n_request += n_asked;
	log->n_request_run += n_asked;
	log->n_hit += n_hit;
}

int tr_route_log_trace(const struct tr_route_log *log, const struct tr_trace_head *head,
	uint64_t max_request, struct tr_trace *out, uint64_t *n_request, uint64_t *n_hit,
	struct tr_err *err)
{
	int rc = tr_trace_init(out, head, err);
	uint32_t last_layer = 0;

	*n_request = *n_hit = 0;
	for (size_t at = 0; !rc && at < log->n;) {
		const uint16_t *set = log->word + at;
		bool scan = set[HITS] & SCAN;

		if (max_request && out->n_unit + set[N_EXPERT] > max_request)
			break;
		if (set[LAYER] <= last_layer)
			tr_trace_end_step(out);
		last_layer = set[LAYER];
		rc = tr_trace_add(out, set[LAYER], 1, scan, set + HEAD_WORDS, NULL, set[N_EXPERT],
			err);
		*n_request += scan ? 0 : set[N_EXPERT];
		*n_hit += scan ? 0 : set[HITS];
		at += HEAD_WORDS + set[N_EXPERT];
	}
	if (!rc)
		tr_trace_end_step(out);
	else
		tr_trace_fini(out);
	return rc;
}
