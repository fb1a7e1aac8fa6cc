/* The UNETR's config from the keys and shapes of a state dict. The encoder's block width, heads, windows and global blocks
   follow from the tables of relative positions. Pure functions; any thread. */
#include "model/arch/unetr_decoder.h"

#include <stdio.h>

#define MAX_DEPTH 64 /* bits of global_blocks */

/* The table of block `block`, one axis for both as the original makes them of one square. */
static const struct bs_state_entry *find_table(const struct bs_state_entry *state, size_t count, int block)
{
    char name[96];
    snprintf(name, sizeof name, "encoder.blocks.%d.attn.rel_pos_h", block);
    return bs__state_find(state, count, name);
}

/* Depth, heads, windows. A block whose table spans the encoder's grid attends to the whole image. */
static bs_status recover_blocks(const struct bs_state_entry *state, size_t count, struct bs_unetr_config *cfg,
                                struct bs_err *err)
{
    bs_status rc;
    const struct bs_state_entry *table;
    const int grid = cfg->image_size / cfg->patch_size;
    while (cfg->depth < MAX_DEPTH && (table = find_table(state, count, cfg->depth))) {
        int rows, width;
        if ((rc = bs__state_need(state, count, table->name, 2, &table, err)) != BS_OK ||
            (rc = bs__state_int(table, 0, &rows, err)) != BS_OK ||
            (rc = bs__state_int(table, 1, &width, err)) != BS_OK)
            return rc;
        if (cfg->embed_dim % width)
            return BS_FAIL(err, BS_EINVAL, "%s is %d wide, which does not divide the %d features",
                           table->name, width, cfg->embed_dim);
        cfg->heads = cfg->embed_dim / width;
        if (rows == 2 * grid - 1)
            cfg->global_blocks |= (uint64_t)1 << cfg->depth;
        else if (rows % 2 && (!cfg->window || cfg->window == rows / 2 + 1))
            cfg->window = rows / 2 + 1;
        else
            return BS_FAIL(err, BS_EINVAL, "%s has %d rows, accepted is %d (whole image) or %d (windows)",
                           table->name, rows, 2 * grid - 1, cfg->window ? 2 * cfg->window - 1 : 27);
        cfg->depth++;
    }
    if (!cfg->depth)
        return BS_FAIL(err, BS_EINVAL,
                       "encoder.blocks.0.attn.rel_pos_h is missing: encoders with relative positions are "
                       "supported");
    return BS_OK;
}

bs_status bs__unetr_recover(const struct bs_state_entry *state, size_t count, struct bs_unetr_config *cfg,
                            struct bs_err *err)
{
    const struct bs_state_entry *patch, *position, *hidden, *neck, *base;
    bs_status rc;
    int side = 0, into_base = 0;
    *cfg = (struct bs_unetr_config){.resize_input = true};
    if ((rc = bs__state_need(state, count, "encoder.patch_embed.proj.weight", 4, &patch, err)) != BS_OK ||
        (rc = bs__state_need(state, count, "encoder.pos_embed", 4, &position, err)) != BS_OK ||
        (rc = bs__state_need(state, count, "encoder.blocks.0.mlp.lin1.weight", 2, &hidden, err)) != BS_OK ||
        (rc = bs__state_need(state, count, "encoder.neck.0.weight", 4, &neck, err)) != BS_OK ||
        (rc = bs__state_need(state, count, "base.block.1.weight", 4, &base, err)) != BS_OK ||
        (rc = bs__unetr_decoder_recover(state, count, &cfg->decoder, &cfg->skip_connections, err)) != BS_OK ||
        (rc = bs__state_int(patch, 0, &cfg->embed_dim, err)) != BS_OK ||
        (rc = bs__state_int(patch, 1, &cfg->in_channels, err)) != BS_OK ||
        (rc = bs__state_int(patch, 2, &cfg->patch_size, err)) != BS_OK ||
        (rc = bs__state_int(hidden, 0, &cfg->mlp_features, err)) != BS_OK ||
        (rc = bs__state_int(neck, 0, &cfg->neck_channels, err)) != BS_OK ||
        (rc = bs__state_int(position, 1, &side, err)) != BS_OK ||
        (rc = bs__state_int(base, 1, &into_base, err)) != BS_OK)
        return rc;
    if (side > BS_MAX_ATTRIBUTE || cfg->patch_size > BS_MAX_ATTRIBUTE)
        return BS_FAIL(err, BS_EINVAL, "positions for %d x %d patches of %d pixels, accepted is up to %d",
                       side, side, cfg->patch_size, BS_MAX_ATTRIBUTE);
    cfg->image_size = side * cfg->patch_size;
    if (cfg->neck_channels == cfg->embed_dim)
        return BS_FAIL(
            err, BS_EUNSUPPORTED,
            "the neck has as many channels as the encoder (%d), so that nothing tells whether it is "
            "applied; supported are necks of another width",
            cfg->embed_dim);
    cfg->apply_neck = into_base == cfg->neck_channels;
    return recover_blocks(state, count, cfg, err);
}
