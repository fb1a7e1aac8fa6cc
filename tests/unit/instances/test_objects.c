/* Promises of the table of objects. */
#include "model/instances/instances.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <string.h>

#include <cmocka.h>

static void every_object_is_measured(void **state)
{
    (void)state;
    const uint32_t labels[12] = {0, 2, 2, 0, /**/ 0, 2, 0, 1, /**/ 0, 0, 0, 1};
    const float intensity[12] = {9, 1, 2, 9, /**/ 9, 6, 9, 10, /**/ 9, 9, 9, 30};
    struct bs_object o[2];
    struct bs_err err;
    assert_int_equal(bs_objects_measure(labels, 3, 4, 2, intensity, o, &err), BS_OK);
    assert_int_equal(o[0].id, 1);
    assert_int_equal(o[0].area, 2);
    assert_true(o[0].centroid_y == 1.5 && o[0].centroid_x == 3 && o[0].mean_intensity == 20);
    assert_true(o[0].top == 1 && o[0].bottom == 3 && o[0].left == 3 && o[0].right == 4);
    assert_int_equal(o[1].area, 3);
    assert_true(o[1].centroid_y == 1.0 / 3 && o[1].centroid_x == 4.0 / 3 && o[1].mean_intensity == 3);
    assert_true(o[1].top == 0 && o[1].bottom == 2 && o[1].left == 1 && o[1].right == 3);
}

static void without_an_image_there_is_no_intensity(void **state)
{
    (void)state;
    const uint32_t label = 1;
    struct bs_object o;
    struct bs_err err;
    assert_int_equal(bs_objects_measure(&label, 1, 1, 1, NULL, &o, &err), BS_OK);
    assert_true(isnan(o.mean_intensity));
    assert_int_equal(bs_objects_measure(&label, 0, 1, 0, NULL, &o, &err), BS_OK);
}

static void an_id_beyond_the_count_is_refused_by_place(void **state)
{
    (void)state;
    const uint32_t labels[4] = {1, 0, 0, 7};
    struct bs_object o[2];
    struct bs_err err;
    assert_int_equal(bs_objects_measure(labels, 2, 2, 2, NULL, o, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "label 7 at row 1, column 1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_object_is_measured),
        cmocka_unit_test(without_an_image_there_is_no_intensity),
        cmocka_unit_test(an_id_beyond_the_count_is_refused_by_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
