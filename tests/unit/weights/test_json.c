/* The JSON reader takes what RFC 8259 allows and nothing else, within its limits. */
#include "model/weights/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct bs_json *parse(const char *text)
{
    struct bs_json *doc = NULL;
    struct bs_err err = {0};
    if (bs_json_parse(text, strlen(text), 1000, &doc, &err) != BS_OK)
        fail_msg("%s: %s", text, err.msg);
    return doc;
}

static void values_read_as_written(void **state)
{
    (void)state;
    struct bs_json *doc = parse(" {\"i\":-9223372036854775808, \"d\":0.1,\"e\":1E2,\"t\":true,\"n\":null,"
                                "\"s\":\"a\\n\\u00b5\\ud83d\\ude00\xc3\xa9\",\"l\":[1,[],{}] } \n");
    const struct bs_json_value *root = bs_json_root(doc);
    int64_t i;
    double d;
    bool t;
    const char *s;
    assert_int_equal(bs_json_count(root), 7);
    assert_true(bs_json_as_int(bs_json_get(root, "i"), &i) && i == INT64_MIN);
    assert_true(bs_json_as_double(bs_json_get(root, "d"), &d) && d == 0.1);
    assert_true(bs_json_as_double(bs_json_get(root, "e"), &d) && d == 100);
    assert_false(bs_json_as_int(bs_json_get(root, "e"), &i));
    assert_true(bs_json_as_bool(bs_json_get(root, "t"), &t) && t);
    assert_int_equal(bs_json_type_of(bs_json_get(root, "n")), BS_JSON_NULL);
    assert_true(bs_json_as_string(bs_json_get(root, "s"), &s));
    assert_string_equal(s, "a\n\xc2\xb5\xf0\x9f\x98\x80\xc3\xa9");
    assert_int_equal(bs_json_count(bs_json_get(root, "l")), 3);
    assert_null(bs_json_get(root, "x"));
    assert_false(bs_json_as_int(NULL, &i));
    bs_json_free(doc);
}

static void everything_else_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      " ",
                                      "{",
                                      "[1,",
                                      "[1,]",
                                      "{\"a\"}",
                                      "{\"a\":}",
                                      "{\"a\":1,}",
                                      "{a:1}",
                                      "[1 2]",
                                      "01",
                                      "-",
                                      "1.",
                                      ".5",
                                      "1e",
                                      "+1",
                                      "0x1",
                                      "NaN",
                                      "Infinity",
                                      "1e999",
                                      "9223372036854775808",
                                      "tru",
                                      "nul",
                                      "\"",
                                      "\"\\\"",
                                      "\"\\x\"",
                                      "\"\\u12g4\"",
                                      "\"\\u0000\"",
                                      "\"\\ud800\"",
                                      "\"\\udc00\"",
                                      "\"\\ud800\\u0041\"",
                                      "\"\n\"",
                                      "\"\xff\"",
                                      "\"\xc0\x80\"",
                                      "\"\xed\xa0\x80\"",
                                      "\"\xf4\x90\x80\x80\"",
                                      "\"\xe2\x82\"",
                                      "1 1",
                                      "{}x",
                                      "{\"a\":1,\"b\":2,\"a\":3}",
                                      "{\"a\":1,\"\\u0061\":3}",
                                      "\xef\xbb\xbf{}",
                                      "'a'",
                                      "[1}",
                                      "{\"a\":1]",
                                      "]"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct bs_json *doc = NULL;
        if (bs_json_parse(bad[i], strlen(bad[i]), 1000, &doc, NULL) != BS_ECORRUPT)
            fail_msg("accepted: %s", bad[i]);
        assert_null(doc);
    }
    struct bs_json *doc = NULL;
    assert_int_equal(bs_json_parse("[1\0]", 4, 10, &doc, NULL), BS_ECORRUPT);
}

static void depth_and_number_of_values_are_bounded(void **state)
{
    (void)state;
    char text[4096];
    struct bs_json *doc = NULL;
    memset(text, '[', sizeof text);
    assert_int_equal(bs_json_parse(text, sizeof text, 10000, &doc, NULL), BS_ECORRUPT);
    memset(text + BS_JSON_MAX_DEPTH, ']', BS_JSON_MAX_DEPTH);
    assert_int_equal(bs_json_parse(text, 2 * BS_JSON_MAX_DEPTH, 10000, &doc, NULL), BS_OK);
    bs_json_free(doc);
    assert_int_equal(bs_json_parse("[1,2,3]", 7, 4, &doc, NULL), BS_OK);
    bs_json_free(doc);
    assert_int_equal(bs_json_parse("[1,2,3]", 7, 3, &doc, NULL), BS_ELIMIT);
    memset(text, '1', sizeof text);
    assert_int_equal(bs_json_parse(text, sizeof text, 10, &doc, NULL), BS_ECORRUPT);
}

static void every_prefix_of_a_text_is_refused(void **state)
{
    (void)state;
    static const char text[] =
        "{\"a\":[1,-2.5e-3,true,false,null,\"x\\n\\u00e9\\ud83d\\ude00\"],\"b\":{\"c\":{}}}";
    for (size_t n = 0; n < sizeof text - 1; n++) {
        struct bs_json *doc = NULL;
        char *copy = malloc(n + 1); /* exact size: reading past it is caught */
        assert_non_null(copy);
        memcpy(copy, text, n);
        assert_int_equal(bs_json_parse(copy, n, 100, &doc, NULL), BS_ECORRUPT);
        free(copy);
    }
}

static void what_is_written_reads_back_equal(void **state)
{
    (void)state;
    static const double numbers[] = {0, -1, 0.1, 1.0 / 3, 1e300, 5e-324, 123456789.125};
    struct bs_json_writer w = {0};
    bs_json_write_open(&w, NULL, '{');
    bs_json_write_string(&w, "s", "quote \" backslash \\ newline \n \x01 \xc3\xa9");
    bs_json_write_open(&w, "d", '[');
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        bs_json_write_double(&w, NULL, numbers[i]);
    bs_json_write_close(&w, ']');
    bs_json_write_int(&w, "i", INT64_MAX);
    bs_json_write_bool(&w, "b", false);
    bs_json_write_close(&w, '}');
    char *text = bs_json_write_end(&w);
    struct bs_json *doc = parse(text);
    const char *s;
    assert_true(bs_json_as_string(bs_json_get(bs_json_root(doc), "s"), &s));
    assert_string_equal(s, "quote \" backslash \\ newline \n \x01 \xc3\xa9");
    const struct bs_json_value *v = bs_json_first(bs_json_get(bs_json_root(doc), "d"));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++, v = bs_json_next(v)) {
        double d;
        assert_true(bs_json_as_double(v, &d) && d == numbers[i]);
    }
    bs_json_free(doc);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_read_as_written),
        cmocka_unit_test(everything_else_is_refused),
        cmocka_unit_test(depth_and_number_of_values_are_bounded),
        cmocka_unit_test(every_prefix_of_a_text_is_refused),
        cmocka_unit_test(what_is_written_reads_back_equal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
