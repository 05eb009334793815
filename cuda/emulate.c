#include "cuda/emulate.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define MAX_THREAD 1024
#define STACK_BYTES (64u << 10)
#define WARP 32
#define MAX_OFFER 6 /* words: the operands of mma */

enum fiber_state { FIBER_READY, FIBER_AT_WARP, FIBER_AT_BLOCK, FIBER_DONE };

struct fiber {
	ucontext_t context;
	enum fiber_state state;
	unsigned n_shuffle;
	uint32_t offer[2][MAX_OFFER]; /* of the last two shuffles */
};

struct block {
	tr_emu_kernel *kernel;
	const void *args;
	unsigned n;
	unsigned running;
	ucontext_t scheduler;
	uint8_t *stacks;
	struct fiber fibers[MAX_THREAD];
};

_Thread_local struct tr_emu_self tr_emu_self;
_Thread_local enum tr_emu_order tr_emu_order;
static _Thread_local struct block *block;

static struct fiber *self(void)
{
	return &block->fibers[block->running];
}

static void stop_at(enum fiber_state state)
{
	struct fiber *f = self();

	f->state = state;
	swapcontext(&f->context, &block->scheduler);
}

void tr_emu_sync(void)
{
	stop_at(FIBER_AT_BLOCK);
}

/* Offers n words and waits for the warp; returns which offer of each thread they are. Two shuffles on,
 * when they are written again, all have read them. */
static unsigned offer(const uint32_t *v, unsigned n)
{
	unsigned at = self()->n_shuffle++ % 2;

	memcpy(self()->offer[at], v, n * sizeof(*v));
	stop_at(FIBER_AT_WARP);
	return at;
}

/* What a thread of the warp offered. */
static const uint32_t *offered(unsigned at, unsigned thread)
{
	return block->fibers[block->running / WARP * WARP + thread].offer[at];
}

uint32_t tr_emu_shuffle(uint32_t v, unsigned src)
{
	unsigned at = offer(&v, 1);

	return offered(at, src)[0];
}

int tr_emu_any(int v)
{
	uint32_t mine = v != 0;
	unsigned at = offer(&mine, 1), i;
	int got = 0;

	for (i = 0; i < WARP; i++)
		got |= (int)offered(at, i)[0];
	return got;
}

/* The sum of 32 products of a row (0: g, 1: g + 8) with a column. */
static int mma_sum(unsigned at, unsigned g, unsigned row, unsigned column)
{
	unsigned l, half;
	int sum = 0;

	for (l = 0; l < 4; l++)
		for (half = 0; half < 2; half++)
			sum = tr_dp4a(offered(at, 4 * g + l)[row + 2 * half],
				offered(at, 4 * column + l)[4 + half], sum);
	return sum;
}

void tr_emu_mma_s8(int c[4], const uint32_t a[4], const uint32_t b[2])
{
	uint32_t mine[MAX_OFFER] = { a[0], a[1], a[2], a[3], b[0], b[1] };
	unsigned at = offer(mine, MAX_OFFER), lane = block->running % WARP, i;

	for (i = 0; i < 4; i++)
		c[i] += mma_sum(at, lane / 4, i / 2, 2 * (lane % 4) + i % 2);
}

static void fiber_main(void)
{
	block->kernel(block->args);
	self()->state = FIBER_DONE;
	/* uc_link goes back to the scheduler */
}

/* On its own, since getcontext returns twice as far as the compiler knows. */
static void __attribute__((noinline)) start_fiber(struct fiber *f, uint8_t *stack)
{
	getcontext(&f->context);
	f->context.uc_stack.ss_sp = stack;
	f->context.uc_stack.ss_size = STACK_BYTES;
	f->context.uc_link = &block->scheduler;
	makecontext(&f->context, fiber_main, 0);
	f->state = FIBER_READY;
	f->n_shuffle = 0;
}

static void start_fibers(void)
{
	for (unsigned i = 0; i < block->n; i++)
		start_fiber(&block->fibers[i], block->stacks + (size_t)i * STACK_BYTES);
}

static void run_ready(void)
{
	unsigned i;

	for (i = 0; i < block->n; i++) {
		unsigned at = tr_emu_order == TR_EMU_DESCENDING ? block->n - 1 - i : i;

		if (block->fibers[at].state != FIBER_READY)
			continue;
		block->running = at;
		tr_emu_self.thread = at;
		swapcontext(&block->scheduler, &block->fibers[at].context);
	}
}

/* Lets fibers [begin, end) go on when all of them stand at state. */
static bool release(unsigned begin, unsigned end, enum fiber_state state)
{
	unsigned i;

	for (i = begin; i < end; i++)
		if (block->fibers[i].state != state)
			return false;
	for (i = begin; i < end; i++)
		block->fibers[i].state = FIBER_READY;
	return true;
}

static bool all_done(void)
{
	unsigned i;

	for (i = 0; i < block->n; i++)
		if (block->fibers[i].state != FIBER_DONE)
			return false;
	return true;
}

static void run_block(void)
{
	unsigned warp;
	bool moved;

	start_fibers();
	for (;;) {
		run_ready();
		if (all_done())
			return;
		moved = false;
		for (warp = 0; warp < block->n; warp += WARP)
			moved |= release(warp, warp + WARP, FIBER_AT_WARP);
		if (!moved)
			moved = release(0, block->n, FIBER_AT_BLOCK);
		/* A thread has left, or waits elsewhere than its neighbours. */
		tr_assert(moved);
	}
}

void tr_emu_launch(tr_emu_kernel *kernel, const void *args, unsigned n_thread, unsigned n_x,
	unsigned n_y)
{
	unsigned x, y;

	tr_assert(n_thread % WARP == 0 && n_thread <= MAX_THREAD && n_x && n_y && n_y < 65536);
	block = tr_alloc(1, sizeof(*block));
	tr_assert(block);
	block->stacks = tr_alloc(n_thread, STACK_BYTES);
	tr_assert(block->stacks);
	block->kernel = kernel;
	block->args = args;
	block->n = n_thread;
	tr_emu_self.n_thread = n_thread;
	for (y = 0; y < n_y; y++)
		for (x = 0; x < n_x; x++) {
			tr_emu_self.block_x = x;
			tr_emu_self.block_y = y;
			run_block();
		}
	free(block->stacks);
	free(block);
	block = NULL;
}
