/* Promises of the two recipes: ids, masks, the size filter, bad parameters, the same result always. */
#include "model/instances/instances.h"
#include "tests/unit/instances/synthetic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Whole maps of made-up cells. */
static float *maps_of(enum bs_recipe recipe, size_t h, size_t w, uint64_t seed)
{
    struct synthetic s = {recipe, w, 20, seed};
    struct bs_map_source source = synthetic_source(&s);
    int channels = recipe == BS_RECIPE_BOUNDARIES ? 2 : 3;
    float *maps = malloc((size_t)channels * h * w * sizeof *maps + 1);
    struct bs_err err;
    assert_non_null(maps);
    for (int c = 0; c < channels; c++)
        assert_int_equal(source.rows(source.ctx, c, 0, h, maps + (size_t)c * h * w, &err), BS_OK);
    return maps;
}

static int channels_of(enum bs_recipe recipe)
{
    return recipe == BS_RECIPE_BOUNDARIES ? 2 : 3;
}

static void ids_are_consecutive_and_objects_as_large_as_asked(void **state)
{
    (void)state;
    enum { H = 211, W = 173 };
    for (enum bs_recipe recipe = BS_RECIPE_BOUNDARIES; recipe <= BS_RECIPE_DISTANCES; recipe++)
        for (int64_t min_size = 0; min_size < 250; min_size += 80) {
            float *maps = maps_of(recipe, H, W, 3);
            static uint32_t labels[H * W];
            struct bs_instance_params params = bs_instance_params_default(recipe);
            struct bs_instance_result result;
            struct bs_err err;
            params.min_size = min_size;
            assert_int_equal(bs_instances_from_maps(maps, channels_of(recipe), H, W, NULL, &params, labels,
                                                    &result, NULL, &err),
                             BS_OK);
            assert_true(result.count > 10);
            if (min_size == 0)
                assert_int_equal(result.removed_by_size, 0);
            size_t *area = calloc((size_t)result.count + 1, sizeof *area);
            assert_non_null(area);
            for (size_t i = 0; i < H * W; i++) {
                assert_true(labels[i] <= result.count);
                assert_true(labels[i] == 0 || maps[i] > 0.5f);
                area[labels[i]]++;
            }
            for (uint32_t id = 1; id <= result.count; id++)
                assert_true(area[id] > 0 && area[id] >= (size_t)min_size);
            free(area);
            free(maps);
        }
}

static void the_size_filter_removes_and_closes_up_only(void **state)
{
    (void)state;
    enum { H = 150, W = 160 };
    float *maps = maps_of(BS_RECIPE_DISTANCES, H, W, 5);
    static uint32_t all[H * W], large[H * W];
    struct bs_instance_params params = bs_instance_params_default(BS_RECIPE_DISTANCES);
    struct bs_instance_result whole, filtered;
    struct bs_err err;
    params.min_size = 0;
    assert_int_equal(bs_instances_from_maps(maps, 3, H, W, NULL, &params, all, &whole, NULL, &err), BS_OK);
    params.min_size = 150;
    assert_int_equal(bs_instances_from_maps(maps, 3, H, W, NULL, &params, large, &filtered, NULL, &err),
                     BS_OK);
    size_t *area = calloc((size_t)whole.count + 1, sizeof *area);
    uint32_t *id = calloc((size_t)whole.count + 1, sizeof *id), next = 0;
    assert_true(area && id);
    for (size_t i = 0; i < H * W; i++)
        area[all[i]]++;
    for (uint32_t i = 1; i <= whole.count; i++)
        id[i] = area[i] >= 150 ? ++next : 0;
    for (size_t i = 0; i < H * W; i++)
        assert_int_equal(large[i], id[all[i]]);
    assert_int_equal(filtered.count, next);
    assert_int_equal(filtered.removed_by_size, whole.count - next);
    assert_true(filtered.removed_by_size > 0 && filtered.count > 0);
    free(area);
    free(id);
    free(maps);
}

static void no_data_is_never_labelled(void **state)
{
    (void)state;
    enum { H = 130, W = 140 };
    for (enum bs_recipe recipe = BS_RECIPE_BOUNDARIES; recipe <= BS_RECIPE_DISTANCES; recipe++) {
        float *maps = maps_of(recipe, H, W, 9);
        static uint32_t labels[H * W];
        static uint8_t mask[H * W];
        struct bs_instance_params params = bs_instance_params_default(recipe);
        struct bs_instance_result result;
        struct bs_err err;
        for (size_t i = 0; i < H * W; i++)
            mask[i] = i % W > i / W;
        assert_int_equal(bs_instances_from_maps(maps, channels_of(recipe), H, W, mask, &params, labels,
                                                &result, NULL, &err),
                         BS_OK);
        assert_true(result.count > 0);
        for (size_t i = 0; i < H * W; i++)
            assert_true(mask[i] || labels[i] == 0);
        memset(mask, 0, sizeof mask);
        assert_int_equal(bs_instances_from_maps(maps, channels_of(recipe), H, W, mask, &params, labels,
                                                &result, NULL, &err),
                         BS_OK);
        assert_int_equal(result.count, 0);
        free(maps);
    }
}

static void the_same_maps_give_the_same_labels_whatever_the_thread_count(void **state)
{
    (void)state;
    enum { H = 257, W = 263 };
    float *maps = maps_of(BS_RECIPE_DISTANCES, H, W, 11);
    static uint32_t once[H * W], again[H * W];
    struct bs_instance_params params = bs_instance_params_default(BS_RECIPE_DISTANCES);
    struct bs_instance_result result;
    struct bs_err err;
    assert_int_equal(setenv("OMP_NUM_THREADS", "1", 1), 0);
    assert_int_equal(bs_instances_from_maps(maps, 3, H, W, NULL, &params, once, &result, NULL, &err), BS_OK);
    assert_int_equal(setenv("OMP_NUM_THREADS", "7", 1), 0);
    memset(again, 0xAB, sizeof again);
    assert_int_equal(bs_instances_from_maps(maps, 3, H, W, NULL, &params, again, &result, NULL, &err), BS_OK);
    assert_memory_equal(once, again, sizeof once);
    free(maps);
}

/* With threshold1 below threshold2 seeds reach beyond the mask; two that join only there are one object. */
static void seeds_joined_outside_the_mask_are_one_object(void **state)
{
    (void)state;
    const float maps[2][5] = {{0.9f, 0.9f, 0.4f, 0.9f, 0.9f}, {0, 0, 0, 0, 0}};
    const uint32_t expected[5] = {1, 1, 0, 1, 1};
    uint32_t labels[5];
    struct bs_instance_params params = bs_instance_params_default(BS_RECIPE_BOUNDARIES);
    struct bs_instance_result result;
    struct bs_err err;
    params.threshold1 = 0.3;
    params.min_size = 0;
    assert_int_equal(bs_instances_from_maps(maps[0], 2, 1, 5, NULL, &params, labels, &result, NULL, &err),
                     BS_OK);
    assert_memory_equal(labels, expected, sizeof labels);
    assert_int_equal(result.count, 1);
}

static void images_of_no_or_one_pixel_work(void **state)
{
    (void)state;
    const float one[3] = {1, 0, 0};
    uint32_t label = 77;
    struct bs_instance_result result;
    struct bs_err err;
    for (enum bs_recipe recipe = BS_RECIPE_BOUNDARIES; recipe <= BS_RECIPE_DISTANCES; recipe++) {
        struct bs_instance_params params = bs_instance_params_default(recipe);
        params.min_size = 1;
        label = 77;
        assert_int_equal(bs_instances_from_maps(one, channels_of(recipe), 0, 9, NULL, &params, &label,
                                                &result, NULL, &err),
                         BS_OK);
        assert_int_equal(result.count, 0);
        assert_int_equal(label, 77);
        assert_int_equal(bs_instances_from_maps(one, channels_of(recipe), 1, 1, NULL, &params, &label,
                                                &result, NULL, &err),
                         BS_OK);
        assert_int_equal(result.count, 1);
        assert_int_equal(label, 1);
        params.min_size = 2;
        assert_int_equal(bs_instances_from_maps(one, channels_of(recipe), 1, 1, NULL, &params, &label,
                                                &result, NULL, &err),
                         BS_OK);
        assert_int_equal(result.count, 0);
        assert_int_equal(result.removed_by_size, 1);
        assert_int_equal(label, 0);
    }
}

static void maps_that_are_no_numbers_give_no_objects_and_no_crash(void **state)
{
    (void)state;
    enum { N = 12 };
    float maps[3 * N * N];
    uint32_t labels[N * N];
    struct bs_instance_params params = bs_instance_params_default(BS_RECIPE_DISTANCES);
    struct bs_instance_result result;
    struct bs_err err;
    for (int i = 0; i < 3 * N * N; i++)
        maps[i] = NAN;
    assert_int_equal(bs_instances_from_maps(maps, 3, N, N, NULL, &params, labels, &result, NULL, &err),
                     BS_OK);
    assert_int_equal(result.count, 0);
    for (int i = 0; i < N * N; i++)
        maps[i] = 1;
    maps[N * N + 5] = maps[2 * N * N + 5] = -INFINITY;
    assert_int_equal(bs_instances_from_maps(maps, 3, N, N, NULL, &params, labels, &result, NULL, &err),
                     BS_OK);
}

static void wrong_parameters_are_named_with_their_value(void **state)
{
    (void)state;
    const float maps[3] = {0};
    uint32_t label;
    struct bs_instance_result result;
    struct bs_err err;
    struct bs_instance_params good = bs_instance_params_default(BS_RECIPE_DISTANCES), p;
#define REFUSED(change, text)                                                                                \
    do {                                                                                                     \
        p = good;                                                                                            \
        change;                                                                                              \
        assert_int_equal(bs_instances_from_maps(maps, 3, 1, 1, NULL, &p, &label, &result, NULL, &err),       \
                         BS_EINVAL);                                                                         \
        assert_non_null(strstr(err.msg, text));                                                              \
    } while (0)
    REFUSED(p.recipe = (enum bs_recipe)7, "recipe 7");
    REFUSED(p.threshold1 = NAN, "threshold1 is nan");
    REFUSED(p.center_distance_threshold = INFINITY, "center_distance_threshold is inf");
    REFUSED(p.distance_smoothing = -2, "distance_smoothing -2 is not in [0, 100]");
    REFUSED(p.distance_smoothing = 1e6, "distance_smoothing 1e+06");
    REFUSED(p.min_size = -5, "min_size -5");
    REFUSED(p.recipe = BS_RECIPE_BOUNDARIES, "3 maps");
#undef REFUSED
    assert_int_equal(bs_instances_from_maps(maps, 3, SIZE_MAX, 2, NULL, &good, &label, &result, NULL, &err),
                     BS_ELIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_consecutive_and_objects_as_large_as_asked),
        cmocka_unit_test(the_size_filter_removes_and_closes_up_only),
        cmocka_unit_test(no_data_is_never_labelled),
        cmocka_unit_test(the_same_maps_give_the_same_labels_whatever_the_thread_count),
        cmocka_unit_test(seeds_joined_outside_the_mask_are_one_object),
        cmocka_unit_test(images_of_no_or_one_pixel_work),
        cmocka_unit_test(maps_that_are_no_numbers_give_no_objects_and_no_crash),
        cmocka_unit_test(wrong_parameters_are_named_with_their_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
