/* le.h - unaligned little-endian numbers in a file, on any host. */
#ifndef TR_MODEL_LE_H
#define TR_MODEL_LE_H

#include <stdint.h>

static inline uint16_t tr_le16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t tr_le32(const uint8_t *p)
{
	return tr_le16(p) | (uint32_t)tr_le16(p + 2) << 16;
}

static inline uint64_t tr_le64(const uint8_t *p)
{
	return tr_le32(p) | (uint64_t)tr_le32(p + 4) << 32;
}

static inline void tr_put_le64(uint8_t *p, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

#endif
