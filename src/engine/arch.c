#include "engine/arch.h"
#include "base/mem.h"
#include "engine/expert_stats.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TR_ARCH(name) extern const struct tr_arch_ops tr_arch_##name;
#include "engine/archs/archs.def"
#undef TR_ARCH

static const struct tr_arch_ops *const archs[] = {
#define TR_ARCH(name) &tr_arch_##name,
#include "engine/archs/archs.def"
#undef TR_ARCH
};

const struct tr_arch_ops *tr_arch_by_name(const char *name, struct tr_err *err)
{
	char list[256] = "";
	size_t i, n = 0;

	for (i = 0; i < TR_ARRAY_LEN(archs); i++) {
		if (!strcmp(archs[i]->name, name))
			return archs[i];
		n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s", n ? ", " : "",
			archs[i]->name);
	}
	tr_err_set(err, TR_E_UNSUPPORTED,
		"general.architecture: '%s' is not supported; supported: %s", name, list);
	return NULL;
}

static void shape_text(char *buf, size_t cap, const uint64_t *ne)
{
	size_t n = 1, at, i;

	for (i = 0; i < TR_GGUF_MAX_DIM; i++)
		if (ne[i] != 1)
			n = i + 1;
	at = (size_t)snprintf(buf, cap, "{");
	for (i = 0; i < n; i++)
		at += (size_t)snprintf(buf + at, cap - at, "%s%llu", i ? ", " : "",
			(unsigned long long)ne[i]);
	snprintf(buf + at, cap - at, "}");
}

int tr_arch_want(const struct tr_model *model, const struct tr_tensor **out, struct tr_err *err,
	uint64_t ne0, uint64_t ne1, uint64_t ne2, const char *fmt, ...)
{
	const uint64_t want[TR_GGUF_MAX_DIM] = { ne0, ne1, ne2, 1 };
	char name[TR_GGUF_NAME_BYTES], has_text[96], want_text[96];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(name, sizeof(name), fmt, ap);
	va_end(ap);
	*out = tr_model_find(model, "%s", name);
	shape_text(want_text, sizeof(want_text), want);
	if (!*out)
		return tr_err_set(err, TR_E_FORMAT, "tensor %s %s is missing", name, want_text);
	if (memcmp((*out)->ne, want, sizeof(want))) {
		shape_text(has_text, sizeof(has_text), (*out)->ne);
		return tr_err_set(err, TR_E_FORMAT, "tensor %s has shape %s, expected %s", name,
			has_text, want_text);
	}
	return 0;
}

int tr_arch_floats(float **out, const struct tr_resident *res, const struct tr_tensor *t,
	struct tr_err *err)
{
	uint64_t n = t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];

	*out = tr_calloc(n, sizeof(float));
	if (!*out)
		return tr_err_set(err, TR_E_NOMEM, "tensor %s: out of memory", t->name);
	t->quant->dequant(tr_resident_data(res, t), *out, n);
	return 0;
}

void tr_run_routed(struct tr_run *run, uint32_t layer, const uint32_t *ids, const float *weights,
	size_t n_tok, bool scan)
{
	size_t n = run->n_routed, last = (n_tok - 1) * n;
	uint32_t moe = (uint32_t)run->catalog->moe_of_layer[layer];

	memcpy(run->routing_ids + layer * n, ids + last, n * sizeof(*ids));
	memcpy(run->routing_weights + layer * n, weights + last, n * sizeof(*weights));
	if (run->counter)
		tr_expert_counter_routed(run->counter, moe, ids, weights, n_tok, scan);
	if (run->trace)
		tr_trace_write_set(run->trace, moe, (uint32_t)n_tok, scan, ids, weights);
}
