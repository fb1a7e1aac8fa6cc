/* The parts of a manifest: see manifest.h. */
#include "model/dataset/manifest.h"

#include <stdlib.h>
#include <string.h>

static int by_text(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "");
}

int bs_manifest_compare_images(const struct bs_manifest_pair *a, const struct bs_manifest_pair *b)
{
    int order = strcmp(a->image.sha256, b->image.sha256);
    if (!order && !*a->image.sha256)
        order = strcmp(a->image.name, b->image.name);
    if (!order)
        order = by_text(a->image.volume, b->image.volume);
    return order ? order : (a->image_plane > b->image_plane) - (a->image_plane < b->image_plane);
}

static int by_image(const void *left, const void *right)
{
    return bs_manifest_compare_images(*(const struct bs_manifest_pair *const *)left,
                                      *(const struct bs_manifest_pair *const *)right);
}

bs_status bs_manifest_check_parts(const struct bs_manifest *m, struct bs_err *err)
{
    bs_status rc = BS_OK;
    const struct bs_manifest_pair **sorted = malloc((m->count + 1) * sizeof *sorted);
    if (!sorted)
        return BS_FAIL(err, BS_ENOMEM, "no memory to compare the images of %zu pairs", m->count);
    for (size_t i = 0; i < m->count; i++)
        sorted[i] = &m->pair[i];
    if (m->count)
        qsort(sorted, m->count, sizeof *sorted, by_image);
    for (size_t i = 1; i < m->count && rc == BS_OK; i++) {
        const struct bs_manifest_pair *a = sorted[i - 1], *b = sorted[i];
        if (a->part != b->part && by_image(&sorted[i - 1], &sorted[i]) == 0)
            rc = BS_FAIL(err, BS_EINVAL, "\"%.150s\" (%s) and \"%.150s\" (%s) are the same image",
                         a->image.name, bs_part_name(a->part), b->image.name, bs_part_name(b->part));
    }
    free(sorted);
    return rc;
}
