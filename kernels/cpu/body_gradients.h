/* The kernels of gradients.h. Included by gradients_*.c only. */
#include "kernels/cpu/gradients.h"
#include "kernels/cpu/vector.h"

#include <math.h>

#define NV BS__NV
#define MT BS__MT

typedef uint32_t uvec_u __attribute__((vector_size(L * 4), aligned(2)));

#include "kernels/cpu/body_act.h"
#include "kernels/cpu/body_tile.h"
#include "kernels/cpu/body_transpose.h"

INLINE vec get(const float *p, int64_t at, int64_t count)
{
    return load_values(p, false, at, count);
}

INLINE void put(float *p, int64_t at, int64_t count, vec x)
{
    store_values(p, false, at, count, x);
}

/* ---- elements ---- */

/* Phi(x) + x phi(x): gelu_v(-a) is -a Q(a), Q the tail of the normal distribution, with a small relative error. */
INLINE vec gelu_slope_v(vec x)
{
    const vec a = (vec)((ivec)x & INT32_MAX);
    const ivec zero = a < 1e-30f;
    const vec safe = (vec)(((ivec)splat(1e-30f) & zero) | ((ivec)a & ~zero));
    const vec tail = -gelu_v(-safe) / safe;
    const vec phi = splat(0.39894228f) * exp2_v(a * a * splat(-0.72134752f));
    const vec below = fma_v(-a, phi, tail); /* slope at -a; that at a is 1 less this one */
    const ivec sign = x < 0;
    return (vec)(((ivec)below & sign) | ((ivec)(1.0f - below) & ~sign));
}

INLINE vec silu_slope_v(vec x)
{
    const vec s = sigmoid_v(x);
    return s * fma_v(x, 1.0f - s, splat(1));
}

INLINE vec masked_v(vec x, ivec where)
{
    return (vec)((ivec)x & where);
}

static void elements(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct bs__elements *c = ctx;
    const int64_t from = task * BS__ELEMENTS_RUN;
    const int64_t end = c->count - from < BS__ELEMENTS_RUN ? c->count : from + BS__ELEMENTS_RUN;
    const float *pa = c->a, *pb = c->b;
#define EACH(value)                                                                                          \
    for (int64_t i = from; i < end; i += L) {                                                                \
        const vec a = get(pa, i, end - i), b = pb ? get(pb, i, end - i) : splat(0);                          \
        (void)b;                                                                                             \
        put(c->y, i, end - i, value);                                                                        \
    }                                                                                                        \
    break
    switch (c->op) {
    case BS_OP_RELU:
        EACH(relu_v(a));
    case BS_OP_RELU_GRAD:
        EACH(masked_v(b, ~(a <= 0)));
    case BS_OP_SIGMOID:
        EACH(sigmoid_v(a));
    case BS_OP_SIGMOID_GRAD:
        EACH(b * a * (1.0f - a));
    case BS_OP_GELU:
        EACH(gelu_v(a));
    case BS_OP_GELU_GRAD:
        EACH(b * gelu_slope_v(a));
    case BS_OP_SILU:
        EACH(a * sigmoid_v(a));
    case BS_OP_SILU_GRAD:
        EACH(b * silu_slope_v(a));
    case BS_OP_ADD:
        EACH(a + b);
    case BS_OP_MUL:
        EACH(a * b);
    case BS_OP_SCALE:
        EACH(a * splat(c->factor));
    default:
        break;
    }
#undef EACH
}

/* ---- rows ---- */

/* Mean (centred) and 1 / deviation of a row; variance around the mean, in two passes. */
INLINE void row_moments(const float *x, int features, bool centred, float eps, float *mean, float *inverse)
{
    vec sum = splat(0);
    *mean = 0;
    for (int i = 0; centred && i < features; i += L)
        sum += get(x, i, features - i);
    if (centred)
        *mean = lane_sum(sum) / (float)features;
    sum = splat(0);
    int i = 0;
    for (; i + L <= features; i += L) {
        const vec d = get(x, i, L) - *mean;
        sum = fma_v(d, d, sum);
    }
    float squares = lane_sum(sum);
    for (; i < features; i++)
        squares += (x[i] - *mean) * (x[i] - *mean);
    *inverse = 1.0f / sqrtf(squares / (float)features + eps);
}

static void norm(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct bs__norm_rows *c = ctx;
    const int64_t end = (task + 1) * c->run < c->rows ? (task + 1) * c->run : c->rows;
    for (int64_t r = task * c->run; r < end; r++) {
        const float *x = c->x + r * c->features;
        float mean, inverse;
        row_moments(x, c->features, c->centred, c->eps, &mean, &inverse);
        for (int i = 0; i < c->features; i += L) {
            const int left = c->features - i;
            const vec y = (get(x, i, left) - mean) * inverse * get(c->w, i, left);
            put(c->y + r * c->features, i, left, c->b ? y + get(c->b, i, left) : y);
        }
    }
}

/* gx = (h - mean(h) - xhat mean(h xhat)) inverse with h = gy w; RMS norm has no mean(h). */
INLINE void norm_grad_x(const struct bs__norm_rows *c, const float *x, const float *gy, float *gx, float mean,
                        float inverse)
{
    vec sum = splat(0), product = splat(0);
    for (int i = 0; i < c->features; i += L) {
        const int left = c->features - i;
        const vec h = get(gy, i, left) * get(c->w, i, left);
        sum += h;
        product = fma_v(h, get(x, i, left) - mean, product);
    }
    const float mean_h = c->centred ? lane_sum(sum) / (float)c->features : 0;
    const float mean_hx = lane_sum(product) * inverse / (float)c->features;
    for (int i = 0; i < c->features; i += L) {
        const int left = c->features - i;
        const vec h = get(gy, i, left) * get(c->w, i, left), xhat = (get(x, i, left) - mean) * inverse;
        put(gx, i, left, (fnma_v(xhat, splat(mean_hx), h) - mean_h) * inverse);
    }
}

static void norm_grad(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct bs__norm_rows *c = ctx;
    const int64_t end = (task + 1) * c->run < c->rows ? (task + 1) * c->run : c->rows;
    float *part = c->part ? c->part + task * c->features : NULL;
    if (part)
        memset(part, 0, (size_t)c->features * sizeof *part);
    for (int64_t r = task * c->run; r < end; r++) {
        const float *x = c->x + r * c->features, *gy = c->gy + r * c->features;
        float mean, inverse;
        row_moments(x, c->features, c->centred, c->eps, &mean, &inverse);
        for (int i = 0; part && i < c->features; i += L) {
            const int left = c->features - i;
            put(part, i, left,
                fma_v(get(gy, i, left), (get(x, i, left) - mean) * inverse, get(part, i, left)));
        }
        if (c->y)
            norm_grad_x(c, x, gy, c->y + r * c->features, mean, inverse);
    }
}

static void sum_rows(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct bs__sum_rows *c = ctx;
    const int64_t end = (task + 1) * c->run < c->rows ? (task + 1) * c->run : c->rows;
    for (int i = 0; i < c->features; i += L) {
        const int left = c->features - i;
        vec sum = splat(0);
        for (int64_t r = task * c->run; r < end; r++)
            sum += get(c->x + r * c->features, i, left);
        put(c->part + task * c->features, i, left, sum);
    }
}

/* ---- layouts ---- */

static void transpose(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct bs__transpose *c = ctx;
    const int64_t sample = task / c->groups, group = task % c->groups, first = group * c->run;
    const int64_t live = c->rows - first < c->run ? c->rows - first : c->run;
    const int64_t there = c->padded ? c->run : live;
    const float *src = c->src + sample * c->src_sample + first * c->src_row;
    float *dst = c->dst + sample * c->dst_sample + group * c->dst_group;
    for (int64_t k = 0; k < c->cols; k += L)
        for (int64_t r = 0; r < there; r += L) {
            vec x[L];
#pragma GCC unroll 16
            for (int i = 0; i < L; i++)
                x[i] = r + i < live ? get(src + (r + i) * c->src_row, k, c->cols - k) : splat(0);
            transpose_v(x);
            for (int i = 0; i < L && k + i < c->cols; i++)
                put(dst + (k + i) * c->dst_row, r, there - r, x[i]);
        }
}

static void panels(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct bs__panels *c = ctx;
    const int64_t end = (task + 1) * c->run < c->rows ? (task + 1) * c->run : c->rows;
    for (int64_t from = 0; from < c->cols; from += c->width)
        for (int64_t r = task * c->run; r < end; r++) {
            float *dst = c->dst + (from / c->width * c->rows + r) * c->width;
            for (int64_t i = 0; i < c->width; i += L)
                put(dst, i, L, get(c->src + r * c->cols, from + i, c->cols - from - i));
        }
}

#include "kernels/cpu/body_blocks.h"
#include "kernels/cpu/body_gradients_planes.h"
#include "kernels/cpu/body_gradients_pointwise.h"

const struct bs__gradients *BS__TABLE(void)
{
    static const struct bs__gradients table = {
        .elements = elements,
        .norm = norm,
        .norm_grad = norm_grad,
        .sum_rows = sum_rows,
        .transpose = transpose,
        .panels = panels,
        .norm_planes = norm_planes,
        .norm_planes_grad = norm_planes_grad,
        .sum_planes = sum_planes,
        .resize = resize,
        .resize_grad = resize_grad,
        .pointwise = pointwise,
        .pointwise_grad = pointwise_grad,
        .blocks = {.moments = block_moments,
                   .moments_merge = block_moments_merge,
                   .norm = block_norm,
                   .norm_sums = block_norm_sums,
                   .norm_sums_merge = block_norm_sums_merge,
                   .norm_grad = block_norm_grad,
                   .pass_back = block_pass_back,
                   .sum_merge = block_sum_merge,
                   .pool_grad = block_pool_grad,
                   .resize_grad = block_resize_grad},
    };
    return &table;
}
