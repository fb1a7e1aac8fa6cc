/* Graphs of training on the CPU: values, losses and gradients are those of the reference, for every operator over images, and
   a step gives the same bits again. (Over tokens: test_training_tokens.c.) */
#include "training_graphs.h"

#include <string.h>

static bs_value conv_3x3(struct network *n)
{
    bs_value x = variable(n, BS_SHAPE(2, 5, 9, 11)), w = variable(n, BS_SHAPE(18, 5, 3, 3));
    return bs_graph_conv2d(n->g, x, w, variable(n, BS_SHAPE(18)), 1, 1);
}

/* By Winograd: channels in whole blocks, more than a chunk of them, tiles that stick out. */
static bs_value conv_winograd(struct network *n)
{
    bs_value x = variable(n, BS_SHAPE(2, 80, 13, 6)), w = variable(n, BS_SHAPE(96, 80, 3, 3));
    return bs_graph_scale(n->g, bs_graph_conv2d(n->g, x, w, variable(n, BS_SHAPE(96)), 1, 1), 0.1f);
}

/* Several runs of tiles, which several tasks share. */
static bs_value conv_winograd_large(struct network *n)
{
    bs_value x = variable(n, BS_SHAPE(3, 16, 41, 37));
    bs_value y = bs_graph_conv2d(n->g, x, variable(n, BS_SHAPE(32, 16, 3, 3)), BS_NO_VALUE, 1, 1);
    return bs_graph_scale(n->g, y, 0.1f);
}

static bs_value conv_1x1(struct network *n)
{
    bs_value x = variable(n, BS_SHAPE(2, 33, 6, 7));
    return bs_graph_conv2d(n->g, x, variable(n, BS_SHAPE(3, 33, 1, 1)), BS_NO_VALUE, 1, 0);
}

/* The last row and column of the image are not read: 8 - 3 is no multiple of 2. */
static bs_value conv_strided(struct network *n)
{
    bs_value x = variable(n, BS_SHAPE(1, 3, 8, 10)), w = variable(n, BS_SHAPE(4, 3, 3, 3));
    return bs_graph_conv2d(n->g, x, w, variable(n, BS_SHAPE(4)), 2, 0);
}

static bs_value conv_5x2(struct network *n)
{
    bs_value x = variable(n, BS_SHAPE(1, 1, 12, 7));
    return bs_graph_conv2d(n->g, x, variable(n, BS_SHAPE(2, 1, 5, 2)), BS_NO_VALUE, 1, 2);
}

static bs_value conv_transposed(struct network *n)
{
    bs_value x = variable(n, BS_SHAPE(2, 7, 5, 6)), w = variable(n, BS_SHAPE(7, 20, 2, 2));
    return bs_graph_conv_transpose2d(n->g, x, w, variable(n, BS_SHAPE(20)), 2);
}

static bs_value instance_norm(struct network *n)
{
    return bs_graph_instance_norm(n->g, variable(n, BS_SHAPE(2, 3, 7, 9)), 1e-5f);
}

static bs_value group_norm(struct network *n)
{
    bs_value x = variable(n, BS_SHAPE(2, 6, 4, 5)), w = variable(n, BS_SHAPE(6));
    return bs_graph_group_norm(n->g, x, w, variable(n, BS_SHAPE(6)), 3, 1e-5f);
}

static bs_value batch_norm_train(struct network *n)
{
    bs_value x = variable(n, BS_SHAPE(3, 4, 5, 3)), w = variable(n, BS_SHAPE(4));
    return bs_graph_batch_norm_train(n->g, x, w, variable(n, BS_SHAPE(4)), 1e-5f);
}

/* More values than a task takes. */
static bs_value elementwise(struct network *n)
{
    const struct bs_shape shape = BS_SHAPE(1, 3, 101, 120);
    bs_value a = variable(n, shape), b = variable(n, shape);
    bs_value x = bs_graph_add(n->g, bs_graph_relu(n->g, a), bs_graph_mul(n->g, a, b));
    return bs_graph_sigmoid(n->g, bs_graph_scale(n->g, x, -0.7f));
}

static bs_value pooling(struct network *n)
{
    return bs_graph_max_pool2d(n->g, variable(n, BS_SHAPE(2, 3, 7, 9)), 2);
}

static bs_value resizing(struct network *n)
{
    bs_value up = bs_graph_resize_bilinear(n->g, variable(n, BS_SHAPE(2, 3, 5, 4)), 10, 8);
    return bs_graph_resize_bilinear(n->g, up, 7, 3);
}

/* Rows of more than two vectors, whole ones and not, are doubled by themselves. */
static bs_value doubling(struct network *n)
{
    bs_value up = bs_graph_resize_bilinear(n->g, variable(n, BS_SHAPE(1, 2, 3, 35)), 6, 70);
    return bs_graph_resize_bilinear(n->g, up, 12, 140);
}

/* More pixels than are summed in one go, the last ones no whole vector. */
static bs_value large_norms(struct network *n)
{
    bs_value x = bs_graph_instance_norm(n->g, variable(n, BS_SHAPE(2, 2, 51, 43)), 1e-5f);
    return bs_graph_batch_norm_train(n->g, x, variable(n, BS_SHAPE(2)), variable(n, BS_SHAPE(2)), 1e-5f);
}

static bs_value joining(struct network *n)
{
    bs_value a = variable(n, BS_SHAPE(2, 3, 5, 6)),
             both = bs_graph_concat(n->g, a, variable(n, BS_SHAPE(2, 4, 5, 6)));
    return bs_graph_crop(n->g, bs_graph_slice_channel(n->g, both, 2, 3), 4, 5);
}

/* Down, up and across, as a U-Net does. */
static bs_value levels(struct network *n)
{
    struct bs_graph *g = n->g;
    bs_value x = variable(n, BS_SHAPE(2, 2, 12, 20));
    x = bs_graph_instance_norm(g, x, 1e-5f);
    x = bs_graph_relu(
        g, bs_graph_conv2d(g, x, variable(n, BS_SHAPE(17, 2, 3, 3)), variable(n, BS_SHAPE(17)), 1, 1));
    bs_value low = bs_graph_max_pool2d(g, x, 2);
    low = bs_graph_relu(
        g, bs_graph_conv2d(g, low, variable(n, BS_SHAPE(8, 17, 3, 3)), variable(n, BS_SHAPE(8)), 1, 1));
    bs_value up =
        bs_graph_conv_transpose2d(g, low, variable(n, BS_SHAPE(8, 5, 2, 2)), variable(n, BS_SHAPE(5)), 2);
    x = bs_graph_concat(g, x, up);
    x = bs_graph_conv2d(g, x, variable(n, BS_SHAPE(3, 22, 1, 1)), variable(n, BS_SHAPE(3)), 1, 0);
    return bs_graph_sigmoid(g, x);
}

#define TRAINING_TEST(name)                                                                                  \
    static void training_through_##name(void **state)                                                        \
    {                                                                                                        \
        (void)state;                                                                                         \
        check_training(name, 2e-5);                                                                          \
    }
TRAINING_TEST(conv_3x3)
TRAINING_TEST(conv_winograd)
TRAINING_TEST(conv_winograd_large)
TRAINING_TEST(conv_1x1)
TRAINING_TEST(conv_strided)
TRAINING_TEST(conv_5x2)
TRAINING_TEST(conv_transposed)
TRAINING_TEST(instance_norm)
TRAINING_TEST(group_norm)
TRAINING_TEST(batch_norm_train)
TRAINING_TEST(elementwise)
TRAINING_TEST(pooling)
TRAINING_TEST(resizing)
TRAINING_TEST(doubling)
TRAINING_TEST(large_norms)
TRAINING_TEST(joining)
TRAINING_TEST(levels)

/* Resuming a run needs it. */
static void a_step_gives_the_same_bits_again(void **state)
{
    (void)state;
    struct bs_graph *g = training_of(levels);
    same_bits(g, 2, 2);
    bs_graph_destroy(g);
    g = training_of(conv_winograd_large);
    same_bits(g, 2, 5); /* whatever the threads */
    bs_graph_destroy(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(training_through_conv_3x3),
        cmocka_unit_test(training_through_conv_winograd),
        cmocka_unit_test(training_through_conv_winograd_large),
        cmocka_unit_test(training_through_conv_1x1),
        cmocka_unit_test(training_through_conv_strided),
        cmocka_unit_test(training_through_conv_5x2),
        cmocka_unit_test(training_through_conv_transposed),
        cmocka_unit_test(training_through_instance_norm),
        cmocka_unit_test(training_through_group_norm),
        cmocka_unit_test(training_through_batch_norm_train),
        cmocka_unit_test(training_through_elementwise),
        cmocka_unit_test(training_through_pooling),
        cmocka_unit_test(training_through_resizing),
        cmocka_unit_test(training_through_doubling),
        cmocka_unit_test(training_through_large_norms),
        cmocka_unit_test(training_through_joining),
        cmocka_unit_test(training_through_levels),
        cmocka_unit_test(a_step_gives_the_same_bits_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
