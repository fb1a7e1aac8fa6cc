// What the kernels of the selective scan share: the formula of scan_step.h in float, where a block's features and tokens lie, and how
// runs of tokens are put together to longer ones.
//
// A block has 8 features. A warp is 8 features x 4 runs: lane l has feature l % 8 and run l / 8 of the warp; a run is 8 tokens one
// after another in the order of the recurrence. So 8 lanes read 32 bytes of a float row, and a block of W warps walks the sequence
// in chunks of 32 W tokens. States are taken four at a time, a "group".
#ifndef BS_KERNELS_CUDA_SCAN_PARTS_CUH
#define BS_KERNELS_CUDA_SCAN_PARTS_CUH

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/scan.h"

#define BS_SCAN_LOG2E 1.44269504088896341f
#define BS_SCAN_LN2   0.69314718055994531f

// log(1 + exp(v)) = max(v, 0) + log1p(w), w = exp(-|v|) in [0, 1], without a case distinction and without cancellation: log1p(w) / w
// is a polynomial of degree 8 (minimax of the relative error on [0, 1], 3.3e-8). The rounding of v log2(e) is made good, so that
// very negative v keep their last places too. A NaN stays: max() drops it, w does not.
BS_DEVICE float scan_softplus(float v)
{
    float away = -bs_max(v, -v), power = away * BS_SCAN_LOG2E, lost = bs_fma(away, BS_SCAN_LOG2E, -power);
    float w = bs_exp2(power);
    w = bs_fma(w, lost * BS_SCAN_LN2, w);
    float p = 0.005364826415f;
    p = bs_fma(p, w, -0.03006579913f);
    p = bs_fma(p, w, 0.07920454443f);
    p = bs_fma(p, w, -0.1375380307f);
    p = bs_fma(p, w, 0.1915365607f);
    p = bs_fma(p, w, -0.2485716343f);
    p = bs_fma(p, w, 0.3332132399f);
    p = bs_fma(p, w, -0.4999964833f);
    p = bs_fma(p, w, 1.0f);
    return bs_fma(p, w, bs_max(v, 0.0f));
}

#define BS_SCAN_REAL     float
#define BS_SCAN_EXP(x)   bs_exp2((x)*BS_SCAN_LOG2E)
#define BS_SCAN_LOG1P    bs_log1p
#define BS_SCAN_SOFTPLUS scan_softplus
#define BS_SCAN_DECAY    bs_exp2 // rates are multiplied by log2(e)
#define BS_SCAN_FN       BS_DEVICE
#include "kernels/ops/scan_step.h"

constexpr int scan_group = 4;                              // states at a time
constexpr int scan_lanes = 32 / BS__SCAN_FEATURES;         // runs of a warp
constexpr int scan_pairs = BS__SCAN_FEATURES * scan_group; // (feature, state) of a group: one for each lane
constexpr int scan_tokens = BS__SCAN_TOKENS;               // of a run
constexpr int scan_staged_run =
    scan_tokens * scan_group * 2 + scan_group; // floats; the last four keep runs in different banks

// -exp(a_log) log2(e); finite, so that steps of no width keep what there is.
BS_DEVICE float scan_rate(float a_log)
{
    float rate = -bs_exp(a_log) * BS_SCAN_LOG2E;
    return rate < -3.0e38f ? -3.0e38f : rate;
}

// Some tokens of one direction in the order of its recurrence: position i is row first + i step.
struct scan_stretch {
    int64_t first;
    int step, count;
    int order; // which segment it is in that order
};

BS_DEVICE scan_stretch scan_segment(const bs__scan &a, const bs__scan_direction &d, int64_t sample, int k)
{
    scan_stretch s;
    int64_t begin = k * a.segment;
    s.count = (int)(a.length - begin < a.segment ? a.length - begin : a.segment);
    s.step = d.reverse ? -1 : 1;
    s.first = sample * a.length + begin + (d.reverse ? s.count - 1 : 0);
    s.order = d.reverse ? a.segments - 1 - k : k;
    return s;
}

// Four states of B and C of one token, zero where there are none.
struct scan_weights {
    bs_float4 b, c;
};

template <class T>
BS_DEVICE bs_float4 scan_four(const bs__rows &rows, int64_t row, int first, int states, int in_fours)
{
    bs_global<const T> p = bs_at<const T>(rows.at) + row * rows.stride;
    if (in_fours)
        return bs_load4(p, first);
    bs_float4 v;
    BS_UNROLL
    for (int s = 0; s < scan_group; s++)
        v.at[s] = first + s < states ? bs_load(p, first + s) : 0.0f;
    return v;
}

template <class T>
BS_DEVICE scan_weights scan_fetch(const bs__scan &a, const bs__scan_direction &d, const scan_stretch &at,
                                  int position, int group)
{
    scan_weights w;
    BS_UNROLL
    for (int s = 0; s < scan_group; s++)
        w.b.at[s] = w.c.at[s] = 0.0f;
    if (position < at.count) {
        const int64_t row = at.first + (int64_t)position * at.step;
        w.b = scan_four<T>(d.b, row, group * scan_group, a.states, d.in_fours);
        w.c = scan_four<T>(d.c, row, group * scan_group, a.states, d.in_fours);
    }
    return w;
}

// Where a token of the chunk lies in the staged weights: each run has its B, then its C.
BS_DEVICE void scan_stage(bs_shared<float> stage, int token, const scan_weights &w)
{
    const int at = token / scan_tokens * scan_staged_run + token % scan_tokens * scan_group;
    bs_store4(stage, at, w.b);
    bs_store4(stage, at + scan_tokens * scan_group, w.c);
}

// Runs of tokens as the linear maps h -> keep h + gain: puts the runs of the lanes before (in recurrence order) in front of each
// lane's own.
BS_DEVICE void scan_join_lanes(int run, float (&keep)[scan_group], float (&gain)[scan_group])
{
    BS_UNROLL
    for (int by = 1; by < scan_lanes; by *= 2)
        BS_UNROLL
    for (int s = 0; s < scan_group; s++) {
        float k = bs_lane_up(keep[s], by * BS__SCAN_FEATURES),
              g = bs_lane_up(gain[s], by * BS__SCAN_FEATURES);
        if (run >= by) {
            gain[s] = bs_fma(keep[s], g, gain[s]);
            keep[s] *= k;
        }
    }
}

// Where the state of (sample, direction, piece, feature, state) lies among `pieces` of each direction.
BS_DEVICE int64_t scan_state_at(const bs__scan &a, int64_t sample, int direction, int pieces, int piece,
                                int feature, int state)
{
    return (((sample * a.directions + direction) * pieces + piece) * a.features + feature) * a.states + state;
}

#endif
