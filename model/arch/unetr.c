/* UNETR as torch_em has it over the image encoder of Segment Anything (Kirillov et al. 2023): a vision transformer whose
   blocks attend inside windows, a few of them to the whole image, with decomposed relative positions.

       image -> patch embedding -> + positions -> blocks -> (neck) -> decoder (unetr_decoder.c)
       block:  x + proj(attention(qkv(norm1(x)))), then x + lin2(gelu(lin1(norm2(x))))

   Windows that stick out of the image are filled with tokens of zeros behind norm1, so their q, k and v are the bias of
   the projection. The neck's parameters are in every file, used or not. Names are the state_dict keys of the original.
   Pure functions. */
#include "model/arch/unetr_decoder.h"

#include <stdio.h>

#define EPS          1e-6f /* of every layer norm */
#define MAX_CHANNELS 1024  /* in */
#define MAX_DEPTH    64    /* bits of global_blocks */
#define MAX_FEATURES 16384
#define MAX_SIDE     16384
#define MAX_WINDOW   1024

static bs_value layer_norm(struct bs_graph *g, const char *prefix, bs_value x, int64_t features)
{
    bs_value w = bs__param(g, prefix, "weight", BS_SHAPE(features));
    bs_value b = bs__param(g, prefix, "bias", BS_SHAPE(features));
    return bs_graph_layer_norm(g, x, w, b, EPS);
}

static bool is_global(const struct bs_unetr_config *cfg, int block)
{
    return cfg->global_blocks >> block & 1;
}

static int grid_side(const struct bs_unetr_config *cfg)
{
    return cfg->image_size / cfg->patch_size;
}

static bs_value attention(struct bs_graph *g, const struct bs_unetr_config *cfg, int block, bs_value x,
                          int64_t grid_h, int64_t grid_w)
{
    char at[96];
    const int64_t features = cfg->embed_dim;
    const int reach = is_global(cfg, block) ? grid_side(cfg) : cfg->window;
    const struct bs_shape table = BS_SHAPE(2 * (int64_t)reach - 1, features / cfg->heads);
    snprintf(at, sizeof at, "encoder.blocks.%d.attn", block);
    bs_value rel_h = bs__param(g, at, "rel_pos_h", table), rel_w = bs__param(g, at, "rel_pos_w", table);
    snprintf(at, sizeof at, "encoder.blocks.%d.attn.qkv", block);
    bs_value qkv = bs__linear(g, at, x, 3 * features, true);
    bs_value pad = bs__param(g, at, "bias", BS_SHAPE(3 * features));
    x = bs_graph_attention(g, qkv, pad, rel_h, rel_w, cfg->heads, grid_h, grid_w,
                           is_global(cfg, block) ? 0 : cfg->window);
    snprintf(at, sizeof at, "encoder.blocks.%d.attn.proj", block);
    return bs__linear(g, at, x, features, true);
}

static bs_value mlp(struct bs_graph *g, const struct bs_unetr_config *cfg, int block, bs_value x)
{
    char at[96];
    snprintf(at, sizeof at, "encoder.blocks.%d.mlp.lin1", block);
    x = bs_graph_gelu(g, bs__linear(g, at, x, cfg->mlp_features, true));
    snprintf(at, sizeof at, "encoder.blocks.%d.mlp.lin2", block);
    return bs__linear(g, at, x, cfg->embed_dim, true);
}

/* Layer norm over the channels of every pixel. */
static bs_value pixel_norm(struct bs_graph *g, const char *prefix, bs_value x)
{
    const int64_t h = bs__dim(g, x, 2), w = bs__dim(g, x, 3), channels = bs__dim(g, x, 1);
    x = layer_norm(g, prefix, bs_graph_tokens_from_image(g, x), channels);
    return bs_graph_image_from_tokens(g, x, h, w);
}

static bs_value neck(struct bs_graph *g, const struct bs_unetr_config *cfg, bs_value x)
{
    const int64_t out = cfg->neck_channels;
    bs_value w = bs__param(g, "encoder.neck.0", "weight", BS_SHAPE(out, cfg->embed_dim, 1, 1));
    x = pixel_norm(g, "encoder.neck.1", bs_graph_conv2d(g, x, w, BS_NO_VALUE, 1, 0));
    w = bs__param(g, "encoder.neck.2", "weight", BS_SHAPE(out, out, 3, 3));
    return pixel_norm(g, "encoder.neck.3", bs_graph_conv2d(g, x, w, BS_NO_VALUE, 1, 1));
}

void bs__unetr_build(struct bs_graph *g, const struct bs_unetr_config *cfg, int64_t n, int64_t h, int64_t w)
{
    const int64_t features = cfg->embed_dim, patch = cfg->patch_size, grid_h = h / patch, grid_w = w / patch;
    const int64_t side = grid_side(cfg);
    char at[96];
    struct bs__encoded encoded = {.skip = cfg->skip_connections};
    int kept = 0; /* outputs of the first three global blocks */

    bs_value x = encoded.image = bs_graph_input(g, "image", BS_SHAPE(n, cfg->in_channels, h, w));
    bs_value weight = bs__param(g, "encoder.patch_embed.proj", "weight",
                                BS_SHAPE(features, cfg->in_channels, patch, patch));
    bs_value bias = bs__param(g, "encoder.patch_embed.proj", "bias", BS_SHAPE(features));
    x = bs_graph_tokens_from_image(g, bs_graph_conv2d(g, x, weight, bias, cfg->patch_size, 0));
    bs_value position = bs_graph_param(g, "encoder.pos_embed", BS_SHAPE(1, side, side, features));
    x = bs_graph_add_position(g, x, position, grid_h, grid_w, -1);
    for (int block = 0; block < cfg->depth; block++) {
        snprintf(at, sizeof at, "encoder.blocks.%d.norm1", block);
        bs_value y = attention(g, cfg, block, layer_norm(g, at, x, features), grid_h, grid_w);
        x = bs_graph_add(g, x, y);
        snprintf(at, sizeof at, "encoder.blocks.%d.norm2", block);
        x = bs_graph_add(g, x, mlp(g, cfg, block, layer_norm(g, at, x, features)));
        if (cfg->skip_connections && is_global(cfg, block) && kept < 3)
            encoded.earlier[2 - kept++] = bs_graph_image_from_tokens(g, x, grid_h, grid_w);
    }
    x = bs_graph_image_from_tokens(g, x, grid_h, grid_w);
    bs_value through_neck = neck(g, cfg, x);
    encoded.features = cfg->apply_neck ? through_neck : x;
    bs__unetr_decoder(g, &cfg->decoder, &encoded);
}

static bs_status in_range(const char *what, int value, int lo, int hi, struct bs_err *err)
{
    if (value >= lo && value <= hi)
        return BS_OK;
    return BS_FAIL(err, BS_EINVAL, "%s is %d, accepted is %d to %d", what, value, lo, hi);
}

static int count_global(const struct bs_unetr_config *cfg)
{
    int count = 0;
    for (int block = 0; block < cfg->depth; block++)
        count += is_global(cfg, block);
    return count;
}

bs_status bs__unetr_check(const struct bs_unetr_config *cfg, struct bs_err *err)
{
    bs_status rc;
    if ((rc = in_range("in_channels", cfg->in_channels, 1, MAX_CHANNELS, err)) != BS_OK ||
        (rc = in_range("image_size", cfg->image_size, 1, MAX_SIDE, err)) != BS_OK ||
        (rc = in_range("embed_dim", cfg->embed_dim, 1, MAX_FEATURES, err)) != BS_OK ||
        (rc = in_range("depth", cfg->depth, 1, MAX_DEPTH, err)) != BS_OK ||
        (rc = in_range("heads", cfg->heads, 1, cfg->embed_dim, err)) != BS_OK ||
        (rc = in_range("mlp_features", cfg->mlp_features, 1, 4 * MAX_FEATURES, err)) != BS_OK ||
        (rc = in_range("neck_channels", cfg->neck_channels, 1, MAX_FEATURES, err)) != BS_OK ||
        (rc = bs__unetr_decoder_check(&cfg->decoder, err)) != BS_OK)
        return rc;
    if (cfg->patch_size != BS__UNETR_DECODER_FACTOR || cfg->image_size % cfg->patch_size)
        return BS_FAIL(err, BS_EINVAL,
                       "image_size is %d with patches of %d, accepted are multiples of %d with patches of %d",
                       cfg->image_size, cfg->patch_size, BS__UNETR_DECODER_FACTOR, BS__UNETR_DECODER_FACTOR);
    if (cfg->embed_dim % cfg->heads)
        return BS_FAIL(err, BS_EINVAL, "embed_dim %d is not a multiple of %d heads", cfg->embed_dim,
                       cfg->heads);
    if (cfg->depth < MAX_DEPTH && cfg->global_blocks >> cfg->depth)
        return BS_FAIL(err, BS_EINVAL, "a global block lies behind the %d blocks", cfg->depth);
    if (count_global(cfg) < cfg->depth && (rc = in_range("window", cfg->window, 1, MAX_WINDOW, err)) != BS_OK)
        return rc;
    if (cfg->skip_connections && cfg->apply_neck)
        return BS_FAIL(err, BS_EINVAL, "skip connections and the neck exclude each other");
    if (cfg->skip_connections && count_global(cfg) < 3)
        return BS_FAIL(err, BS_EINVAL, "skip connections need 3 global blocks, there are %d",
                       count_global(cfg));
    return BS_OK;
}
