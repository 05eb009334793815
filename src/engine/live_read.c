/*
 * live_read.c - the reader's side of live_file.h: finding, checking, and telling the dead from the
 * living.
 *
 * Nothing in a file is trusted: it may have been cut, overwritten, or put there by somebody else.
 * What is given out has its counts within their limits and its texts ended.
 */
#include "base/err.h"
#include "base/mem.h"
#include "engine/live_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#define NAME_BYTES 64

/* Only a reader that lost its processor while the writer went on meets two broken images. */
#define N_TRY	 20
#define PAUSE_NS 1000000

struct tr_live_reader {
	int fd;
	uint64_t pid;
	char path[TR_LIVE_PATH_BYTES + NAME_BYTES];
	struct tr_live_image images[TR_LIVE_N_IMAGE];
	struct tr_live_image *image; /* to be believed */
};

/* --- what may be in it ------------------------------------------------------------------------ */

static int check_head(const struct tr_live_reader *r, size_t n, struct tr_err *err)
{
	const struct tr_live_image *image = &r->images[0];

	if (n < offsetof(struct tr_live_image, live))
		return tr_err_set(err, TR_E_FORMAT,
			"live status %s: %zu bytes, the head alone takes %zu", r->path, n,
			offsetof(struct tr_live_image, live));
	if (memcmp(image->magic, TR_LIVE_MAGIC, sizeof(image->magic)) != 0)
		return tr_err_set(err, TR_E_FORMAT,
			"live status %s: it does not begin with " TR_LIVE_MAGIC, r->path);
	if (image->version != TR_LIVE_VERSION)
		return tr_err_set(err, TR_E_UNSUPPORTED,
			"live status %s: version %" PRIu32
			", this program reads version %d (use the "
			"tierra that runs there)",
			r->path, image->version, TR_LIVE_VERSION);
	if (image->bytes != sizeof(*image))
		return tr_err_set(err, TR_E_UNSUPPORTED,
			"live status %s: it says %" PRIu32
			" bytes, version %d of this program has %zu",
			r->path, image->bytes, TR_LIVE_VERSION, sizeof(*image));
	if (n != sizeof(r->images))
		return tr_err_set(err, TR_E_FORMAT, "live status %s: %zu bytes of %zu", r->path, n,
			sizeof(r->images));
	return 0;
}

static int too_many(const struct tr_live_reader *r, const char *what, uint64_t n, uint64_t max,
	struct tr_err *err)
{
	return tr_err_set(err, TR_E_FORMAT, "live status %s: %s %" PRIu64 ", the limit is %" PRIu64,
		r->path, what, n, max);
}

/* A hash that fits says that it was written so, not that it makes sense. */
static int check_live(const struct tr_live_reader *r, struct tr_err *err)
{
	const struct tr_live *l = &r->image->live;

	if (l->pid != r->pid)
		return tr_err_set(err, TR_E_FORMAT,
			"live status %s: it is of process %" PRIu64 ", not %" PRIu64, r->path,
			l->pid, r->pid);
	if (l->phase >= TR_N_LIVE_PHASE)
		return too_many(r, "phase", l->phase, TR_N_LIVE_PHASE - 1, err);
	if (l->stats.n_tier > TR_MAX_TIER)
		return too_many(r, "tiers", l->stats.n_tier, TR_MAX_TIER, err);
	if (l->stats.n_node > TR_MAX_NODE)
		return too_many(r, "NUMA nodes", l->stats.n_node, TR_MAX_NODE, err);
	if (l->n_layer > TR_LIVE_MAX_LAYER)
		return too_many(r, "layers", l->n_layer, TR_LIVE_MAX_LAYER, err);
	return 0;
}

#define END_TEXT(field) ((field)[sizeof(field) - 1] = '\0')

static void end_texts(struct tr_live *l)
{
	END_TEXT(l->version);
	END_TEXT(l->model);
	END_TEXT(l->step);
	END_TEXT(l->unit);
	END_TEXT(l->stats.prefetch.mode);
	END_TEXT(l->stats.predictor.name);
	END_TEXT(l->stats.io_method);
	END_TEXT(l->stats.cpu);
	END_TEXT(l->stats.policy);
	for (size_t i = 0; i < TR_MAX_TIER; i++) {
		END_TEXT(l->stats.tier[i].name);
		END_TEXT(l->stats.tier[i].policy);
	}
}

/* The newest that is whole; NULL: none is. */
static struct tr_live_image *choose(struct tr_live_reader *r)
{
	struct tr_live_image *best = NULL;

	for (size_t i = 0; i < TR_LIVE_N_IMAGE; i++) {
		struct tr_live_image *image = &r->images[i];

		if (image->hash == XXH3_64bits(image, offsetof(struct tr_live_image, hash)) &&
			(!best || image->number > best->number))
			best = image;
	}
	return best;
}

static int take(struct tr_live_reader *r, struct tr_err *err)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	ssize_t n;
	int rc;

	for (int i = 0; i < N_TRY; i++) {
		n = pread(r->fd, r->images, sizeof(r->images), 0);
		if (n < 0)
			return tr_err_sys(err, errno, "live status %s", r->path);
		rc = check_head(r, (size_t)n, err);
		if (rc)
			return rc;
		r->image = choose(r);
		if (r->image)
			return check_live(r, err);
		nanosleep(&pause, NULL);
	}
	return tr_err_set(err, TR_E_FORMAT,
		"live status %s: the hash does not fit what it says (%d tries): it is damaged",
		r->path, N_TRY);
}

/* --- dead or alive ---------------------------------------------------------------------------- */

/* Takes away what a dead process left, but not what a new one may just have put in its place. */
static void remove_left(const struct tr_live_reader *r)
{
	struct stat open_st, named_st;

	if (!fstat(r->fd, &open_st) && !lstat(r->path, &named_st) &&
		open_st.st_ino == named_st.st_ino && open_st.st_dev == named_st.st_dev)
		unlink(r->path);
}

static bool is_over(const struct tr_live_reader *r)
{
	struct stat st;

	if (fstat(r->fd, &st) || !st.st_nlink)
		return true;
	if (flock(r->fd, LOCK_SH | LOCK_NB))
		return false;
	flock(r->fd, LOCK_UN);
	return true;
}

static int ended(const struct tr_live_reader *r, struct tr_err *err)
{
	return tr_err_set(err, TR_E_NOENT, "process %" PRIu64 " has ended", r->pid);
}

int tr_live_read(struct tr_live_reader *r, struct tr_live *out, struct tr_err *err)
{
	bool over = is_over(r); /* before: what is read then is the last */
	int rc = take(r, err);

	if (rc)
		return rc;
	end_texts(&r->image->live);
	*out = r->image->live;
	if (!over)
		return 0;
	remove_left(r);
	return ended(r, err);
}

/* --- open and close --------------------------------------------------------------------------- */

static int check_owner(const struct tr_live_reader *r, unsigned uid, struct tr_err *err)
{
	struct stat st;

	if (fstat(r->fd, &st))
		return tr_err_sys(err, errno, "live status %s", r->path);
	if (!S_ISREG(st.st_mode))
		return tr_err_set(err, TR_E_INVALID, "live status %s is no regular file", r->path);
	if (st.st_uid != uid)
		return tr_err_set(err, TR_E_INVALID, "live status %s belongs to user %u, not to %u",
			r->path, (unsigned)st.st_uid, uid);
	return 0;
}

/* TR_E_NOENT, without a message, when there is no such file. */
static int open_in(struct tr_live_reader *r, const char *dir, unsigned uid, struct tr_err *err)
{
	int rc;

	snprintf(r->path, sizeof(r->path), "%s/tierra-%u-%" PRIu64, dir, uid, r->pid);
	r->fd = open(r->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (r->fd < 0 && errno == ENOENT)
		return TR_E_NOENT;
	if (r->fd < 0)
		return tr_err_sys(err, errno, "live status %s", r->path);
	rc = check_owner(r, uid, err);
	if (!rc)
		rc = take(r, err);
	if (!rc && is_over(r)) {
		remove_left(r);
		rc = ended(r, err);
	}
	if (rc)
		close(r->fd);
	return rc;
}

static unsigned owner_of(uint64_t pid)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%" PRIu64, pid);
	return stat(path, &st) ? (unsigned)geteuid() : (unsigned)st.st_uid;
}

static int not_found(uint64_t pid, struct tr_err *err)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%" PRIu64, pid);
	if (stat(path, &st))
		return tr_err_set(err, TR_E_NOENT, "there is no process %" PRIu64, pid);
	return tr_err_set(err, TR_E_NOENT,
		"process %" PRIu64 " has no live status: it is no tierra that generates, or was "
		"started with --no-live",
		pid);
}

int tr_live_open(struct tr_live_reader **out, uint64_t pid, struct tr_err *err)
{
	struct tr_live_reader *r = tr_calloc(1, sizeof(*r));
	char dirs[TR_LIVE_MAX_DIR][TR_LIVE_PATH_BYTES];
	unsigned uid = owner_of(pid);
	int rc = TR_E_NOENT;

	if (!r)
		return tr_err_set(err, TR_E_NOMEM, "live status: out of memory");
	r->pid = pid;
	for (size_t i = 0, n = tr_live_dirs(dirs, uid); i < n; i++) {
		struct tr_err here = { 0 };

		rc = open_in(r, dirs[i], uid, &here);
		if (!rc) {
			*out = r;
			return 0;
		}
		if (here.code) {
			free(r);
			return tr_err_set(err, here.code, "%s", here.msg);
		}
	}
	free(r);
	return not_found(pid, err);
}

void tr_live_close(struct tr_live_reader *r)
{
	if (!r)
		return;
	close(r->fd);
	free(r);
}

/* --- list ------------------------------------------------------------------------------------- */

struct pid_list {
	uint64_t *pid;
	size_t n, cap;
};

static bool add_pid(struct pid_list *list, uint64_t pid)
{
	uint64_t *more;

	for (size_t i = 0; i < list->n; i++)
		if (list->pid[i] == pid)
			return true;
	if (list->n == list->cap) {
		list->cap = list->cap ? 2 * list->cap : 8;
		more = reallocarray(list->pid, list->cap, sizeof(*more));
		if (!more)
			return false;
		list->pid = more;
	}
	list->pid[list->n++] = pid;
	return true;
}

/* Whatever is in it, of whichever version. */
static void remove_if_dead(struct tr_live_reader *r, const char *dir, const char *name)
{
	snprintf(r->path, sizeof(r->path), "%s/%s", dir, name);
	r->fd = open(r->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (r->fd < 0)
		return;
	if (is_over(r))
		remove_left(r);
	close(r->fd);
}

/* A name of ours that can be opened. What a dead process left is taken away. */
static bool is_alive(const char *dir, const char *name, uint64_t *pid)
{
	struct tr_live_reader *r;
	unsigned uid;
	int end = 0;
	bool alive;

	if (sscanf(name, "tierra-%u-%" SCNu64 "%n", &uid, pid, &end) != 2 || name[end] ||
		(geteuid() && uid != geteuid()))
		return false;
	r = tr_calloc(1, sizeof(*r));
	if (!r)
		return false;
	r->pid = *pid;
	remove_if_dead(r, dir, name);
	alive = !open_in(r, dir, uid, NULL);
	if (alive)
		close(r->fd);
	free(r);
	return alive;
}

static bool list_dir(struct pid_list *list, const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;
	uint64_t pid;
	bool ok = true;

	while (dir && ok && (entry = readdir(dir)))
		if (is_alive(path, entry->d_name, &pid))
			ok = add_pid(list, pid);
	if (dir)
		closedir(dir);
	return ok;
}

static int ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

int tr_live_list(uint64_t **pids, size_t *n, struct tr_err *err)
{
	char dirs[TR_LIVE_MAX_DIR][TR_LIVE_PATH_BYTES];
	struct pid_list list = { 0 };

	for (size_t i = 0, n_dir = tr_live_dirs(dirs, (unsigned)geteuid()); i < n_dir; i++)
		if (!list_dir(&list, dirs[i])) {
			free(list.pid);
			return tr_err_set(err, TR_E_NOMEM, "live status: out of memory");
		}
	if (list.n)
		qsort(list.pid, list.n, sizeof(*list.pid), ascending);
	*pids = list.pid;
	*n = list.n;
	return 0;
}
