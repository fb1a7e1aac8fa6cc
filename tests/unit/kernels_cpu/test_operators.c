/* Every operator and every fused pattern of the CPU backend against the reference backend, over shapes that do not fit
   blocks, tiles or vectors. With BS_TEST_GPU the same on the CUDA backend, in float32, bf16 and f16. */
#include "tests/unit/kernels_cpu/compare.h"

#ifdef BS_TEST_GPU
static const char *const under_test = "cuda";
#else
#include "kernels/cpu/simd.h"

static const char *const under_test = "cpu";
#endif

#include <stdio.h>
#include <string.h>

#ifdef BS_TEST_GPU /* a tenth of it: without a GPU it is emulated */
static const int channel[] = {1, 3, 17};
static const int64_t size[][2] = {{1, 1}, {5, 7}, {9, 10}};
#else
static const int channel[] = {1, 2, 3, 5, 17, 33};
static const int64_t size[][2] = {{1, 1}, {2, 3}, {5, 7}, {13, 9}, {31, 18}};
#endif
#define COUNT(a) (sizeof(a) / sizeof *(a))

struct pattern {
    struct bs_graph *g;
    int64_t n, h, w;
    int c;
    const char *isa; /* NULL: the best one */
};

static void check(struct pattern p, bs_value y, double tolerance, double offset)
{
    struct bs_err err;
    bs_graph_output(p.g, "y", y);
    if (bs_graph_finish(p.g, &err) != BS_OK)
        fail_msg("%s", err.msg);
#ifdef BS_TEST_GPU
    for (int half = 0; half < 3; half++) {
        const struct difference d = compare(
            p.g, (struct how){.device = under_test, .bf16 = half == 1, .f16 = half == 2, .offset = offset},
            5);
        const double allowed = (half ? 0.06 : tolerance) * (d.largest > 1 ? d.largest : 1);
        if (!(d.max <= allowed) && (half == 0 || offset == 0))
            fail_msg("%dx%dx%dx%d %s: differs by %g of %g", (int)p.n, p.c, (int)p.h, (int)p.w,
                     half == 0   ? "f32"
                     : half == 1 ? "bf16"
                                 : "f16",
                     d.max, d.largest);
    }
#else
    for (int winograd = 0; winograd < 2; winograd++) {
        struct difference d =
            compare(p.g, (struct how){.winograd = winograd, .threads = 2, .offset = offset, .isa = p.isa}, 5);
        double allowed = tolerance * (d.largest > 1 ? d.largest : 1);
        if (!(d.max <= allowed))
            fail_msg("%dx%dx%dx%d winograd %d: differs by %g, allowed %g", (int)p.n, p.c, (int)p.h, (int)p.w,
                     winograd, d.max, allowed);
        d = compare(
            p.g,
            (struct how){.winograd = winograd, .bf16 = true, .threads = 2, .offset = offset, .isa = p.isa},
            5);
        if (!(d.max <= 0.06 * (d.largest > 1 ? d.largest : 1)) && offset == 0)
            fail_msg("%dx%dx%dx%d winograd %d bf16: differs by %g of %g", (int)p.n, p.c, (int)p.h, (int)p.w,
                     winograd, d.max, d.largest);
    }
#endif
    bs_graph_destroy(p.g);
}

typedef bs_value (*make_fn)(struct pattern *p, bs_value x);

/* Builds the pattern for every shape. */
static void over_shapes(make_fn make, double tolerance, int64_t smallest, double offset)
{
    for (size_t c = 0; c < COUNT(channel); c++)
        for (size_t s = 0; s < COUNT(size); s++) {
            struct pattern p = {
                .n = 1 + (int64_t)(c + s) % 3, .c = channel[c], .h = size[s][0], .w = size[s][1]};
            if (p.h < smallest || p.w < smallest)
                continue;
            p.g = bs_graph_create();
            check(p, make(&p, bs_graph_input(p.g, "x", BS_SHAPE(p.n, p.c, p.h, p.w))), tolerance, offset);
        }
}

static bs_value conv(struct pattern *p, bs_value x, const char *name, int in, int out, int k, int stride,
                     int pad, bool bias)
{
    char b[32];
    strcpy(b, name);
    strcat(b, ".bias");
    return bs_graph_conv2d(p->g, x, bs_graph_param(p->g, name, BS_SHAPE(out, in, k, k)),
                           bias ? bs_graph_param(p->g, b, BS_SHAPE(out)) : BS_NO_VALUE, stride, pad);
}

static bs_value conv3(struct pattern *p, bs_value x)
{
    return conv(p, x, "w", p->c, 18 - p->c % 5, 3, 1, 1, true);
}
static bs_value conv3_relu(struct pattern *p, bs_value x)
{
    return bs_graph_relu(p->g, conv(p, x, "w", p->c, 3, 3, 1, 1, false));
}
static bs_value conv5_stride2(struct pattern *p, bs_value x)
{
    return conv(p, x, "w", p->c, 6, 5, 2, 2, true);
}
static bs_value conv3_no_padding(struct pattern *p, bs_value x)
{
    return conv(p, x, "w", p->c, 6, 3, 1, 0, true);
}
static bs_value conv1(struct pattern *p, bs_value x)
{
    return bs_graph_relu(p->g, conv(p, x, "w", p->c, 19, 1, 1, 0, true));
}
static bs_value conv1_stride2(struct pattern *p, bs_value x)
{
    return conv(p, x, "w", p->c, 4, 1, 2, 0, true);
}
static bs_value head(struct pattern *p, bs_value x)
{
    return bs_graph_sigmoid(p->g, conv(p, x, "w", p->c, 3, 1, 1, 0, true));
}
static bs_value transposed(struct pattern *p, bs_value x)
{
    return bs_graph_conv_transpose2d(p->g, x, bs_graph_param(p->g, "w", BS_SHAPE(p->c, 7, 2, 2)),
                                     bs_graph_param(p->g, "w.bias", BS_SHAPE(7)), 2);
}
static bs_value transposed_by_3(struct pattern *p, bs_value x)
{
    return bs_graph_relu(p->g, bs_graph_conv_transpose2d(p->g, x,
                                                         bs_graph_param(p->g, "w", BS_SHAPE(p->c, 17, 3, 3)),
                                                         BS_NO_VALUE, 3));
}
static bs_value instance_norm(struct pattern *p, bs_value x)
{
    return bs_graph_instance_norm(p->g, x, 1e-5f);
}
static bs_value group_norm(struct pattern *p, bs_value x)
{
    return bs_graph_group_norm(p->g, x, bs_graph_param(p->g, "weight", BS_SHAPE(p->c)),
                               bs_graph_param(p->g, "bias", BS_SHAPE(p->c)), p->c % 3 == 0 ? 3 : 1, 1e-5f);
}
static bs_value batch_norm(struct pattern *p, bs_value x)
{
    return bs_graph_batch_norm(p->g, x, bs_graph_param(p->g, "weight", BS_SHAPE(p->c)),
                               bs_graph_param(p->g, "bias", BS_SHAPE(p->c)),
                               bs_graph_param(p->g, "running_mean", BS_SHAPE(p->c)),
                               bs_graph_param(p->g, "running_var", BS_SHAPE(p->c)), 1e-5f);
}
/* A batch norm of `c` channels whose numbers are far from those of no norm. */
static bs_value norm_after(struct pattern *p, bs_value x, const char *name, int c)
{
    static const char *const leaf[] = {"weight", "bias", "running_mean", "running_var"};
    bs_value v[4];
    for (int i = 0; i < 4; i++) {
        char text[48];
        snprintf(text, sizeof text, "%s.%s", name, leaf[i]);
        v[i] = bs_graph_param(p->g, text, BS_SHAPE(c));
    }
    return bs_graph_batch_norm(p->g, x, v[0], v[1], v[2], v[3], 1e-3f);
}
static bs_value conv_batch_norm_relu(struct pattern *p, bs_value x)
{
    return bs_graph_relu(p->g, norm_after(p, conv(p, x, "w", p->c, 21, 3, 1, 1, true), "n", 21));
}
/* The norm of an image that is read twice, and one in the middle of a chain, without ReLU. */
static bs_value conv_batch_norm_read_twice(struct pattern *p, bs_value x)
{
    bs_value y = conv(p, x, "a", p->c, 7, 3, 1, 1, false), z = norm_after(p, y, "n", 7);
    return conv(p, bs_graph_add(p->g, y, norm_after(p, conv(p, z, "b", 7, 7, 3, 1, 1, true), "m", 7)), "c", 7,
                4, 1, 1, 0, true);
}
static bs_value conv5_batch_norm_relu(struct pattern *p, bs_value x)
{
    return bs_graph_relu(p->g, norm_after(p, conv(p, x, "w", p->c, 6, 5, 2, 2, false), "n", 6));
}
static bs_value transposed_batch_norm_relu(struct pattern *p, bs_value x)
{
    bs_value y = bs_graph_conv_transpose2d(p->g, x, bs_graph_param(p->g, "w", BS_SHAPE(p->c, 19, 2, 2)),
                                           bs_graph_param(p->g, "w.bias", BS_SHAPE(19)), 2);
    return bs_graph_relu(p->g, norm_after(p, y, "n", 19));
}
static bs_value resize_conv1_batch_norm(struct pattern *p, bs_value x)
{
    bs_value y = bs_graph_resize_bilinear(p->g, x, 2 * p->h, 2 * p->w);
    return norm_after(p, conv(p, y, "w", p->c, 18, 1, 1, 0, true), "n", 18);
}
/* One weight with two norms: two packed forms. */
static bs_value one_weight_under_two_norms(struct pattern *p, bs_value x)
{
    return bs_graph_add(p->g, norm_after(p, conv(p, x, "w", p->c, 9, 3, 1, 1, true), "n", 9),
                        norm_after(p, conv(p, x, "w", p->c, 9, 3, 1, 1, true), "m", 9));
}
static bs_value norm_conv(struct pattern *p, bs_value x)
{
    return conv(p, bs_graph_instance_norm(p->g, x, 1e-5f), "w", p->c, 5, 3, 1, 1, true);
}
static bs_value norm_of_a_concatenation(struct pattern *p, bs_value x)
{
    bs_value y = conv(p, x, "a", p->c, 6, 3, 1, 1, true);
    bs_value both = group_norm(&(struct pattern){.g = p->g, .c = p->c + 6}, bs_graph_concat(p->g, y, x));
    return conv(p, both, "b", p->c + 6, 4, 3, 1, 1, true);
}
static bs_value concatenations(struct pattern *p, bs_value x)
{
    bs_value y = bs_graph_relu(p->g, x), z = bs_graph_concat(p->g, bs_graph_concat(p->g, x, y), x);
    return conv(p, bs_graph_concat(p->g, z, conv(p, z, "a", 3 * p->c, 2, 3, 1, 1, true)), "b", 3 * p->c + 2,
                3, 3, 1, 1, true);
}
static bs_value concatenation_as_output(struct pattern *p, bs_value x)
{
    return bs_graph_concat(p->g, x, bs_graph_relu(p->g, x));
}
static bs_value doubled_conv(struct pattern *p, bs_value x)
{
    return conv(p, bs_graph_resize_bilinear(p->g, x, 2 * p->h, 2 * p->w), "w", p->c, 21, 3, 1, 1, true);
}
/* The up-sampling of UNETR's decoder, with the norm of the next block behind it. */
static bs_value doubled_conv1_conv3_batch_norm_relu(struct pattern *p, bs_value x)
{
    bs_value y = bs_graph_resize_bilinear(p->g, x, 2 * p->h, 2 * p->w);
    y = conv(p, conv(p, y, "a", p->c, 18, 1, 1, 0, true), "b", 18, 35, 3, 1, 1, true);
    y = bs_graph_relu(p->g, norm_after(p, y, "n", 35));
    bs_value z = conv(p, bs_graph_instance_norm(p->g, y, 1e-5f), "c", 35, 3, 3, 1, 1, true);
    return bs_graph_concat(p->g, y, z);
}
/* Not doubled for this convolution alone, or not doubled. */
static bs_value doubled_for_two(struct pattern *p, bs_value x)
{
    bs_value y = bs_graph_resize_bilinear(p->g, x, 2 * p->h, 2 * p->w);
    bs_value z = bs_graph_resize_bilinear(p->g, x, 2 * p->h, 2 * p->w - 1);
    bs_value v = conv(p, z, "b", p->c, 9, 3, 1, 1, true);
    return bs_graph_concat(p->g, conv(p, y, "a", p->c, 9, 3, 1, 1, true),
                           bs_graph_concat(p->g, y, bs_graph_resize_bilinear(p->g, v, 2 * p->h, 2 * p->w)));
}

/* 64 channels, cut at blocks of 16, at blocks of 8 and between blocks. */
static bs_value wide(struct pattern *p, bs_value x)
{
    return conv(p, x, "wide", p->c, 64, 1, 1, 0, true);
}
static bs_value slices_as_output(struct pattern *p, bs_value x)
{
    bs_value y = wide(p, x), a = bs_graph_slice_channel(p->g, y, 16, 32);
    bs_value b = bs_graph_slice_channel(p->g, y, 5, 20), c = bs_graph_slice_channel(p->g, y, 8, 24);
    return bs_graph_concat(p->g, bs_graph_concat(p->g, a, b), bs_graph_slice_channel(p->g, c, 0, 16));
}
static bs_value slice_norm_conv(struct pattern *p, bs_value x)
{
    bs_value y = bs_graph_instance_norm(p->g, bs_graph_slice_channel(p->g, wide(p, x), 16, 32), 1e-5f);
    return conv(p, y, "w", 32, 5, 3, 1, 1, true);
}
static bs_value slice_conv(struct pattern *p, bs_value x)
{
    return conv(p, bs_graph_slice_channel(p->g, wide(p, x), 48, 16), "w", 16, 5, 3, 1, 1, true);
}
static bs_value slice_conv1(struct pattern *p, bs_value x)
{
    return conv(p, bs_graph_slice_channel(p->g, wide(p, x), 16, 16), "w", 16, 12, 1, 1, 0, true);
}
/* The skip connections of UNETR: the middle channels of an image beside another one, normed together. */
static bs_value norm_of_a_concatenation_with_a_slice(struct pattern *p, bs_value x)
{
    bs_value y = wide(p, x), z = conv(p, x, "z", p->c, 32, 3, 1, 1, true);
    bs_value both = bs_graph_concat(p->g, z, bs_graph_slice_channel(p->g, y, 16, 32));
    bs_value w = conv(p, bs_graph_instance_norm(p->g, both, 1e-5f), "w", 64, 9, 3, 1, 1, true);
    return bs_graph_concat(p->g, w, bs_graph_slice_channel(p->g, y, 30, 9));
}
static bs_value group_norm_of_unaligned_slices(struct pattern *p, bs_value x)
{
    bs_value y = wide(p, x), a = bs_graph_slice_channel(p->g, y, 3, 17);
    bs_value both = bs_graph_concat(p->g, a, bs_graph_slice_channel(p->g, y, 32, 16));
    return conv(p, group_norm(&(struct pattern){.g = p->g, .c = 33}, both), "w", 33, 4, 3, 1, 1, true);
}
static bs_value pool(struct pattern *p, bs_value x)
{
    return bs_graph_max_pool2d(p->g, x, 2);
}
static bs_value pool_3_norm(struct pattern *p, bs_value x)
{
    return bs_graph_instance_norm(p->g, bs_graph_max_pool2d(p->g, x, 3), 1e-5f);
}
static bs_value resize(struct pattern *p, bs_value x)
{
    return bs_graph_resize_bilinear(p->g, x, 2 * p->h, 2 * p->w);
}
static bs_value resize_odd(struct pattern *p, bs_value x)
{
    return bs_graph_resize_bilinear(p->g, x, p->h * 3 / 2 + 1, (p->w + 2) / 2);
}
static bs_value resize_conv1_relu(struct pattern *p, bs_value x)
{
    return bs_graph_relu(
        p->g, conv(p, bs_graph_resize_bilinear(p->g, x, 2 * p->h, 2 * p->w), "w", p->c, 12, 1, 1, 0, true));
}
static bs_value arithmetic(struct pattern *p, bs_value x)
{
    bs_value s = bs_graph_sigmoid(p->g, x), m = bs_graph_mul(p->g, s, bs_graph_relu(p->g, x));
    return bs_graph_instance_norm(p->g, bs_graph_add(p->g, m, s), 1e-3f);
}
static bs_value the_input_itself(struct pattern *p, bs_value x)
{
    (void)p;
    return x;
}

static void convolutions_equal_the_reference(void **state)
{
    (void)state;
    over_shapes(conv3, 2e-5, 1, 0);
    over_shapes(conv3_relu, 2e-5, 1, 0);
    over_shapes(conv5_stride2, 2e-5, 5, 0);
    over_shapes(conv3_no_padding, 2e-5, 3, 0);
    over_shapes(conv1, 1e-5, 1, 0);
    over_shapes(conv1_stride2, 1e-5, 1, 0);
    over_shapes(head, 1e-5, 1, 0);
    over_shapes(transposed, 1e-5, 1, 0);
    over_shapes(transposed_by_3, 1e-5, 1, 0);
}

static void norms_equal_the_reference(void **state)
{
    (void)state;
    over_shapes(instance_norm, 1e-5, 2, 0);
    over_shapes(group_norm, 1e-5, 2, 0);
    over_shapes(batch_norm, 1e-5, 1, 0);
    over_shapes(norm_conv, 1e-4, 2, 0);
    over_shapes(norm_of_a_concatenation, 1e-4, 2, 0);
}

static void batch_norms_in_weights_equal_the_reference(void **state)
{
    (void)state;
    over_shapes(conv_batch_norm_relu, 2e-5, 1, 0);
    over_shapes(conv_batch_norm_read_twice, 5e-5, 1, 0);
    over_shapes(conv5_batch_norm_relu, 2e-5, 5, 0);
    over_shapes(transposed_batch_norm_relu, 1e-5, 1, 0);
    over_shapes(resize_conv1_batch_norm, 1e-5, 1, 0);
    over_shapes(one_weight_under_two_norms, 4e-5, 1, 0);
}

static void slices_of_channels_equal_the_reference(void **state)
{
    (void)state;
    over_shapes(slices_as_output, 1e-5, 1, 0);
    over_shapes(slice_norm_conv, 1e-4, 2, 0);
    over_shapes(slice_conv, 2e-5, 1, 0);
    over_shapes(slice_conv1, 1e-5, 1, 0);
    over_shapes(norm_of_a_concatenation_with_a_slice, 1e-4, 2, 0);
    over_shapes(group_norm_of_unaligned_slices, 1e-4, 2, 0);
}

/* Sizes from where the lattice pays; with one row fewer it does not. */
static void convolutions_of_doubled_images_equal_the_reference(void **state)
{
    (void)state;
#ifdef BS_TEST_GPU /* which does not do them on the small image */
    static const int64_t large[][2] = {{4, 5}};
#else
    static const int64_t large[][2] = {{20, 20}, {19, 18}, {21, 34}, {33, 22}, {65, 35}};
#endif
    static const make_fn make[] = {doubled_conv, doubled_conv1_conv3_batch_norm_relu, doubled_for_two};
    for (size_t m = 0; m < COUNT(make); m++)
        for (size_t s = 0; s < COUNT(large); s++)
            for (int c = 16; c <= 67; c += 51) {
                struct pattern p = {.n = 1 + (int64_t)s % 2, .c = c, .h = large[s][0], .w = large[s][1]};
                p.g = bs_graph_create();
                check(p, make[m](&p, bs_graph_input(p.g, "x", BS_SHAPE(p.n, p.c, p.h, p.w))), 2e-5, 0);
            }
}

#ifndef BS_TEST_GPU
/* Blocks of eight channels, and no fused multiply-add. */
static void every_instruction_set_equals_the_reference(void **state)
{
    (void)state;
    static const char *const isa[] = {"base", "avx2", "avx512"};
    static const make_fn make[] = {doubled_conv1_conv3_batch_norm_relu, norm_of_a_concatenation_with_a_slice,
                                   slices_as_output, conv_batch_norm_relu, transposed_batch_norm_relu};
    for (size_t i = 0; i < COUNT(isa); i++)
        for (size_t m = 0; m < COUNT(make) && bs__simd_named(isa[i]); m++) {
            struct pattern p = {.n = 2, .c = 19, .h = 23, .w = 21, .isa = isa[i], .g = bs_graph_create()};
            check(p, make[m](&p, bs_graph_input(p.g, "x", BS_SHAPE(p.n, p.c, p.h, p.w))), 5e-5, 0);
        }
}

static void count_doubled(int64_t side, const char *expected)
{
    struct bs_err err;
    struct bs_device *dev = NULL;
    struct bs_executable *exe = NULL;
    struct pattern p = {.g = bs_graph_create(), .n = 1, .h = side, .w = side, .c = 16};
    bs_graph_output(
        p.g, "y",
        doubled_conv1_conv3_batch_norm_relu(&p, bs_graph_input(p.g, "x", BS_SHAPE(1, 16, side, side))));
    assert_int_equal(bs_graph_finish(p.g, &err), BS_OK);
    struct filled f;
    fill_params(&f, p.g, 1);
    assert_int_equal(
        bs_device_open("cpu", &(struct bs_device_options){.threads = 1, .allow_winograd = true}, &dev, &err),
        BS_OK);
    assert_int_equal(bs_executable_create(dev, p.g, f.params, BS_PRECISION_F32, &exe, &err), BS_OK);
    if (!strstr(bs_executable_algorithms(exe), expected))
        fail_msg("%s, expected %s", bs_executable_algorithms(exe), expected);
    bs_executable_destroy(exe);
    bs_device_close(dev);
    free_params(&f);
    bs_graph_destroy(p.g);
}

static void images_are_doubled_where_that_takes_fewer_products(void **state)
{
    (void)state;
    count_doubled(20, "winograd 1, doubled 1, direct 0");
    count_doubled(16, "winograd 2, doubled 0, direct 0");
}

static void a_doubled_image_gives_the_same_bits_on_any_number_of_threads(void **state)
{
    (void)state;
    struct bs_err err;
    struct pattern p = {.g = bs_graph_create(), .n = 2, .h = 37, .w = 41, .c = 33};
    bs_graph_output(
        p.g, "y",
        doubled_conv1_conv3_batch_norm_relu(&p, bs_graph_input(p.g, "x", BS_SHAPE(p.n, p.c, p.h, p.w))));
    assert_int_equal(bs_graph_finish(p.g, &err), BS_OK);
    struct filled f;
    fill_params(&f, p.g, 1);
    struct numbers r = {11};
    struct bs_tensor in = random_tensor(&r, BS_SHAPE(p.n, p.c, p.h, p.w)), first;
    run_cpu(p.g, f.params, (struct how){.winograd = true, .threads = 1}, &in, &first);
    for (int threads = 1; threads <= 4; threads++) {
        struct bs_tensor again;
        run_cpu(p.g, f.params, (struct how){.winograd = true, .threads = threads}, &in, &again);
        assert_memory_equal(first.data, again.data, bs_shape_count(&first.shape) * sizeof(float));
        free_tensor(&again);
    }
    free_tensor(&first);
    free_tensor(&in);
    free_params(&f);
    bs_graph_destroy(p.g);
}

#endif

/* Raw microscope counts: the mean is a hundred times the spread. */
static void norms_far_from_zero_equal_the_reference(void **state)
{
    (void)state;
    over_shapes(instance_norm, 2e-3, 5, 1000);
    over_shapes(norm_conv, 5e-3, 5, 1000);
}

/* What a ReLU leaves of some channels: the pixels at the edge of the image. */
static void norms_of_an_edge_equal_the_reference(void **state)
{
    (void)state;
    struct bs_err err;
    struct bs_graph *g = bs_graph_create();
    bs_value x = bs_graph_input(g, "x", BS_SHAPE(1, 5, 6, 2000));
    bs_graph_output(g, "y", bs_graph_instance_norm(g, x, 1e-9f));
    assert_int_equal(bs_graph_finish(g, &err), BS_OK);
    struct difference d = compare(g, (struct how){.device = under_test, .threads = 2, .edge = true}, 5);
    assert_true(d.largest > 20);
    if (!(d.max <= 1e-5 * d.largest))
        fail_msg("differs by %g of %g", d.max, d.largest);
    bs_graph_destroy(g);
}

static void the_rest_equals_the_reference(void **state)
{
    (void)state;
    over_shapes(concatenations, 1e-4, 1, 0);
    over_shapes(concatenation_as_output, 0, 1, 0);
    over_shapes(pool, 0, 2, 0);
    over_shapes(pool_3_norm, 1e-4, 9, 0);
    over_shapes(resize, 1e-6, 1, 0);
    over_shapes(resize_odd, 1e-6, 2, 0);
    over_shapes(resize_conv1_relu, 1e-5, 1, 0);
    over_shapes(arithmetic, 1e-4, 2, 0);
    over_shapes(the_input_itself, 0, 1, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolutions_equal_the_reference),
        cmocka_unit_test(norms_equal_the_reference),
        cmocka_unit_test(batch_norms_in_weights_equal_the_reference),
        cmocka_unit_test(slices_of_channels_equal_the_reference),
        cmocka_unit_test(convolutions_of_doubled_images_equal_the_reference),
#ifndef BS_TEST_GPU
        cmocka_unit_test(every_instruction_set_equals_the_reference),
        cmocka_unit_test(images_are_doubled_where_that_takes_fewer_products),
        cmocka_unit_test(a_doubled_image_gives_the_same_bits_on_any_number_of_threads),
#endif
        cmocka_unit_test(norms_far_from_zero_equal_the_reference),
        cmocka_unit_test(norms_of_an_edge_equal_the_reference),
        cmocka_unit_test(the_rest_equals_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
