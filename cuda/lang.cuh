/*
 * lang.cuh - the part of CUDA that kernels use, under names of ours.
 *
 * Kernels are written in what C and CUDA have in common. nvcc compiles them for the GPU; a C compiler
 * compiles the same lines against emulate.h, which runs the threads of a block in lockstep on the
 * CPU, so that tests can compare their bits with src/compute where there is no GPU.
 *
 * A kernel: TR_KERNEL(name, struct of arguments, threads a block) { body, arguments in `a` }
 * A launch: TR_LAUNCH(name, threads, blocks in x, y, stream, &arguments)
 */
#ifndef TR_CUDA_LANG_CUH
#define TR_CUDA_LANG_CUH

#include "base/mem.h"
#include "compute/exp.h"
#include "cuda/ops.h"
#include "model/quants/blocks.h"

#define TR_LANES 16 /* of a canonical sum: half a warp */
#define TR_WARP 32

#ifdef __CUDACC__

#include <cuda_fp16.h>

#define TR_DEV static __device__ __forceinline__
#define TR_SHARED __shared__
#define TR_TABLE static __device__ const
#define TR_ALIGN16 __align__(16)
#define TR_UNROLL _Pragma("unroll")
#define TR_UNROLL_2 _Pragma("unroll 2")

#define TR_KERNEL(name, args, threads)                                                             \
	__global__ void __launch_bounds__(threads) name(const __grid_constant__ struct args a)
#define TR_LAUNCH(name, threads, nx, ny, stream, args)                                             \
	name<<<dim3((unsigned)(nx), (unsigned)(ny)), threads, 0, stream>>>(*(args))

typedef cudaStream_t tr_launch_stream;

#define tr_thread threadIdx.x
#define tr_block_x blockIdx.x
#define tr_block_y blockIdx.y
#define tr_n_thread blockDim.x
#define tr_sync() __syncthreads()
#define tr_any(x) __any_sync(0xffffffffu, x)
#define tr_shfl_down16(v, d) __shfl_down_sync(0xffffffffu, v, d, 16)
#define tr_shfl_xor(v, m) __shfl_xor_sync(0xffffffffu, v, m)
#define tr_shfl_xor_u32(v, m) __shfl_xor_sync(0xffffffffu, v, m)
#define tr_shfl_xor_int(v, m) __shfl_xor_sync(0xffffffffu, v, m)
#define tr_dp4a(a4, b4, c) __dp4a((int)(a4), (int)(b4), c)
#define tr_byte_perm(x, y, s) __byte_perm(x, y, s)
#define tr_mma_s8(c, a, b) tr_mma_m16n8k32(c, a, b)
#define tr_half_to_float(h) __half2float(__ushort_as_half(h))
#define tr_float_to_half(f) __half_as_ushort(__float2half_rn(f))
#define tr_round_int(f) __float2int_rn(f)

/* c += a . b of a warp, 16 rows of 32 bytes by 8 columns. Thread 4 g + l has, of every 16 bytes, those
 * from 4 l on: in a those of row g, of row g + 8, then of both the next 16; in b those of column g.
 * c: row g with columns 2 l and 2 l + 1, then row g + 8. */
TR_DEV void tr_mma_m16n8k32(int c[4], const uint32_t a[4], const uint32_t b[2])
{
	asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
	    "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
		: "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
		: "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#else
#include "cuda/emulate.h"
#endif

/* Four bytes at an address that is a multiple of 4, of 2, of nothing. */
TR_DEV uint32_t tr_load4(const uint8_t *p)
{
	return *(const uint32_t *)p;
}

TR_DEV uint32_t tr_load4_at2(const uint8_t *p)
{
	const uint16_t *h = (const uint16_t *)p;

	return h[0] | (uint32_t)h[1] << 16;
}

TR_DEV uint32_t tr_load4_at1(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Eight, at a multiple of 8; the first are the low ones. */
TR_DEV uint64_t tr_load8(const uint8_t *p)
{
	return *(const uint64_t *)p;
}

TR_DEV float tr_load_half(const uint8_t *p)
{
	return tr_half_to_float(*(const uint16_t *)p);
}

/* The closing tree of a canonical sum over half a warp; lane 0 has the result. */
TR_DEV float tr_tree16(float lane)
{
	lane += tr_shfl_down16(lane, 8);
	lane += tr_shfl_down16(lane, 4);
	lane += tr_shfl_down16(lane, 2);
	lane += tr_shfl_down16(lane, 1);
	return lane;
}

#endif
