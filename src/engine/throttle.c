#include "engine/throttle.h"
#include "base/mem.h"
#include "base/opt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Below it a token of a large model takes an hour: a slip of the pen. */
#define MIN_BYTES_PER_S (1u << 20)

struct rates {
	uint64_t dram, pmem, nvme;
};

static int take(void *ctx, const char *key, const char *value, struct tr_err *err)
{
	struct rates *r = ctx;
	uint64_t *to = !strcmp(key, "dram") ? &r->dram :
		       !strcmp(key, "pmem") ? &r->pmem :
		       !strcmp(key, "nvme") ? &r->nvme :
					      NULL;
	int rc;

	if (!to)
		return tr_err_set(err, TR_E_INVALID,
			"--throttle: no tier '%s'; there are dram, pmem, nvme", key);
	if (strchr(value, '%'))
		return tr_err_set(err, TR_E_INVALID,
			"--throttle %s: '%s' is not bytes a second (write 3.5G)", key, value);
	rc = tr_opt_size("--throttle", value, 0, to, err);
	if (!rc && *to < MIN_BYTES_PER_S)
		rc = tr_err_set(err, TR_E_LIMIT, "--throttle %s: %s a second is less than 1M", key,
			value);
	return rc;
}

static int parse(const char *text, struct rates *r, struct tr_err *err)
{
	size_t n = strlen(text) + sizeof("--throttle,");
	char *list = tr_alloc(n, 1);
	int rc;

	if (!list)
		return tr_err_set(err, TR_E_NOMEM, "--throttle: out of memory");
	snprintf(list, n, "--throttle,%s", text);
	rc = tr_opt_pairs(list, take, r, err);
	free(list);
	return rc;
}

int tr_throttle_init(struct tr_throttle *t, const char *text, size_t n_tier,
	const struct tr_clock *clock, struct tr_err *err)
{
	struct rates r = { 0 };
	int rc = text ? parse(text, &r, err) : 0;

	*t = (struct tr_throttle){ .clock = clock, .memory = r.dram || r.pmem };
	for (size_t i = 0; i < n_tier; i++)
		t->tier[i].bytes_per_s =
			(double)(i + 1 == n_tier ? r.nvme : i ? r.pmem : r.dram);
	return rc;
}

void tr_throttle_wait(struct tr_throttle *t, uint64_t start_ns, const uint64_t *bytes)
{
	uint64_t end = start_ns, done;

	for (size_t i = 0; i < TR_MAX_TIER; i++) {
		done = tr_rate_take(&t->tier[i], start_ns, bytes[i]);
		end = TR_MAX(end, done);
	}
	tr_sleep_until(t->clock, end);
}
