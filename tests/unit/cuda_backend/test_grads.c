/* Backward operators and losses on the GPU, against the reference backend: those that need no weight. A graph has one input; its slices
   are prediction, target and gradients, so that rows lie apart too. */
#include "tests/unit/cuda_backend/gpu.h"

#include "kernels/op.h"

/* half: allowed in bf16; 0: not in the half precisions. */
static void near_reference(struct bs_graph *g, const char *what, double f32, double half)
{
    struct bs_err err = {.msg = ""};
    if (bs_graph_finish(g, &err) != BS_OK)
        fail_msg("%s: %s", what, err.msg);
    for (int way = 0; way < (half > 0 ? 3 : 1); way++) {
        const struct difference d =
            compare(g, (struct how){.device = "cuda", .bf16 = way == 1, .f16 = way == 2}, 5);
        const double allowed = (way == 0   ? f32
                                : way == 1 ? half
                                           : half / 6) *
                               (d.largest > 1 ? d.largest : 1);
        if (!(d.largest > 0) || !(d.max <= allowed))
            fail_msg("%s, way %d: differs by %g of %g, allowed %g", what, way, d.max, d.largest, allowed);
    }
    bs_graph_destroy(g);
}

static bs_value of_two(struct bs_graph *g, enum bs_op op, bs_value a, bs_value b, struct bs_attr attr)
{
    return bs_graph_apply(g, op, (bs_value[]){a, b}, 2, attr);
}

static void gradients_of_activations(void **state)
{
    (void)state;
    static const enum bs_op ops[] = {BS_OP_RELU_GRAD, BS_OP_SIGMOID_GRAD, BS_OP_GELU_GRAD, BS_OP_SILU_GRAD};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        for (int tokens = 0; tokens < 2; tokens++) {
            struct bs_graph *g = bs_graph_create();
            const bs_value x = bs_graph_input(g, "x", tokens ? BS_SHAPE(2, 5, 14) : BS_SHAPE(2, 14, 3, 5));
            const bs_value half[2] = {
                tokens ? bs_graph_slice_last(g, x, 0, 7) : bs_graph_slice_channel(g, x, 0, 7),
                tokens ? bs_graph_slice_last(g, x, 7, 7) : bs_graph_slice_channel(g, x, 7, 7)};
            bs_graph_output(g, "gx", of_two(g, ops[i], half[0], half[1], (struct bs_attr){.stride = 0}));
            near_reference(g, bs_op_def(ops[i])->name, 1e-5, 0.05);
        }
}

/* Pooling in float32 alone: of rounded values another pixel may be the largest. */
static void gradients_of_pooling_and_resizing(void **state)
{
    (void)state;
    struct bs_graph *g = bs_graph_create();
    bs_value x = bs_graph_input(g, "x", BS_SHAPE(2, 6, 4, 6));
    const bs_value gy = bs_graph_max_pool2d(g, x, 2);
    bs_graph_output(g, "gx", of_two(g, BS_OP_MAX_POOL2D_GRAD, x, gy, (struct bs_attr){.kernel = 2}));
    near_reference(g, "max pooling", 1e-5, 0);
    static const int64_t small[][2] = {{2, 3}, {8, 12}, {3, 11}};
    for (size_t i = 0; i < sizeof small / sizeof *small; i++) {
        g = bs_graph_create();
        x = bs_graph_input(g, "x", BS_SHAPE(2, 3, 4, 6));
        const struct bs_attr attr = {.shape = BS_SHAPE(2, 3, small[i][0], small[i][1])};
        bs_graph_output(g, "gx", bs_graph_apply(g, BS_OP_RESIZE_BILINEAR_GRAD, &x, 1, attr));
        near_reference(g, "resizing", 1e-5, 0.05);
    }
}

/* The loss itself is the gradient that its gradient is scaled with. */
static void losses_and_their_gradients(void **state)
{
    (void)state;
    static const struct {
        enum bs_op loss, grad;
        int groups;
    } losses[] = {{BS_OP_DICE_LOSS, BS_OP_DICE_LOSS_GRAD, 1},
                  {BS_OP_DICE_LOSS, BS_OP_DICE_LOSS_GRAD, 3},
                  {BS_OP_BCE_LOSS, BS_OP_BCE_LOSS_GRAD, 0},
                  {BS_OP_MSE_LOSS, BS_OP_MSE_LOSS_GRAD, 0}};
    for (size_t i = 0; i < sizeof losses / sizeof *losses; i++) {
        struct bs_graph *g = bs_graph_create();
        const bs_value x = bs_graph_input(g, "x", BS_SHAPE(2, 6, 5, 7));
        const bs_value p = bs_graph_sigmoid(g, bs_graph_slice_channel(g, x, 0, 3)),
                       t = bs_graph_sigmoid(g, bs_graph_slice_channel(g, x, 3, 3));
        const struct bs_attr attr = {.groups = losses[i].groups, .eps = losses[i].groups ? 1e-7f : 0};
        const bs_value loss = of_two(g, losses[i].loss, p, t, attr);
        bs_graph_output(g, "loss", loss);
        bs_graph_output(g, "gp", bs_graph_apply(g, losses[i].grad, (bs_value[]){p, t, loss}, 3, attr));
        near_reference(g, bs_op_def(losses[i].loss)->name, 1e-5, 0.05);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(gradients_of_activations, no_findings),
        cmocka_unit_test_teardown(gradients_of_pooling_and_resizing, no_findings),
        cmocka_unit_test_teardown(losses_and_their_gradients, no_findings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
