/* Promises of the watershed: what is labelled, what is kept, and the order in which ties are decided. */
#include "model/instances/instances_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MOST 1600

static uint32_t random_state;

static uint32_t random_below(uint32_t n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)random_state * n) >> 32);
}

/* A made-up problem. */
struct problem {
    size_t h, w;
    float height[MOST];
    uint8_t mask[MOST];
    uint32_t seeds[MOST];
};

static void make(struct problem *p)
{
    p->h = 1 + random_below(40);
    p->w = 1 + random_below(40);
    uint32_t levels = 1 + random_below(1000), open = 1 + random_below(8), seeds = 2 + random_below(60);
    for (size_t i = 0; i < p->h * p->w; i++) {
        p->height[i] = (float)random_below(levels) / 7;
        p->mask[i] = random_below(open + 1) != 0;
        p->seeds[i] = random_below(seeds) == 0 ? 1 + random_below(9) : 0;
    }
}

/* The order of watershed.c in the plainest way: of all waiting pixels the one of lowest level, then of lowest number of
   entry. */
static void by_definition(const struct problem *p, uint32_t *labels)
{
    struct {
        size_t pixel, level;
        bool served;
    } entry[MOST];
    size_t n = p->h * p->w, entries = 0;
    struct bs__range range = {INFINITY, -INFINITY};
    for (size_t i = 0; i < n; i++)
        if (p->mask[i])
            bs__range_add(&range, p->height[i]);
    struct bs__quantiser q = bs__quantiser_of(&range);
    for (size_t i = 0; i < n; i++) {
        labels[i] = p->mask[i] ? p->seeds[i] : 0;
        if (labels[i]) {
            entry[entries].pixel = i;
            entry[entries].served = false;
            entry[entries++].level = bs__level(&q, p->height[i]);
        }
    }
    for (;;) {
        size_t best = SIZE_MAX;
        for (size_t i = 0; i < entries; i++)
            if (!entry[i].served && (best == SIZE_MAX || entry[i].level < entry[best].level))
                best = i;
        if (best == SIZE_MAX)
            return;
        entry[best].served = true;
        size_t at = entry[best].pixel, y = at / p->w, x = at % p->w;
        const size_t next[4] = {y > 0 ? at - p->w : at, x > 0 ? at - 1 : at, x + 1 < p->w ? at + 1 : at,
                                y + 1 < p->h ? at + p->w : at};
        for (int k = 0; k < 4; k++)
            if (p->mask[next[k]] && !labels[next[k]]) {
                size_t level = bs__level(&q, p->height[next[k]]);
                labels[next[k]] = labels[at];
                entry[entries].pixel = next[k];
                entry[entries].served = false;
                entry[entries++].level = level > entry[best].level ? level : entry[best].level;
            }
    }
}

static void ties_go_in_the_defined_order(void **state)
{
    (void)state;
    random_state = 4;
    struct problem *p = malloc(sizeof *p);
    uint32_t *labels = malloc(MOST * sizeof *labels), *expected = malloc(MOST * sizeof *expected);
    assert_true(p && labels && expected);
    for (int round = 0; round < 150; round++) {
        struct bs_err err;
        make(p);
        memcpy(labels, p->seeds, p->h * p->w * sizeof *labels);
        assert_int_equal(bs_watershed(p->height, p->h, p->w, p->mask, labels, NULL, &err), BS_OK);
        by_definition(p, expected);
        assert_memory_equal(labels, expected, p->h * p->w * sizeof *labels);
    }
    free(p);
    free(labels);
    free(expected);
}

/* What holds whatever the order: seeds stay, a path inside the mask to a seed means a label, nothing else has one. */
static void exactly_the_reachable_pixels_of_the_mask_are_labelled(void **state)
{
    (void)state;
    random_state = 5;
    struct problem *p = malloc(sizeof *p);
    uint32_t *labels = malloc(MOST * sizeof *labels), *pieces = malloc(MOST * sizeof *pieces);
    assert_true(p && labels && pieces);
    for (int round = 0; round < 300; round++) {
        struct bs_err err;
        make(p);
        size_t n = p->h * p->w;
        memcpy(labels, p->seeds, n * sizeof *labels);
        assert_int_equal(bs_watershed(p->height, p->h, p->w, p->mask, labels, NULL, &err), BS_OK);
        for (size_t i = 0; i < n; i++)
            pieces[i] = p->mask[i] && p->seeds[i];
        for (bool changed = true; changed;) {
            changed = false;
            for (size_t i = 0; i < n; i++) {
                size_t y = i / p->w, x = i % p->w;
                if (p->mask[i] && !pieces[i] &&
                    ((y > 0 && pieces[i - p->w]) || (y + 1 < p->h && pieces[i + p->w]) ||
                     (x > 0 && pieces[i - 1]) || (x + 1 < p->w && pieces[i + 1])))
                    changed = (pieces[i] = 1) != 0;
            }
        }
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(labels[i] != 0, pieces[i]);
            if (p->mask[i] && p->seeds[i])
                assert_int_equal(labels[i], p->seeds[i]);
        }
    }
    free(p);
    free(labels);
    free(pieces);
}

/* The ground of block-wise work: each connected piece of the mask is flooded as if it were alone. */
static void a_piece_of_the_mask_alone_gives_the_same_labels(void **state)
{
    (void)state;
    random_state = 6;
    struct problem *p = malloc(sizeof *p);
    uint32_t *labels = malloc(MOST * sizeof *labels), *alone = malloc(MOST * sizeof *alone);
    uint16_t *level = malloc(MOST * sizeof *level);
    assert_true(p && labels && alone && level);
    for (int round = 0; round < 60; round++) {
        struct bs_err err;
        make(p);
        size_t n = p->h * p->w, wall = p->w / 2;
        for (size_t i = 0; i < n; i++) {
            level[i] = (uint16_t)p->height[i];
            labels[i] = i % p->w == wall ? BS__OUTSIDE : p->seeds[i];
            alone[i] = i % p->w >= wall ? BS__OUTSIDE : p->seeds[i];
        }
        assert_int_equal(bs__flood(level, p->h, p->w, labels, NULL, &err), BS_OK);
        assert_int_equal(bs__flood(level, p->h, p->w, alone, NULL, &err), BS_OK);
        for (size_t i = 0; i < n; i++)
            if (i % p->w < wall)
                assert_int_equal(alone[i], labels[i]);
    }
    free(p);
    free(labels);
    free(alone);
    free(level);
}

static void heights_that_are_no_numbers_come_last(void **state)
{
    (void)state;
    const float height[7] = {0, NAN, 0.5f, 0.25f, INFINITY, -INFINITY, 0};
    uint32_t labels[7] = {1, 0, 0, 0, 0, 0, 2};
    const uint32_t expected[7] = {1, 1, 1, 2, 2, 2, 2};
    struct bs_err err;
    /* From the right through -inf at once to infinity; at the top level NaN and infinity take one more each, in turn. */
    assert_int_equal(bs_watershed(height, 1, 7, NULL, labels, NULL, &err), BS_OK);
    assert_memory_equal(labels, expected, sizeof expected);
}

static void small_images_work(void **state)
{
    (void)state;
    float height = 3;
    uint8_t mask = 0;
    uint32_t label = 5;
    struct bs_err err;
    assert_int_equal(bs_watershed(&height, 0, 3, NULL, &label, NULL, &err), BS_OK);
    assert_int_equal(bs_watershed(&height, 1, 1, NULL, &label, NULL, &err), BS_OK);
    assert_int_equal(label, 5);
    assert_int_equal(bs_watershed(&height, 1, 1, &mask, &label, NULL, &err), BS_OK);
    assert_int_equal(label, 0);
}

static void the_reserved_id_is_refused(void **state)
{
    (void)state;
    float height = 3;
    uint32_t label = UINT32_MAX;
    struct bs_err err;
    assert_int_equal(bs_watershed(&height, 1, 1, NULL, &label, NULL, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "4294967295"));
}

static void a_cancelled_flood_stops(void **state)
{
    (void)state;
    float height[4] = {0};
    uint32_t labels[4] = {1, 0, 0, 0};
    struct bs_cancel cancel = {.requested = true};
    struct bs_err err;
    assert_int_equal(bs_watershed(height, 2, 2, NULL, labels, &cancel, &err), BS_ECANCELLED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ties_go_in_the_defined_order),
        cmocka_unit_test(exactly_the_reachable_pixels_of_the_mask_are_labelled),
        cmocka_unit_test(a_piece_of_the_mask_alone_gives_the_same_labels),
        cmocka_unit_test(heights_that_are_no_numbers_come_last),
        cmocka_unit_test(small_images_work),
        cmocka_unit_test(the_reserved_id_is_refused),
        cmocka_unit_test(a_cancelled_flood_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
