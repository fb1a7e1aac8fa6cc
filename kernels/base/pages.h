/* Large zeroed memory straight from the kernel, on huge pages where the machine offers them: arenas of executables
   and label images live here (page faults cost a fifth of the time otherwise). Any thread. */
#ifndef BS_KERNELS_BASE_PAGES_H
#define BS_KERNELS_BASE_PAGES_H

#include <stddef.h>

/* bytes of zeroed memory aligned to 2 MiB (to a page below that size); NULL when there is none. Release with bs_pages_free. */
void *bs_pages_alloc(size_t bytes);
void bs_pages_free(void *p, size_t bytes);

#endif
