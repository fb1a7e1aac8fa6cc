/* See initial.h. A value is a function of network, seed, the parameter's name and its place, whoever asks first. */
#include "model/train/initial.h"

#include "model/dataset/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define HEAD            "out_conv."
#define TOKEN_DEVIATION 0.02
#define LEAST_DELTA     1e-3
#define MOST_DELTA      1e-1
#define FLOOR_DELTA     1e-4
/* Of a normal distribution that is cut off at two of its deviations. */
#define CUT_DEVIATION 0.87962566103423978
#define TWO_PI        6.283185307179586

struct initial {
    struct bs_graph *graph; /* has names and shapes */
    uint64_t seed;
    int layers;             /* of Vision Mamba */
    struct bs_params *base; /* has all but the head; NULL: everything begins anew */
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

static bool begins(const char *text, const char *with)
{
    return !strncmp(text, with, strlen(with));
}

/* Inputs per output of the layer that a weight or bias belongs to; 0: it is none of a convolution or linear layer. */
static double inputs_of(const struct initial *in, const char *name)
{
    char weight[512];
    const char *dot = strrchr(name, '.');
    if (!dot || (size_t)(dot - name) + sizeof ".weight" > sizeof weight)
        return 0;
    memcpy(weight, name, (size_t)(dot - name));
    memcpy(weight + (dot - name), ".weight", sizeof ".weight");
    const struct bs_node *n = find(in, weight);
    double inputs = 1;
    for (int i = 1; n && i < n->shape.ndim; i++)
        inputs *= (double)n->shape.dim[i];
    return n && n->shape.ndim >= 2 ? inputs : 0;
}

/* FNV-1a. */
static uint64_t hash_name(const char *name)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
    return h;
}

/* Box and Muller 1958. */
static double normal(struct bs_random *r)
{
    const double u = 1 - bs_random_unit(r), v = bs_random_unit(r);
    return sqrt(-2 * log(u)) * cos(TWO_PI * v);
}

static double cut_normal(struct bs_random *r)
{
    double v;
    do
        v = normal(r);
    while (fabs(v) > 2);
    return v / CUT_DEVIATION;
}

/* The bias whose softplus is delta. */
static double delta_bias(struct bs_random *r)
{
    double delta = exp(log(LEAST_DELTA) + bs_random_unit(r) * (log(MOST_DELTA) - log(LEAST_DELTA)));
    delta = delta < FLOOR_DELTA ? FLOOR_DELTA : delta;
    return delta + log(-expm1(-delta));
}

/* Element i of a parameter of Vision Mamba that begins otherwise than PyTorch's layers do; false: it is none. */
static bool mamba_value(const char *name, const struct bs_shape *shape, size_t i, double inputs,
                        struct bs_random *r, double *out)
{
    if (!begins(name, "encoder."))
        return false;
    if (ends(name, ".A_log") || ends(name, ".A_b_log"))
        *out = log(1 + (double)(i % (size_t)shape->dim[1]));
    else if (ends(name, ".D") || ends(name, ".D_b"))
        *out = 1;
    else if (ends(name, ".dt_proj.bias") || ends(name, ".dt_proj_b.bias"))
        *out = delta_bias(r);
    else if (ends(name, ".pos_embed") || ends(name, ".cls_token") || ends(name, ".head.weight"))
        *out = TOKEN_DEVIATION * normal(r);
    else if (ends(name, ".patch_embed.proj.weight"))
        *out = cut_normal(r) / sqrt(inputs);
    else if (ends(name, ".patch_embed.proj.bias") || ends(name, ".head.bias"))
        *out = 0;
    else
        return false;
    return true;
}

static void fill(const struct initial *in, const char *name, const struct bs_shape *shape, float *dst)
{
    const size_t count = bs_shape_count(shape);
    const bool mamba = in->layers > 0;
    const double inputs = inputs_of(in, name), ones = ends(name, ".weight") || ends(name, ".running_var");
    double bound = inputs > 0 ? 1 / sqrt(inputs) : 0;
    if (mamba && ends(name, ".out_proj.weight"))
        bound /= sqrt((double)in->layers);
    struct bs_random r = bs_random_of(in->seed, hash_name(name), 0);
    for (size_t i = 0; i < count; i++) {
        double v;
        if (!mamba || !mamba_value(name, shape, i, inputs, &r, &v))
            v = inputs > 0 ? (2 * bs_random_unit(&r) - 1) * bound : ones;
        dst[i] = (float)v;
    }
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
    if (in->base && !begins(name, HEAD))
        return bs_params_read(in->base, name, dst, count, err);
    fill(in, name, &shape, dst);
    return BS_OK;
}

static void release(void *ctx)
{
    struct initial *in = ctx;
    bs_graph_destroy(in->graph);
    bs_params_unref(in->base);
    free(in);
}

static bs_status create(const struct bs_arch_config *arch, uint64_t seed, struct bs_params *base,
                        struct bs_params **out, struct bs_err *err)
{
    const int size = bs_arch_image_size(arch), side = size ? size : bs_arch_divisor(arch) * 2;
    *out = NULL;
    struct initial *in = calloc(1, sizeof *in);
    if (!in)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the network's first weights");
    in->seed = seed;
    in->layers = arch->kind == BS_ARCH_VIMUNET ? arch->vimunet.depth : 0;
    bs_status rc = bs_arch_build(arch, 1, side, side, &in->graph, err);
    if (rc != BS_OK) {
        free(in);
        return rc;
    }
    if (base)
        in->base = bs_params_ref(base);
    return bs_params_create((struct bs_param_source){in, shape_of, read_values, release}, out, err);
}

bs_status bs_initial_params(const struct bs_arch_config *arch, uint64_t seed, struct bs_params **out,
                            struct bs_err *err)
{
    *out = NULL;
    if (arch->kind == BS_ARCH_UNETR || (arch->kind == BS_ARCH_VIMUNET && arch->vimunet.rotary))
        return BS_FAIL(err, BS_EUNSUPPORTED,
                       "a %s cannot begin with random weights: its encoder has to come from a model (bioseg "
                       "convert --with-untrained-decoder makes one of a published encoder)",
                       arch->kind == BS_ARCH_UNETR ? "unetr" : "vimunet with rotary positions");
    return create(arch, seed, NULL, out, err);
}

bs_status bs_initial_head(struct bs_params *base, const struct bs_arch_config *arch, uint64_t seed,
                          struct bs_params **out, struct bs_err *err)
{
    return create(arch, seed, base, out, err);
}
