/* tierra.c - finds the command and hands over. Commands are the entries of commands.def. */
#include "tools/tool.h"

#include <stdio.h>
#include <string.h>

#define TR_COMMAND(name) extern const struct tr_command tr_command_##name;
#include "tools/commands.def"
#undef TR_COMMAND

#define TR_COMMAND(name) &tr_command_##name,
static const struct tr_command *const command[] = {
#include "tools/commands.def"
};
#undef TR_COMMAND

#define N_COMMAND (sizeof(command) / sizeof(command[0]))

static void print_help(FILE *out)
{
	fputs("Usage: tierra COMMAND [OPTION...]\n"
	      "Runs mixture-of-experts language models that are larger than memory.\n\n",
		out);
	for (size_t i = 0; i < N_COMMAND; i++)
		fprintf(out, "  %-12s %s\n", command[i]->name, command[i]->summary);
	fputs("\n`tierra COMMAND --help` lists the options of a command.\n", out);
}

static int unknown(const char *name)
{
	fprintf(stderr, "tierra: unknown command '%s'; the commands are:", name);
	for (size_t i = 0; i < N_COMMAND; i++)
		fprintf(stderr, " %s", command[i]->name);
	fputc('\n', stderr);
	return TR_EXIT_USAGE;
}

static int run(const struct tr_command *c, int argc, char **argv)
{
	char name[64];

	snprintf(name, sizeof(name), "tierra %s", c->name);
	argv[0] = name;
	return c->run(argc, argv);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		print_help(stderr);
		return TR_EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		print_help(stdout);
		return TR_EXIT_OK;
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		printf("tierra %s\n", tr_version());
		return TR_EXIT_OK;
	}
	for (size_t i = 0; i < N_COMMAND; i++)
		if (!strcmp(argv[1], command[i]->name))
			return run(command[i], argc - 1, argv + 1);
	return unknown(argv[1]);
}
