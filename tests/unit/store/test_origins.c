/* What versions learned from outlives them, as long as anything descends from them, and no longer. */
#include "fixture.h"

#include "server/store/origins.h"
#include "server/store/runs.h"

static bs_status describe(void *ctx, int64_t version, char **json, struct bs_err *err)
{
    (void)ctx, (void)version;
    *json = strdup("{}");
    return *json ? BS_OK : BS_FAIL(err, BS_ENOMEM, "no memory");
}

/* A run that makes the next version of a model, from a parent (0: none), with this file and this list of images. */
static void train(struct bs_store *s, const char *name, int parent, const char *blob, const char *manifest)
{
    struct bs_job_record j = new_job("ann", "", HASH_B), taken;
    char lineage[128] = "{\"how\":\"train\"}";
    bool existing;
    struct bs_err err;
    free(j.kind);
    free(j.input_blob);
    j.kind = strdup("train");
    j.input_blob = strdup(manifest);
    assert_int_equal(bs_store_run_add(s, &j, NULL, &existing, &err), BS_OK);
    assert_int_equal(bs_store_job_take_training(s, &taken, &err), BS_OK);
    if (parent)
        snprintf(lineage, sizeof lineage, "{\"parent\":{\"name\":\"%s\",\"version\":%d}}", name, parent);
    struct bs_model_record m = {.name = (char *)name,
                                .blob = (char *)blob,
                                .info_json = (char *)"{}",
                                .owner = (char *)"ann",
                                .lineage_json = lineage,
                                .bytes = 7};
    assert_int_equal(bs_store_run_succeed(s, &taken, &m, describe, NULL, &err), BS_OK);
    assert_int_equal(bs_store_job_delete(s, j.id, &err), BS_OK);
    bs_job_record_free(&j);
    bs_job_record_free(&taken);
}

static bool used(struct bs_store *s, const char *blob)
{
    bool is = false;
    struct bs_err err;
    assert_int_equal(bs_store_blob_in_use(s, blob, &is, &err), BS_OK);
    return is;
}

static void the_list_of_images_outlives_job_and_version(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_origin_record o;
    struct bs_err err;
    train(s, "nuclei", 0, HASH_A, HASH_B);
    train(s, "nuclei", 1, HASH_C, HASH_C);
    assert_true(used(s, HASH_B));
    assert_int_equal(bs_store_model_delete(s, "nuclei", 1, &err), BS_OK);
    assert_false(used(s, HASH_A)); /* the weights go, */
    assert_true(used(s, HASH_B));  /* what they saw stays, for version 2 */
    assert_int_equal(bs_store_origin_get(s, "nuclei", 2, NULL, &o, &err), BS_OK);
    assert_string_equal(o.parent, "nuclei");
    assert_int_equal(o.parent_version, 1);
    bs_origin_record_free(&o);
    assert_int_equal(bs_store_origin_get(s, "nuclei", 1, NULL, &o, &err), BS_OK);
    assert_string_equal(o.manifest_blob, HASH_B);
    assert_null(o.parent);
    bs_origin_record_free(&o);
    assert_int_equal(bs_store_model_delete(s, "nuclei", 2, &err), BS_OK);
    assert_false(used(s, HASH_B));
    assert_int_equal(bs_store_origin_get(s, "nuclei", 1, NULL, &o, &err), BS_ENOTFOUND);
    bs_store_close(s);
}

static void a_file_that_was_made_here_is_known_under_any_name(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_origin_record o;
    struct bs_err err;
    train(s, "nuclei", 0, HASH_A, HASH_B);
    struct bs_model_record again = {.name = (char *)"other",
                                    .blob = (char *)HASH_A,
                                    .info_json = (char *)"{}",
                                    .owner = (char *)"ben",
                                    .bytes = 7};
    assert_int_equal(bs_store_model_add(s, &again, &err), BS_OK);
    assert_int_equal(bs_store_model_delete(s, "nuclei", 1, &err), BS_OK);
    assert_int_equal(bs_store_origin_get(s, "other", 1, HASH_A, &o, &err), BS_OK);
    assert_string_equal(o.name, "nuclei");
    assert_string_equal(o.manifest_blob, HASH_B);
    bs_origin_record_free(&o);
    assert_int_equal(bs_store_origin_get(s, "other", 1, HASH_C, &o, &err), BS_ENOTFOUND);
    bs_store_close(s);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, make_directory, remove_directory)
    const struct CMUnitTest tests[] = {
        T(the_list_of_images_outlives_job_and_version),
        T(a_file_that_was_made_here_is_known_under_any_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
