/* Attention by cuDNN (cudnn_attention.h) where that is worth it: as it is where there are neither windows nor relative positions, and
   else on longer queries and keys (attention_extend.h). The latter multiplies (width + features) / (2 features) times as much, 2
   times for 64 x 64 tokens of 64 features and 1.25 times for windows of 14, so it is done on GPUs alone whose tensor cores
   have instructions that the own kernel does not use: sm_90 and sm_100. Decided when a network is compiled. Executor thread only. */
#ifndef BS_KERNELS_CUDA_FUSED_ATTENTION_H
#define BS_KERNELS_CUDA_FUSED_ATTENTION_H

#include "kernels/cuda/attention.h"
#include "kernels/cuda/libraries.h"

struct bs__fused_attention_plan;

/* Plans c, whose addresses need not be known yet: each counts for its alignment. *out NULL and BS_OK: the own kernel serves, and `why`
   says why, in words. */
bs_status bs__fused_attention_plan(const struct bs__libraries *l, const struct bs__cuda_limits *limits,
                                   const struct bs__cuda_attention *c, struct bs__fused_attention_plan **out,
                                   char *why, size_t len, struct bs_err *err) BS_NODISCARD;
/* Accepts NULL. */
void bs__fused_attention_plan_destroy(struct bs__fused_attention_plan *plan);
/* Bytes of workspace (address: a multiple of 256); the library's number of the engine; elements of a query. */
size_t bs__fused_attention_workspace(const struct bs__fused_attention_plan *plan);
int bs__fused_attention_engine(const struct bs__fused_attention_plan *plan);
int64_t bs__fused_attention_width(const struct bs__fused_attention_plan *plan);
/* Queues c, of the shape that was planned. */
bs_status bs__fused_attention(struct bs__queue *q, const struct bs__fused_attention_plan *plan,
                              const struct bs__cuda_attention *c, bs_address workspace,
                              struct bs_err *err) BS_NODISCARD;

#endif
