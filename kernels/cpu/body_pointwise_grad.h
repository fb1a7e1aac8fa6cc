/* The gradient of the weights of 1x1 convolutions over images in blocks (blocks.h). Sums of a chunk of input and one of output
   channels stay in the first cache while tiles of pixels pass. Float32. */

static void pointwise_grad(const void *ctx, int64_t task, int worker)
{
    const struct bs__pointwise_weights *c = ctx;
    const int out_chunks = (c->out_blocks + NV - 1) / NV, in_chunks = (c->in_blocks + KCB - 1) / KCB;
    const int o = (int)(task % out_chunks), k = (int)(task / out_chunks % in_chunks);
    const int64_t part = task / out_chunks / in_chunks, tiles = c->tiles / c->samples;
    const int vectors = c->out_blocks - o * NV < NV ? c->out_blocks - o * NV : NV;
    const int blocks = c->in_blocks - k * KCB < KCB ? c->in_blocks - k * KCB : KCB;
    float *sum = c->scratch + c->scratch_floats * (size_t)worker, *side = sum + KCB * L * OCC;
    memset(sum, 0, (size_t)(KCB * L * OCC) * sizeof *sum);
    for (int64_t tile = c->tiles * part / c->parts; tile < c->tiles * (part + 1) / c->parts; tile++) {
        const int64_t n = tile / tiles, first = tile % tiles * BS__POINTWISE_TILE, left = c->pixels - first;
        const int64_t count = left < BS__POINTWISE_TILE ? left : BS__POINTWISE_TILE;
        for (int v = 0; v < vectors; v++) {
            const float *gy = c->gy + ((n * c->out_blocks + o * NV + v) * c->pixels + first) * L;
            for (int64_t i = 0; i < count; i++)
                store_f32(side + i * OCC + v * L, load_f32(gy + i * L));
        }
        for (int b = 0; b < blocks; b++)
            outer(vectors, c->x + ((n * c->in_blocks + k * KCB + b) * c->pixels + first) * L, count, side,
                  sum + b * L * OCC);
    }
    const int64_t out = (int64_t)c->out_blocks * L;
    float *to = c->part + (part * c->in_blocks + k * KCB) * L * out + (int64_t)o * OCC;
    for (int i = 0; i < blocks * L; i++)
        for (int v = 0; v < vectors; v++)
            store_f32(to + i * out + v * L, load_f32(sum + i * OCC + v * L));
}
