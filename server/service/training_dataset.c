/* The images of a training run: a dataset as it is now becomes a list of planes with what counts on them, which is the run's input.
   Any thread. */
#include "server/annotation.h"
#include "server/service/training_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 1000

/* A file, and what it is when it does not say so itself; borrows. */
static struct bs_manifest_file file_of(const char *name, const char *blob, const struct bs_file_info *info)
{
    struct bs_manifest_file f = {.name = (char *)(uintptr_t)name, .raw = bs__raw_of(info)};
    memcpy(f.sha256, blob, sizeof f.sha256);
    return f;
}

/* All planes of one pair of files on which something may count. */
static bs_status add_planes(struct bs_manifest *m, const struct bs_pair_record *p,
                            const struct bs_pair_info *info, const struct bs_annotation *a,
                            struct bs_err *err)
{
    struct bs_manifest_pair pair = {.image = file_of(p->name, p->image_blob, &info->image),
                                    .labels = file_of(p->name, p->labels_blob, &info->labels),
                                    .group = p->group[0] ? p->group : p->name,
                                    .part = p->split == BS_SPLIT_TRAIN        ? BS_PART_TRAIN
                                            : p->split == BS_SPLIT_VALIDATION ? BS_PART_VALIDATION
                                                                              : BS_PART_TEST,
                                    .has_ignore_label = a->has_ignore_label,
                                    .ignore_label = a->ignore_label};
    const uint64_t planes = bs_file_info_planes(&info->image);
    bs_status rc = BS_OK;
    /* What a person has marked done counts like what was drawn: the prediction says nothing any more. */
    if (p->prediction_blob && !a->done)
        pair.prediction = file_of(p->name, p->prediction_blob, &info->prediction);
    if (planes > BS_MANIFEST_MAX_PAIRS)
        return BS_FAIL(err, BS_ELIMIT, "%.200s has %" PRIu64 " planes; up to %zu are accepted", p->name,
                       planes, BS_MANIFEST_MAX_PAIRS);
    for (uint64_t i = 0; i < planes && rc == BS_OK; i++) {
        struct bs_annotation_plane on;
        if ((rc = bs_annotation_plane(a, &info->labels, i, &on, err)) != BS_OK)
            break;
        pair.image_plane = pair.labels_plane = planes > 1 ? (int64_t)i : BS_PLANE_ONLY;
        pair.only = on.only;
        pair.nonly = on.nonly;
        pair.ignore = on.ignore;
        pair.nignore = on.nignore;
        if (!on.nothing)
            rc = bs_manifest_add(m, &pair, err);
        bs_annotation_plane_clear(&on);
    }
    return rc;
}

/* A model's own predictions are no ground truth: a pair of them takes no part until it is marked done. */
static bs_status add_pair(struct bs__training *t, const struct bs_pair_record *p, struct bs_err *err)
{
    struct bs_pair_info info;
    struct bs_annotation a;
    bs_status rc = bs_annotation_from_json(p->annotation, &a, err);
    if (rc == BS_OK && a.predicted && !a.done && !p->prediction_blob)
        rc = bs_names_add(&t->left_out, p->name, err);
    else if (rc == BS_OK && (rc = bs_pair_info_from_json(p->info_json, &info, err)) == BS_OK)
        rc = add_planes(&t->manifest, p, &info, &a, err);
    bs_annotation_clear(&a);
    return rc;
}

static int by_name(const void *x, const void *y)
{
    return strcmp(((const struct bs_pair_record *)x)->name, ((const struct bs_pair_record *)y)->name);
}

/* All pairs of a dataset, by name: the order says which sample is which, so it must not be that of uploading. */
static bs_status list_pairs(struct bs_services *s, int64_t number, struct bs_pair_record **out, size_t *count,
                            struct bs_err *err)
{
    char after[sizeof(*out)->id] = "";
    bs_status rc = BS_OK;
    for (bool more = true; more && rc == BS_OK;) {
        struct bs_pair_record *page = NULL, *all;
        int n = 0;
        if ((rc = bs_store_pair_list(s->store, number, -1, after[0] ? after : NULL, PAGE, &page, &n, err)) !=
            BS_OK)
            break;
        more = n == PAGE;
        if ((all = realloc(*out, (*count + (size_t)n + 1) * sizeof *all))) {
            *out = all;
            if (n)
                memcpy(all + *count, page, (size_t)n * sizeof *all);
            *count += (size_t)n;
            if (n)
                memcpy(after, page[n - 1].id, sizeof after);
        } else {
            for (int i = 0; i < n; i++)
                bs_pair_record_free(&page[i]);
            rc = BS_FAIL(err, BS_ENOMEM, "no memory for the list of images");
        }
        free(page);
    }
    if (*count)
        qsort(*out, *count, sizeof **out, by_name);
    return rc;
}

/* Both parts are needed; what was left out is said with the reason. */
static bs_status check_counts(const struct bs_dataset_record *d, struct bs__training *t, struct bs_err *err)
{
    char why[160] = "";
    for (size_t i = 0; i < t->manifest.count; i++)
        t->count[t->manifest.pair[i].part]++;
    if (t->count[BS_PART_TRAIN] && t->count[BS_PART_VALIDATION])
        return BS_OK;
    if (t->left_out.count)
        (void)snprintf(why, sizeof why,
                       "; %zu are predictions that nobody has marked done, the first of them \"%.60s\"",
                       t->left_out.count, t->left_out.at[0]);
    return BS_FAIL(err, BS_EPRECONDITION,
                   "dataset %s has %zu images for training and %zu for validation; at least one of each is "
                   "needed%s",
                   d->name, t->count[BS_PART_TRAIN], t->count[BS_PART_VALIDATION], why);
}

bs_status bs__training_freeze(struct bs_services *s, const char *owner, const char *name, bool keep,
                              struct bs__training *t, struct bs_err *err)
{
    struct bs_dataset_record d = {.name = NULL};
    struct bs_pair_record *pairs = NULL;
    char *text = NULL;
    size_t n = 0;
    bs_status rc = bs__check_name("dataset", name, err);
    if (rc != BS_OK || (rc = bs_store_dataset_get(s->store, owner, name, &d, err)) != BS_OK)
        return rc;
    rc = list_pairs(s, d.number, &pairs, &n, err);
    for (size_t i = 0; i < n && rc == BS_OK; i++)
        rc = add_pair(t, &pairs[i], err);
    if (rc != BS_OK || (rc = check_counts(&d, t, err)) != BS_OK ||
        (rc = bs_manifest_hash(&t->manifest, t->request.dataset_hash, err)) != BS_OK ||
        (rc = bs_manifest_write(&t->manifest, &text, err)) != BS_OK)
        goto cleanup;
    t->request.dataset_number = d.number;
    (void)snprintf(t->request.dataset, sizeof t->request.dataset, "%s", d.name);
    rc = keep ? bs_blob_put(s->blobs, text, strlen(text), t->manifest_blob, err)
              : bs_blob_hash(text, strlen(text), t->manifest_blob, err);
cleanup:
    for (size_t i = 0; i < n; i++)
        bs_pair_record_free(&pairs[i]);
    free(pairs);
    free(text);
    bs_dataset_record_free(&d);
    return rc;
}
