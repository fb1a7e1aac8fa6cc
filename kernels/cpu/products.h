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

#endif
