/* Inputs of one attention on the host and on the device, for the tests of attention and of its gradients. */
#ifndef BS_TESTS_UNIT_CUDA_ATTENTION_CASE_H
#define BS_TESTS_UNIT_CUDA_ATTENTION_CASE_H

#include "kernels/cuda/attention.h"
#include "kernels/op.h"
#include "tests/unit/cuda/cuda_support.h"

#include <stdio.h>
#include <stdlib.h>

struct attention_case {
    int64_t samples, grid_h, grid_w;
    int heads, features, window;
    bool pad;
    int64_t rows_h, rows_w; /* of the tables; 0: none, -1: as many as the side needs */
    float largest;          /* values of q, k and the tables; 0: 1 */
};

struct attention_inputs {
    struct bs_attr attr;
    struct bs_tensor
        tensor[4]; /* qkv, pad, rel_h, rel_w, as stored on the device; the tables are the given ones */
    int count;
    size_t tokens, width;           /* of all samples; features of all heads */
    struct bs__cuda_attention call; /* with the arrays on the device but y and lse */
};

static inline float *attention_values(size_t count)
{
    float *v = malloc(count * sizeof *v);
    if (!v)
        cuda_fail(__FILE__, __LINE__, "out of memory");
    return v;
}

/* A table of (rows, features) and its resampled form on the device. Half types are rounded after resampling, so that only tables
   of the right length are exact in them. */
static inline bs_address attention_table(struct cuda_test *t, enum bs__element e, struct bs_tensor *table,
                                         int64_t rows, int64_t side, int features, float largest,
                                         uint64_t seed)
{
    const int64_t wanted = 2 * side - 1;
    rows = rows < 0 ? wanted : rows;
    float *given = attention_values((size_t)(rows * features)),
          *to = attention_values((size_t)(wanted * features));
    cuda_fill(given, (size_t)(rows * features), seed, -largest, largest);
    cuda_round(e, given, (size_t)(rows * features));
    bs__cuda_attention_table(given, rows, features, side, to);
    *table = (struct bs_tensor){BS_F32, BS_SHAPE(rows, features), given};
    const bs_address at = cuda_put(t, e, to, (size_t)(wanted * features));
    free(to);
    return at;
}

static inline struct attention_inputs attention_inputs(struct cuda_test *t, enum bs__element e,
                                                       const struct attention_case *c)
{
    const float largest = c->largest > 0 ? c->largest : 1;
    const int64_t tokens = c->grid_h * c->grid_w, width = (int64_t)c->heads * c->features;
    struct attention_inputs in = {
        .attr = {.out_h = c->grid_h, .out_w = c->grid_w, .heads = c->heads, .kernel = c->window},
        .count = 1,
        .tokens = (size_t)(c->samples * tokens),
        .width = (size_t)width};
    const size_t values = in.tokens * 3 * in.width;
    float *qkv = attention_values(values), *pad = attention_values(3 * in.width);
    cuda_fill(qkv, values, 11, -largest, largest);
    cuda_fill(pad, 3 * in.width, 12, -largest, largest);
    for (size_t i = 0; i < values; i++) /* values stay small, so that errors of weights show */
        if (i / in.width % 3 == 2)
            qkv[i] /= largest;
    for (size_t i = 2 * in.width; i < 3 * in.width; i++)
        pad[i] /= largest;
    for (size_t i = 0; !c->pad && i < 3 * in.width; i++)
        pad[i] = 0;
    cuda_round(e, qkv, values);
    cuda_round(e, pad, 3 * in.width);
    in.tensor[0] = (struct bs_tensor){BS_F32, BS_SHAPE(c->samples, tokens, 3 * width), qkv};
    in.tensor[1] = (struct bs_tensor){BS_F32, BS_SHAPE(3 * width), pad};
    in.call = (struct bs__cuda_attention){.element = e,
                                          .samples = c->samples,
                                          .grid_h = c->grid_h,
                                          .grid_w = c->grid_w,
                                          .heads = c->heads,
                                          .features = c->features,
                                          .window = c->window,
                                          .qkv = cuda_put(t, e, qkv, values),
                                          .pad = c->pad ? cuda_put(t, e, pad, 3 * in.width) : 0};
    in.count = 2;
    if (c->rows_h) {
        const int64_t h = c->window ? c->window : c->grid_h, w = c->window ? c->window : c->grid_w;
        in.call.rel_h = attention_table(t, e, &in.tensor[2], c->rows_h, h, c->features, largest, 13);
        in.call.rel_w = attention_table(t, e, &in.tensor[3], c->rows_w, w, c->features, largest, 14);
        in.count = 4;
    }
    return in;
}

static inline void attention_inputs_free(struct attention_inputs *in)
{
    for (int i = 0; i < in->count; i++)
        free(in->tensor[i].data);
}

static inline void attention_say(enum bs__element e, const struct attention_case *c)
{
    printf("%s: %lld samples of %lld x %lld, %d heads of %d, window %d%s, tables %lld %lld\n",
           bs__element_name(e), (long long)c->samples, (long long)c->grid_h, (long long)c->grid_w, c->heads,
           c->features, c->window, c->pad ? ", pad" : "", (long long)c->rows_h, (long long)c->rows_w);
}

#endif
