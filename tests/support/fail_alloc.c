/* Allocation functions that fail on demand; see fail_alloc.h. */
#include "tests/support/fail_alloc.h"

#include <stddef.h>

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_realloc(void *p, size_t bytes);
void *__real_bs_pages_alloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__wrap_realloc(void *p, size_t bytes);
void *__wrap_bs_pages_alloc(size_t bytes);

static unsigned left; /* allocations until the failing one; 0: none fails */
static bool failed;

void bs_test_fail_alloc_at(unsigned n)
{
    left = n;
    failed = false;
}

bool bs_test_alloc_failed(void)
{
    return failed;
}

static bool this_one_fails(void)
{
    if (left == 0 || --left > 0)
        return false;
    failed = true;
    return true;
}

void *__wrap_malloc(size_t bytes)
{
    return this_one_fails() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t bytes)
{
    return this_one_fails() ? NULL : __real_calloc(n, bytes);
}

void *__wrap_realloc(void *p, size_t bytes)
{
    return this_one_fails() ? NULL : __real_realloc(p, bytes);
}

void *__wrap_bs_pages_alloc(size_t bytes)
{
    return this_one_fails() ? NULL : __real_bs_pages_alloc(bytes);
}
