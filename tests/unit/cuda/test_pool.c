/* Pooling and its gradient against the operators: windows that do not fill the image, ties, NaN. */
#include "kernels/cuda/pool.h"
#include "tests/unit/cuda/rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>

static const struct {
    int64_t n, h, w, c;
    int k;
    struct gaps x, y;
} shapes[] = {
    {1, 1, 1, 1, 1, {0, 0}, {0, 0}},  {1, 5, 7, 3, 2, {0, 0}, {1, 2}},     {2, 8, 6, 8, 2, {4, 4}, {0, 0}},
    {1, 11, 9, 5, 3, {0, 3}, {0, 0}}, {2, 16, 16, 64, 2, {0, 0}, {0, 64}}, {1, 7, 4, 12, 4, {0, 0}, {4, 0}},
};

/* Few different values, so that there are ties, and some NaN. */
static float *image(enum bs__element e, int64_t count, uint64_t seed)
{
    float *x = rows_values(e, count, seed, -4, 4);
    for (int64_t i = 0; i < count; i++)
        x[i] = x[i] > 3.8f ? NAN : floorf(x[i]);
    return x;
}
/* NaN where NaN is wanted; then comparable. */
static void equal(const float *got, const float *want, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (isnan(want[i]) ? !isnan(got[i]) : got[i] != want[i])
            fail_msg("value %lld is %g, not %g", (long long)i, (double)got[i], (double)want[i]);
}

static void the_largest_of_each_window(void **state)
{
    struct cuda_test *t = *state;
    for (int e = BS__F32; e <= BS__BF16; e++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            const int64_t n = shapes[s].n, h = shapes[s].h, w = shapes[s].w, c = shapes[s].c, k = shapes[s].k;
            const int64_t out = (h / k) * (w / k);
            float *x = image((enum bs__element)e, n * h * w * c, s), *planes = rows_to_planes(x, n, h * w, c);
            float *turned = rows_reference(BS_OP_MAX_POOL2D, &(struct bs_attr){.kernel = shapes[s].k},
                                           &(struct bs_tensor){BS_F32, BS_SHAPE(n, c, h, w), planes}, 1);
            float *want = rows_from_planes(turned, n, out, c), *got = rows_zeros(n * out * c);
            struct rows y = rows_room(t, (enum bs__element)e, n * out, c, shapes[s].y);
            CUDA_MUST(bs__cuda_max_pool(
                cuda_queue(t), (enum bs__element)e,
                &(struct bs__max_pool){
                    .y = y.view,
                    .x = rows_put(t, (enum bs__element)e, x, n * h * w, c, shapes[s].x).view,
                    .samples = n,
                    .h = h,
                    .w = w,
                    .channels = c,
                    .k = shapes[s].k},
                err));
            rows_get(t, &y, got);
            equal(got, want, n * out * c);
            free(x), free(planes), free(turned), free(want), free(got);
        }
}

static void the_first_largest_gets_the_gradient(void **state)
{
    struct cuda_test *t = *state;
    for (int e = BS__F32; e <= BS__BF16; e++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            const int64_t n = shapes[s].n, h = shapes[s].h, w = shapes[s].w, c = shapes[s].c, k = shapes[s].k;
            const int64_t out = (h / k) * (w / k), count = n * h * w * c;
            float *x = image((enum bs__element)e, count, s), *planes = rows_to_planes(x, n, h * w, c);
            float *gy = rows_values((enum bs__element)e, n * out * c, s + 9, -1, 1);
            float *g_planes = rows_to_planes(gy, n, out, c);
            float *turned =
                rows_reference(BS_OP_MAX_POOL2D_GRAD, &(struct bs_attr){.kernel = shapes[s].k},
                               (struct bs_tensor[]){rows_tensor(planes, BS_SHAPE(n, c, h, w)),
                                                    rows_tensor(g_planes, BS_SHAPE(n, c, h / k, w / k))},
                               2);
            float *want = rows_from_planes(turned, n, h * w, c), *got = rows_zeros(count);
            struct rows gx = rows_room(t, (enum bs__element)e, n * h * w, c, shapes[s].x);
            CUDA_MUST(bs__cuda_max_pool_grad(
                cuda_queue(t), (enum bs__element)e,
                &(struct bs__max_pool_grad){
                    .gx = gx.view,
                    .x = rows_put(t, (enum bs__element)e, x, n * h * w, c, shapes[s].y).view,
                    .gy = rows_put(t, (enum bs__element)e, gy, n * out, c, shapes[s].y).view,
                    .samples = n,
                    .h = h,
                    .w = w,
                    .channels = c,
                    .k = shapes[s].k},
                err));
            rows_get(t, &gx, got);
            equal(got, want, count);
            free(x), free(planes), free(gy), free(g_planes), free(turned), free(want), free(got);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(the_largest_of_each_window, cuda_test_end),
        cmocka_unit_test_teardown(the_first_largest_gets_the_gradient, cuda_test_end),
    };
    return cmocka_run_group_tests_name("unit.cuda.pool", tests, cuda_test_open, cuda_test_close);
}
