/* Inside the sandbox files still work; other machines, programs, processes and unbounded memory do not. */
#include "model/weights/sandbox.h"
#include "tests/support/sanitized.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define NO_FILTER 77

/* Runs body in a child that is locked in; yields its exit status. */
static int inside(int (*body)(void))
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        bs_status rc = bs_sandbox_enter(0, 10, NULL);
        _exit(rc == BS_EUNSUPPORTED ? NO_FILTER : rc == BS_OK ? body() : 99);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void expect_zero(int status)
{
    if (status == NO_FILTER) {
        print_message("this system cannot filter system calls: skipped\n");
        skip();
    }
    assert_int_equal(status, 0);
}

static int try_socket(void)
{
    return socket(AF_INET, SOCK_STREAM, 0) == -1 && errno == EPERM && socket(AF_UNIX, SOCK_STREAM, 0) == -1
               ? 0
               : 1;
}

static int try_exec(void)
{
    char name[] = "true", *const argv[] = {name, NULL};
    execv("/bin/true", argv);
    return errno == EPERM ? 0 : 1;
}

static int try_fork(void)
{
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    return child == -1 && errno == EPERM ? 0 : 1;
}

static int try_file(void)
{
    char path[] = "sandbox-XXXXXX";
    int fd = mkstemp(path);
    const int ok = fd >= 0 && write(fd, "x", 1) == 1 && fsync(fd) == 0 && unlink(path) == 0;
    return ok ? 0 : 1;
}

static void *nothing(void *p)
{
    return p;
}

static int try_thread(void)
{
    pthread_t t;
    return pthread_create(&t, NULL, nothing, NULL) == 0 && pthread_join(t, NULL) == 0 ? 0 : 1;
}

static void the_network_is_out_of_reach(void **state)
{
    (void)state;
    expect_zero(inside(try_socket));
}

static void no_program_and_no_process_can_be_started(void **state)
{
    (void)state;
    expect_zero(inside(try_exec));
    expect_zero(inside(try_fork));
}

static void files_and_threads_still_work(void **state)
{
    (void)state;
    expect_zero(inside(try_file));
    expect_zero(inside(try_thread));
}

static void memory_is_bounded(void **state)
{
    (void)state;
#if SANITIZED
    print_message("sanitizers need their address space: skipped\n");
    skip();
#else
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        bs_status rc = bs_sandbox_enter(256u << 20, 10, NULL);
        void *p = mmap(NULL, (size_t)1 << 30, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        _exit((rc == BS_OK || rc == BS_EUNSUPPORTED) && p == MAP_FAILED ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_network_is_out_of_reach),
        cmocka_unit_test(no_program_and_no_process_can_be_started),
        cmocka_unit_test(files_and_threads_still_work),
        cmocka_unit_test(memory_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
