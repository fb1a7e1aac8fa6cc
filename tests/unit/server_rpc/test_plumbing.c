/* The threads that run calls, the memory results leave by, and the log's lines. */
#include "server/log.h"
#include "server/rpc/mapping.h"
#include "server/rpc/pool.h"

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

struct gate {
    sem_t entered, leave;
    atomic_int done;
};

static void wait_at_gate(void *arg)
{
    struct gate *g = arg;
    sem_post(&g->entered);
    sem_wait(&g->leave);
    atomic_fetch_add(&g->done, 1);
}

static void work_beyond_the_number_of_threads_is_refused_not_queued(void **state)
{
    struct gate g;
    (void)state;
    sem_init(&g.entered, 0, 0);
    sem_init(&g.leave, 0, 0);
    atomic_init(&g.done, 0);
    struct bs_pool *pool = bs_pool_create(3);
    for (int i = 0; i < 3; i++)
        assert_true(bs_pool_run(pool, wait_at_gate, &g));
    for (int i = 0; i < 3; i++)
        sem_wait(&g.entered);
    assert_false(bs_pool_run(pool, wait_at_gate, &g));
    for (int i = 0; i < 3; i++)
        sem_post(&g.leave);
    bs_pool_destroy(pool); /* waits */
    assert_int_equal(atomic_load(&g.done), 3);
    sem_destroy(&g.entered);
    sem_destroy(&g.leave);
}

static void count(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
}

static void threads_are_used_again(void **state)
{
    atomic_int n = 0;
    (void)state;
    struct bs_pool *pool = bs_pool_create(2);
    int ran = 0;
    while (ran < 2000)
        ran += bs_pool_run(pool, count, &n);
    bs_pool_destroy(pool);
    assert_int_equal(atomic_load(&n), 2000);
}

static void a_mapping_lives_as_long_as_its_last_reference(void **state)
{
    struct bs_mapping *m;
    struct bs_err err;
    int fd = memfd_create("test", MFD_CLOEXEC);
    (void)state;
    assert_int_equal(write(fd, "hello", 5), 5);
    assert_int_equal(bs_mapping_create(fd, &m, &err), BS_OK);
    struct bs_mapping *second = bs_mapping_ref(m);
    bs_mapping_unref(m);
    assert_int_equal(bs_mapping_size(second), 5);
    assert_memory_equal(bs_mapping_data(second), "hello", 5);
    bs_mapping_unref(second);
    assert_int_equal(bs_mapping_create(-1, &m, &err), BS_OK);
    assert_int_equal(bs_mapping_size(m), 0);
    bs_mapping_unref(m);
    void *data;
    assert_int_equal(bs_mapping_create_buffer(3, &m, &data, &err), BS_OK);
    memcpy(data, "abc", 3);
    assert_memory_equal(bs_mapping_data(m), "abc", 3);
    bs_mapping_unref(m);
}

static void line_of(enum bs_log_format format, const char *text, char *out, size_t cap)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    struct bs_log *log = bs_log_create(fds[1], format, BS_LOG_INFO);
    BS_LOG(log, BS_LOG_DEBUG, "unseen", BS_LOG_NUMBER("n", 1));
    BS_LOG(log, BS_LOG_WARNING, "call", BS_LOG_TEXT("method", text), BS_LOG_NUMBER("us", -7));
    ssize_t n = read(fds[0], out, cap - 1);
    assert_true(n > 0);
    out[n] = 0;
    bs_log_destroy(log);
    close(fds[0]);
    close(fds[1]);
}

static void what_a_client_sends_cannot_forge_a_log_line(void **state)
{
    char line[4096], huge[4000];
    (void)state;
    line_of(BS_LOG_FORMAT_TEXT, "a\"\nerror forged", line, sizeof line);
    assert_non_null(strstr(line, "warning \"call\" method=\"a\\\"\\u000aerror forged\" us=-7\n"));
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
    line_of(BS_LOG_FORMAT_JSON, "x\\y", line, sizeof line);
    assert_non_null(
        strstr(line, "\"level\":\"warning\",\"event\":\"call\",\"method\":\"x\\\\y\",\"us\":-7}\n"));
    memset(huge, 'h', sizeof huge - 1);
    huge[sizeof huge - 1] = 0;
    line_of(BS_LOG_FORMAT_JSON, huge, line, sizeof line);
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(work_beyond_the_number_of_threads_is_refused_not_queued),
        cmocka_unit_test(threads_are_used_again),
        cmocka_unit_test(a_mapping_lives_as_long_as_its_last_reference),
        cmocka_unit_test(what_a_client_sends_cannot_forge_a_log_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
