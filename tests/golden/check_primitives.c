/* primitives/: smoothing, distance transform, components, boundaries, standardisation, watershed by its invariants. */
#include "model/instances/instances.h"
#include "model/predict/predict_internal.h"
#include "tests/golden/golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A two-dimensional fixture as the type that the check wants. */
struct plane {
    size_t h, w;
    float *f32;
    uint32_t *u32;
    uint8_t *u8;
};

static void free_plane(struct plane *p)
{
    free(p->f32);
    free(p->u32);
    free(p->u8);
}

static bs_status read_plane(struct golden *g, const char *folder, const char *file, char type,
                            struct plane *p, struct bs_err *err)
{
    struct bs_npy a;
    bs_status rc = golden_npy(g, folder, file, &a, err);
    *p = (struct plane){0};
    if (rc != BS_OK)
        return rc;
    if (a.ndim != 2) {
        rc = BS_FAIL(err, BS_ECORRUPT, "%s has %d dimensions, two are expected", file, a.ndim);
    } else {
        p->h = a.shape[0];
        p->w = a.shape[1];
        rc = type == 'f'   ? bs_npy_to_f32(&a, &p->f32, err)
             : type == 'u' ? bs_npy_to_u32(&a, &p->u32, err)
                           : bs_npy_to_u8(&a, &p->u8, err);
    }
    bs_npy_free(&a);
    return rc;
}

static bs_status same_shape(const struct plane *a, const struct plane *b, struct bs_err *err)
{
    if (a->h != b->h || a->w != b->w)
        return BS_FAIL(err, BS_ECORRUPT, "input is %zu x %zu, result %zu x %zu", a->h, a->w, b->h, b->w);
    return BS_OK;
}

/* An input, the reference's result, and ours (malloc'ed by compute). */
struct operator_check {
    const char *in_file, *out_file;
    char in_type, out_type;
    bs_status (*compute)(const struct operator_check *c, const struct plane *in, void *result,
                         struct bs_err *err);
    double sigma;
    double tolerance; /* of floating point results; integers are exact */
};

static void compare(struct golden *g, const char *name, const struct operator_check *c,
                    const struct plane *expected, const void *result)
{
    size_t n = expected->h * expected->w, different = 0;
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        if (c->out_type == 'f') {
            double d = fabs((double)((const float *)result)[i] - (double)expected->f32[i]);
            worst = d <= worst ? worst : d;
            different += !(d <= c->tolerance);
        } else if (c->out_type == 'u') {
            different += ((const uint32_t *)result)[i] != expected->u32[i];
        } else {
            different += ((const uint8_t *)result)[i] != expected->u8[i];
        }
    }
    char tolerance[32];
    snprintf(tolerance, sizeof tolerance, c->tolerance > 0 ? "<= %g" : "exact", c->tolerance);
    if (c->out_type == 'f')
        golden_verdict(g, name, different == 0, tolerance, "largest difference %.3g", worst);
    else
        golden_verdict(g, name, different == 0, tolerance, "%zu of %zu pixels differ", different, n);
}

static void check_operator(struct golden *g, const char *folder, const struct operator_check *c)
{
    struct plane in = {0}, expected = {0};
    void *result = NULL;
    struct bs_err err = {0};
    char name[128];
    bs_status rc;

    if (!golden_has(g, folder, c->out_file))
        return;
    snprintf(name, sizeof name, "%s/%.*s", folder, (int)(strlen(c->out_file) - 4), c->out_file);
    if ((rc = read_plane(g, folder, c->in_file, c->in_type, &in, &err)) != BS_OK ||
        (rc = read_plane(g, folder, c->out_file, c->out_type, &expected, &err)) != BS_OK ||
        (rc = same_shape(&in, &expected, &err)) != BS_OK)
        goto cleanup;
    result = malloc(in.h * in.w * sizeof(float) + 1);
    BS_ASSERT(result);
    if ((rc = c->compute(c, &in, result, &err)) != BS_OK)
        goto cleanup;
    compare(g, name, c, &expected, result);
cleanup:
    if (rc != BS_OK)
        golden_error(g, name, &err);
    free_plane(&in);
    free_plane(&expected);
    free(result);
}

static bs_status smooth(const struct operator_check *c, const struct plane *in, void *result,
                        struct bs_err *err)
{
    return bs_gaussian(in->f32, in->h, in->w, c->sigma, result, err);
}

static bs_status distances(const struct operator_check *c, const struct plane *in, void *result,
                           struct bs_err *err)
{
    (void)c;
    return bs_distance_transform(in->u8, in->h, in->w, result, err);
}

static bs_status components(const struct operator_check *c, const struct plane *in, void *result,
                            struct bs_err *err)
{
    (void)c;
    uint32_t count;
    return bs_components_binary(in->u8, in->h, in->w, result, &count, err);
}

static bs_status components_of_labels(const struct operator_check *c, const struct plane *in, void *result,
                                      struct bs_err *err)
{
    (void)c;
    uint32_t count;
    return bs_components_labels(in->u32, in->h, in->w, result, &count, err);
}

static bs_status thick_boundaries(const struct operator_check *c, const struct plane *in, void *result,
                                  struct bs_err *err)
{
    (void)c;
    return bs_find_boundaries(in->u32, in->h, in->w, BS_BOUNDARY_THICK, result, err);
}

static bs_status inner_boundaries(const struct operator_check *c, const struct plane *in, void *result,
                                  struct bs_err *err)
{
    (void)c;
    return bs_find_boundaries(in->u32, in->h, in->w, BS_BOUNDARY_INNER, result, err);
}

static bs_status standardised(const struct operator_check *c, const struct plane *in, void *result,
                              struct bs_err *err)
{
    (void)c, (void)err;
    size_t n = in->h * in->w;
    memcpy(result, in->f32, n * sizeof(float));
    bs__normalise(result, n, BS_NORMALISE_STANDARDISE, bs__statistics_of(in->f32, n));
    return BS_OK;
}

/* Every sigma of which there is a result: gauss_sigma1.6.npy and so on. */
static void check_smoothing(struct golden *g, const char *folder, const char *stem, const char *in_file)
{
    for (int tenths = 1; tenths <= 100; tenths++) {
        char file[64];
        snprintf(file, sizeof file, "%s_sigma%d.%d.npy", stem, tenths / 10, tenths % 10);
        struct operator_check c = {in_file, file, 'f', 'f', smooth, tenths / 10.0, 0};
        check_operator(g, folder, &c);
    }
}

/* ---- watershed ---- */

/* Mask pixels that a path inside the mask joins to a seed: the ones that must be labelled. */
static uint8_t *reachable(const uint32_t *seeds, const uint8_t *mask, size_t h, size_t w)
{
    uint8_t *reached = calloc(h * w + 1, 1);
    size_t *stack = malloc((h * w + 1) * sizeof *stack), depth = 0;
    BS_ASSERT(reached && stack);
    for (size_t i = 0; i < h * w; i++)
        if (seeds[i] && (!mask || mask[i])) {
            reached[i] = 1;
            stack[depth++] = i;
        }
    while (depth) {
        size_t p = stack[--depth], y = p / w, x = p % w;
        size_t next[4] = {y > 0 ? p - w : p, y + 1 < h ? p + w : p, x > 0 ? p - 1 : p, x + 1 < w ? p + 1 : p};
        for (int k = 0; k < 4; k++)
            if (!reached[next[k]] && (!mask || mask[next[k]])) {
                reached[next[k]] = 1;
                stack[depth++] = next[k];
            }
    }
    free(stack);
    return reached;
}

static void check_flooding(struct golden *g, const char *folder, const char *name, const struct plane *height,
                           const struct plane *seeds, const uint8_t *mask, const struct plane *reference)
{
    size_t n = height->h * height->w, unlabelled = 0, outside = 0, moved = 0, other = 0;
    uint32_t *labels = malloc((n + 1) * sizeof *labels);
    uint8_t *reached = reachable(seeds->u32, mask, height->h, height->w);
    struct bs_err err = {0};
    (void)folder;

    BS_ASSERT(labels);
    memcpy(labels, seeds->u32, n * sizeof *labels);
    if (bs_watershed(height->f32, height->h, height->w, mask, labels, NULL, &err) != BS_OK) {
        golden_error(g, name, &err);
        goto cleanup;
    }
    for (size_t i = 0; i < n; i++) {
        bool inside = !mask || mask[i];
        unlabelled += reached[i] && labels[i] == 0;
        outside += !reached[i] && labels[i] != 0;
        moved += inside && seeds->u32[i] && labels[i] != seeds->u32[i];
        other += (labels[i] != 0) != (reference->u32[i] != 0);
    }
    golden_verdict(g, name, unlabelled + outside + moved + other == 0, "invariants",
                   "%zu reachable pixels unlabelled, %zu labelled outside, %zu seed pixels changed, %zu "
                   "labelled otherwise "
                   "than in the reference",
                   unlabelled, outside, moved, other);
cleanup:
    free(labels);
    free(reached);
}

static void check_watershed(struct golden *g, const char *folder)
{
    struct plane height = {0}, seeds = {0}, mask = {0}, masked = {0}, whole = {0}, skimage = {0};
    struct bs_err err = {0};

    if (!golden_has(g, folder, "ws_height.npy"))
        return;
    if (read_plane(g, folder, "ws_height.npy", 'f', &height, &err) != BS_OK ||
        read_plane(g, folder, "ws_markers.npy", 'u', &seeds, &err) != BS_OK ||
        read_plane(g, folder, "ws_mask.npy", 'b', &mask, &err) != BS_OK ||
        read_plane(g, folder, "ws_out.npy", 'u', &masked, &err) != BS_OK ||
        read_plane(g, folder, "ws_out_nomask.npy", 'u', &whole, &err) != BS_OK ||
        read_plane(g, folder, "ws_out_skimage.npy", 'u', &skimage, &err) != BS_OK ||
        same_shape(&height, &seeds, &err) != BS_OK || same_shape(&height, &mask, &err) != BS_OK ||
        same_shape(&height, &masked, &err) != BS_OK || same_shape(&height, &whole, &err) != BS_OK ||
        same_shape(&height, &skimage, &err) != BS_OK) {
        golden_error(g, "primitives/ws", &err);
    } else {
        check_flooding(g, folder, "primitives/ws_out", &height, &seeds, mask.u8, &masked);
        check_flooding(g, folder, "primitives/ws_out_skimage", &height, &seeds, mask.u8, &skimage);
        check_flooding(g, folder, "primitives/ws_out_nomask", &height, &seeds, NULL, &whole);
    }
    free_plane(&height);
    free_plane(&seeds);
    free_plane(&mask);
    free_plane(&masked);
    free_plane(&whole);
    free_plane(&skimage);
}

void check_primitives(struct golden *g, const char *folder)
{
    static const struct operator_check checks[] = {
        {"edt_in.npy", "edt_out.npy", 'b', 'f', distances, 0, 0},
        {"cc_in.npy", "cc_out.npy", 'b', 'u', components, 0, 0},
        {"cc_multilabel_in.npy", "cc_multilabel_out.npy", 'u', 'u', components_of_labels, 0, 0},
        {"cc_multilabel_in.npy", "find_boundaries_thick.npy", 'u', 'b', thick_boundaries, 0, 0},
        {"cc_multilabel_in.npy", "find_boundaries_inner.npy", 'u', 'b', inner_boundaries, 0, 0},
        /* The reference adds up in single precision, this in double. */
        {"standardize_in.npy", "standardize_out.npy", 'f', 'f', standardised, 0, 1e-6},
    };
    check_smoothing(g, folder, "gauss", "gauss_in.npy");
    check_smoothing(g, folder, "impulse", "impulse_in.npy");
    check_smoothing(g, folder, "impulse_edge", "impulse_edge_in.npy");
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++)
        check_operator(g, folder, &checks[i]);
    check_watershed(g, folder);
    golden_skip_unread(g, folder, ".npy");
}
