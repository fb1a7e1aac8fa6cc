/* See traced.h. */
#include "tests/support/traced.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#if TRACED_SUPPORTED

#define MAX_THREADS 256

/* A thread that is in a system call. */
struct inside {
    pid_t thread; /* 0: free */
    struct traced_call call;
    bool refused;
};

struct tracing {
    pid_t program;
    traced_look look;
    void *ctx;
    struct inside inside[MAX_THREADS];
    int status; /* of the program */
};

static struct inside *inside_of(struct tracing *t, pid_t thread)
{
    struct inside *unused = NULL;
    for (int i = 0; i < MAX_THREADS; i++) {
        if (t->inside[i].thread == thread)
            return &t->inside[i];
        if (!t->inside[i].thread)
            unused = &t->inside[i];
    }
    if (!unused)
        abort(); /* more threads than any test has */
    *unused = (struct inside){.thread = thread};
    return unused;
}

static void leave(struct tracing *t, pid_t thread)
{
    for (int i = 0; i < MAX_THREADS; i++)
        if (t->inside[i].thread == thread)
            t->inside[i].thread = 0;
}

/* The kernel makes call number -1 of it, which is none. */
static void refuse(pid_t thread)
{
    (void)ptrace(PTRACE_POKEUSER, thread, offsetof(struct user_regs_struct, orig_rax), -1L);
}

static void obey(struct tracing *t, struct inside *at, enum traced_verdict verdict)
{
    if (verdict == TRACED_KILL)
        (void)kill(t->program, SIGKILL);
    if (verdict == TRACED_REFUSE && at->call.entering) {
        refuse(at->thread);
        at->refused = true;
    }
}

static void show(struct tracing *t, pid_t thread)
{
    struct __ptrace_syscall_info info;
    if (ptrace(PTRACE_GET_SYSCALL_INFO, thread, sizeof info, &info) <= 0)
        return; /* it has been killed meanwhile */
    struct inside *at = inside_of(t, thread);
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
        at->call = (struct traced_call){.thread = thread, .number = (long)info.entry.nr, .entering = true};
        for (int i = 0; i < 6; i++)
            at->call.argument[i] = info.entry.args[i];
        at->refused = false;
        obey(t, at, t->look(t->ctx, &at->call));
    } else if (info.op == PTRACE_SYSCALL_INFO_EXIT && at->call.entering) {
        if (at->refused)
            (void)ptrace(PTRACE_POKEUSER, thread, offsetof(struct user_regs_struct, rax), (long)-ENOSPC);
        at->call.entering = false;
        at->call.result = at->refused ? -ENOSPC : info.exit.rval;
        obey(t, at, t->look(t->ctx, &at->call));
    }
}

/* One stop of one thread; it goes on. */
static void stopped(struct tracing *t, pid_t thread, int status)
{
    const int sig = WSTOPSIG(status);
    long deliver = 0;
    if (sig == (SIGTRAP | 0x80))
        show(t, thread);
    else if (status >> 16 == 0)
        deliver = sig;
    (void)ptrace(PTRACE_SYSCALL, thread, 0, deliver);
}

static void follow(struct tracing *t)
{
    for (;;) {
        int status;
        const pid_t thread = waitpid(-1, &status, __WALL);
        if (thread < 0 && errno == EINTR)
            continue;
        if (thread < 0)
            return;
        if (WIFSTOPPED(status)) {
            stopped(t, thread, status);
            continue;
        }
        leave(t, thread);
        if (thread == t->program)
            t->status = status;
    }
}

/* Waits to be traced, then becomes the program. */
static void become(char *const *argv, int go)
{
    char c;
    if (read(go, &c, 1) == 1)
        execv(argv[0], argv);
    _exit(127);
}

int traced_run(char *const *argv, traced_look look, void *ctx)
{
    const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK |
                         PTRACE_O_TRACEVFORK | PTRACE_O_EXITKILL;
    struct tracing *t = calloc(1, sizeof *t);
    int go[2], status = -1;
    if (!t || pipe(go) != 0) {
        free(t);
        return -1;
    }
    t->look = look;
    t->ctx = ctx;
    t->status = -1;
    if ((t->program = fork()) == 0) {
        close(go[1]);
        become(argv, go[0]);
    }
    close(go[0]);
    if (t->program > 0 && ptrace(PTRACE_SEIZE, t->program, 0, options) == 0 &&
        ptrace(PTRACE_INTERRUPT, t->program, 0, 0) == 0 && write(go[1], "g", 1) == 1) {
        follow(t);
        status = t->status;
    } else if (t->program > 0) {
        (void)kill(t->program, SIGKILL);
        (void)waitpid(t->program, NULL, 0);
    }
    close(go[1]);
    free(t);
    return status;
}

static enum traced_verdict go_on(void *ctx, const struct traced_call *call)
{
    *(bool *)ctx |= !call->entering;
    return TRACED_GO_ON;
}

bool traced_possible(void)
{
    char *const argv[] = {(char *)"/bin/true", NULL};
    bool seen = false;
    return traced_run(argv, go_on, &seen) == 0 && seen;
}

#else

bool traced_possible(void)
{
    return false;
}

int traced_run(char *const *argv, traced_look look, void *ctx)
{
    (void)argv;
    (void)look;
    (void)ctx;
    return -1;
}

#endif
