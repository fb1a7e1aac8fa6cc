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

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, enter_folder, leave_folder)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(labels_table_overlay_and_record_are_written),
        IN_FOLDER(png_refuses_more_objects_than_it_can_number_and_names_tiff),
        IN_FOLDER(a_result_without_the_labels_asked_for_is_refused),
        cmocka_unit_test(stacks_have_no_overlay_and_say_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
