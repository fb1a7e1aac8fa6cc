/* Tiny networks with complete tensors: every input of a case through every way of computing it; and, where there is a target,
   three steps of training (check_training.c). */
#include "tests/golden/golden.h"

#include "tests/golden/network.h"
#include "tests/golden/read_json.h"
#include "tests/golden/training.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void differences(const float *a, const float *b, size_t n, double *max, double *rms)
{
    double sum = 0;
    *max = 0;
    for (size_t i = 0; i < n; i++) {
        const double d = fabs((double)a[i] - b[i]);
        *max = d > *max || isnan(d) ? d : *max; /* a NaN stays */
        sum += d * d;
    }
    *rms = n ? sqrt(sum / (double)n) : 0;
}

/* golden/README.md: small models 5e-4 for logits and 1e-4 for outputs. Rounded factors move single values of so small networks
   far; there the rms is what tells. */
static void check_tensor(struct golden *g, const char *folder, const char *file, const struct golden_way *way,
                         const float *have, const struct bs_shape *shape, bool logits)
{
    struct bs_npy want = {0};
    struct bs_err err = {0};
    char name[256];
    snprintf(name, sizeof name, "%s/%s %s", folder, file, way->name);
    if (golden_npy(g, folder, file, &want, &err) != BS_OK) {
        golden_error(g, name, &err);
        return;
    }
    if (want.type != BS_NPY_F4 || want.count != bs_shape_count(shape)) {
        golden_fail(g, name, NULL, "%zu values, the network makes %zu", want.count, bs_shape_count(shape));
    } else {
        double max, rms;
        char tolerance[48];
        const double most = logits ? golden_most(way, 5e-4, 5) : golden_most(way, 1e-4, 0.45),
                     most_rms = logits ? golden_most(way, 5e-4, 0.26) : golden_most(way, 1e-4, 0.05);
        differences(have, want.data, want.count, &max, &rms);
        snprintf(tolerance, sizeof tolerance, "max %.2g, rms %.2g", most, most_rms);
        golden_verdict(g, name, max <= most && rms <= most_rms, tolerance, "max %.2g, rms %.2g", max, rms);
    }
    bs_npy_free(&want);
}

/* One input file "input<tag>.npy" and the files that belong to it. */
static void check_run(struct golden *g, const char *folder, const char *tag, const struct golden_way *way,
                      const struct bs_arch_config *arch, struct bs_params *params)
{
    struct bs_npy input = {0};
    struct bs_err err = {0};
    struct golden_result r = {0};
    char file[96], name[256];
    snprintf(file, sizeof file, "input%s.npy", tag);
    snprintf(name, sizeof name, "%s/%s %s", folder, file, way->name);
    if (golden_npy(g, folder, file, &input, &err) != BS_OK)
        goto failed;
    if (input.ndim != 4 || input.type != BS_NPY_F4) {
        golden_fail(g, name, NULL, "not float32 of four dimensions");
        goto cleanup;
    }
    const struct bs_shape shape = BS_SHAPE((int64_t)input.shape[0], (int64_t)input.shape[1],
                                           (int64_t)input.shape[2], (int64_t)input.shape[3]);
    if (golden_network_run(way, arch, params, &shape, input.data, NULL, 0, &r, &err) != BS_OK)
        goto failed;
    snprintf(file, sizeof file, "logits%s.npy", tag);
    if (golden_has(g, folder, file))
        check_tensor(g, folder, file, way, r.logits, &r.logits_shape, true);
    snprintf(file, sizeof file, "output%s.npy", tag);
    if (golden_has(g, folder, file))
        check_tensor(g, folder, file, way, r.output, &r.shape, false);
    goto cleanup;
failed:
    golden_error(g, name, &err);
cleanup:
    golden_result_free(&r);
    bs_npy_free(&input);
}

/* From the file, or by the formula where a list of names and a seed stand for it. */
static bs_status open_params(struct golden *g, const char *folder, struct bs_arch_config *arch,
                             struct bs_params **params, struct bs_err *err)
{
    if (golden_has(g, folder, "weights.safetensors"))
        return golden_params_file(golden_path(g, folder, "weights.safetensors"), arch, params, err);
    struct bs_json *info = NULL;
    bs_status rc = golden_json(g, folder, "info.json", &info, err);
    if (rc != BS_OK)
        return rc;
    const uint64_t seed = (uint64_t)golden_json_int(bs_json_root(info), "seed");
    bs_json_free(info);
    rc = golden_arch_manifest(golden_path(g, folder, "manifest.tsv"), arch, err);
    return rc == BS_OK ? golden_params_formula(arch, seed, params, err) : rc;
}

static void check_case(struct golden *g, const char *folder)
{
    struct dirent **entry = NULL;
    const int n = scandir(golden_path(g, folder, ""), &entry, NULL, alphasort);
    const struct golden_way *way;
    for (size_t w = 0; (way = golden_way(g, w)) != NULL; w++) {
        struct bs_arch_config arch;
        struct bs_params *params = NULL;
        struct bs_err err = {0};
        if (!golden_way_usable(g, folder, way))
            continue;
        if (open_params(g, folder, &arch, &params, &err) != BS_OK) {
            golden_error(g, folder, &err);
            continue;
        }
        golden_settings(folder, &arch);
        for (int i = 0; i < n; i++) {
            char tag[32] = "";
            const char *file = entry[i]->d_name;
            const size_t len = strlen(file);
            if (strncmp(file, "input", 5) != 0 || len < 9 || len - 9 >= sizeof tag ||
                strcmp(file + len - 4, ".npy") != 0)
                continue;
            memcpy(tag, file + 5, len - 9);
            check_run(g, folder, tag, way, &arch, params);
        }
        if (golden_has(g, folder, "target.npy"))
            check_training(g, folder, way, &arch, params);
        bs_params_unref(params);
    }
    for (int i = 0; i < n; i++)
        free(entry[i]);
    free(entry);
    golden_skip_unread(g, folder, ".npy");
    golden_skip_unread(g, folder, ".safetensors");
    golden_skip_unread(g, folder, ".tsv");
}

void check_small(struct golden *g, const char *folder)
{
    struct dirent **entry = NULL;
    const int n = scandir(golden_path(g, folder, ""), &entry, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char sub[96];
        const char *name = entry[i]->d_name;
        if (snprintf(sub, sizeof sub, "%s/%s", folder, name) < (int)sizeof sub && name[0] != '.') {
            if (golden_has(g, sub, "weights.safetensors") || golden_has(g, sub, "manifest.tsv"))
                check_case(g, sub);
        }
        free(entry[i]);
    }
    free(entry);
}
