// What the segments of a selective scan do to a state, when different blocks walk them (scan.h): from a state of zero, the state after
// each segment, and the sum of its steps, from which exp2(rate x sum) is what is kept of a state before it. The launch of scan.cu
// that follows folds what lies before each of its segments.
//
// What bounds it: exponentials, one for each token, feature and state of all but the last segments, which are taken again by scan.cu.
// Three multiplications and multiply-adds stand beside each. A thread has one run of tokens of a segment and walks it with 16 states in
// registers; runs are put together once, at the end: each run's state is decayed by the steps of all the runs after it.
#include "kernels/cuda/scan_parts.cuh"

constexpr int scan_ends_groups = 4; // groups of states that a thread walks with
constexpr int scan_ends_ahead = 4;  // tokens whose features are asked for at once
constexpr int scan_ends_states = scan_ends_groups * scan_group;

struct scan_ends_run {
    int begin, end;
};

// The states after a run that begins with zero, for 16 states from `first` on; returns the sum of its steps.
template <class T>
BS_DEVICE float scan_ends_walk(const bs__scan &a, const bs__scan_direction &d, const scan_stretch &at,
                               const scan_ends_run &run, int feature, int first, bs_shared<float> rates,
                               float (&h)[scan_ends_states])
{
    const bool live = feature < a.features;
    const float bias = live && d.delta_bias ? bs_load(bs_at<const float>(d.delta_bias), feature) : 0.0f;
    float steps = 0.0f;
    BS_UNROLL
    for (int s = 0; s < scan_ends_states; s++)
        h[s] = 0.0f;
    for (int begin = run.begin; live && begin < run.end; begin += scan_ends_ahead) {
        float u[scan_ends_ahead], dt[scan_ends_ahead];
        BS_UNROLL
        for (int i = 0; i < scan_ends_ahead; i++) {
            u[i] = dt[i] = 0.0f;
            if (begin + i < run.end) {
                const int64_t row = at.first + (int64_t)(begin + i) * at.step;
                u[i] = bs_load(bs_at<const T>(d.u.at), row * d.u.stride + feature);
                dt[i] = bs_load(bs_at<const T>(d.delta.at), row * d.delta.stride + feature);
            }
        }
        BS_UNROLL
        for (int i = 0; i < scan_ends_ahead; i++) {
            if (begin + i >= run.end)
                break;
            const int64_t row = at.first + (int64_t)(begin + i) * at.step;
            const float step = bs__scan_dt(dt[i], bias, a.softplus), drive = step * u[i];
            steps += step;
            BS_UNROLL
            for (int g = 0; g < scan_ends_groups; g++) {
                const int state = first + g * scan_group;
                if (state >= a.states)
                    break;
                const bs_float4 b = scan_four<T>(d.b, row, state, a.states, d.in_fours);
                const bs_float4 rate =
                    bs_load4(rates, g * scan_pairs + feature % BS__SCAN_FEATURES * scan_group);
                BS_UNROLL
                for (int s = 0; s < scan_group; s++)
                    h[g * scan_group + s] = bs__scan_next(bs__scan_decay(rate.at[s], step),
                                                          h[g * scan_group + s], drive, b.at[s]);
            }
        }
    }
    return steps;
}

// One block: 8 features of one segment of one direction of one sample. Every direction has segments - 1 blocks: what comes last in its
// order is before nothing.
template <class T> BS_DEVICE void scan_ends_body(const bs__scan &a)
{
    BS_SHARED(float, rates, scan_ends_groups *scan_pairs);
    BS_SHARED(float, steps, BS__SCAN_THREADS / 32 * scan_lanes * BS__SCAN_FEATURES);
    BS_SHARED(float, ends, BS__SCAN_THREADS / 32 * scan_ends_groups * scan_pairs);
    const int blocks = (a.features + BS__SCAN_FEATURES - 1) / BS__SCAN_FEATURES;
    const int64_t sample = (int)blockIdx.x / blocks;
    const int first_feature = (int)blockIdx.x % blocks * BS__SCAN_FEATURES;
    const int direction = (int)blockIdx.y / (a.segments - 1);
    const bs__scan_direction &d = a.direction[direction];
    const int segment = (int)blockIdx.y % (a.segments - 1) + (d.reverse ? 1 : 0);
    const scan_stretch at = scan_segment(a, d, sample, segment);
    const int thread = (int)threadIdx.x, warps = (int)blockDim.x / 32, warp = thread / 32, lane = thread % 32;
    const int local = lane % BS__SCAN_FEATURES, run = warp * scan_lanes + lane / BS__SCAN_FEATURES;
    const int feature = first_feature + local, runs = warps * scan_lanes, each = (at.count + runs - 1) / runs;
    scan_ends_run mine;
    mine.begin = run * each < at.count ? run * each : at.count;
    mine.end = mine.begin + each < at.count ? mine.begin + each : at.count;

    for (int first = 0; first < a.states; first += scan_ends_states) {
        for (int x = thread; x < scan_ends_groups * scan_pairs; x += (int)blockDim.x) {
            const int state = first + x / scan_pairs * scan_group + x % scan_group;
            const int of = first_feature + x % scan_pairs / scan_group;
            float rate = 0.0f;
            if (state < a.states && of < a.features)
                rate = scan_rate(bs_load(bs_at<const float>(d.a_log), (int64_t)of * a.states + state));
            bs_store(rates, x, rate);
        }
        bs_barrier();
        float h[scan_ends_states];
        bs_store(steps, run * BS__SCAN_FEATURES + local,
                 scan_ends_walk<T>(a, d, at, mine, feature, first, rates, h));
        bs_barrier();
        float later = 0.0f;
        for (int r = run + 1; r < runs; r++)
            later += bs_load(steps, r * BS__SCAN_FEATURES + local);
        if (run == 0 && first == 0 && feature < a.features)
            bs_store(bs_at<float>(a.steps),
                     ((sample * a.directions + direction) * a.segments + segment) * a.features + feature,
                     bs_load(steps, local) + later);
        BS_UNROLL
        for (int s = 0; s < scan_ends_states; s++) {
            const int x = s / scan_group * scan_pairs + local * scan_group + s % scan_group;
            float end = bs__scan_decay(bs_load(rates, x), later) * h[s];
            BS_UNROLL
            for (int by = BS__SCAN_FEATURES; by < 32; by *= 2)
                end += bs_lane_across(end, by);
            if (lane < BS__SCAN_FEATURES)
                bs_store(ends, warp * scan_ends_groups * scan_pairs + x, end);
        }
        bs_barrier();
        for (int x = thread; x < scan_ends_groups * scan_pairs; x += (int)blockDim.x) {
            const int state = first + x / scan_pairs * scan_group + x % scan_group;
            const int of = first_feature + x % scan_pairs / scan_group;
            float end = 0.0f;
            for (int w = 0; w < warps; w++)
                end += bs_load(ends, w * scan_ends_groups * scan_pairs + x);
            if (state < a.states && of < a.features)
                bs_store(bs_at<float>(a.ends),
                         scan_state_at(a, sample, direction, a.segments, segment, of, state), end);
        }
        // The next group's first barrier stands between these reads of `ends` and its writes.
    }
}

BS_KERNEL(scan_ends_f32, BS__SCAN_THREADS, scan_ends_body<bs_f32>, bs__scan)
BS_KERNEL(scan_ends_f16, BS__SCAN_THREADS, scan_ends_body<bs_f16>, bs__scan)
BS_KERNEL(scan_ends_bf16, BS__SCAN_THREADS, scan_ends_body<bs_bf16>, bs__scan)
