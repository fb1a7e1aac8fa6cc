/* What stands in for engine, store, queue and blobs while requests are fuzzed: a world of one model and three jobs that
   no call changes, so that every input does the same each time. One thread. */
#ifndef BS_TESTS_FUZZ_REQUESTS_WORLD_H
#define BS_TESTS_FUZZ_REQUESTS_WORLD_H

#include "server/service/service.h"

/* Aborts when it cannot. */
void world_create(struct bs_services *s);
/* Aborts when a writer or a watcher was left behind. */
void world_check(void);

#endif
