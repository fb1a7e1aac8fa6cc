/* grpc.health.v1: whether this server takes work. One state for the whole server and for each of its services. */
#include "server/service/service_internal.h"

#include "grpc/health/v1/health.pb-c.h"

#include <stdlib.h>
#include <string.h>

struct bs_health {
    pthread_mutex_t mu;
    pthread_cond_t changed; /* state, or a watcher's call, has changed */
    bool serving;
};

struct bs_health *bs_health_create(void)
{
    struct bs_health *h = calloc(1, sizeof *h);
    if (!h)
        return NULL;
    pthread_mutex_init(&h->mu, NULL);
    pthread_cond_init(&h->changed, NULL);
    return h;
}

void bs_health_destroy(struct bs_health *h)
{
    if (!h)
        return;
    pthread_cond_destroy(&h->changed);
    pthread_mutex_destroy(&h->mu);
    free(h);
}

void bs_health_set(struct bs_health *h, bool serving)
{
    pthread_mutex_lock(&h->mu);
    h->serving = serving;
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->mu);
}

static void wake(void *ctx)
{
    struct bs_health *h = ctx;
    pthread_mutex_lock(&h->mu);
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->mu);
}

static bool known(const char *service)
{
    static const char *const names[] = {
        "",
        "bioseg.v1.Server",
        "bioseg.v1.Segmentation",
        "bioseg.v1.Models",
        "bioseg.v1.Jobs",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(service, names[i]) == 0)
            return true;
    }
    return false;
}

static bs_status check(void *service, struct bs_call *call, const ProtobufCMessage *message,
                       struct bs_err *err)
{
    struct bs_services *s = service;
    const Grpc__Health__V1__HealthCheckRequest *request =
        (const Grpc__Health__V1__HealthCheckRequest *)message;
    Grpc__Health__V1__HealthCheckResponse answer = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    if (!known(request->service))
        return BS_FAIL(err, BS_ENOTFOUND, "there is no service %.100s here", request->service);
    pthread_mutex_lock(&s->health->mu);
    answer.status = s->health->serving ? GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
                                       : GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
    pthread_mutex_unlock(&s->health->mu);
    return bs_call_write(call, &answer.base, err);
}

static bs_status watch(void *service, struct bs_call *call, const ProtobufCMessage *message,
                       struct bs_err *err)
{
    struct bs_services *s = service;
    struct bs_health *h = s->health;
    const Grpc__Health__V1__HealthCheckRequest *request =
        (const Grpc__Health__V1__HealthCheckRequest *)message;
    bool exists = known(request->service);
    int sent = -1;
    bs_status rc = BS_OK;
    bs_call_on_cancel(call, wake, h);
    while (rc == BS_OK) {
        Grpc__Health__V1__HealthCheckResponse answer = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
        pthread_mutex_lock(&h->mu);
        while (!bs_call_cancelled(call) && sent == (int)h->serving)
            pthread_cond_wait(&h->changed, &h->mu);
        sent = h->serving;
        pthread_mutex_unlock(&h->mu);
        if (bs_call_cancelled(call)) {
            rc = bs_call_cancelled_status(call, err);
            break;
        }
        answer.status = !exists ? GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN
                        : sent  ? GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
                                : GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
        rc = bs_call_write(call, &answer.base, err);
    }
    bs_call_on_cancel(call, NULL, NULL);
    return rc;
}

void bs__health_register(struct bs_services *s, struct bs_rpc *rpc)
{
    static const struct bs_method methods[] = {
        {.name = "Check", .run = check, .while_draining = true},
        {.name = "Watch", .run = watch, .streams_answers = true, .lasting = true, .while_draining = true},
    };
    bs_rpc_add_service(rpc, &grpc__health__v1__health__descriptor, BS__METHODS(methods), s, NULL);
}
