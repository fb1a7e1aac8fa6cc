/* See hdf5.h. */
#include "model/dataset/hdf5_internal.h"

#include "kernels/base/checked.h"
#include "model/image/plane.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* libhdf5 has state of its own that not every build of it guards; this guards all of it. Taken last. */
static pthread_mutex_t library = PTHREAD_MUTEX_INITIALIZER;

static herr_t first_words(unsigned n, const H5E_error2_t *e, void *text)
{
    if (n == 0 && e->desc)
        (void)snprintf(text, 160, "%s", e->desc);
    return 0;
}

bs_status bs__hdf5_fail(struct bs_err *err, const char *what)
{
    char text[160] = "damaged file";
    (void)H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, first_words, text);
    return BS_FAIL(err, BS_ECORRUPT, "%s: %s", what, text);
}

static void close_volume(struct bs__hdf5_volume *v)
{
    if (v->space >= 0)
        (void)H5Sclose(v->space);
    if (v->type >= 0)
        (void)H5Tclose(v->type);
    if (v->plist >= 0)
        (void)H5Pclose(v->plist);
    if (v->array >= 0)
        (void)H5Dclose(v->array);
    if (v->file >= 0)
        (void)H5Fclose(v->file);
}

static bs_status open_file(struct bs__hdf5_volume *v, int fd, struct bs_err *err)
{
    char path[64];
    bs_status rc = BS_OK;
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    /* Nobody writes to files that training reads, and some file systems have no locks. */
    if (access < 0 || H5Pset_file_locking(access, false, true) < 0 ||
        H5Pset_fclose_degree(access, H5F_CLOSE_STRONG) < 0)
        rc = bs__hdf5_fail(err, "libhdf5 cannot be set up");
    else if ((v->file = H5Fopen(path, H5F_ACC_RDONLY, access)) < 0)
        rc = bs__hdf5_fail(err, "it is no readable HDF5 file");
    if (access >= 0)
        (void)H5Pclose(access);
    return rc;
}

/* Goes down one part; *at is closed and replaced. Links that are not to something in the same place are not followed. */
static bs_status step(hid_t *at, const char *part, struct bs_err *err)
{
    H5L_info_t link;
    H5O_info_t object;
    if (H5Lexists(*at, part, H5P_DEFAULT) <= 0 || H5Lget_info(*at, part, &link, H5P_DEFAULT) < 0)
        return BS_FAIL(err, BS_ENOTFOUND, "there is no \"%.100s\" in the file", part);
    if (link.type != H5L_TYPE_HARD)
        return BS_FAIL(err, BS_EUNSUPPORTED,
                       "\"%.100s\" is a link to somewhere else; copy what it points to into the file", part);
    hid_t next = H5Oopen(*at, part, H5P_DEFAULT);
    if (next < 0)
        return bs__hdf5_fail(err, "a part of the volume's name cannot be opened");
    (void)H5Oclose(*at);
    *at = next;
    if (H5Oget_info2(next, &object, H5O_INFO_BASIC) < 0)
        return bs__hdf5_fail(err, "a part of the volume's name cannot be looked at");
    return BS_OK;
}

static bs_status find_array(struct bs__hdf5_volume *v, const char *volume, struct bs_err *err)
{
    char part[256];
    bs_status rc = BS_OK;
    hid_t at = H5Gopen2(v->file, "/", H5P_DEFAULT);
    if (at < 0)
        return bs__hdf5_fail(err, "its first group cannot be opened");
    for (const char *rest = volume; rc == BS_OK && rest;) {
        const size_t len = strcspn(rest, "/");
        if (len == 0 || len >= sizeof part || (len <= 2 && strncmp(rest, "..", len) == 0))
            rc = BS_FAIL(err, BS_EINVAL, "\"%.100s\" is no name of a volume", volume);
        else if (H5Iget_type(at) != H5I_GROUP)
            rc = BS_FAIL(err, BS_ENOTFOUND, "there is no volume \"%.100s\" in the file", volume);
        else {
            memcpy(part, rest, len);
            part[len] = '\0';
            rest = rest[len] ? rest + len + 1 : NULL;
            rc = step(&at, part, err);
        }
    }
    if (rc == BS_OK && H5Iget_type(at) != H5I_DATASET)
        rc = BS_FAIL(err, BS_ENOTFOUND, "\"%.100s\" is no array", volume);
    if (rc != BS_OK)
        (void)H5Oclose(at);
    else
        v->array = at;
    return rc;
}

static bs_status check_size(struct bs__hdf5_volume *v, const struct bs_image_limits *limits,
                            struct bs_err *err)
{
    size_t pixels, bytes;
    v->ndim = H5Sget_simple_extent_ndims(v->space);
    if (v->ndim != 2 && v->ndim != 3)
        return BS_FAIL(err, BS_EUNSUPPORTED, "it has %d dimensions; (z, y, x) or (y, x) are accepted",
                       v->ndim);
    if (H5Sget_simple_extent_dims(v->space, v->dim, NULL) < 0)
        return bs__hdf5_fail(err, "its size cannot be read");
    const hsize_t height = v->dim[v->ndim - 2], width = v->dim[v->ndim - 1];
    for (int i = 0; i < v->ndim; i++)
        if (v->dim[i] == 0 || v->dim[i] > INT32_MAX)
            return BS_FAIL(err, BS_EUNSUPPORTED, "size %llu along dimension %d; 1 to %d are accepted",
                           (unsigned long long)v->dim[i], i, INT32_MAX);
    if (!bs_mul((size_t)height, (size_t)width, &pixels) || !bs_mul(pixels, v->number.size, &bytes) ||
        pixels > limits->max_pixels || bytes > limits->max_bytes)
        return BS_FAIL(err, BS_ELIMIT, "planes of %llu x %llu pixels are over the limit of %zu pixels",
                       (unsigned long long)width, (unsigned long long)height, limits->max_pixels);
    return BS_OK;
}

static bs_status open_volume(struct bs__hdf5_volume *v, int fd, const char *volume,
                             const struct bs_image_limits *limits, struct bs_err *err)
{
    bs_status rc;
    *v = (struct bs__hdf5_volume){.file = H5I_INVALID_HID,
                                  .array = H5I_INVALID_HID,
                                  .plist = H5I_INVALID_HID,
                                  .type = H5I_INVALID_HID,
                                  .space = H5I_INVALID_HID};
    (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL); /* nothing is printed */
    if (H5PLset_loading_state(0) < 0)
        return BS_FAIL(err, BS_EINTERNAL, "the plugins of libhdf5 cannot be switched off");
    if ((rc = open_file(v, fd, err)) != BS_OK || (rc = find_array(v, volume, err)) != BS_OK)
        return rc;
    if ((v->plist = H5Dget_create_plist(v->array)) < 0 || (v->type = H5Dget_type(v->array)) < 0 ||
        (v->space = H5Dget_space(v->array)) < 0)
        return bs__hdf5_fail(err, "the description of the volume cannot be read");
    if ((rc = bs__hdf5_number_of(v->type, &v->number, err)) != BS_OK ||
        (rc = check_size(v, limits, err)) != BS_OK)
        return rc;
    return bs__hdf5_layout(v, err);
}

/* Of a volume without filters. */
static bs_status read_directly(const struct bs__hdf5_volume *v, size_t plane_index, unsigned char *plane,
                               struct bs_err *err)
{
    hsize_t start[3] = {0}, count[3];
    bs_status rc = BS_OK;
    memcpy(count, v->dim, sizeof count);
    if (v->ndim == 3) {
        start[0] = plane_index;
        count[0] = 1;
    }
    hid_t memory = H5Screate_simple(v->ndim, count, NULL);
    if (memory < 0 || H5Sselect_hyperslab(v->space, H5S_SELECT_SET, start, NULL, count, NULL) < 0 ||
        H5Dread(v->array, v->type, memory, v->space, H5P_DEFAULT, plane) < 0)
        rc = bs__hdf5_fail(err, "its numbers cannot be read");
    if (memory >= 0)
        (void)H5Sclose(memory);
    return rc;
}

static bs_status read_plane(const struct bs__hdf5_volume *v, int64_t plane, struct bs_image **out,
                            struct bs_err *err)
{
    const size_t dim[2] = {(size_t)v->dim[v->ndim - 2], (size_t)v->dim[v->ndim - 1]},
                 planes = v->ndim == 3 ? (size_t)v->dim[0] : 1, pixels = dim[0] * dim[1];
    unsigned char *raw = NULL;
    bs_status rc;
    if (plane == BS_PLANE_ONLY && planes > 1)
        return BS_FAIL(err, BS_EINVAL, "the volume has %zu planes; one plane at a time is taken", planes);
    if (plane != BS_PLANE_ONLY && (plane < 0 || (uint64_t)plane >= planes))
        return BS_FAIL(err, BS_EINVAL, "plane %lld: the volume has %zu, so 0 to %zu are accepted",
                       (long long)plane, planes, planes - 1);
    const size_t index = plane == BS_PLANE_ONLY ? 0 : (size_t)plane;
    if ((rc = bs_image_create(v->number.into, "yx", dim, NULL, out, err)) != BS_OK)
        return rc;
    if (!(raw = malloc(pixels * v->number.size)))
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for a plane of %zu x %zu pixels", dim[1], dim[0]);
    else
        rc = v->chunked ? bs__hdf5_read_chunks(v, index, raw, err) : read_directly(v, index, raw, err);
    if (rc == BS_OK)
        rc = bs__hdf5_convert(&v->number, raw, pixels, (*out)->data, err);
    free(raw);
    if (rc != BS_OK) {
        bs_image_unref(*out);
        *out = NULL;
    }
    return rc;
}

bs_status bs_hdf5_size(int fd, const char *volume, const struct bs_image_limits *limits,
                       struct bs_hdf5_size *out, struct bs_err *err)
{
    struct bs__hdf5_volume v;
    pthread_mutex_lock(&library);
    bs_status rc = open_volume(&v, fd, volume, limits ? limits : &bs_image_default_limits, err);
    if (rc == BS_OK)
        *out = (struct bs_hdf5_size){.planes = v.ndim == 3 ? (size_t)v.dim[0] : 0,
                                     .height = (size_t)v.dim[v.ndim - 2],
                                     .width = (size_t)v.dim[v.ndim - 1]};
    close_volume(&v);
    pthread_mutex_unlock(&library);
    return rc;
}

bs_status bs_hdf5_read_plane(int fd, const char *volume, int64_t plane, const struct bs_image_limits *limits,
                             struct bs_image **out, struct bs_err *err)
{
    struct bs__hdf5_volume v;
    *out = NULL;
    pthread_mutex_lock(&library);
    bs_status rc = open_volume(&v, fd, volume, limits ? limits : &bs_image_default_limits, err);
    if (rc == BS_OK)
        rc = read_plane(&v, plane, out, err);
    close_volume(&v);
    pthread_mutex_unlock(&library);
    return rc;
}
