/* Promises about partial annotation: boxes leave out what they say, a person's changes to a prediction count and what was left as
   it was does not, whatever numbers the objects have. */
#include "model/dataset/counts.h"
#include "model/dataset/label_ids.h"
#include "tests/support/fail_alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void ids_are_numbered_as_they_appear(void **state)
{
    (void)state;
    uint32_t labels[] = {0, 7, 7, UINT32_MAX, 0, 3, 7, 1024, 3}, numbers[9], count;
    static const uint32_t want[] = {0, 1, 1, 2, 0, 3, 1, 4, 3};
    assert_int_equal(bs__label_ids_number(labels, 9, numbers, &count, NULL), BS_OK);
    assert_int_equal(count, 4);
    assert_memory_equal(numbers, want, sizeof want);
    assert_int_equal(bs__label_ids_number(labels, 9, labels, &count, NULL), BS_OK); /* in place */
    assert_memory_equal(labels, want, sizeof want);
    enum { MANY = 100000 };
    uint32_t *many = malloc(MANY * sizeof *many);
    assert_non_null(many);
    for (uint32_t i = 0; i < MANY; i++)
        many[i] = 1 + i / 2 * 1048576u; /* equal low bits; from 8192 on the same ids again */
    assert_int_equal(bs__label_ids_number(many, MANY, many, &count, NULL), BS_OK);
    assert_int_equal(count, 4096);
    for (uint32_t i = 0; i < MANY; i++)
        assert_int_equal(many[i], 1 + i / 2 % 4096);
    free(many);
}

static void boxes_leave_out_what_they_say(void **state)
{
    (void)state;
    uint8_t mask[5 * 6] = {0};
    struct bs_manifest_box ignore[] = {{0, 0, 2, 2}, {4, 5, 99, INT64_MAX}, {100, 0, 101, 1}},
                           only[] = {{0, 1, 4, 3}, {3, 2, 5, 9}};
    static const char *const want[] = {"110111", "110111", "100111", "100000", "110001"};
    struct bs_manifest_pair p = {.ignore = ignore, .nignore = 3};
    mask[8] = 1; /* was out already */
    bs__counts_boxes(&p, 5, 6, mask);
    for (int i = 0; i < 30; i++)
        assert_int_equal(mask[i], (i / 6 < 2 && i % 6 < 2) || i == 29 || i == 8);
    memset(mask, 0, sizeof mask);
    p.only = only;
    p.nonly = 2;
    bs__counts_boxes(&p, 5, 6, mask);
    for (int i = 0; i < 30; i++)
        assert_int_equal(mask[i], want[i / 6][i % 6] - '0');
}

enum { H = 60, W = 60 };

static void square(uint32_t *labels, int top, int left, int size, uint32_t id)
{
    for (int y = top; y < top + size; y++)
        for (int x = left; x < left + size; x++)
            labels[y * W + x] = id;
}

/* Predicted: objects 1 to 4, one in each corner. Corrected: 1 is left as it was under another number, 2 has another outline, 3 is
   gone, 4 is split; 9 is new in the middle. */
static void changes_count_and_the_rest_does_not(void **state)
{
    (void)state;
    static uint32_t labels[H * W], prediction[H * W];
    static uint8_t mask[H * W];
    square(prediction, 2, 2, 6, 1);
    square(prediction, 2, 50, 6, 2);
    square(prediction, 50, 2, 6, 3);
    square(prediction, 50, 50, 6, 4);
    memcpy(labels, prediction, sizeof labels);
    square(labels, 2, 2, 6, 77);
    square(labels, 2, 50, 5, 2);
    labels[7 * W + 55] = 0; /* 2 lost its lower right corner */
    square(labels, 50, 2, 6, 0);
    square(labels, 50, 50, 3, 5);
    square(labels, 28, 28, 4, 9);
    assert_int_equal(bs__counts_untouched(labels, prediction, H, W, mask, NULL), BS_OK);
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            uint32_t now = labels[y * W + x], was = prediction[y * W + x];
            if (now == 77)
                assert_int_equal(mask[y * W + x], 1);
            else if (now || was)
                assert_int_equal(mask[y * W + x], 0);
        }
    /* Background: near what was changed, nowhere else. */
    assert_int_equal(mask[30 * W + 31 + BS_TOUCHED_MARGIN], 0);
    assert_int_equal(mask[30 * W + 32 + BS_TOUCHED_MARGIN], 1);
    assert_int_equal(mask[8 * W + 8], 1);
    assert_int_equal(mask[30 * W + 2], 1);
    assert_int_equal(mask[45 * W + 4], 0);

    memset(mask, 0, sizeof mask);
    assert_int_equal(bs__counts_untouched(prediction, prediction, H, W, mask, NULL), BS_OK);
    for (int i = 0; i < H * W; i++)
        assert_int_equal(mask[i], 1);
    /* Two objects that were predicted as one, and one that was predicted as two. */
    memset(labels, 0, sizeof labels);
    memset(prediction, 0, sizeof prediction);
    memset(mask, 0, sizeof mask);
    square(prediction, 2, 2, 6, 1);
    square(labels, 2, 2, 6, 1);
    square(labels, 2, 2, 3, 2);
    square(labels, 40, 40, 6, 3);
    square(prediction, 40, 40, 6, 3);
    square(prediction, 40, 40, 3, 2);
    assert_int_equal(bs__counts_untouched(labels, prediction, H, W, mask, NULL), BS_OK);
    for (int i = 0; i < H * W; i++)
        if (labels[i])
            assert_int_equal(mask[i], 0);
}

static void whichever_allocation_fails_it_is_an_error_value(void **state)
{
    (void)state;
    static uint32_t labels[H * W], prediction[H * W];
    static uint8_t mask[H * W];
    square(labels, 3, 3, 5, 1);
    for (unsigned n = 1;; n++) {
        struct bs_err err = {0};
        bs_test_fail_alloc_at(n);
        bs_status rc = bs__counts_untouched(labels, prediction, H, W, mask, &err);
        bool hit = bs_test_alloc_failed();
        bs_test_fail_alloc_at(0);
        assert_int_equal(rc, hit ? BS_ENOMEM : BS_OK);
        if (!hit)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_numbered_as_they_appear),
        cmocka_unit_test(boxes_leave_out_what_they_say),
        cmocka_unit_test(changes_count_and_the_rest_does_not),
        cmocka_unit_test(whichever_allocation_fails_it_is_an_error_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
