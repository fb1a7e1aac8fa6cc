/* Tasks on OpenMP threads, or one after another in a build without OpenMP; see parallel.h. */
#include "kernels/cpu/parallel.h"

#include <stddef.h>

#ifdef _OPENMP
#include <omp.h>
#endif

/* Of the step that this thread runs: what OpenMP's own settings are, too. */
static _Thread_local const struct bs_cancel *yield_to;

const struct bs_cancel *bs__parallel_yield_to(const struct bs_cancel *cancel)
{
    const struct bs_cancel *before = yield_to;
    yield_to = cancel;
    return before;
}

struct tasks {
    int64_t count;
    _Atomic int64_t next;
    bs__task_fn fn;
    const void *ctx;
    const struct bs_cancel *cancel;
};

/* One thread's share, of one task at least, so that whoever always wants to go first does not stop the work for good. */
static void take_tasks(struct tasks *t, int worker)
{
    do {
        const int64_t task = atomic_fetch_add_explicit(&t->next, 1, memory_order_relaxed);
        if (task >= t->count)
            return;
        t->fn(t->ctx, task, worker);
    } while (!bs_cancel_yield_wanted(t->cancel));
}

#ifdef _OPENMP
static void take_together(int threads, struct tasks *t)
{
#pragma omp parallel num_threads(threads)
    take_tasks(t, omp_get_thread_num());
}

void bs__parallel_set_threads(int threads)
{
    omp_set_num_threads(threads);
}
#else
static void take_together(int threads, struct tasks *t)
{
    (void)threads;
    take_tasks(t, 0);
}

void bs__parallel_set_threads(int threads)
{
    (void)threads;
}
#endif

void bs__parallel(int threads, int64_t ntask, bs__task_fn fn, const void *ctx)
{
    struct tasks t = {.count = ntask, .fn = fn, .ctx = ctx, .cancel = yield_to};
    if (threads > ntask)
        threads = ntask > 0 ? (int)ntask : 1;
    for (take_together(threads, &t); t.next < ntask; take_together(threads, &t))
        bs_cancel_yield(t.cancel);
}
