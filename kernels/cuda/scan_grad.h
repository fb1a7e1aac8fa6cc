/* Gradients of the selective scan (scan.h), of one or both directions at once. States are computed again, chunk by chunk, from
   those before each chunk, which a forward pass keeps; the adjoint g of a state runs the other way. With gs = gy scale silu(z):
     g_t = C_t gs_t + e_{t+1} g_{t+1},  e = exp(a dt),  a = -exp(a_log)
     gC = sum_features gs h,  gB = sum_features dt u g,  gu = skip gs + dt sum_s B g
     gdt = u sum_s B g + sum_s a e h_{t-1} g,  gdelta = gdt softplus'(delta + bias),  gbias = sum gdelta
     ga_log = a sum dt e h_{t-1} g,  gskip = sum gs u,  gz = gy scale silu'(z) sum over directions of (sum_s h C + skip u)
   Every sum has one order: partial sums of blocks in the workspace, then a launch that adds them. Executor thread only. */
#ifndef BS_KERNELS_CUDA_SCAN_GRAD_H
#define BS_KERNELS_CUDA_SCAN_GRAD_H

#include "kernels/cuda/scan.h"

/* Of one direction; at or address 0: not wanted. */
struct bs__scan_grad_direction {
    struct bs__rows gu, gdelta; /* (samples * length, features) */
    struct bs__rows gb, gc;     /* (samples * length, states) */
    bs_address ga_log;          /* (features, states) float */
    bs_address gskip;           /* (features) float */
    bs_address gdelta_bias;     /* (features) float */
};

struct bs__scan_grad {
    struct bs__scan forward; /* as it ran; y is not read and may be 0 */
    struct bs__rows gy;      /* (samples * length, features) */
    struct bs__rows
        gz; /* (samples * length, features); wanted exactly where z is given. Not the memory of an input */
    struct bs__scan_grad_direction direction[2];
    bs_address workspace; /* bs__cuda_scan_grad_workspace bytes, 16-byte aligned */
};

/* Bytes: for each direction and sample 8 states x length x features/8 rounded up (partial sums of gB and gC, float), the states
   before each chunk, and small change. */
size_t bs__cuda_scan_grad_workspace(const struct bs__cuda_limits *device, const struct bs__scan_grad *g);
bs_status bs__cuda_scan_grad(struct bs__queue *q, enum bs__element e, const struct bs__scan_grad *g,
                             struct bs_err *err) BS_NODISCARD;

#endif
