/* Nothing is overwritten by accident, and --resume believes only what it can check. */
#include "clients/cli/outputs.h"
#include "folder.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct bs__inputs collect(char *const *args, size_t n)
{
    struct bs__inputs in;
    struct bs_err err = {0};
    assert_int_equal(bs__inputs_collect(args, n, false, NULL, &in, &err), BS_OK);
    return in;
}

/* Plans, compares the status, and gives the error's text. */
static const char *plan_fails(char *const *args, size_t n, const struct bs__output_options *opt,
                              bs_status expected)
{
    static struct bs_err err;
    struct bs__output_paths *paths = NULL;
    struct bs__inputs in = collect(args, n);
    memset(&err, 0, sizeof err);
    assert_int_equal(bs__outputs_plan(&in, opt, &paths, &err), expected);
    if (expected == BS_OK)
        bs__outputs_free(paths, in.count);
    bs__inputs_free(&in);
    return err.msg;
}

static void results_are_named_after_the_image(void **state)
{
    (void)state;
    put("in/cell.png", "x");
    char *args[] = {"in/cell.png"};
    struct bs__inputs in = collect(args, 1);
    struct bs__output_options opt = {.folder = "deep/out/"};
    opt.want[BS__OUTPUT_TABLE] = opt.want[BS__OUTPUT_OVERLAY] = true;
    struct bs__output_paths *paths = NULL;
    struct bs_err err = {0};
    assert_int_equal(bs__outputs_plan(&in, &opt, &paths, &err), BS_OK);
    assert_string_equal(paths[0].path[BS__OUTPUT_LABELS], "deep/out/cell.tif");
    assert_string_equal(paths[0].path[BS__OUTPUT_TABLE], "deep/out/cell.csv");
    assert_string_equal(paths[0].path[BS__OUTPUT_OVERLAY], "deep/out/cell.overlay.png");
    assert_string_equal(paths[0].path[BS__OUTPUT_RECORD], "deep/out/cell.json");
    assert_null(paths[0].path[BS__OUTPUT_MAPS]);
    assert_true(exists("deep/out"));
    bs__outputs_free(paths, 1);
    bs__inputs_free(&in);
}

static void two_images_with_one_stem_are_refused_and_both_are_named(void **state)
{
    (void)state;
    put("a/cell.png", "x");
    put("b/cell.tif", "x");
    char *args[] = {"a/cell.png", "b/cell.tif"};
    const char *text = plan_fails(args, 2, &(struct bs__output_options){.folder = "out"}, BS_EEXIST);
    assert_non_null(strstr(text, "a/cell.png"));
    assert_non_null(strstr(text, "b/cell.tif"));
}

static void a_result_that_is_named_like_another_images_result_is_refused(void **state)
{
    (void)state;
    put("in/cell.png", "x");
    put("in/cell.maps.png", "x");
    char *args[] = {"in/cell.png", "in/cell.maps.png"};
    struct bs__output_options opt = {.folder = "out"};
    assert_string_equal(plan_fails(args, 2, &opt, BS_OK), "");
    opt.want[BS__OUTPUT_MAPS] = true; /* cell.maps.tif: the maps of one, the labels of the other */
    assert_non_null(strstr(plan_fails(args, 2, &opt, BS_EEXIST), "cell.maps.tif"));
}

static void inputs_are_never_overwritten_whatever_the_options(void **state)
{
    (void)state;
    put("in/cell.tif", "precious");
    char *args[] = {"in/cell.tif"};
    struct bs__output_options opt = {.folder = "in", .overwrite = true, .resume = true};
    assert_non_null(strstr(plan_fails(args, 1, &opt, BS_EEXIST), "is an input"));
    /* Nor through a link to the same file. */
    assert_int_equal(mkdir("out", 0777), 0);
    assert_int_equal(link("in/cell.tif", "out/cell.tif"), 0);
    opt.folder = "out";
    assert_non_null(strstr(plan_fails(args, 1, &opt, BS_EEXIST), "is an input"));
}

static void what_is_there_is_replaced_only_when_asked(void **state)
{
    (void)state;
    put("in/cell.png", "x");
    put("out/cell.tif", "corrected by hand");
    char *args[] = {"in/cell.png"};
    struct bs__output_options opt = {.folder = "out"};
    assert_non_null(strstr(plan_fails(args, 1, &opt, BS_EEXIST), "--overwrite"));
    opt.resume = true; /* resume replaces only what an earlier run made */
    assert_non_null(strstr(plan_fails(args, 1, &opt, BS_EEXIST), "not from an earlier run"));
    put("out/cell.json", "{\"something\": \"else\"}");
    assert_non_null(strstr(plan_fails(args, 1, &opt, BS_EEXIST), "not from an earlier run"));
    opt.overwrite = true;
    assert_string_equal(plan_fails(args, 1, &opt, BS_OK), "");
}

/* An image, its finished result, and everything --resume looks at. */
struct finished {
    struct bs__inputs in;
    struct bs__output_paths *paths;
};

static struct finished finish_one(void)
{
    struct finished f;
    struct bs_err err = {0};
    char sha256[BS__SHA256_TEXT];
    char *args[] = {"in/cell.png"};
    put("in/cell.png", "pixels");
    f.in = collect(args, 1);
    struct bs__output_options opt = {.folder = "out", .resume = true};
    opt.want[BS__OUTPUT_TABLE] = true;
    assert_int_equal(bs__outputs_plan(&f.in, &opt, &f.paths, &err), BS_OK);
    assert_int_equal(bs__record_begin(&f.paths[0], &err), BS_OK);
    assert_false(bs__record_is_current(&f.paths[0], &f.in.item[0], "hash", NULL)); /* begun is not finished */
    put("out/cell.tif", "labels");
    put("out/cell.csv", "id\n");
    assert_int_equal(bs__sha256_hex("pixels", 6, sha256, &err), BS_OK);
    json_t *about = json_pack("{s:i}", "object_count", 3);
    assert_int_equal(bs__record_write(&f.paths[0], &f.in.item[0], sha256, "hash", about, &err), BS_OK);
    json_decref(about);
    return f;
}

static void release(struct finished *f)
{
    bs__outputs_free(f->paths, f->in.count);
    bs__inputs_free(&f->in);
}

/* The image as it is now, seen again. */
static bool is_current(struct finished *f, const char *fingerprint)
{
    char *args[] = {"in/cell.png"};
    bs__inputs_free(&f->in);
    f->in = collect(args, 1);
    return bs__record_is_current(&f->paths[0], &f->in.item[0], fingerprint, NULL);
}

static void a_finished_image_is_skipped_and_its_result_is_known(void **state)
{
    (void)state;
    struct finished f = finish_one();
    json_t *record = NULL;
    assert_true(bs__record_is_current(&f.paths[0], &f.in.item[0], "hash", &record));
    assert_int_equal(json_integer_value(json_object_get(json_object_get(record, "result"), "object_count")),
                     3);
    json_decref(record);
    release(&f);
}

static void other_parameters_make_it_be_done_again(void **state)
{
    (void)state;
    struct finished f = finish_one();
    assert_false(is_current(&f, "another hash"));
    release(&f);
}

static void a_missing_or_shortened_output_makes_it_be_done_again(void **state)
{
    (void)state;
    struct finished f = finish_one();
    put("out/cell.tif", "label");
    assert_false(is_current(&f, "hash"));
    put("out/cell.tif", "labels");
    assert_true(is_current(&f, "hash"));
    unlink("out/cell.csv");
    assert_false(is_current(&f, "hash"));
    release(&f);
}

static void a_changed_input_makes_it_be_done_again_but_a_touched_one_does_not(void **state)
{
    (void)state;
    struct finished f = finish_one();
    struct timespec past[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    assert_int_equal(utimensat(AT_FDCWD, "in/cell.png", past, 0), 0);
    assert_true(is_current(&f, "hash")); /* other time, same bytes */
    put("in/cell.png", "pixelz");
    assert_int_equal(utimensat(AT_FDCWD, "in/cell.png", past, 0), 0);
    assert_false(is_current(&f, "hash"));
    release(&f);
}

static void a_damaged_record_makes_it_be_done_again(void **state)
{
    (void)state;
    struct finished f = finish_one();
    put("out/cell.json", "{\"bioseg_record\": 1, \"para");
    assert_false(is_current(&f, "hash"));
    release(&f);
}

static void text_appears_whole_and_leaves_nothing_behind(void **state)
{
    (void)state;
    struct bs_err err = {0};
    put("old.csv", "old");
    assert_int_equal(bs__write_text("old.csv", "new", 3, &err), BS_OK);
    char *text = take("old.csv");
    assert_string_equal(text, "new");
    free(text);
    assert_int_equal(bs__write_text("no/such/folder/x", "new", 3, &err), BS_EIO);
    char *here[] = {"."};
    struct bs__inputs in;
    assert_int_equal(bs__inputs_collect(here, 1, true, NULL, &in, &err), BS_ENOTFOUND);
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, enter_folder, leave_folder)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(results_are_named_after_the_image),
        IN_FOLDER(two_images_with_one_stem_are_refused_and_both_are_named),
        IN_FOLDER(a_result_that_is_named_like_another_images_result_is_refused),
        IN_FOLDER(inputs_are_never_overwritten_whatever_the_options),
        IN_FOLDER(what_is_there_is_replaced_only_when_asked),
        IN_FOLDER(a_finished_image_is_skipped_and_its_result_is_known),
        IN_FOLDER(other_parameters_make_it_be_done_again),
        IN_FOLDER(a_missing_or_shortened_output_makes_it_be_done_again),
        IN_FOLDER(a_changed_input_makes_it_be_done_again_but_a_touched_one_does_not),
        IN_FOLDER(a_damaged_record_makes_it_be_done_again),
        IN_FOLDER(text_appears_whole_and_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
