/* Promises about random numbers: a function of seed, purpose and position; evenly spread; shuffles are permutations. */
#include "model/dataset/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void a_stream_is_known_by_seed_purpose_and_item(void **state)
{
    (void)state;
    struct bs_random a = bs_random_of(1, 2, 3), again = bs_random_of(1, 2, 3);
    uint64_t first = bs_random_next(&a);
    assert_int_equal(first, bs_random_next(&again));
    assert_int_not_equal(first, bs_random_next(&a));
    struct bs_random others[] = {bs_random_of(2, 2, 3), bs_random_of(1, 3, 3), bs_random_of(1, 2, 4),
                                 bs_random_of(3, 2, 1)};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_int_not_equal(first, bs_random_next(&others[i]));
    /* The same on every machine, for ever: a training that is resumed elsewhere goes on with the same samples. */
    struct bs_random fixed = bs_random_of(42, 1, 7);
    assert_int_equal(bs_random_next(&fixed), 0x489c202b90f3afe8u);
    assert_int_equal(bs_random_shuffled(42, 3, 1000, 5), 89);
}

static void numbers_are_spread_evenly(void **state)
{
    (void)state;
    enum { DRAWS = 60000, SIDES = 6 };
    int seen[SIDES] = {0}, upper = 0;
    for (uint64_t item = 0; item < DRAWS; item++) {
        struct bs_random r = bs_random_of(5, 1, item);
        seen[bs_random_below(&r, SIDES)]++;
        double v = bs_random_unit(&r);
        assert_true(v >= 0 && v < 1);
        upper += v >= 0.5;
    }
    /* 10,000 each expected, standard deviation 91; 30,000, 122 */
    for (int i = 0; i < SIDES; i++)
        assert_in_range(seen[i], 9500, 10500);
    assert_in_range(upper, 29400, 30600);
}

static void a_shuffle_visits_every_position_once(void **state)
{
    (void)state;
    static const uint64_t counts[] = {1, 2, 3, 5, 64, 100, 257, 4097};
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++)
        for (uint64_t round = 0; round < 3; round++) {
            unsigned char *seen = calloc(counts[k], 1);
            assert_non_null(seen);
            for (uint64_t i = 0; i < counts[k]; i++) {
                uint64_t to = bs_random_shuffled(9, round, counts[k], i);
                assert_true(to < counts[k]);
                assert_false(seen[to]);
                seen[to] = 1;
            }
            free(seen);
        }
}

static void rounds_and_seeds_shuffle_differently(void **state)
{
    (void)state;
    int same_round = 0, same_seed = 0, stayed = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        uint64_t to = bs_random_shuffled(1, 0, 1000, i);
        same_round += to == bs_random_shuffled(1, 1, 1000, i);
        same_seed += to == bs_random_shuffled(2, 0, 1000, i);
        stayed += to == i;
    }
    /* one expected of each */
    assert_true(same_round < 10 && same_seed < 10 && stayed < 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_is_known_by_seed_purpose_and_item),
        cmocka_unit_test(numbers_are_spread_evenly),
        cmocka_unit_test(a_shuffle_visits_every_position_once),
        cmocka_unit_test(rounds_and_seeds_shuffle_differently),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
