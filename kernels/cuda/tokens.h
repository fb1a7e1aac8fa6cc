/* Small steps on tokens (samples, tokens, features): a token put in, positions added, features turned by rotary embedding.
   Rows with a stride (views.h); parameters are float. The meaning is that of the operators of the same names. */
#ifndef BS_KERNELS_CUDA_TOKENS_H
#define BS_KERNELS_CUDA_TOKENS_H

#include "kernels/cuda/views.h"

struct bs__insert_token {
    struct bs__rows y; /* (samples, tokens + 1, features) */
    struct bs__rows x; /* (samples, tokens, features); not the memory of y */
    bs_address token;  /* (features) float */
    int64_t samples, tokens, features;
    int64_t place; /* the token stands before token `place` of x; `tokens`: at the end */
    /* set by the launch */
    int32_t in_fours;
    struct bs__divisor by_fours, by_tokens;
};
bs_status bs__cuda_insert_token(struct bs__queue *q, enum bs__element e, const struct bs__insert_token *t,
                                struct bs_err *err) BS_NODISCARD;

/* y = x + table, the table the same for every sample; y may be x. A position embedding of another grid is resampled once
   on the host: the reference of BS_OP_ADD_POSITION with zeros (1, tokens, features) for x yields the table. */
struct bs__add_position {
    struct bs__rows y, x; /* (samples, tokens, features) */
    bs_address table;     /* (tokens, features) float */
    int64_t samples, tokens, features;
    /* set by the launch */
    int32_t in_fours;
    struct bs__divisor by_fours, by_tokens;
};
bs_status bs__cuda_add_position(struct bs__queue *q, enum bs__element e, const struct bs__add_position *p,
                                struct bs_err *err) BS_NODISCARD;

/* The last `turned` tokens of each sample are turned, the ones before are copied; y may be x. */
struct bs__rotary {
    struct bs__rows y, x;    /* (samples, tokens, features); an even number of features */
    bs_address cosine, sine; /* (turned, features) float */
    int64_t samples, tokens, features, turned;
    int32_t back; /* the rotation transposed: BS_OP_ROTARY_GRAD */
    /* set by the launch */
    int32_t in_fours;
    struct bs__divisor by_fours, by_tokens;
};
bs_status bs__cuda_rotary(struct bs__queue *q, enum bs__element e, const struct bs__rotary *r,
                          struct bs_err *err) BS_NODISCARD;

#endif
