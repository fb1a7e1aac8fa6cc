/* The formula rule itself: spot values of weights, bit by bit up to one unit in the last place, and an image. */
#include "tests/golden/golden.h"

#include "tests/support/formula.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Distance in units in the last place; floats of one sign are ordered like their bits. */
static uint32_t ulps(float a, uint32_t expected_bits)
{
    uint32_t bits;
    memcpy(&bits, &a, sizeof bits);
    return bits > expected_bits ? bits - expected_bits : expected_bits - bits;
}

static bool parse_shape(char *text, struct bs_shape *s)
{
    char *rest = NULL;
    *s = (struct bs_shape){0};
    for (char *part = strtok_r(text, ",", &rest); part; part = strtok_r(NULL, ",", &rest)) {
        if (s->ndim == BS_MAX_DIM)
            return false;
        s->dim[s->ndim++] = strtoll(part, NULL, 10);
    }
    return true;
}

static void check_weights(struct golden *g, const char *folder)
{
    char line[512], name[128], shape_text[64];
    unsigned seen = 0, wrong = 0;
    FILE *f = fopen(golden_path(g, folder, "weights.tsv"), "r");
    if (!f || !fgets(line, sizeof line, f)) {
        golden_fail(g, "formula_check/weights.tsv", NULL, "cannot be read");
        if (f)
            fclose(f);
        return;
    }
    while (fgets(line, sizeof line, f)) {
        uint64_t seed, index, hash;
        uint32_t bits;
        struct bs_shape shape;
        float value = 0;
        seen++;
        if (sscanf(line, "%127s %63s %" SCNu64 " %" SCNu64 " %" SCNx64 " %*s %" SCNx32, name, shape_text,
                   &seed, &index, &hash, &bits) != 6 ||
            !parse_shape(shape_text, &shape) || bs_formula_hash(name, seed, index) != hash ||
            bs_formula_value(name, &shape, seed, index, &value, NULL) != BS_OK || ulps(value, bits) > 1)
            wrong++;
    }
    fclose(f);
    golden_verdict(g, "formula_check/weights", seen > 0 && wrong == 0, "hashes equal, values within 1 ulp",
                   "%u of %u values differ", wrong, seen);
}

static void check_image(struct golden *g, const char *folder, const char *file)
{
    struct bs_npy a = {0};
    struct bs_err err = {0};
    float *image = NULL;
    size_t wrong = 0;
    if (golden_npy(g, folder, file, &a, &err) != BS_OK) {
        golden_error(g, "formula_check/image", &err);
        return;
    }
    if (a.ndim != 3 || a.type != BS_NPY_F4 || !(image = calloc(a.count, sizeof *image))) {
        golden_fail(g, "formula_check/image", NULL, "not float32 of three dimensions");
    } else {
        bs_formula_image(11, (int64_t)a.shape[0], (int64_t)a.shape[1], (int64_t)a.shape[2], image);
        for (size_t i = 0; i < a.count; i++)
            wrong += memcmp(&image[i], (const float *)a.data + i, sizeof *image) != 0;
        golden_verdict(g, "formula_check/image", wrong == 0, "exact", "%zu of %zu pixels differ", wrong,
                       a.count);
    }
    free(image);
    bs_npy_free(&a);
}

void check_formula(struct golden *g, const char *folder)
{
    if (golden_has(g, folder, "weights.tsv"))
        check_weights(g, folder);
    if (golden_has(g, folder, "image_3x70x45.npy"))
        check_image(g, folder, "image_3x70x45.npy");
    golden_skip_unread(g, folder, ".npy");
}
