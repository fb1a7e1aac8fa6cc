/* Promises about malformed COCO files: each is refused with the place and what was expected, whatever is cut off or missing;
   running out of memory is an error value and leaves nothing behind. */
#include "model/dataset/coco.h"
#include "tests/support/fail_alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define IMAGE "{\"id\": 1, \"width\": 4, \"height\": 4, \"file_name\": \"a.tif\"}"
#define FILE_WITH(segmentation)                                                                              \
    "{\"images\": [" IMAGE                                                                                   \
    "], \"annotations\": [{\"id\": 8, \"image_id\": 1, \"segmentation\": " segmentation "}]}"

static char path[32];

static void put(const char *text, size_t len)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

static bs_status open_and_draw(struct bs_err *err)
{
    struct bs_coco *c;
    uint32_t labels[16], count;
    bs_status rc = bs_coco_open(path, NULL, &c, err);
    if (rc != BS_OK)
        return rc;
    for (size_t i = 0; i < bs_coco_image_count(c) && rc == BS_OK; i++)
        rc = bs_coco_labels(c, i, &(struct bs_coco_rule){.order = BS_COCO_BY_ID, .min_size = 1}, labels,
                            &count, err);
    bs_coco_close(c);
    return rc;
}

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bs_status code;
        const char *says;
    } cases[] = {
        {"", BS_ECORRUPT, "ends at byte 0"},
        {"[]", BS_ECORRUPT, "byte 0 of the JSON text is 0x5b"},
        {"{}", BS_ECORRUPT, "no list \"images\""},
        {"{\"images\": []}", BS_ECORRUPT, "no list \"annotations\""},
        {"{\"images\": {}, \"annotations\": []}", BS_ECORRUPT, "no list \"images\""},
        {"{\"images\": [], \"annotations\": []} x", BS_ECORRUPT, "the end of the text"},
        {"{\"images\": [], \"images\": [], \"annotations\": []}", BS_ECORRUPT,
         "\"images\" stands in the file twice"},
        {"{\"images\": [" IMAGE " " IMAGE "], \"annotations\": []}", BS_ECORRUPT, "where \",\" should stand"},
        {"{\"images\": [" IMAGE "," IMAGE "], \"annotations\": []}", BS_ECORRUPT, "two images have the id 1"},
        {"{\"images\": [{\"id\": 1.5}], \"annotations\": []}", BS_ECORRUPT, "no whole number \"id\""},
        {"{\"images\": [{\"id\": 1, \"width\": 70000, \"height\": 1, \"file_name\": \"a\"}], "
         "\"annotations\": []}",
         BS_ELIMIT, "70000x1"},
        {"{\"images\": [{\"id\": 1, \"width\": 4, \"height\": 4}], \"annotations\": []}", BS_ECORRUPT,
         "file_name"},
        {"{\"images\": [" IMAGE "], \"annotations\": [{\"id\": 8, \"image_id\": 2}]}", BS_ECORRUPT,
         "belongs to image 2, which is not in the file"},
        {"{\"images\": [" IMAGE "], \"annotations\": [{\"id\": 8, \"image_id\": 1}]}", BS_ECORRUPT,
         "annotation 8: it has no \"segmentation\""},
        {FILE_WITH("[[0, 0, 1, 1]]"), BS_EINVAL, "2 corners"},
        {FILE_WITH("[[0, 0, 1, 1, 2]]"), BS_ECORRUPT, "5 numbers"},
        {FILE_WITH("[[0, 0, 1, 1, 1e9, 1]]"), BS_EINVAL, "far outside"},
        {FILE_WITH("[[0, 0, 1, 1, \"1\", 1]]"), BS_ECORRUPT, "a string where a number"},
        {FILE_WITH("[3]"), BS_ECORRUPT, "a list of numbers is expected"},
        {FILE_WITH("{\"size\": [4, 5], \"counts\": [16]}"), BS_ECORRUPT, "5x4"},
        {FILE_WITH("{\"size\": [4, 4], \"counts\": [15]}"), BS_EINVAL, "cover 15 pixels"},
        {FILE_WITH("{\"size\": [4, 4], \"counts\": [10, 7]}"), BS_EINVAL, "run 1 is 7 pixels long; 6 of"},
        {FILE_WITH("{\"size\": [4, 4], \"counts\": [10, -1, 7]}"), BS_EINVAL, "run 1 is -1"},
        {FILE_WITH("{\"size\": [4, 4], \"counts\": \"P\"}"), BS_EINVAL, "compressed runs"},
        {FILE_WITH("{\"size\": [4, 4], \"counts\": \"oooooooooooo\"}"), BS_EINVAL, "compressed runs"},
        {FILE_WITH("{\"size\": [4, 4]}"), BS_ECORRUPT, "no \"counts\""},
        {FILE_WITH("null"), BS_ECORRUPT, "no \"segmentation\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bs_err err = {0};
        put(cases[i].text, strlen(cases[i].text));
        bs_status rc = open_and_draw(&err);
        if (rc != cases[i].code || !strstr(err.msg, cases[i].says))
            fail_msg("%s\n  gave %s: %s", cases[i].text, bs_status_name(rc), err.msg);
    }
}

static const char good[] = FILE_WITH("[[0, 0, 3, 0, 3, 3, 0, 3]]");

static void a_file_cut_anywhere_is_refused(void **state)
{
    (void)state;
    for (size_t len = 0; len < sizeof good - 1; len++) {
        struct bs_err err = {0};
        put(good, len);
        assert_int_equal(open_and_draw(&err), BS_ECORRUPT);
    }
    put(good, sizeof good - 1);
    assert_int_equal(open_and_draw(NULL), BS_OK);
}

static void brackets_nested_too_deep_are_refused(void **state)
{
    (void)state;
    struct bs_err err = {0};
    char text[4096] = "{\"info\": ";
    size_t len = strlen(text);
    memset(text + len, '[', 4000);
    put(text, len + 4000);
    assert_int_equal(open_and_draw(&err), BS_ELIMIT);
}

static void whichever_allocation_fails_it_is_an_error_value(void **state)
{
    (void)state;
    put(good, sizeof good - 1);
    unsigned failed = 0;
    for (unsigned n = 1;; n++) {
        struct bs_err err = {0};
        bs_test_fail_alloc_at(n);
        bs_status rc = open_and_draw(&err);
        bool hit = bs_test_alloc_failed();
        bs_test_fail_alloc_at(0);
        if (!hit) {
            assert_int_equal(rc, BS_OK);
            break;
        }
        if (rc != BS_ENOMEM)
            fail_msg("allocation %u: %s: %s", n, bs_status_name(rc), err.msg);
        failed++;
    }
    assert_true(failed > 10);
}

static int make_path(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "coco-XXXXXX");
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state)
{
    (void)state;
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(a_file_cut_anywhere_is_refused),
        cmocka_unit_test(brackets_nested_too_deep_are_refused),
        cmocka_unit_test(whichever_allocation_fails_it_is_an_error_value),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
