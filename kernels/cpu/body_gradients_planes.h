/* Planes of images (gradients.h): norms over groups of them, sums, bilinear resizing, and their gradients. */

/* ---- norms ---- */

#define SUM_RUN 2048 /* pixels whose sum is float32, in two vectors */

/* Sum over the pixels of EACH, a vector expression of the pixels at `at`, of which `left` are there and the others zero. */
#define SUM_PIXELS(total, pixels, EACH)                                                                      \
    for (int64_t from_ = 0; from_ < (pixels); from_ += SUM_RUN) {                                            \
        const int64_t end_ = (pixels)-from_ < SUM_RUN ? (pixels) : from_ + SUM_RUN;                          \
        vec sum_ = splat(0);                                                                                 \
        for (int64_t at = from_; at < end_; at += L) {                                                       \
            const int64_t left = end_ - at;                                                                  \
            sum_ += (EACH);                                                                                  \
        }                                                                                                    \
        (total) += (double)lane_sum(sum_);                                                                   \
    }

INLINE vec first_lanes(vec x, int64_t left)
{
    if (left >= L)
        return x;
    ivec lane;
    for (int i = 0; i < L; i++)
        lane[i] = i < left ? -1 : 0;
    return (vec)((ivec)x & lane);
}

INLINE vec square_v(vec x)
{
    return x * x;
}

struct plane_moments {
    double count, mean, squares; /* squares: sum of squared distances from the mean */
    float inverse;               /* 1 / deviation */
};

static struct plane_moments plane_moments(const struct bs__norm_planes *c, int64_t group)
{
    struct plane_moments m = {.count = (double)(c->count * c->pixels)};
    double sum = 0;
    for (int64_t i = 0; i < c->count; i++) {
        const float *x = c->x + (group + i * c->step) * c->pixels;
        SUM_PIXELS(sum, c->pixels, get(x, at, left));
    }
    m.mean = sum / m.count;
    const float mean = (float)m.mean;
    for (int64_t i = 0; i < c->count; i++) {
        const float *x = c->x + (group + i * c->step) * c->pixels;
        SUM_PIXELS(m.squares, c->pixels, first_lanes(square_v(get(x, at, left) - mean), left));
    }
    m.inverse = (float)(1.0 / sqrt(m.squares / m.count + (double)c->eps));
    return m;
}

static void norm_planes(const void *ctx, int64_t group, int worker)
{
    (void)worker;
    const struct bs__norm_planes *c = ctx;
    const struct plane_moments m = plane_moments(c, group);
    const vec mean = splat((float)m.mean), scale = splat(m.inverse * (c->w ? c->w[group] : 1.0f)),
              shift = splat(c->b ? c->b[group] : 0.0f);
    if (c->mean)
        c->mean[group] = (float)m.mean;
    if (c->variance)
        c->variance[group] = (float)(m.squares / (m.count - 1));
    for (int64_t i = 0; c->y && i < c->count; i++) {
        const int64_t plane = (group + i * c->step) * c->pixels;
        for (int64_t at = 0; at < c->pixels; at += L)
            put(c->y + plane, at, c->pixels - at,
                fma_v(get(c->x + plane, at, c->pixels - at) - mean, scale, shift));
    }
}

/* gx = w (gy - mean(gy) - xhat mean(gy xhat)) / deviation, gw = sum of gy xhat */
static void norm_planes_grad(const void *ctx, int64_t group, int worker)
{
    (void)worker;
    const struct bs__norm_planes *c = ctx;
    const struct plane_moments m = plane_moments(c, group);
    const float mean = (float)m.mean;
    double sum = 0, product = 0;
    for (int64_t i = 0; i < c->count; i++) {
        const int64_t plane = (group + i * c->step) * c->pixels;
        const float *x = c->x + plane, *gy = c->gy + plane;
        SUM_PIXELS(sum, c->pixels, get(gy, at, left));
        SUM_PIXELS(product, c->pixels,
                   get(gy, at, left) * (get(x, at, left) - mean)); /* gy behind them is 0 */
    }
    product *= (double)m.inverse;
    if (c->gw)
        c->gw[group] = (float)product;
    const vec mean_g = splat((float)(sum / m.count)), slope = splat((float)(product / m.count) * m.inverse),
              scale = splat(m.inverse * (c->w ? c->w[group] : 1.0f));
    for (int64_t i = 0; c->y && i < c->count; i++) {
        const int64_t plane = (group + i * c->step) * c->pixels;
        for (int64_t at = 0; at < c->pixels; at += L) {
            const int64_t left = c->pixels - at;
            const vec d = get(c->x + plane, at, left) - mean;
            put(c->y + plane, at, left, (fnma_v(d, slope, get(c->gy + plane, at, left)) - mean_g) * scale);
        }
    }
}

static void sum_planes(const void *ctx, int64_t channel, int worker)
{
    (void)worker;
    const struct bs__sum_planes *c = ctx;
    double sum = 0;
    for (int64_t n = 0; n < c->samples; n++) {
        const float *x = c->x + (n * c->channels + channel) * c->pixels;
        SUM_PIXELS(sum, c->pixels, get(x, at, left));
    }
    c->part[channel] = (float)sum;
}

/* ---- resizing ---- */

#if BS__L == 16
#define EVEN(a, b)   __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)
#define ODD(a, b)    __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31)
#define ZIP_LO(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define ZIP_HI(a, b)                                                                                         \
    __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#else
#define EVEN(a, b)   __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14)
#define ODD(a, b)    __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15)
#define ZIP_LO(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define ZIP_HI(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#endif

/* Where row i of the output lies. */
struct between_rows {
    int64_t lo, hi;
    float t;
};
INLINE struct between_rows between_rows(int64_t i, int64_t in, int64_t out)
{
    double u = ((double)i + 0.5) * (double)in / (double)out - 0.5;
    u = u < 0 ? 0 : u;
    int64_t lo = (int64_t)u;
    lo = lo > in - 1 ? in - 1 : lo;
    return (struct between_rows){lo, lo < in - 1 ? lo + 1 : lo, (float)(u - (double)lo)};
}

/* One row of w pixels to out_w. Doubled: of neighbours k and k + 1 three quarters and one quarter. */
static void widen_row(const struct bs__resize_planes *c, const float *row, float *to)
{
    int64_t k = 0;
    if (c->out_w == 2 * c->w && c->w > 2 * L) {
        to[0] = row[0];
        to[1] = 0.75f * row[0] + 0.25f * row[1];
        for (k = 1; k + L <= c->w - 1; k += L) {
            const vec own = *(const vec_u *)(row + k) * 0.75f;
            const vec a = fma_v(*(const vec_u *)(row + k - 1), splat(0.25f), own);
            const vec b = fma_v(*(const vec_u *)(row + k + 1), splat(0.25f), own);
            *(vec_u *)(to + 2 * k) = ZIP_LO(a, b);
            *(vec_u *)(to + 2 * k + L) = ZIP_HI(a, b);
        }
    }
    for (int64_t j = 2 * k; j < c->out_w; j++)
        to[j] = (1 - c->t_x[j]) * row[c->lo_x[j]] + c->t_x[j] * row[c->hi_x[j]];
}

static void resize(const void *ctx, int64_t plane, int worker)
{
    const struct bs__resize_planes *c = ctx;
    const float *src = c->src + plane * c->h * c->w;
    float *dst = c->dst + plane * c->out_h * c->out_w;
    float *row = c->scratch + c->scratch_floats * (size_t)worker;
    for (int64_t i = 0; i < c->out_h; i++, dst += c->out_w) {
        const struct between_rows v = between_rows(i, c->h, c->out_h);
        const float *upper = src + v.lo * c->w, *lower = src + v.hi * c->w;
        const vec t = splat(v.t), rest = splat(1 - v.t);
        for (int64_t k = 0; k < c->w; k += L)
            put(row, k, c->w - k, fma_v(get(lower, k, c->w - k), t, get(upper, k, c->w - k) * rest));
        widen_row(c, row, dst);
    }
}

/* The transpose of widen_row. */
static void gather_row(const struct bs__resize_planes *c, const float *from, float *row)
{
    int64_t k = 0;
    memset(row, 0, (size_t)c->w * sizeof *row);
    if (c->out_w == 2 * c->w && c->w > 2 * L) {
        row[0] = from[0] + 0.75f * from[1] + 0.25f * from[2];
        for (k = 1; k + L <= c->w - 1; k += L) {
            const float *at = from + 2 * k;
            const vec a = *(const vec_u *)at, b = *(const vec_u *)(at + L);
            const vec before = EVEN(*(const vec_u *)(at - 1), *(const vec_u *)(at + L - 1));
            const vec after = EVEN(*(const vec_u *)(at + 2), *(const vec_u *)(at + L + 2));
            *(vec_u *)(row + k) =
                fma_v(EVEN(a, b) + ODD(a, b), splat(0.75f), (before + after) * splat(0.25f));
        }
        row[k] = 0.25f * from[2 * k - 1]; /* what the columns behind do not bring */
    }
    for (int64_t j = 2 * k; j < c->out_w; j++) {
        const float g = from[j];
        if (c->lo_x[j] >= k)
            row[c->lo_x[j]] += (1 - c->t_x[j]) * g;
        row[c->hi_x[j]] += c->t_x[j] * g;
    }
}

static void add_row(float *to, const float *row, float factor, int64_t count)
{
    for (int64_t k = 0; k < count; k += L)
        put(to, k, count - k, fma_v(get(row, k, count - k), splat(factor), get(to, k, count - k)));
}

static void resize_grad(const void *ctx, int64_t plane, int worker)
{
    const struct bs__resize_planes *c = ctx;
    const float *src = c->src + plane * c->out_h * c->out_w;
    float *dst = c->dst + plane * c->h * c->w;
    float *row = c->scratch + c->scratch_floats * (size_t)worker;
    memset(dst, 0, (size_t)(c->h * c->w) * sizeof *dst);
    for (int64_t i = 0; i < c->out_h; i++, src += c->out_w) {
        const struct between_rows v = between_rows(i, c->h, c->out_h);
        gather_row(c, src, row);
        add_row(dst + v.lo * c->w, row, 1 - v.t, c->w);
        if (v.t > 0)
            add_row(dst + v.hi * c->w, row, v.t, c->w);
    }
}
