/* An acknowledged job is never lost: processes that use the store are killed at random instants, the disk fills up, and
   many threads work at once. */
#include "fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#define ROUNDS 50

/* What the child reports for every call that came back with BS_OK: a job id and the state it was told. */
struct report {
    char id[40];
    int state;
};

/* Submits, takes and finishes jobs for ever, reporting each acknowledgement. */
static void work_until_killed(const char *dir, int report)
{
    struct bs_store *s;
    struct bs_err err;
    int count;
    if (bs_store_open(dir, &s, &err) != BS_OK || bs_store_job_recover(s, &count, &err) != BS_OK)
        _exit(3);
    for (;;) {
        struct bs_job_record j = new_job("ann", "", HASH_B);
        struct report r = {.state = BS_JOB_QUEUED};
        bool existing;
        if (bs_store_job_add(s, &j, &existing, &err) != BS_OK)
            _exit(4);
        memcpy(r.id, j.id, sizeof r.id);
        if (write(report, &r, sizeof r) != (ssize_t)sizeof r)
            _exit(5);
        bs_job_record_free(&j);
        if (bs_store_job_take(s, &j, &err) != BS_OK)
            _exit(6);
        memcpy(r.id, j.id, sizeof r.id);
        j.result_json = strdup("{}");
        j.labels_blob = strdup(HASH_C);
        if (bs_store_job_succeed(s, &j, &err) != BS_OK)
            _exit(7);
        r.state = BS_JOB_SUCCEEDED;
        if (write(report, &r, sizeof r) != (ssize_t)sizeof r)
            _exit(5);
        bs_job_record_free(&j);
    }
}

static void acknowledged_jobs_survive_kill_at_any_instant(void **state)
{
    unsigned seed = 20240607;
    int total = 0;
    for (int round = 0; round < ROUNDS; round++) {
        int pipes[2];
        struct report r;
        assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
        pid_t child = fork();
        if (child == 0) {
            close(pipes[0]);
            work_until_killed(*state, pipes[1]);
        }
        close(pipes[1]);
        seed = seed * 1103515245u + 12345u;
        struct timespec pause = {0, 5000000 + (long)((seed >> 8) % 40000) * 1000};
        nanosleep(&pause, NULL);
        kill(child, SIGKILL);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        /* An own end would be a fault that the kill must not hide. */
        assert_true(WIFSIGNALED(status));
        struct bs_store *s = open_store(*state);
        while (read(pipes[0], &r, sizeof r) == (ssize_t)sizeof r) {
            struct bs_job_record j;
            struct bs_err err;
            total++;
            if (bs_store_job_get(s, r.id, &j, &err) != BS_OK)
                fail_msg("round %d: job %s was acknowledged and is gone", round, r.id);
            if (r.state == BS_JOB_SUCCEEDED)
                assert_int_equal(j.state, BS_JOB_SUCCEEDED);
            bs_job_record_free(&j);
        }
        close(pipes[0]);
        bs_store_close(s);
    }
    printf("%d acknowledgements over %d kills, none lost\n", total, ROUNDS);
    assert_true(total > 0);
}

static void a_full_disk_loses_nothing_acknowledged_and_passes(void **state)
{
    pid_t child = fork();
    if (child == 0) {
        struct bs_store *s;
        struct bs_err err = {.msg = ""};
        char last[40] = "";
        bool existing, refused = false;
        signal(SIGXFSZ, SIG_IGN);
        if (bs_store_open(*state, &s, &err) != BS_OK)
            _exit(2);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){200000, RLIM_INFINITY});
        for (int i = 0; i < 1000 && !refused; i++) {
            struct bs_job_record j = new_job("ann", "", HASH_B);
            bs_status rc = bs_store_job_add(s, &j, &existing, &err);
            if (rc == BS_OK)
                memcpy(last, j.id, sizeof last);
            else if (rc == BS_EIO)
                refused = true;
            else
                _exit(3);
            bs_job_record_free(&j);
        }
        struct bs_job_record j;
        if (!refused || bs_store_job_get(s, last, &j, &err) != BS_OK)
            _exit(4);
        bs_job_record_free(&j);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY});
        j = new_job("ann", "", HASH_B);
        if (bs_store_job_add(s, &j, &existing, &err) != BS_OK)
            _exit(5);
        bs_job_record_free(&j);
        bs_store_close(s);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0);
    struct bs_store *s = open_store(*state);
    bs_store_close(s);
}

struct crew {
    struct bs_store *store;
    atomic_int submitted, finished, failures;
};

static void *submit_jobs(void *arg)
{
    struct crew *c = arg;
    struct bs_err err;
    bool existing;
    for (int i = 0; i < 25; i++) {
        char key[16];
        /* Two threads race for each key: one job must come of it. */
        snprintf(key, sizeof key, "k%d", i);
        struct bs_job_record j = new_job("ann", key, HASH_B);
        if (bs_store_job_add(c->store, &j, &existing, &err) != BS_OK)
            c->failures++;
        else if (!existing)
            c->submitted++;
        bs_job_record_free(&j);
    }
    return NULL;
}

static void *finish_jobs(void *arg)
{
    struct crew *c = arg;
    struct bs_err err;
    for (int idle = 0; idle < 200 && c->finished < 25;) {
        struct bs_job_record j;
        bs_status rc = bs_store_job_take(c->store, &j, &err);
        if (rc == BS_ENOTFOUND) {
            idle++;
            nanosleep(&(struct timespec){0, 5000000}, NULL);
            continue;
        }
        if (rc != BS_OK || bs_store_job_progress(c->store, j.id, 1, 2, &err) != BS_OK) {
            c->failures++;
            return NULL;
        }
        j.result_json = strdup("{}");
        if (bs_store_job_succeed(c->store, &j, &err) != BS_OK)
            c->failures++;
        c->finished++;
        bs_job_record_free(&j);
    }
    return NULL;
}

static void threads_share_the_queue_and_no_job_runs_twice(void **state)
{
    struct crew c = {.store = open_store(*state)};
    pthread_t thread[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&thread[i], NULL, i < 2 ? submit_jobs : finish_jobs, &c);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(c.failures, 0);
    assert_int_equal(c.submitted, 25);
    assert_int_equal(c.finished, 25);
    bs_store_close(c.store);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, make_directory, remove_directory)
    const struct CMUnitTest tests[] = {
        T(acknowledged_jobs_survive_kill_at_any_instant),
        T(a_full_disk_loses_nothing_acknowledged_and_passes),
        T(threads_share_the_queue_and_no_job_runs_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
