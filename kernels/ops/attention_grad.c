/* The backward of attention. Per head, for query i and the keys j of its window (padding among them), with
     P_ij = exp(logit_ij - lse_i),  lse_i = log(sum_j exp(logit_ij)),  dS_ij = P_ij (gy_i v_j - gy_i y_i)
   the gradients are
     gv_j = sum_i P_ij gy_i,  gk_j = sum_i dS_ij q_i / sqrt d
     gq_i = sum_j dS_ij (k_j / sqrt d + rel_h[y_i - y_j] + rel_w[x_i - x_j])
     grel_h[r] = sum over pairs of dS_ij q_i times the weight with which row r stands for y_i - y_j (rel_w likewise)
   and what keys and values of padding get is the gradient of `pad`, whose q nobody reads. lse is a value of its own, so
   that P comes from one pass over the keys; this is the order of work of fused kernels, too. */
#include "kernels/ops/attention_internal.h"

#define STRIP 128 /* features summed at a time; 1 KiB of doubles on the stack */

enum { Y, LSE, GY, FORWARD };        /* inputs: the forward's begin at FORWARD */
enum { OF_QKV, OF_PAD, OF_H, OF_W }; /* attribute which */

/* ---- log of the sum of exponentials ---- */

static bs_status infer_lse(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                           struct bs_shape *out, struct bs_err *err)
{
    bs_status rc = bs__attention_infer("attention_lse", attr, in, ninput, out, err);
    if (rc == BS_OK)
        out->dim[2] = attr->heads;
    return rc;
}

/* The logit of the query whose q is given, at (y, x), and a key. */
static double logit(const struct bs__head *a, const float *q, int64_t y, int64_t x, const struct bs__key *key)
{
    return (key->k ? bs__dot(q, key->k, a->features) * a->scale : 0) +
           bs__relative(&a->rel_h, q, y - key->y) + bs__relative(&a->rel_w, q, x - key->x);
}

static double log_sum(const struct bs__head *a, int64_t y, int64_t x)
{
    const float *q = a->q + (y * a->grid_w + x) * a->token;
    const int64_t top = y - y % a->h, left = x - x % a->w;
    double sum = 0, largest = -INFINITY;
    for (int64_t i = top; i < top + a->h; i++)
        for (int64_t j = left; j < left + a->w; j++) {
            const struct bs__key key = bs__key(a, i, j);
            const double l = logit(a, q, y, x, &key);
            if (l > largest) {
                sum *= exp(largest - l);
                largest = l;
            }
            sum += exp(l - largest);
        }
    return largest + log(sum);
}

static void reference_lse(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                          struct bs_tensor *out)
{
    const int64_t samples = in[0].shape.dim[0], tokens = in[0].shape.dim[1];
    struct bs__head a = bs__attention_heads(attr, in, ninput);
    float *lse = out->data;
    for (int64_t n = 0; n < samples; n++)
        for (int head = 0; head < attr->heads; head++) {
            bs__attention_choose(&a, in, ninput, n, head);
            for (int64_t t = 0; t < tokens; t++)
                lse[(n * tokens + t) * attr->heads + head] = (float)log_sum(&a, t / a.grid_w, t % a.grid_w);
        }
}

const struct bs_op_def bs__op_attention_lse = {
    .name = "attention_lse",
    .min_inputs = 1,
    .max_inputs = 4,
    .infer = infer_lse,
    .reference = reference_lse,
};

/* ---- gradients ---- */

static bs_status infer_grad(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                            struct bs_shape *out, struct bs_err *err)
{
    static const char op[] = "attention_grad";
    struct bs_shape y, lse;
    bs_status rc = bs__attention_infer(op, attr, in + FORWARD, ninput - FORWARD, &y, err);
    if (rc != BS_OK)
        return rc;
    lse = BS_SHAPE(y.dim[0], y.dim[1], attr->heads);
    if ((rc = bs__need_equal(op, "output", &in[Y], "the attention's", &y, err)) != BS_OK ||
        (rc = bs__need_equal(op, "lse", &in[LSE], "tokens times heads", &lse, err)) != BS_OK ||
        (rc = bs__need_equal(op, "gradient", &in[GY], "the attention's output", &y, err)) != BS_OK ||
        (rc = bs__need_which(op, attr, ninput - FORWARD - 1, err)) != BS_OK)
        return rc;
    *out = in[FORWARD + attr->which];
    return BS_OK;
}

/* One head of one sample with what came back to it. */
struct side {
    struct bs__head head;
    const float *y, *gy, *lse; /* of the first token */
    int64_t width;             /* floats of y and gy from one token to the next */
    int heads;                 /* floats of lse */
};

static struct side side_of(const struct bs_attr *attr, const struct bs_tensor *in, int ninput)
{
    return (struct side){.head = bs__attention_heads(attr, in + FORWARD, ninput - FORWARD),
                         .width = in[Y].shape.dim[2],
                         .heads = attr->heads};
}

static void choose(struct side *s, const struct bs_tensor *in, int ninput, int64_t n, int head)
{
    const int64_t tokens = in[Y].shape.dim[1];
    bs__attention_choose(&s->head, in + FORWARD, ninput - FORWARD, n, head);
    s->y = (const float *)in[Y].data + n * tokens * s->width + head * s->head.features;
    s->gy = (const float *)in[GY].data + n * tokens * s->width + head * s->head.features;
    s->lse = (const float *)in[LSE].data + n * tokens * s->heads + head;
}

/* A query and what the pairs of it share. */
struct query {
    int64_t y, x;
    const float *q, *gy;
    double lse, gy_y;
};

static struct query query_at(const struct side *s, int64_t y, int64_t x)
{
    const int64_t t = y * s->head.grid_w + x;
    struct query i = {.y = y,
                      .x = x,
                      .q = s->head.q + t * s->head.token,
                      .gy = s->gy + t * s->width,
                      .lse = (double)s->lse[t * s->heads]};
    i.gy_y = bs__dot(i.gy, s->y + t * s->width, s->head.features);
    return i;
}

static double probability(const struct side *s, const struct query *i, const struct bs__key *j)
{
    return exp(logit(&s->head, i->q, i->y, i->x, j) - i->lse);
}

/* dS_ij */
static double to_logit(const struct side *s, const struct query *i, const struct bs__key *j)
{
    const double gy_v = j->v ? bs__dot(i->gy, j->v, s->head.features) : 0;
    return probability(s, i, j) * (gy_v - i->gy_y);
}

static void add_scaled(double *sum, double factor, const float *row, int64_t count)
{
    for (int64_t c = 0; c < count; c++)
        sum[c] += factor * (double)row[c];
}

/* Adds factor times the table's features from `from` on for a distance. */
static void add_position(double *sum, double factor, const struct bs__positions *p, int64_t distance,
                         int64_t from, int64_t count)
{
    if (!p->data)
        return;
    const struct bs__place at = bs__place(p, distance);
    add_scaled(sum, factor * (1 - at.t), p->data + at.lo * p->features + from, count);
    if (at.t != 0)
        add_scaled(sum, factor * at.t, p->data + at.hi * p->features + from, count);
}

static void store(float *out, const double *sum, int64_t count)
{
    for (int64_t c = 0; c < count; c++)
        out[c] = (float)sum[c];
}

/* Features [from, from + count) of the gradients of q, k and v of the token at (y, x); g: its q. */
static void grad_token(const struct side *s, int64_t y, int64_t x, int64_t from, int64_t count, float *g)
{
    const struct bs__head *a = &s->head;
    const struct query own = query_at(s, y, x);
    const struct bs__key self = bs__key(a, y, x);
    const int64_t top = y - y % a->h, left = x - x % a->w;
    double gq[STRIP] = {0}, gk[STRIP] = {0}, gv[STRIP] = {0};
    for (int64_t i = top; i < top + a->h; i++)
        for (int64_t j = left; j < left + a->w; j++) {
            const struct bs__key key = bs__key(a, i, j);
            const double ds = to_logit(s, &own, &key);
            if (key.k)
                add_scaled(gq, ds * a->scale, key.k + from, count);
            add_position(gq, ds, &a->rel_h, y - i, from, count);
            add_position(gq, ds, &a->rel_w, x - j, from, count);
            if (!key.inside)
                continue;
            const struct query other = query_at(s, i, j);
            add_scaled(gk, to_logit(s, &other, &self) * a->scale, other.q + from, count);
            add_scaled(gv, probability(s, &other, &self), other.gy + from, count);
        }
    store(g + from, gq, count);
    store(g + s->width + from, gk, count);
    store(g + 2 * s->width + from, gv, count);
}

/* Which queries and keys a gradient sums over. */
struct pairs {
    const struct bs_attr *attr;
    const struct bs_tensor *in;
    int ninput;
};

/* Features of the gradients of k and v of one head's padding: over every query whose window sticks out. */
static void grad_pad(const struct pairs *p, int head, int64_t from, int64_t count, double *gk, double *gv)
{
    struct side s = side_of(p->attr, p->in, p->ninput);
    const struct bs__head *a = &s.head;
    for (int64_t n = 0; n < p->in[Y].shape.dim[0]; n++) {
        choose(&s, p->in, p->ninput, n, head);
        for (int64_t t = 0; t < a->grid_h * a->grid_w; t++) {
            const struct query own = query_at(&s, t / a->grid_w, t % a->grid_w);
            const int64_t top = own.y - own.y % a->h, left = own.x - own.x % a->w;
            for (int64_t i = top; i < top + a->h; i++)
                for (int64_t j = left; j < left + a->w; j++) {
                    const struct bs__key key = bs__key(a, i, j);
                    if (key.inside)
                        continue;
                    add_scaled(gk, to_logit(&s, &own, &key) * a->scale, own.q + from, count);
                    add_scaled(gv, probability(&s, &own, &key), own.gy + from, count);
                }
        }
    }
}

/* How much a row of a table stands for a distance. */
static double row_weight(const struct bs__positions *p, int64_t row, int64_t distance)
{
    const struct bs__place at = bs__place(p, distance);
    return (at.lo == row ? 1 - at.t : 0) + (at.hi == row ? at.t : 0);
}

/* Features of the gradient of one row of rel_h (which OF_H) or rel_w: over every pair of every head whose distance the row
   stands for. */
static void grad_row(const struct pairs *p, int64_t row, int64_t from, int64_t count, double *sum)
{
    struct side s = side_of(p->attr, p->in, p->ninput);
    const struct bs__head *a = &s.head;
    const bool rows = p->attr->which == OF_H;
    for (int64_t n = 0; n < p->in[Y].shape.dim[0]; n++)
        for (int head = 0; head < p->attr->heads; head++) {
            choose(&s, p->in, p->ninput, n, head);
            for (int64_t t = 0; t < a->grid_h * a->grid_w; t++) {
                const struct query own = query_at(&s, t / a->grid_w, t % a->grid_w);
                const int64_t top = own.y - own.y % a->h, left = own.x - own.x % a->w;
                double ds = 0;
                for (int64_t i = top; i < top + a->h; i++)
                    for (int64_t j = left; j < left + a->w; j++) {
                        const double weight = rows ? row_weight(&a->rel_h, row, own.y - i)
                                                   : row_weight(&a->rel_w, row, own.x - j);
                        const struct bs__key key = bs__key(a, i, j);
                        if (weight != 0)
                            ds += weight * to_logit(&s, &own, &key);
                    }
                add_scaled(sum, ds, own.q + from, count);
            }
        }
}

static void reference_qkv(const struct pairs *p, float *out)
{
    struct side s = side_of(p->attr, p->in, p->ninput);
    const struct bs__head *a = &s.head;
    const int64_t tokens = a->grid_h * a->grid_w;
    for (int64_t n = 0; n < p->in[Y].shape.dim[0]; n++)
        for (int head = 0; head < p->attr->heads; head++) {
            choose(&s, p->in, p->ninput, n, head);
            for (int64_t t = 0; t < tokens; t++)
                for (int64_t c = 0; c < a->features; c += STRIP)
                    grad_token(&s, t / a->grid_w, t % a->grid_w, c,
                               a->features - c < STRIP ? a->features - c : STRIP,
                               out + (n * tokens + t) * a->token + head * a->features);
        }
}

static void reference_pad(const struct pairs *p, float *out)
{
    const int64_t width = p->in[Y].shape.dim[2], features = width / p->attr->heads;
    for (int64_t c = 0; c < width; c++)
        out[c] = 0; /* of q */
    for (int head = 0; head < p->attr->heads; head++)
        for (int64_t c = 0; c < features; c += STRIP) {
            const int64_t count = features - c < STRIP ? features - c : STRIP;
            double gk[STRIP] = {0}, gv[STRIP] = {0};
            grad_pad(p, head, c, count, gk, gv);
            store(out + width + head * features + c, gk, count);
            store(out + 2 * width + head * features + c, gv, count);
        }
}

static void reference_grad(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                           struct bs_tensor *out)
{
    const struct pairs p = {attr, in, ninput};
    float *g = out->data;
    if (attr->which == OF_QKV) {
        reference_qkv(&p, g);
    } else if (attr->which == OF_PAD) {
        reference_pad(&p, g);
    } else {
        const int64_t features = out->shape.dim[1];
        for (int64_t row = 0; row < out->shape.dim[0]; row++)
            for (int64_t c = 0; c < features; c += STRIP) {
                const int64_t count = features - c < STRIP ? features - c : STRIP;
                double sum[STRIP] = {0};
                grad_row(&p, row, c, count, sum);
                store(g + row * features + c, sum, count);
            }
    }
}

/* Per pair the logit and gy v again, and q, k and v each get a multiple of a row: counted with the gradient of qkv. */
static double flops_grad(const struct bs_attr *attr, const struct bs_shape *in, const struct bs_shape *out)
{
    (void)out;
    const double h = (double)(attr->kernel ? attr->kernel : attr->out_h),
                 w = (double)(attr->kernel ? attr->kernel : attr->out_w);
    return attr->which == OF_QKV ? 10.0 * (double)bs_shape_count(&in[Y]) * h * w : 0;
}

const struct bs_op_def bs__op_attention_grad = {
    .name = "attention_grad",
    .min_inputs = FORWARD + 1,
    .max_inputs = FORWARD + 4,
    .infer = infer_grad,
    .reference = reference_grad,
    .flops = flops_grad,
};
