/*
 * none - keep nothing: every use reads its expert again, through the page cache.
 *
 * The baseline that every other policy must beat: whatever stays in memory is the choice of the
 * operating system.
 */
#include "policies/policy.h"

const struct tr_policy_ops tr_policy_none = {
	.abi = TR_POLICY_ABI,
	.name = "none",
	.summary = "no cache: read through the operating system's page cache (baseline)",
	.options = "",
	.uncached = true,
};
