/* bioseg.v1.Jobs: work that outlives the connection. A caller sees its own jobs only; somebody else's does not exist for
   it. */
#include "server/service/service_internal.h"

#include "kernels/base/checked.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_KEY 128

static bs_status no_memory(struct bs_err *err)
{
    return BS_FAIL(err, BS_ENOMEM, "the answer needs more memory than one request may take");
}

static bs_status no_job(const char *id, struct bs_err *err)
{
    return BS_FAIL(err, BS_ENOTFOUND, "you have no job \"%.48s\"", id);
}

static bool finished(const struct bs_job_record *j)
{
    return j->state == BS_JOB_SUCCEEDED || j->state == BS_JOB_FAILED || j->state == BS_JOB_CANCELLED;
}

/* The caller's own job. */
static bs_status find(struct bs_services *s, struct bs_call *call, const char *id, struct bs_job_record *job,
                      struct bs_err *err)
{
    if (!id[0])
        return BS_FAIL(err, BS_EINVAL, "id is missing");
    if (strlen(id) >= sizeof job->id)
        return no_job(id, err);
    bs_status rc = bs_store_job_get(s->store, id, job, err);
    if (rc == BS_ENOTFOUND)
        return no_job(id, err);
    if (rc == BS_OK && strcmp(job->owner, bs_call_caller(call)->name) != 0) {
        bs_job_record_free(job);
        return no_job(id, err);
    }
    return rc;
}

/* ---- Submit ---- */

static void submit_part(const ProtobufCMessage *message, const Bioseg__V1__Chunk **chunk,
                        const Bioseg__V1__ChunkEnd **end)
{
    const Bioseg__V1__SubmitJobRequest *r = (const Bioseg__V1__SubmitJobRequest *)message;
    if (r->part_case == BIOSEG__V1__SUBMIT_JOB_REQUEST__PART_CHUNK)
        *chunk = r->chunk;
    else if (r->part_case == BIOSEG__V1__SUBMIT_JOB_REQUEST__PART_END)
        *end = r->end;
}

static bs_status check_start(const Bioseg__V1__SubmitJobStart *start, struct bs_err *err)
{
    size_t n = strlen(start->idempotency_key);
    bool printable = true;
    for (size_t i = 0; i < n; i++)
        printable = printable && isgraph((unsigned char)start->idempotency_key[i]);
    if (n > MAX_KEY || !printable)
        return BS_FAIL(
            err, BS_EINVAL,
            "idempotency_key has %zu characters; up to %d printable ones without spaces are accepted", n,
            MAX_KEY);
    bs_status rc = start->project[0] ? bs__check_name("project", start->project, err) : BS_OK;
    return rc == BS_OK ? bs__check_lifetime(start->time_to_live_ms, err) : rc;
}

static uint64_t planes_of(const struct bs_job_request *q, char axis, uint64_t first, uint64_t count)
{
    const char *at = strchr(q->axes, axis);
    uint64_t n = at ? q->dim[at - q->axes] : 1;
    return count ? count : n > first ? n - first : 1;
}

/* Labels of the planes of a stack but one, which the plan of one plane counts. */
static uint64_t more_labels(const struct bs_job_request *q)
{
    const struct bs_region *r = &q->params.region;
    const char *y = strchr(q->axes, 'y'), *x = strchr(q->axes, 'x');
    uint64_t height = r->height ? r->height : q->dim[y - q->axes] - r->y,
             width = r->width ? r->width : q->dim[x - q->axes] - r->x;
    size_t planes, bytes;
    if (!bs_mul(planes_of(q, 't', r->t, r->duration), planes_of(q, 'z', r->z, r->depth), &planes) ||
        !bs_mul(planes - 1, height, &bytes) || !bs_mul(bytes, width, &bytes) ||
        !bs_mul(bytes, sizeof(uint32_t), &bytes))
        return UINT64_MAX / 2;
    return bytes;
}

static bs_status dry_run(struct bs_services *s, struct bs_call *call, const struct bs__work *work,
                         struct bs_err *err)
{
    Bioseg__V1__SubmitJobResponse answer = BIOSEG__V1__SUBMIT_JOB_RESPONSE__INIT;
    Bioseg__V1__Plan plan = BIOSEG__V1__PLAN__INIT;
    const struct bs_job_request *q = &work->request;
    uint64_t model_bytes;
    size_t peak = 0;
    int fd = -1;
    bs_status rc;
    if (!q->raw)
        return BS_FAIL(err, BS_EUNSUPPORTED,
                       "a dry run needs an image described as raw: a file's size is known only when it is "
                       "decoded");
    const char *y = strchr(q->axes, 'y'), *x = strchr(q->axes, 'x');
    if ((rc = bs_blob_open(s->blobs, work->model.blob, &fd, &model_bytes, err)) != BS_OK)
        return rc;
    rc = bs_engine_plan(s->engine, work->model.blob, fd, q->dim[y - q->axes], q->dim[x - q->axes], &q->params,
                        &peak, err);
    close(fd);
    if (rc != BS_OK)
        return rc;
    plan.peak_bytes = peak + more_labels(q);
    answer.plan = &plan;
    return bs_call_write(call, &answer.base, err);
}

/* What the same key must come with: the request as it was asked (the newest model stays "the newest"), the input, and
   labels and lifetime where they are given. */
static bs_status payload_hash(const struct bs__work *work, bool version_stated,
                              const struct bs_job_record *job, char **out, struct bs_err *err)
{
    struct bs_job_request q = work->request;
    char *json = NULL, *text = NULL;
    bs_status rc;
    if (!version_stated)
        q.model_version = 0;
    if ((rc = bs_job_request_to_json(&q, &json, err)) != BS_OK)
        return rc;
    bool more = job->time_to_live_ms || strcmp(job->labels, "{}") != 0;
    if ((more ? asprintf(&text, "%s\n%s\n%s\n%" PRId64, job->input_blob, json, job->labels,
                         job->time_to_live_ms)
              : asprintf(&text, "%s\n%s", job->input_blob, json)) < 0)
        text = NULL;
    *out = malloc(BS_BLOB_HASH_LEN + 1);
    rc = text && *out ? bs_blob_hash(text, strlen(text), *out, err) : BS_FAIL(err, BS_ENOMEM, "no memory");
    free(text);
    free(json);
    return rc;
}

static bs_status add_job(struct bs_services *s, struct bs_call *call, const Bioseg__V1__SubmitJobStart *start,
                         const struct bs__work *work, const char *input, struct bs_job_record *job,
                         bool *existing, struct bs_err *err)
{
    const Bioseg__V1__ModelRef *model = start->segment->model;
    bool stated = model->selector_case == BIOSEG__V1__MODEL_REF__SELECTOR_VERSION;
    bs_status rc;
    job->owner = strdup(bs_call_caller(call)->name);
    job->project = strdup(start->project);
    job->idempotency_key = strdup(start->idempotency_key);
    job->kind = strdup("segment");
    job->input_blob = strdup(input);
    job->time_to_live_ms = start->time_to_live_ms;
    if (!job->owner || !job->project || !job->idempotency_key || !job->kind || !job->input_blob)
        return BS_FAIL(err, BS_ENOMEM, "no memory");
    if ((rc = bs__labels_to_json(BS__LABELS(start), &job->labels, err)) != BS_OK ||
        (rc = payload_hash(work, stated, job, &job->payload_hash, err)) != BS_OK ||
        (rc = bs_job_request_to_json(&work->request, &job->request, err)) != BS_OK)
        return rc;
    rc = bs_jobs_submit(s->jobs, job, existing, err);
    if (rc == BS_EEXIST)
        return BS_FAIL(err, BS_EEXIST,
                       "the idempotency key \"%s\" was used for a job with another image, model, parameters, "
                       "labels or lifetime; use a new key",
                       start->idempotency_key);
    return rc;
}

static bs_status receive_and_add(struct bs_services *s, struct bs_call *call,
                                 const Bioseg__V1__SubmitJobStart *start, const struct bs__work *work,
                                 struct bs_err *err)
{
    Bioseg__V1__SubmitJobResponse answer = BIOSEG__V1__SUBMIT_JOB_RESPONSE__INIT;
    struct bs__inbox inbox = {.fd = -1};
    struct bs_job_record job = {.owner = NULL};
    char hash[BS_BLOB_HASH_LEN + 1];
    bool existing = false;
    bs_status rc;
    if (start->total_bytes == 0 || start->total_bytes > s->limits.max_image_bytes)
        return BS_FAIL(err, start->total_bytes ? BS_ELIMIT : BS_EINVAL,
                       "total_bytes is %" PRIu64 "; images of 1 to %" PRIu64 " bytes are accepted",
                       start->total_bytes, s->limits.max_image_bytes);
    if ((rc = bs__inbox_open_blob(&inbox, s, start->total_bytes, err)) != BS_OK ||
        (rc = bs__inbox_receive(&inbox, call, submit_part, err)) != BS_OK)
        goto cleanup;
    struct bs_blob_writer *writer = inbox.blob;
    inbox.blob = NULL; /* commit frees it in any case */
    if ((rc = bs_blob_commit(writer, hash, err)) != BS_OK ||
        (rc = add_job(s, call, start, work, hash, &job, &existing, err)) != BS_OK)
        goto cleanup;
    BS_LOG(s->log, BS_LOG_INFO, existing ? "job submitted again" : "job submitted",
           BS_LOG_TEXT("request_id", bs_call_request_id(call)), BS_LOG_TEXT("job", job.id),
           BS_LOG_TEXT("owner", job.owner));
    answer.existing = existing;
    answer.job = bs__job_message(s, bs_call_arena(call), &job);
    rc = answer.job ? bs_call_write(call, &answer.base, err) : no_memory(err);

cleanup:
    bs_job_record_free(&job);
    bs__inbox_close(&inbox);
    return rc;
}

static bs_status submit(void *service, struct bs_call *call, const ProtobufCMessage *unused,
                        struct bs_err *err)
{
    struct bs_services *s = service;
    struct bs__work work = {.want_labels = false};
    ProtobufCMessage *message;
    bs_status rc;
    (void)unused;
    if ((rc = bs_call_read(call, NULL, NULL, &message, err)) != BS_OK)
        return rc;
    const Bioseg__V1__SubmitJobRequest *request = (const Bioseg__V1__SubmitJobRequest *)message;
    if (!request || request->part_case != BIOSEG__V1__SUBMIT_JOB_REQUEST__PART_START)
        return BS_FAIL(err, BS_EINVAL, "the stream must begin with a start");
    const Bioseg__V1__SubmitJobStart *start = request->start;
    if ((rc = check_start(start, err)) != BS_OK)
        return rc;
    if (start->work_case != BIOSEG__V1__SUBMIT_JOB_START__WORK_SEGMENT)
        return BS_FAIL(err, BS_EINVAL, "work is missing; segment is accepted");
    if ((rc = bs__work_decode(s, NULL, start->segment, start->image, start->total_bytes, &work, err)) ==
        BS_OK)
        rc = start->dry_run ? dry_run(s, call, &work, err) : receive_and_add(s, call, start, &work, err);
    bs__work_free(&work);
    return rc;
}

/* ---- Get, List ---- */

static bs_status get(void *service, struct bs_call *call, const ProtobufCMessage *message, struct bs_err *err)
{
    struct bs_services *s = service;
    const Bioseg__V1__GetJobRequest *q = (const Bioseg__V1__GetJobRequest *)message;
    Bioseg__V1__GetJobResponse answer = BIOSEG__V1__GET_JOB_RESPONSE__INIT;
    struct bs_job_record job = {.owner = NULL};
    bs_status rc = find(s, call, q->id, &job, err);
    if (rc != BS_OK)
        return rc;
    answer.job = bs__job_message(s, bs_call_arena(call), &job);
    rc = answer.job ? bs_call_write(call, &answer.base, err) : no_memory(err);
    bs_job_record_free(&job);
    return rc;
}

static bs_status list(void *service, struct bs_call *call, const ProtobufCMessage *message,
                      struct bs_err *err)
{
    struct bs_services *s = service;
    const Bioseg__V1__ListJobsRequest *q = (const Bioseg__V1__ListJobsRequest *)message;
    Bioseg__V1__ListJobsResponse answer = BIOSEG__V1__LIST_JOBS_RESPONSE__INIT;
    struct bs_arena *arena = bs_call_arena(call);
    struct bs_job_record *jobs = NULL;
    char *labels = NULL;
    const char *token;
    int size, count = 0;
    bs_status rc;
    if ((rc = bs__page(s, q->page, &size, &token, err)) != BS_OK ||
        (rc = bs__labels_to_json(BS__LABELS(q), &labels, err)) != BS_OK)
        return rc;
    const struct bs_job_filter filter = {
        .owner = bs_call_caller(call)->name,
        .state = (int)q->state - (int)BIOSEG__V1__JOB_STATE__JOB_STATE_QUEUED, /* -1: any */
        .project = q->project[0] ? q->project : NULL,
        .model = q->model[0] ? q->model : NULL,
        .labels = q->n_labels ? labels : NULL,
    };
    rc = bs_store_job_list(s->store, &filter, token, size + 1, &jobs, &count, err);
    free(labels);
    if (rc != BS_OK)
        return rc;
    int shown = count > size ? size : count;
    answer.jobs = bs_arena_array(arena, (size_t)shown + 1, sizeof *answer.jobs);
    for (int i = 0; i < shown && answer.jobs; i++) {
        if (!(answer.jobs[i] = bs__job_message(s, arena, &jobs[i])))
            break;
        answer.n_jobs++;
    }
    if (count > size)
        answer.next_page_token = bs__format(arena, "%s", jobs[shown - 1].id);
    rc = answer.n_jobs == (size_t)shown ? bs_call_write(call, &answer.base, err) : no_memory(err);
    for (int i = 0; i < count; i++)
        bs_job_record_free(&jobs[i]);
    free(jobs);
    return rc;
}

/* ---- Watch ---- */

/* What has been seen of a job by the one who watches it. */
struct watching {
    struct bs_services *s;
    struct bs_call *call;
    const char *id;
    int64_t seen;
};

/* Sends the job if it has changed since `seen`; *last when nothing more can happen to it. */
static bs_status send_if_changed(void *ctx, bool *last, struct bs_err *err)
{
    struct watching *w = ctx;
    Bioseg__V1__WatchJobResponse answer = BIOSEG__V1__WATCH_JOB_RESPONSE__INIT;
    struct bs_job_record job = {.owner = NULL};
    struct bs_arena *arena = NULL;
    bs_status rc = find(w->s, w->call, w->id, &job, err);
    if (rc != BS_OK)
        return rc;
    *last = finished(&job);
    if (job.revision <= w->seen && w->seen > 0)
        goto cleanup;
    w->seen = job.revision;
    arena = bs_arena_create((size_t)1 << 20);
    answer.job = arena ? bs__job_message(w->s, arena, &job) : NULL;
    rc = answer.job ? bs_call_write(w->call, &answer.base, err) : no_memory(err);

cleanup:
    bs_arena_destroy(arena);
    bs_job_record_free(&job);
    return rc;
}

static bs_status watch(void *service, struct bs_call *call, const ProtobufCMessage *message,
                       struct bs_err *err)
{
    const Bioseg__V1__WatchJobRequest *q = (const Bioseg__V1__WatchJobRequest *)message;
    struct watching w = {service, call, q->id, q->after_revision};
    return bs__follow_job(service, call, q->id, send_if_changed, &w, err);
}

/* ---- Cancel, Delete ---- */

static bs_status cancel(void *service, struct bs_call *call, const ProtobufCMessage *message,
                        struct bs_err *err)
{
    struct bs_services *s = service;
    const Bioseg__V1__CancelJobRequest *q = (const Bioseg__V1__CancelJobRequest *)message;
    Bioseg__V1__CancelJobResponse answer = BIOSEG__V1__CANCEL_JOB_RESPONSE__INIT;
    struct bs_job_record job = {.owner = NULL};
    bs_status rc = find(s, call, q->id, &job, err);
    bs_job_record_free(&job);
    job = (struct bs_job_record){.owner = NULL};
    if (rc != BS_OK || (rc = bs_jobs_cancel(s->jobs, q->id, err)) != BS_OK ||
        (rc = find(s, call, q->id, &job, err)) != BS_OK)
        return rc;
    answer.job = bs__job_message(s, bs_call_arena(call), &job);
    rc = answer.job ? bs_call_write(call, &answer.base, err) : no_memory(err);
    bs_job_record_free(&job);
    return rc;
}

static bs_status delete (void *service, struct bs_call *call, const ProtobufCMessage *message,
                         struct bs_err *err)
{
    struct bs_services *s = service;
    const Bioseg__V1__DeleteJobRequest *q = (const Bioseg__V1__DeleteJobRequest *)message;
    Bioseg__V1__DeleteJobResponse answer = BIOSEG__V1__DELETE_JOB_RESPONSE__INIT;
    struct bs_job_record job = {.owner = NULL};
    bs_status rc = find(s, call, q->id, &job, err);
    bs_job_record_free(&job);
    if (rc != BS_OK || (rc = bs_jobs_delete(s->jobs, q->id, err)) != BS_OK)
        return rc;
    return bs_call_write(call, &answer.base, err);
}

/* ---- GetResult ---- */

struct wanted {
    bool labels, maps, objects;
};

static bs_status wanted_outputs(const Bioseg__V1__GetJobResultRequest *q, struct wanted *w,
                                struct bs_err *err)
{
    w->labels = w->maps = w->objects = q->n_outputs == 0;
    for (size_t i = 0; i < q->n_outputs; i++) {
        switch (q->outputs[i]) {
        case BIOSEG__V1__OUTPUT__OUTPUT_LABELS:
            w->labels = true;
            break;
        case BIOSEG__V1__OUTPUT__OUTPUT_MAPS:
            w->maps = true;
            break;
        case BIOSEG__V1__OUTPUT__OUTPUT_OBJECT_TABLE:
            w->objects = true;
            break;
        default:
            return BS_FAIL(err, BS_EUNSUPPORTED,
                           "results other than labels, maps and the object table" BS__LATER);
        }
    }
    return BS_OK;
}

/* The objects' blob in memory of its own; blobs are never mapped. */
static bs_status read_objects(struct bs_services *s, const char *hash, struct bs_object **objects,
                              size_t *count, struct bs_err *err)
{
    uint64_t size = 0;
    int fd;
    bs_status rc = bs_blob_open(s->blobs, hash, &fd, &size, err);
    if (rc != BS_OK)
        return rc;
    *count = (size_t)size / sizeof **objects;
    *objects = malloc(size ? (size_t)size : 1);
    if (!*objects)
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for the object table");
    for (size_t got = 0; rc == BS_OK && got < size;) {
        ssize_t n = pread(fd, (char *)*objects + got, (size_t)size - got, (off_t)got);
        if (n <= 0)
            rc = BS_FAIL(err, BS_EIO, "stored data is shorter than it was");
        got += n > 0 ? (size_t)n : 0;
    }
    close(fd);
    return rc;
}

static bs_status open_artifact(struct bs_services *s, const char *hash, Bioseg__V1__Output output,
                               uint32_t channels, struct bs__artifact *a, struct bs_err *err)
{
    *a = (struct bs__artifact){.output = output, .channels = channels, .fd = -1};
    return bs_blob_open(s->blobs, hash, &a->fd, &a->bytes, err);
}

static bs_status send_result(struct bs_services *s, struct bs_call *call, const struct bs_job_record *job,
                             const struct wanted *w, struct bs_err *err)
{
    struct bs__artifact artifacts[2] = {{.fd = -1}, {.fd = -1}};
    Bioseg__V1__SegmentResult *result;
    struct bs_object *objects = NULL;
    size_t n = 0, nobject = 0;
    uint32_t channels = 0;
    bs_status rc;
    if ((rc = bs__result_message(bs_call_arena(call), job->result_json, &result, &channels, err)) != BS_OK)
        return rc;
    if (w->labels && job->labels_blob &&
        (rc = open_artifact(s, job->labels_blob, BIOSEG__V1__OUTPUT__OUTPUT_LABELS, 0, &artifacts[n++],
                            err)) != BS_OK)
        goto cleanup;
    if (w->maps && job->maps_blob &&
        (rc = open_artifact(s, job->maps_blob, BIOSEG__V1__OUTPUT__OUTPUT_MAPS, channels, &artifacts[n++],
                            err)) != BS_OK)
        goto cleanup;
    if (w->objects && job->objects_blob &&
        (rc = read_objects(s, job->objects_blob, &objects, &nobject, err)) != BS_OK)
        goto cleanup;
    rc = bs__send_result(call, result, artifacts, n, objects, nobject, err);

cleanup:
    for (size_t i = 0; i < 2; i++) {
        if (artifacts[i].fd >= 0)
            close(artifacts[i].fd);
    }
    free(objects);
    return rc;
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bs_status get_result(void *service, struct bs_call *call, const ProtobufCMessage *message,
                            struct bs_err *err)
{
    struct bs_services *s = service;
    const Bioseg__V1__GetJobResultRequest *q = (const Bioseg__V1__GetJobResultRequest *)message;
    struct bs_job_record job = {.owner = NULL};
    struct wanted w;
    bs_status rc = wanted_outputs(q, &w, err);
    if (rc != BS_OK || (rc = find(s, call, q->id, &job, err)) != BS_OK)
        return rc;
    if (strcmp(job.kind, "compare") == 0)
        rc = BS_FAIL(err, BS_EINVAL, "job %s is a comparison; Comparisons.Get has what it found", job.id);
    else if (strcmp(job.kind, "segment") != 0)
        rc =
            BS_FAIL(err, BS_EINVAL,
                    "job %s is a training run; what it yields is a model (Job.model, Models.Export)", job.id);
    else if (job.state != BS_JOB_SUCCEEDED)
        rc = BS_FAIL(err, BS_EPRECONDITION, "the job is %s; a result exists when it has SUCCEEDED",
                     bs_job_state_name(job.state));
    else if (!job.result_json || !job.input_blob[0] || (job.expires_ms > 0 && job.expires_ms <= now_ms()))
        rc = BS_FAIL(err, BS_ENOTFOUND, "the result of job %s has expired", job.id);
    else
        rc = send_result(s, call, &job, &w, err);
    bs_job_record_free(&job);
    return rc;
}

void bs__jobs_register(struct bs_services *s, struct bs_rpc *rpc)
{
    static const struct bs_method methods[] = {
        {.name = "Submit", .run = submit, .reads_itself = true},
        {.name = "Get", .run = get, .while_draining = true},
        {.name = "List", .run = list, .while_draining = true},
        {.name = "Watch", .run = watch, .streams_answers = true, .lasting = true},
        {.name = "Cancel", .run = cancel, .while_draining = true},
        {.name = "Delete", .run = delete},
        {.name = "GetResult", .run = get_result, .streams_answers = true},
    };
    bs_rpc_add_service(rpc, &bioseg__v1__jobs__descriptor, BS__METHODS(methods), s, NULL);
}
