/* The reduced foreground map; see preview.h. */
#include "model/predict/preview.h"

#include <math.h>
#include <string.h>

static size_t divide_up(size_t n, size_t by)
{
    return (n + by - 1) / by;
}

/* The sample of the map that pixel i shows; the last pixel may reach beyond the map. */
static size_t middle(size_t i, size_t factor, size_t n)
{
    size_t at = i * factor + factor / 2;
    return at < n ? at : n - 1;
}

/* The first pixel whose sample is not before `sample`. */
static size_t first_at(size_t sample, size_t factor, size_t n, size_t pixels)
{
    size_t i = sample / factor; /* the pixel that it lies in; those before it show samples before it */
    if (i >= pixels)
        return pixels;
    return middle(i, factor, n) < sample ? i + 1 : i;
}

static void begin(struct bs_preview *p, const struct bs_segment_core *core)
{
    if (p->factor) /* what another plane has left */
        memset(p->pixels, 0, (size_t)p->now.height * p->now.width);
    size_t longest = core->map_h > core->map_w ? core->map_h : core->map_w;
    p->factor = divide_up(longest, p->max_side);
    p->now = (struct bs_preview_part){
        .height = (uint32_t)divide_up(core->map_h, p->factor),
        .width = (uint32_t)divide_up(core->map_w, p->factor),
        .pixel_height = (double)p->factor * (double)core->image_h / (double)core->map_h,
        .pixel_width = (double)p->factor * (double)core->image_w / (double)core->map_w,
        .t = (uint32_t)core->t,
        .z = (uint32_t)core->z,
    };
}

void bs_preview_add(struct bs_preview *p, const struct bs_segment_core *core)
{
    if (p->factor == 0 || p->now.t != core->t || p->now.z != core->z)
        begin(p, core);
    const size_t f = p->factor;
    struct bs_preview_part part = p->now;
    part.top = (uint32_t)first_at(core->top, f, core->map_h, part.height);
    part.bottom = (uint32_t)first_at(core->bottom, f, core->map_h, part.height);
    part.left = (uint32_t)first_at(core->left, f, core->map_w, part.width);
    part.right = (uint32_t)first_at(core->right, f, core->map_w, part.width);
    if (bs_preview_empty(&part))
        return;
    for (size_t y = part.top; y < part.bottom; y++) {
        const float *row = core->foreground + (middle(y, f, core->map_h) - core->top) * core->stride;
        for (size_t x = part.left; x < part.right; x++) {
            float v = row[middle(x, f, core->map_w) - core->left];
            p->pixels[y * part.width + x] = v >= 1 ? 255 : v > 0 ? (uint8_t)lrintf(v * 255) : 0;
        }
    }
    bs_preview_join(&p->now, &part);
}

struct bs_preview_part bs_preview_take(struct bs_preview *p)
{
    struct bs_preview_part part = p->now;
    p->now.top = p->now.left = p->now.bottom = p->now.right = 0;
    return part;
}

bool bs_preview_empty(const struct bs_preview_part *part)
{
    return part->top >= part->bottom || part->left >= part->right;
}

bool bs_preview_part_valid(const struct bs_preview_part *part, uint32_t max_side)
{
    return part->height <= max_side && part->width <= max_side && part->top <= part->bottom &&
           part->bottom <= part->height && part->left <= part->right && part->right <= part->width &&
           isfinite(part->pixel_height) && part->pixel_height >= 0 && isfinite(part->pixel_width) &&
           part->pixel_width >= 0;
}

void bs_preview_join(struct bs_preview_part *sum, const struct bs_preview_part *part)
{
    if (bs_preview_empty(part))
        return;
    if (bs_preview_empty(sum) || sum->height != part->height || sum->width != part->width ||
        sum->t != part->t || sum->z != part->z) {
        *sum = *part;
        return;
    }
    sum->top = part->top < sum->top ? part->top : sum->top;
    sum->left = part->left < sum->left ? part->left : sum->left;
    sum->bottom = part->bottom > sum->bottom ? part->bottom : sum->bottom;
    sum->right = part->right > sum->right ? part->right : sum->right;
}
