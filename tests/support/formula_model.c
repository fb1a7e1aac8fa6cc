/* Model files with formula weights; see formula_model.h. */
#include "tests/support/formula_model.h"

#include "model/weights/safetensors.h"
#include "tests/support/formula.h"

#include <stdlib.h>

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
    int size = bs_arch_image_size(&info->arch), side = size ? size : 2 * bs_arch_divisor(&info->arch);
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
