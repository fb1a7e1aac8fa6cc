/* Runs numbered tasks on the device's threads: the one place of cpu/ that knows OpenMP (oneDNN uses the same pool).
   Tasks are handed out as threads come free, so a task must not care which worker runs it. Executor thread only. */
#ifndef BS_KERNELS_CPU_PARALLEL_H
#define BS_KERNELS_CPU_PARALLEL_H

#include "kernels/base/cancel.h"

#include <stdint.h>

/* worker is below the number of threads: it selects scratch memory, nothing else. */
typedef void (*bs__task_fn)(const void *ctx, int64_t task, int worker);

void bs__parallel(int threads, int64_t ntask, bs__task_fn fn, const void *ctx);
/* Whom the tasks of bs__parallel, when called by this thread, let go first: as soon as somebody wants to, no more tasks are handed
   out, those that run end, cancel's yield is called, and then the others follow. NULL, as in the beginning: nobody. Returns who
   it was before, for whoever has to set it again. */
const struct bs_cancel *bs__parallel_yield_to(const struct bs_cancel *cancel);
/* oneDNN takes its thread count from here; set by the thread that calls it. */
void bs__parallel_set_threads(int threads);

#endif
