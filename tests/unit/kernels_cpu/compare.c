/* See compare.h. */
#include "tests/unit/kernels_cpu/compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool ends_with(const char *text, const char *end)
{
    size_t a = strlen(text), b = strlen(end);
    return a >= b && strcmp(text + a - b, end) == 0;
}

void fill_params(struct filled *f, const struct bs_graph *g, uint64_t seed)
{
    memset(f, 0, sizeof *f);
    struct numbers r = {seed};
    for (bs_value v = 0; v < bs_graph_node_count(g); v++) {
        const struct bs_node *n = bs_graph_node(g, v);
        if (n->op != BS_OP_PARAM)
            continue;
        assert_true(f->tensors.count < 256);
        struct bs_tensor t = new_tensor(n->shape);
        double scale = 0.2, offset = 0;
        if (n->shape.ndim == 4)
            scale = sqrt(6.0 / (double)(n->shape.dim[1] * n->shape.dim[2] * n->shape.dim[3]));
        else if (ends_with(n->name, "weight") || ends_with(n->name, "running_var"))
            offset = 1;
        for (size_t i = 0; i < bs_shape_count(&t.shape); i++)
            floats(&t)[i] = (float)(next_real(&r, -scale, scale) + offset);
        f->list[f->tensors.count++] = (struct named_tensor){n->name, t};
    }
    f->tensors.list = f->list;
    f->params = params_of(&f->tensors);
}

void free_params(struct filled *f)
{
    bs_params_unref(f->params);
    for (int i = 0; i < f->tensors.count; i++)
        free_tensor(&f->list[i].tensor);
}

static void run_on(const char *spec, const struct bs_graph *g, struct bs_params *params, struct how how,
                   const struct bs_tensor *in, struct bs_tensor *out)
{
    struct bs_err err = {0};
    struct bs_device *dev = NULL;
    struct bs_executable *exe = NULL;
    const struct bs_device_options opt = {
        .threads = how.threads, .allow_winograd = how.winograd, .isa = how.isa};
    int ninput = 0, noutput = bs_graph_output_count(g);
    for (bs_value v = 0; v < bs_graph_node_count(g); v++)
        ninput += bs_graph_node(g, v)->op == BS_OP_INPUT;
    bs_status rc = bs_device_open(spec, &opt, &dev, &err);
    if (rc == BS_OK)
        rc = bs_executable_create(dev, g, params,
                                  how.bf16  ? BS_PRECISION_BF16
                                  : how.f16 ? BS_PRECISION_F16
                                            : BS_PRECISION_F32,
                                  &exe, &err);
    for (int i = 0; i < noutput; i++)
        out[i] = new_tensor(bs_graph_node(g, bs_graph_output_value(g, i))->shape);
    if (rc == BS_OK)
        rc = bs_executable_run(exe, in, ninput, out, noutput, NULL, &err);
    if (rc != BS_OK)
        fail_msg("%s: %s", spec, err.msg);
    bs_executable_destroy(exe);
    bs_device_close(dev);
}

void run_cpu(const struct bs_graph *g, struct bs_params *params, struct how how, const struct bs_tensor *in,
             struct bs_tensor *out)
{
    run_on("cpu", g, params, how, in, out);
}

struct difference compare(const struct bs_graph *g, struct how how, uint64_t seed)
{
    struct filled f;
    fill_params(&f, g, seed);
    struct numbers r = {seed + 1};
    struct bs_tensor in[4], want[4], have[4];
    int ninput = 0, noutput = bs_graph_output_count(g);
    for (bs_value v = 0; v < bs_graph_node_count(g); v++) {
        const struct bs_node *n = bs_graph_node(g, v);
        if (n->op != BS_OP_INPUT)
            continue;
        in[ninput] = random_tensor(&r, n->shape);
        for (size_t i = 0; i < bs_shape_count(&n->shape); i++)
            floats(&in[ninput])[i] = how.edge && i % (size_t)n->shape.dim[n->shape.ndim - 1] > 0
                                         ? 0
                                         : floats(&in[ninput])[i] + (float)how.offset;
        ninput++;
    }
    run_on("ref", g, f.params, (struct how){0}, in, want);
    run_on(how.device ? how.device : "cpu", g, f.params, how, in, have);
    struct difference d = {0};
    double square = 0, count = 0;
    for (int i = 0; i < noutput; i++) {
        for (size_t k = 0; k < bs_shape_count(&want[i].shape); k++) {
            double w = (double)floats(&want[i])[k], e = fabs((double)floats(&have[i])[k] - w);
            d.max = e <= d.max ? d.max : e; /* a NaN stays */
            d.largest = fabs(w) > d.largest ? fabs(w) : d.largest;
            square += e * e;
            count++;
        }
        free_tensor(&want[i]);
        free_tensor(&have[i]);
    }
    d.rms = sqrt(square / count);
    for (int i = 0; i < ninput; i++)
        free_tensor(&in[i]);
    free_params(&f);
    return d;
}

/* A parameter whose name is put together. */
static bs_value param(struct bs_graph *g, const char *block, int i, const char *leaf, struct bs_shape shape)
{
    char name[96];
    snprintf(name, sizeof name, "%s.%d.%s", block, i, leaf);
    return bs_graph_param(g, name, shape);
}

static bs_value norm_layer(struct bs_graph *g, bs_value x, const char *block, int i, int c, char norm)
{
    if (norm == 'i')
        return bs_graph_instance_norm(g, x, 1e-5f);
    if (!norm)
        return x;
    bs_value w = param(g, block, i, "weight", BS_SHAPE(c)), b = param(g, block, i, "bias", BS_SHAPE(c));
    if (norm == 'g')
        return bs_graph_group_norm(g, x, w, b, c % 4 == 0 ? 4 : 1, 1e-5f);
    return bs_graph_batch_norm(g, x, w, b, param(g, block, i, "running_mean", BS_SHAPE(c)),
                               param(g, block, i, "running_var", BS_SHAPE(c)), 1e-5f);
}

static bs_value conv_layer(struct bs_graph *g, bs_value x, const char *block, int i, int in, int out, int k)
{
    return bs_graph_conv2d(g, x, param(g, block, i, "weight", BS_SHAPE(out, in, k, k)),
                           param(g, block, i, "bias", BS_SHAPE(out)), 1, k / 2);
}

static bs_value conv_block(struct bs_graph *g, bs_value x, const char *block, int in, int out, char norm)
{
    x = norm_layer(g, x, block, 0, in, norm);
    x = bs_graph_relu(g, conv_layer(g, x, block, 1, in, out, 3));
    x = norm_layer(g, x, block, 3, out, norm);
    return bs_graph_relu(g, conv_layer(g, x, block, 4, out, out, 3));
}

struct bs_graph *small_unet(int64_t n, int in, int out, int features, int depth, int64_t h, int64_t w,
                            char norm, bool transposed, bool logits_too)
{
    struct bs_graph *g = bs_graph_create();
    assert_non_null(g);
    bs_value x = bs_graph_input(g, "image", BS_SHAPE(n, in, h, w)), skip[8];
    char block[64];
    int c = in;
    for (int i = 0; i < depth; i++) {
        snprintf(block, sizeof block, "encoder.blocks.%d.block", i);
        skip[i] = x = conv_block(g, x, block, c, features << i, norm);
        c = features << i;
        x = bs_graph_max_pool2d(g, x, 2);
    }
    x = conv_block(g, x, "base.block", c, features << depth, norm);
    for (int i = depth - 1; i >= 0; i--) {
        c = features << i;
        snprintf(block, sizeof block, "decoder.samplers.%d", i);
        if (transposed)
            x = bs_graph_conv_transpose2d(g, x, param(g, block, 0, "weight", BS_SHAPE(2 * c, c, 2, 2)),
                                          param(g, block, 0, "bias", BS_SHAPE(c)), 2);
        else
            x = conv_layer(g, bs_graph_resize_bilinear(g, x, h >> i, w >> i), block, 0, 2 * c, c, 1);
        snprintf(block, sizeof block, "decoder.blocks.%d.block", i);
        x = conv_block(g, bs_graph_concat(g, x, skip[i]), block, 2 * c, c, norm);
    }
    x = conv_layer(g, x, "out_conv", 0, features, out, 1);
    if (logits_too)
        bs_graph_output(g, "logits", x);
    bs_graph_output(g, "maps", bs_graph_sigmoid(g, x));
    struct bs_err err;
    if (bs_graph_finish(g, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return g;
}
