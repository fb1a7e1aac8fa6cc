/* The picture of a run's last validation: from the worker's file, reduced to what is kept, into the store. Trainer's thread, but for
   bs__run_note_sample. */
#include "server/trainer_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void bs__run_note_sample(struct bs__run *r, const struct bs_run_event *e, int fd)
{
    if (r->sample.there)
        close(r->sample.fd);
    r->sample.there = fd >= 0;
    r->sample.fd = fd;
    r->sample.step = e->step;
    r->sample.channels = e->channels;
    r->sample.target_channels = e->target_channels;
    r->sample.height = e->height;
    r->sample.width = e->width;
}

/* Means of squares of k x k pixels. */
static void reduce(const uint8_t *from, size_t width, size_t k, size_t h, size_t w, uint8_t *to)
{
    for (size_t y = 0; y < h; y++)
        for (size_t x = 0; x < w; x++) {
            size_t sum = 0;
            for (size_t i = 0; i < k; i++)
                for (size_t j = 0; j < k; j++)
                    sum += from[(y * k + i) * width + x * k + j];
            *to++ = (uint8_t)((sum + k * k / 2) / (k * k));
        }
}

/* The file has exactly this size and cannot change it: the engine has looked. */
static bs_status make(const struct bs__run_sample *s, struct bs_run_sample *out, struct bs_err *err)
{
    const size_t planes = (size_t)s->channels + 2 * (size_t)s->target_channels;
    const size_t side = s->height > s->width ? s->height : s->width;
    const size_t smaller = s->height < s->width ? s->height : s->width;
    size_t k = (side + BS_RUN_SAMPLE_MAX_SIDE - 1) / BS_RUN_SAMPLE_MAX_SIDE;
    k = k < smaller ? k : smaller;
    const size_t h = s->height / k, w = s->width / k, bytes = planes * s->height * s->width;
    if (planes * h * w > BS_RUN_SAMPLE_MAX_BYTES)
        return BS_FAIL(err, BS_ELIMIT, "a picture of %zu planes of %zu x %zu pixels is too large to keep",
                       planes, h, w);
    uint8_t *from = mmap(NULL, bytes, PROT_READ, MAP_SHARED, s->fd, 0);
    if (from == MAP_FAILED)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a picture");
    *out = (struct bs_run_sample){.step = s->step,
                                  .height = (uint32_t)h,
                                  .width = (uint32_t)w,
                                  .channels = (uint32_t)s->channels,
                                  .target_channels = (uint32_t)s->target_channels,
                                  .reduction = (uint32_t)k,
                                  .planes = malloc(planes * h * w),
                                  .bytes = planes * h * w};
    for (size_t p = 0; out->planes && p < planes; p++)
        reduce(from + p * s->height * s->width, s->width, k, h, w, out->planes + p * h * w);
    munmap(from, bytes);
    return out->planes ? BS_OK : BS_FAIL(err, BS_ENOMEM, "no memory for a picture");
}

void bs__run_keep_sample(struct bs__run *r)
{
    struct bs_run_sample kept = {.planes = NULL};
    struct bs_err ignored; /* a run does not end for want of a picture */
    pthread_mutex_lock(&r->trainer->mu);
    const struct bs__run_sample taken = r->sample;
    r->sample.there = false;
    pthread_mutex_unlock(&r->trainer->mu);
    if (!taken.there)
        return;
    if (make(&taken, &kept, &ignored) == BS_OK)
        (void)!bs_store_run_sample_put(r->trainer->jobs->store, r->record.id, &kept, &ignored);
    bs_run_sample_free(&kept);
    close(taken.fd);
}
