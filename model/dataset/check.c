/* See check.h: what is wrong with a pair. Files come in the order of the manifest; the one decoded last is kept, since planes of a
   stack mostly follow one another. */
#include "model/dataset/check_internal.h"

#include "model/dataset/decode.h"
#include "model/dataset/label_ids.h"
#include "model/instances/instances.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Labels of at most so many ids, each in at least so many pieces on average, look like a mask of classes. */
#define SEMANTIC_IDS    3
#define SEMANTIC_PIECES 5

/* The file decoded last in one role, or why it cannot be. */
struct last {
    const struct bs_manifest_file *file;
    int64_t plane; /* of a volume */
    struct bs_image *image;
    struct bs__verified verified; /* the same file need not be hashed again */
    bs_status rc;
    char why[sizeof((struct bs_err *)0)->msg];
};

struct checking {
    struct bs__check c;
    const struct bs_file_opener *opener;
    struct last image, labels, prediction;
    bool trains, has_objects; /* is there a pair for training; has one of them an object */
};

static bool is_file(const struct last *last, const struct bs_manifest_file *file)
{
    return last->file && strcmp(last->file->name, file->name) == 0 &&
           strcmp(last->file->sha256, file->sha256) == 0;
}

static bool holds(const struct last *last, const struct bs_manifest_file *file, int64_t plane)
{
    const struct bs_manifest_file *have = last->file;
    if (!have || !is_file(last, file) || bs_raw_image_compare(&have->raw, &file->raw) != 0)
        return false;
    if (!have->volume || !file->volume)
        return !have->volume && !file->volume;
    return last->plane == plane && strcmp(have->volume, file->volume) == 0;
}

/* Not a property of the file: the check cannot go on. */
static bool ends_check(bs_status rc)
{
    return rc == BS_ENOMEM || rc == BS_EINTERNAL;
}

/* Borrowed until the next call with the same place; NULL: it was found to be unreadable. */
static const struct bs_image *decoded(struct checking *k, size_t pair, const struct bs_manifest_file *file,
                                      int64_t plane, struct last *last)
{
    struct bs_err err = {0};
    if (!holds(last, file, plane)) {
        int fd = -1;
        bs_image_unref(last->image);
        if (!is_file(last, file))
            last->verified.valid = false;
        *last = (struct last){.file = file, .plane = plane, .verified = last->verified};
        last->rc = bs__decode_open(k->opener, file, &last->verified, &fd, &err);
        if (last->rc == BS_OK)
            last->rc = bs__decode_file(fd, file, plane, k->c.rule->limits, &last->image, &err);
        if (fd >= 0)
            close(fd);
        memcpy(last->why, err.msg, sizeof last->why);
        if (last->rc != BS_OK && !ends_check(last->rc))
            bs__find(&k->c, BS_FINDING_UNREADABLE, false, pair, "\"%.200s\": %s.", file->name, last->why);
    }
    if (k->c.rc == BS_OK && ends_check(last->rc))
        k->c.rc = BS_FAIL(k->c.err, last->rc, "\"%.200s\": %.300s", file->name, last->why);
    return last->rc == BS_OK ? last->image : NULL;
}

/* What a failed reading of a plane says. */
static void say(struct checking *k, size_t pair, const char *name, enum bs_finding_kind kind, bs_status rc,
                const struct bs_err *err)
{
    if (!ends_check(rc))
        bs__find(&k->c, kind, false, pair, "\"%.200s\": %s.", name, err->msg);
    else if (k->c.rc == BS_OK)
        k->c.rc = BS_FAIL(k->c.err, rc, "\"%.200s\": %.300s", name, err->msg);
}

/* Is there a plane, a channel, and the size of the pair? Says so if not. */
static bool has_plane(struct checking *k, size_t pair, const struct bs_manifest_file *file,
                      const struct bs_image *image, int64_t index, int channel, const struct bs__pair_data *d)
{
    struct bs_plane plane;
    struct bs_err err = {0};
    bs_status rc = bs_plane_find(image, file->volume ? BS_PLANE_ONLY : index, &plane, &err);
    if (rc == BS_OK)
        rc = bs_plane_choose_channel(&plane, channel, &err);
    if (rc != BS_OK)
        say(k, pair, file->name, BS_FINDING_PLANE, rc, &err);
    else if (d->height && (plane.height != d->height || plane.width != d->width))
        bs__find(&k->c, BS_FINDING_SIZES, false, pair,
                 "\"%.200s\" has %zu x %zu pixels, its image has %zu x %zu (width x height).", file->name,
                 plane.width, plane.height, d->width, d->height);
    else
        return true;
    return false;
}

static bool constant(const float *v, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (v[i] != v[0])
            return false;
    return true;
}

static bool check_image(struct checking *k, size_t pair, struct bs__pair_data *d)
{
    const struct bs_manifest_pair *p = &k->c.m->pair[pair];
    const struct bs_image *image = decoded(k, pair, &p->image, p->image_plane, &k->image);
    struct bs_err err = {0};
    if (!image || !has_plane(k, pair, &p->image, image, p->image_plane, k->c.m->channel, d))
        return false;
    bs_status rc = bs__pair_data_image(k->c.m, p, image, d, &err);
    if (rc != BS_OK) {
        say(k, pair, p->image.name, BS_FINDING_SAMPLES, rc, &err);
        return false;
    }
    const struct bs_check_rule *rule = k->c.rule;
    if (constant(d->image, d->height * d->width))
        bs__find(&k->c, BS_FINDING_CONSTANT, false, pair, "\"%.200s\": all samples are %g.", p->image.name,
                 (double)d->image[0]);
    if (d->height < rule->patch_height || d->width < rule->patch_width)
        bs__find(&k->c, BS_FINDING_SMALL, true, pair,
                 "\"%.200s\" has %zu x %zu pixels, less than the training patch of %zu x %zu (width x "
                 "height): it is "
                 "filled up with zeros.",
                 p->image.name, d->width, d->height, rule->patch_width, rule->patch_height);
    return true;
}

/* What stands in the labels where they count; d->labels is changed. */
static void look_at_objects(struct checking *k, size_t pair, struct bs__pair_data *d)
{
    const struct bs_manifest_pair *p = &k->c.m->pair[pair];
    const size_t pixels = d->height * d->width;
    uint32_t *pieces = malloc(pixels * sizeof *pieces), ids = 0, components = 0;
    struct bs_err err = {0};
    size_t counted = 0;
    bs_status rc = BS_OK;
    if (!pieces)
        rc = BS_FAIL(&err, BS_ENOMEM, "no memory to look at %zu pixels", pixels);
    for (size_t i = 0; i < pixels; i++) {
        const bool counts = !d->ignored || !d->ignored[i];
        counted += counts;
        d->labels[i] = counts ? d->labels[i] : 0;
    }
    if (rc == BS_OK && (rc = bs__label_ids_number(d->labels, pixels, d->labels, &ids, &err)) == BS_OK)
        rc = bs_components_labels(d->labels, d->height, d->width, pieces, &components, &err);
    free(pieces);
    if (rc != BS_OK) {
        say(k, pair, p->labels.name, BS_FINDING_LABELS, rc, &err);
        return;
    }
    k->c.report->objects += ids;
    k->c.report->counted_pixels += counted;
    k->has_objects = k->has_objects || (p->part == BS_PART_TRAIN && ids > 0);
    if (counted == 0)
        bs__find(&k->c, BS_FINDING_NOTHING_COUNTS, false, pair, "\"%.200s\": no pixel counts: %s.",
                 p->labels.name,
                 bs__pair_needs_prediction(p)
                     ? "nothing of the prediction was corrected, and it is not marked done"
                     : "all are left out");
    else if (ids == 0)
        bs__find(&k->c, BS_FINDING_EMPTY, true, pair, "\"%.200s\": there is no object.", p->labels.name);
    else if (ids <= SEMANTIC_IDS && components >= SEMANTIC_PIECES * ids)
        bs__find(
            &k->c, BS_FINDING_SEMANTIC, true, pair,
            "\"%.200s\": %u labels in %u separate pieces look like a mask of classes; every object needs a "
            "number of its own.",
            p->labels.name, ids, components);
}

static bool check_labels(struct checking *k, size_t pair, struct bs__pair_data *d)
{
    const struct bs_manifest_pair *p = &k->c.m->pair[pair];
    const struct bs_image *image = decoded(k, pair, &p->labels, p->labels_plane, &k->labels);
    struct bs_err err = {0};
    if (!image || !has_plane(k, pair, &p->labels, image, p->labels_plane, BS_PLANE_CHANNEL_ANY, d))
        return false;
    bs_status rc = bs__pair_data_labels(k->c.m, p, image, d, &err);
    if (rc != BS_OK) {
        say(k, pair, p->labels.name, BS_FINDING_LABELS, rc, &err);
        return false;
    }
    if (bs__pair_needs_prediction(p)) {
        image = decoded(k, pair, &p->prediction, p->labels_plane, &k->prediction);
        if (!image || !has_plane(k, pair, &p->prediction, image, p->labels_plane, BS_PLANE_CHANNEL_ANY, d))
            return false;
        if ((rc = bs__pair_data_untouched(p, image, d, &err)) != BS_OK) {
            say(k, pair, p->prediction.name, BS_FINDING_LABELS, rc, &err);
            return false;
        }
    }
    look_at_objects(k, pair, d);
    return true;
}

/* Image and labels each say what is wrong with them; sizes are compared when there are both. */
static void check_pair(struct checking *k, size_t pair)
{
    struct bs_check_report *r = k->c.report;
    struct bs__pair_data d = {0};
    k->trains = k->trains || k->c.m->pair[pair].part == BS_PART_TRAIN;
    const bool image = check_image(k, pair, &d), labels = check_labels(k, pair, &d);
    if (image && labels) {
        r->min_height = r->pairs && r->min_height < d.height ? r->min_height : d.height;
        r->min_width = r->pairs && r->min_width < d.width ? r->min_width : d.width;
        r->max_height = r->max_height > d.height ? r->max_height : d.height;
        r->max_width = r->max_width > d.width ? r->max_width : d.width;
        r->pairs++;
    }
    bs__pair_data_free(&d);
}

bs_status bs_dataset_check(const struct bs_manifest *m, const struct bs_file_opener *opener,
                           const struct bs_check_rule *rule, const struct bs_cancel *cancel,
                           struct bs_check_report *report, struct bs_err *err)
{
    *report = (struct bs_check_report){0};
    struct checking k = {.c = {.m = m, .rule = rule, .report = report, .err = err}, .opener = opener};
    for (size_t i = 0; i < m->count && k.c.rc == BS_OK; i++) {
        if (bs_cancel_requested(cancel))
            k.c.rc = BS_FAIL(err, BS_ECANCELLED, "cancelled while a data set was checked");
        else
            check_pair(&k, i);
    }
    if (k.c.rc == BS_OK)
        bs__check_parts(&k.c);
    if (k.trains && !k.has_objects)
        bs__find(&k.c, BS_FINDING_NO_OBJECTS, false, BS_FINDING_NO_PAIR,
                 "No image for training has a labelled object.");
    bs_image_unref(k.image.image);
    bs_image_unref(k.labels.image);
    bs_image_unref(k.prediction.image);
    return k.c.rc;
}
