/* Gradients of the causal convolution along tokens and of the SiLU after it (conv1d.h), of one or both directions at once. The
   convolution is computed again, so that its result need not be kept. With s the sum before the SiLU and gs = gy silu'(s):
     gx[t] = sum over directions and k of w[k] gs[t + (K-1) - k]  (reverse: t - (K-1) + k),
     gw[k] = sum_t gs[t] x[t - (K-1) + k],  gb = sum_t gs[t]
   Every sum has one order. Executor thread only. */
#ifndef BS_KERNELS_CUDA_CONV1D_GRAD_H
#define BS_KERNELS_CUDA_CONV1D_GRAD_H

#include "kernels/cuda/conv1d.h"

#define BS__CONV1D_GRAD_THREADS 256

struct bs__conv1d_grad {
    struct bs__conv1d forward; /* as it ran; y is not read and may be 0 */
    struct bs__rows gy[2];     /* (samples * length, features), of each direction */
    struct bs__rows
        gx;           /* (samples * length, features), of both; at 0: not wanted. Not the memory of x or gy */
    bs_address gw[2]; /* (features, taps) float; 0: not wanted */
    bs_address gb[2]; /* (features) float; 0: not wanted */
    bs_address workspace; /* bs__cuda_conv1d_grad_workspace bytes, 16-byte aligned */
    int32_t slices;       /* set by the launch: of the tokens of all samples; each leaves a partial sum */
    int32_t padding;
};

size_t bs__cuda_conv1d_grad_workspace(const struct bs__conv1d_grad *g);
bs_status bs__cuda_conv1d_grad(struct bs__queue *q, enum bs__element e, const struct bs__conv1d_grad *g,
                               struct bs_err *err) BS_NODISCARD;

#endif
