/* Mixed precision: what of a training graph is stored with 16 bits, and that gradients through smooth operators are off by rounding
   alone. */
#include "kernels_support.h"

#include <math.h>
#include <stdlib.h>

#define ROWS     32
#define FEATURES 24

struct training {
    struct bs_graph *g;
    bs_value x, w, bias, t, hidden, y, loss, grad[2];
};

/* mean (silu(x w + bias) w' - t)^2 and the gradients of w and bias. */
static struct training training(void)
{
    struct training n = {.g = bs_graph_create()};
    struct bs_err err = {.msg = ""};
    n.x = bs_graph_input(n.g, "x", BS_SHAPE(ROWS, FEATURES));
    n.w = bs_graph_input(n.g, "w", BS_SHAPE(FEATURES, FEATURES));
    n.bias = bs_graph_input(n.g, "bias", BS_SHAPE(FEATURES));
    const bs_value w2 = bs_graph_input(n.g, "w2", BS_SHAPE(FEATURES, FEATURES));
    const bs_value seed = bs_graph_input(n.g, "seed", BS_SHAPE(1));
    n.hidden = bs_graph_silu(n.g, bs_graph_linear(n.g, n.x, n.w, n.bias));
    n.y = bs_graph_linear(n.g, n.hidden, w2, BS_NO_VALUE);
    bs_graph_full(n.g, true);
    n.t = bs_graph_input(n.g, "t", BS_SHAPE(ROWS, FEATURES));
    n.loss = bs_graph_mse_loss(n.g, n.y, n.t);
    bs_graph_full(n.g, false);
    if (bs_graph_backward(n.g, n.loss, seed, (bs_value[]){n.w, n.bias}, 2, n.grad, &err) != BS_OK)
        fail_msg("%s", err.msg);
    bs_graph_output(n.g, "loss", n.loss);
    bs_graph_output(n.g, "of w", n.grad[0]);
    bs_graph_output(n.g, "of bias", n.grad[1]);
    if (bs_graph_finish(n.g, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return n;
}

static void activations_are_narrow_and_what_sums_is_not(void **state)
{
    (void)state;
    struct training n = training();
    const int count = bs_graph_node_count(n.g);
    bool *narrow = calloc((size_t)count, sizeof *narrow);
    int between = 0;
    assert_non_null(narrow);
    bs_graph_narrow(n.g, narrow);
    assert_true(narrow[n.x] && narrow[n.w] && narrow[n.hidden] && narrow[n.y]);
    assert_false(narrow[n.bias] || narrow[n.t] || narrow[n.loss] || narrow[n.grad[0]] || narrow[n.grad[1]]);
    for (bs_value v = n.loss + 1; v < count; v++) {
        const struct bs_node *node = bs_graph_node(n.g, v);
        if (node->op == BS_OP_MSE_LOSS_GRAD)
            assert_false(narrow[v]);
        between += node->op == BS_OP_SILU_GRAD && narrow[v];
    }
    assert_int_equal(between, 1);
    free(narrow);
    bs_graph_destroy(n.g);
}

/* A value is off by at most 2^-9 (bf16) or 2^-12 (f16) of itself; five of them in a row, and sums that hide none. */
static void gradients_are_off_by_rounding(void **state)
{
    (void)state;
    struct training n = training();
    struct numbers r = {3};
    struct bs_tensor in[] = {
        random_tensor(&r, BS_SHAPE(ROWS, FEATURES)), random_tensor(&r, BS_SHAPE(FEATURES, FEATURES)),
        random_tensor(&r, BS_SHAPE(FEATURES)),       random_tensor(&r, BS_SHAPE(FEATURES, FEATURES)),
        tensor_of(BS_SHAPE(1), (const float[]){1}),  random_tensor(&r, BS_SHAPE(ROWS, FEATURES))};
    struct bs_tensor out[BS_PRECISIONS][3];
    static const double most[] = {[BS_PRECISION_BF16] = 5 * 0x1p-9, [BS_PRECISION_F16] = 5 * 0x1p-12};
    struct named_tensors none = {.count = 0};
    struct bs_params *params = params_of(&none);
    struct bs_device *dev = NULL;
    struct bs_err err = {.msg = ""};
    assert_int_equal(bs_device_open("ref", NULL, &dev, &err), BS_OK);
    for (int p = 0; p < BS_PRECISIONS; p++) {
        struct bs_executable *exe = NULL;
        for (int i = 0; i < 3; i++)
            out[p][i] = new_tensor(bs_graph_node(n.g, bs_graph_output_value(n.g, i))->shape);
        if (bs_executable_create(dev, n.g, params, (enum bs_precision)p, &exe, &err) != BS_OK ||
            bs_executable_run(exe, in, 6, out[p], 3, NULL, &err) != BS_OK)
            fail_msg("%s", err.msg);
        bs_executable_destroy(exe);
        for (int i = 0; i < 3 && p > 0; i++) {
            double apart = 0, size = 0;
            for (size_t k = 0; k < bs_shape_count(&out[0][i].shape); k++) {
                apart += pow((double)floats(&out[p][i])[k] - (double)floats(&out[0][i])[k], 2);
                size += pow((double)floats(&out[0][i])[k], 2);
            }
            if (!(sqrt(apart / size) > 1e-7 && sqrt(apart / size) < most[p]))
                fail_msg("%s, output %d: off by %g", bs_precision_name((enum bs_precision)p), i,
                         sqrt(apart / size));
        }
    }
    for (int p = 0; p < BS_PRECISIONS; p++)
        for (int i = 0; i < 3; i++)
            free_tensor(&out[p][i]);
    for (int i = 0; i < 6; i++)
        free_tensor(&in[i]);
    bs_device_close(dev);
    bs_params_unref(params);
    bs_graph_destroy(n.g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(activations_are_narrow_and_what_sums_is_not),
        cmocka_unit_test(gradients_are_off_by_rounding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
