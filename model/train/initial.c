/* See initial.h. A value is a function of network, seed, the parameter's name and its place, whoever asks first. */
#include "model/train/initial.h"

#include "model/dataset/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct initial {
    struct bs_graph *graph; /* has names and shapes */
    uint64_t seed;
};

static const struct bs_node *find(const struct initial *in, const char *name)
{
    for (bs_value v = 0; v < bs_graph_node_count(in->graph); v++) {
        const struct bs_node *n = bs_graph_node(in->graph, v);
        if (n->op == BS_OP_PARAM && !strcmp(n->name, name))
            return n;
    }
    return NULL;
}

static bs_status shape_of(void *ctx, const char *name, struct bs_shape *shape, struct bs_err *err)
{
    const struct bs_node *n = find(ctx, name);
    if (!n)
        return BS_FAIL(err, BS_ENOTFOUND, "the network has no parameter %.120s", name);
    *shape = n->shape;
    return BS_OK;
}

static bool ends(const char *text, const char *with)
{
    const size_t n = strlen(text), m = strlen(with);
    return n >= m && !strcmp(text + n - m, with);
}

/* 1 / sqrt(inputs per output) of the convolution that a weight or bias belongs to; 0: it belongs to none. */
static double bound_of(const struct initial *in, const char *name)
{
    char weight[512];
    const char *dot = strrchr(name, '.');
    if (!dot || (size_t)(dot - name) + sizeof ".weight" > sizeof weight)
        return 0;
    memcpy(weight, name, (size_t)(dot - name));
    memcpy(weight + (dot - name), ".weight", sizeof ".weight");
    const struct bs_node *n = find(in, weight);
    return n && n->shape.ndim == 4 ? 1 / sqrt((double)(n->shape.dim[1] * n->shape.dim[2] * n->shape.dim[3]))
                                   : 0;
}

/* FNV-1a. */
static uint64_t hash_name(const char *name)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
    return h;
}

static bs_status read_values(void *ctx, const char *name, float *dst, size_t count, struct bs_err *err)
{
    const struct initial *in = ctx;
    struct bs_shape shape;
    bs_status rc = shape_of(ctx, name, &shape, err);
    if (rc != BS_OK)
        return rc;
    if (bs_shape_count(&shape) != count)
        return BS_FAIL(err, BS_EINTERNAL, "parameter %.120s has %zu elements, %zu were asked for", name,
                       bs_shape_count(&shape), count);
    const double bound = bound_of(in, name);
    const float constant = ends(name, ".weight") || ends(name, ".running_var") ? 1.0f : 0.0f;
    struct bs_random r = bs_random_of(in->seed, hash_name(name), 0);
    for (size_t i = 0; i < count; i++)
        dst[i] = bound > 0 ? (float)((2 * bs_random_unit(&r) - 1) * bound) : constant;
    return BS_OK;
}

static void release(void *ctx)
{
    struct initial *in = ctx;
    bs_graph_destroy(in->graph);
    free(in);
}

bs_status bs_initial_params(const struct bs_arch_config *arch, uint64_t seed, struct bs_params **out,
                            struct bs_err *err)
{
    *out = NULL;
    if (arch->kind != BS_ARCH_UNET)
        return BS_FAIL(err, BS_EUNSUPPORTED,
                       "a %s cannot begin with random weights in this version: its encoder has to come from "
                       "a model (bioseg convert --with-untrained-decoder makes one of a published encoder)",
                       bs_arch_name(arch->kind));
    struct initial *in = calloc(1, sizeof *in);
    if (!in)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the network's first weights");
    in->seed = seed;
    const int side = bs_arch_divisor(arch) * 2;
    bs_status rc = bs_arch_build(arch, 1, side, side, &in->graph, err);
    if (rc != BS_OK) {
        free(in);
        return rc;
    }
    return bs_params_create((struct bs_param_source){in, shape_of, read_values, release}, out, err);
}
