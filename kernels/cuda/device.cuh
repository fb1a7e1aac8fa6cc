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
// The same shared memory as elements of another type.
template <class U, class T> BS_DEVICE U *bs_view(T *p)
{
    return reinterpret_cast<U *>(p);
}

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

// Fast functions. bs_exp2 is the hardware's (2 ulp); bs_exp, bs_log, bs_log1p, bs_erf are within 3 ulp of the exact value.
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
BS_DEVICE float bs_log(float x)
{
    return logf(x);
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

// Copies 16 bytes (4 floats, 8 half elements) from global to shared memory, both at a multiple of 16 bytes, beside what the
// thread does next. bs_copy_commit ends a group of copies; bs_copy_wait<left>() waits until at most the `left` latest groups are
// under way. Then the thread itself sees what it copied; others do after the barrier that follows.
template <class T> BS_DEVICE void bs_copy16(T *to, int64_t i, const T *from, int64_t j)
{
#if __CUDA_ARCH__ >= 800
    asm volatile(
        "cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((unsigned)__cvta_generic_to_shared(to + i)),
        "l"(__cvta_generic_to_global(from + j))
        : "memory");
#else
    *reinterpret_cast<uint4 *>(to + i) = *reinterpret_cast<const uint4 *>(from + j);
#endif
}
BS_DEVICE void bs_copy_commit()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
template <int left> BS_DEVICE void bs_copy_wait()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(left) : "memory");
#endif
}

// Tensor cores; all 32 lanes call. A word (uint32_t) holds two neighbouring elements of T (bs_f16 or bs_bf16), the first in its
// low half. Lane l has row l / 4 and pair l % 4 of an 8 x 8 matrix.
template <class T> BS_DEVICE uint32_t bs_pack(float low, float high);
template <> __device__ __forceinline__ uint32_t bs_pack<bs_f16>(float low, float high)
{
    __half2 v = __floats2half2_rn(low, high);
    return *reinterpret_cast<uint32_t *>(&v);
}
template <> __device__ __forceinline__ uint32_t bs_pack<bs_bf16>(float low, float high)
{
    __nv_bfloat162 v = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<uint32_t *>(&v);
}
// Two elements at once, the first at an even index of an address aligned for that.
template <class T> BS_DEVICE void bs_store_pair(T *p, int64_t i, uint32_t word)
{
    *reinterpret_cast<uint32_t *>(p + i) = word;
}
// Four 8 x 8 matrices from shared memory: p is where row l % 8 of matrix l / 8 lies (8 elements, 16-byte aligned), and word[m]
// becomes the lane's pair of matrix m: elements (l / 4, 2 (l % 4)) and the one right of it. Transposed: elements
// (2 (l % 4), l / 4) and the one below.
template <class T> BS_DEVICE void bs_load_matrices(uint32_t (&word)[4], const T *p, int64_t i)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(word[0]), "=r"(word[1]), "=r"(word[2]), "=r"(word[3])
                 : "r"((unsigned)__cvta_generic_to_shared(p + i))
                 : "memory");
}
template <class T> BS_DEVICE void bs_load_matrices_transposed(uint32_t (&word)[4], const T *p, int64_t i)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(word[0]), "=r"(word[1]), "=r"(word[2]), "=r"(word[3])
                 : "r"((unsigned)__cvta_generic_to_shared(p + i))
                 : "memory");
}
// c (16 x 8) += a (16 x 16) b (16 x 8). a: pairs of the quarters (rows 0-7, k 0-7), (rows 8-15, k 0-7), (rows 0-7, k 8-15),
// (rows 8-15, k 8-15). b: pairs along k, of column l / 4: k 0-7, k 8-15. c: columns 2 (l % 4) and the next of row l / 4, then of
// row l / 4 + 8. sm_75 cannot multiply bf16: a kernel that does stops there.
template <class T>
BS_DEVICE void bs_multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
template <>
__device__ __forceinline__ void bs_multiply_add<bs_f16>(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                                        uint32_t b1)
{
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(b0));
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[2]), "r"(a[3]), "r"(b1));
#endif
}
template <>
__device__ __forceinline__ void bs_multiply_add<bs_bf16>(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                                         uint32_t b1)
{
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    __trap();
#endif
}

#endif

#endif
