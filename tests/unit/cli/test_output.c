/* Messages become JSON that programs can rely on; what comes from outside does not drive the terminal. */
#include "clients/cli/output.h"
#include "folder.h"

#include "bioseg/v1/jobs.pb-c.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void messages_become_json_with_names_of_the_proto(void **state)
{
    (void)state;
    Bioseg__V1__Job job = BIOSEG__V1__JOB__INIT;
    Bioseg__V1__ModelRef model = BIOSEG__V1__MODEL_REF__INIT;
    Bioseg__V1__Job__LabelsEntry entry = BIOSEG__V1__JOB__LABELS_ENTRY__INIT, *entries[] = {&entry};
    job.id = "j1";
    job.state = BIOSEG__V1__JOB_STATE__JOB_STATE_RUNNING;
    job.created_ms = 1234567890123;
    model.name = "nuclei";
    model.selector_case = BIOSEG__V1__MODEL_REF__SELECTOR_VERSION;
    model.version = 2;
    job.model = &model;
    entry.key = "file";
    entry.value = "a.tif";
    job.labels = entries;
    job.n_labels = 1;
    json_t *j = bs__json_of_message(&job.base);
    assert_string_equal(json_string_value(json_object_get(j, "id")), "j1");
    assert_string_equal(json_string_value(json_object_get(j, "state")), "JOB_STATE_RUNNING");
    assert_true(json_integer_value(json_object_get(j, "created_ms")) == 1234567890123);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(j, "model"), "version")), 2);
    assert_null(json_object_get(json_object_get(j, "model"), "alias")); /* the member that is not set */
    assert_string_equal(json_string_value(json_object_get(json_object_get(j, "labels"), "file")), "a.tif");
    assert_null(json_object_get(j, "error"));
    json_decref(j);
}

static void numbers_that_json_lacks_become_null(void **state)
{
    (void)state;
    Bioseg__V1__ObjectTable t = BIOSEG__V1__OBJECT_TABLE__INIT;
    double mean[] = {1.5, NAN};
    uint32_t id[] = {1, 4000000000u};
    t.mean_intensity = mean;
    t.n_mean_intensity = 2;
    t.id = id;
    t.n_id = 2;
    json_t *j = bs__json_of_message(&t.base);
    assert_true(json_is_null(json_array_get(json_object_get(j, "mean_intensity"), 1)));
    assert_true(json_integer_value(json_array_get(json_object_get(j, "id"), 1)) == 4000000000);
    json_decref(j);
}

static void names_that_are_not_utf8_can_be_printed(void **state)
{
    (void)state;
    json_t *t = bs__json_text("caf\xe9.tif");
    assert_string_equal(json_string_value(t), "caf\\xe9.tif");
    json_decref(t);
    t = bs__json_text("caf\xc3\xa9.tif");
    assert_string_equal(json_string_value(t), "caf\xc3\xa9.tif");
    json_decref(t);
}

static void tables_line_up_and_hide_control_characters(void **state)
{
    (void)state;
    static const struct bs__column columns[] = {{"NAME", "name", false}, {"N", "deep.n", true}};
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    json_t *rows = json_pack("[{s:s, s:{s:i}}, {s:s, s:{s:i}}]", "name", "\x1b[31mred", "deep", "n", 5,
                             "name", "\xc3\xbc", "deep", "n", 1234);
    bs__print_table(f, rows, columns, 2);
    fclose(f);
    assert_string_equal(text, "NAME         N\n?[31mred     5\n\xc3\xbc         1234\n");
    free(text);
    json_decref(rows);
}

static void long_texts_are_cut_between_characters(void **state)
{
    (void)state;
    static const struct bs__column columns[] = {{"X", "x", false}};
    char word[201] = "", *text = NULL;
    size_t size = 0;
    for (int i = 0; i < 100; i++)
        strcat(word, "\xc3\xbc");
    FILE *f = open_memstream(&text, &size);
    json_t *rows = json_pack("[{s:s}]", "x", word);
    bs__print_table(f, rows, columns, 1);
    fclose(f);
    json_t *line = json_string(strchr(text, '\n') + 1); /* NULL unless it is UTF-8 */
    assert_non_null(line);
    assert_non_null(strstr(text, "\xc3\xbc..."));
    json_decref(line);
    free(text);
    json_decref(rows);
}

static void times_are_readable_and_never_is_left_out(void **state)
{
    (void)state;
    json_t *o = json_pack("{s:s, s:I, s:I}", "id", "j1", "created_ms", (json_int_t)1700000000000,
                          "expires_ms", (json_int_t)0);
    bs__make_times_readable(o);
    assert_int_equal(strncmp(json_string_value(json_object_get(o, "created")), "2023-11-1", 9), 0);
    assert_int_equal(json_object_size(o), 2);
    json_decref(o);
}

static void sizes_are_readable(void **state)
{
    (void)state;
    char text[16];
    assert_string_equal(bs__human_bytes(512, text), "512 B");
    assert_string_equal(bs__human_bytes(1536, text), "1.5 KiB");
    assert_string_equal(bs__human_bytes(3.0 * 1024 * 1024 * 1024, text), "3.0 GiB");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_become_json_with_names_of_the_proto),
        cmocka_unit_test(numbers_that_json_lacks_become_null),
        cmocka_unit_test(names_that_are_not_utf8_can_be_printed),
        cmocka_unit_test(tables_line_up_and_hide_control_characters),
        cmocka_unit_test(long_texts_are_cut_between_characters),
        cmocka_unit_test(times_are_readable_and_never_is_left_out),
        cmocka_unit_test(sizes_are_readable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
