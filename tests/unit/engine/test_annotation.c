/* Promises about where labels count: one text for one annotation, sizes that fit the labels, and boxes on the planes they are for. */
#include "server/annotation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct bs_file_info stack = {
    .sample = BS_SAMPLE_U16, .ndim = 4, .axes = "tzyx", .dim = {2, 3, 20, 30}};

static struct bs_annotation with_regions(size_t nannotated, size_t nignored)
{
    struct bs_annotation a = {.nannotated = nannotated, .nignored = nignored};
    a.annotated = calloc(nannotated + 1, sizeof *a.annotated);
    a.ignored = calloc(nignored + 1, sizeof *a.ignored);
    assert_true(a.annotated && a.ignored);
    return a;
}

static void an_annotation_has_one_text_and_comes_back_from_it(void **state)
{
    (void)state;
    struct bs_annotation a = with_regions(1, 2), back;
    struct bs_err err;
    char *text;
    a.annotated[0] = (struct bs_region){.y = 1, .x = 2, .height = 3, .width = 4, .z = 1};
    a.ignored[1] = (struct bs_region){.y = 19, .t = 1};
    a.has_ignore_label = a.predicted = a.done = true;
    a.ignore_label = -1;
    assert_int_equal(bs_annotation_resolve(&a, &stack, &err), BS_OK);
    assert_int_equal(bs_annotation_to_json(&a, &text, &err), BS_OK);
    assert_string_equal(
        text, "{\"ignore_label\":-1,\"annotated\":[[1,2,3,4,1,2,0,2]],"
              "\"ignored\":[[0,0,20,30,0,3,0,2],[19,0,1,30,0,3,1,1]],\"predicted\":true,\"done\":true}");
    assert_int_equal(bs_annotation_from_json(text, &back, &err), BS_OK);
    assert_true(back.has_ignore_label && back.ignore_label == -1 && back.predicted && back.done);
    assert_int_equal(back.nannotated, 1);
    assert_memory_equal(back.ignored, a.ignored, 2 * sizeof *a.ignored);
    free(text);
    bs_annotation_clear(&back);
    bs_annotation_clear(&a);
    assert_int_equal(bs_annotation_to_json(&a, &text, &err), BS_OK);
    assert_string_equal(text, "{}");
    free(text);
}

static void what_is_stored_is_not_trusted(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "[]",
                                        "{\"done\":1}",
                                        "{\"ignore_label\":\"x\"}",
                                        "{\"annotated\":[]}",
                                        "{\"annotated\":[[1,2,3]]}",
                                        "{\"ignored\":[[1,2,3,4,5,6,7,-8]]}",
                                        "{\"ignored\":7}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct bs_annotation a;
        struct bs_err err;
        assert_int_not_equal(bs_annotation_from_json(texts[i], &a, &err), BS_OK);
        bs_annotation_clear(&a);
    }
}

static void regions_stay_within_the_labels(void **state)
{
    (void)state;
    static const struct {
        struct bs_region region;
        const char *says;
    } cases[] = {
        {{.y = 20}, "rows"},
        {{.y = 10, .height = 11}, "annotated[0] has 11 rows from 10 on"},
        {{.x = 30}, "columns"},
        {{.width = 31}, "the labels have 30"},
        {{.z = 3}, "planes"},
        {{.depth = 4}, "planes"},
        {{.t = 1, .duration = 2}, "points of time"},
        {{.y = UINT64_MAX, .height = 2}, "rows"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bs_annotation a = with_regions(1, 0);
        struct bs_err err = {.msg = ""};
        a.annotated[0] = cases[i].region;
        assert_int_equal(bs_annotation_resolve(&a, &stack, &err), BS_EINVAL);
        if (!strstr(err.msg, cases[i].says))
            fail_msg("%zu: %s", i, err.msg);
        bs_annotation_clear(&a);
    }
}

static void a_plane_has_the_boxes_that_reach_it(void **state)
{
    (void)state;
    struct bs_annotation a = with_regions(1, 1);
    struct bs_annotation_plane on;
    struct bs_err err;
    a.annotated[0] = (struct bs_region){.y = 1, .x = 2, .height = 3, .width = 4, .z = 1, .depth = 1};
    a.ignored[0] = (struct bs_region){.t = 1};
    assert_int_equal(bs_annotation_resolve(&a, &stack, &err), BS_OK);
    for (uint64_t plane = 0; plane < 6; plane++) { /* t, then z */
        assert_int_equal(bs_annotation_plane(&a, &stack, plane, &on, &err), BS_OK);
        assert_int_equal(on.nonly, plane % 3 == 1);
        assert_int_equal(on.nothing, plane % 3 != 1);
        assert_int_equal(on.nignore, plane >= 3);
        if (on.nonly) {
            assert_int_equal(on.only[0].top, 1);
            assert_int_equal(on.only[0].left, 2);
            assert_int_equal(on.only[0].bottom, 4);
            assert_int_equal(on.only[0].right, 6);
        }
        bs_annotation_plane_clear(&on);
    }
    bs_annotation_clear(&a);
    assert_int_equal(bs_annotation_plane(&a, &stack, 5, &on, &err), BS_OK);
    assert_true(!on.nothing && on.nonly == 0 && on.nignore == 0);
    bs_annotation_plane_clear(&on);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_annotation_has_one_text_and_comes_back_from_it),
        cmocka_unit_test(what_is_stored_is_not_trusted),
        cmocka_unit_test(regions_stay_within_the_labels),
        cmocka_unit_test(a_plane_has_the_boxes_that_reach_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
