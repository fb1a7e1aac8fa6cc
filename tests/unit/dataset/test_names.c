/* Promises about names: files pair by their names, whatever cannot be paired is said, groups come out of patterns, groups never
   stand on two sides of a split. */
#include "model/dataset/names.h"
#include "model/dataset/split.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void add_all(struct bs_names *n, const char *const *texts)
{
    for (; *texts; texts++)
        assert_int_equal(bs_names_add(n, *texts, NULL), BS_OK);
}

/* Pairs and compares with "image=label ..." and the problems with "...|..." . */
static void check_pairs(const char *const *images, const char *const *labels, const char *expected,
                        const char *wrong)
{
    struct bs_names im = {0}, la = {0}, problems = {0};
    struct bs_name_pair pairs[16];
    size_t count;
    char got[1024] = "", said[2048] = "";
    add_all(&im, images);
    add_all(&la, labels);
    assert_int_equal(bs_names_pair(&im, &la, pairs, &count, &problems, NULL), BS_OK);
    for (size_t i = 0; i < count; i++) {
        strcat(strcat(strcat(got, i ? " " : ""), im.at[pairs[i].image]), "=");
        strcat(got, la.at[pairs[i].label]);
    }
    bs_names_sort(&problems);
    for (size_t i = 0; i < problems.count; i++)
        strcat(strcat(said, i ? "|" : ""), problems.at[i]);
    assert_string_equal(got, expected);
    assert_string_equal(said, wrong);
    bs_names_clear(&im);
    bs_names_clear(&la);
    bs_names_clear(&problems);
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

static void files_pair_by_their_names(void **state)
{
    (void)state;
    check_pairs(LIST("b.tif", "a.tif", "s/c.png"), LIST("a.png", "s/c.tif", "b.png"),
                "b.tif=b.png a.tif=a.png s/c.png=s/c.tif", "");
    check_pairs(LIST("a.x.tif", "b"), LIST("a.x.png", "b.tif"), "a.x.tif=a.x.png b=b.tif", "");
    check_pairs(LIST("d.v/b"), LIST("d.v/b.tif"), "d.v/b=d.v/b.tif", "");
}

static void usual_endings_of_label_files_are_known(void **state)
{
    (void)state;
    check_pairs(LIST("a.tif", "b.tif", "c.tif"), LIST("a_mask.png", "b_cp_masks.tif", "c-labels.tif"),
                "a.tif=a_mask.png b.tif=b_cp_masks.tif c.tif=c-labels.tif", "");
    /* the same name goes before an ending */
    check_pairs(LIST("a.tif", "a_mask.tif"), LIST("a.png", "a_mask.png"), "a.tif=a.png a_mask.tif=a_mask.png",
                "");
}

static void what_cannot_be_paired_is_said(void **state)
{
    (void)state;
    check_pairs(LIST("a.tif", "b.tif"), LIST("b.png", "c.png"), "b.tif=b.png",
                "a.tif: no label file has this name|c.png: no image belongs to this label file");
    check_pairs(LIST("a.tif", "a.png"), LIST("a.tif"), "",
                "a.png: another image has the same name with another extension|"
                "a.tif: another image has the same name with another extension");
    check_pairs(LIST("a.tif"), LIST("a.tif", "a.png"), "",
                "a.tif: more than one label file has this name, such as a.tif");
    check_pairs(LIST("a.tif", "a_seg.tif"), LIST("a_seg.png"), "a.tif=a_seg.png",
                "a_seg.tif: another image has the same label file, a_seg.png");
}

static void check_group(const char *pattern, const char *name, const char *expected)
{
    size_t start, len;
    bool found = bs_name_group(pattern, name, &start, &len);
    if (!expected) {
        assert_false(found);
        return;
    }
    assert_true(found);
    assert_int_equal(len, strlen(expected));
    assert_memory_equal(name + start, expected, len);
}

static void groups_come_out_of_patterns(void **state)
{
    (void)state;
    check_group("*_z???.tif", "gut_z017.tif", "gut");
    check_group("*_z???.tif", "gut_z_z017.tif", "gut_z");
    check_group("*_z???.tif", "gut_z17.tif", NULL);
    check_group("*_*", "a_b_c", "a_b"); /* as long as fits */
    check_group("*/*", "stack/07.png", "stack");
    check_group("plate?_*_t*.tif", "plate3_well7_t01.tif", "well7");
    check_group("*", "anything", "anything");
    check_group("x*", "x", "");
    check_group("no star", "no star", NULL);
    check_group("longer*", "long", NULL);
    check_group("*aab", "aaaaaaaab", "aaaaaa");
}

enum { MANY = 300 };
static char group_text[MANY][8];
static const char *groups[MANY];

static void fill_groups(int items, int each)
{
    for (int i = 0; i < items; i++) {
        group_text[i][0] = 'g';
        int number = i / each;
        for (int k = 3; k > 0; k--, number /= 10)
            group_text[i][k] = (char)('0' + number % 10);
        groups[i] = group_text[i];
    }
}

static void a_group_goes_one_way(void **state)
{
    (void)state;
    enum bs_part part[MANY];
    fill_groups(MANY, 7);
    for (uint64_t seed = 0; seed < 30; seed++) {
        int seen[3] = {0};
        assert_int_equal(bs_split(groups, MANY, seed, 0.2, 0.1, part, NULL), BS_OK);
        for (int i = 0; i < MANY; i++) {
            seen[part[i]]++;
            assert_int_equal(part[i], part[i / 7 * 7]);
        }
        /* nearest to 60 and 30 in steps of 7 (the last group has 6) */
        assert_in_range(seen[BS_PART_VALIDATION], 56, 64);
        assert_in_range(seen[BS_PART_TEST], 26, 34);
    }
}

static void the_seed_alone_decides(void **state)
{
    (void)state;
    enum bs_part part[MANY], again[MANY];
    int differ = 0, first = 0;
    fill_groups(MANY, 3);
    for (uint64_t seed = 0; seed < 40; seed++) {
        assert_int_equal(bs_split(groups, MANY, seed, 0.25, 0, part, NULL), BS_OK);
        assert_int_equal(bs_split(groups, MANY, seed, 0.25, 0, again, NULL), BS_OK);
        assert_memory_equal(part, again, sizeof part);
        assert_int_equal(bs_split(groups, MANY, seed + 1, 0.25, 0, again, NULL), BS_OK);
        differ += memcmp(part, again, sizeof part) != 0;
        first += part[0] == BS_PART_VALIDATION;
    }
    assert_int_equal(differ, 40);
    assert_in_range(first, 2, 20); /* 10 expected */
}

static void every_part_that_is_wished_for_has_a_group(void **state)
{
    (void)state;
    enum bs_part part[MANY];
    fill_groups(9, 3);
    int seen[3] = {0};
    assert_int_equal(bs_split(groups, 9, 1, 0.01, 0.01, part, NULL), BS_OK);
    for (int i = 0; i < 9; i++)
        seen[part[i]]++;
    assert_int_equal(seen[0], 3);
    assert_int_equal(seen[1], 3);
    assert_int_equal(seen[2], 3);
    assert_int_equal(bs_split(groups, 9, 1, 0, 0, part, NULL), BS_OK);
    for (int i = 0; i < 9; i++)
        assert_int_equal(part[i], BS_PART_TRAIN);
}

static void what_cannot_be_split_is_said(void **state)
{
    (void)state;
    enum bs_part part[MANY];
    struct bs_err err;
    fill_groups(5, 5);
    assert_int_equal(bs_split(groups, 5, 1, 0.2, 0, part, &err), BS_EPRECONDITION);
    assert_non_null(strstr(err.msg, "5 items of 1 groups"));
    assert_int_equal(bs_split(groups, 5, 1, 0.6, 0.4, part, &err), BS_EINVAL);
    assert_int_equal(bs_split(groups, 5, 1, -0.1, 0, part, &err), BS_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_pair_by_their_names),
        cmocka_unit_test(usual_endings_of_label_files_are_known),
        cmocka_unit_test(what_cannot_be_paired_is_said),
        cmocka_unit_test(groups_come_out_of_patterns),
        cmocka_unit_test(a_group_goes_one_way),
        cmocka_unit_test(the_seed_alone_decides),
        cmocka_unit_test(every_part_that_is_wished_for_has_a_group),
        cmocka_unit_test(what_cannot_be_split_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
