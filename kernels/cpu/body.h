/* The table of kernels of one instruction set: the bodies compiled for both element types. Included by simd_*.c only. */
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/scan.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/vector.h"

#include <math.h>

#define NV  BS__NV
#define MT  BS__MT
#define KCB 4        /* blocks of input channels in a chunk */
#define OCC (NV * L) /* output channels in a chunk */

#include "kernels/cpu/body_multiply.h"
#include "kernels/cpu/body_moments.h"
#include "kernels/cpu/body_tokens.h"
#include "kernels/cpu/body_exp.h"
#include "kernels/cpu/body_scan.h"
#include "kernels/cpu/body_conv1d.h"
#include "kernels/cpu/body_transpose.h"
#include "kernels/cpu/body_scan_grad.h"

#define ELEM        float
#define LOAD(p)     load_f32(p)
#define STORE(p, v) store_f32(p, v)
#define FN(name)    name##_f32
#include "kernels/cpu/body_winograd.h"
#include "kernels/cpu/body_winograd_grad.h"
#include "kernels/cpu/body_pointwise_grad.h"
#include "kernels/cpu/body_pointwise.h"
#include "kernels/cpu/body_pass.h"
#include "kernels/cpu/body_doubled.h"
#include "kernels/cpu/body_tokens_image.h"
#undef ELEM
#undef LOAD
#undef STORE
#undef FN

#define BF16
#define ELEM        uint16_t
#define LOAD(p)     load_bf16(p)
#define STORE(p, v) store_bf16(p, v)
#define FN(name)    name##_bf16
#include "kernels/cpu/body_winograd.h"
#include "kernels/cpu/body_pointwise.h"
#include "kernels/cpu/body_pass.h"
#include "kernels/cpu/body_doubled.h"
#include "kernels/cpu/body_tokens_image.h"

#define TYPE_TABLE(t)                                                                                        \
    {                                                                                                        \
        .winograd = winograd_##t, .pointwise = pointwise_##t, .head = head_##t, .load = load_image_##t,      \
        .store = store_image_##t, .apply = apply_##t, .moments = moments_##t, .pool = pool_##t,              \
        .lattice = lattice_##t, .smooth = smooth_##t, .resize = resize_##t,                                  \
        .image_from_tokens = image_from_tokens_##t, .tokens_from_image = tokens_from_image_##t               \
    }

static const struct bs__simd table = {
    .name = BS__NAME,
    .lanes = L,
    .out_vectors = NV,
    .in_chunk = KCB,
    .tile_group = MT,
    .f32 = TYPE_TABLE(f32),
    .bf16 = TYPE_TABLE(bf16),
    .row_pass = row_pass,
    .patches = patches,
    .conv1d = conv1d,
    .scan = scan,
    .conv1d_grad = conv1d_grad,
    .scan_grad = scan_grad,
    .winograd_grad = winograd_grad,
    .pointwise_grad = pointwise_grad,
    .transform_weights = transform_weights_f32,
    .transform_weights_bf16 = transform_weights_bf16,
    .exp2 = exp2_rows,
};

const struct bs__simd *BS__TABLE(void)
{
    return &table;
}
