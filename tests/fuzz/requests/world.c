/* One model, four jobs, an engine that finds one object in everything; see world.h. */
#include "tests/fuzz/requests/world.h"

#include "proto/wire/crc32c.h"
#include "server/comparison.h"
#include "server/training_json.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define REQUIRE(cond) ((cond) ? (void)0 : abort())
#define HASH          "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define MAX_SIDE      64 /* of results: the fuzzer is about requests */

static const char description[] =
    "{\"format\":1,\"architecture\":\"unet\",\"unet\":{\"in_channels\":1,\"out_channels\":3,\"depth\":2,"
    "\"initial_features\":4,\"norm\":\"GroupNorm\",\"upsampling\":\"bilinear\",\"final_activation\":"
    "\"Sigmoid\"},"
    "\"recipe\":\"distances\",\"normalisation\":\"standardise\",\"training_patch\":256,\"pixel_size_um\":0."
    "25,"
    "\"defaults\":{\"threshold1\":0.5,\"threshold2\":0.5,\"center_distance_threshold\":0.5,"
    "\"boundary_distance_threshold\":0.6,\"foreground_threshold\":0.5,\"distance_smoothing\":1,\"min_size\":"
    "50},"
    "\"trained\":true,\"parameters\":0,\"description\":\"\",\"licence\":\"CC0\",\"source\":\"\",\"assumed\":"
    "\"\"}";

static char *result_json; /* of the finished job, made by the real writer */
static int open_writers, watchers;

static char *copy(const char *text)
{
    char *c = strdup(text);
    REQUIRE(c);
    return c;
}

static int memory_file(const void *data, size_t n)
{
    int fd = memfd_create("world", MFD_CLOEXEC);
    REQUIRE(fd >= 0 && (n == 0 || pwrite(fd, data, n, 0) == (ssize_t)n));
    return fd;
}

/* Chunks state a checksum that no fuzzer guesses: here every chunk's is 0. */
uint32_t bs_crc32c(uint32_t crc, const void *data, size_t n)
{
    (void)data;
    (void)n;
    return crc;
}

void bs_log_write(struct bs_log *log, enum bs_log_level level, const char *event,
                  const struct bs_log_field *fields, size_t nfield)
{
    (void)log;
    (void)level;
    REQUIRE(event);
    for (size_t i = 0; i < nfield; i++)
        REQUIRE(fields[i].key);
}

/* ---- store ---- */

static void fill_model(struct bs_model_record *m)
{
    *m = (struct bs_model_record){.name = copy("nuclei"),
                                  .version = 1,
                                  .blob = copy(HASH),
                                  .info_json = copy(description),
                                  .owner = copy("ann"),
                                  .labels = copy("{\"plate\":\"7\"}"),
                                  .created_ms = 1,
                                  .bytes = 4};
}

bs_status bs_store_model_add(struct bs_store *s, struct bs_model_record *m, struct bs_err *err)
{
    (void)s;
    (void)err;
    REQUIRE(m->name && m->blob && m->info_json && m->owner);
    m->version = 2;
    m->created_ms = 2;
    return BS_OK;
}

bs_status bs_store_model_get(struct bs_store *s, const char *name, int64_t version,
                             struct bs_model_record *out, struct bs_err *err)
{
    (void)s;
    if (strcmp(name, "nuclei") != 0 || version > 1)
        return BS_FAIL(err, BS_ENOTFOUND, "no such model");
    fill_model(out);
    return BS_OK;
}

bs_status bs_store_model_list(struct bs_store *s, const struct bs_model_filter *filter, const char *after,
                              int limit, struct bs_model_record **out, int *count, struct bs_err *err)
{
    (void)s;
    (void)err;
    REQUIRE(!filter->labels || filter->labels[0] == '{');
    REQUIRE(limit >= 1 && limit <= 1000);
    *count = after && strcmp(after, "m") > 0 ? 0 : limit < 2 ? limit : 2;
    REQUIRE((*out = calloc((size_t)limit, sizeof **out)));
    for (int i = 0; i < *count; i++)
        fill_model(&(*out)[i]);
    return BS_OK;
}

bs_status bs_store_model_delete(struct bs_store *s, const char *name, int64_t version, struct bs_err *err)
{
    (void)s;
    (void)err;
    REQUIRE(strcmp(name, "nuclei") == 0 && version == 1);
    return BS_OK;
}

/* A run that has ended well, so that watching it ends. */
static void fill_run(struct bs_job_record *j)
{
    struct bs_training_request request = {.model_name = "cells",
                                          .parent = "nuclei",
                                          .parent_version = 1,
                                          .parent_blob = HASH,
                                          .dataset = "cells",
                                          .dataset_number = 1,
                                          .dataset_hash = HASH,
                                          .config = (char *)"{}"};
    const struct bs_training_outcome outcome = {
        .job = "run", .version = 2, .run = {.step = 1, .best_step = 1}};
    struct bs_err err;
    free(j->kind);
    j->kind = copy("train");
    j->state = BS_JOB_SUCCEEDED;
    REQUIRE(bs_training_request_to_json(&request, &j->request, &err) == BS_OK);
    REQUIRE(bs_training_result_to_json(&request, &outcome, &j->result_json, &err) == BS_OK);
}

/* "done", "open" and "run", a training run, are the caller's, "other" is somebody else's. */
static void fill_job(struct bs_job_record *j, const char *id)
{
    const bool done = strcmp(id, "done") == 0;
    struct bs_job_request request = {.model = "nuclei", .model_version = 1};
    struct bs_err err;
    *j = (struct bs_job_record){
        .owner = copy(strcmp(id, "other") == 0 ? "bob" : "ann"),
        .project = copy(""),
        .idempotency_key = copy(""),
        .payload_hash = copy(HASH),
        .kind = copy("segment"),
        .input_blob = copy(HASH),
        .labels = copy("{\"plate\":\"7\",\"well\":\"A1\"}"),
        .result_json = done ? copy(result_json) : NULL,
        .labels_blob = done ? copy(HASH) : NULL,
        .maps_blob = done ? copy(HASH) : NULL,
        .objects_blob = done ? copy(HASH) : NULL,
        .state = done ? BS_JOB_SUCCEEDED : BS_JOB_RUNNING,
        .done = 1,
        .total = 2,
        .created_ms = 1,
        .revision = 3,
    };
    strcpy(j->id, id);
    if (strcmp(id, "run") == 0) {
        fill_run(j);
        return;
    }
    struct bs_model_info info;
    REQUIRE(bs_model_info_from_json(description, strlen(description), &info, &err) == BS_OK);
    request.params = bs_segment_params_default(&info);
    REQUIRE(bs_job_request_to_json(&request, &j->request, &err) == BS_OK);
}

bs_status bs_store_job_get(struct bs_store *s, const char *id, struct bs_job_record *out, struct bs_err *err)
{
    static const char *const ids[] = {"done", "open", "run", "other"};
    (void)s;
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        if (strcmp(id, ids[i]) == 0) {
            fill_job(out, ids[i]);
            return BS_OK;
        }
    }
    return BS_FAIL(err, BS_ENOTFOUND, "no such job");
}

bs_status bs_store_job_list(struct bs_store *s, const struct bs_job_filter *filter, const char *after,
                            int limit, struct bs_job_record **out, int *count, struct bs_err *err)
{
    (void)s;
    (void)err;
    REQUIRE(limit >= 1 && limit <= 1001 && filter->state >= -1 && filter->state < BS_JOB_STATES &&
            strcmp(filter->owner, "ann") == 0 && (!filter->labels || filter->labels[0] == '{'));
    *count = after && *after ? 0 : limit < 2 ? limit : 2;
    REQUIRE((*out = calloc((size_t)limit, sizeof **out)));
    for (int i = 0; i < *count; i++)
        fill_job(&(*out)[i], i ? "open" : "done");
    return BS_OK;
}

/* The store's own would bring all of the store with them. */
void bs_model_record_free(struct bs_model_record *m)
{
    free(m->name);
    free(m->blob);
    free(m->info_json);
    free(m->owner);
    free(m->labels);
    memset(m, 0, sizeof *m);
}

void bs_job_record_free(struct bs_job_record *j)
{
    char *const texts[] = {j->owner,        j->project,    j->idempotency_key, j->payload_hash, j->kind,
                           j->request,      j->input_blob, j->result_json,     j->labels_blob,  j->maps_blob,
                           j->objects_blob, j->error,      j->labels};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        free(texts[i]);
    memset(j, 0, sizeof *j);
}

const char *bs_job_state_name(enum bs_job_state s)
{
    static const char *const names[BS_JOB_STATES] = {"queued", "running",   "succeeded",
                                                     "failed", "cancelled", "paused"};
    REQUIRE((unsigned)s < BS_JOB_STATES);
    return names[s];
}

/* ---- queue ---- */

/* A submitted request must be readable again when its turn comes, perhaps after a restart. */
bs_status bs_jobs_submit(struct bs_jobs *jobs, struct bs_job_record *job, bool *existing, struct bs_err *err)
{
    struct bs_job_request request;
    struct bs_comparison_request comparison;
    (void)jobs;
    if (strcmp(job->kind, "compare") == 0)
        REQUIRE(bs_comparison_request_from_json(job->request, &comparison, err) == BS_OK);
    else
        REQUIRE(bs_job_request_from_json(job->request, &request, err) == BS_OK);
    *existing = strcmp(job->idempotency_key, "again") == 0;
    if (strcmp(job->idempotency_key, "taken") == 0)
        return BS_FAIL(err, BS_EEXIST, "the key was used for another payload");
    strcpy(job->id, "new");
    return BS_OK;
}

bs_status bs_jobs_cancel(struct bs_jobs *jobs, const char *id, struct bs_err *err)
{
    (void)jobs;
    return strcmp(id, "open") == 0 ? BS_OK : BS_FAIL(err, BS_EPRECONDITION, "the job has ended");
}

bs_status bs_jobs_delete(struct bs_jobs *jobs, const char *id, struct bs_err *err)
{
    (void)jobs;
    return strcmp(id, "done") == 0 ? BS_OK : BS_FAIL(err, BS_EPRECONDITION, "the job runs");
}

struct bs_job_watch *bs_jobs_watch(struct bs_jobs *jobs, const char *id, bs_job_watch_fn fn, void *ctx)
{
    (void)jobs;
    fn(ctx, id, 4);
    watchers++;
    return (struct bs_job_watch *)&watchers;
}

void bs_jobs_unwatch(struct bs_job_watch *w)
{
    REQUIRE(w == (struct bs_job_watch *)&watchers);
    watchers--;
}

/* ---- blobs ---- */

struct bs_blob_writer {
    uint64_t hint, written;
};

bs_status bs_blob_writer_open(struct bs_blobs *b, uint64_t total_hint, struct bs_blob_writer **out,
                              struct bs_err *err)
{
    (void)b;
    (void)err;
    REQUIRE(total_hint <= 16384 && (*out = calloc(1, sizeof **out)));
    (*out)->hint = total_hint;
    open_writers++;
    return BS_OK;
}

bs_status bs_blob_write(struct bs_blob_writer *w, const void *data, size_t n, struct bs_err *err)
{
    (void)data;
    (void)err;
    w->written += n;
    REQUIRE(w->written <= w->hint); /* never more than was promised */
    return BS_OK;
}

bs_status bs_blob_commit(struct bs_blob_writer *w, char *hash, struct bs_err *err)
{
    (void)err;
    REQUIRE(w->written == w->hint);
    strcpy(hash, HASH);
    bs_blob_abort(w);
    return BS_OK;
}

void bs_blob_abort(struct bs_blob_writer *w)
{
    open_writers -= w != NULL;
    free(w);
}

/* Every blob is one object: right for an object table, and bytes for everything else. */
bs_status bs_blob_open(struct bs_blobs *b, const char *hash, int *fd, uint64_t *size, struct bs_err *err)
{
    static const struct bs_object object = {.id = 1, .area = 4, .bottom = 2, .right = 2};
    (void)b;
    (void)err;
    REQUIRE(strlen(hash) == BS_BLOB_HASH_LEN);
    *fd = memory_file(&object, sizeof object);
    *size = sizeof object;
    return BS_OK;
}

bs_status bs_blob_hash(const void *data, size_t n, char *hash, struct bs_err *err)
{
    (void)data;
    (void)n;
    (void)err;
    strcpy(hash, HASH);
    return BS_OK;
}

/* ---- engine ---- */

static int zeros(size_t n)
{
    int fd = memory_file(NULL, 0);
    REQUIRE(ftruncate(fd, (off_t)n) == 0);
    return fd;
}

/* What a region leaves of an axis; it lies within. */
static size_t extent(const struct bs_engine_request *q, char axis, uint64_t first, uint64_t count)
{
    const char *at = strchr(q->axes, axis);
    size_t n = at ? q->dim[at - q->axes] : 1;
    REQUIRE(first < n && count <= n - first);
    return count ? (size_t)count : n - (size_t)first;
}

/* What is asked of the worker must fit together: a worker that trusts it would read beyond the image. */
static void check_request(const struct bs_engine_request *q, size_t *height, size_t *width,
                          struct bs_stack *stack)
{
    const struct bs_region *region = &q->params.region;
    size_t samples = 1;
    *height = *width = 4;
    *stack = (struct bs_stack){.planes = 1};
    REQUIRE(q->pages == 0 || (!q->raw && strchr("tzc", q->pages)));
    REQUIRE(!(q->params.separate_planes && q->params.planes == BS_PLANES_LINKED));
    REQUIRE(lseek(q->image_fd, 0, SEEK_END) == (off_t)q->image_bytes && q->image_bytes > 0);
    if (!q->raw)
        return;
    REQUIRE(q->ndim >= 2 && q->ndim <= BS_IMAGE_MAX_DIM && strlen(q->axes) == (size_t)q->ndim);
    for (int i = 0; i < q->ndim; i++) {
        REQUIRE(q->dim[i] > 0 && q->dim[i] <= q->image_bytes);
        samples *= q->dim[i];
        if (q->axes[i] != 't' && q->axes[i] != 'z')
            continue;
        REQUIRE(strchr(q->axes, 'y') > q->axes + i);
        stack->axes[stack->naxes] = q->axes[i];
        stack->dim[stack->naxes++] = q->axes[i] == 't' ? extent(q, 't', region->t, region->duration)
                                                       : extent(q, 'z', region->z, region->depth);
        stack->planes *= stack->dim[stack->naxes - 1];
    }
    *height = extent(q, 'y', region->y, region->height);
    *width = extent(q, 'x', region->x, region->width);
    REQUIRE(q->params.planes != BS_PLANES_LINKED || strchr(q->axes, 'z'));
    REQUIRE(samples * bs_sample_size(q->sample) == q->image_bytes);
}

bs_status bs_engine_submit(struct bs_engine *e, const struct bs_engine_request *req,
                           const struct bs_engine_callbacks *cb, struct bs_engine_task **task,
                           struct bs_err *err)
{
    static const struct bs_object object = {.id = 1, .area = 4, .bottom = 2, .right = 2};
    struct bs_engine_result r = {.labels_fd = -1, .maps_fd = -1, .objects_fd = -1};
    struct bs_err failure;
    struct bs_stack stack;
    size_t height, width;
    (void)e;
    (void)err;
    check_request(req, &height, &width, &stack);
    *task = (struct bs_engine_task *)&watchers;
    if (cb->started)
        cb->started(cb->ctx);
    if (cb->progress)
        cb->progress(cb->ctx, 1, 2);
    if (height > MAX_SIDE || width > MAX_SIDE || stack.planes > MAX_SIDE) {
        cb->done(cb->ctx, BS_FAIL(&failure, BS_EINVAL, "too large for this world"), &failure, NULL);
        return BS_OK;
    }
    r.labels_fd = zeros(stack.planes * height * width * 4);
    if (req->want_maps)
        r.maps_fd = zeros(3 * stack.planes * height * width * 4);
    if (req->want_objects)
        r.objects_fd = memory_file(&object, sizeof object);
    r.info = (struct bs_segment_result){.height = height,
                                        .width = width,
                                        .stack = stack,
                                        .region = req->params.region,
                                        .channels = 3,
                                        .count = 1,
                                        .pixel_size = req->pixel_size,
                                        .tile = 64};
    if (req->kept && !req->kept->made)
        r.network = (struct bs_segment_network){
            .map_h = height, .map_w = width, .channels = 3, .planes = stack.planes};
    cb->done(cb->ctx, BS_OK, NULL, &r);
    return BS_OK;
}

void bs_engine_cancel(struct bs_engine *e, struct bs_engine_task *task)
{
    (void)e;
    (void)task;
}

void bs_engine_task_release(struct bs_engine_task *task)
{
    (void)task;
}

bs_status bs_engine_load(struct bs_engine *e, const char *model_key, int model_fd, struct bs_err *err)
{
    (void)e;
    (void)err;
    REQUIRE(model_key && model_fd >= 0);
    return BS_OK;
}

bs_status bs_engine_unload(struct bs_engine *e, const char *model_key, struct bs_err *err)
{
    (void)e;
    (void)model_key;
    return BS_FAIL(err, BS_ENOTFOUND, "not loaded");
}

size_t bs_engine_resident(struct bs_engine *e, const char *model_key)
{
    (void)e;
    REQUIRE(model_key);
    return 0;
}

bs_status bs_engine_card(struct bs_engine *e, int model_fd, int batch, enum bs_precision precision,
                         struct bs_model_card_plan *plan, struct bs_err *err)
{
    (void)e;
    (void)err;
    REQUIRE(model_fd >= 0 && batch >= 1);
    *plan = (struct bs_model_card_plan){.batch = batch, .precision = precision, .peak_bytes = 1};
    return BS_OK;
}

bool bs_engine_is_loaded(struct bs_engine *e, const char *model_key)
{
    (void)e;
    return model_key[0] == '0';
}

bs_status bs_engine_plan(struct bs_engine *e, const char *model_key, int model_fd, size_t height,
                         size_t width, const struct bs_segment_params *params, size_t *bytes,
                         struct bs_err *err)
{
    (void)e;
    (void)model_key;
    (void)model_fd;
    (void)params;
    (void)err;
    REQUIRE(height > 0 && width > 0);
    *bytes = 1;
    return BS_OK;
}

bs_status bs_engine_inspect(struct bs_engine *e, int model_fd, struct bs_model_info *info, struct bs_err *err)
{
    (void)e;
    (void)model_fd;
    return bs_model_info_from_json(description, strlen(description), info, err);
}

void bs_engine_state_get(struct bs_engine *e, struct bs_engine_state *state)
{
    (void)e;
    *state =
        (struct bs_engine_state){.ready = true, .device = {.name = "device", .backend = "ref", .threads = 1}};
}

/* ---- life ---- */

void world_create(struct bs_services *s)
{
    struct bs_err err;
    struct bs_engine_state state;
    struct bs_model_info info;
    struct bs_job_request request = {.model = "nuclei", .model_version = 1, .want_objects = true};
    struct bs_segment_result result = {.height = 4, .width = 4, .channels = 3, .count = 1, .tile = 64};
    (void)s;
    REQUIRE(bs_model_info_from_json(description, strlen(description), &info, &err) == BS_OK);
    request.params = bs_segment_params_default(&info);
    bs_engine_state_get(NULL, &state);
    struct bs_job_provenance p = {&request, HASH, HASH, &result, &state.device};
    REQUIRE(bs_job_result_to_json(&p, &result_json, &err) == BS_OK);
}

void world_check(void)
{
    REQUIRE(open_writers == 0 && watchers == 0);
}
