/* Recomputation on graphs whose least is known: a chain needs about twice the root of its length, its outputs keep every bit,
   and what fits is left as it is. */
#include "kernels_support.h"

#include "kernels/recompute.h"

#include <string.h>

#define LAYERS 64
#define WIDTH  256 /* bytes of a value are a multiple of the arena's alignment */
#define VALUE  (WIDTH * sizeof(float))

struct chain {
    struct bs_graph *g;
    bs_value seed;
};

/* LAYERS times silu, whose gradient reads what went in; an input that nobody reads stays part of it. */
static struct chain chain(void)
{
    struct chain c = {.g = bs_graph_create()};
    struct bs_err err = {.msg = ""};
    const struct bs_shape shape = BS_SHAPE(1, WIDTH);
    bs_value x = bs_graph_input(c.g, "x", shape), y = x, gradient = BS_NO_VALUE;
    c.seed = bs_graph_input(c.g, "seed", shape);
    (void)bs_graph_input(c.g, "unread", BS_SHAPE(3));
    for (int i = 0; i < LAYERS; i++)
        y = bs_graph_silu(c.g, y);
    if (bs_graph_backward(c.g, y, c.seed, &x, 1, &gradient, &err) != BS_OK)
        fail_msg("%s", err.msg);
    bs_graph_output(c.g, "y", y);
    bs_graph_output(c.g, "gradient", gradient);
    if (bs_graph_finish(c.g, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return c;
}

static struct bs_graph *within(const struct chain *c, size_t bytes, struct bs_recompute *did)
{
    struct bs_graph *g = NULL;
    struct bs_err err = {.msg = ""};
    if (bs_graph_recompute(c->g, c->seed, BS_PRECISION_F32, bytes, &g, did, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return g;
}

static void what_fits_is_left_as_it_is(void **state)
{
    (void)state;
    struct chain c = chain();
    struct bs_recompute did;
    struct bs_graph *g = within(&c, (LAYERS + 8) * VALUE, &did);
    assert_int_equal(did.values, 0);
    assert_true(did.work <= 0 && did.forward > 0);
    assert_in_range(did.bytes, LAYERS * VALUE, (LAYERS + 8) * VALUE);
    assert_int_equal(bs_graph_node_count(g), bs_graph_node_count(c.g));
    bs_graph_destroy(g);
    bs_graph_destroy(c.g);
}

static void a_chain_comes_down_to_twice_its_root(void **state)
{
    (void)state;
    struct chain c = chain();
    struct bs_recompute did;
    struct bs_graph *g = within(&c, 0, &did);
    assert_in_range(did.bytes, 1, (2 * 8 + 4) * VALUE);
    assert_true(did.work <= did.forward); /* each value once more at most */
    bs_graph_destroy(g);
    bs_graph_destroy(c.g);
}

/* No more is made again than is missing. */
static void the_work_goes_with_what_is_missing(void **state)
{
    (void)state;
    struct chain c = chain();
    int before = 0;
    for (size_t room = 56; room >= 20; room -= 12) {
        struct bs_recompute did;
        struct bs_graph *g = within(&c, room * VALUE, &did);
        assert_true(did.bytes <= room * VALUE);
        assert_true(did.values > before);
        before = did.values;
        bs_graph_destroy(g);
        if (room == 56)
            assert_in_range(did.values, LAYERS - 56, LAYERS - 56 + 8);
    }
    bs_graph_destroy(c.g);
}

static void inputs_outputs_and_bits_stay(void **state)
{
    (void)state;
    struct chain c = chain();
    struct numbers r = {7};
    struct bs_tensor in[] = {random_tensor(&r, BS_SHAPE(1, WIDTH)), random_tensor(&r, BS_SHAPE(1, WIDTH)),
                             random_tensor(&r, BS_SHAPE(3))};
    struct bs_tensor want[2], have[2];
    run_graph(c.g, in, 3, want, 2);
    for (size_t room = 0; room <= 60; room += 15) {
        struct bs_graph *g = within(&c, room * VALUE, NULL);
        assert_string_equal(bs_graph_output_name(g, 0), "y");
        assert_string_equal(bs_graph_output_name(g, 1), "gradient");
        run_graph(g, in, 3, have, 2);
        for (int i = 0; i < 2; i++) {
            assert_memory_equal(have[i].data, want[i].data, VALUE);
            free_tensor(&have[i]);
        }
        bs_graph_destroy(g);
    }
    for (int i = 0; i < 3; i++)
        free_tensor(&in[i]);
    free_tensor(&want[0]);
    free_tensor(&want[1]);
    bs_graph_destroy(c.g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_fits_is_left_as_it_is),
        cmocka_unit_test(a_chain_comes_down_to_twice_its_root),
        cmocka_unit_test(the_work_goes_with_what_is_missing),
        cmocka_unit_test(inputs_outputs_and_bits_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
