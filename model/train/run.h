/* A training run: samples made ahead by threads, steps on a device, validation, the learning rate's schedule, early stopping,
   checkpoints. Same configuration, data, initial weights and plan give the same bits, stopped and resumed at any step or not,
   with any number of threads that make samples.
   Everything belongs to the device's executor thread; sources are called from the sample threads too. */
#ifndef BS_MODEL_TRAIN_RUN_H
#define BS_MODEL_TRAIN_RUN_H

#include "model/train/config.h"
#include "model/weights/safetensors.h"

struct bs_run;

/* Text fields are copied, everything else is borrowed for as long as the run lives. */
struct bs_run_setup {
    struct bs_device *device;
    const struct bs_train_config *config;
    struct bs_params *initial; /* the network's weights to begin with (initial.h makes random ones) */
    const struct bs_pair_source *train;      /* at least one pair */
    const struct bs_pair_source *validation; /* at least one pair */
    /* Of a pair that is trained on, for messages; NULL: numbers are used. */
    const char *(*train_name)(void *ctx, size_t index);
    void *name_ctx;
    const char *dataset_hash; /* a run is resumed with the dataset it began with; hex digits */
    int sample_threads;       /* 0: samples are made by the caller between steps */
    size_t max_bytes;         /* planned memory above that is refused with BS_ENOMEM; 0: no limit */
    const struct bs_cancel
        *cancel; /* looked at while the run is planned, and who goes first meanwhile; NULL: nobody */
};

enum bs_run_event_kind {
    BS_RUN_STEP,       /* after every step */
    BS_RUN_VALIDATION, /* after every validation */
};

struct bs_run_event {
    enum bs_run_event_kind kind;
    int64_t step, epoch, steps; /* done so far, from 1; epochs begun; steps when the run ends by itself */
    double loss;                /* of this step; VALIDATION: mean of all steps since the one before */
    double learning_rate;       /* STEP: that it was made with; VALIDATION: from here on */
    double metric;              /* VALIDATION: mean loss over the validation windows; smaller is better */
    double best_metric;         /* VALIDATION: of the run so far */
    int64_t best_step;
    bool better; /* VALIDATION: this one is the best so far */
    /* Of the clock; no part of what repeats bit by bit. */
    double images_per_second; /* lately; 0: not known yet */
    double seconds_left;      /* until the last step; negative: not known yet */
    /* VALIDATION: the first window, what it should be and what the network makes of it: borrowed for the call. The image may
       be larger than the others, filled up with zeros below and on the right. */
    const float *image;           /* (channels, image_height, image_width) */
    const float *target, *output; /* (target_channels, height, width) */
    int channels, target_channels;
    size_t image_height, image_width, height, width;
};

enum bs_checkpoint_kind {
    BS_CHECKPOINT_LATEST, /* everything that is needed to go on */
    BS_CHECKPOINT_BEST,   /* a model file: the weights with the best validation metric so far */
    BS_CHECKPOINT_KINDS
};

/* Asked for between steps; zeros: go on. */
struct bs_run_control {
    bool pause;           /* write LATEST, then end with BS_RUN_PAUSED */
    bool best_now;        /* write BEST with these weights, when no validation has found better ones yet */
    double learning_rate; /* > 0: from the next step on */
};

struct bs_run_hooks {
    void *ctx;
    /* May be NULL. An error ends the run with it. */
    bs_status (*event)(void *ctx, const struct bs_run_event *event, struct bs_err *err);
    /* Keeps a checkpoint: bs_run_write_checkpoint with a descriptor of its own. When it returns BS_OK, the checkpoint
       counts as kept. An error ends the run; NULL: nothing is kept. */
    bs_status (*checkpoint)(void *ctx, enum bs_checkpoint_kind kind, const struct bs_run *run, int64_t step,
                            struct bs_err *err);
    /* May be NULL. */
    void (*control)(void *ctx, struct bs_run_control *control);
};

enum bs_run_end {
    BS_RUN_FINISHED, /* all steps were made */
    BS_RUN_STOPPED,  /* early stopping */
    BS_RUN_PAUSED,
};

struct bs_run_result {
    enum bs_run_end end;
    int64_t step, best_step;
    double best_metric;  /* infinity: nothing was validated */
    int64_t latest_step; /* of the last LATEST checkpoint; -1: none */
    uint64_t plan_hash;
};

/* Compiles and plans; BS_ENOMEM names the bytes and the limit. */
bs_status bs_run_create(const struct bs_run_setup *setup, struct bs_run **out,
                        struct bs_err *err) BS_NODISCARD;
/* Accepts NULL. */
void bs_run_destroy(struct bs_run *run);

/* Planned peak: arena of step or validation, state, samples made ahead. */
size_t bs_run_bytes(const struct bs_run *run);
/* Numbers that the optimiser changes. */
uint64_t bs_run_trained(const struct bs_run *run);
/* Of everything that may change a bit: the plans of step and validation. */
uint64_t bs_run_plan_hash(const struct bs_run *run);
/* Of the step, for people. */
const char *bs_run_algorithms(const struct bs_run *run);
int64_t bs_run_step(const struct bs_run *run);

/* Takes the state of a LATEST checkpoint. BS_EPRECONDITION says in words what differs: configuration, dataset, plan (device,
   library, threads), version of the format. The run is of no use after an error. */
bs_status bs_run_resume(struct bs_run *run, const struct bs_safetensors *checkpoint,
                        struct bs_err *err) BS_NODISCARD;

/* Runs to the end; once. BS_EINVAL when the loss is not finite: names the step, the images of its batch and the last LATEST
   checkpoint. BS_ECANCELLED as soon as cancel is set (between operators). result is filled in any case. */
bs_status bs_run_execute(struct bs_run *run, const struct bs_run_hooks *hooks, const struct bs_cancel *cancel,
                         struct bs_run_result *result, struct bs_err *err) BS_NODISCARD;

/* From a checkpoint hook: writes the whole file at the descriptor's position. BEST has the network's tensors and the
   description of a model file; LATEST moments, too ("adam.first/NAME", "adam.second/NAME"), and the run's state as JSON under
   the metadata key "bioseg.training". */
bs_status bs_run_write_checkpoint(const struct bs_run *run, enum bs_checkpoint_kind kind, int fd,
                                  struct bs_err *err) BS_NODISCARD;

#endif
