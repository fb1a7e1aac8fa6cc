/* bioseg.v1.Training: runs are jobs of kind "train"; Jobs.Get, List, Watch, Cancel and Delete work on them too. A caller sees its
   own runs only. */
#include "server/service/training_internal.h"

#include "server/store/runs.h"
#include "server/training_params.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_KEY     128
#define NOTES_ROWS  500 /* read from the store at a time */
#define NOTE_VALUES 8

static bs_status no_memory(struct bs_err *err)
{
    return BS_FAIL(err, BS_ENOMEM, "the answer needs more memory than one request may take");
}

/* The caller's own run. */
static bs_status find(struct bs_services *s, struct bs_call *call, const char *id, struct bs_job_record *job,
                      struct bs_err *err)
{
    if (!id[0])
        return BS_FAIL(err, BS_EINVAL, "job_id is missing");
    bs_status rc = strlen(id) < sizeof job->id ? bs_store_job_get(s->store, id, job, err)
                                               : BS_FAIL(err, BS_ENOTFOUND, "no such job");
    if (rc == BS_OK && strcmp(job->owner, bs_call_caller(call)->name) != 0) {
        bs_job_record_free(job);
        rc = BS_ENOTFOUND;
    }
    if (rc == BS_ENOTFOUND)
        return BS_FAIL(err, BS_ENOTFOUND, "you have no job \"%.48s\"", id);
    if (rc == BS_OK && strcmp(job->kind, "train") != 0) {
        rc = BS_FAIL(err, BS_EINVAL, "job %s is of kind \"%.32s\"; training runs are accepted", job->id,
                     job->kind);
        bs_job_record_free(job);
    }
    return rc;
}

/* ---- Describe ---- */

static bs_status describe(void *service, struct bs_call *call, const ProtobufCMessage *message,
                          struct bs_err *err)
{
    const Bioseg__V1__DescribeTrainingRequest *q = (const Bioseg__V1__DescribeTrainingRequest *)message;
    Bioseg__V1__DescribeTrainingResponse answer = BIOSEG__V1__DESCRIBE_TRAINING_RESPONSE__INIT;
    struct bs_param_spec specs[BS_TRAINING_MAX_PARAMS];
    struct bs_train_config config;
    bs_status rc = bs__training_default(q->architecture, q->recipe, &config, err);
    (void)service;
    if (rc != BS_OK)
        return rc;
    int n = bs_training_param_specs(&config, specs, BS_TRAINING_MAX_PARAMS);
    answer.n_parameters = (size_t)n;
    answer.parameters = bs__parameter_messages(bs_call_arena(call), specs, n);
    return answer.parameters ? bs_call_write(call, &answer.base, err) : no_memory(err);
}

/* ---- Start ---- */

static bs_status check_start(const Bioseg__V1__StartTrainingRequest *q, struct bs_err *err)
{
    size_t n = strlen(q->idempotency_key);
    bool printable = true;
    for (size_t i = 0; i < n; i++)
        printable = printable && isgraph((unsigned char)q->idempotency_key[i]);
    if (n > MAX_KEY || !printable)
        return BS_FAIL(
            err, BS_EINVAL,
            "idempotency_key has %zu characters; up to %d printable ones without spaces are accepted", n,
            MAX_KEY);
    if (q->dry_run)
        return BS_FAIL(err, BS_EUNSUPPORTED, "dry runs of training" BS__LATER);
    return q->project[0] ? bs__check_name("project", q->project, err) : BS_OK;
}

/* What the same key must come with: the request as it was asked (the newest model stays "the newest"), what was in the
   dataset, and labels where they are given. */
static bs_status payload_hash(const struct bs__training *t, bool version_stated,
                              const struct bs_job_record *job, char **out, struct bs_err *err)
{
    struct bs_training_request q = t->request; /* borrows the configuration */
    char *json = NULL, *text = NULL;
    bs_status rc;
    if (!version_stated) {
        q.parent_version = 0;
        q.parent_blob[0] = '\0';
    }
    if ((rc = bs_training_request_to_json(&q, &json, err)) != BS_OK)
        return rc;
    if (asprintf(&text, "train\n%s\n%s\n%s", job->input_blob, json, job->labels) < 0)
        text = NULL;
    *out = malloc(BS_BLOB_HASH_LEN + 1);
    rc = text && *out ? bs_blob_hash(text, strlen(text), *out, err) : BS_FAIL(err, BS_ENOMEM, "no memory");
    free(text);
    free(json);
    return rc;
}

static bs_status add_job(struct bs_services *s, struct bs_call *call,
                         const Bioseg__V1__StartTrainingRequest *q, const struct bs__training *t,
                         struct bs_job_record *job, bool *existing, struct bs_err *err)
{
    const Bioseg__V1__ModelRef *initial = q->spec->initial;
    const bool stated = initial && initial->selector_case == BIOSEG__V1__MODEL_REF__SELECTOR_VERSION;
    bs_status rc;
    job->owner = strdup(bs_call_caller(call)->name);
    job->project = strdup(q->project);
    job->idempotency_key = strdup(q->idempotency_key);
    job->kind = strdup("train");
    job->input_blob = strdup(t->manifest_blob);
    job->total = t->config.iterations > 0 && t->config.iterations < INT32_MAX ? (int)t->config.iterations : 0;
    if (!job->owner || !job->project || !job->idempotency_key || !job->kind || !job->input_blob)
        return BS_FAIL(err, BS_ENOMEM, "no memory");
    if ((rc = bs__labels_to_json(BS__LABELS(q), &job->labels, err)) != BS_OK ||
        (rc = payload_hash(t, stated, job, &job->payload_hash, err)) != BS_OK ||
        (rc = bs_training_request_to_json(&t->request, &job->request, err)) != BS_OK)
        return rc;
    rc = bs_jobs_submit_training(s->jobs, job, t->initial.blob, existing, err);
    if (rc == BS_EEXIST)
        return BS_FAIL(
            err, BS_EEXIST,
            "the idempotency key \"%s\" was used for a job with other settings, images or labels; use "
            "a new key",
            q->idempotency_key);
    return rc;
}

static bs_status start(void *service, struct bs_call *call, const ProtobufCMessage *message,
                       struct bs_err *err)
{
    struct bs_services *s = service;
    const Bioseg__V1__StartTrainingRequest *q = (const Bioseg__V1__StartTrainingRequest *)message;
    Bioseg__V1__StartTrainingResponse answer = BIOSEG__V1__START_TRAINING_RESPONSE__INIT;
    struct bs_job_record job = {.owner = NULL};
    struct bs__training t = {.initial = {.name = NULL}};
    bool existing = false;
    bs_status rc;
    if ((rc = check_start(q, err)) != BS_OK ||
        (rc = bs__training_decode(s, bs_call_caller(call)->name, q->spec, true, &t, err)) != BS_OK ||
        (rc = add_job(s, call, q, &t, &job, &existing, err)) != BS_OK)
        goto cleanup;
    BS_LOG(s->log, BS_LOG_INFO, existing ? "training submitted again" : "training submitted",
           BS_LOG_TEXT("request_id", bs_call_request_id(call)), BS_LOG_TEXT("job", job.id),
           BS_LOG_TEXT("owner", job.owner), BS_LOG_TEXT("dataset", t.request.dataset));
    answer.existing = existing;
    answer.job = bs__job_message(s, bs_call_arena(call), &job);
    rc = answer.job ? bs_call_write(call, &answer.base, err) : no_memory(err);
cleanup:
    bs_job_record_free(&job);
    bs__training_free(&t);
    return rc;
}

/* ---- WatchMetrics ---- */

static bs_status send_note(struct bs_call *call, const struct bs_run_note *n, struct bs_err *err)
{
    Bioseg__V1__WatchMetricsResponse answer = BIOSEG__V1__WATCH_METRICS_RESPONSE__INIT;
    Bioseg__V1__WatchMetricsResponse__ValuesEntry entry[NOTE_VALUES], *list[NOTE_VALUES];
    const struct {
        const char *key;
        double value;
    } values[NOTE_VALUES] = {{"train_loss", n->loss},
                             {"learning_rate", n->learning_rate},
                             {"validation_loss", n->validation ? n->metric : NAN},
                             {"best_validation_loss", n->validation ? n->best_metric : NAN},
                             {"best_step", n->validation && n->best_step >= 0 ? (double)n->best_step : NAN},
                             {"images_per_second", n->images_per_second},
                             {"seconds_left", n->seconds_left}};
    answer.step = (uint64_t)n->step;
    answer.epoch = (uint64_t)n->epoch;
    answer.values = list;
    for (size_t i = 0; i < NOTE_VALUES; i++) {
        if (!values[i].key || isnan(values[i].value))
            continue;
        Bioseg__V1__WatchMetricsResponse__ValuesEntry *e = &entry[answer.n_values];
        bioseg__v1__watch_metrics_response__values_entry__init(e);
        e->key = (char *)(uintptr_t)values[i].key;
        e->value = values[i].value;
        list[answer.n_values++] = e;
    }
    return bs_call_write(call, &answer.base, err);
}

/* The note of a run that was sent last. */
struct watching {
    struct bs_services *s;
    struct bs_call *call;
    const char *id;
    int64_t step;
    bool validation;
};

/* Sends what was noted since; *last when nothing more can come. */
static bs_status send_news(void *ctx, bool *last, struct bs_err *err)
{
    struct watching *w = ctx;
    struct bs_job_record job = {.owner = NULL};
    int n = 0;
    /* Before the notes: what is noted before a job ends is there when it has ended. */
    bs_status rc = find(w->s, w->call, w->id, &job, err);
    if (rc != BS_OK)
        return rc;
    *last = job.state != BS_JOB_QUEUED && job.state != BS_JOB_RUNNING;
    bs_job_record_free(&job);
    do {
        struct bs_run_note *notes;
        rc = bs_store_run_notes(w->s->store, w->id, w->step, w->validation, NOTES_ROWS, &notes, &n, err);
        if (rc != BS_OK)
            return rc;
        for (int i = 0; i < n && rc == BS_OK; i++) {
            rc = send_note(w->call, &notes[i], err);
            w->step = notes[i].step;
            w->validation = notes[i].validation;
        }
        free(notes);
    } while (rc == BS_OK && n == NOTES_ROWS);
    return rc;
}

static bs_status watch_metrics(void *service, struct bs_call *call, const ProtobufCMessage *message,
                               struct bs_err *err)
{
    struct bs_services *s = service;
    const Bioseg__V1__WatchMetricsRequest *q = (const Bioseg__V1__WatchMetricsRequest *)message;
    struct watching w = {.s = s, .call = call, .id = q->job_id};
    w.step = q->after_step <= INT64_MAX ? (int64_t)q->after_step : INT64_MAX;
    struct bs_job_record job = {.owner = NULL};
    bs_status rc = find(s, call, q->job_id, &job, err);
    if (rc != BS_OK)
        return rc;
    bs_job_record_free(&job);
    return bs__follow_job(s, call, q->job_id, send_news, &w, err);
}

/* ---- Resume, Pause, SetLearningRate ---- */

/* The job after the request; every answer here has it as its only field. */
static bs_status answer_job(struct bs_services *s, struct bs_call *call, const char *id,
                            Bioseg__V1__Job **field, const ProtobufCMessage *answer, struct bs_err *err)
{
    struct bs_job_record job = {.owner = NULL};
    bs_status rc = find(s, call, id, &job, err);
    if (rc != BS_OK)
        return rc;
    *field = bs__job_message(s, bs_call_arena(call), &job);
    rc = *field ? bs_call_write(call, answer, err) : no_memory(err);
    bs_job_record_free(&job);
    return rc;
}

static bs_status own(struct bs_services *s, struct bs_call *call, const char *id, struct bs_err *err)
{
    struct bs_job_record job = {.owner = NULL};
    bs_status rc = find(s, call, id, &job, err);
    bs_job_record_free(&job);
    return rc;
}

static bs_status resume(void *service, struct bs_call *call, const ProtobufCMessage *message,
                        struct bs_err *err)
{
    struct bs_services *s = service;
    const Bioseg__V1__ResumeTrainingRequest *q = (const Bioseg__V1__ResumeTrainingRequest *)message;
    Bioseg__V1__ResumeTrainingResponse answer = BIOSEG__V1__RESUME_TRAINING_RESPONSE__INIT;
    bs_status rc = own(s, call, q->job_id, err);
    if (rc == BS_OK)
        rc = bs_jobs_resume(s->jobs, q->job_id, err);
    return rc == BS_OK ? answer_job(s, call, q->job_id, &answer.job, &answer.base, err) : rc;
}

static bs_status pause_run(void *service, struct bs_call *call, const ProtobufCMessage *message,
                           struct bs_err *err)
{
    struct bs_services *s = service;
    const Bioseg__V1__PauseTrainingRequest *q = (const Bioseg__V1__PauseTrainingRequest *)message;
    Bioseg__V1__PauseTrainingResponse answer = BIOSEG__V1__PAUSE_TRAINING_RESPONSE__INIT;
    bs_status rc = own(s, call, q->job_id, err);
    if (rc == BS_OK)
        rc = bs_jobs_steer(s->jobs, q->job_id, true, 0, err);
    return rc == BS_OK ? answer_job(s, call, q->job_id, &answer.job, &answer.base, err) : rc;
}

static bs_status set_learning_rate(void *service, struct bs_call *call, const ProtobufCMessage *message,
                                   struct bs_err *err)
{
    struct bs_services *s = service;
    const Bioseg__V1__SetLearningRateRequest *q = (const Bioseg__V1__SetLearningRateRequest *)message;
    Bioseg__V1__SetLearningRateResponse answer = BIOSEG__V1__SET_LEARNING_RATE_RESPONSE__INIT;
    if (!(q->learning_rate > 0 && q->learning_rate <= 1))
        return BS_FAIL(err, BS_EINVAL, "learning_rate is %g; above 0 and at most 1 is accepted",
                       q->learning_rate);
    bs_status rc = own(s, call, q->job_id, err);
    if (rc == BS_OK)
        rc = bs_jobs_steer(s->jobs, q->job_id, false, q->learning_rate, err);
    return rc == BS_OK ? answer_job(s, call, q->job_id, &answer.job, &answer.base, err) : rc;
}

void bs__training_register(struct bs_services *s, struct bs_rpc *rpc)
{
    static const struct bs_method methods[] = {
        {.name = "Describe", .run = describe, .while_draining = true},
        {.name = "Start", .run = start},
        {.name = "WatchMetrics", .run = watch_metrics, .streams_answers = true, .lasting = true},
        {.name = "Resume", .run = resume},
        {.name = "Pause", .run = pause_run, .while_draining = true},
        {.name = "SetLearningRate", .run = set_learning_rate},
    };
    bs_rpc_add_service(rpc, &bioseg__v1__training__descriptor, BS__METHODS(methods), s,
                       "this method of Training" BS__LATER);
}
