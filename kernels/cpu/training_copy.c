/* Operators of training that only move numbers. Slices of any axis and their gradients, concatenations and a token put in or
   taken out are one thing: a destination of equal blocks, each of which takes runs of numbers from up to three places and is
   zero elsewhere; channels of images in blocks lie one after another as those of dense ones do, where cuts are at blocks. Tokens and
   images are each other's transposes. */
#include "kernels/cpu/training_operators.h"

#define RUN  16384 /* numbers of a task */
#define MOST 3

struct piece {
    const float *from;
    int64_t step;      /* from one block to the next */
    int64_t at, count; /* in a block of the destination */
};

struct copy {
    struct piece piece[MOST];
    int pieces;
    float *to;
    int64_t block, blocks; /* of the destination */
    int64_t group, runs;   /* short blocks: blocks of a task; long ones: tasks of a block */
};

/* Numbers [from, to) of a block. */
static void copy_part(const struct copy *c, int64_t block, int64_t from, int64_t to)
{
    float *dst = c->to + block * c->block;
    int64_t done = from;
    for (int i = 0; i < c->pieces; i++) {
        const struct piece *p = &c->piece[i];
        const int64_t begin = p->at > from ? p->at : from;
        const int64_t end = p->at + p->count < to ? p->at + p->count : to;
        if (begin >= end)
            continue;
        memset(dst + done, 0, (size_t)(begin - done) * sizeof *dst);
        memcpy(dst + begin, p->from + block * p->step + begin - p->at, (size_t)(end - begin) * sizeof *dst);
        done = end;
    }
    memset(dst + done, 0, (size_t)(to - done) * sizeof *dst);
}

static void copy_run(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct copy *c = ctx;
    const int64_t from = task % c->runs * RUN, first = task / c->runs * c->group;
    const int64_t to = c->block - from < RUN ? c->block : from + RUN;
    for (int64_t block = first; block < first + c->group && block < c->blocks; block++)
        copy_part(c, block, from, to);
}

/* Numbers in one step of an axis, and in all of it. */
static int64_t inner_of(const struct bs_shape *s, int axis)
{
    int64_t inner = 1;
    for (int i = axis + 1; i < s->ndim; i++)
        inner *= s->dim[i];
    return inner;
}

/* x of one axis is cut (a slice) or gets zeros around it (its gradient). */
static void one_piece(struct copy *k, const struct bs__training_call *c, int axis, int64_t start, bool grows)
{
    const struct bs_tensor *x = &c->in[0];
    const int64_t inner = inner_of(&x->shape, axis), own = x->shape.dim[axis] * inner;
    k->pieces = 1;
    k->block = c->out[0].shape.dim[axis] * inner;
    k->piece[0] = grows ? (struct piece){x->data, own, start * inner, own}
                        : (struct piece){(const float *)x->data + start * inner, own, 0, k->block};
}

/* Token `start` is put in, or left out (gradient). */
static void around_token(struct copy *k, const struct bs__training_call *c, bool insert)
{
    const struct bs_tensor *x = &c->in[0];
    const int64_t features = bs__features_of(x), own = x->shape.dim[1] * features;
    const int64_t before = c->step->attr.start * features;
    k->block = c->out[0].shape.dim[1] * features;
    k->piece[0] = (struct piece){x->data, own, 0, before};
    k->piece[1] =
        insert ? (struct piece){c->in[1].data, 0, before, features}
               : (struct piece){(const float *)x->data + before + features, own, before, k->block - before};
    k->piece[2] = (struct piece){(const float *)x->data + before, own, before + features, own - before};
    k->pieces = insert ? 3 : 2;
}

bs_status bs__train_copy(const struct bs__training_call *c, struct bs_err *err)
{
    (void)err;
    const struct bs_attr *attr = &c->step->attr;
    struct copy k = {.to = c->out[0].data};
    if (c->step->op == BS_OP_SLICE_GRAD) {
        one_piece(&k, c, attr->axis, attr->start, true);
    } else if (c->step->op == BS_OP_CONCAT) {
        const int64_t a = inner_of(&c->in[0].shape, 0), b = inner_of(&c->in[1].shape, 0);
        k.pieces = 2;
        k.block = a + b;
        k.piece[0] = (struct piece){c->in[0].data, a, 0, a};
        k.piece[1] = (struct piece){c->in[1].data, b, a, b};
    } else if (c->step->op == BS_OP_INSERT_TOKEN) {
        around_token(&k, c, true);
    } else if (c->step->op == BS_OP_INSERT_TOKEN_GRAD) {
        around_token(&k, c, false);
    } else {
        const int axis = c->step->op == BS_OP_SLICE_LAST ? c->in[0].shape.ndim - 1 : 1;
        one_piece(&k, c, axis, attr->start, false);
    }
    k.runs = bs__tasks(k.block, RUN);
    k.group = k.runs > 1 ? 1 : bs__tasks(RUN, k.block);
    k.blocks = (int64_t)bs_shape_count(&c->out[0].shape) / k.block;
    bs__parallel(c->cpu->threads, bs__tasks(k.blocks, k.group) * k.runs, copy_run, &k);
    return BS_OK;
}

/* which 0: gy without that token; 1: the token's sum over samples. */
bs_status bs__train_insert_grad(const struct bs__training_call *c, struct bs_err *err)
{
    return c->step->attr.which == 0 ? bs__train_copy(c, err) : bs__train_whole(c, err);
}

bs_status bs__train_transpose(const struct bs__training_call *c, struct bs_err *err)
{
    (void)err;
    const bool to_tokens = c->step->op == BS_OP_TOKENS_FROM_IMAGE;
    const int64_t *d = c->in[0].shape.dim;
    struct bs__transpose t = {.src = c->in[0].data,
                              .rows = d[1],
                              .cols = to_tokens ? d[2] * d[3] : d[2],
                              .run = 64,
                              .dst_group = 64,
                              .dst_row = d[1],
                              .dst = c->out[0].data};
    t.src_row = t.cols;
    t.src_sample = t.dst_sample = t.rows * t.cols;
    t.groups = bs__tasks(t.rows, t.run);
    bs__parallel(c->cpu->threads, d[0] * t.groups, bs__gradients_of(c->cpu->simd)->transpose, &t);
    return BS_OK;
}
