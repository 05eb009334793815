/*
 * sync.h - mutexes with a rank. A thread takes locks in rising rank only; debug builds
 * (without NDEBUG) check it at every lock and stop on a violation.
 */
#ifndef TR_BASE_SYNC_H
#define TR_BASE_SYNC_H

#include <pthread.h>

/* The lock order of the whole program, outermost first. */
enum tr_rank {
	TR_RANK_SESSION = 1,
	TR_RANK_CACHE,
	TR_RANK_IO,
	TR_RANK_IO_METHOD,
	TR_RANK_DEVICE,
	TR_RANK_POOL,
	TR_RANK_LEAF,
};

struct tr_mutex {
	pthread_mutex_t m;
	enum tr_rank rank;
};

void tr_mutex_init(struct tr_mutex *m, enum tr_rank rank);
void tr_mutex_fini(struct tr_mutex *m);
void tr_mutex_lock(struct tr_mutex *m);
void tr_mutex_unlock(struct tr_mutex *m);

/* Waits on cond with m held. */
void tr_mutex_wait(struct tr_mutex *m, pthread_cond_t *cond);

#endif
