/* Starting and ending worker processes, from the daemon's side. Any thread; the worker dies with the thread that
   started it, so that must be one that lives as long. */
#ifndef BS_SERVER_WORKER_SPAWN_H
#define BS_SERVER_WORKER_SPAWN_H

#include "kernels/base/status.h"

#include <sys/types.h>

struct bs_worker_process {
    pid_t pid; /* 0: none */
    int sock;  /* ours; -1: none */
};

/* args follow the program's name, NULL at the end. */
bs_status bs_worker_spawn(const char *path, const char *const *args, struct bs_worker_process *out,
                          struct bs_err *err) BS_NODISCARD;
/* Waits up to wait_ms for its own end, then kills; says how it ended in words ("killed by signal 9 ..."). */
void bs_worker_reap(struct bs_worker_process *p, int wait_ms, char *how, size_t how_size);

#endif
