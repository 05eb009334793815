/*
 * dotgrid.cuh - super-blocks whose codes are indices into a table (IQ1, IQ2, IQ3), for tr_dot256
 * and tr_mma_256: a thread looks up the 8 values that it takes of each part.
 *
 * Tables lie in global memory, which the first-level cache serves. Threads of a warp look at
 * different entries: constant memory gives one address at a time, and filling shared memory with up
 * to 2048 entries costs a block of threads more than its few rows are worth. So that they are short
 * (8 KiB for IQ1, 4 KiB and less for the others) an entry has 4 bits a value: the place of the
 * value in an alphabet of 4 or 8 bytes, which __byte_perm looks up four at a time.
 */
#ifndef TR_CUDA_DOTGRID_CUH
#define TR_CUDA_DOTGRID_CUH

#include "cuda/dot256.cuh"

#define TR_GRID_CODE(e, bits, j) (((e) >> (bits) * (j) & ((1u << (bits)) - 1)) << 4 * (j))
#define TR_GRID_CODES(e, bits, j)                                                                  \
	(TR_GRID_CODE(e, bits, j) | TR_GRID_CODE(e, bits, (j) + 1) |                               \
		TR_GRID_CODE(e, bits, (j) + 2) | TR_GRID_CODE(e, bits, (j) + 3))
#define TR_GRID_ENTRY_4 uint16_t
#define TR_GRID_ENTRY_8 uint32_t
#define TR_GRID(name, width, n) TR_TABLE TR_GRID_ENTRY_##width tr_places_##name[n]
#define TR_GRID_4(alphabet, e) TR_GRID_CODES(e, 3, 0)
#define TR_GRID_8(alphabet, e) (TR_GRID_CODES(e, 2, 0) | TR_GRID_CODES(e, 2, 4))

#include "model/quants/grids.def"

#undef TR_GRID
#undef TR_GRID_4
#undef TR_GRID_8

/* Places of 8 values in an alphabet, the first of lo lowest. */
TR_DEV void tr_look_up(uint32_t q[2], uint32_t places, uint32_t lo, uint32_t hi)
{
	q[0] = tr_byte_perm(lo, hi, places & 0xffff);
	q[1] = tr_byte_perm(lo, hi, places >> 16);
}

TR_DEV uint32_t tr_load2(const uint8_t *p)
{
	return *(const uint16_t *)p;
}

/* Bit j negates byte j of four, none of which is 0: the 1 that a byte takes carries nowhere. */
TR_DEV uint32_t tr_negate(uint32_t q, uint32_t bits)
{
	uint32_t one = (bits & 15) * 0x00204081u & TR_ONES;

	return (q ^ one * 255) + one;
}

TR_DEV void tr_put_signs(uint32_t q[2], uint32_t bits)
{
	q[0] = tr_negate(q[0], bits);
	q[1] = tr_negate(q[1], bits >> 4);
}

/* As tr_grid_signs: of seven bits the eighth is the parity. */
TR_DEV uint32_t tr_eight_signs(uint32_t bits)
{
	uint32_t folded = (bits ^ (bits >> 4 & 7)) & 15;

	return (bits & 127) | (0x6996u >> folded & 1) << 7;
}

/* 2 s + 1 of the scale field from a bit on. */
TR_DEV int tr_odd_scale(uint32_t v, unsigned at, uint32_t mask)
{
	return (int)(2 * (v >> at & mask) + 1);
}

/* The scale of the half of part p that thread l is in, in nibbles. */
TR_DEV int tr_half_scale(const uint8_t *scales, unsigned p, unsigned l)
{
	return tr_odd_scale(scales[p], 4 * (l >> 1), 15);
}

/* --- IQ2: 8, 25 and 43 with signs --------------------------------------------------------- */

#define TR_IQ2_ALPHABET 0x002b1908u, 0u

TR_DEV struct tr_codes tr_codes_iq2_xxs(const uint8_t *b, unsigned p, unsigned l)
{
	const uint8_t *part = b + 2 + 8 * p;
	uint32_t field = tr_load4_at2(part + 4);
	struct tr_codes o = { { 0, 0 }, tr_odd_scale(field, 28, 15) };

	tr_look_up(o.q, tr_places_iq2_xxs[part[l]], TR_IQ2_ALPHABET);
	tr_put_signs(o.q, tr_eight_signs(field >> 7 * l));
	return o;
}

TR_DEV struct tr_codes tr_codes_iq2_xs(const uint8_t *b, unsigned p, unsigned l)
{
	uint32_t q = tr_load2(b + 2 + 8 * p + 2 * l);
	struct tr_codes o = { { 0, 0 }, tr_half_scale(b + 66, p, l) };

	tr_look_up(o.q, tr_places_iq2_xs[q & 511], TR_IQ2_ALPHABET);
	tr_put_signs(o.q, tr_eight_signs(q >> 9));
	return o;
}

TR_DEV struct tr_codes tr_codes_iq2_s(const uint8_t *b, unsigned p, unsigned l)
{
	uint32_t high = b[66 + p] >> 2 * l & 3u;
	struct tr_codes o = { { 0, 0 }, tr_half_scale(b + 74, p, l) };

	tr_look_up(o.q, tr_places_iq2_s[b[2 + 4 * p + l] | high << 8], TR_IQ2_ALPHABET);
	tr_put_signs(o.q, b[34 + 4 * p + l]);
	return o;
}

/* --- IQ3: two entries of four values ------------------------------------------------------ */

TR_DEV struct tr_codes tr_codes_iq3_xxs(const uint8_t *b, unsigned p, unsigned l)
{
	uint32_t qs = tr_load2(b + 2 + 8 * p + 2 * l), field = tr_load4_at2(b + 66 + 4 * p);
	uint32_t places = tr_places_iq3_xxs[qs & 255] | (uint32_t)tr_places_iq3_xxs[qs >> 8] << 16;
	struct tr_codes o = { { 0, 0 }, tr_odd_scale(field, 28, 15) };

	tr_look_up(o.q, places, 0x1c140c04u, 0x3e342c24u);
	tr_put_signs(o.q, tr_eight_signs(field >> 7 * l));
	return o;
}

TR_DEV struct tr_codes tr_codes_iq3_s(const uint8_t *b, unsigned p, unsigned l)
{
	uint32_t qs = tr_load2(b + 2 + 8 * p + 2 * l), high = b[66 + p] >> 2 * l;
	uint32_t places = tr_places_iq3_s[(qs & 255) | (high & 1) << 8] |
		(uint32_t)tr_places_iq3_s[qs >> 8 | (high & 2) << 7] << 16;
	struct tr_codes o = { { 0, 0 }, tr_odd_scale(b[106 + p / 2], 4 * (p & 1), 15) };

	tr_look_up(o.q, places, 0x07050301u, 0x0f0d0b09u);
	tr_put_signs(o.q, b[74 + 4 * p + l]);
	return o;
}

/* --- IQ1: 8 v plus or minus one, v from -1 to 1 -------------------------------------------- */

/* The high three bits of an index, and above them the one that subtracts. */
TR_DEV void tr_look_up_iq1(uint32_t q[2], uint32_t low, uint32_t high)
{
	tr_look_up(q, tr_places_iq1[low | (high & 7) << 8], high & 8 ? 0x0007fff7u : 0x000901f9u,
		0u);
}

TR_DEV struct tr_codes tr_codes_iq1_s(const uint8_t *b, unsigned p, unsigned l)
{
	uint32_t h = tr_load2(b + 34 + 2 * p);
	struct tr_codes o = { { 0, 0 }, tr_odd_scale(h, 12, 7) };

	tr_look_up_iq1(o.q, b[2 + 4 * p + l], (h >> 3 * l & 7) | (h >> 12 & 8));
	return o;
}

TR_DEV struct tr_codes tr_codes_iq1_m(const uint8_t *b, unsigned p, unsigned l)
{
	uint32_t high = b[32 + 2 * p + (l >> 1)] >> 4 * (l & 1);
	uint32_t scales = tr_load2(b + 48 + 2 * (p / 2));
	struct tr_codes o = { { 0, 0 }, tr_odd_scale(scales, 6 * (p & 1) + 3 * (l >> 1), 7) };

	tr_look_up_iq1(o.q, b[4 * p + l], high);
	return o;
}

/* --- d in the unit of the integers (grids.h) ---------------------------------------------- */

TR_DEV struct tr_super tr_super_of(float d)
{
	struct tr_super o = { d, 0, 0 };

	return o;
}

/* IQ2, IQ1_S */
TR_DEV struct tr_super tr_super_eighth(const uint8_t *b, unsigned l)
{
	(void)l;
	return tr_super_of(tr_load_half(b) * 0.125f);
}

TR_DEV struct tr_super tr_super_iq3_xxs(const uint8_t *b, unsigned l)
{
	(void)l;
	return tr_super_of(tr_load_half(b) * 0.25f);
}

TR_DEV struct tr_super tr_super_iq3_s(const uint8_t *b, unsigned l)
{
	(void)l;
	return tr_super_of(tr_load_half(b));
}

TR_DEV struct tr_super tr_super_iq1_m(const uint8_t *b, unsigned l)
{
	uint32_t d = tr_load2(b + 48) >> 12 | tr_load2(b + 50) >> 12 << 4 |
		tr_load2(b + 52) >> 12 << 8 | tr_load2(b + 54) >> 12 << 12;

	(void)l;
	return tr_super_of(tr_half_to_float((uint16_t)d) * 0.125f);
}

#endif
