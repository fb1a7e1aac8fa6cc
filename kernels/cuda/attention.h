/* Attention of tokens on a grid as BS_OP_ATTENTION in kernels/graph.h says, without the score matrix: tiles of keys go past a
   tile of queries, running maxima and sums (float) make the softmax. float32 multiplies in float (attention.cu); the half
   types multiply on tensor cores and sum in float (attention_half.cu), and bf16 on devices before sm_80, which cannot
   multiply it there, is widened to float. Every sum has one fixed order: the same inputs give the same bits.
   Executor thread only. */
#ifndef BS_KERNELS_CUDA_ATTENTION_H
#define BS_KERNELS_CUDA_ATTENTION_H

#include "kernels/cuda/launch.h"

struct bs__cuda_attention {
    enum bs__element element;        /* of qkv, pad, rel_h, rel_w and y */
    int64_t samples, grid_h, grid_w; /* tokens lie row by row on the grid */
    int heads, features;             /* features of one head, at most BS__ATTENTION_FEATURES */
    int window;                      /* side of the windows, 0: global */
    bs_address qkv;                  /* (samples, tokens, 3, heads, features) */
    bs_address pad;                  /* (3, heads, features): what lies outside the grid; 0: zeros */
    bs_address rel_h, rel_w; /* (2h-1, features), (2w-1, features), h x w the window or the grid; both or 0 */
    bs_address y;            /* (samples, tokens, heads, features) */
    bs_address
        lse; /* (samples, tokens, heads) float: log of the sum of exp(logit), for the backward; 0: not wanted */
};
#define BS__ATTENTION_FEATURES 128

/* Queues the attention; needs no workspace. BS_ELIMIT where h + w of a grid with relative positions is too large for the
   shared memory of the device (the message says how large it may be; 64 x 64 fits every device from sm_75 on). */
bs_status bs__cuda_attention(struct bs__queue *q, const struct bs__cuda_attention *c,
                             struct bs_err *err) BS_NODISCARD;

/* Host: a table of relative positions (rows, features) as the kernels want it for `side` tokens: (2 side - 1, features),
   resampled linearly with half-pixel centres where the length differs. */
void bs__cuda_attention_table(const float *table, int64_t rows, int64_t features, int64_t side,
                              float *resampled);

#endif
