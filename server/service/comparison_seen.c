/* Which images a version has learned from: those in the training and validation parts of the lists that it and its ancestors were
   trained with, by the hash of the file. The lists outlive their versions (server/store/origins.h), and a model file that was
   exported and imported again is known by its own hash. Any thread. */
#include "server/service/comparisons_internal.h"

#include "model/dataset/manifest.h"
#include "server/store/origins.h"
#include "server/training_json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_ANCESTORS 1000 /* as many as a lineage has steps */

static bs_status read_manifest(struct bs_services *s, const char *hash, struct bs_manifest *m,
                               struct bs_err *err)
{
    uint64_t bytes = 0;
    int fd = -1;
    bs_status rc = bs_blob_open(s->blobs, hash, &fd, &bytes, err);
    if (rc != BS_OK)
        return rc;
    char *text = bytes <= BS_MANIFEST_MAX_TEXT ? malloc((size_t)bytes + 1) : NULL;
    size_t done = 0;
    if (!text)
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for the list of images of a training run");
    while (rc == BS_OK && done < bytes) {
        ssize_t got = pread(fd, text + done, (size_t)bytes - done, (off_t)done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            rc = BS_FAIL(err, BS_EIO, "the list of images of a training run could not be read");
        else
            done += (size_t)got;
    }
    if (rc == BS_OK)
        rc = bs_manifest_parse(text, done, m, err);
    free(text);
    close(fd);
    return rc;
}

static int by_hash(const void *x, const void *y)
{
    return strcmp((*(struct bs_comparison_image *const *)x)->image,
                  (*(struct bs_comparison_image *const *)y)->image);
}

/* Images in the order of their hashes. */
struct sorted {
    struct bs_comparison_image **at;
    size_t count;
};

/* Notes a use of every image that the list has for training or validation. */
static bs_status note_list(struct sorted *images, const struct bs_manifest *m,
                           const struct bs_comparison_version *by, struct bs_err *err)
{
    bs_status rc = BS_OK;
    for (size_t i = 0; i < m->count && rc == BS_OK; i++) {
        struct bs_comparison_use use = {.by = *by};
        struct bs_comparison_image wanted, *key = &wanted;
        if (m->pair[i].part == BS_PART_TEST)
            continue;
        use.split = m->pair[i].part == BS_PART_TRAIN ? BS_SPLIT_TRAIN : BS_SPLIT_VALIDATION;
        memcpy(wanted.image, m->pair[i].image.sha256, sizeof wanted.image);
        struct bs_comparison_image **hit =
            bsearch(&key, images->at, images->count, sizeof *images->at, by_hash);
        if (!hit)
            continue;
        while (hit > images->at && by_hash(hit - 1, &key) == 0)
            hit--;
        for (; hit < images->at + images->count && by_hash(hit, &key) == 0 && rc == BS_OK; hit++)
            rc = bs_comparison_add_use(*hit, &use, err);
    }
    return rc;
}

static void name_version(struct bs_comparison_version *v, const char *name, int64_t version, const char *blob)
{
    (void)snprintf(v->name, sizeof v->name, "%s", name);
    (void)snprintf(v->blob, sizeof v->blob, "%s", blob ? blob : "");
    v->version = version;
}

/* One version of the chain; *next is its parent, with an empty name when it began with random weights. */
static bs_status note_version(struct bs_services *s, const struct bs_comparison_version *v,
                              struct sorted *sorted, struct bs_comparison_images *images,
                              struct bs_comparison_version *next, struct bs_err *err)
{
    struct bs_origin_record origin = {.name = NULL};
    struct bs_manifest m = {.channel = BS_PLANE_CHANNEL_ANY};
    struct bs_training_lineage lineage;
    struct bs_comparison_version made;
    memset(next, 0, sizeof *next);
    bs_status rc =
        bs_store_origin_get(s->store, v->name, v->version, v->blob[0] ? v->blob : NULL, &origin, err);
    if (rc == BS_ENOTFOUND)
        return bs_comparison_add_unknown(images, v, err);
    if (rc != BS_OK)
        return rc;
    name_version(&made, origin.name, origin.version, NULL);
    if ((rc = bs_training_lineage_from_json(origin.lineage_json, &lineage, err)) != BS_OK)
        goto cleanup;
    if (!origin.manifest_blob)
        rc = bs_comparison_add_unknown(images, &made, err);
    else if ((rc = read_manifest(s, origin.manifest_blob, &m, err)) == BS_OK)
        rc = note_list(sorted, &m, &made, err);
    name_version(next, lineage.parent, lineage.parent_version, lineage.parent_blob);
cleanup:
    bs_manifest_clear(&m);
    bs_origin_record_free(&origin);
    return rc;
}

bs_status bs__comparison_note_uses(struct bs_services *s, const struct bs_model_record *model,
                                   struct bs_comparison_images *images, struct bs_err *err)
{
    struct bs_model_info info;
    struct bs_comparison_version v, next;
    struct sorted sorted = {.count = images->count};
    bs_status rc = bs__model_info(model, &info, err);
    if (rc != BS_OK || (!info.trained && !model->lineage_json))
        return rc; /* random weights have learned from nothing */
    if (!(sorted.at = calloc(images->count + 1, sizeof *sorted.at)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for %zu images", images->count);
    for (size_t i = 0; i < images->count; i++)
        sorted.at[i] = &images->image[i];
    qsort(sorted.at, sorted.count, sizeof *sorted.at, by_hash);
    name_version(&v, model->name, model->version, model->blob);
    for (int i = 0; v.name[0] && rc == BS_OK; i++) {
        if (i == MAX_ANCESTORS)
            rc = BS_FAIL(err, BS_ELIMIT, "%s version %lld descends from more than %d others", model->name,
                         (long long)model->version, MAX_ANCESTORS);
        else if ((rc = note_version(s, &v, &sorted, images, &next, err)) == BS_OK)
            v = next;
    }
    free(sorted.at);
    return rc;
}
