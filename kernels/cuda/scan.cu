// The selective scan, forward (scan.h; the formula is kernels/ops/scan_step.h, the layout of a block scan_parts.cuh).
//
// What bounds it: one exponential for each token, feature, state and direction (16 a clock and multiprocessor). Beside it stand,
// for each, 7 multiplications and multiply-adds here: exponent, drive, state, decay since the run began, that times C, the sum of
// h C, and what the state before the run adds. Putting runs together costs about 2 more, loads and stores 1, softplus 1. Bytes are
// few beside that (docs/performance.md has the sums).
//
// A thread takes its 8 tokens for four states at a time: first from a state of zero, keeping q = C x (decay since the run began) for
// each token and state in registers; then runs are put together, by shuffles within a warp and through shared memory between
// warps; at last the state before the run is known and y += q h. So an exponential is taken once and B and C are read once, from
// shared memory, where each thread puts one token of the next group while the block works on this one. Weights and what warps
// tell each other are double-buffered: one barrier for a group.
#include "kernels/cuda/scan_parts.cuh"

// Shared memory, in floats: rates and the states at both ends of the chunk, (groups, 8 features, 4 states) each; keep and gain of
// each warp, twice; staged weights, twice. scan.c: shared_floats.
struct scan_memory {
    bs_shared<float> rates, carry, keep, gain, stage;
    int groups, warps;
};

BS_DEVICE scan_memory scan_carve(const bs__scan &a, bs_shared<float> all)
{
    scan_memory m;
    m.groups = (a.states + scan_group - 1) / scan_group;
    m.warps = (int)blockDim.x / 32;
    m.rates = all;
    m.carry = m.rates + m.groups * scan_pairs;
    m.keep = m.carry + 2 * m.groups * scan_pairs;
    m.gain = m.keep + 2 * m.warps * scan_pairs;
    m.stage = m.gain + 2 * m.warps * scan_pairs;
    return m;
}

struct scan_job {
    int64_t sample;
    int first_feature;
    int direction;
    int segment;
    bool fold;   // segments before this one left their ends
    bool add;    // the other direction's part waits in y
    bool finish; // gate and scale
    bool save;   // leave the end
};

// Rates, and the state before the segment: what each segment before it adds, decayed by those after that.
BS_DEVICE void scan_begin(const bs__scan &a, const scan_memory &m, const scan_job &job,
                          const scan_stretch &at)
{
    const bs__scan_direction &d = a.direction[job.direction];
    for (int x = (int)threadIdx.x; x < m.groups * scan_pairs; x += (int)blockDim.x) {
        const int state = x / scan_pairs * scan_group + x % scan_group;
        const int feature = job.first_feature + x % scan_pairs / scan_group;
        float rate = 0.0f, h = 0.0f;
        if (state < a.states && feature < a.features) {
            rate = scan_rate(bs_load(bs_at<const float>(d.a_log), (int64_t)feature * a.states + state));
            for (int i = 0; job.fold && i < at.order; i++) {
                const int k = d.reverse ? a.segments - 1 - i : i;
                float end = bs_load(bs_at<const float>(a.ends), scan_state_at(a, job.sample, job.direction,
                                                                              a.segments, k, feature, state));
                float decay = 0.0f;
                if (i > 0)
                    decay = bs__scan_decay(
                        rate,
                        bs_load(bs_at<const float>(a.steps),
                                ((job.sample * a.directions + job.direction) * a.segments + k) * a.features +
                                    feature));
                h = i > 0 ? bs_fma(decay, h, end) : end;
            }
        }
        bs_store(m.rates, x, rate);
        bs_store(m.carry, x, h);
    }
}

// Step widths and drives of a run, and the first term of its result.
template <class T>
BS_DEVICE void scan_steps(const bs__scan &a, const bs__scan_direction &d, const scan_stretch &at, int begin,
                          int feature, float (&dt)[scan_tokens], float (&drive)[scan_tokens],
                          float (&y)[scan_tokens])
{
    const bool live = feature < a.features;
    const float bias = live && d.delta_bias ? bs_load(bs_at<const float>(d.delta_bias), feature) : 0.0f;
    const float skip = live && d.skip ? bs_load(bs_at<const float>(d.skip), feature) : 0.0f;
    float u[scan_tokens];
    BS_UNROLL
    for (int i = 0; i < scan_tokens; i++) {
        u[i] = dt[i] = 0.0f;
        if (live && begin + i < at.count) {
            const int64_t row = at.first + (int64_t)(begin + i) * at.step;
            u[i] = bs_load(bs_at<const T>(d.u.at), row * d.u.stride + feature);
            dt[i] = bs_load(bs_at<const T>(d.delta.at), row * d.delta.stride + feature);
        }
    }
    BS_UNROLL
    for (int i = 0; i < scan_tokens; i++) {
        dt[i] = live && begin + i < at.count ? bs__scan_dt(dt[i], bias, a.softplus) : 0.0f;
        drive[i] = dt[i] * u[i];
        y[i] = skip * u[i];
    }
}

// One group of four states over a run that begins with a state of zero: `keep` and `gain` of the run, q, and y grows.
BS_DEVICE void scan_run(bs_shared<float> weights, const bs_float4 &rate, const float (&dt)[scan_tokens],
                        const float (&drive)[scan_tokens], float (&keep)[scan_group],
                        float (&gain)[scan_group], float (&q)[scan_tokens][scan_group],
                        float (&y)[scan_tokens])
{
    BS_UNROLL
    for (int i = 0; i < scan_tokens; i++) {
        const bs_float4 b = bs_load4(weights, i * scan_group),
                        c = bs_load4(weights, (scan_tokens + i) * scan_group);
        BS_UNROLL
        for (int s = 0; s < scan_group; s++) {
            const float decay = bs__scan_decay(rate.at[s], dt[i]);
            gain[s] = bs__scan_next(decay, gain[s], drive[i], b.at[s]);
            keep[s] *= decay;
            y[i] = bs_fma(c.at[s], gain[s], y[i]);
            q[i][s] = c.at[s] * keep[s];
        }
    }
}

// Writes a run's results: the first direction's part, or the sum, gated. In a backward's forward pass (gy given) what goes out
// at the end is the gradient of the gate instead.
template <class T>
BS_DEVICE void scan_write(const bs__scan &a, const scan_job &job, const scan_stretch &at, int begin,
                          int feature, const float (&y)[scan_tokens])
{
    if (feature >= a.features || !a.y.at)
        return;
    BS_UNROLL
    for (int i = 0; i < scan_tokens; i++) {
        if (begin + i >= at.count)
            continue;
        const int64_t row = at.first + (int64_t)(begin + i) * at.step, to = row * a.y.stride + feature;
        float sum = y[i];
        if (job.add)
            sum += bs_load(bs_at<T>(a.y.at), to);
        if (job.finish) {
            sum *= a.scale;
            if (a.gy.at)
                sum *= bs_load(bs_at<const T>(a.gy.at), row * a.gy.stride + feature) *
                       bs__scan_gate_slope(bs_load(bs_at<const T>(a.z.at), row * a.z.stride + feature));
            else if (a.z.at)
                sum *= bs__scan_gate(bs_load(bs_at<const T>(a.z.at), row * a.z.stride + feature));
        }
        bs_store(bs_at<T>(a.y.at), to, sum);
    }
}

// What goes on between the warps of a block in a group: every warp's runs as one map, then the state before each warp. Lane l
// follows feature l / 4 and state l % 4; the last warp also finds the state after the chunk.
BS_DEVICE float scan_before_warp(const scan_memory &m, int buffer, bs_shared<float> before,
                                 bs_shared<float> after, bool last_warp, int warp, int lane, float *end)
{
    bs_shared<float> keep = m.keep + buffer * m.warps * scan_pairs,
                     gain = m.gain + buffer * m.warps * scan_pairs;
    float h = bs_load(before, lane);
    for (int w = 0; w < warp; w++)
        h = bs_fma(bs_load(keep, w * scan_pairs + lane), h, bs_load(gain, w * scan_pairs + lane));
    if (last_warp) {
        *end = bs_fma(bs_load(keep, warp * scan_pairs + lane), h, bs_load(gain, warp * scan_pairs + lane));
        bs_store(after, lane, *end);
    }
    return h;
}

template <class T> BS_DEVICE void scan_walk(const bs__scan &a, const scan_memory &m, const scan_job &job)
{
    const bs__scan_direction &d = a.direction[job.direction];
    const scan_stretch at = scan_segment(a, d, job.sample, job.segment);
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    const int run = lane / BS__SCAN_FEATURES, local = lane % BS__SCAN_FEATURES;
    const int feature = job.first_feature + local, chunk = (int)blockDim.x;
    const int chunks = (at.count + chunk - 1) / chunk;
    const int stage = m.warps * scan_lanes * scan_staged_run;
    const int lane_feature = job.first_feature + lane / scan_group; // of what lane l follows between warps
    int buffer = 0;

    scan_begin(a, m, job, at);
    scan_stage(m.stage, (int)threadIdx.x, scan_fetch<T>(a, d, at, (int)threadIdx.x, 0));
    bs_barrier();
    for (int c = 0; c < chunks; c++) {
        const int begin = c * chunk + (warp * scan_lanes + run) * scan_tokens;
        const bool busy = c * chunk + warp * scan_lanes * scan_tokens < at.count; // has this warp any token?
        bs_shared<float> before = m.carry + c % 2 * m.groups * scan_pairs,
                         after = m.carry + (c + 1) % 2 * m.groups * scan_pairs;
        float dt[scan_tokens], drive[scan_tokens], y[scan_tokens];
        scan_steps<T>(a, d, at, begin, feature, dt, drive, y);
        for (int g = 0; g < m.groups; g++, buffer ^= 1) {
            float keep[scan_group] = {1.0f, 1.0f, 1.0f, 1.0f}, gain[scan_group] = {0.0f, 0.0f, 0.0f, 0.0f};
            float q[scan_tokens][scan_group];
            if (busy) {
                scan_run(m.stage + buffer * stage + (warp * scan_lanes + run) * scan_staged_run,
                         bs_load4(m.rates, g * scan_pairs + local * scan_group), dt, drive, keep, gain, q, y);
                scan_join_lanes(run, keep, gain);
            }
            const bool next_chunk = g + 1 == m.groups;
            const scan_weights next =
                scan_fetch<T>(a, d, at, (c + next_chunk) * chunk + (int)threadIdx.x, next_chunk ? 0 : g + 1);
            if (run == scan_lanes - 1) {
                const int to = (buffer * m.warps + warp) * scan_pairs + local * scan_group;
                bs_store4(m.keep, to, {{keep[0], keep[1], keep[2], keep[3]}});
                bs_store4(m.gain, to, {{gain[0], gain[1], gain[2], gain[3]}});
            }
            scan_stage(m.stage + (buffer ^ 1) * stage, (int)threadIdx.x, next);
            bs_barrier();
            const int state = g * scan_group + lane % scan_group;
            const bool kept = state < a.states && lane_feature < a.features;
            float end = 0.0f;
            const float h = scan_before_warp(m, buffer, before + g * scan_pairs, after + g * scan_pairs,
                                             warp == m.warps - 1, warp, lane, &end);
            if (warp == 0 && a.starts && kept) {
                const int each = (int)((a.segment + chunk - 1) / chunk);
                bs_store(bs_at<float>(a.starts),
                         scan_state_at(a, job.sample, job.direction, a.segments * each, at.order * each + c,
                                       lane_feature, state),
                         h);
            }
            if (warp == m.warps - 1 && job.save && c + 1 == chunks && kept)
                bs_store(
                    bs_at<float>(a.ends),
                    scan_state_at(a, job.sample, job.direction, a.segments, job.segment, lane_feature, state),
                    end);
            if (busy) {
                BS_UNROLL
                for (int s = 0; s < scan_group; s++) {
                    const float warps = bs_lane_of(h, local * scan_group + s);
                    const float lanes = bs_lane_up(bs_fma(keep[s], warps, gain[s]), BS__SCAN_FEATURES);
                    const float entry = run == 0 ? warps : lanes;
                    BS_UNROLL
                    for (int i = 0; i < scan_tokens; i++)
                        y[i] = bs_fma(q[i][s], entry, y[i]);
                }
            }
        }
        scan_write<T>(a, job, at, begin, feature, y);
    }
    bs_barrier(); // the next direction begins with new rates and weights
}

// One block: 8 features of one sample; blockIdx.y is the direction in a turn of a pair, else the segment.
template <class T> BS_DEVICE void scan_body(const bs__scan &a)
{
    BS_SHARED_DYNAMIC(float, all);
    const scan_memory m = scan_carve(a, all);
    const int blocks = (a.features + BS__SCAN_FEATURES - 1) / BS__SCAN_FEATURES;
    scan_job job;
    job.sample = (int)blockIdx.x / blocks;
    job.first_feature = (int)blockIdx.x % blocks * BS__SCAN_FEATURES;
    const bool turns = a.turn >= 0;
    const int end = turns ? (int)blockIdx.y + 1 : a.directions;
    for (job.direction = turns ? (int)blockIdx.y : 0; job.direction < end; job.direction++) {
        const bool second = turns ? a.turn == 1 : job.direction > 0;
        job.segment = turns ? a.turn ^ (a.direction[job.direction].reverse ? 1 : 0) : (int)blockIdx.y;
        job.fold = !turns || second;
        job.add = second;
        job.finish = turns ? second : job.direction == a.directions - 1;
        job.save = turns && !second;
        scan_walk<T>(a, m, job);
    }
}

BS_KERNEL(scan_f32, BS__SCAN_THREADS, scan_body<bs_f32>, bs__scan)
BS_KERNEL(scan_f16, BS__SCAN_THREADS, scan_body<bs_f16>, bs__scan)
BS_KERNEL(scan_bf16, BS__SCAN_THREADS, scan_body<bs_bf16>, bs__scan)
