/* p_unfit.c - shared objects that must be refused: one of another ABI (ABI), one whose
 * symbol has another name (NO_SYMBOL); all of them lack a victim. */
#include "policies/policy.h"

#ifndef ABI
#define ABI TR_POLICY_ABI
#endif

#ifdef NO_SYMBOL
#define tr_policy_plugin tr_policy_other
#endif

static int unfit_init(void **state, const struct tr_policy_cfg *cfg, struct tr_err *err)
{
	(void)cfg;
	(void)err;
	*state = NULL;
	return 0;
}

static void unfit_fini(void *state)
{
	(void)state;
}

static void unfit_use(void *state, uint32_t id, unsigned flags)
{
	(void)state;
	(void)id;
	(void)flags;
}

static void unfit_leave(void *state, uint32_t id)
{
	(void)state;
	(void)id;
}

__attribute__((visibility("default"))) extern const struct tr_policy_ops tr_policy_plugin;

const struct tr_policy_ops tr_policy_plugin = {
	.abi = ABI,
	.name = "unfit",
	.summary = "",
	.options = "",
	.init = unfit_init,
	.fini = unfit_fini,
	.hit = unfit_use,
	.insert = unfit_use,
	.evict = unfit_leave,
	.remove = unfit_leave,
};
