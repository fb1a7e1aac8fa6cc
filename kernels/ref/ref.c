/* The reference backend: one step per operator, plain loops (ops/), C-order float32. What every other backend is tested
   against, and what sanitizer builds and machines without oneDNN run.
   In bf16 (f16) precision weights and the result of every operator are rounded to it while sums stay as they are; vectors
   (biases, affine parts and statistics of norms) keep float32, as they do on hardware, and so does in training what
   bs_graph_narrow leaves out. */
#include "kernels/backend.h"
#include "kernels/base/checked.h"
#include "kernels/base/machine.h"
#include "kernels/op.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A value of the graph as the program sees it: in the arena, or a packed parameter. */
struct value {
    struct bs_shape shape;
    int buffer;         /* -1: not in the arena */
    const float *param; /* NULL: not a parameter */
    bool narrow;        /* rounded when it is made */
};

enum step_kind { STEP_LOAD, STEP_COMPUTE, STEP_STORE };

struct step {
    enum step_kind kind;
    enum bs_op op; /* COMPUTE */
    struct bs_attr attr;
    int ninput;
    int input[BS_MAX_INPUTS];
    int value; /* what LOAD and COMPUTE make, what STORE hands out */
    int host;  /* LOAD: index of the input, STORE: of the output */
};

struct ref_program {
    enum bs_precision precision;
    struct value *value;
    struct step *step;
};

static bs_status ref_open(const struct bs_device_options *opt, void **dev, struct bs_err *err)
{
    (void)opt, (void)err;
    *dev = NULL; /* no state: loops in the caller's thread */
    return BS_OK;
}

static void ref_close(void *dev)
{
    (void)dev;
}

static void ref_describe(void *dev, struct bs_device_info *info)
{
    (void)dev;
    char cpu[64];
    bs_machine_cpu_name(cpu, sizeof cpu);
    snprintf(info->name, sizeof info->name, "reference loops, %s", cpu);
    snprintf(info->libraries, sizeof info->libraries, "none");
    snprintf(info->isa, sizeof info->isa,
             "baseline"); /* what the compiler was told to emit, not what the CPU has */
    info->threads = 1;
    info->fast_bf16 = false;
}

static void round_to(enum bs_precision precision, float *x, size_t count)
{
    for (size_t i = 0; i < count && precision == BS_PRECISION_BF16; i++)
        x[i] = bs_bf16_to_f32(bs_f32_to_bf16(x[i]));
    for (size_t i = 0; i < count && precision == BS_PRECISION_F16; i++)
        x[i] = bs_f16_to_f32(bs_f32_to_f16(x[i]));
}

struct pack {
    const char *name;
    enum bs_precision precision;
};

static bs_status pack_param(struct bs_params *params, void *dst, size_t bytes, void *ctx, struct bs_err *err)
{
    const struct pack *p = ctx;
    bs_status rc = bs_params_read(params, p->name, dst, bytes / sizeof(float), err);
    if (rc == BS_OK)
        round_to(p->precision, dst, bytes / sizeof(float));
    return rc;
}

static bs_status bind_param(const struct bs_node *n, struct bs_params *params, enum bs_precision precision,
                            const float **out, struct bs_err *err)
{
    char key[512];
    bs_status rc = bs_params_need(params, n->name, &n->shape, err);
    if (rc != BS_OK)
        return rc;
    struct pack ctx = {.name = n->name, .precision = n->shape.ndim > 1 ? precision : BS_PRECISION_F32};
    size_t bytes = bs_shape_count(&n->shape) * sizeof(float);
    int len = snprintf(key, sizeof key, "ref/%s/%s", bs_precision_name(ctx.precision), n->name);
    if (len < 0 || (size_t)len >= sizeof key)
        return BS_FAIL(err, BS_ELIMIT, "parameter name of %zu bytes; up to %zu are accepted", strlen(n->name),
                       sizeof key - sizeof "ref/bf16/");
    const void *packed;
    rc = bs_params_packed(params, key, bytes, pack_param, &ctx, &packed, err);
    *out = packed;
    return rc;
}

static void ref_destroy_program(void *dev, struct bs_program *program)
{
    (void)dev;
    struct ref_program *p = program->private;
    if (p) {
        free(p->value);
        free(p->step);
    }
    free(p);
    free(program->buffer);
    free(program);
}

/* Gives a value its place in the arena, alive from step `first` on. */
static void new_buffer(struct bs_program *program, struct value *v, int first)
{
    v->buffer = program->nbuffer++;
    program->buffer[v->buffer] = (struct bs_plan_buffer){
        .bytes = bs_shape_count(&v->shape) * sizeof(float),
        .first = first,
        .last = first,
        .parent = BS_NO_PARENT,
    };
}

static void use_at(struct bs_program *program, const struct value *v, int step)
{
    if (v->buffer >= 0)
        program->buffer[v->buffer].last = step;
}

/* An output leaves as soon as it is made. */
static void add_stores(const struct bs_graph *g, bs_value v, struct bs_program *program)
{
    struct ref_program *p = program->private;
    for (int i = 0; i < bs_graph_output_count(g); i++) {
        if (bs_graph_output_value(g, i) != v)
            continue;
        p->step[program->nstep] = (struct step){.kind = STEP_STORE, .value = v, .host = i};
        use_at(program, &p->value[v], program->nstep++);
    }
}

/* Parameters are bound, inputs loaded, operators computed in the order of the graph. */
static bs_status add_steps(const struct bs_graph *g, const bool *narrow, struct bs_params *params,
                           struct bs_program *program, struct bs_err *err)
{
    struct ref_program *p = program->private;
    int host = 0;
    for (bs_value v = 0; v < bs_graph_node_count(g); v++) {
        const struct bs_node *n = bs_graph_node(g, v);
        struct value *value = &p->value[v];
        *value = (struct value){.shape = n->shape, .buffer = -1, .narrow = narrow[v]};
        int this_host = n->op == BS_OP_INPUT ? host++ : -1;
        if (!bs_graph_is_live(g, v))
            continue;
        if (n->op == BS_OP_PARAM) {
            bs_status rc = bind_param(n, params, p->precision, &value->param, err);
            if (rc != BS_OK)
                return rc;
            add_stores(g, v, program);
            continue;
        }
        struct step *s = &p->step[program->nstep];
        *s = (struct step){.kind = n->op == BS_OP_INPUT ? STEP_LOAD : STEP_COMPUTE,
                           .op = n->op,
                           .attr = n->attr,
                           .ninput = n->ninput,
                           .value = v,
                           .host = this_host};
        for (int i = 0; i < n->ninput; i++) {
            s->input[i] = n->input[i];
            use_at(program, &p->value[n->input[i]], program->nstep);
        }
        new_buffer(program, value, program->nstep++);
        add_stores(g, v, program);
    }
    return BS_OK;
}

static bs_status ref_lower(void *dev, const struct bs_graph *g, struct bs_params *params,
                           enum bs_precision precision, struct bs_program **out, struct bs_err *err)
{
    size_t nnode = (size_t)bs_graph_node_count(g), nstep = nnode + (size_t)bs_graph_output_count(g);
    bs_status rc = BS_OK;
    struct ref_program *p = NULL;
    bool *narrow = NULL;
    struct bs_program *program = calloc(1, sizeof *program);
    if (!program)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a program");
    if (!(narrow = calloc(nnode, sizeof *narrow)) ||
        !(program->buffer = calloc(nnode, sizeof *program->buffer)) ||
        !(program->private = p = calloc(1, sizeof *p)) || !(p->value = calloc(nnode, sizeof *p->value)) ||
        !(p->step = calloc(nstep, sizeof *p->step))) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for a program of %zu steps", nstep);
        goto cleanup;
    }
    p->precision = precision;
    snprintf(program->algorithms, sizeof program->algorithms, "reference loops");
    bs_graph_narrow(g, narrow);
    rc = add_steps(g, narrow, params, program, err);

cleanup:
    free(narrow);
    if (rc != BS_OK) {
        ref_destroy_program(dev, program);
        program = NULL;
    }
    *out = program;
    return rc;
}

static struct bs_tensor tensor(const struct bs_program *program, const struct value *v,
                               const struct bs_run *run)
{
    struct bs_tensor t = {.dtype = BS_F32, .shape = v->shape};
    t.data = v->buffer >= 0 ? (void *)(run->arena + program->buffer[v->buffer].offset)
                            : (void *)(uintptr_t)v->param;
    return t;
}

static bs_status ref_run_step(void *dev, struct bs_program *program, int step, const struct bs_run *run,
                              struct bs_err *err)
{
    (void)dev, (void)err;
    const struct ref_program *p = program->private;
    const struct step *s = &p->step[step];
    struct bs_tensor in[BS_MAX_INPUTS], out = tensor(program, &p->value[s->value], run);
    size_t count = bs_shape_count(&out.shape);
    if (s->kind == STEP_STORE) {
        memcpy(run->output[s->host].data, out.data, count * sizeof(float));
        return BS_OK;
    }
    if (s->kind == STEP_LOAD) {
        memcpy(out.data, run->input[s->host].data, count * sizeof(float));
    } else {
        for (int i = 0; i < s->ninput; i++)
            in[i] = tensor(program, &p->value[s->input[i]], run);
        bs_op_def(s->op)->reference(&s->attr, in, s->ninput, &out);
    }
    if (p->value[s->value].narrow)
        round_to(p->precision, out.data, count);
    return BS_OK;
}

static void ref_describe_step(void *dev, const struct bs_program *program, int step, char *text, size_t len)
{
    (void)dev;
    const struct ref_program *p = program->private;
    const struct step *s = &p->step[step];
    char shape[BS_SHAPE_TEXT];
    const char *name = s->kind == STEP_LOAD    ? "load"
                       : s->kind == STEP_STORE ? "store"
                                               : bs_op_def(s->op)->name;
    snprintf(text, len, "%s -> %s", name, bs_shape_text(&p->value[s->value].shape, shape, sizeof shape));
}

const struct bs_backend_i *bs_backend_ref(void)
{
    static const struct bs_backend_i backend = {
        .abi = BS_BACKEND_ABI,
        .name = "ref",
        .open = ref_open,
        .close = ref_close,
        .describe = ref_describe,
        .lower = ref_lower,
        .run_step = ref_run_step,
        .destroy_program = ref_destroy_program,
        .describe_step = ref_describe_step,
    };
    return &backend;
}
