/* portable.h - what lets a small function be compiled for the CPU and, by nvcc, for a GPU as well. */
#ifndef TR_BASE_PORTABLE_H
#define TR_BASE_PORTABLE_H

#ifdef __CUDACC__
#define TR_FN static __host__ __device__ __forceinline__
#else
#define TR_FN static inline
#endif

/* One fma, rounded once. */
#ifdef __CUDA_ARCH__
#define tr_fmaf(a, b, c) __fmaf_rn(a, b, c)
#else
#define tr_fmaf(a, b, c) __builtin_fmaf(a, b, c)
#endif

#endif
