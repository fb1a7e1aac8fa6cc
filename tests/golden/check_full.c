/* Full-size networks with formula weights: sampled outputs, logits and module outputs. Weights and image follow from
   info.json and the formula rule. 100 GFLOP per run: only devices that are fast enough are asked. */
#include "tests/golden/golden.h"

#include "tests/golden/network.h"
#include "tests/golden/read_json.h"
#include "tests/support/formula.h"
#include "tests/support/sanitized.h"

#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Values at sampled positions; false when a position lies outside. */
static bool differences(const int64_t *index, const float *want, size_t n, const float *have, size_t count,
                        double *max, double *rms)
{
    double sum = 0;
    *max = 0;
    for (size_t i = 0; i < n; i++) {
        if (index[i] < 0 || (uint64_t)index[i] >= count)
            return false;
        const double d = fabs((double)have[index[i]] - want[i]);
        *max = d > *max || isnan(d) ? d : *max; /* a NaN stays */
        sum += d * d;
    }
    *rms = n ? sqrt(sum / (double)n) : 0;
    return true;
}

/* golden/README.md: full-size logits max 2e-4, rms 2e-5 (transformers max 1e-3, rms 5e-5); with Winograd max 1e-3, rms
   1e-4. Probabilities are four times flatter than logits at least. */
struct tolerance {
    double max, rms;
};
static struct tolerance tolerance(const struct golden_way *way, enum bs_arch_kind kind, bool logits)
{
    if (way->winograd)
        return (struct tolerance){1e-3, 1e-4};
    if (kind == BS_ARCH_UNET)
        return (struct tolerance){golden_most(way, 2e-4, logits ? 1 : 0.17),
                                  golden_most(way, 2e-5, logits ? 0.16 : 0.033)};
    return (struct tolerance){golden_most(way, 1e-3, logits ? 1 : 0.15),
                              golden_most(way, 5e-5, logits ? 0.12 : 0.016)};
}

static void check_samples(struct golden *g, const char *folder, const char *tag, const char *what,
                          const struct golden_way *way, struct tolerance most, const float *have,
                          size_t count)
{
    struct bs_npy index = {0}, value = {0};
    struct bs_err err = {0};
    char file[64], name[256], text[48];
    double max, rms;
    snprintf(text, sizeof text, "max %.2g, rms %.2g", most.max, most.rms);
    snprintf(name, sizeof name, "%s/%s_%s %s", folder, tag, what, way->name);
    snprintf(file, sizeof file, "%s_%s_idx.npy", tag, what);
    if (golden_npy(g, folder, file, &index, &err) != BS_OK) {
        golden_error(g, name, &err);
        goto cleanup;
    }
    snprintf(file, sizeof file, "%s_%s_val.npy", tag, what);
    if (golden_npy(g, folder, file, &value, &err) != BS_OK) {
        golden_error(g, name, &err);
        goto cleanup;
    }
    if (index.type != BS_NPY_I8 || value.type != BS_NPY_F4 || index.count != value.count ||
        !differences(index.data, value.data, index.count, have, count, &max, &rms))
        golden_fail(g, name, NULL, "positions or values of another form");
    else
        golden_verdict(g, name, max <= most.max && rms <= most.rms, text, "max %.2g, rms %.2g", max, rms);
cleanup:
    bs_npy_free(&index);
    bs_npy_free(&value);
}

/* A row of TAG_acts.tsv: what a module makes. */
struct tap {
    int row;
    char name[64];
};

/* The rows whose values the graph has in the same order. Attention inside windows is listed window by window. */
static int read_taps(struct golden *g, const char *folder, const char *tag, struct tap *tap)
{
    char file[64], line[512], shape[64], name[200];
    int n = 0;
    snprintf(file, sizeof file, "%s_acts.tsv", tag);
    if (!golden_has(g, folder, file))
        return 0;
    FILE *f = fopen(golden_path(g, folder, file), "r");
    if (!f)
        return 0;
    if (fgets(line, sizeof line, f)) /* the header */
        while (n < GOLDEN_MAX_TAPS && fgets(line, sizeof line, f)) {
            if (sscanf(line, "%d %63s %63s", &tap[n].row, tap[n].name, shape) != 3)
                continue;
            if (!strncmp(shape, "1,", 2)) {
                n++;
                continue;
            }
            snprintf(name, sizeof name, "%s/%s_acts %s", folder, tag, tap[n].name);
            golden_skip(g, name, "is listed by windows (%s)", shape);
        }
    fclose(f);
    return n;
}

/* Module outputs have the size of activations (up to 11), so the tolerance is relative to that: 2e-5 of the largest. */
static void check_taps(struct golden *g, const char *folder, const char *tag, const struct golden_way *way,
                       const struct tap *tap, const struct golden_result *r)
{
    struct bs_npy index = {0}, value = {0};
    struct bs_err err = {0};
    char file[64], name[256], text[32];
    snprintf(name, sizeof name, "%s/%s_acts %s", folder, tag, way->name);
    snprintf(file, sizeof file, "%s_acts_idx.npy", tag);
    if (golden_npy(g, folder, file, &index, &err) != BS_OK) {
        golden_error(g, name, &err);
        goto cleanup;
    }
    snprintf(file, sizeof file, "%s_acts_val.npy", tag);
    if (golden_npy(g, folder, file, &value, &err) != BS_OK) {
        golden_error(g, name, &err);
        goto cleanup;
    }
    if (index.type != BS_NPY_I8 || value.type != BS_NPY_F4 || index.ndim != 2 ||
        index.shape[0] <= (size_t)tap[r->ntap - 1].row || value.count != index.count) {
        golden_fail(g, name, NULL, "positions or values of another form");
        goto cleanup;
    }
    for (int t = 0; t < r->ntap; t++) {
        const size_t per = index.shape[1], count = bs_shape_count(&r->tap_shape[t]);
        double max = NAN, rms, largest = 1;
        for (size_t i = 0; i < count; i++)
            largest = fmax(largest, fabs((double)r->tap[t][i]));
        const double share = way->winograd ? 1e-4 : golden_most(way, 2e-5, 0.12);
        snprintf(name, sizeof name, "%s/%s_acts %s %s", folder, tag, tap[t].name, way->name);
        const bool inside = differences((const int64_t *)index.data + (size_t)tap[t].row * per,
                                        (const float *)value.data + (size_t)tap[t].row * per, per, r->tap[t],
                                        count, &max, &rms);
        snprintf(text, sizeof text, "%.0e of the largest", share);
        golden_verdict(g, name, inside && max <= share * largest, text, "max %.2g of %.3g", max, largest);
    }
cleanup:
    bs_npy_free(&index);
    bs_npy_free(&value);
}

static void check_run(struct golden *g, const char *folder, const struct golden_way *way,
                      const struct bs_arch_config *arch, struct bs_params *params, const char *tag,
                      uint64_t image_seed)
{
    struct bs_err err = {0};
    struct golden_result r = {0};
    int64_t h = 0, w = 0;
    float *image = NULL;
    struct tap tap[GOLDEN_MAX_TAPS];
    char name[256], values[64];
    const char *taps[GOLDEN_MAX_TAPS];
    snprintf(name, sizeof name, "%s/%s %s", folder, tag, way->name);
    if (!tag || sscanf(tag, "%" SCNd64 "x%" SCNd64, &h, &w) != 2 || h < 1 || w < 1 || h > 4096 || w > 4096) {
        golden_fail(g, name, NULL, "the tag is not HEIGHTxWIDTH");
        return;
    }
    snprintf(values, sizeof values, "%s_output_val.npy", tag);
    if (!golden_has(g, folder, values)) {
        golden_skip(g, name, "no %s", values);
        return;
    }
    const struct bs_shape shape = BS_SHAPE(1, bs_arch_in_channels(arch), h, w);
    if (!(image = calloc(bs_shape_count(&shape), sizeof *image))) {
        golden_fail(g, name, NULL, "no memory for the image");
        return;
    }
    bs_formula_image(image_seed, bs_arch_in_channels(arch), h, w, image);
    const int ntap = read_taps(g, folder, tag, tap);
    for (int i = 0; i < ntap; i++)
        taps[i] = tap[i].name;
    if (golden_network_run(way, arch, params, &shape, image, taps, ntap, &r, &err) != BS_OK) {
        golden_error(g, name, &err);
    } else {
        check_samples(g, folder, tag, "logits", way, tolerance(way, arch->kind, true), r.logits,
                      bs_shape_count(&r.logits_shape));
        check_samples(g, folder, tag, "output", way, tolerance(way, arch->kind, false), r.output,
                      bs_shape_count(&r.shape));
        if (ntap)
            check_taps(g, folder, tag, way, tap, &r);
    }
    golden_result_free(&r);
    free(image);
}

static void check_count(struct golden *g, const char *folder, const struct bs_arch_config *arch,
                        int64_t expected)
{
    struct bs_err err = {0};
    uint64_t count = 0;
    char name[256];
    snprintf(name, sizeof name, "%s parameters", folder);
    if (bs_arch_parameter_count(arch, &count, &err) != BS_OK)
        golden_error(g, name, &err);
    else
        golden_verdict(g, name, count == (uint64_t)expected, "exact", "%" PRIu64 " of %" PRId64, count,
                       expected);
}

static void check_case(struct golden *g, const char *folder)
{
    struct bs_err err = {0};
    struct bs_arch_config arch;
    struct bs_json *file = NULL;
    if (golden_json(g, folder, "info.json", &file, &err) != BS_OK) {
        golden_error(g, folder, &err);
        return;
    }
    const struct bs_json_value *info = bs_json_root(file);
    if (golden_arch_manifest(golden_path(g, folder, "manifest.tsv"), &arch, &err) != BS_OK) {
        golden_error(g, folder, &err);
        goto cleanup;
    }
    golden_settings(folder, &arch);
    check_count(g, folder, &arch, golden_json_int(info, "n_params"));
    const uint64_t seed = (uint64_t)golden_json_int(info, "weight_seed");
    const struct golden_way *way;
    for (size_t w = 0; (way = golden_way(g, w)) != NULL; w++) {
        struct bs_params *params = NULL;
        if (!strcmp(way->device, "ref"))
            continue; /* minutes per run; small/ checks it */
#if SANITIZED         /* a run takes minutes there; small/ is for them */
        golden_skip(g, folder, "%s: full size is for builds without sanitizers", way->name);
        continue;
#endif
        if (!golden_way_usable(g, folder, way))
            continue;
        if (golden_params_formula(&arch, seed, &params, &err) != BS_OK) {
            golden_error(g, folder, &err);
            continue;
        }
        GOLDEN_JSON_EACH(run, bs_json_get(info, "runs"))
        check_run(g, folder, way, &arch, params, golden_json_string(run, "tag"),
                  (uint64_t)golden_json_int(run, "image_seed"));
        bs_params_unref(params);
    }
cleanup:
    bs_json_free(file);
}

void check_full(struct golden *g, const char *folder)
{
    struct dirent **entry = NULL;
    const int n = scandir(golden_path(g, folder, ""), &entry, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char sub[96];
        const char *name = entry[i]->d_name;
        if (snprintf(sub, sizeof sub, "%s/%s", folder, name) < (int)sizeof sub && name[0] != '.') {
            if (golden_has(g, sub, "manifest.tsv"))
                check_case(g, sub);
        }
        free(entry[i]);
    }
    free(entry);
}
