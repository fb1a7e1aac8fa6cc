/* Steps within a memory budget: as much as it takes is made again for the backward, the bytes stay below, and every bit of
   losses, gradients and state is that of a step which keeps everything; the same budget gives the same plan; a budget that no
   plan meets is refused with the least one that works. */
#include "run_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS 2

static struct bs_unetr_decoder_config decoder(int features)
{
    return (struct bs_unetr_decoder_config){.initial_features = features,
                                            .out_channels = 3,
                                            .upsampling = BS_UPSAMPLING_BILINEAR,
                                            .sigmoid = true};
}

static struct bs_arch_config unet(int features)
{
    struct bs_arch_config arch = small_unet(BS_NORM_INSTANCE);
    arch.unet.depth = 3;
    arch.unet.initial_features = features;
    return arch;
}

#ifdef BS_WITH_ONEDNN
static struct bs_arch_config unetr(void)
{
    return (struct bs_arch_config){.kind = BS_ARCH_UNETR,
                                   .unetr = {.in_channels = 1,
                                             .image_size = 64,
                                             .patch_size = 16,
                                             .embed_dim = 32,
                                             .depth = 4,
                                             .heads = 2,
                                             .mlp_features = 128,
                                             .window = 3,
                                             .global_blocks = 1u << 1 | 1u << 3,
                                             .neck_channels = 16,
                                             .decoder = decoder(8)}};
}
#endif

static struct bs_arch_config vimunet(int side, int features)
{
    return (struct bs_arch_config){.kind = BS_ARCH_VIMUNET,
                                   .vimunet = {.in_channels = 1,
                                               .image_size = side,
                                               .patch_size = 16,
                                               .embed_dim = 32,
                                               .depth = 8,
                                               .inner_features = 64,
                                               .state_size = 8,
                                               .dt_rank = 2,
                                               .conv_kernel = 4,
                                               .head_classes = 4,
                                               .class_token = true,
                                               .divide_by_directions = true,
                                               .decoder = decoder(features)}};
}

/* What the steps of one network share. */
struct lab {
    struct bs_device *dev;
    struct bs_arch_config arch;
    struct bs_params *params;
    struct bs_train_size size;
    float *image, *target;
};

static struct lab begin(const char *device, struct bs_arch_config arch, int side)
{
    struct lab lab = {.arch = arch, .size = {.samples = 2, .h = side, .w = side}};
    const struct bs_device_options options = {.threads = 1, .allow_winograd = true};
    const size_t pixels = (size_t)side * (size_t)side;
    struct bs_err err = {.msg = ""};
    lab.image = random_values(2 * pixels, 1, -2, 2);
    lab.target = random_values(2 * 3 * pixels, 2, 0, 1);
    if (bs_device_open(device, &options, &lab.dev, &err) != BS_OK ||
        !(lab.params = formula_params(&arch, 7, &err)))
        fail_msg("%s", err.msg);
    return lab;
}

static void end(struct lab *lab)
{
    bs_params_unref(lab->params);
    bs_device_close(lab->dev);
    free(lab->image);
    free(lab->target);
}

static bs_status try_step(const struct lab *lab, size_t bytes, struct bs_step **step, struct bs_err *err)
{
    const struct bs_loss loss = {
        .kind = BS_LOSS_DICE_DISTANCE, .mask_background = true, .alpha = 1, .beta = 1};
    const struct bs_step_options options = {.bytes = bytes};
    return bs_step_create_with(lab->dev, &lab->arch, &lab->size, &loss, &options, lab->params, step, err);
}

static struct bs_step *new_step(const struct lab *lab, size_t bytes)
{
    struct bs_step *step = NULL;
    struct bs_err err = {.msg = ""};
    if (try_step(lab, bytes, &step, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return step;
}

static void train(const struct lab *lab, struct bs_step *step, double *loss)
{
    const struct bs_optimizer o = bs_optimizer_defaults(BS_ADAM);
    struct bs_err err = {.msg = ""};
    for (int i = 0; i < STEPS; i++)
        if (bs_step_compute(step, lab->image, lab->target, NULL, &loss[i], &err) != BS_OK ||
            bs_step_apply(step, &o, &err) != BS_OK)
            fail_msg("%s", err.msg);
}

static void assert_same_bits(const struct bs_step *have, const struct bs_step *want)
{
    assert_int_equal(bs_step_tensor_count(have), bs_step_tensor_count(want));
    for (int i = 0; i < bs_step_tensor_count(want); i++) {
        const struct bs_step_tensor *a = bs_step_tensor_at(have, i), *b = bs_step_tensor_at(want, i);
        const size_t bytes = bs_shape_count(&b->shape) * sizeof(float);
        if (b->value)
            assert_memory_equal(a->value, b->value, bytes);
        if (b->gradient) {
            assert_memory_equal(a->gradient, b->gradient, bytes);
            assert_memory_equal(a->second, b->second, bytes);
        }
    }
}

/* Ever smaller budgets until none is met; `least` is the share of the arena that has to be reached. */
static void check_budgets(const char *device, struct bs_arch_config arch, int side, double least)
{
    struct lab lab = begin(device, arch, side);
    struct bs_step *whole = new_step(&lab, 0), *step = NULL;
    const size_t arena = bs_step_arena_bytes(whole), state = bs_step_bytes(whole) - arena;
    double want[STEPS], share = 0.9, reached = 1;
    int before = 0;
    assert_int_equal(bs_step_recompute(whole)->values, 0);
    train(&lab, whole, want);
    for (;; share -= 0.1) {
        const size_t bytes = state + (size_t)(share * (double)arena);
        double have[STEPS];
        struct bs_err err = {.msg = ""};
        const bs_status rc = try_step(&lab, bytes, &step, &err);
        if (rc == BS_ENOMEM) {
            assert_non_null(strstr(err.msg, "even when activations are computed again"));
            break;
        }
        if (rc != BS_OK)
            fail_msg("%s", err.msg);
        assert_true(bs_step_bytes(step) <= bytes);
        assert_true(bs_step_recompute(step)->values > 0);
        assert_true(bs_step_plan_hash(step) != bs_step_plan_hash(whole));
        before = bs_step_recompute(step)->values;
        train(&lab, step, have);
        assert_memory_equal(have, want, sizeof want);
        assert_same_bits(step, whole);
        reached = share;
        bs_step_destroy(step);
    }
    assert_true(before > 0);
    if (!(reached <= least + 0.01))
        fail_msg("%s: only %.1f of the arena was reached, %.1f expected", bs_arch_name(arch.kind), reached,
                 least);
    bs_step_destroy(whole);
    end(&lab);
}

static void every_bit_is_as_if_everything_had_been_kept(void **state)
{
    (void)state;
    check_budgets("ref", unet(2), 16, 0.8);
    check_budgets("ref", vimunet(32, 2), 32, 0.7);
#ifdef BS_WITH_ONEDNN
    check_budgets("cpu", unet(8), 64, 0.8);
    check_budgets("cpu", unetr(), 64, 0.7);
    check_budgets("cpu", vimunet(64, 8), 64, 0.7);
#endif
}

static void batch_statistics_are_the_same_too(void **state)
{
    (void)state;
    struct bs_arch_config arch = unet(2);
    arch.unet.norm = BS_NORM_BATCH;
    check_budgets("ref", arch, 16, 0.8);
}

static void one_budget_gives_one_plan(void **state)
{
    (void)state;
    struct lab lab = begin("ref", vimunet(32, 2), 32);
    struct bs_step *whole = new_step(&lab, 0);
    const size_t bytes = bs_step_bytes(whole) - bs_step_arena_bytes(whole) / 5;
    struct bs_step *a = new_step(&lab, bytes), *b = new_step(&lab, bytes), *roomy = new_step(&lab, 2 * bytes);
    assert_true(bs_step_plan_hash(a) == bs_step_plan_hash(b));
    assert_true(bs_step_plan_hash(a) != bs_step_plan_hash(whole));
    assert_true(bs_step_plan_hash(roomy) == bs_step_plan_hash(whole));
    bs_step_destroy(whole);
    bs_step_destroy(a);
    bs_step_destroy(b);
    bs_step_destroy(roomy);
    end(&lab);
}

/* Where a few cheap values are enough, the work is a small part of the forward's. */
static void little_is_made_again_where_little_is_missing(void **state)
{
    (void)state;
    struct lab lab = begin("ref", unet(16), 64);
    struct bs_step *whole = new_step(&lab, 0);
    struct bs_step *step = new_step(&lab, bs_step_bytes(whole) - bs_step_arena_bytes(whole) / 10);
    const struct bs_recompute *did = bs_step_recompute(step);
    assert_true(did->values > 0);
    if (!(did->work < 0.1 * did->forward))
        fail_msg("%d values for %g of the forward's work", did->values, did->work / did->forward);
    bs_step_destroy(whole);
    bs_step_destroy(step);
    end(&lab);
}

static void the_least_budget_is_named_and_works(void **state)
{
    (void)state;
    struct lab lab = begin("ref", unet(16), 128);
    struct bs_step *step = NULL;
    struct bs_err err = {.msg = ""};
    size_t least = 0;
    assert_int_equal(try_step(&lab, 1 << 20, &step, &err), BS_ENOMEM);
    assert_null(step);
    assert_int_equal(sscanf(err.msg, "a training step needs %zu MiB", &least), 1);
    assert_non_null(strstr(err.msg, "; 1 MiB are accepted"));
    step = new_step(&lab, least << 20);
    assert_true(bs_step_bytes(step) <= least << 20);
    bs_step_destroy(step);
    end(&lab);
}

static struct trial *wide_trial(int64_t budget)
{
    struct trial *t = new_trial(BS_NORM_INSTANCE);
    t->config.arch = unet(8);
    bs_train_config_set_patch(&t->config, 32);
    t->config.iterations = 4;
    t->config.validate_every = 2;
    t->config.memory_budget = budget;
    return t;
}

/* Losses and scores are functions of all weights; the files differ in the configuration. */
static void a_run_within_a_budget_takes_the_same_steps_and_is_resumed(void **state)
{
    (void)state;
    struct trial *whole = wide_trial(0), *tight = wide_trial(1), *rest, *other;
    succeed(whole);
    while (run_trial(tight) == BS_ENOMEM) {
        const int64_t budget = tight->config.memory_budget;
        assert_non_null(strstr(tight->err.msg, "even when activations are computed again"));
        assert_in_range(budget, 1, 15);
        end_trial(tight);
        tight = wide_trial(budget + 1);
    }
    assert_int_equal(tight->err.code, BS_OK);
    assert_true(tight->result.plan_hash != whole->result.plan_hash);
    assert_int_equal(tight->events, whole->events);
    assert_memory_equal(tight->event, whole->event, (size_t)whole->events * sizeof *whole->event);
    rest = wide_trial(tight->config.memory_budget);
    rest->from = &tight->latest[2];
    succeed(rest);
    assert_true(same_kept(&rest->latest[4], &tight->latest[4]));
    other = wide_trial(tight->config.memory_budget + 1);
    other->from = &tight->latest[2];
    assert_int_equal(run_trial(other), BS_EPRECONDITION);
    assert_non_null(strstr(other->err.msg, "\"memory_budget\""));
    end_trial(whole);
    end_trial(tight);
    end_trial(rest);
    end_trial(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_bit_is_as_if_everything_had_been_kept),
        cmocka_unit_test(batch_statistics_are_the_same_too),
        cmocka_unit_test(one_budget_gives_one_plan),
        cmocka_unit_test(little_is_made_again_where_little_is_missing),
        cmocka_unit_test(the_least_budget_is_named_and_works),
        cmocka_unit_test(a_run_within_a_budget_takes_the_same_steps_and_is_resumed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
