/* The table of parameters: names, ranges, defaults and the sentences that clients show, in one place, and setting and
   checking by it. Pure functions; any thread. */
#include "model/predict/predict_internal.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum field {
    CENTER_DISTANCE_THRESHOLD,
    BOUNDARY_DISTANCE_THRESHOLD,
    FOREGROUND_THRESHOLD,
    DISTANCE_SMOOTHING,
    THRESHOLD1,
    THRESHOLD2,
    LINK_OVERLAP,
    LINKED_MIN_SIZE,
    MIN_SIZE,
    MIN_SIZE_UM2, /* the last one that is done with the maps: see after_the_network */
    CHANNEL,
    SCALE,
    NO_DATA,
    TILE,
    HALO,
    WHOLE_IMAGE,
    RESAMPLE_POSITIONS,
    BATCH,
    STATISTICS,
    PRECISION,
    MEMORY_BUDGET_MIB,
};

/* Which models have a parameter: by recipe, and by whether the encoder has a size of its own (UNETR, ViM-UNet). */
enum who { EVERY, DISTANCES, BOUNDARIES, ANY_SIZE, FIXED_SIZE };

static const struct row {
    enum field field;
    enum who who;
    struct bs_param_spec spec;
} table[] = {
    {CENTER_DISTANCE_THRESHOLD,
     DISTANCES,
     {"center_distance_threshold", "Centre distance threshold",
      "Seeds of objects lie where the predicted distance to the centre is below it. Lower: fewer, surer "
      "objects.",
      BS_PARAM_FLOAT, 0, 1, 0.05, 0.5, "", NULL, false}},
    {BOUNDARY_DISTANCE_THRESHOLD,
     DISTANCES,
     {"boundary_distance_threshold", "Boundary distance threshold",
      "Seeds of objects lie where the predicted (inverted) distance to the boundary is below it. Lower: "
      "touching objects "
      "are separated more often.",
      BS_PARAM_FLOAT, 0, 1, 0.05, 0.6, "", NULL, false}},
    {FOREGROUND_THRESHOLD,
     DISTANCES,
     {"foreground_threshold", "Foreground threshold",
      "Pixels above it belong to objects. Lower: larger objects, and dim ones too.", BS_PARAM_FLOAT, 0, 1,
      0.05, 0.5, "", NULL, false}},
    {DISTANCE_SMOOTHING,
     DISTANCES,
     {"distance_smoothing", "Smoothing of distances",
      "Width (sigma) of the Gaussian that smooths the predicted distances. Higher: fewer objects are split.",
      BS_PARAM_FLOAT, 0, 20, 0.1, 1.0, "px", NULL, true}},
    {THRESHOLD1,
     BOUNDARIES,
     {"threshold1", "Seed threshold",
      "Seeds of objects are the connected parts where foreground minus boundary is above it. Higher: "
      "touching objects are "
      "separated more often.",
      BS_PARAM_FLOAT, 0, 1, 0.05, 0.5, "", NULL, false}},
    {THRESHOLD2,
     BOUNDARIES,
     {"threshold2", "Foreground threshold", "Pixels whose foreground is above it belong to objects.",
      BS_PARAM_FLOAT, 0, 1, 0.05, 0.5, "", NULL, false}},
    {MIN_SIZE,
     EVERY,
     {"min_size", "Smallest object", "Objects with fewer pixels are removed. 0 keeps all.", BS_PARAM_INT, 0,
      1e9, 1, 50, "px", NULL, false}},
    {MIN_SIZE_UM2,
     EVERY,
     {"min_size_um2", "Smallest object (area)",
      "Objects with a smaller area are removed; used instead of the size in pixels when above 0. Needs the "
      "pixel size.",
      BS_PARAM_FLOAT, 0, 1e9, 0.1, 0, "um^2", NULL, true}},
    {LINK_OVERLAP,
     EVERY,
     {"link_overlap", "Overlap of linked planes",
      "Linked planes of a stack only: an object continues one of the plane before when their intersection is "
      "at least this part "
      "of their union. Lower: objects that move or change between planes are still linked.",
      BS_PARAM_FLOAT, 0, 1, 0.05, 0.25, "", NULL, true}},
    {LINKED_MIN_SIZE,
     EVERY,
     {"linked_min_size", "Smallest linked object",
      "Linked planes of a stack only: objects with fewer pixels over all their planes are removed. 0 keeps "
      "all.",
      BS_PARAM_INT, 0, 1e9, 1, 0, "px", NULL, true}},
    {CHANNEL,
     EVERY,
     {"channel", "Channel",
      "Which channel shows the objects, counted from 0. -1: the only one, or colour whose channels are all "
      "equal.",
      BS_PARAM_INT, -1, 65535, 1, -1, "", NULL, false}},
    {SCALE,
     EVERY,
     {"scale", "Scale",
      "The image is resized by this factor for the network, labels are brought back. 1: as it is. 0: from "
      "the pixel sizes of "
      "image and model.",
      BS_PARAM_FLOAT, 0, 16, 0.05, 1, "", NULL, true}},
    {NO_DATA,
     EVERY,
     {"no_data", "No-data value", "Samples equal to it (NaN: all NaN) are left out and never labelled.",
      BS_PARAM_FLOAT, -DBL_MAX, DBL_MAX, 1, NAN, "", NULL, true}},
    {TILE,
     ANY_SIZE,
     {"tile", "Tile",
      "Side of a tile without its halo. 0: the whole image if it fits into memory, else the largest that "
      "fits.",
      BS_PARAM_INT, 0, 16384, 16, 0, "px", NULL, true}},
    {TILE,
     FIXED_SIZE,
     {"tile", "Tile",
      "Side of a tile without its halo. 0: as large as makes the tile with its halo a training patch. The "
      "tile decides how "
      "large objects appear to the network; another size than in training gives a warning.",
      BS_PARAM_INT, 0, 16384, 16, 0, "px", NULL, true}},
    {HALO,
     ANY_SIZE,
     {"halo", "Halo",
      "Surroundings that a tile sees on each side. -1: what the network's receptive field needs.",
      BS_PARAM_INT, -1, 4096, 16, -1, "px", NULL, true}},
    {HALO,
     FIXED_SIZE,
     {"halo", "Halo",
      "Surroundings that a tile sees on each side. -1: an eighth of the tile with its halo. Every pixel sees "
      "all of its tile, "
      "so no halo makes tiles fit exactly.",
      BS_PARAM_INT, -1, 4096, 16, -1, "px", NULL, true}},
    {WHOLE_IMAGE,
     FIXED_SIZE,
     {"whole_image", "Whole image",
      "Images up to the encoder's size go through the network at once, resized or padded to it, as in the "
      "publication. Larger "
      "images are tiled all the same.",
      BS_PARAM_BOOL, 0, 1, 1, 0, "", NULL, true}},
    {RESAMPLE_POSITIONS,
     FIXED_SIZE,
     {"resample_positions", "Resample positions",
      "Tiles keep their size, and the network's position embeddings are resampled to it, instead of tiles "
      "being resized or "
      "padded to the encoder's size. Faster for small tiles; the network was not trained so.",
      BS_PARAM_BOOL, 0, 1, 1, 0, "", NULL, true}},
    {BATCH,
     EVERY,
     {"batch", "Tiles at a time", "How many tiles go through the network together. 0: chosen.", BS_PARAM_INT,
      0, 64, 1, 0, "", NULL, true}},
    {STATISTICS,
     EVERY,
     {"statistics", "Normalisation by",
      "Mean and deviation of the whole image (of a stack: of each plane); of each block on its own as the "
      "reference does (dim blocks then look like bright ones); of the region with its surroundings alone; or "
      "of all planes of a stack together.",
      BS_PARAM_ENUM, 0, BS_STATISTICS_SCOPES - 1, 1, 0, "", "image|block|region|stack", true}},
    {PRECISION,
     EVERY,
     {"precision", "Precision",
      "Arithmetic of the network: f32, or bf16, which is faster where the processor has it.", BS_PARAM_ENUM,
      0, 1, 1, 0, "", "f32|bf16", true}},
    {MEMORY_BUDGET_MIB,
     EVERY,
     {"memory_budget_mib", "Memory budget", "What the network may use at once. 0: half of what is available.",
      BS_PARAM_INT, 0, 1 << 24, 64, 0, "MiB", NULL, true}},
};

static bool applies(const struct row *r, const struct bs_model_info *info)
{
    switch (r->who) {
    case EVERY:
        return true;
    case DISTANCES:
        return info->recipe == BS_RECIPE_DISTANCES;
    case BOUNDARIES:
        return info->recipe == BS_RECIPE_BOUNDARIES;
    case ANY_SIZE:
        return bs_arch_image_size(&info->arch) == 0;
    case FIXED_SIZE:
        return bs_arch_image_size(&info->arch) != 0;
    }
    return false;
}

static double get(const struct bs_segment_params *p, enum field field)
{
    const struct bs_instance_params *i = &p->instances;
    switch (field) {
    case CENTER_DISTANCE_THRESHOLD:
        return i->center_distance_threshold;
    case BOUNDARY_DISTANCE_THRESHOLD:
        return i->boundary_distance_threshold;
    case FOREGROUND_THRESHOLD:
        return i->foreground_threshold;
    case DISTANCE_SMOOTHING:
        return i->distance_smoothing;
    case THRESHOLD1:
        return i->threshold1;
    case THRESHOLD2:
        return i->threshold2;
    case LINK_OVERLAP:
        return p->link_overlap;
    case LINKED_MIN_SIZE:
        return (double)p->linked_min_size;
    case MIN_SIZE:
        return (double)i->min_size;
    case MIN_SIZE_UM2:
        return p->min_size_um2;
    case CHANNEL:
        return p->channel;
    case SCALE:
        return p->scale;
    case NO_DATA:
        return p->has_no_data ? p->no_data : NAN;
    case TILE:
        return (double)p->tile;
    case HALO:
        return (double)p->halo;
    case WHOLE_IMAGE:
        return p->whole_image;
    case RESAMPLE_POSITIONS:
        return p->resample_positions;
    case BATCH:
        return p->batch;
    case STATISTICS:
        return p->statistics;
    case PRECISION:
        return p->precision;
    case MEMORY_BUDGET_MIB:
        return (double)(p->memory_budget >> 20);
    }
    return NAN;
}

static void put(struct bs_segment_params *p, enum field field, double v)
{
    struct bs_instance_params *i = &p->instances;
    switch (field) {
    case CENTER_DISTANCE_THRESHOLD:
        i->center_distance_threshold = v;
        break;
    case BOUNDARY_DISTANCE_THRESHOLD:
        i->boundary_distance_threshold = v;
        break;
    case FOREGROUND_THRESHOLD:
        i->foreground_threshold = v;
        break;
    case DISTANCE_SMOOTHING:
        i->distance_smoothing = v;
        break;
    case THRESHOLD1:
        i->threshold1 = v;
        break;
    case THRESHOLD2:
        i->threshold2 = v;
        break;
    case LINK_OVERLAP:
        p->link_overlap = v;
        break;
    case LINKED_MIN_SIZE:
        p->linked_min_size = (int64_t)v;
        break;
    case MIN_SIZE:
        i->min_size = (int64_t)v;
        break;
    case MIN_SIZE_UM2:
        p->min_size_um2 = v;
        break;
    case CHANNEL:
        p->channel = (int)v;
        break;
    case SCALE:
        p->scale = v;
        break;
    case NO_DATA:
        p->has_no_data = true;
        p->no_data = v;
        break;
    case TILE:
        p->tile = (int64_t)v;
        break;
    case HALO:
        p->halo = (int64_t)v;
        break;
    case WHOLE_IMAGE:
        p->whole_image = v != 0;
        break;
    case RESAMPLE_POSITIONS:
        p->resample_positions = v != 0;
        break;
    case BATCH:
        p->batch = (int)v;
        break;
    case STATISTICS:
        p->statistics = (enum bs_statistics_scope)v;
        break;
    case PRECISION:
        p->precision = (enum bs_precision)v;
        break;
    case MEMORY_BUDGET_MIB:
        p->memory_budget = (size_t)v << 20;
        break;
    }
}

static bs_status check(const struct row *r, double v, struct bs_err *err)
{
    const struct bs_param_spec *s = &r->spec;
    const char *unit = s->unit[0] ? " " : "";
    if (r->field == NO_DATA)
        return isinf(v) ? BS_FAIL(err, BS_EINVAL, "no_data is %g; a finite number or NaN is accepted", v)
                        : BS_OK;
    if (!(v >= s->min && v <= s->max)) /* NaN too */
        return BS_FAIL(err, BS_EINVAL, "%s is %g; %g to %g%s%s is accepted", s->name, v, s->min, s->max, unit,
                       s->unit);
    if (s->type != BS_PARAM_FLOAT && v != floor(v))
        return BS_FAIL(err, BS_EINVAL, "%s is %g; a whole number from %g to %g%s%s is accepted", s->name, v,
                       s->min, s->max, unit, s->unit);
    if (r->field == SCALE && v > 0 && v < 0.05)
        return BS_FAIL(err, BS_EINVAL, "scale is %g; 0 or 0.05 to %g is accepted", v, s->max);
    return BS_OK;
}

/* What is done with the maps when they are there; everything else goes into them. */
static bool after_the_network(enum field field)
{
    return field <= MIN_SIZE_UM2;
}

int bs_segment_param_specs(const struct bs_model_info *info, struct bs_param_spec *out, int cap)
{
    struct bs_segment_params defaults = bs_segment_params_default(info);
    int n = 0;
    for (size_t i = 0; i < sizeof table / sizeof *table && n < cap; i++)
        if (applies(&table[i], info)) {
            out[n] = table[i].spec;
            out[n++].default_value = get(&defaults, table[i].field);
        }
    return n;
}

struct bs_segment_params bs_segment_params_default(const struct bs_model_info *info)
{
    struct bs_segment_params p = {
        .instances = info->defaults, .channel = -1, .halo = -1, .scale = 1, .link_overlap = 0.25};
    p.instances.recipe = info->recipe;
    return p;
}

bs_status bs_segment_params_set(const struct bs_model_info *info, struct bs_segment_params *p,
                                const char *name, double value, struct bs_err *err)
{
    char known[400] = "";
    size_t n = 0;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (!applies(&table[i], info))
            continue;
        if (strcmp(table[i].spec.name, name) == 0) {
            bs_status rc = check(&table[i], value, err);
            if (rc == BS_OK)
                put(p, table[i].field, value);
            return rc;
        }
        if (n < sizeof known)
            n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", n ? ", " : "", table[i].spec.name);
    }
    return BS_FAIL(err, BS_EINVAL, "this model has no parameter \"%.64s\"; it has %s", name, known);
}

bool bs_segment_param_of_network(const char *name)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].spec.name, name) == 0)
            return !after_the_network(table[i].field);
    return true;
}

const char *bs_segment_params_network_differs(const struct bs_segment_params *a,
                                              const struct bs_segment_params *b)
{
    if (a->instances.recipe != b->instances.recipe)
        return "recipe";
    if (memcmp(&a->region, &b->region, sizeof a->region) != 0)
        return "region";
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (after_the_network(table[i].field))
            continue;
        double va = get(a, table[i].field), vb = get(b, table[i].field);
        if (table[i].field == NO_DATA && a->has_no_data != b->has_no_data)
            return table[i].spec.name;
        if (va != vb && !(isnan(va) && isnan(vb)))
            return table[i].spec.name;
    }
    return NULL;
}

struct bs_segment_params bs_segment_params_join(const struct bs_segment_params *network,
                                                const struct bs_segment_params *others)
{
    struct bs_segment_params p = *network;
    p.instances = others->instances;
    p.min_size_um2 = others->min_size_um2;
    p.planes = others->planes;
    p.separate_planes = others->separate_planes;
    p.link_overlap = others->link_overlap;
    p.linked_min_size = others->linked_min_size;
    return p;
}

const char *bs_statistics_name(enum bs_statistics_scope scope)
{
    static const char *const names[BS_STATISTICS_SCOPES] = {"image", "block", "region", "stack"};
    return (unsigned)scope < BS_STATISTICS_SCOPES ? names[scope] : "unknown";
}

bs_status bs__params_validate(const struct bs_model_info *info, const struct bs_segment_params *p,
                              struct bs_err *err)
{
    if (p->instances.recipe != info->recipe)
        return BS_FAIL(err, BS_EINVAL, "recipe %d does not fit the model, whose maps are made for recipe %d",
                       (int)p->instances.recipe, (int)info->recipe);
    if ((p->whole_image || p->resample_positions) && !bs_arch_image_size(&info->arch))
        return BS_FAIL(err, BS_EINVAL, "%s is set, but a %s has no encoder of fixed size",
                       p->whole_image ? "whole_image" : "resample_positions", bs_arch_name(info->arch.kind));
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (!applies(&table[i], info) || (table[i].field == NO_DATA && !p->has_no_data))
            continue;
        bs_status rc = check(&table[i], get(p, table[i].field), err);
        if (rc != BS_OK)
            return rc;
    }
    return BS_OK;
}
