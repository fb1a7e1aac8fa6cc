/* Time and peak memory of the recipes on made-up cells of any size; maps are computed strip by strip and never held.
   Also the time of the flooding alone, on maps in memory, when the image is small enough. Not a test. */
#include "kernels/base/pages.h"
#include "tests/unit/instances/synthetic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static long status_kib(const char *key)
{
    char line[256];
    long kib = -1;
    FILE *in = fopen("/proc/self/status", "r");
    while (in && fgets(line, sizeof line, in))
        if (strncmp(line, key, strlen(key)) == 0)
            kib = strtol(line + strlen(key) + 1, NULL, 10);
    if (in)
        fclose(in);
    return kib;
}

/* Adds the time that the source itself takes, so that it can be told apart. */
struct timed {
    struct bs_map_source inner;
    double seconds;
};

static bs_status timed_rows(void *ctx, int channel, size_t top, size_t rows, float *out, struct bs_err *err)
{
    struct timed *t = ctx;
    double start = now();
    bs_status rc = t->inner.rows(t->inner.ctx, channel, top, rows, out, err);
    t->seconds += now() - start;
    return rc;
}

/* Keeps the maps of the whole image, so that reading costs a copy only. */
static float *all_maps(const struct bs_map_source *source, int channels, size_t h, size_t w)
{
    float *maps = malloc((size_t)channels * h * w * sizeof *maps);
    struct bs_err err;
    for (int c = 0; maps && c < channels; c++)
        if (source->rows(source->ctx, c, 0, h, maps + (size_t)c * h * w, &err) != BS_OK)
            return NULL;
    return maps;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: bench_instances HEIGHT WIDTH [boundaries]\n");
        return 2;
    }
    size_t h = strtoull(argv[1], NULL, 10), w = strtoull(argv[2], NULL, 10);
    struct synthetic s = {argc > 3 ? BS_RECIPE_BOUNDARIES : BS_RECIPE_DISTANCES, w, 43, 7};
    int channels = s.recipe == BS_RECIPE_BOUNDARIES ? 2 : 3;
    struct bs_instance_params params = bs_instance_params_default(s.recipe);
    struct timed timed = {synthetic_source(&s), 0};
    struct bs_map_source source = {&timed, timed_rows, NULL};
    struct bs_instance_result result;
    struct bs_err err;

    long idle = status_kib("VmHWM:");
    uint32_t *labels = bs_pages_alloc(h * w * sizeof *labels);
    if (!labels)
        return 1;
    double start = now();
    if (bs_instances_from_source(&source, channels, h, w, &params, labels, &result, NULL, &err) != BS_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    double seconds = now() - start - timed.seconds;
    printf("%zu x %zu: %u objects (%u removed), %.1f ns a pixel without making the maps, peak %.2f GiB above "
           "idle, planned %.2f "
           "GiB with labels\n",
           h, w, result.count, result.removed_by_size, seconds * 1e9 / (double)(h * w),
           (double)(status_kib("VmHWM:") - idle) / (1 << 20),
           (double)(bs_instances_planned_bytes(h, w, &params, 0.05) + h * w * sizeof *labels) / (1 << 30));
    if (h * w <= (size_t)5000 * 5000) {
        float *maps = all_maps(&timed.inner, channels, h, w);
        uint8_t *flags = malloc(h * w), *mask = malloc(h * w);
        uint32_t count;
        if (!maps || !flags || !mask)
            return 1;
        for (size_t i = 0; i < h * w; i++) {
            mask[i] = maps[i] > 0.5f;
            flags[i] = mask[i] && maps[h * w + i] < 0.5f;
        }
        start = now();
        if (bs_components_binary(flags, h, w, labels, &count, &err) != BS_OK)
            return 1;
        double middle = now();
        if (bs_watershed(maps + (size_t)(channels - 1) * h * w, h, w, mask, labels, NULL, &err) != BS_OK)
            return 1;
        double end = now();
        if (bs_watershed(maps + (size_t)(channels - 1) * h * w, h, w, NULL, labels, NULL, &err) != BS_OK)
            return 1;
        printf("components %.1f, watershed %.1f, and without mask from there %.1f ns a pixel\n",
               (middle - start) * 1e9 / (double)(h * w), (end - middle) * 1e9 / (double)(h * w),
               (now() - end) * 1e9 / (double)(h * w));
        free(maps);
        free(flags);
        free(mask);
    }
    bs_pages_free(labels, h * w * sizeof *labels);
    return 0;
}
