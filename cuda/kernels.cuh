/* kernels.cuh - all kernels, and what an operation launches: tr_launch_OPERATION. */
#ifndef TR_CUDA_KERNELS_CUH
#define TR_CUDA_KERNELS_CUH

#include "cuda/k_attend.cuh"
#include "cuda/k_attend_prefill.cuh"
#include "cuda/k_expert.cuh"
#include "cuda/k_matmul.cuh"
#include "cuda/k_mma.cuh"
#include "cuda/k_norm.cuh"
#include "cuda/k_quantise.cuh"
#include "cuda/k_rope.cuh"
#include "cuda/k_router.cuh"

#endif
