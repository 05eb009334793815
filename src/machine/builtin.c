/*
 * builtin.c - machines that are described from public figures.
 *
 * The sources are in each entry. A single figure stands for all three of a spread.
 */
#include "base/mem.h"
#include "machine/machine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GB 1e9
#define GIB ((uint64_t)1 << 30)
#define SAME(x) { (x), (x), (x) }
#define MEM_POINT(threads, gbps) { threads, false, 0, SAME((gbps) * GB), 0, 0 }
#define DISK_POINT(depth, kib, gbps) \
	{ depth, false, (uint64_t)(kib) << 10, SAME((gbps) * GB), 0, 0 }
#define POINTS(...) \
	.n_point = sizeof((struct tr_machine_point[]){ __VA_ARGS__ }) / \
		sizeof(struct tr_machine_point), \
	.point = { __VA_ARGS__ }

/* PCIe 3.0: 256 KiB reads 1.06 GB/s one at a time, 5.2 at 16 of 6.4 on a faster drive, scaled; large
 * reads reach 83% alone. */
#define NVME_GEN3 \
	{ .kind = TR_MACHINE_NVME, .direct = true, .latency_ns = SAME(90e3), \
		POINTS(DISK_POINT(1, 256, 1.06), DISK_POINT(16, 256, 2.9), \
			DISK_POINT(1, 4096, 2.9), DISK_POINT(8, 4096, 3.5)) }
/* PCIe 4.0: twice that for large reads. */
#define NVME_GEN4 \
	{ .kind = TR_MACHINE_NVME, .direct = true, .latency_ns = SAME(80e3), \
		POINTS(DISK_POINT(1, 256, 1.06), DISK_POINT(16, 256, 5.2), \
			DISK_POINT(64, 256, 5.8), DISK_POINT(1, 4096, 5.8), \
			DISK_POINT(8, 4096, 7.0)) }

static const struct tr_machine machines[] = {
	{ .name = "optane-3060",
		.source = "Xeon Gold 6246, 6 x DDR4-2666, 6 x Optane PMem 100 128 GB, RTX 3060: published "
			  "measurements of the modules (28.8 GB/s at 12 threads, 39.4 peak at 17)",
		.n_thread = 12,
		.bus_bytes_per_s = 105 * GB, /* the most that six channels gave, at 24 threads */
		.link_bytes_per_s = 12.6 * GB, /* PCIe 3.0 x16: 15.75 GB/s a direction, 80% assumed */
		.loop_ns = 3000,
		.n_tier = 4,
		.tier = { { .kind = TR_MACHINE_DRAM, .direct = true, .bytes = 192 * GIB,
				  .latency_ns = SAME(102), POINTS(MEM_POINT(12, 92)) },
			{ .kind = TR_MACHINE_PMEM, .direct = true, .bytes = 768 * GIB,
				.latency_ns = SAME(305),
				POINTS(MEM_POINT(1, 2.9), MEM_POINT(4, 11.6),
					MEM_POINT(12, 28.8)) },
			NVME_GEN3,
			{ .kind = TR_MACHINE_VRAM, .direct = true, .bytes = 12 * GIB,
				.latency_ns = SAME(500), POINTS(MEM_POINT(1, 360)) } } },
	{ .name = "desktop-gen4",
		.source = "two channels of DDR5-5600 (89.6 GB/s peak, 80% assumed), one PCIe 4.0 NVMe drive "
			  "(7 GB/s, published reads by block and depth)",
		.n_thread = 8,
		.loop_ns = 2000,
		.n_tier = 2,
		.tier = { { .kind = TR_MACHINE_DRAM, .direct = true, .bytes = 64 * GIB,
				  .latency_ns = SAME(85), POINTS(MEM_POINT(1, 35), MEM_POINT(8, 72)) },
			NVME_GEN4 } },
	{ .name = "optane-dual",
		.source = "two sockets of optane-3060 without its GPU, each computing its own rows "
			  "(DRAM and Optane doubled; nothing measured on two sockets)",
		.n_thread = 24,
		.bus_bytes_per_s = 210 * GB,
		.loop_ns = 5000,
		.n_tier = 3,
		.tier = { { .kind = TR_MACHINE_DRAM, .direct = true, .bytes = 384 * GIB,
				  .latency_ns = SAME(102), POINTS(MEM_POINT(24, 184)) },
			{ .kind = TR_MACHINE_PMEM, .direct = true, .bytes = 1536 * GIB,
				.latency_ns = SAME(305), POINTS(MEM_POINT(24, 57.6)) },
			NVME_GEN3 } },
	{ .name = "workstation-32g",
		.source = "eight channels of DDR5-4800 (307 GB/s peak, 80% assumed), a card with 32 GB of "
			  "GDDR7 (1.79 TB/s peak, 85% assumed), one PCIe 4.0 NVMe drive",
		.n_thread = 32,
		.link_bytes_per_s = 50 * GB, /* PCIe 5.0 x16: 63 GB/s a direction, 80% assumed */
		.loop_ns = 4000,
		.n_tier = 3,
		.tier = { { .kind = TR_MACHINE_DRAM, .direct = true, .bytes = 256 * GIB,
				  .latency_ns = SAME(110), POINTS(MEM_POINT(32, 245)) },
			NVME_GEN4,
			{ .kind = TR_MACHINE_VRAM, .direct = true, .bytes = 32 * GIB,
				.latency_ns = SAME(500), POINTS(MEM_POINT(1, 1520)) } } },
	{ .name = "cxl",
		.source = "eight channels of DDR5-4800 (80% of 307 GB/s assumed) and a CXL 1.1 memory expander on "
			  "PCIe 5.0 x8 (32 GB/s a direction, 80% assumed), one PCIe 4.0 NVMe drive",
		.n_thread = 32,
		.loop_ns = 4000,
		.n_tier = 3,
		.tier = { { .kind = TR_MACHINE_DRAM, .direct = true, .bytes = 256 * GIB,
				  .latency_ns = SAME(110), POINTS(MEM_POINT(32, 245)) },
			{ .kind = TR_MACHINE_PMEM, .direct = true, .bytes = 512 * GIB,
				.latency_ns = SAME(250), POINTS(MEM_POINT(32, 25.6)) },
			NVME_GEN4 } },
};

const char *const tr_machine_kind_name[TR_N_MACHINE_KIND] = { "dram", "pmem", "nvme", "vram" };

size_t tr_n_machine(void)
{
	return TR_ARRAY_LEN(machines);
}

const struct tr_machine *tr_machine_get(size_t i)
{
	return &machines[i];
}

static int read_whole(FILE *f, char **text, size_t *n)
{
	const size_t cap = 1 << 20; /* a hundred times a real one */

	*text = malloc(cap);
	if (!*text)
		return TR_E_NOMEM;
	*n = fread(*text, 1, cap, f);
	return ferror(f) ? TR_E_IO : 0;
}

int tr_machine_open(struct tr_machine *m, const char *name, struct tr_err *err)
{
	char *text = NULL;
	size_t n;
	FILE *f;
	int rc;

	for (size_t i = 0; i < TR_ARRAY_LEN(machines); i++)
		if (!strcmp(machines[i].name, name)) {
			*m = machines[i];
			return 0;
		}
	f = fopen(name, "r");
	if (!f)
		return tr_err_set(err, TR_E_NOENT,
			"machine '%s': no such file (%s), and none of: optane-3060, desktop-gen4, "
			"optane-dual, workstation-32g, cxl",
			name, strerror(errno));
	rc = read_whole(f, &text, &n);
	fclose(f);
	if (rc)
		rc = tr_err_set(err, rc, "machine '%s': cannot be read", name);
	else
		rc = tr_machine_parse(m, text, n, name, err);
	free(text);
	return rc;
}
