/* See config.h: defaults, and what fits together. */
#include "model/train/config.h"

#include <inttypes.h>
#include <math.h>

#define MAX_PATCH  16384
#define MAX_COUNT  (INT64_C(1) << 40)
#define MAX_BATCH  1024
#define MAX_BUDGET (INT64_C(1) << 24) /* MiB */

static void unet(int in_channels, struct bs_arch_config *arch)
{
    arch->unet = (struct bs_unet_config){.in_channels = in_channels,
                                         .depth = 4,
                                         .initial_features = 64,
                                         .norm = BS_NORM_INSTANCE,
                                         .upsampling = BS_UPSAMPLING_BILINEAR,
                                         .sigmoid = true};
}

static const struct bs_unetr_decoder_config decoder = {
    .initial_features = 64, .upsampling = BS_UPSAMPLING_BILINEAR, .sigmoid = true};

/* Over Segment Anything's ViT-B, but without its preprocessing: patches are standardised. */
static void unetr(int in_channels, struct bs_arch_config *arch)
{
    arch->unetr = (struct bs_unetr_config){.in_channels = in_channels,
                                           .image_size = 1024,
                                           .patch_size = 16,
                                           .embed_dim = 768,
                                           .depth = 12,
                                           .heads = 12,
                                           .mlp_features = 4 * 768,
                                           .window = 14,
                                           .global_blocks = 1u << 2 | 1u << 5 | 1u << 8 | 1u << 11,
                                           .neck_channels = 256,
                                           .decoder = decoder};
}

static void vimunet_tiny(int in_channels, struct bs_arch_config *arch)
{
    arch->vimunet = (struct bs_vimunet_config){.in_channels = in_channels,
                                               .image_size = 1024,
                                               .patch_size = 16,
                                               .embed_dim = 192,
                                               .depth = 24,
                                               .inner_features = 2 * 192,
                                               .state_size = 16,
                                               .dt_rank = 192 / 16,
                                               .conv_kernel = 4,
                                               .head_classes = 1000,
                                               .class_token = true,
                                               .divide_by_directions = true,
                                               .decoder = decoder};
}

void bs_train_config_set_out_channels(struct bs_arch_config *arch, int channels)
{
    if (arch->kind == BS_ARCH_UNET)
        arch->unet.out_channels = channels;
    else if (arch->kind == BS_ARCH_UNETR)
        arch->unetr.decoder.out_channels = channels;
    else
        arch->vimunet.decoder.out_channels = channels;
}

void bs_train_config_set_recipe(struct bs_train_config *c, enum bs_recipe recipe)
{
    c->sample.target = recipe;
    bs_train_config_set_out_channels(&c->arch, bs_target_channels(recipe));
    c->loss = (struct bs_loss){.kind = recipe == BS_RECIPE_BOUNDARIES ? BS_LOSS_DICE : BS_LOSS_DICE_DISTANCE,
                               .mask_background = true,
                               .alpha = 1,
                               .beta = 1};
}

void bs_train_config_set_patch(struct bs_train_config *c, size_t side)
{
    c->sample.height = c->sample.width = side;
}

void bs_train_config_default(enum bs_arch_kind kind, enum bs_recipe recipe, int in_channels,
                             struct bs_train_config *out)
{
    *out = (struct bs_train_config){.arch = {.kind = kind},
                                    .optimizer = bs_optimizer_defaults(BS_ADAM),
                                    .plateau = bs_plateau_defaults(),
                                    .sample = bs_sample_rule_default(),
                                    .batch = 2,
                                    .iterations = 100000};
    if (kind == BS_ARCH_UNET)
        unet(in_channels, &out->arch);
    else if (kind == BS_ARCH_UNETR)
        unetr(in_channels, &out->arch);
    else
        vimunet_tiny(in_channels, &out->arch);
    bs_train_config_set_recipe(out, recipe);
}

static bs_status need(const char *what, int64_t have, int64_t low, int64_t high, struct bs_err *err)
{
    if (have >= low && have <= high)
        return BS_OK;
    return BS_FAIL(err, BS_EINVAL, "training: %s is %" PRId64 ", accepted is %" PRId64 " to %" PRId64, what,
                   have, low, high);
}

/* An encoder sees a square of its own size; a smaller patch is filled up with zeros. */
static bs_status check_encoder(const struct bs_train_config *c, struct bs_err *err)
{
    const int side = bs_arch_image_size(&c->arch);
    const bool whole = c->sample.height == (size_t)side && c->sample.width == (size_t)side;
    if (c->sample.height > (size_t)side || c->sample.width > (size_t)side)
        return BS_FAIL(err, BS_EINVAL,
                       "training: patches are %zu x %zu pixels, the encoder takes at most %d x %d",
                       c->sample.height, c->sample.width, side, side);
    if (c->arch.kind == BS_ARCH_UNETR && c->arch.unetr.sam_statistics)
        return BS_FAIL(err, BS_EUNSUPPORTED,
                       "training: sam_statistics is true; training with Segment Anything's preprocessing is "
                       "not implemented, false is accepted");
    if (c->arch.kind == BS_ARCH_UNETR && c->arch.unetr.resize_input && !whole)
        return BS_FAIL(err, BS_EUNSUPPORTED,
                       "training: resize_input is true and patches are %zu x %zu pixels; training through a "
                       "resized input is not implemented, patches of %d x %d or false are accepted",
                       c->sample.height, c->sample.width, side, side);
    return BS_OK;
}

static bs_status check_patch(const struct bs_train_config *c, struct bs_err *err)
{
    const int divisor = bs_arch_divisor(&c->arch);
    bs_status rc;
    if ((rc = need("height of the patch", (int64_t)c->sample.height, 1, MAX_PATCH, err)) != BS_OK ||
        (rc = need("width of the patch", (int64_t)c->sample.width, 1, MAX_PATCH, err)) != BS_OK)
        return rc;
    if (bs_arch_image_size(&c->arch))
        return check_encoder(c, err);
    if (c->sample.height % (size_t)divisor || c->sample.width % (size_t)divisor)
        return BS_FAIL(err, BS_EINVAL,
                       "training: patches are %zu x %zu pixels; the network takes multiples of %d",
                       c->sample.height, c->sample.width, divisor);
    return BS_OK;
}

static bs_status check_length(const struct bs_train_config *c, struct bs_err *err)
{
    bs_status rc;
    if ((rc = need("iterations", c->iterations, 0, MAX_COUNT, err)) != BS_OK ||
        (rc = need("epochs", c->epochs, 0, MAX_COUNT, err)) != BS_OK)
        return rc;
    if ((c->iterations == 0) == (c->epochs == 0))
        return BS_FAIL(err, BS_EINVAL,
                       "training: iterations is %" PRId64 " and epochs is %" PRId64
                       "; one of them says how long, the other is 0",
                       c->iterations, c->epochs);
    if ((rc = need("epoch_samples", c->epoch_samples, 0, MAX_COUNT, err)) != BS_OK ||
        (rc = need("validate_every", c->validate_every, 0, MAX_COUNT, err)) != BS_OK ||
        (rc = need("validation_count", c->validation_count, 0, MAX_COUNT, err)) != BS_OK ||
        (rc = need("checkpoint_every", c->checkpoint_every, 0, MAX_COUNT, err)) != BS_OK)
        return rc;
    if ((rc = need("memory_budget", c->memory_budget, 0, MAX_BUDGET, err)) != BS_OK)
        return rc;
    return need("stop_after", c->stop_after, 0, MAX_COUNT, err);
}

bs_status bs_train_config_check(const struct bs_train_config *c, struct bs_err *err)
{
    const int channels = bs_target_channels(c->sample.target), made = bs_arch_out_channels(&c->arch);
    uint64_t parameters;
    bs_status rc;
    if ((rc = bs_arch_parameter_count(&c->arch, &parameters, err)) != BS_OK ||
        (rc = need("batch", c->batch, 1, MAX_BATCH, err)) != BS_OK || (rc = check_patch(c, err)) != BS_OK ||
        (rc = check_length(c, err)) != BS_OK || (rc = bs_optimizer_check(&c->optimizer, err)) != BS_OK ||
        (rc = bs_plateau_check(&c->plateau, err)) != BS_OK ||
        (rc = bs_loss_check(&c->loss, made, err)) != BS_OK ||
        (rc = need("target_min_size", c->sample.target_min_size, 0, MAX_COUNT, err)) != BS_OK ||
        (rc = need("min_objects", c->sample.min_objects, 0, MAX_COUNT, err)) != BS_OK)
        return rc;
    if (bs_augment_check(&c->sample.augment, err) != BS_OK)
        return bs_err_prefix(err, "training");
    if (made != channels)
        return BS_FAIL(err, BS_EINVAL, "training: out_channels is %d, the recipe has %d", made, channels);
    if (c->loss.kind == BS_LOSS_BCE_DICE && !bs_arch_sigmoid(&c->arch))
        return BS_FAIL(err, BS_EINVAL,
                       "training: final_activation is none; loss bce-dice needs Sigmoid, which yields "
                       "probabilities");
    if (c->optimizer.learning_rate <= 0)
        return BS_FAIL(err, BS_EINVAL, "training: learning_rate is %g, above 0 is accepted",
                       c->optimizer.learning_rate);
    if (c->seed > INT64_MAX)
        return BS_FAIL(err, BS_EINVAL, "training: seed is %" PRIu64 ", accepted is 0 to %" PRId64, c->seed,
                       INT64_MAX);
    return BS_OK;
}
