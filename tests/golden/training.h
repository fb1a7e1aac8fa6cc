/* Training fixtures of one network: what check_training.c (one gradient) and check_three_steps.c share. Main thread. */
#ifndef BS_TESTS_GOLDEN_TRAINING_H
#define BS_TESTS_GOLDEN_TRAINING_H

#include "model/train/step.h"
#include "model/weights/safetensors.h"
#include "tests/golden/golden.h"
#include "tests/golden/network.h"
#include "tests/golden/read_json.h"

/* Losses, gradients and parameters after three optimiser steps of one case, on one device. */
void check_training(struct golden *g, const char *folder, const struct golden_way *way,
                    const struct bs_arch_config *arch, struct bs_params *params);

/* A row of grad_noise.tsv: how large a parameter's gradient is, and how far float32 and float64 of the original are apart. */
struct training_noise {
    char name[160];
    double largest, difference;
};

/* One case on one device. */
struct training {
    struct golden *g;
    const char *folder;
    const struct golden_way *way;
    const struct bs_arch_config *arch;
    struct bs_params *params;
    struct bs_json *document;
    const struct bs_json_value *info; /* its root */
    struct bs_npy target;
    float *image; /* as the network takes it */
    struct bs_train_size size;
    struct bs_loss loss;
    struct training_noise *noise;
    size_t nnoise;
};

/* "small/unet_in/FILE ref" */
void training_label(const struct training *t, const char *file, char name[160]);
/* The row of a parameter; zeros where there is none. */
struct training_noise training_noise_of(const struct training *t, const char *parameter);
/* The largest magnitude; NaN when there is one. */
double training_largest(const float *v, size_t count);
/* What a tensor of a safetensors file holds, new memory; NULL when there is none of that name and shape. */
float *training_tensor(struct bs_safetensors *st, const struct bs_step_tensor *t);

/* The output in training mode against the file. */
void training_check_output(const struct training *t, const struct bs_step *step);

/* How the gradients of the first step agree. */
struct training_agreement {
    bool whole;   /* with every gradient, not with the largest of each tensor only */
    double worst; /* share of what a value may be off by */
    const char *worst_name;
    int compared; /* tensors */
};
/* gradient: per tensor of the step, NULL for what has none. */
bs_status training_compare_gradients(const struct training *t, const struct bs_step *step,
                                     float *const *gradient, struct training_agreement *a,
                                     struct bs_err *err) BS_NODISCARD;
/* nudges: how often the image was moved before they agreed. */
void training_report_gradients(const struct training *t, const struct training_agreement *a, int nudges);
/* The steps of one optimiser: losses against `key` of info.json and the state against `file`, where there are such. With
   neither, the first step only. (check_three_steps.c) */
void training_check_steps(const struct training *t, enum bs_optimizer_kind kind, const char *key,
                          const char *file);

#endif
