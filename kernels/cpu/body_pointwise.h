/* 1x1 convolutions: a run of pixels is multiplied by the weights of one chunk of output channels at a time.
   y[o, p] = b[o] + sum_i w[o, i] x[i, p] */

static void FN(pointwise)(const void *ctx, int64_t task, int worker)
{
    const struct bs__pointwise *c = ctx;
    const int64_t n = task / c->runs, first = task % c->runs * c->run, pixels = c->h * c->w;
    const int64_t count = pixels - first < c->run ? pixels - first : c->run;
    const int in_blocks = c->source.blocks, out_chunks = (c->out_blocks + NV - 1) / NV;
    const ELEM *src = (const ELEM *)c->source.data + (n * in_blocks * pixels + first) * L;
    float *product = c->scratch + c->scratch_floats * (size_t)worker;
#if defined(BF16) && !defined(BS__PAIRS)
    float *copy = product + c->run * OCC;
    for (int b = 0; b < in_blocks; b++)
        for (int64_t i = 0; i < count; i++)
            store_f32(copy + (b * c->run + i) * L, LOAD(src + (b * pixels + i) * L));
    const float *x = copy;
    const int64_t x_stride = c->run * L;
    float *weights_f32 = copy + in_blocks * c->run * L;
#else
    const factor_t *x = src;
    const int64_t x_stride = pixels * L;
#endif
    for (int o = 0; o < out_chunks; o++) {
        int vectors = c->out_blocks - o * NV < NV ? c->out_blocks - o * NV : NV;
        const ELEM *w = (const ELEM *)c->weights + (int64_t)o * in_blocks * L * OCC;
#if defined(BF16) && !defined(BS__PAIRS)
        const float *weights = weights_f32;
        for (int64_t i = 0; i < (int64_t)in_blocks * L * OCC; i += L)
            store_f32(weights_f32 + i, LOAD(w + i));
#else
        const factor_t *weights = w;
#endif
        multiply(count, vectors, x, x_stride, in_blocks, weights, product, false);
        for (int b = 0; b < vectors; b++) {
            int out = o * NV + b;
            vec bias = load_f32(c->bias + out * L);
            ELEM *dst = (ELEM *)c->dst + (n * c->out_blocks + out) * c->dst_h * c->dst_w * L;
            for (int64_t i = 0; i < count; i++) {
                int64_t y = (first + i) / c->w, z = (first + i) % c->w;
                vec r = load_f32(product + i * OCC + b * L) + bias;
                if (c->relu)
                    r = relu_v(r);
                STORE(dst + ((y * c->step + c->dy) * c->dst_w + z * c->step + c->dx) * L, r);
            }
        }
    }
}

#ifndef BS__PAIRS
static void FN(head)(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct bs__head *c = ctx;
    const int64_t n = task / c->h, y = task % c->h, pixels = c->h * c->w;
    const ELEM *src = (const ELEM *)c->source.data + (n * c->source.blocks * pixels + y * c->w) * L;
    for (int o = 0; o < c->out; o++) {
        const int64_t at = ((n * c->out + o) * c->h + y) * c->w;
        const float *w = c->weights + (int64_t)o * c->source.blocks * L;
        for (int64_t x = 0; x < c->w; x++) {
            vec sum = splat(0);
            for (int b = 0; b < c->source.blocks; b++)
                sum = fma_v(LOAD(src + (b * pixels + x) * L), load_f32(w + b * L), sum);
            float z = lane_sum(sum) + c->bias[o];
            if (c->dst)
                c->dst[at + x] = z;
            if (c->probability)
                c->probability[at + x] = 1.0f / (1.0f + expf(-z));
        }
    }
}
#endif
