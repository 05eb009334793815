/*
 * file.c - machine profiles as JSON: "format": "tierra-machine", "version": 1.
 *
 * Unknown members are ignored, a higher version is refused. Spreads are [min, median, max].
 */
#include "base/mem.h"
#include "machine/machine.h"

#include <jansson.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT "tierra-machine"
#define NEWEST 1

/* Numbers of a run of the engine. */
static const struct {
	const char *key;
	size_t at;
} run_numbers[] = { { "unit_bytes", offsetof(struct tr_machine_run, unit_bytes) },
	{ "token_s", offsetof(struct tr_machine_run, token_s) },
	{ "said_s", offsetof(struct tr_machine_run, said_s) },
	{ "position", offsetof(struct tr_machine_run, position) },
	{ "rest_s", offsetof(struct tr_machine_run, rest_s) },
	{ "after_read_s", offsetof(struct tr_machine_run, after_read_s) },
	{ "beside_s", offsetof(struct tr_machine_run, beside_s) },
	{ "lookup_s", offsetof(struct tr_machine_run, lookup_s) },
	{ "ask_s", offsetof(struct tr_machine_run, ask_s) },
	{ "step_s", offsetof(struct tr_machine_run, step_s) },
	{ "unit_s", offsetof(struct tr_machine_run, unit_s) },
	{ "wake_s", offsetof(struct tr_machine_run, wake_s) } };

static json_t *spread_json(const struct tr_spread *s)
{
	return json_pack("[fff]", s->min, s->mid, s->max);
}

static json_t *point_json(const struct tr_machine_point *p)
{
	json_t *to = json_pack("{s:i, s:b, s:I, s:o}", "n_flight", (int)p->n_flight, "burst",
		(int)p->burst, "block_bytes", (json_int_t)p->block_bytes, "bytes_per_s",
		spread_json(&p->bytes_per_s));

	if (p->burst) {
		json_object_set_new(to, "first_share", json_real(p->first_share));
		json_object_set_new(to, "submit_share", json_real(p->submit_share));
	}
	return to;
}

static json_t *tier_json(const struct tr_machine_tier *t)
{
	json_t *points = json_array();

	for (size_t i = 0; i < t->n_point; i++)
		json_array_append_new(points, point_json(&t->point[i]));
	return json_pack("{s:s, s:s, s:b, s:I, s:o, s:o}", "kind", tr_machine_kind_name[t->kind],
		"path", t->path, "direct", (int)t->direct, "bytes", (json_int_t)t->bytes,
		"latency_ns", spread_json(&t->latency_ns), "points", points);
}

static json_t *kernel_json(const struct tr_machine_kernel *k)
{
	return json_pack("{s:s, s:i, s:i, s:o, s:o, s:o}", "quant", k->quant, "tier", (int)k->tier,
		"cols", (int)k->cols, "bytes_per_s", spread_json(&k->bytes_per_s), "op_ns",
		spread_json(&k->op_ns), "macs_per_s", spread_json(&k->macs_per_s));
}

static json_t *table_json(const double *s, size_t n)
{
	json_t *to = json_array();

	for (size_t i = 1; i <= n; i++)
		json_array_append_new(to, json_real(s[i]));
	return to;
}

static json_t *run_json(const struct tr_machine_run *r)
{
	json_t *to = json_pack("{s:s, s:i, s:o, s:o}", "model", r->model, "n_token",
		(int)r->n_token, "read_s", table_json(r->read_s, r->n_read), "first_s",
		table_json(r->first_s, r->n_read));

	for (size_t i = 0; i < TR_ARRAY_LEN(run_numbers); i++)
		json_object_set_new(to, run_numbers[i].key,
			json_real(*(const double *)((const char *)r + run_numbers[i].at)));
	return to;
}

char *tr_machine_text(const struct tr_machine *m)
{
	json_t *tiers = json_array(), *kernels = json_array(), *runs = json_array(), *root;
	char *text;

	for (size_t i = 0; i < m->n_tier; i++)
		json_array_append_new(tiers, tier_json(&m->tier[i]));
	for (size_t i = 0; i < m->n_kernel; i++)
		json_array_append_new(kernels, kernel_json(&m->kernel[i]));
	for (size_t i = 0; i < m->n_run; i++)
		json_array_append_new(runs, run_json(&m->run[i]));
	root = json_pack("{s:s, s:i, s:f, s:s, s:s, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:o, "
			 "s:o, s:o}",
		"format", FORMAT, "version", NEWEST, "wake_ns", m->wake_ns, "name", m->name,
		"source", m->source, "n_thread", (int)m->n_thread, "bus_bytes_per_s",
		m->bus_bytes_per_s, "link_bytes_per_s", m->link_bytes_per_s, "loop_ns", m->loop_ns, "rest_ns", m->rest_ns, "rest_value_ns",
		m->rest_value_ns, "attend_ns", m->attend_ns, "attend_macs_per_s",
		m->attend_macs_per_s, "touch_bytes_per_s", m->touch_bytes_per_s, "tiers", tiers,
		"kernels", kernels, "runs", runs);
	text = root ? json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) : NULL;
	json_decref(root);
	return text;
}

/* --- reading ---------------------------------------------------------------------------------- */

struct reader {
	const char *name;
	struct tr_err *err;
	int rc; /* of the first thing that did not fit */
};

static void refuse(struct reader *r, const char *where, const char *key, const char *want)
{
	if (!r->rc)
		r->rc = tr_err_set(r->err, TR_E_FORMAT, "machine '%s': %s.%s is not %s", r->name,
			where, key, want);
}

static double number(struct reader *r, const json_t *from, const char *where, const char *key)
{
	const json_t *v = json_object_get(from, key);

	if (!v)
		return 0;
	if (!json_is_number(v) || !(json_number_value(v) >= 0) || json_number_value(v) > 1e18) {
		refuse(r, where, key, "a number from 0 to 1e18");
		return 0;
	}
	return json_number_value(v);
}

static void string(struct reader *r, const json_t *from, const char *where, const char *key,
	char *to, size_t cap)
{
	const char *v = json_string_value(json_object_get(from, key));

	if (json_object_get(from, key) && (!v || strlen(v) >= cap))
		refuse(r, where, key, "a string that fits");
	else
		snprintf(to, cap, "%s", v ? v : "");
}

static struct tr_spread spread(
	struct reader *r, const json_t *from, const char *where, const char *key)
{
	const json_t *v = json_object_get(from, key);
	double x[3] = { 0 };

	if (!v)
		return (struct tr_spread){ 0 };
	for (size_t i = 0; i < 3; i++)
		x[i] = json_number_value(json_array_get(v, i));
	if (json_array_size(v) != 3 || !(x[0] >= 0 && x[0] <= x[1] && x[1] <= x[2]))
		refuse(r, where, key, "[min, median, max]");
	return (struct tr_spread){ x[0], x[1], x[2] };
}

static size_t array(
	struct reader *r, const json_t *from, const char *where, const char *key, size_t most)
{
	const json_t *v = json_object_get(from, key);
	char want[48];

	snprintf(want, sizeof(want), "an array of at most %zu", most);
	if (v && (!json_is_array(v) || json_array_size(v) > most))
		refuse(r, where, key, want);
	return r->rc ? 0 : json_array_size(v);
}

static void read_tier(struct reader *r, const json_t *from, struct tr_machine_tier *t)
{
	const json_t *points = json_object_get(from, "points");
	char kind[8];
	int i;

	string(r, from, "tier", "kind", kind, sizeof(kind));
	for (i = 0; i < TR_N_MACHINE_KIND && strcmp(kind, tr_machine_kind_name[i]) != 0; i++)
		;
	if (i == TR_N_MACHINE_KIND)
		refuse(r, "tier", "kind", "one of: dram, pmem, nvme, vram");
	t->kind = i;
	t->direct = json_is_true(json_object_get(from, "direct"));
	string(r, from, "tier", "path", t->path, sizeof(t->path));
	t->bytes = (uint64_t)number(r, from, "tier", "bytes");
	t->latency_ns = spread(r, from, "tier", "latency_ns");
	t->n_point = array(r, from, "tier", "points", TR_MAX_MACHINE_POINT);
	for (size_t p = 0; p < t->n_point; p++) {
		const json_t *at = json_array_get(points, p);

		t->point[p] = (struct tr_machine_point){
			.n_flight = (unsigned)fmin(number(r, at, "point", "n_flight"), 1e6),
			.burst = json_is_true(json_object_get(at, "burst")),
			.block_bytes = (uint64_t)number(r, at, "point", "block_bytes"),
			.bytes_per_s = spread(r, at, "point", "bytes_per_s"),
			.first_share = fmin(number(r, at, "point", "first_share"), 1),
			.submit_share = fmin(number(r, at, "point", "submit_share"), 1)
		};
		if (t->point[p].n_flight < 1)
			refuse(r, "point", "n_flight", "1 or more");
		if (t->point[p].burst && !t->point[p].block_bytes)
			refuse(r, "point", "block_bytes", "the size of a burst's reads");
	}
}

static void read_kernel(
	struct reader *r, const json_t *from, struct tr_machine_kernel *k, size_t n_tier)
{
	string(r, from, "kernel", "quant", k->quant, sizeof(k->quant));
	k->tier = (uint32_t)fmin(number(r, from, "kernel", "tier"), 1e6);
	if (k->tier >= n_tier)
		refuse(r, "kernel", "tier", "the index of a tier");
	k->bytes_per_s = spread(r, from, "kernel", "bytes_per_s");
	k->cols = (uint32_t)fmin(number(r, from, "kernel", "cols"), 1e6);
	k->op_ns = spread(r, from, "kernel", "op_ns");
	k->macs_per_s = spread(r, from, "kernel", "macs_per_s");
}

static void read_table(struct reader *r, const json_t *from, const char *key, size_t n, double *to)
{
	const json_t *v = json_object_get(from, key);

	if (json_array_size(v) != n)
		refuse(r, "run", key, "as long as read_s");
	for (size_t i = 0; i < n && !r->rc; i++) {
		to[i + 1] = json_number_value(json_array_get(v, i));
		if (!(to[i + 1] > 0 && to[i + 1] < 1e6))
			refuse(r, "run", key, "an array of seconds");
	}
}

static void read_run(struct reader *r, const json_t *from, struct tr_machine_run *run)
{
	string(r, from, "run", "model", run->model, sizeof(run->model));
	run->n_token = (unsigned)fmin(number(r, from, "run", "n_token"), 1e6);
	for (size_t i = 0; i < TR_ARRAY_LEN(run_numbers); i++)
		*(double *)((char *)run + run_numbers[i].at) =
			number(r, from, "run", run_numbers[i].key);
	if (!(run->unit_bytes > 0 && run->unit_s > 0))
		refuse(r, "run", "unit_bytes or unit_s", "more than 0");
	run->n_read = array(r, from, "run", "read_s", TR_MAX_READ_TABLE);
	read_table(r, from, "read_s", run->n_read, run->read_s);
	read_table(r, from, "first_s", run->n_read, run->first_s);
}

static void read_machine(struct reader *r, const json_t *root, struct tr_machine *m)
{
	string(r, root, "machine", "name", m->name, sizeof(m->name));
	string(r, root, "machine", "source", m->source, sizeof(m->source));
	m->n_thread = (unsigned)fmin(number(r, root, "machine", "n_thread"), 1e6);
	m->bus_bytes_per_s = number(r, root, "machine", "bus_bytes_per_s");
	m->link_bytes_per_s = number(r, root, "machine", "link_bytes_per_s");
	m->loop_ns = number(r, root, "machine", "loop_ns");
	m->wake_ns = number(r, root, "machine", "wake_ns");
	m->rest_ns = number(r, root, "machine", "rest_ns");
	m->rest_value_ns = number(r, root, "machine", "rest_value_ns");
	m->attend_ns = number(r, root, "machine", "attend_ns");
	m->attend_macs_per_s = number(r, root, "machine", "attend_macs_per_s");
	m->touch_bytes_per_s = number(r, root, "machine", "touch_bytes_per_s");
	m->n_tier = array(r, root, "machine", "tiers", TR_MAX_MACHINE_TIER);
	for (size_t i = 0; i < m->n_tier; i++)
		read_tier(r, json_array_get(json_object_get(root, "tiers"), i), &m->tier[i]);
	m->n_kernel = array(r, root, "machine", "kernels", TR_MAX_MACHINE_KERNEL);
	for (size_t i = 0; i < m->n_kernel; i++)
		read_kernel(r, json_array_get(json_object_get(root, "kernels"), i), &m->kernel[i],
			m->n_tier);
	m->n_run = array(r, root, "machine", "runs", TR_MAX_MACHINE_RUN);
	for (size_t i = 0; i < m->n_run; i++)
		read_run(r, json_array_get(json_object_get(root, "runs"), i), &m->run[i]);
}

int tr_machine_parse(
	struct tr_machine *m, const char *text, size_t n, const char *name, struct tr_err *err)
{
	struct reader r = { .name = name, .err = err };
	json_error_t why;
	json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &why);
	const char *format = json_string_value(json_object_get(root, "format"));
	json_int_t version = json_integer_value(json_object_get(root, "version"));

	*m = (struct tr_machine){ 0 };
	if (!root)
		r.rc = tr_err_set(
			err, TR_E_FORMAT, "machine '%s': line %d: %s", name, why.line, why.text);
	else if (!format || strcmp(format, FORMAT) != 0)
		r.rc = tr_err_set(err, TR_E_FORMAT, "machine '%s': format is '%s', not " FORMAT,
			name, format ? format : "");
	else if (version < 1 || version > NEWEST)
		r.rc = tr_err_set(err, TR_E_UNSUPPORTED,
			"machine '%s': version %lld, this tierra reads up to %d", name,
			(long long)version, NEWEST);
	else
		read_machine(&r, root, m);
	json_decref(root);
	return r.rc;
}
