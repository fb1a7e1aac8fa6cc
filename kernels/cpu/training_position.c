/* Position embeddings of training: added row by row, or resampled bicubically to the tokens' grid (add_position.c says how),
   and their gradient back through it. Resampling is one axis after the other, so its gradient is, too: along the rows of the
   grid into scratch memory, then along its columns. */
#include "kernels/cpu/training_operators.h"
#include "kernels/ops/position_internal.h"

struct positions {
    const struct bs__training_call *c;
    struct bs__position_table table;
    bool as_it_is;
    int64_t samples, tokens, features, rows;
    float *between; /* (grid height, table width, features) */
};

static struct positions positions_of(const struct bs__training_call *c, const struct bs_shape *x,
                                     const struct bs_shape *p)
{
    return (struct positions){.c = c,
                              .table = bs__position_table(&c->step->attr, p),
                              .as_it_is = bs__position_as_it_is(x, p),
                              .samples = x->dim[0],
                              .tokens = x->dim[1],
                              .features = x->dim[2],
                              .rows = (int64_t)bs_shape_count(p) / x->dim[2]};
}

static void add_scaled(float *to, const float *from, float factor, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        to[i] += factor * from[i];
}

/* The table's row of a place on its grid. */
static int64_t row_of(const struct positions *k, int64_t y, int64_t x)
{
    const int64_t row = bs__clamp(y, k->table.h) * k->table.w + bs__clamp(x, k->table.w);
    return row + (k->table.class_row >= 0 && row >= k->table.class_row);
}

/* The token of a place on the tokens' grid. */
static int64_t token_of(const struct bs_attr *attr, int64_t y, int64_t x)
{
    const int64_t token = y * attr->out_w + x;
    return token + (attr->start >= 0 && token >= attr->start);
}

static void add_row(const void *ctx, int64_t token, int worker)
{
    (void)worker;
    const struct positions *k = ctx;
    const struct bs_attr *attr = &k->c->step->attr;
    const float *x = k->c->in[0].data, *p = k->c->in[1].data;
    float *first = (float *)k->c->out[0].data + token * k->features;
    memset(first, 0, (size_t)k->features * sizeof *first);
    if (k->as_it_is) {
        add_scaled(first, p + token * k->features, 1, k->features);
    } else if (token == attr->start) {
        add_scaled(first, p + k->table.class_row * k->features, 1, k->features);
    } else {
        const int64_t place = token - (attr->start >= 0 && token > attr->start);
        double down[4], right[4];
        const int64_t top = bs__cubic(place / attr->out_w, k->table.h, attr->out_h, down);
        const int64_t left = bs__cubic(place % attr->out_w, k->table.w, attr->out_w, right);
        for (int i = 0; i < 16; i++)
            add_scaled(first, p + row_of(k, top + i / 4, left + i % 4) * k->features,
                       (float)(down[i / 4] * right[i % 4]), k->features);
    }
    for (int64_t n = k->samples; n-- > 0;) { /* the first sample, where the position waits, at last */
        const int64_t at = (n * k->tokens + token) * k->features;
        float *y = (float *)k->c->out[0].data + at;
        for (int64_t f = 0; f < k->features; f++)
            y[f] = x[at + f] + first[f];
    }
}

bs_status bs__train_position(const struct bs__training_call *c, struct bs_err *err)
{
    (void)err;
    const struct positions k = positions_of(c, &c->in[0].shape, &c->in[1].shape);
    bs__parallel(c->cpu->threads, k.tokens, add_row, &k);
    return BS_OK;
}

/* ---- gradient ---- */

/* gy of a token, summed over samples and weighted. */
static void add_token(const struct positions *k, int64_t token, float weight, float *to)
{
    const float *gy = k->c->in[0].data;
    for (int64_t n = 0; n < k->samples; n++)
        add_scaled(to, gy + (n * k->tokens + token) * k->features, weight, k->features);
}

/* Row `y` of the tokens' grid to places of the table's width. */
static void gather_row(const void *ctx, int64_t y, int worker)
{
    (void)worker;
    const struct positions *k = ctx;
    const struct bs_attr *attr = &k->c->step->attr;
    float *to = k->between + y * k->table.w * k->features;
    memset(to, 0, (size_t)(k->table.w * k->features) * sizeof *to);
    for (int64_t x = 0; x < attr->out_w; x++) {
        double weight[4];
        const int64_t left = bs__cubic(x, k->table.w, attr->out_w, weight);
        for (int i = 0; i < 4; i++)
            add_token(k, token_of(attr, y, x), (float)weight[i],
                      to + bs__clamp(left + i, k->table.w) * k->features);
    }
}

/* A row of the table's grid, over the rows of the tokens' grid in which it counts. */
static void gather_column(const void *ctx, int64_t row, int worker)
{
    (void)worker;
    const struct positions *k = ctx;
    const struct bs_attr *attr = &k->c->step->attr;
    float *out = k->c->out[0].data;
    for (int64_t x = 0; x < k->table.w; x++)
        memset(out + row_of(k, row, x) * k->features, 0, (size_t)k->features * sizeof *out);
    for (int64_t y = 0; y < attr->out_h; y++) {
        double weight[4], share = 0;
        const int64_t top = bs__cubic(y, k->table.h, attr->out_h, weight);
        for (int i = 0; i < 4; i++)
            share += bs__clamp(top + i, k->table.h) == row ? weight[i] : 0;
        for (int64_t x = 0; share != 0 && x < k->table.w; x++)
            add_scaled(out + row_of(k, row, x) * k->features, k->between + (y * k->table.w + x) * k->features,
                       (float)share, k->features);
    }
}

static void take_row(const void *ctx, int64_t token, int worker)
{
    (void)worker;
    const struct positions *k = ctx;
    float *out = (float *)k->c->out[0].data + token * k->features;
    memset(out, 0, (size_t)k->features * sizeof *out);
    add_token(k, token, 1, out);
}

size_t bs__train_position_grad_scratch(const struct bs__training_call *c)
{
    const struct positions k = positions_of(c, &c->in[0].shape, &c->out[0].shape);
    return k.as_it_is ? 0 : (size_t)(c->step->attr.out_h * k.table.w * k.features) * sizeof(float);
}

bs_status bs__train_position_grad(const struct bs__training_call *c, struct bs_err *err)
{
    (void)err;
    struct positions k = positions_of(c, &c->in[0].shape, &c->out[0].shape);
    k.between = c->scratch;
    if (k.as_it_is) {
        bs__parallel(c->cpu->threads, k.tokens, take_row, &k);
        return BS_OK;
    }
    bs__parallel(c->cpu->threads, c->step->attr.out_h, gather_row, &k);
    bs__parallel(c->cpu->threads, k.table.h, gather_column, &k);
    if (k.table.class_row >= 0) {
        float *own = (float *)c->out[0].data + k.table.class_row * k.features;
        memset(own, 0, (size_t)k.features * sizeof *own);
        add_token(&k, c->step->attr.start, 1, own);
    }
    return BS_OK;
}
