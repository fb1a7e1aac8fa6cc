/* An open GPU: driver, context, the queue of kernels, and what can be said of it. Reference-counted, because weights on the device
   may be let go after the backend closed it: each allocation holds a reference. Executor thread, but for bs__gpu_free and
   bs__gpu_unref, which any thread may call. */
#ifndef BS_KERNELS_CUDA_DEVICE_H
#define BS_KERNELS_CUDA_DEVICE_H

#include "kernels/backend.h"
#include "kernels/cuda/driver.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/libraries.h"

#include <stdatomic.h>

/* What a program has under way on the stream of copies (transfers.c). */
struct bs__gpu_traffic {
    bs__cu_event arrived; /* inputs are in the arena */
    bs__cu_event taken;   /* and the steps have read them */
    bs__cu_event made;    /* outputs are in the arena */
    bs__cu_event fetched; /* and in pinned memory */
    bool ahead;           /* the next run's inputs were sent after `taken` */
    bool left;            /* outputs of the last run are for the next one, or bs__gpu_collect, to hand out */
};

struct bs__gpu {
    struct bs__driver driver;
    bs__cu_device device;
    bs__cu_context context; /* the primary one, which the libraries use too */
    struct bs__queue *queue;
    struct bs__libraries libraries;
    int ordinal;
    bool allow_tf32, allow_winograd;
    char name[64];
    size_t memory;        /* bytes of the device */
    bs__cu_stream copies; /* where inputs come and outputs go, beside the queue's kernels */
    struct bs__gpu_traffic
        *traffic;     /* of the program for which copies may be under way between runs; NULL: none are */
    void *staging;    /* pinned memory that inputs and outputs pass through; grown when needed */
    size_t staged;    /* its bytes */
    atomic_bool lost; /* failed for good */
    atomic_int refs;
};

/* image: the kernels (image.h, or the tests' own). BS_EUNSUPPORTED and BS_ENOTFOUND say in words what is missing. */
bs_status bs__gpu_open(const struct bs_device_options *opt, const void *image, struct bs__gpu **out,
                       struct bs_err *err) BS_NODISCARD;
/* Accepts NULL. */
void bs__gpu_unref(struct bs__gpu *gpu);
void bs__gpu_describe(const struct bs__gpu *gpu, struct bs_device_info *info);

/* Makes the context current to the calling thread. Every call into driver and libraries needs it. */
bs_status bs__gpu_enter(struct bs__gpu *gpu, struct bs_err *err) BS_NODISCARD;
/* Passes rc on and keeps in mind when it says that the device is lost. */
bs_status bs__gpu_note(struct bs__gpu *gpu, bs_status rc);

/* Memory of the device, aligned to 256 bytes. BS_ENOMEM says what was wanted and what is free. `what` is for the message. */
bs_status bs__gpu_alloc(struct bs__gpu *gpu, const char *what, size_t bytes, bs_address *out,
                        struct bs_err *err) BS_NODISCARD;
void bs__gpu_free(struct bs__gpu *gpu, bs_address at);
/* Bytes that are free now, for everybody on this GPU; SIZE_MAX when the driver does not say. */
size_t bs__gpu_free_bytes(struct bs__gpu *gpu);
/* Copies and waits. */
bs_status bs__gpu_upload(struct bs__gpu *gpu, bs_address to, const void *from, size_t bytes,
                         struct bs_err *err) BS_NODISCARD;
/* Waits for copies that are under way between runs; what they brought counts no more. */
void bs__gpu_settle(struct bs__gpu *gpu);
/* Pinned memory of at least so many bytes; the same at every call until a larger one is asked for, which settles. */
bs_status bs__gpu_stage(struct bs__gpu *gpu, size_t bytes, void **out, struct bs_err *err) BS_NODISCARD;

#endif
