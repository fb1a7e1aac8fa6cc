/* Tiny networks with complete tensors: every input of a case through `ref` and through direct convolutions on the CPU. */
#include "tests/golden/golden.h"

#include "tests/golden/network.h"

#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double largest_difference(const float *a, const float *b, size_t n)
{
    double max = 0;
    for (size_t i = 0; i < n; i++) {
        const double d = fabs((double)a[i] - b[i]);
        max = d > max || isnan(d) ? d : max; /* a NaN stays */
    }
    return max;
}

/* golden/README.md: small models 5e-4 for logits and 1e-4 for outputs. */
static void check_tensor(struct golden *g, const char *folder, const char *file, const struct golden_way *way,
                         const float *have, const struct bs_shape *shape, bool logits)
{
    struct bs_npy want = {0};
    struct bs_err err = {0};
    char name[160];
    snprintf(name, sizeof name, "%s/%s %s", folder, file, way->name);
    if (golden_npy(g, folder, file, &want, &err) != BS_OK) {
        golden_error(g, name, &err);
        return;
    }
    if (want.type != BS_NPY_F4 || want.count != bs_shape_count(shape)) {
        golden_fail(g, name, NULL, "%zu values, the network makes %zu", want.count, bs_shape_count(shape));
    } else {
        const double max = largest_difference(have, want.data, want.count);
        golden_verdict(g, name, max <= (logits ? 5e-4 : 1e-4), logits ? "max 5e-4" : "max 1e-4", "max %.2g",
                       max);
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
    char file[96], name[200];
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
    json_error_t json_error;
    json_t *info = json_load_file(golden_path(g, folder, "info.json"), 0, &json_error);
    if (!info)
        return BS_FAIL(err, BS_EIO, "info.json: %s", json_error.text);
    const uint64_t seed = (uint64_t)json_integer_value(json_object_get(info, "seed"));
    json_decref(info);
    bs_status rc = golden_arch_manifest(golden_path(g, folder, "manifest.tsv"), arch, err);
    return rc == BS_OK ? golden_params_formula(arch, seed, params, err) : rc;
}

static void check_case(struct golden *g, const char *folder)
{
    struct dirent **entry = NULL;
    const int n = scandir(golden_path(g, folder, ""), &entry, NULL, alphasort);
    for (size_t w = 0; w < sizeof golden_ways / sizeof *golden_ways; w++) {
        struct bs_arch_config arch;
        struct bs_params *params = NULL;
        struct bs_err err = {0};
        if (!golden_way_available(&golden_ways[w])) {
            golden_skip(g, folder, "%s is not part of this build", golden_ways[w].name);
            continue;
        }
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
            check_run(g, folder, tag, &golden_ways[w], &arch, params);
        }
        bs_params_unref(params);
    }
    for (int i = 0; i < n; i++)
        free(entry[i]);
    free(entry);
    golden_skip_unread(g, folder, ".npy");
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
