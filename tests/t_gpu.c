/* t_gpu.c - the engine's device: how much of its memory is taken, and what uploads bring there. */
#include "test.h"
#include "base/mem.h"
#include "engine/gpu.h"

static struct tr_err err;

static struct tr_gpu *open_gpu(const char *text)
{
	struct tr_gpu *g;

	if (tr_gpu_open(&g, text, &err))
		fail_msg("%s: %s", text, err.msg);
	assert_non_null(g);
	return g;
}

static void no_device_is_the_default(void **state)
{
	struct tr_gpu *g = (struct tr_gpu *)state;

	assert_int_equal(tr_gpu_open(&g, NULL, &err), 0);
	assert_null(g);
	g = (struct tr_gpu *)state;
	assert_int_equal(tr_gpu_open(&g, "none", &err), 0);
	assert_null(g);
}

static void auto_leaves_an_eighth_and_never_more_than_512_mib(void **state)
{
	static const struct {
		const char *device;
		uint64_t left;
	} cases[] = { { "host,mem=64M", 8u << 20 }, { "host,mem=64G", 512u << 20 } };
	uint64_t bytes;
	bool is_share;

	(void)state;
	for (size_t i = 0; i < TR_ARRAY_LEN(cases); i++) {
		struct tr_gpu *g = open_gpu(cases[i].device);

		for (int k = 0; k < 2; k++) {
			assert_int_equal(tr_gpu_budget(g, k ? "auto" : NULL, 1000, &bytes,
						 &is_share, &err), 0);
			assert_int_equal(bytes, g->info.mem_bytes - cases[i].left);
			assert_false(is_share);
		}
		tr_gpu_close(g);
	}
}

static void a_size_is_all_and_a_percentage_is_of_experts(void **state)
{
	struct tr_gpu *g = open_gpu("host,mem=64M");
	uint64_t bytes;
	bool is_share;

	(void)state;
	assert_int_equal(tr_gpu_budget(g, "10M", 1000, &bytes, &is_share, &err), 0);
	assert_int_equal(bytes, 10u << 20);
	assert_false(is_share);
	assert_int_equal(tr_gpu_budget(g, "25%", 1000, &bytes, &is_share, &err), 0);
	assert_int_equal(bytes, 250);
	assert_true(is_share);
	assert_int_equal(tr_gpu_budget(g, "65M", 1000, &bytes, &is_share, &err), TR_E_LIMIT);
	assert_err_has(&err, "--vram 65M: 65.0 MiB asked for");
	assert_err_has(&err, "64.0 MiB free");
	assert_int_equal(tr_gpu_budget(g, "much", 1000, &bytes, &is_share, &err), TR_E_INVALID);
	tr_gpu_close(g);
}

static void vram_without_a_device_is_refused_unless_zero(void **state)
{
	uint64_t bytes;
	bool is_share;

	(void)state;
	assert_int_equal(tr_gpu_budget(NULL, NULL, 1000, &bytes, &is_share, &err), 0);
	assert_int_equal(tr_gpu_budget(NULL, "0", 1000, &bytes, &is_share, &err), 0);
	assert_int_equal(bytes, 0);
	assert_true(tr_gpu_budget(NULL, "4G", 1000, &bytes, &is_share, &err) < 0);
	assert_err_has(&err, "--vram 4G: no device is named");
	assert_true(tr_gpu_budget(NULL, "auto", 1000, &bytes, &is_share, &err) < 0);
	assert_err_has(&err, "--vram auto: no device is named");
}

/* More than both blocks of staging hold, at odd places. */
static void uploads_arrive_whole(void **state)
{
	struct tr_gpu *g = open_gpu("host,mem=64M");
	size_t n = (13u << 20) + 777;
	uint8_t *src = malloc(n), *back = calloc(n, 1);
	struct tr_buffer *b;

	(void)state;
	for (size_t i = 0; i < n; i++)
		src[i] = (uint8_t)(i * 2654435761u >> 13);
	assert_int_equal(tr_gpu_start(g, 32u << 20, &err), 0);
	assert_int_equal(tr_buffer_new(&b, g->dev, n + 5, "a test", &err), 0);
	assert_int_equal(tr_gpu_upload(g, tr_buffer_at(b, 5), src, n - 100, &err), 0);
	assert_int_equal(tr_gpu_upload(g, tr_buffer_at(b, 5 + n - 100), src + n - 100, 100, &err), 0);
	assert_int_equal(tr_gpu_upload_end(g, &err), 0);
	assert_int_equal(tr_stream_copy(g->compute, TR_COPY_TO_HOST, back, tr_buffer_at(b, 5), n,
				 &err), 0);
	assert_int_equal(tr_stream_sync(g->compute, &err), 0);
	assert_memory_equal(back, src, n);
	tr_buffer_free(b);
	tr_gpu_close(g);
	free(src);
	free(back);
}

static void a_device_that_fails_while_loading_says_so(void **state)
{
	struct tr_gpu *g = open_gpu("host,mem=64M,fail=2");
	struct tr_buffer *b;
	uint8_t *src = calloc(20u << 20, 1);
	int rc;

	(void)state;
	assert_int_equal(tr_gpu_start(g, 32u << 20, &err), 0);
	assert_int_equal(tr_buffer_new(&b, g->dev, 20u << 20, "a test", &err), 0);
	rc = tr_gpu_upload(g, tr_buffer_at(b, 0), src, 20u << 20, &err);
	if (!rc)
		rc = tr_gpu_upload_end(g, &err);
	assert_int_equal(rc, TR_E_IO);
	assert_err_has(&err, "operation 2 (copy) failed");
	tr_buffer_free(b);
	tr_gpu_close(g);
	free(src);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_device_is_the_default),
		cmocka_unit_test(auto_leaves_an_eighth_and_never_more_than_512_mib),
		cmocka_unit_test(a_size_is_all_and_a_percentage_is_of_experts),
		cmocka_unit_test(vram_without_a_device_is_refused_unless_zero),
		cmocka_unit_test(uploads_arrive_whole),
		cmocka_unit_test(a_device_that_fails_while_loading_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
