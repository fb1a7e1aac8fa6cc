/* The ways in which networks are computed for a comparison, and how far each may be from the reference; see network.h. */
#include "tests/golden/network.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const struct golden_way golden_default_ways[GOLDEN_DEFAULT_WAYS] = {
    {.name = "ref", .device = "ref"},
    {.name = "cpu", .device = "cpu"},
    {.name = "cpu-winograd", .device = "cpu", .winograd = true},
};

static const struct {
    const char *name;
    enum bs_precision precision;
    bool tf32;
} precisions[] = {
    {"f32", BS_PRECISION_F32, false},
    {"tf32", BS_PRECISION_F32, true},
    {"bf16", BS_PRECISION_BF16, false},
    {"f16", BS_PRECISION_F16, false},
};

bool golden_way_parse(const char *device, const char *precision, struct golden_way *out)
{
    for (size_t i = 0; i < sizeof precisions / sizeof *precisions; i++)
        if (!strcmp(precision, precisions[i].name)) {
            *out = (struct golden_way){
                .device = device, .precision = precisions[i].precision, .tf32 = precisions[i].tf32};
            snprintf(out->name, sizeof out->name, "%s-%s", device, precision);
            return true;
        }
    return false;
}

double golden_most(const struct golden_way *way, double f32, double bf16)
{
    if (way->precision == BS_PRECISION_BF16)
        return bf16;
    /* Both keep 10 bits behind the first, three more than bfloat16. */
    return way->precision == BS_PRECISION_F16 || way->tf32 ? fmax(f32, bf16 / 8) : f32;
}

bs_status golden_device_open(const struct golden_way *way, struct bs_device **dev, struct bs_err *err)
{
    const struct bs_device_options opt = {.allow_winograd = way->winograd, .allow_tf32 = way->tf32};
    return bs_device_open(way->device, &opt, dev, err);
}

bool golden_way_usable(struct golden *g, const char *name, const struct golden_way *way)
{
    struct bs_device *dev = NULL;
    struct bs_err err = {0};
    const bool ok = golden_device_open(way, &dev, &err) == BS_OK;
    if (!ok && way->asked)
        golden_error(g, name, &err);
    else if (!ok)
        golden_skip(g, name, "%s is not part of this build", way->name);
    bs_device_close(dev);
    return ok;
}

bool golden_way_trains(struct golden *g, const char *name, const struct golden_way *way)
{
    const bool exact = way->precision == BS_PRECISION_F32 && !way->tf32;
    if (way->forward)
        golden_skip(g, name, "the forward pass alone was asked for");
    else if (!exact)
        golden_skip(g, name, "gradients are compared in float32");
    return exact && !way->forward;
}

void golden_refused(struct golden *g, const char *name, const struct golden_way *way,
                    const struct bs_err *err)
{
    if (err->code == BS_EUNSUPPORTED && !way->asked)
        golden_skip(g, name, "%s", err->msg);
    else
        golden_error(g, name, err);
}
