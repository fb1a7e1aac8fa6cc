/* A run's life but for its loop; see run.h. */
#include "model/train/run_internal.h"

#include "kernels/base/checked.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEAST_STEPS      100                 /* between two validations that are due with the epochs */
#define VALIDATION_SEEDS (UINT64_C(1) << 63) /* no run has such a seed */

/* The step's size: a patch, or the square that an encoder sees, of which the target covers the patch. */
static struct bs_train_size size_of(const struct bs_train_config *c, int64_t samples)
{
    const int side = bs_arch_image_size(&c->arch);
    const int64_t h = (int64_t)c->sample.height, w = (int64_t)c->sample.width;
    struct bs_train_size size = {
        .samples = samples, .h = h, .w = w, .frozen = c->freeze_encoder ? "encoder." : NULL};
    if (side && (h != side || w != side)) {
        size.h = size.w = side;
        size.crop_h = h;
        size.crop_w = w;
    }
    return size;
}

static void make_schedule(struct bs_run *r)
{
    const struct bs_train_config *c = &r->config;
    const int64_t samples = c->epoch_samples ? c->epoch_samples : (int64_t)r->setup.train->count;
    r->epoch_steps = (samples + c->batch - 1) / c->batch;
    r->steps = c->iterations ? c->iterations : c->epochs * r->epoch_steps;
    r->validate_every = c->validate_every
                            ? c->validate_every
                            : r->epoch_steps * ((LEAST_STEPS + r->epoch_steps - 1) / r->epoch_steps);
    r->validation_count = c->validation_count ? c->validation_count : (int64_t)r->setup.validation->count;
}

/* Validation windows are as they lie, and the same every time. */
static void make_streams(struct bs_run *r)
{
    const struct bs_train_size step = size_of(&r->config, r->config.batch);
    r->train = (struct bs_batches_setup){
        .source = r->setup.train,
        .rule = r->config.sample,
        .seed = r->config.seed,
        .image = BS_SHAPE(step.samples, bs_arch_in_channels(&r->config.arch), step.h, step.w),
        .threads = r->setup.sample_threads};
    r->validation = r->train;
    r->validation.source = r->setup.validation;
    r->validation.seed |= VALIDATION_SEEDS;
    r->validation.rule.flips = r->validation.rule.quarter_turns = false;
    r->validation.rule.augment = (struct bs_augment_rule){0};
    r->validation.image.dim[0] = 1;
    r->validation.end = r->validation_count;
}

static bs_status check_memory(const struct bs_run *r, size_t need, struct bs_err *err)
{
    const size_t budget = (size_t)r->config.memory_budget << 20;
    if (budget && need > budget)
        return BS_FAIL(
            err, BS_ENOMEM,
            "training needs %zu MiB even when activations are computed again; memory_budget is %zu MiB",
            (need >> 20) + 1, budget >> 20);
    if (!r->setup.max_bytes || need <= r->setup.max_bytes)
        return BS_OK;
    return BS_FAIL(
        err, BS_ENOMEM,
        "training needs %zu MiB with %d patches of %zu x %zu pixels in a batch; %zu MiB are accepted%s",
        need >> 20, r->config.batch, r->config.sample.height, r->config.sample.width,
        r->setup.max_bytes >> 20,
        r->config.memory_budget
            ? ""
            : ". With memory_budget a step computes activations again instead of keeping them");
}

/* At least value, gradient and two moments of every parameter: what does not fit so must not even be tried. */
static bs_status check_state(const struct bs_run *r, struct bs_err *err)
{
    uint64_t parameters;
    size_t need;
    bs_status rc = bs_arch_parameter_count(&r->config.arch, &parameters, err);
    if (rc != BS_OK)
        return rc;
    if (r->config.freeze_encoder)
        return BS_OK; /* known only when it is built */
    return check_memory(r, bs_mul((size_t)parameters, 4 * sizeof(float), &need) ? need : SIZE_MAX, err);
}

static void describe(struct bs_run *r)
{
    struct bs_device_info info;
    bs_device_describe(r->setup.device, &info);
    (void)snprintf(r->device, sizeof r->device, "%s, %s, %s, %d threads", info.name, info.libraries, info.isa,
                   info.threads);
}

/* What the budget leaves for the step beside the samples that are made ahead; 0: there is none. */
static bs_status step_room(const struct bs_run *r, size_t *bytes, struct bs_err *err)
{
    const size_t budget = (size_t)r->config.memory_budget << 20,
                 samples = bs_batches_bytes(&r->train) + bs_batches_bytes(&r->validation);
    *bytes = 0;
    if (!budget)
        return BS_OK;
    if (samples >= budget)
        return BS_FAIL(err, BS_ENOMEM, "training needs %zu MiB for samples alone; memory_budget is %zu MiB",
                       (samples >> 20) + 1, budget >> 20);
    *bytes = budget - samples;
    return BS_OK;
}

static bs_status build(struct bs_run *r, struct bs_err *err)
{
    const struct bs_train_config *c = &r->config;
    const struct bs_train_size step = size_of(c, c->batch), one = size_of(c, 1);
    struct bs_device *dev = r->setup.device;
    struct bs_step_options options = {.precision = c->precision};
    bs_status rc;
    BS_ASSERT(r->setup.train->count > 0 && r->setup.validation->count > 0);
    if ((rc = bs_train_config_check(c, err)) != BS_OK || (rc = check_state(r, err)) != BS_OK ||
        (rc = bs_train_config_to_json(c, &r->config_json, err)) != BS_OK)
        return rc;
    make_schedule(r);
    make_streams(r);
    if ((rc = step_room(r, &options.bytes, err)) != BS_OK ||
        (rc = bs_step_create_with(dev, &c->arch, &step, &c->loss, &options, r->initial, &r->step, err)) !=
            BS_OK ||
        (rc = bs_validator_create(dev, &c->arch, &one, &c->loss, r->initial, r->step, &r->validator, err)) !=
            BS_OK)
        return rc;
    describe(r);
    return check_memory(r, bs_run_bytes(r), err);
}

bs_status bs_run_create(const struct bs_run_setup *setup, struct bs_run **out, struct bs_err *err)
{
    struct bs_run *r = calloc(1, sizeof *r);
    *out = NULL;
    if (!r)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a training run");
    r->setup = *setup;
    r->config = *setup->config;
    /* Where some pairs are partly annotated, every target says what counts. */
    r->config.sample.mask = r->config.loss.masked = setup->train->partial || setup->validation->partial;
    r->initial = bs_params_ref(setup->initial);
    (void)snprintf(r->dataset_hash, sizeof r->dataset_hash, "%s", setup->dataset_hash);
    r->cancel = setup->cancel;
    r->latest_step = -1;
    r->state = (struct bs__run_state){.learning_rate = r->config.optimizer.learning_rate,
                                      .plateau = r->config.plateau,
                                      .scale = {.scale = BS_LOSS_SCALE_FIRST},
                                      .best_metric = (double)INFINITY};
    r->state.plateau.best = (double)INFINITY;
    r->state.plateau.bad = 0;
    const bs_status rc = build(r, err);
    if (rc != BS_OK) {
        bs_run_destroy(r);
        return rc;
    }
    *out = r;
    return BS_OK;
}

void bs_run_destroy(struct bs_run *r)
{
    if (!r)
        return;
    bs_validator_destroy(r->validator);
    bs_step_destroy(r->step);
    bs_params_unref(r->initial);
    free(r->config_json);
    free(r);
}

size_t bs_run_bytes(const struct bs_run *r)
{
    const size_t step = bs_step_arena_bytes(r->step), validation = bs_validator_arena_bytes(r->validator);
    return bs_step_bytes(r->step) - step + (step > validation ? step : validation) +
           bs_batches_bytes(&r->train) + bs_batches_bytes(&r->validation);
}

uint64_t bs_run_trained(const struct bs_run *r)
{
    uint64_t n = 0;
    for (int i = 0; i < bs_step_tensor_count(r->step); i++) {
        const struct bs_step_tensor *t = bs_step_tensor_at(r->step, i);
        if (t->role == BS_ROLE_TRAINED)
            n += (uint64_t)bs_shape_count(&t->shape);
    }
    return n;
}

uint64_t bs_run_plan_hash(const struct bs_run *r)
{
    /* FNV-1a over the second after the first. */
    uint64_t h = bs_step_plan_hash(r->step);
    for (int i = 0; i < 8; i++)
        h = (h ^ (bs_validator_plan_hash(r->validator) >> 8 * i & 0xff)) * UINT64_C(0x100000001b3);
    return h;
}

const char *bs_run_algorithms(const struct bs_run *r)
{
    return bs_step_algorithms(r->step);
}

int64_t bs_run_step(const struct bs_run *r)
{
    return r->state.step;
}
