/* Our own convolution against its meaning: kernels, strides and paddings of every kind, images smaller than a block and larger,
   channels below, at and above the tile. */
#include "kernels/cuda/conv_direct.h"
#include "tests/unit/cuda/rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>

static const struct convolution {
    int64_t n, h, w, in, out;
    int kernel_h, kernel_w, stride, pad;
    bool bias, relu;
    struct gaps x, y;
} convolutions[] = {
    {1, 1, 1, 1, 1, 1, 1, 1, 0, false, false, {0, 0}, {0, 0}}, /* one of all */
    {1, 9, 7, 3, 8, 3, 3, 1, 1, true, true, {0, 5}, {0, 0}},   /* a first layer on padded channels */
    {2, 17, 13, 3, 64, 7, 7, 2, 3, true, false, {0, 0}, {0, 0}},
    {1, 32, 19, 16, 1, 1, 1, 1, 0, true, false, {0, 0}, {0, 0}},    /* a head */
    {1, 12, 11, 5, 17, 3, 2, 1, 0, false, true, {1, 2}, {3, 4}},    /* no sum a multiple of anything */
    {2, 6, 5, 20, 66, 3, 3, 2, 1, true, false, {0, 4}, {4, 12}},    /* two tiles of channels */
    {1, 2, 3, 4, 3, 5, 5, 1, 2, true, false, {0, 0}, {0, 0}},       /* a kernel larger than the image */
    {1, 4, 4, 2, 2, 2, 2, 3, 5, true, false, {0, 0}, {0, 0}},       /* windows that see padding alone */
    {1, 16, 16, 8, 16, 16, 16, 16, 0, true, false, {0, 0}, {0, 0}}, /* patches */
};

static void convolution_is_what_it_means(void **state)
{
    struct cuda_test *t = *state;
    for (int e = BS__F32; e <= BS__BF16; e++)
        for (size_t i = 0; i < sizeof convolutions / sizeof *convolutions; i++) {
            const struct convolution *c = &convolutions[i];
            const int64_t taps = c->kernel_h * c->kernel_w, weights = c->out * c->in * taps;
            const int64_t out_h = (c->h + 2 * c->pad - c->kernel_h) / c->stride + 1,
                          out_w = (c->w + 2 * c->pad - c->kernel_w) / c->stride + 1;
            const int64_t rows = c->n * c->h * c->w, out_rows = c->n * out_h * out_w;
            float *x = rows_values((enum bs__element)e, rows * c->in, i, -1, 1);
            float *planes = rows_to_planes(x, c->n, c->h * c->w, c->in);
            float *w = rows_values(BS__F32, weights, i + 30, -1, 1), *packed = rows_zeros(weights);
            float *b = rows_values(BS__F32, c->out, i + 60, -1, 1), *got = rows_zeros(out_rows * c->out);
            float *turned = rows_reference(
                BS_OP_CONV2D, &(struct bs_attr){.stride = c->stride, .pad = c->pad},
                (struct bs_tensor[]){rows_tensor(planes, BS_SHAPE(c->n, c->in, c->h, c->w)),
                                     rows_tensor(w, BS_SHAPE(c->out, c->in, c->kernel_h, c->kernel_w)),
                                     rows_tensor(b, BS_SHAPE(c->out))},
                c->bias ? 3 : 2);
            float *want = rows_from_planes(turned, c->n, out_h * out_w, c->out);
            for (int64_t k = 0; c->relu && k < out_rows * c->out; k++)
                want[k] = fmaxf(want[k], 0);
            bs__conv_direct_pack(w, c->out, c->in, c->kernel_h, c->kernel_w, packed);
            struct rows y = rows_room(t, (enum bs__element)e, out_rows, c->out, c->y);
            CUDA_MUST(bs__cuda_conv_direct(
                cuda_queue(t), (enum bs__element)e,
                &(struct bs__conv_direct){.y = y.view,
                                          .x = rows_put(t, (enum bs__element)e, x, rows, c->in, c->x).view,
                                          .w = cuda_put(t, BS__F32, packed, (size_t)weights),
                                          .b = c->bias ? cuda_put(t, BS__F32, b, (size_t)c->out) : 0,
                                          .samples = c->n,
                                          .h = c->h,
                                          .w_pixels = c->w,
                                          .in = c->in,
                                          .out = c->out,
                                          .kernel_h = c->kernel_h,
                                          .kernel_w = c->kernel_w,
                                          .stride = c->stride,
                                          .pad = c->pad,
                                          .activation = c->relu ? BS__RELU : BS__PLAIN},
                err));
            rows_get(t, &y, got);
            /* a sum of s products below 1 errs by s 2^-24 of the sum of their sizes at most; much less, since they cancel */
            cuda_near(got, want, (size_t)(out_rows * c->out), 4e-7 * sqrt((double)(taps * c->in)) * 4,
                      1.01 * rows_rounding((enum bs__element)e));
            free(x), free(planes), free(w), free(packed), free(b), free(got), free(turned), free(want);
        }
}

static void what_cannot_be_is_refused(void **state)
{
    struct cuda_test *t = *state;
    struct bs_err err = {0};
    const bs_address room = cuda_room(t, 64);
    struct bs__conv_direct c = {.y = {room, 4},
                                .x = {room, 4},
                                .w = room,
                                .samples = 1,
                                .h = 2,
                                .w_pixels = 2,
                                .in = 4,
                                .out = 4,
                                .kernel_h = 3,
                                .kernel_w = 3,
                                .stride = 1};
    assert_int_equal(bs__cuda_conv_direct(cuda_queue(t), BS__F32, &c, &err), BS_EINTERNAL);
    assert_string_equal(err.msg, "conv_direct: the padded height is 2; at least 3 is accepted");
    c.pad = 1;
    c.activation = BS__SILU;
    assert_int_equal(bs__cuda_conv_direct(cuda_queue(t), BS__F32, &c, &err), BS_EINTERNAL);
    assert_string_equal(err.msg, "conv_direct: activation 4; none and ReLU are accepted");
    c.activation = BS__PLAIN;
    c.samples = INT64_C(1) << 31;
    assert_int_equal(bs__cuda_conv_direct(cuda_queue(t), BS__F32, &c, &err), BS_ELIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(convolution_is_what_it_means, cuda_test_end),
        cmocka_unit_test_teardown(what_cannot_be_is_refused, cuda_test_end),
    };
    return cmocka_run_group_tests_name("unit.cuda.conv_direct", tests, cuda_test_open, cuda_test_close);
}
