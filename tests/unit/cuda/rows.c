#include "tests/unit/cuda/rows.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#define UNTOUCHED (-77.0f)

float *rows_zeros(int64_t count)
{
    float *values = calloc((size_t)count + 1, sizeof *values);
    assert_non_null(values);
    return values;
}

float *rows_values(enum bs__element e, int64_t count, uint64_t seed, float lo, float hi)
{
    float *values = rows_zeros(count);
    cuda_fill(values, (size_t)count, seed, lo, hi);
    cuda_round(e, values, (size_t)count);
    return values;
}

static struct rows empty(enum bs__element e, int64_t count, int64_t columns, struct gaps gaps)
{
    return (struct rows){.view = {0, columns + gaps.between},
                         .element = e,
                         .count = count,
                         .columns = columns,
                         .before = gaps.before,
                         .dense = gaps.before == 0 && gaps.between == 0};
}

static int64_t elements(const struct rows *r)
{
    return r->before + (r->count - 1) * r->view.stride + r->columns;
}

/* Puts the rows, or where there are none their place, between gaps. */
static struct rows put(struct cuda_test *t, struct rows r, const float *values, float gap)
{
    const int64_t count = elements(&r);
    float *all = rows_zeros(count);
    for (int64_t i = 0; i < count; i++)
        all[i] = gap;
    for (int64_t i = 0; values && i < r.count; i++)
        memcpy(all + r.before + i * r.view.stride, values + i * r.columns, (size_t)r.columns * sizeof *all);
    r.view.at =
        cuda_put(t, r.element, all, (size_t)count) + (bs_address)r.before * bs__element_bytes(r.element);
    free(all);
    return r;
}

struct rows rows_put(struct cuda_test *t, enum bs__element e, const float *values, int64_t count,
                     int64_t columns, struct gaps gaps)
{
    return put(t, empty(e, count, columns, gaps), values, NAN);
}

struct rows rows_room(struct cuda_test *t, enum bs__element e, int64_t count, int64_t columns,
                      struct gaps gaps)
{
    struct rows r = empty(e, count, columns, gaps);
    if (!r.dense)
        return put(t, r, NULL, UNTOUCHED);
    r.view.at = cuda_room(t, (size_t)(count * columns) * bs__element_bytes(e));
    return r;
}

void rows_get(struct cuda_test *t, const struct rows *r, float *values)
{
    const int64_t count = elements(r);
    float *all = rows_zeros(count);
    cuda_get(t, r->element, r->view.at - (bs_address)r->before * bs__element_bytes(r->element), all,
             (size_t)count);
    for (int64_t i = 0; i < count; i++) {
        const int64_t at = i - r->before, row = at / r->view.stride, column = at % r->view.stride;
        if (at >= 0 && column < r->columns)
            values[row * r->columns + column] = all[i];
        else if (all[i] != UNTOUCHED && !isnan(all[i])) /* NaN: an input that was overwritten in place */
            fail_msg("element %lld between the rows was written: %g", (long long)i, (double)all[i]);
    }
    free(all);
}

double rows_rounding(enum bs__element e)
{
    return e == BS__F32 ? 0x1p-24 : (e == BS__F16 ? 0x1p-11 : 0x1p-8);
}

float *rows_to_planes(const float *rows, int64_t n, int64_t pixels, int64_t c)
{
    float *planes = rows_zeros(n * pixels * c);
    for (int64_t s = 0; s < n; s++)
        for (int64_t i = 0; i < pixels; i++)
            for (int64_t k = 0; k < c; k++)
                planes[(s * c + k) * pixels + i] = rows[(s * pixels + i) * c + k];
    return planes;
}

float *rows_from_planes(const float *planes, int64_t n, int64_t pixels, int64_t c)
{
    return rows_to_planes(planes, n, c, pixels);
}

float *rows_reference(enum bs_op op, const struct bs_attr *attr, const struct bs_tensor *in, int ninput)
{
    const struct bs_op_def *def = bs_op_def(op);
    struct bs_shape shapes[BS_MAX_INPUTS];
    struct bs_tensor out = {.dtype = BS_F32};
    struct bs_err err = {0};
    for (int i = 0; i < ninput; i++)
        shapes[i] = in[i].shape;
    if (def->infer(attr, shapes, ninput, &out.shape, &err) != BS_OK)
        fail_msg("%s", err.msg);
    out.data = rows_zeros((int64_t)bs_shape_count(&out.shape));
    def->reference(attr, in, ninput, &out);
    return out.data;
}
