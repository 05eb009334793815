/*
 * file.c - opening files for direct reads, and the aligned windows that those need.
 *
 * Direct I/O is believed only after a trial read: some file systems accept the flag and then refuse
 * every transfer. Alignment comes from the kernel (statx, Linux 6.1), else 4096 is assumed.
 */
#include "io/io.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_ALIGN 4096

/* The kernel's numbers: headers older than Linux 6.1 do not name the two fields, but struct statx
 * has had its 256 bytes since it exists. */
#define ABI_STATX_DIOALIGN 0x2000u
#define ABI_OFF_DIO_MEM	   0x98
#define ABI_OFF_DIO_OFFSET 0x9c
_Static_assert(sizeof(struct statx) == 0x100, "struct statx has the kernel's size");
#ifdef STATX_DIOALIGN
_Static_assert(STATX_DIOALIGN == ABI_STATX_DIOALIGN, "the kernel's number");
_Static_assert(offsetof(struct statx, stx_dio_mem_align) == ABI_OFF_DIO_MEM, "the kernel's offset");
_Static_assert(
	offsetof(struct statx, stx_dio_offset_align) == ABI_OFF_DIO_OFFSET, "the kernel's offset");
#endif

static bool is_pow2(uint32_t x)
{
	return x && !(x & (x - 1));
}

/* False when the kernel says that the file has no direct I/O. */
static bool ask_align(int fd, uint32_t *mem, uint32_t *off)
{
	struct statx stx;

	*mem = *off = DEFAULT_ALIGN;
	if (statx(fd, "", AT_EMPTY_PATH, ABI_STATX_DIOALIGN, &stx) ||
		!(stx.stx_mask & ABI_STATX_DIOALIGN))
		return true;
	memcpy(mem, (const char *)&stx + ABI_OFF_DIO_MEM, sizeof(*mem));
	memcpy(off, (const char *)&stx + ABI_OFF_DIO_OFFSET, sizeof(*off));
	if (!*mem || !*off)
		return false;
	if (!is_pow2(*mem) || !is_pow2(*off))
		*mem = *off = DEFAULT_ALIGN;
	/* Finer is allowed, but slower: a virtual disk that takes 512 gave whole experts at 3.6 GB/s into
	 * whole pages of memory and at 2.9 into parts of them. */
	*mem = TR_MAX(*mem, (uint32_t)DEFAULT_ALIGN);
	*off = TR_MAX(*off, (uint32_t)DEFAULT_ALIGN);
	return true;
}

static bool trial_read(int fd, uint32_t mem, uint32_t off)
{
	size_t align = TR_MAX((size_t)mem, sizeof(void *));
	void *buf = NULL;
	bool ok;

	if (posix_memalign(&buf, align, TR_ALIGN_UP((size_t)off, align)))
		return true;
	ok = pread(fd, buf, off, 0) >= 0 || errno != EINVAL;
	free(buf);
	return ok;
}

/* A descriptor with O_DIRECT in force, or -1 with the reason. */
static int open_direct(struct tr_file *file, const char **why)
{
	int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_DIRECT);

	if (fd < 0) {
		*why = errno == EINVAL ? "the file system does not take the flag" : strerror(errno);
		return -1;
	}
	if (ask_align(fd, &file->align_mem, &file->align_off) &&
		trial_read(fd, file->align_mem, file->align_off))
		return fd;
	*why = "the file system refuses direct transfers";
	close(fd);
	return -1;
}

static int measure(struct tr_file *file, struct tr_err *err)
{
	struct stat st;
	off_t end;

	if (fstat(file->fd, &st))
		return tr_err_sys(err, errno, "cannot look at '%s'", file->path);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return tr_err_set(err, TR_E_UNSUPPORTED,
			"'%s' is neither a file nor a block device", file->path);
	end = S_ISREG(st.st_mode) ? st.st_size : lseek(file->fd, 0, SEEK_END);
	if (end < 0)
		return tr_err_sys(err, errno, "cannot find the size of '%s'", file->path);
	file->bytes = (uint64_t)end;
	return 0;
}

int tr_file_open(struct tr_file *file, const char *path, bool want_direct, struct tr_err *err)
{
	const char *why = NULL;
	int rc;

	*file = (struct tr_file){ .fd = -1, .reg_idx = -1 };
	file->path = strdup(path);
	if (!file->path)
		return tr_err_set(err, TR_E_NOMEM, "out of memory for the path '%s'", path);
	file->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (file->fd < 0) {
		rc = tr_err_sys(err, errno, "cannot open '%s'", path);
		goto fail;
	}
	rc = measure(file, err);
	if (rc)
		goto fail;
	if (want_direct) {
		int fd = open_direct(file, &why);

		if (fd >= 0) {
			close(file->fd);
			file->fd = fd;
			file->direct = true;
			return 0;
		}
		tr_warn("'%s': no direct I/O (%s); reads go through the page cache", path, why);
	}
	file->align_mem = file->align_off = 1;
	return 0;
fail:
	tr_file_close(file);
	return rc;
}

void tr_file_close(struct tr_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	free(file->path);
	*file = (struct tr_file){ .fd = -1, .reg_idx = -1 };
}

void tr_file_window(const struct tr_file *file, uint64_t off, uint64_t len, uint64_t *win_off,
	uint64_t *win_len)
{
	*win_off = TR_ALIGN_DOWN(off, file->align_off);
	*win_len = TR_ALIGN_UP(off + len, file->align_off) - *win_off;
}
