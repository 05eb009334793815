#include "test.h"
#include "base/mem.h"
#include "compute/rope.h"
#include "kernels_data.h"
#include "mla_plain.h"

#include <math.h>

/* Runs the real thing into in->out. */
static void attend(struct mla_inputs *in, const struct tr_kernels *k, unsigned n_thread)
{
	struct tr_pool_cfg cfg = { .n_thread = n_thread };
	struct tr_ops ops = { NULL, k };
	struct tr_err err;
	size_t bytes;
	void *scratch;

	assert_int_equal(tr_pool_new(&ops.pool, &cfg, &err), 0);
	bytes = tr_mla_scratch_bytes(&in->mla, in->kv.n_ctx, n_thread);
	scratch = tr_calloc(1, bytes);
	assert_non_null(scratch);
	memset(scratch, 0xff, bytes);
	memset(in->out, 0xff, in->n_tok * in->out_stride * sizeof(float));
	tr_mla_attend(&in->mla, &ops, &in->kv, in->layer, in->pos, in->n_tok, in->q, in->q_stride,
		in->rope, &in->k_b, &in->v_b, in->out, in->out_stride, scratch);
	free(scratch);
	tr_pool_free(ops.pool);
}

struct shape {
	uint32_t n_head, n_lat, n_rot, pos, n_tok;
	enum tr_kv_type type;
	enum tr_quant_id weight;
};

static void make(struct mla_inputs *in, const struct shape *s, uint64_t seed)
{
	*in = (struct mla_inputs){
		.mla = { s->n_head, 32, s->n_rot, s->n_lat, 24, 0.11f },
		.kv = { .type = s->type, .n_layer = 2, .n_ctx = s->pos + s->n_tok + 5 },
		.layer = 1,
		.pos = s->pos,
		.n_tok = s->n_tok,
	};
	assert_int_equal(mla_inputs_new(in, tr_quant_by_id(s->weight), seed), 0);
}

/* Every head of the first, the last and some token between. */
static void check_plain(const struct mla_inputs *in, const struct tr_kernels *k, const char *what)
{
	const struct tr_mla *m = &in->mla;
	float *room = tr_calloc(mla_plain_room(in), sizeof(float)), *want;

	want = tr_calloc(m->n_v, sizeof(*want));
	assert_non_null(room);
	assert_non_null(want);
	for (size_t t = 0; t < in->n_tok; t += TR_MAX((in->n_tok - 1) / 2, (size_t)1))
		for (uint32_t h = 0; h < m->n_head; h++) {
			mla_plain_head(in, tr_kernels_best(), h, t, room, want);
			for (uint32_t i = 0; i < m->n_v; i++) {
				float got = in->out[t * in->out_stride + h * m->n_v + i];

				if (!same_float(got, want[i]))
					fail_msg("%s %s: head %u of %u, token %zu of %zu at %u, "
						 "value %u: %a, not %a", k->name, what, h,
						m->n_head, t, in->n_tok, in->pos, i, (double)got,
						(double)want[i]);
			}
		}
	free(room);
	free(want);
}

static void check_shape(const struct shape *s, uint64_t seed)
{
	const struct tr_kernels *k;
	struct mla_inputs in;

	make(&in, s, seed);
	for_each_isa(k) {
		/* The portable set is slow, and one run of it says as much. */
		unsigned most = k->isa == TR_ISA_SCALAR ? 1 : 3;

		for (unsigned n_thread = 1; n_thread <= most; n_thread++) {
			attend(&in, k, n_thread);
			check_plain(&in, k, n_thread == 1 ? "1 thread" : "threads");
		}
	}
	mla_inputs_free(&in);
}

static void chosen_shapes_have_the_bits_of_one_head_at_a_time(void **state)
{
	static const struct shape shapes[] = {
		{ 1, 64, 16, 0, 1, TR_KV_F16, TR_QUANT_Q8_0 },
		{ 1, 64, 16, 1099, 1, TR_KV_F16, TR_QUANT_Q8_0 },
		{ 8, 512, 64, 255, 1, TR_KV_F16, TR_QUANT_Q8_0 },
		{ 8, 512, 64, 256, 1, TR_KV_F32, TR_QUANT_Q8_0 },
		{ 65, 512, 64, 511, 1, TR_KV_F16, TR_QUANT_Q8_0 },
		{ 65, 64, 16, 250, 13, TR_KV_F32, TR_QUANT_F32 },
		{ 16, 64, 64, 0, 70, TR_KV_F16, TR_QUANT_F32 },
		{ 9, 64, 16, 700, 40, TR_KV_F16, TR_QUANT_Q8_0 },
		{ 2, 64, 16, 509, 6, TR_KV_F32, TR_QUANT_Q8_0 },
		{ 65, 512, 64, 511, 1, TR_KV_Q8_0, TR_QUANT_Q8_0 },
		{ 9, 64, 16, 700, 40, TR_KV_Q8_0, TR_QUANT_Q8_0 },
		{ 3, 32, 6, 40, 1, TR_KV_Q8_0, TR_QUANT_F32 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
		check_shape(&shapes[i], i);
}

static void random_shapes_have_the_bits_of_one_head_at_a_time(void **state)
{
	uint64_t seed = 11;

	(void)state;
	for (int i = 0; i < 24; i++) {
		struct shape s = {
			.n_head = 1 + rnd(&seed) % (i % 4 ? 20 : 65),
			.n_lat = rnd(&seed) % 4 ? 64 : 512,
			.n_rot = rnd(&seed) % 2 ? 16 : 64,
			.pos = rnd(&seed) % 1060,
			.n_tok = 1 + (rnd(&seed) % 2 ? rnd(&seed) % 40 : 0),
			.type = (enum tr_kv_type)(rnd(&seed) % 3),
			.weight = rnd(&seed) % 2 ? TR_QUANT_Q8_0 : TR_QUANT_F32,
		};

		check_shape(&s, 100 + (uint64_t)i);
	}
}

static void tokens_one_by_one_have_the_bits_of_all_at_once(void **state)
{
	static const struct shape shape = { 12, 64, 16, 200, 90, TR_KV_F16, TR_QUANT_Q8_0 };
	struct mla_inputs in, one;
	size_t n;
	float *all;

	(void)state;
	make(&in, &shape, 5);
	n = in.n_tok * in.out_stride;
	all = malloc(n * sizeof(*all));
	assert_non_null(all);
	attend(&in, tr_kernels_best(), 2);
	memcpy(all, in.out, n * sizeof(*all));
	for (uint32_t t = 0; t < shape.n_tok; t++) {
		one = in;
		one.pos += t;
		one.n_tok = 1;
		one.q += t * in.q_stride;
		one.rope += t * in.mla.n_rot;
		one.out += t * in.out_stride;
		attend(&one, tr_kernels_best(), 1 + t % 3);
	}
	for (uint32_t t = 0; t < shape.n_tok; t++)
		assert_memory_equal(in.out + t * in.out_stride, all + t * in.out_stride,
			in.mla.n_head * in.mla.n_v * sizeof(float));
	free(all);
	mla_inputs_free(&in);
}

/* One head of one token in double precision; k_b and v_b are floats. */
static void attend_in_double(const struct mla_inputs *in, uint32_t h, size_t t, double *out)
{
	const struct tr_mla *m = &in->mla;
	const float *q = in->q + t * in->q_stride + h * (size_t)(m->n_nope + m->n_rot);
	const float *k_b = (const float *)(const void *)in->k_b.data + h * m->n_lat * m->n_nope;
	const float *v_b = (const float *)(const void *)in->v_b.data + h * m->n_v * m->n_lat;
	const float *angle = in->rope + t * m->n_rot;
	double query[576] = { 0 }, ctx[512] = { 0 }, denominator = 0;

	for (uint32_t i = 0; i < m->n_lat; i++)
		for (uint32_t j = 0; j < m->n_nope; j++)
			query[i] += (double)k_b[i * m->n_nope + j] * (double)q[j];
	for (uint32_t i = 0; i < m->n_rot; i += 2) {
		double a = (double)q[m->n_nope + i], b = (double)q[m->n_nope + i + 1];

		query[m->n_lat + i] = a * (double)angle[i] - b * (double)angle[i + 1];
		query[m->n_lat + i + 1] = a * (double)angle[i + 1] + b * (double)angle[i];
	}
	for (size_t p = 0; p <= in->pos + t; p++) {
		const float *row = (const float *)(void *)tr_kv_row(&in->kv, in->layer, (uint32_t)p);
		double score = 0, e;

		for (uint32_t i = 0; i < m->n_lat + m->n_rot; i++)
			score += query[i] * (double)row[i];
		e = exp((double)m->scale * score);
		denominator += e;
		for (uint32_t i = 0; i < m->n_lat; i++)
			ctx[i] += e * (double)row[i];
	}
	for (uint32_t i = 0; i < m->n_v; i++) {
		out[i] = 0;
		for (uint32_t j = 0; j < m->n_lat; j++)
			out[i] += (double)v_b[i * m->n_lat + j] * ctx[j] / denominator;
	}
}

static void result_is_attention(void **state)
{
	static const struct shape shapes[] = {
		{ 3, 64, 16, 0, 9, TR_KV_F32, TR_QUANT_F32 },
		{ 11, 512, 64, 600, 1, TR_KV_F32, TR_QUANT_F32 },
		{ 10, 64, 64, 500, 20, TR_KV_F32, TR_QUANT_F32 },
	};
	struct mla_inputs in;
	double want[24];

	(void)state;
	for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++) {
		make(&in, &shapes[s], 20 + s);
		attend(&in, tr_kernels_best(), 2);
		for (size_t t = 0; t < in.n_tok; t++)
			for (uint32_t h = 0; h < in.mla.n_head; h++) {
				const float *got = in.out + t * in.out_stride + h * in.mla.n_v;

				attend_in_double(&in, h, t, want);
				for (uint32_t i = 0; i < in.mla.n_v; i++)
					if (fabs((double)got[i] - want[i]) > 2e-5)
						fail_msg("shape %zu token %zu head %u: %g, not %g",
							s, t, h, (double)got[i], want[i]);
			}
		mla_inputs_free(&in);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chosen_shapes_have_the_bits_of_one_head_at_a_time),
		cmocka_unit_test(random_shapes_have_the_bits_of_one_head_at_a_time),
		cmocka_unit_test(tokens_one_by_one_have_the_bits_of_all_at_once),
		cmocka_unit_test(result_is_attention),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
