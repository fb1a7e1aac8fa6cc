/* Tasks on OpenMP threads, or one after another in a build without OpenMP; see parallel.h. */
#include "kernels/cpu/parallel.h"

#ifdef _OPENMP
#include <omp.h>

void bs__parallel(int threads, int64_t ntask, bs__task_fn fn, const void *ctx)
{
    if (threads > ntask) /* the pragma reads it: NOLINTNEXTLINE(clang-analyzer-deadcode.DeadStores) */
        threads = ntask > 0 ? (int)ntask : 1;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (int64_t i = 0; i < ntask; i++)
        fn(ctx, i, omp_get_thread_num());
}

void bs__parallel_set_threads(int threads)
{
    omp_set_num_threads(threads);
}
#else
void bs__parallel(int threads, int64_t ntask, bs__task_fn fn, const void *ctx)
{
    (void)threads;
    for (int64_t i = 0; i < ntask; i++)
        fn(ctx, i, 0);
}

void bs__parallel_set_threads(int threads)
{
    (void)threads;
}
#endif
