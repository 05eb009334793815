/*
 * speeds.c - what a machine gives to one model.
 *
 * A matrix takes op_ns + bytes / bytes_per_s of the kernel of its type; of the widths that were
 * measured the nearest counts. A type that was not measured counts as the plain reading of its
 * bytes, with what another type needs to wake the threads.
 */
#include "base/mem.h"
#include "machine/machine.h"

#include <math.h>
#include <string.h>

static const struct tr_machine_point *fastest(const struct tr_machine_tier *t)
{
	const struct tr_machine_point *best = &t->point[0];

	for (size_t i = 1; i < t->n_point; i++)
		if (t->point[i].bytes_per_s.mid > best->bytes_per_s.mid)
			best = &t->point[i];
	return best;
}

static double distance(uint32_t a, uint32_t b)
{
	return a && b ? fabs(log((double)a / b)) : 0;
}

const struct tr_machine_kernel *tr_machine_kernel_of(
	const struct tr_machine *m, size_t tier, const char *quant, uint32_t cols)
{
	const struct tr_machine_kernel *best = NULL;

	for (size_t i = 0; i < m->n_kernel; i++) {
		const struct tr_machine_kernel *k = &m->kernel[i];

		if (k->tier != tier || strcmp(k->quant, quant) != 0)
			continue;
		if (!best || distance(k->cols, cols) < distance(best->cols, cols))
			best = k;
	}
	return best;
}

/* Of one type or another: what a matrix takes beside its bytes. */
static double op_s(const struct tr_machine *m, const struct tr_machine_kernel *k)
{
	if (k)
		return k->op_ns.mid * 1e-9;
	return m->n_kernel ? m->kernel[0].op_ns.mid * 1e-9 : m->loop_ns * 1e-9;
}

static double bytes_s(const struct tr_machine *m, size_t tier, const struct tr_matrices *x)
{
	const struct tr_machine_kernel *k = tr_machine_kernel_of(m, tier, x->quant, x->cols);
	double rate = k ? k->bytes_per_s.mid : fastest(&m->tier[tier])->bytes_per_s.mid;

	return rate > 0 ? x->bytes / rate : 0;
}

static double ops_s(const struct tr_machine *m, size_t tier, const struct tr_matrices *x)
{
	return x->n * op_s(m, tr_machine_kernel_of(m, tier, x->quant, x->cols));
}

#define MANY 64 /* experts of a prompt's chunk */

/* --- disks ------------------------------------------------------------------------------------ */

static double in_flight(const struct tr_machine_point *p)
{
	return (double)p->n_flight * (double)p->block_bytes;
}

/* The most that reads of no more than so many bytes at a time gave, none larger than a part. io
 * cuts reads into pieces, so what is in flight is bytes, not reads. */
static double best_until(const struct tr_machine_tier *t, double part_bytes, double bytes)
{
	double best = 0;

	for (size_t i = 0; i < t->n_point; i++) {
		const struct tr_machine_point *p = &t->point[i];

		if (!p->burst && (double)p->block_bytes <= part_bytes && in_flight(p) <= bytes)
			best = TR_MAX(best, p->bytes_per_s.mid);
	}
	return best;
}

static double least_rate(const struct tr_machine_tier *t)
{
	double least = t->point[0].bytes_per_s.mid;

	for (size_t i = 1; i < t->n_point; i++)
		least = TR_MIN(least, t->point[i].bytes_per_s.mid);
	return least;
}

/* So many bytes, asked for at once in parts, where bursts were not measured: between the time that
 * the next fewer bytes in flight need, and the next more. */
static double steady_s(const struct tr_machine_tier *t, double part_bytes, double bytes)
{
	double lo = 0, hi = 0, a, b;

	for (size_t i = 0; i < t->n_point; i++) {
		double x = in_flight(&t->point[i]);

		if (t->point[i].burst || (double)t->point[i].block_bytes > part_bytes)
			continue;
		if (x <= bytes)
			lo = fmax(lo, x);
		else
			hi = hi > 0 ? fmin(hi, x) : x;
	}
	a = lo > 0 ? lo / best_until(t, part_bytes, lo) : t->latency_ns.mid * 1e-9;
	if (!(hi > 0))
		return lo > 0 ? a * bytes / lo : a + bytes / least_rate(t);
	b = fmax(a, hi / best_until(t, part_bytes, hi));
	return a + (b - a) * (bytes - lo) / (hi - lo);
}

/* What of a burst is asked for: until all have come, until the first expert has, until it is
 * submitted. */
enum part { LAST, FIRST, SUBMIT };

static double burst_s(const struct tr_machine_point *p, enum part part)
{
	double s = p->bytes_per_s.mid > 0
			   ? p->n_flight * (double)p->block_bytes / p->bytes_per_s.mid
			   : 0;

	return part == FIRST ? s * p->first_share : part == SUBMIT ? s * p->submit_share : s;
}

/* What a burst of n reads of size block takes, between (or beyond) the two counts measured next to
 * n. */
static double burst_by_count(
	const struct tr_machine_tier *t, uint64_t block, double n, enum part part)
{
	const struct tr_machine_point *lo = NULL, *hi = NULL;
	double a, b;

	for (size_t i = 0; i < t->n_point; i++) {
		const struct tr_machine_point *p = &t->point[i];

		if (!p->burst || p->block_bytes != block)
			continue;
		if (!hi || (hi->n_flight < n && p->n_flight > hi->n_flight)) {
			lo = hi;
			hi = p;
		}
	}
	a = lo ? burst_s(lo, part) : 0;
	b = burst_s(hi, part);
	if (!lo)
		return b * n / hi->n_flight;
	return a + (b - a) * (n - lo->n_flight) / (hi->n_flight - lo->n_flight);
}

/* The sizes that were measured next to block, the same twice beyond them; false: no bursts. */
static bool burst_blocks(const struct tr_machine_tier *t, double block, uint64_t *lo, uint64_t *hi)
{
	*lo = *hi = 0;
	for (size_t i = 0; i < t->n_point; i++) {
		uint64_t b = t->point[i].burst ? t->point[i].block_bytes : 0;

		if (b && (double)b <= block)
			*lo = TR_MAX(*lo, b);
		if (b && (double)b >= block)
			*hi = *hi ? TR_MIN(*hi, b) : b;
	}
	*lo = *lo ? *lo : *hi;
	*hi = *hi ? *hi : *lo;
	return *lo > 0;
}

/* Of n reads of so many bytes that were asked for at once; of parts that were not measured 0. */
static double reads_s(const struct tr_machine_tier *t, double block, double n, enum part part)
{
	uint64_t lo, hi;
	double a, b;

	if (!burst_blocks(t, block, &lo, &hi) && part != LAST)
		return 0;
	if (!lo)
		return steady_s(t, block, n * block);
	a = burst_by_count(t, lo, n, part);
	b = burst_by_count(t, hi, n, part);
	if (hi == lo)
		return a * block / (double)lo;
	return a + (b - a) * (block - (double)lo) / (double)(hi - lo);
}

/* Drives of the same kind share the experts. */
static void add_disk(
	const struct tr_machine_tier *t, const struct tr_workload *w, struct tr_speeds *s)
{
	double block = w->unit_bytes / 3, before = s->disk_bytes_per_s, many;

	many = MANY * w->unit_bytes / reads_s(t, block, 3 * MANY, LAST);
	s->disk_bytes_per_s += many;
	for (unsigned k = 1; k <= TR_MAX_READ_TABLE; k++) {
		double all = reads_s(t, block, 3 * k, LAST), one = reads_s(t, block, 3, LAST);
		double other = s->read_s[k];

		/* Two at work each have a share of the burst, but none is faster than one expert.
		 */
		s->read_s[k] = before > 0 ? fmax(one, 1 / (1 / all + 1 / other)) : all;
		s->first_s[k] = reads_s(t, block, 3 * k, FIRST) * s->read_s[k] / all;
		s->ask_s[k] = fmax(s->ask_s[k], reads_s(t, block, 3 * k, SUBMIT));
	}
	s->tier[TR_MACHINE_NVME] = s->disk_bytes_per_s;
}

/* --- all -------------------------------------------------------------------------------------- */

static double unit_rate(const struct tr_machine *m, size_t tier, const struct tr_workload *w)
{
	double s = 0;

	if (!w->unit[0].quant[0])
		return fastest(&m->tier[tier])->bytes_per_s.mid;
	for (int p = 0; p < 3; p++)
		s += bytes_s(m, tier, &w->unit[p]);
	return s > 0 ? w->unit_bytes / s : 0;
}

static void add_resident(
	const struct tr_machine *m, size_t tier, const struct tr_workload *w, struct tr_speeds *s)
{
	for (size_t i = 0; i < w->n_resident; i++) {
		s->resident_s += bytes_s(m, tier, &w->resident[i]);
		s->resident_op_s += ops_s(m, tier, &w->resident[i]);
	}
	for (size_t i = 0; i < w->n_beside; i++)
		s->beside_s += bytes_s(m, tier, &w->beside[i]) + ops_s(m, tier, &w->beside[i]);
}

static double many_macs(const struct tr_machine *m, size_t tier, const struct tr_workload *w)
{
	const struct tr_machine_kernel *k = tr_machine_kernel_of(m, tier, w->unit[0].quant, w->unit[0].cols);

	return k ? k->macs_per_s.mid : 0;
}

/* Attention: arithmetic of all heads over each position, or reading the position where that is not
 * known. */
static void add_attention(const struct tr_machine *m, const struct tr_workload *w, bool gpu,
	double memory_rate, struct tr_speeds *s)
{
	double macs = (double)w->n_layer * w->n_head * (2.0 * w->n_lat + w->n_rot);

	s->resident_op_s += w->n_layer * (m->rest_ns + m->rest_value_ns * w->n_embd) * 1e-9;
	if (w->n_head && !gpu)
		s->resident_op_s += w->n_layer * m->attend_ns * 1e-9;
	if (memory_rate > 0)
		s->position_s = w->kv_bytes / memory_rate;
	if (m->attend_macs_per_s > 0 && !gpu)
		s->position_s = fmax(s->position_s, macs / m->attend_macs_per_s);
}

/* --- runs of the engine ------------------------------------------------------------------------
 */

static const struct tr_machine_run *run_of(const struct tr_machine *m, const struct tr_workload *w)
{
	for (size_t i = 0; w->model[0] && i < m->n_run; i++)
		if (!strcmp(m->run[i].model, w->model) &&
			fabs(m->run[i].unit_bytes / w->unit_bytes - 1) < 0.01)
			return &m->run[i];
	return NULL;
}

/* Bursts of more experts than a layer of the run ever read are as much slower as its largest. */
static void believe_reads(const struct tr_machine_run *r, struct tr_speeds *s)
{
	double more = s->read_s[r->n_read] > 0 ? r->read_s[r->n_read] / s->read_s[r->n_read] : 1;

	for (size_t k = 1; k <= TR_MAX_READ_TABLE; k++) {
		s->read_s[k] = k <= r->n_read ? r->read_s[k] : s->read_s[k] * more;
		s->first_s[k] = k <= r->n_read ? r->first_s[k] : s->first_s[k] * more;
		s->ask_s[k] = r->ask_s * (double)k;
	}
}

/* Of the parts of rest_s the shares are those that were measured one by one. */
void tr_run_believe(
	const struct tr_machine_run *r, const struct tr_workload *w, struct tr_speeds *s)
{
	double apart = s->resident_s + s->resident_op_s;
	double rest = fmax(r->rest_s - r->position * s->position_s, 0);

	if (apart > 0) {
		s->resident_s *= rest / apart;
		s->resident_op_s *= rest / apart;
	}
	s->tier[TR_MACHINE_DRAM] = w->unit_bytes / r->unit_s;
	s->beside_s = r->beside_s;
	s->lookup_s = r->lookup_s;
	s->step_s = r->step_s;
	s->wake_s = r->wake_s;
	s->after_read_s = r->after_read_s;
	if (r->n_read)
		believe_reads(r, s);
}

void tr_machine_speeds(
	const struct tr_machine *m, const struct tr_workload *w, bool gpu, struct tr_speeds *out)
{
	const struct tr_machine_run *run = gpu ? NULL : run_of(m, w);
	enum tr_machine_kind home = gpu ? TR_MACHINE_VRAM : TR_MACHINE_DRAM;

	*out = (struct tr_speeds){ .bus = m->bus_bytes_per_s,
		.wake_s = m->wake_ns * 1e-9,
		.touch_bytes_per_s = m->touch_bytes_per_s };
	for (size_t i = 0; i < m->n_tier; i++) {
		const struct tr_machine_tier *t = &m->tier[i];
		double rate;

		if (!t->n_point)
			continue;
		if (t->kind == TR_MACHINE_NVME) {
			add_disk(t, w, out);
			continue;
		}
		rate = unit_rate(m, i, w);
		out->n_thread[t->kind] = fastest(t)->n_flight;
		out->tier[t->kind] += rate; /* several of a kind share the experts */
		if (t->kind == TR_MACHINE_DRAM) {
			out->macs = many_macs(m, i, w);
			out->step_s =
				2 * op_s(m, tr_machine_kernel_of(m, i, w->unit[0].quant, w->unit[0].cols));
		}
		if (t->kind == home) {
			add_resident(m, i, w, out);
			add_attention(m, w, gpu, fastest(t)->bytes_per_s.mid, out);
		}
	}
	if (run)
		tr_run_believe(run, w, out);
}
