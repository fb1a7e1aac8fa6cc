/* Appends the steps that go once over an image: layout, norm, activation, arithmetic, moments, pooling, resizing; see
   build.h. */
#include "kernels/cpu/build.h"

#include <math.h>

/* A pass over destination rows. The part of a task must not depend on the number of threads: about 64 KiB of work. */
static struct bs__step *new_pass(struct bs__build *b, enum bs__step_kind kind,
                                 const struct bs__image_at *from, const struct bs__image_at *to)
{
    struct bs__step *s = bs__new_step(b, kind);
    if (!s)
        return NULL;
    int blocks = bs__blocks(b, from->channels);
    int64_t rows = 4096 / (to->w > 0 ? to->w : 1);
    rows = rows < 1 ? 1 : rows > to->h ? to->h : rows;
    s->pass = (struct bs__pass){
        .source = {.blocks = blocks,
                   .stride = bs__sample_blocks(b, from),
                   .norm_stride = (int64_t)blocks * 3 * b->cpu->simd->lanes},
        .other = {.blocks = blocks, .stride = blocks},
        .n = from->n,
        .h = from->h,
        .w = from->w,
        .channels = from->channels,
        .dst_blocks = bs__blocks(b, to->channels),
        .dst_h = to->h,
        .dst_w = to->w,
        .rows = rows,
        .groups = (to->h + rows - 1) / rows,
    };
    s->source_offset[0] = bs__view_offset(b, from);
    s->tasks = s->pass.groups * blocks * from->n;
    return s;
}

void bs__add_load(struct bs__build *b, int host, struct bs__image_at *to, bool want_stats)
{
    struct bs__step *s = new_pass(b, BS__STEP_LOAD, to, to);
    if (!s)
        return;
    s->host = host;
    s->dst = bs__make_image(b, to);
    if (want_stats)
        bs__gather(b, s, to, s->pass.groups);
    bs__name_step(s, "load", to, to, "");
}

void bs__add_store(struct bs__build *b, struct bs__image_at *from, int host, bool sigmoid)
{
    struct bs__step *s = new_pass(b, BS__STEP_STORE, from, from);
    if (!s)
        return;
    s->host = host;
    s->pass.sigmoid = sigmoid;
    s->source[0] = bs__read_image(b, from);
    bs__name_step(s, "store", from, from, sigmoid ? " sigmoid" : "");
}

void bs__add_apply(struct bs__build *b, const struct bs__operand *from, enum bs__pointwise_op op,
                   struct bs__image_at *other, struct bs__image_at *to, bool want_stats)
{
    for (int i = 0, block = 0; i < from->count; i++) {
        struct bs__image_at *x = from->image[i];
        struct bs__step *s = new_pass(b, BS__STEP_APPLY, x, to);
        if (!s)
            return;
        s->pass.op = op;
        s->pass.dst_block = block;
        s->pass.source.norm_stride = (int64_t)bs__operand_blocks(b, from) * 3 * b->cpu->simd->lanes;
        s->source[0] = bs__read_image(b, x);
        s->norm[0] = from->norm;
        s->norm_offset[0] = (size_t)block * 3 * (size_t)b->cpu->simd->lanes;
        bs__touch(b, from->norm);
        if (other)
            s->source[1] = bs__read_image(b, other);
        if (i == 0)
            bs__make_image(b, to);
        bs__touch(b, to->buffer);
        s->dst = to->buffer;
        block += bs__blocks(b, x->channels);
        static const char *const name[] = {"copy", "relu", "sigmoid", "add", "mul"};
        bs__name_step(s, name[op], x, to, from->norm == BS__NO_BUFFER ? "" : " normed");
        if (want_stats && from->count == 1)
            bs__gather(b, s, to, s->pass.groups);
    }
    if (want_stats && from->count > 1)
        bs__add_moments(b, to);
}

void bs__add_join(struct bs__build *b, const struct bs__operand *from, int first, struct bs__image_at *to)
{
    struct bs__step *s = bs__new_step(b, BS__STEP_JOIN);
    if (!s)
        return;
    s->join.n = to->n;
    s->join.pixels = to->h * to->w;
    s->join.first = first;
    s->join.of_blocks = bs__blocks(b, from->image[0]->channels);
    for (int i = 0; i < from->count; i++) {
        s->join.channels[i] = from->count > 1 ? from->image[i]->channels : to->channels;
        s->source[i] = bs__read_image(b, from->image[i]);
    }
    s->dst = bs__make_image(b, to);
    bs__name_step(s, from->count > 1 ? "join" : "slice", from->image[0], to, "");
}

void bs__add_pool(struct bs__build *b, struct bs__image_at *from, int kernel, struct bs__image_at *to,
                  bool want_stats)
{
    struct bs__step *s = new_pass(b, BS__STEP_POOL, from, to);
    if (!s)
        return;
    s->pass.kernel = kernel;
    s->source[0] = bs__read_image(b, from);
    s->dst = bs__make_image(b, to);
    if (want_stats)
        bs__gather(b, s, to, s->pass.groups);
    bs__name_step(s, "max pool", from, to, "");
}

/* Half-pixel centres: output pixel i lies at (i + 1/2) in/out - 1/2, not before the first pixel. */
static void between(int64_t in, int64_t out, int32_t *lo, int32_t *hi, float *t)
{
    for (int64_t i = 0; i < out; i++) {
        double u = ((double)i + 0.5) * (double)in / (double)out - 0.5;
        if (u < 0)
            u = 0;
        int64_t first = (int64_t)floor(u);
        if (first > in - 1)
            first = in - 1;
        lo[i] = (int32_t)first;
        hi[i] = (int32_t)(first < in - 1 ? first + 1 : first);
        t[i] = (float)(u - (double)first);
    }
}

void bs__add_resize(struct bs__build *b, struct bs__image_at *from, struct bs__image_at *to, bool want_stats)
{
    struct bs__step *s = new_pass(b, BS__STEP_RESIZE, from, to);
    int32_t *lo_y = bs__own(b, (size_t)to->h * 4), *hi_y = bs__own(b, (size_t)to->h * 4);
    int32_t *lo_x = bs__own(b, (size_t)to->w * 4), *hi_x = bs__own(b, (size_t)to->w * 4);
    float *t_y = bs__own(b, (size_t)to->h * 4), *t_x = bs__own(b, (size_t)to->w * 4);
    if (!s || b->rc != BS_OK)
        return;
    between(from->h, to->h, lo_y, hi_y, t_y);
    between(from->w, to->w, lo_x, hi_x, t_x);
    struct bs__pass *p = &s->pass;
    p->lo_y = lo_y;
    p->hi_y = hi_y;
    p->lo_x = lo_x;
    p->hi_x = hi_x;
    p->t_y = t_y;
    p->t_x = t_x;
    p->scratch_floats = (size_t)from->w * (size_t)b->cpu->simd->lanes;
    s->source[0] = bs__read_image(b, from);
    s->scratch = bs__make_scratch(b, p->scratch_floats);
    s->dst = bs__make_image(b, to);
    if (want_stats)
        bs__gather(b, s, to, p->groups);
    bs__name_step(s, "resize", from, to, "");
}

void bs__add_smooth(struct bs__build *b, struct bs__image_at *lattice, const struct bs__conv *c,
                    struct bs__image_at *to)
{
    struct bs__step *s = new_pass(b, BS__STEP_SMOOTH, lattice, to);
    if (!s)
        return;
    /* Many rows: a group reads three lattice rows more than it writes. */
    s->pass.rows = to->h < 32 ? to->h : 32;
    s->pass.groups = (to->h + s->pass.rows - 1) / s->pass.rows;
    s->tasks = s->pass.groups * s->pass.source.blocks * to->n;
    s->pass.bias = c->bias;
    s->pass.relu = c->relu;
    s->source[0] = bs__read_image(b, lattice);
    s->dst = bs__make_image(b, to);
    if (c->want_stats)
        bs__gather(b, s, to, s->pass.groups);
    bs__name_step(s, "smooth", lattice, to, c->relu ? " relu" : "");
}

void bs__add_moments(struct bs__build *b, struct bs__image_at *image)
{
    if (image->stats != BS__NO_BUFFER)
        return;
    struct bs__step *s = new_pass(b, BS__STEP_MOMENTS, image, image);
    if (!s)
        return;
    s->source[0] = bs__read_image(b, image);
    bs__gather(b, s, image, s->pass.groups);
    bs__name_step(s, "moments", image, image, "");
}

int bs__add_norm(struct bs__build *b, const struct bs__operand *from, struct bs__norm_step k)
{
    if (k.op != BS_OP_BATCH_NORM)
        for (int i = 0; i < from->count; i++)
            bs__add_moments(b, from->image[i]);
    struct bs__step *s = bs__new_step(b, BS__STEP_NORM);
    if (!s)
        return BS__NO_BUFFER;
    k.nsource = from->count;
    k.n = from->image[0]->n;
    for (int i = 0; i < from->count; i++) {
        k.channels[i] = from->image[i]->channels;
        k.stats_room[i] = bs__sample_blocks(b, from->image[i]) * b->cpu->simd->lanes;
        k.stats_first[i] = from->image[i]->first_block * b->cpu->simd->lanes;
        k.stats[i] = k.op == BS_OP_BATCH_NORM ? BS__NO_BUFFER : from->image[i]->stats;
        bs__touch(b, k.stats[i]);
    }
    s->norm_of = k;
    s->dst = bs__new_buffer(b, (size_t)k.n * (size_t)bs__operand_blocks(b, from) * 3 *
                                   (size_t)b->cpu->simd->lanes * sizeof(float));
    bs__touch(b, s->dst);
    bs__name_step(s, "norm", from->image[0], from->image[0], "");
    return s->dst;
}
