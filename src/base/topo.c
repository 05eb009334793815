#include "base/topo.h"
#include "base/mem.h"

#include <numa.h>
#include <stdlib.h>
#include <string.h>

#define FAKE "fake:"

static void read_nodes(struct tr_topo *topo)
{
	struct bitmask *allowed = numa_get_mems_allowed();
	int id;

	for (id = 0; id <= numa_max_node() && topo->n_node < TR_MAX_NODE; id++)
		if (numa_bitmask_isbitset(allowed, (unsigned)id) && numa_node_size64(id, NULL) > 0)
			topo->node[topo->n_node++].id = id;
	numa_bitmask_free(allowed);
}

static struct tr_node *nearest(struct tr_topo *topo, int id)
{
	struct tr_node *best = &topo->node[0];
	unsigned k;

	for (k = 0; k < topo->n_node; k++) {
		if (topo->node[k].id == id)
			return &topo->node[k];
		if (numa_distance(id, topo->node[k].id) < numa_distance(id, best->id))
			best = &topo->node[k];
	}
	return best;
}

/* A node whose processors are all forbidden computes nothing. */
static void drop_idle_nodes(struct tr_topo *topo)
{
	unsigned k, n = 0;

	for (k = 0; k < topo->n_node; k++)
		if (CPU_COUNT(&topo->node[k].cpus))
			topo->node[n++] = topo->node[k];
	topo->n_node = n;
}

void tr_topo_read(struct tr_topo *topo)
{
	cpu_set_t allowed;
	int cpu, id;

	memset(topo, 0, sizeof(*topo));
	if (sched_getaffinity(0, sizeof(allowed), &allowed)) {
		CPU_ZERO(&allowed);
		CPU_SET(0, &allowed);
	}
	if (numa_available() >= 0)
		read_nodes(topo);
	if (!topo->n_node) {
		topo->n_node = 1;
		topo->node[0].id = -1;
	}
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &allowed))
			continue;
		id = topo->n_node > 1 ? numa_node_of_cpu(cpu) : topo->node[0].id;
		CPU_SET(cpu, &nearest(topo, id)->cpus);
	}
	drop_idle_nodes(topo);
}

/* --- choosing ----------------------------------------------------------------------------------- */

static cpu_set_t all_cpus(const struct tr_topo *all)
{
	cpu_set_t cpus;
	unsigned k;

	CPU_ZERO(&cpus);
	for (k = 0; k < all->n_node; k++)
		CPU_OR(&cpus, &cpus, &all->node[k].cpus);
	return cpus;
}

/* n nodes on the same processors. */
static void pick_unbound(struct tr_topo *topo, const struct tr_topo *all, unsigned n)
{
	for (topo->n_node = 0; topo->n_node < n; topo->n_node++)
		topo->node[topo->n_node] = (struct tr_node){ .id = -1, .cpus = all_cpus(all) };
}

static int pick_fake(struct tr_topo *topo, const struct tr_topo *all, const char *number,
	struct tr_err *err)
{
	char *end;
	unsigned long n = strtoul(number, &end, 10);

	if (*number < '0' || *number > '9' || *end || n < 1 || n > TR_MAX_NODE)
		return tr_err_set(err, TR_E_INVALID, "--numa " FAKE "%s: not a number from 1 to %d",
			number, TR_MAX_NODE);
	pick_unbound(topo, all, (unsigned)n);
	return 0;
}

static int add_node(struct tr_topo *topo, const struct tr_topo *all, unsigned long id,
	struct tr_err *err)
{
	unsigned k;

	for (k = 0; k < topo->n_node; k++)
		if ((unsigned long)topo->node[k].id == id)
			return tr_err_set(err, TR_E_INVALID, "--numa: node %lu is given twice", id);
	for (k = 0; k < all->n_node; k++) {
		if (all->node[k].id < 0 || (unsigned long)all->node[k].id != id)
			continue;
		topo->node[topo->n_node++] = all->node[k];
		return 0;
	}
	return tr_err_set(err, TR_E_INVALID,
		"--numa: node %lu is none of the %u that have memory and processors for this process",
		id, all->node[0].id < 0 ? 0 : all->n_node);
}

/* "0,2-3" */
static int pick_listed(struct tr_topo *topo, const struct tr_topo *all, const char *list,
	struct tr_err *err)
{
	const char *at = list;
	unsigned long first, last;
	char *end;
	int rc;

	do {
		if (*at < '0' || *at > '9')
			break;
		first = last = strtoul(at, &end, 10);
		if (*end == '-' && end[1] >= '0' && end[1] <= '9')
			last = strtoul(end + 1, &end, 10);
		if ((*end && *end != ',') || last < first)
			break;
		for (; first <= last; first++) {
			rc = add_node(topo, all, first, err);
			if (rc)
				return rc;
		}
		if (!*end)
			return 0;
		at = end + 1;
	} while (true);
	return tr_err_set(err, TR_E_INVALID,
		"--numa: '%s' is none of: auto, off, a list of nodes as 0,2-3", list);
}

static void give_workers(struct tr_topo *topo, unsigned n_worker)
{
	unsigned n_cpu = 0, cpus_before = 0, first = 0, end, k;

	for (k = 0; k < topo->n_node; k++)
		n_cpu += (unsigned)CPU_COUNT(&topo->node[k].cpus);
	for (k = 0; k < topo->n_node; k++) {
		cpus_before += (unsigned)CPU_COUNT(&topo->node[k].cpus);
		end = (unsigned)(((uint64_t)n_worker * cpus_before + n_cpu / 2) / n_cpu);
		end = TR_MIN(end, n_worker - (topo->n_node - 1 - k));
		end = TR_MAX(end, first + 1);
		topo->node[k].first_worker = first;
		topo->node[k].n_worker = end - first;
		first = end;
	}
	topo->n_worker = n_worker;
}

int tr_topo_pick(struct tr_topo *topo, const struct tr_topo *all, const char *spec,
	unsigned n_worker, struct tr_err *err)
{
	bool is_auto = !spec || !strcmp(spec, "auto"), is_off = spec && !strcmp(spec, "off");
	cpu_set_t cpus = all_cpus(all);
	int rc = 0;

	memset(topo, 0, sizeof(*topo));
	if (is_auto && all->n_node > 1 && (!n_worker || n_worker >= all->n_node)) {
		*topo = *all;
		topo->bind = true;
	} else if (is_auto || is_off) {
		pick_unbound(topo, all, 1);
	} else if (!strncmp(spec, FAKE, strlen(FAKE))) {
		rc = pick_fake(topo, all, spec + strlen(FAKE), err);
	} else {
		rc = pick_listed(topo, all, spec, err);
		topo->bind = true;
		cpus = all_cpus(topo);
	}
	if (rc)
		return rc;
	if (!n_worker)
		n_worker = TR_MAX((unsigned)CPU_COUNT(&cpus), topo->bind ? 1 : topo->n_node);
	if (n_worker < topo->n_node)
		return tr_err_set(err, TR_E_INVALID, "--numa %s: %u nodes need a thread each, %u given",
			spec, topo->n_node, n_worker);
	give_workers(topo, n_worker);
	return 0;
}

uint64_t tr_topo_first(const struct tr_topo *topo, unsigned k, uint64_t n)
{
	return k == topo->n_node ? n : n * topo->node[k].first_worker / topo->n_worker;
}

unsigned tr_topo_node_of(const struct tr_topo *topo, unsigned worker)
{
	unsigned k = topo->n_node - 1;

	while (worker < topo->node[k].first_worker)
		k--;
	return k;
}
