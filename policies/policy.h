/*
 * policy.h - the order in which a cache gives up its entries.
 *
 * A policy sees dense ids in [0, n_id), what a miss of each costs, and hints. It never sees bytes,
 * files, locks or devices. It keeps an order; the cache acts on it. State is flat arrays indexed by
 * id, allocated in init; nothing is allocated afterwards. Every call is O(1) or O(log n) amortised.
 *
 * The cache calls under its own lock, in this pattern: for a set of ids used together, first hit()
 * for those resident (ascending), then for each id that is not (ascending): miss(), victim() if no
 * slot is free, evict() of the victim, insert(). When no victim can be had, or the id is served
 * from elsewhere, miss() stands alone. A use is reported once: a miss whose slot comes later gives
 * an insert() without another miss(). remove() is for entries that leave for another reason (a
 * failed load). Resident ids of policy and cache agree at all times.
 */
#ifndef TR_POLICIES_POLICY_H
#define TR_POLICIES_POLICY_H

#include "base/err.h"

#include <stddef.h>

#define TR_POLICY_ABI 1
#define TR_NO_ID UINT32_MAX

/* The symbol of a policy in a shared object: const struct tr_policy_ops tr_policy_plugin. */
#define TR_POLICY_PLUGIN "tr_policy_plugin"

struct tr_policy_cfg {
	uint32_t n_id;
	uint32_t n_slot;	/* capacity in entries */
	uint32_t n_layer_id;	/* ids of one layer, in a row from 0; 0: layers are not known */
	const float *miss_cost; /* [n_id] relative cost of a miss, NULL: all 1; outlives the policy */
	uint64_t seed;
	const uint32_t *pins;	/* ids worth keeping, hottest first; may be NULL; outlive the policy */
	uint32_t n_pin;
	/* Every use to come that is no scan, in order; NULL outside of replays. Read in init. */
	const uint32_t *future;
	uint64_t n_future;
};

enum {
	/* hit, miss: the use is part of a scan (prefill); it says little about what decoding will
	 * use and must not disturb the order. insert: the entry should be the next to go. */
	TR_POLICY_SCAN = 1,
	/* insert: the entry came in by prediction, not yet used. */
	TR_POLICY_PREFETCH = 2,
};

/* True when the cache can let the entry go now (not pinned, not loading). */
typedef bool tr_policy_evictable_fn(void *ctx, uint32_t id);

struct tr_policy_ops {
	uint32_t abi;	     /* TR_POLICY_ABI */
	const char *name;
	const char *summary; /* one line for `tierra policies` */
	const char *options; /* "key=default meaning; key=default meaning", or "" */

	/* True: nothing is kept between uses; the cache drops an entry when its last pin goes and
	 * reads through the page cache. All members below are then NULL. */
	bool uncached;

	/* Required. Allocates *state for cfg. option() below is called between init and first use. */
	int (*init)(void **state, const struct tr_policy_cfg *cfg, struct tr_err *err);
	void (*fini)(void *state);
	/* Optional: one option from the command line; refuses unknown keys by returning
	 * TR_E_NOENT and bad values with err filled. */
	int (*option)(void *state, const char *key, const char *value, struct tr_err *err);

	/* Required. id is resident and was used. flags: 0 or TR_POLICY_SCAN. */
	void (*hit)(void *state, uint32_t id, unsigned flags);
	/* Optional. id is not resident and was used; insert may or may not follow. */
	void (*miss)(void *state, uint32_t id, unsigned flags);
	/* Required. id becomes resident. flags: TR_POLICY_*. */
	void (*insert)(void *state, uint32_t id, unsigned flags);
	/* Required. The entry to give up so that incoming can enter (TR_NO_ID: so that the cache
	 * shrinks by one): the first in the policy's order that ok() accepts; TR_NO_ID when a full
	 * round is refused. Changes no order: what a search moves (a hand, reference bits) moves in
	 * evict(). */
	uint32_t (*victim)(void *state, uint32_t incoming, tr_policy_evictable_fn *ok, void *ctx);
	/* Required. The victim leaves (may be remembered as a ghost). */
	void (*evict)(void *state, uint32_t id);
	/* Required. id leaves without being a victim; no trace of it stays. */
	void (*remove)(void *state, uint32_t id);
	/* Optional. id is expected with probability p within `ahead` layers' time. */
	void (*hint)(void *state, uint32_t id, float p, uint32_t ahead);
	/* Optional. A token ends: time for decay. */
	void (*tick)(void *state);
	/* Optional. Walks the invariants; false when one is broken. For tests. */
	bool (*check)(const void *state);
};

/* --- registry --------------------------------------------------------------------------------- */

size_t tr_policy_count(void);
const struct tr_policy_ops *tr_policy_at(size_t i);
const struct tr_policy_ops *tr_policy_by_name(const char *name);

/* A policy with its state, as the cache holds it. */
struct tr_policy {
	const struct tr_policy_ops *ops;
	void *state;  /* NULL when uncached */
	void *plugin; /* the shared object that ops lies in; NULL: the registry */
};

/* spec is "NAME[,option=value...]", or with a slash "PATH.so[,option=value...]": the policy that a
 * shared object exports as TR_POLICY_PLUGIN. Unknown names and options fail with what there is. */
int tr_policy_open(struct tr_policy *policy, const char *spec, const struct tr_policy_cfg *cfg,
	struct tr_err *err);
void tr_policy_close(struct tr_policy *policy);

/* The spec names a policy that there is, or a path; neither its options nor the object are looked at. */
int tr_policy_known(const char *spec, struct tr_err *err);

/* Loads a policy from the shared object at path; *plugin is closed with tr_policy_unload when ops
 * are no longer used. A wrong ABI number and a missing member are refused by name. */
int tr_policy_load(const struct tr_policy_ops **ops, void **plugin, const char *path,
	struct tr_err *err);
void tr_policy_unload(void *plugin);

#endif
