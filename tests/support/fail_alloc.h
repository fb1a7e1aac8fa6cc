/* Fault injection: makes one allocation of the program under test fail. Link with bs_test_fail_alloc, which puts these
   functions in place of malloc, calloc, realloc and bs_pages_alloc in everything linked statically. Single-threaded. */
#ifndef BS_TESTS_SUPPORT_FAIL_ALLOC_H
#define BS_TESTS_SUPPORT_FAIL_ALLOC_H

#include <stdbool.h>

/* The n-th allocation from now fails, once; 0: none. A test calls it with 1, 2, ... until the operation succeeds. */
void bs_test_fail_alloc_at(unsigned n);
/* Whether it has failed since. */
bool bs_test_alloc_failed(void);

#endif
