/* Placement of every buffer of a program in one arena by liveness, before anything is allocated: the peak is known
   when a job is admitted. Pure function; any thread. */
#ifndef BS_KERNELS_PLAN_H
#define BS_KERNELS_PLAN_H

#include "kernels/base/status.h"

#define BS_NO_PARENT  (-1)
#define BS_PLAN_ALIGN ((size_t)64)

struct bs_plan_buffer {
    size_t bytes;
    int first, last;      /* steps between which it is alive, inclusive; last < first: never used */
    int parent;           /* lies inside another buffer (how a concat costs nothing), or BS_NO_PARENT */
    size_t parent_offset; /* bytes into the parent */
    size_t offset;        /* result: bytes into the arena */
};

/* Sets every offset and *arena_bytes. A parent lives as long as all its children (extended here).
   Largest buffers first, each at the lowest offset that is free during its life. */
bs_status bs_plan_place(struct bs_plan_buffer *buffers, int count, size_t *arena_bytes,
                        struct bs_err *err) BS_NODISCARD;

#endif
