/* Runs numbered tasks on the device's threads: the one place of cpu/ that knows OpenMP (oneDNN uses the same pool).
   Tasks are handed out as threads come free, so a task must not care which worker runs it. Executor thread only. */
#ifndef BS_KERNELS_CPU_PARALLEL_H
#define BS_KERNELS_CPU_PARALLEL_H

#include <stdint.h>

/* worker is below the number of threads: it selects scratch memory, nothing else. */
typedef void (*bs__task_fn)(const void *ctx, int64_t task, int worker);

void bs__parallel(int threads, int64_t ntask, bs__task_fn fn, const void *ctx);
/* oneDNN takes its thread count from here; set by the thread that calls it. */
void bs__parallel_set_threads(int threads);

#endif
