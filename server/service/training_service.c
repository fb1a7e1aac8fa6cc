/* bioseg.v1.Training: runs are jobs of kind "train"; Jobs.Get, List, Watch, Cancel and Delete work on them too. A caller sees its
   own runs only. Start is in training_start.c. */
#include "server/service/training_internal.h"

#include "server/store/runs.h"
#include "server/training_params.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NOTES_ROWS  500 /* read from the store at a time */
#define NOTE_VALUES 8

bs_status bs__training_no_memory(struct bs_err *err)
{
    return BS_FAIL(err, BS_ENOMEM, "the answer needs more memory than one request may take");
}

bs_status bs__training_find(struct bs_services *s, struct bs_call *call, const char *id,
                            struct bs_job_record *job, struct bs_err *err)
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
    return answer.parameters ? bs_call_write(call, &answer.base, err) : bs__training_no_memory(err);
}

/* ---- WatchMetrics ---- */

static bs_status send_note(struct bs_call *call, const struct bs_run_note *n, int64_t sample_step,
                           struct bs_err *err)
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
    answer.has_sample = n->validation && n->step <= sample_step;
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
    bs_status rc = bs__training_find(w->s, w->call, w->id, &job, err);
    if (rc != BS_OK)
        return rc;
    *last = job.state != BS_JOB_QUEUED && job.state != BS_JOB_RUNNING;
    bs_job_record_free(&job);
    do {
        struct bs_run_note *notes;
        int64_t sample_step;
        rc = bs_store_run_notes(w->s->store, w->id, w->step, w->validation, NOTES_ROWS, &notes, &n, err);
        if (rc != BS_OK)
            return rc;
        rc = bs_store_run_sample_step(w->s->store, w->id, &sample_step, err);
        for (int i = 0; i < n && rc == BS_OK; i++) {
            rc = send_note(w->call, &notes[i], sample_step, err);
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
    bs_status rc = bs__training_find(s, call, q->job_id, &job, err);
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
    bs_status rc = bs__training_find(s, call, id, &job, err);
    if (rc != BS_OK)
        return rc;
    *field = bs__job_message(s, bs_call_arena(call), &job);
    rc = *field ? bs_call_write(call, answer, err) : bs__training_no_memory(err);
    bs_job_record_free(&job);
    return rc;
}

static bs_status own(struct bs_services *s, struct bs_call *call, const char *id, struct bs_err *err)
{
    struct bs_job_record job = {.owner = NULL};
    bs_status rc = bs__training_find(s, call, id, &job, err);
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
        {.name = "Start", .run = bs__training_start},
        {.name = "WatchMetrics", .run = watch_metrics, .streams_answers = true, .lasting = true},
        {.name = "Resume", .run = resume},
        {.name = "Pause", .run = pause_run, .while_draining = true},
        {.name = "GetSample", .run = bs__training_get_sample, .while_draining = true},
        {.name = "SetLearningRate", .run = set_learning_rate},
    };
    bs_rpc_add_service(rpc, &bioseg__v1__training__descriptor, BS__METHODS(methods), s, NULL);
}
