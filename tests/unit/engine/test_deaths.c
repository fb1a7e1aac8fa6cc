/* The worker's death ends one attempt of one task and nothing else; the daemon's death ends the worker. */
#include "engine_support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

static void same_labels(int a, int b, size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, a, 0),
         *q = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, b, 0);
    assert_true(p != MAP_FAILED && q != MAP_FAILED);
    assert_memory_equal(p, q, bytes);
    munmap(p, bytes);
    munmap(q, bytes);
}

static void a_killed_worker_is_replaced_and_the_task_still_succeeds(void **state)
{
    struct lab *lab = *state;
    struct task undisturbed, t, waiting;
    struct bs_engine_state s;
    int image = image_file(LONG_SIDE);
    struct bs_engine_request r = raw_request(lab, image, LONG_SIDE, 16);
    submit(lab->engine, &undisturbed, &r);
    assert_int_equal(wait_end(&undisturbed), BS_OK);
    submit(lab->engine, &t, &r);
    submit(lab->engine, &waiting, &r);
    wait_progress(&t, 2);
    int first = worker_pid(lab->engine);
    kill(first, SIGKILL);
    if (wait_end(&t) != BS_OK)
        fail_msg("%s", t.err.msg);
    assert_int_equal(t.ended, 1);
    same_labels(undisturbed.result.labels_fd, t.result.labels_fd, (size_t)LONG_SIDE * LONG_SIDE * 4);
    assert_int_equal(wait_end(&waiting), BS_OK);
    bs_engine_state_get(lab->engine, &s);
    assert_int_equal(s.restarts, 1);
    assert_int_not_equal(s.worker_pid, first);
    assert_true(s.ready);
    forget(&undisturbed);
    forget(&t);
    forget(&waiting);
    close(image);
}

/* Kills the worker under t once it has made progress with the present worker. */
static void kill_under(struct lab *lab, struct task *t)
{
    pthread_mutex_lock(&t->mu);
    t->last_done = 0;
    pthread_mutex_unlock(&t->mu);
    wait_progress(t, 1);
    kill(worker_pid(lab->engine), SIGKILL);
}

static void a_task_that_meets_two_deaths_fails_with_that_reason(void **state)
{
    struct lab *lab = *state;
    struct task t, waiting;
    int image = image_file(LONG_SIDE), small = image_file(32);
    struct bs_engine_request r = raw_request(lab, image, LONG_SIDE, 16), s = raw_request(lab, small, 32, 0);
    submit(lab->engine, &t, &r);
    submit(lab->engine, &waiting, &s);
    int first = worker_pid(lab->engine);
    kill_under(lab, &t);
    while (worker_pid(lab->engine) == first)
        sleep_ms(2);
    kill_under(lab, &t);
    assert_int_equal(wait_end(&t), BS_EINTERNAL);
    assert_non_null(strstr(t.err.msg, "died twice"));
    assert_non_null(strstr(t.err.msg, "signal 9"));
    assert_int_equal(wait_end(&waiting), BS_OK);
    forget(&t);
    forget(&waiting);
    close(image);
    close(small);
}

static void a_job_hears_of_the_first_death(void **state)
{
    struct lab *lab = *state;
    struct task t;
    int image = image_file(LONG_SIDE);
    struct bs_engine_request r = raw_request(lab, image, LONG_SIDE, 16);
    r.report_death = true;
    r.interactive = false;
    submit(lab->engine, &t, &r);
    kill_under(lab, &t);
    assert_int_equal(wait_end(&t), BS_EUNAVAILABLE);
    forget(&t);
    close(image);
    expect_service(lab, 32);
}

static void an_idle_worker_that_dies_is_replaced(void **state)
{
    struct lab *lab = *state;
    for (int i = 0; i < 3; i++) {
        struct bs_engine_state s = {0};
        int pid = worker_pid(lab->engine);
        kill(pid, SIGABRT);
        for (int k = 0; k < 2000 && (s.worker_pid == 0 || s.worker_pid == pid || !s.ready); k++) {
            sleep_ms(5);
            bs_engine_state_get(lab->engine, &s);
        }
        assert_true(s.ready);
    }
    expect_service(lab, 32);
}

static void a_worker_that_hangs_does_not_hold_up_the_end(void **state)
{
    struct lab *lab = *state;
    struct task t;
    int image = image_file(LONG_SIDE), pid = worker_pid(lab->engine);
    struct bs_engine_request r = raw_request(lab, image, LONG_SIDE, 16);
    submit(lab->engine, &t, &r);
    wait_progress(&t, 1);
    kill(pid, SIGSTOP);
    double asked = now_s();
    bs_engine_destroy(lab->engine);
    lab->engine = NULL;
    assert_true(now_s() - asked < 6.0);
    assert_int_equal(t.status, BS_ECANCELLED);
    assert_int_equal(kill(pid, 0), -1);
    forget(&t);
    close(image);
}

static void a_worker_that_ignores_a_cancel_is_killed(void **state)
{
    struct lab *lab = *state;
    struct bs_engine_options opt = engine_options();
    struct bs_err err = {.msg = ""};
    struct task t;
    int image = image_file(LONG_SIDE);
    struct bs_engine_request r = raw_request(lab, image, LONG_SIDE, 16);
    opt.cancel_grace_ms = 200;
    bs_engine_destroy(lab->engine);
    assert_int_equal(bs_engine_create(&opt, &lab->engine, &err), BS_OK);
    submit(lab->engine, &t, &r);
    wait_progress(&t, 1);
    kill(worker_pid(lab->engine), SIGSTOP);
    double asked = now_s();
    bs_engine_cancel(lab->engine, t.handle);
    assert_int_equal(wait_end(&t), BS_ECANCELLED);
    assert_true(t.end_time - asked < 2.0);
    forget(&t);
    close(image);
    expect_service(lab, 32);
}

/* An engine that takes a worker for hung after that time. */
static void restart_with_limit(struct lab *lab, int hang_ms)
{
    struct bs_engine_options opt = engine_options();
    struct bs_err err = {.msg = ""};
    opt.hang_ms = hang_ms;
    bs_engine_destroy(lab->engine);
    assert_int_equal(bs_engine_create(&opt, &lab->engine, &err), BS_OK);
}

static void a_worker_that_does_not_answer_is_replaced_and_its_task_done_again(void **state)
{
    struct lab *lab = *state;
    struct bs_engine_state s;
    struct task t;
    int image = image_file(LONG_SIDE);
    struct bs_engine_request r = raw_request(lab, image, LONG_SIDE, 16);
    restart_with_limit(lab, 400);
    int first = worker_pid(lab->engine);
    submit(lab->engine, &t, &r);
    wait_progress(&t, 1);
    kill(first, SIGSTOP);
    if (wait_end(&t) != BS_OK)
        fail_msg("%s", t.err.msg);
    bs_engine_state_get(lab->engine, &s);
    assert_int_equal(s.restarts, 1);
    assert_int_not_equal(s.worker_pid, first);
    forget(&t);
    close(image);
}

/* The thread of a process that is not its first; 0: there is none. */
static int other_thread(int pid)
{
    char path[64];
    int found = 0;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *dir = opendir(path);
    for (struct dirent *e = dir ? readdir(dir) : NULL; e; e = readdir(dir))
        if (atoi(e->d_name) > 0 && atoi(e->d_name) != pid)
            found = atoi(e->d_name);
    if (dir)
        closedir(dir);
    return found;
}

static void a_task_that_hangs_while_its_worker_answers_is_a_death_that_jobs_count(void **state)
{
    struct lab *lab = *state;
    struct task t;
    int image = image_file(LONG_SIDE), status = 0;
    struct bs_engine_request r = raw_request(lab, image, LONG_SIDE, 16);
    restart_with_limit(lab, 400);
    r.report_death = true;
    r.interactive = false;
    submit(lab->engine, &t, &r);
    wait_progress(&t, 1);
    int executor = other_thread(worker_pid(lab->engine));
    assert_true(executor > 0);
    /* A debugger can stop the one thread that works, and leave the one that answers. */
    if (ptrace(PTRACE_SEIZE, executor, NULL, NULL) != 0) {
        wait_end(&t);
        forget(&t);
        close(image);
        skip();
    }
    assert_int_equal(ptrace(PTRACE_INTERRUPT, executor, NULL, NULL), 0);
    assert_int_equal(waitpid(executor, &status, __WALL), executor);
    assert_true(WIFSTOPPED(status));
    do /* until the engine has killed it; other stops may be told before */
        assert_int_equal(waitpid(executor, &status, __WALL), executor);
    while (WIFSTOPPED(status));
    /* By the signal, or because the thread that answers saw the connection closed a moment before it. */
    assert_true(WIFSIGNALED(status) || WIFEXITED(status));
    assert_int_equal(wait_end(&t), BS_EUNAVAILABLE);
    assert_non_null(strstr(t.err.msg, "had hung"));
    forget(&t);
    close(image);
    expect_service(lab, 32);
}

static void long_work_that_goes_on_is_not_taken_for_hung(void **state)
{
    struct lab *lab = *state;
    struct bs_engine_state s;
    struct task t;
    int image = image_file(LONG_SIDE);
    struct bs_engine_request r = raw_request(lab, image, LONG_SIDE, 16);
    restart_with_limit(lab, 200);
    submit(lab->engine, &t, &r);
    assert_int_equal(wait_end(&t), BS_OK);
    bs_engine_state_get(lab->engine, &s);
    assert_int_equal(s.restarts, 0);
    forget(&t);
    close(image);
}

static void signals_to_the_whole_group_leave_the_worker_alone(void **state)
{
    struct lab *lab = *state;
    int pid = worker_pid(lab->engine);
    kill(pid, SIGTERM);
    kill(pid, SIGINT);
    kill(pid, SIGHUP);
    sleep_ms(100);
    assert_int_equal(worker_pid(lab->engine), pid);
    expect_service(lab, 32);
    assert_int_equal(worker_pid(lab->engine), pid);
}

/* Runs in the main thread before any engine, because it forks. */
static void no_worker_outlives_its_daemon(void **state)
{
    (void)state;
    int pipes[2], pid = 0, status;
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    pid_t daemon = fork();
    if (daemon == 0) {
        struct bs_engine_options opt = engine_options();
        struct bs_engine *e;
        struct bs_err err;
        if (bs_engine_create(&opt, &e, &err) == BS_OK) {
            pid = worker_pid(e);
            ssize_t ignored = write(pipes[1], &pid, sizeof pid);
            (void)ignored;
        }
        for (;;)
            pause();
    }
    assert_int_equal(read(pipes[0], &pid, sizeof pid), sizeof pid);
    assert_true(pid > 0);
    assert_int_equal(kill(pid, 0), 0);
    kill(daemon, SIGKILL);
    waitpid(daemon, &status, 0);
    /* It is reaped by init, not by us: gone or a zombie. */
    char path[64], line[256] = "";
    int alive = 1;
    for (int i = 0; i < 400 && alive; i++) {
        sleep_ms(5);
        snprintf(path, sizeof path, "/proc/%d/stat", pid);
        FILE *f = fopen(path, "r");
        alive = f && fgets(line, sizeof line, f) && !strstr(line, ") Z ");
        if (f)
            fclose(f);
    }
    assert_false(alive);
    close(pipes[0]);
    close(pipes[1]);
}

static void a_worker_that_cannot_start_says_why(void **state)
{
    (void)state;
    struct bs_engine_options opt = engine_options();
    struct bs_engine *e;
    struct bs_err err = {.msg = ""};
    opt.device = "abacus";
    assert_int_equal(bs_engine_create(&opt, &e, &err), BS_EUNSUPPORTED);
    assert_non_null(strstr(err.msg, "abacus"));
    opt = engine_options();
    opt.worker_path = "/nonexistent/biosegd-worker";
    assert_int_equal(bs_engine_create(&opt, &e, &err), BS_EUNAVAILABLE);
    opt.worker_path = "/bin/false";
    assert_int_equal(bs_engine_create(&opt, &e, &err), BS_EUNAVAILABLE);
    assert_non_null(strstr(err.msg, "exit status 1"));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, lab_open, lab_close)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_worker_outlives_its_daemon),
        cmocka_unit_test(a_worker_that_cannot_start_says_why),
        T(a_killed_worker_is_replaced_and_the_task_still_succeeds),
        T(a_task_that_meets_two_deaths_fails_with_that_reason),
        T(a_job_hears_of_the_first_death),
        T(an_idle_worker_that_dies_is_replaced),
        T(a_worker_that_hangs_does_not_hold_up_the_end),
        T(a_worker_that_ignores_a_cancel_is_killed),
        T(a_worker_that_does_not_answer_is_replaced_and_its_task_done_again),
        T(a_task_that_hangs_while_its_worker_answers_is_a_death_that_jobs_count),
        T(long_work_that_goes_on_is_not_taken_for_hung),
        T(signals_to_the_whole_group_leave_the_worker_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
