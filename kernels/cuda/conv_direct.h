/* Our own convolution, on the general units, for what libraries do badly (a first layer with few channels in, a head with
   few channels out) and for machines without cuDNN. Any kernel, stride and padding; sums in float. */
#ifndef BS_KERNELS_CUDA_CONV_DIRECT_H
#define BS_KERNELS_CUDA_CONV_DIRECT_H

#include "kernels/cuda/views.h"

/* y[n,i,j,o] = f(b[o] + sum_{p,q,c} w[p,q,c,o] x[n, i stride + p - pad, j stride + q - pad, c]), zero outside x. */
struct bs__conv_direct {
    struct bs__rows
        y; /* (samples, (h + 2 pad - kernel_h) / stride + 1, (w + 2 pad - kernel_w) / stride + 1, out) */
    struct bs__rows x; /* (samples, h, w, in) */
    bs_address w;      /* (kernel_h, kernel_w, in, out) float: bs__conv_direct_pack */
    bs_address b;      /* (out) float; 0: none */
    int64_t samples, h, w_pixels, in, out;
    int32_t kernel_h, kernel_w, stride, pad;
    int32_t activation; /* enum bs__activation: plain or ReLU */
    /* set by the launch */
    int32_t in_fours;
    int64_t out_h, out_w;
    struct bs__divisor by_width, by_height, by_in, by_kernel_w, by_tiles;
};
/* Threads of a block, length of a chunk of the sum, pixels and channels that a block computes; few: up to 16 channels. */
#define BS__CONV_THREADS    256
#define BS__CONV_DEPTH      16
#define BS__CONV_PIXELS     128
#define BS__CONV_OUT        64
#define BS__CONV_FEW_PIXELS 256
#define BS__CONV_FEW_OUT    16
bs_status bs__cuda_conv_direct(struct bs__queue *q, enum bs__element e, const struct bs__conv_direct *c,
                               struct bs_err *err) BS_NODISCARD;
/* Host memory: from the operator's weight (out, in, kernel_h, kernel_w) to the order above. */
void bs__conv_direct_pack(const float *weight, int64_t out, int64_t in, int64_t kernel_h, int64_t kernel_w,
                          float *packed);

#endif
