/* Running graphs of training; see training.h. */
#include "kernels/cpu/training_operators.h"

#include <string.h>

static struct bs_tensor tensor_at(const struct bs_program *program, const struct bs__training_value *v,
                                  const struct bs_run *run)
{
    void *in_arena = v->buffer == BS__NO_BUFFER ? NULL : run->arena + program->buffer[v->buffer].offset;
    /* a bs_tensor's data is not const; parameters are only read */
    return (struct bs_tensor){BS_F32, v->shape, in_arena ? in_arena : (void *)(uintptr_t)v->param};
}

bs_status bs__training_run_step(const struct bs__cpu *cpu, const struct bs_program *program,
                                const struct bs__training *t, int step, const struct bs_run *run,
                                struct bs_err *err)
{
    const struct bs__training_step *s = &t->step[step];
    struct bs__training_call c = {.cpu = cpu, .step = s};
    for (int i = 0; i < s->ninput; i++)
        c.in[i] = tensor_at(program, &t->value[s->input[i]], run);
    for (int i = 0; i < BS_MAX_INPUTS; i++)
        if (s->value[i] >= 0)
            c.out[i] = tensor_at(program, &t->value[s->value[i]], run);
    if (s->scratch != BS__NO_BUFFER)
        c.scratch = run->arena + program->buffer[s->scratch].offset;
    const size_t bytes = bs_shape_count(&c.out[0].shape) * sizeof(float);
    switch (s->kind) {
    case BS__TRAINING_LOAD:
        memcpy(c.out[0].data, run->input[s->host].data, bytes);
        break;
    case BS__TRAINING_STORE:
        memcpy(run->output[s->host].data, c.out[0].data, bytes);
        break;
    case BS__TRAINING_OPERATOR:
        return bs__training_op(s->op)->run(&c, err);
    }
    return BS_OK;
}
