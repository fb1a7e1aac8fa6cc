/* Plain lines where there is no terminal, silence when asked, and a bar that never goes back. */
#include "clients/cli/progress.h"
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_and_pipes_get_one_line_per_image),
        cmocka_unit_test(quiet_leaves_warnings_only),
        cmocka_unit_test(the_bar_ends_full_and_is_taken_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
