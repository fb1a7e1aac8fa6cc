/* bioseg.v1.Training.Start: the spec is made definite, its dataset read through, and the run queued, or its plan told. */
#include "server/service/training_internal.h"

#include "server/dataset_report.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_KEY      128
#define MAX_WARNINGS 100 /* told with a run that was queued */

/* ---- the request ---- */

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

/* ---- the dataset ---- */

static bool gone(void *call)
{
    return bs_call_cancelled(call);
}

static bs_status text_file(const char *text, int *fd, struct bs_err *err)
{
    const size_t n = strlen(text);
    *fd = memfd_create("training", MFD_CLOEXEC);
    if (*fd < 0 || write(*fd, text, n) != (ssize_t)n)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the description of a training run");
    return BS_OK;
}

static bs_status manifest_file(const struct bs__training *t, int *fd, struct bs_err *err)
{
    char *text = NULL;
    bs_status rc = bs_manifest_write(&t->manifest, &text, err);
    if (rc == BS_OK)
        rc = text_file(text, fd, err);
    free(text);
    return rc;
}

static bs_status check_dataset(struct bs_services *s, struct bs_call *call, const struct bs__training *t,
                               struct bs_dataset_report *report, struct bs_err *err)
{
    const struct bs_engine_patience patience = {.gone = gone, .ctx = call};
    int fd = -1;
    bs_status rc = manifest_file(t, &fd, err);
    if (rc == BS_OK)
        rc = bs_engine_check_dataset(s->engine, fd, bs_blobs_folder(s->blobs), t->config.sample.height,
                                     t->config.sample.width, &patience, report, err);
    if (rc == BS_ECANCELLED && bs_call_cancelled(call))
        rc = bs_call_cancelled_status(call, err);
    if (fd >= 0)
        close(fd);
    return rc;
}

/* As many of the problems as one sentence holds; a dry run lists them all. */
static bs_status refuse(struct bs_call *call, const struct bs_dataset_report *r, struct bs_err *err)
{
    char text[sizeof err->msg - 120] = "";
    size_t at = 0, told = 0;
    for (; told < r->count && !r->finding[told].warning; told++) {
        const size_t n = strlen(r->finding[told].text) + 1;
        if (at + n >= sizeof text)
            break;
        at += (size_t)snprintf(text + at, sizeof text - at, " %s", r->finding[told].text);
    }
    bs_call_set_reason(call, "dataset-problems");
    return BS_FAIL(err, BS_EPRECONDITION, "the dataset cannot be trained on as it is (%llu problems%s):%s",
                   (unsigned long long)r->problems, told < r->problems ? "; a dry run lists all of them" : "",
                   at         ? text
                   : r->count ? r->finding[0].text
                              : "");
}

/* Findings [0, count) from `first` on; NULL when the arena is exhausted. */
static Bioseg__V1__DatasetFinding **findings(struct bs_arena *arena, const struct bs__training *t,
                                             const struct bs_report_finding *from, size_t count)
{
    Bioseg__V1__DatasetFinding *each = bs_arena_array(arena, count + 1, sizeof *each);
    Bioseg__V1__DatasetFinding **list = bs_arena_array(arena, count + 1, sizeof *list);
    for (size_t i = 0; each && list && i < count; i++) {
        bioseg__v1__dataset_finding__init(&each[i]);
        each[i].kind = (char *)(uintptr_t)(from[i].kind <= BS_FINDING_DUPLICATE
                                               ? bs_finding_name((enum bs_finding_kind)from[i].kind)
                                               : "");
        each[i].warning = from[i].warning != 0;
        if (from[i].pair < t->manifest.count)
            each[i].pair = t->manifest.pair[from[i].pair].image.name;
        each[i].text = (char *)(uintptr_t)from[i].text;
        list[i] = &each[i];
    }
    return each ? list : NULL;
}

/* ---- the plan ---- */

/* What the run would take of the device. */
static bs_status plan_memory(struct bs_services *s, const struct bs__training *t, uint64_t *bytes,
                             uint64_t *parameters, struct bs_err *err)
{
    struct bs_engine_training run = {.config_fd = -1,
                                     .manifest_fd = -1,
                                     .blobs_fd = bs_blobs_folder(s->blobs),
                                     .checkpoint_fd = -1,
                                     .initial_fd = -1,
                                     .resume_fd = -1};
    uint64_t size;
    bs_status rc = text_file(t->request.config, &run.config_fd, err);
    if (rc == BS_OK)
        rc = manifest_file(t, &run.manifest_fd, err);
    if (rc == BS_OK && t->initial.blob)
        rc = bs_blob_open(s->blobs, t->initial.blob, &run.initial_fd, &size, err);
    if (rc == BS_OK)
        rc = bs_engine_plan_training(s->engine, &run, bytes, parameters, err);
    const int fd[] = {run.config_fd, run.manifest_fd, run.initial_fd};
    for (size_t i = 0; i < sizeof fd / sizeof *fd; i++)
        if (fd[i] >= 0)
            close(fd[i]);
    return rc;
}

static bs_status tell_plan(struct bs_services *s, struct bs_call *call, const struct bs__training *t,
                           const struct bs_dataset_report *report, struct bs_err *err)
{
    Bioseg__V1__StartTrainingResponse answer = BIOSEG__V1__START_TRAINING_RESPONSE__INIT;
    Bioseg__V1__TrainingPlan plan = BIOSEG__V1__TRAINING_PLAN__INIT;
    const struct bs_train_config *c = &t->config;
    bs_status rc;
    /* Files that cannot be trained on need no plan, and may be why there would be none. */
    if (!report->problems && (rc = plan_memory(s, t, &plan.planned_bytes, &plan.parameters, err)) != BS_OK)
        return rc;
    const uint64_t samples = c->epoch_samples ? (uint64_t)c->epoch_samples : t->count[BS_PART_TRAIN];
    plan.steps_per_epoch = (samples + (uint64_t)c->batch - 1) / (uint64_t)c->batch;
    plan.steps = c->iterations ? (uint64_t)c->iterations : (uint64_t)c->epochs * plan.steps_per_epoch;
    plan.train_count = t->count[BS_PART_TRAIN];
    plan.validation_count = t->count[BS_PART_VALIDATION];
    plan.left_out = t->left_out.at;
    plan.n_left_out = t->left_out.count;
    plan.dataset_sha256 = (char *)(uintptr_t)t->request.dataset_hash;
    plan.config_json = t->request.config;
    plan.findings = findings(bs_call_arena(call), t, report->finding, report->count);
    plan.n_findings = report->count;
    plan.problem_count = report->problems;
    plan.warning_count = report->warnings;
    answer.plan = &plan;
    return plan.findings ? bs_call_write(call, &answer.base, err) : bs__training_no_memory(err);
}

/* ---- Start ---- */

static bs_status tell_job(struct bs_services *s, struct bs_call *call, const struct bs__training *t,
                          const struct bs_dataset_report *report, const struct bs_job_record *job,
                          bool existing, struct bs_err *err)
{
    Bioseg__V1__StartTrainingResponse answer = BIOSEG__V1__START_TRAINING_RESPONSE__INIT;
    answer.existing = existing;
    answer.job = bs__job_message(s, bs_call_arena(call), job);
    answer.n_warnings = report->count < MAX_WARNINGS ? report->count : MAX_WARNINGS;
    answer.warnings = findings(bs_call_arena(call), t, report->finding, answer.n_warnings);
    return answer.job && answer.warnings ? bs_call_write(call, &answer.base, err)
                                         : bs__training_no_memory(err);
}

bs_status bs__training_start(void *service, struct bs_call *call, const ProtobufCMessage *message,
                             struct bs_err *err)
{
    struct bs_services *s = service;
    const Bioseg__V1__StartTrainingRequest *q = (const Bioseg__V1__StartTrainingRequest *)message;
    struct bs_job_record job = {.owner = NULL};
    struct bs__training t = {.initial = {.name = NULL}};
    struct bs_dataset_report report = {.count = 0};
    bool existing = false;
    bs_status rc;
    if ((rc = check_start(q, err)) != BS_OK ||
        (rc = bs__training_decode(s, bs_call_caller(call)->name, q->spec, !q->dry_run, &t, err)) != BS_OK ||
        (rc = check_dataset(s, call, &t, &report, err)) != BS_OK)
        goto cleanup;
    if (q->dry_run) {
        rc = tell_plan(s, call, &t, &report, err);
        goto cleanup;
    }
    if (report.problems) {
        rc = refuse(call, &report, err);
        goto cleanup;
    }
    if ((rc = add_job(s, call, q, &t, &job, &existing, err)) != BS_OK)
        goto cleanup;
    BS_LOG(s->log, BS_LOG_INFO, existing ? "training submitted again" : "training submitted",
           BS_LOG_TEXT("request_id", bs_call_request_id(call)), BS_LOG_TEXT("job", job.id),
           BS_LOG_TEXT("owner", job.owner), BS_LOG_TEXT("dataset", t.request.dataset));
    rc = tell_job(s, call, &t, &report, &job, existing, err);
cleanup:
    bs_dataset_report_free(&report);
    bs_job_record_free(&job);
    bs__training_free(&t);
    return rc;
}
