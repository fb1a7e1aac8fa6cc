// Adds what the blocks of scan_grad.cu have left, in one order: gB and gC over the blocks of features, the gradients of parameters over
// samples. Bytes bound it: every part is read once.
#include "kernels/cuda/scan_parts.cuh"
#include "kernels/cuda/scan_grad.h"

// A thread for four states of one token; blockIdx.y: direction x 2, plus 1 for C.
template <class T> BS_DEVICE void scan_grad_weights_body(const bs__scan_grad &a)
{
    const bs__scan &f = a.forward;
    const int direction = (int)blockIdx.y / 2, of_c = (int)blockIdx.y % 2;
    const bs__rows to = of_c ? a.direction[direction].gc : a.direction[direction].gb;
    const int groups = (f.states + scan_group - 1) / scan_group;
    const int blocks = (f.features + BS__SCAN_FEATURES - 1) / BS__SCAN_FEATURES;
    const int64_t item = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, rows = f.samples * f.length;
    if (!to.at || item >= rows * groups)
        return;
    const int64_t first = (int64_t)blockIdx.y * blocks * rows * groups;
    bs_float4 sum = {{0.0f, 0.0f, 0.0f, 0.0f}};
    for (int block = 0; block < blocks; block++) {
        const bs_float4 part =
            bs_load4(bs_at<const float>(a.weights), (first + block * rows * groups + item) * scan_group);
        BS_UNROLL
        for (int s = 0; s < scan_group; s++)
            sum.at[s] += part.at[s];
    }
    const int64_t row = item / groups;
    const int state = (int)(item % groups) * scan_group;
    BS_UNROLL
    for (int s = 0; s < scan_group; s++)
        if (state + s < f.states)
            bs_store(bs_at<T>(to.at), row * to.stride + state + s, sum.at[s]);
}

// A thread for each (feature, state) and for skip and delta_bias of each feature; blockIdx.y: direction.
BS_DEVICE void scan_grad_params_body(const bs__scan_grad &a)
{
    const bs__scan &f = a.forward;
    const int direction = (int)blockIdx.y;
    const bs__scan_grad_direction &to = a.direction[direction];
    const int64_t item = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, features = f.features,
                  rates = features * f.states;
    if (item >= rates + 2 * features)
        return;
    const bool rate = item < rates;
    const int64_t each = rate ? rates : 2 * features, at = rate ? item : item - rates;
    const uint64_t parts = rate ? a.rates : a.sums;
    const uint64_t out = rate ? to.ga_log : at < features ? to.gskip : to.gdelta_bias;
    if (!out)
        return;
    float sum = 0.0f;
    for (int64_t n = 0; n < f.samples; n++)
        sum += bs_load(bs_at<const float>(parts), (n * f.directions + direction) * each + at);
    if (rate) // by a, and a by a_log: a itself
        sum *= -bs_exp(bs_load(bs_at<const float>(f.direction[direction].a_log), item));
    bs_store(bs_at<float>(out), rate || at < features ? at : at - features, sum);
}

BS_KERNEL(scan_grad_weights_f32, BS__SCAN_GRAD_SUM_THREADS, scan_grad_weights_body<bs_f32>, bs__scan_grad)
BS_KERNEL(scan_grad_weights_f16, BS__SCAN_GRAD_SUM_THREADS, scan_grad_weights_body<bs_f16>, bs__scan_grad)
BS_KERNEL(scan_grad_weights_bf16, BS__SCAN_GRAD_SUM_THREADS, scan_grad_weights_body<bs_bf16>, bs__scan_grad)
BS_KERNEL(scan_grad_params_f32, BS__SCAN_GRAD_SUM_THREADS, scan_grad_params_body, bs__scan_grad)
