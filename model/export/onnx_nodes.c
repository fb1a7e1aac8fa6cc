/* A network's graph, operator by operator, as ONNX (operator set 17); see onnx_graph.h. What the U-Net and UNETR are made of is
   here; everything else is refused by name. */
#include "model/export/onnx_graph.h"

#include "model/predict/encoder_input.h"

#include <math.h>
#include <stdlib.h>

/* One operator on its way. */
struct step {
    struct bs__onnx_graph *g;
    const struct bs_graph *from;
    const struct bs_node *node;
    bs__onnx_value in[BS_MAX_INPUTS]; /* below 0: none */
};

static const struct bs_shape *shape_of(const struct step *s, int input)
{
    return &bs_graph_node(s->from, s->node->input[input])->shape;
}

static bs__onnx_value convolution(const struct step *s)
{
    const struct bs_attr *a = &s->node->attr;
    const struct bs_shape *w = shape_of(s, 1);
    struct bs__bytes attributes = {0};
    bs__onnx_set_ints(&attributes, "kernel_shape", BS__ONNX_DIMS(w->dim[2], w->dim[3]));
    bs__onnx_set_ints(&attributes, "strides", BS__ONNX_DIMS(a->stride, a->stride));
    if (s->node->op == BS_OP_CONV2D)
        bs__onnx_set_ints(&attributes, "pads", BS__ONNX_DIMS(a->pad, a->pad, a->pad, a->pad));
    return bs__onnx_node(s->g, s->node->op == BS_OP_CONV2D ? "Conv" : "ConvTranspose", s->in,
                         s->in[2] < 0 ? 2 : 3, &attributes);
}

/* x normalised per sample and channel, without weights. */
static bs__onnx_value instance_norm(const struct step *s, bs__onnx_value x, int64_t channels)
{
    const bs__onnx_value in[] = {x, bs__onnx_constant(s->g, (size_t)channels, 1),
                                 bs__onnx_constant(s->g, (size_t)channels, 0)};
    struct bs__bytes attributes = {0};
    bs__onnx_set_float(&attributes, "epsilon", s->node->attr.eps);
    return bs__onnx_node(s->g, "InstanceNormalization", in, 3, &attributes);
}

/* Groups as channels of an instance norm; the operator of its own is younger than the operator set. */
static bs__onnx_value group_norm(const struct step *s)
{
    const int64_t groups = s->node->attr.groups;
    const bs__onnx_value shape = bs__onnx_one(s->g, "Shape", s->in[0]);
    bs__onnx_value x = bs__onnx_reshape(s->g, s->in[0], BS__ONNX_DIMS(0, groups, -1));
    x = bs__onnx_two(s->g, "Reshape", instance_norm(s, x, groups), shape);
    x = bs__onnx_two(s->g, "Mul", x, bs__onnx_reshape(s->g, s->in[1], BS__ONNX_DIMS(-1, 1, 1)));
    return bs__onnx_two(s->g, "Add", x, bs__onnx_reshape(s->g, s->in[2], BS__ONNX_DIMS(-1, 1, 1)));
}

static bs__onnx_value batch_norm(const struct step *s)
{
    struct bs__bytes attributes = {0};
    bs__onnx_set_float(&attributes, "epsilon", s->node->attr.eps);
    return bs__onnx_node(s->g, "BatchNormalization", s->in, 5, &attributes);
}

static bs__onnx_value layer_norm(const struct step *s)
{
    struct bs__bytes attributes = {0};
    bs__onnx_set_float(&attributes, "epsilon", s->node->attr.eps);
    bs__onnx_set_int(&attributes, "axis", -1);
    return bs__onnx_node(s->g, "LayerNormalization", s->in, 3, &attributes);
}

static bs__onnx_value max_pool(const struct step *s)
{
    struct bs__bytes attributes = {0};
    bs__onnx_set_ints(&attributes, "kernel_shape", BS__ONNX_DIMS(s->node->attr.kernel, s->node->attr.kernel));
    bs__onnx_set_ints(&attributes, "strides", BS__ONNX_DIMS(s->node->attr.kernel, s->node->attr.kernel));
    return bs__onnx_node(s->g, "MaxPool", s->in, 1, &attributes);
}

/* By factors, so that any size goes through. */
static bs__onnx_value resize(const struct step *s)
{
    const struct bs_shape *x = shape_of(s, 0), *y = &s->node->shape;
    const float factors[] = {1, 1, (float)y->dim[2] / (float)x->dim[2], (float)y->dim[3] / (float)x->dim[3]};
    const bs__onnx_value in[] = {s->in[0], -1, bs__onnx_floats(s->g, &BS_SHAPE(4), factors)};
    struct bs__bytes attributes = {0};
    bs__onnx_set_text(&attributes, "mode", "linear");
    bs__onnx_set_text(&attributes, "coordinate_transformation_mode", "half_pixel");
    return bs__onnx_node(s->g, "Resize", in, 3, &attributes);
}

static bs__onnx_value concat(const struct step *s)
{
    struct bs__bytes attributes = {0};
    bs__onnx_set_int(&attributes, "axis", 1);
    return bs__onnx_node(s->g, "Concat", s->in, 2, &attributes);
}

static bs__onnx_value tokens_from_image(const struct step *s)
{
    bs__onnx_value x = bs__onnx_reshape(s->g, s->in[0], BS__ONNX_DIMS(0, shape_of(s, 0)->dim[1], -1));
    return bs__onnx_transpose(s->g, x, BS__ONNX_DIMS(0, 2, 1));
}

static bs__onnx_value image_from_tokens(const struct step *s)
{
    const struct bs_shape *y = &s->node->shape;
    bs__onnx_value x = bs__onnx_transpose(s->g, s->in[0], BS__ONNX_DIMS(0, 2, 1));
    return bs__onnx_reshape(s->g, x, BS__ONNX_DIMS(0, y->dim[1], y->dim[2], y->dim[3]));
}

static bs__onnx_value linear(const struct step *s)
{
    bs__onnx_value w = bs__onnx_transpose(s->g, s->in[1], BS__ONNX_DIMS(1, 0));
    bs__onnx_value y = bs__onnx_two(s->g, "MatMul", s->in[0], w);
    return s->in[2] < 0 ? y : bs__onnx_two(s->g, "Add", y, s->in[2]);
}

static bs__onnx_value gelu(const struct step *s)
{
    bs__onnx_value y = bs__onnx_two(s->g, "Mul", s->in[0], bs__onnx_scalar(s->g, (float)M_SQRT1_2));
    y = bs__onnx_two(s->g, "Add", bs__onnx_one(s->g, "Erf", y), bs__onnx_scalar(s->g, 1));
    y = bs__onnx_two(s->g, "Mul", y, s->in[0]);
    return bs__onnx_two(s->g, "Mul", y, bs__onnx_scalar(s->g, 0.5F));
}

/* The network is built for the size that its positions are for: nothing is resampled. */
static bs__onnx_value add_position(const struct step *s)
{
    const struct bs_shape *x = shape_of(s, 0);
    BS_ASSERT(bs_shape_count(shape_of(s, 1)) == (size_t)(x->dim[1] * x->dim[2]));
    bs__onnx_value p = bs__onnx_reshape(s->g, s->in[1], BS__ONNX_DIMS(1, x->dim[1], x->dim[2]));
    return bs__onnx_two(s->g, "Add", s->in[0], p);
}

static bs__onnx_value attention(const struct step *s)
{
    return bs__onnx_attention(s->g, s->node, shape_of(s, 0)->dim[2] / 3 / s->node->attr.heads, s->in[0],
                              s->in + 1);
}

/* Below 0: there is no such operator here. */
static bs__onnx_value translate(const struct step *s)
{
    const struct bs_attr *a = &s->node->attr;
    switch (s->node->op) {
    case BS_OP_CONV2D:
    case BS_OP_CONV_TRANSPOSE2D:
        return convolution(s);
    case BS_OP_INSTANCE_NORM:
        return instance_norm(s, s->in[0], s->node->shape.dim[1]);
    case BS_OP_GROUP_NORM:
        return group_norm(s);
    case BS_OP_BATCH_NORM:
        return batch_norm(s);
    case BS_OP_LAYER_NORM:
        return layer_norm(s);
    case BS_OP_RELU:
        return bs__onnx_one(s->g, "Relu", s->in[0]);
    case BS_OP_SIGMOID:
        return bs__onnx_one(s->g, "Sigmoid", s->in[0]);
    case BS_OP_GELU:
        return gelu(s);
    case BS_OP_MAX_POOL2D:
        return max_pool(s);
    case BS_OP_RESIZE_BILINEAR:
        return resize(s);
    case BS_OP_CONCAT:
        return concat(s);
    case BS_OP_SLICE_CHANNEL:
        return bs__onnx_slice(s->g, s->in[0], 1, a->start, a->count);
    case BS_OP_ADD:
        return bs__onnx_two(s->g, "Add", s->in[0], s->in[1]);
    case BS_OP_MUL:
        return bs__onnx_two(s->g, "Mul", s->in[0], s->in[1]);
    case BS_OP_TOKENS_FROM_IMAGE:
        return tokens_from_image(s);
    case BS_OP_IMAGE_FROM_TOKENS:
        return image_from_tokens(s);
    case BS_OP_LINEAR:
        return linear(s);
    case BS_OP_ADD_POSITION:
        return add_position(s);
    case BS_OP_ATTENTION:
        return attention(s);
    default:
        return -1;
    }
}

/* (v - mean) / std, which the original has inside its network. */
static bs__onnx_value sam_statistics(struct bs__onnx_graph *g, bs__onnx_value x)
{
    const struct bs_shape channels = BS_SHAPE(1, BS_SAM_CHANNELS, 1, 1);
    float mean[BS_SAM_CHANNELS], std[BS_SAM_CHANNELS];
    for (int c = 0; c < BS_SAM_CHANNELS; c++) {
        mean[c] = (float)bs_sam_mean[c];
        std[c] = (float)bs_sam_std[c];
    }
    x = bs__onnx_two(g, "Sub", x, bs__onnx_floats(g, &channels, mean));
    return bs__onnx_two(g, "Div", x, bs__onnx_floats(g, &channels, std));
}

static bs_status walk(struct bs__onnx_graph *g, const struct bs_graph *from,
                      const struct bs_arch_config *arch, bool any_size, bs__onnx_value *made,
                      struct bs_err *err)
{
    static const char *const free_names[] = {"batch", "channel", "height", "width"};
    for (bs_value v = 0; v < bs_graph_node_count(from); v++) {
        struct step s = {.g = g, .from = from, .node = bs_graph_node(from, v)};
        if (!bs_graph_is_live(from, v))
            continue;
        if (s.node->op == BS_OP_PARAM) {
            made[v] = bs__onnx_weight(g, s.node->name);
            continue;
        }
        if (s.node->op == BS_OP_INPUT) {
            struct bs_shape shape = s.node->shape;
            if (any_size)
                shape.dim[0] = shape.dim[2] = shape.dim[3] = -1;
            made[v] = bs__onnx_input(g, "input", &shape, free_names);
            if (arch->kind == BS_ARCH_UNETR && arch->unetr.sam_statistics)
                made[v] = sam_statistics(g, made[v]);
            continue;
        }
        for (int i = 0; i < BS_MAX_INPUTS; i++)
            s.in[i] = i < s.node->ninput && s.node->input[i] != BS_NO_VALUE ? made[s.node->input[i]] : -1;
        if ((made[v] = translate(&s)) < 0)
            return BS_FAIL(err, BS_EUNSUPPORTED,
                           "a %s cannot be written as ONNX: operator %d is not among ONNX's",
                           bs_arch_name(arch->kind), (int)s.node->op);
    }
    for (int i = 0; i < bs_graph_output_count(from); i++) {
        const bs_value v = bs_graph_output_value(from, i);
        struct bs_shape shape = bs_graph_node(from, v)->shape;
        if (bs_graph_output_name(from, i)[0] != 'o') /* "output", not "logits" */
            continue;
        if (any_size)
            shape.dim[0] = shape.dim[2] = shape.dim[3] = -1;
        bs__onnx_output(g, "output", &shape, free_names, made[v]);
    }
    return BS_OK;
}

bs_status bs__onnx_translate(struct bs__onnx_graph *g, const struct bs_arch_config *arch, bool any_size,
                             struct bs_err *err)
{
    struct bs_graph *from = NULL;
    bs__onnx_value *made = NULL;
    const int side = bs_arch_image_size(arch) ? bs_arch_image_size(arch) : 2 * bs_arch_divisor(arch);
    bs_status rc = bs_arch_build(arch, 1, side, side, &from, err);
    if (rc != BS_OK)
        goto cleanup;
    if (!(made = calloc((size_t)bs_graph_node_count(from), sizeof *made))) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for an ONNX graph");
        goto cleanup;
    }
    rc = walk(g, from, arch, any_size, made, err);
cleanup:
    free(made);
    bs_graph_destroy(from);
    return rc;
}
