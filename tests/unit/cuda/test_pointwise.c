/* Every pointwise operation against its operator, with strides, in place, and at the ends of the range. */
#include "kernels/cuda/pointwise.h"
#include "tests/unit/cuda/rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>

/* PLAIN stands for operators: none, or followed by ReLU. */
static const struct {
    enum bs__pointwise_kind kind;
    enum bs_op op;
    int inputs;
    bool bias, relu;
} kinds[] = {
    {BS__POINTWISE_PLAIN, BS_OP_SCALE, 1, true, false}, /* by 1 */
    {BS__POINTWISE_RELU, BS_OP_RELU, 1, true, false},
    {BS__POINTWISE_SIGMOID, BS_OP_SIGMOID, 1, true, false},
    {BS__POINTWISE_GELU, BS_OP_GELU, 1, true, false},
    {BS__POINTWISE_SILU, BS_OP_SILU, 1, true, false},
    {BS__POINTWISE_SCALE, BS_OP_SCALE, 1, true, false},
    {BS__POINTWISE_ADD, BS_OP_ADD, 2, true, false},
    {BS__POINTWISE_ADD_RELU, BS_OP_ADD, 2, true, true},
    {BS__POINTWISE_MUL, BS_OP_MUL, 2, true, false},
    {BS__POINTWISE_RELU_GRAD_Y, BS_OP_RELU_GRAD, 2, false, false},
    {BS__POINTWISE_SIGMOID_GRAD_Y, BS_OP_SIGMOID_GRAD, 2, false, false},
    {BS__POINTWISE_GELU_GRAD_X, BS_OP_GELU_GRAD, 2, false, false},
    {BS__POINTWISE_SILU_GRAD_X, BS_OP_SILU_GRAD, 2, false, false},
};
static const struct {
    int64_t rows, columns;
    struct gaps x, z, y;
    bool bias, over_x; /* y in the memory of x */
} shapes[] = {
    {1, 1, {0, 0}, {0, 0}, {0, 0}, false, false},   {7, 5, {0, 0}, {0, 0}, {0, 0}, true, false},
    {13, 96, {0, 0}, {0, 0}, {0, 0}, false, true},  {300, 4, {4, 4}, {0, 8}, {8, 0}, true, false},
    {3, 1021, {0, 0}, {1, 0}, {0, 3}, true, false}, {5, 512, {0, 0}, {0, 0}, {0, 0}, true, false},
    {31, 24, {8, 8}, {0, 0}, {0, 0}, false, true},
};

static void one(struct cuda_test *t, enum bs__element e, size_t k, size_t s)
{
    const int64_t rows = shapes[s].rows, columns = shapes[s].columns, count = rows * columns;
    const bool bias = shapes[s].bias && kinds[k].bias;
    const float factor = kinds[k].kind == BS__POINTWISE_SCALE ? -0.3f : 1.0f;
    float *a = rows_values(e, count, s, -8, 8), *b = rows_values(e, count, s + 20, -3, 3);
    float *more = rows_values(BS__F32, columns, s + 40, -2, 2), *biased = rows_zeros(count),
          *got = rows_zeros(count);
    for (int64_t i = 0; kinds[k].op == BS_OP_RELU_GRAD && i < count; i += 3)
        a[i] = 0; /* where relu's gradient is 0 as well */
    for (int64_t i = 0; i < count; i++)
        biased[i] = bias ? a[i] + more[i % columns] : a[i];
    const struct bs_shape shape = BS_SHAPE(rows, columns);
    float *want = rows_reference(kinds[k].op, &(struct bs_attr){.factor = factor},
                                 (struct bs_tensor[]){rows_tensor(biased, shape), rows_tensor(b, shape)},
                                 kinds[k].inputs);
    for (int64_t i = 0; kinds[k].relu && i < count; i++)
        want[i] = fmaxf(want[i], 0);
    struct rows x = rows_put(t, e, a, rows, columns, shapes[s].x), y = x;
    if (!shapes[s].over_x)
        y = rows_room(t, e, rows, columns, shapes[s].y);
    CUDA_MUST(bs__cuda_pointwise(
        cuda_queue(t), e, kinds[k].kind,
        &(struct bs__pointwise){.y = y.view,
                                .x = x.view,
                                .z = kinds[k].inputs == 2 ? rows_put(t, e, b, rows, columns, shapes[s].z).view
                                                          : (struct bs__rows){0},
                                .bias = bias ? cuda_put(t, BS__F32, more, (size_t)columns) : 0,
                                .rows = rows,
                                .columns = columns,
                                .factor = factor},
        err));
    rows_get(t, &y, got);
    /* a few roundings of numbers up to 30, and the one of the result */
    cuda_near(got, want, (size_t)count, 4e-6, rows_rounding(e) + 0x1p-22);
    free(a), free(b), free(more), free(biased), free(got), free(want);
}

static void every_operation_of_every_type_and_stride(void **state)
{
    for (int e = BS__F32; e <= BS__BF16; e++)
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
            for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
                one(*state, (enum bs__element)e, k, s);
}

static void ends_of_the_range_are_what_they_should_be(void **state)
{
    struct cuda_test *t = *state;
    const float in[] = {-INFINITY, -200, -88, -0.0f, 0, 88, 200, INFINITY, NAN};
    enum { COUNT = sizeof in / sizeof *in };
    static const struct {
        enum bs__pointwise_kind kind;
        float want[COUNT];
    } cases[] = {
        {BS__POINTWISE_RELU, {0, 0, 0, 0, 0, 88, 200, INFINITY, NAN}},
        {BS__POINTWISE_SIGMOID, {0, 0, 0, 0.5f, 0.5f, 1, 1, 1, NAN}},
        {BS__POINTWISE_SILU, {NAN, 0, 0, 0, 0, 88, 200, INFINITY, NAN}},
        {BS__POINTWISE_GELU, {NAN, 0, 0, 0, 0, 88, 200, INFINITY, NAN}},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        float got[COUNT];
        const bs_address y = cuda_room(t, sizeof got);
        CUDA_MUST(bs__cuda_pointwise(
            cuda_queue(t), BS__F32, cases[k].kind,
            &(struct bs__pointwise){
                .y = {y, COUNT}, .x = {cuda_put(t, BS__F32, in, COUNT), COUNT}, .rows = 1, .columns = COUNT},
            err));
        cuda_get(t, BS__F32, y, got, COUNT);
        for (int i = 0; i < COUNT; i++)
            if (isnan(cases[k].want[i])
                    ? !isnan(got[i])
                    : !(fabsf(got[i] - cases[k].want[i]) <= 1e-30f || got[i] == cases[k].want[i]))
                fail_msg("operation %d of %g is %g, not %g", cases[k].kind, (double)in[i], (double)got[i],
                         (double)cases[k].want[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(every_operation_of_every_type_and_stride, cuda_test_end),
        cmocka_unit_test_teardown(ends_of_the_range_are_what_they_should_be, cuda_test_end),
    };
    return cmocka_run_group_tests_name("unit.cuda.pointwise", tests, cuda_test_open, cuda_test_close);
}
