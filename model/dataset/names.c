/* See names.h. */
#include "model/dataset/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bs_status bs_names_add(struct bs_names *n, const char *text, struct bs_err *err)
{
    if (n->count == n->room) {
        size_t room = n->room ? 2 * n->room : 32;
        char **at = realloc(n->at, room * sizeof *at);
        if (!at)
            return BS_FAIL(err, BS_ENOMEM, "no memory for a list of %zu names", n->count);
        n->at = at;
        n->room = room;
    }
    char *copy = strdup(text);
    if (!copy)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a list of %zu names", n->count);
    n->at[n->count++] = copy;
    return BS_OK;
}

static int by_bytes(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

void bs_names_sort(struct bs_names *n)
{
    if (n->count)
        qsort(n->at, n->count, sizeof *n->at, by_bytes);
}

void bs_names_clear(struct bs_names *n)
{
    for (size_t i = 0; i < n->count; i++)
        free(n->at[i]);
    free(n->at);
    *n = (struct bs_names){0};
}

/* Length of a name without its extension; a dot that begins the last part is none. */
static size_t stem_length(const char *name)
{
    const char *slash = strrchr(name, '/'), *part = slash ? slash + 1 : name, *dot = strrchr(part, '.');
    return dot && dot != part ? (size_t)(dot - name) : strlen(name);
}

/* One name without extension, by which files are looked up. */
struct stem {
    const char *text;
    size_t len, index;
};

static int by_stem(const void *left, const void *right)
{
    const struct stem *a = left, *b = right;
    size_t shorter = a->len < b->len ? a->len : b->len;
    int order = memcmp(a->text, b->text, shorter);
    return order ? order : a->len < b->len ? -1 : a->len > b->len;
}

static int by_stem_then_place(const void *left, const void *right)
{
    const struct stem *a = left, *b = right;
    int order = by_stem(a, b);
    return order ? order : a->index < b->index ? -1 : a->index > b->index;
}

static struct stem *sorted_stems(const struct bs_names *n, struct bs_err *err)
{
    struct stem *s = malloc((n->count + 1) * sizeof *s);
    if (!s) {
        (void)BS_FAIL(err, BS_ENOMEM, "no memory to pair %zu files", n->count);
        return NULL;
    }
    for (size_t i = 0; i < n->count; i++)
        s[i] = (struct stem){n->at[i], stem_length(n->at[i]), i};
    if (n->count)
        qsort(s, n->count, sizeof *s, by_stem_then_place);
    return s;
}

/* The first one of that stem. */
static const struct stem *find(const struct stem *s, size_t count, const char *text, size_t len)
{
    const struct stem key = {text, len, 0};
    const struct stem *one = count ? bsearch(&key, s, count, sizeof *s, by_stem) : NULL;
    while (one && one > s && by_stem(one - 1, one) == 0)
        one--;
    return one;
}

/* Does another file have the same stem? */
static bool is_double(const struct stem *s, size_t count, const struct stem *one)
{
    size_t i = (size_t)(one - s);
    return (i > 0 && by_stem(one - 1, one) == 0) || (i + 1 < count && by_stem(one, one + 1) == 0);
}

static bs_status report(struct bs_names *problems, const char *file, const char *sentence, const char *other,
                        struct bs_err *err)
{
    size_t room = strlen(file) + strlen(sentence) + strlen(other) + sizeof ": ";
    char *text = malloc(room);
    if (!text)
        return BS_FAIL(err, BS_ENOMEM, "no memory to report on a file");
    snprintf(text, room, "%s: %s%s", file, sentence, other);
    bs_status rc = bs_names_add(problems, text, err);
    free(text);
    return rc;
}

/* The label file of a stem: the same stem, or one with a usual ending. */
static bs_status find_label(const struct stem *labels, size_t count, const struct stem *image,
                            const struct stem **out, struct bs_err *err)
{
    static const char *const ending[] = {"",       "_label",    "_labels",  "_mask",   "_masks",
                                         "_seg",   "_cp_masks", "-label",   "-labels", "-mask",
                                         "-masks", "-seg",      "-cp_masks"};
    char *name = malloc(image->len + sizeof "_cp_masks");
    *out = NULL;
    if (!name)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a name of %zu bytes", image->len);
    memcpy(name, image->text, image->len);
    for (size_t i = 0; i < sizeof ending / sizeof *ending && !*out; i++) {
        size_t len = strlen(ending[i]);
        memcpy(name + image->len, ending[i], len);
        *out = find(labels, count, name, image->len + len);
    }
    free(name);
    return BS_OK;
}

/* What the search for pairs holds. */
struct pairing {
    const struct bs_names *images, *labels;
    struct stem *image, *label;
    bool *used; /* by label */
    struct bs_names *problems;
};

static bs_status pair_one(struct pairing *p, const struct stem *image, struct bs_name_pair *pair,
                          bool *paired, struct bs_err *err)
{
    const char *name = p->images->at[image->index];
    const struct stem *label;
    bs_status rc = find_label(p->label, p->labels->count, image, &label, err);
    *paired = false;
    if (rc != BS_OK)
        return rc;
    if (is_double(p->image, p->images->count, image)) {
        if (label)
            p->used[label->index] = true;
        return report(p->problems, name, "another image has the same name with another extension", "", err);
    }
    if (!label)
        return report(p->problems, name, "no label file has this name", "", err);
    const char *of = p->labels->at[label->index];
    if (is_double(p->label, p->labels->count, label)) {
        for (size_t i = 0; i < p->labels->count; i++)
            p->used[p->label[i].index] = p->used[p->label[i].index] || by_stem(&p->label[i], label) == 0;
        return report(p->problems, name, "more than one label file has this name, such as ", of, err);
    }
    if (p->used[label->index])
        return report(p->problems, name, "another image has the same label file, ", of, err);
    p->used[label->index] = true;
    *pair = (struct bs_name_pair){image->index, label->index};
    *paired = true;
    return BS_OK;
}

static int by_image(const void *left, const void *right)
{
    const struct bs_name_pair *a = left, *b = right;
    return a->image < b->image ? -1 : a->image > b->image;
}

bs_status bs_names_pair(const struct bs_names *images, const struct bs_names *labels,
                        struct bs_name_pair *pairs, size_t *count, struct bs_names *problems,
                        struct bs_err *err)
{
    bs_status rc = BS_OK;
    struct pairing p = {.images = images, .labels = labels, .problems = problems};
    *count = 0;
    if (!(p.image = sorted_stems(images, err)) || !(p.label = sorted_stems(labels, err))) {
        rc = BS_ENOMEM;
        goto cleanup;
    }
    if (!(p.used = calloc(labels->count + 1, sizeof *p.used))) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory to pair %zu files", labels->count);
        goto cleanup;
    }
    for (size_t i = 0; i < images->count && rc == BS_OK; i++) {
        bool paired;
        rc = pair_one(&p, &p.image[i], &pairs[*count], &paired, err);
        *count += rc == BS_OK && paired;
    }
    for (size_t i = 0; i < labels->count && rc == BS_OK; i++)
        if (!p.used[i])
            rc = report(problems, labels->at[i], "no image belongs to this label file", "", err);
    if (*count)
        qsort(pairs, *count, sizeof *pairs, by_image);

cleanup:
    free(p.image);
    free(p.label);
    free(p.used);
    return rc;
}

/* Does the pattern match the whole text? The last '*' seen is tried with one character more whenever what follows fails. */
static bool matches(const char *pattern, const char *text)
{
    const char *again = NULL, *from = NULL;
    while (*text) {
        if (*pattern == '*') {
            again = ++pattern;
            from = text;
        } else if (*pattern && (*pattern == '?' || *pattern == *text)) {
            pattern++;
            text++;
        } else if (again) {
            pattern = again;
            text = ++from;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return !*pattern;
}

bool bs_name_group(const char *pattern, const char *name, size_t *start, size_t *len)
{
    size_t before = strcspn(pattern, "*"), name_len = strlen(name);
    if (!pattern[before] || before > name_len)
        return false;
    for (size_t i = 0; i < before; i++)
        if (pattern[i] != '?' && pattern[i] != name[i])
            return false;
    for (size_t end = name_len + 1; end-- > before;)
        if (matches(pattern + before + 1, name + end)) {
            *start = before;
            *len = end - before;
            return true;
        }
    return false;
}
