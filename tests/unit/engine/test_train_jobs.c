/* Training runs as durable jobs, from submitting to the model: through deaths of the worker, a stop of the queue, a pause, and a
   disk without room. */
#include "server/store/runs.h"
#include "server/training_json.h"
#include "training_support.h"

#include <signal.h>

struct office {
    struct lab *lab;
    struct dataset data;
    struct bs_store *store;
    struct bs_blobs *blobs;
    struct bs_jobs *jobs;
    char manifest[BS_BLOB_HASH_LEN + 1];
};

static void open_office(struct office *o, uint64_t cap)
{
    char path[300];
    struct bs_err err = {.msg = ""};
    (void)snprintf(path, sizeof path, "%s/blobs", o->lab->dir);
    if (bs_store_open(o->lab->dir, &o->store, &err) != BS_OK ||
        bs_blobs_open(path, &(struct bs_blob_limits){cap, 0}, &o->blobs, &err) != BS_OK ||
        bs_jobs_create(o->store, o->blobs, o->lab->engine, &o->jobs, &err) != BS_OK)
        fail_msg("%s", err.msg);
}

static void close_office(struct office *o)
{
    bs_jobs_destroy(o->jobs);
    bs_blobs_close(o->blobs);
    bs_store_close(o->store);
    o->jobs = NULL;
}

static int office_open(void **state)
{
    struct office *o = calloc(1, sizeof *o);
    struct bs_err err = {.msg = ""};
    void *lab;
    if (!o || lab_open(&lab) != 0) {
        free(o);
        return -1;
    }
    o->lab = lab;
    make_dataset(o->lab, &o->data);
    open_office(o, 0);
    assert_int_equal(bs_blob_put(o->blobs, o->data.manifest, strlen(o->data.manifest), o->manifest, &err),
                     BS_OK);
    *state = o;
    return 0;
}

static int office_close(void **state)
{
    struct office *o = *state;
    void *lab = o->lab;
    if (o->jobs)
        close_office(o);
    clear_dataset(&o->data);
    free(o);
    return lab_close(&lab);
}

/* The lab's tiny network, patches of 16. */
static struct bs_train_config configuration(const struct office *o, int64_t steps)
{
    struct bs_train_config c;
    bs_train_config_default(BS_ARCH_UNET, BS_RECIPE_DISTANCES, 1, &c);
    c.arch = o->lab->info.arch;
    bs_train_config_set_patch(&c, 16);
    c.sample.target_min_size = 0;
    c.optimizer.learning_rate = 1e-2;
    c.iterations = steps;
    c.validate_every = 10;
    c.checkpoint_every = 3;
    c.seed = 3;
    return c;
}

static void submit_run(struct office *o, const char *name, int64_t steps, char id[40])
{
    const struct bs_train_config config = configuration(o, steps);
    struct bs_training_request request = {.dataset = "discs", .dataset_number = 1};
    struct bs_job_record job = {
        .owner = strdup("ann"), .kind = strdup("train"), .input_blob = strdup(o->manifest)};
    struct bs_err err = {.msg = ""};
    bool existing;
    memcpy(request.dataset_hash, o->manifest, sizeof request.dataset_hash);
    (void)snprintf(request.model_name, sizeof request.model_name, "%s", name);
    assert_int_equal(bs_train_config_to_json(&config, &request.config, &err), BS_OK);
    assert_int_equal(bs_training_request_to_json(&request, &job.request, &err), BS_OK);
    if (bs_jobs_submit_training(o->jobs, &job, NULL, &existing, &err) != BS_OK)
        fail_msg("%s", err.msg);
    memcpy(id, job.id, 40);
    bs_job_record_free(&job);
    bs_training_request_free(&request);
}

/* Waits until the job is in that state, or has made so many steps in it. */
static void await(struct office *o, const char *id, enum bs_job_state wanted, int step)
{
    for (double end = now_s() + 60; now_s() < end; sleep_ms(10)) {
        struct bs_job_record j;
        struct bs_err err;
        assert_int_equal(bs_store_job_get(o->store, id, &j, &err), BS_OK);
        const bool there = j.state == wanted && j.done >= step;
        const bool over = j.state != wanted && j.state != BS_JOB_QUEUED && j.state != BS_JOB_RUNNING;
        if (over)
            fail_msg("the job is %s: %s", bs_job_state_name(j.state), j.error ? j.error : "");
        bs_job_record_free(&j);
        if (there)
            return;
    }
    fail_msg("the job did not get to be %s at step %d", bs_job_state_name(wanted), step);
}

static void model_blob(struct office *o, const char *name, char hash[BS_BLOB_HASH_LEN + 1])
{
    struct bs_model_record m;
    struct bs_err err = {.msg = ""};
    if (bs_store_model_get(o->store, name, 0, &m, &err) != BS_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(m.version, 1);
    assert_non_null(m.lineage_json);
    memcpy(hash, m.blob, BS_BLOB_HASH_LEN + 1);
    bs_model_record_free(&m);
}

static int count_notes(struct office *o, const char *id)
{
    struct bs_run_note *notes;
    struct bs_err err;
    int n, steps = 0;
    assert_int_equal(bs_store_run_notes(o->store, id, 0, true, 10000, &notes, &n, &err), BS_OK);
    for (int i = 0; i < n; i++)
        if (!notes[i].validation)
            assert_int_equal(notes[i].step, ++steps); /* every step, once, in order */
    free(notes);
    return steps;
}

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
