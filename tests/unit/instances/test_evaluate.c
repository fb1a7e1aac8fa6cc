/* Promises of the mean segmentation accuracy beyond the reference values. */
#include "model/instances/evaluate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void an_image_agrees_with_itself_under_any_ids(void **state)
{
    (void)state;
    const uint32_t a[8] = {0, 1, 1, 2, 2, 0, 3, 3}, b[8] = {0, 4000000000u, 4000000000u, 9, 9, 0, 7, 7};
    struct bs_accuracy acc;
    struct bs_err err;
    assert_int_equal(bs_evaluate(a, b, 2, 4, 0, &acc, &err), BS_OK);
    assert_true(acc.msa == 1 && acc.precision50 == 1 && acc.recall50 == 1 && acc.f1_50 == 1);
    assert_int_equal(acc.predicted, 3);
    assert_int_equal(acc.expected, 3);
    assert_true(acc.size_ceiling == 1);
}

static void empty_images_score_nothing_and_are_told_apart(void **state)
{
    (void)state;
    const uint32_t none[4] = {0}, some[4] = {0, 1, 1, 0};
    struct bs_accuracy acc;
    struct bs_err err;
    assert_int_equal(bs_evaluate(none, none, 2, 2, 0, &acc, &err), BS_OK);
    assert_true(acc.msa == 0 && acc.both_empty);
    assert_int_equal(bs_evaluate(none, some, 2, 2, 0, &acc, &err), BS_OK);
    assert_true(acc.msa == 0 && !acc.both_empty);
    assert_int_equal(bs_evaluate(some, none, 2, 2, 0, &acc, &err), BS_OK);
    assert_true(acc.msa == 0 && !acc.both_empty);
    assert_int_equal(bs_evaluate(none, none, 0, 2, 0, &acc, &err), BS_OK);
    assert_true(acc.both_empty);
}

/* Two halves both fit the whole with an IoU of exactly one half; only one of them may count. */
static void an_object_cut_in_halves_is_found_once(void **state)
{
    (void)state;
    const uint32_t whole[4] = {5, 5, 5, 5}, halves[4] = {1, 1, 2, 2};
    struct bs_accuracy acc;
    struct bs_err err;
    assert_int_equal(bs_evaluate(halves, whole, 1, 4, 0, &acc, &err), BS_OK);
    assert_true(acc.at[0] == 0.5 && acc.at[1] == 0 && acc.precision50 == 0.5 && acc.recall50 == 1);
    assert_int_equal(bs_evaluate(whole, halves, 1, 4, 0, &acc, &err), BS_OK);
    assert_true(acc.at[0] == 0.5 && acc.precision50 == 1 && acc.recall50 == 0.5);
}

/* 3 / 5 falls short of the third threshold, which is 0.6000000000000001 in the reference. */
static void thresholds_are_those_of_the_reference_to_the_last_digit(void **state)
{
    (void)state;
    const uint32_t a[6] = {1, 1, 1, 1, 0, 0}, b[6] = {0, 1, 1, 1, 1, 0};
    struct bs_accuracy acc;
    struct bs_err err;
    assert_int_equal(bs_evaluate(a, b, 1, 6, 0, &acc, &err), BS_OK);
    assert_true(acc.at[1] == 1 && acc.at[2] == 0);
}

static void the_ceiling_counts_what_the_size_filter_would_take(void **state)
{
    (void)state;
    const uint32_t expected[10] = {1, 1, 1, 0, 2, 0, 3, 3, 3, 3};
    struct bs_accuracy acc;
    struct bs_err err;
    assert_int_equal(bs_evaluate(expected, expected, 1, 10, 3, &acc, &err), BS_OK);
    assert_int_equal(acc.expected_below_min_size, 1);
    assert_true(acc.size_ceiling == 2.0 / 3.0);
    assert_int_equal(bs_evaluate(expected, expected, 1, 10, -1, &acc, &err), BS_EINVAL);
}

static void many_objects_are_counted_apart(void **state)
{
    (void)state;
    enum { N = 300000 };
    uint32_t *a = malloc(N * sizeof *a), *b = malloc(N * sizeof *b);
    struct bs_accuracy acc;
    struct bs_err err;
    assert_true(a && b);
    for (uint32_t i = 0; i < N; i++) {
        a[i] = i / 3 + 1;
        b[i] = (N - i - 1) / 3 * 7 + 1;
    }
    assert_int_equal(bs_evaluate(a, b, 300, 1000, 0, &acc, &err), BS_OK);
    assert_int_equal(acc.predicted, N / 3);
    assert_true(acc.msa == 1);
    free(a);
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_image_agrees_with_itself_under_any_ids),
        cmocka_unit_test(empty_images_score_nothing_and_are_told_apart),
        cmocka_unit_test(an_object_cut_in_halves_is_found_once),
        cmocka_unit_test(thresholds_are_those_of_the_reference_to_the_last_digit),
        cmocka_unit_test(the_ceiling_counts_what_the_size_filter_would_take),
        cmocka_unit_test(many_objects_are_counted_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
