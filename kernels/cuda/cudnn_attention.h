/* Fused attention by cuDNN: y = softmax(scale q k^T) v for each sample and head, without the matrix of weights. One operation of
   the library's graph interface (since 9.13.1, half element types, sm_80 and newer); the engine is the first that the library's
   heuristic proposes, is deterministic and can be built, fixed when a network is compiled. The library builds its kernels with
   NVRTC (libnvrtc.so), which has to be installed. Executor thread only. */
#ifndef BS_KERNELS_CUDA_CUDNN_ATTENTION_H
#define BS_KERNELS_CUDA_CUDNN_ATTENTION_H

#include "kernels/cuda/cudnn.h"

/* Distances in elements; the features of a head are neighbours. */
struct bs__cudnn_heads {
    int64_t sample, token, head;
};

/* q and k (samples, tokens, heads, width), v and y (samples, tokens, heads, features). Addresses are multiples of 16 bytes, so are
   all distances; width and features are multiples of 8, at most 256. */
struct bs__cudnn_attention {
    enum bs__element element;
    int64_t samples, tokens, heads, width, features;
    struct bs__cudnn_heads q, k, v, y;
    float scale;
};
#define BS__CUDNN_ATTENTION_WIDTH 256

struct bs__cudnn_attention_plan;

/* *out NULL and BS_OK: the library has none, and `why` says so in its words. device: NULL, or the description (a finalised
   BS__DN_DEVICE) of another device than the open one, for which the plan is only made, not run. */
bs_status bs__cudnn_attention_plan(const struct bs__cudnn *dn, const struct bs__cudnn_attention *c,
                                   bs__dn_descriptor device, struct bs__cudnn_attention_plan **out, char *why,
                                   size_t len, struct bs_err *err) BS_NODISCARD;
/* Accepts NULL. */
void bs__cudnn_attention_plan_destroy(struct bs__cudnn_attention_plan *plan);
/* Bytes of workspace (address: a multiple of 256), and the library's number of the engine. */
size_t bs__cudnn_attention_workspace(const struct bs__cudnn_attention_plan *plan);
int bs__cudnn_attention_engine(const struct bs__cudnn_attention_plan *plan);
/* Queues it. */
bs_status bs__cudnn_attend(const struct bs__cudnn_attention_plan *plan, bs_address q, bs_address k,
                           bs_address v, bs_address y, bs_address workspace, struct bs_err *err) BS_NODISCARD;

#endif
