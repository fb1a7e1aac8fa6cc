/* Promises about COCO annotations: drawn to the pixel as pycocotools draws them, in the order asked for, small remains
   removed as torch_em does. */
#include "model/dataset/coco.h"
#include "model/image/image.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Every image of a folder equals the label image beside it, ids included. */
static size_t check_folder(const char *annotations, const char *labels_folder)
{
    struct bs_coco *c;
    struct bs_err err;
    const struct bs_coco_rule rule = {.order = BS_COCO_BY_ID};
    if (bs_coco_open(annotations, NULL, &c, &err) != BS_OK)
        fail_msg("%s", err.msg);
    size_t images = bs_coco_image_count(c);
    for (size_t i = 0; i < images; i++) {
        const struct bs_coco_image *image = bs_coco_image(c, i);
        struct bs_image *want;
        char path[1024];
        uint32_t count = 0, *got = calloc((size_t)(image->width * image->height), sizeof *got);
        snprintf(path, sizeof path, "%s/%s", labels_folder, image->file_name);
        assert_non_null(got);
        if (bs_image_read_file(path, NULL, &want, &err) != BS_OK ||
            bs_coco_labels(c, i, &rule, got, &count, &err) != BS_OK)
            fail_msg("%s: %s", image->file_name, err.msg);
        assert_int_equal(want->sample, BS_SAMPLE_U16);
        assert_int_equal(want->dim[0], image->height);
        assert_int_equal(want->dim[1], image->width);
        assert_int_equal(count, image->annotations);
        const uint16_t *expected = want->data;
        for (int64_t p = 0; p < image->width * image->height; p++)
            if (got[p] != expected[p])
                fail_msg("%s: pixel (%d, %d) is %u, not %u", image->file_name, (int)(p / image->width),
                         (int)(p % image->width), got[p], expected[p]);
        bs_image_unref(want);
        free(got);
    }
    bs_coco_close(c);
    return images;
}

static void polygons_and_runs_are_drawn_to_the_pixel(void **state)
{
    (void)state;
    assert_int_equal(check_folder(BS_TEST_FIXTURES "/coco/annotations.json", BS_TEST_FIXTURES "/coco"), 5);
}

static void all_images_of_the_shared_folder_are_drawn_to_the_pixel(void **state)
{
    (void)state;
    const char *folder = BS_TEST_SHARED "/data/coco_livecell_layout";
    char annotations[1024], labels[1024];
    snprintf(annotations, sizeof annotations, "%s/annotations.json", folder);
    snprintf(labels, sizeof labels, "%s/expected_labels", folder);
    if (access(annotations, R_OK) != 0) {
        print_message("no shared folder: 5 of the 10 images were drawn\n");
        skip();
    }
    assert_int_equal(check_folder(annotations, labels), 10);
}

/* Opens a text as a file of annotations. */
static struct bs_coco *open_text(const char *text, const char *category)
{
    char path[] = "coco-XXXXXX";
    int fd = mkstemp(path);
    struct bs_coco *c;
    struct bs_err err;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    bs_status rc = bs_coco_open(path, category, &c, &err);
    unlink(path); /* the open file stays */
    if (rc != BS_OK)
        fail_msg("%s", err.msg);
    return c;
}

/* 6 x 4 pixels. 7: a large square, 5: a small one inside it, 9: a crowd over both (runs), 3: of another category. */
static const char overlapping[] =
    "{\"annotations\": ["
    "{\"id\": 7, \"image_id\": 1, \"category_id\": 1, \"iscrowd\": 0, \"area\": 16,"
    " \"segmentation\": [[0, 0, 4, 0, 4, 4, 0, 4]]},"
    "{\"id\": 5, \"image_id\": 1, \"category_id\": 1, \"iscrowd\": 0, \"area\": 4,"
    " \"segmentation\": [[1, 1, 3, 1, 3, 3, 1, 3]]},"
    "{\"id\": 9, \"image_id\": 1, \"category_id\": 1, \"iscrowd\": 1, \"area\": 99,"
    " \"segmentation\": {\"size\": [4, 6], \"counts\": [12, 8, 4]}},"
    "{\"id\": 3, \"image_id\": 1, \"category_id\": 2, \"iscrowd\": 0, \"area\": 1,"
    " \"segmentation\": [[5, 3, 6, 3, 6, 4, 5, 4]]}],"
    "\"categories\": [{\"id\": 1, \"name\": \"cell\"}, {\"id\": 2, \"name\": \"dust \\\"\"}],"
    "\"images\": [{\"id\": 1, \"width\": 6, \"height\": 4, \"file_name\": \"a.tif\"}], \"info\": {\"x\": [1, "
    "{}]}}";

static void expect(const struct bs_coco *c, struct bs_coco_rule rule, const char *picture, uint32_t objects)
{
    uint32_t labels[24], count;
    struct bs_err err;
    if (bs_coco_labels(c, 0, &rule, labels, &count, &err) != BS_OK)
        fail_msg("%s", err.msg);
    char got[25] = {0};
    for (int i = 0; i < 24; i++)
        got[i] = (char)(labels[i] ? '0' + labels[i] : '.');
    assert_string_equal(got, picture);
    assert_int_equal(count, objects);
}

static void later_objects_cover_earlier_ones_in_the_order_of_ids(void **state)
{
    (void)state;
    struct bs_coco *c = open_text(overlapping, NULL);
    /* 3 is 1, 5 is 2, 7 is 3 (covers 2), 9 is 4 (columns 3 and 4) */
    expect(c, (struct bs_coco_rule){.order = BS_COCO_BY_ID},
           "33344."
           "33344."
           "33344."
           "333441",
           4);
    bs_coco_close(c);
}

static void crowds_and_small_objects_go_first_when_ordered_by_area(void **state)
{
    (void)state;
    struct bs_coco *c = open_text(overlapping, NULL);
    /* area 1: 3 and the crowd 9 (by id), then 5, then 7, which covers 5 and half of 9 */
    expect(c, (struct bs_coco_rule){.order = BS_COCO_BY_AREA},
           "44442."
           "44442."
           "44442."
           "444421",
           4);
    bs_coco_close(c);
}

static void small_remains_go_and_ids_close_up(void **state)
{
    (void)state;
    struct bs_coco *c = open_text(overlapping, NULL);
    expect(c, (struct bs_coco_rule){.order = BS_COCO_BY_AREA, .min_size = 4},
           "22221."
           "22221."
           "22221."
           "22221.",
           2);
    expect(c, (struct bs_coco_rule){.order = BS_COCO_BY_AREA, .min_size = 5},
           "1111.."
           "1111.."
           "1111.."
           "1111..",
           1);
    bs_coco_close(c);
}

static void one_category_is_drawn_alone(void **state)
{
    (void)state;
    struct bs_coco *c = open_text(overlapping, "cell");
    assert_int_equal(bs_coco_image(c, 0)->annotations, 3);
    expect(c, (struct bs_coco_rule){.order = BS_COCO_BY_ID},
           "22233."
           "22233."
           "22233."
           "22233.",
           3);
    bs_coco_close(c);
}

static void an_outline_may_reach_over_the_border(void **state)
{
    (void)state;
    struct bs_coco *c = open_text(
        "{\"images\": [{\"id\": 1, \"width\": 6, \"height\": 4, \"file_name\": \"a\"}], \"annotations\": "
        "[{\"id\": 1,"
        "\"image_id\": 1, \"segmentation\": [[-3, -2, 2, -2, 2, 7, -3, 7], [5, 1, 11, 1, 11, 2, 5, 2]]}]}",
        NULL);
    expect(c, (struct bs_coco_rule){.order = BS_COCO_BY_ID},
           "11...."
           "11...1"
           "11...."
           "11....",
           1);
    bs_coco_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(polygons_and_runs_are_drawn_to_the_pixel),
        cmocka_unit_test(all_images_of_the_shared_folder_are_drawn_to_the_pixel),
        cmocka_unit_test(later_objects_cover_earlier_ones_in_the_order_of_ids),
        cmocka_unit_test(crowds_and_small_objects_go_first_when_ordered_by_area),
        cmocka_unit_test(small_remains_go_and_ids_close_up),
        cmocka_unit_test(one_category_is_drawn_alone),
        cmocka_unit_test(an_outline_may_reach_over_the_border),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
