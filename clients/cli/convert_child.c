/* See convert_child.h. */
#include "clients/cli/convert_child.h"

#include "model/weights/sandbox.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A checkpoint holds a model several times over (optimizer state); all of it may be mapped or copied once. */
#define MEMORY_BASE   ((uint64_t)4 << 30)
#define MEMORY_FACTOR 4
#define CPU_SECONDS   600

static void convert_here(const struct bs__convert_call *a, struct bs__convert_answer *answer)
{
    struct bs_err err = {0};
    bs_status rc = bs_sandbox_enter(MEMORY_BASE + MEMORY_FACTOR * a->file_bytes, CPU_SECONDS, &err);
    if (rc == BS_EUNSUPPORTED) {
        answer->unlocked = true;
        if (a->without_sandbox)
            rc = BS_OK;
    }
    if (rc == BS_OK)
        rc = bs_convert_checkpoint(a->in, a->out, a->options, &answer->report, &err);
    answer->status = rc;
    memcpy(answer->message, err.msg, sizeof answer->message);
}

static void child(int fd, const struct bs__convert_call *a)
{
    struct bs__convert_answer *answer = calloc(1, sizeof *answer);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (!answer)
        _exit(1);
    convert_here(a, answer);
    const char *bytes = (const char *)answer;
    for (size_t n = 0; n < sizeof *answer;) {
        ssize_t put = write(fd, bytes + n, sizeof *answer - n);
        if (put <= 0)
            _exit(1);
        n += (size_t)put;
    }
    _exit(0);
}

static bool read_answer(int fd, struct bs__convert_answer *answer)
{
    char *bytes = (char *)answer;
    for (size_t n = 0; n < sizeof *answer;) {
        ssize_t got = read(fd, bytes + n, sizeof *answer - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        n += (size_t)got;
    }
    /* The child has parsed a stranger's file: its texts end where we say. */
    struct bs_convert_report *r = &answer->report;
    answer->message[sizeof answer->message - 1] = '\0';
    r->format[sizeof r->format - 1] = r->key[sizeof r->key - 1] = '\0';
    r->info.assumed[sizeof r->info.assumed - 1] = '\0';
    for (size_t i = 0; i < BS_CONVERT_MAX_SKIPPED; i++)
        r->skipped[i][sizeof r->skipped[i] - 1] = '\0';
    return true;
}

static void kill_child(void *ctx)
{
    kill((pid_t)atomic_load((atomic_int *)ctx), SIGKILL);
}

bs_status bs__convert_in_child(struct bs__interrupt *interrupt, const struct bs__convert_call *a,
                               struct bs__convert_answer *answer, struct bs_err *err)
{
    int ends[2], status = 0;
    atomic_int pid_shared;
    if (pipe(ends) != 0)
        return BS_FAIL(err, BS_EIO, "cannot make a pipe: %s", strerror(errno));
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        close(ends[0]);
        close(ends[1]);
        return BS_FAIL(err, BS_EIO, "cannot start a process: %s", strerror(errno));
    }
    if (pid == 0) {
        close(ends[0]);
        child(ends[1], a);
    }
    atomic_init(&pid_shared, pid);
    bs__interrupt_notify(interrupt, kill_child, &pid_shared);
    close(ends[1]);
    bool complete = read_answer(ends[0], answer);
    close(ends[0]);
    bs__interrupt_notify(interrupt, NULL, NULL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (bs__interrupted(interrupt))
        return BS_FAIL(err, BS_ECANCELLED, "interrupted");
    if (!complete && WIFSIGNALED(status))
        return BS_FAIL(err, BS_ELIMIT,
                       "reading %s took more memory or time than it may (signal %d), or did what it must not",
                       a->in, WTERMSIG(status));
    if (!complete)
        return BS_FAIL(err, BS_EINTERNAL, "the process that reads %s ended without an answer", a->in);
    if (answer->status != BS_OK)
        return BS_FAIL(err, answer->status, "%s: %s", a->in, answer->message);
    return BS_OK;
}
