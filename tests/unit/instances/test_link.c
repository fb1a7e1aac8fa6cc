/* Promises of linking: the rule of link.h, by hand and against its plainest form on random planes, and what is refused. */
#include "model/instances/link.h"
#include "tests/support/fail_alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void link_rows(const char *before, const char *now, uint32_t count, double overlap, uint32_t *partner)
{
    uint32_t a[64], b[64];
    size_t n = strlen(before);
    struct bs_err err = {0};
    assert_int_equal(strlen(now), n);
    for (size_t i = 0; i < n; i++) {
        a[i] = before[i] == '.' ? 0 : (uint32_t)(before[i] - '0');
        b[i] = now[i] == '.' ? 0 : (uint32_t)(now[i] - '0');
    }
    assert_int_equal(bs_link_planes(a, b, n, count, overlap, partner, &err), BS_OK);
}

static void an_object_continues_the_one_it_shares_most_with(void **state)
{
    (void)state;
    uint32_t p[4];
    /* 7 and 1: 3 of 5; 9 and 2: all of it; 3 begins here. */
    link_rows("7777..99...", ".1111.22.33", 3, 0.25, p);
    assert_true(p[0] == 0 && p[1] == 7 && p[2] == 9 && p[3] == 0);
    /* Both halves of 5 fit it alike well: the one with the smaller id goes on, the other begins. */
    link_rows("555555", "111222", 2, 0.25, p);
    assert_true(p[1] == 5 && p[2] == 0);
    /* And of two before, the smaller id is continued. */
    link_rows("444666", "111111", 1, 0.25, p);
    assert_int_equal(p[1], 4);
    /* The larger part in common goes first, although 1 comes before 2. */
    link_rows("55555.", "112222", 2, 0.25, p);
    assert_true(p[1] == 0 && p[2] == 5);
}

static void what_is_left_over_goes_to_the_next_best(void **state)
{
    (void)state;
    uint32_t p[3];
    /* 1 shares more with 8, which 2 takes; 1 then gets 7. */
    link_rows("77788888888..", "..11122222222", 2, 0.05, p);
    assert_true(p[2] == 8 && p[1] == 7);
}

static void the_overlap_decides(void **state)
{
    (void)state;
    uint32_t p[2];
    link_rows("33333333..", "..11111111", 1, 0.6, p); /* 6 of 10 */
    assert_int_equal(p[1], 3);
    link_rows("33333333..", "..11111111", 1, 0.61, p);
    assert_int_equal(p[1], 0);
    link_rows("3333333333", "1111111111", 1, 1, p);
    assert_int_equal(p[1], 3);
    link_rows("3333333333", ".111111111", 1, 1, p);
    assert_int_equal(p[1], 0);
    link_rows("333.......", "..11111111", 1, 0, p); /* 0: any */
    assert_int_equal(p[1], 3);
    link_rows("333.......", "...1111111", 1, 0, p);
    assert_int_equal(p[1], 0);
}

/* The rule without any cleverness: look for the best pair that is free, again and again. */
static void by_the_rule(const uint32_t *a, const uint32_t *b, size_t n, uint32_t ids, double overlap,
                        uint32_t *partner)
{
    bool *gone = calloc(ids + 1, sizeof *gone);
    memset(partner, 0, (ids + 1) * sizeof *partner);
    for (;;) {
        uint64_t best_both = 0, best_either = 1;
        uint32_t best_a = 0, best_b = 0;
        for (uint32_t i = 1; i <= ids; i++)
            for (uint32_t j = 1; j <= ids; j++) {
                uint64_t both = 0, either = 0;
                for (size_t k = 0; k < n; k++) {
                    both += a[k] == i && b[k] == j;
                    either += a[k] == i || b[k] == j;
                }
                if (both == 0 || gone[i] || partner[j] || (double)both / (double)either < overlap ||
                    both * best_either <= best_both * either)
                    continue;
                best_both = both;
                best_either = either;
                best_a = i;
                best_b = j;
            }
        if (best_a == 0)
            break;
        gone[best_a] = true;
        partner[best_b] = best_a;
    }
    free(gone);
}

static void random_planes_follow_the_rule(void **state)
{
    (void)state;
    enum { H = 12, W = 16, IDS = 8 };
    uint32_t a[H * W], b[H * W], found[IDS + 1], expected[IDS + 1], seed = 7;
    for (int round = 0; round < 60; round++) {
        for (size_t i = 0; i < H * W; i++) {
            size_t cell = i / W / 4 * 4 + i % W / 4; /* objects of 4 x 4, ragged */
            seed = seed * 1664525u + 1013904223u;
            a[i] = seed >> 28 < 12 ? (uint32_t)(cell % IDS + 1) : 0;
            b[i] = seed >> 24 & 3 ? (uint32_t)((cell + (seed >> 20 & 1)) % IDS + 1) : 0;
        }
        double overlap = 0.05 * (round % 12);
        by_the_rule(a, b, H * W, IDS, overlap, expected);
        assert_int_equal(bs_link_planes(a, b, H * W, IDS, overlap, found, NULL), BS_OK);
        assert_memory_equal(found, expected, sizeof found);
    }
}

static void bad_arguments_are_refused(void **state)
{
    (void)state;
    const uint32_t a[2] = {1, UINT32_MAX}, b[2] = {1, 3};
    uint32_t p[4];
    struct bs_err err = {0};
    assert_int_equal(bs_link_planes(a, b, 2, 2, 0.25, p, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "label 3 at pixel 1"));
    assert_int_equal(bs_link_planes(a, b, 2, 3, 0.25, p, &err), BS_OK);
    assert_true(p[1] == 1 && p[3] == UINT32_MAX && p[2] == 0);
    assert_int_equal(bs_link_planes(a, b, 2, 3, 1.5, p, &err), BS_EINVAL);
    assert_int_equal(bs_link_planes(a, b, 2, 3, -0.1, p, &err), BS_EINVAL);
    assert_int_equal(bs_link_planes(a, b, 0, 0, 0.25, p, &err), BS_OK);
}

static void every_allocation_that_fails_is_an_error_value(void **state)
{
    (void)state;
    uint32_t a[64], b[64], p[65];
    for (uint32_t i = 0; i < 64; i++)
        a[i] = b[i] = i + 1;
    for (unsigned n = 1;; n++) {
        struct bs_err err = {0};
        bs_test_fail_alloc_at(n);
        bs_status rc = bs_link_planes(a, b, 64, 64, 0.25, p, &err);
        bool failed = bs_test_alloc_failed();
        bs_test_fail_alloc_at(0);
        assert_int_equal(rc, failed ? BS_ENOMEM : BS_OK);
        if (!failed) {
            assert_int_equal(n, 5);
            break;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_object_continues_the_one_it_shares_most_with),
        cmocka_unit_test(what_is_left_over_goes_to_the_next_best),
        cmocka_unit_test(the_overlap_decides),
        cmocka_unit_test(random_planes_follow_the_rule),
        cmocka_unit_test(bad_arguments_are_refused),
        cmocka_unit_test(every_allocation_that_fails_is_an_error_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
