/* Losses and their gradients against their operators: one value, many slabs, groups, empty targets, certain predictions. */
#include "kernels/cuda/losses.h"
#include "tests/unit/cuda/rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>

static const struct {
    int64_t n, pixels, c, groups;
    struct gaps gaps;
    bool empty;   /* nothing is predicted, and there is nothing */
    bool certain; /* predictions of exactly 0 and 1 */
    float eps;    /* 0: 1e-7. Else everything is 1, so that the squares add up to it */
} shapes[] = {
    {1, 1, 1, 1, {0, 0}, false, false, 0},    {2, 35, 2, 2, {0, 0}, false, false, 0},
    {1, 5000, 1, 1, {0, 0}, false, false, 0}, {3, 257, 8, 4, {4, 8}, false, true, 0},
    {1, 700, 6, 3, {1, 2}, true, false, 0},   {2, 64, 132, 1, {0, 0}, false, false, 0},
    {1, 3000, 4, 1, {0, 0}, false, false, 0}, {1, 20, 40, 40, {0, 4}, false, true, 0},
    {1, 2, 1, 1, {0, 0}, false, false, 4},
};
static const struct {
    enum bs__loss_kind kind;
    enum bs_op loss, grad;
} kinds[] = {
    {BS__LOSS_DICE, BS_OP_DICE_LOSS, BS_OP_DICE_LOSS_GRAD},
    {BS__LOSS_BCE, BS_OP_BCE_LOSS, BS_OP_BCE_LOSS_GRAD},
    {BS__LOSS_MSE, BS_OP_MSE_LOSS, BS_OP_MSE_LOSS_GRAD},
};

static void one(struct cuda_test *t, enum bs__element e, size_t s, size_t k)
{
    const int64_t n = shapes[s].n, pixels = shapes[s].pixels, c = shapes[s].c, rows = n * pixels,
                  count = rows * c;
    float *p = rows_values(e, count, s, 0.01f, 0.99f), *target = rows_values(e, count, s + 9, 0, 1);
    for (int64_t i = 0; i < count; i++) {
        target[i] = shapes[s].empty ? 0 : roundf(target[i]);
        if (shapes[s].empty || (shapes[s].certain && i % 3 == 0))
            p[i] = shapes[s].empty ? 0 : (float)(i % 2);
        if (shapes[s].eps > 0)
            p[i] = target[i] = 1;
    }
    float *p_planes = rows_to_planes(p, n, pixels, c), *t_planes = rows_to_planes(target, n, pixels, c);
    float *got = rows_zeros(count);
    const float gy = 1.5f;
    const struct bs_shape shape = BS_SHAPE(n, c, pixels, 1);
    const struct bs_attr attr = {.groups = (int)shapes[s].groups,
                                 .eps = shapes[s].eps > 0 ? shapes[s].eps : 1e-7f};
    const struct bs_tensor in[] = {rows_tensor(p_planes, shape), rows_tensor(t_planes, shape),
                                   rows_tensor(&gy, BS_SHAPE(1))};
    float *want = rows_reference(kinds[k].loss, &attr, in, 2);
    float *turned = rows_reference(kinds[k].grad, &attr, in, 3),
          *want_g = rows_from_planes(turned, n, pixels, c);
    struct rows prediction = rows_put(t, e, p, rows, c, shapes[s].gaps),
                gp = rows_room(t, e, rows, c, shapes[s].gaps);
    struct bs__loss l = {.p = prediction.view,
                         .t = rows_put(t, e, target, rows, c, shapes[s].gaps).view,
                         .loss = cuda_room(t, sizeof(float)),
                         .workspace = cuda_room(t, bs__cuda_loss_workspace(rows, c)),
                         .rows = rows,
                         .channels = c,
                         .groups = shapes[s].groups,
                         .eps = attr.eps};
    float loss;
    CUDA_MUST(bs__cuda_loss(cuda_queue(t), e, kinds[k].kind, &l, err));
    cuda_get(t, BS__F32, l.loss, &loss, 1);
    cuda_near(&loss, want, 1, 1e-6 * (double)shapes[s].groups, 4e-6);
    l.loss = cuda_put(t, BS__F32, &gy, 1);
    l.gp = gp.view;
    l.workspace = cuda_room(t, bs__cuda_loss_workspace(rows, c));
    CUDA_MUST(bs__cuda_loss_grad(cuda_queue(t), e, kinds[k].kind, &l, err));
    rows_get(t, &gp, got);
    /* float16 has nothing between 0 and 2^-24, and infinity above 65504 */
    cuda_round(e, want_g, (size_t)count);
    cuda_near(got, want_g, (size_t)count, e == BS__F16 ? 0x1p-24 : 1e-9, 2 * rows_rounding(e) + 4e-6);
    free(p), free(target), free(p_planes), free(t_planes), free(got), free(want), free(turned), free(want_g);
}

static void losses_and_gradients_of_every_type_and_shape(void **state)
{
    for (int e = BS__F32; e <= BS__BF16; e++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
                one(*state, (enum bs__element)e, s, k);
}

static void what_cannot_be_is_refused(void **state)
{
    struct cuda_test *t = *state;
    struct bs_err err = {0};
    const bs_address room = cuda_room(t, 1024);
    struct bs__loss l = {
        .p = {room, 3}, .t = {room, 3}, .loss = room, .workspace = room, .rows = 2, .channels = 3};
    l.groups = 2, l.eps = 1e-7f;
    assert_int_equal(bs__cuda_loss(cuda_queue(t), BS__F32, BS__LOSS_DICE, &l, &err), BS_EINTERNAL);
    assert_string_equal(err.msg, "loss_dice: 3 channels in 2 groups");
    assert_int_equal(bs__cuda_loss_grad(cuda_queue(t), BS__F32, BS__LOSS_MSE, &l, &err), BS_EINTERNAL);
    assert_string_equal(err.msg, "loss_mse_grad: gp is not given");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(losses_and_gradients_of_every_type_and_shape, cuda_test_end),
        cmocka_unit_test_teardown(what_cannot_be_is_refused, cuda_test_end),
    };
    return cmocka_run_group_tests_name("unit.cuda.losses", tests, cuda_test_open, cuda_test_close);
}
