/* A flag that says "stop": set by any thread, looked at between operators and between tiles by the one that works. The looks
   are counted, and so are signs of life: work that has not looked for a long time hangs. */
#ifndef BS_KERNELS_BASE_CANCEL_H
#define BS_KERNELS_BASE_CANCEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* What may go before long work on the same device: called between two of its operators by the thread that works, which goes on
   when it returns. It may run other executables. */
struct bs_yield {
    void *ctx;
    void (*call)(void *ctx);
    /* Set by any thread while something waits to go first: then a backend also stops in the middle of an operator, where it can,
       and calls. NULL: between operators only. */
    const atomic_bool *wanted;
};

struct bs_cancel {
    atomic_bool requested;
    atomic_uint looks;            /* not exact when several threads look at once */
    const struct bs_yield *yield; /* set before the work begins; NULL: nothing goes before it */
};

static inline void bs_cancel_request(struct bs_cancel *c)
{
    atomic_store_explicit(&c->requested, true, memory_order_release);
}

/* NULL never asks to stop. */
static inline bool bs_cancel_requested(const struct bs_cancel *c)
{
    if (!c)
        return false;
    /* Whoever asks does not change what the flag says, hence const. */
    atomic_uint *looks = &((struct bs_cancel *)(uintptr_t)c)->looks;
    atomic_store_explicit(looks, atomic_load_explicit(looks, memory_order_relaxed) + 1, memory_order_relaxed);
    return atomic_load_explicit(&c->requested, memory_order_acquire);
}

/* NULL never yields. Of the thread that owns the device. */
static inline void bs_cancel_yield(const struct bs_cancel *c)
{
    if (c && c->yield)
        c->yield->call(c->yield->ctx);
}

/* Does anybody wait who should not have to wait for the end of an operator? Any thread. */
static inline bool bs_cancel_yield_wanted(const struct bs_cancel *c)
{
    return c && c->yield && c->yield->wanted && atomic_load_explicit(c->yield->wanted, memory_order_relaxed);
}

static inline unsigned bs_cancel_looks(const struct bs_cancel *c)
{
    return atomic_load_explicit(&c->looks, memory_order_relaxed);
}

#endif
