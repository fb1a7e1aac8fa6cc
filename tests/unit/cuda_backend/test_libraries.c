/* Products by cuBLASLt, convolutions and attention by cuDNN, on fakes that check what they are told: the same networks give the reference's
   values, what the libraries have no algorithm for is done by own kernels, and the device says which ones are there. */
#include "tests/unit/cuda_backend/gpu.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void near_reference(const struct bs_graph *g, double f32, double half)
{
    for (int way = 0; way < 3; way++) {
        const struct difference d =
            compare(g, (struct how){.device = "cuda", .bf16 = way == 1, .f16 = way == 2}, 5);
        const double allowed = (way ? half : f32) * (d.largest > 1 ? d.largest : 1);
        if (!(d.max <= allowed))
            fail_msg("way %d: differs by %g, allowed %g", way, d.max, allowed);
    }
}

/* What a graph's steps were made of. */
static void expect_algorithms_in(const struct bs_graph *g, enum bs_precision precision, const char *text)
{
    struct bs_device *dev = NULL;
    struct bs_executable *exe = NULL;
    struct bs_err err = {.msg = ""};
    struct filled f;
    fill_params(&f, g, 1);
    if (bs_device_open("cuda", NULL, &dev, &err) != BS_OK ||
        bs_executable_create(dev, g, f.params, precision, &exe, &err) != BS_OK)
        fail_msg("%s", err.msg);
    if (!strstr(bs_executable_algorithms(exe), text))
        fail_msg("\"%s\" does not say \"%s\"", bs_executable_algorithms(exe), text);
    bs_executable_destroy(exe);
    bs_device_close(dev);
    free_params(&f);
}

static void expect_algorithms(const struct bs_graph *g, const char *text)
{
    expect_algorithms_in(g, BS_PRECISION_F32, text);
}

static bs_value linear(struct bs_graph *g, bs_value x, const char *name, int64_t in, int64_t out, bool bias)
{
    char text[2][32] = {"", ""};
    strcat(strcpy(text[0], name), ".w");
    strcat(strcpy(text[1], name), ".bias");
    return bs_graph_linear(g, x, bs_graph_param(g, text[0], BS_SHAPE(out, in)),
                           bias ? bs_graph_param(g, text[1], BS_SHAPE(out)) : BS_NO_VALUE);
}

/* Five products: plain, of a slice, with GELU, with a sum, without a bias. */
static struct bs_graph *tokens(void)
{
    struct bs_graph *g = bs_graph_create();
    struct bs_err err;
    bs_value x = bs_graph_input(g, "x", BS_SHAPE(2, 7, 24));
    x = linear(g, x, "a", 24, 32, true);
    bs_value y = linear(g, bs_graph_slice_last(g, x, 9, 23), "b", 23, 40, true);
    y = bs_graph_gelu(g, linear(g, y, "c", 40, 48, true));
    x = bs_graph_add(g, x, linear(g, y, "d", 48, 32, true));
    bs_graph_output(g, "y", linear(g, x, "e", 32, 5, false));
    assert_int_equal(bs_graph_finish(g, &err), BS_OK);
    return g;
}

static void networks_through_the_libraries_equal_the_reference(void **state)
{
    (void)state;
    static const struct {
        char norm;
        bool transposed;
        const char *algorithms;
    } net[] = {{'b', false, "convolutions: cuDNN 5, own 2; products: cuBLASLt 1, own 0"},
               {'i', true, "convolutions: cuDNN 5, own 2; products: cuBLASLt 1, own 0"}};
    for (size_t i = 0; i < sizeof net / sizeof *net; i++) {
        struct bs_graph *g = small_unet(2, 1, 2, 8, 1, 10, 12, net[i].norm, net[i].transposed, true);
        expect_algorithms(g, net[i].algorithms);
        near_reference(g, 2e-4, 0.06);
        bs_graph_destroy(g);
    }
}

static void products_through_the_library_equal_the_reference(void **state)
{
    (void)state;
    struct bs_graph *g = tokens();
    expect_algorithms(g, "cuBLASLt 5, own 0");
    near_reference(g, 2e-5, 0.04);
    bs_graph_destroy(g);
}

/* Without an activation; strides and odd sizes. */
static void convolutions_through_the_library_equal_the_reference(void **state)
{
    (void)state;
    static const struct {
        int kernel, stride, pad;
    } conv[] = {{3, 1, 1}, {3, 2, 1}, {5, 1, 0}, {3, 1, 2}};
    for (size_t i = 0; i < sizeof conv / sizeof *conv; i++) {
        struct bs_graph *g = bs_graph_create();
        struct bs_err err;
        const int k = conv[i].kernel;
        const bs_value x = bs_graph_input(g, "x", BS_SHAPE(2, 9, 7, 11));
        bs_graph_output(g, "y",
                        bs_graph_conv2d(g, x, bs_graph_param(g, "w", BS_SHAPE(13, 9, k, k)), BS_NO_VALUE,
                                        conv[i].stride, conv[i].pad));
        assert_int_equal(bs_graph_finish(g, &err), BS_OK);
        expect_algorithms(g, "cuDNN 1, own 0");
        near_reference(g, 2e-5, 0.04);
        bs_graph_destroy(g);
    }
}

static void what_the_libraries_cannot_is_done_by_own_kernels(void **state)
{
    (void)state;
    struct bs_graph *g = small_unet(1, 1, 2, 8, 1, 10, 12, 'i', true, false);
    setenv("BS_FAKE_CUBLASLT_NONE", "1", 1);
    setenv("BS_FAKE_CUDNN_NONE", "1", 1);
    expect_algorithms(g, "convolutions: cuDNN 0, own 7; products: cuBLASLt 0, own 1");
    near_reference(g, 2e-4, 0.06);
    unsetenv("BS_FAKE_CUBLASLT_NONE");
    unsetenv("BS_FAKE_CUDNN_NONE");
    bs_graph_destroy(g);
}

/* Two samples of 5 x 7 tokens, two heads of 8 features; 2 and 3 are relative, 1 and 3 in windows of 3 that stick out. */
static struct bs_graph *attention(int kind)
{
    struct bs_graph *g = bs_graph_create();
    struct bs_err err;
    const bool relative = kind >= 2;
    const int window = kind % 2 ? 3 : 0;
    const bs_value x = bs_graph_input(g, "x", BS_SHAPE(2, 35, 48));
    const bs_value pad = bs_graph_param(g, "pad", BS_SHAPE(48)),
                   rel_h = relative ? bs_graph_param(g, "rel_h", BS_SHAPE(window ? 5 : 9, 8)) : BS_NO_VALUE,
                   rel_w = relative ? bs_graph_param(g, "rel_w", BS_SHAPE(window ? 5 : 13, 8)) : BS_NO_VALUE;
    bs_graph_output(g, "y", bs_graph_attention(g, x, pad, rel_h, rel_w, 2, 5, 7, window));
    assert_int_equal(bs_graph_finish(g, &err), BS_OK);
    return g;
}

static void attention_through_the_library_equals_the_reference(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        struct bs_graph *g = attention(kind);
        expect_algorithms_in(g, BS_PRECISION_F32, "attention: cuDNN 0, own 1 (float32)");
        expect_algorithms_in(g, BS_PRECISION_F16, "attention: cuDNN 1, own 0; ");
        expect_algorithms_in(g, BS_PRECISION_BF16, "attention: cuDNN 1, own 0; ");
        near_reference(g, 2e-5, 0.02);
        bs_graph_destroy(g);
    }
}

/* The environment, the device and the library decide who attends; what was decided is said, and computes the same. */
static void who_attends_is_decided_and_said(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value;
        int kind;
        const char *says;
    } cases[] = {
        {"BS_FAKE_CUDA_CAPABILITY", "80", 3, "cuDNN 0, own 1 (longer queries do not pay on this GPU); "},
        {"BS_FAKE_CUDA_CAPABILITY", "120", 2, "cuDNN 0, own 1 (longer queries do not pay on this GPU); "},
        {"BS_FAKE_CUDA_CAPABILITY", "80", 0, "cuDNN 1, own 0; "},
        {"BS_FAKE_CUDA_CAPABILITY", "100", 3, "cuDNN 1, own 0; "},
        {"BS_FAKE_CUDA_CAPABILITY", "75", 0, "cuDNN 0, own 1 (the GPU is older than sm_80); "},
        {"BS_CUDA_ATTENTION", "own", 0, "cuDNN 0, own 1 (BS_CUDA_ATTENTION); "},
        {"BS_FAKE_CUDNN_VERSION", "90800", 3, "cuDNN 0, own 1 (cuDNN 9.8.0 has none, 9.13.1 has); "},
        {"BS_FAKE_CUDNN_NONE", "1", 0, "cuDNN 0, own 1 (cuDNN proposes no engine); "},
        {"BS_FAKE_CUDNN_REFUSE", "1", 3, "cuDNN 0, own 1 (cuDNN cannot build attention: not supported); "},
        {"BS_CUDA_LIBRARIES", "none", 0, "cuDNN 0, own 1 (no cuDNN); "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bs_graph *g = attention(cases[i].kind);
        setenv(cases[i].name, cases[i].value, 1);
        expect_algorithms_in(g, BS_PRECISION_F16, cases[i].says);
        near_reference(g, 2e-5, 0.02);
        unsetenv(cases[i].name);
        bs_graph_destroy(g);
    }
    struct bs_graph *g = attention(2);
    setenv("BS_FAKE_CUDA_CAPABILITY", "80", 1);
    setenv("BS_CUDA_ATTENTION", "cudnn", 1);
    expect_algorithms_in(g, BS_PRECISION_F16, "cuDNN 1, own 0; ");
    near_reference(g, 2e-5, 0.02);
    unsetenv("BS_CUDA_ATTENTION");
    unsetenv("BS_FAKE_CUDA_CAPABILITY");
    bs_graph_destroy(g);
}

/* What a network's plan is called on a device opened so. */
static uint64_t plan_hash(const struct bs_graph *g, const struct bs_device_options *opt, const char *expected)
{
    struct bs_device *dev = NULL;
    struct bs_executable *exe = NULL;
    struct bs_err err = {.msg = ""};
    struct filled f;
    fill_params(&f, g, 1);
    if (bs_device_open("cuda", opt, &dev, &err) != BS_OK ||
        bs_executable_create(dev, g, f.params, BS_PRECISION_F32, &exe, &err) != BS_OK)
        fail_msg("%s", err.msg);
    if (!strstr(bs_executable_algorithms(exe), expected))
        fail_msg("\"%s\" does not say \"%s\"", bs_executable_algorithms(exe), expected);
    const uint64_t hash = bs_executable_plan_hash(exe);
    bs_executable_destroy(exe);
    bs_device_close(dev);
    free_params(&f);
    return hash;
}

static void plans_that_compute_otherwise_have_other_names(void **state)
{
    (void)state;
    struct bs_graph *g = tokens();
    const struct bs_device_options plain = {.allow_winograd = true},
                                   tf32 = {.allow_winograd = true, .allow_tf32 = true};
    const uint64_t first = plan_hash(g, &plain, "f32");
    assert_true(first == plan_hash(g, &plain, "f32"));
    assert_true(first != plan_hash(g, &tf32, "tf32 products"));
    setenv("BS_CUDA_LIBRARIES", "none", 1);
    assert_true(first != plan_hash(g, &plain, "own 5"));
    unsetenv("BS_CUDA_LIBRARIES");
    bs_graph_destroy(g);
}

static void describe(struct bs_device_info *info)
{
    struct bs_device *dev = NULL;
    struct bs_err err = {.msg = ""};
    if (bs_device_open("cuda", NULL, &dev, &err) != BS_OK)
        fail_msg("%s", err.msg);
    bs_device_describe(dev, info);
    bs_device_close(dev);
}

static void a_device_says_which_libraries_are_there(void **state)
{
    (void)state;
    struct bs_device_info info;
    describe(&info);
    assert_non_null(strstr(info.libraries, "cuBLASLt 13.0.0, cuDNN 9.19.0"));
    assert_string_equal(info.notice, "");
    setenv("BS_CUDA_LIBRARIES", "none", 1);
    describe(&info);
    unsetenv("BS_CUDA_LIBRARIES");
    assert_non_null(strstr(info.libraries, "own products, own convolutions"));
    assert_non_null(strstr(info.notice, "BS_CUDA_LIBRARIES"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(networks_through_the_libraries_equal_the_reference, no_findings),
        cmocka_unit_test_teardown(products_through_the_library_equal_the_reference, no_findings),
        cmocka_unit_test_teardown(convolutions_through_the_library_equal_the_reference, no_findings),
        cmocka_unit_test_teardown(attention_through_the_library_equals_the_reference, no_findings),
        cmocka_unit_test_teardown(who_attends_is_decided_and_said, no_findings),
        cmocka_unit_test_teardown(what_the_libraries_cannot_is_done_by_own_kernels, no_findings),
        cmocka_unit_test_teardown(plans_that_compute_otherwise_have_other_names, no_findings),
        cmocka_unit_test_teardown(a_device_says_which_libraries_are_there, no_findings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
