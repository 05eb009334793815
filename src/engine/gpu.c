/* gpu.c - opens the device, picks its budget, uploads by two blocks of pinned memory in turn. */
#include "engine/gpu.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/opt.h"

#include <stdlib.h>
#include <string.h>

/* An eighth of the device, at most: a desktop's windows and a browser take a few hundred MiB. */
#define RESERVE_SHARE 8
#define RESERVE_MAX   (512ull << 20)

/* Large enough for the full rate of PCIe, small enough to begin soon. */
#define STAGING_BYTES (4u << 20)

int tr_gpu_open(struct tr_gpu **out, const char *text, struct tr_err *err)
{
	struct tr_gpu *g;
	int rc;

	*out = NULL;
	if (!text || !strcmp(text, "none"))
		return 0;
	g = tr_calloc(1, sizeof(*g));
	if (!g)
		return tr_err_set(err, TR_E_NOMEM, "--device %s: out of memory", text);
	rc = tr_device_open(&g->dev, text, err);
	if (!rc)
		rc = tr_device_info(g->dev, &g->info, err);
	if (rc) {
		tr_gpu_close(g);
		return rc;
	}
	*out = g;
	return 0;
}

int tr_gpu_failed(struct tr_gpu *g, int rc, const struct tr_err *err)
{
	if (!g->go_on)
		return rc;
	if (!g->is_lost)
		tr_warn("%s; going on with the CPU alone", err ? err->msg : g->info.name);
	g->is_lost = true;
	return 0;
}

static void free_staging(struct tr_gpu *g)
{
	for (int i = 0; i < 2; i++) {
		tr_event_free(g->staged[i]);
		tr_pinned_free(g->dev, g->staging[i]);
		g->staged[i] = NULL;
		g->staging[i] = NULL;
	}
}

void tr_gpu_close(struct tr_gpu *g)
{
	if (!g)
		return;
	tr_stream_free(g->copy);
	tr_stream_free(g->compute);
	if (g->dev)
		free_staging(g);
	tr_device_close(g->dev);
	free(g);
}

uint64_t tr_gpu_reserve_bytes(const struct tr_gpu *g)
{
	return TR_MIN(g->info.mem_bytes / RESERVE_SHARE, RESERVE_MAX);
}

static int without_device(const char *text, uint64_t bytes, struct tr_err *err)
{
	const char *why = NULL;
	unsigned n = tr_device_count(&why);

	if (!bytes)
		return 0;
	if (n)
		return tr_err_set(err, TR_E_INVALID,
			"--vram %s: no device is named; --device cuda:N takes one of %u", text, n);
	return tr_err_set(err, TR_E_UNSUPPORTED,
		"--vram %s: no device is named (--device), and no GPU can be used: %s", text, why);
}

int tr_gpu_budget(const struct tr_gpu *g, const char *text, uint64_t expert_bytes, uint64_t *bytes,
	bool *is_share, struct tr_err *err)
{
	bool is_auto = !text || !strcmp(text, "auto");
	char want[32], has[32];
	int rc;

	*bytes = 0;
	*is_share = !is_auto && strchr(text, '%');
	rc = is_auto ? 0 : tr_opt_size("--vram", text, expert_bytes, bytes, err);
	if (rc)
		return rc;
	if (!g)
		return without_device(text ? text : "0", is_auto && text ? 1 : *bytes, err);
	if (is_auto) {
		uint64_t keep = tr_gpu_reserve_bytes(g);

		*bytes = g->info.free_bytes > keep ? g->info.free_bytes - keep : 0;
		return 0;
	}
	if (*bytes <= g->info.free_bytes)
		return 0;
	return tr_err_set(err, TR_E_LIMIT, "--vram %s: %s asked for, device %s has %s free", text,
		tr_opt_human(*bytes, want, sizeof(want)), g->info.name,
		tr_opt_human(g->info.free_bytes, has, sizeof(has)));
}

int tr_gpu_start(struct tr_gpu *g, uint64_t arena_bytes, struct tr_err *err)
{
	int rc = arena_bytes ? tr_device_reserve(g->dev, arena_bytes, err) : 0;

	g->arena_bytes = arena_bytes;
	if (!rc)
		rc = tr_stream_new(&g->compute, g->dev, TR_STREAM_HIGH, err);
	if (!rc)
		rc = tr_stream_new(&g->copy, g->dev, TR_STREAM_LOW, err);
	return rc;
}

static int begin_staging(struct tr_gpu *g, struct tr_err *err)
{
	void *at;
	int rc = 0;

	for (int i = 0; i < 2 && !rc; i++) {
		rc = tr_pinned_new(g->dev, STAGING_BYTES, &g->staging[i], &at, err);
		if (!rc)
			rc = tr_event_new(&g->staged[i], g->dev, err);
	}
	return rc;
}

int tr_gpu_upload(struct tr_gpu *g, void *dst, const void *src, uint64_t bytes, struct tr_err *err)
{
	uint64_t at, n;
	int rc = g->staging[0] ? 0 : begin_staging(g, err);

	for (at = 0; at < bytes && !rc; at += n) {
		unsigned i = g->next++ % 2;

		n = TR_MIN(bytes - at, (uint64_t)STAGING_BYTES);
		rc = tr_event_sync(g->staged[i], err);
		if (rc)
			break;
		memcpy(g->staging[i], (const uint8_t *)src + at, n);
		rc = tr_stream_copy(g->copy, TR_COPY_TO_DEVICE, (uint8_t *)dst + at,
			g->staging[i], n, err);
		if (!rc)
			rc = tr_stream_record(g->copy, g->staged[i], err);
	}
	return rc;
}

int tr_gpu_upload_end(struct tr_gpu *g, struct tr_err *err)
{
	int rc = tr_stream_sync(g->copy, err);

	free_staging(g);
	return rc;
}
