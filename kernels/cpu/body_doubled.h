/* 3x3 convolution (stride 1, padding 1) of an image doubled bilinearly, which is never made. Doubling is: zeros between
   the pixels, then the filter (1, 3, 3, 1)/4 along both axes; filters commute, so the weights g meet the image x while
   three quarters of it are zeros and the filter comes last. Per axis, on a lattice u of twice the pixels,
     u[2i] = g1 x[i],  u[2i+1] = g0 x[i] + g2 x[i+1],  y[p] = (u[p-2] + 3 u[p-1] + 3 u[p] + u[p+1]) / 4.
   The odd ones are two-tap filters: Cook-Toom with points 0, 1, -1, infinity, three of them from four pixels. That is 49
   products for 36 pixels of the doubled image, where F(4x4,3x3) takes 81, with sums alone for transforms.

   At the border the doubled image repeats its edge and the convolution sees zeros beyond. u is kept for an x that is
   continued by 0 and then by the edge pixel, before and behind: that leaves g0 x[0] in u[-3], g2 x[0] in u[-1] and the
   mirror image at the other end, from which the last two pixels take what they need:
     y[0] = u[0] + (3 u[-1] + u[1] - u[-3]) / 4,  y[1] = (u[-3] + u[-1] + 3 u[0] + 3 u[1] + u[2]) / 4.
   Lattice line q lies in row q + 4. */

#ifndef LATTICE_TILE
#define LATTICE_TILE    3
#define LATTICE_PLANES  (7 * 7)
#define LATTICE_WEIGHTS (5 * 5)

/* One axis: four pixels to the factors of three even and three odd lattice points. */
INLINE void lattice_in(const vec d[4], vec t[7])
{
    t[0] = d[0];
    t[1] = d[1];
    t[2] = d[2];
    t[3] = d[2] - d[0];
    t[4] = d[1] + d[2];
    t[5] = d[2] - d[1];
    t[6] = d[3] - d[1];
}

/* The factors of the weights: even points share one. */
INLINE void lattice_weights(vec g0, vec g1, vec g2, vec t[5])
{
    t[0] = g1;
    t[1] = splat(0) - g0;
    t[2] = (g0 + g2) * splat(0.5f);
    t[3] = (g0 - g2) * splat(0.5f);
    t[4] = g2;
}

/* Products to lattice points in their order. */
INLINE void lattice_out(const vec t[7], vec u[6])
{
    vec s = t[4] + t[5];
    u[0] = t[0];
    u[1] = t[3] + s;
    u[2] = t[1];
    u[3] = t[4] - t[5];
    u[4] = t[2];
    u[5] = s + t[6];
}

/* The pixel that stands at i before, in or behind an axis of n pixels; -1: a zero. */
INLINE int64_t lattice_pixel(int64_t i, int64_t n)
{
    if (i == -2)
        return 0;
    if (i == n + 1)
        return n - 1;
    return i >= 0 && i < n ? i : -1;
}

/* Where a pixel takes lattice lines from, and how much: rows and quarters. Five at the border, else four. */
INLINE int lattice_taps(int64_t p, int64_t n, int64_t row[5], float weight[5])
{
    const bool mirror = p >= n - 2;
    const int64_t k = mirror ? n - 1 - p : p;
    static const int64_t line[3][5] = {{0, -1, 1, -3, -3}, {-3, -1, 0, 1, 2}, {-2, -1, 0, 1, 1}};
    static const float part[3][5] = {
        {1, 0.75f, 0.25f, -0.25f, 0}, {0.25f, 0.25f, 0.75f, 0.75f, 0.25f}, {0.25f, 0.75f, 0.75f, 0.25f, 0}};
    const int64_t kind = k < 2 ? k : 2;
    for (int i = 0; i < 5; i++) {
        int64_t q = line[kind][i] + (kind == 2 ? p : 0);
        row[i] = (kind < 2 && mirror ? n - 2 - q : q) + 4;
        weight[i] = part[kind][i];
    }
    return kind == 0 || kind == 2 ? 4 : 5;
}
#endif

/* Weights of `rows` input channels and one chunk of output channels into the 25 planes. */
static void FN(lattice_weights_to)(const ELEM *weights, int rows, factor_t *dst, int64_t plane)
{
    for (int i = 0; i < rows; i += PER)
        for (int v = 0; v < NV; v++) {
            vec t[PER][3][5];
            for (int k = 0; k < PER; k++) {
                const ELEM *g = weights + (int64_t)(i + k) * 9 * OCC + v * L;
                for (int x = 0; x < 3; x++)
                    lattice_weights(LOAD(g + x * OCC), LOAD(g + (3 + x) * OCC), LOAD(g + (6 + x) * OCC),
                                    t[k][x]);
            }
            factor_t *u = dst + i * OCC + v * PER * L;
            for (int y = 0; y < 5; y++) {
                vec r[PER][5];
                for (int k = 0; k < PER; k++)
                    lattice_weights(t[k][0][y], t[k][1][y], t[k][2][y], r[k]);
                for (int x = 0; x < 5; x++)
                    store_weights(u + (y * 5 + x) * plane, r[0][x], r[PER - 1][x]);
            }
        }
}

/* The 4x4 pixels from (y0, x0) on, of one block of channels, into the 49 planes. */
static void FN(lattice_tile_in)(const ELEM *src, int64_t h, int64_t w, int64_t y0, int64_t x0, factor_t *v,
                                int64_t plane)
{
    vec t[4][7];
    bool inside = y0 >= 0 && x0 >= 0 && y0 + 4 <= h && x0 + 4 <= w;
    for (int y = 0; y < 4; y++) {
        vec d[4];
        if (inside) {
            for (int x = 0; x < 4; x++)
                d[x] = LOAD(src + ((y0 + y) * w + x0 + x) * L);
        } else {
            int64_t from_y = lattice_pixel(y0 + y, h);
            for (int x = 0; x < 4; x++) {
                int64_t from_x = lattice_pixel(x0 + x, w);
                d[x] = splat(0);
                if (from_y >= 0 && from_x >= 0)
                    d[x] = LOAD(src + (from_y * w + from_x) * L);
            }
        }
        lattice_in(d, t[y]);
    }
    for (int x = 0; x < 7; x++) {
        vec d[4], r[7];
        for (int y = 0; y < 4; y++)
            d[y] = t[y][x];
        lattice_in(d, r);
        for (int y = 0; y < 7; y++)
            store_factors(v + (y * 7 + x) * plane, r[y]);
    }
}

/* The products of one tile and one block of channels to lattice points; (row, column) is the first, (rows, columns) how
   many there are. */
INLINE void FN(lattice_tile_out)(const float *m, int64_t plane, ELEM *dst, int64_t rows, int64_t columns,
                                 int64_t row, int64_t column)
{
    vec t[6][7];
    for (int x = 0; x < 7; x++) {
        vec d[7], r[6];
        for (int y = 0; y < 7; y++)
            d[y] = load_f32(m + (y * 7 + x) * plane);
        lattice_out(d, r);
        for (int y = 0; y < 6; y++)
            t[y][x] = r[y];
    }
    int height = rows - row < 6 ? (int)(rows - row) : 6,
        width = columns - column < 6 ? (int)(columns - column) : 6;
    for (int y = 0; y < height; y++) {
        vec r[6];
        lattice_out(t[y], r);
        ELEM *to = dst + ((row + y) * columns + column) * L;
        for (int x = 0; x < width; x++)
            STORE(to + x * L, r[x]);
    }
}

static void FN(lattice)(const void *ctx, int64_t task, int worker)
{
    const struct bs__lattice *c = ctx;
    const int64_t group = task % c->split.out_groups, part = task / c->split.out_groups;
    const int64_t n = part / c->split.runs, first = part % c->split.runs * c->split.run;
    int64_t count = c->tiles_y * c->tiles_x - first;
    if (count > c->split.run)
        count = c->split.run;
    const int64_t v_plane = V_PLANE(c->split.run), m_plane = M_PLANE(c->split.run);
    const int64_t rows = 2 * (c->h + 3), columns = 2 * (c->w + 3);
    const int in_blocks = c->source.blocks, chunks = (in_blocks + KCB - 1) / KCB;
    float *m = c->scratch + c->scratch_floats * (size_t)worker;
    factor_t *v = (factor_t *)(m + LATTICE_PLANES * m_plane), *u = v + chunks * LATTICE_PLANES * v_plane;

    for (int b = 0; b < in_blocks; b++) {
        const ELEM *x = (const ELEM *)c->source.data + (n * c->source.stride + b) * c->h * c->w * L;
        factor_t *to = v + (b / KCB) * LATTICE_PLANES * v_plane + (b % KCB) * c->split.run * L;
        for (int64_t i = 0; i < count; i++) {
            int64_t ty = (first + i) / c->tiles_x, tx = (first + i) % c->tiles_x;
            FN(lattice_tile_in)
            (x, c->h, c->w, ty * LATTICE_TILE - 2, tx * LATTICE_TILE - 2, to + i * L, v_plane);
        }
    }

    const int out_chunks = (c->out_blocks + NV - 1) / NV;
    int o_end = ((int)group + 1) * c->split.out_chunks_per_task;
    for (int o = (int)group * c->split.out_chunks_per_task; o < o_end && o < out_chunks; o++) {
        int vectors = c->out_blocks - o * NV < NV ? c->out_blocks - o * NV : NV;
        for (int k = 0; k < chunks; k++) {
            int blocks = in_blocks - k * KCB < KCB ? in_blocks - k * KCB : KCB;
            FN(lattice_weights_to)
            ((const ELEM *)c->weights + ((int64_t)o * in_blocks + k * KCB) * L * 9 * OCC, blocks * L, u,
             U_PLANE);
            for (int p = 0; p < LATTICE_WEIGHTS; p++) {
                /* Three planes in a row share the weights of an even axis. */
                const int y = p / 5, x = p % 5, ny = y ? 1 : 3, nx = x ? 1 : 3;
                for (int q = 0; q < ny * nx; q++) {
                    int at = ((y ? y + 2 : 0) + q / nx) * 7 + (x ? x + 2 : 0) + q % nx;
                    multiply(count, vectors, v + (k * LATTICE_PLANES + at) * v_plane, c->split.run * L,
                             blocks, u + p * U_PLANE, m + at * m_plane, k > 0);
                }
            }
        }
        for (int b = 0; b < vectors; b++) {
            ELEM *dst = (ELEM *)c->dst + (n * c->out_blocks + o * NV + b) * rows * columns * L;
            for (int64_t i = 0; i < count; i++) {
                int64_t ty = (first + i) / c->tiles_x, tx = (first + i) % c->tiles_x;
                FN(lattice_tile_out)
                (m + i * OCC + b * L, m_plane, dst, rows, columns, ty * 2 * LATTICE_TILE,
                 tx * 2 * LATTICE_TILE);
            }
        }
    }
}

#ifndef BS__PAIRS
/* The filter along both axes, bias, ReLU and moments. Columns in stripes, so that lattice rows stay in the first-level
   cache until all their pixels are made. */
#ifndef SMOOTH_STRIPE
#define SMOOTH_STRIPE 64
#endif
static void FN(smooth)(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct bs__pass *c = ctx;
    struct place p = place_of(c, task);
    struct bs__moments *part = part_of(c, &p);
    const ELEM *src = FN(source_plane)(c, &c->source, &p);
    ELEM *dst = FN(target_plane)(c, &p);
    const vec bias = load_f32(c->bias + p.block * L), quarter = splat(0.25f), three = splat(0.75f);
    for (int64_t x0 = 0; x0 < c->dst_w; x0 += SMOOTH_STRIPE) {
        const int64_t x1 = x0 + SMOOTH_STRIPE < c->dst_w ? x0 + SMOOTH_STRIPE : c->dst_w;
        /* The lattice columns that these pixels take, at the border too. */
        const int64_t c0 = x0 + 1, c1 = x1 + 6 < c->w ? x1 + 6 : c->w;
        vec line[SMOOTH_STRIPE + 8];
        for (int64_t y = p.y0; y < p.y1; y++) {
            struct sums sums = {.count = 0};
            int64_t at[5];
            float weight[5];
            const int taps = lattice_taps(y, c->dst_h, at, weight);
            const ELEM *r[5];
            for (int i = 0; i < 5; i++)
                r[i] = src + at[i] * c->w * L;
            if (y > 1 && y < c->dst_h - 2) {
                for (int64_t x = c0; x < c1; x++)
                    line[x - c0] = fma_v(quarter, LOAD(r[0] + x * L) + LOAD(r[3] + x * L),
                                         three * (LOAD(r[1] + x * L) + LOAD(r[2] + x * L)));
            } else {
                for (int64_t x = c0; x < c1; x++) {
                    vec s = splat(weight[0]) * LOAD(r[0] + x * L);
                    for (int i = 1; i < taps; i++)
                        s = fma_v(splat(weight[i]), LOAD(r[i] + x * L), s);
                    line[x - c0] = s;
                }
            }
            for (int64_t x = x0; x < x1; x++) {
                vec s;
                if (x > 1 && x < c->dst_w - 2) {
                    const vec *l = line + (x + 2 - c0);
                    s = fma_v(quarter, l[0] + l[3], fma_v(three, l[1] + l[2], bias));
                } else {
                    int64_t column[5];
                    float share[5];
                    const int n = lattice_taps(x, c->dst_w, column, share);
                    s = bias;
                    for (int i = 0; i < n; i++)
                        s = fma_v(splat(share[i]), line[column[i] - c0], s);
                }
                if (c->relu)
                    s = relu_v(s);
                STORE(dst + (y * c->dst_w + x) * L, s);
                if (part)
                    sums_add(&sums, s);
            }
            if (part)
                sums_merge(part, &sums);
        }
    }
}
#endif
