/* The zip-based format (since PyTorch 1.6): NAME/data.pkl, NAME/data/KEY per storage, NAME/byteorder; see torch_archive.h. */
#include "model/weights/torch_archive.h"
#include "model/weights/zip_read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_ENTRIES ((zip_int64_t)1 << 18)
#define MAX_PREFIX  512

struct bs__torch_zip {
    zip_t *zip;
    char prefix[MAX_PREFIX]; /* with its slash */
};

/* The one entry "NAME/data.pkl", NAME without a slash. */
static bs_status find_pickle(struct bs__torch_zip *z, zip_uint64_t *index, struct bs_err *err)
{
    const zip_int64_t n = zip_get_num_entries(z->zip, 0);
    bool found = false;
    if (n > MAX_ENTRIES)
        return BS_FAIL(err, BS_ELIMIT, "the archive has %lld entries, at most %lld are accepted",
                       (long long)n, (long long)MAX_ENTRIES);
    for (zip_int64_t i = 0; i < n; i++) {
        const char *name = zip_get_name(z->zip, (zip_uint64_t)i, ZIP_FL_ENC_RAW);
        const char *slash = name ? strchr(name, '/') : NULL;
        if (!slash)
            continue;
        const size_t len = (size_t)(slash - name) + 1;
        if (!strcmp(slash + 1, "constants.pkl"))
            return BS_FAIL(err, BS_EUNSUPPORTED, "this is a TorchScript archive; a state dict is needed");
        if (strcmp(slash + 1, "data.pkl") != 0)
            continue;
        if (found || len >= MAX_PREFIX)
            return BS_FAIL(err, BS_ECORRUPT, "the archive has %s",
                           found ? "two data.pkl" : "too long a name");
        found = true;
        *index = (zip_uint64_t)i;
        memcpy(z->prefix, name, len);
        z->prefix[len] = 0;
    }
    return found ? BS_OK : BS_FAIL(err, BS_EINVAL, "a zip archive, but not of PyTorch: it has no data.pkl");
}

static bs_status locate(struct bs__torch_zip *z, const char *name, zip_uint64_t *index)
{
    char full[MAX_PREFIX + BS__TORCH_MAX_KEY + 16];
    snprintf(full, sizeof full, "%s%s", z->prefix, name);
    const zip_int64_t i = zip_name_locate(z->zip, full, ZIP_FL_ENC_RAW);
    if (i < 0)
        return BS_ENOTFOUND;
    *index = (zip_uint64_t)i;
    return BS_OK;
}

static bs_status check_byte_order(struct bs__torch_zip *z, struct bs_err *err)
{
    zip_uint64_t index;
    uint64_t size = 0;
    char text[8] = "";
    if (locate(z, "byteorder", &index) != BS_OK)
        return BS_OK; /* files from before it was recorded are little-endian */
    bs_status rc = bs__zip_size(z->zip, index, "byteorder", sizeof text - 1, &size, err);
    if (rc == BS_OK)
        rc = bs__zip_read(z->zip, index, "byteorder", text, (size_t)size, err);
    if (rc == BS_OK && strcmp(text, "little") != 0)
        rc = BS_FAIL(err, BS_EUNSUPPORTED, "the checkpoint was written on a big-endian machine");
    return rc;
}

bs_status bs__torch_zip_open(int fd, struct bs__torch_zip **out, struct bs__pickle **pickle,
                             struct bs_err *err)
{
    bs_status rc;
    zip_uint64_t index = 0;
    uint64_t size = 0;
    size_t consumed;
    unsigned char *data = NULL;
    struct bs__torch_zip *z = calloc(1, sizeof *z);
    *out = NULL;
    *pickle = NULL;
    if (!z) {
        close(fd);
        return BS_FAIL(err, BS_ENOMEM, "no memory for an archive");
    }
    if ((rc = bs__zip_open(fd, &z->zip, err)) != BS_OK)
        goto cleanup;
    if ((rc = find_pickle(z, &index, err)) != BS_OK || (rc = check_byte_order(z, err)) != BS_OK ||
        (rc = bs__zip_size(z->zip, index, "data.pkl", BS__PICKLE_MAX_BYTES, &size, err)) != BS_OK)
        goto cleanup;
    if (!(data = malloc(size ? (size_t)size : 1))) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for data.pkl (%llu bytes)", (unsigned long long)size);
        goto cleanup;
    }
    if ((rc = bs__zip_read(z->zip, index, "data.pkl", data, (size_t)size, err)) != BS_OK ||
        (rc = bs__pickle_parse(data, (size_t)size, pickle, &consumed, err)) != BS_OK)
        goto cleanup;
    *out = z;
    z = NULL;
cleanup:
    free(data);
    bs__torch_zip_close(z);
    return rc;
}

void bs__torch_zip_close(struct bs__torch_zip *z)
{
    if (!z)
        return;
    if (z->zip)
        zip_discard(z->zip);
    free(z);
}

bs_status bs__torch_zip_read(struct bs__torch_zip *z, const char *key, void *dst, size_t bytes,
                             struct bs_err *err)
{
    char name[BS__TORCH_MAX_KEY + 16], what[BS__TORCH_MAX_KEY + 16];
    zip_uint64_t index;
    uint64_t size = 0;
    snprintf(name, sizeof name, "data/%s", key);
    snprintf(what, sizeof what, "storage %s", key);
    if (locate(z, name, &index) != BS_OK)
        return BS_FAIL(err, BS_ECORRUPT, "%s is not in the archive", what);
    bs_status rc = bs__zip_size(z->zip, index, what, BS__TORCH_MAX_STORAGE, &size, err);
    if (rc != BS_OK)
        return rc;
    if (size != bytes)
        return BS_FAIL(err, BS_ECORRUPT, "%s has %llu bytes, the pickle says %zu", what,
                       (unsigned long long)size, bytes);
    return bs__zip_read(z->zip, index, what, dst, bytes, err);
}
