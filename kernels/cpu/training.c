/* Lowering graphs of training; see training.h. */
#include "kernels/cpu/training.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/training_fusion.h"
#include "kernels/cpu/training_layout.h"
#include "kernels/cpu/training_operators.h"
#include "kernels/cpu/training_pointwise.h"
#include "kernels/cpu/training_winograd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool bs__is_training(const struct bs_graph *g)
{
    for (bs_value v = 0; v < bs_graph_node_count(g); v++) {
        const struct bs_node *n = bs_graph_node(g, v);
        if (!bs_graph_is_live(g, v))
            continue;
        if (bs__training_op(n->op)->only)
            return true;
        if ((n->op == BS_OP_CONV2D || n->op == BS_OP_CONV_TRANSPOSE2D) &&
            bs_graph_node(g, n->input[1])->op != BS_OP_PARAM)
            return true;
    }
    return false;
}

/* One lowering. */
struct plain {
    struct bs__cpu *cpu;
    struct bs_params *params;
    struct bs_program *program;
    struct bs__training *t;
    struct bs__training_readers readers;
    enum bs_precision precision;
    bool *narrow; /* per value */
    int nconv, nown;
};

static int new_buffer(struct plain *p, size_t bytes, int step)
{
    const int id = p->program->nbuffer++;
    p->program->buffer[id] =
        (struct bs_plan_buffer){.bytes = bytes, .first = step, .last = step, .parent = BS_NO_PARENT};
    return id;
}

/* A constant's values as the precision has them. */
struct rounded {
    const char *name;
    enum bs_precision precision;
};
static bs_status pack(struct bs_params *params, void *dst, size_t bytes, void *ctx, struct bs_err *err)
{
    const struct rounded *r = ctx;
    float *v = dst;
    const bs_status rc = bs_params_read(params, r->name, v, bytes / sizeof(float), err);
    for (size_t i = 0; rc == BS_OK && r->precision != BS_PRECISION_F32 && i < bytes / sizeof(float); i++)
        v[i] = r->precision == BS_PRECISION_BF16 ? bs_bf16_to_f32(bs_f32_to_bf16(v[i]))
                                                 : bs_f16_to_f32(bs_f32_to_f16(v[i]));
    return rc;
}

static bs_status bind_param(struct plain *p, const struct bs_node *n, struct bs__training_value *v,
                            struct bs_err *err)
{
    char key[512];
    const void *packed = NULL;
    const enum bs_precision precision = n->shape.ndim > 1 ? p->precision : BS_PRECISION_F32;
    struct rounded ctx = {n->name, precision};
    bs_status rc = bs_params_need(p->params, n->name, &n->shape, err);
    if (rc != BS_OK)
        return rc;
    if (snprintf(key, sizeof key, "cpu/plain/%s/%s", bs_precision_name(precision), n->name) >=
        (int)sizeof key)
        return BS_FAIL(err, BS_ELIMIT, "parameter name of %zu bytes", strlen(n->name));
    rc =
        bs_params_packed(p->params, key, bs_shape_count(&n->shape) * sizeof(float), pack, &ctx, &packed, err);
    v->param = packed;
    return rc;
}

/* A convolution seen as the forward one: its x, weights and y. */
static struct bs__conv_sizes sizes_of(const struct bs_node *n, const struct bs_shape *x,
                                      const struct bs_shape *w, const struct bs_shape *y)
{
    return (struct bs__conv_sizes){.n = x->dim[0],
                                   .in = x->dim[1],
                                   .h = x->dim[2],
                                   .w = x->dim[3],
                                   .out = y->dim[1],
                                   .out_h = y->dim[2],
                                   .out_w = y->dim[3],
                                   .kernel_h = w->dim[2],
                                   .kernel_w = w->dim[3],
                                   .stride = n->attr.stride,
                                   .pad = n->attr.pad};
}

static bs_status make_conv(struct plain *p, const struct bs_graph *g, const struct bs_node *n,
                           struct bs__training_step *s, struct bs_err *err)
{
    const struct bs_shape *a = &bs_graph_node(g, n->input[0])->shape,
                          *b = &bs_graph_node(g, n->input[1])->shape;
    struct bs__conv_sizes sizes;
    enum bs__conv_result result = BS__CONV_SRC;
    if (n->op == BS_OP_CONV2D) {
        sizes = sizes_of(n, a, b, &n->shape);
        sizes.bias = n->ninput == 3;
        result = BS__CONV_DST;
    } else if (n->op == BS_OP_CONV2D_GRAD_W) {
        sizes = sizes_of(n, a, &n->shape, b);
        result = BS__CONV_WEIGHTS;
    } else { /* gradient of x, and the transposed convolution: y and w are given */
        sizes = sizes_of(n, &n->shape, b, a);
    }
    bs_status rc = bs__dnnl_grad_create(p->cpu->dnnl, result, &sizes, &s->conv, err);
    if (rc != BS_OK)
        return rc;
    p->nconv++;
    return BS_OK;
}

static void use(struct plain *p, const struct bs__training_value *v, int step)
{
    if (v->buffer != BS__NO_BUFFER)
        p->program->buffer[v->buffer].last = step;
}

/* Value v comes out of the step as its result `which`. */
static void make(struct plain *p, const struct bs_graph *g, bs_value v, int which)
{
    struct bs__training_step *s = &p->t->step[p->t->nstep];
    s->value[which] = v;
    struct bs__training_value *value = &p->t->value[v];
    value->shape = bs_graph_node(g, v)->shape;
    value->blocked = bs__training_in_blocks(p->cpu, p->t->value, g, v);
    value->narrow = p->narrow[v];
    const size_t count = bs_shape_count(&value->shape);
    value->buffer = new_buffer(p, count * (value->narrow ? sizeof(uint16_t) : sizeof(float)), p->t->nstep);
}

/* ---- what is made as a part of something else (training_fusion.h) ---- */

/* The step's inputs: of a norm that was not made its own input, of a sum that was not made what is added. */
static void take_inputs(struct plain *p, const struct bs_node *n, struct bs__training_step *s)
{
    for (int i = 0; i < n->ninput; i++) {
        const struct bs__training_value *v = &p->t->value[n->input[i]];
        s->input[i] = n->input[i];
        if (v->normed != BS_NO_VALUE) {
            s->input[i] = v->normed;
            s->moments = p->t->value[v->normed].moments;
        } else if (v->addend[0] != BS_NO_VALUE) {
            s->input[i] = v->addend[0]; /* the last input, of relu_grad */
            s->input[s->ninput++] = v->addend[1];
        }
    }
}

/* Moments of the step's first input: those that were made, or new ones. */
static void take_moments(struct plain *p, struct bs__training_step *s)
{
    struct bs__training_value *x = &p->t->value[s->input[0]];
    const bool of_batch = s->op != BS_OP_INSTANCE_NORM && s->op != BS_OP_INSTANCE_NORM_GRAD;
    const bool made = x->moments != BS__NO_BUFFER && x->of_batch == of_batch && !(x->eps < s->attr.eps) &&
                      !(x->eps > s->attr.eps);
    if (!made) {
        const int64_t groups = x->shape.dim[1] * (of_batch ? 1 : x->shape.dim[0]);
        s->make_moments = true;
        x->moments = new_buffer(p, (size_t)groups * 3 * sizeof(float), p->t->nstep);
        x->of_batch = of_batch;
        x->eps = s->attr.eps;
    }
    s->moments = x->moments;
}

/* The result of relu_grad, with sums over its channels where these are wanted. */
static void make_masked(struct plain *p, const struct bs_graph *g, bs_value v)
{
    p->t->step[p->t->nstep].masked = true;
    make(p, g, v, 0);
    if (p->readers.sum[v] != BS_NO_VALUE)
        make(p, g, p->readers.sum[v], 1);
}

/* Does that image lie in blocks already? */
static bool is_made(const struct plain *p, bs_value v)
{
    return p->t->value[v].blocked && p->t->value[v].buffer != BS__NO_BUFFER;
}

/* Results of an operator over images in blocks that are not its own; false: it makes what it always does. */
static bool make_fused(struct plain *p, const struct bs_graph *g, bs_value v)
{
    struct bs__training_step *s = &p->t->step[p->t->nstep];
    const bool is_norm = s->op == BS_OP_INSTANCE_NORM || s->op == BS_OP_INSTANCE_NORM_GRAD ||
                         s->op == BS_OP_BATCH_NORM_TRAIN || s->op == BS_OP_BATCH_NORM_TRAIN_GRAD ||
                         s->op == BS_OP_BATCH_STATISTICS;
    bs_value reader;
    if (is_norm && p->t->value[s->input[0]].blocked)
        take_moments(p, s);
    if (!p->t->value[v].blocked)
        return false;
    switch (s->op) {
    case BS_OP_CONV2D:
    case BS_OP_BATCH_NORM_TRAIN:
        reader = bs__training_only_reader(g, &p->readers, v, BS_OP_RELU, 0);
        if (reader == BS_NO_VALUE || (s->op == BS_OP_CONV2D && !bs__training_is_winograd(p->cpu, g, v)))
            return false;
        s->relu = true;
        make(p, g, reader, 0);
        return true;
    case BS_OP_INSTANCE_NORM:
        if (bs__training_only_convolved(p->cpu, g, v))
            p->t->value[v].normed = s->input[0];
        return p->t->value[v].normed != BS_NO_VALUE;
    case BS_OP_INSTANCE_NORM_GRAD:
        reader = bs__training_only_reader(g, &p->readers, v, BS_OP_RELU_GRAD, 1);
        if (reader == BS_NO_VALUE || !is_made(p, bs_graph_node(g, reader)->input[0]))
            return false; /* a mask that is made again comes after */
        s->input[s->ninput++] = bs_graph_node(g, reader)->input[0];
        make_masked(p, g, reader);
        return true;
    case BS_OP_RELU_GRAD:
        make_masked(p, g, v);
        return true;
    default:
        return false;
    }
}

/* Is v a sum that only relu_grad reads, which can add? */
static bool is_added_later(struct plain *p, const struct bs_graph *g, bs_value v)
{
    const struct bs_node *n = bs_graph_node(g, v);
    const bs_value reader = bs__training_only_reader(g, &p->readers, v, BS_OP_RELU_GRAD, 1);
    return n->op == BS_OP_ADD && p->t->value[v].blocked && reader != BS_NO_VALUE &&
           p->t->value[bs_graph_node(g, reader)->input[0]].blocked;
}

static bool same_inputs(const struct bs_node *a, const struct bs_node *b)
{
    return a->ninput == b->ninput && memcmp(a->input, b->input, (size_t)a->ninput * sizeof *a->input) == 0;
}

/* Attributes but for which. */
static bool same_attributes(const struct bs_attr *a, const struct bs_attr *b)
{
    return a->heads == b->heads && a->out_h == b->out_h && a->out_w == b->out_w && a->kernel == b->kernel &&
           a->groups == b->groups && a->reverse == b->reverse && a->softplus == b->softplus &&
           !(a->eps < b->eps || a->eps > b->eps);
}

/* The results of a step: rules emit siblings next to each other, and lse somewhere behind its attention. */
static void make_results(struct plain *p, const struct bs_graph *g, bs_value v)
{
    const struct bs_node *n = bs_graph_node(g, v), *other;
    const int count = bs_graph_node_count(g);
    if (!bs__training_op(n->op)->siblings) {
        make(p, g, v, n->op == BS_OP_ATTENTION_LSE);
        for (bs_value w = v + 1; n->op == BS_OP_ATTENTION && w < count; w++) {
            other = bs_graph_node(g, w);
            if (other->op == BS_OP_ATTENTION_LSE && bs_graph_is_live(g, w) && same_inputs(n, other) &&
                same_attributes(&n->attr, &other->attr)) {
                make(p, g, w, 1);
                break;
            }
        }
        return;
    }
    for (bs_value w = v; w < count; w++) {
        other = bs_graph_node(g, w);
        if (other->op != n->op || !same_inputs(n, other) || !same_attributes(&n->attr, &other->attr))
            break;
        if (bs_graph_is_live(g, w) && p->t->step[p->t->nstep].value[other->attr.which] < 0)
            make(p, g, w, other->attr.which);
    }
}

/* Winograd's convolutions work in blocks, those of 1x1 in either order, oneDNN's densely. */
static enum bs__training_layout layout_of_conv(const struct plain *p, const struct bs__training_call *c,
                                               struct bs__training_step *s)
{
    for (int i = 0; i < 2; i++)
        s->blocked_in[i] = p->t->value[s->input[i]].blocked;
    s->blocked_out = p->t->value[s->value[0]].blocked;
    if (bs__training_pointwise_fits(c))
        return s->blocked_in[0] || s->blocked_in[1] || s->blocked_out ? BS__AS_IT_LIES : BS__DENSE;
    return bs__training_winograd_fits(c) ? BS__BLOCKS : BS__DENSE;
}

static bs_status prepare(struct plain *p, const struct bs_graph *g, const struct bs_node *n,
                         struct bs__training_step *s, struct bs_err *err)
{
    const struct bs__training_op *how = bs__training_op(n->op);
    struct bs__training_call c = {.cpu = p->cpu, .step = s};
    char shape[BS_SHAPE_TEXT];
    if (!how->run)
        return BS_FAIL(err, BS_EUNSUPPORTED,
                       "the CPU backend has no %s in training (value of shape %s); \"ref\" has",
                       bs_op_def(n->op)->name, bs_shape_text(&n->shape, shape, sizeof shape));
    for (int i = 0; i < BS_MAX_INPUTS; i++) {
        if (i < s->ninput)
            c.in[i].shape = p->t->value[s->input[i]].shape;
        if (s->value[i] >= 0)
            c.out[i].shape = p->t->value[s->value[i]].shape;
    }
    bs_status rc = BS_OK;
    s->layout = how->conv ? layout_of_conv(p, &c, s) : bs__training_layout_of(p->t->value, s);
    if (how->conv && !(s->own = bs__train_conv_own(&c)))
        rc = make_conv(p, g, n, s, err);
    if (rc != BS_OK)
        return rc;
    p->nown += s->own != NULL;
    const size_t own = s->conv ? bs__dnnl_grad_scratch(s->conv) : how->scratch ? how->scratch(&c) : 0;
    s->own_scratch = (own + 63) / 64 * 64;
    const size_t bytes = s->own_scratch + bs__training_copies(p->t->value, s);
    if (bytes > 0)
        s->scratch = new_buffer(p, bytes, p->t->nstep);
    return BS_OK;
}

/* Room for what the step reads and makes of narrow values. */
static void make_wide(struct plain *p)
{
    struct bs__training_step *s = &p->t->step[p->t->nstep];
    for (int i = 0; i < BS_MAX_INPUTS; i++) {
        s->wide_input[i] = s->wide[i] = BS__NO_BUFFER;
        if (s->kind != BS__TRAINING_OPERATOR)
            continue;
        const struct bs__training_value *in = i < s->ninput ? &p->t->value[s->input[i]] : NULL,
                                        *out = s->value[i] >= 0 ? &p->t->value[s->value[i]] : NULL;
        if (in && in->narrow && in->buffer != BS__NO_BUFFER)
            s->wide_input[i] = new_buffer(p, bs_shape_count(&in->shape) * sizeof(float), p->t->nstep);
        if (out && out->narrow)
            s->wide[i] = new_buffer(p, bs_shape_count(&out->shape) * sizeof(float), p->t->nstep);
    }
}

static bs_status add_step(struct plain *p, const struct bs_graph *g, bs_value v, int host, struct bs_err *err)
{
    const struct bs_node *n = bs_graph_node(g, v);
    struct bs__training *t = p->t;
    struct bs__training_step *s = &t->step[t->nstep];
    char shape[BS_SHAPE_TEXT];
    *s = (struct bs__training_step){.kind = BS__TRAINING_LOAD,
                                    .op = n->op,
                                    .attr = n->attr,
                                    .ninput = n->ninput,
                                    .host = host,
                                    .scratch = BS__NO_BUFFER,
                                    .moments = BS__NO_BUFFER};
    bs_status rc = BS_OK;
    for (int i = 0; i < BS_MAX_INPUTS; i++)
        s->value[i] = -1;
    take_inputs(p, n, s);
    if (!make_fused(p, g, v))
        make_results(p, g, v);
    for (int i = 0; i < s->ninput; i++)
        use(p, &t->value[s->input[i]], t->nstep);
    if (s->moments != BS__NO_BUFFER)
        p->program->buffer[s->moments].last = t->nstep;
    if (n->op != BS_OP_INPUT) {
        s->kind = BS__TRAINING_OPERATOR;
        rc = prepare(p, g, n, s, err);
    }
    make_wide(p);
    const char *how = s->conv ? bs__dnnl_grad_algorithm(s->conv) : (s->own ? s->own : "");
    snprintf(s->text, sizeof s->text, "%s%s%s -> %s%s",
             n->op == BS_OP_INPUT ? "load" : bs_op_def(n->op)->name, *how ? " " : "", how,
             bs_shape_text(&n->shape, shape, sizeof shape), p->narrow[v] ? " in 16 bits" : "");
    t->nstep++; /* also after a failure: what the step owns is destroyed with the others */
    return rc;
}

/* An output leaves as soon as it is made: the gradients of all parameters together would be as large as the network. */
static void add_stores(struct plain *p, const struct bs_graph *g, bs_value v)
{
    for (int i = 0; i < bs_graph_output_count(g); i++) {
        if (bs_graph_output_value(g, i) != v)
            continue;
        struct bs__training_step *s = &p->t->step[p->t->nstep];
        *s = (struct bs__training_step){.kind = BS__TRAINING_STORE,
                                        .value = {v},
                                        .host = i,
                                        .scratch = BS__NO_BUFFER,
                                        .moments = BS__NO_BUFFER,
                                        .text = "store"};
        use(p, &p->t->value[v], p->t->nstep++);
    }
}

static bs_status add_steps(struct plain *p, const struct bs_graph *g, struct bs_err *err)
{
    bs_status rc = BS_OK;
    int host = 0;
    for (bs_value v = 0; v < bs_graph_node_count(g) && rc == BS_OK; v++) {
        const struct bs_node *n = bs_graph_node(g, v);
        struct bs__training_value *value = &p->t->value[v];
        const int this_host = n->op == BS_OP_INPUT ? host++ : -1;
        if (!bs_graph_is_live(g, v))
            continue;
        if (value->buffer == BS__NO_BUFFER) { /* else made together with another */
            value->shape = n->shape;
            value->blocked = bs__training_in_blocks(p->cpu, p->t->value, g, v);
            if (n->op == BS_OP_INPUT && !p->narrow[v] &&
                bs__training_only_packed(p->cpu, g, &p->readers, v)) {
                value->host = this_host;
                continue;
            }
            if (is_added_later(p, g, v)) {
                memcpy(value->addend, n->input, sizeof value->addend);
                continue;
            }
            rc = n->op == BS_OP_PARAM ? bind_param(p, n, value, err) : add_step(p, g, v, this_host, err);
        }
        if (rc == BS_OK)
            add_stores(p, g, v);
    }
    return rc;
}

bs_status bs__training_lower(struct bs__cpu *cpu, const struct bs_graph *g, struct bs_params *params,
                             enum bs_precision precision, struct bs_program *program, struct bs_err *err)
{
    const size_t nnode = (size_t)bs_graph_node_count(g), nstep = nnode + (size_t)bs_graph_output_count(g);
    struct bs__cpu_program *self = program->private;
    struct plain p = {.cpu = cpu, .params = params, .program = program, .precision = precision};
    /* A step has at most these: its value, moments, scratch memory and, of narrow values, what it reads and makes. */
    const size_t most = precision == BS_PRECISION_F32 ? 3 : 3 + 2 * BS_MAX_INPUTS;
    bs_status rc = BS_OK;
    if (!(p.t = self->training = calloc(1, sizeof *p.t)) ||
        !(p.t->value = calloc(nnode, sizeof *p.t->value)) ||
        !(p.t->step = calloc(nstep, sizeof *p.t->step)) ||
        !(program->buffer = calloc(most * nnode + 1, sizeof *program->buffer)) ||
        !(p.narrow = calloc(nnode, sizeof *p.narrow))) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory to lower a graph of %zu operators", nnode);
        goto cleanup;
    }
    p.t->narrow = precision == BS_PRECISION_F16 ? BS_F16 : BS_BF16;
    if (precision != BS_PRECISION_F32)
        bs_graph_narrow(g, p.narrow);
    for (size_t v = 0; v < nnode; v++) {
        p.t->value[v].buffer = p.t->value[v].moments = BS__NO_BUFFER;
        p.t->value[v].host = -1;
        p.t->value[v].normed = p.t->value[v].addend[0] = BS_NO_VALUE;
    }
    bs__parallel_set_threads(cpu->threads); /* oneDNN decides how sums are split when a primitive is made */
    rc = bs__training_readers_create(g, &p.readers, err);
    if (rc == BS_OK)
        rc = add_steps(&p, g, err);
    bs__training_readers_destroy(&p.readers);
    program->nstep = p.t->nstep;
    snprintf(program->algorithms, sizeof program->algorithms,
             "training: convolutions %d by own kernels, %d by oneDNN, %s", p.nown, p.nconv,
             precision == BS_PRECISION_F32    ? "f32"
             : precision == BS_PRECISION_BF16 ? "f32 over values in bf16"
                                              : "f32 over values in f16");

cleanup:
    free(p.narrow);
    return rc;
}

void bs__training_destroy(struct bs__training *t)
{
    if (!t)
        return;
    for (int i = 0; i < t->nstep; i++)
        bs__dnnl_grad_destroy(t->step[i].conv);
    free(t->value);
    free(t->step);
    free(t);
}
