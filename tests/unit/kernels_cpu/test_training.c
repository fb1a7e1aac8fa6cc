/* Graphs of training on the CPU: values, losses and gradients are those of the reference, for every operator that such graphs
   have, and a step gives the same bits again. */
#include "compare.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MOST 12

struct network {
    struct bs_graph *g;
    bs_value wrt[MOST];
    int nwrt;
};

static bs_value variable(struct network *n, struct bs_shape shape)
{
    char name[16];
    assert_true(n->nwrt < MOST);
    snprintf(name, sizeof name, "v%d", n->nwrt);
    return n->wrt[n->nwrt++] = bs_graph_input(n->g, name, shape);
}

typedef bs_value (*build_fn)(struct network *n);

static bs_value conv_3x3(struct network *n)
{
    bs_value x = variable(n, BS_SHAPE(2, 5, 9, 11)), w = variable(n, BS_SHAPE(18, 5, 3, 3));
    return bs_graph_conv2d(n->g, x, w, variable(n, BS_SHAPE(18)), 1, 1);
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

/* Outputs: what the network makes, its losses, and the gradient of every variable. */
static struct bs_graph *with_losses(build_fn build)
{
    struct network n = {.g = bs_graph_create()};
    struct bs_err err = {.msg = ""};
    bs_value gradient[MOST];
    assert_non_null(n.g);
    bs_value y = build(&n);
    assert_false(bs_graph_failed(n.g));
    const struct bs_shape shape = bs_graph_node(n.g, y)->shape;
    bs_value target = bs_graph_sigmoid(n.g, bs_graph_input(n.g, "target", shape));
    bs_value seed = bs_graph_input(n.g, "seed", BS_SHAPE(1)), p = bs_graph_sigmoid(n.g, y);
    bs_value loss = bs_graph_add(n.g, bs_graph_dice_loss(n.g, p, target, (int)shape.dim[1], 1e-7f),
                                 bs_graph_bce_loss(n.g, p, target));
    loss = bs_graph_add(n.g, loss, bs_graph_mse_loss(n.g, y, target));
    if (bs_graph_backward(n.g, loss, seed, n.wrt, n.nwrt, gradient, &err) != BS_OK)
        fail_msg("%s", err.msg);
    bs_graph_output(n.g, "y", y);
    bs_graph_output(n.g, "loss", loss);
    bs_graph_output(n.g, "statistics", bs_graph_batch_statistics(n.g, y));
    for (int i = 0; i < n.nwrt; i++) {
        char name[16];
        snprintf(name, sizeof name, "g%d", i);
        bs_graph_output(n.g, name, gradient[i]);
    }
    if (bs_graph_finish(n.g, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return n.g;
}

static int make_inputs(const struct bs_graph *g, struct bs_tensor *in)
{
    struct numbers r = {77};
    int count = 0;
    for (bs_value v = 0; v < bs_graph_node_count(g); v++)
        if (bs_graph_node(g, v)->op == BS_OP_INPUT)
            in[count++] = random_tensor(&r, bs_graph_node(g, v)->shape);
    return count;
}

static void free_all(struct bs_tensor *t, int count)
{
    for (int i = 0; i < count; i++)
        free_tensor(&t[i]);
}

static void check(build_fn build)
{
    struct bs_graph *g = with_losses(build);
    struct filled none;
    struct bs_tensor in[MOST + 2], want[MOST + 3], have[MOST + 3];
    const int ninput = make_inputs(g, in), noutput = bs_graph_output_count(g);
    fill_params(&none, g, 1);
    run_graph(g, in, ninput, want, noutput);
    for (int threads = 1; threads <= 3; threads += 2) {
        run_cpu(g, none.params, (struct how){.threads = threads}, in, have);
        for (int i = 0; i < noutput; i++) {
            double largest = 0, worst = 0;
            for (size_t k = 0; k < bs_shape_count(&want[i].shape); k++) {
                const double d = fabs((double)floats(&have[i])[k] - (double)floats(&want[i])[k]);
                largest = fmax(largest, fabs((double)floats(&want[i])[k]));
                worst = d > worst || isnan(d) ? d : worst;
            }
            assert_true(largest > 0);
            if (!(worst <= 1e-5 * largest))
                fail_msg("output \"%s\", %d threads: off by %g of %g", bs_graph_output_name(g, i), threads,
                         worst, largest);
        }
        free_all(have, noutput);
    }
    free_all(want, noutput);
    free_all(in, ninput);
    free_params(&none);
    bs_graph_destroy(g);
}

#define TRAINING_TEST(name)                                                                                  \
    static void training_through_##name(void **state)                                                        \
    {                                                                                                        \
        (void)state;                                                                                         \
        check(name);                                                                                         \
    }
TRAINING_TEST(conv_3x3)
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
TRAINING_TEST(joining)
TRAINING_TEST(levels)

/* Resuming a run needs it. */
static void a_step_gives_the_same_bits_again(void **state)
{
    (void)state;
    struct bs_graph *g = with_losses(levels);
    struct filled none;
    struct bs_tensor in[MOST + 2], first[MOST + 3], again[MOST + 3];
    const int ninput = make_inputs(g, in), noutput = bs_graph_output_count(g);
    fill_params(&none, g, 1);
    run_cpu(g, none.params, (struct how){.threads = 2}, in, first);
    for (int turn = 0; turn < 5; turn++) {
        run_cpu(g, none.params, (struct how){.threads = 2}, in, again);
        for (int i = 0; i < noutput; i++)
            if (memcmp(first[i].data, again[i].data, bs_shape_count(&first[i].shape) * sizeof(float)) != 0)
                fail_msg("turn %d: output \"%s\" differs", turn, bs_graph_output_name(g, i));
        free_all(again, noutput);
    }
    free_all(first, noutput);
    free_all(in, ninput);
    free_params(&none);
    bs_graph_destroy(g);
}

/* What the CPU lacks is named, and bf16 is refused. */
static void refused_in_words(struct bs_graph *g, enum bs_precision precision, const char *words)
{
    struct bs_err err = {.msg = ""};
    struct bs_device *dev = NULL;
    struct bs_executable *exe = NULL;
    struct filled none;
    fill_params(&none, g, 1);
    assert_int_equal(bs_device_open("cpu", &(struct bs_device_options){.threads = 1}, &dev, &err), BS_OK);
    assert_int_equal(bs_executable_create(dev, g, none.params, precision, &exe, &err), BS_EUNSUPPORTED);
    assert_null(exe);
    assert_non_null(strstr(err.msg, words));
    bs_device_close(dev);
    free_params(&none);
    bs_graph_destroy(g);
}

static void what_it_lacks_is_named(void **state)
{
    (void)state;
    struct bs_graph *g = bs_graph_create();
    bs_value x = bs_graph_input(g, "x", BS_SHAPE(1, 6, 8)), y = bs_graph_input(g, "y", BS_SHAPE(1, 6, 16));
    bs_graph_output(g, "g",
                    bs_graph_apply(g, BS_OP_LINEAR_GRAD_W, (bs_value[]){x, y}, 2, (struct bs_attr){0}));
    assert_int_equal(bs_graph_finish(g, NULL), BS_OK);
    refused_in_words(g, BS_PRECISION_F32, "no linear_grad_w");
    refused_in_words(with_losses(levels), BS_PRECISION_BF16, "trains in f32");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(training_through_conv_3x3),
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
        cmocka_unit_test(training_through_joining),
        cmocka_unit_test(training_through_levels),
        cmocka_unit_test(a_step_gives_the_same_bits_again),
        cmocka_unit_test(what_it_lacks_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
