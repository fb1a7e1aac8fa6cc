/* One scan with all its arrays, on the host as float and on the device, for test_scan.c and test_scan_grad.c. Rows lie as in the
   mixer: z is the second half of a projection's rows, B and C are slices of another's. Values are rounded to the element type, so that
   the operator's reference sees what the kernels see. */
#ifndef BS_TESTS_UNIT_CUDA_SCAN_PROBLEM_H
#define BS_TESTS_UNIT_CUDA_SCAN_PROBLEM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/cuda/scan.h"
#include "kernels/op.h"
#include "tests/unit/cuda/cuda_support.h"

#include <stdlib.h>

struct scan_case {
    enum bs__element element;
    int samples, length, features, states, directions;
    bool reverse; /* of the first direction; a second one runs the other way */
    bool gate, no_softplus;
    bool odd;        /* rows and slices at addresses that four elements at once do not suit */
    bool same;       /* two directions that run the same way */
    float low, high; /* of delta; both 0: -4 to 2 */
    float scale;     /* 0: 1 */
};

struct scan_values {
    float *u, *delta, *b, *c, *a_log, *skip, *bias;
};

struct scan_problem {
    struct scan_case is;
    struct scan_values d[2];
    float *z;
    struct bs__scan scan; /* as on the device; y is not set */
};

/* count floats in [lo, hi), rounded to the element type; free() them. */
static inline float *scan_floats(enum bs__element e, size_t count, uint64_t seed, float lo, float hi)
{
    float *v = malloc((count ? count : 1) * sizeof *v);
    assert_non_null(v);
    cuda_fill(v, count, seed, lo, hi);
    cuda_round(e, v, count);
    return v;
}

/* Rows of `columns` values, put on the device `before` elements into rows of `stride`; what lies beside them is 77. */
static inline struct bs__rows scan_put_rows(struct cuda_test *t, enum bs__element e, const float *values,
                                            int64_t rows, int64_t columns, int64_t before, int64_t stride)
{
    const size_t count = (size_t)(rows * stride);
    float *wide = malloc(count * sizeof *wide);
    assert_non_null(wide);
    for (size_t i = 0; i < count; i++)
        wide[i] = 77;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < columns; i++)
            wide[r * stride + before + i] = values[r * columns + i];
    const bs_address at = cuda_put(t, e, wide, count);
    free(wide);
    return (struct bs__rows){at + (bs_address)before * bs__element_bytes(e), stride};
}

static inline void scan_problem_open(struct scan_problem *p, struct cuda_test *t, const struct scan_case *is,
                                     uint64_t seed)
{
    const enum bs__element e = is->element;
    const int64_t rows = (int64_t)is->samples * is->length, f = is->features, s = is->states;
    const size_t tokens = (size_t)(rows * f), weights = (size_t)(rows * s);
    const bool given = is->low != 0 || is->high != 0;
    const int64_t low_rank = is->odd ? 3 : 4, wide = 2 * f + (is->odd ? 1 : 0);
    *p = (struct scan_problem){.is = *is};
    p->scan = (struct bs__scan){.samples = is->samples,
                                .length = is->length,
                                .features = is->features,
                                .states = is->states,
                                .directions = is->directions,
                                .softplus = !is->no_softplus,
                                .scale = is->scale != 0 ? is->scale : 1};
    for (int i = 0; i < is->directions; i++) {
        struct scan_values *v = &p->d[i];
        struct bs__scan_direction *d = &p->scan.direction[i];
        const uint64_t from = seed * 100 + (uint64_t)i * 10;
        v->u = scan_floats(e, tokens, from, -1, 1);
        v->delta = scan_floats(e, tokens, from + 1, given ? is->low : -4, given ? is->high : 2);
        v->b = scan_floats(e, weights, from + 2, -1, 1);
        v->c = scan_floats(e, weights, from + 3, -1, 1);
        v->a_log = scan_floats(BS__F32, (size_t)(f * s), from + 4, -1, 3);
        v->skip = scan_floats(BS__F32, (size_t)f, from + 5, 0.5F, 1.5F);
        v->bias = scan_floats(BS__F32, (size_t)f, from + 6, -2, 0.5F);
        *d = (struct bs__scan_direction){
            .u = scan_put_rows(t, e, v->u, rows, f, 0, f),
            .delta = scan_put_rows(t, e, v->delta, rows, f, is->odd ? 1 : 0, f + (is->odd ? 2 : 0)),
            .b = scan_put_rows(t, e, v->b, rows, s, low_rank, low_rank + 2 * s),
            .c = scan_put_rows(t, e, v->c, rows, s, low_rank + s, low_rank + 2 * s),
            .a_log = cuda_put(t, BS__F32, v->a_log, (size_t)(f * s)),
            .skip = cuda_put(t, BS__F32, v->skip, (size_t)f),
            .delta_bias = cuda_put(t, BS__F32, v->bias, (size_t)f),
            .reverse = is->reverse != (i == 1 && !is->same),
        };
    }
    if (is->gate) {
        p->z = scan_floats(e, tokens, seed * 100 + 50, -4, 4);
        p->scan.z = scan_put_rows(t, e, p->z, rows, f, wide - f, wide);
    }
}

static inline void scan_problem_close(struct scan_problem *p)
{
    for (int i = 0; i < 2; i++) {
        struct scan_values *v = &p->d[i];
        float *all[] = {v->u, v->delta, v->b, v->c, v->a_log, v->skip, v->bias};
        for (size_t k = 0; k < sizeof all / sizeof *all; k++)
            free(all[k]);
    }
    free(p->z);
}

/* The inputs of one direction as the operator takes them; with a gate z is the last. Returns their number. */
static inline int scan_inputs(const struct scan_problem *p, int direction, struct bs_tensor in[8])
{
    const struct scan_case *is = &p->is;
    const struct scan_values *v = &p->d[direction];
    const struct bs_shape tokens = BS_SHAPE(is->samples, is->length, is->features),
                          weights = BS_SHAPE(is->samples, is->length, is->states);
    in[0] = (struct bs_tensor){BS_F32, tokens, v->u};
    in[1] = (struct bs_tensor){BS_F32, tokens, v->delta};
    in[2] = (struct bs_tensor){BS_F32, BS_SHAPE(is->features, is->states), v->a_log};
    in[3] = (struct bs_tensor){BS_F32, weights, v->b};
    in[4] = (struct bs_tensor){BS_F32, weights, v->c};
    in[5] = (struct bs_tensor){BS_F32, BS_SHAPE(is->features), v->skip};
    in[6] = (struct bs_tensor){BS_F32, BS_SHAPE(is->features), v->bias};
    if (p->z)
        in[7] = (struct bs_tensor){BS_F32, tokens, p->z};
    return p->z ? 8 : 7;
}

static inline struct bs_attr scan_attr(const struct scan_problem *p, int direction)
{
    return (struct bs_attr){.reverse = p->scan.direction[direction].reverse != 0,
                            .softplus = !p->is.no_softplus};
}

static inline size_t scan_count(const struct scan_problem *p)
{
    return (size_t)p->is.samples * (size_t)p->is.length * (size_t)p->is.features;
}

/* scale times the sum of the operator's results of all directions; free() it. */
static inline float *scan_wanted(const struct scan_problem *p)
{
    const size_t count = scan_count(p);
    float *want = calloc(count, sizeof *want), *one = malloc(count * sizeof *one);
    assert_non_null(want);
    assert_non_null(one);
    for (int i = 0; i < p->is.directions; i++) {
        struct bs_tensor in[8], out = {BS_F32, BS_SHAPE(p->is.samples, p->is.length, p->is.features), one};
        const struct bs_attr attr = scan_attr(p, i);
        const int count_in = scan_inputs(p, i, in);
        bs_op_def(BS_OP_SELECTIVE_SCAN)->reference(&attr, in, count_in, &out);
        for (size_t k = 0; k < count; k++)
            want[k] += p->scan.scale * one[k];
    }
    free(one);
    return want;
}

static inline double scan_largest(const float *v, size_t count)
{
    double largest = 0;
    for (size_t i = 0; i < count; i++) {
        const double size = v[i] < 0 ? -(double)v[i] : (double)v[i];
        largest = size > largest ? size : largest;
    }
    return largest;
}

#endif
