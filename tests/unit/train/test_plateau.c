/* The learning rate goes down exactly when the metric has not got better for longer than the patience. */
#include "model/train/plateau.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* The publication's: lowered to nine tenths after the eleventh validation in a row without a better one. */
static void the_rate_is_lowered_after_eleven_validations_without_a_better_one(void **state)
{
    (void)state;
    struct bs_plateau p = bs_plateau_defaults();
    double rate = bs_plateau_step(&p, 0.5, 1e-4);
    for (int i = 0; i < 10; i++) {
        rate = bs_plateau_step(&p, 0.5, rate);
        assert_true(rate == 1e-4);
    }
    rate = bs_plateau_step(&p, 0.5, rate);
    assert_true(rate == 1e-4 * 0.9);
    for (int i = 0; i < 10; i++)
        assert_true(bs_plateau_step(&p, 0.6, rate) == rate);
    assert_true(bs_plateau_step(&p, 0.6, rate) == rate * 0.9);
}

static void a_better_metric_starts_the_count_again(void **state)
{
    (void)state;
    struct bs_plateau p = bs_plateau_defaults();
    p.patience = 1;
    double rate = 1;
    rate = bs_plateau_step(&p, 0.5, rate);
    rate = bs_plateau_step(&p, 0.5, rate);
    rate = bs_plateau_step(&p, 0.4, rate); /* better */
    rate = bs_plateau_step(&p, 0.41, rate);
    assert_true(rate == 1);
    rate = bs_plateau_step(&p, 0.42, rate);
    assert_true(rate == 0.9 && p.best == 0.4);
}

/* Better by less than the threshold, which is relative, is not better. */
static void a_hair_better_is_not_better(void **state)
{
    (void)state;
    struct bs_plateau p = bs_plateau_defaults();
    p.patience = 0;
    double rate = bs_plateau_step(&p, 0.5, 1);
    assert_true(bs_plateau_step(&p, 0.5 * (1 - 0.9e-4), rate) == 0.9);
    assert_true(bs_plateau_step(&p, 0.5 * (1 - 1.1e-4), rate) == 1);
}

static void what_is_not_a_number_is_no_better(void **state)
{
    (void)state;
    struct bs_plateau p = bs_plateau_defaults();
    p.patience = 1;
    double rate = bs_plateau_step(&p, NAN, 1);
    assert_true(rate == 1);
    rate = bs_plateau_step(&p, NAN, rate);
    assert_true(rate == 0.9 && isinf(p.best));
    assert_true(bs_plateau_step(&p, 3, rate) == rate && p.best == 3);
}

static void the_rate_has_a_floor_and_tiny_changes_are_not_made(void **state)
{
    (void)state;
    struct bs_plateau p = bs_plateau_defaults();
    p.patience = 0;
    p.least = 0.95;
    double rate = bs_plateau_step(&p, 1, 1);
    rate = bs_plateau_step(&p, 1, rate);
    assert_true(rate == 0.95);
    assert_true(bs_plateau_step(&p, 1, rate) == 0.95);
    p.least = 0;
    assert_true(bs_plateau_step(&p, 1, 9e-8) == 9e-8); /* a change of 0.9e-8 */
    assert_true(bs_plateau_step(&p, 1, 2e-7) < 2e-7);
}

static void settings_out_of_range_are_named(void **state)
{
    (void)state;
    struct bs_err err = {.msg = ""};
    struct bs_plateau p = bs_plateau_defaults();
    assert_int_equal(bs_plateau_check(&p, &err), BS_OK);
    p.factor = 1;
    assert_int_equal(bs_plateau_check(&p, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "factor of the plateau is 1"));
    p = bs_plateau_defaults();
    p.patience = -1;
    assert_int_equal(bs_plateau_check(&p, &err), BS_EINVAL);
    p = bs_plateau_defaults();
    p.threshold = NAN;
    assert_int_equal(bs_plateau_check(&p, &err), BS_EINVAL);
    p = bs_plateau_defaults();
    p.least = INFINITY;
    assert_int_equal(bs_plateau_check(&p, &err), BS_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rate_is_lowered_after_eleven_validations_without_a_better_one),
        cmocka_unit_test(a_better_metric_starts_the_count_again),
        cmocka_unit_test(a_hair_better_is_not_better),
        cmocka_unit_test(what_is_not_a_number_is_no_better),
        cmocka_unit_test(the_rate_has_a_floor_and_tiny_changes_are_not_made),
        cmocka_unit_test(settings_out_of_range_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
