/* What a request yields on its way to the daemon: sealed memfds beside the DONE message. The labels of a stack are written
   where they stay, plane by plane; other arrays are copied. Executor thread only. */
#include "server/worker/worker.h"

#include "kernels/base/checked.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define COPY_STEP ((size_t)8 << 20) /* whole huge pages */

static bs_status new_file(int *fd, struct bs_err *err)
{
    *fd = memfd_create("bioseg-result", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return *fd >= 0 ? BS_OK : BS_FAIL(err, BS_ENOMEM, "no memory for the result: %s", strerror(errno));
}

static bs_status seal(int fd, struct bs_err *err)
{
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0)
        return BS_FAIL(err, BS_EIO, "the result could not be sealed: %s", strerror(errno));
    return BS_OK;
}

/* data as a sealed memfd. The pages of data are given back while they are copied, so that a large result is not held
   twice; data is not read again. */
static bs_status copy(void *data, size_t bytes, int *out, struct bs_err *err)
{
    unsigned char *from = data;
    int fd;
    bs_status rc = new_file(&fd, err);
    if (rc != BS_OK)
        return rc;
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
    if ((rc = seal(fd, err)) != BS_OK)
        close(fd);
    else
        *out = fd;
    return rc;
}

bs_status bs__array_open(struct bs__array *a, size_t count, size_t size, struct bs_err *err)
{
    bs_status rc;
    *a = (struct bs__array)BS__ARRAY_NONE;
    if (!bs_mul(count, size, &a->bytes))
        return BS_FAIL(err, BS_ELIMIT, "the result is too large");
    if ((rc = new_file(&a->fd, err)) != BS_OK)
        return rc;
    if (ftruncate(a->fd, (off_t)a->bytes) != 0 ||
        (a->data = mmap(NULL, a->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, a->fd, 0)) == MAP_FAILED) {
        a->data = NULL;
        bs__array_close(a);
        return BS_FAIL(err, BS_ENOMEM, "no memory for the %zu bytes of the result", a->bytes);
    }
    return BS_OK;
}

void bs__array_close(struct bs__array *a)
{
    if (a->data)
        munmap(a->data, a->bytes);
    if (a->fd >= 0)
        close(a->fd);
    *a = (struct bs__array)BS__ARRAY_NONE;
}

/* Into the message. A file that is still mapped for writing cannot be sealed. */
static bs_status attach_array(struct bs_worker_message *done, struct bs__array *a, struct bs_err *err)
{
    munmap(a->data, a->bytes);
    a->data = NULL;
    bs_status rc = seal(a->fd, err);
    if (rc == BS_OK) {
        done->fd[done->nfd++] = a->fd;
        a->fd = -1;
    }
    return rc;
}

static bs_status attach(struct bs_worker_message *done, void *data, size_t count, size_t size,
                        struct bs_err *err)
{
    size_t bytes;
    if (!bs_mul(count, size, &bytes))
        return BS_FAIL(err, BS_ELIMIT, "the result is too large");
    bs_status rc = copy(data, bytes, &done->fd[done->nfd], err);
    done->nfd += rc == BS_OK;
    return rc;
}

bs_status bs__result_fill(struct bs_worker_message *m, const struct bs_worker_segment *s,
                          struct bs_segment_result *r, struct bs__array *labels, struct bs__array *maps,
                          struct bs_err *err)
{
    struct bs_worker_done *d = &m->body.done;
    const size_t pixels = r->height * r->width;
    d->height = r->height;
    d->width = r->width;
    d->stack = r->stack;
    d->linked = r->linked;
    d->region = r->region;
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
    bs_status rc =
        labels->data ? attach_array(m, labels, err) : attach(m, r->labels, pixels, sizeof *r->labels, err);
    if (rc == BS_OK && s->want_maps) {
        d->has_maps = 1;
        rc = maps->data ? attach_array(m, maps, err)
                        : attach(m, r->maps, pixels * (size_t)r->channels, sizeof *r->maps, err);
    }
    if (rc == BS_OK && s->want_objects) {
        d->has_objects = 1;
        rc = attach(m, r->objects, r->count, sizeof *r->objects, err);
    }
    return rc;
}
