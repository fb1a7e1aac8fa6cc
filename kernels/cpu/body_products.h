/* The matrix product kernels of one instruction set. Included by products_*.c only. */
#include "kernels/cpu/products.h"
#include "kernels/cpu/vector.h"

#include <math.h>

#define NV BS__NV
#define MT BS__MT

typedef uint32_t uvec_u __attribute__((vector_size(L * 4), aligned(2)));

#include "kernels/cpu/body_act.h"
#include "kernels/cpu/body_tile.h"
#include "kernels/cpu/body_linear.h"
#include "kernels/cpu/body_transpose.h"
#include "kernels/cpu/body_attention.h"
#ifndef BS__PAIRS
#include "kernels/cpu/body_attention_grad.h"
#endif

#define LINEAR(fn, is_bf16, is_pairs)                                                                        \
    {                                                                                                        \
        .name = BS__NAME, .run = (fn), .lanes = L, .panel = OCC, .bf16 = (is_bf16), .pairs = (is_pairs)      \
    }
#define ATTENTION(fn, grad_fn, is_bf16, is_pairs)                                                            \
    {                                                                                                        \
        .name = BS__NAME, .run = (fn), .grad = (grad_fn), .lanes = L, .vectors = NV, .bf16 = (is_bf16),      \
        .pairs = (is_pairs)                                                                                  \
    }

const struct bs__products *BS__TABLE(void)
{
    static const struct bs__products table = {
#ifdef BS__PAIRS
        .linear_bf16 = LINEAR(linear_pairs, true, true),
        .attention_bf16 = ATTENTION(attention, NULL, true, true),
#else
        .linear = LINEAR(linear_f32, false, false),
        .linear_bf16 = LINEAR(linear_bf16, true, false),
        .attention = ATTENTION(attention, attention_grad, false, false),
        .attention_bf16 = ATTENTION(attention, NULL, true, false),
#endif
    };
    return &table;
}
