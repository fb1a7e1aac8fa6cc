/* The host's side of the emulation, whose point is to show what is missing in the programs it runs: nothing happens before someone
   waits, pinned memory is read late, what is left at the end is a leak. */
#include "kernels/cuda/driver.h"
#include "tests/unit/cuda/cuda_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdint.h>
#include <string.h>

#define OK(call) assert_int_equal((call), 0)

static const struct bs__driver *driver_and_stream(void **state, bs__cu_stream *s)
{
    struct cuda_test *t = *state;
    *s = bs__queue_stream(cuda_queue(t));
    return cuda_driver(t);
}

static void a_copy_arrives_when_someone_waits(void **state)
{
    bs__cu_stream s;
    const struct bs__driver *d = driver_and_stream(state, &s);
    bs_address at = cuda_room(*state, 4);
    uint32_t value = 7, got = 0;
    OK(d->copy_in(at, &value, 4, s));
    value = 8; /* pageable: it was read */
    OK(d->copy_out(&got, at, 4, s));
    assert_int_equal(got, 0);
    OK(d->stream_synchronize(s));
    assert_int_equal(got, 7);
}

static void pinned_memory_is_read_late(void **state)
{
    bs__cu_stream s;
    const struct bs__driver *d = driver_and_stream(state, &s);
    bs_address at = cuda_room(*state, 4);
    void *pinned = NULL;
    uint32_t got = 0;
    OK(d->host_alloc(&pinned, 4, 0));
    *(uint32_t *)pinned = 7;
    OK(d->copy_in(at, pinned, 4, s));
    *(uint32_t *)pinned = 8; /* too early: this is what is copied */
    OK(d->copy_out(&got, at, 4, s));
    OK(d->stream_synchronize(s));
    assert_int_equal(got, 8);
    OK(d->host_free(pinned));
    assert_int_equal(d->host_free(pinned), BS__CU_INVALID_VALUE);
}

/* Two streams: without an event either order happens, depending on the seed; with one the reader is always last. */
static void only_events_order_two_streams(void **state)
{
    struct cuda_test *t = *state;
    bs__cu_stream a, b;
    const struct bs__driver *d = driver_and_stream(state, &a);
    OK(d->stream_create(&b, BS__CU_STREAM_NON_BLOCKING));
    bs__cu_event e;
    OK(d->event_create(&e, BS__CU_EVENT_DISABLE_TIMING));
    bs_address at = cuda_room(t, 4);
    const uint32_t before = 1, after = 2;
    for (int with_event = 0; with_event < 2; with_event++) {
        int early = 0, late = 0;
        for (uint64_t seed = 1; seed <= 40; seed++) {
            uint32_t got = 0;
            cuda_seed(t, seed);
            OK(d->copy_in(at, &before, 4, a));
            OK(d->stream_synchronize(a));
            OK(d->copy_in(at, &after, 4, a));
            if (with_event) {
                OK(d->event_record(e, a));
                OK(d->stream_wait(b, e, 0));
            }
            OK(d->copy_out(&got, at, 4, b));
            OK(d->stream_synchronize(b));
            early += got == 1;
            late += got == 2;
            OK(d->stream_synchronize(a));
        }
        assert_int_equal(early + late, 40);
        if (with_event)
            assert_int_equal(early, 0);
        else
            assert_true(early > 5 && late > 5);
    }
    OK(d->event_destroy(e));
    OK(d->stream_destroy(b));
}

static void asking_makes_progress_in_the_end(void **state)
{
    bs__cu_stream s;
    const struct bs__driver *d = driver_and_stream(state, &s);
    bs__cu_event from, to;
    OK(d->event_create(&from, 0));
    OK(d->event_create(&to, 0));
    bs_address at = cuda_room(*state, 64);
    float elapsed = -1;
    OK(d->event_record(from, s));
    OK(d->fill(at, 1, 64, s));
    OK(d->event_record(to, s));
    assert_int_equal(d->event_elapsed(&elapsed, from, to), BS__CU_NOT_READY);
    int asked = 0, r = BS__CU_NOT_READY;
    while ((r = (int)d->event_query(to)) == BS__CU_NOT_READY && asked < 1000)
        asked++;
    OK(r);
    OK(d->stream_query(s));
    OK(d->event_elapsed(&elapsed, from, to));
    assert_true(elapsed >= 0);
    OK(d->event_destroy(from));
    OK(d->event_destroy(to));
}

/* A captured graph runs each time it is launched, over two streams that an event joins. */
static void a_graph_runs_as_often_as_it_is_launched(void **state)
{
    struct cuda_test *t = *state;
    bs__cu_stream s, side;
    const struct bs__driver *d = driver_and_stream(state, &s);
    OK(d->stream_create(&side, BS__CU_STREAM_NON_BLOCKING));
    bs__cu_event fork, join;
    OK(d->event_create(&fork, BS__CU_EVENT_DISABLE_TIMING));
    OK(d->event_create(&join, BS__CU_EVENT_DISABLE_TIMING));
    bs_address from = cuda_room(t, 4), to = cuda_room(t, 4);
    void *pinned = NULL;
    OK(d->host_alloc(&pinned, 8, 0));
    uint32_t *values = pinned;
    bs__cu_graph graph = NULL;
    bs__cu_graph_exec exec = NULL;
    OK(d->capture_begin(s, BS__CU_CAPTURE_THREAD_LOCAL));
    OK(d->copy_in(from, values, 4, s));
    OK(d->event_record(fork, s));
    OK(d->stream_wait(side, fork, 0));
    OK(d->copy_within(to, from, 4, side));
    OK(d->event_record(join, side));
    OK(d->stream_wait(s, join, 0));
    OK(d->copy_out(values + 1, to, 4, s));
    OK(d->capture_end(s, &graph));
    OK(d->graph_instantiate(&exec, graph, 0));
    OK(d->graph_destroy(graph));
    for (uint32_t i = 1; i < 4; i++) {
        values[0] = 10 * i;
        OK(d->graph_launch(exec, s));
        OK(d->stream_synchronize(s));
        assert_int_equal(values[1], 10 * i);
    }
    OK(d->graph_exec_destroy(exec));
    OK(d->event_destroy(fork));
    OK(d->event_destroy(join));
    OK(d->stream_destroy(side));
    OK(d->host_free(pinned));
}

static void waiting_breaks_a_capture(void **state)
{
    bs__cu_stream s, side;
    const struct bs__driver *d = driver_and_stream(state, &s);
    bs__cu_graph graph = NULL;
    bs__cu_address at = 0;
    OK(d->capture_begin(s, BS__CU_CAPTURE_GLOBAL));
    assert_int_equal(d->stream_synchronize(s), BS__CU_CAPTURE_UNSUPPORTED);
    assert_int_equal(d->capture_end(s, &graph), BS__CU_CAPTURE_INVALIDATED);
    OK(d->capture_begin(s, BS__CU_CAPTURE_GLOBAL));
    assert_int_equal(d->memory_alloc(&at, 4), BS__CU_CAPTURE_UNSUPPORTED);
    assert_int_equal(d->capture_end(s, &graph), BS__CU_CAPTURE_INVALIDATED);
    assert_null(graph);
    assert_int_equal(d->capture_end(s, &graph), BS__CU_CAPTURE_UNMATCHED);
    /* A stream that joined must be waited for. */
    bs__cu_event fork;
    bs_address room = cuda_room(*state, 4);
    OK(d->stream_create(&side, BS__CU_STREAM_NON_BLOCKING));
    OK(d->event_create(&fork, BS__CU_EVENT_DISABLE_TIMING));
    OK(d->capture_begin(s, BS__CU_CAPTURE_GLOBAL));
    OK(d->event_record(fork, s));
    OK(d->stream_wait(side, fork, 0));
    OK(d->fill(room, 0, 4, side));
    assert_int_equal(d->capture_end(s, &graph), BS__CU_CAPTURE_UNJOINED);
    OK(d->event_destroy(fork));
    OK(d->stream_destroy(side));
    OK(d->stream_synchronize(s)); /* and works again */
}

static void copies_are_checked(void **state)
{
    struct cuda_test *t = *state;
    bs__cu_stream s;
    const struct bs__driver *d = driver_and_stream(state, &s);
    char bytes[64] = {0};
    bs_address at = cuda_room(t, 32);
    OK(d->copy_in(at, bytes, 33, s));
    assert_int_equal(d->stream_synchronize(s), BS__CU_LAUNCH_FAILED);
    assert_non_null(strstr(cuda_take_finding(t), "copy: a copy to the device writes 33 bytes at address"));
    OK(d->copy_out(bytes, at, 4, s));
    assert_int_equal(d->stream_synchronize(s), BS__CU_LAUNCH_FAILED);
    assert_non_null(
        strstr(cuda_take_finding(t), "never written: a copy to the host reads byte 0 of allocation"));
    bs__cu_address gone = 0;
    OK(d->memory_alloc(&gone, 16));
    OK(d->fill(gone, 0, 16, s));
    OK(d->memory_free(gone)); /* before the fill ran */
    assert_int_equal(d->stream_synchronize(s), BS__CU_LAUNCH_FAILED);
    assert_non_null(strstr(cuda_take_finding(t), "it was freed"));
    assert_int_equal(d->fill(at, 0, 32, NULL), BS__CU_INVALID_HANDLE);
}

static void what_is_left_is_a_leak(void **state)
{
    (void)state;
    void *mine = NULL;
    assert_int_equal(cuda_test_open(&mine), 0);
    bs__cu_stream s;
    const struct bs__driver *d = driver_and_stream(&mine, &s);
    bs__cu_event e;
    bs__cu_address at = 0;
    OK(d->event_create(&e, 0));
    OK(d->memory_alloc(&at, 100));
    print_message("(two leaks are told next)\n");
    assert_int_not_equal(cuda_test_close(&mine), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_copy_arrives_when_someone_waits, cuda_test_end),
        cmocka_unit_test_teardown(pinned_memory_is_read_late, cuda_test_end),
        cmocka_unit_test_teardown(only_events_order_two_streams, cuda_test_end),
        cmocka_unit_test_teardown(asking_makes_progress_in_the_end, cuda_test_end),
        cmocka_unit_test_teardown(a_graph_runs_as_often_as_it_is_launched, cuda_test_end),
        cmocka_unit_test_teardown(waiting_breaks_a_capture, cuda_test_end),
        cmocka_unit_test_teardown(copies_are_checked, cuda_test_end),
    };
    const struct CMUnitTest alone[] = {cmocka_unit_test(what_is_left_is_a_leak)};
    int failed = cmocka_run_group_tests(tests, cuda_test_open, cuda_test_close);
    return failed + cmocka_run_group_tests(alone, NULL, NULL);
}
