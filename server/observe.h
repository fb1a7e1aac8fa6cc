/* What the daemon tells over HTTP: whether it takes work, and its figures for Prometheus. Reads engine, store and blobs;
   asks no user's name and no file's: other accounts of the machine can reach the port. Any thread. */
#ifndef BS_SERVER_OBSERVE_H
#define BS_SERVER_OBSERVE_H

#include "server/engine.h"
#include "server/http/http.h"
#include "server/store/blobs.h"
#include "server/store/store.h"

#include <stdatomic.h>

struct bs_observe {
    struct bs_engine *engine; /* all borrowed */
    struct bs_store *store;
    struct bs_blobs *blobs;
    int64_t started_ms; /* since 1970 */
    atomic_bool draining;
};

/* The callbacks of the HTTP port, with o as their context. */
struct bs_http_source bs_observe_source(struct bs_observe *o);

#endif
