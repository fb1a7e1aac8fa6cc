/* Worker processes as children; see spawn.h. posix_spawn, because the daemon has many threads and much memory. */
#include "server/worker/spawn.h"

#include "server/worker/protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_ARGS 24

extern char **environ;

bs_status bs_worker_spawn(const char *path, const char *const *args, struct bs_worker_process *out,
                          struct bs_err *err)
{
    bs_status rc = BS_OK;
    int pair[2] = {-1, -1}, e;
    char parent[16];
    char *argv[MAX_ARGS + 4] = {(char *)"biosegd-worker", (char *)"--parent", parent};
    int n = 3;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    out->pid = 0;
    out->sock = -1;
    snprintf(parent, sizeof parent, "%d", (int)getpid());
    for (int i = 0; args[i]; i++) {
        BS_ASSERT(i < MAX_ARGS);
        argv[n++] = (char *)args[i];
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return BS_FAIL(err, BS_EIO, "no socket for a worker process: %s", strerror(errno));
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, pair[1], BS_WORKER_SOCKET_FD);
    /* Nothing else the daemon has open (clients' sockets, the database) may reach the worker. */
    posix_spawn_file_actions_addclosefrom_np(&actions, BS_WORKER_SOCKET_FD + 1);
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    e = posix_spawn(&out->pid, path, &actions, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    close(pair[1]);
    if (e != 0) {
        out->pid = 0;
        close(pair[0]);
        rc = BS_FAIL(err, BS_EUNAVAILABLE, "the worker program could not be started: %s", strerror(e));
    } else {
        out->sock = pair[0];
    }
    return rc;
}

void bs_worker_reap(struct bs_worker_process *p, int wait_ms, char *how, size_t how_size)
{
    int status = 0;
    pid_t got = 0;
    if (how_size)
        snprintf(how, how_size, "it was not running");
    if (p->sock >= 0)
        close(p->sock);
    p->sock = -1;
    if (p->pid <= 0)
        return;
    for (int waited = 0; waited < wait_ms && (got = waitpid(p->pid, &status, WNOHANG)) == 0; waited += 2)
        nanosleep(&(struct timespec){0, 2000000}, NULL);
    if (got == 0) {
        kill(p->pid, SIGKILL);
        do
            got = waitpid(p->pid, &status, 0);
        while (got < 0 && errno == EINTR);
    }
    if (how_size && got == p->pid) {
        if (WIFSIGNALED(status))
            snprintf(how, how_size, "signal %d%s", WTERMSIG(status),
                     WTERMSIG(status) == SIGKILL ? ", often sent when memory runs out" : "");
        else if (WEXITSTATUS(status) == BS_WORKER_LOST)
            snprintf(how, how_size, "its device failed for good");
        else
            snprintf(how, how_size, "exit status %d", WEXITSTATUS(status));
    }
    p->pid = 0;
}
