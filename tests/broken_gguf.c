#include "broken_gguf.h"

#include "model/quant.h"

#include <string.h>

/* A file with one long key, so that a broken second entry fails for its own sake and not because
 * the counts promise more than the bytes left can hold. */
static void start(struct gw *w)
{
	gw_begin(w, 3);
	gw_key(w, "padding", TR_GGUF_STR);
	gw_u64(w, 200);
	gw_fill(w, 'x', 200);
}

/* Ends the file keep bytes from its start, counts written. */
static void cut(struct gw *w, size_t keep)
{
	gw_counts(w, w->n_tensor, w->n_kv);
	w->n = keep;
	w->data_bytes = 0;
}

static void cut_by(struct gw *w, size_t n)
{
	cut(w, w->n - n);
}

static void cut_key(struct gw *w, uint32_t type, size_t value_bytes)
{
	start(w);
	gw_key(w, "k", type);
	gw_fill(w, 0, value_bytes);
	cut_by(w, 0);
}

/* --- magic, version, counts ------------------------------------------------------------------- */

static void empty(struct gw *w)
{
	gw_begin(w, 3);
	cut(w, 0);
}

static void half_a_magic(struct gw *w)
{
	gw_begin(w, 3);
	cut(w, 3);
}

static void magic_swapped(struct gw *w)
{
	start(w);
	memcpy(w->p, "FUGG", 4);
	gw_end(w);
}

static void magic_of_older_format(struct gw *w)
{
	start(w);
	memcpy(w->p, "tjgg", 4);
	gw_end(w);
}

static void version_cut(struct gw *w)
{
	gw_begin(w, 3);
	cut(w, 6);
}

static void version_is(struct gw *w, uint32_t version)
{
	gw_begin(w, version);
	gw_kv_u32(w, "k", 1);
	gw_end(w);
}

static void version_0(struct gw *w)
{
	version_is(w, 0);
}

static void version_1(struct gw *w)
{
	version_is(w, 1);
}

static void version_4(struct gw *w)
{
	version_is(w, 4);
}

static void version_2_big_endian(struct gw *w)
{
	version_is(w, 0x02000000);
}

static void version_3_big_endian(struct gw *w)
{
	version_is(w, 0x03000000);
}

static void tensor_count_cut(struct gw *w)
{
	gw_begin(w, 3);
	cut(w, 15);
}

static void key_count_cut(struct gw *w)
{
	gw_begin(w, 3);
	cut(w, 17);
}

static void counts_are(struct gw *w, uint64_t n_tensor, uint64_t n_kv)
{
	start(w);
	gw_fill(w, 0xff, 64);
	gw_end(w);
	gw_counts(w, n_tensor, n_kv);
}

static void tensor_count_negative(struct gw *w)
{
	counts_are(w, UINT64_MAX, 1);
}

static void tensor_count_above_limit(struct gw *w)
{
	counts_are(w, 1 << 21, 1);
}

static void tensor_count_above_bytes(struct gw *w)
{
	counts_are(w, 1000, 1);
}

static void tensor_count_one_too_many(struct gw *w)
{
	counts_are(w, 1, 1);
}

static void key_count_negative(struct gw *w)
{
	counts_are(w, 0, (uint64_t)1 << 63);
}

static void key_count_above_limit(struct gw *w)
{
	counts_are(w, 0, 65537);
}

static void key_count_above_bytes(struct gw *w)
{
	counts_are(w, 0, 60000);
}

static void key_count_one_too_many(struct gw *w)
{
	counts_are(w, 0, 2);
}

/* --- keys ------------------------------------------------------------------------------------- */

static void key_length_cut(struct gw *w)
{
	start(w);
	w->n_kv++;
	gw_u32(w, 1);
	cut_by(w, 0);
}

static void key_text_cut(struct gw *w)
{
	start(w);
	w->n_kv++;
	gw_u64(w, 30);
	gw_fill(w, 'k', 20);
	cut_by(w, 0);
}

static void key_empty(struct gw *w)
{
	start(w);
	gw_kv_u32(w, "", 1);
	gw_end(w);
}

static void key_with_zero_byte(struct gw *w)
{
	start(w);
	gw_kv_u32(w, "a?b", 1);
	*(uint8_t *)memchr(w->p, '?', w->n) = 0;
	gw_end(w);
}

static void key_with_escape(struct gw *w)
{
	start(w);
	gw_kv_u32(w, "ab\033[2J", 1);
	gw_end(w);
}

static void key_too_long(struct gw *w)
{
	start(w);
	w->n_kv++;
	gw_u64(w, 65536);
	gw_fill(w, 'k', 65536);
	gw_u32(w, TR_GGUF_U8);
	gw_u8(w, 1);
	gw_end(w);
}

static void key_length_wraps(struct gw *w)
{
	start(w);
	w->n_kv++;
	gw_u64(w, UINT64_MAX - 7);
	gw_fill(w, 'k', 64);
	gw_end(w);
}

static void key_twice(struct gw *w)
{
	start(w);
	gw_kv_u32(w, "same.key", 1);
	gw_kv_u32(w, "same.key", 1);
	gw_end(w);
}

static void key_twice_far_apart(struct gw *w)
{
	char key[16] = "far.00";

	start(w);
	for (int i = 0; i < 100; i++) {
		key[4] = (char)('0' + i / 10);
		key[5] = (char)('0' + i % 10);
		gw_kv_u32(w, key, 1);
	}
	gw_kv_str(w, "far.07", "of another type");
	gw_end(w);
}

/* --- values ----------------------------------------------------------------------------------- */

static void value_type_cut(struct gw *w)
{
	start(w);
	gw_key(w, "k", 0);
	cut_by(w, 2);
}

static void value_type_13(struct gw *w)
{
	start(w);
	gw_key(w, "k", 13);
	gw_u64(w, 0);
	gw_end(w);
}

static void value_type_huge(struct gw *w)
{
	start(w);
	gw_key(w, "k", UINT32_MAX);
	gw_u64(w, 0);
	gw_end(w);
}

static void u8_cut(struct gw *w)
{
	cut_key(w, TR_GGUF_U8, 0);
}

static void i16_cut(struct gw *w)
{
	cut_key(w, TR_GGUF_I16, 1);
}

static void f32_cut(struct gw *w)
{
	cut_key(w, TR_GGUF_F32, 3);
}

static void u64_cut(struct gw *w)
{
	cut_key(w, TR_GGUF_U64, 7);
}

static void string_length_cut(struct gw *w)
{
	cut_key(w, TR_GGUF_STR, 5);
}

static void string_is(struct gw *w, uint64_t n)
{
	start(w);
	gw_key(w, "text", TR_GGUF_STR);
	gw_u64(w, n);
	gw_fill(w, 't', 100);
	gw_end(w);
}

static void string_text_cut(struct gw *w)
{
	string_is(w, 1000);
}

static void string_above_limit(struct gw *w)
{
	string_is(w, ((uint64_t)1 << 30) + 1);
}

static void string_length_wraps(struct gw *w)
{
	string_is(w, UINT64_MAX);
}

static void bool_2(struct gw *w)
{
	start(w);
	gw_kv_int(w, "flag", TR_GGUF_BOOL, 2);
	gw_end(w);
}

static void bool_255_in_array(struct gw *w)
{
	start(w);
	gw_kv_arr(w, "flags", TR_GGUF_BOOL, 3);
	gw_raw(w, "\0\1\377", 3);
	gw_end(w);
}

/* --- arrays ----------------------------------------------------------------------------------- */

static void array_type_cut(struct gw *w)
{
	cut_key(w, TR_GGUF_ARR, 2);
}

static void array_count_cut(struct gw *w)
{
	cut_key(w, TR_GGUF_ARR, 11);
}

static void array_is(struct gw *w, uint32_t type, uint64_t n)
{
	start(w);
	gw_kv_arr(w, "list", type, n);
	gw_fill(w, 0, 100);
	gw_end(w);
}

static void array_of_type_13(struct gw *w)
{
	array_is(w, 13, 2);
}

static void array_of_arrays(struct gw *w)
{
	array_is(w, TR_GGUF_ARR, 1);
}

static void array_count_above_limit(struct gw *w)
{
	array_is(w, TR_GGUF_U8, ((uint64_t)1 << 30) + 1);
}

static void array_count_wraps(struct gw *w)
{
	array_is(w, TR_GGUF_U64, (uint64_t)1 << 61);
}

static void array_of_u32_cut(struct gw *w)
{
	array_is(w, TR_GGUF_U32, 1000);
}

static void array_of_f64_at_limit(struct gw *w)
{
	array_is(w, TR_GGUF_F64, (uint64_t)1 << 30);
}

static void array_of_strings_cut(struct gw *w)
{
	array_is(w, TR_GGUF_STR, 50);
}

static void array_string_cut(struct gw *w)
{
	start(w);
	gw_kv_arr(w, "words", TR_GGUF_STR, 3);
	gw_str(w, "one");
	gw_str(w, "two");
	gw_u64(w, 3000);
	gw_str(w, "three");
	gw_end(w);
}

static void array_string_length_cut(struct gw *w)
{
	start(w);
	gw_kv_arr(w, "words", TR_GGUF_STR, 2);
	gw_str(w, "a long word");
	gw_u32(w, 0);
	cut_by(w, 0);
}

static void array_string_above_limit(struct gw *w)
{
	start(w);
	gw_kv_arr(w, "words", TR_GGUF_STR, 2);
	gw_str(w, "one");
	gw_u64(w, (uint64_t)1 << 40);
	gw_end(w);
}

/* --- alignment -------------------------------------------------------------------------------- */

static void alignment_is(struct gw *w, enum tr_gguf_type type, uint64_t v)
{
	start(w);
	gw_kv_int(w, "general.alignment", type, (int64_t)v);
	gw_tensor(w, "t", TR_QUANT_F32, 8);
	gw_end_with_data(w);
}

static void alignment_of_type_u64(struct gw *w)
{
	alignment_is(w, TR_GGUF_U64, 32);
}

static void alignment_array(struct gw *w)
{
	start(w);
	gw_kv_arr(w, "general.alignment", TR_GGUF_U32, 1);
	gw_u32(w, 32);
	gw_end(w);
}

static void alignment_0(struct gw *w)
{
	alignment_is(w, TR_GGUF_U32, 0);
}

static void alignment_48(struct gw *w)
{
	alignment_is(w, TR_GGUF_U32, 48);
}

static void alignment_4(struct gw *w)
{
	alignment_is(w, TR_GGUF_U32, 4);
}

static void alignment_beyond_file(struct gw *w)
{
	alignment_is(w, TR_GGUF_U32, (uint64_t)1 << 31);
}

/* --- tensor infos ----------------------------------------------------------------------------- */

static void tensor_cut(struct gw *w, size_t n)
{
	start(w);
	gw_tensor(w, "weight", TR_QUANT_F32, 4, 2);
	cut_by(w, n);
}

static void tensor_offset_cut(struct gw *w)
{
	tensor_cut(w, 3);
}

static void tensor_type_cut(struct gw *w)
{
	tensor_cut(w, 8 + 1);
}

static void tensor_dimension_cut(struct gw *w)
{
	tensor_cut(w, 8 + 4 + 5);
}

static void tensor_n_dims_cut(struct gw *w)
{
	tensor_cut(w, 8 + 4 + 16 + 2);
}

static void tensor_name_text_cut(struct gw *w)
{
	tensor_cut(w, 8 + 4 + 16 + 4 + 2);
}

static void tensor_name_length_cut(struct gw *w)
{
	tensor_cut(w, 8 + 4 + 16 + 4 + 6 + 4);
}

static void named(struct gw *w, const char *name)
{
	start(w);
	gw_tensor(w, name, TR_QUANT_F32, 8);
	gw_end_with_data(w);
}

static void tensor_name_empty(struct gw *w)
{
	named(w, "");
}

static void tensor_name_of_64_bytes(struct gw *w)
{
	named(w, "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
}

static void tensor_name_with_zero_byte(struct gw *w)
{
	named(w, "blk?0");
	*(uint8_t *)memchr(w->p, '?', w->n) = 0;
}

static void tensor_name_with_newline(struct gw *w)
{
	named(w, "blk.0\n");
}

static void tensor_name_twice(struct gw *w)
{
	start(w);
	gw_tensor(w, "twin", TR_QUANT_F32, 8);
	gw_tensor(w, "other", TR_QUANT_F32, 8);
	gw_tensor(w, "twin", TR_QUANT_F32, 8);
	gw_end_with_data(w);
}

static void shaped(struct gw *w, uint32_t type, uint32_t n_dim, uint64_t d0, uint64_t d1,
	uint64_t d2)
{
	const uint64_t ne[8] = { d0, d1, d2, 1, 1 };

	start(w);
	gw_tensor_at(w, "weight", type, n_dim, ne, 0);
	w->data_bytes = 1024;
	gw_end_with_data(w);
}

static void tensor_without_dimensions(struct gw *w)
{
	shaped(w, TR_QUANT_F32, 0, 0, 0, 0);
}

static void tensor_of_5_dimensions(struct gw *w)
{
	shaped(w, TR_QUANT_F32, 5, 1, 1, 1);
}

static void tensor_n_dims_huge(struct gw *w)
{
	start(w);
	gw_str(w, "weight");
	gw_u32(w, UINT32_MAX);
	gw_fill(w, 1, 100);
	w->n_tensor++;
	gw_end(w);
}

static void tensor_dimension_0(struct gw *w)
{
	shaped(w, TR_QUANT_F32, 2, 4, 0, 1);
}

static void tensor_dimension_negative(struct gw *w)
{
	shaped(w, TR_QUANT_F32, 3, 4, 4, (uint64_t)1 << 63);
}

static void tensor_dimensions_wrap(struct gw *w)
{
	shaped(w, TR_QUANT_F32, 2, (uint64_t)1 << 32, (uint64_t)1 << 32, 1);
}

static void tensor_dimensions_above_limit(struct gw *w)
{
	shaped(w, TR_QUANT_F32, 3, 4, (uint64_t)1 << 60, 2);
}

static void tensor_row_of_half_a_block(struct gw *w)
{
	shaped(w, TR_QUANT_Q4_K, 2, 128, 2, 1);
}

static void tensor_row_of_a_block_and_a_half(struct gw *w)
{
	shaped(w, TR_QUANT_IQ1_M, 2, 384, 2, 1);
}

static void tensor_row_of_33(struct gw *w)
{
	shaped(w, TR_QUANT_Q4_0, 2, 33, 32, 1);
}

static void tensor_bytes_wrap(struct gw *w)
{
	shaped(w, TR_QUANT_F32, 1, (uint64_t)1 << 62, 1, 1);
}

static void tensor_bytes_above_limit(struct gw *w)
{
	shaped(w, TR_QUANT_F16, 2, (uint64_t)1 << 31, (uint64_t)1 << 31, 1);
}

static void type_removed_q4_2(struct gw *w)
{
	shaped(w, 4, 1, 32, 1, 1);
}

static void type_removed_q4_0_4_4(struct gw *w)
{
	shaped(w, 31, 1, 32, 1, 1);
}

static void type_of_activations(struct gw *w)
{
	shaped(w, 9, 1, 32, 1, 1);
}

static void type_of_a_fork(struct gw *w)
{
	shaped(w, 137, 1, 256, 1, 1);
}

static void type_in_a_gap(struct gw *w)
{
	shaped(w, 63, 1, 32, 1, 1);
}

static void type_integer(struct gw *w)
{
	shaped(w, 26, 1, 32, 1, 1);
}

static void type_unknown(struct gw *w)
{
	shaped(w, 1000, 1, 32, 1, 1);
}

static void type_huge(struct gw *w)
{
	shaped(w, UINT32_MAX, 1, 32, 1, 1);
}

/* --- the data section ------------------------------------------------------------------------- */

static void placed(struct gw *w, uint64_t off, uint64_t data_bytes)
{
	const uint64_t ne[1] = { 64 };

	start(w);
	gw_tensor_at(w, "weight", TR_QUANT_F32, 1, ne, off);
	w->data_bytes = data_bytes;
	gw_end_with_data(w);
}

static void offset_unaligned(struct gw *w)
{
	placed(w, 16, 512);
}

static void offset_past_data(struct gw *w)
{
	placed(w, 1024, 512);
}

static void offset_wraps(struct gw *w)
{
	placed(w, UINT64_MAX - 31, 512);
}

static void data_one_byte_short(struct gw *w)
{
	placed(w, 0, 255);
}

static void data_at_end_of_file(struct gw *w)
{
	placed(w, 512, 512);
}

static void data_missing(struct gw *w)
{
	placed(w, 0, 0);
}

static void file_ends_in_padding(struct gw *w)
{
	start(w);
	gw_tensor(w, "last", TR_QUANT_F32, 8);
	cut_by(w, 0);
}

static void pair(struct gw *w, uint64_t off_a, uint64_t off_b)
{
	const uint64_t ne[1] = { 64 };

	start(w);
	gw_tensor_at(w, "first", TR_QUANT_F32, 1, ne, off_a);
	gw_tensor_at(w, "second", TR_QUANT_F32, 1, ne, off_b);
	w->data_bytes = 4096;
	gw_end_with_data(w);
}

static void tensors_overlap(struct gw *w)
{
	pair(w, 0, 224);
}

static void tensors_overlap_backwards(struct gw *w)
{
	pair(w, 512, 288);
}

static void tensors_at_same_offset(struct gw *w)
{
	pair(w, 1024, 1024);
}

#define CASE(name, says) { #name, name, says }

const struct gguf_case broken_ggufs[] = {
	CASE(empty, "magic needs 4 bytes at offset 0, the file ends at 0"),
	CASE(half_a_magic, "the file ends at 3"),
	CASE(magic_swapped, "not a GGUF file: bytes at offset 0 are 46 55 47 47"),
	CASE(magic_of_older_format, "bytes at offset 0 are 74 6a 67 67"),
	CASE(version_cut, "version needs 4 bytes at offset 4"),
	CASE(version_0, "version 0 at offset 4 does not exist"),
	CASE(version_1, "version 1 at offset 4 has 32-bit lengths"),
	CASE(version_4, "version 4 at offset 4 is newer than the limit 3"),
	CASE(version_2_big_endian, "version 0x02000000 at offset 4 is byte-swapped"),
	CASE(version_3_big_endian, "version 0x03000000 at offset 4 is byte-swapped"),
	CASE(tensor_count_cut, "tensor count needs 8 bytes at offset 8"),
	CASE(tensor_count_negative, "tensor count at offset 8 is negative"),
	CASE(tensor_count_above_limit, "tensor count at offset 8 is 2097152, limit 1048576"),
	CASE(tensor_count_above_bytes, "tensor count at offset 8 is 1000, the "),
	CASE(tensor_count_one_too_many, "tensor 0: name at offset 251 has 18446744073709551615 b"),
	CASE(key_count_cut, "key count needs 8 bytes at offset 16"),
	CASE(key_count_negative, "key count at offset 16 is negative"),
	CASE(key_count_above_limit, "key count at offset 16 is 65537, limit 65536"),
	CASE(key_count_above_bytes, "key count at offset 16 is 60000, the "),
	CASE(key_count_one_too_many, "key 1: key at offset 251 has 18446744073709551615 bytes"),
	CASE(key_length_cut, "key 1: key needs 8 bytes"),
	CASE(key_text_cut, "key 1: key needs 30 bytes"),
	CASE(key_empty, "key 1: key at offset 251 is empty"),
	CASE(key_with_zero_byte, "has a zero byte 0x00 at position 1"),
	CASE(key_with_escape, "has control character 0x1b at position 2"),
	CASE(key_too_long, "has 65536 bytes, limit 65535"),
	CASE(key_length_wraps, "has 18446744073709551608 bytes, limit 65535"),
	CASE(key_twice, "key 'same.key': appears again"),
	CASE(key_twice_far_apart, "key 'far.07': appears again"),
	CASE(value_type_cut, "key 'k': value type needs 4 bytes"),
	CASE(value_type_13, "key 'k': value type at offset 260 is 13, limit 12"),
	CASE(value_type_huge, "key 'k': value type at offset 260 is 4294967295, limit 12"),
	CASE(u8_cut, "key 'k': value needs 1 bytes"),
	CASE(i16_cut, "key 'k': value needs 2 bytes"),
	CASE(f32_cut, "key 'k': value needs 4 bytes"),
	CASE(u64_cut, "key 'k': value needs 8 bytes"),
	CASE(string_length_cut, "key 'k': string needs 8 bytes"),
	CASE(string_text_cut, "key 'text': string needs 1000 bytes"),
	CASE(string_above_limit, "has 1073741825 bytes, limit 1073741824"),
	CASE(string_length_wraps, "has 18446744073709551615 bytes, limit 1073741824"),
	CASE(bool_2, "key 'flag': bool at offset 267 is 2, not 0 or 1"),
	CASE(bool_255_in_array, "key 'flags': bool in array at offset 282 is 255, not 0 or 1"),
	CASE(array_type_cut, "array element type needs 4 bytes"),
	CASE(array_of_type_13, "array element type at offset 267 is 13, limit 12"),
	CASE(array_of_arrays, "array of arrays at offset 267, nesting limit 1"),
	CASE(array_count_cut, "array count needs 8 bytes"),
	CASE(array_count_above_limit, "is 1073741825, limit 1073741824"),
	CASE(array_count_wraps, "is 2305843009213693952, limit 1073741824"),
	CASE(array_of_u32_cut, "key 'list': array needs 4000 bytes"),
	CASE(array_of_f64_at_limit, "key 'list': array needs 8589934592 bytes"),
	CASE(array_of_strings_cut, "key 'list': array of strings needs 400 bytes"),
	CASE(array_string_cut, "key 'words': string 2 of 3 needs 3000 bytes"),
	CASE(array_string_length_cut, "key 'words': string 1 of 2 needs 8 bytes"),
	CASE(array_string_above_limit, "string 1 of 2 at offset 291 has 1099511627776 bytes"),
	CASE(alignment_of_type_u64, "key 'general.alignment': is of type u64, must be u32"),
	CASE(alignment_array, "key 'general.alignment': is of type arr, must be u32"),
	CASE(alignment_0, "key 'general.alignment': is 0"),
	CASE(alignment_48, "key 'general.alignment': is 48, not a power of two"),
	CASE(alignment_4, "key 'general.alignment': is 4, not a multiple of 8"),
	CASE(alignment_beyond_file, "tensor data starts at offset 2147483648, the file ends"),
	CASE(tensor_name_length_cut, "tensor 0: name needs 8 bytes"),
	CASE(tensor_name_text_cut, "tensor 0: name needs 6 bytes"),
	CASE(tensor_name_empty, "tensor 0: name at offset 251 is empty"),
	CASE(tensor_name_of_64_bytes, "tensor 0: name at offset 251 has 64 bytes, limit 63"),
	CASE(tensor_name_with_zero_byte, "tensor 0: name at offset 251 has a zero byte"),
	CASE(tensor_name_with_newline, "tensor 0: name at offset 251 has control character 0x0a"),
	CASE(tensor_name_twice, "tensor 'twin': appears again at offset"),
	CASE(tensor_n_dims_cut, "tensor 'weight': number of dimensions needs 4 bytes"),
	CASE(tensor_without_dimensions, "tensor 'weight': has 0 dimensions"),
	CASE(tensor_of_5_dimensions, "tensor 'weight': has 5 dimensions"),
	CASE(tensor_n_dims_huge, "tensor 'weight': has 4294967295 dimensions"),
	CASE(tensor_dimension_cut, "tensor 'weight': dimension needs 8 bytes"),
	CASE(tensor_dimension_0, "dimension 1 at offset 277 is 0"),
	CASE(tensor_dimension_negative, "dimension 2 at offset 285 is 9223372036854775808, limit"),
	CASE(tensor_dimensions_wrap, "dimensions up to 1 at offset 277 multiply to more than"),
	CASE(tensor_dimensions_above_limit, "dimensions up to 2 at offset 285 multiply to more"),
	CASE(tensor_type_cut, "tensor 'weight': type needs 4 bytes"),
	CASE(type_in_a_gap, "type 63 "),
	CASE(type_removed_q4_2, "Q4_2"),
	CASE(type_removed_q4_0_4_4, "Q4_0_4_4"),
	CASE(type_of_activations, "Q8_1"),
	CASE(type_of_a_fork, "ik_llama.cpp"),
	CASE(type_integer, "I32"),
	CASE(type_unknown, "1000"),
	CASE(type_huge, "4294967295"),
	CASE(tensor_row_of_half_a_block, "rows have 128 values, not a multiple of the 256"),
	CASE(tensor_row_of_a_block_and_a_half,
		"rows have 384 values, not a multiple of the 256 in a block of IQ1_M"),
	CASE(tensor_row_of_33, "rows have 33 values, not a multiple of the 32"),
	CASE(tensor_bytes_wrap, "4611686018427387904 values of type F32 are more than"),
	CASE(tensor_bytes_above_limit, "4611686018427387904 values of type F16 are more than"),
	CASE(tensor_offset_cut, "tensor 'weight': data offset needs 8 bytes"),
	CASE(offset_unaligned, "data offset 16 is not a multiple of the alignment 32"),
	CASE(offset_past_data, "data offset 1024 is past the data section's 512 bytes"),
	CASE(offset_wraps, "data offset 18446744073709551584 is past the data section's"),
	CASE(data_one_byte_short, "256 bytes of data at offset 320 end 1 bytes past"),
	CASE(data_at_end_of_file, "256 bytes of data at offset 832 end 256 bytes past"),
	CASE(data_missing, "tensor data starts at offset 320, the file ends at 320"),
	CASE(file_ends_in_padding, "tensor data starts at offset 288, the file ends at"),
	CASE(tensors_overlap, "tensors 'first' and 'second' overlap at offset"),
	CASE(tensors_overlap_backwards, "tensors 'second' and 'first' overlap at offset"),
	CASE(tensors_at_same_offset, "overlap at offset 1376"),
};
const size_t n_broken_gguf = sizeof(broken_ggufs) / sizeof(broken_ggufs[0]);

/* --- good ones -------------------------------------------------------------------------------- */

static void small_model(struct gw *w, uint32_t version)
{
	gw_begin(w, version);
	gw_kv_str(w, "general.architecture", "deepseek2");
	gw_kv_u32(w, "deepseek2.block_count", 2);
	gw_kv_u32(w, "deepseek2.embedding_length", 32);
	gw_kv_u32(w, "deepseek2.expert_count", 4);
	gw_kv_u32(w, "deepseek2.expert_used_count", 2);
	gw_kv_f32(w, "deepseek2.rope.freq_base", 10000);
	gw_tensor(w, "output.weight", TR_QUANT_F32, 32, 4);
	gw_tensor(w, "blk.1.ffn_gate_exps.weight", TR_QUANT_Q4_0, 32, 64, 4);
	gw_tensor(w, "blk.1.ffn_up_exps.weight", TR_QUANT_Q4_0, 32, 64, 4);
	gw_tensor(w, "blk.1.ffn_down_exps.weight", TR_QUANT_Q8_0, 64, 32, 4);
	gw_end_with_data(w);
}

static void model_v2(struct gw *w)
{
	small_model(w, 2);
}

static void model_v3(struct gw *w)
{
	small_model(w, 3);
}

static void value_of_every_type(struct gw *w)
{
	gw_begin(w, 3);
	gw_kv_str(w, "general.architecture", "all");
	for (int t = 0; t < TR_GGUF_N_TYPE; t++) {
		char key[8] = { 'k', 'e', 'y', '.', (char)('a' + t), 0 };

		if (t == TR_GGUF_F32)
			gw_kv_f32(w, key, 0.5f);
		else if (t == TR_GGUF_F64)
			gw_kv_f64(w, key, -1e300);
		else if (t == TR_GGUF_STR)
			gw_kv_str(w, key, "stra\xc3\x9f" "e");
		else if (t != TR_GGUF_ARR)
			gw_kv_int(w, key, (enum tr_gguf_type)t, t == TR_GGUF_BOOL ? 1 : -2);
	}
	gw_end(w);
}

static void array_of_every_type(struct gw *w)
{
	gw_begin(w, 3);
	gw_kv_str(w, "general.architecture", "all");
	for (int t = 0; t < TR_GGUF_N_TYPE; t++) {
		char key[8] = { 'a', 'r', 'r', '.', (char)('a' + t), 0 };

		if (t == TR_GGUF_ARR)
			continue;
		gw_kv_arr(w, key, (uint32_t)t, 3);
		for (int i = 0; i < 3; i++) {
			if (t == TR_GGUF_F32)
				gw_u32(w, 0x3f800000);
			else if (t == TR_GGUF_F64)
				gw_u64(w, 0x3ff0000000000000);
			else if (t == TR_GGUF_STR)
				gw_str(w, i == 1 ? "" : "word");
			else
				gw_int(w, (enum tr_gguf_type)t, i & 1);
		}
	}
	gw_kv_arr(w, "arr.empty", TR_GGUF_STR, 0);
	gw_end(w);
}

static void first_of_two_shards(struct gw *w)
{
	gw_begin(w, 3);
	gw_kv_str(w, "general.architecture", "deepseek2");
	gw_kv_int(w, "split.no", TR_GGUF_U16, 0);
	gw_kv_int(w, "split.count", TR_GGUF_U16, 2);
	gw_kv_int(w, "split.tensors.count", TR_GGUF_I32, 1);
	gw_end(w);
}

static void gaps_and_wide_alignment(struct gw *w)
{
	const uint64_t ne[4] = { 3, 1, 2, 1 };

	gw_begin(w, 2);
	w->alignment = 256;
	gw_kv_u32(w, "general.alignment", 256);
	gw_kv_str(w, "general.architecture", "x");
	gw_tensor_at(w, "late", TR_QUANT_BF16, 4, ne, 1024);
	gw_tensor_at(w, "early", TR_QUANT_F16, 3, ne, 256);
	w->data_bytes = 1024 + 12;
	gw_end_with_data(w);
}

static void no_keys_no_tensors(struct gw *w)
{
	gw_begin(w, 3);
	gw_counts(w, 0, 0);
}

static void single_experts(struct gw *w)
{
	gw_begin(w, 3);
	gw_kv_str(w, "general.architecture", "llama");
	gw_kv_u32(w, "llama.block_count", 1);
	gw_kv_u32(w, "llama.embedding_length", 32);
	gw_kv_u32(w, "llama.expert_count", 2);
	gw_kv_u32(w, "llama.expert_used_count", 1);
	gw_tensor(w, "blk.0.ffn_gate.0.weight", TR_QUANT_Q4_0, 32, 32);
	gw_tensor(w, "blk.0.ffn_gate.1.weight", TR_QUANT_Q4_0, 32, 32);
	gw_tensor(w, "blk.0.ffn_up.0.weight", TR_QUANT_Q4_0, 32, 32);
	gw_tensor(w, "blk.0.ffn_up.1.weight", TR_QUANT_Q4_0, 32, 32);
	gw_tensor(w, "blk.0.ffn_down.0.weight", TR_QUANT_Q8_0, 32, 32);
	gw_tensor(w, "blk.0.ffn_down.1.weight", TR_QUANT_Q8_0, 32, 32);
	gw_end_with_data(w);
}

const struct gguf_case good_ggufs[] = {
	CASE(model_v2, NULL),
	CASE(model_v3, NULL),
	CASE(value_of_every_type, NULL),
	CASE(array_of_every_type, NULL),
	CASE(first_of_two_shards, NULL),
	CASE(gaps_and_wide_alignment, NULL),
	CASE(no_keys_no_tensors, NULL),
	CASE(single_experts, NULL),
};
const size_t n_good_gguf = sizeof(good_ggufs) / sizeof(good_ggufs[0]);
