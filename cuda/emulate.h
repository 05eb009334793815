/*
 * emulate.h - kernels on the CPU, for tests: each thread of a block is a fiber.
 *
 * Blocks run one after another. Within a block a fiber runs until it meets a barrier or a shuffle;
 * a warp goes on when all its threads have come to the same one, a block likewise. So indices,
 * barriers and the order of every sum are those of the source, and a thread that misses a barrier is
 * caught. What it cannot show: how the GPU's memory and compiler behave.
 */
#ifndef TR_CUDA_EMULATE_H
#define TR_CUDA_EMULATE_H

#include "compute/kernels.h"

#include <math.h>

typedef void tr_emu_kernel(const void *args);

struct tr_emu_self {
	unsigned thread, block_x, block_y, n_thread;
};

extern _Thread_local struct tr_emu_self tr_emu_self;

/* The order in which fibers of a block take their turns: a missing barrier shows as another result. */
enum tr_emu_order { TR_EMU_ASCENDING, TR_EMU_DESCENDING };
extern _Thread_local enum tr_emu_order tr_emu_order;

void tr_emu_launch(tr_emu_kernel *kernel, const void *args, unsigned n_thread, unsigned n_x,
	unsigned n_y);
void tr_emu_sync(void);
uint32_t tr_emu_shuffle(uint32_t v, unsigned src); /* src: thread of the warp */
void tr_emu_mma_s8(int c[4], const uint32_t a[4], const uint32_t b[2]);
int tr_emu_any(int v);

#define TR_DEV static inline __attribute__((always_inline))
#define TR_SHARED static _Thread_local
#define TR_TABLE static const
#define TR_ALIGN16 _Alignas(16)
#define TR_UNROLL
#define TR_UNROLL_2

#define TR_KERNEL(name, args, threads)                                                             \
	static void name(struct args a);                                                           \
	static void name##_entry(const void *p)                                                    \
	{                                                                                          \
		name(*(const struct args *)p);                                                     \
	}                                                                                          \
	static void name(struct args a)
#define TR_LAUNCH(name, threads, nx, ny, stream, args)                                             \
	((void)(stream), tr_emu_launch(name##_entry, args, threads, (unsigned)(nx), (unsigned)(ny)))

typedef void *tr_launch_stream;

#define tr_thread tr_emu_self.thread
#define tr_block_x tr_emu_self.block_x
#define tr_block_y tr_emu_self.block_y
#define tr_n_thread tr_emu_self.n_thread
#define tr_sync() tr_emu_sync()
#define tr_any(x) tr_emu_any(x)

union tr_emu_bits {
	float f;
	uint32_t u;
};

static inline float tr_emu_shuffle_f(float v, unsigned src)
{
	union tr_emu_bits b = { .f = v };

	b.u = tr_emu_shuffle(b.u, src);
	return b.f;
}

/* Past the end of its 16 a thread gets its own value, as on the GPU. */
static inline float tr_shfl_down16(float v, unsigned d)
{
	unsigned lane = tr_thread % 32, to = lane % 16 + d;

	return tr_emu_shuffle_f(v, to < 16 ? lane + d : lane);
}

#define tr_shfl_xor(v, m) tr_emu_shuffle_f(v, tr_thread % 32 ^ (m))
#define tr_shfl_xor_u32(v, m) tr_emu_shuffle(v, tr_thread % 32 ^ (m))
#define tr_shfl_xor_int(v, m) ((int)tr_emu_shuffle((uint32_t)(v), tr_thread % 32 ^ (m)))

static inline int tr_dp4a(uint32_t a, uint32_t b, int c)
{
	for (int i = 0; i < 32; i += 8)
		c += (int8_t)(a >> i) * (int8_t)(b >> i);
	return c;
}

#define tr_mma_s8(c, a, b) tr_emu_mma_s8(c, a, b)

static inline uint32_t tr_byte_perm(uint32_t x, uint32_t y, uint32_t s)
{
	uint64_t from = x | (uint64_t)y << 32;
	uint32_t out = 0;

	for (int i = 0; i < 4; i++)
		out |= (uint32_t)(from >> 8 * (s >> 4 * i & 7) & 0xff) << 8 * i;
	return out;
}

#define tr_half_to_float(h) tr_f16_to_f32(h)
#define tr_float_to_half(f) tr_f32_to_f16(f)
#define tr_round_int(f) ((int)lrintf(f))

#endif
