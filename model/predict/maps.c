/* The stitched maps. Small ones stand in memory; those of huge images go to a file without a name, written and read by
   offset, so that they take disk and page cache but no memory of the process. One thread at a time. */
#include "model/predict/predict_internal.h"

#include "kernels/base/checked.h"
#include "kernels/base/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* TMPDIR first; /var/tmp before /tmp, which is often memory again. */
static int open_unnamed(void)
{
    const char *folders[] = {getenv("TMPDIR"), "/var/tmp", "/tmp"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        char name[4096];
        if (!folders[i] || !folders[i][0])
            continue;
        int fd = open(folders[i], O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (fd >= 0)
            return fd;
        if (snprintf(name, sizeof name, "%s/bioseg-maps.XXXXXX", folders[i]) >= (int)sizeof name)
            continue;
        if ((fd = mkostemp(name, O_CLOEXEC)) >= 0) {
            unlink(name);
            return fd;
        }
    }
    return -1;
}

bs_status bs__maps_create(struct bs__maps *m, int channels, size_t h, size_t w, bool in_memory,
                          struct bs_err *err)
{
    size_t bytes;
    *m = (struct bs__maps){.channels = channels, .h = h, .w = w, .fd = -1};
    if (!bs_mul(h, w, &bytes) || !bs_mul(bytes, (size_t)channels * sizeof(float), &bytes))
        return BS_FAIL(err, BS_ELIMIT, "maps of %d x %zu x %zu are too large", channels, h, w);
    if (in_memory) {
        m->data = bs_pages_alloc(bytes);
        return m->data ? BS_OK : BS_FAIL(err, BS_ENOMEM, "no memory for maps of %zu MiB", bytes >> 20);
    }
    m->fd = open_unnamed();
    if (m->fd < 0)
        return BS_FAIL(err, BS_EIO, "no folder for temporary files (TMPDIR, /var/tmp, /tmp): %s",
                       strerror(errno));
    /* Blocks are reserved now: a full disk is an error here and not in the middle of the work. */
    int rc = posix_fallocate(m->fd, 0, (off_t)bytes);
    if (rc != 0 && rc != EOPNOTSUPP && rc != EINVAL) {
        bs__maps_destroy(m);
        return BS_FAIL(err, BS_EIO, "no room for maps of %zu MiB among the temporary files: %s", bytes >> 20,
                       strerror(rc));
    }
    return BS_OK;
}

void bs__maps_destroy(struct bs__maps *m)
{
    if (m->data)
        bs_pages_free(m->data, m->h * m->w * (size_t)m->channels * sizeof(float));
    if (m->fd >= 0)
        close(m->fd);
    *m = (struct bs__maps){.fd = -1};
}

bs_status bs__maps_write(struct bs__maps *m, int channel, size_t y, size_t x, const float *v, size_t n,
                         struct bs_err *err)
{
    size_t at = (m->data ? 0 : m->first) + ((size_t)channel * m->h + y) * m->w + x;
    if (m->data) {
        memcpy(m->data + at, v, n * sizeof *v);
        return BS_OK;
    }
    const unsigned char *from = (const unsigned char *)v;
    for (size_t done = 0, bytes = n * sizeof *v; done < bytes;) {
        ssize_t put = pwrite(m->fd, from + done, bytes - done, (off_t)(at * sizeof *v + done));
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return BS_FAIL(err, BS_EIO, "cannot write maps to a temporary file: %s",
                           put < 0 ? strerror(errno) : "disk full");
        done += (size_t)put;
    }
    return BS_OK;
}

bs_status bs__maps_read(const struct bs__maps *m, int channel, size_t y, size_t rows, float *out,
                        struct bs_err *err)
{
    size_t at = (m->data ? 0 : m->first) + ((size_t)channel * m->h + y) * m->w, n = rows * m->w;
    if (m->data) {
        memcpy(out, m->data + at, n * sizeof *out);
        return BS_OK;
    }
    unsigned char *to = (unsigned char *)out;
    for (size_t done = 0, bytes = n * sizeof *out; done < bytes;) {
        ssize_t got = pread(m->fd, to + done, bytes - done, (off_t)(at * sizeof *out + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return BS_FAIL(err, BS_EIO, "cannot read maps from a temporary file: %s",
                           got < 0 ? strerror(errno) : "short file");
        done += (size_t)got;
    }
    return BS_OK;
}
