/* Running graphs of training; see training.h. */
#include "kernels/cpu/training_layout.h"
#include "kernels/cpu/training_operators.h"

#include <string.h>

static struct bs_tensor tensor_at(const struct bs_program *program, const struct bs__training_value *v,
                                  const struct bs_run *run)
{
    if (v->host >= 0)
        return (struct bs_tensor){BS_F32, v->shape, run->input[v->host].data};
    void *in_arena = v->buffer == BS__NO_BUFFER ? NULL : run->arena + program->buffer[v->buffer].offset;
    /* a bs_tensor's data is not const; parameters are only read */
    return (struct bs_tensor){BS_F32, v->shape, in_arena ? in_arena : (void *)(uintptr_t)v->param};
}

static void store(const struct bs__cpu *cpu, const struct bs__training_value *v, const float *data, float *to)
{
    const int64_t *d = v->shape.dim;
    if (v->blocked)
        bs__from_blocks(cpu, data, d[0], d[1], d[2] * d[3], to);
    else
        memcpy(to, data, bs_shape_count(&v->shape) * sizeof *to);
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
    if (s->moments != BS__NO_BUFFER)
        c.moments = (float *)(run->arena + program->buffer[s->moments].offset);
    const size_t bytes = bs_shape_count(&c.out[0].shape) * sizeof(float);
    switch (s->kind) {
    case BS__TRAINING_LOAD:
        memcpy(c.out[0].data, run->input[s->host].data, bytes);
        break;
    case BS__TRAINING_STORE:
        store(cpu, &t->value[s->value[0]], c.out[0].data, run->output[s->host].data);
        break;
    case BS__TRAINING_OPERATOR: {
        struct bs_tensor out[BS_MAX_INPUTS];
        memcpy(out, c.out, sizeof out);
        bs__training_copy_in(t->value, &c);
        bs_status rc = bs__training_op(s->op)->run(&c, err);
        if (rc == BS_OK)
            bs__training_copy_out(t->value, &c, out);
        return rc;
    }
    }
    return BS_OK;
}
