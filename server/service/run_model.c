/* The best weights that a training job has so far, as a model to segment with: "job:ID" where otherwise a model's name stands. They are
   no version of anything, so the job's step stands in its place. Any thread. */
#include "server/service/service_internal.h"

#include "server/store/runs.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PREFIX "job:"

/* The caller's own training job. */
static bs_status find_job(struct bs_services *s, const char *owner, const char *id, struct bs_err *err)
{
    struct bs_job_record job = {.owner = NULL};
    bs_status rc = strlen(id) < sizeof job.id ? bs_store_job_get(s->store, id, &job, err) : BS_ENOTFOUND;
    if (rc == BS_OK && (strcmp(job.owner, owner) != 0 || strcmp(job.kind, "train") != 0))
        rc = BS_ENOTFOUND;
    bs_job_record_free(&job);
    return rc == BS_ENOTFOUND ? BS_FAIL(err, BS_ENOTFOUND, "you have no training job \"%.48s\"", id) : rc;
}

/* Looks into the weights, in a child as at an import, and describes them as a model. */
static bs_status describe(struct bs_services *s, const char *owner, const char *name,
                          const struct bs_run_state *run, int fd, struct bs_model_record *m,
                          struct bs_err *err)
{
    struct bs_model_info info;
    bs_status rc = bs_engine_inspect(s->engine, fd, &info, err);
    if (rc == BS_OK)
        rc = bs_model_info_to_json(&info, &m->info_json, err);
    if (rc != BS_OK)
        return rc;
    m->name = strdup(name);
    m->owner = strdup(owner);
    m->blob = strdup(run->best_blob);
    m->labels = strdup("{}");
    m->version = run->best_step;
    return m->name && m->owner && m->blob && m->labels ? BS_OK : BS_FAIL(err, BS_ENOMEM, "no memory");
}

bs_status bs__model_find_for(struct bs_services *s, const char *owner, const Bioseg__V1__ModelRef *ref,
                             struct bs_model_record *record, int *fd, struct bs_err *err)
{
    struct bs_run_state run = {.best_blob = NULL};
    const char *id =
        ref && strncmp(ref->name, PREFIX, strlen(PREFIX)) == 0 ? ref->name + strlen(PREFIX) : NULL;
    bs_status rc;
    *fd = -1;
    if (!id)
        return bs__model_find(s, ref, record, err);
    if (!owner)
        return BS_FAIL(
            err, BS_EINVAL,
            "model.name is \"%.80s\"; the weights of a run that goes on are accepted where you wait for the "
            "result, not in jobs that may wait themselves",
            ref->name);
    if (ref->selector_case == BIOSEG__V1__MODEL_REF__SELECTOR_ALIAS)
        return BS_FAIL(err, BS_EINVAL, "model.name is \"%.80s\", which has no aliases", ref->name);
    if ((rc = find_job(s, owner, id, err)) != BS_OK ||
        (rc = bs_store_run_get(s->store, id, &run, err)) != BS_OK)
        return rc;
    if (!run.best_blob)
        rc = BS_FAIL(err, BS_ENOTFOUND, "job %s has no weights yet that were validated", id);
    else if (ref->selector_case == BIOSEG__V1__MODEL_REF__SELECTOR_VERSION && ref->version > run.best_step)
        rc = BS_FAIL(err, BS_ENOTFOUND, "the best weights of job %s are of step %" PRId64 ", not %" PRId64,
                     id, run.best_step, ref->version);
    /* Held open from here on: a better one may come, and the file of this one go, before it is used. */
    if (rc == BS_OK && (rc = bs_blob_open(s->blobs, run.best_blob, fd, &record->bytes, err)) == BS_OK)
        rc = describe(s, owner, ref->name, &run, *fd, record, err);
    if (rc != BS_OK) {
        if (*fd >= 0)
            close(*fd);
        *fd = -1;
        bs_model_record_free(record);
    }
    bs_run_state_free(&run);
    return rc;
}
