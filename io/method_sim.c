/*
 * method_sim.c - the scripted device of the tests; method_sim.h says how it behaves.
 *
 * The state is the test's struct tr_io_sim, so that it can be looked at after io is closed. One
 * mutex of TR_RANK_IO_METHOD; the clock is atomic, since io reads it under its own lock.
 */
#include "io/method_sim.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct tr_io_sim_op {
	struct tr_io_piece *piece;
	uint64_t end_ns;
	int64_t res;
};

static uint64_t sim_now(void *ctx)
{
	struct tr_io_sim *sim = ctx;

	return atomic_load(&sim->now_ns);
}

static void sim_sleep(void *ctx, uint64_t ns)
{
	struct tr_io_sim *sim = ctx;

	if (ns > sim_now(sim))
		atomic_store(&sim->now_ns, ns);
}

void tr_io_sim_init(struct tr_io_sim *sim)
{
	sim->clock = (struct tr_clock){ .now_ns = sim_now, .ctx = sim, .sleep_until = sim_sleep };
	atomic_init(&sim->now_ns, 1);
	tr_mutex_init(&sim->lock, TR_RANK_IO_METHOD);
}

void tr_io_sim_fini(struct tr_io_sim *sim)
{
	tr_mutex_fini(&sim->lock);
}

void tr_io_sim_advance(struct tr_io_sim *sim, uint64_t ns)
{
	atomic_fetch_add(&sim->now_ns, ns);
}

void tr_io_sim_pattern(void *ctx, const struct tr_file *file, uint64_t off, void *buf, size_t len)
{
	unsigned char *out = buf;

	(void)ctx;
	(void)file;
	for (size_t i = 0; i < len; i++) {
		uint64_t word = (off + i) / 8 * 0x9e3779b97f4a7c15u;

		word ^= word >> 29;
		out[i] = (unsigned char)(word >> (off + i) % 8 * 8);
	}
}

static int sim_open(void **state, const struct tr_io_cfg *cfg, struct tr_err *err)
{
	struct tr_io_sim *sim = cfg->method_arg;

	if (!sim)
		return tr_err_set(
			err, TR_E_INVALID, "I/O method sim is for tests: it has no script");
	sim->ops = tr_calloc(cfg->depth, sizeof(*sim->ops));
	if (!sim->ops)
		return tr_err_set(err, TR_E_NOMEM, "out of memory for simulated I/O");
	*state = sim;
	return 0;
}

static void sim_close(void *state)
{
	struct tr_io_sim *sim = state;

	free(sim->ops);
	sim->ops = NULL;
}

static const struct tr_io_sim_rule *take_rule(
	struct tr_io_sim *sim, const struct tr_io_piece *piece)
{
	for (size_t i = 0; i < sim->n_rule; i++) {
		struct tr_io_sim_rule *r = &sim->rule[i];

		if (!r->times || (r->file && r->file != piece->file))
			continue;
		if (r->off != TR_IO_SIM_ANY &&
			(r->off < piece->off || r->off - piece->off >= piece->len))
			continue;
		if (r->times != UINT32_MAX)
			r->times--;
		return r;
	}
	return NULL;
}

static int64_t outcome(const struct tr_io_sim_rule *rule, const struct tr_io_piece *piece)
{
	uint64_t size = piece->file->bytes, n = piece->len;

	if (rule && rule->os_errno)
		return -rule->os_errno;
	if (rule && rule->short_bytes)
		n = TR_MIN(n, rule->short_bytes);
	return (int64_t)(piece->off < size ? TR_MIN(n, size - piece->off) : 0);
}

static uint64_t end_of(struct tr_io_sim *sim, const struct tr_io_sim_rule *rule, int64_t res)
{
	uint64_t start = sim_now(sim) + sim->latency_ns + (rule ? rule->extra_ns : 0);
	uint64_t bytes = res > 0 ? (uint64_t)res : 0;

	start = TR_MAX(start, sim->pipe_free_ns);
	if (sim->bytes_per_s)
		start += (uint64_t)((double)bytes * 1e9 / (double)sim->bytes_per_s);
	sim->pipe_free_ns = start;
	return start;
}

static void note_seen(struct tr_io_sim *sim, const struct tr_io_piece *piece)
{
	size_t i = sim->n_seen++;

	sim->n_inside[piece->prio]++;
	sim->n_inside_max[piece->prio] =
		TR_MAX(sim->n_inside_max[piece->prio], sim->n_inside[piece->prio]);
	if (i < TR_IO_SIM_SEEN)
		sim->seen[i] = (struct tr_io_sim_seen){ .file = piece->file,
			.off = piece->off,
			.len = piece->len,
			.prio = piece->prio,
			.at_ns = sim_now(sim) };
}

static enum tr_io_answer sim_queue(void *state, struct tr_io_piece *piece)
{
	enum tr_io_answer answer = TR_IO_ANSWER_BUSY;
	const struct tr_io_sim_rule *rule;
	struct tr_io_sim *sim = state;
	struct tr_io_sim_op *op;

	tr_mutex_lock(&sim->lock);
	rule = take_rule(sim, piece);
	if (!rule || !rule->busy) {
		op = &sim->ops[sim->n_op++];
		op->piece = piece;
		op->res = outcome(rule, piece);
		op->end_ns = end_of(sim, rule, op->res);
		note_seen(sim, piece);
		answer = TR_IO_ANSWER_QUEUED;
	}
	tr_mutex_unlock(&sim->lock);
	return answer;
}

/* The operation that ends first; the one queued first among equals. */
static struct tr_io_sim_op *first_op(struct tr_io_sim *sim)
{
	struct tr_io_sim_op *first = NULL;

	for (size_t i = 0; i < sim->n_op; i++)
		if (!first || sim->ops[i].end_ns < first->end_ns)
			first = &sim->ops[i];
	return first;
}

static struct tr_io_reaped end_op(struct tr_io_sim *sim, struct tr_io_sim_op *op)
{
	struct tr_io_reaped r = { op->piece, op->res };
	size_t i = (size_t)(op - sim->ops);

	if (op->res > 0)
		(sim->fill ? sim->fill : tr_io_sim_pattern)(sim->fill_ctx, op->piece->file,
			op->piece->off, op->piece->buf, (size_t)op->res);
	sim->n_inside[op->piece->prio]--;
	memmove(op, op + 1, (--sim->n_op - i) * sizeof(*op));
	return r;
}

static size_t sim_reap(void *state, struct tr_io_reaped *out, size_t cap, size_t min)
{
	struct tr_io_sim *sim = state;
	struct tr_io_sim_op *op;
	size_t n = 0;

	tr_mutex_lock(&sim->lock);
	while (n < cap && (op = first_op(sim))) {
		uint64_t now_ns = sim_now(sim);

		if (op->end_ns > now_ns && n >= min)
			break;
		if (op->end_ns > now_ns)
			atomic_store(&sim->now_ns, op->end_ns);
		out[n++] = end_op(sim, op);
	}
	tr_mutex_unlock(&sim->lock);
	return n;
}

const struct tr_io_method tr_io_method_sim = {
	.name = "sim",
	.open = sim_open,
	.close = sim_close,
	.queue = sim_queue,
	.reap = sim_reap,
};
