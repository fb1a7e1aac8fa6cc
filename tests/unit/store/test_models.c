/* The registry's promises: names, versions that never come back, pages. */
#include "fixture.h"

static bs_status add_model(struct bs_store *s, const char *name, const char *blob, int64_t *version)
{
    struct bs_err err;
    struct bs_model_record m = {.name = (char *)name,
                                .blob = (char *)blob,
                                .info_json = (char *)"{}",
                                .owner = (char *)"ann",
                                .bytes = 7};
    bs_status rc = bs_store_model_add(s, &m, &err);
    *version = m.version;
    return rc;
}

static void versions_count_up_and_never_come_back(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_err err;
    int64_t v;
    assert_int_equal(add_model(s, "nuclei", HASH_A, &v), BS_OK);
    assert_int_equal(v, 1);
    assert_int_equal(add_model(s, "nuclei", HASH_B, &v), BS_OK);
    assert_int_equal(v, 2);
    assert_int_equal(bs_store_model_delete(s, "nuclei", 2, &err), BS_OK);
    assert_int_equal(add_model(s, "nuclei", HASH_C, &v), BS_OK);
    assert_int_equal(v, 3);
    struct bs_model_record m;
    assert_int_equal(bs_store_model_get(s, "nuclei", 0, &m, &err), BS_OK);
    assert_int_equal(m.version, 3);
    assert_string_equal(m.blob, HASH_C);
    bs_model_record_free(&m);
    assert_int_equal(bs_store_model_get(s, "nuclei", 2, &m, &err), BS_ENOTFOUND);
    assert_int_equal(bs_store_model_get(s, "cells", 0, &m, &err), BS_ENOTFOUND);
    assert_int_equal(bs_store_model_delete(s, "nuclei", 2, &err), BS_ENOTFOUND);
    bs_store_close(s);
}

static void names_that_could_be_paths_are_refused(void **state)
{
    struct bs_store *s = open_store(*state);
    int64_t v;
    static const char *const bad[] = {
        "",    ".",        "..",  "../x",
        "a/b", "-a",       "_a",  " a",
        "a b", "\xc3\xa4", "a\n", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(add_model(s, bad[i], HASH_A, &v), BS_EINVAL);
    assert_int_equal(add_model(s, "Unet-2.nuclei_v1", HASH_A, &v), BS_OK);
    assert_int_equal(add_model(s, "ok", "short", &v), BS_EINVAL);
    bs_store_close(s);
}

static void pages_go_by_name_and_version(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_err err;
    int64_t v;
    char name[16], after[128] = "";
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < 3; k++) {
            snprintf(name, sizeof name, "m%d", i);
            assert_int_equal(add_model(s, name, HASH_A, &v), BS_OK);
        }
    int seen = 0;
    for (;;) {
        struct bs_model_record *rows;
        int n;
        assert_int_equal(
            bs_store_model_list(s, &(struct bs_model_filter){0}, *after ? after : NULL, 4, &rows, &n, &err),
            BS_OK);
        for (int i = 0; i < n; i++, seen++) {
            snprintf(name, sizeof name, "m%d", seen / 3);
            assert_string_equal(rows[i].name, name);
            assert_int_equal(rows[i].version, seen % 3 + 1);
            snprintf(after, sizeof after, "%s:%lld", rows[i].name, (long long)rows[i].version);
            bs_model_record_free(&rows[i]);
        }
        free(rows);
        if (n == 0)
            break;
    }
    assert_int_equal(seen, 15);
    struct bs_model_record *rows;
    int n;
    assert_int_equal(bs_store_model_list(s, &(struct bs_model_filter){0}, "m1", 4, &rows, &n, &err),
                     BS_EINVAL);
    assert_int_equal(bs_store_model_list(s, &(struct bs_model_filter){0}, "m1:x", 4, &rows, &n, &err),
                     BS_EINVAL);
    bs_store_close(s);
}

static void a_models_blob_is_in_use_until_its_record_goes(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_err err;
    int64_t v;
    bool used;
    assert_int_equal(add_model(s, "nuclei", HASH_A, &v), BS_OK);
    assert_int_equal(bs_store_blob_in_use(s, HASH_A, &used, &err), BS_OK);
    assert_true(used);
    assert_int_equal(bs_store_model_delete(s, "nuclei", 1, &err), BS_OK);
    assert_int_equal(bs_store_blob_in_use(s, HASH_A, &used, &err), BS_OK);
    assert_false(used);
    bs_store_close(s);
}

/* Adds a model with description, labels and expiry. */
static void add_marked(struct bs_store *s, const char *name, const char *info, const char *labels,
                       int64_t expires_ms)
{
    struct bs_err err;
    struct bs_model_record m = {.name = (char *)name,
                                .blob = (char *)HASH_A,
                                .info_json = (char *)info,
                                .owner = (char *)"ann",
                                .labels = (char *)labels,
                                .expires_ms = expires_ms,
                                .bytes = 7};
    assert_int_equal(bs_store_model_add(s, &m, &err), BS_OK);
}

/* Names of the list under this filter, in one string. */
static void lists(struct bs_store *s, struct bs_model_filter filter, const char *names)
{
    struct bs_model_record *rows;
    struct bs_err err;
    char got[200] = "";
    int n;
    assert_int_equal(bs_store_model_list(s, &filter, NULL, 100, &rows, &n, &err), BS_OK);
    for (int i = 0; i < n; i++) {
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s ", rows[i].name);
        bs_model_record_free(&rows[i]);
    }
    free(rows);
    assert_string_equal(got, names);
}

static void untrained_models_are_listed_only_when_asked_for(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_err err;
    struct bs_model_record m;
    add_marked(s, "good", "{\"trained\":true}", NULL, 0);
    add_marked(s, "old", "{}", NULL, 0);
    add_marked(s, "random", "{\"trained\":false}", "{\"for\":\"tests\"}", 0);
    lists(s, (struct bs_model_filter){0}, "good old ");
    lists(s, (struct bs_model_filter){.untrained = true}, "good old random ");
    lists(s, (struct bs_model_filter){.untrained = true, .labels = "{\"for\":\"tests\"}"}, "random ");
    lists(s, (struct bs_model_filter){.labels = "{\"for\":\"tests\"}"}, "");
    /* By its name it is always there. */
    assert_int_equal(bs_store_model_get(s, "random", 0, &m, &err), BS_OK);
    assert_string_equal(m.labels, "{\"for\":\"tests\"}");
    bs_model_record_free(&m);
    bs_store_close(s);
}

static void a_model_goes_at_its_time_but_not_under_a_job(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_err err;
    bool existing;
    int count;
    add_marked(s, "brief", "{}", NULL, 1000);
    add_marked(s, "needed", "{}", NULL, 1000);
    add_marked(s, "stays", "{}", NULL, 0);
    struct bs_job_record j = new_job("ann", "", HASH_B);
    free(j.request);
    j.request = strdup("{\"model\":\"needed\",\"model_version\":1}");
    assert_int_equal(bs_store_job_add(s, &j, &existing, &err), BS_OK);
    assert_int_equal(bs_store_model_expire(s, 999, &count, &err), BS_OK);
    assert_int_equal(count, 0);
    assert_int_equal(bs_store_model_expire(s, 1000, &count, &err), BS_OK);
    assert_int_equal(count, 1);
    lists(s, (struct bs_model_filter){0}, "needed stays ");
    assert_int_equal(bs_store_model_delete(s, "needed", 1, &err), BS_EPRECONDITION);
    assert_non_null(strstr(err.msg, "needed"));
    assert_int_equal(bs_store_job_cancel(s, j.id, &err), BS_OK);
    assert_int_equal(bs_store_model_expire(s, 1000, &count, &err), BS_OK);
    assert_int_equal(count, 1);
    lists(s, (struct bs_model_filter){0}, "stays ");
    bs_job_record_free(&j);
    bs_store_close(s);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, make_directory, remove_directory)
    const struct CMUnitTest tests[] = {
        T(versions_count_up_and_never_come_back),
        T(names_that_could_be_paths_are_refused),
        T(pages_go_by_name_and_version),
        T(a_models_blob_is_in_use_until_its_record_goes),
        T(untrained_models_are_listed_only_when_asked_for),
        T(a_model_goes_at_its_time_but_not_under_a_job),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
