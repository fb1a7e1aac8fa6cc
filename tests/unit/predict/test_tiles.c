/* Tiles must not show: the maps of a tiled image equal those of the whole image. Networks with formula weights on the
   plain backend, so that differences are differences of tiling. */
#include "model/predict/predict_internal.h"
#include "tests/support/formula_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct bs_device *device;
static char model_path[64];

static int setup(void **state)
{
    struct bs_device_options options = {.threads = 1};
    (void)state;
    snprintf(model_path, sizeof model_path, "/tmp/bioseg-tiles.XXXXXX");
    int fd = mkstemp(model_path);
    if (fd >= 0)
        close(fd);
    return bs_device_open("ref", &options, &device, NULL) == BS_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    bs_device_close(device);
    unlink(model_path);
    return 0;
}

static struct bs_model *open_model(enum bs_norm norm, enum bs_upsampling upsampling)
{
    struct bs_model_info info = {.arch = {.kind = BS_ARCH_UNET,
                                          .unet = {.in_channels = 1,
                                                   .out_channels = 2,
                                                   .depth = 2,
                                                   .initial_features = 2,
                                                   .norm = norm,
                                                   .upsampling = upsampling,
                                                   .sigmoid = true}},
                                 .recipe = BS_RECIPE_BOUNDARIES,
                                 .defaults = bs_instance_params_default(BS_RECIPE_BOUNDARIES),
                                 .trained = true};
    struct bs_model *model = NULL;
    struct bs_err err = {0};
    if (bs_formula_model_write(model_path, &info, 5, &err) != BS_OK ||
        bs_model_open(model_path, device, &model, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return model;
}

/* Cells of different brightness on a gradient; odd sizes, so that padding takes part. */
static struct bs_image *cells(size_t h, size_t w)
{
    struct bs_image *im = NULL;
    size_t dim[2] = {h, w};
    assert_int_equal(bs_image_create(BS_SAMPLE_U16, "yx", dim, NULL, &im, NULL), BS_OK);
    for (size_t y = 0; y < h; y++)
        for (size_t x = 0; x < w; x++) {
            double cy = fmod((double)y, 23) - 11, cx = fmod((double)x, 19) - 9;
            double cell = cy * cy + cx * cx < 60 ? 400 + 10 * (double)(x / 19) + 20 * (double)(y / 23) : 0;
            ((uint16_t *)im->data)[y * w + x] = (uint16_t)(100 + cell + (double)((x * 7 + y * 13) % 11));
        }
    return im;
}

static double largest_difference(const float *a, const float *b, size_t n)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++)
        worst = fmax(worst, fabs((double)a[i] - b[i]));
    return worst;
}

static double tiled_against_whole_of(enum bs_norm norm, enum bs_upsampling upsampling, int batch, size_t h,
                                     size_t w, int64_t tile)
{
    struct bs_model *model = open_model(norm, upsampling);
    struct bs_image *im = cells(h, w);
    struct bs_segment_params params = bs_segment_params_default(bs_model_info_get(model));
    struct bs_segment_result whole, tiled;
    struct bs_err err = {0};
    if (bs_segment(model, im, &params, true, NULL, NULL, &whole, &err) != BS_OK)
        fail_msg("%s", err.msg);
    assert_false(whole.tiled);
    params.tile = tile;
    params.batch = batch;
    if (bs_segment(model, im, &params, true, NULL, NULL, &tiled, &err) != BS_OK)
        fail_msg("%s", err.msg);
    assert_true(tiled.tiled);
    double worst = largest_difference(whole.maps, tiled.maps, 2 * h * w);
    bs_segment_result_free(&whole);
    bs_segment_result_free(&tiled);
    bs_image_unref(im);
    bs_model_close(model);
    return worst;
}

static double tiled_against_whole(enum bs_norm norm, enum bs_upsampling upsampling, int batch)
{
    return tiled_against_whole_of(norm, upsampling, batch, 203, 157, 48);
}

static void tiles_equal_the_whole_image_without_norms_and_with_batch_norm(void **state)
{
    (void)state;
    assert_true(tiled_against_whole(BS_NORM_NONE, BS_UPSAMPLING_BILINEAR, 1) <= 1e-5);
    assert_true(tiled_against_whole(BS_NORM_NONE, BS_UPSAMPLING_TRANSPOSED, 1) <= 1e-5);
    assert_true(tiled_against_whole(BS_NORM_BATCH, BS_UPSAMPLING_BILINEAR, 1) <= 1e-5);
    assert_true(tiled_against_whole(BS_NORM_BATCH, BS_UPSAMPLING_TRANSPOSED, 1) <= 1e-5);
}

static void several_tiles_at_a_time_change_nothing(void **state)
{
    (void)state;
    assert_true(tiled_against_whole(BS_NORM_BATCH, BS_UPSAMPLING_BILINEAR, 4) <= 1e-5);
    assert_true(tiled_against_whole(BS_NORM_INSTANCE, BS_UPSAMPLING_BILINEAR, 4) <= 1e-4);
}

/* Statistics come from the image itself here, because it is small enough to be sampled as a whole. */
static void tiles_of_instance_and_group_norm_networks_use_the_statistics_of_the_image(void **state)
{
    (void)state;
    assert_true(tiled_against_whole(BS_NORM_INSTANCE, BS_UPSAMPLING_BILINEAR, 1) <= 1e-4);
    assert_true(tiled_against_whole(BS_NORM_GROUP, BS_UPSAMPLING_TRANSPOSED, 1) <= 1e-4);
}

/* Too large to be measured in one piece: windows that cover it share their overlaps. */
static void norms_measured_in_windows_are_those_of_the_whole_image(void **state)
{
    (void)state;
    assert_true(tiled_against_whole_of(BS_NORM_INSTANCE, BS_UPSAMPLING_BILINEAR, 1, 1030, 1025, 512) <= 2e-3);
}

static void maps_in_a_file_give_the_labels_of_maps_in_memory(void **state)
{
    (void)state;
    struct bs__maps memory, file;
    float row[64], back[3 * 64];
    assert_int_equal(bs__maps_create(&memory, 2, 40, 64, true, NULL), BS_OK);
    assert_int_equal(bs__maps_create(&file, 2, 40, 64, false, NULL), BS_OK);
    assert_true(file.fd >= 0);
    for (int c = 0; c < 2; c++)
        for (size_t y = 0; y < 40; y++) {
            for (size_t x = 0; x < 64; x++)
                row[x] = (float)(c * 1000 + (int)y * 64 + (int)x);
            assert_int_equal(bs__maps_write(&memory, c, y, 0, row, 64, NULL), BS_OK);
            assert_int_equal(bs__maps_write(&file, c, y, 10, row + 10, 54, NULL), BS_OK);
            assert_int_equal(bs__maps_write(&file, c, y, 0, row, 10, NULL), BS_OK);
        }
    assert_int_equal(bs__maps_read(&file, 1, 17, 3, back, NULL), BS_OK);
    assert_memory_equal(back, memory.data + (40 + 17) * 64, sizeof back);
    bs__maps_destroy(&memory);
    bs__maps_destroy(&file);
}

static void a_small_budget_makes_tiles_and_a_tiny_one_is_refused_with_the_figure(void **state)
{
    (void)state;
    struct bs_model *model = open_model(BS_NORM_BATCH, BS_UPSAMPLING_BILINEAR);
    struct bs_segment_params params = bs_segment_params_default(bs_model_info_get(model));
    struct bs__layout l;
    struct bs_err err = {0};
    params.memory_budget = (size_t)256 << 20;
    assert_int_equal(bs__layout_choose(model, 500, 700, &params, &l, &err), BS_OK);
    assert_false(l.tiled);
    params.memory_budget = (size_t)3 << 20;
    assert_int_equal(bs__layout_choose(model, 500, 700, &params, &l, &err), BS_OK);
    assert_true(l.tiled);
    assert_true(l.arena_bytes <= params.memory_budget);
    params.memory_budget = 4096;
    assert_int_equal(bs__layout_choose(model, 500, 700, &params, &l, &err), BS_ELIMIT);
    assert_non_null(strstr(err.msg, "budget"));
    bs_model_close(model);
}

static void the_halo_is_the_receptive_radius_rounded_up(void **state)
{
    (void)state;
    struct bs_model *model = open_model(BS_NORM_NONE, BS_UPSAMPLING_BILINEAR);
    struct bs_segment_params params = bs_segment_params_default(bs_model_info_get(model));
    struct bs__layout l;
    params.tile = 40; /* not a multiple of 16: rounded up */
    assert_int_equal(bs__layout_choose(model, 500, 700, &params, &l, NULL), BS_OK);
    int radius = bs_arch_receptive_radius(&bs_model_info_get(model)->arch);
    assert_true(l.halo_h >= radius && l.halo_h < radius + 16 && l.halo_h % 16 == 0);
    assert_int_equal(l.window_h - 2 * l.halo_h, 48);
    bs_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiles_equal_the_whole_image_without_norms_and_with_batch_norm),
        cmocka_unit_test(several_tiles_at_a_time_change_nothing),
        cmocka_unit_test(tiles_of_instance_and_group_norm_networks_use_the_statistics_of_the_image),
        cmocka_unit_test(norms_measured_in_windows_are_those_of_the_whole_image),
        cmocka_unit_test(maps_in_a_file_give_the_labels_of_maps_in_memory),
        cmocka_unit_test(a_small_budget_makes_tiles_and_a_tiny_one_is_refused_with_the_figure),
        cmocka_unit_test(the_halo_is_the_receptive_radius_rounded_up),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
