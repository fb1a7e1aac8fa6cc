/* 1x1 convolutions of planes (gradients.h). A strip of pixels of all channels is brought side by side first: planes lie a power of
   two apart, so that their pixels would share a few sets of the caches. */

/* Channels [o, o + rows) of NV vectors of the strip, of which `left` pixels are there. */
INLINE void pointwise_rows(const int rows, const struct bs__pointwise_planes *c, const float *strip, float *y,
                           int o, int64_t left)
{
    const float *w = c->w + o * c->w_row;
    vec sum[MT][NV];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < NV; v++)
            sum[r][v] = splat(c->b ? c->b[o + r] : 0.0f);
    for (int i = 0; i < c->in; i++, w += c->w_step, strip += BS__POINTWISE_STRIP) {
        vec u[NV];
#pragma GCC unroll 4
        for (int v = 0; v < NV; v++)
            u[v] = load_f32(strip + v * L);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            const vec a = splat(w[r * c->w_row]);
#pragma GCC unroll 4
            for (int v = 0; v < NV; v++)
                sum[r][v] = fma_v(a, u[v], sum[r][v]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < NV; v++)
            if (v * L < left)
                put(y + (o + r) * c->pixels, (int64_t)v * L, left - v * L, sum[r][v]);
}

static void pointwise(const void *ctx, int64_t task, int worker)
{
    const struct bs__pointwise_planes *c = ctx;
    const int64_t n = task / c->runs, from = task % c->runs * BS__POINTWISE_RUN;
    const int64_t end = c->pixels - from < BS__POINTWISE_RUN ? c->pixels : from + BS__POINTWISE_RUN;
    float *strip = c->scratch + c->scratch_floats * (size_t)worker;
    for (int64_t first = from; first < end; first += BS__POINTWISE_STRIP) {
        for (int i = 0; i < c->in; i++)
            for (int64_t k = 0; k < BS__POINTWISE_STRIP; k += L)
                store_f32(strip + i * BS__POINTWISE_STRIP + k,
                          get(c->x + (n * c->in + i) * c->pixels, first + k, end - first - k));
        for (int64_t p = 0; p < BS__POINTWISE_STRIP && first + p < end; p += OCC) {
            float *y = c->y + n * c->out * c->pixels + first + p;
            const int64_t left = end - first - p;
            int o = 0;
            for (; o + MT <= c->out; o += MT)
                pointwise_rows(MT, c, strip + p, y, o, left);
            for (; o + 2 <= c->out; o += 2)
                pointwise_rows(2, c, strip + p, y, o, left);
            for (; o < c->out; o++)
                pointwise_rows(1, c, strip + p, y, o, left);
        }
    }
}

#define GRAD_IN 4 /* input channels that meet MT output channels: MT * 4 sums in registers */

/* part[o + r][i + k] += sum over `count` pixels from p on. */
INLINE void pointwise_grad_rows(const int rows, const int ins, const struct bs__pointwise_grad *c,
                                const float *x, const float *gy, int64_t count, float *part)
{
    vec sum[MT][GRAD_IN];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int k = 0; k < ins; k++)
            sum[r][k] = splat(0);
    for (int64_t p = 0; p < count; p += L) {
        vec u[GRAD_IN];
#pragma GCC unroll 4
        for (int k = 0; k < ins; k++)
            u[k] = get(x + k * c->pixels, p, count - p);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            const vec g = get(gy + r * c->pixels, p, count - p);
#pragma GCC unroll 4
            for (int k = 0; k < ins; k++)
                sum[r][k] = fma_v(g, u[k], sum[r][k]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int k = 0; k < ins; k++)
            part[r * c->in + k] += lane_sum(sum[r][k]);
}

#define GRAD_RUN 1024 /* pixels: a few planes of them stay in the first cache, all in the second */

static void pointwise_grad(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct bs__pointwise_grad *c = ctx;
    const int64_t n = task / c->runs, from = task % c->runs * c->run;
    const int64_t end = c->pixels - from < c->run ? c->pixels : from + c->run;
    float *part = c->part + task * c->out * c->in;
    memset(part, 0, (size_t)c->out * (size_t)c->in * sizeof *part);
    for (int64_t p = from; p < end; p += GRAD_RUN) {
        const int64_t count = end - p < GRAD_RUN ? end - p : GRAD_RUN;
        for (int o = 0; o < c->out; o += c->out - o >= MT ? MT : 1)
            for (int i = 0; i < c->in; i += c->in - i >= GRAD_IN ? GRAD_IN : 1) {
                const float *x = c->x + (n * c->in + i) * c->pixels + p;
                const float *gy = c->gy + (n * c->out + o) * c->pixels + p;
                float *to = part + o * c->in + i;
                if (c->out - o >= MT && c->in - i >= GRAD_IN)
                    pointwise_grad_rows(MT, GRAD_IN, c, x, gy, count, to);
                else if (c->out - o >= MT)
                    pointwise_grad_rows(MT, 1, c, x, gy, count, to);
                else if (c->in - i >= GRAD_IN)
                    pointwise_grad_rows(1, GRAD_IN, c, x, gy, count, to);
                else
                    pointwise_grad_rows(1, 1, c, x, gy, count, to);
            }
    }
}
