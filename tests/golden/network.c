/* See network.h. */
#include "tests/golden/network.h"

#include "model/predict/encoder_input.h"
#include "model/weights/safetensors.h"
#include "tests/support/formula.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    char assumed[256];
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

/* The manifest is a state dict without values: the architecture follows from it as from a checkpoint. */
bs_status golden_arch_manifest(const char *path, struct bs_arch_config *arch, struct bs_err *err)
{
    static struct {
        char name[128];
    } names[512];
    struct bs_state_entry state[512];
    char line[512], dims[64], assumed[256];
    size_t n = 0;
    FILE *f = fopen(path, "r");
    if (!f || !fgets(line, sizeof line, f)) {
        if (f)
            fclose(f);
        return BS_FAIL(err, BS_EIO, "manifest.tsv cannot be read");
    }
    while (n < 512 && fgets(line, sizeof line, f)) {
        char *rest = NULL;
        if (sscanf(line, "%127s %*s %*s %63s", names[n].name, dims) != 2)
            continue;
        state[n] = (struct bs_state_entry){.name = names[n].name};
        for (char *d = strtok_r(dims, ",", &rest); d && state[n].shape.ndim < BS_MAX_DIM;
             d = strtok_r(NULL, ",", &rest))
            state[n].shape.dim[state[n].shape.ndim++] = strtoll(d, NULL, 10);
        n++;
    }
    fclose(f);
    return bs_arch_recover(state, n, arch, assumed, sizeof assumed, err);
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

/* What the original does around a transformer. */

void golden_settings(const char *folder, struct bs_arch_config *arch)
{
    if (arch->kind != BS_ARCH_UNETR)
        return;
    arch->unetr.resize_input = !strstr(folder, "noskip_ct") && !strstr(folder, "_pad");
    arch->unetr.sam_statistics = strstr(folder, "samstats") != NULL;
}

static bs_status open_encoder_input(const struct bs_arch_config *arch, const struct bs_shape *image,
                                    struct bs_encoder_input **out, struct bs_err *err)
{
    const int side = bs_arch_image_size(arch);
    const struct bs_encoder_input_options options = {
        .net_h = side,
        .net_w = side,
        .resize = arch->kind == BS_ARCH_UNETR && arch->unetr.resize_input,
        .sam_statistics = arch->kind == BS_ARCH_UNETR && arch->unetr.sam_statistics,
        .crop_larger = true};
    return bs_encoder_input_create(&options, image->dim[2], image->dim[3], out, err);
}

/* Every sample of image (N,c,h,w) as the network takes it; net is its shape. */
static bs_status fill_input(struct bs_encoder_input *e, const struct bs_shape *shape, const float *image,
                            const struct bs_shape *net, float **out, struct bs_err *err)
{
    const size_t from = (size_t)(shape->dim[1] * shape->dim[2] * shape->dim[3]),
                 to = (size_t)(net->dim[1] * net->dim[2] * net->dim[3]);
    if (!(*out = calloc(bs_shape_count(net), sizeof **out)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for the network's input");
    for (int64_t n = 0; n < shape->dim[0]; n++)
        bs_encoder_input_fill(e, image + (size_t)n * from, (int)shape->dim[1], (int)net->dim[1],
                              *out + (size_t)n * to);
    return BS_OK;
}

/* The network's output at the image's size. */
static bs_status bring_back(struct bs_encoder_input *e, const struct bs_shape *image, struct golden_result *r,
                            struct bs_err *err)
{
    const struct bs_shape net = r->logits_shape;
    r->shape = BS_SHAPE(net.dim[0], net.dim[1], image->dim[2], image->dim[3]);
    const size_t from = (size_t)(net.dim[1] * net.dim[2] * net.dim[3]),
                 to = (size_t)(net.dim[1] * image->dim[2] * image->dim[3]);
    float *maps = calloc(bs_shape_count(&r->shape), sizeof *maps);
    if (!maps)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the maps");
    for (int64_t n = 0; n < net.dim[0]; n++)
        bs_encoder_input_maps(e, r->output + (size_t)n * from, (int)net.dim[1], maps + (size_t)n * to);
    free(r->output);
    r->output = maps;
    return BS_OK;
}

bs_status golden_network_input(const struct bs_arch_config *arch, const struct bs_shape *shape,
                               const float *image, float **input, struct bs_shape *input_shape,
                               struct bs_err *err)
{
    struct bs_encoder_input *encoder = NULL;
    const int side = bs_arch_image_size(arch);
    bs_status rc = BS_OK;
    *input = NULL;
    if (!side) {
        const size_t bytes = bs_shape_count(shape) * sizeof **input;
        *input_shape = *shape;
        if (!(*input = malloc(bytes)))
            return BS_FAIL(err, BS_ENOMEM, "no memory for the network's input");
        memcpy(*input, image, bytes);
        return BS_OK;
    }
    *input_shape = BS_SHAPE(shape->dim[0], bs_arch_in_channels(arch), side, side);
    if ((rc = open_encoder_input(arch, shape, &encoder, err)) == BS_OK)
        rc = fill_input(encoder, shape, image, input_shape, input, err);
    bs_encoder_input_destroy(encoder);
    return rc;
}

/* Running. */

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
            r->shape = r->logits_shape = shape;
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
    struct bs_tensor input = {BS_F32, *shape, borrowed.data};
    struct bs_encoder_input *encoder = NULL;
    float *filled = NULL;
    *out = (struct golden_result){0};
    BS_ASSERT(ntap <= GOLDEN_MAX_TAPS && shape->ndim == 4);
    if (bs_arch_image_size(arch)) {
        const int side = bs_arch_image_size(arch);
        input.shape = BS_SHAPE(shape->dim[0], bs_arch_in_channels(arch), side, side);
        if ((rc = open_encoder_input(arch, shape, &encoder, err)) != BS_OK ||
            (rc = fill_input(encoder, shape, image, &input.shape, &filled, err)) != BS_OK)
            goto cleanup;
        input.data = filled;
    }
    if ((rc = golden_device_open(way, &dev, err)) != BS_OK ||
        (rc = bs_arch_build(arch, input.shape.dim[0], input.shape.dim[2], input.shape.dim[3], &plain, err)) !=
            BS_OK ||
        (rc = golden_with_taps(plain, taps, ntap, &g, err)) != BS_OK ||
        (rc = bs_executable_create(dev, g, params, way->precision, &exe, err)) != BS_OK ||
        (rc = make_outputs(g, out, outputs, err)) != BS_OK)
        goto cleanup;
    rc = bs_executable_run(exe, &input, 1, outputs, bs_graph_output_count(g), NULL, err);
    if (rc == BS_OK && encoder)
        rc = bring_back(encoder, shape, out, err);
cleanup:
    bs_encoder_input_destroy(encoder);
    free(filled);
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
