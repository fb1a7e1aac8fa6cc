/* Graphs of training whose images lie in blocks of channels on the CPU: values, losses and gradients are those of the reference,
   whether an operator is computed for itself, as a part of another one or over copies in another order, and a step gives the same
   bits whatever the threads. */
#include "training_graphs.h"

/* An image of `channels` in blocks, behind a convolution that makes it from a dense one. */
static bs_value image(struct network *n, int64_t channels, int64_t h, int64_t w)
{
    bs_value x = variable(n, BS_SHAPE(2, 16, h, w));
    return bs_graph_conv2d(n->g, x, variable(n, BS_SHAPE(channels, 16, 3, 3)), BS_NO_VALUE, 1, 1);
}

/* The same from few channels, as the first convolution of a network does. */
static bs_value first_image(struct network *n, int64_t channels, int64_t h, int64_t w)
{
    bs_value x = variable(n, BS_SHAPE(2, 3, h, w));
    return bs_graph_conv2d(n->g, x, variable(n, BS_SHAPE(channels, 3, 3, 3)), BS_NO_VALUE, 1, 1);
}

static bs_value conv(struct network *n, bs_value x, int64_t out, int64_t kernel)
{
    const int64_t in = bs_graph_node(n->g, x)->shape.dim[1];
    bs_value y = bs_graph_conv2d(n->g, x, variable(n, BS_SHAPE(out, in, kernel, kernel)),
                                 variable(n, BS_SHAPE(out)), 1, (int)kernel / 2);
    return bs_graph_scale(n->g, y, 0.1f);
}

/* The same with an activation that the convolution applies. */
static bs_value conv_relu(struct network *n, bs_value x, int64_t out)
{
    const int64_t in = bs_graph_node(n->g, x)->shape.dim[1];
    return bs_graph_relu(n->g, bs_graph_conv2d(n->g, x, variable(n, BS_SHAPE(out, in, 3, 3)),
                                               variable(n, BS_SHAPE(out)), 1, 1));
}

static bs_value norm(struct network *n, bs_value x)
{
    return bs_graph_instance_norm(n->g, x, 1e-5f);
}

/* A norm that the convolution applies, an activation behind it, twice; more pixels than a task takes. */
static bs_value two_convolutions(struct network *n)
{
    bs_value x = conv_relu(n, norm(n, image(n, 16, 70, 61)), 16);
    return conv(n, conv_relu(n, norm(n, x), 16), 2, 1);
}

/* Down, up and across. */
static bs_value a_level(struct network *n)
{
    bs_value skip = conv_relu(n, norm(n, image(n, 16, 18, 22)), 16);
    bs_value low = conv_relu(n, norm(n, bs_graph_max_pool2d(n->g, skip, 2)), 32);
    low = bs_graph_conv2d(n->g, low, variable(n, BS_SHAPE(16, 32, 1, 1)), BS_NO_VALUE, 1, 0);
    bs_value up = bs_graph_resize_bilinear(n->g, low, 18, 22);
    return conv(n, conv_relu(n, norm(n, bs_graph_concat(n->g, up, skip)), 16), 2, 1);
}

/* Values that two operators read are made. */
static bs_value read_twice(struct network *n)
{
    bs_value x = image(n, 32, 9, 13), normed = norm(n, x);
    bs_value y = bs_graph_conv2d(n->g, normed, variable(n, BS_SHAPE(32, 32, 3, 3)), BS_NO_VALUE, 1, 1);
    bs_value z = bs_graph_add(n->g, bs_graph_relu(n->g, y), bs_graph_mul(n->g, normed, y));
    return bs_graph_scale(n->g, bs_graph_add(n->g, bs_graph_relu(n->g, z), z), 0.01f);
}

static bs_value batch_norm(struct network *n)
{
    bs_value x = image(n, 48, 11, 7);
    x = bs_graph_batch_norm_train(n->g, x, variable(n, BS_SHAPE(48)), variable(n, BS_SHAPE(48)), 1e-5f);
    x = bs_graph_conv2d(n->g, bs_graph_relu(n->g, x), variable(n, BS_SHAPE(16, 48, 3, 3)), BS_NO_VALUE, 1, 1);
    x = bs_graph_batch_norm_train(n->g, x, variable(n, BS_SHAPE(16)), variable(n, BS_SHAPE(16)), 1e-3f);
    return bs_graph_sigmoid(n->g, x);
}

/* Cuts at blocks and elsewhere, and channels that fill none. */
static bs_value cuts(struct network *n)
{
    bs_value x = image(n, 64, 6, 7), y = conv(n, x, 24, 1);
    bs_value a = bs_graph_slice_channel(n->g, x, 16, 32), b = bs_graph_slice_channel(n->g, x, 5, 16);
    bs_value both = bs_graph_concat(n->g, bs_graph_concat(n->g, a, y), b);
    return bs_graph_crop(n->g, both, 5, 4);
}

static bs_value windows_and_sizes(struct network *n)
{
    bs_value x = bs_graph_max_pool2d(n->g, image(n, 16, 29, 32), 3);
    bs_value up = bs_graph_resize_bilinear(n->g, x, 40, 20);
    return bs_graph_resize_bilinear(n->g, up, 7, 20);
}

/* Several parts of a 1x1 convolution's pixels, more channels than a chunk. */
static bs_value pointwise(struct network *n)
{
    bs_value x = conv(n, first_image(n, 80, 19, 9), 144, 1);
    return conv(n, x, 3, 1);
}

/* The same gradient into a sum, an activation and biases. */
static bs_value sums(struct network *n)
{
    bs_value x = bs_graph_relu(n->g, image(n, 16, 12, 10));
    bs_value a = conv(n, x, 16, 3), b = conv(n, bs_graph_max_pool2d(n->g, x, 2), 16, 3);
    return bs_graph_concat(n->g, bs_graph_max_pool2d(n->g, a, 2), b);
}

static bs_value deconvolution(struct network *n)
{
    bs_value x = image(n, 32, 5, 6);
    bs_value y =
        bs_graph_conv_transpose2d(n->g, x, variable(n, BS_SHAPE(32, 16, 2, 2)), variable(n, BS_SHAPE(16)), 2);
    y = bs_graph_group_norm(n->g, y, variable(n, BS_SHAPE(16)), variable(n, BS_SHAPE(16)), 4, 1e-5f);
    return bs_graph_relu(n->g, y);
}

#define TRAINING_TEST(name)                                                                                  \
    static void training_in_blocks_through_##name(void **state)                                              \
    {                                                                                                        \
        (void)state;                                                                                         \
        check_training(name, 2e-5);                                                                          \
    }
TRAINING_TEST(two_convolutions)
TRAINING_TEST(a_level)
TRAINING_TEST(read_twice)
TRAINING_TEST(batch_norm)
TRAINING_TEST(cuts)
TRAINING_TEST(windows_and_sizes)
TRAINING_TEST(pointwise)
TRAINING_TEST(sums)
TRAINING_TEST(deconvolution)

static void any_threads_give_the_same_bits(void **state)
{
    (void)state;
    static const build_fn networks[] = {two_convolutions, a_level, batch_norm, sums};
    for (size_t i = 0; i < sizeof networks / sizeof *networks; i++) {
        struct bs_graph *g = training_of(networks[i]);
        same_bits(g, 2, 5);
        bs_graph_destroy(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(training_in_blocks_through_two_convolutions),
        cmocka_unit_test(training_in_blocks_through_a_level),
        cmocka_unit_test(training_in_blocks_through_read_twice),
        cmocka_unit_test(training_in_blocks_through_batch_norm),
        cmocka_unit_test(training_in_blocks_through_cuts),
        cmocka_unit_test(training_in_blocks_through_windows_and_sizes),
        cmocka_unit_test(training_in_blocks_through_pointwise),
        cmocka_unit_test(training_in_blocks_through_sums),
        cmocka_unit_test(training_in_blocks_through_deconvolution),
        cmocka_unit_test(any_threads_give_the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
