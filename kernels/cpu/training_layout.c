/* See training_layout.h. */
#include "kernels/cpu/training_layout.h"

#include "kernels/cpu/training_operators.h"

void bs__to_blocks(const struct bs__cpu *cpu, const float *src, int64_t n, int64_t channels, int64_t pixels,
                   float *dst)
{
    const int lanes = cpu->simd->lanes;
    const int64_t blocks = bs__tasks(channels, lanes);
    const struct bs__transpose t = {.src = src,
                                    .rows = channels,
                                    .cols = pixels,
                                    .src_row = pixels,
                                    .run = lanes,
                                    .dst_group = pixels * lanes,
                                    .dst_row = lanes,
                                    .dst = dst,
                                    .padded = true,
                                    .groups = blocks,
                                    .src_sample = channels * pixels,
                                    .dst_sample = blocks * lanes * pixels};
    bs__parallel(cpu->threads, n * t.groups, bs__gradients_of(cpu->simd)->transpose, &t);
}

struct planes {
    const struct bs__cpu *cpu;
    const float *src;
    float *dst;
    int64_t channels, pixels, blocks;
};

/* One block of a sample. */
static void block_to_planes(const void *ctx, int64_t task, int worker)
{
    const struct planes *p = ctx;
    const int lanes = p->cpu->simd->lanes;
    const int64_t n = task / p->blocks, first = task % p->blocks * lanes;
    const int64_t left = p->channels - first;
    const struct bs__transpose t = {.src = p->src + task * lanes * p->pixels,
                                    .rows = p->pixels,
                                    .cols = left < lanes ? left : lanes,
                                    .src_row = lanes,
                                    .run = p->pixels,
                                    .dst_row = p->pixels,
                                    .dst = p->dst + (n * p->channels + first) * p->pixels,
                                    .groups = 1};
    bs__gradients_of(p->cpu->simd)->transpose(&t, 0, worker);
}

void bs__from_blocks(const struct bs__cpu *cpu, const float *src, int64_t n, int64_t channels, int64_t pixels,
                     float *dst)
{
    const struct planes p = {cpu, src, dst, channels, pixels, bs__tasks(channels, cpu->simd->lanes)};
    bs__parallel(cpu->threads, n * p.blocks, block_to_planes, &p);
}

/* ---- which values ---- */

bool bs__training_in_blocks(const struct bs__cpu *cpu, const struct bs__training_value *values,
                            const struct bs_graph *g, bs_value v)
{
    const struct bs_node *n = bs_graph_node(g, v);
    const int lanes = cpu->simd->lanes;
    if (!cpu->allow_winograd || n->shape.ndim != 4 || n->shape.dim[1] % lanes != 0)
        return false;
    switch (n->op) {
    case BS_OP_CONV2D:
    case BS_OP_CONV2D_GRAD_X:
    case BS_OP_CONV_TRANSPOSE2D:
    case BS_OP_IMAGE_FROM_TOKENS:
        return true;
    case BS_OP_RELU:
    case BS_OP_RELU_GRAD:
    case BS_OP_SIGMOID:
    case BS_OP_SIGMOID_GRAD:
    case BS_OP_GELU:
    case BS_OP_GELU_GRAD:
    case BS_OP_SILU:
    case BS_OP_SILU_GRAD:
    case BS_OP_SCALE:
    case BS_OP_INSTANCE_NORM:
    case BS_OP_INSTANCE_NORM_GRAD:
    case BS_OP_BATCH_NORM_TRAIN:
    case BS_OP_BATCH_NORM_TRAIN_GRAD:
    case BS_OP_MAX_POOL2D:
    case BS_OP_MAX_POOL2D_GRAD:
    case BS_OP_RESIZE_BILINEAR:
    case BS_OP_RESIZE_BILINEAR_GRAD:
        return values[n->input[0]].blocked;
    case BS_OP_ADD:
    case BS_OP_MUL:
    case BS_OP_CONCAT:
        return values[n->input[0]].blocked && values[n->input[1]].blocked;
    case BS_OP_SLICE_CHANNEL:
        return values[n->input[0]].blocked && n->attr.start % lanes == 0;
    case BS_OP_SLICE_GRAD:
        return values[n->input[0]].blocked && n->attr.axis == 1 && n->attr.start % lanes == 0;
    default:
        return false;
    }
}

/* ---- copies ---- */

/* Must this value be brought into another order for the step? */
static bool is_copied(const struct bs__training_value *v, const struct bs__training_step *s, bool weights)
{
    if (s->layout == BS__AS_IT_LIES || weights)
        return false;
    return s->layout == BS__DENSE ? v->blocked : !v->blocked && v->shape.ndim == 4;
}

static bool copies_input(const struct bs__training_value *values, const struct bs__training_step *s, int i)
{
    const bool weights = i == 1 && bs__training_op(s->op)->conv && s->op != BS_OP_CONV2D_GRAD_W;
    return i < s->ninput && is_copied(&values[s->input[i]], s, weights);
}

static bool copies_result(const struct bs__training_value *values, const struct bs__training_step *s, int i)
{
    return s->value[i] >= 0 && is_copied(&values[s->value[i]], s, s->op == BS_OP_CONV2D_GRAD_W);
}

static size_t floats_of(const struct bs__training_value *v)
{
    return bs__floats((int64_t)bs_shape_count(&v->shape));
}

/* An operator that takes either order works in blocks when its first result lies so, or its first input where it makes no image. */
enum bs__training_layout bs__training_layout_of(const struct bs__training_value *values,
                                                const struct bs__training_step *s)
{
    const enum bs__training_layout layout = bs__training_op(s->op)->layout;
    if (layout != BS__BLOCKS)
        return layout;
    for (int i = 0; i < BS_MAX_INPUTS; i++)
        if (s->value[i] >= 0 && values[s->value[i]].shape.ndim == 4)
            return values[s->value[i]].blocked ? BS__BLOCKS : BS__DENSE;
    return s->ninput > 0 && values[s->input[0]].blocked ? BS__BLOCKS : BS__DENSE;
}

size_t bs__training_copies(const struct bs__training_value *values, const struct bs__training_step *s)
{
    size_t floats = 0;
    for (int i = 0; i < BS_MAX_INPUTS; i++) {
        if (copies_input(values, s, i))
            floats += floats_of(&values[s->input[i]]);
        if (copies_result(values, s, i))
            floats += floats_of(&values[s->value[i]]);
    }
    return floats * sizeof(float);
}

static void copy(const struct bs__training_call *c, bool to_blocks, const struct bs_shape *shape,
                 const float *src, float *dst)
{
    const int64_t *d = shape->dim;
    (to_blocks ? bs__to_blocks : bs__from_blocks)(c->cpu, src, d[0], d[1], d[2] * d[3], dst);
}

void bs__training_copy_in(const struct bs__training_value *values, struct bs__training_call *c)
{
    const struct bs__training_step *s = c->step;
    float *at = (float *)c->scratch + s->own_scratch / sizeof *at;
    for (int i = 0; i < BS_MAX_INPUTS; i++) {
        if (copies_input(values, s, i)) {
            float *to = bs__take(&at, floats_of(&values[s->input[i]]));
            copy(c, s->layout == BS__BLOCKS, &c->in[i].shape, c->in[i].data, to);
            c->in[i].data = to;
        }
        if (copies_result(values, s, i))
            c->out[i].data = bs__take(&at, floats_of(&values[s->value[i]]));
    }
}

void bs__training_copy_out(const struct bs__training_value *values, struct bs__training_call *c,
                           const struct bs_tensor *out)
{
    for (int i = 0; i < BS_MAX_INPUTS; i++)
        if (copies_result(values, c->step, i))
            copy(c, c->step->layout == BS__DENSE, &out[i].shape, c->out[i].data, out[i].data);
}
