/* A program with all its threads and children under ptrace: every system call is shown to a test at its beginning and at its
   end, which may then have the program killed or the call refused as by a full disk. Linux on x86-64; TRACED_SUPPORTED says
   whether this build can. One program at a time; the calling thread only. */
#ifndef BS_TESTS_SUPPORT_TRACED_H
#define BS_TESTS_SUPPORT_TRACED_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#if defined(__linux__) && defined(__x86_64__)
#define TRACED_SUPPORTED 1
#else
#define TRACED_SUPPORTED 0
#endif

/* One system call of one thread. */
struct traced_call {
    pid_t thread;
    long number; /* SYS_... */
    uint64_t argument[6];
    bool entering;  /* else leaving, */
    int64_t result; /* with this; negative: an error number */
};

enum traced_verdict {
    TRACED_GO_ON,
    TRACED_REFUSE, /* entering: the call is not made and fails with ENOSPC */
    TRACED_KILL,   /* SIGKILL to the program, at this very point */
};
typedef enum traced_verdict (*traced_look)(void *ctx, const struct traced_call *call);

/* Can this process trace another? Some containers forbid it. */
bool traced_possible(void);

/* Starts argv[0] with these arguments and returns when it and all its children are gone. The wait status of the program; -1:
   it could not be traced. */
int traced_run(char *const *argv, traced_look look, void *ctx);

#endif
