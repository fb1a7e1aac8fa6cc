// Right kernels that use every word of device.cuh: the emulation must find nothing wrong with them, in any order of threads.
#include "kernels/cuda/device.cuh"
#include "tests/emulation/selftest.h"

namespace
{

// to[i] = 2 from[i]
template <class T> BS_DEVICE void twice(const struct selftest_arguments &a)
{
    bs_global<const T> from = bs_at<const T>(a.from);
    bs_global<T> to = bs_at<T>(a.to);
    int64_t step = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < a.count; i += step)
        bs_store(to, i, 2 * bs_load(from, i));
}

// The same by fours; count is a multiple of 4.
template <class T> BS_DEVICE void twice4(const struct selftest_arguments &a)
{
    bs_global<const T> from = bs_at<const T>(a.from);
    bs_global<T> to = bs_at<T>(a.to);
    int64_t i = 4 * ((int64_t)blockIdx.x * blockDim.x + threadIdx.x);
    if (i < a.count) {
        bs_float4 v = bs_load4(from, i);
        BS_UNROLL for (int k = 0; k < 4; k++) v.at[k] *= 2;
        bs_store4(to, i, v);
    }
}

// *to += sum of from, over all blocks: a tree in shared memory, one addition a block.
template <class T> BS_DEVICE void sum(const struct selftest_arguments &a)
{
    BS_SHARED(float, part, 128);
    bs_global<const T> from = bs_at<const T>(a.from);
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    int t = (int)threadIdx.x;
    bs_store(part, t, i < a.count ? bs_load(from, i) : 0);
    bs_barrier();
    for (int half = (int)blockDim.x / 2; half > 0; half /= 2) {
        if (t < half)
            bs_store(part, t, bs_load(part, t) + bs_load(part, t + half));
        bs_barrier();
    }
    if (t == 0)
        bs_atomic_add(bs_at<float>(a.to), 0, bs_load(part, 0));
}

// to[i] = from[0] + ... + from[i] within a block of at most 128: shuffles within warps, then the warps' sums.
BS_DEVICE void scan(const struct selftest_arguments &a)
{
    BS_SHARED_DYNAMIC(float, sums); // one a warp
    bs_global<const bs_f32> from = bs_at<const bs_f32>(a.from);
    int t = (int)threadIdx.x, lane = t % 32, warp = t / 32;
    float v = t < a.count ? bs_load(from, t) : 0;
    for (int by = 1; by < 32; by *= 2) {
        float other = bs_lane_up(v, by);
        if (lane >= by)
            v += other;
    }
    if (lane == 31)
        bs_store(sums, warp, v);
    bs_barrier();
    for (int w = 0; w < warp; w++)
        v += bs_load(sums, w);
    if (t < a.count)
        bs_store(bs_at<bs_f32>(a.to), t, v);
}

// to (columns, count) is from (count, columns) transposed: 32 x 32 tiles, one column of padding.
BS_DEVICE void transpose(const struct selftest_arguments &a)
{
    BS_SHARED(float, tile, 32 * 33);
    int64_t row = 32 * (int64_t)blockIdx.y, column = 32 * (int64_t)blockIdx.x;
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, warps = (int)blockDim.x / 32;
    for (int r = warp; r < 32; r += warps)
        if (row + r < a.count && column + lane < a.columns)
            bs_store(tile, r * 33 + lane,
                     bs_load(bs_at<const bs_f32>(a.from), (row + r) * a.columns + column + lane));
    bs_barrier();
    for (int c = warp; c < 32; c += warps)
        if (row + lane < a.count && column + c < a.columns)
            bs_store(bs_at<bs_f32>(a.to), (column + c) * a.count + row + lane, bs_load(tile, lane * 33 + c));
}

// Each warp turns its 32 values round through shared memory; lanes meet at warp barriers alone. to[i] = from[i ^ 31].
BS_DEVICE void turn(const struct selftest_arguments &a)
{
    BS_SHARED(float, room, 128);
    bs_shared<float> own = room + (threadIdx.x & ~31u);
    int lane = (int)threadIdx.x % 32;
    float v = bs_load(bs_at<const bs_f32>(a.from), threadIdx.x);
    bs_store(own, lane, v);
    bs_warp_barrier();
    v = bs_load(own, 31 - lane);
    bs_warp_barrier();
    bs_store(own, lane, 0); // after all have read
    bs_store(bs_at<bs_f32>(a.to), threadIdx.x, v + bs_lane_across(0.0f, 1) + bs_lane_down(0.0f, 3));
}

// Counts values by their whole part into 8 counters of shared memory, then of to, which starts as zeros.
BS_DEVICE void histogram(const struct selftest_arguments &a)
{
    BS_SHARED(float, bins, 8);
    if (threadIdx.x < 8)
        bs_store(bins, threadIdx.x, 0);
    bs_barrier();
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < a.count;
         i += (int64_t)gridDim.x * blockDim.x)
        bs_atomic_add(bins, (int64_t)bs_load(bs_at<const bs_f32>(a.from), i), 1);
    bs_barrier();
    if (threadIdx.x < 8)
        bs_atomic_add(bs_at<float>(a.to), threadIdx.x, bs_load(bins, threadIdx.x));
}

// to (16 x 8 floats) = x (16 x 16) y (16 x 8), which follow each other in from: one warp, on tensor cores.
template <class T> BS_DEVICE void product(const struct selftest_arguments &a)
{
    BS_SHARED_DYNAMIC(float, room);
    bs_shared<T> x = bs_view<T>(room), y = x + 16 * 16;
    bs_global<const T> from = bs_at<const T>(a.from);
    int lane = (int)threadIdx.x;
    bs_copy16(x, 8 * lane, from, 8 * lane);
    bs_copy_commit();
    if (lane < 16)
        bs_copy16(y, 8 * lane, from, 256 + 8 * lane);
    bs_copy_commit();
    uint32_t left[4], right[4];
    bs_copy_wait<1>();
    bs_barrier();
    bs_load_matrices(left, x, (lane % 16) * 16 + 8 * (lane / 16));
    bs_copy_wait<0>();
    bs_barrier();
    bs_load_matrices_transposed(right, y, lane % 16 * 8);
    float sum[4] = {0, 0, 0, 0};
    bs_multiply_add<T>(sum, left, right[0], right[1]);
    bs_global<float> to = bs_at<float>(a.to);
    int row = lane / 4, column = 2 * (lane % 4);
    for (int k = 0; k < 4; k++)
        bs_store(to, (row + 8 * (k / 2)) * 8 + column + k % 2, sum[k]);
}

// to[2 i], to[2 i + 1] = from[2 i + 1], from[2 i]
template <class T> BS_DEVICE void swap_pairs(const struct selftest_arguments &a)
{
    int64_t i = 2 * ((int64_t)blockIdx.x * blockDim.x + threadIdx.x);
    bs_global<const T> from = bs_at<const T>(a.from);
    if (i + 1 < a.count)
        bs_store_pair(bs_at<T>(a.to), i, bs_pack<T>(bs_load(from, i + 1), bs_load(from, i)));
}

} // namespace

BS_KERNEL(selftest_product_f16, 32, product<bs_f16>, struct selftest_arguments)
BS_KERNEL(selftest_product_bf16, 32, product<bs_bf16>, struct selftest_arguments)
BS_KERNEL(selftest_swap_pairs_f16, 64, swap_pairs<bs_f16>, struct selftest_arguments)
BS_KERNEL(selftest_swap_pairs_bf16, 64, swap_pairs<bs_bf16>, struct selftest_arguments)
BS_KERNEL(selftest_twice_f32, 256, twice<bs_f32>, struct selftest_arguments)
BS_KERNEL(selftest_twice_f16, 256, twice<bs_f16>, struct selftest_arguments)
BS_KERNEL(selftest_twice_bf16, 256, twice<bs_bf16>, struct selftest_arguments)
BS_KERNEL(selftest_twice4_f32, 256, twice4<bs_f32>, struct selftest_arguments)
BS_KERNEL(selftest_twice4_f16, 256, twice4<bs_f16>, struct selftest_arguments)
BS_KERNEL(selftest_twice4_bf16, 256, twice4<bs_bf16>, struct selftest_arguments)
BS_KERNEL_OF(selftest_sum_f32, 128, 4, sum<bs_f32>, struct selftest_arguments)
BS_KERNEL_OF(selftest_sum_f16, 128, 4, sum<bs_f16>, struct selftest_arguments)
BS_KERNEL(selftest_scan_f32, 128, scan, struct selftest_arguments)
BS_KERNEL(selftest_transpose_f32, 256, transpose, struct selftest_arguments)
BS_KERNEL(selftest_turn_f32, 128, turn, struct selftest_arguments)
BS_KERNEL(selftest_histogram_f32, 128, histogram, struct selftest_arguments)
