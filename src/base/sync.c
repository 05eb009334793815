#include "base/sync.h"
#include "base/err.h"

/* Bit r is set while this thread holds a lock of rank r. */
static _Thread_local unsigned held_ranks;

void tr_mutex_init(struct tr_mutex *m, enum tr_rank rank)
{
	pthread_mutex_init(&m->m, NULL);
	m->rank = rank;
}

void tr_mutex_fini(struct tr_mutex *m)
{
	pthread_mutex_destroy(&m->m);
}

static void note_lock(const struct tr_mutex *m)
{
#ifndef NDEBUG
	tr_assert(held_ranks >> m->rank == 0);
#endif
	held_ranks |= 1u << m->rank;
}

void tr_mutex_lock(struct tr_mutex *m)
{
	note_lock(m);
	pthread_mutex_lock(&m->m);
}

void tr_mutex_unlock(struct tr_mutex *m)
{
	pthread_mutex_unlock(&m->m);
	held_ranks &= ~(1u << m->rank);
}

void tr_mutex_wait(struct tr_mutex *m, pthread_cond_t *cond)
{
	held_ranks &= ~(1u << m->rank);
	pthread_cond_wait(cond, &m->m);
	note_lock(m);
}
