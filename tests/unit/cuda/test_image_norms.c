/* Norms over pixels against their operators: one pixel, one channel, many slabs, means far from zero, a first pixel that lies far
   out. */
#include "kernels/cuda/image_norms.h"
#include "tests/unit/cuda/rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>

static const struct {
    int64_t n, pixels, c, groups;
    struct gaps gaps;
    float mean;
    bool relu, over_x, far_first;
} shapes[] = {
    {1, 2, 1, 1, {0, 0}, 0, false, false, false},        {2, 35, 3, 3, {0, 0}, 0, true, false, false},
    {1, 100, 8, 2, {4, 8}, 1e4f, false, true, false},    {2, 1, 8, 2, {0, 0}, 0, false, false, false},
    {1, 4099, 5, 1, {1, 2}, 1e4f, true, false, true},    {3, 257, 16, 4, {0, 16}, 0, true, false, false},
    {1, 700, 96, 8, {0, 0}, -1e4f, false, false, false}, {1, 60, 132, 3, {0, 0}, 0, false, false, false},
    {1, 8200, 4, 4, {0, 0}, 1e4f, false, false, true},   {2, 520, 64, 32, {0, 0}, 100, true, true, true},
};
#define SHAPES (sizeof shapes / sizeof *shapes)

static float *image_of(enum bs__element e, size_t s)
{
    const int64_t pixels = shapes[s].pixels, c = shapes[s].c, count = shapes[s].n * pixels * c;
    float *x = rows_values(e, count, s, shapes[s].mean - 1, shapes[s].mean + 1);
    for (int64_t i = 0; shapes[s].far_first && i < shapes[s].n; i++)
        for (int64_t k = 0; k < c; k++)
            x[i * pixels * c + k] += 256;
    cuda_round(e, x, (size_t)count);
    return x;
}

static void one(struct cuda_test *t, enum bs__element e, size_t s, bool grouped)
{
    const int64_t n = shapes[s].n, pixels = shapes[s].pixels, c = shapes[s].c, count = n * pixels * c;
    const bool affine = grouped;
    float *x = image_of(e, s), *planes = rows_to_planes(x, n, pixels, c), *got = rows_zeros(count);
    float *w = rows_values(BS__F32, c, s + 70, -2, 2), *b = rows_values(BS__F32, c, s + 80, -2, 2);
    const struct bs_attr attr = {.eps = 1e-5f, .groups = (int)shapes[s].groups};
    float *turned =
        rows_reference(grouped ? BS_OP_GROUP_NORM : BS_OP_INSTANCE_NORM, &attr,
                       (struct bs_tensor[]){rows_tensor(planes, BS_SHAPE(n, c, pixels, 1)),
                                            rows_tensor(w, BS_SHAPE(c)), rows_tensor(b, BS_SHAPE(c))},
                       grouped ? 3 : 1);
    float *want = rows_from_planes(turned, n, pixels, c);
    for (int64_t i = 0; shapes[s].relu && i < count; i++)
        want[i] = fmaxf(want[i], 0);
    struct rows from = rows_put(t, e, x, n * pixels, c, shapes[s].gaps), y = from;
    if (!shapes[s].over_x)
        y = rows_room(t, e, n * pixels, c, shapes[s].gaps);
    const struct bs__image_norm norm = {
        .y = y.view,
        .x = from.view,
        .w = affine ? cuda_put(t, BS__F32, w, (size_t)c) : 0,
        .b = affine ? cuda_put(t, BS__F32, b, (size_t)c) : 0,
        .workspace = cuda_room(t, bs__cuda_image_norm_workspace(n, pixels, c)),
        .statistics = s % 2 ? cuda_room(t, bs__cuda_image_norm_statistics(n, c)) : 0,
        .samples = n,
        .pixels = pixels,
        .channels = c,
        .groups = shapes[s].groups,
        .eps = attr.eps,
        .relu = shapes[s].relu};
    CUDA_MUST((grouped ? bs__cuda_group_norm : bs__cuda_instance_norm)(cuda_queue(t), e, &norm, err));
    rows_get(t, &y, got);
    /* image_norms.cu: 30 roundings of 1 + |y|, and of the distance of the first pixel where it lies far out; weights to 2 */
    const double error = 30 * 0x1p-24 + (shapes[s].far_first ? 256 * 0x1p-24 : 0);
    cuda_near(got, want, (size_t)count, 2 * error, error + rows_rounding(e));
    free(x), free(planes), free(got), free(w), free(b), free(turned), free(want);
}

static void instance_norm_of_every_type_and_shape(void **state)
{
    for (int e = BS__F32; e <= BS__BF16; e++)
        for (size_t s = 0; s < SHAPES; s++)
            if (shapes[s].pixels > 1)
                one(*state, (enum bs__element)e, s, false);
}

static void group_norm_of_every_type_and_shape(void **state)
{
    for (int e = BS__F32; e <= BS__BF16; e++)
        for (size_t s = 0; s < SHAPES; s++)
            one(*state, (enum bs__element)e, s, true);
}

static void batch_norm_takes_the_statistics_that_it_is_given(void **state)
{
    struct cuda_test *t = *state;
    for (int e = BS__F32; e <= BS__BF16; e++)
        for (size_t s = 0; s < SHAPES; s++) {
            const int64_t n = shapes[s].n, pixels = shapes[s].pixels, c = shapes[s].c, count = n * pixels * c;
            float *x = image_of((enum bs__element)e, s), *planes = rows_to_planes(x, n, pixels, c);
            float *w = rows_values(BS__F32, c, s + 70, -2, 2), *b = rows_values(BS__F32, c, s + 80, -2, 2);
            float *mean = rows_values(BS__F32, c, s + 20, shapes[s].mean - 1, shapes[s].mean + 1);
            float *variance = rows_values(BS__F32, c, s + 30, 0.1f, 3), *got = rows_zeros(count);
            const struct bs_shape line = BS_SHAPE(c);
            float *turned =
                rows_reference(BS_OP_BATCH_NORM, &(struct bs_attr){.eps = 1e-3f},
                               (struct bs_tensor[]){rows_tensor(planes, BS_SHAPE(n, c, pixels, 1)),
                                                    rows_tensor(w, line), rows_tensor(b, line),
                                                    rows_tensor(mean, line), rows_tensor(variance, line)},
                               5);
            float *want = rows_from_planes(turned, n, pixels, c);
            for (int64_t i = 0; shapes[s].relu && i < count; i++)
                want[i] = fmaxf(want[i], 0);
            struct rows from = rows_put(t, (enum bs__element)e, x, n * pixels, c, shapes[s].gaps), y = from;
            if (!shapes[s].over_x)
                y = rows_room(t, (enum bs__element)e, n * pixels, c, shapes[s].gaps);
            CUDA_MUST(bs__cuda_batch_norm(
                cuda_queue(t), (enum bs__element)e,
                &(struct bs__batch_norm){.y = y.view,
                                         .x = from.view,
                                         .w = cuda_put(t, BS__F32, w, (size_t)c),
                                         .b = cuda_put(t, BS__F32, b, (size_t)c),
                                         .mean = cuda_put(t, BS__F32, mean, (size_t)c),
                                         .variance = cuda_put(t, BS__F32, variance, (size_t)c),
                                         .rows = n * pixels,
                                         .channels = c,
                                         .eps = 1e-3f,
                                         .relu = shapes[s].relu},
                err));
            rows_get(t, &y, got);
            cuda_near(got, want, (size_t)count, 4e-6, rows_rounding((enum bs__element)e) + 1e-6);
            free(x), free(planes), free(w), free(b), free(mean), free(variance), free(got), free(turned),
                free(want);
        }
}

/* Whatever the order in which threads and blocks run. */
static void the_same_image_gives_the_same_bits(void **state)
{
    struct cuda_test *t = *state;
    enum { PIXELS = 3000, C = 12 };
    float *x = rows_values(BS__F32, PIXELS * C, 3, 99, 101), *first = rows_zeros(PIXELS * C),
          *got = rows_zeros(PIXELS * C);
    for (uint64_t seed = 1; seed <= 3; seed++) {
        cuda_seed(t, seed);
        struct rows y = rows_room(t, BS__F32, PIXELS, C, (struct gaps){0, 0});
        CUDA_MUST(bs__cuda_instance_norm(
            cuda_queue(t), BS__F32,
            &(struct bs__image_norm){.y = y.view,
                                     .x = rows_put(t, BS__F32, x, PIXELS, C, (struct gaps){0, 0}).view,
                                     .workspace = cuda_room(t, bs__cuda_image_norm_workspace(1, PIXELS, C)),
                                     .samples = 1,
                                     .pixels = PIXELS,
                                     .channels = C,
                                     .eps = 1e-5f},
            err));
        rows_get(t, &y, seed == 1 ? first : got);
        if (seed > 1)
            cuda_near(got, first, PIXELS * C, 0, 0);
    }
    free(x), free(first), free(got);
}

static void what_cannot_be_is_refused(void **state)
{
    struct cuda_test *t = *state;
    struct bs_err err = {0};
    const bs_address room = cuda_room(t, 4096);
    struct bs__image_norm n = {.y = {room, 6},
                               .x = {room, 6},
                               .workspace = room,
                               .samples = 1,
                               .pixels = 1,
                               .channels = 6,
                               .groups = 4,
                               .eps = 1e-5f};
    assert_int_equal(bs__cuda_group_norm(cuda_queue(t), BS__F32, &n, &err), BS_EINTERNAL);
    assert_string_equal(err.msg, "group_norm: 6 channels in 4 groups");
    assert_int_equal(bs__cuda_instance_norm(cuda_queue(t), BS__F32, &n, &err), BS_EINTERNAL);
    assert_string_equal(err.msg, "instance_norm: a single value has no variance");
    n.groups = 2;
    n.eps = 0;
    assert_int_equal(bs__cuda_group_norm(cuda_queue(t), BS__F32, &n, &err), BS_EINTERNAL);
    assert_string_equal(err.msg, "group_norm: eps is 0; more than 0 is accepted");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(instance_norm_of_every_type_and_shape, cuda_test_end),
        cmocka_unit_test_teardown(group_norm_of_every_type_and_shape, cuda_test_end),
        cmocka_unit_test_teardown(batch_norm_takes_the_statistics_that_it_is_given, cuda_test_end),
        cmocka_unit_test_teardown(the_same_image_gives_the_same_bits, cuda_test_end),
        cmocka_unit_test_teardown(what_cannot_be_is_refused, cuda_test_end),
    };
    return cmocka_run_group_tests_name("unit.cuda.image_norms", tests, cuda_test_open, cuda_test_close);
}
