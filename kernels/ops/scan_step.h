/* One token of the selective scan for one feature: the formula, once. The reference runs it in double; other code may
   include it with another number type (and another kind of function) by defining these before:
     BS_SCAN_REAL   number type of the state and of all sums
     BS_SCAN_EXP, BS_SCAN_LOG1P   its exp(x) and log(1 + x)
     BS_SCAN_FN     what stands before a function
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

/* States per feature at most; networks have 16. */
#define BS_SCAN_MAX_STATES 256
/* Above it softplus is the identity, as in torch. */
#define BS_SCAN_SOFTPLUS_THRESHOLD 20

/* Step width: softplus(delta + bias), or the sum itself. */
BS_SCAN_FN BS_SCAN_REAL bs__scan_dt(float delta, float bias, int softplus)
{
    BS_SCAN_REAL v = (BS_SCAN_REAL)delta + (BS_SCAN_REAL)bias;
    return !softplus || v > BS_SCAN_SOFTPLUS_THRESHOLD ? v : BS_SCAN_LOG1P(BS_SCAN_EXP(v));
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
        h[s] = BS_SCAN_EXP(a[s] * dt) * h[s] + drive * (BS_SCAN_REAL)b[s];
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
