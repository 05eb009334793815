/*
 * calibrate.c - runs the engine on a model and keeps what its layers took.
 *
 * Two runs, so that layers are met in which all, some and none of the experts have to be read: one
 * with a small cache on tokens of chance; one with a larger cache, half of whose tokens are the
 * same few again and again. Caches are filled before anything counts: memory that is used for the
 * first time has a figure of its own (touch_bytes_per_s). What was measured is by numbers of
 * experts; so it holds for any routing and any size of the cache.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "machine/machine.h"
#include "machine/observe.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define N_TOKEN	   96
#define N_FILL	   64 /* tokens of a prompt that fills the cache, and of the next one */
#define N_WARM	   4  /* tokens of a run that are not counted */
#define N_LEAST	   8
#define N_AGAIN	   4  /* different tokens of the second half */
#define SMALL	   12 /* % of the experts */
#define LARGE	   50
#define DEFAULT_NS 15000000000u

struct run {
	const struct tr_calibrate_opts *o;
	unsigned n_token, large;
	uint64_t ns;
	struct tr_observed seen;
	struct tr_err *err;
	uint64_t rng;
};

static uint32_t draw(struct run *r, size_t n)
{
	r->rng ^= r->rng << 13;
	r->rng ^= r->rng >> 7;
	r->rng ^= r->rng << 17;
	return (uint32_t)(r->rng % n);
}

static int32_t any_token(struct run *r, const struct tr_engine *e)
{
	return (int32_t)draw(r, tr_vocab_size(tr_engine_tokenizer(e)));
}

static bool is_full(const struct tr_engine *e)
{
	struct tr_stats stats;

	tr_engine_stats(e, &stats);
	return stats.tier[0].used_bytes + stats.tier[0].capacity_bytes / 64 >
	       stats.tier[0].capacity_bytes;
}

/* Memory that reads were faster than is still being prepared and registered, by threads that yield
 * to all others: 0.3 s a GB at worst. */
static void settle(const struct tr_engine *e)
{
	struct tr_stats stats;
	uint64_t ns;
	struct timespec pause;

	tr_engine_stats(e, &stats);
	ns = stats.tier[0].used_bytes / 3;
	pause = (struct timespec){ (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) };
	nanosleep(&pause, NULL);
}

/* Prompts until the cache is full, each begins anew: so many tokens of context there are not. */
static int fill(struct run *r, struct tr_engine *e)
{
	uint64_t start = tr_now_ns(&tr_clock_real);
	int32_t ids[N_FILL];
	int rc = 0;

	while (!rc && !is_full(e) && tr_now_ns(&tr_clock_real) - start < r->ns) {
		struct tr_session *s;

		for (size_t i = 0; i < N_FILL; i++)
			ids[i] = any_token(r, e);
		rc = tr_session_new(&s, e, r->err);
		if (rc)
			return rc;
		rc = tr_session_feed(s, ids, N_FILL, r->err);
		tr_session_free(s);
	}
	settle(e);
	return rc;
}

static int decode(struct run *r, const struct tr_engine *e, struct tr_session *s, bool again)
{
	uint64_t start = tr_now_ns(&tr_clock_real);
	int32_t ids[N_AGAIN], id;
	int rc = 0;

	for (size_t i = 0; i < N_AGAIN; i++)
		ids[i] = any_token(r, e);
	for (unsigned i = 0; !rc && i < r->n_token; i++) {
		double position = (double)tr_session_n_past(s);
		const struct tr_token_spans *spans;

		id = again && 2 * i > r->n_token ? ids[i % N_AGAIN] : any_token(r, e);
		rc = tr_session_feed(s, &id, 1, r->err);
		spans = rc ? NULL : tr_engine_token(e, TR_TOKEN_LAST);
		if (spans && i >= N_WARM)
			tr_observe(&r->seen, spans, position);
		if (i >= N_LEAST + N_WARM && tr_now_ns(&tr_clock_real) - start > r->ns)
			break;
	}
	return rc;
}

static int run_once(struct run *r, unsigned percent, bool again)
{
	char dram[16];
	struct tr_engine_opts opts = { .model_path = r->o->model_path,
		.n_ctx = N_FILL + r->n_token,
		.n_thread = r->o->n_thread,
		.dram = dram,
		.timeline = true,
		.progress = r->o->progress,
		.progress_ctx = r->o->progress_ctx };
	struct tr_session *s = NULL;
	struct tr_engine *e;
	int rc;

	snprintf(dram, sizeof(dram), "%u%%", percent);
	rc = tr_engine_open(&e, &opts, r->err);
	if (rc)
		return rc;
	rc = fill(r, e);
	if (!rc)
		rc = tr_session_new(&s, e, r->err);
	if (!rc)
		rc = decode(r, e, s, again);
	tr_session_free(s);
	tr_engine_close(e);
	return rc;
}

/* Sets what the header says, and the larger cache: as far as memory allows. */
static int look(struct run *r, struct tr_machine_run *out)
{
	struct tr_engine_opts opts = { .model_path = r->o->model_path };
	const char *slash = strrchr(opts.model_path, '/');
	struct tr_plan plan;
	int rc = tr_engine_plan(&opts, &plan, r->err);

	if (rc)
		return rc;
	if (!plan.n_unit)
		return tr_err_set(r->err, TR_E_UNSUPPORTED, "'%s': no layer has routed experts",
			opts.model_path);
	snprintf(out->model, sizeof(out->model), "%s", slash ? slash + 1 : opts.model_path);
	out->unit_bytes = (double)plan.expert_bytes / (double)plan.n_unit;
	r->seen.n_used = plan.n_expert_used;
	r->large = LARGE;
	for (size_t i = 0; i < plan.n_tier; i++)
		if (!strcmp(plan.tier[i].name, "dram"))
			r->large = (unsigned)TR_MIN(
				100 * plan.tier[i].capacity_bytes / plan.expert_bytes,
				(uint64_t)LARGE);
	return 0;
}

/* In the place of an older one of the model, or of the oldest. */
static void keep(struct tr_machine *m, const struct tr_machine_run *run)
{
	size_t at = 0;

	while (at < m->n_run && strcmp(m->run[at].model, run->model) != 0)
		at++;
	if (at == m->n_run && at < TR_MAX_MACHINE_RUN)
		m->n_run++;
	at = TR_MIN(at, m->n_run - 1);
	memmove(m->run + 1, m->run, at * sizeof(*m->run));
	m->run[0] = *run;
}

int tr_machine_calibrate(
	struct tr_machine *m, const struct tr_calibrate_opts *opts, struct tr_err *err)
{
	struct tr_calibrate_opts o = *opts;
	struct run r = { .o = &o,
		.n_token = o.n_token ? o.n_token : N_TOKEN,
		.ns = o.ns ? o.ns : DEFAULT_NS,
		.err = err,
		.rng = 88172645463325252u };
	struct tr_machine_run out = { 0 };
	int rc = look(&r, &out);

	r.n_token = TR_MAX(r.n_token, (unsigned)(N_LEAST + N_WARM));
	o.n_thread = o.n_thread ? o.n_thread : m->n_thread;
	if (!rc)
		rc = run_once(&r, TR_MIN(r.large, (unsigned)SMALL), false);
	if (!rc)
		rc = run_once(&r, r.large, true);
	if (!rc)
		rc = tr_observed_run(&r.seen, &out, err);
	if (!rc)
		keep(m, &out);
	tr_observed_fini(&r.seen);
	return rc;
}
