/* The CUDA backend's table, and what the plugin exports: bs_backend_entry. */
#include "kernels/cuda/backend.h"

#include "kernels/cuda/image.h"
#include "kernels/cuda/program.h"

#include <stdio.h>

static bs_status cuda_open(const struct bs_device_options *opt, void **dev, struct bs_err *err)
{
    struct bs__gpu *gpu = NULL;
    bs_status rc = bs__gpu_open(opt, bs__cuda_image, &gpu, err);
    *dev = gpu;
    return rc;
}

static void cuda_close(void *dev)
{
    bs__gpu_unref(dev);
}

static void cuda_describe(void *dev, struct bs_device_info *info)
{
    bs__gpu_describe(dev, info);
}

static void cuda_describe_step(void *dev, const struct bs_program *program, int step, char *text, size_t len)
{
    (void)dev;
    const struct bs__gpu_program *p = program->private;
    snprintf(text, len, "%s", p->step[step].text);
}

static bs_status cuda_arena_alloc(void *dev, size_t bytes, void **arena, struct bs_err *err)
{
    bs_address at = 0;
    bs_status rc = bs__gpu_alloc(dev, "an image of this size", bytes, &at, err);
    *arena = (void *)(uintptr_t)at;
    return rc;
}

static void cuda_arena_free(void *dev, void *arena, size_t bytes)
{
    (void)bytes;
    bs__gpu_settle(dev);
    bs__gpu_free(dev, (bs_address)(uintptr_t)arena);
}

static size_t cuda_memory_available(void *dev)
{
    return bs__gpu_free_bytes(dev);
}

static bool cuda_is_lost(void *dev)
{
    return atomic_load(&((struct bs__gpu *)dev)->lost);
}

__attribute__((visibility("default"))) const struct bs_backend_i *bs_backend_entry(unsigned abi)
{
    static const struct bs_backend_i backend = {
        .abi = BS_BACKEND_ABI,
        .name = "cuda",
        .open = cuda_open,
        .close = cuda_close,
        .describe = cuda_describe,
        .lower = bs__gpu_lower,
        .destroy_program = bs__gpu_destroy_program,
        .describe_step = cuda_describe_step,
        .arena_alloc = cuda_arena_alloc,
        .arena_free = cuda_arena_free,
        .memory_available = cuda_memory_available,
        .run_program = bs__gpu_run_program,
        .collect = bs__gpu_collect,
        .is_lost = cuda_is_lost,
    };
    return abi == BS_BACKEND_ABI ? &backend : NULL;
}
