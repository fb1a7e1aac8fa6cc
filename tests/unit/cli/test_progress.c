/* Plain lines where there is no terminal, silence when asked, and a bar that never goes back. */
#include "clients/cli/progress.h"
#include "clients/cli/warnings.h"
#include "folder.h"

#include <stdlib.h>
#include <string.h>

static char *run(enum bs__progress_style style)
{
    char *text = NULL;
    size_t size = 0;
    struct bs_err err = {0};
    struct bs__progress *p = NULL;
    FILE *f = open_memstream(&text, &size);
    assert_int_equal(bs__progress_create(f, style, 2, &p, &err), BS_OK);
    struct bs__progress_item a = {.name = "a.tif"}, b = {.name = "b.tif"};
    bs__progress_set(p, &a, 0.5);
    bs__progress_set(p, &a, 0.25);
    assert_true(a.share == 0.5);
    bs__progress_message(p, "a warning");
    bs__progress_finish(p, &a, "12 objects");
    bs__progress_finish(p, &b, "0 objects");
    bs__progress_destroy(p);
    fclose(f);
    return text;
}

static void files_and_pipes_get_one_line_per_image(void **state)
{
    (void)state;
    char *text = run(BS__PROGRESS_LINES);
    assert_string_equal(text, "a warning\n1/2  a.tif: 12 objects\n2/2  b.tif: 0 objects\n");
    free(text);
}

static void quiet_leaves_warnings_only(void **state)
{
    (void)state;
    char *text = run(BS__PROGRESS_QUIET);
    assert_string_equal(text, "a warning\n");
    free(text);
}

static void the_bar_ends_full_and_is_taken_away(void **state)
{
    (void)state;
    char *text = run(BS__PROGRESS_BAR);
    assert_non_null(strstr(text, "100 %  2/2"));
    assert_string_equal(text + strlen(text) - 4, "\r\033[K");
    free(text);
}

static void each_kind_of_warning_is_told_once_and_counted(void **state)
{
    (void)state;
    char *text = NULL;
    size_t size = 0;
    struct bs_err err = {0};
    struct bs__progress *p = NULL;
    struct bs__warnings *w = NULL;
    FILE *f = open_memstream(&text, &size);
    assert_int_equal(bs__progress_create(f, BS__PROGRESS_QUIET, 3, &p, &err), BS_OK);
    assert_int_equal(bs__warnings_create(&w, &err), BS_OK);
    bs__warnings_add(w, p, "a.tif", "small", "3 removed");
    bs__warnings_add(w, p, "b.tif", "small", "4 removed");
    bs__warnings_add(w, p, "b.tif", "scale", "too large");
    bs__progress_destroy(p);
    bs__warnings_summarise(w, f);
    bs__warnings_destroy(w);
    fclose(f);
    assert_non_null(strstr(text, "a.tif: 3 removed"));
    assert_null(strstr(text, "4 removed"));
    assert_non_null(strstr(text, "b.tif: too large"));
    assert_non_null(strstr(text, "(small) came with 2 images"));
    assert_null(strstr(text, "(scale)"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_and_pipes_get_one_line_per_image),
        cmocka_unit_test(quiet_leaves_warnings_only),
        cmocka_unit_test(the_bar_ends_full_and_is_taken_away),
        cmocka_unit_test(each_kind_of_warning_is_told_once_and_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
