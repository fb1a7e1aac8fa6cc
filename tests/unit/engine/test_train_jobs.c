/* Training runs as durable jobs, from submitting to the model: through deaths of the worker, a stop of the queue, a pause, and a
   disk without room. */
#include "office_support.h"

#include <signal.h>

/* Enough that a run is still on its way when it is looked at again. */
#define STEPS (SANITIZED ? 30 : 80)

static void a_disturbed_run_makes_the_model_of_an_undisturbed_one(void **state)
{
    struct office *o = *state;
    char quiet[40], disturbed[40], first[65], second[65];
    submit_run(o, "quiet", STEPS, quiet);
    await(o, quiet, BS_JOB_SUCCEEDED, STEPS);
    assert_int_equal(count_notes(o, quiet), STEPS);
    submit_run(o, "disturbed", STEPS, disturbed);
    await(o, disturbed, BS_JOB_RUNNING, 1);
    kill(worker_pid(o->lab->engine), SIGKILL);
    await(o, disturbed, BS_JOB_RUNNING, 4);
    close_office(o); /* the queue stops in the middle, and begins again */
    open_office(o, 0);
    await(o, disturbed, BS_JOB_SUCCEEDED, STEPS);
    assert_int_equal(count_notes(o, disturbed), STEPS);
    model_blob(o, "quiet", first);
    model_blob(o, "disturbed", second);
    assert_string_equal(first, second);
}

static void a_paused_run_goes_on_where_it_was(void **state)
{
    struct office *o = *state;
    struct bs_run_state r;
    struct bs_err err = {.msg = ""};
    char id[40];
    submit_run(o, "paused", 1000000, id);
    await(o, id, BS_JOB_RUNNING, 2);
    assert_int_equal(bs_jobs_steer(o->jobs, id, true, 0, &err), BS_OK);
    await(o, id, BS_JOB_PAUSED, 2);
    assert_int_equal(bs_store_run_get(o->store, id, &r, &err), BS_OK);
    const int64_t at = r.latest_step;
    assert_true(at >= 2 && r.latest_blob);
    bs_run_state_free(&r);
    assert_int_equal(count_notes(o, id), at);
    assert_int_equal(bs_jobs_steer(o->jobs, id, false, 1e-3, &err), BS_OK);
    assert_int_equal(bs_jobs_resume(o->jobs, id, &err), BS_OK);
    await(o, id, BS_JOB_RUNNING, (int)at + 3);
    struct bs_run_note *notes;
    int n;
    assert_int_equal(bs_store_run_notes(o->store, id, at, true, 10, &notes, &n, &err), BS_OK);
    assert_true(n >= 1 && notes[0].step == at + 1);
    free(notes);
    /* A queue that drains lets it write a checkpoint, and it waits for its turn again. */
    assert_true(bs_jobs_drain(o->jobs, 20000));
    struct bs_job_record j;
    assert_int_equal(bs_store_job_get(o->store, id, &j, &err), BS_OK);
    assert_int_equal(j.state, BS_JOB_QUEUED);
    assert_int_equal(j.attempts, 0);
    bs_job_record_free(&j);
    assert_int_equal(bs_jobs_cancel(o->jobs, id, &err), BS_OK);
}

static void a_disk_without_room_pauses_a_run_and_loses_nothing(void **state)
{
    struct office *o = *state;
    struct bs_err err = {.msg = ""};
    struct bs_job_record j;
    char id[40];
    const uint64_t used = bs_blobs_bytes(o->blobs);
    close_office(o);
    open_office(o, used + 1000); /* no checkpoint fits */
    submit_run(o, "full", STEPS, id);
    await(o, id, BS_JOB_PAUSED, 0);
    assert_int_equal(bs_store_job_get(o->store, id, &j, &err), BS_OK);
    assert_int_equal(j.error_code, BS_ELIMIT);
    assert_non_null(strstr(j.error, "cap"));
    bs_job_record_free(&j);
    close_office(o);
    open_office(o, 0);
    assert_int_equal(bs_jobs_resume(o->jobs, id, &err), BS_OK);
    await(o, id, BS_JOB_SUCCEEDED, STEPS);
    assert_int_equal(count_notes(o, id), STEPS);
}

int main(void)
{
#define IN_AN_OFFICE(test) cmocka_unit_test_setup_teardown(test, office_open, office_close)
    const struct CMUnitTest tests[] = {
        IN_AN_OFFICE(a_disturbed_run_makes_the_model_of_an_undisturbed_one),
        IN_AN_OFFICE(a_paused_run_goes_on_where_it_was),
        IN_AN_OFFICE(a_disk_without_room_pauses_a_run_and_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
