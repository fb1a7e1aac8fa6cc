/* See device.h. */
#include "kernels/cuda/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STAGING_STEP ((size_t)1 << 20)
/* What arenas leave of the memory that is free: libraries and the driver allocate for themselves when they first run. */
#define RESERVE ((size_t)256 << 20)

/* Releases what is there; the device may be half open. */
static void destroy(struct bs__gpu *gpu)
{
    if (gpu->context) {
        (void)gpu->driver.context_set(gpu->context);
        bs__libraries_close(&gpu->libraries);
        if (gpu->copies)
            (void)gpu->driver.stream_destroy(gpu->copies);
        bs__queue_destroy(gpu->queue);
        if (gpu->staging)
            (void)gpu->driver.host_free(gpu->staging);
        (void)gpu->driver.context_set(NULL);
        (void)gpu->driver.context_release(gpu->device);
    }
    bs__driver_close(&gpu->driver);
    free(gpu);
}

static bs_status find_device(struct bs__gpu *gpu, struct bs_err *err)
{
    const struct bs__driver *d = &gpu->driver;
    int count = 0;
    bs_status rc = bs__driver_check(d, d->device_count(&count), err, "cannot count the GPUs");
    if (rc != BS_OK)
        return rc;
    if (gpu->ordinal < 0 || gpu->ordinal >= count)
        return BS_FAIL(err, BS_ENOTFOUND,
                       "there is no GPU %d; the NVIDIA driver shows %d (CUDA_VISIBLE_DEVICES may hide some)",
                       gpu->ordinal, count);
    if ((rc = bs__driver_check(d, d->device_get(&gpu->device, gpu->ordinal), err, "cannot find GPU %d",
                               gpu->ordinal)) != BS_OK ||
        (rc = bs__driver_check(d, d->device_name(gpu->name, (int)sizeof gpu->name, gpu->device), err,
                               "cannot ask GPU %d for its name", gpu->ordinal)) != BS_OK ||
        (rc = bs__driver_check(d, d->device_memory(&gpu->memory, gpu->device), err,
                               "cannot ask GPU %d for its memory", gpu->ordinal)) != BS_OK)
        return rc;
    gpu->name[sizeof gpu->name - 1] = '\0';
    rc = bs__driver_check(d, d->context_retain(&gpu->context, gpu->device), err, "cannot open GPU %d (%s)",
                          gpu->ordinal, gpu->name);
    if (rc != BS_OK)
        gpu->context = NULL;
    return rc;
}

bs_status bs__gpu_open(const struct bs_device_options *opt, const void *image, struct bs__gpu **out,
                       struct bs_err *err)
{
    bs_status rc;
    struct bs__gpu *gpu = calloc(1, sizeof *gpu);
    *out = NULL;
    if (!gpu)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the GPU device");
    atomic_init(&gpu->refs, 1);
    atomic_init(&gpu->lost, false);
    gpu->ordinal = opt->ordinal;
    gpu->allow_tf32 = opt->allow_tf32;
    gpu->allow_winograd = opt->allow_winograd;
    if ((rc = bs__driver_open(NULL, &gpu->driver, err)) != BS_OK || (rc = find_device(gpu, err)) != BS_OK ||
        (rc = bs__gpu_enter(gpu, err)) != BS_OK ||
        (rc = bs__queue_create(&gpu->driver, gpu->device, image, &gpu->queue, err)) != BS_OK)
        goto cleanup;
    if (bs__queue_limits(gpu->queue)->capability < 75) {
        rc = BS_FAIL(err, BS_EUNSUPPORTED,
                     "GPU %d (%s) has compute capability %d.%d; 7.5 (Turing) or newer is needed",
                     gpu->ordinal, gpu->name, bs__queue_limits(gpu->queue)->capability / 10,
                     bs__queue_limits(gpu->queue)->capability % 10);
        goto cleanup;
    }
    if ((rc = bs__driver_check(&gpu->driver,
                               gpu->driver.stream_create(&gpu->copies, BS__CU_STREAM_NON_BLOCKING), err,
                               "cannot make a stream for copies on GPU %d", gpu->ordinal)) != BS_OK) {
        gpu->copies = NULL;
        goto cleanup;
    }
    bs__libraries_open(&gpu->libraries, bs__queue_stream(gpu->queue));
    *out = gpu;
    gpu = NULL;
cleanup:
    bs__gpu_unref(gpu);
    return rc;
}

void bs__gpu_unref(struct bs__gpu *gpu)
{
    if (gpu && atomic_fetch_sub_explicit(&gpu->refs, 1, memory_order_acq_rel) == 1)
        destroy(gpu);
}

void bs__gpu_describe(const struct bs__gpu *gpu, struct bs_device_info *info)
{
    const int capability = bs__queue_limits(gpu->queue)->capability, version = gpu->driver.driver_version;
    char libraries[88];
    bs__libraries_describe(&gpu->libraries, libraries, sizeof libraries, info->notice, sizeof info->notice);
    snprintf(info->name, sizeof info->name, "GPU %d, %s, %zu MiB", gpu->ordinal, gpu->name,
             gpu->memory >> 20);
    snprintf(info->libraries, sizeof info->libraries, "driver for CUDA %d.%d, %s%s", version / 1000,
             version % 1000 / 10, libraries, gpu->allow_tf32 ? ", tf32" : "");
    snprintf(info->isa, sizeof info->isa, "sm_%d", capability);
    info->threads = 1;
    info->fast_bf16 = capability >= 80;
    info->memory = gpu->memory;
}

bs_status bs__gpu_enter(struct bs__gpu *gpu, struct bs_err *err)
{
    return bs__gpu_note(gpu, bs__driver_check(&gpu->driver, gpu->driver.context_set(gpu->context), err,
                                              "cannot turn to GPU %d", gpu->ordinal));
}

bs_status bs__gpu_note(struct bs__gpu *gpu, bs_status rc)
{
    if (rc == BS_EIO) /* what driver.h makes of the results after which nothing works any more */
        atomic_store(&gpu->lost, true);
    return rc;
}

size_t bs__gpu_free_bytes(struct bs__gpu *gpu)
{
    size_t available = 0, total = 0;
    if (bs__gpu_enter(gpu, NULL) != BS_OK || gpu->driver.memory_info(&available, &total) != BS__CU_SUCCESS)
        return SIZE_MAX; /* what is wrong comes to light where memory is taken */
    const size_t reserve = RESERVE < total / 16 ? RESERVE : total / 16;
    return available > reserve ? available - reserve : 0;
}

bs_status bs__gpu_alloc(struct bs__gpu *gpu, const char *what, size_t bytes, bs_address *out,
                        struct bs_err *err)
{
    bs__cu_address at = 0;
    size_t available = 0, total = 0;
    *out = 0;
    bs_status rc = bs__gpu_enter(gpu, err);
    if (rc != BS_OK)
        return rc;
    const bs__cu_result r = gpu->driver.memory_alloc(&at, bytes ? bytes : 1);
    if (r == BS__CU_OUT_OF_MEMORY) {
        (void)gpu->driver.memory_info(&available, &total);
        return BS_FAIL(err, BS_ENOMEM,
                       "GPU %d has no memory for %s of %zu bytes; %zu of its %zu MiB are free", gpu->ordinal,
                       what, bytes, available >> 20, gpu->memory >> 20);
    }
    rc =
        bs__gpu_note(gpu, bs__driver_check(&gpu->driver, r, err, "cannot allocate %zu bytes for %s on GPU %d",
                                           bytes, what, gpu->ordinal));
    if (rc != BS_OK)
        return rc;
    atomic_fetch_add_explicit(&gpu->refs, 1, memory_order_relaxed);
    *out = at;
    return BS_OK;
}

void bs__gpu_free(struct bs__gpu *gpu, bs_address at)
{
    if (!at)
        return;
    /* Of a lost device these fail, and the process that has it ends soon. */
    if (gpu->driver.context_set(gpu->context) == BS__CU_SUCCESS)
        (void)gpu->driver.memory_free(at);
    bs__gpu_unref(gpu);
}

bs_status bs__gpu_upload(struct bs__gpu *gpu, bs_address to, const void *from, size_t bytes,
                         struct bs_err *err)
{
    const struct bs__driver *d = &gpu->driver;
    bs_status rc = bs__gpu_enter(gpu, err);
    if (rc != BS_OK)
        return rc;
    rc = bs__driver_check(d, d->copy_in(to, from, bytes, bs__queue_stream(gpu->queue)), err,
                          "cannot copy %zu bytes to GPU %d", bytes, gpu->ordinal);
    if (rc == BS_OK)
        rc = bs__queue_wait(gpu->queue, err);
    return bs__gpu_note(gpu, rc);
}

void bs__gpu_settle(struct bs__gpu *gpu)
{
    if (!gpu->traffic)
        return;
    if (bs__gpu_enter(gpu, NULL) == BS_OK) /* else it is lost, and nothing is under way */
        (void)gpu->driver.stream_synchronize(gpu->copies);
    gpu->traffic->ahead = gpu->traffic->left = false;
    gpu->traffic = NULL;
}

bs_status bs__gpu_stage(struct bs__gpu *gpu, size_t bytes, void **out, struct bs_err *err)
{
    const struct bs__driver *d = &gpu->driver;
    *out = gpu->staging;
    if (gpu->staging && bytes <= gpu->staged)
        return BS_OK;
    bs__gpu_settle(gpu);
    if (gpu->staging)
        (void)d->host_free(gpu->staging);
    gpu->staging = NULL;
    gpu->staged = 0;
    const size_t room = (bytes + STAGING_STEP - 1) / STAGING_STEP * STAGING_STEP;
    void *p = NULL;
    const bs__cu_result r = d->host_alloc(&p, room ? room : STAGING_STEP, 0);
    if (r == BS__CU_OUT_OF_MEMORY)
        return BS_FAIL(err, BS_ENOMEM, "no %zu MiB of pinned memory to pass images to GPU %d", room >> 20,
                       gpu->ordinal);
    bs_status rc = bs__gpu_note(gpu, bs__driver_check(d, r, err, "cannot pin %zu MiB of memory", room >> 20));
    if (rc != BS_OK)
        return rc;
    gpu->staging = *out = p;
    gpu->staged = room ? room : STAGING_STEP;
    return BS_OK;
}
