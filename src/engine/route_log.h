/*
 * route_log.h - what a run asked of its DRAM cache, kept in memory for the end of the run.
 *
 * A set is three numbers and its experts, 16 bits each: 22 bytes for eight experts, so that the log
 * costs a copy a layer. When the bound is reached it keeps what it has and takes no more.
 */
#ifndef TR_ENGINE_ROUTE_LOG_H
#define TR_ENGINE_ROUTE_LOG_H

#include "cache/cache.h"
#include "cache/trace.h"

/* 3 M sets of eight experts: 50,000 tokens of a model with 60 layers. */
#define TR_ROUTE_LOG_BYTES ((size_t)64 << 20)

struct tr_route_log {
	uint16_t *word; /* sets one after the other */
	size_t n, cap, max;
	bool full;
	bool in_place; /* uses in place are requests as well, since DRAM takes copies of those units */
	/* Of decoding, and in the log. */
	uint64_t n_request;
	uint64_t n_hit;
	uint64_t n_request_run; /* whether in the log or not */
};

void tr_route_log_init(struct tr_route_log *log, size_t max_bytes, bool in_place);
void tr_route_log_fini(struct tr_route_log *log);

/* A set has just been acquired; handles of one layer, ascending. What a store serves is left out, unless
 * in_place. */
void tr_route_log_add(struct tr_route_log *log, uint32_t moe_layer, uint32_t first_unit,
	const struct tr_handle *handles, size_t n, bool scan);

/* The sets of the log, as many as do not exceed max_request requests in all (0: all). *n_request and
 * *n_hit are those of decoding among them. Takes over head->layers, also on failure. */
int tr_route_log_trace(const struct tr_route_log *log, const struct tr_trace_head *head,
	uint64_t max_request, struct tr_trace *out, uint64_t *n_request, uint64_t *n_hit,
	struct tr_err *err);

#endif
