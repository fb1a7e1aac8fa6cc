/* See launch.h. */
#include "kernels/cuda/launch.h"

#include "kernels/cuda/driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 64, STATIC_SHARED = 48 << 10 };

/* A kernel of the image that was asked for before. */
struct function {
    char name[NAME_BYTES];
    bs__cu_function at;
    size_t bytes;  /* of its argument struct */
    int threads;   /* that its launch bound allows a block */
    size_t shared; /* dynamic bytes allowed so far */
};

struct bs__queue {
    const struct bs__driver *driver; /* borrowed */
    bs__cu_stream stream;
    bs__cu_module module;
    struct bs__cuda_limits limits;
    struct function *functions; /* sorted by name */
    size_t count, room;
    char last[NAME_BYTES]; /* the kernel queued last, for messages; "" before the first */
};

const char *bs__element_name(enum bs__element e)
{
    static const char *const names[] = {[BS__F32] = "f32", [BS__F16] = "f16", [BS__BF16] = "bf16"};
    return names[e];
}

size_t bs__element_bytes(enum bs__element e)
{
    return e == BS__F32 ? 4 : 2;
}

static bs_status read_limits(struct bs__queue *q, int device, struct bs_err *err)
{
    const struct bs__driver *d = q->driver;
    int major = 0, minor = 0, multiprocessors = 0, shared = 0;
    const struct {
        int *value, attribute;
    } wanted[] = {{&major, BS__CU_CAPABILITY_MAJOR},
                  {&minor, BS__CU_CAPABILITY_MINOR},
                  {&multiprocessors, BS__CU_MULTIPROCESSORS},
                  {&shared, BS__CU_SHARED_PER_BLOCK_OPTIN}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        bs_status rc = bs__driver_check(
            d, d->device_attribute(wanted[i].value, (bs__cu_device_attribute)wanted[i].attribute, device),
            err, "cannot ask GPU %d for its properties", device);
        if (rc != BS_OK)
            return rc;
    }
    q->limits = (struct bs__cuda_limits){major * 10 + minor, multiprocessors, (size_t)shared};
    return BS_OK;
}

bs_status bs__queue_create(const struct bs__driver *driver, int device, const void *image,
                           struct bs__queue **queue, struct bs_err *err)
{
    *queue = NULL;
    bs_status rc = BS_OK;
    struct bs__queue *q = calloc(1, sizeof *q);
    if (!q)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a queue of kernels");
    q->driver = driver;
    if ((rc = read_limits(q, device, err)) != BS_OK)
        goto cleanup;
    rc = bs__driver_check(driver, driver->stream_create(&q->stream, BS__CU_STREAM_NON_BLOCKING), err,
                          "cannot make a stream on GPU %d", device);
    if (rc != BS_OK) {
        q->stream = NULL;
        goto cleanup;
    }
    rc = bs__driver_check(driver, driver->module_load(&q->module, image), err,
                          "cannot load the kernels on GPU %d (compute capability %d.%d)", device,
                          q->limits.capability / 10, q->limits.capability % 10);
    if (rc != BS_OK) {
        q->module = NULL;
        goto cleanup;
    }
    *queue = q;
    q = NULL;
cleanup:
    bs__queue_destroy(q);
    return rc;
}

void bs__queue_destroy(struct bs__queue *q)
{
    if (!q)
        return;
    /* Of a lost device the calls fail, and there is nothing left to release. */
    if (q->stream) {
        (void)q->driver->stream_synchronize(q->stream);
        (void)q->driver->stream_destroy(q->stream);
    }
    if (q->module)
        (void)q->driver->module_unload(q->module);
    free(q->functions);
    free(q);
}

const struct bs__driver *bs__queue_driver(const struct bs__queue *q)
{
    return q->driver;
}

void *bs__queue_stream(const struct bs__queue *q)
{
    return q->stream;
}

const struct bs__cuda_limits *bs__queue_limits(const struct bs__queue *q)
{
    return &q->limits;
}

/* Asks the driver for a kernel and puts it at a place in the sorted list. */
static bs_status add_function(struct bs__queue *q, size_t at, const char *name, struct bs_err *err)
{
    const struct bs__driver *d = q->driver;
    struct function f = {.shared = STATIC_SHARED};
    size_t offset = 0, size = 0;
    memcpy(f.name, name, strlen(name) + 1);
    bs__cu_result r = d->module_function(&f.at, q->module, name);
    if (r == BS__CU_NOT_FOUND)
        return BS_FAIL(err, BS_EINTERNAL, "the image of kernels has none named %s", name);
    bs_status rc = bs__driver_check(d, r, err, "cannot find kernel %s", name);
    if (rc == BS_OK)
        rc = bs__driver_check(d, d->function_parameter(f.at, 0, &offset, &f.bytes), err,
                              "cannot ask for the arguments of kernel %s", name);
    if (rc == BS_OK && (r = d->function_parameter(f.at, 1, &offset, &size)) != BS__CU_INVALID_VALUE)
        rc = r == BS__CU_SUCCESS
                 ? BS_FAIL(err, BS_EINTERNAL, "kernel %s takes more than one argument struct", name)
                 : bs__driver_check(d, r, err, "cannot ask for the arguments of kernel %s", name);
    if (rc == BS_OK)
        rc = bs__driver_check(d, d->function_attribute(&f.threads, BS__CU_FUNCTION_MAX_THREADS, f.at), err,
                              "cannot ask for the launch bound of kernel %s", name);
    if (rc != BS_OK)
        return rc;
    if (q->count == q->room) {
        size_t room = q->room ? 2 * q->room : 64;
        struct function *list = realloc(q->functions, room * sizeof *list);
        if (!list)
            return BS_FAIL(err, BS_ENOMEM, "no memory for a list of %zu kernels", room);
        q->functions = list;
        q->room = room;
    }
    memmove(q->functions + at + 1, q->functions + at, (q->count - at) * sizeof *q->functions);
    q->functions[at] = f;
    q->count++;
    return BS_OK;
}

static bs_status find_function(struct bs__queue *q, const char *name, struct function **found,
                               struct bs_err *err)
{
    size_t low = 0, high = q->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (strcmp(q->functions[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == q->count || strcmp(q->functions[low].name, name) != 0) {
        bs_status rc = add_function(q, low, name, err);
        if (rc != BS_OK)
            return rc;
    }
    *found = &q->functions[low];
    return BS_OK;
}

/* More than 48 KiB of dynamic shared memory must be asked for once. */
static bs_status allow_shared(struct bs__queue *q, struct function *f, size_t shared, struct bs_err *err)
{
    if (shared <= f->shared)
        return BS_OK;
    if (shared > q->limits.shared_block)
        return BS_FAIL(err, BS_EINTERNAL,
                       "kernel %s asks for %zu bytes of shared memory; this GPU has %zu for a block", f->name,
                       shared, q->limits.shared_block);
    const struct bs__driver *d = q->driver;
    bs_status rc =
        bs__driver_check(d, d->function_set(f->at, BS__CU_FUNCTION_MAX_DYNAMIC_SHARED, (int)shared), err,
                         "cannot give kernel %s %zu bytes of shared memory", f->name, shared);
    if (rc == BS_OK)
        f->shared = shared;
    return rc;
}

bs_status bs__queue_launch(struct bs__queue *q, const struct bs__launch *launch, const void *arguments,
                           size_t bytes, struct bs_err *err)
{
    char name[NAME_BYTES];
    int length = snprintf(name, sizeof name, "%s_%s", launch->kernel, bs__element_name(launch->element));
    if (length < 0 || (size_t)length >= sizeof name)
        return BS_FAIL(err, BS_EINTERNAL, "the name of kernel %s is too long", launch->kernel);
    struct function *f = NULL;
    bs_status rc = find_function(q, name, &f, err);
    if (rc == BS_OK && f->bytes != bytes)
        rc = BS_FAIL(err, BS_EINTERNAL, "kernel %s takes %zu bytes of arguments; %zu were given", name,
                     f->bytes, bytes);
    const unsigned *grid = launch->grid;
    if (rc == BS_OK && (grid[0] < 1 || grid[0] > INT32_MAX || grid[1] < 1 || grid[1] > 65535 || grid[2] < 1 ||
                        grid[2] > 65535))
        rc = BS_FAIL(err, BS_EINTERNAL,
                     "kernel %s: a grid of %ux%ux%u blocks; 1 to 2147483647x65535x65535 is possible", name,
                     grid[0], grid[1], grid[2]);
    if (rc == BS_OK &&
        (launch->threads < 32 || launch->threads % 32 != 0 || launch->threads > (unsigned)f->threads))
        rc = BS_FAIL(err, BS_EINTERNAL,
                     "kernel %s: blocks of %u threads; multiples of 32 up to %d are possible", name,
                     launch->threads, f->threads);
    if (rc == BS_OK)
        rc = allow_shared(q, f, launch->shared, err);
    if (rc != BS_OK)
        return rc;
    void *parameters[] = {(void *)(uintptr_t)arguments}; /* the driver copies and does not write */
    bs__cu_result r = q->driver->launch(f->at, grid[0], grid[1], grid[2], launch->threads, 1, 1,
                                        (unsigned)launch->shared, q->stream, parameters, NULL);
    rc = bs__driver_check(q->driver, r, err, "cannot queue kernel %s%s%s", name,
                          bs__driver_lost(r) && *q->last ? " after " : "", bs__driver_lost(r) ? q->last : "");
    if (rc == BS_OK)
        memcpy(q->last, name, sizeof name);
    return rc;
}

bs_status bs__queue_zero(struct bs__queue *q, bs_address at, size_t bytes, struct bs_err *err)
{
    if (bytes == 0)
        return BS_OK;
    return bs__driver_check(q->driver, q->driver->fill(at, 0, bytes, q->stream), err,
                            "cannot queue filling %zu bytes with zero", bytes);
}

bs_status bs__queue_wait(struct bs__queue *q, struct bs_err *err)
{
    return bs__driver_check(q->driver, q->driver->stream_synchronize(q->stream), err,
                            *q->last ? "the GPU failed while it ran what was queued, %s last"
                                     : "the GPU failed while it ran what was queued%s",
                            q->last);
}
