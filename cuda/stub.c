/* stub.c - a build without nvcc: no GPU, and everything else as it is. */
#include "cuda/backend.h"

unsigned tr_device_count(const char **why)
{
	if (why)
		*why = "this build has no device code";
	return 0;
}

int tr_cuda_open(struct tr_device **dev, unsigned idx, struct tr_err *err)
{
	*dev = NULL;
	return tr_err_set(err, TR_E_UNSUPPORTED,
		"device cuda:%u: this build has no device code (configure with a CUDA Toolkit)", idx);
}
