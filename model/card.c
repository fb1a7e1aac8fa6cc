/* See card.h. */
#include "model/card.h"

#include "kernels/base/checked.h"

#include <stdio.h>
#include <string.h>

#define UNKNOWN_PATCH 512 /* of a network without a size of its own whose file names no training patch */
#define MAX_BATCH     64
#define SMALLEST_TILE 16

bs_status bs_model_card(const struct bs_model_info *info, struct bs_model_card *card, struct bs_err *err)
{
    struct bs_graph *g = NULL;
    *card = (struct bs_model_card){.trained = info->trained,
                                   .description = info->description,
                                   .source = info->source,
                                   .licence = info->licence,
                                   .assumed = info->assumed};
    bs_model_tile(info, &card->tile, &card->network);
    bs_status rc = bs_arch_parameter_count(&info->arch, &card->parameters, err);
    if (rc == BS_OK)
        rc = bs_arch_build(&info->arch, 1, card->network, card->network, &g, err);
    if (rc == BS_OK)
        card->flops = bs_graph_flops(g);
    card->weight_bytes = card->parameters * sizeof(float);
    bs_graph_destroy(g);
    return rc;
}

void bs_model_tile(const struct bs_model_info *info, int64_t *tile, int64_t *network)
{
    const int64_t size = bs_arch_image_size(&info->arch);
    int64_t patch = info->training_patch;
    if (size) {
        patch = patch && patch < SMALLEST_TILE ? SMALLEST_TILE : patch;
        *tile = patch && patch < size ? patch : size;
        *network = size;
        return;
    }
    const int64_t divisor = bs_arch_divisor(&info->arch);
    patch = patch ? patch : UNKNOWN_PATCH;
    *tile = *network = (patch + divisor - 1) / divisor * divisor;
}

/* Parameters without values: shapes from the graph, zeros. */

static bs_status planned_shape(void *ctx, const char *name, struct bs_shape *shape, struct bs_err *err)
{
    const struct bs_graph *g = ctx;
    for (int i = 0; i < bs_graph_node_count(g); i++) {
        const struct bs_node *node = bs_graph_node(g, i);
        if (node->op == BS_OP_PARAM && !strcmp(node->name, name)) {
            *shape = node->shape;
            return BS_OK;
        }
    }
    return BS_FAIL(err, BS_ENOTFOUND, "the network has no parameter %.120s", name);
}

static bs_status planned_read(void *ctx, const char *name, float *dst, size_t count, struct bs_err *err)
{
    (void)ctx, (void)name, (void)err;
    memset(dst, 0, count * sizeof *dst);
    return BS_OK;
}

bs_status bs_model_card_plan(const struct bs_model_info *info, struct bs_device *dev, int batch,
                             enum bs_precision precision, struct bs_model_card_plan *plan, struct bs_err *err)
{
    bs_status rc;
    struct bs_graph *g = NULL;
    struct bs_params *params = NULL;
    struct bs_executable *exe = NULL;
    *plan = (struct bs_model_card_plan){.batch = batch, .precision = precision};
    if (batch < 1 || batch > MAX_BATCH)
        return BS_FAIL(err, BS_EINVAL, "a batch of %d tiles; 1 to %d is accepted", batch, MAX_BATCH);
    bs_model_tile(info, &plan->tile, &plan->network);
    if ((rc = bs_arch_build(&info->arch, batch, plan->network, plan->network, &g, err)) != BS_OK ||
        (rc = bs_params_create_planning((struct bs_param_source){g, planned_shape, planned_read, NULL},
                                        &params, err)) != BS_OK ||
        (rc = bs_executable_create(dev, g, params, precision, &exe, err)) != BS_OK)
        goto cleanup;
    plan->arena_bytes = bs_executable_arena_bytes(exe);
    plan->weight_bytes = bs_params_packed_bytes(params);
    /* Input and maps, logits too, of every tile of the batch; where the encoder has a size of its own, a tile and its maps
       at their own size besides. */
    const size_t in = (size_t)bs_arch_in_channels(&info->arch),
                 out = (size_t)bs_arch_out_channels(&info->arch),
                 network = (size_t)plan->network * (size_t)plan->network,
                 tile = bs_arch_image_size(&info->arch) ? (size_t)plan->tile * (size_t)plan->tile : 0;
    plan->window_bytes = (network * (size_t)batch * (in + 2 * out) + tile * (1 + out)) * sizeof(float);
    if (!bs_add(plan->arena_bytes, plan->weight_bytes, &plan->peak_bytes) ||
        !bs_add(plan->peak_bytes, plan->window_bytes, &plan->peak_bytes))
        rc = BS_FAIL(err, BS_ELIMIT, "the plan of a batch of %d tiles is too large to count", batch);
    snprintf(plan->algorithms, sizeof plan->algorithms, "%s", bs_executable_algorithms(exe));
cleanup:
    bs_executable_destroy(exe);
    bs_params_unref(params);
    bs_graph_destroy(g);
    return rc;
}
