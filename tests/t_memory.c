/*
 * t_memory.c - peak resident memory of the program follows --dram.
 *
 * Bound: FIXED + 1.1 * (X + resident weights + KV). FIXED is what does not scale with the model's
 * weights: code and library pages, tokenizer tables, buffers of one prefill chunk; 10 MiB were
 * measured for the demo model. With persistent memory in an ordinary directory the mapped store is
 * page cache that the kernel counts for this process too, so these runs go without.
 *
 * And how much the cache takes when no size is given.
 */
#include "test.h"
#include "base/mem.h"
#include "engine/plan.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define FIXED (14ull << 20)
#define N_CTX 256

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static char program[4096], model[4096];

static uint64_t peak_with(const char *dram)
{
	struct rusage usage;
	int status = -1, null;
	pid_t pid = fork();

	if (pid == 0) {
		null = open("/dev/null", O_WRONLY);
		dup2(null, 1);
		dup2(null, 2);
		execl(program, program, "generate", "-m", model, "-p", "The kernel", "--dram", dram,
			"-c", "256", "-n", "100", "--ignore-eos", "-q", (char *)NULL);
		_exit(127);
	}
	assert_true(pid > 0 && wait4(pid, &status, 0, &usage) == pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	return (uint64_t)usage.ru_maxrss * 1024;
}

static void peak_memory_stays_within_what_was_given(void **state)
{
	static const char *const sizes[] = { "0", "10%", "25%", "50%", "100%" };
	struct tr_engine_opts opts = { .model_path = model, .n_ctx = N_CTX };
	struct tr_plan plan;
	uint64_t peak, given;
	size_t i;

	(void)state;
	if (SANITIZED) {
		print_message("# skipped: sanitizers keep their own memory beside the program's\n");
		skip();
	}
	for (i = 0; i < TR_ARRAY_LEN(sizes); i++) {
		opts.dram = sizes[i];
		assert_int_equal(tr_engine_plan(&opts, &plan, NULL), 0);
		given = plan.tier[0].capacity_bytes + plan.resident_bytes + plan.kv_bytes;
		peak = peak_with(sizes[i]);
		print_message("# --dram %s: given %llu KiB, peak %llu KiB\n", sizes[i],
			(unsigned long long)given >> 10, (unsigned long long)peak >> 10);
		assert_true(peak <= FIXED + given + given / 10);
	}
}

static void memory_follows_the_size_given(void **state)
{
	uint64_t none, all;

	(void)state;
	if (SANITIZED)
		skip();
	none = peak_with("0");
	all = peak_with("100%");
	assert_true(all > none + (10ull << 20));
}

/* --- sizing without --dram: a made-up system under a folder ------------------------------------ */

static char root[] = "/tmp/t_memory.XXXXXX";

static void put(const char *path, const char *text)
{
	char name[512];
	FILE *f;

	snprintf(name, sizeof(name), "mkdir -p $(dirname %s/%s)", root, path);
	assert_int_equal(system(name), 0);
	snprintf(name, sizeof(name), "%s/%s", root, path);
	f = fopen(name, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static int make_system(void **state)
{
	(void)state;
	strcpy(root + strlen(root) - 6, "XXXXXX");
	assert_non_null(mkdtemp(root));
	put("proc/meminfo", "MemTotal: 9000 kB\nMemAvailable: 8000 kB\n");
	return 0;
}

static int remove_system(void **state)
{
	char command[64];

	(void)state;
	snprintf(command, sizeof(command), "rm -r %s", root);
	return system(command);
}

static void a_machine_without_groups_leaves_what_is_available(void **state)
{
	struct tr_memory m = tr_memory_available(root);

	(void)state;
	assert_int_equal(m.machine_bytes, 8000 * 1024);
	assert_true(m.group_bytes == UINT64_MAX);
}

static void file_pages_of_a_group_count_as_free(void **state)
{
	(void)state;
	put("proc/self/cgroup", "5:cpu:/\n4:memory:/box\n");
	put("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "5000\n");
	put("sys/fs/cgroup/memory/box/memory.usage_in_bytes", "4900\n");
	put("sys/fs/cgroup/memory/box/memory.stat",
		"cache 1\ninactive_file 1\ntotal_inactive_file 3000\ntotal_active_file 1000\n");
	assert_int_equal(tr_memory_available(root).group_bytes, 5000 - 900);
}

static void the_tightest_group_above_counts(void **state)
{
	(void)state;
	put("proc/self/cgroup", "0::/outer/inner\n");
	put("sys/fs/cgroup/outer/inner/memory.max", "max\n");
	put("sys/fs/cgroup/outer/memory.max", "7000\n");
	put("sys/fs/cgroup/outer/memory.current", "2500\n");
	put("sys/fs/cgroup/outer/memory.stat", "inactive_file 300\nactive_file 200\n");
	assert_int_equal(tr_memory_available(root).group_bytes, 5000);
}

static void the_cache_is_sized_by_what_is_tighter(void **state)
{
	struct tr_memory m = { .machine_bytes = 20ull << 30, .group_bytes = UINT64_MAX };

	(void)state;
	assert_true(tr_plan_dram(&m, 1ull << 30) == (17ull << 30));
	m.group_bytes = 8ull << 30;
	assert_true(tr_plan_dram(&m, 1ull << 30) == (7ull << 30) - (256ull << 20));
	m.group_bytes = 1ull << 30;
	assert_true(tr_plan_dram(&m, 1ull << 30) == 0);
}

#define ON_A_SYSTEM(test) cmocka_unit_test_setup_teardown(test, make_system, remove_system)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(peak_memory_stays_within_what_was_given),
		cmocka_unit_test(memory_follows_the_size_given),
		ON_A_SYSTEM(a_machine_without_groups_leaves_what_is_available),
		ON_A_SYSTEM(file_pages_of_a_group_count_as_free),
		ON_A_SYSTEM(the_tightest_group_above_counts),
		cmocka_unit_test(the_cache_is_sized_by_what_is_tighter),
	};
	const char *build = getenv("TR_BUILDDIR");

	snprintf(program, sizeof(program), "%s/tools/tierra", build ? build : ".");
	snprintf(model, sizeof(model), "%s/models/demo-q4_0.gguf", getenv("TR_SRCDIR"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
