#include "replay.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
enum { N_LETTER = 64, MAX_SET = 4096 };

static int by_id(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static bool grow(void **at, uint64_t *cap, uint64_t need, size_t size)
{
	uint64_t n = TR_MAX(*cap * 2, need);
	void *p;

	if (need <= *cap)
		return true;
	p = realloc(*at, n * size);
	if (!p)
		return false;
	*at = p;
	*cap = n;
	return true;
}

bool replay_add(struct replay_trace *t, uint32_t token, uint32_t *ids, uint32_t n)
{
	if (!n || (t->n_set && t->set[t->n_set - 1].token > token))
		return false;
	qsort(ids, n, sizeof(*ids), by_id);
	for (uint32_t i = 1; i < n; i++)
		if (ids[i] == ids[i - 1])
			return false;
	if (!grow((void **)&t->id, &t->cap, t->n + n, sizeof(*t->id)) ||
		!grow((void **)&t->set, &t->cap_set, t->n_set + 1, sizeof(*t->set)))
		return false;
	memcpy(t->id + t->n, ids, n * sizeof(*ids));
	t->set[t->n_set++] = (struct replay_set){ .token = token, .first = t->n, .n = n };
	t->n += n;
	t->n_id = TR_MAX(t->n_id, ids[n - 1] + 1);
	return true;
}

void replay_free(struct replay_trace *t)
{
	free(t->id);
	free(t->set);
	*t = (struct replay_trace){ 0 };
}

/* --- formats ---------------------------------------------------------------------------------- */

/* Layers are numbered when all is read, since the number of experts is not known before. */
struct row {
	uint32_t token, layer, expert;
};

static unsigned long read_rows(FILE *in, struct row **rows, uint64_t *n)
{
	uint64_t cap = 0;
	char line[256];
	struct row r;

	for (unsigned long no = 1; fgets(line, sizeof(line), in); no++) {
		if (no == 1 && !strncmp(line, "token,", 6))
			continue;
		if (sscanf(line, "%u,%u,%u", &r.token, &r.layer, &r.expert) != 3 ||
			!grow((void **)rows, &cap, *n + 1, sizeof(**rows)))
			return no;
		(*rows)[(*n)++] = r;
	}
	return *n ? 0 : 1;
}

unsigned long replay_read_csv(struct replay_trace *t, FILE *in)
{
	uint32_t ids[MAX_SET], n_expert = 0, n_layer = 0, n_in = 0;
	struct row *rows = NULL;
	uint64_t n = 0;
	unsigned long bad = read_rows(in, &rows, &n);

	for (uint64_t i = 0; i < n; i++) {
		n_expert = TR_MAX(n_expert, rows[i].expert + 1);
		n_layer = TR_MAX(n_layer, rows[i].layer + 1);
	}
	for (uint64_t i = 0; i < n && !bad; i++) {
		if (n_in == MAX_SET)
			bad = i + 2;
		else
			ids[n_in++] = rows[i].layer * n_expert + rows[i].expert;
		if (i + 1 < n && rows[i + 1].token == rows[i].token &&
			rows[i + 1].layer == rows[i].layer)
			continue;
		if (!bad && !replay_add(t, rows[i].token, ids, n_in))
			bad = i + 2;
		n_in = 0;
	}
	t->n_id = n_layer * n_expert;
	t->n_layer_id = n_expert;
	free(rows);
	return bad;
}

static bool add_letters(struct replay_trace *t, uint32_t token, uint32_t layer, const char *word)
{
	uint32_t ids[N_LETTER], n = 0;
	const char *letter;

	for (; *word; word++) {
		letter = strchr(LETTERS, *word);
		if (!letter || n == N_LETTER)
			return false;
		ids[n++] = layer * N_LETTER + (uint32_t)(letter - LETTERS);
	}
	return replay_add(t, token, ids, n);
}

unsigned long replay_read_letters(struct replay_trace *t, FILE *in)
{
	uint32_t token = 0, layer, n_layer = 0;
	char line[4096], *word, *rest;

	for (unsigned long no = 1; fgets(line, sizeof(line), in); no++) {
		if (*line == '#')
			continue;
		layer = 0;
		for (word = strtok_r(line, " \n", &rest); word; word = strtok_r(NULL, " \n", &rest))
			if (!add_letters(t, token, layer++, word))
				return no;
		n_layer = TR_MAX(n_layer, layer);
		token++;
	}
	t->n_id = n_layer * N_LETTER;
	t->n_layer_id = N_LETTER;
	return t->n_set ? 0 : 1;
}

/* --- a made trace ----------------------------------------------------------------------------- */

static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static uint32_t draw_rank(uint64_t *state)
{
	uint64_t total = 0, r;
	uint32_t rank = 0;

	for (uint32_t i = 0; i < N_LETTER; i++)
		total += 1000000 / (i + 1);
	for (r = next_random(state) % total; r >= 1000000 / (rank + 1); rank++)
		r -= 1000000 / (rank + 1);
	return rank;
}

bool replay_make_zipf(struct replay_trace *t)
{
	uint32_t ids[6], n, id, i;
	uint64_t state = 42;

	for (uint32_t token = 0; token < 300; token++)
		for (uint32_t layer = 0; layer < 4; layer++) {
			for (n = 0; n < TR_ARRAY_LEN(ids);) {
				id = draw_rank(&state) * 29 + layer * 13 + token / 100 * 10;
				id = layer * N_LETTER + id % N_LETTER;
				for (i = 0; i < n && ids[i] != id; i++)
					;
				if (i == n)
					ids[n++] = id;
			}
			if (!replay_add(t, token, ids, n))
				return false;
		}
	t->n_id = 4 * N_LETTER;
	t->n_layer_id = N_LETTER;
	return true;
}

/* --- replay ----------------------------------------------------------------------------------- */

struct cache {
	struct tr_policy policy;
	bool *resident; /* [n_id] */
	bool *in_set;	/* [n_id] */
	uint32_t n_resident;
	uint32_t n_slot;
};

static bool evictable(void *ctx, uint32_t id)
{
	const struct cache *c = ctx;

	tr_assert(c->resident[id]);
	return !c->in_set[id];
}

static void enter(struct cache *c, uint32_t id)
{
	const struct tr_policy_ops *ops = c->policy.ops;
	uint32_t victim;

	if (ops->miss)
		ops->miss(c->policy.state, id, 0);
	if (c->n_resident == c->n_slot) {
		victim = ops->victim(c->policy.state, id, evictable, c);
		if (victim == TR_NO_ID)
			return;
		tr_assert(evictable(c, victim));
		ops->evict(c->policy.state, victim);
		c->resident[victim] = false;
		c->n_resident--;
	}
	ops->insert(c->policy.state, id, 0);
	c->resident[id] = true;
	c->n_resident++;
}

/* Returns the hits. */
static uint32_t take(struct cache *c, const uint32_t *ids, uint32_t n)
{
	uint32_t missing[MAX_SET], n_missing = 0;

	for (uint32_t i = 0; i < n; i++) {
		c->in_set[ids[i]] = true;
		if (c->resident[ids[i]])
			c->policy.ops->hit(c->policy.state, ids[i], 0);
		else
			missing[n_missing++] = ids[i];
	}
	for (uint32_t i = 0; i < n_missing; i++)
		enter(c, missing[i]);
	for (uint32_t i = 0; i < n; i++)
		c->in_set[ids[i]] = false;
	return n - n_missing;
}

static void replay_sets(
	const struct replay_trace *t, struct cache *c, uint32_t from, struct replay_count *out)
{
	const struct tr_policy_ops *ops = c->policy.ops;

	for (uint64_t i = 0; i < t->n_set; i++) {
		const struct replay_set *s = &t->set[i];
		uint32_t hits = ops->uncached ? 0 : take(c, t->id + s->first, s->n);

		if (s->token >= from) {
			out->requests += s->n;
			out->hits += hits;
		}
		if (ops->tick && (i + 1 == t->n_set || t->set[i + 1].token != s->token))
			ops->tick(c->policy.state);
	}
}

static bool make_room(struct cache *c, struct tr_policy_cfg *cfg, float *cost, uint32_t *pins)
{
	for (uint32_t id = 0; cost && pins && id < cfg->n_id; id++) {
		cost[id] = 1 + (float)(id % 5);
		pins[id] = (uint32_t)((uint64_t)id * 7 % cfg->n_id);
	}
	cfg->miss_cost = cost;
	cfg->pins = pins;
	cfg->n_pin = cfg->n_id;
	c->resident = tr_calloc(cfg->n_id, sizeof(*c->resident));
	c->in_set = tr_calloc(cfg->n_id, sizeof(*c->in_set));
	return cost && pins && c->resident && c->in_set;
}

int replay_run(const struct replay_trace *t, const char *spec, uint32_t n_slot, uint32_t from,
	struct replay_count *out, struct tr_err *err)
{
	struct tr_policy_cfg cfg = { .n_id = t->n_id,
		.n_slot = n_slot,
		.n_layer_id = t->n_layer_id,
		.future = t->id,
		.n_future = t->n };
	float *cost = tr_calloc(t->n_id, sizeof(*cost));
	uint32_t *pins = tr_calloc(t->n_id, sizeof(*pins));
	struct cache c = { .n_slot = n_slot };
	int rc;

	*out = (struct replay_count){ 0 };
	if (make_room(&c, &cfg, cost, pins))
		rc = tr_policy_open(&c.policy, spec, &cfg, err);
	else
		rc = tr_err_set(err, TR_E_NOMEM, "replay: no memory for %u ids", t->n_id);
	if (!rc) {
		replay_sets(t, &c, from, out);
		tr_policy_close(&c.policy);
	}
	free(c.resident);
	free(c.in_set);
	free(cost);
	free(pins);
	return rc;
}
