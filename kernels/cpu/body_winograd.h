/* Winograd convolution F(4x4,3x3): Y = A' [ (G g G') . (B' d B) ] A, summed over input channels between the brackets and
   A. Interpolation points 0, +-a, +-b, infinity (Cook-Toom); with M(x) = x (x^2-a^2) (x^2-b^2)
     rows of B': coefficients of M(x)/(x-p), of M(x) for infinity
     rows of G:  (1, p, p^2) / prod_{q != p} (p-q), (0, 0, 1) for infinity
     columns of A': (1, p, p^2, p^3), (0, 0, 0, 1) for infinity
   a = 5/8, b = 3/2 keep the products of like size, so that rounding grows least.
   36 products per 16 outputs instead of 144. The norm of the input, the concatenation, bias, ReLU and the moments of the
   output cost no trip to memory of their own. Large weights are transformed chunk by chunk while they are used: that
   costs a few percent of the multiplications and saves three quarters of the weights' memory. */

#ifndef WA
#define WA  0.625f
#define WB  1.5f
#define WA2 (WA * WA)
#define WB2 (WB * WB)

/* One dimension of B'. */
INLINE void input_transform(const vec d[6], vec t[6])
{
    vec u = fnma_v(splat(WB2), d[2], d[4]), p = fnma_v(splat(WB2), d[1], d[3]);
    vec w = fnma_v(splat(WA2), d[2], d[4]), q = fnma_v(splat(WA2), d[1], d[3]);
    t[0] = fnma_v(splat(WA2 + WB2), d[2], fma_v(splat(WA2 * WB2), d[0], d[4]));
    t[1] = fma_v(splat(WA), p, u);
    t[2] = fnma_v(splat(WA), p, u);
    t[3] = fma_v(splat(WB), q, w);
    t[4] = fnma_v(splat(WB), q, w);
    t[5] = fnma_v(splat(WA2 + WB2), d[3], fma_v(splat(WA2 * WB2), d[1], d[5]));
}

/* One dimension of G. */
INLINE void weight_transform(vec g0, vec g1, vec g2, vec t[6])
{
    const float ia = 1 / (2 * WA2 * (WA2 - WB2)), ib = 1 / (2 * WB2 * (WB2 - WA2));
    vec s = fma_v(splat(WA2), g2, g0) * splat(ia), d = g1 * splat(WA * ia);
    vec z = fma_v(splat(WB2), g2, g0) * splat(ib), e = g1 * splat(WB * ib);
    t[0] = g0 * splat(1 / (WA2 * WB2));
    t[1] = s + d;
    t[2] = s - d;
    t[3] = z + e;
    t[4] = z - e;
    t[5] = g2;
}

/* One dimension of A'. */
INLINE void output_transform(const vec t[6], vec y[4])
{
    vec s = t[1] + t[2], d = t[1] - t[2], z = t[3] + t[4], e = t[3] - t[4];
    y[0] = t[0] + s + z;
    y[1] = fma_v(splat(WA), d, splat(WB) * e);
    y[2] = fma_v(splat(WA2), s, splat(WB2) * z);
    y[3] = fma_v(splat(WA2 * WA), d, fma_v(splat(WB2 * WB), e, t[5]));
}

#endif

/* Weights of `rows` input channels and one chunk of output channels into the 36 planes. */
static void FN(transform_weights_to)(const ELEM *weights, int rows, float *dst, int64_t plane)
{
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < NV; v++) {
            const ELEM *g = weights + (int64_t)i * 9 * OCC + v * L;
            vec t[3][6];
            for (int x = 0; x < 3; x++)
                weight_transform(LOAD(g + x * OCC), LOAD(g + (3 + x) * OCC), LOAD(g + (6 + x) * OCC), t[x]);
            float *u = dst + i * OCC + v * L;
            for (int y = 0; y < 6; y++) {
                vec r[6];
                weight_transform(t[0][y], t[1][y], t[2][y], r);
                for (int x = 0; x < 6; x++)
                    store_f32(u + (y * 6 + x) * plane, r[x]);
            }
        }
}

static void FN(transform_weights)(const ELEM *weights, int in_blocks, float *dst)
{
    FN(transform_weights_to)(weights, in_blocks * L, dst, (int64_t)in_blocks * L * OCC);
}

/* The 6x6 pixels of a tile and one block of channels, normed, zero outside the image; then B'. */
static void FN(tile_in)(const ELEM *src, int64_t h, int64_t w, int64_t y0, int64_t x0, const float *norm,
                        float *v, int64_t plane)
{
    vec t[6][6];
    bool inside = y0 >= 0 && x0 >= 0 && y0 + 6 <= h && x0 + 6 <= w;
    vec mean = splat(0), scale = mean, shift = mean;
    if (norm)
        mean = load_f32(norm), scale = load_f32(norm + L), shift = load_f32(norm + 2 * L);
    for (int y = 0; y < 6; y++) {
        vec d[6];
        const ELEM *row = src + ((y0 + y) * w + x0) * L;
        if (inside && norm) {
            for (int x = 0; x < 6; x++)
                d[x] = fma_v(LOAD(row + x * L) - mean, scale, shift);
        } else if (inside) {
            for (int x = 0; x < 6; x++)
                d[x] = LOAD(row + x * L);
        } else {
            bool row_inside = y0 + y >= 0 && y0 + y < h;
            for (int x = 0; x < 6; x++) {
                d[x] = splat(0);
                if (row_inside && x0 + x >= 0 && x0 + x < w)
                    d[x] = norm ? fma_v(LOAD(row + x * L) - mean, scale, shift) : LOAD(row + x * L);
            }
        }
        input_transform(d, t[y]);
    }
    for (int x = 0; x < 6; x++) {
        vec d[6], r[6];
        for (int y = 0; y < 6; y++)
            d[y] = t[y][x];
        input_transform(d, r);
        for (int y = 0; y < 6; y++)
            store_f32(v + (y * 6 + x) * plane, r[y]);
    }
}

/* A' on the sums of one tile and one block of channels; writes what lies inside the image. */
INLINE void FN(tile_out)(const float *m, int64_t plane, vec bias, bool relu, ELEM *dst, int64_t h, int64_t w,
                         int64_t y0, int64_t x0, struct sums *sums)
{
    vec t[4][6];
    for (int x = 0; x < 6; x++) {
        vec d[6], r[4];
        for (int y = 0; y < 6; y++)
            d[y] = load_f32(m + (y * 6 + x) * plane);
        output_transform(d, r);
        for (int y = 0; y < 4; y++)
            t[y][x] = r[y];
    }
    int rows = h - y0 < 4 ? (int)(h - y0) : 4, columns = w - x0 < 4 ? (int)(w - x0) : 4;
    for (int y = 0; y < rows; y++) {
        vec r[4];
        output_transform(t[y], r);
        ELEM *row = dst + ((y0 + y) * w + x0) * L;
        for (int x = 0; x < columns; x++) {
            vec p = r[x] + bias;
            if (relu)
                p = relu_v(p);
            STORE(row + x * L, p);
            if (sums)
                sums_add(sums, p);
        }
    }
}

static void FN(winograd)(const void *ctx, int64_t task, int worker)
{
    const struct bs__winograd *c = ctx;
    const int64_t group = task % c->split.out_groups, part = task / c->split.out_groups;
    const int64_t n = part / c->split.runs, first = part % c->split.runs * c->split.run;
    int64_t count = c->tiles_y * c->tiles_x - first;
    if (count > c->split.run)
        count = c->split.run;
    const int64_t v_plane = V_PLANE(c->split.run), m_plane = M_PLANE(c->split.run), image = c->h * c->w * L;
    const int chunks = (c->in_blocks + KCB - 1) / KCB;
    float *v = c->scratch + c->scratch_floats * (size_t)worker;
    float *m = v + chunks * 36 * v_plane, *u = m + 36 * m_plane;

    int block = 0;
    for (int s = 0; s < c->nsource; s++) {
        const struct bs__source *src = &c->source[s];
        for (int b = 0; b < src->blocks; b++, block++) {
            const ELEM *x = (const ELEM *)src->data + (n * src->stride + b) * image;
            const float *norm = src->norm ? src->norm + n * src->norm_stride + b * 3 * L : NULL;
            float *to = v + (block / KCB) * 36 * v_plane + (block % KCB) * c->split.run * L;
            for (int64_t i = 0; i < count; i++) {
                int64_t ty = (first + i) / c->tiles_x, tx = (first + i) % c->tiles_x;
                FN(tile_in)(x, c->h, c->w, ty * 4 - 1, tx * 4 - 1, norm, to + i * L, v_plane);
            }
        }
    }

    const int out_chunks = (c->out_blocks + NV - 1) / NV;
    int o_end = ((int)group + 1) * c->split.out_chunks_per_task;
    for (int o = (int)group * c->split.out_chunks_per_task; o < o_end && o < out_chunks; o++) {
        int vectors = c->out_blocks - o * NV < NV ? c->out_blocks - o * NV : NV;
        for (int k = 0; k < chunks; k++) {
            int blocks = c->in_blocks - k * KCB < KCB ? c->in_blocks - k * KCB : KCB;
            const float *weights = u;
            int64_t u_plane = U_PLANE;
            if (c->transformed) {
                weights = (const float *)c->weights + ((int64_t)o * c->in_blocks + k * KCB) * L * 36 * OCC;
                u_plane = (int64_t)blocks * L * OCC;
            } else {
                FN(transform_weights_to)
                ((const ELEM *)c->weights + ((int64_t)o * c->in_blocks + k * KCB) * L * 9 * OCC, blocks * L,
                 u, u_plane);
            }
            for (int p = 0; p < 36; p++)
                multiply(count, vectors, v + (k * 36 + p) * v_plane, c->split.run * L, blocks,
                         weights + p * u_plane, m + p * m_plane, k > 0);
        }
        for (int b = 0; b < vectors; b++) {
            int out = o * NV + b;
            struct bs__moments *moments =
                c->part ? c->part + ((n * c->split.runs + part % c->split.runs) * c->out_blocks + out) * L
                        : NULL;
            if (moments)
                memset(moments, 0, L * sizeof *moments);
            struct sums sums = {.count = 0};
            ELEM *dst = (ELEM *)c->dst + (n * c->out_blocks + out) * image;
            vec bias = load_f32(c->bias + out * L);
            for (int64_t i = 0; i < count; i++) {
                int64_t ty = (first + i) / c->tiles_x, tx = (first + i) % c->tiles_x;
                FN(tile_out)
                (m + i * OCC + b * L, m_plane, bias, c->relu, dst, c->h, c->w, ty * 4, tx * 4,
                 moments ? &sums : NULL);
            }
            if (moments)
                sums_merge(moments, &sums);
        }
    }
}
