/* From the graph to steps. What is fused:
   - a norm is not computed where a Winograd convolution follows: the convolution reads mean, scale and shift; the moments
     were gathered by whoever wrote the image;
   - a concatenation is not computed where a Winograd convolution follows (through a norm or not): it reads two images;
   - a slice of channels that begins and ends at blocks is read in place by Winograd convolutions and norms;
   - a last sigmoid goes into the store;
   - what convolutions take in: lower_conv.c. */
#include "kernels/cpu/lower_tokens.h"
#include "kernels/cpu/training.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_norm(enum bs_op op)
{
    return op == BS_OP_INSTANCE_NORM || op == BS_OP_GROUP_NORM || op == BS_OP_BATCH_NORM;
}

/* Is input i of the node a value, not a parameter? */
static bool reads_value(const struct bs__lowering *l, const struct bs_node *n, int i)
{
    return bs__node_of(l, n->input[i])->op != BS_OP_PARAM;
}

bool bs__only_use_is(const struct bs__lowering *l, bs_value v, enum bs_op op)
{
    const struct bs__value *x = &l->value[v];
    return x->uses == 1 && x->outputs == 0 && bs__node_of(l, x->consumer)->op == op;
}

bool bs__is_last_sigmoid(const struct bs__lowering *l, bs_value v)
{
    return bs__node_of(l, v)->op == BS_OP_SIGMOID && l->value[v].outputs == 1 && l->value[v].uses == 0;
}

/* Is this value made as a part of the node that consumes it? */
static bool defer(const struct bs__lowering *l, bs_value v)
{
    const struct bs_node *n = bs__node_of(l, v);
    if (bs__is_last_sigmoid(l, v) || bs__conv_defers(l, v))
        return true;
    if (is_norm(n->op))
        return bs__conv_behind(l, v) == BS_NO_VALUE; /* else a convolution makes it */
    return n->op == BS_OP_CONCAT || n->op == BS_OP_SLICE_CHANNEL;
}

void bs__lower_fail(struct bs__lowering *l, bs_status code, const char *text, const struct bs_node *n)
{
    char shape[BS_SHAPE_TEXT];
    if (l->build.rc == BS_OK)
        l->build.rc = BS_FAIL(l->build.err, code, "%s (value of shape %s)", text,
                              bs_shape_text(&n->shape, shape, sizeof shape));
}

const char *bs__lower_param(struct bs__lowering *l, bs_value v)
{
    const struct bs_node *n = bs__node_of(l, v);
    if (n->op != BS_OP_PARAM) {
        bs__lower_fail(l, BS_EUNSUPPORTED, "the CPU backend takes weights from parameters only", n);
        return NULL;
    }
    if (l->build.rc == BS_OK)
        l->build.rc = bs_params_need(l->build.params, n->name, &n->shape, l->build.err);
    return n->name;
}

/* The image of a node's shape; nothing made yet. */
static struct bs__image_at image_of(const struct bs_node *n)
{
    return (struct bs__image_at){.n = n->shape.dim[0],
                                 .channels = (int)n->shape.dim[1],
                                 .h = n->shape.dim[2],
                                 .w = n->shape.dim[3],
                                 .buffer = BS__NO_BUFFER,
                                 .stats = BS__NO_BUFFER};
}

/* The image to read for a value: a slice that begins and ends at blocks is a part of its source. */
static struct bs__image_at *readable(struct bs__lowering *l, bs_value v)
{
    struct bs__value *x = &l->value[v];
    const struct bs_node *n = bs__node_of(l, v);
    const int lanes = l->build.cpu->simd->lanes;
    if (x->made || n->op != BS_OP_SLICE_CHANNEL || n->attr.start % lanes != 0 || n->attr.count % lanes != 0)
        return bs__lower_image(l, v);
    struct bs__image_at *whole = bs__lower_image(l, n->input[0]);
    if (x->feeds_norm && l->build.rc == BS_OK)
        bs__add_moments(&l->build, whole);
    x->view = *whole;
    x->view.channels = (int)n->attr.count;
    x->view.first_block = (int)(n->attr.start / lanes);
    x->view.of_blocks = bs__blocks(&l->build, whole->channels);
    return &x->view;
}

struct bs__operand bs__lower_operand(struct bs__lowering *l, bs_value v)
{
    struct bs__value *x = &l->value[v];
    const struct bs_node *n = bs__node_of(l, v);
    struct bs__operand r = {.count = 1, .norm = BS__NO_BUFFER};
    if (!x->made && n->op == BS_OP_CONCAT) {
        r.count = 2;
        r.image[0] = readable(l, n->input[0]);
        r.image[1] = readable(l, n->input[1]);
        return r;
    }
    if (x->made || !is_norm(n->op)) {
        r.image[0] = readable(l, v);
        return r;
    }
    const struct bs_node *base = bs__node_of(l, n->input[0]);
    if (base->op == BS_OP_CONCAT)
        r = bs__lower_operand(l, n->input[0]);
    else
        r.image[0] = readable(l, n->input[0]);
    int *norm = &x->norm[r.count - 1];
    if (*norm == BS__NO_BUFFER && l->build.rc == BS_OK) {
        const size_t channels = (size_t)n->shape.dim[1];
        struct bs__norm_step k = {.op = n->op, .eps = n->attr.eps, .groups = n->attr.groups};
        const float *param[4] = {NULL};
        for (int i = 1; i < n->ninput; i++)
            param[i - 1] = bs__own_param(&l->build, bs__lower_param(l, n->input[i]), channels, channels);
        k.weight = param[0];
        k.bias = param[1];
        k.mean = param[2];
        k.var = param[3];
        *norm = bs__add_norm(&l->build, &r, k);
    }
    r.norm = *norm;
    return r;
}

struct bs__image_at *bs__lower_image(struct bs__lowering *l, bs_value v)
{
    struct bs__value *x = &l->value[v];
    const struct bs_node *n = bs__node_of(l, v);
    if (x->made || l->build.rc != BS_OK)
        return &x->image;
    if (!is_norm(n->op) && n->op != BS_OP_CONCAT && n->op != BS_OP_SLICE_CHANNEL) {
        bs__lower_fail(l, BS_EUNSUPPORTED, "the CPU backend computes images only", n);
        return &x->image;
    }
    const int lanes = l->build.cpu->simd->lanes;
    if (n->op == BS_OP_SLICE_CHANNEL && (n->attr.start % lanes != 0 || n->attr.count % lanes != 0)) {
        struct bs__operand cut = {
            .count = 1, .image = {bs__lower_image(l, n->input[0])}, .norm = BS__NO_BUFFER};
        bs__add_join(&l->build, &cut, (int)n->attr.start, &x->image);
        x->made = true;
        return &x->image;
    }
    struct bs__operand from = bs__lower_operand(l, v);
    bool whole = from.count == 1 || from.image[0]->channels % lanes == 0;
    if (whole) {
        bs__add_apply(&l->build, &from, BS__COPY, NULL, &x->image, x->feeds_norm);
    } else if (n->op == BS_OP_CONCAT) {
        for (int i = 0; i < from.count; i++)
            from.image[i] = bs__lower_image(l, n->input[i]);
        bs__add_join(&l->build, &from, 0, &x->image);
    } else {
        bs__lower_image(l, n->input[0]);
        from = bs__lower_operand(l, v);
        bs__add_apply(&l->build, &from, BS__COPY, NULL, &x->image, x->feeds_norm);
    }
    x->made = true;
    return &x->image;
}

static void lower_node(struct bs__lowering *l, bs_value v)
{
    struct bs__build *b = &l->build;
    struct bs__value *x = &l->value[v];
    const struct bs_node *n = bs__node_of(l, v);
    if (n->op == BS_OP_PARAM)
        return;
    if (n->op == BS_OP_INPUT) {
        int host = l->ninput++;
        if (bs_graph_is_live(l->g, v) && n->shape.ndim != 4) {
            bs__lower_token_input(l, v, host);
        } else if (bs_graph_is_live(l->g, v) && !bs__only_patches(l, v)) {
            bs__add_load(b, host, &x->image, x->feeds_norm);
            x->made = true;
        }
        return;
    }
    if (!bs_graph_is_live(l->g, v) || x->deferred)
        return;
    if (bs__is_tokens(n)) {
        bs__lower_token_node(l, v);
        return;
    }
    bs_value conv = bs__conv_behind(l, v);
    if (conv != BS_NO_VALUE) {
        bs__lower_conv(l, conv, v);
        return;
    }
    struct bs__operand from = {.count = 1, .norm = BS__NO_BUFFER};
    switch (n->op) {
    case BS_OP_RELU:
        from.image[0] = bs__lower_image(l, n->input[0]);
        bs__add_apply(b, &from, BS__RELU, NULL, &x->image, x->feeds_norm);
        break;
    case BS_OP_SIGMOID:
        from.image[0] = bs__lower_image(l, n->input[0]);
        bs__add_apply(b, &from, BS__SIGMOID, NULL, &x->image, x->feeds_norm);
        break;
    case BS_OP_ADD:
    case BS_OP_MUL:
        from.image[0] = bs__lower_image(l, n->input[0]);
        bs__add_apply(b, &from, n->op == BS_OP_ADD ? BS__ADD : BS__MUL, bs__lower_image(l, n->input[1]),
                      &x->image, x->feeds_norm);
        break;
    case BS_OP_MAX_POOL2D:
        bs__add_pool(b, bs__lower_image(l, n->input[0]), n->attr.kernel, &x->image, x->feeds_norm);
        break;
    case BS_OP_RESIZE_BILINEAR:
        bs__add_resize(b, bs__lower_image(l, n->input[0]), &x->image, x->feeds_norm);
        break;
    default:
        bs__lower_fail(l, BS_EUNSUPPORTED, "the CPU backend has no such operator for images; \"ref\" has", n);
        return;
    }
    x->made = true;
}

static void lower_output(struct bs__lowering *l, int host)
{
    struct bs__build *b = &l->build;
    bs_value v = bs_graph_output_value(l->g, host);
    const struct bs_node *n = bs__node_of(l, v);
    bool sigmoid = n->op == BS_OP_SIGMOID && l->value[v].deferred;
    if (n->op == BS_OP_PARAM) {
        bs__lower_fail(l, BS_EUNSUPPORTED, "the CPU backend hands out no parameters", n);
        return;
    }
    if (n->shape.ndim != 4) {
        bs__lower_token_output(l, v, host);
        return;
    }
    if (sigmoid) {
        v = n->input[0];
        n = bs__node_of(l, v);
    }
    if (n->op == BS_OP_CONV2D && l->value[v].deferred) {
        bs__lower_head(l, v);
        return;
    }
    struct bs__image_at *from = bs__lower_image(l, v);
    if (b->rc == BS_OK)
        bs__add_store(b, from, host, sigmoid);
}

/* Who uses what, and what is put off. */
static void survey(struct bs__lowering *l, int count)
{
    for (bs_value v = 0; v < count; v++) {
        const struct bs_node *n = bs__node_of(l, v);
        struct bs__value *x = &l->value[v];
        x->norm[0] = x->norm[1] = BS__NO_BUFFER;
        if (n->shape.ndim == 4)
            x->image = image_of(n);
        for (int i = 0; i < n->ninput && bs_graph_is_live(l->g, v); i++) {
            if (!reads_value(l, n, i))
                continue;
            l->value[n->input[i]].uses++;
            l->value[n->input[i]].consumer = v;
        }
    }
    for (int i = 0; i < bs_graph_output_count(l->g); i++)
        l->value[bs_graph_output_value(l->g, i)].outputs++;
    for (bs_value v = count - 1; v >= 0; v--) {
        const struct bs_node *n = bs__node_of(l, v);
        bool reads_moments = n->op == BS_OP_INSTANCE_NORM || n->op == BS_OP_GROUP_NORM;
        if (!bs_graph_is_live(l->g, v))
            continue;
        bool passes_on = n->op == BS_OP_CONCAT || n->op == BS_OP_SLICE_CHANNEL;
        if (reads_moments || (passes_on && l->value[v].feeds_norm))
            for (int i = 0; i < n->ninput; i++)
                l->value[n->input[i]].feeds_norm = true;
    }
    for (bs_value v = 0; v < count; v++)
        l->value[v].deferred = bs_graph_is_live(l->g, v) &&
                               (bs__tokens_defer(l, v) || (!bs__is_tokens(bs__node_of(l, v)) && defer(l, v)));
}

bs_status bs__cpu_lower(void *dev, const struct bs_graph *g, struct bs_params *params,
                        enum bs_precision precision, struct bs_program **out, struct bs_err *err)
{
    struct bs__cpu *cpu = dev;
    bs_status rc = BS_OK;
    const int count = bs_graph_node_count(g);
    const bool training = bs__is_training(g);
    if (!training && precision != BS_PRECISION_F32 && precision != BS_PRECISION_BF16)
        return BS_FAIL(err, BS_EUNSUPPORTED, "the CPU backend computes in f32 and bf16, not in %s",
                       bs_precision_name(precision));
    struct bs__lowering l = {
        .g = g, .bf16 = precision == BS_PRECISION_BF16, .value = calloc((size_t)count + 1, sizeof *l.value)};
    struct bs_program *program = calloc(1, sizeof *program);
    struct bs__cpu_program *self = calloc(1, sizeof *self);
    *out = NULL;
    if (!l.value || !program || !self) {
        free(self);
        rc = BS_FAIL(err, BS_ENOMEM, "no memory to lower a graph of %d values", count);
        goto cleanup;
    }
    program->private = self;
    self->cpu = cpu;
    self->bf16 = precision == BS_PRECISION_BF16;
    self->pairs = self->bf16 && cpu->fast_bf16;
    self->element = self->bf16 ? sizeof(uint16_t) : sizeof(float);
    self->type = self->bf16 ? &cpu->simd->bf16 : &cpu->simd->f32;
    if (training) {
        rc = bs__training_lower(cpu, g, params, precision, program, err);
        if (rc == BS_OK) {
            *out = program;
            program = NULL;
        }
        goto cleanup;
    }
    l.build = (struct bs__build){.cpu = cpu, .params = params, .program = program, .self = self, .err = err};
    survey(&l, count);
    for (bs_value v = 0; v < count && l.build.rc == BS_OK; v++)
        lower_node(&l, v);
    for (int i = 0; i < bs_graph_output_count(g) && l.build.rc == BS_OK; i++)
        lower_output(&l, i);
    if ((rc = l.build.rc) != BS_OK)
        goto cleanup;
    const int *counts = l.build.counts;
    snprintf(program->algorithms, sizeof program->algorithms,
             "winograd %d, doubled %d, direct %d, 1x1 %d, %s %s", counts[BS__STEP_WINOGRAD],
             counts[BS__STEP_LATTICE], counts[BS__STEP_DIRECT],
             counts[BS__STEP_POINTWISE] + counts[BS__STEP_HEAD], cpu->simd->name,
             self->bf16 ? "bf16 storage, f32 sums" : "f32");
    *out = program;
    program = NULL;
cleanup:
    bs__cpu_destroy_program(cpu, program);
    free(l.value);
    return rc;
}
