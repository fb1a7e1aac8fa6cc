/* 1x1 convolutions of training whose images lie in blocks of channels, and both of their gradients. An image that does not (that of
   the network's few outputs) is brought into padded blocks, or out of them. */
#include "kernels/cpu/training_pointwise.h"

#include "kernels/cpu/training_layout.h"
#include "kernels/cpu/training_operators.h"

/* Images a -> b with weights, or of their gradient a and b. */
struct image {
    int64_t channels;
    int blocks;
    bool blocked;
    size_t copy; /* floats */
};

struct pointwise {
    int64_t n, h, w;
    struct image a, b;
    bool back; /* the weights are (a, b) instead of (b, a) */
    int out_chunks, width;
    size_t packed, bias, product, part;
    int64_t tiles, parts, chunks;
};

static struct image image_of(const struct bs__training_call *c, const struct bs_tensor *t, bool blocked)
{
    const int64_t *d = t->shape.dim, lanes = c->cpu->simd->lanes;
    struct image i = {.channels = d[1], .blocks = (int)bs__tasks(d[1], lanes), .blocked = blocked};
    i.copy = blocked ? 0 : bs__floats(d[0] * i.blocks * lanes * d[2] * d[3]);
    return i;
}

static struct pointwise pointwise_of(const struct bs__training_call *c)
{
    const struct bs__training_step *s = c->step;
    const struct bs__simd *simd = c->cpu->simd;
    const bool weights = s->op == BS_OP_CONV2D_GRAD_W;
    const int64_t *d = c->in[0].shape.dim;
    struct pointwise p = {.n = d[0],
                          .h = d[2],
                          .w = d[3],
                          .a = image_of(c, &c->in[0], s->blocked_in[0]),
                          .b = weights ? image_of(c, &c->in[1], s->blocked_in[1])
                                       : image_of(c, &c->out[0], s->blocked_out),
                          .back = s->op == BS_OP_CONV2D_GRAD_X,
                          .width = simd->lanes * simd->out_vectors};
    p.out_chunks = (int)bs__tasks(p.b.blocks, simd->out_vectors);
    if (!weights) {
        p.packed = bs__floats((int64_t)p.out_chunks * p.a.blocks * simd->lanes * p.width);
        p.bias = bs__floats(p.b.blocks * simd->lanes);
        p.product = bs__floats((int64_t)BS__POINTWISE_TILE * p.width);
        return p;
    }
    p.tiles = p.n * bs__tasks(p.h * p.w, BS__POINTWISE_TILE);
    p.chunks = bs__tasks(p.a.blocks, simd->in_chunk) * p.out_chunks;
    p.parts = bs__tasks(p.tiles, 256); /* sums of 16,384 pixels are float32 */
    if (p.parts * p.chunks < 16)       /* 16 tasks or more, */
        p.parts = bs__tasks(16, p.chunks);
    p.parts = p.parts > p.tiles ? p.tiles : p.parts; /* where there are pixels enough */
    p.part = bs__floats((int64_t)p.a.blocks * simd->lanes * p.b.blocks * simd->lanes);
    p.product = bs__floats((int64_t)(simd->in_chunk * simd->lanes + BS__POINTWISE_TILE) * p.width);
    return p;
}

size_t bs__pointwise_blocks_scratch(const struct bs__training_call *c)
{
    const struct pointwise p = pointwise_of(c);
    return (p.a.copy + p.b.copy + p.packed + p.bias + p.part * (size_t)(p.parts ? p.parts + 1 : 0) +
            p.product * (size_t)c->cpu->threads) *
           sizeof(float);
}

/* The image in blocks: where it lies, or a copy. */
static const float *in_blocks(const struct bs__training_call *c, const struct pointwise *p,
                              const struct image *i, const float *data, float **at)
{
    if (i->blocked)
        return data;
    float *copy = bs__take(at, i->copy);
    bs__to_blocks(c->cpu, data, p->n, i->channels, p->h * p->w, copy);
    return copy;
}

/* (chunk of b, a, b in chunk), zeros behind the last channels */
static void pack(const struct pointwise *p, const float *w, int lanes, float *to)
{
    for (int64_t chunk = 0; chunk < p->out_chunks; chunk++)
        for (int64_t i = 0; i < (int64_t)p->a.blocks * lanes; i++)
            for (int64_t k = 0; k < p->width; k++) {
                const int64_t o = chunk * p->width + k;
                *to++ = i >= p->a.channels || o >= p->b.channels ? 0
                        : p->back                                ? w[i * p->b.channels + o]
                                                                 : w[o * p->a.channels + i];
            }
}

static void convolve(const struct bs__training_call *c)
{
    const struct pointwise p = pointwise_of(c);
    const int lanes = c->cpu->simd->lanes;
    float *at = c->scratch, *packed = bs__take(&at, p.packed), *bias = bs__take(&at, p.bias);
    const float *x = in_blocks(c, &p, &p.a, c->in[0].data, &at);
    float *y = p.b.blocked ? c->out[0].data : bs__take(&at, p.b.copy);
    pack(&p, c->in[1].data, lanes, packed);
    memset(bias, 0, p.bias * sizeof *bias);
    if (!p.back && c->step->ninput == 3)
        memcpy(bias, c->in[2].data, (size_t)p.b.channels * sizeof *bias);
    const struct bs__pointwise k = {.source = {.data = x, .blocks = p.a.blocks, .stride = p.a.blocks},
                                    .n = p.n,
                                    .h = p.h,
                                    .w = p.w,
                                    .out_blocks = p.b.blocks,
                                    .weights = packed,
                                    .bias = bias,
                                    .dst = y,
                                    .dst_h = p.h,
                                    .dst_w = p.w,
                                    .step = 1,
                                    .run = BS__POINTWISE_TILE,
                                    .runs = bs__tasks(p.h * p.w, BS__POINTWISE_TILE),
                                    .scratch = at,
                                    .scratch_floats = p.product};
    bs__parallel(c->cpu->threads, k.n * k.runs, c->cpu->simd->f32.pointwise, &k);
    if (!p.b.blocked)
        bs__from_blocks(c->cpu, y, p.n, p.b.channels, p.h * p.w, c->out[0].data);
}

/* (a, b) with padding to (b, a) */
static void store_weights(const struct pointwise *p, const float *merged, int lanes, float *to)
{
    for (int64_t o = 0; o < p->b.channels; o++)
        for (int64_t i = 0; i < p->a.channels; i++)
            *to++ = merged[i * p->b.blocks * lanes + o];
}

static void gather_weights(const struct bs__training_call *c)
{
    const struct pointwise p = pointwise_of(c);
    const int lanes = c->cpu->simd->lanes;
    const int64_t count = (int64_t)p.a.blocks * lanes * p.b.blocks * lanes;
    float *at = c->scratch, *part = bs__take(&at, p.part * (size_t)p.parts), *merged = bs__take(&at, p.part);
    struct bs__pointwise_weights k = {.samples = p.n,
                                      .pixels = p.h * p.w,
                                      .tiles = p.tiles,
                                      .parts = p.parts,
                                      .in_blocks = p.a.blocks,
                                      .out_blocks = p.b.blocks,
                                      .part = part,
                                      .scratch_floats = p.product};
    k.x = in_blocks(c, &p, &p.a, c->in[0].data, &at);
    k.gy = in_blocks(c, &p, &p.b, c->in[1].data, &at);
    k.scratch = at;
    bs__parallel(c->cpu->threads, p.parts * p.chunks, c->cpu->simd->pointwise_grad, &k);
    bs__merge_parts(c->cpu, part, p.parts, count, NULL, count, merged);
    store_weights(&p, merged, lanes, c->out[0].data);
}

void bs__pointwise_blocks_run(const struct bs__training_call *c)
{
    if (c->step->op == BS_OP_CONV2D_GRAD_W)
        gather_weights(c);
    else
        convolve(c);
}
