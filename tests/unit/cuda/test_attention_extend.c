/* Queries and keys with relative positions as further dimensions: their products are the logits of the operator's reference, values
   and padding are where the library looks for them, and results come back from windows. */
#include "tests/unit/cuda/attention_case.h"

#include "kernels/cuda/attention_extend.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

/* A relative position is rounded once. */
static double tolerance(enum bs__element e)
{
    return e == BS__F16 ? 1e-3 : 8e-3;
}

/* Token k of window `window` on the grid, or -1. */
static int64_t token_of(const struct attention_case *c, const struct bs__extended_attention *x,
                        int64_t window, int64_t k)
{
    const int64_t side_w = c->window ? c->window : c->grid_w, side_h = c->window ? c->window : c->grid_h;
    const int64_t across = (c->grid_w + side_w - 1) / side_w;
    const int64_t y = window / across * side_h + k / side_w, column = window % across * side_w + k % side_w;
    assert_true(k < x->tokens);
    return y < c->grid_h && column < c->grid_w ? y * c->grid_w + column : -1;
}

/* Element of q, k or v (part) of a token of a sample; of the padding where token is -1. */
static float given(const struct attention_inputs *in, const struct attention_case *c, int part,
                   int64_t sample, int64_t token, int head, int feature)
{
    const int64_t width = (int64_t)c->heads * c->features,
                  column = part * width + head * c->features + feature;
    if (token < 0)
        return ((const float *)in->tensor[1].data)[column];
    return ((const float *)in->tensor[0].data)[(sample * c->grid_h * c->grid_w + token) * 3 * width + column];
}

/* q . row of a table. */
static double position(const struct attention_inputs *in, const struct attention_case *c, int table,
                       int64_t sample, int64_t token, int head, int64_t row)
{
    double sum = 0;
    for (int f = 0; f < c->features; f++)
        sum += (double)given(in, c, 0, sample, token, head, f) *
               (double)((const float *)in->tensor[table].data)[row * c->features + f];
    return sum;
}

static void expect_row(const struct attention_inputs *in, const struct attention_case *c,
                       const struct bs__extended_attention *x, enum bs__element e, const float *query,
                       const float *key, int64_t sample, int64_t token, int64_t k, int head)
{
    const int64_t w = c->window ? c->window : c->grid_w, h = x->tokens / w, i = k / w, j = k % w;
    const double s = sqrt((double)c->features);
    for (int f = 0; f < c->features; f++) {
        assert_true(query[f] == given(in, c, 0, sample, token, head, f));
        assert_true(key[f] == given(in, c, 1, sample, token, head, f));
    }
    for (int64_t d = c->features; d < x->width; d++) {
        const int64_t at = d - c->features;
        double want = 0, one = 0;
        if (c->rows_h && at < h) {
            want = s * position(in, c, 2, sample, token, head, i - at + h - 1);
            one = at == i;
        } else if (c->rows_h && at < h + w) {
            want = s * position(in, c, 3, sample, token, head, j - (at - h) + w - 1);
            one = at - h == j;
        }
        if (!(fabs((double)query[d] - want) <= tolerance(e) * (1 + fabs(want))))
            fail_msg("token %lld, dimension %lld of a query is %g, not %g", (long long)k, (long long)d,
                     (double)query[d], want);
        assert_true((double)key[d] == one);
    }
}

static void compare(struct cuda_test *t, enum bs__element e, const struct attention_case *c)
{
    attention_say(e, c);
    struct attention_inputs in = attention_inputs(t, e, c);
    struct bs__extended_attention x;
    const char *why = NULL;
    CUDA_MUST(bs__attention_extended(&in.call, bs__queue_limits(cuda_queue(t)), &x, &why, err));
    assert_null(why);
    const size_t heads = (size_t)(x.samples * x.tokens * c->heads), long_rows = heads * (size_t)x.width,
                 rows = heads * (size_t)c->features, bytes = bs__element_bytes(e);
    float *query = attention_values(long_rows), *key = attention_values(long_rows),
          *value = attention_values(rows);
    const bs_address q = cuda_room(t, long_rows * bytes), k = cuda_room(t, long_rows * bytes),
                     v = x.copied ? cuda_room(t, rows * bytes) : 0;
    CUDA_MUST(bs__cuda_extend_attention(cuda_queue(t), &in.call, q, k, v, err));
    cuda_get(t, e, q, query, long_rows);
    cuda_get(t, e, k, key, long_rows);
    if (x.copied)
        cuda_get(t, e, v, value, rows);
    const int64_t windows = x.samples / c->samples;
    for (int64_t i = 0; i < (int64_t)heads; i++) {
        const int head = (int)(i % c->heads);
        const int64_t at = i / c->heads, token = at % x.tokens, sample = at / x.tokens / windows,
                      of = token_of(c, &x, at / x.tokens % windows, token);
        expect_row(&in, c, &x, e, query + i * x.width, key + i * x.width, sample, of, token, head);
        for (int f = 0; x.copied && f < c->features; f++)
            assert_true(value[i * c->features + f] == given(&in, c, 2, sample, of, head, f));
    }
    if (x.copied) { /* values as results: each token's own come back */
        float *y = attention_values(in.tokens * in.width);
        in.call.y = cuda_room(t, in.tokens * in.width * bytes);
        CUDA_MUST(bs__cuda_attention_from_windows(cuda_queue(t), &in.call, v, err));
        cuda_get(t, e, in.call.y, y, in.tokens * in.width);
        for (size_t i = 0; i < in.tokens * in.width; i++)
            assert_true(y[i] == ((const float *)in.tensor[0]
                                     .data)[i / in.width * 3 * in.width + 2 * in.width + i % in.width]);
        free(y);
    }
    free(query);
    free(key);
    free(value);
    attention_inputs_free(&in);
    assert_int_equal(cuda_test_end((void **)&t), 0);
}

static void compare_all(struct cuda_test *t, const struct attention_case *c, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (int e = BS__F16; e <= BS__BF16; e++)
            compare(t, (enum bs__element)e, &c[i]);
}

static void positions_are_dimensions(void **state)
{
    /* Below, at and above a tile of 64 tokens; widths that are and are not filled up; every width of a head. */
    static const struct attention_case cases[] = {
        {1, 1, 1, 1, 8, 0, false, -1, -1, 0},   {2, 5, 3, 2, 8, 0, false, -1, -1, 0},
        {1, 8, 8, 1, 16, 0, false, -1, -1, 0},  {1, 5, 13, 2, 32, 0, false, -1, -1, 0},
        {1, 3, 4, 2, 64, 0, false, -1, -1, 0},  {1, 2, 33, 1, 80, 0, false, -1, -1, 0},
        {1, 35, 2, 1, 96, 0, false, -1, -1, 0}, {1, 2, 3, 1, 128, 0, false, -1, -1, 0},
    };
    compare_all(*state, cases, sizeof cases / sizeof *cases);
}

static void windows_are_samples(void **state)
{
    static const struct attention_case cases[] = {
        {1, 4, 6, 1, 8, 2, false, -1, -1, 0}, {2, 5, 7, 2, 8, 3, true, -1, -1, 0},
        {1, 5, 7, 1, 8, 3, false, 0, 0, 0},   {1, 5, 7, 1, 16, 3, true, 0, 0, 0},
        {1, 3, 4, 1, 16, 9, true, -1, -1, 0}, {1, 5, 14, 1, 64, 14, true, -1, -1, 0},
        {2, 4, 3, 2, 8, 1, true, -1, -1, 0},
    };
    compare_all(*state, cases, sizeof cases / sizeof *cases);
}

/* A position times 0 adds nothing, however large: what float16 cannot hold becomes its largest number. */
static void positions_stay_finite(void **state)
{
    static const struct attention_case c = {1, 3, 3, 1, 128, 0, false, -1, -1, 400};
    struct cuda_test *t = *state;
    struct attention_inputs in = attention_inputs(t, BS__F16, &c);
    float query[9 * 136];
    bool met = false;
    const bs_address q = cuda_room(t, sizeof query), k = cuda_room(t, sizeof query);
    CUDA_MUST(bs__cuda_extend_attention(cuda_queue(t), &in.call, q, k, 0, err));
    cuda_get(t, BS__F16, q, query, sizeof query / sizeof *query);
    for (size_t i = 0; i < sizeof query / sizeof *query; i++) {
        assert_true(fabsf(query[i]) <= 65504);
        met |= fabsf(query[i]) == 65504;
    }
    assert_true(met);
    attention_inputs_free(&in);
}

static void what_cannot_be_done_is_said(void **state)
{
    struct cuda_test *t = *state;
    struct bs_err failure = {0};
    struct bs__extended_attention x;
    const char *why = NULL;
    const struct bs__cuda_attention good = {.element = BS__F16,
                                            .samples = 1,
                                            .grid_h = 2,
                                            .grid_w = 2,
                                            .heads = 1,
                                            .features = 8,
                                            .qkv = 256,
                                            .y = 256,
                                            .rel_h = 256,
                                            .rel_w = 256};
    struct bs__cuda_limits limits = *bs__queue_limits(cuda_queue(t));
    struct bs__cuda_attention c = good;
    CUDA_MUST(bs__attention_extended(&c, &limits, &x, &why, err));
    assert_null(why);
    assert_int_equal(x.width, 16);
    c.element = BS__F32;
    CUDA_MUST(bs__attention_extended(&c, &limits, &x, &why, err));
    assert_string_equal(why, "float32");
    c = good, c.features = 12;
    CUDA_MUST(bs__attention_extended(&c, &limits, &x, &why, err));
    assert_non_null(strstr(why, "8"));
    c = good, c.qkv = 264;
    CUDA_MUST(bs__attention_extended(&c, &limits, &x, &why, err));
    assert_non_null(strstr(why, "aligned"));
    assert_int_equal(bs__cuda_extend_attention(cuda_queue(t), &c, 256, 256, 0, &failure), BS_EINTERNAL);
    c = good, c.grid_h = 2000;
    CUDA_MUST(bs__attention_extended(&c, &limits, &x, &why, err));
    assert_non_null(strstr(why, "positions"));
    c = good;
    limits.capability = 75;
    CUDA_MUST(bs__attention_extended(&c, &limits, &x, &why, err));
    assert_non_null(strstr(why, "sm_80"));
    c = good, c.window = 3;
    assert_int_equal(bs__cuda_extend_attention(cuda_queue(t), &c, 256, 256, 0, &failure), BS_EINTERNAL);
    assert_non_null(strstr(failure.msg, "values"));
    c = good, c.heads = 0;
    assert_int_equal(bs__attention_extended(&c, &limits, &x, &why, &failure), BS_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(positions_are_dimensions, cuda_test_end),
        cmocka_unit_test_teardown(windows_are_samples, cuda_test_end),
        cmocka_unit_test_teardown(positions_stay_finite, cuda_test_end),
        cmocka_unit_test_teardown(what_cannot_be_done_is_said, cuda_test_end),
    };
    return cmocka_run_group_tests_name("longer queries and keys", tests, cuda_test_open, cuda_test_close);
}
