/* requant.h - a copy of a single-file model with its routed experts in other tensor types. */
#ifndef TR_TESTS_REQUANT_H
#define TR_TESTS_REQUANT_H

#include "model/model.h"

/* Experts' gate, up and down are decoded and stored as Q8_0, F16 or F32, everything else is copied.
 * Returns false with a message. */
bool requant_experts(const char *from, const char *to, const uint32_t type[3], struct tr_err *err);

#endif
