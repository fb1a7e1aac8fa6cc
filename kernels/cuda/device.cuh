// The words that kernels are written in. nvcc sees CUDA's own; the host emulation of the tests (-DBS_EMULATION='"header"')
// gives each word a meaning that checks: bounds, alignment, races between threads, missing barriers, values never written.
// Besides these a kernel uses threadIdx.x, blockIdx.{x,y,z}, blockDim.x, gridDim.{x,y,z} and plain C++17 on its own variables.
#ifndef BS_KERNELS_CUDA_DEVICE_CUH
#define BS_KERNELS_CUDA_DEVICE_CUH

#include <stdint.h>

// Four neighbouring elements as float; loaded and stored at once, the first at a multiple of four elements from an
// address aligned for that (16 bytes for float, 8 for the half types).
struct bs_float4 {
    float at[4];
};

#ifdef BS_EMULATION
#include BS_EMULATION
#else

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#define BS_DEVICE static __device__ __forceinline__
// Ends the loops that must be unrolled for their arrays to stay in registers: BS_UNROLL for (...)
#define BS_UNROLL _Pragma("unroll")

// BS_KERNEL(scan_f32, 256, scan_body<bs_f32>, struct bs__scan_arguments): a kernel of at most 256 threads a block that calls
// scan_body<bs_f32>(arguments). BS_KERNEL_OF names the blocks a multiprocessor should hold at least, which bounds registers.
#define BS_KERNEL(name, threads, body, arguments)                                                            \
    extern "C" __global__ void __launch_bounds__(threads) name(const __grid_constant__ arguments a)          \
    {                                                                                                        \
        body(a);                                                                                             \
    }
#define BS_KERNEL_OF(name, threads, blocks, body, arguments)                                                 \
    extern "C" __global__ void __launch_bounds__(threads, blocks) name(const __grid_constant__ arguments a)  \
    {                                                                                                        \
        body(a);                                                                                             \
    }

typedef float bs_f32;
typedef __half bs_f16;
typedef __nv_bfloat16 bs_bf16;

// Global memory at an address from the arguments; bs_global<const T> is read only. An address of 0 means "not given":
// ask the argument, not the pointer. Pointers take + and - of element counts.
template <class T> using bs_global = T *;
template <class T> BS_DEVICE bs_global<T> bs_at(uint64_t address)
{
    return reinterpret_cast<T *>(address);
}

// Shared memory of a block: an array of `count` elements, a constant (BS_SHARED), or all that the launch asked for, once
// in a kernel (BS_SHARED_DYNAMIC; 16-byte aligned). bs_shared<T> is what a function takes.
template <class T> using bs_shared = T *;
#define BS_SHARED(T, name, count) __shared__ T name[count]
#define BS_SHARED_DYNAMIC(T, name)                                                                           \
    extern __shared__ __align__(16) unsigned char name##_bytes[];                                            \
    T *name = reinterpret_cast<T *>(name##_bytes)

// One element as float, from and to global or shared memory of any element type; stores round to nearest even.
BS_DEVICE float bs_load(const bs_f32 *p, int64_t i)
{
    return p[i];
}
BS_DEVICE float bs_load(const bs_f16 *p, int64_t i)
{
    return __half2float(p[i]);
}
BS_DEVICE float bs_load(const bs_bf16 *p, int64_t i)
{
    return __bfloat162float(p[i]);
}
BS_DEVICE void bs_store(bs_f32 *p, int64_t i, float v)
{
    p[i] = v;
}
BS_DEVICE void bs_store(bs_f16 *p, int64_t i, float v)
{
    p[i] = __float2half_rn(v);
}
BS_DEVICE void bs_store(bs_bf16 *p, int64_t i, float v)
{
    p[i] = __float2bfloat16_rn(v);
}
// Integers (indices, counters) in global or shared memory.
BS_DEVICE int32_t bs_load_int(const int32_t *p, int64_t i)
{
    return p[i];
}
BS_DEVICE void bs_store_int(int32_t *p, int64_t i, int32_t v)
{
    p[i] = v;
}

BS_DEVICE bs_float4 bs_load4(const bs_f32 *p, int64_t i)
{
    float4 v = *reinterpret_cast<const float4 *>(p + i);
    return {{v.x, v.y, v.z, v.w}};
}
BS_DEVICE bs_float4 bs_load4(const bs_f16 *p, int64_t i)
{
    uint2 raw = *reinterpret_cast<const uint2 *>(p + i);
    float2 a = __half22float2(*reinterpret_cast<const __half2 *>(&raw.x)),
           b = __half22float2(*reinterpret_cast<const __half2 *>(&raw.y));
    return {{a.x, a.y, b.x, b.y}};
}
BS_DEVICE bs_float4 bs_load4(const bs_bf16 *p, int64_t i)
{
    uint2 raw = *reinterpret_cast<const uint2 *>(p + i);
    float2 a = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162 *>(&raw.x)),
           b = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162 *>(&raw.y));
    return {{a.x, a.y, b.x, b.y}};
}
BS_DEVICE void bs_store4(bs_f32 *p, int64_t i, bs_float4 v)
{
    *reinterpret_cast<float4 *>(p + i) = make_float4(v.at[0], v.at[1], v.at[2], v.at[3]);
}
BS_DEVICE void bs_store4(bs_f16 *p, int64_t i, bs_float4 v)
{
    __half2 a = __floats2half2_rn(v.at[0], v.at[1]), b = __floats2half2_rn(v.at[2], v.at[3]);
    uint2 raw = make_uint2(*reinterpret_cast<unsigned *>(&a), *reinterpret_cast<unsigned *>(&b));
    *reinterpret_cast<uint2 *>(p + i) = raw;
}
BS_DEVICE void bs_store4(bs_bf16 *p, int64_t i, bs_float4 v)
{
    __nv_bfloat162 a = __floats2bfloat162_rn(v.at[0], v.at[1]), b = __floats2bfloat162_rn(v.at[2], v.at[3]);
    uint2 raw = make_uint2(*reinterpret_cast<unsigned *>(&a), *reinterpret_cast<unsigned *>(&b));
    *reinterpret_cast<uint2 *>(p + i) = raw;
}

// Adds to one float of global or shared memory; threads may add to the same one, in any order.
BS_DEVICE void bs_atomic_add(float *p, int64_t i, float v)
{
    atomicAdd(p + i, v);
}

// All threads of the block wait here; what they wrote to shared and global memory before is seen by all of them after.
BS_DEVICE void bs_barrier()
{
    __syncthreads();
}
// The same for the 32 lanes of a warp.
BS_DEVICE void bs_warp_barrier()
{
    __syncwarp();
}

// The value of another lane of the warp; all 32 lanes call. up: lane - by, down: lane + by (the lane's own value where there
// is none), across: lane ^ mask, of: lane `lane`.
template <class T> BS_DEVICE T bs_lane_up(T v, int by)
{
    return __shfl_up_sync(0xffffffffu, v, (unsigned)by);
}
template <class T> BS_DEVICE T bs_lane_down(T v, int by)
{
    return __shfl_down_sync(0xffffffffu, v, (unsigned)by);
}
template <class T> BS_DEVICE T bs_lane_across(T v, int mask)
{
    return __shfl_xor_sync(0xffffffffu, v, mask);
}
template <class T> BS_DEVICE T bs_lane_of(T v, int lane)
{
    return __shfl_sync(0xffffffffu, v, lane);
}

// Fast functions. bs_exp2 is the hardware's (2 ulp); bs_exp, bs_log1p, bs_erf are within 3 ulp of the exact value.
BS_DEVICE float bs_exp2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
BS_DEVICE float bs_exp(float x)
{
    return expf(x);
}
BS_DEVICE float bs_log1p(float x)
{
    return log1pf(x);
}
BS_DEVICE float bs_erf(float x)
{
    return erff(x);
}
BS_DEVICE float bs_rsqrt(float x)
{
    return rsqrtf(x);
}
BS_DEVICE float bs_fma(float a, float b, float c)
{
    return fmaf(a, b, c);
}
BS_DEVICE float bs_max(float a, float b)
{
    return fmaxf(a, b);
}
BS_DEVICE float bs_min(float a, float b)
{
    return fminf(a, b);
}

#endif

#endif
