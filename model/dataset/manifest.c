/* See manifest.h. */
#include "model/dataset/manifest_internal.h"

#include "model/weights/utf8.h"

#include <stdlib.h>
#include <string.h>

static bs_status check_text(const char *what, const char *text, struct bs_err *err)
{
    const size_t len = strlen(text);
    if (len == 0 || len > BS_MANIFEST_MAX_NAME)
        return BS_FAIL(err, BS_EINVAL, "%s has %zu bytes; 1 to %zu are accepted", what, len,
                       BS_MANIFEST_MAX_NAME);
    for (size_t at = 0, n; at < len; at += n)
        if (!(n = bs__utf8_sequence((const unsigned char *)text + at, len - at)))
            return BS_FAIL(err, BS_EINVAL, "%s is no UTF-8 text from byte %zu on; rename the file", what, at);
    return BS_OK;
}

static bs_status check_hash(const char *what, const char *hash, struct bs_err *err)
{
    if (*hash && strspn(hash, "0123456789abcdef") != BS_SHA256_TEXT - 1)
        return BS_FAIL(err, BS_EINVAL, "the hash of %s is \"%.80s\"; 64 hexadecimal digits are accepted",
                       what, hash);
    return BS_OK;
}

static bs_status check_file(const char *what, const struct bs_manifest_file *f, struct bs_err *err)
{
    bs_status rc;
    char volume[64] = "the volume of ";
    strncat(volume, what, sizeof volume - strlen(volume) - 1);
    if ((rc = check_text(what, f->name, err)) != BS_OK ||
        (f->volume && (rc = check_text(volume, f->volume, err)) != BS_OK))
        return rc;
    if (f->raw.ndim && f->volume)
        return BS_FAIL(err, BS_EINVAL, "%s has a volume and samples without a file; one of them is accepted",
                       what);
    if (f->raw.ndim && bs_raw_image_check(&f->raw, err) != BS_OK)
        return bs_err_prefix(err, "%s", what);
    return check_hash(what, f->sha256, err);
}

static bs_status check_boxes(const struct bs_manifest_box *box, size_t count, struct bs_err *err)
{
    if (count > BS_MANIFEST_MAX_BOXES)
        return BS_FAIL(err, BS_EINVAL, "%zu boxes; up to %zu are accepted", count, BS_MANIFEST_MAX_BOXES);
    for (size_t i = 0; i < count; i++)
        if (box[i].top < 0 || box[i].left < 0 || box[i].bottom <= box[i].top || box[i].right <= box[i].left)
            return BS_FAIL(err, BS_EINVAL,
                           "a box from row %lld, column %lld to row %lld, column %lld holds nothing",
                           (long long)box[i].top, (long long)box[i].left, (long long)box[i].bottom,
                           (long long)box[i].right);
    return BS_OK;
}

bs_status bs__manifest_check_pair(const struct bs_manifest_pair *p, struct bs_err *err)
{
    bs_status rc;
    if (!p->image.name || !p->labels.name || !p->group)
        return BS_FAIL(err, BS_EINVAL, "a pair has an image, labels and a group");
    if ((rc = check_file("the image", &p->image, err)) != BS_OK ||
        (rc = check_file("the label file", &p->labels, err)) != BS_OK ||
        (rc = check_text("the group", p->group, err)) != BS_OK ||
        (p->prediction.name && (rc = check_file("the prediction", &p->prediction, err)) != BS_OK) ||
        (rc = check_boxes(p->ignore, p->nignore, err)) != BS_OK ||
        (rc = check_boxes(p->only, p->nonly, err)) != BS_OK)
        return rc;
    if (p->image_plane < BS_PLANE_ONLY || p->labels_plane < BS_PLANE_ONLY)
        return BS_FAIL(err, BS_EINVAL, "plane %lld; 0 or more are accepted",
                       (long long)(p->image_plane < BS_PLANE_ONLY ? p->image_plane : p->labels_plane));
    if (p->has_ignore_label && (p->ignore_label < INT32_MIN || p->ignore_label > UINT32_MAX))
        return BS_FAIL(err, BS_EINVAL, "ignore label %lld; %d to %u are accepted", (long long)p->ignore_label,
                       INT32_MIN, UINT32_MAX);
    if ((unsigned)p->part > BS_PART_TEST)
        return BS_FAIL(err, BS_EINVAL, "part %d is unknown", (int)p->part);
    return BS_OK;
}

const char *bs_part_name(enum bs_part part)
{
    static const char *const names[] = {
        [BS_PART_TRAIN] = "train", [BS_PART_VALIDATION] = "validation", [BS_PART_TEST] = "test"};
    BS_ASSERT((size_t)part < sizeof names / sizeof *names);
    return names[part];
}

static void clear_file(struct bs_manifest_file *f)
{
    free(f->name);
    free(f->volume);
}

static void clear_pair(struct bs_manifest_pair *p)
{
    clear_file(&p->image);
    clear_file(&p->labels);
    clear_file(&p->prediction);
    free(p->group);
    free(p->ignore);
    free(p->only);
}

void bs_manifest_clear(struct bs_manifest *m)
{
    for (size_t i = 0; i < m->count; i++)
        clear_pair(&m->pair[i]);
    free(m->pair);
    *m = (struct bs_manifest){.channel = BS_PLANE_CHANNEL_ANY};
}

static bool copy_text(char **to, const char *from)
{
    *to = from ? strdup(from) : NULL;
    return *to || !from;
}

static bool copy_file(struct bs_manifest_file *to, const struct bs_manifest_file *from)
{
    memcpy(to->sha256, from->sha256, sizeof to->sha256);
    to->raw = from->raw;
    return copy_text(&to->name, from->name) && copy_text(&to->volume, from->volume);
}

static bool copy_boxes(struct bs_manifest_box **to, const struct bs_manifest_box *from, size_t count)
{
    if (count == 0)
        return true;
    if (!(*to = malloc(count * sizeof **to)))
        return false;
    memcpy(*to, from, count * sizeof **to);
    return true;
}

static bool make_room(struct bs_manifest *m)
{
    if (m->count < m->room)
        return true;
    size_t room = m->room ? 2 * m->room : 64;
    struct bs_manifest_pair *pair = realloc(m->pair, room * sizeof *pair);
    if (!pair)
        return false;
    m->pair = pair;
    m->room = room;
    return true;
}

bs_status bs_manifest_add(struct bs_manifest *m, const struct bs_manifest_pair *pair, struct bs_err *err)
{
    bs_status rc = bs__manifest_check_pair(pair, err);
    if (rc != BS_OK)
        return rc;
    if (m->count == BS_MANIFEST_MAX_PAIRS)
        return BS_FAIL(err, BS_ELIMIT, "a data set of more than %zu pairs", BS_MANIFEST_MAX_PAIRS);
    struct bs_manifest_pair own = {.image_plane = pair->image_plane,
                                   .labels_plane = pair->labels_plane,
                                   .part = pair->part,
                                   .done = pair->done,
                                   .has_ignore_label = pair->has_ignore_label,
                                   .ignore_label = pair->ignore_label,
                                   .nignore = pair->nignore,
                                   .nonly = pair->nonly};
    if (!make_room(m) || !copy_file(&own.image, &pair->image) || !copy_file(&own.labels, &pair->labels) ||
        !copy_file(&own.prediction, &pair->prediction) || !copy_text(&own.group, pair->group) ||
        !copy_boxes(&own.ignore, pair->ignore, pair->nignore) ||
        !copy_boxes(&own.only, pair->only, pair->nonly)) {
        clear_pair(&own);
        return BS_FAIL(err, BS_ENOMEM, "no memory for a data set of %zu pairs", m->count + 1);
    }
    m->pair[m->count++] = own;
    return BS_OK;
}

bs_status bs_manifest_hash(const struct bs_manifest *m, char hash[BS_SHA256_TEXT], struct bs_err *err)
{
    struct bs_json_writer w = {0};
    struct bs_sha256 h;
    unsigned char digest[BS_SHA256_BYTES];
    for (size_t i = 0; i < m->count; i++) {
        const struct bs_manifest_pair *p = &m->pair[i];
        const struct bs_manifest_file *missing = !*p->image.sha256    ? &p->image
                                                 : !*p->labels.sha256 ? &p->labels
                                                 : p->prediction.name && !*p->prediction.sha256
                                                     ? &p->prediction
                                                     : NULL;
        if (missing)
            return BS_FAIL(err, BS_EPRECONDITION, "the content of \"%.200s\" has not been hashed yet",
                           missing->name);
    }
    bs__manifest_write(&w, m, true);
    const size_t len = w.len;
    char *text = bs_json_write_end(&w);
    if (!text)
        return BS_FAIL(err, BS_ENOMEM, "no memory to hash a data set of %zu pairs", m->count);
    bs_sha256_begin(&h);
    bs_sha256_add(&h, text, len);
    bs_sha256_end(&h, digest);
    bs_sha256_text(digest, hash);
    free(text);
    return BS_OK;
}
