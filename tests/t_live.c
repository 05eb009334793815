/* t_live.c - the live status: what is counted, the file between two processes, and bad files. */
#include "test.h"
#include "base/mem.h"
#include "engine/live.h"
#include "engine/live_file.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

#define SECOND 1000000000ull

static char dir[] = "/tmp/t_live.XXXXXX";

static int make_dir(void **state)
{
	(void)state;
	return !mkdtemp(dir) || setenv("TIERRA_LIVE_DIR", dir, 1);
}

static int remove_dir(void **state)
{
	(void)state;
	return rmdir(dir); /* fails if a test left something */
}

static void name_of(char *path, size_t cap, uint64_t pid)
{
	snprintf(path, cap, "%s/tierra-%u-%llu", dir, (unsigned)geteuid(), (unsigned long long)pid);
}

static uint64_t own_pid(void)
{
	return (uint64_t)getpid();
}

/* --- what is counted -------------------------------------------------------------------------- */

static uint64_t now_ns;

static uint64_t look(void *ctx)
{
	(void)ctx;
	return now_ns;
}

static const struct tr_clock owned = { .now_ns = look };

static void no_stats(void *ctx, struct tr_stats *out)
{
	(void)ctx;
	*out = (struct tr_stats){ .n_tier = 3 };
}

static struct tr_live_pub *new_live(uint32_t n_moe_layer, struct tr_live_file *file)
{
	struct tr_moe_layer layers[TR_LIVE_MAX_LAYER + 8] = { 0 };
	struct tr_catalog catalog = { .n_moe_layer = n_moe_layer, .moe_layers = layers };
	struct tr_live_cfg cfg = { .clock = &owned,
		.stats = no_stats,
		.model = "some.gguf",
		.n_ctx = 64,
		.catalog = &catalog };
	struct tr_live_pub *live;
	struct tr_err err;

	for (uint32_t i = 0; i < n_moe_layer; i++)
		layers[i].layer = i + 1;
	if (tr_live_new(&live, &cfg, file, &err))
		fail_msg("%s", err.msg);
	return live;
}

static void lanes_are_all_the_time(void **state)
{
	static const uint64_t bytes[TR_N_LANE] = { [TR_LANE_DRAM] = 300, [TR_LANE_PMEM] = 100 };
	const struct tr_live *n;
	struct tr_live_pub *live;
	uint64_t sum = 0;

	(void)state;
	now_ns = 5 * SECOND;
	live = new_live(2, NULL);
	tr_live_ready(live);
	now_ns += 7;
	tr_live_begin(live, now_ns, 1);
	now_ns += 10;
	tr_live_lap(live, now_ns, TR_LANE_ALWAYS);
	now_ns += 100;
	tr_live_lap(live, now_ns, TR_LANE_ATTENTION);
	now_ns += 1001; /* computed together */
	tr_live_split(live, now_ns, bytes);
	now_ns += 40;
	tr_live_lap(live, now_ns, TR_LANE_WAIT);
	now_ns += 3;
	tr_live_end(live, 1, 9);
	n = tr_live_now(live);
	assert_int_equal(n->lane_ns[TR_LANE_REST], 7);
	assert_int_equal(n->lane_ns[TR_LANE_ALWAYS], 10);
	assert_int_equal(n->lane_ns[TR_LANE_ATTENTION], 100);
	assert_int_equal(n->lane_ns[TR_LANE_DRAM], 750);
	assert_int_equal(n->lane_ns[TR_LANE_PMEM], 251);
	assert_int_equal(n->lane_ns[TR_LANE_CACHE], 3);
	assert_int_equal(n->lane_ns[TR_LANE_WAIT], 40);
	for (int i = 0; i < TR_N_LANE; i++)
		sum += n->lane_ns[i];
	assert_int_equal(sum, now_ns - 5 * SECOND);
	assert_int_equal(n->n_past, 9);
	assert_int_equal(n->stats.n_tier, 3);
	tr_live_free(live);
}

static double rate_at(const struct tr_live *n, uint64_t second)
{
	return n->rate[second % TR_LIVE_SECONDS];
}

static void a_slow_token_counts_in_each_second_it_took(void **state)
{
	const struct tr_live *n;
	struct tr_live_pub *live;

	(void)state;
	now_ns = 100 * SECOND;
	live = new_live(1, NULL);
	tr_live_ready(live);
	now_ns += SECOND / 2;
	tr_live_begin(live, now_ns, 1);
	now_ns += 2 * SECOND;
	tr_live_end(live, 1, 1);
	n = tr_live_now(live);
	assert_int_equal(n->second, 102);
	assert_true(rate_at(n, 100) == 0.25 && rate_at(n, 101) == 0.5 && rate_at(n, 102) == 0.25);
	/* What is between two tokens belongs to the second. */
	now_ns += SECOND / 2;
	tr_live_begin(live, now_ns, 1);
	now_ns += SECOND / 2;
	tr_live_end(live, 1, 2);
	n = tr_live_now(live);
	assert_int_equal(n->token_ns, SECOND);
	assert_int_equal(n->decode_ns, 3 * SECOND);
	assert_true(rate_at(n, 102) == 0.75 && rate_at(n, 103) == 0.5);
	/* A minute later nothing of that is left; nor does one token fill more than there is. */
	now_ns += 70 * SECOND;
	n = tr_live_now(live);
	for (int i = 0; i < TR_LIVE_SECONDS; i++)
		assert_true(n->rate[i] == 0);
	tr_live_begin(live, now_ns, 1);
	now_ns += 3 * SECOND;
	tr_live_end(live, 1, 3);
	n = tr_live_now(live);
	assert_true(rate_at(n, n->second) > 0 && rate_at(n, n->second) < 0.02);
	assert_int_equal(n->n_decode, 3);
	tr_live_free(live);
}

static void a_prefill_is_no_decoding(void **state)
{
	const struct tr_live *n;
	struct tr_live_pub *live;

	(void)state;
	now_ns = SECOND;
	live = new_live(1, NULL);
	tr_live_ready(live);
	tr_live_begin(live, now_ns, 513);
	now_ns += 10;
	tr_live_end(live, 512, 512);
	tr_live_begin(live, now_ns, 513);
	now_ns += 20;
	tr_live_end(live, 1, 513); /* the last chunk has one token */
	n = tr_live_now(live);
	assert_int_equal(n->n_prefill, 513);
	assert_int_equal(n->prefill_ns, 30);
	assert_int_equal(n->n_decode, 0);
	assert_int_equal(n->phase, TR_LIVE_PREFILL);
	tr_live_begin(live, now_ns, 1);
	now_ns += 5;
	tr_live_end(live, 1, 514);
	n = tr_live_now(live);
	assert_int_equal(n->n_decode, 1);
	assert_int_equal(n->decode_ns, 5);
	tr_live_free(live);
}

static void layers_count_where_experts_were(void **state)
{
	const struct tr_handle h[] = { { .state = TR_HANDLE_READY }, { .state = TR_HANDLE_LOADING },
		{ .state = TR_HANDLE_READY, .tier = 2 }, { .state = TR_HANDLE_NONE },
		{ .state = TR_HANDLE_READY } };
	struct tr_live_pub *live = new_live(TR_LIVE_MAX_LAYER + 5, NULL);
	const struct tr_live *n;

	(void)state;
	tr_live_acquired(live, 7, h, TR_ARRAY_LEN(h));
	tr_live_acquired(
		live, TR_LIVE_MAX_LAYER + 2, h, TR_ARRAY_LEN(h)); /* there is no room for it */
	n = tr_live_now(live);
	assert_int_equal(n->n_layer, TR_LIVE_MAX_LAYER);
	assert_int_equal(n->n_moe_layer, TR_LIVE_MAX_LAYER + 5);
	assert_int_equal(n->layer[7].layer, 8);
	assert_int_equal(n->layer[7].uses, 5);
	assert_int_equal(n->layer[7].dram, 2);
	assert_int_equal(n->layer[7].pmem, 1);
	assert_int_equal(n->layer[6].uses, 0);
	tr_live_free(live);
}

static void nobody_watching_is_no_error(void **state)
{
	static const uint64_t bytes[TR_N_LANE] = { 0 };

	(void)state;
	tr_live_ready(NULL);
	tr_live_progress(NULL, "x", 1, 2, "bytes");
	tr_live_begin(NULL, 0, 1);
	tr_live_lap(NULL, 0, TR_LANE_WAIT);
	tr_live_split(NULL, 0, bytes);
	tr_live_acquired(NULL, 0, NULL, 0);
	tr_live_end(NULL, 1, 1);
	tr_live_free(NULL);
}

/* --- the file --------------------------------------------------------------------------------- */

static struct tr_live_file *create(void)
{
	struct tr_live_file *f;
	struct tr_err err;

	if (tr_live_file_create(&f, &err))
		fail_msg("%s", err.msg);
	return f;
}

static struct tr_live_reader *open_own(void)
{
	struct tr_live_reader *r;
	struct tr_err err;

	if (tr_live_open(&r, own_pid(), &err))
		fail_msg("%s", err.msg);
	return r;
}

static void written_ten_times_a_second_at_most(void **state)
{
	struct tr_live_pub *live = new_live(1, create());
	struct tr_live_reader *r = open_own();
	struct tr_live seen;

	(void)state;
	tr_live_ready(live);
	for (int i = 0; i < 250; i++) { /* 25 ms each */
		now_ns += SECOND / 1000;
		tr_live_lap(live, now_ns, i % 2 ? TR_LANE_ATTENTION : TR_LANE_ALWAYS);
	}
	assert_int_equal(tr_live_read(r, &seen, NULL), 0);
	assert_in_range(now_ns - seen.now_ns, 1, SECOND / 10);
	assert_string_equal(seen.model, "some.gguf");
	assert_string_equal(seen.version, tr_version());
	assert_int_equal(seen.pid, own_pid());
	assert_true(seen.rss_bytes > 0);
	tr_live_progress(live, "resident", 3, 9, "bytes"); /* at once */
	assert_int_equal(tr_live_read(r, &seen, NULL), 0);
	assert_int_equal(seen.now_ns, now_ns);
	assert_string_equal(seen.step, "resident");
	assert_int_equal(seen.total, 9);
	tr_live_close(r);
	tr_live_free(live);
}

static void only_the_owner_may_read(void **state)
{
	struct tr_live_file *f = create();
	struct stat st;
	char path[128];

	(void)state;
	name_of(path, sizeof(path), own_pid());
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	tr_live_file_close(f);
	assert_int_equal(stat(path, &st), -1);
}

static void one_engine_of_a_process_has_it(void **state)
{
	struct tr_live_file *f = create(), *second;
	struct tr_err err;

	(void)state;
	assert_int_equal(tr_live_file_create(&second, &err), TR_E_BUSY);
	assert_err_has(&err, "another engine");
	tr_live_file_close(f);
	tr_live_file_close(create());
}

static void what_was_last_known_outlives_the_writer(void **state)
{
	struct tr_live_file *f = create();
	struct tr_live live = { .n_past = 77 }, seen;
	struct tr_live_reader *r;
	struct tr_err err;

	(void)state;
	tr_live_file_write(f, &live);
	r = open_own();
	tr_live_file_close(f);
	assert_int_equal(tr_live_read(r, &seen, &err), TR_E_NOENT);
	assert_err_has(&err, "has ended");
	assert_int_equal(seen.n_past, 77);
	tr_live_close(r);
	assert_int_equal(tr_live_open(&r, own_pid(), &err), TR_E_NOENT);
	assert_err_has(&err, "no live status");
}

/* A process that ends without taking its file away. */
static pid_t leave_one_behind(void)
{
	struct tr_live_file *f;
	int status;
	pid_t pid = fork();

	if (!pid)
		_exit(tr_live_file_create(&f, NULL) ? 1 : 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	return pid;
}

static void files_of_dead_processes_are_removed(void **state)
{
	pid_t dead = leave_one_behind();
	struct tr_live_file *f = create();
	char path[128], older[128];
	struct tr_live_reader *r;
	struct tr_err err;
	uint64_t *pids;
	size_t n;
	FILE *out;

	(void)state;
	name_of(path, sizeof(path), (uint64_t)dead);
	name_of(older, sizeof(older), 4000000001); /* of a version that is not even known */
	out = fopen(older, "w");
	fputs("x", out);
	fclose(out);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(tr_live_list(&pids, &n, &err), 0);
	assert_int_equal(n, 1);
	assert_int_equal(pids[0], own_pid());
	free(pids);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(access(older, F_OK), -1);
	assert_int_equal(tr_live_open(&r, (uint64_t)dead, &err), TR_E_NOENT);
	assert_err_has(&err, "there is no process");
	dead = leave_one_behind();
	name_of(path, sizeof(path), (uint64_t)dead);
	assert_int_equal(tr_live_open(&r, (uint64_t)dead, &err), TR_E_NOENT);
	assert_err_has(&err, "has ended");
	assert_int_equal(access(path, F_OK), -1);
	tr_live_file_close(f);
}

/* --- while it is written ---------------------------------------------------------------------- */

struct writing {
	struct tr_live_file *file;
	atomic_bool stop;
	uint64_t n;
};

static void fill(struct tr_live *live, uint64_t v)
{
	live->n_past = live->n_decode = live->decode_ns = v;
	for (size_t i = 0; i < TR_N_LANE; i++)
		live->lane_ns[i] = v;
	for (size_t i = 0; i < TR_LIVE_MAX_LAYER; i++)
		live->layer[i].uses = live->layer[i].dram = live->layer[i].pmem = v;
}

static bool is_whole(const struct tr_live *live)
{
	uint64_t v = live->n_past;
	bool same = live->n_decode == v && live->decode_ns == v;

	for (size_t i = 0; i < TR_N_LANE; i++)
		same = same && live->lane_ns[i] == v;
	for (size_t i = 0; i < TR_LIVE_MAX_LAYER; i++)
		same = same && live->layer[i].uses == v && live->layer[i].dram == v &&
		       live->layer[i].pmem == v;
	return same;
}

static void *write_on(void *arg)
{
	struct writing *w = arg;
	struct tr_live live = { 0 };

	while (!atomic_load(&w->stop)) {
		fill(&live, ++w->n);
		tr_live_file_write(w->file, &live);
		usleep(w->n % 8 ? 20 : 300);
	}
	return NULL;
}

static void a_reader_never_sees_half_a_status(void **state)
{
	struct writing w = { .file = create() };
	struct tr_live_reader *r;
	uint64_t last = 0, n_new = 0, give_up = tr_now_ns(&tr_clock_real) + 60 * SECOND;
	struct tr_live seen;
	pthread_t thread;
	struct tr_err err;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, write_on, &w), 0);
	r = open_own();
	while (n_new < 500 && tr_now_ns(&tr_clock_real) < give_up) {
		if (tr_live_read(r, &seen, &err))
			fail_msg("%s", err.msg);
		assert_true(is_whole(&seen));
		assert_true(seen.n_past >= last);
		n_new += seen.n_past > last;
		last = seen.n_past;
	}
	atomic_store(&w.stop, true);
	pthread_join(thread, NULL);
	assert_int_equal(n_new, 500);
	tr_live_close(r);
	tr_live_file_close(w.file);
}

static void half_a_write_leaves_the_one_before(void **state)
{
	struct tr_live_file *f = create();
	struct tr_live live = { 0 }, seen;
	struct tr_live_reader *r;
	char path[128];
	int fd;

	(void)state;
	r = open_own();
	name_of(path, sizeof(path), own_pid());
	for (uint64_t i = 1; i <= 4; i++) {
		fill(&live, i);
		tr_live_file_write(f, &live);
		assert_int_equal(tr_live_read(r, &seen, NULL), 0);
		assert_int_equal(seen.n_past, i);
	}
	fd = open(path, O_WRONLY);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, &live, 100, sizeof(struct tr_live_image) + 5000), 100);
	close(fd);
	assert_int_equal(tr_live_read(r, &seen, NULL), 0);
	assert_int_equal(seen.n_past, 3);
	assert_true(is_whole(&seen));
	tr_live_close(r);
	tr_live_file_close(f);
}

/* --- files that are wrong --------------------------------------------------------------------- */

static void set_hash(struct tr_live_image *image)
{
	image->hash = XXH3_64bits(image, offsetof(struct tr_live_image, hash));
}

/* A status of this process that is as it should be, but for what damage does to it; bytes: of it
 * that are there. The message. */
static int open_damaged(void (*damage)(struct tr_live_image *), size_t bytes, struct tr_err *err)
{
	struct tr_live_image *image = tr_calloc(TR_LIVE_N_IMAGE, sizeof(*image));
	struct tr_live_reader *r;
	char path[128];
	int fd, rc;

	memcpy(image->magic, TR_LIVE_MAGIC, sizeof(image->magic));
	image->version = TR_LIVE_VERSION;
	image->bytes = sizeof(*image);
	image->live.pid = own_pid();
	set_hash(image);
	image[1] = image[0];
	for (int i = 0; i < TR_LIVE_N_IMAGE; i++)
		damage(&image[i]);
	name_of(path, sizeof(path), own_pid());
	fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0 && !flock(fd, LOCK_EX));
	assert_int_equal(write(fd, image, bytes), bytes);
	rc = tr_live_open(&r, own_pid(), err);
	if (!rc)
		tr_live_close(r);
	close(fd);
	unlink(path);
	free(image);
	return rc;
}

static void nothing(struct tr_live_image *image)
{
	(void)image;
}

static void other_magic(struct tr_live_image *image)
{
	image->magic[3] ^= 1;
}

static void other_version(struct tr_live_image *image)
{
	image->version = TR_LIVE_VERSION + 8;
}

static void other_size(struct tr_live_image *image)
{
	image->bytes = 4711;
}

static void flipped_bit(struct tr_live_image *image)
{
	image->live.n_past ^= 4;
}

static void other_pid(struct tr_live_image *image)
{
	image->live.pid = 31337;
	set_hash(image);
}

static void a_tier_too_many(struct tr_live_image *image)
{
	image->live.stats.n_tier = TR_MAX_TIER + 1;
	set_hash(image);
}

static void nine_nodes(struct tr_live_image *image)
{
	image->live.stats.n_node = TR_MAX_NODE + 1;
	set_hash(image);
}

static void too_many_layers(struct tr_live_image *image)
{
	image->live.n_layer = TR_LIVE_MAX_LAYER + 1;
	set_hash(image);
}

static void unknown_phase(struct tr_live_image *image)
{
	image->live.phase = TR_N_LIVE_PHASE;
	set_hash(image);
}

static void bad_files_are_refused_by_name(void **state)
{
	static const size_t whole = TR_LIVE_N_IMAGE * sizeof(struct tr_live_image);
	static const struct {
		void (*damage)(struct tr_live_image *);
		size_t bytes;
		int code;
		const char *says[2];
	} bad[] = {
		{ nothing, 0, TR_E_FORMAT, { "0 bytes", "head" } },
		{ nothing, 11, TR_E_FORMAT, { "11 bytes", "takes 24" } },
		{ nothing, 100, TR_E_FORMAT, { "100 bytes of", "live status" } },
		{ nothing, whole - 1, TR_E_FORMAT, { "bytes of", "live status" } },
		{ other_magic, whole, TR_E_FORMAT, { "TIERRALV", "begin" } },
		{ other_version, whole, TR_E_UNSUPPORTED, { "version 9", "reads version 1" } },
		{ other_version, 24, TR_E_UNSUPPORTED, { "version 9", "reads version 1" } },
		{ other_size, whole, TR_E_UNSUPPORTED, { "4711 bytes", "this program has" } },
		{ flipped_bit, whole, TR_E_FORMAT, { "hash", "damaged" } },
		{ other_pid, whole, TR_E_FORMAT, { "process 31337", "not" } },
		{ a_tier_too_many, whole, TR_E_FORMAT, { "tiers 10", "limit is 9" } },
		{ nine_nodes, whole, TR_E_FORMAT, { "NUMA nodes 9", "limit is 8" } },
		{ too_many_layers, whole, TR_E_FORMAT, { "layers 257", "limit is 256" } },
		{ unknown_phase, whole, TR_E_FORMAT, { "phase 3", "limit is 2" } },
	};
	struct tr_err err = { 0 };

	(void)state;
	assert_int_equal(open_damaged(nothing, whole, &err), 0);
	for (size_t i = 0; i < TR_ARRAY_LEN(bad); i++) {
		assert_int_equal(open_damaged(bad[i].damage, bad[i].bytes, &err), bad[i].code);
		assert_err_has(&err, bad[i].says[0]);
		assert_err_has(&err, bad[i].says[1]);
		assert_err_has(&err, dir);
	}
}

static void texts_always_end(void **state)
{
	struct tr_live_file *f = create();
	struct tr_live live = { 0 }, seen;
	struct tr_live_reader *r;

	(void)state;
	memset(live.model, 'm', sizeof(live.model));
	memset(live.stats.tier[7].name, 't', sizeof(live.stats.tier[7].name));
	memset(live.stats.predictor.name, 'p', sizeof(live.stats.predictor.name));
	tr_live_file_write(f, &live);
	r = open_own();
	assert_int_equal(tr_live_read(r, &seen, NULL), 0);
	assert_int_equal(strlen(seen.model), sizeof(seen.model) - 1);
	assert_int_equal(strlen(seen.stats.tier[7].name), sizeof(seen.stats.tier[7].name) - 1);
	tr_live_close(r);
	tr_live_file_close(f);
}

static void links_and_folders_are_refused(void **state)
{
	struct tr_live_reader *r;
	struct tr_err err;
	char path[128];

	(void)state;
	name_of(path, sizeof(path), own_pid());
	assert_int_equal(symlink("/etc/hostname", path), 0);
	assert_true(tr_live_open(&r, own_pid(), &err) < 0);
	assert_err_has(&err, path);
	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(tr_live_open(&r, own_pid(), &err), TR_E_INVALID);
	assert_err_has(&err, "no regular file");
	rmdir(path);
}

static void a_file_of_another_user_is_refused(void **state)
{
	struct tr_live_reader *r;
	struct tr_err err;
	char path[128];
	int fd;

	(void)state;
	if (geteuid()) {
		print_message("only root can make a file of another user\n");
		skip();
	}
	name_of(path, sizeof(path), own_pid());
	fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	assert_int_equal(fchown(fd, 12345, 12345), 0);
	assert_int_equal(tr_live_open(&r, own_pid(), &err), TR_E_INVALID);
	assert_err_has(&err, "belongs to user 12345");
	close(fd);
	unlink(path);
}

static void a_folder_that_is_not_there_is_named(void **state)
{
	struct tr_live_file *f;
	struct tr_err err;

	(void)state;
	setenv("TIERRA_LIVE_DIR", "/nonexistent/live", 1);
	assert_true(tr_live_file_create(&f, &err) < 0);
	setenv("TIERRA_LIVE_DIR", dir, 1);
	assert_err_has(&err, "/nonexistent/live");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lanes_are_all_the_time),
		cmocka_unit_test(a_slow_token_counts_in_each_second_it_took),
		cmocka_unit_test(a_prefill_is_no_decoding),
		cmocka_unit_test(layers_count_where_experts_were),
		cmocka_unit_test(nobody_watching_is_no_error),
		cmocka_unit_test(written_ten_times_a_second_at_most),
		cmocka_unit_test(only_the_owner_may_read),
		cmocka_unit_test(one_engine_of_a_process_has_it),
		cmocka_unit_test(what_was_last_known_outlives_the_writer),
		cmocka_unit_test(files_of_dead_processes_are_removed),
		cmocka_unit_test(a_reader_never_sees_half_a_status),
		cmocka_unit_test(half_a_write_leaves_the_one_before),
		cmocka_unit_test(bad_files_are_refused_by_name),
		cmocka_unit_test(texts_always_end),
		cmocka_unit_test(links_and_folders_are_refused),
		cmocka_unit_test(a_file_of_another_user_is_refused),
		cmocka_unit_test(a_folder_that_is_not_there_is_named),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
