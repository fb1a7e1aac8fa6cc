/* Huge-page backed memory; see pages.h. */
#include "kernels/base/pages.h"

#include "kernels/base/checked.h"

#include <stdint.h>
#include <sys/mman.h>

#define HUGE_PAGE  ((size_t)2 << 20)
#define SMALL_PAGE ((size_t)4096)

/* To small pages: what does not fill a huge page at the end stays on small ones and costs no more than it needs. */
static size_t rounded(size_t bytes)
{
    size_t r = 0;
    return bs_round_up(bytes ? bytes : 1, SMALL_PAGE, &r) ? r : 0;
}

void *bs_pages_alloc(size_t bytes)
{
    size_t size = rounded(bytes), whole;
    if (!size)
        return NULL;
    if (size < HUGE_PAGE) {
        void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return p == MAP_FAILED ? NULL : p;
    }
    if (!bs_add(size, HUGE_PAGE, &whole))
        return NULL;
    unsigned char *p =
        mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    size_t skip = (HUGE_PAGE - (uintptr_t)p % HUGE_PAGE) % HUGE_PAGE;
    if (skip)
        munmap(p, skip);
    if (HUGE_PAGE - skip)
        munmap(p + skip + size, HUGE_PAGE - skip);
    (void)madvise(p + skip, size, MADV_HUGEPAGE); /* a wish: without it the memory is the same, only slower */
    return p + skip;
}

void bs_pages_free(void *p, size_t bytes)
{
    if (p)
        munmap(p, rounded(bytes));
}
