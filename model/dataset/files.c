/* See files.h. Kept are pairs, and decoded files that several pairs are planes of: keys 0 .. pairs-1 of the cache, then the files'. */
#include "model/dataset/files.h"

#include "model/dataset/cache.h"
#include "model/dataset/decode.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { IMAGE, LABELS, PREDICTION, ROLES };

/* A file, however many pairs use it. */
struct source_file {
    const struct bs_manifest_file *file;
    size_t users;
    pthread_mutex_t mu; /* guards verified; taken before nothing */
    struct bs__verified verified;
};

struct item {
    const struct bs_manifest_pair *pair;
    size_t file[ROLES]; /* index; of the prediction only where it decides what counts */
};

struct bs_pair_files {
    const struct bs_manifest *manifest;
    struct bs_file_opener opener;
    struct bs_image_limits limits;
    struct item *item;
    struct source_file *file;
    size_t files;
    struct bs__cache *cache;
    struct bs_pair_source source;
};

static bs_status open_beneath(void *ctx, const struct bs_manifest_file *file, int *fd, struct bs_err *err)
{
    return bs_root_open_file(ctx, file->name, fd, err);
}

struct bs_file_opener bs_files_beneath(const struct bs_root *root)
{
    return (struct bs_file_opener){(void *)root, open_beneath};
}

/* A use of a file by an item, to bring uses of one file together. */
struct use {
    const struct bs_manifest_file *file;
    size_t item;
    int role;
};

static int by_name(const void *left, const void *right)
{
    const struct use *a = left, *b = right;
    int order = strcmp(a->file->name, b->file->name);
    if (!order)
        order = strcmp(a->file->sha256, b->file->sha256);
    return order ? order : bs_raw_image_compare(&a->file->raw, &b->file->raw);
}

static bs_status list_files(struct bs_pair_files *f, struct bs_err *err)
{
    struct use *use = malloc(ROLES * f->source.count * sizeof *use);
    size_t uses = 0;
    if (!use)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a data set of %zu pairs", f->source.count);
    for (size_t i = 0; i < f->source.count; i++) {
        const struct bs_manifest_pair *p = f->item[i].pair;
        use[uses++] = (struct use){&p->image, i, IMAGE};
        use[uses++] = (struct use){&p->labels, i, LABELS};
        if (bs__pair_needs_prediction(p))
            use[uses++] = (struct use){&p->prediction, i, PREDICTION};
    }
    qsort(use, uses, sizeof *use, by_name);
    if (!(f->file = calloc(uses, sizeof *f->file))) {
        free(use);
        return BS_FAIL(err, BS_ENOMEM, "no memory for a data set of %zu pairs", f->source.count);
    }
    for (size_t i = 0; i < uses; i++) {
        if (i == 0 || by_name(&use[i], &use[i - 1]) != 0) {
            f->file[f->files].file = use[i].file;
            pthread_mutex_init(&f->file[f->files++].mu, NULL);
        }
        f->file[f->files - 1].users++;
        f->item[use[i].item].file[use[i].role] = f->files - 1;
    }
    free(use);
    return BS_OK;
}

/* Decodes a file, of one with volumes the plane of the volume that `as` names; returns new ref. */
static bs_status decode(struct bs_pair_files *f, struct source_file *s, const struct bs_manifest_file *as,
                        int64_t plane, struct bs_image **out, struct bs_err *err)
{
    int fd = -1;
    pthread_mutex_lock(&s->mu);
    bs_status rc = bs__decode_open(&f->opener, s->file, &s->verified, &fd, err);
    pthread_mutex_unlock(&s->mu);
    if (rc == BS_OK) {
        rc = bs__decode_file(fd, as, plane, &f->limits, out, err);
        close(fd);
    }
    if (rc != BS_OK)
        (void)bs_err_prefix(err, "\"%.200s\"", s->file->name);
    return rc;
}

/* A decoded file during the making of a pair: kept together with its other planes, or of this pair alone. */
struct taken {
    struct bs_image *image;
    size_t key; /* of the cache; 0: not from there */
};

static bs_status take(struct bs_pair_files *f, size_t file, const struct bs_manifest_file *as, int64_t plane,
                      struct taken *out, struct bs_err *err)
{
    struct source_file *s = &f->file[file];
    void *value = NULL;
    bs_status rc;
    if (s->users == 1 || as->volume)
        return decode(f, s, as, plane, &out->image, err);
    if ((rc = bs__cache_take(f->cache, f->source.count + file, &value, err)) != BS_OK)
        return rc;
    *out = (struct taken){value, f->source.count + file};
    return BS_OK;
}

static void give_back(struct bs_pair_files *f, struct taken *t)
{
    if (t->key)
        bs__cache_give_back(f->cache, t->key);
    else
        bs_image_unref(t->image);
}

static bs_status make_pair(struct bs_pair_files *f, size_t index, void **value, size_t *bytes,
                           struct bs_err *err)
{
    const struct item *item = &f->item[index];
    struct taken taken[ROLES] = {0};
    const int roles = bs__pair_needs_prediction(item->pair) ? ROLES : PREDICTION;
    struct bs__pair_data *d = calloc(1, sizeof *d);
    bs_status rc = d ? BS_OK : BS_FAIL(err, BS_ENOMEM, "no memory for a training image");
    const struct bs_manifest_file *const files[ROLES] = {&item->pair->image, &item->pair->labels,
                                                         &item->pair->prediction};
    for (int role = 0; role < roles && rc == BS_OK; role++)
        rc = take(f, item->file[role], files[role],
                  role == IMAGE ? item->pair->image_plane : item->pair->labels_plane, &taken[role], err);
    if (rc == BS_OK) {
        struct bs__pair_images from = {taken[IMAGE].image, taken[LABELS].image, taken[PREDICTION].image};
        rc = bs__pair_data_make(f->manifest, item->pair, &from, d, err);
    }
    for (int role = 0; role < roles; role++)
        give_back(f, &taken[role]);
    if (rc != BS_OK) {
        free(d);
        return rc;
    }
    *value = d;
    *bytes = d->height * d->width * (sizeof *d->image + sizeof *d->labels + (d->ignored ? 1 : 0));
    return BS_OK;
}

static bs_status make(void *ctx, size_t key, void **value, size_t *bytes, struct bs_err *err)
{
    struct bs_pair_files *f = ctx;
    if (key < f->source.count)
        return make_pair(f, key, value, bytes, err);
    struct bs_image *image = NULL;
    struct source_file *s = &f->file[key - f->source.count];
    bs_status rc = decode(f, s, s->file, BS_PLANE_ONLY, &image, err);
    if (rc == BS_OK)
        *bytes = image->bytes;
    *value = image;
    return rc;
}

static void unmake(void *ctx, size_t key, void *value)
{
    const struct bs_pair_files *f = ctx;
    if (key >= f->source.count) {
        bs_image_unref(value);
        return;
    }
    bs__pair_data_free(value);
    free(value);
}

static bs_status load(void *ctx, size_t index, struct bs_pair *pair, struct bs_err *err)
{
    struct bs_pair_files *f = ctx;
    void *value = NULL;
    bs_status rc = bs__cache_take(f->cache, index, &value, err);
    if (rc != BS_OK)
        return rc;
    const struct bs__pair_data *d = value;
    *pair = (struct bs_pair){.image = d->image,
                             .labels = d->labels,
                             .ignored = d->ignored,
                             .channels = 1,
                             .height = d->height,
                             .width = d->width,
                             .held = &f->item[index]};
    return BS_OK;
}

static void release(void *ctx, struct bs_pair *pair)
{
    struct bs_pair_files *f = ctx;
    bs__cache_give_back(f->cache, (size_t)((const struct item *)pair->held - f->item));
}

bs_status bs_pair_files_create(const struct bs_manifest *manifest, const struct bs_file_opener *opener,
                               const struct bs_pair_files_rule *rule, struct bs_pair_files **out,
                               struct bs_err *err)
{
    bs_status rc = BS_OK;
    *out = NULL;
    struct bs_pair_files *f = calloc(1, sizeof *f);
    if (!f || !(f->item = calloc(manifest->count ? manifest->count : 1, sizeof *f->item))) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for a data set of %zu pairs", manifest->count);
        goto cleanup;
    }
    f->manifest = manifest;
    f->opener = *opener;
    f->limits = rule->limits ? *rule->limits : bs_image_default_limits;
    f->source = (struct bs_pair_source){.ctx = f, .channels = 1, .load = load, .release = release};
    for (size_t i = 0; i < manifest->count; i++)
        if (rule->parts & BS_PART_BIT(manifest->pair[i].part)) {
            f->item[f->source.count++].pair = &manifest->pair[i];
            f->source.partial = f->source.partial || bs__pair_is_partial(manifest, &manifest->pair[i]);
        }
    if (f->source.count == 0) {
        rc =
            BS_FAIL(err, BS_EPRECONDITION, "of the %zu pairs of the data set none is for %s", manifest->count,
                    rule->parts == BS_PART_BIT(BS_PART_TRAIN)        ? "training"
                    : rule->parts == BS_PART_BIT(BS_PART_VALIDATION) ? "validation"
                    : rule->parts == BS_PART_BIT(BS_PART_TEST)       ? "testing"
                                                                     : "this");
        goto cleanup;
    }
    const struct bs__cache_maker maker = {f, make, unmake};
    if ((rc = list_files(f, err)) != BS_OK ||
        (rc = bs__cache_create(f->source.count + f->files, rule->cache_bytes, &maker, &f->cache, err)) !=
            BS_OK)
        goto cleanup;
    *out = f;
    f = NULL;

cleanup:
    bs_pair_files_destroy(f);
    return rc;
}

void bs_pair_files_destroy(struct bs_pair_files *f)
{
    if (!f)
        return;
    bs__cache_destroy(f->cache);
    for (size_t i = 0; i < f->files; i++)
        pthread_mutex_destroy(&f->file[i].mu);
    free(f->file);
    free(f->item);
    free(f);
}

const struct bs_pair_source *bs_pair_files_source(const struct bs_pair_files *f)
{
    return &f->source;
}

const struct bs_manifest_pair *bs_pair_files_pair(const struct bs_pair_files *f, size_t index)
{
    BS_ASSERT(index < f->source.count);
    return f->item[index].pair;
}
