/* See sample.h. */
#include "model/dataset/sample.h"

#include "kernels/base/checked.h"
#include "model/dataset/random.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PURPOSE_WINDOW  1u
#define TRIES_PER_IMAGE 10
#define STANDARDISE_EPS 1e-7
#define MAX_WINDOW      ((size_t)1 << 28) /* pixels */

/* One of the eight ways to lay a window down: first transposed, then mirrored. */
struct orientation {
    bool transposed, upside_down, mirrored;
};

/* Where a window lies in its image, before it is turned; it may stick out below and on the right. */
struct window {
    size_t y, x, height, width;
    struct orientation lies;
};

int bs_target_channels(enum bs_recipe target)
{
    return target == BS_RECIPE_BOUNDARIES ? 2 : 3;
}

size_t bs_sample_target_channels(const struct bs_sample_rule *rule)
{
    return (size_t)bs_target_channels(rule->target) + (rule->mask ? 1 : 0);
}

struct bs_sample_rule bs_sample_rule_default(void)
{
    return (struct bs_sample_rule){.height = 512,
                                   .width = 512,
                                   .flips = true,
                                   .quarter_turns = true,
                                   .target = BS_RECIPE_DISTANCES,
                                   .target_min_size = 25,
                                   .min_objects = 1};
}

static struct orientation draw_orientation(const struct bs_sample_rule *rule, struct bs_random *r)
{
    struct orientation o = {false, false, false};
    if (rule->flips) {
        o.upside_down = bs_random_below(r, 2);
        o.mirrored = bs_random_below(r, 2);
    }
    uint64_t turns = rule->quarter_turns ? bs_random_below(r, 4) : 0;
    /* A half turn mirrors both axes; a quarter turn transposes and mirrors one. */
    if (turns & 2) {
        o.upside_down = !o.upside_down;
        o.mirrored = !o.mirrored;
    }
    if (turns & 1) {
        o.transposed = true;
        o.mirrored = !o.mirrored;
    }
    return o;
}

/* The first row or column of a window of that size, each equally likely. */
static size_t draw_start(size_t image, size_t window, struct bs_random *r)
{
    return image > window ? (size_t)bs_random_below(r, image - window + 1) : 0;
}

static struct window draw_window(const struct bs_sample_rule *rule, const struct bs_pair *pair,
                                 struct bs_random *r)
{
    struct window w = {.lies = draw_orientation(rule, r)};
    w.height = w.lies.transposed ? rule->width : rule->height;
    w.width = w.lies.transposed ? rule->height : rule->width;
    w.y = draw_start(pair->height, w.height, r);
    w.x = draw_start(pair->width, w.width, r);
    return w;
}

/* Place in the image of pixel (row, column) of the finished sample; false: outside. */
static bool source_of(const struct window *w, const struct bs_sample_rule *rule, const struct bs_pair *pair,
                      size_t row, size_t column, size_t *at)
{
    size_t y = w->lies.upside_down ? rule->height - 1 - row : row,
           x = w->lies.mirrored ? rule->width - 1 - column : column;
    size_t from_y = w->y + (w->lies.transposed ? x : y), from_x = w->x + (w->lies.transposed ? y : x);
    *at = from_y * pair->width + from_x;
    return from_y < pair->height && from_x < pair->width;
}

/* mask: 1 where a pixel counts, else 0; NULL: all do. */
static void cut(const struct window *w, const struct bs_sample_rule *rule, const struct bs_pair *pair,
                float *image, uint32_t *labels, float *mask)
{
    const size_t pixels = rule->height * rule->width, plane = pair->height * pair->width;
    for (size_t row = 0, to = 0; row < rule->height; row++)
        for (size_t column = 0; column < rule->width; column++, to++) {
            size_t at;
            bool inside = source_of(w, rule, pair, row, column, &at);
            labels[to] = inside ? pair->labels[at] : 0;
            if (mask)
                mask[to] = inside && pair->ignored && pair->ignored[at] ? 0.0f : 1.0f;
            for (size_t c = 0; c < pair->channels; c++)
                image[c * pixels + to] = inside ? pair->image[c * plane + at] : 0.0f;
        }
}

/* A sample of an image between pixels, bilinear; y and x lie within it. */
static float between(const float *plane, size_t height, size_t width, double y, double x)
{
    const size_t top = (size_t)y, left = (size_t)x, bottom = top + 1 < height ? top + 1 : top,
                 right = left + 1 < width ? left + 1 : left;
    const double down = y - (double)top, along = x - (double)left;
    const double above = (1 - along) * (double)plane[top * width + left] +
                         along * (double)plane[top * width + right],
                 below = (1 - along) * (double)plane[bottom * width + left] +
                         along * (double)plane[bottom * width + right];
    return (float)((1 - down) * above + down * below);
}

static double within(double at, size_t size)
{
    return at < 0 ? 0 : at > (double)(size - 1) ? (double)(size - 1) : at;
}

/* The same as cut, but every pixel is taken from beside its place: the image between pixels, labels and what counts from the nearest
   pixel. Beyond the image's edge stands what is at the edge; what cut fills up stays filled up. */
static void cut_deformed(const struct window *w, const struct bs_sample_rule *rule,
                         const struct bs_pair *pair, const struct bs__elastic *e, float *image,
                         uint32_t *labels, float *mask)
{
    const size_t pixels = rule->height * rule->width, plane = pair->height * pair->width;
    for (size_t row = 0, to = 0; row < rule->height; row++)
        for (size_t column = 0; column < rule->width; column++, to++) {
            size_t at;
            double dy, dx;
            const bool inside = source_of(w, rule, pair, row, column, &at);
            bs__elastic_at(e, row, column, &dy, &dx);
            if (w->lies.upside_down)
                dy = -dy;
            if (w->lies.mirrored)
                dx = -dx;
            const size_t at_y = at / pair->width, at_x = at % pair->width;
            const double y = within((double)at_y + (w->lies.transposed ? dx : dy), pair->height),
                         x = within((double)at_x + (w->lies.transposed ? dy : dx), pair->width);
            const size_t nearest = (size_t)(y + 0.5) * pair->width + (size_t)(x + 0.5);
            labels[to] = inside ? pair->labels[nearest] : 0;
            if (mask)
                mask[to] = inside && pair->ignored && pair->ignored[nearest] ? 0.0f : 1.0f;
            for (size_t c = 0; c < pair->channels; c++)
                image[c * pixels + to] =
                    inside ? between(pair->image + c * plane, pair->height, pair->width, y, x) : 0.0f;
        }
}

/* (x - mean) / (std + 1e-7) over the whole window, channels together (torch_em's standardize). */
static void standardise(float *image, size_t count)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)image[i];
    const double mean = sum / (double)count;
    for (size_t i = 0; i < count; i++)
        squares += ((double)image[i] - mean) * ((double)image[i] - mean);
    const double scale = 1.0 / (sqrt(squares / (double)count) + STANDARDISE_EPS);
    for (size_t i = 0; i < count; i++)
        image[i] = (float)(((double)image[i] - mean) * scale);
}

static int by_value(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

/* Are there that many different labels besides 0 where they count? sorted is scratch for all of them. */
static bool has_objects(const uint32_t *labels, const float *mask, size_t count, int64_t wanted,
                        uint32_t *sorted)
{
    if (wanted <= 0)
        return true;
    for (size_t i = 0; i < count; i++)
        sorted[i] = mask && mask[i] == 0 ? 0 : labels[i];
    qsort(sorted, count, sizeof *sorted, by_value);
    int64_t found = sorted[0] != 0;
    for (size_t i = 1; i < count && found < wanted; i++)
        found += sorted[i] != sorted[i - 1];
    return found >= wanted;
}

static bs_status make_target(const struct bs_sample_rule *rule, const uint32_t *labels, float *target,
                             struct bs_err *err)
{
    if (rule->target == BS_RECIPE_DISTANCES)
        return bs_target_distances(labels, rule->height, rule->width, rule->target_min_size, target, err);
    const size_t count = 2 * rule->height * rule->width;
    uint8_t *flags = malloc(count);
    if (!flags)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a target of %zu pixels", count / 2);
    bs_status rc = bs_target_boundaries(labels, rule->height, rule->width, flags, err);
    for (size_t i = 0; i < count && rc == BS_OK; i++)
        target[i] = flags[i];
    free(flags);
    return rc;
}

static bs_status check_pair(const struct bs_pair_source *source, size_t index, const struct bs_pair *pair,
                            bool masked, struct bs_err *err)
{
    if (pair->ignored && !masked)
        return BS_FAIL(err, BS_EINVAL,
                       "image %zu has pixels that do not count, and nothing keeps them out of the loss",
                       index);
    if (pair->channels == source->channels && pair->height > 0 && pair->width > 0)
        return BS_OK;
    return BS_FAIL(err, BS_EINVAL,
                   "image %zu has %zu channels and %zux%zu pixels; images of %zu channels are expected",
                   index, pair->channels, pair->width, pair->height, source->channels);
}

/* Tries windows of one image; *found says whether one had enough objects. */
static bs_status try_image(const struct bs_pair_source *source, const struct bs_sample_rule *rule,
                           const struct bs__elastic *elastic, size_t index, struct bs_random *r, float *image,
                           uint32_t *labels, float *mask, uint32_t *scratch, bool *found, struct bs_err *err)
{
    struct bs_pair pair = {0};
    bs_status rc = source->load(source->ctx, index, &pair, err);
    if (rc != BS_OK)
        return rc;
    rc = check_pair(source, index, &pair, rule->mask, err);
    for (int i = 0; i < TRIES_PER_IMAGE && rc == BS_OK && !*found; i++) {
        struct window w = draw_window(rule, &pair, r);
        if (elastic->moved)
            cut_deformed(&w, rule, &pair, elastic, image, labels, mask);
        else
            cut(&w, rule, &pair, image, labels, mask);
        *found = has_objects(labels, mask, rule->height * rule->width, rule->min_objects, scratch);
    }
    if (source->release)
        source->release(source->ctx, &pair);
    return rc;
}

bs_status bs_sample_make(const struct bs_pair_source *source, const struct bs_sample_rule *rule,
                         uint64_t seed, uint64_t index, float *image, float *target, uint32_t *labels,
                         struct bs_err *err)
{
    BS_ASSERT(source->count > 0 && source->channels > 0);
    size_t pixels;
    if (rule->height == 0 || rule->width == 0 || !bs_mul(rule->height, rule->width, &pixels) ||
        pixels > MAX_WINDOW)
        return BS_FAIL(err, BS_EINVAL, "a training patch of %zux%zu pixels; 1 to %zu pixels are accepted",
                       rule->width, rule->height, MAX_WINDOW);
    bs_status rc = bs_augment_check(&rule->augment, err);
    if (rc != BS_OK)
        return rc;
    bool found = false;
    struct bs__elastic elastic = {0};
    struct bs_random r = bs_random_of(seed, PURPOSE_WINDOW, index);
    size_t from =
        (size_t)bs_random_shuffled(seed, index / source->count, source->count, index % source->count);
    uint32_t *own = labels ? NULL : malloc(pixels * sizeof *own), *scratch = malloc(pixels * sizeof *scratch);
    if ((!labels && !own) || !scratch) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for a training patch of %zu pixels", pixels);
        goto cleanup;
    }
    if (!labels)
        labels = own;
    float *mask = rule->mask ? target + (size_t)bs_target_channels(rule->target) * pixels : NULL;
    if ((rc = bs__elastic_create(&rule->augment, seed, index, rule->height, rule->width, &elastic, err)) !=
        BS_OK)
        goto cleanup;
    for (int tried = 0; tried < BS_SAMPLE_ATTEMPTS && !found; tried += TRIES_PER_IMAGE) {
        if (tried > 0)
            from = (size_t)bs_random_below(&r, source->count);
        if ((rc = try_image(source, rule, &elastic, from, &r, image, labels, mask, scratch, &found, err)) !=
            BS_OK)
            goto cleanup;
    }
    if (!found) {
        rc = BS_FAIL(
            err, BS_EPRECONDITION,
            "no window of %zux%zu pixels with %" PRId64
            " labelled objects was found in %d tries; label more, or ask for fewer objects in a patch",
            rule->width, rule->height, rule->min_objects, BS_SAMPLE_ATTEMPTS);
        goto cleanup;
    }
    if ((rc = bs__augment_before(&rule->augment, seed, index, image, source->channels, rule->height,
                                 rule->width, err)) != BS_OK)
        goto cleanup;
    standardise(image, source->channels * pixels);
    bs__augment_after(&rule->augment, seed, index, image, source->channels * pixels);
    rc = make_target(rule, labels, target, err);
    for (size_t i = 0; mask && rc == BS_OK && i < (size_t)bs_target_channels(rule->target) * pixels; i++)
        if (mask[i % pixels] == 0)
            target[i] = 0;

cleanup:
    bs__elastic_destroy(&elastic);
    free(own);
    free(scratch);
    return rc;
}
