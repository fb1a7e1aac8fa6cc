// Sums over the lanes of a warp and the threads of a block, in an order that depends on nothing but their number.
#ifndef BS_KERNELS_CUDA_SUMS_CUH
#define BS_KERNELS_CUDA_SUMS_CUH

#include "kernels/cuda/device.cuh"

// The same bits in every lane: each step adds the same two numbers on both sides.
BS_DEVICE float bs_warp_sum(float v)
{
    BS_UNROLL for (int mask = 16; mask > 0; mask /= 2) v += bs_lane_across(v, mask);
    return v;
}

// The same bits in every thread. `room` holds a float per warp; it may be used again after the call.
BS_DEVICE float bs_block_sum(float v, bs_shared<float> room)
{
    const int warps = (int)blockDim.x / 32;
    v = bs_warp_sum(v);
    if (threadIdx.x % 32 == 0)
        bs_store(room, (int)threadIdx.x / 32, v);
    bs_barrier();
    float sum = 0.0f;
    for (int i = 0; i < warps; i++)
        sum += bs_load(room, i);
    bs_barrier();
    return sum;
}

#endif
