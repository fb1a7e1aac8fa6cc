/* Chunks of an HDF5 volume: see hdf5_internal.h. libhdf5 says where a chunk lies and reads its bytes; its filters are undone here, in
   reverse order, because a deflated chunk may claim to be anything and libhdf5 gives it all the room it asks for. */
#include "model/dataset/hdf5_internal.h"

#include "kernels/base/checked.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define CHECKSUM_BYTES      4
#define MAX_CHUNKS_OF_PLANE ((size_t)1 << 18)
#define STORED_SLACK                                                                                         \
    ((size_t)4096) /* what deflate may add to numbers that do not get smaller, beside 1/64 of them */

static bs_status check_filters(struct bs__hdf5_volume *v, struct bs_err *err)
{
    v->nfilter = H5Pget_nfilters(v->plist);
    if (v->nfilter < 0)
        return bs__hdf5_fail(err, "its filters cannot be read");
    if (v->nfilter > BS__HDF5_MAX_FILTERS)
        return BS_FAIL(err, BS_EUNSUPPORTED, "its chunks go through %d filters; up to %d are accepted",
                       v->nfilter, BS__HDF5_MAX_FILTERS);
    for (int i = 0; i < v->nfilter; i++) {
        unsigned flags, value[8] = {0}, config;
        size_t values = sizeof value / sizeof *value;
        char name[64] = "";
        v->filter[i] =
            H5Pget_filter2(v->plist, (unsigned)i, &flags, &values, value, sizeof name, name, &config);
        if (v->filter[i] < 0)
            return bs__hdf5_fail(err, "its filters cannot be read");
        if (v->filter[i] != H5Z_FILTER_DEFLATE && v->filter[i] != H5Z_FILTER_SHUFFLE &&
            v->filter[i] != H5Z_FILTER_FLETCHER32)
            return BS_FAIL(err, BS_EUNSUPPORTED,
                           "its chunks went through filter %d (%.40s); gzip, shuffle and fletcher32 are "
                           "accepted: write it anew with one of them, or without",
                           (int)v->filter[i], name);
        if (v->filter[i] == H5Z_FILTER_SHUFFLE && values > 0 && value[0] != v->number.size)
            return BS_FAIL(err, BS_ECORRUPT, "bytes were shuffled as numbers of %u bytes, numbers have %zu",
                           value[0], v->number.size);
    }
    return BS_OK;
}

static bs_status check_chunks(struct bs__hdf5_volume *v, struct bs_err *err)
{
    size_t bytes = v->number.size, count = 1;
    if (H5Pget_chunk(v->plist, v->ndim, v->chunk) != v->ndim)
        return bs__hdf5_fail(err, "the size of its chunks cannot be read");
    for (int i = 0; i < v->ndim; i++) {
        if (v->chunk[i] == 0 || !bs_mul(bytes, (size_t)v->chunk[i], &bytes) || bytes > BS__HDF5_MAX_CHUNK)
            return BS_FAIL(err, BS_ELIMIT, "its chunks are larger than %zu MiB", BS__HDF5_MAX_CHUNK >> 20);
        if (i >= v->ndim - 2)
            count *= (size_t)((v->dim[i] + v->chunk[i] - 1) / v->chunk[i]);
    }
    if (count > MAX_CHUNKS_OF_PLANE)
        return BS_FAIL(err, BS_ELIMIT, "a plane lies in %zu chunks; up to %zu are accepted", count,
                       MAX_CHUNKS_OF_PLANE);
    v->chunk_bytes = bytes;
    return check_filters(v, err);
}

bs_status bs__hdf5_layout(struct bs__hdf5_volume *v, struct bs_err *err)
{
    if (H5Pget_external_count(v->plist) != 0)
        return BS_FAIL(err, BS_EUNSUPPORTED, "its numbers lie in other files; copy them into one");
    switch (H5Pget_layout(v->plist)) {
    case H5D_CONTIGUOUS:
    case H5D_COMPACT:
        return BS_OK;
    case H5D_CHUNKED:
        v->chunked = true;
        return check_chunks(v, err);
    case H5D_VIRTUAL:
        return BS_FAIL(err, BS_EUNSUPPORTED,
                       "it is a virtual volume, put together from others; copy it into one that is not");
    default:
        return bs__hdf5_fail(err, "its layout is not known");
    }
}

/* Fletcher's checksum over words of 16 bits, the first byte the higher one; sums modulo 65535. */
static uint32_t checksum(const unsigned char *data, size_t bytes)
{
    uint32_t first = 0, second = 0;
    for (size_t i = 0; i < bytes; i += 2) {
        first = (first + ((uint32_t)data[i] << 8 | (i + 1 < bytes ? data[i + 1] : 0u))) % 65535;
        second = (second + first) % 65535;
    }
    return second << 16 | first;
}

/* Sums of 65535 and 0 are the same modulo 65535; writers leave either. */
static bool sums_equal(uint32_t a, uint32_t b)
{
    return (a & 0xffff) % 65535 == (b & 0xffff) % 65535 && (a >> 16) % 65535 == (b >> 16) % 65535;
}

static bs_status verify(const unsigned char *data, size_t *bytes, struct bs_err *err)
{
    if (*bytes < CHECKSUM_BYTES)
        return BS_FAIL(err, BS_ECORRUPT, "a chunk is too short for its checksum");
    *bytes -= CHECKSUM_BYTES;
    const unsigned char *at = data + *bytes;
    const uint32_t stored =
        (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
    if (!sums_equal(checksum(data, *bytes), stored))
        return BS_FAIL(err, BS_ECORRUPT, "the checksum of a chunk is wrong");
    return BS_OK;
}

/* Bytes of equal weight lie together; puts those of one number together. */
static void unshuffle(const unsigned char *from, size_t bytes, size_t size, unsigned char *to)
{
    const size_t count = bytes / size;
    for (size_t k = 0; k < size; k++)
        for (size_t i = 0; i < count; i++)
            to[i * size + k] = from[k * count + i];
    memcpy(to + count * size, from + count * size, bytes - count * size);
}

static bs_status unpack(const unsigned char *from, size_t bytes, unsigned char *to, size_t room,
                        size_t *unpacked, struct bs_err *err)
{
    z_stream z = {.next_in = (Bytef *)from, .avail_in = (uInt)bytes, .next_out = to, .avail_out = (uInt)room};
    if (inflateInit(&z) != Z_OK)
        return BS_FAIL(err, BS_ENOMEM, "no memory to unpack a chunk");
    const int how = inflate(&z, Z_FINISH);
    *unpacked = room - z.avail_out;
    (void)inflateEnd(&z);
    if (how == Z_STREAM_END)
        return BS_OK;
    return BS_FAIL(err, BS_ECORRUPT, "a chunk cannot be unpacked, or is larger than it may be");
}

/* Two buffers of `room` bytes, between which filters go back and forth; data is in the first. */
struct unpacking {
    unsigned char *data, *other;
    size_t bytes, room;
};

static bs_status undo_filters(const struct bs__hdf5_volume *v, uint32_t skipped, struct unpacking *u,
                              struct bs_err *err)
{
    bs_status rc = BS_OK;
    for (int i = v->nfilter - 1; i >= 0 && rc == BS_OK; i--) {
        if (skipped >> i & 1)
            continue;
        if (v->filter[i] == H5Z_FILTER_FLETCHER32) {
            rc = verify(u->data, &u->bytes, err);
            continue;
        }
        if (v->filter[i] == H5Z_FILTER_SHUFFLE)
            unshuffle(u->data, u->bytes, v->number.size, u->other);
        else
            rc = unpack(u->data, u->bytes, u->other, u->room, &u->bytes, err);
        unsigned char *swapped = u->data;
        u->data = u->other;
        u->other = swapped;
    }
    if (rc == BS_OK && u->bytes != v->chunk_bytes)
        rc = BS_FAIL(err, BS_ECORRUPT, "a chunk has %zu bytes, it should have %zu", u->bytes, v->chunk_bytes);
    return rc;
}

/* A chunk that nobody wrote holds the fill value everywhere. */
static bs_status fill(const struct bs__hdf5_volume *v, struct unpacking *u, struct bs_err *err)
{
    unsigned char value[8] = {0};
    H5D_fill_value_t kind;
    if (H5Pfill_value_defined(v->plist, &kind) < 0 ||
        (kind == H5D_FILL_VALUE_USER_DEFINED && H5Pget_fill_value(v->plist, v->type, value) < 0))
        return bs__hdf5_fail(err, "its fill value cannot be read");
    for (size_t at = 0; at < v->chunk_bytes; at += v->number.size)
        memcpy(u->data + at, value, v->number.size);
    u->bytes = v->chunk_bytes;
    return BS_OK;
}

static bs_status read_chunk(const struct bs__hdf5_volume *v, const hsize_t *offset, struct unpacking *u,
                            struct bs_err *err)
{
    hsize_t stored = 0;
    uint32_t skipped = 0;
    if (H5Dget_chunk_storage_size(v->array, offset, &stored) < 0)
        return bs__hdf5_fail(err, "a chunk cannot be found");
    if (stored == 0)
        return fill(v, u, err);
    if (stored > u->room)
        return BS_FAIL(err, BS_ECORRUPT, "a chunk takes %llu bytes in the file, unpacked it should have %zu",
                       (unsigned long long)stored, v->chunk_bytes);
    if (H5Dread_chunk(v->array, H5P_DEFAULT, offset, &skipped, u->data) < 0)
        return bs__hdf5_fail(err, "a chunk cannot be read");
    u->bytes = (size_t)stored;
    return undo_filters(v, skipped, u, err);
}

static size_t at_most(hsize_t a, hsize_t b)
{
    return (size_t)(a < b ? a : b);
}

bs_status bs__hdf5_read_chunks(const struct bs__hdf5_volume *v, size_t plane_index, unsigned char *plane,
                               struct bs_err *err)
{
    const hsize_t *dim = v->dim + v->ndim - 2, *chunk = v->chunk + v->ndim - 2;
    const size_t size = v->number.size, width = (size_t)dim[1];
    hsize_t offset[3] = {0}, *corner = offset + v->ndim - 2;
    size_t inner = 0; /* plane within its chunks */
    bs_status rc = BS_OK;
    struct unpacking u = {.room = v->chunk_bytes + v->chunk_bytes / 64 + STORED_SLACK};
    if (v->ndim == 3) {
        inner = plane_index % (size_t)v->chunk[0];
        offset[0] = plane_index - inner;
    }
    u.data = malloc(u.room);
    u.other = malloc(u.room);
    if (!u.data || !u.other)
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for a chunk of %zu bytes", v->chunk_bytes);
    for (corner[0] = 0; corner[0] < dim[0] && rc == BS_OK; corner[0] += chunk[0])
        for (corner[1] = 0; corner[1] < dim[1] && rc == BS_OK; corner[1] += chunk[1]) {
            if ((rc = read_chunk(v, offset, &u, err)) != BS_OK)
                break;
            const size_t rows = at_most(chunk[0], dim[0] - corner[0]),
                         columns = at_most(chunk[1], dim[1] - corner[1]);
            for (size_t y = 0; y < rows; y++)
                memcpy(plane + (((size_t)corner[0] + y) * width + (size_t)corner[1]) * size,
                       u.data + (inner * (size_t)chunk[0] + y) * (size_t)chunk[1] * size, columns * size);
        }
    free(u.data);
    free(u.other);
    return rc;
}
