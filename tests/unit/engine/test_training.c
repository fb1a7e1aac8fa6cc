/* Training through the worker: it ends with a model that segments; paused, disturbed, killed or on another way to its files it
   makes the same bytes as undisturbed; what goes wrong is said. */
#include "training_support.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sys/stat.h>

#define LONG_RUN 1000000

struct school {
    struct lab *lab;
    struct dataset data;
    struct trial *whole; /* an undisturbed run of twelve steps */
};

static int open_school(void **state)
{
    struct school *s;
    void *lab = NULL;
    if (lab_open(&lab) != 0)
        return -1;
    s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->lab = lab;
    make_dataset(s->lab, &s->data);
    s->whole = new_trial(s->lab, &s->data);
    succeed(s->whole);
    *state = s;
    return 0;
}

static int close_school(void **state)
{
    struct school *s = *state;
    void *lab = s->lab;
    end_trial(s->whole);
    clear_dataset(&s->data);
    free(s);
    return lab_close(&lab);
}

/* Segments an image with that model file, and demands success. */
static void segment_with(struct school *s, int model_fd)
{
    struct task t;
    const int image = image_file(64);
    struct bs_engine_request r = raw_request(s->lab, image, 64, 0);
    r.model_key = "trained";
    r.model_fd = model_fd;
    submit(s->lab->engine, &t, &r);
    if (wait_end(&t) != BS_OK)
        fail_msg("%s", t.err.msg);
    forget(&t);
    close(image);
}

static void a_run_tells_its_steps_and_leaves_a_model(void **state)
{
    struct school *s = *state;
    const struct trial *t = s->whole;
    assert_int_equal(t->started, 1);
    assert_int_equal(t->events, 12 + 3);
    assert_int_equal(t->pictures, 3);
    int64_t step = 0;
    for (int i = 0; i < t->events; i++) {
        step += t->event[i].kind == BS_RUN_STEP;
        assert_int_equal(t->event[i].step, step);
        assert_int_equal(t->event[i].steps, 12);
    }
    assert_int_equal(t->result.run.end, BS_RUN_FINISHED);
    assert_int_equal(t->result.run.latest_step, 12);
    assert_true(t->result.run.best_metric < t->event[0].loss);
    assert_true(strlen(t->result.algorithms) > 0);
    assert_int_equal(t->latests, 12);
    assert_in_range(t->bests, 1, 3);
    segment_with(s, t->best_fd);
}

static void expect_the_same(const struct school *s, const struct trial *t)
{
    assert_int_equal(t->latest_step, 12);
    assert_true(same_files(t->latest_fd, s->whole->latest_fd));
    const int skipped = s->whole->events - t->events;
    assert_true(skipped >= 0);
    for (int i = 0; i < t->events; i++) {
        const struct bs_run_event *have = &t->event[i], *want = &s->whole->event[skipped + i];
        assert_int_equal(have->step, want->step);
        assert_true(have->loss == want->loss && have->metric == want->metric);
    }
}

static void where_checkpoints_are_written_does_not_matter(void **state)
{
    struct school *s = *state;
    struct trial *t = new_trial(s->lab, &s->data);
    t->in_memory = true;
    succeed(t);
    expect_the_same(s, t);
    end_trial(t);
}

/* The answer to the second checkpoint is held back, so the run stands before its third at the latest until it has been told to
   pause. */
static void a_paused_run_goes_on_where_it_was(void **state)
{
    struct school *s = *state;
    struct trial *first = new_trial(s->lab, &s->data), *rest = new_trial(s->lab, &s->data);
    first->hold_after = 1;
    start_trial(first);
    await_checkpoint(first, 2);
    steer(first, (struct bs_run_control){.pause = true});
    answer_all(first);
    if (await_end(first) != BS_OK)
        fail_msg("%s", first->err.msg);
    assert_int_equal(first->result.run.end, BS_RUN_PAUSED);
    assert_in_range(first->result.run.step, 2, 3);
    assert_int_equal(first->latest_step, first->result.run.step);
    rest->resume_fd = first->latest_fd;
    succeed(rest);
    expect_the_same(s, rest);
    end_trial(first);
    end_trial(rest);
}

static void segmentations_in_between_are_served_and_change_nothing(void **state)
{
    struct school *s = *state;
    struct trial *t = new_trial(s->lab, &s->data);
    start_trial(t);
    expect_service(s->lab, 64);
    expect_service(s->lab, 96);
    assert_int_equal(await_end(t), BS_OK);
    expect_the_same(s, t);
    end_trial(t);
}

static void a_segmentation_does_not_wait_for_a_long_run(void **state)
{
    struct school *s = *state;
    struct trial *t = new_trial(s->lab, &s->data);
    t->config.iterations = LONG_RUN;
    t->config.validate_every = LONG_RUN;
    start_trial(t);
    await_step(t, 3);
    for (int i = 0; i < 3; i++)
        expect_service(s->lab, 64);
    await_step(t, 6);
    assert_int_equal(t->ended, 0);
    bs_engine_cancel(s->lab->engine, t->handle);
    assert_int_equal(await_end(t), BS_ECANCELLED);
    end_trial(t);
    expect_service(s->lab, 64);
}

static void a_second_run_waits_for_the_first(void **state)
{
    struct school *s = *state;
    struct trial *a = new_trial(s->lab, &s->data), *b = new_trial(s->lab, &s->data);
    a->config.iterations = LONG_RUN;
    a->config.validate_every = LONG_RUN;
    start_trial(a);
    await_step(a, 1);
    start_trial(b);
    await_step(a, 5);
    assert_int_equal(b->started, 0);
    bs_engine_cancel(s->lab->engine, a->handle);
    assert_int_equal(await_end(a), BS_ECANCELLED);
    assert_int_equal(await_end(b), BS_OK);
    expect_the_same(s, b);
    end_trial(a);
    end_trial(b);
}

/* It stands before its sixth checkpoint, with the fifth handed over, when it is killed. */
static void a_killed_run_goes_on_from_its_last_checkpoint(void **state)
{
    struct school *s = *state;
    struct trial *killed = new_trial(s->lab, &s->data), *rest = new_trial(s->lab, &s->data);
    killed->hold_after = 6; /* one of them is the best so far */
    start_trial(killed);
    await_checkpoint(killed, 5);
    kill(worker_pid(s->lab->engine), SIGKILL);
    assert_int_equal(await_end(killed), BS_EUNAVAILABLE);
    assert_in_range(killed->latest_step, 5, 7);
    rest->resume_fd = killed->latest_fd;
    succeed(rest);
    expect_the_same(s, rest);
    end_trial(killed);
    end_trial(rest);
}

/* At another place each time, whatever it was doing there. */
static void killed_again_and_again_it_makes_the_same_bytes(void **state)
{
    struct school *s = *state;
    struct trial *t = NULL;
    int from = -1;
    for (int i = 0; i < 4; i++) {
        struct trial *next = new_trial(s->lab, &s->data);
        next->resume_fd = from;
        next->hold_after = 1; /* so that it stands three steps on at the latest */
        start_trial(next);
        await_checkpoint(next, t ? t->latest_step + 1 : 1);
        sleep_ms(3 * i);
        kill(worker_pid(s->lab->engine), SIGKILL);
        assert_int_equal(await_end(next), BS_EUNAVAILABLE);
        expect_service(s->lab, 64); /* a worker that works is soon followed by another */
        if (t)
            end_trial(t);
        t = next;
        from = t->latest_fd;
    }
    struct trial *last = new_trial(s->lab, &s->data);
    last->resume_fd = from;
    succeed(last);
    expect_the_same(s, last);
    end_trial(t);
    end_trial(last);
}

static void another_learning_rate_is_taken_while_it_runs(void **state)
{
    struct school *s = *state;
    struct trial *t = new_trial(s->lab, &s->data);
    t->config.iterations = LONG_RUN;
    t->config.validate_every = LONG_RUN;
    start_trial(t);
    await_step(t, 2);
    steer(t, (struct bs_run_control){.learning_rate = 5e-4, .best_now = true});
    int64_t step = 2;
    double rate = 0;
    for (int i = 0; i < 10000 && !(fabs(rate - 5e-4) < 1e-12); i++) {
        await_step(t, ++step);
        pthread_mutex_lock(&t->mu);
        step = t->last_step;
        if (t->events < MAX_EVENTS)
            rate = t->event[t->events - 1].learning_rate;
        pthread_mutex_unlock(&t->mu);
    }
    assert_true(fabs(rate - 5e-4) < 1e-12);
    steer(t, (struct bs_run_control){.pause = true});
    assert_int_equal(await_end(t), BS_OK);
    assert_int_equal(t->result.run.end, BS_RUN_PAUSED);
    assert_int_equal(t->bests, 1);
    segment_with(s, t->best_fd);
    end_trial(t);
}

static void a_checkpoint_that_cannot_be_kept_ends_the_run(void **state)
{
    struct school *s = *state;
    struct trial *t = new_trial(s->lab, &s->data);
    t->refuse = "the disk is full";
    start_trial(t);
    assert_int_equal(await_end(t), BS_EIO);
    assert_string_equal(t->err.msg, "the disk is full");
    end_trial(t);
}

static void a_run_begins_with_the_weights_it_is_given(void **state)
{
    struct school *s = *state;
    struct trial *t = new_trial(s->lab, &s->data), *other = new_trial(s->lab, &s->data);
    t->initial_fd = s->whole->best_fd;
    succeed(t);
    assert_true(t->event[0].loss != s->whole->event[0].loss);
    other->initial_fd = s->whole->best_fd;
    other->config.arch.unet.initial_features = 4;
    start_trial(other);
    assert_int_equal(await_end(other), BS_EINVAL);
    if (!strstr(other->err.msg,
                "\"initial_features\":2 in the model, \"initial_features\":4 in the configuration"))
        fail_msg("%s", other->err.msg);
    end_trial(t);
    end_trial(other);
}

/* The same with one byte of the first image's hash changed. */
static char *other_hash(const char *manifest)
{
    char *text = strdup(manifest), *at = strstr(text, "\"sha256\":\"");
    assert_non_null(at);
    at[10] = at[10] == 'a' ? 'b' : 'a';
    return text;
}

static void images_that_are_not_there_are_named(void **state)
{
    struct school *s = *state;
    struct trial *t = new_trial(s->lab, &s->data);
    char *manifest = other_hash(s->data.manifest);
    t->manifest = manifest;
    start_trial(t);
    assert_int_equal(await_end(t), BS_ENOTFOUND);
    if (!strstr(t->err.msg, "discs_0.png"))
        fail_msg("%s", t->err.msg);
    end_trial(t);
    free(manifest);
}

static void nothing_outside_the_folder_is_read(void **state)
{
    struct school *s = *state;
    struct trial *t = new_trial(s->lab, &s->data);
    char hash[65], path[400], target[400];
    char *manifest = other_hash(s->data.manifest), *at = strstr(manifest, "\"sha256\":\"") + 10;
    snprintf(hash, sizeof hash, "%.64s", at);
    snprintf(path, sizeof path, "%s/%s", s->data.folder, hash);
    hash[0] = s->data.manifest[at - manifest];
    snprintf(target, sizeof target, "%s/%s", s->data.folder, hash);
    assert_int_equal(symlink(target, path), 0); /* the very image, but by a link */
    t->manifest = manifest;
    start_trial(t);
    assert_int_equal(await_end(t), BS_EPERMISSION);
    end_trial(t);
    assert_int_equal(unlink(path), 0);
    free(manifest);
}

static void descriptions_that_are_none_are_refused(void **state)
{
    struct school *s = *state;
    struct trial *t = new_trial(s->lab, &s->data);
    t->manifest = "{\"pairs\": 7}";
    start_trial(t);
    assert_int_not_equal(await_end(t), BS_OK);
    end_trial(t);
    expect_service(s->lab, 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_tells_its_steps_and_leaves_a_model),
        cmocka_unit_test(where_checkpoints_are_written_does_not_matter),
        cmocka_unit_test(a_paused_run_goes_on_where_it_was),
        cmocka_unit_test(segmentations_in_between_are_served_and_change_nothing),
        cmocka_unit_test(a_segmentation_does_not_wait_for_a_long_run),
        cmocka_unit_test(a_second_run_waits_for_the_first),
        cmocka_unit_test(a_killed_run_goes_on_from_its_last_checkpoint),
        cmocka_unit_test(killed_again_and_again_it_makes_the_same_bytes),
        cmocka_unit_test(another_learning_rate_is_taken_while_it_runs),
        cmocka_unit_test(a_checkpoint_that_cannot_be_kept_ends_the_run),
        cmocka_unit_test(a_run_begins_with_the_weights_it_is_given),
        cmocka_unit_test(images_that_are_not_there_are_named),
        cmocka_unit_test(nothing_outside_the_folder_is_read),
        cmocka_unit_test(descriptions_that_are_none_are_refused),
    };
    return cmocka_run_group_tests(tests, open_school, close_school);
}
