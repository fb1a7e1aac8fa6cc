/* Appends the two steps of a 3x3 convolution of a bilinearly doubled image; see body_doubled.h and build.h. */
#include "kernels/cpu/build.h"

#define TILE 3 /* pixels of the small image that a tile adds, per axis */

/* Tiles along an axis: border and padding take three more pixels. */
static int64_t tiles_of(int64_t pixels)
{
    return (pixels + 3 + TILE - 1) / TILE;
}

bool bs__doubled_pays(int64_t h, int64_t w)
{
    return h > 1 && w > 1 && 49 * tiles_of(h) * tiles_of(w) < 36 * ((h + 1) / 2) * ((w + 1) / 2);
}

void bs__add_doubled(struct bs__build *b, const struct bs__image_at *from, const struct bs__conv *c,
                     struct bs__image_at *to)
{
    const struct bs__simd *simd = b->cpu->simd;
    struct bs__image_at lattice = {
        .n = from->n, .h = 2 * (from->h + 3), .w = 2 * (from->w + 3), .channels = c->out};
    struct bs__step *s = bs__new_step(b, BS__STEP_LATTICE);
    if (!s)
        return;
    struct bs__lattice *k = &s->lattice;
    const int in_blocks = bs__blocks(b, from->channels), out_blocks = bs__blocks(b, c->out);
    const int out_chunks = (out_blocks + simd->out_vectors - 1) / simd->out_vectors;
    *k = (struct bs__lattice){
        .source = {.blocks = in_blocks, .stride = bs__sample_blocks(b, from)},
        .n = from->n,
        .h = from->h,
        .w = from->w,
        .out_blocks = out_blocks,
        .tiles_y = tiles_of(from->h),
        .tiles_x = tiles_of(from->w),
    };
    /* Fewer tiles keep planes in the second-level cache, more share the transformed weights of a chunk: measured. */
    const int channels = in_blocks * simd->lanes;
    k->split.run = channels > 256 ? 72 : channels > 128 ? 42 : 18;
    s->tasks = bs__split_tiles(b, k->tiles_y * k->tiles_x, k->n, out_chunks, &k->split);
    k->scratch_floats = bs__tile_scratch(simd, in_blocks, k->split.run, 49, 25);
    const struct bs__conv_weights w = bs__weights_of(c, from->channels);
    b->rc = bs__pack_winograd(b->cpu, b->params, &w, b->self->bf16, false, &k->weights, b->err);
    s->source[0] = bs__read_image(b, from);
    s->source_offset[0] = bs__view_offset(b, from);
    s->scratch = bs__make_scratch(b, k->scratch_floats);
    s->dst = bs__make_image(b, &lattice);
    s->flops =
        72.0 * (double)(from->n * from->h * from->w) * from->channels * c->out; /* of the large image */
    bs__name_step(s, "doubled 3x3", from, to, b->self->pairs ? " pairs" : "");
    bs__add_smooth(b, &lattice, c, to);
}
