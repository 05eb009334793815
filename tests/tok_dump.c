/* tok_dump - ids of the text on stdin, one a line, for tokenizer_hf.py.
 * Usage: tok_dump MODEL [special]. Times go to stderr. */
#include "base/clock.h"
#include "model/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *read_all(FILE *f, size_t *n)
{
	size_t cap = 1 << 20, got;
	char *buf = malloc(cap);

	*n = 0;
	while (buf && (got = fread(buf + *n, 1, cap - *n, f)) > 0) {
		*n += got;
		if (*n == cap) {
			char *grown = realloc(buf, cap *= 2);

			if (!grown)
				free(buf);
			buf = grown;
		}
	}
	return buf;
}

static int dump(const struct tr_tokenizer *tok, unsigned flags, struct tr_err *err)
{
	size_t n, n_ids;
	char *text = read_all(stdin, &n);
	uint64_t begin = tr_now_ns(&tr_clock_real);
	int32_t *ids;
	int rc;

	if (!text)
		return tr_err_set(err, TR_E_NOMEM, "no memory for the text");
	rc = tr_tokenize(tok, text, n, flags, &ids, &n_ids, err);
	free(text);
	if (rc)
		return rc;
	fprintf(stderr, "%zu bytes, %zu ids, %.1f ms\n", n, n_ids,
		(double)(tr_now_ns(&tr_clock_real) - begin) / 1e6);
	for (size_t i = 0; i < n_ids; i++)
		printf("%d\n", (int)ids[i]);
	free(ids);
	return 0;
}

int main(int argc, char **argv)
{
	struct tr_model *model = NULL;
	struct tr_tokenizer *tok = NULL;
	struct tr_err err;
	uint64_t begin;
	int rc;

	if (argc < 2)
		return 2;
	rc = tr_model_open(&model, argv[1], &err);
	begin = tr_now_ns(&tr_clock_real);
	if (!rc)
		rc = tr_tokenizer_new(&tok, model, &err);
	fprintf(stderr, "tables: %.1f ms\n", (double)(tr_now_ns(&tr_clock_real) - begin) / 1e6);
	if (!rc)
		rc = dump(tok, argc > 2 ? TR_TOK_SPECIAL : 0, &err);
	if (rc)
		fprintf(stderr, "%s\n", err.msg);
	tr_tokenizer_free(tok);
	tr_model_close(model);
	return rc ? 1 : 0;
}
