/* Checks and launches the kernels of attention_extend.h. */
#include "kernels/cuda/attention_extend.h"

#include "kernels/cuda/attention_internal.h"
#include "kernels/cuda/views.h"

#include <math.h>
#include <stdio.h>

#define THREADS 128 /* TILE_THREADS of tile.cuh */
#define QUERIES 64  /* ATTENTION_HALF_QUERIES of attention_half.cuh */

static int room_for(int features)
{
    return features <= 32 ? 32 : features <= 64 ? 64 : features <= 80 ? 80 : 128;
}

static size_t shared_bytes(const struct bs__attention_arguments *a)
{
    if (!a->bias_stride)
        return 0;
    return QUERIES * ((size_t)room_for(a->features) + 8) * 2 +
           QUERIES * (size_t)a->bias_stride * sizeof(float);
}

bs_status bs__attention_extended(const struct bs__cuda_attention *c, const struct bs__cuda_limits *limits,
                                 struct bs__extended_attention *out, const char **why, struct bs_err *err)
{
    struct bs__attention_arguments a;
    *why = NULL;
    bs_status rc = bs__attention_describe(c, &a, err);
    if (rc != BS_OK)
        return rc;
    const int64_t positions = a.bias_stride ? (int64_t)a.h + a.w : 0;
    *out = (struct bs__extended_attention){.samples = c->samples * a.windows_y * a.windows_x,
                                           .tokens = (int64_t)a.h * a.w,
                                           .width = (c->features + positions + 7) / 8 * 8,
                                           .copied = !a.whole};
    if (c->element == BS__F32)
        *why = "float32";
    else if (limits->capability < 80)
        *why = "the GPU is older than sm_80";
    else if (c->features % 8)
        *why = "features are no multiple of 8";
    else if (!bs__attention_aligned(c, c->qkv, 16) || !bs__attention_aligned(c, c->pad, 16) ||
             !bs__attention_aligned(c, c->y, 16) || !bs__attention_aligned(c, c->rel_h, 16) ||
             !bs__attention_aligned(c, c->rel_w, 16))
        *why = "an array is not aligned to 16 bytes";
    else if (shared_bytes(&a) > limits->shared_block)
        *why = "too many relative positions";
    return BS_OK;
}

/* The checked arguments of a call that bs__attention_extended found nothing against. */
static bs_status describe(struct bs__queue *q, const struct bs__cuda_attention *c,
                          struct bs__attention_extension *e, struct bs__extended_attention *x,
                          struct bs_err *err)
{
    const char *why = NULL;
    bs_status rc = bs__attention_extended(c, bs__queue_limits(q), x, &why, err);
    if (rc != BS_OK)
        return rc;
    if (why)
        return BS_FAIL(err, BS_EINTERNAL, "attention with further dimensions: %s", why);
    *e = (struct bs__attention_extension){.width = (int32_t)x->width,
                                          .samples = (int32_t)c->samples,
                                          .factor = (float)(sqrt((double)c->features) / 1.4426950408889634),
                                          .most = c->element == BS__F16 ? 65504.0f : INFINITY};
    if ((rc = bs__attention_describe(c, &e->of, err)) != BS_OK)
        return rc;
    e->of.vectors = 1;
    return BS_OK;
}

bs_status bs__cuda_extend_attention(struct bs__queue *q, const struct bs__cuda_attention *c, bs_address query,
                                    bs_address key, bs_address value, struct bs_err *err)
{
    struct bs__attention_extension e;
    struct bs__extended_attention x;
    char name[48];
    struct bs__launch launch = {.kernel = name, .element = c->element, .grid = {0, 1, 1}, .threads = THREADS};
    bs_status rc = describe(q, c, &e, &x, err);
    if (rc != BS_OK)
        return rc;
    snprintf(name, sizeof name, "attention_extend_%d", room_for(c->features));
    if ((rc = bs__need_address(name, "the array of queries", query, 16, err)) != BS_OK ||
        (rc = bs__need_address(name, "the array of keys", key, 16, err)) != BS_OK ||
        (x.copied && (rc = bs__need_address(name, "the array of values", value, 16, err)) != BS_OK) ||
        (rc = bs__attention_tiles(c, &e.of, x.tokens, QUERIES, &launch.grid[0], err)) != BS_OK)
        return rc;
    e.query = query;
    e.key = key;
    e.value = x.copied ? value : 0;
    launch.shared = shared_bytes(&e.of);
    return bs__queue_launch(q, &launch, &e, sizeof e, err);
}

bs_status bs__cuda_attention_from_windows(struct bs__queue *q, const struct bs__cuda_attention *c,
                                          bs_address result, struct bs_err *err)
{
    static const char kernel[] = "attention_from_windows";
    struct bs__attention_extension e;
    struct bs__extended_attention x;
    bs_status rc = describe(q, c, &e, &x, err);
    if (rc != BS_OK || (rc = bs__need_address(kernel, "the result", result, 16, err)) != BS_OK ||
        (rc = bs__need_address(kernel, "y", c->y, 16, err)) != BS_OK)
        return rc;
    e.value = result;
    const double items = (double)c->samples * (double)e.of.tokens * c->heads * c->features / 4;
    if ((rc = bs__need_items(kernel, items, err)) != BS_OK)
        return rc;
    return bs__launch_items(q, kernel, c->element, (int64_t)items, 1, &e, sizeof e, err);
}
