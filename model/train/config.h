/* What a training run does, as one value: network, target, loss, optimiser, schedule, samples. It is kept as canonical JSON
   (every member there, in one order), so that two runs are set up alike exactly when their texts are equal. Plain values; pure
   functions; any thread. */
#ifndef BS_MODEL_TRAIN_CONFIG_H
#define BS_MODEL_TRAIN_CONFIG_H

#include "kernels/executable.h"
#include "model/arch/arch.h"
#include "model/dataset/sample.h"
#include "model/model.h"
#include "model/train/loss.h"
#include "model/train/optimizer.h"
#include "model/train/plateau.h"

struct bs_train_config {
    struct bs_arch_config arch;
    struct bs_loss loss;
    struct bs_optimizer optimizer;
    struct bs_plateau plateau;    /* its settings; state is the run's */
    struct bs_sample_rule sample; /* sample.height and width: the patch; sample.target: the recipe */
    bool freeze_encoder;          /* parameters of the encoder stay as they began */
    int batch;                    /* samples of one step */
    /* A run ends after so many steps, or epochs; exactly one of them is not 0. An epoch is a pass over epoch_samples samples. */
    int64_t iterations, epochs;
    int64_t epoch_samples;  /* 0: as many as there are training images */
    int64_t validate_every; /* steps; 0: every epoch, but at least 100 steps apart */
    int64_t
        validation_count; /* windows of the validation images, the same every time; 0: one of each image */
    int64_t
        checkpoint_every; /* steps between two LATEST checkpoints, beside those after each validation; 0: only those */
    int64_t stop_after; /* early stopping: after more validations than this without a better one; 0: never */
    uint64_t seed;      /* of initial weights and samples; below 2^63 */
    /* Of activations and their gradients in a step: f32, or bf16 and f16 in half the memory. What is trained stays float32;
       validations are made with it. */
    enum bs_precision precision;
    /* MiB of planned memory that the run keeps to, for which a step computes activations again instead of keeping them: the same
       bits, later. 0: everything is kept, whatever that takes. */
    int64_t memory_budget;
};

/* The publication's: the network, its loss for the recipe (boundaries: dice; distances: dice-distance with masked background), Adam at
   1e-4, plateau 0.9 and 10, batch 2, patches of 512, 100000 steps, validation every epoch, flips and quarter turns, at least one
   object in a patch. Networks: U-Net with 64 features and instance norm, UNETR over ViT-B without the preprocessing of Segment
   Anything, ViM-UNet Tiny. */
void bs_train_config_default(enum bs_arch_kind kind, enum bs_recipe recipe, int in_channels,
                             struct bs_train_config *out);
/* Another recipe for the same network: output channels, target and loss follow. */
void bs_train_config_set_recipe(struct bs_train_config *config, enum bs_recipe recipe);
/* Of its last convolution. */
void bs_train_config_set_out_channels(struct bs_arch_config *arch, int channels);
/* The side of a square patch. */
void bs_train_config_set_patch(struct bs_train_config *config, size_t side);

/* Everything inside its range, and fitting together. The error names the member, its value and what is accepted. */
bs_status bs_train_config_check(const struct bs_train_config *config, struct bs_err *err) BS_NODISCARD;
/* Can a run of this configuration begin with the weights of that model? BS_EINVAL says what is different about its network. Only
   the number of output channels may be: *new_head says so, and the last convolution begins anew (initial.h). */
bs_status bs_train_config_check_initial(const struct bs_train_config *config,
                                        const struct bs_model_info *model, bool *new_head,
                                        struct bs_err *err) BS_NODISCARD;
/* free() the text. */
bs_status bs_train_config_to_json(const struct bs_train_config *config, char **json,
                                  struct bs_err *err) BS_NODISCARD;
/* Members that are not there have their defaults, but for "recipe" and the network ("architecture" and the object of that
   name), which are required. Unknown members, wrong types and values out of range are refused by name; what comes out has been checked. */
bs_status bs_train_config_from_json(const char *json, size_t len, struct bs_train_config *config,
                                    struct bs_err *err) BS_NODISCARD;

#endif
