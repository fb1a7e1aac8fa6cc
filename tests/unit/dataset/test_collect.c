/* Promises about collected data sets: what belongs together is paired and split by group, stacks become planes, what does not fit is
   said and left out; hashes are those of the files. */
#include "model/dataset/check.h"
#include "model/dataset/collect.h"
#include "tests/support/fail_alloc.h"
#include "tests/unit/dataset/folder_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { H = 12, W = 10, STACKS = 6 };

/* Six stacks of two planes each, "s0.tif" to "s5.tif"; single images "a_z1.png", "a_z2.png" and "b_z1.png". */
static int make_files(void **state)
{
    uint32_t v[2 * H * W];
    char name[64];
    if (folder_make(state) != 0)
        return -1;
    folder_add("stacks");
    folder_add("masks");
    folder_add("single");
    folder_add("single_labels");
    for (uint32_t k = 0; k < STACKS; k++) {
        for (uint32_t i = 0; i < 2 * H * W; i++)
            v[i] = k + i;
        snprintf(name, sizeof name, "stacks/s%u.tif", k);
        folder_write_tiff(name, v, 2, H, W);
        for (uint32_t i = 0; i < 2 * H * W; i++)
            v[i] = i % (H * W) < 30 ? 1 + i / 10 : 0;
        snprintf(name, sizeof name, "masks/s%u_mask.tif", k);
        folder_write_tiff(name, v, 2, H, W);
    }
    static const char *const single[] = {"a_z1.png", "a_z2.png", "b_z1.png"};
    for (uint32_t k = 0; k < 3; k++) {
        snprintf(name, sizeof name, "single/%s", single[k]);
        v[0] = 100 + k;
        folder_write_png(name, v, H, W);
        v[0] = 1;
        snprintf(name, sizeof name, "single_labels/%s", single[k]);
        folder_write_png(name, v, H, W);
    }
    return 0;
}

static struct bs_collect_rule stacks(void)
{
    return (struct bs_collect_rule){
        .images = "stacks", .labels = "masks", .seed = 3, .validation = 0.2, .test = 0.2};
}

static void stacks_become_planes_of_one_part(void **state)
{
    (void)state;
    struct bs_manifest m = {.channel = -1};
    struct bs_names problems = {0};
    struct bs_err err;
    const struct bs_collect_rule rule = stacks();
    size_t parts[3] = {0};
    if (bs_collect_folders(folder_root, &rule, NULL, &m, &problems, &err) != BS_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(problems.count, 0);
    assert_int_equal(m.count, 2 * STACKS);
    for (size_t i = 0; i < m.count; i++) {
        char name[64];
        snprintf(name, sizeof name, "stacks/s%zu.tif", i / 2);
        assert_string_equal(m.pair[i].image.name, name);
        snprintf(name, sizeof name, "masks/s%zu_mask.tif", i / 2);
        assert_string_equal(m.pair[i].labels.name, name);
        assert_int_equal(m.pair[i].image_plane, i % 2);
        assert_int_equal(m.pair[i].labels_plane, i % 2);
        assert_int_equal(m.pair[i].part, m.pair[i / 2 * 2].part);
        parts[m.pair[i].part]++;
    }
    assert_int_equal(parts[BS_PART_VALIDATION], 2);
    assert_int_equal(parts[BS_PART_TEST], 2);
    /* What was collected can be trained on. */
    const struct bs_file_opener opener = bs_files_beneath(folder_root);
    const struct bs_check_rule check = {0};
    struct bs_check_report report;
    char hash[BS_SHA256_TEXT];
    assert_int_equal(bs_collect_hashes(&m, &opener, NULL, &err), BS_OK);
    assert_string_equal(m.pair[0].image.sha256, m.pair[1].image.sha256);
    assert_string_not_equal(m.pair[0].image.sha256, m.pair[2].image.sha256);
    assert_string_equal(m.pair[0].labels.sha256, m.pair[2].labels.sha256);
    assert_int_equal(bs_manifest_hash(&m, hash, &err), BS_OK);
    assert_int_equal(bs_dataset_check(&m, &opener, &check, NULL, &report, &err), BS_OK);
    for (size_t i = 0; i < report.count; i++)
        print_message("%s\n", report.finding[i].text);
    assert_int_equal(report.problems + report.warnings, 0);
    bs_check_report_free(&report);
    bs_manifest_clear(&m);
}

static void a_pattern_names_the_group(void **state)
{
    (void)state;
    struct bs_manifest m = {.channel = -1};
    struct bs_names problems = {0};
    struct bs_err err;
    struct bs_collect_rule rule = {
        .images = "single", .labels = "single_labels", .group = "*_z?.png", .validation = 0.3};
    assert_int_equal(bs_collect_folders(folder_root, &rule, NULL, &m, &problems, &err), BS_OK);
    assert_int_equal(m.count, 3);
    assert_string_equal(m.pair[0].group, "a");
    assert_string_equal(m.pair[1].group, "a");
    assert_string_equal(m.pair[2].group, "b");
    assert_int_equal(m.pair[0].image_plane, BS_PLANE_ONLY);
    assert_int_equal(m.pair[0].part, m.pair[1].part);
    assert_int_not_equal(m.pair[0].part, m.pair[2].part);
    bs_manifest_clear(&m);
    m.channel = -1;
    rule.group = "b_*";
    rule.validation = 0;
    assert_int_equal(bs_collect_folders(folder_root, &rule, NULL, &m, &problems, &err), BS_OK);
    assert_int_equal(m.count, 1);
    assert_int_equal(problems.count, 2);
    assert_non_null(strstr(problems.at[0], "\"single/a_z1.png\": its name does not say"));
    bs_names_clear(&problems);
    bs_manifest_clear(&m);
}

static void what_does_not_fit_is_said_and_left_out(void **state)
{
    (void)state;
    struct bs_manifest m = {.channel = -1};
    struct bs_names problems = {0};
    struct bs_err err;
    struct bs_collect_rule rule = {.images = "wrong", .labels = "wrong_labels"};
    uint32_t v[3 * H * W] = {1};
    folder_add("wrong");
    folder_add("wrong_labels");
    folder_write_text("wrong/broken.png", "no image");
    folder_write_png("wrong_labels/broken.png", v, H, W);
    folder_write_tiff("wrong/two.tif", v, 2, H, W);
    folder_write_tiff("wrong_labels/two.tif", v, 3, H, W);
    folder_write_png("wrong/alone.png", v, H, W);
    folder_write_png("wrong/good.png", v, H, W);
    folder_write_png("wrong_labels/good.png", v, H, W);
    assert_int_equal(bs_collect_folders(folder_root, &rule, NULL, &m, &problems, &err), BS_OK);
    assert_int_equal(m.count, 1);
    assert_string_equal(m.pair[0].image.name, "wrong/good.png");
    assert_int_equal(problems.count, 3);
    bool broken = false, planes = false, alone = false;
    for (size_t i = 0; i < problems.count; i++) {
        broken = broken || strstr(problems.at[i], "\"wrong/broken.png\"");
        planes = planes || strstr(problems.at[i], "it has 3 planes, its image has 2");
        alone = alone || strstr(problems.at[i], "alone.png");
    }
    assert_true(broken && planes && alone);
    bs_names_clear(&problems);
    bs_manifest_clear(&m);
    rule.labels = "wrong";
    assert_int_equal(bs_collect_folders(folder_root, &rule, NULL, &m, &problems, &err), BS_EINVAL);
    rule.labels = "nowhere";
    assert_int_equal(bs_collect_folders(folder_root, &rule, NULL, &m, &problems, &err), BS_ENOTFOUND);
    struct bs_cancel cancel = {0};
    bs_cancel_request(&cancel);
    rule.labels = "wrong_labels";
    assert_int_equal(bs_collect_folders(folder_root, &rule, &cancel, &m, &problems, &err), BS_ECANCELLED);
    bs_names_clear(&problems);
    bs_manifest_clear(&m);
}

/* CREMI's layout with other sizes; absent where the shared data are. */
static void planes_of_a_volume_are_split_in_order(void **state)
{
    (void)state;
    struct bs_root *root = NULL;
    struct bs_manifest m = {.channel = -1};
    struct bs_err err;
    struct bs_collect_volume volume = bs_collect_cremi("isbi2012_cremi_layout.h5");
    assert_true(volume.train == 75 && volume.validation == 25 && volume.test == 25);
#ifndef BS_WITH_HDF5
    print_message("this build reads no HDF5 files: skipped\n");
    skip();
#endif
    if (bs_root_open(BS_TEST_SHARED "/data/isbi2012", &root, &err) != BS_OK) {
        print_message("shared data are not here: skipped\n");
        skip();
    }
    assert_int_equal(bs_collect_volume(root, &volume, &m, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "it has 18 planes, fewer than 75"));
    volume.train = 10;
    volume.validation = 4;
    volume.test = 3; /* one plane is left out */
    if (bs_collect_volume(root, &volume, &m, &err) != BS_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(m.count, 17);
    for (size_t i = 0; i < m.count; i++) {
        assert_int_equal(m.pair[i].image_plane, i < 14 ? i : i + 1);
        assert_int_equal(m.pair[i].part, i < 10 ? BS_PART_TRAIN : i < 14 ? BS_PART_VALIDATION : BS_PART_TEST);
    }
    const struct bs_file_opener opener = bs_files_beneath(root);
    const struct bs_check_rule check = {.groups_may_be_torn = true};
    struct bs_check_report report;
    assert_int_equal(bs_collect_hashes(&m, &opener, NULL, &err), BS_OK);
    assert_int_equal(bs_dataset_check(&m, &opener, &check, NULL, &report, &err), BS_OK);
    assert_int_equal(report.problems, 0);
    assert_int_equal(report.warnings, 2); /* the group is torn twice, and that is said */
    assert_int_equal(report.pairs, 17);
    assert_int_equal(report.min_height, 512);
    assert_true(report.objects > 1500 && report.objects <= 2031); /* all 18 planes have 2031 */
    bs_check_report_free(&report);
    bs_manifest_clear(&m);
    bs_root_close(root);
}

static void whichever_allocation_fails_it_is_an_error_value(void **state)
{
    (void)state;
    const struct bs_collect_rule rule = {.images = "single", .labels = "single_labels", .validation = 0.3};
    const struct bs_file_opener opener = bs_files_beneath(folder_root);
    for (unsigned n = 1;; n++) {
        struct bs_manifest m = {.channel = -1};
        struct bs_names problems = {0};
        struct bs_err err = {0};
        bs_test_fail_alloc_at(n);
        bs_status rc = bs_collect_folders(folder_root, &rule, NULL, &m, &problems, &err);
        if (rc == BS_OK)
            rc = bs_collect_hashes(&m, &opener, NULL, &err);
        bool hit = bs_test_alloc_failed();
        bs_test_fail_alloc_at(0);
        assert_int_equal(rc, hit ? BS_ENOMEM : BS_OK);
        bs_names_clear(&problems);
        bs_manifest_clear(&m);
        if (!hit)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stacks_become_planes_of_one_part),
        cmocka_unit_test(a_pattern_names_the_group),
        cmocka_unit_test(what_does_not_fit_is_said_and_left_out),
        cmocka_unit_test(planes_of_a_volume_are_split_in_order),
        cmocka_unit_test(whichever_allocation_fails_it_is_an_error_value),
    };
    return cmocka_run_group_tests(tests, make_files, folder_remove);
}
