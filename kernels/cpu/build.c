/* Appends steps, buffers and constants to a program under construction; see build.h. */
#include "kernels/cpu/build.h"

#include "kernels/base/checked.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAIL(b, code, ...) ((b)->rc = BS_FAIL((b)->err, code, __VA_ARGS__))

void *bs__own(struct bs__build *b, size_t bytes)
{
    if (b->rc != BS_OK)
        return NULL;
    const size_t header = 64; /* keeps the vectors behind it aligned */
    size_t size;
    struct bs__owned *o = NULL;
    if (bs_add(bytes, header + 63, &size))
        o = aligned_alloc(64, size / 64 * 64);
    if (!o) {
        FAIL(b, BS_ENOMEM, "no memory for constants of %zu bytes", bytes);
        return NULL;
    }
    memset(o, 0, size / 64 * 64);
    o->next = b->self->owned;
    b->self->owned = o;
    return (unsigned char *)o + header;
}

float *bs__own_param(struct bs__build *b, const char *name, size_t count, size_t room)
{
    float *p = bs__own(b, room * sizeof *p);
    if (p && name)
        b->rc = bs_params_read(b->params, name, p, count, b->err);
    return p;
}

int bs__blocks(const struct bs__build *b, int channels)
{
    int lanes = b->cpu->simd->lanes;
    return (channels + lanes - 1) / lanes;
}

static size_t image_bytes(const struct bs__build *b, const struct bs__image_at *i)
{
    return (size_t)i->n * (size_t)bs__blocks(b, i->channels) * (size_t)b->cpu->simd->lanes * (size_t)i->h *
           (size_t)i->w * b->self->element;
}

/* Doubles an array when it is full. */
static bool grow(struct bs__build *b, void **array, int *room, int count, size_t size)
{
    if (count < *room)
        return true;
    int more = *room ? *room * 2 : 64;
    void *p = realloc(*array, (size_t)more * size);
    if (!p) {
        FAIL(b, BS_ENOMEM, "no memory for a program of %d steps", count);
        return false;
    }
    *array = p;
    *room = more;
    return true;
}

int bs__new_buffer(struct bs__build *b, size_t bytes)
{
    void *array = b->program->buffer;
    if (b->rc != BS_OK || !grow(b, &array, &b->buffer_room, b->program->nbuffer, sizeof *b->program->buffer))
        return BS__NO_BUFFER;
    b->program->buffer = array;
    b->program->buffer[b->program->nbuffer] =
        (struct bs_plan_buffer){.bytes = bytes, .first = INT32_MAX, .last = -1, .parent = BS_NO_PARENT};
    return b->program->nbuffer++;
}

struct bs__step *bs__new_step(struct bs__build *b, enum bs__step_kind kind)
{
    void *array = b->self->step;
    if (b->rc != BS_OK || !grow(b, &array, &b->step_room, b->program->nstep, sizeof *b->self->step))
        return NULL;
    b->self->step = array;
    struct bs__step *s = &b->self->step[b->program->nstep++];
    memset(s, 0, sizeof *s);
    s->kind = kind;
    s->host = s->second_host = -1;
    s->dst = s->scratch = s->part = s->stats = BS__NO_BUFFER;
    for (int i = 0; i < BS__MAX_SOURCE; i++)
        s->source[i] = s->norm[i] = BS__NO_BUFFER;
    b->counts[kind]++;
    return s;
}

/* The last step touches this buffer. */
void bs__touch(struct bs__build *b, int buffer)
{
    if (b->rc != BS_OK || buffer == BS__NO_BUFFER)
        return;
    struct bs_plan_buffer *p = &b->program->buffer[buffer];
    int step = b->program->nstep - 1;
    if (step < p->first)
        p->first = step;
    p->last = step;
}

int bs__read_image(struct bs__build *b, const struct bs__image_at *i)
{
    bs__touch(b, i->buffer);
    return i->buffer;
}

int bs__make_image(struct bs__build *b, struct bs__image_at *i)
{
    i->buffer = bs__new_buffer(b, image_bytes(b, i));
    i->stats = BS__NO_BUFFER;
    bs__touch(b, i->buffer);
    return i->buffer;
}

int bs__make_scratch(struct bs__build *b, size_t floats_per_worker)
{
    int buffer = bs__new_buffer(b, floats_per_worker * sizeof(float) * (size_t)b->cpu->threads);
    bs__touch(b, buffer);
    return buffer;
}

/* The step also gathers moments of what it writes. */
void bs__gather(struct bs__build *b, struct bs__step *s, struct bs__image_at *image, int64_t nparts)
{
    s->stats_channels = bs__blocks(b, image->channels) * b->cpu->simd->lanes;
    s->stats_n = image->n;
    s->nparts = nparts;
    size_t channels = (size_t)s->stats_channels * (size_t)image->n;
    s->part = bs__new_buffer(b, channels * (size_t)nparts * sizeof(struct bs__moments));
    image->stats = s->stats = bs__new_buffer(b, channels * sizeof(struct bs__channel_stats));
    bs__touch(b, s->part);
    bs__touch(b, s->stats);
}

int64_t bs__sample_blocks(const struct bs__build *b, const struct bs__image_at *i)
{
    return i->of_blocks ? i->of_blocks : bs__blocks(b, i->channels);
}

size_t bs__view_offset(const struct bs__build *b, const struct bs__image_at *i)
{
    return (size_t)i->first_block * (size_t)b->cpu->simd->lanes * (size_t)i->h * (size_t)i->w *
           b->self->element;
}

static void bind_operand(struct bs__build *b, struct bs__step *s, const struct bs__operand *from)
{
    size_t offset = 0;
    for (int i = 0; i < from->count; i++) {
        s->source[i] = bs__read_image(b, from->image[i]);
        s->source_offset[i] = bs__view_offset(b, from->image[i]);
        s->norm[i] = from->norm;
        s->norm_offset[i] = offset;
        offset += (size_t)bs__blocks(b, from->image[i]->channels) * 3 * (size_t)b->cpu->simd->lanes;
    }
    bs__touch(b, from->norm);
}

int bs__operand_blocks(const struct bs__build *b, const struct bs__operand *from)
{
    int blocks = 0;
    for (int i = 0; i < from->count; i++)
        blocks += bs__blocks(b, from->image[i]->channels);
    return blocks;
}

static void bind_sources(const struct bs__build *b, struct bs__source *source, const struct bs__operand *from)
{
    for (int i = 0; i < from->count; i++)
        source[i] = (struct bs__source){
            .blocks = bs__blocks(b, from->image[i]->channels),
            .stride = bs__sample_blocks(b, from->image[i]),
            .norm_stride = (int64_t)bs__operand_blocks(b, from) * 3 * b->cpu->simd->lanes,
        };
}

/* Says in the plan hash and in profiles what a step is. */
void bs__name_step(struct bs__step *s, const char *what, const struct bs__image_at *from,
                   const struct bs__image_at *to, const char *how)
{
    snprintf(s->text, sizeof s->text, "%s %lldx%dx%lldx%lld -> %dx%lldx%lld%s", what, (long long)from->n,
             from->channels, (long long)from->h, (long long)from->w, to->channels, (long long)to->h,
             (long long)to->w, how);
}

void bs__add_head(struct bs__build *b, struct bs__image_at *from, const struct bs__conv *c, int logits,
                  int probability)
{
    struct bs__step *s = bs__new_step(b, BS__STEP_HEAD);
    if (!s)
        return;
    size_t in = (size_t)from->channels,
           room = (size_t)bs__blocks(b, from->channels) * (size_t)b->cpu->simd->lanes;
    float *plain = bs__own_param(b, c->weights, (size_t)c->out * in, (size_t)c->out * in);
    float *weights = bs__own(b, (size_t)c->out * room * sizeof(float));
    if (!plain || !weights)
        return;
    for (int o = 0; o < c->out; o++)
        for (size_t i = 0; i < in; i++) {
            float v = plain[(size_t)o * in + i];
            weights[(size_t)o * room + i] = b->self->bf16 ? bs_bf16_to_f32(bs_f32_to_bf16(v)) : v;
        }
    struct bs__image_at to = *from;
    to.channels = c->out;
    s->host = logits;
    s->second_host = probability;
    s->head = (struct bs__head){
        .source = {.blocks = bs__blocks(b, from->channels)},
        .n = from->n,
        .h = from->h,
        .w = from->w,
        .out = c->out,
        .weights = weights,
        .bias = c->bias,
    };
    s->tasks = from->n * from->h;
    s->source[0] = bs__read_image(b, from);
    s->flops = 2.0 * (double)(from->n * from->h * from->w) * from->channels * c->out;
    bs__name_step(s, "head", from, &to, probability < 0 ? "" : " sigmoid");
}

struct bs__conv_weights bs__weights_of(const struct bs__conv *c, int in)
{
    return (struct bs__conv_weights){.name = c->weights,
                                     .out = c->out,
                                     .in = {in, 0},
                                     .nsource = 1,
                                     .kernel_h = c->kernel_h,
                                     .kernel_w = c->kernel_w,
                                     .scale = c->scale,
                                     .norm = c->norm,
                                     .eps = c->eps};
}

int64_t bs__split_tiles(const struct bs__build *b, int64_t tiles, int64_t n, int out_chunks,
                        struct bs__split *split)
{
    const int group = b->cpu->simd->tile_group;
    const int64_t padded = (tiles + group - 1) / group * group;
    if (split->run > padded)
        split->run = padded;
    split->runs = (tiles + split->run - 1) / split->run;
    int64_t parts = split->runs * n, want = 4 * (int64_t)b->cpu->threads;
    int groups = (int)(parts >= want ? 1 : (want + parts - 1) / parts);
    groups = groups > out_chunks ? out_chunks : groups;
    split->out_chunks_per_task = (out_chunks + groups - 1) / groups;
    split->out_groups = (out_chunks + split->out_chunks_per_task - 1) / split->out_chunks_per_task;
    return parts * split->out_groups;
}

void bs__add_winograd(struct bs__build *b, const struct bs__operand *from, const struct bs__conv *c,
                      struct bs__image_at *to)
{
    const struct bs__simd *simd = b->cpu->simd;
    struct bs__step *s = bs__new_step(b, BS__STEP_WINOGRAD);
    if (!s)
        return;
    const struct bs__image_at *x = from->image[0];
    struct bs__winograd *k = &s->winograd;
    int in_blocks = bs__operand_blocks(b, from), out_blocks = bs__blocks(b, c->out);
    int out_chunks = (out_blocks + simd->out_vectors - 1) / simd->out_vectors;
    *k = (struct bs__winograd){
        .nsource = from->count,
        .n = x->n,
        .h = x->h,
        .w = x->w,
        .in_blocks = in_blocks,
        .out_blocks = out_blocks,
        .relu = c->relu,
        .bias = c->bias,
        .tiles_y = (x->h + 3) / 4,
        .tiles_x = (x->w + 3) / 4,
        /* Transforming weights on the fly costs a tenth of the time of a 64-channel layer and 3 % of a 1024-channel one,
           whose transformed weights would take 144 MiB: measured, see docs/performance.md. */
        .transformed = in_blocks * out_blocks * simd->lanes * simd->lanes <= 128 * 128,
    };
    bind_sources(b, k->source, from);
    /* Tiles of a task: more of them share the transformed weights of a chunk, fewer stay in the second-level cache.
       Measured with 18 to 96: flat within 3 % from 42 to 96, these are the best. */
    k->split.run = in_blocks * simd->lanes > 128 ? 96 : 42;
    s->tasks = bs__split_tiles(b, k->tiles_y * k->tiles_x, k->n, out_chunks, &k->split);
    k->scratch_floats = bs__tile_scratch(simd, in_blocks, k->split.run, 36, 36);
    struct bs__conv_weights w = bs__weights_of(c, 0);
    w.nsource = from->count;
    for (int i = 0; i < from->count; i++)
        w.in[i] = from->image[i]->channels;
    b->rc = bs__pack_winograd(b->cpu, b->params, &w, b->self->bf16, k->transformed, &k->weights, b->err);
    bind_operand(b, s, from);
    s->scratch = bs__make_scratch(b, k->scratch_floats);
    s->dst = bs__make_image(b, to);
    if (c->want_stats)
        bs__gather(b, s, to, k->split.runs);
    char how[64];
    snprintf(how, sizeof how, "%s%s%s run %d", from->count > 1 ? " joined" : "",
             from->norm == BS__NO_BUFFER ? "" : " normed", c->relu ? " relu" : "", (int)k->split.run);
    /* As the definition counts. */
    for (int i = 0; i < from->count; i++)
        s->flops += 18.0 * (double)(x->n * x->h * x->w) * from->image[i]->channels * c->out;
    bs__name_step(s, "winograd", x, to, how);
}

void bs__add_direct(struct bs__build *b, struct bs__image_at *from, const struct bs__conv *c,
                    struct bs__image_at *to)
{
    struct bs__step *s = bs__new_step(b, BS__STEP_DIRECT);
    if (!s)
        return;
    const int lanes = b->cpu->simd->lanes;
    const struct bs__dnnl_conv_shape shape = {
        .n = from->n,
        .in = (int64_t)bs__blocks(b, from->channels) * lanes,
        .h = from->h,
        .w = from->w,
        .out = (int64_t)bs__blocks(b, c->out) * lanes,
        .out_h = c->out_h,
        .out_w = c->out_w,
        .kernel_h = c->kernel_h,
        .kernel_w = c->kernel_w,
        .stride = c->stride,
        .pad = c->pad,
        .block = lanes,
        .bf16 = b->self->bf16,
        .relu = c->relu,
    };
    const struct bs__conv_weights w = bs__weights_of(c, from->channels);
    bs__parallel_set_threads(b->cpu->threads);
    b->rc = bs__dnnl_conv_create(b->cpu->dnnl, &shape, &s->direct.conv, b->err);
    if (b->rc != BS_OK) {
        bs_err_prefix(b->err, "conv2d \"%s\"", c->weights);
        return;
    }
    b->rc = bs__pack_direct(b->cpu, b->params, &w, s->direct.conv, &s->direct.weights, b->err);
    s->direct.bias = c->bias;
    s->source[0] = bs__read_image(b, from);
    s->scratch = bs__new_buffer(b, bs__dnnl_conv_scratch(s->direct.conv));
    bs__touch(b, s->scratch);
    s->dst = bs__make_image(b, to);
    char how[64];
    snprintf(how, sizeof how, "%s %s", c->relu ? " relu" : "", bs__dnnl_conv_algorithm(s->direct.conv));
    s->flops =
        2.0 * (double)(from->n * c->out_h * c->out_w) * c->kernel_h * c->kernel_w * from->channels * c->out;
    bs__name_step(s, "direct", from, to, how);
}

/* One 1x1 product; c->weights by tap when it is part of a transposed convolution. */
static void add_product(struct bs__build *b, struct bs__image_at *from, const struct bs__conv *c,
                        struct bs__image_at *to, int step, int dy, int dx)
{
    struct bs__step *s = bs__new_step(b, BS__STEP_POINTWISE);
    if (!s)
        return;
    const struct bs__simd *simd = b->cpu->simd;
    struct bs__pointwise *k = &s->pointwise;
    size_t in_blocks = (size_t)bs__blocks(b, from->channels), lanes = (size_t)simd->lanes;
    size_t chunk = lanes * (size_t)simd->out_vectors;
    *k = (struct bs__pointwise){
        .source = {.blocks = (int)in_blocks},
        .n = from->n,
        .h = from->h,
        .w = from->w,
        .out_blocks = bs__blocks(b, c->out),
        .bias = c->bias,
        .relu = c->relu,
        .dst_h = to->h,
        .dst_w = to->w,
        .step = step,
        .dy = dy,
        .dx = dx,
        .run = 96,
    };
    k->runs = (from->h * from->w + k->run - 1) / k->run;
    s->tasks = k->runs * k->n;
    k->scratch_floats = (size_t)k->run * chunk;
    if (b->self->bf16)
        k->scratch_floats += in_blocks * lanes * ((size_t)k->run + chunk);
    const struct bs__conv_weights w = bs__weights_of(c, from->channels);
    if (step > 1)
        b->rc = bs__pack_tap(b->cpu, b->params, &w, dy, dx, b->self->bf16, &k->weights, b->err);
    else
        b->rc = bs__pack_pointwise(b->cpu, b->params, &w, b->self->bf16, &k->weights, b->err);
    s->source[0] = bs__read_image(b, from);
    s->scratch = bs__make_scratch(b, k->scratch_floats);
    if (dy == 0 && dx == 0)
        bs__make_image(b, to);
    bs__touch(b, to->buffer);
    s->dst = to->buffer;
    char how[64];
    snprintf(how, sizeof how, "%s%s tap %d,%d of %d", c->relu ? " relu" : "", b->self->pairs ? " pairs" : "",
             dy, dx, step);
    s->flops = 2.0 * (double)(from->n * from->h * from->w) * from->channels * c->out;
    bs__name_step(s, "1x1", from, to, how);
}

void bs__add_pointwise(struct bs__build *b, struct bs__image_at *from, const struct bs__conv *c,
                       struct bs__image_at *to)
{
    add_product(b, from, c, to, 1, 0, 0);
    if (c->want_stats)
        bs__add_moments(b, to);
}

void bs__add_transposed(struct bs__build *b, struct bs__image_at *from, const struct bs__conv *c,
                        struct bs__image_at *to)
{
    for (int y = 0; y < c->stride; y++)
        for (int x = 0; x < c->stride; x++)
            add_product(b, from, c, to, c->stride, y, x);
    if (c->want_stats)
        bs__add_moments(b, to);
}
