/* Which of the two formats a file has, and the storage read last; see torch_archive.h. */
#include "model/weights/torch_archive.h"

#include "model/weights/file_io.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct bs__torch_archive {
    struct bs__torch_zip *zip; /* one of these two */
    struct bs__torch_legacy *legacy;
    struct bs__pickle *pickle;
    const char *cached; /* key; tensors that share a storage follow each other */
    unsigned char *cache;
    size_t cache_bytes;
};

static bs_status refuse(const unsigned char *begin, size_t n, struct bs_err *err)
{
    static const unsigned char hdf5[] = {0x89, 'H', 'D', 'F'};
    if (n >= 262 && !memcmp(begin + 257, "ustar", 5))
        return BS_FAIL(err, BS_EUNSUPPORTED,
                       "a checkpoint in the tar format of PyTorch 0.1; load and save it again");
    if (n >= 4 && !memcmp(begin, hdf5, sizeof hdf5))
        return BS_FAIL(err, BS_EINVAL, "an HDF5 file, not a PyTorch checkpoint");
    return BS_FAIL(err, BS_EINVAL, "not a PyTorch checkpoint (neither its zip format nor the one before)");
}

bs_status bs__torch_archive_open(int fd, struct bs__torch_archive **out, struct bs_err *err)
{
    static const unsigned char zip_magic[] = {'P', 'K', 3, 4};
    bs_status rc;
    unsigned char begin[512];
    uint64_t size = 0;
    struct bs__torch_archive *a = calloc(1, sizeof *a);
    *out = NULL;
    if (!a) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for a checkpoint");
        goto cleanup;
    }
    if ((rc = bs__file_size(fd, &size, err)) != BS_OK)
        goto cleanup;
    const size_t n = size < sizeof begin ? (size_t)size : sizeof begin;
    if ((rc = bs__file_read_at(fd, 0, begin, n, err)) != BS_OK)
        goto cleanup;
    if (n >= sizeof zip_magic && !memcmp(begin, zip_magic, sizeof zip_magic)) {
        rc = bs__torch_zip_open(fd, &a->zip, &a->pickle, err);
        fd = -1;
    } else if (bs__torch_legacy_magic(begin, n)) {
        rc = bs__torch_legacy_open(fd, &a->legacy, &a->pickle, err);
        fd = -1;
    } else {
        rc = refuse(begin, n, err);
    }
    if (rc != BS_OK)
        goto cleanup;
    *out = a;
    a = NULL;
cleanup:
    if (fd >= 0 && rc != BS_OK)
        close(fd);
    bs__torch_archive_close(a);
    return rc;
}

void bs__torch_archive_close(struct bs__torch_archive *a)
{
    if (!a)
        return;
    bs__torch_zip_close(a->zip);
    bs__torch_legacy_close(a->legacy);
    bs__pickle_free(a->pickle);
    free(a->cache);
    free(a);
}

const struct bs__pickle *bs__torch_archive_pickle(const struct bs__torch_archive *a)
{
    return a->pickle;
}

bs_status bs__torch_archive_storage(struct bs__torch_archive *a, const struct bs__torch_storage *s,
                                    const unsigned char **out, struct bs_err *err)
{
    const size_t bytes = (size_t)s->count * s->element_size; /* parsing has bounded it */
    /* The size as well: a hostile pickle may describe one storage in two ways. */
    if (!a->cached || strcmp(a->cached, s->key) != 0 || a->cache_bytes != bytes) {
        a->cached = NULL;
        free(a->cache);
        if (!(a->cache = malloc(bytes ? bytes : 1)))
            return BS_FAIL(err, BS_ENOMEM, "no memory for storage %s (%zu bytes)", s->key, bytes);
        bs_status rc = a->zip ? bs__torch_zip_read(a->zip, s->key, a->cache, bytes, err)
                              : bs__torch_legacy_read(a->legacy, s->key, a->cache, bytes, err);
        if (rc != BS_OK)
            return rc;
        a->cached = s->key;
        a->cache_bytes = bytes;
    }
    *out = a->cache;
    return BS_OK;
}
