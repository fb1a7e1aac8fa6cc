/* The U-Net (Ronneberger et al. 2015) as torch_em.model.UNet2d has it. From top to bottom:

       image -> [block, pool] x depth -> base block -> [upsample, concat with the encoder's level, block] x depth
             -> 1x1 convolution -> "logits" -> sigmoid -> "output"

   A block is norm, 3x3 convolution, ReLU, norm, 3x3 convolution, ReLU; the very first norm acts on the image itself.
   Level l has initial_features * 2^l features. Names are the state_dict keys of the original; the numbers in
   "block.4.weight" are positions in its nn.Sequential, so they shift when there is no norm. Pure functions. */
#include "model/arch/arch_internal.h"

#include <stdio.h>
#include <string.h>

#define EPS          1e-5f /* of all three norms, PyTorch's default */
#define GROUPS       32    /* GroupNorm: min(32, channels) groups */
#define MAX_DEPTH    8
#define MAX_CHANNELS 1024  /* in and out */
#define MAX_FEATURES 16384 /* at the base */

static int group_count(int64_t channels)
{
    return channels < GROUPS ? (int)channels : GROUPS;
}

static bs_value norm(struct bs_graph *g, enum bs_norm kind, const char *prefix, bs_value x)
{
    const int64_t c = bs__dim(g, x, 1);
    switch (kind) {
    case BS_NORM_NONE:
        return x;
    case BS_NORM_INSTANCE:
        return bs_graph_instance_norm(g, x, EPS);
    case BS_NORM_GROUP:
        return bs_graph_group_norm(g, x, bs__param(g, prefix, "weight", BS_SHAPE(c)),
                                   bs__param(g, prefix, "bias", BS_SHAPE(c)), group_count(c), EPS);
    case BS_NORM_BATCH:
        return bs__batch_norm(g, prefix, x, EPS);
    }
    return BS_NO_VALUE;
}

bs_value bs__unet_block(struct bs_graph *g, enum bs_norm kind, const char *prefix, bs_value x,
                        int64_t features)
{
    const int stride = kind == BS_NORM_NONE ? 2 : 3; /* modules of the nn.Sequential per half */
    for (int half = 0; half < 2; half++) {
        char at[96];
        snprintf(at, sizeof at, "%s.block.%d", prefix, half * stride);
        x = norm(g, kind, at, x);
        snprintf(at, sizeof at, "%s.block.%d", prefix, half * stride + stride - 2);
        x = bs_graph_relu(g, bs__conv(g, at, x, features, 3));
    }
    return x;
}

bs_value bs__unet_upsample(struct bs_graph *g, enum bs_upsampling kind, const char *prefix, bs_value x,
                           int64_t features)
{
    char at[96];
    if (kind == BS_UPSAMPLING_TRANSPOSED) {
        snprintf(at, sizeof at, "%s.block", prefix);
        bs_value weight = bs__param(g, at, "weight", BS_SHAPE(bs__dim(g, x, 1), features, 2, 2));
        bs_value bias = bs__param(g, at, "bias", BS_SHAPE(features));
        return bs_graph_conv_transpose2d(g, x, weight, bias, 2);
    }
    snprintf(at, sizeof at, "%s.conv", prefix);
    x = bs_graph_resize_bilinear(g, x, 2 * bs__dim(g, x, 2), 2 * bs__dim(g, x, 3));
    return bs__conv(g, at, x, features, 1);
}

void bs__unet_build(struct bs_graph *g, const struct bs_unet_config *cfg, int64_t n, int64_t h, int64_t w)
{
    bs_value skip[MAX_DEPTH];
    char at[64];

    bs_value x = bs_graph_input(g, "image", BS_SHAPE(n, cfg->in_channels, h, w));
    for (int level = 0; level < cfg->depth; level++) {
        snprintf(at, sizeof at, "encoder.blocks.%d", level);
        x = skip[level] = bs__unet_block(g, cfg->norm, at, x, (int64_t)cfg->initial_features << level);
        x = bs_graph_max_pool2d(g, x, 2);
    }
    x = bs__unet_block(g, cfg->norm, "base", x, (int64_t)cfg->initial_features << cfg->depth);
    for (int i = 0; i < cfg->depth; i++) {
        const int level = cfg->depth - 1 - i;
        const int64_t features = (int64_t)cfg->initial_features << level;
        snprintf(at, sizeof at, "decoder.samplers.%d", i);
        x = bs_graph_concat(g, bs__unet_upsample(g, cfg->upsampling, at, x, features), skip[level]);
        snprintf(at, sizeof at, "decoder.blocks.%d", i);
        x = bs__unet_block(g, cfg->norm, at, x, features);
    }
    x = bs__conv(g, "out_conv", x, cfg->out_channels, 1);
    bs_graph_output(g, "logits", x);
    bs_graph_output(g, "output", cfg->sigmoid ? bs_graph_sigmoid(g, x) : x);
}

bs_status bs__unet_check(const struct bs_unet_config *cfg, struct bs_err *err)
{
    if (cfg->in_channels < 1 || cfg->in_channels > MAX_CHANNELS)
        return BS_FAIL(err, BS_EINVAL, "in_channels is %d, accepted is 1 to %d", cfg->in_channels,
                       MAX_CHANNELS);
    if (cfg->out_channels < 1 || cfg->out_channels > MAX_CHANNELS)
        return BS_FAIL(err, BS_EINVAL, "out_channels is %d, accepted is 1 to %d", cfg->out_channels,
                       MAX_CHANNELS);
    if (cfg->depth < 1 || cfg->depth > MAX_DEPTH)
        return BS_FAIL(err, BS_EINVAL, "depth is %d, accepted is 1 to %d", cfg->depth, MAX_DEPTH);
    if (cfg->initial_features < 1 || cfg->initial_features > MAX_FEATURES >> cfg->depth)
        return BS_FAIL(err, BS_EINVAL, "initial_features is %d, accepted is 1 to %d at depth %d",
                       cfg->initial_features, MAX_FEATURES >> cfg->depth, cfg->depth);
    if ((int)cfg->norm < BS_NORM_INSTANCE || (int)cfg->norm > BS_NORM_NONE)
        return BS_FAIL(err, BS_EINVAL, "norm %d is unknown", (int)cfg->norm);
    if ((int)cfg->upsampling < BS_UPSAMPLING_BILINEAR || (int)cfg->upsampling > BS_UPSAMPLING_TRANSPOSED)
        return BS_FAIL(err, BS_EINVAL, "upsampling %d is unknown", (int)cfg->upsampling);
    if (cfg->norm != BS_NORM_GROUP)
        return BS_OK;
    if (cfg->in_channels % group_count(cfg->in_channels))
        return BS_FAIL(err, BS_EINVAL, "GroupNorm needs in_channels below %d or a multiple of it, not %d",
                       GROUPS, cfg->in_channels);
    for (int level = 0; level <= cfg->depth; level++) {
        int features = cfg->initial_features << level;
        if (features % group_count(features))
            return BS_FAIL(err, BS_EINVAL,
                           "GroupNorm needs features below %d or a multiple of it; level %d has %d", GROUPS,
                           level, features);
    }
    return BS_OK;
}

int bs__unet_divisor(const struct bs_unet_config *cfg)
{
    return 1 << cfg->depth;
}

static int half_down(int a)
{
    return a >= 0 ? a / 2 : -((-a + 1) / 2);
}

/* Follows the interval of inputs that one output pixel sees, back through the deepest path (every other path sees a
   part of it), for each position inside a cell of 2^depth pixels. Instance and group norm see the whole image by
   their statistics as well; no halo can change that. */
int bs__unet_receptive_radius(const struct bs_unet_config *cfg)
{
    int radius = 0;
    for (int x = 0; x < 1 << cfg->depth; x++) {
        int first = x, last = x;
        for (int level = 0; level < cfg->depth; level++) { /* decoder, from the output down */
            first -= 2;
            last += 2;
            const bool bilinear = cfg->upsampling == BS_UPSAMPLING_BILINEAR;
            first = half_down(bilinear ? first - 1 : first);
            last = half_down(bilinear ? last + 1 : last);
        }
        first -= 2; /* base */
        last += 2;
        for (int level = 0; level < cfg->depth; level++) { /* encoder, up to the image */
            first = 2 * first - 2;
            last = 2 * last + 1 + 2;
        }
        if (x - first > radius)
            radius = x - first;
        if (last - x > radius)
            radius = last - x;
    }
    return radius;
}
