/* Promises of smoothing, distance transform and boundaries. */
#include "model/instances/instances_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint32_t random_state;

static uint32_t random_below(uint32_t n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)random_state * n) >> 32);
}

static void distances_are_the_smallest_over_all_zeros(void **state)
{
    (void)state;
    random_state = 2;
    for (int round = 0; round < 300; round++) {
        size_t h = 1 + random_below(15), w = 1 + random_below(15);
        uint8_t in[225];
        float out[225];
        struct bs_err err;
        uint32_t rarity = 1 + random_below(40);
        for (size_t i = 0; i < h * w; i++)
            in[i] = random_below(rarity) != 0;
        in[random_below((uint32_t)(h * w))] = 0;
        assert_int_equal(bs_distance_transform(in, h, w, out, &err), BS_OK);
        for (size_t i = 0; i < h * w; i++) {
            double nearest = INFINITY;
            for (size_t k = 0; k < h * w; k++)
                if (!in[k]) {
                    double dy = (double)(i / w) - (double)(k / w), dx = (double)(i % w) - (double)(k % w);
                    nearest = fmin(nearest, dy * dy + dx * dx);
                }
            assert_true(out[i] == (float)sqrt(nearest));
        }
    }
}

static void an_image_without_zeros_is_measured_from_above_its_first_pixel(void **state)
{
    (void)state;
    uint8_t in[6] = {1, 1, 1, 1, 1, 1};
    float out[6];
    struct bs_err err;
    assert_int_equal(bs_distance_transform(in, 2, 3, out, &err), BS_OK);
    assert_true(out[0] == 1 && out[2] == sqrtf(5) && out[5] == sqrtf(8));
}

static void empty_images_have_no_distances(void **state)
{
    (void)state;
    uint8_t in = 1;
    float out = 7;
    struct bs_err err;
    assert_int_equal(bs_distance_transform(&in, 0, 5, &out, &err), BS_OK);
    assert_int_equal(bs_gaussian(&out, 5, 0, 1, &out, &err), BS_OK);
    assert_true(out == 7);
}

/* Smoothing in strips of every height against smoothing at once, to the last bit, for sides from one pixel on. */
static void strips_are_smoothed_as_the_whole_is(void **state)
{
    (void)state;
    random_state = 3;
    for (int round = 0; round < 200; round++) {
        size_t h = 1 + random_below(30), w = 1 + random_below(40);
        double sigma = 0.3 + random_below(30) / 10.0;
        float in[1200], whole[1200], strip[1200], row[40];
        struct bs__kernel kernel;
        struct bs_err err;
        for (size_t i = 0; i < h * w; i++)
            in[i] = (float)random_below(1000) / 1000;
        assert_int_equal(bs_gaussian(in, h, w, sigma, whole, &err), BS_OK);
        assert_int_equal(bs__gaussian_kernel(sigma, &kernel, &err), BS_OK);
        size_t r = (size_t)kernel.radius, height = 1 + random_below((uint32_t)h);
        for (size_t top = 0; top < h; top += height) {
            size_t bottom = top + height < h ? top + height : h, from = top > r ? top - r : 0;
            size_t to = h - bottom > r ? bottom + r : h;
            float *around = malloc((to - from) * w * sizeof *around); /* exactly what may be read */
            assert_non_null(around);
            memcpy(around, in + from * w, (to - from) * w * sizeof *around);
            assert_int_equal(
                bs__gaussian_rows(&kernel, around, from, h, w, top, bottom, row, strip + top * w, NULL, &err),
                BS_OK);
            free(around);
        }
        assert_memory_equal(strip, whole, h * w * sizeof *whole);
        free(kernel.tap);
    }
}

static void a_constant_stays_constant(void **state)
{
    (void)state;
    float in[77], out[77];
    struct bs_err err;
    for (int i = 0; i < 77; i++)
        in[i] = 0.25f;
    assert_int_equal(bs_gaussian(in, 7, 11, 2.5, out, &err), BS_OK);
    for (int i = 0; i < 77; i++)
        assert_true(fabsf(out[i] - 0.25f) < 1e-6f);
}

static void absurd_sigmas_are_refused(void **state)
{
    (void)state;
    const double sigmas[] = {0, -1, NAN, INFINITY, 1e9};
    float in = 0, out;
    for (int i = 0; i < 5; i++) {
        struct bs_err err;
        assert_int_equal(bs_gaussian(&in, 1, 1, sigmas[i], &out, &err), BS_EINVAL);
        assert_non_null(strstr(err.msg, "sigma"));
    }
}

static void boundaries_lie_on_both_sides_or_on_objects_only(void **state)
{
    (void)state;
    const uint32_t labels[5] = {0, 0, 4, 4, 5};
    const uint8_t thick[5] = {0, 1, 1, 1, 1}, inner[5] = {0, 0, 1, 1, 1};
    uint8_t out[5];
    struct bs_err err;
    assert_int_equal(bs_find_boundaries(labels, 1, 5, BS_BOUNDARY_THICK, out, &err), BS_OK);
    assert_memory_equal(out, thick, 5);
    assert_int_equal(bs_find_boundaries(labels, 5, 1, BS_BOUNDARY_INNER, out, &err), BS_OK);
    assert_memory_equal(out, inner, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distances_are_the_smallest_over_all_zeros),
        cmocka_unit_test(an_image_without_zeros_is_measured_from_above_its_first_pixel),
        cmocka_unit_test(empty_images_have_no_distances),
        cmocka_unit_test(strips_are_smoothed_as_the_whole_is),
        cmocka_unit_test(a_constant_stays_constant),
        cmocka_unit_test(absurd_sigmas_are_refused),
        cmocka_unit_test(boundaries_lie_on_both_sides_or_on_objects_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
