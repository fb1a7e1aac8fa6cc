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

#define BS__SCAN_GRAD_TOKENS 4 /* of one thread at a time */
#define BS__SCAN_GRAD_THREADS                                                                                \
    384 /* of one block at most: a thread needs more registers than 512 of them could have */
#define BS__SCAN_GRAD_SUM_THREADS 256

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
        gz; /* (samples * length, features); needs z; at 0: not wanted. Not the memory of an input */
    struct bs__scan_grad_direction direction[2];
    bs_address workspace; /* bs__cuda_scan_grad_workspace bytes, 16-byte aligned */
    /* The launch sets what follows: places in the workspace. */
    int64_t chunks; /* of one direction of a sample */
    bs_address
        weights; /* (direction, B and C, blocks of 8 features, samples, length, states rounded up to fours) float: partial
                           sums of gB and gC */
    bs_address rates; /* (samples, directions, features, states) float: partial sums of the gradient of a */
    bs_address sums;  /* (samples, directions, skip and delta_bias, features) float: theirs */
};

/* Bytes: for each direction, sample and block of 8 features 8 bytes x length x states (partial sums of gB and gC), the states before
   each chunk, and small change. */
size_t bs__cuda_scan_grad_workspace(const struct bs__cuda_limits *device, const struct bs__scan_grad *g);
/* BS_ELIMIT where no block fits the shared memory of the device. */
bs_status bs__cuda_scan_grad(struct bs__queue *q, enum bs__element e, const struct bs__scan_grad *g,
                             struct bs_err *err) BS_NODISCARD;
/* How it is cut (tests): threads of a block, a multiple of 64 up to BS__SCAN_GRAD_THREADS; 0: chosen. */
size_t bs__scan_grad_cut_workspace(const struct bs__cuda_limits *device, const struct bs__scan_grad *g,
                                   int threads);
bs_status bs__cuda_scan_grad_cut(struct bs__queue *q, enum bs__element e, const struct bs__scan_grad *g,
                                 int threads, struct bs_err *err) BS_NODISCARD;

#endif
