/*
 * profile.h - how often each expert was used in earlier runs: the activation profile.
 *
 * Comes from the statistics of a run (tierra-stats JSON) or from a recorded trace. Only the shape of
 * the model must be the same: another quantisation of it routes nearly alike.
 */
#ifndef TR_ENGINE_PROFILE_H
#define TR_ENGINE_PROFILE_H

#include "model/catalog.h"

struct tr_profile {
	float *rate; /* [n_unit] expected uses a token; n_used in sum over a layer */
	bool of_other_weights; /* the fingerprint is not that of the model; worth a warning */
};

/* Fails with what does not fit: format, version, or the shape by name, value and limit. */
int tr_profile_open(struct tr_profile *profile, const char *path, const struct tr_model *model,
	const struct tr_catalog *catalog, struct tr_err *err);
void tr_profile_close(struct tr_profile *profile);

/* hot[n_unit] becomes the *n_hot units with a rate above 0, by rate x worth, highest first (lower id on
 * ties). */
int tr_profile_sort(uint32_t *hot, uint32_t *n_hot, const struct tr_profile *profile,
	const float *worth, size_t n_unit, struct tr_err *err);

#endif
