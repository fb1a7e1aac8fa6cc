/* Which part of an image a request is about. The network is shown the surroundings of a region, and so is the watershed:
   labels at the region's border are then those of the whole image, as far as the surroundings decide. Pure functions; any
   thread. */
#include "model/predict/predict_internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* At the network's scale, on each side where the image has as much: the halo of the publication's tiles. */
#define SURROUNDINGS 128

bool bs_region_is_all(const struct bs_region *region)
{
    static const struct bs_region all;
    return memcmp(region, &all, sizeof all) == 0;
}

bs_status bs__region_range(const char *what, uint64_t first, uint64_t count, size_t n, size_t *out_first,
                           size_t *out_count, struct bs_err *err)
{
    if (first >= n)
        return BS_FAIL(err, BS_EINVAL,
                       "the region begins at %s = %" PRIu64 "; the image has %zu, so 0 to %zu is accepted",
                       what, first, n, n - 1);
    if (count > n - first)
        return BS_FAIL(err, BS_EINVAL,
                       "the region has %" PRIu64 " from %s = %" PRIu64
                       " on; the image has %zu, so 1 to %zu is accepted (0: all that are left)",
                       count, what, first, n, n - (size_t)first);
    *out_first = (size_t)first;
    *out_count = count ? (size_t)count : n - (size_t)first;
    return BS_OK;
}

bs_status bs__region_box(const struct bs_region *region, size_t height, size_t width, struct bs__box *out,
                         struct bs_err *err)
{
    bs_status rc = bs__region_range("y", region->y, region->height, height, &out->top, &out->h, err);
    return rc == BS_OK ? bs__region_range("x", region->x, region->width, width, &out->left, &out->w, err)
                       : rc;
}

static void widen(size_t *first, size_t *count, size_t by, size_t n)
{
    size_t from = *first > by ? *first - by : 0;
    size_t to = n - *first - *count > by ? *first + *count + by : n;
    *first = from;
    *count = to - from;
}

static struct bs__box surrounded(struct bs__box box, size_t by, size_t h, size_t w)
{
    widen(&box.top, &box.h, by, h);
    widen(&box.left, &box.w, by, w);
    return box;
}

struct bs__box bs__region_view(const struct bs_segment_params *params, struct bs__box region, size_t height,
                               size_t width, double scale)
{
    if (params->statistics != BS_STATISTICS_REGION)
        return (struct bs__box){0, 0, height, width};
    return surrounded(region, (size_t)ceil(SURROUNDINGS / scale), height, width);
}

/* The samples at the network's scale that pixels [first, first + count) of n lie in, of out samples. */
static void at_scale(size_t first, size_t count, size_t n, size_t out, size_t *out_first, size_t *out_count)
{
    size_t from = first * out / n, to = ((first + count) * out + n - 1) / n;
    *out_first = from;
    *out_count = to - from;
}

struct bs__crop bs__region_crop(struct bs__box region, size_t source_h, size_t source_w, size_t h, size_t w)
{
    struct bs__crop c = {.region = region};
    at_scale(region.top, region.h, source_h, h, &c.shown.top, &c.shown.h);
    at_scale(region.left, region.w, source_w, w, &c.shown.left, &c.shown.w);
    c.maps = surrounded(c.shown, SURROUNDINGS, h, w);
    return c;
}
