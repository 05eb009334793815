/*
 * t_policy_golden.c - every policy hits as often as it did, on a made and on a recorded trace.
 *
 * tests/traces/golden.txt has the counts, and tests/policies_reference.py holds them against other
 * implementations. A policy that is meant to change gets a new file from `t_policy_golden --print`.
 */
#include "test.h"
#include "base/mem.h"
#include "replay.h"

#include <inttypes.h>
#include <stdio.h>

static FILE *open_data(const char *name)
{
	const char *dir = getenv("TR_SRCDIR");
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/tests/traces/%s", dir ? dir : ".", name);
	f = fopen(path, "r");
	if (!f)
		fprintf(stderr, "%s: cannot be read\n", path);
	return f;
}

struct traces {
	struct replay_trace zipf;
	struct replay_trace demo;
};

static bool load(struct traces *t)
{
	FILE *f = open_data("demo.txt");
	bool ok = f && !replay_read_letters(&t->demo, f) && replay_make_zipf(&t->zipf);

	if (f)
		fclose(f);
	return ok;
}

struct line {
	char trace[16], spec[80];
	uint32_t n_slot;
	uint64_t hits;
};

/* False at the end. Comments are copied to copy_to, which may be NULL. */
static bool next_line(FILE *f, struct line *l, FILE *copy_to)
{
	char text[256];

	while (fgets(text, sizeof(text), f)) {
		if (sscanf(text, "%15s %79s %" SCNu32 " %" SCNu64, l->trace, l->spec, &l->n_slot,
			    &l->hits) == 4 &&
			*text != '#')
			return true;
		if (copy_to)
			fputs(text, copy_to);
	}
	return false;
}

static uint64_t count(const struct traces *t, const struct line *l)
{
	const struct replay_trace *trace = strcmp(l->trace, "zipf") ? &t->demo : &t->zipf;
	struct replay_count c;
	struct tr_err err;

	if (replay_run(trace, l->spec, l->n_slot, 0, &c, &err)) {
		fprintf(stderr, "%s: %s\n", l->spec, err.msg);
		return UINT64_MAX;
	}
	return c.hits;
}

static void hit_counts_are_golden(void **state)
{
	FILE *f = open_data("golden.txt");
	struct traces t = { 0 };
	unsigned n = 0, n_wrong = 0;
	struct line l;
	uint64_t hits;

	(void)state;
	assert_non_null(f);
	assert_true(load(&t));
	for (; next_line(f, &l, NULL); n++) {
		hits = count(&t, &l);
		if (hits == l.hits)
			continue;
		n_wrong++;
		print_error("%s %s %" PRIu32 " %" PRIu64 " (golden: %" PRIu64 ")\n", l.trace,
			l.spec, l.n_slot, hits, l.hits);
	}
	fclose(f);
	replay_free(&t.zipf);
	replay_free(&t.demo);
	assert_int_equal(n_wrong, 0);
	assert_true(n >= 8 * 16);
}

static void every_policy_is_in_the_golden_file(void **state)
{
	(void)state;
	for (size_t i = 0; i < tr_policy_count(); i++) {
		const char *name = tr_policy_at(i)->name;
		FILE *f = open_data("golden.txt");
		unsigned n = 0;
		struct line l;

		assert_non_null(f);
		while (next_line(f, &l, NULL))
			n += !strcmp(l.spec, name);
		fclose(f);
		if (!n)
			fail_msg("%s has no golden counts", name);
	}
}

static void bad_traces_are_refused_by_line(void **state)
{
	static const struct {
		const char *text;
		unsigned long line;
	} csv[] = {
		{ "", 1 },
		{ "token,layer,expert\n0,0,x\n", 2 },
		{ "token,layer,expert\n0,0,1\n0,0,1\n", 3 },
		{ "token,layer,expert\n1,0,1\n0,0,1\n", 3 },
	};

	(void)state;
	for (size_t i = 0; i < TR_ARRAY_LEN(csv); i++) {
		char text[64];
		struct replay_trace t = { 0 };
		FILE *f;

		snprintf(text, sizeof(text), "%s", csv[i].text);
		f = *text ? fmemopen(text, strlen(text), "r") : fopen("/dev/null", "r");
		assert_non_null(f);
		assert_int_equal(replay_read_csv(&t, f), csv[i].line);
		fclose(f);
		replay_free(&t);
	}
}

static int print_golden(void)
{
	FILE *f = open_data("golden.txt");
	struct traces t = { 0 };
	struct line l;

	if (!f || !load(&t))
		return 1;
	while (next_line(f, &l, stdout))
		printf("%s %s %" PRIu32 " %" PRIu64 "\n", l.trace, l.spec, l.n_slot, count(&t, &l));
	fclose(f);
	replay_free(&t.zipf);
	replay_free(&t.demo);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hit_counts_are_golden),
		cmocka_unit_test(every_policy_is_in_the_golden_file),
		cmocka_unit_test(bad_traces_are_refused_by_line),
	};

	if (argc > 1 && !strcmp(argv[1], "--print"))
		return print_golden();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
