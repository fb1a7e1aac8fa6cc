/* One token of the selective scan for one feature: the formula, once. The reference runs it in double; other code may
   include it with another number type (and another kind of function) by defining these before:
     BS_SCAN_REAL   number type of the state and of all sums
     BS_SCAN_EXP, BS_SCAN_LOG1P   its exp(x) and log(1 + x)
     BS_SCAN_FN     what stands before a function
   and, where it has better ways:
     BS_SCAN_SOFTPLUS   log(1 + exp(x))
     BS_SCAN_DECAY      the exponential of a dt: of base 2 where a was multiplied by log2(e)
   Inputs are float32. Pure functions, any thread. */
#ifndef BS_KERNELS_OPS_SCAN_STEP_H
#define BS_KERNELS_OPS_SCAN_STEP_H

#ifndef BS_SCAN_REAL
#include <math.h>
#define BS_SCAN_REAL  double
#define BS_SCAN_EXP   exp
#define BS_SCAN_LOG1P log1p
#define BS_SCAN_FN    static inline
#endif
#ifndef BS_SCAN_SOFTPLUS
#define BS_SCAN_SOFTPLUS(x) BS_SCAN_LOG1P(BS_SCAN_EXP(x))
#endif
#ifndef BS_SCAN_DECAY
#define BS_SCAN_DECAY BS_SCAN_EXP
#endif

/* States per feature at most; networks have 16. */
#define BS_SCAN_MAX_STATES 256
/* Above it softplus is the identity, as in torch. */
#define BS_SCAN_SOFTPLUS_THRESHOLD 20

/* Step width: softplus(delta + bias), or the sum itself. */
BS_SCAN_FN BS_SCAN_REAL bs__scan_dt(float delta, float bias, int softplus)
{
    BS_SCAN_REAL v = (BS_SCAN_REAL)delta + (BS_SCAN_REAL)bias;
    return !softplus || v > BS_SCAN_SOFTPLUS_THRESHOLD ? v : BS_SCAN_SOFTPLUS(v);
}

/* What a state keeps of itself in a step, and the state after it: exp(a dt) h + dt u b, drive = dt u. */
BS_SCAN_FN BS_SCAN_REAL bs__scan_decay(BS_SCAN_REAL a, BS_SCAN_REAL dt)
{
    return BS_SCAN_DECAY(a * dt);
}
BS_SCAN_FN BS_SCAN_REAL bs__scan_next(BS_SCAN_REAL decay, BS_SCAN_REAL h, BS_SCAN_REAL drive, BS_SCAN_REAL b)
{
    return decay * h + drive * b;
}

/* Slope of the step width: the derivative of bs__scan_dt by delta, and by bias. */
BS_SCAN_FN BS_SCAN_REAL bs__scan_dt_slope(float delta, float bias, int softplus)
{
    BS_SCAN_REAL v = (BS_SCAN_REAL)delta + (BS_SCAN_REAL)bias;
    return !softplus || v > BS_SCAN_SOFTPLUS_THRESHOLD ? 1 : 1 / (1 + BS_SCAN_EXP(-v));
}

/* h = exp(a dt) h + dt u b for every state, a = -exp(a_log); returns the sum of h c. */
BS_SCAN_FN BS_SCAN_REAL bs__scan_step(BS_SCAN_REAL *h, const BS_SCAN_REAL *a, const float *b, const float *c,
                                      int states, BS_SCAN_REAL dt, float u)
{
    BS_SCAN_REAL drive = dt * (BS_SCAN_REAL)u, sum = 0;
    for (int s = 0; s < states; s++) {
        h[s] = bs__scan_next(bs__scan_decay(a[s], dt), h[s], drive, (BS_SCAN_REAL)b[s]);
        sum += h[s] * (BS_SCAN_REAL)c[s];
    }
    return sum;
}

/* silu(z) = z / (1 + exp(-z)), the gate of a scan's result. */
BS_SCAN_FN BS_SCAN_REAL bs__scan_gate(float z)
{
    return (BS_SCAN_REAL)z / (1 + BS_SCAN_EXP(-(BS_SCAN_REAL)z));
}

/* Derivative of the gate by z. */
BS_SCAN_FN BS_SCAN_REAL bs__scan_gate_slope(float z)
{
    BS_SCAN_REAL s = 1 / (1 + BS_SCAN_EXP(-(BS_SCAN_REAL)z));
    return s * (1 + (BS_SCAN_REAL)z * (1 - s));
}

#endif
