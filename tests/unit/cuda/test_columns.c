/* Sums down columns against BS_OP_SUM_TO_FEATURE: fewer columns than a vector, more than a tile, more slabs than a warp. */
#include "kernels/cuda/columns.h"
#include "tests/unit/cuda/rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>

static const struct {
    int64_t rows, columns;
    struct gaps gaps;
} shapes[] = {
    {1, 1, {0, 0}},     {5, 3, {1, 2}},     {4100, 1, {0, 0}},  {70000, 4, {0, 0}}, {300, 20, {4, 4}},
    {1000, 96, {0, 0}}, {257, 130, {0, 0}}, {64, 768, {0, 32}}, {2, 5000, {0, 0}},  {9000, 8, {0, 8}},
};

static void columns_are_summed(void **state)
{
    struct cuda_test *t = *state;
    for (int e = BS__F32; e <= BS__BF16; e++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            const int64_t rows = shapes[s].rows, columns = shapes[s].columns;
            float *x = rows_values((enum bs__element)e, rows * columns, s, -1, 3), *got = rows_zeros(columns);
            float *want = rows_reference(BS_OP_SUM_TO_FEATURE, &(struct bs_attr){0},
                                         &(struct bs_tensor){BS_F32, BS_SHAPE(rows, columns), x}, 1);
            const bs_address out = cuda_room(t, (size_t)columns * sizeof(float));
            CUDA_MUST(bs__cuda_column_sums(
                cuda_queue(t), (enum bs__element)e,
                &(struct bs__column_sums){
                    .x = rows_put(t, (enum bs__element)e, x, rows, columns, shapes[s].gaps).view,
                    .out = out,
                    .workspace = cuda_room(t, bs__cuda_column_sums_workspace(rows, columns)),
                    .rows = rows,
                    .columns = columns},
                err));
            cuda_get(t, BS__F32, out, got, (size_t)columns);
            /* no value passes through more than 60 additions of sums below 2 rows */
            cuda_near(got, want, (size_t)columns, 2 * (double)rows * 60 * 0x1p-24, 0x1p-22);
            free(x), free(got), free(want);
        }
}

static void every_row_is_in_one_slab(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 2, 3, 7, 8, 31, 64, 100, 1000, 4097, 65536, 262144, 1000003};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
            for (int64_t samples = 1; samples <= 1000; samples *= 10) {
                struct bs__columns c;
                CUDA_MUST(bs__columns_of("columns", samples, sizes[i], sizes[k], &c, err));
                assert_true((c.slabs - 1) * c.slab < c.rows && c.slabs * c.slab >= c.rows);
                assert_true((int64_t)c.tiles * c.across * 4 >= c.columns);
                assert_true((int64_t)(c.tiles - 1) * c.across * 4 < c.columns);
                assert_true((c.across & (c.across - 1)) == 0 && c.across <= 32);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(columns_are_summed, cuda_test_end),
        cmocka_unit_test_teardown(every_row_is_in_one_slab, cuda_test_end),
    };
    return cmocka_run_group_tests_name("unit.cuda.columns", tests, cuda_test_open, cuda_test_close);
}
