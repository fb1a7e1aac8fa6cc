/* What the files of a training run share: run.c has its life and what it is planned to take, run_execute.c the loop, checkpoint.c
   its files. */
#ifndef BS_MODEL_TRAIN_RUN_INTERNAL_H
#define BS_MODEL_TRAIN_RUN_INTERNAL_H

#include "model/train/batches.h"
#include "model/train/loss_scale.h"
#include "model/train/run.h"
#include "model/train/validate.h"

/* What a checkpoint keeps beside tensors. */
struct bs__run_state {
    int64_t step; /* steps done; the next batch's number */
    double learning_rate;
    struct bs_plateau plateau;
    double best_metric; /* infinity: none yet */
    int64_t best_step;
    int64_t since_best;         /* validations since the best one */
    struct bs_loss_scale scale; /* used with f16 */
    int64_t skipped;            /* steps whose gradients overflowed: the optimiser made none */
    double loss_sum;            /* of the steps since the last validation */
    int64_t loss_count;
};

struct bs_run {
    struct bs_run_setup setup; /* pointers inside are borrowed, but for those below */
    struct bs_train_config config;
    char *config_json; /* canonical */
    char dataset_hash[80];
    char device[512]; /* in words, for whoever is refused */
    struct bs_params *initial;
    struct bs_step *step;
    struct bs_validator *validator;
    struct bs_batches_setup train, validation;
    int64_t steps; /* until the end */
    int64_t epoch_steps, validate_every, validation_count;
    struct bs__run_state state;
    int64_t latest_step;            /* of the last LATEST checkpoint; -1: none */
    const struct bs_cancel *cancel; /* of planning, then of the execution: who goes first; NULL: nobody */
};

/* config_json.c: where two texts of a configuration part, member by member, in words. */
void bs__first_difference(const char *a, const char *of_a, const char *b, const char *of_b, char *out,
                          size_t size);

#endif
