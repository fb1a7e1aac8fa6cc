/* See plateau.h. */
#include "model/train/plateau.h"

#include <math.h>

#define LEAST_CHANGE 1e-8 /* of the rate, as torch's eps */

struct bs_plateau bs_plateau_defaults(void)
{
    return (struct bs_plateau){
        .factor = 0.9, .patience = 10, .threshold = 1e-4, .least = 0, .best = INFINITY, .bad = 0};
}

bs_status bs_plateau_check(const struct bs_plateau *p, struct bs_err *err)
{
    if (!(p->factor > 0 && p->factor < 1))
        return BS_FAIL(err, BS_EINVAL, "factor of the plateau is %g; between 0 and 1 is accepted", p->factor);
    if (p->patience < 0)
        return BS_FAIL(err, BS_EINVAL, "patience of the plateau is %d; from 0 is accepted", p->patience);
    if (!(p->threshold >= 0 && p->threshold < 1))
        return BS_FAIL(err, BS_EINVAL, "threshold of the plateau is %g; from 0 to below 1 is accepted",
                       p->threshold);
    if (!(p->least >= 0 && isfinite(p->least)))
        return BS_FAIL(err, BS_EINVAL, "least learning rate is %g; finite values from 0 are accepted",
                       p->least);
    return BS_OK;
}

double bs_plateau_step(struct bs_plateau *p, double metric, double learning_rate)
{
    /* a first metric of any size is better than none: infinity (1 - threshold) is infinity */
    if (metric < p->best * (1 - p->threshold)) {
        p->best = metric;
        p->bad = 0;
    } else {
        p->bad++;
    }
    if (p->bad <= p->patience)
        return learning_rate;
    p->bad = 0;
    const double lower = fmax(learning_rate * p->factor, p->least);
    return learning_rate - lower > LEAST_CHANGE ? lower : learning_rate;
}
