/* Agreement of label images by counting pairs of labels; see label_compare.h. */
#include "tests/support/label_compare.h"

#include "kernels/base/status.h"

#include <stdlib.h>

/* Pixels that have label a in one image and b in the other. */
struct overlap {
    uint32_t a, b;
    size_t pixels;
};

static int by_labels(const void *p, const void *q)
{
    const struct overlap *x = p, *y = q;
    if (x->a != y->a)
        return x->a < y->a ? -1 : 1;
    return x->b < y->b ? -1 : x->b > y->b;
}

static int by_pixels(const void *p, const void *q)
{
    const struct overlap *x = p, *y = q;
    if (x->pixels != y->pixels)
        return x->pixels > y->pixels ? -1 : 1;
    return by_labels(p, q);
}

static int by_value(const void *p, const void *q)
{
    uint32_t x = *(const uint32_t *)p, y = *(const uint32_t *)q;
    return x < y ? -1 : x > y;
}

/* Sorted distinct nonzero labels of one side; their number. */
static size_t objects_of(const struct overlap *o, size_t n, bool side_b, uint32_t *ids)
{
    size_t m = 0, distinct = 0;
    for (size_t i = 0; i < n; i++)
        if ((side_b ? o[i].b : o[i].a) != 0)
            ids[m++] = side_b ? o[i].b : o[i].a;
    qsort(ids, m, sizeof *ids, by_value);
    for (size_t i = 0; i < m; i++)
        if (i == 0 || ids[i] != ids[i - 1])
            ids[distinct++] = ids[i];
    return distinct;
}

static size_t place(const uint32_t *ids, size_t n, uint32_t id)
{
    return (size_t)((const uint32_t *)bsearch(&id, ids, n, sizeof id, by_value) - ids);
}

struct bs_label_agreement bs_label_compare(const uint32_t *a, const uint32_t *b, size_t pixels)
{
    struct bs_label_agreement agreement = {.fraction = 1};
    struct overlap *o = malloc((pixels + 1) * sizeof *o);
    uint32_t *ids_a = malloc((pixels + 1) * sizeof *ids_a), *ids_b = malloc((pixels + 1) * sizeof *ids_b);
    BS_ASSERT(o && ids_a && ids_b);
    for (size_t i = 0; i < pixels; i++)
        o[i] = (struct overlap){a[i], b[i], 1};
    qsort(o, pixels, sizeof *o, by_labels);
    size_t n = 0, matched = 0;
    for (size_t i = 0; i < pixels; i++) {
        if (n > 0 && by_labels(&o[n - 1], &o[i]) == 0)
            o[n - 1].pixels++;
        else
            o[n++] = o[i];
    }
    agreement.objects_a = objects_of(o, n, false, ids_a);
    agreement.objects_b = objects_of(o, n, true, ids_b);
    bool *taken_a = calloc(agreement.objects_a + 1, sizeof *taken_a);
    bool *taken_b = calloc(agreement.objects_b + 1, sizeof *taken_b);
    BS_ASSERT(taken_a && taken_b);
    qsort(o, n, sizeof *o, by_pixels);
    for (size_t i = 0; i < n; i++) {
        if (o[i].a == 0 && o[i].b == 0) {
            matched += o[i].pixels;
        } else if (o[i].a != 0 && o[i].b != 0) {
            size_t pa = place(ids_a, agreement.objects_a, o[i].a),
                   pb = place(ids_b, agreement.objects_b, o[i].b);
            if (!taken_a[pa] && !taken_b[pb]) {
                taken_a[pa] = taken_b[pb] = true;
                matched += o[i].pixels;
            }
        }
    }
    if (pixels)
        agreement.fraction = (double)matched / (double)pixels;
    free(o);
    free(ids_a);
    free(ids_b);
    free(taken_a);
    free(taken_b);
    return agreement;
}
