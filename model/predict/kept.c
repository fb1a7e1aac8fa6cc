/* Maps that outlive the call that made them: written to a file of the caller's, read back instead of a run of the
   network. Runs on the device's executor thread. */
#include "model/predict/predict_internal.h"

#include "kernels/base/checked.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static size_t map_bytes(const struct bs__maps *m)
{
    size_t bytes;
    return bs_mul(m->h, m->w, &bytes) && bs_mul(bytes, (size_t)m->channels * sizeof(float), &bytes)
               ? bytes
               : SIZE_MAX;
}

/* Where the maps of the kept plane begin in the file, in samples. */
static size_t first_sample(const struct bs_segment_maps *kept, const struct bs__maps *m)
{
    return kept->plane * m->h * m->w * (size_t)m->channels;
}

static size_t planes_of(const struct bs_segment_maps *kept)
{
    return kept->planes ? kept->planes : 1;
}

void bs__kept_network(const struct bs__layout *l, const struct bs__network_run *run, const struct bs__maps *m,
                      struct bs_segment_network *out)
{
    *out = (struct bs_segment_network){
        .map_h = m->h,
        .map_w = m->w,
        .channels = m->channels,
        .tiled = l->tiled,
        .blocks = l->blocks,
        .encoder = l->encoder,
        .window_h = l->window_h,
        .window_w = l->window_w,
        .halo_h = l->halo_h,
        .halo_w = l->halo_w,
        .rows = l->run_rows ? l->run_rows : l->rows,
        .columns = l->run_rows ? l->run_columns : l->columns,
        .magnification = l->magnification,
        .plan_hash = run->plan_hash,
        .planes = 1,
    };
    memcpy(out->algorithms, run->algorithms, sizeof out->algorithms);
}

void bs__kept_layout(const struct bs_segment_network *n, struct bs__layout *l, struct bs__network_run *run)
{
    *l = (struct bs__layout){
        .tiled = n->tiled != 0,
        .blocks = n->blocks != 0,
        .encoder = n->encoder != 0,
        .window_h = n->window_h,
        .window_w = n->window_w,
        .halo_h = n->halo_h,
        .halo_w = n->halo_w,
        .rows = n->rows,
        .columns = n->columns,
        .magnification = n->magnification,
    };
    *run = (struct bs__network_run){.plan_hash = n->plan_hash};
    memcpy(run->algorithms, n->algorithms, sizeof run->algorithms);
    run->algorithms[sizeof run->algorithms - 1] = 0;
}

bs_status bs__kept_read(const struct bs_segment_maps *kept, struct bs__maps *m, bool in_memory,
                        struct bs_err *err)
{
    const struct bs_segment_network *n = &kept->network;
    bs_status rc;
    if (n->map_h != m->h || n->map_w != m->w || n->channels != m->channels || n->planes != planes_of(kept))
        return BS_FAIL(err, BS_ECORRUPT,
                       "the kept maps have %" PRIu64 " x %" PRId32 " x %" PRIu64 " x %" PRIu64
                       " samples, the image needs %zu x %d x %zu x %zu",
                       n->planes, n->channels, n->map_h, n->map_w, planes_of(kept), m->channels, m->h, m->w);
    m->first = first_sample(kept, m);
    struct bs__maps file = *m;
    file.data = NULL;
    file.fd = kept->fd;
    if (!in_memory) {
        m->fd = fcntl(kept->fd, F_DUPFD_CLOEXEC, 3);
        return m->fd >= 0 ? BS_OK : BS_FAIL(err, BS_EIO, "no descriptor for kept maps: %s", strerror(errno));
    }
    if ((rc = bs__maps_create(m, m->channels, m->h, m->w, true, err)) != BS_OK)
        return rc;
    for (int c = 0; c < m->channels && rc == BS_OK; c++)
        rc = bs__maps_read(&file, c, 0, m->h, m->data + (size_t)c * m->h * m->w, err);
    return rc;
}

bs_status bs__kept_begin(const struct bs_segment_maps *kept, struct bs__maps *m, struct bs_err *err)
{
    size_t all;
    if (!bs_mul(map_bytes(m), planes_of(kept), &all) || all > kept->max_bytes)
        return BS_FAIL(err, BS_ELIMIT, "%zu MiB of maps are more than there is room for (%" PRIu64 " MiB)",
                       (map_bytes(m) >> 20) * planes_of(kept), kept->max_bytes >> 20);
    m->first = first_sample(kept, m);
    int failed = posix_fallocate(kept->fd, (off_t)(m->first * sizeof(float)), (off_t)map_bytes(m));
    if (failed != 0 && failed != EOPNOTSUPP && failed != EINVAL)
        return BS_FAIL(err, BS_EIO, "no room for %zu MiB of maps: %s", map_bytes(m) >> 20, strerror(failed));
    if ((m->fd = fcntl(kept->fd, F_DUPFD_CLOEXEC, 3)) < 0)
        return BS_FAIL(err, BS_EIO, "no descriptor for kept maps: %s", strerror(errno));
    return BS_OK;
}

bs_status bs__kept_write(const struct bs_segment_maps *kept, const struct bs__maps *m, struct bs_err *err)
{
    struct bs__maps file = *m;
    bs_status rc = BS_OK;
    file.data = NULL;
    file.fd = -1;
    if ((rc = bs__kept_begin(kept, &file, err)) == BS_OK) {
        for (int c = 0; c < m->channels && rc == BS_OK; c++)
            rc = bs__maps_write(&file, c, 0, 0, m->data + (size_t)c * m->h * m->w, m->h * m->w, err);
        close(file.fd);
    }
    return rc;
}
