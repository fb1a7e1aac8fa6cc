/* What goes wrong on a GPU ends in a sentence and leaves nothing behind: plugin, driver or device that are not there or not fit,
   memory that runs out at any allocation, kernels that fail, a device that is gone. The faults are the fake driver's. */
#include "tests/unit/cuda_backend/gpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Faults of the next cuInit. */
static void plan(const char *name, long n)
{
    char text[32];
    snprintf(text, sizeof text, "%ld", n);
    if (n)
        assert_int_equal(setenv(name, text, 1), 0);
    else
        assert_int_equal(unsetenv(name), 0);
}

struct network {
    struct bs_graph *g;
    struct filled filled;
    struct bs_tensor in, out;
    struct bs_device *dev;
    struct bs_executable *exe;
};

static void make_network(struct network *n)
{
    struct numbers r = {3};
    *n = (struct network){.g = small_unet(1, 1, 2, 8, 1, 8, 8, 'i', true, false)};
    fill_params(&n->filled, n->g, 7);
    n->in = random_tensor(&r, BS_SHAPE(1, 1, 8, 8));
    n->out = new_tensor(BS_SHAPE(1, 2, 8, 8));
}

static bs_status open_and_run(struct network *n, struct bs_err *err)
{
    bs_status rc = bs_device_open("cuda", NULL, &n->dev, err);
    if (rc == BS_OK)
        rc = bs_executable_create(n->dev, n->g, n->filled.params, BS_PRECISION_F32, &n->exe, err);
    if (rc == BS_OK)
        rc = bs_executable_run(n->exe, &n->in, 1, &n->out, 1, NULL, err);
    return rc;
}

static void close_network(struct network *n)
{
    bs_executable_destroy(n->exe);
    n->exe = NULL;
    bs_device_close(n->dev); /* weights still hold the GPU open until the set goes */
    n->dev = NULL;
    free_params(&n->filled);
    bs_graph_destroy(n->g);
    free_tensor(&n->in);
    free_tensor(&n->out);
}

static void refused(const char *spec, const char *text)
{
    struct bs_device *dev = NULL;
    struct bs_err err = {.msg = ""};
    assert_int_not_equal(bs_device_open(spec, NULL, &dev, &err), BS_OK);
    assert_null(dev);
    if (!strstr(err.msg, text))
        fail_msg("\"%s\" does not say \"%s\"", err.msg, text);
}

/* "auto" computes elsewhere and says why. */
static void elsewhere(const char *text)
{
    struct bs_device *dev = NULL;
    struct bs_device_info info;
    struct bs_err err = {.msg = ""};
    assert_int_equal(bs_device_open("auto", NULL, &dev, &err), BS_OK);
    bs_device_describe(dev, &info);
    assert_string_not_equal(info.backend, "cuda");
    if (!strstr(info.notice, text))
        fail_msg("\"%s\" does not say \"%s\"", info.notice, text);
    bs_device_close(dev);
}

static void a_plugin_that_is_missing_or_another_is_named(void **state)
{
    (void)state;
    char plugin[4096], wrong[4096];
    snprintf(plugin, sizeof plugin, "%s", getenv("BS_CUDA_PLUGIN"));
    setenv("BS_CUDA_PLUGIN", "/nowhere/plugin.so", 1);
    refused("cuda", "does not load");
    elsewhere("does not load");
    snprintf(wrong, sizeof wrong, "%s", getenv("BS_TEST_OTHER_PLUGIN"));
    setenv("BS_CUDA_PLUGIN", wrong, 1);
    refused("cuda", "of another version");
    refused("cuda:0", "of another version");
    unsetenv("BS_CUDA_PLUGIN");
    refused("cuda", "is not installed");
    elsewhere("is not installed");
    setenv("BS_CUDA_PLUGIN", plugin, 1);
}

static void a_driver_or_device_that_is_not_fit_is_named(void **state)
{
    (void)state;
    plan("BS_FAKE_CUDA_VERSION", 11040);
    refused("cuda", "CUDA 11.4");
    elsewhere("CUDA 11.4");
    plan("BS_FAKE_CUDA_VERSION", 0);
    plan("BS_FAKE_CUDA_CAPABILITY", 70);
    refused("cuda", "compute capability 7.0");
    plan("BS_FAKE_CUDA_CAPABILITY", 0);
    plan("BS_FAKE_CUDA_FAIL_INIT", 100); /* CUDA_ERROR_NO_DEVICE */
    refused("cuda", "CUDA_ERROR_NO_DEVICE");
    plan("BS_FAKE_CUDA_FAIL_INIT", 0);
    refused("cuda:1", "there is no GPU 1");
}

static void a_device_says_what_it_is(void **state)
{
    (void)state;
    struct bs_device *dev = NULL;
    struct bs_device_info info;
    struct bs_err err = {.msg = ""};
    plan("BS_FAKE_CUDA_DEVICES", 2);
    plan("BS_FAKE_CUDA_CAPABILITY", 75);
    assert_int_equal(bs_device_open("cuda:1", NULL, &dev, &err), BS_OK);
    bs_device_describe(dev, &info);
    assert_string_equal(info.backend, "cuda");
    assert_string_equal(info.isa, "sm_75");
    assert_non_null(strstr(info.name, "GPU 1"));
    assert_non_null(strstr(info.libraries, "driver for CUDA 12."));
    assert_false(info.fast_bf16);
    assert_true(info.memory == (size_t)4 << 30);
    assert_true(bs_device_memory_available(dev) > (size_t)3 << 30);
    bs_device_close(dev);
    plan("BS_FAKE_CUDA_DEVICES", 0);
    plan("BS_FAKE_CUDA_CAPABILITY", 0);
    assert_int_equal(bs_device_open("auto", NULL, &dev, &err), BS_OK);
    bs_device_describe(dev, &info);
    assert_string_equal(info.backend, "cuda");
    assert_string_equal(info.isa, "sm_90");
    bs_device_close(dev);
}

static void memory_that_runs_out_anywhere_is_an_error_and_nothing_leaks(void **state)
{
    (void)state;
    static const char *const fault[] = {"BS_FAKE_CUDA_FAIL_ALLOC", "BS_FAKE_CUDA_FAIL_HOST_ALLOC"};
    for (int f = 0; f < 2; f++) {
        bs_status rc = BS_ENOMEM;
        long n = 0;
        while (rc != BS_OK) {
            struct network net;
            struct bs_err err = {.msg = ""};
            make_network(&net);
            plan(fault[f], ++n);
            rc = open_and_run(&net, &err);
            if (rc != BS_OK && (rc != BS_ENOMEM || !strstr(err.msg, f ? "pinned" : "MiB are free")))
                fail_msg("%s %ld: %s: %s", fault[f], n, bs_status_name(rc), err.msg);
            close_network(&net);
            expect_no_findings();
            assert_true(n < 100);
        }
        assert_true(n > (f ? 1 : 5)); /* weights one by one, then the arena */
        plan(fault[f], 0);
    }
}

static void a_network_that_the_gpu_has_no_memory_for_is_refused_with_the_numbers(void **state)
{
    (void)state;
    struct network net;
    struct bs_err err = {.msg = ""};
    make_network(&net);
    plan("BS_FAKE_CUDA_MEMORY", 32 << 10);
    const bs_status rc = open_and_run(&net, &err);
    assert_int_equal(rc, BS_ENOMEM);
    assert_non_null(strstr(err.msg, "MiB"));
    close_network(&net);
    plan("BS_FAKE_CUDA_MEMORY", 0);
}

static void a_launch_that_is_refused_fails_one_run_only(void **state)
{
    (void)state;
    struct network net;
    struct bs_err err = {.msg = ""};
    make_network(&net);
    plan("BS_FAKE_CUDA_LAUNCH_ERROR", 3);
    assert_int_not_equal(open_and_run(&net, &err), BS_OK);
    assert_non_null(strstr(err.msg, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"));
    assert_false(bs_device_is_lost(net.dev));
    assert_int_equal(bs_executable_run(net.exe, &net.in, 1, &net.out, 1, NULL, &err), BS_OK);
    plan("BS_FAKE_CUDA_LAUNCH_ERROR", 0);
    close_network(&net);
}

static void an_error_that_stays_is_told_once_and_for_all(void **state)
{
    (void)state;
    struct network net;
    struct bs_err err = {.msg = ""};
    make_network(&net);
    plan("BS_FAKE_CUDA_STICKY_AT_LAUNCH", 4);
    assert_int_equal(open_and_run(&net, &err), BS_EIO);
    assert_non_null(strstr(err.msg, "CUDA_ERROR_ILLEGAL_ADDRESS"));
    assert_true(bs_device_is_lost(net.dev));
    assert_int_equal(bs_executable_run(net.exe, &net.in, 1, &net.out, 1, NULL, &err), BS_EIO);
    plan("BS_FAKE_CUDA_STICKY_AT_LAUNCH", 0);
    close_network(&net);
    forget_findings();
}

static void a_device_that_goes_at_any_call_is_an_error(void **state)
{
    (void)state;
    bs_status rc = BS_EIO;
    long n = 0;
    while (rc != BS_OK) {
        struct network net;
        struct bs_err err = {.msg = ""};
        make_network(&net);
        plan("BS_FAKE_CUDA_LOST_AT", ++n);
        rc = open_and_run(&net, &err);
        if (rc != BS_OK && (rc != BS_EIO || !err.msg[0]))
            fail_msg("at call %ld: %s: %s", n, bs_status_name(rc), err.msg);
        if (rc != BS_OK && net.dev)
            assert_true(bs_device_is_lost(net.dev));
        close_network(&net);
        forget_findings();
        assert_true(n < 2000);
    }
    plan("BS_FAKE_CUDA_LOST_AT", 0);
    assert_true(n > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plugin_that_is_missing_or_another_is_named),
        cmocka_unit_test_teardown(a_driver_or_device_that_is_not_fit_is_named, no_findings),
        cmocka_unit_test_teardown(a_device_says_what_it_is, no_findings),
        cmocka_unit_test(memory_that_runs_out_anywhere_is_an_error_and_nothing_leaks),
        cmocka_unit_test_teardown(a_network_that_the_gpu_has_no_memory_for_is_refused_with_the_numbers,
                                  no_findings),
        cmocka_unit_test_teardown(a_launch_that_is_refused_fails_one_run_only, no_findings),
        cmocka_unit_test(an_error_that_stays_is_told_once_and_for_all),
        cmocka_unit_test(a_device_that_goes_at_any_call_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
