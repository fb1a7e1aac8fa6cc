/* What is written can be read again, with axes and pixel size, and appears under its name only when it is complete. */
#include "image_support.h"
#include "model/image/image.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[256];

static int setup(void **state)
{
    (void)state;
    make_folder(folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    remove_folder(folder);
    return 0;
}

static const char *in_folder(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static struct bs_image *read_back(const char *name)
{
    struct bs_image *im = NULL;
    struct bs_err err = {0};
    if (bs_image_read_file(in_folder(name), NULL, &im, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return im;
}

static void label_tiff_keeps_ids_axes_and_pixel_size(void **state)
{
    (void)state;
    size_t dim[3] = {3, 70, 41};
    struct bs_image *like = NULL, *back;
    struct bs_err err = {0};
    assert_int_equal(bs_image_create(BS_SAMPLE_U8, "zyx", dim, NULL, &like, &err), BS_OK);
    like->pixel_size[0] = 0.75;
    like->pixel_size[1] = like->pixel_size[2] = 0.325;
    strcpy(like->unit, "um");
    uint32_t *labels = malloc(3 * 70 * 41 * sizeof *labels);
    for (size_t i = 0; i < 3 * 70 * 41; i++)
        labels[i] = (uint32_t)(i * 2654435761u);
    if (bs_labels_write_tiff(in_folder("a.tif"), labels, 3, 70, 41, like, &err) != BS_OK)
        fail_msg("%s", err.msg);
    back = read_back("a.tif");
    assert_string_equal(back->axes, "zyx");
    assert_string_equal(back->unit, "um");
    assert_int_equal(back->sample, BS_SAMPLE_U32);
    for (int i = 0; i < 3; i++)
        assert_true(back->pixel_size[i] > like->pixel_size[i] * (1 - 1e-6) &&
                    back->pixel_size[i] < like->pixel_size[i] * (1 + 1e-6));
    assert_memory_equal(back->data, labels, back->bytes);
    bs_image_unref(back);
    bs_image_unref(like);
    free(labels);
}

static void labels_written_row_by_row_equal_those_written_whole(void **state)
{
    (void)state;
    size_t h = 1501, w = 2003;
    uint32_t *labels = malloc(h * w * sizeof *labels);
    struct bs_labels_tiff *writer = NULL;
    struct bs_err err = {0};
    for (size_t i = 0; i < h * w; i++)
        labels[i] = (uint32_t)(i / 977);
    assert_int_equal(bs_labels_tiff_open(in_folder("rows.tif"), 1, h, w, NULL, &writer, &err), BS_OK);
    for (size_t y = 0; y < h;) {
        size_t n = 1 + y * 7 % 300;
        n = n < h - y ? n : h - y;
        assert_int_equal(bs_labels_tiff_rows(writer, labels + y * w, n, &err), BS_OK);
        y += n;
    }
    assert_int_not_equal(access(in_folder("rows.tif"), F_OK), 0); /* not there before it is complete */
    assert_int_equal(bs_labels_tiff_close(writer, true, &err), BS_OK);
    struct bs_image *back = read_back("rows.tif");
    assert_int_equal(back->dim[0], h);
    assert_memory_equal(back->data, labels, back->bytes);
    bs_image_unref(back);
    free(labels);
}

static void an_unfinished_file_never_appears(void **state)
{
    (void)state;
    uint32_t row[10] = {0};
    struct bs_labels_tiff *writer = NULL;
    struct bs_err err = {0};
    assert_int_equal(bs_labels_tiff_open(in_folder("half.tif"), 1, 4, 10, NULL, &writer, &err), BS_OK);
    assert_int_equal(bs_labels_tiff_rows(writer, row, 1, &err), BS_OK);
    assert_int_equal(bs_labels_tiff_close(writer, false, &err), BS_OK);
    assert_int_equal(bs_labels_tiff_open(in_folder("half.tif"), 1, 4, 10, NULL, &writer, &err), BS_OK);
    assert_int_equal(bs_labels_tiff_close(writer, true, &err), BS_EINTERNAL);
    char **names;
    size_t n = list_names(folder, "", &names);
    assert_int_equal(n, 0); /* no temporary file stays behind either */
    free_names(names, n);
    assert_int_equal(bs_labels_write_png("/no/such/folder/x.png", row, 1, 10, &err), BS_EIO);
}

static void label_png_refuses_ids_beyond_16_bit_and_names_tiff(void **state)
{
    (void)state;
    uint32_t labels[6] = {0, 1, 65535, 300, 65535, 2};
    struct bs_err err = {0};
    assert_int_equal(bs_labels_write_png(in_folder("l.png"), labels, 2, 3, &err), BS_OK);
    struct bs_image *back = read_back("l.png");
    assert_int_equal(back->sample, BS_SAMPLE_U16);
    for (int i = 0; i < 6; i++)
        assert_int_equal(((uint16_t *)back->data)[i], labels[i]);
    bs_image_unref(back);
    labels[3] = 65536;
    assert_int_equal(bs_labels_write_png(in_folder("m.png"), labels, 2, 3, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "TIFF"));
    assert_non_null(strstr(err.msg, "65536"));
}

static void maps_and_rgb_come_back_exactly(void **state)
{
    (void)state;
    float maps[2 * 5 * 7];
    uint8_t rgb[5 * 7 * 3];
    struct bs_err err = {0};
    for (int i = 0; i < 70; i++)
        maps[i] = (float)i / 7.0f - 3;
    for (int i = 0; i < 105; i++)
        rgb[i] = (uint8_t)(i * 13);
    assert_int_equal(bs_maps_write_tiff(in_folder("maps.tif"), maps, 2, 5, 7, NULL, &err), BS_OK);
    struct bs_image *back = read_back("maps.tif");
    assert_string_equal(back->axes, "cyx");
    assert_int_equal(back->sample, BS_SAMPLE_F32);
    assert_memory_equal(back->data, maps, sizeof maps);
    bs_image_unref(back);
    assert_int_equal(bs_rgb_write_png(in_folder("o.png"), rgb, 5, 7, &err), BS_OK);
    back = read_back("o.png");
    assert_string_equal(back->axes, "yxc");
    assert_memory_equal(back->data, rgb, sizeof rgb);
    bs_image_unref(back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(label_tiff_keeps_ids_axes_and_pixel_size, setup, teardown),
        cmocka_unit_test_setup_teardown(labels_written_row_by_row_equal_those_written_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unfinished_file_never_appears, setup, teardown),
        cmocka_unit_test_setup_teardown(label_png_refuses_ids_beyond_16_bit_and_names_tiff, setup, teardown),
        cmocka_unit_test_setup_teardown(maps_and_rgb_come_back_exactly, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
