/* How a kernel is queued by its name. What queues work is a stream of one device and the kernels of the image loaded there;
   whoever opened the device owns it. Executor thread only. */
#ifndef BS_KERNELS_CUDA_LAUNCH_H
#define BS_KERNELS_CUDA_LAUNCH_H

#include "kernels/base/status.h"

#include <stddef.h>
#include <stdint.h>

struct bs__driver;

/* An address in the device's memory; 0: not given. */
typedef uint64_t bs_address;

enum bs__element { BS__F32, BS__F16, BS__BF16 };
/* "f32", "f16", "bf16": how the names of kernels end. */
const char *bs__element_name(enum bs__element e);
size_t bs__element_bytes(enum bs__element e);

/* What kernels may use of the device; constant while it is open. */
struct bs__cuda_limits {
    int capability; /* 75, 80, ... */
    int multiprocessors;
    size_t shared_block; /* bytes of shared memory that one block may ask for (opt-in) */
};

struct bs__queue;
/* A new stream and the kernels of an image (a fatbin; borrowed during the call) on the device whose context is current to the
   calling thread, which must be so at every later call too. The driver's table is borrowed until the destroy.
   BS_EUNSUPPORTED: the image has no code for this device. */
bs_status bs__queue_create(const struct bs__driver *driver, int device, const void *image,
                           struct bs__queue **queue, struct bs_err *err) BS_NODISCARD;
/* Accepts NULL. Work still queued is done first. */
void bs__queue_destroy(struct bs__queue *q);
const struct bs__driver *bs__queue_driver(const struct bs__queue *q);
/* The stream (a bs__cu_stream, a CUstream): for copies, events, captures and libraries. */
void *bs__queue_stream(const struct bs__queue *q);
/* Waits until all that was queued has run; a device error that came to light is reported, with the kernel queued last. */
bs_status bs__queue_wait(struct bs__queue *q, struct bs_err *err) BS_NODISCARD;
const struct bs__cuda_limits *bs__queue_limits(const struct bs__queue *q);

struct bs__launch {
    const char *kernel; /* as named by BS_KERNEL, without the element type */
    enum bs__element element;
    unsigned grid[3]; /* each at least 1 */
    unsigned threads; /* a block's, a multiple of 32 */
    size_t shared;    /* bytes of dynamic shared memory */
};
/* Queues "kernel_element" with its argument struct, which is copied. BS_EINTERNAL names a kernel that the image has not or
   whose struct has another size; a device error that comes to light here is reported with its name. Returns before it ran. */
bs_status bs__queue_launch(struct bs__queue *q, const struct bs__launch *launch, const void *arguments,
                           size_t bytes, struct bs_err *err) BS_NODISCARD;
/* Queues filling bytes with zero. */
bs_status bs__queue_zero(struct bs__queue *q, bs_address at, size_t bytes, struct bs_err *err) BS_NODISCARD;

#endif
