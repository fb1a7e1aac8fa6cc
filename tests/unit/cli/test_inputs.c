/* Files, folders and patterns become one list in natural order, each file once. */
#include "clients/cli/inputs.h"
#include "folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The paths of the list, joined by blanks. */
static const char *collect(char *const *args, size_t n, bool recursive, const char *exclude)
{
    static char text[4096];
    struct bs__inputs in;
    struct bs_err err = {0};
    text[0] = '\0';
    bs_status rc = bs__inputs_collect(args, n, recursive, exclude, &in, &err);
    if (rc != BS_OK) {
        snprintf(text, sizeof text, "%s: %s", bs_status_name(rc), err.msg);
        return text;
    }
    for (size_t i = 0; i < in.count; i++) {
        strcat(text, i ? " " : "");
        strcat(text, in.item[i].path);
    }
    bs__inputs_free(&in);
    return text;
}

static void numbers_in_names_count_as_numbers(void **state)
{
    (void)state;
    assert_true(bs__natural_compare("img2", "img10") < 0);
    assert_true(bs__natural_compare("img10", "img2") > 0);
    assert_true(bs__natural_compare("a2b3", "a2b12") < 0);
    assert_true(bs__natural_compare("x99999999999999999999998", "x99999999999999999999999") < 0);
    assert_int_equal(bs__natural_compare("same7", "same7"), 0);
    assert_true(bs__natural_compare("007", "7") != 0);
    assert_true((bs__natural_compare("007", "7") < 0) != (bs__natural_compare("7", "007") < 0));
    assert_true(bs__natural_compare("a", "ab") < 0);
}

static void a_folder_gives_its_images_in_natural_order_and_nothing_else(void **state)
{
    (void)state;
    put("in/b10.tif", "x");
    put("in/b2.TIFF", "x");
    put("in/a.png", "x");
    put("in/notes.txt", "x");
    put("in/.hidden.tif", "x");
    put("in/sub/c.tif", "x");
    char *args[] = {"in"};
    assert_string_equal(collect(args, 1, false, NULL), "in/a.png in/b2.TIFF in/b10.tif");
    assert_string_equal(collect(args, 1, true, NULL), "in/a.png in/b2.TIFF in/b10.tif in/sub/c.tif");
    assert_string_equal(collect(args, 1, true, "in/sub"), "in/a.png in/b2.TIFF in/b10.tif");
}

static void patterns_are_expanded_when_the_shell_did_not(void **state)
{
    (void)state;
    put("p/x_dapi_10.tif", "x");
    put("p/x_dapi_9.tif", "x");
    put("p/x_gfp_1.tif", "x");
    char *args[] = {"p/*_dapi_*.tif"};
    assert_string_equal(collect(args, 1, false, NULL), "p/x_dapi_9.tif p/x_dapi_10.tif");
    put("p/star[1].tif", "x"); /* a name that looks like a pattern is a name first */
    char *literal[] = {"p/star[1].tif"};
    assert_string_equal(collect(literal, 1, false, NULL), "p/star[1].tif");
}

static void a_file_named_twice_is_taken_once(void **state)
{
    (void)state;
    put("d/a.tif", "x");
    put("d/b.tif", "x");
    assert_int_equal(symlink("a.tif", "d/c.tif"), 0);
    char *args[] = {"d/b.tif", "d", "./d/a.tif"};
    assert_string_equal(collect(args, 3, false, NULL), "d/b.tif d/a.tif");
}

static void a_file_given_by_name_is_taken_whatever_its_extension(void **state)
{
    (void)state;
    put("image.dat", "x");
    char *args[] = {"image.dat"};
    assert_string_equal(collect(args, 1, false, NULL), "image.dat");
}

static void what_is_not_there_is_refused_by_name(void **state)
{
    (void)state;
    put("empty/readme.txt", "x");
    char *missing[] = {"nope.tif"}, *pattern[] = {"nope*.tif"}, *folder[] = {"empty"};
    assert_string_equal(collect(missing, 1, false, NULL), "not found: nope.tif: no such file or folder");
    assert_string_equal(collect(pattern, 1, false, NULL), "not found: no file matches the pattern nope*.tif");
    assert_non_null(strstr(collect(folder, 1, false, NULL), "the folder empty holds no image"));
}

static void stems_lose_folder_and_last_extension(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{"dir/a.b.tif", "a.b"},
                                           {"x.ome.tiff", "x.ome"},
                                           {"plain", "plain"},
                                           {"/r/.hidden", ".hidden"},
                                           {"d.ir/name", "name"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *stem = bs__stem_of(cases[i][0]);
        assert_string_equal(stem, cases[i][1]);
        free(stem);
    }
}

static void a_file_beyond_the_limit_is_not_read(void **state)
{
    (void)state;
    uint8_t *data = NULL;
    size_t size = 0;
    struct bs_err err = {0};
    put("ten", "0123456789");
    assert_int_equal(bs__cli_read_file("ten", 10, &data, &size, &err), BS_OK);
    assert_int_equal(size, 10);
    free(data);
    assert_int_equal(bs__cli_read_file("ten", 9, &data, &size, &err), BS_ELIMIT);
    assert_int_equal(bs__cli_read_file(".", 9, &data, &size, &err), BS_EINVAL);
    assert_int_equal(bs__cli_read_file("none", 9, &data, &size, &err), BS_ENOTFOUND);
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, enter_folder, leave_folder)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_in_names_count_as_numbers),
        IN_FOLDER(a_folder_gives_its_images_in_natural_order_and_nothing_else),
        IN_FOLDER(patterns_are_expanded_when_the_shell_did_not),
        IN_FOLDER(a_file_named_twice_is_taken_once),
        IN_FOLDER(a_file_given_by_name_is_taken_whatever_its_extension),
        IN_FOLDER(what_is_not_there_is_refused_by_name),
        cmocka_unit_test(stems_lose_folder_and_last_extension),
        IN_FOLDER(a_file_beyond_the_limit_is_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
