/* Checked arithmetic: sizes that come from a file or a message pass through here before anything is allocated.
   Each function returns false, and leaves *out alone, when the result does not fit. Any thread. */
#ifndef BS_KERNELS_BASE_CHECKED_H
#define BS_KERNELS_BASE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>

static inline bool bs_mul(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_mul_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

static inline bool bs_add(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_add_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

/* a rounded up to the next multiple of m (m > 0). */
static inline bool bs_round_up(size_t a, size_t m, size_t *out)
{
    size_t r;
    if (__builtin_add_overflow(a, m - 1, &r))
        return false;
    *out = r / m * m;
    return true;
}

#endif
