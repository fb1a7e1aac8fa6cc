/* Causal convolution and selective scan compute their formulas: by hand, and against code that goes another way (the scan
   as a double sum over all earlier tokens instead of a recurrence). */
#include "kernels_support.h"

#include <math.h>
#include <string.h>

static void free_all(struct bs_tensor *t, int count)
{
    for (int i = 0; i < count; i++)
        free_tensor(&t[i]);
}

/* Element of tokens; zero before the first and after the last. */
static double token_at(const struct bs_tensor *t, int64_t n, int64_t token, int64_t feature)
{
    const int64_t *d = t->shape.dim;
    if (token < 0 || token >= d[1])
        return 0;
    return (double)floats(t)[(n * d[1] + token) * d[2] + feature];
}

static void the_convolution_looks_back_only_or_in_reverse_ahead_only(void **state)
{
    (void)state;
    struct bs_tensor in[] = {tensor_of(BS_SHAPE(1, 4, 1), (float[]){1, 2, 3, 4}),
                             tensor_of(BS_SHAPE(1, 1, 3), (float[]){100, 10, 1}),
                             tensor_of(BS_SHAPE(1), (float[]){1000})};
    struct bs_tensor y = apply(BS_OP_CAUSAL_CONV1D, (struct bs_attr){0}, in, 3);
    assert_tensor(&y, (float[]){1001, 1012, 1123, 1234}, 0);
    free_tensor(&y);
    y = apply(BS_OP_CAUSAL_CONV1D, (struct bs_attr){.reverse = true}, in, 2);
    assert_tensor(&y, (float[]){321, 432, 43, 4}, 0);
    free_tensor(&y);
    free_all(in, 3);

    struct numbers r = {27};
    for (int round = 0; round < 40; round++) {
        int tokens = next_int(&r, 1, 9), features = next_int(&r, 1, 5), taps = next_int(&r, 1, 6);
        bool reverse = round % 2, bias = round % 3;
        struct bs_tensor x[] = {random_tensor(&r, BS_SHAPE(2, tokens, features)),
                                random_tensor(&r, BS_SHAPE(features, 1, taps)),
                                random_tensor(&r, BS_SHAPE(features))};
        y = apply(BS_OP_CAUSAL_CONV1D, (struct bs_attr){.reverse = reverse}, x, bias ? 3 : 2);
        for (int n = 0; n < 2; n++)
            for (int t = 0; t < tokens; t++)
                for (int f = 0; f < features; f++) {
                    double want = bias ? (double)floats(&x[2])[f] : 0;
                    for (int k = 0; k < taps; k++)
                        want += (double)floats(&x[1])[f * taps + k] *
                                token_at(&x[0], n, reverse ? t + taps - 1 - k : t - taps + 1 + k, f);
                    assert_close((float)token_at(&y, n, t, f), want, 1e-5);
                }
        free_all(x, 3);
        free_tensor(&y);
    }
}

enum { U, DELTA, A_LOG, B, C, SKIP, BIAS, Z, SCAN_INPUTS };

static double softplus(double v)
{
    return v > 20 ? v : log(1 + exp(v));
}

/* The recurrence written out: what token `from` put in has decayed by all the steps after it. */
static double scan_at(const struct bs_tensor *in, const struct bs_attr *attr, bool gate, int64_t n, int64_t t,
                      int64_t f)
{
    const int64_t tokens = in[U].shape.dim[1], states = in[A_LOG].shape.dim[1];
    const int64_t step = attr->reverse ? -1 : 1;
    double y = (double)floats(&in[SKIP])[f] * token_at(&in[U], n, t, f), passed = 0;
    for (int64_t from = t; from >= 0 && from < tokens; from -= step) {
        double dt = token_at(&in[DELTA], n, from, f) + (double)floats(&in[BIAS])[f];
        if (attr->softplus)
            dt = softplus(dt);
        for (int64_t s = 0; s < states; s++) {
            double a = -exp((double)floats(&in[A_LOG])[f * states + s]);
            y += token_at(&in[C], n, t, s) * exp(a * passed) * dt * token_at(&in[U], n, from, f) *
                 token_at(&in[B], n, from, s);
        }
        passed += dt;
    }
    double z = gate ? token_at(&in[Z], n, t, f) : 0;
    return gate ? y * z / (1 + exp(-z)) : y;
}

static void the_scan_is_the_sum_over_all_earlier_tokens(void **state)
{
    (void)state;
    struct numbers r = {28};
    for (int round = 0; round < 32; round++) {
        int batch = next_int(&r, 1, 3), tokens = next_int(&r, 1, 20), features = next_int(&r, 1, 4),
            states = next_int(&r, 1, 18);
        struct bs_shape rows = BS_SHAPE(batch, tokens, features), per_state = BS_SHAPE(batch, tokens, states);
        struct bs_tensor in[] = {random_tensor(&r, rows),
                                 random_tensor(&r, rows),
                                 random_tensor(&r, BS_SHAPE(features, states)),
                                 random_tensor(&r, per_state),
                                 random_tensor(&r, per_state),
                                 random_tensor(&r, BS_SHAPE(features)),
                                 random_tensor(&r, BS_SHAPE(features)),
                                 random_tensor(&r, rows)};
        bool gate = round % 2;
        struct bs_attr attr = {.reverse = round / 2 % 2, .softplus = round / 4 % 2};
        if (!attr.softplus) /* steps go forward in time */
            for (int i = 0; i < batch * tokens * features; i++)
                floats(&in[DELTA])[i] = 1.5f + fabsf(floats(&in[DELTA])[i]);
        struct bs_tensor y = apply(BS_OP_SELECTIVE_SCAN, attr, in, gate ? 8 : 7);
        assert_true(bs_shape_equal(&y.shape, &rows));
        for (int n = 0; n < batch; n++)
            for (int t = 0; t < tokens; t++)
                for (int f = 0; f < features; f++) {
                    double want = scan_at(in, &attr, gate, n, t, f);
                    assert_close((float)token_at(&y, n, t, f), want, 1e-5 + 1e-6 * fabs(want));
                }
        free_all(in, SCAN_INPUTS);
        free_tensor(&y);
    }
}

static void a_scan_in_reverse_is_a_scan_of_reversed_tokens(void **state)
{
    (void)state;
    struct numbers r = {29};
    enum { TOKENS = 11, FEATURES = 3, STATES = 4 };
    struct bs_shape rows = BS_SHAPE(1, TOKENS, FEATURES), per_state = BS_SHAPE(1, TOKENS, STATES);
    struct bs_tensor in[] = {random_tensor(&r, rows),
                             random_tensor(&r, rows),
                             random_tensor(&r, BS_SHAPE(FEATURES, STATES)),
                             random_tensor(&r, per_state),
                             random_tensor(&r, per_state),
                             random_tensor(&r, BS_SHAPE(FEATURES)),
                             random_tensor(&r, BS_SHAPE(FEATURES)),
                             random_tensor(&r, rows)};
    struct bs_tensor back =
        apply(BS_OP_SELECTIVE_SCAN, (struct bs_attr){.reverse = true, .softplus = true}, in, SCAN_INPUTS);
    for (int i = 0; i < SCAN_INPUTS; i++) {
        int64_t width = in[i].shape.ndim == 3 ? in[i].shape.dim[2] : 0;
        for (int64_t t = 0; t < TOKENS / 2; t++)
            for (int64_t f = 0; f < width; f++) {
                float *a = &floats(&in[i])[t * width + f], *b = &floats(&in[i])[(TOKENS - 1 - t) * width + f];
                float keep = *a;
                *a = *b;
                *b = keep;
            }
    }
    struct bs_tensor y = apply(BS_OP_SELECTIVE_SCAN, (struct bs_attr){.softplus = true}, in, SCAN_INPUTS);
    for (int t = 0; t < TOKENS; t++)
        for (int f = 0; f < FEATURES; f++)
            assert_close((float)token_at(&y, 0, t, f), token_at(&back, 0, TOKENS - 1 - t, f), 0);
    free_all(in, SCAN_INPUTS);
    free_tensor(&y);
    free_tensor(&back);
}

static void large_steps_pass_the_softplus_unchanged_and_forget_everything(void **state)
{
    (void)state;
    /* dt = 30 and 500: exp overflows a float beyond 88; h decays to nothing, only the last token counts */
    struct bs_tensor in[] = {
        tensor_of(BS_SHAPE(1, 2, 1), (float[]){5, 7}), tensor_of(BS_SHAPE(1, 2, 1), (float[]){10, 480}),
        tensor_of(BS_SHAPE(1, 1), (float[]){0}),       tensor_of(BS_SHAPE(1, 2, 1), (float[]){2, 3}),
        tensor_of(BS_SHAPE(1, 2, 1), (float[]){1, 1}), tensor_of(BS_SHAPE(1), (float[]){0}),
        tensor_of(BS_SHAPE(1), (float[]){20})};
    struct bs_tensor y = apply(BS_OP_SELECTIVE_SCAN, (struct bs_attr){.softplus = true}, in, 7);
    assert_tensor(&y, (float[]){30 * 5 * 2, 500 * 7 * 3}, 1e-3);
    free_all(in, 7);
    free_tensor(&y);
}

/* What is wrong, and what the message must name. */
static const struct {
    enum bs_op op;
    struct bs_attr attr;
    int ninput;
    struct bs_shape in[BS_MAX_INPUTS];
    const char *words[3];
} refused[] = {
#define S(...)                                                                                               \
    {                                                                                                        \
        .ndim = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .dim = { __VA_ARGS__ }            \
    }
    {BS_OP_CAUSAL_CONV1D, {.start = 0}, 2, {S(1, 5, 8), S(7, 1, 4)}, {"7x1x4", "1x5x8"}},
    {BS_OP_CAUSAL_CONV1D, {.start = 0}, 2, {S(1, 5, 8), S(8, 2, 4)}, {"8x2x4", "1x5x8"}},
    {BS_OP_CAUSAL_CONV1D, {.start = 0}, 2, {S(1, 5, 8), S(8, 1, 5000)}, {"8x1x5000", "4096"}},
    {BS_OP_CAUSAL_CONV1D, {.start = 0}, 3, {S(1, 5, 8), S(8, 1, 4), S(4)}, {"bias is 4", "1x5x8"}},
    {BS_OP_SELECTIVE_SCAN,
     {.softplus = true},
     7,
     {S(1, 5, 8), S(1, 6, 8), S(8, 4), S(1, 5, 4), S(1, 5, 4), S(8), S(8)},
     {"delta is 1x6x8", "u is 1x5x8"}},
    {BS_OP_SELECTIVE_SCAN,
     {.softplus = true},
     7,
     {S(1, 5, 8), S(1, 5, 8), S(7, 4), S(1, 5, 4), S(1, 5, 4), S(8), S(8)},
     {"a_log is 7x4", "1x5x8"}},
    {BS_OP_SELECTIVE_SCAN,
     {.softplus = true},
     7,
     {S(1, 5, 8), S(1, 5, 8), S(8, 257), S(1, 5, 257), S(1, 5, 257), S(8), S(8)},
     {"8x257", "256"}},
    {BS_OP_SELECTIVE_SCAN,
     {.softplus = true},
     7,
     {S(1, 5, 8), S(1, 5, 8), S(8, 4), S(1, 5, 3), S(1, 5, 4), S(8), S(8)},
     {"B is 1x5x3", "1x5x4"}},
    {BS_OP_SELECTIVE_SCAN,
     {.softplus = true},
     7,
     {S(1, 5, 8), S(1, 5, 8), S(8, 4), S(1, 5, 4), S(1, 4, 5), S(8), S(8)},
     {"C is 1x4x5", "1x5x4"}},
    {BS_OP_SELECTIVE_SCAN,
     {.softplus = true},
     7,
     {S(1, 5, 8), S(1, 5, 8), S(8, 4), S(1, 5, 4), S(1, 5, 4), S(7), S(8)},
     {"skip is 7", "1x5x8"}},
    {BS_OP_SELECTIVE_SCAN,
     {.softplus = true},
     7,
     {S(1, 5, 8), S(1, 5, 8), S(8, 4), S(1, 5, 4), S(1, 5, 4), S(8), S(8, 1)},
     {"delta_bias is 8x1", "1x5x8"}},
    {BS_OP_SELECTIVE_SCAN,
     {.softplus = true},
     8,
     {S(1, 5, 8), S(1, 5, 8), S(8, 4), S(1, 5, 4), S(1, 5, 4), S(8), S(8), S(1, 5, 9)},
     {"z is 1x5x9", "1x5x8"}},
    {BS_OP_SELECTIVE_SCAN,
     {.softplus = true},
     6,
     {S(1, 5, 8), S(1, 5, 8), S(8, 4), S(1, 5, 4), S(1, 5, 4), S(8)},
     {"selective_scan takes 7 to 8"}},
};

static void wrong_shapes_are_refused_and_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct bs_err err = {.msg = ""};
        bs_status rc = infer_shapes(refused[i].op, refused[i].attr, refused[i].in, refused[i].ninput, &err);
        if (rc != BS_EINVAL)
            fail_msg("case %zu: %s, \"%s\"", i, bs_status_name(rc), err.msg);
        for (int k = 0; k < 3 && refused[i].words[k]; k++)
            if (!strstr(err.msg, refused[i].words[k]))
                fail_msg("case %zu: \"%s\" does not name %s", i, err.msg, refused[i].words[k]);
    }
}

static void scans_and_convolutions_count_their_operations(void **state)
{
    (void)state;
    struct bs_err err;
    struct bs_graph *g = bs_graph_create();
    struct bs_shape rows = BS_SHAPE(2, 5, 8), per_state = BS_SHAPE(2, 5, 4);
    struct bs_scan_inputs in = {.u = bs_graph_input(g, "u", rows),
                                .delta = bs_graph_input(g, "delta", rows),
                                .a_log = bs_graph_input(g, "a_log", BS_SHAPE(8, 4)),
                                .b = bs_graph_input(g, "b", per_state),
                                .c = bs_graph_input(g, "c", per_state),
                                .skip = bs_graph_input(g, "skip", BS_SHAPE(8)),
                                .delta_bias = bs_graph_input(g, "delta_bias", BS_SHAPE(8)),
                                .z = BS_NO_VALUE};
    in.u = bs_graph_causal_conv1d(g, in.u, bs_graph_input(g, "w", BS_SHAPE(8, 1, 3)), BS_NO_VALUE, false);
    bs_graph_output(g, "y", bs_graph_selective_scan(g, &in, false));
    assert_int_equal(bs_graph_finish(g, &err), BS_OK);
    assert_true(bs_graph_flops(g) == 80.0 * 2 * 3 + 80.0 * (6 * 4 + 4));
    bs_graph_destroy(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_convolution_looks_back_only_or_in_reverse_ahead_only),
        cmocka_unit_test(the_scan_is_the_sum_over_all_earlier_tokens),
        cmocka_unit_test(a_scan_in_reverse_is_a_scan_of_reversed_tokens),
        cmocka_unit_test(large_steps_pass_the_softplus_unchanged_and_forget_everything),
        cmocka_unit_test(wrong_shapes_are_refused_and_named),
        cmocka_unit_test(scans_and_convolutions_count_their_operations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
