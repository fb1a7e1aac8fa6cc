/* Durable jobs from submit to result, through deaths of the worker and of the daemon. */
#include "engine_support.h"

#include "model/weights/json.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

struct office {
    struct lab *lab;
    struct bs_store *store;
    struct bs_blobs *blobs;
    struct bs_jobs *jobs;
};

static void open_store_of(struct office *o, uint64_t cap)
{
    char path[300];
    struct bs_err err = {.msg = ""};
    snprintf(path, sizeof path, "%s/blobs", o->lab->dir);
    if (bs_store_open(o->lab->dir, &o->store, &err) != BS_OK ||
        bs_blobs_open(path, &(struct bs_blob_limits){cap, 0}, &o->blobs, &err) != BS_OK)
        fail_msg("%s", err.msg);
}

static void start_jobs(struct office *o)
{
    struct bs_err err = {.msg = ""};
    if (bs_jobs_create(o->store, o->blobs, o->lab->engine, &o->jobs, &err) != BS_OK)
        fail_msg("%s", err.msg);
}

static void add_model(struct office *o)
{
    char hash[65];
    struct bs_err err;
    struct stat st;
    fstat(o->lab->model_fd, &st);
    assert_int_equal(bs_blob_put_fd(o->blobs, o->lab->model_fd, (uint64_t)st.st_size, hash, &err), BS_OK);
    struct bs_model_record m = {
        .name = (char *)"tiny", .blob = hash, .info_json = (char *)"{}", .owner = (char *)"ann"};
    assert_int_equal(bs_store_model_add(o->store, &m, &err), BS_OK);
}

static int office_open(void **state)
{
    struct office *o = calloc(1, sizeof *o);
    void *lab;
    if (lab_open(&lab) != 0)
        return -1;
    o->lab = lab;
    open_store_of(o, 0);
    add_model(o);
    start_jobs(o);
    *state = o;
    return 0;
}

static int office_close(void **state)
{
    struct office *o = *state;
    void *lab = o->lab;
    bs_jobs_destroy(o->jobs);
    bs_store_close(o->store);
    bs_blobs_close(o->blobs);
    free(o);
    return lab_close(&lab);
}

static struct bs_job_request job_request(struct office *o, size_t side, int64_t tile)
{
    struct bs_job_request q = {.model = "tiny",
                               .model_version = 1,
                               .raw = true,
                               .sample = BS_SAMPLE_U8,
                               .ndim = 2,
                               .axes = "yx",
                               .dim = {side, side},
                               .pixel_size = 0.25,
                               .want_objects = true};
    q.params = bs_segment_params_default(&o->lab->info);
    q.params.tile = tile;
    return q;
}

/* Submits and yields the job's id. */
static void submit_job(struct office *o, size_t side, int64_t tile, const char *key, char *id)
{
    struct bs_job_request q = job_request(o, side, tile);
    struct bs_job_record j = {0};
    struct bs_err err = {.msg = ""};
    char *json, hash[65];
    bool existing;
    int image = image_file(side);
    assert_int_equal(bs_job_request_to_json(&q, &json, &err), BS_OK);
    if (bs_blob_put_fd(o->blobs, image, side * side, hash, &err) != BS_OK)
        fail_msg("%s", err.msg);
    close(image);
    j.owner = strdup("ann");
    j.idempotency_key = strdup(key);
    j.kind = strdup("segment");
    j.request = json;
    j.input_blob = strdup(hash);
    if (bs_jobs_submit(o->jobs, &j, &existing, &err) != BS_OK)
        fail_msg("%s", err.msg);
    strcpy(id, j.id);
    bs_job_record_free(&j);
}

static struct bs_job_record get(struct office *o, const char *id)
{
    struct bs_job_record j;
    struct bs_err err;
    assert_int_equal(bs_store_job_get(o->store, id, &j, &err), BS_OK);
    return j;
}

/* Waits until the job has left QUEUED and RUNNING; the record is the caller's. */
static struct bs_job_record wait_job(struct office *o, const char *id)
{
    for (double until = now_s() + 120; now_s() < until; sleep_ms(10)) {
        struct bs_job_record j = get(o, id);
        if (j.state != BS_JOB_QUEUED && j.state != BS_JOB_RUNNING)
            return j;
        bs_job_record_free(&j);
    }
    fail_msg("job %s does not end", id);
    return (struct bs_job_record){0};
}

static void wait_tiles(struct office *o, const char *id, int done)
{
    for (double until = now_s() + 120; now_s() < until; sleep_ms(10)) {
        struct bs_job_record j = get(o, id);
        bool there = j.state == BS_JOB_RUNNING && j.done >= done;
        if (j.state != BS_JOB_QUEUED && j.state != BS_JOB_RUNNING)
            fail_msg("job ended early: %s %s", bs_job_state_name(j.state), j.error ? j.error : "");
        bs_job_record_free(&j);
        if (there)
            return;
    }
    fail_msg("job %s makes no progress", id);
}

static void a_job_ends_with_labels_objects_and_provenance(void **state)
{
    struct office *o = *state;
    struct bs_err err;
    char id[40];
    uint64_t bytes;
    int fd;
    submit_job(o, 64, 0, "k", id);
    struct bs_job_record j = wait_job(o, id);
    if (j.state != BS_JOB_SUCCEEDED)
        fail_msg("%s", j.error);
    assert_int_equal(bs_blob_open(o->blobs, j.labels_blob, &fd, &bytes, &err), BS_OK);
    assert_int_equal(bytes, 64 * 64 * 4);
    close(fd);
    assert_non_null(j.objects_blob);
    assert_null(j.maps_blob);
    struct bs_json *doc;
    assert_int_equal(bs_json_parse(j.result_json, strlen(j.result_json), 1000, &doc, &err), BS_OK);
    const struct bs_json_value *root = bs_json_root(doc);
    const char *text;
    assert_true(bs_json_as_string(bs_json_get(root, "input_sha256"), &text));
    assert_string_equal(text, j.input_blob);
    assert_true(bs_json_as_string(bs_json_get(bs_json_get(root, "model"), "sha256"), &text));
    assert_int_equal(strlen(text), 64);
    assert_true(bs_json_as_string(bs_json_get(bs_json_get(root, "software"), "version"), &text));
    assert_string_equal(text, BS_VERSION);
    assert_non_null(bs_json_get(bs_json_get(root, "parameters"), "center_distance_threshold"));
    assert_non_null(bs_json_get(root, "plan_hash"));
    assert_true(bs_json_as_string(bs_json_get(bs_json_get(root, "device"), "backend"), &text));
    assert_string_equal(text, "ref");
    bs_json_free(doc);
    bs_job_record_free(&j);
}

static void a_job_survives_the_death_of_its_worker(void **state)
{
    struct office *o = *state;
    char id[40];
    submit_job(o, LONG_SIDE, 16, "", id);
    wait_tiles(o, id, 1);
    kill(worker_pid(o->lab->engine), SIGKILL);
    struct bs_job_record j = wait_job(o, id);
    if (j.state != BS_JOB_SUCCEEDED)
        fail_msg("%s", j.error);
    assert_int_equal(j.attempts, 1);
    bs_job_record_free(&j);
}

static void the_second_death_fails_the_job_and_the_next_one_runs(void **state)
{
    struct office *o = *state;
    char id[40], next[40];
    submit_job(o, LONG_SIDE, 16, "", id);
    submit_job(o, 32, 0, "", next);
    wait_tiles(o, id, 1);
    kill(worker_pid(o->lab->engine), SIGKILL);
    struct bs_job_record j;
    for (;;) {
        j = get(o, id);
        bool again = j.attempts == 1 && j.state == BS_JOB_RUNNING && j.done > 0;
        bs_job_record_free(&j);
        if (again)
            break;
        sleep_ms(10);
    }
    kill(worker_pid(o->lab->engine), SIGKILL);
    j = wait_job(o, id);
    assert_int_equal(j.state, BS_JOB_FAILED);
    assert_int_equal(j.attempts, 2);
    assert_non_null(strstr(j.error, "died twice"));
    bs_job_record_free(&j);
    j = wait_job(o, next);
    assert_int_equal(j.state, BS_JOB_SUCCEEDED);
    assert_int_equal(j.attempts, 0);
    bs_job_record_free(&j);
}

static void a_running_job_is_cancelled_at_once(void **state)
{
    struct office *o = *state;
    struct bs_err err;
    struct bs_engine_state s;
    char id[40], next[40];
    submit_job(o, LONG_SIDE, 16, "", id);
    wait_tiles(o, id, 1);
    submit_job(o, 32, 0, "", next);
    double asked = now_s();
    assert_int_equal(bs_jobs_cancel(o->jobs, id, &err), BS_OK);
    struct bs_job_record j = get(o, id);
    assert_int_equal(j.state, BS_JOB_CANCELLED);
    bs_job_record_free(&j);
    j = wait_job(o, next);
    assert_int_equal(j.state, BS_JOB_SUCCEEDED);
    bs_job_record_free(&j);
    if (!SANITIZED)
        assert_true(now_s() - asked < 2.0);
    bs_engine_state_get(o->lab->engine, &s);
    assert_int_equal(s.running, 0);
    assert_int_equal(bs_jobs_cancel(o->jobs, id, &err), BS_EPRECONDITION);
    assert_int_equal(bs_jobs_delete(o->jobs, id, &err), BS_OK);
    assert_int_equal(bs_jobs_delete(o->jobs, id, &err), BS_ENOTFOUND);
}

static void stopping_puts_running_jobs_back_uncounted_and_a_restart_ends_them(void **state)
{
    struct office *o = *state;
    char id[40];
    submit_job(o, LONG_SIDE, 16, "", id);
    wait_tiles(o, id, 1);
    bs_jobs_destroy(o->jobs);
    o->jobs = NULL;
    struct bs_job_record j = get(o, id);
    assert_int_equal(j.state, BS_JOB_QUEUED);
    assert_int_equal(j.attempts, 0);
    bs_job_record_free(&j);
    start_jobs(o);
    j = wait_job(o, id);
    assert_int_equal(j.state, BS_JOB_SUCCEEDED);
    bs_job_record_free(&j);
}

static void draining_ends_what_runs_and_takes_nothing_new(void **state)
{
    struct office *o = *state;
    char running[40], waiting[3][40];
    submit_job(o, 256, 16, "", running);
    wait_tiles(o, running, 0);
    for (int i = 0; i < 3; i++)
        submit_job(o, 256, 16, "", waiting[i]);
    assert_true(bs_jobs_drain(o->jobs, 60000));
    struct bs_job_record j = get(o, running);
    assert_int_equal(j.state, BS_JOB_SUCCEEDED);
    bs_job_record_free(&j);
    j = get(o, waiting[2]);
    assert_int_equal(j.state, BS_JOB_QUEUED);
    bs_job_record_free(&j);
}

struct heard {
    atomic_int calls;
    atomic_long revision;
};

static void hear(void *ctx, const char *id, int64_t revision)
{
    struct heard *h = ctx;
    (void)id;
    atomic_fetch_add(&h->calls, 1);
    atomic_store(&h->revision, revision);
}

static void watchers_hear_every_change_and_nothing_after(void **state)
{
    struct office *o = *state;
    struct heard h = {0}, other = {0};
    struct bs_err err;
    char id[40];
    bs_jobs_drain(o->jobs, 0);
    submit_job(o, 64, 32, "", id);
    struct bs_job_watch *w = bs_jobs_watch(o->jobs, id, hear, &h);
    struct bs_job_watch *x = bs_jobs_watch(o->jobs, "another", hear, &other);
    assert_int_equal(bs_jobs_cancel(o->jobs, id, &err), BS_OK);
    struct bs_job_record j = get(o, id);
    assert_int_equal(atomic_load(&h.calls), 1);
    assert_int_equal(atomic_load(&h.revision), j.revision);
    bs_job_record_free(&j);
    assert_int_equal(bs_jobs_delete(o->jobs, id, &err), BS_OK);
    assert_int_equal(atomic_load(&h.revision), 0);
    bs_jobs_unwatch(w);
    bs_jobs_unwatch(x);
    assert_int_equal(atomic_load(&h.calls), 2);
    assert_int_equal(atomic_load(&other.calls), 0);
}

static void a_job_without_its_model_fails_with_that_reason(void **state)
{
    struct office *o = *state;
    struct bs_err err;
    char id[40];
    assert_int_equal(bs_store_model_delete(o->store, "tiny", 1, &err), BS_OK);
    submit_job(o, 32, 0, "", id);
    struct bs_job_record j = wait_job(o, id);
    assert_int_equal(j.state, BS_JOB_FAILED);
    assert_int_equal(j.error_code, BS_ENOTFOUND);
    assert_non_null(strstr(j.error, "tiny"));
    bs_job_record_free(&j);
}

static void a_result_that_does_not_fit_fails_the_job_and_says_so(void **state)
{
    struct office *o = *state;
    char id[40];
    bs_jobs_destroy(o->jobs);
    uint64_t room = bs_blobs_bytes(o->blobs) + 64 * 64 + 1000;
    bs_blobs_close(o->blobs);
    bs_store_close(o->store);
    open_store_of(o, room);
    start_jobs(o);
    submit_job(o, 64, 0, "", id);
    struct bs_job_record j = wait_job(o, id);
    assert_int_equal(j.state, BS_JOB_FAILED);
    assert_int_equal(j.error_code, BS_ELIMIT);
    assert_non_null(strstr(j.error, "cap"));
    bs_job_record_free(&j);
}

static void a_job_that_ends_on_a_full_disk_is_written_when_there_is_room_again(void **state)
{
    struct office *o = *state;
    struct bs_engine_state s;
    struct rlimit before, full;
    struct bs_job_record j;
    char id[40];
    submit_job(o, LONG_SIDE, 16, "", id);
    wait_tiles(o, id, 1);
    /* A file-size limit fails every write of database and blobs as a full disk does; the worker has its own. */
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    full = (struct rlimit){100, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &full);
    do {
        sleep_ms(20);
        bs_engine_state_get(o->lab->engine, &s);
    } while (s.running || s.waiting);
    sleep_ms(300);
    j = get(o, id);
    assert_int_equal(j.state, BS_JOB_RUNNING);
    bs_job_record_free(&j);
    setrlimit(RLIMIT_FSIZE, &before);
    j = wait_job(o, id);
    if (j.state != BS_JOB_SUCCEEDED)
        fail_msg("%s", j.error);
    bs_job_record_free(&j);
}

static void requests_read_back_as_they_were_written(void **state)
{
    struct office *o = *state;
    struct bs_job_request q = job_request(o, 77, 64), back;
    struct bs_err err = {.msg = ""};
    char *json;
    q.params.has_no_data = true;
    q.params.no_data = -INFINITY;
    q.params.statistics = BS_STATISTICS_BLOCK;
    q.params.precision = BS_PRECISION_BF16;
    q.params.instances.distance_smoothing = 0.1 + 0.2;
    assert_int_equal(bs_job_request_to_json(&q, &json, &err), BS_OK);
    if (bs_job_request_from_json(json, &back, &err) != BS_OK)
        fail_msg("%s", err.msg);
    char *again;
    assert_int_equal(bs_job_request_to_json(&back, &again, &err), BS_OK);
    assert_string_equal(json, again);
    assert_true(back.params.instances.distance_smoothing == 0.1 + 0.2 && isinf(back.params.no_data));
    assert_int_equal(back.dim[1], 77);
    free(again);
    /* Cut anywhere, it is an error. */
    for (size_t n = strlen(json); n-- > 0;) {
        json[n] = '\0';
        assert_int_not_equal(bs_job_request_from_json(json, &back, &err), BS_OK);
    }
    free(json);
    assert_int_not_equal(bs_job_request_from_json("{}", &back, &err), BS_OK);
}

/* A daemon of its own process that is killed while jobs run; forks, so it comes before any thread. */
static void acknowledged_jobs_end_after_the_daemon_was_killed(void **state)
{
    (void)state;
    struct office o = {0};
    struct lab lab = {.dir = "/tmp/bs-engine-XXXXXX"};
    int pipes[2];
    char id[3][40];
    const char *base = getenv("TMPDIR");
    snprintf(lab.dir, sizeof lab.dir, "%s/bs-engine-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(lab.dir));
    snprintf(lab.model_path, sizeof lab.model_path, "%s/model.safetensors", lab.dir);
    write_model(lab.model_path, &lab.info);
    lab.model_fd = open(lab.model_path, O_RDONLY | O_CLOEXEC);
    o.lab = &lab;
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    pid_t daemon = fork();
    if (daemon == 0) {
        open_store_of(&o, 0);
        add_model(&o);
        lab.engine = start_engine(0);
        start_jobs(&o);
        for (int i = 0; i < 3; i++) {
            submit_job(&o, 256, 16, "", id[i]);
            ssize_t ignored = write(pipes[1], id[i], sizeof id[i]);
            (void)ignored;
        }
        for (;;)
            pause();
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(read(pipes[0], id[i], sizeof id[i]), sizeof id[i]);
    sleep_ms(200);
    int status;
    kill(daemon, SIGKILL);
    waitpid(daemon, &status, 0);
    open_store_of(&o, 0);
    lab.engine = start_engine(0);
    start_jobs(&o);
    for (int i = 0; i < 3; i++) {
        struct bs_job_record j = wait_job(&o, id[i]);
        if (j.state != BS_JOB_SUCCEEDED)
            fail_msg("%s", j.error);
        bs_job_record_free(&j);
    }
    bs_jobs_destroy(o.jobs);
    bs_engine_destroy(lab.engine);
    bs_store_close(o.store);
    bs_blobs_close(o.blobs);
    close(lab.model_fd);
    close(pipes[0]);
    close(pipes[1]);
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", lab.dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, office_open, office_close)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(acknowledged_jobs_end_after_the_daemon_was_killed),
        T(a_job_ends_with_labels_objects_and_provenance),
        T(a_job_survives_the_death_of_its_worker),
        T(the_second_death_fails_the_job_and_the_next_one_runs),
        T(a_running_job_is_cancelled_at_once),
        T(stopping_puts_running_jobs_back_uncounted_and_a_restart_ends_them),
        T(draining_ends_what_runs_and_takes_nothing_new),
        T(watchers_hear_every_change_and_nothing_after),
        T(a_job_without_its_model_fails_with_that_reason),
        T(a_result_that_does_not_fit_fails_the_job_and_says_so),
        T(a_job_that_ends_on_a_full_disk_is_written_when_there_is_room_again),
        T(requests_read_back_as_they_were_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
