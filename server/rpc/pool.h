/* Threads that run calls: as many as there are calls, up to a stated number, kept for a while when idle. A handler may
   block (that is what it has a thread for), the completion queue threads never do. Thread-safe. */
#ifndef BS_SERVER_RPC_POOL_H
#define BS_SERVER_RPC_POOL_H

#include "kernels/base/status.h"

struct bs_pool;

struct bs_pool *bs_pool_create(int max_threads);
/* Waits for everything that runs. Accepts NULL. */
void bs_pool_destroy(struct bs_pool *p);
/* False when max_threads are busy (or no thread can be made); fn has not been and will not be called then. */
bool bs_pool_run(struct bs_pool *p, void (*fn)(void *arg), void *arg) BS_NODISCARD;

#endif
