/* bioseg.v1.Job from a record of the store. Any thread. */
#include "server/comparison.h"
#include "server/service/service_internal.h"
#include "server/store/runs.h"
#include "server/training_json.h"

#include <math.h>
#include <string.h>

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
    case BS_JOB_PAUSED:
        return BIOSEG__V1__JOB_STATE__JOB_STATE_PAUSED;
    }
    return BIOSEG__V1__JOB_STATE__JOB_STATE_UNSPECIFIED;
}

static void version_of(struct bs_arena *arena, const char *name, int64_t version, Bioseg__V1__ModelRef *m)
{
    bioseg__v1__model_ref__init(m);
    m->name = keep(arena, name);
    m->selector_case = BIOSEG__V1__MODEL_REF__SELECTOR_VERSION;
    m->version = version;
}

static void model_of(struct bs_arena *arena, const struct bs_job_record *j, Bioseg__V1__Job *m,
                     Bioseg__V1__ModelRef *model)
{
    struct bs_job_request request;
    struct bs_err ignored;
    if (bs_job_request_from_json(j->request, &request, &ignored) != BS_OK)
        return;
    version_of(arena, request.model, request.model_version, model);
    m->model = model;
}

static void candidate_of(struct bs_arena *arena, const struct bs_job_record *j, Bioseg__V1__Job *m,
                         Bioseg__V1__ModelRef *model)
{
    struct bs_comparison_request request;
    struct bs_err ignored;
    if (bs_comparison_request_from_json(j->request, &request, &ignored) != BS_OK)
        return;
    version_of(arena, request.candidate.name, request.candidate.version, model);
    m->model = model;
}

static void outcome_of(struct bs_arena *arena, const struct bs_job_record *j, Bioseg__V1__Job *m,
                       Bioseg__V1__JobError *error)
{
    Bioseg__V1__SegmentResult *result = NULL;
    struct bs_err ignored;
    if (j->state == BS_JOB_FAILED || j->state == BS_JOB_PAUSED) {
        bioseg__v1__job_error__init(error);
        error->code = bs_rpc_status_code((bs_status)j->error_code);
        error->message = keep(arena, j->error);
        m->error = error;
    }
    if (j->result_json && strcmp(j->kind, "segment") == 0 &&
        bs__result_message(arena, j->result_json, &result, NULL, &ignored) == BS_OK)
        m->object_count = result->object_count;
}

/* What a training run is, and how far the store knows it to be. */
static void training_of(struct bs_services *s, struct bs_arena *arena, const struct bs_job_record *j,
                        Bioseg__V1__Job *m, Bioseg__V1__ModelRef *made)
{
    struct {
        Bioseg__V1__TrainingState state;
        Bioseg__V1__ModelRef initial;
    } *t = bs_arena_alloc(arena, sizeof *t);
    struct bs_training_request q;
    struct bs_run_state run;
    struct bs_err ignored;
    if (!t || bs_training_request_from_json(j->request, &q, &ignored) != BS_OK)
        return;
    bioseg__v1__training_state__init(&t->state);
    t->state.dataset = keep(arena, q.dataset);
    t->state.dataset_sha256 = keep(arena, q.dataset_hash);
    t->state.model_name = keep(arena, q.model_name);
    t->state.config_json = keep(arena, q.config);
    if (q.parent[0]) {
        version_of(arena, q.parent, q.parent_version, &t->initial);
        t->state.initial = &t->initial;
    }
    if (bs_store_run_get(s->store, j->id, &run, &ignored) == BS_OK) {
        if (run.latest_step >= 0) {
            t->state.latest_presence_case = BIOSEG__V1__TRAINING_STATE__LATEST_PRESENCE_LATEST_STEP;
            t->state.latest_step = (uint64_t)run.latest_step;
        }
        if (run.best_step >= 0) {
            t->state.best_presence_case = BIOSEG__V1__TRAINING_STATE__BEST_PRESENCE_BEST_STEP;
            t->state.best_step = (uint64_t)run.best_step;
            t->state.best_validation_loss = isfinite(run.best_metric) ? run.best_metric : 0;
        }
        bs_run_state_free(&run);
    }
    m->training = &t->state;
    const int64_t version = bs_training_result_version(j->result_json);
    if (version > 0) {
        version_of(arena, q.model_name, version, made);
        m->model = made;
    }
    bs_training_request_free(&q);
}

Bioseg__V1__Job *bs__job_message(struct bs_services *s, struct bs_arena *arena, const struct bs_job_record *j)
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
    if (strcmp(j->kind, "compare") == 0)
        candidate_of(arena, j, &m->job, &m->model);
    else if (strcmp(j->kind, "train") == 0)
        training_of(s, arena, j, &m->job, &m->model);
    else
        model_of(arena, j, &m->job, &m->model);
    outcome_of(arena, j, &m->job, &m->error);
    return &m->job;
}
