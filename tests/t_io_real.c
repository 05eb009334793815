/*
 * t_io_real.c - every I/O method that users can choose reads a real file rightly.
 *
 * The same tests run for each entry of the registry but the simulation; a method that this system
 * does not allow is skipped with its reason. The file lies in TR_BUILDDIR and is read with O_DIRECT
 * where the file system can.
 */
#include "test.h"
#include "base/mem.h"
#include "io/method_sim.h"
#include "io/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#define FILE_BYTES (9u * 1024 * 1024 + 1234)
#define MAX_WINDOW (768u * 1024)
#define N_THREAD   4
#define N_ROUND	   60

#if defined(__SANITIZE_THREAD__)
#define WITH_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WITH_TSAN 1
#endif
#endif
#ifndef WITH_TSAN
#define WITH_TSAN 0
#endif

static char data_path[4096];
static char last_warning[1024];
static unsigned n_warning;

static void keep_warning(void *ctx, enum tr_log_level level, const char *line)
{
	(void)ctx;
	if (level != TR_LOG_WARN)
		return;
	n_warning++;
	snprintf(last_warning, sizeof(last_warning), "%s", line);
}

/* --- a request with its buffer ---------------------------------------------------------------- */

struct read {
	struct tr_io_req req;
	uint64_t off, len; /* of the wanted bytes in the file */
	atomic_bool done;
};

static void set_done(struct tr_io_req *req)
{
	struct read *r = req->ctx;

	atomic_store(&r->done, true);
}

static void prepare(struct read *r, struct tr_file *file, void *buf, uint64_t off, uint64_t len)
{
	uint64_t win_off, win_len;

	tr_file_window(file, off, len, &win_off, &win_len);
	r->off = off;
	r->len = len;
	atomic_store(&r->done, false);
	r->req.file = file;
	r->req.off = win_off;
	r->req.len = win_len;
	r->req.need = off + len - win_off;
	r->req.buf = buf;
	r->req.done = set_done;
	r->req.ctx = r;
}

static void submit(struct tr_io *io, struct read *r)
{
	struct tr_io_req *req = &r->req;

	tr_io_submit(io, &req, 1);
}

static void wait_for(struct tr_io *io, struct read *r)
{
	while (!atomic_load(&r->done))
		tr_io_wait(io);
}

static bool content_is_right(const struct read *r)
{
	unsigned char *want = malloc(r->len);
	bool same;

	if (!want)
		return false;
	tr_io_sim_pattern(NULL, r->req.file, r->off, want, r->len);
	same = !memcmp((char *)r->req.buf + (r->off - r->req.off), want, r->len);
	free(want);
	return same;
}

static void *buffer(size_t bytes)
{
	void *p = NULL;

	assert_int_equal(posix_memalign(&p, 4096, bytes), 0);
	memset(p, 0xee, bytes);
	return p;
}

/* --- opening ---------------------------------------------------------------------------------- */

struct bed {
	struct tr_io *io;
	struct tr_file file;
};

static void open_bed(struct bed *b, const char *method, uint32_t depth, bool direct)
{
	struct tr_io_cfg cfg = {
		.method = method, .depth = depth, .piece_bytes = 128 * 1024, .n_thread = 3
	};
	struct tr_err err;

	if (tr_io_open(&b->io, &cfg, &err)) {
		print_message("# %s is skipped: %s\n", method, err.msg);
		skip();
	}
	if (tr_file_open(&b->file, data_path, direct, &err))
		fail_msg("%s", err.msg);
}

static void close_bed(struct bed *b)
{
	tr_io_close(b->io);
	tr_file_close(&b->file);
}

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static void random_window(struct read *r, struct tr_file *file, void *buf, uint64_t *seed)
{
	uint64_t len = 1 + next_random(seed) % MAX_WINDOW;

	prepare(r, file, buf, next_random(seed) % (FILE_BYTES - len), len);
}

/* --- conformance ------------------------------------------------------------------------------ */

static void read_windows(struct bed *b, struct read *reads, char *bufs, size_t n)
{
	const size_t room = MAX_WINDOW + 8192;
	uint64_t seed = 88172645463325252u;

	for (unsigned round = 0; round < 8; round++) {
		for (size_t i = 0; i < n; i++) {
			reads[i].req.prio = i % 3 ? TR_IO_DEMAND : TR_IO_BACKGROUND;
			random_window(&reads[i], &b->file, bufs + i * room, &seed);
			submit(b->io, &reads[i]);
		}
		while (tr_io_wait(b->io))
			;
		for (size_t i = 0; i < n; i++) {
			assert_int_equal(reads[i].req.result, 0);
			assert_true(content_is_right(&reads[i]));
		}
	}
}

enum { N_READ = 8 };

static void windows_are_read_right(void **state)
{
	struct read reads[N_READ] = { 0 };
	char *bufs = buffer(N_READ * (MAX_WINDOW + 8192));
	struct tr_io_stats stats;
	struct bed b;

	open_bed(&b, *state, 8, true);
	read_windows(&b, reads, bufs, N_READ);
	tr_io_stats(b.io, &stats);
	assert_string_equal(stats.method, *state);
	assert_int_equal(stats.reqs, 8 * N_READ);
	assert_int_equal(stats.errors, 0);
	assert_true(stats.bytes > 0 && stats.busy_ns > 0);
	close_bed(&b);
	free(bufs);
}

static void buffered_files_are_read_right(void **state)
{
	struct read reads[N_READ] = { 0 };
	char *bufs = buffer(N_READ * (MAX_WINDOW + 8192));
	struct bed b;

	open_bed(&b, *state, 8, false);
	assert_false(b.file.direct);
	read_windows(&b, reads, bufs, N_READ);
	close_bed(&b);
	free(bufs);
}

static void registered_memory_and_files_are_read_right(void **state)
{
	const size_t room = N_READ * (MAX_WINDOW + 8192);
	struct read reads[N_READ] = { 0 };
	char *bufs = buffer(room);
	struct bed b;

	open_bed(&b, *state, 8, true);
	/* The second half only: the first half's requests go the ordinary way. */
	tr_io_register_mem(b.io, bufs + room / 2, room / 2);
	tr_io_register_file(b.io, &b.file);
	read_windows(&b, reads, bufs, N_READ);
	close_bed(&b);
	free(bufs);
}

static void refused_registration_is_said_once_and_reads_go_on(void **state)
{
	char *buf = buffer(MAX_WINDOW + 8192);
	struct tr_io_stats stats;
	struct read r = { 0 };
	struct bed b;

	open_bed(&b, *state, 8, true);
	n_warning = 0;
	for (unsigned i = 0; i < 3; i++) /* no memory lies there */
		tr_io_register_mem(b.io, (void *)(uintptr_t)4096, 4096);
	tr_io_stats(b.io, &stats);
	if (tr_io_method_find(*state)->register_mem) {
		assert_int_equal(stats.fallbacks, 1);
		assert_int_equal(n_warning, 1);
		assert_non_null(strstr(last_warning, "memory"));
	} else {
		assert_int_equal(stats.fallbacks, 0);
	}
	prepare(&r, &b.file, buf, 77, 100000);
	submit(b.io, &r);
	wait_for(b.io, &r);
	assert_true(content_is_right(&r));
	close_bed(&b);
	free(buf);
}

static void window_at_the_end_of_the_file_is_read(void **state)
{
	char *buf = buffer(MAX_WINDOW + 8192);
	struct read r = { 0 };
	struct bed b;

	open_bed(&b, *state, 8, true);
	for (uint64_t len = 1; len < 500000; len = len * 3 + 1) {
		prepare(&r, &b.file, buf, FILE_BYTES - len, len);
		submit(b.io, &r);
		wait_for(b.io, &r);
		assert_int_equal(r.req.result, 0);
		assert_true(content_is_right(&r));
	}
	close_bed(&b);
	free(buf);
}

static void read_past_the_end_is_an_error(void **state)
{
	char *buf = buffer(MAX_WINDOW + 8192);
	struct read r = { 0 };
	struct tr_err err;
	struct bed b;

	open_bed(&b, *state, 8, true);
	prepare(&r, &b.file, buf, FILE_BYTES - 1000, 1001);
	submit(b.io, &r);
	wait_for(b.io, &r);
	assert_int_equal(r.req.result, TR_E_IO);
	assert_int_equal(tr_io_explain(&r.req, &err), TR_E_IO);
	assert_err_has(&err, "ends early");
	prepare(&r, &b.file, buf, FILE_BYTES + 100000, 10);
	submit(b.io, &r);
	wait_for(b.io, &r);
	assert_int_equal(r.req.result, TR_E_IO);
	close_bed(&b);
	free(buf);
}

struct items {
	struct tr_file *file;
	uint64_t n_asked;
	uint64_t end; /* items lie before it */
};

/* Two parts an item, as gate and down of an expert. */
static size_t item_of(void *ctx, uint64_t i, struct tr_probe_read reads[TR_PROBE_MAX_READ])
{
	struct items *items = ctx;

	items->n_asked++;
	for (uint64_t p = 0; p < 2; p++)
		reads[p] = (struct tr_probe_read){ items->file,
			items->end - (2 * i + p + 1) * 100001, 100001 };
	return 2;
}

/* A millisecond later with every look. */
static uint64_t look_at_clock(void *ctx)
{
	uint64_t *ns = ctx;

	return *ns += 1000000;
}

static void probe_reads_until_time_is_up(void **state)
{
	uint64_t ns = 0;
	struct tr_clock clock = { .now_ns = look_at_clock, .ctx = &ns };
	struct items items = { 0 };
	double bytes_per_s = 0;
	struct tr_err err;
	struct bed b;

	open_bed(&b, *state, 8, true);
	struct tr_probe_cfg cfg = { .io = b.io, .clock = &clock, .n_item = 40,
		.item = item_of, .ctx = &items, .item_bytes_max = 200002, .n_flight = 3 };

	items = (struct items){ .file = &b.file, .end = FILE_BYTES };
	assert_int_equal(tr_probe_disk(&cfg, 20000000, &bytes_per_s, &err), 0);
	/* Begun at 1 ms; the items that end before 21 ms make place for others. */
	assert_int_equal(items.n_asked, 3 + 19);
	assert_true(bytes_per_s >= 22 * 200002 / 0.023);
	assert_true(bytes_per_s <= 22 * (200002 + 4 * 4096) / 0.023); /* windows are aligned */
	items = (struct items){ .file = &b.file, .end = FILE_BYTES + 1000000 };
	cfg.n_item = 1;
	assert_int_equal(tr_probe_disk(&cfg, 20000000, &bytes_per_s, &err), TR_E_IO);
	assert_err_has(&err, "ends early");
	assert_int_equal(items.n_asked, 3); /* none was begun after the failure */
	close_bed(&b);
}

static void probe_reads_in_bursts(void **state)
{
	uint64_t ns = 0;
	struct tr_clock clock = { .now_ns = look_at_clock, .ctx = &ns };
	struct items items = { 0 };
	double bytes_per_s = 0;
	struct tr_err err;
	struct bed b;

	open_bed(&b, *state, 8, true);
	struct tr_probe_cfg cfg = { .io = b.io, .clock = &clock, .n_item = 40, .item = item_of,
		.ctx = &items, .item_bytes_max = 200002, .n_flight = 3, .burst = 2.5 };

	items = (struct items){ .file = &b.file, .end = FILE_BYTES };
	assert_int_equal(tr_probe_disk(&cfg, 20000000, &bytes_per_s, &err), 0);
	/* Begun at 1 ms; 19 bursts end before 21 ms and make place for another one. */
	assert_int_equal(items.n_asked, 20 * 5 / 2);
	assert_true(bytes_per_s >= 50 * 200002 / 0.022);
	close_bed(&b);
}

static void close_file(struct tr_io_req *req)
{
	close(req->file->fd);
	set_done(req);
}

static void file_closed_midway_fails_and_does_not_hang(void **state)
{
	char *bufs = buffer(3 * (MAX_WINDOW + 8192));
	struct read reads[3] = { 0 };
	struct tr_err err;
	struct bed b;

	open_bed(&b, *state, 1, true);
	for (size_t i = 0; i < 3; i++) {
		prepare(&reads[i], &b.file, bufs + i * (MAX_WINDOW + 8192), 0, MAX_WINDOW);
		if (!i)
			reads[i].req.done = close_file;
	}
	submit(b.io, &reads[0]);
	/* The sanitizer calls a close beside a read a race, which it is: that is the test. */
	if (WITH_TSAN)
		wait_for(b.io, &reads[0]);
	submit(b.io, &reads[1]);
	submit(b.io, &reads[2]);
	while (tr_io_wait(b.io))
		;
	for (size_t i = 0; i < 3; i++)
		assert_true(atomic_load(&reads[i].done));
	assert_int_equal(reads[0].req.result, 0);
	if (strcmp(*state, "sync")) { /* which has read all in submit */
		assert_int_equal(reads[2].req.result, TR_E_IO);
		assert_int_equal(reads[2].req.os_errno, EBADF);
		tr_io_explain(&reads[2].req, &err);
		assert_err_has(&err, data_path);
	}
	b.file.fd = -1;
	close_bed(&b);
	free(bufs);
}

/* --- several threads -------------------------------------------------------------------------- */

struct worker {
	pthread_t thread;
	struct bed *bed;
	struct read reads[4];
	char *bufs;
	uint64_t seed;
	unsigned n_bad, n_cancelled;
};

static void *submit_and_wait(void *arg)
{
	const size_t room = MAX_WINDOW + 8192;
	struct worker *w = arg;

	for (unsigned round = 0; round < N_ROUND; round++) {
		for (size_t i = 0; i < 4; i++) {
			w->reads[i].req.prio = i < 2 ? TR_IO_DEMAND : TR_IO_BACKGROUND;
			random_window(&w->reads[i], &w->bed->file, w->bufs + i * room, &w->seed);
			submit(w->bed->io, &w->reads[i]);
		}
		if (round % 2)
			tr_io_cancel(w->bed->io, &w->reads[3].req);
		if (round % 3 == 0)
			tr_io_poll(w->bed->io);
		for (size_t i = 0; i < 4; i++) {
			wait_for(w->bed->io, &w->reads[i]);
			if (w->reads[i].req.result == TR_E_INTERRUPTED)
				w->n_cancelled++;
			else if (w->reads[i].req.result || !content_is_right(&w->reads[i]))
				w->n_bad++;
		}
	}
	return NULL;
}

static void threads_share_one_queue(void **state)
{
	const size_t room = 4 * (MAX_WINDOW + 8192);
	struct worker w[N_THREAD] = { 0 };
	uint64_t n_cancelled = 0;
	struct tr_io_stats stats;
	struct bed b;

	open_bed(&b, *state, 6, true);
	tr_io_register_file(b.io, &b.file);
	for (unsigned i = 0; i < N_THREAD; i++) {
		w[i].bed = &b;
		w[i].seed = 1234567 + i;
		w[i].bufs = buffer(room);
	}
	for (unsigned i = 0; i < N_THREAD; i++)
		assert_int_equal(pthread_create(&w[i].thread, NULL, submit_and_wait, &w[i]), 0);
	for (unsigned i = 0; i < N_THREAD; i++) {
		pthread_join(w[i].thread, NULL);
		assert_int_equal(w[i].n_bad, 0);
		n_cancelled += w[i].n_cancelled;
		free(w[i].bufs);
	}
	tr_io_stats(b.io, &stats);
	assert_int_equal(stats.reqs, N_THREAD * N_ROUND * 4);
	assert_int_equal(stats.cancels, n_cancelled);
	assert_int_equal(tr_io_wait(b.io), 0);
	close_bed(&b);
}

static void *submit_and_leave(void *arg)
{
	struct worker *w = arg;

	for (size_t i = 0; i < 4; i++)
		submit(w->bed->io, &w->reads[i]);
	return NULL;
}

static void reads_outlive_the_thread_that_submitted_them(void **state)
{
	const size_t room = MAX_WINDOW + 8192;
	struct worker w = { .bufs = buffer(4 * room) };
	struct bed b;

	open_bed(&b, *state, 32, true);
	w.bed = &b;
	for (unsigned round = 0; round < 10; round++) {
		for (size_t i = 0; i < 4; i++)
			prepare(&w.reads[i], &b.file, w.bufs + i * room, i * MAX_WINDOW,
				MAX_WINDOW);
		assert_int_equal(pthread_create(&w.thread, NULL, submit_and_leave, &w), 0);
		if (round % 2)
			pthread_join(w.thread, NULL);
		for (size_t i = 0; i < 4; i++) {
			wait_for(b.io, &w.reads[i]);
			assert_int_equal(w.reads[i].req.result, 0);
			assert_true(content_is_right(&w.reads[i]));
		}
		if (!(round % 2))
			pthread_join(w.thread, NULL);
	}
	close_bed(&b);
	free(w.bufs);
}

/* --- files and fallbacks ---------------------------------------------------------------------- */

static void windows_are_aligned_and_cover(void **state)
{
	static const struct {
		uint32_t align;
		uint64_t off, len, win_off, win_len;
	} cases[] = {
		{ 1, 5, 7, 5, 7 },
		{ 512, 5, 7, 0, 512 },
		{ 512, 511, 2, 0, 1024 },
		{ 4096, 4096, 4096, 4096, 4096 },
		{ 4096, 4095, 4098, 0, 12288 },
		{ 4096, (1ull << 40) + 1, 1, 1ull << 40, 4096 },
	};

	(void)state;
	for (size_t i = 0; i < TR_ARRAY_LEN(cases); i++) {
		struct tr_file file = { .align_off = cases[i].align };
		uint64_t off, len;

		tr_file_window(&file, cases[i].off, cases[i].len, &off, &len);
		assert_int_equal(off, cases[i].win_off);
		assert_int_equal(len, cases[i].win_len);
	}
}

static void missing_files_and_directories_are_refused_by_name(void **state)
{
	struct tr_file file;
	struct tr_err err;

	(void)state;
	assert_int_equal(tr_file_open(&file, "/no/such/file.gguf", true, &err), TR_E_NOENT);
	assert_err_has(&err, "/no/such/file.gguf");
	assert_int_equal(file.fd, -1);
	assert_int_equal(tr_file_open(&file, "/", true, &err), TR_E_UNSUPPORTED);
	assert_err_has(&err, "'/'");
	tr_file_close(&file);
}

static void file_without_direct_io_is_opened_buffered_with_one_warning(void **state)
{
	struct tr_file file;
	struct tr_err err;

	(void)state;
	n_warning = 0;
	assert_int_equal(tr_file_open(&file, "/proc/version", true, &err), 0);
	assert_false(file.direct);
	assert_int_equal(file.align_off, 1);
	assert_int_equal(n_warning, 1);
	assert_non_null(strstr(last_warning, "/proc/version"));
	tr_file_close(&file);
}

static void default_method_falls_back_to_threads(void **state)
{
	struct tr_io_cfg cfg = { .method = NULL };
	struct rlimit before, none;
	struct tr_io_stats stats;
	struct tr_err err;
	struct tr_io *io;
	int rc;

	(void)state;
	/* Without descriptors left no ring can be made. */
	getrlimit(RLIMIT_NOFILE, &before);
	none = (struct rlimit){ .rlim_cur = 0, .rlim_max = before.rlim_max };
	n_warning = 0;
	setrlimit(RLIMIT_NOFILE, &none);
	rc = tr_io_open(&io, &cfg, &err);
	setrlimit(RLIMIT_NOFILE, &before);
	assert_int_equal(rc, 0);
	tr_io_stats(io, &stats);
	assert_string_equal(stats.method, "threads");
	assert_int_equal(stats.fallbacks, 1);
	assert_int_equal(n_warning, 1);
	assert_non_null(strstr(last_warning, "io_uring"));
	tr_io_close(io);
}

/* --- main ------------------------------------------------------------------------------------- */

static bool make_data(void)
{
	const char *dir = getenv("TR_BUILDDIR");
	unsigned char *bytes = malloc(FILE_BYTES);
	int fd = -1;
	bool ok;

	snprintf(data_path, sizeof(data_path), "%s/t_io_real.XXXXXX", dir ? dir : ".");
	if (bytes) {
		tr_io_sim_pattern(NULL, NULL, 0, bytes, FILE_BYTES);
		fd = mkstemp(data_path);
	}
	ok = fd >= 0 && write(fd, bytes, FILE_BYTES) == FILE_BYTES && !fsync(fd);
	if (fd >= 0)
		close(fd);
	free(bytes);
	return ok;
}

/* Opens the method once. */
static int try_method(const char *method, struct tr_err *err)
{
	struct tr_io_cfg cfg = { .method = method };
	struct tr_io *io;
	int rc = tr_io_open(&io, &cfg, err);

	if (!rc)
		tr_io_close(io);
	return rc;
}

static void gpudirect_storage_is_there_or_says_why(void **state)
{
	struct tr_err err = { 0 };
	int rc = try_method("cufile", &err);

	(void)state;
	if (!rc)
		return;
	print_message("# %s\n", err.msg);
	assert_int_equal(rc, TR_E_UNSUPPORTED);
	assert_non_null(strstr(err.msg, "I/O method cufile: "));
#ifdef HAVE_CUFILE
	assert_true(strstr(err.msg, "libcufile.so") || strstr(err.msg, "does not open"));
#else
	assert_non_null(strstr(err.msg, "this build has no GPUDirect Storage"));
#endif
}

#define N_CONFORM TR_ARRAY_LEN(conform)

static const struct {
	const char *name;
	CMUnitTestFunction run;
} conform[] = {
#define TEST(f)                                                                                    \
	{                                                                                          \
#f, f                                                                              \
	}
	TEST(windows_are_read_right),
	TEST(buffered_files_are_read_right),
	TEST(registered_memory_and_files_are_read_right),
	TEST(refused_registration_is_said_once_and_reads_go_on),
	TEST(window_at_the_end_of_the_file_is_read),
	TEST(read_past_the_end_is_an_error),
	TEST(probe_reads_until_time_is_up),
	TEST(probe_reads_in_bursts),
	TEST(file_closed_midway_fails_and_does_not_hang),
	TEST(threads_share_one_queue),
	TEST(reads_outlive_the_thread_that_submitted_them),
#undef TEST
};

int main(void)
{
	struct CMUnitTest tests[64] = {
		cmocka_unit_test(windows_are_aligned_and_cover),
		cmocka_unit_test(missing_files_and_directories_are_refused_by_name),
		cmocka_unit_test(file_without_direct_io_is_opened_buffered_with_one_warning),
		cmocka_unit_test(default_method_falls_back_to_threads),
		cmocka_unit_test(gpudirect_storage_is_there_or_says_why),
	};
	char names[64][128];
	struct tr_err err;
	size_t n = 5;
	int rc;

	alarm(120); /* a hang is a failure */
	tr_log_set(keep_warning, NULL);
	if (!make_data()) {
		print_message("Bail out! cannot write %s: %s\n", data_path, strerror(errno));
		return 99;
	}
	for (const struct tr_io_method *const *m = tr_io_methods; *m; m++) {
		if (!strcmp((*m)->name, "sim"))
			continue;
		if (!strcmp((*m)->name, "cufile") && try_method("cufile", &err))
			continue; /* a test above says why */
		for (size_t i = 0; i < N_CONFORM && n < TR_ARRAY_LEN(tests); i++, n++) {
			snprintf(names[n], sizeof(names[n]), "%s: %s", (*m)->name, conform[i].name);
			tests[n] = (struct CMUnitTest){ .name = names[n],
				.test_func = conform[i].run,
				.initial_state = (void *)(uintptr_t)(*m)->name };
		}
	}
	rc = _cmocka_run_group_tests("io", tests, n, NULL, NULL);
	unlink(data_path);
	return rc;
}
