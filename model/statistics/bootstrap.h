/* How far the mean difference of two scores of the same images can be trusted: the paired bootstrap (B. Efron, "Bootstrap Methods:
   Another Look at the Jackknife", Annals of Statistics 7, 1979). Pure function; any thread. */
#ifndef BS_MODEL_STATISTICS_BOOTSTRAP_H
#define BS_MODEL_STATISTICS_BOOTSTRAP_H

#include "kernels/base/status.h"

#include <stdint.h>

#define BS_BOOTSTRAP_MIN_RESAMPLES 100
#define BS_BOOTSTRAP_MAX_RESAMPLES 1000000

struct bs_bootstrap_options {
    uint64_t seed;
    uint32_t resamples;
    double confidence; /* 0.5 to 0.999 */
};

struct bs_bootstrap_interval {
    double mean_a, mean_b;
    double difference; /* mean of a[i] - b[i] */
    double low, high;  /* NaN with fewer than two images: one says nothing about the next */
};

/* a and b: n scores of the same images. n images are drawn with replacement `resamples` times, both scores of an image
   together; the interval goes from the (1 - confidence) / 2 quantile of the mean differences to the (1 + confidence) / 2 one (the
   percentile method), between neighbours linearly. The draws are a function of seed and n alone: every metric of the same
   images sees the same ones. BS_EINVAL: no image, a score that is no number, options out of range. */
bs_status bs_bootstrap_paired(const double *a, const double *b, size_t n,
                              const struct bs_bootstrap_options *options, struct bs_bootstrap_interval *out,
                              struct bs_err *err) BS_NODISCARD;

#endif
