/* Graphs of training over tokens on the CPU: values and gradients are those of the reference, for every operator of
   transformers and state-space networks, with every instruction set; lengths and widths that fill no vector, one token, both
   directions, windows that stick out, tables that are resampled. Those of the own kernels have the same bits whatever the
   number of threads. */
#include "training_graphs.h"

/* More values than a task takes. */
static bs_value activations(struct network *n)
{
    bs_value x = variable(n, BS_SHAPE(2, 101, 83));
    return bs_graph_silu(n->g, bs_graph_gelu(n->g, bs_graph_scale(n->g, x, 4)));
}

static bs_value moving(struct network *n)
{
    struct bs_graph *g = n->g;
    bs_value x = bs_graph_tokens_from_image(g, variable(n, BS_SHAPE(2, 37, 5, 7)));
    x = bs_graph_insert_token(g, x, variable(n, BS_SHAPE(1, 1, 37)), 17);
    x = bs_graph_insert_token(g, x, variable(n, BS_SHAPE(1, 1, 37)), 30);
    x = bs_graph_insert_token(g, x, variable(n, BS_SHAPE(1, 1, 37)), 0);
    x = bs_graph_slice_last(g, bs_graph_slice_tokens(g, x, 1, 35), 3, 33);
    return bs_graph_image_from_tokens(g, x, 7, 5);
}

static bs_value positions_of(struct network *n, struct bs_shape x, struct bs_shape p, int64_t h, int64_t w,
                             int64_t class_token)
{
    bs_value tokens = variable(n, x);
    return bs_graph_add_position(n->g, tokens, variable(n, p), h, w, class_token);
}

static bs_value positions(struct network *n)
{
    return positions_of(n, BS_SHAPE(3, 7, 19), BS_SHAPE(1, 7, 19), 2, 3, 3);
}

static bs_value positions_resampled(struct network *n)
{
    return positions_of(n, BS_SHAPE(2, 31, 19), BS_SHAPE(1, 17, 19), 6, 5, 15);
}

static bs_value positions_class_first(struct network *n)
{
    return positions_of(n, BS_SHAPE(1, 5, 19), BS_SHAPE(1, 26, 19), 2, 2, 0);
}

static bs_value positions_of_a_grid(struct network *n)
{
    return positions_of(n, BS_SHAPE(2, 6, 3), BS_SHAPE(1, 5, 4, 3), 3, 2, -1);
}

static bs_value rotary(struct network *n)
{
    bs_value x = variable(n, BS_SHAPE(2, 7, 6));
    return bs_graph_rotary(n->g, x, bs_graph_input(n->g, "cos", BS_SHAPE(5, 6)),
                           bs_graph_input(n->g, "sin", BS_SHAPE(5, 6)));
}

static bs_value linear_of(struct network *n, struct bs_shape x, int64_t in, int64_t out, bool bias)
{
    bs_value rows = variable(n, x), w = variable(n, BS_SHAPE(out, in));
    return bs_graph_linear(n->g, rows, w, bias ? variable(n, BS_SHAPE(out)) : BS_NO_VALUE);
}

static bs_value linear(struct network *n)
{
    return linear_of(n, BS_SHAPE(2, 37, 45), 45, 131, true);
}

/* More rows than are multiplied at once. */
static bs_value linear_long(struct network *n)
{
    return linear_of(n, BS_SHAPE(1, 1103, 5), 5, 9, true);
}

static bs_value linear_one_token(struct network *n)
{
    return linear_of(n, BS_SHAPE(1, 1, 70), 70, 3, false);
}

static bs_value linear_narrow(struct network *n)
{
    return linear_of(n, BS_SHAPE(2, 3, 3, 1), 1, 1, true);
}

static bs_value layer_norm(struct network *n)
{
    bs_value x = variable(n, BS_SHAPE(2, 67, 45)), w = variable(n, BS_SHAPE(45));
    return bs_graph_layer_norm(n->g, x, w, variable(n, BS_SHAPE(45)), 1e-6f);
}

static bs_value rms_norm(struct network *n)
{
    bs_value x = variable(n, BS_SHAPE(1, 131, 23));
    return bs_graph_rms_norm(n->g, x, variable(n, BS_SHAPE(23)), 1e-5f);
}

static bs_value convolution(struct network *n, struct bs_shape x, int64_t taps, bool bias, bool reverse)
{
    bs_value tokens = variable(n, x), w = variable(n, BS_SHAPE(x.dim[2], 1, taps));
    return bs_graph_causal_conv1d(n->g, tokens, w, bias ? variable(n, BS_SHAPE(x.dim[2])) : BS_NO_VALUE,
                                  reverse);
}

static bs_value conv1d(struct network *n)
{
    return convolution(n, BS_SHAPE(2, 67, 37), 4, true, false);
}

static bs_value conv1d_reverse(struct network *n)
{
    return convolution(n, BS_SHAPE(2, 131, 32), 4, true, true);
}

/* The first taps see no token at all. */
static bs_value conv1d_short(struct network *n)
{
    return convolution(n, BS_SHAPE(2, 2, 5), 7, false, false);
}

static bs_value scan_of(struct network *n, int64_t samples, int64_t tokens, int64_t features, int64_t states,
                        bool gated, bool reverse)
{
    const struct bs_shape x = BS_SHAPE(samples, tokens, features), s = BS_SHAPE(samples, tokens, states);
    struct bs_scan_inputs in = {.z = BS_NO_VALUE};
    in.u = variable(n, x);
    in.delta = variable(n, x);
    in.a_log = variable(n, BS_SHAPE(features, states));
    in.b = variable(n, s);
    in.c = variable(n, s);
    in.skip = variable(n, BS_SHAPE(features));
    in.delta_bias = variable(n, BS_SHAPE(features));
    if (gated)
        in.z = variable(n, x);
    return bs_graph_selective_scan(n->g, &in, reverse);
}

static bs_value scan(struct network *n)
{
    return scan_of(n, 2, 75, 37, 16, true, false);
}

static bs_value scan_reverse(struct network *n)
{
    return scan_of(n, 2, 67, 19, 5, true, true);
}

/* Several tasks of a sample. */
static bs_value scan_wide(struct network *n)
{
    return scan_of(n, 1, 33, 150, 3, false, true);
}

static bs_value scan_many_states(struct network *n)
{
    return scan_of(n, 1, 32, 3, 41, true, false);
}

static bs_value scan_one_token(struct network *n)
{
    return scan_of(n, 2, 1, 5, 2, true, false);
}

static bs_value attention_of(struct network *n, struct bs_shape qkv, int heads, int64_t h, int64_t w,
                             int window, bool pad, int64_t rel_h, int64_t rel_w)
{
    const int64_t d = qkv.dim[2] / 3 / heads;
    bs_value x = variable(n, qkv), own = pad ? variable(n, BS_SHAPE(qkv.dim[2])) : BS_NO_VALUE;
    bs_value table_h = rel_h ? variable(n, BS_SHAPE(rel_h, d)) : BS_NO_VALUE;
    bs_value table_w = rel_h ? variable(n, BS_SHAPE(rel_w, d)) : BS_NO_VALUE;
    return bs_graph_attention(n->g, x, own, table_h, table_w, heads, h, w, window);
}

/* More queries than a chunk has, more keys than a block. */
static bs_value attention_global(struct network *n)
{
    return attention_of(n, BS_SHAPE(1, 132, 3 * 2 * 20), 2, 12, 11, 0, true, 23, 21);
}

static bs_value attention_plain(struct network *n)
{
    return attention_of(n, BS_SHAPE(2, 15, 3 * 3 * 5), 3, 3, 5, 0, false, 0, 0);
}

/* Windows stick out on both sides. */
static bs_value attention_windows(struct network *n)
{
    return attention_of(n, BS_SHAPE(2, 35, 3 * 2 * 7), 2, 5, 7, 4, true, 7, 7);
}

static bs_value attention_windows_without_tables(struct network *n)
{
    return attention_of(n, BS_SHAPE(1, 35, 3 * 66), 1, 7, 5, 3, true, 0, 0);
}

static bs_value attention_tables_resampled(struct network *n)
{
    return attention_of(n, BS_SHAPE(1, 24, 3 * 2 * 4), 2, 4, 6, 0, true, 13, 5);
}

static bs_value attention_one_token(struct network *n)
{
    return attention_of(n, BS_SHAPE(1, 1, 3 * 18), 1, 1, 1, 0, true, 1, 1);
}

#define TOKENS_TEST(name)                                                                                    \
    static void training_through_##name(void **state)                                                        \
    {                                                                                                        \
        (void)state;                                                                                         \
        check_training(name, 2e-5);                                                                          \
    }
TOKENS_TEST(activations)
TOKENS_TEST(moving)
TOKENS_TEST(positions)
TOKENS_TEST(positions_resampled)
TOKENS_TEST(positions_class_first)
TOKENS_TEST(positions_of_a_grid)
TOKENS_TEST(rotary)
TOKENS_TEST(linear)
TOKENS_TEST(linear_long)
TOKENS_TEST(linear_one_token)
TOKENS_TEST(linear_narrow)
TOKENS_TEST(layer_norm)
TOKENS_TEST(rms_norm)
TOKENS_TEST(conv1d)
TOKENS_TEST(conv1d_reverse)
TOKENS_TEST(conv1d_short)
TOKENS_TEST(scan)
TOKENS_TEST(scan_reverse)
TOKENS_TEST(scan_wide)
TOKENS_TEST(scan_many_states)
TOKENS_TEST(scan_one_token)
TOKENS_TEST(attention_global)
TOKENS_TEST(attention_plain)
TOKENS_TEST(attention_windows)
TOKENS_TEST(attention_windows_without_tables)
TOKENS_TEST(attention_tables_resampled)

/* One key: the weight is 1, so that the gradients of q, k and the tables are nothing but rounding. What is left of v is
   compared. */
static void one_token_passes_its_value(void **state)
{
    (void)state;
    struct bs_graph *g = bs_graph_create();
    struct network n = {.g = g};
    bs_value y = attention_one_token(&n);
    bs_graph_output(g, "y", y);
    bs_graph_output(g, "lse", bs_graph_apply(g, BS_OP_ATTENTION_LSE, n.wrt, 4, bs_graph_node(g, y)->attr));
    assert_int_equal(bs_graph_finish(g, NULL), BS_OK);
    check_graph(g, 1e-6);
    bs_graph_destroy(g);
}

/* The lse without the attention that it belongs to. */
static void lse_alone(void **state)
{
    (void)state;
    struct bs_graph *g = bs_graph_create();
    bs_value x = bs_graph_input(g, "x", BS_SHAPE(2, 15, 18));
    const struct bs_attr attr = {.heads = 2, .out_h = 3, .out_w = 5, .kernel = 2};
    bs_graph_output(g, "lse", bs_graph_apply(g, BS_OP_ATTENTION_LSE, &x, 1, attr));
    assert_int_equal(bs_graph_finish(g, NULL), BS_OK);
    check_graph(g, 1e-6);
    bs_graph_destroy(g);
}

/* Some of the siblings only, not the first. */
static void gradients_that_nobody_wants(void **state)
{
    (void)state;
    struct bs_graph *g = bs_graph_create();
    const struct bs_shape x = BS_SHAPE(2, 40, 21), s = BS_SHAPE(2, 40, 4);
    bs_value in[8] = {bs_graph_input(g, "u", x),
                      bs_graph_input(g, "delta", x),
                      bs_graph_input(g, "a_log", BS_SHAPE(21, 4)),
                      bs_graph_input(g, "b", s),
                      bs_graph_input(g, "c", s),
                      bs_graph_input(g, "skip", BS_SHAPE(21)),
                      bs_graph_input(g, "delta_bias", BS_SHAPE(21)),
                      bs_graph_input(g, "gy", x)};
    static const int wanted[] = {6, 2};
    for (int i = 0; i < 2; i++)
        bs_graph_output(g, i ? "a_log" : "delta_bias",
                        bs_graph_apply(g, BS_OP_SELECTIVE_SCAN_GRAD, in, 8,
                                       (struct bs_attr){.which = wanted[i]})); /* softplus: no */
    bs_value norm[3] = {in[0], bs_graph_input(g, "w", BS_SHAPE(21)), in[7]};
    bs_graph_output(
        g, "w",
        bs_graph_apply(g, BS_OP_LAYER_NORM_GRAD, norm, 3, (struct bs_attr){.which = 1, .eps = 1e-5f}));
    assert_int_equal(bs_graph_finish(g, NULL), BS_OK);
    check_graph(g, 2e-5);
    bs_graph_destroy(g);
}

static void bits_do_not_depend_on_threads(void **state)
{
    (void)state;
    static const build_fn build[] = {
        linear, layer_norm, conv1d, scan, attention_global, attention_windows, positions_resampled};
    for (size_t i = 0; i < sizeof build / sizeof *build; i++) {
        struct bs_graph *g = training_of(build[i]);
        same_bits(g, 2, 5);
        bs_graph_destroy(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(training_through_activations),
        cmocka_unit_test(training_through_moving),
        cmocka_unit_test(training_through_positions),
        cmocka_unit_test(training_through_positions_resampled),
        cmocka_unit_test(training_through_positions_class_first),
        cmocka_unit_test(training_through_positions_of_a_grid),
        cmocka_unit_test(training_through_rotary),
        cmocka_unit_test(training_through_linear),
        cmocka_unit_test(training_through_linear_long),
        cmocka_unit_test(training_through_linear_one_token),
        cmocka_unit_test(training_through_linear_narrow),
        cmocka_unit_test(training_through_layer_norm),
        cmocka_unit_test(training_through_rms_norm),
        cmocka_unit_test(training_through_conv1d),
        cmocka_unit_test(training_through_conv1d_reverse),
        cmocka_unit_test(training_through_conv1d_short),
        cmocka_unit_test(training_through_scan),
        cmocka_unit_test(training_through_scan_reverse),
        cmocka_unit_test(training_through_scan_wide),
        cmocka_unit_test(training_through_scan_many_states),
        cmocka_unit_test(training_through_scan_one_token),
        cmocka_unit_test(training_through_attention_global),
        cmocka_unit_test(training_through_attention_plain),
        cmocka_unit_test(training_through_attention_windows),
        cmocka_unit_test(training_through_attention_windows_without_tables),
        cmocka_unit_test(training_through_attention_tables_resampled),
        cmocka_unit_test(one_token_passes_its_value),
        cmocka_unit_test(lse_alone),
        cmocka_unit_test(gradients_that_nobody_wants),
        cmocka_unit_test(bits_do_not_depend_on_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
