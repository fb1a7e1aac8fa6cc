/* Promises of block-wise work: labels equal those of the whole image put together from the public building blocks, memory
   stays bounded, and a source's failure or a cancel ends it. */
#include "model/instances/blockwise.h"
#include "tests/unit/instances/synthetic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SIDE 1200
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SIDE 1200
#endif
#endif
#ifndef SIDE
#define SIDE 4000
#endif

/* The recipe on whole maps, step by step, without strips. */
static uint32_t whole_image(const struct synthetic *s, const float *maps, size_t h, size_t w,
                            uint32_t *labels)
{
    struct bs_instance_params p = bs_instance_params_default(s->recipe);
    size_t n = h * w;
    uint8_t *flags = malloc(n), *mask = malloc(n);
    float *smooth = malloc(2 * n * sizeof *smooth);
    uint32_t count, kept = 0;
    struct bs_err err;

    assert_true(flags && mask && smooth);
    const float *height = maps + n;
    if (s->recipe == BS_RECIPE_DISTANCES) {
        for (size_t c = 0; c < 2; c++)
            assert_int_equal(
                bs_gaussian(maps + (c + 1) * n, h, w, p.distance_smoothing, smooth + c * n, &err), BS_OK);
        height = smooth + n;
    }
    for (size_t i = 0; i < n; i++) {
        mask[i] = maps[i] > 0.5f;
        flags[i] = s->recipe == BS_RECIPE_BOUNDARIES ? maps[i] - maps[n + i] > 0.5f
                                                     : mask[i] && smooth[i] < 0.5f && smooth[n + i] < 0.6f;
    }
    assert_int_equal(bs_components_binary(flags, h, w, labels, &count, &err), BS_OK);
    assert_int_equal(bs_watershed(height, h, w, mask, labels, NULL, &err), BS_OK);
    uint32_t *area = calloc((size_t)count + 1, sizeof *area);
    assert_non_null(area);
    for (size_t i = 0; i < n; i++)
        area[labels[i]]++;
    area[0] = 0;
    for (uint32_t id = 1; id <= count; id++)
        area[id] = area[id] >= (uint32_t)p.min_size ? ++kept : 0;
    for (size_t i = 0; i < n; i++)
        labels[i] = area[labels[i]];
    free(area);
    free(flags);
    free(mask);
    free(smooth);
    return kept;
}

static void compare(enum bs_recipe recipe, size_t h, size_t w, unsigned cell)
{
    struct synthetic s = {recipe, w, cell, 21};
    struct bs_map_source source = synthetic_source(&s);
    int channels = recipe == BS_RECIPE_BOUNDARIES ? 2 : 3;
    struct bs_instance_params params = bs_instance_params_default(recipe);
    struct bs_instance_result result;
    struct bs_err err;
    float *maps = malloc((size_t)channels * h * w * sizeof *maps);
    uint32_t *whole = malloc(h * w * sizeof *whole), *strips = malloc(h * w * sizeof *strips);

    assert_true(maps && whole && strips);
    for (int c = 0; c < channels; c++)
        assert_int_equal(source.rows(source.ctx, c, 0, h, maps + (size_t)c * h * w, &err), BS_OK);
    uint32_t count = whole_image(&s, maps, h, w, whole);
    assert_int_equal(bs_instances_from_source(&source, channels, h, w, &params, strips, &result, NULL, &err),
                     BS_OK);
    assert_int_equal(result.count, count);
    assert_true(count > h * w / (cell * cell) / 2);
    assert_true(memcmp(whole, strips, h * w * sizeof *whole) == 0);
    free(maps);
    free(whole);
    free(strips);
}

static void labels_of_distance_maps_equal_the_whole_image(void **state)
{
    (void)state;
    compare(BS_RECIPE_DISTANCES, SIDE, SIDE, 43);
}

static void labels_of_boundary_maps_equal_the_whole_image(void **state)
{
    (void)state;
    compare(BS_RECIPE_BOUNDARIES, SIDE, SIDE, 43);
}

static void very_wide_images_equal_the_whole_image(void **state)
{
    (void)state;
    compare(BS_RECIPE_DISTANCES, 37, 40000, 16);
}

/* A source of nothing that fails, or asks to stop, at one of its calls. */
struct fragile {
    size_t width;
    int calls, fails_at, cancels_at;
    struct bs_cancel cancel;
};

static bs_status fragile_rows(void *ctx, int channel, size_t top, size_t rows, float *out, struct bs_err *err)
{
    struct fragile *f = ctx;
    f->calls++;
    if (f->calls == f->fails_at)
        return BS_FAIL(err, BS_EIO, "the disk is gone");
    if (f->calls == f->cancels_at)
        bs_cancel_request(&f->cancel);
    (void)channel, (void)top;
    memset(out, 0, rows * f->width * sizeof *out);
    return BS_OK;
}

static void a_failing_source_or_a_cancel_ends_it_at_every_call(void **state)
{
    (void)state;
    enum { H = 700, W = 4000 };
    struct bs_instance_params params = bs_instance_params_default(BS_RECIPE_DISTANCES);
    struct bs_instance_result result;
    uint32_t *labels = malloc((size_t)H * W * sizeof *labels);
    struct bs_err err;
    assert_non_null(labels);
    for (int at = 1;; at++) {
        struct fragile f = {W, 0, at % 2 ? at : 0, at % 2 ? 0 : at, {false}};
        struct bs_map_source source = {&f, fragile_rows, NULL};
        bs_status rc = bs_instances_from_source(&source, 3, H, W, &params, labels, &result, &f.cancel, &err);
        if (f.calls < at) {
            assert_int_equal(rc, BS_OK);
            assert_true(at > 4);
            break;
        }
        assert_int_equal(rc, at % 2 ? BS_EIO : BS_ECANCELLED);
    }
    free(labels);
}

static void the_plan_for_a_20000_square_is_below_four_gibibytes(void **state)
{
    (void)state;
    struct bs_instance_params params = bs_instance_params_default(BS_RECIPE_DISTANCES);
    size_t besides = bs_instances_planned_bytes(20000, 20000, &params, 0.05);
    assert_true(besides > (size_t)20000 * 20000 * 2);
    assert_true(besides + (size_t)20000 * 20000 * sizeof(uint32_t) < (size_t)4 << 30);
    assert_true(bs_instances_planned_bytes(SIZE_MAX, 2, &params, 0.05) == SIZE_MAX);
    assert_int_equal(bs_instances_planned_bytes(0, 2, &params, 0.05), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_of_distance_maps_equal_the_whole_image),
        cmocka_unit_test(labels_of_boundary_maps_equal_the_whole_image),
        cmocka_unit_test(very_wide_images_equal_the_whole_image),
        cmocka_unit_test(a_failing_source_or_a_cancel_ends_it_at_every_call),
        cmocka_unit_test(the_plan_for_a_20000_square_is_below_four_gibibytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
