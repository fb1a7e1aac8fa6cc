/* The tables of the matrix product kernels (linear, attention), one per instruction set; what linear.c and attention.c
   choose from. bf16 pairs are a table of their own, since a processor may have AVX-512 without them. */
#ifndef BS_KERNELS_CPU_PRODUCTS_H
#define BS_KERNELS_CPU_PRODUCTS_H

#include "kernels/cpu/attention.h"
#include "kernels/cpu/linear.h"

struct bs__products {
    struct bs__linear_kernel linear, linear_bf16;
    struct bs__attention_kernel attention, attention_bf16;
};

const struct bs__products *bs__products_base(void);
const struct bs__products *bs__products_avx2(void);
const struct bs__products *bs__products_avx512(void);
const struct bs__products *bs__products_avx512_bf16(void);
/* The table beside `simd`; pairs: of a processor that multiplies bf16 pairs, where simd has them. */
const struct bs__products *bs__products_of(const struct bs__simd *simd, bool pairs);

/* Words (float32 or bf16 pairs) of input features that are multiplied before the next ones: a block of rows and a panel of
   weights stay in the second cache. */
static inline int64_t bs__linear_block(int64_t words, int lanes)
{
    const int64_t most = 1024, blocks = (words + most - 1) / most;
    return ((words + blocks - 1) / blocks + lanes - 1) / lanes * lanes;
}

/* Chunks of queries in a task, and the scratch of one worker in words (offsets from its beginning). */
#define BS__ATTENTION_CHUNKS 16

struct bs__attention_layout {
    int64_t words; /* of the features of a query or key */
    int64_t row;   /* from one key (row of a table) to the next */
    int64_t keys, values, positions, scores, table, products, chunk, chunk_words, total;
};

static inline struct bs__attention_layout bs__attention_layout(const struct bs__attention *c, int lanes,
                                                               int vectors, int word_values)
{
    const int64_t width = (int64_t)lanes * vectors, features = ((int64_t)c->d + lanes - 1) / lanes * lanes;
    const int64_t tables = c->rel_h ? 2 * c->h - 1 + 2 * c->w - 1 : 0, longer = c->h > c->w ? c->h : c->w;
    const int64_t chunks = (c->queries_per_task + width - 1) / width;
    struct bs__attention_layout at = {.words = ((int64_t)c->d + word_values - 1) / word_values};
    at.row = (at.words + lanes - 1) / lanes * lanes;
    at.values = at.keys + c->keys * at.row;
    at.positions = at.values + ((int64_t)c->keys + word_values - 1) / word_values * features;
    at.scores = at.positions + (2 * (int64_t)c->keys + 15) / 16 * 16;
    at.table = at.scores + c->keys * width;
    at.products = at.table + tables * at.row;
    at.chunk = at.products + (c->rel_h ? (2 * longer - 1) * width : 0);
    at.chunk_words = (2 + at.words + c->d + (c->rel_h ? c->h + c->w : 0)) * width;
    at.total = (at.chunk + chunks * at.chunk_words + 15) / 16 * 16;
    return at;
}

/* The same for the gradients: what all queries of a window share, then what belongs to one chunk of `width` queries. */
struct bs__attention_grad_layout {
    struct bs__attention_layout at; /* keys, values, positions, table, products and rows of it */
    int64_t columns;                /* features in whole chunks of vectors: a row of gk and gv */
    int64_t gk, gv, gtable;
    int64_t query, gy;           /* (d, width) */
    int64_t query_rows, gy_rows; /* (columns / width, width of queries, width of features) */
    int64_t gq;                  /* (d rounded up to lanes, width) */
    int64_t rel, grel;           /* (h + w, width) */
    int64_t weights, slopes;     /* (keys, width): P and dS */
    int64_t rows;                /* two rows of features */
    int64_t total;
};

static inline struct bs__attention_grad_layout bs__attention_grad_layout(const struct bs__attention_grad *c,
                                                                         int lanes, int64_t width)
{
    const struct bs__attention *f = &c->forward;
    const int64_t keys = f->h * f->w, features = ((int64_t)f->d + lanes - 1) / lanes * lanes;
    const int64_t tables = f->rel_h ? 2 * f->h - 1 + 2 * f->w - 1 : 0, longer = f->h > f->w ? f->h : f->w;
    struct bs__attention_grad_layout k = {.at = {.words = f->d, .row = features}};
    k.columns = ((int64_t)f->d + width - 1) / width * width;
    k.at.values = k.at.keys + keys * features;
    k.at.positions = k.at.values + keys * features;
    k.at.table = k.at.positions + (2 * keys + 15) / 16 * 16;
    k.at.products = k.at.table + tables * features;
    k.gtable = k.at.products + (f->rel_h ? (2 * longer - 1) * width : 0);
    k.gk = k.gtable + tables * features;
    k.gv = k.gk + keys * k.columns;
    k.query = k.gv + keys * k.columns;
    k.gy = k.query + features * width;
    k.query_rows = k.gy + features * width;
    k.gy_rows = k.query_rows + k.columns * width;
    k.gq = k.gy_rows + k.columns * width;
    k.rel = k.gq + features * width;
    k.grel = k.rel + (f->rel_h ? (f->h + f->w) * width : 0);
    k.weights = k.grel + (f->rel_h ? (f->h + f->w) * width : 0);
    k.slopes = k.weights + c->keys * width;
    k.rows = k.slopes + c->keys * width;
    k.total = (k.rows + 2 * features + 15) / 16 * 16;
    return k;
}

#endif
