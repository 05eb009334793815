/* cmd_policies.c - `tierra policies`: what --policy and --predictor understand. */
#include "tools/engine_args.h"
#include "tools/report.h"
#include "tools/table.h"
#include "tools/tool.h"

#include <string.h>

/* Of both kinds the same is shown. */
struct item {
	const char *name;
	const char *summary;
	const char *options;
};

struct kind {
	const char *name;
	const char *what; /* heads the summaries */
	size_t (*count)(void);
	void (*at)(size_t i, struct item *out);
};

static void policy_at(size_t i, struct item *out)
{
	struct tr_policy_info info;

	tr_policy_info(i, &info);
	*out = (struct item){ info.name, info.summary, info.options };
}

static void predictor_at(size_t i, struct item *out)
{
	struct tr_predictor_info info;

	tr_predictor_info(i, &info);
	*out = (struct item){ info.name, info.summary, info.options };
}

static const struct kind policies = { "policy", "what it gives up first", tr_n_policy, policy_at };
static const struct kind predictors = { "predictor", "what it expects", tr_n_predictor,
	predictor_at };

static error_t parse(int key, char *arg, struct argp_state *state)
{
	bool *json = state->input;

	if (key == 'j')
		*json = true;
	else if (key == ARGP_KEY_ARG)
		argp_error(state, "'%s': no argument is expected", arg);
	else
		return ARGP_ERR_UNKNOWN;
	return 0;
}

/* The options of an item, one a line; they are separated by "; ". */
static void print_options(const struct item *item)
{
	const char *o = item->options;

	if (!*o)
		return;
	printf("\n%s\n", item->name);
	while (*o) {
		size_t n = strcspn(o, ";");

		printf("  %.*s\n", (int)n, o);
		o += n;
		o += strspn(o, "; ");
	}
}

static void print_kind(const struct kind *kind)
{
	const char *head[] = { kind->name, kind->what };
	struct item item;
	struct tr_table t;

	tr_table_init(&t, head, 2);
	for (size_t i = 0; i < kind->count(); i++) {
		kind->at(i, &item);
		tr_table_add(&t, "%s", item.name);
		tr_table_add(&t, "%s", item.summary);
	}
	tr_table_print(&t, stdout, "");
	tr_table_fini(&t);
	for (size_t i = 0; i < kind->count(); i++) {
		kind->at(i, &item);
		print_options(&item);
	}
}

static json_t *kind_json(const struct kind *kind)
{
	json_t *all = json_array();
	struct item item;

	for (size_t i = 0; i < kind->count(); i++) {
		kind->at(i, &item);
		json_array_append_new(all,
			json_pack("{s:s, s:s, s:s}", "name", item.name, "summary", item.summary,
				"options", item.options));
	}
	return all;
}

static void print_json(void)
{
	json_t *root = json_pack("{s:o, s:o}", "policies", kind_json(&policies), "predictors",
		kind_json(&predictors));

	tr_json_write(root, stdout);
	json_decref(root);
}

static int run(int argc, char **argv)
{
	static const struct argp_option options[] = { { "json", 'j', 0, 0, "print JSON", 0 },
		{ 0 } };
	static const struct argp argp = { .options = options,
		.parser = parse,
		.doc = "Lists the policies of the DRAM cache, then the predictors, and their options, "
		       "which are given as --policy NAME,OPTION=VALUE. The name of a policy with a "
		       "slash is the path of a shared object that holds one." };
	bool json = false;

	tr_args_parse(&argp, argc, argv, &json);
	if (json) {
		print_json();
	} else {
		print_kind(&policies);
		putchar('\n');
		print_kind(&predictors);
	}
	return tr_tool_end_output(0);
}

const struct tr_command tr_command_policies = {
	.name = "policies",
	.summary = "list eviction policies, predictors and their options",
	.run = run,
};
