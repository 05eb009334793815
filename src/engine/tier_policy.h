/*
 * tier_policy.h - one eviction policy a tier: "dram=foresight,vram=lfuda".
 *
 *	NAME[,option=value...]				the DRAM tier
 *	TIER=NAME[,option=value...][,TIER=NAME...]	the tiers named
 *
 * Options have commas and '=' themselves, so a piece that begins with the name of a tier and '=' begins
 * the next tier, and every other piece belongs to the tier before it.
 */
#ifndef TR_ENGINE_TIER_POLICY_H
#define TR_ENGINE_TIER_POLICY_H

#include "base/err.h"

enum tr_policy_tier { TR_POLICY_DRAM, TR_POLICY_VRAM, TR_N_POLICY_TIER };

struct tr_tier_policies {
	char *spec[TR_N_POLICY_TIER]; /* NULL: not given */
};

/* Splits; what the policies are is not looked at. text may be NULL. */
int tr_tier_policies_parse(struct tr_tier_policies *policies, const char *text, struct tr_err *err);
void tr_tier_policies_free(struct tr_tier_policies *policies);

#endif
