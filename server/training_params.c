/* The table of a training run's parameters. See training_params.h. */
#include "server/training_params.h"

#include <math.h>
#include <string.h>

#define STEPS_MAX 1e9

/* One parameter: how it is described, and how it is read and written. `of` is a bit for each architecture that has it. */
struct param {
    struct bs_param_spec spec; /* default_value is filled in */
    unsigned of;
    double (*get)(const struct bs_train_config *c);
    void (*set)(struct bs_train_config *c, double v);
};

#define ALL  (1u << BS_ARCH_UNET | 1u << BS_ARCH_UNETR | 1u << BS_ARCH_VIMUNET)
#define UNET (1u << BS_ARCH_UNET)
#define VIM  (1u << BS_ARCH_VIMUNET)

#define MEMBER(name, member, type)                                                                           \
    static double get_##name(const struct bs_train_config *c)                                                \
    {                                                                                                        \
        return (double)c->member;                                                                            \
    }                                                                                                        \
    static void set_##name(struct bs_train_config *c, double v)                                              \
    {                                                                                                        \
        c->member = (type)v;                                                                                 \
    }
MEMBER(learning_rate, optimizer.learning_rate, double)
MEMBER(weight_decay, optimizer.weight_decay, double)
MEMBER(factor, plateau.factor, double)
MEMBER(patience, plateau.patience, int)
MEMBER(batch, batch, int)
MEMBER(epoch_samples, epoch_samples, int64_t)
MEMBER(validate_every, validate_every, int64_t)
MEMBER(validation_count, validation_count, int64_t)
MEMBER(checkpoint_every, checkpoint_every, int64_t)
MEMBER(stop_after, stop_after, int64_t)
MEMBER(memory_budget, memory_budget, int64_t)
MEMBER(flips, sample.flips, bool)
MEMBER(quarter_turns, sample.quarter_turns, bool)
MEMBER(elastic, sample.augment.elastic, double)
MEMBER(elastic_spacing, sample.augment.elastic_spacing, double)
MEMBER(blur, sample.augment.blur, double)
MEMBER(gamma, sample.augment.gamma, double)
MEMBER(contrast, sample.augment.contrast, double)
MEMBER(brightness, sample.augment.brightness, double)
MEMBER(noise, sample.augment.noise, double)
MEMBER(min_objects, sample.min_objects, int64_t)
MEMBER(target_min_size, sample.target_min_size, int64_t)
MEMBER(depth, arch.unet.depth, int)
MEMBER(encoder_size, arch.vimunet.image_size, int)
MEMBER(encoder_depth, arch.vimunet.depth, int)
MEMBER(iterations, iterations, int64_t)
MEMBER(epochs, epochs, int64_t)

/* Length is stated in one of two ways; the one named last counts. */
static void set_iterations_alone(struct bs_train_config *c, double v)
{
    set_iterations(c, v);
    if (v > 0)
        c->epochs = 0;
}

static void set_epochs_alone(struct bs_train_config *c, double v)
{
    set_epochs(c, v);
    if (v > 0)
        c->iterations = 0;
}

/* Points lie as far apart as is usual until it is said how far. */
static void set_elastic_alone(struct bs_train_config *c, double v)
{
    set_elastic(c, v);
    if (v > 0 && c->sample.augment.elastic_spacing == 0)
        c->sample.augment.elastic_spacing = 32;
}

static double get_patch(const struct bs_train_config *c)
{
    return (double)c->sample.height;
}

static void set_patch(struct bs_train_config *c, double v)
{
    bs_train_config_set_patch(c, (size_t)v);
}

static int *features(struct bs_train_config *c)
{
    return c->arch.kind == BS_ARCH_UNET    ? &c->arch.unet.initial_features
           : c->arch.kind == BS_ARCH_UNETR ? &c->arch.unetr.decoder.initial_features
                                           : &c->arch.vimunet.decoder.initial_features;
}

static double get_features(const struct bs_train_config *c)
{
    struct bs_train_config copy = *c;
    return *features(&copy);
}

static void set_features(struct bs_train_config *c, double v)
{
    *features(c) = (int)v;
}

static double get_encoder_width(const struct bs_train_config *c)
{
    return c->arch.vimunet.embed_dim;
}

/* What a mixer consists of follows from it (Gu & Dao 2023). */
static void set_encoder_width(struct bs_train_config *c, double v)
{
    struct bs_vimunet_config *vim = &c->arch.vimunet;
    vim->embed_dim = (int)v;
    vim->inner_features = 2 * vim->embed_dim;
    vim->dt_rank = (vim->embed_dim + 15) / 16;
}

static double get_optimizer(const struct bs_train_config *c)
{
    return (double)c->optimizer.kind;
}

/* Another one brings its own weight decay; the learning rate stays. */
static void set_optimizer(struct bs_train_config *c, double v)
{
    double rate = c->optimizer.learning_rate;
    c->optimizer = bs_optimizer_defaults((enum bs_optimizer_kind)v);
    c->optimizer.learning_rate = rate;
}

static double get_precision(const struct bs_train_config *c)
{
    return (double)c->precision;
}

static void set_precision(struct bs_train_config *c, double v)
{
    c->precision = (enum bs_precision)v;
}

static double get_loss(const struct bs_train_config *c)
{
    return (double)c->loss.kind;
}

static void set_loss(struct bs_train_config *c, double v)
{
    c->loss.kind = (enum bs_loss_kind)v;
}

#define ACCESS(name) .get = get_##name, .set = set_##name

/* In the order in which they are set when several are given: what brings defaults of its own comes first. */
static const struct param params[] = {
    {{.name = "iterations",
      .title = "Steps",
      .help = "steps of the optimizer; the run ends after so many",
      .type = BS_PARAM_INT,
      .max = STEPS_MAX,
      .step = 1000},
     ALL,
     .get = get_iterations,
     .set = set_iterations_alone},
    {{.name = "epochs",
      .title = "Epochs",
      .help = "instead of steps: passes over the training images",
      .type = BS_PARAM_INT,
      .max = STEPS_MAX,
      .step = 1},
     ALL,
     .get = get_epochs,
     .set = set_epochs_alone},
    {{.name = "patch",
      .title = "Patch",
      .help = "side of the windows that are cut from the images",
      .type = BS_PARAM_INT,
      .min = 16,
      .max = 16384,
      .step = 64,
      .unit = "px"},
     ALL,
     ACCESS(patch)},
    {{.name = "batch",
      .title = "Batch",
      .help = "patches of one step",
      .type = BS_PARAM_INT,
      .min = 1,
      .max = 1024,
      .step = 1},
     ALL,
     ACCESS(batch)},
    {{.name = "features",
      .title = "Features",
      .help = "width of the network at full resolution (of its decoder, if it has an encoder of its own); "
              "doubles with each level",
      .type = BS_PARAM_INT,
      .min = 1,
      .max = 1024,
      .step = 16},
     ALL,
     ACCESS(features)},
    {{.name = "depth",
      .title = "Levels",
      .help = "how often the U-Net halves the resolution",
      .type = BS_PARAM_INT,
      .min = 1,
      .max = 8,
      .step = 1,
      .advanced = true},
     UNET,
     ACCESS(depth)},
    {{.name = "encoder_size",
      .title = "Encoder size",
      .help =
          "side of the square that the encoder has positions for; patches may be smaller, and larger images "
          "are segmented in tiles of this size",
      .type = BS_PARAM_INT,
      .min = 16,
      .max = 4096,
      .step = 16,
      .unit = "px",
      .advanced = true},
     VIM,
     ACCESS(encoder_size)},
    {{.name = "encoder_width",
      .title = "Encoder width",
      .help = "features of a token",
      .type = BS_PARAM_INT,
      .min = 1,
      .max = 4096,
      .step = 16,
      .advanced = true},
     VIM,
     ACCESS(encoder_width)},
    {{.name = "encoder_depth",
      .title = "Encoder layers",
      .help = "layers of Vision Mamba",
      .type = BS_PARAM_INT,
      .min = 1,
      .max = 128,
      .step = 1,
      .advanced = true},
     VIM,
     ACCESS(encoder_depth)},
    {{.name = "optimizer",
      .title = "Optimizer",
      .help = "another one brings its own weight decay: 0 for adam, 0.01 for adamw",
      .type = BS_PARAM_ENUM,
      .choices = "adam|adamw",
      .max = 1,
      .step = 1,
      .advanced = true},
     ALL,
     ACCESS(optimizer)},
    {{.name = "learning_rate",
      .title = "Learning rate",
      .help = "size of the first steps; lowered when the validation loss gets no better",
      .type = BS_PARAM_FLOAT,
      .min = 1e-12,
      .max = 1,
      .step = 1e-5},
     ALL,
     ACCESS(learning_rate)},
    {{.name = "weight_decay",
      .title = "Weight decay",
      .help = "pulls weights towards 0",
      .type = BS_PARAM_FLOAT,
      .max = 1,
      .step = 1e-3,
      .advanced = true},
     ALL,
     ACCESS(weight_decay)},
    {{.name = "patience",
      .title = "Patience",
      .help = "validations that may be no better before the learning rate is lowered",
      .type = BS_PARAM_INT,
      .max = 1e6,
      .step = 1,
      .advanced = true},
     ALL,
     ACCESS(patience)},
    {{.name = "factor",
      .title = "Factor",
      .help = "by which the learning rate is lowered then",
      .type = BS_PARAM_FLOAT,
      .min = 1e-6,
      .max = 1,
      .step = 0.05,
      .advanced = true},
     ALL,
     ACCESS(factor)},
    {{.name = "stop_after",
      .title = "Stop after",
      .help = "validations that may be no better before the run ends early; 0: it does not",
      .type = BS_PARAM_INT,
      .max = 1e6,
      .step = 1},
     ALL,
     ACCESS(stop_after)},
    {{.name = "validate_every",
      .title = "Validate every",
      .help = "steps between two validations; 0: every epoch, but at least 100 steps apart",
      .type = BS_PARAM_INT,
      .max = STEPS_MAX,
      .step = 100},
     ALL,
     ACCESS(validate_every)},
    {{.name = "validation_count",
      .title = "Validation patches",
      .help = "patches of a validation, the same every time; 0: one of each image",
      .type = BS_PARAM_INT,
      .max = 1e6,
      .step = 1,
      .advanced = true},
     ALL,
     ACCESS(validation_count)},
    {{.name = "checkpoint_every",
      .title = "Checkpoint every",
      .help =
          "steps between two checkpoints to go on from, beside those after each validation; 0: only those",
      .type = BS_PARAM_INT,
      .max = STEPS_MAX,
      .step = 100,
      .advanced = true},
     ALL,
     ACCESS(checkpoint_every)},
    {{.name = "epoch_samples",
      .title = "Epoch",
      .help = "patches of one epoch; 0: as many as there are training images",
      .type = BS_PARAM_INT,
      .max = STEPS_MAX,
      .step = 1,
      .advanced = true},
     ALL,
     ACCESS(epoch_samples)},
    {{.name = "precision",
      .title = "Precision",
      .help = "of what a step keeps for its backward; weights, sums and losses are f32 in any case. bf16: "
              "half the "
              "memory; f16: with a loss that is scaled, for devices that have no bf16",
      .type = BS_PARAM_ENUM,
      .choices = "f32|bf16|f16",
      .max = 2,
      .step = 1,
      .advanced = true},
     ALL,
     ACCESS(precision)},
    {{.name = "memory_budget",
      .title = "Memory",
      .help = "that a run may take: steps compute activations again instead of keeping them, for the same "
              "result in more time; 0: everything is kept",
      .type = BS_PARAM_INT,
      .max = 1 << 24,
      .step = 256,
      .unit = "MiB",
      .advanced = true},
     ALL,
     ACCESS(memory_budget)},
    {{.name = "flips",
      .title = "Flips",
      .help = "mirror patches at random",
      .type = BS_PARAM_BOOL,
      .max = 1,
      .step = 1},
     ALL,
     ACCESS(flips)},
    {{.name = "quarter_turns",
      .title = "Quarter turns",
      .help = "turn patches by 0, 90, 180 or 270 degrees at random",
      .type = BS_PARAM_BOOL,
      .max = 1,
      .step = 1},
     ALL,
     ACCESS(quarter_turns)},
    {{.name = "elastic",
      .title = "Elastic deformation",
      .help = "pixels that patches are deformed by at most; at most 0.4 of elastic_spacing",
      .type = BS_PARAM_FLOAT,
      .max = 204.8,
      .step = 0.5,
      .unit = "px",
      .advanced = true},
     ALL,
     .get = get_elastic,
     .set = set_elastic_alone},
    {{.name = "elastic_spacing",
      .title = "Deformation spacing",
      .help = "pixels between the points that a deformation moves",
      .type = BS_PARAM_FLOAT,
      .max = 512,
      .step = 1,
      .unit = "px",
      .advanced = true},
     ALL,
     ACCESS(elastic_spacing)},
    {{.name = "blur",
      .title = "Blur",
      .help = "patches are blurred by a Gaussian of up to this deviation",
      .type = BS_PARAM_FLOAT,
      .max = 16,
      .step = 0.1,
      .unit = "px",
      .advanced = true},
     ALL,
     ACCESS(blur)},
    {{.name = "gamma",
      .title = "Gamma",
      .help = "intensities, from smallest to largest, are raised to a power of exp(-gamma) to exp(gamma)",
      .type = BS_PARAM_FLOAT,
      .max = 2,
      .step = 0.05,
      .advanced = true},
     ALL,
     ACCESS(gamma)},
    {{.name = "contrast",
      .title = "Contrast",
      .help = "standardised patches are multiplied by 1 - contrast to 1 + contrast",
      .type = BS_PARAM_FLOAT,
      .max = 0.99,
      .step = 0.05,
      .advanced = true},
     ALL,
     ACCESS(contrast)},
    {{.name = "brightness",
      .title = "Brightness",
      .help = "up to this is added to standardised patches or taken from them",
      .type = BS_PARAM_FLOAT,
      .max = 10,
      .step = 0.05,
      .advanced = true},
     ALL,
     ACCESS(brightness)},
    {{.name = "noise",
      .title = "Noise",
      .help = "noise of up to this deviation is added to standardised patches",
      .type = BS_PARAM_FLOAT,
      .max = 10,
      .step = 0.05,
      .advanced = true},
     ALL,
     ACCESS(noise)},
    {{.name = "min_objects",
      .title = "Objects",
      .help = "a patch with fewer is drawn again; 0: every patch is taken",
      .type = BS_PARAM_INT,
      .max = 1e6,
      .step = 1,
      .advanced = true},
     ALL,
     ACCESS(min_objects)},
    {{.name = "target_min_size",
      .title = "Smallest object",
      .help = "smaller ones are no objects (distances only)",
      .type = BS_PARAM_INT,
      .max = 1e9,
      .step = 1,
      .unit = "px",
      .advanced = true},
     ALL,
     ACCESS(target_min_size)},
    {{.name = "loss",
      .title = "Loss",
      .help = "dice and bce-dice for boundaries; all of them for distances",
      .type = BS_PARAM_ENUM,
      .choices = "dice|bce-dice|distance|dice-distance",
      .max = 3,
      .step = 1,
      .advanced = true},
     ALL,
     ACCESS(loss)},
};
#define COUNT (sizeof params / sizeof *params)
_Static_assert(COUNT <= BS_TRAINING_MAX_PARAMS, "the table is longer than its readers expect");
_Static_assert(BS_ADAM == 0 && BS_ADAMW == 1 && BS_LOSS_DICE == 0 && BS_LOSS_BCE_DICE == 1 &&
                   BS_LOSS_DISTANCE == 2 && BS_LOSS_DICE_DISTANCE == 3,
               "choices stand in the order of the enums");

int bs_training_param_specs(const struct bs_train_config *config, struct bs_param_spec *out, int cap)
{
    int n = 0;
    for (size_t i = 0; i < COUNT && n < cap; i++) {
        if (!(params[i].of & 1u << config->arch.kind))
            continue;
        out[n] = params[i].spec;
        out[n++].default_value = params[i].get(config);
    }
    return n;
}

bs_status bs_training_param_set(struct bs_train_config *config, const char *name, double value,
                                struct bs_err *err)
{
    for (size_t i = 0; i < COUNT; i++) {
        const struct param *p = &params[i];
        if (strcmp(p->spec.name, name) != 0 || !(p->of & 1u << config->arch.kind))
            continue;
        if (!(value >= p->spec.min && value <= p->spec.max))
            return BS_FAIL(err, BS_EINVAL, "%s is %.10g; %.10g to %.10g is accepted", name, value,
                           p->spec.min, p->spec.max);
        if (p->spec.type != BS_PARAM_FLOAT && value != floor(value))
            return BS_FAIL(err, BS_EINVAL, "%s is %.10g; a whole number is accepted", name, value);
        p->set(config, value);
        return BS_OK;
    }
    return BS_FAIL(err, BS_EINVAL,
                   "there is no parameter \"%.64s\" of training a %s; Training.Describe lists them", name,
                   bs_arch_name(config->arch.kind));
}
