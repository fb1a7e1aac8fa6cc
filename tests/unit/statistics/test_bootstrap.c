/* Promises of the paired bootstrap: known values, the same every time, and intervals that cover what they should. */
#include "model/dataset/random.h"
#include "model/statistics/bootstrap.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct bs_bootstrap_options usual = {.seed = 1, .resamples = 10000, .confidence = 0.95};

static struct bs_bootstrap_interval interval(const double *a, const double *b, size_t n,
                                             struct bs_bootstrap_options options)
{
    struct bs_bootstrap_interval out;
    struct bs_err err = {.msg = ""};
    if (bs_bootstrap_paired(a, b, n, &options, &out, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return out;
}

static void equal_scores_differ_by_exactly_nothing(void **state)
{
    (void)state;
    const double a[] = {0.31, 0.7, 0.123456789, 0.9, 1.0 / 3};
    struct bs_bootstrap_interval i = interval(a, a, 5, usual);
    assert_true(i.difference == 0 && i.low == 0 && i.high == 0);
    assert_true(i.mean_a == i.mean_b);
}

/* Of the differences 0 and 1 the mean of two draws is 0, 1/2, 1 with the probabilities 1/4, 1/2, 1/4. */
static void two_images_have_the_quantiles_that_can_be_counted(void **state)
{
    (void)state;
    const double a[] = {0.5, 1}, b[] = {0.5, 0};
    struct bs_bootstrap_interval i = interval(a, b, 2, usual);
    assert_true(i.difference == 0.5 && i.low == 0 && i.high == 1);
    i = interval(a, b, 2, (struct bs_bootstrap_options){.seed = 3, .resamples = 10000, .confidence = 0.5});
    /* the quartiles stand on the steps of the distribution; within them is one half */
    assert_true((i.low == 0 || i.low == 0.5) && (i.high == 0.5 || i.high == 1));
    i = interval(a, b, 2, (struct bs_bootstrap_options){.seed = 3, .resamples = 10000, .confidence = 0.55});
    assert_true(i.low == 0 && i.high == 1);
}

/* The mean of n draws has the standard deviation s / sqrt(n) of the differences' own s. */
static void the_interval_is_as_wide_as_the_normal_approximation_says(void **state)
{
    (void)state;
    enum { N = 400 };
    double a[N], b[N], sum = 0, squares = 0;
    for (size_t k = 0; k < N; k++) {
        struct bs_random r = bs_random_of(11, 1, k);
        b[k] = bs_random_unit(&r);
        a[k] = b[k] + 0.1 + 0.2 * (bs_random_unit(&r) - 0.5);
        sum += a[k] - b[k];
    }
    for (size_t k = 0; k < N; k++)
        squares += (a[k] - b[k] - sum / N) * (a[k] - b[k] - sum / N);
    const double half = 1.959964 * sqrt(squares / N) / sqrt(N);
    struct bs_bootstrap_interval i = interval(a, b, N, usual);
    assert_true(fabs(i.difference - (sum / N)) <= 1e-12);
    assert_true(fabs(i.low - (sum / N - half)) <= 0.06 * half);
    assert_true(fabs(i.high - (sum / N + half)) <= 0.06 * half);
}

/* Differences that are as often above 0 as below: the interval holds 0 about as often as it says. */
static void a_symmetric_null_is_covered(void **state)
{
    (void)state;
    enum { TRIALS = 400, N = 40 };
    int covered = 0;
    for (uint64_t t = 0; t < TRIALS; t++) {
        double a[N], b[N];
        struct bs_random r = bs_random_of(7, 2, t);
        for (size_t k = 0; k < N; k++) {
            a[k] = bs_random_unit(&r);
            b[k] = bs_random_unit(&r);
        }
        struct bs_bootstrap_interval i =
            interval(a, b, N, (struct bs_bootstrap_options){.seed = t, .resamples = 400, .confidence = 0.95});
        covered += i.low <= 0 && 0 <= i.high;
    }
    /* 380 expected; the percentile method with 40 images covers a little less, standard deviation 4.6 */
    assert_in_range(covered, 360, 395);
}

static void it_is_a_function_of_seed_and_scores(void **state)
{
    (void)state;
    const double a[] = {0.2, 0.9, 0.4, 0.8, 0.1, 0.55}, b[] = {0.3, 0.5, 0.45, 0.6, 0.2, 0.5};
    struct bs_bootstrap_interval once = interval(a, b, 6, usual), again = interval(a, b, 6, usual);
    assert_memory_equal(&once, &again, sizeof once);
    /* few resamples, whose quantiles hardly agree by chance */
    struct bs_bootstrap_options few = {.seed = 1, .resamples = 100, .confidence = 0.9}, other = few;
    other.seed = 2;
    const struct bs_bootstrap_interval first = interval(a, b, 6, few), second = interval(a, b, 6, other);
    assert_true(first.low != second.low || first.high != second.high);
    /* turned round, the interval is turned round; quantiles of the same draws, to the last digits */
    again = interval(b, a, 6, usual);
    assert_true(fabs(again.low - (-once.high)) <= 1e-12);
    assert_true(fabs(again.high - (-once.low)) <= 1e-12);
}

static void what_says_nothing_is_no_interval(void **state)
{
    (void)state;
    const double a[] = {0.5, NAN}, b[] = {0.25, 0.25};
    struct bs_bootstrap_interval i = interval(a, b, 1, usual);
    assert_true(i.difference == 0.25 && isnan(i.low) && isnan(i.high));
    struct bs_err err;
    assert_int_equal(bs_bootstrap_paired(a, b, 0, &usual, &i, &err), BS_EINVAL);
    assert_int_equal(bs_bootstrap_paired(a, b, 2, &usual, &i, &err), BS_EINVAL);
    struct bs_bootstrap_options few = usual, sure = usual;
    few.resamples = 99;
    sure.confidence = 1;
    assert_int_equal(bs_bootstrap_paired(b, b, 2, &few, &i, &err), BS_EINVAL);
    assert_int_equal(bs_bootstrap_paired(b, b, 2, &sure, &i, &err), BS_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_scores_differ_by_exactly_nothing),
        cmocka_unit_test(two_images_have_the_quantiles_that_can_be_counted),
        cmocka_unit_test(the_interval_is_as_wide_as_the_normal_approximation_says),
        cmocka_unit_test(a_symmetric_null_is_covered),
        cmocka_unit_test(it_is_a_function_of_seed_and_scores),
        cmocka_unit_test(what_says_nothing_is_no_interval),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
