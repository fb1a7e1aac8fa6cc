/* Gradients of the backward graphs agree with finite differences of the forward ones, for operators over images and through
   the blocks of a U-Net; gradients of values used twice are added; what cannot be differentiated is said by name. */
#include "gradients.h"

#include <string.h>

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

static bs_value conv_transposed_plain(struct problem *p)
{
    bs_value x = variable(p, BS_SHAPE(1, 2, 2, 3));
    return bs_graph_conv_transpose2d(p->g, x, variable(p, BS_SHAPE(2, 3, 2, 2)), BS_NO_VALUE, 2);
}

static bs_value group_norm(struct problem *p)
{
    bs_value x = variable(p, BS_SHAPE(2, 4, 2, 3)), w = variable(p, BS_SHAPE(4));
    return bs_graph_group_norm(p->g, x, w, variable(p, BS_SHAPE(4)), 2, 1e-5f);
}

static bs_value batch_norm(struct problem *p)
{
    bs_value x = variable(p, BS_SHAPE(2, 3, 2, 2)), w = variable(p, BS_SHAPE(3)),
             b = variable(p, BS_SHAPE(3));
    bs_value var = bs_graph_sigmoid(p->g, constant(p, BS_SHAPE(3)));
    return bs_graph_batch_norm(p->g, x, w, b, constant(p, BS_SHAPE(3)), var, 1e-5f);
}

static bs_value batch_norm_train(struct problem *p)
{
    bs_value x = variable(p, BS_SHAPE(2, 3, 2, 3)), w = variable(p, BS_SHAPE(3));
    return bs_graph_batch_norm_train(p->g, x, w, variable(p, BS_SHAPE(3)), 1e-5f);
}

static bs_value crop(struct problem *p)
{
    return bs_graph_crop(p->g, variable(p, BS_SHAPE(2, 2, 3, 4)), 2, 3);
}

static bs_value slice_channel(struct problem *p)
{
    return bs_graph_slice_channel(p->g, variable(p, BS_SHAPE(2, 4, 2, 2)), 1, 2);
}

/* Predictions and targets in (0,1), as a network and its labels make them. */
static bs_value fraction(struct problem *p, bs_value v)
{
    return bs_graph_sigmoid(p->g, v);
}

static bs_value dice_per_channel(struct problem *p)
{
    bs_value prediction = fraction(p, variable(p, BS_SHAPE(2, 3, 2, 2)));
    return bs_graph_dice_loss(p->g, prediction, fraction(p, variable(p, BS_SHAPE(2, 3, 2, 2))), 3, 1e-7f);
}

static bs_value dice_of_all(struct problem *p)
{
    bs_value prediction = fraction(p, variable(p, BS_SHAPE(2, 3, 2, 2)));
    return bs_graph_dice_loss(p->g, prediction, fraction(p, variable(p, BS_SHAPE(2, 3, 2, 2))), 1, 1e-7f);
}

/* Below eps the denominator is constant. */
static bs_value dice_bounded(struct problem *p)
{
    bs_value prediction = fraction(p, variable(p, BS_SHAPE(1, 1, 2, 2)));
    return bs_graph_dice_loss(p->g, prediction, fraction(p, variable(p, BS_SHAPE(1, 1, 2, 2))), 1, 5.0f);
}

static bs_value cross_entropy(struct problem *p)
{
    bs_value prediction = fraction(p, variable(p, BS_SHAPE(2, 1, 2, 3)));
    return bs_graph_bce_loss(p->g, prediction, fraction(p, constant(p, BS_SHAPE(2, 1, 2, 3))));
}

static bs_value squared_error(struct problem *p)
{
    bs_value prediction = variable(p, BS_SHAPE(2, 1, 2, 3));
    return bs_graph_mse_loss(p->g, prediction, variable(p, BS_SHAPE(2, 1, 2, 3)));
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
GRADIENT_TEST(conv_transposed_plain)
GRADIENT_TEST(group_norm)
GRADIENT_TEST(batch_norm)
GRADIENT_TEST(batch_norm_train)
GRADIENT_TEST(crop)
GRADIENT_TEST(slice_channel)
GRADIENT_TEST(dice_per_channel)
GRADIENT_TEST(dice_of_all)
GRADIENT_TEST(dice_bounded)
GRADIENT_TEST(cross_entropy)
GRADIENT_TEST(squared_error)
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

static void what_has_no_gradient_is_named(void **state)
{
    (void)state;
    struct bs_graph *g = bs_graph_create();
    struct bs_err err;
    bs_value x = bs_graph_input(g, "x", BS_SHAPE(1, 4, 2, 2)), w = bs_graph_input(g, "w", BS_SHAPE(4));
    bs_value mean = bs_graph_input(g, "mean", BS_SHAPE(4));
    bs_value y = bs_graph_relu(g, bs_graph_batch_norm(g, x, w, w, mean, w, 1e-5f));
    bs_value gy = bs_graph_input(g, "gy", BS_SHAPE(1, 4, 2, 2)), grad[1];
    assert_int_equal(bs_graph_backward(g, y, gy, &mean, 1, grad, &err), BS_EUNSUPPORTED);
    assert_string_equal(err.msg, "batch_norm has no backward rule for its input 3");
    bs_value seed = bs_graph_input(g, "seed", BS_SHAPE(2, 4)), statistics = bs_graph_batch_statistics(g, x);
    assert_int_equal(bs_graph_backward(g, statistics, seed, &x, 1, grad, &err), BS_EUNSUPPORTED);
    assert_string_equal(err.msg, "batch_statistics has no backward rule");
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
        cmocka_unit_test(gradient_of_conv_transposed_plain),
        cmocka_unit_test(gradient_of_group_norm),
        cmocka_unit_test(gradient_of_batch_norm),
        cmocka_unit_test(gradient_of_batch_norm_train),
        cmocka_unit_test(gradient_of_crop),
        cmocka_unit_test(gradient_of_slice_channel),
        cmocka_unit_test(gradient_of_dice_per_channel),
        cmocka_unit_test(gradient_of_dice_of_all),
        cmocka_unit_test(gradient_of_dice_bounded),
        cmocka_unit_test(gradient_of_cross_entropy),
        cmocka_unit_test(gradient_of_squared_error),
        cmocka_unit_test(gradient_of_used_again),
        cmocka_unit_test(gradient_of_norm_conv_relu),
        cmocka_unit_test(gradient_of_unet_level),
        cmocka_unit_test(what_y_does_not_depend_on_has_no_gradient),
        cmocka_unit_test(what_has_no_gradient_is_named),
        cmocka_unit_test(wrong_arguments_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
