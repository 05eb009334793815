/*
 * live_file.h - the file that carries a struct tr_live from one process to another.
 *
 * Two images, written in turn: a head (magic, version, size), a running number, the status, and a
 * hash over all that. The writer replaces one of them with one pwrite, ten times a second at most.
 * A reader takes both with one pread and believes the newer one whose hash fits: while one is being
 * written, and be it for long since the writer lost its processor, the other is whole. No memory is
 * shared on purpose: a file that is cut short under a mapping would kill whoever touches it, and
 * here that would be the run itself.
 *
 * The writer holds an exclusive flock as long as it lives. So a reader knows a file that was left
 * behind from one in use, whatever became of the process number since.
 */
#ifndef TR_ENGINE_LIVE_FILE_H
#define TR_ENGINE_LIVE_FILE_H

#include "tierra.h"

/* Changes with the layout or meaning of struct tr_live. */
#define TR_LIVE_VERSION 1
#define TR_LIVE_MAGIC	"TIERRALV"

struct tr_live_image {
	char magic[8];
	uint32_t version;
	uint32_t bytes;	 /* of the image */
	uint64_t number; /* of writes */
	struct tr_live live;
	uint64_t hash; /* XXH3 of all before */
};

#define TR_LIVE_N_IMAGE 2

struct tr_live_file;

/* For this process. TR_E_BUSY when another engine of it has one. */
int tr_live_file_create(struct tr_live_file **file, struct tr_err *err);
/* live->pid is filled in. False when the file system refuses; the reader then sees the last one. */
bool tr_live_file_write(struct tr_live_file *file, struct tr_live *live);
/* Removes it. */
void tr_live_file_close(struct tr_live_file *file);

/* Folders that are looked into, the first also being written to; at most TR_LIVE_MAX_DIR. Returns
 * how many. uid: whose. */
#define TR_LIVE_MAX_DIR	   3
#define TR_LIVE_PATH_BYTES 512
size_t tr_live_dirs(char dirs[TR_LIVE_MAX_DIR][TR_LIVE_PATH_BYTES], unsigned uid);

#endif
