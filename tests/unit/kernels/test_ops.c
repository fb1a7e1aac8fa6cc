/* Every operator's reference computes its formula: against values worked out by hand, and against independent code that
   follows the formula index by index. Wrong shapes are refused with the shapes in the message. */
#include "kernels_support.h"

#include "kernels/op.h"

#include <math.h>
#include <string.h>

/* Element of an image, zero outside: the padding of convolutions. */
static double at(const struct bs_tensor *t, int64_t n, int64_t c, int64_t i, int64_t j)
{
    const int64_t *d = t->shape.dim;
    if (i < 0 || j < 0 || i >= d[2] || j >= d[3])
        return 0;
    return (double)floats(t)[((n * d[1] + c) * d[2] + i) * d[3] + j];
}

static void convolution_of_a_known_image(void **state)
{
    (void)state;
    float image[] = {1, 2, 3, 4, 5, 6, 7, 8, 9}, edge[] = {0, -1, 0, -1, 4, -1, 0, -1, 0}, bias[] = {10};
    struct bs_tensor in[] = {tensor_of(BS_SHAPE(1, 1, 3, 3), image), tensor_of(BS_SHAPE(1, 1, 3, 3), edge),
                             tensor_of(BS_SHAPE(1), bias)};
    struct bs_tensor padded = apply(BS_OP_CONV2D, (struct bs_attr){.stride = 1, .pad = 1}, in, 3);
    /* 4 x centre minus the four neighbours, zero outside */
    assert_tensor(&padded, (float[]){8, 9, 14, 13, 10, 17, 26, 21, 32}, 1e-6);
    struct bs_tensor valid = apply(BS_OP_CONV2D, (struct bs_attr){.stride = 1, .pad = 0}, in, 2);
    assert_int_equal(bs_shape_count(&valid.shape), 1);
    assert_tensor(&valid, (float[]){0}, 1e-6);
    struct bs_tensor strided = apply(BS_OP_CONV2D, (struct bs_attr){.stride = 2, .pad = 1}, in, 2);
    assert_tensor(&strided, (float[]){-2, 4, 16, 22}, 1e-6);
    for (int i = 0; i < 3; i++)
        free_tensor(&in[i]);
    free_tensor(&padded);
    free_tensor(&valid);
    free_tensor(&strided);
}

/* A convolution's sum, index by index. */
static double conv_at(const struct bs_tensor *x, const struct bs_tensor *w, int stride, int pad, int64_t n,
                      int64_t o, int64_t i, int64_t j)
{
    double sum = 0;
    for (int64_t c = 0; c < w->shape.dim[1]; c++)
        for (int64_t p = 0; p < w->shape.dim[2]; p++)
            for (int64_t q = 0; q < w->shape.dim[3]; q++)
                sum += at(w, o, c, p, q) * at(x, n, c, i * stride + p - pad, j * stride + q - pad);
    return sum;
}

static void convolution_follows_its_formula_for_many_shapes(void **state)
{
    (void)state;
    struct numbers r = {1};
    for (int round = 0; round < 60; round++) {
        int kh = next_int(&r, 1, 5), kw = next_int(&r, 1, 5), stride = next_int(&r, 1, 4),
            pad = next_int(&r, 0, 4);
        int ci = next_int(&r, 1, 4), co = next_int(&r, 1, 4), h = next_int(&r, kh, 9), n = next_int(&r, 1, 3);
        int w = round % 10 ? next_int(&r, kw, 9) : 300; /* wider than one strip of the reference loops */
        struct bs_tensor in[] = {random_tensor(&r, BS_SHAPE(n, ci, h, w)),
                                 random_tensor(&r, BS_SHAPE(co, ci, kh, kw)),
                                 random_tensor(&r, BS_SHAPE(co))};
        int ninput = next_int(&r, 2, 4);
        struct bs_tensor y = apply(BS_OP_CONV2D, (struct bs_attr){.stride = stride, .pad = pad}, in, ninput);
        const int64_t *d = y.shape.dim;
        assert_int_equal(d[2], (h + 2 * pad - kh) / stride + 1);
        assert_int_equal(d[3], (w + 2 * pad - kw) / stride + 1);
        for (int64_t e = 0; e < (int64_t)bs_shape_count(&y.shape); e++) {
            int64_t j = e % d[3], i = e / d[3] % d[2], o = e / d[3] / d[2] % d[1], s = e / d[3] / d[2] / d[1];
            double bias = ninput == 3 ? (double)floats(&in[2])[o] : 0;
            assert_close(floats(&y)[e], conv_at(&in[0], &in[1], stride, pad, s, o, i, j) + bias, 1e-5);
        }
        for (int i = 0; i < 3; i++)
            free_tensor(&in[i]);
        free_tensor(&y);
    }
}

static double dot(const struct bs_tensor *a, const struct bs_tensor *b)
{
    double sum = 0;
    assert_true(bs_shape_equal(&a->shape, &b->shape));
    for (size_t i = 0; i < bs_shape_count(&a->shape); i++)
        sum += (double)floats(a)[i] * (double)floats(b)[i];
    return sum;
}

/* y is linear in x and in w, so <gy, y> = <gx, x> = <gw, w>: that, for random gy, is what a gradient means. */
static void convolution_gradients_are_the_adjoints(void **state)
{
    (void)state;
    struct numbers r = {2};
    for (int round = 0; round < 60; round++) {
        int kh = next_int(&r, 1, 5), kw = next_int(&r, 1, 5), stride = next_int(&r, 1, 4),
            pad = next_int(&r, 0, 4);
        int ci = next_int(&r, 1, 4), co = next_int(&r, 1, 4), h = next_int(&r, kh, 9), n = next_int(&r, 1, 3);
        int w = round % 10 ? next_int(&r, kw, 9) : 300;
        struct bs_attr attr = {.stride = stride, .pad = pad};
        struct bs_tensor x = random_tensor(&r, BS_SHAPE(n, ci, h, w)),
                         k = random_tensor(&r, BS_SHAPE(co, ci, kh, kw));
        struct bs_tensor y = apply(BS_OP_CONV2D, attr, (struct bs_tensor[]){x, k}, 2);
        struct bs_tensor gy = random_tensor(&r, y.shape);
        attr.shape = x.shape;
        struct bs_tensor gx = apply(BS_OP_CONV2D_GRAD_X, attr, (struct bs_tensor[]){gy, k}, 2);
        attr.shape = k.shape;
        struct bs_tensor gw = apply(BS_OP_CONV2D_GRAD_W, attr, (struct bs_tensor[]){x, gy}, 2);
        double want = dot(&gy, &y);
        assert_close((float)dot(&gx, &x), want, 1e-4 + 1e-5 * fabs(want));
        assert_close((float)dot(&gw, &k), want, 1e-4 + 1e-5 * fabs(want));
        /* and one element each, by the formula */
        double sum = 0;
        for (int64_t s = 0; s < n; s++)
            for (int64_t i = 0; i < gy.shape.dim[2]; i++)
                for (int64_t j = 0; j < gy.shape.dim[3]; j++)
                    sum +=
                        at(&gy, s, co - 1, i, j) * at(&x, s, 0, i * stride - pad, j * stride + kw - 1 - pad);
        assert_close((float)at(&gw, co - 1, 0, 0, kw - 1), sum, 1e-4);
        free_tensor(&x);
        free_tensor(&k);
        free_tensor(&y);
        free_tensor(&gy);
        free_tensor(&gx);
        free_tensor(&gw);
    }
}

static void transposed_convolution_writes_blocks(void **state)
{
    (void)state;
    float x[] = {1, 2}, w[] = {1, 2, 3, 4, -1, -2, -3, -4}, b[] = {0, 10};
    struct bs_tensor in[] = {tensor_of(BS_SHAPE(1, 1, 1, 2), x), tensor_of(BS_SHAPE(1, 2, 2, 2), w),
                             tensor_of(BS_SHAPE(2), b)};
    struct bs_tensor y = apply(BS_OP_CONV_TRANSPOSE2D, (struct bs_attr){.stride = 2}, in, 3);
    assert_tensor(&y, (float[]){1, 2, 2, 4, 3, 4, 6, 8, 9, 8, 8, 6, 7, 6, 4, 2}, 1e-6);
    for (int i = 0; i < 3; i++)
        free_tensor(&in[i]);
    free_tensor(&y);

    struct numbers r = {3};
    for (int round = 0; round < 20; round++) {
        int k = next_int(&r, 1, 4), ci = next_int(&r, 1, 4), co = next_int(&r, 1, 4), h = next_int(&r, 1, 5),
            n = 2;
        int width = round ? next_int(&r, 1, 5) : 300;
        struct bs_tensor a[] = {random_tensor(&r, BS_SHAPE(n, ci, h, width)),
                                random_tensor(&r, BS_SHAPE(ci, co, k, k))};
        struct bs_tensor z = apply(BS_OP_CONV_TRANSPOSE2D, (struct bs_attr){.stride = k}, a, 2);
        for (int64_t s = 0; s < n; s++)
            for (int64_t o = 0; o < co; o++)
                for (int64_t i = 0; i < h * k; i++)
                    for (int64_t j = 0; j < width * k; j++) {
                        double want = 0;
                        for (int64_t c = 0; c < ci; c++)
                            want += at(&a[0], s, c, i / k, j / k) * at(&a[1], c, o, i % k, j % k);
                        assert_close((float)at(&z, s, o, i, j), want, 1e-5);
                    }
        free_tensor(&a[0]);
        free_tensor(&a[1]);
        free_tensor(&z);
    }
}

static void activations_clip_and_squash(void **state)
{
    (void)state;
    float x[] = {-2, -0.0f, 0, 3, NAN, 800, -800, 1};
    struct bs_tensor in = tensor_of(BS_SHAPE(8), x);
    struct bs_tensor relu = apply(BS_OP_RELU, (struct bs_attr){0}, &in, 1);
    for (int i = 0; i < 8; i++)
        if (i != 4)
            assert_true(floats(&relu)[i] == (x[i] > 0 ? x[i] : 0));
    assert_true(isnan(floats(&relu)[4])); /* as torch: a NaN is not hidden */
    struct bs_tensor sigmoid = apply(BS_OP_SIGMOID, (struct bs_attr){0}, &in, 1);
    assert_close(floats(&sigmoid)[0], 0.11920292202211755, 1e-8);
    assert_close(floats(&sigmoid)[1], 0.5, 0);
    assert_close(floats(&sigmoid)[3], 0.9525741268224334, 1e-7);
    assert_true(isnan(floats(&sigmoid)[4]));
    assert_close(floats(&sigmoid)[5], 1, 0);
    assert_close(floats(&sigmoid)[6], 0, 0);
    struct bs_tensor y[] = {tensor_of(BS_SHAPE(3), (float[]){0, 0.25f, 1}),
                            tensor_of(BS_SHAPE(3), (float[]){5, 6, 7})};
    struct bs_tensor gr = apply(BS_OP_RELU_GRAD, (struct bs_attr){0}, y, 2);
    assert_tensor(&gr, (float[]){0, 6, 7}, 0);
    struct bs_tensor gs = apply(BS_OP_SIGMOID_GRAD, (struct bs_attr){0}, y, 2);
    assert_tensor(&gs, (float[]){0, 6 * 0.1875f, 0}, 0);
    free_tensor(&in);
    free_tensor(&relu);
    free_tensor(&sigmoid);
    free_tensor(&y[0]);
    free_tensor(&y[1]);
    free_tensor(&gr);
    free_tensor(&gs);
}

static void sums_and_products_are_elementwise(void **state)
{
    (void)state;
    struct bs_tensor in[] = {tensor_of(BS_SHAPE(2, 2), (float[]){1, 2, 3, 4}),
                             tensor_of(BS_SHAPE(2, 2), (float[]){5, -6, 7, 0})};
    struct bs_tensor sum = apply(BS_OP_ADD, (struct bs_attr){0}, in, 2);
    struct bs_tensor product = apply(BS_OP_MUL, (struct bs_attr){0}, in, 2);
    assert_tensor(&sum, (float[]){6, -4, 10, 4}, 0);
    assert_tensor(&product, (float[]){5, -12, 21, 0}, 0);
    free_tensor(&in[0]);
    free_tensor(&in[1]);
    free_tensor(&sum);
    free_tensor(&product);
}

static void max_pooling_drops_what_does_not_fill_a_window(void **state)
{
    (void)state;
    float x[] = {1, 5, 2, 2, 9, 0, 5, 2, 2, 9, 7, 7, 7, 7, 7}; /* 3 x 5: last row and column dropped */
    struct bs_tensor in[] = {tensor_of(BS_SHAPE(1, 1, 3, 5), x),
                             tensor_of(BS_SHAPE(1, 1, 1, 2), (float[]){3, 4})};
    struct bs_tensor y = apply(BS_OP_MAX_POOL2D, (struct bs_attr){.kernel = 2}, in, 1);
    assert_tensor(&y, (float[]){5, 2}, 0);
    struct bs_tensor gx = apply(BS_OP_MAX_POOL2D_GRAD, (struct bs_attr){.kernel = 2}, in, 2);
    /* the first of equals takes all: (0,1) before (1,1), (0,2) before its three twins */
    assert_tensor(&gx, (float[]){0, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0);
    floats(&in[0])[5] = NAN;
    struct bs_tensor nan = apply(BS_OP_MAX_POOL2D, (struct bs_attr){.kernel = 2}, in, 1);
    assert_true(isnan(floats(&nan)[0]) && !isnan(floats(&nan)[1]));
    free_tensor(&in[0]);
    free_tensor(&in[1]);
    free_tensor(&y);
    free_tensor(&gx);
    free_tensor(&nan);
}

static void bilinear_resize_uses_half_pixel_centres(void **state)
{
    (void)state;
    struct bs_tensor line = tensor_of(BS_SHAPE(1, 1, 1, 4), (float[]){1, 2, 3, 4});
    struct bs_tensor up = apply(BS_OP_RESIZE_BILINEAR, (struct bs_attr){.out_h = 1, .out_w = 8}, &line, 1);
    assert_tensor(&up, (float[]){1, 1.25f, 1.75f, 2.25f, 2.75f, 3.25f, 3.75f, 4}, 1e-6);
    struct bs_tensor down = apply(BS_OP_RESIZE_BILINEAR, (struct bs_attr){.out_h = 1, .out_w = 2}, &line, 1);
    assert_tensor(&down, (float[]){1.5f, 3.5f}, 1e-6);
    struct bs_tensor odd = apply(BS_OP_RESIZE_BILINEAR, (struct bs_attr){.out_h = 1, .out_w = 3}, &line, 1);
    assert_tensor(&odd, (float[]){1 + 1.0f / 6, 2.5f, 4 - 1.0f / 6}, 1e-6);
    struct bs_tensor square = tensor_of(BS_SHAPE(1, 1, 2, 2), (float[]){0, 4, 8, 12});
    struct bs_tensor big = apply(BS_OP_RESIZE_BILINEAR, (struct bs_attr){.out_h = 4, .out_w = 4}, &square, 1);
    assert_tensor(&big, (float[]){0, 1, 3, 4, 2, 3, 5, 6, 6, 7, 9, 10, 8, 9, 11, 12}, 1e-6);
    struct bs_tensor same =
        apply(BS_OP_RESIZE_BILINEAR, (struct bs_attr){.out_h = 2, .out_w = 2}, &square, 1);
    assert_tensor(&same, floats(&square), 0);
    struct bs_tensor dot_pixel = tensor_of(BS_SHAPE(1, 1, 1, 1), (float[]){6});
    struct bs_tensor flat =
        apply(BS_OP_RESIZE_BILINEAR, (struct bs_attr){.out_h = 2, .out_w = 3}, &dot_pixel, 1);
    assert_tensor(&flat, (float[]){6, 6, 6, 6, 6, 6}, 0);
    free_tensor(&line);
    free_tensor(&up);
    free_tensor(&down);
    free_tensor(&odd);
    free_tensor(&square);
    free_tensor(&big);
    free_tensor(&same);
    free_tensor(&dot_pixel);
    free_tensor(&flat);
}

static void bilinear_gradient_is_the_adjoint(void **state)
{
    (void)state;
    struct numbers r = {4};
    for (int round = 0; round < 30; round++) {
        int h = next_int(&r, 1, 7), w = next_int(&r, 1, 7), out_h = next_int(&r, 1, 15),
            out_w = next_int(&r, 1, 15);
        struct bs_tensor x = random_tensor(&r, BS_SHAPE(2, 2, h, w));
        struct bs_attr attr = {.out_h = out_h, .out_w = out_w, .shape = x.shape};
        struct bs_tensor y = apply(BS_OP_RESIZE_BILINEAR, attr, &x, 1);
        struct bs_tensor gy = random_tensor(&r, y.shape);
        struct bs_tensor gx = apply(BS_OP_RESIZE_BILINEAR_GRAD, attr, &gy, 1);
        assert_close((float)dot(&gx, &x), dot(&gy, &y), 1e-4);
        free_tensor(&x);
        free_tensor(&y);
        free_tensor(&gy);
        free_tensor(&gx);
    }
}

static void concat_and_slice_undo_each_other_in_every_sample(void **state)
{
    (void)state;
    struct numbers r = {5};
    struct bs_tensor in[] = {random_tensor(&r, BS_SHAPE(3, 2, 4, 5)),
                             random_tensor(&r, BS_SHAPE(3, 3, 4, 5))};
    struct bs_tensor y = apply(BS_OP_CONCAT, (struct bs_attr){0}, in, 2);
    assert_int_equal(y.shape.dim[1], 5);
    assert_close((float)at(&y, 2, 1, 3, 4), at(&in[0], 2, 1, 3, 4), 0);
    assert_close((float)at(&y, 1, 2, 0, 1), at(&in[1], 1, 0, 0, 1), 0);
    struct bs_tensor a = apply(BS_OP_SLICE_CHANNEL, (struct bs_attr){.start = 0, .count = 2}, &y, 1);
    struct bs_tensor b = apply(BS_OP_SLICE_CHANNEL, (struct bs_attr){.start = 2, .count = 3}, &y, 1);
    assert_tensor(&a, floats(&in[0]), 0);
    assert_tensor(&b, floats(&in[1]), 0);
    free_tensor(&in[0]);
    free_tensor(&in[1]);
    free_tensor(&y);
    free_tensor(&a);
    free_tensor(&b);
}

static void channel_sums_take_every_sample_and_pixel(void **state)
{
    (void)state;
    struct bs_tensor x = tensor_of(BS_SHAPE(2, 2, 1, 2), (float[]){1, 2, 3, 4, 10, 20, 30, 40});
    struct bs_tensor y = apply(BS_OP_SUM_TO_CHANNEL, (struct bs_attr){0}, &x, 1);
    assert_int_equal(y.shape.ndim, 1);
    assert_tensor(&y, (float[]){33, 77}, 0);
    free_tensor(&x);
    free_tensor(&y);
}

/* What is wrong, and what the message must name. */
static const struct {
    enum bs_op op;
    struct bs_attr attr;
    int ninput;
    struct bs_shape in[BS_MAX_INPUTS];
    const char *words[3];
} refused[] = {
#define S(...)                                                                                               \
    {                                                                                                        \
        .ndim = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .dim = { __VA_ARGS__ }            \
    }
    {BS_OP_CONV2D,
     {.stride = 1, .pad = 1},
     2,
     {S(1, 2, 8, 8), S(4, 3, 3, 3)},
     {"conv2d", "1x2x8x8", "4x3x3x3"}},
    {BS_OP_CONV2D,
     {.stride = 1, .pad = 0},
     2,
     {S(1, 3, 2, 8), S(4, 3, 3, 3)},
     {"larger", "1x3x2x8", "4x3x3x3"}},
    {BS_OP_CONV2D,
     {.stride = 1, .pad = 1},
     3,
     {S(1, 3, 8, 8), S(4, 3, 3, 3), S(3)},
     {"bias", "3", "1x4x8x8"}},
    {BS_OP_CONV2D, {.stride = 0, .pad = 1}, 2, {S(1, 3, 8, 8), S(4, 3, 3, 3)}, {"stride is 0", "1 to 4096"}},
    {BS_OP_CONV2D, {.stride = 1, .pad = -1}, 2, {S(1, 3, 8, 8), S(4, 3, 3, 3)}, {"padding is -1"}},
    {BS_OP_CONV2D,
     {.stride = 1, .pad = 1 << 30},
     2,
     {S(1, 3, 8, 8), S(4, 3, 3, 3)},
     {"padding is 1073741824"}},
    {BS_OP_CONV2D, {.stride = 1}, 2, {S(3, 8, 8), S(4, 3, 3, 3)}, {"3x8x8", "4 dimensions"}},
    {BS_OP_CONV2D, {.stride = 1}, 1, {S(1, 3, 8, 8)}, {"2 to 3 inputs"}},
    {BS_OP_CONV_TRANSPOSE2D, {.stride = 2}, 2, {S(1, 4, 8, 8), S(3, 2, 2, 2)}, {"1x4x8x8", "3x2x2x2"}},
    {BS_OP_CONV_TRANSPOSE2D, {.stride = 2}, 2, {S(1, 4, 8, 8), S(4, 2, 3, 3)}, {"4x2x3x3", "stride 2"}},
    {BS_OP_INSTANCE_NORM, {.eps = 1e-5f}, 1, {S(1, 64, 1, 1)}, {"1x64x1x1", "more than one pixel"}},
    {BS_OP_INSTANCE_NORM, {.eps = 0}, 1, {S(1, 64, 2, 2)}, {"eps is 0"}},
    {BS_OP_INSTANCE_NORM, {.eps = NAN}, 1, {S(1, 64, 2, 2)}, {"eps is nan"}},
    {BS_OP_GROUP_NORM, {.groups = 3, .eps = 1}, 3, {S(1, 4, 2, 2), S(4), S(4)}, {"3 groups", "1x4x2x2"}},
    {BS_OP_GROUP_NORM, {.groups = 0, .eps = 1}, 3, {S(1, 4, 2, 2), S(4), S(4)}, {"0 groups"}},
    {BS_OP_GROUP_NORM,
     {.groups = 2, .eps = 1},
     3,
     {S(1, 4, 2, 2), S(5), S(4)},
     {"weight is 5", "4 channels"}},
    {BS_OP_BATCH_NORM, {.eps = 1}, 5, {S(1, 4, 2, 2), S(4), S(4), S(4), S(2)}, {"running variance is 2"}},
    {BS_OP_MAX_POOL2D, {.kernel = 2}, 1, {S(1, 4, 1, 8)}, {"1x4x1x8", "2x2"}},
    {BS_OP_MAX_POOL2D, {.kernel = 0}, 1, {S(1, 4, 8, 8)}, {"kernel is 0"}},
    {BS_OP_RESIZE_BILINEAR, {.out_h = 0, .out_w = 4}, 1, {S(1, 4, 8, 8)}, {"1x4x0x4"}},
    {BS_OP_CONCAT, {.eps = 0}, 2, {S(1, 4, 8, 8), S(1, 4, 8, 9)}, {"1x4x8x8", "1x4x8x9"}},
    {BS_OP_ADD, {.eps = 0}, 2, {S(4, 3), S(3, 4)}, {"4x3", "3x4"}},
    {BS_OP_MUL, {.eps = 0}, 2, {S(4, 3), S(4)}, {"4x3", "second is 4"}},
    {BS_OP_SLICE_CHANNEL,
     {.start = 2, .count = 3},
     1,
     {S(1, 4, 8, 8)},
     {"3 channels", "channel 2", "1x4x8x8"}},
    {BS_OP_RELU_GRAD, {.eps = 0}, 2, {S(4), S(5)}, {"4", "5"}},
    {BS_OP_CONV2D_GRAD_X,
     {.stride = 1, .pad = 1, .shape = S(1, 3, 8, 8)},
     2,
     {S(1, 4, 7, 8), S(4, 3, 3, 3)},
     {"1x4x7x8", "1x4x8x8"}},
    {BS_OP_CONV2D_GRAD_W,
     {.stride = 1, .pad = 1, .shape = S(4, 3, 3, 3)},
     2,
     {S(1, 3, 8, 8), S(1, 5, 8, 8)},
     {"1x5x8x8", "1x4x8x8"}},
    {BS_OP_MAX_POOL2D_GRAD, {.kernel = 2}, 2, {S(1, 4, 8, 8), S(1, 4, 4, 5)}, {"1x4x4x5", "1x4x4x4"}},
    {BS_OP_RESIZE_BILINEAR_GRAD, {.shape = S(1, 3, 4, 4)}, 1, {S(1, 4, 8, 8)}, {"1x4x8x8", "1x3x4x4"}},
    {BS_OP_CROP, {.out_h = 9, .out_w = 8}, 1, {S(1, 4, 8, 8)}, {"9 x 8", "1x4x8x8"}},
    {BS_OP_BATCH_NORM_TRAIN, {.eps = 1}, 3, {S(1, 4, 1, 1), S(4), S(4)}, {"1x4x1x1", "more than one"}},
    {BS_OP_BATCH_STATISTICS, {.eps = 1}, 1, {S(1, 4, 1, 1)}, {"batch_statistics", "more than one"}},
    {BS_OP_DICE_LOSS, {.groups = 2, .eps = 1}, 2, {S(1, 3, 2, 2), S(1, 3, 2, 2)}, {"2 groups", "3 channels"}},
    {BS_OP_DICE_LOSS, {.groups = 1, .eps = 1}, 2, {S(1, 3, 2, 2), S(1, 3, 2, 1)}, {"1x3x2x1", "1x3x2x2"}},
    {BS_OP_DICE_LOSS_GRAD,
     {.groups = 1, .eps = 1},
     3,
     {S(1, 1, 2, 2), S(1, 1, 2, 2), S(2)},
     {"gradient is 2"}},
    {BS_OP_BCE_LOSS, {.eps = 0}, 2, {S(4), S(5)}, {"bce_loss", "5"}},
    {BS_OP_MSE_LOSS_GRAD, {.eps = 0}, 3, {S(4), S(4), S(4)}, {"gradient is 4", "a loss"}},
    {BS_OP_GELU_GRAD, {.eps = 0}, 2, {S(4), S(5)}, {"4", "5"}},
    {BS_OP_SLICE_GRAD, {.axis = 1, .start = 3, .shape = S(2, 4)}, 1, {S(2, 2)}, {"2x2 from 3", "2x4"}},
    {BS_OP_SLICE_GRAD, {.axis = 2, .shape = S(2, 4)}, 1, {S(2, 2)}, {"axis 2", "2x4"}},
    {BS_OP_SLICE_GRAD, {.axis = 1, .shape = S(2, 4)}, 1, {S(3, 2)}, {"3x2", "2x4"}},
    {BS_OP_INSERT_TOKEN_GRAD, {.start = 3}, 1, {S(2, 3, 4)}, {"token 3", "2x3x4"}},
    {BS_OP_INSERT_TOKEN_GRAD, {.which = 2}, 1, {S(2, 3, 4)}, {"input 2", "0 to 1"}},
    {BS_OP_LINEAR_GRAD_X, {.eps = 0}, 2, {S(2, 3), S(4, 5)}, {"2x3", "4x5"}},
    {BS_OP_LINEAR_GRAD_W, {.eps = 0}, 2, {S(2, 3), S(4, 5)}, {"2x3", "4x5"}},
    {BS_OP_SUM_TO_FEATURE, {.eps = 0}, 1, {{.ndim = 0}}, {"scalar"}},
    {BS_OP_LAYER_NORM_GRAD, {.eps = 1}, 3, {S(2, 4), S(4), S(2, 5)}, {"2x5", "2x4"}},
    {BS_OP_RMS_NORM_GRAD, {.eps = 1, .which = -1}, 3, {S(2, 4), S(4), S(2, 4)}, {"input -1"}},
    {BS_OP_GROUP_NORM_GRAD,
     {.groups = 3, .eps = 1},
     3,
     {S(1, 4, 2, 2), S(4), S(1, 4, 2, 2)},
     {"group_norm_grad", "3 groups"}},
    {BS_OP_BATCH_NORM_GRAD,
     {.eps = 1},
     5,
     {S(1, 4, 2, 2), S(4), S(4), S(3), S(1, 4, 2, 2)},
     {"running variance is 3"}},
    {BS_OP_BATCH_NORM_TRAIN_GRAD, {.eps = 1}, 3, {S(1, 4, 2, 2), S(4), S(1, 4, 2, 3)}, {"1x4x2x3"}},
    {BS_OP_ADD_POSITION_GRAD,
     {.out_h = 2, .out_w = 2, .start = -1, .shape = S(1, 5, 3)},
     1,
     {S(1, 4, 3)},
     {"1x5x3", "square"}},
    {BS_OP_CAUSAL_CONV1D_GRAD_W, {.shape = S(3, 1, 4)}, 2, {S(1, 4, 3), S(1, 4, 2)}, {"1x4x2", "1x4x3"}},
    {BS_OP_ATTENTION_LSE, {.heads = 2, .out_h = 2, .out_w = 3}, 1, {S(1, 6, 5)}, {"attention_lse", "1x6x5"}},
    {BS_OP_ATTENTION_GRAD,
     {.heads = 2, .out_h = 2, .out_w = 3},
     4,
     {S(1, 6, 4), S(1, 6, 3), S(1, 6, 4), S(1, 6, 12)},
     {"lse is 1x6x3", "1x6x2"}},
    {BS_OP_ATTENTION_GRAD,
     {.heads = 2, .out_h = 2, .out_w = 3, .which = 1},
     4,
     {S(1, 6, 4), S(1, 6, 2), S(1, 6, 4), S(1, 6, 12)},
     {"input 1", "0 to 0"}},
    {BS_OP_SELECTIVE_SCAN_GRAD,
     {.which = 7},
     8,
     {S(1, 5, 2), S(1, 5, 2), S(2, 3), S(1, 5, 3), S(1, 5, 3), S(2), S(2), S(1, 5, 2)},
     {"input 7", "0 to 6"}},
    {BS_OP_SELECTIVE_SCAN_GRAD,
     {.which = 0},
     8,
     {S(1, 5, 2), S(1, 5, 2), S(2, 3), S(1, 5, 3), S(1, 5, 3), S(2), S(2), S(1, 4, 2)},
     {"1x4x2", "1x5x2"}},
    {BS_OP_INSTANCE_NORM_GRAD, {.eps = 1}, 2, {S(1, 4, 8, 8), S(1, 4, 8, 9)}, {"1x4x8x9", "1x4x8x8"}},
};

static void wrong_shapes_are_refused_and_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct bs_err err = {.msg = ""};
        bs_status rc = infer_shapes(refused[i].op, refused[i].attr, refused[i].in, refused[i].ninput, &err);
        if (rc != BS_EINVAL)
            fail_msg("case %zu: %s, \"%s\"", i, bs_status_name(rc), err.msg);
        for (int k = 0; k < 3 && refused[i].words[k]; k++)
            if (!strstr(err.msg, refused[i].words[k]))
                fail_msg("case %zu: \"%s\" does not name %s", i, err.msg, refused[i].words[k]);
    }
}

static void absurd_sizes_are_refused_before_anything_is_allocated(void **state)
{
    (void)state;
    struct bs_err err;
    struct bs_shape image = BS_SHAPE(1, 1, 1 << 20, 1 << 19), weight = BS_SHAPE(64, 1, 3, 3);
    assert_int_equal(infer_shapes(BS_OP_CONV2D, (struct bs_attr){.stride = 1, .pad = 1},
                                  (struct bs_shape[]){image, weight}, 2, &err),
                     BS_ELIMIT);
    assert_non_null(strstr(err.msg, "1x64x1048576x524288"));
    assert_int_equal(infer_shapes(BS_OP_RESIZE_BILINEAR,
                                  (struct bs_attr){.out_h = INT64_MAX, .out_w = INT64_MAX}, &image, 1, &err),
                     BS_ELIMIT);
    struct bs_shape line = BS_SHAPE(1, 1, 1, (int64_t)1 << 40), kernel = BS_SHAPE(1, 1, 4096, 4096);
    assert_int_equal(infer_shapes(BS_OP_CONV_TRANSPOSE2D, (struct bs_attr){.stride = 4096},
                                  (struct bs_shape[]){line, kernel}, 2, &err),
                     BS_ELIMIT);
}

static void every_operator_is_in_the_table(void **state)
{
    (void)state;
    for (int op = 0; op < BS_OP_COUNT; op++) {
        const struct bs_op_def *d = bs_op_def((enum bs_op)op);
        assert_non_null(d);
        assert_non_null(d->name);
        assert_non_null(d->infer);
        assert_true(op <= BS_OP_PARAM || d->reference);
        assert_true(d->min_inputs <= d->max_inputs && d->max_inputs <= BS_MAX_INPUTS);
        for (int other = 0; other < op; other++)
            assert_string_not_equal(d->name, bs_op_def((enum bs_op)other)->name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolution_of_a_known_image),
        cmocka_unit_test(convolution_follows_its_formula_for_many_shapes),
        cmocka_unit_test(convolution_gradients_are_the_adjoints),
        cmocka_unit_test(transposed_convolution_writes_blocks),
        cmocka_unit_test(activations_clip_and_squash),
        cmocka_unit_test(sums_and_products_are_elementwise),
        cmocka_unit_test(max_pooling_drops_what_does_not_fill_a_window),
        cmocka_unit_test(bilinear_resize_uses_half_pixel_centres),
        cmocka_unit_test(bilinear_gradient_is_the_adjoint),
        cmocka_unit_test(concat_and_slice_undo_each_other_in_every_sample),
        cmocka_unit_test(channel_sums_take_every_sample_and_pixel),
        cmocka_unit_test(wrong_shapes_are_refused_and_named),
        cmocka_unit_test(absurd_sizes_are_refused_before_anything_is_allocated),
        cmocka_unit_test(every_operator_is_in_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
