/* Who hears of changes of a job. Any thread. */
#include "server/jobs_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bs_job_watch {
    struct bs_jobs *jobs;
    char id[40];
    bs_job_watch_fn fn;
    void *ctx;
    struct bs_job_watch *next;
};

struct bs_job_watch *bs_jobs_watch(struct bs_jobs *j, const char *id, bs_job_watch_fn fn, void *ctx)
{
    struct bs_job_watch *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->jobs = j;
    snprintf(w->id, sizeof w->id, "%s", id);
    w->fn = fn;
    w->ctx = ctx;
    pthread_mutex_lock(&j->watch_mu);
    w->next = j->watches;
    j->watches = w;
    pthread_mutex_unlock(&j->watch_mu);
    return w;
}

void bs_jobs_unwatch(struct bs_job_watch *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->jobs->watch_mu);
    struct bs_job_watch **at = &w->jobs->watches;
    while (*at && *at != w)
        at = &(*at)->next;
    if (*at)
        *at = w->next;
    pthread_mutex_unlock(&w->jobs->watch_mu);
    free(w);
}

static bool watched(struct bs_jobs *j, const char *id)
{
    bool found = false;
    pthread_mutex_lock(&j->watch_mu);
    for (struct bs_job_watch *w = j->watches; w; w = w->next)
        found |= strcmp(w->id, id) == 0;
    pthread_mutex_unlock(&j->watch_mu);
    return found;
}

void bs__notify(struct bs_jobs *j, const char *id, bool gone)
{
    struct bs_job_record record = {0};
    struct bs_err err;
    int64_t revision = 0;
    if (!watched(j, id))
        return;
    if (!gone && bs_store_job_get(j->store, id, &record, &err) == BS_OK)
        revision = record.revision;
    bs_job_record_free(&record);
    pthread_mutex_lock(&j->watch_mu);
    for (struct bs_job_watch *w = j->watches; w; w = w->next)
        if (strcmp(w->id, id) == 0)
            w->fn(w->ctx, id, revision);
    pthread_mutex_unlock(&j->watch_mu);
}
