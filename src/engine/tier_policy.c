#include "engine/tier_policy.h"
#include "base/mem.h"
#include "policies/policy.h"

#include <stdlib.h>
#include <string.h>

static const char *const tier_name[TR_N_POLICY_TIER] = { "dram", "vram" };

/* The tier that the piece begins with, TR_N_POLICY_TIER when none. */
static size_t tier_of(const char *piece)
{
	size_t t = 0, n = strcspn(piece, ",=");

	if (piece[n] != '=')
		return TR_N_POLICY_TIER;
	while (t < TR_N_POLICY_TIER &&
		(strlen(tier_name[t]) != n || memcmp(tier_name[t], piece, n) != 0))
		t++;
	return t;
}

/* key=NAME where NAME is a policy: meant as a tier. A path may have '=' too. */
static bool looks_like_tier(const char *piece, bool first)
{
	size_t n = strcspn(piece, ",="), n_value;
	char name[32];

	if (piece[n] != '=' || memchr(piece, '/', n))
		return false;
	n_value = strcspn(piece + n + 1, ",");
	if (first || n_value >= sizeof(name))
		return first;
	memcpy(name, piece + n + 1, n_value);
	name[n_value] = '\0';
	return tr_policy_by_name(name) != NULL;
}

static int refuse_tier(const char *piece, struct tr_err *err)
{
	return tr_err_set(err, TR_E_INVALID, "--policy: tier '%.*s' is not known; there are dram, vram",
		(int)strcspn(piece, "="), piece);
}

/* The spec of tier t is text[0..n). */
static int take(struct tr_tier_policies *p, size_t t, const char *text, size_t n, struct tr_err *err)
{
	if (p->spec[t])
		return tr_err_set(
			err, TR_E_INVALID, "--policy: %s= is there twice", tier_name[t]);
	if (!n || *text == ',')
		return tr_err_set(
			err, TR_E_INVALID, "--policy: no policy is named for %s", tier_name[t]);
	p->spec[t] = strndup(text, n);
	return p->spec[t] ? 0 : tr_err_set(err, TR_E_NOMEM, "--policy: out of memory");
}

/* The piece behind this one, or the end of the text. */
static const char *next_piece(const char *piece)
{
	piece += strcspn(piece, ",");
	return *piece ? piece + 1 : piece;
}

static int split(struct tr_tier_policies *p, const char *text, struct tr_err *err)
{
	size_t tier = tier_of(text);
	const char *begin = text, *at;
	int rc;

	if (tier < TR_N_POLICY_TIER)
		begin += strlen(tier_name[tier]) + 1;
	else if (looks_like_tier(text, true))
		return refuse_tier(text, err);
	else
		tier = TR_POLICY_DRAM;
	for (at = next_piece(text); *at; at = next_piece(at)) {
		size_t next = tier_of(at);

		if (next == TR_N_POLICY_TIER && looks_like_tier(at, false))
			return refuse_tier(at, err);
		if (next == TR_N_POLICY_TIER)
			continue;
		rc = take(p, tier, begin, at > begin ? (size_t)(at - begin) - 1 : 0, err);
		if (rc)
			return rc;
		tier = next;
		begin = at + strlen(tier_name[tier]) + 1;
	}
	return take(p, tier, begin, strlen(begin), err);
}

int tr_tier_policies_parse(struct tr_tier_policies *p, const char *text, struct tr_err *err)
{
	int rc;

	*p = (struct tr_tier_policies){ 0 };
	rc = text ? split(p, text, err) : 0;
	if (rc)
		tr_tier_policies_free(p);
	return rc;
}

void tr_tier_policies_free(struct tr_tier_policies *p)
{
	for (size_t t = 0; t < TR_N_POLICY_TIER; t++)
		free(p->spec[t]);
	*p = (struct tr_tier_policies){ 0 };
}

int tr_policy_check(const char *text, struct tr_err *err)
{
	struct tr_tier_policies p;
	int rc = tr_tier_policies_parse(&p, text, err);

	for (size_t t = 0; !rc && t < TR_N_POLICY_TIER; t++)
		if (p.spec[t])
			rc = tr_policy_known(p.spec[t], err);
	tr_tier_policies_free(&p);
	return rc;
}
