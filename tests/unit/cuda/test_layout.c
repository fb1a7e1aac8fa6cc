/* Values arrive where they belong, whatever the strides, and nowhere else. */
#include "kernels/cuda/layout.h"
#include "tests/unit/cuda/rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

static const struct image {
    int64_t n, c, pixels, padded;
    struct gaps gaps;
} images[] = {
    {1, 3, 35, 8, {0, 0}},   {2, 1, 1, 1, {0, 0}},    {1, 16, 300, 16, {8, 16}}, {2, 3, 257, 4, {3, 5}},
    {1, 17, 33, 20, {0, 0}}, {2, 33, 65, 33, {1, 2}}, {3, 64, 31, 64, {0, 0}},   {1, 40, 1, 72, {0, 24}},
};
#define IMAGES (sizeof images / sizeof *images)

static void planes_become_an_image_with_zeros_behind(void **state)
{
    struct cuda_test *t = *state;
    for (int e = BS__F32; e <= BS__BF16; e++)
        for (size_t k = 0; k < IMAGES; k++) {
            const struct image *i = &images[k];
            const int64_t rows = i->n * i->pixels;
            float *planes = rows_values(BS__F32, rows * i->c, k, -3, 3), *got = rows_zeros(rows * i->padded);
            float *want = rows_zeros(rows * i->padded),
                  *turned = rows_from_planes(planes, i->n, i->pixels, i->c);
            for (int64_t r = 0; r < rows; r++)
                memcpy(want + r * i->padded, turned + r * i->c, (size_t)i->c * sizeof *want);
            cuda_round((enum bs__element)e, want, (size_t)(rows * i->padded));
            struct rows image = rows_room(t, (enum bs__element)e, rows, i->padded, i->gaps);
            CUDA_MUST(bs__cuda_image_from_planes(
                cuda_queue(t), (enum bs__element)e,
                &(struct bs__planes){.planes = cuda_put(t, BS__F32, planes, (size_t)(rows * i->c)),
                                     .image = image.view,
                                     .samples = i->n,
                                     .channels = i->c,
                                     .pixels = i->pixels,
                                     .padded = i->padded},
                err));
            rows_get(t, &image, got);
            cuda_near(got, want, (size_t)(rows * i->padded), 0, 0);
            free(planes), free(got), free(want), free(turned);
        }
}

static void an_image_becomes_planes(void **state)
{
    struct cuda_test *t = *state;
    for (int e = BS__F32; e <= BS__BF16; e++)
        for (size_t k = 0; k < IMAGES; k++) {
            const struct image *i = &images[k];
            const int64_t rows = i->n * i->pixels;
            const size_t count = (size_t)(rows * i->c);
            float *values = rows_values((enum bs__element)e, rows * i->c, k, -3, 3),
                  *got = rows_zeros(rows * i->c);
            float *want = rows_to_planes(values, i->n, i->pixels, i->c);
            const bs_address planes = cuda_room(t, count * sizeof(float));
            CUDA_MUST(bs__cuda_planes_from_image(
                cuda_queue(t), (enum bs__element)e,
                &(struct bs__planes){.planes = planes,
                                     .image =
                                         rows_put(t, (enum bs__element)e, values, rows, i->c, i->gaps).view,
                                     .samples = i->n,
                                     .channels = i->c,
                                     .pixels = i->pixels},
                err));
            cuda_get(t, BS__F32, planes, got, count);
            cuda_near(got, want, count, 0, 0);
            free(values), free(got), free(want);
        }
}

static void copies_of_every_type_and_stride(void **state)
{
    struct cuda_test *t = *state;
    static const struct {
        int64_t batches, rows, columns, from_rows, to_rows; /* rows of a batch in memory */
        struct gaps from, to;
    } cases[] = {
        {1, 1, 1, 1, 1, {0, 0}, {0, 0}},          {1, 300, 5, 300, 300, {0, 0}, {0, 0}},
        {1, 37, 8, 37, 37, {4, 8}, {0, 0}},       {1, 37, 8, 37, 37, {0, 0}, {8, 4}},
        {3, 7, 12, 9, 7, {0, 0}, {0, 0}},         {2, 7, 3, 8, 11, {1, 2}, {3, 1}},
        {2, 600, 16, 601, 600, {16, 0}, {0, 16}},
    };
    for (int from = BS__F32; from <= BS__BF16; from++)
        for (int to = BS__F32; to <= BS__BF16; to++)
            for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
                const int64_t b = cases[k].batches, rows = cases[k].rows, columns = cases[k].columns;
                const int64_t all = b * cases[k].from_rows, kept = b * cases[k].to_rows;
                float *values = rows_values((enum bs__element)from, all * columns, k, -9, 9);
                float *got = rows_zeros(kept * columns), *want = rows_zeros(kept * columns);
                struct rows source = rows_put(t, (enum bs__element)from, values, all, columns, cases[k].from);
                /* rows of the target that are not copied stay as they are */
                for (int64_t i = 0; i < kept * columns; i++)
                    want[i] = 5;
                struct rows target = rows_put(t, (enum bs__element)to, want, kept, columns, cases[k].to);
                for (int64_t i = 0; i < b; i++)
                    memcpy(want + i * cases[k].to_rows * columns, values + i * cases[k].from_rows * columns,
                           (size_t)(rows * columns) * sizeof *want);
                cuda_round((enum bs__element)to, want, (size_t)(kept * columns));
                CUDA_MUST(
                    bs__cuda_copy(cuda_queue(t), (enum bs__element)to, (enum bs__element)from,
                                  &(struct bs__copy){.to = target.view,
                                                     .from = source.view,
                                                     .to_batch = cases[k].to_rows * target.view.stride,
                                                     .from_batch = cases[k].from_rows * source.view.stride,
                                                     .batches = b,
                                                     .rows = rows,
                                                     .columns = columns},
                                  err));
                rows_get(t, &target, got);
                cuda_near(got, want, (size_t)(kept * columns), 0, 0);
                free(values), free(got), free(want);
            }
}

/* The matrix product is made here; what is tested is that the rest makes it a transposed convolution. */
static void a_product_becomes_a_transposed_convolution(void **state)
{
    struct cuda_test *t = *state;
    static const struct {
        int64_t n, h, w, ci, co;
        int k;
        bool bias;
        enum bs__activation activation;
        struct gaps gaps;
    } cases[] = {
        {1, 1, 1, 1, 1, 1, false, BS__PLAIN, {0, 0}},  {2, 3, 5, 3, 4, 2, true, BS__PLAIN, {0, 0}},
        {1, 4, 3, 2, 8, 2, true, BS__RELU, {8, 8}},    {1, 2, 7, 3, 5, 3, true, BS__GELU, {1, 3}},
        {2, 5, 2, 4, 12, 4, false, BS__PLAIN, {0, 4}},
    };
    for (int e = BS__F32; e <= BS__BF16; e++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            const int64_t n = cases[i].n, h = cases[i].h, w = cases[i].w, ci = cases[i].ci, co = cases[i].co,
                          k = cases[i].k;
            const int64_t rows = n * h * w, columns = k * k * co, pixels = rows * k * k;
            float *x = rows_values(BS__F32, rows * ci, i, -1, 1), *planes = rows_to_planes(x, n, h * w, ci);
            float *weight = rows_values(BS__F32, ci * columns, i + 50, -1, 1); /* (ci, co, k, k) */
            float *bias = rows_values(BS__F32, co, i + 90, -1, 1), *product = rows_zeros(rows * columns);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t block = 0; block < k * k; block++)
                    for (int64_t o = 0; o < co; o++) {
                        double sum = 0;
                        for (int64_t c = 0; c < ci; c++)
                            sum += (double)x[r * ci + c] * (double)weight[(c * co + o) * k * k + block];
                        product[r * columns + block * co + o] = (float)sum;
                    }
            float *turned = rows_reference(BS_OP_CONV_TRANSPOSE2D, &(struct bs_attr){.stride = cases[i].k},
                                           (struct bs_tensor[]){rows_tensor(planes, BS_SHAPE(n, ci, h, w)),
                                                                rows_tensor(weight, BS_SHAPE(ci, co, k, k)),
                                                                rows_tensor(bias, BS_SHAPE(co))},
                                           cases[i].bias ? 3 : 2);
            if (cases[i].activation != BS__PLAIN) {
                float *plain = turned;
                turned = rows_reference(cases[i].activation == BS__RELU ? BS_OP_RELU : BS_OP_GELU,
                                        &(struct bs_attr){0},
                                        &(struct bs_tensor){BS_F32, BS_SHAPE(pixels * co), plain}, 1);
                free(plain);
            }
            float *want = rows_from_planes(turned, n, h * w * k * k, co), *got = rows_zeros(pixels * co);
            struct rows y = rows_room(t, (enum bs__element)e, pixels, co, cases[i].gaps);
            CUDA_MUST(bs__cuda_pixel_shuffle(
                cuda_queue(t), (enum bs__element)e,
                &(struct bs__pixel_shuffle){
                    .y = y.view,
                    .x = rows_put(t, (enum bs__element)e, product, rows, columns, (struct gaps){0, 0}).view,
                    .bias = cases[i].bias ? cuda_put(t, BS__F32, bias, (size_t)co) : 0,
                    .samples = n,
                    .h = h,
                    .w = w,
                    .channels = co,
                    .k = (int32_t)k,
                    .activation = cases[i].activation},
                err));
            rows_get(t, &y, got);
            /* the product was rounded, and so is the result */
            cuda_near(got, want, (size_t)(pixels * co), 6 * rows_rounding((enum bs__element)e),
                      rows_rounding((enum bs__element)e));
            free(x), free(planes), free(weight), free(bias), free(product), free(turned), free(want),
                free(got);
        }
}

static void what_cannot_be_is_refused(void **state)
{
    struct cuda_test *t = *state;
    struct bs_err err = {0};
    const bs_address room = cuda_room(t, 1024);
    struct bs__copy c = {.to = {room, 4}, .from = {room, 3}, .batches = 1, .rows = 2, .columns = 4};
    assert_int_equal(bs__cuda_copy(cuda_queue(t), BS__F32, BS__F32, &c, &err), BS_EINTERNAL);
    assert_string_equal(err.msg, "copy_from_f32: the source has rows of 4 elements every 3 elements");
    c.from = (struct bs__rows){0, 4};
    assert_int_equal(bs__cuda_copy(cuda_queue(t), BS__F32, BS__F32, &c, &err), BS_EINTERNAL);
    assert_string_equal(err.msg, "copy_from_f32: the source is not given");
    c = (struct bs__copy){
        .to = {room, 8}, .from = {room, 8}, .batches = 1, .rows = INT64_C(1) << 40, .columns = 8};
    assert_int_equal(bs__cuda_copy(cuda_queue(t), BS__F32, BS__F32, &c, &err), BS_ELIMIT);
    struct bs__planes p = {
        .planes = room, .image = {room, 8}, .samples = 1, .channels = 3, .pixels = 5, .padded = 2};
    assert_int_equal(bs__cuda_image_from_planes(cuda_queue(t), BS__F32, &p, &err), BS_EINTERNAL);
    assert_string_equal(err.msg,
                        "image_from_planes: the number of channels in memory is 2; at least 3 is accepted");
}

static void a_division_by_a_product_is_exact(void **state)
{
    (void)state;
    static const int64_t numbers[] = {0,   1,   2,    3,     6,       7,          8,          100,
                                      255, 256, 4095, 65537, 1000003, 0x3fffffff, 0x7ffffffe, 0x7fffffff};
    for (int64_t by = 1; by <= 0x7fffffff; by = by < 300 ? by + 1 : by * 2 - by / 3) {
        const struct bs__divisor d = bs__divisor_of(by);
        for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
            for (int64_t n = numbers[i] / by * by - 1; n <= numbers[i] / by * by + by;
                 n += by > 2 ? by - 1 : 1) {
                if (n < 0 || n > 0x7fffffff)
                    continue;
                const uint64_t quotient = ((uint64_t)n * d.multiply) >> d.shift;
                assert_int_equal(quotient, n / by);
            }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(planes_become_an_image_with_zeros_behind, cuda_test_end),
        cmocka_unit_test_teardown(an_image_becomes_planes, cuda_test_end),
        cmocka_unit_test_teardown(copies_of_every_type_and_stride, cuda_test_end),
        cmocka_unit_test_teardown(a_product_becomes_a_transposed_convolution, cuda_test_end),
        cmocka_unit_test_teardown(what_cannot_be_is_refused, cuda_test_end),
        cmocka_unit_test_teardown(a_division_by_a_product_is_exact, cuda_test_end),
    };
    return cmocka_run_group_tests_name("unit.cuda.layout", tests, cuda_test_open, cuda_test_close);
}
