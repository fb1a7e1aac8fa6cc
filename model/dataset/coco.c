/* See coco.h: opening. Every annotation is read once; image, order and place in the file are kept (drawing: coco_labels.c). */
#include "model/dataset/coco_internal.h"

#include "model/weights/file_io.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_IMAGES      ((size_t)1 << 20)
#define MAX_ANNOTATIONS ((size_t)1 << 25)
#define MAX_PIXELS      ((int64_t)1 << 28)

static bs_status need_int(const struct bs_json_value *v, const char *what, const char *key,
                          const struct bs__json_range *at, int64_t *out, struct bs_err *err)
{
    if (bs_json_as_int(bs_json_get(v, key), out))
        return BS_OK;
    return BS_FAIL(err, BS_ECORRUPT, "the %s at byte %" PRIu64 " has no whole number \"%s\"", what,
                   at->offset, key);
}

/* Room for one more of `size` bytes; NULL when memory ran out. */
static void *grow(void *list, size_t count, size_t *room, size_t size)
{
    if (count < *room)
        return list;
    size_t more = *room ? 2 * *room : 64;
    void *bigger = realloc(list, more * size);
    if (bigger)
        *room = more;
    return bigger;
}

static bs_status add_image(struct bs_coco *c, const struct bs_json_value *v, const struct bs__json_range *at,
                           struct bs_err *err)
{
    bs_status rc;
    const char *name;
    struct bs_coco_image image = {0};
    if ((rc = need_int(v, "image", "id", at, &image.id, err)) != BS_OK ||
        (rc = need_int(v, "image", "width", at, &image.width, err)) != BS_OK ||
        (rc = need_int(v, "image", "height", at, &image.height, err)) != BS_OK)
        return rc;
    if (!bs_json_as_string(bs_json_get(v, "file_name"), &name) || !*name)
        return BS_FAIL(err, BS_ECORRUPT, "image %" PRId64 " has no \"file_name\"", image.id);
    if (image.width < 1 || image.height < 1 || image.width > BS_COCO_MAX_SIDE ||
        image.height > BS_COCO_MAX_SIDE || image.width * image.height > MAX_PIXELS)
        return BS_FAIL(err, BS_ELIMIT,
                       "image %" PRId64 " is %" PRId64 "x%" PRId64 "; sides of 1 to %" PRId64
                       " and up to %" PRId64 " pixels are accepted",
                       image.id, image.width, image.height, BS_COCO_MAX_SIDE, MAX_PIXELS);
    if (c->images == MAX_IMAGES)
        return BS_FAIL(err, BS_ELIMIT, "more than %zu images", MAX_IMAGES);
    void *list = grow(c->image, c->images, &c->image_room, sizeof *c->image);
    if (list)
        c->image = list;
    if (!list || !(image.file_name = strdup(name)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for %zu images", c->images + 1);
    c->image[c->images++] = image;
    return BS_OK;
}

/* iscrowd is 0 or 1, in some files false or true. */
static bool is_crowd(const struct bs_json_value *v)
{
    const struct bs_json_value *crowd = bs_json_get(v, "iscrowd");
    int64_t number = 0;
    bool truth = false;
    return (bs_json_as_int(crowd, &number) && number != 0) || (bs_json_as_bool(crowd, &truth) && truth);
}

static bs_status add_annotation(struct bs_coco *c, const struct bs_json_value *v,
                                const struct bs__json_range *at, struct bs_err *err)
{
    bs_status rc;
    struct bs__annotation a = {.place = *at};
    if ((rc = need_int(v, "annotation", "id", at, &a.id, err)) != BS_OK ||
        (rc = need_int(v, "annotation", "image_id", at, &a.image_id, err)) != BS_OK)
        return rc;
    if (!bs_json_as_int(bs_json_get(v, "category_id"), &a.category))
        a.category = -1;
    a.crowd = is_crowd(v);
    if (!bs_json_as_double(bs_json_get(v, "area"), &a.area))
        a.area = 0;
    if (c->annotations == MAX_ANNOTATIONS)
        return BS_FAIL(err, BS_ELIMIT, "more than %zu annotations", MAX_ANNOTATIONS);
    void *list = grow(c->annotation, c->annotations, &c->annotation_room, sizeof *c->annotation);
    if (!list)
        return BS_FAIL(err, BS_ENOMEM, "no memory for %zu annotations", c->annotations + 1);
    c->annotation = list;
    c->annotation[c->annotations++] = a;
    return BS_OK;
}

static bs_status see_category(struct bs_coco *c, const struct bs_json_value *v,
                              const struct bs__json_range *at, const char *wanted, struct bs_err *err)
{
    const char *name;
    int64_t id;
    bs_status rc = need_int(v, "category", "id", at, &id, err);
    if (rc == BS_OK && wanted && bs_json_as_string(bs_json_get(v, "name"), &name) &&
        strcmp(name, wanted) == 0) {
        c->category = id;
        c->category_found = true;
    }
    return rc;
}

/* The lists of the file that matter. */
enum list { IMAGES, ANNOTATIONS, CATEGORIES, LISTS };

static int list_named(const char *key)
{
    static const char *const name[LISTS] = {"images", "annotations", "categories"};
    for (int i = 0; i < LISTS; i++)
        if (strcmp(key, name[i]) == 0)
            return i;
    return -1;
}

static bs_status read_list(struct bs_coco *c, struct bs__json_scan *scan, int list, const char *category,
                           struct bs__coco_element *e, struct bs_err *err)
{
    for (;;) {
        struct bs__json_range at;
        bool more;
        bs_status rc = bs__json_scan_element(scan, &at, &more, err);
        if (rc != BS_OK || !more)
            return rc;
        if (list < 0)
            continue;
        if ((rc = bs__coco_element_read(c->fd, e, &at, err)) != BS_OK)
            return rc;
        const struct bs_json_value *v = bs_json_root(e->json);
        rc = list == IMAGES        ? add_image(c, v, &at, err)
             : list == ANNOTATIONS ? add_annotation(c, v, &at, err)
                                   : see_category(c, v, &at, category, err);
        if (rc != BS_OK)
            return rc;
    }
}

static bs_status read_file(struct bs_coco *c, const char *category, struct bs_err *err)
{
    static const char *const needed[] = {"images", "annotations"};
    bool seen[LISTS] = {false}, more, is_array;
    char key[32];
    struct bs__coco_element e = {0};
    struct bs__json_scan *scan = NULL;
    bs_status rc = bs__json_scan_create(c->fd, &scan, err);
    while (rc == BS_OK) {
        if ((rc = bs__json_scan_member(scan, key, sizeof key, &is_array, &more, err)) != BS_OK || !more)
            break;
        if (!is_array)
            continue;
        int list = list_named(key);
        if (list >= 0 && seen[list])
            rc = BS_FAIL(err, BS_ECORRUPT, "\"%s\" stands in the file twice", key);
        else
            rc = read_list(c, scan, list, category, &e, err);
        if (list >= 0)
            seen[list] = true;
    }
    for (int i = IMAGES; i <= ANNOTATIONS && rc == BS_OK; i++)
        if (!seen[i])
            rc =
                BS_FAIL(err, BS_ECORRUPT, "not a file of COCO annotations: it has no list \"%s\"", needed[i]);
    if (rc == BS_OK && category && !c->category_found)
        rc = BS_FAIL(err, BS_ENOTFOUND, "the file has no category \"%.64s\"", category);
    bs__json_scan_destroy(scan);
    bs__coco_element_clear(&e);
    return rc;
}

struct known {
    int64_t id;
    size_t image;
};

static int by_known_id(const void *left, const void *right)
{
    const struct known *a = left, *b = right;
    return a->id < b->id ? -1 : a->id > b->id;
}

static int by_image_then_id(const void *left, const void *right)
{
    const struct bs__annotation *a = left, *b = right;
    if (a->image != b->image)
        return a->image < b->image ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

/* Drops annotations of other categories, finds each one's image and brings them into order. */
static bs_status sort_by_image(struct bs_coco *c, struct bs_err *err)
{
    bs_status rc = BS_OK;
    size_t kept = 0;
    struct known *known = calloc(c->images + 1, sizeof *known);
    c->first = calloc(c->images + 1, sizeof *c->first);
    if (!known || !c->first) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for %zu images", c->images);
        goto cleanup;
    }
    for (size_t i = 0; i < c->images; i++)
        known[i] = (struct known){c->image[i].id, i};
    qsort(known, c->images, sizeof *known, by_known_id);
    for (size_t i = 1; i < c->images; i++)
        if (known[i].id == known[i - 1].id) {
            rc = BS_FAIL(err, BS_ECORRUPT, "two images have the id %" PRId64, known[i].id);
            goto cleanup;
        }
    for (size_t i = 0; i < c->annotations; i++) {
        struct bs__annotation a = c->annotation[i];
        if (!c->any_category && a.category != c->category)
            continue;
        const struct known *of =
            bsearch(&(struct known){.id = a.image_id}, known, c->images, sizeof *known, by_known_id);
        if (!of) {
            rc = BS_FAIL(err, BS_ECORRUPT,
                         "annotation %" PRId64 " belongs to image %" PRId64 ", which is not in the file",
                         a.id, a.image_id);
            goto cleanup;
        }
        a.image = of->image;
        c->image[a.image].annotations++;
        c->annotation[kept++] = a;
    }
    c->annotations = kept;
    if (kept)
        qsort(c->annotation, kept, sizeof *c->annotation, by_image_then_id);
    for (size_t i = 0; i < c->images; i++)
        c->first[i + 1] = c->first[i] + c->image[i].annotations;
    for (size_t i = 1; i < kept; i++)
        if (c->annotation[i].image == c->annotation[i - 1].image &&
            c->annotation[i].id == c->annotation[i - 1].id) {
            rc = BS_FAIL(err, BS_ECORRUPT, "two annotations have the id %" PRId64, c->annotation[i].id);
            goto cleanup;
        }

cleanup:
    free(known);
    return rc;
}

bs_status bs_coco_open(const char *path, const char *category, struct bs_coco **out, struct bs_err *err)
{
    int fd;
    *out = NULL;
    bs_status rc = bs__file_open(path, &fd, err);
    return rc == BS_OK ? bs_coco_open_fd(fd, category, out, err) : rc;
}

bs_status bs_coco_open_fd(int fd, const char *category, struct bs_coco **out, struct bs_err *err)
{
    *out = NULL;
    struct bs_coco *c = calloc(1, sizeof *c);
    if (!c) {
        close(fd);
        return BS_FAIL(err, BS_ENOMEM, "no memory to read annotations");
    }
    c->fd = fd;
    c->any_category = !category;
    bs_status rc = read_file(c, category, err);
    if (rc == BS_OK && (rc = sort_by_image(c, err)) == BS_OK) {
        *out = c;
        c = NULL;
    }
    bs_coco_close(c);
    return rc;
}

void bs_coco_close(struct bs_coco *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->images; i++)
        free(c->image[i].file_name);
    free(c->image);
    free(c->first);
    free(c->annotation);
    close(c->fd);
    free(c);
}

size_t bs_coco_image_count(const struct bs_coco *c)
{
    return c->images;
}

const struct bs_coco_image *bs_coco_image(const struct bs_coco *c, size_t i)
{
    BS_ASSERT(i < c->images);
    return &c->image[i];
}
