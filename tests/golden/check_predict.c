/* Whole-image inference against the reference: reflect padding to multiples, and blocks with halo that are standardised
   on their own. The network is the one info.json describes; its weights follow from the formula rule. */
#include "tests/golden/golden.h"

#include "model/predict/predict_internal.h"
#include "tests/support/formula_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Probabilities of a small network; the README's tolerance for outputs. */
#define TOLERANCE 1e-4

static bs_status image_of(const struct bs_npy *a, enum bs_sample sample, struct bs_image **out,
                          struct bs_err *err)
{
    if (a->ndim != 2 || a->type != BS_NPY_U1)
        return BS_FAIL(err, BS_EINVAL, "image.npy should hold uint8 of two dimensions");
    bs_status rc = bs_image_create(sample, "yx", a->shape, NULL, out, err);
    if (rc != BS_OK)
        return rc;
    for (size_t i = 0; i < a->count; i++)
        if (sample == BS_SAMPLE_F32)
            ((float *)(*out)->data)[i] = ((const uint8_t *)a->data)[i];
        else
            ((uint8_t *)(*out)->data)[i] = ((const uint8_t *)a->data)[i];
    return BS_OK;
}

static void compare(struct golden *g, const char *folder, const char *file, const float *have, size_t count)
{
    struct bs_npy want = {0};
    struct bs_err err = {0};
    float *expected = NULL;
    char name[96];
    double worst = 0;
    snprintf(name, sizeof name, "%s/%s", folder, file);
    if (golden_npy(g, folder, file, &want, &err) != BS_OK || bs_npy_to_f32(&want, &expected, &err) != BS_OK) {
        golden_error(g, name, &err);
    } else if (want.count != count) {
        golden_fail(g, name, "the same size", "%zu values where %zu are expected", count, want.count);
    } else {
        for (size_t i = 0; i < count; i++)
            worst = fmax(worst, fabs((double)have[i] - expected[i]));
        golden_verdict(g, name, worst <= TOLERANCE, "at most 1e-4", "max difference %.2g", worst);
    }
    free(expected);
    bs_npy_free(&want);
}

static bs_status run_whole(struct bs_model *model, const struct bs_image *image, struct bs_segment_result *r,
                           struct bs_err *err)
{
    struct bs_segment_params params = bs_segment_params_default(bs_model_info_get(model));
    return bs_segment(model, image, &params, true, NULL, NULL, r, err);
}

static bs_status run_blocks(struct bs_model *model, const struct bs_image *image, struct bs__maps *maps,
                            struct bs_err *err)
{
    struct bs_segment_params params = bs_segment_params_default(bs_model_info_get(model));
    struct bs__plane plane;
    struct bs__layout layout;
    struct bs__network_run run;
    bs_status rc = bs__plane_open(&plane, image, &params, 1, err);
    if (rc != BS_OK)
        return rc;
    if ((rc = bs__layout_blocks(model, plane.h, plane.w, 32, 48, 8, 16, BS_PRECISION_F32, &layout, err)) ==
            BS_OK &&
        (rc = bs__maps_create(maps, 2, plane.h, plane.w, true, err)) == BS_OK)
        rc = bs__network_run(model, &plane, &layout, BS_PRECISION_F32, NULL, maps, NULL, NULL, &run, err);
    bs__plane_close(&plane);
    return rc;
}

void check_predict(struct golden *g, const char *folder)
{
    /* info.json, in words: UNet2d(in_channels=1, out_channels=2, depth=3, initial_features=4, Sigmoid), weight seed 301. */
    struct bs_model_info info = {.arch = {.kind = BS_ARCH_UNET,
                                          .unet = {.in_channels = 1,
                                                   .out_channels = 2,
                                                   .depth = 3,
                                                   .initial_features = 4,
                                                   .norm = BS_NORM_INSTANCE,
                                                   .upsampling = BS_UPSAMPLING_BILINEAR,
                                                   .sigmoid = true}},
                                 .recipe = BS_RECIPE_BOUNDARIES,
                                 .defaults = bs_instance_params_default(BS_RECIPE_BOUNDARIES),
                                 .trained = true};
    struct bs_npy array = {0};
    struct bs_image *image = NULL, *as_float = NULL;
    struct bs_device *device = NULL;
    struct bs_model *model = NULL;
    struct bs_segment_result whole = {0};
    struct bs__maps blocks = {.fd = -1};
    struct bs_device_options options = {.threads = 1};
    struct bs_err err = {0};
    char path[] = "/tmp/bioseg-golden.XXXXXX";
    int fd = mkstemp(path);
    if (fd >= 0)
        close(fd);
    if (golden_npy(g, folder, "image.npy", &array, &err) != BS_OK ||
        image_of(&array, BS_SAMPLE_U8, &image, &err) != BS_OK ||
        image_of(&array, BS_SAMPLE_F32, &as_float, &err) != BS_OK ||
        bs_formula_model_write(path, &info, 301, &err) != BS_OK ||
        bs_device_open("ref", &options, &device, &err) != BS_OK ||
        bs_model_open(path, device, &model, &err) != BS_OK) {
        golden_error(g, folder, &err);
        goto cleanup;
    }
    if (golden_has(g, folder, "with_padding.npy")) {
        if (run_whole(model, image, &whole, &err) == BS_OK)
            compare(g, folder, "with_padding.npy", whole.maps, 2 * whole.height * whole.width);
        else
            golden_error(g, "predict/with_padding.npy", &err);
    }
    const char *files[] = {"with_halo.npy", "with_halo_f32in.npy"};
    for (int i = 0; i < 2; i++) {
        if (!golden_has(g, folder, files[i]))
            continue;
        if (run_blocks(model, i ? as_float : image, &blocks, &err) == BS_OK)
            compare(g, folder, files[i], blocks.data, 2 * blocks.h * blocks.w);
        else
            golden_error(g, files[i], &err);
        bs__maps_destroy(&blocks);
    }
cleanup:
    bs_segment_result_free(&whole);
    bs_model_close(model);
    bs_device_close(device);
    bs_image_unref(image);
    bs_image_unref(as_float);
    bs_npy_free(&array);
    unlink(path);
}
