/* How UNETR and ViM-UNet go over an image: the training patch is the tile, every tile is an input of its own, the whole
   image goes as the publication did it, and another size is taken with a warning. Tiny networks with formula weights on
   the plain backend: the encoder's size is 64 pixels, the training patch 32. */
#include "model/predict/predict_internal.h"
#include "tests/support/formula_model.h"
#include "tests/support/npy.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SIZE  64
#define PATCH 32

static struct bs_device *device;
static char model_path[64];

static int setup(void **state)
{
    struct bs_device_options options = {.threads = 1};
    (void)state;
    snprintf(model_path, sizeof model_path, "/tmp/bioseg-encoder.XXXXXX");
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

static struct bs_model_info vimunet(void)
{
    return (struct bs_model_info){.arch = {.kind = BS_ARCH_VIMUNET,
                                           .vimunet = {.in_channels = 3,
                                                       .image_size = SIZE,
                                                       .patch_size = 16,
                                                       .embed_dim = 32,
                                                       .depth = 4,
                                                       .inner_features = 64,
                                                       .state_size = 16,
                                                       .dt_rank = 2,
                                                       .conv_kernel = 4,
                                                       .head_classes = 1000,
                                                       .class_token = true,
                                                       .divide_by_directions = true,
                                                       .decoder = {3, 4, BS_UPSAMPLING_BILINEAR, true}}},
                                  .recipe = BS_RECIPE_DISTANCES,
                                  .training_patch = PATCH,
                                  .defaults = bs_instance_params_default(BS_RECIPE_DISTANCES)};
}

static struct bs_model_info unetr(void)
{
    return (struct bs_model_info){.arch = {.kind = BS_ARCH_UNETR,
                                           .unetr = {.in_channels = 3,
                                                     .image_size = SIZE,
                                                     .patch_size = 16,
                                                     .embed_dim = 32,
                                                     .depth = 2,
                                                     .heads = 4,
                                                     .mlp_features = 128,
                                                     .window = 3,
                                                     .global_blocks = 2,
                                                     .neck_channels = 16,
                                                     .decoder = {3, 4, BS_UPSAMPLING_TRANSPOSED, true},
                                                     .resize_input = true}},
                                  .recipe = BS_RECIPE_DISTANCES,
                                  .training_patch = PATCH,
                                  .defaults = bs_instance_params_default(BS_RECIPE_DISTANCES)};
}

static struct bs_model *open_model(const struct bs_model_info *info, uint64_t seed)
{
    struct bs_model *model = NULL;
    struct bs_err err = {0};
    if (bs_formula_model_write(model_path, info, seed, &err) != BS_OK ||
        bs_model_open(model_path, device, &model, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return model;
}

/* Blobs on a gradient; every part differs from every other. */
static struct bs_image *cells(size_t h, size_t w)
{
    struct bs_image *im = NULL;
    size_t dim[2] = {h, w};
    assert_int_equal(bs_image_create(BS_SAMPLE_F32, "yx", dim, NULL, &im, NULL), BS_OK);
    for (size_t y = 0; y < h; y++)
        for (size_t x = 0; x < w; x++) {
            double cy = fmod((double)y, 13) - 6, cx = fmod((double)x, 11) - 5;
            ((float *)im->data)[y * w + x] =
                (float)(exp(-(cy * cy + cx * cx) / 12) + 0.003 * (double)x + 0.005 * (double)y);
        }
    return im;
}

/* The part of an image that one window shows. */
static struct bs_image *part(const struct bs_image *im, size_t y0, size_t x0, size_t h, size_t w)
{
    struct bs_image *out = NULL;
    size_t dim[2] = {h, w};
    assert_int_equal(bs_image_create(BS_SAMPLE_F32, "yx", dim, NULL, &out, NULL), BS_OK);
    for (size_t y = 0; y < h; y++)
        memcpy((float *)out->data + y * w, (const float *)im->data + (y0 + y) * im->dim[1] + x0,
               w * sizeof(float));
    return out;
}

static struct bs_segment_result segment(struct bs_model *model, const struct bs_image *im,
                                        const struct bs_segment_params *params)
{
    struct bs_segment_result r;
    struct bs_err err = {0};
    if (bs_segment(model, im, params, true, NULL, NULL, &r, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return r;
}

static const char *warning(const struct bs_segment_result *r, const char *code)
{
    for (int i = 0; i < r->nwarning; i++)
        if (strcmp(r->warning[i].code, code) == 0)
            return r->warning[i].text;
    return NULL;
}

static double largest_difference(const float *a, const float *b, size_t n)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++)
        worst = fmax(worst, fabs((double)a[i] - b[i]));
    return worst;
}

static void tiles_with_their_halo_are_as_large_as_the_training_patch(void **state)
{
    (void)state;
    const struct bs_model_info infos[] = {vimunet(), unetr()};
    for (int i = 0; i < 2; i++) {
        struct bs_model *model = open_model(&infos[i], 5);
        struct bs_image *im = cells(70, 53);
        struct bs_segment_params params = bs_segment_params_default(bs_model_info_get(model));
        struct bs_segment_result r = segment(model, im, &params);
        assert_true(r.tiled);
        assert_int_equal(r.halo, PATCH / 8);
        assert_int_equal(r.tile, PATCH - 2 * PATCH / 8);
        assert_true(r.magnification == 1);
        assert_non_null(warning(&r, "tiled"));
        assert_non_null(warning(&r, "untrained_model"));
        assert_null(warning(&r, "tile_not_training_patch"));
        for (size_t k = 0; k < 3 * 70 * 53; k++)
            assert_true(r.maps[k] >= 0 && r.maps[k] <= 1);
        bs_segment_result_free(&r);
        bs_image_unref(im);
        bs_model_close(model);
    }
}

/* A tile cut out of the image and segmented alone gives what the tile gave, up to its halo. */
static void a_tile_is_an_input_of_its_own(void **state)
{
    (void)state;
    struct bs_model_info infos[] = {vimunet(), unetr()};
    for (int i = 0; i < 2; i++) {
        infos[i].normalisation = BS_NORMALISE_NONE; /* statistics of the whole image would tell them apart */
        struct bs_model *model = open_model(&infos[i], 6);
        struct bs_image *im = cells(80, 56), *alone = part(im, 24, 24, PATCH, PATCH);
        struct bs_segment_params params = bs_segment_params_default(bs_model_info_get(model));
        struct bs_segment_result all = segment(model, im, &params), one = segment(model, alone, &params);
        assert_true(all.tiled && !one.tiled);
        for (int c = 0; c < 3; c++)
            for (size_t y = 4; y < PATCH - 4; y++) /* second row and column of tiles */
                assert_memory_equal(all.maps + ((size_t)c * 80 + 24 + y) * 56 + 24 + 4,
                                    one.maps + ((size_t)c * PATCH + y) * PATCH + 4,
                                    (PATCH - 8) * sizeof(float));
        bs_segment_result_free(&all);
        bs_segment_result_free(&one);
        bs_image_unref(im);
        bs_image_unref(alone);
        bs_model_close(model);
    }
}

static void compare_batches(struct bs_model *model, const char *what)
{
    struct bs_image *im = cells(70, 53);
    struct bs_segment_params params = bs_segment_params_default(bs_model_info_get(model));
    struct bs_segment_result one = segment(model, im, &params);
    params.batch = 4; /* of 9 tiles: the last batch is not full */
    struct bs_segment_result four = segment(model, im, &params);
    if (memcmp(one.maps, four.maps, 3 * 70 * 53 * sizeof(float)) != 0)
        fail_msg("%s: maps differ by %g", what, largest_difference(one.maps, four.maps, 3 * 70 * 53));
    assert_memory_equal(one.labels, four.labels, (size_t)70 * 53 * sizeof(uint32_t));
    bs_segment_result_free(&one);
    bs_segment_result_free(&four);
    bs_image_unref(im);
}

static void the_batch_of_tiles_changes_nothing(void **state)
{
    (void)state;
    const struct bs_model_info infos[] = {vimunet(), unetr()};
    const struct bs_device_options options = {.threads = 1, .allow_winograd = true};
    struct bs_device *plain = device, *best = NULL;
    assert_int_equal(bs_device_open("auto", &options, &best, NULL), BS_OK);
    for (int i = 0; i < 4; i++) {
        device = i % 2 ? best : plain;
        struct bs_model *model = open_model(&infos[i / 2], 7);
        compare_batches(model, i % 2 ? "auto" : "ref");
        bs_model_close(model);
    }
    device = plain;
    bs_device_close(best);
}

/* golden/README.md, quirks 7 and 8: the reference's own output for an image that is padded to the encoder's size. */
static void the_whole_image_gives_what_the_original_gives(void **state)
{
    (void)state;
    const char *folder = BS_TEST_FIXTURES "/golden/small/vimunet";
    char in_file[256], out_file[256];
    struct bs_npy in = {0}, want = {0};
    struct bs_err err = {0};
    if (access(folder, R_OK) != 0)
        folder = BS_TEST_SHARED "/golden/small/vimunet";
    if (access(folder, R_OK) != 0)
        skip();
    snprintf(in_file, sizeof in_file, "%s/input_onechannel.npy", folder);
    snprintf(out_file, sizeof out_file, "%s/output_onechannel.npy", folder);
    if (bs_npy_read(in_file, &in, &err) != BS_OK || bs_npy_read(out_file, &want, &err) != BS_OK)
        fail_msg("%s", err.msg);
    struct bs_model_info info = vimunet();
    info.normalisation = BS_NORMALISE_NONE;
    struct bs_model *model =
        open_model(&info, 105); /* info.json: the weights are formula weights of this seed */
    struct bs_image *im = NULL;
    size_t dim[2] = {in.shape[2], in.shape[3]}, n = dim[0] * dim[1];
    assert_int_equal(bs_image_create(BS_SAMPLE_F32, "yx", dim, NULL, &im, NULL), BS_OK);
    assert_int_equal(in.count, n);
    assert_int_equal(want.count, 3 * n);
    memcpy(im->data, in.data, n * sizeof(float));
    struct bs_segment_params params = bs_segment_params_default(bs_model_info_get(model));
    params.whole_image = true;
    struct bs_segment_result r = segment(model, im, &params);
    assert_false(r.tiled);
    double worst = largest_difference(r.maps, want.data, 3 * n);
    if (!(worst <= 1e-4))
        fail_msg("largest difference %g", worst);
    assert_non_null(warning(&r, "tile_not_training_patch"));
    bs_segment_result_free(&r);
    bs_image_unref(im);
    bs_npy_free(&in);
    bs_npy_free(&want);
    bs_model_close(model);
}

static void another_size_than_the_patch_warns_with_the_magnification(void **state)
{
    (void)state;
    const struct bs_model_info resizing = unetr(), padding = vimunet();
    struct bs_model *model = open_model(&resizing, 5);
    struct bs_image *im = cells(48, 64);
    struct bs_segment_params params = bs_segment_params_default(bs_model_info_get(model));
    params.whole_image = true; /* 64 pixels become 64; in training 32 did */
    struct bs_segment_result r = segment(model, im, &params);
    assert_true(r.magnification == 0.5);
    assert_false(r.tiled);
    assert_non_null(
        strstr(warning(&r, "tile_not_training_patch"), "48 x 64 pixels at a time, in training 32 x 32"));
    assert_non_null(strstr(warning(&r, "tile_not_training_patch"), "at 0.5 times"));
    bs_segment_result_free(&r);
    params.whole_image = false;
    params.tile = 9; /* whole tokens: 16 */
    params.halo = 0;
    r = segment(model, im, &params);
    assert_true(r.magnification == 2 && r.tile == 16 && r.halo == 0);
    assert_non_null(strstr(warning(&r, "tile_not_training_patch"), "at 2 times"));
    bs_segment_result_free(&r);
    params = bs_segment_params_default(bs_model_info_get(model));
    params.resample_positions =
        true; /* tiles of the patch's size, but not enlarged to twice that as in training */
    r = segment(model, im, &params);
    assert_true(r.magnification == 0.5 && r.tiled && r.tile == 24);
    assert_non_null(warning(&r, "tile_not_training_patch"));
    bs_segment_result_free(&r);
    bs_model_close(model);
    model = open_model(&padding, 5);
    params = bs_segment_params_default(bs_model_info_get(model));
    params.tile = 33;                /* 48 */
    r = segment(model, im, &params); /* never resized: another part of the encoder is filled */
    assert_true(r.magnification == 1);
    assert_non_null(strstr(warning(&r, "tile_not_training_patch"), "at 1 times"));
    bs_segment_result_free(&r);
    bs_image_unref(im);
    bs_model_close(model);
}

static void larger_images_are_tiled_even_when_the_whole_was_asked_for(void **state)
{
    (void)state;
    const struct bs_model_info info = vimunet();
    struct bs_model *model = open_model(&info, 5);
    struct bs_image *im = cells(40, SIZE + 1);
    struct bs_segment_params params = bs_segment_params_default(bs_model_info_get(model));
    struct bs__layout l;
    params.whole_image = true;
    struct bs_segment_result r = segment(model, im, &params);
    assert_true(r.tiled && r.tile == 24);
    assert_non_null(warning(&r, "tiled"));
    bs_segment_result_free(&r);
    params.resample_positions = true; /* its own size: the encoder's does not matter */
    assert_int_equal(bs__layout_choose(model, 40, SIZE + 1, &params, &l, NULL), BS_OK);
    assert_true(!l.tiled && l.net_h == 48 && l.net_w == 80);
    r = segment(model, im, &params);
    assert_false(r.tiled);
    bs_segment_result_free(&r);
    /* As many pixels as the encoder's square, in another shape. */
    assert_int_equal(bs__layout_choose(model, SIZE / 2, 2 * SIZE, &params, &l, NULL), BS_OK);
    assert_true(!l.tiled && l.net_h == SIZE / 2 && l.net_w == 2 * SIZE + 16);
    assert_int_equal(bs__layout_choose(model, 40, SIZE + 1, &params, &l, NULL), BS_OK);
    params.memory_budget = l.arena_bytes - 1;
    assert_int_equal(bs__layout_choose(model, 40, SIZE + 1, &params, &l, NULL), BS_OK);
    assert_true(l.tiled && l.net_h == PATCH && l.net_w == PATCH);
    bs_image_unref(im);
    bs_model_close(model);
}

/* Small images are reflected to the tile, so that their objects keep the size they have in training. */
static void an_image_smaller_than_the_tile_is_not_magnified(void **state)
{
    (void)state;
    const struct bs_model_info info = unetr();
    struct bs_model *model = open_model(&info, 5);
    struct bs_segment_params params = bs_segment_params_default(bs_model_info_get(model));
    struct bs__layout l;
    assert_int_equal(bs__layout_choose(model, 20, 7, &params, &l, NULL), BS_OK);
    assert_true(!l.tiled && l.window_h == PATCH && l.window_w == PATCH && l.net_h == SIZE);
    struct bs_image *im = cells(20, 7);
    struct bs_segment_result r = segment(model, im, &params);
    assert_true(r.magnification == 1 && r.halo == 0);
    assert_null(warning(&r, "tile_not_training_patch"));
    bs_segment_result_free(&r);
    bs_image_unref(im);
    im = cells(1, 1);
    r = segment(model, im, &params);
    assert_true(isfinite(r.maps[0]));
    bs_segment_result_free(&r);
    bs_image_unref(im);
    bs_model_close(model);
}

static void impossible_tiles_are_refused_with_what_is_accepted(void **state)
{
    (void)state;
    const struct bs_model_info info = vimunet();
    struct bs_model *model = open_model(&info, 5);
    struct bs_segment_params params = bs_segment_params_default(bs_model_info_get(model));
    struct bs__layout l;
    struct bs_err err = {0};
    params.tile = 64;
    assert_int_equal(bs__layout_choose(model, 200, 200, &params, &l, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "72 pixels"));
    assert_non_null(strstr(err.msg, "up to 64"));
    params.resample_positions = true;
    assert_int_equal(bs__layout_choose(model, 200, 200, &params, &l, &err), BS_OK);
    assert_true(l.window_h == 80 && l.net_h == 80); /* whole tokens */
    params = bs_segment_params_default(bs_model_info_get(model));
    params.halo = 9;
    assert_int_equal(bs__layout_choose(model, 200, 200, &params, &l, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "0 to 8"));
    params = bs_segment_params_default(bs_model_info_get(model));
    params.memory_budget = 4096;
    assert_int_equal(bs__layout_choose(model, 200, 200, &params, &l, &err), BS_ELIMIT);
    assert_non_null(strstr(err.msg, "budget"));
    bs_model_close(model);
}

static void blocks_are_normalised_on_their_own_when_asked(void **state)
{
    (void)state;
    const struct bs_model_info info = vimunet();
    struct bs_model *model = open_model(&info, 5);
    struct bs_image *im = cells(48, 48);
    struct bs_segment_params params = bs_segment_params_default(bs_model_info_get(model));
    struct bs_segment_result image = segment(model, im, &params);
    params.statistics = BS_STATISTICS_BLOCK;
    struct bs_segment_result block = segment(model, im, &params);
    assert_true(block.tiled && block.tile == 24);
    assert_true(largest_difference(image.maps, block.maps, 3 * 48 * 48) > 1e-3);
    bs_segment_result_free(&image);
    bs_segment_result_free(&block);
    bs_image_unref(im);
    bs_model_close(model);
}

/* SAM's statistics are of samples from 0 to 255. */
static void samples_reach_the_range_of_sam_or_are_refused(void **state)
{
    (void)state;
    struct bs_model_info info = unetr();
    info.arch.unetr.sam_statistics = true;
    info.normalisation = BS_NORMALISE_RANGE_255;
    struct bs_model *model = open_model(&info, 5);
    struct bs_image *im = cells(PATCH, PATCH), *stretched = cells(PATCH, PATCH);
    float *v = stretched->data, low = v[0], high = v[0];
    struct bs_err err = {0};
    for (int i = 0; i < PATCH * PATCH; i++) {
        low = fminf(low, v[i]);
        high = fmaxf(high, v[i]);
    }
    for (int i = 0; i < PATCH * PATCH; i++)
        v[i] = floorf((v[i] - low) / (high - low + 1e-7f) * 255);
    struct bs_segment_params params = bs_segment_params_default(bs_model_info_get(model));
    struct bs_segment_result range = segment(model, im, &params), r;
    bs_model_close(model);
    info.normalisation = BS_NORMALISE_NONE;
    model = open_model(&info, 5);
    struct bs_segment_result none = segment(model, stretched, &params);
    assert_memory_equal(range.maps, none.maps, 3 * PATCH * PATCH * sizeof(float));
    v[7] = 256;
    assert_int_equal(bs_segment(model, stretched, &params, false, NULL, NULL, &r, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "256"));
    for (int i = 0; i < PATCH * PATCH; i++)
        v[i] = (float)(i % 2);
    assert_int_equal(bs_segment(model, stretched, &params, false, NULL, NULL, &r, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "largest above 1"));
    bs_segment_result_free(&range);
    bs_segment_result_free(&none);
    bs_image_unref(im);
    bs_image_unref(stretched);
    bs_model_close(model);
}

static void only_models_with_an_encoder_of_fixed_size_have_its_parameters(void **state)
{
    (void)state;
    const struct bs_model_info with = vimunet();
    struct bs_model_info without = vimunet();
    struct bs_param_spec spec[64];
    struct bs_err err = {0};
    int found = 0, tiles = 0;
    without.arch = (struct bs_arch_config){
        .kind = BS_ARCH_UNET, .unet = {1, 3, 2, 2, BS_NORM_INSTANCE, BS_UPSAMPLING_BILINEAR, true}};
    struct bs_segment_params p = bs_segment_params_default(&with);
    int n = bs_segment_param_specs(&with, spec, 64);
    for (int i = 0; i < n; i++) {
        found += strcmp(spec[i].name, "whole_image") == 0 || strcmp(spec[i].name, "resample_positions") == 0;
        tiles += strcmp(spec[i].name, "tile") == 0;
    }
    assert_true(found == 2 && tiles == 1);
    assert_int_equal(bs_segment_params_set(&with, &p, "whole_image", 1, &err), BS_OK);
    assert_int_equal(bs_segment_params_set(&with, &p, "resample_positions", 1, &err), BS_OK);
    assert_true(p.whole_image && p.resample_positions);
    assert_int_equal(bs_segment_params_set(&with, &p, "whole_image", 2, &err), BS_EINVAL);
    assert_int_equal(bs_segment_params_set(&without, &p, "whole_image", 1, &err), BS_EINVAL);
    assert_int_equal(bs__params_validate(&without, &p, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "whole_image"));
    n = bs_segment_param_specs(&without, spec, 64);
    for (int i = 0; i < n; i++)
        assert_int_not_equal(strcmp(spec[i].name, "whole_image"), 0);
}

static void the_plan_covers_tiles_and_what_surrounds_them(void **state)
{
    (void)state;
    const struct bs_model_info info = unetr();
    struct bs_model *model = open_model(&info, 5);
    struct bs_segment_params params = bs_segment_params_default(bs_model_info_get(model));
    struct bs__layout l;
    size_t one, four;
    assert_int_equal(bs_segment_planned_bytes(model, 300, 200, &params, &one, NULL), BS_OK);
    params.batch = 4;
    assert_int_equal(bs_segment_planned_bytes(model, 300, 200, &params, &four, NULL), BS_OK);
    assert_int_equal(bs__layout_choose(model, 300, 200, &params, &l, NULL), BS_OK);
    assert_true(four > l.arena_bytes + (size_t)4 * 9 * SIZE * SIZE * sizeof(float));
    assert_true(four > one);
    bs_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiles_with_their_halo_are_as_large_as_the_training_patch),
        cmocka_unit_test(a_tile_is_an_input_of_its_own),
        cmocka_unit_test(the_batch_of_tiles_changes_nothing),
        cmocka_unit_test(the_whole_image_gives_what_the_original_gives),
        cmocka_unit_test(another_size_than_the_patch_warns_with_the_magnification),
        cmocka_unit_test(larger_images_are_tiled_even_when_the_whole_was_asked_for),
        cmocka_unit_test(an_image_smaller_than_the_tile_is_not_magnified),
        cmocka_unit_test(impossible_tiles_are_refused_with_what_is_accepted),
        cmocka_unit_test(blocks_are_normalised_on_their_own_when_asked),
        cmocka_unit_test(samples_reach_the_range_of_sam_or_are_refused),
        cmocka_unit_test(only_models_with_an_encoder_of_fixed_size_have_its_parameters),
        cmocka_unit_test(the_plan_covers_tiles_and_what_surrounds_them),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
