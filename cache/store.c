/*
 * store.c - opening, finding or making a store, and giving out its units.
 *
 * Opening decides between three ways, in this order:
 *
 *	the model's shards all lie under dir and dir is DAX   -> map them, write nothing
 *	a sound store there covers the plan                   -> map it, write nothing
 *	else                                                  -> fill a new one, map it
 *
 * A store that is unsound, of another model or too small is replaced; why is logged. The new one
 * grows under a temporary name and is renamed when it is on the medium, so that a name without
 * the prefix always means a whole file, and a process that has the old one mapped keeps it.
 *
 * One process works on a directory at a time: it holds a flock on the directory itself, which
 * leaves no file behind and goes with the process. Whoever holds it knows that a temporary file
 * found there has no owner any more.
 *
 * After opening everything is constant but the state of each unit, one atomic byte. Two threads that
 * meet a fresh unit may both compute its checksum; one of them publishes the result.
 *
 * Limits: the file must not shrink while mapped, and a read error of the medium raises SIGBUS.
 */
#include "cache/store.h"

#include "base/log.h"
#include "base/mem.h"
#include "cache/pmem_map.h"
#include "cache/store_file.h"
#include "cache/store_fill.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

enum unit_state {
	UNIT_ABSENT,	/* its home is elsewhere */
	UNIT_UNCHECKED, /* not used yet */
	UNIT_GOOD,
	UNIT_BAD, /* given up */
};

struct place {
	uint64_t off; /* in the store file; unused in place */
	uint64_t sum;
};

struct tr_store {
	char *dir;
	const struct tr_catalog *catalog;
	bool in_place;
	size_t n_map; /* in place: one a shard; else 1, or 0 when nothing is planned here */
	struct tr_pmem_map *maps;
	struct place *places; /* [n_unit] */
	/* [n_unit] enum unit_state; UNCHECKED -> GOOD or BAD once, by whoever comes first */
	_Atomic(uint8_t) *unit_state;
	uint64_t n_unit;
	uint64_t bytes;
	atomic_uint_fast64_t n_bad;
};

/* --- where the model lies --------------------------------------------------------------------- */

/* 0, or an errno value; *under is true when path lies below dir on the same file system. */
static int lies_under(const char *dir, const char *path, bool *under)
{
	char *real_dir = realpath(dir, NULL), *real_path = realpath(path, NULL);
	struct stat d, f;
	int e = 0;

	*under = false;
	if (!real_dir || !real_path || stat(real_dir, &d) || stat(real_path, &f)) {
		e = errno;
	} else {
		size_t n = strlen(real_dir);

		if (n && real_dir[n - 1] == '/')
			n--;
		*under = !strncmp(real_dir, real_path, n) && real_path[n] == '/' &&
			d.st_dev == f.st_dev;
	}
	free(real_dir);
	free(real_path);
	return e;
}

/* One page tells: by its granularity, or by the attribute of the file. */
static bool file_is_dax(const char *path)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct tr_pmem_map map;
	struct statx sx;
	bool dax = false;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	if (!statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &sx)) {
		dax = sx.stx_attributes & sx.stx_attributes_mask & STATX_ATTR_DAX;
		if (!dax && !tr_pmem_map_open(&map, fd, path, sx.stx_size < page ? 0 : page, NULL)) {
			dax = tr_pmem_map_is_dax(&map);
			tr_pmem_map_close(&map);
		}
	}
	close(fd);
	return dax;
}

static bool model_is_in_place(const struct tr_model *model, const char *dir)
{
	bool under;

	for (size_t s = 0; s < model->n_shard; s++) {
		const char *path = model->shards[s].path;

		if (lies_under(dir, path, &under) || !under || !file_is_dax(path))
			return false;
	}
	return model->n_shard > 0;
}

static int need_directory(const char *dir, struct tr_err *err)
{
	struct stat st;

	if (stat(dir, &st))
		return tr_err_sys(err, errno, "persistent memory %s", dir);
	if (!S_ISDIR(st.st_mode))
		return tr_err_set(err, TR_E_INVALID,
			"persistent memory %s: not a directory; give one on a DAX file system, or any "
			"other", dir);
	return 0;
}

static void file_name(const struct tr_model *model, char name[NAME_MAX + 1],
	char fingerprint[TR_FINGERPRINT_BYTES])
{
	tr_model_fingerprint(model, fingerprint);
	snprintf(name, NAME_MAX + 1, "%s" TR_STORE_SUFFIX, fingerprint);
}

/* --- room ------------------------------------------------------------------------------------- */

static uint64_t held_in(const struct tr_model *model, const char *dir)
{
	char name[NAME_MAX + 1], path[PATH_MAX], fingerprint[TR_FINGERPRINT_BYTES];
	uint64_t held;
	int fd;

	file_name(model, name, fingerprint);
	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return 0;
	held = tr_store_file_held(fd, fingerprint);
	close(fd);
	return held;
}

int tr_store_room(const struct tr_model *model, const char *dir, uint64_t *bytes,
	struct tr_err *err)
{
	struct statvfs fs;
	uint64_t held, all;
	int rc = need_directory(dir, err);

	if (rc)
		return rc;
	if (model_is_in_place(model, dir)) {
		*bytes = UINT64_MAX;
		return 0;
	}
	if (access(dir, W_OK | X_OK))
		return tr_err_sys(err, errno, "persistent memory %s: cannot be written", dir);
	if (statvfs(dir, &fs))
		return tr_err_sys(err, errno, "persistent memory %s", dir);
	held = held_in(model, dir);
	all = (uint64_t)fs.f_bavail * fs.f_frsize + held;
	*bytes = all - all / 20;
	if (held && *bytes < held + held / 10)
		*bytes = held;
	return 0;
}

/* --- making the file -------------------------------------------------------------------------- */

struct maker {
	const struct tr_store_cfg *cfg;
	struct tr_store_table plan;
	char fingerprint[TR_FINGERPRINT_BYTES];
	char name[NAME_MAX + 1]; /* in the directory */
	char tmp[NAME_MAX + 1];
	char path[PATH_MAX]; /* for messages */
	int dirfd;	     /* holds the lock */
};

static int wait_a_little(const struct maker *k, struct tr_err *err)
{
	const struct timespec pause = { .tv_nsec = 100000000 };
	uint64_t total = k->plan.file_bytes - k->plan.data_off;

	nanosleep(&pause, NULL);
	if (k->cfg->progress &&
		k->cfg->progress(k->cfg->progress_ctx, "waiting for another process", 0, total,
			"bytes"))
		return tr_err_set(err, TR_E_INTERRUPTED,
			"%s: stopped while another process fills a store there", k->cfg->dir);
	return 0;
}

static int lock_directory(struct maker *k, struct tr_err *err)
{
	bool said = false;
	int rc;

	k->dirfd = open(k->cfg->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (k->dirfd < 0)
		return tr_err_sys(err, errno, "persistent memory %s", k->cfg->dir);
	while (flock(k->dirfd, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return tr_err_sys(err, errno, "%s: cannot lock the directory", k->cfg->dir);
		if (!said)
			tr_info("%s: another process works on a store there, waiting", k->cfg->dir);
		said = true;
		rc = wait_a_little(k, err);
		if (rc)
			return rc;
	}
	return 0;
}

/* With the lock held nobody is writing any of them. */
static void remove_stale(const struct maker *k)
{
	DIR *d = opendir(k->cfg->dir);
	struct dirent *entry;

	if (!d)
		return;
	while ((entry = readdir(d)))
		if (!strncmp(entry->d_name, TR_STORE_TMP_PREFIX, strlen(TR_STORE_TMP_PREFIX)) &&
			!unlinkat(k->dirfd, entry->d_name, 0))
			tr_info("%s/%s: left behind by a run that ended, removed", k->cfg->dir,
				entry->d_name);
	closedir(d);
}

/* The old store goes first where the new one has no room beside it. */
static void make_room(const struct maker *k)
{
	struct statvfs fs;

	if (!fstatvfs(k->dirfd, &fs) &&
		(uint64_t)fs.f_bavail * fs.f_frsize < k->plan.file_bytes &&
		!unlinkat(k->dirfd, k->name, 0))
		tr_info("%s: removed to make room for its successor", k->path);
}

static int write_new(struct maker *k, int fd, struct tr_err *err)
{
	int rc = tr_store_fill(k->cfg, &k->plan, fd, k->path, err);

	if (rc)
		return rc;
	rc = tr_store_table_write(&k->plan, fd, k->fingerprint, err);
	if (rc)
		return tr_err_prefix(err, "%s", k->path);
	if (fsync(fd) || renameat(k->dirfd, k->tmp, k->dirfd, k->name) || fsync(k->dirfd))
		return tr_err_sys(err, errno, "%s: finishing the store", k->path);
	return 0;
}

/* On success *fd is the new store and k->plan its table. */
static int make_new(struct maker *k, int *fd, struct tr_err *err)
{
	int rc;

	make_room(k);
	*fd = openat(k->dirfd, k->tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (*fd < 0)
		return tr_err_sys(err, errno, "%s/%s: cannot make a store", k->cfg->dir, k->tmp);
	rc = write_new(k, *fd, err);
	if (rc) {
		unlinkat(k->dirfd, k->tmp, 0);
		close(*fd);
		*fd = -1;
	}
	return rc;
}

/* --- reusing a file --------------------------------------------------------------------------- */

/* TR_E_NOENT: there is none; TR_E_FORMAT: it cannot be used, err says why. */
static int open_old(struct maker *k, struct tr_store_table *table, int *fd, struct tr_err *err)
{
	int rc;

	*fd = openat(k->dirfd, k->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (*fd < 0)
		return errno == ENOENT ? TR_E_NOENT
				       : tr_err_set(err, TR_E_FORMAT, "%s", strerror(errno));
	rc = tr_store_table_read(table, *fd, k->fingerprint, k->cfg->catalog, err);
	if (!rc && !tr_store_table_covers(table, &k->plan))
		rc = tr_err_set(err, TR_E_FORMAT, "it lacks some of the %zu experts planned here",
			k->plan.n_row);
	if (!rc)
		rc = tr_store_sample(k->cfg, table, &k->plan, err);
	if (rc) {
		tr_store_table_free(table);
		close(*fd);
		*fd = -1;
	}
	return rc;
}

/* A file that covers the plan, and its table. */
static int find_or_make(struct maker *k, struct tr_store_table *table, int *fd,
	struct tr_err *err)
{
	struct tr_err why = { 0 };
	int rc;

	remove_stale(k);
	rc = open_old(k, table, fd, &why);
	if (!rc)
		return 0;
	if (rc == TR_E_FORMAT)
		tr_warn("%s: %s; it is written anew", k->path, why.msg);
	else if (rc != TR_E_NOENT)
		return tr_err_set(err, rc, "%s", why.msg);
	rc = make_new(k, fd, err);
	if (!rc) {
		*table = k->plan;
		k->plan = (struct tr_store_table){ 0 };
	}
	return rc;
}

/* --- opening ---------------------------------------------------------------------------------- */

static void mark(struct tr_store *s, const struct tr_store_cfg *cfg, enum unit_state state)
{
	for (size_t u = 0; u < s->catalog->n_unit; u++) {
		if (cfg->home[u] != cfg->tier_idx)
			continue;
		atomic_init(&s->unit_state[u], (uint8_t)state);
		s->n_unit++;
		s->bytes += s->catalog->units[u].bytes;
	}
}

static int map_shards(struct tr_store *s, const struct tr_model *model, struct tr_err *err)
{
	s->in_place = true;
	for (; s->n_map < model->n_shard; s->n_map++) {
		const char *path = model->shards[s->n_map].path;
		int fd = open(path, O_RDONLY | O_CLOEXEC), rc;

		if (fd < 0)
			return tr_err_sys(err, errno, "%s", path);
		rc = tr_pmem_map_open(&s->maps[s->n_map], fd, path, 0, err);
		close(fd);
		if (rc)
			return rc;
	}
	return 0;
}

/* A model file that shrank since it was opened must not be read past its end. */
static int check_ends(const struct tr_store *s, const struct tr_store_cfg *cfg,
	struct tr_err *err)
{
	for (size_t u = 0; u < s->catalog->n_unit; u++) {
		for (int p = 0; p < TR_N_PART; p++) {
			const struct tr_extent *x = &s->catalog->units[u].part[p];
			uint64_t end = s->maps[x->shard].bytes;

			if (x->off > end || x->bytes > end - x->off)
				return tr_err_set(err, TR_E_FORMAT,
					"%s: expert ends %llu bytes past the end of the file",
					cfg->model->shards[x->shard].path,
					(unsigned long long)(x->off + x->bytes - end));
		}
	}
	return 0;
}

static int open_in_place(struct tr_store *s, const struct tr_store_cfg *cfg, struct tr_err *err)
{
	int rc = map_shards(s, cfg->model, err);

	if (!rc)
		rc = check_ends(s, cfg, err);
	if (!rc)
		mark(s, cfg, UNIT_GOOD);
	return rc;
}

static int map_file(struct tr_store *s, const struct tr_store_cfg *cfg, const char *path, int fd,
	const struct tr_store_table *table, struct tr_err *err)
{
	int rc = tr_pmem_map_open(&s->maps[0], fd, path, 0, err);

	if (rc)
		return rc;
	s->n_map = 1;
	for (size_t i = 0; i < table->n_row; i++)
		s->places[table->rows[i].unit] =
			(struct place){ table->rows[i].off, table->rows[i].sum };
	mark(s, cfg, UNIT_UNCHECKED);
	return 0;
}

static int open_copied(struct tr_store *s, const struct tr_store_cfg *cfg, struct tr_err *err)
{
	struct maker k = { .cfg = cfg, .dirfd = -1 };
	struct tr_store_table table = { 0 };
	int fd = -1, rc;

	file_name(cfg->model, k.name, k.fingerprint);
	snprintf(k.tmp, sizeof(k.tmp), TR_STORE_TMP_PREFIX "%ld", (long)getpid());
	snprintf(k.path, sizeof(k.path), "%s/%s", cfg->dir, k.name);
	rc = tr_store_table_plan(&k.plan, cfg, err);
	if (rc || !k.plan.n_row)
		goto out;
	rc = lock_directory(&k, err);
	if (!rc)
		rc = find_or_make(&k, &table, &fd, err);
	if (!rc)
		rc = map_file(s, cfg, k.path, fd, &table, err);
out:
	if (fd >= 0)
		close(fd);
	if (k.dirfd >= 0)
		close(k.dirfd);
	tr_store_table_free(&table);
	tr_store_table_free(&k.plan);
	return rc;
}

int tr_store_open(struct tr_store **store, const struct tr_store_cfg *cfg, struct tr_err *err)
{
	size_t n_unit = cfg->catalog->n_unit;
	struct tr_store *s;
	int rc = need_directory(cfg->dir, err);

	*store = NULL;
	if (rc)
		return rc;
	s = tr_calloc(1, sizeof(*s));
	if (!s)
		return tr_err_set(err, TR_E_NOMEM, "no memory for a store");
	s->catalog = cfg->catalog;
	s->dir = strdup(cfg->dir);
	s->maps = tr_calloc(TR_MAX(cfg->model->n_shard, (size_t)1), sizeof(*s->maps));
	s->places = tr_calloc(n_unit, sizeof(*s->places));
	s->unit_state = tr_calloc(n_unit, sizeof(*s->unit_state));
	if (!s->dir || !s->maps || !s->places || !s->unit_state)
		rc = tr_err_set(err, TR_E_NOMEM, "no memory for a store of %zu experts", n_unit);
	else if (model_is_in_place(cfg->model, cfg->dir))
		rc = open_in_place(s, cfg, err);
	else
		rc = open_copied(s, cfg, err);
	if (rc)
		tr_store_close(s);
	else
		*store = s;
	return rc;
}

void tr_store_close(struct tr_store *store)
{
	if (!store)
		return;
	for (size_t i = 0; i < store->n_map; i++)
		tr_pmem_map_close(&store->maps[i]);
	free(store->dir);
	free(store->maps);
	free(store->places);
	free(store->unit_state);
	free(store);
}

/* --- giving out ------------------------------------------------------------------------------- */

static enum unit_state check_unit(struct tr_store *s, uint32_t unit)
{
	const struct tr_unit *u = &s->catalog->units[unit];
	const struct place *at = &s->places[unit];
	uint8_t was = UNIT_UNCHECKED, now;

	now = XXH3_64bits(s->maps[0].base + at->off, u->bytes) == at->sum ? UNIT_GOOD : UNIT_BAD;
	if (!atomic_compare_exchange_strong(&s->unit_state[unit], &was, now))
		return was;
	if (now == UNIT_BAD) {
		atomic_fetch_add(&s->n_bad, 1);
		tr_warn("%s: the copy of layer %u expert %u is damaged (checksum at offset %llu); it "
			"is read from the model file instead",
			s->dir, u->layer, u->expert, (unsigned long long)at->off);
	}
	return now;
}

static void locate(const struct tr_store *s, uint32_t unit, const void *part[TR_N_PART])
{
	const struct tr_unit *u = &s->catalog->units[unit];
	const uint8_t *at = s->in_place ? NULL : s->maps[0].base + s->places[unit].off;

	for (int p = 0; p < TR_N_PART; p++) {
		const struct tr_extent *x = &u->part[p];

		part[p] = s->in_place ? s->maps[x->shard].base + x->off : at;
		if (!s->in_place)
			at += x->bytes;
	}
}

bool tr_store_get(struct tr_store *store, uint32_t unit, const void *part[TR_N_PART])
{
	enum unit_state state;

	tr_assert(unit < store->catalog->n_unit);
	state = atomic_load(&store->unit_state[unit]);
	if (state == UNIT_UNCHECKED)
		state = check_unit(store, unit);
	if (state != UNIT_GOOD)
		return false;
	locate(store, unit, part);
	return true;
}

const char *tr_store_dir(const struct tr_store *store)
{
	return store->dir;
}

const char *tr_store_granularity(const struct tr_store *store)
{
	return store->n_map ? store->maps[0].granularity : "none";
}

bool tr_store_in_place(const struct tr_store *store)
{
	return store->in_place;
}

uint64_t tr_store_bytes(const struct tr_store *store)
{
	return store->bytes;
}

uint64_t tr_store_n_unit(const struct tr_store *store)
{
	return store->n_unit;
}

uint64_t tr_store_n_bad(const struct tr_store *store)
{
	return atomic_load(&store->n_bad);
}
