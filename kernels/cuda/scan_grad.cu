// Gradients of the selective scan (scan_grad.h has the formulas; the layout of a block is that of scan_parts.cuh with runs of 4 tokens).
//
// A forward pass (scan.cu) has left the states before each chunk. A block walks the chunks of its direction from the last to the first;
// in each, for four states at a time, runs are put together in both ways at once: states from the run before, adjoints from the run
// after. Both are linear maps with the same "keep", the run's decay, so one barrier serves both.
//
// What bounds it: instructions. One exponential for each token, feature and state here and one in the forward pass; about 20
// multiplications and multiply-adds beside it; sums over the 8 features of a block cost 7 shuffles for each token and four states.
// Bytes: each block of 8 features leaves its part of gB and gC, 8 bytes for each token and state, which a second kernel adds.
#include "kernels/cuda/scan_grad_parts.cuh"

// A parameter of one feature; 0 where it is not given.
BS_DEVICE float scan_grad_feature(uint64_t parameter, const bs__scan &a, int feature)
{
    return parameter && feature < a.features ? bs_load(bs_at<const float>(parameter), feature) : 0.0f;
}

template <class T>
BS_DEVICE void scan_grad_read(const bs__scan_grad &a, const bs__scan_direction &d, const scan_stretch &at,
                              int begin, int feature, scan_grad_run &r)
{
    const float bias = scan_grad_feature(d.delta_bias, a.forward, feature);
    const bs__scan &f = a.forward;
    BS_UNROLL
    for (int i = 0; i < scan_grad_tokens; i++) {
        r.dt[i] = r.u[i] = r.gs[i] = r.through_b[i] = r.through_decay[i] = 0.0f;
        if (feature >= f.features || begin + i >= at.count)
            continue;
        const int64_t row = at.first + (int64_t)(begin + i) * at.step;
        r.u[i] = bs_load(bs_at<const T>(d.u.at), row * d.u.stride + feature);
        r.gs[i] = f.scale * bs_load(bs_at<const T>(a.gy.at), row * a.gy.stride + feature);
        if (f.z.at)
            r.gs[i] *= bs__scan_gate(bs_load(bs_at<const T>(f.z.at), row * f.z.stride + feature));
        r.dt[i] = bs__scan_dt(bs_load(bs_at<const T>(d.delta.at), row * d.delta.stride + feature), bias,
                              f.softplus);
    }
}

// Chunks are numbered through all segments in the order of the recurrence; the last ones of a segment may have no tokens.
BS_DEVICE int scan_grad_each(const bs__scan_grad &a)
{
    return (int)a.chunks / a.forward.segments;
}
BS_DEVICE scan_stretch scan_grad_stretch(const bs__scan_grad &a, const bs__scan_direction &d, int64_t sample,
                                         int number)
{
    const int k = number / scan_grad_each(a);
    return scan_segment(a.forward, d, sample, d.reverse ? a.forward.segments - 1 - k : k);
}

// The part of one thread in staging a chunk's B and C: half the threads have B of a token, the other half C.
template <class T>
BS_DEVICE bs_float4 scan_grad_fetch(const bs__scan_grad &a, const bs__scan_direction &d, int64_t sample,
                                    int number, int group)
{
    const scan_stretch at = scan_grad_stretch(a, d, sample, number);
    const int chunk = (int)blockDim.x / 2;
    const int position = number % scan_grad_each(a) * chunk + (int)threadIdx.x % chunk;
    bs_float4 none = {{0.0f, 0.0f, 0.0f, 0.0f}};
    if (position >= at.count)
        return none;
    return scan_four<T>((int)threadIdx.x < chunk ? d.b : d.c, at.first + (int64_t)position * at.step,
                        group * scan_group, a.forward.states, d.in_fours);
}

BS_DEVICE void scan_grad_stage(bs_shared<float> stage, const bs_float4 &v)
{
    const int chunk = (int)blockDim.x / 2, token = (int)threadIdx.x % chunk;
    bs_store4(stage,
              token / scan_grad_tokens * scan_grad_staged + token % scan_grad_tokens * scan_group +
                  ((int)threadIdx.x < chunk ? 0 : scan_grad_tokens * scan_group),
              v);
}

// States before and adjoints after each warp: lane l follows feature l / 4 and state l % 4. The first warp hands on to the chunk before.
BS_DEVICE void scan_grad_between_warps(const scan_grad_memory &m, int buffer, bs_shared<float> behind,
                                       bs_shared<float> before, int warp, int lane, float &h, float &handed)
{
    const int base = buffer * m.warps * scan_pairs + lane;
    handed = bs_load(behind, lane);
    for (int w = 0; w < warp; w++)
        h = bs_fma(bs_load(m.keep, base + w * scan_pairs), h, bs_load(m.gain, base + w * scan_pairs));
    for (int w = m.warps - 1; w > warp; w--)
        handed =
            bs_fma(bs_load(m.keep, base + w * scan_pairs), handed, bs_load(m.back, base + w * scan_pairs));
    if (warp == 0)
        bs_store(before, lane, bs_fma(bs_load(m.keep, base), handed, bs_load(m.back, base)));
}

// gu and gdelta of a run; what is added to the features' own sums. Parameters and delta are read again rather than kept in
// registers.
template <class T>
BS_DEVICE void scan_grad_write(const bs__scan_grad &a, const scan_stretch &at, const scan_grad_place &p,
                               int feature, const scan_grad_run &r, float &of_skip, float &of_bias)
{
    const bs__scan_grad_direction &to = a.direction[p.direction];
    const bs__scan_direction &d = a.forward.direction[p.direction];
    const float skip = scan_grad_feature(d.skip, a.forward, feature),
                bias = scan_grad_feature(d.delta_bias, a.forward, feature);
    BS_UNROLL
    for (int i = 0; i < scan_grad_tokens; i++) {
        if (feature >= a.forward.features || p.begin + i >= at.count)
            continue;
        const int64_t row = at.first + (int64_t)(p.begin + i) * at.step;
        const float delta = bs_load(bs_at<const T>(d.delta.at), row * d.delta.stride + feature);
        const float gdelta = bs__scan_dt_slope(delta, bias, a.forward.softplus) *
                             bs_fma(r.u[i], r.through_b[i], r.through_decay[i] * BS_SCAN_LN2);
        of_bias += gdelta;
        of_skip = bs_fma(r.gs[i], r.u[i], of_skip);
        if (to.gdelta.at)
            bs_store(bs_at<T>(to.gdelta.at), row * to.gdelta.stride + feature, gdelta);
        if (to.gu.at)
            bs_store(bs_at<T>(to.gu.at), row * to.gu.stride + feature,
                     bs_fma(skip, r.gs[i], r.dt[i] * r.through_b[i]));
    }
}

// One chunk: all its groups of states.
template <class T>
BS_DEVICE void scan_grad_chunk(const bs__scan_grad &a, const scan_grad_memory &m, const scan_stretch &at,
                               scan_grad_place &p, int64_t sample, int chunk_number, int &step,
                               scan_grad_run &r)
{
    const bs__scan &f = a.forward;
    const bs__scan_direction &d = f.direction[p.direction];
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    const int runs = m.warps * scan_lanes, mine = (warp * scan_lanes + p.run) * scan_grad_staged;
    const int lane_feature = p.block * BS__SCAN_FEATURES + lane / scan_group;
    const bool any = chunk_number % scan_grad_each(a) * ((int)blockDim.x / 2) <
                     at.count; // else the forward pass left nothing
    bs_shared<float> behind = m.carry + chunk_number % 2 * m.groups * scan_pairs,
                     before = m.carry + (chunk_number + 1) % 2 * m.groups * scan_pairs;
    for (p.group = 0; p.group < m.groups; p.group++, step++) {
        const int buffer = step % 2, state = p.group * scan_group + lane % scan_group;
        const bool more = p.group + 1 < m.groups;
        bs_shared<float> weights = m.stage + step % 3 * runs * scan_grad_staged + mine;
        const bs_float4 rate = bs_load4(m.rates, p.group * scan_pairs + p.local * scan_group);
        float decay[scan_grad_tokens][scan_group], keep[scan_group], keep_back[scan_group], gain[scan_group],
            back[scan_group];
        BS_UNROLL
        for (int s = 0; s < scan_group; s++) {
            keep[s] = 1.0f;
            gain[s] = back[s] = 0.0f;
        }
        scan_grad_maps(weights, rate, r, decay, keep, gain, back);
        BS_UNROLL
        for (int s = 0; s < scan_group; s++)
            keep_back[s] = keep[s];
        scan_join_lanes(p.run, keep, gain);
        scan_grad_join_back(p.run, keep_back, back);
        const int to = (buffer * m.warps + warp) * scan_pairs + p.local * scan_group;
        if (p.run == scan_lanes - 1) {
            bs_store4(m.keep, to, {{keep[0], keep[1], keep[2], keep[3]}});
            bs_store4(m.gain, to, {{gain[0], gain[1], gain[2], gain[3]}});
        }
        if (p.run == 0)
            bs_store4(m.back, to, {{back[0], back[1], back[2], back[3]}});
        if (more || chunk_number > 0)
            scan_grad_stage(m.stage + (step + 1) % 3 * runs * scan_grad_staged,
                            scan_grad_fetch<T>(a, d, sample, more ? chunk_number : chunk_number - 1,
                                               more ? p.group + 1 : 0));
        float h = 0.0f, handed_warp;
        if (state < f.states && lane_feature < f.features && any)
            h = bs_load(bs_at<const float>(f.starts), scan_state_at(f, sample, p.direction, (int)a.chunks,
                                                                    chunk_number, lane_feature, state));
        bs_barrier();
        scan_grad_between_warps(m, buffer, behind + p.group * scan_pairs, before + p.group * scan_pairs, warp,
                                lane, h, handed_warp);
        float entry[scan_group], handed[scan_group], rates[scan_group];
        BS_UNROLL
        for (int s = 0; s < scan_group; s++) {
            const float from = bs_lane_of(h, p.local * scan_group + s),
                        behind_warp = bs_lane_of(handed_warp, p.local * scan_group + s);
            const float up = bs_lane_up(bs_fma(keep[s], from, gain[s]), BS__SCAN_FEATURES),
                        down = bs_lane_down(bs_fma(keep_back[s], behind_warp, back[s]), BS__SCAN_FEATURES);
            entry[s] = p.run == 0 ? from : up;
            handed[s] = p.run == scan_lanes - 1 ? behind_warp : down;
            rates[s] = 0.0f;
        }
        scan_grad_finish(a, m, at, p, weights, rate, decay, entry, handed, r, rates);
        BS_UNROLL
        for (int s = 0; s < scan_group; s++)
            BS_UNROLL
        for (int by = BS__SCAN_FEATURES; by < 32; by *= 2)
            rates[s] += bs_lane_across(rates[s], by);
        if (p.run == 0) {
            const int sum = (warp * m.groups + p.group) * scan_pairs + p.local * scan_group;
            const bs_float4 old = bs_load4(m.sums, sum);
            bs_store4(
                m.sums, sum,
                {{old.at[0] + rates[0], old.at[1] + rates[1], old.at[2] + rates[2], old.at[3] + rates[3]}});
        }
    }
}

// Adds over a block what each thread has of its feature; every thread gets the sum of feature threadIdx.x % 8.
BS_DEVICE float scan_grad_block_sum(const scan_grad_memory &m, float v)
{
    BS_UNROLL
    for (int by = BS__SCAN_FEATURES; by < 32; by *= 2)
        v += bs_lane_across(v, by);
    bs_barrier();
    if ((int)threadIdx.x % 32 < BS__SCAN_FEATURES)
        bs_store(m.stage, (int)threadIdx.x / 32 * BS__SCAN_FEATURES + (int)threadIdx.x % 32, v);
    bs_barrier();
    float sum = 0.0f;
    for (int w = 0; w < m.warps; w++)
        sum += bs_load(m.stage, w * BS__SCAN_FEATURES + (int)threadIdx.x % BS__SCAN_FEATURES);
    return sum;
}

// One block: 8 features of one direction (blockIdx.y) of one sample.
template <class T> BS_DEVICE void scan_grad_body(const bs__scan_grad &a)
{
    BS_SHARED_DYNAMIC(float, all);
    const bs__scan &f = a.forward;
    const scan_grad_memory m = scan_grad_carve(f, all);
    const int thread = (int)threadIdx.x;
    scan_grad_place p;
    p.blocks = (f.features + BS__SCAN_FEATURES - 1) / BS__SCAN_FEATURES;
    p.block = (int)blockIdx.x % p.blocks;
    p.direction = (int)blockIdx.y;
    p.run = thread % 32 / BS__SCAN_FEATURES;
    p.local = thread % BS__SCAN_FEATURES;
    const int64_t sample = (int)blockIdx.x / p.blocks;
    const bs__scan_direction &d = f.direction[p.direction];
    const int feature = p.block * BS__SCAN_FEATURES + p.local;
    const bool live = feature < f.features;
    float of_skip = 0.0f, of_bias = 0.0f;
    int step = 0;

    for (int x = thread; x < m.groups * scan_pairs; x += (int)blockDim.x) {
        const int state = x / scan_pairs * scan_group + x % scan_group;
        const int of = p.block * BS__SCAN_FEATURES + x % scan_pairs / scan_group;
        float rate = 0.0f;
        if (state < f.states && of < f.features)
            rate = scan_rate(bs_load(bs_at<const float>(d.a_log), (int64_t)of * f.states + state));
        bs_store(m.rates, x, rate);
        bs_store(m.carry, x, 0.0f);
        bs_store(m.carry, m.groups * scan_pairs + x, 0.0f);
        for (int w = 0; w < m.warps; w++)
            bs_store(m.sums, w * m.groups * scan_pairs + x, 0.0f);
    }
    int number = (int)a.chunks - 1;
    scan_grad_stage(m.stage, scan_grad_fetch<T>(a, d, sample, number, 0));
    bs_barrier();
    for (; number >= 0; number--) {
        const scan_stretch at = scan_grad_stretch(a, d, sample, number);
        scan_grad_run r;
        p.begin = number % scan_grad_each(a) * ((int)blockDim.x / 2) +
                  (thread / 32 * scan_lanes + p.run) * scan_grad_tokens;
        scan_grad_read<T>(a, d, at, p.begin, feature, r);
        scan_grad_chunk<T>(a, m, at, p, sample, number, step, r);
        scan_grad_write<T>(a, scan_grad_stretch(a, d, sample, number), p, feature, r, of_skip, of_bias);
    }
    of_skip = scan_grad_block_sum(m, of_skip);
    of_bias = scan_grad_block_sum(m, of_bias);
    const int64_t one = sample * f.directions + p.direction;
    if (thread < BS__SCAN_FEATURES && live) {
        bs_store(bs_at<float>(a.sums), one * 2 * f.features + feature, of_skip);
        bs_store(bs_at<float>(a.sums), (one * 2 + 1) * f.features + feature, of_bias);
    }
    for (int x = thread; x < m.groups * scan_pairs; x += (int)blockDim.x) {
        const int state = x / scan_pairs * scan_group + x % scan_group;
        const int of = p.block * BS__SCAN_FEATURES + x % scan_pairs / scan_group;
        float sum = 0.0f;
        for (int w = 0; w < m.warps; w++)
            sum += bs_load(m.sums, w * m.groups * scan_pairs + x);
        if (state < f.states && of < f.features)
            bs_store(bs_at<float>(a.rates), (one * f.features + of) * f.states + state, sum);
    }
}

BS_KERNEL(scan_grad_f32, BS__SCAN_GRAD_THREADS, scan_grad_body<bs_f32>, bs__scan_grad)
BS_KERNEL(scan_grad_f16, BS__SCAN_GRAD_THREADS, scan_grad_body<bs_f16>, bs__scan_grad)
BS_KERNEL(scan_grad_bf16, BS__SCAN_GRAD_THREADS, scan_grad_body<bs_bf16>, bs__scan_grad)
