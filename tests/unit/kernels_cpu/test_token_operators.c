/* Every operator over tokens, and every pattern that lowering fuses, on the CPU backend against the reference backend: with
   every instruction set that this processor has, in float32 and bf16, over shapes that do not fit vectors or tasks. With
   BS_TEST_GPU the same on the CUDA backend, in float32, bf16 and f16. */
#include "tests/unit/kernels_cpu/compare.h"

#include <stdio.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static const struct {
    int64_t n, tokens, features;
} size[] = {{1, 1, 2}, {2, 5, 8}, {3, 7, 18}, {2, 33, 34}, {1, 70, 96}};

struct pattern {
    struct bs_graph *g;
    int64_t n, tokens, features;
};

#ifdef BS_TEST_GPU
static const char *const under_test = "cuda";

static int ways(struct how how[6])
{
    how[0] = (struct how){.device = under_test};
    how[1] = (struct how){.device = under_test, .bf16 = true};
    how[2] = (struct how){.device = under_test, .f16 = true};
    return 3;
}
#else
#include "kernels/cpu/simd.h"

static const char *const under_test = "cpu";

static int ways(struct how how[6])
{
    static const char *const instructions[] = {"base", "avx2", "avx512"};
    int count = 0;
    for (size_t i = 0; i < COUNT(instructions); i++)
        for (int bf16 = 0; bf16 < 2 && bs__simd_named(instructions[i]); bf16++)
            how[count++] =
                (struct how){.winograd = true, .threads = 2, .bf16 = bf16 != 0, .isa = instructions[i]};
    return count;
}
#endif

static void check(struct pattern p, bs_value y, double tolerance)
{
    struct bs_err err;
    bs_graph_output(p.g, "y", y);
    if (bs_graph_finish(p.g, &err) != BS_OK)
        fail_msg("%s", err.msg);
    struct how how[6];
    const int count = ways(how);
    for (int i = 0; i < count; i++) {
        const struct difference d = compare(p.g, how[i], 5);
        const bool half = how[i].bf16 || how[i].f16;
        const double allowed = (half ? 0.04 : tolerance) * (d.largest > 1 ? d.largest : 1);
        if (!(d.max <= allowed))
            fail_msg("%dx%dx%d %s %s: differs by %g, allowed %g", (int)p.n, (int)p.tokens, (int)p.features,
                     how[i].isa ? how[i].isa : under_test,
                     how[i].bf16  ? "bf16"
                     : how[i].f16 ? "f16"
                                  : "f32",
                     d.max, allowed);
    }
    bs_graph_destroy(p.g);
}

typedef bs_value (*make_fn)(const struct pattern *p, bs_value x);

/* Builds the pattern for every size; x is (n, tokens, features). */
static void over_sizes(make_fn make, double tolerance)
{
    for (size_t s = 0; s < COUNT(size); s++) {
        struct pattern p = {bs_graph_create(), size[s].n, size[s].tokens, size[s].features};
        check(p, make(&p, bs_graph_input(p.g, "x", BS_SHAPE(p.n, p.tokens, p.features))), tolerance);
    }
}

static bs_value vector(const struct pattern *p, const char *name, int64_t features)
{
    return bs_graph_param(p->g, name, BS_SHAPE(features));
}

static bs_value linear(const struct pattern *p, bs_value x, const char *name, int64_t in, int64_t out,
                       const char *bias)
{
    return bs_graph_linear(p->g, x, bs_graph_param(p->g, name, BS_SHAPE(out, in)),
                           bias ? vector(p, bias, out) : BS_NO_VALUE);
}

static bs_value layer_norm(const struct pattern *p, bs_value x)
{
    return bs_graph_layer_norm(p->g, x, vector(p, "n.weight", p->features), vector(p, "n.bias", p->features),
                               1e-6f);
}

static bs_value rms_norm(const struct pattern *p, bs_value x)
{
    return bs_graph_rms_norm(p->g, x, vector(p, "r.weight", p->features), 1e-5f);
}

static bs_value gelu(const struct pattern *p, bs_value x)
{
    return bs_graph_gelu(p->g, x);
}

static bs_value silu(const struct pattern *p, bs_value x)
{
    return bs_graph_silu(p->g, x);
}

static bs_value arithmetic(const struct pattern *p, bs_value x)
{
    bs_value y = bs_graph_mul(p->g, bs_graph_relu(p->g, x), bs_graph_sigmoid(p->g, x));
    return bs_graph_scale(p->g, bs_graph_add(p->g, y, x), -1.5f);
}

static bs_value twice(const struct pattern *p, bs_value x)
{
    return bs_graph_add(p->g, x, x);
}

static bs_value sum_and_norm(const struct pattern *p, bs_value x)
{
    bs_value sum = bs_graph_add(p->g, bs_graph_scale(p->g, x, 2), x);
    return bs_graph_add(p->g, rms_norm(p, sum), bs_graph_scale(p->g, sum, 0.25f));
}

static bs_value last_features(const struct pattern *p, bs_value x)
{
    return bs_graph_slice_last(p->g, x, p->features / 2, p->features - p->features / 2);
}

static bs_value last_tokens(const struct pattern *p, bs_value x)
{
    return bs_graph_slice_tokens(p->g, x, p->tokens / 2, p->tokens - p->tokens / 2);
}

static bs_value a_slice_of_a_slice(const struct pattern *p, bs_value x)
{
    x = last_tokens(p, last_features(p, bs_graph_scale(p->g, x, 3)));
    return bs_graph_slice_last(p->g, x, 0, 1);
}

static bs_value insert(const struct pattern *p, bs_value x, int64_t at)
{
    return bs_graph_insert_token(p->g, x, bs_graph_param(p->g, "token", BS_SHAPE(1, 1, p->features)), at);
}

static bs_value token_in_front(const struct pattern *p, bs_value x)
{
    return insert(p, x, 0);
}

static bs_value token_in_the_middle(const struct pattern *p, bs_value x)
{
    return insert(p, x, p->tokens / 2);
}

static bs_value token_behind(const struct pattern *p, bs_value x)
{
    return insert(p, x, p->tokens);
}

static bs_value positions_as_they_are(const struct pattern *p, bs_value x)
{
    bs_value table = bs_graph_param(p->g, "position", BS_SHAPE(1, p->tokens + 1, p->features));
    return bs_graph_add_position(p->g, insert(p, x, p->tokens / 2), table, p->tokens, 1, p->tokens / 2);
}

static bs_value positions_of_another_grid(const struct pattern *p, bs_value x)
{
    bs_value table = bs_graph_param(p->g, "position", BS_SHAPE(1, 3, 3, p->features));
    return bs_graph_add_position(p->g, x, table, 1, p->tokens, -1);
}

static bs_value rotary(const struct pattern *p, bs_value x)
{
    const int64_t rows = p->tokens > 1 ? p->tokens - 1 : 1;
    return bs_graph_rotary(p->g, x, bs_graph_param(p->g, "cos", BS_SHAPE(rows, p->features)),
                           bs_graph_param(p->g, "sin", BS_SHAPE(rows, p->features)));
}

static bs_value image_and_back(const struct pattern *p, bs_value x)
{
    bs_value image = bs_graph_image_from_tokens(p->g, x, 1, p->tokens);
    return bs_graph_tokens_from_image(p->g, bs_graph_relu(p->g, image));
}

static bs_value plain_linear(const struct pattern *p, bs_value x)
{
    return linear(p, x, "w", p->features, 37, NULL);
}

static bs_value linear_of_a_view(const struct pattern *p, bs_value x)
{
    x = last_tokens(p, last_features(p, x));
    return linear(p, x, "w", p->features - p->features / 2, 20, "w.bias");
}

static bs_value linear_and_activations(const struct pattern *p, bs_value x)
{
    bs_value a = bs_graph_gelu(p->g, linear(p, x, "a", p->features, 19, "a.bias"));
    bs_value b = bs_graph_silu(p->g, linear(p, x, "b", p->features, 19, NULL));
    bs_value c = bs_graph_relu(p->g, linear(p, x, "c", p->features, 19, "c.bias"));
    bs_value d = bs_graph_sigmoid(p->g, linear(p, x, "d", p->features, 19, "d.bias"));
    return bs_graph_add(p->g, bs_graph_add(p->g, a, b), bs_graph_add(p->g, c, d));
}

static bs_value linears_added(const struct pattern *p, bs_value x)
{
    return bs_graph_add(p->g, linear(p, x, "a", p->features, 24, "a.bias"),
                        linear(p, x, "b", p->features, 24, NULL));
}

/* As a transformer's block has it. */
static bs_value block_of_a_transformer(const struct pattern *p, bs_value x)
{
    const int64_t wide = 4 * p->features;
    bs_value y = linear(p, layer_norm(p, x), "a", p->features, wide, "a.bias");
    y = linear(p, bs_graph_gelu(p->g, y), "b", wide, p->features, "b.bias");
    x = bs_graph_add(p->g, x, y);
    return linear(p, rms_norm(p, x), "c", p->features, 5, NULL);
}

/* A norm that two read is made once, by itself. */
static bs_value norm_for_two(const struct pattern *p, bs_value x)
{
    bs_value y = rms_norm(p, x);
    return bs_graph_add(p->g, linear(p, y, "a", p->features, p->features, NULL), y);
}

static void passes_over_rows_equal_the_reference(void **state)
{
    (void)state;
    over_sizes(layer_norm, 1e-5);
    over_sizes(rms_norm, 1e-5);
    over_sizes(gelu, 1e-6);
    over_sizes(silu, 1e-6);
    over_sizes(arithmetic, 1e-6);
    over_sizes(twice, 0);
    over_sizes(sum_and_norm, 1e-5);
}

static void tokens_are_moved_as_in_the_reference(void **state)
{
    (void)state;
    over_sizes(last_features, 0);
    over_sizes(last_tokens, 0);
    over_sizes(a_slice_of_a_slice, 0);
    over_sizes(token_in_front, 0);
    over_sizes(token_in_the_middle, 0);
    over_sizes(token_behind, 0);
    over_sizes(positions_as_they_are, 1e-6);
    over_sizes(positions_of_another_grid, 1e-6);
    over_sizes(rotary, 1e-6);
    over_sizes(image_and_back, 0);
}

static void linears_equal_the_reference(void **state)
{
    (void)state;
    over_sizes(plain_linear, 1e-5);
    over_sizes(linear_of_a_view, 1e-5);
    over_sizes(linear_and_activations, 1e-5);
    over_sizes(linears_added, 1e-5);
    over_sizes(block_of_a_transformer, 2e-5);
    over_sizes(norm_for_two, 1e-5);
}

/* An image of (n, 3, h, w) to tokens of patches, and what may stand around that. */
static void check_patches(int64_t n, int64_t h, int64_t w, int patch, bool read_twice, bool computed)
{
    struct pattern p = {bs_graph_create(), n, h, w};
    bs_value x = bs_graph_input(p.g, "x", BS_SHAPE(n, 3, h, w));
    if (computed)
        x = bs_graph_relu(p.g, x);
    bs_value tokens = bs_graph_tokens_from_image(
        p.g, bs_graph_conv2d(p.g, x, bs_graph_param(p.g, "w", BS_SHAPE(21, 3, patch, patch)),
                             vector(&p, "w.bias", 21), patch, 0));
    if (read_twice)
        bs_graph_output(p.g, "also", bs_graph_relu(p.g, x));
    check(p, tokens, 1e-5);
}

static void patches_equal_the_reference(void **state)
{
    (void)state;
    check_patches(1, 16, 32, 16, false, false);
    check_patches(2, 13, 22, 4, false, false);
    check_patches(2, 9, 12, 3, true, false);
    check_patches(1, 12, 8, 4, false, true);
}

/* The moments of an image made of tokens are those that the norm behind it needs. */
static void an_image_of_tokens_can_be_normed(void **state)
{
    (void)state;
    for (int64_t features = 3; features < 40; features += 18) {
        struct pattern p = {bs_graph_create(), 2, 77, features};
        bs_value x = bs_graph_input(p.g, "x", BS_SHAPE(2, 77, features));
        x = bs_graph_instance_norm(p.g, bs_graph_image_from_tokens(p.g, x, 7, 11), 1e-5f);
        check(
            p,
            bs_graph_conv2d(p.g, x, bs_graph_param(p.g, "w", BS_SHAPE(5, features, 3, 3)), BS_NO_VALUE, 1, 1),
            2e-4);
    }
}

static void check_attention(int64_t n, int heads, int64_t d, int64_t h, int64_t w, int window, bool pad,
                            bool relative)
{
    struct pattern p = {bs_graph_create(), n, h * w, heads * d};
    const int64_t length = window ? 2 * window - 1 : 7;
    bs_value x = bs_graph_input(p.g, "x", BS_SHAPE(n, h * w, 3 * heads * d));
    check(p,
          bs_graph_attention(p.g, x, pad || relative ? vector(&p, "pad", 3 * heads * d) : BS_NO_VALUE,
                             relative ? bs_graph_param(p.g, "rel_h", BS_SHAPE(length, d)) : BS_NO_VALUE,
                             relative ? bs_graph_param(p.g, "rel_w", BS_SHAPE(length, d)) : BS_NO_VALUE,
                             heads, h, w, window),
          2e-5);
}

static void attention_equals_the_reference(void **state)
{
    (void)state;
    check_attention(1, 1, 4, 1, 1, 0, false, false);
    check_attention(2, 3, 5, 3, 7, 0, false, false);
    check_attention(1, 2, 16, 4, 4, 0, true, true);
    check_attention(2, 2, 8, 7, 5, 3, true, true);
    check_attention(1, 1, 20, 6, 6, 4, false, false);
    check_attention(1, 2, 64, 17, 9, 14, true, true);
}

static bs_value conv1d(const struct pattern *p, bs_value x, const char *name, int kernel, bool bias,
                       bool reverse)
{
    char b[32];
    snprintf(b, sizeof b, "%s.bias", name);
    return bs_graph_causal_conv1d(p->g, x, bs_graph_param(p->g, name, BS_SHAPE(p->features, 1, kernel)),
                                  bias ? vector(p, b, p->features) : BS_NO_VALUE, reverse);
}

static bs_value convolution(const struct pattern *p, bs_value x)
{
    return conv1d(p, x, "a", 4, true, false);
}

static bs_value convolution_from_the_end(const struct pattern *p, bs_value x)
{
    return bs_graph_silu(p->g, conv1d(p, x, "a", 3, false, true));
}

static bs_value convolutions_of_one_input(const struct pattern *p, bs_value x)
{
    bs_value a = bs_graph_silu(p->g, conv1d(p, x, "a", 4, true, false));
    bs_value b = bs_graph_silu(p->g, conv1d(p, x, "b", 4, false, true));
    bs_value c = conv1d(p, x, "c", 2, false, false);
    return bs_graph_add(p->g, bs_graph_add(p->g, a, b), c);
}

#define STATES 5

/* A direction of a scan whose step sizes, B and C are all given. */
static bs_value scan(const struct pattern *p, bs_value u, const char *name, bool gate, bool reverse)
{
    char text[4][32];
    static const char *const leaf[] = {"a_log", "skip", "dt.bias", "bc"};
    for (int i = 0; i < 4; i++)
        snprintf(text[i], sizeof text[i], "%s.%s", name, leaf[i]);
    bs_value bc = linear(p, u, text[3], p->features, 2 * STATES, NULL);
    const struct bs_scan_inputs in = {
        .u = u,
        .delta = bs_graph_scale(p->g, u, 0.5f),
        .a_log = bs_graph_param(p->g, text[0], BS_SHAPE(p->features, STATES)),
        .b = bs_graph_slice_last(p->g, bc, 0, STATES),
        .c = bs_graph_slice_last(p->g, bc, STATES, STATES),
        .skip = vector(p, text[1], p->features),
        .delta_bias = vector(p, text[2], p->features),
        .z = gate ? bs_graph_scale(p->g, u, -1) : BS_NO_VALUE,
    };
    return bs_graph_selective_scan(p->g, &in, reverse);
}

static bs_value one_scan(const struct pattern *p, bs_value x)
{
    return scan(p, x, "a", false, false);
}

static bs_value scans_that_share_nothing(const struct pattern *p, bs_value x)
{
    return bs_graph_add(p->g, scan(p, x, "a", true, false), scan(p, x, "b", false, true));
}

static bs_value scans_without_a_gate(const struct pattern *p, bs_value x)
{
    return bs_graph_scale(
        p->g, bs_graph_add(p->g, scan(p, x, "a", false, false), scan(p, x, "b", false, true)), 0.5f);
}

/* One direction of a mixer of Vision Mamba. */
static bs_value direction(const struct pattern *p, bs_value x, bs_value z, const char *name, int64_t rank,
                          bool reverse)
{
    char text[6][32];
    static const char *const leaf[] = {"conv", "x_proj", "dt_proj", "dt.bias", "a_log", "skip"};
    for (int i = 0; i < 6; i++)
        snprintf(text[i], sizeof text[i], "%s.%s", name, leaf[i]);
    struct bs_scan_inputs in = {.z = z};
    in.u = bs_graph_silu(p->g, conv1d(p, x, text[0], 4, true, reverse));
    bs_value projected = linear(p, in.u, text[1], p->features, rank + 2 * STATES, NULL);
    in.delta = linear(p, bs_graph_slice_last(p->g, projected, 0, rank), text[2], rank, p->features, NULL);
    in.b = bs_graph_slice_last(p->g, projected, rank, STATES);
    in.c = bs_graph_slice_last(p->g, projected, rank + STATES, STATES);
    in.delta_bias = vector(p, text[3], p->features);
    in.a_log = bs_graph_param(p->g, text[4], BS_SHAPE(p->features, STATES));
    in.skip = vector(p, text[5], p->features);
    return bs_graph_selective_scan(p->g, &in, reverse);
}

static bs_value mixer(const struct pattern *p, bs_value x, int64_t second_rank, bool scale)
{
    bs_value xz = linear(p, rms_norm(p, x), "in", p->features, 2 * p->features, NULL);
    bs_value z = bs_graph_slice_last(p->g, xz, p->features, p->features);
    xz = bs_graph_slice_last(p->g, xz, 0, p->features);
    bs_value y =
        bs_graph_add(p->g, direction(p, xz, z, "f", 3, false), direction(p, xz, z, "b", second_rank, true));
    if (scale)
        y = bs_graph_scale(p->g, y, 0.5f);
    return bs_graph_add(p->g, x, linear(p, y, "out", p->features, p->features, NULL));
}

static bs_value mixer_of_vision_mamba(const struct pattern *p, bs_value x)
{
    return mixer(p, x, 3, true);
}

static bs_value mixer_of_the_paper(const struct pattern *p, bs_value x)
{
    return mixer(p, x, 3, false);
}

static bs_value mixer_of_unequal_directions(const struct pattern *p, bs_value x)
{
    return mixer(p, x, 4, true);
}

static void mixers_equal_the_reference(void **state)
{
    (void)state;
    over_sizes(convolution, 1e-5);
    over_sizes(convolution_from_the_end, 1e-5);
    over_sizes(convolutions_of_one_input, 1e-5);
    over_sizes(one_scan, 2e-5);
    over_sizes(scans_that_share_nothing, 2e-5);
    over_sizes(scans_without_a_gate, 2e-5);
    over_sizes(mixer_of_vision_mamba, 3e-5);
    over_sizes(mixer_of_the_paper, 3e-5);
    over_sizes(mixer_of_unequal_directions, 3e-5);
}

static void what_tokens_cannot_be_is_refused_by_name(void **state)
{
    (void)state;
    struct bs_graph *g = bs_graph_create();
    struct bs_err err;
    bs_value x = bs_graph_input(g, "x", BS_SHAPE(1, 2, 3, 4));
    bs_graph_output(g, "y", bs_graph_linear(g, x, bs_graph_param(g, "w", BS_SHAPE(5, 4)), BS_NO_VALUE));
    assert_int_equal(bs_graph_finish(g, &err), BS_OK);
    struct filled f;
    fill_params(&f, g, 1);
    struct bs_device *dev = NULL;
    struct bs_executable *exe = NULL;
    assert_int_equal(bs_device_open(under_test, NULL, &dev, &err), BS_OK);
    assert_int_equal(bs_executable_create(dev, g, f.params, BS_PRECISION_F32, &exe, &err), BS_EUNSUPPORTED);
    assert_non_null(strstr(err.msg, "4 dimensions are an image"));
    bs_device_close(dev);
#ifndef BS_TEST_GPU
    const struct bs_device_options unknown = {.isa = "sse"};
    assert_int_equal(bs_device_open("cpu", &unknown, &dev, &err), BS_EUNSUPPORTED);
    assert_non_null(strstr(err.msg, "\"sse\""));
#endif
    free_params(&f);
    bs_graph_destroy(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passes_over_rows_equal_the_reference),
        cmocka_unit_test(tokens_are_moved_as_in_the_reference),
        cmocka_unit_test(linears_equal_the_reference),
        cmocka_unit_test(patches_equal_the_reference),
        cmocka_unit_test(an_image_of_tokens_can_be_normed),
        cmocka_unit_test(attention_equals_the_reference),
        cmocka_unit_test(mixers_equal_the_reference),
        cmocka_unit_test(what_tokens_cannot_be_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
