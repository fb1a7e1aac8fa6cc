/* A training run in the worker: configuration and dataset as the daemon gave them, images read beneath the folder of blobs, weights
   from a file or from the seed; then the run, which gives way to everything else between two operators. Executor thread only. */
#include "server/worker/worker.h"

#include "kernels/base/checked.h"
#include "model/dataset/files.h"
#include "model/train/initial.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_CONFIG     ((size_t)64 << 10)
#define MAX_CACHE      ((size_t)2 << 30) /* bytes of decoded images, beside a share of what is free */
#define CPU_SAMPLERS   1                 /* the device's own threads need the processor, too */
#define GPU_SAMPLERS   4
#define CACHE_SHARE    8 /* of the memory that is free, one part for images, */
#define TRAINING_SHARE 4 /* and all but one part for training: the rest is for whoever comes between */

/* All that a run borrows. */
struct training {
    struct bs_train_config config;
    struct bs_manifest manifest;
    char dataset[BS_SHA256_TEXT];
    struct bs_root *blobs;
    struct bs_pair_files *train, *validation;
    struct bs_params *initial;
    struct bs_run *run;
    const struct bs_cancel *cancel; /* whom getting ready gives way to, too */
};

bs_status bs__worker_text(int fd, uint64_t bytes, size_t most, char **out, struct bs_err *err)
{
    if (bytes == 0 || bytes > most)
        return BS_FAIL(err, BS_EINVAL, "a text of %llu bytes for a training run; 1 to %zu are accepted",
                       (unsigned long long)bytes, most);
    char *text = malloc((size_t)bytes);
    if (!text)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a text of %llu bytes", (unsigned long long)bytes);
    for (size_t at = 0; at < bytes;) {
        ssize_t n = pread(fd, text + at, (size_t)bytes - at, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            free(text);
            return BS_FAIL(err, BS_EIO, "a training run's description ends at byte %zu of %llu", at,
                           (unsigned long long)bytes);
        }
        at += (size_t)n;
    }
    *out = text;
    return BS_OK;
}

static bs_status read_descriptions(const struct bs_worker_message *m, struct training *t, struct bs_err *err)
{
    const struct bs_worker_train *b = &m->body.train;
    char *config = NULL, *manifest = NULL;
    bs_status rc;
    if ((rc = bs__worker_text(m->fd[0], b->config_bytes, MAX_CONFIG, &config, err)) != BS_OK ||
        (rc = bs_train_config_from_json(config, (size_t)b->config_bytes, &t->config, err)) != BS_OK ||
        (rc = bs__worker_text(m->fd[1], b->manifest_bytes, BS_MANIFEST_MAX_TEXT, &manifest, err)) != BS_OK ||
        (rc = bs_manifest_parse(manifest, (size_t)b->manifest_bytes, &t->manifest, err)) != BS_OK)
        goto cleanup;
    rc = bs_manifest_hash(&t->manifest, t->dataset, err);
cleanup:
    free(config);
    free(manifest);
    return rc;
}

/* A file of the dataset by its content's hash, beneath the folder of blobs and nowhere else. */
static bs_status open_blob(void *ctx, const struct bs_manifest_file *file, int *fd, struct bs_err *err)
{
    bs_status rc = bs_root_open_file(ctx, file->sha256, fd, err);
    if (rc != BS_OK)
        bs_err_prefix(err, "%s", file->name ? file->name : "an image");
    return rc;
}

bs_status bs__open_blobs(int fd, struct bs_root **out, struct bs_err *err)
{
    char folder[64];
    (void)snprintf(folder, sizeof folder, "/proc/self/fd/%d", fd);
    return bs_root_open(folder, out, err);
}

struct bs_file_opener bs__blob_opener(struct bs_root *blobs)
{
    return (struct bs_file_opener){blobs, open_blob};
}

static bs_status open_images(const struct bs_worker_message *m, size_t cache_bytes, struct training *t,
                             struct bs_err *err)
{
    struct bs_pair_files_rule rule = {.parts = BS_PART_BIT(BS_PART_TRAIN), .cache_bytes = cache_bytes};
    bs_status rc = bs__open_blobs(m->fd[2], &t->blobs, err);
    const struct bs_file_opener opener = bs__blob_opener(t->blobs);
    if (rc != BS_OK)
        return rc;
    if (bs_pair_files_create(&t->manifest, &opener, &rule, &t->train, err) != BS_OK)
        return bs_err_prefix(err, "images to train on");
    rule.parts = BS_PART_BIT(BS_PART_VALIDATION);
    if (bs_pair_files_create(&t->manifest, &opener, &rule, &t->validation, err) != BS_OK)
        return bs_err_prefix(err, "images to validate with");
    return BS_OK;
}

/* Weights of a model file or a checkpoint; the network has to be the run's, but for what it is to learn. */
static bs_status take_weights(int fd, struct bs_device *dev, struct training *t, struct bs_err *err)
{
    char path[64];
    struct bs_model *model = NULL;
    bool new_head = false;
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    bs_status rc = bs_model_open(path, dev, &model, err);
    if (rc == BS_OK)
        rc = bs_train_config_check_initial(&t->config, bs_model_info_get(model), &new_head, err);
    if (rc == BS_OK && new_head)
        rc = bs_initial_head(bs_model_params(model), &t->config.arch, t->config.seed, &t->initial, err);
    else if (rc == BS_OK)
        t->initial = bs_params_ref(bs_model_params(model));
    bs_model_close(model);
    return rc;
}

static bs_status resume(int fd, struct bs_run *run, struct bs_err *err)
{
    struct bs_safetensors *st = NULL;
    const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0)
        return BS_FAIL(err, BS_EIO, "no descriptor for a checkpoint: %s", strerror(errno));
    bs_status rc = bs_safetensors_open_fd(copy, &st, err);
    if (rc == BS_OK)
        rc = bs_run_resume(run, st, err);
    bs_safetensors_close(st);
    return rc;
}

static const char *name_of(void *ctx, size_t index)
{
    const struct bs_manifest_pair *pair = bs_pair_files_pair(ctx, index);
    return pair->image.name ? pair->image.name : pair->image.sha256;
}

/* Models that nobody uses now go before a run is refused; models NULL: none goes. */
static bs_status create_run(struct bs__models *models, struct bs_device *dev, struct training *t,
                            struct bs_err *err)
{
    struct bs_device_info info;
    bs_device_describe(dev, &info);
    struct bs_run_setup setup = {.device = dev,
                                 .config = &t->config,
                                 .initial = t->initial,
                                 .train = bs_pair_files_source(t->train),
                                 .validation = bs_pair_files_source(t->validation),
                                 .train_name = name_of,
                                 .name_ctx = t->train,
                                 .dataset_hash = t->dataset,
                                 .sample_threads = info.memory ? GPU_SAMPLERS : CPU_SAMPLERS,
                                 .cancel = t->cancel};
    bs_status rc = BS_OK;
    for (int i = 0; i < 2; i++) {
        bs_cancel_yield(t->cancel);
        const size_t available = bs_device_memory_available(dev);
        setup.max_bytes = available == SIZE_MAX ? 0 : available - available / TRAINING_SHARE;
        rc = bs_run_create(&setup, &t->run, err);
        if (rc != BS_ENOMEM || !models || !bs__models_make_room(models, NULL, 0, 0))
            break;
    }
    return rc;
}

static bs_status prepare(struct bs__models *models, struct bs_device *dev, const struct bs_worker_message *m,
                         struct training *t, struct bs_err *err)
{
    const struct bs_worker_train *b = &m->body.train;
    const bool folder = b->has_checkpoint_folder != 0, initial = b->has_initial != 0,
               again = b->has_resume != 0;
    const size_t available = bs_device_memory_available(dev) / CACHE_SHARE;
    const int weights = again ? m->fd[3 + folder + initial] : initial ? m->fd[3 + folder] : -1;
    bs_status rc;
    if (m->nfd != 3 + folder + initial + again)
        return BS_FAIL(err, BS_EINVAL, "a training run came with %d files", m->nfd);
    if ((rc = read_descriptions(m, t, err)) != BS_OK ||
        (rc = open_images(m, available < MAX_CACHE ? available : MAX_CACHE, t, err)) != BS_OK ||
        (rc = weights >= 0 ? take_weights(weights, dev, t, err)
                           : bs_initial_params(&t->config.arch, t->config.seed, &t->initial, err)) != BS_OK ||
        (rc = create_run(models, dev, t, err)) != BS_OK)
        return rc;
    return again ? resume(weights, t->run, err) : BS_OK;
}

static void clear(struct training *t)
{
    bs_run_destroy(t->run);
    bs_params_unref(t->initial);
    bs_pair_files_destroy(t->train);
    bs_pair_files_destroy(t->validation);
    bs_root_close(t->blobs);
    bs_manifest_clear(&t->manifest);
}

bs_status bs__train_plan(struct bs_device *dev, const struct bs_worker_message *m,
                         struct bs_worker_done *done, struct bs_err *err)
{
    struct training t = {.manifest = {.channel = BS_PLANE_CHANNEL_ANY}};
    const bs_status rc = prepare(NULL, dev, m, &t, err);
    if (rc == BS_OK) {
        done->planned_bytes = bs_run_bytes(t.run);
        done->parameters = bs_run_trained(t.run);
    }
    clear(&t);
    return rc;
}

static void fill_done(struct bs_worker_trained *d, const struct bs_run *run, const struct bs_run_result *r)
{
    d->end = (uint32_t)r->end;
    d->step = r->step;
    d->best_step = r->best_step;
    d->latest_step = r->latest_step;
    d->best_metric = r->best_metric;
    d->plan_hash = r->plan_hash;
    (void)snprintf(d->algorithms, sizeof d->algorithms, "%s", bs_run_algorithms(run));
}

static bs_status train(struct bs__models *models, struct bs_device *dev, struct bs__teller *teller,
                       const struct bs_worker_message *m, const struct bs_cancel *cancel,
                       struct bs_worker_trained *done, struct bs_err *err)
{
    const struct bs_run_hooks hooks = {teller, bs__tell_event, bs__tell_checkpoint, bs__ask_control};
    struct training t = {.manifest = {.channel = BS_PLANE_CHANNEL_ANY}, .cancel = cancel};
    struct bs_run_result result;
    struct bs_err late = {.msg = ""};
    bs_status rc = prepare(models, dev, m, &t, err);
    if (rc != BS_OK)
        goto cleanup;
    rc = bs_run_execute(t.run, &hooks, cancel, &result, err);
    fill_done(done, t.run, &result);
    /* What was written is answered for, however the run ended. */
    const bs_status committed = bs__await_commit(teller, &late);
    if (rc == BS_OK && committed != BS_OK) {
        rc = committed;
        *err = late;
    }
cleanup:
    clear(&t);
    return rc;
}

static void give_way(void *ctx)
{
    bs__executor_give_way(ctx);
}

void bs__train_run(struct bs__executor *x, struct bs__models *models, struct bs_device *dev, int sock,
                   struct bs_worker_message *m, struct bs_cancel *cancel)
{
    const struct bs_worker_message started = {.type = BS_WORKER_STARTED, .task = m->task};
    const struct bs_yield yield = {x, give_way, bs__executor_wanted(x)};
    struct bs_worker_message *done = calloc(1, sizeof *done);
    struct bs__teller teller = {.x = x,
                                .sock = sock,
                                .task = m->task,
                                .folder = m->body.train.has_checkpoint_folder && m->nfd > 3 ? m->fd[3] : -1,
                                .cancel = cancel};
    struct bs_err err = {.msg = ""};
    bs_status rc;
    if (!done)
        abort(); /* not a kilobyte left: a fresh worker is the better one */
    done->type = BS_WORKER_DONE;
    done->task = m->task;
    cancel->yield = &yield;
    bs__tell(sock, &started);
    if (bs_cancel_requested(cancel))
        rc = BS_FAIL(&err, BS_ECANCELLED, "cancelled");
    else
        rc = train(models, dev, &teller, m, cancel, &done->body.done.trained, &err);
    cancel->yield = NULL;
    bs__task_end(dev, sock, done, rc, &err);
    free(done);
}
