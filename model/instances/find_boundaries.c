/* Boundaries between labels: a pixel one of whose four neighbours has another label (thick), and which is itself not
   background (inner). What lies beyond the image is no neighbour. Pure; any thread. */
#include "model/instances/instances_internal.h"

bs_status bs_find_boundaries(const uint32_t *labels, size_t h, size_t w, enum bs_boundary_mode mode,
                             uint8_t *out, struct bs_err *err)
{
    size_t pixels;
    bs_status rc = bs__pixels(h, w, &pixels, err);
    if (rc != BS_OK)
        return rc;
    for (size_t y = 0; y < h; y++)
        for (size_t x = 0; x < w; x++) {
            size_t p = y * w + x;
            uint32_t own = labels[p];
            bool differs = (y > 0 && labels[p - w] != own) || (y + 1 < h && labels[p + w] != own) ||
                           (x > 0 && labels[p - 1] != own) || (x + 1 < w && labels[p + 1] != own);
            out[p] = differs && (mode == BS_BOUNDARY_THICK || own != 0);
        }
    return BS_OK;
}
