/* labels/: training targets, both recipes, markers and smoothing on the way, and mean segmentation accuracy. */
#include "model/instances/evaluate.h"
#include "model/instances/instances.h"
#include "tests/golden/golden.h"
#include "tests/golden/read_json.h"
#include "tests/support/label_compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The project's promise for segmentations of the reference, and a looser one for those made with scikit-image's
   watershed, from which the reference itself differs. */
#define AGREEMENT         0.999
#define AGREEMENT_SKIMAGE 0.995

/* A label image or a stack of maps, whichever was asked for. */
struct fixture {
    size_t channels, h, w;
    float *f32;
    uint32_t *u32;
};

static void free_fixture(struct fixture *f)
{
    free(f->f32);
    free(f->u32);
}

static size_t pixels(const struct fixture *f)
{
    return f->h * f->w;
}

/* Reads (h, w) or (channels, h, w); channels 0: two-dimensional. */
static bs_status read_fixture(struct golden *g, const char *folder, const char *file, bool maps,
                              size_t channels, struct fixture *f, struct bs_err *err)
{
    struct bs_npy a;
    bs_status rc = golden_npy(g, folder, file, &a, err);
    *f = (struct fixture){0};
    if (rc != BS_OK)
        return rc;
    int ndim = channels ? 3 : 2;
    if (a.ndim != ndim || (channels && a.shape[0] != channels)) {
        rc = BS_FAIL(err, BS_ECORRUPT, "%s: unexpected shape", file);
    } else {
        f->channels = channels ? channels : 1;
        f->h = a.shape[ndim - 2];
        f->w = a.shape[ndim - 1];
        rc = maps ? bs_npy_to_f32(&a, &f->f32, err) : bs_npy_to_u32(&a, &f->u32, err);
    }
    bs_npy_free(&a);
    return rc;
}

static bs_status same_size(const struct fixture *a, const struct fixture *b, struct bs_err *err)
{
    if (a->h != b->h || a->w != b->w)
        return BS_FAIL(err, BS_ECORRUPT, "sizes %zu x %zu and %zu x %zu differ", a->h, a->w, b->h, b->w);
    return BS_OK;
}

/* One image of the folder. */
struct image {
    struct golden *g;
    const char *folder;
    int number;
    char file[64], name[96];
};

/* img3_WHAT.npy, or NULL when it is not there; then also sets the name for the report. */
static const char *file_of(struct image *im, const char *what)
{
    snprintf(im->file, sizeof im->file, "img%d_%s.npy", im->number, what);
    snprintf(im->name, sizeof im->name, "%s/img%d_%s", im->folder, im->number, what);
    return golden_has(im->g, im->folder, im->file) ? im->file : NULL;
}

/* ---- targets ---- */

static void check_boundary_target(struct image *im, const struct fixture *labels)
{
    struct fixture expected = {0};
    struct bs_err err = {0};
    const char *file = file_of(im, "boundary_target");
    uint8_t *target = malloc(2 * pixels(labels) + 1);

    BS_ASSERT(target);
    if (!file)
        goto cleanup;
    if (read_fixture(im->g, im->folder, file, false, 2, &expected, &err) != BS_OK ||
        same_size(labels, &expected, &err) != BS_OK ||
        bs_target_boundaries(labels->u32, labels->h, labels->w, target, &err) != BS_OK) {
        golden_error(im->g, im->name, &err);
        goto cleanup;
    }
    size_t different = 0;
    for (size_t i = 0; i < 2 * pixels(labels); i++)
        different += target[i] != expected.u32[i];
    golden_verdict(im->g, im->name, different == 0, "exact", "%zu values differ", different);
cleanup:
    free_fixture(&expected);
    free(target);
}

static void check_distance_target(struct image *im, const struct fixture *labels)
{
    struct fixture expected = {0};
    struct bs_err err = {0};
    const char *file = file_of(im, "distance_target");
    float *target = malloc((3 * pixels(labels) + 1) * sizeof *target);

    BS_ASSERT(target);
    if (!file)
        goto cleanup;
    if (read_fixture(im->g, im->folder, file, true, 3, &expected, &err) != BS_OK ||
        same_size(labels, &expected, &err) != BS_OK ||
        bs_target_distances(labels->u32, labels->h, labels->w, 25, target, &err) != BS_OK) {
        golden_error(im->g, im->name, &err);
        goto cleanup;
    }
    size_t foreground = 0;
    double worst = 0;
    for (size_t i = 0; i < 3 * pixels(labels); i++) {
        double d = fabs((double)target[i] - (double)expected.f32[i]);
        foreground += i < pixels(labels) && d > 0;
        worst = d <= worst ? worst : d;
    }
    golden_verdict(im->g, im->name, foreground == 0 && worst <= 1e-5, "<= 1e-05, foreground exact",
                   "largest difference %.3g, %zu foreground pixels differ", worst, foreground);
cleanup:
    free_fixture(&expected);
    free(target);
}

/* ---- segmentations ---- */

static void check_segmentation(struct image *im, const char *what, const struct fixture *maps,
                               const struct bs_instance_params *params, double least)
{
    struct fixture expected = {0};
    struct bs_err err = {0};
    struct bs_instance_result result;
    const char *file = file_of(im, what);
    uint32_t *labels = malloc((pixels(maps) + 1) * sizeof *labels);

    BS_ASSERT(labels);
    if (!file)
        goto cleanup;
    if (read_fixture(im->g, im->folder, file, false, 0, &expected, &err) != BS_OK ||
        same_size(maps, &expected, &err) != BS_OK ||
        bs_instances_from_maps(maps->f32, (int)maps->channels, maps->h, maps->w, NULL, params, labels,
                               &result, NULL, &err) != BS_OK) {
        golden_error(im->g, im->name, &err);
        goto cleanup;
    }
    struct bs_label_agreement a = bs_label_compare(labels, expected.u32, pixels(maps));
    char tolerance[64];
    snprintf(tolerance, sizeof tolerance, ">= %g, equal counts", least);
    golden_verdict(
        im->g, im->name, a.fraction >= least && a.objects_a == a.objects_b && a.objects_a == result.count,
        tolerance, "%.6f of pixels agree, %u objects for %zu", a.fraction, result.count, a.objects_b);
cleanup:
    free_fixture(&expected);
    free(labels);
}

static void check_boundary_recipe(struct image *im)
{
    struct fixture maps = {0};
    struct bs_err err = {0};
    struct bs_instance_params params = bs_instance_params_default(BS_RECIPE_BOUNDARIES);
    const char *file = file_of(im, "pred_boundary");

    if (!file)
        return;
    if (read_fixture(im->g, im->folder, file, true, 2, &maps, &err) != BS_OK) {
        golden_error(im->g, im->name, &err);
        goto cleanup;
    }
    check_segmentation(im, "seg_components", &maps, &params, AGREEMENT);
    check_segmentation(im, "seg_components_skimage", &maps, &params, AGREEMENT_SKIMAGE);
    /* As on CREMI: the boundary map alone, everything is foreground. */
    for (size_t i = 0; i < pixels(&maps); i++)
        maps.f32[i] = 1;
    check_segmentation(im, "seg_cremi_style", &maps, &params, AGREEMENT);
cleanup:
    free_fixture(&maps);
}

/* Smoothed distances and markers as the recipe computes them on its way, with the paper's parameters. */
static void check_markers(struct image *im, const struct fixture *maps)
{
    struct fixture smoothed = {0}, markers = {0};
    struct bs_err err = {0};
    struct bs_instance_params p = bs_instance_params_default(BS_RECIPE_DISTANCES);
    size_t n = pixels(maps), different = 0;
    float *ours = malloc((2 * n + 1) * sizeof *ours);
    uint8_t *flags = malloc(n + 1);
    uint32_t *components = malloc((n + 1) * sizeof *components), count;
    double worst = 0;

    BS_ASSERT(ours && flags && components);
    for (size_t c = 0; c < 2; c++)
        if (bs_gaussian(maps->f32 + (c + 1) * n, maps->h, maps->w, p.distance_smoothing, ours + c * n,
                        &err) != BS_OK) {
            golden_error(im->g, im->name, &err);
            goto cleanup;
        }
    const char *file = file_of(im, "seg_distances_smoothed");
    if (file) {
        if (read_fixture(im->g, im->folder, file, true, 2, &smoothed, &err) != BS_OK ||
            same_size(maps, &smoothed, &err) != BS_OK) {
            golden_error(im->g, im->name, &err);
            goto cleanup;
        }
        for (size_t i = 0; i < 2 * n; i++) {
            double d = fabs((double)ours[i] - (double)smoothed.f32[i]);
            worst = d <= worst ? worst : d;
        }
        golden_verdict(im->g, im->name, worst == 0, "exact", "largest difference %.3g", worst);
    }
    if (!(file = file_of(im, "seg_distances_markers")))
        goto cleanup;
    for (size_t i = 0; i < n; i++)
        flags[i] = maps->f32[i] > (float)p.foreground_threshold &&
                   ours[i] < (float)p.center_distance_threshold &&
                   ours[n + i] < (float)p.boundary_distance_threshold;
    if (read_fixture(im->g, im->folder, file, false, 0, &markers, &err) != BS_OK ||
        same_size(maps, &markers, &err) != BS_OK ||
        bs_components_binary(flags, maps->h, maps->w, components, &count, &err) != BS_OK) {
        golden_error(im->g, im->name, &err);
        goto cleanup;
    }
    for (size_t i = 0; i < n; i++)
        different += components[i] != markers.u32[i];
    golden_verdict(im->g, im->name, different == 0, "exact", "%zu of %zu pixels differ", different, n);
cleanup:
    free_fixture(&smoothed);
    free_fixture(&markers);
    free(ours);
    free(flags);
    free(components);
}

static void check_distance_recipe(struct image *im)
{
    struct fixture maps = {0};
    struct bs_err err = {0};
    struct bs_instance_params params = bs_instance_params_default(BS_RECIPE_DISTANCES);
    const char *file = file_of(im, "pred_distance");

    if (!file)
        return;
    if (read_fixture(im->g, im->folder, file, true, 3, &maps, &err) != BS_OK) {
        golden_error(im->g, im->name, &err);
        goto cleanup;
    }
    check_segmentation(im, "seg_distances", &maps, &params, AGREEMENT);
    check_segmentation(im, "seg_distances_skimage", &maps, &params, AGREEMENT_SKIMAGE);
    check_markers(im, &maps);
    /* The defaults of the reference's function. */
    params.boundary_distance_threshold = 0.5;
    params.distance_smoothing = 1.6;
    params.min_size = 0;
    check_segmentation(im, "seg_distances_default", &maps, &params, AGREEMENT);
cleanup:
    free_fixture(&maps);
}

/* ---- images without objects ---- */

static void check_empty_targets(struct golden *g, const char *folder, const struct bs_json_value *meta)
{
    const struct bs_json_value *shape =
        bs_json_get(bs_json_get(bs_json_get(meta, "all_background_input"), "distance_all_zero"), "shape");
    int64_t side[3] = {0};
    size_t sides = 0;
    GOLDEN_JSON_EACH(member, shape)
    if (sides < 3)
        (void)bs_json_as_int(member, &side[sides++]);
    (void)folder;
    if (side[1] < 1 || side[2] < 1 || side[1] > 4096 || side[2] > 4096)
        return;
    const size_t h = (size_t)side[1], w = (size_t)side[2];
    uint32_t *labels = calloc(h * w, sizeof *labels);
    uint8_t *boundaries = malloc(2 * h * w);
    float *distances = malloc(3 * h * w * sizeof *distances);
    struct bs_err err = {0};
    size_t wrong_boundaries = 0, wrong_distances = 0;

    BS_ASSERT(labels && boundaries && distances);
    if (bs_target_boundaries(labels, h, w, boundaries, &err) != BS_OK ||
        bs_target_distances(labels, h, w, 25, distances, &err) != BS_OK) {
        golden_error(g, "labels/all_background_input", &err);
        goto cleanup;
    }
    for (size_t i = 0; i < 2 * h * w; i++)
        wrong_boundaries += boundaries[i] != 0;
    for (size_t i = 0; i < 3 * h * w; i++)
        wrong_distances += distances[i] != (i < h * w ? 0.0f : 1.0f);
    golden_verdict(g, "labels/all_background_input", wrong_boundaries + wrong_distances == 0, "exact",
                   "%zu boundary and %zu distance values differ", wrong_boundaries, wrong_distances);
cleanup:
    free(labels);
    free(boundaries);
    free(distances);
}

/* ---- accuracy ---- */

static double worst_of(const struct bs_json_value *pair, const struct bs_accuracy *a)
{
    const struct bs_json_value *half = bs_json_get(pair, "matching_at_0_5");
    double worst = fabs(a->msa - golden_json_number(pair, "msa"));
    size_t i = 0;
    GOLDEN_JSON_EACH(at, bs_json_get(pair, "accuracies"))
    {
        double v = HUGE_VAL;
        if (i < BS_IOU_THRESHOLDS && bs_json_as_double(at, &v))
            worst = fmax(worst, fabs(a->at[i++] - v));
    }
    if (i < BS_IOU_THRESHOLDS)
        worst = HUGE_VAL;
    worst = fmax(worst, fabs(a->precision50 - golden_json_number(half, "precision")));
    worst = fmax(worst, fabs(a->recall50 - golden_json_number(half, "recall")));
    worst = fmax(worst, fabs(a->f1_50 - golden_json_number(half, "f1")));
    return worst;
}

/* The images of a special entry, by its name: which files, and what is added to every id. */
static const struct special {
    const char *name, *predicted, *expected;
    uint32_t add_predicted, add_expected;
} specials[] = {
    {"empty_pred", "zeros.npy", "img0_labels.npy", 0, 0},
    {"empty_gt", "img0_labels.npy", "zeros.npy", 0, 0},
    {"both_empty", "zeros.npy", "zeros.npy", 0, 0},
    {"no_background", "img0_labels.npy", "img0_labels.npy", 1, 1},
    {"no_background_pred", "img0_labels.npy", "img0_labels.npy", 1, 0},
};

static void check_pair(struct golden *g, const char *folder, const struct bs_json_value *pair)
{
    const char *special = golden_json_string(pair, "special");
    struct special s = {NULL, golden_json_string(pair, "pred"), golden_json_string(pair, "gt"), 0, 0};
    struct fixture predicted = {0}, expected = {0};
    struct bs_accuracy accuracy;
    struct bs_err err = {0};
    char name[192];

    if (special) {
        s.predicted = NULL;
        for (size_t i = 0; i < sizeof specials / sizeof *specials; i++)
            if (strcmp(specials[i].name, special) == 0)
                s = specials[i];
    }
    snprintf(name, sizeof name, "%s/accuracy %s", folder,
             special       ? special
             : s.predicted ? s.predicted
                           : "?");
    if (!s.predicted || !s.expected) {
        golden_skip(g, name, "no check knows this entry");
        return;
    }
    if (!golden_has(g, folder, s.predicted) || !golden_has(g, folder, s.expected)) {
        golden_skip(g, name, "%s or %s is not in this folder", s.predicted, s.expected);
        return;
    }
    if (read_fixture(g, folder, s.predicted, false, 0, &predicted, &err) != BS_OK ||
        read_fixture(g, folder, s.expected, false, 0, &expected, &err) != BS_OK ||
        same_size(&predicted, &expected, &err) != BS_OK) {
        golden_error(g, name, &err);
        goto cleanup;
    }
    for (size_t i = 0; i < pixels(&predicted); i++) {
        predicted.u32[i] += s.add_predicted;
        expected.u32[i] += s.add_expected;
    }
    if (bs_evaluate(predicted.u32, expected.u32, predicted.h, predicted.w, 0, &accuracy, &err) != BS_OK) {
        golden_error(g, name, &err);
        goto cleanup;
    }
    double worst = worst_of(pair, &accuracy);
    golden_verdict(g, name, worst <= 1e-12, "<= 1e-12", "mSA %.6f, largest difference %.3g", accuracy.msa,
                   worst);
cleanup:
    free_fixture(&predicted);
    free_fixture(&expected);
}

static struct bs_json *read_json(struct golden *g, const char *folder, const char *file)
{
    struct bs_json *json = NULL;
    struct bs_err err = {0};
    if (golden_has(g, folder, file) && golden_json(g, folder, file, &json, &err) != BS_OK)
        golden_error(g, file, &err);
    return json;
}

void check_labels(struct golden *g, const char *folder)
{
    struct image im = {.g = g, .folder = folder};
    for (im.number = 0; im.number < 1000; im.number++) {
        struct fixture labels = {0};
        struct bs_err err = {0};
        const char *file = file_of(&im, "labels");
        if (file) {
            if (read_fixture(g, folder, file, false, 0, &labels, &err) == BS_OK) {
                check_boundary_target(&im, &labels);
                check_distance_target(&im, &labels);
            } else {
                golden_error(g, im.name, &err);
            }
            free_fixture(&labels);
        }
        check_boundary_recipe(&im);
        check_distance_recipe(&im);
    }
    struct bs_json *meta = read_json(g, folder, "meta.json"),
                   *accuracy = read_json(g, folder, "accuracy.json");
    if (meta)
        check_empty_targets(g, folder, bs_json_root(meta));
    if (accuracy)
        GOLDEN_JSON_EACH(pair, bs_json_get(bs_json_root(accuracy), "pairs"))
    check_pair(g, folder, pair);
    bs_json_free(meta);
    bs_json_free(accuracy);
    golden_skip_unread(g, folder, ".npy");
}
