/* Promotion: who may move a name, where rolling back goes, and that a version which is in use by name stays. */
#include "fixture.h"

#include "server/store/aliases.h"

static void add(struct bs_store *s, const char *name, const char *owner, int64_t expires_ms)
{
    struct bs_err err;
    struct bs_model_record m = {.name = (char *)name,
                                .blob = (char *)HASH_A,
                                .info_json = (char *)"{}",
                                .owner = (char *)owner,
                                .expires_ms = expires_ms,
                                .bytes = 7};
    assert_int_equal(bs_store_model_add(s, &m, &err), BS_OK);
}

static const struct bs_alias_wish ann = {.name = "nuclei", .alias = BS_ALIAS_PROMOTED, .who = "ann"};
static const struct bs_alias_wish ben = {.name = "nuclei", .alias = BS_ALIAS_PROMOTED, .who = "ben"};
static const struct bs_alias_wish root = {
    .name = "nuclei", .alias = BS_ALIAS_PROMOTED, .who = "root", .admin = true, .reason = "as agreed"};

static bs_status promote(struct bs_store *s, const struct bs_alias_wish *w, int64_t version)
{
    struct bs_alias_move_record move;
    struct bs_err err;
    bs_status rc = bs_store_alias_set(s, w, version, &move, &err);
    bs_alias_move_record_free(&move);
    return rc;
}

static bs_status roll_back(struct bs_store *s, const struct bs_alias_wish *w)
{
    struct bs_alias_move_record move;
    struct bs_err err;
    bs_status rc = bs_store_alias_roll_back(s, w, &move, &err);
    bs_alias_move_record_free(&move);
    return rc;
}

/* The version that a name without version means. */
static int64_t meant(struct bs_store *s, const char *alias)
{
    struct bs_model_record m;
    struct bs_err err;
    bs_status rc = bs_store_model_by_alias(s, "nuclei", alias, &m, &err);
    int64_t version = rc == BS_OK ? m.version : -1;
    bs_model_record_free(&m);
    return version;
}

static void the_newest_is_meant_until_one_is_promoted(void **state)
{
    struct bs_store *s = open_store(*state);
    add(s, "nuclei", "ann", 0);
    add(s, "nuclei", "ann", 0);
    assert_int_equal(meant(s, NULL), 2);
    assert_int_equal(meant(s, BS_ALIAS_PROMOTED), -1);
    assert_int_equal(promote(s, &ann, 1), BS_OK);
    assert_int_equal(meant(s, NULL), 1);
    assert_int_equal(meant(s, BS_ALIAS_PROMOTED), 1);
    add(s, "nuclei", "ann", 0);
    assert_int_equal(meant(s, NULL), 1);
    assert_int_equal(meant(s, BS_ALIAS_NEWEST), 3);
    assert_int_equal(promote(s, &ann, 9), BS_ENOTFOUND);
    bs_store_close(s);
    s = open_store(*state); /* and it is on the disk */
    assert_int_equal(meant(s, NULL), 1);
    bs_store_close(s);
}

static void rolling_back_goes_through_the_moves_like_undo(void **state)
{
    struct bs_store *s = open_store(*state);
    for (int i = 0; i < 4; i++)
        add(s, "nuclei", "ann", 0);
    assert_int_equal(roll_back(s, &ann), BS_EPRECONDITION);
    assert_int_equal(promote(s, &ann, 1), BS_OK);
    assert_int_equal(roll_back(s, &ann), BS_EPRECONDITION); /* there was none before */
    assert_int_equal(meant(s, NULL), 1);
    assert_int_equal(promote(s, &ann, 2), BS_OK);
    assert_int_equal(promote(s, &ann, 3), BS_OK);
    assert_int_equal(roll_back(s, &ann), BS_OK);
    assert_int_equal(meant(s, NULL), 2);
    assert_int_equal(roll_back(s, &ann), BS_OK);
    assert_int_equal(meant(s, NULL), 1);
    assert_int_equal(roll_back(s, &ann), BS_EPRECONDITION);
    /* A move after rolling back goes back to what it left, not into what was undone. */
    assert_int_equal(promote(s, &ann, 4), BS_OK);
    assert_int_equal(roll_back(s, &ann), BS_OK);
    assert_int_equal(meant(s, NULL), 1);
    bs_store_close(s);
}

static void every_move_is_remembered_with_who_and_why(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_alias_move_record *rows, move;
    struct bs_err err;
    int n;
    add(s, "nuclei", "ann", 0);
    add(s, "nuclei", "ann", 0);
    assert_int_equal(promote(s, &ann, 1), BS_OK);
    assert_int_equal(promote(s, &ann, 1), BS_OK); /* nothing moves, nothing is noted */
    assert_int_equal(promote(s, &root, 2), BS_OK);
    assert_int_equal(bs_store_alias_delete(s, &root, &move, &err), BS_OK);
    bs_alias_move_record_free(&move);
    assert_int_equal(bs_store_alias_moves(s, "nuclei", NULL, 0, 10, &rows, &n, &err), BS_OK);
    assert_int_equal(n, 3);
    assert_int_equal(rows[0].kind, BS_ALIAS_DELETED);
    assert_int_equal(rows[0].from_version, 2);
    assert_int_equal(rows[0].to_version, 0);
    assert_int_equal(rows[1].kind, BS_ALIAS_SET);
    assert_int_equal(rows[1].from_version, 1);
    assert_string_equal(rows[1].who, "root");
    assert_string_equal(rows[1].reason, "as agreed");
    assert_int_equal(rows[2].from_version, 0);
    assert_string_equal(rows[2].who, "ann");
    assert_true(rows[2].moved_ms > 0);
    const int64_t second = rows[1].number;
    for (int i = 0; i < n; i++)
        bs_alias_move_record_free(&rows[i]);
    free(rows);
    assert_int_equal(bs_store_alias_moves(s, "nuclei", BS_ALIAS_PROMOTED, second, 10, &rows, &n, &err),
                     BS_OK);
    assert_int_equal(n, 1);
    bs_alias_move_record_free(&rows[0]);
    free(rows);
    assert_int_equal(meant(s, NULL), 2);
    bs_store_close(s);
}

static void others_versions_and_others_moves_are_left_alone(void **state)
{
    struct bs_store *s = open_store(*state);
    add(s, "nuclei", "ann", 0);
    add(s, "nuclei", "ben", 0);
    assert_int_equal(promote(s, &ben, 1), BS_EPERMISSION); /* not his */
    assert_int_equal(promote(s, &ann, 1), BS_OK);
    assert_int_equal(promote(s, &ben, 2), BS_EPERMISSION); /* his, but hers is promoted */
    assert_int_equal(meant(s, NULL), 1);
    assert_int_equal(promote(s, &root, 2), BS_OK);
    assert_int_equal(roll_back(s, &ann), BS_EPERMISSION);
    assert_int_equal(roll_back(s, &ben), BS_OK);  /* away from his own */
    assert_int_equal(promote(s, &ben, 2), BS_OK); /* he moved it last */
    assert_int_equal(roll_back(s, &root), BS_OK);
    assert_int_equal(meant(s, NULL), 1);
    bs_store_close(s);
}

static void a_named_version_stays(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_alias_move_record move;
    struct bs_err err;
    int count;
    add(s, "nuclei", "ann", 1000);
    add(s, "nuclei", "ann", 0);
    assert_int_equal(promote(s, &ann, 1), BS_OK);
    assert_int_equal(bs_store_model_delete(s, "nuclei", 1, &err), BS_EPRECONDITION);
    assert_non_null(strstr(err.msg, "production"));
    assert_int_equal(bs_store_model_expire(s, 2000, &count, &err), BS_OK);
    assert_int_equal(count, 0);
    assert_int_equal(promote(s, &ann, 2), BS_OK);
    assert_int_equal(bs_store_model_expire(s, 2000, &count, &err), BS_OK);
    assert_int_equal(count, 1);
    assert_int_equal(bs_store_alias_roll_back(s, &ann, &move, &err), BS_EPRECONDITION);
    assert_non_null(strstr(err.msg, "deleted"));
    assert_int_equal(meant(s, NULL), 2);
    bs_store_close(s);
}

static void names_that_mean_something_else_are_refused(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_alias_wish w = ann;
    static const char *const bad[] = {"", "12", BS_ALIAS_NEWEST, "../x", "a b"};
    add(s, "nuclei", "ann", 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        w.alias = bad[i];
        assert_int_equal(promote(s, &w, 1), BS_EINVAL);
    }
    w.alias = "confocal";
    assert_int_equal(promote(s, &w, 1), BS_OK);
    char **names, alias[16];
    struct bs_err err;
    int n;
    assert_int_equal(bs_store_aliases_of(s, "nuclei", 1, &names, &n, &err), BS_OK);
    assert_int_equal(n, 1);
    assert_string_equal(names[0], "confocal");
    free(names[0]);
    free(names);
    for (int i = 1; i < BS_ALIASES_MAX; i++) {
        snprintf(alias, sizeof alias, "a%d", i);
        w.alias = alias;
        assert_int_equal(promote(s, &w, 1), BS_OK);
    }
    w.alias = "one-too-many";
    assert_int_equal(promote(s, &w, 1), BS_ELIMIT);
    bs_store_close(s);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, make_directory, remove_directory)
    const struct CMUnitTest tests[] = {
        T(the_newest_is_meant_until_one_is_promoted),
        T(rolling_back_goes_through_the_moves_like_undo),
        T(every_move_is_remembered_with_who_and_why),
        T(others_versions_and_others_moves_are_left_alone),
        T(a_named_version_stays),
        T(names_that_mean_something_else_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
