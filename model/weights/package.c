/* See package.h. What the description means is in package_rdf.c. */
#include "model/weights/package_internal.h"

#include "kernels/base/sha256.h"
#include "model/weights/file_io.h"
#include "model/weights/yaml.h"
#include "model/weights/zip_read.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_ENTRIES 4096
#define MAX_RDF     ((uint64_t)1 << 20)
#define MAX_VALUES  ((size_t)1 << 16)
#define MAX_WEIGHTS ((uint64_t)4 << 30)
#define MAX_COMPRESSION                                                                                      \
    64 /* weights are nearly noise: what shrinks to less than this part was made to fill a disk */

static const char *const rdf_names[] = {"rdf.yaml", "bioimageio.yaml"};

static bool find(zip_t *zip, const char *name, zip_uint64_t *index)
{
    const zip_int64_t i = zip_name_locate(zip, name, ZIP_FL_ENC_RAW);
    *index = i < 0 ? 0 : (zip_uint64_t)i;
    return i >= 0;
}

static bool find_rdf(zip_t *zip, zip_uint64_t *index)
{
    for (size_t i = 0; i < sizeof rdf_names / sizeof *rdf_names; i++)
        if (find(zip, rdf_names[i], index))
            return true;
    return false;
}

bool bs__package_is_one(const char *path)
{
    int fd;
    char magic[4] = "";
    zip_t *zip = NULL;
    zip_uint64_t index;
    if (bs__file_open(path, &fd, NULL) != BS_OK)
        return false;
    if (bs__file_read_at(fd, 0, magic, sizeof magic, NULL) != BS_OK || memcmp(magic, "PK\3\4", 4) != 0) {
        close(fd);
        return false;
    }
    if (bs__zip_open(fd, &zip, NULL) != BS_OK)
        return false;
    const bool found = find_rdf(zip, &index);
    zip_discard(zip);
    return found;
}

static bs_status read_rdf(zip_t *zip, struct bs_json **out, struct bs_err *err)
{
    zip_uint64_t index;
    uint64_t size = 0;
    char *text = NULL;
    if (zip_get_num_entries(zip, 0) > MAX_ENTRIES)
        return BS_FAIL(err, BS_ELIMIT, "the package has %lld entries, at most %d are accepted",
                       (long long)zip_get_num_entries(zip, 0), MAX_ENTRIES);
    if (!find_rdf(zip, &index))
        return BS_FAIL(err, BS_EINVAL, "a zip archive, but not a bioimage.io package: it has no rdf.yaml");
    bs_status rc = bs__zip_size(zip, index, "rdf.yaml", MAX_RDF, &size, err);
    if (rc != BS_OK)
        return rc;
    if (!(text = malloc((size_t)size + 1)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for rdf.yaml");
    rc = bs__zip_read(zip, index, "rdf.yaml", text, (size_t)size, err);
    if (rc == BS_OK && (rc = bs__yaml_parse(text, (size_t)size, MAX_VALUES, out, err)) != BS_OK)
        bs_err_prefix(err, "rdf.yaml");
    free(text);
    return rc;
}

/* A file without a name in the folder of `beside`. */
static bs_status open_nameless(const char *beside, int *fd, struct bs_err *err)
{
    const char *slash = strrchr(beside, '/');
    char *path = NULL;
    if (asprintf(&path, "%.*s.bioseg-XXXXXX", slash ? (int)(slash - beside) + 1 : 0, beside) < 0)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a name");
    *fd = mkostemp(path, O_CLOEXEC);
    if (*fd >= 0)
        unlink(path);
    free(path);
    return *fd >= 0 ? BS_OK : BS_FAIL(err, BS_EIO, "cannot make a file to unpack into: %s", strerror(errno));
}

struct unpacking {
    int fd;
    struct bs_sha256 hash;
};

static bs_status take(void *ctx, const unsigned char *data, size_t bytes, struct bs_err *err)
{
    struct unpacking *u = ctx;
    bs_sha256_add(&u->hash, data, bytes);
    return bs__file_write(u->fd, data, bytes, err);
}

static bs_status unpack(zip_t *zip, const struct bs__package_weights *w, int fd, struct bs_err *err)
{
    zip_uint64_t index;
    zip_stat_t st;
    uint64_t size = 0;
    unsigned char digest[BS_SHA256_BYTES];
    char text[BS_SHA256_TEXT];
    struct unpacking u = {.fd = fd};
    if (!find(zip, w->source, &index))
        return BS_FAIL(err, BS_ECORRUPT, "the package lacks %.100s, which its rdf.yaml names", w->source);
    bs_status rc = bs__zip_size(zip, index, w->source, MAX_WEIGHTS, &size, err);
    if (rc != BS_OK)
        return rc;
    if (zip_stat_index(zip, index, 0, &st) != 0 || !(st.valid & ZIP_STAT_COMP_SIZE) ||
        size / MAX_COMPRESSION > st.comp_size + 1)
        return BS_FAIL(err, BS_ELIMIT, "%.100s would unpack to more than %d times its size", w->source,
                       MAX_COMPRESSION);
    bs_sha256_begin(&u.hash);
    if ((rc = bs__zip_stream(zip, index, w->source, size, take, &u, err)) != BS_OK)
        return rc;
    bs_sha256_end(&u.hash, digest);
    bs_sha256_text(digest, text);
    if (w->sha256 && strcmp(text, w->sha256) != 0)
        return BS_FAIL(err, BS_ECORRUPT, "%.100s is not what rdf.yaml says: its SHA-256 is %s", w->source,
                       text);
    return BS_OK;
}

bs_status bs__package_open(const char *path, const char *beside, struct bs__package *out, struct bs_err *err)
{
    bs_status rc;
    int fd;
    zip_t *zip = NULL;
    struct bs_json *rdf = NULL;
    struct bs__package_weights weights;
    *out = (struct bs__package){.fd = -1};
    if ((rc = bs__file_open(path, &fd, err)) != BS_OK || (rc = bs__zip_open(fd, &zip, err)) != BS_OK)
        return rc;
    if ((rc = read_rdf(zip, &rdf, err)) != BS_OK ||
        (rc = bs__package_describe(bs_json_root(rdf), &weights, out, err)) != BS_OK ||
        (rc = open_nameless(beside, &out->fd, err)) != BS_OK)
        goto cleanup;
    rc = unpack(zip, &weights, out->fd, err);
cleanup:
    bs_json_free(rdf);
    zip_discard(zip);
    return rc;
}

void bs__package_close(struct bs__package *p)
{
    if (p->fd >= 0)
        close(p->fd);
    free(p->model_info);
    *p = (struct bs__package){.fd = -1};
}
