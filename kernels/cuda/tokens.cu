// Bound by memory; a thread takes four features of a token. Tables are float and the same for every sample, so that all but
// the first sample find them in the cache.
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/tokens.h"

namespace bs_tokens
{

// The four features that a thread has of (samples, tokens, features).
struct place {
    uint32_t row;   // among samples * tokens
    uint32_t token; // in its sample
    uint32_t sample;
    int64_t feature, left;
    bool is;
};
BS_DEVICE place place_of(int64_t rows, int64_t features, const struct bs__divisor &by_fours,
                         const struct bs__divisor &by_tokens)
{
    const uint32_t item = bs_item(1, 0);
    const bs_quotient row = bs_divide(item, by_fours), sample = bs_divide(row.whole, by_tokens);
    const int64_t feature = 4 * (int64_t)row.rest;
    return {row.whole, sample.rest, sample.whole, feature, features - feature, row.whole < (uint32_t)rows};
}

template <class T, bool FOURS> BS_DEVICE void insert_of(const struct bs__insert_token &t)
{
    const place at = place_of(t.samples * (t.tokens + 1), t.features, t.by_fours, t.by_tokens);
    if (!at.is)
        return;
    bs_float4 v;
    if (at.token == t.place) {
        v = bs_load_some<FOURS>(bs_at<const float>(t.token), at.feature, at.left);
    } else {
        const int64_t row = (int64_t)at.row - at.sample - (at.token > t.place);
        v = bs_load_some<FOURS>(bs_at<const T>(t.x.at), row * t.x.stride + at.feature, at.left);
    }
    bs_store_some<FOURS>(bs_at<T>(t.y.at), at.row * t.y.stride + at.feature, at.left, v);
}
template <class T> BS_DEVICE void insert_token(const struct bs__insert_token &t)
{
    if (t.in_fours)
        insert_of<T, true>(t);
    else
        insert_of<T, false>(t);
}

template <class T, bool FOURS> BS_DEVICE void position_of(const struct bs__add_position &p)
{
    const place at = place_of(p.samples * p.tokens, p.features, p.by_fours, p.by_tokens);
    if (!at.is)
        return;
    bs_float4 v = bs_load_some<FOURS>(bs_at<const T>(p.x.at), at.row * p.x.stride + at.feature, at.left);
    const bs_float4 add =
        bs_load_some<FOURS>(bs_at<const float>(p.table), at.token * p.features + at.feature, at.left);
    BS_UNROLL for (int k = 0; k < 4; k++) v.at[k] += add.at[k];
    bs_store_some<FOURS>(bs_at<T>(p.y.at), at.row * p.y.stride + at.feature, at.left, v);
}
template <class T> BS_DEVICE void add_position(const struct bs__add_position &p)
{
    if (p.in_fours)
        position_of<T, true>(p);
    else
        position_of<T, false>(p);
}

// A number of features is even: a thread has two pairs, or one at the end of a row.
template <class T, bool FOURS> BS_DEVICE void rotary_of(const struct bs__rotary &r)
{
    const place at = place_of(r.samples * r.tokens, r.features, r.by_fours, r.by_tokens);
    if (!at.is)
        return;
    bs_float4 v = bs_load_some<FOURS>(bs_at<const T>(r.x.at), at.row * r.x.stride + at.feature, at.left);
    const int64_t angle = at.token - (r.tokens - r.turned);
    if (angle >= 0) {
        const int64_t table = angle * r.features + at.feature;
        const bs_float4 cosine = bs_load_some<FOURS>(bs_at<const float>(r.cosine), table, at.left),
                        sine = bs_load_some<FOURS>(bs_at<const float>(r.sine), table, at.left);
        BS_UNROLL for (int k = 0; k < 4; k += 2)
        {
            const float even = v.at[k], odd = v.at[k + 1];
            const float of_odd = r.back ? sine.at[k + 1] : -sine.at[k],
                        of_even = r.back ? -sine.at[k] : sine.at[k + 1];
            v.at[k] = bs_fma(even, cosine.at[k], odd * of_odd);
            v.at[k + 1] = bs_fma(odd, cosine.at[k + 1], even * of_even);
        }
    }
    bs_store_some<FOURS>(bs_at<T>(r.y.at), at.row * r.y.stride + at.feature, at.left, v);
}
template <class T> BS_DEVICE void rotary(const struct bs__rotary &r)
{
    if (r.in_fours)
        rotary_of<T, true>(r);
    else
        rotary_of<T, false>(r);
}

#define KERNELS(type)                                                                                        \
    BS_KERNEL(insert_token_##type, BS__ITEM_THREADS, insert_token<bs_##type>, struct bs__insert_token)       \
    BS_KERNEL(add_position_##type, BS__ITEM_THREADS, add_position<bs_##type>, struct bs__add_position)       \
    BS_KERNEL(rotary_##type, BS__ITEM_THREADS, rotary<bs_##type>, struct bs__rotary)

KERNELS(f32)
KERNELS(f16)
KERNELS(bf16)

#undef KERNELS
} // namespace bs_tokens
