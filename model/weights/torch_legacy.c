/* The format before PyTorch 1.6, still written on request: five pickles (magic number, version, machine, objects, keys of
   the storages), then per key the number of elements and the elements; see torch_archive.h. */
#include "model/weights/torch_archive.h"

#include "model/weights/file_io.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VERSION 1001

struct place {
    const char *key; /* owned by the pickles */
    size_t element_size;
    uint64_t count;
    uint64_t offset; /* in the file; 0 until the key list has named it */
};

struct bs__torch_legacy {
    int fd;
    struct bs__pickle *keys;
    struct place *place; /* sorted by key */
    size_t count;
};

static const unsigned char magic[] = {0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};

bool bs__torch_legacy_magic(const unsigned char *begin, size_t len)
{
    /* PROTO n, LONG1 10, the number. */
    return len >= 4 + sizeof magic && begin[0] == 0x80 && begin[2] == 0x8a && begin[3] == sizeof magic &&
           !memcmp(begin + 4, magic, sizeof magic);
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct place *)a)->key, ((const struct place *)b)->key);
}

/* Every storage that the objects refer to, whether or not anybody will read it: their sizes tell where the others are. */
static bs_status collect(struct bs__torch_legacy *l, const struct bs__pickle *objects, struct bs_err *err)
{
    const struct bs__pickle_list *refs = bs__pickle_persistent(objects);
    size_t unique = 0;
    if (!(l->place = calloc(refs->count ? refs->count : 1, sizeof *l->place)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for %zu storages", refs->count);
    for (size_t i = 0; i < refs->count; i++) {
        struct bs__torch_storage s;
        bs_status rc = bs__torch_storage_parse(refs->item[i], &s, err);
        if (rc != BS_OK)
            return rc;
        l->place[i] = (struct place){.key = s.key, .element_size = s.element_size, .count = s.count};
    }
    if (refs->count)
        qsort(l->place, refs->count, sizeof *l->place, by_key);
    for (size_t i = 0; i < refs->count; i++) {
        if (unique && !strcmp(l->place[unique - 1].key, l->place[i].key)) {
            if (l->place[unique - 1].element_size != l->place[i].element_size ||
                l->place[unique - 1].count != l->place[i].count)
                return BS_FAIL(err, BS_ECORRUPT, "storage %s is described in two ways", l->place[i].key);
            continue;
        }
        l->place[unique++] = l->place[i];
    }
    l->count = unique;
    return BS_OK;
}

static struct place *find(struct bs__torch_legacy *l, const char *key)
{
    const struct place wanted = {.key = key};
    return l->count ? bsearch(&wanted, l->place, l->count, sizeof wanted, by_key) : NULL;
}

/* Walks over the storages behind the pickles. */
static bs_status locate(struct bs__torch_legacy *l, uint64_t at, uint64_t file_bytes, struct bs_err *err)
{
    const struct bs__pickle_value *keys = bs__pickle_root(l->keys);
    if (keys->type != BS__PICKLE_LIST)
        return BS_FAIL(err, BS_ECORRUPT, "the list of storages is %s", bs__pickle_type_name(keys));
    for (size_t i = 0; i < keys->u.list.count; i++) {
        const struct bs__pickle_value *key = keys->u.list.item[i];
        unsigned char text[8];
        uint64_t count = 0;
        struct place *p = key->type == BS__PICKLE_STRING ? find(l, key->u.text.data) : NULL;
        if (!p || p->offset)
            return BS_FAIL(err, BS_ECORRUPT, "entry %zu of the list of storages is %s", i,
                           p ? "there twice" : "not the key of a storage");
        if (file_bytes - at < sizeof text)
            return BS_FAIL(err, BS_ECORRUPT, "the file ends before storage %s (is it truncated?)", p->key);
        bs_status rc = bs__file_read_at(l->fd, at, text, sizeof text, err);
        if (rc != BS_OK)
            return rc;
        for (int b = 7; b >= 0; b--)
            count = count << 8 | text[b];
        at += sizeof text;
        if (count != p->count)
            return BS_FAIL(err, BS_ECORRUPT, "storage %s has %llu elements, the pickle says %llu", p->key,
                           (unsigned long long)count, (unsigned long long)p->count);
        if (count > (file_bytes - at) / p->element_size)
            return BS_FAIL(err, BS_ECORRUPT, "the file ends within storage %s (is it truncated?)", p->key);
        p->offset = at;
        at += count * p->element_size;
    }
    return BS_OK;
}

static bool is_int(const struct bs__pickle_value *v, int64_t wanted)
{
    return v->type == BS__PICKLE_INT && v->u.integer == wanted;
}

/* The five pickles at the start of data. */
static bs_status parse_pickles(struct bs__torch_legacy *l, const unsigned char *data, size_t len,
                               struct bs__pickle **objects, size_t *end, struct bs_err *err)
{
    size_t at = 0, n;
    for (int i = 0; i < 5; i++) {
        struct bs__pickle *p;
        bs_status rc = bs__pickle_parse(data + at, len - at, &p, &n, err);
        if (rc != BS_OK) {
            bs_err_prefix(err, "pickle %d of 5", i + 1);
            return rc;
        }
        at += n;
        if (i == 3) {
            *objects = p;
            continue;
        }
        if (i == 4) {
            l->keys = p;
            continue;
        }
        const struct bs__pickle_value *v = bs__pickle_root(p);
        if (i == 1 && !is_int(v, VERSION))
            rc = BS_FAIL(err, BS_EUNSUPPORTED, "the checkpoint's format has not version %d", VERSION);
        const struct bs__pickle_value *little = i == 2 ? bs__pickle_get(v, "little_endian") : NULL;
        if (i == 2 && (!little || little->type != BS__PICKLE_BOOL || !little->u.boolean))
            rc = BS_FAIL(err, BS_EUNSUPPORTED, "the checkpoint was written on a big-endian machine");
        bs__pickle_free(p);
        if (rc != BS_OK)
            return rc;
    }
    *end = at;
    return BS_OK;
}

bs_status bs__torch_legacy_open(int fd, struct bs__torch_legacy **out, struct bs__pickle **pickle,
                                struct bs_err *err)
{
    bs_status rc;
    uint64_t file_bytes = 0;
    size_t end = 0, len;
    unsigned char *data = NULL;
    struct bs__torch_legacy *l = calloc(1, sizeof *l);
    *out = NULL;
    *pickle = NULL;
    if (!l) {
        close(fd);
        return BS_FAIL(err, BS_ENOMEM, "no memory for a checkpoint");
    }
    l->fd = fd;
    if ((rc = bs__file_size(fd, &file_bytes, err)) != BS_OK)
        goto cleanup;
    len = file_bytes < BS__PICKLE_MAX_BYTES ? (size_t)file_bytes : BS__PICKLE_MAX_BYTES;
    if (!(data = malloc(len ? len : 1))) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for a checkpoint");
        goto cleanup;
    }
    if ((rc = bs__file_read_at(fd, 0, data, len, err)) != BS_OK ||
        (rc = parse_pickles(l, data, len, pickle, &end, err)) != BS_OK ||
        (rc = collect(l, *pickle, err)) != BS_OK || (rc = locate(l, end, file_bytes, err)) != BS_OK)
        goto cleanup;
    *out = l;
    l = NULL;
cleanup:
    free(data);
    if (rc != BS_OK) {
        bs__pickle_free(*pickle);
        *pickle = NULL;
    }
    bs__torch_legacy_close(l);
    return rc;
}

void bs__torch_legacy_close(struct bs__torch_legacy *l)
{
    if (!l)
        return;
    close(l->fd);
    bs__pickle_free(l->keys);
    free(l->place);
    free(l);
}

bs_status bs__torch_legacy_read(struct bs__torch_legacy *l, const char *key, void *dst, size_t bytes,
                                struct bs_err *err)
{
    const struct place *p = find(l, key);
    if (!p || !p->offset)
        return BS_FAIL(err, BS_ECORRUPT, "storage %s is not in the file", key);
    BS_ASSERT(bytes == p->count * p->element_size);
    return bs__file_read_at(l->fd, p->offset, dst, bytes, err);
}
