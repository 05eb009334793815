/*
 * device.h - the GPU boundary in plain C. No CUDA type appears here, so the host side compiles
 * without nvcc; cuda/stub.c answers when there is no device code in the build.
 */
#ifndef TR_CUDA_DEVICE_H
#define TR_CUDA_DEVICE_H

#include "base/err.h"

/* Devices that can be used; 0 without CUDA. why (may be NULL) says why there is none. */
unsigned tr_device_count(const char **why);

#endif
