/* Queues the backward of attention; see attention_grad.h. */
#include "kernels/cuda/attention_grad.h"

#include "kernels/cuda/attention_grad_arguments.h"
#include "kernels/cuda/attention_internal.h"

#include <stdio.h>

#define THREADS       128 /* TILE_THREADS of tile.cuh */
#define KEYS          64  /* that a block of attention_grad_keys owns */
#define QUERIES       32  /* of a step of attention_grad_table, and a tile of attention_grad_relative */
#define TABLE         64  /* rows of a table that a block of attention_grad_table owns */
#define CHUNKS        64  /* parts that a table's gradient is summed in; fixed, so that its bits are */
#define ROUND(floats) (((size_t)(floats) + 3) / 4 * 4)

/* The workspace in floats; places of its arrays and its size. */
struct workspace {
    size_t relative, delta, pad_parts, table_parts, floats;
    int64_t key_tiles, pad_part_count, table_rows;
    bool outside; /* does any window stick out of the grid? */
};

static struct workspace lay_out(const struct bs__cuda_attention_grad *c,
                                const struct bs__attention_arguments *a)
{
    const int64_t rows = c->forward.samples * a->tokens * a->heads;
    struct workspace w = {.key_tiles = ((int64_t)a->h * a->w + KEYS - 1) / KEYS,
                          .table_rows = 2 * (int64_t)a->h - 1 + 2 * (int64_t)a->w - 1,
                          .outside = a->grid_h % a->h || a->grid_w % a->w};
    w.pad_part_count = c->forward.samples * a->windows_y * a->windows_x * w.key_tiles;
    const bool relative = a->rel_h, pad = c->gpad && w.outside;
    w.delta = relative ? ROUND(rows * (a->h + a->w)) : 0;
    w.pad_parts = w.delta + ROUND(rows);
    w.table_parts = w.pad_parts + (pad ? ROUND(w.pad_part_count * 2 * a->heads * a->features) : 0);
    w.floats = w.table_parts + (relative && c->grel_h ? ROUND(CHUNKS * w.table_rows * a->features) : 0);
    return w;
}

size_t bs__cuda_attention_grad_workspace(const struct bs__cuda_attention_grad *c)
{
    struct bs__attention_arguments a;
    return bs__attention_describe(&c->forward, &a, NULL) == BS_OK ? lay_out(c, &a).floats * sizeof(float) : 0;
}

static bs_status check(const struct bs__cuda_attention_grad *c, struct bs_err *err)
{
    const bool relative = c->forward.rel_h;
    if (!c->grel_h != !c->grel_w || (c->grel_h && !relative))
        return BS_FAIL(err, BS_EINVAL,
                       "attention: gradients of tables of relative positions are of both tables, where there "
                       "are tables");
    if (c->grel_h && (c->rows_h < 1 || c->rows_w < 1))
        return BS_FAIL(err, BS_EINVAL, "attention: gradients of tables without rows");
    if (c->workspace % 16)
        return BS_FAIL(err, BS_EINTERNAL, "attention: the workspace of its gradients is not aligned");
    return BS_OK;
}

/* What each step needs. */
struct job {
    struct bs__queue *q;
    const struct bs__cuda_attention_grad *c;
    struct workspace space;
    struct bs__attention_grad_arguments g;
    int room; /* features that the kernels have room for */
};

/* Queues kernel `name` with a part of the shape in it, "name_32x64": blocks have tiles of `length` of a window's `tokens`. */
static bs_status queue_tiles(struct job *j, const char *name, int64_t tokens, int length, size_t shared,
                             struct bs_err *err)
{
    struct bs__launch launch = {.kernel = name,
                                .element = j->c->forward.element,
                                .grid = {0, 1, 1},
                                .threads = THREADS,
                                .shared = shared};
    bs_status rc = bs__attention_tiles(&j->c->forward, &j->g.forward, tokens, length, &launch.grid[0], err);
    return rc == BS_OK ? bs__queue_launch(j->q, &launch, &j->g, sizeof j->g, err) : rc;
}

static bs_status queue_relative(struct job *j, struct bs_err *err)
{
    char name[48];
    snprintf(name, sizeof name, "attention_grad_relative_%d", j->room);
    return queue_tiles(j, name, bs__attention_queries(&j->g.forward), QUERIES, 0, err);
}

static bs_status queue_delta(struct job *j, struct bs_err *err)
{
    const int64_t rows = j->g.samples * j->g.forward.tokens * j->g.forward.heads, blocks = (rows + 15) / 16;
    if (blocks > INT32_MAX)
        return BS_FAIL(err, BS_ELIMIT, "attention: gradients of more than %lld rows of heads",
                       16LL * INT32_MAX);
    const struct bs__launch launch = {.kernel = "attention_grad_delta",
                                      .element = j->c->forward.element,
                                      .grid = {(unsigned)blocks, 1, 1},
                                      .threads = THREADS};
    return bs__queue_launch(j->q, &launch, &j->g, sizeof j->g, err);
}

static bs_status too_large(const struct job *j, size_t needed, struct bs_err *err)
{
    return BS_FAIL(err, BS_ELIMIT,
                   "attention: gradients with heads of %d features and %d + %d relative positions need %zu "
                   "KiB of shared "
                   "memory a block; this device has %zu",
                   j->g.forward.features, j->g.forward.h, j->g.forward.w, needed / 1024,
                   bs__queue_limits(j->q)->shared_block / 1024);
}

static bs_status queue_keys(struct job *j, struct bs_err *err)
{
    const size_t most = bs__queue_limits(j->q)->shared_block, stride = (size_t)j->room + 4;
    char name[48];
    for (size_t queries = 32; queries >= 16; queries /= 2) {
        const size_t shared =
            sizeof(float) * (2 * KEYS * stride + 2 * queries * stride + 2 * queries * (KEYS + 4));
        if (shared > most && queries > 16)
            continue;
        if (shared > most)
            return too_large(j, shared, err);
        snprintf(name, sizeof name, "attention_grad_keys_%zux%d", queries, j->room);
        return queue_tiles(j, name, (int64_t)j->g.forward.h * j->g.forward.w, KEYS, shared, err);
    }
    return BS_OK;
}

static bs_status queue_queries(struct job *j, struct bs_err *err)
{
    const size_t most = bs__queue_limits(j->q)->shared_block, stride = (size_t)j->room + 4, keys = 32;
    char name[48];
    for (size_t queries = 64; queries >= 16; queries /= 4) {
        const size_t shared = sizeof(float) * (2 * (queries + keys) * stride + queries * (keys + 4) +
                                               queries * (size_t)j->g.forward.bias_stride);
        if (shared > most && queries > 16)
            continue;
        if (shared > most)
            return too_large(j, shared, err);
        snprintf(name, sizeof name, "attention_grad_queries_%zux%d", queries, j->room);
        return queue_tiles(j, name, bs__attention_queries(&j->g.forward), (int)queries, shared, err);
    }
    return BS_OK;
}

static bs_status queue_parts(struct job *j, const struct bs__attention_parts_arguments *s, struct bs_err *err)
{
    const int64_t values = s->rows * s->features;
    const struct bs__launch launch = {.kernel = "attention_grad_parts",
                                      .element = BS__F32,
                                      .grid = {(unsigned)((values + THREADS - 1) / THREADS), 1, 1},
                                      .threads = THREADS};
    return bs__queue_launch(j->q, &launch, s, sizeof *s, err);
}

static bs_status queue_tables(struct job *j, struct bs_err *err)
{
    const struct bs__attention_arguments *a = &j->g.forward;
    const int64_t rows_h = 2 * (int64_t)a->h - 1, rows_w = 2 * (int64_t)a->w - 1;
    const int64_t tiles = (rows_h + TABLE - 1) / TABLE + (rows_w + TABLE - 1) / TABLE;
    char name[48];
    snprintf(name, sizeof name, "attention_grad_table_%d", j->room);
    const struct bs__launch launch = {.kernel = name,
                                      .element = j->c->forward.element,
                                      .grid = {(unsigned)(tiles * CHUNKS), 1, 1},
                                      .threads = THREADS};
    bs_status rc = bs__queue_launch(j->q, &launch, &j->g, sizeof j->g, err);
    struct bs__attention_parts_arguments s = {.parts = j->g.table_parts,
                                              .to = j->c->grel_h,
                                              .count = CHUNKS,
                                              .stride = j->space.table_rows * a->features,
                                              .rows = j->c->rows_h,
                                              .parts_rows = rows_h,
                                              .features = a->features};
    if (rc == BS_OK)
        rc = queue_parts(j, &s, err);
    s.to = j->c->grel_w;
    s.first = rows_h * a->features;
    s.rows = j->c->rows_w;
    s.parts_rows = rows_w;
    return rc == BS_OK ? queue_parts(j, &s, err) : rc;
}

/* q of the padding asks nothing; its k and v are summed over the windows that see it. */
static bs_status queue_pad(struct job *j, struct bs_err *err)
{
    const int64_t width = (int64_t)j->g.forward.heads * j->g.forward.features;
    const size_t third = (size_t)width * sizeof(float);
    bs_status rc = bs__queue_zero(j->q, j->c->gpad, j->space.outside ? third : 3 * third, err);
    if (rc != BS_OK || !j->space.outside)
        return rc;
    const struct bs__attention_parts_arguments s = {.parts = j->g.pad_parts,
                                                    .to = j->c->gpad + third,
                                                    .count = j->space.pad_part_count,
                                                    .stride = 2 * width,
                                                    .rows = 1,
                                                    .parts_rows = 1,
                                                    .features = 2 * width};
    return queue_parts(j, &s, err);
}

bs_status bs__cuda_attention_grad(struct bs__queue *q, const struct bs__cuda_attention_grad *c,
                                  struct bs_err *err)
{
    struct job j = {.q = q, .c = c};
    const struct bs__cuda_attention *f = &c->forward;
    const int features = f->features;
    bs_status rc;
    if ((rc = bs__attention_describe(f, &j.g.forward, err)) != BS_OK || (rc = check(c, err)) != BS_OK)
        return rc;
    j.space = lay_out(c, &j.g.forward);
    j.room = features <= 32 ? 32 : features <= 64 ? 64 : features <= 80 ? 80 : 128;
    j.g.gy = c->gy;
    j.g.gqkv = c->gqkv;
    j.g.samples = f->samples;
    j.g.chunks = CHUNKS;
    j.g.query_tiles = (int32_t)((bs__attention_queries(&j.g.forward) + QUERIES - 1) / QUERIES);
    j.g.relative = c->workspace;
    j.g.delta = c->workspace + j.space.delta * sizeof(float);
    j.g.pad_parts = c->gpad && j.space.outside ? c->workspace + j.space.pad_parts * sizeof(float) : 0;
    j.g.table_parts = c->workspace + j.space.table_parts * sizeof(float);
    const size_t bytes = 4 * bs__element_bytes(f->element);
    const bs_address arrays[] = {f->qkv, f->pad, f->rel_h, f->rel_w, f->y, c->gy, c->gqkv};
    j.g.forward.vectors = 1;
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        j.g.forward.vectors &= bs__attention_aligned(f, arrays[i], bytes);

    if (f->rel_h && (rc = queue_relative(&j, err)) != BS_OK)
        return rc;
    if ((rc = queue_delta(&j, err)) != BS_OK || (rc = queue_keys(&j, err)) != BS_OK ||
        (rc = queue_queries(&j, err)) != BS_OK)
        return rc;
    if (c->grel_h && (rc = queue_tables(&j, err)) != BS_OK)
        return rc;
    return c->gpad ? queue_pad(&j, err) : BS_OK;
}
