/* The ViM-UNet's config from the keys and shapes of a state dict. Where a class token stands and whether the directions
   are averaged leaves no trace there. Both changed, in the original, together with the rotary embedding, which does
   leave one: models with it are taken for the older kind (class token first, directions summed), all others for the
   newer (class token in the middle, directions averaged). Pure functions; any thread. */
#include "model/arch/unetr_decoder.h"

#include <stdio.h>

#define MAX_DEPTH 1024

static bool has_block(const struct bs_state_entry *state, size_t count, int block)
{
    char name[64];
    snprintf(name, sizeof name, "encoder.layers.%d.norm.weight", block);
    return bs__state_find(state, count, name) != NULL;
}

/* Mixer widths, from the first block; arch.c compares the others with it. */
static bs_status recover_mixer(const struct bs_state_entry *state, size_t count,
                               struct bs_vimunet_config *cfg, struct bs_err *err)
{
    const struct bs_state_entry *a_log, *dt, *conv;
    bs_status rc;
    if ((rc = bs__state_need(state, count, "encoder.layers.0.mixer.A_log", 2, &a_log, err)) != BS_OK ||
        (rc = bs__state_need(state, count, "encoder.layers.0.mixer.dt_proj.weight", 2, &dt, err)) != BS_OK ||
        (rc = bs__state_need(state, count, "encoder.layers.0.mixer.conv1d.weight", 3, &conv, err)) != BS_OK ||
        (rc = bs__state_int(a_log, 0, &cfg->inner_features, err)) != BS_OK ||
        (rc = bs__state_int(a_log, 1, &cfg->state_size, err)) != BS_OK ||
        (rc = bs__state_int(dt, 1, &cfg->dt_rank, err)) != BS_OK ||
        (rc = bs__state_int(conv, 2, &cfg->conv_kernel, err)) != BS_OK)
        return rc;
    while (cfg->depth < MAX_DEPTH && has_block(state, count, cfg->depth))
        cfg->depth++;
    if (cfg->depth < MAX_DEPTH)
        return BS_OK;
    return BS_FAIL(err, BS_ELIMIT, "there are %d blocks or more, accepted is less", MAX_DEPTH);
}

/* A row of positions per patch of a square, and one for the class token. */
static bs_status recover_image_size(const struct bs_state_entry *position, struct bs_vimunet_config *cfg,
                                    struct bs_err *err)
{
    int rows, side = 1;
    bs_status rc = bs__state_int(position, 1, &rows, err);
    if (rc != BS_OK)
        return rc;
    rows -= cfg->class_token;
    while (side < BS_MAX_ATTRIBUTE && side * side < rows)
        side++;
    if (side * side != rows || cfg->patch_size > BS_MAX_ATTRIBUTE)
        return BS_FAIL(err, BS_EINVAL,
                       "%s has positions for %d patches of %d pixels%s, accepted are squares up to %d x %d",
                       position->name, rows, cfg->patch_size,
                       cfg->class_token ? " besides the class token" : "", BS_MAX_ATTRIBUTE,
                       BS_MAX_ATTRIBUTE);
    cfg->image_size = side * cfg->patch_size;
    return BS_OK;
}

bs_status bs__vimunet_recover(const struct bs_state_entry *state, size_t count, struct bs_vimunet_config *cfg,
                              struct bs_err *err)
{
    const struct bs_state_entry *patch, *position, *head;
    bs_status rc;
    bool skip = false;
    *cfg = (struct bs_vimunet_config){
        .class_token = bs__state_find(state, count, "encoder.cls_token") != NULL,
        .rotary = bs__state_find(state, count, "encoder.rope.freqs_cos") != NULL,
    };
    cfg->class_token_first = cfg->class_token && cfg->rotary;
    cfg->divide_by_directions = !cfg->rotary;
    if (bs__state_find(state, count, "encoder.cls_token_head"))
        return BS_FAIL(
            err, BS_EUNSUPPORTED,
            "this ViM-UNet has two class tokens (encoder.cls_token_head); one or none is supported");
    if ((rc = bs__state_need(state, count, "encoder.patch_embed.proj.weight", 4, &patch, err)) != BS_OK ||
        (rc = bs__state_need(state, count, "encoder.pos_embed", 3, &position, err)) != BS_OK ||
        (rc = recover_mixer(state, count, cfg, err)) != BS_OK ||
        (rc = bs__unetr_decoder_recover(state, count, &cfg->decoder, &skip, err)) != BS_OK ||
        (rc = bs__state_int(patch, 0, &cfg->embed_dim, err)) != BS_OK ||
        (rc = bs__state_int(patch, 1, &cfg->in_channels, err)) != BS_OK ||
        (rc = bs__state_int(patch, 2, &cfg->patch_size, err)) != BS_OK ||
        (rc = recover_image_size(position, cfg, err)) != BS_OK)
        return rc;
    if (skip)
        return BS_FAIL(err, BS_EUNSUPPORTED,
                       "this ViM-UNet has skip connections; ViM-UNets without them are supported");
    if (!bs__state_find(state, count, "encoder.head.weight"))
        return BS_OK;
    if ((rc = bs__state_need(state, count, "encoder.head.weight", 2, &head, err)) != BS_OK)
        return rc;
    return bs__state_int(head, 0, &cfg->head_classes, err);
}

const char *bs__vimunet_assumptions(const struct bs_vimunet_config *cfg)
{
    if (!cfg->class_token)
        return cfg->rotary ? "final_activation=Sigmoid,divide_by_directions=false"
                           : "final_activation=Sigmoid,divide_by_directions=true";
    return cfg->rotary ? "final_activation=Sigmoid,class_token=first,divide_by_directions=false"
                       : "final_activation=Sigmoid,class_token=middle,divide_by_directions=true";
}
