/* See coco.h: drawing. An image's own annotations are read again and drawn one over the other. */
#include "model/dataset/coco_internal.h"
#include "model/instances/instances.h"
#include "model/weights/file_io.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ELEMENT ((uint64_t)64 << 20) /* bytes of one annotation */
#define MAX_VALUES  ((size_t)1 << 23)    /* numbers of one annotation */

void bs__coco_element_clear(struct bs__coco_element *e)
{
    bs_json_free(e->json);
    free(e->text);
}

bs_status bs__coco_element_read(int fd, struct bs__coco_element *e, const struct bs__json_range *at,
                                struct bs_err *err)
{
    bs_json_free(e->json);
    e->json = NULL;
    if (at->bytes > MAX_ELEMENT)
        return BS_FAIL(err, BS_ELIMIT,
                       "the entry at byte %" PRIu64 " has %" PRIu64 " bytes; up to %" PRIu64 " are accepted",
                       at->offset, at->bytes, MAX_ELEMENT);
    if (at->bytes > e->room) {
        char *text = realloc(e->text, (size_t)at->bytes);
        if (!text)
            return BS_FAIL(err, BS_ENOMEM, "no memory for an entry of %" PRIu64 " bytes", at->bytes);
        e->text = text;
        e->room = (size_t)at->bytes;
    }
    bs_status rc = bs__file_read_at(fd, at->offset, e->text, (size_t)at->bytes, err);
    if (rc == BS_OK && bs_json_parse(e->text, (size_t)at->bytes, MAX_VALUES, &e->json, err) != BS_OK)
        rc = bs_err_prefix(err, "the entry at byte %" PRIu64, at->offset);
    return rc;
}

/* The numbers of an array; NULL with *rc set when it holds something else. The caller frees. */
static double *numbers(const struct bs_json_value *array, size_t *count, bs_status *rc, struct bs_err *err)
{
    *count = bs_json_count(array);
    double *list = malloc((*count + 1) * sizeof *list);
    *rc = list ? BS_OK : BS_FAIL(err, BS_ENOMEM, "no memory for %zu numbers", *count);
    size_t i = 0;
    for (const struct bs_json_value *v = list ? bs_json_first(array) : NULL; v; v = bs_json_next(v))
        if (!bs_json_as_double(v, &list[i++])) {
            *rc = BS_FAIL(err, BS_ECORRUPT, "an outline holds %s where a number should stand",
                          bs_json_type_name(bs_json_type_of(v)));
            free(list);
            return NULL;
        }
    return list;
}

static bs_status draw_polygons(const struct bs__canvas *canvas, const struct bs_json_value *list,
                               struct bs_err *err)
{
    bs_status rc = BS_OK;
    for (const struct bs_json_value *p = bs_json_first(list); p && rc == BS_OK; p = bs_json_next(p)) {
        size_t count;
        if (bs_json_type_of(p) != BS_JSON_ARRAY)
            return BS_FAIL(err, BS_ECORRUPT, "an outline is %s; a list of numbers is expected",
                           bs_json_type_name(bs_json_type_of(p)));
        double *corners = numbers(p, &count, &rc, err);
        if (!corners)
            return rc;
        rc = count % 2 == 0
                 ? bs__coco_draw_polygon(canvas, corners, count / 2, err)
                 : BS_FAIL(err, BS_ECORRUPT, "an outline has %zu numbers; pairs are expected", count);
        free(corners);
    }
    return rc;
}

static bs_status draw_run_list(const struct bs__canvas *canvas, const struct bs_json_value *counts,
                               struct bs_err *err)
{
    size_t count = bs_json_count(counts), i = 0;
    int64_t *runs = malloc((count + 1) * sizeof *runs);
    if (!runs)
        return BS_FAIL(err, BS_ENOMEM, "no memory for %zu runs", count);
    bs_status rc = BS_OK;
    for (const struct bs_json_value *v = bs_json_first(counts); v && rc == BS_OK; v = bs_json_next(v))
        if (!bs_json_as_int(v, &runs[i++]))
            rc = BS_FAIL(err, BS_ECORRUPT, "run %zu is no whole number", i - 1);
    if (rc == BS_OK)
        rc = bs__coco_draw_runs(canvas, runs, count, err);
    free(runs);
    return rc;
}

static bs_status draw_runs(const struct bs__canvas *canvas, const struct bs_json_value *v, struct bs_err *err)
{
    int64_t height = -1, width = -1;
    const struct bs_json_value *size = bs_json_get(v, "size"), *counts = bs_json_get(v, "counts");
    const char *text;
    if (bs_json_count(size) != 2 || !bs_json_as_int(bs_json_first(size), &height) ||
        !bs_json_as_int(bs_json_next(bs_json_first(size)), &width) || height != canvas->height ||
        width != canvas->width)
        return BS_FAIL(err, BS_ECORRUPT,
                       "the runs are for an image of %" PRId64 "x%" PRId64 " pixels; it has %" PRId64
                       "x%" PRId64,
                       width, height, canvas->width, canvas->height);
    if (bs_json_as_string(counts, &text))
        return bs__coco_draw_text(canvas, text, err);
    if (counts && bs_json_type_of(counts) == BS_JSON_ARRAY)
        return draw_run_list(canvas, counts, err);
    return BS_FAIL(err, BS_ECORRUPT, "run lengths have no \"counts\"");
}

static bs_status draw(const struct bs_coco *c, const struct bs__annotation *a,
                      const struct bs__canvas *canvas, struct bs__coco_element *e, struct bs_err *err)
{
    bs_status rc = bs__coco_element_read(c->fd, e, &a->place, err);
    if (rc != BS_OK)
        return rc;
    const struct bs_json_value *v = bs_json_get(bs_json_root(e->json), "segmentation");
    if (v && bs_json_type_of(v) == BS_JSON_ARRAY)
        rc = draw_polygons(canvas, v, err);
    else if (v && bs_json_type_of(v) == BS_JSON_OBJECT)
        rc = draw_runs(canvas, v, err);
    else
        rc = BS_FAIL(err, BS_ECORRUPT, "it has no \"segmentation\"");
    return rc == BS_OK ? rc : bs_err_prefix(err, "annotation %" PRId64, a->id);
}

/* Crowds count as one pixel: they go first. */
static double drawn_area(const struct bs__annotation *a)
{
    return a->crowd ? 1.0 : a->area;
}

static int by_area(const void *left, const void *right)
{
    const struct bs__annotation *const *a = left, *const *b = right;
    double x = drawn_area(*a), y = drawn_area(*b);
    if (x != y)
        return x < y ? -1 : 1;
    return (*a)->id < (*b)->id ? -1 : (*a)->id > (*b)->id;
}

bs_status bs_coco_labels(const struct bs_coco *c, size_t i, const struct bs_coco_rule *rule, uint32_t *labels,
                         uint32_t *count, struct bs_err *err)
{
    BS_ASSERT(i < c->images);
    const struct bs_coco_image *image = &c->image[i];
    size_t pixels = (size_t)(image->width * image->height);
    bs_status rc = BS_OK;
    struct bs__coco_element e = {0};
    const struct bs__annotation **order = malloc((image->annotations + 1) * sizeof *order);
    if (!order)
        return BS_FAIL(err, BS_ENOMEM, "no memory for %zu annotations", image->annotations);
    for (size_t k = 0; k < image->annotations; k++)
        order[k] = &c->annotation[c->first[i] + k];
    if (rule->order == BS_COCO_BY_AREA && image->annotations)
        qsort(order, image->annotations, sizeof *order, by_area);
    memset(labels, 0, pixels * sizeof *labels);
    for (size_t k = 0; k < image->annotations && rc == BS_OK; k++) {
        struct bs__canvas canvas = {labels, image->height, image->width, (uint32_t)(k + 1)};
        rc = draw(c, order[k], &canvas, &e, err);
    }
    *count = (uint32_t)image->annotations;
    if (rc == BS_OK && rule->min_size > 0)
        rc = bs_labels_remove_small(labels, pixels, *count, rule->min_size, count, err);
    free(order);
    bs__coco_element_clear(&e);
    return rc;
}
