/* Self-attention of tokens on a grid, over all of it or inside square windows, with decomposed relative positions as the
   image encoder of Segment Anything has them. For query (y, x) and key (y', x') of one window (h x w), per head:
     logit = q k / sqrt d + q rel_h[y - y' + h - 1] + q rel_w[x - x' + w - 1]
     out   = sum over keys of v exp(logit) / sum over keys of exp(logit)
   The relative positions meet q as it is, not divided by sqrt d. Windows begin at the top left; where they stick out of
   the grid their keys and values are `pad`. A table of another length than 2h - 1 stands for its values resampled to
   that length (linear, half-pixel centres). */
#include "kernels/ops/ops_internal.h"

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

static bs_status infer(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                       struct bs_shape *out, struct bs_err *err)
{
    static const char op[] = "attention";
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

/* A table of relative positions along one axis of `length` tokens; data NULL: there is none. */
struct table {
    const float *data;
    int64_t rows, length, features;
};

static double dot(const float *a, const float *b, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* q with the table's row for a query `distance` tokens behind a key. */
static double relative(const struct table *t, const float *q, int64_t distance)
{
    if (!t->data)
        return 0;
    const int64_t row = distance + t->length - 1, rows = 2 * t->length - 1;
    if (t->rows == rows)
        return dot(q, t->data + row * t->features, t->features);
    double u = ((double)row + 0.5) * (double)t->rows / (double)rows - 0.5;
    u = u < 0 ? 0 : u;
    int64_t lo = (int64_t)floor(u);
    lo = lo > t->rows - 1 ? t->rows - 1 : lo;
    const int64_t hi = lo < t->rows - 1 ? lo + 1 : lo;
    return (1 - (u - (double)lo)) * dot(q, t->data + lo * t->features, t->features) +
           (u - (double)lo) * dot(q, t->data + hi * t->features, t->features);
}

/* One head of one sample. */
struct head {
    const float *q, *k, *v;       /* of the first token */
    const float *pad_k, *pad_v;   /* NULL: zeros */
    int64_t token;                /* floats from one token to the next */
    int64_t grid_h, grid_w, h, w; /* of the grid, of a window */
    int64_t features;
    struct table rel_h, rel_w;
};

/* Features [from, to) of the attention's result for the token at (y, x). Weights are kept relative to the largest logit
   so far, so that exp cannot overflow. */
static void attend(const struct head *a, int64_t y, int64_t x, int64_t from, int64_t to, float *out)
{
    const float *q = a->q + (y * a->grid_w + x) * a->token;
    const int64_t top = y - y % a->h, left = x - x % a->w;
    const double scale = 1.0 / sqrt((double)a->features);
    double sum[STRIP] = {0}, weights = 0, largest = -INFINITY;
    for (int64_t i = top; i < top + a->h; i++) {
        const double row = relative(&a->rel_h, q, y - i);
        for (int64_t j = left; j < left + a->w; j++) {
            const bool inside = i < a->grid_h && j < a->grid_w;
            const int64_t at = inside ? (i * a->grid_w + j) * a->token : 0;
            const float *k = inside ? a->k + at : a->pad_k, *v = inside ? a->v + at : a->pad_v;
            const double logit =
                (k ? dot(q, k, a->features) * scale : 0) + row + relative(&a->rel_w, q, x - j);
            if (logit > largest) {
                const double shrink = exp(largest - logit);
                for (int64_t c = from; c < to; c++)
                    sum[c - from] *= shrink;
                weights *= shrink;
                largest = logit;
            }
            const double weight = exp(logit - largest);
            weights += weight;
            for (int64_t c = from; v && c < to; c++)
                sum[c - from] += weight * (double)v[c];
        }
    }
    for (int64_t c = from; c < to; c++)
        out[c] = (float)(sum[c - from] / weights);
}

static void reference(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                      struct bs_tensor *out)
{
    const int64_t samples = in[0].shape.dim[0], tokens = in[0].shape.dim[1], token = in[0].shape.dim[2];
    const int64_t width = token / 3, features = width / attr->heads;
    const float *pad = ninput > 1 ? in[1].data : NULL;
    struct head a = {.token = token,
                     .grid_h = attr->out_h,
                     .grid_w = attr->out_w,
                     .h = attr->kernel ? attr->kernel : attr->out_h,
                     .w = attr->kernel ? attr->kernel : attr->out_w,
                     .features = features};
    if (ninput == 4) {
        a.rel_h = (struct table){in[2].data, in[2].shape.dim[0], a.h, features};
        a.rel_w = (struct table){in[3].data, in[3].shape.dim[0], a.w, features};
    }
    for (int64_t n = 0; n < samples; n++)
        for (int head = 0; head < attr->heads; head++) {
            a.q = (const float *)in[0].data + n * tokens * token + head * features;
            a.k = a.q + width;
            a.v = a.k + width;
            a.pad_k = pad ? pad + width + head * features : NULL;
            a.pad_v = pad ? a.pad_k + width : NULL;
            for (int64_t t = 0; t < tokens; t++) {
                float *y = (float *)out->data + (n * tokens + t) * width + head * features;
                for (int64_t c = 0; c < features; c += STRIP)
                    attend(&a, t / a.grid_w, t % a.grid_w, c, c + STRIP < features ? c + STRIP : features, y);
            }
        }
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
    .flops = flops,
};
