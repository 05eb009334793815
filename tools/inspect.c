/* inspect.c - gathers what the library says about a model, and prints it as tables. */
#include "tools/inspect.h"
#include "tools/report.h"
#include "tools/table.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define VALUE_WIDTH 72 /* characters of a metadata value in the table; JSON has all */
#define N_OF(a) (sizeof(a) / sizeof((a)[0]))

static int add_unit(void *ctx, const struct tr_unit_info *unit)
{
	struct tr_inspect *in = ctx;

	if (in->n_unit == in->plan.n_unit)
		return TR_E_LIMIT;
	in->unit[in->n_unit++] = *unit;
	return 0;
}

static int make_plan(struct tr_inspect *in, const struct tr_engine_opts *opts)
{
	int rc = tr_engine_plan(opts, &in->plan, &in->plan_err);

	if (rc)
		return rc;
	in->unit = tr_tool_calloc(in->plan.n_unit, sizeof(*in->unit));
	return tr_engine_plan_units(opts, add_unit, in, &in->plan_err);
}

int tr_inspect_open(struct tr_inspect *in, const struct tr_engine_opts *opts, struct tr_err *err)
{
	int rc;

	*in = (struct tr_inspect){ 0 };
	rc = tr_model_open(&in->model, opts->model_path, err);
	if (!rc)
		in->with_plan = make_plan(in, opts) == 0;
	return rc;
}

void tr_inspect_close(struct tr_inspect *in)
{
	free(in->unit);
	tr_model_close(in->model);
}

void tr_inspect_print_files(const struct tr_inspect *in, FILE *out)
{
	static const char *const head[] = { ">shard", ">size", ">tensors", ">data at", "file" };
	struct tr_shard_info shard;
	struct tr_table t;

	tr_table_init(&t, head, N_OF(head));
	for (size_t i = 0; i < tr_model_n_shard(in->model); i++) {
		tr_model_shard_info(in->model, i, &shard);
		tr_table_add(&t, "%zu", i);
		tr_table_add_bytes(&t, shard.file_bytes);
		tr_table_add(&t, "%zu", shard.n_tensor);
		tr_table_add(&t, "%" PRIu64, shard.data_off);
		tr_table_add(&t, "%s", shard.path);
	}
	fputs("files\n", out);
	tr_table_print(&t, out, "  ");
	tr_table_fini(&t);
}

/* The beginning of a value, cut between characters. */
static void add_value(struct tr_table *t, const struct tr_model *model, size_t i)
{
	char text[VALUE_WIDTH + 1];
	size_t whole = tr_model_kv_text(model, i, text, sizeof(text));
	size_t n = strlen(text);

	while (whole > n && n > 0 && ((unsigned char)text[n - 1] & 0xc0) == 0x80)
		n--;
	if (whole > n && n > 0 && ((unsigned char)text[n - 1] & 0xc0) == 0xc0)
		n--;
	tr_table_add(t, "%.*s", (int)n, text);
}

void tr_inspect_print_metadata(const struct tr_inspect *in, FILE *out)
{
	static const char *const head[] = { "key", "type", "value" };
	struct tr_table t;

	tr_table_init(&t, head, N_OF(head));
	for (size_t i = 0; i < tr_model_n_kv(in->model); i++) {
		tr_table_add(&t, "%s", tr_model_kv_key(in->model, i));
		tr_table_add(&t, "%s", tr_model_kv_type(in->model, i));
		add_value(&t, in->model, i);
	}
	fputs("\nmetadata\n", out);
	tr_table_print(&t, out, "  ");
	tr_table_fini(&t);
}

/* "256 x 4096" */
static void add_shape(struct tr_table *t, const struct tr_tensor_info *tensor)
{
	char text[4 * 24] = "";
	size_t n = 0;

	for (uint32_t d = 0; d < tensor->n_dim; d++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%" PRIu64, d ? " x " : "",
			tensor->ne[d]);
	tr_table_add(t, "%s", text);
}

void tr_inspect_print_tensors(const struct tr_inspect *in, FILE *out)
{
	static const char *const head[] = { "tensor", "type", "shape", ">size", ">shard",
		">offset" };
	struct tr_tensor_info tensor;
	struct tr_table t;

	tr_table_init(&t, head, N_OF(head));
	for (size_t i = 0; i < tr_model_n_tensor(in->model); i++) {
		tr_model_tensor_info(in->model, i, &tensor);
		tr_table_add(&t, "%s", tensor.name);
		tr_table_add(&t, "%s", tensor.type);
		add_shape(&t, &tensor);
		tr_table_add_bytes(&t, tensor.bytes);
		tr_table_add(&t, "%" PRIu32, tensor.shard);
		tr_table_add(&t, "%" PRIu64, tensor.file_off);
	}
	fputs("\ntensors\n", out);
	tr_table_print(&t, out, "  ");
	tr_table_fini(&t);
}

struct type_sum {
	const char *type;
	size_t n_tensor;
	uint64_t bytes;
};

/* Types in order of appearance. Returns how many; there are fewer types than tensors. */
static size_t sum_types(const struct tr_model *model, struct type_sum *sum)
{
	struct tr_tensor_info tensor;
	size_t n = 0;

	for (size_t i = 0; i < tr_model_n_tensor(model); i++) {
		size_t k = 0;

		tr_model_tensor_info(model, i, &tensor);
		while (k < n && strcmp(sum[k].type, tensor.type) != 0)
			k++;
		if (k == n)
			sum[n++].type = tensor.type;
		sum[k].n_tensor++;
		sum[k].bytes += tensor.bytes;
	}
	return n;
}

void tr_inspect_print_types(const struct tr_inspect *in, FILE *out)
{
	static const char *const head[] = { "type", ">tensors", ">size" };
	struct type_sum *sum = tr_tool_calloc(tr_model_n_tensor(in->model), sizeof(*sum));
	size_t n = sum_types(in->model, sum);
	struct tr_table t;

	tr_table_init(&t, head, N_OF(head));
	for (size_t i = 0; i < n; i++) {
		tr_table_add(&t, "%s", sum[i].type);
		tr_table_add(&t, "%zu", sum[i].n_tensor);
		tr_table_add_bytes(&t, sum[i].bytes);
	}
	fputs("\ntensors (--tensors lists them)\n", out);
	tr_table_print(&t, out, "  ");
	tr_table_fini(&t);
	free(sum);
}

static void print_size(FILE *out, const char *what, uint64_t bytes)
{
	char buf[32];

	fprintf(out, "  %-28s %12s  %" PRIu64 " bytes\n", what,
		tr_table_bytes(bytes, buf, sizeof(buf)), bytes);
}

static void print_experts(const struct tr_plan *p, FILE *out)
{
	char kv[48];

	fprintf(out,
		"\nexperts\n  %" PRIu32 " of %" PRIu32 " layers have %" PRIu32 " experts, %" PRIu32
		" used per token: %" PRIu64 " in all\n",
		p->n_moe_layer, p->n_layer, p->n_expert, p->n_expert_used, p->n_unit);
	print_size(out, "largest expert", p->unit_bytes_max);
	print_size(out, "all experts", p->expert_bytes);
	print_size(out, "one token's working set", p->floor_bytes);
	fputs("\nalways in memory\n", out);
	print_size(out, "resident weights", p->resident_bytes);
	snprintf(kv, sizeof(kv), "KV cache of %" PRIu32 " tokens", p->n_ctx);
	print_size(out, kv, p->kv_bytes);
	if (p->freed_bytes)
		print_size(out, "of these on the device only", p->freed_bytes);
}

static void print_nodes(const struct tr_plan *p, FILE *out)
{
	static const char *const head[] = { ">node", ">threads", ">resident", ">dram", ">kv" };
	struct tr_table t;

	tr_table_init(&t, head, N_OF(head));
	for (size_t i = 0; i < p->n_node; i++) {
		tr_table_add(&t, "%d", p->node[i].id);
		tr_table_add(&t, "%u", p->node[i].n_thread);
		tr_table_add_bytes(&t, p->node[i].resident_bytes);
		tr_table_add_bytes(&t, p->node[i].dram_bytes);
		tr_table_add_bytes(&t, p->node[i].kv_bytes);
	}
	fputs("\nNUMA nodes (each computes the rows of weights that lie on it)\n", out);
	tr_table_print(&t, out, "  ");
	tr_table_fini(&t);
}

static void print_device(const struct tr_plan *p, FILE *out)
{
	uint64_t slots = p->vram_bytes - p->vram_scratch_bytes - p->vram_weight_bytes -
		p->vram_kv_bytes;
	char layers[64], scratch[64];

	if (!p->device[0])
		return;
	fprintf(out, "\ndevice %s\n", p->device);
	print_size(out, "memory", p->device_bytes);
	print_size(out, "of which free", p->device_free_bytes);
	print_size(out, "for all layers", p->vram_layer_bytes);
	print_size(out, "to be taken", p->vram_bytes);
	snprintf(layers, sizeof(layers), "  %" PRIu32 " layers, %" PRIu32 " ffn%s", p->n_vram_layer,
		p->n_vram_ffn, p->vram_head ? ", head" : "");
	print_size(out, layers, p->vram_weight_bytes);
	print_size(out, "  KV cache", p->vram_kv_bytes);
	snprintf(scratch, sizeof(scratch), "  scratch, %" PRIu32 " tokens", p->n_batch);
	print_size(out, scratch, p->vram_scratch_bytes);
	print_size(out, "  expert slots", slots);
	fputs("  experts fetched for a prompt: ", out);
	tr_report_print_fetch(&p->fetch, out);
	fputc('\n', out);
}

void tr_inspect_print_plan(const struct tr_inspect *in, FILE *out)
{
	static const char *const head[] = { "tier", ">capacity", ">experts", ">their size" };
	const struct tr_plan *p = &in->plan;
	struct tr_table t;

	print_experts(p, out);
	tr_table_init(&t, head, N_OF(head));
	for (size_t i = 0; i < p->n_tier; i++) {
		tr_table_add(&t, "%s", p->tier[i].name);
		if (p->tier[i].capacity_bytes || i + 1 < p->n_tier)
			tr_table_add_bytes(&t, p->tier[i].capacity_bytes);
		else
			tr_table_add(&t, "-");
		tr_table_add(&t, "%" PRIu64, p->tier[i].n_unit);
		tr_table_add_bytes(&t, p->tier[i].bytes);
	}
	fputs("\ntiers (a cache holds copies; the others are homes)\n", out);
	tr_table_print(&t, out, "  ");
	tr_table_fini(&t);
	print_device(p, out);
	if (p->n_node)
		print_nodes(p, out);
}

void tr_inspect_print_units(const struct tr_inspect *in, FILE *out)
{
	static const char *const head[] = { ">layer", ">expert", ">size", "home", "gate", "up",
		"down" };
	struct tr_table t;

	tr_table_init(&t, head, N_OF(head));
	for (size_t i = 0; i < in->n_unit; i++) {
		const struct tr_unit_info *u = &in->unit[i];

		tr_table_add(&t, "%" PRIu32, u->layer);
		tr_table_add(&t, "%" PRIu32, u->expert);
		tr_table_add_bytes(&t, u->bytes);
		tr_table_add(&t, "%s",
			u->home < in->plan.n_tier ? in->plan.tier[u->home].name : "?");
		for (size_t k = 0; k < 3; k++)
			tr_table_add(&t, "%" PRIu32 ":%" PRIu64 "+%" PRIu64, u->part[k].shard,
				u->part[k].off, u->part[k].bytes);
	}
	fputs("\nunits (gate, up and down as shard:offset+bytes)\n", out);
	tr_table_print(&t, out, "  ");
	tr_table_fini(&t);
}
