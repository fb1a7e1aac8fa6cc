/* A training run: it learns, goes on from any step as if it had never stopped, makes the same bits with any number of threads,
   says what is wrong, and does between steps what it is told. */
#include "run_support.h"

#include "model/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The last event of a kind; NULL: there was none. */
static const struct bs_run_event *last_of(const struct trial *t, enum bs_run_event_kind kind)
{
    for (int i = t->events - 1; i >= 0; i--)
        if (t->event[i].kind == kind)
            return &t->event[i];
    return NULL;
}

static const struct bs_run_event *first_of(const struct trial *t, enum bs_run_event_kind kind)
{
    for (int i = 0; i < t->events; i++)
        if (t->event[i].kind == kind)
            return &t->event[i];
    return NULL;
}

static void it_learns_what_discs_are(void **state)
{
    (void)state;
    struct trial *t = new_trial(BS_NORM_INSTANCE);
    t->config.iterations = 60;
    t->config.validate_every = 1;
    t->threads = 1;
    succeed(t);
    const struct bs_run_event *first = first_of(t, BS_RUN_VALIDATION), *last = last_of(t, BS_RUN_VALIDATION);
    if (!(last->best_metric < 0.75 * first->metric))
        fail_msg("validation went from %g to %g", first->metric, last->best_metric);
    assert_int_equal(t->result.end, BS_RUN_FINISHED);
    assert_int_equal(t->result.step, 60);
    assert_int_equal(last->epoch, 30); /* four images, two at a time */
    end_trial(t);
}

static void a_run_resumed_at_any_step_equals_an_undisturbed_one(void **state)
{
    (void)state;
    for (int norm = BS_NORM_INSTANCE; norm <= BS_NORM_BATCH; norm++) {
        struct trial *whole = new_trial((enum bs_norm)norm);
        whole->config.checkpoint_every = 1;
        whole->config.plateau.patience = 0;
        succeed(whole);
        assert_int_equal(whole->events, 12 + 3);
        for (int step = 1; step <= 12; step++) {
            struct trial *rest = new_trial((enum bs_norm)norm);
            rest->config = whole->config;
            rest->from = &whole->latest[step];
            assert_int_equal(rest->from->step, step);
            succeed(rest);
            if (step < 12)
                assert_true(same_kept(&rest->latest[12], &whole->latest[12]));
            const int skipped = whole->events - rest->events;
            assert_int_equal(rest->events, 12 - step + (step < 4 ? 3 : step < 8 ? 2 : step < 12 ? 1 : 0));
            assert_memory_equal(rest->event, whole->event + skipped,
                                (size_t)rest->events * sizeof *rest->event);
            assert_true(rest->result.best_metric == whole->result.best_metric);
            assert_int_equal(rest->result.best_step, whole->result.best_step);
            end_trial(rest);
        }
        end_trial(whole);
    }
}

static void any_number_of_sample_threads_gives_the_same_bits(void **state)
{
    (void)state;
    struct trial *alone = new_trial(BS_NORM_INSTANCE);
    succeed(alone);
    for (int threads = 1; threads <= 3; threads += 2) {
        struct trial *t = new_trial(BS_NORM_INSTANCE);
        t->threads = threads;
        succeed(t);
        assert_true(same_kept(&t->latest[12], &alone->latest[12]));
        assert_true(same_kept(&t->best, &alone->best));
        assert_int_equal(t->events, alone->events);
        assert_memory_equal(t->event, alone->event, (size_t)t->events * sizeof *t->event);
        end_trial(t);
    }
    end_trial(alone);
}

/* Labels under what does not count change nothing, neither in training nor in validation; without the mask they do. */
static void what_does_not_count_changes_no_bit(void **state)
{
    (void)state;
    struct trial *partial = new_trial(BS_NORM_INSTANCE), *wiped = new_trial(BS_NORM_INSTANCE),
                 *whole = new_trial(BS_NORM_INSTANCE);
    partial->partial = wiped->partial = wiped->wiped = true;
    succeed(partial);
    succeed(wiped);
    succeed(whole);
    assert_true(same_kept(&partial->latest[12], &wiped->latest[12]));
    assert_memory_equal(partial->event, wiped->event, (size_t)partial->events * sizeof *partial->event);
    assert_false(same_kept(&partial->latest[12], &whole->latest[12]));
#ifdef BS_WITH_ONEDNN
    struct trial *cpu = new_trial(BS_NORM_INSTANCE);
    cpu->partial = true;
    cpu->device = "cpu";
    succeed(cpu);
    for (int i = 0; i < cpu->events; i++)
        if (!(fabs(cpu->event[i].loss - partial->event[i].loss) < (i ? 0.03 : 1e-4) * partial->event[i].loss))
            fail_msg("event %d: %g for %g", i, cpu->event[i].loss, partial->event[i].loss);
    end_trial(cpu);
#endif
    end_trial(partial);
    end_trial(wiped);
    end_trial(whole);
}

static void another_seed_makes_another_run(void **state)
{
    (void)state;
    struct trial *a = new_trial(BS_NORM_INSTANCE), *b = new_trial(BS_NORM_INSTANCE);
    b->config.seed = 6;
    succeed(a);
    succeed(b);
    assert_true(a->event[0].loss != b->event[0].loss);
    assert_false(same_kept(&a->best, &b->best));
    end_trial(a);
    end_trial(b);
}

/* The broken image is drawn in the first four samples, so in step 1 or 2; a checkpoint is kept after each step. */
static void a_loss_that_is_no_number_is_told_with_step_and_images(void **state)
{
    (void)state;
    struct trial *t = new_trial(BS_NORM_INSTANCE);
    char step[64], last[64];
    t->broken = true;
    t->config.checkpoint_every = 1;
    assert_int_equal(run_trial(t), BS_EINVAL);
    snprintf(step, sizeof step, "the loss of step %d is ", (int)t->result.step + 1);
    snprintf(last, sizeof last, "the last checkpoint is of step %d", (int)t->result.step);
    assert_in_range(t->result.step, 0, 1);
    if (!strstr(t->err.msg, step) || !strstr(t->err.msg, "four.tif") ||
        !strstr(t->err.msg, t->result.step ? last : "no checkpoint was kept"))
        fail_msg("%s", t->err.msg);
    end_trial(t);
}

static void weights_that_are_no_numbers_are_not_kept(void **state)
{
    (void)state;
    struct trial *t = new_trial(BS_NORM_INSTANCE);
    t->config.checkpoint_every = 1;
    t->poison_at = 3;
    assert_int_equal(run_trial(t), BS_EINVAL);
    assert_int_equal(t->result.latest_step, 2);
    assert_int_equal(t->latest[3].size, 0);
    if (!strstr(t->err.msg, "after step 3 the weights are not finite") ||
        !strstr(t->err.msg, "the last checkpoint is of step 2"))
        fail_msg("%s", t->err.msg);
    end_trial(t);
}

static void what_is_another_run_is_not_resumed(void **state)
{
    (void)state;
    struct trial *whole = new_trial(BS_NORM_INSTANCE), *other;
    succeed(whole);
    static const char *const said[] = {
        "another configuration: \"batch\":2 in the checkpoint, \"batch\":3 here",
        "another dataset: d1 in the checkpoint, d2 here", "another plan"};
    for (int i = 0; i < 3; i++) {
        other = new_trial(BS_NORM_INSTANCE);
        other->from = &whole->latest[4];
        if (i == 0)
            other->config.batch = 3;
        else if (i == 1)
            other->dataset = "d2";
        else
            other->device = "cpu";
#ifndef BS_WITH_ONEDNN
        if (i == 2) {
            end_trial(other);
            break;
        }
#endif
        assert_int_equal(run_trial(other), BS_EPRECONDITION);
        if (!strstr(other->err.msg, said[i]))
            fail_msg("%s", other->err.msg);
        end_trial(other);
    }
    other = new_trial(BS_NORM_INSTANCE);
    other->from = &whole->best;
    assert_int_equal(run_trial(other), BS_EPRECONDITION);
    assert_non_null(strstr(other->err.msg, "no checkpoint to go on from"));
    end_trial(other);
    end_trial(whole);
}

static void a_paused_run_goes_on_as_if_it_had_not(void **state)
{
    (void)state;
    struct trial *whole = new_trial(BS_NORM_INSTANCE), *half = new_trial(BS_NORM_INSTANCE),
                 *rest = new_trial(BS_NORM_INSTANCE);
    succeed(whole);
    half->at[5].pause = true;
    succeed(half);
    assert_int_equal(half->result.end, BS_RUN_PAUSED);
    assert_int_equal(half->result.step, 5);
    assert_int_equal(half->result.latest_step, 5);
    rest->from = &half->latest[5];
    succeed(rest);
    assert_true(same_kept(&rest->latest[12], &whole->latest[12]));
    assert_true(same_kept(rest->bests ? &rest->best : &half->best, &whole->best));
    end_trial(whole);
    end_trial(half);
    end_trial(rest);
}

static void a_new_learning_rate_holds_from_the_next_step(void **state)
{
    (void)state;
    struct trial *t = new_trial(BS_NORM_INSTANCE), *plain = new_trial(BS_NORM_INSTANCE);
    t->at[2].learning_rate = 3e-3;
    succeed(t);
    succeed(plain);
    for (int i = 0; i < 4; i++) {
        assert_true(t->event[i].learning_rate == (i < 2 ? 1e-2 : 3e-3));
        assert_true(plain->event[i].learning_rate == 1e-2);
    }
    assert_true(t->event[2].loss == plain->event[2].loss); /* made with the weights of before */
    assert_true(t->event[3].loss != plain->event[3].loss);
    end_trial(t);
    end_trial(plain);
}

static void weights_can_be_tried_before_the_first_validation(void **state)
{
    (void)state;
    struct trial *t = new_trial(BS_NORM_INSTANCE), *paused = new_trial(BS_NORM_INSTANCE);
    paused->at[2].best_now = true;
    paused->at[3].pause = true;
    succeed(paused);
    assert_int_equal(paused->bests, 1);
    assert_int_equal(paused->best.step, 2);
    t->at[6].best_now = true; /* there is a better one by then */
    succeed(t);
    struct trial *plain = new_trial(BS_NORM_INSTANCE);
    succeed(plain);
    assert_int_equal(t->bests, plain->bests);
    end_trial(t);
    end_trial(paused);
    end_trial(plain);
}

/* Weights that do not move give the same metric every time: the first stays the best. */
static void a_run_without_progress_is_stopped(void **state)
{
    (void)state;
    struct trial *t = new_trial(BS_NORM_INSTANCE), *again = new_trial(BS_NORM_INSTANCE);
    t->config.optimizer.learning_rate = 1e-30;
    t->config.iterations = 40;
    t->config.validate_every = 2;
    t->config.stop_after = 3;
    succeed(t);
    assert_int_equal(t->result.end, BS_RUN_STOPPED);
    assert_int_equal(t->result.best_step, 2);
    assert_int_equal(t->result.step, 2 + 2 * 4);
    assert_int_equal(t->bests, 1);
    again->config = t->config;
    again->from = &t->latest[10];
    succeed(again);
    assert_int_equal(again->result.end, BS_RUN_STOPPED);
    assert_int_equal(again->events, 0);
    end_trial(again);
    end_trial(t);
}

/* No validation is so much better than the first. */
static void the_learning_rate_goes_down_with_the_plateau(void **state)
{
    (void)state;
    struct trial *t = new_trial(BS_NORM_INSTANCE);
    t->config.plateau.threshold = 0.9;
    t->config.plateau.patience = 0;
    succeed(t);
    for (int i = 0; i < t->events; i++) {
        const struct bs_run_event *e = &t->event[i];
        const int lowered = e->step < 8 ? 0 : e->kind == BS_RUN_STEP ? (e->step > 8) : e->step < 12 ? 1 : 2;
        assert_true(fabs(e->learning_rate - 1e-2 * pow(0.9, lowered)) < 1e-12);
    }
    end_trial(t);
}

static void a_cancelled_run_ends_at_once(void **state)
{
    (void)state;
    struct trial *t = new_trial(BS_NORM_INSTANCE);
    bs_cancel_request(&t->cancel);
    assert_int_equal(run_trial(t), BS_ECANCELLED);
    assert_int_equal(t->result.step, 0);
    end_trial(t);
}

/* A network on the device of the run, which looks at an image whenever the training gives way. */
struct intruder {
    struct bs_params *params;
    struct bs_executable *exe;
    float image[SIDE * SIDE], first[2 * 3 * SIDE * SIDE], again[2 * 3 * SIDE * SIDE]; /* logits and output */
    int calls;
};

static void look(struct intruder *in, float *out)
{
    struct bs_err err = {.msg = ""};
    const struct bs_tensor image = {BS_F32, BS_SHAPE(1, 1, SIDE, SIDE), in->image};
    struct bs_tensor maps[2] = {{BS_F32, BS_SHAPE(1, 3, SIDE, SIDE), out},
                                {BS_F32, BS_SHAPE(1, 3, SIDE, SIDE), out + 3 * SIDE * SIDE}};
    if (bs_executable_run(in->exe, &image, 1, maps, 2, NULL, &err) != BS_OK)
        fail_msg("%s", err.msg);
}

static void open_intruder(void *ctx, struct bs_device *dev)
{
    struct intruder *in = ctx;
    struct bs_graph *g = NULL;
    struct bs_err err = {.msg = ""};
    const struct bs_arch_config arch = small_unet(BS_NORM_INSTANCE);
    float *values = random_values(SIDE * SIDE, 4, -1, 1);
    memcpy(in->image, values, sizeof in->image);
    free(values);
    in->params = formula_params(&arch, 9, &err);
    if (!in->params || bs_arch_build(&arch, 1, SIDE, SIDE, &g, &err) != BS_OK ||
        bs_executable_create(dev, g, in->params, BS_PRECISION_F32, &in->exe, &err) != BS_OK)
        fail_msg("%s", err.msg);
    bs_graph_destroy(g);
    look(in, in->first);
}

static void close_intruder(void *ctx)
{
    struct intruder *in = ctx;
    bs_executable_destroy(in->exe);
    bs_params_unref(in->params);
}

static void intrude(void *ctx)
{
    struct intruder *in = ctx;
    if (in->calls++ % 25 != 0)
        return;
    look(in, in->again);
    assert_memory_equal(in->again, in->first, sizeof in->first);
}

/* The same run with an intruder: `wanted`, in the middle of operators, too. How often it came. */
static int disturb(const struct trial *plain, const atomic_bool *wanted)
{
    struct trial *t = new_trial(BS_NORM_BATCH);
    struct intruder *intruder = calloc(1, sizeof *intruder);
    const struct bs_yield yield = {intruder, intrude, wanted};
    assert_non_null(intruder);
    t->device = plain->device;
    t->config = plain->config;
    t->cancel.yield = &yield;
    t->opened = open_intruder;
    t->closing = close_intruder;
    t->device_ctx = intruder;
    succeed(t);
    const int64_t last = t->config.iterations;
    assert_true(same_kept(&t->latest[last], &plain->latest[last]));
    const int calls = intruder->calls;
    free(intruder);
    end_trial(t);
    return calls;
}

static void what_runs_between_two_operators_or_within_one_changes_nothing(void **state)
{
    (void)state;
    static const char *const devices[] = {
        "ref",
#ifdef BS_WITH_ONEDNN
        "cpu",
#endif
    };
    const atomic_bool always = true;
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
        struct trial *plain = new_trial(BS_NORM_BATCH);
        plain->device = devices[i];
        succeed(plain);
        const int between = disturb(plain, NULL), within = disturb(plain, &always);
        assert_true(between > 12 * 20);
        /* The reference computes an operator in one go. */
        if (!strcmp(devices[i], "cpu") && within < between + 12 * 20)
            fail_msg("it came %d times between operators, and %d times with those within", between, within);
        end_trial(plain);
    }
}

/* free() it. */
static float *kept_tensor(const struct kept *k, const char *name, size_t *count)
{
    struct bs_safetensors *st = open_kept(k);
    const struct bs_safetensors_entry *e = bs_safetensors_find(st, name);
    struct bs_err err = {.msg = ""};
    if (!e)
        fail_msg("no tensor %s", name);
    *count = bs_shape_count(&e->shape);
    float *v = malloc(*count * sizeof *v);
    if (bs_safetensors_read(st, e, v, *count * sizeof *v, &err) != BS_OK)
        fail_msg("%s", err.msg);
    bs_safetensors_close(st);
    return v;
}

/* Not the encoder, and everything else; a run that is resumed goes on so. */
static void a_frozen_encoder_stays_as_it_began(void **state)
{
    (void)state;
    static const char *const encoder = "encoder.blocks.0.block.1.weight",
                             *const decoder = "decoder.blocks.0.block.1.weight";
    struct trial *t = new_trial(BS_NORM_BATCH), *rest = new_trial(BS_NORM_BATCH);
    size_t n, m;
    t->config.freeze_encoder = true;
    t->config.checkpoint_every = 1;
    rest->config = t->config;
    succeed(t);
    float *a = kept_tensor(&t->latest[1], encoder, &n), *b = kept_tensor(&t->latest[12], encoder, &m);
    assert_memory_equal(a, b, n * sizeof *a);
    free(a);
    free(b);
    a = kept_tensor(&t->latest[1], decoder, &n);
    b = kept_tensor(&t->latest[12], decoder, &m);
    assert_memory_not_equal(a, b, n * sizeof *a);
    free(a);
    free(b);
    struct bs_safetensors *st = open_kept(&t->latest[1]);
    assert_null(bs_safetensors_find(st, "adam.first/encoder.blocks.0.block.1.weight"));
    assert_non_null(bs_safetensors_find(st, "adam.first/decoder.blocks.0.block.1.weight"));
    bs_safetensors_close(st);
    rest->from = &t->latest[7];
    succeed(rest);
    assert_true(same_kept(&rest->latest[12], &t->latest[12]));
#ifdef BS_WITH_ONEDNN
    struct trial *cpu = new_trial(BS_NORM_BATCH);
    cpu->config = t->config;
    cpu->device = "cpu";
    succeed(cpu);
    for (int i = 0; i < cpu->events; i++) /* as for the ViM-UNet below */
        if (!(fabs(cpu->event[i].loss - t->event[i].loss) < (i ? 0.03 : 1e-4) * t->event[i].loss))
            fail_msg("event %d: %g for %g", i, cpu->event[i].loss, t->event[i].loss);
    end_trial(cpu);
#endif
    end_trial(t);
    end_trial(rest);
}

/* The encoder sees a square of its own size, of which the patch is a part. */
static void a_vimunet_learns_from_patches_smaller_than_its_encoder(void **state)
{
    (void)state;
    static const char *const devices[] = {"ref", "cpu"};
    double before[2] = {0}, after[2] = {0};
    for (int i = 0; i < 2; i++) {
        struct trial *t = new_trial(BS_NORM_INSTANCE);
        bs_train_config_default(BS_ARCH_VIMUNET, BS_RECIPE_DISTANCES, 3, &t->config);
        t->config.arch.vimunet = (struct bs_vimunet_config){.in_channels = 3,
                                                            .image_size = 32,
                                                            .patch_size = 16,
                                                            .embed_dim = 32,
                                                            .depth = 2,
                                                            .inner_features = 64,
                                                            .state_size = 4,
                                                            .dt_rank = 2,
                                                            .conv_kernel = 4,
                                                            .class_token = true,
                                                            .divide_by_directions = true,
                                                            .decoder = t->config.arch.vimunet.decoder};
        t->config.arch.vimunet.decoder.initial_features = 4;
        bs_train_config_set_patch(&t->config, 24);
        t->config.iterations = 6;
        t->config.validate_every = 3;
        t->config.sample.target_min_size = 0;
        t->config.optimizer.learning_rate = 3e-3;
        t->device = devices[i];
#ifndef BS_WITH_ONEDNN
        t->device = "ref";
#endif
        succeed(t);
        assert_true(t->result.best_metric < first_of(t, BS_RUN_VALIDATION)->metric + 1e-9);
        assert_true(t->event[5].loss < t->event[0].loss);
        before[i] = t->event[0].loss;
        after[i] = last_of(t, BS_RUN_VALIDATION)->metric;
        end_trial(t);
    }
    /* Adam makes full steps of gradients that are rounding errors. */
    if (!(fabs(before[0] - before[1]) < 1e-4 && fabs(after[0] - after[1]) < 0.03 * after[0]))
        fail_msg("%g and %g on ref, %g and %g on cpu", before[0], after[0], before[1], after[1]);
}

static void the_best_checkpoint_is_a_model(void **state)
{
    (void)state;
    struct trial *t = new_trial(BS_NORM_BATCH);
    struct bs_device *dev = NULL;
    struct bs_model *model = NULL;
    struct bs_err err = {.msg = ""};
    char path[64];
    succeed(t);
    assert_true(t->bests > 0);
    int fd = kept_file(&t->best);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    assert_int_equal(bs_device_open("ref", NULL, &dev, &err), BS_OK);
    if (bs_model_open(path, dev, &model, &err) != BS_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(bs_model_info_get(model)->training_patch, 16);
    assert_true(bs_model_info_get(model)->trained);
    assert_int_equal(bs_model_info_get(model)->recipe, BS_RECIPE_DISTANCES);
    bs_model_close(model);
    bs_device_close(dev);
    close(fd);
    end_trial(t);
}

static void a_run_beyond_its_memory_is_refused_before_it_starts(void **state)
{
    (void)state;
    struct trial *t = new_trial(BS_NORM_INSTANCE);
    /* not even the state fits; the state alone does */
    for (t->max_bytes = 1000; t->max_bytes <= 100000; t->max_bytes *= 100) {
        assert_int_equal(run_trial(t), BS_ENOMEM);
        assert_non_null(strstr(t->err.msg, "2 patches of 16 x 16"));
    }
    end_trial(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_learns_what_discs_are),
        cmocka_unit_test(a_run_resumed_at_any_step_equals_an_undisturbed_one),
        cmocka_unit_test(any_number_of_sample_threads_gives_the_same_bits),
        cmocka_unit_test(what_does_not_count_changes_no_bit),
        cmocka_unit_test(another_seed_makes_another_run),
        cmocka_unit_test(a_loss_that_is_no_number_is_told_with_step_and_images),
        cmocka_unit_test(weights_that_are_no_numbers_are_not_kept),
        cmocka_unit_test(what_is_another_run_is_not_resumed),
        cmocka_unit_test(a_paused_run_goes_on_as_if_it_had_not),
        cmocka_unit_test(a_new_learning_rate_holds_from_the_next_step),
        cmocka_unit_test(weights_can_be_tried_before_the_first_validation),
        cmocka_unit_test(a_run_without_progress_is_stopped),
        cmocka_unit_test(the_learning_rate_goes_down_with_the_plateau),
        cmocka_unit_test(a_cancelled_run_ends_at_once),
        cmocka_unit_test(what_runs_between_two_operators_or_within_one_changes_nothing),
        cmocka_unit_test(a_frozen_encoder_stays_as_it_began),
        cmocka_unit_test(a_vimunet_learns_from_patches_smaller_than_its_encoder),
        cmocka_unit_test(the_best_checkpoint_is_a_model),
        cmocka_unit_test(a_run_beyond_its_memory_is_refused_before_it_starts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
