/* rate.h - a pipe of so many bytes a second: what is put into it leaves it later, in order. */
#ifndef TR_BASE_RATE_H
#define TR_BASE_RATE_H

#include <stdint.h>

struct tr_rate {
	double bytes_per_s; /* 0: no limit */
	double free_ns;	    /* the last byte put in leaves then; not whole, so that no error adds up */
};

/* The time at which bytes that were put in at now_ns have left. */
static inline uint64_t tr_rate_take(struct tr_rate *rate, uint64_t now_ns, uint64_t bytes)
{
	double start = (double)now_ns;

	if (!(rate->bytes_per_s > 0))
		return now_ns;
	if (start < rate->free_ns)
		start = rate->free_ns;
	rate->free_ns = start + (double)bytes * 1e9 / rate->bytes_per_s;
	return (uint64_t)(rate->free_ns + 0.5);
}

#endif
