/* The learning rate is multiplied by a factor when the validation metric (smaller is better) has not got better for longer
   than `patience` validations, as torch's ReduceLROnPlateau in mode min with a relative threshold. Plain values, kept in
   checkpoints as they are; any thread. */
#ifndef BS_MODEL_TRAIN_PLATEAU_H
#define BS_MODEL_TRAIN_PLATEAU_H

#include "kernels/base/status.h"

struct bs_plateau {
    /* settings */
    double factor;    /* 0.9 */
    int patience;     /* 10 */
    double threshold; /* 1e-4: better means below best (1 - threshold) */
    double least;     /* the rate does not go below this; 0 */
    /* state */
    double best; /* infinity before the first validation */
    int bad;     /* validations since the last better one, or since the rate was lowered */
};

/* The publication's settings, nothing seen yet. */
struct bs_plateau bs_plateau_defaults(void);
bs_status bs_plateau_check(const struct bs_plateau *p, struct bs_err *err) BS_NODISCARD;
/* Takes the metric of one validation and gives the learning rate from here on. A metric that is not a number counts as no
   better. A change of less than 1e-8 is not made. */
double bs_plateau_step(struct bs_plateau *p, double metric, double learning_rate);

#endif
