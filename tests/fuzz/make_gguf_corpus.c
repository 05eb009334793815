/* make_gguf_corpus.c - writes the good and the broken files of broken_gguf.c into a directory:
 * `make -C BUILD gguf-corpus` renews the seeds in tests/fuzz/corpus/gguf. */
#include "broken_gguf.h"

#include <stdio.h>
#include <string.h>

static int write_cases(const char *dir, const char *kind, const struct gguf_case *cases, size_t n)
{
	char path[4096];
	struct gw w;

	for (size_t i = 0; i < n; i++) {
		cases[i].make(&w);
		snprintf(path, sizeof(path), "%s/%s_%s.gguf", dir, kind, cases[i].name);
		w.data_bytes = 0;
		if (!gw_save(&w, path)) {
			perror(path);
			return 1;
		}
		gw_free(&w);
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: make_gguf_corpus DIRECTORY\n");
		return 2;
	}
	return write_cases(argv[1], "good", good_ggufs, n_good_gguf) ||
		write_cases(argv[1], "broken", broken_ggufs, n_broken_gguf);
}
