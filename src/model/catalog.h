/*
 * catalog.h - the expert units of a model.
 *
 * A unit is one routed expert of one layer: three matrices that are read, cached and evicted
 * together. The index of a unit in the catalogue is its id everywhere below (cache, policies,
 * traces): id = (index of the MoE layer) * n_expert + expert.
 */
#ifndef TR_MODEL_CATALOG_H
#define TR_MODEL_CATALOG_H

#include "model/model.h"

enum tr_part { TR_PART_GATE, TR_PART_UP, TR_PART_DOWN, TR_N_PART };

struct tr_extent {
	uint32_t shard;
	uint64_t off; /* absolute in the shard's file */
	uint64_t bytes;
};

struct tr_unit {
	uint32_t layer;
	uint32_t expert;
	uint64_t bytes; /* sum over the parts */
	struct tr_extent part[TR_N_PART];
};

/* What all experts of one layer share. */
struct tr_moe_layer {
	uint32_t layer;
	uint32_t first_unit;
	const struct tr_quant *quant[TR_N_PART];
	uint64_t rows[TR_N_PART];	/* output width of the part */
	uint64_t cols[TR_N_PART];	/* input width */
	uint64_t row_bytes[TR_N_PART];
};

struct tr_catalog {
	uint32_t n_layer;  /* all layers of the model */
	uint32_t n_expert; /* per MoE layer */
	uint32_t n_used;   /* per token and layer */
	size_t n_moe_layer;
	struct tr_moe_layer *moe_layers;
	int32_t *moe_of_layer; /* [n_layer] index into moe_layers, -1: dense */
	size_t n_unit;
	struct tr_unit *units;
	uint64_t bytes;		 /* all units */
	uint64_t unit_bytes_max;
	uint64_t floor_bytes;	 /* n_used experts of every MoE layer: one token's working set */
};

/* Finds the experts of every layer: stacked tensors (ffn_{gate,up,down}_exps), fused gate and up
 * (ffn_gate_up_exps), or one tensor an expert (ffn_gate.E). Checks their shapes against each other
 * and against n_embd. A model without experts gives an empty catalogue. */
int tr_catalog_build(struct tr_catalog **catalog, const struct tr_model *model,
	struct tr_err *err);
void tr_catalog_free(struct tr_catalog *catalog);

/* True when the tensor holds routed experts and so does not belong to the resident group. */
bool tr_catalog_is_expert_tensor(const char *tensor_name);

#endif
