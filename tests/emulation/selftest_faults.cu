// Kernels with one planted fault each, which the emulation must find, of the right kind and at the right place. Blocks of 64
// threads; `from` and `to` hold `count` floats.
#include "kernels/cuda/device.cuh"
#include "tests/emulation/selftest.h"

namespace
{

// An array of 64 zeros in shared memory, seen by all.
#define PART                                                                                                 \
    BS_SHARED(float, part, 64);                                                                              \
    bs_store(part, threadIdx.x, 0);                                                                          \
    bs_barrier()
#define FROM     bs_at<const bs_f32>(a.from)
#define TO       bs_at<bs_f32>(a.to)
#define FROM_TOO bs_at<bs_f32>(a.from) // to write where others read

// The neighbour's value is read with no barrier after it was stored.
BS_DEVICE void no_barrier(const struct selftest_arguments &a)
{
    PART;
    bs_store(part, threadIdx.x, 1);
    bs_store(TO, threadIdx.x, bs_load(part, threadIdx.x ^ 32));
}

// A warp barrier does not order two warps.
BS_DEVICE void weak_barrier(const struct selftest_arguments &a)
{
    PART;
    bs_store(part, threadIdx.x, 1);
    bs_warp_barrier();
    bs_store(TO, threadIdx.x, bs_load(part, 63 - threadIdx.x));
}

// A shuffle makes lanes meet, but says nothing of memory.
BS_DEVICE void shuffle_as_barrier(const struct selftest_arguments &a)
{
    PART;
    bs_store(part, threadIdx.x, bs_lane_of(1.0f, 0));
    float v = bs_lane_across(1.0f, 1);
    bs_store(TO, threadIdx.x, v * bs_load(part, threadIdx.x ^ 1));
}

// The second write may come before the neighbour's read.
BS_DEVICE void write_after_read(const struct selftest_arguments &a)
{
    PART;
    bs_store(part, threadIdx.x, 1);
    bs_barrier();
    bs_store(TO, threadIdx.x, bs_load(part, (threadIdx.x + 1) % 64));
    bs_store(part, threadIdx.x, 2);
}

// Global memory needs barriers as well.
BS_DEVICE void no_global_barrier(const struct selftest_arguments &a)
{
    bs_store(TO, threadIdx.x, 1);
    bs_barrier();
    bs_store(TO, threadIdx.x, bs_load(bs_at<const bs_f32>(a.to), threadIdx.x ^ 1));
}

BS_DEVICE void plain_and_atomic(const struct selftest_arguments &a)
{
    if (threadIdx.x == 0)
        bs_store(FROM_TOO, 0, 0);
    bs_atomic_add(FROM_TOO, 0, 1);
}

BS_DEVICE void read_past_end(const struct selftest_arguments &a)
{
    for (int64_t i = threadIdx.x; i <= a.count; i += blockDim.x)
        bs_load(FROM, i);
}

BS_DEVICE void read_before_begin(const struct selftest_arguments &a)
{
    bs_load(FROM, (int64_t)threadIdx.x - 1);
}

BS_DEVICE void write_past_end(const struct selftest_arguments &a)
{
    for (int64_t i = threadIdx.x; i <= a.count; i += blockDim.x)
        bs_store(TO, i, 0);
}

BS_DEVICE void read_half_past_end(const struct selftest_arguments &a)
{
    bs_load4(FROM, a.count / 4 * 4);
}

BS_DEVICE void shared_past_end(const struct selftest_arguments &a)
{
    BS_SHARED(float, part, 64);
    BS_SHARED(float, after, 64);
    bs_store(after, threadIdx.x, 1);
    bs_store(part, threadIdx.x + 1, (float)a.count);
}

BS_DEVICE void shared_read_past_end(const struct selftest_arguments &)
{
    BS_SHARED_DYNAMIC(float, all); // 64 floats
    bs_store(all, threadIdx.x, 1);
    bs_load(all, 64 + (int64_t)threadIdx.x);
}

BS_DEVICE void misaligned(const struct selftest_arguments &a)
{
    if (threadIdx.x == 5)
        bs_store4(TO, 2, bs_load4(FROM, 0));
}

BS_DEVICE void misaligned_element(const struct selftest_arguments &a)
{
    bs_load(bs_at<const bs_f32>(a.from + 2), threadIdx.x);
}

BS_DEVICE void never_written(const struct selftest_arguments &a)
{
    bs_load(bs_at<const bs_f32>(a.to), threadIdx.x);
}

BS_DEVICE void shared_never_written(const struct selftest_arguments &a)
{
    BS_SHARED(float, part, 64);
    if (threadIdx.x != 40)
        bs_store(part, threadIdx.x, 1);
    bs_barrier();
    bs_store(TO, threadIdx.x, bs_load(part, 63 - threadIdx.x));
}

BS_DEVICE void nowhere(const struct selftest_arguments &)
{
    bs_load(bs_at<const bs_f32>(0), threadIdx.x);
}

BS_DEVICE void ends_before_barrier(const struct selftest_arguments &)
{
    if (threadIdx.x == 63)
        return;
    bs_barrier();
}

BS_DEVICE void two_barriers(const struct selftest_arguments &)
{
    if (threadIdx.x < 32)
        bs_barrier();
    else
        bs_barrier();
}

BS_DEVICE void ends_before_warp_barrier(const struct selftest_arguments &)
{
    if (threadIdx.x % 32 < 31)
        bs_warp_barrier();
}

BS_DEVICE void half_shuffles(const struct selftest_arguments &a)
{
    float v = 1;
    if (threadIdx.x % 32 < 16)
        v = bs_lane_across(v, 8);
    bs_store(TO, threadIdx.x, v);
}

BS_DEVICE void two_shuffles(const struct selftest_arguments &a)
{
    float v = 1;
    if (threadIdx.x % 2)
        v = bs_lane_across(v, 8);
    else
        v = bs_lane_across(v, 4);
    bs_store(TO, threadIdx.x, v);
}

// Every block writes the same element.
BS_DEVICE void blocks_write(const struct selftest_arguments &a)
{
    if (threadIdx.x == 0)
        bs_store(TO, 0, (float)blockIdx.x);
}

// A block reads what its neighbour writes.
BS_DEVICE void blocks_read(const struct selftest_arguments &a)
{
    int64_t i = (int64_t)blockIdx.x * 64 + threadIdx.x;
    bs_store(FROM_TOO, i, bs_load(FROM, (i + 64) % a.count));
}

BS_DEVICE void too_much_shared(const struct selftest_arguments &)
{
    BS_SHARED(float, part, 12 * 1024 + 1);
    bs_store(part, threadIdx.x, 0);
}

// A copy is there when it was waited for, and for others after a barrier.
BS_DEVICE void copy_not_waited(const struct selftest_arguments &a)
{
    BS_SHARED(float, part, 256);
    if (threadIdx.x < 16) {
        bs_copy16(part, 4 * (int64_t)threadIdx.x, FROM, 4 * (int64_t)threadIdx.x);
        bs_copy_commit();
    }
    bs_barrier();
    bs_store(TO, threadIdx.x, bs_load(part, threadIdx.x));
}

BS_DEVICE void copy_not_committed(const struct selftest_arguments &a)
{
    BS_SHARED(float, part, 256);
    bs_copy16(part, 4 * (int64_t)threadIdx.x, FROM, 4 * (int64_t)threadIdx.x % 64);
    bs_copy_wait<0>();
    bs_store(TO, threadIdx.x, bs_load(part, 4 * (int64_t)threadIdx.x));
}

BS_DEVICE void copy_of_another(const struct selftest_arguments &a)
{
    BS_SHARED(float, part, 256);
    for (int k = 0; k < 4; k++)
        bs_store(part, threadIdx.x + 64 * k, 0);
    bs_barrier();
    bs_copy16(part, 4 * (int64_t)threadIdx.x, FROM, 4 * (int64_t)threadIdx.x % 64);
    bs_copy_commit();
    bs_copy_wait<0>();
    bs_store(TO, threadIdx.x, bs_load(part, threadIdx.x));
}

// The source changes while the copy is under way.
BS_DEVICE void copy_of_what_changes(const struct selftest_arguments &a)
{
    BS_SHARED(float, part, 256);
    bs_copy16(part, 4 * (int64_t)threadIdx.x, FROM, 4 * (int64_t)threadIdx.x % 64);
    bs_copy_commit();
    bs_barrier();
    bs_store(FROM_TOO, threadIdx.x, 0);
    bs_copy_wait<0>();
}

BS_DEVICE void copy_past_end(const struct selftest_arguments &a)
{
    BS_SHARED(float, part, 256);
    bs_copy16(part, 4 * (int64_t)threadIdx.x, FROM, a.count - 4 + 4 * (int64_t)threadIdx.x);
}

BS_DEVICE void half_the_lanes_load_matrices(const struct selftest_arguments &)
{
    BS_SHARED(float, part, 256);
    uint32_t word[4];
    for (int k = 0; k < 4; k++)
        bs_store(part, threadIdx.x + 64 * k, 0);
    bs_barrier();
    if (threadIdx.x % 2)
        bs_load_matrices(word, bs_view<bs_f16>(part), 8 * (int64_t)threadIdx.x % 256);
}

#define FAULTY(name) BS_KERNEL(fault_##name##_f32, 64, name, struct selftest_arguments)
FAULTY(no_barrier)
FAULTY(weak_barrier)
FAULTY(shuffle_as_barrier)
FAULTY(write_after_read)
FAULTY(no_global_barrier)
FAULTY(plain_and_atomic)
FAULTY(read_past_end)
FAULTY(read_before_begin)
FAULTY(write_past_end)
FAULTY(read_half_past_end)
FAULTY(shared_past_end)
FAULTY(shared_read_past_end)
FAULTY(misaligned)
FAULTY(misaligned_element)
FAULTY(never_written)
FAULTY(shared_never_written)
FAULTY(nowhere)
FAULTY(ends_before_barrier)
FAULTY(two_barriers)
FAULTY(ends_before_warp_barrier)
FAULTY(half_shuffles)
FAULTY(two_shuffles)
FAULTY(blocks_write)
FAULTY(blocks_read)
FAULTY(too_much_shared)
FAULTY(copy_not_waited)
FAULTY(copy_not_committed)
FAULTY(copy_of_another)
FAULTY(copy_of_what_changes)
FAULTY(copy_past_end)
FAULTY(half_the_lanes_load_matrices)

} // namespace
