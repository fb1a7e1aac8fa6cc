/* Layer norm and RMS norm against their operators: rows of every length that takes another way, with and without the residual
   addition, means far from zero. */
#include "kernels/cuda/norms.h"
#include "tests/unit/cuda/rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum residual {
    NONE,
    KEPT,
    IN_PLACE,
    FIRST,
    READ
}; /* FIRST: there is none yet, x begins it. READ: not kept */

static const struct {
    int64_t rows, columns;
    struct gaps gaps;
    enum residual residual;
    float mean;
    bool over_x; /* y in the memory of x */
} shapes[] = {
    {1, 1, {0, 0}, NONE, 0, false},          {3, 2, {0, 0}, KEPT, 0, false},
    {5, 7, {1, 2}, IN_PLACE, 0, false},      {9, 96, {0, 0}, NONE, 1e4f, false},
    {6, 128, {4, 8}, KEPT, 0, true},         {2, 255, {0, 0}, FIRST, 3, false},
    {4, 256, {0, 0}, IN_PLACE, 1e4f, false}, {5, 257, {0, 0}, READ, 0, false},
    {3, 192, {0, 0}, FIRST, 0, true},        {2, 768, {0, 4}, KEPT, 1e4f, false},
    {7, 1279, {1, 0}, NONE, 0, false},       {1, 1280, {0, 0}, READ, -1e4f, false},
    {2, 1281, {0, 0}, IN_PLACE, 0, false},   {3, 2048, {0, 0}, KEPT, 1e4f, false},
    {2, 5003, {0, 0}, FIRST, 1e4f, true},    {1, 4100, {4, 4}, READ, 0, false},
    {2, 3072, {0, 0}, NONE, 0, false},
};

static void one(struct cuda_test *t, enum bs__element e, size_t s, bool centred, bool bias)
{
    const int64_t rows = shapes[s].rows, columns = shapes[s].columns, count = rows * columns;
    const enum residual how = shapes[s].residual;
    const bool added = how == KEPT || how == IN_PLACE || how == READ,
               kept = how == KEPT || how == IN_PLACE || how == FIRST;
    /* The mean comes in float: 16 bits hold 1e4 to the nearest 8 or 64. */
    const float of_x = added ? 0 : shapes[s].mean, of_residual = shapes[s].mean;
    float *x = rows_values(e, count, s, of_x - 1, of_x + 1), *sum = rows_zeros(count),
          *got = rows_zeros(count);
    float *before = rows_values(BS__F32, count, s + 50, of_residual - 1, of_residual + 1);
    float *w = rows_values(BS__F32, columns, s + 70, -2, 2),
          *b = rows_values(BS__F32, columns, s + 80, -2, 2);
    for (int64_t i = 0; i < count; i++)
        sum[i] = added ? x[i] + before[i] : x[i];
    if (centred && !bias)
        for (int64_t i = 0; i < columns; i++)
            b[i] = 0;
    const struct bs_shape shape = BS_SHAPE(rows, columns), line = BS_SHAPE(columns);
    const struct bs_attr attr = {.eps = 1e-5f};
    float *want = rows_reference(
        centred ? BS_OP_LAYER_NORM : BS_OP_RMS_NORM, &attr,
        (struct bs_tensor[]){rows_tensor(sum, shape), rows_tensor(w, line), rows_tensor(b, line)},
        centred ? 3 : 2);
    struct rows from = rows_put(t, e, x, rows, columns, shapes[s].gaps), y = from, residual = {0}, out = {0};
    if (!shapes[s].over_x)
        y = rows_room(t, e, rows, columns, shapes[s].gaps);
    if (added)
        residual = rows_put(t, BS__F32, before, rows, columns, shapes[s].gaps);
    if (kept)
        out = how == IN_PLACE ? residual : rows_room(t, BS__F32, rows, columns, shapes[s].gaps);
    const struct bs__row_norm n = {.y = y.view,
                                   .x = from.view,
                                   .residual = residual.view,
                                   .residual_out = out.view,
                                   .w = cuda_put(t, BS__F32, w, (size_t)columns),
                                   .b = centred && bias ? cuda_put(t, BS__F32, b, (size_t)columns) : 0,
                                   .rows = rows,
                                   .columns = columns,
                                   .eps = attr.eps};
    CUDA_MUST((centred ? bs__cuda_layer_norm : bs__cuda_rms_norm)(cuda_queue(t), e, &n, err));
    rows_get(t, &y, got);
    /* norms.cu: (columns/32 + 10) roundings of 1 + |y|, times weights up to 2 */
    const double error = ((double)columns / 32 + 10) * 0x1p-24;
    cuda_near(got, want, (size_t)count, 2 * error, error + rows_rounding(e));
    if (kept) {
        rows_get(t, &out, got);
        cuda_near(got, sum, (size_t)count, 0, 0);
    }
    free(x), free(sum), free(got), free(before), free(w), free(b), free(want);
}

static void layer_norm_of_every_type_length_and_mean(void **state)
{
    for (int e = BS__F32; e <= BS__BF16; e++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            one(*state, (enum bs__element)e, s, true, s % 3 != 0);
}

static void rms_norm_of_every_type_and_length(void **state)
{
    for (int e = BS__F32; e <= BS__BF16; e++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            one(*state, (enum bs__element)e, s, false, false);
}

static void rows_that_are_all_alike_become_the_bias(void **state)
{
    struct cuda_test *t = *state;
    static const int64_t lengths[] = {100, 300, 2000};
    for (size_t k = 0; k < 3; k++) {
        const int64_t columns = lengths[k];
        float *x = rows_zeros(columns), *w = rows_values(BS__F32, columns, 1, 1, 2),
              *got = rows_zeros(columns);
        float *b = rows_values(BS__F32, columns, 2, -1, 1);
        for (int64_t i = 0; i < columns; i++)
            x[i] = 12345.678f;
        struct rows y = rows_room(t, BS__F32, 1, columns, (struct gaps){0, 0});
        CUDA_MUST(bs__cuda_layer_norm(
            cuda_queue(t), BS__F32,
            &(struct bs__row_norm){.y = y.view,
                                   .x = rows_put(t, BS__F32, x, 1, columns, (struct gaps){0, 0}).view,
                                   .w = cuda_put(t, BS__F32, w, (size_t)columns),
                                   .b = cuda_put(t, BS__F32, b, (size_t)columns),
                                   .rows = 1,
                                   .columns = columns,
                                   .eps = 1e-5f},
            err));
        rows_get(t, &y, got);
        /* The second mean takes back what the first one missed, to its last bits: 2e-3 of 1 / sqrt(eps) = 316. */
        cuda_near(got, b, (size_t)columns, 1e-3, 0);
        free(x), free(w), free(b), free(got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(layer_norm_of_every_type_length_and_mean, cuda_test_end),
        cmocka_unit_test_teardown(rms_norm_of_every_type_and_length, cuda_test_end),
        cmocka_unit_test_teardown(rows_that_are_all_alike_become_the_bias, cuda_test_end),
    };
    return cmocka_run_group_tests_name("unit.cuda.norms", tests, cuda_test_open, cuda_test_close);
}
