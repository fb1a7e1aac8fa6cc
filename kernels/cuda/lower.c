/* From the graph to steps: values in the order of the graph, each made by the file that knows its operator (lower_conv.c,
   lower_images.c, lower_tokens.c, lower_mixer.c). Who makes a value looks ahead: what only it reads and can be done in the same
   step is done there, and made with it. A concatenation costs nothing where its parts can be written into it; slices are
   views. An operator that none of the files knows is refused by its name. */
#include "kernels/cuda/lower.h"

#include "kernels/op.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int64_t bs__gpu_columns(const struct bs_shape *s)
{
    return s->ndim == 4 ? s->dim[1] : s->ndim > 0 ? s->dim[s->ndim - 1] : 1;
}

int64_t bs__gpu_rows(const struct bs_shape *s)
{
    return (int64_t)bs_shape_count(s) / bs__gpu_columns(s);
}

void bs__gpu_fail(struct bs__gpu_lowering *l, bs_status code, const char *text, const struct bs_node *n)
{
    char shape[BS_SHAPE_TEXT];
    if (l->rc == BS_OK)
        l->rc = BS_FAIL(l->err, code, "%s: %s (value of shape %s)", text, bs_op_def(n->op)->name,
                        bs_shape_text(&n->shape, shape, sizeof shape));
}

bs_value bs__gpu_only_consumer(const struct bs__gpu_lowering *l, bs_value v)
{
    const struct bs__gpu_value *x = &l->value[v];
    return x->uses == 1 && x->outputs == 0 ? x->consumer : BS_NO_VALUE;
}

bs_value bs__gpu_followed_by(const struct bs__gpu_lowering *l, bs_value v, enum bs_op op)
{
    const bs_value c = bs__gpu_only_consumer(l, v);
    return c != BS_NO_VALUE && bs__gpu_node(l, c)->op == op && !l->value[c].made ? c : BS_NO_VALUE;
}

const struct bs__gpu_place *bs__gpu_value_at(struct bs__gpu_lowering *l, bs_value v)
{
    struct bs__gpu_value *x = &l->value[v];
    if (!x->made && bs__gpu_node(l, v)->op == BS_OP_PARAM)
        bs__gpu_fail(l, BS_EUNSUPPORTED, "the CUDA backend takes parameters as weights only",
                     bs__gpu_node(l, v));
    else if (!x->made)
        bs__gpu_fail(l, BS_EINTERNAL, "the CUDA backend reads a value that it did not make",
                     bs__gpu_node(l, v));
    return &x->place;
}

const struct bs__gpu_place *bs__gpu_value_as(struct bs__gpu_lowering *l, bs_value v, enum bs__element e)
{
    struct bs__gpu_value *x = &l->value[v];
    const struct bs__gpu_place *from = bs__gpu_value_at(l, v);
    if (from->element == e || l->rc != BS_OK)
        return from;
    if (!x->converted) {
        const struct bs_shape *s = &bs__gpu_node(l, v)->shape;
        x->copy = bs__gpu_room(l, bs__gpu_rows(s), bs__gpu_columns(s), e);
        bs__gpu_add_copy(l, "convert", &x->copy, 0, from, 0, 1, bs__gpu_rows(s), bs__gpu_columns(s));
        x->converted = true;
    }
    return &x->copy;
}

struct bs__gpu_place bs__gpu_value_packed(struct bs__gpu_lowering *l, bs_value v, enum bs__element e)
{
    const struct bs_shape *s = &bs__gpu_node(l, v)->shape;
    const struct bs__gpu_place *from = bs__gpu_value_at(l, v);
    if (from->stride == bs__gpu_columns(s))
        return *bs__gpu_value_as(l, v, e);
    struct bs__gpu_place to = bs__gpu_room(l, bs__gpu_rows(s), bs__gpu_columns(s), e);
    bs__gpu_add_copy(l, "pack", &to, 0, from, 0, 1, bs__gpu_rows(s), bs__gpu_columns(s));
    return to;
}

/* Where a part of a concatenation lies in it: the concatenation gets its room when its first part is made. */
static bool place_in_concat(struct bs__gpu_lowering *l, bs_value v, struct bs__gpu_place *p)
{
    const bs_value c = l->value[v].concat;
    if (c == BS_NO_VALUE)
        return false;
    const struct bs_node *n = bs__gpu_node(l, c);
    struct bs__gpu_place *whole = &l->value[c].place;
    if (whole->buffer == BS__NO_BUFFER)
        *whole = bs__gpu_room(l, bs__gpu_rows(&n->shape), bs__gpu_columns(&n->shape), l->element);
    *p = *whole;
    if (n->input[1] == v)
        p->offset += bs__gpu_columns(&bs__gpu_node(l, n->input[0])->shape);
    return true;
}

const struct bs__gpu_place *bs__gpu_make(struct bs__gpu_lowering *l, bs_value v, enum bs__element e)
{
    struct bs__gpu_value *x = &l->value[v];
    const struct bs_shape *s = &bs__gpu_node(l, v)->shape;
    if (e != l->element || !place_in_concat(l, v, &x->place))
        x->place = bs__gpu_room(l, bs__gpu_rows(s), bs__gpu_columns(s), e);
    x->made = true;
    return &x->place;
}

void bs__gpu_make_view(struct bs__gpu_lowering *l, bs_value v, bs_value of, int64_t first_column)
{
    struct bs__gpu_value *x = &l->value[v];
    x->place = *bs__gpu_value_at(l, of);
    x->place.offset += first_column;
    x->made = true;
}

/* Bytes from the host as they are, then planes to an image. */
static void lower_input(struct bs__gpu_lowering *l, bs_value v, int host)
{
    const struct bs_node *n = bs__gpu_node(l, v);
    const int64_t rows = bs__gpu_rows(&n->shape), columns = bs__gpu_columns(&n->shape);
    struct bs__gpu_value *x = &l->value[v];
    struct bs__gpu_place raw = bs__gpu_room(l, rows, columns, BS__F32);
    if (l->rc != BS_OK)
        return;
    l->program->buffer[raw.buffer].first = 0; /* copied before the first step */
    l->self->input[l->self->ninput++] = (struct bs__gpu_transfer){
        .host = host, .buffer = raw.buffer, .bytes = (size_t)(rows * columns) * sizeof(float)};
    if (n->shape.ndim != 4 || (columns == 1 && l->element == BS__F32)) {
        x->place = raw; /* C order already is rows */
        x->made = true;
        return;
    }
    const struct bs__gpu_place *to = bs__gpu_make(l, v, l->element);
    struct bs__gpu_step *s = bs__gpu_add_step(l, BS__GPU_FROM_PLANES, l->element, "load %lldx%lldx%lld",
                                              (long long)n->shape.dim[0], (long long)columns,
                                              (long long)n->shape.dim[2] * (long long)n->shape.dim[3]);
    s->a.planes = (struct bs__planes){.samples = n->shape.dim[0],
                                      .channels = columns,
                                      .pixels = n->shape.dim[2] * n->shape.dim[3],
                                      .padded = columns};
    bs__gpu_bind(l, s, &s->a.planes.planes, &raw);
    bs__gpu_bind_rows(l, s, &s->a.planes.image, to);
}

static void lower_output(struct bs__gpu_lowering *l, int host)
{
    const bs_value v = bs_graph_output_value(l->g, host);
    const struct bs_node *n = bs__gpu_node(l, v);
    const int64_t rows = bs__gpu_rows(&n->shape), columns = bs__gpu_columns(&n->shape);
    const struct bs__gpu_place *from = bs__gpu_value_at(l, v);
    struct bs__gpu_place raw = *from;
    if (l->rc != BS_OK)
        return;
    if (n->shape.ndim != 4) {
        raw = bs__gpu_value_packed(l, v, BS__F32);
    } else if (columns > 1 || from->stride > 1 || from->element != BS__F32) {
        raw = bs__gpu_room(l, rows, columns, BS__F32);
        struct bs__gpu_step *s = bs__gpu_add_step(l, BS__GPU_TO_PLANES, from->element, "store %lldx%lldx%lld",
                                                  (long long)n->shape.dim[0], (long long)columns,
                                                  (long long)n->shape.dim[2] * (long long)n->shape.dim[3]);
        s->a.planes = (struct bs__planes){.samples = n->shape.dim[0],
                                          .channels = columns,
                                          .pixels = n->shape.dim[2] * n->shape.dim[3],
                                          .padded = columns};
        bs__gpu_bind_rows(l, s, &s->a.planes.image, from);
        bs__gpu_bind(l, s, &s->a.planes.planes, &raw);
    }
    if (l->rc == BS_OK)
        l->self->output[l->self->noutput++] =
            (struct bs__gpu_transfer){.host = host,
                                      .buffer = raw.buffer,
                                      .at = (size_t)raw.offset * sizeof(float),
                                      .bytes = (size_t)(rows * columns) * sizeof(float)};
}

/* Who uses what. */
static void survey(struct bs__gpu_lowering *l, int count)
{
    for (bs_value v = 0; v < count; v++) {
        l->value[v].concat = l->value[v].consumer = BS_NO_VALUE;
        l->value[v].place.buffer = BS__NO_BUFFER;
    }
    for (bs_value v = 0; v < count; v++) {
        const struct bs_node *n = bs__gpu_node(l, v);
        for (int i = 0; i < n->ninput && bs_graph_is_live(l->g, v); i++) {
            struct bs__gpu_value *x = &l->value[n->input[i]];
            x->uses++;
            x->consumer = v;
            if (n->op == BS_OP_CONCAT && x->concat == BS_NO_VALUE && n->input[0] != n->input[1])
                x->concat = v;
        }
    }
    for (int i = 0; i < bs_graph_output_count(l->g); i++)
        l->value[bs_graph_output_value(l->g, i)].outputs++;
}

static void lower_node(struct bs__gpu_lowering *l, bs_value v)
{
    if (bs__gpu_lower_conv_node(l, v) || bs__gpu_lower_image_node(l, v) || bs__gpu_lower_token_node(l, v) ||
        bs__gpu_lower_mixer_node(l, v) || bs__gpu_lower_grad_node(l, v))
        return;
    bs__gpu_fail(l, BS_EUNSUPPORTED, "the CUDA backend has no such operator; \"ref\" has",
                 bs__gpu_node(l, v));
}

static void describe(struct bs__gpu_lowering *l)
{
    const int *c = l->counts;
    snprintf(l->program->algorithms, sizeof l->program->algorithms,
             "convolutions: cuDNN %d, own %d; products: cuBLASLt %d, own %d; attention: cuDNN %d, own %d%s; "
             "scans %d; %s%s",
             c[BS__GPU_CUDNN], c[BS__GPU_CONV_DIRECT], c[BS__GPU_CUBLASLT], c[BS__GPU_GEMM],
             c[BS__GPU_FUSED_ATTENTION], c[BS__GPU_ATTENTION], l->why_own, c[BS__GPU_SCAN],
             bs__element_name(l->element),
             l->element != BS__F32 ? " with f32 sums"
             : l->gpu->allow_tf32  ? " (tf32 products)"
                                   : "");
}

/* Inputs of the next run come while the last steps of this one run, and outputs of the last one go while the first steps do: what
   they pass through is alive all the time. */
static void reserve_transfers(struct bs__gpu_lowering *l)
{
    struct bs__gpu_program *p = l->self;
    struct bs_plan_buffer *buffer = l->program->buffer;
    p->inputs_read = 0;
    p->outputs_written = l->program->nstep;
    for (int i = 0; i < p->ninput; i++) {
        const int last = buffer[p->input[i].buffer].last;
        p->inputs_read = last > p->inputs_read ? last : p->inputs_read;
    }
    for (int i = 0; i < p->noutput; i++) {
        for (int s = 0; s < p->outputs_written; s++)
            for (int b = 0; b < p->step[s].nbind; b++)
                if (p->step[s].bind[b].buffer == p->output[i].buffer && s < p->outputs_written)
                    p->outputs_written = s;
        for (int j = 0; j < p->ninput; j++)
            if (p->output[i].buffer == p->input[j].buffer)
                p->inputs_read = l->program->nstep;
    }
    for (int i = 0; i < p->ninput; i++)
        buffer[p->input[i].buffer].last = l->program->nstep;
    for (int i = 0; i < p->noutput; i++) {
        buffer[p->output[i].buffer].first = 0;
        buffer[p->output[i].buffer].last = l->program->nstep;
    }
}

static bs_status lower_all(struct bs__gpu_lowering *l, int count)
{
    int host = 0;
    survey(l, count);
    for (bs_value v = 0; v < count && l->rc == BS_OK; v++) {
        const struct bs_node *n = bs__gpu_node(l, v);
        const int this_host = n->op == BS_OP_INPUT ? host++ : -1;
        if (!bs_graph_is_live(l->g, v) || n->op == BS_OP_PARAM || l->value[v].made)
            continue;
        if (n->op == BS_OP_INPUT)
            lower_input(l, v, this_host);
        else
            lower_node(l, v);
    }
    for (int i = 0; i < bs_graph_output_count(l->g) && l->rc == BS_OK; i++)
        lower_output(l, i);
    if (l->rc == BS_OK)
        reserve_transfers(l);
    describe(l);
    return l->rc;
}

bs_status bs__gpu_lower(void *dev, const struct bs_graph *g, struct bs_params *params,
                        enum bs_precision precision, struct bs_program **out, struct bs_err *err)
{
    static const enum bs__element element[] = {
        [BS_PRECISION_F32] = BS__F32, [BS_PRECISION_BF16] = BS__BF16, [BS_PRECISION_F16] = BS__F16};
    const int count = bs_graph_node_count(g);
    struct bs_program *program = calloc(1, sizeof *program);
    struct bs__gpu_program *self = calloc(1, sizeof *self);
    struct bs__gpu_lowering l = {.gpu = dev,
                                 .g = g,
                                 .params = params,
                                 .program = program,
                                 .self = self,
                                 .element = element[precision],
                                 .step_room = 64,
                                 .err = err};
    bs_status rc;
    *out = NULL;
    l.value = calloc((size_t)count + 1, sizeof *l.value);
    if (program)
        program->private = self;
    else
        free(self);
    if (!program || !self || !l.value || !(self->step = calloc((size_t)l.step_room, sizeof *self->step)) ||
        !(self->input = calloc((size_t)count + 1, sizeof *self->input)) ||
        !(self->output = calloc((size_t)bs_graph_output_count(g) + 1, sizeof *self->output))) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory to lower a graph of %d values", count);
        goto cleanup;
    }
    self->element = l.element;
    if ((rc = bs__gpu_enter(l.gpu, err)) != BS_OK)
        goto cleanup;
    if ((rc = bs__gpu_note(l.gpu, lower_all(&l, count))) != BS_OK)
        goto cleanup;
    *out = program;
    program = NULL;
cleanup:
    bs__gpu_destroy_program(dev, program);
    free(l.value);
    return rc;
}

void bs__gpu_destroy_program(void *dev, struct bs_program *program)
{
    if (!program)
        return;
    struct bs__gpu_program *p = program->private;
    if (p) {
        bs__gpu_traffic_destroy(dev, p->traffic);
        bs__gpu_replay_destroy(dev, p->replay);
        for (struct bs__library_plan *plan = p->plans; plan;) {
            struct bs__library_plan *next = plan->next;
            bs__cublaslt_plan_destroy(plan->product);
            bs__cudnn_plan_destroy(plan->convolution);
            bs__fused_attention_plan_destroy(plan->attention);
            free(plan);
            plan = next;
        }
        free(p->step);
        free(p->input);
        free(p->output);
    }
    free(p);
    free(program->buffer);
    free(program);
}
