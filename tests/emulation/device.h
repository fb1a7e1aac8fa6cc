// What the words of kernels/cuda/device.cuh mean in the emulation: the same source, compiled by the host's C++ compiler, runs
// thread by thread on fibers, and every access to memory is checked (memory.h). Included by device.cuh alone.
#ifndef BS_TESTS_EMULATION_DEVICE_H
#define BS_TESTS_EMULATION_DEVICE_H

#include "tests/emulation/halves.h"

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <type_traits>

namespace bs_emulation
{

struct array; // an allocation, or an array in a block's shared memory

// Where in the source a word stands; told in findings.
struct site {
    const char *file;
    int line;
};

enum class access : uint8_t { read, write, atomic };
enum class shuffle : uint8_t { up, down, across, of };

struct index3 {
    unsigned x, y, z;
};
struct index1 {
    unsigned x;
};

// What the running thread knows of its place. The scheduler changes it at every switch.
struct place {
    index1 thread, block_size;
    index3 block, grid;
};
extern place here;

// Where `bytes` bytes at an offset lie on the host. Does not return when the access is wrong: the launch ends there.
void *reach(array *memory, int64_t offset, unsigned bytes, unsigned alignment, access how, site where);
// The allocation that holds the address (or ends at it); NULL when there is none. *offset is the place in it.
array *find(uint64_t address, int64_t *offset);
array *shared_array(const void *key, const char *name, int64_t count, unsigned element);
array *shared_dynamic(const char *name);
void barrier(site where);
void warp_barrier(site where);
uint64_t exchange(uint64_t value, shuffle how, int lane, site where);
void begin_copy(array *to, int64_t to_offset, array *from, int64_t from_offset, site where);
void commit_copies();
void wait_for_copies(size_t left);
void load_matrices(uint32_t (&word)[4], const void *row, bool transposed, site where);
void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, float (*value)(uint16_t),
                  site where);

// A pointer that knows which array it points into. Space keeps global and shared memory apart.
template <class T, int Space> class pointer
{
  public:
    array *memory = nullptr;
    int64_t offset = 0; // bytes; the address itself where memory is NULL

    pointer() = default;
    pointer(array *m, int64_t o) : memory(m), offset(o)
    {
    }
    template <class U, class = std::enable_if_t<std::is_same_v<T, const U>>>
    pointer(const pointer<U, Space> &p) : memory(p.memory), offset(p.offset)
    {
    }
    pointer operator+(int64_t n) const
    {
        return {memory, offset + n * (int64_t)sizeof(T)};
    }
    pointer operator-(int64_t n) const
    {
        return {memory, offset - n * (int64_t)sizeof(T)};
    }
    pointer &operator+=(int64_t n)
    {
        return *this = *this + n;
    }
    pointer &operator-=(int64_t n)
    {
        return *this = *this - n;
    }
};

// A kernel of the image: what the launch looks up by name.
struct kernel {
    const char *name;
    void (*run)(const void *arguments);
    size_t argument_bytes;
    unsigned threads; // at most, a block
    const char *file;
    kernel *next;
    kernel(const char *name, void (*run)(const void *), size_t bytes, unsigned threads, const char *file);
};

inline float to_float(float v)
{
    return v;
}
template <class T> inline void from_float(T *to, float v);

} // namespace bs_emulation

#define BS_DEVICE static inline __attribute__((unused))
#define BS_UNROLL

#define BS_KERNEL(name, threads, body, arguments)                                                            \
    static void name(const void *a)                                                                          \
    {                                                                                                        \
        body(*static_cast<const arguments *>(a));                                                            \
    }                                                                                                        \
    static const bs_emulation::kernel name##_registered(#name, name, sizeof(arguments), threads, __FILE__);
#define BS_KERNEL_OF(name, threads, blocks, body, arguments)                                                 \
    static_assert((blocks) > 0, "blocks a multiprocessor should hold");                                      \
    BS_KERNEL(name, threads, body, arguments)

#define threadIdx (bs_emulation::here.thread)
#define blockIdx  (bs_emulation::here.block)
#define blockDim  (bs_emulation::here.block_size)
#define gridDim   (bs_emulation::here.grid)

// Element types. The half types have no arithmetic: they are loaded and stored as float.
typedef float bs_f32;
struct bs_f16 {
    uint16_t bits;
};
struct bs_bf16 {
    uint16_t bits;
};

template <class T> using bs_global = bs_emulation::pointer<T, 0>;
template <class T> using bs_shared = bs_emulation::pointer<T, 1>;

template <class T> BS_DEVICE bs_global<T> bs_at(uint64_t address)
{
    int64_t offset = 0;
    bs_emulation::array *memory = bs_emulation::find(address, &offset);
    return {memory, offset};
}

#define BS_SHARED(T, name, count)                                                                            \
    static const char name##_key = 0;                                                                        \
    bs_shared<T> name(bs_emulation::shared_array(&name##_key, #name, count, sizeof(T)), 0)
#define BS_SHARED_DYNAMIC(T, name) bs_shared<T> name(bs_emulation::shared_dynamic(#name), 0)

// The place in the source that calls.
#define BS_EMULATION_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

namespace bs_emulation
{
inline float to_float(bs_f16 v)
{
    return bs_half_to_float(v.bits);
}
inline float to_float(bs_bf16 v)
{
    return bs_bfloat_to_float(v.bits);
}
template <> inline void from_float(float *to, float v)
{
    *to = v;
}
template <> inline void from_float(bs_f16 *to, float v)
{
    to->bits = bs_float_to_half(v);
}
template <> inline void from_float(bs_bf16 *to, float v)
{
    to->bits = bs_float_to_bfloat(v);
}
template <class T>
constexpr bool is_element =
    std::is_same_v<T, bs_f32> || std::is_same_v<T, bs_f16> || std::is_same_v<T, bs_bf16>;
} // namespace bs_emulation

template <class T, int Space>
BS_DEVICE float bs_load(bs_emulation::pointer<T, Space> p, int64_t i, BS_EMULATION_HERE)
{
    typedef std::remove_const_t<T> element;
    static_assert(bs_emulation::is_element<element>, "bs_load reads bs_f32, bs_f16 and bs_bf16");
    element v;
    memcpy(&v,
           bs_emulation::reach(p.memory, (p + i).offset, sizeof v, sizeof v, bs_emulation::access::read,
                               {file, line}),
           sizeof v);
    return bs_emulation::to_float(v);
}
template <class T, int Space>
BS_DEVICE void bs_store(bs_emulation::pointer<T, Space> p, int64_t i, float v, BS_EMULATION_HERE)
{
    static_assert(bs_emulation::is_element<T>, "bs_store writes bs_f32, bs_f16 and bs_bf16");
    T element;
    bs_emulation::from_float(&element, v);
    memcpy(bs_emulation::reach(p.memory, (p + i).offset, sizeof v > sizeof(T) ? sizeof(T) : sizeof v,
                               sizeof(T), bs_emulation::access::write, {file, line}),
           &element, sizeof element);
}
template <class T, int Space>
BS_DEVICE int32_t bs_load_int(bs_emulation::pointer<T, Space> p, int64_t i, BS_EMULATION_HERE)
{
    static_assert(std::is_same_v<std::remove_const_t<T>, int32_t>, "bs_load_int reads int32_t");
    int32_t v;
    memcpy(&v,
           bs_emulation::reach(p.memory, (p + i).offset, sizeof v, sizeof v, bs_emulation::access::read,
                               {file, line}),
           sizeof v);
    return v;
}
template <int Space>
BS_DEVICE void bs_store_int(bs_emulation::pointer<int32_t, Space> p, int64_t i, int32_t v, BS_EMULATION_HERE)
{
    memcpy(bs_emulation::reach(p.memory, (p + i).offset, sizeof v, sizeof v, bs_emulation::access::write,
                               {file, line}),
           &v, sizeof v);
}

template <class T, int Space>
BS_DEVICE bs_float4 bs_load4(bs_emulation::pointer<T, Space> p, int64_t i, BS_EMULATION_HERE)
{
    typedef std::remove_const_t<T> element;
    static_assert(bs_emulation::is_element<element>, "bs_load4 reads bs_f32, bs_f16 and bs_bf16");
    element v[4];
    memcpy(v,
           bs_emulation::reach(p.memory, (p + i).offset, sizeof v, sizeof v, bs_emulation::access::read,
                               {file, line}),
           sizeof v);
    bs_float4 result;
    for (int k = 0; k < 4; k++)
        result.at[k] = bs_emulation::to_float(v[k]);
    return result;
}
template <class T, int Space>
BS_DEVICE void bs_store4(bs_emulation::pointer<T, Space> p, int64_t i, bs_float4 v, BS_EMULATION_HERE)
{
    static_assert(bs_emulation::is_element<T>, "bs_store4 writes bs_f32, bs_f16 and bs_bf16");
    T element[4];
    for (int k = 0; k < 4; k++)
        bs_emulation::from_float(&element[k], v.at[k]);
    memcpy(bs_emulation::reach(p.memory, (p + i).offset, sizeof element, sizeof element,
                               bs_emulation::access::write, {file, line}),
           element, sizeof element);
}

template <int Space>
BS_DEVICE void bs_atomic_add(bs_emulation::pointer<float, Space> p, int64_t i, float v, BS_EMULATION_HERE)
{
    void *at = bs_emulation::reach(p.memory, (p + i).offset, sizeof v, sizeof v, bs_emulation::access::atomic,
                                   {file, line});
    float old;
    memcpy(&old, at, sizeof old);
    old += v;
    memcpy(at, &old, sizeof old);
}

BS_DEVICE void bs_barrier(BS_EMULATION_HERE)
{
    bs_emulation::barrier({file, line});
}
BS_DEVICE void bs_warp_barrier(BS_EMULATION_HERE)
{
    bs_emulation::warp_barrier({file, line});
}

namespace bs_emulation
{
template <class T> inline T exchange_value(T v, shuffle how, int lane, site where)
{
    static_assert(std::is_arithmetic_v<T> && sizeof(T) >= 4, "lanes exchange 4 or 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &v, sizeof v);
    bits = exchange(bits, how, lane, where);
    memcpy(&v, &bits, sizeof v);
    return v;
}
} // namespace bs_emulation

template <class T> BS_DEVICE T bs_lane_up(T v, int by, BS_EMULATION_HERE)
{
    return bs_emulation::exchange_value(v, bs_emulation::shuffle::up, by, {file, line});
}
template <class T> BS_DEVICE T bs_lane_down(T v, int by, BS_EMULATION_HERE)
{
    return bs_emulation::exchange_value(v, bs_emulation::shuffle::down, by, {file, line});
}
template <class T> BS_DEVICE T bs_lane_across(T v, int mask, BS_EMULATION_HERE)
{
    return bs_emulation::exchange_value(v, bs_emulation::shuffle::across, mask, {file, line});
}
template <class T> BS_DEVICE T bs_lane_of(T v, int lane, BS_EMULATION_HERE)
{
    return bs_emulation::exchange_value(v, bs_emulation::shuffle::of, lane, {file, line});
}

// Results that the hardware flushes to zero are flushed here too.
BS_DEVICE float bs_exp2(float x)
{
    float y = exp2f(fabsf(x) < 1.17549435e-38f ? 0.0f : x);
    return fabsf(y) < 1.17549435e-38f ? 0.0f : y;
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
    return 1.0f / sqrtf(x);
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

template <class U, class T, int Space>
BS_DEVICE bs_emulation::pointer<U, Space> bs_view(bs_emulation::pointer<T, Space> p)
{
    return {p.memory, p.offset};
}

template <class T, class From>
BS_DEVICE void bs_copy16(bs_shared<T> to, int64_t i, bs_global<From> from, int64_t j, BS_EMULATION_HERE)
{
    static_assert(std::is_same_v<T, std::remove_const_t<From>>, "bs_copy16 copies elements of one type");
    bs_emulation::begin_copy(to.memory, (to + i).offset, from.memory, (from + j).offset, {file, line});
}
BS_DEVICE void bs_copy_commit()
{
    bs_emulation::commit_copies();
}
template <int left> BS_DEVICE void bs_copy_wait()
{
    bs_emulation::wait_for_copies(left);
}

template <class T> BS_DEVICE uint32_t bs_pack(float low, float high)
{
    T pair[2];
    bs_emulation::from_float(&pair[0], low);
    bs_emulation::from_float(&pair[1], high);
    return (uint32_t)pair[0].bits | (uint32_t)pair[1].bits << 16;
}
template <class T, int Space>
BS_DEVICE void bs_store_pair(bs_emulation::pointer<T, Space> p, int64_t i, uint32_t word, BS_EMULATION_HERE)
{
    static_assert(sizeof(T) == 2, "bs_store_pair writes bs_f16 and bs_bf16");
    memcpy(bs_emulation::reach(p.memory, (p + i).offset, sizeof word, sizeof word,
                               bs_emulation::access::write, {file, line}),
           &word, sizeof word);
}
template <class T>
BS_DEVICE void bs_load_matrices(uint32_t (&word)[4], bs_shared<T> p, int64_t i, BS_EMULATION_HERE)
{
    const void *row =
        bs_emulation::reach(p.memory, (p + i).offset, 16, 16, bs_emulation::access::read, {file, line});
    bs_emulation::load_matrices(word, row, false, {file, line});
}
template <class T>
BS_DEVICE void bs_load_matrices_transposed(uint32_t (&word)[4], bs_shared<T> p, int64_t i, BS_EMULATION_HERE)
{
    const void *row =
        bs_emulation::reach(p.memory, (p + i).offset, 16, 16, bs_emulation::access::read, {file, line});
    bs_emulation::load_matrices(word, row, true, {file, line});
}
template <class T>
BS_DEVICE void bs_multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                               BS_EMULATION_HERE)
{
    bs_emulation::multiply_add(c, a, b0, b1, [](uint16_t bits) { return bs_emulation::to_float(T{bits}); },
                               {file, line});
}

#undef BS_EMULATION_HERE

#endif
