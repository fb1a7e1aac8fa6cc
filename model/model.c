/* A loaded model: parameters read on demand from its safetensors file, executables compiled per shape and kept.
   One bs_model belongs to the executor thread of its device. */
#include "model/model_internal.h"

#include <stdlib.h>
#include <string.h>

#define CACHED 8 /* executables kept compiled; only the one used last keeps its arena */

struct cached {
    struct bs_executable *exe;
    int64_t batch, h, w;
    enum bs_precision precision;
    uint64_t used; /* value of the clock at its last use */
};

struct bs_model {
    struct bs_model_info info;
    struct bs_device *dev;       /* borrowed */
    struct bs_params *params;    /* owns the file through its source */
    struct cached cache[CACHED]; /* exe NULL: free */
    uint64_t clock;
};

/* A parameter's values, from the file. */

static bs_status source_shape(void *ctx, const char *name, struct bs_shape *shape, struct bs_err *err)
{
    const struct bs_safetensors_entry *e = bs_safetensors_find(ctx, name);
    if (!e)
        return BS_FAIL(err, BS_ENOTFOUND, "the model file has no tensor %.120s", name);
    *shape = e->shape;
    return BS_OK;
}

static bs_status source_read(void *ctx, const char *name, float *dst, size_t count, struct bs_err *err)
{
    const struct bs_safetensors_entry *e = bs_safetensors_find(ctx, name);
    if (!e)
        return BS_FAIL(err, BS_ENOTFOUND, "the model file has no tensor %.120s", name);
    if (bs_shape_count(&e->shape) != count)
        return BS_FAIL(err, BS_EINTERNAL, "tensor %.120s has %zu elements, %zu were asked for", name,
                       bs_shape_count(&e->shape), count);
    return bs_safetensors_read_f32(ctx, e, dst, count, err);
}

static void source_release(void *ctx)
{
    bs_safetensors_close(ctx);
}

static bs_status check_parameters(const struct bs_arch_config *arch, const struct bs_safetensors *st,
                                  struct bs_err *err)
{
    struct bs_graph *g = NULL;
    const int size = bs_arch_image_size(arch), side = size ? size : 2 * bs_arch_divisor(arch);
    bs_status rc = bs_arch_build(arch, 1, side, side, &g, err);
    for (int i = 0; rc == BS_OK && i < bs_graph_node_count(g); i++) {
        const struct bs_node *node = bs_graph_node(g, i);
        char want[64], have[64];
        if (node->op != BS_OP_PARAM)
            continue;
        const struct bs_safetensors_entry *e = bs_safetensors_find(st, node->name);
        bs_shape_text(&node->shape, want, sizeof want);
        if (!e)
            rc = BS_FAIL(err, BS_EINVAL, "the model file lacks tensor %s (%s)", node->name, want);
        else if (!bs_shape_equal(&e->shape, &node->shape))
            rc = BS_FAIL(err, BS_EINVAL, "tensor %s has shape %s, the network needs %s", node->name,
                         bs_shape_text(&e->shape, have, sizeof have), want);
        else if (e->dtype != BS_F32 && e->dtype != BS_F16 && e->dtype != BS_BF16 && e->dtype != BS_F64)
            rc = BS_FAIL(err, BS_EINVAL, "tensor %s is of type %s, a floating point type is needed",
                         node->name, bs_dtype_name(e->dtype));
    }
    bs_graph_destroy(g);
    return rc;
}

bs_status bs_model_open(const char *path, struct bs_device *dev, struct bs_model **out, struct bs_err *err)
{
    bs_status rc;
    struct bs_safetensors *st = NULL;
    struct bs_model *m = NULL;
    *out = NULL;
    if (!(m = calloc(1, sizeof *m)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for a model");
    m->dev = dev;
    if ((rc = bs_safetensors_open(path, &st, err)) != BS_OK ||
        (rc = bs__model_info_of(st, &m->info, err)) != BS_OK ||
        (rc = check_parameters(&m->info.arch, st, err)) != BS_OK)
        goto cleanup;
    struct bs_param_source source = {st, source_shape, source_read, source_release};
    st = NULL; /* taken, also on failure */
    if ((rc = bs_params_create(source, &m->params, err)) != BS_OK)
        goto cleanup;
    *out = m;
    m = NULL;
cleanup:
    bs_model_close(m);
    bs_safetensors_close(st);
    return rc;
}

void bs_model_close(struct bs_model *m)
{
    if (!m)
        return;
    for (int i = 0; i < CACHED; i++)
        bs_executable_destroy(m->cache[i].exe);
    bs_params_unref(m->params);
    free(m);
}

const struct bs_model_info *bs_model_info_get(const struct bs_model *m)
{
    return &m->info;
}

struct bs_device *bs_model_device(const struct bs_model *m)
{
    return m->dev;
}

struct bs_params *bs_model_params(const struct bs_model *m)
{
    return m->params;
}

/* The slot that holds this shape, else a free one, else the least recently used one. */
static struct cached *find_slot(struct bs_model *m, int64_t batch, int64_t h, int64_t w,
                                enum bs_precision precision)
{
    struct cached *best = &m->cache[0];
    for (int i = 0; i < CACHED; i++) {
        struct cached *c = &m->cache[i];
        if (c->exe && c->batch == batch && c->h == h && c->w == w && c->precision == precision)
            return c;
        if (best->exe && (!c->exe || c->used < best->used))
            best = c;
    }
    if (best->exe) {
        bs_executable_destroy(best->exe);
        best->exe = NULL;
    }
    return best;
}

bs_status bs_model_executable(struct bs_model *m, int64_t batch, int64_t h, int64_t w,
                              enum bs_precision precision, struct bs_executable **out, struct bs_err *err)
{
    bs_status rc = BS_OK;
    struct bs_graph *g = NULL;
    *out = NULL;
    struct cached *slot = find_slot(m, batch, h, w, precision);
    if (!slot->exe) {
        if ((rc = bs_arch_build(&m->info.arch, batch, h, w, &g, err)) != BS_OK ||
            (rc = bs_executable_create(m->dev, g, m->params, precision, &slot->exe, err)) != BS_OK) {
            slot->exe = NULL;
            goto cleanup;
        }
        slot->batch = batch;
        slot->h = h;
        slot->w = w;
        slot->precision = precision;
    }
    slot->used = ++m->clock;
    /* Images of many sizes must not leave one arena each behind. */
    for (int i = 0; i < CACHED; i++)
        if (m->cache[i].exe && &m->cache[i] != slot)
            bs_executable_trim(m->cache[i].exe);
    *out = slot->exe;
cleanup:
    bs_graph_destroy(g);
    return rc;
}

size_t bs_model_resident_bytes(struct bs_model *m)
{
    size_t bytes = bs_params_packed_bytes(m->params);
    for (int i = 0; i < CACHED; i++)
        if (m->cache[i].exe)
            bytes += bs_executable_held_bytes(m->cache[i].exe);
    return bytes;
}

size_t bs_model_trim(struct bs_model *m)
{
    size_t bytes = 0;
    for (int i = 0; i < CACHED; i++)
        if (m->cache[i].exe) {
            bytes += bs_executable_held_bytes(m->cache[i].exe);
            bs_executable_trim(m->cache[i].exe);
        }
    return bytes;
}
