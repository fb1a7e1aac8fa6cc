/* One request in the worker: read or decode the image, run the model, send labels, maps and objects back (result.c).
   Executor thread only. */
#include "model/predict/stack.h"
#include "server/worker/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PROGRESS_GAP 0.02 /* seconds between two progress messages */

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

/* What the request says of pixels goes before what the file says. */
static void set_pixel_size(struct bs_image *im, double um, double spacing)
{
    for (int i = 0; i < im->ndim; i++)
        if (im->axes[i] == 'y' || im->axes[i] == 'x')
            im->pixel_size[i] = um;
        else if (im->axes[i] == 'z' && (spacing > 0 || strcmp(im->unit, "um") != 0))
            im->pixel_size[i] = spacing;
    snprintf(im->unit, sizeof im->unit, "um");
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

/* What pages are that the file does not explain; it may explain them the same way. */
static bs_status name_pages(struct bs_image *im, char axis, struct bs_err *err)
{
    int unknown = bs_image_axis(im, '?');
    if (axis == 0 || (unknown < 0 && bs_image_axis(im, axis) >= 0))
        return BS_OK;
    if (unknown < 0)
        return BS_FAIL(err, BS_EINVAL,
                       "the file's axes are %s as it says itself; the request says its pages are %c",
                       im->axes, axis);
    if (bs_image_axis(im, axis) >= 0)
        return BS_FAIL(err, BS_EINVAL, "the file has an axis %c besides its pages, which cannot be %c too",
                       axis, axis);
    im->axes[unknown] = axis;
    return BS_OK;
}

/* The work on a decoded image; its arrays in the result, or of a stack in labels and maps. */
static bs_status run(struct bs_model *model, const struct bs_worker_segment *s, const struct bs_image *image,
                     struct bs_segment_maps *kept, const struct bs_segment_progress *progress,
                     const struct bs_cancel *cancel, struct bs_segment_result *result,
                     struct bs__array *labels, struct bs__array *maps, struct bs_err *err)
{
    const size_t channels = (size_t)bs_arch_out_channels(&bs_model_info_get(model)->arch);
    struct bs_stack stack;
    size_t height, width;
    bs_status rc =
        bs_stack_plan(image, &s->params, bs_image_default_limits.max_bytes, &stack, &height, &width, err);
    if (rc != BS_OK)
        return rc;
    if (!bs_image_is_stack(image))
        return bs_segment_keeping(model, image, &s->params, s->want_maps != 0, kept, progress, cancel, result,
                                  err);
    const size_t pixels = stack.planes * height * width;
    if (s->want_maps && pixels > bs_image_default_limits.max_bytes / (channels * sizeof(float)))
        return BS_FAIL(err, BS_ELIMIT,
                       "maps of %zu planes of %zu x %zu pixels take more than %zu MiB, which is the limit; "
                       "segment the stack in parts (region)",
                       stack.planes, height, width, bs_image_default_limits.max_bytes >> 20);
    if ((rc = bs__array_open(labels, pixels, sizeof(uint32_t), err)) != BS_OK ||
        (s->want_maps && (rc = bs__array_open(maps, pixels * channels, sizeof(float), err)) != BS_OK))
        return rc;
    const struct bs_stack_output output = {labels->data, maps->data};
    return bs_segment_stack(model, image, &s->params, &output, kept, progress, cancel, result, err);
}

static bs_status segment(struct bs__models *models, int sock, struct bs_worker_message *m,
                         const struct bs_cancel *cancel, struct bs_worker_message *done, struct bs_err *err)
{
    const struct bs_worker_segment *s = &m->body.segment;
    struct bs_image *image = NULL;
    struct bs_model *model = NULL;
    struct bs_segment_result result = {0};
    struct bs__array labels = BS__ARRAY_NONE, arrays = BS__ARRAY_NONE;
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
    if (rc != BS_OK || (rc = name_pages(image, s->pages, err)) != BS_OK)
        goto cleanup;
    if (s->pixel_size > 0)
        set_pixel_size(image, s->pixel_size, s->spacing);
    rc = run(model, s, image, &maps, &progress, cancel, &result, &labels, &arrays, err);
    if (rc == BS_ENOMEM && bs__models_make_room(models, s->model_key, 0, 0)) {
        /* Other models stood in the way. */
        bs_segment_result_free(&result);
        memset(&result, 0, sizeof result);
        bs__array_close(&labels);
        bs__array_close(&arrays);
        rc = run(model, s, image, &maps, &progress, cancel, &result, &labels, &arrays, err);
    }
    if (rc == BS_OK)
        rc = bs__result_fill(done, s, &result, &labels, &arrays, err);
    if (rc == BS_OK && s->kept == BS_WORKER_KEPT_MAKE)
        done->body.done.network = maps.network;
    bs__models_settle(models, s->model_key);
cleanup:
    close_preview(&reporter);
    bs__array_close(&labels);
    bs__array_close(&arrays);
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
    else if (m->type == BS_WORKER_TRAIN_PLAN)
        rc = bs__train_plan(dev, m, &done->body.done, &err);
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
