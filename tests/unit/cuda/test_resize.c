/* Bilinear resize and its gradient against the operators: larger, smaller, one pixel, the same. */
#include "kernels/cuda/resize.h"
#include "tests/unit/cuda/rows.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct {
    int64_t n, h, w, out_h, out_w, c;
    struct gaps x, y;
} shapes[] = {
    {1, 1, 1, 1, 1, 1, {0, 0}, {0, 0}},    {1, 1, 1, 5, 3, 4, {0, 0}, {0, 0}},
    {2, 8, 6, 16, 12, 16, {0, 0}, {4, 4}}, {1, 7, 5, 3, 2, 3, {1, 1}, {0, 0}},
    {1, 5, 9, 13, 4, 5, {0, 0}, {0, 3}},   {2, 16, 16, 8, 8, 12, {0, 4}, {0, 0}},
    {1, 33, 2, 1, 31, 8, {0, 0}, {0, 0}},  {1, 4, 4, 4, 4, 20, {0, 0}, {0, 0}},
    {1, 3, 50, 100, 7, 1, {0, 0}, {0, 0}},
};
#define SHAPES (sizeof shapes / sizeof *shapes)

static struct bs__resize resize_of(size_t s, struct bs__rows y, struct bs__rows x)
{
    return (struct bs__resize){.y = y,
                               .x = x,
                               .samples = shapes[s].n,
                               .h = shapes[s].h,
                               .w = shapes[s].w,
                               .out_h = shapes[s].out_h,
                               .out_w = shapes[s].out_w,
                               .channels = shapes[s].c};
}

static void images_are_resized(void **state)
{
    struct cuda_test *t = *state;
    for (int e = BS__F32; e <= BS__BF16; e++)
        for (size_t s = 0; s < SHAPES; s++) {
            const int64_t n = shapes[s].n, h = shapes[s].h, w = shapes[s].w, c = shapes[s].c;
            const int64_t out = shapes[s].out_h * shapes[s].out_w, count = n * out * c;
            float *x = rows_values((enum bs__element)e, n * h * w * c, s, -4, 4);
            float *planes = rows_to_planes(x, n, h * w, c);
            float *turned = rows_reference(
                BS_OP_RESIZE_BILINEAR, &(struct bs_attr){.out_h = shapes[s].out_h, .out_w = shapes[s].out_w},
                &(struct bs_tensor){BS_F32, BS_SHAPE(n, c, h, w), planes}, 1);
            float *want = rows_from_planes(turned, n, out, c), *got = rows_zeros(count);
            struct rows y = rows_room(t, (enum bs__element)e, n * out, c, shapes[s].y);
            struct rows from = rows_put(t, (enum bs__element)e, x, n * h * w, c, shapes[s].x);
            const struct bs__resize r = resize_of(s, y.view, from.view);
            CUDA_MUST(bs__cuda_resize_bilinear(cuda_queue(t), (enum bs__element)e, &r, err));
            rows_get(t, &y, got);
            cuda_near(got, want, (size_t)count, 2e-6, 1.01 * rows_rounding((enum bs__element)e));
            free(x), free(planes), free(turned), free(want), free(got);
        }
}

static void gradients_go_back_where_pixels_came_from(void **state)
{
    struct cuda_test *t = *state;
    for (int e = BS__F32; e <= BS__BF16; e++)
        for (size_t s = 0; s < SHAPES; s++) {
            const int64_t n = shapes[s].n, h = shapes[s].h, w = shapes[s].w, c = shapes[s].c,
                          count = n * h * w * c;
            const int64_t out = shapes[s].out_h * shapes[s].out_w;
            float *gy = rows_values((enum bs__element)e, n * out * c, s, -1, 1);
            float *planes = rows_to_planes(gy, n, out, c);
            float *turned = rows_reference(
                BS_OP_RESIZE_BILINEAR_GRAD, &(struct bs_attr){.shape = BS_SHAPE(n, c, h, w)},
                &(struct bs_tensor){BS_F32, BS_SHAPE(n, c, shapes[s].out_h, shapes[s].out_w), planes}, 1);
            float *want = rows_from_planes(turned, n, h * w, c), *got = rows_zeros(count);
            struct rows gx = rows_room(t, (enum bs__element)e, n * h * w, c, shapes[s].x);
            struct rows from = rows_put(t, (enum bs__element)e, gy, n * out, c, shapes[s].y);
            const struct bs__resize r = resize_of(s, from.view, gx.view);
            CUDA_MUST(bs__cuda_resize_bilinear_grad(cuda_queue(t), (enum bs__element)e, &r, err));
            rows_get(t, &gx, got);
            /* up to a hundred shares add up; the reference rounds its sum each time */
            cuda_near(got, want, (size_t)count, 3e-5, 1.01 * rows_rounding((enum bs__element)e));
            free(gy), free(planes), free(turned), free(want), free(got);
        }
}

/* Whether output pixel o of `out` has a share of input pixel i of `in`. */
static bool reads(int64_t o, int64_t i, int64_t in, int64_t out)
{
    const int64_t at = (2 * o + 1) * in - out > 0 ? (2 * o + 1) * in - out : 0, lo = at / (2 * out);
    return i == lo || (i == lo + 1 && at % (2 * out) > 0);
}

/* Sample o of a line, down or across, has an infinite gradient at its output pixel o. */
static void one_line(struct cuda_test *t, int64_t in, int64_t out, bool down)
{
    float *gy = rows_zeros(out * out), *got = rows_zeros(out * in);
    for (int64_t o = 0; o < out; o++)
        gy[o * out + o] = INFINITY;
    struct rows gx = rows_room(t, BS__F32, out * in, 1, (struct gaps){0, 0});
    struct rows from = rows_put(t, BS__F32, gy, out * out, 1, (struct gaps){0, 0});
    const struct bs__resize r = {.y = from.view,
                                 .x = gx.view,
                                 .samples = out,
                                 .h = down ? in : 1,
                                 .w = down ? 1 : in,
                                 .out_h = down ? out : 1,
                                 .out_w = down ? 1 : out,
                                 .channels = 1};
    CUDA_MUST(bs__cuda_resize_bilinear_grad(cuda_queue(t), BS__F32, &r, err));
    rows_get(t, &gx, got);
    for (int64_t o = 0; o < out; o++)
        for (int64_t i = 0; i < in; i++)
            assert_true(reads(o, i, in, out) ? isinf(got[o * in + i]) : got[o * in + i] == 0);
    free(gy), free(got);
}

static void an_infinite_gradient_goes_to_the_pixels_that_were_read_alone(void **state)
{
    static const int64_t sides[][2] = {{1, 1},  {1, 5}, {2, 31}, {3, 20}, {4, 4},  {5, 13}, {7, 3},
                                       {8, 16}, {9, 4}, {16, 8}, {33, 1}, {50, 7}, {12, 18}};
    for (size_t s = 0; s < sizeof sides / sizeof *sides; s++) {
        one_line(*state, sides[s][0], sides[s][1], true);
        one_line(*state, sides[s][0], sides[s][1], false);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(images_are_resized, cuda_test_end),
        cmocka_unit_test_teardown(gradients_go_back_where_pixels_came_from, cuda_test_end),
        cmocka_unit_test_teardown(an_infinite_gradient_goes_to_the_pixels_that_were_read_alone,
                                  cuda_test_end),
    };
    return cmocka_run_group_tests_name("unit.cuda.resize", tests, cuda_test_open, cuda_test_close);
}
