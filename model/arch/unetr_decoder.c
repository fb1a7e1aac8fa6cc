/* The decoder of torch_em.model.UNETR, which ViM-UNet has as well:

       features -> base -> [upsample, concat with half the channels of a side branch, block] x 3 -> upsample (deconv_out)
                -> concat with the fourth branch -> block (decoder_head) -> 1x1 convolution -> "logits" -> sigmoid -> "output"

   Without skip connections the branches are one chain out of the features, each step twice as large (deconv1 to
   deconv4); with them they come from three earlier blocks of the encoder and, the fourth, from the image. A step is an
   upsampling, a 3x3 convolution, batch norm, ReLU; a block is the U-Net's with instance norm.
   The three side branches have twice the channels that the concatenation takes: of 2c the middle c, [c/2, 3c/2), are
   used. That is the original's crop, made for space, and trained networks have learnt it. Pure functions. */
#include "model/arch/unetr_decoder.h"

#include <stdio.h>

#define EPS          1e-5f /* of batch norm */
#define LEVELS       4
#define MAX_CHANNELS 1024
#define MAX_FEATURES 2048

/* Upsampling, 3x3 convolution, batch norm, ReLU. */
static bs_value step(struct bs_graph *g, const struct bs_unetr_decoder_config *cfg, const char *prefix,
                     bs_value x, int64_t features)
{
    char at[96];
    snprintf(at, sizeof at, "%s.block.0", prefix);
    x = bs__unet_upsample(g, cfg->upsampling, at, x, features);
    snprintf(at, sizeof at, "%s.block.1.block", prefix);
    x = bs__conv(g, at, x, features, 3);
    snprintf(at, sizeof at, "%s.block.2", prefix);
    return bs_graph_relu(g, bs__batch_norm(g, at, x, EPS));
}

/* Branch number `branch` with skip connections: `branch` steps out of one feature map, "deconv2.0", "deconv2.1". */
static bs_value chain(struct bs_graph *g, const struct bs_unetr_decoder_config *cfg, int branch, bs_value x,
                      const int64_t *features)
{
    char at[64];
    if (branch == 1)
        return step(g, cfg, "deconv1", x, features[0]);
    for (int i = 0; i < branch; i++) {
        snprintf(at, sizeof at, "deconv%d.%d", branch, i);
        x = step(g, cfg, at, x, features[i]);
    }
    return x;
}

void bs__unetr_decoder(struct bs_graph *g, const struct bs_unetr_decoder_config *cfg,
                       const struct bs__encoded *in)
{
    int64_t features[LEVELS];
    bs_value branch[LEVELS], x = in->features;
    char at[64];
    for (int i = 0; i < LEVELS; i++)
        features[i] = (int64_t)cfg->initial_features << (LEVELS - 1 - i);
    for (int i = 0; i < LEVELS; i++) {
        if (in->skip) {
            branch[i] = i < LEVELS - 1
                            ? chain(g, cfg, i + 1, in->earlier[i], features)
                            : bs__unet_block(g, BS_NORM_INSTANCE, "deconv4", in->image, features[i]);
            continue;
        }
        snprintf(at, sizeof at, "deconv%d", i + 1);
        branch[i] = x = step(g, cfg, at, x, features[i]);
    }

    x = bs__unet_block(g, BS_NORM_INSTANCE, "base", in->features, features[0]);
    for (int i = 0; i + 1 < LEVELS; i++) {
        const int64_t c = features[i + 1];
        snprintf(at, sizeof at, "decoder.samplers.%d", i);
        x = bs__unet_upsample(g, cfg->upsampling, at, x, c);
        x = bs_graph_concat(g, x, bs_graph_slice_channel(g, branch[i], c / 2, c));
        snprintf(at, sizeof at, "decoder.blocks.%d", i);
        x = bs__unet_block(g, BS_NORM_INSTANCE, at, x, c);
    }
    x = bs__unet_upsample(g, cfg->upsampling, "deconv_out", x, features[LEVELS - 1]);
    x = bs_graph_concat(g, x, branch[LEVELS - 1]);
    x = bs__unet_block(g, BS_NORM_INSTANCE, "decoder_head", x, features[LEVELS - 1]);
    x = bs__conv(g, "out_conv", x, cfg->out_channels, 1);
    bs_graph_output(g, "logits", x);
    bs_graph_output(g, "output", cfg->sigmoid ? bs_graph_sigmoid(g, x) : x);
}

bs_status bs__unetr_decoder_check(const struct bs_unetr_decoder_config *cfg, struct bs_err *err)
{
    if (cfg->out_channels < 1 || cfg->out_channels > MAX_CHANNELS)
        return BS_FAIL(err, BS_EINVAL, "out_channels is %d, accepted is 1 to %d", cfg->out_channels,
                       MAX_CHANNELS);
    if (cfg->initial_features < 2 || cfg->initial_features > MAX_FEATURES || cfg->initial_features % 2)
        return BS_FAIL(err, BS_EINVAL, "initial_features is %d, accepted are even numbers from 2 to %d",
                       cfg->initial_features, MAX_FEATURES);
    if ((int)cfg->upsampling < BS_UPSAMPLING_BILINEAR || (int)cfg->upsampling > BS_UPSAMPLING_TRANSPOSED)
        return BS_FAIL(err, BS_EINVAL, "upsampling %d is unknown", (int)cfg->upsampling);
    return BS_OK;
}

bs_status bs__unetr_decoder_recover(const struct bs_state_entry *state, size_t count,
                                    struct bs_unetr_decoder_config *cfg, bool *skip, struct bs_err *err)
{
    const struct bs_state_entry *out;
    bs_status rc = bs__state_need(state, count, "out_conv.weight", 4, &out, err);
    if (rc != BS_OK)
        return rc;
    *cfg = (struct bs_unetr_decoder_config){.sigmoid = true};
    if (bs__state_find(state, count, "deconv1.block.0.block.weight"))
        cfg->upsampling = BS_UPSAMPLING_TRANSPOSED;
    else if (bs__state_find(state, count, "deconv1.block.0.conv.weight"))
        cfg->upsampling = BS_UPSAMPLING_BILINEAR;
    else
        return BS_FAIL(err, BS_EINVAL,
                       "no upsampling: neither deconv1.block.0.conv.weight (bilinear) nor "
                       "deconv1.block.0.block.weight (transposed convolution)");
    *skip = bs__state_find(state, count, "deconv2.0.block.1.block.weight") != NULL;
    if ((rc = bs__state_int(out, 0, &cfg->out_channels, err)) != BS_OK)
        return rc;
    return bs__state_int(out, 1, &cfg->initial_features, err);
}

bs_status bs_arch_build_decoder(const struct bs_unetr_decoder_config *cfg, int features,
                                struct bs_graph **out, struct bs_err *err)
{
    const int64_t side = 2; /* the smallest that instance norm takes */
    *out = NULL;
    bs_status rc = bs__unetr_decoder_check(cfg, err);
    if (rc != BS_OK)
        return rc;
    struct bs_graph *g = bs_graph_create();
    if (!g)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the decoder's graph");
    const struct bs__encoded in = {.features =
                                       bs_graph_input(g, "features", BS_SHAPE(1, features, side, side))};
    bs__unetr_decoder(g, cfg, &in);
    if ((rc = bs_graph_finish(g, err)) != BS_OK) {
        bs_graph_destroy(g);
        return rc;
    }
    *out = g;
    return BS_OK;
}
