/*
 * gguf.c - a GGUF file on disk, and access to parsed metadata.
 *
 * The file is mapped without read-ahead, so that only pages of the header are ever brought in; once
 * parsed, everything behind the header is unmapped again. A file that another process cuts short
 * while it is open raises SIGBUS, as with any mapping.
 */
#include "model/gguf.h"

#include "base/mem.h"
#include "model/le.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The longest header known (a vocabulary of 200,000 with merges) is 20 MB. */
#define HEADER_MAX_BYTES ((uint64_t)1 << 30)

static int map_header(const char *path, void **map, uint64_t *map_bytes, uint64_t *file_bytes,
	struct tr_err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	int rc = 0;

	if (fd < 0)
		return tr_err_sys(err, errno, "%s", path);
	if (fstat(fd, &st)) {
		rc = tr_err_sys(err, errno, "%s", path);
	} else if (!S_ISREG(st.st_mode)) {
		rc = tr_err_set(err, TR_E_INVALID, "%s: not a regular file", path);
	} else if (!st.st_size) {
		rc = tr_err_set(err, TR_E_FORMAT, "%s: the file is empty", path);
	} else {
		*file_bytes = (uint64_t)st.st_size;
		*map_bytes = TR_MIN(*file_bytes, HEADER_MAX_BYTES);
		*map = mmap(NULL, (size_t)*map_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
		if (*map == MAP_FAILED)
			rc = tr_err_sys(err, errno, "%s: mapping %llu bytes", path,
				(unsigned long long)*map_bytes);
	}
	close(fd);
	return rc;
}

/* Keeps the pages that hold the first keep bytes. */
static void unmap_tail(void *map, uint64_t map_bytes, uint64_t keep)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	keep = TR_ALIGN_UP(keep, page);
	if (keep < map_bytes)
		munmap((uint8_t *)map + keep, (size_t)(map_bytes - keep));
}

/* What a file is taken to have when only its header is there. */
#define WHOLE_BYTES ((uint64_t)1 << 62)

static int open_file(struct tr_gguf **gguf, const char *path, bool whole, struct tr_err *err)
{
	uint64_t map_bytes = 0, file_bytes = 0;
	void *map = NULL;
	int rc;

	*gguf = NULL;
	rc = map_header(path, &map, &map_bytes, &file_bytes, err);
	if (rc)
		return rc;
	madvise(map, (size_t)map_bytes, MADV_RANDOM);
	rc = tr_gguf_parse(gguf, map, (size_t)map_bytes, whole ? file_bytes : WHOLE_BYTES, err);
	if (rc) {
		munmap(map, (size_t)map_bytes);
		tr_err_prefix(err, "%s", path);
		return rc;
	}
	unmap_tail(map, map_bytes, (*gguf)->map_bytes);
	(*gguf)->owns_map = true;
	(*gguf)->file_bytes = file_bytes;
	return 0;
}

int tr_gguf_open(struct tr_gguf **gguf, const char *path, struct tr_err *err)
{
	return open_file(gguf, path, true, err);
}

int tr_gguf_open_header(struct tr_gguf **gguf, const char *path, struct tr_err *err)
{
	return open_file(gguf, path, false, err);
}

void tr_gguf_close(struct tr_gguf *g)
{
	if (!g)
		return;
	for (size_t i = 0; i < g->n_kv; i++)
		free(g->kv[i].key);
	free(g->kv);
	free(g->tensors);
	if (g->owns_map)
		munmap(g->map, g->map_bytes);
	free(g);
}

const struct tr_gguf_kv *tr_gguf_find(const struct tr_gguf *g, const char *key)
{
	for (size_t i = 0; i < g->n_kv; i++)
		if (!strcmp(g->kv[i].key, key))
			return &g->kv[i];
	return NULL;
}

const char *tr_gguf_type_name(enum tr_gguf_type type)
{
	static const char *const names[TR_GGUF_N_TYPE] = {
		[TR_GGUF_U8] = "u8", [TR_GGUF_I8] = "i8", [TR_GGUF_U16] = "u16",
		[TR_GGUF_I16] = "i16", [TR_GGUF_U32] = "u32", [TR_GGUF_I32] = "i32",
		[TR_GGUF_F32] = "f32", [TR_GGUF_BOOL] = "bool", [TR_GGUF_STR] = "str",
		[TR_GGUF_ARR] = "arr", [TR_GGUF_U64] = "u64", [TR_GGUF_I64] = "i64",
		[TR_GGUF_F64] = "f64",
	};

	return (unsigned)type < TR_GGUF_N_TYPE ? names[type] : "?";
}

int tr_gguf_int(const struct tr_gguf_kv *kv, uint64_t i, int64_t *out)
{
	const uint8_t *p = kv->data;

	if (i >= kv->n)
		return TR_E_INVALID;
	switch (kv->elem_type) {
	case TR_GGUF_U8:
	case TR_GGUF_BOOL:
		*out = p[i];
		return 0;
	case TR_GGUF_I8:
		*out = (int8_t)p[i];
		return 0;
	case TR_GGUF_U16:
		*out = tr_le16(p + 2 * i);
		return 0;
	case TR_GGUF_I16:
		*out = (int16_t)tr_le16(p + 2 * i);
		return 0;
	case TR_GGUF_U32:
		*out = tr_le32(p + 4 * i);
		return 0;
	case TR_GGUF_I32:
		*out = (int32_t)tr_le32(p + 4 * i);
		return 0;
	case TR_GGUF_U64:
		if (tr_le64(p + 8 * i) > INT64_MAX)
			return TR_E_INVALID;
		__attribute__((fallthrough));
	case TR_GGUF_I64:
		*out = (int64_t)tr_le64(p + 8 * i);
		return 0;
	default:
		return TR_E_INVALID;
	}
}

int tr_gguf_float(const struct tr_gguf_kv *kv, uint64_t i, double *out)
{
	uint64_t u64;
	uint32_t u32;
	float f;

	if (i >= kv->n)
		return TR_E_INVALID;
	switch (kv->elem_type) {
	case TR_GGUF_F32:
		u32 = tr_le32(kv->data + 4 * i);
		memcpy(&f, &u32, sizeof(f));
		*out = f;
		return 0;
	case TR_GGUF_F64:
		u64 = tr_le64(kv->data + 8 * i);
		memcpy(out, &u64, sizeof(u64));
		return 0;
	default:
		return TR_E_INVALID;
	}
}

struct tr_str tr_gguf_next_str(const uint8_t **cursor)
{
	struct tr_str s = { (const char *)*cursor + 8, (size_t)tr_le64(*cursor) };

	*cursor += 8 + s.n;
	return s;
}
