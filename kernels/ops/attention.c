/* Self-attention of tokens on a grid, over all of it or inside square windows, with decomposed relative positions as the
   image encoder of Segment Anything has them. For query (y, x) and key (y', x') of one window (h x w), per head:
     logit = q k / sqrt d + q rel_h[y - y' + h - 1] + q rel_w[x - x' + w - 1]
     out   = sum over keys of v exp(logit) / sum over keys of exp(logit)
   The relative positions meet q as it is, not divided by sqrt d. Windows begin at the top left; where they stick out of
   the grid their keys and values are `pad`. A table of another length than 2h - 1 stands for its values resampled to
   that length (linear, half-pixel centres). */
#include "kernels/ops/attention_internal.h"

#include <inttypes.h>
#include <math.h>

#define STRIP 128 /* features of a value summed at a time; 1 KiB of doubles on the stack */

static bs_status check_table(const char *what, const struct bs_shape *table, int64_t head_features,
                             struct bs_err *err)
{
    char a[BS_SHAPE_TEXT];
    bs_status rc = bs__need_rank("attention", what, table, 2, "positions,features of a head", err);
    if (rc != BS_OK || table->dim[1] == head_features)
        return rc;
    return BS_FAIL(err, BS_EINVAL, "attention: %s is %s; a head has %" PRId64 " features", what,
                   bs_shape_text(table, a, sizeof a), head_features);
}

bs_status bs__attention_infer(const char *op, const struct bs_attr *attr, const struct bs_shape *in,
                              int ninput, struct bs_shape *out, struct bs_err *err)
{
    char a[BS_SHAPE_TEXT];
    bs_status rc;
    if ((rc = bs__need_tokens(op, "input", &in[0], err)) != BS_OK ||
        (rc = bs__need_grid(op, attr, &in[0], err)) != BS_OK ||
        (rc = bs__need_attribute(op, "number of heads", attr->heads, 1, err)) != BS_OK ||
        (rc = bs__need_attribute(op, "window", attr->kernel, 0, err)) != BS_OK)
        return rc;
    if (in[0].dim[2] % (3 * (int64_t)attr->heads))
        return BS_FAIL(err, BS_EINVAL, "%s: the features of input %s are not q, k and v of %d heads", op,
                       bs_shape_text(&in[0], a, sizeof a), attr->heads);
    if (ninput == 3)
        return BS_FAIL(err, BS_EINVAL, "%s: rel_h without rel_w; both or neither are accepted", op);
    *out = BS_SHAPE(in[0].dim[0], in[0].dim[1], in[0].dim[2] / 3);
    const int64_t head_features = out->dim[2] / attr->heads;
    if (ninput > 1 && (rc = bs__need_per_feature(op, "pad", &in[1], &in[0], err)) != BS_OK)
        return rc;
    if (ninput == 4 && ((rc = check_table("rel_h", &in[2], head_features, err)) != BS_OK ||
                        (rc = check_table("rel_w", &in[3], head_features, err)) != BS_OK))
        return rc;
    return BS_OK;
}

static bs_status infer(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                       struct bs_shape *out, struct bs_err *err)
{
    return bs__attention_infer("attention", attr, in, ninput, out, err);
}

struct bs__head bs__attention_heads(const struct bs_attr *attr, const struct bs_tensor *in, int ninput)
{
    const int64_t features = in[0].shape.dim[2] / 3 / attr->heads;
    struct bs__head a = {.token = in[0].shape.dim[2],
                         .grid_h = attr->out_h,
                         .grid_w = attr->out_w,
                         .h = attr->kernel ? attr->kernel : attr->out_h,
                         .w = attr->kernel ? attr->kernel : attr->out_w,
                         .features = features,
                         .scale = 1.0 / sqrt((double)features)};
    if (ninput == 4) {
        a.rel_h = (struct bs__positions){in[2].data, in[2].shape.dim[0], a.h, features};
        a.rel_w = (struct bs__positions){in[3].data, in[3].shape.dim[0], a.w, features};
    }
    return a;
}

void bs__attention_choose(struct bs__head *a, const struct bs_tensor *in, int ninput, int64_t n, int head)
{
    const float *pad = ninput > 1 ? in[1].data : NULL;
    const int64_t width = a->token / 3, tokens = a->grid_h * a->grid_w;
    a->q = (const float *)in[0].data + n * tokens * a->token + head * a->features;
    a->k = a->q + width;
    a->v = a->k + width;
    a->pad_k = pad ? pad + width + head * a->features : NULL;
    a->pad_v = pad ? a->pad_k + width : NULL;
}

/* Features [from, to) of the attention's result for the token at (y, x). Weights are kept relative to the largest logit
   so far, so that exp cannot overflow. */
static void attend(const struct bs__head *a, int64_t y, int64_t x, int64_t from, int64_t to, float *out)
{
    const float *q = a->q + (y * a->grid_w + x) * a->token;
    const int64_t top = y - y % a->h, left = x - x % a->w;
    double sum[STRIP] = {0}, weights = 0, largest = -INFINITY;
    for (int64_t i = top; i < top + a->h; i++) {
        const double row = bs__relative(&a->rel_h, q, y - i);
        for (int64_t j = left; j < left + a->w; j++) {
            const struct bs__key key = bs__key(a, i, j);
            const double logit = (key.k ? bs__dot(q, key.k, a->features) * a->scale : 0) + row +
                                 bs__relative(&a->rel_w, q, x - j);
            if (logit > largest) {
                const double shrink = exp(largest - logit);
                for (int64_t c = from; c < to; c++)
                    sum[c - from] *= shrink;
                weights *= shrink;
                largest = logit;
            }
            const double weight = exp(logit - largest);
            weights += weight;
            for (int64_t c = from; key.v && c < to; c++)
                sum[c - from] += weight * (double)key.v[c];
        }
    }
    for (int64_t c = from; c < to; c++)
        out[c] = (float)(sum[c - from] / weights);
}

static void reference(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                      struct bs_tensor *out)
{
    const int64_t samples = in[0].shape.dim[0], tokens = in[0].shape.dim[1], width = in[0].shape.dim[2] / 3;
    struct bs__head a = bs__attention_heads(attr, in, ninput);
    for (int64_t n = 0; n < samples; n++)
        for (int head = 0; head < attr->heads; head++) {
            bs__attention_choose(&a, in, ninput, n, head);
            for (int64_t t = 0; t < tokens; t++) {
                float *y = (float *)out->data + (n * tokens + t) * width + head * a.features;
                for (int64_t c = 0; c < a.features; c += STRIP)
                    attend(&a, t / a.grid_w, t % a.grid_w, c, c + STRIP < a.features ? c + STRIP : a.features,
                           y);
            }
        }
}

static void backward(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    const struct bs_node *n = bs_graph_node(g, node);
    bs_value in[7] = {node, bs_graph_apply(g, BS_OP_ATTENTION_LSE, n->input, n->ninput, n->attr), gy};
    for (int i = 0; i < n->ninput; i++)
        in[3 + i] = n->input[i];
    bs__emit_siblings(g, BS_OP_ATTENTION_GRAD, in, 3 + n->ninput, n->attr, n->ninput, gin);
}

/* Every query meets every key of its window twice, for the logit and for the value. */
static double flops(const struct bs_attr *attr, const struct bs_shape *in, const struct bs_shape *out)
{
    (void)in;
    const double h = (double)(attr->kernel ? attr->kernel : attr->out_h),
                 w = (double)(attr->kernel ? attr->kernel : attr->out_w);
    return 4.0 * (double)bs_shape_count(out) * h * w;
}

const struct bs_op_def bs__op_attention = {
    .name = "attention",
    .min_inputs = 1,
    .max_inputs = 4,
    .infer = infer,
    .reference = reference,
    .backward = backward,
    .flops = flops,
};
