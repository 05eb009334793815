/*
 * trace_file.h - the format of a trace file.
 *
 *	magic | block: head | block: events | block: events | ... | block: end
 *
 * Numbers are little-endian. A block is kind u32, stored bytes u32, raw bytes u32, 0 u32, XXH3 u64
 *of the stored bytes with kind << 32 | raw as seed; then the stored bytes, which zstd makes raw
 *again.
 *
 * Head: varints n_layer, n_moe_layer, n_expert, n_used, slot_bytes; per MoE layer varints layer,
 * unit_bytes; flags byte (1: with weights); model and fingerprint, each a length byte and text.
 *
 * Events, each a byte and its operands: a set is varints layer, tokens; the experts of all tokens
 *in router rank, as low bytes and, with more than 256 experts, as many high bytes; with weights the
 *low bytes of their binary16 and then the high bytes. Scores are a sketch (sketch.h): varints layer,
 * ahead, rest; the experts and then their binary16 in the same way, as many as four times n_used, or
 * all. They follow the set of the layer whose state they are of. An end of step has no operand. No
 * event crosses a block.
 *
 * Units, at most once and before all events, say what the run knew of its units: flags byte (1: homes,
 * 2: costs, 4: copies); homes, a byte a unit; costs, binary32 a unit; varint number of hot units, and these
 * as varints; with copies, varint how many a token may bring from persistent memory. A run in which all units are alike writes none.
 *
 * VRAM, at most once and before all events, says that a device had experts too: varints room_bytes,
 * token_bytes; per MoE layer varint slot_bytes. See struct tr_trace_vram. Where copies there were still under
 * way as a step ended, late comes before the end of step: varints held, left, as in struct tr_vram_late.
 *
 * The end block is empty. Without it the recording was cut short.
 */
#ifndef TR_CACHE_TRACE_FILE_H
#define TR_CACHE_TRACE_FILE_H

#define TR_TRACE_MAGIC	     "TRTRACE1"
#define TR_TRACE_MAGIC_BYTES 8

#define TR_TRACE_BLOCK_HEAD_BYTES 24
/* A block is closed once it has this many raw bytes: some thirty tokens of a large model. */
#define TR_TRACE_BLOCK_BYTES (64u << 10)
/* No block has more: the largest set is a chunk of tokens, each with a few experts. */
#define TR_TRACE_BLOCK_MAX (64u << 20)

enum tr_trace_block { TR_TRACE_HEAD = 1, TR_TRACE_EVENTS, TR_TRACE_END, TR_TRACE_UNITS, TR_TRACE_VRAM };

enum tr_trace_event {
	TR_TRACE_SET = 1,
	TR_TRACE_SET_SCAN,
	TR_TRACE_STEP,
	TR_TRACE_SCORES,
	TR_TRACE_LATE,
};

#define TR_TRACE_FLAG_WEIGHTS 1u

#define TR_TRACE_UNITS_HOMES 1u
#define TR_TRACE_UNITS_COSTS 2u
#define TR_TRACE_UNITS_COPIES 4u

#endif
