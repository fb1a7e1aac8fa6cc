/* The factor of the loss in a step with float16 values, whose range ends at 65504 and 6e-8: gradients are computed of scale times
   the loss, so that small ones do not vanish, and divided by it before they are applied (Micikevicius et al. 2018, "Mixed precision
   training"). A step whose gradients are not finite changes nothing and halves the scale; a row of good ones doubles it. Powers of
   two, so nothing is rounded. Pure function; any thread. */
#ifndef BS_MODEL_TRAIN_LOSS_SCALE_H
#define BS_MODEL_TRAIN_LOSS_SCALE_H

#include <stdbool.h>
#include <stdint.h>

#define BS_LOSS_SCALE_FIRST 65536.0
#define BS_LOSS_SCALE_MOST  16777216.0
#define BS_LOSS_SCALE_ROW   2000 /* good steps before it is doubled */

struct bs_loss_scale {
    double scale; /* 1: none */
    int64_t good; /* steps since it was changed */
};

/* After a step; overflow: its gradients were not finite. False: the scale is 1 and gradients still overflow, so no scale helps. */
bool bs_loss_scale_step(struct bs_loss_scale *s, bool overflow);

#endif
