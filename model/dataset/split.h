/* Which items are trained on, which choose the best network, and which only judge it. Whole groups go one way, so that
   slices of one stack or frames of one series never stand on both sides. A pure function of groups and seed; any thread. */
#ifndef BS_MODEL_DATASET_SPLIT_H
#define BS_MODEL_DATASET_SPLIT_H

#include "kernels/base/status.h"

#include <stdint.h>

enum bs_part { BS_PART_TRAIN, BS_PART_VALIDATION, BS_PART_TEST };

/* group[i]: text that items of one group share. validation and test: shares of all items wished for, 0 for none, together below
   1. Groups are taken in an order drawn by the seed; a part ends with the group that brings it nearest to its share,
   but has one at least when a share was wished for. BS_EPRECONDITION when there are fewer groups than parts. */
bs_status bs_split(const char *const *group, size_t count, uint64_t seed, double validation, double test,
                   enum bs_part *part, struct bs_err *err) BS_NODISCARD;

#endif
