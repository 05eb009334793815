#include "test.h"
#include "gguf_write.h"
#include "model/catalog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* --- files in a directory of the test's own --------------------------------------------------- */

struct dir {
	char path[64];
	char file[128]; /* of the last shard_path */
};

static int set_up(void **state)
{
	struct dir *d = calloc(1, sizeof(*d));

	if (!d)
		return -1;
	strcpy(d->path, "t_shards.XXXXXX");
	*state = d;
	return mkdtemp(d->path) ? 0 : -1;
}

static char *shard_path(struct dir *d, int no, int count)
{
	snprintf(d->file, sizeof(d->file), "%s/m-%05d-of-%05d.gguf", d->path, no + 1, count);
	return d->file;
}

static int tear_down(void **state)
{
	struct dir *d = *state;

	for (int count = 2; count <= 13; count++)
		for (int no = 0; no < count; no++)
			unlink(shard_path(d, no, count));
	snprintf(d->file, sizeof(d->file), "%s/renamed.gguf", d->path);
	unlink(d->file);
	rmdir(d->path);
	free(d);
	return 0;
}

static void save(struct gw *w, const char *path)
{
	gw_end(w);
	if (!gw_save(w, path))
		fail_msg("%s: %s", path, strerror(errno));
	gw_free(w);
}

static void split_keys(struct gw *w, int no, int count, int n_tensor)
{
	gw_kv_int(w, "split.no", TR_GGUF_U16, no);
	gw_kv_int(w, "split.count", TR_GGUF_U16, count);
	gw_kv_int(w, "split.tensors.count", TR_GGUF_I32, n_tensor);
}

static void begin_shard(struct gw *w, int no, int count, int n_tensor)
{
	gw_begin(w, 3);
	if (!no)
		gw_kv_str(w, "general.architecture", "toy");
	split_keys(w, no, count, n_tensor);
}

/* Three shards: the first without tensors, a layer over the other two. */
static void write_three(struct dir *d)
{
	struct gw w;

	begin_shard(&w, 0, 3, 3);
	save(&w, shard_path(d, 0, 3));
	begin_shard(&w, 1, 3, 3);
	gw_tensor(&w, "blk.0.ffn_gate.weight", TR_QUANT_F32, 8, 4);
	gw_tensor(&w, "blk.0.ffn_up.weight", TR_QUANT_F32, 8, 4);
	save(&w, shard_path(d, 1, 3));
	begin_shard(&w, 2, 3, 3);
	gw_tensor(&w, "blk.0.ffn_down.weight", TR_QUANT_F32, 4, 8);
	save(&w, shard_path(d, 2, 3));
}

static void assert_refused(const char *path, int code, const char *says)
{
	struct tr_model *m;
	struct tr_err err;

	assert_int_equal(tr_model_open(&m, path, &err), code);
	assert_null(m);
	assert_err_has(&err, says);
	assert_err_has(&err, ".gguf");
	assert_int_equal(tr_model_open(&m, path, NULL), code);
}

/* --- split models ----------------------------------------------------------------------------- */

static void all_shards_are_found_from_the_first(void **state)
{
	struct dir *d = *state;
	const struct tr_tensor *t;
	struct tr_model *m;
	struct tr_err err;

	write_three(d);
	if (tr_model_open(&m, shard_path(d, 0, 3), &err))
		fail_msg("%s", err.msg);
	assert_int_equal(m->n_shard, 3);
	assert_int_equal(m->n_tensor, 3);
	assert_string_equal(m->shards[2].path, shard_path(d, 2, 3));
	t = tr_model_find(m, "blk.0.ffn_down.weight");
	assert_int_equal(t->shard, 2);
	assert_int_equal(t->file_off, m->shards[2].gguf->data_off);
	t = tr_model_find(m, "blk.0.ffn_up.weight");
	assert_int_equal(t->shard, 1);
	assert_int_equal(t->file_off, m->shards[1].gguf->data_off + 128);
	tr_model_close(m);
}

static void later_shard_is_refused_and_names_the_first(void **state)
{
	struct dir *d = *state;
	char first[128], renamed[128];

	write_three(d);
	strcpy(first, shard_path(d, 0, 3));
	assert_refused(shard_path(d, 1, 3), TR_E_INVALID, first);
	assert_refused(shard_path(d, 1, 3), TR_E_INVALID, "is shard 2 of 3");
	snprintf(renamed, sizeof(renamed), "%s/renamed.gguf", d->path);
	assert_int_equal(rename(shard_path(d, 2, 3), renamed), 0);
	assert_refused(renamed, TR_E_INVALID, "its name ends in -00001-of-00003.gguf");
}

static void missing_shard_is_named(void **state)
{
	struct dir *d = *state;
	char second[128];

	write_three(d);
	strcpy(second, shard_path(d, 1, 3));
	unlink(second);
	assert_refused(shard_path(d, 0, 3), TR_E_NOENT, second);
	assert_refused(shard_path(d, 0, 3), TR_E_NOENT, "shard 2 of 3");
}

static void first_shard_must_keep_its_name(void **state)
{
	struct dir *d = *state;
	char renamed[128];

	write_three(d);
	snprintf(renamed, sizeof(renamed), "%s/renamed.gguf", d->path);
	assert_int_equal(rename(shard_path(d, 0, 3), renamed), 0);
	assert_refused(renamed, TR_E_INVALID, "its name does not end in -00001-of-00003.gguf");
}

/* One shard of the three is written anew with other split keys. */
static void spoil(struct dir *d, int shard, int no, int count, int n_tensor)
{
	struct gw w;

	write_three(d);
	gw_begin(&w, 3);
	if (!shard)
		gw_kv_str(&w, "general.architecture", "toy");
	split_keys(&w, no, count, n_tensor);
	save(&w, shard_path(d, shard, 3));
}

static void split_keys_must_agree(void **state)
{
	struct dir *d = *state;
	struct gw w;

	spoil(d, 1, 1, 4, 3);
	assert_refused(shard_path(d, 0, 3), TR_E_FORMAT,
		"m-00002-of-00003.gguf: key 'split.count': value 4, the first shard says 3");
	spoil(d, 1, 2, 3, 3);
	assert_refused(shard_path(d, 0, 3), TR_E_FORMAT,
		"m-00002-of-00003.gguf: key 'split.no': value 2, by its name it must be 1");
	spoil(d, 1, 1, 3, 9);
	assert_refused(shard_path(d, 0, 3), TR_E_FORMAT,
		"key 'split.tensors.count': value 9, the first shard says 3");
	spoil(d, 1, 1, 3, 3);
	assert_refused(shard_path(d, 0, 3), TR_E_FORMAT,
		"key 'split.tensors.count': value 3, but the shards hold 1 tensors");
	spoil(d, 0, 5, 3, 3);
	assert_refused(shard_path(d, 0, 3), TR_E_FORMAT,
		"key 'split.no': value 5 is not below split.count 3");
	spoil(d, 0, 0, -1, 3);
	assert_refused(shard_path(d, 0, 3), TR_E_INVALID, "does not end in -00001-of-65535");
	write_three(d);
	gw_begin(&w, 3);
	gw_kv_str(&w, "general.architecture", "toy");
	gw_kv_int(&w, "split.count", TR_GGUF_U32, 3);
	save(&w, shard_path(d, 0, 3));
	assert_refused(shard_path(d, 0, 3), TR_E_FORMAT, "'split.tensors.count' is missing");
	gw_begin(&w, 3);
	gw_kv_str(&w, "split.count", "three");
	save(&w, shard_path(d, 0, 3));
	assert_refused(shard_path(d, 0, 3), TR_E_FORMAT,
		"key 'split.count': is of type str, must be an integer");
	gw_begin(&w, 3);
	gw_kv_int(&w, "split.count", TR_GGUF_U32, 65536);
	save(&w, shard_path(d, 0, 3));
	assert_refused(shard_path(d, 0, 3), TR_E_LIMIT, "value 65536 is not in [0, 65535]");
}

static void broken_shard_is_refused_with_its_own_path(void **state)
{
	struct dir *d = *state;

	write_three(d);
	assert_int_equal(truncate(shard_path(d, 2, 3), 20), 0);
	assert_refused(shard_path(d, 0, 3), TR_E_FORMAT, "shard 3 of 3");
	assert_refused(shard_path(d, 0, 3), TR_E_FORMAT,
		"m-00003-of-00003.gguf: tensor count at offset 8 is 1, the 4 bytes left");
}

static void same_tensor_in_two_shards_is_refused(void **state)
{
	struct dir *d = *state;
	struct gw w;

	write_three(d);
	begin_shard(&w, 2, 3, 3);
	gw_tensor(&w, "blk.0.ffn_gate.weight", TR_QUANT_F32, 4, 8);
	save(&w, shard_path(d, 2, 3));
	assert_refused(shard_path(d, 0, 3), TR_E_FORMAT, "tensor 'blk.0.ffn_gate.weight' is in ");
}

static void single_file_may_carry_split_keys(void **state)
{
	struct dir *d = *state;
	struct tr_model *m;
	struct tr_err err;
	char path[128];
	struct gw w;

	snprintf(path, sizeof(path), "%s/renamed.gguf", d->path);
	for (int count = 0; count < 2; count++) {
		begin_shard(&w, 0, count, 0);
		save(&w, path);
		if (tr_model_open(&m, path, &err))
			fail_msg("%s", err.msg);
		assert_int_equal(m->n_shard, 1);
		tr_model_close(m);
	}
}

/* --- thirteen shards of Kimi K2.5's shape ----------------------------------------------------- */

#define N_SHARD	   13
#define N_LAYER	   61
#define N_TENSOR   1096
#define N_VOCAB	   163840
#define N_MERGE	   163328
#define SHARD_TENSORS 92

/* Tensors go to the shard being written; the next one begins when it is full. */
struct kimi {
	struct dir *dir;
	struct gw w;
	int shard;
};

static void kimi_metadata(struct gw *w)
{
	char word[24];

	gw_kv_str(w, "general.architecture", "deepseek2");
	gw_kv_u32(w, "deepseek2.block_count", N_LAYER);
	gw_kv_u32(w, "deepseek2.embedding_length", 7168);
	gw_kv_u32(w, "deepseek2.leading_dense_block_count", 1);
	gw_kv_u32(w, "deepseek2.expert_count", 384);
	gw_kv_u32(w, "deepseek2.expert_used_count", 8);
	gw_kv_u32(w, "deepseek2.expert_feed_forward_length", 2048);
	gw_kv_arr(w, "tokenizer.ggml.tokens", TR_GGUF_STR, N_VOCAB);
	for (int i = 0; i < N_VOCAB; i++) {
		snprintf(word, sizeof(word), "token%d", i);
		gw_str(w, word);
	}
	gw_kv_arr(w, "tokenizer.ggml.token_type", TR_GGUF_I32, N_VOCAB);
	gw_fill(w, 0, N_VOCAB * 4);
	gw_kv_arr(w, "tokenizer.ggml.merges", TR_GGUF_STR, N_MERGE);
	for (int i = 0; i < N_MERGE; i++) {
		snprintf(word, sizeof(word), "tok en%d", i);
		gw_str(w, word);
	}
}

static void kimi_next_shard(struct kimi *k)
{
	save(&k->w, shard_path(k->dir, k->shard, N_SHARD));
	k->shard++;
	gw_begin(&k->w, 3);
	split_keys(&k->w, k->shard, N_SHARD, N_TENSOR);
}

static void kimi_put(struct kimi *k, int layer, const char *name, uint32_t type, uint64_t d0,
	uint64_t d1, uint64_t d2)
{
	const uint64_t ne[3] = { d0, d1, d2 };
	char full[TR_GGUF_NAME_BYTES];

	if (layer >= 0)
		snprintf(full, sizeof(full), "blk.%d.%s", layer, name);
	else
		snprintf(full, sizeof(full), "%s", name);
	if (k->w.n_tensor == SHARD_TENSORS)
		kimi_next_shard(k);
	gw_tensor_dims(&k->w, full, type, d2 ? 3 : d1 ? 2 : 1, ne);
}

static void kimi_layer(struct kimi *k, int n)
{
	const uint32_t q = TR_QUANT_Q4_K, f = TR_QUANT_F32;

	kimi_put(k, n, "attn_norm.weight", f, 7168, 0, 0);
	kimi_put(k, n, "attn_q_a.weight", q, 7168, 1536, 0);
	kimi_put(k, n, "attn_q_a_norm.weight", f, 1536, 0, 0);
	kimi_put(k, n, "attn_q_b.weight", q, 1536, 12288, 0);
	kimi_put(k, n, "attn_kv_a_mqa.weight", q, 7168, 576, 0);
	kimi_put(k, n, "attn_kv_a_norm.weight", f, 512, 0, 0);
	kimi_put(k, n, "attn_k_b.weight", TR_QUANT_Q8_0, 128, 512, 64);
	kimi_put(k, n, "attn_v_b.weight", TR_QUANT_Q8_0, 512, 128, 64);
	kimi_put(k, n, "attn_output.weight", q, 8192, 7168, 0);
	kimi_put(k, n, "ffn_norm.weight", f, 7168, 0, 0);
	if (n < 1) {
		kimi_put(k, n, "ffn_gate.weight", q, 7168, 18432, 0);
		kimi_put(k, n, "ffn_up.weight", q, 7168, 18432, 0);
		kimi_put(k, n, "ffn_down.weight", q, 18432, 7168, 0);
		return;
	}
	kimi_put(k, n, "ffn_gate_inp.weight", f, 7168, 384, 0);
	kimi_put(k, n, "exp_probs_b.bias", f, 384, 0, 0);
	kimi_put(k, n, "ffn_gate_exps.weight", q, 7168, 2048, 384);
	kimi_put(k, n, "ffn_up_exps.weight", q, 7168, 2048, 384);
	kimi_put(k, n, "ffn_down_exps.weight", q, 2048, 7168, 384);
	kimi_put(k, n, "ffn_gate_shexp.weight", q, 7168, 2048, 0);
	kimi_put(k, n, "ffn_up_shexp.weight", q, 7168, 2048, 0);
	kimi_put(k, n, "ffn_down_shexp.weight", q, 2048, 7168, 0);
}

static void write_kimi(struct dir *d)
{
	struct kimi k = { .dir = d };

	gw_begin(&k.w, 3);
	kimi_metadata(&k.w);
	split_keys(&k.w, 0, N_SHARD, N_TENSOR);
	kimi_next_shard(&k); /* the first has no tensors */
	kimi_put(&k, -1, "token_embd.weight", TR_QUANT_Q4_K, 7168, N_VOCAB, 0);
	for (int n = 0; n < N_LAYER; n++)
		kimi_layer(&k, n);
	kimi_put(&k, -1, "output_norm.weight", TR_QUANT_F32, 7168, 0, 0);
	kimi_put(&k, -1, "output.weight", TR_QUANT_Q4_K, 7168, N_VOCAB, 0);
	save(&k.w, shard_path(d, k.shard, N_SHARD));
	assert_int_equal(k.shard, N_SHARD - 1);
}

/* Pages of the file from off on that the kernel holds in memory. */
static size_t resident_pages(const char *path, uint64_t off)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), n_page, n = 0;
	int fd = open(path, O_RDONLY);
	unsigned char *in_core;
	struct stat st;
	void *map;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	off = (off + page - 1) / page * page;
	n_page = ((uint64_t)st.st_size - off + page - 1) / page;
	in_core = malloc(n_page);
	map = mmap(NULL, n_page * page, PROT_READ, MAP_SHARED, fd, (off_t)off);
	assert_non_null(in_core);
	assert_ptr_not_equal(map, MAP_FAILED);
	assert_int_equal(mincore(map, n_page * page, in_core), 0);
	for (size_t i = 0; i < n_page; i++)
		n += in_core[i] & 1;
	munmap(map, n_page * page);
	free(in_core);
	close(fd);
	return n;
}

/* The kernel says of each page of a file whether it was brought in, so a weight that is read shows;
 * the byte read at the end proves that it would. */
static void assert_no_weights_were_read(struct tr_model *m)
{
	const struct tr_shard *last = &m->shards[N_SHARD - 1];
	char byte;
	int fd;

	for (size_t i = 1; i < m->n_shard; i++) {
		assert_true(m->shards[i].file_bytes > (uint64_t)20 << 30);
		assert_int_equal(resident_pages(m->shards[i].path, m->shards[i].gguf->data_off), 0);
	}
	fd = open(last->path, O_RDONLY);
	assert_int_equal(pread(fd, &byte, 1, (off_t)(last->gguf->data_off + (1 << 20))), 1);
	close(fd);
	assert_true(resident_pages(last->path, last->gguf->data_off) > 0);
}

static double cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void assert_kimi_catalog(const struct tr_model *m)
{
	struct tr_catalog *cat;
	struct tr_err err;
	size_t n_straddling = 0;

	if (tr_catalog_build(&cat, m, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(cat->n_layer, N_LAYER);
	assert_int_equal(cat->n_moe_layer, 60);
	assert_int_equal(cat->n_unit, 60 * 384);
	assert_int_equal(cat->n_used, 8);
	assert_int_equal(cat->moe_of_layer[0], -1);
	assert_int_equal(cat->moe_of_layer[60], 59);
	assert_int_equal(cat->unit_bytes_max, 24772608);
	assert_int_equal(cat->bytes, 570760888320);
	assert_int_equal(cat->floor_bytes, 11890851840);
	for (size_t i = 0; i < cat->n_unit; i++) {
		assert_int_equal(cat->units[i].part[TR_PART_UP].bytes, 8257536);
		n_straddling += cat->units[i].part[0].shard != cat->units[i].part[2].shard;
	}
	assert_true(n_straddling > 0);
	tr_catalog_free(cat);
}

static void thirteen_shards_open_fast_and_without_reading_weights(void **state)
{
	struct dir *d = *state;
	struct tr_model *m;
	struct tr_err err;
	double s;

	write_kimi(d);
	s = cpu_seconds();
	if (tr_model_open(&m, shard_path(d, 0, N_SHARD), &err))
		fail_msg("%s", err.msg);
	s = cpu_seconds() - s;
	print_message("# 13 shards, 1096 tensors, 163840 tokens open in %.4f s of processor time\n",
		s);
	assert_true(s < 5);
	assert_int_equal(m->n_shard, N_SHARD);
	assert_int_equal(m->n_tensor, N_TENSOR);
	assert_int_equal(m->shards[0].gguf->n_tensor, 0);
	assert_no_weights_were_read(m);
	assert_kimi_catalog(m);
	tr_model_close(m);
}

#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_DIR(all_shards_are_found_from_the_first),
		IN_DIR(later_shard_is_refused_and_names_the_first),
		IN_DIR(missing_shard_is_named),
		IN_DIR(first_shard_must_keep_its_name),
		IN_DIR(split_keys_must_agree),
		IN_DIR(broken_shard_is_refused_with_its_own_path),
		IN_DIR(same_tensor_in_two_shards_is_refused),
		IN_DIR(single_file_may_carry_split_keys),
		IN_DIR(thirteen_shards_open_fast_and_without_reading_weights),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
