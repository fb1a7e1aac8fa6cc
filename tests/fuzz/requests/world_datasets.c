/* One dataset of two pairs, "cells" of "ann", and an engine that finds every pair fine; see world.h. */
#include "tests/fuzz/requests/world.h"

#include "server/pair_info.h"
#include "server/store/datasets.h"

#include <stdlib.h>
#include <string.h>

#define REQUIRE(cond) ((cond) ? (void)0 : abort())
#define HASH          "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define OTHER_HASH    "123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0"

static const struct bs_pair_info pair_info = {
    .image = {.sample = BS_SAMPLE_U8, .ndim = 2, .axes = "yx", .dim = {4, 4}},
    .labels = {.sample = BS_SAMPLE_U16, .ndim = 2, .axes = "yx", .dim = {4, 4}},
    .objects = 1};

static char *copy(const char *text)
{
    char *c = strdup(text);
    REQUIRE(c);
    return c;
}

bs_status bs_engine_check_pair(struct bs_engine *e, const int fd[3], const struct bs_pair_question *question,
                               struct bs_pair_info *info, struct bs_err *err)
{
    (void)e;
    (void)err;
    REQUIRE(fd[0] >= 0 && fd[1] >= 0 && question->has_prediction == (fd[2] >= 0));
    *info = pair_info;
    info->has_prediction = question->has_prediction;
    info->prediction = info->labels;
    return BS_OK;
}

const char *bs_split_name(enum bs_split split)
{
    REQUIRE((unsigned)split < BS_SPLITS);
    return "train";
}

static void fill_dataset(struct bs_dataset_record *d)
{
    *d = (struct bs_dataset_record){.number = 1,
                                    .name = copy("cells"),
                                    .owner = copy("ann"),
                                    .project = copy(""),
                                    .labels = copy("{\"plate\":\"7\"}"),
                                    .description = copy("cells\nof ours"),
                                    .licence = copy("CC0"),
                                    .created_ms = 1,
                                    .pairs = {1, 1, 0},
                                    .bytes = 32};
}

void bs_dataset_record_free(struct bs_dataset_record *d)
{
    char *const texts[] = {d->name, d->owner, d->project, d->labels, d->description, d->licence};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        free(texts[i]);
    memset(d, 0, sizeof *d);
}

bs_status bs_store_dataset_add(struct bs_store *s, struct bs_dataset_record *d, struct bs_err *err)
{
    (void)s;
    REQUIRE(d->name[0] && strcmp(d->owner, "ann") == 0 && d->labels[0] == '{');
    if (strcmp(d->name, "cells") == 0)
        return BS_FAIL(err, BS_EEXIST, "there is one");
    d->number = 2;
    d->created_ms = 2;
    return BS_OK;
}

bs_status bs_store_dataset_get(struct bs_store *s, const char *owner, const char *name,
                               struct bs_dataset_record *out, struct bs_err *err)
{
    (void)s;
    if (strcmp(owner, "ann") != 0 || strcmp(name, "cells") != 0)
        return BS_FAIL(err, BS_ENOTFOUND, "no such dataset");
    fill_dataset(out);
    return BS_OK;
}

bs_status bs_store_dataset_list(struct bs_store *s, const struct bs_dataset_filter *filter, const char *after,
                                int limit, struct bs_dataset_record **out, int *count, struct bs_err *err)
{
    (void)s;
    (void)err;
    REQUIRE(limit >= 1 && limit <= 1001 && strcmp(filter->owner, "ann") == 0 &&
            (!filter->labels || filter->labels[0] == '{'));
    *count = after && *after ? 0 : limit < 2 ? limit : 2;
    REQUIRE((*out = calloc((size_t)limit, sizeof **out)));
    for (int i = 0; i < *count; i++)
        fill_dataset(&(*out)[i]);
    return BS_OK;
}

bs_status bs_store_dataset_delete(struct bs_store *s, const char *owner, const char *name, struct bs_err *err)
{
    (void)s;
    return strcmp(owner, "ann") == 0 && strcmp(name, "cells") == 0
               ? BS_OK
               : BS_FAIL(err, BS_ENOTFOUND, "no such dataset");
}

bs_status bs_store_dataset_shared_groups(struct bs_store *s, int64_t number, char ***out, int *count,
                                         struct bs_err *err)
{
    (void)s;
    (void)err;
    REQUIRE(number == 1 && (*out = calloc(1, sizeof **out)));
    (*out)[0] = copy("stack");
    *count = 1;
    return BS_OK;
}

static void fill_pair(struct bs_pair_record *p, int i)
{
    struct bs_err err;
    *p = (struct bs_pair_record){.id = "pair",
                                 .name = copy(i ? "b.png" : "a.png"),
                                 .group = copy(i ? "" : "stack"),
                                 .split = i ? BS_SPLIT_VALIDATION : BS_SPLIT_TRAIN,
                                 .image_blob = copy(i ? OTHER_HASH : HASH),
                                 .labels_blob = copy(HASH),
                                 .annotation = copy(i ? "{}" : "{\"ignore_label\":255,\"done\":true}"),
                                 .image_bytes = 16,
                                 .labels_bytes = 16,
                                 .created_ms = 1};
    REQUIRE(bs_pair_info_to_json(&pair_info, &p->info_json, &err) == BS_OK);
}

void bs_pair_record_free(struct bs_pair_record *p)
{
    char *const texts[] = {p->name,      p->group,      p->image_blob,     p->labels_blob,
                           p->info_json, p->annotation, p->prediction_blob};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        free(texts[i]);
    memset(p, 0, sizeof *p);
}

bs_status bs_store_pair_add(struct bs_store *s, const struct bs_pair_addition *how, struct bs_pair_record *p,
                            bool *existing, struct bs_err *err)
{
    struct bs_pair_info info;
    (void)s;
    REQUIRE(strcmp(how->owner, "ann") == 0 && strcmp(how->dataset, "cells") == 0);
    REQUIRE(p->name[0] && strlen(p->name) <= 255 && strlen(p->group) <= 255 &&
            (unsigned)p->split < BS_SPLITS);
    REQUIRE(strlen(p->image_blob) == 64 && strlen(p->labels_blob) == 64 && p->image_bytes && p->labels_bytes);
    REQUIRE(bs_pair_info_from_json(p->info_json, &info, err) == BS_OK);
    *existing = false;
    strcpy(p->id, "new");
    return BS_OK;
}

bs_status bs_store_pair_list(struct bs_store *s, int64_t dataset, int split, const char *after, int limit,
                             struct bs_pair_record **out, int *count, struct bs_err *err)
{
    (void)s;
    (void)err;
    REQUIRE(dataset == 1 && split >= -1 && split < BS_SPLITS && limit >= 1 && limit <= 1001);
    *count = after && *after ? 0 : limit < 2 ? limit : 2;
    REQUIRE((*out = calloc((size_t)limit, sizeof **out)));
    for (int i = 0; i < *count; i++)
        fill_pair(&(*out)[i], i);
    return BS_OK;
}

bs_status bs_store_file_of_owner(struct bs_store *s, const char *owner, const char *sha256, uint64_t *bytes,
                                 struct bs_err *err)
{
    (void)s;
    REQUIRE(strcmp(owner, "ann") == 0);
    if (strlen(sha256) != 64)
        return BS_FAIL(err, BS_EINVAL, "no hash");
    *bytes = 16;
    return sha256[0] == '0' ? BS_OK : BS_FAIL(err, BS_ENOTFOUND, "not held");
}

bs_status bs_store_pair_delete(struct bs_store *s, const char *owner, const char *dataset, const char *id,
                               struct bs_err *err)
{
    (void)s;
    REQUIRE(strcmp(owner, "ann") == 0 && dataset[0] && id[0]);
    return strcmp(id, "pair") == 0 ? BS_OK : BS_FAIL(err, BS_ENOTFOUND, "no such pair");
}

bs_status bs_store_pair_get(struct bs_store *s, const char *owner, const char *dataset, const char *id,
                            struct bs_pair_record *out, struct bs_err *err)
{
    (void)s;
    if (strcmp(owner, "ann") != 0 || strcmp(dataset, "cells") != 0 || strcmp(id, "pair") != 0)
        return BS_FAIL(err, BS_ENOTFOUND, "no such pair");
    fill_pair(out, 0);
    return BS_OK;
}

bs_status bs_store_pair_annotate(struct bs_store *s, const char *owner, const char *dataset, const char *id,
                                 const char *annotation, const char *info_json, struct bs_err *err)
{
    (void)s;
    (void)err;
    REQUIRE(strcmp(owner, "ann") == 0 && strcmp(dataset, "cells") == 0 && strcmp(id, "pair") == 0 &&
            annotation[0] == '{' && info_json[0] == '{');
    return BS_OK;
}
