/* The operators of image transformers compute their formulas: against values worked out by hand, and against code that
   goes the way of the original (windows cut out after padding, biases added as a table) where the operator goes its own.
   Wrong shapes are refused with the shapes in the message. */
#include "kernels_support.h"

#include "kernels/op.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void a_linear_map_meets_every_leading_axis(void **state)
{
    (void)state;
    struct numbers r = {11};
    const struct bs_shape shapes[] = {BS_SHAPE(7), BS_SHAPE(3, 7), BS_SHAPE(2, 5, 7), BS_SHAPE(2, 3, 2, 7)};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        struct bs_tensor in[] = {random_tensor(&r, shapes[s]), random_tensor(&r, BS_SHAPE(4, 7)),
                                 random_tensor(&r, BS_SHAPE(4))};
        for (int ninput = 2; ninput <= 3; ninput++) {
            struct bs_tensor y = apply(BS_OP_LINEAR, (struct bs_attr){0}, in, ninput);
            assert_int_equal(y.shape.ndim, shapes[s].ndim);
            assert_int_equal(y.shape.dim[y.shape.ndim - 1], 4);
            for (size_t e = 0; e < bs_shape_count(&y.shape); e++) {
                double sum = ninput == 3 ? (double)floats(&in[2])[e % 4] : 0;
                for (size_t i = 0; i < 7; i++)
                    sum += (double)floats(&in[0])[e / 4 * 7 + i] * (double)floats(&in[1])[e % 4 * 7 + i];
                assert_close(floats(&y)[e], sum, 1e-6);
            }
            free_tensor(&y);
        }
        for (int i = 0; i < 3; i++)
            free_tensor(&in[i]);
    }
}

static void layer_norm_gives_each_row_mean_zero_and_variance_one(void **state)
{
    (void)state;
    struct numbers r = {12};
    struct bs_tensor in[] = {random_tensor(&r, BS_SHAPE(2, 5, 33)), random_tensor(&r, BS_SHAPE(33)),
                             random_tensor(&r, BS_SHAPE(33))};
    for (int i = 0; i < 2 * 5 * 33; i++)
        floats(&in[0])[i] = 3 * floats(&in[0])[i] + 100; /* far from zero: variance must not cancel */
    const float eps = 1e-6f;
    struct bs_tensor y = apply(BS_OP_LAYER_NORM, (struct bs_attr){.eps = eps}, in, 3);
    for (int row = 0; row < 10; row++) {
        double mean = 0, square = 0, variance = 0;
        for (int c = 0; c < 33; c++) {
            const double v =
                ((double)floats(&y)[row * 33 + c] - (double)floats(&in[2])[c]) / (double)floats(&in[1])[c];
            mean += v / 33;
            square += v * v / 33;
        }
        for (int c = 0; c < 33; c++)
            for (int d = 0; d < 33; d++) { /* var = mean of (x_c - x_d)^2 / 2 */
                const double v = (double)floats(&in[0])[row * 33 + c] - (double)floats(&in[0])[row * 33 + d];
                variance += v * v / (2.0 * 33 * 33);
            }
        assert_close((float)mean, 0, 1e-4);
        assert_close((float)square, variance / (variance + (double)eps), 1e-4);
    }
    free_tensor(&y);
    for (int i = 0; i < 3; i++)
        free_tensor(&in[i]);

    float known[] = {1, 3, 2, 2}, w[] = {2, 2}, b[] = {10, 20};
    struct bs_tensor small[] = {tensor_of(BS_SHAPE(2, 2), known), tensor_of(BS_SHAPE(2), w),
                                tensor_of(BS_SHAPE(2), b)};
    y = apply(BS_OP_LAYER_NORM, (struct bs_attr){.eps = 3}, small, 3);
    /* variance 1, so the root of 1 + 3 halves; an even row stays at the bias */
    assert_tensor(&y, (float[]){9, 21, 10, 20}, 1e-6);
    free_tensor(&y);
    for (int i = 0; i < 3; i++)
        free_tensor(&small[i]);
}

/* P(Z < x) of a normal variable by integration (Simpson): what the error function in the formula stands for. */
static double normal_below(double x)
{
    const int n = 2000;
    double sum = 0;
    for (int i = 0; i <= n; i++) {
        const double t = x * i / n;
        sum += exp(-t * t / 2) * (i == 0 || i == n ? 1 : (i % 2 ? 4 : 2));
    }
    return 0.5 + sum * (x / n / 3) / sqrt(2 * acos(-1.0));
}

static void gelu_weighs_x_by_the_normal_distribution(void **state)
{
    (void)state;
    float x[41];
    for (int i = 0; i < 41; i++)
        x[i] = 0.3f * (float)(i - 20);
    struct bs_tensor in = tensor_of(BS_SHAPE(1, 41), x);
    struct bs_tensor y = apply(BS_OP_GELU, (struct bs_attr){0}, &in, 1);
    for (int i = 0; i < 41; i++)
        assert_close(floats(&y)[i], (double)x[i] * normal_below((double)x[i]), 1e-6);
    free_tensor(&y);
    floats(&in)[0] = -100;
    floats(&in)[1] = 100;
    floats(&in)[2] = NAN;
    y = apply(BS_OP_GELU, (struct bs_attr){0}, &in, 1);
    assert_true(floats(&y)[0] == 0 && floats(&y)[1] == 100 && isnan(floats(&y)[2]));
    free_tensor(&y);
    free_tensor(&in);
}

static void scale_multiplies(void **state)
{
    (void)state;
    struct bs_tensor in = tensor_of(BS_SHAPE(2, 2), (float[]){1, -2, 0, 4});
    struct bs_tensor y = apply(BS_OP_SCALE, (struct bs_attr){.factor = 0.5f}, &in, 1);
    assert_tensor(&y, (float[]){0.5f, -1, 0, 2}, 0);
    free_tensor(&y);
    free_tensor(&in);
}

static void tokens_run_along_rows_and_come_back(void **state)
{
    (void)state;
    struct numbers r = {13};
    struct bs_tensor image = random_tensor(&r, BS_SHAPE(2, 3, 4, 5));
    struct bs_tensor tokens = apply(BS_OP_TOKENS_FROM_IMAGE, (struct bs_attr){0}, &image, 1);
    const struct bs_shape shape = BS_SHAPE(2, 20, 3);
    assert_true(bs_shape_equal(&tokens.shape, &shape));
    for (int n = 0; n < 2; n++)
        for (int y = 0; y < 4; y++)
            for (int x = 0; x < 5; x++)
                for (int c = 0; c < 3; c++)
                    assert_true(floats(&tokens)[(n * 20 + y * 5 + x) * 3 + c] ==
                                floats(&image)[((n * 3 + c) * 4 + y) * 5 + x]);
    struct bs_tensor back =
        apply(BS_OP_IMAGE_FROM_TOKENS, (struct bs_attr){.out_h = 4, .out_w = 5}, &tokens, 1);
    assert_true(bs_shape_equal(&back.shape, &image.shape));
    assert_memory_equal(back.data, image.data, 2 * 3 * 4 * 5 * sizeof(float));
    free_tensor(&image);
    free_tensor(&tokens);
    free_tensor(&back);
}

/* A patch embedding is a convolution whose kernel does not overlap itself. */
static void patches_are_a_convolution_with_kernel_16_and_stride_16(void **state)
{
    (void)state;
    struct numbers r = {14};
    struct bs_tensor in[] = {random_tensor(&r, BS_SHAPE(2, 3, 32, 48)),
                             random_tensor(&r, BS_SHAPE(5, 3, 16, 16)), random_tensor(&r, BS_SHAPE(5))};
    struct bs_tensor y = apply(BS_OP_CONV2D, (struct bs_attr){.stride = 16}, in, 3);
    const struct bs_shape shape = BS_SHAPE(2, 5, 2, 3);
    assert_true(bs_shape_equal(&y.shape, &shape));
    for (int e = 0; e < 2 * 5 * 2 * 3; e++) {
        const int n = e / 30, o = e / 6 % 5, i = e / 3 % 2, j = e % 3;
        double sum = (double)floats(&in[2])[o];
        for (int k = 0; k < 3 * 16 * 16; k++) {
            const int c = k / 256, p = k / 16 % 16, q = k % 16;
            sum += (double)floats(&in[1])[o * 768 + k] *
                   (double)floats(&in[0])[((n * 3 + c) * 32 + i * 16 + p) * 48 + j * 16 + q];
        }
        assert_close(floats(&y)[e], sum, 1e-5);
    }
    free_tensor(&y);
    for (int i = 0; i < 3; i++)
        free_tensor(&in[i]);
}

/* One attention, worked out as the original does it: the grid is padded to whole windows, each window is cut out, its
   scores are a matrix, two bias tables of relative coordinates are added, rows are normalised. */
struct attention {
    int n, heads, d, h, w, window, rows_h, rows_w; /* rows 0: no tables */
    bool pad;
};

/* Row `row` of a table stretched to `rows` rows, feature c: linear between half-pixel centres. */
static double stretched(const struct bs_tensor *t, int row, int rows, int c)
{
    const int have = (int)t->shape.dim[0], d = (int)t->shape.dim[1];
    double at = (row + 0.5) * have / rows - 0.5;
    at = fmin(fmax(at, 0), have - 1);
    const int lo = (int)at, hi = lo + 1 < have ? lo + 1 : lo;
    return (double)floats(t)[lo * d + c] +
           (at - lo) * ((double)floats(t)[hi * d + c] - (double)floats(t)[lo * d + c]);
}

static double *attend(const struct attention *a, const struct bs_tensor *in)
{
    const int side_h = a->window ? a->window : a->h, side_w = a->window ? a->window : a->w;
    const int rows = (a->h + side_h - 1) / side_h * side_h, columns = (a->w + side_w - 1) / side_w * side_w;
    const int width = a->heads * a->d, keys = side_h * side_w;
    double *padded = calloc((size_t)rows * columns * 3 * width, sizeof *padded);
    double *score = calloc((size_t)keys * keys, sizeof *score);
    double *out = calloc((size_t)a->n * a->h * a->w * width, sizeof *out);
    assert_true(padded && score && out);
    for (int n = 0; n < a->n; n++) {
        for (int y = 0; y < rows; y++)
            for (int x = 0; x < columns; x++)
                for (int c = 0; c < 3 * width; c++)
                    padded[(y * columns + x) * 3 * width + c] =
                        y < a->h && x < a->w
                            ? (double)floats(&in[0])[((n * a->h + y) * a->w + x) * 3 * width + c]
                            : (a->pad ? (double)floats(&in[1])[c] : 0);
        for (int top = 0; top < rows; top += side_h)
            for (int left = 0; left < columns; left += side_w)
                for (int head = 0; head < a->heads; head++) {
#define TOKEN(i, part)                                                                                       \
    (padded + ((top + (i) / side_w) * columns + left + (i) % side_w) * 3 * width + (part)*width + head * a->d)
                    for (int q = 0; q < keys; q++) {
                        double total = 0;
                        for (int k = 0; k < keys; k++) {
                            double s = 0;
                            for (int c = 0; c < a->d; c++) {
                                const double query = TOKEN(q, 0)[c];
                                s += query * TOKEN(k, 1)[c] / sqrt(a->d);
                                if (a->rows_h)
                                    s += query * stretched(&in[2], q / side_w - k / side_w + side_h - 1,
                                                           2 * side_h - 1, c) +
                                         query * stretched(&in[3], q % side_w - k % side_w + side_w - 1,
                                                           2 * side_w - 1, c);
                            }
                            total += score[q * keys + k] = exp(s);
                        }
                        const int y = top + q / side_w, x = left + q % side_w;
                        for (int k = 0; k < keys && y < a->h && x < a->w; k++)
                            for (int c = 0; c < a->d; c++)
                                out[((n * a->h + y) * a->w + x) * width + head * a->d + c] +=
                                    score[q * keys + k] / total * TOKEN(k, 2)[c];
                    }
#undef TOKEN
                }
    }
    free(padded);
    free(score);
    return out;
}

static void attention_is_that_of_the_image_encoder(void **state)
{
    (void)state;
    static const struct attention cases[] = {
        {1, 1, 4, 3, 3, 0, 0, 0, false},   /* plain */
        {2, 3, 5, 4, 6, 0, 7, 11, true},   /* global with tables, not square */
        {2, 2, 4, 6, 6, 3, 5, 5, true},    /* windows that fit */
        {1, 2, 4, 5, 7, 3, 5, 5, true},    /* windows that stick out right and below */
        {1, 2, 4, 5, 7, 3, 5, 5, false},   /* tables need a pad of their own: zeros */
        {1, 2, 3, 5, 7, 4, 0, 0, false},   /* padding by zeros, no tables */
        {1, 1, 2, 2, 2, 14, 27, 27, true}, /* a grid smaller than its one window */
        {1, 2, 4, 4, 6, 0, 13, 5, true},   /* tables of another encoder size, longer and shorter */
        {1, 1, 130, 2, 3, 2, 3, 3, true},  /* a head wider than one strip of the reference loops */
        {1, 1, 3, 1, 5, 0, 1, 9, true},    /* one row */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct attention *a = &cases[i];
        struct numbers r = {100 + i};
        const int width = a->heads * a->d;
        struct bs_tensor in[] = {random_tensor(&r, BS_SHAPE(a->n, (int64_t)a->h * a->w, 3 * width)),
                                 random_tensor(&r, BS_SHAPE(3 * width)),
                                 random_tensor(&r, BS_SHAPE(a->rows_h ? a->rows_h : 1, a->d)),
                                 random_tensor(&r, BS_SHAPE(a->rows_w ? a->rows_w : 1, a->d))};
        if (!a->pad)
            memset(in[1].data, 0, (size_t)(3 * width) * sizeof(float));
        const struct bs_attr attr = {.heads = a->heads, .out_h = a->h, .out_w = a->w, .kernel = a->window};
        double *want = attend(a, in);
        struct bs_tensor y = apply(BS_OP_ATTENTION, attr, in, a->rows_h ? 4 : (a->pad ? 2 : 1));
        const struct bs_shape shape = BS_SHAPE(a->n, (int64_t)a->h * a->w, width);
        assert_true(bs_shape_equal(&y.shape, &shape));
        for (size_t e = 0; e < bs_shape_count(&y.shape); e++)
            assert_close(floats(&y)[e], want[e], 1e-5);
        free(want);
        free_tensor(&y);
        for (int t = 0; t < 4; t++)
            free_tensor(&in[t]);
    }
}

static void attention_survives_logits_that_exp_does_not(void **state)
{
    (void)state;
    /* q k = 40000, -40000 and 0: the first key takes all */
    float qkv[3][3] = {{200, 200, 1}, {200, -200, 2}, {200, 0, 3}};
    struct bs_tensor in = tensor_of(BS_SHAPE(1, 3, 3), &qkv[0][0]);
    struct bs_tensor y = apply(BS_OP_ATTENTION, (struct bs_attr){.heads = 1, .out_h = 1, .out_w = 3}, &in, 1);
    assert_tensor(&y, (float[]){1, 1, 1}, 1e-6);
    free_tensor(&y);
    free_tensor(&in);
}

static void shapes_that_do_not_fit_are_refused_with_their_sizes(void **state)
{
    (void)state;
    const struct bs_attr grid = {.heads = 2, .out_h = 2, .out_w = 3};
    const struct bs_shape qkv = BS_SHAPE(1, 6, 24), pad = BS_SHAPE(24), table = BS_SHAPE(3, 4);
    const struct {
        enum bs_op op;
        struct bs_attr attr;
        int ninput;
        struct bs_shape in[4];
        const char *words;
    } cases[] = {
        {BS_OP_LINEAR, {0}, 2, {BS_SHAPE(2, 3), BS_SHAPE(4, 5)}, "input 2x3 does not end in the 5"},
        {BS_OP_LINEAR, {0}, 2, {BS_SHAPE(2, 3), BS_SHAPE(4, 3, 1)}, "weight is 4x3x1"},
        {BS_OP_LINEAR, {0}, 2, {{0}, BS_SHAPE(4, 3)}, "input scalar"},
        {BS_OP_LINEAR, {0}, 3, {BS_SHAPE(2, 3), BS_SHAPE(4, 3), BS_SHAPE(3)}, "bias is 3"},
        {BS_OP_LAYER_NORM, {.eps = 1}, 3, {BS_SHAPE(2, 3), BS_SHAPE(2), BS_SHAPE(3)}, "weight is 2"},
        {BS_OP_LAYER_NORM, {.eps = 1}, 3, {BS_SHAPE(2, 3), BS_SHAPE(3), BS_SHAPE(3, 1)}, "bias is 3x1"},
        {BS_OP_LAYER_NORM, {.eps = 0}, 3, {BS_SHAPE(2, 3), BS_SHAPE(3), BS_SHAPE(3)}, "eps is 0"},
        {BS_OP_SCALE, {.factor = INFINITY}, 1, {BS_SHAPE(2)}, "factor is inf"},
        {BS_OP_TOKENS_FROM_IMAGE, {0}, 1, {BS_SHAPE(2, 3, 4)}, "input is 2x3x4"},
        {BS_OP_IMAGE_FROM_TOKENS, {.out_h = 2, .out_w = 2}, 1, {BS_SHAPE(2, 6, 4)}, "grid of 2 x 2"},
        {BS_OP_IMAGE_FROM_TOKENS, {.out_h = -2, .out_w = -3}, 1, {BS_SHAPE(2, 6, 4)}, "grid of -2 x -3"},
        {BS_OP_IMAGE_FROM_TOKENS, {.out_h = 2, .out_w = 3}, 1, {BS_SHAPE(6, 4)}, "input is 6x4"},
        {BS_OP_ATTENTION, {.heads = 2, .out_h = 2, .out_w = 2}, 1, {qkv}, "grid of 2 x 2"},
        {BS_OP_ATTENTION, {.heads = 5, .out_h = 2, .out_w = 3}, 1, {qkv}, "q, k and v of 5 heads"},
        {BS_OP_ATTENTION, {.heads = 0, .out_h = 2, .out_w = 3}, 1, {qkv}, "number of heads is 0"},
        {BS_OP_ATTENTION, {.heads = 2, .out_h = 2, .out_w = 3, .kernel = -1}, 1, {qkv}, "window is -1"},
        {BS_OP_ATTENTION, grid, 2, {qkv, BS_SHAPE(8)}, "pad is 8"},
        {BS_OP_ATTENTION, grid, 3, {qkv, pad, table}, "rel_h without rel_w"},
        {BS_OP_ATTENTION, grid, 4, {qkv, pad, BS_SHAPE(3, 5), table}, "rel_h is 3x5"},
        {BS_OP_ATTENTION, grid, 4, {qkv, pad, table, BS_SHAPE(12)}, "rel_w is 12"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bs_err err = {0};
        assert_int_equal(infer_shapes(cases[i].op, cases[i].attr, cases[i].in, cases[i].ninput, &err),
                         BS_EINVAL);
        if (!strstr(err.msg, cases[i].words))
            fail_msg("\"%s\" does not say \"%s\"", err.msg, cases[i].words);
    }
}

/* Neither table goes missing without a word. */
static void one_table_or_tables_without_pad_do_not_build(void **state)
{
    (void)state;
    for (int missing = 1; missing < 4; missing++) {
        struct bs_graph *g = bs_graph_create();
        assert_non_null(g);
        bs_value in[] = {bs_graph_input(g, "qkv", BS_SHAPE(1, 6, 24)), bs_graph_param(g, "pad", BS_SHAPE(24)),
                         bs_graph_param(g, "h", BS_SHAPE(3, 4)), bs_graph_param(g, "w", BS_SHAPE(5, 4))};
        in[missing] = BS_NO_VALUE;
        bs_graph_output(g, "y", bs_graph_attention(g, in[0], in[1], in[2], in[3], 2, 2, 3, 0));
        assert_int_equal(bs_graph_finish(g, NULL), BS_EINVAL);
        bs_graph_destroy(g);
    }
}

static void multiply_adds_of_linear_and_attention_are_counted(void **state)
{
    (void)state;
    struct bs_graph *g = bs_graph_create();
    assert_non_null(g);
    bs_value x = bs_graph_input(g, "x", BS_SHAPE(2, 35, 8));
    x = bs_graph_linear(g, x, bs_graph_param(g, "w", BS_SHAPE(24, 8)), BS_NO_VALUE);
    assert_true(bs_graph_flops(g) == 2.0 * 2 * 35 * 8 * 24);
    bs_graph_output(g, "y", bs_graph_attention(g, x, BS_NO_VALUE, BS_NO_VALUE, BS_NO_VALUE, 2, 5, 7, 4));
    assert_int_equal(bs_graph_finish(g, NULL), BS_OK);
    /* each of 2 x 35 queries meets 16 keys and 16 values of 8 features */
    assert_true(bs_graph_flops(g) == 2.0 * 2 * 35 * 8 * 24 + 2.0 * 2 * (2 * 35) * 16 * 8);
    bs_graph_destroy(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_linear_map_meets_every_leading_axis),
        cmocka_unit_test(layer_norm_gives_each_row_mean_zero_and_variance_one),
        cmocka_unit_test(gelu_weighs_x_by_the_normal_distribution),
        cmocka_unit_test(scale_multiplies),
        cmocka_unit_test(tokens_run_along_rows_and_come_back),
        cmocka_unit_test(patches_are_a_convolution_with_kernel_16_and_stride_16),
        cmocka_unit_test(attention_is_that_of_the_image_encoder),
        cmocka_unit_test(attention_survives_logits_that_exp_does_not),
        cmocka_unit_test(shapes_that_do_not_fit_are_refused_with_their_sizes),
        cmocka_unit_test(one_table_or_tables_without_pad_do_not_build),
        cmocka_unit_test(multiply_adds_of_linear_and_attention_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
