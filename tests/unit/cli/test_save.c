/* Results on disk: labels with pixel size, tables, overlays; PNG that cannot hold all ids refuses and names TIFF. */
#include "clients/cli/save.h"
#include "folder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define H 6
#define W 8

static struct bs__output_paths paths_of(char *stem, bool png)
{
    struct bs__output_paths p = {{0}};
    assert_true(asprintf(&p.path[BS__OUTPUT_LABELS], "%s%s", stem, png ? ".png" : ".tif") > 0);
    assert_true(asprintf(&p.path[BS__OUTPUT_TABLE], "%s.csv", stem) > 0);
    assert_true(asprintf(&p.path[BS__OUTPUT_OVERLAY], "%s.overlay.png", stem) > 0);
    assert_true(asprintf(&p.path[BS__OUTPUT_RECORD], "%s.json", stem) > 0);
    return p;
}

static void free_paths(struct bs__output_paths *p)
{
    for (int k = 0; k < BS__OUTPUTS; k++)
        free(p->path[k]);
}

/* One object of four pixels. The caller owns nothing: all of it is static. */
static struct bs__result one_object(uint32_t id)
{
    static Bioseg__V1__SegmentResult info;
    static uint32_t labels[H * W];
    static struct bs__object_row row;
    bioseg__v1__segment_result__init(&info);
    info.object_count = 1;
    info.height = H;
    info.width = W;
    info.pixel_size_um = 0.5;
    memset(labels, 0, sizeof labels);
    labels[1 * W + 1] = labels[1 * W + 2] = labels[2 * W + 1] = labels[2 * W + 2] = id;
    row = (struct bs__object_row){.id = id,
                                  .area_px = 4,
                                  .centroid_y = 1.5,
                                  .centroid_x = 1.5,
                                  .top = 1,
                                  .left = 1,
                                  .bottom = 3,
                                  .right = 3,
                                  .mean_intensity = NAN};
    return (struct bs__result){.info = &info,
                               .planes = 1,
                               .height = H,
                               .width = W,
                               .labels = labels,
                               .objects = &row,
                               .object_count = 1,
                               .has_objects = true};
}

static struct bs__input image_file(void)
{
    uint8_t rgb[H * W * 3];
    struct bs_err err = {0};
    for (int i = 0; i < H * W * 3; i++)
        rgb[i] = (uint8_t)(i / 3 * 5);
    assert_int_equal(bs_rgb_write_png("image.png", rgb, H, W, &err), BS_OK);
    return (struct bs__input){.path = "image.png", .stem = "image", .bytes = 1};
}

static void labels_table_overlay_and_record_are_written(void **state)
{
    (void)state;
    struct bs__input input = image_file();
    struct bs__output_paths p = paths_of("r", false);
    struct bs__result result = one_object(1);
    struct bs_err err = {0};
    json_t *about = NULL;
    assert_int_equal(bs__save_result(&p, false, &input, "00", "hash", -1, &result, &about, &err), BS_OK);
    assert_int_equal(json_integer_value(json_object_get(about, "object_count")), 1);
    json_decref(about);
    struct bs_image *labels = NULL, *overlay = NULL;
    assert_int_equal(bs_image_read_file("r.tif", NULL, &labels, &err), BS_OK);
    assert_int_equal(labels->sample, BS_SAMPLE_U32);
    assert_memory_equal(labels->data, result.labels, sizeof(uint32_t) * H * W);
    assert_true(fabs(labels->pixel_size[bs_image_axis(labels, 'x')] - 0.5) <
                1e-6); /* copied, with its unit */
    assert_string_equal(labels->unit, "um");
    bs_image_unref(labels);
    assert_int_equal(bs_image_read_file("r.overlay.png", NULL, &overlay, &err), BS_OK);
    assert_int_equal(overlay->dim[bs_image_axis(overlay, 'y')] % H, 0);
    bs_image_unref(overlay);
    char *csv = take("r.csv");
    assert_string_equal(
        csv, "id,area_px,area_um2,centroid_y_px,centroid_x_px,centroid_y_um,centroid_x_um,top,left,bottom,"
             "right,mean_intensity\n1,4,1,1.5,1.5,0.75,0.75,1,1,3,3,\n");
    free(csv);
    assert_true(exists("r.json"));
    free_paths(&p);
}

static void png_refuses_more_objects_than_it_can_number_and_names_tiff(void **state)
{
    (void)state;
    struct bs__input input = image_file();
    struct bs__output_paths p = paths_of("r", true);
    struct bs__result result = one_object(65536);
    struct bs_err err = {0};
    assert_int_not_equal(bs__save_result(&p, true, &input, "00", "hash", -1, &result, NULL, &err), BS_OK);
    assert_non_null(strstr(err.msg, "TIFF"));
    assert_false(exists("r.png"));
    assert_false(bs__record_is_current(&p, &input, "hash", NULL));
    free_paths(&p);
}

static void a_result_without_the_labels_asked_for_is_refused(void **state)
{
    (void)state;
    struct bs__input input = image_file();
    struct bs__output_paths p = paths_of("r", false);
    struct bs__result result = one_object(1);
    struct bs_err err = {0};
    result.labels = NULL;
    assert_int_equal(bs__save_result(&p, false, &input, "00", "hash", -1, &result, NULL, &err), BS_ECORRUPT);
    assert_false(exists("r.tif"));
    free_paths(&p);
}

static void stacks_have_no_overlay_and_say_so(void **state)
{
    (void)state;
    struct bs_image *stack = NULL;
    float *plane = NULL;
    struct bs_err err = {0};
    assert_int_equal(bs_image_create(BS_SAMPLE_U8, "zyx", (size_t[]){3, H, W}, NULL, &stack, &err), BS_OK);
    assert_int_equal(bs__plane_for_overlay(stack, -1, &plane, &err), BS_EUNSUPPORTED);
    bs_image_unref(stack);
    assert_int_equal(bs_image_create(BS_SAMPLE_U16, "cyx", (size_t[]){2, H, W}, NULL, &stack, &err), BS_OK);
    ((uint16_t *)stack->data)[H * W + 3] = 700;
    assert_int_equal(bs__plane_for_overlay(stack, 1, &plane, &err), BS_OK);
    assert_true(plane[3] == 700);
    free(plane);
    assert_int_equal(bs__plane_for_overlay(stack, 2, &plane, &err), BS_EINVAL);
    bs_image_unref(stack);
}

/* Two planes and two points of time, planes outside. */
static void stacks_are_written_time_first_and_only_as_tiff(void **state)
{
    (void)state;
    struct bs__input input = image_file();
    struct bs__output_paths png = paths_of("p", true), p = paths_of("r", false);
    struct bs__result r = one_object(1);
    Bioseg__V1__Axis z = BIOSEG__V1__AXIS__INIT, t = BIOSEG__V1__AXIS__INIT, *axes[] = {&z, &t};
    uint32_t labels[4 * H * W];
    struct bs_image *back = NULL;
    struct bs_err err = {0};
    char *csv = NULL;
    size_t size = 0;
    z.name = "z";
    z.size = 2;
    z.pixel_size = 1.5;
    z.unit = "um";
    t.name = "t";
    t.size = 2;
    r.info->plane_axes = axes;
    r.info->n_plane_axes = 2;
    r.planes = 4;
    r.labels = labels;
    for (uint32_t i = 0; i < 4 * H * W; i++)
        labels[i] = i / (H * W);
    free(png.path[BS__OUTPUT_OVERLAY]);
    png.path[BS__OUTPUT_OVERLAY] = NULL;
    assert_int_equal(bs__save_result(&png, true, &input, "00", "hash", -1, &r, NULL, &err), BS_EUNSUPPORTED);
    assert_non_null(strstr(err.msg, "4 planes and a PNG holds one"));
    assert_int_equal(bs__save_result(&p, false, &input, "00", "hash", -1, &r, NULL, &err), BS_EUNSUPPORTED);
    assert_non_null(strstr(err.msg, "overlay"));
    assert_false(exists("p.json") || exists("r.json") || exists("r.tif"));
    free(p.path[BS__OUTPUT_OVERLAY]);
    p.path[BS__OUTPUT_OVERLAY] = NULL;
    assert_int_equal(bs__save_result(&p, false, &input, "00", "hash", -1, &r, NULL, &err), BS_OK);
    assert_int_equal(bs_image_read_file("r.tif", NULL, &back, &err), BS_OK);
    assert_string_equal(back->axes, "tzyx");
    assert_true(back->pixel_size[1] == 1.5 && back->pixel_size[3] == 0.5);
    const uint32_t *got = back->data;
    assert_true(got[0] == 0 && got[H * W] == 2 && got[2 * H * W] == 1 && got[3 * H * W] == 3);
    bs_image_unref(back);
    assert_int_equal(bs__table_csv(&r, &csv, &size, &err), BS_OK);
    csv[size - 1] = '\0';
    assert_non_null(strstr(csv, "mean_intensity,t,z,z_end,centroid_z\n"));
    assert_non_null(strstr(csv, ",,0,0,0,0"));
    free(csv);
    free_paths(&p);
    free_paths(&png);
}

static void an_overlay_of_a_region_shows_the_region(void **state)
{
    (void)state;
    struct bs__input input = image_file();
    struct bs__output_paths p = paths_of("r", false);
    struct bs__result r = one_object(1);
    Bioseg__V1__Region region = BIOSEG__V1__REGION__INIT;
    struct bs_image *picture = NULL;
    struct bs_err err = {0};
    r.info->region = &region;
    r.height = 4;
    r.width = 5;
    region.y = 3; /* rows 3 to 6 of 6 */
    assert_int_equal(bs__save_result(&p, false, &input, "00", "hash", -1, &r, NULL, &err), BS_ECORRUPT);
    region.y = 2;
    region.x = 3;
    assert_int_equal(bs__save_result(&p, false, &input, "00", "hash", -1, &r, NULL, &err), BS_OK);
    assert_int_equal(bs_image_read_file("r.overlay.png", NULL, &picture, &err), BS_OK);
    assert_int_equal(picture->dim[0] * 5, picture->dim[1] * 4);
    bs_image_unref(picture);
    free_paths(&p);
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, enter_folder, leave_folder)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(labels_table_overlay_and_record_are_written),
        IN_FOLDER(png_refuses_more_objects_than_it_can_number_and_names_tiff),
        IN_FOLDER(a_result_without_the_labels_asked_for_is_refused),
        cmocka_unit_test(stacks_have_no_overlay_and_say_so),
        IN_FOLDER(stacks_are_written_time_first_and_only_as_tiff),
        IN_FOLDER(an_overlay_of_a_region_shows_the_region),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
