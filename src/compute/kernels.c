/*
 * kernels.c - which instruction sets this build and this processor have, and the best of them.
 *
 * The processor is asked each time; no state.
 */
#include "compute/cpu/cpu.h"
#include "compute/exp.h"

#include <stdio.h>
#include <string.h>

#if defined(HAVE_AVX2) || defined(HAVE_AVX512)
#include <cpuid.h>

/* __builtin_cpu_supports looks at the state that the system saves, too; not every compiler knows
 * "f16c" as a name for it. */
static bool has_avx2(void)
{
	unsigned a, b, c, d;

	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
	       __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

#ifdef HAVE_AVX512
static bool has_avx512(void)
{
	return has_avx2() && __builtin_cpu_supports("avx512f") &&
	       __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
	       __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}
#endif

static const char *const isa_name[TR_N_ISA] = {
	[TR_ISA_SCALAR] = "scalar",
	[TR_ISA_AVX2] = "avx2",
	[TR_ISA_AVX512] = "avx512",
};

const struct tr_kernels *tr_kernels_get(enum tr_isa isa)
{
	switch (isa) {
	case TR_ISA_SCALAR:
		return &tr_kernels_scalar;
#ifdef HAVE_AVX2
	case TR_ISA_AVX2:
		return has_avx2() ? &tr_kernels_avx2 : NULL;
#endif
#ifdef HAVE_AVX512
	case TR_ISA_AVX512:
		return has_avx512() ? &tr_kernels_avx512 : NULL;
#endif
	default:
		return NULL;
	}
}

const struct tr_kernels *tr_kernels_best(void)
{
	for (int isa = TR_N_ISA - 1; isa > TR_ISA_SCALAR; isa--) {
		const struct tr_kernels *k = tr_kernels_get((enum tr_isa)isa);

		if (k)
			return k;
	}
	return &tr_kernels_scalar;
}

static void list_available(char *out, size_t out_bytes)
{
	size_t at = 0;

	for (int isa = 0; isa < TR_N_ISA && at < out_bytes; isa++)
		if (tr_kernels_get((enum tr_isa)isa))
			at += (size_t)snprintf(out + at, out_bytes - at, "%s%s", at ? ", " : "",
				isa_name[isa]);
}

int tr_kernels_by_name(const struct tr_kernels **out, const char *name, struct tr_err *err)
{
	char list[64];

	if (!name || !strcmp(name, "auto")) {
		*out = tr_kernels_best();
		return 0;
	}
	list_available(list, sizeof(list));
	for (int isa = 0; isa < TR_N_ISA; isa++) {
		if (strcmp(name, isa_name[isa]))
			continue;
		*out = tr_kernels_get((enum tr_isa)isa);
		if (*out)
			return 0;
		return tr_err_set(err, TR_E_UNSUPPORTED,
			"cpu kernels '%s': this processor or build lacks them; available: auto, %s",
			name, list);
	}
	return tr_err_set(err, TR_E_INVALID, "cpu kernels '%s' are unknown; available: auto, %s",
		name, list);
}

float tr_expf(float x)
{
	return tr_exp_canonical(x);
}
