/* The services behind bioseg.v1, health and reflection: what they share, and how main.c puts them on a server.
   The struct is filled once and then read by all handlers; what changes in it is atomic or has its own lock. */
#ifndef BS_SERVER_SERVICE_SERVICE_H
#define BS_SERVER_SERVICE_SERVICE_H

#include "server/engine.h"
#include "server/jobs.h"
#include "server/kept.h"
#include "server/log.h"
#include "server/rpc/rpc.h"
#include "server/store/blobs.h"
#include "server/store/store.h"

#include <pthread.h>
#include <stdatomic.h>

#define BS_API_LEVEL 1

struct bs_service_limits {
    uint64_t max_unary_image_bytes;
    uint64_t max_image_bytes;
    uint64_t max_model_bytes;
    uint64_t max_held_bytes; /* of images that are being received or segmented, all callers together */
    uint32_t max_page_size;
    uint32_t max_streams;       /* as given to rpc */
    uint64_t max_message_bytes; /* as given to rpc */
};

struct bs_health;

struct bs_services {
    struct bs_log *log; /* all borrowed */
    struct bs_store *store;
    struct bs_blobs *blobs;
    struct bs_engine *engine;
    struct bs_jobs *jobs;
    struct bs_kept *kept;
    struct bs_health *health;
    struct bs_service_limits limits;
    int64_t started_ms;
    atomic_ullong held_bytes;
    void *reflection; /* its index; bs_services_free frees it */
};

struct bs_health *bs_health_create(void);
void bs_health_destroy(struct bs_health *h);
/* Tells watchers. */
void bs_health_set(struct bs_health *h, bool serving);

/* Registers every service of proto/ on the server. */
bs_status bs_services_register(struct bs_services *s, struct bs_rpc *rpc, struct bs_err *err) BS_NODISCARD;
/* After the server is gone. */
void bs_services_free(struct bs_services *s);

#endif
