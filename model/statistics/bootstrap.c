/* The paired bootstrap. See bootstrap.h. */
#include "model/statistics/bootstrap.h"

#include "model/dataset/random.h"

#include <math.h>
#include <stdlib.h>

#define PURPOSE 0x626f6f7473747270u /* keeps these draws apart from others of the same seed */

static bs_status check(const double *a, const double *b, size_t n, const struct bs_bootstrap_options *o,
                       struct bs_err *err)
{
    if (n == 0)
        return BS_FAIL(err, BS_EINVAL, "there is no image to compare on");
    if (o->resamples < BS_BOOTSTRAP_MIN_RESAMPLES || o->resamples > BS_BOOTSTRAP_MAX_RESAMPLES)
        return BS_FAIL(err, BS_EINVAL, "%u resamples; %d to %d are accepted", o->resamples,
                       BS_BOOTSTRAP_MIN_RESAMPLES, BS_BOOTSTRAP_MAX_RESAMPLES);
    if (!(o->confidence >= 0.5 && o->confidence <= 0.999))
        return BS_FAIL(err, BS_EINVAL, "the confidence is %g; 0.5 to 0.999 is accepted", o->confidence);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(a[i]) || !isfinite(b[i]))
            return BS_FAIL(err, BS_EINVAL, "score %zu is no number", i);
    return BS_OK;
}

static double mean(const double *v, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += v[i];
    return sum / (double)n;
}

static int ascending(const void *x, const void *y)
{
    const double a = *(const double *)x, b = *(const double *)y;
    return a < b ? -1 : a > b;
}

/* Of n sorted values, between neighbours linearly. */
static double quantile(const double *sorted, size_t n, double q)
{
    const double at = q * (double)(n - 1);
    const size_t below = (size_t)floor(at), above = below + 1 < n ? below + 1 : below;
    return sorted[below] + (at - (double)below) * (sorted[above] - sorted[below]);
}

bs_status bs_bootstrap_paired(const double *a, const double *b, size_t n,
                              const struct bs_bootstrap_options *options, struct bs_bootstrap_interval *out,
                              struct bs_err *err)
{
    bs_status rc = check(a, b, n, options, err);
    double *difference = NULL, *means = NULL;
    if (rc != BS_OK)
        return rc;
    difference = malloc(n * sizeof *difference);
    means = malloc(options->resamples * sizeof *means);
    if (!difference || !means) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for %u resamples of %zu images", options->resamples, n);
        goto cleanup;
    }
    for (size_t i = 0; i < n; i++)
        difference[i] = a[i] - b[i];
    *out = (struct bs_bootstrap_interval){.mean_a = mean(a, n),
                                          .mean_b = mean(b, n),
                                          .difference = mean(difference, n),
                                          .low = NAN,
                                          .high = NAN};
    if (n < 2)
        goto cleanup;
    for (uint32_t k = 0; k < options->resamples; k++) {
        struct bs_random r = bs_random_of(options->seed, PURPOSE, k);
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += difference[bs_random_below(&r, n)];
        means[k] = sum / (double)n;
    }
    qsort(means, options->resamples, sizeof *means, ascending);
    out->low = quantile(means, options->resamples, (1 - options->confidence) / 2);
    out->high = quantile(means, options->resamples, (1 + options->confidence) / 2);
cleanup:
    free(difference);
    free(means);
    return rc;
}
