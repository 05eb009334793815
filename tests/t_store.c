/*
 * t_store.c - stores in a real directory, filled from a real split model.
 *
 * TR_TEST_STORE_DIR names the directory, TR_BUILDDIR if not given; on a DAX file system
 * TR_TEST_GRANULARITY says what must be shown ("page" if not given). libpmem2 reads
 * PMEM2_FORCE_GRANULARITY when it is loaded, so tests that need it start this program again.
 */
#include "test.h"
#include "gguf_write.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/pool.h"
#include "cache/place.h"
#include "cache/store_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define N_LAYER	 4 /* the first is dense */
#define N_EXPERT 8
#define N_UNIT	 ((N_LAYER - 1) * N_EXPERT)
#define N_SHARD	 2
#define EMBD	 64
#define FF	 96
#define ROW	 ((uint64_t)(N_LAYER - 1) * 20480) /* one expert of every layer, as extents */

struct world {
	char root[PATH_MAX / 4];
	char pmem[PATH_MAX / 4];
	char shard[N_SHARD][PATH_MAX / 2];
	struct tr_model *model;
	struct tr_catalog *catalog;
	struct tr_io *io;
	struct tr_file files[N_SHARD];
	uint32_t home[N_UNIT];
	struct tr_store_cfg cfg;
};

/* --- messages --------------------------------------------------------------------------------- */

static char said[8192];
static atomic_uint n_warning;
static pthread_mutex_t said_lock = PTHREAD_MUTEX_INITIALIZER;

static void keep(void *ctx, enum tr_log_level level, const char *line)
{
	size_t n;

	(void)ctx;
	n_warning += level <= TR_LOG_WARN;
	pthread_mutex_lock(&said_lock);
	n = strlen(said);
	snprintf(said + n, sizeof(said) - n, "%s\n", line);
	pthread_mutex_unlock(&said_lock);
}

static void forget(void)
{
	said[0] = '\0';
	n_warning = 0;
}

/* --- a model ---------------------------------------------------------------------------------- */

static void write_noise(const char *path, uint64_t off, uint64_t bytes, uint64_t seed)
{
	uint8_t *noise = malloc(bytes);
	int fd = open(path, O_WRONLY);

	for (uint64_t i = 0; i < bytes; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		noise[i] = (uint8_t)(seed >> 56);
	}
	assert_int_equal(pwrite(fd, noise, bytes, (off_t)off), bytes);
	close(fd);
	free(noise);
}

static void add_split(struct gw *g, unsigned no)
{
	gw_kv_int(g, "split.no", TR_GGUF_U16, no);
	gw_kv_int(g, "split.count", TR_GGUF_U16, N_SHARD);
	gw_kv_int(g, "split.tensors.count", TR_GGUF_I32, 4 * (N_LAYER - 1));
}

static void add_part(struct gw *g, unsigned layer, const char *part, uint64_t cols, uint64_t rows)
{
	char name[64];

	snprintf(name, sizeof(name), "blk.%u.ffn_%s_exps.weight", layer, part);
	gw_tensor(g, name, TR_QUANT_Q8_0, cols, rows, N_EXPERT);
}

static void save(struct gw *g, const char *path, uint64_t seed)
{
	gw_end(g);
	assert_true(gw_save(g, path));
	write_noise(path, g->n, g->data_bytes, seed);
	gw_free(g);
}

/* Gate and up of a layer are in one shard, down in the other; parts are no multiple of a block. */
static void write_model(struct world *w, uint64_t seed)
{
	struct gw g;

	gw_begin(&g, 3);
	gw_kv_str(&g, "general.architecture", "deepseek2");
	gw_kv_u32(&g, "deepseek2.block_count", N_LAYER);
	gw_kv_u32(&g, "deepseek2.embedding_length", EMBD);
	gw_kv_u32(&g, "deepseek2.expert_count", N_EXPERT);
	gw_kv_u32(&g, "deepseek2.expert_used_count", 2);
	gw_kv_u32(&g, "deepseek2.expert_feed_forward_length", FF);
	add_split(&g, 0);
	for (unsigned l = 1; l < N_LAYER; l++) {
		char name[64];

		snprintf(name, sizeof(name), "blk.%u.ffn_gate_inp.weight", l);
		gw_tensor(&g, name, TR_QUANT_F32, EMBD, N_EXPERT);
		add_part(&g, l, "gate", EMBD, FF);
		add_part(&g, l, "up", EMBD, FF);
	}
	save(&g, w->shard[0], seed);
	gw_begin(&g, 3);
	add_split(&g, 1);
	for (unsigned l = 1; l < N_LAYER; l++)
		add_part(&g, l, "down", FF, EMBD);
	save(&g, w->shard[1], seed + 1);
}

static const void *expected(const struct world *w, uint32_t unit, int part, void *buf)
{
	const struct tr_extent *x = &w->catalog->units[unit].part[part];
	int fd = open(w->shard[x->shard], O_RDONLY);

	if (fd < 0 || pread(fd, buf, x->bytes, (off_t)x->off) != (ssize_t)x->bytes)
		memset(buf, 0, x->bytes);
	close(fd);
	return buf;
}

/* The unit is given out and is what the model has. */
static bool gives(const struct world *w, struct tr_store *s, uint32_t unit)
{
	uint8_t buf[65536];
	const void *part[TR_N_PART];

	if (!tr_store_get(s, unit, part))
		return false;
	for (int p = 0; p < TR_N_PART; p++)
		if (memcmp(part[p], expected(w, unit, p, buf),
			    w->catalog->units[unit].part[p].bytes))
			return false;
	return true;
}

/* Exactly the units planned here are given out, whole. */
static bool gives_the_plan(const struct world *w, struct tr_store *s)
{
	const void *part[TR_N_PART];
	uint64_t n = 0;

	for (uint32_t u = 0; u < N_UNIT; u++) {
		bool here = w->home[u] == w->cfg.tier_idx;

		if (here ? !gives(w, s, u) : tr_store_get(s, u, part))
			return false;
		n += here;
	}
	return tr_store_n_unit(s) == n && tr_store_n_bad(s) == 0;
}

/* --- a directory for each test ---------------------------------------------------------------- */

static void open_model(struct world *w, const char *method)
{
	struct tr_io_cfg io = { .method = method, .clock = &tr_clock_real };

	assert_int_equal(tr_model_open(&w->model, w->shard[0], NULL), 0);
	assert_int_equal(tr_catalog_build(&w->catalog, w->model, NULL), 0);
	assert_int_equal(w->catalog->n_unit, N_UNIT);
	assert_int_equal(tr_io_open(&w->io, &io, NULL), 0);
	for (int s = 0; s < N_SHARD; s++)
		assert_int_equal(tr_file_open(&w->files[s], w->shard[s], true, NULL), 0);
	w->cfg = (struct tr_store_cfg){ .model = w->model, .catalog = w->catalog, .dir = w->pmem,
		.home = w->home, .tier_idx = 1, .io = w->io, .files = w->files };
}

static void close_model(struct world *w)
{
	for (int s = 0; s < N_SHARD; s++)
		tr_file_close(&w->files[s]);
	tr_io_close(w->io);
	tr_catalog_free(w->catalog);
	tr_model_close(w->model);
}

static void name_shards(struct world *w, const char *dir)
{
	for (int s = 0; s < N_SHARD; s++)
		snprintf(w->shard[s], sizeof(w->shard[s]), "%s/m-%05d-of-%05d.gguf", dir, s + 1,
			N_SHARD);
}

static int set_up(void **state)
{
	const char *base = getenv("TR_TEST_STORE_DIR");
	struct world *w = calloc(1, sizeof(*w));

	if (!base)
		base = getenv("TR_BUILDDIR");
	snprintf(w->root, sizeof(w->root), "%s/t_store.XXXXXX", base ? base : ".");
	if (!mkdtemp(w->root))
		return -1;
	snprintf(w->pmem, sizeof(w->pmem), "%.900s/pmem", w->root);
	if (mkdir(w->pmem, 0755))
		return -1;
	name_shards(w, w->root);
	write_model(w, 1);
	open_model(w, NULL);
	forget();
	*state = w;
	return 0;
}

/* Calls each for every file of the directory; returns their number. */
static unsigned each_file(const char *dir, int (*each)(const char *path))
{
	char path[PATH_MAX];
	struct dirent *e;
	unsigned n = 0;
	DIR *d = opendir(dir);

	while ((e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		n++;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (each)
			each(path);
	}
	closedir(d);
	return n;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	close_model(w);
	each_file(w->pmem, unlink);
	rmdir(w->pmem);
	each_file(w->root, unlink);
	rmdir(w->root);
	free(w);
	return 0;
}

/* --- stores ----------------------------------------------------------------------------------- */

/* Homes for a tier of so many bytes; it has index 1, as if another came before it. */
static void plan(struct world *w, uint64_t bytes)
{
	const struct tr_place_tier tiers[] = { { 0, TR_STORE_EXTENT_ALIGN, TR_SPEED_PMEM },
		{ bytes, TR_STORE_EXTENT_ALIGN, TR_SPEED_PMEM } };

	assert_int_equal(tr_place_plan(w->home, w->catalog, tiers, 2, NULL), 0);
}

static struct tr_store *open_store(struct world *w, uint64_t bytes)
{
	struct tr_err err = { 0 };
	struct tr_store *s;

	plan(w, bytes);
	if (tr_store_open(&s, &w->cfg, &err))
		fail_msg("%s", err.msg);
	return s;
}

static void fill(struct world *w, uint64_t bytes)
{
	tr_store_close(open_store(w, bytes));
	forget();
}

static char *store_path(const struct world *w, char path[PATH_MAX])
{
	char fingerprint[TR_FINGERPRINT_BYTES];

	tr_model_fingerprint(w->model, fingerprint);
	snprintf(path, PATH_MAX, "%s/%s" TR_STORE_SUFFIX, w->pmem, fingerprint);
	return path;
}

static struct stat store_stat(const struct world *w)
{
	char path[PATH_MAX];
	struct stat st;

	assert_int_equal(stat(store_path(w, path), &st), 0);
	return st;
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_size == b->st_size &&
		a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Inverts the byte at off. */
static void damage(const struct world *w, uint64_t off)
{
	char path[PATH_MAX];
	int fd = open(store_path(w, path), O_RDWR);
	uint8_t b;

	assert_int_equal(pread(fd, &b, 1, (off_t)off), 1);
	b ^= 0xff;
	assert_int_equal(pwrite(fd, &b, 1, (off_t)off), 1);
	close(fd);
}

static uint64_t extent_off(const struct world *w, uint32_t unit)
{
	char path[PATH_MAX], fingerprint[TR_FINGERPRINT_BYTES];
	int fd = open(store_path(w, path), O_RDONLY);
	struct tr_store_table table;
	uint64_t off;

	tr_model_fingerprint(w->model, fingerprint);
	assert_int_equal(tr_store_table_read(&table, fd, fingerprint, w->catalog, NULL), 0);
	off = tr_store_table_find(&table, unit)->off;
	tr_store_table_free(&table);
	close(fd);
	return off;
}

/* --- filling ---------------------------------------------------------------------------------- */

static void a_filled_store_gives_the_bytes_of_the_model(void **state)
{
	static const char *const methods[] = { "sync", "threads", NULL };
	struct world *w = *state;

	for (size_t i = 0; i < TR_ARRAY_LEN(methods); i++) {
		struct tr_store *s;

		each_file(w->pmem, unlink);
		close_model(w);
		open_model(w, methods[i]);
		s = open_store(w, 3 * ROW);
		assert_true(gives_the_plan(w, s));
		assert_int_equal(tr_store_n_unit(s), 9);
		assert_int_equal(tr_store_bytes(s), 9 * w->catalog->units[0].bytes);
		assert_false(tr_store_in_place(s));
		assert_string_equal(tr_store_dir(s), w->pmem);
		tr_store_close(s);
		assert_int_equal(each_file(w->pmem, NULL), 1);
	}
}

static void a_plan_of_nothing_writes_nothing(void **state)
{
	struct world *w = *state;
	struct tr_store *s = open_store(w, 0);

	assert_true(gives_the_plan(w, s));
	assert_string_equal(tr_store_granularity(s), "none");
	tr_store_close(s);
	assert_int_equal(each_file(w->pmem, NULL), 0);
}

struct watch {
	unsigned calls, stop_at; /* 0: never */
	bool only_complete;	 /* stop when all is copied and nothing is renamed yet */
	uint64_t done, total;
};

static int watch(void *ctx, const char *phase, uint64_t done, uint64_t total, const char *unit)
{
	struct watch *p = ctx;

	assert_string_equal(phase, "copying experts");
	assert_string_equal(unit, "bytes");
	assert_true(done >= p->done && done <= total);
	p->done = done;
	p->total = total;
	p->calls++;
	return p->only_complete ? done == total : p->calls == p->stop_at;
}

static void progress_counts_bytes_to_the_end(void **state)
{
	struct world *w = *state;
	struct watch p = { 0 };

	w->cfg.progress = watch;
	w->cfg.progress_ctx = &p;
	fill(w, UINT64_MAX);
	assert_int_equal(p.total, N_EXPERT * ROW);
	assert_int_equal(p.done, p.total);
	p.calls = 0;
	fill(w, UINT64_MAX);
	assert_int_equal(p.calls, 0);
}

static void stopping_leaves_nothing_behind(void **state)
{
	struct watch stops[] = { { .stop_at = 1 }, { .only_complete = true } };
	struct world *w = *state;

	w->cfg.progress = watch;
	plan(w, UINT64_MAX);
	for (size_t i = 0; i < TR_ARRAY_LEN(stops); i++) {
		struct tr_store *s;
		struct tr_err err;

		w->cfg.progress_ctx = &stops[i];
		assert_int_equal(tr_store_open(&s, &w->cfg, &err), TR_E_INTERRUPTED);
		assert_null(s);
		assert_err_has(&err, "stopped");
		assert_int_equal(each_file(w->pmem, NULL), 0);
	}
}

static void a_full_disk_leaves_nothing_behind(void **state)
{
	struct world *w = *state;
	struct rlimit was, small;
	struct tr_store *s;
	struct tr_err err;

	plan(w, UINT64_MAX);
	getrlimit(RLIMIT_FSIZE, &was);
	small = was;
	small.rlim_cur = 100000;
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &small);
	assert_int_equal(tr_store_open(&s, &w->cfg, &err), TR_E_IO);
	setrlimit(RLIMIT_FSIZE, &was);
	signal(SIGXFSZ, SIG_DFL);
	assert_err_has(&err, w->pmem);
	assert_err_has(&err, "no room for 491520 bytes");
	assert_err_has(&err, "free");
	assert_int_equal(each_file(w->pmem, NULL), 0);
}

static void a_model_that_cannot_be_read_leaves_nothing_behind(void **state)
{
	struct world *w = *state;
	struct tr_store *s;
	struct tr_err err;

	plan(w, UINT64_MAX);
	assert_int_equal(truncate(w->shard[1], 60000), 0);
	assert_int_equal(tr_store_open(&s, &w->cfg, &err), TR_E_IO);
	assert_err_has(&err, w->shard[1]);
	assert_err_has(&err, "layer");
	assert_int_equal(each_file(w->pmem, NULL), 0);
}

static void what_a_killed_run_left_is_removed(void **state)
{
	struct world *w = *state;
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/" TR_STORE_TMP_PREFIX "4194305", w->pmem);
	close(open(path, O_WRONLY | O_CREAT, 0600));
	fill(w, ROW);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(each_file(w->pmem, NULL), 1);
}

/* --- reuse ------------------------------------------------------------------------------------ */

static void a_store_that_covers_the_plan_is_not_written(void **state)
{
	static const uint64_t sizes[] = { 4 * ROW, 2 * ROW, 20480, 4 * ROW + 5 };
	struct world *w = *state;
	struct stat before, after;

	fill(w, 4 * ROW);
	before = store_stat(w);
	for (size_t i = 0; i < TR_ARRAY_LEN(sizes); i++) {
		struct tr_store *s = open_store(w, sizes[i]);

		assert_true(gives_the_plan(w, s));
		tr_store_close(s);
		after = store_stat(w);
		assert_true(is_same_file(&before, &after));
	}
	assert_string_equal(said, "");
}

static void a_larger_plan_is_written_anew(void **state)
{
	struct world *w = *state;
	struct stat before, after;
	struct tr_store *old, *s;

	old = open_store(w, 2 * ROW);
	before = store_stat(w);
	s = open_store(w, 3 * ROW);
	after = store_stat(w);
	assert_false(is_same_file(&before, &after));
	assert_true(gives_the_plan(w, s));
	assert_non_null(strstr(said, "lacks"));
	/* Who has the old one open keeps it. */
	assert_true(gives(w, old, 0));
	tr_store_close(old);
	tr_store_close(s);
	assert_int_equal(each_file(w->pmem, NULL), 1);
}

static void a_damaged_store_is_made_again(void **state)
{
	static const struct {
		uint64_t byte; /* to invert */
		const char *why;
	} harm[] = {
		{ 0, "not written by tierra" },
		{ 8, "version" },
		{ 20, "checksum of its header" },
		{ 60, "checksum of its header" },
		{ 90, "checksum of its header" },
		{ 4096, "checksum of its table" },
		{ 4096 + 9 * 32 - 1, "checksum of its table" },
	};
	struct world *w = *state;
	struct tr_store *s;

	fill(w, 3 * ROW);
	for (size_t i = 0; i < TR_ARRAY_LEN(harm); i++) {
		damage(w, harm[i].byte);
		s = open_store(w, 3 * ROW);
		if (!strstr(said, harm[i].why))
			fail_msg("'%s' does not say '%s'", said, harm[i].why);
		assert_int_equal(n_warning, 1);
		assert_true(gives_the_plan(w, s));
		tr_store_close(s);
		forget();
	}
}

static void a_truncated_store_is_made_again(void **state)
{
	struct world *w = *state;
	char path[PATH_MAX];
	struct tr_store *s;
	off_t whole, cuts[] = { 0, 50, 4096, 10000, 1 };

	fill(w, 3 * ROW);
	whole = store_stat(w).st_size;
	cuts[4] = whole - 1;
	for (size_t i = 0; i < TR_ARRAY_LEN(cuts); i++) {
		assert_int_equal(truncate(store_path(w, path), cuts[i]), 0);
		s = open_store(w, 3 * ROW);
		assert_int_equal(n_warning, 1);
		assert_true(gives_the_plan(w, s));
		tr_store_close(s);
		assert_int_equal(store_stat(w).st_size, whole);
		forget();
	}
}

static void a_foreign_file_of_the_same_name_is_not_trusted(void **state)
{
	struct world *w = *state;
	char path[PATH_MAX];
	struct tr_store *s;
	FILE *f;

	f = fopen(store_path(w, path), "w");
	for (int i = 0; i < 100000; i++)
		fputs("not a store ", f);
	fclose(f);
	s = open_store(w, ROW);
	assert_non_null(strstr(said, "not written by tierra"));
	assert_true(gives_the_plan(w, s));
	tr_store_close(s);
}

static void a_link_of_the_same_name_is_replaced_and_not_followed(void **state)
{
	struct world *w = *state;
	char path[PATH_MAX], elsewhere[PATH_MAX];
	struct stat st;
	struct tr_store *s;

	snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", w->root);
	close(open(elsewhere, O_WRONLY | O_CREAT, 0600));
	assert_int_equal(symlink(elsewhere, store_path(w, path)), 0);
	s = open_store(w, ROW);
	assert_true(gives_the_plan(w, s));
	tr_store_close(s);
	assert_int_equal(stat(elsewhere, &st), 0);
	assert_int_equal(st.st_size, 0);
}

static void a_store_of_another_model_is_not_used(void **state)
{
	struct world *w = *state;
	char path[PATH_MAX], other[PATH_MAX];
	struct tr_store *s;

	fill(w, ROW);
	store_path(w, path);
	close_model(w);
	/* A longer file has another fingerprint, whatever its store is called. */
	assert_int_equal(truncate(w->shard[1], 1 << 20), 0);
	open_model(w, NULL);
	store_path(w, other);
	assert_string_not_equal(path, other);
	assert_int_equal(rename(path, other), 0);
	s = open_store(w, ROW);
	assert_non_null(strstr(said, "another model"));
	assert_true(gives_the_plan(w, s));
	tr_store_close(s);
}

static void other_weights_under_the_same_header_are_noticed(void **state)
{
	struct world *w = *state;
	struct tr_store *s;

	fill(w, UINT64_MAX);
	close_model(w);
	write_model(w, 7);
	open_model(w, NULL);
	s = open_store(w, UINT64_MAX);
	assert_non_null(strstr(said, "differs from the model's"));
	assert_true(gives_the_plan(w, s));
	tr_store_close(s);
}

/* --- damage of extents ------------------------------------------------------------------------ */

static void a_damaged_extent_is_given_up_once(void **state)
{
	struct world *w = *state;
	const void *part[TR_N_PART];
	struct tr_store *s;

	fill(w, 4 * ROW);
	/* A unit that opening does not read, in the last byte of its last part. */
	damage(w, extent_off(w, 3) + w->catalog->units[3].bytes - 1);
	s = open_store(w, 4 * ROW);
	assert_int_equal(tr_store_n_bad(s), 0);
	for (int i = 0; i < 3; i++)
		assert_false(tr_store_get(s, 3, part));
	assert_int_equal(tr_store_n_bad(s), 1);
	assert_int_equal(n_warning, 1);
	assert_non_null(strstr(said, "layer 1 expert 3"));
	for (uint32_t u = 0; u < N_UNIT; u++)
		if (w->home[u] == 1 && u != 3)
			assert_true(gives(w, s, u));
	assert_int_equal(tr_store_n_bad(s), 1);
	tr_store_close(s);
}

struct race {
	const struct world *w;
	struct tr_store *store;
	atomic_uint n_good;
};

static void get_all(void *ctx, unsigned worker, size_t begin, size_t end)
{
	struct race *r = ctx;
	const void *part[TR_N_PART];

	(void)worker;
	for (; begin < end; begin++)
		for (uint32_t u = 0; u < N_UNIT; u++)
			if (tr_store_get(r->store, u, part))
				r->n_good++;
}

static void threads_agree_on_what_is_good(void **state)
{
	struct tr_pool_cfg cfg = { .n_thread = 4 };
	struct world *w = *state;
	struct tr_pool *pool;

	assert_int_equal(tr_pool_new(&pool, &cfg, NULL), 0);
	fill(w, UINT64_MAX);
	damage(w, extent_off(w, 2));
	damage(w, extent_off(w, 17) + 9999);
	for (int round = 0; round < 20; round++) {
		struct race r = { .w = w };

		plan(w, UINT64_MAX);
		/* Sampling reads the model, not the store, so both are found on first use. */
		r.store = open_store(w, UINT64_MAX);
		tr_pool_run(pool, get_all, &r, 8, 1);
		assert_int_equal(r.n_good, 8 * (N_UNIT - 2));
		assert_int_equal(tr_store_n_bad(r.store), 2);
		tr_store_close(r.store);
	}
	assert_int_equal(n_warning, 40);
	tr_pool_free(pool);
}

/* --- two at a time ---------------------------------------------------------------------------- */

struct queue {
	int holder; /* fd with the lock; closed after some calls */
	unsigned waits;
	bool stop;
};

static int watch_wait(void *ctx, const char *phase, uint64_t done, uint64_t total,
	const char *unit)
{
	struct queue *q = ctx;

	(void)done;
	(void)total;
	(void)unit;
	if (strcmp(phase, "waiting for another process"))
		return 0;
	if (++q->waits == 2 && !q->stop)
		close(q->holder);
	return q->stop;
}

static void the_second_waits_until_the_first_is_done(void **state)
{
	struct world *w = *state;
	struct queue q = { 0 };
	struct tr_store *s;
	struct tr_err err;

	w->cfg.progress = watch_wait;
	w->cfg.progress_ctx = &q;
	q.holder = open(w->pmem, O_RDONLY);
	assert_int_equal(flock(q.holder, LOCK_EX), 0);
	s = open_store(w, ROW);
	assert_int_equal(q.waits, 2);
	assert_non_null(strstr(said, "waiting"));
	tr_store_close(s);

	q = (struct queue){ .stop = true, .holder = open(w->pmem, O_RDONLY) };
	assert_int_equal(flock(q.holder, LOCK_EX), 0);
	assert_int_equal(tr_store_open(&s, &w->cfg, &err), TR_E_INTERRUPTED);
	assert_err_has(&err, "another process");
	close(q.holder);
}

struct twin {
	struct world w;
	struct tr_store *store;
	int rc;
};

static atomic_uint n_fill;

static int count_fills(void *ctx, const char *phase, uint64_t done, uint64_t total,
	const char *unit)
{
	(void)ctx;
	(void)total;
	(void)unit;
	n_fill += !strcmp(phase, "copying experts") && !done;
	return 0;
}

static void open_twin(void *ctx, unsigned worker, size_t begin, size_t end)
{
	struct twin *t = ctx;

	(void)worker;
	for (; begin < end; begin++)
		t[begin].rc = tr_store_open(&t[begin].store, &t[begin].w.cfg, NULL);
}

static void two_that_start_together_fill_once(void **state)
{
	struct tr_pool_cfg cfg = { .n_thread = 2 };
	struct world *w = *state;
	struct twin twins[2];
	struct tr_pool *pool;

	n_fill = 0;
	assert_int_equal(tr_pool_new(&pool, &cfg, NULL), 0);
	for (int i = 0; i < 2; i++) {
		twins[i].w = *w;
		open_model(&twins[i].w, NULL);
		twins[i].w.cfg.progress = count_fills;
		plan(&twins[i].w, UINT64_MAX);
	}
	tr_pool_run(pool, open_twin, twins, 2, 1);
	assert_int_equal(n_fill, 1);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(twins[i].rc, 0);
		assert_true(gives_the_plan(&twins[i].w, twins[i].store));
		tr_store_close(twins[i].store);
		close_model(&twins[i].w);
	}
	tr_pool_free(pool);
}

/* --- room ------------------------------------------------------------------------------------- */

static void room_needs_a_directory(void **state)
{
	struct world *w = *state;
	struct tr_err err;
	uint64_t bytes;

	assert_int_equal(tr_store_room(w->model, "/no/such/place", &bytes, &err), TR_E_NOENT);
	assert_err_has(&err, "/no/such/place");
	assert_int_equal(tr_store_room(w->model, w->shard[0], &bytes, &err), TR_E_INVALID);
	assert_err_has(&err, "not a directory");
	assert_int_equal(tr_store_room(w->model, w->pmem, &bytes, &err), 0);
	assert_true(bytes > 0 && bytes < UINT64_MAX);
}

/* --- in a process of its own ------------------------------------------------------------------ */

#define MUST(cond)                                                                                 \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			printf("line %d: %s does not hold\n%s", __LINE__, #cond, said);            \
			return 1;                                                                  \
		}                                                                                  \
	} while (0)

static void world_in(struct world *w, const char *pmem, const char *model)
{
	memset(w, 0, sizeof(*w));
	snprintf(w->pmem, sizeof(w->pmem), "%s", pmem);
	name_shards(w, model);
	open_model(w, NULL);
}

/* Prints what kind of store it is. */
static int child_show(const char *pmem, const char *model)
{
	uint64_t room;
	struct tr_store *s;
	struct world w;

	world_in(&w, pmem, model);
	plan(&w, 3 * ROW);
	MUST(!tr_store_room(w.model, w.pmem, &room, NULL));
	MUST(!tr_store_open(&s, &w.cfg, NULL));
	MUST(gives_the_plan(&w, s));
	MUST((room == UINT64_MAX) == tr_store_in_place(s));
	printf("%s, %s", tr_store_granularity(s), tr_store_in_place(s) ? "in place" : "copied");
	tr_store_close(s);
	close_model(&w);
	return 0;
}

/* A file system of 300 KiB: a full one, one that is filled to its room, and the same again. */
static int child_small(const char *pmem, const char *model)
{
	uint64_t room, again;
	struct tr_err err = { 0 };
	struct tr_store *s;
	struct world w;

	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		mount("tmpfs", pmem, "tmpfs", 0, "size=300k")) {
		printf("skip");
		return 0;
	}
	world_in(&w, pmem, model);
	plan(&w, UINT64_MAX);
	MUST(tr_store_open(&s, &w.cfg, &err) == TR_E_IO);
	MUST(strstr(err.msg, "no room for 491520 bytes"));
	MUST(each_file(pmem, NULL) == 0);
	MUST(!tr_store_room(w.model, pmem, &room, NULL));
	MUST(room > 4 * ROW && room < 300 * 1024);
	plan(&w, room);
	MUST(!tr_store_open(&s, &w.cfg, NULL));
	MUST(gives_the_plan(&w, s));
	tr_store_close(s);
	/* What is there counts as room, and is not outgrown for a little more. */
	MUST(!tr_store_room(w.model, pmem, &again, NULL));
	MUST(again <= room && again > room - 20480);
	forget();
	plan(&w, again);
	MUST(!tr_store_open(&s, &w.cfg, NULL));
	MUST(gives_the_plan(&w, s));
	tr_store_close(s);
	MUST(!said[0]);
	/* A store that must give way to its successor does. */
	each_file(pmem, unlink);
	plan(&w, 2 * ROW);
	MUST(!tr_store_open(&s, &w.cfg, NULL));
	tr_store_close(s);
	plan(&w, 4 * ROW);
	MUST(!tr_store_open(&s, &w.cfg, NULL));
	MUST(strstr(said, "removed to make room"));
	MUST(gives_the_plan(&w, s));
	tr_store_close(s);
	close_model(&w);
	umount(pmem);
	return 0;
}

/* Runs this program as MODE PMEM MODEL with the granularity forced (NULL: not); what it printed. */
static const char *run_child(const char *mode, const char *granularity, const char *pmem,
	const char *model)
{
	static char out[4096];
	int fds[2], status;
	size_t n = 0;
	ssize_t got;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	if (!pid) {
		dup2(fds[1], STDOUT_FILENO);
		close(fds[0]);
		close(fds[1]);
		if (granularity)
			setenv("PMEM2_FORCE_GRANULARITY", granularity, 1);
		execl("/proc/self/exe", "t_store", mode, pmem, model, (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	while (n < sizeof(out) - 1 && (got = read(fds[0], out + n, sizeof(out) - 1 - n)) > 0)
		n += (size_t)got;
	out[n] = '\0';
	close(fds[0]);
	waitpid(pid, &status, 0);
	if (status)
		fail_msg("%s %s: status %d, %s", mode, granularity ? granularity : "", status, out);
	return out;
}

static const char *real_granularity(void)
{
	const char *g = getenv("TR_TEST_GRANULARITY");

	return g ? g : "page";
}

static void granularity_is_what_libpmem2_says(void **state)
{
	struct world *w = *state;
	char want[64];

	assert_string_equal(run_child("show", "PAGE", w->pmem, w->root), "page, copied");
	assert_string_equal(run_child("show", "CACHE_LINE", w->pmem, w->root),
		"cache line, copied");
	assert_string_equal(run_child("show", "BYTE", w->pmem, w->root), "byte, copied");
	snprintf(want, sizeof(want), "%s, copied", real_granularity());
	assert_string_equal(run_child("show", NULL, w->pmem, w->root), want);
}

static void a_model_on_dax_is_mapped_in_place(void **state)
{
	bool dax = strcmp(real_granularity(), "page") != 0;
	struct world *w = *state;
	char want[64];
	unsigned n = each_file(w->root, NULL);

	snprintf(want, sizeof(want), "%s, in place", dax ? real_granularity() : "cache line");
	assert_string_equal(run_child("show", dax ? NULL : "CACHE_LINE", w->root, w->root), want);
	/* A path that only begins alike is another directory. */
	assert_string_equal(run_child("show", "CACHE_LINE", w->pmem, w->root),
		"cache line, copied");
	assert_int_equal(each_file(w->root, NULL), n);
	if (!dax) {
		assert_string_equal(run_child("show", NULL, w->root, w->root), "page, copied");
		assert_int_equal(each_file(w->root, NULL), n + 1);
	}
}

static void a_small_file_system_is_filled_to_its_room_and_not_further(void **state)
{
	struct world *w = *state;

	if (!strcmp(run_child("small", NULL, w->pmem, w->root), "skip")) {
		print_message("# mounting a tmpfs is not allowed here\n");
		skip();
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(a_filled_store_gives_the_bytes_of_the_model),
		TEST(a_plan_of_nothing_writes_nothing),
		TEST(progress_counts_bytes_to_the_end),
		TEST(stopping_leaves_nothing_behind),
		TEST(a_full_disk_leaves_nothing_behind),
		TEST(a_model_that_cannot_be_read_leaves_nothing_behind),
		TEST(what_a_killed_run_left_is_removed),
		TEST(a_store_that_covers_the_plan_is_not_written),
		TEST(a_larger_plan_is_written_anew),
		TEST(a_damaged_store_is_made_again),
		TEST(a_truncated_store_is_made_again),
		TEST(a_foreign_file_of_the_same_name_is_not_trusted),
		TEST(a_link_of_the_same_name_is_replaced_and_not_followed),
		TEST(a_store_of_another_model_is_not_used),
		TEST(other_weights_under_the_same_header_are_noticed),
		TEST(a_damaged_extent_is_given_up_once),
		TEST(threads_agree_on_what_is_good),
		TEST(the_second_waits_until_the_first_is_done),
		TEST(two_that_start_together_fill_once),
		TEST(room_needs_a_directory),
		TEST(granularity_is_what_libpmem2_says),
		TEST(a_model_on_dax_is_mapped_in_place),
		TEST(a_small_file_system_is_filled_to_its_room_and_not_further),
	};

	tr_log_set(keep, NULL);
	if (argc == 4 && !strcmp(argv[1], "show"))
		return child_show(argv[2], argv[3]);
	if (argc == 4 && !strcmp(argv[1], "small"))
		return child_small(argv[2], argv[3]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
