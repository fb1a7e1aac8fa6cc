/* See optimizer.h. */
#include "model/train/optimizer.h"

#include <math.h>

struct bs_optimizer bs_optimizer_defaults(enum bs_optimizer_kind kind)
{
    return (struct bs_optimizer){.kind = kind,
                                 .learning_rate = 1e-4,
                                 .beta1 = 0.9,
                                 .beta2 = 0.999,
                                 .eps = 1e-8,
                                 .weight_decay = kind == BS_ADAMW ? 0.01 : 0};
}

static bs_status need(const char *what, double v, double lo, double below, struct bs_err *err)
{
    if (v >= lo && v < below)
        return BS_OK;
    return BS_FAIL(err, BS_EINVAL, "%s is %g; from %g to below %g is accepted", what, v, lo, below);
}

bs_status bs_optimizer_check(const struct bs_optimizer *o, struct bs_err *err)
{
    bs_status rc;
    if (o->kind != BS_ADAM && o->kind != BS_ADAMW)
        return BS_FAIL(err, BS_EINVAL, "optimiser %d is unknown", (int)o->kind);
    if ((rc = need("learning rate", o->learning_rate, 0, 1e3, err)) != BS_OK ||
        (rc = need("beta1", o->beta1, 0, 1, err)) != BS_OK ||
        (rc = need("beta2", o->beta2, 0, 1, err)) != BS_OK ||
        (rc = need("eps of the optimiser", o->eps, 1e-30, 1, err)) != BS_OK)
        return rc;
    return need("weight decay", o->weight_decay, 0, 1, err);
}

void bs_optimizer_step(const struct bs_optimizer *o, int64_t step, const float *gradient, size_t count,
                       float *value, float *first, float *second)
{
    const double unbias = 1 - pow(o->beta1, (double)step), root = sqrt(1 - pow(o->beta2, (double)step));
    const double keep = o->kind == BS_ADAMW ? 1 - o->learning_rate * o->weight_decay : 1;
    const double into = o->kind == BS_ADAM ? o->weight_decay : 0;
    for (size_t i = 0; i < count; i++) {
        const double x = (double)value[i] * keep, g = (double)gradient[i] + into * (double)value[i];
        const double m = o->beta1 * (double)first[i] + (1 - o->beta1) * g;
        const double v = o->beta2 * (double)second[i] + (1 - o->beta2) * g * g;
        first[i] = (float)m;
        second[i] = (float)v;
        value[i] = (float)(x - o->learning_rate / unbias * m / (sqrt(v) / root + o->eps));
    }
}
