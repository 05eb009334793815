#include "engine/live_file.h"
#include "base/err.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define SHM_DIR	   "/dev/shm"
#define NAME_BYTES 64
#define FULL_BYTES (TR_LIVE_PATH_BYTES + NAME_BYTES)

struct tr_live_file {
	int fd;
	char path[FULL_BYTES];
	struct tr_live_image image;
};

/* --- where ------------------------------------------------------------------------------------ */

static bool is_dir_of(const char *path, unsigned uid)
{
	struct stat st;

	return !stat(path, &st) && S_ISDIR(st.st_mode) && st.st_uid == uid;
}

static bool add_dir(char dirs[TR_LIVE_MAX_DIR][TR_LIVE_PATH_BYTES], size_t *n, const char *path)
{
	for (size_t i = 0; i < *n; i++)
		if (!strcmp(dirs[i], path))
			return false;
	if (strlen(path) >= TR_LIVE_PATH_BYTES)
		return false;
	memcpy(dirs[(*n)++], path, strlen(path) + 1);
	return true;
}

size_t tr_live_dirs(char dirs[TR_LIVE_MAX_DIR][TR_LIVE_PATH_BYTES], unsigned uid)
{
	const char *only = secure_getenv("TIERRA_LIVE_DIR"),
		   *own = secure_getenv("XDG_RUNTIME_DIR");
	char usual[64];
	size_t n = 0;

	if (only && *only) {
		add_dir(dirs, &n, only);
		return n;
	}
	if (own && *own && is_dir_of(own, uid))
		add_dir(dirs, &n, own);
	snprintf(usual, sizeof(usual), "/run/user/%u", uid);
	if (is_dir_of(usual, uid))
		add_dir(dirs, &n, usual);
	add_dir(dirs, &n, SHM_DIR);
	return n;
}

static void name_file(char path[FULL_BYTES], const char *dir, unsigned uid, uint64_t pid)
{
	snprintf(path, FULL_BYTES, "%s/tierra-%u-%" PRIu64, dir, uid, pid);
}

/* --- writing ---------------------------------------------------------------------------------- */

static uint64_t hash_of(const struct tr_live_image *image)
{
	return XXH3_64bits(image, offsetof(struct tr_live_image, hash));
}

bool tr_live_file_write(struct tr_live_file *f, struct tr_live *live)
{
	struct tr_live_image *image = &f->image;

	off_t at = (off_t)(image->number % TR_LIVE_N_IMAGE * sizeof(*image));

	live->pid = (uint64_t)getpid();
	image->live = *live;
	image->number++;
	image->hash = hash_of(image);
	return pwrite(f->fd, image, sizeof(*image), at) == (ssize_t)sizeof(*image);
}

/* A file of that name in use is that of another engine of this process. */
static bool is_in_use(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	bool in_use = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) && errno == EWOULDBLOCK;

	if (fd >= 0)
		close(fd);
	return in_use;
}

/* Whole and locked before anybody can see it. */
static int make_file(struct tr_live_file *f, struct tr_err *err)
{
	struct tr_live empty = { 0 };
	char fresh[FULL_BYTES + 8];

	snprintf(fresh, sizeof(fresh), "%s.new", f->path);
	unlink(fresh);
	f->fd = open(fresh, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (f->fd < 0)
		return tr_err_sys(err, errno, "live status: %s", fresh);
	if (fchmod(f->fd, 0600) || flock(f->fd, LOCK_EX | LOCK_NB) ||
		!tr_live_file_write(f, &empty) || !tr_live_file_write(f, &empty) ||
		rename(fresh, f->path)) {
		tr_err_sys(err, errno, "live status: %s", fresh);
		unlink(fresh);
		return TR_E_IO;
	}
	return 0;
}

int tr_live_file_create(struct tr_live_file **out, struct tr_err *err)
{
	struct tr_live_file *f = tr_calloc(1, sizeof(*f));
	char dirs[TR_LIVE_MAX_DIR][TR_LIVE_PATH_BYTES];
	unsigned uid = (unsigned)geteuid();
	int rc;

	if (!f)
		return tr_err_set(err, TR_E_NOMEM, "live status: out of memory");
	memcpy(f->image.magic, TR_LIVE_MAGIC, sizeof(f->image.magic));
	f->image.version = TR_LIVE_VERSION;
	f->image.bytes = sizeof(f->image);
	if (!tr_live_dirs(dirs, uid)) {
		free(f);
		return tr_err_set(err, TR_E_LIMIT, "TIERRA_LIVE_DIR is longer than %d bytes",
			TR_LIVE_PATH_BYTES - 1);
	}
	name_file(f->path, dirs[0], uid, (uint64_t)getpid());
	if (is_in_use(f->path)) {
		rc = tr_err_set(err, TR_E_BUSY,
			"live status: %s is that of another engine of this process", f->path);
		free(f);
		return rc;
	}
	f->fd = -1;
	rc = make_file(f, err);
	if (rc) {
		if (f->fd >= 0)
			close(f->fd);
		free(f);
		return rc;
	}
	*out = f;
	return 0;
}

void tr_live_file_close(struct tr_live_file *f)
{
	if (!f)
		return;
	unlink(f->path);
	close(f->fd);
	free(f);
}
