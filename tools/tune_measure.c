/* tune_measure.c - `tierra tune --measure`: this machine, as a file and as a table. */
#include "tools/table.h"
#include "tools/tool.h"
#include "tools/tune.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --quick: what shows that all works, and little more. */
#define QUICK_MEMORY ((uint64_t)32 << 20)
#define QUICK_DISK   ((uint64_t)64 << 20)
#define QUICK_NS     4000000u

static const char *const kinds[TR_N_MACHINE_KIND] = { "dram", "pmem", "nvme", "vram" };

static void print_points(const struct tr_machine *m)
{
	static const char *const head[] = { "tier", ">at a time", ">block", "", ">min GB/s",
		">median", ">max", "path" };
	struct tr_table t;

	tr_table_init(&t, head, 8);
	for (size_t i = 0; i < m->n_tier; i++)
		for (size_t p = 0; p < m->tier[i].n_point; p++) {
			const struct tr_machine_point *at = &m->tier[i].point[p];

			tr_table_add(&t, "%s%s", kinds[m->tier[i].kind],
				m->tier[i].direct ? "" : " (cached)");
			tr_table_add(&t, "%u", at->n_flight);
			tr_table_add_bytes(&t, at->block_bytes);
			tr_table_add(&t, at->burst ? "burst" : "");
			tr_table_add(&t, "%.2f", at->bytes_per_s.min * 1e-9);
			tr_table_add(&t, "%.2f", at->bytes_per_s.mid * 1e-9);
			tr_table_add(&t, "%.2f", at->bytes_per_s.max * 1e-9);
			tr_table_add(&t, "%s", m->tier[i].path);
		}
	tr_table_print(&t, stdout, "");
	tr_table_fini(&t);
}

static void print_kernels(const struct tr_machine *m)
{
	static const char *const head[] = { "kernel", ">columns", "tier", ">GB/s", ">us a matrix",
		">G multiply-adds/s" };
	struct tr_table t;

	tr_table_init(&t, head, 6);
	for (size_t i = 0; i < m->n_kernel; i++) {
		const struct tr_machine_kernel *k = &m->kernel[i];

		tr_table_add(&t, "%s", k->quant);
		tr_table_add(&t, "%u", k->cols);
		tr_table_add(&t, "%s", kinds[m->tier[k->tier].kind]);
		tr_table_add(&t, "%.2f", k->bytes_per_s.mid * 1e-9);
		tr_table_add(&t, "%.1f", k->op_ns.mid * 1e-3);
		tr_table_add(&t, "%.1f", k->macs_per_s.mid * 1e-9);
	}
	printf("\n");
	tr_table_print(&t, stdout, "");
	tr_table_fini(&t);
}

static void print_machine(const struct tr_machine *m)
{
	print_points(m);
	print_kernels(m);
	printf("\nempty parallel loop %.1f us, after a wait %.1f; a layer beside its matrices %.1f "
	       "us and %.2f ns a "
	       "value of "
	       "width\nattention %.1f us a layer, %.1f G multiply-adds/s; new memory %.2f GB/s\n",
		m->loop_ns * 1e-3, m->wake_ns * 1e-3, m->rest_ns * 1e-3, m->rest_value_ns,
		m->attend_ns * 1e-3, m->attend_macs_per_s * 1e-9, m->touch_bytes_per_s * 1e-9);
}

static int write_file(const struct tr_machine *m, const char *path)
{
	char *text = tr_machine_text(m);
	FILE *f = text ? fopen(path, "w") : NULL;
	int rc = !f || fprintf(f, "%s\n", text) < 0;

	if ((f && fclose(f)) || rc) {
		tr_tool_error("--measure %s: %s", path, strerror(errno));
		rc = TR_EXIT_ERROR;
	}
	free(text);
	return rc;
}

/* A figure that cannot be written is told of before the minute of measuring. */
static int check_file(const char *path)
{
	FILE *f = fopen(path, "a");

	if (f && !fclose(f))
		return 0;
	tr_tool_error("--measure %s: %s", path, strerror(errno));
	return TR_EXIT_ERROR;
}

int tr_tune_measure(struct tr_tune *t)
{
	const struct tr_tune_args *a = &t->args;
	struct tr_measure_opts opts = { .n_thread = a->n_thread,
		.pmem = a->pmem,
		.n_pmem = a->n_pmem,
		.disk = a->disk,
		.n_disk = a->n_disk,
		.quant = a->quant,
		.n_quant = a->n_quant };
	int rc = check_file(a->measure);

	if (rc)
		return rc;
	if (!a->n_disk && a->calibrate) {
		opts.disk = &a->model;
		opts.n_disk = 1;
	}
	if (a->quick) {
		opts.memory_bytes = QUICK_MEMORY;
		opts.disk_bytes = QUICK_DISK;
		opts.ns = QUICK_NS;
		opts.n_repeat = 2;
	}
	if (tr_machine_measure(&t->machine, &opts, &t->err))
		return tr_tool_fail(&t->err);
	rc = write_file(&t->machine, a->measure);
	if (!rc)
		print_machine(&t->machine);
	return rc;
}

/* --- a run of the engine -----------------------------------------------------------------------
 */

static void print_run(const struct tr_machine_run *r)
{
	printf("%s, %u tokens of the engine: a token typically %.2f ms, the forecast of it by its "
	       "parts %.2f\n"
	       "beside routed experts %.2f ms, a layer's look-up %.1f us, an expert %.1f us, "
	       "after a wait %.1f us more",
		r->model, r->n_token, 1e3 * r->token_s, 1e3 * r->said_s, 1e3 * r->rest_s,
		1e6 * r->lookup_s, 1e6 * r->unit_s, 1e6 * (r->wake_s + r->after_read_s));
	if (r->n_read)
		printf("\nreading one expert %.2f ms, %zu at once %.2f", 1e3 * r->read_s[1],
			r->n_read, 1e3 * r->read_s[r->n_read]);
	printf("\n\n");
}

int tr_tune_calibrate(struct tr_tune *t)
{
	struct tr_calibrate_opts opts = { .model_path = t->args.model,
		.n_thread = t->args.n_thread };
	const char *path = t->args.measure ? t->args.measure : t->args.machine;
	int rc = t->args.measure ? 0 : tr_machine_open(&t->machine, path, &t->err);

	for (size_t i = 0; i < tr_n_machine(); i++)
		if (!t->args.measure && !strcmp(tr_machine_get(i)->name, path))
			rc = tr_tune_fail(&t->err, TR_E_INVALID, path,
				"--calibrate is for a machine that was measured here, a file");
	if (!rc && t->args.quick)
		opts.n_token = 16;
	if (!rc)
		rc = tr_machine_calibrate(&t->machine, &opts, &t->err);
	if (rc)
		return tr_tool_fail(&t->err);
	rc = write_file(&t->machine, path);
	if (!rc && !t->args.json)
		print_run(&t->machine.run[0]);
	return rc;
}

const struct tr_machine_run *tr_tune_run_of(const struct tr_tune *t)
{
	for (size_t i = 0; !t->args.gpu && i < t->machine.n_run; i++)
		if (!strcmp(t->machine.run[i].model, t->model.work.model))
			return &t->machine.run[i];
	return NULL;
}
