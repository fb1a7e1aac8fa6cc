/* A flag that says "stop": set by any thread, looked at between operators and between tiles by the one that works. */
#ifndef BS_KERNELS_BASE_CANCEL_H
#define BS_KERNELS_BASE_CANCEL_H

#include <stdatomic.h>
#include <stdbool.h>

struct bs_cancel {
    atomic_bool requested;
};

static inline void bs_cancel_request(struct bs_cancel *c)
{
    atomic_store_explicit(&c->requested, true, memory_order_release);
}

/* NULL never asks to stop. */
static inline bool bs_cancel_requested(const struct bs_cancel *c)
{
    return c && atomic_load_explicit(&c->requested, memory_order_acquire);
}

#endif
