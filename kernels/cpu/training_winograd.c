/* 3x3 convolutions of training with stride 1 and padding 1, and both of their gradients, by the own Winograd kernels. Images lie in
   blocks of channels, weights are packed (and for few channels transformed) in the run.
   The gradient of x is a convolution of what came back with the weights turned around and their channels exchanged. */
#include "kernels/cpu/training_winograd.h"

#include "kernels/cpu/training_operators.h"

/* The convolution that a step computes: of GRAD_X the one of gy; of GRAD_W the forward one. */
struct sizes {
    int64_t n, h, w;
    int in, out;
};

static struct sizes sizes_of(const struct bs__training_call *c)
{
    const bool weights = c->step->op == BS_OP_CONV2D_GRAD_W;
    const struct bs_shape *x = &c->in[0].shape, *y = weights ? &c->in[1].shape : &c->out[0].shape;
    return (struct sizes){x->dim[0], x->dim[2], x->dim[3], (int)x->dim[1], (int)y->dim[1]};
}

bool bs__training_winograd_fits(const struct bs__training_call *c)
{
    const enum bs_op op = c->step->op;
    const struct bs_shape *w = op == BS_OP_CONV2D_GRAD_W ? &c->out[0].shape : &c->in[1].shape;
    const int lanes = c->cpu->simd->lanes;
    const bool conv = op == BS_OP_CONV2D || op == BS_OP_CONV2D_GRAD_X || op == BS_OP_CONV2D_GRAD_W;
    if (!conv || !c->cpu->allow_winograd || w->dim[2] != 3 || w->dim[3] != 3 || c->step->attr.stride != 1 ||
        c->step->attr.pad != 1)
        return false;
    const struct sizes s = sizes_of(c);
    return s.in % lanes == 0 && s.out % lanes == 0;
}

/* ---- result and gradient of x ---- */

struct convolution {
    struct bs__winograd k;
    int out_chunks, width; /* output channels in a chunk */
    int64_t tasks;
    size_t packed, transformed, bias, scratch; /* floats */
};

static struct convolution convolution_of(const struct bs__training_call *c)
{
    const struct bs__simd *simd = c->cpu->simd;
    const struct sizes s = sizes_of(c);
    struct convolution v = {.width = simd->lanes * simd->out_vectors};
    v.k = (struct bs__winograd){.nsource = 1,
                                .n = s.n,
                                .h = s.h,
                                .w = s.w,
                                .in_blocks = s.in / simd->lanes,
                                .out_blocks = s.out / simd->lanes,
                                .tiles_y = (s.h + 3) / 4,
                                .tiles_x = (s.w + 3) / 4,
                                .transformed = s.in * s.out <= 128 * 128};
    /* as in build.c, but that tasks must not depend on threads */
    const int64_t tiles = v.k.tiles_y * v.k.tiles_x, group = simd->tile_group, most = s.in > 128 ? 96 : 42;
    const int64_t padded = bs__tasks(tiles, group) * group;
    v.out_chunks = (v.k.out_blocks + simd->out_vectors - 1) / simd->out_vectors;
    v.k.split.run = most > padded ? padded : most;
    v.k.split.runs = bs__tasks(tiles, v.k.split.run);
    int groups = (int)bs__tasks(16, v.k.split.runs * s.n);
    groups = groups > v.out_chunks ? v.out_chunks : groups;
    v.k.split.out_chunks_per_task = (v.out_chunks + groups - 1) / groups;
    v.k.split.out_groups = (v.out_chunks + v.k.split.out_chunks_per_task - 1) / v.k.split.out_chunks_per_task;
    v.tasks = v.k.split.runs * s.n * v.k.split.out_groups;
    v.k.scratch_floats = bs__tile_scratch(simd, v.k.in_blocks, v.k.split.run, 36, 36);
    v.packed = bs__floats((int64_t)v.out_chunks * v.width * s.in * 9);
    v.transformed = v.k.transformed ? 4 * v.packed : 0;
    v.bias = bs__floats(s.out);
    v.scratch = v.k.scratch_floats * (size_t)c->cpu->threads;
    return v;
}

/* Weights of an input channel and a chunk of output channels: (chunk of out, in, 9, out in chunk). */
struct packing {
    const float *w;
    int in, out, width;
    bool back; /* w is (in, out, 3, 3), turned around */
    float *packed, *transformed;
    const struct bs__simd *simd;
};

static void pack_channel(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct packing *p = ctx;
    const int64_t chunk = task / p->in, i = task % p->in;
    float *to = p->packed + task * 9 * p->width;
    for (int t = 0; t < 9; t++)
        for (int o = 0; o < p->width; o++) {
            const int64_t out = chunk * p->width + o;
            *to++ = out >= p->out ? 0
                    : p->back     ? p->w[(i * p->out + out) * 9 + 8 - t]
                                  : p->w[(out * p->in + i) * 9 + t];
        }
}

static void transform_chunk(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct packing *p = ctx;
    const int64_t blocks = p->in / p->simd->lanes, chunks = bs__tasks(blocks, p->simd->in_chunk);
    const int64_t first = task % chunks * p->simd->in_chunk, left = blocks - first;
    const int64_t at = (task / chunks * blocks + first) * p->simd->lanes * 9 * p->width;
    p->simd->transform_weights(p->packed + at, (int)(left < p->simd->in_chunk ? left : p->simd->in_chunk),
                               p->transformed + 4 * at);
}

static void pack_weights(const struct bs__training_call *c, const struct convolution *v, struct packing *p)
{
    const struct bs__simd *simd = c->cpu->simd;
    bs__parallel(c->cpu->threads, (int64_t)v->out_chunks * p->in, pack_channel, p);
    if (p->transformed)
        bs__parallel(c->cpu->threads, v->out_chunks * bs__tasks(v->k.in_blocks, simd->in_chunk),
                     transform_chunk, p);
}

static void convolve(const struct bs__training_call *c)
{
    const struct sizes s = sizes_of(c);
    struct convolution v = convolution_of(c);
    float *at = c->scratch, *bias = bs__take(&at, v.bias);
    struct packing p = {.w = c->in[1].data,
                        .in = s.in,
                        .out = s.out,
                        .width = v.width,
                        .back = c->step->op == BS_OP_CONV2D_GRAD_X,
                        .packed = bs__take(&at, v.packed),
                        .simd = c->cpu->simd};
    p.transformed = v.transformed ? bs__take(&at, v.transformed) : NULL;
    memset(bias, 0, v.bias * sizeof *bias);
    if (c->step->op == BS_OP_CONV2D && c->step->ninput == 3)
        memcpy(bias, c->in[2].data, (size_t)s.out * sizeof *bias);
    pack_weights(c, &v, &p);
    v.k.source[0] = (struct bs__source){.data = c->in[0].data,
                                        .blocks = v.k.in_blocks,
                                        .stride = v.k.in_blocks,
                                        .norm = c->moments,
                                        .norm_stride = (int64_t)s.in * 3};
    v.k.weights = p.transformed ? p.transformed : p.packed;
    v.k.bias = bias;
    v.k.relu = c->step->relu;
    v.k.dst = c->out[0].data;
    v.k.scratch = at;
    bs__parallel(c->cpu->threads, v.tasks, c->cpu->simd->f32.winograd, &v.k);
}

/* ---- gradient of the weights ---- */

struct of_weights {
    struct bs__winograd_grad k;
    int64_t tasks;
    size_t part, merged, scratch; /* floats */
};

static struct of_weights of_weights(const struct bs__training_call *c)
{
    const struct bs__simd *simd = c->cpu->simd;
    const struct sizes s = sizes_of(c);
    struct of_weights v = {.k = {.n = s.n,
                                 .h = s.h,
                                 .w = s.w,
                                 .in_blocks = s.in / simd->lanes,
                                 .out_blocks = s.out / simd->lanes,
                                 .tiles_y = (s.h + 3) / 4,
                                 .tiles_x = (s.w + 3) / 4,
                                 .run = 40}};
    const int64_t chunks =
        bs__tasks(v.k.in_blocks, simd->in_chunk) * bs__tasks(v.k.out_blocks, simd->out_vectors);
    const int64_t tiles = v.k.tiles_y * v.k.tiles_x * s.n;
    v.k.runs = bs__tasks(tiles, v.k.run);
    v.k.parts = bs__tasks(16, chunks); /* 16 tasks or more */
    v.k.parts = v.k.parts > v.k.runs ? v.k.runs : v.k.parts;
    v.tasks = v.k.parts * chunks;
    v.k.scratch_floats = bs__winograd_grad_scratch(simd, v.k.run);
    v.merged = bs__floats((int64_t)s.in * 9 * s.out);
    v.part = (size_t)v.k.parts * v.merged;
    v.scratch = v.k.scratch_floats * (size_t)c->cpu->threads;
    return v;
}

static void gather_weights(const struct bs__training_call *c)
{
    const struct sizes s = sizes_of(c);
    struct of_weights v = of_weights(c);
    float *at = c->scratch, *part = bs__take(&at, v.part), *merged = bs__take(&at, v.merged);
    const int64_t count = (int64_t)s.in * 9 * s.out, run = 16;
    v.k.x = c->in[0].data;
    v.k.norm = c->moments;
    v.k.gy = c->in[1].data;
    v.k.part = part;
    v.k.scratch = at;
    bs__parallel(c->cpu->threads, v.tasks, c->cpu->simd->winograd_grad, &v.k);
    bs__merge_parts(c->cpu, part, v.k.parts, count, NULL, count, merged);
    /* (in, 9, out) to (out, in, 9) */
    const struct bs__transpose t = {.src = merged,
                                    .rows = (int64_t)s.in * 9,
                                    .cols = s.out,
                                    .src_row = s.out,
                                    .run = run,
                                    .dst_group = run,
                                    .dst_row = (int64_t)s.in * 9,
                                    .dst = c->out[0].data,
                                    .groups = bs__tasks((int64_t)s.in * 9, run)};
    bs__parallel(c->cpu->threads, t.groups, bs__gradients_of(c->cpu->simd)->transpose, &t);
}

size_t bs__training_winograd_scratch(const struct bs__training_call *c)
{
    if (c->step->op == BS_OP_CONV2D_GRAD_W) {
        const struct of_weights v = of_weights(c);
        return (v.part + v.merged + v.scratch) * sizeof(float);
    }
    const struct convolution v = convolution_of(c);
    return (v.bias + v.packed + v.transformed + v.scratch) * sizeof(float);
}

void bs__training_winograd_run(const struct bs__training_call *c)
{
    if (c->step->op == BS_OP_CONV2D_GRAD_W)
        gather_weights(c);
    else
        convolve(c);
}
