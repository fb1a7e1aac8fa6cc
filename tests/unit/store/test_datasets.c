/* Datasets in the store: their owner's alone, splits that stay honest, files that stay while a pair names them. */
#include "fixture.h"
#include "server/store/datasets.h"

#define HASH_D "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"

static int64_t add_dataset(struct bs_store *s, const char *owner, const char *name, int64_t expires_ms)
{
    struct bs_dataset_record d = {.owner = (char *)owner, .name = (char *)name, .expires_ms = expires_ms};
    struct bs_err err = {.msg = ""};
    if (bs_store_dataset_add(s, &d, &err) != BS_OK)
        fail_msg("no dataset: %s", err.msg);
    return d.number;
}

struct adding {
    const char *owner, *dataset, *name, *group, *image, *labels;
    enum bs_split split;
    bool held, across;
};

static bs_status add_pair(struct bs_store *s, const struct adding *a, char id[40], bool *existing,
                          struct bs_err *err)
{
    struct bs_pair_record p = {.split = a->split,
                               .name = strdup(a->name),
                               .group = strdup(a->group ? a->group : ""),
                               .image_blob = strdup(a->image),
                               .labels_blob = strdup(a->labels),
                               .image_bytes = 10,
                               .labels_bytes = 1,
                               .info_json = strdup("{}")};
    const struct bs_pair_addition how = {.owner = a->owner,
                                         .dataset = a->dataset,
                                         .image_held = a->held,
                                         .labels_held = a->held,
                                         .group_across_splits = a->across};
    bs_status rc = bs_store_pair_add(s, &how, &p, existing, err);
    if (rc == BS_OK && id)
        snprintf(id, 40, "%s", p.id);
    bs_pair_record_free(&p);
    return rc;
}

static void a_dataset_and_its_files_are_their_owners_alone(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_dataset_record d;
    struct bs_err err;
    uint64_t bytes;
    bool existing;
    int n;
    int64_t anns = add_dataset(s, "ann", "cells", 0);
    assert_int_equal(bs_store_dataset_get(s, "bob", "cells", &d, &err), BS_ENOTFOUND);
    assert_int_not_equal(anns, add_dataset(s, "bob", "cells", 0)); /* names are an owner's own */
    struct adding a = {"ann", "cells", "1", "", HASH_A, HASH_B, BS_SPLIT_TRAIN, false, false};
    assert_int_equal(add_pair(s, &a, NULL, &existing, &err), BS_OK);
    assert_int_equal(bs_store_file_of_owner(s, "ann", HASH_A, &bytes, &err), BS_OK);
    assert_int_equal(bytes, 10);
    assert_int_equal(bs_store_file_of_owner(s, "bob", HASH_A, &bytes, &err), BS_ENOTFOUND);
    assert_int_equal(bs_store_file_of_owner(s, "ann", "x", &bytes, &err), BS_EINVAL);
    struct adding b = a;
    b.owner = "bob";
    b.held = true; /* knowing a hash is not having the file */
    assert_int_equal(add_pair(s, &b, NULL, &existing, &err), BS_ENOTFOUND);
    assert_int_equal(bs_store_dataset_get(s, "bob", "cells", &d, &err), BS_OK);
    assert_int_equal(d.pairs[BS_SPLIT_TRAIN], 0);
    bs_dataset_record_free(&d);
    struct bs_dataset_record *rows;
    assert_int_equal(
        bs_store_dataset_list(s, &(struct bs_dataset_filter){.owner = "eve"}, NULL, 10, &rows, &n, &err),
        BS_OK);
    assert_int_equal(n, 0);
    free(rows);
    assert_int_equal(bs_store_dataset_delete(s, "bob", "cells", &err), BS_OK);
    assert_int_equal(bs_store_dataset_get(s, "ann", "cells", &d, &err), BS_OK);
    assert_int_equal(d.pairs[BS_SPLIT_TRAIN], 1);
    assert_int_equal(d.bytes, 11);
    bs_dataset_record_free(&d);
    bs_store_close(s);
}

static void an_image_or_a_group_stands_in_one_split(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_err err;
    char **groups, id[40], again[40];
    bool existing;
    int n;
    int64_t number = add_dataset(s, "ann", "cells", 0);
    struct adding a = {"ann", "cells", "1", "g", HASH_A, HASH_B, BS_SPLIT_TRAIN, false, false};
    assert_int_equal(add_pair(s, &a, id, &existing, &err), BS_OK);
    assert_false(existing);
    assert_int_equal(add_pair(s, &a, again, &existing, &err), BS_OK);
    assert_true(existing);
    assert_string_equal(id, again);
    struct adding same_image = {"ann", "cells", "2", "", HASH_A, HASH_B, BS_SPLIT_TEST, false, true};
    assert_int_equal(add_pair(s, &same_image, NULL, &existing, &err), BS_EPRECONDITION);
    same_image.split = BS_SPLIT_TRAIN;
    assert_int_equal(add_pair(s, &same_image, NULL, &existing, &err), BS_OK);
    struct adding same_group = {"ann", "cells", "3", "g", HASH_C, HASH_B, BS_SPLIT_VALIDATION, false, false};
    assert_int_equal(add_pair(s, &same_group, NULL, &existing, &err), BS_EPRECONDITION);
    same_group.across = true;
    assert_int_equal(add_pair(s, &same_group, NULL, &existing, &err), BS_OK);
    assert_int_equal(bs_store_dataset_shared_groups(s, number, &groups, &n, &err), BS_OK);
    assert_int_equal(n, 1);
    assert_string_equal(groups[0], "g");
    free(groups[0]);
    free(groups);
    struct adding same_name = {"ann", "cells", "1", "g", HASH_D, HASH_B, BS_SPLIT_TRAIN, false, false};
    assert_int_equal(add_pair(s, &same_name, NULL, &existing, &err), BS_EEXIST);
    bs_store_close(s);
}

static void files_stay_while_a_pair_names_them(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_err err;
    struct bs_pair_record *rows;
    char id[40];
    bool existing, used;
    int n;
    int64_t number = add_dataset(s, "ann", "cells", 0);
    struct adding a = {"ann", "cells", "1", "", HASH_A, HASH_B, BS_SPLIT_TRAIN, false, false};
    assert_int_equal(add_pair(s, &a, id, &existing, &err), BS_OK);
    assert_int_equal(bs_store_blob_in_use(s, HASH_A, &used, &err), BS_OK);
    assert_true(used);
    assert_int_equal(bs_store_blob_in_use(s, HASH_B, &used, &err), BS_OK);
    assert_true(used);
    assert_int_equal(bs_store_pair_delete(s, "ann", "cells", "nonsense", &err), BS_ENOTFOUND);
    assert_int_equal(bs_store_pair_delete(s, "ann", "cells", id, &err), BS_OK);
    assert_int_equal(bs_store_blob_in_use(s, HASH_A, &used, &err), BS_OK);
    assert_false(used);
    assert_int_equal(add_pair(s, &a, id, &existing, &err), BS_OK);
    assert_int_equal(bs_store_dataset_delete(s, "ann", "cells", &err), BS_OK);
    assert_int_equal(bs_store_blob_in_use(s, HASH_B, &used, &err), BS_OK);
    assert_false(used);
    assert_int_equal(bs_store_pair_list(s, number, -1, NULL, 10, &rows, &n, &err), BS_OK);
    assert_int_equal(n, 0);
    free(rows);
    assert_true(add_dataset(s, "ann", "cells", 0) > number); /* a number never comes back */
    bs_store_close(s);
}

static void a_pair_keeps_its_prediction_and_where_its_labels_count(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_err err = {.msg = ""};
    struct bs_pair_record p = {.name = NULL}, got;
    struct bs_dataset_record d;
    const struct bs_pair_addition how = {.owner = "ann", .dataset = "cells"};
    static const char first[] = "{\"ignore_label\":255}";
    bool existing, used;
    char id[40];
    int64_t number = add_dataset(s, "ann", "cells", 0);
    for (int again = 0; again < 4; again++) { /* the same; another prediction; another annotation */
        p = (struct bs_pair_record){.name = strdup("1"),
                                    .group = strdup(""),
                                    .image_blob = strdup(HASH_A),
                                    .labels_blob = strdup(HASH_B),
                                    .prediction_blob = strdup(again == 2 ? HASH_D : HASH_C),
                                    .prediction_bytes = 5,
                                    .annotation = strdup(again == 3 ? "{}" : first),
                                    .info_json = strdup("{}")};
        assert_int_equal(bs_store_pair_add(s, &how, &p, &existing, &err), again < 2 ? BS_OK : BS_EEXIST);
        if (again >= 2)
            assert_non_null(strstr(err.msg, again == 2 ? "another prediction" : "another annotation"));
        else
            assert_int_equal(existing, again);
        if (again == 0)
            memcpy(id, p.id, sizeof id);
        bs_pair_record_free(&p);
    }
    assert_int_equal(bs_store_pair_get(s, "ann", "cells", id, &got, &err), BS_OK);
    assert_string_equal(got.annotation, first);
    assert_string_equal(got.prediction_blob, HASH_C);
    bs_pair_record_free(&got);
    assert_int_equal(bs_store_dataset_get(s, "ann", "cells", &d, &err), BS_OK);
    assert_int_equal(d.bytes, 5);
    bs_dataset_record_free(&d);
    uint64_t bytes;
    assert_int_equal(bs_store_file_of_owner(s, "ann", HASH_C, &bytes, &err), BS_OK);
    assert_int_equal(bytes, 5);
    assert_int_equal(bs_store_blob_in_use(s, HASH_C, &used, &err), BS_OK);
    assert_true(used);
    assert_int_equal(bs_store_pair_annotate(s, "bob", "cells", id, "{}", "{}", &err), BS_ENOTFOUND);
    assert_int_equal(bs_store_pair_annotate(s, "ann", "cells", "x", "{}", "{}", &err), BS_ENOTFOUND);
    assert_int_equal(bs_store_pair_annotate(s, "ann", "cells", id, "{\"done\":true}", "{\"a\":1}", &err),
                     BS_OK);
    assert_int_equal(bs_store_pair_get(s, "ann", "cells", id, &got, &err), BS_OK);
    assert_string_equal(got.annotation, "{\"done\":true}");
    assert_string_equal(got.info_json, "{\"a\":1}");
    bs_pair_record_free(&got);
    assert_int_equal(bs_store_pair_get(s, "bob", "cells", id, &got, &err), BS_ENOTFOUND);
    assert_int_equal(bs_store_pair_delete(s, "ann", "cells", id, &err), BS_OK);
    assert_int_equal(bs_store_blob_in_use(s, HASH_C, &used, &err), BS_OK);
    assert_false(used);
    assert_true(number > 0);
    bs_store_close(s);
}

static void a_dataset_stays_as_it_is_while_a_job_needs_it(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_err err = {.msg = ""};
    char id[40], request[80];
    bool existing;
    int n;
    int64_t number = add_dataset(s, "ann", "cells", 1);
    struct adding a = {"ann", "cells", "1", "", HASH_A, HASH_B, BS_SPLIT_TRAIN, false, false};
    assert_int_equal(add_pair(s, &a, id, &existing, &err), BS_OK);
    struct bs_job_record j = new_job("ann", "", HASH_C);
    free(j.request);
    snprintf(request, sizeof request, "{\"dataset_number\":%lld}", (long long)number);
    j.request = strdup(request);
    assert_int_equal(bs_store_job_add(s, &j, &existing, &err), BS_OK);
    assert_int_equal(bs_store_pair_delete(s, "ann", "cells", id, &err), BS_EPRECONDITION);
    assert_int_equal(bs_store_dataset_delete(s, "ann", "cells", &err), BS_EPRECONDITION);
    assert_non_null(strstr(err.msg, j.id));
    assert_int_equal(bs_store_dataset_expire(s, 2, &n, &err), BS_OK);
    assert_int_equal(n, 0);
    assert_int_equal(bs_store_job_cancel(s, j.id, &err), BS_OK);
    bs_job_record_free(&j);
    assert_int_equal(bs_store_dataset_expire(s, 2, &n, &err), BS_OK);
    assert_int_equal(n, 1);
    bs_store_close(s);
}

int main(void)
{
#define IN_A_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)
    const struct CMUnitTest tests[] = {
        IN_A_FOLDER(a_dataset_and_its_files_are_their_owners_alone),
        IN_A_FOLDER(an_image_or_a_group_stands_in_one_split),
        IN_A_FOLDER(files_stay_while_a_pair_names_them),
        IN_A_FOLDER(a_pair_keeps_its_prediction_and_where_its_labels_count),
        IN_A_FOLDER(a_dataset_stays_as_it_is_while_a_job_needs_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
