/* The causal convolution's kernels and their gradients against double loops: fast and slow numbers of taps, rows that cannot be read
   four features at a time, both directions, element types, the ends of the sequence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/cuda/conv1d_grad.h"
#include "tests/unit/cuda/cuda_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct conv_case {
    enum bs__element element;
    int samples, length, features, taps, directions;
    bool silu, no_bias;
    bool odd; /* rows begin where four elements at once cannot be read */
};

struct conv_problem {
    struct conv_case is;
    float *x, *w[2], *bias[2], *gy[2];
    struct bs__conv1d conv;
    struct bs__rows gy_rows[2];
};

static float *floats(enum bs__element e, size_t count, uint64_t seed)
{
    float *v = malloc((count + 1) * sizeof *v);
    assert_non_null(v);
    cuda_fill(v, count, seed, -1, 1);
    cuda_round(e, v, count);
    return v;
}

/* The first half of wider rows, as the mixer has it. */
static struct bs__rows put_rows(struct cuda_test *t, const struct conv_case *is, const float *values)
{
    const size_t rows = (size_t)is->samples * (size_t)is->length, columns = (size_t)is->features,
                 stride = 2 * columns + (is->odd ? 1 : 0);
    float *wide = malloc(rows * stride * sizeof *wide);
    assert_non_null(wide);
    for (size_t i = 0; i < rows * stride; i++)
        wide[i] = i % stride < columns ? values[i / stride * columns + i % stride] : 77;
    const bs_address at = cuda_put(t, is->element, wide, rows * stride);
    free(wide);
    return (struct bs__rows){at, (int64_t)stride};
}

static size_t count_of(const struct conv_case *is)
{
    return (size_t)is->samples * (size_t)is->length * (size_t)is->features;
}

static void open_problem(struct conv_problem *p, struct cuda_test *t, const struct conv_case *is)
{
    const size_t features = (size_t)is->features, taps = (size_t)is->taps;
    *p = (struct conv_problem){.is = *is};
    p->x = floats(is->element, count_of(is), 11);
    p->conv = (struct bs__conv1d){.x = put_rows(t, is, p->x),
                                  .samples = is->samples,
                                  .length = is->length,
                                  .features = is->features,
                                  .taps = is->taps,
                                  .directions = is->directions,
                                  .silu = is->silu};
    for (int i = 0; i < is->directions; i++) {
        p->w[i] = floats(BS__F32, features * taps, 12 + (uint64_t)i);
        p->bias[i] = floats(BS__F32, features, 14 + (uint64_t)i);
        p->gy[i] = floats(is->element, count_of(is), 16 + (uint64_t)i);
        if (is->no_bias)
            memset(p->bias[i], 0, features * sizeof(float));
        p->gy_rows[i] = put_rows(t, is, p->gy[i]);
        p->conv.direction[i] = (struct bs__conv1d_direction){
            .weights = cuda_put(t, BS__F32, p->w[i], features * taps),
            .bias = is->no_bias ? 0 : cuda_put(t, BS__F32, p->bias[i], features),
            .reverse = i == 1,
        };
    }
    p->conv.direction[1].reverse = true; /* also where there is one direction: then nobody looks */
}

static void close_problem(struct conv_problem *p)
{
    free(p->x);
    for (int i = 0; i < 2; i++) {
        free(p->w[i]);
        free(p->bias[i]);
        free(p->gy[i]);
    }
}

/* Where tap k of token t reads in its sample, -1: outside. */
static int64_t read_at(const struct conv_problem *p, int direction, int64_t t, int k)
{
    const int64_t back = p->is.taps - 1 - k, from = direction == 1 ? t + back : t - back;
    return from >= 0 && from < p->is.length ? from : -1;
}

/* The sum before the SiLU. */
static double sum_at(const struct conv_problem *p, int direction, int64_t n, int64_t t, int64_t f)
{
    double sum = (double)p->bias[direction][f];
    for (int k = 0; k < p->is.taps; k++) {
        const int64_t from = read_at(p, direction, t, k);
        if (from >= 0)
            sum += (double)p->w[direction][f * p->is.taps + k] *
                   (double)p->x[(n * p->is.length + from) * p->is.features + f];
    }
    return sum;
}

static void near(const float *got, const double *want, size_t count, enum bs__element e)
{
    float *rounded = malloc(count * sizeof *rounded);
    double largest = 0;
    assert_non_null(rounded);
    for (size_t i = 0; i < count; i++) {
        rounded[i] = (float)want[i];
        largest = fmax(largest, fabs(want[i]));
    }
    cuda_near(got, rounded, count, largest * (e == BS__F32 ? 4e-6 : e == BS__F16 ? 1e-3 : 8e-3), 0);
    free(rounded);
}

static void check_forward(struct cuda_test *t, const struct conv_case *is)
{
    struct conv_problem p;
    const size_t count = count_of(is);
    open_problem(&p, t, is);
    float *got = malloc(count * sizeof *got);
    double *want = malloc(count * sizeof *want);
    assert_non_null(got);
    assert_non_null(want);
    for (int i = 0; i < is->directions; i++)
        p.conv.direction[i].y =
            (struct bs__rows){cuda_room(t, count * bs__element_bytes(is->element)), is->features};
    CUDA_MUST(bs__cuda_conv1d(cuda_queue(t), is->element, &p.conv, err));
    for (int i = 0; i < is->directions; i++) {
        for (size_t at = 0; at < count; at++) {
            const int64_t row = (int64_t)at / is->features;
            const double s = sum_at(&p, i, row / is->length, row % is->length, (int64_t)at % is->features);
            want[at] = is->silu ? s / (1 + exp(-s)) : s;
        }
        cuda_get(t, is->element, p.conv.direction[i].y.at, got, count);
        near(got, want, count, is->element);
    }
    free(got);
    free(want);
    close_problem(&p);
}

struct gradients {
    double *x, *w[2], *b[2];
};

static void add_gradients(const struct conv_problem *p, int direction, struct gradients *g)
{
    const struct conv_case *is = &p->is;
    for (int64_t n = 0; n < is->samples; n++)
        for (int64_t t = 0; t < is->length; t++)
            for (int64_t f = 0; f < is->features; f++) {
                const double s = sum_at(p, direction, n, t, f), passed = 1 / (1 + exp(-s));
                double gs = (double)p->gy[direction][(n * is->length + t) * is->features + f];
                gs *= is->silu ? passed * (1 + s * (1 - passed)) : 1;
                g->b[direction][f] += gs;
                for (int k = 0; k < is->taps; k++) {
                    const int64_t from = read_at(p, direction, t, k);
                    if (from < 0)
                        continue;
                    const int64_t at = (n * is->length + from) * is->features + f;
                    g->x[at] += gs * (double)p->w[direction][f * is->taps + k];
                    g->w[direction][f * is->taps + k] += gs * (double)p->x[at];
                }
            }
}

/* Only some gradients may be wanted. */
static void check_backward(struct cuda_test *t, const struct conv_case *is, bool want_x, bool want_w,
                           bool want_b)
{
    struct conv_problem p;
    const size_t count = count_of(is), features = (size_t)is->features, taps = (size_t)is->taps;
    open_problem(&p, t, is);
    struct gradients want = {.x = calloc(count, sizeof(double))};
    struct bs__conv1d_grad g = {.forward = p.conv};
    float *got = malloc((count + features * taps) * sizeof *got);
    assert_non_null(want.x);
    assert_non_null(got);
    if (want_x)
        g.gx = (struct bs__rows){cuda_room(t, count * bs__element_bytes(is->element)), is->features};
    for (int i = 0; i < is->directions; i++) {
        want.w[i] = calloc(features * taps, sizeof(double));
        want.b[i] = calloc(features, sizeof(double));
        assert_non_null(want.w[i]);
        assert_non_null(want.b[i]);
        add_gradients(&p, i, &want);
        g.gy[i] = p.gy_rows[i];
        g.gw[i] = want_w ? cuda_room(t, features * taps * sizeof(float)) : 0;
        g.gb[i] = want_b ? cuda_room(t, features * sizeof(float)) : 0;
    }
    g.workspace = cuda_room(t, bs__cuda_conv1d_grad_workspace(&g));
    CUDA_MUST(bs__cuda_conv1d_grad(cuda_queue(t), is->element, &g, err));
    if (want_x) {
        cuda_get(t, is->element, g.gx.at, got, count);
        near(got, want.x, count, is->element);
    }
    for (int i = 0; i < is->directions; i++) {
        if (want_w) {
            cuda_get(t, BS__F32, g.gw[i], got, features * taps);
            near(got, want.w[i], features * taps, BS__F32);
        }
        if (want_b) {
            cuda_get(t, BS__F32, g.gb[i], got, features);
            near(got, want.b[i], features, BS__F32);
        }
        free(want.w[i]);
        free(want.b[i]);
    }
    free(want.x);
    free(got);
    close_problem(&p);
}

static const struct conv_case cases[] = {
    {.samples = 1, .length = 1, .features = 1, .taps = 4, .directions = 1, .silu = true},
    {.samples = 1, .length = 1, .features = 4, .taps = 4, .directions = 2, .silu = true},
    {.samples = 2, .length = 3, .features = 8, .taps = 4, .directions = 2, .silu = true},
    {.samples = 2, .length = 7, .features = 12, .taps = 4, .directions = 2},
    {.samples = 1, .length = 8, .features = 40, .taps = 4, .directions = 2, .silu = true, .no_bias = true},
    {.samples = 3, .length = 9, .features = 37, .taps = 4, .directions = 2, .silu = true},
    {.samples = 2, .length = 197, .features = 36, .taps = 4, .directions = 2, .silu = true, .odd = true},
    {.samples = 2, .length = 65, .features = 64, .taps = 4, .directions = 1, .silu = true},
    {.samples = 2, .length = 13, .features = 5, .taps = 1, .directions = 2, .silu = true},
    {.samples = 1, .length = 21, .features = 33, .taps = 3, .directions = 2, .silu = true},
    {.samples = 1, .length = 19, .features = 3, .taps = 7, .directions = 2, .silu = true},
    {.samples = 1, .length = 5, .features = 4, .taps = 11, .directions = 2},
    {.samples = 1, .length = 10, .features = 3, .taps = 5, .directions = 1, .silu = true},
    {.element = BS__F16,
     .samples = 2,
     .length = 30,
     .features = 16,
     .taps = 4,
     .directions = 2,
     .silu = true},
    {.element = BS__BF16,
     .samples = 2,
     .length = 30,
     .features = 16,
     .taps = 4,
     .directions = 2,
     .silu = true},
    {.element = BS__BF16, .samples = 1, .length = 17, .features = 6, .taps = 4, .directions = 2, .odd = true},
};

static void the_convolution_looks_back_or_ahead_only(void **state)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_forward(*state, &cases[i]);
}

static void its_gradients_go_the_other_way(void **state)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_backward(*state, &cases[i], true, true, true);
}

static void only_what_is_wanted_is_written(void **state)
{
    check_backward(*state, &cases[3], true, false, false);
    check_backward(*state, &cases[5], false, true, true);
    check_backward(*state, &cases[9], false, true, false);
    check_backward(*state, &cases[10], false, false, true);
}

/* Many slices of tokens: more blocks than partial sums of one block. */
static void slices_are_added(void **state)
{
    const struct conv_case is = {
        .samples = 3, .length = 1025, .features = 3, .taps = 4, .directions = 2, .silu = true};
    check_backward(*state, &is, true, true, true);
}

static void what_is_no_convolution_is_refused(void **state)
{
    struct conv_problem p;
    struct bs_err err;
    open_problem(&p, *state, &cases[3]);
    assert_int_equal(bs__cuda_conv1d(cuda_queue(*state), BS__F32, &p.conv, &err), BS_EINTERNAL);
    assert_non_null(strstr(err.msg, "y"));
    p.conv.taps = 0;
    assert_int_equal(bs__cuda_conv1d(cuda_queue(*state), BS__F32, &p.conv, &err), BS_EINTERNAL);
    p.conv.taps = 4;
    p.conv.directions = 0;
    assert_int_equal(bs__cuda_conv1d(cuda_queue(*state), BS__F32, &p.conv, &err), BS_EINTERNAL);
    p.conv.directions = 2;
    p.conv.length = INT32_MAX;
    assert_int_equal(bs__cuda_conv1d(cuda_queue(*state), BS__F32, &p.conv, &err), BS_ELIMIT);
    close_problem(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(the_convolution_looks_back_or_ahead_only, cuda_test_end),
        cmocka_unit_test_teardown(its_gradients_go_the_other_way, cuda_test_end),
        cmocka_unit_test_teardown(only_what_is_wanted_is_written, cuda_test_end),
        cmocka_unit_test_teardown(slices_are_added, cuda_test_end),
        cmocka_unit_test_teardown(what_is_no_convolution_is_refused, cuda_test_end),
    };
    return cmocka_run_group_tests(tests, cuda_test_open, cuda_test_close);
}
