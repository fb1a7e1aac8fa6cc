/* See validate.h. */
#include "model/train/validate.h"

#include <stdlib.h>
#include <string.h>

struct bs_validator {
    struct bs_train_graph *graph;
    struct bs_executable *exe;
    struct bs_tensor *in; /* image, target, state */
    int nin;
    struct bs_tensor out[BS_TRAIN_OUTPUTS];
    float loss;
};

/* The state's tensors in the places of the graph's inputs. Both graphs name them in the same order. */
static bs_status bind_state(struct bs_validator *v, const struct bs_step *step, struct bs_err *err)
{
    const struct bs_train_graph *g = v->graph;
    BS_ASSERT(bs_step_tensor_count(step) == g->ntensor);
    if (!(v->in = calloc((size_t)g->ntensor + BS_TRAIN_SEED, sizeof *v->in)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for the state of %d tensors", g->ntensor);
    v->in[BS_TRAIN_IMAGE] = (struct bs_tensor){BS_F32, g->image, NULL};
    v->in[BS_TRAIN_TARGET] = (struct bs_tensor){BS_F32, g->target, NULL};
    v->nin = BS_TRAIN_SEED;
    for (int i = 0; i < g->ntensor; i++) {
        const struct bs_step_tensor *t = bs_step_tensor_at(step, i);
        BS_ASSERT(!strcmp(t->name, g->tensor[i].name) && t->role == g->tensor[i].role);
        if (g->tensor[i].input < 0)
            continue;
        v->in[g->tensor[i].input] = (struct bs_tensor){BS_F32, t->shape, t->value};
        v->nin++;
    }
    return BS_OK;
}

bs_status bs_validator_create(struct bs_device *dev, const struct bs_arch_config *arch,
                              const struct bs_train_size *size, const struct bs_loss *loss,
                              struct bs_params *params, const struct bs_step *step, struct bs_validator **out,
                              struct bs_err *err)
{
    bs_status rc;
    struct bs_validator *v = calloc(1, sizeof *v);
    *out = NULL;
    if (!v)
        return BS_FAIL(err, BS_ENOMEM, "no memory for validation");
    if ((rc = bs_train_graph_create_validation(arch, size, loss, &v->graph, err)) != BS_OK ||
        (rc = bs_executable_create(dev, v->graph->graph, params, BS_PRECISION_F32, &v->exe, err)) != BS_OK ||
        (rc = bind_state(v, step, err)) != BS_OK)
        goto cleanup;
    v->out[BS_TRAIN_LOSS] = (struct bs_tensor){BS_F32, BS_SHAPE(1), &v->loss};
    v->out[BS_TRAIN_OUTPUT] = (struct bs_tensor){BS_F32, v->graph->output,
                                                 calloc(bs_shape_count(&v->graph->output), sizeof(float))};
    if (!v->out[BS_TRAIN_OUTPUT].data) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for the output of validation");
        goto cleanup;
    }
    *out = v;
    v = NULL;

cleanup:
    bs_validator_destroy(v);
    return rc;
}

void bs_validator_destroy(struct bs_validator *v)
{
    if (!v)
        return;
    bs_executable_destroy(v->exe);
    free(v->in);
    free(v->out[BS_TRAIN_OUTPUT].data);
    bs_train_graph_destroy(v->graph);
    free(v);
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

bs_status bs_validator_run(struct bs_validator *v, const float *image, const float *target,
                           const struct bs_cancel *cancel, double *loss, struct bs_err *err)
{
    v->in[BS_TRAIN_IMAGE].data = read_only(image);
    v->in[BS_TRAIN_TARGET].data = read_only(target);
    bs_status rc = bs_executable_run(v->exe, v->in, v->nin, v->out, BS_TRAIN_OUTPUTS, cancel, err);
    if (rc == BS_OK)
        *loss = (double)v->loss;
    return rc;
}

const float *bs_validator_output(const struct bs_validator *v)
{
    return v->out[BS_TRAIN_OUTPUT].data;
}

size_t bs_validator_arena_bytes(const struct bs_validator *v)
{
    return bs_executable_arena_bytes(v->exe);
}

void bs_validator_trim(struct bs_validator *v)
{
    bs_executable_trim(v->exe);
}

uint64_t bs_validator_plan_hash(const struct bs_validator *v)
{
    return bs_executable_plan_hash(v->exe);
}
