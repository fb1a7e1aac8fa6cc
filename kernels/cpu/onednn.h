/* The only door to oneDNN: direct convolutions on blocked images. onednn.c alone sees dnnl.h and compiles with the 2.x and
   the 3.x interface. Executor thread only. */
#ifndef BS_KERNELS_CPU_ONEDNN_H
#define BS_KERNELS_CPU_ONEDNN_H

#include "kernels/base/status.h"

#include <stddef.h>
#include <stdint.h>

struct bs__dnnl;
struct bs__dnnl_conv;

/* Channels are whole blocks; the caller pads weights with zeros. */
struct bs__dnnl_conv_shape {
    int64_t n, in, h, w, out, out_h, out_w;
    int kernel_h, kernel_w, stride, pad;
    int block; /* 8 or 16 channels side by side */
    bool bf16, relu;
};

bs_status bs__dnnl_create(struct bs__dnnl **out, struct bs_err *err) BS_NODISCARD;
/* Accepts NULL. */
void bs__dnnl_destroy(struct bs__dnnl *d);
/* "2.6.3" */
void bs__dnnl_version(char *text, size_t len);

/* BS_EUNSUPPORTED when oneDNN has no such convolution for this processor. */
bs_status bs__dnnl_conv_create(struct bs__dnnl *d, const struct bs__dnnl_conv_shape *shape,
                               struct bs__dnnl_conv **out, struct bs_err *err) BS_NODISCARD;
void bs__dnnl_conv_destroy(struct bs__dnnl_conv *c);
size_t bs__dnnl_conv_scratch(const struct bs__dnnl_conv *c);
size_t bs__dnnl_conv_weight_bytes(const struct bs__dnnl_conv *c);
/* Tells weight layouts apart. */
uint64_t bs__dnnl_conv_weight_layout(const struct bs__dnnl_conv *c);
const char *bs__dnnl_conv_algorithm(const struct bs__dnnl_conv *c);
/* oihw: float32, padded channels. Fills weight_bytes at dst. */
bs_status bs__dnnl_conv_pack(struct bs__dnnl_conv *c, float *oihw, void *dst,
                             struct bs_err *err) BS_NODISCARD;
bs_status bs__dnnl_conv_run(struct bs__dnnl_conv *c, const void *src, const void *weights, const float *bias,
                            void *dst, void *scratch, struct bs_err *err) BS_NODISCARD;

#endif
