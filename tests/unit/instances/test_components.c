/* Promises of the connected components. */
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

/* The definition, by flood fill in row-major order. */
static uint32_t by_definition(const uint32_t *in, size_t h, size_t w, uint32_t *out)
{
    size_t *stack = malloc((h * w + 1) * sizeof *stack), depth = 0;
    uint32_t count = 0;
    assert_non_null(stack);
    memset(out, 0, h * w * sizeof *out);
    for (size_t start = 0; start < h * w; start++) {
        if (!in[start] || out[start])
            continue;
        out[start] = ++count;
        stack[depth++] = start;
        while (depth) {
            size_t p = stack[--depth];
            for (int dy = -1; dy <= 1; dy++)
                for (int dx = -1; dx <= 1; dx++) {
                    ptrdiff_t y = (ptrdiff_t)(p / w) + dy, x = (ptrdiff_t)(p % w) + dx;
                    if (y < 0 || x < 0 || y >= (ptrdiff_t)h || x >= (ptrdiff_t)w)
                        continue;
                    size_t q = (size_t)y * w + (size_t)x;
                    if (!out[q] && in[q] == in[p]) {
                        out[q] = count;
                        stack[depth++] = q;
                    }
                }
        }
    }
    free(stack);
    return count;
}

static void random_images_give_what_the_definition_gives(void **state)
{
    (void)state;
    random_state = 1;
    for (int round = 0; round < 400; round++) {
        size_t h = 1 + random_below(20), w = 1 + random_below(20);
        uint32_t values = 2 + random_below(3), in[400], expected[400], out[400], count;
        uint8_t flags[400];
        struct bs_err err;
        for (size_t i = 0; i < h * w; i++)
            in[i] = random_below(values);
        uint32_t n = by_definition(in, h, w, expected);
        assert_int_equal(bs_components_labels(in, h, w, out, &count, &err), BS_OK);
        assert_int_equal(count, n);
        assert_memory_equal(out, expected, h * w * sizeof *out);

        for (size_t i = 0; i < h * w; i++)
            flags[i] = (uint8_t)(in[i] = in[i] != 0);
        n = by_definition(in, h, w, expected);
        assert_int_equal(bs_components_binary(flags, h, w, out, &count, &err), BS_OK);
        assert_int_equal(count, n);
        assert_memory_equal(out, expected, h * w * sizeof *out);
    }
}

static void a_spiral_is_one_component(void **state)
{
    (void)state;
    enum { N = 201 };
    uint8_t *in = calloc(N * N, 1);
    uint32_t *out = malloc(N * N * sizeof *out), count;
    struct bs_err err;
    assert_true(in && out);
    /* Inwards, two pixels from the line before: right, down, left, up, each side shorter than the one before the last. */
    int y = 0, x = 0, dy = 0, dx = 1, run = N - 1;
    in[0] = 1;
    for (int side = 0; run > 0; side++) {
        for (int i = 0; i < run; i++)
            in[(y += dy) * N + (x += dx)] = 1;
        int turned = dx;
        dx = -dy;
        dy = turned;
        if (side >= 2 && side % 2 == 0)
            run -= 2;
    }
    assert_int_equal(bs_components_binary(in, N, N, out, &count, &err), BS_OK);
    assert_int_equal(count, 1);
    free(in);
    free(out);
}

static void images_without_pixels_have_no_components(void **state)
{
    (void)state;
    uint8_t in = 1;
    uint32_t out = 9, count = 9;
    struct bs_err err;
    assert_int_equal(bs_components_binary(&in, 0, 7, &out, &count, &err), BS_OK);
    assert_int_equal(count, 0);
    assert_int_equal(bs_components_binary(&in, 7, 0, &out, &count, &err), BS_OK);
    assert_int_equal(count, 0);
    assert_int_equal(bs_components_binary(&in, 1, 1, &out, &count, &err), BS_OK);
    assert_int_equal(count, 1);
    assert_int_equal(out, 1);
}

static void sizes_that_no_memory_could_hold_are_refused(void **state)
{
    (void)state;
    uint8_t in = 1;
    uint32_t out, count;
    struct bs_err err;
    assert_int_equal(bs_components_binary(&in, SIZE_MAX / 2, 4, &out, &count, &err), BS_ELIMIT);
    assert_int_equal(bs_components_binary(&in, (size_t)1 << 21, (size_t)1 << 20, &out, &count, &err),
                     BS_ELIMIT);
}

static void a_cancelled_search_stops(void **state)
{
    (void)state;
    uint32_t labels[4] = {1, 1, 1, 1}, count;
    struct bs_cancel cancel = {.requested = true};
    struct bs_err err;
    assert_int_equal(bs__components_in_place(labels, 2, 2, &count, &cancel, &err), BS_ECANCELLED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_images_give_what_the_definition_gives),
        cmocka_unit_test(a_spiral_is_one_component),
        cmocka_unit_test(images_without_pixels_have_no_components),
        cmocka_unit_test(sizes_that_no_memory_could_hold_are_refused),
        cmocka_unit_test(a_cancelled_search_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
