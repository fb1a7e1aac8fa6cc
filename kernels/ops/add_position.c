/* Position embedding added to tokens: y = x + p. A table with one row per token is added as it is. Any other is a grid of
   rows, square after its class token is taken out, and is resampled to the tokens' grid: bicubic with a = -0.75,
   half-pixel centres, no antialias, border rows repeated, as torch's interpolate(mode="bicubic"). The class token keeps
   its row; it stands in front or in the middle of the tokens, in the table as in the input.
   The gradient of x is gy. The gradient of a row of p is the sum, over samples and tokens, of gy times the weight with
   which the row entered that token. */
#include "kernels/ops/ops_internal.h"
#include "kernels/ops/position_internal.h"

#include <inttypes.h>
#include <math.h>

static bs_status need_grid(const char *op, const struct bs_attr *attr, const struct bs_shape *x,
                           struct bs_err *err)
{
    char a[BS_SHAPE_TEXT];
    int64_t grid = x->dim[1] - (attr->start >= 0);
    if (attr->start < -1 || attr->start >= x->dim[1])
        return BS_FAIL(err, BS_EINVAL,
                       "%s: class token %" PRId64 " of input %s; -1 (none) to %" PRId64 " are accepted", op,
                       attr->start, bs_shape_text(x, a, sizeof a), x->dim[1] - 1);
    if (attr->out_h < 1 || attr->out_w < 1 || grid % attr->out_h != 0 || grid / attr->out_h != attr->out_w)
        return BS_FAIL(err, BS_EINVAL,
                       "%s: a grid of %" PRId64 "x%" PRId64 " for the %" PRId64
                       " tokens of input %s%s; a grid of as many is accepted",
                       op, attr->out_h, attr->out_w, grid, bs_shape_text(x, a, sizeof a),
                       attr->start >= 0 ? " without its class token" : "");
    return BS_OK;
}

static bs_status infer(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                       struct bs_shape *out, struct bs_err *err)
{
    (void)ninput;
    static const char op[] = "add_position";
    const struct bs_shape *x = &in[0], *p = &in[1];
    bs_status rc;
    char a[BS_SHAPE_TEXT], b[BS_SHAPE_TEXT];
    if ((rc = bs__need_tokens(op, "input", x, err)) != BS_OK || (rc = need_grid(op, attr, x, err)) != BS_OK)
        return rc;
    *out = *x;
    if ((p->ndim != 3 && p->ndim != 4) || p->dim[0] != 1 || p->dim[p->ndim - 1] != x->dim[2])
        return BS_FAIL(err, BS_EINVAL,
                       "%s: position is %s; input %s takes one of 1xPx%" PRId64 " or 1xHxWx%" PRId64, op,
                       bs_shape_text(p, b, sizeof b), bs_shape_text(x, a, sizeof a), x->dim[2], x->dim[2]);
    if (p->ndim == 4 && attr->start >= 0)
        return BS_FAIL(err, BS_EINVAL, "%s: position %s has no row for class token %" PRId64 " of input %s",
                       op, bs_shape_text(p, b, sizeof b), attr->start, bs_shape_text(x, a, sizeof a));
    if (p->ndim == 4 || bs__position_as_it_is(x, p))
        return BS_OK;
    struct bs__position_table t = bs__position_table(attr, p);
    int64_t rows = p->dim[1] - (attr->start >= 0), middle = attr->out_h * attr->out_w / 2;
    if (rows < 1 || t.h * t.w != rows)
        return BS_FAIL(err, BS_EINVAL,
                       "%s: position %s for input %s; a row per token or a square grid%s is accepted", op,
                       bs_shape_text(p, b, sizeof b), bs_shape_text(x, a, sizeof a),
                       attr->start >= 0 ? " and a class token" : "");
    if (attr->start > 0 && attr->start != middle)
        return BS_FAIL(err, BS_EINVAL,
                       "%s: position %s is resampled for input %s with class token %" PRId64
                       "; one in front (0) or in the middle (%" PRId64 ") is accepted",
                       op, bs_shape_text(p, b, sizeof b), bs_shape_text(x, a, sizeof a), attr->start, middle);
    return BS_OK;
}

/* One feature of the resampled table at row i, column j of the tokens' grid; p points at that feature of row 0. */
static double resampled(const struct bs_attr *attr, const struct bs__position_table *t, const float *p,
                        int64_t features, int64_t i, int64_t j)
{
    double down[4], right[4], sum = 0;
    int64_t top = bs__cubic(i, t->h, attr->out_h, down), left = bs__cubic(j, t->w, attr->out_w, right);
    for (int r = 0; r < 4; r++)
        for (int c = 0; c < 4; c++) {
            int64_t row = bs__clamp(top + r, t->h) * t->w + bs__clamp(left + c, t->w);
            if (t->class_row >= 0 && row >= t->class_row)
                row++;
            sum += down[r] * right[c] * (double)p[row * features];
        }
    return sum;
}

static void reference(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                      struct bs_tensor *out)
{
    (void)ninput;
    const float *x = in[0].data, *p = in[1].data;
    float *y = out->data;
    const int64_t batch = out->shape.dim[0], tokens = out->shape.dim[1], features = out->shape.dim[2];
    const bool as_it_is = bs__position_as_it_is(&in[0].shape, &in[1].shape);
    const struct bs__position_table t = bs__position_table(attr, &in[1].shape);
    for (int64_t token = 0; token < tokens; token++) {
        int64_t place = token - (attr->start >= 0 && token > attr->start);
        for (int64_t f = 0; f < features; f++) {
            double add;
            if (as_it_is)
                add = (double)p[token * features + f];
            else if (token == attr->start)
                add = (double)p[t.class_row * features + f];
            else
                add = resampled(attr, &t, p + f, features, place / attr->out_w, place % attr->out_w);
            for (int64_t n = 0; n < batch; n++) {
                int64_t at = (n * tokens + token) * features + f;
                y[at] = (float)((double)x[at] + add);
            }
        }
    }
}

static void backward(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    const struct bs_node *n = bs_graph_node(g, node);
    struct bs_attr attr = n->attr;
    attr.shape = bs_graph_node(g, n->input[1])->shape;
    gin[0] = gy;
    gin[1] = bs_graph_apply(g, BS_OP_ADD_POSITION_GRAD, &gy, 1, attr);
}

const struct bs_op_def bs__op_add_position = {
    .name = "add_position",
    .min_inputs = 2,
    .max_inputs = 2,
    .infer = infer,
    .reference = reference,
    .backward = backward,
};

static bs_status infer_grad(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                            struct bs_shape *out, struct bs_err *err)
{
    (void)ninput;
    struct bs_shape y;
    bs_status rc;
    if ((rc = bs_shape_check("add_position_grad: shape", &attr->shape, err)) != BS_OK ||
        (rc = infer(attr, (struct bs_shape[]){in[0], attr->shape}, 2, &y, err)) != BS_OK)
        return rc;
    *out = attr->shape;
    return BS_OK;
}

/* How much the pixel at `of` of an axis of `in` pixels counts in pixel i of `out` pixels. */
static double share(int64_t of, int64_t i, int64_t in, int64_t out)
{
    double weight[4], sum = 0;
    const int64_t first = bs__cubic(i, in, out, weight);
    for (int k = 0; k < 4; k++)
        if (bs__clamp(first + k, in) == of)
            sum += weight[k];
    return sum;
}

/* How much row `row` of the table counts in token `token`. */
static double counts(const struct bs_attr *attr, const struct bs__position_table *t, bool as_it_is,
                     int64_t row, int64_t token)
{
    const bool class_row = row == t->class_row, class_token = token == attr->start;
    if (as_it_is)
        return row == token;
    if (class_row || class_token)
        return class_row && class_token;
    const int64_t from = row - (t->class_row >= 0 && row > t->class_row),
                  to = token - (attr->start >= 0 && token > attr->start);
    return share(from / t->w, to / attr->out_w, t->h, attr->out_h) *
           share(from % t->w, to % attr->out_w, t->w, attr->out_w);
}

#define STRIP 128 /* features summed at a time; 1 KiB of doubles on the stack */

static void reference_grad(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                           struct bs_tensor *out)
{
    (void)ninput;
    const int64_t batch = in[0].shape.dim[0], tokens = in[0].shape.dim[1], features = in[0].shape.dim[2];
    const int64_t rows = (int64_t)bs_shape_count(&out->shape) / features;
    const bool as_it_is = bs__position_as_it_is(&in[0].shape, &out->shape);
    const struct bs__position_table t = bs__position_table(attr, &out->shape);
    const float *gy = in[0].data;
    float *gp = out->data;
    for (int64_t row = 0; row < rows; row++)
        for (int64_t f = 0; f < features; f += STRIP) {
            const int64_t len = features - f < STRIP ? features - f : STRIP;
            double sum[STRIP] = {0};
            for (int64_t token = 0; token < tokens; token++) {
                const double weight = counts(attr, &t, as_it_is, row, token);
                for (int64_t n = 0; weight != 0 && n < batch; n++)
                    for (int64_t i = 0; i < len; i++)
                        sum[i] += weight * (double)gy[(n * tokens + token) * features + f + i];
            }
            for (int64_t i = 0; i < len; i++)
                gp[row * features + f + i] = (float)sum[i];
        }
}

const struct bs_op_def bs__op_add_position_grad = {
    .name = "add_position_grad",
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = infer_grad,
    .reference = reference_grad,
};
