/* See network.h. */
#include "tests/golden/network.h"

#include "model/weights/safetensors.h"
#include "tests/support/formula.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct golden_way golden_ways[3] = {
    {"ref", "ref", false}, {"cpu", "cpu", false}, {"cpu-winograd", "cpu", true}};

/* Weights from a file. */

static bs_status file_shape(void *ctx, const char *name, struct bs_shape *shape, struct bs_err *err)
{
    const struct bs_safetensors_entry *e = bs_safetensors_find(ctx, name);
    if (!e)
        return BS_FAIL(err, BS_ENOTFOUND, "no tensor %s", name);
    *shape = e->shape;
    return BS_OK;
}

static bs_status file_read(void *ctx, const char *name, float *dst, size_t count, struct bs_err *err)
{
    const struct bs_safetensors_entry *e = bs_safetensors_find(ctx, name);
    if (!e)
        return BS_FAIL(err, BS_ENOTFOUND, "no tensor %s", name);
    return bs_safetensors_read_f32(ctx, e, dst, count, err);
}

static void file_release(void *ctx)
{
    bs_safetensors_close(ctx);
}

bs_status golden_params_file(const char *path, struct bs_arch_config *arch, struct bs_params **out,
                             struct bs_err *err)
{
    struct bs_safetensors *st = NULL;
    struct bs_state_entry *state = NULL;
    char assumed[64];
    *out = NULL;
    bs_status rc = bs_safetensors_open(path, &st, err);
    if (rc != BS_OK)
        return rc;
    const size_t n = bs_safetensors_count(st);
    if (!(state = calloc(n ? n : 1, sizeof *state))) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for %zu tensors", n);
        goto cleanup;
    }
    for (size_t i = 0; i < n; i++)
        state[i] =
            (struct bs_state_entry){bs_safetensors_entry(st, i)->name, bs_safetensors_entry(st, i)->shape};
    if ((rc = bs_arch_recover(state, n, arch, assumed, sizeof assumed, err)) != BS_OK)
        goto cleanup;
    rc = bs_params_create((struct bs_param_source){st, file_shape, file_read, file_release}, out, err);
    st = NULL;
cleanup:
    free(state);
    bs_safetensors_close(st);
    return rc;
}

/* Weights from the formula; shapes come from a graph of the network. */

struct formula_source {
    struct bs_graph *g;
    uint64_t seed;
};

static bs_status formula_shape(void *ctx, const char *name, struct bs_shape *shape, struct bs_err *err)
{
    const struct formula_source *f = ctx;
    for (int i = 0; i < bs_graph_node_count(f->g); i++) {
        const struct bs_node *node = bs_graph_node(f->g, i);
        if (node->op == BS_OP_PARAM && !strcmp(node->name, name)) {
            *shape = node->shape;
            return BS_OK;
        }
    }
    return BS_FAIL(err, BS_ENOTFOUND, "no parameter %s", name);
}

static bs_status formula_read(void *ctx, const char *name, float *dst, size_t count, struct bs_err *err)
{
    const struct formula_source *f = ctx;
    struct bs_shape shape;
    bs_status rc = formula_shape(ctx, name, &shape, err);
    if (rc != BS_OK)
        return rc;
    BS_ASSERT(bs_shape_count(&shape) == count);
    return bs_formula_values(name, &shape, f->seed, dst, err);
}

static void formula_release(void *ctx)
{
    struct formula_source *f = ctx;
    bs_graph_destroy(f->g);
    free(f);
}

bs_status golden_params_formula(const struct bs_arch_config *arch, uint64_t seed, struct bs_params **out,
                                struct bs_err *err)
{
    *out = NULL;
    const int side = 2 * bs_arch_divisor(arch);
    struct formula_source *f = calloc(1, sizeof *f);
    if (!f)
        return BS_FAIL(err, BS_ENOMEM, "no memory for formula weights");
    f->seed = seed;
    bs_status rc = bs_arch_build(arch, 1, side, side, &f->g, err);
    if (rc != BS_OK) {
        free(f);
        return rc;
    }
    return bs_params_create((struct bs_param_source){f, formula_shape, formula_read, formula_release}, out,
                            err);
}

/* Taps: a copy of the network's graph with further outputs. */

static bs_value consumer(const struct bs_graph *g, bs_value of, enum bs_op op)
{
    for (int i = of + 1; i < bs_graph_node_count(g); i++) {
        const struct bs_node *node = bs_graph_node(g, i);
        for (int k = 0; node->op == op && k < node->ninput; k++)
            if (node->input[k] == of)
                return i;
    }
    return BS_NO_VALUE;
}

/* What a module makes: its last convolution, and the ReLU behind it where there is one. */
static bs_value module_value(const struct bs_graph *g, const char *module)
{
    static const char *const last[] = {"block.4.weight", "block.2.weight", "conv.weight", "block.weight"};
    for (size_t l = 0; l < sizeof last / sizeof *last; l++) {
        char name[128];
        snprintf(name, sizeof name, "%s.%s", module, last[l]);
        for (int i = 0; i < bs_graph_node_count(g); i++) {
            const struct bs_node *node = bs_graph_node(g, i);
            if (node->op != BS_OP_PARAM || strcmp(node->name, name) != 0)
                continue;
            bs_value conv = consumer(g, i, BS_OP_CONV2D);
            if (conv == BS_NO_VALUE)
                return consumer(g, i, BS_OP_CONV_TRANSPOSE2D);
            return l < 2 ? consumer(g, conv, BS_OP_RELU) : conv;
        }
    }
    return BS_NO_VALUE;
}

static bs_status with_taps(const struct bs_graph *g, const char *const *taps, int ntap, struct bs_graph **out,
                           struct bs_err *err)
{
    const int n = bs_graph_node_count(g);
    bs_status rc = BS_OK;
    bs_value *copy = calloc((size_t)n, sizeof *copy);
    struct bs_graph *new = bs_graph_create();
    *out = NULL;
    if (!copy || !new) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for a graph");
        goto cleanup;
    }
    for (int i = 0; i < n; i++) {
        const struct bs_node *node = bs_graph_node(g, i);
        bs_value in[BS_MAX_INPUTS];
        for (int k = 0; k < node->ninput; k++)
            in[k] = node->input[k] == BS_NO_VALUE ? BS_NO_VALUE : copy[node->input[k]];
        if (node->op == BS_OP_INPUT)
            copy[i] = bs_graph_input(new, node->name, node->shape);
        else if (node->op == BS_OP_PARAM)
            copy[i] = bs_graph_param(new, node->name, node->shape);
        else
            copy[i] = bs_graph_apply(new, node->op, in, node->ninput, node->attr);
    }
    for (int i = 0; i < bs_graph_output_count(g); i++)
        bs_graph_output(new, bs_graph_output_name(g, i), copy[bs_graph_output_value(g, i)]);
    for (int i = 0; i < ntap; i++) {
        bs_value v = module_value(g, taps[i]);
        if (v == BS_NO_VALUE) {
            rc = BS_FAIL(err, BS_ENOTFOUND, "the network has no module %s", taps[i]);
            goto cleanup;
        }
        bs_graph_output(new, taps[i], copy[v]);
    }
    if ((rc = bs_graph_finish(new, err)) != BS_OK)
        goto cleanup;
    *out = new;
    new = NULL;
cleanup:
    free(copy);
    bs_graph_destroy(new);
    return rc;
}

/* Running. */

static bs_status open_device(const struct golden_way *way, struct bs_device **dev, struct bs_err *err)
{
    const struct bs_device_options opt = {.allow_winograd = way->winograd};
    return bs_device_open(way->device, &opt, dev, err);
}

bool golden_way_available(const struct golden_way *way)
{
    struct bs_device *dev = NULL;
    const bool ok = open_device(way, &dev, NULL) == BS_OK;
    bs_device_close(dev);
    return ok;
}

static bs_status make_outputs(const struct bs_graph *g, struct golden_result *r, struct bs_tensor *outputs,
                              struct bs_err *err)
{
    for (int i = 0; i < bs_graph_output_count(g); i++) {
        const struct bs_shape shape = bs_graph_node(g, bs_graph_output_value(g, i))->shape;
        float *data = calloc(bs_shape_count(&shape), sizeof *data);
        if (!data)
            return BS_FAIL(err, BS_ENOMEM, "no memory for an output");
        outputs[i] = (struct bs_tensor){BS_F32, shape, data};
        if (!strcmp(bs_graph_output_name(g, i), "logits")) {
            r->logits = data;
        } else if (!strcmp(bs_graph_output_name(g, i), "output")) {
            r->output = data;
            r->shape = shape;
        } else {
            r->tap_shape[r->ntap] = shape;
            r->tap[r->ntap++] = data;
        }
    }
    return BS_OK;
}

bs_status golden_network_run(const struct golden_way *way, const struct bs_arch_config *arch,
                             struct bs_params *params, const struct bs_shape *shape, const float *image,
                             const char *const *taps, int ntap, struct golden_result *out, struct bs_err *err)
{
    bs_status rc;
    struct bs_device *dev = NULL;
    struct bs_graph *plain = NULL, *g = NULL;
    struct bs_executable *exe = NULL;
    struct bs_tensor outputs[2 + GOLDEN_MAX_TAPS];
    union {
        const float *in;
        void *data; /* a bs_tensor's data is not const; inputs are only read */
    } borrowed = {image};
    const struct bs_tensor input = {BS_F32, *shape, borrowed.data};
    *out = (struct golden_result){0};
    BS_ASSERT(ntap <= GOLDEN_MAX_TAPS && shape->ndim == 4);
    if ((rc = open_device(way, &dev, err)) != BS_OK ||
        (rc = bs_arch_build(arch, shape->dim[0], shape->dim[2], shape->dim[3], &plain, err)) != BS_OK ||
        (rc = with_taps(plain, taps, ntap, &g, err)) != BS_OK ||
        (rc = bs_executable_create(dev, g, params, BS_PRECISION_F32, &exe, err)) != BS_OK ||
        (rc = make_outputs(g, out, outputs, err)) != BS_OK)
        goto cleanup;
    rc = bs_executable_run(exe, &input, 1, outputs, bs_graph_output_count(g), NULL, err);
cleanup:
    if (rc != BS_OK)
        golden_result_free(out);
    bs_executable_destroy(exe);
    bs_graph_destroy(g);
    bs_graph_destroy(plain);
    bs_device_close(dev);
    return rc;
}

void golden_result_free(struct golden_result *r)
{
    free(r->output);
    free(r->logits);
    for (int i = 0; i < r->ntap; i++)
        free(r->tap[i]);
    *r = (struct golden_result){0};
}
