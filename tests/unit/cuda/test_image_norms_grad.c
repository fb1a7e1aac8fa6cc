/* Gradients of instance norm and group norm against their operators, with ReLU behind them and without, with kept statistics and
   with statistics found again. */
#include "kernels/cuda/image_norms_grad.h"
#include "tests/unit/cuda/rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>

static const struct {
    int64_t n, pixels, c, groups;
    struct gaps gaps;
    float mean;
    bool relu, over_gy, kept, weights;
} shapes[] = {
    {1, 2, 1, 1, {0, 0}, 0, false, false, false, true},
    {2, 35, 3, 3, {1, 0}, 0, true, false, true, true},
    {1, 100, 8, 2, {4, 8}, 1e3f, false, true, false, false},
    {2, 1, 8, 2, {0, 0}, 0, false, false, true, true},
    {1, 4099, 5, 1, {1, 2}, 1e3f, true, false, false, true},
    {3, 257, 16, 4, {0, 16}, 0, true, true, true, true},
    {1, 700, 96, 8, {0, 0}, -1e3f, false, true, false, true},
    {1, 60, 132, 3, {0, 0}, 0, true, false, false, true},
    {2, 520, 64, 32, {0, 0}, 100, true, true, true, true},
};
#define SHAPES (sizeof shapes / sizeof *shapes)

/* gy of the norm from that of the ReLU behind it. */
static void hold_back(float *planes, const float *x, int64_t n, int64_t c, int64_t pixels,
                      const struct bs_tensor *in, const struct bs_attr *attr, const float *b, bool grouped)
{
    const struct bs_shape shape = BS_SHAPE(n, c, pixels, 1);
    float *y = rows_reference(grouped ? BS_OP_GROUP_NORM : BS_OP_INSTANCE_NORM, attr,
                              (struct bs_tensor[]){rows_tensor(x, shape), in[1], rows_tensor(b, BS_SHAPE(c))},
                              grouped ? 3 : 1);
    for (int64_t i = 0; i < n * c * pixels; i++)
        if (y[i] <= 0)
            planes[i] = 0;
    free(y);
}

static void one(struct cuda_test *t, enum bs__element e, size_t s, bool grouped)
{
    const int64_t n = shapes[s].n, pixels = shapes[s].pixels, c = shapes[s].c, count = n * pixels * c;
    const struct gaps gaps = shapes[s].gaps;
    float *x = rows_values(e, count, s, shapes[s].mean - 1, shapes[s].mean + 1), *got = rows_zeros(count);
    float *gy = rows_values(e, count, s + 50, -1, 1), *b = rows_values(BS__F32, c, s + 80, -2, 2);
    float *w = rows_values(BS__F32, c, s + 70, -2, 2);
    float *planes = rows_to_planes(x, n, pixels, c), *g_planes = rows_to_planes(gy, n, pixels, c);
    const struct bs_shape shape = BS_SHAPE(n, c, pixels, 1);
    const struct bs_attr of_x = {.eps = 1e-2f, .groups = (int)shapes[s].groups},
                         of_w = {.eps = 1e-2f, .groups = (int)shapes[s].groups, .which = 1};
    const struct bs_tensor in[] = {rows_tensor(planes, shape), rows_tensor(w, BS_SHAPE(c)),
                                   rows_tensor(g_planes, shape)};
    if (shapes[s].relu)
        hold_back(g_planes, planes, n, c, pixels, in, &of_x, b, grouped);
    float *turned =
        grouped ? rows_reference(BS_OP_GROUP_NORM_GRAD, &of_x, in, 3)
                : rows_reference(BS_OP_INSTANCE_NORM_GRAD, &of_x, (struct bs_tensor[]){in[0], in[2]}, 2);
    float *want = rows_from_planes(turned, n, pixels, c);
    struct rows value = rows_put(t, e, x, n * pixels, c, gaps), g = rows_put(t, e, gy, n * pixels, c, gaps),
                gx = g;
    if (!shapes[s].over_gy)
        gx = rows_room(t, e, n * pixels, c, gaps);
    const bool weights = grouped && shapes[s].weights;
    const bs_address gw = weights ? cuda_room(t, (size_t)c * sizeof(float)) : 0,
                     gb = weights ? cuda_room(t, (size_t)c * sizeof(float)) : 0;
    struct bs__image_norm_grad grad = {.gx = gx.view,
                                       .x = value.view,
                                       .gy = g.view,
                                       .w = grouped ? cuda_put(t, BS__F32, w, (size_t)c) : 0,
                                       .b = grouped ? cuda_put(t, BS__F32, b, (size_t)c) : 0,
                                       .gw = gw,
                                       .gb = gb,
                                       .workspace =
                                           cuda_room(t, bs__cuda_image_norm_grad_workspace(n, pixels, c)),
                                       .samples = n,
                                       .pixels = pixels,
                                       .channels = c,
                                       .groups = shapes[s].groups,
                                       .eps = 1e-2f,
                                       .relu = shapes[s].relu};
    if (shapes[s].kept) {
        grad.statistics = cuda_room(t, bs__cuda_image_norm_statistics(n, c));
        struct rows y = rows_room(t, e, n * pixels, c, gaps);
        const struct bs__image_norm norm = {.y = y.view,
                                            .x = value.view,
                                            .w = grad.w,
                                            .b = grad.b,
                                            .statistics = grad.statistics,
                                            .workspace =
                                                cuda_room(t, bs__cuda_image_norm_workspace(n, pixels, c)),
                                            .samples = n,
                                            .pixels = pixels,
                                            .channels = c,
                                            .groups = shapes[s].groups,
                                            .eps = 1e-2f,
                                            .relu = shapes[s].relu};
        CUDA_MUST((grouped ? bs__cuda_group_norm : bs__cuda_instance_norm)(cuda_queue(t), e, &norm, err));
    }
    CUDA_MUST(
        (grouped ? bs__cuda_group_norm_grad : bs__cuda_instance_norm_grad)(cuda_queue(t), e, &grad, err));
    rows_get(t, &gx, got);
    /* gradients below 2 / deviation <= 20 and some fifty roundings */
    cuda_near(got, want, (size_t)count, 20 * 50 * 0x1p-24, 1.01 * rows_rounding(e));
    if (weights) {
        float *want_w = rows_reference(BS_OP_GROUP_NORM_GRAD, &of_w, in, 3);
        float *want_b = rows_reference(BS_OP_SUM_TO_CHANNEL, &(struct bs_attr){0}, &in[2], 1);
        const double error = (double)(n * pixels) * 3e-7;
        cuda_get(t, BS__F32, gw, got, (size_t)c);
        cuda_near(got, want_w, (size_t)c, error, 1e-6);
        cuda_get(t, BS__F32, gb, got, (size_t)c);
        cuda_near(got, want_b, (size_t)c, error, 1e-6);
        free(want_w), free(want_b);
    }
    free(x), free(got), free(gy), free(b), free(w), free(planes), free(g_planes), free(turned), free(want);
}

static void instance_norm_is_differentiated(void **state)
{
    for (int e = BS__F32; e <= BS__BF16; e++)
        for (size_t s = 0; s < SHAPES; s++)
            if (shapes[s].pixels > 1)
                one(*state, (enum bs__element)e, s, false);
}

static void group_norm_is_differentiated(void **state)
{
    for (int e = BS__F32; e <= BS__BF16; e++)
        for (size_t s = 0; s < SHAPES; s++)
            one(*state, (enum bs__element)e, s, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(instance_norm_is_differentiated, cuda_test_end),
        cmocka_unit_test_teardown(group_norm_is_differentiated, cuda_test_end),
    };
    return cmocka_run_group_tests_name("unit.cuda.image_norms_grad", tests, cuda_test_open, cuda_test_close);
}
