/* See split.h. */
#include "model/dataset/split.h"

#include "model/dataset/random.h"

#include <stdlib.h>
#include <string.h>

struct item {
    const char *group;
    size_t index;
};

/* A run of items of one group, in the list sorted by groups. */
struct group {
    size_t first, count;
};

static int by_group(const void *left, const void *right)
{
    const struct item *a = left, *b = right;
    int order = strcmp(a->group, b->group);
    return order ? order : a->index < b->index ? -1 : a->index > b->index;
}

/* Hands groups to one part, from *next on, leaving `spare` of them; none when nothing is wished for. */
static void take_share(const struct group *groups, const size_t *order, size_t ngroup, size_t spare,
                       double wanted, const struct item *items, enum bs_part which, size_t *next,
                       enum bs_part *part)
{
    double have = 0;
    for (bool first = true; wanted > 0 && *next + spare < ngroup; first = false) {
        const struct group *g = &groups[order[*next]];
        double with = have + (double)g->count, above = with - wanted, below = wanted - have;
        if (!first && (have >= wanted || above > below))
            return;
        for (size_t i = 0; i < g->count; i++)
            part[items[g->first + i].index] = which;
        have = with;
        (*next)++;
    }
}

bs_status bs_split(const char *const *group, size_t count, uint64_t seed, double validation, double test,
                   enum bs_part *part, struct bs_err *err)
{
    if (!(validation >= 0 && test >= 0 && validation + test < 1))
        return BS_FAIL(err, BS_EINVAL,
                       "shares of %g for validation and %g for testing; both at least 0 and together below 1 "
                       "are accepted",
                       validation, test);
    bs_status rc = BS_OK;
    struct item *items = malloc((count + 1) * sizeof *items);
    struct group *groups = malloc((count + 1) * sizeof *groups);
    size_t *order = malloc((count + 1) * sizeof *order), ngroup = 0, next = 0;
    const size_t parts = 1 + (size_t)(validation > 0) + (size_t)(test > 0);
    if (!items || !groups || !order) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory to split %zu items", count);
        goto cleanup;
    }
    for (size_t i = 0; i < count; i++)
        items[i] = (struct item){group[i], i};
    if (count)
        qsort(items, count, sizeof *items, by_group);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || strcmp(items[i].group, items[i - 1].group) != 0)
            groups[ngroup++] = (struct group){i, 0};
        groups[ngroup - 1].count++;
        part[i] = BS_PART_TRAIN;
    }
    if (ngroup < parts) {
        rc = BS_FAIL(err, BS_EPRECONDITION,
                     "%zu items of %zu groups cannot be split into %zu parts without tearing a group apart; "
                     "add data, or "
                     "ask for a split within groups",
                     count, ngroup, parts);
        goto cleanup;
    }
    for (size_t i = 0; i < ngroup; i++)
        order[bs_random_shuffled(seed, 0, ngroup, i)] = i;
    take_share(groups, order, ngroup, parts - 1, validation * (double)count, items, BS_PART_VALIDATION, &next,
               part);
    take_share(groups, order, ngroup, 1, test * (double)count, items, BS_PART_TEST, &next, part);

cleanup:
    free(items);
    free(groups);
    free(order);
    return rc;
}
