/* cmd_policies.c - `tierra policies`: what --policy understands. */
#include "tools/engine_args.h"
#include "tools/table.h"
#include "tools/tool.h"

#include <string.h>

static error_t parse(int key, char *arg, struct argp_state *state)
{
	if (key == ARGP_KEY_ARG)
		argp_error(state, "'%s': no argument is expected", arg);
	return key == ARGP_KEY_ARG ? 0 : ARGP_ERR_UNKNOWN;
}

/* The options of a policy, one a line; they are separated by "; ". */
static void print_options(const struct tr_policy_info *info)
{
	const char *o = info->options;

	if (!*o)
		return;
	printf("\n%s\n", info->name);
	while (*o) {
		size_t n = strcspn(o, ";");

		printf("  %.*s\n", (int)n, o);
		o += n;
		o += strspn(o, "; ");
	}
}

static int run(int argc, char **argv)
{
	static const struct argp argp = { .parser = parse,
		.doc = "Lists the policies of the DRAM cache and their options, which are given as "
		       "--policy NAME,OPTION=VALUE. A name with a slash is the path of a shared "
		       "object that holds a policy." };
	static const char *const head[] = { "policy", "what it gives up first" };
	struct tr_policy_info info;
	struct tr_table t;

	tr_args_parse(&argp, argc, argv, NULL);
	tr_table_init(&t, head, 2);
	for (size_t i = 0; i < tr_n_policy(); i++) {
		tr_policy_info(i, &info);
		tr_table_add(&t, "%s", info.name);
		tr_table_add(&t, "%s", info.summary);
	}
	tr_table_print(&t, stdout, "");
	tr_table_fini(&t);
	for (size_t i = 0; i < tr_n_policy(); i++) {
		tr_policy_info(i, &info);
		print_options(&info);
	}
	return ferror(stdout) || fflush(stdout) ? TR_EXIT_ERROR : TR_EXIT_OK;
}

const struct tr_command tr_command_policies = {
	.name = "policies",
	.summary = "list the eviction policies and their options",
	.run = run,
};
