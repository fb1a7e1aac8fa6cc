/* A conversion in a child process that is locked in before it parses a file that comes from anywhere; only the report comes back
   through a pipe. One conversion at a time. */
#ifndef BS_CLIENTS_CLI_CONVERT_CHILD_H
#define BS_CLIENTS_CLI_CONVERT_CHILD_H

#include "clients/cli/interrupt.h"

#include "model/weights/convert.h"

struct bs__convert_call {
    const char *in, *out;
    uint64_t file_bytes; /* of in */
    const struct bs_convert_options *options;
    bool without_sandbox; /* go on where the system cannot filter system calls */
};

/* What the child says; both ends are this program, so the bytes of the struct will do. */
struct bs__convert_answer {
    bs_status status;
    char message[512];
    bool unlocked; /* the system could not filter system calls */
    struct bs_convert_report report;
};

/* Ctrl-C kills the child: until the call returns it takes the place of what the interrupt called before, then it calls nothing.
   The message names a->in. */
bs_status bs__convert_in_child(struct bs__interrupt *interrupt, const struct bs__convert_call *a,
                               struct bs__convert_answer *answer, struct bs_err *err) BS_NODISCARD;

#endif
