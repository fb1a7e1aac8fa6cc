/* The worker on a GPU: it segments as it does on the reference backend, and a device that failed for good costs the worker, not
   the task, unless it fails twice. */
#include "tests/unit/engine/engine_support.h"

#include <math.h>

#define SIDE       48
#define TILED_SIDE 80 /* more than one window */

static struct bs_engine *start_on(const char *device)
{
    struct bs_engine_options opt = engine_options();
    struct bs_engine *e = NULL;
    struct bs_err err = {.msg = ""};
    opt.device = device;
    if (bs_engine_create(&opt, &e, &err) != BS_OK)
        fail_msg("engine did not start: %s", err.msg);
    return e;
}

static void a_gpu_segments_as_the_reference_does(void **state)
{
    struct lab *lab = *state;
    struct task reference, t;
    struct bs_engine_state s;
    int image = image_file(SIDE);
    struct bs_engine_request r = raw_request(lab, image, SIDE, 0);
    struct bs_engine *e = start_on("cuda:0");
    bs_engine_state_get(e, &s);
    assert_string_equal(s.device.backend, "cuda");
    assert_int_equal(s.device.memory, (size_t)4 << 30);
    submit(lab->engine, &reference, &r);
    submit(e, &t, &r);
    assert_int_equal(wait_end(&reference), BS_OK);
    if (wait_end(&t) != BS_OK)
        fail_msg("%s", t.err.msg);
    assert_int_equal(t.result.info.count, reference.result.info.count);
    assert_non_null(strstr(t.result.info.algorithms, "convolutions"));
    forget(&reference);
    forget(&t);
    bs_engine_destroy(e);
    close(image);
}

/* Tiles, one run after the other: their copies overlap, and each lies where it belongs. */
static void tiles_on_a_gpu_are_those_of_the_reference(void **state)
{
    struct lab *lab = *state;
    struct task reference, t;
    int image = image_file(TILED_SIDE);
    struct bs_engine_request r = raw_request(lab, image, TILED_SIDE, 16);
    r.want_maps = true;
    struct bs_engine *e = start_on("cuda");
    submit(lab->engine, &reference, &r);
    submit(e, &t, &r);
    assert_int_equal(wait_end(&reference), BS_OK);
    if (wait_end(&t) != BS_OK)
        fail_msg("%s", t.err.msg);
    if (t.total < 4 || t.last_done != t.total)
        fail_msg("%d of %d tiles", t.last_done, t.total);
    const size_t count = 3 * TILED_SIDE * TILED_SIDE; /* the network's maps */
    float *want = malloc(count * sizeof *want), *got = malloc(count * sizeof *got);
    assert_true(want && got && reference.result.maps_fd >= 0 && t.result.maps_fd >= 0);
    assert_int_equal(pread(reference.result.maps_fd, want, count * sizeof *want, 0), count * sizeof *want);
    assert_int_equal(pread(t.result.maps_fd, got, count * sizeof *got, 0), count * sizeof *got);
    for (size_t i = 0; i < count; i++)
        assert_true(fabsf(want[i] - got[i]) < 1e-4f);
    free(want);
    free(got);
    forget(&reference);
    forget(&t);
    bs_engine_destroy(e);
    close(image);
}

static void a_gpu_that_fails_twice_fails_the_task_with_that_reason(void **state)
{
    struct lab *lab = *state;
    struct task t;
    struct bs_engine_state s;
    int image = image_file(SIDE);
    struct bs_engine_request r = raw_request(lab, image, SIDE, 0);
    assert_int_equal(setenv("BS_FAKE_CUDA_STICKY_AT_LAUNCH", "3", 1), 0); /* workers inherit it */
    struct bs_engine *e = start_on("cuda");
    submit(e, &t, &r);
    assert_int_equal(wait_end(&t), BS_EINTERNAL);
    assert_non_null(strstr(t.err.msg, "died twice"));
    if (!strstr(t.err.msg, "its device failed for good"))
        fail_msg("%s", t.err.msg);
    forget(&t);
    /* The fault is over: the next worker has the device again. */
    assert_int_equal(unsetenv("BS_FAKE_CUDA_STICKY_AT_LAUNCH"), 0);
    bs_engine_destroy(e);
    e = start_on("cuda");
    submit(e, &t, &r);
    assert_int_equal(wait_end(&t), BS_OK);
    bs_engine_state_get(e, &s);
    assert_int_equal(s.restarts, 0);
    forget(&t);
    bs_engine_destroy(e);
    close(image);
}

static void a_gpu_that_fails_once_costs_a_worker_and_no_task(void **state)
{
    struct lab *lab = *state;
    struct task t;
    struct bs_engine_state s;
    int image = image_file(SIDE);
    struct bs_engine_request r = raw_request(lab, image, SIDE, 0);
    assert_int_equal(setenv("BS_FAKE_CUDA_STICKY_AT_LAUNCH", "3", 1), 0);
    struct bs_engine *e = start_on("cuda"); /* its worker has read the fault: it is ready */
    assert_int_equal(unsetenv("BS_FAKE_CUDA_STICKY_AT_LAUNCH"), 0);
    submit(e, &t, &r);
    if (wait_end(&t) != BS_OK)
        fail_msg("%s", t.err.msg);
    bs_engine_state_get(e, &s);
    assert_int_equal(s.restarts, 1);
    forget(&t);
    bs_engine_destroy(e);
    close(image);
}

static void without_a_gpu_the_worker_computes_elsewhere_and_says_why(void **state)
{
    (void)state;
    char plugin[4096];
    struct bs_engine_state s;
    snprintf(plugin, sizeof plugin, "%s", getenv("BS_CUDA_PLUGIN"));
    assert_int_equal(setenv("BS_CUDA_PLUGIN", "/nowhere/plugin.so", 1), 0);
    struct bs_engine *e = start_on("auto");
    assert_int_equal(setenv("BS_CUDA_PLUGIN", plugin, 1), 0);
    bs_engine_state_get(e, &s);
    assert_string_not_equal(s.device.backend, "cuda");
    assert_non_null(strstr(s.device.notice, "no GPU is used"));
    bs_engine_destroy(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_gpu_the_worker_computes_elsewhere_and_says_why),
        cmocka_unit_test_setup_teardown(a_gpu_segments_as_the_reference_does, lab_open, lab_close),
        cmocka_unit_test_setup_teardown(tiles_on_a_gpu_are_those_of_the_reference, lab_open, lab_close),
        cmocka_unit_test_setup_teardown(a_gpu_that_fails_twice_fails_the_task_with_that_reason, lab_open,
                                        lab_close),
        cmocka_unit_test_setup_teardown(a_gpu_that_fails_once_costs_a_worker_and_no_task, lab_open,
                                        lab_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
