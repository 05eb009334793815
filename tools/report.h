/* report.h - what a run of `tierra generate` yields, and the two ways to show it. */
#ifndef TR_TOOLS_REPORT_H
#define TR_TOOLS_REPORT_H

#include "tierra.h"

#include <jansson.h>
#include <stdio.h>

struct tr_phase_time {
	uint64_t ns;
	uint64_t n_token; /* run through the model */
};

struct tr_report {
	const int32_t *prompt_ids;
	size_t n_prompt;
	const int32_t *ids; /* generated; a stop token that ended the text is the last */
	size_t n_id;
	const char *text; /* valid UTF-8 */
	size_t text_bytes;
	const char *stop_reason; /* eos, stop, length, context, interrupted */
	struct tr_phase_time load;
	struct tr_phase_time prefill;
	struct tr_phase_time decode;
	struct tr_stats stats;
	bool with_shares; /* something was decoded with the DRAM cache */
	struct tr_shares shares;
	struct tr_roofline roofline[TR_MAX_ROOFLINE];
	size_t n_roofline;
	bool with_logprobs;
	const struct tr_logprob *chosen; /* [n_id] */
	const struct tr_logprob *top;	 /* [n_id * n_top] */
	size_t n_top;
};

/* A new object; NULL when out of memory. */
json_t *tr_report_json(const struct tr_report *r);

/* Adds timings, engine, prefetch, predictor, shares and roofline to an object. */
void tr_report_json_run(const struct tr_report *r, json_t *to);
json_t *tr_report_json_fetch(const struct tr_fetch_costs *costs);
/* "link 12.0 GiB/s, device ..." Nothing where nothing is known. */
void tr_report_print_fetch(const struct tr_fetch_costs *costs, FILE *out);
json_t *tr_report_json_tier(const struct tr_tier_stats *t);
/* From such an object, what tr_report_print_quality shows. */
void tr_report_read_run(const json_t *from, struct tr_report *r);

/* Times, the tier table, shares and the roofline, for people. */
void tr_report_print(const struct tr_report *r, FILE *out);
/* Of these the last, from the tier table on. */
void tr_report_print_quality(const struct tr_report *r, FILE *out);

/* Writes value and a newline. 0, or -1 when the file refuses. */
int tr_json_write(const json_t *value, FILE *out);

/* A string; bytes that are not UTF-8 become U+FFFD. */
json_t *tr_json_text(const char *text, size_t text_bytes);

/* Members of an object; what is absent or of another type is 0 or "". A negative number is 0. */
uint64_t tr_json_get_u64(const json_t *from, const char *key);
void tr_json_get_text(const json_t *from, const char *key, char *to, size_t cap);

#endif
