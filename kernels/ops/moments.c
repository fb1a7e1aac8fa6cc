/* Moments of neighbouring values, which three norms share. */
#include "kernels/ops/ops_internal.h"

#include <math.h>

struct bs__moments bs__moments(const float *x, int64_t count, double eps)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)x[i];
    const double mean = sum / (double)count;
    for (int64_t i = 0; i < count; i++)
        squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    return (struct bs__moments){mean, 1.0 / sqrt(squares / (double)count + eps)};
}
