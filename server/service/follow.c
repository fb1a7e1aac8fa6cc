/* A call that lasts while a job goes on: whoever answers is asked again each time the job has changed. */
#include "server/service/service_internal.h"

#include <pthread.h>

struct news {
    pthread_mutex_t mu;
    pthread_cond_t changed;
    bool there;
};

static void tell(struct news *n)
{
    pthread_mutex_lock(&n->mu);
    n->there = true;
    pthread_cond_signal(&n->changed);
    pthread_mutex_unlock(&n->mu);
}

static void on_change(void *ctx, const char *job_id, int64_t revision)
{
    (void)job_id;
    (void)revision;
    tell(ctx);
}

static void on_cancel(void *ctx)
{
    tell(ctx);
}

bs_status bs__follow_job(struct bs_services *s, struct bs_call *call, const char *id,
                         bs_status (*send)(void *ctx, bool *last, struct bs_err *err), void *ctx,
                         struct bs_err *err)
{
    struct news n = {.there = false};
    bool last = false;
    bs_status rc;
    pthread_mutex_init(&n.mu, NULL);
    pthread_cond_init(&n.changed, NULL);
    /* Attached before the first look, so that no change falls between. */
    struct bs_job_watch *handle = bs_jobs_watch(s->jobs, id, on_change, &n);
    bs_call_on_cancel(call, on_cancel, &n);
    rc = handle ? send(ctx, &last, err) : BS_FAIL(err, BS_ENOMEM, "no memory to watch a job");
    while (rc == BS_OK && !last) {
        pthread_mutex_lock(&n.mu);
        while (!n.there)
            pthread_cond_wait(&n.changed, &n.mu);
        n.there = false;
        pthread_mutex_unlock(&n.mu);
        rc = bs_call_cancelled(call) ? bs_call_cancelled_status(call, err) : send(ctx, &last, err);
    }
    bs_call_on_cancel(call, NULL, NULL);
    if (handle)
        bs_jobs_unwatch(handle);
    pthread_cond_destroy(&n.changed);
    pthread_mutex_destroy(&n.mu);
    return rc;
}
