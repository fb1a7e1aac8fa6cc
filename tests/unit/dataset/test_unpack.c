/* Promises about unpacked files: planes of a volume and labels of annotations stand in files that read back as the same numbers,
   where they are expected; nothing is overwritten and no name leads elsewhere. */
#include "model/dataset/hdf5.h"
#include "model/dataset/unpack.h"
#include "tests/unit/dataset/folder_support.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#ifdef BS_WITH_HDF5
#include <hdf5.h>
#endif

static double sample_of(const char *name, size_t i)
{
    struct bs_image *im;
    struct bs_plane p;
    struct bs_err err;
    double v;
    if (bs_image_read_file(folder_path(name), NULL, &im, &err) != BS_OK)
        fail_msg("%s: %s", name, err.msg);
    assert_int_equal(bs_plane_find(im, BS_PLANE_ONLY, &p, NULL), BS_OK);
    bs_plane_read(&p, i / p.width, i % p.width, 1, &v);
    bs_image_unref(im);
    return v;
}

static bool is_there(const char *name)
{
    struct stat st;
    return stat(folder_path(name), &st) == 0;
}

static const char annotations[] =
    "{\"images\":[{\"id\":1,\"file_name\":\"../../a/first.png\",\"width\":6,\"height\":4},"
    "{\"id\":2,\"file_name\":\"second.tif\",\"width\":6,\"height\":4},"
    "{\"id\":3,\"file_name\":\"empty.tif\",\"width\":6,\"height\":4}],"
    "\"categories\":[{\"id\":1,\"name\":\"cell\"}],\"annotations\":["
    "{\"id\":1,\"image_id\":1,\"category_id\":1,\"area\":4,\"iscrowd\":0,"
    "\"segmentation\":[[0,0,2,0,2,2,0,2]],\"bbox\":[0,0,2,2]},"
    "{\"id\":2,\"image_id\":2,\"category_id\":1,\"area\":4,\"iscrowd\":0,"
    "\"segmentation\":[[3,1,5,1,5,3,3,3]],\"bbox\":[3,1,2,2]}]}";

static struct bs_coco *coco_of(const char *text)
{
    struct bs_coco *c;
    struct bs_err err;
    folder_write_text("annotations.json", text);
    if (bs_coco_open(folder_path("annotations.json"), NULL, &c, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return c;
}

static void labels_of_annotations_are_drawn(void **state)
{
    (void)state;
    const struct bs_coco_rule rule = {.order = BS_COCO_BY_AREA};
    struct bs_coco *c = coco_of(annotations);
    struct bs_err err;
    size_t written;
    uint32_t want[24], count;
    char folder[256];
    snprintf(folder, sizeof folder, "%s", folder_path("drawn"));
    if (bs_unpack_coco(c, &rule, folder, NULL, NULL, &written, &err) != BS_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(written, 2);
    assert_false(is_there("drawn/empty.tif"));
    static const char *const names[] = {"drawn/first.tif", "drawn/second.tif"};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(bs_coco_labels(c, i, &rule, want, &count, NULL), BS_OK);
        assert_int_equal(count, 1);
        for (size_t k = 0; k < 24; k++)
            assert_true(sample_of(names[i], k) == want[k]);
    }
    assert_int_equal(bs_unpack_coco(c, &rule, folder, NULL, NULL, &written, &err), BS_EEXIST);
    struct bs_cancel cancel = {0};
    bs_cancel_request(&cancel);
    snprintf(folder, sizeof folder, "%s", folder_path("cancelled"));
    assert_int_equal(bs_unpack_coco(c, &rule, folder, NULL, &cancel, &written, &err), BS_ECANCELLED);
    bs_coco_close(c);
}

static void names_that_would_collide_or_lead_elsewhere_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name, *folder;
        bs_status code;
    } cases[] = {
        {"b/second.png", "twice", BS_EEXIST}, {"b/..", "up", BS_EINVAL}, {"a\\\\..\\\\", "down", BS_EINVAL}};
    const struct bs_coco_rule rule = {.order = BS_COCO_BY_ID};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[2048], folder[256];
        struct bs_err err;
        size_t written;
        const char *at = strstr(annotations, "../../a/first.png");
        snprintf(text, sizeof text, "%.*s%s%s", (int)(at - annotations), annotations, cases[i].name,
                 at + strlen("../../a/first.png"));
        struct bs_coco *c = coco_of(text);
        snprintf(folder, sizeof folder, "%s", folder_path(cases[i].folder));
        assert_int_equal(bs_unpack_coco(c, &rule, folder, NULL, NULL, &written, &err), cases[i].code);
        bs_coco_close(c);
    }
}

static void planes_of_a_volume_become_files(void **state)
{
    (void)state;
#ifdef BS_WITH_HDF5
    enum { Z = 6, H = 4, W = 5 };
    const hsize_t dims[3] = {Z, H, W};
    uint16_t raw[Z * H * W];
    uint64_t ids[Z * H * W];
    for (int i = 0; i < Z * H * W; i++) {
        raw[i] = (uint16_t)(300 * i);
        ids[i] = i % 7 ? (uint64_t)i + 70000 : UINT64_MAX;
    }
    hid_t file = H5Fcreate(folder_path("v.h5"), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT),
          space = H5Screate_simple(3, dims, NULL),
          a = H5Dcreate2(file, "r", H5T_STD_U16LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
          b = H5Dcreate2(file, "l", H5T_STD_U64LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Dwrite(a, H5T_NATIVE_UINT16, H5S_ALL, H5S_ALL, H5P_DEFAULT, raw) >= 0);
    assert_true(H5Dwrite(b, H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, ids) >= 0);
    H5Dclose(a);
    H5Dclose(b);
    H5Sclose(space);
    H5Fclose(file);
    const struct bs_collect_volume v = {
        .image = "r", .labels = "l", .train = 2, .validation = 1, .test = 2}; /* plane 3 is left out */
    static const char *const part[Z] = {"train", "train", "validation", NULL, "test", "test"};
    struct bs_err err;
    size_t written;
    char folder[256], name[512];
    snprintf(folder, sizeof folder, "%s", folder_path("planes"));
    int fd = open(folder_path("v.h5"), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    if (bs_unpack_volume(fd, &v, "v", folder, NULL, NULL, &written, &err) != BS_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(bs_unpack_volume(fd, &v, "v", folder, NULL, NULL, &written, &err), BS_EEXIST);
    close(fd);
    for (int z = 0; z < Z; z++) {
        snprintf(name, sizeof name, "planes/%s/images/v_z%03d.tif", part[z] ? part[z] : "train", z);
        if (!part[z]) {
            assert_false(is_there(name));
            continue;
        }
        for (int k = 0; k < H * W; k++)
            assert_true(sample_of(name, (size_t)k) == raw[z * H * W + k]);
        snprintf(name, sizeof name, "planes/%s/labels/v_z%03d.tif", part[z], z);
        for (int k = 0; k < H * W; k++) {
            const uint64_t id = ids[z * H * W + k];
            assert_true(sample_of(name, (size_t)k) == (id == UINT64_MAX ? 0 : (double)id));
        }
    }
#else
    print_message("this build reads no HDF5 files: skipped\n");
    skip();
#endif
}

/* Files are removed by the folder's own teardown; the folders that were made inside are not its. */
static int remove_all(void **state)
{
    static const char *const folders[] = {"planes/train/images",
                                          "planes/train/labels",
                                          "planes/validation/images",
                                          "planes/validation/labels",
                                          "planes/test/images",
                                          "planes/test/labels",
                                          "planes/train",
                                          "planes/validation",
                                          "planes/test",
                                          "planes",
                                          "drawn",
                                          "cancelled",
                                          "twice",
                                          "up",
                                          "down"};
    struct bs_names names = {0};
    if (bs_root_list(folder_root, "", &names, NULL) == BS_OK)
        for (size_t i = 0; i < names.count; i++)
            unlink(folder_path(names.at[i]));
    bs_names_clear(&names);
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        rmdir(folder_path(folders[i]));
    return folder_remove(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_of_annotations_are_drawn),
        cmocka_unit_test(names_that_would_collide_or_lead_elsewhere_are_refused),
        cmocka_unit_test(planes_of_a_volume_become_files),
    };
    return cmocka_run_group_tests(tests, folder_make, remove_all);
}
