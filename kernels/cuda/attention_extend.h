/* Attention for a library that knows neither windows nor relative positions: the positions become further dimensions of queries and
   keys, windows become samples. With s = sqrt(features), of query q at (i, j) and key k at (y, x)

     q' = [q, s q . rel_h[i - y' + h - 1] for y' of 0..h-1, s q . rel_w[j - x' + w - 1] for x' of 0..w-1, 0 ...]
     k' = [k, 1 at y, 1 at x, 0 ...]

   so that q' . k' / s is the logit of attention.h, the positions rounded to the element type (attention.cu and attention_half.cu keep
   them as float). Half element types on devices that multiply them on tensor cores. Executor thread only. */
#ifndef BS_KERNELS_CUDA_ATTENTION_EXTEND_H
#define BS_KERNELS_CUDA_ATTENTION_EXTEND_H

#include "kernels/cuda/attention.h"

/* What longer queries and keys look like. */
struct bs__extended_attention {
    int64_t samples; /* windows of all samples */
    int64_t tokens;  /* of one of them */
    int64_t width;   /* of a query and a key: features and positions, filled up to a multiple of 8 */
    bool copied;     /* windows: values lie apart too, and the result comes back from windows */
};

/* Whether these kernels can; *why says what is in the way (static text), NULL when nothing is. Addresses in c count where they are
   given. BS_EINVAL and BS_EUNSUPPORTED as bs__cuda_attention. */
bs_status bs__attention_extended(const struct bs__cuda_attention *c, const struct bs__cuda_limits *limits,
                                 struct bs__extended_attention *out, const char **why,
                                 struct bs_err *err) BS_NODISCARD;

/* Queues writing query and key (samples, tokens, heads, width), and value (samples, tokens, heads, features) where values are
   copied (else 0). All 16-byte aligned. */
bs_status bs__cuda_extend_attention(struct bs__queue *q, const struct bs__cuda_attention *c, bs_address query,
                                    bs_address key, bs_address value, struct bs_err *err) BS_NODISCARD;
/* Queues c->y from a result (samples, tokens, heads, features) of windows. */
bs_status bs__cuda_attention_from_windows(struct bs__queue *q, const struct bs__cuda_attention *c,
                                          bs_address result, struct bs_err *err) BS_NODISCARD;

#endif
