/* A driver library of the past: all functions of the table but the last, for test_driver.c. None of them is ever called. */
#include "kernels/cuda/driver.h"

#define ANSWER(member, symbol, parameters)                                                                   \
    __attribute__((visibility("default"))) int symbol(void);                                                 \
    int symbol(void)                                                                                         \
    {                                                                                                        \
        return BS__CU_UNKNOWN;                                                                               \
    }
#define cuGraphExecDestroy cuGraphExecDestroy_of_tomorrow
BS__DRIVER_FUNCTIONS(ANSWER)
