/* The .npy reader; see npy.h. A file is a magic, a version, a header length and a header that is the text of a Python
   dictionary with the keys descr, fortran_order and shape, then the values. */
#include "tests/support/npy.h"

#include "kernels/base/checked.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FILE   ((size_t)1 << 30)
#define MAX_HEADER ((size_t)65536)

static const struct {
    const char *descr;
    enum bs_npy_type type;
    size_t size;
} types[] = {
    {"|b1", BS_NPY_BOOL, 1}, {"|i1", BS_NPY_I1, 1}, {"|u1", BS_NPY_U1, 1}, {"<i2", BS_NPY_I2, 2},
    {"<u2", BS_NPY_U2, 2},   {"<i4", BS_NPY_I4, 4}, {"<u4", BS_NPY_U4, 4}, {"<i8", BS_NPY_I8, 8},
    {"<u8", BS_NPY_U8, 8},   {"<f4", BS_NPY_F4, 4}, {"<f8", BS_NPY_F8, 8},
};

/* The value of a key of the header's dictionary: a pointer behind the colon and blanks, or NULL. */
static const char *value_of(const char *header, const char *key)
{
    const char *at = strstr(header, key);
    if (!at)
        return NULL;
    at += strlen(key);
    while (*at == ' ')
        at++;
    if (*at++ != ':')
        return NULL;
    while (*at == ' ')
        at++;
    return at;
}

static bool parse_shape(const char *at, struct bs_npy *a)
{
    if (*at++ != '(')
        return false;
    a->ndim = 0;
    a->count = 1;
    for (;;) {
        while (*at == ' ' || *at == ',')
            at++;
        if (*at == ')')
            return true;
        if (*at < '0' || *at > '9' || a->ndim == BS_NPY_MAX_DIM)
            return false;
        size_t side = 0;
        for (; *at >= '0' && *at <= '9'; at++)
            if (!bs_mul(side, 10, &side) || !bs_add(side, (size_t)(*at - '0'), &side))
                return false;
        a->shape[a->ndim++] = side;
        if (!bs_mul(a->count, side, &a->count))
            return false;
    }
}

static bool parse_header(const char *header, struct bs_npy *a, size_t *size)
{
    const char *descr = value_of(header, "'descr'"), *order = value_of(header, "'fortran_order'");
    const char *shape = value_of(header, "'shape'");
    if (!descr || !order || !shape || strncmp(order, "False", 5) != 0)
        return false;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (descr[0] == '\'' && strncmp(descr + 1, types[i].descr, 3) == 0 && descr[4] == '\'') {
            a->type = types[i].type;
            *size = types[i].size;
            return parse_shape(shape, a);
        }
    return false;
}

/* Length of what precedes the header and of the header itself. */
static bool header_place(const uint8_t *file, size_t bytes, size_t *start, size_t *length)
{
    if (bytes < 12 || memcmp(file, "\x93NUMPY", 6) != 0 || file[6] < 1 || file[6] > 3)
        return false;
    *start = file[6] == 1 ? 10 : 12;
    *length = file[8] | (size_t)file[9] << 8;
    if (file[6] > 1)
        *length |= (size_t)file[10] << 16 | (size_t)file[11] << 24;
    return *length <= MAX_HEADER && *length <= bytes - *start;
}

static bs_status read_file(const char *path, uint8_t **file, size_t *bytes, struct bs_err *err)
{
    bs_status rc = BS_OK;
    FILE *in = fopen(path, "rb");
    long end;

    *file = NULL;
    if (!in)
        return BS_FAIL(err, errno == ENOENT ? BS_ENOTFOUND : BS_EIO, "%s: %s", path, strerror(errno));
    if (fseek(in, 0, SEEK_END) != 0 || (end = ftell(in)) < 0 || fseek(in, 0, SEEK_SET) != 0) {
        rc = BS_FAIL(err, BS_EIO, "%s: %s", path, strerror(errno));
        goto cleanup;
    }
    if ((size_t)end > MAX_FILE) {
        rc = BS_FAIL(err, BS_ELIMIT, "%s: %ld bytes, at most %zu are read", path, end, MAX_FILE);
        goto cleanup;
    }
    *bytes = (size_t)end;
    if (!(*file = malloc(*bytes + 1))) {
        rc = BS_FAIL(err, BS_ENOMEM, "%s: no memory for %zu bytes", path, *bytes);
        goto cleanup;
    }
    if (fread(*file, 1, *bytes, in) != *bytes)
        rc = BS_FAIL(err, BS_EIO, "%s: ends early", path);
cleanup:
    if (rc != BS_OK) {
        free(*file);
        *file = NULL;
    }
    fclose(in);
    return rc;
}

bs_status bs_npy_read(const char *path, struct bs_npy *out, struct bs_err *err)
{
    bs_status rc = BS_OK;
    uint8_t *file = NULL;
    char *header = NULL;
    size_t bytes = 0, start, length, size, data;
    struct bs_npy a = {0};

    *out = a;
    if ((rc = read_file(path, &file, &bytes, err)) != BS_OK)
        goto cleanup;
    if (!header_place(file, bytes, &start, &length)) {
        rc = BS_FAIL(err, BS_ECORRUPT, "%s: not a .npy file", path);
        goto cleanup;
    }
    if (!(header = calloc(1, length + 1))) {
        rc = BS_FAIL(err, BS_ENOMEM, "%s: no memory for the header", path);
        goto cleanup;
    }
    memcpy(header, file + start, length);
    if (!parse_header(header, &a, &size)) {
        rc = BS_FAIL(err, BS_EUNSUPPORTED, "%s: header %.100s is not understood", path, header);
        goto cleanup;
    }
    if (!bs_mul(a.count, size, &data) || data != bytes - start - length) {
        rc = BS_FAIL(err, BS_ECORRUPT, "%s: %zu bytes of values for %zu values", path, bytes - start - length,
                     a.count);
        goto cleanup;
    }
    if (!(a.data = malloc(data + 1))) {
        rc = BS_FAIL(err, BS_ENOMEM, "%s: no memory for %zu bytes", path, data);
        goto cleanup;
    }
    memcpy(a.data, file + start + length, data);
    *out = a;
cleanup:
    free(file);
    free(header);
    return rc;
}

void bs_npy_free(struct bs_npy *a)
{
    free(a->data);
    *a = (struct bs_npy){0};
}

static bool is_float(const struct bs_npy *a)
{
    return a->type == BS_NPY_F4 || a->type == BS_NPY_F8;
}

static double float_at(const struct bs_npy *a, size_t i)
{
    return a->type == BS_NPY_F4 ? ((const float *)a->data)[i] : ((const double *)a->data)[i];
}

/* Value i as a 64-bit integer; false when it does not fit one. */
static bool integer_at(const struct bs_npy *a, size_t i, int64_t *v)
{
    switch (a->type) {
    case BS_NPY_BOOL:
    case BS_NPY_U1:
        *v = ((const uint8_t *)a->data)[i];
        return true;
    case BS_NPY_I1:
        *v = ((const int8_t *)a->data)[i];
        return true;
    case BS_NPY_I2:
        *v = ((const int16_t *)a->data)[i];
        return true;
    case BS_NPY_U2:
        *v = ((const uint16_t *)a->data)[i];
        return true;
    case BS_NPY_I4:
        *v = ((const int32_t *)a->data)[i];
        return true;
    case BS_NPY_U4:
        *v = ((const uint32_t *)a->data)[i];
        return true;
    case BS_NPY_I8:
        *v = ((const int64_t *)a->data)[i];
        return true;
    case BS_NPY_U8:
        *v = (int64_t)((const uint64_t *)a->data)[i];
        return *v >= 0;
    default:
        return false;
    }
}

static bs_status bad_value(const struct bs_npy *a, size_t i, const char *wanted, struct bs_err *err)
{
    if (is_float(a))
        return BS_FAIL(err, BS_EINVAL, "array of floating point values: %s is wanted", wanted);
    return BS_FAIL(err, BS_EINVAL, "value %zu does not fit %s", i, wanted);
}

bs_status bs_npy_to_i64(const struct bs_npy *a, int64_t **out, struct bs_err *err)
{
    int64_t *v = malloc((a->count + 1) * sizeof *v);
    *out = NULL;
    if (!v)
        return BS_FAIL(err, BS_ENOMEM, "no memory for %zu values", a->count);
    for (size_t i = 0; i < a->count; i++)
        if (!integer_at(a, i, &v[i])) {
            free(v);
            return bad_value(a, i, "a signed 64-bit integer", err);
        }
    *out = v;
    return BS_OK;
}

bs_status bs_npy_to_f64(const struct bs_npy *a, double **out, struct bs_err *err)
{
    double *v = malloc((a->count + 1) * sizeof *v);
    int64_t n;
    *out = NULL;
    if (!v)
        return BS_FAIL(err, BS_ENOMEM, "no memory for %zu values", a->count);
    for (size_t i = 0; i < a->count; i++) {
        if (is_float(a)) {
            v[i] = float_at(a, i);
        } else if (integer_at(a, i, &n)) {
            v[i] = (double)n;
        } else {
            free(v);
            return bad_value(a, i, "a signed 64-bit integer", err);
        }
    }
    *out = v;
    return BS_OK;
}

bs_status bs_npy_to_f32(const struct bs_npy *a, float **out, struct bs_err *err)
{
    double *wide;
    bs_status rc = bs_npy_to_f64(a, &wide, err);
    *out = NULL;
    if (rc != BS_OK)
        return rc;
    float *v = malloc((a->count + 1) * sizeof *v);
    if (v)
        for (size_t i = 0; i < a->count; i++)
            v[i] = (float)wide[i];
    else
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for %zu values", a->count);
    free(wide);
    *out = v;
    return rc;
}

bs_status bs_npy_to_u32(const struct bs_npy *a, uint32_t **out, struct bs_err *err)
{
    uint32_t *v = malloc((a->count + 1) * sizeof *v);
    int64_t n;
    *out = NULL;
    if (!v)
        return BS_FAIL(err, BS_ENOMEM, "no memory for %zu values", a->count);
    for (size_t i = 0; i < a->count; i++) {
        if (!integer_at(a, i, &n) || n < 0 || n > UINT32_MAX) {
            free(v);
            return bad_value(a, i, "an unsigned 32-bit integer", err);
        }
        v[i] = (uint32_t)n;
    }
    *out = v;
    return BS_OK;
}

bs_status bs_npy_to_u8(const struct bs_npy *a, uint8_t **out, struct bs_err *err)
{
    uint8_t *v = malloc(a->count + 1);
    int64_t n;
    *out = NULL;
    if (!v)
        return BS_FAIL(err, BS_ENOMEM, "no memory for %zu values", a->count);
    for (size_t i = 0; i < a->count; i++) {
        if (!integer_at(a, i, &n) || n < 0 || n > UINT8_MAX) {
            free(v);
            return bad_value(a, i, "an unsigned 8-bit integer", err);
        }
        v[i] = (uint8_t)n;
    }
    *out = v;
    return BS_OK;
}
