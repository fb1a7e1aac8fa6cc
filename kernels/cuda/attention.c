/* Checks attention and chooses its kernel; see attention.h. */
#include "kernels/cuda/attention_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#define THREADS 128 /* TILE_THREADS of tile.cuh */

bs_status bs__attention_describe(const struct bs__cuda_attention *c, struct bs__attention_arguments *a,
                                 struct bs_err *err)
{
    const bool relative = c->rel_h || c->rel_w;
    if (c->samples < 1 || c->grid_h < 1 || c->grid_w < 1 || c->heads < 1 || c->features < 1 || c->window < 0)
        return BS_FAIL(err, BS_EINVAL,
                       "attention: %" PRId64 " samples of %" PRId64 " x %" PRId64
                       " tokens, %d heads of %d features, window %d: all must be at least 1 (window: 0)",
                       c->samples, c->grid_h, c->grid_w, c->heads, c->features, c->window);
    if (c->features > BS__ATTENTION_FEATURES)
        return BS_FAIL(err, BS_EUNSUPPORTED,
                       "attention: heads of %d features; up to %d are supported on GPUs", c->features,
                       BS__ATTENTION_FEATURES);
    if (!c->rel_h != !c->rel_w)
        return BS_FAIL(err, BS_EINVAL,
                       "attention: one table of relative positions; both or neither are accepted");
    /* Without windows and relative positions a grid is a row of tokens: as a column no key is ever divided. */
    const bool column = !c->window && !relative;
    const int64_t most = INT32_MAX / 4;
    if (c->grid_h > most || c->grid_w > most || c->grid_h * c->grid_w > most || c->window > 32768)
        return BS_FAIL(err, BS_ELIMIT,
                       "attention: grid %" PRId64 " x %" PRId64 ", window %d; up to %" PRId64
                       " tokens and windows of 32768 are supported",
                       c->grid_h, c->grid_w, c->window, most);
    *a = (struct bs__attention_arguments){
        .qkv = c->qkv,
        .pad = c->pad,
        .rel_h = c->rel_h,
        .rel_w = c->rel_w,
        .y = c->y,
        .lse = c->lse,
        .tokens = c->grid_h * c->grid_w,
        .grid_h = (int32_t)(column ? c->grid_h * c->grid_w : c->grid_h),
        .grid_w = (int32_t)(column ? 1 : c->grid_w),
        .heads = c->heads,
        .features = c->features,
        .scale = (float)(1.4426950408889634 / sqrt((double)c->features)),
    };
    a->h = c->window ? c->window : a->grid_h;
    a->w = c->window ? c->window : a->grid_w;
    a->windows_y = (a->grid_h + a->h - 1) / a->h;
    a->windows_x = (a->grid_w + a->w - 1) / a->w;
    a->whole = a->h == a->grid_h && a->w == a->grid_w;
    a->reciprocal = ((uint64_t)1 << 32) / (uint64_t)a->w + 1;
    /* k / w by the reciprocal is exact while k w < 2^32. */
    if (a->w > 1 && (int64_t)a->h * a->w > ((int64_t)UINT32_MAX - 1) / a->w)
        return BS_FAIL(err, BS_ELIMIT,
                       "attention: %d x %d tokens attend to each other; too many for rows this long", a->h,
                       a->w);
    if (relative) {
        /* The rows of four neighbouring queries begin 8 banks apart. */
        const int64_t positions = (int64_t)a->h + a->w, stride = (positions + 23) / 32 * 32 + 8;
        a->bias_stride = (int32_t)stride;
    }
    return BS_OK;
}

int64_t bs__attention_queries(const struct bs__attention_arguments *a)
{
    const int64_t h = a->h < a->grid_h ? a->h : a->grid_h, w = a->w < a->grid_w ? a->w : a->grid_w;
    return h * w;
}

bs_status bs__attention_tiles(const struct bs__cuda_attention *c, struct bs__attention_arguments *a,
                              int64_t tokens, int length, unsigned *blocks, struct bs_err *err)
{
    a->tiles = (int32_t)((tokens + length - 1) / length);
    const double all = (double)c->samples * c->heads * a->windows_y * a->windows_x * a->tiles;
    if (all > INT32_MAX)
        return BS_FAIL(err, BS_ELIMIT, "attention: %.0f blocks; up to %d fit one launch", all, INT32_MAX);
    *blocks = (unsigned)all;
    return BS_OK;
}

bool bs__attention_aligned(const struct bs__cuda_attention *c, bs_address array, size_t bytes)
{
    return array % bytes == 0 && (size_t)c->features * bs__element_bytes(c->element) % bytes == 0;
}

/* A kernel: its name, its tile, and the floats of shared memory without relative positions. */
struct choice {
    char name[48];
    bool tensor;
    int queries;
    size_t floats;
};

/* In float: a tall tile of queries, or a low one. */
static struct choice choose_simt(int features, bool tall)
{
    const int room = features <= 32 ? 32 : features <= 64 ? 64 : features <= 80 ? 80 : 128;
    struct choice k = {.queries = tall ? 64 : room == 128 ? 16 : 32};
    const size_t stride = (size_t)room + 4, queries = (size_t)k.queries;
    k.floats = (queries + 2 * 32) * stride + queries * 36;
    snprintf(k.name, sizeof k.name, "attention_%dx%d", k.queries, room);
    return k;
}

static struct choice choose_tensor(int features)
{
    const int room = features <= 32 ? 32 : features <= 64 ? 64 : features <= 80 ? 80 : 128;
    const size_t keys = room == 128 ? 32 : 64;
    struct choice k = {.tensor = true, .queries = 64, .floats = keys * ((size_t)room + 8)};
    snprintf(k.name, sizeof k.name, "attention_tensor_%d", room);
    return k;
}

static size_t shared_bytes(const struct choice *k, const struct bs__attention_arguments *a)
{
    return sizeof(float) * (k->floats + (size_t)k->queries * (size_t)a->bias_stride);
}

bs_status bs__cuda_attention(struct bs__queue *q, const struct bs__cuda_attention *c, struct bs_err *err)
{
    struct bs__attention_arguments a;
    struct bs__launch launch = {.element = c->element, .grid = {0, 1, 1}, .threads = THREADS};
    const struct bs__cuda_limits *limits = bs__queue_limits(q);
    bs_status rc = bs__attention_describe(c, &a, err);
    if (rc != BS_OK)
        return rc;
    const bool tensor = c->element == BS__F16 || (c->element == BS__BF16 && limits->capability >= 80);
    struct choice k = tensor ? choose_tensor(c->features) : choose_simt(c->features, c->element == BS__F32);
    if (shared_bytes(&k, &a) > limits->shared_block)
        k = choose_simt(c->features, false);
    if (shared_bytes(&k, &a) > limits->shared_block) {
        const size_t room = limits->shared_block / sizeof(float),
                     left = room > k.floats ? room - k.floats : 0;
        return BS_FAIL(err, BS_ELIMIT,
                       "attention: %d + %d relative positions of heads of %d features; this device has "
                       "shared memory for "
                       "%zu (%zu KiB a block)",
                       a.h, a.w, c->features, left / (size_t)k.queries / 32 * 32,
                       limits->shared_block / 1024);
    }
    if ((rc = bs__attention_tiles(c, &a, bs__attention_queries(&a), k.queries, &launch.grid[0], err)) !=
        BS_OK)
        return rc;
    /* The tensor kernels copy 16 bytes at a time; the others read four elements, which are 16 bytes only of float. */
    const size_t bytes = k.tensor ? 16 : 4 * bs__element_bytes(c->element);
    a.vectors = bs__attention_aligned(c, c->qkv, bytes) && bs__attention_aligned(c, c->y, bytes) &&
                bs__attention_aligned(c, c->pad, bytes) && bs__attention_aligned(c, c->rel_h, bytes) &&
                bs__attention_aligned(c, c->rel_w, bytes);
    launch.kernel = k.name;
    launch.shared = shared_bytes(&k, &a);
    return bs__queue_launch(q, &launch, &a, sizeof a, err);
}

void bs__cuda_attention_table(const float *table, int64_t rows, int64_t features, int64_t side,
                              float *resampled)
{
    const int64_t wanted = 2 * side - 1;
    for (int64_t r = 0; r < wanted; r++) {
        double u = ((double)r + 0.5) * (double)rows / (double)wanted - 0.5;
        u = rows == wanted ? (double)r : u < 0 ? 0 : u;
        int64_t low = (int64_t)floor(u);
        low = low > rows - 1 ? rows - 1 : low;
        const int64_t high = low < rows - 1 ? low + 1 : low;
        const double t = u - (double)low;
        for (int64_t i = 0; i < features; i++)
            resampled[r * features + i] =
                (float)((1 - t) * (double)table[low * features + i] + t * (double)table[high * features + i]);
    }
}
