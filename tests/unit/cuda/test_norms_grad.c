/* Gradients of layer norm and RMS norm against their operators, with everything that can arrive or leave beside them. */
#include "kernels/cuda/norms_grad.h"
#include "tests/unit/cuda/rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct {
    int64_t rows, columns;
    struct gaps gaps;
    float mean;
    bool sum;            /* the value is given as float */
    bool gx, gsum, also; /* wanted, wanted, given */
    bool weights;        /* gw and gb are wanted */
    bool over_gy;        /* gx in the memory of gy */
} shapes[] = {
    {1, 1, {0, 0}, 0, false, true, false, false, true, false},
    {3, 5, {1, 2}, 0, true, true, true, true, true, false},
    {40, 96, {0, 0}, 1e3f, false, true, false, false, true, false},
    {6, 128, {4, 8}, 0, false, true, true, true, false, true},
    {70, 256, {0, 0}, 0, true, false, true, false, true, false},
    {9, 257, {0, 0}, 1e3f, true, true, true, true, true, false},
    {4, 768, {0, 4}, 0, false, true, false, true, true, false},
    {5, 1280, {0, 0}, 0, false, true, false, false, false, true},
    {3, 1281, {0, 0}, 0, true, true, true, true, true, false},
    {4, 2048, {0, 0}, 1e3f, false, true, false, true, true, false},
    {2, 5003, {0, 0}, 0, false, false, true, false, true, false},
};

static void one(struct cuda_test *t, enum bs__element e, size_t s, bool centred)
{
    const int64_t rows = shapes[s].rows, columns = shapes[s].columns, count = rows * columns;
    const enum bs__element of_value = shapes[s].sum ? BS__F32 : e;
    float *x = rows_values(of_value, count, s, shapes[s].mean - 1, shapes[s].mean + 1);
    float *gy = rows_values(e, count, s + 50, -1, 1), *also = rows_values(BS__F32, count, s + 60, -1, 1);
    float *w = rows_values(BS__F32, columns, s + 70, -2, 2), *got = rows_zeros(count);
    const enum bs_op op = centred ? BS_OP_LAYER_NORM_GRAD : BS_OP_RMS_NORM_GRAD;
    const struct bs_shape shape = BS_SHAPE(rows, columns);
    const struct bs_tensor in[] = {rows_tensor(x, shape), rows_tensor(w, BS_SHAPE(columns)),
                                   rows_tensor(gy, shape)};
    const struct bs_attr of_x = {.eps = 1e-2f}, of_w = {.eps = 1e-2f, .which = 1};
    float *want = rows_reference(op, &of_x, in, 3), *want_w = rows_reference(op, &of_w, in, 3);
    float *want_b = rows_reference(BS_OP_SUM_TO_FEATURE, &(struct bs_attr){0}, &in[2], 1);
    for (int64_t i = 0; shapes[s].also && i < count; i++)
        want[i] += also[i];
    const struct rows none = {0};
    const struct gaps gaps = shapes[s].gaps;
    struct rows g = rows_put(t, e, gy, rows, columns, gaps),
                value = rows_put(t, of_value, x, rows, columns, gaps);
    struct rows gx = shapes[s].gx ? rows_room(t, e, rows, columns, gaps) : none;
    struct rows gsum = shapes[s].gsum ? rows_room(t, BS__F32, rows, columns, gaps) : none;
    if (shapes[s].over_gy)
        gx = g;
    const bool weights = shapes[s].weights;
    const bs_address gw = weights ? cuda_room(t, (size_t)columns * sizeof(float)) : 0,
                     gb = weights && centred ? cuda_room(t, (size_t)columns * sizeof(float)) : 0;
    const struct bs__row_norm_grad n = {
        .gx = gx.view,
        .gsum = gsum.view,
        .x = shapes[s].sum ? none.view : value.view,
        .sum = shapes[s].sum ? value.view : none.view,
        .gy = g.view,
        .also = shapes[s].also ? rows_put(t, BS__F32, also, rows, columns, gaps).view : none.view,
        .w = cuda_put(t, BS__F32, w, (size_t)columns),
        .gw = gw,
        .gb = gb,
        .workspace = weights ? cuda_room(t, bs__cuda_row_norm_grad_workspace(rows, columns)) : 0,
        .rows = rows,
        .columns = columns,
        .eps = 1e-2f};
    CUDA_MUST((centred ? bs__cuda_layer_norm_grad : bs__cuda_rms_norm_grad)(cuda_queue(t), e, &n, err));
    /* Gradients here are below 2 / deviation <= 20; each passes through as many roundings as norms.cu says. */
    const double error = 20 * ((double)columns / 32 + 10) * 0x1p-24;
    if (shapes[s].gx) {
        rows_get(t, &gx, got);
        cuda_near(got, want, (size_t)count, error, 1.01 * rows_rounding(e));
    }
    if (shapes[s].gsum) {
        rows_get(t, &gsum, got);
        cuda_near(got, want, (size_t)count, error, 1e-6);
    }
    if (gw) {
        cuda_get(t, BS__F32, gw, got, (size_t)columns);
        cuda_near(got, want_w, (size_t)columns, (double)rows * error / 5, 1e-6);
    }
    if (gb) {
        cuda_get(t, BS__F32, gb, got, (size_t)columns);
        cuda_near(got, want_b, (size_t)columns, (double)rows * 1e-6, 1e-6);
    }
    free(x), free(gy), free(also), free(w), free(got), free(want), free(want_w), free(want_b);
}

static void layer_norm_is_differentiated(void **state)
{
    for (int e = BS__F32; e <= BS__BF16; e++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            one(*state, (enum bs__element)e, s, true);
}

static void rms_norm_is_differentiated(void **state)
{
    for (int e = BS__F32; e <= BS__BF16; e++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            one(*state, (enum bs__element)e, s, false);
}

static void what_cannot_be_is_refused(void **state)
{
    struct cuda_test *t = *state;
    struct bs_err err = {0};
    const bs_address room = cuda_room(t, 4096);
    struct bs__row_norm_grad n = {.gx = {room, 4},
                                  .x = {room, 4},
                                  .sum = {room, 4},
                                  .gy = {room, 4},
                                  .w = room,
                                  .rows = 1,
                                  .columns = 4,
                                  .eps = 1e-5f};
    assert_int_equal(bs__cuda_layer_norm_grad(cuda_queue(t), BS__F32, &n, &err), BS_EINTERNAL);
    assert_string_equal(err.msg, "layer_norm_grad: the value is given twice");
    n.sum = (struct bs__rows){0};
    n.gw = room;
    assert_int_equal(bs__cuda_layer_norm_grad(cuda_queue(t), BS__F32, &n, &err), BS_EINTERNAL);
    assert_string_equal(err.msg, "layer_norm_grad: gx over gy, which the gradient of the weight needs");
    n.gx = (struct bs__rows){0};
    assert_int_equal(bs__cuda_rms_norm_grad(cuda_queue(t), BS__F32, &n, &err), BS_EINTERNAL);
    assert_string_equal(err.msg, "rms_norm_grad: the workspace is not given");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(layer_norm_is_differentiated, cuda_test_end),
        cmocka_unit_test_teardown(rms_norm_is_differentiated, cuda_test_end),
        cmocka_unit_test_teardown(what_cannot_be_is_refused, cuda_test_end),
    };
    return cmocka_run_group_tests_name("unit.cuda.norms_grad", tests, cuda_test_open, cuda_test_close);
}
