/* See graph.h. A network's graph is copied node by node: trained parameters become inputs, batch norm takes the statistics of
   its batch and hands them out, and a 1x1 convolution of an enlarged image comes before the enlarging; loss and backward follow. */
#include "model/train/graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One copying. */
struct copy {
    const struct bs_graph *from;
    struct bs_train_graph *to;
    bs_value *value; /* per value of from: the copy, or BS_NO_VALUE (running statistics) */
    int *tensor;     /* per value of from: its index in to->tensor, or -1 */
    int ninput, noutput;
    bs_value image;
    bool validation;    /* forward as after training, no gradients */
    const char *frozen; /* beginning of names */
};

/* Of a parameter, by who reads it. */
static enum bs_role role_of(const struct bs_graph *g, bs_value v, const char *frozen)
{
    if (!bs_graph_is_live(g, v) || bs_arch_is_buffer(bs_graph_node(g, v)->name)) {
        for (bs_value i = v + 1; i < bs_graph_node_count(g); i++) {
            const struct bs_node *n = bs_graph_node(g, i);
            if (n->op == BS_OP_BATCH_NORM && bs_graph_is_live(g, i) && n->input[3] == v)
                return BS_ROLE_RUNNING_MEAN;
            if (n->op == BS_OP_BATCH_NORM && bs_graph_is_live(g, i) && n->input[4] == v)
                return BS_ROLE_RUNNING_VARIANCE;
        }
        return BS_ROLE_CONSTANT;
    }
    if (frozen && !strncmp(bs_graph_node(g, v)->name, frozen, strlen(frozen)))
        return BS_ROLE_CONSTANT;
    return BS_ROLE_TRAINED;
}

static bs_status add_tensor(struct copy *c, bs_value v, struct bs_err *err)
{
    const struct bs_node *n = bs_graph_node(c->from, v);
    struct bs_train_tensor *t = &c->to->tensor[c->to->ntensor];
    *t = (struct bs_train_tensor){.shape = n->shape,
                                  .role = role_of(c->from, v, c->frozen),
                                  .input = -1,
                                  .output = -1,
                                  .name = strdup(n->name)};
    if (!t->name)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the names of the network's parameters");
    c->tensor[v] = c->to->ntensor++;
    if (t->role == BS_ROLE_TRAINED || (c->validation && t->role != BS_ROLE_CONSTANT)) {
        c->value[v] = bs_graph_input(c->to->graph, n->name, n->shape);
        t->input = c->ninput++;
    } else if (t->role == BS_ROLE_CONSTANT && bs_graph_is_live(c->from, v)) {
        c->value[v] = bs_graph_param(c->to->graph, n->name, n->shape);
    }
    return BS_OK;
}

static void output(struct copy *c, const char *kind, const char *name, bs_value v)
{
    char text[512];
    (void)snprintf(text, sizeof text, "%s%s", kind, name);
    bs_graph_output(c->to->graph, text, v);
    c->noutput++;
}

static int readers(const struct bs_graph *g, bs_value of)
{
    int count = 0;
    for (bs_value v = of + 1; v < bs_graph_node_count(g); v++)
        for (int i = 0; i < bs_graph_node(g, v)->ninput; i++)
            count += bs_graph_is_live(g, v) && bs_graph_node(g, v)->input[i] == of;
    return count;
}

/* Is it a 1x1 convolution of an image that was enlarged for it alone? */
static bool convolves_enlarged(const struct bs_graph *g, const struct bs_node *n)
{
    if (n->op != BS_OP_CONV2D || n->attr.stride != 1 || n->attr.pad != 0)
        return false;
    const struct bs_node *resize = bs_graph_node(g, n->input[0]);
    const struct bs_shape *w = &bs_graph_node(g, n->input[1])->shape;
    if (resize->op != BS_OP_RESIZE_BILINEAR || w->dim[2] != 1 || w->dim[3] != 1)
        return false;
    const struct bs_shape *small = &bs_graph_node(g, resize->input[0])->shape;
    return resize->shape.dim[2] >= small->dim[2] && resize->shape.dim[3] >= small->dim[3] &&
           readers(g, n->input[0]) == 1;
}

/* Interpolation takes every channel alike and its weights sum to one, so the convolution may come first: on the small image,
   with a quarter of the work and of what the backward keeps. */
static bs_value convolve_first(struct copy *c, const struct bs_node *n, const bs_value *in)
{
    const struct bs_node *resize = bs_graph_node(c->from, n->input[0]);
    bs_value x = bs_graph_conv2d(c->to->graph, c->value[resize->input[0]], in[1],
                                 n->ninput == 3 ? in[2] : BS_NO_VALUE, 1, 0);
    return bs_graph_resize_bilinear(c->to->graph, x, resize->attr.out_h, resize->attr.out_w);
}

static void add_operator(struct copy *c, bs_value v)
{
    const struct bs_node *n = bs_graph_node(c->from, v);
    bs_value in[BS_MAX_INPUTS] = {0};
    for (int i = 0; i < n->ninput; i++)
        in[i] = c->value[n->input[i]];
    if (convolves_enlarged(c->from, n)) {
        c->value[v] = convolve_first(c, n, in);
        return;
    }
    if (n->op == BS_OP_BATCH_NORM && !c->validation)
        c->value[v] = bs_graph_batch_norm_train(c->to->graph, in[0], in[1], in[2], n->attr.eps);
    else
        c->value[v] = bs_graph_apply(c->to->graph, n->op, in, n->ninput, n->attr);
}

/* Everything that is read, in order; what nobody reads is a tensor of the file and no more. */
static bs_status copy_nodes(struct copy *c, struct bs_err *err)
{
    for (bs_value v = 0; v < bs_graph_node_count(c->from); v++) {
        const struct bs_node *n = bs_graph_node(c->from, v);
        bs_status rc;
        c->value[v] = BS_NO_VALUE;
        c->tensor[v] = -1;
        if (n->op == BS_OP_INPUT)
            c->value[v] = c->image;
        else if (n->op == BS_OP_PARAM && (rc = add_tensor(c, v, err)) != BS_OK)
            return rc;
        else if (n->op != BS_OP_PARAM && bs_graph_is_live(c->from, v))
            add_operator(c, v);
    }
    return bs_graph_error(c->to->graph, err);
}

/* What batch norms saw, for their running statistics. */
static void add_statistics(struct copy *c)
{
    for (bs_value v = 0; v < bs_graph_node_count(c->from); v++) {
        const struct bs_node *n = bs_graph_node(c->from, v);
        if (n->op != BS_OP_BATCH_NORM || !bs_graph_is_live(c->from, v))
            continue;
        struct bs_train_tensor *mean = &c->to->tensor[c->tensor[n->input[3]]],
                               *variance = &c->to->tensor[c->tensor[n->input[4]]];
        mean->output = variance->output = c->noutput;
        output(c, "batch statistics for ", mean->name,
               bs_graph_batch_statistics(c->to->graph, c->value[n->input[0]]));
    }
}

/* The gradient of every trained tensor. */
static bs_status add_gradients(struct copy *c, bs_value loss, bs_value seed, struct bs_err *err)
{
    const int count = bs_graph_node_count(c->from);
    bs_value *wrt = calloc((size_t)count, sizeof *wrt), *gradient = calloc((size_t)count, sizeof *gradient);
    bs_status rc = BS_OK;
    int n = 0;
    if (!wrt || !gradient) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for the gradients of a network");
        goto cleanup;
    }
    for (bs_value v = 0; v < count; v++)
        if (c->tensor[v] >= 0 && c->to->tensor[c->tensor[v]].role == BS_ROLE_TRAINED)
            wrt[n++] = c->value[v];
    if ((rc = bs_graph_backward(c->to->graph, loss, seed, wrt, n, gradient, err)) != BS_OK)
        goto cleanup;
    n = 0;
    for (int i = 0; i < c->to->ntensor; i++) {
        struct bs_train_tensor *t = &c->to->tensor[i];
        if (t->role != BS_ROLE_TRAINED)
            continue;
        if (gradient[n] == BS_NO_VALUE) {
            rc = BS_FAIL(err, BS_EINTERNAL, "the loss does not depend on parameter \"%s\"", t->name);
            goto cleanup;
        }
        t->output = c->noutput;
        output(c, "gradient of ", t->name, gradient[n++]);
    }

cleanup:
    free(wrt);
    free(gradient);
    return rc;
}

static bs_status check_size(const struct bs_train_size *s, struct bs_err *err)
{
    if (s->crop_h == 0 && s->crop_w == 0)
        return BS_OK;
    if (s->crop_h < 1 || s->crop_w < 1 || s->crop_h > s->h || s->crop_w > s->w)
        return BS_FAIL(err, BS_EINVAL, "a target of %lld x %lld pixels for a network input of %lld x %lld",
                       (long long)s->crop_h, (long long)s->crop_w, (long long)s->h, (long long)s->w);
    return BS_OK;
}

/* The network's value of that name. */
static bs_value network_output(const struct bs_graph *g, const char *name)
{
    for (int i = 0; i < bs_graph_output_count(g); i++)
        if (!strcmp(bs_graph_output_name(g, i), name))
            return bs_graph_output_value(g, i);
    BS_ASSERT(false);
    return BS_NO_VALUE;
}

static bs_status build(struct copy *c, const struct bs_arch_config *arch, const struct bs_train_size *size,
                       const struct bs_loss *loss, struct bs_err *err)
{
    struct bs_graph *g = c->to->graph;
    const bool crop = size->crop_h > 0;
    bs_status rc;
    c->to->image = BS_SHAPE(size->samples, bs_arch_in_channels(arch), size->h, size->w);
    c->to->output = BS_SHAPE(size->samples, bs_arch_out_channels(arch), crop ? size->crop_h : size->h,
                             crop ? size->crop_w : size->w);
    c->to->target = c->to->output;
    c->to->target.dim[1] += loss->masked;
    c->image = bs_graph_input(g, "image", c->to->image);
    bs_graph_full(g,
                  true); /* of the loss: targets, and all that it makes of them and of the network's output */
    bs_value target = bs_graph_input(g, "target", c->to->target);
    bs_graph_full(g, false);
    bs_value seed = c->validation ? BS_NO_VALUE : bs_graph_input(g, "seed", BS_SHAPE(1));
    c->ninput = c->validation ? BS_TRAIN_SEED : BS_TRAIN_INPUTS;
    if ((rc = copy_nodes(c, err)) != BS_OK)
        return rc;
    bs_value made = c->value[network_output(c->from, "output")];
    if (crop)
        made = bs_graph_crop(g, made, size->crop_h, size->crop_w);
    bs_graph_full(g, true);
    bs_value value = bs_loss_build(g, loss, made, target);
    bs_graph_full(g, false);
    bs_graph_output(g, "loss", value);
    bs_graph_output(g, "output", made);
    c->noutput = BS_TRAIN_OUTPUTS;
    if ((rc = bs_graph_error(g, err)) != BS_OK)
        return rc;
    if (!c->validation) {
        if ((rc = add_gradients(c, value, seed, err)) != BS_OK)
            return rc;
        add_statistics(c);
    }
    return bs_graph_finish(g, err);
}

static bs_status create(const struct bs_arch_config *arch, const struct bs_train_size *size,
                        const struct bs_loss *loss, bool validation, struct bs_train_graph **out,
                        struct bs_err *err)
{
    struct bs_graph *network = NULL;
    struct copy c = {.validation = validation, .frozen = size->frozen};
    bs_status rc;
    *out = NULL;
    if ((rc = bs_loss_check(loss, bs_arch_out_channels(arch), err)) != BS_OK ||
        (rc = check_size(size, err)) != BS_OK ||
        (rc = bs_arch_build(arch, size->samples, size->h, size->w, &network, err)) != BS_OK)
        return rc;
    const size_t count = (size_t)bs_graph_node_count(network);
    if (!(c.value = calloc(count, sizeof *c.value)) || !(c.tensor = calloc(count, sizeof *c.tensor)) ||
        !(c.to = calloc(1, sizeof *c.to)) || !(c.to->tensor = calloc(count, sizeof *c.to->tensor)) ||
        !(c.to->graph = bs_graph_create())) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for a training graph of %zu operators", count);
        goto cleanup;
    }
    c.from = network;
    if ((rc = build(&c, arch, size, loss, err)) != BS_OK)
        goto cleanup;
    *out = c.to;
    c.to = NULL;

cleanup:
    free(c.value);
    free(c.tensor);
    bs_train_graph_destroy(c.to);
    bs_graph_destroy(network);
    return rc;
}

bs_status bs_train_graph_create(const struct bs_arch_config *arch, const struct bs_train_size *size,
                                const struct bs_loss *loss, struct bs_train_graph **out, struct bs_err *err)
{
    return create(arch, size, loss, false, out, err);
}

bs_status bs_train_graph_create_validation(const struct bs_arch_config *arch,
                                           const struct bs_train_size *size, const struct bs_loss *loss,
                                           struct bs_train_graph **out, struct bs_err *err)
{
    return create(arch, size, loss, true, out, err);
}

void bs_train_graph_destroy(struct bs_train_graph *t)
{
    if (!t)
        return;
    for (int i = 0; t->tensor && i < t->ntensor; i++)
        free(t->tensor[i].name);
    free(t->tensor);
    bs_graph_destroy(t->graph);
    free(t);
}
