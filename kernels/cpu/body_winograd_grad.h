/* The gradient of the weights of a 3x3 convolution by the transpose of body_winograd.h: with Y = A' [(G g G') . (B' d B)] A
     gg = G' [ sum over tiles of (B' d B) . (A gY A') ] G
   36 products per 16 pixels instead of 144. Transformed inputs and what came back of a run of tiles are the factors of 36
   products of matrices, (in, tile) times (tile, out), whose sums stay in the second cache. Float32. */

/* One dimension of A. */
INLINE void output_spread(const vec y[4], vec t[6])
{
    const vec even_a = fma_v(splat(WA2), y[2], y[0]), odd_a = fma_v(splat(WA2 * WA), y[3], splat(WA) * y[1]);
    const vec even_b = fma_v(splat(WB2), y[2], y[0]), odd_b = fma_v(splat(WB2 * WB), y[3], splat(WB) * y[1]);
    t[0] = y[0];
    t[1] = even_a + odd_a;
    t[2] = even_a - odd_a;
    t[3] = even_b + odd_b;
    t[4] = even_b - odd_b;
    t[5] = y[3];
}

/* One dimension of G'. */
INLINE void weight_gather(const vec t[6], vec g[3])
{
    const float ia = 1 / (2 * WA2 * (WA2 - WB2)), ib = 1 / (2 * WB2 * (WB2 - WA2));
    const vec s = (t[1] + t[2]) * splat(ia), d = (t[1] - t[2]) * splat(WA * ia);
    const vec z = (t[3] + t[4]) * splat(ib), e = (t[3] - t[4]) * splat(WB * ib);
    g[0] = fma_v(t[0], splat(1 / (WA2 * WB2)), s + z);
    g[1] = d + e;
    g[2] = fma_v(splat(WA2), s, fma_v(splat(WB2), z, t[5]));
}

/* The 4x4 pixels that came back to a tile, one block of channels, zero outside the image; then A. */
static void tile_back(const float *src, int64_t h, int64_t w, int64_t y0, int64_t x0, float *m, int64_t plane)
{
    vec t[4][6];
    const int rows = h - y0 < 4 ? (int)(h - y0) : 4, columns = w - x0 < 4 ? (int)(w - x0) : 4;
    for (int y = 0; y < 4; y++) {
        vec d[4];
        const float *row = src + ((y0 + y) * w + x0) * L;
        for (int x = 0; x < 4; x++)
            d[x] = y < rows && x < columns ? load_f32(row + x * L) : splat(0);
        output_spread(d, t[y]);
    }
    for (int x = 0; x < 6; x++) {
        vec r[6];
        const vec d[4] = {t[0][x], t[1][x], t[2][x], t[3][x]};
        output_spread(d, r);
        for (int y = 0; y < 6; y++)
            store_f32(m + (y * 6 + x) * plane, r[y]);
    }
}

/* sum (rows of in, OCC) += a (in, tile) times b (tile, OCC); a: rows side by side, tiles L apart */
INLINE void outer_rows(const int rows, const int vectors, const float *a, int64_t tiles, const float *b,
                       float *c)
{
    vec sum[MT][NV];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            sum[r][v] = load_f32(c + r * OCC + v * L);
#pragma GCC unroll 2
    for (int64_t k = 0; k < tiles; k++, a += L, b += OCC) {
        vec w[NV];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            w[v] = load_f32(b + v * L);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            const vec x = splat(a[r]);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                sum[r][v] = fma_v(x, w[v], sum[r][v]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            store_f32(c + r * OCC + v * L, sum[r][v]);
}

/* All L channels of a block. */
static void outer(int vectors, const float *a, int64_t tiles, const float *b, float *c)
{
#define BLOCK(v)                                                                                             \
    {                                                                                                        \
        int r = 0;                                                                                           \
        for (; r + MT <= L; r += MT)                                                                         \
            outer_rows(MT, v, a + r, tiles, b, c + r * OCC);                                                 \
        for (; r + 2 <= L; r += 2)                                                                           \
            outer_rows(2, v, a + r, tiles, b, c + r * OCC);                                                  \
        break;                                                                                               \
    }
    switch (vectors) {
    case 1:
        BLOCK(1)
    case 2:
        BLOCK(2)
#if BS__NV > 2
    case 3:
        BLOCK(3)
    case 4:
        BLOCK(4)
#endif
    }
#undef BLOCK
}

/* The 36 sums of a chunk to nine weights. */
static void store_part(const struct bs__winograd_grad *c, const float *u, int64_t u_plane, int blocks,
                       int vectors, float *to)
{
    const int64_t out = (int64_t)c->out_blocks * L;
    for (int i = 0; i < blocks * L; i++, to += 9 * out)
        for (int v = 0; v < vectors; v++) {
            vec r[6][3];
            for (int y = 0; y < 6; y++) {
                vec t[6];
                for (int x = 0; x < 6; x++)
                    t[x] = load_f32(u + (y * 6 + x) * u_plane + i * OCC + v * L);
                weight_gather(t, r[y]);
            }
            for (int x = 0; x < 3; x++) {
                const vec t[6] = {r[0][x], r[1][x], r[2][x], r[3][x], r[4][x], r[5][x]};
                vec g[3];
                weight_gather(t, g);
                for (int y = 0; y < 3; y++)
                    store_f32(to + (y * 3 + x) * out + v * L, g[y]);
            }
        }
}

static void winograd_grad(const void *ctx, int64_t task, int worker)
{
    const struct bs__winograd_grad *c = ctx;
    const int out_chunks = (c->out_blocks + NV - 1) / NV, in_chunks = (c->in_blocks + KCB - 1) / KCB;
    const int o = (int)(task % out_chunks), k = (int)(task / out_chunks % in_chunks);
    const int64_t part = task / out_chunks / in_chunks, tiles = c->tiles_y * c->tiles_x,
                  image = c->h * c->w * L;
    const int vectors = c->out_blocks - o * NV < NV ? c->out_blocks - o * NV : NV;
    const int blocks = c->in_blocks - k * KCB < KCB ? c->in_blocks - k * KCB : KCB;
    const int64_t v_plane = KCB * c->run * L + L, m_plane = c->run * OCC + L, u_plane = KCB * L * OCC + L;
    float *v = c->scratch + c->scratch_floats * (size_t)worker, *m = v + 36 * v_plane, *u = m + 36 * m_plane;
    memset(u, 0, (size_t)(36 * u_plane) * sizeof *u);
    const int64_t end = c->runs * (part + 1) / c->parts;
    for (int64_t run = c->runs * part / c->parts; run < end; run++) {
        const int64_t first = run * c->run, left = c->n * tiles - first,
                      count = left < c->run ? left : c->run;
        for (int64_t i = 0; i < count; i++) {
            const int64_t n = (first + i) / tiles, tile = (first + i) % tiles;
            const int64_t y = tile / c->tiles_x * 4, x = tile % c->tiles_x * 4;
            for (int b = 0; b < blocks; b++)
                tile_in_f32(c->x + (n * c->in_blocks + k * KCB + b) * image, c->h, c->w, y - 1, x - 1,
                            c->norm ? c->norm + (n * c->in_blocks + k * KCB + b) * 3 * L : NULL,
                            v + (b * c->run + i) * L, v_plane);
            for (int b = 0; b < vectors; b++)
                tile_back(c->gy + (n * c->out_blocks + o * NV + b) * image, c->h, c->w, y, x,
                          m + i * OCC + b * L, m_plane);
        }
        for (int p = 0; p < 36; p++)
            for (int b = 0; b < blocks; b++)
                outer(vectors, v + p * v_plane + b * c->run * L, count, m + p * m_plane,
                      u + p * u_plane + (int64_t)b * L * OCC);
    }
    store_part(c, u, u_plane, blocks, vectors,
               c->part + ((part * c->in_blocks + k * KCB) * L * 9 * c->out_blocks + o * NV) * L);
}
