/* inspect_json.c - the whole description as one object. Sizes and offsets are bytes. Metadata
 * values are uncut: numbers and booleans as such, all else in its text form. */
#include "tools/inspect.h"
#include "tools/report.h"

#include <stdlib.h>
#include <string.h>

static json_t *text(const char *s)
{
	return tr_json_text(s, strlen(s));
}

static json_t *json_shards(const struct tr_model *model)
{
	json_t *array = json_array();
	struct tr_shard_info s;

	for (size_t i = 0; i < tr_model_n_shard(model); i++) {
		tr_model_shard_info(model, i, &s);
		json_array_append_new(array, json_pack("{s:o, s:I, s:I, s:I}", "path", text(s.path),
			"file_bytes", (json_int_t)s.file_bytes, "data_off", (json_int_t)s.data_off,
			"n_tensor", (json_int_t)s.n_tensor));
	}
	return array;
}

static bool is_plain(const char *type)
{
	return strcmp(type, "str") != 0 && strcmp(type, "arr") != 0;
}

static json_t *json_value(const struct tr_model *model, size_t i)
{
	size_t n = tr_model_kv_text(model, i, NULL, 0);
	char *buf = tr_tool_calloc(n + 1, 1);
	json_t *value;

	tr_model_kv_text(model, i, buf, n + 1);
	value = is_plain(tr_model_kv_type(model, i)) ? json_loads(buf, JSON_DECODE_ANY, NULL) : NULL;
	if (!value) /* a string, an array, or a number that JSON has not, such as nan */
		value = tr_json_text(buf, n);
	free(buf);
	return value;
}

static json_t *json_metadata(const struct tr_model *model)
{
	json_t *array = json_array();

	for (size_t i = 0; i < tr_model_n_kv(model); i++)
		json_array_append_new(array, json_pack("{s:o, s:o, s:o}", "key",
			text(tr_model_kv_key(model, i)), "type", text(tr_model_kv_type(model, i)),
			"value", json_value(model, i)));
	return array;
}

static json_t *json_tensors(const struct tr_model *model)
{
	json_t *array = json_array();
	struct tr_tensor_info t;

	for (size_t i = 0; i < tr_model_n_tensor(model); i++) {
		json_t *shape = json_array();

		tr_model_tensor_info(model, i, &t);
		for (uint32_t d = 0; d < t.n_dim; d++)
			json_array_append_new(shape, json_integer((json_int_t)t.ne[d]));
		json_array_append_new(array, json_pack("{s:o, s:o, s:o, s:i, s:I, s:I}", "name",
			text(t.name), "type", text(t.type), "shape", shape, "shard", (int)t.shard,
			"file_off", (json_int_t)t.file_off, "bytes", (json_int_t)t.bytes));
	}
	return array;
}

static json_t *json_tiers(const struct tr_plan *p)
{
	json_t *array = json_array();

	for (size_t i = 0; i < p->n_tier; i++)
		json_array_append_new(array, json_pack("{s:o, s:I, s:I, s:I}", "name",
			text(p->tier[i].name), "capacity_bytes",
			(json_int_t)p->tier[i].capacity_bytes, "n_unit",
			(json_int_t)p->tier[i].n_unit, "bytes", (json_int_t)p->tier[i].bytes));
	return array;
}

static json_t *json_nodes(const struct tr_plan *p)
{
	json_t *array = json_array();

	for (size_t i = 0; i < p->n_node; i++)
		json_array_append_new(array, json_pack("{s:i, s:i, s:I, s:I, s:I}", "node",
			p->node[i].id, "threads", (int)p->node[i].n_thread, "resident_bytes",
			(json_int_t)p->node[i].resident_bytes, "dram_bytes",
			(json_int_t)p->node[i].dram_bytes, "kv_bytes",
			(json_int_t)p->node[i].kv_bytes));
	return array;
}

static json_t *json_device(const struct tr_plan *p)
{
	if (!p->device[0])
		return json_null();
	return json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:i, s:b, s:I, s:I, s:o}",
		"name", text(p->device), "bytes", (json_int_t)p->device_bytes, "free_bytes",
		(json_int_t)p->device_free_bytes, "vram_bytes", (json_int_t)p->vram_bytes,
		"scratch_bytes", (json_int_t)p->vram_scratch_bytes, "slot_bytes",
		(json_int_t)(p->vram_bytes - p->vram_scratch_bytes - p->vram_weight_bytes -
			     p->vram_kv_bytes),
		"weight_bytes", (json_int_t)p->vram_weight_bytes, "kv_bytes",
		(json_int_t)p->vram_kv_bytes, "n_layer", (int)p->n_vram_layer, "n_ffn",
		(int)p->n_vram_ffn, "head", (int)p->vram_head, "all_layers_bytes",
		(json_int_t)p->vram_layer_bytes, "freed_bytes", (json_int_t)p->freed_bytes, "fetch_costs",
		tr_report_json_fetch(&p->fetch));
}

static json_t *json_plan(const struct tr_plan *p)
{
	return json_pack("{s:i, s:i, s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:o, s:o, s:o}", "n_layer",
		(int)p->n_layer, "n_moe_layer", (int)p->n_moe_layer, "n_expert", (int)p->n_expert,
		"n_expert_used", (int)p->n_expert_used, "n_unit", (json_int_t)p->n_unit,
		"unit_bytes_max", (json_int_t)p->unit_bytes_max, "expert_bytes",
		(json_int_t)p->expert_bytes, "resident_bytes", (json_int_t)p->resident_bytes,
		"kv_bytes", (json_int_t)p->kv_bytes, "floor_bytes", (json_int_t)p->floor_bytes,
		"n_ctx", (int)p->n_ctx, "tiers", json_tiers(p),
		"device", json_device(p), "nodes", json_nodes(p));
}

static json_t *json_units(const struct tr_inspect *in)
{
	static const char *const part[] = { "gate", "up", "down" };
	json_t *array = json_array();

	for (size_t i = 0; i < in->n_unit; i++) {
		const struct tr_unit_info *u = &in->unit[i];
		json_t *unit = json_pack("{s:i, s:i, s:I, s:i}", "layer", (int)u->layer, "expert",
			(int)u->expert, "bytes", (json_int_t)u->bytes, "home", (int)u->home);

		for (size_t k = 0; k < 3; k++)
			json_object_set_new(unit, part[k], json_pack("{s:i, s:I, s:I}", "shard",
				(int)u->part[k].shard, "file_off", (json_int_t)u->part[k].off,
				"bytes", (json_int_t)u->part[k].bytes));
		json_array_append_new(array, unit);
	}
	return array;
}

json_t *tr_inspect_json(const struct tr_inspect *in)
{
	json_t *root = json_pack("{s:o, s:o, s:o}", "shards", json_shards(in->model), "metadata",
		json_metadata(in->model), "tensors", json_tensors(in->model));

	if (root && in->with_plan) {
		json_object_set_new(root, "plan", json_plan(&in->plan));
		json_object_set_new(root, "units", json_units(in));
	} else if (root) {
		json_object_set_new(root, "plan", json_null());
		json_object_set_new(root, "plan_error", text(in->plan_err.msg));
	}
	return root;
}
