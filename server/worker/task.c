/* One request in the worker: read or decode the image, run the model, send labels, maps and objects back as sealed
   memfds. Executor thread only. */
#include "server/worker/worker.h"

#include "kernels/base/checked.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define COPY_STEP    ((size_t)8 << 20) /* whole huge pages */
#define PROGRESS_GAP 0.02              /* seconds between two progress messages */

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static bs_status read_all(int fd, void *data, size_t bytes, struct bs_err *err)
{
    unsigned char *to = data;
    for (size_t at = 0; at < bytes;) {
        ssize_t n =
            pread(fd, to + at, bytes - at < (size_t)1 << 30 ? bytes - at : (size_t)1 << 30, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return BS_FAIL(err, BS_EIO, "the image cannot be read at byte %zu: %s", at, strerror(errno));
        if (n == 0)
            return BS_FAIL(err, BS_EIO, "the image ends at byte %zu of %zu", at, bytes);
        at += (size_t)n;
    }
    return BS_OK;
}

/* Samples as they are, described by the request. */
static bs_status read_raw(const struct bs_worker_segment *s, int fd, struct bs_image **out,
                          struct bs_err *err)
{
    size_t dim[BS_IMAGE_MAX_DIM];
    char axes[BS_IMAGE_MAX_DIM + 1] = "";
    if (s->ndim < 2 || s->ndim > BS_IMAGE_MAX_DIM || strlen(s->axes) != s->ndim)
        return BS_FAIL(err, BS_EINVAL,
                       "an image has 2 to %d axes, each with a letter; got %u axes named '%s'",
                       BS_IMAGE_MAX_DIM, s->ndim, s->axes);
    if (s->sample >= BS_SAMPLE_COUNT)
        return BS_FAIL(err, BS_EINVAL, "sample type %u is not one of 0 to %d", s->sample,
                       BS_SAMPLE_COUNT - 1);
    for (uint32_t i = 0; i < s->ndim; i++) {
        dim[i] = (size_t)s->dim[i];
        axes[i] = s->axes[i];
    }
    bs_status rc = bs_image_create((enum bs_sample)s->sample, axes, dim, &bs_image_default_limits, out, err);
    if (rc != BS_OK)
        return rc;
    if ((*out)->bytes != s->image_bytes)
        return BS_FAIL(err, BS_EINVAL, "the image has %llu bytes, its axes need %zu",
                       (unsigned long long)s->image_bytes, (*out)->bytes);
    return read_all(fd, (*out)->data, (*out)->bytes, err);
}

/* A PNG or TIFF file. A sealed memfd cannot shrink under us, so it is mapped; anything else is copied first. */
static bs_status decode(const struct bs_worker_segment *s, int fd, struct bs_image **out, struct bs_err *err)
{
    size_t bytes = (size_t)s->image_bytes;
    if (bytes == 0 || bytes > bs_image_default_limits.max_bytes)
        return BS_FAIL(err, BS_EINVAL, "the image file has %zu bytes; 1 to %zu are accepted", bytes,
                       bs_image_default_limits.max_bytes);
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);
    if (fstat(fd, &st) != 0 || (uint64_t)st.st_size < bytes)
        return BS_FAIL(err, BS_EIO, "the image is shorter than the %zu bytes it was said to have", bytes);
    if (seals >= 0 && (seals & F_SEAL_SHRINK)) {
        void *p = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p != MAP_FAILED) {
            bs_status rc = bs_image_decode(p, bytes, &bs_image_default_limits, out, err);
            munmap(p, bytes);
            return rc;
        }
    }
    void *copy = malloc(bytes);
    if (!copy)
        return BS_FAIL(err, BS_ENOMEM, "out of memory while reading an image of %zu bytes", bytes);
    bs_status rc = read_all(fd, copy, bytes, err);
    if (rc == BS_OK)
        rc = bs_image_decode(copy, bytes, &bs_image_default_limits, out, err);
    free(copy);
    return rc;
}

static void set_pixel_size(struct bs_image *im, double um)
{
    for (int i = 0; i < im->ndim; i++)
        if (im->axes[i] == 'y' || im->axes[i] == 'x')
            im->pixel_size[i] = um;
    snprintf(im->unit, sizeof im->unit, "um");
}

/* data as a sealed memfd. The pages of data are given back while they are copied, so that a large result is not held
   twice; data is not read again. */
static bs_status seal(void *data, size_t bytes, int *out, struct bs_err *err)
{
    unsigned char *from = data;
    int fd = memfd_create("bioseg-result", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the result: %s", strerror(errno));
    for (size_t at = 0; at < bytes;) {
        size_t step = bytes - at < COPY_STEP ? bytes - at : COPY_STEP;
        ssize_t n = write(fd, from + at, step);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            close(fd);
            return BS_FAIL(err, BS_ENOMEM, "no memory for the %zu bytes of the result", bytes);
        }
        if ((size_t)n == COPY_STEP && (uintptr_t)(from + at) % 4096 == 0 && bytes >= 4 * COPY_STEP)
            (void)madvise(from + at, COPY_STEP, MADV_DONTNEED);
        at += (size_t)n;
    }
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0) {
        close(fd);
        return BS_FAIL(err, BS_EIO, "the result could not be sealed: %s", strerror(errno));
    }
    *out = fd;
    return BS_OK;
}

/* Tells how far the work is, and where the preview, memory that the daemon sees, has changed. */
struct reporter {
    int sock;
    uint64_t task;
    double last;
    struct bs_preview preview; /* pixels NULL: nobody looks */
};

static bs_status open_preview(struct reporter *r, const struct bs_worker_message *m, struct bs_err *err)
{
    const uint32_t side = m->body.segment.preview_side;
    struct stat st;
    if (side == 0)
        return BS_OK;
    if (side < BS_PREVIEW_MIN_SIDE || side > BS_PREVIEW_MAX_SIDE || m->nfd < 3 || fstat(m->fd[2], &st) != 0 ||
        (size_t)st.st_size != (size_t)side * side)
        return BS_FAIL(err, BS_EINVAL, "the file for a preview of %u pixels a side is none", side);
    void *pixels = mmap(NULL, (size_t)side * side, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd[2], 0);
    if (pixels == MAP_FAILED)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a preview: %s", strerror(errno));
    r->preview = (struct bs_preview){.max_side = side, .pixels = pixels};
    return BS_OK;
}

static void close_preview(struct reporter *r)
{
    if (r->preview.pixels)
        munmap(r->preview.pixels, (size_t)r->preview.max_side * r->preview.max_side);
}

static void paint_core(void *ctx, const struct bs_segment_core *core)
{
    struct reporter *r = ctx;
    bs_preview_add(&r->preview, core);
}

static void report_tile(void *ctx, int done, int total)
{
    struct reporter *r = ctx;
    double now = seconds_now();
    if (done < total && now - r->last < PROGRESS_GAP)
        return;
    r->last = now;
    struct bs_worker_message m = {.type = BS_WORKER_PROGRESS, .task = r->task};
    m.body.progress.done = done;
    m.body.progress.total = total;
    if (r->preview.pixels)
        m.body.progress.preview = bs_preview_take(&r->preview);
    bs__tell(r->sock, &m);
}

static bs_status attach(struct bs_worker_message *done, void *data, size_t count, size_t size,
                        struct bs_err *err)
{
    size_t bytes;
    if (!bs_mul(count, size, &bytes))
        return BS_FAIL(err, BS_ELIMIT, "the result is too large");
    bs_status rc = seal(data, bytes, &done->fd[done->nfd], err);
    done->nfd += rc == BS_OK;
    return rc;
}

static bs_status fill_done(struct bs_worker_message *m, const struct bs_worker_segment *s,
                           struct bs_segment_result *r, struct bs_err *err)
{
    struct bs_worker_done *d = &m->body.done;
    size_t pixels = r->height * r->width;
    d->height = r->height;
    d->width = r->width;
    d->channels = r->channels;
    d->count = r->count;
    d->pixel_size = r->pixel_size;
    d->tiled = r->tiled;
    d->tile = r->tile;
    d->halo = r->halo;
    d->nwarning = r->nwarning;
    memcpy(d->warning, r->warning, sizeof d->warning);
    d->seconds_network = r->seconds_network;
    d->seconds_instances = r->seconds_instances;
    d->plan_hash = r->plan_hash;
    memcpy(d->algorithms, r->algorithms, sizeof d->algorithms);
    d->kept_maps = r->kept_maps;
    bs_status rc = attach(m, r->labels, pixels, sizeof *r->labels, err);
    if (rc == BS_OK && s->want_maps && r->maps) {
        d->has_maps = 1;
        rc = attach(m, r->maps, pixels * (size_t)r->channels, sizeof *r->maps, err);
    }
    if (rc == BS_OK && s->want_objects) {
        d->has_objects = 1;
        rc = attach(m, r->objects, r->count, sizeof *r->objects, err);
    }
    return rc;
}

static bs_status segment(struct bs__models *models, int sock, struct bs_worker_message *m,
                         const struct bs_cancel *cancel, struct bs_worker_message *done, struct bs_err *err)
{
    const struct bs_worker_segment *s = &m->body.segment;
    struct bs_image *image = NULL;
    struct bs_model *model = NULL;
    struct bs_segment_result result = {0};
    struct reporter reporter = {.sock = sock, .task = m->task};
    struct bs_segment_maps maps = {.fd = s->kept ? m->fd[m->nfd - 1] : -1,
                                   .made = s->kept == BS_WORKER_KEPT_MADE,
                                   .max_bytes = s->kept_max_bytes,
                                   .network = s->network};
    struct bs_segment_progress progress = {.ctx = &reporter, .tile = report_tile};
    bs_status rc;
    if ((rc = open_preview(&reporter, m, err)) != BS_OK ||
        (rc = bs__models_get(models, s->model_key, m->fd[0], &model, err)) != BS_OK)
        goto cleanup;
    if (reporter.preview.pixels)
        progress.core = paint_core;
    rc = s->raw ? read_raw(s, m->fd[1], &image, err) : decode(s, m->fd[1], &image, err);
    if (rc != BS_OK)
        goto cleanup;
    if (s->pixel_size > 0)
        set_pixel_size(image, s->pixel_size);
    rc = bs_segment_keeping(model, image, &s->params, s->want_maps != 0, &maps, &progress, cancel, &result,
                            err);
    if (rc == BS_ENOMEM && bs__models_make_room(models, s->model_key, 0, 0)) {
        /* Other models stood in the way. */
        bs_segment_result_free(&result);
        memset(&result, 0, sizeof result);
        rc = bs_segment_keeping(model, image, &s->params, s->want_maps != 0, &maps, &progress, cancel,
                                &result, err);
    }
    if (rc == BS_OK)
        rc = fill_done(done, s, &result, err);
    if (rc == BS_OK && s->kept == BS_WORKER_KEPT_MAKE)
        done->body.done.network = maps.network;
    bs__models_settle(models, s->model_key);
cleanup:
    close_preview(&reporter);
    bs_segment_result_free(&result);
    bs_image_unref(image);
    return rc;
}

static bs_status plan(struct bs__models *models, struct bs_worker_message *m, uint64_t *bytes,
                      struct bs_err *err)
{
    const struct bs_worker_plan *p = &m->body.plan;
    struct bs_model *model;
    size_t planned = 0;
    bs_status rc = bs__models_get(models, p->model_key, m->fd[0], &model, err);
    if (rc == BS_OK)
        rc = bs_segment_planned_bytes(model, (size_t)p->height, (size_t)p->width, &p->params, &planned, err);
    *bytes = planned;
    if (rc == BS_OK)
        bs__models_settle(models, p->model_key);
    return rc;
}

/* From the description alone: no model is loaded for it, and none goes. */
static bs_status card(struct bs_device *dev, struct bs_worker_message *m, struct bs_model_card_plan *out,
                      struct bs_err *err)
{
    struct bs_model_info info;
    char path[64];
    if (m->body.card.precision < 0 || m->body.card.precision >= BS_PRECISIONS)
        return BS_FAIL(err, BS_EINVAL, "precision %d is not known", m->body.card.precision);
    snprintf(path, sizeof path, "/proc/self/fd/%d", m->fd[0]);
    bs_status rc = bs_model_info_read(path, &info, err);
    return rc == BS_OK ? bs_model_card_plan(&info, dev, m->body.card.batch,
                                            (enum bs_precision)m->body.card.precision, out, err)
                       : rc;
}

void bs__task_run(struct bs__models *models, struct bs_device *dev, int sock, struct bs_worker_message *m,
                  const struct bs_cancel *cancel)
{
    struct bs_worker_message started = {.type = BS_WORKER_STARTED, .task = m->task};
    struct bs_worker_message *done = calloc(1, sizeof *done);
    struct bs_err err = {.msg = ""};
    struct bs_model *model;
    bs_status rc = BS_OK;
    if (!done)
        abort(); /* not a kilobyte left: a fresh worker is the better one */
    done->type = BS_WORKER_DONE;
    done->task = m->task;
    bs__tell(sock, &started);
    if (bs_cancel_requested(cancel))
        rc = BS_FAIL(&err, BS_ECANCELLED, "cancelled");
    else if (m->type == BS_WORKER_SEGMENT)
        rc = segment(models, sock, m, cancel, done, &err);
    else if (m->type == BS_WORKER_PLAN)
        rc = plan(models, m, &done->body.done.planned_bytes, &err);
    else if (m->type == BS_WORKER_CARD)
        rc = card(dev, m, &done->body.done.card, &err);
    else if (m->type == BS_WORKER_UNLOAD)
        rc = bs__models_drop(models, m->body.model.model_key, &err);
    else if ((rc = bs__models_get(models, m->body.model.model_key, m->fd[0], &model, &err)) == BS_OK)
        bs__models_settle(models, m->body.model.model_key);
    bs__task_end(dev, sock, done, rc, &err);
    free(done);
}

void bs__task_end(struct bs_device *dev, int sock, struct bs_worker_message *done, bs_status rc,
                  const struct bs_err *err)
{
    if (rc != BS_OK)
        bs_worker_message_release(done);
    if (bs_device_is_lost(dev)) {
        /* Nothing but a new process gets it back. Not an answer: the daemon hands the task to the next worker. */
        fprintf(stderr, "biosegd-worker: the device failed for good: %s\n", err->msg);
        _exit(BS_WORKER_LOST);
    }
    bs__set_failure(&done->body.done.failure, rc, err);
    bs__tell(sock, done);
    bs_worker_message_release(done);
}
