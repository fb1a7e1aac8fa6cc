/* Intensities: see augment.h. */
#include "model/dataset/augment.h"

#include "model/dataset/random.h"
#include "model/instances/instances.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PURPOSE_BLUR       17u
#define PURPOSE_GAMMA      18u
#define PURPOSE_CONTRAST   19u
#define PURPOSE_BRIGHTNESS 20u
#define PURPOSE_NOISE      21u

#define MAX_BLUR       16.0
#define MAX_GAMMA      2.0
#define MAX_CONTRAST   0.99
#define MAX_BRIGHTNESS 10.0
#define MAX_NOISE      10.0

static bs_status check(const char *name, double value, double most, struct bs_err *err)
{
    if (value >= 0 && value <= most)
        return BS_OK;
    return BS_FAIL(err, BS_EINVAL, "%s is %g; 0 to %g are accepted", name, value, most);
}

bs_status bs_augment_check(const struct bs_augment_rule *rule, struct bs_err *err)
{
    bs_status rc;
    if ((rc = check("blur", rule->blur, MAX_BLUR, err)) != BS_OK ||
        (rc = check("gamma", rule->gamma, MAX_GAMMA, err)) != BS_OK ||
        (rc = check("contrast", rule->contrast, MAX_CONTRAST, err)) != BS_OK ||
        (rc = check("brightness", rule->brightness, MAX_BRIGHTNESS, err)) != BS_OK ||
        (rc = check("noise", rule->noise, MAX_NOISE, err)) != BS_OK || rule->elastic == 0)
        return rc;
    if (!(rule->elastic_spacing >= BS_AUGMENT_MIN_SPACING && rule->elastic_spacing <= BS_AUGMENT_MAX_SPACING))
        return BS_FAIL(err, BS_EINVAL, "elastic_spacing is %g; %g to %g pixels are accepted",
                       rule->elastic_spacing, BS_AUGMENT_MIN_SPACING, BS_AUGMENT_MAX_SPACING);
    return check("elastic", rule->elastic, BS_AUGMENT_MAX_ELASTIC * rule->elastic_spacing, err);
}

/* Evenly from low to high, by the first number of the purpose's stream. */
static double draw(uint64_t seed, uint64_t purpose, uint64_t index, double low, double high)
{
    struct bs_random r = bs_random_of(seed, purpose, index);
    return low + (high - low) * bs_random_unit(&r);
}

static bs_status blur(double sigma, float *image, size_t channels, size_t height, size_t width,
                      struct bs_err *err)
{
    const size_t pixels = height * width;
    bs_status rc = BS_OK;
    float *copy = malloc(pixels * sizeof *copy);
    if (!copy)
        return BS_FAIL(err, BS_ENOMEM, "no memory to blur %zu pixels", pixels);
    for (size_t c = 0; c < channels && rc == BS_OK; c++) {
        memcpy(copy, image + c * pixels, pixels * sizeof *copy);
        rc = bs_gaussian(copy, height, width, sigma, image + c * pixels, err);
    }
    free(copy);
    return rc;
}

static void raise_to(double power, float *image, size_t count)
{
    float low = image[0], high = image[0];
    for (size_t i = 1; i < count; i++) {
        low = fminf(low, image[i]);
        high = fmaxf(high, image[i]);
    }
    const double range = (double)high - (double)low;
    for (size_t i = 0; i < count && range > 0; i++)
        image[i] = (float)((double)low + range * pow(((double)image[i] - (double)low) / range, power));
}

bs_status bs__augment_before(const struct bs_augment_rule *rule, uint64_t seed, uint64_t index, float *image,
                             size_t channels, size_t height, size_t width, struct bs_err *err)
{
    bs_status rc = BS_OK;
    const double sigma = rule->blur > 0 ? draw(seed, PURPOSE_BLUR, index, 0, rule->blur) : 0;
    if (sigma > 0)
        rc = blur(sigma, image, channels, height, width, err);
    if (rc == BS_OK && rule->gamma > 0)
        raise_to(exp(draw(seed, PURPOSE_GAMMA, index, -rule->gamma, rule->gamma)), image,
                 channels * height * width);
    return rc;
}

/* Close to normal with deviation 1, the same on every machine: the sum of four even numbers of 16 bits, at most 3.47. */
static double bell(struct bs_random *r)
{
    const uint64_t bits = bs_random_next(r);
    const double sum =
        (double)((bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48));
    return (sum / 65536 - 2 + 2.0 / 65536) * sqrt(3.0); /* of one: mean 1/2 - 2^-17, variance 1/12 */
}

void bs__augment_after(const struct bs_augment_rule *rule, uint64_t seed, uint64_t index, float *image,
                       size_t count)
{
    const double times =
        rule->contrast > 0 ? draw(seed, PURPOSE_CONTRAST, index, 1 - rule->contrast, 1 + rule->contrast) : 1;
    const double plus =
        rule->brightness > 0 ? draw(seed, PURPOSE_BRIGHTNESS, index, -rule->brightness, rule->brightness) : 0;
    for (size_t i = 0; (times != 1 || plus != 0) && i < count; i++)
        image[i] = (float)((double)image[i] * times + plus);
    if (rule->noise <= 0)
        return;
    struct bs_random r = bs_random_of(seed, PURPOSE_NOISE, index);
    const double deviation = rule->noise * bs_random_unit(&r);
    for (size_t i = 0; i < count; i++)
        image[i] = (float)((double)image[i] + deviation * bell(&r));
}
