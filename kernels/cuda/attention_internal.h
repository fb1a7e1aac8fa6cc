/* What attention.c and attention_grad.c share: checks, and arguments from the shapes. */
#ifndef BS_KERNELS_CUDA_ATTENTION_INTERNAL_H
#define BS_KERNELS_CUDA_ATTENTION_INTERNAL_H

#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_arguments.h"

/* Checks the shapes and fills all arguments but `tiles` and `vectors`. */
bs_status bs__attention_describe(const struct bs__cuda_attention *c, struct bs__attention_arguments *a,
                                 struct bs_err *err) BS_NODISCARD;
/* Tiles of `length` in the longest window, and blocks of all tiles. */
bs_status bs__attention_tiles(const struct bs__cuda_attention *c, struct bs__attention_arguments *a,
                              int length, unsigned *blocks, struct bs_err *err) BS_NODISCARD;
/* Are the rows of all heads at multiples of `bytes` in an array at this address, and whole multiples long? */
bool bs__attention_aligned(const struct bs__cuda_attention *c, bs_address array, size_t bytes);

#endif
