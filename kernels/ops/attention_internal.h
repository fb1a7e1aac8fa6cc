/* What attention (attention.c) and its backward (attention_grad.c) share: where the parts of a head lie, and the logit of
   a query and a key. */
#ifndef BS_KERNELS_OPS_ATTENTION_INTERNAL_H
#define BS_KERNELS_OPS_ATTENTION_INTERNAL_H

#include "kernels/ops/ops_internal.h"

#include <math.h>

/* Checks the inputs of BS_OP_ATTENTION under the name `op`; out becomes its output's shape. */
bs_status bs__attention_infer(const char *op, const struct bs_attr *attr, const struct bs_shape *in,
                              int ninput, struct bs_shape *out, struct bs_err *err) BS_NODISCARD;

/* A table of relative positions along one axis of `length` tokens; data NULL: there is none. */
struct bs__positions {
    const float *data;
    int64_t rows, length, features;
};

/* One head of one sample. */
struct bs__head {
    const float *q, *k, *v;       /* of the first token */
    const float *pad_k, *pad_v;   /* NULL: zeros */
    int64_t token;                /* floats from one token to the next */
    int64_t grid_h, grid_w, h, w; /* of the grid, of a window */
    int64_t features;
    double scale; /* 1 / sqrt(features) */
    struct bs__positions rel_h, rel_w;
};

/* What all heads have in common, from the inputs of BS_OP_ATTENTION. */
struct bs__head bs__attention_heads(const struct bs_attr *attr, const struct bs_tensor *in, int ninput);
/* Head `head` of sample `n`. */
void bs__attention_choose(struct bs__head *a, const struct bs_tensor *in, int ninput, int64_t n, int head);

static inline double bs__dot(const float *a, const float *b, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* Where the value for a distance lies in a table: (1 - t) row lo + t row hi. */
struct bs__place {
    int64_t lo, hi;
    double t;
};

static inline struct bs__place bs__place(const struct bs__positions *p, int64_t distance)
{
    const int64_t row = distance + p->length - 1, rows = 2 * p->length - 1;
    if (p->rows == rows)
        return (struct bs__place){row, row, 0};
    double u = ((double)row + 0.5) * (double)p->rows / (double)rows - 0.5;
    u = u < 0 ? 0 : u;
    int64_t lo = (int64_t)floor(u);
    lo = lo > p->rows - 1 ? p->rows - 1 : lo;
    return (struct bs__place){lo, lo < p->rows - 1 ? lo + 1 : lo, u - (double)lo};
}

/* q with the table's row for a query `distance` tokens behind a key. */
static inline double bs__relative(const struct bs__positions *p, const float *q, int64_t distance)
{
    if (!p->data)
        return 0;
    const struct bs__place at = bs__place(p, distance);
    const double lo = bs__dot(q, p->data + at.lo * p->features, p->features);
    if (at.t == 0)
        return lo;
    return (1 - at.t) * lo + at.t * bs__dot(q, p->data + at.hi * p->features, p->features);
}

/* A key of a window: inside the grid, or a token of padding. k, v NULL: zeros. */
struct bs__key {
    int64_t y, x;
    bool inside;
    const float *k, *v;
};

static inline struct bs__key bs__key(const struct bs__head *a, int64_t y, int64_t x)
{
    const bool inside = y < a->grid_h && x < a->grid_w;
    const int64_t at = inside ? (y * a->grid_w + x) * a->token : 0;
    return (struct bs__key){y, x, inside, inside ? a->k + at : a->pad_k, inside ? a->v + at : a->pad_v};
}

#endif
