/* What attention.c and attention_grad.c share: checks, and arguments from the shapes. */
#ifndef BS_KERNELS_CUDA_ATTENTION_INTERNAL_H
#define BS_KERNELS_CUDA_ATTENTION_INTERNAL_H

#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_arguments.h"

/* Checks the shapes and fills all arguments but `tiles` and `vectors`. */
bs_status bs__attention_describe(const struct bs__cuda_attention *c, struct bs__attention_arguments *a,
                                 struct bs_err *err) BS_NODISCARD;
/* Fills `tiles`: of `length` in a window of `tokens`; *blocks are those of all windows, heads and samples. */
bs_status bs__attention_tiles(const struct bs__cuda_attention *c, struct bs__attention_arguments *a,
                              int64_t tokens, int length, unsigned *blocks, struct bs_err *err) BS_NODISCARD;
/* Tokens inside the grid of the window that has most of them. */
int64_t bs__attention_queries(const struct bs__attention_arguments *a);
/* Are the rows of all heads at multiples of `bytes` in an array at this address, and whole multiples long? */
bool bs__attention_aligned(const struct bs__cuda_attention *c, bs_address array, size_t bytes);

#endif
