/* The safetensors reader; see safetensors.h. Opening reads and checks the header, nothing else. */
#include "model/weights/safetensors.h"

#include "kernels/base/checked.h"
#include "model/weights/file_io.h"
#include "model/weights/json.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_VALUES    ((size_t)1 << 20) /* in the JSON header */
#define CONVERT_BYTES ((size_t)64 << 10)

struct bs_safetensors {
    int fd;
    struct bs_json *header;
    struct bs_safetensors_entry *entry; /* sorted by name */
    size_t count;
};

static const struct {
    const char *name;
    enum bs_dtype dtype;
} dtypes[] = {{"F32", BS_F32}, {"BF16", BS_BF16}, {"F16", BS_F16}, {"F64", BS_F64}, {"I64", BS_I64},
              {"I32", BS_I32}, {"I16", BS_I16},   {"I8", BS_I8},   {"U8", BS_U8},   {"BOOL", BS_BOOL}};

static bs_status parse_dtype(const char *name, const char *text, enum bs_dtype *out, struct bs_err *err)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (!strcmp(text, dtypes[i].name)) {
            *out = dtypes[i].dtype;
            return BS_OK;
        }
    return BS_FAIL(
        err, BS_EUNSUPPORTED,
        "tensor %.120s has element type %.20s; known are F64, F32, F16, BF16, I64, I32, I16, I8, U8, BOOL",
        name, text);
}

/* Also checks that the number of bytes fits size_t, so that bs_shape_count is safe from here on. */
static bs_status parse_shape(const char *name, const struct bs_json_value *v, enum bs_dtype dtype,
                             struct bs_shape *out, uint64_t *bytes, struct bs_err *err)
{
    if (!v || bs_json_type_of(v) != BS_JSON_ARRAY)
        return BS_FAIL(err, BS_ECORRUPT, "tensor %.120s: shape is not an array", name);
#ifndef BS_FUZZ_PLANT /* see tests/fuzz/fuzz.cmake */
    if (bs_json_count(v) > BS_MAX_DIM)
        return BS_FAIL(err, BS_EUNSUPPORTED, "tensor %.120s has %zu axes, at most %d are supported", name,
                       bs_json_count(v), BS_MAX_DIM);
#endif
    size_t size = bs_dtype_size(dtype), limit = size;
    *out = (struct bs_shape){0};
    for (const struct bs_json_value *d = bs_json_first(v); d; d = bs_json_next(d)) {
        int64_t n;
        if (!bs_json_as_int(d, &n) || n < 0)
            return BS_FAIL(err, BS_ECORRUPT, "tensor %.120s: axis %d of the shape is not a size", name,
                           out->ndim);
        /* An empty tensor's other axes must not overflow either: they are multiplied later. */
        if (!bs_mul(limit, n ? (size_t)n : 1, &limit) || limit > INT64_MAX)
            return BS_FAIL(err, BS_ECORRUPT, "tensor %.120s: the shape's size does not fit 64 bits", name);
        size *= (size_t)n;
        out->dim[out->ndim++] = n;
    }
    *bytes = size;
    return BS_OK;
}

/* data_start: where tensors begin in the file; offsets in the header count from there. */
static bs_status parse_entry(const struct bs_json_value *v, uint64_t data_start, uint64_t data_bytes,
                             struct bs_safetensors_entry *e, struct bs_err *err)
{
    const char *dtype;
    int64_t begin, end;
    *e = (struct bs_safetensors_entry){.name = bs_json_key(v)};
    if (!e->name[0])
        return BS_FAIL(err, BS_ECORRUPT, "a tensor has an empty name");
    if (bs_json_type_of(v) != BS_JSON_OBJECT || bs_json_count(v) != 3)
        return BS_FAIL(err, BS_ECORRUPT, "tensor %.120s: its entry is not {dtype, shape, data_offsets}",
                       e->name);
    if (!bs_json_as_string(bs_json_get(v, "dtype"), &dtype))
        return BS_FAIL(err, BS_ECORRUPT, "tensor %.120s: dtype is missing or not a string", e->name);
    bs_status rc = parse_dtype(e->name, dtype, &e->dtype, err);
    if (rc != BS_OK)
        return rc;
    if ((rc = parse_shape(e->name, bs_json_get(v, "shape"), e->dtype, &e->shape, &e->bytes, err)) != BS_OK)
        return rc;
    const struct bs_json_value *offsets = bs_json_get(v, "data_offsets");
    const struct bs_json_value *first = bs_json_first(offsets);
    if (!offsets || bs_json_type_of(offsets) != BS_JSON_ARRAY || bs_json_count(offsets) != 2 ||
        !bs_json_as_int(first, &begin) || !bs_json_as_int(bs_json_next(first), &end))
        return BS_FAIL(err, BS_ECORRUPT, "tensor %.120s: data_offsets is not [begin, end]", e->name);
    if (begin < 0 || end < begin || (uint64_t)end > data_bytes)
        return BS_FAIL(
            err, BS_ECORRUPT,
            "tensor %.120s: data_offsets [%lld, %lld] leave the file, which has %llu bytes of tensors "
            "(is it truncated?)",
            e->name, (long long)begin, (long long)end, (unsigned long long)data_bytes);
    if ((uint64_t)(end - begin) != e->bytes) {
        char shape[80];
        return BS_FAIL(err, BS_ECORRUPT, "tensor %.120s: %lld bytes for shape %s of %s, which needs %llu",
                       e->name, (long long)(end - begin), bs_shape_text(&e->shape, shape, sizeof shape),
                       bs_dtype_name(e->dtype), (unsigned long long)e->bytes);
    }
    e->offset = data_start + (uint64_t)begin;
    return BS_OK;
}

static int by_offset(const void *a, const void *b)
{
    const struct bs_safetensors_entry *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes; /* empty tensors first */
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct bs_safetensors_entry *)a)->name,
                  ((const struct bs_safetensors_entry *)b)->name);
}

/* The format wants tensors back to back from the header's end to the file's end. */
static bs_status check_layout(struct bs_safetensors *st, uint64_t data_start, uint64_t file_bytes,
                              struct bs_err *err)
{
    uint64_t expected = data_start;
    if (st->count)
        qsort(st->entry, st->count, sizeof *st->entry, by_offset);
    for (size_t i = 0; i < st->count; i++) {
        const struct bs_safetensors_entry *e = &st->entry[i];
        if (e->offset != expected)
            return BS_FAIL(err, BS_ECORRUPT,
                           "tensor %.120s begins at byte %llu, %s the end of the one before (%llu)", e->name,
                           (unsigned long long)e->offset, e->offset < expected ? "before" : "after",
                           (unsigned long long)expected);
        expected += e->bytes;
    }
    if (expected != file_bytes)
        return BS_FAIL(err, BS_ECORRUPT, "the file has %llu bytes after the last tensor",
                       (unsigned long long)(file_bytes - expected));
    if (st->count)
        qsort(st->entry, st->count, sizeof *st->entry, by_name);
    return BS_OK;
}

static bs_status check_metadata(const struct bs_json_value *v, struct bs_err *err)
{
    const char *text;
    if (bs_json_type_of(v) != BS_JSON_OBJECT)
        return BS_FAIL(err, BS_ECORRUPT, "__metadata__ is not an object");
    for (const struct bs_json_value *m = bs_json_first(v); m; m = bs_json_next(m))
        if (!bs_json_as_string(m, &text))
            return BS_FAIL(err, BS_ECORRUPT, "__metadata__: the value of %.120s is not a string",
                           bs_json_key(m));
    return BS_OK;
}

static bs_status parse_header(struct bs_safetensors *st, uint64_t data_start, uint64_t file_bytes,
                              struct bs_err *err)
{
    const struct bs_json_value *root = bs_json_root(st->header);
    const size_t members = bs_json_count(root);
    if (bs_json_type_of(root) != BS_JSON_OBJECT)
        return BS_FAIL(err, BS_ECORRUPT, "the header is not a JSON object");
    if (members > BS_SAFETENSORS_MAX_TENSORS)
        return BS_FAIL(err, BS_ELIMIT, "the file has %zu tensors, at most %zu are accepted", members,
                       BS_SAFETENSORS_MAX_TENSORS);
    if (!(st->entry = calloc(members ? members : 1, sizeof *st->entry)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for a list of %zu tensors", members);
    for (const struct bs_json_value *v = bs_json_first(root); v; v = bs_json_next(v)) {
        bs_status rc;
        if (!strcmp(bs_json_key(v), "__metadata__"))
            rc = check_metadata(v, err);
        else
            rc = parse_entry(v, data_start, file_bytes - data_start, &st->entry[st->count++], err);
        if (rc != BS_OK)
            return rc;
    }
    return check_layout(st, data_start, file_bytes, err);
}

bs_status bs_safetensors_open_fd(int fd, struct bs_safetensors **out, struct bs_err *err)
{
    bs_status rc;
    unsigned char prefix[8];
    char *text = NULL;
    uint64_t file_bytes = 0, header_bytes = 0;
    struct bs_safetensors *st = calloc(1, sizeof *st);
    *out = NULL;
    if (!st) {
        close(fd);
        return BS_FAIL(err, BS_ENOMEM, "no memory for a safetensors file");
    }
    st->fd = fd;
    if ((rc = bs__file_size(fd, &file_bytes, err)) != BS_OK)
        goto cleanup;
    if (file_bytes < sizeof prefix + 2) {
        rc = BS_FAIL(err, BS_ECORRUPT, "not a safetensors file: %llu bytes are too few",
                     (unsigned long long)file_bytes);
        goto cleanup;
    }
    if ((rc = bs__file_read_at(fd, 0, prefix, sizeof prefix, err)) != BS_OK)
        goto cleanup;
    for (int i = 7; i >= 0; i--)
        header_bytes = header_bytes << 8 | prefix[i];
    if (header_bytes > file_bytes - sizeof prefix) {
        rc = BS_FAIL(
            err, BS_ECORRUPT,
            "not a safetensors file, or truncated: the header should have %llu bytes, the file has %llu",
            (unsigned long long)header_bytes, (unsigned long long)file_bytes);
        goto cleanup;
    }
    if (header_bytes > BS_SAFETENSORS_MAX_HEADER) {
        rc = BS_FAIL(err, BS_ELIMIT, "the header has %llu bytes, at most %zu are accepted",
                     (unsigned long long)header_bytes, BS_SAFETENSORS_MAX_HEADER);
        goto cleanup;
    }
    if (!(text = malloc((size_t)header_bytes + 1))) {
        rc =
            BS_FAIL(err, BS_ENOMEM, "no memory for a header of %llu bytes", (unsigned long long)header_bytes);
        goto cleanup;
    }
    if ((rc = bs__file_read_at(fd, sizeof prefix, text, (size_t)header_bytes, err)) != BS_OK)
        goto cleanup;
    if (!header_bytes || text[0] != '{') {
        rc = BS_FAIL(err, BS_ECORRUPT, "not a safetensors file: the header does not begin with {");
        goto cleanup;
    }
    if ((rc = bs_json_parse(text, (size_t)header_bytes, MAX_VALUES, &st->header, err)) != BS_OK) {
        bs_err_prefix(err, "the header");
        goto cleanup;
    }
    if ((rc = parse_header(st, sizeof prefix + header_bytes, file_bytes, err)) != BS_OK)
        goto cleanup;
    *out = st;
    st = NULL;
cleanup:
    free(text);
    bs_safetensors_close(st);
    return rc;
}

bs_status bs_safetensors_open(const char *path, struct bs_safetensors **out, struct bs_err *err)
{
    int fd;
    *out = NULL;
    bs_status rc = bs__file_open(path, &fd, err);
    return rc == BS_OK ? bs_safetensors_open_fd(fd, out, err) : rc;
}

void bs_safetensors_close(struct bs_safetensors *st)
{
    if (!st)
        return;
    close(st->fd);
    bs_json_free(st->header);
    free(st->entry);
    free(st);
}

size_t bs_safetensors_count(const struct bs_safetensors *st)
{
    return st->count;
}

const struct bs_safetensors_entry *bs_safetensors_entry(const struct bs_safetensors *st, size_t i)
{
    BS_ASSERT(i < st->count);
    return &st->entry[i];
}

const struct bs_safetensors_entry *bs_safetensors_find(const struct bs_safetensors *st, const char *name)
{
    const struct bs_safetensors_entry key = {.name = name};
    return st->count ? bsearch(&key, st->entry, st->count, sizeof key, by_name) : NULL;
}

const char *bs_safetensors_metadata(const struct bs_safetensors *st, const char *key)
{
    const char *text = NULL;
    bs_json_as_string(bs_json_get(bs_json_get(bs_json_root(st->header), "__metadata__"), key), &text);
    return text;
}

bs_status bs_safetensors_read(const struct bs_safetensors *st, const struct bs_safetensors_entry *e,
                              void *dst, size_t size, struct bs_err *err)
{
    BS_ASSERT(size == e->bytes);
    bs_status rc = bs__file_read_at(st->fd, e->offset, dst, size, err);
    if (rc != BS_OK)
        bs_err_prefix(err, "tensor %.120s", e->name);
    return rc;
}

static void convert(enum bs_dtype dtype, const unsigned char *from, float *to, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint16_t half;
        double wide;
        if (dtype == BS_F64) {
            memcpy(&wide, from + 8 * i, sizeof wide);
            to[i] = (float)wide;
        } else {
            memcpy(&half, from + 2 * i, sizeof half);
            to[i] = dtype == BS_BF16 ? bs_bf16_to_f32(half) : bs_f16_to_f32(half);
        }
    }
}

bs_status bs_safetensors_read_f32(const struct bs_safetensors *st, const struct bs_safetensors_entry *e,
                                  float *dst, size_t count, struct bs_err *err)
{
    unsigned char buffer[CONVERT_BYTES];
    const size_t size = bs_dtype_size(e->dtype);
    BS_ASSERT(count == bs_shape_count(&e->shape));
    if (e->dtype == BS_F32)
        return bs_safetensors_read(st, e, dst, count * size, err);
    if (e->dtype != BS_F64 && e->dtype != BS_F16 && e->dtype != BS_BF16)
        return BS_FAIL(err, BS_EINVAL, "tensor %.120s is of type %s, a floating point type is needed",
                       e->name, bs_dtype_name(e->dtype));
    for (size_t done = 0; done < count;) {
        const size_t n = count - done < CONVERT_BYTES / size ? count - done : CONVERT_BYTES / size;
        bs_status rc = bs__file_read_at(st->fd, e->offset + done * size, buffer, n * size, err);
        if (rc != BS_OK) {
            bs_err_prefix(err, "tensor %.120s", e->name);
            return rc;
        }
        convert(e->dtype, buffer, dst + done, n);
        done += n;
    }
    return BS_OK;
}
