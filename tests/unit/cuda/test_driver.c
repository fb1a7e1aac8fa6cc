/* What a machine can lack and a device can do wrong: each has its status and a message that says so. Faults are planned through
   the emulation's environment (tests/emulation/faults.h). */
#include "kernels/cuda/driver.h"
#include "kernels/cuda/launch.h"
#include "tests/emulation/selftest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const planned[] = {
    "BS_FAKE_CUDA_DEVICES",         "BS_FAKE_CUDA_VERSION",      "BS_FAKE_CUDA_CAPABILITY",
    "BS_FAKE_CUDA_MEMORY",          "BS_FAKE_CUDA_FAIL_INIT",    "BS_FAKE_CUDA_FAIL_ALLOC",
    "BS_FAKE_CUDA_FAIL_HOST_ALLOC", "BS_FAKE_CUDA_LAUNCH_ERROR", "BS_FAKE_CUDA_STICKY_AT_LAUNCH",
    "BS_FAKE_CUDA_LOST_AT",
};

static int plan_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof planned / sizeof *planned; i++)
        unsetenv(planned[i]);
    return 0;
}

/* Opening fails with this status and these words. */
static void refuses(const char *file, bs_status code, const char *words)
{
    struct bs__driver d;
    struct bs_err err = {0};
    assert_int_equal(bs__driver_open(file, &d, &err), code);
    if (!strstr(err.msg, words))
        fail_msg("\"%s\" does not say \"%s\"", err.msg, words);
    assert_null(d.library);
    bs__driver_close(&d);
}

static void a_missing_library_is_named(void **state)
{
    (void)state;
    refuses("libcuda-is-not-here.so.1", BS_EUNSUPPORTED, "there is no NVIDIA driver on this machine");
    refuses("libcuda-is-not-here.so.1", BS_EUNSUPPORTED, "libcuda-is-not-here.so.1");
}

static void a_missing_function_is_named(void **state)
{
    (void)state;
    refuses(BS_TEST_OLD_DRIVER, BS_EUNSUPPORTED, "has no function cuGraphExecDestroy");
    refuses(BS_TEST_OLD_DRIVER, BS_EUNSUPPORTED, "driver 570");
}

static void an_old_driver_is_told_its_version(void **state)
{
    (void)state;
    setenv("BS_FAKE_CUDA_VERSION", "12040", 1);
    refuses(NULL, BS_EUNSUPPORTED,
            "the driver supports CUDA 12.4; this build needs 12.8 or newer (driver 570 or newer)");
}

static void no_gpu_is_not_found(void **state)
{
    (void)state;
    setenv("BS_FAKE_CUDA_DEVICES", "0", 1);
    refuses(NULL, BS_ENOTFOUND, "cannot start the NVIDIA driver");
    refuses(NULL, BS_ENOTFOUND, "CUDA_ERROR_NO_DEVICE, 100");
}

static void a_driver_that_does_not_start_says_why(void **state)
{
    (void)state;
    setenv("BS_FAKE_CUDA_FAIL_INIT", "803", 1);
    refuses(NULL, BS_EUNSUPPORTED, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, 803");
    setenv("BS_FAKE_CUDA_FAIL_INIT", "4321", 1); /* which this driver has no name for */
    refuses(NULL, BS_EINTERNAL, "the driver has no text for it (unknown, 4321)");
}

struct device {
    struct bs__driver d;
    struct bs__queue *q;
};

static void open_device(struct device *v)
{
    struct bs_err err = {0};
    bs__cu_context c = NULL;
    if (bs__driver_open(NULL, &v->d, &err) != BS_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(v->d.context_retain(&c, 0), 0);
    assert_int_equal(v->d.context_set(c), 0);
    if (bs__queue_create(&v->d, 0, "emulation", &v->q, &err) != BS_OK)
        fail_msg("%s", err.msg);
}

static void close_device(struct device *v)
{
    bs__queue_destroy(v->q);
    (void)v->d.context_release(0);
    bs__driver_close(&v->d);
}

static bs_status launch_twice(struct device *v, bs_address at, struct bs_err *err)
{
    const struct selftest_arguments a = {at, at, 64, 0};
    const struct bs__launch l = {"selftest_twice", BS__F32, {1, 1, 1}, 64, 0};
    return bs__queue_launch(v->q, &l, &a, sizeof a, err);
}

static void an_allocation_that_finds_no_memory_harms_nothing_else(void **state)
{
    (void)state;
    struct device v;
    struct bs_err err = {0};
    bs__cu_address first = 0, second = 0, large = 0;
    setenv("BS_FAKE_CUDA_FAIL_ALLOC", "2", 1);
    setenv("BS_FAKE_CUDA_MEMORY", "1000000", 1);
    open_device(&v);
    assert_int_equal(v.d.memory_alloc(&first, 256), 0);
    assert_int_equal(
        bs__driver_check(&v.d, v.d.memory_alloc(&second, 256), &err, "cannot have %d bytes", 256), BS_ENOMEM);
    assert_string_equal(err.msg, "cannot have 256 bytes: out of memory (CUDA_ERROR_OUT_OF_MEMORY, 2)");
    assert_int_equal(v.d.memory_alloc(&large, 999745), BS__CU_OUT_OF_MEMORY);
    assert_int_equal(v.d.memory_alloc(&second, 256), 0);
    size_t left = 0, total = 0;
    assert_int_equal(v.d.memory_info(&left, &total), 0);
    assert_int_equal(total, 1000000);
    assert_int_equal(left, 1000000 - 512);
    assert_int_equal(bs__queue_zero(v.q, first, 256, &err), BS_OK);
    assert_int_equal(launch_twice(&v, first, &err), BS_OK);
    assert_int_equal(bs__queue_wait(v.q, &err), BS_OK);
    assert_int_equal(v.d.memory_free(first), 0);
    assert_int_equal(v.d.memory_free(second), 0);
    assert_int_equal(v.d.memory_free(second), BS__CU_INVALID_VALUE);
    close_device(&v);
}

static void a_refused_launch_is_told_and_the_next_works(void **state)
{
    (void)state;
    struct device v;
    struct bs_err err = {0};
    bs__cu_address at = 0;
    setenv("BS_FAKE_CUDA_LAUNCH_ERROR", "1", 1);
    open_device(&v);
    assert_int_equal(v.d.memory_alloc(&at, 256), 0);
    assert_int_equal(bs__queue_zero(v.q, at, 256, &err), BS_OK);
    assert_int_equal(launch_twice(&v, at, &err), BS_EINTERNAL);
    assert_string_equal(err.msg, "cannot queue kernel selftest_twice_f32: CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES "
                                 "(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, 701)");
    assert_int_equal(launch_twice(&v, at, &err), BS_OK);
    assert_int_equal(bs__queue_wait(v.q, &err), BS_OK);
    assert_int_equal(v.d.memory_free(at), 0);
    close_device(&v);
}

/* What a kernel does wrong on a real GPU: nothing works any more, and it comes to light later than it happened. */
static void an_illegal_address_stays(void **state)
{
    (void)state;
    struct device v;
    struct bs_err err = {0};
    bs__cu_address at = 0;
    setenv("BS_FAKE_CUDA_STICKY_AT_LAUNCH", "2", 1);
    open_device(&v);
    assert_int_equal(v.d.memory_alloc(&at, 256), 0);
    assert_int_equal(bs__queue_zero(v.q, at, 256, &err), BS_OK);
    assert_int_equal(launch_twice(&v, at, &err), BS_OK);
    assert_int_equal(launch_twice(&v, at, &err), BS_OK);
    assert_int_equal(bs__queue_wait(v.q, &err), BS_EIO);
    assert_string_equal(err.msg,
                        "the GPU failed while it ran what was queued, selftest_twice_f32 last: an illegal "
                        "memory access was encountered (CUDA_ERROR_ILLEGAL_ADDRESS, 700)");
    assert_true(bs__driver_lost(BS__CU_ILLEGAL_ADDRESS));
    assert_int_equal(launch_twice(&v, at, &err), BS_EIO);
    assert_non_null(strstr(err.msg, "cannot queue kernel selftest_twice_f32 after selftest_twice_f32"));
    assert_int_equal(bs__queue_zero(v.q, at, 256, &err), BS_EIO);
    assert_int_equal(v.d.memory_free(at), BS__CU_ILLEGAL_ADDRESS);
    close_device(&v);
    plan_nothing(state); /* a new process would find it well */
    open_device(&v);
    close_device(&v);
}

/* At any call the device may be gone: every function comes back with an error, and closing works. */
static void a_lost_device_ends_in_errors_wherever_it_is_lost(void **state)
{
    (void)state;
    for (int at_call = 1;; at_call++) {
        char text[16];
        snprintf(text, sizeof text, "%d", at_call);
        setenv("BS_FAKE_CUDA_LOST_AT", text, 1);
        struct device v = {0};
        struct bs_err err = {0};
        bs__cu_context c = NULL;
        bs__cu_address at = 0;
        assert_int_equal(bs__driver_open(NULL, &v.d, &err), BS_OK);
        bs_status rc = bs__driver_check(&v.d, v.d.context_retain(&c, 0), &err, "retain");
        bool retained = rc == BS_OK;
        if (rc == BS_OK)
            rc = bs__driver_check(&v.d, v.d.context_set(c), &err, "set");
        if (rc == BS_OK)
            rc = bs__queue_create(&v.d, 0, "emulation", &v.q, &err);
        if (rc == BS_OK)
            rc = bs__driver_check(&v.d, v.d.memory_alloc(&at, 256), &err, "alloc");
        if (rc == BS_OK)
            rc = bs__queue_zero(v.q, at, 256, &err);
        if (rc == BS_OK)
            rc = launch_twice(&v, at, &err);
        if (rc == BS_OK)
            rc = bs__queue_wait(v.q, &err);
        if (rc == BS_OK)
            rc = bs__driver_check(&v.d, v.d.memory_free(at), &err, "free");
        bool all = rc == BS_OK;
        if (!all) {
            assert_int_equal(rc, BS_EIO);
            assert_non_null(strstr(err.msg, "CUDA_ERROR_UNKNOWN, 999"));
        }
        bs__queue_destroy(v.q);
        if (retained)
            (void)v.d.context_release(0);
        bs__driver_close(&v.d);
        if (all) {
            assert_true(at_call > 10);
            return;
        }
    }
}

static void an_image_of_another_gpu_is_refused(void **state)
{
    (void)state;
    struct device v;
    struct bs_err err = {0};
    setenv("BS_FAKE_CUDA_CAPABILITY", "75", 1);
    open_device(&v);
    struct bs__queue *other = NULL;
    assert_int_equal(bs__queue_create(&v.d, 0, "not a fatbin", &other, &err), BS_EUNSUPPORTED);
    assert_null(other);
    assert_non_null(strstr(err.msg, "cannot load the kernels on GPU 0 (compute capability 7.5)"));
    const struct bs__cuda_limits *limits = bs__queue_limits(v.q);
    assert_int_equal(limits->capability, 75);
    assert_int_equal(limits->shared_block, 64 << 10);
    close_device(&v);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, plan_nothing, plan_nothing)
    const struct CMUnitTest tests[] = {
        TEST(a_missing_library_is_named),
        TEST(a_missing_function_is_named),
        TEST(an_old_driver_is_told_its_version),
        TEST(no_gpu_is_not_found),
        TEST(a_driver_that_does_not_start_says_why),
        TEST(an_allocation_that_finds_no_memory_harms_nothing_else),
        TEST(a_refused_launch_is_told_and_the_next_works),
        TEST(an_illegal_address_stays),
        TEST(a_lost_device_ends_in_errors_wherever_it_is_lost),
        TEST(an_image_of_another_gpu_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
