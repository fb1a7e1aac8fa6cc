/* Gradients of the backward graphs agree with finite differences of the forward ones, operator by operator and through
   the blocks of a U-Net; gradients of values used twice are added; what cannot be differentiated is said by name.

   Every case is a graph y(inputs). With a random seed gy, the analytic gradient of sum(gy y) is compared with central
   differences at two step widths, extrapolated (Richardson), so that what is left is rounding. */
#include "kernels_support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_WRT 8

struct problem {
    struct bs_graph *g;
    bs_value wrt[MAX_WRT];
    int nwrt;
    bs_value kink; /* a value whose elements must stay clear of zero (before a ReLU), or BS_NO_VALUE */
};

static bs_value variable(struct problem *p, struct bs_shape shape)
{
    char name[16];
    snprintf(name, sizeof name, "v%d", p->nwrt);
    return p->wrt[p->nwrt++] = bs_graph_input(p->g, name, shape);
}

typedef bs_value (*build_fn)(struct problem *p);

static bs_value conv(struct problem *p)
{
    bs_value x = variable(p, BS_SHAPE(2, 2, 5, 6));
    return bs_graph_conv2d(p->g, x, variable(p, BS_SHAPE(3, 2, 3, 3)), variable(p, BS_SHAPE(3)), 1, 1);
}

static bs_value conv_strided(struct problem *p)
{
    bs_value x = variable(p, BS_SHAPE(1, 2, 7, 6));
    return bs_graph_conv2d(p->g, x, variable(p, BS_SHAPE(2, 2, 3, 2)), variable(p, BS_SHAPE(2)), 2, 1);
}

static bs_value conv_transposed(struct problem *p)
{
    bs_value x = variable(p, BS_SHAPE(2, 3, 3, 2));
    return bs_graph_conv_transpose2d(p->g, x, variable(p, BS_SHAPE(3, 2, 2, 2)), variable(p, BS_SHAPE(2)), 2);
}

static bs_value instance_norm(struct problem *p)
{
    return bs_graph_instance_norm(p->g, variable(p, BS_SHAPE(2, 2, 3, 4)), 1e-5f);
}

static bs_value relu(struct problem *p)
{
    p->kink = variable(p, BS_SHAPE(1, 2, 3, 4));
    return bs_graph_relu(p->g, p->kink);
}

static bs_value sigmoid(struct problem *p)
{
    return bs_graph_sigmoid(p->g, variable(p, BS_SHAPE(1, 2, 3, 4)));
}

static bs_value max_pool(struct problem *p)
{
    return bs_graph_max_pool2d(p->g, variable(p, BS_SHAPE(1, 2, 5, 4)), 2);
}

static bs_value bilinear(struct problem *p)
{
    return bs_graph_resize_bilinear(p->g, variable(p, BS_SHAPE(1, 2, 3, 4)), 6, 7);
}

static bs_value concat(struct problem *p)
{
    bs_value a = variable(p, BS_SHAPE(2, 2, 2, 3));
    return bs_graph_concat(p->g, a, variable(p, BS_SHAPE(2, 3, 2, 3)));
}

static bs_value add(struct problem *p)
{
    bs_value a = variable(p, BS_SHAPE(2, 3));
    return bs_graph_add(p->g, a, variable(p, BS_SHAPE(2, 3)));
}

static bs_value mul(struct problem *p)
{
    bs_value a = variable(p, BS_SHAPE(2, 3));
    return bs_graph_mul(p->g, a, variable(p, BS_SHAPE(2, 3)));
}

/* x x + x: one value used three times */
static bs_value used_again(struct problem *p)
{
    bs_value x = variable(p, BS_SHAPE(4));
    return bs_graph_add(p->g, bs_graph_mul(p->g, x, x), x);
}

/* The block of the issue: norm, convolution, ReLU. */
static bs_value norm_conv_relu(struct problem *p)
{
    bs_value x = bs_graph_instance_norm(p->g, variable(p, BS_SHAPE(1, 2, 4, 4)), 1e-5f);
    p->kink = bs_graph_conv2d(p->g, x, variable(p, BS_SHAPE(2, 2, 3, 3)), variable(p, BS_SHAPE(2)), 1, 1);
    return bs_graph_relu(p->g, p->kink);
}

/* One level of a U-Net: the skip joins what was pooled, computed and upsampled, both ways of upsampling. */
static bs_value unet_level(struct problem *p)
{
    struct bs_graph *g = p->g;
    bs_value x = variable(p, BS_SHAPE(1, 2, 4, 4)), skip = bs_graph_sigmoid(g, x);
    bs_value low = bs_graph_conv2d(g, bs_graph_max_pool2d(g, skip, 2), variable(p, BS_SHAPE(3, 2, 3, 3)),
                                   variable(p, BS_SHAPE(3)), 1, 1);
    low = bs_graph_instance_norm(g, low, 1e-5f);
    bs_value up =
        bs_graph_conv_transpose2d(g, low, variable(p, BS_SHAPE(3, 2, 2, 2)), variable(p, BS_SHAPE(2)), 2);
    bs_value smooth = bs_graph_conv2d(g, bs_graph_resize_bilinear(g, low, 4, 4),
                                      variable(p, BS_SHAPE(2, 3, 1, 1)), BS_NO_VALUE, 1, 0);
    bs_value joined = bs_graph_concat(g, skip, bs_graph_add(g, up, smooth));
    return bs_graph_sigmoid(g,
                            bs_graph_conv2d(g, joined, variable(p, BS_SHAPE(1, 4, 3, 3)), BS_NO_VALUE, 1, 1));
}

/* Compiled once, run many times. */
struct runner {
    struct bs_device *dev;
    struct bs_params *params;
    struct named_tensors none;
    struct bs_executable *exe;
    struct bs_tensor in[MAX_WRT + 1], out[MAX_WRT + 2];
    int nin, nout;
};

static void start(struct runner *r, struct bs_graph *g, struct numbers *random)
{
    struct bs_err err = {.msg = ""};
    memset(r, 0, sizeof *r);
    r->params = params_of(&r->none);
    if (bs_graph_finish(g, &err) != BS_OK || bs_device_open("ref", NULL, &r->dev, &err) != BS_OK ||
        bs_executable_create(r->dev, g, r->params, BS_PRECISION_F32, &r->exe, &err) != BS_OK)
        fail_msg("%s", err.msg);
    for (int v = 0; v < bs_graph_node_count(g); v++)
        if (bs_graph_node(g, v)->op == BS_OP_INPUT)
            r->in[r->nin++] = random_tensor(random, bs_graph_node(g, v)->shape);
    for (r->nout = 0; r->nout < bs_graph_output_count(g); r->nout++)
        r->out[r->nout] = new_tensor(bs_graph_node(g, bs_graph_output_value(g, r->nout))->shape);
}

static void run(struct runner *r)
{
    struct bs_err err = {.msg = ""};
    if (bs_executable_run(r->exe, r->in, r->nin, r->out, r->nout, NULL, &err) != BS_OK)
        fail_msg("%s", err.msg);
}

static void stop(struct runner *r)
{
    for (int i = 0; i < r->nin; i++)
        free_tensor(&r->in[i]);
    for (int i = 0; i < r->nout; i++)
        free_tensor(&r->out[i]);
    bs_executable_destroy(r->exe);
    bs_device_close(r->dev);
    bs_params_unref(r->params);
}

/* sum(gy y) with one element of one input moved; y is output 0 and gy the last input. */
static double moved(struct runner *r, float *element, double step)
{
    float before = *element;
    *element = (float)((double)before + step);
    run(r);
    *element = before;
    double sum = 0;
    for (size_t i = 0; i < bs_shape_count(&r->out[0].shape); i++)
        sum += (double)floats(&r->out[0])[i] * (double)floats(&r->in[r->nin - 1])[i];
    return sum;
}

static double smallest(const struct bs_tensor *t)
{
    double m = INFINITY;
    for (size_t i = 0; i < bs_shape_count(&t->shape); i++)
        m = fmin(m, fabs((double)floats(t)[i]));
    return m;
}

/* Outputs: y, the gradients, and (when there is one) the value that must stay clear of zero. */
static void start_problem(struct runner *r, struct problem *p, build_fn build, uint64_t seed)
{
    struct bs_err err = {.msg = ""};
    *p = (struct problem){.g = bs_graph_create(), .kink = BS_NO_VALUE};
    bs_value y = build(p), gradient[MAX_WRT];
    assert_false(bs_graph_failed(p->g));
    bs_value gy = bs_graph_input(p->g, "gy", bs_graph_node(p->g, y)->shape);
    if (bs_graph_backward(p->g, y, gy, p->wrt, p->nwrt, gradient, &err) != BS_OK)
        fail_msg("%s", err.msg);
    bs_graph_output(p->g, "y", y);
    for (int i = 0; i < p->nwrt; i++) {
        char name[16];
        snprintf(name, sizeof name, "g%d", i);
        assert_true(gradient[i] != BS_NO_VALUE);
        bs_graph_output(p->g, name, gradient[i]);
    }
    if (p->kink != BS_NO_VALUE)
        bs_graph_output(p->g, "kink", p->kink);
    start(r, p->g, &(struct numbers){seed});
}

static void check_gradients(build_fn build)
{
    struct problem p;
    struct runner r;
    /* a ReLU has no derivative at zero: take the first seed that keeps away from it */
    for (uint64_t seed = 1;; seed++) {
        assert_true(seed < 200);
        start_problem(&r, &p, build, seed);
        run(&r);
        if (p.kink == BS_NO_VALUE || smallest(&r.out[r.nout - 1]) > 0.03)
            break;
        stop(&r);
        bs_graph_destroy(p.g);
    }
    struct bs_tensor analytic[MAX_WRT];
    double largest = 0;
    for (int i = 0; i < p.nwrt; i++) {
        analytic[i] = tensor_of(r.out[1 + i].shape, floats(&r.out[1 + i]));
        for (size_t e = 0; e < bs_shape_count(&analytic[i].shape); e++)
            largest = fmax(largest, fabs((double)floats(&analytic[i])[e]));
    }
    assert_true(largest > 1e-3);
    double h = 0x1p-7;
    for (int i = 0; i < p.nwrt; i++) {
        assert_true(bs_shape_equal(&analytic[i].shape, &r.in[i].shape));
        for (size_t e = 0; e < bs_shape_count(&analytic[i].shape); e++) {
            float *x = floats(&r.in[i]) + e;
            double wide = (moved(&r, x, h) - moved(&r, x, -h)) / (2 * h);
            double narrow = (moved(&r, x, h / 2) - moved(&r, x, -h / 2)) / h;
            double numeric = (4 * narrow - wide) / 3, have = (double)floats(&analytic[i])[e];
            if (fabs(numeric - have) > 1e-3 * largest)
                fail_msg("input %d element %zu: gradient %.7g, finite difference %.7g", i, e, have, numeric);
        }
        free_tensor(&analytic[i]);
    }
    stop(&r);
    bs_graph_destroy(p.g);
}

#define GRADIENT_TEST(name)                                                                                  \
    static void gradient_of_##name(void **state)                                                             \
    {                                                                                                        \
        (void)state;                                                                                         \
        check_gradients(name);                                                                               \
    }
GRADIENT_TEST(conv)
GRADIENT_TEST(conv_strided)
GRADIENT_TEST(conv_transposed)
GRADIENT_TEST(instance_norm)
GRADIENT_TEST(relu)
GRADIENT_TEST(sigmoid)
GRADIENT_TEST(max_pool)
GRADIENT_TEST(bilinear)
GRADIENT_TEST(concat)
GRADIENT_TEST(add)
GRADIENT_TEST(mul)
GRADIENT_TEST(used_again)
GRADIENT_TEST(norm_conv_relu)
GRADIENT_TEST(unet_level)

static void what_y_does_not_depend_on_has_no_gradient(void **state)
{
    (void)state;
    struct bs_graph *g = bs_graph_create();
    struct bs_err err;
    bs_value x = bs_graph_input(g, "x", BS_SHAPE(3)), other = bs_graph_input(g, "other", BS_SHAPE(3));
    bs_value y = bs_graph_relu(g, x), gy = bs_graph_input(g, "gy", BS_SHAPE(3)),
             after = bs_graph_sigmoid(g, y);
    bs_value grad[4], wrt[] = {x, other, y, after};
    assert_int_equal(bs_graph_backward(g, y, gy, wrt, 4, grad, &err), BS_OK);
    assert_true(grad[0] != BS_NO_VALUE);
    assert_int_equal(grad[1], BS_NO_VALUE);
    assert_int_equal(grad[2], gy);
    assert_int_equal(grad[3], BS_NO_VALUE);
    bs_graph_destroy(g);
}

static void an_operator_without_a_rule_is_named(void **state)
{
    (void)state;
    struct bs_graph *g = bs_graph_create();
    struct bs_err err;
    bs_value x = bs_graph_input(g, "x", BS_SHAPE(1, 4, 2, 2)), w = bs_graph_input(g, "w", BS_SHAPE(4));
    bs_value y = bs_graph_relu(g, bs_graph_group_norm(g, x, w, w, 2, 1e-5f));
    bs_value gy = bs_graph_input(g, "gy", BS_SHAPE(1, 4, 2, 2)), grad[1];
    assert_int_equal(bs_graph_backward(g, y, gy, &x, 1, grad, &err), BS_EUNSUPPORTED);
    assert_string_equal(err.msg, "group_norm has no backward rule");
    /* but off the path it does no harm */
    bs_value z = bs_graph_mul(g, y, y), gz = gy;
    assert_int_equal(bs_graph_backward(g, z, gz, &y, 1, grad, &err), BS_OK);
    bs_graph_destroy(g);
}

static void wrong_arguments_are_refused(void **state)
{
    (void)state;
    struct bs_graph *g = bs_graph_create();
    struct bs_err err;
    bs_value x = bs_graph_input(g, "x", BS_SHAPE(3)), gy = bs_graph_input(g, "gy", BS_SHAPE(4)), grad[1];
    assert_int_equal(bs_graph_backward(g, x, gy, &x, 1, grad, &err), BS_EINVAL);
    assert_string_equal(err.msg, "the gradient seed is 4 but the value is 3");
    assert_int_equal(bs_graph_backward(g, 99, gy, &x, 1, grad, &err), BS_EINVAL);
    bs_value wrong = -7;
    assert_int_equal(bs_graph_backward(g, x, x, &wrong, 1, grad, &err), BS_EINVAL);
    (void)bs_graph_add(g, x, gy); /* building has failed: backward reports that */
    assert_int_equal(bs_graph_backward(g, x, x, &x, 1, grad, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "add"));
    bs_graph_destroy(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradient_of_conv),
        cmocka_unit_test(gradient_of_conv_strided),
        cmocka_unit_test(gradient_of_conv_transposed),
        cmocka_unit_test(gradient_of_instance_norm),
        cmocka_unit_test(gradient_of_relu),
        cmocka_unit_test(gradient_of_sigmoid),
        cmocka_unit_test(gradient_of_max_pool),
        cmocka_unit_test(gradient_of_bilinear),
        cmocka_unit_test(gradient_of_concat),
        cmocka_unit_test(gradient_of_add),
        cmocka_unit_test(gradient_of_mul),
        cmocka_unit_test(gradient_of_used_again),
        cmocka_unit_test(gradient_of_norm_conv_relu),
        cmocka_unit_test(gradient_of_unet_level),
        cmocka_unit_test(what_y_does_not_depend_on_has_no_gradient),
        cmocka_unit_test(an_operator_without_a_rule_is_named),
        cmocka_unit_test(wrong_arguments_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
