/* See step.h. */
#include "model/train/step.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define RUN      ((size_t)1 << 17) /* elements that are changed before somebody may go first: a millisecond */
#define MOMENTUM 0.1               /* how far running statistics move towards the batch's; torch's default */

struct bs_step {
    struct bs_train_graph *graph;
    struct bs_executable *exe;
    struct bs_step_tensor *tensor; /* as many as the graph's, in their order */
    struct bs_tensor *in, *out;    /* bound to the executable; out owns its memory */
    int nin, nout;
    float seed;
    int64_t count;                  /* steps applied */
    bool computed;                  /* gradients wait to be applied; */
    const struct bs_cancel *cancel; /* of their compute */
    bool overflowed;
    enum bs_precision precision;
    size_t bytes; /* of state and outputs */
    struct bs_recompute recompute;
};

static bs_status new_floats(struct bs_step *s, const struct bs_shape *shape, float **out, struct bs_err *err)
{
    const size_t bytes = bs_shape_count(shape) * sizeof **out;
    if (!(*out = calloc(1, bytes)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for %zu bytes of a training step", bytes);
    s->bytes += bytes;
    return BS_OK;
}

static bs_status make_outputs(struct bs_step *s, struct bs_err *err)
{
    const struct bs_graph *g = s->graph->graph;
    s->nout = bs_graph_output_count(g);
    if (!(s->out = calloc((size_t)s->nout, sizeof *s->out)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for the outputs of a training step");
    for (int i = 0; i < s->nout; i++) {
        float *data = NULL;
        const struct bs_shape shape = bs_graph_node(g, bs_graph_output_value(g, i))->shape;
        bs_status rc = new_floats(s, &shape, &data, err);
        if (rc != BS_OK)
            return rc;
        s->out[i] = (struct bs_tensor){BS_F32, shape, data};
    }
    return BS_OK;
}

static bs_status make_tensor(struct bs_step *s, int i, struct bs_params *params, struct bs_err *err)
{
    const struct bs_train_tensor *from = &s->graph->tensor[i];
    struct bs_step_tensor *t = &s->tensor[i];
    bs_status rc;
    *t = (struct bs_step_tensor){.name = from->name, .shape = from->shape, .role = from->role};
    if (t->role == BS_ROLE_CONSTANT)
        return BS_OK;
    if ((rc = bs_params_need(params, t->name, &t->shape, err)) != BS_OK ||
        (rc = new_floats(s, &t->shape, &t->value, err)) != BS_OK ||
        (rc = bs_params_read(params, t->name, t->value, bs_shape_count(&t->shape), err)) != BS_OK)
        return rc;
    if (t->role != BS_ROLE_TRAINED)
        return BS_OK;
    if ((rc = new_floats(s, &t->shape, &t->first, err)) != BS_OK ||
        (rc = new_floats(s, &t->shape, &t->second, err)) != BS_OK)
        return rc;
    t->gradient = s->out[from->output].data;
    s->in[from->input] = (struct bs_tensor){BS_F32, t->shape, t->value};
    s->nin++;
    return BS_OK;
}

static bs_status make_state(struct bs_step *s, struct bs_params *params, struct bs_err *err)
{
    const size_t count = (size_t)s->graph->ntensor;
    if (!(s->tensor = calloc(count + 1, sizeof *s->tensor)) ||
        !(s->in = calloc(count + BS_TRAIN_INPUTS, sizeof *s->in)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for the state of %zu tensors", count);
    s->nin = BS_TRAIN_INPUTS;
    s->seed = 1;
    s->in[BS_TRAIN_IMAGE] = (struct bs_tensor){BS_F32, s->graph->image, NULL};
    s->in[BS_TRAIN_TARGET] = (struct bs_tensor){BS_F32, s->graph->target, NULL};
    s->in[BS_TRAIN_SEED] = (struct bs_tensor){BS_F32, BS_SHAPE(1), &s->seed};
    for (int i = 0; i < s->graph->ntensor; i++) {
        bs_status rc = make_tensor(s, i, params, err);
        if (rc != BS_OK)
            return rc;
    }
    return BS_OK;
}

/* The value of that input. */
static bs_value input_value(const struct bs_graph *g, int input)
{
    for (bs_value v = 0; v < bs_graph_node_count(g); v++)
        if (bs_graph_node(g, v)->op == BS_OP_INPUT && input-- == 0)
            return v;
    BS_ASSERT(false);
    return BS_NO_VALUE;
}

static bs_status compile(struct bs_step *s, struct bs_device *dev, const struct bs_step_options *options,
                         struct bs_params *params, struct bs_err *err)
{
    const struct bs_graph *g = s->graph->graph;
    if (!options->bytes)
        return bs_executable_create(dev, g, params, options->precision, &s->exe, err);
    const size_t room = options->bytes > s->bytes ? options->bytes - s->bytes : 0;
    const bs_status rc = bs_executable_create_within(dev, g, input_value(g, BS_TRAIN_SEED), params,
                                                     options->precision, room, &s->exe, &s->recompute, err);
    if (rc == BS_ENOMEM && s->recompute.bytes > 0)
        return BS_FAIL(
            err, BS_ENOMEM,
            "a training step needs %zu MiB, %zu MiB of them for weights, gradients and moments, even "
            "when activations are computed again for the backward; %zu MiB are accepted",
            ((s->bytes + s->recompute.bytes) >> 20) + 1, s->bytes >> 20, options->bytes >> 20);
    return rc;
}

bs_status bs_step_create(struct bs_device *dev, const struct bs_arch_config *arch,
                         const struct bs_train_size *size, const struct bs_loss *loss,
                         struct bs_params *params, struct bs_step **out, struct bs_err *err)
{
    const struct bs_step_options none = {.bytes = 0};
    return bs_step_create_with(dev, arch, size, loss, &none, params, out, err);
}

bs_status bs_step_create_with(struct bs_device *dev, const struct bs_arch_config *arch,
                              const struct bs_train_size *size, const struct bs_loss *loss,
                              const struct bs_step_options *options, struct bs_params *params,
                              struct bs_step **out, struct bs_err *err)
{
    bs_status rc;
    struct bs_step *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a training step");
    s->precision = options->precision;
    if ((rc = bs_train_graph_create(arch, size, loss, &s->graph, err)) != BS_OK ||
        (rc = make_outputs(s, err)) != BS_OK || (rc = make_state(s, params, err)) != BS_OK ||
        (rc = compile(s, dev, options, params, err)) != BS_OK) {
        bs_step_destroy(s);
        return rc;
    }
    *out = s;
    return BS_OK;
}

void bs_step_destroy(struct bs_step *s)
{
    if (!s)
        return;
    bs_executable_destroy(s->exe);
    for (int i = 0; s->tensor && i < s->graph->ntensor; i++) {
        free(s->tensor[i].value);
        free(s->tensor[i].first);
        free(s->tensor[i].second);
    }
    for (int i = 0; s->out && i < s->nout; i++)
        free(s->out[i].data);
    free(s->tensor);
    free(s->in);
    free(s->out);
    bs_train_graph_destroy(s->graph);
    free(s);
}

size_t bs_step_bytes(const struct bs_step *s)
{
    return bs_executable_arena_bytes(s->exe) + s->bytes;
}

size_t bs_step_arena_bytes(const struct bs_step *s)
{
    return bs_executable_arena_bytes(s->exe);
}

void bs_step_trim(struct bs_step *s)
{
    bs_executable_trim(s->exe);
}

uint64_t bs_step_plan_hash(const struct bs_step *s)
{
    return bs_executable_plan_hash(s->exe);
}

const char *bs_step_algorithms(const struct bs_step *s)
{
    return bs_executable_algorithms(s->exe);
}

const struct bs_recompute *bs_step_recompute(const struct bs_step *s)
{
    return &s->recompute;
}

struct bs_shape bs_step_image_shape(const struct bs_step *s)
{
    return s->graph->image;
}

struct bs_shape bs_step_target_shape(const struct bs_step *s)
{
    return s->graph->target;
}

/* A bs_tensor's data is not const; inputs are only read. */
static void *read_only(const float *data)
{
    union {
        const float *in;
        void *out;
    } borrowed = {data};
    return borrowed.out;
}

void bs_step_set_scale(struct bs_step *s, double scale)
{
    BS_ASSERT(scale >= 1);
    s->seed = (float)scale;
}

bool bs_step_overflowed(const struct bs_step *s)
{
    return s->overflowed;
}

/* Takes the scale out of the gradients; false: they are not finite. */
static bool unscale(const struct bs_step *s)
{
    const float back = 1 / s->seed;
    for (int i = 0; i < s->graph->ntensor; i++) {
        float *g = s->tensor[i].gradient;
        const size_t count = g ? bs_shape_count(&s->tensor[i].shape) : 0;
        for (size_t k = 0; k < count; k++) {
            if (!isfinite(g[k]))
                return false;
            g[k] *= back;
        }
    }
    return true;
}

bs_status bs_step_compute(struct bs_step *s, const float *image, const float *target,
                          const struct bs_cancel *cancel, double *loss, struct bs_err *err)
{
    s->computed = s->overflowed = false;
    s->in[BS_TRAIN_IMAGE].data = read_only(image);
    s->in[BS_TRAIN_TARGET].data = read_only(target);
    bs_status rc = bs_executable_run(s->exe, s->in, s->nin, s->out, s->nout, cancel, err);
    if (rc != BS_OK)
        return rc;
    *loss = (double)*(const float *)s->out[BS_TRAIN_LOSS].data;
    if (!isfinite(*loss))
        return BS_FAIL(
            err, BS_EINVAL,
            "the loss of step %lld is %g: pixels or targets are not finite, or the learning rate is "
            "too high",
            (long long)s->count + 1, *loss);
    s->cancel = cancel;
    s->overflowed = s->precision == BS_PRECISION_F16 && !unscale(s);
    s->computed = !s->overflowed;
    return BS_OK;
}

const float *bs_step_output(const struct bs_step *s)
{
    return s->out[BS_TRAIN_OUTPUT].data;
}

/* running = (1 - momentum) running + momentum batch */
static void move_statistics(struct bs_step_tensor *t, const struct bs_tensor *batch)
{
    const size_t channels = bs_shape_count(&t->shape);
    const float *seen = (const float *)batch->data + (t->role == BS_ROLE_RUNNING_VARIANCE ? channels : 0);
    for (size_t c = 0; c < channels; c++)
        t->value[c] = (float)((1 - MOMENTUM) * (double)t->value[c] + MOMENTUM * (double)seen[c]);
}

static void optimise(const struct bs_step *s, const struct bs_optimizer *o, const struct bs_step_tensor *t)
{
    const size_t count = bs_shape_count(&t->shape);
    for (size_t at = 0; at < count; at += RUN) {
        if (bs_cancel_yield_wanted(s->cancel))
            bs_cancel_yield(s->cancel);
        bs_optimizer_step(o, s->count, t->gradient + at, count - at < RUN ? count - at : RUN, t->value + at,
                          t->first + at, t->second + at);
    }
}

bs_status bs_step_apply(struct bs_step *s, const struct bs_optimizer *o, struct bs_err *err)
{
    bs_status rc = bs_optimizer_check(o, err);
    if (rc != BS_OK)
        return rc;
    if (!s->computed)
        return BS_FAIL(err, BS_EPRECONDITION, "there are no gradients to apply%s",
                       s->overflowed ? ": they overflowed" : "");
    s->computed = false;
    s->count++;
    for (int i = 0; i < s->graph->ntensor; i++) {
        struct bs_step_tensor *t = &s->tensor[i];
        if (t->role == BS_ROLE_TRAINED)
            optimise(s, o, t);
        else if (t->role != BS_ROLE_CONSTANT)
            move_statistics(t, &s->out[s->graph->tensor[i].output]);
    }
    return BS_OK;
}

int64_t bs_step_count(const struct bs_step *s)
{
    return s->count;
}

void bs_step_set_count(struct bs_step *s, int64_t count)
{
    BS_ASSERT(count >= 0);
    s->count = count;
}

int bs_step_tensor_count(const struct bs_step *s)
{
    return s->graph->ntensor;
}

const struct bs_step_tensor *bs_step_tensor_at(const struct bs_step *s, int i)
{
    BS_ASSERT(i >= 0 && i < s->graph->ntensor);
    return &s->tensor[i];
}
