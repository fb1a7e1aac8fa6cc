/* Devices and executables; see executable.h. The backend decides steps and buffers, this file owns the arena, the order
   of the steps, and what callers may pass in. */
#include "kernels/executable.h"

#include "kernels/backend.h"
#include "kernels/base/machine.h"
#include "kernels/base/pages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bs_device {
    const struct bs_backend_i *backend;
    void *self;       /* the backend's own */
    int executables;  /* compiled and not yet destroyed */
    char notice[256]; /* why this one was taken */
};

/* One host tensor of the signature. */
struct binding {
    char name[64]; /* shortened; for messages */
    struct bs_shape shape;
};

struct bs_executable {
    struct bs_device *device;
    struct bs_params *params; /* keeps packed weights alive */
    struct bs_program *program;
    struct binding *input, *output;
    int ninput, noutput;
    size_t arena_bytes;
    unsigned char *arena; /* NULL until the first run and after trim */
    uint64_t plan_hash;
};

static bs_status open_on(const struct bs_backend_i *backend, const struct bs_device_options *opt,
                         struct bs_device *d, struct bs_err *err)
{
    BS_ASSERT(backend->abi == BS_BACKEND_ABI);
    BS_ASSERT(!backend->arena_alloc == !backend->arena_free);
    BS_ASSERT(!backend->arena_alloc == !backend->memory_available);
    d->backend = backend;
    return backend->open(opt, &d->self, err);
}

/* "cuda" or "cuda:N"? */
static bool is_cuda(const char *spec, int *ordinal)
{
    if (strncmp(spec, "cuda", 4) != 0)
        return false;
    if (!spec[4])
        return true;
    char *end;
    if (spec[4] != ':' || spec[5] < '0' || spec[5] > '9')
        return false;
    const long n = strtol(spec + 5, &end, 10);
    *ordinal = (int)n;
    return !*end && n < 1024;
}

static bs_status open_cuda(const struct bs_device_options *opt, struct bs_device *d, struct bs_err *err)
{
    const struct bs_backend_i *cuda = bs_backend_cuda(err);
    return cuda ? open_on(cuda, opt, d, err) : BS_EUNSUPPORTED;
}

/* The best one that opens; the device keeps in words why it is no GPU. */
static bs_status open_best(const struct bs_device_options *opt, struct bs_device *d, struct bs_err *err)
{
    struct bs_err why;
    if (open_cuda(opt, d, &why) == BS_OK)
        return BS_OK;
    snprintf(d->notice, sizeof d->notice, "no GPU is used: %.200s", why.msg);
    if (bs_backend_cpu() && open_on(bs_backend_cpu(), opt, d, err) == BS_OK)
        return BS_OK;
    return open_on(bs_backend_ref(), opt, d, err);
}

bs_status bs_device_open(const char *spec, const struct bs_device_options *opt, struct bs_device **out,
                         struct bs_err *err)
{
    *out = NULL;
    struct bs_device_options own = {.threads = 0, .allow_winograd = true};
    if (opt)
        own = *opt;
    struct bs_device *d = calloc(1, sizeof *d);
    if (!d)
        return BS_FAIL(err, BS_ENOMEM, "no memory for device \"%s\"", spec);
    bs_status rc;
    if (!strcmp(spec, "auto"))
        rc = open_best(&own, d, err);
    else if (is_cuda(spec, &own.ordinal))
        rc = open_cuda(&own, d, err);
    else if (bs_backend_cpu() && !strcmp(spec, "cpu"))
        rc = open_on(bs_backend_cpu(), &own, d, err);
    else if (!strcmp(spec, "ref"))
        rc = open_on(bs_backend_ref(), &own, d, err);
    else
        rc = BS_FAIL(err, BS_EUNSUPPORTED,
                     "unknown device \"%.64s\"; this build has \"cuda\" and \"cuda:N\" (with a GPU), "
                     "%s\"ref\", \"auto\"",
                     spec, bs_backend_cpu() ? "\"cpu\", " : "");
    if (rc != BS_OK) {
        free(d);
        return rc;
    }
    *out = d;
    return BS_OK;
}

void bs_device_close(struct bs_device *dev)
{
    if (!dev)
        return;
    BS_ASSERT(dev->executables == 0);
    dev->backend->close(dev->self);
    free(dev);
}

void bs_device_describe(const struct bs_device *dev, struct bs_device_info *info)
{
    memset(info, 0, sizeof *info);
    snprintf(info->backend, sizeof info->backend, "%s", dev->backend->name);
    dev->backend->describe(dev->self, info);
    if (dev->notice[0])
        snprintf(info->notice, sizeof info->notice, "%s", dev->notice);
}

size_t bs_device_memory_available(const struct bs_device *dev)
{
    return dev->backend->memory_available ? dev->backend->memory_available(dev->self)
                                          : bs_machine_memory_available();
}

bool bs_device_is_lost(const struct bs_device *dev)
{
    return dev->backend->is_lost && dev->backend->is_lost(dev->self);
}

const char *bs_precision_name(enum bs_precision p)
{
    static const char *const name[BS_PRECISIONS] = {"f32", "bf16", "f16"};
    BS_ASSERT((unsigned)p < BS_PRECISIONS);
    return name[p];
}

/* FNV-1a, 64 bit: the hash tells plans apart in provenance, it guards nothing. */
static uint64_t hash_bytes(uint64_t h, const void *data, size_t len)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < len; i++)
        h = (h ^ p[i]) * UINT64_C(0x100000001B3);
    return h;
}

static uint64_t hash_number(uint64_t h, int64_t v)
{
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)v >> (8 * i));
    return hash_bytes(h, bytes, sizeof bytes);
}

static uint64_t hash_text(uint64_t h, const char *text)
{
    return hash_bytes(h, text, strlen(text) + 1);
}

/* Everything that may change a result or a time: libraries, instruction set, threads, precision, every step, and where
   the buffers lie. */
static uint64_t hash_plan(const struct bs_executable *exe, enum bs_precision precision)
{
    const struct bs_program *p = exe->program;
    const struct bs_backend_i *backend = exe->device->backend;
    struct bs_device_info info;
    bs_device_describe(exe->device, &info);
    uint64_t h = UINT64_C(0xCBF29CE484222325);
    h = hash_text(h, info.backend);
    h = hash_text(h, info.libraries);
    h = hash_text(h, info.isa);
    h = hash_number(h, info.threads);
    h = hash_number(h, precision);
    h = hash_text(h, p->algorithms);
    h = hash_number(h, p->nstep);
    for (int i = 0; backend->describe_step && i < p->nstep; i++) {
        char text[256] = "";
        backend->describe_step(exe->device->self, p, i, text, sizeof text);
        h = hash_text(h, text);
    }
    for (int i = 0; i < p->nbuffer; i++) {
        const struct bs_plan_buffer *b = &p->buffer[i];
        h = hash_number(h, (int64_t)b->bytes);
        h = hash_number(h, b->first);
        h = hash_number(h, b->last);
        h = hash_number(h, (int64_t)b->offset);
    }
    return h;
}

static void bind(struct binding *b, const char *name, const struct bs_shape *shape)
{
    snprintf(b->name, sizeof b->name, "%s", name);
    b->shape = *shape;
}

static bs_status keep_signature(struct bs_executable *exe, const struct bs_graph *g, struct bs_err *err)
{
    int nnode = bs_graph_node_count(g);
    for (int v = 0; v < nnode; v++)
        exe->ninput += bs_graph_node(g, v)->op == BS_OP_INPUT;
    exe->noutput = bs_graph_output_count(g);
    exe->input = calloc((size_t)exe->ninput + 1, sizeof *exe->input);
    exe->output = calloc((size_t)exe->noutput + 1, sizeof *exe->output);
    if (!exe->input || !exe->output)
        return BS_FAIL(err, BS_ENOMEM, "no memory for an executable");
    int k = 0;
    for (int v = 0; v < nnode; v++) {
        const struct bs_node *n = bs_graph_node(g, v);
        if (n->op == BS_OP_INPUT)
            bind(&exe->input[k++], n->name, &n->shape);
    }
    for (int i = 0; i < exe->noutput; i++)
        bind(&exe->output[i], bs_graph_output_name(g, i),
             &bs_graph_node(g, bs_graph_output_value(g, i))->shape);
    return BS_OK;
}

bs_status bs_executable_create(struct bs_device *dev, const struct bs_graph *g, struct bs_params *params,
                               enum bs_precision precision, struct bs_executable **out, struct bs_err *err)
{
    *out = NULL;
    struct bs_executable *exe = calloc(1, sizeof *exe);
    if (!exe)
        return BS_FAIL(err, BS_ENOMEM, "no memory for an executable");
    exe->device = dev;
    exe->params = bs_params_ref(params);
    dev->executables++;
    bs_status rc = keep_signature(exe, g, err);
    if (rc == BS_OK)
        rc = dev->backend->lower(dev->self, g, params, precision, &exe->program, err);
    if (rc == BS_OK)
        rc = bs_plan_place(exe->program->buffer, exe->program->nbuffer, &exe->arena_bytes, err);
    if (rc != BS_OK) {
        bs_executable_destroy(exe);
        return rc;
    }
    exe->plan_hash = hash_plan(exe, precision);
    *out = exe;
    return BS_OK;
}

void bs_executable_destroy(struct bs_executable *exe)
{
    if (!exe)
        return;
    bs_executable_trim(exe);
    if (exe->program)
        exe->device->backend->destroy_program(exe->device->self, exe->program);
    exe->device->executables--;
    bs_params_unref(exe->params);
    free(exe->input);
    free(exe->output);
    free(exe);
}

size_t bs_executable_arena_bytes(const struct bs_executable *exe)
{
    return exe->arena_bytes;
}

size_t bs_executable_held_bytes(const struct bs_executable *exe)
{
    return exe->arena ? exe->arena_bytes : 0;
}

uint64_t bs_executable_plan_hash(const struct bs_executable *exe)
{
    return exe->plan_hash;
}

const char *bs_executable_algorithms(const struct bs_executable *exe)
{
    return exe->program->algorithms;
}

void bs_executable_trim(struct bs_executable *exe)
{
    const struct bs_backend_i *backend = exe->device->backend;
    if (backend->arena_free)
        backend->arena_free(exe->device->self, exe->arena, exe->arena_bytes);
    else
        bs_pages_free(exe->arena, exe->arena_bytes);
    exe->arena = NULL;
}

static bs_status check_tensors(const char *kind, const struct binding *want, int nwant,
                               const struct bs_tensor *have, int nhave, struct bs_err *err)
{
    if (nhave != nwant)
        return BS_FAIL(err, BS_EINVAL, "%d %ss given, the executable takes %d", nhave, kind, nwant);
    for (int i = 0; i < nwant; i++) {
        char a[BS_SHAPE_TEXT], b[BS_SHAPE_TEXT];
        if (have[i].dtype != BS_F32)
            return BS_FAIL(err, BS_EINVAL, "%s \"%s\" is %s; f32 is accepted", kind, want[i].name,
                           bs_dtype_name(have[i].dtype));
        if (!bs_shape_equal(&have[i].shape, &want[i].shape))
            return BS_FAIL(err, BS_EINVAL, "%s \"%s\" is %s; compiled for %s", kind, want[i].name,
                           bs_shape_text(&have[i].shape, a, sizeof a),
                           bs_shape_text(&want[i].shape, b, sizeof b));
        if (!have[i].data)
            return BS_FAIL(err, BS_EINVAL, "%s \"%s\" has no memory", kind, want[i].name);
    }
    return BS_OK;
}

/* Pages are reserved without being committed, so a plan beyond the machine must be refused here: the kernel would only
   kill us later. */
static bs_status ensure_arena(struct bs_executable *exe, struct bs_err *err)
{
    if (exe->arena || !exe->arena_bytes)
        return BS_OK;
    const struct bs_backend_i *backend = exe->device->backend;
    const size_t available = bs_device_memory_available(exe->device);
    if (exe->arena_bytes > available)
        return BS_FAIL(
            err, BS_ENOMEM, "the network needs %zu MiB%s for this image size; %zu MiB are available",
            exe->arena_bytes >> 20, backend->arena_alloc ? " of the GPU's memory" : "", available >> 20);
    if (backend->arena_alloc) {
        void *arena = NULL;
        bs_status rc = backend->arena_alloc(exe->device->self, exe->arena_bytes, &arena, err);
        exe->arena = arena;
        return rc;
    }
    exe->arena = bs_pages_alloc(exe->arena_bytes);
    if (!exe->arena)
        return BS_FAIL(err, BS_ENOMEM, "no memory for an arena of %zu MiB", exe->arena_bytes >> 20);
    return BS_OK;
}

bs_status bs_executable_run(struct bs_executable *exe, const struct bs_tensor *inputs, int ninput,
                            struct bs_tensor *outputs, int noutput, const struct bs_cancel *cancel,
                            struct bs_err *err)
{
    return bs_executable_run_while(exe, inputs, ninput, outputs, noutput, NULL, cancel, err);
}

bs_status bs_executable_run_while(struct bs_executable *exe, const struct bs_tensor *inputs, int ninput,
                                  struct bs_tensor *outputs, int noutput,
                                  const struct bs_meanwhile *meanwhile, const struct bs_cancel *cancel,
                                  struct bs_err *err)
{
    bs_status rc;
    if (bs_params_is_planning(exe->params))
        return BS_FAIL(err, BS_EINTERNAL, "the executable was compiled to plan only; it has no weights");
    if ((rc = check_tensors("input", exe->input, exe->ninput, inputs, ninput, err)) != BS_OK ||
        (rc = check_tensors("output", exe->output, exe->noutput, outputs, noutput, err)) != BS_OK ||
        (rc = ensure_arena(exe, err)) != BS_OK)
        return rc;
    const struct bs_backend_i *backend = exe->device->backend;
    const struct bs_run run = {
        .arena = exe->arena, .input = inputs, .output = outputs, .meanwhile = meanwhile, .cancel = cancel};
    if (backend->run_program)
        return backend->run_program(exe->device->self, exe->program, &run, cancel, err);
    for (int step = 0; step < exe->program->nstep; step++) {
        if (bs_cancel_requested(cancel))
            return BS_FAIL(err, BS_ECANCELLED, "cancelled before step %d of %d", step + 1,
                           exe->program->nstep);
        bs_cancel_yield(cancel);
        if ((rc = backend->run_step(exe->device->self, exe->program, step, &run, err)) != BS_OK)
            return rc;
    }
    if (meanwhile)
        meanwhile->call(meanwhile->ctx);
    return BS_OK;
}

bool bs_executable_overlaps(const struct bs_executable *exe)
{
    return exe->device->backend->collect != NULL;
}

bs_status bs_executable_collect(struct bs_executable *exe, struct bs_tensor *outputs, int noutput,
                                struct bs_err *err)
{
    const struct bs_backend_i *backend = exe->device->backend;
    bs_status rc = check_tensors("output", exe->output, exe->noutput, outputs, noutput, err);
    if (rc != BS_OK || !backend->collect)
        return rc;
    return backend->collect(exe->device->self, exe->program, outputs, err);
}
