// What a thread does with a run of 4 tokens in the backward of the selective scan: the run as maps, once it stands alone and once its
// surroundings are known, and sums over features. scan_grad.cu walks the sequence with these.
#ifndef BS_KERNELS_CUDA_SCAN_GRAD_PARTS_CUH
#define BS_KERNELS_CUDA_SCAN_GRAD_PARTS_CUH

#include "kernels/cuda/scan_grad.h"
#include "kernels/cuda/scan_parts.cuh"

constexpr int scan_grad_tokens = BS__SCAN_GRAD_TOKENS;
constexpr int scan_grad_staged =
    scan_grad_tokens * scan_group * 2 + scan_group; // floats of a run; B, C, and room between banks

// Shared memory, in floats; scan_grad.c: shared_bytes.
struct scan_grad_memory {
    bs_shared<float> rates,
        carry;             // (groups, 8 features, 4 states); what is handed to the chunk before, twice
    bs_shared<float> sums; // of the gradient of a: (warps, groups, 8 features, 4 states)
    bs_shared<float> keep, gain, back; // of each warp, twice
    bs_shared<float> stage; // B and C of a group, three times: they are read on both sides of a barrier
    int groups, warps;
};

BS_DEVICE scan_grad_memory scan_grad_carve(const bs__scan &a, bs_shared<float> all)
{
    scan_grad_memory m;
    m.groups = (a.states + scan_group - 1) / scan_group;
    m.warps = (int)blockDim.x / 32;
    m.rates = all;
    m.carry = m.rates + m.groups * scan_pairs;
    m.sums = m.carry + 2 * m.groups * scan_pairs;
    m.keep = m.sums + m.warps * m.groups * scan_pairs;
    m.gain = m.keep + 2 * m.warps * scan_pairs;
    m.back = m.gain + 2 * m.warps * scan_pairs;
    m.stage = m.back + 2 * m.warps * scan_pairs;
    return m;
}

// What a thread knows of its tokens, and the two sums over states that become gradients of u and of dt.
struct scan_grad_run {
    float dt[scan_grad_tokens], u[scan_grad_tokens], gs[scan_grad_tokens];
    float through_b[scan_grad_tokens];     // sum over states of B g
    float through_decay[scan_grad_tokens]; // sum over states of rate e h_{t-1} g
};

// A run as maps, each from zero: state h -> keep h + gain, and what it hands to the token before it, m -> keep m + back.
BS_DEVICE void scan_grad_maps(bs_shared<float> weights, const bs_float4 &rate, const scan_grad_run &r,
                              float (&decay)[scan_grad_tokens][scan_group], float (&keep)[scan_group],
                              float (&gain)[scan_group], float (&back)[scan_group])
{
    BS_UNROLL
    for (int i = 0; i < scan_grad_tokens; i++) {
        const bs_float4 b = bs_load4(weights, i * scan_group);
        BS_UNROLL
        for (int s = 0; s < scan_group; s++) {
            decay[i][s] = bs__scan_decay(rate.at[s], r.dt[i]);
            gain[s] = bs__scan_next(decay[i][s], gain[s], r.dt[i] * r.u[i], b.at[s]);
            keep[s] *= decay[i][s];
        }
    }
    BS_UNROLL
    for (int i = scan_grad_tokens - 1; i >= 0; i--) {
        const bs_float4 c = bs_load4(weights, (scan_grad_tokens + i) * scan_group);
        BS_UNROLL
        for (int s = 0; s < scan_group; s++)
            back[s] = decay[i][s] * bs_fma(c.at[s], r.gs[i], back[s]);
    }
}

// The runs of the lanes after, put behind each lane's own: scan_join_lanes the other way.
BS_DEVICE void scan_grad_join_back(int run, float (&keep)[scan_group], float (&back)[scan_group])
{
    BS_UNROLL
    for (int by = 1; by < scan_lanes; by *= 2)
        BS_UNROLL
    for (int s = 0; s < scan_group; s++) {
        const float k = bs_lane_down(keep[s], by * BS__SCAN_FEATURES),
                    b = bs_lane_down(back[s], by * BS__SCAN_FEATURES);
        if (run + by < scan_lanes) {
            back[s] = bs_fma(keep[s], b, back[s]);
            keep[s] *= k;
        }
    }
}

// Adds eight values over the eight features of a warp's run, each lane ending with one of them: of B for lanes with bit 4 clear,
// else of C; state = lane % 4.
BS_DEVICE float scan_grad_over_features(int local, const float (&of_b)[scan_group],
                                        const float (&of_c)[scan_group])
{
    float four[4], two[2];
    const bool c = (local & 4) != 0, high = (local & 2) != 0, odd = (local & 1) != 0;
    BS_UNROLL
    for (int s = 0; s < 4; s++)
        four[s] = (c ? of_c[s] : of_b[s]) + bs_lane_across(c ? of_b[s] : of_c[s], 4);
    BS_UNROLL
    for (int s = 0; s < 2; s++)
        two[s] = (high ? four[s + 2] : four[s]) + bs_lane_across(high ? four[s] : four[s + 2], 2);
    return (odd ? two[1] : two[0]) + bs_lane_across(odd ? two[0] : two[1], 1);
}

// Where the part of gB or gC of a token lies that a block of features leaves.
BS_DEVICE int64_t scan_grad_weight_at(const bs__scan_grad &a, int direction, int of_c, int block, int blocks,
                                      int64_t row, int groups)
{
    return ((int64_t)((direction * 2 + of_c) * blocks + block) * a.forward.samples * a.forward.length + row) *
           (groups * scan_group);
}

// Where a thread is in a walk.
struct scan_grad_place {
    int block, blocks;
    int direction, begin, run, local, group;
};

// The run again with the state before it and what is handed to it from behind; returns in `rates` the run's part of the gradient of a
// (in units of the rate's logarithm base).
BS_DEVICE void scan_grad_finish(const bs__scan_grad &a, const scan_grad_memory &m, const scan_stretch &at,
                                const scan_grad_place &p, bs_shared<float> weights, const bs_float4 &rate,
                                const float (&decay)[scan_grad_tokens][scan_group],
                                const float (&entry)[scan_group], float (&handed)[scan_group],
                                scan_grad_run &r, float (&rates)[scan_group])
{
    float past[scan_grad_tokens][scan_group], h[scan_group];
    BS_UNROLL
    for (int s = 0; s < scan_group; s++)
        h[s] = entry[s];
    BS_UNROLL
    for (int i = 0; i < scan_grad_tokens; i++) {
        const bs_float4 b = bs_load4(weights, i * scan_group);
        BS_UNROLL
        for (int s = 0; s < scan_group; s++) {
            past[i][s] = decay[i][s] * h[s];
            h[s] = bs_fma(r.dt[i] * r.u[i], b.at[s], past[i][s]);
        }
    }
    BS_UNROLL
    for (int i = scan_grad_tokens - 1; i >= 0; i--) {
        const bs_float4 b = bs_load4(weights, i * scan_group),
                        c = bs_load4(weights, (scan_grad_tokens + i) * scan_group);
        const float drive = r.dt[i] * r.u[i];
        float of_b[scan_group], of_c[scan_group];
        BS_UNROLL
        for (int s = 0; s < scan_group; s++) {
            const float g = bs_fma(c.at[s], r.gs[i], handed[s]), decayed = past[i][s] * g;
            r.through_b[i] = bs_fma(b.at[s], g, r.through_b[i]);
            r.through_decay[i] = bs_fma(rate.at[s], decayed, r.through_decay[i]);
            rates[s] = bs_fma(r.dt[i], decayed, rates[s]);
            of_b[s] = drive * g;
            of_c[s] = r.gs[i] * bs_fma(drive, b.at[s], past[i][s]);
            handed[s] = decay[i][s] * g;
        }
        if (a.direction[p.direction].gb.at || a.direction[p.direction].gc.at) {
            const float sum = scan_grad_over_features(p.local, of_b, of_c);
            const int of = p.local / scan_group;
            if (p.begin + i < at.count &&
                (of ? a.direction[p.direction].gc.at : a.direction[p.direction].gb.at))
                bs_store(bs_at<float>(a.weights),
                         scan_grad_weight_at(a, p.direction, of, p.block, p.blocks,
                                             at.first + (int64_t)(p.begin + i) * at.step, m.groups) +
                             p.group * scan_group + p.local % scan_group,
                         sum);
        }
    }
}

#endif
