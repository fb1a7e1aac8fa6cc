/* Own products of matrices against sums in double, in every form, element type and tile. */
#include "kernels/cuda/gemm.h"
#include "tests/unit/cuda/cuda_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct product {
    int64_t rows, columns, depth;
    int64_t apart; /* elements between rows beyond their length */
    enum bs__gemm_act act;
    bool bias, float_bias, residual;
};

static float *values(enum bs__element e, size_t count, uint64_t seed)
{
    float *v = malloc(count * sizeof *v);
    if (!v)
        cuda_fail(__FILE__, __LINE__, "out of memory");
    cuda_fill(v, count, seed, -1, 1);
    cuda_round(e, v, count);
    return v;
}

static double activate(enum bs__gemm_act act, double v)
{
    return act == BS__GEMM_RELU ? fmax(v, 0) : act == BS__GEMM_GELU ? v / 2 * (1 + erf(v / sqrt(2))) : v;
}

static void compare(struct cuda_test *t, enum bs__gemm_form form, enum bs__element e, const struct product *p)
{
    const bool a_across = form == BS__GEMM_OUTER, b_across = form != BS__GEMM_LINEAR;
    const int64_t a_rows = a_across ? p->depth : p->rows, a_row = (a_across ? p->rows : p->depth) + p->apart;
    const int64_t b_rows = b_across ? p->depth : p->columns,
                  b_row = (b_across ? p->columns : p->depth) + p->apart;
    const int64_t y_row = p->columns + p->apart;
    const size_t y_count = (size_t)(p->rows * y_row);
    float *a = values(e, (size_t)(a_rows * a_row), 1), *b = values(e, (size_t)(b_rows * b_row), 2);
    const enum bs__element bias_element = p->float_bias ? BS__F32 : e;
    float *bias = values(bias_element, (size_t)p->columns, 3), *residual = values(e, y_count, 4);
    float *want = values(e, y_count, 5), *got = values(e, y_count, 6);
    for (int64_t r = 0; r < p->rows; r++)
        for (int64_t c = 0; c < p->columns; c++) {
            double sum = p->bias ? (double)bias[c] : 0;
            for (int64_t k = 0; k < p->depth; k++)
                sum += (double)a[a_across ? k * a_row + r : r * a_row + k] *
                       (double)b[b_across ? k * b_row + c : c * b_row + k];
            sum = activate(p->act, sum);
            want[r * y_row + c] = (float)(sum + (p->residual ? (double)residual[r * y_row + c] : 0));
        }
    struct bs__gemm c = {.element = e,
                         .form = form,
                         .rows = p->rows,
                         .columns = p->columns,
                         .depth = p->depth,
                         .a = cuda_put(t, e, a, (size_t)(a_rows * a_row)),
                         .b = cuda_put(t, e, b, (size_t)(b_rows * b_row)),
                         .a_stride = a_row,
                         .b_stride = b_row,
                         .y_stride = y_row,
                         .bias = p->bias ? cuda_put(t, bias_element, bias, (size_t)p->columns) : 0,
                         .bias_element = bias_element,
                         .act = p->act,
                         .residual_stride = y_row};
    /* What lies between rows must stay; a residual is added in place. */
    c.y = cuda_put(t, e, p->residual ? residual : want, y_count);
    c.residual = p->residual ? c.y : 0;
    for (size_t i = 0; i < y_count; i++)
        if (i % (size_t)y_row >= (size_t)p->columns && p->residual)
            want[i] = residual[i];
    CUDA_MUST(bs__cuda_gemm(cuda_queue(t), &c, err));
    cuda_get(t, e, c.y, got, y_count);
    /* Sums of float products; the result is rounded to the element type. */
    cuda_near(got, want, y_count, 2e-6 * (double)p->depth, e == BS__F32 ? 1e-6 : e == BS__F16 ? 1e-3 : 8e-3);
    free(a);
    free(b);
    free(bias);
    free(residual);
    free(want);
    free(got);
    assert_int_equal(cuda_test_end((void **)&t), 0);
}

static void compare_all(struct cuda_test *t, const struct product *p)
{
    for (int form = BS__GEMM_LINEAR; form <= BS__GEMM_OUTER; form++)
        for (int e = BS__F32; e <= BS__BF16; e++) {
            printf("form %d, %s: %lld x %lld x %lld\n", form, bs__element_name((enum bs__element)e),
                   (long long)p->rows, (long long)p->columns, (long long)p->depth);
            compare(t, (enum bs__gemm_form)form, (enum bs__element)e, p);
        }
}

static void any_shape(void **state)
{
    static const struct product products[] = {
        {1, 1, 1, 0, BS__GEMM_NONE, false, false, false},
        {3, 5, 7, 0, BS__GEMM_NONE, false, false, false},
        {65, 33, 17, 0, BS__GEMM_NONE, false, false, false},
        {64, 64, 32, 0, BS__GEMM_NONE, false, false, false},
        {63, 31, 33, 0, BS__GEMM_NONE, false, false, false},
        {8, 72, 112, 0, BS__GEMM_NONE, false, false, false},
        {2, 130, 9, 0, BS__GEMM_NONE, false, false, false},
    };
    for (size_t i = 0; i < sizeof products / sizeof *products; i++)
        compare_all(*state, &products[i]);
}

static void rows_apart(void **state)
{
    static const struct product products[] = {{17, 24, 40, 8, BS__GEMM_NONE, false, false, true},
                                              {9, 13, 21, 3, BS__GEMM_NONE, true, false, true},
                                              {9, 12, 20, 1, BS__GEMM_NONE, true, false, false}};
    for (size_t i = 0; i < sizeof products / sizeof *products; i++)
        compare_all(*state, &products[i]);
}

static void bias_and_activation(void **state)
{
    static const struct product products[] = {{10, 20, 16, 0, BS__GEMM_GELU, true, false, false},
                                              {10, 19, 16, 0, BS__GEMM_RELU, true, true, true},
                                              {7, 16, 24, 0, BS__GEMM_GELU, false, false, true}};
    for (size_t i = 0; i < sizeof products / sizeof *products; i++)
        compare_all(*state, &products[i]);
}

/* More tiles than multiprocessors: the large ones. */
static void large_tiles(void **state)
{
    struct cuda_test *t = *state;
    const int64_t tiles = bs__queue_limits(cuda_queue(t))->multiprocessors;
    const struct product tall = {128 * tiles - 1, 5, 35, 0, BS__GEMM_NONE, true, false, false};
    const struct product wide = {3, 128 * tiles + 8, 32, 0, BS__GEMM_NONE, false, false, false};
    if (!cuda_is_emulated(t) || tiles <= 8) {
        compare_all(t, &tall);
        compare_all(t, &wide);
    }
}

static void wrong_products_are_refused(void **state)
{
    struct cuda_test *t = *state;
    struct bs_err err = {0};
    const struct bs__gemm good = {
        .rows = 2, .columns = 3, .depth = 4, .a_stride = 4, .b_stride = 4, .y_stride = 3};
    struct bs__gemm c = good;
    c.depth = 0;
    assert_int_equal(bs__cuda_gemm(cuda_queue(t), &c, &err), BS_EINVAL);
    c = good, c.a_stride = 3;
    assert_int_equal(bs__cuda_gemm(cuda_queue(t), &c, &err), BS_EINVAL);
    c = good, c.y_stride = 2;
    assert_int_equal(bs__cuda_gemm(cuda_queue(t), &c, &err), BS_EINVAL);
    c = good, c.bias = 256, c.bias_element = BS__F16;
    assert_int_equal(bs__cuda_gemm(cuda_queue(t), &c, &err), BS_EUNSUPPORTED);
    assert_non_null(strstr(err.msg, "f16"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(any_shape, cuda_test_end),
        cmocka_unit_test_teardown(rows_apart, cuda_test_end),
        cmocka_unit_test_teardown(bias_and_activation, cuda_test_end),
        cmocka_unit_test_teardown(large_tiles, cuda_test_end),
        cmocka_unit_test_teardown(wrong_products_are_refused, cuda_test_end),
    };
    /* bf16 without tensor cores. (On a GPU the variable changes nothing.) */
    const struct CMUnitTest on_the_oldest[] = {
        cmocka_unit_test_teardown(any_shape, cuda_test_end),
        cmocka_unit_test_teardown(rows_apart, cuda_test_end),
        cmocka_unit_test_teardown(large_tiles, cuda_test_end),
    };
    const int failed =
        cmocka_run_group_tests_name("products on GPUs", tests, cuda_test_open, cuda_test_close);
    setenv("BS_FAKE_CUDA_CAPABILITY", "75", 1);
    return failed +
           cmocka_run_group_tests_name("products on sm_75", on_the_oldest, cuda_test_open, cuda_test_close);
}
