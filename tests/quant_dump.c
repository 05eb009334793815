/*
 * quant_dump.c - decodes blocks for comparison with other decoders.
 *
 * Standard input: a line "TYPE COUNT", then COUNT blocks. Standard output: their values as
 * binary32.
 */
#include "model/quant.h"

#include <stdio.h>
#include <stdlib.h>

static int decode(const struct tr_quant *q, size_t n_block)
{
	size_t n = n_block * q->block_values;
	uint8_t *blocks = malloc(n_block * q->block_bytes);
	float *values = malloc(n * sizeof(float));
	int ok = blocks && values && fread(blocks, q->block_bytes, n_block, stdin) == n_block;

	if (ok) {
		q->dequant(blocks, values, n);
		ok = fwrite(values, sizeof(float), n, stdout) == n && !fflush(stdout);
	}
	free(blocks);
	free(values);
	return ok;
}

int main(void)
{
	const struct tr_quant *q;
	char name[16];
	unsigned n_block;

	if (scanf("%15s %u", name, &n_block) != 2 || getchar() != '\n' || n_block > 1u << 20) {
		fputs("quant_dump: no header 'TYPE COUNT'\n", stderr);
		return 2;
	}
	q = tr_quant_by_name(name);
	if (!q) {
		fprintf(stderr, "quant_dump: no type %s\n", name);
		return 3;
	}
	if (!decode(q, n_block)) {
		fputs("quant_dump: input too short, or output failed\n", stderr);
		return 4;
	}
	return 0;
}
