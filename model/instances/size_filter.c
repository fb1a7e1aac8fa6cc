/* The size filter that ends both recipes: objects below the minimum vanish (nothing grows into their place) and the ids of
   the others close up. Also the check of sizes that every file of this folder needs. Pure; any thread. */
#include "model/instances/instances_internal.h"

#include "kernels/base/checked.h"

#include <stdlib.h>

#define PIXELS_BETWEEN_CHECKS ((size_t)1 << 20)

bs_status bs__pixels(size_t h, size_t w, size_t *pixels, struct bs_err *err)
{
    if (!bs_mul(h, w, pixels) || *pixels > BS__MAX_PIXELS)
        return BS_FAIL(err, BS_ELIMIT, "image of %zu x %zu pixels: at most %zu pixels are accepted", h, w,
                       BS__MAX_PIXELS);
    return BS_OK;
}

bs_status bs__size_filter(uint32_t *labels, size_t pixels, uint32_t max_id, int64_t min_size, uint32_t *count,
                          uint32_t *removed, const struct bs_cancel *cancel, struct bs_err *err)
{
    bs_status rc = BS_OK;
    uint64_t *area = calloc((size_t)max_id + 1, sizeof *area); /* later the new ids */
    uint32_t kept = 0, dropped = 0;

    if (!area)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the sizes of %u objects", max_id);
    for (size_t i = 0; i < pixels; i++) {
        if (i % PIXELS_BETWEEN_CHECKS == 0 && bs_cancel_requested(cancel)) {
            rc = bs__cancelled(err);
            goto cleanup;
        }
        if (labels[i] != BS__OUTSIDE)
            area[labels[i]]++;
    }
    area[0] = 0;
    for (size_t id = 1; id <= max_id; id++) {
        bool keep = area[id] > 0 && area[id] >= (uint64_t)min_size;
        dropped += area[id] > 0 && !keep;
        area[id] = keep ? ++kept : 0;
    }
    for (size_t i = 0; i < pixels; i++) {
        if (i % PIXELS_BETWEEN_CHECKS == 0 && bs_cancel_requested(cancel)) {
            rc = bs__cancelled(err);
            goto cleanup;
        }
        labels[i] = labels[i] == BS__OUTSIDE ? 0 : (uint32_t)area[labels[i]];
    }
    *count = kept;
    *removed = dropped;
cleanup:
    free(area);
    return rc;
}

bs_status bs_labels_remove_small(uint32_t *labels, size_t pixels, uint32_t max_id, int64_t min_size,
                                 uint32_t *count, struct bs_err *err)
{
    uint32_t removed;
    return bs__size_filter(labels, pixels, max_id, min_size, count, &removed, NULL, err);
}
