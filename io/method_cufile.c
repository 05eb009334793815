/*
 * method_cufile.c - GPUDirect Storage: a team of threads that each do one cuFileRead, into memory
 * of a GPU or of the host.
 *
 * libcufile is opened when the method is chosen, so a program built with its header starts without
 * it. Files that are registered have a handle for good; others get one for each read: slow.
 */
#include "io/team.h"

#ifdef HAVE_CUFILE

#include "base/mem.h"

#include <cufile.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>

#define MAX_FILE   1024
#define MAX_MEMORY 256

/* The calls, by name. */
#define CALLS(call)                                                                                \
	call(CUfileError_t, cuFileDriverOpen, (void))                                              \
	call(CUfileError_t, cuFileHandleRegister, (CUfileHandle_t *, CUfileDescr_t *))             \
	call(void, cuFileHandleDeregister, (CUfileHandle_t))                                       \
	call(CUfileError_t, cuFileBufRegister, (const void *, size_t, int))                        \
	call(CUfileError_t, cuFileBufDeregister, (const void *))                                   \
	call(ssize_t, cuFileRead, (CUfileHandle_t, void *, size_t, off_t, off_t))

struct gds {
	void *library;
#define CALL(type, name, args) type(*name) args;
	CALLS(CALL)
#undef CALL
	struct tr_io_team *team;

	/* Written with the io lock held; the team reads handles whose number it was given. */
	CUfileHandle_t handle[MAX_FILE];
	size_t n_file;
	void *memory[MAX_MEMORY];
	size_t n_memory;
};

/* 0, or -errno for what a registration answered. */
static int refusal(CUfileError_t e)
{
	return e.err == CU_FILE_SUCCESS ? 0 : -EIO;
}

static int new_handle(struct gds *g, const struct tr_file *file, CUfileHandle_t *handle)
{
	CUfileDescr_t descr = { .type = CU_FILE_HANDLE_TYPE_OPAQUE_FD, .handle.fd = file->fd };

	return refusal(g->cuFileHandleRegister(handle, &descr));
}

static int64_t read_by(struct gds *g, CUfileHandle_t handle, const struct tr_io_piece *piece)
{
	ssize_t n = g->cuFileRead(handle, piece->buf, piece->len, (off_t)piece->off, 0);

	if (n >= 0)
		return n;
	/* -1 is an error of the system, other numbers are errors of cuFile. */
	return n == -1 && errno ? -errno : -EIO;
}

static int64_t read_piece(void *ctx, const struct tr_io_piece *piece)
{
	struct gds *g = ctx;
	CUfileHandle_t handle;
	int64_t n;

	if (piece->file->reg_idx >= 0)
		return read_by(g, g->handle[piece->file->reg_idx], piece);
	n = new_handle(g, piece->file, &handle);
	if (n)
		return n;
	n = read_by(g, handle, piece);
	g->cuFileHandleDeregister(handle);
	return n;
}

static int load(struct gds *g, struct tr_err *err)
{
	const char *name = "libcufile.so.0";

	g->library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
	if (!g->library)
		return tr_err_set(err, TR_E_UNSUPPORTED,
			"I/O method cufile: %s; --io uring needs no library of NVIDIA", dlerror());
#define CALL(type, call, args)                                                                     \
	*(void **)&g->call = dlsym(g->library, #call);                                             \
	if (!g->call)                                                                              \
		return tr_err_set(err, TR_E_UNSUPPORTED, "I/O method cufile: %s has no %s", name,  \
			#call);
	CALLS(CALL)
#undef CALL
	return 0;
}

static void cufile_close(void *state)
{
	struct gds *g = state;

	if (g->team)
		tr_io_team_close(g->team);
	while (g->n_memory)
		g->cuFileBufDeregister(g->memory[--g->n_memory]);
	while (g->n_file)
		g->cuFileHandleDeregister(g->handle[--g->n_file]);
	/* The driver stays open and the library loaded: others in this process may use them. */
	free(g);
}

static int cufile_open(void **state, const struct tr_io_cfg *cfg, struct tr_err *err)
{
	struct gds *g = tr_calloc(1, sizeof(*g));
	CUfileError_t e;
	int rc;

	*state = NULL;
	if (!g)
		return tr_err_set(err, TR_E_NOMEM, "I/O method cufile: out of memory");
	rc = load(g, err);
	if (!rc) {
		e = g->cuFileDriverOpen();
		if (e.err != CU_FILE_SUCCESS)
			rc = tr_err_set(err, TR_E_UNSUPPORTED,
				"I/O method cufile: the driver of GPUDirect Storage does not open: %s "
				"(cuFile %d, CUDA %d)",
				cufileop_status_error(e.err), (int)e.err, (int)e.cu_err);
	}
	if (!rc)
		rc = tr_io_team_open(&g->team, "cufile", cfg->n_thread, read_piece, g, err);
	if (rc) {
		free(g);
		return rc;
	}
	*state = g;
	return 0;
}

static int cufile_register_mem(void *state, void *base, size_t bytes)
{
	struct gds *g = state;
	int rc = g->n_memory < MAX_MEMORY ? refusal(g->cuFileBufRegister(base, bytes, 0)) : -ENOMEM;

	if (!rc)
		g->memory[g->n_memory++] = base;
	return rc;
}

static int cufile_register_file(void *state, const struct tr_file *file)
{
	struct gds *g = state;
	int rc = g->n_file < MAX_FILE ? new_handle(g, file, &g->handle[g->n_file]) : -ENFILE;

	return rc ? rc : (int)g->n_file++;
}

static enum tr_io_answer cufile_queue(void *state, struct tr_io_piece *piece)
{
	return tr_io_team_queue(((struct gds *)state)->team, piece);
}

static size_t cufile_reap(void *state, struct tr_io_reaped *out, size_t cap, size_t min)
{
	return tr_io_team_reap(((struct gds *)state)->team, out, cap, min);
}

const struct tr_io_method tr_io_method_cufile = {
	.name = "cufile",
	.open = cufile_open,
	.close = cufile_close,
	.register_mem = cufile_register_mem,
	.register_file = cufile_register_file,
	.queue = cufile_queue,
	.reap = cufile_reap,
};

#else

static int no_open(void **state, const struct tr_io_cfg *cfg, struct tr_err *err)
{
	(void)cfg;
	*state = NULL;
	return tr_err_set(err, TR_E_UNSUPPORTED,
		"I/O method cufile: this build has no GPUDirect Storage (configure found no cufile.h); "
		"there are uring, threads, sync");
}

static void no_close(void *state)
{
	(void)state;
}

static enum tr_io_answer no_queue(void *state, struct tr_io_piece *piece)
{
	(void)state;
	(void)piece;
	return TR_IO_ANSWER_BUSY;
}

const struct tr_io_method tr_io_method_cufile = {
	.name = "cufile",
	.open = no_open,
	.close = no_close,
	.queue = no_queue,
};

#endif
