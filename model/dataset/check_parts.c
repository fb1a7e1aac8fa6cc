/* See check.h: what is wrong between pairs. */
#include "model/dataset/check_internal.h"

#include <stdlib.h>
#include <string.h>

/* Both orders keep pairs of one part together, so that one look at neighbours finds every part that a group or image is in. */
static int by_group(const void *left, const void *right)
{
    const struct bs_manifest_pair *a = *(const struct bs_manifest_pair *const *)left,
                                  *b = *(const struct bs_manifest_pair *const *)right;
    int order = strcmp(a->group, b->group);
    return order ? order : (a->part > b->part) - (a->part < b->part);
}

static int by_image_and_part(const void *left, const void *right)
{
    const struct bs_manifest_pair *a = *(const struct bs_manifest_pair *const *)left,
                                  *b = *(const struct bs_manifest_pair *const *)right;
    int order = bs_manifest_compare_images(a, b);
    return order ? order : (a->part > b->part) - (a->part < b->part);
}

static void check_groups(struct bs__check *c, const struct bs_manifest_pair **sorted)
{
    qsort(sorted, c->m->count, sizeof *sorted, by_group);
    for (size_t i = 1; i < c->m->count; i++) {
        const struct bs_manifest_pair *a = sorted[i - 1], *b = sorted[i];
        if (a->part != b->part && strcmp(a->group, b->group) == 0)
            bs__find(c, BS_FINDING_TORN_GROUP, c->rule->groups_may_be_torn, BS_FINDING_NO_PAIR,
                     "The group \"%.150s\" is torn: \"%.150s\" is for %s, \"%.150s\" for %s; what is "
                     "measured on one "
                     "says little about new images.",
                     a->group, a->image.name, bs_part_name(a->part), b->image.name, bs_part_name(b->part));
    }
}

static void check_images(struct bs__check *c, const struct bs_manifest_pair **sorted)
{
    qsort(sorted, c->m->count, sizeof *sorted, by_image_and_part);
    for (size_t i = 1; i < c->m->count; i++) {
        const struct bs_manifest_pair *a = sorted[i - 1], *b = sorted[i];
        if (bs_manifest_compare_images(a, b) != 0)
            continue;
        if (a->part != b->part)
            bs__find(c, BS_FINDING_SHARED_IMAGE, false, (size_t)(b - c->m->pair),
                     "\"%.150s\" (%s) and \"%.150s\" (%s) are the same image.", a->image.name,
                     bs_part_name(a->part), b->image.name, bs_part_name(b->part));
        else
            bs__find(c, BS_FINDING_DUPLICATE, true, (size_t)(b - c->m->pair),
                     "\"%.150s\" and \"%.150s\" are the same image, both for %s.", a->image.name,
                     b->image.name, bs_part_name(b->part));
    }
}

void bs__check_parts(struct bs__check *c)
{
    const struct bs_manifest_pair **sorted = malloc((c->m->count + 1) * sizeof *sorted);
    if (!sorted) {
        if (c->rc == BS_OK)
            c->rc = BS_FAIL(c->err, BS_ENOMEM, "no memory to compare %zu pairs", c->m->count);
        return;
    }
    for (size_t i = 0; i < c->m->count; i++)
        sorted[i] = &c->m->pair[i];
    if (c->m->count) {
        check_images(c, sorted);
        check_groups(c, sorted);
    }
    free(sorted);
}
