/* A run's files: everything to go on from, or a model. See run.h. */
#include "model/train/checkpoint.h"

#include "kernels/base/arena.h"
#include "kernels/base/checked.h"
#include "model/model.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NAMES ((size_t)8 << 20)
#define FIRST     "adam.first/"
#define SECOND    "adam.second/"

/* One file: its tensors, and where their values are. */
struct contents {
    const struct bs_run *run;
    struct bs_arena *names;
    struct bs_safetensors_item *item;
    const float **value; /* per item; NULL: a constant, from the initial weights */
    size_t count;
};

static bs_status add(struct contents *c, const char *prefix, const struct bs_step_tensor *t,
                     const float *value, struct bs_err *err)
{
    const size_t size = strlen(prefix) + strlen(t->name) + 1;
    char *name = bs_arena_alloc(c->names, size);
    if (!name)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the names of a checkpoint");
    (void)snprintf(name, size, "%s%s", prefix, t->name);
    c->item[c->count] = (struct bs_safetensors_item){name, BS_F32, t->shape};
    c->value[c->count++] = value;
    return BS_OK;
}

static bs_status list(struct contents *c, enum bs_checkpoint_kind kind, struct bs_err *err)
{
    const struct bs_step *step = c->run->step;
    const int count = bs_step_tensor_count(step);
    bs_status rc = BS_OK;
    c->names = bs_arena_create(MAX_NAMES);
    c->item = calloc(3 * (size_t)count + 1, sizeof *c->item);
    c->value = calloc(3 * (size_t)count + 1, sizeof *c->value);
    if (!c->names || !c->item || !c->value)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a checkpoint of %d tensors", count);
    for (int i = 0; i < count && rc == BS_OK; i++) {
        const struct bs_step_tensor *t = bs_step_tensor_at(step, i);
        rc = add(c, "", t, t->value, err);
        if (kind != BS_CHECKPOINT_LATEST || t->role != BS_ROLE_TRAINED)
            continue;
        if (rc == BS_OK)
            rc = add(c, FIRST, t, t->first, err);
        if (rc == BS_OK)
            rc = add(c, SECOND, t, t->second, err);
    }
    return rc;
}

/* Weights that are no numbers must not take the place of good ones. */
static bs_status fill(void *ctx, size_t i, void *dst, size_t bytes, struct bs_err *err)
{
    const struct contents *c = ctx;
    const size_t count = bytes / sizeof(float);
    bs_cancel_yield(c->run->cancel); /* hundreds of megabytes take a while */
    if (!c->value[i])
        return bs_params_read(c->run->initial, c->item[i].name, dst, count, err);
    for (size_t k = 0; k < count; k++)
        if (!isfinite(c->value[i][k]))
            return BS_FAIL(
                err, BS_EINVAL,
                "after step %" PRId64
                " the weights are not finite (%.100s), the learning rate of %g is too high; the last "
                "checkpoint is of step %" PRId64,
                c->run->state.step, c->item[i].name, c->run->state.learning_rate, c->run->latest_step);
    memcpy(dst, c->value[i], bytes);
    return BS_OK;
}

/* The model that these weights are. */
static bs_status describe_model(const struct bs_run *r, char **json, struct bs_err *err)
{
    const struct bs_train_config *c = &r->config;
    struct bs_model_info info = {.arch = c->arch,
                                 .recipe = c->sample.target,
                                 .normalisation = BS_NORMALISE_STANDARDISE,
                                 .training_patch = (int)c->sample.height,
                                 .defaults = bs_instance_params_default(c->sample.target),
                                 .trained = r->state.step > 0};
    (void)snprintf(info.description, sizeof info.description, "trained with bioseg, %" PRId64 " steps",
                   r->state.step);
    bs_status rc = bs_arch_parameter_count(&info.arch, &info.parameters, err);
    return rc == BS_OK ? bs_model_info_to_json(&info, json, err) : rc;
}

bs_status bs_run_write_checkpoint(const struct bs_run *r, enum bs_checkpoint_kind kind, int fd,
                                  struct bs_err *err)
{
    struct contents c = {.run = r};
    char *model = NULL, *training = NULL;
    bs_status rc;
    if ((rc = describe_model(r, &model, err)) != BS_OK ||
        (rc = bs__checkpoint_describe(r, &training, err)) != BS_OK || (rc = list(&c, kind, err)) != BS_OK)
        goto cleanup;
    const struct bs_safetensors_pair metadata[] = {{"bioseg", model}, {BS__CHECKPOINT_KEY, training}};
    rc = bs_safetensors_write_fd(fd, metadata, kind == BS_CHECKPOINT_LATEST ? 2 : 1, c.item, c.count, fill,
                                 &c, err);

cleanup:
    free(model);
    free(training);
    free(c.item);
    free(c.value);
    bs_arena_destroy(c.names);
    return rc;
}

static bs_status read_tensor(const struct bs_safetensors *st, const char *prefix,
                             const struct bs_step_tensor *t, float *value, struct bs_err *err)
{
    char name[600];
    if (snprintf(name, sizeof name, "%s%s", prefix, t->name) >= (int)sizeof name)
        return BS_FAIL(err, BS_ELIMIT, "checkpoint: a tensor's name has %zu bytes", strlen(t->name));
    const struct bs_safetensors_entry *e = bs_safetensors_find(st, name);
    if (!e || e->dtype != BS_F32 || !bs_shape_equal(&e->shape, &t->shape))
        return BS_FAIL(err, BS_ECORRUPT, "checkpoint: tensor %.120s is missing or of another shape", name);
    return bs_safetensors_read(st, e, value, bs_shape_count(&t->shape) * sizeof *value, err);
}

bs_status bs_run_resume(struct bs_run *r, const struct bs_safetensors *st, struct bs_err *err)
{
    const char *text = bs_safetensors_metadata(st, BS__CHECKPOINT_KEY);
    if (!text)
        return BS_FAIL(err, BS_EPRECONDITION,
                       "the file is no checkpoint to go on from: it has no \"" BS__CHECKPOINT_KEY "\"");
    bs_status rc = bs__checkpoint_match(r, text, &r->state, err);
    for (int i = 0; i < bs_step_tensor_count(r->step) && rc == BS_OK; i++) {
        const struct bs_step_tensor *t = bs_step_tensor_at(r->step, i);
        if (t->role == BS_ROLE_CONSTANT)
            continue;
        bs_cancel_yield(r->cancel);
        rc = read_tensor(st, "", t, t->value, err);
        if (rc == BS_OK && t->role == BS_ROLE_TRAINED)
            rc = read_tensor(st, FIRST, t, t->first, err);
        if (rc == BS_OK && t->role == BS_ROLE_TRAINED)
            rc = read_tensor(st, SECOND, t, t->second, err);
    }
    if (rc == BS_OK) {
        bs_step_set_count(r->step, r->state.step - r->state.skipped);
        r->latest_step = r->state.step;
    }
    return rc;
}
