/* The different ids of a label image: any 32-bit numbers become 1 .. n in the order in which they first appear. Pure functions;
   any thread. */
#ifndef BS_MODEL_DATASET_LABEL_IDS_H
#define BS_MODEL_DATASET_LABEL_IDS_H

#include "kernels/base/status.h"

#include <stdint.h>

/* labels -> numbers (may be the same array), 0 stays 0. *count: how many different ids besides 0. */
bs_status bs__label_ids_number(const uint32_t *labels, size_t pixels, uint32_t *numbers, uint32_t *count,
                               struct bs_err *err) BS_NODISCARD;

#endif
