/* Training runs in the store: they go on from their last checkpoint, tell what they told, pause and resume, and end with a model. */
#include "fixture.h"
#include "server/store/runs.h"

#include <math.h>

static void add_run(struct bs_store *s, char *id)
{
    struct bs_job_record j = new_job("ann", "", HASH_B);
    struct bs_err err;
    bool existing;
    free(j.kind);
    j.kind = strdup("train");
    assert_int_equal(bs_store_run_add(s, &j, HASH_C, &existing, &err), BS_OK);
    strcpy(id, j.id);
    bs_job_record_free(&j);
}

static void take(struct bs_store *s, const char *id)
{
    struct bs_job_record j;
    struct bs_err err;
    assert_int_equal(bs_store_job_take_training(s, &j, &err), BS_OK);
    assert_string_equal(j.id, id);
    bs_job_record_free(&j);
}

static struct bs_job_record get(struct bs_store *s, const char *id)
{
    struct bs_job_record j;
    struct bs_err err;
    assert_int_equal(bs_store_job_get(s, id, &j, &err), BS_OK);
    return j;
}

static enum bs_job_state state_now(struct bs_store *s, const char *id)
{
    struct bs_job_record j = get(s, id);
    enum bs_job_state state = j.state;
    bs_job_record_free(&j);
    return state;
}

static struct bs_run_note note(int64_t step, double loss)
{
    return (struct bs_run_note){.step = step,
                                .epoch = 1,
                                .loss = loss,
                                .learning_rate = 1e-4,
                                .metric = NAN,
                                .best_metric = NAN,
                                .best_step = -1,
                                .images_per_second = NAN,
                                .seconds_left = NAN};
}

static void training_jobs_are_taken_by_who_trains(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_job_record j;
    struct bs_err err;
    char run[40], job[40];
    add_run(s, run);
    assert_int_equal(bs_store_job_take(s, &j, &err), BS_ENOTFOUND);
    add_job(s, "ann", job);
    take(s, run);
    assert_int_equal(bs_store_job_take_training(s, &j, &err), BS_ENOTFOUND);
    assert_int_equal(bs_store_job_take(s, &j, &err), BS_OK);
    assert_string_equal(j.id, job);
    bs_job_record_free(&j);
    bs_store_close(s);
}

static void a_checkpoint_comes_with_what_was_told_before_it(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_err err;
    struct bs_run_state r;
    struct bs_run_note *rows;
    bool used;
    int n;
    char id[40];
    add_run(s, id);
    struct bs_run_note notes[] = {note(1, 0.9), note(2, 0.8)};
    struct bs_run_checkpoint c = {.blob = HASH_A, .step = 2, .steps = 10, .notes = notes, .nnote = 2};
    assert_int_equal(bs_store_run_checkpoint(s, id, &c, &err), BS_EPRECONDITION); /* it does not run yet */
    take(s, id);
    assert_int_equal(bs_store_run_checkpoint(s, id, &c, &err), BS_OK);
    assert_int_equal(bs_store_run_get(s, id, &r, &err), BS_OK);
    assert_string_equal(r.initial_blob, HASH_C);
    assert_string_equal(r.latest_blob, HASH_A);
    assert_int_equal(r.latest_step, 2);
    assert_null(r.best_blob);
    assert_true(isinf(r.best_metric));
    bs_run_state_free(&r);
    assert_int_equal(bs_store_blob_in_use(s, HASH_A, &used, &err), BS_OK);
    assert_true(used);
    assert_int_equal(bs_store_blob_in_use(s, HASH_C, &used, &err), BS_OK);
    assert_true(used);
    /* Steps that are told again replace themselves; others follow. */
    struct bs_run_note more[] = {note(2, 0.75), note(3, 0.7)};
    struct bs_run_note score = note(3, 0.8);
    score.validation = true;
    score.metric = score.best_metric = 0.5;
    score.best_step = 3;
    assert_int_equal(bs_store_run_notes_add(s, id, more, 2, 3, 10, &err), BS_OK);
    assert_int_equal(bs_store_run_notes_add(s, id, &score, 1, 3, 10, &err), BS_OK);
    assert_int_equal(bs_store_run_notes(s, id, 0, true, 100, &rows, &n, &err), BS_OK);
    assert_int_equal(n, 4);
    assert_true(rows[1].step == 2 && rows[1].loss == 0.75 && isnan(rows[1].metric));
    assert_true(rows[3].step == 3 && rows[3].validation && rows[3].metric == 0.5 && rows[3].best_step == 3);
    free(rows);
    assert_int_equal(bs_store_run_notes(s, id, 2, false, 100, &rows, &n, &err), BS_OK);
    assert_int_equal(n, 2);
    free(rows);
    struct bs_job_record j = get(s, id);
    assert_int_equal(j.done, 3);
    assert_int_equal(j.total, 10);
    bs_job_record_free(&j);
    bs_store_close(s);
}

static void deaths_count_anew_after_a_checkpoint(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_err err;
    char id[40];
    const struct bs_run_checkpoint c = {.blob = HASH_A, .step = 1, .steps = 10};
    add_run(s, id);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 4; i++) {
            take(s, id);
            assert_int_equal(bs_store_job_requeue(s, id, true, &err), BS_OK);
        }
        take(s, id);
        assert_int_equal(bs_store_run_checkpoint(s, id, &c, &err), BS_OK);
        assert_int_equal(bs_store_job_requeue(s, id, false, &err), BS_OK);
    }
    for (int i = 0; i < 5; i++) {
        assert_int_equal(state_now(s, id), BS_JOB_QUEUED);
        take(s, id);
        assert_int_equal(bs_store_job_requeue(s, id, true, &err), BS_OK);
    }
    assert_int_equal(state_now(s, id), BS_JOB_FAILED);
    /* Nothing is lost all the same. */
    assert_int_equal(bs_store_run_resume(s, id, &err), BS_OK);
    take(s, id);
    bs_store_close(s);
}

static void a_paused_run_waits_until_it_is_resumed(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_err err;
    struct bs_run_state r;
    struct bs_job_record j;
    struct bs_job_record *rows;
    char id[40];
    int n;
    add_run(s, id);
    assert_int_equal(bs_store_run_ask(s, id, true, 0, &err), BS_OK); /* queued: at once */
    assert_int_equal(state_now(s, id), BS_JOB_PAUSED);
    assert_int_equal(bs_store_job_take_training(s, &j, &err), BS_ENOTFOUND);
    struct bs_job_filter filter = {.state = BS_JOB_PAUSED};
    assert_int_equal(bs_store_job_list(s, &filter, NULL, 10, &rows, &n, &err), BS_OK);
    assert_int_equal(n, 1);
    bs_job_record_free(&rows[0]);
    free(rows);
    filter.state = BS_JOB_QUEUED;
    assert_int_equal(bs_store_job_list(s, &filter, NULL, 10, &rows, &n, &err), BS_OK);
    assert_int_equal(n, 0);
    free(rows);
    assert_int_equal(bs_store_run_resume(s, id, &err), BS_OK);
    take(s, id);
    assert_int_equal(bs_store_run_ask(s, id, true, 0, &err), BS_OK); /* running: between two steps */
    assert_int_equal(bs_store_run_ask(s, id, false, 5e-5, &err), BS_OK);
    assert_int_equal(state_now(s, id), BS_JOB_RUNNING);
    assert_int_equal(bs_store_run_get(s, id, &r, &err), BS_OK);
    assert_true(r.pause && r.learning_rate == 5e-5);
    bs_run_state_free(&r);
    assert_int_equal(bs_store_run_pause(s, id, BS_EIO, "the disk is full", &err), BS_OK);
    j = get(s, id);
    assert_int_equal(j.state, BS_JOB_PAUSED);
    assert_int_equal(j.error_code, BS_EIO);
    assert_string_equal(j.error, "the disk is full");
    bs_job_record_free(&j);
    assert_int_equal(bs_store_run_get(s, id, &r, &err), BS_OK);
    assert_true(!r.pause && r.learning_rate == 5e-5); /* what was asked for is not forgotten */
    bs_run_state_free(&r);
    assert_int_equal(bs_store_run_resume(s, id, &err), BS_OK);
    take(s, id);
    const struct bs_run_checkpoint c = {.blob = HASH_A, .step = 1, .steps = 10, .rate_is_in = true};
    assert_int_equal(bs_store_run_checkpoint(s, id, &c, &err), BS_OK);
    assert_int_equal(bs_store_run_get(s, id, &r, &err), BS_OK);
    assert_true(r.learning_rate == 0);
    bs_run_state_free(&r);
    assert_int_equal(bs_store_job_cancel(s, id, &err), BS_OK);
    assert_int_equal(bs_store_run_ask(s, id, true, 0, &err), BS_EPRECONDITION);
    assert_int_equal(bs_store_run_resume(s, id, &err), BS_OK);
    assert_int_equal(state_now(s, id), BS_JOB_QUEUED);
    bs_store_close(s);
}

static bs_status describe(void *ctx, int64_t version, char **json, struct bs_err *err)
{
    if (*(bool *)ctx)
        return BS_FAIL(err, BS_ENOMEM, "no memory");
    return asprintf(json, "{\"version\":%lld}", (long long)version) > 0 ? BS_OK : BS_ENOMEM;
}

static void a_run_ends_with_its_model_or_not_at_all(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_err err;
    struct bs_run_state r;
    struct bs_model_record m = {.name = (char *)"cells",
                                .blob = (char *)HASH_B,
                                .info_json = (char *)"{}",
                                .owner = (char *)"ann",
                                .lineage_json = (char *)"{\"job\":\"x\"}"};
    struct bs_model_record found;
    bool fail = true;
    char id[40];
    add_run(s, id);
    take(s, id);
    const struct bs_run_checkpoint latest = {.blob = HASH_A, .step = 4, .steps = 4};
    const struct bs_run_checkpoint best = {
        .best = true, .blob = HASH_B, .step = 4, .steps = 4, .metric = 0.25};
    assert_int_equal(bs_store_run_checkpoint(s, id, &best, &err), BS_OK);
    assert_int_equal(bs_store_run_checkpoint(s, id, &latest, &err), BS_OK);
    struct bs_job_record j = get(s, id);
    assert_int_equal(bs_store_run_succeed(s, &j, &m, describe, &fail, &err), BS_ENOMEM);
    assert_int_equal(state_now(s, id), BS_JOB_RUNNING);
    assert_int_equal(bs_store_model_get(s, "cells", 0, &found, &err), BS_ENOTFOUND);
    fail = false;
    assert_int_equal(bs_store_run_succeed(s, &j, &m, describe, &fail, &err), BS_OK);
    bs_job_record_free(&j);
    j = get(s, id);
    assert_int_equal(j.state, BS_JOB_SUCCEEDED);
    assert_string_equal(j.result_json, "{\"version\":1}");
    bs_job_record_free(&j);
    assert_int_equal(bs_store_model_get(s, "cells", 0, &found, &err), BS_OK);
    assert_int_equal(found.version, 1);
    assert_string_equal(found.lineage_json, "{\"job\":\"x\"}");
    bs_model_record_free(&found);
    assert_int_equal(bs_store_run_get(s, id, &r, &err), BS_OK);
    assert_null(r.latest_blob);
    assert_string_equal(r.best_blob, HASH_B);
    bs_run_state_free(&r);
    assert_int_equal(bs_store_run_resume(s, id, &err), BS_EPRECONDITION);
    bs_store_close(s);
}

static void what_has_expired_cannot_be_resumed(void **state)
{
    struct bs_store *s = open_store(*state);
    struct bs_err err;
    struct bs_run_state r;
    bool used;
    int n;
    char id[40];
    add_run(s, id);
    take(s, id);
    const struct bs_run_checkpoint c = {.blob = HASH_A, .step = 1, .steps = 4};
    assert_int_equal(bs_store_run_checkpoint(s, id, &c, &err), BS_OK);
    assert_int_equal(bs_store_job_fail(s, id, BS_EINVAL, "not finite", &err), BS_OK);
    struct bs_job_record j = get(s, id);
    assert_int_equal(bs_store_job_expire(s, j.expires_ms, &n, &err), BS_OK);
    bs_job_record_free(&j);
    assert_int_equal(bs_store_blob_in_use(s, HASH_C, &used, &err), BS_OK);
    assert_false(used);
    assert_int_equal(bs_store_run_get(s, id, &r, &err), BS_OK);
    assert_null(r.latest_blob);
    bs_run_state_free(&r);
    assert_int_equal(bs_store_run_resume(s, id, &err), BS_EPRECONDITION);
    assert_int_equal(bs_store_job_delete(s, id, &err), BS_OK);
    assert_int_equal(bs_store_run_get(s, id, &r, &err), BS_ENOTFOUND);
    bs_store_close(s);
}

static void the_last_picture_stays_as_long_as_the_job(void **state)
{
    struct bs_store *s = open_store(*state);
    uint8_t planes[5 * 2 * 3];
    struct bs_run_sample p = {.height = 2,
                              .width = 3,
                              .channels = 1,
                              .target_channels = 2,
                              .reduction = 4,
                              .planes = planes,
                              .bytes = sizeof planes},
                         got;
    struct bs_err err;
    int64_t step;
    char id[40];
    add_run(s, id);
    assert_int_equal(bs_store_run_sample_get(s, id, &got, &err), BS_ENOTFOUND);
    assert_int_equal(bs_store_run_sample_step(s, id, &step, &err), BS_OK);
    assert_int_equal(step, -1);
    for (p.step = 10; p.step <= 20; p.step += 10) {
        memset(planes, (int)p.step, sizeof planes);
        assert_int_equal(bs_store_run_sample_put(s, id, &p, &err), BS_OK);
    }
    assert_int_equal(bs_store_run_sample_get(s, id, &got, &err), BS_OK);
    assert_true(got.step == 20 && got.height == 2 && got.width == 3 && got.channels == 1 &&
                got.target_channels == 2 && got.reduction == 4);
    assert_int_equal(got.bytes, sizeof planes);
    assert_memory_equal(got.planes, planes, sizeof planes);
    bs_run_sample_free(&got);
    assert_int_equal(bs_store_run_sample_step(s, id, &step, &err), BS_OK);
    assert_int_equal(step, 20);
    p.bytes = BS_RUN_SAMPLE_MAX_BYTES + 1;
    assert_int_equal(bs_store_run_sample_put(s, id, &p, &err), BS_EINVAL);
    assert_int_equal(bs_store_job_cancel(s, id, &err), BS_OK);
    assert_int_equal(bs_store_job_delete(s, id, &err), BS_OK);
    assert_int_equal(bs_store_run_sample_get(s, id, &got, &err), BS_ENOTFOUND);
    bs_store_close(s);
}

int main(void)
{
#define IN_A_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)
    const struct CMUnitTest tests[] = {
        IN_A_FOLDER(training_jobs_are_taken_by_who_trains),
        IN_A_FOLDER(a_checkpoint_comes_with_what_was_told_before_it),
        IN_A_FOLDER(deaths_count_anew_after_a_checkpoint),
        IN_A_FOLDER(a_paused_run_waits_until_it_is_resumed),
        IN_A_FOLDER(a_run_ends_with_its_model_or_not_at_all),
        IN_A_FOLDER(the_last_picture_stays_as_long_as_the_job),
        IN_A_FOLDER(what_has_expired_cannot_be_resumed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
