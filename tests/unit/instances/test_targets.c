/* Promises of the training targets beyond the reference values. */
#include "model/instances/instances.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <string.h>

#include <cmocka.h>

static void an_image_without_objects_is_background_at_distance_one(void **state)
{
    (void)state;
    const uint32_t labels[6] = {0};
    uint8_t boundary[12];
    float distance[18];
    struct bs_err err;
    assert_int_equal(bs_target_boundaries(labels, 2, 3, boundary, &err), BS_OK);
    assert_int_equal(bs_target_distances(labels, 2, 3, 25, distance, &err), BS_OK);
    for (int i = 0; i < 12; i++)
        assert_int_equal(boundary[i], 0);
    for (int i = 0; i < 18; i++)
        assert_true(distance[i] == (i < 6 ? 0.0f : 1.0f));
}

static void objects_below_the_minimum_leave_the_distances_but_not_the_boundaries(void **state)
{
    (void)state;
    const uint32_t labels[8] = {5, 5, 5, 0, 0, 7, 0, 0};
    uint8_t boundary[16];
    float distance[24];
    struct bs_err err;
    assert_int_equal(bs_target_boundaries(labels, 1, 8, boundary, &err), BS_OK);
    assert_int_equal(bs_target_distances(labels, 1, 8, 2, distance, &err), BS_OK);
    assert_int_equal(boundary[5], 1);
    assert_true(distance[5] == 0 && distance[8 + 5] == 1);
    assert_true(distance[1] == 1 && distance[8 + 1] == 0); /* the middle of the other one */
    assert_true(fabsf(distance[8] - 1) < 1e-6f);
}

static void an_object_in_two_parts_is_two_objects(void **state)
{
    (void)state;
    const uint32_t labels[7] = {3, 3, 3, 0, 3, 3, 3};
    float distance[21];
    struct bs_err err;
    assert_int_equal(bs_target_distances(labels, 1, 7, 0, distance, &err), BS_OK);
    assert_true(distance[7 + 1] == 0 && distance[7 + 5] == 0);
}

/* A horse-shoe's centroid lies between its legs; the pixel farthest from the boundary takes its place. */
static void the_centre_of_an_object_lies_inside_it(void **state)
{
    (void)state;
    enum { H = 11, W = 11, N = H * W };
    uint32_t labels[N];
    float distance[3 * N];
    struct bs_err err;
    int centres = 0;
    for (int i = 0; i < N; i++)
        labels[i] = i / W < 3 || i % W < 2 || i % W > 8;
    assert_int_equal(bs_target_distances(labels, H, W, 0, distance, &err), BS_OK);
    for (int i = 0; i < N; i++)
        if (distance[N + i] == 0) {
            centres++;
            assert_int_equal(labels[i], 1);
            assert_true(distance[2 * N + i] == 0); /* the deepest pixel */
        }
    assert_int_equal(centres, 1);
}

static void one_object_that_fills_the_image_has_finite_distances(void **state)
{
    (void)state;
    uint32_t labels[20];
    float distance[60];
    struct bs_err err;
    for (int i = 0; i < 20; i++)
        labels[i] = 1;
    assert_int_equal(bs_target_distances(labels, 4, 5, 0, distance, &err), BS_OK);
    for (int i = 0; i < 60; i++)
        assert_true(distance[i] >= 0 && distance[i] <= 1);
}

static void a_single_pixel_is_its_own_centre(void **state)
{
    (void)state;
    const uint32_t label = 9;
    float distance[3];
    struct bs_err err;
    assert_int_equal(bs_target_distances(&label, 1, 1, 0, distance, &err), BS_OK);
    assert_true(distance[0] == 1 && distance[1] == 0 && distance[2] == 0);
    assert_int_equal(bs_target_distances(&label, 0, 1, 0, distance, &err), BS_OK);
}

static void a_negative_minimum_is_refused(void **state)
{
    (void)state;
    const uint32_t label = 9;
    float distance[3];
    struct bs_err err;
    assert_int_equal(bs_target_distances(&label, 1, 1, -3, distance, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "-3"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_image_without_objects_is_background_at_distance_one),
        cmocka_unit_test(objects_below_the_minimum_leave_the_distances_but_not_the_boundaries),
        cmocka_unit_test(an_object_in_two_parts_is_two_objects),
        cmocka_unit_test(the_centre_of_an_object_lies_inside_it),
        cmocka_unit_test(one_object_that_fills_the_image_has_finite_distances),
        cmocka_unit_test(a_single_pixel_is_its_own_centre),
        cmocka_unit_test(a_negative_minimum_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
