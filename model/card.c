/* See card.h. */
#include "model/card.h"

#include "kernels/base/checked.h"

#include <stdio.h>

#define UNKNOWN_PATCH 512 /* of a network without a size of its own whose file names no training patch */
#define MAX_BATCH     64

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
        *tile = patch && patch < size ? patch : size;
        *network = size;
        return;
    }
    const int64_t divisor = bs_arch_divisor(&info->arch);
    patch = patch ? patch : UNKNOWN_PATCH;
    *tile = *network = (patch + divisor - 1) / divisor * divisor;
}

bs_status bs_model_card_plan(struct bs_model *model, int batch, enum bs_precision precision,
                             struct bs_model_card_plan *plan, struct bs_err *err)
{
    const struct bs_model_info *info = bs_model_info_get(model);
    struct bs_executable *exe = NULL;
    *plan = (struct bs_model_card_plan){.batch = batch, .precision = precision};
    if (batch < 1 || batch > MAX_BATCH)
        return BS_FAIL(err, BS_EINVAL, "a batch of %d tiles; 1 to %d is accepted", batch, MAX_BATCH);
    bs_model_tile(info, &plan->tile, &plan->network);
    bs_status rc = bs_model_executable(model, batch, plan->network, plan->network, precision, &exe, err);
    if (rc != BS_OK)
        return rc;
    plan->arena_bytes = bs_executable_arena_bytes(exe);
    plan->weight_bytes = bs_params_packed_bytes(bs_model_params(model));
    /* Input and maps, logits too, of every tile of the batch; where the encoder has a size of its own, a tile and its maps
       at their own size besides. */
    const size_t in = (size_t)bs_arch_in_channels(&info->arch),
                 out = (size_t)bs_arch_out_channels(&info->arch),
                 network = (size_t)plan->network * (size_t)plan->network,
                 tile = bs_arch_image_size(&info->arch) ? (size_t)plan->tile * (size_t)plan->tile : 0;
    plan->window_bytes = (network * (size_t)batch * (in + 2 * out) + tile * (1 + out)) * sizeof(float);
    if (!bs_add(plan->arena_bytes, plan->weight_bytes, &plan->peak_bytes) ||
        !bs_add(plan->peak_bytes, plan->window_bytes, &plan->peak_bytes))
        return BS_FAIL(err, BS_ELIMIT, "the plan of a batch of %d tiles is too large to count", batch);
    snprintf(plan->algorithms, sizeof plan->algorithms, "%s", bs_executable_algorithms(exe));
    return BS_OK;
}
