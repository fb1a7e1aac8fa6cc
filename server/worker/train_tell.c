/* What a training run tells the daemon: every step, after a validation a picture of it, and checkpoints, of which one at a time is
   on its way to be committed. Executor thread only. */
#include "server/worker/worker.h"

#include "kernels/base/checked.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOK_MS 20 /* how often a wait for the daemon looks at cancel and gives way */

/* Planes of one picture: what is shown of each is height x width of its rows of `stride` values. */
static void paint(const float *plane, size_t stride, size_t height, size_t width, float low, float high,
                  uint8_t *out)
{
    const float scale = high > low ? 255.0f / (high - low) : 0.0f;
    for (size_t y = 0; y < height; y++)
        for (size_t x = 0; x < width; x++) {
            const float v = (plane[y * stride + x] - low) * scale;
            *out++ = (uint8_t)(v > 255 ? 255 : v > 0 ? v + 0.5f : 0);
        }
}

static void range_of(const float *plane, size_t stride, size_t height, size_t width, float *low, float *high)
{
    *low = *high = plane[0];
    for (size_t y = 0; y < height; y++)
        for (size_t x = 0; x < width; x++) {
            const float v = plane[y * stride + x];
            *low = v < *low ? v : *low;
            *high = v > *high ? v : *high;
        }
}

/* A sealed file with the picture; -1: none, a run does not end for want of one. */
static int make_picture(const struct bs_run_event *e)
{
    const size_t pixels = e->height * e->width;
    size_t bytes;
    if (!bs_mul(pixels, (size_t)e->channels + 2 * (size_t)e->target_channels, &bytes))
        return -1;
    uint8_t *picture = malloc(bytes), *to = picture;
    if (!picture)
        return -1;
    for (int c = 0; c < e->channels; c++, to += pixels) {
        const float *plane = e->image + (size_t)c * e->image_height * e->image_width;
        float low, high;
        range_of(plane, e->image_width, e->height, e->width, &low, &high);
        paint(plane, e->image_width, e->height, e->width, low, high, to);
    }
    for (int c = 0; c < 2 * e->target_channels; c++, to += pixels) {
        const float *maps = c < e->target_channels ? e->target : e->output;
        paint(maps + (size_t)(c % e->target_channels) * pixels, e->width, e->height, e->width, 0, 1, to);
    }
    int fd = memfd_create("bioseg-validation", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd >= 0 && (write(fd, picture, bytes) != (ssize_t)bytes ||
                    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0)) {
        close(fd);
        fd = -1;
    }
    free(picture);
    return fd;
}

bs_status bs__tell_event(void *ctx, const struct bs_run_event *event, struct bs_err *err)
{
    const struct bs__teller *t = ctx;
    struct bs_worker_message m = {.type = BS_WORKER_TRAIN_EVENT, .task = t->task};
    struct bs_worker_train_event *e = &m.body.train_event;
    (void)err;
    *e = (struct bs_worker_train_event){.kind = (uint32_t)event->kind,
                                        .better = event->better,
                                        .step = event->step,
                                        .epoch = event->epoch,
                                        .steps = event->steps,
                                        .best_step = event->best_step,
                                        .loss = event->loss,
                                        .learning_rate = event->learning_rate,
                                        .metric = event->metric,
                                        .best_metric = event->best_metric,
                                        .images_per_second = event->images_per_second,
                                        .seconds_left = event->seconds_left};
    if (event->image) {
        e->channels = event->channels;
        e->target_channels = event->target_channels;
        e->height = event->height;
        e->width = event->width;
        m.fd[0] = make_picture(event);
        m.nfd = m.fd[0] >= 0;
    }
    bs__tell(t->sock, &m);
    bs_worker_message_release(&m);
    return BS_OK;
}

void bs__ask_control(void *ctx, struct bs_run_control *control)
{
    const struct bs__teller *t = ctx;
    bs__executor_take_control(t->x, control);
}

bs_status bs__await_commit(struct bs__teller *t, struct bs_err *err)
{
    struct bs_worker_failure answer = {.status = BS_OK};
    while (t->uncommitted) {
        if (bs__executor_take_commit(t->x, LOOK_MS, &answer)) {
            t->uncommitted = false;
            break;
        }
        bs_cancel_yield(t->cancel);
        if (bs_cancel_requested(t->cancel))
            return BS_FAIL(err, BS_ECANCELLED, "cancelled while a checkpoint was committed");
    }
    if (answer.status == BS_OK)
        return BS_OK;
    return BS_FAIL(err, answer.status <= BS_EINTERNAL ? (bs_status)answer.status : BS_EINTERNAL, "%s",
                   answer.text);
}

/* A file without a name where checkpoints will be kept; in memory where the file system has none such. */
static int new_file(const struct bs__teller *t)
{
    if (t->folder >= 0) {
        int fd = openat(t->folder, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT))
            return fd;
    }
    return memfd_create("bioseg-checkpoint", MFD_CLOEXEC);
}

bs_status bs__tell_checkpoint(void *ctx, enum bs_checkpoint_kind kind, const struct bs_run *run, int64_t step,
                              struct bs_err *err)
{
    struct bs__teller *t = ctx;
    struct stat st;
    bs_status rc = bs__await_commit(t, err);
    if (rc != BS_OK)
        return rc;
    int fd = new_file(t);
    if (fd < 0)
        return BS_FAIL(err, BS_EIO, "no file for the checkpoint of step %lld: %s", (long long)step,
                       strerror(errno));
    if ((rc = bs_run_write_checkpoint(run, kind, fd, err)) == BS_OK &&
        (fstat(fd, &st) != 0 || lseek(fd, 0, SEEK_SET) != 0))
        rc = BS_FAIL(err, BS_EIO, "%s", strerror(errno));
    if (rc == BS_OK) {
        struct bs_worker_message m = {
            .type = BS_WORKER_TRAIN_CHECKPOINT, .task = t->task, .nfd = 1, .fd = {fd}};
        m.body.train_checkpoint =
            (struct bs_worker_train_checkpoint){(uint32_t)kind, step, (uint64_t)st.st_size};
        bs__tell(t->sock, &m);
        t->uncommitted = true;
    } else if (rc == BS_EIO) {
        bs_err_prefix(err, "the checkpoint of step %lld", (long long)step);
    }
    close(fd);
    return rc;
}
