/* The U-Net's config from the keys and shapes of a state dict. Only looks for the few entries that tell one variant
   from another; that everything else fits is checked by arch.c against the graph. Pure functions; any thread. */
#include "model/arch/arch_internal.h"

#include <stdio.h>

static const struct bs_state_entry *find_encoder_weight(const struct bs_state_entry *state, size_t count,
                                                        int level, int module)
{
    char name[128];
    if (snprintf(name, sizeof name, "encoder.blocks.%d.block.%d.weight", level, module) >= (int)sizeof name)
        return NULL;
    return bs__state_find(state, count, name);
}

/* A block begins with its norm or, without one, with the convolution. InstanceNorm has no parameters; the one with
   running statistics computes in evaluation mode what BatchNorm computes, and has the same keys. */
static enum bs_norm recover_norm(const struct bs_state_entry *state, size_t count)
{
    const struct bs_state_entry *first = bs__state_find(state, count, "encoder.blocks.0.block.0.weight");
    if (!first)
        return BS_NORM_INSTANCE;
    if (first->shape.ndim != 1)
        return BS_NORM_NONE;
    return bs__state_find(state, count, "encoder.blocks.0.block.0.running_mean") ? BS_NORM_BATCH
                                                                                 : BS_NORM_GROUP;
}

bs_status bs__unet_recover(const struct bs_state_entry *state, size_t count, struct bs_unet_config *cfg,
                           struct bs_err *err)
{
    *cfg = (struct bs_unet_config){.norm = recover_norm(state, count), .sigmoid = true};

    const struct bs_state_entry *in = bs__state_find(
        state, count,
        cfg->norm == BS_NORM_NONE ? "encoder.blocks.0.block.0.weight" : "encoder.blocks.0.block.1.weight");
    if (!in)
        return BS_FAIL(err, BS_EINVAL, "not a U-Net: there is no encoder.blocks.0.block.1.weight");
    if (in->shape.ndim == 5)
        return BS_FAIL(err, BS_EUNSUPPORTED, "this is a 3D U-Net; networks of 2D images are supported");
    if (in->shape.ndim != 4)
        return BS_FAIL(err, BS_EINVAL, "%s has %d axes, a convolution has 4", in->name, in->shape.ndim);

    const struct bs_state_entry *out = bs__state_find(state, count, "out_conv.weight");
    if (bs__state_find(state, count, "out_conv.0.weight"))
        return BS_FAIL(err, BS_EUNSUPPORTED,
                       "this U-Net has side outputs at every level; one output is supported");
    if (!out)
        return BS_FAIL(err, BS_EUNSUPPORTED,
                       "this U-Net has no out_conv; networks with an output layer are supported");
    if (out->shape.ndim != 4)
        return BS_FAIL(err, BS_EINVAL, "out_conv.weight has %d axes, a convolution has 4", out->shape.ndim);

    while (cfg->depth < 64 && (find_encoder_weight(state, count, cfg->depth, 0) ||
                               find_encoder_weight(state, count, cfg->depth, 1)))
        cfg->depth++;

    if (bs__state_find(state, count, "decoder.samplers.0.block.weight"))
        cfg->upsampling = BS_UPSAMPLING_TRANSPOSED;
    else if (bs__state_find(state, count, "decoder.samplers.0.conv.weight"))
        cfg->upsampling = BS_UPSAMPLING_BILINEAR;
    else
        return BS_FAIL(err, BS_EINVAL,
                       "no upsampling: neither decoder.samplers.0.conv.weight (bilinear) nor "
                       "decoder.samplers.0.block.weight (transposed convolution)");

    bs_status rc;
    if ((rc = bs__state_int(in, 1, &cfg->in_channels, err)) != BS_OK ||
        (rc = bs__state_int(in, 0, &cfg->initial_features, err)) != BS_OK)
        return rc;
    return bs__state_int(out, 0, &cfg->out_channels, err);
}
