/* See collect.h: folders, and hashes. */
#include "model/dataset/collect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What one collecting works with. */
struct collecting {
    const struct bs_root *root;
    const struct bs_collect_rule *rule;
    struct bs_names images, labels; /* relative to their folders */
    struct bs_names *problems;
    struct bs_manifest *m;
    struct bs_err *err;
};

static bs_status problem(struct collecting *c, const char *name, const char *why)
{
    char text[1024];
    (void)snprintf(text, sizeof text, "\"%.400s\": %.500s", name, why);
    return bs_names_add(c->problems, text, c->err);
}

/* folder/name; the caller frees it. */
static char *joined(const char *folder, const char *name)
{
    const size_t room = strlen(folder) + strlen(name) + 2;
    char *path = malloc(room);
    if (path)
        (void)snprintf(path, room, "%s%s%s", folder, *folder ? "/" : "", name);
    return path;
}

/* Planes of a file; 0: it cannot be read, and that has been noted. */
static bs_status count_planes(struct collecting *c, const char *path, size_t *planes)
{
    struct bs_image *image = NULL;
    struct bs_err why = {0};
    int fd = -1;
    bs_status rc = bs_root_open_file(c->root, path, &fd, &why);
    *planes = 0;
    if (rc == BS_OK) {
        rc = bs_image_decode_fd(fd, c->rule->limits, &image, &why);
        close(fd);
    }
    if (rc == BS_ENOMEM)
        return BS_FAIL(c->err, BS_ENOMEM, "\"%.200s\": %.200s", path, why.msg);
    if (rc != BS_OK)
        return problem(c, path, why.msg);
    *planes = bs_plane_count(image);
    bs_image_unref(image);
    return BS_OK;
}

/* The group of an image's name; NULL: no memory. */
static char *group_of(const struct collecting *c, const char *name, bool *matches)
{
    size_t start = 0, len = strlen(name);
    *matches = !c->rule->group || bs_name_group(c->rule->group, name, &start, &len);
    return strndup(name + (*matches ? start : 0), *matches ? len : 0);
}

static bs_status add_planes(struct collecting *c, char *image, char *labels, char *group)
{
    size_t planes = 0, label_planes = 0;
    char why[128];
    bs_status rc;
    if ((rc = count_planes(c, image, &planes)) != BS_OK || planes == 0 ||
        (rc = count_planes(c, labels, &label_planes)) != BS_OK || label_planes == 0)
        return rc;
    if (planes != label_planes) {
        (void)snprintf(why, sizeof why, "it has %zu planes, its image has %zu", label_planes, planes);
        return problem(c, labels, why);
    }
    struct bs_manifest_pair pair = {.image.name = image, .labels.name = labels, .group = group};
    for (size_t i = 0; i < planes && rc == BS_OK; i++) {
        pair.image_plane = pair.labels_plane = planes > 1 ? (int64_t)i : BS_PLANE_ONLY;
        rc = bs_manifest_add(c->m, &pair, c->err);
    }
    return rc;
}

static bs_status add_files(struct collecting *c, const char *image_name, const char *labels_name)
{
    bool matches = false;
    char *image = joined(c->rule->images, image_name), *labels = joined(c->rule->labels, labels_name),
         *group = group_of(c, image_name, &matches);
    bs_status rc;
    if (!image || !labels || !group)
        rc = BS_FAIL(c->err, BS_ENOMEM, "no memory to collect a data set");
    else if (!matches || !*group)
        rc = problem(c, image, "its name does not say which group it is of");
    else
        rc = add_planes(c, image, labels, group);
    free(image);
    free(labels);
    free(group);
    return rc;
}

/* Parts of the pairs from `first` on. */
static bs_status split(struct collecting *c, size_t first)
{
    const size_t count = c->m->count - first;
    const char **group = malloc((count + 1) * sizeof *group);
    enum bs_part *part = malloc((count + 1) * sizeof *part);
    bs_status rc;
    if (!group || !part)
        rc = BS_FAIL(c->err, BS_ENOMEM, "no memory to split %zu pairs", count);
    else {
        for (size_t i = 0; i < count; i++)
            group[i] = c->m->pair[first + i].group;
        rc = bs_split(group, count, c->rule->seed, c->rule->validation, c->rule->test, part, c->err);
        for (size_t i = 0; i < count && rc == BS_OK; i++)
            c->m->pair[first + i].part = part[i];
    }
    free(group);
    free(part);
    return rc;
}

bs_status bs_collect_folders(const struct bs_root *root, const struct bs_collect_rule *rule,
                             const struct bs_cancel *cancel, struct bs_manifest *m, struct bs_names *problems,
                             struct bs_err *err)
{
    struct collecting c = {.root = root, .rule = rule, .problems = problems, .m = m, .err = err};
    struct bs_name_pair *pairs = NULL;
    const size_t first = m->count;
    size_t count = 0;
    bs_status rc;
    if (strcmp(rule->images, rule->labels) == 0)
        return BS_FAIL(err, BS_EINVAL, "images and labels are both in \"%.200s\"; two folders are accepted",
                       rule->images);
    if ((rc = bs_root_list(root, rule->images, &c.images, err)) != BS_OK ||
        (rc = bs_root_list(root, rule->labels, &c.labels, err)) != BS_OK)
        goto cleanup;
    if (!(pairs = malloc((c.images.count + 1) * sizeof *pairs))) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for %zu pairs", c.images.count);
        goto cleanup;
    }
    rc = bs_names_pair(&c.images, &c.labels, pairs, &count, problems, err);
    for (size_t i = 0; i < count && rc == BS_OK; i++)
        rc = bs_cancel_requested(cancel)
                 ? BS_FAIL(err, BS_ECANCELLED, "cancelled while a data set was collected")
                 : add_files(&c, c.images.at[pairs[i].image], c.labels.at[pairs[i].label]);
    if (rc == BS_OK && m->count > first)
        rc = split(&c, first);

cleanup:
    bs_names_clear(&c.images);
    bs_names_clear(&c.labels);
    free(pairs);
    return rc;
}

/* Files of the manifest beside each other when they are the same. */
static int by_name(const void *left, const void *right)
{
    return strcmp((*(struct bs_manifest_file *const *)left)->name,
                  (*(struct bs_manifest_file *const *)right)->name);
}

static bs_status hash_file(struct bs_manifest_file *file, const struct bs_file_opener *opener,
                           struct bs_err *err)
{
    int fd = -1;
    bs_status rc = opener->open(opener->ctx, file, &fd, err);
    if (rc != BS_OK)
        return rc;
    if ((rc = bs_sha256_file(fd, file->sha256, err)) != BS_OK)
        (void)bs_err_prefix(err, "\"%.200s\"", file->name);
    close(fd);
    return rc;
}

bs_status bs_collect_hashes(struct bs_manifest *m, const struct bs_file_opener *opener,
                            const struct bs_cancel *cancel, struct bs_err *err)
{
    struct bs_manifest_file **file = malloc((3 * m->count + 1) * sizeof *file);
    size_t count = 0;
    bs_status rc = BS_OK;
    if (!file)
        return BS_FAIL(err, BS_ENOMEM, "no memory to hash the files of %zu pairs", m->count);
    for (size_t i = 0; i < m->count; i++) {
        struct bs_manifest_file *const of_pair[] = {&m->pair[i].image, &m->pair[i].labels,
                                                    &m->pair[i].prediction};
        for (int k = 0; k < 3; k++)
            if (of_pair[k]->name && !*of_pair[k]->sha256)
                file[count++] = of_pair[k];
    }
    if (count)
        qsort(file, count, sizeof *file, by_name);
    for (size_t i = 0; i < count && rc == BS_OK; i++) {
        if (bs_cancel_requested(cancel))
            rc = BS_FAIL(err, BS_ECANCELLED, "cancelled while a data set was hashed");
        else if (i > 0 && by_name(&file[i], &file[i - 1]) == 0)
            memcpy(file[i]->sha256, file[i - 1]->sha256, sizeof file[i]->sha256);
        else
            rc = hash_file(file[i], opener, err);
    }
    free(file);
    return rc;
}
