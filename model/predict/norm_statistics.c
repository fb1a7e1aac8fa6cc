/* Instance and group norms look at the whole image: a tile on its own has other statistics, so an empty tile would have
   its noise blown up into objects, and tiles would not fit together. For tiles we therefore measure first and then fix:

       1. patches spread evenly over the image are laid side by side (the whole image, if it is small enough) and go
          through the network once; every norm's input is an output of that graph
       2. mean and variance of each of them become constants: the norm becomes a batch norm with these values
       3. all tiles run with those constants, so that a halo of the receptive radius makes them fit exactly

   The patches' statistics stand for the image's; how well is tested on a mosaic of empty, dim and bright parts.
   A struct bs__fixed_norm owns its executable and parameters; executor thread only. */
#include "model/predict/predict_internal.h"

#include "kernels/base/checked.h"
#include "kernels/base/pages.h"
#include "model/arch/arch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATCH           256
#define LARGEST_SAMPLE  2048 /* side of the patches' mosaic: 4 million pixels, a second or so of work */
#define SMALLEST_SAMPLE 256
#define MAX_NORMS       62

struct norm {
    int channels;
    float *mean, *var;
};

struct bs__fixed_norm {
    struct bs_params *model_params; /* borrowed */
    struct bs_params *params;       /* the model's plus the fixed statistics */
    struct bs_executable *exe;
    int nnorm;
    struct norm norm[MAX_NORMS];
};

bool bs__has_spatial_norm(const struct bs_arch_config *arch)
{
    return arch->unet.norm == BS_NORM_INSTANCE || arch->unet.norm == BS_NORM_GROUP;
}

static bool is_spatial_norm(enum bs_op op)
{
    return op == BS_OP_INSTANCE_NORM || op == BS_OP_GROUP_NORM;
}

static bs_value stat_param(struct bs_graph *g, int k, const char *what, int64_t channels)
{
    char name[64];
    snprintf(name, sizeof name, "fixed.%d.%s", k, what);
    return bs_graph_param(g, name, BS_SHAPE(channels));
}

/* Copies the network's graph. measure: outputs are the inputs of its norms. Otherwise its norms become batch norms. */
static bs_status rebuild(const struct bs_arch_config *arch, int64_t n, int64_t h, int64_t w, bool measure,
                         int *nnorm, struct bs_graph **out, struct bs_err *err)
{
    struct bs_graph *from = NULL, *to = NULL;
    bs_value *copy = NULL;
    bs_status rc = bs_arch_build(arch, n, h, w, &from, err);
    *nnorm = 0;
    *out = NULL;
    if (rc != BS_OK)
        goto cleanup;
    int count = bs_graph_node_count(from);
    to = bs_graph_create();
    copy = calloc((size_t)count + 1, sizeof *copy);
    if (!to || !copy) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for the graph");
        goto cleanup;
    }
    for (int v = 0; v < count; v++) {
        const struct bs_node *node = bs_graph_node(from, v);
        bs_value in[BS_MAX_INPUTS];
        for (int i = 0; i < node->ninput; i++)
            in[i] = copy[node->input[i]];
        if (node->op == BS_OP_INPUT) {
            copy[v] = bs_graph_input(to, node->name, node->shape);
        } else if (node->op == BS_OP_PARAM) {
            copy[v] = bs_graph_param(to, node->name, node->shape);
        } else if (is_spatial_norm(node->op) && *nnorm == MAX_NORMS) {
            rc =
                BS_FAIL(err, BS_EUNSUPPORTED, "a network with more than %d norms cannot be tiled", MAX_NORMS);
            goto cleanup;
        } else if (is_spatial_norm(node->op) && !measure) {
            int k = (*nnorm)++;
            int64_t c = node->shape.dim[1];
            bool affine = node->op == BS_OP_GROUP_NORM;
            copy[v] = bs_graph_batch_norm(to, in[0], affine ? in[1] : stat_param(to, k, "weight", c),
                                          affine ? in[2] : stat_param(to, k, "bias", c),
                                          stat_param(to, k, "mean", c), stat_param(to, k, "var", c),
                                          node->attr.eps);
        } else {
            if (is_spatial_norm(node->op)) {
                char name[32];
                snprintf(name, sizeof name, "norm.%d", (*nnorm)++);
                bs_graph_output(to, name, in[0]);
            }
            copy[v] = bs_graph_apply(to, node->op, in, node->ninput, node->attr);
        }
    }
    for (int i = 0; !measure && i < bs_graph_output_count(from); i++)
        bs_graph_output(to, bs_graph_output_name(from, i), copy[bs_graph_output_value(from, i)]);
    if ((rc = bs_graph_finish(to, err)) == BS_OK) {
        *out = to;
        to = NULL;
    }
cleanup:
    free(copy);
    bs_graph_destroy(from);
    bs_graph_destroy(to);
    return rc;
}

/* The mosaic of patches: rows x columns patches of (patch_h, patch_w), evenly spread, first and last at the borders. */
struct sample {
    int64_t patch_h, patch_w, rows, columns;
};

static int64_t patch_origin(int64_t k, int64_t count, int64_t length, int64_t patch, int64_t divisor)
{
    if (count == 1)
        return (length - patch) / 2 / divisor * divisor;
    return (length - patch) * k / (count - 1) / divisor * divisor;
}

static struct sample choose_sample(const struct bs__layout *l, int64_t side, int64_t divisor)
{
    double pixels = (double)side * (double)side, all = (double)l->padded_h * (double)l->padded_w;
    if (all <= pixels)
        return (struct sample){l->padded_h, l->padded_w, 1, 1};
    int64_t patch = (PATCH + divisor - 1) / divisor * divisor;
    struct sample s = {.patch_h = patch < l->padded_h ? patch : l->padded_h,
                       .patch_w = patch < l->padded_w ? patch : l->padded_w};
    double aspect = (double)l->padded_h / (double)l->padded_w,
           patches = pixels / ((double)s.patch_h * (double)s.patch_w);
    /* rows / columns as the image's sides, rows * columns = patches; a long image keeps at least one row. */
    s.rows = 1;
    while ((double)((s.rows + 1) * (s.rows + 1)) <= patches * aspect &&
           (s.rows + 1) * s.patch_h <= l->padded_h)
        s.rows++;
    s.columns = (int64_t)(patches / (double)s.rows);
    if (s.columns * s.patch_w > l->padded_w)
        s.columns = l->padded_w / s.patch_w;
    s.columns = s.columns < 1 ? 1 : s.columns;
    return s;
}

static bs_status read_sample(struct bs__plane *plane, const struct bs__layout *l, const struct sample *s,
                             int64_t divisor, bool standardise, const struct bs__statistics *statistics,
                             float *out, struct bs_err *err)
{
    size_t n = (size_t)(s->patch_h * s->patch_w);
    int64_t width = s->columns * s->patch_w;
    bs_status rc = BS_OK;
    float *patch = malloc(n * sizeof *patch);
    if (!patch)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a patch");
    for (int64_t j = 0; j < s->rows && rc == BS_OK; j++)
        for (int64_t i = 0; i < s->columns && rc == BS_OK; i++) {
            int64_t y = patch_origin(j, s->rows, l->padded_h, s->patch_h, divisor);
            int64_t x = patch_origin(i, s->columns, l->padded_w, s->patch_w, divisor);
            if ((rc = bs__window_read(plane, y, x, s->patch_h, s->patch_w, false, patch, err)) != BS_OK)
                break;
            if (standardise)
                bs__standardise(patch, n, *statistics);
            for (int64_t row = 0; row < s->patch_h; row++)
                memcpy(out + (j * s->patch_h + row) * width + i * s->patch_w, patch + row * s->patch_w,
                       (size_t)s->patch_w * sizeof *out);
        }
    free(patch);
    return rc;
}

/* Mean and biased variance of each channel, or of each group of channels (then the same for its members). */
static bs_status measure(const struct bs_tensor *t, int groups, struct norm *out, struct bs_err *err)
{
    const float *v = t->data;
    size_t channels = (size_t)t->shape.dim[1], n = (size_t)(t->shape.dim[2] * t->shape.dim[3]);
    size_t together = groups ? channels / (size_t)groups : 1;
    out->channels = (int)channels;
    out->mean = calloc(channels, sizeof *out->mean);
    out->var = calloc(channels, sizeof *out->var);
    if (!out->mean || !out->var)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the statistics of a norm");
    for (size_t first = 0; first < channels; first += together) {
        double sum = 0, squares = 0, origin = v[first * n];
        for (size_t i = first * n; i < (first + together) * n; i++) {
            double d = v[i] - origin;
            sum += d;
            squares += d * d;
        }
        double mean = sum / (double)(together * n), var = squares / (double)(together * n) - mean * mean;
        for (size_t c = first; c < first + together; c++) {
            out->mean[c] = (float)(origin + mean);
            out->var[c] = (float)(var > 0 ? var : 0);
        }
    }
    return BS_OK;
}

/* Parameters: the model's own, and fixed.<k>.{weight,bias,mean,var}. */
static bool parse_fixed(const struct bs__fixed_norm *f, const char *name, const struct norm **norm,
                        const char **what)
{
    int k = 0, used = 0;
    if (sscanf(name, "fixed.%d.%n", &k, &used) != 1 || used == 0 || k < 0 || k >= f->nnorm)
        return false;
    *norm = &f->norm[k];
    *what = name + used;
    return true;
}

static bs_status source_shape(void *ctx, const char *name, struct bs_shape *shape, struct bs_err *err)
{
    struct bs__fixed_norm *f = ctx;
    const struct norm *norm;
    const char *what;
    if (!parse_fixed(f, name, &norm, &what))
        return bs_params_shape(f->model_params, name, shape, err);
    *shape = BS_SHAPE(norm->channels);
    return BS_OK;
}

static bs_status source_read(void *ctx, const char *name, float *dst, size_t count, struct bs_err *err)
{
    struct bs__fixed_norm *f = ctx;
    const struct norm *norm;
    const char *what;
    if (!parse_fixed(f, name, &norm, &what))
        return bs_params_read(f->model_params, name, dst, count, err);
    if (count != (size_t)norm->channels)
        return BS_FAIL(err, BS_EINTERNAL, "%s has %d values, %zu were asked for", name, norm->channels,
                       count);
    for (size_t i = 0; i < count; i++)
        dst[i] = strcmp(what, "mean") == 0     ? norm->mean[i]
                 : strcmp(what, "var") == 0    ? norm->var[i]
                 : strcmp(what, "weight") == 0 ? 1.0f
                                               : 0.0f;
    return BS_OK;
}

/* The largest sample whose arena and norm inputs fit the budget. */
static bs_status compile_sample(struct bs__fixed_norm *f, struct bs_model *model, const struct bs__layout *l,
                                enum bs_precision precision, struct sample *s, struct bs_graph **graph,
                                struct bs_executable **exe, struct bs_err *err)
{
    const struct bs_arch_config *arch = &bs_model_info_get(model)->arch;
    int64_t divisor = bs_arch_divisor(arch);
    for (int64_t side = LARGEST_SAMPLE; side >= SMALLEST_SAMPLE; side /= 2) {
        *s = choose_sample(l, side, divisor);
        bs_status rc =
            rebuild(arch, 1, s->rows * s->patch_h, s->columns * s->patch_w, true, &f->nnorm, graph, err);
        if (rc == BS_OK)
            rc = bs_executable_create(bs_model_device(model), *graph, f->model_params, precision, exe, err);
        if (rc != BS_OK)
            return rc;
        size_t bytes = bs_executable_arena_bytes(*exe);
        for (int k = 0; k < f->nnorm; k++)
            bytes += sizeof(float) *
                     bs_shape_count(&bs_graph_node(*graph, bs_graph_output_value(*graph, k))->shape);
        if (bytes <= l->budget || l->budget == 0 || side / 2 < SMALLEST_SAMPLE)
            return BS_OK;
        bs_executable_destroy(*exe);
        bs_graph_destroy(*graph);
        *exe = NULL;
        *graph = NULL;
    }
    return BS_OK;
}

static bs_status measure_norms(struct bs__fixed_norm *f, struct bs_model *model, struct bs__plane *plane,
                               const struct bs__layout *l, enum bs_precision precision,
                               const struct bs__statistics *statistics, const struct bs_cancel *cancel,
                               struct bs_err *err)
{
    const struct bs_model_info *info = bs_model_info_get(model);
    int channels = info->arch.unet.in_channels;
    struct bs_graph *graph = NULL;
    struct bs_executable *exe = NULL;
    struct bs_tensor *tap = NULL;
    float *in = NULL;
    struct sample s;
    size_t in_bytes = 0;
    bs_status rc = compile_sample(f, model, l, precision, &s, &graph, &exe, err);
    if (rc != BS_OK)
        goto cleanup;
    int64_t h = s.rows * s.patch_h, w = s.columns * s.patch_w;
    in_bytes = (size_t)(h * w) * (size_t)channels * sizeof *in;
    in = bs_pages_alloc(in_bytes);
    tap = calloc((size_t)f->nnorm, sizeof *tap);
    if (!in || !tap) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory to measure the norms of the network");
        goto cleanup;
    }
    if ((rc = read_sample(plane, l, &s, bs_arch_divisor(&info->arch),
                          info->normalisation == BS_NORMALISE_STANDARDISE, statistics, in, err)) != BS_OK)
        goto cleanup;
    for (int c = 1; c < channels; c++)
        memcpy(in + (size_t)c * (size_t)(h * w), in, (size_t)(h * w) * sizeof *in);
    for (int k = 0; k < f->nnorm; k++) {
        tap[k].dtype = BS_F32;
        tap[k].shape = bs_graph_node(graph, bs_graph_output_value(graph, k))->shape;
        tap[k].data = bs_pages_alloc(bs_shape_count(&tap[k].shape) * sizeof(float));
        if (!tap[k].data) {
            rc = BS_FAIL(err, BS_ENOMEM, "no memory to measure the norms of the network");
            goto cleanup;
        }
    }
    struct bs_tensor input = {BS_F32, BS_SHAPE(1, channels, h, w), in};
    if ((rc = bs_executable_run(exe, &input, 1, tap, f->nnorm, cancel, err)) != BS_OK)
        goto cleanup;
    int k = 0;
    for (int v = 0; v < bs_graph_node_count(graph) && rc == BS_OK; v++) {
        const struct bs_node *node = bs_graph_node(graph, v);
        if (!is_spatial_norm(node->op))
            continue;
        rc = measure(&tap[k], node->op == BS_OP_GROUP_NORM ? node->attr.groups : 0, &f->norm[k], err);
        k++;
    }
cleanup:
    for (int i = 0; tap && i < f->nnorm; i++)
        if (tap[i].data)
            bs_pages_free(tap[i].data, bs_shape_count(&tap[i].shape) * sizeof(float));
    free(tap);
    bs_pages_free(in, in_bytes);
    bs_executable_destroy(exe);
    bs_graph_destroy(graph);
    return rc;
}

bs_status bs__fixed_norm_create(struct bs_model *model, struct bs__plane *plane, const struct bs__layout *l,
                                enum bs_precision precision, const struct bs__statistics *statistics,
                                const struct bs_cancel *cancel, struct bs__fixed_norm **out,
                                struct bs_err *err)
{
    struct bs_graph *graph = NULL;
    struct bs__fixed_norm *f = calloc(1, sizeof *f);
    bs_status rc = BS_OK;
    int nnorm = 0;
    *out = NULL;
    if (!f)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the statistics of the norms");
    f->model_params = bs_model_params(model);
    if ((rc = measure_norms(f, model, plane, l, precision, statistics, cancel, err)) != BS_OK ||
        (rc = bs_params_create((struct bs_param_source){f, source_shape, source_read, NULL}, &f->params,
                               err)) != BS_OK ||
        (rc = rebuild(&bs_model_info_get(model)->arch, l->batch, l->window_h, l->window_w, false, &nnorm,
                      &graph, err)) != BS_OK ||
        (rc = bs_executable_create(bs_model_device(model), graph, f->params, precision, &f->exe, err)) !=
            BS_OK)
        goto cleanup;
    *out = f;
    f = NULL;
cleanup:
    bs_graph_destroy(graph);
    bs__fixed_norm_destroy(f);
    return rc;
}

struct bs_executable *bs__fixed_norm_executable(struct bs__fixed_norm *f)
{
    return f->exe;
}

void bs__fixed_norm_destroy(struct bs__fixed_norm *f)
{
    if (!f)
        return;
    bs_executable_destroy(f->exe);
    bs_params_unref(f->params);
    for (int k = 0; k < f->nnorm; k++) {
        free(f->norm[k].mean);
        free(f->norm[k].var);
    }
    free(f);
}
