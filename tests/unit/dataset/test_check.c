/* Promises about the check of a data set: everything that is wrong is found at once and named, what is right is left in peace. */
#include "model/dataset/check.h"
#include "tests/support/fail_alloc.h"
#include "tests/unit/dataset/folder_support.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { H = 24, W = 32 };

/* Squares of 3 pixels on a grid of 8, numbered, or all of class 1. */
static void squares(uint32_t *labels, bool classes)
{
    memset(labels, 0, H * W * sizeof *labels);
    for (uint32_t k = 0; k < 12; k++)
        for (uint32_t i = 0; i < 9; i++)
            labels[(k / 4 * 8 + i / 3 + 2) * W + k % 4 * 8 + i % 3 + 2] = classes ? 1 : k + 1;
}

static int make_files(void **state)
{
    uint32_t v[2 * H * W];
    float f[H * W];
    if (folder_make(state) != 0)
        return -1;
    for (uint32_t i = 0; i < H * W; i++)
        v[i] = i * 2654435761u >> 20;
    folder_write_png("image.png", v, H, W);
    v[0] ^= 1;
    folder_write_png("other.png", v, H, W);
    folder_write_png("narrow.png", v, H, W - 1);
    memcpy(v + H * W, v, H * W * sizeof *v);
    folder_write_tiff("stack.tif", v, 2, H, W);
    for (int i = 0; i < H * W; i++)
        f[i] = i == 3 * W + 5 ? NAN : (float)i;
    folder_write_float("nan.tif", f, H, W);
    squares(v, false);
    folder_write_png("labels.png", v, H, W);
    memcpy(v + H * W, v, H * W * sizeof *v);
    folder_write_tiff("labels_stack.tif", v, 2, H, W);
    for (int i = 0; i < H * W; i++)
        f[i] = (float)v[i] + (i == 7 ? 0.25f : 0);
    folder_write_float("fraction.tif", f, H, W);
    squares(v, true);
    folder_write_png("classes.png", v, H, W);
    memset(v, 0, sizeof v);
    folder_write_png("nothing.png", v, H, W);
    folder_write_text("text.png", "no image");
    return 0;
}

static void check(const struct bs_manifest *m, const struct bs_check_rule *rule, struct bs_check_report *r)
{
    struct bs_err err;
    const struct bs_file_opener opener = bs_files_beneath(folder_root);
    if (bs_dataset_check(m, &opener, rule, NULL, r, &err) != BS_OK)
        fail_msg("%s", err.msg);
}

static void print(const struct bs_check_report *r)
{
    for (size_t i = 0; i < r->count; i++)
        print_message("%s %s %zd: %s\n", r->finding[i].warning ? "warning" : "problem",
                      bs_finding_name(r->finding[i].kind), (ssize_t)r->finding[i].pair, r->finding[i].text);
}

static void what_is_right_is_left_in_peace(void **state)
{
    (void)state;
    struct bs_manifest m = {.channel = -1};
    struct bs_manifest_pair p = folder_pair("stack.tif", "labels_stack.tif");
    struct bs_check_rule rule = {.patch_height = H, .patch_width = W};
    struct bs_check_report r;
    folder_add_pair(&m, folder_pair("image.png", "labels.png"));
    for (int k = 0; k < 2; k++) {
        p.image_plane = p.labels_plane = k;
        p.part = BS_PART_VALIDATION;
        folder_add_pair(&m, p);
    }
    check(&m, &rule, &r);
    print(&r);
    assert_int_equal(r.count, 0);
    assert_int_equal(r.problems + r.warnings, 0);
    assert_int_equal(r.pairs, 3);
    assert_int_equal(r.objects, 36);
    assert_int_equal(r.counted_pixels, 3 * H * W);
    assert_true(r.min_height == H && r.max_height == H && r.min_width == W && r.max_width == W);
    bs_check_report_free(&r);
    bs_manifest_clear(&m);
}

static const struct {
    const char *image, *labels;
    enum bs_finding_kind kind;
    bool warning;
    const char *says;
} wrong[] = {
    {"missing.png", "labels.png", BS_FINDING_UNREADABLE, false, "\"missing.png\": "},
    {"image.png", "text.png", BS_FINDING_UNREADABLE, false, "\"text.png\": "},
    {"stack.tif", "labels.png", BS_FINDING_PLANE, false, "\"stack.tif\": the "},
    {"image.png", "labels_stack.tif", BS_FINDING_PLANE, false, "\"labels_stack.tif\": the "},
    {"narrow.png", "labels.png", BS_FINDING_SIZES, false,
     "\"labels.png\" has 32 x 24 pixels, its image has 31 x 24"},
    {"nan.tif", "labels.png", BS_FINDING_SAMPLES, false, "\"nan.tif\": the sample at row 3, column 5 is nan"},
    {"nothing.png", "labels.png", BS_FINDING_CONSTANT, false, "\"nothing.png\": all samples are 0"},
    {"image.png", "fraction.tif", BS_FINDING_LABELS, false, "row 0, column 7 is 0.25"},
    {"image.png", "nothing.png", BS_FINDING_EMPTY, true, "\"nothing.png\": there is no object"},
    {"image.png", "classes.png", BS_FINDING_SEMANTIC, true,
     "\"classes.png\": 1 labels in 12 separate pieces"},
};
enum { WRONG = sizeof wrong / sizeof *wrong };

static const struct bs_finding *find(const struct bs_check_report *r, size_t pair, enum bs_finding_kind kind)
{
    for (size_t i = 0; i < r->count; i++)
        if (r->finding[i].pair == pair && r->finding[i].kind == kind)
            return &r->finding[i];
    return NULL;
}

static void all_that_is_wrong_is_found_at_once(void **state)
{
    (void)state;
    struct bs_manifest m = {.channel = -1};
    struct bs_check_rule rule = {0};
    struct bs_check_report r;
    struct bs_manifest_box all = {0, 0, H, W};
    for (size_t i = 0; i < WRONG; i++)
        folder_add_pair(&m, folder_pair(wrong[i].image, wrong[i].labels));
    struct bs_manifest_pair p = folder_pair("other.png", "labels.png");
    p.ignore = &all;
    p.nignore = 1;
    folder_add_pair(&m, p);
    p = folder_pair("other.png", "labels.png");
    p.image_plane = 0;
    p.prediction.name = (char *)"labels.png";
    folder_add_pair(&m, p);
    p = folder_pair("missing.png", "text.png"); /* both are said */
    p.image_plane = 0;
    folder_add_pair(&m, p);
    check(&m, &rule, &r);
    for (size_t i = 0; i < WRONG; i++) {
        const struct bs_finding *f = find(&r, i, wrong[i].kind);
        if (!f || f->warning != wrong[i].warning || !strstr(f->text, wrong[i].says)) {
            print(&r);
            fail_msg("%s with %s", wrong[i].image, wrong[i].labels);
        }
    }
    const struct bs_finding *f = find(&r, WRONG, BS_FINDING_NOTHING_COUNTS);
    assert_non_null(f);
    assert_non_null(strstr(f->text, "all are left out"));
    f = find(&r, WRONG + 1, BS_FINDING_NOTHING_COUNTS);
    assert_non_null(f);
    assert_non_null(strstr(f->text, "not marked done"));
    assert_non_null(find(&r, WRONG + 2, BS_FINDING_UNREADABLE));
    size_t problems = 0, duplicates = 0;
    for (size_t i = 0; i < r.count; i++) {
        problems += !r.finding[i].warning;
        duplicates += r.finding[i].kind == BS_FINDING_DUPLICATE;
    }
    assert_int_equal(duplicates, 4); /* image.png stands there five times */
    assert_int_equal(problems, r.problems);
    assert_int_equal(r.problems,
                     8 + 2 + 1 + 1); /* of the table, left out, one of the last pair, and other.png's */
    bs_check_report_free(&r);
    bs_manifest_clear(&m);
}

static void what_stands_on_two_sides_is_found(void **state)
{
    (void)state;
    struct bs_manifest m = {.channel = -1};
    struct bs_check_rule rule = {0};
    struct bs_check_report r;
    struct bs_manifest_pair p = folder_pair("image.png", "labels.png");
    folder_add_pair(&m, p);
    p.part = BS_PART_TEST;
    folder_add_pair(&m, p);
    p.image.name = (char *)"other.png";
    folder_add_pair(&m, p);
    check(&m, &rule, &r);
    assert_int_equal(r.problems, 2);
    assert_int_equal(r.finding[0].kind, BS_FINDING_SHARED_IMAGE);
    assert_int_equal(r.finding[1].kind, BS_FINDING_TORN_GROUP);
    assert_false(r.finding[1].warning);
    assert_non_null(strstr(r.finding[1].text, "for train"));
    bs_check_report_free(&r);
    rule.groups_may_be_torn = true;
    check(&m, &rule, &r);
    assert_int_equal(r.problems, 1);
    assert_int_equal(r.warnings, 1);
    bs_check_report_free(&r);
    bs_manifest_clear(&m);
}

static void small_images_and_parts_without_objects_are_said(void **state)
{
    (void)state;
    struct bs_manifest m = {.channel = -1};
    struct bs_check_rule rule = {.patch_height = H, .patch_width = W + 1, .max_findings = 2};
    struct bs_check_report r;
    folder_add_pair(&m, folder_pair("image.png", "nothing.png"));
    check(&m, &rule, &r);
    assert_int_equal(r.finding[0].kind, BS_FINDING_SMALL);
    assert_non_null(strstr(r.finding[0].text, "filled up with zeros"));
    assert_int_equal(r.finding[1].kind, BS_FINDING_EMPTY);
    assert_int_equal(r.count, 2); /* no more are listed */
    assert_int_equal(r.problems, 1);
    assert_int_equal(r.warnings, 2);
    bs_check_report_free(&r);
    rule.max_findings = 0;
    check(&m, &rule, &r);
    assert_int_equal(r.finding[2].kind, BS_FINDING_NO_OBJECTS);
    bs_check_report_free(&r);
    bs_manifest_clear(&m);
}

static void a_check_can_be_cancelled(void **state)
{
    (void)state;
    struct bs_manifest m = {.channel = -1};
    struct bs_check_rule rule = {0};
    struct bs_check_report r;
    struct bs_cancel cancel = {0};
    struct bs_err err;
    const struct bs_file_opener opener = bs_files_beneath(folder_root);
    folder_add_pair(&m, folder_pair("image.png", "nothing.png"));
    bs_cancel_request(&cancel);
    assert_int_equal(bs_dataset_check(&m, &opener, &rule, &cancel, &r, &err), BS_ECANCELLED);
    assert_int_equal(r.count, 0);
    bs_check_report_free(&r);
    bs_manifest_clear(&m);
}

static void whichever_allocation_fails_it_is_an_error_value(void **state)
{
    (void)state;
    struct bs_manifest m = {.channel = -1};
    struct bs_check_rule rule = {0};
    const struct bs_file_opener opener = bs_files_beneath(folder_root);
    struct bs_manifest_pair p = folder_pair("stack.tif", "labels_stack.tif");
    p.image_plane = p.labels_plane = 1;
    p.prediction.name = (char *)"labels_stack.tif";
    folder_add_pair(&m, p);
    folder_add_pair(&m, p);
    for (unsigned n = 1;; n++) {
        struct bs_check_report r;
        struct bs_err err = {0};
        bs_test_fail_alloc_at(n);
        bs_status rc = bs_dataset_check(&m, &opener, &rule, NULL, &r, &err);
        bool hit = bs_test_alloc_failed();
        bs_test_fail_alloc_at(0);
        if (hit && rc == BS_OK)
            print(&r);
        assert_int_equal(rc, hit ? BS_ENOMEM : BS_OK);
        bs_check_report_free(&r);
        if (!hit)
            break;
    }
    bs_manifest_clear(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_right_is_left_in_peace),
        cmocka_unit_test(all_that_is_wrong_is_found_at_once),
        cmocka_unit_test(what_stands_on_two_sides_is_found),
        cmocka_unit_test(small_images_and_parts_without_objects_are_said),
        cmocka_unit_test(a_check_can_be_cancelled),
        cmocka_unit_test(whichever_allocation_fails_it_is_an_error_value),
    };
    return cmocka_run_group_tests(tests, make_files, folder_remove);
}
