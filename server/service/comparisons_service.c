/* bioseg.v1.Comparisons: which of two versions is better, on images that neither has learned from. A comparison is a durable job,
   because it may take long, because its result is kept and found again (by a report, say), and because jobs are already watched,
   cancelled and listed. The images are those of a dataset: what is given on a command line becomes one first, so that
   they are checked, kept by hash and named in the result like others. A caller sees its own comparisons only. */
#include "server/service/comparisons_internal.h"

#include "server/annotation.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_KEY            128
#define PAGE               1000
#define MAX_LISTED         1000 /* images that were seen, in one answer */
#define DEFAULT_RESAMPLES  10000
#define DEFAULT_CONFIDENCE 0.95

static bs_status no_memory(struct bs_err *err)
{
    return BS_FAIL(err, BS_ENOMEM, "the answer needs more memory than one request may take");
}

/* A request, checked and made definite. */
struct asked {
    struct bs_comparison_request request;
    struct bs_model_record candidate, baseline;
    struct bs_comparison_images images;
};

static void free_asked(struct asked *a)
{
    bs_model_record_free(&a->candidate);
    bs_model_record_free(&a->baseline);
    bs_comparison_images_free(&a->images);
}

static bs_status check_start(const Bioseg__V1__StartComparisonRequest *q, struct bs_err *err)
{
    size_t n = strlen(q->idempotency_key);
    bool printable = true;
    bs_status rc = BS_OK;
    for (size_t i = 0; i < n; i++)
        printable = printable && isgraph((unsigned char)q->idempotency_key[i]);
    if (n > MAX_KEY || !printable)
        return BS_FAIL(
            err, BS_EINVAL,
            "idempotency_key has %zu characters; up to %d printable ones without spaces are accepted", n,
            MAX_KEY);
    if (q->project[0] && (rc = bs__check_name("project", q->project, err)) != BS_OK)
        return rc;
    if (q->seed > INT64_MAX)
        return BS_FAIL(err, BS_EINVAL, "seed is %" PRIu64 "; below 2^63 is accepted", q->seed);
    if (q->resamples &&
        (q->resamples < BS_BOOTSTRAP_MIN_RESAMPLES || q->resamples > BS_BOOTSTRAP_MAX_RESAMPLES))
        return BS_FAIL(err, BS_EINVAL, "resamples is %u; %d to %d are accepted", q->resamples,
                       BS_BOOTSTRAP_MIN_RESAMPLES, BS_BOOTSTRAP_MAX_RESAMPLES);
    if (q->confidence != 0 && !(q->confidence >= 0.5 && q->confidence <= 0.999))
        return BS_FAIL(err, BS_EINVAL, "confidence is %g; 0.5 to 0.999 is accepted", q->confidence);
    return bs__check_name("dataset", q->dataset, err);
}

/* ---- the images ---- */

static bs_status add_image(struct bs_comparison_images *c, const struct bs_pair_record *p, struct bs_err *err)
{
    struct bs_comparison_image *im = &c->image[c->count];
    struct bs_annotation a;
    bs_status rc = bs_annotation_from_json(p->annotation, &a, err);
    const bool partial = a.has_ignore_label || a.nannotated || a.nignored || (a.predicted && !a.done);
    bs_annotation_clear(&a);
    if (rc == BS_OK && partial)
        rc = BS_FAIL(
            err, BS_EPRECONDITION,
            "the labels of %.80s count in part only or were predicted; scores need all of them: finish "
            "it and mark it done, or put it into another split",
            p->name);
    memset(im, 0, sizeof *im);
    if (rc != BS_OK || (rc = bs_pair_info_from_json(p->info_json, &im->files, err)) != BS_OK)
        return rc;
    (void)snprintf(im->image, sizeof im->image, "%s", p->image_blob);
    (void)snprintf(im->labels, sizeof im->labels, "%s", p->labels_blob);
    if (!(im->name = strdup(p->name)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for the list of images");
    c->count++;
    return BS_OK;
}

static int by_name(const void *x, const void *y)
{
    return strcmp(((const struct bs_comparison_image *)x)->name,
                  ((const struct bs_comparison_image *)y)->name);
}

/* All images of the split, by name. */
static bs_status list_images(struct bs_services *s, const struct bs_dataset_record *d, enum bs_split split,
                             struct bs_comparison_images *c, struct bs_err *err)
{
    char after[40] = "";
    bs_status rc = BS_OK;
    if (d->pairs[split] == 0)
        return BS_FAIL(err, BS_EPRECONDITION, "dataset %s has no images in its %s split", d->name,
                       bs_split_name(split));
    if (d->pairs[split] > BS_COMPARISON_MAX_IMAGES)
        return BS_FAIL(err, BS_ELIMIT, "%" PRIu64 " images; up to %d are compared on", d->pairs[split],
                       BS_COMPARISON_MAX_IMAGES);
    if (!(c->image = calloc(BS_COMPARISON_MAX_IMAGES + 1, sizeof *c->image)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for the list of images");
    for (bool more = true; more && rc == BS_OK;) {
        struct bs_pair_record *page = NULL;
        int n = 0;
        if ((rc = bs_store_pair_list(s->store, d->number, (int)split, after[0] ? after : NULL, PAGE, &page,
                                     &n, err)) != BS_OK)
            break;
        more = n == PAGE;
        for (int i = 0; i < n; i++) {
            if (rc == BS_OK && c->count < BS_COMPARISON_MAX_IMAGES)
                rc = add_image(c, &page[i], err);
            memcpy(after, page[i].id, sizeof after);
            bs_pair_record_free(&page[i]);
        }
        free(page);
    }
    if (c->count)
        qsort(c->image, c->count, sizeof *c->image, by_name);
    return rc;
}

static void name_version(struct bs_comparison_version *v, const struct bs_model_record *m)
{
    (void)snprintf(v->name, sizeof v->name, "%s", m->name);
    (void)snprintf(v->blob, sizeof v->blob, "%s", m->blob);
    v->version = m->version;
}

static bs_status decode(struct bs_services *s, const char *owner, const Bioseg__V1__StartComparisonRequest *q,
                        struct asked *a, struct bs_err *err)
{
    struct bs_dataset_record d = {.name = NULL};
    struct bs_comparison_request *r = &a->request;
    bs_status rc;
    if ((rc = check_start(q, err)) != BS_OK)
        return rc;
    if (bs__model_find(s, q->candidate, &a->candidate, err) != BS_OK)
        return bs_err_prefix(err, "candidate");
    if (bs__model_find(s, q->baseline, &a->baseline, err) != BS_OK)
        return bs_err_prefix(err, "baseline");
    if ((rc = bs_store_dataset_get(s->store, owner, q->dataset, &d, err)) != BS_OK)
        return rc;
    name_version(&r->candidate, &a->candidate);
    name_version(&r->baseline, &a->baseline);
    (void)snprintf(r->dataset, sizeof r->dataset, "%s", d.name);
    r->dataset_number = d.number;
    r->split = q->split == BIOSEG__V1__SPLIT__SPLIT_TRAIN        ? BS_SPLIT_TRAIN
               : q->split == BIOSEG__V1__SPLIT__SPLIT_VALIDATION ? BS_SPLIT_VALIDATION
                                                                 : BS_SPLIT_TEST;
    r->options =
        (struct bs_bootstrap_options){.seed = q->seed,
                                      .resamples = q->resamples ? q->resamples : DEFAULT_RESAMPLES,
                                      .confidence = q->confidence != 0 ? q->confidence : DEFAULT_CONFIDENCE};
    if ((rc = list_images(s, &d, r->split, &a->images, err)) == BS_OK &&
        (rc = bs__comparison_note_uses(s, &a->candidate, &a->images, err)) == BS_OK)
        rc = bs__comparison_note_uses(s, &a->baseline, &a->images, err);
    r->forced = rc == BS_OK && bs_comparison_seen(&a->images) > 0;
    bs_dataset_record_free(&d);
    return rc;
}

/* ---- Start ---- */

/* Says how many images were seen, and of the first by whom. */
static bs_status refuse_seen(struct bs_call *call, const struct bs_comparison_images *c, struct bs_err *err)
{
    for (size_t i = 0; i < c->count; i++) {
        const struct bs_comparison_image *im = &c->image[i];
        if (!im->nuse)
            continue;
        bs_call_set_reason(call, "images-seen");
        return BS_FAIL(err, BS_EPRECONDITION,
                       "%zu of %zu images were seen in training: %.48s by %.48s version %" PRId64
                       " (%s); force it to compare all the same",
                       bs_comparison_seen(c), c->count, im->name, im->use[0].by.name, im->use[0].by.version,
                       bs_split_name(im->use[0].split));
    }
    return BS_OK;
}

static bs_status add_job(struct bs_services *s, struct bs_call *call,
                         const Bioseg__V1__StartComparisonRequest *q, const struct asked *a,
                         struct bs_job_record *job, bool *existing, struct bs_err *err)
{
    bs_status rc;
    job->owner = strdup(bs_call_caller(call)->name);
    job->project = strdup(q->project);
    job->idempotency_key = strdup(q->idempotency_key);
    job->kind = strdup("compare");
    job->input_blob = malloc(BS_BLOB_HASH_LEN + 1);
    job->total = (int)(2 * a->images.count);
    if (!job->owner || !job->project || !job->idempotency_key || !job->kind || !job->input_blob)
        return BS_FAIL(err, BS_ENOMEM, "no memory");
    if ((rc = bs__labels_to_json(BS__LABELS(q), &job->labels, err)) != BS_OK ||
        (rc = bs_comparison_request_to_json(&a->request, &job->request, err)) != BS_OK ||
        (rc = bs_comparison_images_put(s->blobs, &a->images, job->input_blob, err)) != BS_OK)
        return rc;
    rc = bs_jobs_submit(s->jobs, job, existing, err);
    if (rc == BS_EEXIST)
        return BS_FAIL(
            err, BS_EEXIST,
            "the idempotency key \"%s\" was used for a job with other versions, images or settings; "
            "use a new key",
            q->idempotency_key);
    return rc;
}

/* What was seen and what is not known, into the answer. */
static bs_status describe(struct bs_arena *arena, const struct bs_comparison_images *c,
                          Bioseg__V1__StartComparisonResponse *answer, struct bs_err *err)
{
    answer->image_count = c->count;
    answer->seen_count = bs_comparison_seen(c);
    answer->seen = bs_arena_array(arena, MAX_LISTED, sizeof *answer->seen);
    answer->unknown = bs_arena_array(arena, c->nunknown + 1, sizeof *answer->unknown);
    if (!answer->seen || !answer->unknown)
        return no_memory(err);
    for (size_t i = 0; i < c->count && answer->n_seen < MAX_LISTED; i++) {
        if (!c->image[i].nuse)
            continue;
        if (!(answer->seen[answer->n_seen] = bs__compared_image_message(arena, &c->image[i], false)))
            return no_memory(err);
        answer->n_seen++;
    }
    for (size_t i = 0; i < c->nunknown; i++) {
        if (!(answer->unknown[i] = bs__comparison_version_message(arena, &c->unknown[i])))
            return no_memory(err);
        answer->n_unknown++;
    }
    return BS_OK;
}

static bs_status start(void *service, struct bs_call *call, const ProtobufCMessage *message,
                       struct bs_err *err)
{
    struct bs_services *s = service;
    const Bioseg__V1__StartComparisonRequest *q = (const Bioseg__V1__StartComparisonRequest *)message;
    Bioseg__V1__StartComparisonResponse answer = BIOSEG__V1__START_COMPARISON_RESPONSE__INIT;
    struct bs_job_record job = {.owner = NULL};
    struct asked a = {.candidate = {.name = NULL}};
    bool existing = false;
    bs_status rc = decode(s, bs_call_caller(call)->name, q, &a, err);
    if (rc == BS_OK && !q->force && !q->dry_run)
        rc = refuse_seen(call, &a.images, err);
    if (rc != BS_OK || (rc = describe(bs_call_arena(call), &a.images, &answer, err)) != BS_OK)
        goto cleanup;
    if (!q->dry_run) {
        if ((rc = add_job(s, call, q, &a, &job, &existing, err)) != BS_OK)
            goto cleanup;
        BS_LOG(s->log, BS_LOG_INFO, existing ? "comparison submitted again" : "comparison submitted",
               BS_LOG_TEXT("request_id", bs_call_request_id(call)), BS_LOG_TEXT("job", job.id),
               BS_LOG_TEXT("owner", job.owner), BS_LOG_TEXT("dataset", a.request.dataset),
               BS_LOG_TEXT("forced", a.request.forced ? "yes" : "no"));
        answer.existing = existing;
        if (!(answer.job = bs__job_message(s, bs_call_arena(call), &job))) {
            rc = no_memory(err);
            goto cleanup;
        }
    }
    rc = bs_call_write(call, &answer.base, err);
cleanup:
    bs_job_record_free(&job);
    free_asked(&a);
    return rc;
}

/* ---- Get ---- */

/* The caller's own comparison, which has succeeded. */
static bs_status find(struct bs_services *s, struct bs_call *call, const char *id, struct bs_job_record *job,
                      struct bs_err *err)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (!id[0])
        return BS_FAIL(err, BS_EINVAL, "job_id is missing");
    bs_status rc = strlen(id) < sizeof job->id ? bs_store_job_get(s->store, id, job, err)
                                               : BS_FAIL(err, BS_ENOTFOUND, "no such job");
    if (rc == BS_OK && strcmp(job->owner, bs_call_caller(call)->name) != 0)
        rc = BS_ENOTFOUND;
    if (rc == BS_ENOTFOUND)
        return BS_FAIL(err, BS_ENOTFOUND, "you have no job \"%.48s\"", id);
    if (rc == BS_OK && strcmp(job->kind, "compare") != 0)
        return BS_FAIL(err, BS_EINVAL, "job %s is of kind \"%.32s\"; comparisons are accepted", job->id,
                       job->kind);
    if (rc == BS_OK && job->state != BS_JOB_SUCCEEDED)
        return BS_FAIL(err, BS_EPRECONDITION,
                       "the comparison is %s; what it found is there when it has SUCCEEDED",
                       bs_job_state_name(job->state));
    if (rc == BS_OK && (!job->objects_blob || !job->objects_blob[0]))
        return BS_FAIL(err, BS_ENOTFOUND, "what comparison %s found has expired", job->id);
    return rc;
}

static bs_status get(void *service, struct bs_call *call, const ProtobufCMessage *message, struct bs_err *err)
{
    struct bs_services *s = service;
    const Bioseg__V1__GetComparisonRequest *q = (const Bioseg__V1__GetComparisonRequest *)message;
    Bioseg__V1__GetComparisonResponse answer = BIOSEG__V1__GET_COMPARISON_RESPONSE__INIT;
    struct bs_job_record job = {.owner = NULL};
    struct bs_comparison_request request;
    struct bs_comparison_images images = {.count = 0};
    bs_status rc;
    if ((rc = find(s, call, q->job_id, &job, err)) != BS_OK ||
        (rc = bs_comparison_request_from_json(job.request, &request, err)) != BS_OK ||
        (rc = bs_comparison_images_get(s->blobs, job.objects_blob, &images, err)) != BS_OK)
        goto cleanup;
    answer.comparison = bs__comparison_message(bs_call_arena(call), &job, &request, &images);
    rc = answer.comparison ? bs_call_write(call, &answer.base, err) : no_memory(err);
cleanup:
    bs_comparison_images_free(&images);
    bs_job_record_free(&job);
    return rc;
}

void bs__comparisons_register(struct bs_services *s, struct bs_rpc *rpc)
{
    static const struct bs_method methods[] = {
        {.name = "Start", .run = start},
        {.name = "Get", .run = get, .while_draining = true},
    };
    bs_rpc_add_service(rpc, &bioseg__v1__comparisons__descriptor, BS__METHODS(methods), s, NULL);
}
