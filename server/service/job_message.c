/* bioseg.v1.Job from a record of the store. Any thread. */
#include "server/service/service_internal.h"

static char *keep(struct bs_arena *arena, const char *text)
{
    char *copy = bs_arena_strdup(arena, text ? text : "");
    return copy ? copy : (char *)(uintptr_t)protobuf_c_empty_string;
}

static Bioseg__V1__JobState state_message(enum bs_job_state state)
{
    switch (state) {
    case BS_JOB_QUEUED:
        return BIOSEG__V1__JOB_STATE__JOB_STATE_QUEUED;
    case BS_JOB_RUNNING:
        return BIOSEG__V1__JOB_STATE__JOB_STATE_RUNNING;
    case BS_JOB_SUCCEEDED:
        return BIOSEG__V1__JOB_STATE__JOB_STATE_SUCCEEDED;
    case BS_JOB_FAILED:
        return BIOSEG__V1__JOB_STATE__JOB_STATE_FAILED;
    case BS_JOB_CANCELLED:
        return BIOSEG__V1__JOB_STATE__JOB_STATE_CANCELLED;
    }
    return BIOSEG__V1__JOB_STATE__JOB_STATE_UNSPECIFIED;
}

static void model_of(struct bs_arena *arena, const struct bs_job_record *j, Bioseg__V1__Job *m,
                     Bioseg__V1__ModelRef *model)
{
    struct bs_job_request request;
    struct bs_err ignored;
    if (bs_job_request_from_json(j->request, &request, &ignored) != BS_OK)
        return;
    bioseg__v1__model_ref__init(model);
    model->name = keep(arena, request.model);
    model->selector_case = BIOSEG__V1__MODEL_REF__SELECTOR_VERSION;
    model->version = request.model_version;
    m->model = model;
}

static void outcome_of(struct bs_arena *arena, const struct bs_job_record *j, Bioseg__V1__Job *m,
                       Bioseg__V1__JobError *error)
{
    Bioseg__V1__SegmentResult *result = NULL;
    struct bs_err ignored;
    if (j->state == BS_JOB_FAILED) {
        bioseg__v1__job_error__init(error);
        error->code = bs_rpc_status_code((bs_status)j->error_code);
        error->message = keep(arena, j->error);
        m->error = error;
    }
    if (j->result_json && bs__result_message(arena, j->result_json, &result, NULL, &ignored) == BS_OK)
        m->object_count = result->object_count;
}

Bioseg__V1__Job *bs__job_message(struct bs_arena *arena, const struct bs_job_record *j)
{
    struct {
        Bioseg__V1__Job job;
        Bioseg__V1__Progress progress;
        Bioseg__V1__ModelRef model;
        Bioseg__V1__JobError error;
    } *m = bs_arena_alloc(arena, sizeof *m);
    if (!m)
        return NULL;
    bioseg__v1__job__init(&m->job);
    bioseg__v1__progress__init(&m->progress);
    m->progress.tiles_done = (uint32_t)j->done;
    m->progress.tiles_total = (uint32_t)j->total;
    m->job.id = keep(arena, j->id);
    m->job.owner = keep(arena, j->owner);
    m->job.project = keep(arena, j->project);
    m->job.kind = keep(arena, j->kind);
    m->job.state = state_message(j->state);
    m->job.progress = &m->progress;
    m->job.attempts = (uint32_t)j->attempts;
    m->job.created_ms = j->created_ms;
    m->job.started_ms = j->started_ms;
    m->job.finished_ms = j->finished_ms;
    m->job.expires_ms = j->expires_ms;
    m->job.revision = j->revision;
    m->job.idempotency_key = keep(arena, j->idempotency_key);
    m->job.n_labels =
        bs__labels_from_json(arena, j->labels, &bioseg__v1__job__labels_entry__descriptor, &m->job.labels);
    model_of(arena, j, &m->job, &m->model);
    outcome_of(arena, j, &m->job, &m->error);
    return &m->job;
}
