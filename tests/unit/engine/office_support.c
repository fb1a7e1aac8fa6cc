/* See office_support.h. */
#include "office_support.h"

void open_office(struct office *o, uint64_t cap)
{
    char path[300];
    struct bs_err err = {.msg = ""};
    (void)snprintf(path, sizeof path, "%s/blobs", o->lab->dir);
    if (bs_store_open(o->lab->dir, &o->store, &err) != BS_OK ||
        bs_blobs_open(path, &(struct bs_blob_limits){cap, 0}, &o->blobs, &err) != BS_OK ||
        bs_jobs_create(o->store, o->blobs, o->lab->engine, &o->jobs, &err) != BS_OK)
        fail_msg("%s", err.msg);
}

void close_office(struct office *o)
{
    bs_jobs_destroy(o->jobs);
    bs_blobs_close(o->blobs);
    bs_store_close(o->store);
    o->jobs = NULL;
}

int office_open(void **state)
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

int office_close(void **state)
{
    struct office *o = *state;
    void *lab = o->lab;
    if (o->jobs)
        close_office(o);
    clear_dataset(&o->data);
    free(o);
    return lab_close(&lab);
}

struct bs_train_config office_config(const struct office *o, int64_t steps)
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

void submit_config(struct office *o, const char *name, const struct bs_train_config *config, char id[40])
{
    struct bs_training_request request = {.dataset = "discs", .dataset_number = 1};
    struct bs_job_record job = {
        .owner = strdup("ann"), .kind = strdup("train"), .input_blob = strdup(o->manifest)};
    struct bs_err err = {.msg = ""};
    bool existing;
    memcpy(request.dataset_hash, o->manifest, sizeof request.dataset_hash);
    (void)snprintf(request.model_name, sizeof request.model_name, "%s", name);
    assert_int_equal(bs_train_config_to_json(config, &request.config, &err), BS_OK);
    assert_int_equal(bs_training_request_to_json(&request, &job.request, &err), BS_OK);
    if (bs_jobs_submit_training(o->jobs, &job, NULL, &existing, &err) != BS_OK)
        fail_msg("%s", err.msg);
    memcpy(id, job.id, 40);
    bs_job_record_free(&job);
    bs_training_request_free(&request);
}

void submit_run(struct office *o, const char *name, int64_t steps, char id[40])
{
    const struct bs_train_config config = office_config(o, steps);
    submit_config(o, name, &config, id);
}

void await(struct office *o, const char *id, enum bs_job_state wanted, int step)
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

void model_blob(struct office *o, const char *name, char hash[BS_BLOB_HASH_LEN + 1])
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

int count_notes(struct office *o, const char *id)
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
