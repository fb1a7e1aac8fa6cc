/* Gradients of attention. Scores are computed again from q, k and the saved log-sum-exp, tile by tile; every gradient is summed
   in a fixed order (no atomics), so that training can be repeated bit by bit. Executor thread only. */
#ifndef BS_KERNELS_CUDA_ATTENTION_GRAD_H
#define BS_KERNELS_CUDA_ATTENTION_GRAD_H

#include "kernels/cuda/attention.h"

struct bs__cuda_attention_grad {
    struct bs__cuda_attention forward; /* as it ran: y and lse are read; tables of 2h-1 and 2w-1 rows */
    bs_address gy;                     /* (samples, tokens, heads, features), of the forward's element type */
    bs_address gqkv; /* (samples, tokens, 3, heads, features), written; of the element type */
    bs_address gpad; /* (3, heads, features) float, written; q's third is zero. 0: not wanted */
    bs_address grel_h,
        grel_w;             /* (rows_h, features), (rows_w, features) float, written; both or 0: not wanted */
    int64_t rows_h, rows_w; /* of the parameters; where they are not 2h-1 and 2w-1 the gradient goes back
                                          through the resampling */
    bs_address workspace;   /* bs__cuda_attention_grad_workspace bytes, 16-byte aligned */
};

size_t bs__cuda_attention_grad_workspace(const struct bs__cuda_attention_grad *c);
/* Queues the backward. Errors as bs__cuda_attention; heads of more than 80 features need a device from sm_80 on. */
bs_status bs__cuda_attention_grad(struct bs__queue *q, const struct bs__cuda_attention_grad *c,
                                  struct bs_err *err) BS_NODISCARD;

#endif
