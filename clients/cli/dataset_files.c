/* Pairing local files. See dataset_files.h. */
#include "clients/cli/dataset_files.h"

#include "clients/cli/upload.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Length of the longest folder, with its slash, that holds all of these files. */
static size_t common_folder(const struct bs__inputs *in)
{
    const char *first = in->item[0].path;
    size_t n = strlen(first);
    for (size_t i = 1; i < in->count; i++) {
        size_t k = 0;
        while (k < n && first[k] == in->item[i].path[k])
            k++;
        n = k;
    }
    while (n > 0 && first[n - 1] != '/')
        n--;
    return n;
}

static bs_status names_below(const struct bs__inputs *in, struct bs_names *names, struct bs_err *err)
{
    size_t skip = common_folder(in);
    for (size_t i = 0; i < in->count; i++) {
        bs_status rc = bs_names_add(names, in->item[i].path + skip, err);
        if (rc != BS_OK)
            return rc;
    }
    return BS_OK;
}

static bs_status hash_file(struct bs__dataset_file *f, const char *path, struct bs_err *err)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    int fd = -1;
    uint8_t *buffer = malloc(BS__CHUNK_BYTES);
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bs_status rc;
    f->path = path;
    if ((rc = bs__upload_open(path, &fd, &f->bytes, err)) != BS_OK)
        goto cleanup;
    if (!buffer || !md || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory to read %s", path);
        goto cleanup;
    }
    for (uint64_t at = 0; at < f->bytes;) {
        ssize_t n = pread(fd, buffer, BS__CHUNK_BYTES, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            rc = BS_FAIL(err, BS_EIO, "cannot read %s: %s", path,
                         n < 0 ? strerror(errno) : "it became shorter");
            goto cleanup;
        }
        EVP_DigestUpdate(md, buffer, (size_t)n);
        at += (uint64_t)n;
    }
    EVP_DigestFinal_ex(md, digest, &size);
    for (unsigned i = 0; i < size; i++)
        snprintf(f->sha256 + 2 * i, 3, "%02x", digest[i]);
cleanup:
    EVP_MD_CTX_free(md);
    free(buffer);
    if (fd >= 0)
        close(fd);
    return rc;
}

/* The pair's name and group; a name that the pattern does not fit is a problem. */
static bs_status name_pair(struct bs__dataset_files *f, struct bs__dataset_pair *p, const char *name,
                           const char *pattern, struct bs_err *err)
{
    size_t start = 0, len = 0;
    char text[512];
    if (pattern && !bs_name_group(pattern, name, &start, &len)) {
        snprintf(text, sizeof text, "%.200s does not fit the pattern '%.100s' that names its group", name,
                 pattern);
        return bs_names_add(&f->problems, text, err);
    }
    p->name = strdup(name);
    p->group = strndup(name + start, len);
    return p->name && p->group ? BS_OK : BS_FAIL(err, BS_ENOMEM, "no memory for a list of files");
}

bs_status bs__dataset_files_collect(char *const *images, size_t nimage, char *const *labels, size_t nlabel,
                                    const char *pattern, struct bs__dataset_files *out, struct bs_err *err)
{
    struct bs_names image_names = {0}, label_names = {0};
    struct bs_name_pair *pairs = NULL;
    size_t n = 0;
    bs_status rc;
    memset(out, 0, sizeof *out);
    if (bs__inputs_collect(images, nimage, true, NULL, &out->images, err) != BS_OK) {
        rc = bs_err_prefix(err, "images");
        goto cleanup;
    }
    if (bs__inputs_collect(labels, nlabel, true, NULL, &out->labels, err) != BS_OK) {
        rc = bs_err_prefix(err, "labels");
        goto cleanup;
    }
    pairs = calloc(out->images.count, sizeof *pairs);
    out->pair = calloc(out->images.count, sizeof *out->pair);
    if (!pairs || !out->pair) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for a list of files");
        goto cleanup;
    }
    if ((rc = names_below(&out->images, &image_names, err)) != BS_OK ||
        (rc = names_below(&out->labels, &label_names, err)) != BS_OK ||
        (rc = bs_names_pair(&image_names, &label_names, pairs, &n, &out->problems, err)) != BS_OK)
        goto cleanup;
    for (size_t i = 0; i < n; i++) {
        struct bs__dataset_pair *p = &out->pair[out->count];
        if ((rc = name_pair(out, p, image_names.at[pairs[i].image], pattern, err)) != BS_OK)
            goto cleanup;
        if (!p->name)
            continue;
        out->count++;
        if ((rc = hash_file(&p->image, out->images.item[pairs[i].image].path, err)) != BS_OK ||
            (rc = hash_file(&p->labels, out->labels.item[pairs[i].label].path, err)) != BS_OK)
            goto cleanup;
    }
cleanup:
    free(pairs);
    bs_names_clear(&image_names);
    bs_names_clear(&label_names);
    if (rc != BS_OK)
        bs__dataset_files_free(out);
    return rc;
}

/* Pairs that have one go on; the others are told and leave. */
static bs_status take_predictions(struct bs__dataset_files *f, const struct bs_names *images,
                                  const struct bs_name_pair *found, size_t n, struct bs_err *err)
{
    size_t kept = 0, next = 0;
    BS_ASSERT(images->at || n == 0);
    for (size_t i = 0; i < f->count; i++) {
        struct bs__dataset_pair p = f->pair[i];
        while (next < n && strcmp(images->at[found[next].image], p.name) < 0)
            next++;
        bs_status rc = BS_OK;
        if (next < n && strcmp(images->at[found[next].image], p.name) == 0) {
            rc = hash_file(&p.prediction, f->predictions.item[found[next].label].path, err);
            f->pair[kept++] = p;
        } else {
            free(p.name);
            free(p.group);
        }
        if (rc != BS_OK) {
            for (size_t k = i + 1; k < f->count; k++)
                f->pair[kept++] = f->pair[k];
            f->count = kept;
            return rc;
        }
    }
    f->count = kept;
    return BS_OK;
}

static int by_image(const void *a, const void *b)
{
    const struct bs_name_pair *x = a, *y = b;
    return (x->image > y->image) - (x->image < y->image);
}

static int by_pair_name(const void *a, const void *b)
{
    return strcmp(((const struct bs__dataset_pair *)a)->name, ((const struct bs__dataset_pair *)b)->name);
}

bs_status bs__dataset_files_predictions(struct bs__dataset_files *f, char *const *files, size_t count,
                                        struct bs_err *err)
{
    struct bs_names images = {0}, predictions = {0};
    struct bs_name_pair *found = NULL;
    size_t n = 0;
    bs_status rc = BS_OK;
    if (bs__inputs_collect(files, count, true, NULL, &f->predictions, err) != BS_OK)
        return bs_err_prefix(err, "predictions");
    if (f->count)
        qsort(f->pair, f->count, sizeof *f->pair, by_pair_name);
    for (size_t i = 0; i < f->count && rc == BS_OK; i++)
        rc = bs_names_add(&images, f->pair[i].name, err);
    if (rc == BS_OK && !(found = calloc(f->count + 1, sizeof *found)))
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for a list of files");
    if (rc == BS_OK && (rc = names_below(&f->predictions, &predictions, err)) == BS_OK &&
        (rc = bs_names_pair(&images, &predictions, found, &n, &f->problems, err)) == BS_OK) {
        if (n)
            qsort(found, n, sizeof *found, by_image);
        rc = take_predictions(f, &images, found, n, err);
    }
    free(found);
    bs_names_clear(&images);
    bs_names_clear(&predictions);
    return rc;
}

void bs__dataset_files_free(struct bs__dataset_files *f)
{
    for (size_t i = 0; f->pair && i < f->count; i++) {
        free(f->pair[i].name);
        free(f->pair[i].group);
    }
    free(f->pair);
    bs_names_clear(&f->problems);
    bs__inputs_free(&f->images);
    bs__inputs_free(&f->labels);
    bs__inputs_free(&f->predictions);
    memset(f, 0, sizeof *f);
}
