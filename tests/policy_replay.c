/* policy_replay.c - hit counts for tests/policies_reference.py.
 *
 * Usage: policy_replay FORMAT FROM SLOTS SPEC... < TRACE. FORMAT is csv, letters or zipf
 * (made, nothing is read), FROM the first
 * token to count, SLOTS numbers separated by commas. Prints "SPEC SLOTS REQUESTS HITS" lines. */
#include "replay.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int run(const struct replay_trace *t, const char *spec, const char *slots, uint32_t from)
{
	struct replay_count count;
	struct tr_err err;
	char *end;

	for (const char *at = slots; *at; at = end + (*end == ',')) {
		uint32_t n_slot = (uint32_t)strtoul(at, &end, 10);

		if (end == at || replay_run(t, spec, n_slot, from, &count, &err)) {
			fprintf(stderr, "%s at %s: %s\n", spec, at, end == at ? "?" : err.msg);
			return 1;
		}
		printf("%s %" PRIu32 " %" PRIu64 " %" PRIu64 "\n", spec, n_slot, count.requests,
			count.hits);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct replay_trace t = { 0 };
	unsigned long bad;
	int rc = 0;

	if (argc < 5) {
		fprintf(stderr, "usage: %s csv|letters|zipf FROM SLOTS SPEC... < TRACE\n", argv[0]);
		return 2;
	}
	if (!strcmp(argv[1], "zipf"))
		bad = !replay_make_zipf(&t);
	else if (!strcmp(argv[1], "csv"))
		bad = replay_read_csv(&t, stdin);
	else
		bad = replay_read_letters(&t, stdin);
	if (bad) {
		fprintf(stderr, "line %lu makes no sense\n", bad);
		rc = 1;
	}
	for (int i = 4; i < argc && !rc; i++)
		rc = run(&t, argv[i], argv[3], (uint32_t)strtoul(argv[2], NULL, 10));
	replay_free(&t);
	return rc;
}
