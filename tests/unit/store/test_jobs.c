/* The queue's promises: who gets a job once, which transitions there are, what survives a restart. */
#include "fixture.h"
#include "server/store/runs.h"

#include <sqlite3.h>

static void same_key_and_payload_gives_the_first_job_again(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_err err;
    struct bs_job_record first = new_job("ann", "k1", HASH_B), again = new_job("ann", "k1", HASH_B);
    bool existing;
    assert_int_equal(bs_store_job_add(s, &first, &existing, &err), BS_OK);
    assert_false(existing);
    assert_int_equal(bs_store_job_add(s, &again, &existing, &err), BS_OK);
    assert_true(existing);
    assert_string_equal(first.id, again.id);
    bs_job_record_free(&first);
    bs_job_record_free(&again);
    bs_store_close(s);
}

static void same_key_with_another_payload_is_refused(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_err err;
    struct bs_job_record first = new_job("ann", "k1", HASH_B), other = new_job("ann", "k1", HASH_C);
    bool existing;
    assert_int_equal(bs_store_job_add(s, &first, &existing, &err), BS_OK);
    assert_int_equal(bs_store_job_add(s, &other, &existing, &err), BS_EEXIST);
    assert_non_null(strstr(err.msg, "k1"));
    bs_job_record_free(&first);
    bs_job_record_free(&other);
    bs_store_close(s);
}

static void a_key_belongs_to_its_owner_alone(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_err err;
    struct bs_job_record ann = new_job("ann", "k1", HASH_B), bob = new_job("bob", "k1", HASH_C);
    bool existing;
    assert_int_equal(bs_store_job_add(s, &ann, &existing, &err), BS_OK);
    assert_int_equal(bs_store_job_add(s, &bob, &existing, &err), BS_OK);
    assert_false(existing);
    assert_string_not_equal(ann.id, bob.id);
    bs_job_record_free(&ann);
    bs_job_record_free(&bob);
    bs_store_close(s);
}

static void a_job_without_hash_or_owner_is_refused(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_err err;
    bool existing;
    struct bs_job_record j = new_job("", "", HASH_B);
    assert_int_equal(bs_store_job_add(s, &j, &existing, &err), BS_EINVAL);
    bs_job_record_free(&j);
    j = new_job("ann", "", "../../etc/passwd");
    assert_int_equal(bs_store_job_add(s, &j, &existing, &err), BS_EINVAL);
    bs_job_record_free(&j);
    bs_store_close(s);
}

static void paused_run(struct bs_store *s, char *id)
{
    struct bs_job_record j = new_job("ann", "", HASH_B);
    struct bs_err err;
    bool existing;
    free(j.kind);
    j.kind = strdup("train");
    assert_int_equal(bs_store_run_add(s, &j, NULL, &existing, &err), BS_OK);
    strcpy(id, j.id);
    bs_job_record_free(&j);
    assert_int_equal(bs_store_run_pause(s, id, 0, "asked for", &err), BS_OK);
}

/* Brings a new job to a state. */
static void job_in_state(struct bs_store *s, enum bs_job_state wanted, char *id)
{
    struct bs_err err;
    struct bs_job_record taken;
    if (wanted == BS_JOB_PAUSED) {
        paused_run(s, id);
        assert_int_equal(state_of(s, id), wanted);
        return;
    }
    add_job(s, "ann", id);
    if (wanted == BS_JOB_QUEUED)
        return;
    assert_int_equal(bs_store_job_take(s, &taken, &err), BS_OK);
    assert_string_equal(taken.id, id);
    bs_job_record_free(&taken);
    struct bs_job_record result = {.result_json = (char *)"{}", .labels_blob = (char *)HASH_C};
    strcpy(result.id, id);
    if (wanted == BS_JOB_SUCCEEDED)
        assert_int_equal(bs_store_job_succeed(s, &result, &err), BS_OK);
    else if (wanted == BS_JOB_FAILED)
        assert_int_equal(bs_store_job_fail(s, id, BS_ECORRUPT, "no image", &err), BS_OK);
    else if (wanted == BS_JOB_CANCELLED)
        assert_int_equal(bs_store_job_cancel(s, id, &err), BS_OK);
    assert_int_equal(state_of(s, id), wanted);
}

enum action { SUCCEED, FAIL, CANCEL, REQUEUE, PROGRESS, DELETE, ACTIONS };

static bs_status act(struct bs_store *s, enum action a, const char *id)
{
    struct bs_err err;
    struct bs_job_record result = {.result_json = (char *)"{}", .labels_blob = (char *)HASH_C};
    strcpy(result.id, id);
    switch (a) {
    case SUCCEED:
        return bs_store_job_succeed(s, &result, &err);
    case FAIL:
        return bs_store_job_fail(s, id, BS_EIO, "why", &err);
    case CANCEL:
        return bs_store_job_cancel(s, id, &err);
    case REQUEUE:
        return bs_store_job_requeue(s, id, false, &err);
    case PROGRESS:
        return bs_store_job_progress(s, id, 1, 2, &err);
    case DELETE:
        return bs_store_job_delete(s, id, &err);
    default:
        return BS_EINTERNAL;
    }
}

static void only_the_legal_transitions_are_made(void **state)
{
    /* [state][action] */
    static const bool legal[BS_JOB_STATES][ACTIONS] = {
        [BS_JOB_QUEUED] = {[FAIL] = true, [CANCEL] = true},
        [BS_JOB_RUNNING] =
            {[SUCCEED] = true, [FAIL] = true, [CANCEL] = true, [REQUEUE] = true, [PROGRESS] = true},
        [BS_JOB_SUCCEEDED] = {[DELETE] = true},
        [BS_JOB_FAILED] = {[DELETE] = true},
        [BS_JOB_CANCELLED] = {[DELETE] = true},
        [BS_JOB_PAUSED] = {[FAIL] = true, [CANCEL] = true},
    };
    struct bs_store *s = open_store(*state);
    for (int from = 0; from < BS_JOB_STATES; from++)
        for (int a = 0; a < ACTIONS; a++) {
            char id[40];
            struct bs_err err;
            job_in_state(s, (enum bs_job_state)from, id);
            bs_status rc = act(s, (enum action)a, id);
            if (rc != (legal[from][a] ? BS_OK : BS_EPRECONDITION))
                fail_msg("action %d in state %s: %s", a, bs_job_state_name((enum bs_job_state)from),
                         bs_status_name(rc));
            if (!legal[from][a])
                assert_int_equal(state_of(s, id), from);
            /* Leave no queued job behind that the next round would take. */
            if (bs_store_job_cancel(s, id, &err) == BS_OK)
                assert_int_equal(state_of(s, id), BS_JOB_CANCELLED);
        }
    for (int a = 0; a < ACTIONS; a++)
        assert_int_equal(act(s, (enum action)a, "no-such-job"), BS_ENOTFOUND);
    bs_store_close(s);
}

static void a_finished_job_carries_results_and_an_end(void **state)
{
    struct bs_store *s = open_store(*state);
    char id[40];
    job_in_state(s, BS_JOB_SUCCEEDED, id);
    struct bs_job_record j = get_job(s, id);
    assert_string_equal(j.result_json, "{}");
    assert_string_equal(j.labels_blob, HASH_C);
    assert_null(j.maps_blob);
    assert_true(j.finished_ms >= j.started_ms && j.started_ms >= j.created_ms);
    assert_int_equal(j.expires_ms, j.finished_ms + INT64_C(7) * 24 * 3600 * 1000);
    bs_job_record_free(&j);
    bs_store_close(s);
}

static void every_change_raises_the_revision(void **state)
{
    struct bs_store *s = open_store(*state);
    char id[40];
    struct bs_err err;
    job_in_state(s, BS_JOB_RUNNING, id);
    int64_t last = 0;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(bs_store_job_progress(s, id, i, 3, &err), BS_OK);
        struct bs_job_record j = get_job(s, id);
        assert_true(j.revision > last);
        last = j.revision;
        bs_job_record_free(&j);
    }
    bs_store_close(s);
}

static void second_worker_death_fails_the_job_with_that_reason(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_err err;
    struct bs_job_record j;
    char id[40];
    add_job(s, "ann", id);
    assert_int_equal(bs_store_job_take(s, &j, &err), BS_OK);
    bs_job_record_free(&j);
    assert_int_equal(bs_store_job_requeue(s, id, true, &err), BS_OK);
    assert_int_equal(state_of(s, id), BS_JOB_QUEUED);
    assert_int_equal(bs_store_job_take(s, &j, &err), BS_OK);
    assert_int_equal(j.attempts, 1);
    bs_job_record_free(&j);
    assert_int_equal(bs_store_job_requeue(s, id, true, &err), BS_OK);
    j = get_job(s, id);
    assert_int_equal(j.state, BS_JOB_FAILED);
    assert_int_equal(j.attempts, 2);
    assert_non_null(strstr(j.error, "died twice"));
    bs_job_record_free(&j);
    bs_store_close(s);
}

static void putting_back_on_shutdown_counts_no_attempt(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_err err;
    struct bs_job_record j;
    char id[40];
    add_job(s, "ann", id);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(bs_store_job_take(s, &j, &err), BS_OK);
        assert_int_equal(j.attempts, 0);
        bs_job_record_free(&j);
        assert_int_equal(bs_store_job_requeue(s, id, false, &err), BS_OK);
    }
    bs_store_close(s);
}

static void recovery_puts_running_jobs_back_and_counts(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_err err;
    struct bs_job_record j;
    char a[40], b[40];
    int count;
    add_job(s, "ann", a);
    add_job(s, "ann", b);
    for (int i = 1; i <= 5; i++) {
        assert_int_equal(bs_store_job_take(s, &j, &err), BS_OK);
        assert_string_equal(j.id, a);
        bs_job_record_free(&j);
        bs_store_close(s);
        s = open_store(*state);
        assert_int_equal(bs_store_job_recover(s, &count, &err), BS_OK);
        assert_int_equal(count, 1);
        j = get_job(s, a);
        assert_int_equal(j.attempts, i);
        assert_int_equal(j.state, i < 5 ? BS_JOB_QUEUED : BS_JOB_FAILED);
        bs_job_record_free(&j);
        assert_int_equal(state_of(s, b), BS_JOB_QUEUED);
    }
    bs_store_close(s);
}

static void jobs_are_taken_oldest_first_and_fair_between_owners(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_err err;
    char id[40];
    for (int i = 0; i < 4; i++)
        add_job(s, "ann", id);
    add_job(s, "bob", id);
    add_job(s, "cyd", id);
    const char *expected[] = {"ann", "bob", "cyd", "ann", "ann", "ann"};
    char last[40] = "";
    for (int i = 0; i < 6; i++) {
        struct bs_job_record j;
        assert_int_equal(bs_store_job_take(s, &j, &err), BS_OK);
        assert_string_equal(j.owner, expected[i]);
        if (strcmp(j.owner, "ann") == 0) {
            assert_true(strcmp(j.id, last) > 0);
            strcpy(last, j.id);
        }
        bs_job_record_free(&j);
    }
    struct bs_job_record none;
    assert_int_equal(bs_store_job_take(s, &none, &err), BS_ENOTFOUND);
    bs_store_close(s);
}

static void pages_hold_every_job_once_newest_first(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_err err;
    const struct bs_job_filter anns = {.owner = "ann", .state = -1}, queued = {.state = BS_JOB_QUEUED},
                               all = {.state = -1};
    char id[25][40], after[40] = "";
    for (int i = 0; i < 25; i++)
        add_job(s, i % 5 == 0 ? "bob" : "ann", id[i]);
    int seen = 0;
    for (;;) {
        struct bs_job_record *rows;
        int n;
        assert_int_equal(bs_store_job_list(s, &anns, *after ? after : NULL, 7, &rows, &n, &err), BS_OK);
        for (int i = 0; i < n; i++) {
            if (*after)
                assert_true(strcmp(rows[i].id, after) < 0);
            strcpy(after, rows[i].id);
            assert_string_equal(rows[i].owner, "ann");
            bs_job_record_free(&rows[i]);
        }
        free(rows);
        seen += n;
        if (n == 0)
            break;
        /* A page goes on where it ended even when that job is gone. */
        assert_int_equal(bs_store_job_cancel(s, after, &err), BS_OK);
        assert_int_equal(bs_store_job_delete(s, after, &err), BS_OK);
    }
    assert_int_equal(seen, 20);
    struct bs_job_record *rows;
    int n;
    assert_int_equal(bs_store_job_list(s, &queued, NULL, 1000, &rows, &n, &err), BS_OK);
    assert_int_equal(n, 25 - 3);
    for (int i = 0; i < n; i++)
        bs_job_record_free(&rows[i]);
    free(rows);
    assert_int_equal(bs_store_job_list(s, &all, NULL, 0, &rows, &n, &err), BS_EINVAL);
    /* The wire's largest page is 1000; the service asks for one more. */
    assert_int_equal(bs_store_job_list(s, &all, NULL, 1001, &rows, &n, &err), BS_OK);
    for (int i = 0; i < n; i++)
        bs_job_record_free(&rows[i]);
    free(rows);
    bs_store_close(s);
}

/* A job with labels, project and model; its place in `ids` is its number. */
static void add_marked(struct bs_store *s, const char *labels, const char *project, const char *request,
                       char *id)
{
    struct bs_job_record j = new_job("ann", "", HASH_B);
    struct bs_err err;
    bool existing;
    free(j.project);
    free(j.request);
    j.labels = labels ? strdup(labels) : NULL;
    j.project = strdup(project);
    j.request = strdup(request);
    assert_int_equal(bs_store_job_add(s, &j, &existing, &err), BS_OK);
    assert_string_equal(j.labels, labels ? labels : "{}");
    strcpy(id, j.id);
    bs_job_record_free(&j);
}

/* The list under this filter is exactly these ids (NULL at the end), newest first. */
static void lists(struct bs_store *s, struct bs_job_filter filter, const char *const *ids)
{
    struct bs_job_record *rows;
    struct bs_err err;
    int n, i = 0;
    assert_int_equal(bs_store_job_list(s, &filter, NULL, 100, &rows, &n, &err), BS_OK);
    for (; ids[i]; i++) {
        assert_true(i < n);
        assert_string_equal(rows[i].id, ids[i]);
    }
    assert_int_equal(i, n);
    for (i = 0; i < n; i++)
        bs_job_record_free(&rows[i]);
    free(rows);
}

static void lists_are_of_what_was_asked_for(void **state)
{
    struct bs_store *s = open_store(*state);
    char a[40], b[40], c[40];
    add_marked(s, "{\"plate\":\"7\",\"well\":\"A1\"}", "x", "{\"model\":\"nuclei\",\"model_version\":1}", a);
    add_marked(s, "{\"plate\":\"7\"}", "", "{\"model\":\"cells\",\"model_version\":1}", b);
    add_marked(s, NULL, "x", "not JSON", c);
    lists(s, (struct bs_job_filter){.state = -1}, (const char *[]){c, b, a, NULL});
    lists(s, (struct bs_job_filter){.state = -1, .labels = "{}"}, (const char *[]){c, b, a, NULL});
    lists(s, (struct bs_job_filter){.state = -1, .labels = "{\"plate\":\"7\"}"},
          (const char *[]){b, a, NULL});
    lists(s, (struct bs_job_filter){.state = -1, .labels = "{\"plate\":\"7\",\"well\":\"A1\"}"},
          (const char *[]){a, NULL});
    lists(s, (struct bs_job_filter){.state = -1, .labels = "{\"plate\":\"8\"}"}, (const char *[]){NULL});
    lists(s, (struct bs_job_filter){.state = -1, .labels = "{\"A1\":\"well\"}"}, (const char *[]){NULL});
    lists(s, (struct bs_job_filter){.state = -1, .project = "x"}, (const char *[]){c, a, NULL});
    lists(s, (struct bs_job_filter){.state = -1, .model = "nuclei"}, (const char *[]){a, NULL});
    lists(s, (struct bs_job_filter){.state = BS_JOB_RUNNING, .model = "nuclei"}, (const char *[]){NULL});
    bs_store_close(s);
}

static void a_job_may_say_how_long_its_result_is_kept(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_err err;
    bool existing;
    int count;
    struct bs_job_record j = new_job("ann", "", HASH_B);
    j.time_to_live_ms = 5000;
    assert_int_equal(bs_store_job_add(s, &j, &existing, &err), BS_OK);
    char id[40];
    strcpy(id, j.id);
    bs_job_record_free(&j);
    assert_int_equal(bs_store_job_take(s, &j, &err), BS_OK);
    bs_job_record_free(&j);
    struct bs_job_record result = {.result_json = (char *)"{}", .labels_blob = (char *)HASH_C};
    strcpy(result.id, id);
    assert_int_equal(bs_store_job_succeed(s, &result, &err), BS_OK);
    j = get_job(s, id);
    assert_int_equal(j.time_to_live_ms, 5000);
    assert_int_equal(j.expires_ms, j.finished_ms + 5000);
    assert_int_equal(bs_store_job_expire(s, j.expires_ms - 1, &count, &err), BS_OK);
    assert_int_equal(count, 0);
    assert_int_equal(bs_store_job_expire(s, j.expires_ms, &count, &err), BS_OK);
    assert_int_equal(count, 1);
    bs_job_record_free(&j);
    /* Also where results are kept for ever else. */
    bs_store_set_lifetime(s, 0);
    j = new_job("ann", "", HASH_B);
    j.time_to_live_ms = 5000;
    assert_int_equal(bs_store_job_add(s, &j, &existing, &err), BS_OK);
    assert_int_equal(bs_store_job_cancel(s, j.id, &err), BS_OK);
    struct bs_job_record ended = get_job(s, j.id);
    assert_int_equal(ended.expires_ms, ended.finished_ms + 5000);
    bs_job_record_free(&ended);
    bs_job_record_free(&j);
    bs_store_close(s);
}

static void jobs_are_counted_by_state(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_err err;
    char id[40];
    int64_t count[BS_JOB_STATES];
    assert_int_equal(bs_store_job_counts(s, count, &err), BS_OK);
    for (int i = 0; i < BS_JOB_STATES; i++)
        assert_int_equal(count[i], 0);
    for (int i = BS_JOB_STATES - 1; i >= 0; i--) /* queued ones last: the others take what is queued */
        for (int n = 0; n <= i; n++)
            job_in_state(s, (enum bs_job_state)i, id);
    assert_int_equal(bs_store_job_counts(s, count, &err), BS_OK);
    for (int i = 0; i < BS_JOB_STATES; i++)
        assert_int_equal(count[i], i + 1);
    bs_store_close(s);
}

static void results_expire_and_the_record_says_so(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_err err;
    char done[40], waiting[40];
    int count;
    bool used;
    job_in_state(s, BS_JOB_SUCCEEDED, done);
    add_job(s, "ann", waiting);
    struct bs_job_record j = get_job(s, done);
    int64_t expires = j.expires_ms;
    bs_job_record_free(&j);
    assert_int_equal(bs_store_job_expire(s, expires - 1, &count, &err), BS_OK);
    assert_int_equal(count, 0);
    assert_int_equal(bs_store_blob_in_use(s, HASH_C, &used, &err), BS_OK);
    assert_true(used);
    assert_int_equal(bs_store_job_expire(s, expires, &count, &err), BS_OK);
    assert_int_equal(count, 1);
    j = get_job(s, done);
    assert_null(j.labels_blob);
    assert_string_equal(j.input_blob, "");
    bs_job_record_free(&j);
    assert_int_equal(bs_store_blob_in_use(s, HASH_C, &used, &err), BS_OK);
    assert_false(used);
    assert_int_equal(bs_store_job_expire(s, expires + INT64_C(31) * 24 * 3600 * 1000, &count, &err), BS_OK);
    assert_int_equal(bs_store_job_get(s, done, &j, &err), BS_ENOTFOUND);
    assert_int_equal(state_of(s, waiting), BS_JOB_QUEUED);
    bs_store_close(s);
}

static void a_newer_schema_is_refused_in_clear_words(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_err err;
    char path[512];
    sqlite3 *db;
    bs_store_close(s);
    snprintf(path, sizeof path, "%s/bioseg.db", (char *)*state);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 99", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(bs_store_open(*state, &s, &err), BS_EPRECONDITION);
    assert_non_null(strstr(err.msg, "99"));
    assert_non_null(strstr(err.msg, "newer bioseg"));
}

static void another_programs_database_is_left_alone(void **state)
{
    struct bs_store *s;
    struct bs_err err;
    char path[512];
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/bioseg.db", (char *)*state);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "CREATE TABLE notes(t)", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(bs_store_open(*state, &s, &err), BS_EPRECONDITION);
}

static void a_damaged_database_is_an_error_not_a_crash(void **state)
{
    struct bs_store *s;
    struct bs_err err;
    char path[512];
    snprintf(path, sizeof path, "%s/bioseg.db", (char *)*state);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (int i = 0; i < 10000; i++)
        fputc((i * 7919) & 0xff, f);
    fclose(f);
    assert_int_not_equal(bs_store_open(*state, &s, &err), BS_OK);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, make_directory, remove_directory)
    const struct CMUnitTest tests[] = {
        T(same_key_and_payload_gives_the_first_job_again),
        T(same_key_with_another_payload_is_refused),
        T(a_key_belongs_to_its_owner_alone),
        T(a_job_without_hash_or_owner_is_refused),
        T(only_the_legal_transitions_are_made),
        T(a_finished_job_carries_results_and_an_end),
        T(every_change_raises_the_revision),
        T(second_worker_death_fails_the_job_with_that_reason),
        T(putting_back_on_shutdown_counts_no_attempt),
        T(recovery_puts_running_jobs_back_and_counts),
        T(jobs_are_taken_oldest_first_and_fair_between_owners),
        T(pages_hold_every_job_once_newest_first),
        T(lists_are_of_what_was_asked_for),
        T(a_job_may_say_how_long_its_result_is_kept),
        T(jobs_are_counted_by_state),
        T(results_expire_and_the_record_says_so),
        T(a_newer_schema_is_refused_in_clear_words),
        T(another_programs_database_is_left_alone),
        T(a_damaged_database_is_an_error_not_a_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
