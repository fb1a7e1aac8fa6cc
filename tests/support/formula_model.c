/* Model files with formula weights; see formula_model.h. Lines of the table in golden/README.md are cited by number. */
#include "tests/support/formula_model.h"

#include "model/weights/safetensors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define K 0x9E3779B97F4A7C15u

static uint64_t fnv1a64(const char *s)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 0x100000001B3u;
    return h;
}

static uint64_t splitmix64(uint64_t x)
{
    uint64_t z = x + K;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static double uniform(uint64_t base, uint64_t i)
{
    return (double)(splitmix64(base + i) >> 40) * 0x1p-24;
}

/* Half width and centre of the values; false when no line of the table is for U-Nets. */
static bool spread(const char *last, const struct bs_shape *s, double *width, double *centre)
{
    const int64_t *d = s->dim;
    *centre = 0;
    if (strcmp(last, "running_mean") == 0) { /* 2 */
        *width = 0.1;
    } else if (strcmp(last, "running_var") == 0) { /* 3 */
        *width = 0.25;
        *centre = 1;
    } else if (strcmp(last, "weight") == 0 && s->ndim == 1) { /* 10 */
        *width = 0.2;
        *centre = 1;
    } else if (strcmp(last, "bias") == 0) { /* 11 */
        *width = 0.1;
    } else if (strcmp(last, "weight") == 0 && s->ndim == 4 && d[2] == 2) { /* 15 */
        *width = sqrt(3.0 / (double)d[0]);
    } else if (strcmp(last, "weight") == 0 && s->ndim == 4) { /* 16, 17 */
        *width = sqrt((d[2] == 3 ? 6.0 : 3.0) / (double)(d[1] * d[2] * d[3]));
    } else {
        return false;
    }
    return true;
}

bs_status bs_formula_values(const char *name, const struct bs_shape *shape, uint64_t seed, float *out,
                            struct bs_err *err)
{
    const char *dot = strrchr(name, '.');
    double width, centre;
    if (!spread(dot ? dot + 1 : name, shape, &width, &centre))
        return BS_FAIL(err, BS_EUNSUPPORTED, "no formula for %s", name);
    uint64_t base = fnv1a64(name) ^ (seed * K);
    size_t n = bs_shape_count(shape);
    for (size_t i = 0; i < n; i++)
        out[i] = (float)((2 * uniform(base, i) - 1) * width + centre);
    return BS_OK;
}

struct filling {
    const struct bs_safetensors_item *items;
    uint64_t seed;
};

static bs_status fill(void *ctx, size_t i, void *dst, size_t bytes, struct bs_err *err)
{
    const struct filling *f = ctx;
    (void)bytes;
    return bs_formula_values(f->items[i].name, &f->items[i].shape, f->seed, dst, err);
}

bs_status bs_formula_model_write(const char *path, const struct bs_model_info *info, uint64_t seed,
                                 struct bs_err *err)
{
    struct bs_graph *g = NULL;
    struct bs_safetensors_item *items = NULL;
    char *json = NULL;
    size_t n = 0;
    int side = 2 * bs_arch_divisor(&info->arch);
    bs_status rc;
    if ((rc = bs_arch_build(&info->arch, 1, side, side, &g, err)) != BS_OK ||
        (rc = bs_model_info_to_json(info, &json, err)) != BS_OK)
        goto cleanup;
    items = calloc((size_t)bs_graph_node_count(g), sizeof *items);
    if (!items) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for a list of tensors");
        goto cleanup;
    }
    for (int v = 0; v < bs_graph_node_count(g); v++) {
        const struct bs_node *node = bs_graph_node(g, v);
        if (node->op == BS_OP_PARAM)
            items[n++] = (struct bs_safetensors_item){node->name, BS_F32, node->shape};
    }
    struct bs_safetensors_pair metadata = {"bioseg", json};
    struct filling filling = {items, seed};
    rc = bs_safetensors_write(path, &metadata, 1, items, n, fill, &filling, err);
cleanup:
    free(json);
    free(items);
    bs_graph_destroy(g);
    return rc;
}
