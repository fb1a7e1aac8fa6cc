/* Building a graph reads like the paper: the first error sticks and is told once, names are unique, what no output needs
   is dead, and operations are counted. */
#include "kernels_support.h"

#include <stdio.h>
#include <string.h>

static struct bs_shape image(int64_t channels)
{
    return BS_SHAPE(1, channels, 8, 8);
}

static void the_first_error_sticks_and_names_the_layer(void **state)
{
    (void)state;
    struct bs_graph *g = bs_graph_create();
    struct bs_err err = {.msg = ""};
    bs_value x = bs_graph_input(g, "image", image(1));
    bs_value w = bs_graph_param(g, "encoder.blocks.0.block.1.weight", BS_SHAPE(4, 2, 3, 3));
    bs_value bad = bs_graph_conv2d(g, x, w, BS_NO_VALUE, 1, 1);
    assert_int_equal(bad, BS_NO_VALUE);
    assert_int_equal(bs_graph_relu(g, bad), BS_NO_VALUE);
    assert_int_equal(bs_graph_max_pool2d(g, x, 100), BS_NO_VALUE); /* a second error, not told */
    bs_graph_output(g, "y", bad);
    assert_true(bs_graph_failed(g));
    assert_int_equal(bs_graph_finish(g, &err), BS_EINVAL);
    assert_string_equal(
        err.msg, "at \"encoder.blocks.0.block.1.weight\": conv2d: input 1x1x8x8 has 1 channels but weight "
                 "4x2x3x3 takes 2");
    bs_graph_destroy(g);
}

static void a_graph_without_output_is_refused(void **state)
{
    (void)state;
    struct bs_graph *g = bs_graph_create();
    struct bs_err err;
    bs_graph_input(g, "image", image(1));
    assert_int_equal(bs_graph_finish(g, &err), BS_EINVAL);
    assert_string_equal(err.msg, "the graph has no output");
    bs_graph_destroy(g);
    bs_graph_destroy(NULL);
}

static void a_parameter_used_twice_is_one_value(void **state)
{
    (void)state;
    struct bs_graph *g = bs_graph_create();
    struct bs_err err;
    bs_value a = bs_graph_param(g, "w", BS_SHAPE(4)), b = bs_graph_param(g, "w", BS_SHAPE(4));
    assert_int_equal(a, b);
    assert_int_equal(bs_graph_param(g, "w", BS_SHAPE(5)), BS_NO_VALUE);
    assert_int_equal(bs_graph_error(g, &err), BS_EINVAL);
    assert_string_equal(err.msg, "parameter \"w\" is used as 4 and as 5");
    bs_graph_destroy(g);
}

static void names_declared_twice_are_refused(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        struct bs_graph *g = bs_graph_create();
        struct bs_err err;
        bs_value x = bs_graph_input(g, "x", image(1));
        if (kind == 0)
            bs_graph_input(g, "x", image(1));
        bs_graph_output(g, "y", x);
        if (kind == 1)
            bs_graph_output(g, "y", x);
        assert_int_equal(bs_graph_finish(g, &err), BS_EINVAL);
        assert_non_null(strstr(err.msg, "declared twice"));
        bs_graph_destroy(g);
    }
}

static void values_that_do_not_exist_are_refused(void **state)
{
    (void)state;
    static const bs_value wrong[] = {BS_NO_VALUE, 17, -5, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct bs_graph *g = bs_graph_create();
        struct bs_err err;
        bs_graph_output(g, "y", bs_graph_add(g, bs_graph_input(g, "x", image(1)), wrong[i]));
        assert_int_equal(bs_graph_finish(g, &err), BS_EINVAL);
        bs_graph_destroy(g);
        g = bs_graph_create();
        bs_graph_input(g, "x", image(1));
        bs_graph_output(g, "y", wrong[i]);
        assert_int_equal(bs_graph_finish(g, &err), BS_EINVAL);
        bs_graph_destroy(g);
    }
}

static void shapes_of_bindings_are_checked(void **state)
{
    (void)state;
    struct bs_graph *g = bs_graph_create();
    struct bs_err err;
    bs_graph_param(g, "out_conv.weight", BS_SHAPE(1, -3, 1, 1));
    assert_int_equal(bs_graph_error(g, &err), BS_EINVAL);
    assert_string_equal(err.msg,
                        "\"out_conv.weight\": parameter is 1x-3x1x1; every dimension must be at least 1");
    bs_graph_destroy(g);
    g = bs_graph_create();
    bs_graph_input(g, "image", BS_SHAPE(1, 1, INT64_MAX, 2));
    assert_int_equal(bs_graph_error(g, &err), BS_ELIMIT);
    bs_graph_destroy(g);
}

static void a_graph_holds_its_limit_of_operators_and_no_more(void **state)
{
    (void)state;
    struct bs_graph *g = bs_graph_create();
    struct bs_err err = {.msg = ""};
    bs_value x = bs_graph_input(g, "x", BS_SHAPE(1)), first = x;
    const struct bs_node *node = bs_graph_node(g, first);
    for (int i = 1; i < BS_MAX_NODES; i++)
        x = bs_graph_relu(g, x);
    assert_int_equal(x, BS_MAX_NODES - 1);
    assert_ptr_equal(node, bs_graph_node(g, first)); /* addresses survive growth */
    assert_int_equal(bs_graph_relu(g, x), BS_NO_VALUE);
    assert_int_equal(bs_graph_error(g, &err), BS_ELIMIT);
    assert_non_null(strstr(err.msg, "65536"));
    bs_graph_destroy(g);
}

static void what_no_output_needs_is_dead(void **state)
{
    (void)state;
    struct bs_graph *g = bs_graph_create();
    struct bs_err err;
    bs_value x = bs_graph_input(g, "x", image(2)), unused = bs_graph_input(g, "unused", image(2));
    bs_value a = bs_graph_relu(g, x), b = bs_graph_sigmoid(g, a), dead = bs_graph_sigmoid(g, unused);
    bs_graph_output(g, "b", b);
    assert_int_equal(bs_graph_finish(g, &err), BS_OK);
    assert_true(bs_graph_is_live(g, x) && bs_graph_is_live(g, a) && bs_graph_is_live(g, b));
    assert_false(bs_graph_is_live(g, dead) || bs_graph_is_live(g, unused));
    assert_int_equal(bs_graph_output_count(g), 1);
    assert_string_equal(bs_graph_output_name(g, 0), "b");
    assert_int_equal(bs_graph_output_value(g, 0), b);
    bs_graph_destroy(g);
}

static void multiply_adds_count_as_two(void **state)
{
    (void)state;
    struct bs_graph *g = bs_graph_create();
    struct bs_err err;
    bs_value x = bs_graph_input(g, "x", BS_SHAPE(2, 3, 8, 8));
    bs_value y = bs_graph_conv2d(g, x, bs_graph_param(g, "w", BS_SHAPE(5, 3, 3, 3)), BS_NO_VALUE, 1, 1);
    bs_value z =
        bs_graph_conv_transpose2d(g, y, bs_graph_param(g, "t", BS_SHAPE(5, 4, 2, 2)), BS_NO_VALUE, 2);
    bs_graph_conv2d(g, x, bs_graph_param(g, "dead", BS_SHAPE(5, 3, 3, 3)), BS_NO_VALUE, 1, 1);
    bs_graph_output(g, "z", bs_graph_relu(g, z));
    assert_int_equal(bs_graph_finish(g, &err), BS_OK);
    assert_true(bs_graph_flops(g) == 2.0 * (2 * 5 * 8 * 8 * 3 * 9) + 2.0 * (2 * 4 * 16 * 16 * 5));
    bs_graph_destroy(g);
}

static void names_belong_to_the_graph(void **state)
{
    (void)state;
    char name[16];
    snprintf(name, sizeof name, "weight");
    struct bs_graph *g = bs_graph_create();
    bs_value w = bs_graph_param(g, name, BS_SHAPE(3));
    bs_graph_output(g, name, w);
    memset(name, 'z', sizeof name - 1);
    assert_string_equal(bs_graph_node(g, w)->name, "weight");
    assert_string_equal(bs_graph_output_name(g, 0), "weight");
    bs_graph_destroy(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_error_sticks_and_names_the_layer),
        cmocka_unit_test(a_graph_without_output_is_refused),
        cmocka_unit_test(a_parameter_used_twice_is_one_value),
        cmocka_unit_test(names_declared_twice_are_refused),
        cmocka_unit_test(values_that_do_not_exist_are_refused),
        cmocka_unit_test(shapes_of_bindings_are_checked),
        cmocka_unit_test(a_graph_holds_its_limit_of_operators_and_no_more),
        cmocka_unit_test(what_no_output_needs_is_dead),
        cmocka_unit_test(multiply_adds_count_as_two),
        cmocka_unit_test(names_belong_to_the_graph),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
