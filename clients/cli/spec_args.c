/* The options that say what to do with an image. See spec_args.h. */
#include "clients/cli/spec_args.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    OPT_SET = 0x200,
    OPT_CHANNEL,
    OPT_MIN_SIZE,
    OPT_MIN_SIZE_UM2,
    OPT_TILE,
    OPT_HALO,
    OPT_NO_DATA,
    OPT_PIXEL_SIZE,
    OPT_TARGET_PIXEL_SIZE,
    OPT_SCALE,
    OPT_STATISTICS,
    OPT_PRECISION,
    OPT_REGION,
    OPT_PAGES,
    OPT_PLANES,
    OPT_SEPARATE_PLANES
};

static const struct argp_option options[] = {
    {NULL, 0, NULL, 0, "What to do:", 20},
    {"model", 'm', "NAME[@VERSION]", 0,
     "the model (`bioseg models list` shows them); without a version the newest", 21},
    {"set", OPT_SET, "NAME=VALUE", 0,
     "a parameter of the model (`bioseg models describe NAME` lists them); repeatable", 22},
    {"min-size", OPT_MIN_SIZE, "PIXELS", 0, "remove objects smaller than this", 22},
    {"min-size-um2", OPT_MIN_SIZE_UM2, "AREA", 0, "the same in square micrometres; needs the pixel size", 22},
    {NULL, 0, NULL, 0, "About the image:", 30},
    {"channel", OPT_CHANNEL, "N", 0, "which channel, from 0; needed when there are several different ones",
     31},
    {"pixel-size", OPT_PIXEL_SIZE, "UM", 0, "side of a pixel in micrometres, instead of what the file says",
     31},
    {"no-data", OPT_NO_DATA, "VALUE", 0, "samples of this value (or nan) carry no information", 31},
    {"region", OPT_REGION, "Y,X,H,W[,Z,D[,T,N]]", 0,
     "only this box: first row and column, rows and columns, and of a stack planes along z and t; a size of "
     "0 is all that "
     "is left",
     31},
    {"pages", OPT_PAGES, "z|t|c", 0, "what the pages of a file are that does not say so itself", 31},
    {"planes", OPT_PLANES, "independent|linked", 0,
     "of a stack: each by itself (default), or objects of neighbouring planes along z joined (linked 2D, not "
     "3D)",
     31},
    {"separate-planes", OPT_SEPARATE_PLANES, NULL, 0, "of a stack: ids begin at 1 in every plane", 31},
    {NULL, 0, NULL, 0, "How it is computed:", 40},
    {"scale", OPT_SCALE, "FACTOR", 0, "resize for the network; labels come in the original size", 41},
    {"target-pixel-size", OPT_TARGET_PIXEL_SIZE, "UM", 0, "resize to this pixel size instead", 41},
    {"tile", OPT_TILE, "PIXELS", 0, "side of a tile (default: whole image if it fits)", 41},
    {"halo", OPT_HALO, "PIXELS", 0, "context around a tile (default: what the network needs)", 41},
    {"statistics", OPT_STATISTICS, "image|block|region|stack", 0,
     "standardise over the whole image, of a stack each plane (default); each block; the region with its "
     "surroundings; "
     "all planes together",
     41},
    {"precision", OPT_PRECISION, "fp32|bf16", 0, "arithmetic of the network (default: fp32)", 41},
    {0},
};

static double number(struct argp_state *state, const char *option, const char *arg, double min, double max)
{
    char *end;
    errno = 0;
    double v = strtod(arg, &end);
    if (end == arg || *end || !(v >= min && v <= max))
        argp_error(state, "%s %s is not a number from %g to %g", option, arg, min, max);
    return v;
}

static uint32_t pixels(struct argp_state *state, const char *option, const char *arg, uint32_t max)
{
    char *end;
    errno = 0;
    unsigned long v = strtoul(arg, &end, 10);
    if (!isdigit((unsigned char)arg[0]) || *end || errno || v > max)
        argp_error(state, "%s %s is not a whole number from 0 to %" PRIu32, option, arg, max);
    return (uint32_t)v;
}

/* "Y,X,H,W", with ",Z,D" and ",T,N" after it. */
static void region(struct argp_state *state, const char *arg, struct bs__spec_args *a)
{
    const char *at = arg;
    char *end;
    int n = 0;
    for (; n < 8; n++, at = end + 1) {
        errno = 0;
        unsigned long long v = strtoull(at, &end, 10);
        if (!isdigit((unsigned char)at[0]) || errno || v > INT64_MAX || (*end && *end != ','))
            argp_error(state, "--region %s is not Y,X,H,W[,Z,D[,T,N]] in whole numbers from 0 on", arg);
        a->region[n] = v;
        if (!*end)
            break;
    }
    if (n != 3 && n != 5 && n != 7)
        argp_error(state, "--region %s has not 4, 6 or 8 numbers: Y,X,H,W[,Z,D[,T,N]]", arg);
    a->has_region = true;
}

static Bioseg__V1__StatisticsScope statistics(struct argp_state *state, const char *arg)
{
    static const struct {
        const char *name;
        Bioseg__V1__StatisticsScope scope;
    } scopes[] = {
        {"image", BIOSEG__V1__STATISTICS_SCOPE__STATISTICS_SCOPE_IMAGE},
        {"block", BIOSEG__V1__STATISTICS_SCOPE__STATISTICS_SCOPE_BLOCK},
        {"region", BIOSEG__V1__STATISTICS_SCOPE__STATISTICS_SCOPE_REGION},
        {"stack", BIOSEG__V1__STATISTICS_SCOPE__STATISTICS_SCOPE_STACK},
    };
    for (size_t i = 0; i < sizeof scopes / sizeof *scopes; i++)
        if (strcmp(arg, scopes[i].name) == 0)
            return scopes[i].scope;
    argp_error(state, "--statistics %s is none of image, block, region and stack", arg);
    return BIOSEG__V1__STATISTICS_SCOPE__STATISTICS_SCOPE_UNSPECIFIED;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct bs__spec_args *a = state->input;
    char *end;
    switch (key) {
    case 'm':
        a->model = arg;
        return 0;
    case OPT_SET:
    case OPT_MIN_SIZE:
        if (a->nset == BS__MAX_SET)
            argp_error(state, "more than %d parameters", BS__MAX_SET);
        if (key == OPT_MIN_SIZE) {
            (void)pixels(state, "--min-size", arg, 1u << 30);
            /* Kept as the parameter that it is; the text lives as long as the arguments do. */
            a->set[a->nset++] = arg;
            return 0;
        }
        if (!strchr(arg, '=') || arg[0] == '=')
            argp_error(state, "--set %s is not NAME=VALUE", arg);
        a->set[a->nset++] = arg;
        return 0;
    case OPT_MIN_SIZE_UM2:
        a->min_size_um2 = number(state, "--min-size-um2", arg, 0, 1e12);
        return 0;
    case OPT_CHANNEL:
        a->channel = arg;
        return 0;
    case OPT_PIXEL_SIZE:
        a->pixel_size = number(state, "--pixel-size", arg, 1e-6, 1e6);
        return 0;
    case OPT_NO_DATA:
        a->no_data = strtod(arg, &end);
        if (end == arg || *end)
            argp_error(state, "--no-data %s is not a number", arg);
        a->has_no_data = true;
        return 0;
    case OPT_SCALE:
        a->scale = number(state, "--scale", arg, 0.05, 20);
        return 0;
    case OPT_TARGET_PIXEL_SIZE:
        a->target_pixel_size = number(state, "--target-pixel-size", arg, 1e-6, 1e6);
        return 0;
    case OPT_TILE:
        a->tile = pixels(state, "--tile", arg, 1u << 20);
        return 0;
    case OPT_HALO:
        a->halo = pixels(state, "--halo", arg, 1u << 16);
        a->has_halo = true;
        return 0;
    case OPT_STATISTICS:
        a->statistics = statistics(state, arg);
        return 0;
    case OPT_REGION:
        region(state, arg, a);
        return 0;
    case OPT_PAGES:
        if (!arg[0] || arg[1] || !strchr("ztc", arg[0]))
            argp_error(state, "--pages %s is none of z, t and c", arg);
        a->pages = arg[0];
        return 0;
    case OPT_PLANES:
        if (strcmp(arg, "independent") != 0 && strcmp(arg, "linked") != 0)
            argp_error(state, "--planes %s is neither independent nor linked", arg);
        a->planes = arg[0] == 'l' ? BIOSEG__V1__PLANE_MODE__PLANE_MODE_LINKED
                                  : BIOSEG__V1__PLANE_MODE__PLANE_MODE_INDEPENDENT;
        return 0;
    case OPT_SEPARATE_PLANES:
        a->separate_planes = true;
        return 0;
    case OPT_PRECISION:
        if (strcmp(arg, "fp32") != 0 && strcmp(arg, "bf16") != 0)
            argp_error(state, "--precision %s is neither fp32 nor bf16", arg);
        a->precision =
            arg[0] == 'f' ? BIOSEG__V1__PRECISION__PRECISION_FP32 : BIOSEG__V1__PRECISION__PRECISION_BF16;
        return 0;
    case ARGP_KEY_END:
        if (!a->model)
            argp_error(state, "which model? give -m NAME; `bioseg models list` shows what the server has");
        if (a->scale > 0 && a->target_pixel_size > 0)
            argp_error(state, "--scale and --target-pixel-size exclude each other");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp bs__spec_argp = {.options = options, .parser = parse};
