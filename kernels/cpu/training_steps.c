/* Running graphs of training; see training.h. */
#include "kernels/cpu/training_layout.h"
#include "kernels/cpu/training_narrow.h"
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

/* A value as the operator takes it: where it lies, or in a wide buffer. */
static struct bs_tensor operand(const struct bs_program *program, const struct bs__training_value *v,
                                int wide, const struct bs_run *run)
{
    struct bs_tensor t = tensor_at(program, v, run);
    if (wide != BS__NO_BUFFER)
        t.data = run->arena + program->buffer[wide].offset;
    return t;
}

static void load(const struct bs__cpu *cpu, enum bs_dtype narrow, const struct bs__training_value *v,
                 const struct bs_tensor *from, void *to)
{
    const size_t count = bs_shape_count(&v->shape);
    if (v->narrow)
        bs__train_narrow(cpu->threads, narrow, from->data, count, to);
    else
        memcpy(to, from->data, count * sizeof(float));
}

static bs_status compute(const struct bs__cpu *cpu, const struct bs_program *program,
                         const struct bs__training *t, const struct bs__training_step *s,
                         const struct bs_run *run, struct bs_err *err)
{
    struct bs__training_call c = {.cpu = cpu, .step = s};
    for (int i = 0; i < s->ninput; i++) {
        const struct bs__training_value *v = &t->value[s->input[i]];
        c.in[i] = operand(program, v, s->wide_input[i], run);
        if (s->wide_input[i] != BS__NO_BUFFER)
            bs__train_widen(cpu->threads, t->narrow, tensor_at(program, v, run).data,
                            bs_shape_count(&v->shape), c.in[i].data);
    }
    for (int i = 0; i < BS_MAX_INPUTS; i++)
        if (s->value[i] >= 0)
            c.out[i] = operand(program, &t->value[s->value[i]], s->wide[i], run);
    if (s->scratch != BS__NO_BUFFER)
        c.scratch = run->arena + program->buffer[s->scratch].offset;
    if (s->moments != BS__NO_BUFFER)
        c.moments = (float *)(run->arena + program->buffer[s->moments].offset);
    struct bs_tensor out[BS_MAX_INPUTS];
    memcpy(out, c.out, sizeof out);
    bs__training_copy_in(t->value, &c);
    const bs_status rc = bs__training_op(s->op)->run(&c, err);
    if (rc == BS_OK)
        bs__training_copy_out(t->value, &c, out);
    for (int i = 0; i < BS_MAX_INPUTS && rc == BS_OK; i++)
        if (s->value[i] >= 0 && s->wide[i] != BS__NO_BUFFER)
            bs__train_narrow(cpu->threads, t->narrow, out[i].data, bs_shape_count(&out[i].shape),
                             tensor_at(program, &t->value[s->value[i]], run).data);
    return rc;
}

bs_status bs__training_run_step(const struct bs__cpu *cpu, const struct bs_program *program,
                                const struct bs__training *t, int step, const struct bs_run *run,
                                struct bs_err *err)
{
    const struct bs__training_step *s = &t->step[step];
    if (s->kind == BS__TRAINING_OPERATOR)
        return compute(cpu, program, t, s, run, err);
    const struct bs__training_value *v = &t->value[s->value[0]];
    const struct bs_tensor at = tensor_at(program, v, run);
    const size_t count = bs_shape_count(&v->shape);
    if (s->kind == BS__TRAINING_LOAD)
        load(cpu, t->narrow, v, &run->input[s->host], at.data);
    else if (v->narrow)
        bs__train_widen(cpu->threads, t->narrow, at.data, count, run->output[s->host].data);
    else
        store(cpu, v, at.data, run->output[s->host].data);
    return BS_OK;
}
