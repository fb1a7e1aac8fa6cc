/* What bs_segment promises its callers: errors that name value and range, warnings, progress, cancel, scale and sizes in
   um. The network is a small one with formula weights: its labels mean nothing, but they are labels. */
#include "model/predict/segment.h"
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
static struct bs_model *model;
static char path[64];

static int setup(void **state)
{
    struct bs_device_options options = {.threads = 1};
    struct bs_model_info info = {.arch = {.kind = BS_ARCH_UNET,
                                          .unet = {.in_channels = 1,
                                                   .out_channels = 3,
                                                   .depth = 2,
                                                   .initial_features = 2,
                                                   .norm = BS_NORM_INSTANCE,
                                                   .upsampling = BS_UPSAMPLING_BILINEAR,
                                                   .sigmoid = true}},
                                 .recipe = BS_RECIPE_DISTANCES,
                                 .defaults = bs_instance_params_default(BS_RECIPE_DISTANCES),
                                 .pixel_size_um = 0.5,
                                 .trained = false};
    struct bs_err err = {0};
    (void)state;
    info.defaults.center_distance_threshold = 0.6;
    info.defaults.boundary_distance_threshold = 0.7;
    info.defaults.foreground_threshold = 0.3;
    info.defaults.min_size = 0;
    snprintf(path, sizeof path, "/tmp/bioseg-segment.XXXXXX");
    int fd = mkstemp(path);
    if (fd >= 0)
        close(fd);
    if (bs_device_open("ref", &options, &device, &err) != BS_OK ||
        bs_formula_model_write(path, &info, 9, &err) != BS_OK ||
        bs_model_open(path, device, &model, &err) != BS_OK) {
        printf("%s\n", err.msg);
        return -1;
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    bs_model_close(model);
    bs_device_close(device);
    unlink(path);
    return 0;
}

static struct bs_image *blobs(size_t h, size_t w)
{
    struct bs_image *im = NULL;
    size_t dim[2] = {h, w};
    assert_int_equal(bs_image_create(BS_SAMPLE_F32, "yx", dim, NULL, &im, NULL), BS_OK);
    for (size_t y = 0; y < h; y++)
        for (size_t x = 0; x < w; x++) {
            double dy = fmod((double)y, 24) - 12, dx = fmod((double)x, 24) - 12;
            ((float *)im->data)[y * w + x] =
                (float)(exp(-(dy * dy + dx * dx) / 40) + 0.02 * (double)((3 * x + 5 * y) % 7));
        }
    return im;
}

static struct bs_segment_params defaults(void)
{
    return bs_segment_params_default(bs_model_info_get(model));
}

static bool has_warning(const struct bs_segment_result *r, const char *code)
{
    for (int i = 0; i < r->nwarning; i++)
        if (strcmp(r->warning[i].code, code) == 0)
            return true;
    return false;
}

static struct bs_segment_result segment(const struct bs_image *im, const struct bs_segment_params *params)
{
    struct bs_segment_result r;
    struct bs_err err = {0};
    if (bs_segment(model, im, params, true, NULL, NULL, &r, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return r;
}

static void labels_are_consecutive_and_the_table_describes_them(void **state)
{
    (void)state;
    struct bs_image *im = blobs(70, 90);
    struct bs_segment_params params = defaults();
    struct bs_segment_result r = segment(im, &params);
    uint64_t area = 0, labelled = 0;
    assert_int_equal(r.height, 70);
    assert_int_equal(r.width, 90);
    assert_int_equal(r.channels, 3);
    assert_true(r.count > 0); /* or the test tests nothing */
    for (uint32_t i = 0; i < r.count; i++) {
        assert_int_equal(r.objects[i].id, i + 1);
        assert_true(r.objects[i].area > 0);
        assert_true(isfinite(r.objects[i].mean_intensity));
        area += r.objects[i].area;
    }
    for (size_t i = 0; i < 70 * 90; i++) {
        assert_true(r.labels[i] <= r.count);
        labelled += r.labels[i] != 0;
    }
    assert_int_equal(area, labelled);
    assert_true(has_warning(&r, "untrained_model"));
    bs_segment_result_free(&r);
    bs_image_unref(im);
}

static void errors_name_the_value_and_what_is_accepted(void **state)
{
    (void)state;
    const struct bs_model_info *info = bs_model_info_get(model);
    struct bs_segment_params p = defaults();
    struct bs_err err = {0};
    assert_int_equal(bs_segment_params_set(info, &p, "foreground_threshold", 1.5, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "1.5"));
    assert_non_null(strstr(err.msg, "0 to 1"));
    assert_int_equal(bs_segment_params_set(info, &p, "min_size", 2.5, &err), BS_EINVAL);
    assert_int_equal(bs_segment_params_set(info, &p, "min_size", NAN, &err), BS_EINVAL);
    assert_int_equal(bs_segment_params_set(info, &p, "tile", -4, &err), BS_EINVAL);
    assert_int_equal(bs_segment_params_set(info, &p, "scale", 1e-9, &err), BS_EINVAL);
    assert_int_equal(bs_segment_params_set(info, &p, "threshold1", 0.5, &err),
                     BS_EINVAL); /* of the other recipe */
    assert_non_null(strstr(err.msg, "center_distance_threshold"));
    assert_int_equal(bs_segment_params_set(info, &p, "foreground_threshold", 0.25, &err), BS_OK);
    assert_true(p.instances.foreground_threshold == 0.25);
    struct bs_image *im = blobs(32, 32);
    struct bs_segment_result r;
    p = defaults();
    p.instances.boundary_distance_threshold = NAN; /* set past the table: still refused */
    assert_int_equal(bs_segment(model, im, &p, false, NULL, NULL, &r, &err), BS_EINVAL);
    bs_image_unref(im);
}

static void every_parameter_has_a_title_a_range_and_a_default_inside_it(void **state)
{
    (void)state;
    const struct bs_model_info *info = bs_model_info_get(model);
    struct bs_param_spec spec[64];
    struct bs_segment_params p = defaults();
    int n = bs_segment_param_specs(info, spec, 64);
    assert_true(n > 10);
    for (int i = 0; i < n; i++) {
        assert_true(strlen(spec[i].title) > 2 && strlen(spec[i].help) > 20);
        if (isnan(spec[i].default_value))
            continue;
        assert_true(spec[i].default_value >= spec[i].min && spec[i].default_value <= spec[i].max);
        assert_int_equal(bs_segment_params_set(info, &p, spec[i].name, spec[i].default_value, NULL), BS_OK);
    }
    assert_int_equal(bs_segment_param_specs(info, spec, 3), 3);
}

static void no_data_is_never_labelled_and_does_not_shift_the_statistics(void **state)
{
    (void)state;
    struct bs_image *im = blobs(60, 60);
    struct bs_segment_params params = defaults();
    for (size_t y = 20; y < 50; y++)
        for (size_t x = 10; x < 40; x++)
            ((float *)im->data)[y * 60 + x] = NAN;
    params.has_no_data = true;
    params.no_data = NAN;
    struct bs_segment_result r = segment(im, &params);
    for (size_t y = 20; y < 50; y++)
        for (size_t x = 10; x < 40; x++)
            assert_int_equal(r.labels[y * 60 + x], 0);
    for (size_t i = 0; i < 3 * 60 * 60; i++)
        assert_true(isfinite(r.maps[i]));
    bs_segment_result_free(&r);
    bs_image_unref(im);
}

static void labels_and_maps_come_back_at_the_image_s_size(void **state)
{
    (void)state;
    struct bs_image *im = blobs(50, 75);
    struct bs_segment_params params = defaults();
    const double scales[] = {0.5, 1.7};
    for (int k = 0; k < 2; k++) {
        params.scale = scales[k];
        struct bs_segment_result r = segment(im, &params);
        assert_int_equal(r.height, 50);
        assert_int_equal(r.width, 75);
        assert_non_null(r.maps);
        for (size_t i = 0; i < 50 * 75; i++)
            assert_true(r.labels[i] <= r.count && r.maps[i] >= 0 && r.maps[i] <= 1);
        for (uint32_t i = 0; i < r.count; i++)
            assert_true(r.objects[i].area > 0);
        bs_segment_result_free(&r);
    }
    params.scale = 0;
    struct bs_segment_result r;
    struct bs_err err = {0};
    assert_int_equal(bs_segment(model, im, &params, false, NULL, NULL, &r, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "pixel size"));
    bs_image_unref(im);
}

static void pixel_sizes_choose_the_scale_and_warn_of_a_mismatch(void **state)
{
    (void)state;
    struct bs_image *im = blobs(48, 48);
    struct bs_segment_params params = defaults();
    im->pixel_size[0] = im->pixel_size[1] = 250; /* nm: half of the 0.5 um of training */
    strcpy(im->unit, "nm");
    struct bs_segment_result r = segment(im, &params);
    assert_true(fabs(r.pixel_size - 0.25) < 1e-12);
    assert_true(has_warning(&r, "scale_mismatch"));
    bs_segment_result_free(&r);
    params.scale = 0;
    r = segment(im, &params);
    assert_false(has_warning(&r, "scale_mismatch"));
    bs_segment_result_free(&r);
    bs_image_unref(im);
}

static void minimum_area_in_um_needs_the_pixel_size_and_removes(void **state)
{
    (void)state;
    struct bs_image *im = blobs(70, 90);
    struct bs_segment_params params = defaults();
    struct bs_segment_result r;
    struct bs_err err = {0};
    params.min_size_um2 = 1e6;
    assert_int_equal(bs_segment(model, im, &params, false, NULL, NULL, &r, &err), BS_EINVAL);
    im->pixel_size[0] = im->pixel_size[1] = 0.5;
    strcpy(im->unit, "um");
    r = segment(im, &params);
    assert_int_equal(r.count, 0);
    assert_true(has_warning(&r, "objects_removed"));
    bs_segment_result_free(&r);
    bs_image_unref(im);
}

struct seen {
    int calls, last, total;
    struct bs_cancel *cancel;
};

static void on_tile(void *ctx, int done, int total)
{
    struct seen *s = ctx;
    if (done == 0) { /* a sign of life before the first tile */
        assert_int_equal(s->last, 0);
        return;
    }
    assert_int_equal(done, s->last + 1);
    s->calls++;
    s->last = done;
    s->total = total;
    if (s->cancel && done == 2)
        bs_cancel_request(s->cancel);
}

static void progress_counts_tiles_and_cancel_stops_between_them(void **state)
{
    (void)state;
    struct bs_image *im = blobs(150, 170);
    struct bs_segment_params params = defaults();
    struct bs_segment_result r;
    struct bs_err err = {0};
    struct seen seen = {0};
    struct bs_segment_progress progress = {.ctx = &seen, .tile = on_tile};
    struct bs_cancel cancel = {.requested = false};
    params.tile = 64;
    assert_int_equal(bs_segment(model, im, &params, false, &progress, &cancel, &r, &err), BS_OK);
    assert_true(seen.total > 2 && seen.calls == seen.total && seen.last == seen.total);
    assert_true(has_warning(&r, "tiled"));
    assert_null(r.maps);
    bs_segment_result_free(&r);
    seen = (struct seen){.cancel = &cancel};
    assert_int_equal(bs_segment(model, im, &params, false, &progress, &cancel, &r, &err), BS_ECANCELLED);
    assert_int_equal(seen.calls, 2);
    bs_image_unref(im);
}

static void planned_bytes_are_known_before_and_cover_the_labels(void **state)
{
    (void)state;
    struct bs_segment_params params = defaults();
    size_t small, large;
    struct bs_err err = {0};
    assert_int_equal(bs_segment_planned_bytes(model, 64, 64, &params, &small, &err), BS_OK);
    assert_int_equal(bs_segment_planned_bytes(model, 1024, 1024, &params, &large, &err), BS_OK);
    assert_true(small > 64 * 64 * 4 && large > 1024 * 1024 * 4 + (size_t)(3 * 1024 * 1024 * 4));
    assert_int_equal(bs_segment_planned_bytes(model, 0, 10, &params, &small, &err), BS_EINVAL);
    assert_int_equal(bs_segment_planned_bytes(model, SIZE_MAX, SIZE_MAX, &params, &small, &err), BS_EINVAL);
}

static void one_pixel_and_one_row_are_images_too(void **state)
{
    (void)state;
    const size_t sizes[][2] = {{1, 1}, {1, 40}, {33, 1}, {2, 2}};
    struct bs_segment_params params = defaults();
    for (int i = 0; i < 4; i++) {
        struct bs_image *im = blobs(sizes[i][0], sizes[i][1]);
        struct bs_segment_result r = segment(im, &params);
        assert_int_equal(r.height, sizes[i][0]);
        bs_segment_result_free(&r);
        bs_image_unref(im);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_are_consecutive_and_the_table_describes_them),
        cmocka_unit_test(errors_name_the_value_and_what_is_accepted),
        cmocka_unit_test(every_parameter_has_a_title_a_range_and_a_default_inside_it),
        cmocka_unit_test(no_data_is_never_labelled_and_does_not_shift_the_statistics),
        cmocka_unit_test(labels_and_maps_come_back_at_the_image_s_size),
        cmocka_unit_test(pixel_sizes_choose_the_scale_and_warn_of_a_mismatch),
        cmocka_unit_test(minimum_area_in_um_needs_the_pixel_size_and_removes),
        cmocka_unit_test(progress_counts_tiles_and_cancel_stops_between_them),
        cmocka_unit_test(planned_bytes_are_known_before_and_cover_the_labels),
        cmocka_unit_test(one_pixel_and_one_row_are_images_too),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
