/* Element types, shapes and number formats; see tensor.h. */
#include "kernels/tensor.h"

#include "kernels/base/checked.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size;
} dtypes[BS_DTYPE_COUNT] = {
    [BS_F32] = {"f32", 4}, [BS_BF16] = {"bf16", 2}, [BS_F16] = {"f16", 2}, [BS_F64] = {"f64", 8},
    [BS_I64] = {"i64", 8}, [BS_I32] = {"i32", 4},   [BS_I16] = {"i16", 2}, [BS_I8] = {"i8", 1},
    [BS_U8] = {"u8", 1},   [BS_BOOL] = {"bool", 1},
};

size_t bs_dtype_size(enum bs_dtype t)
{
    BS_ASSERT((unsigned)t < BS_DTYPE_COUNT);
    return dtypes[t].size;
}

const char *bs_dtype_name(enum bs_dtype t)
{
    BS_ASSERT((unsigned)t < BS_DTYPE_COUNT);
    return dtypes[t].name;
}

bool bs_shape_equal(const struct bs_shape *a, const struct bs_shape *b)
{
    if (a->ndim != b->ndim)
        return false;
    for (int i = 0; i < a->ndim; i++)
        if (a->dim[i] != b->dim[i])
            return false;
    return true;
}

bs_status bs_shape_check(const char *what, const struct bs_shape *s, struct bs_err *err)
{
    if (s->ndim < 0 || s->ndim > BS_MAX_DIM)
        return BS_FAIL(err, BS_EINVAL, "%s has %d dimensions; 0 to %d are accepted", what, s->ndim,
                       BS_MAX_DIM);
    char text[BS_SHAPE_TEXT];
    size_t count = 1;
    bool fits = true;
    for (int i = 0; i < s->ndim; i++) {
        if (s->dim[i] < 1)
            return BS_FAIL(err, BS_EINVAL, "%s is %s; every dimension must be at least 1", what,
                           bs_shape_text(s, text, sizeof text));
        fits = fits && bs_mul(count, (size_t)s->dim[i], &count);
    }
    if (!fits || count > BS_MAX_ELEMENTS)
        return BS_FAIL(err, BS_ELIMIT, "%s is %s; a tensor may have at most %zu elements", what,
                       bs_shape_text(s, text, sizeof text), BS_MAX_ELEMENTS);
    return BS_OK;
}

size_t bs_shape_count(const struct bs_shape *s)
{
    BS_ASSERT(s->ndim >= 0 && s->ndim <= BS_MAX_DIM);
    size_t count = 1;
    for (int i = 0; i < s->ndim; i++) {
        BS_ASSERT(s->dim[i] >= 0);
        BS_ASSERT(bs_mul(count, (size_t)s->dim[i], &count));
    }
    return count;
}

const char *bs_shape_text(const struct bs_shape *s, char *buf, size_t len)
{
    if (s->ndim == 0) {
        snprintf(buf, len, "scalar");
        return buf;
    }
    size_t used = 0;
    if (len)
        buf[0] = '\0';
    for (int i = 0; i < s->ndim && i < BS_MAX_DIM && used < len; i++) {
        int n = snprintf(buf + used, len - used, "%s%" PRId64, i ? "x" : "", s->dim[i]);
        used += n > 0 ? (size_t)n : 0;
    }
    return buf;
}

uint16_t bs_f32_to_bf16(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)((bits >> 16) | 0x40u); /* a quiet NaN: rounding could carry it into infinity */
    uint32_t tie_to_even = (bits >> 16) & 1u;
    return (uint16_t)((bits + 0x7fffu + tie_to_even) >> 16);
}

float bs_bf16_to_f32(uint16_t v)
{
    uint32_t bits = (uint32_t)v << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

uint16_t bs_f32_to_f16(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    bits &= 0x7FFFFFFFu;
    if (bits > 0x7F800000u) /* NaN: quiet */
        return (uint16_t)(sign | 0x7E00u);
    if (bits >= 0x477FF000u) /* from 65520 on, half way between the largest number and the next */
        return (uint16_t)(sign | 0x7C00u);
    if (bits < 0x33000001u) /* up to 2^-25, half of the smallest number */
        return sign;
    const uint32_t exponent = bits >> 23;
    /* Below 2^-14 the numbers are multiples of 2^-24: the leading one becomes explicit and more bits go. */
    const uint32_t drop = exponent < 113 ? 126 - exponent : 13;
    const uint32_t value = exponent < 113 ? (bits & 0x7FFFFFu) | 0x800000u : bits - (UINT32_C(112) << 23);
    const uint32_t half = UINT32_C(1) << (drop - 1), kept = value >> drop, rest = value & (2 * half - 1);
    return (uint16_t)(sign | (kept + (rest > half || (rest == half && (kept & 1)))));
}

float bs_f16_to_f32(uint16_t v)
{
    uint32_t sign = (uint32_t)(v & 0x8000u) << 16, exponent = (v >> 10) & 0x1fu, mantissa = v & 0x3ffu, bits;
    if (exponent == 0x1fu) {
        bits = sign | 0x7f800000u | mantissa << 13;
    } else if (exponent) {
        bits = sign | (exponent + 112u) << 23 | mantissa << 13;
    } else if (!mantissa) {
        bits = sign;
    } else {
        /* subnormal: shift until the leading one is implicit */
        uint32_t e = 113u;
        while (!(mantissa & 0x400u)) {
            mantissa <<= 1;
            e--;
        }
        bits = sign | e << 23 | (mantissa & 0x3ffu) << 13;
    }
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}
